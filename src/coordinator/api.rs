//! What the server asks of the store, and what it is told: one trait and plain data.
//!
//! The server is written against [`Store`], so that its tests run on a store of a few lines. All futures are `!Send`:
//! they run on the core that took the request.

use std::future::Future;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::model::{
    Fingerprinter, Labels, Matcher, Refusal, ShardId, TimeRange, TimestampMs, WriteBatch,
};
use crate::query::{Answer, EvalRange, Options, QueryError};

/// The store as one core sees it. Cheap to clone.
pub trait Store: Clone + 'static {
    /// Stores a batch and answers when it is as durable as `--storage.wal.sync` promises.
    fn write(
        &self,
        batch: WriteBatch,
        mode: BadSampleMode,
    ) -> impl Future<Output = Result<WriteOutcome, WriteError>>;

    /// Answers a query. Whoever drops the future wants no answer any more.
    fn query(&self, question: Question) -> impl Future<Output = Result<Answer, QueryError>>;

    /// The label sets of all series that any of the selectors finds in the range; sorted, each once.
    fn series(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        limit: Option<usize>,
    ) -> impl Future<Output = Result<Limited<Labels>, ReadError>>;

    /// The names of the labels of those series; of all series if there is no selector. Sorted, each once.
    fn label_names(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        limit: Option<usize>,
    ) -> impl Future<Output = Result<Limited<String>, ReadError>>;

    /// The values that the label `name` has in those series. Sorted, each once.
    fn label_values(
        &self,
        name: String,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        limit: Option<usize>,
    ) -> impl Future<Output = Result<Limited<String>, ReadError>>;

    /// Counters and gauges of all shards, in order of the shards.
    fn status(&self) -> impl Future<Output = Vec<ShardStatus>>;

    /// Which names and pairs most series have, over all shards; at most `limit` of each kind.
    fn cardinality(&self, limit: usize) -> impl Future<Output = Result<Cardinality, ReadError>>;

    /// May requests be answered? Asked for every request: reads a few fields and waits for nobody.
    fn readiness(&self) -> Readiness;

    /// How many shards there are.
    fn shard_count(&self) -> usize;

    /// Which shard, in `0..shard_count`, owns the series whose fingerprint has this routing half.
    fn shard_of(&self, route: u64) -> usize;

    /// Makes the fingerprints by which this process knows series.
    fn fingerprinter(&self) -> &Fingerprinter;
}

/// A query, and what it may cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The query's text.
    pub text: String,
    /// When it is evaluated.
    pub range: EvalRange,
    /// What the engine is set to.
    pub options: Options,
    /// How long it may take from now on. Who asks stops waiting by then; that shards work no longer is up to the store.
    pub timeout: Duration,
}

/// What becomes of the good samples of a batch that has bad ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadSampleMode {
    /// They are stored.
    StoreTheRest,
    /// Nothing of the batch is stored.
    Rollback,
}

/// A batch that was worked through.
#[derive(Debug)]
pub struct WriteOutcome {
    /// How many of its samples the store now has, those included that it had before.
    pub written: u64,
    /// What the shards refused and why: the first [`REFUSALS_MAX`](crate::model::REFUSALS_MAX) series of it. What the
    /// decoder had refused still stands in the batch.
    pub refused: Vec<Refusal>,
    /// How many series the shards refused, whole or in part.
    pub refused_series: u64,
    /// The batch, to be used again.
    pub batch: WriteBatch,
}

/// Why nothing is known to be stored of a batch; to be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A shard has as much to do as it may.
    #[error("the shards have as many writes waiting as they may")]
    Overloaded,
    /// The log is being replayed, or the server stops.
    #[error("the store does not take writes now")]
    NotReady,
    /// The disk failed; some parts of the batch may be stored all the same.
    #[error("storage: {0}")]
    Storage(String),
}

/// Why there is no answer to a question about series and labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The log is being replayed, or the server stops.
    #[error("the store does not answer now")]
    NotReady,
    /// The disk failed, or a block is damaged.
    #[error("storage: {0}")]
    Storage(String),
}

/// A sorted list that may have been cut at a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited<T> {
    /// The items.
    pub items: Vec<T>,
    /// Were there more?
    pub truncated: bool,
}

/// May requests be answered?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet: the log is being replayed.
    Replaying(ReplayProgress),
    /// Yes.
    Ready,
    /// No more: the server stops.
    Stopping,
}

/// How far the replay is, over all shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayProgress {
    /// How many segments are replayed.
    pub segments_done: u64,
    /// How many there are to replay.
    pub segments: u64,
}

/// One shard's counters and gauges. Counters begin at zero when the process starts.
#[derive(Debug, Clone)]
pub struct ShardStatus {
    /// Which shard.
    pub shard: ShardId,
    /// Series in the Head.
    pub series: u64,
    /// Series made since the start, replay included.
    pub series_created: u64,
    /// Series removed since the start.
    pub series_removed: u64,
    /// Chunks of the Head, open ones included.
    pub chunks: u64,
    /// Chunks begun since the start.
    pub chunks_created: u64,
    /// Chunks dropped since the start.
    pub chunks_removed: u64,
    /// The time of the oldest and the newest sample of the Head; `None` if it has none.
    pub head_range: Option<TimeRange>,
    /// The time of the oldest sample that the shard can answer for, blocks included.
    pub oldest: Option<TimestampMs>,
    /// Samples taken by the Head since the start, replayed ones not counted.
    pub samples_appended: u64,
    /// Samples that the shard refused since the start.
    pub refused: RefusedSamples,
    /// The number of the log segment being written.
    pub wal_segment: u64,
    /// What the log takes on disk, in bytes.
    pub wal_bytes: u64,
    /// Commits of the log since the start: how many bytes they wrote, padding included.
    pub wal_written_bytes: u64,
    /// How long flushes of the log took, in microseconds.
    pub wal_flushes: Histogram<u64>,
    /// Writes and flushes of the log that failed since the start.
    pub wal_failures: u64,
    /// Places in the log that replay found damaged.
    pub wal_corruptions: u64,
    /// How long the replay took, in milliseconds; `None` while it lasts.
    pub replay_ms: Option<u64>,
    /// Tasks that panicked on this shard's core.
    pub panics: u64,
}

/// Samples that one shard refused, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusedSamples {
    /// Older than the newest sample of their series.
    pub out_of_order: u64,
    /// Too far ahead of the clock, or older than what the store takes at all.
    pub out_of_bounds: u64,
    /// Older than the out-of-order window.
    pub too_old: u64,
    /// Their series has another value at their instant.
    pub duplicate: u64,
    /// Labels that are not a label set.
    pub labels: u64,
    /// The shard cannot number more series.
    pub too_many_series: u64,
}

/// Which names and pairs most series have. Every list is sorted, the largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Different pairs of label name and value.
    pub label_pairs: u64,
    /// Metric names by their series.
    pub series_by_metric: Vec<(String, u64)>,
    /// Label names by their values.
    pub values_by_label: Vec<(String, u64)>,
    /// Label names by the bytes of their values.
    pub bytes_by_label: Vec<(String, u64)>,
    /// `name=value` by its series.
    pub series_by_pair: Vec<(String, u64)>,
}
