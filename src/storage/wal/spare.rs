//! Files that wait to become the next segment, so that a commit need not wait for one to be made.
//!
//! A segment that nothing refers to any more becomes a spare: its blocks are allocated and written already, which makes
//! flushing a commit into it about twice as fast as into a fresh file. What it still holds is told apart by the salt and
//! the number in every batch.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;

use super::segment::SegmentId;
use crate::io::{Disk, File};

/// More spare files than this are removed instead of kept.
const KEPT: usize = 4;
const PREFIX: &str = "spare-";

/// The spare files of one shard. Shared by the task that makes them and the one that commits.
#[derive(Debug)]
pub struct Spares<D: Disk> {
    disk: D,
    dir: String,
    segment_bytes: u64,
    names: RefCell<VecDeque<String>>,
    next_name: Cell<u64>,
    in_use: Cell<u64>,
    /// A segment that has its name, which is not durable yet.
    named: RefCell<Option<(SegmentId, D::File)>>,
}

/// Why there is no new segment.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It could not be made, opened or named. Nothing is lost by trying again.
    #[error(transparent)]
    NotBegun(io::Error),
    /// Its name may be lost although a second flush would say otherwise.
    #[error(transparent)]
    Lost(io::Error),
}

impl<D: Disk> Spares<D> {
    /// Takes over the spare files that are in `dir`, each `segment_bytes` long; removes others.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn open(disk: D, dir: String, segment_bytes: u64) -> io::Result<Self> {
        let spares = Self {
            disk,
            dir,
            segment_bytes,
            names: RefCell::new(VecDeque::new()),
            next_name: Cell::new(1),
            in_use: Cell::new(0),
            named: RefCell::new(None),
        };
        for entry in spares.disk.list(&spares.dir).await? {
            if SegmentId::from_file_name(&entry.name).is_some() {
                spares.in_use.set(spares.in_use.get() + entry.len);
            }
            let Some(number) = entry.name.strip_prefix(PREFIX) else { continue };
            let number: u64 = number.parse().unwrap_or(0);
            spares.next_name.set(spares.next_name.get().max(number + 1));
            let keep = entry.len == segment_bytes && spares.names.borrow().len() < KEPT;
            if keep {
                spares.names.borrow_mut().push_back(entry.name);
            } else {
                spares.disk.remove(&spares.path(&entry.name)).await?;
            }
        }
        Ok(spares)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    fn fresh_name(&self) -> String {
        let number = self.next_name.get();
        self.next_name.set(number + 1);
        format!("{PREFIX}{number:08}")
    }

    /// Sees to it that at least one file waits.
    ///
    /// # Errors
    /// Those of the disk; then none waits, and [`take`](Self::take) will try again.
    pub async fn fill(&self) -> io::Result<()> {
        if self.names.borrow().is_empty() {
            let name = self.fresh_name();
            self.disk.create(&self.path(&name), self.segment_bytes).await?;
            self.names.borrow_mut().push_back(name);
        }
        Ok(())
    }

    /// Turns a spare file into the segment `id` of at least `len` bytes; makes one if none waits. Its name is durable.
    ///
    /// # Errors
    /// Those of the disk; see which of them let it be tried again, with the same `id` and `len`.
    pub async fn take(&self, id: SegmentId, len: u64) -> Result<D::File, TakeError> {
        let named = self.named.take();
        let file = match named {
            Some((named, file)) => {
                assert!(named == id && file.len() >= len, "what failed is tried again as it was");
                file
            }
            None => self.name(id, len).await.map_err(TakeError::NotBegun)?,
        };
        match self.disk.sync_dir(&self.dir).await {
            Ok(()) => {}
            Err(source) if source.kind() == io::ErrorKind::ResourceBusy => {
                *self.named.borrow_mut() = Some((id, file));
                return Err(TakeError::NotBegun(source));
            }
            Err(source) => return Err(TakeError::Lost(source)),
        }
        self.in_use.set(self.in_use.get() + file.len());
        Ok(file)
    }

    async fn name(&self, id: SegmentId, len: u64) -> io::Result<D::File> {
        let path = self.path(&id.to_string());
        let waiting =
            if len <= self.segment_bytes { self.names.borrow_mut().pop_front() } else { None };
        let Some(name) = waiting else {
            return self.disk.create(&path, len.max(self.segment_bytes)).await;
        };
        let spare = self.path(&name);
        // Opened before it is renamed: want of a descriptor then leaves everything as it was.
        let renamed = async {
            let file = self.disk.open(&spare).await?;
            self.disk.rename(&spare, &path).await?;
            Ok(file)
        };
        let renamed: io::Result<D::File> = renamed.await;
        if let Err(error) = &renamed
            && error.kind() != io::ErrorKind::NotFound
        {
            self.names.borrow_mut().push_front(name);
        }
        renamed
    }

    /// Takes a segment that nothing refers to any more: keeps the file as a spare or removes it.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn give_back(&self, id: SegmentId) -> io::Result<()> {
        let path = self.path(&id.to_string());
        let len = self.disk.open(&path).await?.len();
        if len == self.segment_bytes && self.names.borrow().len() < KEPT {
            let name = self.fresh_name();
            self.disk.rename(&path, &self.path(&name)).await?;
            self.names.borrow_mut().push_back(name);
        } else {
            self.disk.remove(&path).await?;
        }
        self.in_use.set(self.in_use.get().saturating_sub(len));
        Ok(())
    }

    /// Moves a segment that nothing refers to any more, and that is damaged, to `place`.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn set_aside(&self, id: SegmentId, place: &str) -> io::Result<()> {
        let path = self.path(&id.to_string());
        let len = self.disk.open(&path).await?.len();
        self.disk.rename(&path, place).await?;
        self.in_use.set(self.in_use.get().saturating_sub(len));
        Ok(())
    }

    /// What the segments take on disk, in bytes; files that wait are not counted.
    #[must_use]
    pub fn segment_bytes_in_use(&self) -> u64 {
        self.in_use.get()
    }

    /// How many files wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.names.borrow().len()
    }
}
