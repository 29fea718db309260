//! One core: owns its storage, answers requests.
//!
//! A shard shares nothing with the others but the progress of its start. Its life: [`Shard::open`] reads the logs back,
//! then it answers [`Request`]s until [`Shard::close`] has made the last of what it took durable.

pub mod commit;
pub mod manifest;
pub mod options;
pub mod replaying;
pub mod request;
pub mod status;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use commit::{Commits, WriteFailed};
pub use options::{BLOCK_MS, RETENTION_MS, StorageOptions};
use replaying::Replaying;
pub use request::{BlockMeta, FoldRequest, Request, Response, Selection, Stored};
pub use status::{PairUse, ShardStatus, ValueUse};

use crate::io::{Clock, Disk};
use crate::model::{
    Fingerprinter, LabelText, Labels, Part, Refusals, RefusedSamples, ShardId, TimeRange,
};
use crate::query::{LeafFold, LeafPart, QueryError};
use crate::rt::clock::Stopwatch;
use crate::rt::local::Notify;
use crate::rt::pace::Slice;
use crate::rt::task::{self, JoinHandle};
use crate::rt::timer::Interval;
use crate::storage::checkpoint;
pub use crate::storage::files::FileOptions;
use crate::storage::files::{self, Files};
use crate::storage::head::Head;
use crate::storage::head::pairs::{PairId, Pairs};
use crate::storage::head::saved::Saving;
pub use crate::storage::replay::{Layout, ReplayReport};
pub use crate::storage::wal::SyncMode;
use crate::storage::wal::{Spares, WalWriter};

/// Series of one request that are appended without a pause: some 100 us.
const APPEND_ENTRIES: usize = 1024;
/// How long the reading back of the log holds the core: nobody waits yet but those who ask how far it is.
const OPENING_SLICE: Duration = Duration::from_millis(5);
/// How often is asked whether a checkpoint is due.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
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
    /// The number of shards has changed, and this cannot be noted.
    #[error("{0}")]
    Layout(String),
}

/// One core's share of the store. Clones are the same shard.
pub struct Shard<C>(Rc<Inner<C>>);

impl<C> Clone for Shard<C> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

