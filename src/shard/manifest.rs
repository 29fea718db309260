//! `floodplain.json`: what a start has to know before any shard reads its log.
//!
//! ```json
//! {"format": 1, "id": "01J9ZQ6Q4E9D3VYB6P2X5T7K8M", "run": 7, "shards": 4}
//! ```
//! `format`: a version that changes when an older server must not touch the directory; `id`: names the directory for
//! ever; `run`: how often it has been started, noted before the first byte of that run; `shards`: how many there are now.
//! Read and written once, before the executors start, with ordinary file calls.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// The format that this version writes and the newest it reads.
const FORMAT: u32 = 1;
/// The file's name within the data directory.
const FILE_NAME: &str = "floodplain.json";

/// What a start has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Names the data directory for ever.
    pub id: String,
    /// How often the directory has been started, this time included.
    pub run: u64,
    /// How many shards this run has.
    pub shards: u16,
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
    /// Notes another start of the data directory `dir` with `shards` shards, durably, and returns what holds for it.
    ///
    /// A file that cannot be understood is moved aside: it costs the directory's id, no data. The run then counts on
    /// from `now_s`, seconds since the epoch, which no directory has been started as often as.
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
            Some(previous) => Self { run: previous.run + 1, shards, ..previous },
            None => {
                let has_data = dir.join("shard-000").exists();
                Self {
                    format: FORMAT,
                    id: Ulid::generate().to_string(),
                    run: if has_data { now_s } else { 1 },
                    shards,
                }
            }
        };
        next.write(dir).map_err(|source| ManifestError::Io { path, action: "write", source })?;
        Ok(next)
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
        let (path, temporary) = (dir.join(FILE_NAME), dir.join("floodplain.json.tmp"));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.write_all(b"\n")?;
        // Before the rename: the file system may order them the other way, and a crash between leaves a whole name
        // over half a file.
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        fs::File::open(dir)?.sync_all()
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
        assert_eq!((first.run, first.shards), (1, 2));
        assert_eq!((second.run, second.shards, second.id), (2, 3, first.id));
    }

    #[test]
    fn a_newer_format_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, r#"{"format":2,"id":"x","run":1,"shards":1}"#).unwrap();
        let error = Manifest::begin_run(dir.path(), 1, 0).unwrap_err();
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
