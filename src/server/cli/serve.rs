//! The flags of `floodplain serve`, each with its default and its help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::features::Features;
use crate::coordinator::api::{BLOCK_MS, EXEMPLARS_MAX, RETENTION_MS, StorageOptions};
use crate::model::regexp::{Anchored, GoRegex};
use crate::query::durations::{DurationError, format_duration_ms, parse_duration};
use crate::server::byte_size::ByteSize;
use crate::wire::DECODED_BYTES_MAX as REQUEST_BYTES_MAX;

/// Flags of `floodplain serve`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Durations are written 250ms, 5m, 1h30m or 15d; sizes 512MB or 1GiB (a kilobyte is 1024 bytes).
Flags that are on or off can be turned off with --no-<flag>. Prometheus's other flags are accepted with a warning.

Examples:
  floodplain serve --storage.tsdb.path=/var/lib/floodplain --web.listen-address=0.0.0.0:9090
  floodplain serve --config.file=/etc/floodplain/prometheus.yml --web.enable-lifecycle
  floodplain serve --shards=4 --storage.wal.sync=interval:100ms
  floodplain serve --remote-write.on-bad-sample=ignore --log.format=json"
)]
pub struct ServeFlags {
    /// The configuration file, in the form of Prometheus's; without it the flags alone hold. It is read again on SIGHUP.
    /// What it has that is not served here is accepted with a warning: see floodplain check config
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// The data directory; made if it is missing
    #[arg(long = "storage.tsdb.path", value_name = "DIR", default_value = "./data")]
    pub path: PathBuf,

    /// When a write is flushed to disk: before it is acknowledged (always), every so often
    /// (interval:100ms; a crash of the machine loses up to that much), or when the kernel likes (never)
    #[arg(long = "storage.wal.sync", value_name = "WHEN", default_value = "always")]
    pub wal_sync: WalSync,

    /// How long samples are kept; 0 is for ever [default: 15d, or for ever if --storage.tsdb.retention.size is given]. A
    /// section storage.tsdb.retention of the configuration file takes the place of this and of the size
    #[arg(
        long = "storage.tsdb.retention.time",
        alias = "storage.tsdb.retention",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub retention_time: Option<Duration>,

    /// How much the data may take on disk, log and Head included; beyond, the oldest blocks are deleted. 0 is no limit
    #[arg(long = "storage.tsdb.retention.size", value_name = "SIZE", default_value = "0B")]
    pub retention_size: ByteSize,

