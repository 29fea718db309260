//! Metrics of the server itself: version, readiness, requests, queries, the process.

use super::Scrape;
use super::exposition::{Exposition, Kind};
use crate::coordinator::api::Readiness;
use crate::server::version;

impl Scrape<'_> {
    pub(super) fn server(&self, to: &mut Exposition) {
        to.family(
            "prometheus_build_info",
            Kind::Gauge,
            "The version of Prometheus whose interfaces this server has, with its own version behind the plus sign.",
        )
        .count(
            &[
                ("branch", ""),
                ("goversion", ""),
                ("revision", version::REVISION),
                ("version", version::COMPATIBLE),
            ],
            1,
        );
        to.family("floodplain_build_info", Kind::Gauge, "The version of this server.")
            .count(&[("version", version::OWN)], 1);
        let ready = self.readiness == Readiness::Ready;
        to.gauge(
            "prometheus_ready",
            "Whether the log is replayed and requests are answered.",
            f64::from(u8::from(ready)),
        );
        to.gauge(
            "prometheus_tsdb_clean_start",
            "Whether the server that ran on this data before ended in good order: 1, or 0 after a crash or a kill.",
            f64::from(u8::from(self.clean_start)),
        );
        to.gauge(
            "prometheus_config_last_reload_successful",
            "Whether the last configuration file that was read was taken; without a file the flags hold, and it is 1.",
            f64::from(u8::from(self.configured)),
        );
        to.gauge(
            "prometheus_config_last_reload_success_timestamp_seconds",
            "When the configuration that holds was read, since the Unix epoch.",
            self.configuration.since.0 as f64 / 1000.0,
        );
        let task_panics: u64 = self.shards.iter().map(|shard| shard.panics).sum();
        to.counter(
            "floodplain_panics_total",
            "Tasks and request handlers that panicked; each was ended alone.",
            self.counters.sum(|core| core.panics.get()) + task_panics,
        );
    }

    pub(super) fn requests(&self, to: &mut Exposition) {
        let mut family =
            to.family("prometheus_http_requests_total", Kind::Counter, "Counter of HTTP requests.");
        for (endpoint, status, n) in self.counters.requests() {
            family.count(&[("code", &status.to_string()), ("handler", endpoint.name())], n);
        }
        let mut family = to.family(
            "prometheus_http_request_duration_seconds",
            Kind::Histogram,
            "Histogram of latencies for HTTP requests.",
        );
        for (endpoint, buckets) in self.counters.request_durations() {
            family.histogram(&[("handler", endpoint.name())], &buckets);
        }
        to.gauge(
            "floodplain_http_connections",
            "Open connections.",
            self.counters.sum(|core| core.connections.get()) as f64,
        );
        to.counter(
            "floodplain_http_connections_accepted_total",
            "Connections that were accepted.",
            self.counters.sum(|core| core.connections_accepted.get()),
        );
        to.counter(
            "floodplain_http_connections_turned_away_total",
            "Connections that were answered 503 or closed because the limit on open files leaves no place for them.",
            self.counters.sum(|core| core.connections_turned_away.get()),
        );
    }

    /// The answers of range queries that are kept.
    fn query_results(&self, to: &mut Exposition) {
        let results = &self.results;
        let mut family = to.family(
            "floodplain_query_results_cache_requests_total",
            Kind::Counter,
            "Range queries whose answers may be kept, by how much of the answer was: all, a part, or nothing.",
        );
        for (result, count) in
            [("hit", results.hits), ("partial", results.partial_hits), ("miss", results.misses)]
        {
            family.count(&[("result", result)], count);
        }
        let mut family = to.family(
            "floodplain_query_results_cache_steps_total",
            Kind::Counter,
            "Steps of those queries, by whether they were kept or had to be evaluated.",
        );
        family.count(&[("source", "kept")], results.steps_kept);
        family.count(&[("source", "evaluated")], results.steps_evaluated);
        to.counter(
            "floodplain_query_results_cache_evicted_total",
            "Answers that went for want of room.",
            results.evicted,
        );
        to.gauge(
            "floodplain_query_results_cache_answers",
            "Answers of range queries that are kept.",
            results.answers as f64,
        );
        to.gauge(
            "floodplain_query_results_cache_bytes",
            "Memory that they take.",
            results.bytes as f64,
        );
        to.gauge(
            "floodplain_query_results_cache_max_bytes",
            "Memory that they may take: --query.results-cache-size.",
            results.bytes_max as f64,
        );
    }

    pub(super) fn queries(&self, to: &mut Exposition) {
        let running = self.counters.sum(|core| core.queries.get());
        to.gauge(
            "prometheus_engine_queries",
            "The current number of queries being executed.",
            running as f64,
        );
        to.gauge(
            "prometheus_engine_queries_concurrent_max",
            "The max number of concurrent queries.",
            self.queries_max as f64,
        );
        to.counter(
            "prometheus_engine_query_samples_total",
            "Samples that were read for queries.",
            self.counters.sum(|core| core.query_samples.get()),
        );
        self.query_results(to);
        let memory = &self.query_memory;
        to.gauge(
            "floodplain_query_memory_bytes",
            "Memory that running queries hold.",
            memory.held as f64,
        );
        to.gauge(
            "floodplain_query_memory_max_bytes",
            "Memory that they may hold: --query.max-bytes-total.",
            memory.held_max as f64,
        );
        to.counter(
            "floodplain_query_memory_refused_total",
            "Queries that were refused more memory, because they or all together would hold too much.",
            memory.refused as u64,
        );
        let run = self.counters.buckets(|core| Some(&core.query_durations));
        let waited = self.counters.buckets(|core| Some(&core.query_waits));
        let slices = [("inner_eval", run), ("queue_time", waited)];
        let mut family = to.family(
            "prometheus_engine_query_duration_histogram_seconds",
            Kind::Histogram,
            "The duration of queries, by what they spent it on.",
        );
        for (slice, buckets) in &slices {
            family.histogram(&[("slice", slice)], buckets);
        }
        let mut family = to.family(
            "prometheus_engine_query_duration_seconds",
            Kind::Summary,
            "Query timings; quantiles are the histogram's to tell.",
        );
        for (slice, buckets) in &slices {
            let count = buckets.above + buckets.counts.iter().map(|(_, n)| n).sum::<u64>();
            family.summary(&[("slice", slice)], &[], buckets.sum, count);
        }
    }

    pub(super) fn process(&self, to: &mut Exposition) {
        let process = self.process;
        if let Some(seconds) = process.cpu_seconds {
            to.family(
                "process_cpu_seconds_total",
                Kind::Counter,
                "Total user and system CPU time spent in seconds.",
            )
            .value(&[], seconds);
        }
        for (name, help, n) in [
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                process.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes.",
                process.virtual_bytes,
            ),
            ("process_open_fds", "Number of open file descriptors.", process.open_fds),
            ("process_max_fds", "Maximum number of open file descriptors.", process.max_fds),
        ] {
            if let Some(n) = n {
                to.gauge(name, help, n as f64);
            }
        }
        to.gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            self.started.0 as f64 / 1000.0,
        );
    }
}
