//! Data directories and directories of blocks while no server serves them: verified, exported, imported into.
//!
//! What a shard does for itself is `storage`'s and `shard`'s; here is what is done with all shards of a directory at once,
//! by one thread that nobody waits for. Files are read and written by ordinary calls (`rt::disk::plain`), so that this also
//! works on hosts and file systems on which the server would not start.
//! Invariants: [`verify`] writes nothing; [`export`] changes nothing in the data directory but its lock; [`import`] adds
//! blocks there and changes none.

pub mod export;
pub mod import;
pub mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ulid::Ulid;

use crate::io::Pace;
use crate::rt::StartError;
use crate::rt::disk::plain::PlainDisk;
use crate::shard::Layout;
use crate::shard::manifest::{Manifest, ManifestError};
use crate::storage::block::{self, Block, BlockError, IndexCache, META};
use crate::storage::compaction::CompactionError;
use crate::storage::compaction::import::ImportError;
use crate::storage::files::shard_dir;
use crate::storage::replay::ReplayError;

/// What of a block's index is held while it is read, in bytes.
const CACHE_BYTES: usize = 32 << 20;

/// Told what is being done, how much of it is done, and how much there is in all.
pub type Progress<'a> = &'a dyn Fn(&str, u64, u64);

/// Why something could not be done. What is only damaged is told otherwise.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The data directory cannot be used, or is in use.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It is of another version, or cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Blocks cannot be read or written.
    #[error(transparent)]
    Blocks(#[from] BlockError),
    /// Likewise, while blocks are made of others.
    #[error(transparent)]
    Compaction(#[from] CompactionError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReplayError),
    /// Blocks that cannot be taken.
    #[error("{0}; nothing is imported")]
    Import(#[from] ImportError),
    /// A directory cannot be used.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No blocks and no shards.
    #[error(
        "{}: neither a data directory nor a block, nor are there blocks in it; give the directory in which the blocks are, \
         whose names are like 01BKGV7JBM69T2G1BGBGM6KB12",
        .0.display()
    )]
    NothingThere(PathBuf),
    /// Blocks were to be written beside others.
    #[error(
        "{} is not empty, and blocks that are there already might hold the same samples; give a new or an empty directory",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// It was never a data directory.
    #[error("{} is no data directory of Floodplain; name one with --storage.tsdb.path", .0.display())]
    NoDataDirectory(PathBuf),
    /// Its blocks are not for others.
    #[error(
        "{} is a data directory of Floodplain; write its samples to another directory with floodplain export, and import \
         that one",
        .0.display()
    )]
    OwnDirectory(PathBuf),
    /// Some shards have taken their part of it, and others not.
    #[error(
        "{0}: this block is being divided among the shards; start the server for as long as that takes, stop it, and try \
         again"
    )]
    BeingDivided(String),
}

/// Nobody else waits for this thread.
struct Alone;

impl Pace for Alone {
    async fn breathe(&mut self) {}
}

/// What a directory is.
enum Place {
    /// A data directory of ours.
    DataDirectory,
    /// One that has blocks of this name.
    Blocks(Vec<String>),
    /// One block: the directory in which it is, and its name there.
    Block(PathBuf, String),
}

impl Place {
    fn find(path: &Path) -> Result<Self, OfflineError> {
        let failed = |source| OfflineError::Io { path: path.to_owned(), action: "read", source };
        let path = path.canonicalize().map_err(failed)?;
        if path.join("floodplain.json").exists() || path.join(shard_dir(0)).is_dir() {
            return Ok(Self::DataDirectory);
        }
        let name = path.file_name().and_then(|name| name.to_str());
        if let (Some(name), Some(above)) = (name, path.parent())
            && (path.join(META).is_file() || Ulid::from_string(name).is_ok())
        {
            return Ok(Self::Block(above.to_owned(), name.to_owned()));
        }
        let disk = PlainDisk::read_only(&path);
        let blocks = futures_lite::future::block_on(block::list(&disk, ""))?;
        if blocks.is_empty() {
            return Err(OfflineError::NothingThere(path));
        }
        Ok(Self::Blocks(blocks.iter().map(Ulid::to_string).collect()))
    }
}

/// Which files of a data directory hold the data.
fn layout(root: &Path) -> Result<Layout, ManifestError> {
    Ok(match Manifest::read(root)? {
        Some(manifest) => manifest.layout(),
        None => layout_found(root),
    })
}

/// The layout of a directory that does not say it: as many shards as have directories.
fn layout_found(root: &Path) -> Layout {
    let is_there = |shard: &u16| root.join(shard_dir(*shard)).is_dir();
    let shards = (0..u16::MAX).find(|shard| !is_there(shard)).unwrap_or(u16::MAX);
    Layout { shards: shards.max(1), since_run: 0 }
}

async fn open_block(disk: &PlainDisk, dir: &str) -> Result<Block<PlainDisk>, BlockError> {
    Block::open(disk, dir, Rc::new(IndexCache::new(CACHE_BYTES)), &mut Alone).await
}
