//! Cutting a block: what is due, the beginning of a cut, and its end.
//!
//! ```text
//! freeze      a record `cut` goes into the log behind everything that was appended so far; a new generation begins, so that
//!             late samples that come from now on do not belong to the cut
//! extract     in small steps, where the chunks of the range lie (`cut_plan`); what is written of it is somebody else's
//! truncate    in small steps, once the block is published and nobody reads its samples here any more: they are dropped
//! ```
//! In-order samples before the end of the cut are not appended any more once it has begun, so that nothing but late ones of
//! a new generation can join them. Invariants: one cut at a time; no checkpoint is written from its beginning to its end,
//! because replay decides by the record alone what of a checkpoint is in the block; a chunk that lies across an end of
//! the range stays, and gives each block its part.
//! A cut that fails is given up: then its record means nothing, and what it was to cut is cut another time.

use std::collections::BTreeSet;

use ulid::Ulid;

use super::Head;
use super::late::LateSource;
use super::mem_series::{CHUNK_RANGE_MS, range_end};
use super::spilled::SpillTable;
use crate::encoding::record::CutRecord;
use crate::model::{BlockRange, SeriesRef, TimeRange, TimestampMs};
use crate::storage::wal::LogBuffer;

/// A cut that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The block's name.
    pub ulid: Ulid,
    /// The block's time.
    pub range: BlockRange,
    /// Late samples of this generation and those before belong to it.
    pub(super) generation: u32,
    /// The series below this index do.
    pub(super) series_end: u32,
}

/// What is to be cut next, if anything is.
///
/// The oldest two hours of the in-order samples are due when there are more than three hours of them. Source: `compactable`,
/// `tsdb/head.go`. Late samples that a cut came too late for, or that were too late for it, are due when the next one has
/// been: then a few of them do not make a block every moment.
///
/// - `in_order`: from the oldest to the newest sample that is in order.
/// - `left_behind`: the oldest sample that was late when the last cut of in-order samples began, and lies before its end.
#[must_use]
pub fn should_cut(
    in_order: Option<TimeRange>,
    left_behind: Option<TimestampMs>,
) -> Option<BlockRange> {
    let is_due =
        |range: &TimeRange| range.max().0.saturating_sub(range.min().0) > CHUNK_RANGE_MS / 2 * 3;
    let oldest = in_order.filter(is_due).map(TimeRange::min).or(left_behind)?;
    block_of(oldest)
}

/// The aligned two hours that hold `t`; four where Go's division makes zero of both sides.
fn block_of(t: TimestampMs) -> Option<BlockRange> {
    let end = range_end(t);
    let start = end.saturating_sub(CHUNK_RANGE_MS);
    BlockRange::new(if t < start { start.saturating_sub(CHUNK_RANGE_MS) } else { start }, end)
}

impl Cut {
    /// All that there is now, of which nothing is cut.
    pub(super) fn of_all(head: &Head, ulid: Ulid) -> Self {
        let range = BlockRange::ALL;
        Self { ulid, range, generation: head.generation, series_end: head.series.len() }
    }
}

impl Head {
    /// What is to be cut next, if anything is.
    #[must_use]
    pub fn next_cut(&self) -> Option<BlockRange> {
        should_cut(self.stats.in_order, self.left_behind)
    }

    /// How many ranges of two hours have full in-order chunks in files and are due, the one that is being cut included.
    #[must_use]
    pub fn overdue_ranges(&self) -> u64 {
        let Some(in_order) = self.stats().in_order else { return 0 };
        let due = in_order.max().saturating_sub(CHUNK_RANGE_MS / 2);
        let ends: BTreeSet<TimestampMs> =
            self.spilled.ends().filter(|end| *end > in_order.min() && *end < due).collect();
        ends.len() as u64
    }

    /// Begins a cut.
    ///
    /// # Panics
    /// If another one has begun and not ended.
    pub fn freeze(&mut self, ulid: Ulid, range: BlockRange, log: &mut LogBuffer) -> Cut {
        assert!(self.cut.is_none(), "one cut at a time");
        log.cut(CutRecord { ulid, range });
        let cut = Cut { ulid, range, generation: self.generation, series_end: self.series.len() };
        self.generation += 1;
        if range.end() > self.min_valid {
            self.min_valid = range.end();
            self.settled_generation = Some(cut.generation);
        }
        self.cut = Some(cut);
        cut
    }

    /// Gives a cut up whose block was not published.
    pub fn give_up(&mut self, cut: Cut) {
        if self.cut == Some(cut) {
            self.cut = None;
        }
    }

