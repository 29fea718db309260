//! One file of the disk, open for direct I/O. Rules R4 and R5 are kept here.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::pin::Pin;

use futures_lite::future::poll_once;
use glommio::io::{DmaFile, ReadResult};

use super::os_error;
use crate::io::{BLOCK_BYTES, File};
use crate::rt::pace::KernelWrite;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// The longest write handed to the kernel at once: large enough for the disk's full speed.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// The longest read: the kernel cuts what is over 2 GiB, and nobody here wants nearly as much.
const READ_BYTES_MAX: usize = 1 << 30;

/// Reads that [`File::read_many`] has under way at a time: enough for a disk that works at many at once.
const READS_MAX: usize = 32;

/// What a file was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    ReadWrite,
}

/// An open file of [`super::RealDisk`].
pub struct RealFile {
    file: DmaFile,
    access: Access,
    /// What is in the file as far as this handle knows: the length at opening, and its own writes.
    len: Cell<u64>,
    /// A flush has failed: what was written since the last good one may be lost, whatever a later flush says.
    lost: Cell<bool>,
}

/// One of many reads.
enum Reading<F> {
    UnderWay(Pin<Box<F>>),
    Done(io::Result<ReadBytes>),
}

/// What a read found: the kernel's own buffer, not a copy.
pub struct ReadBytes {
    result: ReadResult,
}

impl Deref for ReadBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.result
    }
}

impl RealFile {
    pub(super) fn new(file: DmaFile, len: u64, access: Access) -> Self {
        Self { file, access, len: Cell::new(len), lost: Cell::new(false) }
    }

    fn to_be_written(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::Read => {
                let message = "the file is open for reading only";
                Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
            }
        }
    }

    /// Makes an empty file `len` bytes long by writing them.
    pub(super) async fn fill_with_zeros(&mut self, len: u64) -> io::Result<()> {
        let zeros = vec![0u8; WRITE_BYTES_MAX];
        while self.len() < len {
            let left = usize::try_from((len - self.len()).next_multiple_of(BLOCK));
            let piece = left.unwrap_or(usize::MAX).min(WRITE_BYTES_MAX);
            let (piece, _) = zeros.split_at(piece);
            self.write_at(piece, self.len()).await?;
        }
        if self.len() > len { self.set_len(len).await } else { Ok(()) }
    }

    async fn write_piece(&self, piece: &[u8], offset: u64) -> io::Result<()> {
        let mut buffer = self.file.alloc_dma_buffer(piece.len());
        buffer.as_bytes_mut().copy_from_slice(piece);
        let _under_way = KernelWrite::begin();
        let written = self.file.write_at(buffer, offset).await.map_err(os_error)?;
        check_written(written, piece.len(), offset)
    }
}

/// The new, empty file with `len` bytes allocated that read as zeros.
pub(super) async fn allocated(file: DmaFile, len: u64) -> io::Result<RealFile> {
    let mut file = RealFile::new(file, 0, Access::ReadWrite);
    if len > 0 {
        match file.file.pre_allocate(len, false).await.map_err(os_error) {
            Ok(()) => file.len.set(len),
            Err(error) if cannot_allocate(&error) => file.fill_with_zeros(len).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(file)
}

/// Is this the answer of a file system that has no fallocate(2), rather than of one that is full?
fn cannot_allocate(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL))
}

/// A write that was cut short is one that failed: the disk has no room for the rest.
fn check_written(written: usize, len: usize, offset: u64) -> io::Result<()> {
    if written == len {
        return Ok(());
    }
    let message = format!("wrote only {written} of {len} bytes at {offset}: is the disk full?");
    Err(io::Error::new(io::ErrorKind::StorageFull, message))
}

/// The blocks around `len` bytes at `offset`: where they begin, how long they are, and where in them the bytes are.
/// None if the bytes are not all among the first `file_len`.
fn blocks_around(offset: u64, len: usize, file_len: u64) -> Option<(u64, usize, usize)> {
    let end = offset.checked_add(u64::try_from(len).ok()?).filter(|end| *end <= file_len)?;
    let start = offset - offset % BLOCK;
    let aligned = end.checked_next_multiple_of(BLOCK)? - start;
    Some((start, usize::try_from(aligned).ok()?, usize::try_from(offset - start).ok()?))
}

