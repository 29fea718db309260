//! Long work that leaves the shard's executor: plain data goes to another thread, plain data comes back.
//!
//! The thread has a disk handle of its own, and nothing else of the shard: its inputs are files that do not change, its
//! outputs files with names of their own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ulid::Ulid;

use super::backlog::JobKind;
use crate::io::Disk;
use crate::model::ShardId;
use crate::rt::background::{Background, Urgency};
use crate::rt::clock::Stopwatch;
use crate::rt::disk::RealDisk;
use crate::rt::pace::Slice;
use crate::rt::preflight::DataPlace;
use crate::storage::block;
use crate::storage::blocks::{BlockMeta, Origin};
use crate::storage::compaction::Stop;
use crate::storage::compaction::error::CompactionError;
use crate::storage::compaction::merge::{MergeOptions, Target};
use crate::storage::compaction::repartition::{OwnPart, repartition};
use crate::storage::compaction::run::{self, Made};
use crate::storage::cutting::{self, CutBlock};
use crate::storage::files::shard_dir;
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

impl Job {
    fn kind(&self) -> JobKind {
        match self {
            Self::Cut(..) => JobKind::Cut,
            Self::Compact { .. }
            | Self::Clean { .. }
            | Self::Repartition { .. }
            | Self::CopyHead { .. }
            | Self::Assemble { .. }
            | Self::Discard { .. } => JobKind::Other,
        }
    }
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

/// Why a job is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// What there was before is there still, and nothing else.
    #[error("{0}")]
    Failed(String),
    /// A block may have come into being all the same. A start would find it, and take it for the truth: before that is
    /// looked at, nothing is to be deleted from the shard's blocks, and none of them to be merged.
    #[error("{0}; there may be a block of it all the same")]
    InDoubt(String),
}

