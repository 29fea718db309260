//! Deleting series as operators do it: over HTTP, of the Head and of blocks, and for good.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::http;
use crate::peer::{PROMTOOL, installed};
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, now_ms, until};

const MINUTE: i64 = 60_000;
const MINUTES: i64 = 9 * 60;

fn start(dir: &Path) -> Running {
    Running::with_flags(dir, 2, &["--web.enable-admin-api"])
}

/// How many samples of all series of `m` with this `job` a query sees.
fn count(address: SocketAddr, job: &str) -> u64 {
    let query = format!("sum(count_over_time(m{{job=\"{job}\"}}[12h]))");
    let data = http::data(address, "/api/v1/query", &[("query", &query)]);
    data["result"][0]["value"][1].as_str().map_or(0, |count| count.parse().unwrap())
}

fn administer(address: SocketAddr, what: &str) {
    let answer = http::send(address, &format!("POST /api/v1/admin/tsdb/{what}"), &[], b"").unwrap();
    assert_eq!(answer.status, 204, "{what}: {}", String::from_utf8_lossy(&answer.body));
}

/// The directories of all blocks.
fn blocks(data: &Path) -> Vec<PathBuf> {
    let below = |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let shards = below(data).filter(|path| path.is_dir());
    let all = shards.flat_map(|shard| below(&shard).collect::<Vec<_>>());
    all.filter(|path| path.join("meta.json").exists() && path.extension().is_none()).collect()
}

/// What `promtool tsdb dump` says of all blocks together.
fn dumped(data: &Path) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("wal")).unwrap();
    for block in blocks(data) {
        let copied = Command::new("cp").arg("-r").arg(block).arg(dir.path()).status().unwrap();
        assert!(copied.success());
    }
    let output = Command::new(PROMTOOL).args(["tsdb", "dump"]).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_deleted_is_gone_for_good_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = start(&data);
    let begin = now_ms() - MINUTES * MINUTE;
    let jobs = ["gone", "half", "kept"];
    let series = |job: &str, i: i64| {
        let samples: Vec<_> = (0..MINUTES).map(|m| (begin + m * MINUTE, m as f64)).collect();
        Series::new(&[("__name__", "m"), ("job", job), ("i", &i.to_string())], &samples)
    };
    let all: Vec<_> = (0..4).flat_map(|i| jobs.map(|job| series(job, i))).collect();
    request(&all, Version::V1, Packed::Snappy).send(server.address);
    let whole = 4 * u64::try_from(MINUTES).unwrap();
    assert_eq!(jobs.map(|job| count(server.address, job)), [whole; 3]);
    // The Head keeps the last hours; whether it has given all others away by then is left to chance.
    let has_block =
        |shard: &str| blocks(&data).iter().any(|block| block.starts_with(data.join(shard)));
    until("both shards have a block", || ["shard-000", "shard-001"].into_iter().all(has_block));

    let gone = "delete_series?match[]=m{job=%22gone%22}";
    administer(server.address, gone);
    let end = (begin + MINUTES / 2 * MINUTE) / 1000 + 1;
    administer(server.address, &format!("delete_series?match[]=m{{job=%22half%22}}&start={end}"));
    let half = 4 * (u64::try_from(MINUTES).unwrap() / 2 + 1);
    let want = [0, half, whole];
    assert_eq!(jobs.map(|job| count(server.address, job)), want);
    let seen = http::data(server.address, "/api/v1/series", &[("match[]", "m{i=\"0\"}")]);
    let seen: Vec<_> =
        seen.as_array().unwrap().iter().map(|series| series["job"].clone()).collect();
    assert_eq!(seen, ["half", "kept"]);

    server.kill();
    server = start(&data);
    assert_eq!(jobs.map(|job| count(server.address, job)), want, "after kill -9");

    administer(server.address, "clean_tombstones");
    assert_eq!(jobs.map(|job| count(server.address, job)), want, "after cleaning");
    // Once, a series of the Head kept its labels in these lists until the next cut.
    let left = http::data(server.address, "/api/v1/label/job/values", &[]);
    assert_eq!(left, serde_json::json!(["half", "kept"]));
    server.kill();
    if installed(&[PROMTOOL]) {
        for block in blocks(&data) {
            let tombstones = fs::metadata(block.join("tombstones")).map_or(0, |file| file.len());
            assert!(tombstones <= 9, "{}: {tombstones} bytes", block.display());
        }
        let dump = dumped(&data);
        assert!(!dump.contains("job=\"gone\"") && dump.contains("job=\"kept\""));
        assert!(dump.contains("job=\"half\""));
    }
    server = start(&data);
    assert_eq!(jobs.map(|job| count(server.address, job)), want, "after another kill -9");
    server.kill();
}
