//! Pages of the indexes that one core reads, as many as a number of bytes allows.
//!
//! ```text
//! new page ─► small queue, a tenth of the bytes ─► asked for twice meanwhile? main queue, the rest
//!                                                  else out, but its key is remembered for a while
//! remembered page ─────────────────────────────► main queue
//! main queue, at its end: asked for since? once more round, else out
//! ```
//! One query that reads all of an index passes through the small queue and leaves the main one alone.
//! Invariants: every page that is held stands in exactly one queue; a file's key is never given twice.
//! Source: S3-FIFO (Yang et al., SOSP 2023).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::storage::reads::ReadCounter;

/// Length of a page in bytes; the last one of a file is shorter.
pub const PAGE_BYTES: usize = 16 << 10;
/// The small queue may have one part in this many of all bytes.
const SMALL_PART: usize = 10;
/// Asked for this often while in the small queue, a page is worth keeping.
const USES_TO_STAY: u8 = 2;
/// More often than this is not counted.
const USES_MAX: u8 = 3;
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

/// What a cache did so far, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Pages asked for that were there.
    pub hits: u64,
    /// Pages asked for that were not.
    pub misses: u64,
    /// Pages that went to make room.
    pub evictions: u64,
    /// Pages there are now.
    pub pages: usize,
    /// Bytes they take.
    pub bytes: usize,
}

/// The index pages that one core holds; and, for all blocks that share it, what was read from the disk.
pub struct IndexCache {
    state: RefCell<State>,
    /// Of indexes, for want of a page.
    pub index_reads: ReadCounter,
    /// Of chunks, which are not kept.
    pub chunk_reads: ReadCounter,
}

struct State {
    bytes_max: usize,
    bytes: usize,
    small_bytes: usize,
    pages: HashMap<PageKey, Slot, FixedState>,
    small: VecDeque<PageKey>,
    main: VecDeque<PageKey>,
    /// Pages that went out of the small queue, oldest first; some of them may be back.
    gone: VecDeque<PageKey>,
    is_gone: HashSet<PageKey, FixedState>,
    next_file: u64,
    hits: u64,
    misses: u64,
    evictions: u64,
}

struct Slot {
    page: Page,
    uses: u8,
    is_small: bool,
}

impl Slot {
    fn bytes(&self) -> usize {
        self.page.len() + SLOT_BYTES
    }
}

impl IndexCache {
    /// An empty cache for pages of `bytes_max` together.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let state = RefCell::new(State {
            bytes_max,
            bytes: 0,
            small_bytes: 0,
            pages: HashMap::default(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            gone: VecDeque::new(),
            is_gone: HashSet::default(),
            next_file: 0,
            hits: 0,
            misses: 0,
            evictions: 0,
        });
        Self { state, index_reads: ReadCounter::default(), chunk_reads: ReadCounter::default() }
    }

    /// A key for one more file.
    #[must_use]
    pub fn add_file(&self) -> FileKey {
        let mut state = self.state.borrow_mut();
        state.next_file += 1;
        FileKey(state.next_file)
    }

    /// Lets all pages of a file go: nobody will ask for them again.
    pub fn forget(&self, file: FileKey) {
        let mut state = self.state.borrow_mut();
        let State { pages, small, main, gone, is_gone, bytes, small_bytes, .. } = &mut *state;
        for (_, slot) in pages.extract_if(|key, _| key.file == file) {
            *bytes -= slot.bytes();
            *small_bytes -= if slot.is_small { slot.bytes() } else { 0 };
        }
        for queue in [small, main, gone] {
            queue.retain(|key| key.file != file);
        }
        is_gone.retain(|key| key.file != file);
    }

    /// The page of a file, if it is there.
    #[must_use]
    pub fn get(&self, file: FileKey, page: u32) -> Option<Page> {
        let mut state = self.state.borrow_mut();
        let found = state.pages.get_mut(&PageKey { file, page }).map(|slot| {
            slot.uses = (slot.uses + 1).min(USES_MAX);
            Rc::clone(&slot.page)
        });
        match found {
            Some(_) => state.hits += 1,
            None => state.misses += 1,
        }
        found
    }

    /// Adds a page that was read; others go to make room. One that is longer than all that is allowed is not kept.
    pub fn insert(&self, file: FileKey, page: u32, bytes: Page) {
        let mut state = self.state.borrow_mut();
        let key = PageKey { file, page };
        let is_small = !state.is_gone.remove(&key);
        let slot = Slot { page: bytes, uses: 0, is_small };
        if slot.bytes() > state.bytes_max || state.pages.contains_key(&key) {
            return;
        }
        state.bytes += slot.bytes();
        if is_small {
            state.small_bytes += slot.bytes();
            state.small.push_back(key);
        } else {
            state.main.push_back(key);
        }
        state.pages.insert(key, slot);
        while state.bytes > state.bytes_max {
            state.evict();
        }
    }

    /// What it did so far, and holds now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let state = self.state.borrow();
        let State { hits, misses, evictions, bytes, .. } = *state;
        CacheStats { hits, misses, evictions, pages: state.pages.len(), bytes }
    }
}

impl State {
    /// Takes one step towards fewer pages: one goes, or moves to where it will be asked last.
    fn evict(&mut self) {
        let is_small_full = self.small_bytes > self.bytes_max / SMALL_PART;
        let from_small = !self.small.is_empty() && (is_small_full || self.main.is_empty());
        let queue = if from_small { &mut self.small } else { &mut self.main };
        let Some(key) = queue.pop_front() else { return };
        let slot = self.pages.get_mut(&key).expect("what stands in a queue is held");
        let bytes = slot.bytes();
        if from_small {
            self.small_bytes -= bytes;
        }
        if from_small && slot.uses >= USES_TO_STAY {
            (slot.uses, slot.is_small) = (0, false);
            self.main.push_back(key);
        } else if !from_small && slot.uses > 0 {
            slot.uses -= 1;
            self.main.push_back(key);
        } else {
            self.pages.remove(&key);
            self.bytes -= bytes;
            self.evictions += 1;
            if from_small {
                self.remember(key);
            }
        }
    }

    fn remember(&mut self, key: PageKey) {
        self.gone.push_back(key);
        self.is_gone.insert(key);
        if self.gone.len() > self.bytes_max / PAGE_BYTES
            && let Some(oldest) = self.gone.pop_front()
        {
            self.is_gone.remove(&oldest);
        }
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
        let CacheStats { pages, bytes, .. } = cache.stats();
        assert_eq!((pages, bytes), (0, 0));
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
                prop_assert_eq!(stats.bytes, stats.pages * COST);
                prop_assert_eq!(stats.hits + stats.misses, i);
                let state = cache.state.borrow();
                prop_assert_eq!(state.small.len() + state.main.len(), state.pages.len());
                prop_assert!(state.gone.len() <= state.bytes_max / PAGE_BYTES + 1);
            }
        }
    }
}
