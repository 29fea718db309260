//! Samples of some series that are deleted: all of a time that stand before the record.

use super::{RecordError, TOMBSTONES, begin, end};
use crate::encoding::varint;
use crate::model::{SeriesRef, TimeRange, TimestampMs};

/// Appends a record that deletes samples; none if there are no series.
///
/// # Panics
/// If it would be longer than a batch may be; callers bound how many series they put into one record.
pub fn push_tombstones(out: &mut Vec<u8>, series: &[SeriesRef], range: TimeRange) {
    if series.is_empty() {
        return;
    }
    let start = begin(out, TOMBSTONES);
    out.extend_from_slice(&range.min().0.to_le_bytes());
    out.extend_from_slice(&range.max().0.to_le_bytes());
    let mut before = 0u64;
    for reference in series {
        varint::push_signed(out, reference.0.wrapping_sub(before).cast_signed());
        before = reference.0;
    }
    end(out, start);
}

/// Samples of some series that are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstonesRecord<'a> {
    /// Of which time; both ends are.
    pub range: TimeRange,
    before: u64,
    rest: &'a [u8],
}

impl<'a> TombstonesRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Option<Self> {
        let (first, body) = body.split_first_chunk::<8>()?;
        let (last, rest) = body.split_first_chunk::<8>()?;
        let time = |bytes| TimestampMs(i64::from_le_bytes(bytes));
        Some(Self { range: TimeRange::new(time(*first), time(*last))?, before: 0, rest })
    }
}

/// The series.
impl Iterator for TombstonesRecord<'_> {
    type Item = Result<SeriesRef, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((more, rest)) = varint::split_signed(self.rest) else {
            self.rest = &[];
            let what = "a tombstones record ends within a reference";
            return Some(Err(RecordError::Body { offset: 0, what }));
        };
        self.rest = rest;
        self.before = self.before.wrapping_add(more.cast_unsigned());
        Some(Ok(SeriesRef(self.before)))
    }
}
