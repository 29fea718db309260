//! Pages of the indexes that one core reads, as many as a number of bytes allows.
//!
//! Which of them stay is `S3Fifo`'s to say: a query that reads all of an index leaves those alone that are asked for often.
//! Invariant: a file's key is never given twice.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::storage::chunk_cache::ChunkCache;
use crate::storage::reads::ReadCounter;
pub use crate::storage::s3_fifo::CacheStats;
use crate::storage::s3_fifo::{Item, S3Fifo};

/// Length of a page in bytes; the last one of a file is shorter.
pub const PAGE_BYTES: usize = 16 << 10;
/// What a held page takes beside its bytes, about.
const SLOT_BYTES: usize = 96;

/// Names a file within one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey(u64);

/// Names a page within one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PageKey {
    file: FileKey,
    page: u32,
}

/// The bytes of a page.
pub type Page = Rc<[u8]>;

impl Item for Page {
    fn held_bytes(&self) -> usize {
        self.len() + SLOT_BYTES
    }
}

/// The index pages that one core holds; and, for all blocks that share it, their chunks that are kept, and what was read
/// from the disk.
pub struct IndexCache {
    pages: RefCell<S3Fifo<PageKey, Page>>,
    last_file: Cell<u64>,
    /// Of indexes, for want of a page.
    pub index_reads: ReadCounter,
    /// Of chunks: those that are not kept.
    pub chunk_reads: ReadCounter,
    /// Chunks that were read for queries.
    pub chunks: Rc<ChunkCache>,
}

impl IndexCache {
    /// An empty cache for pages of `bytes_max` together; no chunks are kept.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self::with_chunks(bytes_max, Rc::new(ChunkCache::new(0)))
    }

    /// An empty cache for pages of `bytes_max` together, and a cache of chunks that others may share.
    #[must_use]
    pub fn with_chunks(bytes_max: usize, chunks: Rc<ChunkCache>) -> Self {
        Self {
            pages: RefCell::new(S3Fifo::new(bytes_max)),
            last_file: Cell::new(0),
            index_reads: ReadCounter::default(),
            chunk_reads: ReadCounter::default(),
            chunks,
        }
    }

    /// A key for one more file.
    #[must_use]
    pub fn add_file(&self) -> FileKey {
        let next = self.last_file.get() + 1;
        self.last_file.set(next);
        FileKey(next)
    }

    /// Lets all pages of a file go: nobody will ask for them again.
    pub fn forget(&self, file: FileKey) {
        self.pages.borrow_mut().forget(|key| key.file == file);
    }

    /// The page of a file, if it is there.
    #[must_use]
    pub fn get(&self, file: FileKey, page: u32) -> Option<Page> {
        self.pages.borrow_mut().get(PageKey { file, page })
    }

    /// Adds a page that was read; others go to make room. One that is longer than all that is allowed is not kept.
    pub fn insert(&self, file: FileKey, page: u32, bytes: Page) {
        self.pages.borrow_mut().insert(PageKey { file, page }, bytes);
    }

    /// What it did so far, and holds now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.pages.borrow().stats()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COST: usize = PAGE_BYTES + SLOT_BYTES;

    fn page(n: u32) -> Page {
        vec![n.to_le_bytes()[0]; PAGE_BYTES].into()
    }

    /// Asks for a page and brings it if it is not there; was it?
    fn ask(cache: &IndexCache, file: FileKey, n: u32) -> bool {
        let found = cache.get(file, n);
        assert!(found.as_ref().is_none_or(|found| *found == page(n)));
        if found.is_none() {
            cache.insert(file, n, page(n));
        }
        found.is_some()
    }

    #[test]
    fn a_scan_leaves_what_is_asked_often() {
        let cache = IndexCache::new(100 * COST);
        let file = cache.add_file();
        for _ in 0..4 {
            (0..50).for_each(|n| _ = ask(&cache, file, n));
        }
        (1000..2000).for_each(|n| _ = ask(&cache, file, n));
        let left = (0..50).filter(|n| ask(&cache, file, *n)).count();
        assert_eq!(left, 50);
    }

    #[test]
    fn a_page_that_is_asked_for_again_soon_after_it_went_comes_to_stay() {
        let cache = IndexCache::new(10 * COST);
        let file = cache.add_file();
        (0..12).for_each(|n| _ = ask(&cache, file, n));
        assert!(!ask(&cache, file, 0));
        (100..200).for_each(|n| _ = ask(&cache, file, n));
        assert!(ask(&cache, file, 0));
    }

    #[test]
    fn a_file_is_forgotten_whole() {
        let cache = IndexCache::new(10 * COST);
        let (a, b) = (cache.add_file(), cache.add_file());
        (0..20).for_each(|n| _ = (ask(&cache, a, n), ask(&cache, b, n)));
        cache.forget(a);
        assert!(cache.get(a, 19).is_none() && cache.get(b, 19).is_some());
        cache.forget(b);
        let CacheStats { items, bytes, .. } = cache.stats();
        assert_eq!((items, bytes), (0, 0));
    }

    proptest! {
        #[test]
        fn no_more_is_held_than_allowed(asked in proptest::collection::vec((0u32..30, 0u64..2), 0..300), pages_max in 0usize..12) {
            let cache = IndexCache::new(pages_max * COST);
            let files = [cache.add_file(), cache.add_file()];
            for (i, (n, file)) in (1u64..).zip(asked) {
                ask(&cache, files[usize::from(file == 1)], n);
                let stats = cache.stats();
                prop_assert!(stats.bytes <= pages_max * COST);
                prop_assert_eq!(stats.bytes, stats.items * COST);
                prop_assert_eq!(stats.hits + stats.misses, i);
                cache.pages.borrow().check();
            }
        }
    }
}
