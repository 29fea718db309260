//! What holds: the flags, and the configuration file where it says otherwise.
//!
//! | setting | flag | the file's key, which wins |
//! |---|---|---|
//! | late samples | `--storage.tsdb.out-of-order-time-window` | `storage.tsdb.out_of_order_time_window` |
//! | how long, and how much | `--storage.tsdb.retention.time`, `.size` | `storage.tsdb.retention`, both at once |
//! | chunks of floats in blocks | none | `storage.tsdb.chunk_encoding.floats` |
//! | how many exemplars | `--storage.exemplars.max-exemplars` | `storage.exemplars.max_exemplars` |
//! | how long blocks become | `--storage.tsdb.max-block-duration` | none |
//!
//! Deciding is pure, here; who asks the shards to change is [`reload`](crate::server::reload).

use std::fmt;

use super::{Config, FloatChunks};
use crate::coordinator::api::StorageOptions;
use crate::model::TimestampMs;
use crate::query::durations::format_duration_ms;
use crate::server::byte_size::ByteSize;
use crate::server::cli::ServeFlags;

/// What holds, since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// What the file says; nothing if there is none.
    pub config: Config,
    /// How the data is kept.
    pub storage: StorageOptions,
    /// When the file was read.
    pub since: TimestampMs,
}

impl InForce {
    /// What holds at a start.
    #[must_use]
    pub fn at_start(flags: &ServeFlags, config: Config, now: TimestampMs) -> Self {
        let storage = storage(flags, &config);
        let max_block_ms = match flags.max_block_duration {
            Some(_) => storage.max_block_ms,
            None => StorageOptions::max_block_ms(storage.retention_ms),
        };
        Self { config, storage: StorageOptions { max_block_ms, ..storage }, since: now }
    }

    /// What holds once the file says `config`. How long blocks become is decided at the start, as in Prometheus.
    #[must_use]
    pub fn after(&self, flags: &ServeFlags, config: Config, now: TimestampMs) -> Self {
        let max_block_ms = self.storage.max_block_ms;
        let storage = StorageOptions { max_block_ms, ..storage(flags, &config) };
        Self { config, storage, since: now }
    }
}

fn storage(flags: &ServeFlags, config: &Config) -> StorageOptions {
    let mut storage = flags.storage();
    if let Some(window_ms) = config.out_of_order_window_ms {
        storage.out_of_order_window_ms = window_ms;
    }
    storage.float_chunks = config.float_chunks.unwrap_or_default();
    if let Some(max) = config.exemplars_max {
        // As in Prometheus, a number below zero keeps none.
        storage.exemplars_max = u64::try_from(max).unwrap_or(0);
    }
    if let Some(retention) = config.retention {
        storage.retention_ms = Some(retention.time_ms).filter(|ms| *ms > 0);
        storage.retention_bytes = Some(retention.bytes).filter(|bytes| *bytes > 0);
    }
    storage
}

/// A setting that another file changes, for a line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file's key.
    pub key: &'static str,
    /// What held before.
    pub before: String,
    /// What holds now.
    pub now: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {} and is {}", self.key, self.before, self.now)
    }
}

/// What is another setting in `now` than it was in `before`.
#[must_use]
pub fn changes(before: &InForce, now: &InForce) -> Vec<Change> {
    let told = [
        ("global.external_labels", before.labels(), now.labels()),
        ("storage.tsdb.out_of_order_time_window", before.window(), now.window()),
        ("storage.tsdb.retention.time", before.time(), now.time()),
        ("storage.tsdb.retention.size", before.size(), now.size()),
        ("storage.tsdb.chunk_encoding.floats", before.float_chunks(), now.float_chunks()),
        ("storage.exemplars.max_exemplars", before.exemplars(), now.exemplars()),
    ];
    let changed = told.into_iter().filter(|(_, before, now)| before != now);
    changed.map(|(key, before, now)| Change { key, before, now }).collect()
}

impl InForce {
    fn labels(&self) -> String {
        self.config.external_labels().to_string()
    }

    fn window(&self) -> String {
        format_duration_ms(self.storage.out_of_order_window_ms)
    }

    fn time(&self) -> String {
        self.storage.retention_ms.map_or_else(|| "for ever".to_owned(), format_duration_ms)
    }

    pub(super) fn float_chunks(&self) -> String {
        let name = match self.storage.float_chunks {
            FloatChunks::Xor => "xor",
            FloatChunks::Xor2 => "xor2",
        };
        name.to_owned()
    }

    fn exemplars(&self) -> String {
        self.storage.exemplars_max.to_string()
    }

