//! Third-party clients of the query API, which expect what Prometheus answers: `prometheus-api-client` for Python.
//!
//! It is used where the interpreter that `FLOODPLAIN_PYTHON` names, or else `python3`, can import it (`pip install
//! prometheus-api-client`); elsewhere the test says that it is skipped, and where peers have to be there it fails.

use std::process::Command;

use serde_json::{Value, json};

use crate::peer;
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, now_ms};

/// Asks the server of its first argument about the minutes before its second one, and prints what it understood.
const SCRIPT: &str = r#"
import json, sys
from datetime import datetime, timedelta, timezone
from prometheus_api_client import PrometheusConnect
url, end = sys.argv[1], datetime.fromtimestamp(int(sys.argv[2]), timezone.utc)
client = PrometheusConnect(url=url)
matrix = client.custom_query_range("sum by (job) (level)", end - timedelta(minutes=2), end, "60")
print(json.dumps({
    "connected": client.check_prometheus_connection(),
    "metrics": client.all_metrics(),
    "labels": client.get_label_names(),
    "instances": client.get_label_values("instance"),
    "series": client.get_series(start=end - timedelta(minutes=5), end=end, params={"match[]": "level"}),
    "query": client.custom_query("level * 2", params={"time": end.timestamp()}),
    "query_range": matrix,
    "raw": [s["values"] for s in client.get_metric_range_data(
        "level", {"instance": "a:1"}, start_time=end - timedelta(minutes=2, seconds=30), end_time=end)],
}))
"#;

#[test]
fn the_python_client_understands_the_server() {
    let python = std::env::var_os("FLOODPLAIN_PYTHON").unwrap_or_else(|| "python3".into());
    let imports = ["-c", "import prometheus_api_client"];
    if !Command::new(&python).args(imports).output().is_ok_and(|o| o.status.success()) {
        peer::is_missing("prometheus_api_client for python3", "pip install prometheus-api-client");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Running::on(dir.path());
    let end = now_ms() / 1000 - 60;
    let times = [end - 120, end - 60, end];
    let level = |instance, first: f64| {
        let samples: Vec<_> =
            (0..).map(f64::from).zip(times).map(|(i, t)| (t * 1000, first + i)).collect();
        Series::new(&[("__name__", "level"), ("instance", instance), ("job", "j")], &samples)
    };
    request(&[level("a:1", 1.5), level("b:1", 10.0)], Version::V1, Packed::Snappy)
        .send(server.address);

    let mut python = Command::new(python);
    python.args(["-c", SCRIPT, &format!("http://{}", server.address), &end.to_string()]);
    let output = python.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let understood: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(understood["connected"], true);
    assert_eq!(understood["metrics"], json!(["level"]));
    assert_eq!(understood["labels"], json!(["__name__", "instance", "job"]));
    assert_eq!(understood["instances"], json!(["a:1", "b:1"]));
    let series = |instance| json!({"__name__": "level", "instance": instance, "job": "j"});
    assert_eq!(understood["series"], json!([series("a:1"), series("b:1")]));
    let doubled =
        |instance, v| json!({"metric": {"instance": instance, "job": "j"}, "value": [end, v]});
    assert_eq!(understood["query"], json!([doubled("a:1", "7"), doubled("b:1", "24")]));
    let sums = times.map(|t| json!([t, (11.5 + (t - times[0]) as f64 / 30.0).to_string()]));
    assert_eq!(understood["query_range"], json!([{"metric": {"job": "j"}, "values": sums}]));
    assert_eq!(
        understood["raw"],
        json!([[[times[0], "1.5"], [times[1], "2.5"], [times[2], "3.5"]]])
    );
}
