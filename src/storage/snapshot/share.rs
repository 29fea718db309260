//! What one shard gives to a snapshot: its blocks and what its Head holds, as they are at one moment.
//!
//! Blocks and spill files get further names below the snapshot, so that nothing has to be kept for it elsewhere: the shard
//! may merge, delete and cut as it likes once [`hold`] and [`hold_spill_files`] have returned. Their bytes do not change; a
//! block's meta and its tombstones, which may, are written anew.

use std::collections::BTreeSet;
use std::io;

use super::shares_dir;
use crate::encoding::block::meta::{BlockMeta, Compaction, Origin, Ulid};
use crate::io::{Disk, Pace};
use crate::storage::block::append_file::write_whole;
use crate::storage::block::{self, Block, BlockError, CHUNKS, INDEX, META, TOMBSTONES};
use crate::storage::compaction::import::listed;
use crate::storage::compaction::merge::Target;
use crate::storage::cutting::write_copies;
use crate::storage::files::{dirs, shard_dir};
use crate::storage::head::cut_plan::CutPlan;
use crate::storage::head::spill::SpillFiles;

/// A block that a snapshot has a name of its own for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its directory, within that of the shares; the same as within the data directory.
    pub dir: String,
    /// What it says of itself.
    pub meta: BlockMeta,
    /// May it hold series of other shards, which they give?
    pub is_mixed: bool,
}

/// What one shard gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which shard, of how many.
    pub own: Origin,
    /// Blocks that hold, of its series, each sample at least once.
    pub blocks: Vec<Held>,
}

/// Holds the blocks that a shard answers from. Until it returns none of them may be removed, and nothing be deleted of them.
///
/// - `blocks`: each with whether it is mixed. One that is, and that another shard has given already, is held once.
///
/// # Errors
/// Those of the disk.
pub async fn hold<'b, D: Disk>(
    disk: &D,
    name: &str,
    own: Origin,
    blocks: impl IntoIterator<Item = (&'b Block<D>, bool)>,
) -> Result<Share, BlockError> {
    let root = shares_dir(name);
    disk.create_dir(&root).await.map_err(BlockError::io(&root, "create"))?;
    let mut share = Share { own, blocks: Vec::new() };
    for (block, is_mixed) in blocks {
        let to = format!("{root}/{}", block.dir());
        let is_held = disk.list(&to).await.map_err(BlockError::io(&to, "list"))?;
        let meta = held_meta(block);
        if is_held.is_empty() {
            hold_block(disk, block, &meta, &to).await?;
        }
        share.blocks.push(Held { dir: block.dir().to_owned(), meta, is_mixed });
    }
    Ok(share)
}

/// What a block of ours says of itself where it is nobody's.
fn held_meta<D: Disk>(block: &Block<D>) -> BlockMeta {
    let mut meta = block.meta().clone();
    meta.compaction = Compaction { parents: Vec::new(), ..meta.compaction };
    meta.stats.num_tombstones = block.tombstones().range_count();
    BlockMeta { floodplain: None, ..meta }
}

async fn hold_block<D: Disk>(
    disk: &D,
    block: &Block<D>,
    meta: &BlockMeta,
    to: &str,
) -> Result<(), BlockError> {
    let chunks = format!("{to}/{CHUNKS}");
    disk.create_dir(&chunks).await.map_err(BlockError::io(&chunks, "create"))?;
    let (segments, _) = listed(disk, block.dir()).await?;
    for name in segments.into_iter().chain([INDEX.to_owned()]) {
        let (from, to) = (format!("{}/{name}", block.dir()), format!("{to}/{name}"));
        disk.link(&from, &to).await.map_err(BlockError::io(&from, "make a hard link of"))?;
    }
    write_whole(disk, format!("{to}/{TOMBSTONES}"), &block.tombstones().encode()).await?;
    write_whole(disk, format!("{to}/{META}"), &meta.to_json()).await
}

/// Holds these spill files of a shard. Until it returns none of them may be removed.
///
/// # Errors
/// Those of the disk. A file that is not there is left to who reads it.
pub async fn hold_spill_files<D: Disk>(
    disk: &D,
    name: &str,
    own: Origin,
    files: &BTreeSet<u32>,
) -> Result<(), BlockError> {
    let (there, here) = (spill_dir("", own), spill_dir(&format!("{}/", shares_dir(name)), own));
    disk.create_dir(&here).await.map_err(BlockError::io(&here, "create"))?;
    let (there, here) = (SpillFiles::of(disk.clone(), there), SpillFiles::of(disk.clone(), here));
    for number in files {
        let (from, to) = (there.path(*number), here.path(*number));
        match disk.link(&from, &to).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            linked => linked.map_err(BlockError::io(&from, "make a hard link of"))?,
        }
    }
    Ok(())
}

fn spill_dir(root: &str, own: Origin) -> String {
    format!("{root}{}", dirs(own.shard).head)
}

/// Writes blocks of what a shard's Head held, and lets go of its spill files; the blocks, and in words what could not be
/// read and is missing in them.
///
/// # Errors
/// Those of the disk.
pub async fn copy_head<D: Disk>(
    disk: &D,
    name: &str,
    own: Origin,
    plan: CutPlan,
    ulid: &mut dyn FnMut() -> Ulid,
    pace: &mut impl Pace,
) -> Result<(Vec<Held>, Vec<String>), BlockError> {
    let root = format!("{}/", shares_dir(name));
    let (spill_dir, of_shard) = (spill_dir(&root, own), shard_dir(own.shard));
    let spill = SpillFiles::of(disk.clone(), spill_dir.clone());
    let mut target = Target { disk, dir: &format!("{root}{of_shard}"), name: ulid };
    let copied = write_copies(&spill, &mut target, plan, pace).await?;
    drop(spill);
    block::remove_tree(disk, &spill_dir).await?;
    let held =
        |meta: BlockMeta| Held { dir: block::dir(&of_shard, meta.ulid), meta, is_mixed: false };
    let lost = copied.lost.iter().map(|what| what.to_string().replace(&root, "")).collect();
    Ok((copied.blocks.into_iter().map(held).collect(), lost))
}
