//! Brings batches to the disk, one after the other.
//!
//! Owns the segment being written, the log's position, and what could not be written for want of a segment. What gathers
//! meanwhile is `buffer`'s; who waits for a commit, the shard's. After a write or a flush that failed it writes no more:
//! what the failed flush covered may be lost although a second flush would say otherwise. A segment that could not be
//! begun has cost nothing yet, so that is tried again.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::segment::SegmentId;
use super::spare::{Spares, TakeError};
use crate::encoding::batch::{self, BatchHeader};
use crate::encoding::record::CheckpointRecord;
use crate::io::{Disk, File};
use crate::model::Fingerprinter;

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// When it survives power loss. The promise.
    Always,
    /// When it survives the process; power loss takes at most what came within this time.
    Interval(Duration),
    /// When it survives the process; power loss takes what the disk had not written by itself.
    Never,
}

/// What a log needs to know.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The log's directory.
    pub dir: String,
    /// Length of a segment in bytes, a multiple of 4 KiB.
    pub segment_bytes: u64,
    /// When a commit counts as done.
    pub sync: SyncMode,
    /// How many shards this run has.
    pub shards: u16,
    /// How often the data directory has been started, this time included.
    pub run: u64,
    /// Draws the segments' salts.
    pub salts: Fingerprinter,
    /// The time since some moment, which only grows: flushes are measured by it.
    pub stopwatch: fn() -> Duration,
}

/// Why a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// There is no room for a batch, and no new segment: the disk is full, or the process has no descriptor left. Nothing
    /// was written of it; the next commit begins with it.
    #[error(
        "wal {dir}: cannot begin segment {segment}: {source}; nothing was written, and the next write tries again: see that \
         the disk has room and the limit on open files is high enough"
    )]
    NotBegun {
        /// The log's directory.
        dir: String,
        /// The segment that was to be begun.
        segment: SegmentId,
        /// What the disk said.
        source: std::io::Error,
    },
    /// A write or flush failed now.
    #[error(
        "wal {dir}, segment {segment}: cannot {action}: {source}; nothing more is written before the log is opened anew"
    )]
    Io {
        /// The log's directory.
        dir: String,
        /// The segment that was being written.
        segment: SegmentId,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: std::io::Error,
    },
    /// An earlier one did.
    #[error(
        "wal {dir}: an earlier write or flush failed; nothing more is written before the log is opened anew"
    )]
    Failed {
        /// The log's directory.
        dir: String,
    },
}

/// The writing end of a shard's log.
#[derive(Debug)]
pub struct WalWriter<D: Disk> {
    options: WalOptions,
    spares: Rc<Spares<D>>,
    segment: Option<Segment<D::File>>,
    next_segment: SegmentId,
    next_sequence: u64,
    failed: bool,
    /// Payloads that could not be written for want of a segment, oldest first. The Head has them, and later records rely on
    /// the series that they name.
    held_back: VecDeque<Vec<u8>>,
    written_bytes: u64,
    flushes: Vec<Duration>,
}

#[derive(Debug)]
struct Segment<F> {
    file: F,
    id: SegmentId,
    salt: u64,
    /// Where the next batch begins.
    offset: u64,
    /// Something is written that is not synced?
    dirty: bool,
}

impl<D: Disk> WalWriter<D> {
    /// A writer that begins the segment `next_segment` with its first batch, which gets `next_sequence`.
    #[must_use]
    pub fn new(
        options: WalOptions,
        spares: Rc<Spares<D>>,
        next_segment: SegmentId,
        next_sequence: u64,
    ) -> Self {
        Self {
            options,
            spares,
            segment: None,
            next_segment,
            next_sequence,
            failed: false,
            held_back: VecDeque::new(),
            written_bytes: 0,
            flushes: Vec::new(),
        }
    }

