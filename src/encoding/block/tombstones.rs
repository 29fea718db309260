//! What of a block is deleted: for each series the ranges of time whose samples are not to be seen any more.
//!
//! ```text
//! file     0x0130ba30 u32 │ version 1 u8 │ entry* │ crc32c u32 over the entries        integers big-endian
//! entry    series uvarint │ first instant zigzag varint │ last instant zigzag varint   both ends included
//! ```
//! The file is read whole and rewritten whole. A series may have many entries; entries are written in order.
//! Invariants, of what is held: the ranges of a series are sorted, and between two of them there is an instant that is
//! not deleted.
//! Source: Prometheus `tsdb/docs/format/tombstones.md`, `tsdb/tombstones/tombstones.go`. Golden bytes:
//! `tests/golden/tombstones.hex`.

use std::collections::BTreeMap;

use crate::encoding::varint;
use crate::model::{Sample, SeriesId, TimeRange, TimestampMs};

const MAGIC: [u8; 4] = [0x01, 0x30, 0xba, 0x30];
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;
const CHECKSUM_BYTES: usize = 4;

/// Ranges of time, sorted; no two touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(Vec<TimeRange>);

impl Intervals {
    /// Adds a range; those that it overlaps, or that end or begin right beside it, become one with it.
    pub fn add(&mut self, range: TimeRange) {
        let ends_before = |other: &TimeRange| other.max() < range.min().saturating_sub(1);
        let begins_by_then = |other: &TimeRange| other.min() <= range.max().saturating_add(1);
        let from = self.0.partition_point(ends_before);
        let to = self.0.partition_point(begins_by_then).max(from);
        let joined = self.0.drain(from..to).fold(range, TimeRange::cover);
        self.0.insert(from, joined);
    }

    /// The ranges, sorted.
    #[must_use]
    pub fn as_slice(&self) -> &[TimeRange] {
        &self.0
    }

    /// Is a sample at `t` deleted?
    #[must_use]
    pub fn is_deleted(&self, t: TimestampMs) -> bool {
        let at = self.0.partition_point(|range| range.max() < t);
        self.0.get(at).is_some_and(|range| range.contains(t))
    }

    /// Is all of `range` deleted?
    #[must_use]
    pub fn covers(&self, range: TimeRange) -> bool {
        let at = self.0.partition_point(|own| own.max() < range.min());
        self.0.get(at).is_some_and(|own| own.contains(range.min()) && own.contains(range.max()))
    }

    /// Is any of `range` deleted?
    #[must_use]
    pub fn overlaps(&self, range: TimeRange) -> bool {
        let at = self.0.partition_point(|own| own.max() < range.min());
        self.0.get(at).is_some_and(|own| own.overlaps(range))
    }

    /// Takes the deleted samples out of a run that is sorted by time.
    pub fn apply(&self, samples: &mut Vec<Sample>) {
        let mut rest = self.0.iter().peekable();
        samples.retain(|sample| {
            while rest.next_if(|range| range.max() < sample.t).is_some() {}
            !rest.peek().is_some_and(|range| range.contains(sample.t))
        });
    }
}

/// All that is deleted of one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(BTreeMap<SeriesId, Intervals>);

/// Why some bytes are not a file of tombstones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TombstonesError {
    /// Too short for what every such file has.
    #[error("tombstones of {len} bytes are shorter than header and checksum")]
    Short {
        /// Their length.
        len: usize,
    },
    /// Something else stands where the magic number belongs.
    #[error("tombstones begin with {found:02x?} instead of {MAGIC:02x?}")]
    Magic {
        /// What stands there.
        found: [u8; 4],
    },
    /// A version that is not known.
    #[error("tombstones of version {found}, only {VERSION} is known")]
    Version {
        /// Which.
        found: u8,
    },
    /// The checksum is not that of the entries.
    #[error("the tombstones' crc32c is {stored:#010x}, their bytes give {computed:#010x}")]
    Checksum {
        /// What is written.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// An entry is cut off, names no series, or ends before it begins.
    #[error("byte {offset}: not a tombstone: {what}")]
    Entry {
        /// Where it begins, from the start of the file.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl Tombstones {
    /// Adds one range of one series.
    pub fn add(&mut self, series: SeriesId, range: TimeRange) {
        self.0.entry(series).or_default().add(range);
    }

    /// What of `series` is deleted, if anything.
    #[must_use]
    pub fn get(&self, series: SeriesId) -> Option<&Intervals> {
        self.0.get(&series)
    }

    /// The series of which something is deleted, in order, and what.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, &Intervals)> {
        self.0.iter().map(|(series, intervals)| (*series, intervals))
    }

    /// How many ranges there are, of all series: `numTombstones` in a block's statistics.
    #[must_use]
    pub fn range_count(&self) -> u64 {
        self.0.values().map(|intervals| intervals.0.len() as u64).sum()
    }

    /// Is nothing deleted?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The file that holds them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        for (series, intervals) in &self.0 {
            for range in &intervals.0 {
                varint::push_unsigned(&mut entries, u64::from(series.0));
                varint::push_signed(&mut entries, range.min().0);
                varint::push_signed(&mut entries, range.max().0);
            }
        }
        let checksum = crc32c::crc32c(&entries);
        [&MAGIC[..], &[VERSION], &entries, &checksum.to_be_bytes()].concat()
    }

    /// Reads the file that `bytes` are. Takes any bytes.
    ///
    /// # Errors
    /// Bytes that are not such a file, or not with this checksum.
    pub fn parse(bytes: &[u8]) -> Result<Self, TombstonesError> {
        let short = || TombstonesError::Short { len: bytes.len() };
        let (&[m0, m1, m2, m3, version], rest) =
            bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(short)?;
        let (entries, stored) = rest.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(short)?;
        let found = [m0, m1, m2, m3];
        if found != MAGIC {
            return Err(TombstonesError::Magic { found });
        }
        if version != VERSION {
            return Err(TombstonesError::Version { found: version });
        }
        let (stored, computed) = (u32::from_be_bytes(*stored), crc32c::crc32c(entries));
        if stored != computed {
            return Err(TombstonesError::Checksum { stored, computed });
        }
        let (mut all, mut rest) = (Self::default(), entries);
        while !rest.is_empty() {
            let offset = HEADER_BYTES + (entries.len() - rest.len());
            let refuse = |what| TombstonesError::Entry { offset, what };
            let (series, min, max, behind) = entry(rest).ok_or_else(|| refuse("it is cut off"))?;
            let series = u32::try_from(series)
                .map_err(|_| refuse("no series of a block has a number this large"))?;
            let range = TimeRange::new(TimestampMs(min), TimestampMs(max))
                .ok_or_else(|| refuse("it ends before it begins"))?;
            all.add(SeriesId(series), range);
            rest = behind;
        }
        Ok(all)
    }
}

