//! Keys of groups, each with the number of its group.
//!
//! There may be a million. A hash table that grows moves all of its entries at once, so there are many small ones when there are
//! many keys; and the keys' bytes lie one behind the other, so that letting them go is no work.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// With so many keys there are many tables.
const KEYS_OF_ONE: usize = 4096;
/// So many.
const TABLES: usize = 256;
/// Bytes of keys that lie together.
const PAGE_BYTES: usize = 64 << 10;

/// The keys so far.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyMap {
    tables: Vec<HashTable<Entry>>,
    bytes: Vec<Vec<u8>>,
    len: usize,
    state: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    page: u32,
    offset: u32,
    len: u32,
    place: u32,
}

fn key_of(bytes: &[Vec<u8>], entry: Entry) -> &[u8] {
    let start = entry.offset as usize;
    let page = bytes.get(entry.page as usize);
    page.and_then(|page| page.get(start..start + entry.len as usize)).unwrap_or_default()
}

/// Which table; the tables themselves go by the bits at both ends.
fn table_of(hash: u64, count: usize) -> usize {
    if count <= 1 { 0 } else { (hash >> 32) as usize % count }
}

impl KeyMap {
    /// What a key takes besides its bytes, about.
    pub(super) const ENTRY_BYTES: usize = 2 * size_of::<Entry>();

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number that `key` has.
    pub(super) fn get(&self, key: &[u8]) -> Option<usize> {
        let hash = self.state.hash_one(key);
        let table = self.tables.get(table_of(hash, self.tables.len()))?;
        let found = table.find(hash, |entry| key_of(&self.bytes, *entry) == key)?;
        Some(found.place as usize)
    }

    /// Gives `key`, which has none yet, a number.
    ///
    /// # Panics
    /// The number does not fit 32 bits, or the key: no memory holds so many.
    pub(super) fn insert(&mut self, key: &[u8], place: usize) {
        let fits = |n: usize| u32::try_from(n).expect("no memory holds four billion groups");
        if self.len == 0 {
            self.tables = vec![HashTable::new()];
        } else if self.len == KEYS_OF_ONE {
            self.split();
        }
        if self.bytes.last().is_none_or(|page| page.capacity() - page.len() < key.len()) {
            // Few keys need little.
            let room = if self.len < 64 { 1024 } else { PAGE_BYTES };
            self.bytes.push(Vec::with_capacity(room.max(key.len())));
        }
        let page = self.bytes.len() - 1;
        let Some(bytes) = self.bytes.last_mut() else { return };
        let entry = Entry {
            page: fits(page),
            offset: fits(bytes.len()),
            len: fits(key.len()),
            place: fits(place),
        };
        bytes.extend_from_slice(key);
        self.put(self.state.hash_one(key), entry);
        self.len += 1;
    }

    fn put(&mut self, hash: u64, entry: Entry) {
        let Self { tables, bytes, state, .. } = self;
        let at = table_of(hash, tables.len());
        if let Some(table) = tables.get_mut(at) {
            table.insert_unique(hash, entry, |entry| state.hash_one(key_of(bytes, *entry)));
        }
    }

    fn split(&mut self) {
        let before = std::mem::replace(&mut self.tables, vec![HashTable::new(); TABLES]);
        for entry in before.into_iter().flatten() {
            self.put(self.state.hash_one(key_of(&self.bytes, entry)), entry);
        }
    }

    /// All keys with their numbers, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let entries = self.tables.iter().flatten();
        entries.map(|entry| (key_of(&self.bytes, *entry), entry.place as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_numbers_that_they_were_given_however_many_they_are() {
        let (mut map, count) = (KeyMap::default(), KEYS_OF_ONE * 3);
        let key = |i: usize| format!("key {i} {}", "x".repeat(i % 70)).into_bytes();
        for i in 0..count {
            assert_eq!(map.get(&key(i)), None);
            map.insert(&key(i), i * 2);
        }
        assert_eq!(map.len(), count);
        assert!((0..count).all(|i| map.get(&key(i)) == Some(i * 2)));
        let mut all: Vec<usize> = map.iter().map(|(_, place)| place).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq((0..count).map(|i| i * 2)));
        let long = vec![7; PAGE_BYTES * 2];
        map.insert(&long, 1);
        assert_eq!((map.get(&long), map.get(b"none")), (Some(1), None));
    }
}
