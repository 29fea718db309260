//! `floodplain.json`: what a start has to know before any shard reads its log.
//!
//! ```json
//! {"format": 1, "id": "01J9ZQ6Q4E9D3VYB6P2X5T7K8M", "run": 7, "layout": {"shards": 4, "since_run": 3}}
//! ```
//! `format`: a version that changes when an older server must not touch the directory; `id`: names the directory for
//! ever; `run`: how often it has been started, noted before the first byte of that run; `layout`: which files hold the
//! data (`storage::replay::Layout`). Read and written with ordinary file calls, off the executors.
//!
//! Beside it lies `floodplain.json.next`, into which the next one is written before it takes the name: its room is taken
//! already, so that a server starts on a disk that is full.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::storage::replay::Layout;

/// The format that this version writes and the newest it reads.
const FORMAT: u32 = 1;
/// The file's name within the data directory.
const FILE_NAME: &str = "floodplain.json";
const NEXT_NAME: &str = "floodplain.json.next";

/// What a start has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Names the data directory for ever.
    pub id: String,
    /// How often the directory has been started, this time included.
    pub run: u64,
    layout: LayoutJson,
}

/// [`Layout`] as the file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct LayoutJson {
    shards: u16,
    since_run: u64,
}

/// Why a data directory cannot be begun to use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A newer version has changed it.
    #[error(
        "{path}: format {format}, this version reads up to {FORMAT}; start the version that wrote it, or a newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The file system said no.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the file system said.
        source: io::Error,
    },
}

