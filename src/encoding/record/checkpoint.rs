//! The beginning of a checkpoint: where the log goes on.

use super::{CHECKPOINT, begin, end};

/// Where the log goes on behind a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// The first segment that the checkpoint does not cover.
    pub first_segment: u64,
    /// The sequence of the first batch there.
    pub next_sequence: u64,
}

/// Appends the record that begins a checkpoint.
pub fn push_checkpoint(out: &mut Vec<u8>, record: CheckpointRecord) {
    let start = begin(out, CHECKPOINT);
    out.extend_from_slice(&record.first_segment.to_le_bytes());
    out.extend_from_slice(&record.next_sequence.to_le_bytes());
    end(out, start);
}

impl CheckpointRecord {
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let (first_segment, body) = body.split_first_chunk::<8>()?;
        let (next_sequence, rest) = body.split_first_chunk::<8>()?;
        rest.is_empty().then_some(Self {
            first_segment: u64::from_le_bytes(*first_segment),
            next_sequence: u64::from_le_bytes(*next_sequence),
        })
    }
}
