//! Reads everything there is and tells what is wrong with it. Writes nothing, holds no lock, and may run beside a server.
//!
//! Blocks do not change while they are there; one that a server removes meanwhile is not missed. The log of a server that
//! runs does change: checkpoints take the place of segments. So what seems wrong with it is looked at again before it is
//! told, and what is being written behind its last whole batch is no damage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{Alone, OfflineError, Place, Progress, layout, layout_found, open_block};
use crate::io::Disk as _;
use crate::rt::DataDir;
use crate::rt::disk::plain::PlainDisk;
use crate::shard::Layout;
use crate::storage::block::{self, BlockError};
use crate::storage::files::{dirs, shard_dir};
use crate::storage::replay::{Dirs, ReplayError};
use crate::storage::verify_log::{LogVerified, verify_log};

/// So often a log is read again in which something seems to be wrong, if it changes.
const ATTEMPTS: u32 = 4;
/// A server is given this time to be done with what it replaces.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file or directory.
    pub file: String,
    /// At which byte, if one can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What was read, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Blocks.
    pub blocks: u64,
    /// Their length in bytes.
    pub block_bytes: u64,
    /// Samples in them.
    pub block_samples: u64,
    /// Checkpoints and log segments.
    pub log_files: u64,
    /// Their length in bytes.
    pub log_bytes: u64,
    /// Samples in the log.
    pub log_samples: u64,
    /// Chunks in checkpoints and spill files.
    pub head_chunks: u64,
    /// What is worth to be known and no damage.
    pub notes: Vec<String>,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Reads all of the data directory, the directory of blocks or the block at `path`.
///
/// # Errors
/// Nothing that could be verified, or a directory that cannot be read.
pub fn verify(path: &Path, progress: Progress<'_>) -> Result<Verified, OfflineError> {
    let place = Place::find(path)?;
    let root = path.canonicalize();
    let mut root =
        root.map_err(|source| OfflineError::Io { path: path.to_owned(), action: "read", source })?;
    let mut verifying = Verifying { verified: Verified::default(), root: PathBuf::new(), progress };
    let blocks = match place {
        Place::DataDirectory => {
            verifying.root = root;
            return verifying.data_directory();
        }
        Place::Blocks(names) => {
            if root.join("wal").is_dir() {
                verifying.note("the log of Prometheus, wal/ and chunks_head/, is not looked at");
            }
            names
        }
        Place::Block(above, name) => {
            root = above;
            vec![name]
        }
    };
    let disk = PlainDisk::read_only(&root);
    verifying.root = root;
    futures_lite::future::block_on(verifying.blocks(&disk, &blocks))?;
    Ok(verifying.verified)
}

struct Verifying<'a> {
    verified: Verified,
    root: PathBuf,
    progress: Progress<'a>,
}