    /// Nothing is appended in order before `t` from now on: blocks have what is there.
    pub fn raise_min_valid(&mut self, t: TimestampMs) {
        self.min_valid = self.min_valid.max(t);
        // An empty Head, too, counts the window from what the blocks have.
        self.newest = self.newest.max(t.saturating_sub(1));
    }

    /// Goes on with a truncation for about so many series; `true`: it is done, and the cut has ended.
    pub fn truncate_some(&mut self, truncation: &mut Truncation, series: usize) -> bool {
        if self.truncated.is_none() {
            // Samples that come meanwhile widen an empty range; what was there is put to it as it is met.
            self.truncated = Some((self.stats.range.take(), self.stats.in_order.take()));
            truncation.end = self.series.len();
        }
        for _ in 0..series {
            if truncation.next >= truncation.end {
                self.end_truncation(truncation);
                return true;
            }
            self.truncate(truncation);
            truncation.next += 1;
        }
        false
    }

    fn end_truncation(&mut self, truncation: &Truncation) {
        let newest = self.newest;
        let cover = |range, oldest: Option<TimestampMs>| match oldest {
            Some(oldest) => super::cover(range, oldest, newest),
            None => range,
        };
        self.stats.in_order = cover(self.stats.in_order, truncation.in_order);
        self.stats.range = cover(self.stats.range, truncation.in_order);
        self.stats.range = cover(self.stats.range, truncation.late);
        self.left_behind = truncation.left_behind;
        self.truncated = None;
        self.give_up(truncation.cut);
    }

    fn truncate(&mut self, truncation: &mut Truncation) {
        let (index, cut) = (truncation.next, truncation.cut);
        let applies = truncation.applies_to(index);
        if applies {
            self.close_within(index, cut.range);
        }
        let (Some(series), Some(rest)) = (self.series.get(index), self.rest.get_mut(index)) else {
            return;
        };
        if series.reference == SeriesRef::default() {
            return;
        }
        let range_of = |table: &SpillTable, chunk| table.range(chunk);
        if applies {
            self.starts.truncate(index, cut.range.end());
            let (spilled, stats) = (&mut self.spilled, &mut self.stats);
            let before = rest.chunk_count();
            let goes = |table: &SpillTable, chunk| {
                range_of(table, chunk).is_some_and(|range| cut.range.holds(range))
            };
            if rest.spilled.iter().any(|chunk| goes(spilled, *chunk)) {
                let mut chunks = std::mem::take(&mut rest.spilled).into_vec();
                let gone = chunks.extract_if(.., |chunk| goes(spilled, *chunk));
                let gone: Vec<_> = gone.collect();
                gone.into_iter().for_each(|chunk| spilled.drop_one(chunk));
                rest.spilled = chunks.into_boxed_slice();
            }
            let mut bytes = 0;
            if rest.chunks.iter().any(|chunk| cut.range.holds(chunk.range)) {
                let mut chunks = std::mem::take(&mut rest.chunks).into_vec();
                chunks.retain(|chunk| {
                    let goes = cut.range.holds(chunk.range);
                    bytes += if goes { chunk.bytes.len() } else { 0 };
                    !goes
                });
                rest.chunks = chunks.into_boxed_slice();
            }
            if let Some(late) = &mut rest.late {
                late.truncate(cut.range, cut.generation, |source| match source {
                    LateSource::Memory(_, chunk) => bytes += chunk.len(),
                    LateSource::Spilled(chunk) => spilled.drop_one(*chunk),
                });
                if late.is_empty() {
                    rest.late = None;
                }
            }
            let dropped = (before - rest.chunk_count()) as u64;
            stats.chunks = stats.chunks.saturating_sub(dropped);
            stats.chunks_removed += dropped;
            stats.chunk_bytes = stats.chunk_bytes.saturating_sub(bytes as u64);
        }
        let first = rest.spilled.first().and_then(|chunk| range_of(&self.spilled, *chunk));
        let first = first.or_else(|| rest.chunks.first().map(|chunk| chunk.range));
        let oldest = first.or_else(|| series.open_range(rest)).map(TimeRange::min);
        // A chunk that stays because it lies across the end has its beginning in the block already.
        let oldest = oldest.map(|t| if cut.range.contains(t) { cut.range.end() } else { t });
        truncation.in_order = earlier(truncation.in_order, oldest);
        if let Some(late) = &rest.late {
            truncation.late = earlier(truncation.late, late.oldest(u32::MAX));
            let settled = self.settled_generation.and_then(|settled| late.oldest(settled));
            let behind = settled.filter(|t| *t < self.min_valid);
            truncation.left_behind = earlier(truncation.left_behind, behind);
        }
        if rest.is_empty() && series.has_no_floats() {
            truncation.empty.push(index);
        }
    }

