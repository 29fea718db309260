//! How many reads of stored samples and of their index went to the disk, and how many bytes they brought.
//!
//! Counted where a read is issued for an answer, after what was in memory and after near parts have been read as one. What
//! opening a block or a start reads is not counted, nor what a merge reads, which has files of its own.

use std::cell::Cell;

use crate::io::BLOCK_BYTES;

/// Reads that were issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// How many.
    pub count: u64,
    /// Bytes that the disk had to give for them: whole blocks of 4 KiB.
    pub bytes: u64,
}

/// Counts reads.
#[derive(Debug, Default)]
pub struct ReadCounter(Cell<Reads>);

impl ReadCounter {
    /// These ranges, each an offset and a length, are read one by one.
    pub fn note(&self, ranges: &[(u64, usize)]) {
        let mut reads = self.0.get();
        for (offset, len) in ranges {
            reads.count += 1;
            reads.bytes += bytes_of_blocks(*offset, *len);
        }
        self.0.set(reads);
    }

    /// Counts on from where another one is.
    pub fn count_on(&self, before: &Self) {
        self.0.set(before.0.get());
    }

    /// All so far.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.0.get()
    }
}

/// How long the blocks are in which `len` bytes at `offset` lie.
fn bytes_of_blocks(offset: u64, len: usize) -> u64 {
    const BLOCK: u64 = BLOCK_BYTES as u64;
    let end = offset.saturating_add(len as u64);
    let end = end.checked_next_multiple_of(BLOCK).unwrap_or(end);
    if len == 0 { 0 } else { end - offset / BLOCK * BLOCK }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_as_long_as_the_blocks_that_it_touches() {
        let counter = ReadCounter::default();
        for (range, bytes) in
            [((0, 1), 4096), ((4095, 2), 8192), ((4096, 4096), 4096), ((5000, 0), 0)]
        {
            let before = counter.reads();
            counter.note(&[range]);
            let after = counter.reads();
            assert_eq!((after.count - before.count, after.bytes - before.bytes), (1, bytes));
        }
        assert_eq!(
            bytes_of_blocks(u64::MAX, 5),
            4095,
            "no file is that long, and nothing overflows"
        );
    }
}
