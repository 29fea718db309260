//! Where the chunks of a Head lie that have left memory, in 16 bytes a chunk, and which files they need.
//!
//! ```text
//! file, 24 bits │ encoding, 4 bits │ unit, 4 bits │ offset u32 │ first t, 24 bits │ last t, 24 bits │ length of the chunk,
//! 15 bits │ late, 1 bit
//! ```
//! The length counts in bytes times 2^unit: that of a chunk of 32 KiB or more, which only large histograms make, is rounded up,
//! and zeros follow it in its file.
//! All chunks of one file begin in one aligned two-hour range; times count from four hours before its end, which holds the
//! range that the division of negative times makes twice as long. A chunk that does not fit stays in memory: of ours all do.

use std::collections::BTreeMap;

use super::mem_series::{CHUNK_RANGE_MS, range_end};
use crate::encoding::record::SpillPlace;
use crate::encoding::spilled::FRAME_BYTES;
use crate::model::{SeriesRef, TimeRange, TimestampMs};

/// Before the end of a range, in milliseconds: where the times of its chunks count from.
const BASE_MS: i64 = 2 * CHUNK_RANGE_MS;
const TIME_BITS: u32 = 24;
const LEN_BITS: u32 = 15;
const ENCODING_BITS: u32 = 4;
const UNIT_BITS: u32 = 4;
/// No file has this number or a higher one.
pub const FILES_MAX: u32 = 1 << (32 - ENCODING_BITS - UNIT_BITS);
/// A longer chunk is not ours: half a gigabyte.
pub const CHUNK_BYTES_MAX: usize = ((1 << LEN_BITS) - 1) << ((1 << UNIT_BITS) - 2);

const _: () = assert!(BASE_MS < 1 << TIME_BITS, "a time within a file's range fits");

/// Where one chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpilledChunk {
    /// The number of the file, and below it encoding and unit.
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
        let (unit, late) = (unit_of(len)?, u64::from(place.late));
        let encoding = u32::from(place.encoding);
        let fits = place.file < FILES_MAX && encoding < 1 << ENCODING_BITS;
        fits.then_some(Self {
            file: place.file << (ENCODING_BITS + UNIT_BITS) | encoding << UNIT_BITS | unit,
            offset: place.offset,
            packed: first
                | last << TIME_BITS
                | len.div_ceil(1 << unit) << (2 * TIME_BITS)
                | late << 63,
        })
    }

    /// The number of its file.
    #[must_use]
    pub fn file(self) -> u32 {
        self.file >> (ENCODING_BITS + UNIT_BITS)
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
        let units = self.packed >> (2 * TIME_BITS) & ((1 << LEN_BITS) - 1);
        let len = units << (self.file & ((1 << UNIT_BITS) - 1));
        let encoding = self.file >> UNIT_BITS & ((1 << ENCODING_BITS) - 1);
        Some(SpillPlace {
            series,
            file: self.file(),
            offset: self.offset,
            len: u32::try_from(len + FRAME_BYTES as u64).ok()?,
            encoding: u8::try_from(encoding).ok()?,
            range: self.range(end)?,
            late: self.packed >> 63 == 1,
        })
    }
}

/// The smallest unit in which a length fits its bits.
fn unit_of(len: u64) -> Option<u32> {
    (0..1 << UNIT_BITS).find(|unit| len.div_ceil(1 << unit) < 1 << LEN_BITS)
}

/// So many bytes a chunk of `len` bytes takes in its file: as many, or some more if it is long.
#[must_use]
pub fn bytes_there(len: usize) -> Option<usize> {
    unit_of(len as u64).map(|unit| len.next_multiple_of(1 << unit))
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
        if let Some(file) = self.files.get_mut(&chunk.file()) {
            file.chunks = file.chunks.saturating_sub(1);
            if file.chunks == 0 {
                self.files.remove(&chunk.file());
            }
        }
    }

    /// From the first to the last sample of a chunk of a file that is needed.
    #[must_use]
    pub fn range(&self, chunk: SpilledChunk) -> Option<TimeRange> {
        chunk.range(self.files.get(&chunk.file())?.end)
    }

    /// Where the range of a chunk's file ends, if that is needed.
    #[must_use]
    pub fn end(&self, chunk: SpilledChunk) -> Option<TimestampMs> {
        self.files.get(&chunk.file()).map(|file| file.end)
    }

    /// The place of a chunk of a file that is needed.
    #[must_use]
    pub fn place(&self, chunk: SpilledChunk, series: SeriesRef) -> Option<SpillPlace> {
        chunk.place(series, self.files.get(&chunk.file())?.end)
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
        let len = 200;
        let series = SeriesRef(7);
        SpillPlace { series, file: 3, offset: 1 << 30, len, encoding: 1, range, late: true }
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

    #[test]
    fn a_length_is_exact_below_32_kib_and_rounded_up_beyond() {
        let there = [32_767, 32_768, 32_769, 65_535, CHUNK_BYTES_MAX + 1].map(bytes_there);
        assert_eq!(there[..4], [Some(32_767), Some(32_768), Some(32_770), Some(65_536)]);
    }

    proptest! {
        #[test]
        fn a_place_comes_back_from_its_16_bytes(
            min in -3 * CHUNK_RANGE_MS..1 << 50, span in 0..CHUNK_RANGE_MS, late: bool, encoding in 0u8..16,
            len in prop_oneof![0usize..30_000, 0usize..CHUNK_BYTES_MAX],
        ) {
            let len = u32::try_from(bytes_there(len).unwrap() + FRAME_BYTES).unwrap();
            let max = (min + span).min(range_end(TimestampMs(min)).0 - 1);
            let place = SpillPlace { late, len, encoding, ..place(min, max) };
            let mut table = SpillTable::default();
            let chunk = table.add(&place).unwrap();
            prop_assert_eq!(table.place(chunk, SeriesRef(7)), Some(place));
            prop_assert_eq!(table.range(chunk), Some(place.range));
        }
    }
}
