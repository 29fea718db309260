//! The options of a flood, checked, with every default filled in.

use super::FloodError;
use super::plan::{self, Bounds};
use crate::body::SeriesRange;
use crate::body::compress::Compression;
use crate::body::magazine::{BytesPerSample, Encoding, Refill, measure_bytes};
use crate::cli::FloodArgs;
use crate::ledger::Header;
use crate::population::Population;
use crate::population::mixture::Mixture;
use crate::timeline::Timeline;

/// What a flood will do.
#[derive(Debug)]
pub struct Setup {
    /// By connection: the requests of a round.
    pub lanes: Vec<Vec<SeriesRange>>,
    /// By connection: how many requests it may send after the warm-up.
    pub quotas: Option<Vec<u64>>,
    /// What ends the measured window.
    pub bounds: Bounds,
    /// Series, clock and message.
    pub encoding: Encoding,
    /// What a sample costs in bytes.
    pub bytes_per_sample: BytesPerSample,
    /// Steps of a generation, with churn.
    pub generation_steps: Option<u32>,
}

/// The window of a flood that says nothing about its length.
const DURATION_DEFAULT: std::time::Duration = std::time::Duration::from_secs(10);

/// What 32 bits of milliseconds hold, in whole days.
const INTERVAL_MAX_MS: u128 = 49 * 86_400_000;

impl Setup {
    /// What `args` ask for when it is `now_ms`, on a machine of so many `cores`.
    ///
    /// # Errors
    /// Options that contradict each other or make no sense.
    pub fn new(args: &FloodArgs, now_ms: i64, cores: usize) -> Result<Self, FloodError> {
        check(args)?;
        let counted = args.requests.is_some() || args.samples.is_some();
        let bounds = Bounds {
            duration: args.duration.or((!counted).then_some(DURATION_DEFAULT)),
            requests: args.requests,
            samples: args.samples,
        };
        let lanes = plan::deal(args.series, args.connections, args.samples_per_request);
        let per_round: u64 = lanes.iter().map(|lane| lane.len() as u64).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate of more than 2^53 is unreachable")]
        let rate = args.rate.map_or(plan::closed_loop_rate(cores), |rate| rate as f64);
        let expected = plan::rounds_expected(args.series, per_round, &bounds, rate);
        let rounds = expected.saturating_add(u64::from(args.warmup));
        let interval_ms = match args.interval {
            None => plan::interval_default_ms(rounds),
            Some(interval) => u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
        };
        let start_ms = match args.start_time {
            None => plan::start_default_ms(now_ms, rounds, interval_ms),
            Some(start) => start.resolve(now_ms),
        };
        let generation_steps = generation_steps(args.churn, interval_ms)?;
        let mut setup = Self {
            quotas: plan::quotas(&lanes, &bounds),
            bounds,
            encoding: Encoding {
                population: Population::new(args.seed, args.series, generation_steps)
                    .with_mixture(mixture(args)),
                timeline: Timeline { start_ms, interval_ms, value_period: None },
                protocol: args.protocol,
                compression: args.compression,
                refill: refill(args)?,
                rounds: 1,
            },
            bytes_per_sample: BytesPerSample { raw: 0.0, wire: 0.0 },
            generation_steps,
            lanes,
        };
        setup.check_clock(rounds)?;
        setup.bytes_per_sample = measure_bytes(&setup.encoding, &setup.lanes.concat())?;
        let round_bytes = setup.bytes_per_sample.wire * f64::from(args.series);
        let replays = setup.encoding.refill == Refill::Replay;
        let ahead =
            plan::rounds_ahead(args.preencode_bytes, round_bytes, expected, args.warmup, replays);
        setup.encoding.rounds = ahead;
        // Counted in full, a flood may still be shorter than the rounds that are ready; then nothing repeats.
        setup.encoding.timeline.value_period = replays.then_some(ahead);
        Ok(setup)
    }

    /// Bodies keep six bytes for a timestamp.
    fn check_clock(&self, rounds: u64) -> Result<(), FloodError> {
        let timeline = &self.encoding.timeline;
        let last = timeline.time(u32::try_from(rounds).unwrap_or(u32::MAX));
        if Timeline::holds(timeline.start_ms) && Timeline::holds(last) {
            return Ok(());
        }
        Err(FloodError::Options(format!(
            "the synthetic clock would run from {} to {} ms since the epoch; \
             it must stay between 1971 and 2109: choose another --start-time or --interval",
            timeline.start_ms, last
        )))
    }

    /// The head of the ledger of such a flood.
    #[must_use]
    pub fn header(&self, args: &FloodArgs) -> Header {
        Header {
            population: Population::checksum_with(mixture(args)),
            seed: args.seed,
            series: args.series,
            generation_steps: self.generation_steps,
            timeline: self.encoding.timeline,
            protocol: args.protocol,
            mixture: mixture(args),
            url: args.url.to_string(),
        }
    }
}

