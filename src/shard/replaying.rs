//! How far the shards are with reading their logs back. Written by each shard for itself, read by all: the only memory
//! that shards share, and nothing waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::model::ShardId;

/// All shards' progress. Clones are the same.
#[derive(Clone, Debug)]
pub struct Replaying(Arc<[Progress]>);

#[derive(Debug, Default)]
struct Progress {
    read: AtomicU64,
    total: AtomicU64,
    done: AtomicBool,
}

impl Replaying {
    /// Nothing read by any of `shards` shards.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self((0..shards).map(|_| Progress::default()).collect())
    }

    /// Notes that `shard` has read `read` of `total` bytes.
    pub fn note(&self, shard: ShardId, read: u64, total: u64) {
        if let Some(progress) = self.0.get(shard.index()) {
            progress.read.store(read, Ordering::Relaxed);
            progress.total.store(total, Ordering::Relaxed);
        }
    }

    /// Notes that `shard` serves.
    pub fn finish(&self, shard: ShardId) {
        if let Some(progress) = self.0.get(shard.index()) {
            progress.done.store(true, Ordering::Release);
        }
    }

    /// Do all shards serve?
    #[must_use]
    pub fn all_done(&self) -> bool {
        self.0.iter().all(|progress| progress.done.load(Ordering::Acquire))
    }

    /// Bytes read and bytes in all, over all shards.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |field: fn(&Progress) -> &AtomicU64| {
            self.0.iter().map(|p| field(p).load(Ordering::Relaxed)).sum()
        };
        (sum(|p| &p.read), sum(|p| &p.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_done_when_the_last_is() {
        let replaying = Replaying::new(2);
        replaying.note(ShardId(0), 10, 20);
        replaying.note(ShardId(1), 5, 30);
        replaying.finish(ShardId(0));
        assert_eq!((replaying.all_done(), replaying.bytes()), (false, (15, 50)));
        replaying.finish(ShardId(1));
        assert!(replaying.all_done());
    }
}
