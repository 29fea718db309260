//! One core: owns its storage, answers requests.
//!
//! A shard shares nothing with the others but the progress of its start. [`Shard::open`] reads the logs back, then it answers
//! [`Request`]s until [`Shard::close`] has made the last of what it took durable. What it works with meanwhile is a
//! `Life`; if its log fails, another one takes the place of that.

pub mod asking;
pub mod backlog;
#[cfg(test)]
mod backlog_test;
mod blocks;
pub mod changes;
pub mod commit;
pub mod cursor;
pub mod deleting;
mod exemplars;
pub mod folding;
mod found;
mod life;
mod maintenance;
pub mod manifest;
mod metadata;
mod opening;
pub mod options;
pub mod reading;
pub mod replaying;
mod report;
pub mod request;
#[cfg(test)]
mod restart_test;
pub mod snapshotting;
pub mod status;
pub mod work;

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use asking::Asking;
use backlog::Pressure;
use changes::Changes;
use commit::WriteFailed;
pub use deleting::NotDone;
pub use exemplars::ExemplarSelection;
use life::Life;
use opening::Opening;
pub use options::{BLOCK_MS, EXEMPLARS_MAX, FloatChunks, RETENTION_MS, StorageOptions};
use replaying::Replaying;
pub use request::{BlockMeta, FoldRequest, Request, Response, Selection, Stored};
use snapshotting::{SnapshotStep, discard_snapshot};
use status::{CheckpointStatus, CompactionStatus};
pub use status::{PairUse, ShardStatus, ValueUse};
use ulid::Ulid;
use work::Workbench;

use crate::io::{Clock, Disk};
use crate::model::{
    Fingerprinter, LabelText, Part, Refusals, RefusedSamples, ShardId, Tally, TimestampMs,
};
use crate::rt::clock::Stopwatch;
use crate::rt::local::Event;
use crate::rt::pace::Slice;
use crate::rt::task::{self, JoinHandle};
use crate::storage::block::{BlockError, IndexCache};
use crate::storage::chunk_cache::ChunkCache;
use crate::storage::files;
pub use crate::storage::files::FileOptions;
use crate::storage::head::exemplars::AppendedExemplars;
use crate::storage::head::pairs::{PairId, Pairs};
use crate::storage::head::{Appended, Bounds, doubt};
use crate::storage::replay::Damage;
pub use crate::storage::replay::{Layout, ReplayReport};
pub use crate::storage::wal::SyncMode;

/// Series of one request that are appended without a pause: some 100 us.
const APPEND_ENTRIES: usize = 1024;
/// Series with native histograms likewise.
const APPEND_HISTOGRAMS: usize = 64;
/// Label pairs that are looked at without a pause.
const PAIRS_AT_ONCE: usize = 1024;

