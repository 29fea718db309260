//! The main job with a real sender: Debian's Prometheus scrapes node_exporter and itself, writes to floodplain, and then
//! the same PromQL through both HTTP APIs gives the same answers, while all targets live and after they have died.
//!
//! Debian's Prometheus is 2.42; floodplain answers as 3.x does. Where they differ on purpose:
//! - A window of 2.42 includes a sample at its very beginning, [t - r, t]; one of 3.x does not, (t - r, t]. So is the
//!   lookback. All times here lie away from the timestamps of all samples, where it makes no difference; one test asks
//!   right on them and wants exactly this one.
//! - 3.x adds compensated sums (Kahan, Neumaier) where 2.42 adds plainly, in `sum`, `avg`, `stddev` and their
//!   `_over_time`: those answers are compared within 1e-12, all others as text.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http;
use crate::peer::{NODE_EXPORTER, PROMETHEUS, Peer, installed};
use crate::server::{Running, now_ms, until};

/// How an answer is compared.
#[derive(Clone, Copy, PartialEq)]
pub enum Alike {
    /// To the last digit.
    Text,
    /// Within 1e-12 of it.
    Closely,
}
use Alike::{Closely, Text};

/// Asked at one instant and over a range, while all targets live and when they are dead.
const QUERIES: &[(&str, Alike)] = &[
    // selectors
    ("up", Text),
    ("{job=\"node\"}", Text),
    ("{__name__=~\"node_memory_.*\", __name__!~\".*(Swap|Huge).*\"}", Text),
    ("node_cpu_seconds_total{mode!=\"idle\", cpu=~\"0|1\"}", Text),
    ("node_load1", Text),
    ("node_load1 offset 7s", Text),
    ("node_load1 offset -3s", Text),
    ("nothing_like_it", Text),
    ("absent_label{job=\"\"}", Text),
    ("prometheus_http_requests_total{handler=~\"/-/.*|/metrics\",code=\"200\"}", Text),
    ("vector(scalar(up{job=\"prometheus\"}))", Text),
    // rates
    ("rate(node_cpu_seconds_total[10s])", Text),
    ("increase(prometheus_tsdb_head_samples_appended_total[10s])", Text),
    ("irate(node_cpu_seconds_total{mode=\"user\"}[10s])", Text),
    ("delta(node_memory_MemFree_bytes[10s])", Text),
    ("rate(node_context_switches_total[10s] offset 5s)", Text),
    // over time
    ("count_over_time({job=\"node\"}[10s])", Text),
    ("count_over_time({job=\"node\", __name__=~\"node_(load1|intr_total)|up\"}[10s]) > 3", Text),
    ("min_over_time(node_memory_MemFree_bytes[10s])", Text),
    ("max_over_time(node_memory_MemFree_bytes[10s])", Text),
    ("last_over_time(node_intr_total[10s])", Text),
    ("present_over_time(up[10s])", Text),
    ("sum_over_time(node_load1[10s])", Closely),
    ("avg_over_time(node_memory_MemAvailable_bytes[10s])", Closely),
    ("quantile_over_time(0.3, node_memory_MemFree_bytes[10s])", Closely),
    // aggregations
    ("sum(up)", Closely),
    ("sum by (mode) (node_cpu_seconds_total)", Closely),
    ("sum without (cpu, instance) (rate(node_cpu_seconds_total[10s]))", Closely),
    ("avg by (job) (scrape_samples_scraped)", Closely),
    ("avg(rate(node_cpu_seconds_total[10s])) by (mode)", Closely),
    ("min without (mode) (node_cpu_seconds_total)", Text),
    ("max by (job, instance) (go_goroutines)", Text),
    ("count by (job) ({__name__=~\".+\"})", Text),
    ("count({__name__=~\"go_.*\"}) by (__name__)", Text),
    ("topk(3, node_cpu_seconds_total)", Text),
    ("topk by (cpu) (1, node_cpu_seconds_total)", Text),
    ("bottomk(2, node_memory_MemFree_bytes or node_memory_MemTotal_bytes)", Text),
    ("bottomk(2, node_vmstat_pgfault or node_intr_total)", Text),
    ("quantile(0.75, node_cpu_seconds_total)", Closely),
    ("quantile by (mode) (0.5, node_cpu_seconds_total)", Closely),
    ("stddev by (cpu) (node_cpu_seconds_total)", Closely),
    ("stddev(scrape_samples_scraped)", Closely),
    ("group by (mode) (node_cpu_seconds_total)", Text),
    // operators
    ("1 + 2 * 3 ^ 2 % 5 - 4 / 8", Text),
    ("node_memory_MemFree_bytes / node_memory_MemTotal_bytes", Text),
    ("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", Text),
    ("node_memory_MemFree_bytes / 1024 / 1024 > 1", Text),
    ("up == bool 1", Text),
    ("node_cpu_seconds_total > 10", Text),
    ("node_load1 < bool node_load15", Text),
    ("-node_load5 ^ 2", Text),
    (
        "sum without (mode) (node_cpu_seconds_total{mode=\"idle\"}) / on (cpu, instance) sum by (cpu, instance) \
         (node_cpu_seconds_total)",
        Closely,
    ),
    (
        "node_cpu_seconds_total{mode=\"user\"} / ignoring (mode) node_cpu_seconds_total{mode=\"idle\"}",
        Text,
    ),
    (
        "node_cpu_seconds_total / ignoring (mode) group_left sum without (mode) (node_cpu_seconds_total)",
        Closely,
    ),
    ("node_load1 * on (instance) group_left (release, machine) node_uname_info", Text),
    ("up * on (job) group_right () count by (job) (up)", Text),
    // histograms
    (
        "histogram_quantile(0.9, rate(prometheus_http_request_duration_seconds_bucket{handler=\"/metrics\"}[10s]))",
        Text,
    ),
    (
        "histogram_quantile(0.5, prometheus_http_response_size_bytes_bucket{handler=\"/metrics\"})",
        Text,
    ),
    (
        "histogram_quantile(0.99, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket{handler=\"/metrics\"}[10s])))",
        Text,
    ),
];

