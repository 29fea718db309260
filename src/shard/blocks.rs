//! What a shard does for its blocks, one thing after the other: those past what is kept go, those that are due are merged,
//! and of those that may hold others' series the own part is taken.
//!
//! Decisions are `storage::compaction`'s, and so is the work, which is done on another thread. Here the result is served
//! and what it replaces removed, once no query reads it any more.
//!
//! If something fails halfway, so that it is not known which blocks there are on the disk, they are *in doubt*: a block that
//! nobody serves does not hear of deletions, and a start would find it. So before anybody gets hold of the blocks again, to
//! delete, merge or remove something, they are looked at and opened as at a start; while that fails nobody does.

use std::rc::Rc;
use std::time::Duration;

use ulid::Ulid;

use super::life::Life;
use super::work::{Done, Job};
use super::{NotDone, Shard};
use crate::io::{Clock, Disk};
use crate::model::TimestampMs;
use crate::rt::clock::Stopwatch;
use crate::rt::local::Permit;
use crate::rt::pace::Slice;
use crate::rt::task;
use crate::storage::block::{self, BlockError};
use crate::storage::blocks::{BlockMeta, Inventory, Listed, open as open_blocks};
use crate::storage::compaction::plan::{Candidate, Plan, PlanOptions, plan};
use crate::storage::compaction::repartition;
use crate::storage::compaction::retention::{Kept, Limits, expired};
use crate::storage::files::{dirs, shard_dir};

