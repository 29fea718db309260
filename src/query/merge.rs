//! Puts together what the shards answered for one leaf, in order of the shards.

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use super::engine::{Evaluation, Value};
use super::error::QueryError;
use super::grid::Grid;
use super::leaf::NameRule;
use super::leaf_fold::{Identities, LeafPart, PartData};
use super::pace::{LABELS_POINTS, Pace};
use super::reads::Reads;
use super::series_set::{Same, merge_same, sort_by_labels};
use super::value::RawSeries;
use crate::model::Fingerprint;

/// The leaf's value. `one_name` says that all series had the same metric name.
///
/// An instant's series come sorted by labels, so that its answer does not depend on where series live; over several
/// steps the answer is sorted in the end anyway.
pub(super) async fn parts<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    parts: Vec<LeafPart>,
    name: NameRule,
    one_name: bool,
    grid: Grid,
) -> Result<Value, QueryError> {
    let (mut series, mut samples, mut groups) = (Vec::new(), None, None);
    let mut reads = evaluation.counts_reads.then(|| Reads::none(grid.count));
    let mut identities = Vec::new();
    for part in parts {
        // From here on the node's value is held, and charged when it is made.
        evaluation.meter.account().release(part.charged);
        evaluation.annotations.merge(part.annotations);
        identities.extend(part.identities);
        if let (Some(reads), Some(of_part)) = (&mut reads, &part.reads) {
            reads.add(of_part);
            reads.held_max = reads.held_max.max(of_part.held_max);
        }
        match part.data {
            PartData::Series(more) => series.extend(more),
            PartData::Samples(more) => samples.get_or_insert_with(Vec::new).extend(more),
            PartData::Groups(more) => match &mut groups {
                None => groups = Some(more),
                Some(groups) => groups.merge(*more, &evaluation.meter).await?,
            },
        }
    }
    evaluation.own_reads = reads;
    if let Some(mut samples) = samples {
        samples.sort_by(|a: &RawSeries, b| a.labels.cmp(&b.labels));
        return Ok(Value::Samples(samples));
    }
    if let Some(groups) = groups {
        let merged = groups.into_series(&evaluation.meter, &mut evaluation.annotations).await?;
        series.extend(merged);
    }
    if !one_name || identities.iter().any(|identities| identities.typed) {
        distinct(evaluation, identities).await?;
    }
    if name.drops() {
        series = merge_same(series, Same::Refuse, &evaluation.meter).await?;
    }
    if grid.count == 1 {
        series = sort_by_labels(series, &evaluation.meter).await?;
    }
    Ok(Value::Vector(series))
}

/// Fails if two series that were aggregated had become the same by losing their metric names.
async fn distinct<P: Pace>(
    evaluation: &Evaluation<'_, P>,
    identities: Vec<Identities>,
) -> Result<(), QueryError> {
    let mut seen: HashSet<Fingerprint, RandomState> = HashSet::default();
    for id in identities.into_iter().flat_map(|one| one.seen) {
        evaluation.meter.spend(LABELS_POINTS / 4).await?;
        if !seen.insert(id) {
            return Err(QueryError::same_labelset());
        }
    }
    Ok(())
}