    /// How much older than the newest sample a sample may be if its series has a newer one already; older ones are
    /// refused. 0 refuses all of them. The configuration file's storage.tsdb.out_of_order_time_window wins
    #[arg(
        long = "storage.tsdb.out-of-order-time-window",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = duration
    )]
    pub out_of_order_window: Duration,

    /// How many exemplars are kept; beyond, those that came first go. 0 keeps none. The configuration file's
    /// storage.exemplars.max_exemplars wins
    #[arg(
        long = "storage.exemplars.max-exemplars",
        value_name = "N",
        default_value_t = EXEMPLARS_MAX
    )]
    pub exemplars_max: u64,

    /// How long a block is that is cut from the Head
    #[arg(
        long = "storage.tsdb.min-block-duration",
        value_name = "DURATION",
        default_value = "2h",
        value_parser = min_block_duration,
        hide = true
    )]
    pub min_block_duration: Duration,

    /// How long a block may become by compaction [default: a tenth of the retention time, at most 31d]
    #[arg(
        long = "storage.tsdb.max-block-duration",
        value_name = "DURATION",
        value_parser = max_block_duration,
        hide = true
    )]
    pub max_block_duration: Option<Duration>,

    /// How many bytes of the indexes of blocks one core holds in memory
    #[arg(
        long = "storage.tsdb.index-cache-bytes-per-shard",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub index_cache_bytes: ByteSize,

    /// How many bytes of chunks that queries have read are held in memory, of all cores together; 0 holds none
    #[arg(long = "storage.chunk-cache-size", value_name = "SIZE", default_value = "64MiB")]
    pub chunk_cache_bytes: ByteSize,

    /// How many cores to use, each with its own part of the data [default: all of them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: Option<u16>,

    /// Where to listen; may be given more than once
    #[arg(
        long = "web.listen-address",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:9090",
        value_parser = listen_address
    )]
    pub listen: Vec<SocketAddr>,

    /// How many connections are open at once on each address; further ones wait until one closes
    #[arg(long = "web.max-connections", value_name = "N", default_value_t = 512)]
    pub connections_max: usize,

    /// How long a connection may stay silent, or a request take to arrive
    #[arg(long = "web.read-timeout", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub read_timeout: Duration,

    /// The URL under which others reach this server, if it is behind a proxy; its path is the default route prefix
    #[arg(long = "web.external-url", value_name = "URL", default_value = "")]
    pub external_url: String,

    /// The path before all routes [default: the path of --web.external-url]
    #[arg(long = "web.route-prefix", value_name = "PATH")]
    pub route_prefix: Option<String>,

    /// Which web pages' scripts may read answers: a regular expression that must match their whole origin
    #[arg(long = "web.cors.origin", value_name = "REGEX", default_value = ".*", value_parser = cors_origin)]
    pub cors_origin: CorsOrigin,

    /// The title of the start page
    #[arg(long = "web.page-title", value_name = "TEXT", default_value = "Floodplain")]
    pub page_title: String,

    /// Answer the requests below /api/v1/admin/tsdb, which delete series and make snapshots
    #[arg(
        long = "web.enable-admin-api",
        value_name = "BOOL",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub admin_api: bool,

    /// Answer /-/reload, which has the configuration file read again, and /-/quit, which stops the server
    #[arg(
        long = "web.enable-lifecycle",
        value_name = "BOOL",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub lifecycle: bool,

    /// Take remote writes at /api/v1/write
    #[arg(
        long = "web.enable-remote-write-receiver",
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub receives_remote_write: bool,

    /// What to do with a request some samples of which cannot be stored. report: store the rest, answer 400 and name
    /// them; ignore: store the rest, answer 204; rollback: store nothing, answer 400
    #[arg(long = "remote-write.on-bad-sample", value_name = "MODE", default_value = "report")]
    pub bad_sample: BadSample,

    /// How many bytes of writes one core holds at once, as sent and unpacked; past it writes are answered 503
    #[arg(
        long = "remote-write.max-inflight-bytes-per-shard",
        value_name = "SIZE",
        default_value = "128MiB"
    )]
    pub inflight_bytes_per_shard_max: ByteSize,

    /// How many bytes of writes all cores together hold at once; past it writes are answered 503
    #[arg(long = "remote-write.max-inflight-bytes", value_name = "SIZE", default_value = "1GiB")]
    pub inflight_bytes_max: ByteSize,

    /// How far back an instant query looks for a sample
    #[arg(long = "query.lookback-delta", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub lookback_delta: Duration,

    /// How long a query may take, waiting for its turn included
    #[arg(long = "query.timeout", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub query_timeout: Duration,

    /// How many queries run at once; each core runs its share of them
    #[arg(long = "query.max-concurrency", value_name = "N", default_value = "20", value_parser = at_least_one)]
    pub query_concurrency_max: usize,

    /// How many samples one query may hold in memory
    #[arg(long = "query.max-samples", value_name = "N", default_value = "50000000", value_parser = at_least_one)]
    pub query_samples_max: usize,

    /// How much memory one query may hold; what would hold more is refused
    #[arg(long = "query.max-bytes", value_name = "BYTES", default_value = "512MiB")]
    pub query_bytes_max: ByteSize,

    /// How much memory all running queries together may hold
    #[arg(long = "query.max-bytes-total", value_name = "BYTES", default_value = "2GiB")]
    pub query_bytes_total_max: ByteSize,

    /// How much memory the answers of range queries may take that are kept, so that who asks again has only what is new
    /// evaluated; 0: none are kept
    #[arg(long = "query.results-cache-size", value_name = "BYTES", default_value = "64MiB")]
    pub query_results_bytes_max: ByteSize,

    /// Switch on parts of PromQL that are experimental: promql-experimental-functions, promql-extended-range-selectors,
    /// promql-binop-fill-modifiers, promql-delayed-name-removal. May be given more than once
    #[arg(long = "enable-feature", value_name = "NAME,...", value_delimiter = ',')]
    pub features: Vec<String>,

    /// How many remote reads run at once; each core runs its share of them
    #[arg(long = "storage.remote.read-concurrent-limit", value_name = "N", default_value = "10", value_parser = at_least_one)]
    pub remote_read_concurrency_max: usize,

    /// How many samples a query of a remote read may give that is answered in one piece; 0: any number
    #[arg(long = "storage.remote.read-sample-limit", value_name = "N", default_value = "50000000")]
    pub remote_read_samples_max: u64,

    /// How long a frame of a streamed remote read is, in bytes
    #[arg(long = "storage.remote.read-max-bytes-in-frame", value_name = "BYTES", default_value = "1048576", value_parser = at_least_one)]
    pub remote_read_frame_bytes_max: usize,

    /// Log this and what is graver
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,

    /// How log lines are written
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt")]
    pub log_format: LogFormat,
}

