//! What the clients of a Prometheus call, as their documents and sources have it: Debian's promtool, a Prometheus that
//! federates, Grafana's data source, Prometheus's user interface, a Thanos sidecar.

use std::process::Command;

use serde_json::{Value, json};

use crate::http;
use crate::peer::{PROMETHEUS, PROMTOOL, Peer, installed};
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, now_ms, until};

/// A server with two series of three samples, a minute apart, the last of them now; and that instant, in seconds.
fn with_levels(dir: &std::path::Path, more: &[&str]) -> (Running, i64) {
    let server = Running::with_flags(dir, 2, more);
    let end = now_ms() / 1000;
    let level = |instance, first: f64| {
        let times = [end - 120, end - 60, end];
        let samples: Vec<_> =
            (0..).map(f64::from).zip(times).map(|(i, t)| (t * 1000, first + i)).collect();
        Series::new(&[("__name__", "level"), ("instance", instance), ("job", "j")], &samples)
    };
    request(&[level("a:1", 1.5), level("b:1", 10.0)], Version::V1, Packed::Snappy)
        .send(server.address);
    (server, end)
}

fn promtool(args: &[&str]) -> String {
    let output = Command::new(PROMTOOL).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn promtool_queries_the_server() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (server, end) = with_levels(dir.path(), &[]);
    let url = format!("http://{}", server.address);
    let (start, at) = ((end - 120).to_string(), end.to_string());

    let instant = ["query", "instant", &format!("--time={at}"), &url, "level * 2"];
    assert_eq!(
        promtool(&instant),
        format!(
            "{{instance=\"a:1\", job=\"j\"}} => 7 @[{at}]\n{{instance=\"b:1\", job=\"j\"}} => 24 @[{at}]\n"
        )
    );
    let (from, to) = (format!("--start={start}"), format!("--end={at}"));
    let range = ["query", "range", &from, &to, "--step=1m", &url, "sum by (job) (level)"];
    assert_eq!(
        promtool(&range),
        format!("{{job=\"j\"}} =>\n11.5 @[{start}]\n13.5 @[{}]\n15.5 @[{at}]\n", end - 60)
    );
    let series = promtool(&["query", "series", "--match=level", &from, &to, &url]);
    assert_eq!(
        series,
        "{__name__=\"level\", instance=\"a:1\", job=\"j\"}\n{__name__=\"level\", instance=\"b:1\", job=\"j\"}\n"
    );
    assert_eq!(promtool(&["query", "labels", &from, &to, &url, "instance"]), "a:1\nb:1\n");
}

