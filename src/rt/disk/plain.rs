//! A directory on the host's disk by ordinary, blocking file calls: for commands that serve nobody meanwhile.
//!
//! It needs no executor and no io_uring, takes any file system, and any directory can be its root. Every future of it is
//! done when it is first polled. A disk that is opened for reading only never changes anything: whatever would fails with
//! `PermissionDenied`. What such a disk reads comes from the device and not from what the kernel has kept of it, where the
//! file system lets it: a damaged disk is to be noticed.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::file::Access;
use super::{below, entries, not_begun};
use crate::io::{BLOCK_BYTES, DirEntry, Disk, File};

/// The tree below a directory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct PlainDisk {
    root: Rc<Path>,
    access: Access,
}

/// An open file of a [`PlainDisk`].
#[derive(Debug)]
pub struct PlainFile {
    file: fs::File,
    access: Access,
    len: Cell<u64>,
    /// Is the kernel to keep nothing of it?
    passes_by: bool,
}

impl PlainDisk {
    /// The tree below `root`, to be read and written.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.into(), access: Access::ReadWrite }
    }

    /// The tree below `root`, which is not changed.
    #[must_use]
    pub fn read_only(root: &Path) -> Self {
        Self { root: root.into(), access: Access::Read }
    }

    fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        below(&self.root, path)
    }

    /// Where `path` is, if anything may be changed there.
    fn to_change(&self, path: &str) -> io::Result<PathBuf> {
        match self.access {
            Access::ReadWrite => self.resolve(path),
            Access::Read => Err(read_only()),
        }
    }

    fn open_for(&self, path: &str, access: Access, flags: libc::c_int) -> io::Result<PlainFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite).custom_flags(flags);
        let file = options.open(self.resolve(path)?)?;
        let len = Cell::new(file.metadata()?.len());
        let passes_by = self.access == Access::Read;
        let file = PlainFile { file, access, len, passes_by };
        file.forget_pages();
        Ok(file)
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading only")
}

impl Disk for PlainDisk {
    type File = PlainFile;

    async fn create(&self, path: &str, len: u64) -> io::Result<PlainFile> {
        let path = self.to_change(path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(len)?;
        let access = Access::ReadWrite;
        Ok(PlainFile { file, access, len: Cell::new(len), passes_by: false })
    }

    async fn open(&self, path: &str) -> io::Result<PlainFile> {
        self.open_for(path, self.access, 0)
    }

    async fn open_durable(&self, path: &str) -> io::Result<PlainFile> {
        self.to_change(path)?;
        self.open_for(path, Access::ReadWrite, libc::O_DSYNC)
    }

    async fn open_read(&self, path: &str) -> io::Result<PlainFile> {
        self.open_for(path, Access::Read, 0)
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.to_change(from)?, self.resolve(to)?)
    }

    async fn rename_dir(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.to_change(from)?, self.resolve(to)?)
    }

    async fn link(&self, from: &str, to: &str) -> io::Result<()> {
        fs::hard_link(self.to_change(from)?, self.resolve(to)?)
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.to_change(path)?)
    }

    async fn create_dir(&self, path: &str) -> io::Result<()> {
        super::create_dirs(&self.root, &self.to_change(path)?)
    }

    async fn remove_dir(&self, path: &str) -> io::Result<()> {
        fs::remove_dir(self.to_change(path)?)
    }

    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        entries(&self.resolve(path)?)
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => fs::File::open(self.resolve(path)?).map_err(not_begun)?.sync_all(),
            // Nothing was changed through it.
            Access::Read => Ok(()),
        }
    }
}

impl PlainFile {
    /// Of a file that is only passed by: the kernel lets go of what it has kept of it and is not dirty.
    fn forget_pages(&self) {
        if self.passes_by {
            // SAFETY: posix_fadvise(2) takes a descriptor, which is open as long as `self`, and integers. It is advice:
            // what it answers does not matter.
            unsafe {
                libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
            }
        }
    }

    fn to_be_written(&self) -> io::Result<()> {
        if self.access == Access::ReadWrite { Ok(()) } else { Err(read_only()) }
    }
}

impl Drop for PlainFile {
    fn drop(&mut self) {
        self.forget_pages();
    }
}

impl File for PlainFile {
    type Read = Vec<u8>;

    fn len(&self) -> u64 {
        self.len.get()
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        // Before anything is allocated for it.
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.len());
        if end.is_none() {
            let message = format!("{len} bytes at {offset} are not in a file of {}", self.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    async fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        assert!(data.len().is_multiple_of(BLOCK_BYTES), "whole blocks are written");
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "a write begins a block");
        self.to_be_written()?;
        self.file.write_all_at(data, offset)?;
        self.len.set(self.len().max(offset + data.len() as u64));
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        if self.passes_by { Ok(()) } else { self.file.sync_data() }
    }

    async fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.to_be_written()?;
        self.file.set_len(len)?;
        self.len.set(len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn what_was_written_is_read_back_by_a_disk_that_cannot_change_it() {
        let dir = tempfile::tempdir().unwrap();
        block_on(async {
            let disk = PlainDisk::new(dir.path());
            disk.create_dir("a/b").await.unwrap();
            let mut file = disk.create("a/b/c", 0).await.unwrap();
            file.write_at(&[7; BLOCK_BYTES], 0).await.unwrap();
            file.set_len(5000).await.unwrap();
            file.sync().await.unwrap();
            disk.sync_dir("a/b").await.unwrap();

            let reading = PlainDisk::read_only(dir.path());
            let mut file = reading.open("a/b/c").await.unwrap();
            assert_eq!(file.read_at(4094, 4).await.unwrap(), [7, 7, 0, 0]);
            let kind = |outcome: io::Result<()>| outcome.unwrap_err().kind();
            let past = file.read_at(4999, 2).await.map(drop);
            assert_eq!(kind(past), io::ErrorKind::UnexpectedEof);
            let denied = io::ErrorKind::PermissionDenied;
            assert_eq!(kind(file.set_len(1).await), denied);
            assert_eq!(kind(file.write_at(&[0; BLOCK_BYTES], 0).await), denied);
            assert_eq!(kind(reading.create("x", 0).await.map(drop)), denied);
            assert_eq!(kind(reading.open_durable("a/b/c").await.map(drop)), denied);
            assert_eq!(kind(reading.remove("a/b/c").await), denied);
            assert_eq!(kind(reading.rename("a/b/c", "x").await), denied);
            assert_eq!(kind(reading.create_dir("d").await), denied);
        });
    }

    #[test]
    fn no_path_leaves_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let disk = PlainDisk::read_only(dir.path());
        for path in ["../x", "/etc/passwd", "a/../../x"] {
            let error = block_on(disk.open_read(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
}
