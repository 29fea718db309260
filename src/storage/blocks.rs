//! The blocks of a shard at its start: which there are, which of them are to be read, and what is wrong with others.
//!
//! A shard reads its own blocks. Those that were written when there were another number of shards, or by somebody else,
//! are *mixed*: they may hold anybody's series. Every shard reads all of these, wherever they lie, and leaves others' series
//! to the others, until its own part of them is in a block of its own.
//! A block that cannot be opened costs itself: the shard in whose directory it lies puts it aside, and all others pass over
//! it. One that the disk does not read is not known to be damaged: it stays where it is, is not read from in this run, and
//! may be in the next. If either had taken the place of others that are there still, those are read as before.
//!
//! A shard looks again while it runs when it does not know any more which blocks there are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use super::block::reader::{Block, read_meta};
use super::block::{self, BlockError, IndexCache};
use super::compaction::{history, repartition, rewrite};
use super::files::shard_dir;
use super::quarantine;
use super::replay::Damage;
use super::served::ServedBlock;
use crate::encoding::block::meta::Ulid;
pub use crate::encoding::block::meta::{BlockMeta, Origin};
use crate::io::{Disk, Pace};
use crate::model::TimestampMs;

/// A block that there is.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The shard in whose directory it lies.
    pub shard: u16,
    /// What it says of itself.
    pub meta: BlockMeta,
}

/// All blocks of a data directory.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Those whose `meta.json` can be read.
    pub blocks: Vec<Listed>,
    /// Those whose cannot be understood: the shard, the name, and why.
    pub unreadable: Vec<(u16, Ulid, String)>,
    /// Those whose the disk does not read, likewise.
    pub unread: Vec<(u16, Ulid, String)>,
}

impl Inventory {
    /// Looks through the directories of all shards, former ones too. The names of what is found are durable then: a process
    /// that was killed, or a flush that failed, may have left a block whose name power loss can still take, and whoever
    /// reads the log goes by which blocks there are.
    ///
    /// # Errors
    /// A disk that does not list or flush, or want of memory or descriptors.
    pub async fn take<D: Disk>(disk: &D, pace: &mut impl Pace) -> Result<Self, BlockError> {
        let mut found = Self::default();
        for shard in shards(disk).await? {
            let dir = shard_dir(shard);
            match disk.sync_dir(&dir).await {
                // One that is no more, removed by another shard.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                synced => synced.map_err(BlockError::io(&dir, "flush the directory"))?,
            }
            for ulid in block::list(disk, &dir).await? {
                let path = block::dir(&dir, ulid);
                let mut read = read_meta(disk, &path).await;
                if read.as_ref().is_err_and(|error| !error.is_damage()) {
                    read = read_meta(disk, &path).await;
                }
                match read.map(|(meta, _)| meta) {
                    Ok(meta) if meta.ulid == ulid => found.blocks.push(Listed { shard, meta }),
                    Ok(meta) => {
                        let why = format!("its meta.json is that of block {}", meta.ulid);
                        found.unreadable.push((shard, ulid, why));
                    }
                    Err(error) if error.may_pass() => return Err(error),
                    Err(error) if error.is_damage() => {
                        found.unreadable.push((shard, ulid, error.to_string()));
                    }
                    Err(error) => found.unread.push((shard, ulid, error.to_string())),
                }
                pace.breathe().await;
            }
        }
        Ok(found)
    }

    /// The names under which Heads were cut into any of these blocks.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<Ulid> {
        self.blocks.iter().flat_map(|block| block.meta.compaction.sources.iter().copied()).collect()
    }
}

impl Inventory {
    /// Before this instant Heads have been cut into blocks.
    #[must_use]
    pub fn cut_until(&self) -> TimestampMs {
        let is_cut = |block: &&Listed| {
            block.meta.floodplain.is_some() && block.meta.compaction.parents.is_empty()
        };
        let ends = self.blocks.iter().filter(is_cut).map(|block| block.meta.max_time);
        ends.max().map_or(TimestampMs::MIN, TimestampMs)
    }
}

