//! Writing the block of a cut: what was extracted from the Head becomes a block of its own. A copy of all that a Head has
//! becomes several.
//!
//! Runs on the thread for long work, with a disk of its own. Chunks that have left the Head's memory are read for many
//! series at once; what cannot be read of them is missing in the block, and told, and its file is kept aside when the Head
//! does not need it any more.

use super::block::writer::{BlockWriter, ChunkToWrite, WriterOptions};
use super::block::{BlockError, Ulid};
use super::compaction::merge::Target;
use super::files::{dirs, shard_dir};
use super::head::cut_plan::CutPlan;
use super::head::head_chunk::HeadChunk;
use super::head::sorted_cut::SortedCut;
use super::head::spill::{SpillError, SpillFiles};
use super::quarantine;
use super::replay::Damage;
use crate::encoding::block::meta::{BlockMeta, Origin};
use crate::io::{Disk, Pace};
use crate::model::{ChunkTally, TimeRange};

/// Series whose chunks are read together.
const SERIES_AT_ONCE: usize = 1024;

/// How much memory the postings of a block may take that is cut, in bytes: all shards may cut at once, and the Head is there,
/// too. A larger block reads its series, of which it has written some tens of megabytes, more than once.
const POSTINGS_BYTES: usize = 16 << 20;

/// What became of a cut.
#[derive(Debug)]
pub struct CutBlock {
    /// The block; `None` if nothing was left to write.
    pub meta: Option<BlockMeta>,
    /// Its chunks.
    pub chunks: Box<ChunkTally>,
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
    let (sorted, dir) = (plan.into_sorted(), shard_dir(own.shard));
    let cut = sorted.cut();
    let filled = fill(&spill, disk, &dir, &sorted, cut.ulid, pace).await?;
    let Filled { writer, range, chunks, lost } = filled;
    // What is made of the series now takes as much memory as they did.
    drop(sorted);
    if !lost.is_empty() {
        // Before there is a block, because of which the Head lets the file go.
        let marked = quarantine::mark_cut(disk, &lost, cut.ulid).await;
        marked.map_err(BlockError::io(&dir, "mark damaged files"))?;
    }
    if range.is_none() {
        writer.discard().await?;
        return Ok(CutBlock { meta: None, chunks, lost });
    }
    let mut meta = BlockMeta::new(cut.ulid, cut.range.start().0, cut.range.end().0);
    meta.floodplain = Some(own);
    let meta = writer.finish(meta, pace).await?;
    Ok(CutBlock { meta: Some(meta), chunks, lost })
}

/// What became of a copy.
#[derive(Debug, Default)]
pub struct Copied {
    /// The blocks, oldest first; none of them overlap.
    pub blocks: Vec<BlockMeta>,
    /// What could not be read and is missing in them.
    pub lost: Vec<Damage>,
}

/// Writes and publishes blocks of `plan` that are nobody's, somewhere else: one for each aligned two hours of which there is
/// anything, from the first instant to the last.
///
/// - `spill`: the files of chunks that have left memory.
/// - `target`: where they go, and what they are called.
///
/// # Errors
/// Those of the disks; then some of the blocks may be there.
pub async fn write_copies<D: Disk, W: Disk>(
    spill: &SpillFiles<D>,
    target: &mut Target<'_, W>,
    plan: CutPlan,
    pace: &mut impl Pace,
) -> Result<Copied, BlockError> {
    let mut copied = Copied::default();
    if plan.is_empty() {
        return Ok(copied);
    }
    let mut sorted = plan.into_sorted();
    for piece in sorted.pieces() {
        sorted.narrow(piece);
        let ulid = (target.name)();
        let filled = fill(spill, target.disk, target.dir, &sorted, ulid, pace).await?;
        copied.lost.extend(filled.lost);
        match filled.range {
            Some(range) => {
                let behind = range.max().0.saturating_add(1);
                let meta = BlockMeta::new(ulid, range.min().0, behind);
                copied.blocks.push(filled.writer.finish(meta, pace).await?);
            }
            None => filled.writer.discard().await?,
        }
    }
    Ok(copied)
}

/// A block that has all of its series.
struct Filled<W: Disk> {
    writer: BlockWriter<W>,
    /// From the first sample to the last; `None` without any.
    range: Option<TimeRange>,
    chunks: Box<ChunkTally>,
    lost: Vec<Damage>,
}

/// Writes the series of a block.
async fn fill<D: Disk, W: Disk>(
    spill: &SpillFiles<D>,
    disk: &W,
    dir: &str,
    sorted: &SortedCut,
    ulid: Ulid,
    pace: &mut impl Pace,
) -> Result<Filled<W>, BlockError> {
    let mut symbols = sorted.symbols();
    let options = WriterOptions { postings_bytes: POSTINGS_BYTES, ..WriterOptions::default() };
    let mut writer = BlockWriter::create(disk, dir, ulid, &mut symbols, options, pace).await?;
    let (mut range, mut lost) = (None::<TimeRange>, Vec::new());
    let mut chunks = Box::<ChunkTally>::default();
    for start in (0..sorted.len()).step_by(SERIES_AT_ONCE) {
        let some = start..(start + SERIES_AT_ONCE).min(sorted.len());
        let mut read = spill.read(&sorted.places(some.clone()), pace).await.into_iter();
        for at in some {
            let Some(series) = sorted.series(at, &mut read) else { continue };
            lost.extend(series.lost.iter().map(SpillError::damage));
            let mut of_series: Vec<ChunkToWrite<'_>> = Vec::with_capacity(series.chunks.len());
            for chunk in &series.chunks {
                let HeadChunk { range: own, encoding, bytes } = chunk;
                range = Some(range.map_or(*own, |range| range.cover(*own)));
                chunks.observe(chunk.sample_count(), bytes.len(), *own);
                of_series.push(ChunkToWrite { range: *own, encoding: *encoding, bytes });
            }
            if !of_series.is_empty() {
                writer.add_series(&series.labels, &of_series, pace).await?;
            }
            pace.breathe().await;
        }
    }
    Ok(Filled { writer, range, chunks, lost })
}
