//! A shard's answers about its data: samples folded for a query, series, label names and values. From the Head and from
//! all blocks in the range of time that is asked for.

use std::collections::BTreeSet;

use super::{FoldRequest, Selection, Shard};
use crate::io::{Clock, Disk};
use crate::model::{Labels, Matcher, TimeRange};
use crate::query::{LeafFold, LeafPart, QueryError};
use crate::rt::pace::Slice;
use crate::storage::block::BlockError;
use crate::storage::selection::{Batch, Selected};

/// Why there is no answer: the disk does not read.
pub type ReadFailed = String;

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Reads and folds the series of each leaf.
    pub(super) async fn fold(&self, request: &FoldRequest) -> Result<Vec<LeafPart>, QueryError> {
        let storage = |error: BlockError| QueryError::Storage(error.to_string());
        let mut parts = Vec::with_capacity(request.leaves.len());
        let (mut slice, mut batch) = (Slice::start(), Batch::default());
        for leaf in &request.leaves {
            let mut fold = LeafFold::new(leaf);
            let mut selected =
                self.select(leaf.matchers(), leaf.range(), &mut slice).await.map_err(storage)?;
            let mut is_empty = true;
            while selected.read(&mut batch, &mut slice).await.map_err(storage)? {
                for (run, samples) in batch.take_runs() {
                    if run.is_first {
                        fold.begin();
                        is_empty = true;
                    }
                    if !samples.is_empty() {
                        is_empty = false;
                        fold.feed(samples.iter().copied())?;
                    }
                    if run.is_last && !is_empty {
                        let labels = run.series.labels(&self.0.head).unwrap_or_else(Labels::empty);
                        fold.end(labels.as_ref())?;
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

    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        slice: &mut Slice,
    ) -> Result<Selected<'_, D>, BlockError> {
        let inner = &self.0;
        let (view, owns) = (inner.served.view(), &inner.owns);
        Selected::find(&inner.head, self.spill(), view, matchers, range, owns, slice).await
    }

    /// Counts and logs what a selection found damaged, and hands it on.
    fn tell_damage(&self, selected: &mut Selected<'_, D>, mut tell: impl FnMut(String)) {
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
    pub(super) async fn series(&self, selection: &Selection) -> Result<Vec<Labels>, ReadFailed> {
        let (mut labels, mut slice) = (BTreeSet::new(), Slice::start());
        for matchers in selection.any_of() {
            let selected = self.select(matchers, selection.range, &mut slice).await;
            let mut selected = selected.map_err(|error| error.to_string())?;
            loop {
                let found = selected.next(&mut slice).await.map_err(|error| error.to_string())?;
                if found.is_empty() {
                    break;
                }
                for series in found {
                    labels.extend(series.labels(&self.0.head));
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
        selection: &Selection,
    ) -> Result<Vec<String>, ReadFailed> {
        let mut names = self.names_in_head(selection).await;
        let mut slice = Slice::start();
        let view = self.0.served.view();
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
        name: &str,
        selection: &Selection,
    ) -> Result<Vec<String>, ReadFailed> {
        let mut values = self.values_in_head(name, selection).await;
        let mut slice = Slice::start();
        let view = self.0.served.view();
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

    async fn names_in_head(&self, selection: &Selection) -> BTreeSet<String> {
        let head = &self.0.head;
        if selection.selectors.is_empty() && selection.range == TimeRange::ALL {
            return head.borrow().pairs().names().map(str::to_owned).collect();
        }
        let mut names = BTreeSet::new();
        self.for_each_in_head(selection, |head, series| {
            for label in head.label_pairs(series) {
                if !names.contains(label.name) {
                    names.insert(label.name.to_owned());
                }
            }
        })
        .await;
        names
    }

    async fn values_in_head(&self, name: &str, selection: &Selection) -> BTreeSet<String> {
        let head = &self.0.head;
        if selection.selectors.is_empty() && selection.range == TimeRange::ALL {
            let head = head.borrow();
            let pairs = head.pairs().of_name(name).iter();
            return pairs.map(|pair| head.pairs().value(*pair).to_owned()).collect();
        }
        let mut values = BTreeSet::new();
        self.for_each_in_head(selection, |head, series| {
            if let Some(value) = head.value_of(series, name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        })
        .await;
        values
    }

    /// Calls `visit` for each series of the Head that the selection finds, once a selector; pauses in between.
    async fn for_each_in_head(
        &self,
        selection: &Selection,
        mut visit: impl FnMut(&crate::storage::head::Head, u32),
    ) {
        let head = &self.0.head;
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
}
