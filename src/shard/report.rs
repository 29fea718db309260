//! What a shard tells of itself: gathered from its parts when somebody asks.

use super::Shard;
use super::status::{
    BlocksStatus, CompactionStatus, DamageStatus, IndexCacheStatus, LateStatus, ReadStatus,
    ShardStatus, SpillStatus, TruncationStatus,
};
use crate::io::{Clock, Disk};
use crate::model::{TimeRange, TimestampMs};
use crate::rt::task;

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Counters and gauges.
    pub(super) fn status(&self) -> ShardStatus {
        let inner = &self.0;
        let (head, commits) = (inner.head.borrow().stats(), inner.commits.stats());
        let view = inner.served.view();
        let own = || view.blocks().iter().filter(|served| !served.is_mixed);
        let oldest = view.blocks().iter().map(|served| TimestampMs(served.block.meta().min_time));
        let cache = self.opened().map(|opened| opened.cache.stats()).unwrap_or_default();
        let cache_max = self.opened().map_or(0, |opened| opened.options.index_cache_bytes as u64);
        let compactions = inner.compactions.borrow().clone();
        let cuts = inner.cuts.get();
        ShardStatus {
            shard: inner.id,
            series: head.series,
            series_created: head.series + head.series_removed,
            series_removed: head.series_removed,
            chunks: head.chunks,
            chunks_created: head.chunks + head.chunks_removed,
            chunks_removed: head.chunks_removed,
            head_range: head.range,
            oldest: head.range.map(TimeRange::min).into_iter().chain(oldest).min(),
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
            checkpoints: *inner.checkpoints.borrow(),
            spill: self.spill_status(),
            late: LateStatus {
                samples: head.samples_late,
                seconds: inner.head.borrow().lateness().clone(),
            },
            truncations: TruncationStatus {
                done: cuts,
                failed: inner.cut_failures.get(),
                took: inner.truncations_took.get(),
            },
            blocks: BlocksStatus {
                count: own().count() as u64,
                bytes: own().map(|served| served.block.bytes()).sum(),
                symbol_bytes: own().map(|served| served.block.held_bytes() as u64).sum(),
                changes: inner.served.changes(),
                failures: inner.damaged_blocks.get(),
            },
            compactions: CompactionStatus {
                triggered: compactions.triggered + cuts + inner.cut_failures.get(),
                done: compactions.done + cuts,
                failed: compactions.failed + inner.cut_failures.get(),
                writing: self.opened().map_or(0, |opened| opened.work.count()),
                ..compactions
            },
            retired_by_time: inner.retired_by_time.get(),
            retired_by_size: inner.retired_by_size.get(),
            cleanups: inner.cleanups.borrow().clone(),
            damage: DamageStatus {
                blocks: inner.damaged_blocks.get(),
                chunks: inner.damaged_reads.get(),
                answers: inner.damaged_answers.get(),
            },
            index_cache: IndexCacheStatus {
                hits: cache.hits,
                misses: cache.misses,
                evictions: cache.evictions,
                bytes: cache.bytes as u64,
                bytes_max: cache_max,
            },
            reads: self.read_status(),
            backlog: inner.pressure.status(),
            panics: task::panics(),
        }
    }

    /// Full chunks that have left memory.
    fn spill_status(&self) -> SpillStatus {
        let Ok(opened) = self.opened() else { return SpillStatus::default() };
        let (spill, counts) = (&opened.spill, opened.spill.counts());
        SpillStatus { chunks: counts.spilled, bytes: spill.bytes(), damaged_chunks: counts.damaged }
    }

    /// Reads of the disk for answers.
    fn read_status(&self) -> ReadStatus {
        let Ok(opened) = self.opened() else { return ReadStatus::default() };
        ReadStatus {
            block_index: opened.cache.index_reads.reads(),
            block_chunks: opened.cache.chunk_reads.reads(),
            head_chunks: opened.spill.reads.reads(),
        }
    }
}
