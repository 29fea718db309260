//! Takes a block from somewhere else: of Prometheus, Thanos or Mimir, or of another data directory.
//!
//! It is copied, or linked where both lie on one disk, into a temporary directory and published by a rename, usually
//! under the name that it had: who imports the same directory twice has it once. It may hold anybody's series, so it becomes a block without
//! an origin, of which every shard takes its part (`repartition`).
//! Its `meta.json` is written anew. Its times, counts and level stay; what it says of other blocks does not, nor what
//! others have put there: no foreign text decides that a block of ours is not needed.
//! Chunks are taken whatever their encoding. Those of an encoding that no reader here is for (`encoding::chunk`) are not verified
//! either but for their checksums, and a query that meets one says so.
//!
//! Refused is a block whose series would not be what they seem: one with external labels, which Thanos and Mimir keep beside
//! the series, and one that holds aggregates instead of samples.
//! Source of the section `thanos`: Thanos `pkg/block/metadata/meta.go`.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;

use super::CompactionError;
use super::merge::take_back;
use super::stop::Stop;
use crate::encoding::block::chunks;
use crate::encoding::block::meta::{BlockMeta, Compaction, Ulid};
use crate::encoding::block::tombstones::Tombstones;
use crate::io::{Disk, File, Pace};
use crate::storage::block::append_file::{AppendFile, write_whole};
use crate::storage::block::reader::read_meta;
use crate::storage::block::{self, Block, BlockError, CHUNKS, INDEX, IndexCache, META, TOMBSTONES};

/// Bytes that are copied at once.
const COPY_BYTES: u64 = 1 << 20;
/// The index is read from end to end, past the cache.
const CACHE_BYTES: usize = 1 << 20;

/// Why a block is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read, or the copy not be written; or it was asked to stop.
    #[error(transparent)]
    Block(#[from] CompactionError),
    /// Its series have more labels than the index says.
    #[error("{dir}: has external labels, {labels}: its series would lose them")]
    ExternalLabels {
        /// The block's directory.
        dir: String,
        /// What they are.
        labels: String,
    },
    /// It holds no samples as they were scraped.
    #[error("{dir}: is downsampled to one aggregate in {resolution_ms} ms")]
    Downsampled {
        /// The block's directory.
        dir: String,
        /// From when to when an aggregate is, in milliseconds.
        resolution_ms: i64,
    },
    /// Something in it is not what it should be.
    #[error("{dir}: damaged in {} places, first {}", .damage.len(), .damage.first().map(ToString::to_string).unwrap_or_default())]
    Damaged {
        /// The block's directory.
        dir: String,
        /// What is wrong, of much only the beginning.
        damage: Vec<BlockError>,
    },
}

impl From<BlockError> for ImportError {
    fn from(error: BlockError) -> Self {
        Self::Block(error.into())
    }
}

/// A block that can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it says of itself.
    pub meta: BlockMeta,
    /// Length of its files in bytes.
    pub bytes: u64,
}

/// How the files come over.
#[derive(Clone, Copy, Debug)]
pub enum How<'a, S> {
    /// Read from this disk.
    Copy(&'a S),
    /// They get a second name; the block is on the disk where it goes.
    Link,
}

/// What Thanos adds to a meta; Mimir has it too.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Extended {
    thanos: Thanos,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Thanos {
    labels: Option<BTreeMap<String, String>>,
    downsample: Downsample,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Downsample {
    resolution: i64,
}

/// Looks whether the block in the directory `dir` can be taken.
///
/// - `reads_all`: reads all of it and looks at every checksum; otherwise only whether it opens.
///
/// # Errors
/// The reason why not.
pub async fn check<S: Disk>(
    disk: &S,
    dir: &str,
    reads_all: bool,
    pace: &mut impl Pace,
) -> Result<Foreign, ImportError> {
    let cache = Rc::new(IndexCache::new(CACHE_BYTES));
    let block = Block::open(disk, dir, cache, pace).await?;
    let (_, json) = read_meta(disk, dir).await?;
    // A section of that name that is something else is none of Thanos's.
    let Extended { thanos } = serde_json::from_slice(&json).unwrap_or_default();
    let labels = thanos.labels.unwrap_or_default();
    if !labels.is_empty() {
        let text: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        let (dir, labels) = (dir.to_owned(), text.join(", "));
        return Err(ImportError::ExternalLabels { dir, labels });
    }
    let resolution_ms = thanos.downsample.resolution;
    if resolution_ms != 0 {
        return Err(ImportError::Downsampled { dir: dir.to_owned(), resolution_ms });
    }
    let damage = if reads_all { block.verify(pace).await } else { Vec::new() };
    if !damage.is_empty() {
        return Err(ImportError::Damaged { dir: dir.to_owned(), damage });
    }
    Ok(Foreign { meta: block.meta().clone(), bytes: block.bytes() })
}

/// A block on its way from one directory to another.
pub struct Adoption<'a, S, D> {
    /// Its directory where it comes from.
    pub from: &'a str,
    /// What [`check`] has found there.
    pub foreign: &'a Foreign,
    /// Its name here; usually the one that it has there, if that is not known already (`history::is_known`).
    pub ulid: Ulid,
    /// How it comes over.
    pub how: How<'a, S>,
    /// The disk to which it goes.
    pub disk: &'a D,
    /// The directory of blocks there, in which there is none of its name.
    pub dir: &'a str,
    /// Told how many more bytes there are on this side.
    pub progress: &'a dyn Fn(u64),
    /// Asked now and then.
    pub stop: Stop<'a>,
}

