//! Follows a plan: makes the new block of a shard's old ones, and says what has become of these.
//!
//! ```text
//! something is left       the new block is published; it names its parents, whose place it takes
//! nothing is left         no block; the parents are marked `deletable`
//! a parent is damaged     no block; this parent is marked `failed`, and stays out of plans
//! the disk does not read, is full, stop
//!                         no block; everything is as it was, to be tried again
//! ```
//! The parents are removed by whoever serves them, when nobody reads them any more. Until then, and after a crash, they are
//! what [`replaced`](super::history::replaced) says is not needed.

use std::rc::Rc;

use super::error::CompactionError;
use super::history::History;
use super::merge::{MergeOptions, Target, merge};
use super::rewrite;
use super::series::{Selection, Source};
use crate::encoding::block::meta::{BlockMeta, Ulid};
use crate::io::{Disk, Pace};
use crate::model::TimeRange;
use crate::storage::block::{self, Block, IndexCache};

/// Indexes are read from end to end, past the cache.
const CACHE_BYTES: usize = 1 << 20;

/// What blocks were made, and of which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The new blocks; more than one only if one would be too large, and none if nothing is left.
    pub blocks: Vec<BlockMeta>,
    /// Those that are not needed any more.
    pub replaced: Vec<Ulid>,
}

/// Makes one block of several.
///
/// - `target`: where the parents are, too.
/// - `parents`: as the plan has them.
///
/// # Errors
/// A parent that cannot be read, a disk that cannot be written, or the wish to stop.
pub async fn compact<D: Disk>(
    target: &mut Target<'_, D>,
    parents: &[Ulid],
    options: &MergeOptions<'_>,
    pace: &mut impl Pace,
) -> Result<Made, CompactionError> {
    let history = |metas: &[&BlockMeta]| History::of_merged(metas);
    make(target, parents, history, options, pace).await
}

/// Writes a block anew without what is deleted of it; nothing is made if nothing is deleted.
///
/// # Errors
/// As [`compact`].
pub async fn clean<D: Disk>(
    target: &mut Target<'_, D>,
    ulid: Ulid,
    options: &MergeOptions<'_>,
    pace: &mut impl Pace,
) -> Result<Made, CompactionError> {
    let history = |metas: &[&BlockMeta]| metas.first().map(|meta| History::of_cleaned(meta));
    make(target, &[ulid], history, options, pace).await
}

/// Opens a block for work that reads all of it.
pub(in crate::storage) async fn open<D: Disk>(
    disk: &D,
    dir: &str,
    pace: &mut impl Pace,
) -> Result<Block<D>, CompactionError> {
    Ok(Block::open(disk, dir, Rc::new(IndexCache::new(CACHE_BYTES)), pace).await?)
}

async fn make<D: Disk>(
    target: &mut Target<'_, D>,
    parents: &[Ulid],
    history: impl FnOnce(&[&BlockMeta]) -> Option<History>,
    options: &MergeOptions<'_>,
    pace: &mut impl Pace,
) -> Result<Made, CompactionError> {
    // Of two samples at the same instant, that of the block which was made first wins.
    let mut parents = parents.to_vec();
    parents.sort_unstable();
    let dirs: Vec<String> = parents.iter().map(|ulid| block::dir(target.dir, *ulid)).collect();
    let made = try_make(target, &dirs, history, options, pace).await;
    match made {
        Ok(Some(blocks)) => {
            if blocks.is_empty() {
                for dir in &dirs {
                    rewrite::meta(target.disk, dir, |m| m.compaction.deletable = true).await?;
                }
            }
            Ok(Made { blocks, replaced: parents })
        }
        Ok(None) => Ok(Made::default()),
        Err(error) => {
            for dir in dirs.iter().filter(|dir| error.is_fault_of(dir)) {
                // If this fails, too, it is tried again, and what was wrong is told either way.
                let _ = rewrite::meta(target.disk, dir, |m| m.compaction.failed = true).await;
            }
            Err(error)
        }
    }
}

/// The new blocks; `None` if there is nothing to do.
async fn try_make<D: Disk>(
    target: &mut Target<'_, D>,
    dirs: &[String],
    history: impl FnOnce(&[&BlockMeta]) -> Option<History>,
    options: &MergeOptions<'_>,
    pace: &mut impl Pace,
) -> Result<Option<Vec<BlockMeta>>, CompactionError> {
    let mut blocks = Vec::with_capacity(dirs.len());
    for dir in dirs {
        blocks.push(open(target.disk, dir, pace).await?);
    }
    let is_clean = blocks.iter().all(|block| block.tombstones().is_empty());
    let metas: Vec<&BlockMeta> = blocks.iter().map(Block::meta).collect();
    let Some(history) = history(&metas) else { return Ok(None) };
    if is_clean && blocks.len() < 2 {
        return Ok(None);
    }
    let sources: Vec<Source<'_, D>> =
        blocks.iter().map(|block| Source { block, series: Selection::All }).collect();
    merge(target, &sources, TimeRange::ALL, &history, options, pace).await.map(Some)
}
