//! Where the chunks of a Head lie that have left memory, in 16 bytes a chunk, and which files they need.
//!
//! ```text
//! file u32 │ offset u32 │ first t, 24 bits │ last t, 24 bits │ length of the chunk, 15 bits │ late, 1 bit
//! ```
//! All chunks of one file begin in one aligned two-hour range; times count from four hours before its end, which holds the
//! range that the division of negative times makes twice as long. A chunk that does not fit stays in memory.

use std::collections::BTreeMap;

use super::mem_series::{CHUNK_RANGE_MS, range_end};
use crate::encoding::record::SpillPlace;
use crate::encoding::spilled::FRAME_BYTES;
use crate::model::{SeriesRef, TimeRange, TimestampMs};

/// Before the end of a range, in milliseconds: where the times of its chunks count from.
const BASE_MS: i64 = 2 * CHUNK_RANGE_MS;
const TIME_BITS: u32 = 24;
const LEN_BITS: u32 = 15;
/// A longer chunk cannot leave memory, nor go into a block: none of ours is a tenth as long.
pub const CHUNK_BYTES_MAX: usize = (1 << LEN_BITS) - 1;

const _: () = assert!(BASE_MS < 1 << TIME_BITS, "a time within a file's range fits");

/// Where one chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpilledChunk {
    file: u32,
    offset: u32,
    packed: u64,
}

const _: () = assert!(size_of::<SpilledChunk>() == 16, "a series has several for hours");

impl SpilledChunk {
    /// The chunk at `place`, if it fits: in a file of the range that ends at `end`.
    #[must_use]
    pub fn of(place: &SpillPlace, end: TimestampMs) -> Option<Self> {
        let time = |t: TimestampMs| {
            let from_base = t.0.checked_sub(end.0)?.checked_add(BASE_MS)?;
            u64::try_from(from_base).ok().filter(|t| *t < 1 << TIME_BITS)
        };
        let (first, last) = (time(place.range.min())?, time(place.range.max())?);
        let len = u64::from(place.len).checked_sub(FRAME_BYTES as u64)?;
        let late = u64::from(place.late);
        (len < 1 << LEN_BITS).then_some(Self {
            file: place.file,
            offset: place.offset,
            packed: first | last << TIME_BITS | len << (2 * TIME_BITS) | late << 63,
        })
    }

    /// The number of its file.
    #[must_use]
    pub fn file(self) -> u32 {
        self.file
    }

    /// From its first to its last sample, given where its file's range ends.
    #[must_use]
    pub fn range(self, end: TimestampMs) -> Option<TimeRange> {
        let mask = (1u64 << TIME_BITS) - 1;
        let time =
            |bits: u64| end.saturating_sub(BASE_MS).saturating_add((bits & mask).cast_signed());
        TimeRange::new(time(self.packed), time(self.packed >> TIME_BITS))
    }

    /// Its place, given whose it is and where its file's range ends.
    #[must_use]
    pub fn place(self, series: SeriesRef, end: TimestampMs) -> Option<SpillPlace> {
        let len = self.packed >> (2 * TIME_BITS) & ((1 << LEN_BITS) - 1);
        let len = u32::try_from(len + FRAME_BYTES as u64).ok()?;
        let (range, late) = (self.range(end)?, self.packed >> 63 == 1);
        Some(SpillPlace { series, file: self.file, offset: self.offset, len, range, late })
    }
}

/// The spill files that a Head needs.
#[derive(Debug, Default, Clone)]
pub struct SpillTable {
    files: BTreeMap<u32, SpillFile>,
}

/// What is known of one file.
#[derive(Debug, Clone, Copy)]
struct SpillFile {
    /// Where its range ends.
    end: TimestampMs,
    /// How many of its chunks are needed.
    chunks: u32,
}

impl SpillTable {
    /// Notes that the chunk at `place` is needed; `None` if it does not fit, or its file belongs to another range.
    pub fn add(&mut self, place: &SpillPlace) -> Option<SpilledChunk> {
        let end = range_end(place.range.min());
        let chunk = SpilledChunk::of(place, end)?;
        let file = self.files.entry(place.file).or_insert(SpillFile { end, chunks: 0 });
        if file.end != end {
            return None;
        }
        file.chunks = file.chunks.saturating_add(1);
        Some(chunk)
    }

    /// Notes that a chunk is needed no more.
    pub fn drop_one(&mut self, chunk: SpilledChunk) {
        if let Some(file) = self.files.get_mut(&chunk.file) {
            file.chunks = file.chunks.saturating_sub(1);
            if file.chunks == 0 {
                self.files.remove(&chunk.file);
            }
        }
    }

    /// From the first to the last sample of a chunk of a file that is needed.
    #[must_use]
    pub fn range(&self, chunk: SpilledChunk) -> Option<TimeRange> {
        chunk.range(self.files.get(&chunk.file)?.end)
    }

    /// Where the range of a chunk's file ends, if that is needed.
    #[must_use]
    pub fn end(&self, chunk: SpilledChunk) -> Option<TimestampMs> {
        self.files.get(&chunk.file).map(|file| file.end)
    }

    /// The place of a chunk of a file that is needed.
    #[must_use]
    pub fn place(&self, chunk: SpilledChunk, series: SeriesRef) -> Option<SpillPlace> {
        chunk.place(series, self.files.get(&chunk.file)?.end)
    }

    /// The numbers of the files that are needed.
    pub fn files(&self) -> impl Iterator<Item = u32> {
        self.files.keys().copied()
    }

    /// Where the ranges of the files that are needed end.
    pub fn ends(&self) -> impl Iterator<Item = TimestampMs> {
        self.files.values().map(|file| file.end)
    }

    /// How many chunks are in files.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.files.values().map(|file| u64::from(file.chunks)).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(min: i64, max: i64) -> SpillPlace {
        let range = TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap();
        SpillPlace { series: SeriesRef(7), file: 3, offset: 1 << 30, len: 200, range, late: true }
    }

    #[test]
    fn a_chunk_that_spans_too_much_does_not_fit() {
        let mut table = SpillTable::default();
        assert!(table.add(&place(0, 1 << 40)).is_none());
        assert!(table.add(&place(i64::MAX - 5, i64::MAX)).is_some());
    }

    #[test]
    fn a_file_is_needed_until_its_last_chunk_is_dropped() {
        let mut table = SpillTable::default();
        let chunks = [table.add(&place(5, 6)).unwrap(), table.add(&place(7, 8)).unwrap()];
        assert!(table.add(&place(CHUNK_RANGE_MS, CHUNK_RANGE_MS)).is_none(), "another range");
        table.drop_one(chunks[0]);
        assert_eq!(table.files().collect::<Vec<_>>(), [3]);
        table.drop_one(chunks[1]);
        assert_eq!((table.files().count(), table.range(chunks[1])), (0, None));
    }

    proptest! {
        #[test]
        fn a_place_comes_back_from_its_16_bytes(
            min in -3 * CHUNK_RANGE_MS..1 << 50, span in 0..CHUNK_RANGE_MS, late: bool, len in 33u32..30_000,
        ) {
            let max = (min + span).min(range_end(TimestampMs(min)).0 - 1);
            let place = SpillPlace { late, len, ..place(min, max) };
            let mut table = SpillTable::default();
            let chunk = table.add(&place).unwrap();
            prop_assert_eq!(table.place(chunk, SeriesRef(7)), Some(place));
            prop_assert_eq!(table.range(chunk), Some(place.range));
        }
    }
}
