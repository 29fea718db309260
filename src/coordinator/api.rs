//! What the server asks of the store, and what it is told: one trait and plain data.
//!
//! The server is written against [`Store`], so that its tests run on a store of a few lines. All futures are `!Send`:
//! they run on the core that took the request.

use std::future::Future;
use std::time::Duration;

pub use super::results::ResultsStatus;
pub use crate::model::RefusedSamples;
use crate::model::{
    Family, Fingerprinter, Labels, Matcher, Refusal, Refusals, SeriesExemplars, TimeRange,
    WriteBatch,
};
use crate::query::memory::Account;
pub use crate::query::memory::BudgetStatus;
use crate::query::{Answer, EvalRange, Options, QueryError};
pub use crate::shard::cursor::{EncodedChunk, ReadSeries};
pub use crate::shard::status;
pub use crate::shard::{
    BLOCK_MS, BlockMeta, EXEMPLARS_MAX, FloatChunks, RETENTION_MS, ShardStatus, StorageOptions,
    SyncMode,
};

/// The store as one core sees it. Cheap to clone.
pub trait Store: Clone + 'static {
    /// What [`read`](Self::read) gives.
    type Reading: SeriesReading + 'static;

    /// Stores a batch and answers when it is as durable as `--storage.wal.sync` promises.
    fn write(
        &self,
        batch: WriteBatch,
        mode: BadSampleMode,
    ) -> impl Future<Output = Result<WriteOutcome, WriteError>>;

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

    /// Reads all samples that the matchers find in the range, series by series, without holding them. Nothing is read before the
    /// first series is asked for.
    fn read(&self, matchers: Vec<Matcher>, range: TimeRange) -> Self::Reading;

    /// Evaluates a PromQL text. Dropping the future ends the work on all shards.
    ///
    /// - `timeout`: how long it may take in all.
    fn query(
        &self,
        text: &str,
        range: EvalRange,
        options: &Options,
        timeout: Duration,
    ) -> impl Future<Output = Result<Evaluated, QueryError>>;

    /// What the answers have come to that are kept for range queries.
    fn results(&self) -> ResultsStatus;

    /// How much memory running queries hold, and may.
    fn query_memory(&self) -> BudgetStatus;

    /// Counters and gauges of all shards, in order of the shards.
    fn status(&self) -> impl Future<Output = Vec<ShardStatus>>;

    /// Which names and pairs most series have, over all shards; at most `limit` of each kind.
    fn cardinality(&self, limit: usize) -> impl Future<Output = Result<Cardinality, ReadError>>;

    /// What is known of the blocks that are answered from, of all shards; oldest first, and of the same age by name.
    fn blocks(&self) -> impl Future<Output = Result<Vec<BlockMeta>, ReadError>>;

    /// The exemplars of the series that any of the selectors finds, within the range; in order of the series, each of which has
    /// at least one, the oldest first.
    fn exemplars(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
    ) -> impl Future<Output = Result<Limited<SeriesExemplars>, ReadError>>;

    /// What senders say of the metric family of this name, or of all, in order of the names. A family has its newest entry
    /// first, and no entry twice.
    fn metadata(
        &self,
        name: Option<String>,
    ) -> impl Future<Output = Result<Vec<Family>, ReadError>>;

    /// Deletes the samples that any of the selectors finds in the range. When it resolves no query sees them any more, nor
    /// after a crash; from the disk they go when their blocks are compacted or cleaned.
    ///
    /// - `selectors`: at least one; one without a condition finds all series.
    ///
    /// A sample that is sent again afterwards is taken as any other that is as old: the newest instant of its series is still
    /// the one that in-order samples follow.
    ///
    /// After an error some of them may be deleted. Asking again does no harm.
    fn delete_series(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
    ) -> impl Future<Output = Result<(), AdminError>>;

    /// Rewrites every block of which something is deleted, without that. May take long.
    fn clean_tombstones(&self) -> impl Future<Output = Result<(), AdminError>>;

    /// Makes a snapshot: one directory below `snapshots/` of the data directory, which Prometheus opens. When it resolves
    /// the snapshot is durable; after an error there is none. May take long.
    ///
    /// - `name`: the directory's, plain letters, digits and a hyphen.
    /// - `skip_head`: leave out what is not in a block yet.
    fn snapshot(
        &self,
        name: String,
        skip_head: bool,
    ) -> impl Future<Output = Result<(), AdminError>>;

    /// From now on the data is kept so, on all shards. Also a store that reads its log back can be told. After an error some
    /// of them may be told.
    fn configure(&self, storage: StorageOptions) -> impl Future<Output = Result<(), AdminError>>;

    /// Resolves when the store does this, which is at once unless it reads its log back. Holds nothing meanwhile, and may be
    /// dropped at any time; how long to wait is the caller's to say.
    fn opened(&self, need: Need) -> impl Future<Output = ()>;

    /// May requests be answered? Asked for every request: reads a few fields and waits for nobody.
    fn readiness(&self) -> Readiness;

    /// How many shards there are.
    fn shard_count(&self) -> usize;

    /// Which shard, in `0..shard_count`, owns the series whose fingerprint has this routing half.
    fn shard_of(&self, route: u64) -> usize;

    /// Makes the fingerprints by which this process knows series.
    fn fingerprinter(&self) -> &Fingerprinter;
}

