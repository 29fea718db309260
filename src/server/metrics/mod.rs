//! The server's own metrics, under the names that dashboards know.
//!
//! Owns which families there are: `service`, `ingest`, `store`, `blocks` and `backlog` write them, each those of its noun. The numbers come from the cores' request counters (`counters`), the shards' reports,
//! and the kernel (`process`); `exposition` writes the format. Names that begin with `prometheus_` mean what they mean in
//! Prometheus, over all shards together; what it has no name for begins with `floodplain_`.
//! Source of the names: `web/web.go`, `tsdb/head.go`, `tsdb/db.go`, `tsdb/compact.go`, `tsdb/wlog/wlog.go`, `promql/engine.go`, Prometheus 3.14.

mod backlog;
mod blocks;
pub mod counters;
pub mod exposition;
mod ingest;
pub mod process;
mod service;
mod store;

pub use counters::Counters;
use exposition::Exposition;
use process::Process;

use crate::coordinator::api::{BudgetStatus, Readiness, ResultsStatus, ShardStatus};
use crate::model::TimestampMs;
use crate::server::config::InForce;

/// Everything that one scrape tells about.
#[derive(Debug)]
pub struct Scrape<'a> {
    /// What the cores counted.
    pub counters: &'a Counters,
    /// What the shards report.
    pub shards: &'a [ShardStatus],
    /// May requests be answered?
    pub readiness: Readiness,
    /// The process.
    pub process: &'a Process,
    /// When it started.
    pub started: TimestampMs,
    /// Did the one before end in good order?
    pub clean_start: bool,
    /// What the configuration file and the flags say, and since when.
    pub configuration: &'a InForce,
    /// Was the last configuration file that was read taken?
    pub configured: bool,
    /// Bytes of writes in flight.
    pub inflight_bytes: usize,
    /// How many of them there may be.
    pub inflight_bytes_max: usize,
    /// How many queries may run at once.
    pub queries_max: usize,
    /// What the answers have come to that are kept for range queries.
    pub results: ResultsStatus,
    /// How much memory queries hold.
    pub query_memory: BudgetStatus,
}

