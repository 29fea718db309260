//! No question takes more memory than it may, or costs more than a request may: it is refused, and says what cures it.

use std::net::SocketAddr;

use crate::http;
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, now_ms};

const SERIES: usize = 6000;

/// Status and text of the answer to a GET.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = http::send(address, &format!("GET {path}"), &[], b"").unwrap();
    (answer.status, String::from_utf8(answer.body).unwrap())
}

/// Bytes that questions hold.
fn held(address: SocketAddr) -> String {
    let (_, text) = get(address, "/metrics");
    let line = text.lines().find(|line| line.starts_with("floodplain_query_memory_bytes"));
    line.unwrap().to_owned()
}

#[test] // `/api/v1/series` over everything took whatever there was, beside all bounds on queries
fn what_is_asked_about_labels_is_bounded_like_a_query() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_flags(dir.path(), 2, &["--query.max-bytes=1MiB"]);
    let (address, now) = (server.address, now_ms());
    let series = |i: usize| {
        let long = format!("{i:0300}");
        Series::new(&[("__name__", "m"), ("i", &long)], &[(now, 1.0)])
    };
    for some in (0..SERIES).collect::<Vec<_>>().chunks(1000) {
        let some: Vec<Series> = some.iter().map(|i| series(*i)).collect();
        request(&some, Version::V1, Packed::Snappy).send(address);
    }
    for path in ["/api/v1/series?match[]=m", "/api/v1/label/i/values", "/federate?match[]=m"] {
        let (status, text) = get(address, path);
        assert_eq!(status, 422, "{path}: {text:.300}");
        assert!(text.contains("--query.max-bytes"), "{path}: {text:.300}");
    }
    for path in [
        "/api/v1/series?match[]=m&limit=10",
        "/api/v1/label/i/values?limit=10",
        "/api/v1/labels",
        "/api/v1/query?query=count(m)",
    ] {
        let (status, text) = get(address, path);
        assert_eq!(status, 200, "{path}: {text:.300}");
    }
    assert!(held(address).ends_with(" 0"), "{}", held(address));
}

#[test]
fn patterns_that_cost_too_much_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_flags(dir.path(), 1, &["--query.max-samples=150000"]);
    let address = server.address;
    let many = format!("{{{}}}", ["a=~\"x[a-z]+y\""; 501].join(","));
    let large = format!("{{{}}}", [r#"a=~"\\pL{40}""#; 17].join(","));
    let long = format!("m{{a=~\"{}\"}}", "[ab]".repeat(20_000));
    for (query, why) in [
        (r#"m{a=~"(((a{1000}){1000}){1000})"}"#, "invalid repeat count"),
        (r#"m{a=~"\\pL{1000}"}"#, "expression too large"),
        (&*many, "at most 500 are allowed"),
        (&*large, "expression too large"),
        (&*long, "expression too large"),
    ] {
        let answer = http::ask(address, "/api/v1/query", &[("query", query)]);
        assert_eq!(answer["errorType"], "bad_data", "{query:.60}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(why), "{query:.60}: {error:.200}");
    }
    // A dashboard's variable with ten thousand values is no pattern.
    let values: Vec<String> = (0..10_000).map(|i| format!("10\\\\.0\\\\.0\\\\.{i}")).collect();
    let query = format!("m{{a=~\"{}\"}}", values.join("|"));
    http::data(address, "/api/v1/query", &[("query", &query)]);
    let steps = "sum(max_over_time(vector(time())[200000s:1s])) + ".repeat(3) + "1";
    let answer = http::ask(address, "/api/v1/query", &[("query", &steps)]);
    assert!(answer["error"].as_str().unwrap().contains("too many samples"), "{answer}");
}