/// How often is asked whether anything is due.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// After work that failed nothing is tried for so long.
const PAUSE: Duration = Duration::from_secs(60);
/// Blocks that could not be merged are left out of plans for so long, so that others have their turn.
const MERGE_PAUSE: Duration = Duration::from_secs(600);

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Keeps the number of blocks and what they take bounded.
    pub(super) fn start_tending_blocks(&self, life: &Rc<Life<D>>) {
        let (shard, of) = (self.clone(), Rc::clone(life));
        life.add_task(task::spawn("blocks", async move {
            while of.rest(LOOK_AGAIN).await {
                let Err(error) = shard.tend_blocks(&of).await else { continue };
                if of.has_ended() {
                    return;
                }
                shard.0.compactions.borrow_mut().failed += 1;
                tracing::error!(shard = %shard.0.id, error, "work on blocks failed; what there was before is there still");
                of.rest(PAUSE).await;
            }
        }));
    }

    /// Keeps all others away from the blocks, and sees that it is known which there are.
    pub(super) async fn blocks_permit(&self, life: &Life<D>) -> Result<Permit, NotDone> {
        let permit = life.unchecked_blocks_permit().await?;
        if life.blocks_in_doubt.get() {
            // A cut must not be writing one meanwhile.
            let _head = life.head_permit().await?;
            self.look_again(life).await.map_err(|error| {
                NotDone::Failed(format!("it is not known which blocks there are: {error}"))
            })?;
            life.blocks_in_doubt.set(false);
        }
        Ok(permit)
    }

    /// Finds out which blocks there are, and answers from these.
    async fn look_again(&self, life: &Life<D>) -> Result<(), BlockError> {
        let (disk, pace) = (&life.disk, &mut Slice::start());
        let inventory = Inventory::take(disk, pace).await?;
        let opened = open_blocks(disk, life.own, &inventory, &life.cache, life.run, pace).await?;
        self.tell_unanswered(&opened.damage);
        let blocks = opened.blocks.len();
        life.served.replace(opened.blocks);
        life.mixed.replace(opened.mixed);
        life.replaced.replace(opened.replaced);
        life.left_out.replace(opened.left_out);
        tracing::warn!(shard = %self.0.id, blocks, "the blocks were looked at again after a failure");
        Ok(())
    }

    /// Does what is due, until nothing is.
    async fn tend_blocks(&self, life: &Life<D>) -> Result<(), String> {
        let permit = self.blocks_permit(life).await.map_err(text)?;
        let replaced = life.replaced.take();
        if !replaced.is_empty() {
            life.no_old_readers().await?;
            for Listed { shard, meta } in &replaced {
                life.delete_one(*shard, meta.ulid).await?;
            }
        }
        self.retire(life).await?;
        drop(permit);
        loop {
            // Let go after each step: who deletes something waits for one of them at most.
            let _permit = self.blocks_permit(life).await.map_err(text)?;
            match self.plan(life) {
                Plan::Drop(ulids) => life.remove(&ulids).await?,
                Plan::Merge(parents) => self.merge(life, parents).await?,
                Plan::Nothing => {
                    let mixed = life.mixed.borrow_mut().pop();
                    match mixed {
                        Some(block) => {
                            if let Err(error) = self.take_part(life, &block).await {
                                // Again later, and others before it.
                                life.mixed.borrow_mut().insert(0, block);
                                return Err(error);
                            }
                        }
                        None => return Ok(()),
                    }
                }
            }
        }
    }

    fn plan(&self, life: &Life<D>) -> Plan {
        let (view, failed) = (life.served.view(), self.0.not_compacted.borrow());
        let metas: Vec<(BlockMeta, u64)> = view
            .blocks()
            .iter()
            .map(|served| {
                let mut meta = served.block.meta().clone();
                let rests = |since: &Stopwatch| since.elapsed() < MERGE_PAUSE;
                meta.compaction.failed |= failed.get(&meta.ulid).is_some_and(rests);
                (meta, served.block.tombstones().range_count())
            })
            .collect();
        let candidates: Vec<Candidate<'_>> =
            metas.iter().map(|(meta, count)| Candidate { meta, tombstone_count: *count }).collect();
        let longest = self.storage().max_block_ms;
        // A tenth of what is kept is how long a block may be.
        plan(&candidates, &PlanOptions::new(life.own, longest.saturating_mul(10)))
    }

    /// Removes blocks that are past the time or the size that is kept.
    async fn retire(&self, life: &Life<D>) -> Result<(), String> {
        let options = self.storage();
        let limits = Limits {
            time_ms: options.retention_ms.unwrap_or(0),
            bytes: options.retention_bytes.unwrap_or(0) / u64::from(life.own.shards),
        };
        let kept: Vec<Kept> = life
            .own_blocks()
            .map(|(meta, bytes)| Kept { ulid: meta.ulid, max_time: meta.max_time, bytes })
            .collect();
        let other_bytes = if limits.bytes > 0 { head_bytes(life).await? } else { 0 };
        let by_time = expired(&kept, None, 0, Limits { bytes: 0, ..limits });
        let ulids = expired(&kept, None, other_bytes, limits);
        if ulids.is_empty() {
            return Ok(());
        }
        let oldest =
            life.own_blocks().map(|(meta, _)| meta).filter(|meta| ulids.contains(&meta.ulid));
        let oldest = oldest.map(|meta| TimestampMs(meta.min_time)).min();
        life.remove(&ulids).await?;
        self.note_change(oldest.unwrap_or(TimestampMs::MIN));
        let by_size = ulids.len().saturating_sub(by_time.len());
        let inner = &self.0;
        inner.retired_by_time.set(inner.retired_by_time.get() + by_time.len() as u64);
        inner.retired_by_size.set(inner.retired_by_size.get() + by_size as u64);
        let blocks: Vec<String> = ulids.iter().map(ToString::to_string).collect();
        tracing::info!(shard = %inner.id, ?blocks, by_size, "blocks past the retention are deleted");
        Ok(())
    }

    /// Makes one block of several, or one anew without what is deleted of it.
    async fn merge(&self, life: &Life<D>, parents: Vec<Ulid>) -> Result<(), String> {
        let began = Stopwatch::start();
        let is_vertical = life.overlap(&parents);
        self.0.compactions.borrow_mut().triggered += 1;
        let dir = shard_dir(life.own.shard);
        let made = match life.work(Job::Compact { dir, parents: parents.clone() }).await {
            Ok(Done::Compacted(made)) => made,
            Ok(_) => return Err("a job gave what another one gives".to_owned()),
            Err(error) => {
                // The disk may be full, and have room again later. What is wrong with a block itself is marked there.
                if !life.has_ended() {
                    let failed = parents.into_iter().map(|parent| (parent, Stopwatch::start()));
                    self.0.not_compacted.borrow_mut().extend(failed);
                }
                return Err(error);
            }
        };
        let blocks: Vec<String> = made.blocks.iter().map(|meta| meta.ulid.to_string()).collect();
        life.serve(&made.blocks, &made.replaced).await?;
        life.delete(&made.replaced).await?;
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

    /// Takes the own part of a block that may hold others' series, and removes it when all shards have theirs.
    async fn take_part(&self, life: &Life<D>, mixed: &Listed) -> Result<(), String> {
        let ulid = mixed.meta.ulid;
        let path = block::dir(&shard_dir(mixed.shard), ulid);
        let (dir, own) = (shard_dir(life.own.shard), life.own);
        let is_served =
            life.served.view().blocks().iter().any(|block| block.block.meta().ulid == ulid);
        if is_served {
            let job = Job::Repartition { dir, mixed: path.clone(), own };
            let Done::Partitioned(part) = life.work(job).await? else {
                return Err("a job gave what another one gives".to_owned());
            };
            life.serve(&part.blocks, &[ulid]).await?;
            // The part is served, marked or not; a start that finds it unmarked marks it.
            part.mark.map_err(|error| error.to_string())?;
            let parts = part.blocks.len();
            tracing::info!(shard = %self.0.id, block = %ulid, parts, "the own part of a block is taken");
        }
        let taken = repartition::taken(&life.disk, &path).await;
        let taken = taken.map_err(|error| error.to_string())?;
        if repartition::is_done(&taken, own.shards) {
            match block::delete(&life.disk, &shard_dir(mixed.shard), ulid).await {
                Ok(()) => {}
                // Another shard was as far at the same moment.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

/// What the log and the Head take on disk, in bytes.
async fn head_bytes<D: Disk>(life: &Life<D>) -> Result<u64, String> {
    let entries = life.disk.list(&dirs(life.own.shard).head).await;
    let entries = entries.map_err(|error| error.to_string())?;
    let head: u64 = entries.iter().map(|entry| entry.len).sum();
    Ok(head + life.spares.segment_bytes_in_use())
}

fn text(not_done: NotDone) -> String {
    match not_done {
        NotDone::Busy(why) => why.to_owned(),
        NotDone::Failed(why) => why,
    }
}

impl<D: Disk> Life<D> {
    /// Metas and bytes of the shard's own blocks.
    fn own_blocks(&self) -> impl Iterator<Item = (BlockMeta, u64)> {
        let view = self.served.view();
        let own: Vec<_> = view
            .blocks()
            .iter()
            .filter(|served| !served.is_mixed)
            .map(|served| (served.block.meta().clone(), served.block.bytes()))
            .collect();
        own.into_iter()
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

    /// Opens new blocks, and answers from now on from them instead of `replaced`. If one cannot be opened, these are
    /// answered from as before, and none of them is to be deleted.
    pub(super) async fn serve(&self, metas: &[BlockMeta], replaced: &[Ulid]) -> Result<(), String> {
        let mut added = Vec::with_capacity(metas.len());
        let mut slice = Slice::start();
        for meta in metas {
            let block = self.open_block(meta.ulid, &mut slice).await;
            added.push(block.map_err(|error| {
                self.blocks_in_doubt.set(true);
                error.to_string()
            })?);
        }
        self.served.change(added, replaced);
        Ok(())
    }

    /// Answers from these blocks no more, and removes them.
    async fn remove(&self, ulids: &[Ulid]) -> Result<(), String> {
        self.served.change(Vec::new(), ulids);
        self.delete(ulids).await
    }

    /// Removes blocks from the disk that are not answered from any more.
    pub(super) async fn delete(&self, ulids: &[Ulid]) -> Result<(), String> {
        self.no_old_readers().await?;
        for ulid in ulids {
            self.delete_one(self.own.shard, *ulid).await?;
        }
        Ok(())
    }

    /// Removes a block of the directory of `shard`.
    async fn delete_one(&self, shard: u16, ulid: Ulid) -> Result<(), String> {
        let deleted = block::delete(&self.disk, &shard_dir(shard), ulid).await;
        deleted.map_err(|error| {
            self.blocks_in_doubt.set(true);
            error.to_string()
        })
    }

    /// What is known of the blocks that are answered from.
    pub(super) fn block_metas(&self) -> Vec<BlockMeta> {
        let view: Rc<_> = self.served.view();
        view.blocks().iter().map(|served| served.block.meta().clone()).collect()
    }
}