/// When the log is flushed to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalSync {
    /// Before a write is acknowledged.
    Always,
    /// That often; an acknowledged write may be lost to a crash of the machine until then.
    Interval(Duration),
    /// When the kernel likes.
    Never,
}

/// What to do with a request some samples of which cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BadSample {
    /// Store the others, answer 400 and say which were refused and why.
    Report,
    /// Store the others and answer 204; the refused are counted and logged.
    Ignore,
    /// Store nothing of the request and answer 400, as Prometheus does for remote write 1.0.
    Rollback,
}

/// How grave a message must be to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What should not be so.
    Warn,
    /// What failed.
    Error,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `ts=… level=… msg=…`
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Which origins' scripts may read answers.
#[derive(Debug, Clone)]
pub enum CorsOrigin {
    /// All of them: `.*`.
    Any,
    /// Those that the expression matches as a whole.
    Matching(GoRegex),
}

impl ServeFlags {
    /// Sentences about values that are allowed and probably not meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let (_, mut warnings) = self.features();
        if let WalSync::Interval(_) | WalSync::Never = self.wal_sync {
            warnings.push(
                "--storage.wal.sync is not always: a crash of this machine can lose writes that were acknowledged"
                    .to_owned(),
            );
        }
        for address in self.listen.iter().filter(|address| !address.ip().is_loopback()) {
            let can = match (self.admin_api, self.lifecycle) {
                (false, false) => "read and write",
                (true, false) => "read, write and delete",
                (false, true) => "read, write and stop it",
                (true, true) => "read, write, delete and stop it",
            };
            warnings.push(format!(
                "--web.listen-address={address} is reachable from the network, and anyone who reaches it can {can}"
            ));
        }
        warnings
    }

    /// What `--enable-feature` switches on, and a sentence about each name that switches nothing on.
    #[must_use]
    pub fn features(&self) -> (Features, Vec<String>) {
        Features::of(self.features.iter().map(String::as_str))
    }

    /// The path before all routes: empty, or `/` and no slash at its end.
    #[must_use]
    pub fn prefix(&self) -> String {
        let path = self.route_prefix.as_deref().unwrap_or_else(|| {
            let after_scheme = self
                .external_url
                .split_once("://")
                .map_or(self.external_url.as_str(), |(_, rest)| rest);
            let path = after_scheme.find('/').and_then(|at| after_scheme.get(at..)).unwrap_or("");
            path.split(['?', '#']).next().unwrap_or("")
        });
        match path.trim_matches('/') {
            "" => String::new(),
            path => format!("/{path}"),
        }
    }

    /// How the data is kept.
    #[must_use]
    pub fn storage(&self) -> StorageOptions {
        let retention_bytes = Some(self.retention_size.0 as u64).filter(|bytes| *bytes > 0);
        let retention_ms = match self.retention_time {
            Some(time) => Some(milliseconds(time)).filter(|ms| *ms > 0),
            None => retention_bytes.is_none().then_some(RETENTION_MS),
        };
        StorageOptions {
            retention_ms,
            retention_bytes,
            out_of_order_window_ms: milliseconds(self.out_of_order_window),
            max_block_ms: self
                .max_block_duration
                .map_or_else(|| StorageOptions::max_block_ms(retention_ms), milliseconds),
            index_cache_bytes: self.index_cache_bytes.0,
            chunk_cache_bytes: self.chunk_cache_bytes.0,
            exemplars_max: self.exemplars_max,
            ..StorageOptions::default()
        }
    }

    /// Flags whose default depends on others, each with the value that it has if it is not given.
    pub(super) fn dependent_defaults(&self) -> [(&'static str, String); 2] {
        let storage = self.storage();
        [
            (
                "storage.tsdb.retention.time",
                format_duration_ms(storage.retention_ms.unwrap_or_default()),
            ),
            ("storage.tsdb.max-block-duration", format_duration_ms(storage.max_block_ms)),
        ]
    }

    /// Looks at what no flag can see alone.
    pub(super) fn check(&self) -> Result<(), String> {
        // Admission counts a request's bytes twice, as sent and unpacked, and must be able to take one at all.
        let one_request = ByteSize(2 * REQUEST_BYTES_MAX);
        let bounds = [
            ("remote-write.max-inflight-bytes-per-shard", self.inflight_bytes_per_shard_max),
            ("remote-write.max-inflight-bytes", self.inflight_bytes_max),
        ];
        match bounds.iter().find(|(_, bound)| *bound < one_request) {
            None => Ok(()),
            Some((flag, bound)) => Err(format!(
                "--{flag}={bound} is less than {one_request}: the largest request, which is {} as sent and as much \
                 unpacked, could never be taken",
                ByteSize(REQUEST_BYTES_MAX)
            )),
        }
    }
}

