//! Takes blocks from somewhere else into a data directory whose server does not run.
//!
//! They go into the directory of shard 0 as blocks that may hold anybody's series. After the next start every shard
//! answers from them at once, and takes its part in the background. Each is published by a rename, and one that is there
//! already is passed over: an import that was interrupted is simply begun again.
//! First it is seen that no block has to be refused, so that nothing is imported by halves without need.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{Alone, OfflineError, Place, Progress};
use crate::io::Disk as _;
use crate::rt::disk::plain::PlainDisk;
use crate::rt::preflight::cores;
use crate::rt::{DataDir, StartError};
use crate::shard::manifest::Manifest;
use crate::storage::block::{self, BlockError};
use crate::storage::blocks::{BlockMeta, Inventory};
use crate::storage::compaction::Stop;
use crate::storage::compaction::history::{is_known, replaced};
use crate::storage::compaction::import::{Adoption, Foreign, How, ImportError, check};
use crate::storage::files::shard_dir;

/// The shard that there always is.
const SHARD: u16 = 0;

/// A block that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Passed {
    /// Its name.
    pub block: String,
    /// Why.
    pub why: String,
}

/// What became of the blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Those that are there now.
    pub imported: Vec<String>,
    /// Samples in these.
    pub samples: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// From when, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_time: Option<i64>,
    /// Until when; that instant is not among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_time: Option<i64>,
    /// Those that are not needed.
    pub skipped: Vec<Passed>,
    /// Those that cannot be read as a whole.
    pub damaged: Vec<Passed>,
    /// What is worth to be known.
    pub notes: Vec<String>,
}

/// A block that will be taken.
struct Wanted {
    dir: String,
    foreign: Foreign,
}

/// Imports the blocks in the directory `from`, or the one block that it is, into the data directory `data`.
///
/// # Errors
/// A data directory that is in use or cannot be written, or a block that has to be refused.
pub fn import(from: &Path, data: &Path, progress: Progress<'_>) -> Result<Imported, OfflineError> {
    let failed = |source| OfflineError::Io { path: from.to_owned(), action: "read", source };
    let mut root = from.canonicalize().map_err(failed)?;
    let mut imported = Imported::default();
    let dirs = match Place::find(from)? {
        Place::DataDirectory => return Err(OfflineError::OwnDirectory(root)),
        Place::Block(above, name) => {
            root = above;
            vec![name]
        }
        Place::Blocks(names) => {
            if root.join("wal").is_dir() {
                imported.notes.push(
                    "what Prometheus has in its wal/ is in no block yet and was not imported: for that, take a snapshot \
                     (POST /api/v1/admin/tsdb/snapshot) and import it"
                        .to_owned(),
                );
            }
            names
        }
    };
    let held = DataDir::hold(data)?;
    let target = held.place().root();
    if target == root {
        return Err(OfflineError::Start(StartError::DataDir {
            path: target.to_owned(),
            source: std::io::Error::other("blocks cannot be imported from it into itself"),
        }));
    }
    begin(target)?;
    let (source, disk) = (PlainDisk::read_only(&root), PlainDisk::new(target));
    futures_lite::future::block_on(async {
        let wanted = select(&source, dirs, &disk, &mut imported, progress).await?;
        place(&source, wanted, &disk, &mut imported, progress).await
    })?;
    Ok(imported)
}

/// Makes a directory that is new a data directory, and leaves one alone that a newer version has written.
fn begin(root: &Path) -> Result<(), OfflineError> {
    if Manifest::read(root)?.is_none() {
        let shards = u16::try_from(cores().len()).unwrap_or(u16::MAX);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Manifest::begin_run(root, shards, now.as_secs())?;
    }
    Ok(())
}

/// Looks at all blocks; those that will be taken.
async fn select(
    source: &PlainDisk,
    dirs: Vec<String>,
    disk: &PlainDisk,
    imported: &mut Imported,
    progress: Progress<'_>,
) -> Result<Vec<Wanted>, OfflineError> {
    let there = Inventory::take(disk, &mut Alone).await?;
    let there: Vec<&BlockMeta> = there.blocks.iter().map(|block| &block.meta).collect();
    let (mut wanted, count) = (Vec::new(), dirs.len() as u64);
    for (index, dir) in dirs.into_iter().enumerate() {
        progress("blocks looked at", index as u64, count);
        match check(source, &dir, false, &mut Alone).await {
            Ok(foreign) => wanted.push(Wanted { dir, foreign }),
            Err(
                refused @ (ImportError::ExternalLabels { .. } | ImportError::Downsampled { .. }),
            ) => {
                return Err(refused.into());
            }
            Err(error) => {
                imported.damaged.push(Passed { block: dir, why: error.to_string() });
            }
        }
    }
    let metas: Vec<&BlockMeta> = wanted.iter().map(|wanted| &wanted.foreign.meta).collect();
    let replaced = replaced(&metas);
    let mut pass = |block: &BlockMeta, why: &str| {
        let (block, why) = (block.ulid.to_string(), why.to_owned());
        imported.skipped.push(Passed { block, why });
    };
    wanted.retain(|Wanted { foreign: Foreign { meta, .. }, .. }| {
        let is_source = |known: &&BlockMeta| known.compaction.sources.contains(&meta.ulid);
        if is_known(&there, meta.ulid) || there.iter().any(is_source) {
            pass(meta, "it is there already");
        } else if replaced.contains(&meta.ulid) {
            pass(meta, "another block has taken its place");
        } else {
            return true;
        }
        false
    });
    Ok(wanted)
}

/// Reads blocks as a whole and publishes those that are sound.
async fn place(
    source: &PlainDisk,
    wanted: Vec<Wanted>,
    disk: &PlainDisk,
    imported: &mut Imported,
    progress: Progress<'_>,
) -> Result<(), OfflineError> {
    let total: u64 = wanted.iter().map(|wanted| wanted.foreign.bytes).sum();
    let done = std::cell::Cell::new(0);
    let dir = shard_dir(SHARD);
    disk.create_dir(&dir).await.map_err(BlockError::io(&dir, "create"))?;
    block::tidy(disk, &dir).await?;
    for Wanted { dir: from, foreign } in wanted {
        progress("bytes imported", done.get(), total);
        if let Err(error) = check(source, &from, true, &mut Alone).await {
            imported.damaged.push(Passed { block: from, why: error.to_string() });
            done.set(done.get() + foreign.bytes);
            continue;
        }
        let more = |bytes: u64| {
            done.set(done.get() + bytes);
            progress("bytes imported", done.get(), total);
        };
        let adoption = Adoption {
            from: &from,
            foreign: &foreign,
            ulid: foreign.meta.ulid,
            how: How::Copy(source),
            disk,
            dir: &dir,
            progress: &more,
            stop: Stop::NEVER,
        };
        let meta = adoption.publish(&mut Alone).await?;
        imported.imported.push(meta.ulid.to_string());
        imported.samples += meta.stats.num_samples;
        imported.bytes += foreign.bytes;
        let min = imported.min_time.map_or(meta.min_time, |min| min.min(meta.min_time));
        let max = imported.max_time.map_or(meta.max_time, |max| max.max(meta.max_time));
        (imported.min_time, imported.max_time) = (Some(min), Some(max));
    }
    Ok(())
}
