//! A restart as clients see it: who writes or asks while the log is read back waits for that, and is answered.

use std::thread;

use crate::http;
use crate::kill::{checked, flood, verify};
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, now_ms};

/// What `query` gives now, if it is one number.
fn number(server: &Running, query: &str) -> f64 {
    let data = http::data(server.address, "/api/v1/query", &[("query", query)]);
    data["result"][0]["value"][1].as_str().unwrap().parse().unwrap()
}

#[test] // once, all that came while the log was read back was refused
fn the_first_write_and_the_first_query_after_a_kill_succeed_and_the_query_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let (data, ledger) = (dir.path().join("data"), dir.path().join("ledger"));
    let server = Running::on(&data);
    let mut flood = flood(&server, &ledger, 1);
    flood.args(["--series=20k", "--samples=40k"]);
    assert!(flood.status().unwrap().success());
    let series = r#"count({job=~".+"})"#;
    let before = number(&server, series);
    server.kill();

    let server = Running::listening(&data, 2);
    let up = Series::new(&[("__name__", "first"), ("job", "a")], &[(now_ms(), 1.0)]);
    let (address, write) = (server.address, request(&[up], Version::V2, Packed::Snappy));
    // Both at the first try: neither knows whether the server is ready, nor asks.
    let written = thread::spawn(move || write.send(address));
    let first = number(&server, r#"count({job=~".+",__name__!="first"})"#);
    assert_eq!(first, before, "a query is answered from all shards or not at all");
    written.join().unwrap();
    assert_eq!(number(&server, series), before + 1.0);
    let ready = http::send(server.address, "GET /-/ready", &[], b"").unwrap();
    assert_eq!(ready.status, 200, "whoever was answered has found it ready");
    println!("{}", checked(&verify(&server, &ledger), "a restart that did not refuse anybody"));
}
