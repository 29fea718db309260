//! A checksum of each page of one part of a file, noted while the part is read or written from end to end.
//!
//! Symbols and the postings' table have one checksum each, behind all of them: whoever reads a page later cannot be held to
//! that. These can, at 4 bytes for 16 KiB. Put together they are the checksum of the part.
//! Invariant: there is a sum for each page that the part touches, over those of its bytes that belong to the part.

use std::ops::Range;

use super::cache::PAGE_BYTES;

const PAGE: u64 = PAGE_BYTES as u64;

/// What the pages of a part of a file were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageSums {
    range: Range<u64>,
    sums: Vec<u32>,
}

impl PageSums {
    /// Of a part that begins at byte `start` of its file; nothing of it is noted yet.
    pub fn new(start: u64) -> Self {
        Self { range: start..start, sums: Vec::new() }
    }

    /// Notes the bytes that follow those before.
    pub fn note(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.range.is_empty() || self.range.end.is_multiple_of(PAGE) {
                self.sums.push(0);
            }
            let (piece, rest) = bytes
                .split_at_checked(to_usize(PAGE - self.range.end % PAGE))
                .unwrap_or((bytes, &[]));
            if let Some(sum) = self.sums.last_mut() {
                *sum = crc32c::crc32c_append(*sum, piece);
            }
            self.range.end += piece.len() as u64;
            bytes = rest;
        }
    }

    /// The bytes of the file that are noted.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The checksum over all of them.
    pub fn whole(&self) -> u32 {
        let mut at = self.range.start;
        self.sums.iter().fold(0, |whole, sum| {
            let end = self.page_end(at);
            let len = to_usize(end - at);
            at = end;
            crc32c::crc32c_combine(whole, *sum, len)
        })
    }

    /// The whole pages in which these bytes of the file lie, as far as they belong to the part.
    pub fn pages_around(&self, bytes: Range<u64>) -> Range<u64> {
        let start = (bytes.start / PAGE * PAGE).max(self.range.start);
        start..bytes.end.next_multiple_of(PAGE).min(self.range.end)
    }

    /// The first byte of the first page that is not as it was noted, if there is one among these bytes, which begin at byte
    /// `start` of the file. What does not belong to the part is passed by; of what does, they have whole pages.
    pub fn first_wrong(&self, start: u64, bytes: &[u8]) -> Option<u64> {
        let mut at = start.max(self.range.start);
        let end = start.saturating_add(bytes.len() as u64).min(self.range.end);
        while at < end {
            let (page, page_end) = (at / PAGE - self.range.start / PAGE, self.page_end(at));
            let piece = bytes.get(to_usize(at - start)..to_usize(page_end - start));
            let computed = crc32c::crc32c(piece.unwrap_or_default());
            if self.sums.get(to_usize(page)) != Some(&computed) {
                return Some(at);
            }
            at = page_end;
        }
        None
    }

    /// Where the page ends in which byte `at` lies, or the part does.
    fn page_end(&self, at: u64) -> u64 {
        (at / PAGE * PAGE).saturating_add(PAGE).min(self.range.end)
    }

    /// How many bytes of memory it takes, about.
    pub fn held_bytes(&self) -> usize {
        self.sums.capacity() * size_of::<u32>()
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_other_bit_of_the_part_is_found_in_its_page(start in 0u64..40_000, len in 1usize..100_000, pieces in 1usize..9, at in any::<prop::sample::Index>(), bit in 0u32..8) {
            let end = start + len as u64;
            let mut file: Vec<u8> = (0..end + 20_000).map(|i| (i * 7 / 5 % 251).to_le_bytes()[0]).collect();
            let mut sums = PageSums::new(start);
            for piece in file[to_usize(start)..to_usize(end)].chunks(len.div_ceil(pieces)) {
                sums.note(piece);
            }
            prop_assert_eq!(sums.range(), start..end);
            prop_assert_eq!(sums.whole(), crc32c::crc32c(&file[to_usize(start)..to_usize(end)]));
            prop_assert_eq!(sums.held_bytes() / 4 >= len.div_ceil(PAGE_BYTES), true);
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
            let at = at as u64;
            let expected = (start..end).contains(&at).then(|| (at / PAGE * PAGE).max(start));
            prop_assert_eq!(sums.first_wrong(0, &file), expected);
            for page in 0..file.len().div_ceil(PAGE_BYTES) {
                let first = page * PAGE_BYTES;
                let bytes = &file[first..(first + PAGE_BYTES).min(file.len())];
                let is_here = |wrong: &u64| wrong / PAGE == page as u64;
                prop_assert_eq!(sums.first_wrong(first as u64, bytes), expected.filter(is_here));
            }
            let around = sums.pages_around(at..at + 1);
            if let Some(wrong) = expected {
                let bytes = &file[to_usize(around.start)..to_usize(around.end)];
                prop_assert!(around.contains(&at));
                prop_assert_eq!(sums.first_wrong(around.start, bytes), Some(wrong));
            }
        }
    }
}
