//! A map that holds as much as a number of bytes allows, and keeps what is asked for more than once.
//!
//! ```text
//! new item ─► small queue, a tenth of the bytes ─► asked for twice meanwhile? main queue, the rest
//!                                                  else out, but its key is remembered for a while
//! remembered item ─────────────────────────────► main queue
//! main queue, at its end: asked for since? once more round, else out
//! ```
//! Whoever asks for very much once passes through the small queue and leaves the main one alone.
//! Invariant: every item that is held stands in exactly one queue.
//! Source: S3-FIFO (Yang et al., SOSP 2023).

use std::collections::VecDeque;
use std::hash::Hash;

use foldhash::fast::FixedState;
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

/// The small queue may have one part in this many of all bytes.
const SMALL_PART: usize = 10;
/// Asked for this often while in the small queue, an item is worth keeping.
const USES_TO_STAY: u8 = 2;
/// More often than this is not counted.
const USES_MAX: u8 = 3;

/// What can be held: cheap to clone, and of a size that does not change.
pub trait Item: Clone {
    /// Memory in bytes, about, that it takes as long as it is held; its place in the map and the queues, too.
    fn held_bytes(&self) -> usize;
}

/// What a cache did so far, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Items asked for that were there.
    pub hits: u64,
    /// Items asked for that were not.
    pub misses: u64,
    /// Items that went to make room.
    pub evictions: u64,
    /// Items there are now.
    pub items: usize,
    /// Bytes they take.
    pub bytes: usize,
    /// How many they may take.
    pub bytes_max: usize,
}

/// Items by their keys, of `bytes_max` together at most.
pub struct S3Fifo<K, V> {
    bytes_max: usize,
    bytes: usize,
    small_bytes: usize,
    items: HashMap<K, Slot<V>, FixedState>,
    small: VecDeque<K>,
    main: VecDeque<K>,
    /// What went out of the small queue, oldest first; some of it may be back.
    gone: VecDeque<K>,
    is_gone: HashSet<K, FixedState>,
    hits: u64,
    misses: u64,
    evictions: u64,
}

struct Slot<V> {
    item: V,
    uses: u8,
    is_small: bool,
}

