//! Which reads bring the wanted parts of a file? Few and long ones: a disk reads what lies between two wanted parts
//! faster than it begins another read.

use std::ops::Range;

/// Wanted parts this far apart, in bytes, are read at once.
pub const GAP_BYTES_MAX: u64 = 16 << 10;
/// No read is made longer than this, in bytes, by what is wanted behind it.
pub const READ_BYTES_MAX: u64 = 1 << 20;

/// One read, and what it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The bytes of the file.
    pub bytes: Range<u64>,
    /// Which of the wanted parts are among them.
    pub parts: Range<usize>,
}

/// The reads that bring all `wanted` parts, each part in one read. They are sorted by where they begin; they may overlap.
#[must_use]
pub fn coalesce(wanted: &[Range<u64>]) -> Vec<Read> {
    let mut reads: Vec<Read> = Vec::new();
    for (part, bytes) in wanted.iter().enumerate() {
        if let Some(read) = reads.last_mut() {
            let end = read.bytes.end.max(bytes.end);
            let is_near = bytes.start.saturating_sub(read.bytes.end) <= GAP_BYTES_MAX;
            let grows = end > read.bytes.end;
            if is_near && (!grows || end - read.bytes.start <= READ_BYTES_MAX) {
                read.bytes.end = end;
                read.parts.end = part + 1;
                continue;
            }
        }
        reads.push(Read { bytes: bytes.clone(), parts: part..part + 1 });
    }
    reads
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn near_parts_are_read_at_once_and_far_ones_are_not() {
        let reads = coalesce(&[0..10, 5..30, 16_000..16_100, 32_485..32_500]);
        let first = Read { bytes: 0..16_100, parts: 0..3 };
        assert_eq!(reads, [first, Read { bytes: 32_485..32_500, parts: 3..4 }]);
        assert_eq!(coalesce(&[]), []);
    }

    #[test]
    fn only_a_part_that_is_longer_makes_a_read_longer_than_a_mebibyte() {
        let parts = [0..3 << 20, 1 << 20..2 << 20, 3 << 20..(3 << 20) + 1];
        let reads = coalesce(&parts);
        let ranges: Vec<_> = reads.into_iter().map(|read| read.bytes).collect();
        assert_eq!(ranges, [0..3 << 20, 3 << 20..(3 << 20) + 1]);
    }

    proptest! {
        #[test]
        fn every_part_is_in_its_read(parts in proptest::collection::vec((0u64..4_000_000, 0u64..60_000), 0..60)) {
            let mut wanted: Vec<Range<u64>> = parts.into_iter().map(|(at, len)| at..at + len).collect();
            wanted.sort_by_key(|part| part.start);
            let mut next = 0;
            for read in coalesce(&wanted) {
                prop_assert_eq!(read.parts.start, next);
                next = read.parts.end;
                prop_assert!(read.bytes.end - read.bytes.start <= READ_BYTES_MAX);
                let is_inside = |part: &Range<u64>| part.start >= read.bytes.start && part.end <= read.bytes.end;
                prop_assert!(wanted[read.parts].iter().all(is_inside));
            }
            prop_assert_eq!(next, wanted.len());
        }
    }
}