/// How far a negative offset of theirs reaches behind the instant.
const OFFSET_MS: i64 = 3000;
/// Those of them that have no answer.
const EMPTY: &[&str] = &["nothing_like_it", "absent_label{job=\"\"}"];

/// A job whose target is `None` has lost it.
fn config(remote_write: &Running, jobs: &[(&str, Option<&Peer>)]) -> String {
    let mut config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         remote_write:\n- url: http://{}/api/v1/write\n  queue_config: {{batch_send_deadline: 200ms}}\n\
         scrape_configs:\n",
        remote_write.address
    );
    for (job, target) in jobs {
        let target = target.map(|peer| format!("'{}'", peer.address)).unwrap_or_default();
        config
            .push_str(&format!("- job_name: {job}\n  static_configs: [{{targets: [{target}]}}]\n"));
    }
    config
}

/// Both ends of the remote write.
struct Both<'a> {
    prometheus: &'a Peer,
    floodplain: &'a Running,
}

impl Both<'_> {
    /// What floodplain answers to a query of one value, now.
    fn value_now(&self, query: &str) -> Option<f64> {
        let answer = http::data(self.floodplain.address, "/api/v1/query", &[("query", query)]);
        answer["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Waits until floodplain has everything that Prometheus has scraped until `ms`.
    fn wait_for_all_until(&self, ms: i64) {
        // Scrapes that began before have ended when each target has one that began after it.
        until("scrapes after the instant", || {
            self.value_now("min(timestamp(up))").is_some_and(|t| t * 1000.0 > (ms + 1000) as f64)
        });
        until("floodplain has as many samples as Prometheus", || {
            let count = |result: &BTreeMap<_, Value>| -> usize {
                result.values().map(|s| s["values"].as_array().unwrap().len()).sum()
            };
            let (theirs, ours) =
                (all(self.prometheus.address, ms), all(self.floodplain.address, ms));
            let arrived = count(&theirs) == count(&ours);
            if arrived {
                assert!(theirs == ours, "some of {} samples differ", count(&ours));
                println!("{} samples of {} series, the same", count(&ours), ours.len());
            }
            arrived
        });
    }

    /// The differences between both answers, if there are any.
    fn difference(&self, path: &str, parameters: &[(&str, &str)], alike: Alike) -> Option<String> {
        let theirs = http::ask(self.prometheus.address, path, parameters);
        let ours = http::ask(self.floodplain.address, path, parameters);
        let said = format!("{path} {parameters:?}");
        // What 2.42 refuses, floodplain refuses in the same words.
        if ["status", "errorType", "error"].iter().any(|field| theirs[field] != ours[field])
            || theirs["data"]["resultType"] != ours["data"]["resultType"]
        {
            return Some(format!("{said}\n  theirs {theirs}\n  ours   {ours}"));
        }
        let what = difference_of_results(&theirs["data"], &ours["data"], alike);
        what.map(|what| format!("{said}\n  {what}"))
    }
}

/// All samples up to `ms`, by the labels of their series.
fn all(address: SocketAddr, ms: i64) -> BTreeMap<String, Value> {
    let time = seconds(ms);
    let ask = [("query", "{__name__=~\".+\"}[1h]"), ("time", time.as_str())];
    let result = http::data(address, "/api/v1/query", &ask);
    by_labels(&result).into_iter().map(|(labels, series)| (labels, series.clone())).collect()
}

/// Milliseconds as the API writes times.
fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// And back.
#[expect(clippy::cast_possible_truncation, reason = "it is rounded to whole milliseconds")]
fn ms(seconds: &Value) -> i64 {
    (seconds.as_f64().unwrap() * 1000.0).round() as i64
}

/// The series of a result by their labels: the order of a vector is nobody's promise.
fn by_labels(result: &Value) -> BTreeMap<String, &Value> {
    let series = result["result"].as_array().map(Vec::as_slice).unwrap_or_default();
    series.iter().map(|series| (series["metric"].to_string(), series)).collect()
}

/// The difference between two results, if there is any.
pub fn difference_of_results(theirs: &Value, ours: &Value, alike: Alike) -> Option<String> {
    if !matches!(theirs["resultType"].as_str(), Some("vector" | "matrix")) {
        return (theirs != ours).then(|| format!("theirs {theirs}\n  ours   {ours}"));
    }
    let (theirs, ours) = (by_labels(theirs), by_labels(ours));
    let missing = theirs.keys().find(|labels| !ours.contains_key(*labels));
    let invented = ours.keys().find(|labels| !theirs.contains_key(*labels));
    if missing.is_some() || invented.is_some() {
        let (many, few) = (theirs.len(), ours.len());
        return Some(format!(
            "{many} series theirs, {few} ours: missing {missing:?}, invented {invented:?}"
        ));
    }
    for (labels, their) in theirs {
        for field in ["value", "values"] {
            let (their, our) = (&their[field], &ours[&labels][field]);
            if !are_alike(their, our, alike) {
                return Some(format!("{labels}\n  theirs {their}\n  ours   {our}"));
            }
        }
    }
    None
}

fn are_alike(their: &Value, our: &Value, alike: Alike) -> bool {
    match (their, our) {
        (Value::Array(their), Value::Array(our)) => {
            their.len() == our.len()
                && their.iter().zip(our).all(|(their, our)| are_alike(their, our, alike))
        }
        (Value::String(their), Value::String(our)) if alike == Closely => {
            match (their.parse::<f64>(), our.parse::<f64>()) {
                (Ok(a), Ok(b)) if a.is_finite() && b.is_finite() => {
                    (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
                }
                _ => their == our,
            }
        }
        _ => their == our,
    }
}

/// A recent instant that is, like all those whole seconds before it, as far from the timestamps of all scrapes as can be.
/// Scrapes of a target come a second after each other, to some milliseconds.
fn quiet_instant(floodplain: &Running) -> i64 {
    let answer = http::data(floodplain.address, "/api/v1/query", &[("query", "up[1m]")]);
    let times: Vec<i64> = (answer["result"].as_array().unwrap().iter())
        .flat_map(|series| series["values"].as_array().unwrap())
        .map(|sample| ms(&sample[0]))
        .collect();
    let distance = |ms: i64| {
        let apart = |t: &i64| (t - ms).rem_euclid(1000);
        times.iter().map(|t| apart(t).min(1000 - apart(t))).min().unwrap()
    };
    let quiet = (0..1000).max_by_key(|ms| distance(*ms)).unwrap();
    assert!(distance(quiet) > 1, "the scrapes leave no quiet instant: {times:?}");
    now_ms().div_euclid(1000) * 1000 - 1000 + quiet
}

/// Asks everything at `at` and over the seconds before it.
fn compare(both: &Both<'_>, at: i64, node_is_dead: bool) {
    let story = if node_is_dead { "node_exporter is dead" } else { "all targets live" };
    let (time, start) = (seconds(at), seconds(at - 12_000));
    let (mut different, mut empty) = (Vec::new(), Vec::new());
    for (query, alike) in QUERIES {
        let instant = [("query", *query), ("time", &time)];
        different.extend(both.difference("/api/v1/query", &instant, *alike));
        let answer = http::ask(both.floodplain.address, "/api/v1/query", &instant);
        empty.extend((answer["data"]["result"] == json!([])).then_some(*query));
        let range = [("query", *query), ("start", &start), ("end", &time), ("step", "3")];
        different.extend(both.difference("/api/v1/query_range", &range, *alike));
    }
    for matrix in
        ["up[10s]", "node_load1[10s] offset 3s", "{job=\"node\",__name__=~\"scrape_.*\"}[8s]"]
    {
        let instant = [("query", matrix), ("time", time.as_str())];
        different.extend(both.difference("/api/v1/query", &instant, Text));
    }
    assert!(
        different.is_empty(),
        "{story}: {} differences\n{}",
        different.len(),
        different.join("\n")
    );
    assert_eq!(empty.contains(&"node_load1"), node_is_dead, "{empty:?}");
    assert!(
        node_is_dead || empty == EMPTY,
        "a query without an answer compares nothing: {empty:?}"
    );
    println!(
        "{story}: {} queries, at an instant and over a range, are answered alike",
        QUERIES.len()
    );
}

/// Series, names of labels and values of labels are the same.
fn compare_metadata(both: &Both<'_>, at: i64) {
    let (start, end) = (seconds(at - 3_600_000), seconds(at));
    let sorted = |address, path: &str, more: &[(&str, &str)]| {
        let mut parameters = vec![("start", start.as_str()), ("end", end.as_str())];
        parameters.extend_from_slice(more);
        let mut found: Vec<_> = http::data(address, path, &parameters).as_array().unwrap().clone();
        found.sort_by_key(Value::to_string);
        found
    };
    let node = ("match[]", "{job=\"node\"}");
    let cpu = ("match[]", "node_cpu_seconds_total{mode=~\"u.*|idle\"}");
    let go = ("match[]", "go_info");
    let asked: [(&str, &[(&str, &str)]); 8] = [
        ("/api/v1/series", &[node]),
        ("/api/v1/series", &[cpu, go]),
        ("/api/v1/labels", &[]),
        ("/api/v1/labels", &[cpu]),
        ("/api/v1/label/__name__/values", &[]),
        ("/api/v1/label/__name__/values", &[node]),
        ("/api/v1/label/mode/values", &[]),
        ("/api/v1/label/le/values", &[]),
    ];
    for (path, parameters) in asked {
        let theirs = sorted(both.prometheus.address, path, parameters);
        let ours = sorted(both.floodplain.address, path, parameters);
        assert!(!theirs.is_empty(), "{path} {parameters:?}");
        assert_eq!(ours, theirs, "{path} {parameters:?}");
    }
}

/// Right on a sample's timestamp, a window of 2.42 has one sample more: the one at its beginning.
fn compare_windows(both: &Both<'_>, at: i64) {
    let time = seconds(at);
    let matrix = |address| {
        let ask = [("query", "up{job=\"prometheus\"}[10s]"), ("time", time.as_str())];
        http::data(address, "/api/v1/query", &ask)["result"][0]["values"].take()
    };
    let samples = matrix(both.prometheus.address);
    let (first, last) = (&samples[0][0], &samples[samples.as_array().unwrap().len() - 1][0]);
    let (time, window) =
        (seconds(ms(last)), format!("up{{job=\"prometheus\"}}[{}ms]", ms(last) - ms(first)));
    let values = |address| {
        let ask = [("query", window.as_str()), ("time", time.as_str())];
        let result = http::data(address, "/api/v1/query", &ask);
        result["result"][0]["values"].as_array().unwrap().clone()
    };
    let (theirs, ours) = (values(both.prometheus.address), values(both.floodplain.address));
    assert_eq!(&theirs[0][0], first);
    assert_eq!(ours, theirs[1..], "as 3.x: without the sample at the window's beginning");
}

#[test]
fn prometheus_and_the_server_it_writes_to_answer_alike() {
    if !installed(&[PROMETHEUS, NODE_EXPORTER]) {
        return;
    }
    let (dir, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let floodplain = Running::on(data.path());
    let node = Peer::node_exporter();
    let prometheus = Peer::prometheus(dir.path(), &config(&floodplain, &[]));
    let targets = [("prometheus", Some(&prometheus)), ("node", Some(&node))];
    prometheus.reload(&config(&floodplain, &targets));
    let both = Both { prometheus: &prometheus, floodplain: &floodplain };

    until("floodplain has 30 scrapes of both targets", || {
        both.value_now("min(count_over_time(up[1h]))").is_some_and(|scrapes| scrapes >= 30.0)
    });
    let alive = quiet_instant(&floodplain);
    both.wait_for_all_until(alive + OFFSET_MS);
    compare(&both, alive, false);
    compare_metadata(&both, alive);
    compare_windows(&both, alive);

    drop(node); // kill -9
    until("the scrapes of a dead target fail", || {
        both.value_now("sum_over_time((1 - up{job=\"node\"})[1h:1s])")
            .is_some_and(|failed| failed >= 4.0)
    });
    let dead = quiet_instant(&floodplain);
    both.wait_for_all_until(dead + OFFSET_MS);
    assert_eq!(both.value_now("up{job=\"node\"}"), Some(0.0));
    assert_eq!(
        both.value_now("node_load1"),
        None,
        "its series are stale, and not only five minutes old"
    );
    compare(&both, dead, true);

    // Targets that are not there any more end with staleness markers, `up` included.
    prometheus.reload(&config(&floodplain, &[("prometheus", None), ("node", None)]));
    until("all series have ended", || both.value_now("count({__name__=~\".+\"})").is_none());
    for failed in ["samples_failed_total", "metadata_failed_total", "samples_dropped_total"] {
        let series = format!("prometheus_remote_storage_{failed}");
        let line = format!("{series}{{remote_name=");
        let answer = http::send(prometheus.address, "GET /metrics", &[], b"").unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        let count = text.lines().find(|l| l.starts_with(&line)).and_then(|l| l.rsplit(' ').next());
        assert_eq!(count, Some("0"), "{series}");
    }
}