/// Makes a changed number of shards durable; called once, off the executor, when all shards have what they need.
pub type CommitLayout = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// Why a shard cannot open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its files cannot be read or written.
    #[error(transparent)]
    Files(#[from] files::OpenError),
    /// Its blocks cannot be read.
    #[error(transparent)]
    Blocks(#[from] BlockError),
    /// The number of shards has changed, and this cannot be noted.
    #[error("{0}")]
    Layout(String),
}

/// One core's share of the store. Clones are the same shard.
pub struct Shard<C, D: Disk>(Rc<Inner<C, D>>);

impl<C, D: Disk> Clone for Shard<C, D> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

struct Inner<C, D: Disk> {
    id: ShardId,
    clock: C,
    /// Does the series with this routing hash belong here?
    owns: Rc<dyn Fn(u64) -> bool>,
    /// How the data is kept, once it is known.
    storage: Cell<Option<StorageOptions>>,
    /// What it works with once it is open.
    life: RefCell<Option<Rc<Life<D>>>>,
    /// How often that was another one since the start.
    restarts: Cell<u64>,
    /// It takes nothing more.
    closing: Event,
    living: RefCell<Option<JoinHandle<Result<(), WriteFailed>>>>,
    /// Blocks that could not be merged, and since when.
    not_compacted: RefCell<BTreeMap<Ulid, Stopwatch>>,
    /// How long blocks took to be rewritten without what was deleted of them.
    cleanups: RefCell<Tally>,
    /// Blocks cut, and cuts that failed.
    cuts: Cell<u64>,
    cut_failures: Cell<u64>,
    compactions: RefCell<CompactionStatus>,
    retired_by_time: Cell<u64>,
    retired_by_size: Cell<u64>,
    /// What queries found damaged, each told once.
    told_damage: RefCell<BTreeSet<String>>,
    damaged_reads: Cell<u64>,
    /// Answers that left something out for it.
    damaged_answers: Cell<u64>,
    /// Blocks that this start has put aside.
    damaged_blocks: Cell<u64>,
    pressure: Pressure,
    /// From where on kept answers are not right any more.
    changes: RefCell<Changes>,
    refused: Cell<RefusedSamples>,
    damaged: Cell<u64>,
    replay_ms: Cell<Option<u64>>,
    checkpoints: RefCell<CheckpointStatus>,
    truncations_took: Cell<Duration>,
}

impl<C: Clock, D: Disk> Shard<C, D> {
    /// A shard that answers nothing yet.
    ///
    /// - `owns`: does the series with this routing hash belong to it?
    #[must_use]
    pub fn new(id: ShardId, owns: Rc<dyn Fn(u64) -> bool>, clock: C) -> Self {
        Self(Rc::new(Inner {
            id,
            clock,
            owns,
            storage: Cell::new(None),
            life: RefCell::new(None),
            restarts: Cell::new(0),
            closing: Event::new(),
            living: RefCell::new(None),
            not_compacted: RefCell::default(),
            cleanups: RefCell::new(ShardStatus::default().cleanups),
            cuts: Cell::new(0),
            cut_failures: Cell::new(0),
            compactions: RefCell::default(),
            retired_by_time: Cell::new(0),
            retired_by_size: Cell::new(0),
            told_damage: RefCell::default(),
            damaged_reads: Cell::new(0),
            damaged_answers: Cell::new(0),
            damaged_blocks: Cell::new(0),
            pressure: Pressure::default(),
            changes: RefCell::default(),
            refused: Cell::default(),
            damaged: Cell::new(0),
            replay_ms: Cell::new(None),
            checkpoints: RefCell::default(),
            truncations_took: Cell::default(),
        }))
    }

    /// Reads the data back and begins to serve.
    ///
    /// - `options`: where its data is, and how it is kept, unless it was told otherwise before.
    /// - `fingerprinter`: the one that fingerprints the series of requests.
    /// - `commit_layout`: used by shard 0 if the number of shards has changed.
    /// - `work`: where its long work is done.
    ///
    /// # Errors
    /// A disk that does not read or write. Damage is logged and costs what it covers.
    pub async fn open(
        &self,
        disk: D,
        (files, storage): (FileOptions, StorageOptions),
        fingerprinter: Fingerprinter,
        commit_layout: Option<CommitLayout>,
        replaying: &Replaying,
        work: Workbench,
    ) -> Result<ReplayReport, OpenError> {
        let replaying = replaying.clone();
        let storage = self.0.storage.get().unwrap_or(storage);
        self.0.storage.set(Some(storage));
        let chunks = Rc::new(ChunkCache::new(storage.chunk_cache_of_shard(files.shards)));
        let cache = Rc::new(IndexCache::with_chunks(storage.index_cache_bytes, chunks));
        let opening = Opening { disk, files, fingerprinter, replaying, work, cache };
        let (life, report) = self.begin_life(&opening, commit_layout, None).await?;
        opening.replaying.finish(self.0.id);
        let living = task::spawn("life of a shard", self.clone().live(opening, life));
        *self.0.living.borrow_mut() = Some(living);
        Ok(report)
    }

    /// What it works with; `None` before it is open, and when it closes.
    fn life(&self) -> Option<Rc<Life<D>>> {
        self.0.life.borrow().clone().filter(|_| !self.0.closing.is_set())
    }

    /// Notes that what is answered from `from` on may be something else now.
    fn note_change(&self, from: TimestampMs) {
        self.0.changes.borrow_mut().note(from);
    }

    /// Counts and tells blocks that are not answered from: put aside as damaged, or not to be read now.
    fn tell_unanswered(&self, damage: &[Damage]) {
        let inner = &self.0;
        for damage in damage {
            tracing::error!(shard = %inner.id, %damage, "a block is not answered from");
        }
        inner.damaged_blocks.set(inner.damaged_blocks.get() + damage.len() as u64);
        if !damage.is_empty() {
            self.note_change(TimestampMs::MIN);
        }
    }

    /// Takes no more writes, and resolves when what was taken is durable.
    ///
    /// # Errors
    /// Not all of it is.
    pub async fn close(&self) -> Result<(), WriteFailed> {
        let life = self.life();
        self.0.closing.set();
        if let Some(life) = life {
            life.commits.stop();
        }
        let living = self.0.living.borrow_mut().take();
        match living {
            Some(living) => living.await.unwrap_or_else(|error| Err(Arc::from(error.to_string()))),
            None => Ok(()),
        }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request) -> Response {
        let request = match request {
            Request::Status => return Response::Status(Box::new(self.status())),
            Request::Configure(storage) => {
                self.configure(*storage);
                return Response::Done(Ok(()));
            }
            request => request,
        };
        let Some(life) = self.life() else { return Response::NotReady };
        match request {
            Request::Status | Request::Configure(_) => Response::NotReady, // answered above
            Request::Append(part, text) => {
                let stored = self.append(&life, &part, text).await;
                Response::Appended(part, stored.map(Box::new))
            }
            Request::Check(part, text) => {
                let head = life.head.borrow();
                let refused = head.check(&part, &text, head.bounds(self.0.clock.now()));
                drop(head);
                Response::Checked(part, Box::new(refused))
            }
            Request::Fold(fold) => Response::Folded(Box::new(self.fold(&life, &fold).await)),
            Request::Series(selection) => {
                let series = self.series(&life, &selection).await;
                Response::Series(series.map_err(Box::new))
            }
            Request::LabelNames(selection) => {
                let names = self.label_names(&life, &selection).await;
                Response::Names(names.map_err(Box::new))
            }
            Request::LabelValues(name, selection) => {
                let values = self.label_values(&life, &name, &selection).await;
                Response::Names(values.map_err(Box::new))
            }
            Request::DeleteSeries(selection) => {
                let done = self.delete_series(&life, &selection).await;
                self.note_change(selection.range.min());
                Response::Done(done)
            }
            Request::CleanTombstones => Response::Done(self.clean_tombstones(&life).await),
            Request::Snapshot(step) => match *step {
                SnapshotStep::Give { name, skip_head } => {
                    let share = self.give_share(&life, name, skip_head).await;
                    Response::Share(share.map(Box::new))
                }
                SnapshotStep::Assemble { name, shares } => {
                    Response::Done(self.assemble_snapshot(&life, name, shares).await)
                }
                SnapshotStep::Discard { name } => {
                    Response::Done(discard_snapshot(&life, name).await)
                }
            },
            Request::Cursor(name, step) => {
                let part = self.step_cursor(&life, name, step).await;
                Response::CursorPart(part.map(Box::new).map_err(Box::new))
            }
            Request::Blocks => Response::Blocks(life.block_metas()),
            Request::Exemplars(selection) => {
                let found = exemplars::select(&life, &selection).await;
                Response::Exemplars(found.map_err(Box::new))
            }
            Request::Metadata(name) => {
                Response::Metadata(metadata::said(&life, name.as_deref()).await)
            }
            Request::Changes(since) => Response::Changes(self.0.changes.borrow().since(since)),
            Request::PairUse(texts) => Response::PairUse(Box::new(pair_use(&life, texts).await)),
        }
    }

    /// How the data is kept.
    fn storage(&self) -> StorageOptions {
        self.0.storage.get().unwrap_or_default()
    }

    /// Keeps the data so from now on, and in every life to come.
    fn configure(&self, storage: StorageOptions) {
        self.0.storage.set(Some(storage));
        // Not `life()`: one that closes still writes what it has.
        if let Some(life) = &*self.0.life.borrow() {
            let mut head = life.head.borrow_mut();
            head.set_window(storage.out_of_order_window_ms);
            head.set_float_chunks(storage.float_chunks);
            head.set_exemplars_max(storage.exemplars_of_shard(life.own.shards));
        }
    }

    async fn append(
        &self,
        life: &Life<D>,
        part: &Part,
        text: Arc<LabelText>,
    ) -> Result<Stored, WriteFailed> {
        let inner = &self.0;
        inner.pressure.admit().await.map_err(|why| Arc::from(why.to_string()))?;
        life.commits.admit().await?;
        let bounds = life.head.borrow().bounds(inner.clock.now());
        let mut slice = Slice::start();
        let mut stored = Stored {
            written: 0,
            histograms_written: 0,
            refused: Refusals::default(),
            exemplars: AppendedExemplars::default(),
        };
        for start in (0..part.entries.len()).step_by(APPEND_ENTRIES) {
            if start > 0 {
                slice.breathe().await;
            }
            let entries = start..(start + APPEND_ENTRIES).min(part.entries.len());
            let appended = {
                let (mut head, mut log) = (life.head.borrow_mut(), life.commits.log().borrow_mut());
                head.append(part, entries, &text, bounds, &mut log)
            };
            settle(life, part, &text, bounds, appended, &mut stored, &mut slice).await;
        }
        for start in (0..part.histogram_entries.len()).step_by(APPEND_HISTOGRAMS) {
            slice.breathe().await;
            let entries = start..(start + APPEND_HISTOGRAMS).min(part.histogram_entries.len());
            let appended = {
                let (mut head, mut log) = (life.head.borrow_mut(), life.commits.log().borrow_mut());
                head.append_histograms(part, entries, &text, bounds, &mut log)
            };
            settle(life, part, &text, bounds, appended, &mut stored, &mut slice).await;
        }
        if let Some(oldest) = part.oldest()
            && stored.written + stored.histograms_written > 0
        {
            self.note_change(oldest);
        }
        if !part.metadata.is_empty() {
            metadata::append(life, &part.metadata, &text, inner.clock.now(), &mut slice).await;
        }
        if !part.exemplars.is_empty() {
            let appending = exemplars::append(life, &part.exemplars, &text, bounds, &mut slice);
            stored.exemplars = appending.await;
        }
        // The accepting core can use the buffer again while the disk works.
        drop(text);
        let mut refused = inner.refused.get();
        refused += stored.refused.samples;
        inner.refused.set(refused);
        life.commits.durable().await?;
        Ok(stored)
    }
}

/// Counts what became of some samples of a part, after what was doubtful among them has been looked for on the disk.
async fn settle<D: Disk>(
    life: &Life<D>,
    part: &Part,
    text: &LabelText,
    bounds: Bounds,
    appended: Appended,
    stored: &mut Stored,
    slice: &mut Slice,
) {
    let mut count = |appended: Appended| {
        stored.written += appended.written;
        stored.histograms_written += appended.histograms_written;
        stored.refused.append(appended.refused);
        appended.doubtful
    };
    let doubtful = count(appended);
    if !doubtful.is_empty() {
        let (head, log, spill) = (&life.head, life.commits.log(), &life.spill);
        count(doubt::resolve(head, log, spill, part, text, &doubtful, bounds, slice).await);
    }
}

async fn pair_use<D: Disk>(life: &Life<D>, texts: usize) -> PairUse {
    let head = &life.head;
    let (mut used, mut slice) = (PairUse::default(), Slice::start());
    let names: Vec<String> = head.borrow().pairs().names().map(str::to_owned).collect();
    for name in names {
        let pairs = head.borrow().pairs().of_name(&name).to_vec();
        let mut values = Vec::with_capacity(pairs.len());
        for some in pairs.chunks(PAIRS_AT_ONCE) {
            {
                let head = head.borrow();
                values.extend(some.iter().map(|pair| value_use(head.pairs(), *pair)));
            }
            slice.breathe().await;
        }
        // The least used of those that are wanted is on top.
        let mut most = BinaryHeap::with_capacity(texts.min(values.len()) + 1);
        for (at, value) in values.iter().enumerate() {
            most.push(Reverse((value.series, at)));
            if most.len() > texts {
                most.pop();
            }
            if at.is_multiple_of(PAIRS_AT_ONCE) {
                slice.breathe().await;
            }
        }
        for Reverse((_, at)) in most {
            if let (Some(pair), Some(value)) = (pairs.get(at), values.get(at)) {
                let text = head.borrow().pairs().value(*pair).to_owned();
                used.texts.push((value.hash, name.clone(), text));
            }
        }
        used.names.push((name, values));
    }
    used
}

fn value_use(pairs: &Pairs, pair: PairId) -> ValueUse {
    ValueUse {
        hash: seahash::hash(pairs.text_of(pair)),
        bytes: u32::try_from(pairs.value(pair).len()).unwrap_or(u32::MAX),
        series: u32::try_from(pairs.postings(pair).len()).unwrap_or(u32::MAX),
    }
}
