//! Group commit: everything that was appended while one batch was on its way to the disk goes into the next.
//!
//! Who has appended waits for the commit that holds it. The disk sets the pace, not a timer: a commit begins as soon as
//! the one before is done and somebody waits. Who appended nothing new waits as well, because what he repeated may still
//! be on its way. A commit for which no segment can be begun fails those who waited for it, and what they appended is
//! written first by the next one. A write or a flush that failed is the end: nobody who waits or comes later is told that
//! anything is durable, and the shard is opened anew from its log.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::io::Disk;
use crate::rt::local::{Notify, OneshotSender, oneshot};
use crate::rt::timer;
use crate::storage::wal::{CheckpointRecord, LogBuffer, Spares, SyncMode, WalError, WalWriter};

/// Why a write is not durable: the text for people. The same for everybody who waited.
pub type WriteFailed = Arc<str>;

/// The meeting point of those who append and the one task that commits.
pub struct Commits {
    log: RefCell<LogBuffer>,
    waiting: RefCell<Vec<OneshotSender<Result<(), WriteFailed>>>>,
    wake: Notify,
    /// Who waits for the log to be cut.
    cut: RefCell<Option<OneshotSender<Result<CheckpointRecord, WriteFailed>>>>,
    stopping: Cell<bool>,
    /// Why nobody commits any more.
    ended: RefCell<Option<WriteFailed>>,
    /// Is something appended that could not be written for want of a segment?
    held_back: Cell<bool>,
    /// Bytes that were written since the start before these commits began.
    bytes_before: u64,
    stats: RefCell<CommitStats>,
}

/// What a log's commits have come to since the process started.
#[derive(Debug, Clone)]
pub struct CommitStats {
    /// Bytes written, headers and padding included.
    pub bytes: u64,
    /// How long flushes took, in microseconds.
    pub flushes_us: Histogram<u64>,
    /// Commits that failed.
    pub failures: u64,
    /// Has a write or a flush failed, so that there will be no more?
    pub has_failed: bool,
    /// The segment being written.
    pub segment: u64,
}

impl Commits {
    /// Nothing appended, nobody waiting.
    #[must_use]
    pub fn new() -> Self {
        // Three digits up to a minute: a flush that takes longer is recorded as that.
        let flushes_us = Histogram::new_with_max(60_000_000, 3)
            .expect("bounds that the crate documents as valid");
        Self {
            log: RefCell::new(LogBuffer::new()),
            waiting: RefCell::new(Vec::new()),
            wake: Notify::new(),
            cut: RefCell::new(None),
            stopping: Cell::new(false),
            ended: RefCell::new(None),
            held_back: Cell::new(false),
            bytes_before: 0,
            stats: RefCell::new(CommitStats {
                bytes: 0,
                flushes_us,
                failures: 0,
                has_failed: false,
                segment: 0,
            }),
        }
    }

    /// Nothing appended, nobody waiting; counts on from where others have ended.
    #[must_use]
    pub fn after(before: &Self) -> Self {
        let stats = CommitStats { has_failed: false, ..before.stats() };
        let bytes_before = stats.bytes;
        Self { stats: RefCell::new(stats), bytes_before, ..Self::new() }
    }

    /// Where the Head puts what is to be logged.
    #[must_use]
    pub fn log(&self) -> &RefCell<LogBuffer> {
        &self.log
    }

    /// Bytes that are appended and not yet on their way.
    #[must_use]
    pub fn gathered_bytes(&self) -> usize {
        self.log.borrow().bytes()
    }

    /// Resolves when everything that was appended before this call is as durable as the mode asks.
    ///
    /// # Errors
    /// It is not. If only a segment could not be begun, a later call may succeed, and then speaks for this one, too.
    pub async fn durable(&self) -> Result<(), WriteFailed> {
        if let Some(why) = &*self.ended.borrow() {
            return Err(Arc::clone(why));
        }
        let (sender, receiver) = oneshot();
        self.waiting.borrow_mut().push(sender);
        self.wake.notify();
        receiver.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    /// Sees that what is appended now can be written, as far as one can tell: while something is held back for want of a
    /// segment, nothing more may gather in memory behind it.
    ///
    /// # Errors
    /// There is still no segment; or the log has failed or ended.
    pub async fn admit(&self) -> Result<(), WriteFailed> {
        if let Some(why) = &*self.ended.borrow() {
            return Err(Arc::clone(why));
        }
        if self.held_back.get() { self.durable().await } else { Ok(()) }
    }

    /// Cuts the log: everything committed so far lies before the place that is returned, everything later behind it. One
    /// caller at a time.
    ///
    /// # Errors
    /// The log has failed or ended.
    pub async fn cut(&self) -> Result<CheckpointRecord, WriteFailed> {
        if let Some(why) = &*self.ended.borrow() {
            return Err(Arc::clone(why));
        }
        let (sender, receiver) = oneshot();
        *self.cut.borrow_mut() = Some(sender);
        self.wake.notify();
        receiver.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    /// Why nobody commits any more.
    fn why_ended(&self) -> WriteFailed {
        self.ended.borrow().clone().unwrap_or_else(|| Arc::from("the log has ended"))
    }

    /// Bytes written since the process started.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.stats.borrow().bytes
    }

    /// Has anything been written?
    #[must_use]
    pub fn have_written(&self) -> bool {
        self.bytes() > self.bytes_before
    }

    /// Ends [`run`](Self::run) once everything that was appended is committed.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.wake.notify();
    }

