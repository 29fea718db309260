//! What `verify` notices, and what it does not complain about.

use crate::receiver::{Action, Receiver, Store};
use crate::run::{Ran, ledger, run, with_defaults};

/// Floods `receiver` with 600 series, 11 rounds of 6 requests over one connection; returns the flood's result.
fn flood(receiver: &Receiver, path: &str, args: &[&str]) -> Ran {
    let url = receiver.write_url();
    let defaults = [
        ("--url", url.as_str()),
        ("--series", "600"),
        ("--connections", "1"),
        ("--samples-per-request", "100"),
        ("--samples", "6000"),
        ("--preencode-bytes", "100KiB"),
        ("--ledger", path),
    ];
    run(&[with_defaults("flood", args, &defaults), vec!["--json", "--quiet"]].concat())
}

fn verify(receiver: &Receiver, path: &str, args: &[&str]) -> Ran {
    let url = receiver.url();
    run(&[&["verify", "--url", &url, "--ledger", path, "--json", "--quiet", "--wait", "0s"], args]
        .concat())
}

/// Floods a receiver that does `action` with the 40th write and stores the others, and verifies.
fn after(action: Action) -> Ran {
    let receiver = Receiver::start(move |n| if n == 40 { action } else { Action::Store });
    let (_dir, path) = ledger();
    flood(&receiver, &path, &[]);
    verify(&receiver, &path, &[])
}

#[test]
fn what_was_acknowledged_and_is_there_is_clean() {
    for args in [
        &[][..],
        &["--protocol", "2.0"],
        &["--churn", "1", "--interval", "15s"],
        &["--interval", "1ms", "--compression", "zstd"],
        &["--preencode-bytes", "40KiB"],
    ] {
        let receiver = Receiver::honest();
        let (_dir, path) = ledger();
        assert_eq!(flood(&receiver, &path, args).code, 0);
        for samples in ["200k", "700"] {
            let ran = verify(&receiver, &path, &["--samples-per-query", samples]);
            assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.number("samples_compared"), 6_600);
            assert_eq!(ran.number("samples_acknowledged"), 6_600);
        }
    }
}

#[test]
fn histograms_that_were_acknowledged_and_are_there_are_clean() {
    for args in [
        &["--histograms", "0.3"][..],
        &["--histograms", "1", "--float-histograms", "--exemplars", "7"],
        &["--histograms", "0.3", "--protocol", "2.0", "--preencode-bytes", "90KiB"],
        &["--histograms", "0.3", "--churn", "1", "--interval", "15s"],
    ] {
        let receiver = Receiver::honest();
        let (_dir, path) = ledger();
        let flooded = flood(&receiver, &path, args);
        assert_eq!(flooded.code, 0, "{}", flooded.stdout);
        let histograms = flooded.number("measured.histograms_acknowledged");
        assert_eq!(flooded.number("measured.floats_acknowledged") + histograms, 6_000);
        for samples in ["200k", "700"] {
            let ran = verify(&receiver, &path, &["--samples-per-query", samples]);
            assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.number("samples_acknowledged"), 6_600);
            assert_eq!(ran.number("histograms_acknowledged"), histograms / 10 * 11);
        }
    }
}

#[test]
fn histograms_that_are_not_there_are_lost_and_others_are_altered() {
    for (action, what) in [(Action::Lose, "samples_lost"), (Action::Alter, "samples_altered")] {
        let receiver = Receiver::start(move |n| if n == 40 { action } else { Action::Store });
        let (_dir, path) = ledger();
        flood(&receiver, &path, &["--histograms", "1"]);
        let ran = verify(&receiver, &path, &[]);
        assert_eq!((ran.code, ran.number(what)), (1, 100), "{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn windows_closed_on_both_sides_make_no_difference() {
    let flooded = Receiver::honest();
    let (_dir, path) = ledger();
    flood(&flooded, &path, &[]);
    let receiver = Receiver::with(flooded.store(), true, |_| Action::Store);
    assert_eq!(verify(&receiver, &path, &["--samples-per-query", "700"]).code, 0);
}

#[test]
fn an_acknowledged_request_that_is_not_there_is_lost() {
    let ran = after(Action::Lose);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.number("samples_lost"), 100);
    assert_eq!(ran.number("samples_altered") + ran.number("samples_invented"), 0);
    assert!(ran.json()["examples"][0].as_str().unwrap().starts_with("lost at "));
}

#[test]
fn everything_lost_is_lost_and_not_nothing_to_compare() {
    let flooded = Receiver::honest();
    let (_dir, path) = ledger();
    flood(&flooded, &path, &[]);
    let ran = verify(&Receiver::honest(), &path, &[]);
    assert_eq!((ran.code, ran.number("samples_lost")), (1, 6_600));
}

#[test]
fn a_value_that_changed_is_altered() {
    let ran = after(Action::Alter);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.number("samples_altered"), 100);
    assert_eq!(ran.number("samples_lost") + ran.number("samples_invented"), 0);
}

#[test]
fn a_sample_between_two_steps_is_invented() {
    let ran = after(Action::Invent);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.number("samples_invented"), 100);
    assert_eq!(ran.number("samples_lost") + ran.number("samples_altered"), 0);
}

#[test]
fn a_series_that_was_never_sent_is_invented() {
    let ran = after(Action::InventSeries);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.number("series_invented"), 100);
    assert_eq!(ran.number("samples_invented"), 100);
}

