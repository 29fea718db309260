//! Makes a snapshot of what all shards have given to it.
//!
//! Long work, for a thread of its own. Blocks that are to become one are merged as in compaction, so that memory does not
//! grow with the samples; what is deleted of them stays behind.

use super::plan::{Step, Wanted, plan};
use super::share::{Held, Share};
use super::{creation_dir, publish, shares_dir};
use crate::encoding::block::meta::{BlockMeta, Ulid};
use crate::io::{Disk, Pace};
use crate::model::TimeRange;
use crate::storage::block::directory::sync_dir;
use crate::storage::block::{self, BlockError, CHUNKS};
use crate::storage::compaction::CompactionError;
use crate::storage::compaction::history::History;
use crate::storage::compaction::merge::{MergeOptions, Target, merge};
use crate::storage::compaction::repartition::own_series;
use crate::storage::compaction::run::open;
use crate::storage::compaction::series::{Selection, Source};

/// Makes and publishes the snapshot `name`; its blocks, oldest first.
///
/// - `shares`: of all shards.
/// - `owner`: the shard to which the series with this routing hash belongs.
/// - `ulid`: names a new block.
///
/// # Errors
/// A block that cannot be read, a disk that cannot be written, or the wish to stop. Then there is no snapshot, and what there
/// is of it is to be [discarded](super::discard).
pub async fn assemble<D: Disk>(
    disk: &D,
    name: &str,
    shares: &[Share],
    owner: &dyn Fn(u64) -> u16,
    ulid: &mut dyn FnMut() -> Ulid,
    options: &MergeOptions<'_>,
    pace: &mut impl Pace,
) -> Result<Vec<BlockMeta>, CompactionError> {
    let (root, from) = (creation_dir(name), shares_dir(name));
    disk.create_dir(&root).await.map_err(BlockError::io(&root, "create"))?;
    let mut assembling = Assembling { disk, from: &from, root: &root, owner, ulid, options };
    let mut blocks = Vec::new();
    for step in plan(shares) {
        options.stop.check()?;
        match step {
            Step::Keep(held) => {
                assembling.keep(&held).await?;
                blocks.push(held.meta);
            }
            Step::Merge { min_time, max_time, sources } => {
                let history = History::of_copy(min_time, max_time);
                blocks.extend(assembling.merge(&sources, &history, pace).await?);
            }
        }
        pace.breathe().await;
    }
    for share in disk.list(&from).await.map_err(BlockError::io(&from, "list"))? {
        // A block that stays must have left it for good: else a crash could put it back there.
        sync_dir(disk, &format!("{from}/{}", share.name)).await?;
    }
    block::remove_tree(disk, &from).await?;
    sync_dir(disk, &root).await?;
    publish(disk, name).await?;
    Ok(blocks)
}

struct Assembling<'a, D> {
    disk: &'a D,
    /// The directory of the shares.
    from: &'a str,
    /// That of the snapshot.
    root: &'a str,
    owner: &'a dyn Fn(u64) -> u16,
    ulid: &'a mut dyn FnMut() -> Ulid,
    options: &'a MergeOptions<'a>,
}

impl<D: Disk> Assembling<'_, D> {
    /// The block becomes one of the snapshot's, durably but for its name.
    async fn keep(&self, held: &Held) -> Result<(), BlockError> {
        let (from, to) = (self.place(held), block::dir(self.root, held.meta.ulid));
        for dir in [&format!("{from}/{CHUNKS}"), &from] {
            sync_dir(self.disk, dir).await?;
        }
        self.disk.rename_dir(&from, &to).await.map_err(BlockError::io(&to, "give a block its name"))
    }

    fn place(&self, held: &Held) -> String {
        format!("{}/{}", self.from, held.dir)
    }

    async fn merge(
        &mut self,
        wanted: &[Wanted],
        history: &History,
        pace: &mut impl Pace,
    ) -> Result<Vec<BlockMeta>, CompactionError> {
        let mut blocks = Vec::with_capacity(wanted.len());
        for Wanted { held, only } in wanted {
            let block = open(self.disk, &self.place(held), pace).await?;
            let series = match only {
                None => Selection::All,
                Some(shards) => {
                    let owns = |hash: u64| shards.contains(&(self.owner)(hash));
                    let own = own_series(&block, &owns, &self.options.stop, pace).await?;
                    Selection::Only(own)
                }
            };
            blocks.push((block, series));
        }
        let sources: Vec<Source<'_, D>> =
            blocks.iter().map(|(block, s)| Source { block, series: s.clone() }).collect();
        let mut target = Target { disk: self.disk, dir: self.root, name: &mut *self.ulid };
        merge(&mut target, &sources, TimeRange::ALL, history, self.options, pace).await
    }
}
