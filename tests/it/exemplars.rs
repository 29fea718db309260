//! Exemplars as clients see them: both protocols bring them, and `/api/v1/query_exemplars` has them after a kill and with other
//! shards.

use serde_json::{Value, json};

use floodplain::wire::proto::{v1, v2};

use crate::http;
use crate::metadata::{counted, packed};
use crate::remote_write::Request;
use crate::server::{Running, now_ms};

/// An exemplar as it is sent: trace, value and time.
type Sent<'a> = (&'a str, f64, i64);

/// As Prometheus sends it: the sample in one series, each exemplar in another of the same labels.
fn of_v1(name: &str, t: i64, exemplars: &[Sent<'_>]) -> Request {
    let label = |name: &str, value: &str| v1::Label { name: name.into(), value: value.into() };
    let labels = || vec![label("__name__", name), label("job", "api")];
    let sample = v1::Sample { value: 1.0, timestamp: t };
    let mut timeseries =
        vec![v1::TimeSeries { labels: labels(), samples: vec![sample], ..Default::default() }];
    timeseries.extend(exemplars.iter().map(|(trace, value, timestamp)| {
        let own = vec![label("trace_id", trace)];
        let exemplar = v1::Exemplar { labels: own, value: *value, timestamp: *timestamp };
        v1::TimeSeries { labels: labels(), exemplars: vec![exemplar], ..Default::default() }
    }));
    packed(&v1::WriteRequest { timeseries, metadata: Vec::new() }, "prometheus.WriteRequest")
}

fn of_v2(name: &str, t: i64, exemplars: &[Sent<'_>]) -> Request {
    let mut symbols: Vec<Vec<u8>> =
        ["", "__name__", name, "job", "api", "trace_id"].map(|text| text.into()).to_vec();
    let mut sent = Vec::new();
    for (trace, value, timestamp) in exemplars {
        let at = u32::try_from(symbols.len()).unwrap();
        symbols.push(trace.as_bytes().to_vec());
        let (value, timestamp) = (*value, *timestamp);
        sent.push(v2::Exemplar { labels_refs: vec![5, at], value, timestamp });
    }
    let sample = v2::Sample { value: 1.0, timestamp: t, start_timestamp: 0 };
    let series = v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![sample],
        exemplars: sent,
        ..v2::TimeSeries::default()
    };
    packed(&v2::Request { symbols, timeseries: vec![series] }, "io.prometheus.write.v2.Request")
}

/// The status, the number of exemplars that are said to be written, and the text of the answer.
fn send(server: &Running, request: &Request) -> (String, Option<String>, String) {
    let head = format!("POST /api/v1/write HTTP/1.1\r\n{}", request.headers.join("\r\n"));
    let answer = server.ask(&head, &request.body);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let name = "x-prometheus-remote-write-exemplars-written: ";
    let written = lines.find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned));
    (status, written, body.to_owned())
}

fn exemplars(server: &Running, query: &str) -> Value {
    http::data(server.address, "/api/v1/query_exemplars", &[("query", query)])
}

fn expected(name: &str, exemplars: &[Sent<'_>]) -> Value {
    let each = |(trace, value, t): &Sent<'_>| {
        let labels = json!({"trace_id": trace});
        json!({"labels": labels, "value": value.to_string(), "timestamp": *t as f64 / 1000.0})
    };
    let all: Vec<Value> = exemplars.iter().map(each).collect();
    json!({"seriesLabels": {"__name__": name, "job": "api"}, "exemplars": all})
}

