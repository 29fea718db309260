//! Bytes of one file, read in pages through the cache.
//!
//! Some parts of the file may have been read and checked before: a page that is read again is held to what it was then,
//! and read once more if it is another. So a bit that a read brought wrong is neither used nor kept.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

use super::BlockError;
use super::cache::{FileKey, IndexCache, PAGE_BYTES, Page};
use super::coalesce::coalesce;
use super::page_sums::PageSums;
use crate::io::{File, Pace};

const PAGE: u64 = PAGE_BYTES as u64;

/// A file of which pages are kept. What it kept goes when it is dropped.
pub(super) struct PagedFile<F> {
    pub file: F,
    /// Told in errors.
    pub path: String,
    /// Of the parts that were checked when they were read first.
    pub sums: Vec<PageSums>,
    cache: Rc<IndexCache>,
    key: FileKey,
}

/// Pages that are there for as long as this is.
#[derive(Default)]
pub(super) struct Pages {
    /// Sorted by their numbers.
    pages: Vec<(u32, Page)>,
}

impl<F: File> PagedFile<F> {
    pub fn new(file: F, path: String, cache: Rc<IndexCache>) -> Self {
        let key = cache.add_file();
        Self { file, path, sums: Vec::new(), cache, key }
    }

    /// Brings the pages in which `ranges` lie; what is behind the end of the file is left out.
    pub async fn pages(
        &self,
        ranges: &[Range<u64>],
        pace: &mut impl Pace,
    ) -> Result<Pages, BlockError> {
        let end = self.file.len();
        let mut numbers: Vec<u32> = Vec::new();
        for range in ranges.iter().filter(|range| range.start < range.end) {
            let last = (range.end.min(end)).saturating_sub(1) / PAGE;
            for number in (range.start / PAGE)..=last {
                let number = u32::try_from(number).map_err(|_| self.too_far(range.start))?;
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut pages = Vec::with_capacity(numbers.len());
        let mut missing: Vec<(u32, Range<u64>)> = Vec::new();
        for number in numbers {
            match self.cache.get(self.key, number) {
                Some(page) => pages.push((number, page)),
                None => {
                    let start = u64::from(number) * PAGE;
                    missing.push((number, start..(start + PAGE).min(end)));
                }
            }
        }
        if !missing.is_empty() {
            self.read(&missing, &mut pages, pace).await?;
            pages.sort_unstable_by_key(|(number, _)| *number);
        }
        Ok(Pages { pages })
    }

    async fn read(
        &self,
        missing: &[(u32, Range<u64>)],
        pages: &mut Vec<(u32, Page)>,
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        let ranges: Vec<Range<u64>> = missing.iter().map(|(_, range)| range.clone()).collect();
        let reads = coalesce(&ranges);
        let len =
            |range: &Range<u64>| usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let asked: Vec<(u64, usize)> =
            reads.iter().map(|read| (read.bytes.start, len(&read.bytes))).collect();
        self.cache.index_reads.note(&asked);
        for (read, bytes) in reads.iter().zip(self.file.read_many(&asked).await) {
            for (number, range) in missing.get(read.parts.clone()).unwrap_or_default() {
                let page: Page = match &bytes {
                    Ok(bytes) => {
                        let from = usize::try_from(range.start - read.bytes.start);
                        let page = bytes.get(from.unwrap_or(usize::MAX)..);
                        page.and_then(|rest| rest.get(..len(range))).unwrap_or_default().into()
                    }
                    // What failed may be another page, or what nobody wanted between two.
                    Err(_) => self.read_alone(range).await?,
                };
                let page = self.checked(range, page).await?;
                self.cache.insert(self.key, *number, Rc::clone(&page));
                pages.push((*number, page));
            }
            pace.breathe().await;
        }
        Ok(())
    }

    async fn read_alone(&self, range: &Range<u64>) -> Result<Page, BlockError> {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let read = self.file.read_at(range.start, len).await;
        Ok((*read.map_err(BlockError::io(&self.path, "read"))?).into())
    }

    /// The page that was read, or what a second read brings if that was not what it had been.
    async fn checked(&self, range: &Range<u64>, page: Page) -> Result<Page, BlockError> {
        let wrong = |page: &Page| self.sums.iter().find_map(|s| s.first_wrong(range.start, page));
        if wrong(&page).is_none() {
            return Ok(page);
        }
        let again = self.read_alone(range).await?;
        match wrong(&again) {
            None => Ok(again),
            Some(at) => {
                Err(self.damaged(at, "this page is not what it was when the index was opened"))
            }
        }
    }

    fn too_far(&self, offset: u64) -> BlockError {
        self.damaged(offset, "an index is never this long")
    }

    /// Something is wrong with the file at this byte.
    pub fn damaged(&self, offset: u64, what: impl std::fmt::Display) -> BlockError {
        BlockError::Damaged { path: self.path.clone(), offset, what: what.to_string() }
    }
}

impl<F> Drop for PagedFile<F> {
    fn drop(&mut self) {
        self.cache.forget(self.key);
    }
}

impl Pages {
    /// The bytes of `range` page by page, as far as they are there: up to the first page that is not.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        let first = range.start / PAGE;
        let mut at = usize::try_from(range.start % PAGE).unwrap_or(0);
        let mut left = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let from = self.pages.partition_point(|(number, _)| u64::from(*number) < first);
        let pages = self.pages.get(from..).unwrap_or_default().iter();
        pages.zip(first..).map_while(move |((number, page), wanted)| {
            let rest = page.get(at..).unwrap_or_default();
            let piece = rest.get(..left).unwrap_or(rest);
            (at, left) = (0, left - piece.len());
            (u64::from(*number) == wanted && !piece.is_empty()).then_some(piece)
        })
    }

    /// The bytes of `range`, as far as they are there.
    pub fn bytes(&self, range: Range<u64>) -> Cow<'_, [u8]> {
        let mut pieces = self.pieces(range);
        let mut found = Cow::Borrowed(pieces.next().unwrap_or_default());
        for piece in pieces {
            found.to_mut().extend_from_slice(piece);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::io::sim::{Faults, NoPace, ReadFault, SimDisk, run};
    use crate::io::{BLOCK_BYTES, Disk};

    #[test] // once, a bit that one read brought wrong stayed in the cache, and series had other labels
    fn a_bit_that_one_read_brings_wrong_is_read_again_and_one_that_is_wrong_is_told() {
        run(async {
            let (disk, bytes) = (SimDisk::new(1), vec![7; 3 * PAGE_BYTES]);
            disk.create("f", 0).await.unwrap().write_at(&bytes, 0).await.unwrap();
            let cache = Rc::new(IndexCache::new(1 << 20));
            let file = disk.open_read("f").await.unwrap();
            let mut file = PagedFile::new(file, "f".to_owned(), cache);
            let mut sums = PageSums::new(100);
            sums.note(&bytes[100..]);
            file.sums = vec![sums];
            let read_at = Some((disk.reads() + 1, ReadFault::Flips));
            disk.set_faults(Faults { read_at, ..Faults::default() });
            let second = PAGE..2 * PAGE;
            let pages = file.pages(std::slice::from_ref(&second), &mut NoPace).await.unwrap();
            assert!(*pages.bytes(second) == bytes[..PAGE_BYTES]);
            assert_eq!(disk.reads(), 2);
            disk.flip_bit("f", 8 * (2 * PAGE + 5000));
            let third = 2 * PAGE..3 * PAGE;
            let damaged = file.pages(std::slice::from_ref(&third), &mut NoPace).await;
            let damaged = damaged.err().unwrap();
            assert!(damaged.to_string().starts_with("f, byte 32768: "), "{damaged}");
            assert!(file.pages(&[PAGE..2 * PAGE, 0..50], &mut NoPace).await.is_ok());
        });
    }

    proptest! {
        #[test]
        fn pages_read_like_the_file(
            blocks in 1usize..30, ranges in proptest::collection::vec((0u64..130_000, 0u64..40_000), 1..8), budget in 0usize..6,
        ) {
            let bytes: Vec<u8> = (0..blocks * BLOCK_BYTES).map(|i| (i * 7 / 5 % 251).to_le_bytes()[0]).collect();
            run(async {
                let disk = SimDisk::new(1);
                disk.create("f", 0).await.unwrap().write_at(&bytes, 0).await.unwrap();
                let file = disk.open_read("f").await.unwrap();
                let cache = Rc::new(IndexCache::new(budget * 2 * PAGE_BYTES));
                let file = PagedFile::new(file, "f".to_owned(), Rc::clone(&cache));
                let ranges: Vec<Range<u64>> = ranges.iter().map(|(at, len)| *at..at + len).collect();
                let inside = |at: u64| usize::try_from(at).unwrap().min(bytes.len());
                for _ in 0..2 {
                    let pages = file.pages(&ranges, &mut NoPace).await.unwrap();
                    let read = cache.index_reads.reads();
                    assert_eq!(read.count == 0, cache.stats().misses == 0);
                    assert!(read.bytes >= cache.stats().misses * BLOCK_BYTES as u64);
                    for range in &ranges {
                        assert_eq!(&*pages.bytes(range.clone()), &bytes[inside(range.start)..inside(range.end)]);
                    }
                }
                drop(file);
                assert_eq!(cache.stats().items, 0);
            });
        }
    }
}
