//! What a shard tells of itself: for `/metrics` and the status pages.
//!
//! All of it has a default, that of a shard which has done nothing yet: who counts something new sets its fields only.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::model::{ChunkTally, RefusedSamples, ShardId, Tally, TimeRange, TimestampMs};
use crate::storage::block::cache::CacheStats;
use crate::storage::files::CheckpointCounts;
pub use crate::storage::head::exemplars::ExemplarStats;
pub use crate::storage::head::families::FamilyStats;
pub use crate::storage::reads::Reads;

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
    /// Floats taken by the Head since the start, replayed ones not counted.
    pub samples_appended: u64,
    /// Native histograms likewise.
    pub histograms_appended: u64,
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
    /// Has a write or a flush of the log failed, so that the shard takes no writes until it is opened anew?
    pub wal_failed: bool,
    /// How often the shard was opened anew for that since the start.
    pub restarts: u64,
    /// Places in the log that replay found damaged.
    pub wal_corruptions: u64,
    /// Checkpoints, and the log that they free.
    pub checkpoints: CheckpointStatus,
    /// Full chunks that have left memory.
    pub spill: SpillStatus,
    /// Samples that came late.
    pub late: LateStatus,
    /// What is said of metric families.
    pub families: FamilyStats,
    /// The exemplars.
    pub exemplars: ExemplarStats,
    /// What was cut off the Head once a block had it.
    pub truncations: TruncationStatus,
    /// The blocks that the shard answers from.
    pub blocks: BlocksStatus,
    /// Blocks that were cut or merged.
    pub compactions: CompactionStatus,
    /// Blocks deleted since the start because they were past the retention time.
    pub retired_by_time: u64,
    /// Blocks deleted since the start because all together were past the retention size.
    pub retired_by_size: u64,
    /// Cleanups of tombstones since the start, in seconds.
    pub cleanups: Tally,
    /// Stored data that could not be read.
    pub damage: DamageStatus,
    /// The pages of blocks' indexes in memory.
    pub index_cache: CacheStatus,
    /// The chunks in memory that queries have read.
    pub chunk_cache: CacheStatus,
    /// Reads of the disk for answers since the start.
    pub reads: ReadStatus,
    /// How far long work is behind.
    pub backlog: BacklogStatus,
    /// How long the replay took, in milliseconds; `None` while it lasts.
    pub replay_ms: Option<u64>,
    /// Tasks that panicked on this shard's core.
    pub panics: u64,
}

/// Checkpoints of a shard, and the log that they free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointStatus {
    /// Begun since the start; each frees the log before it.
    pub begun: u64,
    /// That could not be written.
    pub failed: u64,
    /// After which the log before could not be freed, for that reason or another.
    pub not_freed: u64,
    /// How long all of that took.
    pub took: Duration,
    /// Removed since the start, because a newer one covers what they did.
    pub deletions: u64,
    /// Times that they could not be removed.
    pub deletion_failures: u64,
}

impl CheckpointStatus {
    /// Counts one that was begun.
    ///
    /// - `before`, `after`: what its files had come to before and after.
    /// - `took`: how long it took.
    /// - `has_freed`: is the log before it free, too?
    pub fn note(
        &mut self,
        before: CheckpointCounts,
        after: CheckpointCounts,
        took: Duration,
        has_freed: bool,
    ) {
        self.begun += 1;
        self.failed += u64::from(after.written == before.written);
        self.not_freed += u64::from(!has_freed);
        self.took += took;
        self.deletions += after.deleted - before.deleted;
        self.deletion_failures += after.deletion_failures - before.deletion_failures;
    }
}

/// Reads of the disk for answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadStatus {
    /// Of the indexes of blocks.
    pub block_index: Reads,
    /// Of the chunks of blocks.
    pub block_chunks: Reads,
    /// Of chunks of the Head that have left memory; for late samples that may be known, too.
    pub head_chunks: Reads,
}

/// How far a shard's long work is behind, and what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BacklogStatus {
    /// Ranges of two hours that have full chunks which ought to be in blocks.
    pub overdue_ranges: u64,
    /// Bytes of chunks in memory that are full.
    pub full_chunk_bytes: u64,
    /// How long the oldest job is under way; zero if there is none.
    pub job_age: Duration,
    /// The nice level of the thread that does them, once it is known.
    pub niceness: Option<i32>,
    /// Are writes held back?
    pub is_holding: bool,
    /// Writes that were held back since the start.
    pub held_writes: u64,
    /// Those of them that were refused in the end.
    pub refused_writes: u64,
}

/// Full chunks that have left memory for files.
#[derive(Debug, Clone, Default)]
pub struct SpillStatus {
    /// Chunks written since the start.
    pub chunks: u64,
    /// What their files take on disk now, in bytes.
    pub bytes: u64,
    /// Chunks that could not be read back, or not as they were written.
    pub damaged_chunks: u64,
}