impl Manifest {
    /// Notes another start of the data directory `dir`, durably, and returns what holds for it.
    ///
    /// - `shards`: how many a directory that is new begins with.
    ///
    /// A file that cannot be understood is moved aside: it costs the directory's id, no data. The run then counts on
    /// from `now_s`, seconds since the epoch, which no directory has been started as often as, and the shards are as many
    /// as have directories.
    ///
    /// # Errors
    /// A newer format, or a file system that fails.
    pub fn begin_run(dir: &Path, shards: u16, now_s: u64) -> Result<Self, ManifestError> {
        let path = dir.join(FILE_NAME);
        let previous = match fs::read(&path) {
            Ok(bytes) => Self::parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ManifestError::Io { path, action: "read", source }),
        };
        let next = match previous {
            Some(previous) => Self { run: previous.run + 1, ..previous },
            None => {
                let found = (0..u16::MAX)
                    .take_while(|shard| dir.join(format!("shard-{shard:03}")).exists())
                    .count();
                let found = u16::try_from(found).unwrap_or(u16::MAX);
                let run = if found > 0 { now_s } else { 1 };
                let shards = if found > 0 { found } else { shards };
                let layout = LayoutJson { shards, since_run: 0 };
                Self { format: FORMAT, id: Ulid::generate().to_string(), run, layout }
            }
        };
        next.write(dir).map_err(|source| ManifestError::Io { path, action: "write", source })?;
        Ok(next)
    }

    /// What holds for the data directory `dir`; `None` if it was never started. Changes nothing.
    ///
    /// # Errors
    /// A newer format, or a file that cannot be read or understood.
    pub fn read(dir: &Path) -> Result<Option<Self>, ManifestError> {
        let path = dir.join(FILE_NAME);
        let failed = |source| ManifestError::Io { path: path.clone(), action: "read", source };
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed)?,
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(Self { format, .. }) if format > FORMAT => {
                Err(ManifestError::Newer { path, format })
            }
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Which files hold the data.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout { shards: self.layout.shards, since_run: self.layout.since_run }
    }

    /// Notes, durably, that the data is in the files of this run with `shards` shards.
    ///
    /// # Errors
    /// A file system that fails.
    pub fn commit_layout(&self, dir: &Path, shards: u16) -> Result<(), ManifestError> {
        let next = Self { layout: LayoutJson { shards, since_run: self.run }, ..self.clone() };
        let path = dir.join(FILE_NAME);
        next.write(dir).map_err(|source| ManifestError::Io { path, action: "write", source })
    }

    /// `None` for what cannot be understood; then the file has been moved aside.
    fn parse(path: &Path, bytes: &[u8]) -> Result<Option<Self>, ManifestError> {
        match serde_json::from_slice::<Self>(bytes) {
            Ok(manifest) if manifest.format <= FORMAT => Ok(Some(manifest)),
            Ok(Self { format, .. }) => Err(ManifestError::Newer { path: path.to_owned(), format }),
            Err(error) => {
                let aside = path.with_extension("json.damaged");
                tracing::warn!(path = %path.display(), aside = %aside.display(), %error, "not a manifest; moved aside");
                let moved = fs::rename(path, &aside);
                moved.map_err(|source| ManifestError::Io {
                    path: path.to_owned(),
                    action: "move aside",
                    source,
                })?;
                Ok(None)
            }
        }
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        let (path, next) = (dir.join(FILE_NAME), dir.join(NEXT_NAME));
        let text = [serde_json::to_vec(self)?.as_slice(), b"\n"].concat();
        // Over what is there, not into an empty file: that would give up the room that it has.
        let file = fs::File::options().write(true).create(true).truncate(false).open(&next)?;
        file.write_all_at(&text, 0)?;
        file.set_len(text.len() as u64)?;
        // Before the rename: the file system may order them the other way, and a crash between leaves a whole name
        // over half a file.
        file.sync_all()?;
        fs::rename(&next, &path)?;
        let dir = fs::File::open(dir)?;
        dir.sync_all()?;
        // With the room that the former one has just given up. If another program was faster, the next start needs some.
        let _ = fs::write(&next, &text).and_then(|()| dir.sync_all());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_counts_and_keeps_the_id() {
        let dir = tempfile::tempdir().unwrap();
        let first = Manifest::begin_run(dir.path(), 2, 1_700_000_000).unwrap();
        let second = Manifest::begin_run(dir.path(), 3, 1_700_000_000).unwrap();
        let layout = Layout { shards: 2, since_run: 0 };
        assert_eq!((first.run, first.layout()), (1, layout));
        assert_eq!((second.run, second.layout(), second.id), (2, layout, first.id));
    }

    #[test]
    fn the_next_ones_room_is_taken_and_what_is_in_it_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let first = Manifest::begin_run(dir.path(), 2, 0).unwrap();
        let next = dir.path().join(NEXT_NAME);
        assert!(fs::metadata(&next).unwrap().len() > 0);
        fs::write(&next, [b'x'; 1000]).unwrap();
        let second = Manifest::begin_run(dir.path(), 2, 0).unwrap();
        assert_eq!((second.run, &second.id), (2, &first.id));
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(second));
    }

    #[test]
    fn who_reads_it_does_not_change_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), None);
        let first = Manifest::begin_run(dir.path(), 2, 0).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(first));
        fs::write(dir.path().join(FILE_NAME), b"{").unwrap();
        Manifest::read(dir.path()).unwrap_err();
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), b"{");
    }

    #[test]
    fn a_changed_number_of_shards_holds_from_when_it_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        let first = Manifest::begin_run(dir.path(), 2, 0).unwrap();
        first.commit_layout(dir.path(), 3).unwrap();
        let second = Manifest::begin_run(dir.path(), 3, 0).unwrap();
        assert_eq!(second.layout(), Layout { shards: 3, since_run: 1 });
    }

    #[test]
    fn a_newer_format_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, r#"{"format":2,"id":"x","run":1,"layout":{"shards":1,"since_run":0}}"#)
            .unwrap();
        let error = Manifest::begin_run(dir.path(), 1, 0).unwrap_err();
        assert!(error.to_string().contains("format 2"), "{error}");
        let error = Manifest::read(dir.path()).unwrap_err();
        assert!(error.to_string().contains("format 2"), "{error}");
        assert!(fs::read_to_string(path).unwrap().contains("\"format\":2"));
    }

    #[test]
    fn a_damaged_file_is_moved_aside_and_the_run_is_still_later_than_all_before() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("shard-000")).unwrap();
        fs::write(dir.path().join(FILE_NAME), b"{\"format\":1,").unwrap();
        let manifest = Manifest::begin_run(dir.path(), 1, 1_700_000_000).unwrap();
        assert_eq!(manifest.run, 1_700_000_000);
        assert!(dir.path().join("floodplain.json.damaged").exists());
    }
}
