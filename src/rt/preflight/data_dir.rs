//! The data directory: made if need be, tried out, and locked for this process.
//!
//! Its file `LOCK` is locked for as long as the server runs (rule R13), and is never empty, because it is also the
//! marker that each executor opens first (rule R3):
//! ```text
//! LOCK    "floodplain process <pid>\n", then newlines up to 4096 bytes; newlines alone after an end in good order
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::StartError;
use super::direct_io;
use super::file_system::FileSystem;
use crate::io::BLOCK_BYTES;

const MARKER_NAME: &str = "LOCK";
const MARKER_START: &str = "floodplain process ";

/// A data directory that is ours. Dropping it gives up the lock.
#[derive(Debug)]
pub struct DataDir {
    place: DataPlace,
    lock: File,
    /// Did who held it before end in good order, or nobody hold it?
    was_clean: bool,
    /// Is the marker to say so when this is dropped?
    says_clean: bool,
}

/// Where the data is, for whoever holds no lock on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPlace {
    root: PathBuf,
}

impl DataDir {
    /// Makes the directory if it is missing, sees that it can be written to, locks it, and tries direct I/O in it.
    ///
    /// Fails with one of the `DataDir…` kinds of [`StartError`], or [`StartError::NoDirectIo`].
    pub fn open(path: &Path) -> Result<Self, StartError> {
        let unusable = |source| StartError::DataDir { path: path.to_owned(), source };
        on_a_disk(path)?;
        fs::create_dir_all(path).map_err(unusable)?;
        let root = path.canonicalize().map_err(unusable)?;
        let place = DataPlace { root };
        let (lock, was_clean) = lock(&place)?;
        direct_io::probe(&place.root)?;
        Ok(Self { place, lock, was_clean, says_clean: was_clean })
    }

    /// Makes the directory if it is missing and locks it, for work that goes by ordinary file calls: direct I/O is not
    /// tried.
    ///
    /// Fails with one of the `DataDir…` kinds of [`StartError`].
    pub fn hold(path: &Path) -> Result<Self, StartError> {
        let unusable = |source| StartError::DataDir { path: path.to_owned(), source };
        on_a_disk(path)?;
        fs::create_dir_all(path).map_err(unusable)?;
        let place = DataPlace { root: path.canonicalize().map_err(unusable)? };
        let (lock, was_clean) = lock(&place)?;
        Ok(Self { place, lock, was_clean, says_clean: was_clean })
    }

    /// Does a process hold the directory `path` at this moment? Changes nothing; `false` also if it cannot be told.
    #[must_use]
    pub fn is_in_use(path: &Path) -> bool {
        // Shared, and for a moment only: two who ask do not take each other for a server.
        let marker = File::open(path.join(MARKER_NAME));
        marker.is_ok_and(|marker| matches!(marker.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Whether [`open`](Self::open) would succeed on the existing directory `path`. Leaves nothing behind.
    ///
    /// Fails as that does.
    pub fn examine(path: &Path) -> Result<(), StartError> {
        let unusable = |source| StartError::DataDir { path: path.to_owned(), source };
        on_a_disk(path)?;
        let place = DataPlace { root: path.canonicalize().map_err(unusable)? };
        match OpenOptions::new().read(true).write(true).open(place.marker()) {
            // Locked for a moment only: the lock goes with the file.
            Ok(mut marker) => try_lock(&place, &mut marker)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(StartError::DataDirNotWritable { path: place.root, source });
            }
        }
        direct_io::probe(&place.root).map(|_| ())
    }

    /// Did the server that ran here last end in good order? Also if none ever did.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Gives up the lock, and notes for the next one whether this server has ended in good order. Who only drops it has
    /// run no server, and leaves that as it was.
    pub fn end(mut self, in_good_order: bool) {
        self.says_clean = in_good_order;
    }

    /// Where it is, to be given to the shards.
    #[must_use]
    pub fn place(&self) -> &DataPlace {
        &self.place
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.says_clean {
            // Nothing is lost if it cannot be noted: the next start takes this for an end in disorder.
            let _ = mark(&mut self.lock, "");
        }
        // Closing alone would leave the lock to a child process that has the descriptor too.
        let _ = self.lock.unlock();
    }
}

impl DataPlace {
    /// The directory, absolute and without symbolic links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that each executor opens first.
    #[must_use]
    pub fn marker(&self) -> PathBuf {
        self.root.join(MARKER_NAME)
    }
}

/// Locks the directory; was the end of the one before in good order?
fn lock(place: &DataPlace) -> Result<(File, bool), StartError> {
    let path = || place.root.clone();
    let not_writable = |source| StartError::DataDirNotWritable { path: path(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(place.marker()).map_err(not_writable)?;
    try_lock(place, &mut file)?;
    let was_clean = holder(&mut file).is_none();
    let own = format!("{MARKER_START}{}", std::process::id());
    mark(&mut file, &own).map_err(not_writable)?;
    File::open(place.root()).and_then(|dir| dir.sync_all()).map_err(not_writable)?;
    Ok((file, was_clean))
}

fn try_lock(place: &DataPlace, file: &mut File) -> Result<(), StartError> {
    let path = place.root.clone();
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StartError::DataDirLocked { path, pid: holder(file) }),
        Err(TryLockError::Error(source)) => Err(StartError::DataDir { path, source }),
    }
}

/// Refuses what lies on a file system of the kernel's own, whether it is there or would have to be made.
fn on_a_disk(path: &Path) -> Result<(), StartError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let nearest = absolute.ancestors().find_map(|dir| dir.canonicalize().ok());
    let file_system = FileSystem::of(nearest.as_deref().unwrap_or(&absolute));
    if file_system.is_kernels_own() {
        return Err(StartError::NoFiles { path: path.to_owned(), file_system: file_system.kind });
    }
    Ok(())
}

/// Writes who holds the lock, over what the last one wrote: the file is not empty at any time but its very first.
fn mark(file: &mut File, holder: &str) -> io::Result<()> {
    let mut marker = format!("{holder}\n").into_bytes();
    marker.resize(BLOCK_BYTES, b'\n');
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&marker)?;
    file.sync_all()
}

