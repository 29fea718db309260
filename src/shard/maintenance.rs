//! What a shard does for its data beside requests, one thing after the other: full chunks leave memory, checkpoints are
//! written.

use std::time::Duration;

use super::Shard;
use crate::io::{Clock, Disk};
use crate::rt::clock::Stopwatch;
use crate::rt::pace::Slice;
use crate::rt::task;
use crate::rt::timer::Interval;
use crate::storage::checkpoint;
use crate::storage::files::Files;
use crate::storage::head::saved::Saving;

/// How often is asked whether anything is due.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Full chunks leave memory when they take more than this, in bytes.
const FULL_CHUNK_BYTES_MAX: u64 = 16 << 20;

/// How long the log is since the last checkpoint.
struct LogLength {
    /// What of it was there before this start.
    before: u64,
    /// How much had been written since the start when the last checkpoint began.
    at: u64,
    /// When that was.
    began: Stopwatch,
    /// How long it took.
    took: Duration,
}

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Keeps memory, and what a start has to read, bounded.
    ///
    /// - `log_bytes`: how long the log is already.
    pub(super) fn start_maintaining(&self, files: Files<D>, log_bytes: u64) {
        let shard = self.clone();
        task::spawn("maintenance", async move {
            let mut interval = Interval::new(LOOK_AGAIN);
            let (began, took) = (Stopwatch::start(), Duration::ZERO);
            let mut log = LogLength { before: log_bytes, at: 0, began, took };
            loop {
                interval.tick().await;
                shard.maintain(&files, &mut log).await;
            }
        });
    }

    async fn maintain(&self, files: &Files<D>, log: &mut LogLength) {
        let inner = &self.0;
        if inner.head.borrow().stats().chunk_bytes > FULL_CHUNK_BYTES_MAX {
            self.let_chunks_leave(files).await;
        }
        let written = inner.commits.bytes();
        let log_bytes = log.before.saturating_add(written.saturating_sub(log.at));
        let last = files.checkpoint_bytes();
        if checkpoint::is_due(log_bytes, last, log.began.elapsed(), log.took) {
            self.checkpoint(files, log).await;
        }
    }

    /// All full chunks leave memory.
    async fn let_chunks_leave(&self, files: &Files<D>) {
        if let Err(error) = files.spill().spill(&self.0.head, 0, &mut Slice::start()).await {
            tracing::error!(shard = %self.0.id, %error, "full chunks cannot leave memory");
        }
    }

    /// Saves the Head, so that the log so far is not needed any more.
    async fn checkpoint(&self, files: &Files<D>, log: &mut LogLength) {
        let inner = &self.0;
        let (began, written) = (Stopwatch::start(), inner.commits.bytes());
        (log.before, log.at) = (0, written);
        match self.try_checkpoint(files).await {
            Ok(()) => inner.checkpoints.set(inner.checkpoints.get() + 1),
            Err(error) => {
                inner.checkpoint_failures.set(inner.checkpoint_failures.get() + 1);
                tracing::error!(shard = %inner.id, %error, "cannot write a checkpoint; the log stays longer");
            }
        }
        (log.took, log.began) = (began.elapsed(), began);
    }

    async fn try_checkpoint(&self, files: &Files<D>) -> Result<(), String> {
        self.let_chunks_leave(files).await;
        let log = self.0.commits.cut().await.map_err(|why| why.to_string())?;
        let head = &self.0.head;
        let mut saving = Saving::begin(head.borrow().series_count());
        let save = |bytes, payload: &mut Vec<u8>| {
            saving = head.borrow().save(saving, bytes, payload);
            !saving.is_done()
        };
        let spill_files = || head.borrow().spill_files();
        let written = files.checkpoint(log, save, spill_files, &mut Slice::start()).await;
        written.map_err(|error| error.to_string())
    }
}
