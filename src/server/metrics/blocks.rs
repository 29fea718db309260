//! Metrics of what is on disk for good: blocks, how they come to be and go, late samples, damage, the caches of index pages and of chunks.

use super::Scrape;
use super::exposition::{Buckets, Exposition, Kind};
use crate::coordinator::api::ShardStatus;
use crate::coordinator::api::status::{CacheStatus, ReadStatus, Reads};
use crate::model::Tally;

/// Name, help, and where a shard's number is.
type Number = (&'static str, &'static str, fn(&ShardStatus) -> u64);
/// Name, help, and where a shard's observations are.
type Observed = (&'static str, &'static str, fn(&ShardStatus) -> &Tally);

/// What was read, and where a shard's reads of it are.
type ReadOf = (&'static str, fn(&ReadStatus) -> Reads);

impl Scrape<'_> {
    fn sum(&self, of: impl Fn(&ShardStatus) -> u64) -> u64 {
        self.shards.iter().map(of).sum()
    }

    /// All shards' observations, added up; `none` is what there is without a shard.
    fn tally(&self, none: Tally, of: fn(&ShardStatus) -> &Tally) -> Buckets {
        let all = self.shards.iter().map(of).fold(none, |mut all, tally| {
            all.add(tally);
            all
        });
        Buckets { counts: all.counts().collect(), above: all.above(), sum: all.sum() }
    }

    pub(super) fn blocks(&self, to: &mut Exposition) {
        let gauges: [Number; 3] = [
            ("prometheus_tsdb_blocks_loaded", "Blocks that are answered from.", |s| s.blocks.count),
            ("prometheus_tsdb_storage_blocks_bytes", "What the blocks take on disk.", |s| {
                s.blocks.bytes
            }),
            (
                "prometheus_tsdb_symbol_table_size_bytes",
                "What the symbol tables of the blocks take in memory.",
                |s| s.blocks.symbol_bytes,
            ),
        ];
        for (name, help, of) in gauges {
            to.gauge(name, help, self.sum(of) as f64);
        }
        to.gauge(
            "prometheus_tsdb_retention_limit_seconds",
            "How long data is kept; 0: for ever.",
            self.configuration.storage.retention_ms.unwrap_or(0) as f64 / 1000.0,
        );
        to.gauge(
            "prometheus_tsdb_retention_limit_bytes",
            "How much data is kept, log and Head included; 0: all of it.",
            self.configuration.storage.retention_bytes.unwrap_or(0) as f64,
        );
        self.counters(
            to,
            &[
                (
                    "prometheus_tsdb_reloads_total",
                    "How often the blocks that are answered from became others.",
                    |s| s.blocks.changes,
                ),
                (
                    "prometheus_tsdb_reloads_failures_total",
                    "Blocks that could not be opened.",
                    |s| s.blocks.failures,
                ),
                (
                    "prometheus_tsdb_time_retentions_total",
                    "Blocks deleted because they were past the retention time.",
                    |s| s.retired_by_time,
                ),
                (
                    "prometheus_tsdb_size_retentions_total",
                    "Blocks deleted because all together were past the retention size.",
                    |s| s.retired_by_size,
                ),
            ],
        );
    }

    fn counters(&self, to: &mut Exposition, counters: &[Number]) {
        for (name, help, of) in counters {
            to.counter(name, help, self.sum(*of));
        }
    }

    pub(super) fn compactions(&self, to: &mut Exposition) {
        let counters: [Number; 4] = [
            (
                "prometheus_tsdb_compactions_total",
                "Blocks that were cut from a Head, merged or rewritten.",
                |s| s.compactions.done,
            ),
            (
                "prometheus_tsdb_compactions_triggered_total",
                "How often a cut or a merge was due.",
                |s| s.compactions.triggered,
            ),
            (
                "prometheus_tsdb_compactions_failed_total",
                "Cuts and merges that failed; what they were to replace stays.",
                |s| s.compactions.failed,
            ),
            ("prometheus_tsdb_vertical_compactions_total", "Merges of blocks that overlap.", |s| {
                s.compactions.vertical
            }),
        ];
        self.counters(to, &counters);
        to.gauge(
            "prometheus_tsdb_compaction_populating_block",
            "How many blocks are being written now, at most two a shard.",
            self.sum(|s| s.compactions.writing) as f64,
        );
        let none = ShardStatus::default();
        let histograms: [Observed; 5] = [
            (
                "prometheus_tsdb_compaction_duration_seconds",
                "How long cuts and merges took.",
                |s| &s.compactions.seconds,
            ),
            (
                "prometheus_tsdb_compaction_chunk_samples",
                "Samples of the chunks of blocks that were cut from a Head.",
                |s| &s.compactions.chunks.samples,
            ),
            (
                "prometheus_tsdb_compaction_chunk_size_bytes",
                "Bytes of the chunks of blocks that were cut from a Head.",
                |s| &s.compactions.chunks.bytes,
            ),
            (
                "prometheus_tsdb_compaction_chunk_range_seconds",
                "The time that the chunks of blocks span that were cut from a Head.",
                |s| &s.compactions.chunks.seconds,
            ),
            (
                "prometheus_tsdb_tombstone_cleanup_seconds",
                "How long it took to rewrite blocks without what was deleted of them.",
                |s| &s.cleanups,
            ),
        ];
        for (name, help, of) in histograms {
            let buckets = self.tally(of(&none).clone(), of);
            to.family(name, Kind::Histogram, help).histogram(&[], &buckets);
        }
    }

    pub(super) fn head_to_disk(&self, to: &mut Exposition) {
        to.gauge(
            "prometheus_tsdb_head_chunks_storage_size_bytes",
            "What the files take that full chunks of the Head have left memory for.",
            self.sum(|s| s.spill.bytes) as f64,
        );
        let counters: [Number; 4] = [
            (
                "prometheus_tsdb_mmap_chunks_total",
                "Full chunks of the Head that have left memory.",
                |s| s.spill.chunks,
            ),
            (
                "prometheus_tsdb_mmap_chunk_corruptions_total",
                "Chunks that have left memory and could not be read back as they were.",
                |s| s.spill.damaged_chunks,
            ),
            // As in Prometheus, what was tried counts, whether it failed or not.
            (
                "prometheus_tsdb_head_truncations_total",
                "How often the Head was to let go of two hours, once a block has them.",
                |s| s.truncations.done + s.truncations.failed,
            ),
            (
                "prometheus_tsdb_head_truncations_failed_total",
                "How often it kept them, because the block could not be written.",
                |s| s.truncations.failed,
            ),
        ];
        self.counters(to, &counters);
        let took: f64 = self.shards.iter().map(|s| s.truncations.took.as_secs_f64()).sum();
        to.family(
            "prometheus_tsdb_head_gc_duration_seconds",
            Kind::Summary,
            "How long the Head took to let go of what a block has.",
        )
        .summary(&[], &[], took, self.sum(|s| s.truncations.done));
    }

    pub(super) fn checkpoints(&self, to: &mut Exposition) {
        let counters: [Number; 6] = [
            ("prometheus_tsdb_checkpoint_creations_total", "Checkpoints that were begun.", |s| {
                s.checkpoints.begun
            }),
            (
                "prometheus_tsdb_checkpoint_creations_failed_total",
                "Checkpoints that could not be written; the log stays longer.",
                |s| s.checkpoints.failed,
            ),
            (
                "prometheus_tsdb_checkpoint_deletions_total",
                "Old checkpoints that were removed, and times that this failed.",
                |s| s.checkpoints.deletions + s.checkpoints.deletion_failures,
            ),
            (
                "prometheus_tsdb_checkpoint_deletions_failed_total",
                "Times that old checkpoints could not be removed.",
                |s| s.checkpoints.deletion_failures,
            ),
            (
                "prometheus_tsdb_wal_truncations_total",
                "How often the log before a checkpoint was to be freed: with each checkpoint.",
                |s| s.checkpoints.begun,
            ),
            (
                "prometheus_tsdb_wal_truncations_failed_total",
                "How often it could not be freed; the log stays longer.",
                |s| s.checkpoints.not_freed,
            ),
        ];
        self.counters(to, &counters);
        let took: f64 = self.shards.iter().map(|s| s.checkpoints.took.as_secs_f64()).sum();
        to.family(
            "prometheus_tsdb_wal_truncate_duration_seconds",
            Kind::Summary,
            "How long it took to write checkpoints and to free the log before them.",
        )
        .summary(&[], &[], took, self.sum(|s| s.checkpoints.begun));
    }

    pub(super) fn late_samples(&self, to: &mut Exposition) {
        let mut late = to.family(
            "prometheus_tsdb_head_out_of_order_samples_appended_total",
            Kind::Counter,
            "Samples that were taken although their series had a newer one.",
        );
        late.count(&[("type", "float")], self.sum(|s| s.late.samples));
        late.count(&[("type", "histogram")], self.sum(|s| s.late.histograms));
        let buckets = self.tally(Tally::of_lateness(), |s| &s.late.seconds);
        to.family(
            "prometheus_tsdb_sample_ooo_delta",
            Kind::Histogram,
            "By how many seconds samples were older than the newest, whether they were taken or not.",
        )
        .histogram(&[], &buckets);
    }

    pub(super) fn damage(&self, to: &mut Exposition) {
        to.gauge(
            "floodplain_damaged_blocks",
            "Blocks that are out of service because they are damaged; see the log and the directory quarantine.",
            self.sum(|s| s.damage.blocks) as f64,
        );
        to.counter(
            "floodplain_damaged_chunks_total",
            "Chunks of blocks that were passed over because they are damaged, each time they were read.",
            self.sum(|s| s.damage.chunks),
        );
        to.counter(
            "floodplain_damaged_answers_total",
            "Answers of shards that left something damaged out.",
            self.sum(|s| s.damage.answers),
        );
    }

    /// Reads that answers needed, by what was read.
    pub(super) fn reads(&self, to: &mut Exposition) {
        let kinds: [ReadOf; 3] = [
            ("block_index", |reads| reads.block_index),
            ("block_chunks", |reads| reads.block_chunks),
            ("head_chunks", |reads| reads.head_chunks),
        ];
        let read = |of: fn(&ReadStatus) -> Reads| self.shards.iter().map(move |s| of(&s.reads));
        let mut family = to.family(
            "floodplain_disk_reads_total",
            Kind::Counter,
            "Reads of stored data for answers that went to the disk, by what was read; head_chunks: chunks that have left memory, for late samples, too.",
        );
        for (kind, of) in kinds {
            family.count(&[("of", kind)], read(of).map(|reads| reads.count).sum());
        }
        let mut family = to.family(
            "floodplain_disk_read_bytes_total",
            Kind::Counter,
            "Bytes that the disk gave for them, in blocks of 4 KiB.",
        );
        for (kind, of) in kinds {
            family.count(&[("of", kind)], read(of).map(|reads| reads.bytes).sum());
        }
    }

    pub(super) fn index_cache(&self, to: &mut Exposition) {
        let texts = [
            (
                "floodplain_index_cache_hits_total",
                "Pages of blocks' indexes that were asked for and in memory.",
            ),
            (
                "floodplain_index_cache_misses_total",
                "Pages of blocks' indexes that had to be read.",
            ),
            (
                "floodplain_index_cache_evictions_total",
                "Pages of blocks' indexes that went to make room.",
            ),
            ("floodplain_index_cache_bytes", "Pages of blocks' indexes in memory."),
            ("floodplain_index_cache_limit_bytes", "How many bytes of them there may be."),
        ];
        self.cache(to, |shard| shard.index_cache, texts);
    }

    pub(super) fn chunk_cache(&self, to: &mut Exposition) {
        let texts = [
            (
                "floodplain_chunk_cache_hits_total",
                "Chunks of blocks and of spill files that queries asked for and that were in memory.",
            ),
            (
                "floodplain_chunk_cache_misses_total",
                "Chunks that queries asked for and that had to be read.",
            ),
            ("floodplain_chunk_cache_evictions_total", "Chunks that went to make room."),
            (
                "floodplain_chunk_cache_bytes",
                "Chunks in memory that queries have read, with what it takes to find them.",
            ),
            ("floodplain_chunk_cache_limit_bytes", "How many bytes of them there may be."),
        ];
        self.cache(to, |shard| shard.chunk_cache, texts);
    }

    /// Name and help text of a cache's hits, misses, evictions, bytes and limit.
    fn cache(
        &self,
        to: &mut Exposition,
        of: impl Fn(&ShardStatus) -> CacheStatus,
        [hits, misses, evictions, bytes, limit]: [(&'static str, &'static str); 5],
    ) {
        to.counter(hits.0, hits.1, self.sum(|s| of(s).hits));
        to.counter(misses.0, misses.1, self.sum(|s| of(s).misses));
        to.counter(evictions.0, evictions.1, self.sum(|s| of(s).evictions));
        to.gauge(bytes.0, bytes.1, self.sum(|s| of(s).bytes) as f64);
        to.gauge(limit.0, limit.1, self.sum(|s| of(s).bytes_max) as f64);
    }
}