/// The process that says it holds the lock.
fn holder(file: &mut File) -> Option<u32> {
    file.seek(SeekFrom::Start(0)).ok()?;
    let mut start = [0u8; 64];
    let filled = file.read(&mut start).ok()?;
    let text = std::str::from_utf8(start.get(..filled)?).ok()?;
    text.strip_prefix(MARKER_START)?.lines().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_a_directory_in_use_is_refused_with_the_process_that_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        let pid = std::process::id();
        assert!(error.to_string().contains(&format!("in use by process {pid};")), "{error}");
        drop(held);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn an_end_in_disorder_is_seen_by_the_next_server_whoever_looks_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let open = || DataDir::open(dir.path()).unwrap();
        let first = open();
        assert!(first.was_clean(), "there was none before");
        first.end(true);
        let killed = open();
        assert!(killed.was_clean());
        // As after a kill: the lock is gone, and nothing else is done.
        let marker = fs::read(killed.place().marker()).unwrap();
        let place = killed.place().clone();
        drop(killed);
        fs::write(place.marker(), &marker).unwrap();
        drop(DataDir::hold(dir.path()).unwrap());
        let after = open();
        assert!(!after.was_clean());
        after.end(false);
        assert!(!open().was_clean());
        assert_eq!(fs::metadata(place.marker()).unwrap().len(), 4096, "rule R3");
    }

    #[test]
    fn r3_the_marker_fills_a_block_also_after_an_empty_one_was_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MARKER_NAME), "").unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(fs::metadata(data.place().marker()).unwrap().len(), 4096);
    }

    #[test]
    fn a_missing_directory_is_made_with_those_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("a/b")).unwrap();
        assert!(data.place().root().is_absolute() && data.place().root().ends_with("a/b"));
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::open(file.path()).unwrap_err();
        assert!(matches!(error, StartError::DataDir { .. }), "{error}");
    }

    #[test]
    fn a_file_system_that_takes_no_files_is_not_writable() {
        // A directory of /proc takes no new file from anybody, root included.
        let place = DataPlace { root: PathBuf::from("/proc/self") };
        let error = lock(&place).unwrap_err();
        assert!(matches!(error, StartError::DataDirNotWritable { .. }), "{error}");
    }

    #[test] // it said that /proc/x does not exist and is to be created
    fn the_kernels_own_file_systems_are_no_place_for_data() {
        for path in ["/proc/x", "/proc/self/task", "/sys/kernel/data"] {
            let error = DataDir::open(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains("the kernel's own state"), "{error}");
            assert!(error.contains(path) && error.contains("--storage.tsdb.path"), "{error}");
        }
    }

    #[test] // the doctor left a lock file in whatever directory it was shown
    fn examining_a_directory_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        DataDir::examine(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let held = DataDir::open(dir.path()).unwrap();
        let marker = fs::read(held.place().marker()).unwrap();
        let error = DataDir::examine(dir.path()).unwrap_err();
        assert!(matches!(error, StartError::DataDirLocked { pid: Some(_), .. }), "{error}");
        let place = held.place().clone();
        drop(held);
        let left = fs::read(place.marker()).unwrap();
        DataDir::examine(dir.path()).unwrap();
        assert_eq!(fs::read(place.marker()).unwrap(), left);
        assert_eq!(left.len(), marker.len());
    }

    #[test]
    fn a_directory_is_in_use_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!DataDir::is_in_use(dir.path()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let held = DataDir::hold(dir.path()).unwrap();
        assert!(DataDir::is_in_use(dir.path()));
        assert!(matches!(DataDir::hold(dir.path()), Err(StartError::DataDirLocked { .. })));
        drop(held);
        assert!(!DataDir::is_in_use(dir.path()));
    }

    #[test]
    fn a_marker_of_others_names_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (text, pid) in [("floodplain process 12\n\n", Some(12)), ("12\n", None), ("", None)] {
            fs::write(&path, text).unwrap();
            assert_eq!(holder(&mut File::open(&path).unwrap()), pid);
        }
    }
}
