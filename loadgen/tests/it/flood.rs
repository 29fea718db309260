//! What a flood sends, counts, and says about it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Mutex;

use crate::receiver::{Action, Labels, Receiver};
use crate::run::{Ran, ledger, run, with_defaults};

/// Floods `receiver` with 600 series over two connections, quietly, and reports as JSON.
fn flood(receiver: &Receiver, args: &[&str]) -> Ran {
    let url = receiver.write_url();
    let defaults = [
        ("--url", url.as_str()),
        ("--series", "600"),
        ("--connections", "2"),
        ("--samples-per-request", "100"),
        ("--preencode-bytes", "100KiB"),
    ];
    run(&[with_defaults("flood", args, &defaults), vec!["--json", "--quiet"]].concat())
}

#[test]
fn every_sample_arrives_once_in_every_protocol_and_compression() {
    for (protocol, compression) in
        [("1.0", "snappy"), ("2.0", "snappy"), ("1.0", "zstd"), ("2.0", "zstd")]
    {
        let receiver = Receiver::honest();
        let args = ["--samples", "6000", "--protocol", protocol, "--compression", compression];
        let ran = flood(&receiver, &args);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.number("measured.samples_acknowledged"), 6_000);
        assert_eq!(ran.number("warmup.samples_acknowledged"), 600);
        let store = receiver.store();
        assert_eq!(store.len(), 600);
        let times: BTreeSet<Vec<i64>> =
            store.values().map(|samples| samples.keys().copied().collect()).collect();
        assert_eq!(times.len(), 1, "all series have the same timestamps");
        let times: Vec<i64> = times.into_iter().next().unwrap();
        assert_eq!(times.len(), 11);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 15_000), "{times:?}");
    }
}

#[test]
fn the_same_seed_sends_the_same_samples() {
    let stores = [1, 1, 2].map(|seed: u32| {
        let receiver = Receiver::honest();
        let seed = seed.to_string();
        let args = ["--samples", "1200", "--seed", &seed, "--start-time", "2026-08-01T00:00:00Z"];
        assert_eq!(flood(&receiver, &args).code, 0);
        receiver.store()
    });
    assert!(stores[0] == stores[1]);
    assert!(stores[1].keys().all(|labels| !stores[2].contains_key(labels)));
}