impl<K: Copy + Eq + Hash, V: Item> S3Fifo<K, V> {
    /// One that is empty.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            small_bytes: 0,
            items: HashMap::default(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            gone: VecDeque::new(),
            is_gone: HashSet::default(),
            hits: 0,
            misses: 0,
            evictions: 0,
        }
    }

    /// May anything be held at all?
    pub fn has_room(&self) -> bool {
        self.bytes_max > 0
    }

    /// Lets all items go whose keys `is_over`: nobody will ask for them again.
    pub fn forget(&mut self, is_over: impl Fn(&K) -> bool) {
        let Self { items, small, main, gone, is_gone, bytes, small_bytes, .. } = self;
        let mut forgotten = 0;
        for (_, slot) in items.extract_if(|key, _| is_over(key)) {
            let held = slot.item.held_bytes();
            forgotten += 1;
            *bytes -= held;
            *small_bytes -= if slot.is_small { held } else { 0 };
        }
        if forgotten > 0 {
            small.retain(|key| !is_over(key));
            main.retain(|key| !is_over(key));
        }
        if !gone.is_empty() {
            gone.retain(|key| !is_over(key));
            is_gone.retain(|key| !is_over(key));
        }
    }

    /// The item of this key, if it is there.
    pub fn get(&mut self, key: K) -> Option<V> {
        let found = self.items.get_mut(&key).map(|slot| {
            slot.uses = (slot.uses + 1).min(USES_MAX);
            slot.item.clone()
        });
        match found {
            Some(_) => self.hits += 1,
            None => self.misses += 1,
        }
        found
    }

    /// Adds an item; others go to make room. One that takes more than all that is allowed is not kept.
    pub fn insert(&mut self, key: K, item: V) {
        let held = item.held_bytes();
        let is_small = self.is_gone.is_empty() || !self.is_gone.remove(&key);
        if held > self.bytes_max {
            return;
        }
        match self.items.entry(key) {
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => _ = place.insert(Slot { item, uses: 0, is_small }),
        }
        self.bytes += held;
        if is_small {
            self.small_bytes += held;
            self.small.push_back(key);
        } else {
            self.main.push_back(key);
        }
        while self.bytes > self.bytes_max {
            self.evict();
        }
    }

    /// What it did so far, and holds now.
    pub fn stats(&self) -> CacheStats {
        let Self { hits, misses, evictions, bytes, bytes_max, .. } = *self;
        CacheStats { hits, misses, evictions, items: self.items.len(), bytes, bytes_max }
    }

    /// Takes one step towards fewer items: one goes, or moves to where it will be asked last.
    fn evict(&mut self) {
        let is_small_full = self.small_bytes > self.bytes_max / SMALL_PART;
        let from_small = !self.small.is_empty() && (is_small_full || self.main.is_empty());
        let queue = if from_small { &mut self.small } else { &mut self.main };
        let Some(key) = queue.pop_front() else { return };
        let Entry::Occupied(mut held) = self.items.entry(key) else {
            unreachable!("what stands in a queue is held")
        };
        let slot = held.get_mut();
        let bytes = slot.item.held_bytes();
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
            held.remove();
            self.bytes -= bytes;
            self.evictions += 1;
            if from_small {
                self.remember(key);
            }
        }
    }

    /// Remembers no more keys than items are held.
    fn remember(&mut self, key: K) {
        self.gone.push_back(key);
        self.is_gone.insert(key);
        while self.gone.len() > self.items.len() + 1
            && let Some(oldest) = self.gone.pop_front()
        {
            self.is_gone.remove(&oldest);
        }
    }

    /// What has to hold whatever was asked.
    #[cfg(test)]
    pub fn check(&self) {
        assert!(self.bytes <= self.bytes_max);
        let held = self.items.values().map(|slot| slot.item.held_bytes());
        assert_eq!(self.bytes, held.sum::<usize>());
        let small = self.items.values().filter(|slot| slot.is_small);
        assert_eq!(self.small_bytes, small.map(|slot| slot.item.held_bytes()).sum::<usize>());
        let queued: HashSet<K, FixedState> = self.small.iter().chain(&self.main).copied().collect();
        assert_eq!(self.small.len() + self.main.len(), self.items.len());
        assert!(
            queued.len() == self.items.len() && queued.iter().all(|k| self.items.contains_key(k))
        );
        assert!(self.is_gone.len() <= self.gone.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes as much as it says.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Sized(usize);

    impl Item for Sized {
        fn held_bytes(&self) -> usize {
            self.0
        }
    }

    /// Asks for an item and brings it if it is not there; was it?
    fn ask(cache: &mut S3Fifo<u32, Sized>, key: u32, size: usize) -> bool {
        let found = cache.get(key);
        assert!(found.is_none_or(|found| found == Sized(size)));
        if found.is_none() {
            cache.insert(key, Sized(size));
        }
        found.is_some()
    }

    #[test]
    fn a_scan_leaves_what_is_asked_often() {
        let mut cache = S3Fifo::new(100);
        for _ in 0..4 {
            (0..50).for_each(|n| _ = ask(&mut cache, n, 1));
        }
        (1000..2000).for_each(|n| _ = ask(&mut cache, n, 1));
        assert_eq!((0..50).filter(|n| ask(&mut cache, *n, 1)).count(), 50);
    }

    #[test]
    fn what_is_asked_for_again_soon_after_it_went_comes_to_stay() {
        let mut cache = S3Fifo::new(10);
        (0..12).for_each(|n| _ = ask(&mut cache, n, 1));
        assert!(!ask(&mut cache, 0, 1));
        (100..200).for_each(|n| _ = ask(&mut cache, n, 1));
        assert!(ask(&mut cache, 0, 1));
    }

    #[test]
    fn what_is_larger_than_all_that_is_allowed_is_not_kept_and_costs_nothing_else() {
        let mut cache = S3Fifo::new(10);
        ask(&mut cache, 1, 10);
        ask(&mut cache, 2, 11);
        assert!(ask(&mut cache, 1, 10) && !ask(&mut cache, 2, 11));
        let mut none = S3Fifo::new(0);
        assert!(!none.has_room() && !ask(&mut none, 1, 1) && !ask(&mut none, 1, 1));
    }

    proptest! {
        #[test]
        fn no_more_is_held_than_allowed(
            asked in proptest::collection::vec((0u32..40, 0u8..50), 0..300),
            bytes_max in 0usize..60,
        ) {
            let mut cache = S3Fifo::new(bytes_max);
            for (count, (key, what)) in (1..).zip(asked) {
                if what == 0 {
                    cache.forget(|other| other % 4 == key % 4);
                    prop_assert!(cache.get(key).is_none());
                } else {
                    ask(&mut cache, key, 1 + key as usize % 9);
                }
                cache.check();
                prop_assert_eq!(cache.stats().hits + cache.stats().misses, count);
            }
        }
    }
}
