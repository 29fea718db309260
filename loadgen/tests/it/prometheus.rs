//! A real peer: Debian's Prometheus as the receiver, flooded, killed in the middle, restarted and verified.
//!
//! Skips with a line on stderr if there is no `prometheus` to run, unless `FLOODPLAIN_REQUIRE_PROMETHEUS` is set.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::run::{loadgen, ran, run};

struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    /// Starts it on `data`; `None` if there is none to start.
    fn start(data: &Path) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = data.join("prometheus.yml");
        std::fs::write(&config, "").unwrap();
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver")
            .arg("--enable-feature=native-histograms,exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Some(Self { child, url: format!("http://127.0.0.1:{port}") }),
            Err(error) if std::env::var_os("FLOODPLAIN_REQUIRE_PROMETHEUS").is_some() => {
                panic!(
                    "FLOODPLAIN_REQUIRE_PROMETHEUS is set and prometheus does not start: {error}"
                )
            }
            Err(error) => {
                eprintln!("SKIPPED: prometheus is not installed here ({error})");
                None
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap(); // SIGKILL
        self.child.wait().unwrap();
    }
}

/// A ledger of nothing, to have `verify` wait until the server answers.
fn wait_until_ready(prometheus: &Prometheus, ledger: &str) {
    let ran = run(&["verify", "--url", &prometheus.url, "--ledger", ledger, "--wait", "60s"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("not one sample"), "{}", ran.stderr);
}

/// A ledger whose flood was refused: it takes a server to make one, and any will do.
fn empty_ledger(dir: &Path) -> String {
    let path = dir.join("empty").to_str().unwrap().to_owned();
    let receiver = crate::receiver::Receiver::start(|_| crate::receiver::Action::Answer(400));
    let url = receiver.write_url();
    run(&[
        "flood",
        "--url",
        &url,
        "--seed",
        "99",
        "--series",
        "8",
        "--requests",
        "1",
        "--ledger",
        &path,
    ]);
    path
}

#[test]
fn prometheus_keeps_what_it_acknowledged_when_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let Some(prometheus) = Prometheus::start(&data) else { return };
    let empty = empty_ledger(dir.path());
    wait_until_ready(&prometheus, &empty);

    let ledger = dir.path().join("ledger").to_str().unwrap().to_owned();
    let (write, pid) =
        (format!("{}/api/v1/write", prometheus.url), prometheus.child.id().to_string());
    let mut flood = loadgen(&[
        "flood",
        "--url",
        &write,
        "--series",
        "2000",
        "--samples-per-request",
        "200",
        "--connections",
        "4",
        "--duration",
        "60s",
        "--preencode-bytes",
        "16MiB",
        "--give-up-after",
        "0s",
        "--ledger",
        &ledger,
        "--pid",
        &pid,
        "--json",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    // The first progress line that counts samples of the measured window says that the flood is under way.
    let mut lines = BufReader::new(flood.stderr.take().unwrap()).lines();
    let under_way = |line: &String| line.contains(" samples/s") && line.contains("p99");
    lines.by_ref().map(Result::unwrap).find(under_way).unwrap();
    prometheus.kill();
    let others: Vec<String> = lines.map(Result::unwrap).collect();
    let flooded = ran(flood.wait_with_output().unwrap());
    assert_eq!(flooded.code, 1, "{others:?}");
    assert!(flooded.number("measured.samples_acknowledged") > 0, "{}", flooded.stdout);

    let restarted = Prometheus::start(&data).unwrap();
    let ran =
        run(&["verify", "--url", &restarted.url, "--ledger", &ledger, "--json", "--wait", "60s"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let acknowledged = flooded.number("measured.samples_acknowledged")
        + flooded.number("warmup.samples_acknowledged");
    assert_eq!(ran.number("samples_acknowledged"), acknowledged);
    restarted.kill();
}

#[test]
fn prometheus_stores_the_histograms_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let Some(prometheus) = Prometheus::start(&data) else { return };
    wait_until_ready(&prometheus, &empty_ledger(dir.path()));
    let write = format!("{}/api/v1/write", prometheus.url);
    let read = format!("{}/api/v1/read", prometheus.url);
    for (seed, kind) in [("5", &[][..]), ("6", &["--float-histograms"])] {
        let args = ["flood", "--url", &write, "--series", "1000", "--samples-per-request", "200"];
        let mix = ["--samples", "9000", "--histograms", "0.3", "--exemplars", "10"];
        let flooded =
            run(&[&args[..], &mix, kind, &["--seed", seed, "--json", "--quiet"]].concat());
        assert_eq!(flooded.code, 0, "{}{}", flooded.stdout, flooded.stderr);
        let histograms = flooded.number("measured.histograms_acknowledged");
        assert!((2_000..3_500).contains(&histograms), "{histograms}");
        assert_eq!(flooded.number("measured.floats_acknowledged") + histograms, 9_000);
        assert!(flooded.number("measured.exemplars_acknowledged") > 500);
        // Streamed chunks: in one message, versions before 2.44 leave histograms out.
        let cluster = format!("cluster=flood-{seed}");
        let ran = run(&["read", "--url", &read, "--match", &cluster, "--json"]);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.number("histograms"), histograms / 9 * 10);
        assert_eq!(ran.number("samples"), 10_000 - histograms / 9 * 10);
    }
    let pid = prometheus.child.id().to_string();
    let query = [
        "query",
        "count by (job)({cluster=\"flood-5\"}) # {cluster=\"flood-5\"}",
        "count(",
        "--url",
        &prometheus.url,
        "--pid",
        &pid,
        "--against",
        &prometheus.url,
        "--start",
        "now-5m",
        "--json",
    ];
    let ran = run(&query);
    assert_eq!(ran.code, 1, "the second is no query: {}{}", ran.stdout, ran.stderr);
    let [good, wrong] = [0, 1].map(|at| ran.json()["queries"][at].clone());
    assert!(good["agree"] == true && good["points"].as_u64() > Some(1000), "{good}");
    assert!(good["servers"][0]["rss_peak_bytes"].as_u64() > Some(1 << 20), "{good}");
    assert!(wrong["difference"].as_str().unwrap().contains("400: bad_data"), "{wrong}");
    prometheus.kill();
}
