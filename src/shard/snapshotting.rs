//! What a shard does for a snapshot: gives what it has at one moment, and, one shard for all, makes the snapshot of it.
//!
//! Giving keeps everybody else away from the blocks and from the chunks of the Head for as long as it takes to give them
//! further names and to note what is in memory: a sample is in a block then or in the Head, and what is deleted is in
//! neither. Writing is done on another thread, when all of that goes on again. Writes and queries never wait.

use super::life::Life;
use super::work::{Done, Job};
use super::{NotDone, Shard};
use crate::io::{Clock, Disk};
use crate::rt::clock::Stopwatch;
use crate::rt::pace::Slice;
use crate::storage::head::cut_plan::{CutPlan, Extraction};
pub use crate::storage::snapshot::Share;
use crate::storage::snapshot::{self, hold, hold_spill_files};

/// Series that are noted without a pause: some 100 us.
const SERIES_AT_ONCE: usize = 256;

/// What a shard is to do for the snapshot of this name.
pub enum SnapshotStep {
    /// Give what it has.
    Give {
        /// The name.
        name: String,
        /// Leave out what is in no block yet.
        skip_head: bool,
    },
    /// Make the snapshot of what all shards have given.
    Assemble {
        /// The name.
        name: String,
        /// What they have given.
        shares: Vec<Share>,
    },
    /// Remove what there is of one that is not to be.
    Discard {
        /// The name.
        name: String,
    },
}

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Gives what is there of blocks, and of the Head unless `skip_head`; nobody writes it or removes it any more.
    pub(super) async fn give_share(
        &self,
        life: &Life<D>,
        name: String,
        skip_head: bool,
    ) -> Result<Share, NotDone> {
        let inner = &self.0;
        let failed = |error: crate::storage::block::BlockError| {
            NotDone::Failed(snapshot::explain(&name, &error.into()))
        };
        let (mut share, plan) = {
            // Always in this order: whoever has the Head waits for no block.
            let _blocks = self.blocks_permit(life).await?;
            let _head = life.head_permit().await?;
            let view = life.served.view();
            let blocks = view.blocks().iter().map(|served| (&served.block, served.is_mixed));
            let share = hold(&life.disk, &name, life.own, blocks).await.map_err(failed)?;
            let plan = if skip_head { None } else { Some(all_of_head(life).await) };
            if let Some(plan) = &plan {
                let files = plan.spill_files();
                let held = hold_spill_files(&life.disk, &name, life.own, &files).await;
                held.map_err(failed)?;
            }
            (share, plan)
        };
        let Some(plan) = plan else { return Ok(share) };
        let job = Job::CopyHead { name, own: life.own, plan };
        let Done::Copied(blocks, lost) = life.work(job).await.map_err(NotDone::Failed)? else {
            return Err(NotDone::Failed("a job gave what another one gives".to_owned()));
        };
        for damage in lost {
            inner.damaged_reads.set(inner.damaged_reads.get() + 1);
            tracing::error!(shard = %inner.id, damage, "a chunk cannot be read, and is missing in the snapshot");
        }
        share.blocks.extend(blocks);
        Ok(share)
    }

    /// Makes the snapshot of what all shards have given; when it returns the snapshot is durable.
    pub(super) async fn assemble_snapshot(
        &self,
        life: &Life<D>,
        name: String,
        shares: Vec<Share>,
    ) -> Result<(), NotDone> {
        let began = Stopwatch::start();
        let given: usize = shares.iter().map(|share| share.blocks.len()).sum();
        let job = Job::Assemble { name: name.clone(), shares, shards: life.own.shards };
        let Done::Assembled(blocks) = life.work(job).await.map_err(NotDone::Failed)? else {
            return Err(NotDone::Failed("a job gave what another one gives".to_owned()));
        };
        let samples: u64 = blocks.iter().map(|meta| meta.stats.num_samples).sum();
        let (blocks, took) = (blocks.len(), began.elapsed());
        tracing::info!(shard = %self.0.id, name, given, blocks, samples, ?took, "a snapshot is put together");
        Ok(())
    }

    /// Removes what a process that ended left of snapshots that it was making. To be done once in the life of a process,
    /// by one shard, before anybody can ask for another one.
    pub async fn tidy_snapshots(&self, disk: &D) {
        match snapshot::tidy(disk).await {
            Ok(left) if left.is_empty() => {}
            Ok(left) => tracing::info!(?left, "what was left of unfinished snapshots is removed"),
            // It costs room and nothing else; the next start tries again.
            Err(error) => {
                tracing::warn!(%error, "cannot remove what is left of unfinished snapshots")
            }
        }
    }
}

/// All that the Head has, whose chunks nobody else moves meanwhile.
async fn all_of_head<D: Disk>(life: &Life<D>) -> CutPlan {
    let (head, mut slice) = (&life.head, Slice::start());
    let mut extraction = Extraction::of_all(&head.borrow());
    while !head.borrow_mut().extract_some(&mut extraction, SERIES_AT_ONCE) {
        slice.breathe().await;
    }
    extraction.into_plan()
}

/// Removes what there is of a snapshot that is not to be.
pub(super) async fn discard_snapshot<D: Disk>(life: &Life<D>, name: String) -> Result<(), NotDone> {
    life.work(Job::Discard { name }).await.map(drop).map_err(NotDone::Failed)
}
