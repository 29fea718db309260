//! Writing the block of a cut: what was extracted from the Head becomes a block of its own.
//!
//! Runs on the thread for long work, with a disk of its own. Chunks that have left the Head's memory are read for many
//! series at once; what cannot be read of them is missing in the block, and told, and its file is kept aside when the Head
//! does not need it any more.

use super::block::BlockError;
use super::block::writer::{BlockWriter, ChunkToWrite, WriterOptions};
use super::files::{dirs, shard_dir};
use super::head::cut_plan::CutPlan;
use super::head::spill::{SpillError, SpillFiles};
use super::quarantine;
use super::replay::Damage;
use crate::encoding::block::meta::{BlockMeta, Origin};
use crate::io::{Disk, Pace};

/// Series whose chunks are read together.
const SERIES_AT_ONCE: usize = 1024;

/// What became of a cut.
#[derive(Debug)]
pub struct CutBlock {
    /// The block; `None` if nothing was left to write.
    pub meta: Option<BlockMeta>,
    /// What could not be read and is missing in it.
    pub lost: Vec<Damage>,
}

/// Writes and publishes the block of `plan`, of the shard `own`.
///
/// # Errors
/// Those of the disk; then there is no block, or a temporary one that nobody reads.
pub async fn write_block<D: Disk>(
    disk: &D,
    own: Origin,
    plan: CutPlan,
    pace: &mut impl Pace,
) -> Result<CutBlock, BlockError> {
    let spill = SpillFiles::of(disk.clone(), dirs(own.shard).head);
    write(&spill, disk, &shard_dir(own.shard), Some(own), plan, pace).await
}

/// Writes and publishes a block of `plan` that is nobody's, somewhere else.
///
/// - `spill`: the files of chunks that have left memory.
/// - `dir`: the directory of blocks on the disk `target`.
///
/// # Errors
/// Those of the disks; then there is no block, or a temporary one that nobody reads.
pub async fn write_copy<D: Disk, W: Disk>(
    spill: &SpillFiles<D>,
    target: &W,
    dir: &str,
    plan: CutPlan,
    pace: &mut impl Pace,
) -> Result<CutBlock, BlockError> {
    write(spill, target, dir, None, plan, pace).await
}

async fn write<D: Disk, W: Disk>(
    spill: &SpillFiles<D>,
    disk: &W,
    dir: &str,
    origin: Option<Origin>,
    plan: CutPlan,
    pace: &mut impl Pace,
) -> Result<CutBlock, BlockError> {
    let sorted = plan.into_sorted();
    let cut = sorted.cut();
    let mut symbols = sorted.symbols();
    let options = WriterOptions::default();
    let mut writer = BlockWriter::create(disk, dir, cut.ulid, &mut symbols, options, pace).await?;
    let mut lost = Vec::new();
    for start in (0..sorted.len()).step_by(SERIES_AT_ONCE) {
        let some = start..(start + SERIES_AT_ONCE).min(sorted.len());
        let mut read = spill.read(&sorted.places(some.clone()), pace).await.into_iter();
        for at in some {
            let Some(series) = sorted.series(at, &mut read) else { continue };
            lost.extend(series.lost.iter().map(SpillError::damage));
            let chunks: Vec<ChunkToWrite<'_>> = series
                .chunks
                .iter()
                .map(|chunk| ChunkToWrite {
                    range: chunk.range,
                    encoding: chunk.encoding,
                    bytes: &chunk.bytes,
                })
                .collect();
            if !chunks.is_empty() {
                writer.add_series(&series.labels, &chunks, pace).await?;
            }
            pace.breathe().await;
        }
    }
    if origin.is_some() && !lost.is_empty() {
        // Before there is a block, because of which the Head lets the file go.
        let marked = quarantine::mark_cut(disk, &lost, cut.ulid).await;
        marked.map_err(BlockError::io(dir, "mark damaged files"))?;
    }
    if writer.series_count() == 0 {
        writer.discard().await?;
        return Ok(CutBlock { meta: None, lost });
    }
    let mut meta = BlockMeta::new(cut.ulid, cut.range.start().0, cut.range.end().0);
    meta.floodplain = origin;
    let meta = writer.finish(meta, pace).await?;
    Ok(CutBlock { meta: Some(meta), lost })
}