    /// Ends the open chunk of a series if all of its samples lie in `range`.
    pub(super) fn close_within(&mut self, index: u32, range: BlockRange) {
        let Some((series, rest)) = self.series.get_mut(index).zip(self.rest.get_mut(index)) else {
            return;
        };
        if series.open_range(rest).is_some_and(|open| range.holds(open))
            && let Some(ended) = series.close(&mut rest.histogram)
        {
            Self::keep_ended(&mut self.rest, &mut self.stats, &mut self.full, index, ended);
        }
    }

    /// The indexes of series without a sample.
    pub fn empty_series(&self) -> impl Iterator<Item = u32> {
        self.indexes().filter(|index| {
            let series = self.series.get(*index).zip(self.rest.get(*index));
            series.is_some_and(|(series, rest)| series.has_no_floats() && rest.is_empty())
        })
    }
}

fn earlier(a: Option<TimestampMs>, b: Option<TimestampMs>) -> Option<TimestampMs> {
    a.into_iter().chain(b).min()
}

/// The dropping of what a cut has put into a block.
#[derive(Debug)]
pub struct Truncation {
    cut: Cut,
    next: u32,
    /// The series below this index were there when it began: all are counted, if not all are cut.
    end: u32,
    /// Only these series' samples are dropped, sorted; `None`: all's.
    only: Option<Vec<u32>>,
    /// How many of those lie before the next one.
    passed: usize,
    in_order: Option<TimestampMs>,
    late: Option<TimestampMs>,
    left_behind: Option<TimestampMs>,
    empty: Vec<u32>,
}

impl Truncation {
    /// The block of this cut is published, and nobody reads its samples in the Head any more.
    #[must_use]
    pub fn of(cut: Cut) -> Self {
        Self {
            cut,
            next: 0,
            end: 0,
            only: None,
            passed: 0,
            in_order: None,
            late: None,
            left_behind: None,
            empty: Vec::new(),
        }
    }

    /// What replay has read so far of the series `only`, sorted, within `range` is in a block.
    #[must_use]
    pub fn replayed(head: &Head, record: CutRecord, only: Option<Vec<u32>>) -> Self {
        let CutRecord { ulid, range } = record;
        let cut = Cut { ulid, range, generation: head.generation, series_end: head.series.len() };
        Self { only, ..Self::of(cut) }
    }

    /// The series that had nothing left when they were looked at, sorted: to be removed.
    #[must_use]
    pub fn into_empty(self) -> Vec<u32> {
        self.empty
    }

    fn applies_to(&mut self, index: u32) -> bool {
        let Some(only) = &self.only else { return index < self.cut.series_end };
        while only.get(self.passed).is_some_and(|at| *at < index) {
            self.passed += 1;
        }
        only.get(self.passed) == Some(&index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(in_order: (i64, i64), left_behind: Option<i64>) -> Option<(i64, i64)> {
        const MINUTE: i64 = 60_000;
        let minutes = |m: i64| TimestampMs(m * MINUTE);
        let in_order = TimeRange::new(minutes(in_order.0), minutes(in_order.1));
        should_cut(in_order, left_behind.map(minutes))
            .map(|range| (range.start().0 / MINUTE, range.end().0 / MINUTE))
    }

    #[test]
    fn two_aligned_hours_are_due_when_there_are_more_than_three() {
        assert_eq!(due((130, 310), None), None);
        assert_eq!(due((130, 311), None), Some((120, 240)));
        assert_eq!(due((0, 1000), None), Some((0, 120)));
        assert_eq!(should_cut(None, None), None);
    }

    #[test]
    fn what_was_left_behind_is_due_after_what_is_in_order() {
        assert_eq!(due((130, 400), Some(5)), Some((120, 240)));
        assert_eq!(due((240, 400), Some(5)), Some((0, 120)));
    }

    #[test] // Go divides toward zero, so that the two hours before 1970 and those behind it are one range
    fn before_1970_a_range_still_holds_what_it_is_of() {
        assert_eq!(due((-10, 1000), None), Some((-120, 120)));
        assert_eq!(due((-130, 1000), None), Some((-240, 0)));
        assert_eq!(due((-120, 1000), None), Some((-120, 0)));
    }
}
