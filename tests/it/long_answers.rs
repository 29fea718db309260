//! A long answer is the same whatever number of cores it comes from, and who goes away before its end leaves nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use flate2::read::GzDecoder;

use crate::http;
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, now_ms, until};

const SERIES: usize = 60;
const SAMPLES: i64 = 100;

/// A range query with some 300,000 points, 7 MB of text, over samples that end at `end`.
fn question(end: i64) -> String {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let start = end - SAMPLES * 15_000;
    format!(
        "GET /api/v1/query_range?query=m&start={}&end={}&step=0.3",
        seconds(start),
        seconds(end)
    )
}

fn write_samples(address: SocketAddr, end: i64) {
    for i in 0..SERIES {
        let of_step = |step| (end - step * 15_000, (step * 7919 % 1000) as f64 / 8.0);
        let samples: Vec<_> = (0..SAMPLES).rev().map(of_step).collect();
        let labels = [("__name__", "m"), ("i", &*i.to_string())];
        request(&[Series::new(&labels, &samples)], Version::V1, Packed::Snappy).send(address);
    }
}

#[test]
fn a_long_answer_reads_the_same_from_one_core_and_from_three() {
    let end = now_ms() / 1000 * 1000;
    let asked = |shards| {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::with_shards(dir.path(), shards);
        write_samples(server.address, end);
        let plain = http::send(server.address, &question(end), &[], b"").unwrap();
        let gzip = ["Accept-Encoding: gzip"];
        let packed = http::send(server.address, &question(end), &gzip, b"").unwrap();
        let mut unpacked = Vec::new();
        GzDecoder::new(&*packed.body).read_to_end(&mut unpacked).unwrap();
        assert!(packed.body.len() < unpacked.len());
        assert!(unpacked == plain.body, "{shards} shards: packed, it is another answer");
        plain.body
    };
    let (one, three) = (asked(1), asked(3));
    assert!(one.len() > 5_000_000, "{} bytes", one.len());
    assert!(one == three);
    assert!(serde_json::from_slice::<serde_json::Value>(&one).is_ok());
}

#[test]
fn who_goes_away_before_the_end_leaves_nothing_behind() {
    let end = now_ms() / 1000 * 1000;
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_flags(dir.path(), 3, &["--query.results-cache-size=0"]);
    write_samples(server.address, end);
    for _ in 0..20 {
        let mut connection = TcpStream::connect(server.address).unwrap();
        write!(connection, "{} HTTP/1.1\r\nHost: a\r\n\r\n", question(end)).unwrap();
        connection.read_exact(&mut [0; 100_000]).unwrap();
    }
    until("nothing is held any more", || {
        let metrics = http::send(server.address, "GET /metrics", &[], b"").unwrap();
        String::from_utf8(metrics.body).unwrap().contains("\nfloodplain_query_memory_bytes 0\n")
    });
    let whole = http::send(server.address, &question(end), &[], b"").unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&whole.body).is_ok());
}
