//! One core: owns its storage, answers requests.
//!
//! A shard shares nothing with the others but the progress of its start. Its life: [`Shard::open`] reads the logs back,
//! then it answers [`Request`]s until [`Shard::close`] has made the last of what it took durable.

mod blocks;
pub mod commit;
pub mod deleting;
mod maintenance;
pub mod manifest;
pub mod options;
pub mod reading;
pub mod replaying;
mod report;
pub mod request;
pub mod status;
pub mod work;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use commit::{Commits, WriteFailed};
pub use deleting::NotDone;
pub use options::{BLOCK_MS, RETENTION_MS, StorageOptions};
use replaying::Replaying;
pub use request::{BlockMeta, FoldRequest, Request, Response, Selection, Stored};
use status::CompactionStatus;
pub use status::{PairUse, ShardStatus, ValueUse};
use ulid::Ulid;
use work::Workbench;

use crate::io::{Clock, Disk, Pace};
use crate::model::{Fingerprinter, LabelText, Part, Refusals, RefusedSamples, ShardId, Tally};
use crate::rt::clock::Stopwatch;
use crate::rt::local::{Notify, Semaphore};
use crate::rt::pace::Slice;
use crate::rt::task::{self, JoinHandle};
use crate::storage::block::reader::Block;
use crate::storage::block::{self, BlockError, IndexCache};
use crate::storage::blocks::Origin;
use crate::storage::blocks::{Inventory, open as open_blocks};
use crate::storage::files;
pub use crate::storage::files::FileOptions;
use crate::storage::head::Head;
use crate::storage::head::doubt;
use crate::storage::head::pairs::{PairId, Pairs};
use crate::storage::head::spill::SpillFiles;
pub use crate::storage::replay::{Layout, ReplayReport};
use crate::storage::served::{Served, ServedBlock};
pub use crate::storage::wal::SyncMode;
use crate::storage::wal::{Spares, WalWriter};

/// Series of one request that are appended without a pause: some 100 us.
const APPEND_ENTRIES: usize = 1024;
/// How long the reading back of the log holds the core: nobody waits yet but those who ask how far it is.
const OPENING_SLICE: Duration = Duration::from_millis(5);
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

/// What a shard works with once it is open.
struct OpenedShard<D: Disk> {
    spill: Rc<SpillFiles<D>>,
    disk: D,
    cache: Rc<IndexCache>,
    own: Origin,
    work: Workbench,
    options: StorageOptions,
    /// Blocks that the disk did not read.
    left_out: Vec<Ulid>,
}

impl<D: Disk> OpenedShard<D> {
    /// Opens a block of this shard.
    async fn open_block(
        &self,
        ulid: Ulid,
        pace: &mut impl Pace,
    ) -> Result<Rc<ServedBlock<D>>, BlockError> {
        let dir = block::dir(&files::shard_dir(self.own.shard), ulid);
        let block = Block::open(&self.disk, &dir, Rc::clone(&self.cache), pace).await?;
        Ok(Rc::new(ServedBlock { block, is_mixed: false }))
    }
}

struct Inner<C, D: Disk> {
    id: ShardId,
    clock: C,
    /// Does the series with this routing hash belong here?
    owns: Rc<dyn Fn(u64) -> bool>,
    head: RefCell<Head>,
    served: Served<D>,
    /// What it works with once it is open.
    opened: RefCell<Option<Rc<OpenedShard<D>>>>,
    /// Held by whoever changes where samples of the Head are: lets them leave memory, saves, cuts or deletes them.
    head_work: Semaphore,
    /// Held by whoever makes, changes or removes blocks, but for a cut.
    blocks_work: Semaphore,
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
    ready: Cell<bool>,
    commits: Commits,
    refill: Notify,
    committer: RefCell<Option<JoinHandle<Result<(), WriteFailed>>>>,
    refused: Cell<RefusedSamples>,
    damaged: Cell<u64>,
    replay_ms: Cell<Option<u64>>,
    checkpoints: Cell<u64>,
    checkpoint_failures: Cell<u64>,
    /// What the log takes on disk; asked of whoever makes its files.
    wal_bytes: RefCell<Rc<dyn Fn() -> u64>>,
}