    /// Fails everybody who waits and who will: nobody commits any more. Who comes later is told what was said last.
    pub fn fail(&self, why: &str) {
        *self.ended.borrow_mut() = Some(Arc::from(why));
        self.waiting.borrow_mut().clear();
        self.cut.borrow_mut().take();
    }

    /// What the commits have come to.
    #[must_use]
    pub fn stats(&self) -> CommitStats {
        self.stats.borrow().clone()
    }

    /// Commits until [`stop`](Self::stop), then makes the last of it durable whatever the mode is; or until a write or a
    /// flush fails.
    ///
    /// # Errors
    /// Something that was appended is not durable.
    pub async fn run<D: Disk>(
        &self,
        mut writer: WalWriter<D>,
        spares: &Rc<Spares<D>>,
        sync: SyncMode,
        refill: &Notify,
    ) -> Result<(), WriteFailed> {
        let failed = loop {
            let cut = self.cut.borrow_mut().take();
            if let Some(sender) = cut {
                let place = writer.cut().await.map_err(|error| Arc::from(error.to_string()));
                let failed = place.as_ref().err().map(Arc::clone);
                let _ = sender.send(place); // who does not wait any more needs no answer
                if let Some(why) = failed.filter(|_| writer.has_failed()) {
                    break Some(why);
                }
            }
            let waiters = std::mem::take(&mut *self.waiting.borrow_mut());
            let payloads = self.log.borrow_mut().take();
            if waiters.is_empty() && payloads.is_empty() {
                if self.stopping.get() {
                    break None;
                }
                match self.wait(&mut writer, sync).await {
                    Ok(()) => continue,
                    Err(why) => break Some(why),
                }
            }
            let result = self.commit(&mut writer, payloads).await;
            for waiter in waiters {
                // Who does not wait any more need not be told.
                let _ = waiter.send(result.clone());
            }
            if let Err(why) = result
                && writer.has_failed()
            {
                break Some(why);
            }
            if spares.waiting() == 0 {
                refill.notify();
            }
        };
        let last = match failed {
            Some(why) => Err(why),
            None => self.finish(&mut writer).await,
        };
        self.note(&mut writer);
        match &last {
            Ok(()) => self.fail("the shard has stopped"),
            Err(why) => self.fail(why),
        }
        last
    }

    /// Makes the last of it durable.
    async fn finish<D: Disk>(&self, writer: &mut WalWriter<D>) -> Result<(), WriteFailed> {
        self.commit(writer, Vec::new()).await?;
        writer.sync().await.map_err(|error| Arc::from(error.to_string()))
    }

    /// Commits `payloads`, and what was held back before them.
    async fn commit<D: Disk>(
        &self,
        writer: &mut WalWriter<D>,
        payloads: Vec<Vec<u8>>,
    ) -> Result<(), WriteFailed> {
        let result = writer.commit(payloads).await;
        let held_back = self.held_back.replace(writer.holds_back());
        self.note(writer);
        match result {
            Ok(written) => {
                if held_back {
                    tracing::info!("the log goes on: what was held back is written");
                }
                let mut log = self.log.borrow_mut();
                written.into_iter().for_each(|buffer| log.recycle(buffer));
                Ok(())
            }
            Err(error) => {
                let mut stats = self.stats.borrow_mut();
                stats.failures += 1;
                match &error {
                    // Senders try again every second: once is enough.
                    WalError::NotBegun { .. } if held_back => {}
                    WalError::NotBegun { .. } => {
                        tracing::error!(%error, "writes are refused until the log can go on");
                    }
                    WalError::Failed { .. } | WalError::Io { .. } => {
                        tracing::error!(%error, "a commit failed");
                    }
                }
                Err(Arc::from(error.to_string()))
            }
        }
    }

    /// Waits for work; with flushes at intervals, flushes when one is due.
    async fn wait<D: Disk>(
        &self,
        writer: &mut WalWriter<D>,
        sync: SyncMode,
    ) -> Result<(), WriteFailed> {
        let SyncMode::Interval(interval) = sync else {
            self.wake.wait().await;
            return Ok(());
        };
        if timer::timeout(interval, self.wake.wait()).await.is_ok() {
            return Ok(());
        }
        let flushed = writer.sync().await;
        self.note(writer);
        flushed.map_err(|error| {
            self.stats.borrow_mut().failures += 1;
            tracing::error!(%error, "a flush failed");
            Arc::from(error.to_string())
        })
    }

