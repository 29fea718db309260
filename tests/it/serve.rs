//! The program as its users start it: what it says when it cannot, how it ends, and what is there when it starts again.

use std::net::TcpListener;
use std::process::Output;

use crate::server::{Running, flags, floodplain, now_ms};

/// What a start comes to that does not succeed.
fn refused(args: &[&str]) -> Output {
    let output = floodplain(args).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    output
}

impl Running {
    /// Writes one sample of `up`, now; gives the time, in milliseconds.
    fn write_up(&self, v: f64) -> u128 {
        let ms = u128::try_from(now_ms()).unwrap();
        let mut sample = vec![0x09];
        sample.extend(v.to_bits().to_le_bytes());
        sample.push(0x10);
        sample.extend(varint(ms));
        let mut series = b"\x0a\x0e\x0a\x08__name__\x12\x02up\x12".to_vec();
        series.extend(varint(sample.len() as u128));
        series.extend(sample);
        let mut message = vec![0x0a];
        message.extend(varint(series.len() as u128));
        message.extend(series);
        // Snappy's block format: the length, and one literal.
        let mut packed: Vec<u8> = varint(message.len() as u128).collect();
        packed.push(u8::try_from((message.len() - 1) << 2).unwrap());
        packed.extend(message);
        let answer = self.ask("POST /api/v1/write HTTP/1.1", &packed);
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        ms
    }

    /// Does it know that `up` was `v` at `ms`?
    fn knows_up(&self, ms: u128, v: &str) -> bool {
        let time = format!("{}.{:03}", ms / 1000, ms % 1000);
        let answer = self.ask(&format!("GET /api/v1/query?query=up&time={time} HTTP/1.1"), b"");
        answer.contains(&format!("\"{v}\"]}}]"))
    }
}

fn varint(mut n: u128) -> impl Iterator<Item = u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
        n >>= 7;
    }
    bytes.push(u8::try_from(n).unwrap());
    bytes.into_iter()
}

#[test]
fn a_server_that_is_told_to_stop_exits_0_and_knows_everything_when_it_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    for (signal, v) in [("-TERM", 1.5), ("-INT", 2.5)] {
        let running = Running::on(dir.path());
        let ms = running.write_up(v);
        running.signal(signal);
        let (status, log) = running.ended();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("Floodplain has stopped"), "{log}");
        assert!(Running::on(dir.path()).knows_up(ms, &v.to_string()), "after {signal}");
    }
}

#[test]
fn a_server_that_is_killed_knows_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::on(dir.path());
    let ms = running.write_up(7.0);
    running.signal("-KILL");
    drop(running.ended());
    assert!(Running::on(dir.path()).knows_up(ms, "7"));
}

#[test]
fn a_second_server_on_the_same_data_names_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::on(dir.path());
    let flags = flags(dir.path(), 2);
    let output = refused(&flags.each_ref().map(String::as_str));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("floodplain cannot start: the data directory "), "{said}");
    assert!(said.contains(&format!("is in use by process {}", running.child.id())), "{said}");
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
}

#[test]
fn a_port_in_use_is_told_with_the_flag_that_chooses_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let address = format!("--web.listen-address={}", taken.local_addr().unwrap());
    let data = format!("--storage.tsdb.path={}", dir.path().display());
    let output = refused(&[&data, &address]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is in use") && said.contains("--web.listen-address"), "{said}");
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_one_is_told_with_its_path() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = refused(&[&format!("--storage.tsdb.path={}", file.path().display())]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&file.path().display().to_string()), "{said}");
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
}

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let output = refused(&["--storage.tsdb.pth=x"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("--storage.tsdb.pth"), "{said}");
}

#[test]
fn the_doctor_finds_this_host_fit_and_says_so_in_json_too() {
    let dir = tempfile::tempdir().unwrap();
    let data = format!("--storage.tsdb.path={}", dir.path().display());
    let output = floodplain(&["doctor", "--json", &data]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && report["verdict"] != "fail", "{report}");
    let lines = floodplain(&["doctor", &data]).output().unwrap();
    let lines = String::from_utf8(lines.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(lines.lines().count(), checks.len(), "{lines}");
}
