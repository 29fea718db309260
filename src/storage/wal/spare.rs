//! Files that wait to become the next segment, so that a commit need not wait for one to be made.
//!
//! A segment that nothing refers to any more becomes a spare: its blocks are allocated and written already, which makes
//! flushing a commit into it about twice as fast as into a fresh file. A spare that has to be made is therefore filled
//! with zeros. What a used one still holds is told apart by the salt and the number in every batch.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;

use super::segment::SegmentId;
use crate::io::{Disk, File};

/// More spare files than this are removed instead of kept.
const KEPT: usize = 4;
const PREFIX: &str = "spare-";
/// A new spare is written in pieces of this many bytes.
const FILL_BYTES: usize = 256 << 10;

/// The spare files of one shard. Shared by the task that makes them and the one that commits.
#[derive(Debug)]
pub struct Spares<D: Disk> {
    disk: D,
    dir: String,
    segment_bytes: u64,
    /// Is each write of a segment to be durable when it returns?
    durable: bool,
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
    /// - `durable`: is each write of a segment to be durable when it returns?
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn open(disk: D, dir: String, segment_bytes: u64, durable: bool) -> io::Result<Self> {
        let spares = Self {
            disk,
            dir,
            segment_bytes,
            durable,
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
            let path = self.path(&name);
            if let Err(error) = self.make(&path).await {
                // Half a spare only takes the room that is missing already. If it cannot be removed the next start does.
                let _ = self.disk.remove(&path).await;
                return Err(error);
            }
            self.names.borrow_mut().push_back(name);
        }
        Ok(())
    }

    async fn make(&self, path: &str) -> io::Result<()> {
        let file = self.disk.create(path, self.segment_bytes).await?;
        let zeros = vec![0; FILL_BYTES];
        let mut offset = 0;
        while offset < self.segment_bytes {
            let left = usize::try_from(self.segment_bytes - offset).unwrap_or(FILL_BYTES);
            let (piece, _) = zeros.split_at(left.min(FILL_BYTES));
            file.write_at(piece, offset).await?;
            offset += piece.len() as u64;
        }
        file.sync().await
    }

    async fn open_segment(&self, path: &str) -> io::Result<D::File> {
        if self.durable { self.disk.open_durable(path).await } else { self.disk.open(path).await }
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
        let fits_spare = len <= self.segment_bytes;
        let waiting = if fits_spare { self.names.borrow_mut().pop_front() } else { None };
        let name = match waiting {
            Some(name) => name,
            None => {
                let name = self.fresh_name();
                drop(self.disk.create(&self.path(&name), len.max(self.segment_bytes)).await?);
                name
            }
        };
        let spare = self.path(&name);
        // Opened before it is renamed: want of a descriptor then leaves everything as it was.
        let renamed = async {
            let file = self.open_segment(&spare).await?;
            self.disk.rename(&spare, &self.path(&id.to_string())).await?;
            Ok(file)
        };
        let renamed: io::Result<D::File> = renamed.await;
        match &renamed {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if fits_spare => self.names.borrow_mut().push_front(name),
            // Too long for others. If it cannot be removed the next start does.
            Err(_) => drop(self.disk.remove(&spare).await),
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
        // How long it is only matters to a sum; that it may not even open is why it goes.
        let len = self.disk.open(&path).await.map_or(self.segment_bytes, |file| file.len());
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
