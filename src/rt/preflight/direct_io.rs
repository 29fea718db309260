//! Whether a directory's file system does direct I/O, to which alignment, and how fast it makes a write durable.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::StartError;
use super::file_system::FileSystem;
use crate::io::BLOCK_BYTES;

/// How a file system does direct I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectIo {
    /// In multiples of this many bytes, 512 or 4096.
    Aligned(usize),
    /// It keeps everything in memory, so that there is nothing to be direct to.
    InMemory,
    /// It has no room left to try that.
    Untried,
}

/// How long it took to write one block and make it durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushLatency {
    /// How many writes were measured.
    pub writes: usize,
    /// Half were done within this time.
    pub p50: Duration,
    /// 99 of 100 were.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

/// One block, where direct I/O wants it.
#[repr(align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// A file for trying things out, gone when dropped.
struct Trial {
    file: File,
    path: PathBuf,
}

impl Trial {
    fn create(dir: &Path, direct: bool) -> io::Result<Self> {
        let path =
            dir.join(format!(".trial-{}-{:016x}", std::process::id(), crate::rt::entropy::seed()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if direct {
            options.custom_flags(libc::O_DIRECT);
        }
        match options.open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) => {
                // Opening for direct I/O may fail after the file was made.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes to a file in `dir`, past the page cache. A disk without room is no reason not to start on it: what is there can
/// be read.
///
/// Fails with [`StartError::NoDirectIo`] if the file system does not do that, and with
/// [`StartError::DataDirNotWritable`] if it takes no file at all.
pub fn probe(dir: &Path) -> Result<DirectIo, StartError> {
    let file_system = FileSystem::of(dir);
    let not_writable = |source| StartError::DataDirNotWritable { path: dir.to_owned(), source };
    if file_system.is_in_memory() {
        let tried = Trial::create(dir, false).and_then(|trial| trial.file.write_all_at(&[0], 0));
        return match tried {
            Err(source) if !is_full(&source) => Err(not_writable(source)),
            _ => Ok(DirectIo::InMemory),
        };
    }
    match Trial::create(dir, true).and_then(|trial| alignment(&trial.file)) {
        Ok(alignment) => Ok(DirectIo::Aligned(alignment)),
        Err(source) if is_full(&source) => Ok(DirectIo::Untried),
        Err(source) => Err(judge(dir, file_system.kind, source)),
    }
}

/// Has the file system no room left, for this user at least?
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What a failed direct write to a file in `dir` means.
fn judge(dir: &Path, file_system: String, source: io::Error) -> StartError {
    let path = dir.to_owned();
    match source.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
            StartError::NoDirectIo { path, file_system, source }
        }
        _ => StartError::DataDirNotWritable { path, source },
    }
}

/// The smallest of the usual alignments that a file opened for direct I/O accepts.
fn alignment(file: &File) -> io::Result<usize> {
    let block = Block([0; BLOCK_BYTES]);
    let (sector, _) = block.0.split_at(512);
    // The whole block first: that must go, while a sector may be too small for the device.
    file.write_all_at(&block.0, 0)?;
    Ok(if file.write_all_at(sector, 512).is_ok() { sector.len() } else { BLOCK_BYTES })
}

/// Measures writes of one block, each made durable with fdatasync(2) before the next, for as many as asked for or as
/// fit into `limit`, but at least one. Blocks the thread.
///
/// Fails as writing fails.
pub fn measure_flush(dir: &Path, writes: usize, limit: Duration) -> io::Result<FlushLatency> {
    let direct = !FileSystem::of(dir).is_in_memory();
    let trial = Trial::create(dir, direct)?;
    let block = Block([0x5a; BLOCK_BYTES]);
    let mut took = Vec::with_capacity(writes);
    let started = Instant::now();
    let mut offset = 0;
    while took.is_empty() || took.len() < writes && started.elapsed() < limit {
        let began = Instant::now();
        trial.file.write_all_at(&block.0, offset)?;
        trial.file.sync_data()?;
        took.push(began.elapsed());
        offset += BLOCK_BYTES as u64;
    }
    Ok(summary(took))
}

/// The percentiles of a non-empty list of times.
fn summary(mut took: Vec<Duration>) -> FlushLatency {
    took.sort_unstable();
    let at = |percent: usize| {
        let index = (took.len() * percent).div_ceil(100).saturating_sub(1);
        took.get(index).copied().unwrap_or_default()
    };
    FlushLatency { writes: took.len(), p50: at(50), p99: at(99), max: at(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_finds_an_alignment_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let found = probe(&dir.path().canonicalize().unwrap()).unwrap();
        let known = [DirectIo::Aligned(512), DirectIo::Aligned(4096), DirectIo::InMemory];
        assert!(known.contains(&found));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_system_without_direct_io_is_named() {
        for errno in [libc::EINVAL, libc::EOPNOTSUPP] {
            let source = io::Error::from_raw_os_error(errno);
            let sentence = judge(Path::new("/data"), "fuse.sshfs".to_owned(), source).to_string();
            let expected = "the data directory /data (fuse.sshfs) does not support direct I/O";
            assert!(sentence.contains(expected), "{sentence}");
        }
        let source = io::Error::from_raw_os_error(libc::EROFS);
        let sentence = judge(Path::new("/data"), "ext4".to_owned(), source).to_string();
        assert!(sentence.contains("cannot write to the data directory /data"), "{sentence}");
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let ms = Duration::from_millis;
        let latency = summary((1..=200).rev().map(ms).collect());
        let expected = FlushLatency { writes: 200, p50: ms(100), p99: ms(198), max: ms(200) };
        assert_eq!(latency, expected);
        let one = FlushLatency { writes: 1, p50: ms(7), p99: ms(7), max: ms(7) };
        assert_eq!(summary(vec![ms(7)]), one);
    }

    #[test]
    fn flushing_is_measured_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let dir_path = dir.path().canonicalize().unwrap();
        assert_eq!(measure_flush(&dir_path, 3, Duration::from_secs(60)).unwrap().writes, 3);
        assert_eq!(measure_flush(&dir_path, 1000, Duration::ZERO).unwrap().writes, 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