/// Series with their samples, one after the other. What is damaged is left out, and told in the log.
pub trait SeriesReading {
    /// The next series, in order of labels, or more of the one before; `None` behind the last one.
    fn next(&mut self) -> impl Future<Output = Result<Option<ReadSeries>, ReadError>>;

    /// What is to be charged that the reader holds of it.
    fn account(&self) -> &Account;
}

/// A query that was evaluated.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// What it came to.
    pub answer: Answer,
    /// How long it took until it was parsed and planned.
    pub prepared_in: Duration,
    /// What the answer's memory is charged to, as long as it is held.
    pub account: Account,
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
    /// How many of its floats the store now has, those included that it had before.
    pub written: u64,
    /// How many of its native histograms likewise.
    pub histograms_written: u64,
    /// What the shards refused and why: the first [`REFUSALS_MAX`](crate::model::REFUSALS_MAX) series of it. What the
    /// decoder had refused still stands in the batch.
    pub refused: Vec<Refusal>,
    /// How many series the shards refused, whole or in part.
    pub refused_series: u64,
    /// How many of its exemplars the store has taken.
    pub exemplars_written: u64,
    /// Exemplars that were out of order.
    pub exemplars_refused: Refusals,
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
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The log is being replayed, or the server stops.
    #[error("the store does not answer now")]
    NotReady,
    /// The disk failed, or a block is damaged.
    #[error("storage: {0}")]
    Storage(String),
    /// What was found takes more memory than it may, or it takes too long.
    #[error(transparent)]
    Refused(#[from] QueryError),
}

/// Why something that an operator asked for is not done, or not on all shards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The log is being replayed, or the server stops.
    #[error("the store does not answer now")]
    NotReady,
    /// Something else has to be done first.
    #[error("{0}")]
    Busy(&'static str),
    /// The disk failed or is full, or a block is damaged.
    #[error("storage: {0}")]
    Storage(String),
}

/// A sorted list that may have been cut at a limit.
#[derive(Debug, Clone)]
pub struct Limited<T> {
    /// The items.
    pub items: Vec<T>,
    /// Were there more?
    pub truncated: bool,
    /// What their memory is charged to, as long as they are held.
    pub account: Account,
}

/// What a request needs of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To be read.
    Reads,
    /// To be written.
    Writes,
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
    /// Bytes of log that are read.
    pub bytes_read: u64,
    /// Bytes of log that there are.
    pub bytes: u64,
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
