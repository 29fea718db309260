//! Finds a `u32` by a 64-bit hash, and grows without a pause.
//!
//! An ordinary hash table of a million entries stops its shard for milliseconds when it doubles. This one is an
//! extendible hash table: the hash's first bits choose a bucket of 1,024 slots, and a bucket that fills up is split in
//! two, which moves at most 1,024 entries.
//! ```text
//! hash   first `depth` bits: entry of the directory │ bits 32.. upward: where to begin in the bucket
//! slot   hash >> 32 in the upper half, value + 1 in the lower half; 0 is empty; linear probing
//! ```
//! It stores half of the hash: whoever looks something up says what is really equal.
//! Source: Fagin, Nievergelt, Pippenger, Strong, "Extendible hashing" (TODS 1979).

use super::paged::prefetch;

const SLOTS: usize = 1024;
/// A bucket with this many entries is split: linear probing degrades beyond.
const SPLIT_AT: u16 = 820;
/// Directory bits and slot bits must not overlap within the 32 bits that are kept.
const DEPTH_MAX: u8 = 22;

/// The table.
#[derive(Clone, Debug)]
pub struct HashTable {
    /// 2^depth entries, each the index of a bucket; a bucket of lesser depth stands several times.
    directory: Vec<u32>,
    buckets: Vec<Bucket>,
    depth: u8,
    len: usize,
}

#[derive(Clone, Debug)]
struct Bucket {
    slots: Box<[u64; SLOTS]>,
    used: u16,
    depth: u8,
}

impl Bucket {
    fn new(depth: u8) -> Self {
        let slots = vec![0u64; SLOTS].into_boxed_slice().try_into().expect("made with this length");
        Self { slots, used: 0, depth }
    }

    #[expect(clippy::indexing_slicing, reason = "the mask keeps the index below SLOTS")]
    fn place(&mut self, slot: u64) {
        let mut at = start(slot);
        while self.slots[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        self.slots[at] = slot;
        self.used += 1;
    }
}

/// Where a slot's probing begins; its upper half is the upper half of the hash.
#[inline]
fn start(slot: u64) -> usize {
    (slot >> 32) as usize % SLOTS
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn value_of(slot: u64) -> u32 {
    (slot as u32).wrapping_sub(1)
}

impl HashTable {
    /// A table without entries.
    #[must_use]
    pub fn new() -> Self {
        Self { directory: vec![0], buckets: vec![Bucket::new(0)], depth: 0, len: 0 }
    }

    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most 22 bits are left")]
    fn entry(&self, hash: u64) -> usize {
        hash.checked_shr(64 - u32::from(self.depth)).unwrap_or(0) as usize
    }

    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "the directory has 2^depth entries and each is a bucket"
    )]
    fn bucket(&self, hash: u64) -> &Bucket {
        &self.buckets[self.directory[self.entry(hash)] as usize]
    }