impl From<CompactionError> for JobError {
    fn from(error: CompactionError) -> Self {
        match error {
            CompactionError::Unsettled { .. } => Self::InDoubt(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Which shard, of so many, owns the series with a routing hash.
pub type Route = fn(u64, u16) -> ShardId;

/// Where jobs are done. Clones are the same place.
#[derive(Clone)]
pub struct Workbench {
    run: Rc<dyn Fn(Job, Unwanted) -> Working>,
    unwanted: Unwanted,
    urge: Rc<dyn Fn(Urgency) -> i32>,
    under_way: Rc<UnderWay>,
}

/// Set when what is not done yet is not to be done any more.
type Unwanted = Arc<AtomicBool>;
type Working = Pin<Box<dyn Future<Output = Result<Done, JobError>>>>;

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
        let urged = background.clone();
        let run = move |job, unwanted: Unwanted| -> Working {
            let (background, place) = (background.clone(), place.clone());
            let stop = Arc::clone(&stop);
            Box::pin(async move {
                let working = background.run(move || async move {
                    let mounted = RealDisk::mount(&place).await;
                    let disk = mounted.map_err(|error| JobError::Failed(error.to_string()))?;
                    perform(&disk, job, route, &[stop, unwanted]).await
                });
                // It has panicked, nobody knows where.
                working.await.map_err(|error| JobError::InDoubt(error.to_string()))?
            })
        };
        Self::new(run, move |urgency| urged.urge(urgency))
    }

    fn new(
        run: impl Fn(Job, Unwanted) -> Working + 'static,
        urge: impl Fn(Urgency) -> i32 + 'static,
    ) -> Self {
        let (unwanted, under_way) = (Unwanted::default(), Rc::default());
        Self { run: Rc::new(run), unwanted, urge: Rc::new(urge), under_way }
    }

    /// The same place, for jobs that [`give_up`](Self::give_up) ends.
    #[must_use]
    pub fn of_its_own(&self) -> Self {
        Self { unwanted: Unwanted::default(), ..self.clone() }
    }

    /// Jobs that can stop halfway do, and none is begun any more that can.
    pub fn give_up(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }

    /// Has a job done.
    ///
    /// # Errors
    /// It could not be done: why, and what may have come of it.
    pub async fn run(&self, job: Job) -> Result<Done, JobError> {
        let _begun = self.under_way.begin(job.kind());
        (self.run)(job, Arc::clone(&self.unwanted)).await
    }

    /// How many jobs are under way.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.under_way.begun.borrow().len() as u64
    }

    /// The kind of the job that is under way for longest, and since when.
    #[must_use]
    pub fn oldest(&self) -> Option<(JobKind, Duration)> {
        let begun = self.under_way.begun.borrow();
        begun.values().next().map(|(kind, since)| (*kind, since.elapsed()))
    }

    /// Says how urgent the jobs are from now on; gives the nice level of the thread that does them.
    pub fn urge(&self, urgency: Urgency) -> i32 {
        (self.urge)(urgency)
    }
}

/// The jobs that have begun and not ended, in the order in which they began.
#[derive(Default)]
struct UnderWay {
    begun: RefCell<BTreeMap<u64, (JobKind, Stopwatch)>>,
    next: Cell<u64>,
}

/// A job is under way for as long as this lives.
struct Begun {
    of: Rc<UnderWay>,
    number: u64,
}

impl UnderWay {
    fn begin(self: &Rc<Self>, kind: JobKind) -> Begun {
        let number = self.next.replace(self.next.get() + 1);
        self.begun.borrow_mut().insert(number, (kind, Stopwatch::start()));
        Begun { of: Rc::clone(self), number }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.of.begun.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
impl Workbench {
    /// The shard's own thread, for tests on a disk in memory.
    ///
    /// - `begin`: awaited before each job.
    pub fn here<D: Disk, F: Future<Output = ()> + 'static>(
        disk: D,
        route: Route,
        begin: impl Fn() -> F + Clone + 'static,
    ) -> Self {
        let run = move |job, unwanted| -> Working {
            let (disk, begin) = (disk.clone(), begin.clone());
            Box::pin(async move {
                begin().await;
                perform(&disk, job, route, &[unwanted]).await
            })
        };
        Self::new(run, |_| 0)
    }
}

async fn perform<D: Disk>(
    disk: &D,
    job: Job,
    route: Route,
    stops: &[Unwanted],
) -> Result<Done, JobError> {
    let mut pace = Slice::of(SLICE);
    let is_unwanted = || stops.iter().any(|stop| stop.load(Ordering::Relaxed));
    let options = MergeOptions { stop: Stop::when(&is_unwanted), ..MergeOptions::default() };
    let mut name = Ulid::generate;
    match job {
        Job::Cut(own, plan) => {
            let ulid = plan.cut().ulid;
            let written = cutting::write_block(disk, own, plan, &mut pace).await;
            match written {
                Ok(written) => Ok(Done::Cut(written)),
                // It may have been published and not be durable.
                Err(error) => match block::list(disk, &shard_dir(own.shard)).await {
                    Ok(blocks) if !blocks.contains(&ulid) => {
                        Err(JobError::Failed(error.to_string()))
                    }
                    _ => Err(JobError::InDoubt(error.to_string())),
                },
            }
        }
        Job::Compact { dir, parents } => {
            let mut target = Target { disk, dir: &dir, name: &mut name };
            let made = run::compact(&mut target, &parents, &options, &mut pace).await;
            Ok(Done::Compacted(made?))
        }
        Job::Clean { dir, ulid } => {
            let mut target = Target { disk, dir: &dir, name: &mut name };
            let made = run::clean(&mut target, ulid, &options, &mut pace).await;
            Ok(Done::Compacted(made?))
        }
        Job::Repartition { dir, mixed, own } => {
            let mut target = Target { disk, dir: &dir, name: &mut name };
            let owns = |hash| route(hash, own.shards) == own.shard_id();
            let parts = repartition(&mut target, &mixed, own, &owns, &options, &mut pace).await;
            Ok(Done::Partitioned(parts?))
        }
        Job::CopyHead { name: snapshot, own, plan } => {
            let copied =
                snapshot::copy_head(disk, &snapshot, own, plan, &mut name, &mut pace).await;
            let copied = copied.map(|(blocks, lost)| Done::Copied(blocks, lost));
            let explain = |error: block::BlockError| snapshot::explain(&snapshot, &error.into());
            copied.map_err(|error| JobError::Failed(explain(error)))
        }
        Job::Assemble { name: snapshot, shares, shards } => {
            let owner = |hash| route(hash, shards).0;
            let (name, pace) = (&mut name, &mut pace);
            let made =
                snapshot::assemble(disk, &snapshot, &shares, &owner, name, &options, pace).await;
            let explain = |error| JobError::Failed(snapshot::explain(&snapshot, &error));
            made.map(Done::Assembled).map_err(explain)
        }
        Job::Discard { name } => {
            let discarded = snapshot::discard(disk, &name).await;
            let failed = |error: block::BlockError| JobError::Failed(error.to_string());
            discarded.map(|()| Done::Discarded).map_err(failed)
        }
    }
}
