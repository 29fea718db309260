//! The seam to disk and clock. `storage` sees nothing else of the machine.
//!
//! `rt` implements it on direct I/O; [`sim`] is a disk in memory that tests crash, fill up and damage. Futures are
//! `!Send`: they stay on the shard that made them.
//!
//! Rules that both implementations keep and callers rely on:
//! - A write is durable once a later [`File::sync`] of the same file has returned `Ok`.
//! - A name (created, renamed, removed) is durable once a later [`Disk::sync_dir`] of its directory has returned `Ok`.
//! - After a `sync` that failed, what was written since the last good one is lost for this process: never retry it.
//! - Offsets and lengths of writes are multiples of [`BLOCK_BYTES`]; reads may start and end anywhere within the file.

pub mod sim;

use std::future::Future;
use std::io;
use std::ops::Deref;

use crate::model::TimestampMs;

/// The alignment of every write, in bytes: what a disk may tear no finer than, and direct I/O asks for.
pub const BLOCK_BYTES: usize = 4096;

/// One directory tree. Paths are relative to its root, separated by `/`.
pub trait Disk: Clone + 'static {
    /// An open file of this disk.
    type File: File;

    /// Makes a new file of `len` bytes, allocated and reading as zeros; fails if the name exists.
    fn create(&self, path: &str, len: u64) -> impl Future<Output = io::Result<Self::File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &str) -> impl Future<Output = io::Result<Self::File>>;
    /// Opens an existing file so that each write of it is durable when it returns `Ok`, as if a [`File::sync`] followed. One
    /// that failed is a sync that failed.
    fn open_durable(&self, path: &str) -> impl Future<Output = io::Result<Self::File>>;
    /// Opens an existing file for reading only: writing to it or cutting it fails with `PermissionDenied`. For files that
    /// never change, whose bytes others may share through a [`Disk::link`].
    fn open_read(&self, path: &str) -> impl Future<Output = io::Result<Self::File>>;
    /// Gives a file another name, in its directory or another; an existing file of that name is replaced in one step. A
    /// crash leaves it under one of the names, and may leave it under both until both directories are synced.
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>>;
    /// Gives a directory, and with it all that is below, another name; an empty directory of that name is replaced, and one
    /// that is not empty makes it fail with `DirectoryNotEmpty`. A crash leaves it under one of the names, never under
    /// both, until the directories that have the names are synced.
    fn rename_dir(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>>;
    /// Gives a file one more name, for the same bytes; fails if the name exists. Durable, as any name, once the directory
    /// that has it is synced.
    fn link(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>>;
    /// Removes a file.
    fn remove(&self, path: &str) -> impl Future<Output = io::Result<()>>;
    /// Makes a directory and the ones above it, durably; existing ones are fine.
    fn create_dir(&self, path: &str) -> impl Future<Output = io::Result<()>>;
    /// Removes a directory that is empty; fails with `DirectoryNotEmpty` if it is not.
    fn remove_dir(&self, path: &str) -> impl Future<Output = io::Result<()>>;
    /// The names in a directory, sorted; none if the directory does not exist.
    fn list(&self, path: &str) -> impl Future<Output = io::Result<Vec<DirEntry>>>;
    /// Makes the names in a directory durable. Fails with `ResourceBusy` if it could not even begin, for want of a
    /// descriptor or of memory: then nothing is lost, and it may be tried again. After any other failure it may not.
    fn sync_dir(&self, path: &str) -> impl Future<Output = io::Result<()>>;
}

/// One open file. Dropping it closes it without syncing.
pub trait File: 'static {
    /// What a read hands out.
    type Read: Deref<Target = [u8]>;

    /// Length in bytes, as this handle knows it: length at opening, grown by its own writes.
    fn len(&self) -> u64;
    /// Reads exactly `len` bytes at `offset`; fails with `UnexpectedEof` if the file does not hold them.
    fn read_at(&self, offset: u64, len: usize) -> impl Future<Output = io::Result<Self::Read>>;
    /// Reads many ranges, each an offset and a length, as [`File::read_at`] reads one, and gives them in the same order;
    /// a disk that can works at several of them at a time. One that fails costs itself.
    fn read_many(
        &self,
        ranges: &[(u64, usize)],
    ) -> impl Future<Output = Vec<io::Result<Self::Read>>> {
        async move {
            let mut read = Vec::with_capacity(ranges.len());
            for (offset, len) in ranges {
                read.push(self.read_at(*offset, *len).await);
            }
            read
        }
    }
    /// Writes all of `data` at `offset`; both are multiples of [`BLOCK_BYTES`]. A short write is an error.
    fn write_at(&self, data: &[u8], offset: u64) -> impl Future<Output = io::Result<()>>;
    /// Makes everything written so far durable.
    fn sync(&self) -> impl Future<Output = io::Result<()>>;
    /// Cuts or extends the file to `len` bytes.
    fn set_len(&mut self, len: u64) -> impl Future<Output = io::Result<()>>;

    /// No bytes at all?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last part of its path.
    pub name: String,
    /// A directory, not a file?
    pub is_dir: bool,
    /// A file's length in bytes.
    pub len: u64,
}

/// Want of memory, of descriptors, of permission or of a moment: the same call may succeed later, and nothing is known of
/// the file.
#[must_use]
pub fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory, PermissionDenied, ResourceBusy, WouldBlock};
    const TOO_MANY_OPEN: [i32; 2] = [23, 24];
    let kind = error.kind();
    matches!(kind, Interrupted | OutOfMemory | PermissionDenied | ResourceBusy | WouldBlock)
        || error.raw_os_error().is_some_and(|code| TOO_MANY_OPEN.contains(&code))
}

/// The same error once more, for one more thing that it cost.
#[must_use]
pub fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// What time it is.
pub trait Clock: Clone + 'static {
    /// Now, as the wall clock has it.
    fn now(&self) -> TimestampMs;
}

/// How long work on a shard lets others run: awaited every few microseconds of work, it waits when it is time to.
pub trait Pace {
    /// Lets others run if this work has held the core for long enough.
    fn breathe(&mut self) -> impl Future<Output = ()>;

    /// The same after a microsecond or two of work, for loops that would look at the clock more often than is of use.
    fn tick(&mut self) -> impl Future<Output = ()> {
        self.breathe()
    }
}
