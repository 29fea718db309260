//! A shard's answers about its data: samples folded for a query, series, label names and values. From the Head and from
//! all blocks in the range of time that is asked for.

use std::cell::RefCell;
use std::rc::Rc;

use super::asking::Asking;
use super::folding::fold_leaf;
use super::found::Found;
use super::life::Life;
use super::{FoldRequest, Selection, Shard};
use crate::io::{Clock, Disk};
use crate::model::{Labels, Matcher, TimeRange};
use crate::query::pace::SLICE_POINTS;
use crate::query::{Cancel, LeafFold, LeafPart, Pace, QueryError};
use crate::rt::pace::{Sharer, Slice};
use crate::storage::block::BlockError;
use crate::storage::head::Head;
use crate::storage::head::pairs::PairId;
use crate::storage::selection::Selected;

/// Series that are asked for a sample without a pause: some 20 us.
const SERIES_AT_ONCE: usize = 1024;

/// The pace of folding within one series, which may be long. Between two of them a [`Slice`] is asked.
struct FoldPace<'a> {
    asking: &'a Asking,
}

impl Pace for FoldPace<'_> {
    async fn breathe(&self) {
        Slice::pause().await;
    }

    fn cancelled(&self) -> Option<Cancel> {
        self.asking.is_cancelled().then_some(Cancel::Canceled)
    }

    fn slice_points(&self) -> usize {
        Sharer::part_of(SLICE_POINTS)
    }
}

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Reads and folds the series of each leaf.
    pub(super) async fn fold(
        &self,
        life: &Life<D>,
        request: &FoldRequest,
    ) -> Result<Vec<LeafPart>, QueryError> {
        request.asking.unless_cancelled(self.fold_leaves(life, request)).await
    }

    async fn fold_leaves(
        &self,
        life: &Life<D>,
        request: &FoldRequest,
    ) -> Result<Vec<LeafPart>, QueryError> {
        let account = request.asking.account();
        let mut parts = Vec::with_capacity(request.leaves.len());
        let _sharer = Sharer::begin();
        let mut slice = Slice::shared();
        let pace = FoldPace { asking: &request.asking };
        for leaf in &request.leaves {
            let mut fold = LeafFold::new(leaf).charging(account);
            let selected = self
                .select(life, leaf.matchers(), leaf.range(), &mut slice)
                .await
                .map_err(storage)?
                .through_cache();
            let planned = selected.held_bytes();
            account.charge(planned)?;
            let folding = fold_leaf(leaf, selected, &mut fold, &life.head, &mut slice, &pace);
            let mut selected = folding.await?;
            self.tell_damage(&mut selected, |what| fold.note_damage(what));
            parts.push(fold.finish(&pace).await?);
            account.release(planned);
        }
        Ok(parts)
    }

    pub(super) async fn select(
        &self,
        life: &Life<D>,
        matchers: &[Matcher],
        range: TimeRange,
        slice: &mut Slice,
    ) -> Result<Selected<D>, BlockError> {
        let (view, spill, owns) = (life.served.view(), Rc::clone(&life.spill), &self.0.owns);
        Selected::find(Rc::clone(&life.head), spill, view, matchers, range, owns, slice).await
    }

    /// Counts and logs what a selection found damaged, and hands it on.
    pub(super) fn tell_damage(&self, selected: &mut Selected<D>, mut tell: impl FnMut(String)) {
        let (inner, damage) = (&self.0, selected.take_damage());
        if !damage.is_empty() {
            inner.damaged_answers.set(inner.damaged_answers.get() + 1);
        }
        for what in damage {
            inner.damaged_reads.set(inner.damaged_reads.get() + 1);
            if inner.told_damage.borrow_mut().insert(what.clone()) {
                tracing::error!(shard = %inner.id, damage = what, "stored data is damaged; queries leave it out");
            }
            tell(what);
        }
    }

    /// The label sets of the series that any selector finds, sorted, each once.
    pub(super) async fn series(
        &self,
        life: &Life<D>,
        selection: &Selection,
    ) -> Result<Vec<Labels>, QueryError> {
        let asking = &selection.asking;
        let (mut found, mut slice) = (Found::new(asking, selection.items_max), Slice::start());
        let work = async {
            for matchers in selection.any_of() {
                let selected = self.select(life, matchers, selection.range, &mut slice).await;
                let mut selected = selected.map_err(storage)?;
                let planned = selected.held_bytes();
                asking.account().charge(planned)?;
                loop {
                    let some = selected.next(&mut slice).await.map_err(storage)?;
                    if some.is_empty() {
                        break;
                    }
                    for series in some {
                        if let Some(labels) = series.labels(&life.head) {
                            found.add(labels)?;
                        }
                        slice.breathe().await;
                    }
                }
                self.tell_damage(&mut selected, drop);
                asking.account().release(planned);
            }
            found.into_sorted(&mut slice).await
        };
        asking.unless_cancelled(work).await
    }

    /// The names of the labels of those series, sorted, each once.
    pub(super) async fn label_names(
        &self,
        life: &Life<D>,
        selection: &Selection,
    ) -> Result<Vec<String>, QueryError> {
        let asking = &selection.asking;
        let (mut names, mut slice) = (Found::new(asking, selection.items_max), Slice::start());
        let work = async {
            names_in_head(life, selection, &mut names, &mut slice).await?;
            let view = life.served.view();
            for block in view.overlapping(selection.range) {
                for matchers in selection.any_of() {
                    // A mixed block has other shards' names as well. They are in the answer anyway.
                    let found = block.block.label_names(matchers, &mut slice).await;
                    for name in self.unless_damaged(found)? {
                        names.add(name)?;
                    }
                }
            }
            names.into_sorted(&mut slice).await
        };
        asking.unless_cancelled(work).await
    }

    /// The values that the label `name` has in those series, sorted, each once.
    pub(super) async fn label_values(
        &self,
        life: &Life<D>,
        name: &str,
        selection: &Selection,
    ) -> Result<Vec<String>, QueryError> {
        let asking = &selection.asking;
        let (mut values, mut slice) = (Found::new(asking, selection.items_max), Slice::start());
        let work = async {
            values_in_head(life, name, selection, &mut values, &mut slice).await?;
            let view = life.served.view();
            for block in view.overlapping(selection.range) {
                for matchers in selection.any_of() {
                    let found = block.block.label_values(name, matchers, &mut slice).await;
                    for value in self.unless_damaged(found)? {
                        values.add(value)?;
                        slice.breathe().await;
                    }
                }
            }
            values.into_sorted(&mut slice).await
        };
        asking.unless_cancelled(work).await
    }

    /// What was found; nothing where a block is damaged or cannot be read.
    fn unless_damaged<T>(&self, found: Result<Vec<T>, BlockError>) -> Result<Vec<T>, QueryError> {
        match found {
            Ok(found) => Ok(found),
            Err(error) if error.may_pass() => Err(storage(error)),
            Err(error) => {
                if self.0.told_damage.borrow_mut().insert(error.to_string()) {
                    tracing::error!(shard = %self.0.id, %error, "stored data is damaged; queries leave it out");
                }
                Ok(Vec::new())
            }
        }
    }
}

