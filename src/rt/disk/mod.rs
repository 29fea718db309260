//! The data directory on the host's disk, by direct I/O: the seam [`crate::io`] made real.
//!
//! Reads and writes go past the page cache and through the ring, so that neither blocks the core; what the ring has no
//! operation for runs on the executor's helper thread. Every path is absolute below the root (rule R6).
//! The first file that an executor opens is the marker (rule R3), which is why a [`RealDisk`] has to be mounted.

mod file;
pub mod plain;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use file::Access;
pub use file::{ReadBytes, RealFile};
use glommio::GlommioError;
use glommio::io::{DmaFile, OpenOptions};

use super::preflight::DataPlace;
use super::task;
use crate::io::{BLOCK_BYTES, DirEntry, Disk};

/// The tree below the data directory, for tasks of the executor that mounted it.
#[derive(Clone)]
pub struct RealDisk {
    root: Rc<Path>,
}

impl RealDisk {
    /// Makes direct I/O ready on this executor. To be done before anything else opens a file on it.
    ///
    /// Fails if the marker cannot be read or is not a block long: glommio would take the file system for one that can
    /// be polled, and fail every read.
    pub async fn mount(place: &DataPlace) -> io::Result<Self> {
        let marker = place.marker();
        // glommio's probe comes with the opening, so the length is looked at before it.
        let path = marker.clone();
        let len =
            blocking("look at the marker", move || fs::metadata(path).map(|found| found.len()));
        if len.await? < BLOCK_BYTES as u64 {
            let message = format!("{} is too short to try direct I/O on", marker.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let file = DmaFile::open(&marker).await.map_err(os_error)?;
        file.close().await.map_err(os_error)?;
        Ok(Self { root: place.root().into() })
    }

    fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        below(&self.root, path)
    }

    /// Opens an existing file, with more flags of open(2).
    async fn open_for(
        &self,
        path: &str,
        access: Access,
        flags: libc::c_int,
    ) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite).custom_flags(flags);
        let file = options.dma_open(self.resolve(path)?).await.map_err(os_error)?;
        // By its path, which is right only now: later the length is our own knowledge (rules R5, R6).
        let len = file.file_size().await.map_err(os_error)?;
        Ok(RealFile::new(file, len, access))
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    async fn create(&self, path: &str, len: u64) -> io::Result<RealFile> {
        let path = self.resolve(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let made = match options.dma_open(&path).await {
            Ok(file) => file::allocated(file, len).await,
            Err(error) => Err(os_error(error)),
        };
        // What could not be made whole does not stay, be it the name or blocks already allocated.
        if let Err(error) = &made
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            let _ = blocking("remove", move || fs::remove_file(path)).await;
        }
        made
    }

    async fn open(&self, path: &str) -> io::Result<RealFile> {
        self.open_for(path, Access::ReadWrite, 0).await
    }

    async fn open_durable(&self, path: &str) -> io::Result<RealFile> {
        self.open_for(path, Access::ReadWrite, libc::O_DSYNC).await
    }

    async fn open_read(&self, path: &str) -> io::Result<RealFile> {
        self.open_for(path, Access::Read, 0).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        blocking("rename", move || fs::rename(from, to)).await
    }

    async fn rename_dir(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        blocking("rename directory", move || fs::rename(from, to)).await
    }

    async fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        blocking("link", move || fs::hard_link(from, to)).await
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.resolve(path)?;
        blocking("remove", move || fs::remove_file(path)).await
    }

    async fn create_dir(&self, path: &str) -> io::Result<()> {
        let (root, path) = (Rc::clone(&self.root), self.resolve(path)?);
        let root = root.to_path_buf();
        blocking("create directory", move || create_dirs(&root, &path)).await
    }

    async fn remove_dir(&self, path: &str) -> io::Result<()> {
        let path = self.resolve(path)?;
        blocking("remove directory", move || fs::remove_dir(path)).await
    }

    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let path = self.resolve(path)?;
        blocking("list", move || entries(&path)).await
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        let path = self.resolve(path)?;
        // fsync(2), not the fdatasync(2) of glommio's directories: that one promises data, not names.
        blocking("sync directory", move || fs::File::open(path).map_err(not_begun)?.sync_all())
            .await
    }
}

/// Where `path`, relative and without any `..`, is below `root`; the root itself for an empty one.
fn below(root: &Path, path: &str) -> io::Result<PathBuf> {
    let plain = |part| matches!(part, Component::Normal(_));
    if Path::new(path).components().all(plain) && !path.contains('\0') {
        return Ok(root.join(path));
    }
    let message = format!("{path:?} does not stay below the data directory");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Makes a directory and those above it up to `root`, durably.
fn create_dirs(root: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    // Each name is durable when the directory that has it is flushed, up to the root and with it.
    let mut above = path.ancestors().skip(1).take_while(|dir| dir.starts_with(root));
    above.try_for_each(|dir| fs::File::open(dir)?.sync_all())
}

/// Tells a flush that could not begin, for want of a descriptor or of memory, from one that failed.
fn not_begun(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
            io::Error::new(io::ErrorKind::ResourceBusy, error)
        }
        _ => error,
    }
}

/// The names in a directory. Names that are not UTF-8 are not ours, and are left out.
fn entries(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let listing = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        match fs::metadata(entry.path()) {
            Ok(known) => found.push(DirEntry { name, is_dir: known.is_dir(), len: known.len() }),
            // Removed in the meantime, or a link to nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort();
    Ok(found)
}

/// Runs a system call that the ring does not have on the helper thread.
async fn blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    task::spawn_blocking(name, work).await.map_err(io::Error::other)?
}

/// What the kernel said, without glommio's wrapping, which hides the error number.
fn os_error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::EnhancedIoError { source, .. } | GlommioError::IoError(source) => source,
        other => other.into(),
    }
}

#[cfg(test)]
mod tests;