/// The shards that have a directory, former ones too.
async fn shards<D: Disk>(disk: &D) -> Result<Vec<u16>, BlockError> {
    let entries = disk.list("").await.map_err(BlockError::io("", "list"))?;
    let shard = |name: &str| name.strip_prefix("shard-")?.parse().ok();
    Ok(entries.iter().filter_map(|entry| shard(&entry.name)).collect())
}

/// What a shard has after its blocks have been opened.
pub struct Opened<D: Disk> {
    /// To be read.
    pub blocks: Vec<Rc<ServedBlock<D>>>,
    /// Blocks that may hold others' series, and that are there still: those of which this shard has its part, too.
    pub mixed: Vec<Listed>,
    /// Blocks whose place others have taken, and that are there still, in this shard's directory and the former ones that
    /// it looks after: to be removed before this shard takes its part of any mixed block. Those may be what took their
    /// place, and when all shards have their parts nothing would say any more that these are over.
    pub replaced: Vec<Listed>,
    /// Those that the disk does not read. Nothing can be deleted of them in this run.
    pub left_out: Vec<Ulid>,
    /// What could not be opened: of this shard's directory what was put aside, and what the disk does not read.
    pub damage: Vec<Damage>,
}

/// Opens the blocks that the shard `own` reads, after it has tidied its directory up. None of them is being written or
/// removed.
///
/// - `run`: the start that this is; names what is put aside.
///
/// # Errors
/// A directory that cannot be tidied up, or want of memory or descriptors.
pub async fn open<D: Disk>(
    disk: &D,
    own: Origin,
    inventory: &Inventory,
    cache: &Rc<IndexCache>,
    run: u64,
    pace: &mut impl Pace,
) -> Result<Opened<D>, BlockError> {
    block::tidy(disk, &shard_dir(own.shard)).await?;
    let is_kept_here = |shard| keeper(shard, own.shards) == own.shard;
    let (mut left_out, mut damage) = (Vec::new(), Vec::new());
    for (shard, ulid, why) in &inventory.unreadable {
        if is_kept_here(*shard) {
            damage.push(set_aside(disk, *shard, *ulid, why, run).await);
        }
    }
    for (shard, ulid, why) in &inventory.unread {
        left_out.push(*ulid);
        if is_kept_here(*shard) {
            damage.push(unread(*shard, *ulid, why));
        }
    }
    let mut left: Vec<&Listed> = inventory.blocks.iter().collect();
    let mut opened = BTreeMap::new();
    loop {
        let metas: Vec<&BlockMeta> = left.iter().map(|block| &block.meta).collect();
        let replaced = history::replaced(&metas);
        let mut broken = BTreeSet::new();
        for listed in &left {
            let Listed { shard, meta: BlockMeta { ulid, .. } } = *listed;
            if replaced.contains(ulid) || opened.contains_key(ulid) {
                continue;
            }
            let mut found = open_one(disk, own, listed, &metas, cache, pace).await;
            if found.is_err() {
                // It would be missing until the next start, or for good: that is worth a second look.
                found = open_one(disk, own, listed, &metas, cache, pace).await;
            }
            let error = match found {
                Ok(block) => {
                    opened.insert(*ulid, block);
                    continue;
                }
                Err(error) if error.may_pass() => return Err(error),
                Err(error) => error,
            };
            broken.insert(*ulid);
            if error.is_damage() && is_kept_here(*shard) {
                damage.push(set_aside(disk, *shard, *ulid, &error.to_string(), run).await);
            } else {
                // Each shard tells for itself: another one, its keeper too, may have read it.
                left_out.push(*ulid);
                damage.push(unread(*shard, *ulid, &error.to_string()));
            }
        }
        if broken.is_empty() {
            let is_mixed = |listed: &&&Listed| {
                is_mixed(&listed.meta, own) && !replaced.contains(&listed.meta.ulid)
            };
            let is_over = |listed: &&&Listed| {
                is_kept_here(listed.shard) && replaced.contains(&listed.meta.ulid)
            };
            return Ok(Opened {
                mixed: left.iter().filter(is_mixed).map(|listed| Listed::clone(listed)).collect(),
                replaced: left.iter().filter(is_over).map(|listed| Listed::clone(listed)).collect(),
                blocks: opened
                    .into_iter()
                    .filter(|(ulid, _)| !replaced.contains(ulid))
                    .filter_map(|(_, block)| block)
                    .collect(),
                left_out,
                damage,
            });
        }
        // Blocks whose place a broken one had taken are needed again.
        left.retain(|listed| !broken.contains(&listed.meta.ulid));
    }
}

