//! The promise, on a real disk: `kill -9` in the middle of a flood, start again, and `floodplain-loadgen verify` finds
//! every sample that was acknowledged, none altered and none invented.
//!
//! A round's seed decides the flood, the protocol, the numbers of shards and how many samples it takes until the kill.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use floodplain::io::sim::Rng;
use serde_json::Value;

use crate::http;
use crate::server::{Running, until};

const ROUNDS: u64 = 24;
/// Rounds follow each other on the same data, so that a start finds what several kills have left.
const ROUNDS_A_DIRECTORY: u64 = 6;

/// The load generator beside the program under test; built if it is not there.
fn loadgen() -> PathBuf {
    let server = Path::new(env!("CARGO_BIN_EXE_floodplain"));
    let loadgen = server.with_file_name("floodplain-loadgen");
    if !loadgen.exists() {
        let profile = match server.parent().and_then(Path::file_name) {
            Some(name) if name == "release" => "release",
            _ => "dev",
        };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--package=floodplain-loadgen", "--profile", profile]);
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        assert!(loadgen.exists(), "cargo built no {}", loadgen.display());
    }
    loadgen
}

/// What a round's seed decides.
struct Round {
    seed: u64,
    protocol: &'static str,
    compression: &'static str,
    churn: &'static str,
    /// Of the server that starts after the kill.
    shards_after: u16,
    /// Killed when it has appended so many.
    samples: u64,
    /// Of a server that starts in between and is killed as soon as it listens; mostly there is none.
    shards_between: Option<u16>,
}

impl Round {
    fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut one_of = |n: u64| u16::try_from(rng.below(n)).unwrap();
        Self {
            seed,
            protocol: if seed.is_multiple_of(2) { "1.0" } else { "2.0" },
            compression: if one_of(2) == 0 { "snappy" } else { "zstd" },
            churn: if one_of(3) == 0 { "0.5" } else { "0" },
            shards_after: 1 + one_of(3),
            samples: 200 + 10 * u64::from(one_of(3000)),
            shards_between: (one_of(4) == 0).then(|| 1 + one_of(3)),
        }
    }

    /// Its story in one line; `shards` had the server that was flooded.
    fn story(&self, shards: u16) -> String {
        let between = self.shards_between.map(|n| format!(", {n} (killed in its start)"));
        format!(
            "seed {:>2}, {} {:<6}, churn {:<3}, killed after {:>5} samples, shards {shards}{}, {}",
            self.seed,
            self.protocol,
            self.compression,
            self.churn,
            self.samples,
            between.unwrap_or_default(),
            self.shards_after,
        )
    }

    /// Floods `server` and kills it on the way.
    fn flood_and_kill(&self, mut server: Running, ledger: &Path) {
        let mut flood = self.flood(&server, ledger);
        until("the flood has come so far", || {
            assert!(flood.try_wait().unwrap().is_none(), "the flood was over before the kill");
            appended(&server) >= self.samples
        });
        server.child.kill().unwrap(); // SIGKILL
        let status = flood.wait().unwrap();
        assert_eq!(status.code(), Some(1), "seed {}: a flood whose server is killed", self.seed);
        drop(server.ended());
    }

    fn flood(&self, server: &Running, ledger: &Path) -> Child {
        let mut flood = flood(server, ledger, self.seed);
        flood.args(["--series=2000", "--samples-per-request=100", "--connections=4"]);
        flood.args(["--protocol", self.protocol, "--compression", self.compression]);
        flood.args(["--churn", self.churn]);
        flood.spawn().unwrap()
    }
}

/// A flood that ends with its server.
pub fn flood(server: &Running, ledger: &Path, seed: u64) -> Command {
    let mut flood = patient_flood(server, ledger, seed);
    flood.args(["--duration=60s", "--give-up-after=0s"]);
    flood
}

/// A flood that goes on when it is refused.
pub fn patient_flood(server: &Running, ledger: &Path, seed: u64) -> Command {
    let mut flood = Command::new(loadgen());
    flood.arg("flood").arg(format!("--url=http://{}/api/v1/write", server.address));
    flood.arg(format!("--seed={seed}")).arg("--ledger").arg(ledger);
    flood.args(["--preencode-bytes=4MiB", "--quiet"]);
    flood.stdout(Stdio::null()).stderr(Stdio::null());
    flood
}