/// Series, first and last instant of the entry at the front of `bytes`, and what follows it.
fn entry(bytes: &[u8]) -> Option<(u64, i64, i64, &[u8])> {
    let (series, rest) = varint::split_unsigned(bytes)?;
    let (min, rest) = varint::split_signed(rest)?;
    let (max, rest) = varint::split_signed(rest)?;
    Some((series, min, max, rest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(min: i64, max: i64) -> TimeRange {
        TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap()
    }

    fn tombstones(ranges: &[(u32, i64, i64)]) -> Tombstones {
        let mut all = Tombstones::default();
        for (series, min, max) in ranges {
            all.add(SeriesId(*series), range(*min, *max));
        }
        all
    }

    #[test] // golden bytes: Prometheus reads these
    fn tombstones_have_these_bytes() {
        let all = tombstones(&[(300, -5, 1_700_000_000_000), (7, 1, 2), (7, 10, 20)]);
        let hex: String = all.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = include_str!("../../../tests/golden/tombstones.hex");
        assert_eq!(hex, golden.trim());
    }

    #[test]
    fn ranges_side_by_side_are_one() {
        let all = tombstones(&[(1, 0, 9), (1, 20, 29), (1, 10, 18)]);
        assert_eq!(all.get(SeriesId(1)).unwrap().as_slice(), [range(0, 18), range(20, 29)]);
        let all = tombstones(&[(1, i64::MIN, 3), (1, 4, i64::MAX)]);
        assert_eq!(all.get(SeriesId(1)).unwrap().as_slice(), [TimeRange::ALL]);
        assert_eq!((all.range_count(), all.is_empty()), (1, false));
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_refused() {
        let mut bytes = [&MAGIC[..], &[VERSION, 1, 4, 2]].concat();
        bytes.extend_from_slice(&crc32c::crc32c(&[1, 4, 2]).to_be_bytes());
        let error = Tombstones::parse(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "byte 5: not a tombstone: it ends before it begins");
    }

    proptest! {
        #[test]
        fn adding_ranges_is_deleting_instants(
            ranges in proptest::collection::vec((0i64..60, 0i64..9), 0..20), asked in (0i64..70, 0i64..12),
        ) {
            let mut intervals = Intervals::default();
            let mut model = BTreeSet::new();
            for (min, len) in ranges {
                intervals.add(range(min, min + len));
                model.extend(min..=min + len);
            }
            for t in -1..75 {
                prop_assert_eq!(intervals.is_deleted(TimestampMs(t)), model.contains(&t));
            }
            let mut samples: Vec<Sample> = (-1..75).map(|t| Sample { t: TimestampMs(t), v: 0.0 }).collect();
            intervals.apply(&mut samples);
            let left: Vec<i64> = samples.iter().map(|sample| sample.t.0).collect();
            prop_assert_eq!(left, (-1..75).filter(|t| !model.contains(t)).collect::<Vec<_>>());
            let asked = range(asked.0, asked.0 + asked.1);
            let mut instants = asked.min().0..=asked.max().0;
            prop_assert_eq!(intervals.covers(asked), instants.clone().all(|t| model.contains(&t)));
            prop_assert_eq!(intervals.overlaps(asked), instants.any(|t| model.contains(&t)));
            let apart = |pair: &[TimeRange]| pair[0].max().0 + 1 < pair[1].min().0;
            prop_assert!(intervals.as_slice().windows(2).all(apart));
        }

        #[test]
        fn any_tombstones_come_back(ranges in proptest::collection::vec((any::<u32>(), any::<i64>(), any::<i64>()), 0..20)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(series, a, b)| (series % 5, a.min(b), a.max(b))).collect();
            let all = tombstones(&ranges);
            prop_assert_eq!(Tombstones::parse(&all.encode()), Ok(all));
        }

        #[test]
        fn cut_and_flipped_tombstones_are_refused(at: usize, bit in 0u8..8) {
            let whole = tombstones(&[(300, -5, 1_700_000_000_000), (7, 1, 2)]).encode();
            let at = at % whole.len();
            prop_assert!(Tombstones::parse(&whole[..at]).is_err());
            let mut flipped = whole;
            flipped[at] ^= 1 << bit;
            prop_assert!(Tombstones::parse(&flipped).is_err());
        }

        #[test]
        fn no_entries_panic(entries in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = [&MAGIC[..], &[VERSION], &entries].concat();
            bytes.extend_from_slice(&crc32c::crc32c(&entries).to_be_bytes());
            let _ = (Tombstones::parse(&bytes), Tombstones::parse(&entries));
        }
    }
}
