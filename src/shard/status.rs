//! What a shard tells of itself: for `/metrics` and the status pages.

use hdrhistogram::Histogram;

use crate::model::{RefusedSamples, ShardId, TimeRange, TimestampMs};

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
    /// Bytes that commits of the log wrote since the start, padding included.
    pub wal_written_bytes: u64,
    /// How long flushes of the log took, in microseconds.
    pub wal_flushes: Histogram<u64>,
    /// Commits of the log that failed since the start.
    pub wal_failures: u64,
    /// Has a write or a flush of the log failed, so that the shard takes no more writes until a restart?
    pub wal_failed: bool,
    /// Places in the log that replay found damaged.
    pub wal_corruptions: u64,
    /// Checkpoints written since the start.
    pub checkpoints: u64,
    /// Checkpoints that could not be written.
    pub checkpoint_failures: u64,
    /// How long the replay took, in milliseconds; `None` while it lasts.
    pub replay_ms: Option<u64>,
    /// Tasks that panicked on this shard's core.
    pub panics: u64,
}

/// How often a shard's label pairs are used. Values that live on several shards are told apart from different ones by
/// their hashes, so that the sums over all shards are exact; texts come only with the pairs that most series have.
#[derive(Debug, Clone, Default)]
pub struct PairUse {
    /// For every label name its values.
    pub names: Vec<(String, Vec<ValueUse>)>,
    /// The texts of the values that most series of this shard have, by their hashes: name and value.
    pub texts: Vec<(u64, String, String)>,
}

/// How often a shard uses one label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueUse {
    /// Hash of the pair.
    pub hash: u64,
    /// Length of the value.
    pub bytes: u32,
    /// Series of this shard that have it.
    pub series: u32,
}
