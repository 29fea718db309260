//! What an operator has deleted: samples of some series in the Head and in blocks, and the rewriting of blocks without them.
//!
//! Deleting waits until nothing else works on the Head's chunks or on the blocks, and keeps that away until it is done and
//! durable: a spill, a checkpoint, a cut or a merge would put what is being deleted somewhere else meanwhile. Writes and
//! queries go on.

use ulid::Ulid;

use super::life::Life;
use super::work::{Done, Job};
use super::{Selection, Shard};
use crate::io::{Clock, Disk};
use crate::rt::clock::Stopwatch;
use crate::rt::pace::Slice;
use crate::storage::compaction::delete as of_block;
use crate::storage::files::shard_dir;
use crate::storage::head::delete as of_head;

/// With more than this in memory, full chunks leave it again, in bytes.
const CHUNK_BYTES_MAX: u64 = 64 << 20;

/// Why something that an operator asked for is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDone {
    /// Not now: why.
    Busy(&'static str),
    /// The disk failed or is full, or something is damaged.
    Failed(String),
}

const REPARTITIONING: &str = "blocks are being re-partitioned, try again in a minute";

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Deletes the samples that the selection finds; when it returns this is durable.
    pub(super) async fn delete_series(
        &self,
        life: &Life<D>,
        selection: &Selection,
    ) -> Result<(), NotDone> {
        // Always in this order: whoever has the Head waits for no block.
        let _blocks = self.blocks_permit(life).await?;
        let _head = life.head_permit().await?;
        let view = life.served.view();
        // Another shard may read and rewrite them at the same time.
        if view.blocks().iter().any(|served| served.is_mixed) {
            return Err(NotDone::Busy(REPARTITIONING));
        }
        if let Some(ulid) = life.left_out.borrow().first() {
            let why = format!("the disk does not read block {ulid}: start the server again first");
            return Err(NotDone::Failed(why));
        }
        let mut slice = Slice::start();
        life.commits.admit().await.map_err(|why| NotDone::Failed(why.to_string()))?;
        for matchers in selection.any_of() {
            self.delete_in_head(life, matchers, selection, &mut slice).await?;
            for served in view.overlapping(selection.range) {
                let (disk, range) = (&life.disk, selection.range);
                let deleted = of_block::delete(disk, &served.block, matchers, range, &mut slice);
                deleted.await.map_err(|error| NotDone::Failed(error.to_string()))?;
            }
        }
        life.commits.durable().await.map_err(|why| NotDone::Failed(why.to_string()))
    }

    async fn delete_in_head(
        &self,
        life: &Life<D>,
        matchers: &[crate::model::Matcher],
        selection: &Selection,
        slice: &mut Slice,
    ) -> Result<(), NotDone> {
        let inner = &self.0;
        let (log, spill) = (life.commits.log(), &life.spill);
        let deleted = of_head::delete(&life.head, log, spill, matchers, selection.range, slice);
        let (series, lost) = deleted.await.map_err(|error| NotDone::Failed(error.to_string()))?;
        for damage in lost {
            inner.damaged_reads.set(inner.damaged_reads.get() + 1);
            tracing::error!(shard = %inner.id, %damage, "a chunk cannot be read; it is deleted as a whole");
        }
        tracing::debug!(shard = %inner.id, series, "samples of the Head are deleted");
        if let Err(error) = spill.spill(&life.head, CHUNK_BYTES_MAX, slice).await {
            tracing::error!(shard = %inner.id, %error, "full chunks cannot leave memory");
        }
        Ok(())
    }

    /// Rewrites every block of which something is deleted, without that.
    pub(super) async fn clean_tombstones(&self, life: &Life<D>) -> Result<(), NotDone> {
        let _blocks = self.blocks_permit(life).await?;
        let view = life.served.view();
        let has_tombstones = view.blocks().iter().filter(|s| !s.block.tombstones().is_empty());
        if has_tombstones.clone().any(|served| served.is_mixed) {
            return Err(NotDone::Busy(REPARTITIONING));
        }
        let ulids: Vec<Ulid> = has_tombstones.map(|served| served.block.meta().ulid).collect();
        drop(view);
        for ulid in ulids {
            self.clean(life, ulid).await.map_err(NotDone::Failed)?;
        }
        Ok(())
    }

    async fn clean(&self, life: &Life<D>, ulid: Ulid) -> Result<(), String> {
        let inner = &self.0;
        let began = Stopwatch::start();
        let dir = shard_dir(life.own.shard);
        let Done::Compacted(made) = life.work(Job::Clean { dir, ulid }).await? else {
            return Err("a job gave what another one gives".to_owned());
        };
        life.serve(&made.blocks, &made.replaced).await?;
        life.delete(&made.replaced).await?;
        let took = began.elapsed();
        inner.cleanups.borrow_mut().observe(took.as_secs_f64());
        tracing::info!(shard = %inner.id, block = %ulid, ?took, "a block is rewritten without what is deleted of it");
        Ok(())
    }
}
