//! What is exposed: series by series in order of their metric names, with the labels that are put to their own.
//!
//! The formats are `text`'s and `protobuf`'s. A family ends where the name or the type changes: of a name that has series
//! of several types there are several, one behind the other, as upstream has it.

use std::collections::BTreeMap;

use super::format::{Format, Kind};
use super::{protobuf, text};
use crate::model::histogram::{BucketIndexes, FloatHistogram};
use crate::model::labels::METRIC_NAME;
use crate::model::{AnyHistogram, Labels, ResetHint, TimestampMs};
use crate::rt::pace::Slice;
use crate::server::json::slices::Slices;
use crate::wire::metric_family::MetricType;

/// The label whose absence is told.
const INSTANCE: &str = "instance";

/// A series' newest sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Newest {
    /// A number, and its instant.
    Float(TimestampMs, f64),
    /// A native histogram, and its instant.
    Histogram(TimestampMs, AnyHistogram),
    /// A mark that there is nothing any more.
    Gone,
}

/// A series and what it says now.
#[derive(Debug)]
pub struct Exposed {
    /// Its labels, a metric name among them.
    pub labels: Labels,
    /// When it said so.
    pub t: TimestampMs,
    /// What.
    pub value: Value,
}

/// What a series says.
#[derive(Debug)]
pub enum Value {
    /// A number.
    Float(f64),
    /// A distribution.
    Histogram(FloatHistogram),
}

impl Exposed {
    /// The metric name.
    pub fn name(&self) -> &str {
        self.labels.get(METRIC_NAME).unwrap_or_default()
    }

    /// The type of the family that it belongs to.
    pub fn kind(&self) -> MetricType {
        match &self.value {
            Value::Float(_) => MetricType::Untyped,
            Value::Histogram(h) if h.as_ref().reset_hint == ResetHint::Gauge => {
                MetricType::GaugeHistogram
            }
            Value::Histogram(_) => MetricType::Histogram,
        }
    }
}

/// What every series gets that does not have it.
#[derive(Debug)]
pub struct External {
    /// In order of their names.
    labels: Vec<(String, String)>,
}

impl External {
    /// The external labels, and an empty instance if none of them is one.
    fn new(external: &Labels) -> Self {
        let mut labels: Vec<_> =
            external.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
        if !labels.iter().any(|(name, _)| name == INSTANCE) {
            labels.push((INSTANCE.to_owned(), String::new()));
            labels.sort_unstable();
        }
        Self { labels }
    }

    /// The labels of a series but its name, and behind them those of these that it does not have.
    pub fn beside<'a>(&'a self, own: &'a Labels) -> impl Iterator<Item = (&'a str, &'a str)> {
        let external = self.labels.iter().filter(|(name, _)| own.get(name).is_none());
        own.iter()
            .filter(|label| label.name != METRIC_NAME)
            .map(|label| (label.name, label.value))
            .chain(external.map(|(name, value)| (&**name, &**value)))
    }
}

/// The answer with these samples, in this format.
pub async fn exposition(
    mut found: BTreeMap<Labels, Newest>,
    external: &Labels,
    format: Format,
    slice: &mut Slice,
) -> Box<dyn Slices> {
    // By their metric's name, and in order of their labels.
    let mut families = BTreeMap::<String, Vec<Exposed>>::new();
    while let Some((labels, newest)) = found.pop_first() {
        slice.breathe().await;
        let (t, value) = match newest {
            Newest::Float(t, v) => (t, Value::Float(v)),
            Newest::Histogram(t, h) => {
                let h = match h {
                    AnyHistogram::Int(h) => h.to_float(),
                    AnyHistogram::Float(h) => h,
                };
                // The text format has classic histograms only, and that is what custom buckets become.
                let has_place = format.kind == Kind::Protobuf || h.as_ref().has_custom_buckets();
                if !has_place {
                    continue;
                }
                (t, Value::Histogram(h))
            }
            Newest::Gone => continue,
        };
        // What has no name has no family either.
        let Some(name) = labels.get(METRIC_NAME) else { continue };
        let name = name.to_owned();
        families.entry(name).or_default().push(Exposed { labels, t, value });
    }
    let mut exposed = Vec::with_capacity(families.values().map(Vec::len).sum());
    for family in families.into_values() {
        exposed.extend(family);
        slice.breathe().await;
    }
    let (exposed, external) = (exposed.into_iter(), External::new(external));
    match format.kind {
        Kind::Text => Box::new(text::Text::new(exposed, external, format.escaping)),
        Kind::Protobuf => Box::new(protobuf::Families::new(exposed, external, format.escaping)),
    }
}

