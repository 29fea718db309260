//! The calls of an open file.

use std::io;

use super::inode::Change;
use super::{ReadFault, SimDisk, stopped};
use crate::io::{BLOCK_BYTES, File};

/// What Linux says when a device does not give or take a block.
const EIO: i32 = 5;

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
        let mut state = self.disk.0.borrow_mut();
        let fault = state.fault_of_read(self.inode, offset, len);
        let content = &state.inodes.get(self.inode).expect("an open file has an inode").content;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = content.get(start..end).map(<[u8]>::to_vec);
        let mut bytes = bytes.ok_or(io::ErrorKind::UnexpectedEof)?;
        match fault {
            None => {}
            Some(ReadFault::Fails) => return Err(io::Error::from_raw_os_error(EIO)),
            Some(ReadFault::Short) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(ReadFault::Flips) => {
                let bit = state.rng.below(8 * len as u64);
                let byte = usize::try_from(bit / 8).ok().and_then(|at| bytes.get_mut(at));
                byte.into_iter().for_each(|byte| *byte ^= 1 << (bit % 8));
            }
        }
        Ok(bytes)
    }

    async fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        assert!(
            data.len().is_multiple_of(BLOCK_BYTES) && offset.is_multiple_of(BLOCK_BYTES),
            "direct I/O is aligned"
        );
        self.change(Change::Write { offset, data: data.into() })?;
        if self.is_durable { self.sync().await } else { Ok(()) }
    }

    async fn sync(&self) -> io::Result<()> {
        let crash = match self.disk.call() {
            Ok(crash) => crash,
            Err(error) => {
                if let Some(inode) = self.disk.0.borrow_mut().inodes.get_mut(self.inode) {
                    inode.lose_pending();
                }
                return Err(error);
            }
        };
        let mut state = self.disk.0.borrow_mut();
        if !crash || state.rng.below(2) == 0 {
            state.inodes.get_mut(self.inode).expect("an open file has an inode").sync();
        }
        if crash { Err(stopped()) } else { Ok(()) }
    }

    async fn set_len(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.change(Change::Len(len))
    }
}