impl<C: Clock, D: Disk> Shard<C, D> {
    /// A shard that answers nothing yet.
    ///
    /// - `owns`: does the series with this routing hash belong to it?
    #[must_use]
    pub fn new(
        id: ShardId,
        owns: Rc<dyn Fn(u64) -> bool>,
        fingerprinter: Fingerprinter,
        clock: C,
    ) -> Self {
        Self(Rc::new(Inner {
            id,
            clock,
            owns,
            head: RefCell::new(Head::new(fingerprinter)),
            served: Served::new(Vec::new()),
            opened: RefCell::new(None),
            head_work: Semaphore::new(1),
            blocks_work: Semaphore::new(1),
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
            ready: Cell::new(false),
            commits: Commits::new(),
            refill: Notify::new(),
            committer: RefCell::new(None),
            refused: Cell::default(),
            damaged: Cell::new(0),
            replay_ms: Cell::new(None),
            checkpoints: Cell::new(0),
            checkpoint_failures: Cell::new(0),
            wal_bytes: RefCell::new(Rc::new(|| 0)),
        }))
    }

    /// Reads the data back and begins to serve.
    ///
    /// - `options`: where its data is, and how it is kept.
    /// - `fingerprinter`: the one it was made with.
    /// - `commit_layout`: used by shard 0 if the number of shards has changed.
    /// - `work`: where its long work is done.
    ///
    /// # Errors
    /// A disk that does not read or write. Damage is logged and costs what it covers.
    pub async fn open(
        &self,
        disk: D,
        (options, storage): (FileOptions, StorageOptions),
        fingerprinter: Fingerprinter,
        commit_layout: Option<CommitLayout>,
        replaying: &Replaying,
        work: Workbench,
    ) -> Result<ReplayReport, OpenError> {
        let started = Stopwatch::start();
        let inner = &self.0;
        let (id, shards, sync) = (inner.id, options.shards, options.sync);
        let changes = options.layout.shards != shards;
        let owns = Rc::clone(&inner.owns);
        let progress = |read, total| replaying.note(id, read, total);
        let pace = &mut Slice::of(OPENING_SLICE);
        let (own, run) = (Origin { shard: options.shard, shards }, options.run);
        let (blocks_disk, cache) =
            (disk.clone(), Rc::new(IndexCache::new(storage.index_cache_bytes)));
        let inventory = Inventory::take(&disk, pace).await?;
        let sources = inventory.sources();
        let is_published = |ulid| sources.contains(&ulid);
        let begun =
            files::begin(disk, options, fingerprinter, &*owns, &is_published, &progress, pace)
                .await?;
        for damage in &begun.report.damage {
            tracing::error!(shard = %id, %damage, "the log is damaged; what it covers is lost");
        }
        if changes {
            replaying.await_layout(id, commit_layout).await.map_err(OpenError::Layout)?;
        }
        let (mut head, files, writer, report) = begun.finish().await?;
        head.raise_min_valid(inventory.cut_until());
        let opened = open_blocks(&blocks_disk, own, &inventory, &cache, run, pace).await?;
        for damage in &opened.damage {
            tracing::error!(shard = %id, %damage, "a block is not answered from");
        }
        inner.served.change(opened.blocks, &[]);
        inner.damaged.set(report.damage.len() as u64);
        inner.damaged_blocks.set(opened.damage.len() as u64);
        *inner.head.borrow_mut() = head;
        *inner.opened.borrow_mut() = Some(Rc::new(OpenedShard {
            spill: Rc::clone(files.spill()),
            disk: blocks_disk,
            cache,
            own,
            work,
            options: storage,
            left_out: opened.left_out,
        }));
        let counted = Rc::clone(files.spares());
        *inner.wal_bytes.borrow_mut() = Rc::new(move || counted.segment_bytes_in_use());
        self.start_committing(writer, Rc::clone(files.spares()), sync);
        self.start_maintaining(files, report.log_bytes);
        self.start_tending_blocks(opened.mixed);

        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        inner.replay_ms.set(Some(took));
        inner.ready.set(true);
        replaying.finish(id);
        Ok(report)
    }

    fn start_committing(&self, writer: WalWriter<D>, spares: Rc<Spares<D>>, sync: SyncMode) {
        let (shard, filled) = (self.clone(), Rc::clone(&spares));
        task::spawn("spare segments", async move {
            loop {
                if let Err(error) = filled.fill().await {
                    // The commit that needs the file will try again, and say so if it must.
                    tracing::warn!(shard = %shard.0.id, %error, "cannot prepare the next log segment");
                }
                shard.0.refill.wait().await;
            }
        });
        let shard = self.clone();
        let committing = task::spawn("commits", async move {
            let inner = Rc::clone(&shard.0);
            let running =
                async move { inner.commits.run(writer, &spares, sync, &inner.refill).await };
            task::spawn("commit loop", running).await.unwrap_or_else(|error| {
                shard.0.commits.fail(&error.to_string());
                Err(Arc::from(error.to_string()))
            })
        });
        *self.0.committer.borrow_mut() = Some(committing);
    }

    /// What it works with. Only a shard that is open is asked about its data.
    fn opened(&self) -> Result<Rc<OpenedShard<D>>, String> {
        self.0.opened.borrow().clone().ok_or_else(|| "the shard is not open".to_owned())
    }

