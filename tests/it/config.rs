//! The configuration file as operators use it: given at a start, read again while the server runs, checked beforehand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::http;
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, floodplain, now_ms, until};

const MINUTE: i64 = 60_000;
const REFUSES_LATE: &str = "storage: {tsdb: {out_of_order_time_window: 0s}}\n";
const TAKES_LATE: &str = "storage: {tsdb: {out_of_order_time_window: 30m}}\n";

/// A server with a configuration file.
struct Configured {
    server: Running,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Configured {
    fn with(text: &str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("prometheus.yml");
        fs::write(&file, text).unwrap();
        let flag = format!("--config.file={}", file.display());
        let flags: Vec<&str> = [flag.as_str()].into_iter().chain(more.iter().copied()).collect();
        let server = Running::with_flags(&dir.path().join("data"), 2, &flags);
        Self { server, file, _dir: dir }
    }

    fn post(&self, path: &str) -> (u16, String) {
        let answer = http::send(self.server.address, &format!("POST {path}"), &[], b"").unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    /// The status of a write of many series, of which every shard has some, so many minutes ago.
    fn write(&self, minutes_ago: i64) -> u16 {
        let samples = [(now_ms() - minutes_ago * MINUTE, 1.0)];
        let labels =
            |i: u32| [("__name__".to_owned(), "m".to_owned()), ("i".to_owned(), i.to_string())];
        let series = |i| Series { labels: labels(i).into(), ..Series::new(&[], &samples) };
        let series: Vec<Series> = (0..50).map(series).collect();
        let request = request(&series, Version::V1, Packed::Snappy);
        let headers: Vec<&str> = request.headers.iter().map(String::as_str).collect();
        let path = "POST /api/v1/write";
        http::send(self.server.address, path, &headers, &request.body).unwrap().status
    }

    fn data(&self, path: &str) -> Value {
        let path = format!("GET /api/v1/{path}");
        let answer = http::send(self.server.address, &path, &[], b"").unwrap();
        let mut envelope: Value = serde_json::from_slice(&answer.body).unwrap();
        envelope["data"].take()
    }

    fn yaml(&self) -> String {
        self.data("status/config")["yaml"].as_str().unwrap().to_owned()
    }
}

/// What a start comes to that does not succeed.
fn refused(file: &Path) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (file, path) = (
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", data.display()),
    );
    let output = floodplain(&[&file, &path]).output().unwrap();
    assert!(!data.exists(), "a file that is wrong changes nothing");
    output
}

#[test]
fn what_the_file_says_holds_on_all_shards_from_a_reload_on() {
    let configured = Configured::with(REFUSES_LATE, &["--web.enable-lifecycle"]);
    assert_eq!(configured.write(0), 204);
    assert_eq!(configured.write(10), 400, "the file wins over the flag's default of an hour");
    fs::write(&configured.file, TAKES_LATE).unwrap();
    assert_eq!(configured.post("/-/reload"), (200, String::new()));
    assert_eq!(configured.write(10), 204);
    assert_eq!(configured.write(50), 400);
    assert!(configured.yaml().contains("out_of_order_time_window: 30m\n"));
}

#[test]
fn a_signal_has_the_file_read_again_too() {
    let configured = Configured::with(REFUSES_LATE, &[]);
    assert_eq!(configured.write(0), 204);
    fs::write(&configured.file, TAKES_LATE).unwrap();
    configured.server.signal("-HUP");
    until("the file is read again", || configured.yaml().contains("30m"));
    assert_eq!(configured.write(10), 204);
    assert_eq!(configured.post("/-/reload").0, 403, "requests are answered only if that is on");
}

#[test]
fn a_file_that_is_wrong_leaves_what_held_and_says_why() {
    let configured = Configured::with(TAKES_LATE, &["--web.enable-lifecycle"]);
    assert_eq!(configured.write(0), 204);
    fs::write(&configured.file, format!("{REFUSES_LATE}externl: x\n")).unwrap();
    let (status, said) = configured.post("/-/reload");
    assert!(status == 500 && said.contains("prometheus.yml:2:1: unknown key"), "{status}: {said}");
    assert_eq!(configured.write(10), 204);
    assert!(configured.yaml().contains("out_of_order_time_window: 30m\n"));
    assert_eq!(configured.data("status/runtimeinfo")["reloadConfigSuccess"], false);
    configured.server.signal("-TERM");
    let (status, log) = configured.server.ended();
    assert!(status.success() && log.contains("the configuration is not loaded"), "{log}");
}

#[test]
fn a_request_stops_the_server_if_that_is_on() {
    let configured = Configured::with("", &["--web.enable-lifecycle"]);
    let (status, said) = configured.post("/-/quit");
    assert_eq!((status, said.as_str()), (200, "Requesting termination... Goodbye!\n"));
    let (status, log) = configured.server.ended();
    assert!(status.success(), "{log}");
}

#[test]
fn a_wrong_file_stops_the_start_before_anything_is_touched() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "global:\n  externl_labels: {a: b}\n").unwrap();
    let output = refused(file.path());
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!("floodplain cannot start: {}:2:3: unknown key", file.path().display());
    assert!(said.starts_with(&expected) && said.contains("did you mean"), "{said}");
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
}

#[test]
fn a_file_that_is_not_there_stops_the_start_too() {
    let output = refused(Path::new("/nonexistent/prometheus.yml"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/nonexistent/prometheus.yml"), "{said}");
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
}

#[test]
fn the_example_in_the_documentation_is_right_and_has_its_effect() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/prometheus.yml");
    let output = floodplain(&["check", "config", "--json", example.to_str().unwrap()]);
    let output = { output }.env("HOSTNAME", "a-host").output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && report["valid"] == true, "{report}");
    let configured = Configured::with(&fs::read_to_string(example).unwrap(), &[]);
    assert_eq!(configured.data("status/runtimeinfo")["storageRetention"], "90d or 500GiB");
}

#[test]
fn a_check_tells_all_that_is_wrong_and_fails() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "globl:\nstorage: {tsdb: {retention: {time: 5}}}\n").unwrap();
    let output = floodplain(&["check", "config", file.path().to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 2), "{said}");
}

#[test]
fn what_is_not_served_is_told_in_the_log_with_its_place() {
    let configured = Configured::with("", &["--web.enable-lifecycle"]);
    fs::write(&configured.file, "scrape_configs: [{job_name: a}]\n").unwrap();
    assert_eq!(configured.post("/-/reload").0, 200);
    configured.server.signal("-TERM");
    let (_, log) = configured.server.ended();
    assert!(log.contains("prometheus.yml:1:1: scrape_configs has no effect"), "{log}");
}