#[test]
fn a_prometheus_federates_what_is_here() {
    if !installed(&[PROMETHEUS]) {
        return;
    }
    let (dir, of_peer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = dir.path().join("own.yml");
    std::fs::write(&config, "global:\n  external_labels: {zone: ie}\n").unwrap();
    let config = format!("--config.file={}", config.display());
    let (server, end) = with_levels(dir.path(), &[&config]);
    let target = server.address;
    let peer = Peer::prometheus(
        of_peer.path(),
        &format!(
            "scrape_configs:\n- job_name: federate\n  scrape_interval: 1s\n  honor_labels: true\n  metrics_path: /federate\n  \
             params:\n    'match[]': ['{{__name__=\"level\"}}']\n  static_configs: [{{targets: ['{target}']}}]\n"
        ),
    );
    let query = [("query", "level"), ("time", &end.to_string()[..])];
    let mut data = Value::Null;
    until("the peer has scraped the series", || {
        data = http::data(peer.address, "/api/v1/query", &query);
        data["result"].as_array().is_some_and(|result| result.len() == 2)
    });
    let sample = |instance, v| {
        let metric = json!({"__name__": "level", "instance": instance, "job": "j", "zone": "ie"});
        json!({"metric": metric, "value": [end, v]})
    };
    assert_eq!(data["result"], json!([sample("a:1", "3.5"), sample("b:1", "12")]));
}

/// Texts that Prometheus 2.42 lays out as 3.14 does: since then numbers have lost their exponents.
const QUERIES: &[&str] = &[
    r#"sum(rate(http_requests_total{job="api",code=~"5.."}[5m])) by (job,instance) / ignoring(code) group_left sum(rate(http_requests_total{job="api"}[5m])) by (job,instance) > bool 0.05"#,
    r#"histogram_quantile(0.99, sum by (le, job) (rate(http_request_duration_seconds_bucket{job="apiserver",verb!="WATCH"}[5m] offset 1h)))"#,
    r#"-foo_long_name_that_is_quite_long{a="b"} + on(instance,job) group_right(x) bar_long_name_that_is_quite_long{c="d"} unless baz_long_name_that_is_long"#,
    r#"max_over_time(rate(demo_api_request_duration_seconds_count{job="demo", instance="localhost:10000", path="/api/foo"}[1m])[1h:1m] @ start() offset 1m)"#,
    r#"label_replace(up{job="api-server",service="a:c"}, "foo", "$1", "service", "(.*):.*") or label_join(up, "foo", ",", "src1", "src2", "src3") or vector(1)"#,
    r#"topk(10, sum without(instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))) and absent(up{job="nothing here at all"} == 1) or count_values("version", build_version)"#,
    "sum(quantile_over_time(0.5, (a_metric_with_a_long_name_to_split_lines + b_metric_with_a_long_name_to_split_lines)[30m:1m]))",
    "1 + 2 * 3 ^ 4 % 5",
    r#""a string\n""#,
    "foo @ 1.5 offset -5m",
    r#"{__name__=~"a|b",x="\n\"q"}"#,
    "avg by() (foo)",
    "a and on() b",
    "foo == bool bar",
    "foo{",
    "sum(",
    "rate(foo)",
];

#[test]
fn queries_and_federated_samples_are_written_as_a_prometheus_writes_them() {
    if !installed(&[PROMETHEUS]) {
        return;
    }
    let (dir, of_peer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let labels = "global:\n  external_labels: {zone: ie, job: other}\n";
    let config = dir.path().join("own.yml");
    std::fs::write(&config, labels).unwrap();
    let config = format!("--config.file={}", config.display());
    let server = Running::with_flags(dir.path(), 2, &[&config]);
    let peer = Peer::prometheus(of_peer.path(), labels);
    for query in QUERIES {
        let parameters = [("query", *query)];
        let [ours, theirs] = [server.address, peer.address]
            .map(|address| http::ask(address, "/api/v1/format_query", &parameters));
        assert_eq!(ours, theirs, "{query}");
    }
    let now = now_ms();
    let values = [1.0, 0.0, -2.5, 1e6, 123_456.75, 1.5e-5, 1e21, f64::INFINITY, f64::NAN];
    for (index, value) in values.into_iter().enumerate() {
        let (name, index) = (format!("metric_{}", index % 3), index.to_string());
        let series = Series::new(
            &[("__name__", &name), ("instance", "a\"\\\n"), ("x", &index)],
            &[(now - 1000, 0.5), (now, value)],
        );
        let bare = Series::new(&[("__name__", &format!("bare_{index}"))], &[(now, value)]);
        for address in [server.address, peer.address] {
            request(&[series.clone(), bare.clone()], Version::V1, Packed::Snappy).send(address);
        }
    }
    let path = "GET /federate?match[]={__name__=~%22metric_.*%22}&match[]={__name__!=%22%22}";
    let [ours, theirs] = [server.address, peer.address].map(|address| {
        let answer = http::send(address, path, &[], b"").unwrap();
        String::from_utf8(answer.body).unwrap()
    });
    assert_eq!(ours.lines().count(), 18 + 12, "{ours}");
    // Within a family upstream promises no order.
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&ours), sorted(&theirs));
}

