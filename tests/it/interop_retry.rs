//! What senders do: they send a request again when its answer was lost, and they do not all speak alike. Neither changes
//! what is stored.

use std::thread;

use serde_json::{Value, json};

use crate::http;
use crate::remote_write::{Packed, Request, Series, Version, request};
use crate::server::{Running, now_ms};

const LABELS: [(&str, &str); 4] =
    [("__name__", "level"), ("instance", "a:1"), ("job", "gauges"), ("zone", "north")];

/// All samples of the last hour, as the API tells them, oldest first.
fn stored(server: &Running) -> Value {
    let time = (now_ms() / 1000 + 60).to_string();
    http::data(server.address, "/api/v1/query", &[("query", "level[1h]"), ("time", &time)])
}

/// Some samples of two series from `t` on, ten seconds apart.
fn two_series(t: i64, count: i64) -> Vec<Series> {
    let samples: Vec<_> = (0..count).map(|i| (t + i * 10_000, i as f64 / 3.0)).collect();
    let mut other = LABELS;
    other[1].1 = "b:1";
    vec![Series::new(&LABELS, &samples), Series::new(&other, &samples)]
}

#[test]
fn a_request_that_comes_again_changes_nothing() {
    for version in [Version::V1, Version::V2] {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::on(dir.path());
        let t = now_ms() - 1_200_000;
        let first = request(&two_series(t, 40), version, Packed::Snappy);
        first.send(server.address);
        let once = stored(&server);
        assert_eq!(once["result"][0]["values"].as_array().map(Vec::len), Some(40), "{once}");
        first.send(server.address);
        assert_eq!(stored(&server), once, "{version:?}: sent twice");

        let newer = request(&two_series(t + 400_000, 40), version, Packed::Snappy);
        newer.send(server.address);
        let both = stored(&server);
        assert_eq!(both["result"][1]["values"].as_array().map(Vec::len), Some(80), "{both}");
        first.send(server.address);
        assert_eq!(stored(&server), both, "{version:?}: sent again behind newer samples");

        server.kill();
        let server = Running::on(dir.path());
        first.send(server.address);
        newer.send(server.address);
        assert_eq!(stored(&server), both, "{version:?}: sent again after a kill");
    }
}

#[test]
fn a_series_is_one_however_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_shards(dir.path(), 3);
    let t = now_ms() - 600_000;
    let mut unsorted = LABELS;
    unsorted.reverse();
    let rotated = [LABELS[2], LABELS[0], LABELS[3], LABELS[1], ("empty", "")];
    let orders: [&[(&str, &str)]; 3] = [&LABELS, &unsorted, &rotated];
    let mut ways = Vec::new();
    for labels in orders {
        for version in [Version::V1, Version::V2] {
            for packed in [Packed::Snappy, Packed::Zstd] {
                ways.push((labels, version, packed));
            }
        }
    }
    let mut want = Vec::new();
    for (i, (labels, version, packed)) in (0..).zip(&ways) {
        let at = t + i * 1000;
        request(&[Series::new(labels, &[(at, i as f64)])], *version, *packed).send(server.address);
        want.push(json!([at as f64 / 1000.0, i.to_string()]));
    }
    // The same newest sample in every way at once, each over a connection of its own.
    let at = t + 60_000;
    let requests: Vec<Request> = (ways.iter())
        .map(|(labels, version, packed)| {
            request(&[Series::new(labels, &[(at, 0.25)])], *version, *packed)
        })
        .collect();
    thread::scope(|scope| {
        for request in &requests {
            scope.spawn(|| request.send(server.address));
        }
    });
    want.push(json!([at as f64 / 1000.0, "0.25"]));

    let result = stored(&server);
    assert_eq!(result["result"].as_array().map(Vec::len), Some(1), "{result}");
    assert_eq!(result["result"][0]["values"], Value::Array(want));
    let metric: Value = LABELS.into_iter().map(|(n, v)| (n.to_owned(), Value::from(v))).collect();
    let range = [("match[]", "{__name__=~\".+\"}")];
    assert_eq!(http::data(server.address, "/api/v1/series", &range), json!([metric]));
}