impl File for RealFile {
    type Read = ReadBytes;

    fn len(&self) -> u64 {
        self.len.get()
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<ReadBytes> {
        let file_len = self.len();
        let past_end = || {
            let message = format!("{len} bytes at {offset} are not in a file of {file_len}");
            io::Error::new(io::ErrorKind::UnexpectedEof, message)
        };
        let (start, aligned, before) = blocks_around(offset, len, file_len).ok_or_else(past_end)?;
        if len == 0 {
            return Ok(ReadBytes { result: ReadResult::default() });
        }
        if aligned > READ_BYTES_MAX {
            let message = format!("a read of {len} bytes is too long: read in pieces");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let blocks = self.file.read_at_aligned(start, aligned).await.map_err(os_error)?;
        let result = ReadResult::slice(&blocks, before, len).ok_or_else(past_end)?;
        Ok(ReadBytes { result })
    }

    async fn read_many(&self, ranges: &[(u64, usize)]) -> Vec<io::Result<ReadBytes>> {
        let mut read = Vec::with_capacity(ranges.len());
        let mut under_way = VecDeque::with_capacity(READS_MAX);
        let mut ranges = ranges.iter();
        loop {
            while under_way.len() < READS_MAX
                && let Some((offset, len)) = ranges.next()
            {
                let mut reading = Box::pin(self.read_at(*offset, *len));
                // The first poll hands it to the ring. After that only the oldest is polled: each poll of a read that
                // is not done leaves one more waker with it.
                let done = poll_once(reading.as_mut()).await;
                under_way.push_back(done.map_or(Reading::UnderWay(reading), Reading::Done));
            }
            match under_way.pop_front() {
                Some(Reading::UnderWay(reading)) => read.push(reading.await),
                Some(Reading::Done(done)) => read.push(done),
                None => return read,
            }
        }
    }

    async fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        assert!(data.len().is_multiple_of(BLOCK_BYTES), "direct I/O writes whole blocks");
        assert!(offset.is_multiple_of(BLOCK), "direct I/O writes at the start of a block");
        self.to_be_written()?;
        let mut at = offset;
        for piece in data.chunks(WRITE_BYTES_MAX) {
            self.write_piece(piece, at).await?;
            at += piece.len() as u64;
            self.len.set(self.len().max(at));
        }
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        if self.lost.get() {
            return Err(io::Error::other(
                "an earlier flush of this file failed; its data is in doubt",
            ));
        }
        let _under_way = KernelWrite::begin();
        let outcome = self.file.fdatasync().await.map_err(os_error);
        self.lost.set(self.lost.get() || outcome.is_err());
        outcome
    }

    async fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.to_be_written()?;
        self.file.truncate(len).await.map_err(os_error)?;
        self.len.set(len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_a_short_write_is_a_full_disk() {
        assert!(check_written(4096, 4096, 0).is_ok());
        for written in [0, 512, 4095] {
            let error = check_written(written, 4096, 8192).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn r5_no_read_passes_the_end() {
        assert_eq!(blocks_around(50, 50, 100), Some((0, 4096, 50)));
        assert_eq!(blocks_around(50, 51, 100), None);
        assert_eq!(blocks_around(200, 50, 100), None);
        assert_eq!(blocks_around(u64::MAX, 1, u64::MAX), None);
        assert_eq!(blocks_around(100, 0, 100), Some((0, 4096, 100)));
    }

    #[test]
    fn a_read_widens_to_whole_blocks() {
        assert_eq!(blocks_around(4096, 4096, 8192), Some((4096, 4096, 0)));
        assert_eq!(blocks_around(4095, 2, 8192), Some((0, 8192, 4095)));
        assert_eq!(blocks_around(10_000, 1, 20_000), Some((8192, 4096, 1808)));
    }

    #[test]
    fn a_file_system_that_is_full_is_not_one_that_cannot_allocate() {
        let error = io::Error::from_raw_os_error;
        assert!(cannot_allocate(&error(libc::EOPNOTSUPP)));
        assert!(!cannot_allocate(&error(libc::ENOSPC)) && !cannot_allocate(&error(libc::EFBIG)));
    }
}