#[test] // github.com/grafana/grafana-prometheus-datasource: `promlib/healthcheck.go`, `resource.ts`, `datasource.ts`
fn grafana_gets_what_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let (server, end) = with_levels(dir.path(), &[]);
    let address = server.address;
    let (start, end_text) = ((end - 120).to_string(), end.to_string());
    let (start, end_text) = (start.as_str(), end_text.as_str());
    // Its health check, which has to work without any data.
    let health = http::data(address, "/api/v1/query", &[("query", "1+1"), ("time", "4")]);
    assert_eq!(health, json!({"resultType": "scalar", "result": [4, "2"]}));
    let range = [("start", start), ("end", end_text)];
    let panel = [("query", "sum(level)"), range[0], range[1], ("step", "60"), ("stats", "all")];
    let mut answer = http::data(address, "/api/v1/query_range", &panel);
    assert_eq!(answer["result"][0]["values"].as_array().unwrap().len(), 3);
    let mut stats = answer["stats"].take();
    assert!(stats["samples"]["totalQueryableSamples"].as_u64().unwrap() >= 6, "{stats}");
    let Value::Object(timings) = stats["timings"].take() else { panic!("no timings") };
    let mut names: Vec<_> = timings.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "evalTotalTime",
            "execQueueTime",
            "execTotalTime",
            "innerEvalTime",
            "queryPreparationTime",
            "resultSortTime",
        ]
    );
    let limit = ("limit", "40000");
    let names = http::data(address, "/api/v1/labels", &[range[0], range[1], limit]);
    assert_eq!(names, json!(["__name__", "instance", "job"]));
    let matching = ("match[]", "{job=\"j\"}");
    let values = "/api/v1/label/__name__/values";
    assert_eq!(
        http::data(address, values, &[range[0], range[1], limit, matching]),
        json!(["level"])
    );
    // A name that is not a legacy one comes escaped.
    let utf8 =
        http::data(address, "/api/v1/label/U__service_2e_name/values", &[range[0], range[1]]);
    assert_eq!(utf8, json!([]));
    let series = http::data(address, "/api/v1/series", &[range[0], range[1], limit, matching]);
    assert_eq!(series.as_array().unwrap().len(), 2);
    // It asks whether there are exemplars with milliseconds where seconds are due.
    let (from, to) = (format!("{start}000"), format!("{end_text}000"));
    let probe = [("query", "test"), ("start", &from[..]), ("end", &to[..])];
    assert_eq!(http::data(address, "/api/v1/query_exemplars", &probe), json!([]));
    for (path, data) in [
        ("/api/v1/metadata?limit=40000", json!({})),
        ("/api/v1/rules?group_limit=40", json!({"groups": []})),
        ("/api/v1/alerts", json!({"alerts": []})),
    ] {
        assert_eq!(got(&server, path), data, "{path}");
    }
    let build = got(&server, "/api/v1/status/buildinfo");
    assert!(build.get("features").is_none(), "Grafana would take it for Mimir: {build}");
    // What is wrong comes in a form that it shows.
    let wrong = http::ask(address, "/api/v1/query", &[("query", "sum(")]);
    assert_eq!((&wrong["status"], &wrong["errorType"]), (&json!("error"), &json!("bad_data")));
    let truncated = http::ask(address, "/api/v1/query", &[("query", "level"), ("limit", "1")]);
    assert_eq!(truncated["warnings"], json!(["results truncated due to limit"]));
}

/// The data of a GET.
fn got(server: &Running, path: &str) -> Value {
    let answer = http::send(server.address, &format!("GET {path}"), &[], b"").unwrap();
    let mut envelope: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (answer.status, &envelope["status"]),
        (200, &json!("success")),
        "{path}: {envelope}"
    );
    envelope["data"].take()
}

