//! `floodplain verify`, `export` and `import`, as their users run them, with Debian's promtool as the referee.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::http;
use crate::peer::{PROMTOOL, installed};
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, floodplain, now_ms, until};

/// A series' number to time in milliseconds to value.
pub type Samples = BTreeMap<String, BTreeMap<i64, f64>>;

pub const MINUTE: i64 = 60_000;
const SERIES: i64 = 12;

/// A sample a minute of some series, for `minutes` until a few minutes ago; whole numbers, so that texts are exact.
pub fn samples(minutes: i64) -> Samples {
    let end = (now_ms() / MINUTE - 5) * MINUTE;
    let of = |i: i64| {
        (0..minutes).map(|m| (end - m * MINUTE, (i * 1000 + m) as f64)).collect::<BTreeMap<_, _>>()
    };
    (0..SERIES).map(|i| (format!("{i:02}"), of(i))).collect()
}

pub fn promtool(args: &[&str], dir: &Path) -> String {
    let output = Command::new(PROMTOOL).args(args).arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `promtool tsdb dump` says; it opens whole databases only.
fn dumped(dir: &Path) -> Samples {
    fs::create_dir_all(dir.join("wal")).unwrap();
    let mut samples = Samples::new();
    for line in promtool(&["tsdb", "dump"], dir).lines() {
        let (rest, t) = line.rsplit_once(' ').unwrap();
        let (labels, value) = rest.rsplit_once(' ').unwrap();
        let (_, series) = labels.split_once("series=\"").unwrap();
        let series = series.trim_end_matches("\"}").to_owned();
        samples.entry(series).or_default().insert(t.parse().unwrap(), value.parse().unwrap());
    }
    samples
}

/// Blocks that promtool makes of the samples, in `dir`.
fn made_by_promtool(samples: &Samples, dir: &Path) {
    let mut text = String::from("# TYPE m gauge\n");
    for (series, values) in samples {
        for (t, v) in values {
            let _ = writeln!(text, "m{{series=\"{series}\"}} {v} {}", t / 1000);
        }
    }
    text.push_str("# EOF\n");
    let metrics = dir.with_extension("txt");
    fs::write(&metrics, text).unwrap();
    let metrics = metrics.display().to_string();
    promtool(&["tsdb", "create-blocks-from", "openmetrics", &metrics], dir);
}

/// What a server answers for all of the last day.
fn answered(running: &Running) -> Samples {
    let data = http::data(running.address, "/api/v1/query", &[("query", "m[1d]")]);
    let values = |series: &Value| {
        let value = |pair: &Value| {
            let t = (pair[0].as_f64().unwrap() * 1000.0).round();
            #[expect(clippy::cast_possible_truncation, reason = "a time of today")]
            let t = t as i64;
            (t, pair[1].as_str().unwrap().parse().unwrap())
        };
        let all = series["values"].as_array().unwrap();
        (
            series["metric"]["series"].as_str().unwrap().to_owned(),
            all.iter().map(value).collect::<BTreeMap<i64, f64>>(),
        )
    };
    data["result"].as_array().unwrap().iter().map(values).collect()
}

/// Runs a command with `--json`; its exit code and what it printed.
pub fn run(args: &[&str]) -> (i32, Value) {
    let output = floodplain(&[args, &["--json"]].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{args:?}: {error}: {said}"));
    (output.status.code().unwrap(), report)
}

/// What a command says that fails.
fn refused(args: &[&str]) -> String {
    let output = floodplain(args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    said
}

pub fn path_flag(dir: &Path) -> String {
    format!("--storage.tsdb.path={}", dir.display())
}

pub fn stop(running: Running) {
    running.signal("-TERM");
    let (status, log) = running.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// All files below `dir` of this name.
fn files_named(dir: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_named(&path, name));
        } else if path.file_name().is_some_and(|own| own == name) {
            found.push(path);
        }
    }
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Writes the samples, an hour of all series at a time.
pub fn send(samples: &Samples, address: SocketAddr) {
    let times: BTreeSet<i64> = samples.values().flat_map(BTreeMap::keys).copied().collect();
    let times: Vec<i64> = times.into_iter().collect();
    for some in times.chunks(60) {
        let series: Vec<Series> = samples
            .iter()
            .map(|(name, values)| {
                let values: Vec<_> =
                    some.iter().filter_map(|t| Some((*t, *values.get(t)?))).collect();
                Series::new(&[("__name__", "m"), ("series", name)], &values)
            })
            .filter(|series| !series.samples.is_empty())
            .collect();
        request(&series, Version::V1, Packed::Snappy).send(address);
    }
}

/// The names of the blocks in a directory.
pub fn blocks_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(Result::unwrap);
    let blocks = entries.filter(|entry| entry.path().join("meta.json").exists());
    blocks.map(|e| e.file_name().into_string().unwrap()).filter(|name| name.len() == 26).collect()
}

pub fn shard_dir(data: &Path, shard: u16) -> PathBuf {
    data.join(format!("shard-{shard:03}"))
}

/// Waits until each of two shards has a block.
pub fn until_both_have_blocks(data: &Path) {
    until("both shards have a block", || {
        (0..2).all(|shard| !blocks_in(&shard_dir(data, shard)).is_empty())
    });
}

/// A data directory into which samples were written until there were blocks, with the rest in the log.
pub fn flooded(dir: &Path, samples: &Samples) {
    let running = Running::with_shards(dir, 2);
    send(samples, running.address);
    until_both_have_blocks(dir);
    stop(running);
}

/// What `export` says of a data directory that it wrote to `out`, and its exit code.
pub fn exported(data: &Path, out: &Path) -> (i32, Value) {
    run(&["export", &out.display().to_string(), &path_flag(data)])
}

#[test]
fn blocks_of_promtool_are_imported_and_answer_the_same() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (blocks, data) = (dir.path().join("blocks"), dir.path().join("data"));
    let sent = samples(7 * 60);
    made_by_promtool(&sent, &blocks);
    assert_eq!(dumped(&blocks), sent);
    let (from, to) = (blocks.display().to_string(), path_flag(&data));
    let (code, report) = run(&["import", &from, &to]);
    assert_eq!((code, &report["damaged"]), (0, &serde_json::json!([])), "{report}");
    assert_eq!(report["samples"], SERIES * 7 * 60);
    let imported = report["imported"].as_array().unwrap().len();
    assert!(imported >= 3, "{report}");

    let (code, again) = run(&["import", &from, &to]);
    assert_eq!((code, again["imported"].as_array().unwrap().len()), (0, 0));
    assert_eq!(again["skipped"].as_array().unwrap().len(), imported, "{again}");
    let (code, verified) = run(&["verify", &data.display().to_string()]);
    assert_eq!((code, &verified["blocks"]), (0, &Value::from(imported)), "{verified}");

    let running = Running::with_shards(&data, 2);
    assert_eq!(answered(&running), sent);
    let said = refused(&["import", &from, &to]);
    assert!(said.contains("is in use by process"), "{said}");
    until("the blocks are divided among the shards", || {
        (0..2).all(|shard| {
            let metas = files_named(&data.join(format!("shard-{shard:03}")), "meta.json");
            let is_own = |path: &PathBuf| {
                fs::read_to_string(path).is_ok_and(|text| text.contains("\"floodplain\""))
            };
            // They are merged soon after.
            !metas.is_empty() && metas.iter().all(is_own)
        })
    });
    assert_eq!(answered(&running), sent);
    stop(running);
    let (_, again) = run(&["import", &from, &to]);
    assert_eq!(again["skipped"].as_array().unwrap().len(), imported, "{again}");
}

