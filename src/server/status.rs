//! `/api/v1/status/…` and `/version`.
//!
//! Source of the shapes: `web/api/v1/api.go`, Prometheus 3.14. `buildinfo` has no `features`: Grafana would take a server
//! that has them for Mimir.

use std::collections::BTreeMap;

use http::StatusCode;

use super::api_error::{ApiError, ErrorType};
use super::byte_size::ByteSize;
use super::config::{self, InForce};
use super::form::Form;
use super::json::{array, number, object, text};
use super::metrics::process::Process;
use super::reply::{self, Reply};
use super::service::Server;
use super::{rfc3339, version};
use crate::coordinator::api::{Cardinality, Readiness, ShardStatus, StorageOptions, Store};
use crate::model::TimeRange;
use crate::query::durations::format_duration_ms;

/// How many of each kind `status/tsdb` lists unless it is told, and at most.
const CARDINALITY_LIMIT: usize = 10;
const CARDINALITY_LIMIT_MAX: usize = 10_000;

/// `status/buildinfo`.
#[must_use]
pub fn build_info() -> Reply {
    reply::success(version_object)
}

/// `/version`: the same without an envelope.
#[must_use]
pub fn bare_version() -> Reply {
    let mut body = Vec::new();
    version_object(&mut body);
    reply::json(StatusCode::OK, body)
}

fn version_object(out: &mut Vec<u8>) {
    let members = [
        ("version", version::COMPATIBLE),
        ("revision", version::REVISION),
        ("branch", ""),
        ("buildUser", ""),
        ("buildDate", version::BUILD_DATE),
        ("goVersion", ""),
    ];
    object(out, members, text::string);
}

/// `status/flags`.
#[must_use]
pub fn flags(flags: &BTreeMap<String, String>) -> Reply {
    reply::success(|out| {
        let members = flags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        object(out, members, text::string);
    })
}

/// `status/config`: what holds, as YAML.
#[must_use]
pub fn config(in_force: &InForce) -> Reply {
    let yaml = config::print::print(in_force);
    reply::success(|out| object(out, [("yaml", yaml.as_str())], text::string))
}

/// A member of `status/runtimeinfo`.
enum Fact {
    Text(String),
    Number(u64),
    Truth(bool),
}

/// `status/runtimeinfo`. Threads stand for goroutines and shards for GOMAXPROCS.
pub async fn runtime_info<S: Store>(server: &Server<S>) -> Reply {
    let shards = server.store.status().await;
    let in_force = server.configuration.in_force();
    let cwd = std::env::current_dir().map(|dir| dir.to_string_lossy().into_owned());
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let corruptions = shards.iter().map(|shard| shard.wal_corruptions).sum();
    let members = [
        ("startTime", Fact::Text(rfc3339::format(server.settings.started))),
        ("CWD", Fact::Text(cwd.unwrap_or_default())),
        ("hostname", Fact::Text(hostname.trim().to_owned())),
        ("serverTime", Fact::Text(rfc3339::format((server.now)()))),
        ("reloadConfigSuccess", Fact::Truth(server.settings.current.succeeded())),
        ("lastConfigTime", Fact::Text(rfc3339::format(in_force.since))),
        ("corruptionCount", Fact::Number(corruptions)),
        ("goroutineCount", Fact::Number(Process::look().threads.unwrap_or(0))),
        ("GOMAXPROCS", Fact::Number(server.store.shard_count() as u64)),
        ("GOMEMLIMIT", Fact::Number(0)),
        ("GOGC", Fact::Text(String::new())),
        ("GODEBUG", Fact::Text(String::new())),
        ("storageRetention", Fact::Text(retention(&in_force.storage))),
    ];
    reply::success(|out| {
        object(out, members, |out, fact| match fact {
            Fact::Text(value) => text::string(out, &value),
            Fact::Number(n) => number::unsigned(out, n),
            Fact::Truth(yes) => out.extend_from_slice(if yes { b"true" } else { b"false" }),
        });
    })
}

/// How long data is kept and how much of it: `15d or 5GiB`; the empty text if there is no limit.
fn retention(storage: &StorageOptions) -> String {
    let size = |bytes| ByteSize(usize::try_from(bytes).unwrap_or(usize::MAX)).in_all_units();
    let limits = [storage.retention_ms.map(format_duration_ms), storage.retention_bytes.map(size)];
    limits.into_iter().flatten().collect::<Vec<_>>().join(" or ")
}

/// `status/walreplay`, which also answers during the replay. It counts MiB of log over all shards, where Prometheus counts
/// segments of its one log.
#[must_use]
pub fn wal_replay(readiness: Readiness) -> Reply {
    let progress = match readiness {
        Readiness::Replaying(progress) => progress,
        Readiness::Ready | Readiness::Stopping => Default::default(),
    };
    let members =
        [("min", 0), ("max", progress.bytes >> 20), ("current", progress.bytes_read >> 20)];
    reply::success(|out| object(out, members, number::unsigned))
}

/// `status/tsdb`.
///
/// # Errors
/// A limit that is no number from 1 to 10,000, or a store that cannot answer.
pub async fn tsdb<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    let limit = cardinality_limit(form.get("limit"))?;
    let cardinality = server.store.cardinality(limit).await?;
    let shards = server.store.status().await;
    Ok(reply::success(|out| tsdb_object(out, &shards, &cardinality)))
}

