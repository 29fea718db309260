//! Puts what a flood counted and read into its report.

use super::control::Stop;
use super::lane::Lane;
use super::meter::Reading;
use super::phase;
use super::report::{
    Flood, Generator, Measured, Preencoded, Quantiles, Report, Server, Warmup, ended_by,
};
use super::setup::Setup;
use super::tally::Tally;
use crate::body::magazine::Refill;
use crate::cli::FloodArgs;

/// The processes at the seams of the flood.
pub(super) struct Readings {
    pub(super) started: Reading,
    pub(super) encoded: Reading,
    pub(super) warm: Reading,
    pub(super) done: Reading,
    pub(super) settled: Reading,
}

pub(super) fn report(
    args: &FloodArgs,
    setup: &Setup,
    lanes: &[Lane<'_>],
    readings: &Readings,
    warmup: &phase::Result,
    window: Option<&phase::Result>,
) -> Report {
    let nothing =
        phase::Result { tally: Tally::default(), stop: warmup.stop.clone(), seconds: 0.0 };
    let window = window.unwrap_or(&nothing);
    let mut both = warmup.tally.clone();
    both.add(&window.tally);
    let counted_out = setup.quotas.as_ref().is_some_and(|quotas| {
        window.tally.requests_sent >= quotas.iter().sum() && window.tally.requests_abandoned == 0
    });
    let stopped_early = !matches!(window.stop, None | Some(Stop::Clock | Stop::BodiesUsedUp));
    Report {
        version: env!("CARGO_PKG_VERSION"),
        ok: !stopped_early
            && both.requests_refused + both.requests_unconfirmed == 0
            && window.tally.acknowledged.samples() > 0,
        ended_by: ended_by(window.stop.as_ref(), counted_out),
        flood: flood(args, setup),
        preencoded: Preencoded {
            rounds: setup.encoding.rounds,
            bytes: lanes.iter().map(|lane| lane.magazine.bytes()).sum(),
            seconds: (readings.encoded.at - readings.started.at).as_secs_f64(),
            cpu_seconds: readings.encoded.own_cpu_since(&readings.started),
            bytes_per_sample: setup.bytes_per_sample,
        },
        warmup: warmed(args, readings, warmup),
        measured: measured(lanes, window),
        latency_us: Quantiles::of(&window.tally.latency),
        lateness_us: Quantiles::of(&window.tally.lateness),
        generator: generator(lanes, readings, window),
        server: args.pid.map(|pid| server(pid, args, readings, window)),
        messages: both.messages,
    }
}

fn flood(args: &FloodArgs, setup: &Setup) -> Flood {
    let encoding = &setup.encoding;
    Flood {
        url: args.url.to_string(),
        protocol: args.protocol,
        compression: args.compression,
        series: args.series,
        churn_per_minute: args.churn,
        histograms: args.histograms,
        float_histograms: args.float_histograms,
        exemplars_every: args.exemplars,
        seed: args.seed,
        interval_ms: encoding.timeline.interval_ms,
        start_ms: encoding.timeline.start_ms,
        samples_per_request: setup
            .lanes
            .iter()
            .flatten()
            .map(ExactSizeIterator::len)
            .max()
            .unwrap_or(0),
        connections: setup.lanes.len(),
        rate: args.rate,
        refill: encoding.refill,
        value_period_rounds: encoding
            .timeline
            .value_period
            .filter(|_| encoding.refill == Refill::Replay),
    }
}

fn warmed(args: &FloodArgs, readings: &Readings, warmup: &phase::Result) -> Warmup {
    let cpu = readings.warm.server_cpu_since(&readings.encoded);
    Warmup {
        rounds: args.warmup,
        samples_acknowledged: warmup.tally.acknowledged.samples(),
        seconds: warmup.seconds,
        server_cpu_seconds: cpu,
        // More rounds than the one that creates the series would blur it.
        server_cpu_us_per_series: cpu
            .filter(|_| args.warmup == 1)
            .map(|seconds| seconds * 1e6 / f64::from(args.series)),
    }
}

fn measured(lanes: &[Lane<'_>], window: &phase::Result) -> Measured {
    let tally = &window.tally;
    Measured {
        seconds: window.seconds,
        requests_sent: tally.requests_sent,
        requests_acknowledged: tally.requests_acknowledged,
        samples_acknowledged: tally.acknowledged.samples(),
        floats_acknowledged: tally.acknowledged.floats,
        histograms_acknowledged: tally.acknowledged.histograms,
        exemplars_acknowledged: tally.acknowledged.exemplars,
        samples_per_second: exact(tally.acknowledged.samples()) / window.seconds.max(1e-9),
        bytes_acknowledged: tally.bytes_acknowledged,
        requests_unconfirmed: tally.requests_unconfirmed,
        requests_refused: tally.requests_refused,
        samples_refused: tally.samples_refused,
        requests_abandoned: tally.requests_abandoned,
        requests_due_unsent: tally.requests_due_unsent,
        answers_throttled: tally.answers_throttled,
        answers_server_error: tally.answers_server_error,
        connection_errors: tally.connection_errors,
        retries: tally.retries,
        connects: lanes.iter().map(|lane| lane.sender.connects()).sum(),
        backed_off_seconds: tally.backed_off.as_secs_f64(),
        waited_for_others_seconds: tally.waited_for_others.as_secs_f64(),
    }
}

fn generator(lanes: &[Lane<'_>], readings: &Readings, window: &phase::Result) -> Generator {
    let cpu = readings.done.own_cpu_since(&readings.warm);
    let elapsed = (readings.done.at - readings.warm.at).as_secs_f64();
    Generator {
        cpu_seconds: cpu,
        cpu_seconds_per_million_samples: per_million(cpu, window),
        cores: cpu / elapsed.max(1e-9),
        bodies_encoded_when_due: lanes.iter().map(|lane| lane.magazine.encoded_when_due()).sum(),
    }
}

fn server(pid: u32, args: &FloodArgs, readings: &Readings, window: &phase::Result) -> Server {
    let all = [&readings.encoded, &readings.warm, &readings.settled];
    let error = all.iter().find_map(|reading| reading.server.as_ref()?.as_ref().err().cloned());
    let cpu = readings.settled.server_cpu_since(&readings.warm);
    let elapsed = (readings.settled.at - readings.warm.at).as_secs_f64();
    let before = readings.encoded.server_usage().map(|usage| usage.rss_bytes);
    let at_end = readings.settled.server_usage();
    let rss = at_end.map(|usage| usage.rss_bytes);
    let per_series = |bytes: f64| bytes / f64::from(args.series);
    Server {
        pid,
        error,
        cpu_seconds: cpu,
        cpu_seconds_per_million_samples: cpu.and_then(|cpu| per_million(cpu, window)),
        samples_per_cpu_second: cpu
            .filter(|cpu| *cpu > 0.0)
            .map(|cpu| exact(window.tally.acknowledged.samples()) / cpu),
        cores: cpu.map(|cpu| cpu / elapsed.max(1e-9)),
        rss_before_bytes: before,
        rss_bytes: rss,
        rss_peak_bytes: at_end.map(|usage| usage.rss_peak_bytes),
        rss_bytes_per_series: rss.map(|rss| per_series(exact(rss))),
        rss_growth_bytes_per_series: rss
            .zip(before)
            .map(|(rss, before)| per_series(exact(rss) - exact(before))),
    }
}

fn per_million(cpu: f64, window: &phase::Result) -> Option<f64> {
    let samples = window.tally.acknowledged.samples();
    (samples > 0).then(|| cpu * 1e6 / exact(samples))
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes far below 2^53")]
fn exact(count: u64) -> f64 {
    count as f64
}