#[test]
fn what_is_exported_is_what_was_sent_the_log_included() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    let sent = samples(8 * 60);
    flooded(&data, &sent);
    let (code, report) = exported(&data, &out);
    assert_eq!((code, &report["samples"]), (0, &Value::from(SERIES * 8 * 60)), "{report}");
    assert_eq!(dumped(&out), sent);
    let blocks = report["blocks"].as_array().unwrap();
    let listed = promtool(&["tsdb", "list"], &out);
    assert!(blocks.iter().all(|ulid| listed.contains(ulid.as_str().unwrap())), "{listed}");
    let analysis = promtool(&["tsdb", "analyze"], &out);
    assert!(analysis.contains("Highest cardinality metric names:\n12 m"), "{analysis}");
    for meta in files_named(&out, "meta.json") {
        assert!(!fs::read_to_string(meta).unwrap().contains("floodplain"));
    }
    assert!(!out.join("head.tmp").exists());
    let said = refused(&["export", &out.display().to_string(), &path_flag(&data)]);
    assert!(said.contains("is not empty"), "{said}");

    // A part of it: some series, some time.
    let times: Vec<i64> = sent["03"].keys().copied().collect();
    let (start, end) = (times[100], times[300]);
    let part = dir.path().join("part");
    let (code, report) = run(&[
        "export",
        &part.display().to_string(),
        &path_flag(&data),
        &format!("--start={}", start / 1000),
        &format!("--end={}", end / 1000),
        "--match={series=\"03\"}",
        "--match=m{series=~\"1.\"}",
    ]);
    assert_eq!((code, &report["samples"]), (0, &Value::from(3 * 201)), "{report}");
    let mut expected = sent.clone();
    expected.retain(|series, values| {
        values.retain(|t, _| (start..=end).contains(t));
        ["03", "10", "11"].contains(&series.as_str())
    });
    assert_eq!(dumped(&part), expected);
    // And back.
    let back = dir.path().join("back");
    let (code, report) = run(&["import", &part.display().to_string(), &path_flag(&back)]);
    assert_eq!((code, &report["samples"]), (0, &Value::from(3 * 201)), "{report}");
}