#[test]
fn exemplars_of_both_protocols_are_there_after_a_kill_and_with_another_number_of_shards() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_shards(dir.path(), 2);
    let now = now_ms();
    let (first, second) = (("t1", 0.5, now), ("t2", 1.5, now + 1));
    let long = "x".repeat(121);
    let request = of_v1("a_bucket", now, &[first, second, ("t0", 2.5, now - 7_200_000)]);
    assert_eq!(send(&server, &request), ("204".to_owned(), None, String::new()));
    let request = of_v2("b_bucket", now, &[first, second, (&long, 1.0, now + 2)]);
    let (status, written, said) = send(&server, &request);
    assert_eq!((status.as_str(), written.as_deref()), ("204", Some("2")), "{said}");
    // Known ones are written, one that is out of order is told of, and the rest is stored.
    let late = ("t0", 2.5, now - 7_200_000);
    let request = of_v2("b_bucket", now + 1, &[second, late, ("t3", 1.5, now + 1)]);
    let (status, written, said) = send(&server, &request);
    assert_eq!((status.as_str(), written.as_deref()), ("400", Some("2")));
    let series = r#"{__name__="b_bucket", job="api"}"#;
    assert_eq!(said.trim_end(), format!("out of order exemplar for series {series}"));
    let (a, b) = (
        expected("a_bucket", &[first, second]),
        expected("b_bucket", &[first, second, ("t3", 1.5, now + 1)]),
    );
    let both = "histogram_quantile(0.9, rate(a_bucket[5m])) > b_bucket";
    assert_eq!(exemplars(&server, both), json!([a, b]));
    for (name, count) in [
        ("prometheus_tsdb_exemplar_exemplars_appended_total", 5.0),
        ("prometheus_tsdb_exemplar_exemplars_in_storage", 5.0),
        ("prometheus_tsdb_exemplar_series_with_exemplars_in_storage", 2.0),
        ("prometheus_tsdb_exemplar_out_of_order_exemplars_total", 2.0),
        ("prometheus_tsdb_exemplar_max_exemplars", 100_000.0),
        ("floodplain_exemplars_refused_total", 1.0),
    ] {
        assert_eq!(counted(&server, name), count, "{name}");
    }
    server.kill();
    for shards in [3, 1] {
        let server = Running::with_shards(dir.path(), shards);
        assert_eq!(exemplars(&server, both), json!([a, b]), "{shards} shards");
        assert_eq!(exemplars(&server, "b_bucket"), json!([b]));
        server.kill();
    }
}

#[test]
fn no_more_are_kept_than_the_flag_says_and_none_if_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let now = now_ms();
    let sent: Vec<Sent<'_>> = (0..5).map(|i| ("t", 1.0, now + i)).collect();
    let server = Running::with_flags(dir.path(), 1, &["--storage.exemplars.max-exemplars=3"]);
    of_v2("a", now, &sent).send(server.address);
    assert_eq!(exemplars(&server, "a"), json!([expected("a", &sent[2..])]));
    server.kill();
    let server = Running::with_flags(dir.path(), 1, &["--storage.exemplars.max-exemplars=0"]);
    let (status, written, said) = send(&server, &of_v2("b", now, &sent));
    assert_eq!((status.as_str(), written.as_deref()), ("204", Some("5")), "{said}");
    assert_eq!(exemplars(&server, "{job=\"api\"}"), json!([]));
}

#[test]
fn how_many_are_kept_is_what_the_file_says_from_a_reload_on() {
    let (dir, file) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let limit = |max: i64| format!("storage: {{exemplars: {{max_exemplars: {max}}}}}\n");
    std::fs::write(file.path(), limit(4)).unwrap();
    let config = format!("--config.file={}", file.path().display());
    let flags = [config.as_str(), "--web.enable-lifecycle", "--storage.exemplars.max-exemplars=1"];
    let server = Running::with_flags(dir.path(), 1, &flags);
    let now = now_ms();
    let sent: Vec<Sent<'_>> = (0..5).map(|i| ("t", 1.0, now + i)).collect();
    of_v2("a", now, &sent).send(server.address);
    assert_eq!(exemplars(&server, "a"), json!([expected("a", &sent[1..])]), "the file wins");
    for (max, kept) in [(2, &sent[3..]), (9, &sent[3..])] {
        std::fs::write(file.path(), limit(max)).unwrap();
        let reloaded = http::send(server.address, "POST /-/reload", &[], b"").unwrap();
        assert_eq!(reloaded.status, 200);
        assert_eq!(exemplars(&server, "a"), json!([expected("a", kept)]), "{max}");
        assert_eq!(counted(&server, "prometheus_tsdb_exemplar_max_exemplars"), max as f64);
    }
}
