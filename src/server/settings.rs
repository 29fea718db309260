//! What the handlers need to know of the command line and the configuration file, the same on every core.

use std::collections::BTreeMap;
use std::time::Duration;

use super::active_queries::ActiveQueries;
use super::cli::serve::CorsOrigin;
use super::cli::{BadSample, Features, ServeFlags};
use super::config::Current;
use crate::model::TimestampMs;
use crate::rt::StopFlag;

/// What the handlers go by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The path before all routes: empty, or `/` and no slash at its end.
    pub prefix: String,
    /// Which origins' scripts may read answers.
    pub cors_origin: CorsOrigin,
    /// The title of the start page.
    pub page_title: String,
    /// Every flag and its value.
    pub flags: BTreeMap<String, String>,
    /// Are requests to delete series and to make snapshots answered?
    pub admin_api: bool,
    /// Are requests to reload and to stop answered?
    pub lifecycle: bool,
    /// Is remote write taken?
    pub receives_remote_write: bool,
    /// What becomes of a request with bad samples.
    pub bad_sample: BadSample,
    /// How long a request may take to arrive.
    pub read_timeout: Duration,
    /// How many connections may be open.
    pub connections_max: usize,
    /// How many bytes of writes one core may hold.
    pub inflight_bytes_per_shard_max: usize,
    /// How many bytes of writes all cores may hold.
    pub inflight_bytes_max: usize,
    /// How far back a query looks, in milliseconds, unless it says otherwise.
    pub lookback_delta_ms: i64,
    /// How long a query may take.
    pub query_timeout: Duration,
    /// How many queries may run at once, on all cores.
    pub query_concurrency_max: usize,
    /// How many samples a query may hold.
    pub query_samples_max: usize,
    /// Which optional parts of PromQL are switched on.
    pub features: Features,
    /// The queries that run, on all cores.
    pub active_queries: ActiveQueries,
    /// How many remote reads may run at once, on all cores.
    pub remote_read_concurrency_max: usize,
    /// How many samples a query of a remote read may give in one piece.
    pub remote_read_samples_max: u64,
    /// How long a frame of a streamed remote read is, in bytes.
    pub remote_read_frame_bytes_max: usize,
    /// What the configuration file and the flags together say now.
    pub current: Current,
    /// Raised by whoever wants the server to stop.
    pub stop: StopFlag,
    /// When the process started.
    pub started: TimestampMs,
    /// Did the one before end in good order?
    pub clean_start: bool,
}

impl Settings {
    /// The settings of a command line.
    #[must_use]
    pub fn new(
        serve: &ServeFlags,
        flags: BTreeMap<String, String>,
        current: Current,
        started: TimestampMs,
    ) -> Self {
        Self {
            prefix: serve.prefix(),
            cors_origin: serve.cors_origin.clone(),
            page_title: serve.page_title.clone(),
            flags,
            admin_api: serve.admin_api,
            lifecycle: serve.lifecycle,
            receives_remote_write: serve.receives_remote_write,
            bad_sample: serve.bad_sample,
            read_timeout: serve.read_timeout,
            connections_max: serve.connections_max,
            inflight_bytes_per_shard_max: serve.inflight_bytes_per_shard_max.0,
            inflight_bytes_max: serve.inflight_bytes_max.0,
            lookback_delta_ms: i64::try_from(serve.lookback_delta.as_millis()).unwrap_or(i64::MAX),
            query_timeout: serve.query_timeout,
            query_concurrency_max: serve.query_concurrency_max,
            query_samples_max: serve.query_samples_max,
            features: serve.features().0,
            active_queries: ActiveQueries::default(),
            remote_read_concurrency_max: serve.remote_read_concurrency_max,
            remote_read_samples_max: match serve.remote_read_samples_max {
                0 => u64::MAX,
                max => max,
            },
            remote_read_frame_bytes_max: serve.remote_read_frame_bytes_max,
            current,
            stop: StopFlag::new(),
            started,
            clean_start: true,
        }
    }

    /// How many queries one of `cores` cores may run at once.
    #[must_use]
    pub fn queries_per_core(&self, cores: usize) -> usize {
        share(self.query_concurrency_max, cores)
    }

    /// How many remote reads one of `cores` cores may run at once.
    #[must_use]
    pub fn remote_reads_per_core(&self, cores: usize) -> usize {
        share(self.remote_read_concurrency_max, cores)
    }
}

/// The share of one of `cores` cores, and at least one.
fn share(all: usize, cores: usize) -> usize {
    all.div_ceil(cores.max(1)).max(1)
}