#[test]
fn verify_names_file_and_byte_of_what_is_damaged_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let path = data.display().to_string();
    flooded(data, &samples(8 * 60));
    let before = state(data);
    let (code, report) = run(&["verify", &path]);
    assert_eq!((code, &report["damage"]), (0, &serde_json::json!([])), "{report}");
    assert!(report["blocks"].as_u64().unwrap() >= 2, "{report}");
    assert!(report["log_files"].as_u64().unwrap() >= 2, "{report}");
    assert_eq!(state(data), before);

    let chunks = files_named(data, "000001").remove(0);
    flip(&chunks, 60);
    let checkpoint = data.join("shard-000/head");
    let checkpoint = fs::read_dir(checkpoint).unwrap().map(|entry| entry.unwrap().path());
    let spill = checkpoint
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("chunks-"));
    let spill: Vec<PathBuf> = spill.collect();
    let before = state(data);
    let (code, report) = run(&["verify", &path]);
    let damage = report["damage"].as_array().unwrap();
    assert_eq!((code, damage.len()), (1, 1), "{report}");
    assert_eq!(damage[0]["file"], chunks.display().to_string());
    assert!((1..60).contains(&damage[0]["offset"].as_u64().unwrap()), "{report}");
    assert_eq!(state(data), before);
    // The same block by itself, for people.
    let block = chunks.parent().unwrap().parent().unwrap();
    let output = floodplain(&["verify", &block.display().to_string()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = format!("damaged: {}, byte ", chunks.display());
    assert!(output.status.code() == Some(1) && said.contains(&line), "{said}");

    flip(&chunks, 60);
    if let Some(spill) = spill.first() {
        flip(spill, 40);
        let (code, report) = run(&["verify", &path]);
        assert_eq!(report["damage"][0]["file"], spill.display().to_string(), "{report}");
        assert_eq!(code, 1);
    }
}

#[test]
fn a_hole_in_the_log_is_found_and_an_export_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    let running = Running::with_shards(&data, 1);
    for minutes in [20, 10, 5] {
        let values = [(now_ms() - minutes * MINUTE, 1.0)];
        let series = Series::new(&[("__name__", "m")], &values);
        request(&[series], Version::V1, Packed::Snappy).send(running.address);
    }
    stop(running);
    let segment = data.join("shard-000/wal/00000001");
    // The second batch: the first has named the series.
    flip(&segment, 4096 + 50);
    let (code, report) = run(&["verify", &data.display().to_string()]);
    let damage = &report["damage"][0];
    assert_eq!((code, &damage["offset"]), (1, &Value::from(4096)), "{report}");
    assert_eq!(damage["file"], segment.display().to_string());
    let (code, report) = exported(&data, &out);
    assert_eq!((code, &report["samples"]), (1, &Value::from(2)), "{report}");
    let missing = report["missing"][0].as_str().unwrap();
    assert!(missing.contains("shard-000/wal/00000001, byte 4096"), "{missing}");
}

#[test]
fn verify_beside_a_server_finds_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::with_shards(dir.path(), 2);
    for (i, values) in samples(20).values().enumerate() {
        let values: Vec<_> = values.iter().map(|(t, v)| (*t, *v)).collect();
        let series = Series::new(&[("__name__", "m"), ("series", &i.to_string())], &values);
        request(&[series], Version::V1, Packed::Snappy).send(running.address);
    }
    let (code, report) = run(&["verify", &dir.path().display().to_string()]);
    assert_eq!((code, &report["log_samples"]), (0, &Value::from(SERIES * 20)), "{report}");
    assert!(report["notes"][0].as_str().unwrap().contains("a server is at work"), "{report}");
}

#[test]
fn what_cannot_be_done_is_said_in_a_sentence_with_its_cure() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, data) = (dir.path().join("empty"), dir.path().join("data"));
    fs::create_dir(&empty).unwrap();
    let (from, to) = (empty.display().to_string(), path_flag(&data));
    for args in [vec!["verify", &from], vec!["import", &from, &to]] {
        let said = refused(&args);
        assert!(said.contains("give the directory in which the blocks are"), "{said}");
    }
    let said = refused(&["export", &from, &to]);
    assert!(said.contains("is no data directory of Floodplain"), "{said}");
    assert!(!data.exists());
}

#[test]
fn blocks_with_external_labels_are_refused_before_anything_is_imported() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (blocks, data) = (dir.path().join("blocks"), dir.path().join("data"));
    made_by_promtool(&samples(5 * 60), &blocks);
    let meta = files_named(&blocks, "meta.json").pop().unwrap();
    let mut json: Value = serde_json::from_slice(&fs::read(&meta).unwrap()).unwrap();
    json["thanos"] = serde_json::json!({"labels": {"cluster": "a"}});
    fs::write(&meta, json.to_string()).unwrap();
    let said = refused(&["import", &blocks.display().to_string(), &path_flag(&data)]);
    assert!(said.contains("external labels, cluster=\"a\""), "{said}");
    assert!(said.contains("nothing is imported"), "{said}");
    assert!(files_named(&data, "meta.json").is_empty());
}

/// Every file below `dir` with its bytes.
fn state(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(state(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}
