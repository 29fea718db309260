//! What a script is run over: shards that take samples and answer a query's leaves. The runner has its own, in memory;
//! whoever stores samples otherwise can have scripts run over that.

use std::collections::BTreeMap;
use std::future::Future;

use super::command::{Load, ScriptValue};
use super::nhcb;
use crate::model::{HistogramSample, Labels, Sample, SampleStart, Samples, TimestampMs};
use crate::query::error::QueryError;
use crate::query::leaf::Leaf;
use crate::query::leaf_fold::LeafPart;

/// A series that a script stores samples of.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Its labels.
    pub labels: Labels,
    /// Its samples; also histograms may have starts.
    pub samples: Samples,
}

/// Shards.
pub trait Shards {
    /// Forgets all samples.
    fn clear(&mut self);

    /// Stores samples. They may be older than others of their series.
    fn load(&mut self, series: &[Loaded]) -> impl Future<Output = ()>;

    /// What each shard answers for `leaf`.
    ///
    /// # Errors
    /// Those of folding, and of reading what is stored.
    fn ask(&self, leaf: &Leaf) -> impl Future<Output = Result<Vec<LeafPart>, QueryError>>;
}

impl Loaded {
    /// All that a `load` stores, series in the order of its lines. Of two lines about one series the later one stands.
    pub(super) fn of(load: &Load) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::with_capacity(load.series.len());
        let mut places = BTreeMap::new();
        for series in &load.series {
            let mut samples = Samples::default();
            for (index, value) in series.values.iter().enumerate() {
                let t = TimestampMs(load.step.saturating_mul(index as i64));
                match value {
                    Some(ScriptValue::Float(v)) => samples.floats.push(Sample { t, v: *v }),
                    Some(ScriptValue::Histogram { histogram, .. }) => {
                        let histogram = histogram.to_any();
                        samples.histograms.push(HistogramSample { t, histogram });
                    }
                    None => continue,
                }
                let start = series.starts.get(index).copied().flatten();
                let start = start.map(|offset| t.saturating_add(offset));
                if let Some(start) = start.filter(|start| start.0 != 0) {
                    samples.starts.push(SampleStart { t, start });
                }
            }
            let place = *places.entry(&series.labels).or_insert(all.len());
            match all.get_mut(place) {
                Some(before) => before.samples = samples,
                None => all.push(Self { labels: series.labels.clone(), samples }),
            }
        }
        if load.with_native {
            for (labels, histograms) in nhcb::natives(&load.series, load.step) {
                let histograms = histograms.into_iter();
                let histograms =
                    histograms.map(|(t, h)| HistogramSample { t, histogram: h.to_any() });
                let samples = Samples { histograms: histograms.collect(), ..Samples::default() };
                all.push(Self { labels, samples });
            }
        }
        all
    }
}
