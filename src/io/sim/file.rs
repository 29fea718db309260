//! The calls of an open file.

use std::io;

use super::inode::{Change, Inode};
use super::{SimDisk, stopped};
use crate::io::{BLOCK_BYTES, File};

/// A file of a [`SimDisk`].
pub struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) inode: usize,
    /// Is each write durable when it returns?
    pub(super) is_durable: bool,
    pub(super) writable: bool,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let crash = self.disk.call()?;
        let mut state = self.disk.0.borrow_mut();
        let inode = state.inodes.get(self.inode).expect("an open file has an inode");
        let end = match &change {
            Change::Len(len) => *len,
            Change::Write { offset, data } => offset + data.len(),
        };
        state.has_room_for(end.saturating_sub(inode.content.len()))?;
        state.inodes.get_mut(self.inode).expect("an open file has an inode").change(change);
        if crash { Err(stopped()) } else { Ok(()) }
    }
}

impl File for SimFile {
    type Read = Vec<u8>;

    fn len(&self) -> u64 {
        let state = self.disk.0.borrow();
        state.inodes.get(self.inode).map_or(0, |inode| inode.content.len() as u64)
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.alive()?;
        let state = self.disk.0.borrow();
        let content = &state.inodes.get(self.inode).expect("an open file has an inode").content;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        content
            .get(start..end)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    async fn read_many(&self, ranges: &[(u64, usize)]) -> io::Result<Vec<Vec<u8>>> {
        let mut read = Vec::with_capacity(ranges.len());
        for (offset, len) in ranges {
            read.push(self.read_at(*offset, *len).await?);
        }
        Ok(read)
    }

    async fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        assert!(
            data.len().is_multiple_of(BLOCK_BYTES) && offset.is_multiple_of(BLOCK_BYTES),
            "direct I/O is aligned"
        );
        self.change(Change::Write { offset, data: data.to_vec() })?;
        if self.is_durable { self.sync().await } else { Ok(()) }
    }

    async fn sync(&self) -> io::Result<()> {
        let crash = match self.disk.call() {
            Ok(crash) => crash,
            Err(error) => {
                // What was to be written is lost, though reads still show it: a second sync would lie.
                let mut state = self.disk.0.borrow_mut();
                if let Some(inode) = state.inodes.get_mut(self.inode) {
                    inode.pending.clear();
                }
                return Err(error);
            }
        };
        let mut state = self.disk.0.borrow_mut();
        if !crash || state.rng.below(2) == 0 {
            let inode = state.inodes.get_mut(self.inode).expect("an open file has an inode");
            for change in std::mem::take(&mut inode.pending) {
                Inode::apply(&mut inode.durable, &change, || true);
            }
        }
        if crash { Err(stopped()) } else { Ok(()) }
    }

    async fn set_len(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.change(Change::Len(len))
    }
}
