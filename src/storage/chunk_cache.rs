//! The bytes of chunks that one core's queries have read, as many as a number of bytes allows: a dashboard asks for the same
//! ones again and again.
//!
//! Owns which are held, of blocks and of what has left the Head's memory alike; they were checked when they were read, and
//! their files never change. What was damaged is not among them. Which of them stay is `S3Fifo`'s to say.
//! Invariants: only queries ask and add, not merges, cuts or remote read, which go through everything once; a file's chunks
//! go with its [`KeptChunks`], and its key is never given twice.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::s3_fifo::{CacheStats, Item, S3Fifo};

/// Chunks that are longer are not kept, in bytes: one would drive out dozens.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Chunks that are added without a pause: some 100 us at most.
pub const KEPT_AT_ONCE: usize = 256;
/// What a held chunk takes beside its bytes, about: its slot, its place in a queue, the allocation and the count of those who
/// have it.
const SLOT_BYTES: usize = 144;

/// One chunk, out of its file. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkBytes {
    /// The number of its encoding.
    pub encoding: u8,
    /// The encoded samples.
    pub bytes: Bytes,
}

impl Item for ChunkBytes {
    fn held_bytes(&self) -> usize {
        self.bytes.len() + SLOT_BYTES
    }
}

/// Names a chunk within one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ChunkKey {
    file: u64,
    at: u64,
}

/// The chunks that one core holds.
pub struct ChunkCache {
    chunks: RefCell<S3Fifo<ChunkKey, ChunkBytes>>,
    last_file: Cell<u64>,
    has_room: bool,
}

impl ChunkCache {
    /// An empty cache for chunks of `bytes_max` together; with zero, one that is off.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let chunks = S3Fifo::new(bytes_max);
        Self { has_room: chunks.has_room(), chunks: RefCell::new(chunks), last_file: Cell::new(0) }
    }

    /// Is anything kept at all?
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.has_room
    }

    /// What it did so far, and holds now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.chunks.borrow().stats()
    }
}

/// The chunks of one file, or of one block, that are in a cache. They go when it is dropped.
pub struct KeptChunks {
    cache: Rc<ChunkCache>,
    file: u64,
}

impl KeptChunks {
    /// Of one more file: none yet.
    #[must_use]
    pub fn new(cache: Rc<ChunkCache>) -> Self {
        let file = cache.last_file.get() + 1;
        cache.last_file.set(file);
        Self { cache, file }
    }

    /// Is anything kept at all?
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.cache.is_on()
    }

    /// The chunk at this place of the file, if it is there.
    #[must_use]
    pub fn get(&self, at: u64) -> Option<ChunkBytes> {
        self.cache.chunks.borrow_mut().get(ChunkKey { file: self.file, at })
    }

    /// Adds a chunk that was read and checked; others go to make room.
    pub fn insert(&self, at: u64, chunk: &ChunkBytes) {
        if chunk.bytes.len() <= CHUNK_BYTES_MAX {
            let key = ChunkKey { file: self.file, at };
            self.cache.chunks.borrow_mut().insert(key, chunk.clone());
        }
    }
}

impl Drop for KeptChunks {
    fn drop(&mut self) {
        let file = self.file;
        self.cache.chunks.borrow_mut().forget(|key| key.file == file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(len: usize) -> ChunkBytes {
        ChunkBytes { encoding: 1, bytes: vec![7; len].into() }
    }

    #[test]
    fn a_files_chunks_go_with_it_and_no_other_file_ever_has_them() {
        let cache = Rc::new(ChunkCache::new(1 << 20));
        let (a, b) = (KeptChunks::new(Rc::clone(&cache)), KeptChunks::new(Rc::clone(&cache)));
        a.insert(8, &chunk(100));
        b.insert(8, &chunk(200));
        assert_eq!((a.get(8), b.get(8), b.get(9)), (Some(chunk(100)), Some(chunk(200)), None));
        drop(a);
        assert_eq!(cache.stats().bytes, chunk(200).held_bytes());
        assert_eq!(KeptChunks::new(Rc::clone(&cache)).get(8), None);
        drop(b);
        assert_eq!((cache.stats().items, cache.stats().bytes), (0, 0));
    }

    #[test]
    fn what_is_very_long_is_not_kept() {
        let cache = Rc::new(ChunkCache::new(1 << 20));
        let file = KeptChunks::new(cache);
        file.insert(1, &chunk(CHUNK_BYTES_MAX));
        file.insert(2, &chunk(CHUNK_BYTES_MAX + 1));
        assert!(file.get(1).is_some() && file.get(2).is_none());
    }

    #[test]
    fn a_cache_of_no_bytes_is_off() {
        let file = KeptChunks::new(Rc::new(ChunkCache::new(0)));
        assert!(!file.is_on());
        file.insert(1, &chunk(0));
        assert_eq!(file.get(1), None);
    }
}