impl Scrape<'_> {
    /// The exposition.
    #[must_use]
    pub fn expose(&self) -> Vec<u8> {
        let mut to = Exposition::default();
        self.server(&mut to);
        self.requests(&mut to);
        self.queries(&mut to);
        self.remote_write(&mut to);
        self.refusals(&mut to);
        self.head(&mut to);
        self.metadata(&mut to);
        self.exemplars(&mut to);
        self.wal(&mut to);
        self.head_to_disk(&mut to);
        self.checkpoints(&mut to);
        self.late_samples(&mut to);
        self.blocks(&mut to);
        self.compactions(&mut to);
        self.damage(&mut to);
        self.index_cache(&mut to);
        self.chunk_cache(&mut to);
        self.reads(&mut to);
        self.backlog(&mut to);
        self.shards(&mut to);
        self.process(&mut to);
        to.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use hdrhistogram::Histogram;
    use http::StatusCode;

    use super::*;
    use crate::coordinator::api::status::{
        BacklogStatus, BlocksStatus, CacheStatus, CheckpointStatus, CompactionStatus, DamageStatus,
        LateStatus, ReadStatus, Reads, SpillStatus, TruncationStatus,
    };
    use crate::coordinator::api::{RefusedSamples, StorageOptions};
    use crate::model::{Refusal, RefusalReason, ShardId, TimeRange};
    use crate::server::config::Config;
    use crate::server::route::Endpoint;

    fn shard(shard: u16, flushes_us: &[u64]) -> ShardStatus {
        let range = TimeRange::new(TimestampMs(1_000), TimestampMs(5_500)).unwrap();
        let mut wal_flushes = Histogram::new(3).unwrap();
        for flush in flushes_us {
            wal_flushes.record(*flush).unwrap();
        }
        let mut compactions = CompactionStatus { done: 2, writing: 1, ..Default::default() };
        compactions.seconds.observe(3.5);
        compactions.chunks.observe(120, 200, range);
        ShardStatus {
            shard: ShardId(shard),
            series: 10,
            series_created: 12,
            series_removed: 2,
            chunks: 20,
            chunks_created: 20,
            chunks_removed: 0,
            head_range: Some(range),
            oldest: Some(TimestampMs(500)),
            samples_appended: 1_000_000_000_000,
            refused: RefusedSamples { duplicate: 7, labels: 1, ..RefusedSamples::default() },
            wal_segment: 3,
            wal_bytes: 4096,
            wal_written_bytes: 8192,
            wal_flushes,
            wal_failed: shard == 1,
            checkpoints: CheckpointStatus {
                begun: 5,
                failed: 1,
                not_freed: 2,
                took: Duration::from_millis(250),
                deletions: 3,
                deletion_failures: 1,
            },
            spill: SpillStatus { chunks: 9, bytes: 4096, damaged_chunks: 0 },
            late: LateStatus { samples: 5, ..LateStatus::default() },
            truncations: TruncationStatus { done: 2, failed: 1, took: Duration::from_millis(1250) },
            blocks: BlocksStatus { count: 3, bytes: 1 << 20, ..BlocksStatus::default() },
            compactions,
            retired_by_time: 1,
            damage: DamageStatus { blocks: 1, chunks: 2, answers: 3 },
            reads: ReadStatus {
                block_chunks: Reads { count: 3, bytes: 12_288 },
                ..ReadStatus::default()
            },
            backlog: BacklogStatus {
                overdue_ranges: 2,
                niceness: Some(10),
                is_holding: shard == 1,
                refused_writes: 7,
                ..BacklogStatus::default()
            },
            index_cache: CacheStatus { hits: 8, bytes: 100, ..Default::default() },
            chunk_cache: CacheStatus { misses: 3, bytes_max: 50, ..Default::default() },
            replay_ms: Some(1500),
            ..ShardStatus::default()
        }
    }

    fn exposition(shards: &[ShardStatus]) -> String {
        let counters = Counters::for_cores(2);
        counters[0].request(Endpoint::Query, StatusCode::OK, Duration::from_millis(3));
        counters[1].request(Endpoint::Write, StatusCode::NO_CONTENT, Duration::from_millis(3));
        counters[1].query_samples.add(3);
        counters[1].write_durations.observe(Duration::from_millis(3));
        let refusal =
            Refusal { series: String::new(), samples: 4, reason: RefusalReason::NoMetricName };
        counters[1].refused(&[refusal], 4);
        let scrape = Scrape {
            counters: &counters[0],
            shards,
            readiness: Readiness::Ready,
            process: &Process::look(),
            started: TimestampMs(1_700_000_000_500),
            clean_start: true,
            configuration: &InForce {
                config: Config::default(),
                storage: StorageOptions::default(),
                since: TimestampMs(1_700_000_000_250),
            },
            configured: true,
            inflight_bytes: 5,
            inflight_bytes_max: 1 << 30,
            queries_max: 20,
            results: ResultsStatus { bytes_max: 64 << 20, ..ResultsStatus::default() },
            query_memory: BudgetStatus { held_max: 2 << 30, ..BudgetStatus::default() },
        };
        String::from_utf8(scrape.expose()).unwrap()
    }

    #[test]
    fn shards_add_up_under_prometheus_names() {
        let text = exposition(&[shard(0, &[100; 9]), shard(1, &[2_000])]);
        for line in [
            "prometheus_ready 1",
            "prometheus_tsdb_clean_start 1",
            "prometheus_config_last_reload_successful 1",
            "prometheus_config_last_reload_success_timestamp_seconds 1700000000.25",
            "prometheus_engine_query_samples_total 3",
            "prometheus_tsdb_head_series 20",
            "prometheus_tsdb_head_samples_appended_total{type=\"float\"} 2000000000000",
            "prometheus_tsdb_head_min_time 1000",
            "prometheus_tsdb_head_max_time_seconds 5.5",
            "prometheus_tsdb_lowest_timestamp_seconds 0.5",
            "prometheus_tsdb_wal_fsync_duration_seconds{quantile=\"0.5\"} 0.0001",
            "prometheus_tsdb_wal_fsync_duration_seconds{quantile=\"0.99\"} 0.002",
            "prometheus_tsdb_wal_fsync_duration_seconds_count 10",
            "prometheus_tsdb_data_replay_duration_seconds 1.5",
            "prometheus_tsdb_head_chunks_storage_size_bytes 8192",
            "prometheus_tsdb_mmap_chunks_total 18",
            "prometheus_tsdb_head_truncations_total 6",
            "prometheus_tsdb_head_truncations_failed_total 2",
            "prometheus_tsdb_head_gc_duration_seconds_sum 2.5",
            "prometheus_tsdb_head_gc_duration_seconds_count 4",
            "prometheus_tsdb_checkpoint_creations_total 10",
            "prometheus_tsdb_checkpoint_creations_failed_total 2",
            "prometheus_tsdb_checkpoint_deletions_total 8",
            "prometheus_tsdb_wal_truncations_total 10",
            "prometheus_tsdb_wal_truncations_failed_total 4",
            "prometheus_tsdb_wal_truncate_duration_seconds_sum 0.5",
            "prometheus_tsdb_head_out_of_order_samples_appended_total{type=\"float\"} 10",
            "prometheus_tsdb_sample_ooo_delta_bucket{le=\"600\"} 0",
            "prometheus_tsdb_blocks_loaded 6",
            "prometheus_tsdb_storage_blocks_bytes 2097152",
            "prometheus_tsdb_reloads_failures_total 0",
            "prometheus_tsdb_retention_limit_seconds 1296000",
            "prometheus_tsdb_retention_limit_bytes 0",
            "prometheus_tsdb_time_retentions_total 2",
            "prometheus_tsdb_compactions_total 4",
            "prometheus_tsdb_compaction_populating_block 2",
            "prometheus_tsdb_compaction_duration_seconds_bucket{le=\"4\"} 2",
            "prometheus_tsdb_compaction_duration_seconds_sum 7",
            "prometheus_tsdb_compaction_chunk_samples_bucket{le=\"102.515625\"} 0",
            "prometheus_tsdb_compaction_chunk_samples_bucket{le=\"153.7734375\"} 2",
            "prometheus_tsdb_compaction_chunk_range_seconds_bucket{le=\"1.6384e+06\"} 2",
            "prometheus_tsdb_tombstone_cleanup_seconds_count 0",
            "floodplain_damaged_blocks 2",
            "floodplain_damaged_chunks_total 4",
            "floodplain_index_cache_hits_total 16",
            "floodplain_chunk_cache_misses_total 6",
            "floodplain_chunk_cache_limit_bytes 100",
            "floodplain_disk_reads_total{of=\"block_index\"} 0",
            "floodplain_disk_reads_total{of=\"block_chunks\"} 6",
            "floodplain_disk_read_bytes_total{of=\"block_chunks\"} 24576",
            "floodplain_shard_overdue_ranges{shard=\"001\"} 2",
            "floodplain_shard_writes_held{shard=\"000\"} 0",
            "floodplain_shard_writes_held{shard=\"001\"} 1",
            "floodplain_shard_held_writes_refused_total{shard=\"000\"} 7",
            "floodplain_shard_background_nice_level{shard=\"000\"} 10",
            "prometheus_http_requests_total{code=\"204\",handler=\"/api/v1/write\"} 1",
            "prometheus_api_remote_write_invalid_labels_samples_total 6",
            "floodplain_remote_write_refused_samples_total{reason=\"duplicate\"} 14",
            "floodplain_remote_write_duration_seconds_bucket{le=\"0.003\"} 1",
            "floodplain_shard_wal_failed{shard=\"000\"} 0",
            "floodplain_shard_wal_failed{shard=\"001\"} 1",
            "floodplain_shard_series{shard=\"001\"} 10",
            "process_start_time_seconds 1700000000.5",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn without_shards_there_are_still_all_families() {
        let text = exposition(&[]);
        assert!(text.contains("prometheus_tsdb_head_series 0\n"));
        assert!(text.contains("prometheus_tsdb_compaction_duration_seconds_bucket{le=\"1\"} 0\n"));
        assert!(
            text.contains("prometheus_tsdb_wal_fsync_duration_seconds{quantile=\"0.5\"} NaN\n")
        );
        assert!(text.contains("prometheus_tsdb_lowest_timestamp_seconds 9223372036854776\n"));
    }

    #[test] // promtool knows the format and the conventions; Debian's package `prometheus` has it
    fn promtool_finds_nothing_wrong_with_the_exposition() {
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            eprintln!("skipped: promtool is not installed (Debian: apt-get install prometheus)");
            return;
        };
        let text = exposition(&[shard(0, &[100]), shard(1, &[])]);
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        // Prometheus itself gives this name to a histogram, and dashboards look for it.
        let known = "prometheus_engine_query_duration_histogram_seconds metric name should not include type";
        let wrong: Vec<_> =
            said.lines().filter(|line| !line.is_empty() && !line.starts_with(known)).collect();
        assert!(wrong.is_empty() && output.status.code() != Some(1), "{wrong:?}");
    }
}