    /// Fetches what [`find`](Self::find) will look at first.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "start is below SLOTS")]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.bucket(hash).slots[start(hash)]);
    }

    /// The value whose hash agrees with `hash` in its upper half and which `is_it` says is meant.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "taken modulo SLOTS")]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let bucket = self.bucket(hash);
        let mut at = start(hash);
        loop {
            let slot = bucket.slots[at];
            if slot == 0 {
                return None;
            }
            if (slot ^ hash) >> 32 == 0 && is_it(value_of(slot)) {
                return Some(value_of(slot));
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// Adds an entry; does not look whether it is there already.
    ///
    /// # Panics
    /// If `value` is `u32::MAX`, or if thousands of hashes agree in 22 bits: hashes here are keyed, so no sender can
    /// bring that about.
    #[expect(
        clippy::indexing_slicing,
        reason = "the directory has 2^depth entries and each is a bucket"
    )]
    pub fn insert(&mut self, hash: u64, value: u32) {
        assert_ne!(value, u32::MAX, "its slot could not be told from an empty one");
        loop {
            let index = self.directory[self.entry(hash)] as usize;
            let bucket = &mut self.buckets[index];
            if bucket.used < SPLIT_AT {
                bucket.place(hash >> 32 << 32 | u64::from(value + 1));
                self.len += 1;
                return;
            }
            self.split(index);
        }
    }

    /// Removes the entry with this hash and this value; was there one?
    #[expect(
        clippy::indexing_slicing,
        reason = "the directory has 2^depth entries, each is a bucket; slots are taken modulo SLOTS"
    )]
    pub fn remove(&mut self, hash: u64, value: u32) -> bool {
        let index = self.directory[self.entry(hash)] as usize;
        let bucket = &mut self.buckets[index];
        let wanted = hash >> 32 << 32 | u64::from(value.wrapping_add(1));
        let mut gap = start(wanted);
        while bucket.slots[gap] != wanted {
            if bucket.slots[gap] == 0 {
                return false;
            }
            gap = (gap + 1) % SLOTS;
        }
        // What probing has pushed behind the gap moves up, unless it would lie before where its own probing begins.
        let mut at = (gap + 1) % SLOTS;
        while bucket.slots[at] != 0 {
            let distance = |from: usize| (at + SLOTS - from) % SLOTS;
            if distance(start(bucket.slots[at])) >= distance(gap) {
                bucket.slots[gap] = bucket.slots[at];
                gap = at;
            }
            at = (at + 1) % SLOTS;
        }
        bucket.slots[gap] = 0;
        bucket.used -= 1;
        self.len -= 1;
        true
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the directory has 2^depth entries and each is a bucket"
    )]
    fn split(&mut self, index: usize) {
        let depth = self.buckets[index].depth;
        assert!(depth < DEPTH_MAX, "keyed hashes spread over the buckets");
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|bucket| [*bucket; 2]).collect();
            self.depth += 1;
        }
        let old = std::mem::replace(&mut self.buckets[index], Bucket::new(depth + 1));
        let mut upper = Bucket::new(depth + 1);
        for slot in old.slots.iter().copied().filter(|slot| *slot != 0) {
            let is_upper = slot >> (63 - depth) & 1 == 1;
            if is_upper { upper.place(slot) } else { self.buckets[index].place(slot) }
        }
        let upper_index = u32::try_from(self.buckets.len()).expect("at most 2^22 buckets");
        self.buckets.push(upper);
        for (entry, bucket) in self.directory.iter_mut().enumerate() {
            let is_upper = entry >> (self.depth - depth - 1) & 1 == 1;
            if *bucket as usize == index && is_upper {
                *bucket = upper_index;
            }
        }
    }
}

impl Default for HashTable {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::Rng;

    #[test]
    fn every_entry_is_found_again_after_many_splits() {
        let (mut table, mut rng) = (HashTable::new(), Rng::new(1));
        let hashes: Vec<u64> = (0..100_000).map(|_| rng.next_u64()).collect();
        for (i, hash) in (0..).zip(&hashes) {
            table.insert(*hash, i);
        }
        assert_eq!(table.len(), hashes.len());
        for (i, hash) in (0..).zip(&hashes) {
            assert_eq!(table.find(*hash, |value| value == i), Some(i));
        }
        assert_eq!(table.find(rng.next_u64(), |_| true), None);
    }

    #[test]
    fn values_with_one_hash_are_told_apart_by_the_caller() {
        let mut table = HashTable::new();
        for value in 0..500 {
            table.insert(42 << 32, value);
        }
        assert_eq!(table.find(42 << 32, |value| value == 321), Some(321));
        assert_eq!(table.find(42 << 32, |_| false), None);
    }

    #[test]
    fn what_is_removed_is_gone_and_everything_else_is_found() {
        // Few different places to begin at, so that probing runs are long and wrap around.
        let (mut table, mut rng) = (HashTable::new(), Rng::new(2));
        let hashes: Vec<u64> = (0..5_000)
            .map(|_| (rng.next_u64() >> 42 << 42) | (((1020 + rng.below(8)) % 1024) << 32))
            .collect();
        for (i, hash) in (0..).zip(&hashes) {
            table.insert(*hash, i);
        }
        let is_removed = |i: u32| !i.is_multiple_of(3);
        for (i, hash) in (0..).zip(&hashes).filter(|(i, _)| is_removed(*i)) {
            assert!(table.remove(*hash, i));
            assert!(!table.remove(*hash, i));
        }
        for (i, hash) in (0..).zip(&hashes) {
            let found = table.find(*hash, |value| value == i);
            assert_eq!(found, (!is_removed(i)).then_some(i));
        }
        assert_eq!(table.len(), hashes.len().div_ceil(3));
    }
}