/// What the server says of itself under this name; with labels, of the first there are.
pub fn metric(server: &Running, name: &str) -> u64 {
    let answer = http::send(server.address, "GET /metrics", &[], b"").unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// How many samples the server says it has appended since it started.
fn appended(server: &Running) -> u64 {
    metric(server, "prometheus_tsdb_head_samples_appended_total")
}

/// What `verify` finds of a flood.
pub fn verify(server: &Running, ledger: &Path) -> Value {
    let mut verify = Command::new(loadgen());
    verify.arg("verify").arg(format!("--url=http://{}", server.address));
    verify.arg("--ledger").arg(ledger).args(["--json", "--quiet"]);
    let output = verify.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The report must be clean; one line of it.
pub fn checked(report: &Value, story: &str) -> String {
    let count = |name: &str| report[name].as_u64().unwrap();
    for bad in ["samples_lost", "samples_altered", "samples_invented", "series_invented"] {
        assert_eq!(count(bad), 0, "{story}: {bad}: {report}");
    }
    assert_eq!(report["ok"], true, "{story}: {report}");
    format!(
        "{story}: {} acknowledged, {} unknown ({} of them there); 0 lost, 0 altered, 0 invented",
        count("samples_acknowledged"),
        count("samples_unknown"),
        count("samples_unknown_found"),
    )
}

#[test]
fn a_server_that_is_killed_in_a_flood_has_every_acknowledged_sample_and_no_other() {
    let (mut acknowledged, mut unknown) = (0, 0);
    for first in (1..=ROUNDS).step_by(usize::try_from(ROUNDS_A_DIRECTORY).unwrap()) {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let ledger = |seed: u64| dir.path().join(format!("{seed}.ledger"));
        let mut shards = 2;
        let mut server = Running::with_shards(&data, shards);
        let seeds = first..first + ROUNDS_A_DIRECTORY;
        for round in seeds.clone().map(Round::of) {
            round.flood_and_kill(server, &ledger(round.seed));
            if let Some(shards) = round.shards_between {
                Running::listening(&data, shards).kill();
            }
            server = Running::with_shards(&data, round.shards_after);
            let report = verify(&server, &ledger(round.seed));
            println!("{}", checked(&report, &round.story(shards)));
            shards = round.shards_after;
            acknowledged += report["samples_acknowledged"].as_u64().unwrap();
            unknown += report["samples_unknown"].as_u64().unwrap();
        }
        for seed in seeds {
            checked(
                &verify(&server, &ledger(seed)),
                &format!("seed {seed}, after all later kills"),
            );
        }
    }
    assert!(acknowledged > 0 && unknown > 0, "no kill has hit a request under way");
    println!(
        "{ROUNDS} kills: {acknowledged} samples acknowledged, {unknown} unknown; 0 lost, 0 altered, 0 invented"
    );
}

/// The layouts that the blocks in a data directory were written in: shards of how many.
fn layouts(data: &Path) -> Vec<u64> {
    let dirs = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let blocks = dirs(data).iter().flat_map(|shard| dirs(shard)).collect::<Vec<_>>();
    // One that is being written or removed has a dot in its name.
    let blocks = blocks.iter().filter(|block| block.extension().is_none());
    let metas = blocks.filter_map(|block| std::fs::read(block.join("meta.json")).ok());
    let metas = metas.map(|meta| serde_json::from_slice::<Value>(&meta).unwrap());
    metas.map(|meta| meta["floodplain"]["shards"].as_u64().unwrap()).collect()
}

#[test]
fn a_server_that_is_killed_among_its_blocks_has_every_acknowledged_sample_and_no_other() {
    for (seed, compactions, shards_after) in [(101, 3, 2), (102, 8, 3), (103, 14, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let (data, ledger) = (dir.path().join("data"), dir.path().join("ledger"));
        let mut server = Running::with_shards(&data, 2);
        // A day and a quarter, as fast as it goes: blocks are cut, and merged, all the time.
        let mut flood = flood(&server, &ledger, seed);
        flood.args(["--series=200", "--interval=15s", "--start-time=now-30h", "--churn=0.01"]);
        let mut flood = flood.spawn().unwrap();
        until("so many blocks are cut or merged", || {
            assert!(flood.try_wait().unwrap().is_none(), "the flood was over before the kill");
            metric(&server, "prometheus_tsdb_compactions_total") >= compactions
        });
        server.child.kill().unwrap(); // SIGKILL
        flood.wait().unwrap();
        drop(server.ended());
        let server = Running::with_shards(&data, shards_after);
        let story = format!(
            "seed {seed}, killed after {compactions} cuts and merges, shards 2, {shards_after}"
        );
        println!("{}", checked(&verify(&server, &ledger), &story));
        until("every shard has its part of the blocks of before", || {
            layouts(&data).iter().all(|shards| *shards == u64::from(shards_after))
        });
        checked(&verify(&server, &ledger), &format!("{story}, when blocks are the shards' own"));
    }
}