    /// Writes the payloads, each one batch, behind those that were held back, and as the mode asks makes them durable.
    /// When this returns `Ok`, what they and all before them hold may be acknowledged. Gives the buffers back.
    ///
    /// - `payloads`: each behind [`batch::HEADER_BYTES`] of room.
    ///
    /// # Errors
    /// Anything that the disk did not do. Then nothing of `payloads` may be acknowledged. After [`WalError::NotBegun`] the
    /// next call begins with what was not written; after any other error it fails, and so do all.
    pub async fn commit(&mut self, payloads: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, WalError> {
        // Also without payloads: who repeats what the Head knows already must not be told that it is safe.
        if self.failed {
            return Err(WalError::Failed { dir: self.options.dir.clone() });
        }
        self.held_back.extend(payloads);
        let mut written = Vec::with_capacity(self.held_back.len());
        while let Some(mut payload) = self.held_back.pop_front() {
            let len = batch::disk_bytes(payload.len() - batch::HEADER_BYTES) as u64;
            if let Err(error) = self.make_room(len).await {
                self.held_back.push_front(payload);
                return Err(error);
            }
            // With `Always` each batch is durable before the next begins, so that a valid one behind an invalid one is damage.
            self.write(&mut payload).await?;
            written.push(payload);
        }
        Ok(written)
    }

    /// Begins a segment unless the one being written has room for `len` bytes.
    async fn make_room(&mut self, len: u64) -> Result<(), WalError> {
        if self.segment.as_ref().is_some_and(|segment| segment.offset + len <= segment.file.len()) {
            return Ok(());
        }
        self.sync().await?;
        self.rotate(len).await
    }

    async fn write(&mut self, payload: &mut Vec<u8>) -> Result<(), WalError> {
        let Some(segment) = &mut self.segment else {
            return Err(WalError::Failed { dir: self.options.dir.clone() });
        };
        let header = BatchHeader {
            shards: self.options.shards,
            segment: segment.id.0,
            run: self.options.run,
            salt: segment.salt,
            sequence: self.next_sequence,
        };
        batch::seal(payload, header);
        let durable = self.options.sync == SyncMode::Always;
        segment.dirty = !durable;
        let began = (self.options.stopwatch)();
        let written = segment.file.write_at(payload, segment.offset).await;
        if durable {
            self.flushes.push((self.options.stopwatch)().saturating_sub(began));
        }
        segment.offset += payload.len() as u64;
        self.next_sequence += 1;
        let action = if durable { "write and flush a batch" } else { "write a batch" };
        written.map_err(|source| self.fail(action, source))?;
        self.written_bytes += payload.len() as u64;
        Ok(())
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The disk did not, or failed before. Every later call fails.
    pub async fn sync(&mut self) -> Result<(), WalError> {
        if self.failed {
            return Err(WalError::Failed { dir: self.options.dir.clone() });
        }
        let Some(segment) = &mut self.segment else { return Ok(()) };
        if !segment.dirty {
            return Ok(());
        }
        let began = (self.options.stopwatch)();
        let flushed = segment.file.sync().await;
        self.flushes.push((self.options.stopwatch)().saturating_sub(began));
        match flushed {
            Ok(()) => {
                segment.dirty = false;
                Ok(())
            }
            Err(source) => Err(self.fail("flush a batch", source)),
        }
    }

    async fn rotate(&mut self, len: u64) -> Result<(), WalError> {
        let id = self.next_segment;
        let file = match self.spares.take(id, len).await {
            Ok(file) => file,
            Err(TakeError::NotBegun(source)) => {
                return Err(WalError::NotBegun {
                    dir: self.options.dir.clone(),
                    segment: id,
                    source,
                });
            }
            Err(TakeError::Lost(source)) => return Err(self.fail("begin a segment", source)),
        };
        let salt = self.options.salts.keyed(&id.0.to_le_bytes());
        self.segment = Some(Segment { file, id, salt, offset: 0, dirty: false });
        self.next_segment = id.next();
        Ok(())
    }

    fn fail(&mut self, action: &'static str, source: std::io::Error) -> WalError {
        self.failed = true;
        let segment = self.segment.as_ref().map_or(self.next_segment, |segment| segment.id);
        WalError::Io { dir: self.options.dir.clone(), segment, action, source }
    }

    /// Ends the segment being written, so that the next commit begins a new one: everything committed so far lies before
    /// the returned place.
    ///
    /// # Errors
    /// Those of [`sync`](Self::sync).
    pub async fn cut(&mut self) -> Result<CheckpointRecord, WalError> {
        if self.failed {
            return Err(WalError::Failed { dir: self.options.dir.clone() });
        }
        self.sync().await?;
        self.segment = None;
        Ok(CheckpointRecord {
            first_segment: self.next_segment.0,
            next_sequence: self.next_sequence,
        })
    }

    /// The segment being written, or else the one that will be.
    #[must_use]
    pub fn segment(&self) -> SegmentId {
        self.segment.as_ref().map_or(self.next_segment, |segment| segment.id)
    }

    /// Bytes written since the start: batches with their headers and padding, as they went to the disk.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// How long each flush took since this was last asked.
    pub fn take_flushes(&mut self) -> impl Iterator<Item = Duration> + '_ {
        self.flushes.drain(..)
    }

    /// Is something appended and, for want of a segment, not written?
    #[must_use]
    pub fn holds_back(&self) -> bool {
        !self.held_back.is_empty()
    }

    /// Has a write or flush failed?
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }
}
