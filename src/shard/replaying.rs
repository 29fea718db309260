//! How far the shards are with reading their logs back. Written by each shard for itself, read by all: the only memory
//! that shards share, and nothing waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::CommitLayout;
use crate::model::ShardId;
use crate::rt::{task, timer};

/// All shards' progress. Clones are the same.
#[derive(Clone, Debug)]
pub struct Replaying(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    shards: Box<[Progress]>,
    /// Is the layout of this run the one in force?
    layout_durable: AtomicBool,
}

#[derive(Debug, Default)]
struct Progress {
    read: AtomicU64,
    total: AtomicU64,
    /// Everything that the shard needs is in its own files.
    has_all: AtomicBool,
    done: AtomicBool,
    /// It has been open, and is being opened anew.
    again: AtomicBool,
}

/// How often a shard looks whether the others are as far as it is.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

impl Replaying {
    /// Nothing read by any of `shards` shards.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        let shards = (0..shards).map(|_| Progress::default()).collect();
        Self(Arc::new(Shared { shards, layout_durable: AtomicBool::new(false) }))
    }

    /// Notes that `shard` has read `read` of `total` bytes.
    pub fn note(&self, shard: ShardId, read: u64, total: u64) {
        if let Some(progress) = self.0.shards.get(shard.index()) {
            progress.read.store(read, Ordering::Relaxed);
            progress.total.store(total, Ordering::Relaxed);
        }
    }

    /// Notes that `shard` serves.
    pub fn finish(&self, shard: ShardId) {
        if let Some(progress) = self.0.shards.get(shard.index()) {
            progress.done.store(true, Ordering::Release);
            progress.again.store(false, Ordering::Release);
        }
    }

    /// Notes that `shard`, whose log has failed, is being opened anew, until it [`finish`](Self::finish)es. It answers
    /// meanwhile, but takes no writes.
    pub fn begin_again(&self, shard: ShardId) {
        if let Some(progress) = self.0.shards.get(shard.index()) {
            progress.again.store(true, Ordering::Release);
        }
    }

    /// After the number of shards has changed: notes that `shard` has all that it needs in its own files, and resolves
    /// when that is so for all and noted durably. Shard 0 does that, with `commit`.
    ///
    /// # Errors
    /// What `commit` says.
    pub async fn await_layout(
        &self,
        shard: ShardId,
        commit: Option<CommitLayout>,
    ) -> Result<(), String> {
        if let Some(progress) = self.0.shards.get(shard.index()) {
            progress.has_all.store(true, Ordering::Release);
        }
        if let Some(commit) = commit.filter(|_| shard == ShardId(0)) {
            while !self.0.shards.iter().all(|progress| progress.has_all.load(Ordering::Acquire)) {
                timer::sleep(LOOK_AGAIN).await;
            }
            task::spawn_blocking("layout", commit).await.map_err(|error| error.to_string())??;
            self.0.layout_durable.store(true, Ordering::Release);
        }
        while !self.0.layout_durable.load(Ordering::Acquire) {
            timer::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Do all shards serve?
    #[must_use]
    pub fn all_done(&self) -> bool {
        self.0.shards.iter().all(|progress| progress.done.load(Ordering::Acquire))
    }

    /// Do all shards serve, and is none being opened anew?
    #[must_use]
    pub fn all_take_writes(&self) -> bool {
        let is_opened_anew = |progress: &Progress| progress.again.load(Ordering::Acquire);
        self.all_done() && !self.0.shards.iter().any(is_opened_anew)
    }

    /// Bytes read and bytes in all, over all shards.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |field: fn(&Progress) -> &AtomicU64| {
            self.0.shards.iter().map(|p| field(p).load(Ordering::Relaxed)).sum()
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

    #[test]
    fn a_shard_that_is_opened_anew_serves_and_takes_no_writes() {
        let replaying = Replaying::new(1);
        replaying.finish(ShardId(0));
        replaying.begin_again(ShardId(0));
        assert_eq!((replaying.all_done(), replaying.all_take_writes()), (true, false));
        replaying.finish(ShardId(0));
        assert!(replaying.all_take_writes());
    }
}