/// Why a question about stored data is not answered.
pub(super) fn storage(error: BlockError) -> QueryError {
    QueryError::Storage(error.to_string())
}

async fn names_in_head<D: Disk>(
    life: &Life<D>,
    selection: &Selection,
    names: &mut Found<String>,
    slice: &mut Slice,
) -> Result<(), QueryError> {
    if selection.selectors.is_empty() && selection.range == TimeRange::ALL {
        return used_names(&life.head, names, slice).await;
    }
    let visit = |head: &Head, series| {
        head.label_pairs(series).try_for_each(|label| names.add_text(label.name))
    };
    for_each_in_head(life, selection, slice, visit).await
}

async fn values_in_head<D: Disk>(
    life: &Life<D>,
    name: &str,
    selection: &Selection,
    values: &mut Found<String>,
    slice: &mut Slice,
) -> Result<(), QueryError> {
    if selection.selectors.is_empty() && selection.range == TimeRange::ALL {
        return used_values(&life.head, name, values, slice).await;
    }
    let visit = |head: &Head, series| {
        head.value_of(series, name).map_or(Ok(()), |value| values.add_text(value))
    };
    for_each_in_head(life, selection, slice, visit).await
}

/// The label names of all series of the Head that have samples.
async fn used_names(
    head: &RefCell<Head>,
    names: &mut Found<String>,
    slice: &mut Slice,
) -> Result<(), QueryError> {
    let all: Vec<String> = head.borrow().pairs().names().map(str::to_owned).collect();
    for name in all {
        for pair in pairs_of(head, &name) {
            if is_used(head, pair, slice).await {
                names.add(name)?;
                break;
            }
        }
        slice.breathe().await;
    }
    Ok(())
}

/// The values that the label `name` has in all series of the Head that have samples.
async fn used_values(
    head: &RefCell<Head>,
    name: &str,
    values: &mut Found<String>,
    slice: &mut Slice,
) -> Result<(), QueryError> {
    for pair in pairs_of(head, name) {
        if is_used(head, pair, slice).await {
            values.add_text(head.borrow().pairs().value(pair))?;
        }
        slice.breathe().await;
    }
    Ok(())
}

/// Calls `visit` for each series of the Head that the selection finds, once a selector; pauses in between.
async fn for_each_in_head<D: Disk>(
    life: &Life<D>,
    selection: &Selection,
    slice: &mut Slice,
    mut visit: impl FnMut(&Head, u32) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let (head, account) = (&life.head, selection.asking.account());
    for matchers in selection.any_of() {
        let selected = Head::select(head, matchers, slice).await;
        let planned = size_of_val(selected.as_slice());
        account.charge(planned)?;
        for series in selected {
            {
                let head = head.borrow();
                if head.overlaps(series, selection.range) {
                    visit(&head, series)?;
                }
            }
            slice.breathe().await;
        }
        account.release(planned);
    }
    Ok(())
}

/// The pairs that have this name now: while series are removed, their places in the list move.
fn pairs_of(head: &RefCell<Head>, name: &str) -> Vec<PairId> {
    head.borrow().pairs().of_name(name).to_vec()
}

/// Has any series with this label a sample? One from which all were deleted keeps its labels until the next cut.
async fn is_used(head: &RefCell<Head>, pair: PairId, slice: &mut Slice) -> bool {
    let mut from = 0;
    loop {
        {
            let head = head.borrow();
            let postings = head.pairs().postings(pair).get(from..).unwrap_or_default();
            if postings.is_empty() {
                return false;
            }
            let mut some = postings.iter().take(SERIES_AT_ONCE);
            if some.any(|series| head.overlaps(*series, TimeRange::ALL)) {
                return true;
            }
        }
        from += SERIES_AT_ONCE;
        slice.breathe().await;
    }
}
