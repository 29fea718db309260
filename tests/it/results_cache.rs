//! Answers of range queries that are kept are the ones that would be evaluated now: whatever is written, late or in order,
//! and whatever is deleted between two questions.

use std::net::SocketAddr;

use serde_json::Value;

use crate::http;
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, now_ms};

const STEP_MS: i64 = 15_000;
const STEPS: i64 = 240;

const QUERIES: [&str; 6] = [
    "m",
    "sum by (i) (rate(m[2m]))",
    "topk(2, m) or absent(m{i=\"0\"})",
    "max_over_time(sum(m)[3m:30s])",
    "count_over_time(m[1m] offset 2m)",
    "m > bool 30",
];

/// Numbers that look random and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 2).unwrap() % end
    }
}

/// The answer of a range query; `unlike` makes the text another one, which nothing is kept of.
fn asked(address: SocketAddr, query: &str, (start, end): (i64, i64), unlike: Option<u32>) -> Value {
    let query = unlike.map_or(query.to_owned(), |n| format!("{query} # {n}"));
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (start, end) = (seconds(start), seconds(end));
    let step = (STEP_MS / 1000).to_string();
    let params = [("query", &*query), ("start", &start), ("end", &end), ("step", &step)];
    http::data(address, "/api/v1/query_range", &params)
}

fn metric(address: SocketAddr, name: &str) -> u64 {
    let answer = http::send(address, "GET /metrics", &[], b"").unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn what_is_kept_is_what_would_be_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_flags(dir.path(), 2, &["--web.enable-admin-api"]);
    let address = server.address;
    let begin = (now_ms() - STEPS * STEP_MS) / STEP_MS * STEP_MS;
    let (mut chance, mut newest, mut unlike) = (Chance(0x5eed), [begin; 4], 0);
    let write = |i: usize, t: i64, v: f64| {
        let labels = [("__name__", "m"), ("i", &*i.to_string())];
        request(&[Series::new(&labels, &[(t, v)])], Version::V1, Packed::Snappy).send(address);
    };
    for (i, newest) in newest.iter_mut().enumerate() {
        for step in 0..40 {
            *newest = begin + step * STEP_MS + i as i64;
            write(i, *newest, step as f64);
        }
    }
    for round in 0..120 {
        let i = usize::try_from(chance.below(4)).unwrap();
        match chance.below(12) {
            0 => write(i, newest[i] - chance.below(30) * STEP_MS - 7, 1e3),
            1 => {
                let from = (newest[i] - chance.below(20) * STEP_MS) as f64 / 1000.0;
                let what = format!("match[]=m{{i=%22{i}%22}}&start={from}&end={}", from + 40.0);
                let path = format!("POST /api/v1/admin/tsdb/delete_series?{what}");
                assert_eq!(http::send(address, &path, &[], b"").unwrap().status, 204);
            }
            2 => {
                newest[i] += STEP_MS;
                write(i, newest[i], f64::from_bits(0x7ff0_0000_0000_0002));
            }
            _ => {
                newest[i] += STEP_MS;
                write(i, newest[i], round as f64);
            }
        }
        let query = QUERIES[usize::try_from(chance.below(6)).unwrap()];
        let end = newest.iter().max().unwrap() / STEP_MS * STEP_MS + chance.below(3) * STEP_MS;
        let range = (end - (20 + chance.below(60)) * STEP_MS, end);
        unlike += 1;
        let have = asked(address, query, range, None);
        let want = asked(address, query, range, Some(unlike));
        assert_eq!(have, want, "round {round}: {query} over {range:?}");
    }
    let of = |result: &str| {
        let name = "floodplain_query_results_cache_requests_total";
        metric(address, &format!("{name}{{result=\"{result}\"}}"))
    };
    assert!(of("partial") > 20, "{} hits, {} in part", of("hit"), of("partial"));
    assert!(metric(address, "floodplain_query_results_cache_bytes") > 0);
}

#[test]
fn the_same_question_again_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::on(dir.path());
    let address = server.address;
    let begin = (now_ms() - STEPS * STEP_MS) / STEP_MS * STEP_MS;
    let samples: Vec<_> = (0..STEPS).map(|step| (begin + step * STEP_MS, step as f64)).collect();
    let series = Series::new(&[("__name__", "m_total")], &samples);
    request(&[series], Version::V1, Packed::Snappy).send(address);
    let range = (begin + 60 * STEP_MS, begin + 120 * STEP_MS);
    let first = asked(address, "rate(m_total[1m])", range, None);
    let read = metric(address, "prometheus_engine_query_samples_total");
    assert_eq!(asked(address, "rate(m_total[1m])", range, None), first);
    assert_eq!(metric(address, "prometheus_engine_query_samples_total"), read);
    assert_eq!(metric(address, "floodplain_query_results_cache_requests_total{result=\"hit\"}"), 1);
}

#[test]
fn nothing_is_kept_where_that_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_flags(dir.path(), 2, &["--query.results-cache-size=0"]);
    let range = (0, 60 * STEP_MS);
    for _ in 0..2 {
        asked(server.address, "vector(1)", range, None);
    }
    assert_eq!(metric(server.address, "floodplain_query_results_cache_answers"), 0);
}