    /// Where the Head's chunks are that have left memory.
    fn spill(&self) -> Rc<SpillFiles<D>> {
        let opened = self.opened().expect("only a shard that is open is asked about its data");
        Rc::clone(&opened.spill)
    }

    /// Takes no more writes, and resolves when what was taken is durable.
    ///
    /// # Errors
    /// Not all of it is.
    pub async fn close(&self) -> Result<(), WriteFailed> {
        self.0.ready.set(false);
        self.0.commits.stop();
        let committer = self.0.committer.borrow_mut().take();
        match committer {
            Some(committer) => {
                committer.await.unwrap_or_else(|error| Err(Arc::from(error.to_string())))
            }
            None => Ok(()),
        }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request) -> Response {
        let inner = &self.0;
        match request {
            Request::Status => Response::Status(Box::new(self.status())),
            _ if !inner.ready.get() => Response::NotReady,
            Request::Append(part, text) => {
                let stored = self.append(&part, text).await;
                Response::Appended(part, stored.map(Box::new))
            }
            Request::Check(part, text) => {
                let head = inner.head.borrow();
                let refused = head.check(&part, &text, head.bounds(inner.clock.now()));
                drop(head);
                Response::Checked(part, Box::new(refused))
            }
            Request::Fold(fold) => Response::Folded(Box::new(self.fold(&fold).await)),
            Request::Series(selection) => {
                self.series(&selection).await.map_or_else(Response::Failed, Response::Series)
            }
            Request::LabelNames(selection) => {
                self.label_names(&selection).await.map_or_else(Response::Failed, Response::Names)
            }
            Request::LabelValues(name, selection) => {
                let values = self.label_values(&name, &selection).await;
                values.map_or_else(Response::Failed, Response::Names)
            }
            Request::DeleteSeries(selection) => {
                Response::Done(self.delete_series(&selection).await)
            }
            Request::CleanTombstones => Response::Done(self.clean_tombstones().await),
            Request::Blocks => Response::Blocks(self.block_metas()),
            Request::PairUse(texts) => Response::PairUse(Box::new(self.pair_use(texts).await)),
        }
    }

    async fn append(&self, part: &Part, text: Arc<LabelText>) -> Result<Stored, WriteFailed> {
        let inner = &self.0;
        inner.commits.admit().await?;
        let bounds = inner.head.borrow().bounds(inner.clock.now());
        let mut slice = Slice::start();
        let mut stored = Stored { written: 0, refused: Refusals::default() };
        for start in (0..part.entries.len()).step_by(APPEND_ENTRIES) {
            if start > 0 {
                slice.breathe().await;
            }
            let entries = start..(start + APPEND_ENTRIES).min(part.entries.len());
            let appended = {
                let (mut head, mut log) =
                    (inner.head.borrow_mut(), inner.commits.log().borrow_mut());
                head.append(part, entries, &text, bounds, &mut log)
            };
            stored.written += appended.written;
            stored.refused.append(appended.refused);
            if !appended.doubtful.is_empty() {
                let (head, log) = (&inner.head, inner.commits.log());
                let (spill, doubtful) = (self.spill(), &appended.doubtful);
                let resolving =
                    doubt::resolve(head, log, &spill, part, &text, doubtful, bounds, &mut slice);
                let resolved = resolving.await;
                stored.written += resolved.written;
                stored.refused.append(resolved.refused);
            }
        }
        // The accepting core can use the buffer again while the disk works.
        drop(text);
        let mut refused = inner.refused.get();
        refused += stored.refused.samples;
        inner.refused.set(refused);
        inner.commits.durable().await?;
        Ok(stored)
    }

    async fn pair_use(&self, texts: usize) -> PairUse {
        let head = &self.0.head;
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
            let mut by_series: Vec<usize> = (0..values.len()).collect();
            by_series.sort_unstable_by_key(|at| {
                std::cmp::Reverse(values.get(*at).map(|value| value.series))
            });
            for at in by_series.into_iter().take(texts) {
                if let (Some(pair), Some(value)) = (pairs.get(at), values.get(at)) {
                    let text = head.borrow().pairs().value(*pair).to_owned();
                    used.texts.push((value.hash, name.clone(), text));
                }
            }
            used.names.push((name, values));
        }
        used
    }
}

fn value_use(pairs: &Pairs, pair: PairId) -> ValueUse {
    ValueUse {
        hash: seahash::hash(pairs.text_of(pair)),
        bytes: u32::try_from(pairs.value(pair).len()).unwrap_or(u32::MAX),
        series: u32::try_from(pairs.postings(pair).len()).unwrap_or(u32::MAX),
    }
}
