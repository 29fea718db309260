//! What a shard does for its Head beside requests, one thing after the other: full chunks leave memory, checkpoints are
//! written, blocks are cut.
//!
//! A cut holds checkpoints up until it has ended. Writing its block is long work and done elsewhere; meanwhile full chunks go on
//! leaving memory: what the block is to have is extracted already.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ulid::Ulid;

use super::Shard;
use super::life::Life;
use super::work::{Done, Job};
use crate::io::{Clock, Disk};
use crate::model::BlockRange;
use crate::rt::clock::Stopwatch;
use crate::rt::pace::Slice;
use crate::rt::task;
use crate::rt::timer;
use crate::storage::blocks::BlockMeta;
use crate::storage::checkpoint;
use crate::storage::files::Files;
use crate::storage::head::cut::{Cut, Truncation};
use crate::storage::head::cut_plan::Extraction;
use crate::storage::head::remove::Removal;

/// How often is asked whether anything is due.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Full chunks leave memory when they take more than this, in bytes.
const FULL_CHUNK_BYTES_MAX: u64 = 16 << 20;

/// Series that a cut works on without a pause: some 100 us.
const CUT_SERIES: usize = 256;
/// Simple steps of a removal that are done without a pause: likewise.
const REMOVAL_UNITS: usize = 16_384;

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
    pub(super) fn start_maintaining(&self, life: &Rc<Life<D>>, files: Files<D>, log_bytes: u64) {
        let (shard, of) = (self.clone(), Rc::clone(life));
        life.add_task(task::spawn("maintenance", async move {
            let (began, took) = (Stopwatch::start(), Duration::ZERO);
            let mut log = LogLength { before: log_bytes, at: of.commits.bytes(), began, took };
            let (mut pause, mut has_cut) = (Pause::default(), false);
            // Who is behind does not rest between one cut and the next.
            while std::mem::take(&mut has_cut) || of.rest(LOOK_AGAIN).await {
                let Ok(_permit) = of.head_permit().await else { return };
                shard.maintain(&of, &files, &mut log).await;
                if !pause.is_over() || of.has_ended() {
                    continue;
                }
                let due = of.head.borrow().next_cut();
                if let Some(range) = due {
                    has_cut = shard.cut(range, &of, &files, &mut log).await;
                    pause.note(has_cut);
                }
            }
        }));
    }

    async fn maintain(&self, life: &Life<D>, files: &Files<D>, log: &mut LogLength) {
        self.let_chunks_leave_if_many(life, files).await;
        let written = life.commits.bytes();
        let log_bytes = log.before.saturating_add(written.saturating_sub(log.at));
        let last = files.checkpoint_bytes();
        let series = life.head.borrow().stats().series;
        let max = self.storage().backlog.log_max(series);
        if checkpoint::is_due(log_bytes, last, max, log.began.elapsed(), log.took) {
            self.checkpoint(life, files, log).await;
        }
    }

    async fn let_chunks_leave_if_many(&self, life: &Life<D>, files: &Files<D>) {
        if life.head.borrow().stats().chunk_bytes > FULL_CHUNK_BYTES_MAX {
            self.let_chunks_leave(life, files).await;
        }
    }

    /// All full chunks leave memory.
    async fn let_chunks_leave(&self, life: &Life<D>, files: &Files<D>) {
        if let Err(error) = files.spill().spill(&life.head, 0, &mut Slice::gentle()).await {
            tracing::error!(shard = %self.0.id, %error, "full chunks cannot leave memory");
        }
    }

    /// Saves the Head, so that the log so far is not needed any more.
    async fn checkpoint(&self, life: &Life<D>, files: &Files<D>, log: &mut LogLength) {
        let inner = &self.0;
        let (began, written) = (Stopwatch::start(), life.commits.bytes());
        (log.before, log.at) = (0, written);
        let before = files.checkpoint_counts();
        let outcome = self.try_checkpoint(life, files).await;
        (log.took, log.began) = (began.elapsed(), began);
        let mut counts = inner.checkpoints.borrow_mut();
        counts.note(before, files.checkpoint_counts(), log.took, outcome.is_ok());
        if let Err(error) = outcome {
            tracing::error!(shard = %inner.id, %error, "a checkpoint cannot be written, or what it covers not be freed; the log stays longer");
        }
    }

    async fn try_checkpoint(&self, life: &Life<D>, files: &Files<D>) -> Result<(), String> {
        self.let_chunks_leave(life, files).await;
        let log = life.commits.cut().await.map_err(|why| why.to_string())?;
        let written = files.checkpoint(log, &life.head, &mut Slice::gentle()).await;
        written.map_err(|error| error.to_string())
    }

    /// Cuts a block, drops from the Head what it has, and saves the rest; did it succeed?
    async fn cut(
        &self,
        range: BlockRange,
        life: &Life<D>,
        files: &Files<D>,
        log: &mut LogLength,
    ) -> bool {
        let inner = &self.0;
        let began = Stopwatch::start();
        self.let_chunks_leave(life, files).await;
        let cut = {
            let mut log = life.commits.log().borrow_mut();
            life.head.borrow_mut().freeze(Ulid::generate(), range, &mut log)
        };
        match self.try_cut(life, files, cut).await {
            Ok(block) => {
                let truncating = Stopwatch::start();
                if !truncate(life, cut).await {
                    return true;
                }
                inner.truncations_took.set(inner.truncations_took.get() + truncating.elapsed());
                self.checkpoint(life, files, log).await;
                inner.cuts.set(inner.cuts.get() + 1);
                inner.compactions.borrow_mut().seconds.observe(began.elapsed().as_secs_f64());
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
                life.head.borrow_mut().give_up(cut);
                inner.cut_failures.set(inner.cut_failures.get() + 1);
                tracing::error!(shard = %inner.id, error, "cannot cut a block from the Head; it is tried again");
                false
            }
        }
    }

    /// Has the block written, and serves it.
    async fn try_cut(
        &self,
        life: &Life<D>,
        files: &Files<D>,
        cut: Cut,
    ) -> Result<Option<BlockMeta>, String> {
        let inner = &self.0;
        let mut slice = Slice::gentle();
        // Replay goes by the record: it must not be missing once there is a block.
        life.commits.durable().await.map_err(|why| why.to_string())?;
        let mut extraction = Extraction::of(&life.head.borrow(), cut);
        while !life.head.borrow_mut().extract_some(&mut extraction, CUT_SERIES) {
            slice.breathe().await;
        }
        let plan = extraction.into_plan();
        if plan.is_empty() {
            return Ok(None);
        }
        let mut work = pin!(life.work(Job::Cut(life.own, plan)));
        let done = loop {
            match timer::timeout(LOOK_AGAIN, work.as_mut()).await {
                Ok(done) => break done?,
                // To its end: what leaves memory must not be forgotten halfway.
                Err(_) => self.let_chunks_leave_if_many(life, files).await,
            }
        };
        let Done::Cut(written) = done else {
            return Err("a job gave what another one gives".to_owned());
        };
        inner.compactions.borrow_mut().chunks.add(&written.chunks);
        for what in written.lost {
            tracing::error!(shard = %inner.id, damage = %what, "a chunk cannot be read, and is missing in the block; its file is kept aside");
            inner.damaged_reads.set(inner.damaged_reads.get() + 1);
        }
        if let Some(meta) = &written.meta {
            life.serve(std::slice::from_ref(meta), &[]).await?;
        }
        Ok(written.meta)
    }
}

/// Drops from the Head what a block has now; was there time for it?
async fn truncate<D: Disk>(life: &Life<D>, cut: Cut) -> bool {
    let mut slice = Slice::gentle();
    if life.no_old_readers().await.is_err() {
        return false;
    }
    let mut truncation = Truncation::of(cut);
    while !life.head.borrow_mut().truncate_some(&mut truncation, CUT_SERIES) {
        slice.breathe().await;
    }
    let mut removal = Removal::of(truncation.into_empty());
    while !life.head.borrow_mut().remove_some(&mut removal, REMOVAL_UNITS) {
        slice.breathe().await;
    }
    true
}
