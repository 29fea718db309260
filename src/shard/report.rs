//! What a shard tells of itself: gathered from its parts when somebody asks.

use super::Shard;
use super::life::Life;
use super::status::{
    BlocksStatus, CompactionStatus, DamageStatus, LateStatus, ReadStatus, ShardStatus, SpillStatus,
    TruncationStatus,
};
use crate::io::{Clock, Disk};
use crate::model::{TimeRange, TimestampMs};
use crate::rt::task;
use crate::storage::head::spill::SpillFiles;

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Counters and gauges.
    pub(super) fn status(&self) -> ShardStatus {
        let inner = &self.0;
        let Some(life) = inner.life.borrow().clone() else {
            return ShardStatus {
                shard: inner.id,
                panics: task::panics(),
                ..ShardStatus::default()
            };
        };
        let (head, commits) = (life.head.borrow().stats(), life.commits.stats());
        let view = life.served.view();
        let own = || view.blocks().iter().filter(|served| !served.is_mixed);
        let oldest = view.blocks().iter().map(|served| TimestampMs(served.block.meta().min_time));
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
            histograms_appended: head.histograms_appended,
            refused: inner.refused.get(),
            wal_segment: commits.segment,
            wal_bytes: life.spares.segment_bytes_in_use(),
            wal_written_bytes: commits.bytes,
            wal_flushes: commits.flushes_us,
            wal_failures: commits.failures,
            wal_failed: commits.has_failed,
            restarts: inner.restarts.get(),
            wal_corruptions: inner.damaged.get(),
            replay_ms: inner.replay_ms.get(),
            checkpoints: *inner.checkpoints.borrow(),
            spill: spill_status(&life.spill),
            late: LateStatus {
                samples: head.samples_late,
                histograms: head.histograms_late,
                seconds: life.head.borrow().lateness().clone(),
            },
            exemplars: life.head.borrow().exemplars().stats(),
            families: life.head.borrow().families().stats(),
            truncations: TruncationStatus {
                done: cuts,
                failed: inner.cut_failures.get(),
                took: inner.truncations_took.get(),
            },
            blocks: BlocksStatus {
                count: own().count() as u64,
                bytes: own().map(|served| served.block.bytes()).sum(),
                symbol_bytes: own().map(|served| served.block.held_bytes() as u64).sum(),
                changes: life.served.changes(),
                failures: inner.damaged_blocks.get(),
            },
            compactions: CompactionStatus {
                triggered: compactions.triggered + cuts + inner.cut_failures.get(),
                done: compactions.done + cuts,
                failed: compactions.failed + inner.cut_failures.get(),
                writing: life.jobs.count(),
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
            index_cache: life.cache.stats().into(),
            chunk_cache: life.cache.chunks.stats().into(),
            reads: read_status(&life),
            backlog: inner.pressure.status(),
            panics: task::panics(),
        }
    }
}

/// Full chunks that have left memory.
fn spill_status<D: Disk>(spill: &SpillFiles<D>) -> SpillStatus {
    let counts = spill.counts();
    SpillStatus { chunks: counts.spilled, bytes: spill.bytes(), damaged_chunks: counts.damaged }
}

/// Reads of the disk for answers.
fn read_status<D: Disk>(life: &Life<D>) -> ReadStatus {
    ReadStatus {
        block_index: life.cache.index_reads.reads(),
        block_chunks: life.cache.chunk_reads.reads(),
        head_chunks: life.spill.reads.reads(),
    }
}