    fn note<D: Disk>(&self, writer: &mut WalWriter<D>) {
        let mut stats = self.stats.borrow_mut();
        stats.segment = writer.segment().0;
        stats.bytes = self.bytes_before + writer.written_bytes();
        stats.has_failed = writer.has_failed();
        for took in writer.take_flushes() {
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            stats.flushes_us.saturating_record(took_us);
        }
    }
}

impl Default for Commits {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Faults, SimDisk};
    use crate::model::{Fingerprinter, Sample, SeriesRef, TimestampMs};
    use crate::rt::executor::testing::on_one_shard;
    use crate::rt::task::{self, JoinHandle};
    use crate::storage::wal::{SegmentId, WalOptions};

    const SEGMENT_BYTES: u64 = 8192;

    /// Commits on a disk in memory.
    struct Running {
        disk: SimDisk,
        commits: Rc<Commits>,
        running: JoinHandle<Result<(), WriteFailed>>,
    }

    impl Running {
        async fn begin() -> Self {
            let disk = SimDisk::new(1);
            let opened = Spares::open(disk.clone(), String::new(), SEGMENT_BYTES, true).await;
            let (spares, commits) = (Rc::new(opened.unwrap()), Rc::new(Commits::new()));
            let options = WalOptions {
                dir: String::new(),
                segment_bytes: SEGMENT_BYTES,
                sync: SyncMode::Always,
                shards: 1,
                run: 1,
                salts: Fingerprinter::new(1),
                stopwatch: crate::rt::clock::since_first_asked,
            };
            let writer = WalWriter::new(options, Rc::clone(&spares), SegmentId(1), 1);
            let committing = Rc::clone(&commits);
            let running = task::spawn("commits", async move {
                committing.run(writer, &spares, SyncMode::Always, &Notify::new()).await
            });
            Self { disk, commits, running }
        }

        /// Appends one sample and waits until it is durable.
        async fn write(&self) -> Result<(), WriteFailed> {
            self.commits.admit().await?;
            {
                let mut log = self.commits.log().borrow_mut();
                log.sample(SeriesRef(1), Sample { t: TimestampMs(1), v: 1.0 });
                log.finish_part();
            }
            self.commits.durable().await
        }

        fn is_full(&self, full: bool) {
            let capacity_bytes = full.then_some(0);
            self.disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
        }

        async fn end(self) -> Result<(), WriteFailed> {
            self.commits.stop();
            self.running.await.unwrap()
        }
    }

    #[test] // once, a disk that was full when a segment was used up cost the shard all writes until a restart
    fn a_disk_that_is_full_for_a_while_refuses_writes_for_a_while() {
        on_one_shard(|_| async {
            let running = Running::begin().await;
            running.is_full(true);
            let why = running.write().await.unwrap_err();
            assert!(why.contains("cannot begin segment 00000001"), "{why}");
            assert!(running.write().await.is_err(), "no acknowledgement before there is a segment");
            let stats = running.commits.stats();
            assert_eq!((stats.failures, stats.has_failed, stats.bytes), (2, false, 0));
            running.is_full(false);
            assert_eq!(running.write().await, Ok(()));
            assert_eq!(running.commits.stats().bytes, 2 * 4096, "the one held back, and the last");
            assert_eq!(running.end().await, Ok(()));
        });
    }

    #[test] // memory stays bounded however long the disk is full
    fn while_something_is_held_back_nothing_gathers_behind_it() {
        on_one_shard(|_| async {
            let running = Running::begin().await;
            running.is_full(true);
            for _ in 0..3 {
                running.write().await.unwrap_err();
            }
            assert_eq!(running.commits.gathered_bytes(), 0);
            running.is_full(false);
            running.commits.durable().await.unwrap();
            assert_eq!(running.commits.stats().bytes, 4096, "one of three was appended");
        });
    }

    #[test]
    fn a_flush_that_fails_is_the_end_of_writing_and_the_end_says_so() {
        on_one_shard(|_| async {
            let running = Running::begin().await;
            assert_eq!(running.write().await, Ok(()));
            let fail_at = Some((running.disk.calls() + 2, std::io::ErrorKind::Other));
            running.disk.set_faults(Faults { fail_at, ..Faults::default() });
            let why = running.write().await.unwrap_err();
            assert!(why.contains("cannot write and flush a batch"), "{why}");
            let refused = running.write().await.unwrap_err();
            assert_eq!(refused, why, "who comes later is told the same, and nothing more is tried");
            let stats = running.commits.stats();
            assert_eq!((stats.failures, stats.has_failed), (1, true));
            assert_eq!(running.end().await, Err(why));
        });
    }

    #[test]
    fn flushes_are_counted_one_by_one_and_bytes_as_they_go_to_the_disk() {
        on_one_shard(|_| async {
            let running = Running::begin().await;
            for _ in 0..3 {
                running.write().await.unwrap();
            }
            let stats = running.commits.stats();
            assert_eq!((stats.flushes_us.len(), stats.bytes, stats.segment), (3, 3 * 4096, 2));
        });
    }
}
