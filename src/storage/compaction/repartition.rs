//! Takes what is a shard's own out of a block that may hold anybody's series.
//!
//! ```text
//! shard-001/01BKGV7JBM69T2G1BGBGM6KB12/        a block of another layout, or from somewhere else
//! ├── ...                                      as it always was: every shard reads it until it has its part
//! ├── taken-000-of-002                         empty: shard 0 of 2 has its own part in a block of its own, or has none
//! └── taken-001-of-002                         the same of shard 1: now all have, and the block can go
//! ```
//! A part is published first and marked then. A start that finds a part but no mark marks it: [`is_taken`] looks at the
//! parents of own blocks, which therefore stay as they are until then. Marks of another layout mean nothing.
//!
//! [`is_taken`]: super::history::is_taken

use std::collections::BTreeSet;
use std::io;

use super::error::CompactionError;
use super::history::History;
use super::merge::{MergeOptions, Target, merge};
use super::run::open;
use super::series::{Selection, Source};
use super::stop::Stop;
use crate::encoding::block::meta::{BlockMeta, Origin};
use crate::io::{Disk, File, Pace};
use crate::model::{SeriesId, TimeRange, route_hash};
use crate::storage::block::{Block, BlockError};

/// Series that are looked at together.
const AT_ONCE: usize = 256;

/// The own part of a mixed block.
#[derive(Debug)]
pub struct OwnPart {
    /// The blocks that it is; none if nothing in there is the shard's own.
    pub blocks: Vec<BlockMeta>,
    /// Is the mixed block marked? If that failed, the part is served all the same; the mark has to follow.
    pub mark: Result<(), BlockError>,
}

/// Writes the own part of the block in the directory `mixed`, publishes it and marks it as taken.
///
/// - `target`: where the shard's blocks are.
/// - `owns`: does the series with this routing hash belong to this shard?
///
/// # Errors
/// A block that cannot be read, a disk that cannot be written, or the wish to stop. What had been written is removed.
pub async fn repartition<D: Disk>(
    target: &mut Target<'_, D>,
    mixed: &str,
    own: Origin,
    owns: &dyn Fn(u64) -> bool,
    options: &MergeOptions<'_>,
    pace: &mut impl Pace,
) -> Result<OwnPart, CompactionError> {
    let block = open(target.disk, mixed, pace).await?;
    let series = own_series(&block, owns, &options.stop, pace).await?;
    let history = History::of_own_part(block.meta(), own);
    let sources = [Source { block: &block, series: Selection::Only(series) }];
    let blocks = merge(target, &sources, TimeRange::ALL, &history, options, pace).await?;
    Ok(OwnPart { blocks, mark: mark_taken(target.disk, mixed, own).await })
}

/// The series of a block that belong to a shard, ascending.
///
/// # Errors
/// A block that cannot be read, or the wish to stop.
pub async fn own_series<D: Disk>(
    block: &Block<D>,
    owns: &dyn Fn(u64) -> bool,
    stop: &Stop<'_>,
    pace: &mut impl Pace,
) -> Result<Vec<SeriesId>, CompactionError> {
    let mut own = Vec::new();
    for ids in block.select(&[], pace).await?.chunks(AT_ONCE) {
        stop.check()?;
        let series = block.series(ids, pace).await?;
        let is_own = |labels: &crate::model::Labels| owns(route_hash(labels.as_ref()));
        own.extend(series.iter().filter(|series| is_own(&series.labels)).map(|series| series.id));
        pace.breathe().await;
    }
    Ok(own)
}

/// Says, durably, that a shard does not need the block in the directory `mixed` any more.
///
/// # Errors
/// Those of the disk.
pub async fn mark_taken<D: Disk>(disk: &D, mixed: &str, own: Origin) -> Result<(), BlockError> {
    let path = format!("{mixed}/{}", mark(own));
    match disk.create(&path, 0).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made
            .map_err(BlockError::io(&path, "create"))?
            .sync()
            .await
            .map_err(BlockError::io(&path, "flush"))?,
    }
    disk.sync_dir(mixed).await.map_err(BlockError::io(mixed, "flush the directory"))
}

/// Which shards of how many do not need the block in the directory `mixed` any more.
///
/// # Errors
/// Those of the disk.
pub async fn taken<D: Disk>(disk: &D, mixed: &str) -> Result<BTreeSet<(u16, u16)>, BlockError> {
    let entries = disk.list(mixed).await.map_err(BlockError::io(mixed, "list"))?;
    Ok(entries
        .iter()
        .filter_map(|entry| marked(&entry.name))
        .map(|o| (o.shards, o.shard))
        .collect())
}

/// Have all of `shards` shards taken their parts? Then the block can be removed.
#[must_use]
pub fn is_done(taken: &BTreeSet<(u16, u16)>, shards: u16) -> bool {
    (0..shards).all(|shard| taken.contains(&(shards, shard)))
}

fn mark(Origin { shard, shards }: Origin) -> String {
    format!("taken-{shard:03}-of-{shards:03}")
}

fn marked(name: &str) -> Option<Origin> {
    let (shard, shards) = name.strip_prefix("taken-")?.split_once("-of-")?;
    let origin = Origin { shard: shard.parse().ok()?, shards: shards.parse().ok()? };
    (mark(origin) == name).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{SimDisk, run};

    const DIR: &str = "shard-000/01";

    #[test]
    fn a_block_is_done_with_when_all_shards_of_the_layout_have_marked_it() {
        run(async {
            let disk = SimDisk::new(1);
            disk.create_dir(DIR).await.unwrap();
            let mark = async |shard, shards| {
                mark_taken(&disk, DIR, Origin { shard, shards }).await.unwrap();
                let taken = taken(&disk, DIR).await.unwrap();
                [is_done(&taken, 2), is_done(&taken, 3)]
            };
            assert_eq!(mark(1, 2).await, [false, false]);
            assert_eq!(mark(1, 2).await, [false, false]);
            assert_eq!(mark(0, 3).await, [false, false]);
            assert_eq!(mark(0, 2).await, [true, false]);
        });
    }

    #[test]
    fn only_marks_are_marks() {
        assert_eq!(marked("taken-001-of-1000"), Some(Origin { shard: 1, shards: 1000 }));
        for other in ["taken-1-of-2", "taken-001", "index", "taken-001-of-002.tmp"] {
            assert_eq!(marked(other), None, "{other}");
        }
    }
}
