//! A cut: the beginning of a block that takes what stands before the record.

use ulid::Ulid;

use super::{CUT, begin, end};
use crate::model::{BlockRange, TimestampMs};

/// What goes into a block: everything in the log before it, within its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutRecord {
    /// The block. Whether it came into being, the blocks tell.
    pub ulid: Ulid,
    /// Its time.
    pub range: BlockRange,
}

/// Appends the record of a cut.
pub fn push_cut(out: &mut Vec<u8>, record: CutRecord) {
    let start = begin(out, CUT);
    out.extend_from_slice(&record.ulid.to_bytes());
    out.extend_from_slice(&record.range.start().0.to_le_bytes());
    out.extend_from_slice(&record.range.end().0.to_le_bytes());
    end(out, start);
}

impl CutRecord {
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let (ulid, body) = body.split_first_chunk::<16>()?;
        let (start, body) = body.split_first_chunk::<8>()?;
        let (end, rest) = body.split_first_chunk::<8>()?;
        let time = |bytes| TimestampMs(i64::from_le_bytes(bytes));
        let range = BlockRange::new(time(*start), time(*end))?;
        rest.is_empty().then_some(Self { ulid: Ulid::from_bytes(*ulid), range })
    }
}
