//! What a shard does for its blocks, one thing after the other: those past what is kept go, those that are due are merged,
//! and of those that may hold others' series the own part is taken.
//!
//! Decisions are `storage::compaction`'s, and so is the work, which is done on another thread. Here the result is served
//! and what it replaces removed, once no query reads it any more.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use ulid::Ulid;

use super::work::{Done, Job};
use super::{OpenedShard, Shard};
use crate::io::{Clock, Disk};
use crate::rt::clock::Stopwatch;
use crate::rt::pace::Slice;
use crate::rt::task;
use crate::rt::timer::{self, Interval};
use crate::storage::block;
use crate::storage::blocks::{BlockMeta, Listed};
use crate::storage::compaction::plan::{Candidate, Plan, PlanOptions, plan};
use crate::storage::compaction::repartition;
use crate::storage::compaction::retention::{Kept, Limits, expired};
use crate::storage::files::{dirs, shard_dir};

/// How often is asked whether anything is due.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How often is asked whether queries still read what is to be removed.
const READERS_LOOK_AGAIN: Duration = Duration::from_millis(20);
/// After work that failed nothing is tried for so long.
const PAUSE: Duration = Duration::from_secs(60);

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Keeps the number of blocks and what they take bounded.
    ///
    /// - `mixed`: blocks that may hold others' series, and where they lie.
    pub(super) fn start_tending_blocks(&self, mixed: Vec<Listed>) {
        let shard = self.clone();
        task::spawn("blocks", async move {
            let mut interval = Interval::new(LOOK_AGAIN);
            let mut mixed = mixed;
            // Blocks that could not be compacted in this run.
            let mut failed = BTreeSet::new();
            loop {
                interval.tick().await;
                let Ok(opened) = shard.opened() else { continue };
                if let Err(error) = shard.tend_blocks(&opened, &mut mixed, &mut failed).await {
                    shard.0.compactions.borrow_mut().failed += 1;
                    tracing::error!(shard = %shard.0.id, error, "work on blocks failed; what there was before is there still");
                    timer::sleep(PAUSE).await;
                }
            }
        });
    }

    /// Does what is due, until nothing is.
    async fn tend_blocks(
        &self,
        opened: &OpenedShard<D>,
        mixed: &mut Vec<Listed>,
        failed: &mut BTreeSet<Ulid>,
    ) -> Result<(), String> {
        let stopping = |_| "the shard stops".to_owned();
        let permit = self.blocks_permit().await.map_err(stopping)?;
        self.retire(opened).await?;
        drop(permit);
        loop {
            // Let go after each step: who deletes something waits for one of them at most.
            let _permit = self.blocks_permit().await.map_err(stopping)?;
            match self.plan(opened, failed) {
                Plan::Drop(ulids) => self.remove(opened, &ulids).await?,
                Plan::Merge(parents) => self.merge(opened, parents, failed).await?,
                Plan::Nothing => match mixed.pop() {
                    Some(block) => self.take_part(opened, &block).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn plan(&self, opened: &OpenedShard<D>, failed: &BTreeSet<Ulid>) -> Plan {
        let view = self.0.served.view();
        let metas: Vec<(BlockMeta, u64)> = view
            .blocks()
            .iter()
            .map(|served| {
                let mut meta = served.block.meta().clone();
                meta.compaction.failed |= failed.contains(&meta.ulid);
                (meta, served.block.tombstones().range_count())
            })
            .collect();
        let candidates: Vec<Candidate<'_>> =
            metas.iter().map(|(meta, count)| Candidate { meta, tombstone_count: *count }).collect();
        let longest = opened.options.max_block_ms;
        // A tenth of what is kept is how long a block may be.
        plan(&candidates, &PlanOptions::new(opened.own, longest.saturating_mul(10)))
    }

    /// Removes blocks that are past the time or the size that is kept.
    async fn retire(&self, opened: &OpenedShard<D>) -> Result<(), String> {
        let limits = Limits {
            time_ms: opened.options.retention_ms.unwrap_or(0),
            bytes: opened.options.retention_bytes.unwrap_or(0) / u64::from(opened.own.shards),
        };
        let kept: Vec<Kept> = self
            .own_blocks()
            .map(|(meta, bytes)| Kept { ulid: meta.ulid, max_time: meta.max_time, bytes })
            .collect();
        let other_bytes = if limits.bytes > 0 { self.head_bytes(opened).await? } else { 0 };
        let by_time = expired(&kept, None, 0, Limits { bytes: 0, ..limits });
        let ulids = expired(&kept, None, other_bytes, limits);
        if ulids.is_empty() {
            return Ok(());
        }
        self.remove(opened, &ulids).await?;
        let by_size = ulids.len().saturating_sub(by_time.len());
        let inner = &self.0;
        inner.retired_by_time.set(inner.retired_by_time.get() + by_time.len() as u64);
        inner.retired_by_size.set(inner.retired_by_size.get() + by_size as u64);
        let blocks: Vec<String> = ulids.iter().map(ToString::to_string).collect();
        tracing::info!(shard = %inner.id, ?blocks, by_size, "blocks past the retention are deleted");
        Ok(())
    }

    /// What the log and the Head take on disk, in bytes.
    async fn head_bytes(&self, opened: &OpenedShard<D>) -> Result<u64, String> {
        let entries = opened.disk.list(&dirs(opened.own.shard).head).await;
        let entries = entries.map_err(|error| error.to_string())?;
        let head: u64 = entries.iter().map(|entry| entry.len).sum();
        Ok(head + (self.0.wal_bytes.borrow())())
    }

    /// Metas and bytes of the shard's own blocks.
    fn own_blocks(&self) -> impl Iterator<Item = (BlockMeta, u64)> {
        let view = self.0.served.view();
        let own: Vec<_> = view
            .blocks()
            .iter()
            .filter(|served| !served.is_mixed)
            .map(|served| (served.block.meta().clone(), served.block.bytes()))
            .collect();
        own.into_iter()
    }

    /// Makes one block of several, or one anew without what is deleted of it.
    async fn merge(
        &self,
        opened: &OpenedShard<D>,
        parents: Vec<Ulid>,
        failed: &mut BTreeSet<Ulid>,
    ) -> Result<(), String> {
        let began = Stopwatch::start();
        let is_vertical = self.overlap(&parents);
        self.0.compactions.borrow_mut().triggered += 1;
        let dir = shard_dir(opened.own.shard);
        let made = match opened.work.run(Job::Compact { dir, parents: parents.clone() }).await {
            Ok(Done::Compacted(made)) => made,
            Ok(_) => return Err("a job gave what another one gives".to_owned()),
            Err(error) => {
                // Not again before a restart: the plan goes on without them.
                failed.extend(parents);
                return Err(error);
            }
        };
        let blocks: Vec<String> = made.blocks.iter().map(|meta| meta.ulid.to_string()).collect();
        self.serve(opened, &made.blocks, &made.replaced).await?;
        self.delete(opened, &made.replaced).await?;
        let took = began.elapsed();
        {
            let mut counts = self.0.compactions.borrow_mut();
            counts.done += 1;
            counts.vertical += u64::from(is_vertical);
            counts.seconds.observe(took.as_secs_f64());
        }
        let merged = parents.len();
        tracing::info!(shard = %self.0.id, merged, ?blocks, ?took, "blocks are compacted");
        Ok(())
    }

    /// Do any of these blocks share an instant?
    fn overlap(&self, ulids: &[Ulid]) -> bool {
        let mut times: Vec<(i64, i64)> = self
            .own_blocks()
            .filter(|(meta, _)| ulids.contains(&meta.ulid))
            .map(|(meta, _)| (meta.min_time, meta.max_time))
            .collect();
        times.sort_unstable();
        times.windows(2).any(|pair| matches!(pair, [a, b] if b.0 < a.1))
    }

    /// Takes the own part of a block that may hold others' series, and removes it when all shards have theirs.
    async fn take_part(&self, opened: &OpenedShard<D>, mixed: &Listed) -> Result<(), String> {
        let ulid = mixed.meta.ulid;
        let path = block::dir(&shard_dir(mixed.shard), ulid);
        let (dir, own) = (shard_dir(opened.own.shard), opened.own);
        let is_served =
            self.0.served.view().blocks().iter().any(|block| block.block.meta().ulid == ulid);
        if is_served {
            let job = Job::Repartition { dir, mixed: path.clone(), own };
            let Done::Partitioned(part) = opened.work.run(job).await? else {
                return Err("a job gave what another one gives".to_owned());
            };
            self.serve(opened, &part.blocks, &[ulid]).await?;
            // The part is served, marked or not; a start that finds it unmarked marks it.
            part.mark.map_err(|error| error.to_string())?;
            let parts = part.blocks.len();
            tracing::info!(shard = %self.0.id, block = %ulid, parts, "the own part of a block is taken");
        }
        let text = |error: block::BlockError| error.to_string();
        let taken = repartition::taken(&opened.disk, &path).await.map_err(text)?;
        if repartition::is_done(&taken, own.shards) {
            match block::delete(&opened.disk, &shard_dir(mixed.shard), ulid).await {
                Ok(()) => {}
                // Another shard was as far at the same moment.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Opens new blocks, and answers from now on from them instead of `replaced`.
    pub(super) async fn serve(
        &self,
        opened: &OpenedShard<D>,
        metas: &[BlockMeta],
        replaced: &[Ulid],
    ) -> Result<(), String> {
        let mut added = Vec::with_capacity(metas.len());
        let mut slice = Slice::start();
        for meta in metas {
            let block = opened.open_block(meta.ulid, &mut slice).await;
            added.push(block.map_err(|error| error.to_string())?);
        }
        self.0.served.change(added, replaced);
        Ok(())
    }

    /// Answers from these blocks no more, and removes them.
    async fn remove(&self, opened: &OpenedShard<D>, ulids: &[Ulid]) -> Result<(), String> {
        self.0.served.change(Vec::new(), ulids);
        self.delete(opened, ulids).await
    }

    /// Removes blocks from the disk that are not answered from any more.
    pub(super) async fn delete(
        &self,
        opened: &OpenedShard<D>,
        ulids: &[Ulid],
    ) -> Result<(), String> {
        while self.0.served.has_old_readers() {
            timer::sleep(READERS_LOOK_AGAIN).await;
        }
        let dir = shard_dir(opened.own.shard);
        for ulid in ulids {
            let deleted = block::delete(&opened.disk, &dir, *ulid).await;
            deleted.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// What is known of the blocks that are answered from.
    pub(super) fn block_metas(&self) -> Vec<BlockMeta> {
        let view: Rc<_> = self.0.served.view();
        view.blocks().iter().map(|served| served.block.meta().clone()).collect()
    }
}
