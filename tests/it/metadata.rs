//! Metadata as clients see it: both protocols bring it, and `/api/v1/metadata` has it after a kill and with other shards.

use prost::Message;
use serde_json::{Value, json};

use floodplain::wire::proto::{v1, v2};

use crate::http;
use crate::remote_write::Request;
use crate::server::{Running, now_ms};

pub fn packed(message: &impl Message, proto: &str) -> Request {
    let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap();
    let headers = [
        format!("Content-Type: application/x-protobuf;proto={proto}"),
        "Content-Encoding: snappy".to_owned(),
    ];
    Request { headers: headers.to_vec(), body }
}

/// 1.0 sends metadata by itself.
fn of_v1(said: &[(&str, i32, &str, &str)]) -> Request {
    let metadata = said.iter().map(|(family, kind, help, unit)| v1::MetricMetadata {
        r#type: *kind,
        metric_family_name: family.as_bytes().to_vec(),
        help: help.as_bytes().to_vec(),
        unit: unit.as_bytes().to_vec(),
    });
    let request = v1::WriteRequest { timeseries: Vec::new(), metadata: metadata.collect() };
    packed(&request, "prometheus.WriteRequest")
}

/// 2.0 sends it with every series.
fn of_v2(said: &[(&str, i32, &str)]) -> Request {
    let (mut symbols, mut timeseries) = (vec![Vec::new(), b"__name__".to_vec()], Vec::new());
    for (name, kind, help) in said {
        let at = u32::try_from(symbols.len()).unwrap();
        symbols.extend([name.as_bytes().to_vec(), help.as_bytes().to_vec()]);
        let sample = v2::Sample { value: 1.0, timestamp: now_ms(), start_timestamp: 0 };
        timeseries.push(v2::TimeSeries {
            labels_refs: vec![1, at],
            samples: vec![sample],
            metadata: Some(v2::Metadata { r#type: *kind, help_ref: at + 1, unit_ref: 0 }),
            ..v2::TimeSeries::default()
        });
    }
    packed(&v2::Request { symbols, timeseries }, "io.prometheus.write.v2.Request")
}

fn metadata(server: &Running, query: &str) -> Value {
    let path = format!("GET /api/v1/metadata?{query}");
    let answer = http::send(server.address, &path, &[], b"").unwrap();
    let mut envelope: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(envelope["status"], "success", "{envelope}");
    envelope["data"].take()
}

/// What the server counts under this name.
pub fn counted(server: &Running, name: &str) -> f64 {
    let page = http::send(server.address, "GET /metrics", &[], b"").unwrap().body;
    let page = String::from_utf8(page).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

#[test]
fn what_both_protocols_say_is_served_after_a_kill_and_with_another_number_of_shards() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_shards(dir.path(), 2);
    of_v1(&[
        ("requests_total", 1, "Requests.", ""),
        ("latency_seconds", 3, "Latency.", "seconds"),
        ("", 1, "Of nothing.", ""),
    ])
    .send(server.address);
    let again = of_v2(&[
        ("latency_seconds_bucket", 3, "How long it took."),
        ("latency_seconds_count", 3, "How long it took."),
        ("up", 2, "<Is it up?>"),
        ("unsaid", 0, ""),
    ]);
    again.send(server.address);
    let entry = |kind, help, unit| json!({"type": kind, "help": help, "unit": unit});
    let all = json!({
        "latency_seconds": [
            entry("histogram", "How long it took.", ""),
            entry("histogram", "Latency.", "seconds"),
        ],
        "requests_total": [entry("counter", "Requests.", "")],
        "up": [entry("gauge", "<Is it up?>", "")],
    });
    assert_eq!(metadata(&server, ""), all);
    assert_eq!(counted(&server, "floodplain_metadata_families"), 3.0);
    assert_eq!(counted(&server, "floodplain_metadata_refused_total"), 1.0);
    let written = counted(&server, "floodplain_wal_written_bytes_total");
    of_v1(&[("requests_total", 1, "Requests.", "")]).send(server.address);
    let repeated = counted(&server, "floodplain_wal_written_bytes_total");
    assert_eq!(repeated, written, "what is known is not logged again");
    server.kill();
    for shards in [3, 1] {
        let server = Running::with_shards(dir.path(), shards);
        assert_eq!(metadata(&server, ""), all, "{shards} shards");
        let up = json!({"up": [entry("gauge", "<Is it up?>", "")]});
        assert_eq!(metadata(&server, "metric=up"), up);
        assert_eq!(metadata(&server, "limit=1").as_object().unwrap().len(), 1);
        let latency = metadata(&server, "metric=latency_seconds&limit_per_metric=1");
        assert_eq!(latency["latency_seconds"].as_array().unwrap().len(), 1);
        server.kill();
    }
}

#[test]
fn a_series_whose_metadata_refers_to_nothing_is_refused_and_the_others_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::on(dir.path());
    let Request { headers, body } = of_v2(&[("good", 2, "Good.")]);
    let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let mut request = v2::Request::decode(bytes.as_slice()).unwrap();
    let mut bad = request.timeseries[0].clone();
    bad.metadata.as_mut().unwrap().help_ref = 99;
    request.timeseries.push(bad);
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let answer = http::send(server.address, "POST /api/v1/write", &headers, &body).unwrap();
    let said = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 400, "{said}");
    assert!(said.contains("symbol reference 99 is outside of the 4 symbols"), "{said}");
    assert_eq!(metadata(&server, "").as_object().unwrap().len(), 1);
}
