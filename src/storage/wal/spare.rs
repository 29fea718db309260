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
pub struct Spares<D> {
    disk: D,
    dir: String,
    segment_bytes: u64,
    names: RefCell<VecDeque<String>>,
    next_name: Cell<u64>,
    in_use: Cell<u64>,
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
    /// Those of the disk.
    pub async fn take(&self, id: SegmentId, len: u64) -> io::Result<D::File> {
        let path = self.path(&id.to_string());
        let waiting =
            if len <= self.segment_bytes { self.names.borrow_mut().pop_front() } else { None };
        let file = match waiting {
            Some(name) => {
                self.disk.rename(&self.path(&name), &path).await?;
                self.disk.open(&path).await?
            }
            None => self.disk.create(&path, len.max(self.segment_bytes)).await?,
        };
        self.disk.sync_dir(&self.dir).await?;
        self.in_use.set(self.in_use.get() + file.len());
        Ok(file)
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
