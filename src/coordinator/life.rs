//! A core's life as part of the store: it opens its shard, answers the others, serves, and ends when all do.
//!
//! ```text
//! mount the disk ─► join the others ─┬─► read the log back ─► ready
//!                                    └─► serve, from the first moment on: "not ready" is an answer, too
//! served ─► take nothing more ─► wait until nobody asks any more ─► make what was taken durable
//! ```
//! Who serves, and what, is the caller's: it is given a [`Coordinator`] and returns when the last request is answered.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::results::Results;
use super::route::shard_of;
use super::snapshot::SnapshotTurn;
use super::store::Coordinator;
use crate::model::{Fingerprinter, ShardId};
use crate::query::memory::Budget;
use crate::rt::SystemClock;
use crate::rt::background::BackgroundSeat;
use crate::rt::clock::since_first_asked;
use crate::rt::disk::RealDisk;
use crate::rt::mesh::{Seat, mesh};
use crate::rt::preflight::DataPlace;
use crate::rt::task;
use crate::shard::manifest::Manifest;
pub use crate::shard::manifest::ManifestError;
use crate::shard::replaying::Replaying;
use crate::shard::work::Workbench;
use crate::shard::{
    CommitLayout, FileOptions, OpenError, ReplayReport, Request, Response, Shard, StorageOptions,
    SyncMode,
};

/// Calls that one shard may have open at another. More wait in their own tasks.
const WINDOW: u16 = 1024;
/// Length of a log segment.
const SEGMENT_BYTES: u64 = 64 << 20;

/// One core's part of the store before it lives; to be moved to that core.
pub struct Core {
    seat: Seat<Request, Response>,
    background: BackgroundSeat,
    place: DataPlace,
    fingerprinter: Fingerprinter,
    replaying: Replaying,
    snapshots: SnapshotTurn,
    results: Results,
    budget: Budget,
    options: FileOptions,
    storage: StorageOptions,
    commit_layout: Option<CommitLayout>,
}

/// Why a core cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The disk cannot be read.
    #[error("shard {shard}: cannot read the data directory: {source}")]
    Mount {
        /// The core's shard.
        shard: ShardId,
        /// What the disk said.
        source: io::Error,
    },
    /// Its data cannot be opened.
    #[error("shard {shard}: cannot open its data: {source}")]
    Open {
        /// The core's shard.
        shard: ShardId,
        /// What stands in the way.
        source: OpenError,
    },
    /// What it took last is not durable.
    #[error("shard {shard}: the last of what it took is not durable: {why}")]
    Close {
        /// The core's shard.
        shard: ShardId,
        /// What stood in the way.
        why: String,
    },
}

/// Notes a new run of the data directory at `place` and makes the cores of a store, in the order of their shards.
///
/// - `sync`: when a write counts as durable.
/// - `seed`: keys the fingerprints; unpredictable outside of tests.
/// - `now_s`: seconds since the epoch.
/// - `backgrounds`: one for each shard, for its long work.
/// - `storage`: how data is kept.
/// - `results`, `budget`: where answers of queries are kept, and how much memory queries may take.
///
/// # Errors
/// A directory that a newer version has changed, or a file system that fails.
pub fn cores(
    place: &DataPlace,
    shards: u16,
    sync: SyncMode,
    seed: u64,
    now_s: u64,
    backgrounds: Vec<BackgroundSeat>,
    (storage, results, budget): (StorageOptions, &Results, &Budget),
) -> Result<Vec<Core>, ManifestError> {
    let manifest = Manifest::begin_run(place.root(), shards, now_s)?;
    let (run, layout) = (manifest.run, manifest.layout());
    let (fingerprinter, replaying) = (Fingerprinter::new(seed), Replaying::new(shards));
    let snapshots = SnapshotTurn::default();
    let core = |(seat, background): (Seat<Request, Response>, BackgroundSeat)| {
        let (manifest, root) = (manifest.clone(), place.root().to_owned());
        let commit_layout: CommitLayout = Box::new(move || {
            manifest.commit_layout(&root, shards).map_err(|error| error.to_string())
        });
        let options = FileOptions {
            shard: seat.shard().0,
            shards,
            run,
            layout,
            segment_bytes: SEGMENT_BYTES,
            sync,
            exemplars_max: storage.exemplars_of_shard(shards),
            stopwatch: since_first_asked,
        };
        Core {
            place: place.clone(),
            fingerprinter: fingerprinter.clone(),
            replaying: replaying.clone(),
            snapshots: snapshots.clone(),
            results: results.clone(),
            budget: budget.clone(),
            options,
            storage,
            commit_layout: (seat.shard() == ShardId(0)).then_some(commit_layout),
            seat,
            background,
        }
    };
    Ok(mesh(shards, WINDOW).into_iter().zip(backgrounds).map(core).collect())
}

impl Core {
    /// Lives on this core until `serve` returns and all other cores have come to their end, too.
    ///
    /// - `failed`: is told if the shard cannot be opened, which may be long after serving has begun, or not be closed in
    ///   good order; it should see to it that all cores end.
    pub async fn live<F, G>(self, serve: F, failed: impl Fn(LifeError) + Clone + 'static)
    where
        F: FnOnce(Coordinator) -> G,
        G: Future<Output = ()>,
    {
        let Self {
            seat,
            background,
            place,
            fingerprinter,
            replaying,
            snapshots,
            results,
            budget,
            options,
            storage,
            commit_layout,
        } = self;
        let id = seat.shard();
        let (background, stop) = (background.join().await, Arc::new(AtomicBool::new(false)));
        let work = Workbench::on(background.clone(), place.clone(), shard_of, Arc::clone(&stop));
        let disk = match RealDisk::mount(&place).await {
            Ok(disk) => disk,
            Err(source) => return failed(LifeError::Mount { shard: id, source }),
        };
        let shards = options.shards;
        let owns = Rc::new(move |route| shard_of(route, shards) == id);
        let shard = Shard::new(id, owns, SystemClock);
        let answering = shard.clone();
        let peers = seat
            .join(move |_, request| {
                let shard = answering.clone();
                async move { shard.handle(request).await }
            })
            .await;
        let (keys, progress) = (fingerprinter.clone(), replaying.clone());
        let coordinator =
            Coordinator::new(peers.clone(), shards, keys, progress, snapshots, (results, budget));
        let (opened, cannot_open) = (shard.clone(), failed.clone());
        let options = (options, storage);
        let opening = task::spawn("open shard", async move {
            if id == ShardId(0) {
                opened.tidy_snapshots(&disk).await;
            }
            let opening =
                opened.open(disk, options, fingerprinter, commit_layout, &replaying, work);
            match opening.await {
                Ok(ReplayReport { batches, samples, bytes, damage, .. }) => {
                    let damaged = damage.len();
                    tracing::info!(shard = %id, batches, samples, bytes, damaged, "the log is read back");
                }
                Err(source) => cannot_open(LifeError::Open { shard: id, source }),
            }
        });

        serve(coordinator.clone()).await;
        coordinator.stop();
        // Long work that is not done by then is done after the next start.
        stop.store(true, Ordering::Relaxed);
        opening.cancel();
        // From here on nobody asks: when all have left, every request has its answer.
        peers.leave().await;
        if let Err(why) = shard.close().await {
            failed(LifeError::Close { shard: id, why: why.to_string() });
        }
        background.leave().await;
    }
}
