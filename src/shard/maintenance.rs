//! What a shard does for its Head beside requests, one thing after the other: full chunks leave memory, checkpoints are
//! written, blocks are cut.
//!
//! A cut holds everything else up until it has ended, because no checkpoint may be written meanwhile. Writing its block is
//! long work and done elsewhere.

use std::time::Duration;

use ulid::Ulid;

use super::Shard;
use super::work::{Done, Job};
use crate::io::{Clock, Disk};
use crate::model::BlockRange;
use crate::rt::clock::Stopwatch;
use crate::rt::pace::Slice;
use crate::rt::task;
use crate::rt::timer::{self, Interval};
use crate::storage::blocks::BlockMeta;
use crate::storage::checkpoint;
use crate::storage::files::Files;
use crate::storage::head::cut::{Cut, Truncation};
use crate::storage::head::cut_plan::Extraction;
use crate::storage::head::remove::Removal;
use crate::storage::head::saved::Saving;

/// How often is asked whether anything is due.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Full chunks leave memory when they take more than this, in bytes.
const FULL_CHUNK_BYTES_MAX: u64 = 16 << 20;

/// Series that a cut works on without a pause: some 100 us.
const CUT_SERIES: usize = 256;
/// Simple steps of a removal that are done without a pause: likewise.
const REMOVAL_UNITS: usize = 16_384;
/// How often is asked whether queries still read what is to be dropped.
const READERS_LOOK_AGAIN: Duration = Duration::from_millis(20);

/// After cuts that failed the next is tried later and later, within a minute.
#[derive(Default)]
struct Pause {
    failures: u32,
    since: Option<Stopwatch>,
}

impl Pause {
    fn is_over(&self) -> bool {
        let length = Duration::from_secs(1 << self.failures.min(6)).min(Duration::from_secs(60));
        self.since.as_ref().is_none_or(|since| since.elapsed() >= length)
    }

    fn note(&mut self, has_succeeded: bool) {
        if has_succeeded {
            *self = Self::default();
        } else {
            (self.failures, self.since) = (self.failures + 1, Some(Stopwatch::start()));
        }
    }
}

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
            let mut pause = Pause::default();
            loop {
                interval.tick().await;
                let Ok(_permit) = shard.head_permit().await else { return };
                shard.maintain(&files, &mut log).await;
                if !pause.is_over() {
                    continue;
                }
                if let Some(range) = shard.next_cut() {
                    pause.note(shard.cut(range, &files, &mut log).await);
                }
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

    /// What is to be cut into a block, if anything is.
    fn next_cut(&self) -> Option<BlockRange> {
        self.0.head.borrow().next_cut()
    }

    /// Cuts a block, drops from the Head what it has, and saves the rest; did it succeed?
    async fn cut(&self, range: BlockRange, files: &Files<D>, log: &mut LogLength) -> bool {
        let inner = &self.0;
        let began = Stopwatch::start();
        self.let_chunks_leave(files).await;
        let cut = {
            let mut log = inner.commits.log().borrow_mut();
            inner.head.borrow_mut().freeze(Ulid::generate(), range, &mut log)
        };
        match self.try_cut(cut).await {
            Ok(block) => {
                self.truncate(cut).await;
                self.checkpoint(files, log).await;
                inner.cuts.set(inner.cuts.get() + 1);
                let (ulid, samples) =
                    block.map_or((None, 0), |meta| (Some(meta.ulid), meta.stats.num_samples));
                tracing::info!(
                    shard = %inner.id,
                    block = ulid.map(|ulid| ulid.to_string()),
                    from = range.start().0,
                    to = range.end().0,
                    samples,
                    took = ?began.elapsed(),
                    "a block is cut from the Head"
                );
                true
            }
            Err(error) => {
                inner.head.borrow_mut().give_up(cut);
                inner.cut_failures.set(inner.cut_failures.get() + 1);
                tracing::error!(shard = %inner.id, error, "cannot cut a block from the Head; it is tried again");
                false
            }
        }
    }

    /// Has the block written, and serves it.
    async fn try_cut(&self, cut: Cut) -> Result<Option<BlockMeta>, String> {
        let inner = &self.0;
        let mut slice = Slice::start();
        // Replay goes by the record: it must not be missing once there is a block.
        inner.commits.durable().await.map_err(|why| why.to_string())?;
        let mut extraction = Extraction::of(&inner.head.borrow(), cut);
        while !inner.head.borrow_mut().extract_some(&mut extraction, CUT_SERIES) {
            slice.breathe().await;
        }
        let plan = extraction.into_plan();
        if plan.is_empty() {
            return Ok(None);
        }
        let opened = self.opened()?;
        let Done::Cut(written) = opened.work.run(Job::Cut(opened.own, plan)).await? else {
            return Err("a job gave what another one gives".to_owned());
        };
        for what in written.lost {
            tracing::error!(shard = %inner.id, damage = %what, "a chunk cannot be read, and is missing in the block; its file is kept aside");
            inner.damaged_reads.set(inner.damaged_reads.get() + 1);
        }
        if let Some(meta) = &written.meta {
            let served = opened.open_block(meta.ulid, &mut slice).await;
            let served = served.map_err(|error| error.to_string())?;
            inner.served.change(vec![served], &[]);
        }
        Ok(written.meta)
    }

    /// Drops from the Head what a block has now.
    async fn truncate(&self, cut: Cut) {
        let (inner, mut slice) = (&self.0, Slice::start());
        while inner.served.has_old_readers() {
            timer::sleep(READERS_LOOK_AGAIN).await;
        }
        let mut truncation = Truncation::of(cut);
        while !inner.head.borrow_mut().truncate_some(&mut truncation, CUT_SERIES) {
            slice.breathe().await;
        }
        let mut removal = Removal::of(truncation.into_empty());
        while !inner.head.borrow_mut().remove_some(&mut removal, REMOVAL_UNITS) {
            slice.breathe().await;
        }
    }
}
