//! The samples of a script, spread over a few shards by label hash, and queries over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shards::{Loaded, Shards};
use crate::model::histogram::ResetHint;
use crate::model::{
    HistogramSample, Labels, LabelsRef, Matcher, Sample, SampleStart, SamplesRef, TimestampMs,
    ValueRef, route_hash,
};
use crate::query::error::QueryError;
use crate::query::float_histogram::FloatHistogram;
use crate::query::leaf::Leaf;
use crate::query::leaf_fold::{LeafFold, LeafPart};
use crate::query::pace::Unpaced;

/// The shards.
#[derive(Debug)]
pub(super) struct Store {
    shards: Vec<BTreeMap<Labels, Stored>>,
}

/// One series.
#[derive(Debug, Default)]
struct Stored {
    samples: BTreeMap<i64, StoredValue>,
    /// The start timestamps of some of them.
    starts: BTreeMap<i64, i64>,
}

/// One sample.
#[derive(Debug)]
enum StoredValue {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Store {
    /// So many empty shards, at least one.
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: (0..shards.max(1)).map(|_| BTreeMap::new()).collect() }
    }

    fn series(&mut self, labels: &Labels) -> Option<&mut Stored> {
        let shards = self.shards.len() as u64;
        let shard = usize::try_from(route_hash(labels.as_ref()) % shards).ok()?;
        Some(self.shards.get_mut(shard)?.entry(labels.clone()).or_default())
    }
}

impl Shards for Store {
    fn clear(&mut self) {
        self.shards.iter_mut().for_each(BTreeMap::clear);
    }

    async fn load(&mut self, series: &[Loaded]) {
        for Loaded { labels, samples } in series {
            let Some(stored) = self.series(labels) else {
                continue;
            };
            for (t, value) in samples.as_ref().iter() {
                let value = match value {
                    ValueRef::Float(v) => StoredValue::Float(v),
                    ValueRef::Histogram(h) => {
                        StoredValue::Histogram(Arc::new(FloatHistogram::of(h)))
                    }
                };
                stored.samples.insert(t.0, value);
                stored.starts.remove(&t.0);
            }
            stored.starts.extend(samples.starts.iter().map(|start| (start.t.0, start.start.0)));
        }
        self.shards.iter_mut().flat_map(BTreeMap::values_mut).for_each(Stored::say_of_resets);
    }

    async fn ask(&self, leaf: &Leaf) -> Result<Vec<LeafPart>, QueryError> {
        let mut parts = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            parts.push(ask_shard(shard, leaf).await?);
        }
        Ok(parts)
    }
}

impl Stored {
    /// Has each histogram say what is known of a reset before it, as one says that comes from a chunk: that there was none
    /// since the one before. After a reset a chunk begins, and of its first one nothing is known.
    fn say_of_resets(&mut self) {
        let mut before: Option<Arc<FloatHistogram>> = None;
        for value in self.samples.values_mut() {
            let StoredValue::Histogram(h) = value else {
                before = None;
                continue;
            };
            if h.reset_hint != ResetHint::Gauge
                && !h.is_stale()
                && let Some(before) = before.filter(|before| before.reset_hint != ResetHint::Gauge)
            {
                let is_reset = h.reset_hint == ResetHint::Reset || resets(&before, h);
                let hint = if is_reset { ResetHint::Unknown } else { ResetHint::NotReset };
                if h.reset_hint != hint {
                    let mut said = FloatHistogram::clone(h);
                    said.reset_hint = hint;
                    *h = Arc::new(said);
                }
            }
            before = Some(Arc::clone(h));
        }
    }
}

/// Was the counter reset between two histograms, by what they count?
fn resets(before: &FloatHistogram, h: &FloatHistogram) -> bool {
    let mut unsaid = h.clone();
    unsaid.reset_hint = ResetHint::Unknown;
    unsaid.is_reset_after(before)
}

async fn ask_shard(shard: &BTreeMap<Labels, Stored>, leaf: &Leaf) -> Result<LeafPart, QueryError> {
    let mut fold = LeafFold::new(leaf);
    let range = leaf.range();
    for (labels, stored) in shard {
        if !selects(leaf.matchers(), labels.as_ref()) {
            continue;
        }
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        for (t, value) in stored.samples.range(range.min().0..=range.max().0) {
            let t = TimestampMs(*t);
            match value {
                StoredValue::Float(v) => floats.push(Sample { t, v: *v }),
                StoredValue::Histogram(h) => {
                    histograms.push(HistogramSample { t, histogram: h.to_any() });
                }
            }
        }
        if floats.is_empty() && histograms.is_empty() {
            continue;
        }
        let starts = stored.starts.range(range.min().0..=range.max().0);
        let starts =
            starts.map(|(t, start)| SampleStart { t: TimestampMs(*t), start: TimestampMs(*start) });
        let starts: Vec<SampleStart> = starts.collect();
        let (floats, histograms, starts) = (&floats[..], &histograms[..], &starts[..]);
        fold.begin();
        fold.feed(SamplesRef { floats, histograms, starts }, &Unpaced).await?;
        fold.end(labels.as_ref(), &Unpaced).await?;
    }
    fold.finish(&Unpaced).await
}

fn selects(matchers: &[Matcher], labels: LabelsRef<'_>) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}
