//! The samples of a script, spread over a few shards by label hash, and queries over them.

use std::collections::BTreeMap;

use super::command::Load;
use super::parse::floats;
use crate::model::labels::METRIC_NAME;
use crate::model::{Labels, LabelsRef, Matcher, Sample, TimestampMs, route_hash};
use crate::query::error::QueryError;
use crate::query::leaf::Leaf;
use crate::query::leaf_fold::{LeafFold, LeafPart};

/// What a stored series has that queries cannot see yet.
const HISTOGRAMS: &str = "data with native histograms";
const START_TIMESTAMPS: &str = "data with start timestamps";

/// The shards.
#[derive(Debug)]
pub(super) struct Store {
    shards: Vec<BTreeMap<Labels, Stored>>,
}

/// One series.
#[derive(Debug, Default)]
struct Stored {
    samples: BTreeMap<i64, f64>,
    unsupported: Option<&'static str>,
}

impl Store {
    /// So many empty shards, at least one.
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: (0..shards.max(1)).map(|_| BTreeMap::new()).collect() }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.shards.iter_mut().for_each(BTreeMap::clear);
    }

    fn series(&mut self, labels: &Labels) -> Option<&mut Stored> {
        let shards = self.shards.len() as u64;
        let shard = usize::try_from(route_hash(labels.as_ref()) % shards).ok()?;
        Some(self.shards.get_mut(shard)?.entry(labels.clone()).or_default())
    }

    /// Stores what a `load` says.
    pub(super) fn load(&mut self, load: &Load) {
        for (description, starts) in &load.series {
            if load.with_native
                && let Some(native) = native_name(&description.labels)
                && let Some(stored) = self.series(&native)
            {
                stored.unsupported = Some(HISTOGRAMS);
            }
            let Some(stored) = self.series(&description.labels) else {
                continue;
            };
            if *starts {
                stored.unsupported = Some(START_TIMESTAMPS);
            }
            let Some(values) = floats(&description.items) else {
                stored.unsupported = Some(HISTOGRAMS);
                continue;
            };
            for (index, v) in values.into_iter().enumerate() {
                if let Some(v) = v {
                    stored.samples.insert(load.step * index as i64, v);
                }
            }
        }
    }

    /// What each shard answers for `leaf`.
    pub(super) fn ask(&self, leaf: &Leaf) -> Result<Vec<LeafPart>, QueryError> {
        self.shards.iter().map(|shard| ask_shard(shard, leaf)).collect()
    }
}

fn ask_shard(shard: &BTreeMap<Labels, Stored>, leaf: &Leaf) -> Result<LeafPart, QueryError> {
    let mut fold = LeafFold::new(leaf);
    let range = leaf.range();
    for (labels, stored) in shard {
        if !selects(leaf.matchers(), labels.as_ref()) {
            continue;
        }
        if let Some(what) = stored.unsupported {
            return Err(QueryError::Unsupported(what.to_owned()));
        }
        let samples = stored.samples.range(range.min().0..=range.max().0);
        let samples = samples.map(|(t, v)| Sample { t: TimestampMs(*t), v: *v });
        fold.push(labels.as_ref(), samples)?;
    }
    Ok(fold.finish())
}

fn selects(matchers: &[Matcher], labels: LabelsRef<'_>) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

/// The native histogram that a classic one's series would be part of.
fn native_name(labels: &Labels) -> Option<Labels> {
    let name = labels.get(METRIC_NAME)?;
    let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
    Some(labels.to_builder().remove("le").set(METRIC_NAME, base).build())
}
