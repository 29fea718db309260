//! Folding for one leaf of a query: from what is selected to what a shard answers.

use std::cell::RefCell;

use super::reading::storage;
use crate::io::{self, Disk};
use crate::model::Labels;
use crate::query::{Leaf, LeafFold, Pace, QueryError};
use crate::storage::head::Head;
use crate::storage::selection::{Batch, Selected, breathe_after};

/// Reads what `selected` finds for `leaf`, as far as that looks at it, and feeds it to `fold`. Gives the selection back: what it
/// found damaged is still to be told.
///
/// - `slice`: the pace between two series; `pace`: that within one.
///
/// # Errors
/// What the fold refuses, an evaluation that should stop, want of memory or descriptors.
pub async fn fold_leaf<D: Disk>(
    leaf: &Leaf,
    mut selected: Selected<D>,
    fold: &mut LeafFold,
    head: &RefCell<Head>,
    slice: &mut impl io::Pace,
    pace: &impl Pace,
) -> Result<Selected<D>, QueryError> {
    if leaf.wants_starts() {
        selected = selected.with_starts();
    }
    if leaf.wants_newest_only() {
        selected = selected.newest_only();
    }
    let (mut batch, mut is_empty) = (Batch::default(), true);
    while selected.read(&mut batch, slice).await.map_err(storage)? {
        for (run, samples) in batch.take_runs() {
            if run.is_first {
                fold.begin();
                is_empty = true;
            }
            if !samples.is_empty() {
                is_empty = false;
                fold.feed(samples, pace).await?;
            }
            if run.is_last && !is_empty {
                let labels = run.series.labels(head).unwrap_or_else(Labels::empty);
                fold.end(labels.as_ref(), pace).await?;
            }
            breathe_after(samples, slice).await;
        }
    }
    Ok(selected)
}