#[test] // `web/ui/mantine-ui/src` and `web/ui/module/codemirror-promql` of prometheus/prometheus
fn prometheus_s_user_interface_gets_what_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = with_levels(dir.path(), &[]);
    let answered = |path: &str| got(&server, path);
    assert_eq!(answered("/api/v1/format_query?query=sum(level)by(job)"), "sum by (job) (level)");
    assert_eq!(answered("/api/v1/parse_query?query=level")["type"], "vectorSelector");
    assert_eq!(answered("/api/v1/label/__name__/values"), json!(["level"]));
    assert_eq!(answered("/api/v1/targets?state=active")["activeTargets"], json!([]));
    assert_eq!(answered("/api/v1/scrape_pools"), json!({"scrapePools": []}));
    assert_eq!(answered("/api/v1/alertmanagers")["activeAlertmanagers"], json!([]));
    assert_eq!(answered("/api/v1/rules?type=alert"), json!({"groups": []}));
    assert_eq!(answered("/api/v1/notifications"), json!([]));
    assert_eq!(answered("/api/v1/features")["promql_functions"]["rate"], true);
    for path in ["buildinfo", "runtimeinfo", "config", "flags", "tsdb", "tsdb/blocks", "walreplay"]
    {
        assert!(answered(&format!("/api/v1/status/{path}")).is_object(), "{path}");
    }
    let own = answered("/api/v1/status/self_metrics?metric_name_pattern=prometheus_build_info");
    assert_eq!((&own[0]["type"], own.as_array().unwrap().len()), (&json!("GAUGE"), 1));
    let live = http::send(server.address, "GET /api/v1/notifications/live", &[], b"").unwrap();
    assert_eq!(live.status, 204);
}

#[test] // `pkg/promclient/promclient.go` of thanos-io/thanos; its reading of samples is `remote_read`'s
fn a_thanos_sidecar_gets_what_it_asks_for() {
    let (dir, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = own.path().join("own.yml");
    std::fs::write(&config, "global:\n  external_labels: {replica: a}\n").unwrap();
    let config = format!("--config.file={}", config.display());
    let (server, _) = with_levels(dir.path(), &[&config]);
    let answered = |path: &str| got(&server, path);
    let version = answered("/api/v1/status/buildinfo")["version"].as_str().unwrap().to_owned();
    assert!(version.starts_with("3."), "{version}");
    let yaml = answered("/api/v1/status/config")["yaml"].as_str().unwrap().to_owned();
    assert!(yaml.contains("replica: a"), "{yaml}");
    let flags = answered("/api/v1/status/flags");
    for flag in [
        "storage.tsdb.min-block-duration",
        "storage.tsdb.max-block-duration",
        "web.enable-admin-api",
    ] {
        assert!(flags[flag].is_string(), "{flag} of {flags}");
    }
    assert_eq!(answered("/api/v1/targets/metadata?limit=10"), json!([]));
    assert_eq!(answered("/api/v1/alerts"), json!({"alerts": []}));
    assert_eq!(
        answered("/api/v1/rules?type=record&match[]=%7Ba=%22b%22%7D"),
        json!({"groups": []})
    );
    let metrics = http::send(server.address, "GET /metrics", &[], b"").unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("\nprometheus_tsdb_lowest_timestamp_seconds "), "it waits for it");
}

#[test]
fn behind_a_prefix_everything_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let url = "--web.external-url=https://example.org/metrics/store/";
    let server = Running::started_behind(dir.path(), url, "/metrics/store");
    assert_eq!(got(&server, "/metrics/store/api/v1/format_query?query=1%2B1"), "1 + 1");
    let federated = http::send(server.address, "GET /metrics/store/federate", &[], b"").unwrap();
    assert_eq!((federated.status, federated.body.len()), (200, 0));
    let options = "OPTIONS /metrics/store/api/v1/parse_query";
    let options = http::send(server.address, options, &["Origin: http://a.b"], b"").unwrap();
    assert_eq!(options.status, 204);
    assert_eq!(http::send(server.address, "GET /federate", &[], b"").unwrap().status, 404);
}