struct Inner<C> {
    id: ShardId,
    clock: C,
    head: RefCell<Head>,
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

impl<C: Clock> Shard<C> {
    /// A shard that answers nothing yet.
    #[must_use]
    pub fn new(id: ShardId, fingerprinter: Fingerprinter, clock: C) -> Self {
        Self(Rc::new(Inner {
            id,
            clock,
            head: RefCell::new(Head::new(fingerprinter)),
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
    /// - `fingerprinter`: the one it was made with.
    /// - `route`: which shard, of so many, owns the series with a routing hash.
    /// - `commit_layout`: used by shard 0 if the number of shards has changed.
    ///
    /// # Errors
    /// A disk that does not read or write. Damage is logged and costs what it covers.
    pub async fn open<D: Disk>(
        &self,
        disk: D,
        options: FileOptions,
        fingerprinter: Fingerprinter,
        route: fn(u64, u16) -> ShardId,
        commit_layout: Option<CommitLayout>,
        replaying: &Replaying,
    ) -> Result<ReplayReport, OpenError> {
        let started = Stopwatch::start();
        let inner = &self.0;
        let (id, shards, sync) = (inner.id, options.shards, options.sync);
        let changes = options.layout.shards != shards;
        let owns = |hash| route(hash, shards) == id;
        let progress = |read, total| replaying.note(id, read, total);
        let pace = &mut Slice::of(OPENING_SLICE);
        let begun = files::begin(disk, options, fingerprinter, &owns, &progress, pace).await?;
        for damage in &begun.report.damage {
            tracing::error!(shard = %id, %damage, "the log is damaged; what it covers is lost");
        }
        if changes {
            replaying.await_layout(id, commit_layout).await.map_err(OpenError::Layout)?;
        }
        let (head, files, writer, report) = begun.finish().await?;
        inner.damaged.set(report.damage.len() as u64);
        *inner.head.borrow_mut() = head;
        let counted = Rc::clone(files.spares());
        *inner.wal_bytes.borrow_mut() = Rc::new(move || counted.segment_bytes_in_use());
        self.start_committing(writer, Rc::clone(files.spares()), sync);
        self.start_checkpointing(files, report.log_bytes);

        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        inner.replay_ms.set(Some(took));
        inner.ready.set(true);
        replaying.finish(id);
        Ok(report)
    }

    fn start_committing<D: Disk>(
        &self,
        writer: WalWriter<D>,
        spares: Rc<Spares<D>>,
        sync: SyncMode,
    ) {
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

    /// Saves the Head whenever the log has become long against the last checkpoint.
    ///
    /// - `log_bytes`: how long it is already.
    fn start_checkpointing<D: Disk>(&self, files: Files<D>, log_bytes: u64) {
        let shard = self.clone();
        task::spawn("checkpoints", async move {
            let mut interval = Interval::new(CHECKPOINT_INTERVAL);
            let mut behind = log_bytes;
            let mut at = 0;
            loop {
                interval.tick().await;
                let written = shard.0.commits.bytes();
                if !checkpoint::is_due(behind + written - at, files.checkpoint_bytes()) {
                    continue;
                }
                (behind, at) = (0, written);
                if let Err(error) = shard.checkpoint(&files).await {
                    shard.0.checkpoint_failures.set(shard.0.checkpoint_failures.get() + 1);
                    tracing::error!(shard = %shard.0.id, %error, "cannot write a checkpoint; the log stays longer");
                }
            }
        });
    }

    async fn checkpoint<D: Disk>(&self, files: &Files<D>) -> Result<(), String> {
        let log = self.0.commits.cut().await.map_err(|why| why.to_string())?;
        let head = &self.0.head;
        let mut saving = Saving::begin(head.borrow().series_count());
        let save = |bytes, payload: &mut Vec<u8>| {
            saving = head.borrow().save(saving, bytes, payload);
            !saving.is_done()
        };
        files
            .checkpoint(log, save, &mut Slice::start())
            .await
            .map_err(|error| error.to_string())?;
        self.0.checkpoints.set(self.0.checkpoints.get() + 1);
        Ok(())
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
                let refused = inner.head.borrow().check(&part, &text, inner.clock.now());
                Response::Checked(part, Box::new(refused))
            }
            Request::Fold(fold) => Response::Folded(Box::new(self.fold(&fold).await)),
            Request::Series(selection) => Response::Series(self.series(&selection).await),
            Request::LabelNames(selection) => Response::Names(self.label_names(&selection).await),
            Request::LabelValues(name, selection) => {
                Response::Names(self.label_values(&name, &selection).await)
            }
            Request::PairUse(texts) => Response::PairUse(Box::new(self.pair_use(texts).await)),
        }
    }

    async fn append(&self, part: &Part, text: Arc<LabelText>) -> Result<Stored, WriteFailed> {
        let inner = &self.0;
        inner.commits.admit().await?;
        let now = inner.clock.now();
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
                head.append(part, entries, &text, now, &mut log)
            };
            stored.written += appended.written;
            stored.refused.append(appended.refused);
        }
        // The accepting core can use the buffer again while the disk works.
        drop(text);
        let mut refused = inner.refused.get();
        refused += stored.refused.samples;
        inner.refused.set(refused);
        inner.commits.durable().await?;
        Ok(stored)
    }

    async fn fold(&self, request: &FoldRequest) -> Result<Vec<LeafPart>, QueryError> {
        let head = &self.0.head;
        let (mut slice, mut samples) = (Slice::start(), Vec::new());
        let mut parts = Vec::with_capacity(request.leaves.len());
        for leaf in &request.leaves {
            let mut fold = LeafFold::new(leaf);
            let selected = head.borrow().select(leaf.matchers());
            for series in selected {
                samples.clear();
                head.borrow().read(series, leaf.range(), &mut samples);
                if !samples.is_empty() {
                    let labels = head.borrow().labels(series).unwrap_or_else(Labels::empty);
                    fold.push(labels.as_ref(), samples.iter().copied())?;
                }
                slice.breathe().await;
                if request.is_cancelled() {
                    return Err(QueryError::Canceled);
                }
            }
            parts.push(fold.finish());
        }
        Ok(parts)
    }

    /// Calls `visit` for each series that the selection finds, once a selector; pauses in between.
    async fn for_each_selected(&self, selection: &Selection, mut visit: impl FnMut(&Head, u32)) {
        let head = &self.0.head;
        let mut slice = Slice::start();
        let everything = [Vec::new()];
        let selectors =
            if selection.selectors.is_empty() { &everything[..] } else { &selection.selectors };
        for matchers in selectors {
            let selected = head.borrow().select(matchers);
            for series in selected {
                {
                    let head = head.borrow();
                    if head.overlaps(series, selection.range) {
                        visit(&head, series);
                    }
                }
                slice.breathe().await;
            }
        }
    }

    async fn series(&self, selection: &Selection) -> Vec<Labels> {
        let mut found = BTreeSet::new();
        self.for_each_selected(selection, |_, series| {
            found.insert(series);
        })
        .await;
        let (mut labels, mut slice) = (Vec::with_capacity(found.len()), Slice::start());
        for series in found {
            labels.extend(self.0.head.borrow().labels(series));
            slice.breathe().await;
        }
        labels
    }

    async fn label_names(&self, selection: &Selection) -> Vec<String> {
        if selection.selectors.is_empty() && selection.range == TimeRange::ALL {
            return self.0.head.borrow().pairs().names().map(str::to_owned).collect();
        }
        let mut names = BTreeSet::new();
        self.for_each_selected(selection, |head, series| {
            for label in head.label_pairs(series) {
                if !names.contains(label.name) {
                    names.insert(label.name.to_owned());
                }
            }
        })
        .await;
        names.into_iter().collect()
    }

    async fn label_values(&self, name: &str, selection: &Selection) -> Vec<String> {
        if selection.selectors.is_empty() && selection.range == TimeRange::ALL {
            let head = self.0.head.borrow();
            return head
                .pairs()
                .of_name(name)
                .iter()
                .map(|pair| head.pairs().value(*pair).to_owned())
                .collect();
        }
        let mut values = BTreeSet::new();
        self.for_each_selected(selection, |head, series| {
            if let Some(value) = head.value_of(series, name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        })
        .await;
        values.into_iter().collect()
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

    fn status(&self) -> ShardStatus {
        let inner = &self.0;
        let (head, commits) = (inner.head.borrow().stats(), inner.commits.stats());
        ShardStatus {
            shard: inner.id,
            series: head.series,
            series_created: head.series,
            series_removed: 0,
            chunks: head.chunks,
            chunks_created: head.chunks,
            chunks_removed: 0,
            head_range: head.range,
            oldest: head.range.map(TimeRange::min),
            samples_appended: head.samples_appended,
            refused: inner.refused.get(),
            wal_segment: commits.segment,
            wal_bytes: (inner.wal_bytes.borrow())(),
            wal_written_bytes: commits.bytes,
            wal_flushes: commits.flushes_us,
            wal_failures: commits.failures,
            wal_failed: commits.has_failed,
            wal_corruptions: inner.damaged.get(),
            replay_ms: inner.replay_ms.get(),
            checkpoints: inner.checkpoints.get(),
            checkpoint_failures: inner.checkpoint_failures.get(),
            panics: task::panics(),
            ..ShardStatus::default()
        }
    }
}

fn value_use(pairs: &Pairs, pair: PairId) -> ValueUse {
    ValueUse {
        hash: seahash::hash(pairs.text_of(pair)),
        bytes: u32::try_from(pairs.value(pair).len()).unwrap_or(u32::MAX),
        series: u32::try_from(pairs.postings(pair).len()).unwrap_or(u32::MAX),
    }
}
