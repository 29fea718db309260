//! Sets of series: sorting them by labels, taking metric names off, and merging those that have become the same.

use hashbrown::HashMap;

use foldhash::fast::RandomState;

use super::error::QueryError;
use super::grouping::without_metric;
use super::pace::{LABELS_POINTS, Meter, Pace};
use super::value::Series;

/// What to do with several series of the same labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Same {
    /// Make them one; fail if two of them have a point at the same step.
    Merge,
    /// Fail.
    Refuse,
}

/// Runs sorted at once; longer ones are merged with a breath in between.
const RUN: usize = 256;

/// The series sorted by labels.
pub(super) async fn sort_by_labels<P: Pace>(
    mut series: Vec<Series>,
    meter: &Meter<'_, P>,
) -> Result<Vec<Series>, QueryError> {
    if series.is_sorted_by(|a, b| a.labels <= b.labels) {
        return Ok(series);
    }
    for run in series.chunks_mut(RUN) {
        meter.spend(run.len() * LABELS_POINTS).await?;
        run.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    let mut width = RUN;
    while width < series.len() {
        let mut merged = Vec::with_capacity(series.len());
        let mut rest = series.into_iter();
        while rest.len() > 0 {
            let left: Vec<Series> = rest.by_ref().take(width).collect();
            let right: Vec<Series> = rest.by_ref().take(width).collect();
            merge_sorted(left, right, &mut merged, meter).await?;
        }
        series = merged;
        width *= 2;
    }
    Ok(series)
}

async fn merge_sorted<P: Pace>(
    left: Vec<Series>,
    right: Vec<Series>,
    merged: &mut Vec<Series>,
    meter: &Meter<'_, P>,
) -> Result<(), QueryError> {
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        meter.spend(LABELS_POINTS / 4).await?;
        let next = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if b.labels < a.labels => right.next(),
            (Some(_), _) => left.next(),
            (None, _) => right.next(),
        };
        match next {
            Some(series) => merged.push(series),
            None => return Ok(()),
        }
    }
}

/// Takes the metric names off the series for which `which` holds.
pub(super) async fn drop_names<P: Pace>(
    series: &mut [Series],
    which: impl Fn(&Series) -> bool,
    meter: &Meter<'_, P>,
) -> Result<(), QueryError> {
    for one in series.iter_mut().filter(|one| which(one)) {
        meter.spend(LABELS_POINTS).await?;
        one.labels = without_metric(one.labels.as_ref());
    }
    Ok(())
}

/// Deals with series of the same labels; the first one's place and mark stay.
///
/// # Errors
/// Series of the same labels that cannot be one.
pub(super) async fn merge_same<P: Pace>(
    mut series: Vec<Series>,
    same: Same,
    meter: &Meter<'_, P>,
) -> Result<Vec<Series>, QueryError> {
    if series.len() <= 1 {
        return Ok(series);
    }
    let mut firsts: HashMap<&[u8], usize, RandomState> =
        HashMap::with_capacity_and_hasher(series.len(), RandomState::default());
    let mut repeated = Vec::new();
    for (index, one) in series.iter().enumerate() {
        meter.spend(LABELS_POINTS / 4).await?;
        let first = *firsts.entry(one.labels.as_bytes()).or_insert(index);
        if first != index {
            repeated.push((first, index));
        }
    }
    drop(firsts);
    if repeated.is_empty() {
        return Ok(series);
    }
    if same == Same::Refuse {
        return Err(QueryError::same_labelset());
    }
    for (first, index) in &repeated {
        let column =
            series.get_mut(*index).map(|one| std::mem::take(&mut one.column)).unwrap_or_default();
        meter.spend(column.len()).await?;
        if let Some(first) = series.get_mut(*first)
            && !first.column.merge(&column)
        {
            return Err(QueryError::same_labelset());
        }
    }
    series.retain(|one| !one.column.is_empty());
    Ok(series)
}