fn check(args: &FloodArgs) -> Result<(), FloodError> {
    let refuse = |what: &str| Err(FloodError::Options(what.to_owned()));
    if args.connections == 0 || args.series < args.connections {
        return refuse("--series must be at least --connections, and that at least 1");
    }
    if args.samples_per_request == 0 {
        return refuse("--samples-per-request must be at least 1");
    }
    if args.rate == Some(0) || args.requests == Some(0) || args.samples == Some(0) {
        return refuse("--rate, --requests and --samples must be at least 1");
    }
    if args.interval.is_some_and(|interval| !(1..=INTERVAL_MAX_MS).contains(&interval.as_millis()))
    {
        return refuse("--interval must be from 1ms to 49d");
    }
    if !(0.0..=1.0).contains(&args.histograms) {
        return refuse("--histograms must be a share from 0 to 1, such as 0.1");
    }
    if args.float_histograms && args.histograms == 0.0 {
        return refuse(
            "--float-histograms needs --histograms, the share of the series that are some",
        );
    }
    if args.exemplars == Some(0) {
        return refuse("--exemplars must be at least 1: one sample in so many brings an exemplar");
    }
    if args.timeout.is_zero() {
        return refuse("--timeout must be more than 0s");
    }
    Ok(())
}

/// What the flood has beside floats.
fn mixture(args: &FloodArgs) -> Mixture {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let histograms_per_million = (args.histograms * 1e6).round() as u32;
    Mixture {
        histograms_per_million,
        float_histograms: args.float_histograms,
        exemplars_every: args.exemplars.unwrap_or(0),
    }
}

/// How long a target lives, in steps, if `churn` of the series are replaced per minute.
fn generation_steps(churn: f64, interval_ms: u32) -> Result<Option<u32>, FloodError> {
    if !(0.0..=1e6).contains(&churn) {
        return Err(FloodError::Options("--churn must be a share such as 0.05".to_owned()));
    }
    let steps = 60_000.0 / churn / f64::from(interval_ms);
    if churn > 0.0 && steps < 1.0 {
        return Err(FloodError::Options(format!(
            "--churn {churn} would replace every series more than once a step of {interval_ms} ms"
        )));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    Ok((churn > 0.0).then_some(steps.round() as u32))
}

fn refill(args: &FloodArgs) -> Result<Refill, FloodError> {
    let can_replay = args.compression == Compression::Snappy && args.churn == 0.0;
    match args.refill {
        Some(Refill::Replay) if !can_replay => Err(FloodError::Options(
            "--refill replay needs snappy, whose bodies can be patched, and no churn".to_owned(),
        )),
        Some(refill) => Ok(refill),
        None => Ok(if can_replay { Refill::Replay } else { Refill::Encode }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    const NOW: i64 = 1_780_000_000_000;

    fn setup(args: &[&str]) -> Result<Setup, FloodError> {
        let words = ["floodplain-loadgen", "flood", "--preencode-bytes", "1MiB"].iter().chain(args);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Flood(args) => Setup::new(&args, NOW, 2),
            _ => unreachable!("the words say flood"),
        }
    }

    #[test]
    fn a_flood_without_bounds_lasts_ten_seconds_and_ends_now() {
        let setup = setup(&[]).unwrap();
        assert_eq!(setup.bounds.duration, Some(DURATION_DEFAULT));
        let timeline = setup.encoding.timeline;
        assert_eq!(timeline.interval_ms, 2_000);
        assert_eq!(timeline.time(1_201), NOW);
        assert_eq!(timeline.value_period, Some(setup.encoding.rounds));
    }

    #[test]
    fn a_counted_flood_is_not_bounded_by_time() {
        let setup = setup(&["--samples", "1M"]).unwrap();
        assert_eq!(setup.bounds.duration, None);
        assert_eq!(setup.quotas.unwrap().iter().sum::<u64>(), 500);
        assert_eq!(setup.encoding.timeline.interval_ms, 15_000);
    }

    #[test]
    fn churn_is_a_share_a_minute() {
        let churning = setup(&["--churn", "0.1", "--interval", "15s"]).unwrap();
        assert_eq!(churning.generation_steps, Some(40));
        assert_eq!(churning.encoding.refill, Refill::Encode);
        assert_eq!(churning.encoding.timeline.value_period, None);
        assert_eq!(setup(&[]).unwrap().generation_steps, None);
    }

    #[test]
    fn options_that_make_no_sense_are_refused_with_the_cure() {
        for (args, what) in [
            (&["--series", "5"][..], "--connections"),
            (&["--samples-per-request", "0"], "--samples-per-request"),
            (&["--rate", "0"], "--rate"),
            (&["--churn=-1"], "--churn"),
            (&["--churn", "NaN"], "--churn"),
            (&["--churn", "9", "--interval", "15s"], "more than once a step"),
            (&["--compression", "zstd", "--refill", "replay"], "snappy"),
            (&["--histograms", "1.5"], "--histograms"),
            (&["--histograms", "NaN"], "--histograms"),
            (&["--float-histograms"], "needs --histograms"),
            (&["--exemplars", "0"], "--exemplars"),
            (&["--interval", "500us"], "--interval"),
            (&["--start-time", "1000"], "1971"),
            (&["--start-time", "2109-01-01T00:00:00Z", "--interval", "30d"], "1971"),
            (&["--interval", "50d"], "--interval"),
        ] {
            let error = setup(args).unwrap_err().to_string();
            assert!(error.contains(what), "{args:?}: {error}");
        }
    }
}
