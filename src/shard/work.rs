//! Long work that leaves the shard's executor: plain data goes to another thread, plain data comes back.
//!
//! The thread has a disk handle of its own, and nothing else of the shard: its inputs are files that do not change, its
//! outputs files with names of their own.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ulid::Ulid;

use crate::io::Disk;
use crate::model::ShardId;
use crate::rt::background::Background;
use crate::rt::disk::RealDisk;
use crate::rt::pace::Slice;
use crate::rt::preflight::DataPlace;
use crate::storage::blocks::{BlockMeta, Origin};
use crate::storage::compaction::Stop;
use crate::storage::compaction::merge::{MergeOptions, Target};
use crate::storage::compaction::repartition::{OwnPart, repartition};
use crate::storage::compaction::run::{self, Made};
use crate::storage::cutting::{self, CutBlock};
use crate::storage::head::cut_plan::CutPlan;
use crate::storage::snapshot::{self, Held, Share};

/// How long a job holds its thread before another one gets it: nobody else waits there.
const SLICE: Duration = Duration::from_millis(5);

/// Something to be done.
pub enum Job {
    /// The block of a cut is to be written.
    Cut(Origin, CutPlan),
    /// One block is to be made of these, in the shard's directory.
    Compact {
        /// The directory.
        dir: String,
        /// The blocks.
        parents: Vec<Ulid>,
    },
    /// A block is to be written anew without what is deleted of it, in the shard's directory.
    Clean {
        /// The directory.
        dir: String,
        /// The block.
        ulid: Ulid,
    },
    /// The own part of a block is to be taken that may hold others' series.
    Repartition {
        /// The shard's directory.
        dir: String,
        /// That of the block.
        mixed: String,
        /// Whose part.
        own: Origin,
    },
    /// What was in the shard's Head is to be written for a snapshot.
    CopyHead {
        /// The snapshot's name.
        name: String,
        /// Whose Head.
        own: Origin,
        /// What was in it.
        plan: CutPlan,
    },
    /// A snapshot is to be made of what all shards have given.
    Assemble {
        /// Its name.
        name: String,
        /// What they have given.
        shares: Vec<Share>,
        /// How many shards there are.
        shards: u16,
    },
    /// What there is of a snapshot is to be removed.
    Discard {
        /// Its name.
        name: String,
    },
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// Of [`Job::Cut`].
    Cut(CutBlock),
    /// Of [`Job::Compact`] and [`Job::Clean`].
    Compacted(Made),
    /// Of [`Job::Repartition`].
    Partitioned(OwnPart),
    /// Of [`Job::CopyHead`]: the blocks, and what is missing in them.
    Copied(Vec<Held>, Vec<String>),
    /// Of [`Job::Assemble`].
    Assembled(Vec<BlockMeta>),
    /// Of [`Job::Discard`].
    Discarded,
}

/// Which shard, of so many, owns the series with a routing hash.
pub type Route = fn(u64, u16) -> ShardId;

/// Where jobs are done. Clones are the same place.
#[derive(Clone)]
pub struct Workbench(Rc<dyn Fn(Job) -> Working>);

type Working = Pin<Box<dyn Future<Output = Result<Done, String>>>>;

impl Workbench {
    /// A shard's background thread, for the data directory at `place`.
    ///
    /// - `stop`: set when what is not done yet is not to be done any more.
    #[must_use]
    pub fn on(
        background: Background,
        place: DataPlace,
        route: Route,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self(Rc::new(move |job| {
            let (background, place) = (background.clone(), place.clone());
            let stop = Arc::clone(&stop);
            Box::pin(async move {
                let working = background.run(move || async move {
                    let disk = RealDisk::mount(&place).await.map_err(|error| error.to_string())?;
                    perform(&disk, job, route, &stop).await
                });
                working.await.map_err(|error| error.to_string())?
            })
        }))
    }

    /// Has a job done.
    ///
    /// # Errors
    /// It could not be done: why. What there was before is there still.
    pub async fn run(&self, job: Job) -> Result<Done, String> {
        (self.0)(job).await
    }
}

async fn perform<D: Disk>(
    disk: &D,
    job: Job,
    route: Route,
    stop: &AtomicBool,
) -> Result<Done, String> {
    let mut pace = Slice::of(SLICE);
    let is_wanted = || stop.load(Ordering::Relaxed);
    let options = MergeOptions { stop: Stop::when(&is_wanted), ..MergeOptions::default() };
    let mut name = Ulid::generate;
    match job {
        Job::Cut(own, plan) => {
            let written = cutting::write_block(disk, own, plan, &mut pace).await;
            written.map(Done::Cut).map_err(|error| error.to_string())
        }
        Job::Compact { dir, parents } => {
            let mut target = Target { disk, dir: &dir, name: &mut name };
            let made = run::compact(&mut target, &parents, &options, &mut pace).await;
            made.map(Done::Compacted).map_err(|error| error.to_string())
        }
        Job::Clean { dir, ulid } => {
            let mut target = Target { disk, dir: &dir, name: &mut name };
            let made = run::clean(&mut target, ulid, &options, &mut pace).await;
            made.map(Done::Compacted).map_err(|error| error.to_string())
        }
        Job::Repartition { dir, mixed, own } => {
            let mut target = Target { disk, dir: &dir, name: &mut name };
            let owns = |hash| route(hash, own.shards) == own.shard_id();
            let parts = repartition(&mut target, &mixed, own, &owns, &options, &mut pace).await;
            parts.map(Done::Partitioned).map_err(|error| error.to_string())
        }
        Job::CopyHead { name: snapshot, own, plan } => {
            let copied =
                snapshot::copy_head(disk, &snapshot, own, plan, &mut name, &mut pace).await;
            let copied = copied.map(|(blocks, lost)| Done::Copied(blocks, lost));
            copied.map_err(|error| snapshot::explain(&snapshot, &error.into()))
        }
        Job::Assemble { name: snapshot, shares, shards } => {
            let owner = |hash| route(hash, shards).0;
            let (name, pace) = (&mut name, &mut pace);
            let made =
                snapshot::assemble(disk, &snapshot, &shares, &owner, name, &options, pace).await;
            made.map(Done::Assembled).map_err(|error| snapshot::explain(&snapshot, &error))
        }
        Job::Discard { name } => {
            let discarded = snapshot::discard(disk, &name).await;
            discarded.map(|()| Done::Discarded).map_err(|error| error.to_string())
        }
    }
}
