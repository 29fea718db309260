//! Queries that run: listed, cancelled by request and by a client that goes away, and told of after a kill.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::http;
use crate::server::{Running, flags, floodplain, until};

/// Over 11,001 steps it looks at 10,800 points each, which takes some seconds unless it is cancelled.
const SLOW: &str = "quantile_over_time(0.5, vector(time())[3h:1s])";

/// Begins a query that takes long and gives its connection, from which nothing was read.
fn begin_slow(address: SocketAddr) -> TcpStream {
    let query = SLOW.replace(' ', "%20");
    let form = format!("query={query}&start=1000000&end=1011000&step=1&timeout=110s");
    let mut connection = TcpStream::connect(address).unwrap();
    write!(
        connection,
        "POST /api/v1/query_range HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    )
    .unwrap();
    connection
}

fn running(address: SocketAddr) -> Vec<Value> {
    let mut data = {
        let answer = http::send(address, "GET /api/v1/status/active_queries", &[], b"").unwrap();
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    match data["data"]["queries"].take() {
        Value::Array(queries) => queries,
        other => panic!("{other} is no list"),
    }
}

/// How many queries have been evaluated to their ends.
fn evaluated(address: SocketAddr) -> String {
    let answer = http::send(address, "GET /metrics", &[], b"").unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let name = "prometheus_engine_query_duration_seconds_count{slice=\"inner_eval\"} ";
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
}

#[test]
fn a_query_is_cancelled_from_any_core() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_flags(dir.path(), 2, &["--web.enable-admin-api"]);
    let mut connection = begin_slow(server.address);
    until("the query runs", || !running(server.address).is_empty());
    let query = running(server.address).remove(0);
    assert_eq!(query["client"], connection.local_addr().unwrap().to_string());
    let path = format!("POST /api/v1/status/active_queries/{}/cancel", query["id"]);
    // Connections go to the cores in turn: both see the same list.
    assert_eq!(running(server.address).len(), 1);
    assert_eq!(http::send(server.address, &path, &[], b"").unwrap().status, 204);
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let answer = answer.get(..1000).unwrap_or(&answer);
    assert!(answer.starts_with("HTTP/1.1 499 "), "{answer}");
    assert!(answer.contains(r#""errorType":"canceled""#), "{answer}");
    assert!(running(server.address).is_empty());
    assert_eq!(http::send(server.address, &path, &[], b"").unwrap().status, 404);
}

#[test]
fn a_client_that_goes_away_ends_its_query() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::on(dir.path());
    let connection = begin_slow(server.address);
    until("the query runs", || !running(server.address).is_empty());
    let before = evaluated(server.address);
    drop(connection);
    until("the query has ended", || running(server.address).is_empty());
    assert_eq!(evaluated(server.address), before, "it was evaluated to its end");
}

#[test]
fn what_ran_when_the_server_was_killed_is_told_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::on(dir.path());
    let file = dir.path().join("queries.active");
    let says = |text: &str| std::fs::read_to_string(&file).is_ok_and(|said| said.contains(text));
    let _connection = begin_slow(server.address);
    until("the query is written down", || says(SLOW));
    server.kill();

    let flags = flags(dir.path(), 2);
    let args: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut child = floodplain(&args).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("message=listening") {
        assert!(log.read_line(&mut said).unwrap() > 0, "it has ended: {said}");
    }
    let told = said.lines().find(|line| line.contains("this query ran when"));
    assert!(told.is_some_and(|line| line.contains(SLOW)), "{said}");
    assert!(!says(SLOW), "told once");

    let kill = std::process::Command::new("kill").arg(child.id().to_string()).status();
    assert!(kill.unwrap().success());
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert!(!file.exists(), "a server that ends in good order leaves no such file");
}
