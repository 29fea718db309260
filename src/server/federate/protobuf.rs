//! Federation in protobuf: the one format that has native histograms.
//!
//! Those with custom buckets go as classic ones, as upstream sends them. The bytes are `wire::metric_family`'s.

use std::iter::Peekable;

use super::exposition::{Exposed, External, Value, classic_buckets};
use super::format::Escaping;
use crate::model::histogram::FloatHistogram;
use crate::server::json::slices::Slices;
use crate::wire::metric_family::{
    Bucket, BucketSpan, Histogram, LabelPair, Metric, MetricFamily, Untyped,
};

/// A family with more metrics goes in parts, so that no message holds all of a metric with a million series.
const FAMILY_METRICS_MAX: usize = 1000;

/// The families, one after the other.
pub struct Families {
    exposed: Peekable<std::vec::IntoIter<Exposed>>,
    external: External,
    escaping: Escaping,
}

impl Families {
    /// The families of these series, which are in order of their names.
    pub fn new(
        exposed: std::vec::IntoIter<Exposed>,
        external: External,
        escaping: Escaping,
    ) -> Self {
        Self { exposed: exposed.peekable(), external, escaping }
    }

    fn next_family(&mut self) -> Option<MetricFamily> {
        let first = self.exposed.next()?;
        let (name, kind) = (first.name().to_owned(), first.kind());
        let mut metrics = vec![self.metric(first)];
        while metrics.len() < FAMILY_METRICS_MAX
            && let Some(exposed) =
                self.exposed.next_if(|exposed| exposed.name() == name && exposed.kind() == kind)
        {
            metrics.push(self.metric(exposed));
        }
        Some(MetricFamily {
            name: Some(self.escaping.escape(&name)),
            kind: Some(kind.into()),
            metrics,
        })
    }

    fn metric(&self, Exposed { labels, t, value }: Exposed) -> Metric {
        let pairs = self.external.beside(&labels);
        let pair = |(name, value): (&str, &str)| {
            LabelPair::new(self.escaping.escape(name), value.to_owned())
        };
        let (untyped, histogram) = match value {
            Value::Float(v) => (Some(Untyped { value: Some(v) }), None),
            Value::Histogram(h) if h.as_ref().has_custom_buckets() => (None, Some(classic(&h))),
            Value::Histogram(h) => (None, Some(native(&h))),
        };
        Metric { labels: pairs.map(pair).collect(), untyped, timestamp_ms: Some(t.0), histogram }
    }
}

/// The `+Inf` bucket is not told: whoever reads it puts it there.
fn classic(h: &FloatHistogram) -> Histogram {
    let bucket =
        |(bound, count)| Bucket { upper_bound: Some(bound), cumulative_count: Some(count) };
    Histogram {
        sum: Some(h.as_ref().sum),
        count: Some(h.as_ref().count),
        buckets: classic_buckets(h).map(bucket).collect(),
        ..Histogram::default()
    }
}

fn native(h: &FloatHistogram) -> Histogram {
    let h = h.as_ref();
    let spans = |spans: &[_]| spans.iter().copied().map(BucketSpan::from).collect();
    Histogram {
        sum: Some(h.sum),
        count: Some(h.count),
        buckets: Vec::new(),
        schema: Some(h.schema),
        zero_threshold: Some(h.zero_threshold),
        zero_count: Some(h.zero_count),
        negative_spans: spans(h.negative_spans),
        negative_counts: h.negative_buckets.to_vec(),
        positive_spans: spans(h.positive_spans),
        positive_counts: h.positive_buckets.to_vec(),
    }
}

impl Slices for Families {
    fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        let full_at = out.len().saturating_add(enough);
        while let Some(family) = self.next_family() {
            family.write_to(out);
            if out.len() >= full_at {
                return true;
            }
        }
        false
    }
}