/// May the block hold series of other shards than `own`?
fn is_mixed(meta: &BlockMeta, own: Origin) -> bool {
    meta.floodplain.is_none_or(|origin| origin.shards != own.shards)
}

/// Opens a block; `None` if it is nothing to `own`, or `own` has its part of it already.
async fn open_one<D: Disk>(
    disk: &D,
    own: Origin,
    Listed { shard, meta }: &Listed,
    metas: &[&BlockMeta],
    cache: &Rc<IndexCache>,
    pace: &mut impl Pace,
) -> Result<Option<Rc<ServedBlock<D>>>, BlockError> {
    let (is_own, is_mixed) = (meta.floodplain == Some(own), is_mixed(meta, own));
    let path = block::dir(&shard_dir(*shard), meta.ulid);
    if !is_own && !is_mixed {
        return Ok(None);
    }
    if is_own {
        rewrite::tidy(disk, &path).await?;
    }
    if is_mixed && is_taken(disk, &path, metas, meta.ulid, own).await? {
        return Ok(None);
    }
    let block = Block::open(disk, &path, Rc::clone(cache), pace).await?;
    Ok(Some(Rc::new(ServedBlock { block, is_mixed })))
}

/// Has `own` its part of the block at `path` already?
async fn is_taken<D: Disk>(
    disk: &D,
    path: &str,
    metas: &[&BlockMeta],
    ulid: Ulid,
    own: Origin,
) -> Result<bool, BlockError> {
    if repartition::taken(disk, path).await?.contains(&(own.shards, own.shard)) {
        return Ok(true);
    }
    let is_published = history::is_taken(metas, ulid, own);
    if is_published {
        // The part was published, and then the process ended. If this fails, the next start does it.
        let _ = repartition::mark_taken(disk, path, own).await;
    }
    Ok(is_published)
}

/// The shard that looks after the directory of `shard`, which may be no more.
fn keeper(shard: u16, shards: u16) -> u16 {
    shard.checked_rem(shards).unwrap_or(0)
}

async fn set_aside<D: Disk>(disk: &D, shard: u16, ulid: Ulid, why: &str, run: u64) -> Damage {
    let dir = shard_dir(shard);
    let from = block::dir(&dir, ulid);
    let what = format!("this block cannot be opened, and what only it held is lost: {why}");
    let mut damage = Damage { file: from, offset: 0, what, keep: Vec::new() };
    let text = damage.to_string();
    let moved = quarantine::set_aside_dir(disk, &dir, &ulid.to_string(), run, &text).await;
    if let Err(error) = moved {
        // A disk that is full as well must not stop the start: then the next one does this again.
        damage.what = format!("{}; it cannot be put aside: {error}", damage.what);
    }
    damage
}

/// A block that the disk does not read now.
fn unread(shard: u16, ulid: Ulid, why: &str) -> Damage {
    let what =
        format!("the disk does not read this block; it is left out until a start can: {why}");
    Damage { file: block::dir(&shard_dir(shard), ulid), offset: 0, what, keep: Vec::new() }
}
