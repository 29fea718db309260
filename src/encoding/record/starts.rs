//! Since when the counters of series count.

use super::{RecordError, STARTS, begin, end, next_entry};
use crate::encoding::varint::{push_signed, split_signed};
use crate::model::{SeriesRef, TimestampMs};

/// From an instant on, a series' counter counts since `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedStart {
    /// Whose.
    pub series: SeriesRef,
    /// Of samples from here on.
    pub from: TimestampMs,
    /// Since when; zero: that is not known.
    pub start: TimestampMs,
}

impl LoggedStart {
    /// What the first of a record is told by its difference from.
    const BEFORE_THE_FIRST: Self =
        Self { series: SeriesRef(0), from: TimestampMs(0), start: TimestampMs(0) };
}

/// An entry takes at most this many bytes: three numbers of 64 bits.
pub const START_BYTES_MAX: usize = 30;

/// Appends a record of starts.
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_starts(out: &mut Vec<u8>, starts: &[LoggedStart]) {
    let place = begin(out, STARTS);
    let mut before = LoggedStart::BEFORE_THE_FIRST;
    for logged in starts {
        push_signed(out, logged.series.0.wrapping_sub(before.series.0).cast_signed());
        push_signed(out, logged.from.0.wrapping_sub(before.from.0));
        push_signed(out, logged.start.0.wrapping_sub(before.start.0));
        before = *logged;
    }
    end(out, place);
}

/// Starts in the order in which they were logged.
#[derive(Clone, Debug)]
pub struct StartsRecord<'a> {
    rest: &'a [u8],
    before: LoggedStart,
}

impl<'a> StartsRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body, before: LoggedStart::BEFORE_THE_FIRST }
    }

    fn split(&mut self) -> Option<LoggedStart> {
        let (series, rest) = split_signed(self.rest)?;
        let (from, rest) = split_signed(rest)?;
        let (start, rest) = split_signed(rest)?;
        let before = self.before;
        self.rest = rest;
        self.before = LoggedStart {
            series: SeriesRef(before.series.0.wrapping_add(series.cast_unsigned())),
            from: TimestampMs(before.from.0.wrapping_add(from)),
            start: TimestampMs(before.start.0.wrapping_add(start)),
        };
        Some(self.before)
    }
}

impl Iterator for StartsRecord<'_> {
    type Item = Result<LoggedStart, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let what = "a starts record ends within an entry";
        next_entry(self, |record| &mut record.rest, Self::split, what)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Record, records};
    use super::*;

    fn record(all: &[LoggedStart]) -> Vec<u8> {
        let mut out = Vec::new();
        push_starts(&mut out, all);
        out
    }

    fn logged(series: u64, from: i64, start: i64) -> LoggedStart {
        let (from, start) = (TimestampMs(from), TimestampMs(start));
        LoggedStart { series: SeriesRef(series), from, start }
    }

    #[test] // golden bytes: the format cannot drift unseen
    fn a_record_of_starts_has_these_bytes() {
        let bytes = record(&[logged(7, 1000, 900), logged(8, 1000, 0)]);
        let golden = b"\x03\x09\0\0\0\x0e\xd0\x0f\x88\x0e\x02\x00\x87\x0e";
        assert_eq!(bytes, golden);
    }

    proptest! {
        #[test]
        fn any_starts_come_back(
            all in prop::collection::vec((any::<u64>(), any::<i64>(), any::<i64>()), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let all: Vec<_> = all.into_iter().map(|(s, from, start)| logged(s, from, start)).collect();
            let bytes = record(&all);
            let Some(Ok(Record::Starts(read))) = records(&bytes).next() else { panic!("a record") };
            prop_assert_eq!(read.map(Result::unwrap).collect::<Vec<_>>(), all);
            let body = &bytes[5..];
            let cut = &body[..cut.index(body.len() + 1)];
            prop_assert!(StartsRecord::of(cut).count() <= cut.len());
        }
    }
}
