//! A shard's answers about its data: samples folded for a query, series, label names and values. From the Head and from
//! all blocks in the range of time that is asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

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
use crate::storage::selection::{Batch, Selected};

/// Series that are asked for a sample without a pause: some 20 us.
const SERIES_AT_ONCE: usize = 1024;

/// Why there is no answer: the disk does not read.
pub type ReadFailed = String;

/// The pace of folding within one series, which may be long. Between two of them a [`Slice`] is asked.
struct FoldPace<'a> {
    request: &'a FoldRequest,
}

impl Pace for FoldPace<'_> {
    async fn breathe(&self) {
        Slice::pause().await;
    }

    fn cancelled(&self) -> Option<Cancel> {
        self.request.is_cancelled().then_some(Cancel::Canceled)
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
        let storage = |error: BlockError| QueryError::Storage(error.to_string());
        let mut parts = Vec::with_capacity(request.leaves.len());
        let _sharer = Sharer::begin();
        let (mut slice, mut batch) = (Slice::shared(), Batch::default());
        let pace = FoldPace { request };
        for leaf in &request.leaves {
            let mut fold = LeafFold::new(leaf).charging(&request.account);
            let mut selected = self
                .select(life, leaf.matchers(), leaf.range(), &mut slice)
                .await
                .map_err(storage)?
                .through_cache();
            if leaf.wants_starts() {
                selected = selected.with_starts();
            }
            if leaf.wants_newest_only() {
                selected = selected.newest_only();
            }
            let mut is_empty = true;
            while selected.read(&mut batch, &mut slice).await.map_err(storage)? {
                for (run, samples) in batch.take_runs() {
                    if run.is_first {
                        fold.begin();
                        is_empty = true;
                    }
                    if !samples.is_empty() {
                        is_empty = false;
                        fold.feed(samples, &pace).await?;
                    }
                    if run.is_last && !is_empty {
                        let labels = run.series.labels(&life.head).unwrap_or_else(Labels::empty);
                        fold.end(labels.as_ref(), &pace).await?;
                    }
                    slice.breathe().await;
                    if request.is_cancelled() {
                        return Err(QueryError::Canceled);
                    }
                }
            }
            self.tell_damage(&mut selected, |what| fold.note_damage(what));
            parts.push(fold.finish());
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

    /// The label sets of the series that any selector finds.
    pub(super) async fn series(
        &self,
        life: &Life<D>,
        selection: &Selection,
    ) -> Result<Vec<Labels>, ReadFailed> {
        let (mut labels, mut slice) = (BTreeSet::new(), Slice::start());
        for matchers in selection.any_of() {
            let selected = self.select(life, matchers, selection.range, &mut slice).await;
            let mut selected = selected.map_err(|error| error.to_string())?;
            loop {
                let found = selected.next(&mut slice).await.map_err(|error| error.to_string())?;
                if found.is_empty() {
                    break;
                }
                for series in found {
                    labels.extend(series.labels(&life.head));
                    slice.breathe().await;
                }
            }
            self.tell_damage(&mut selected, drop);
        }
        Ok(labels.into_iter().collect())
    }

    /// The names of the labels of those series.
    pub(super) async fn label_names(
        &self,
        life: &Life<D>,
        selection: &Selection,
    ) -> Result<Vec<String>, ReadFailed> {
        let mut names = names_in_head(life, selection).await;
        let mut slice = Slice::start();
        let view = life.served.view();
        for block in view.overlapping(selection.range) {
            for matchers in selection.any_of() {
                // A mixed block has other shards' names as well. They are in the answer anyway.
                let found = block.block.label_names(matchers, &mut slice).await;
                names.extend(self.unless_damaged(found)?);
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The values that the label `name` has in those series.
    pub(super) async fn label_values(
        &self,
        life: &Life<D>,
        name: &str,
        selection: &Selection,
    ) -> Result<Vec<String>, ReadFailed> {
        let mut values = values_in_head(life, name, selection).await;
        let mut slice = Slice::start();
        let view = life.served.view();
        for block in view.overlapping(selection.range) {
            for matchers in selection.any_of() {
                let found = block.block.label_values(name, matchers, &mut slice).await;
                values.extend(self.unless_damaged(found)?);
            }
        }
        Ok(values.into_iter().collect())
    }

    /// What was found; nothing where a block is damaged or cannot be read.
    fn unless_damaged<T>(&self, found: Result<Vec<T>, BlockError>) -> Result<Vec<T>, ReadFailed> {
        match found {
            Ok(found) => Ok(found),
            Err(error) if error.may_pass() => Err(error.to_string()),
            Err(error) => {
                if self.0.told_damage.borrow_mut().insert(error.to_string()) {
                    tracing::error!(shard = %self.0.id, %error, "stored data is damaged; queries leave it out");
                }
                Ok(Vec::new())
            }
        }
    }
}

async fn names_in_head<D: Disk>(life: &Life<D>, selection: &Selection) -> BTreeSet<String> {
    if selection.selectors.is_empty() && selection.range == TimeRange::ALL {
        return used_names(&life.head).await;
    }
    let mut names = BTreeSet::new();
    for_each_in_head(life, selection, |head, series| {
        for label in head.label_pairs(series) {
            if !names.contains(label.name) {
                names.insert(label.name.to_owned());
            }
        }
    })
    .await;
    names
}

async fn values_in_head<D: Disk>(
    life: &Life<D>,
    name: &str,
    selection: &Selection,
) -> BTreeSet<String> {
    if selection.selectors.is_empty() && selection.range == TimeRange::ALL {
        return used_values(&life.head, name).await;
    }
    let mut values = BTreeSet::new();
    for_each_in_head(life, selection, |head, series| {
        if let Some(value) = head.value_of(series, name)
            && !values.contains(value)
        {
            values.insert(value.to_owned());
        }
    })
    .await;
    values
}

/// The label names of all series of the Head that have samples.
async fn used_names(head: &RefCell<Head>) -> BTreeSet<String> {
    let mut slice = Slice::start();
    let mut names: BTreeSet<String> = BTreeSet::new();
    let all: Vec<String> = head.borrow().pairs().names().map(str::to_owned).collect();
    for name in all {
        let mut at = 0;
        while let Some(pair) = pair_of_name(head, &name, at) {
            if is_used(head, pair, &mut slice).await {
                names.insert(name);
                break;
            }
            at += 1;
        }
    }
    names
}

/// The values that the label `name` has in all series of the Head that have samples.
async fn used_values(head: &RefCell<Head>, name: &str) -> BTreeSet<String> {
    let mut slice = Slice::start();
    let (mut values, mut at) = (BTreeSet::new(), 0);
    while let Some(pair) = pair_of_name(head, name, at) {
        if is_used(head, pair, &mut slice).await {
            values.insert(head.borrow().pairs().value(pair).to_owned());
        }
        at += 1;
    }
    values
}

/// Calls `visit` for each series of the Head that the selection finds, once a selector; pauses in between.
async fn for_each_in_head<D: Disk>(
    life: &Life<D>,
    selection: &Selection,
    mut visit: impl FnMut(&Head, u32),
) {
    let head = &life.head;
    let mut slice = Slice::start();
    for matchers in selection.any_of() {
        let selected = head.borrow().select(matchers);
        for series in selected {
            {
                let head = head.borrow();
                if head.overlaps(series, selection.range) {
                    visit(&head, series);
                }
            }
            slice.breathe().await;
        }
    }
}

fn pair_of_name(head: &RefCell<Head>, name: &str, at: usize) -> Option<PairId> {
    head.borrow().pairs().of_name(name).get(at).copied()
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