/// `status/tsdb/blocks`: what each block's `meta.json` says, oldest first.
///
/// # Errors
/// A store that cannot answer.
pub async fn tsdb_blocks<S: Store>(server: &Server<S>) -> Result<Reply, ApiError> {
    let blocks = server.store.blocks().await?;
    // A meta is numbers and texts, which all have a form in JSON.
    let metas = serde_json::to_vec(&blocks)
        .map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))?;
    Ok(reply::success(|out| {
        out.extend_from_slice(br#"{"blocks":"#);
        out.extend_from_slice(&metas);
        out.push(b'}');
    }))
}

fn cardinality_limit(text: &str) -> Result<usize, ApiError> {
    if text.is_empty() {
        return Ok(CARDINALITY_LIMIT);
    }
    match text.parse::<i64>().ok().and_then(|limit| usize::try_from(limit).ok()) {
        None | Some(0) => Err(ApiError::bad_data("limit must be a positive number")),
        Some(limit) if limit > CARDINALITY_LIMIT_MAX => {
            Err(ApiError::bad_data(format!("limit must not exceed {CARDINALITY_LIMIT_MAX}")))
        }
        Some(limit) => Ok(limit),
    }
}

fn tsdb_object(out: &mut Vec<u8>, shards: &[ShardStatus], cardinality: &Cardinality) {
    let sum = |of: fn(&ShardStatus) -> u64| shards.iter().map(of).sum::<u64>();
    let range = shards.iter().filter_map(|shard| shard.head_range).reduce(TimeRange::cover);
    // An empty Head has its times the wrong way round, as in Prometheus.
    let (min, max) = range.map_or((i64::MAX, i64::MIN), |range| (range.min().0, range.max().0));
    out.extend_from_slice(br#"{"headStats":{"numSeries":"#);
    number::unsigned(out, sum(|shard| shard.series));
    out.extend_from_slice(br#","numLabelPairs":"#);
    number::unsigned(out, cardinality.label_pairs);
    out.extend_from_slice(br#","chunkCount":"#);
    number::unsigned(out, sum(|shard| shard.chunks));
    out.extend_from_slice(br#","minTime":"#);
    number::signed(out, min);
    out.extend_from_slice(br#","maxTime":"#);
    number::signed(out, max);
    out.push(b'}');
    for (name, list) in [
        ("seriesCountByMetricName", &cardinality.series_by_metric),
        ("labelValueCountByLabelName", &cardinality.values_by_label),
        ("memoryInBytesByLabelName", &cardinality.bytes_by_label),
        ("seriesCountByLabelValuePair", &cardinality.series_by_pair),
    ] {
        out.push(b',');
        text::string(out, name);
        out.push(b':');
        array(out, list, |out, (name, value)| {
            out.extend_from_slice(br#"{"name":"#);
            text::string(out, name);
            out.extend_from_slice(br#","value":"#);
            number::unsigned(out, *value);
            out.push(b'}');
        });
    }
    out.push(b'}');
}

/// The API has no such path.
#[must_use]
pub fn no_such_path(path: &str) -> Reply {
    let message = format!("this server has no {path}");
    ApiError::new(ErrorType::NotFound, message).reply()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_cardinality_lists_is_bounded() {
        assert_eq!(cardinality_limit(""), Ok(10));
        assert_eq!(cardinality_limit("10000"), Ok(10_000));
        let text = |limit| cardinality_limit(limit).unwrap_err().message;
        assert_eq!(text("0"), "limit must be a positive number");
        assert_eq!(text("-1"), "limit must be a positive number");
        assert_eq!(text("ten"), "limit must be a positive number");
        assert_eq!(text("10001"), "limit must not exceed 10000");
    }

    #[test]
    fn limits_of_retention_are_told_as_prometheus_prints_them() {
        let told = |retention_ms, retention_bytes| {
            retention(&StorageOptions { retention_ms, retention_bytes, ..Default::default() })
        };
        const DAY_MS: i64 = 86_400_000;
        assert_eq!(told(Some(15 * DAY_MS), None), "15d");
        assert_eq!(told(Some(15 * DAY_MS), Some(5 << 30)), "15d or 5GiB");
        assert_eq!(told(None, Some(3 << 29)), "1GiB512MiB");
        assert_eq!(told(None, None), "");
    }

    #[test]
    fn the_version_reads_as_a_semantic_version_that_thanos_accepts() {
        let (numbers, build) = version::COMPATIBLE.split_once('+').unwrap();
        let numbers: Vec<u32> = numbers.split('.').map(|n| n.parse().unwrap()).collect();
        assert!(numbers.len() == 3 && numbers.as_slice() >= &[2, 24, 0][..], "{numbers:?}");
        assert!(
            build
                .split('.')
                .all(|id| !id.is_empty()
                    && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        );
    }

    #[test]
    fn an_empty_head_has_this_status() {
        let mut out = Vec::new();
        let cardinality = Cardinality {
            series_by_pair: vec![("job=a\"".to_owned(), 3)],
            ..Cardinality::default()
        };
        tsdb_object(&mut out, &[], &cardinality);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"headStats":{"numSeries":0,"numLabelPairs":0,"chunkCount":0,"minTime":9223372036854775807,"maxTime":-9223372036854775808},"seriesCountByMetricName":[],"labelValueCountByLabelName":[],"memoryInBytesByLabelName":[],"seriesCountByLabelValuePair":[{"name":"job=a\"","value":3}]}"#
        );
    }
}