/// The buckets of a histogram with custom ones: their bounds, and how many observations are not above each.
pub fn classic_buckets(h: &FloatHistogram) -> impl Iterator<Item = (f64, f64)> {
    let h = h.as_ref();
    let counted = BucketIndexes::new(h.positive_spans).zip(h.positive_buckets);
    let mut counted = counted.peekable();
    let mut cumulative = 0.0;
    (0..).zip(h.custom_values).map(move |(bucket, bound)| {
        while let Some((_, count)) = counted.next_if(|(index, _)| *index <= bucket) {
            cumulative += count;
        }
        (*bound, cumulative)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_lite::future::block_on;

    use super::*;
    use crate::model::HistogramRef;
    use crate::model::histogram::Span;
    use crate::server::federate::format::Escaping;
    use crate::wire::metric_family::MetricFamily;

    fn written(found: BTreeMap<Labels, Newest>, external: &Labels, format: Format) -> Vec<u8> {
        let (mut out, mut unpaced) = (Vec::new(), Slice::of(Duration::MAX));
        let mut exposition = block_on(exposition(found, external, format, &mut unpaced));
        assert!(!exposition.fill(&mut out, usize::MAX));
        out
    }

    fn text(
        series: &[(&'static str, &'static str)],
        external: &[(&'static str, &'static str)],
        escaping: Escaping,
    ) -> String {
        let labels = |pairs: &[(&'static str, &'static str)]| {
            Labels::from_pairs(pairs.iter().copied()).unwrap()
        };
        let found = [(labels(series), Newest::Float(TimestampMs(1), 2e6))].into();
        let format = Format { kind: Kind::Text, escaping };
        String::from_utf8(written(found, &labels(external), format)).unwrap()
    }

    #[test]
    fn external_labels_stand_behind_a_series_own_and_do_not_replace_them() {
        let external = [("foo", "baz"), ("zone", "ie")];
        assert_eq!(
            text(&[("__name__", "a"), ("foo", "bar\"\\\n")], &external, Escaping::Underscores),
            "# TYPE a untyped\na{foo=\"bar\\\"\\\\\\n\",instance=\"\",zone=\"ie\"} 2e+06 1\n"
        );
        assert_eq!(
            text(&[("__name__", "a")], &[("instance", "x")], Escaping::Underscores),
            "# TYPE a untyped\na{instance=\"x\"} 2e+06 1\n"
        );
    }

    #[test]
    fn names_are_escaped_as_the_scraper_wants_them() {
        let exposed = |escaping| text(&[("__name__", "a.b_c"), ("l.m", "v")], &[], escaping);
        assert_eq!(
            exposed(Escaping::AllowUtf8),
            "# TYPE \"a.b_c\" untyped\n{\"a.b_c\",\"l.m\"=\"v\",instance=\"\"} 2e+06 1\n"
        );
        assert_eq!(
            exposed(Escaping::Underscores),
            "# TYPE a_b_c untyped\na_b_c{l_m=\"v\",instance=\"\"} 2e+06 1\n"
        );
        assert_eq!(
            exposed(Escaping::Dots),
            "# TYPE a_dot_b__c untyped\na_dot_b__c{l_dot_m=\"v\",instance=\"\"} 2e+06 1\n"
        );
        assert_eq!(
            exposed(Escaping::Values),
            "# TYPE U__a_2e_b__c untyped\nU__a_2e_b__c{U__l_2e_m=\"v\",instance=\"\"} 2e+06 1\n"
        );
    }

    const SPANS: &[Span] = &[Span { offset: 0, length: 2 }, Span { offset: 2, length: 1 }];

    /// Series of one metric: a number, two histograms, a number, a histogram of gauges, one with custom buckets.
    fn of_all_kinds() -> BTreeMap<Labels, Newest> {
        let exponential = HistogramRef::<u64> {
            schema: 1,
            zero_threshold: 0.001,
            count: 8,
            zero_count: 2,
            sum: 39.5,
            positive_spans: SPANS,
            positive_buckets: &[3, -1, -1],
            ..HistogramRef::empty()
        };
        let gauge = HistogramRef { reset_hint: ResetHint::Gauge, ..exponential };
        let custom = HistogramRef::<u64> {
            schema: -53,
            count: 6,
            sum: 1.5,
            positive_spans: SPANS,
            positive_buckets: &[3, -1, -1],
            custom_values: &[0.1, 0.2, 0.5, 1.0, 2.0],
            ..HistogramRef::empty()
        };
        let t = TimestampMs(7);
        let histogram =
            |h: HistogramRef<'_, u64>| Newest::Histogram(t, AnyHistogram::Int(h.to_histogram()));
        let newest = [
            Newest::Float(t, 1.0),
            histogram(exponential),
            histogram(exponential),
            Newest::Float(t, 2.0),
            histogram(gauge),
            histogram(custom),
            Newest::Gone,
        ];
        let labels = |at: usize| {
            Labels::from_pairs([("__name__", "m"), ("at", at.to_string().as_str())]).unwrap()
        };
        newest.into_iter().enumerate().map(|(at, newest)| (labels(at), newest)).collect()
    }

    #[test]
    fn text_has_classic_histograms_for_custom_buckets_and_leaves_other_native_ones_out() {
        let format = Format { kind: Kind::Text, escaping: Escaping::Underscores };
        let text = String::from_utf8(written(of_all_kinds(), &Labels::empty(), format)).unwrap();
        assert_eq!(
            text,
            "# TYPE m untyped\n\
             m{at=\"0\",instance=\"\"} 1 7\n\
             m{at=\"3\",instance=\"\"} 2 7\n\
             # TYPE m histogram\n\
             m_bucket{at=\"5\",instance=\"\",le=\"0.1\"} 3 7\n\
             m_bucket{at=\"5\",instance=\"\",le=\"0.2\"} 5 7\n\
             m_bucket{at=\"5\",instance=\"\",le=\"0.5\"} 5 7\n\
             m_bucket{at=\"5\",instance=\"\",le=\"1\"} 5 7\n\
             m_bucket{at=\"5\",instance=\"\",le=\"2\"} 6 7\n\
             m_bucket{at=\"5\",instance=\"\",le=\"+Inf\"} 6 7\n\
             m_sum{at=\"5\",instance=\"\"} 1.5 7\n\
             m_count{at=\"5\",instance=\"\"} 6 7\n"
        );
    }

    #[test]
    fn protobuf_has_all_kinds_a_family_for_each_run_of_one() {
        let format = Format { kind: Kind::Protobuf, escaping: Escaping::Underscores };
        let bytes = written(of_all_kinds(), &Labels::empty(), format);
        let families = MetricFamily::all_of(&bytes);
        let kinds: Vec<_> = families.iter().map(|f| (f.kind(), f.metrics.len())).collect();
        let expected = [
            (MetricType::Untyped, 1),
            (MetricType::Histogram, 2),
            (MetricType::Untyped, 1),
            (MetricType::GaugeHistogram, 1),
            (MetricType::Histogram, 1),
        ];
        assert_eq!(kinds, expected);
        assert!(families.iter().all(|family| family.name() == "m"));
        let native = families[1].metrics[0].histogram.as_ref().unwrap();
        assert_eq!((native.schema(), native.count(), native.zero_count()), (1, 8.0, 2.0));
        assert_eq!(native.positive_counts, [3.0, 2.0, 1.0]);
        assert_eq!(native.positive_spans.len(), 2);
        let classic = families[4].metrics[0].histogram.as_ref().unwrap();
        assert_eq!((classic.schema, classic.zero_count, classic.sum()), (None, None, 1.5));
        let counts: Vec<_> = classic.buckets.iter().map(|b| b.cumulative_count()).collect();
        assert_eq!(counts, [3.0, 5.0, 5.0, 5.0, 6.0]);
        let labels: Vec<_> = families[4].metrics[0].labels.iter().map(|l| l.name()).collect();
        assert_eq!(labels, ["at", "instance"]);
        assert_eq!(families[4].metrics[0].timestamp_ms(), 7);
    }
}
