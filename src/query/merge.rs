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
use super::series_set::{Same, append, merge_same, sort_by_labels, sort_labelled};
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
    let counts = parts.iter().map(|part| match &part.data {
        PartData::Series(series) => (series.len(), 0),
        PartData::Samples(samples) => (0, samples.len()),
        PartData::Groups(_) => (0, 0),
    });
    let counts = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    series.reserve_exact(counts.0);
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
            PartData::Series(more) => {
                append(&mut series, more.len(), more, evaluation.meter.pacer()).await?;
            }
            PartData::Samples(more) => {
                let samples = samples.get_or_insert_with(|| Vec::with_capacity(counts.1));
                append(samples, more.len(), more, evaluation.meter.pacer()).await?;
            }
            PartData::Groups(more) => match &mut groups {
                None => groups = Some(more),
                Some(groups) => groups.merge(*more, &evaluation.meter).await?,
            },
        }
    }
    evaluation.own_reads = reads;
    if let Some(mut samples) = samples {
        sort_labelled(&mut samples, RawSeries::labels, evaluation.meter.pacer()).await?;
        return Ok(Value::Samples(samples));
    }
    if let Some(groups) = groups {
        let merged = groups.into_series(&evaluation.meter, &mut evaluation.annotations).await?;
        if series.is_empty() {
            series = merged;
        } else {
            append(&mut series, merged.len(), merged, evaluation.meter.pacer()).await?;
        }
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
    let count = identities.iter().map(|one| one.seen.len()).sum();
    // With room for all: to grow it would be to move all of it at once.
    let mut seen: HashSet<Fingerprint, RandomState> =
        HashSet::with_capacity_and_hasher(count, RandomState::default());
    for id in identities.into_iter().flat_map(|one| one.seen) {
        evaluation.meter.spend(LABELS_POINTS / 4).await?;
        if !seen.insert(id) {
            return Err(QueryError::same_labelset());
        }
    }
    Ok(())
}