#[test]
fn churn_replaces_series_and_keeps_their_number() {
    let receiver = Receiver::honest();
    let ran = flood(&receiver, &["--samples", "12000", "--churn", "1", "--interval", "15s"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let store = receiver.store();
    assert!(store.len() > 600 * 4, "{} series", store.len());
    assert_eq!(store.values().map(|samples| samples.len()).sum::<usize>(), 12_600);
}

#[test]
fn bodies_sent_again_have_new_timestamps() {
    let receiver = Receiver::honest();
    // Room for a few rounds only.
    let ran = flood(&receiver, &["--samples", "12000", "--preencode-bytes", "50KiB"]);
    let period = ran.number("flood.value_period_rounds");
    assert!((1..10).contains(&period), "{period}");
    let store = receiver.store();
    assert!(store.values().all(|samples| samples.len() == 21));
    let repeats = |samples: &Vec<f64>| samples[usize::try_from(period).unwrap()] == samples[0];
    assert!(store.values().map(|samples| samples.values().copied().collect()).all(|s| repeats(&s)));
}

#[test]
fn a_busy_server_gets_the_same_body_again() {
    let receiver = Receiver::start(|n| if n % 3 == 0 { Action::Busy } else { Action::Store });
    let ran = flood(&receiver, &["--samples", "6000"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.number("measured.samples_acknowledged"), 6_000);
    assert!(ran.number("measured.answers_throttled") >= 29);
    assert_eq!(ran.number("measured.answers_throttled"), ran.number("measured.retries"));
    assert!(receiver.store().values().all(|samples| samples.len() == 11));
}

#[test]
fn a_connection_that_dies_is_opened_again_and_the_body_sent_again() {
    let receiver =
        Receiver::start(|n| if n == 20 { Action::StoreAndHangUp } else { Action::Store });
    let ran = flood(&receiver, &["--samples", "6000"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.number("measured.connection_errors"), 1);
    assert_eq!(ran.number("measured.connects"), 3);
    assert_eq!(receiver.writes(), 67, "66 requests, one of them twice");
}

#[test]
fn refusals_are_counted_and_quoted_and_not_sent_again() {
    let receiver =
        Receiver::start(|n| if n % 10 == 9 { Action::Answer(400) } else { Action::Store });
    let ran = flood(&receiver, &["--samples", "6000"]);
    assert_eq!(ran.code, 1, "not everything was acknowledged");
    assert_eq!(ran.number("measured.requests_refused"), 6);
    assert_eq!(ran.number("measured.samples_acknowledged"), 5_400);
    assert_eq!(ran.json()["messages"][0], "400 out of order sample");
    assert_eq!(receiver.writes(), 66);
}

#[test]
fn a_2xx_that_does_not_count_the_samples_is_not_an_acknowledgement_of_remote_write_2() {
    let receiver = Receiver::start(|n| match n {
        10 => Action::StoreWithoutCount,
        _ => Action::Store,
    });
    let ran = flood(&receiver, &["--samples", "6000", "--protocol", "2.0"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.number("measured.requests_unconfirmed"), 1);
    assert!(ran.json()["messages"][0].as_str().unwrap().contains("Samples-Written"));
}

#[test]
fn an_open_loop_counts_latency_from_when_a_request_was_due() {
    // One connection, 20 requests due every 10 ms from the start of the window; the first of them takes 300 ms. Those due
    // in the meantime wait in line, and that is their latency, however fast the server is with each.
    let receiver = Receiver::start(|n| if n == 6 { Action::Stall(300) } else { Action::Store });
    let ran = flood(&receiver, &["--connections", "1", "--rate", "10000", "--requests", "20"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.number("latency_us.count"), 20);
    assert!(ran.number("latency_us.p50") >= 150_000, "{}", ran.stdout);
}

#[test]
fn a_connection_sends_the_same_series_in_every_round() {
    let receiver = Receiver::honest();
    let ran = flood(&receiver, &["--samples", "6000", "--connections", "3"]);
    assert_eq!(ran.number("measured.connects"), 3);
    let mut connections_of: BTreeMap<Labels, BTreeSet<usize>> = BTreeMap::new();
    for (labels, connection) in receiver.arrivals() {
        connections_of.entry(labels).or_default().insert(connection);
    }
    assert_eq!(connections_of.len(), 600);
    assert!(connections_of.values().all(|connections| connections.len() == 1));
}

#[test]
fn a_process_that_ends_while_it_is_measured_ends_the_flood() {
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = child.id().to_string();
    let (victim, killed) = (Mutex::new(Some(pid.clone())), Action::Stall(20));
    let receiver = Receiver::start(move |n| {
        if n == 30
            && let Some(pid) = victim.lock().unwrap().take()
        {
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        }
        if n >= 30 { killed } else { Action::Store }
    });
    let reaper = std::thread::spawn(move || child.wait().unwrap());
    let ran = flood(&receiver, &["--samples", "100M", "--pid", &pid]);
    reaper.join().unwrap();
    assert_eq!(ran.code, 1);
    assert!(ran.json()["ended_by"].as_str().unwrap().contains("has ended"), "{}", ran.stdout);
    assert!(ran.json()["server"]["error"].as_str().unwrap().contains("has ended"));
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_missing() {
    // Port 1 is nobody's; a port that was just given back may be another test's by now.
    let ran = run(&["flood", "--url", "http://127.0.0.1:1/api/v1/write"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("cannot connect to") && ran.stderr.contains("running?"));
}

#[test]
fn an_existing_ledger_is_not_overwritten() {
    let (_dir, path) = ledger();
    std::fs::write(&path, "precious").unwrap();
    let receiver = Receiver::honest();
    let ran = flood(&receiver, &["--samples", "600", "--ledger", &path]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("exists"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(receiver.writes(), 0);
}

#[test]
fn the_summary_is_a_table_with_the_numbers_people_ask_for() {
    let receiver = Receiver::honest();
    let (url, pid) = (receiver.write_url(), std::process::id().to_string());
    let ran = run(&["flood", "--url", &url, "--series", "600", "--samples", "6000", "--pid", &pid]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for name in ["acknowledged", "rate", "latency", "generator", "server", "memory", "ended by"] {
        assert!(ran.stdout.lines().any(|line| line.starts_with(name)), "{name}: {}", ran.stdout);
    }
}

#[test] // golden: programs read these
fn the_keys_of_the_json_are_these() {
    let receiver = Receiver::honest();
    let pid = std::process::id().to_string();
    let ran = flood(&receiver, &["--rate", "100k", "--samples", "6000", "--pid", &pid]);
    let mut keys = Vec::new();
    let json = ran.json();
    for (name, value) in json.as_object().unwrap() {
        match value.as_object() {
            None => keys.push(name.clone()),
            // Whether the generator ever had to wait for a request to be due depends on the machine.
            Some(_) if name == "lateness_us" => keys.push(name.clone()),
            Some(inner) => keys.extend(inner.keys().map(|key| format!("{name}.{key}"))),
        }
    }
    keys.sort();
    let golden = include_str!("flood_keys.txt");
    assert_eq!(keys, golden.lines().collect::<Vec<_>>());
}