/// Samples that came when their series had a newer one already.
#[derive(Debug, Clone)]
pub struct LateStatus {
    /// Floats taken since the start, replayed ones not counted.
    pub samples: u64,
    /// Native histograms likewise.
    pub histograms: u64,
    /// By how many seconds they were late, the refused ones included.
    pub seconds: Tally,
}

/// What was cut off the Head once a block had it.
#[derive(Debug, Clone, Default)]
pub struct TruncationStatus {
    /// Ended since the start.
    pub done: u64,
    /// That could not begin, because there was no block.
    pub failed: u64,
    /// How long those took that ended, all together.
    pub took: Duration,
}

/// The blocks that a shard answers from.
#[derive(Debug, Clone, Default)]
pub struct BlocksStatus {
    /// How many.
    pub count: u64,
    /// What they take on disk, in bytes.
    pub bytes: u64,
    /// What their symbol tables take in memory, in bytes.
    pub symbol_bytes: u64,
    /// How often the set of blocks changed since the start.
    pub changes: u64,
    /// Blocks that could not be opened.
    pub failures: u64,
}

/// Blocks that were cut from the Head, merged, or rewritten.
#[derive(Debug, Clone)]
pub struct CompactionStatus {
    /// How often a cut or a merge was found due since the start.
    pub triggered: u64,
    /// That ended with a block, or with none because nothing was left.
    pub done: u64,
    /// That ended with an error.
    pub failed: u64,
    /// Of those done, merges of blocks that overlap.
    pub vertical: u64,
    /// How long those done took, in seconds.
    pub seconds: Tally,
    /// Blocks that are being written now.
    pub writing: u64,
    /// The chunks of the blocks that were cut from the Head.
    pub chunks: ChunkTally,
}

/// Stored data that could not be read, and what was made of it.
#[derive(Debug, Clone, Default)]
pub struct DamageStatus {
    /// Blocks that are out of service: they did not open, or were quarantined.
    pub blocks: u64,
    /// Chunks that were passed over since the start.
    pub chunks: u64,
    /// Answers since the start that left something damaged out.
    pub answers: u64,
}

/// What a cache of a shard did, and holds: pages of blocks' indexes, or chunks.
#[derive(Debug, Clone, Copy, Default)]
pub struct CacheStatus {
    /// Items asked for since the start that were there.
    pub hits: u64,
    /// Items asked for since the start that had to be read.
    pub misses: u64,
    /// Items that went to make room.
    pub evictions: u64,
    /// Bytes held now.
    pub bytes: u64,
    /// How many there may be.
    pub bytes_max: u64,
}

impl From<CacheStats> for CacheStatus {
    fn from(stats: CacheStats) -> Self {
        let CacheStats { hits, misses, evictions, bytes, bytes_max, .. } = stats;
        Self { hits, misses, evictions, bytes: bytes as u64, bytes_max: bytes_max as u64 }
    }
}

impl Default for ShardStatus {
    /// Of shard 0, before anything has happened.
    fn default() -> Self {
        Self {
            shard: ShardId(0),
            series: 0,
            series_created: 0,
            series_removed: 0,
            chunks: 0,
            chunks_created: 0,
            chunks_removed: 0,
            head_range: None,
            oldest: None,
            samples_appended: 0,
            histograms_appended: 0,
            refused: RefusedSamples::default(),
            wal_segment: 0,
            wal_bytes: 0,
            wal_written_bytes: 0,
            wal_flushes: Histogram::new(3).expect("bounds that the crate documents as valid"),
            wal_failures: 0,
            wal_failed: false,
            restarts: 0,
            wal_corruptions: 0,
            checkpoints: CheckpointStatus::default(),
            spill: SpillStatus::default(),
            late: LateStatus::default(),
            families: FamilyStats::default(),
            exemplars: ExemplarStats::default(),
            truncations: TruncationStatus::default(),
            blocks: BlocksStatus::default(),
            compactions: CompactionStatus::default(),
            retired_by_time: 0,
            retired_by_size: 0,
            cleanups: Tally::of_cleanups(),
            damage: DamageStatus::default(),
            index_cache: CacheStatus::default(),
            chunk_cache: CacheStatus::default(),
            reads: ReadStatus::default(),
            backlog: BacklogStatus::default(),
            replay_ms: None,
            panics: 0,
        }
    }
}

impl Default for LateStatus {
    fn default() -> Self {
        Self { samples: 0, histograms: 0, seconds: Tally::of_lateness() }
    }
}

impl Default for CompactionStatus {
    fn default() -> Self {
        Self {
            triggered: 0,
            done: 0,
            failed: 0,
            vertical: 0,
            seconds: Tally::of_compactions(),
            writing: 0,
            chunks: ChunkTally::default(),
        }
    }
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