#[test]
fn a_series_of_another_metric_name_or_instance_is_invented_too() {
    for (name, value) in [("__name__", "unheard_of"), ("instance", "elsewhere:1")] {
        let flooded = Receiver::honest();
        let (_dir, path) = ledger();
        flood(&flooded, &path, &[]);
        let mut store = flooded.store();
        let (mut labels, samples) =
            store.first_key_value().map(|(l, s)| (l.clone(), s.clone())).unwrap();
        labels.insert(name.to_owned(), value.to_owned());
        store.insert(labels, samples);
        let ran = verify(&Receiver::with(store, false, |_| Action::Store), &path, &[]);
        assert_eq!((ran.code, ran.number("series_invented")), (1, 1), "{}", ran.stdout);
    }
}

#[test]
fn what_was_refused_may_be_there_or_not() {
    for (action, there) in [(Action::Answer(400), 0), (Action::StoreAndAnswer(400), 100)] {
        let ran = after(action);
        assert_eq!(ran.code, 0, "{}", ran.stdout);
        assert_eq!(ran.number("samples_unknown"), 100);
        assert_eq!(ran.number("samples_unknown_found"), there);
        assert_eq!(ran.number("samples_compared"), 6_500 + there);
    }
}

#[test]
fn what_was_not_confirmed_in_remote_write_2_may_be_there_or_not() {
    let receiver =
        Receiver::start(|n| if n == 40 { Action::StoreWithoutCount } else { Action::Store });
    let (_dir, path) = ledger();
    assert_eq!(flood(&receiver, &path, &["--protocol", "2.0"]).code, 1);
    let ran = verify(&receiver, &path, &[]);
    assert_eq!((ran.code, ran.number("samples_unknown_found")), (0, 100), "{}", ran.stdout);
}

#[test]
fn a_server_that_dies_during_a_flood_leaves_a_ledger_to_verify_with() {
    let dying = Receiver::start(|n| if n == 40 { Action::Die } else { Action::Store });
    let (_dir, path) = ledger();
    let flooded = flood(&dying, &path, &["--give-up-after", "0s"]);
    assert_eq!(flooded.code, 1);
    assert!(flooded.json()["ended_by"].as_str().unwrap().contains("--give-up-after"));
    let restarted = Receiver::with(dying.store(), false, |_| Action::Store);
    let ran = verify(&restarted, &path, &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!((ran.number("samples_compared"), ran.number("samples_unknown")), (4_000, 100));
}

#[test]
fn a_killed_generator_leaves_a_ledger_to_verify_with() {
    let (_dir, path) = ledger();
    // The receiver keeps the generator waiting for its 40th answer until it has been killed.
    let (reached, wait) = std::sync::mpsc::channel();
    let reached = std::sync::Mutex::new(reached);
    let receiver = Receiver::start(move |n| {
        if n == 40 {
            reached.lock().unwrap().send(()).unwrap();
            return Action::Stall(600_000);
        }
        Action::Store
    });
    let url = receiver.write_url();
    let args = [
        "flood",
        "--url",
        &url,
        "--series",
        "600",
        "--connections",
        "1",
        "--samples-per-request",
        "100",
        "--samples",
        "6000",
        "--ledger",
        &path,
        "--quiet",
    ];
    let mut child = crate::run::loadgen(&args).spawn().unwrap();
    wait.recv().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = verify(&receiver, &path, &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!((ran.number("samples_compared"), ran.number("samples_unknown")), (4_000, 100));
}

#[test]
fn nothing_compared_is_not_success() {
    let refusing = Receiver::start(|_| Action::Answer(400));
    let (_dir, path) = ledger();
    assert_eq!(flood(&refusing, &path, &[]).code, 1);
    let ran = verify(&refusing, &path, &[]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("not one sample to compare"), "{}", ran.stderr);
}

#[test]
fn a_server_that_does_not_answer_is_not_success() {
    let receiver = Receiver::honest();
    let (_dir, path) = ledger();
    flood(&receiver, &path, &[]);
    let url = receiver.url();
    drop(receiver);
    let ran = run(&["verify", "--url", &url, "--ledger", &path, "--wait", "0s"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("cannot connect"), "{}", ran.stderr);
}

#[test]
fn a_damaged_ledger_is_not_success() {
    let receiver = Receiver::honest();
    let (_dir, path) = ledger();
    flood(&receiver, &path, &[]);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let ran = verify(&receiver, &path, &[]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("checksum"), "{}", ran.stderr);
}

#[test]
fn labels_that_the_server_adds_can_be_ignored() {
    let flooded = Receiver::honest();
    let (_dir, path) = ledger();
    flood(&flooded, &path, &[]);
    let replicated: Store = flooded
        .store()
        .into_iter()
        .map(|(mut labels, samples)| {
            labels.insert("replica".to_owned(), "a".to_owned());
            (labels, samples)
        })
        .collect();
    let receiver = Receiver::with(replicated, false, |_| Action::Store);
    assert_eq!(verify(&receiver, &path, &[]).code, 1);
    assert_eq!(verify(&receiver, &path, &["--ignore-label", "replica"]).code, 0);
}

#[test]
fn the_table_says_what_was_compared() {
    let receiver = Receiver::honest();
    let (_dir, path) = ledger();
    flood(&receiver, &path, &[]);
    let ran = run(&["verify", "--url", &receiver.url(), "--ledger", &path]);
    assert!(ran.stdout.starts_with("compared      6,600 samples of 600 series"), "{}", ran.stdout);
    assert!(ran.stdout.trim_end().ends_with("clean"));
}