    fn size(&self) -> String {
        let size = |bytes| ByteSize(usize::try_from(bytes).unwrap_or(usize::MAX)).to_string();
        self.storage.retention_bytes.map_or_else(|| "without a limit".to_owned(), size)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::server::cli::{self, Command};
    use crate::server::config::Retention;

    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    const THEN: TimestampMs = TimestampMs(1000);
    const NOW: TimestampMs = TimestampMs(2000);

    fn flags(line: &str) -> ServeFlags {
        let args = ["floodplain", "serve"].into_iter().chain(line.split_whitespace());
        match cli::parse(args.map(OsString::from)).unwrap().command {
            Command::Serve(flags) => *flags,
            other => panic!("{line} is {other:?}"),
        }
    }

    fn kept(time_ms: i64, bytes: u64) -> Config {
        Config { retention: Some(Retention { time_ms, bytes }), ..Config::default() }
    }

    fn at_start(line: &str, config: Config) -> StorageOptions {
        InForce::at_start(&flags(line), config, THEN).storage
    }

    #[test]
    fn a_file_that_says_nothing_leaves_the_flags_in_force() {
        let line = "--storage.tsdb.retention.time=3d --storage.tsdb.out-of-order-time-window=2h";
        assert_eq!(at_start(line, Config::default()), flags(line).storage());
    }

    #[test]
    fn the_file_wins_over_the_flag_of_the_same_setting() {
        let config = Config { out_of_order_window_ms: Some(0), ..Config::default() };
        let line = "--storage.tsdb.out-of-order-time-window=2h";
        assert_eq!(at_start(line, config).out_of_order_window_ms, 0);
        let config = Config { exemplars_max: Some(7), ..Config::default() };
        let line = "--storage.exemplars.max-exemplars=5";
        assert_eq!(at_start(line, config).exemplars_max, 7);
        assert_eq!(at_start(line, Config::default()).exemplars_max, 5);
    }

    #[test]
    fn the_retention_of_the_file_takes_the_place_of_both_flags() {
        let line = "--storage.tsdb.retention.time=3d --storage.tsdb.retention.size=1GB";
        let limits = |config| {
            let storage = at_start(line, config);
            (storage.retention_ms, storage.retention_bytes)
        };
        assert_eq!(limits(kept(0, 5 << 30)), (None, Some(5 << 30)));
        assert_eq!(limits(kept(DAY_MS, 0)), (Some(DAY_MS), None));
        assert_eq!(limits(kept(0, 0)), (None, None));
    }

    #[test]
    fn how_long_blocks_become_is_decided_at_the_start_by_what_holds_then() {
        assert_eq!(at_start("", kept(100 * DAY_MS, 0)).max_block_ms, 10 * DAY_MS);
        let line = "--storage.tsdb.max-block-duration=6h";
        assert_eq!(at_start(line, kept(100 * DAY_MS, 0)).max_block_ms, 6 * HOUR_MS);
        let begun = InForce::at_start(&flags(""), Config::default(), THEN);
        let after = begun.after(&flags(""), kept(100 * DAY_MS, 0), NOW);
        assert_eq!(after.storage.max_block_ms, begun.storage.max_block_ms);
        assert_eq!(after.storage.retention_ms, Some(100 * DAY_MS));
    }

    #[test]
    fn a_key_that_is_taken_out_of_the_file_gives_the_flag_its_place_back() {
        let flags = flags("--storage.tsdb.out-of-order-time-window=2h");
        let config = Config { out_of_order_window_ms: Some(0), ..Config::default() };
        let begun = InForce::at_start(&flags, config, THEN);
        let after = begun.after(&flags, Config::default(), NOW);
        assert_eq!(after.storage.out_of_order_window_ms, 2 * HOUR_MS);
        assert_eq!(after.since, NOW);
    }

    #[test]
    fn what_changes_is_told_with_both_values_and_nothing_else_is() {
        let begun = InForce::at_start(&flags(""), Config::default(), THEN);
        assert_eq!(changes(&begun, &begun.after(&flags(""), Config::default(), NOW)), []);
        let config = Config {
            external_labels: [("a".to_owned(), "b".to_owned())].into(),
            out_of_order_window_ms: Some(0),
            exemplars_max: Some(-1),
            ..kept(0, 5 << 30)
        };
        let changes = changes(&begun, &begun.after(&flags(""), config, NOW));
        let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "global.external_labels was {} and is {a=\"b\"}",
                "storage.tsdb.out_of_order_time_window was 1h and is 0s",
                "storage.tsdb.retention.time was 15d and is for ever",
                "storage.tsdb.retention.size was without a limit and is 5GiB",
                "storage.exemplars.max_exemplars was 100000 and is 0",
            ]
        );
    }
}