impl Verifying<'_> {
    fn note(&mut self, note: &str) {
        self.verified.notes.push(note.to_owned());
    }

    fn add(&mut self, file: &str, offset: Option<u64>, what: String) {
        let file = self.root.join(file).display().to_string();
        self.verified.damage.push(Damage { file, offset, what });
    }

    fn add_block_error(&mut self, error: BlockError) {
        match error {
            BlockError::Damaged { path, offset, what } => self.add(&path, Some(offset), what),
            BlockError::Io { path, action, source } => {
                self.add(&path, None, format!("cannot {action}: {source}"));
            }
            BlockError::Meta { path, source } => self.add(&path, None, source.to_string()),
            BlockError::TooLarge { ref path, .. } | BlockError::Order { ref path, .. } => {
                let path = path.clone();
                self.add(&path, None, error.to_string());
            }
        }
    }

    fn data_directory(mut self) -> Result<Verified, OfflineError> {
        if DataDir::is_in_use(&self.root) {
            self.note(
                "a server is at work here: its log was read as it was at the moment, and what it was writing then was not",
            );
        }
        let layout = match layout(&self.root) {
            Ok(layout) => layout,
            Err(error @ crate::shard::manifest::ManifestError::Newer { .. }) => {
                return Err(error.into());
            }
            Err(error) => {
                self.add("floodplain.json", None, error.to_string());
                layout_found(&self.root)
            }
        };
        let disk = PlainDisk::read_only(&self.root);
        futures_lite::future::block_on(async {
            let mut blocks = Vec::new();
            for shard in self.shards(&disk).await? {
                let dir = shard_dir(shard);
                let found = block::list(&disk, &dir).await?;
                blocks.extend(found.into_iter().map(|ulid| block::dir(&dir, ulid)));
                self.look_into_quarantine(&disk, shard).await;
            }
            self.blocks(&disk, &blocks).await?;
            for shard in 0..layout.shards {
                self.log(&disk, shard, layout).await?;
            }
            Ok(self.verified)
        })
    }

    /// The shards that have a directory, former ones too.
    async fn shards(&self, disk: &PlainDisk) -> Result<Vec<u16>, OfflineError> {
        let entries = disk.list("").await.map_err(BlockError::io("", "list"))?;
        let number = |name: &str| name.strip_prefix("shard-")?.parse().ok();
        Ok(entries.iter().filter_map(|entry| number(&entry.name)).collect())
    }

    async fn look_into_quarantine(&mut self, disk: &PlainDisk, shard: u16) {
        let dir = dirs(shard).quarantine;
        let entries = disk.list(&dir).await.unwrap_or_default();
        if !entries.is_empty() {
            let (count, dir) = (entries.len(), self.root.join(dir));
            let note =
                format!("{}: {count} files that starts have put aside as damaged", dir.display());
            self.verified.notes.push(note);
        }
    }

    async fn blocks(&mut self, disk: &PlainDisk, dirs: &[String]) -> Result<(), OfflineError> {
        for (index, dir) in dirs.iter().enumerate() {
            (self.progress)("blocks", index as u64, dirs.len() as u64);
            let name = dir.rsplit('/').next().unwrap_or(dir);
            let mut found = Vec::new();
            match open_block(disk, dir).await {
                Ok(block) => {
                    let meta = block.meta();
                    if meta.ulid.to_string() != name {
                        let what = format!("it is that of block {}", meta.ulid);
                        let path = format!("{dir}/{}", block::META);
                        found.push(BlockError::Damaged { path, offset: 0, what });
                    }
                    found.extend(block.verify(&mut Alone).await);
                    self.verified.block_bytes += block.bytes();
                    self.verified.block_samples += meta.stats.num_samples;
                }
                Err(error) => found.push(error),
            }
            if !found.is_empty() && disk.list(dir).await.is_ok_and(|entries| entries.is_empty()) {
                continue; // a server has removed it meanwhile
            }
            self.verified.blocks += 1;
            for error in found {
                self.add_block_error(error);
            }
        }
        Ok(())
    }

    async fn log(
        &mut self,
        disk: &PlainDisk,
        shard: u16,
        layout: Layout,
    ) -> Result<(), OfflineError> {
        let dirs = dirs(shard);
        let mut attempt = 1;
        let found = loop {
            let (before, total) = state(disk, &dirs).await?;
            let done = std::cell::Cell::new(0);
            let progress = self.progress;
            let progress = |more: u64| {
                done.set(done.get() + more);
                progress(&dirs.wal, done.get(), total);
            };
            let read = verify_log(disk, &dirs, layout, &progress, &mut Alone).await;
            let is_sound = read.as_ref().is_ok_and(|found| found.damage.is_empty());
            if is_sound || attempt == ATTEMPTS {
                break read;
            }
            if !DataDir::is_in_use(&self.root) && state(disk, &dirs).await?.0 == before {
                break read;
            }
            attempt += 1;
            #[expect(clippy::disallowed_methods, reason = "there is no shard on this thread")]
            std::thread::sleep(BETWEEN_ATTEMPTS);
        };
        match found {
            Ok(LogVerified { files, bytes, samples, chunks, damage, .. }) => {
                self.verified.log_files += files;
                self.verified.log_bytes += bytes;
                self.verified.log_samples += samples;
                self.verified.head_chunks += chunks;
                for damage in damage {
                    self.add(&damage.file, Some(damage.offset), damage.what);
                }
            }
            Err(ReplayError::Io { path, action, source }) => {
                self.add(&path, None, format!("cannot {action}: {source}"));
            }
        }
        Ok(())
    }
}

/// The files of a shard's log and what they are together, in bytes.
async fn state(
    disk: &PlainDisk,
    dirs: &Dirs,
) -> Result<(Vec<crate::io::DirEntry>, u64), OfflineError> {
    let mut all = disk.list(&dirs.wal).await.map_err(BlockError::io(&dirs.wal, "list"))?;
    all.extend(disk.list(&dirs.head).await.map_err(BlockError::io(&dirs.head, "list"))?);
    let total = all.iter().map(|entry| entry.len).sum();
    Ok((all, total))
}
