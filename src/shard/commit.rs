//! Group commit: everything that was appended while one batch was on its way to the disk goes into the next.
//!
//! Who has appended waits for the commit that holds it. The disk sets the pace, not a timer: a commit begins as soon as
//! the one before is done and somebody waits. Who appended nothing new waits as well, because what he repeated may still
//! be on its way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::io::Disk;
use crate::rt::clock::Stopwatch;
use crate::rt::local::{Notify, OneshotSender, oneshot};
use crate::rt::timer;
use crate::storage::wal::{CheckpointRecord, LogBuffer, Spares, SyncMode, WalWriter};

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
    stats: RefCell<CommitStats>,
}

/// What a log's commits have come to since the start.
#[derive(Debug, Clone)]
pub struct CommitStats {
    /// Bytes written, headers included, padding not.
    pub bytes: u64,
    /// How long commits took, write and flush together, in microseconds.
    pub durations_us: Histogram<u64>,
    /// Commits that failed.
    pub failures: u64,
    /// The segment being written.
    pub segment: u64,
}

impl Commits {
    /// Nothing appended, nobody waiting.
    #[must_use]
    pub fn new() -> Self {
        // Three digits up to a minute: a commit that takes longer is recorded as that.
        let durations_us = Histogram::new_with_max(60_000_000, 3)
            .expect("bounds that the crate documents as valid");
        Self {
            log: RefCell::new(LogBuffer::new()),
            waiting: RefCell::new(Vec::new()),
            wake: Notify::new(),
            cut: RefCell::new(None),
            stopping: Cell::new(false),
            ended: RefCell::new(None),
            stats: RefCell::new(CommitStats { bytes: 0, durations_us, failures: 0, segment: 0 }),
        }
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
    /// It is not, and nothing will be any more until a restart.
    pub async fn durable(&self) -> Result<(), WriteFailed> {
        if let Some(why) = &*self.ended.borrow() {
            return Err(Arc::clone(why));
        }
        let (sender, receiver) = oneshot();
        self.waiting.borrow_mut().push(sender);
        self.wake.notify();
        receiver.await.unwrap_or_else(|_| Err(Arc::from("the log has ended")))
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
        receiver.await.unwrap_or_else(|_| Err(Arc::from("the log has ended")))
    }

    /// Bytes written since the start.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.stats.borrow().bytes
    }

    /// Ends [`run`](Self::run) once everything that was appended is committed.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.wake.notify();
    }

    /// Fails everybody who waits and who will: nobody commits any more.
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

    /// Commits until [`stop`](Self::stop), then makes the last of it durable whatever the mode is.
    pub async fn run<D: Disk>(
        &self,
        mut writer: WalWriter<D>,
        spares: &Rc<Spares<D>>,
        sync: SyncMode,
        refill: &Notify,
    ) {
        loop {
            let cut = self.cut.borrow_mut().take();
            if let Some(sender) = cut {
                let place = writer.cut().await.map_err(|error| Arc::from(error.to_string()));
                let _ = sender.send(place); // who does not wait any more needs no answer
            }
            let waiters = std::mem::take(&mut *self.waiting.borrow_mut());
            let mut payloads = self.log.borrow_mut().take();
            if waiters.is_empty() && payloads.is_empty() {
                if self.stopping.get() {
                    break;
                }
                self.wait(&mut writer, sync).await;
                continue;
            }
            let started = Stopwatch::start();
            let result = writer.commit(&mut payloads).await;
            self.note(&payloads, started, result.is_err(), writer.segment().0);
            let result = result.map_err(|error| {
                tracing::error!(%error, "a commit failed: the shard takes no more writes until a restart");
                Arc::from(error.to_string())
            });
            let mut log = self.log.borrow_mut();
            payloads.into_iter().for_each(|payload| log.recycle(payload));
            drop(log);
            for waiter in waiters {
                // Who does not wait any more need not be told.
                let _ = waiter.send(result.clone());
            }
            if spares.waiting() == 0 {
                refill.notify();
            }
        }
        if let Err(error) = writer.sync().await {
            tracing::error!(%error, "the last flush failed");
        }
        self.fail("the shard has stopped");
    }

    /// Waits for work; with flushes at intervals, flushes when one is due.
    async fn wait<D: Disk>(&self, writer: &mut WalWriter<D>, sync: SyncMode) {
        let SyncMode::Interval(interval) = sync else { return self.wake.wait().await };
        if timer::timeout(interval, self.wake.wait()).await.is_err()
            && let Err(error) = writer.sync().await
            && !writer.has_failed()
        {
            tracing::error!(%error, "a flush failed");
        }
    }

    fn note(&self, payloads: &[Vec<u8>], started: Stopwatch, failed: bool, segment: u64) {
        let mut stats = self.stats.borrow_mut();
        stats.segment = segment;
        stats.failures += u64::from(failed);
        if !payloads.is_empty() {
            stats.bytes += payloads.iter().map(|payload| payload.len() as u64).sum::<u64>();
            let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            stats.durations_us.saturating_record(took);
        }
    }
}

impl Default for Commits {
    fn default() -> Self {
        Self::new()
    }
}
