//! One block's part of a selection: its series in order of labels, read some hundreds at a time.

use std::collections::VecDeque;
use std::rc::Rc;

use super::SERIES_AT_ONCE;
use crate::encoding::block::tombstones::Tombstones;
use crate::io::{Disk, Pace};
use crate::model::{Labels, SeriesId, TimeRange, route_hash};
use crate::storage::block::BlockError;
use crate::storage::block::reader::SeriesEntry;
use crate::storage::served::ServedBlock;

pub(super) struct Line<D: Disk> {
    pub block: Rc<ServedBlock<D>>,
    /// What was deleted when the selection began.
    pub tombstones: Rc<Tombstones>,
    owns: Option<Rc<dyn Fn(u64) -> bool>>,
    ids: Vec<SeriesId>,
    next: usize,
    entries: VecDeque<SeriesEntry>,
}

impl<D: Disk> Line<D> {
    pub fn new(
        block: Rc<ServedBlock<D>>,
        ids: Vec<SeriesId>,
        owns: &Rc<dyn Fn(u64) -> bool>,
    ) -> Self {
        let owns = block.is_mixed.then(|| Rc::clone(owns));
        let tombstones = block.block.tombstones();
        Self { block, tombstones, owns, ids, next: 0, entries: VecDeque::new() }
    }

    /// Reads until there is a series, if there is one more: own ones with chunks in `range` that are not all deleted.
    pub async fn fill(&mut self, range: TimeRange, pace: &mut impl Pace) -> Result<(), BlockError> {
        while self.entries.is_empty() && self.next < self.ids.len() {
            let end = (self.next + SERIES_AT_ONCE).min(self.ids.len());
            let ids = self.ids.get(self.next..end).unwrap_or_default();
            self.next = end;
            let read = self.block.block.series(ids, pace).await?;
            for mut entry in read {
                let owned =
                    self.owns.as_ref().is_none_or(|owns| owns(route_hash(entry.labels.as_ref())));
                if !owned {
                    continue;
                }
                let deleted = self.tombstones.get(entry.id);
                entry.chunks.retain(|chunk| {
                    chunk.range.overlaps(range)
                        && !deleted.is_some_and(|deleted| deleted.covers(chunk.range))
                });
                if !entry.chunks.is_empty() {
                    self.entries.push_back(entry);
                }
            }
            pace.breathe().await;
        }
        Ok(())
    }

    /// How many bytes the series that are selected take.
    pub fn held_bytes(&self) -> usize {
        size_of_val(self.ids.as_slice())
    }

    /// The labels of the next series.
    pub fn front(&self) -> Option<&Labels> {
        self.entries.front().map(|entry| &entry.labels)
    }

    /// The next series, if it is the one with these labels.
    pub fn take(&mut self, labels: &Labels) -> Option<SeriesEntry> {
        if self.front() == Some(labels) { self.entries.pop_front() } else { None }
    }

    /// The rest cannot be read.
    pub fn give_up(&mut self) {
        self.next = self.ids.len();
    }
}