/// What a block says of itself when it is ours.
fn adopted(foreign: &BlockMeta, ulid: Ulid) -> BlockMeta {
    let (level, sources) = (foreign.compaction.level.max(1), vec![ulid]);
    let compaction = Compaction { level, sources, ..Compaction::default() };
    BlockMeta { ulid, compaction, floodplain: None, ..foreign.clone() }
}

impl<S: Disk, D: Disk> Adoption<'_, S, D> {
    /// Publishes the block.
    ///
    /// # Errors
    /// Those of both disks, or the wish to stop. What had been written is removed.
    pub async fn publish(self, pace: &mut impl Pace) -> Result<BlockMeta, CompactionError> {
        let meta = adopted(&self.foreign.meta, self.ulid);
        let to = block::creation_dir(self.dir, meta.ulid);
        block::remove_tree(self.disk, &to).await?;
        let mut placed = self.place(&to, &meta, pace).await;
        if placed.is_ok() {
            let published = block::directory::publish(self.disk, self.dir, meta.ulid).await;
            placed = published.map_err(CompactionError::from);
        }
        match placed {
            Ok(()) => Ok(meta),
            Err(error) => Err(take_back(self.disk, self.dir, &[meta.ulid], error).await),
        }
    }

    /// Puts all its files into the directory `to`, durably.
    async fn place(
        &self,
        to: &str,
        meta: &BlockMeta,
        pace: &mut impl Pace,
    ) -> Result<(), CompactionError> {
        let chunks_to = format!("{to}/{CHUNKS}");
        let made = self.disk.create_dir(&chunks_to).await;
        made.map_err(BlockError::io(&chunks_to, "create"))?;
        let (segments, has_tombstones) = match self.how {
            How::Copy(source) => listed(source, self.from).await?,
            How::Link => listed(self.disk, self.from).await?,
        };
        let mut names = vec![INDEX.to_owned()];
        names.extend(segments);
        names.extend(has_tombstones.then(|| TOMBSTONES.to_owned()));
        for name in names {
            let (from, to) = (format!("{}/{name}", self.from), format!("{to}/{name}"));
            match self.how {
                How::Copy(source) => self.copy(source, &from, &to, pace).await?,
                How::Link => self.link(&from, &to).await?,
            }
        }
        if !has_tombstones {
            let none = Tombstones::default().encode();
            write_whole(self.disk, format!("{to}/{TOMBSTONES}"), &none).await?;
        }
        write_whole(self.disk, format!("{to}/{META}"), &meta.to_json()).await?;
        for dir in [&chunks_to, to] {
            block::directory::sync_dir(self.disk, dir).await?;
        }
        Ok(())
    }

    async fn copy(
        &self,
        source: &S,
        from: &str,
        to: &str,
        pace: &mut impl Pace,
    ) -> Result<(), CompactionError> {
        let file = source.open_read(from).await.map_err(BlockError::io(from, "open"))?;
        let mut copy = AppendFile::create(self.disk, to.to_owned()).await?;
        while copy.len() < file.len() {
            self.stop.check()?;
            let left = COPY_BYTES.min(file.len() - copy.len());
            let len = usize::try_from(left).unwrap_or(usize::MAX);
            let bytes =
                file.read_at(copy.len(), len).await.map_err(BlockError::io(from, "read"))?;
            copy.append(&bytes).await?;
            (self.progress)(left);
            pace.breathe().await;
        }
        copy.finish().await?;
        Ok(())
    }

    async fn link(&self, from: &str, to: &str) -> Result<(), CompactionError> {
        self.stop.check()?;
        self.disk.link(from, to).await.map_err(BlockError::io(to, "link"))?;
        let file = self.disk.open_read(to).await.map_err(BlockError::io(to, "open"))?;
        // Whoever wrote it may not have flushed it.
        file.sync().await.map_err(BlockError::io(to, "flush"))?;
        (self.progress)(file.len());
        Ok(())
    }
}

/// The chunk segments, and whether there are tombstones.
pub(in crate::storage) async fn listed<S: Disk>(
    disk: &S,
    dir: &str,
) -> Result<(Vec<String>, bool), BlockError> {
    let chunks_dir = format!("{dir}/{CHUNKS}");
    let entries = disk.list(&chunks_dir).await.map_err(BlockError::io(&chunks_dir, "list"))?;
    let is_segment = |name: &str| {
        let index = name.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        index.is_some_and(|index| chunks::file_name(index) == name)
    };
    let segments = entries.into_iter().filter(|entry| !entry.is_dir && is_segment(&entry.name));
    let names = segments.map(|entry| format!("{CHUNKS}/{}", entry.name)).collect();
    let entries = disk.list(dir).await.map_err(BlockError::io(dir, "list"))?;
    Ok((names, entries.iter().any(|entry| entry.name == TOMBSTONES)))
}
