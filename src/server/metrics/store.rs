//! Metrics of the store: the shards' reports, added up, and the few by which shards are told apart.

use hdrhistogram::Histogram;

use super::Scrape;
use super::exposition::{Exposition, Kind};
use crate::coordinator::api::ShardStatus;
use crate::model::TimeRange;

impl Scrape<'_> {
    pub(super) fn head(&self, to: &mut Exposition) {
        let sum = |of: fn(&ShardStatus) -> u64| self.shards.iter().map(of).sum::<u64>();
        to.gauge("prometheus_tsdb_head_series", "Series in the Head.", sum(|s| s.series) as f64);
        to.counter(
            "prometheus_tsdb_head_series_created_total",
            "Series made.",
            sum(|s| s.series_created),
        );
        to.counter(
            "prometheus_tsdb_head_series_removed_total",
            "Series removed.",
            sum(|s| s.series_removed),
        );
        to.gauge("prometheus_tsdb_head_chunks", "Chunks of the Head.", sum(|s| s.chunks) as f64);
        to.counter(
            "prometheus_tsdb_head_chunks_created_total",
            "Chunks begun.",
            sum(|s| s.chunks_created),
        );
        to.counter(
            "prometheus_tsdb_head_chunks_removed_total",
            "Chunks dropped.",
            sum(|s| s.chunks_removed),
        );
        let mut appended = to.family(
            "prometheus_tsdb_head_samples_appended_total",
            Kind::Counter,
            "Samples appended to the Head.",
        );
        appended.count(&[("type", "float")], sum(|s| s.samples_appended));
        appended.count(&[("type", "histogram")], sum(|s| s.histograms_appended));
        // An empty Head has its times the wrong way round, in Prometheus and therefore here.
        let range =
            self.shards.iter().filter_map(|shard| shard.head_range).reduce(TimeRange::cover);
        let (min, max) = range.map_or((i64::MAX, i64::MIN), |range| (range.min().0, range.max().0));
        let oldest = self.shards.iter().filter_map(|shard| shard.oldest).min().map_or(min, |t| t.0);
        for (name, seconds_name, help, t) in [
            (
                "prometheus_tsdb_head_min_time",
                "prometheus_tsdb_head_min_time_seconds",
                "Oldest time in the Head",
                min,
            ),
            (
                "prometheus_tsdb_head_max_time",
                "prometheus_tsdb_head_max_time_seconds",
                "Newest time in the Head",
                max,
            ),
            (
                "prometheus_tsdb_lowest_timestamp",
                "prometheus_tsdb_lowest_timestamp_seconds",
                "Oldest time that is stored",
                oldest,
            ),
        ] {
            to.gauge(name, &format!("{help}, in milliseconds since 1970."), t as f64);
            to.gauge(seconds_name, &format!("{help}, in seconds since 1970."), t as f64 / 1000.0);
        }
    }

    pub(super) fn exemplars(&self, to: &mut Exposition) {
        let sum = |of: fn(&ShardStatus) -> u64| self.shards.iter().map(of).sum::<u64>();
        to.counter(
            "prometheus_tsdb_exemplar_exemplars_appended_total",
            "Exemplars taken.",
            sum(|s| s.exemplars.appended),
        );
        to.gauge(
            "prometheus_tsdb_exemplar_exemplars_in_storage",
            "Exemplars that are kept.",
            sum(|s| s.exemplars.exemplars) as f64,
        );
        to.gauge(
            "prometheus_tsdb_exemplar_series_with_exemplars_in_storage",
            "Series of which exemplars are kept.",
            sum(|s| s.exemplars.series) as f64,
        );
        let oldest = self.shards.iter().filter_map(|shard| shard.exemplars.oldest).min();
        to.gauge(
            "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds",
            "The time of the exemplar that came first of those that are kept, in seconds since 1970; 0 if there is none.",
            oldest.map_or(0.0, |t| t.0 as f64 / 1000.0),
        );
        to.counter(
            "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
            "Exemplars that were refused because their series had a newer one.",
            sum(|s| s.exemplars.out_of_order),
        );
        to.gauge(
            "prometheus_tsdb_exemplar_max_exemplars",
            "How many exemplars are kept at most.",
            sum(|s| s.exemplars.max) as f64,
        );
        to.counter(
            "floodplain_exemplars_refused_total",
            "Exemplars that were not taken for another reason: labels of more than 128 characters or that are no set, a time too far ahead, no samples of their series or more than 8 KiB of its labels.",
            sum(|s| s.exemplars.refused) + self.counters.sum(|core| core.refused_exemplars.get()),
        );
    }

    pub(super) fn metadata(&self, to: &mut Exposition) {
        let sum = |of: fn(&ShardStatus) -> u64| self.shards.iter().map(of).sum::<u64>();
        to.gauge(
            "floodplain_metadata_families",
            "Metric families of which something is said: type, help text, unit.",
            sum(|s| s.families.families) as f64,
        );
        to.gauge(
            "floodplain_metadata_bytes",
            "Bytes of these texts and of the families' names.",
            sum(|s| s.families.bytes) as f64,
        );
        to.counter(
            "floodplain_metadata_refused_total",
            "Entries of metadata that were not taken: a limit is reached, or they are not UTF-8 or have no name.",
            sum(|s| s.families.refused),
        );
    }

    pub(super) fn wal(&self, to: &mut Exposition) {
        let sum = |of: fn(&ShardStatus) -> u64| self.shards.iter().map(of).sum::<u64>();
        to.gauge(
            "prometheus_tsdb_wal_segment_current",
            "The number of the log segment being written, summed over the shards.",
            sum(|s| s.wal_segment) as f64,
        );
        to.gauge(
            "prometheus_tsdb_wal_storage_size_bytes",
            "What the log takes on disk.",
            sum(|s| s.wal_bytes) as f64,
        );
        to.counter(
            "floodplain_wal_written_bytes_total",
            "Bytes written to the log, headers and padding included.",
            sum(|s| s.wal_written_bytes),
        );
        to.counter(
            "prometheus_tsdb_wal_writes_failed_total",
            "Commits of the log that failed; see floodplain_shard_wal_failed for which of them was the last.",
            sum(|s| s.wal_failures),
        );
        to.counter(
            "prometheus_tsdb_wal_corruptions_total",
            "Places in the log that replay found damaged.",
            sum(|s| s.wal_corruptions),
        );
        let flushes = Flushes::of(self.shards.iter().map(|shard| &shard.wal_flushes));
        to.family(
            "prometheus_tsdb_wal_fsync_duration_seconds",
            Kind::Summary,
            "How long flushes of the log took, since the start.",
        )
        .summary(&[], &flushes.quantiles, flushes.sum_seconds, flushes.count);
        let replay_ms = self.shards.iter().map(|shard| shard.replay_ms).max().flatten();
        to.gauge(
            "prometheus_tsdb_data_replay_duration_seconds",
            "How long the replay of the log took; of the slowest shard.",
            replay_ms.unwrap_or(0) as f64 / 1000.0,
        );
    }

    pub(super) fn shards(&self, to: &mut Exposition) {
        /// Name, kind, help, and the number.
        type Family = (&'static str, Kind, &'static str, fn(&ShardStatus) -> u64);
        let families: [Family; 5] = [
            ("floodplain_shard_series", Kind::Gauge, "Series in the Head of each shard.", |s| {
                s.series
            }),
            (
                "floodplain_shard_samples_appended_total",
                Kind::Counter,
                "Samples appended to the Head of each shard.",
                |s| s.samples_appended,
            ),
            (
                "floodplain_shard_wal_bytes",
                Kind::Gauge,
                "What each shard's log takes on disk.",
                |s| s.wal_bytes,
            ),
            (
                "floodplain_shard_wal_failed",
                Kind::Gauge,
                "Whether a write or flush of a shard's log failed: it takes no writes until it is opened anew.",
                |s| u64::from(s.wal_failed),
            ),
            (
                "floodplain_shard_restarts_total",
                Kind::Counter,
                "How often each shard was opened anew from its log after a write or flush of that failed.",
                |s| s.restarts,
            ),
        ];
        for (name, kind, help, of) in families {
            let mut family = to.family(name, kind, help);
            for shard in self.shards {
                family.count(&[("shard", &shard.shard.to_string())], of(shard));
            }
        }
    }
}

/// The flushes of all shards' logs.
struct Flushes {
    quantiles: Vec<(f64, f64)>,
    sum_seconds: f64,
    count: u64,
}

impl Flushes {
    /// Adds up histograms of microseconds. Quantiles of none are NaN, as a summary has it.
    fn of<'a>(shards: impl Iterator<Item = &'a Histogram<u64>>) -> Self {
        let mut merged: Option<Histogram<u64>> = None;
        for flushes in shards {
            match &mut merged {
                None => merged = Some(flushes.clone()),
                // Fails only for a value that `merged` cannot hold, and it was made resizable.
                Some(merged) => {
                    merged.auto(true);
                    let _ = merged.add(flushes);
                }
            }
        }
        let count = merged.as_ref().map_or(0, Histogram::len);
        let at = |quantile: f64| match &merged {
            Some(merged) if count > 0 => merged.value_at_quantile(quantile) as f64 / 1e6,
            _ => f64::NAN,
        };
        let sum_us =
            merged.as_ref().filter(|_| count > 0).map_or(0.0, Histogram::mean) * count as f64;
        Self {
            quantiles: [0.5, 0.9, 0.99].map(|q| (q, at(q))).to_vec(),
            sum_seconds: sum_us / 1e6,
            count,
        }
    }
}