impl FromStr for WalSync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |what: String| format!("{what}; write always, interval:<duration> or never");
        match text.split_once(':') {
            None if text == "always" => Ok(Self::Always),
            None if text == "never" => Ok(Self::Never),
            Some(("interval", every)) => match duration(every) {
                Ok(every) if every.is_zero() => Ok(Self::Always),
                Ok(every) => Ok(Self::Interval(every)),
                Err(error) => Err(wrong(error.to_string())),
            },
            _ => Err(wrong(format!("{text:?} is no such moment"))),
        }
    }
}

impl LogLevel {
    /// The level as `tracing` names it.
    #[must_use]
    pub fn filter(self) -> tracing_subscriber::filter::LevelFilter {
        use tracing_subscriber::filter::LevelFilter;
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

/// `127.0.0.1:9090`, `[::1]:9090`; also `localhost:9090` and Prometheus's `:9090`, all addresses.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let spelled = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.replacen("localhost:", "127.0.0.1:", 1),
    };
    spelled.parse().map_err(|_| {
        format!(
            "{text:?} is not an address; write an IP and a port, as in 127.0.0.1:9090 or [::1]:9090"
        )
    })
}

/// `250ms`, `5m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, DurationError> {
    parse_duration(text).map(|ns| Duration::from_nanos(ns.unsigned_abs()))
}

/// Never more than a duration's text can say, which is less than what fits.
fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Two hours, and nothing else.
fn min_block_duration(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(given) if milliseconds(given) == BLOCK_MS => Ok(given),
        Ok(_) => Err("blocks are always cut at 2h; leave the flag out, or write 2h".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// At least two hours.
fn max_block_duration(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(given) if milliseconds(given) >= BLOCK_MS => Ok(given),
        Ok(_) => Err("blocks are cut at 2h, and none can be shorter".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn cors_origin(text: &str) -> Result<CorsOrigin, String> {
    if text == ".*" {
        return Ok(CorsOrigin::Any);
    }
    GoRegex::new(text, Anchored::Yes).map(CorsOrigin::Matching).map_err(|error| error.to_string())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("{text:?} is not a number above zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_spelled_as_prometheus_users_do() {
        assert_eq!(listen_address(":9090").unwrap().to_string(), "0.0.0.0:9090");
        assert_eq!(listen_address("localhost:1").unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(listen_address("[::1]:9090").unwrap().to_string(), "[::1]:9090");
        assert!(listen_address("example.org").is_err());
    }

    #[test]
    fn a_warning_about_the_network_names_the_address() {
        use clap::Parser;
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            serve: ServeFlags,
        }
        let line = ["x", "--web.listen-address=127.0.0.1:1", "--web.listen-address=:2"];
        let warnings = Flags::parse_from(line).serve.warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("--web.listen-address=0.0.0.0:2 is"), "{warnings:?}");
        assert!(warnings[0].ends_with("can read and write"), "{warnings:?}");
        let line = ["x", "--web.listen-address=:2", "--web.enable-admin-api"];
        let warnings = Flags::parse_from(line).serve.warnings();
        assert!(warnings[0].ends_with("can read, write and delete"), "{warnings:?}");
        let line = ["x", "--web.listen-address=:2", "--web.enable-lifecycle"];
        let warnings = Flags::parse_from(line).serve.warnings();
        assert!(warnings[0].ends_with("can read, write and stop it"), "{warnings:?}");
    }

    #[test]
    fn an_interval_of_zero_is_always() {
        assert_eq!("interval:0".parse(), Ok(WalSync::Always));
        assert!("interval:soon".parse::<WalSync>().is_err());
    }
}
