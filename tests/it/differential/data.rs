//! An hour of an invented fleet: what both servers are given.
//!
//! All values but NaN and the infinities are eighths below 2^40, so that plain sums of them are exact in any order. All
//! samples lie 3 ms behind whole hundredths of seconds, and everything that is asked lies on whole ones: see [`super`].

use floodplain::io::sim::Rng;

use crate::remote_write::{Packed, Series, Version, request};

/// When it begins.
pub const BEGIN_S: i64 = 1_700_000_000;
/// How long it is.
pub const LENGTH_S: i64 = 3600;
/// The value that ends a series until it comes back.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// What the values of a series do.
#[derive(Clone, Copy)]
enum Course {
    /// Goes up, and begins anew now and then.
    Counter,
    /// Goes up and down, and is no number or infinite now and then.
    Gauge,
    /// The same, always finite.
    Finite,
    /// Large whole numbers.
    Bytes,
    /// Mostly 1.
    Up,
    /// Always this.
    Always(u32),
}

/// When a series has samples.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    /// Every 15 s.
    Even,
    /// The same; sometimes it goes stale, sometimes it is just not there for a while.
    Gaps,
    /// Between 1 s and 4 min apart.
    Uneven,
    FirstHalf,
    SecondHalf,
}

struct Fleet {
    rng: Rng,
    series: Vec<Series>,
}

impl Fleet {
    fn times(&mut self, pace: Pace) -> Vec<(i64, bool)> {
        let phase = i64::try_from(self.rng.below(1400)).unwrap() * 10 + 3;
        let (mut at, mut times, mut away) = (phase, Vec::new(), 0);
        while at < LENGTH_S * 1000 {
            let apart = match pace {
                Pace::Uneven => {
                    let apart_max = if self.rng.below(5) == 0 { 240 } else { 30 };
                    1 + self.rng.below(apart_max)
                }
                _ => 15,
            };
            let half = LENGTH_S * 500;
            let is_there = match pace {
                Pace::FirstHalf => at < half,
                Pace::SecondHalf => at >= half,
                _ => true,
            };
            if pace == Pace::Gaps && self.rng.below(25) == 0 {
                away = self.rng.below(40);
                if self.rng.below(2) == 0 {
                    times.push((at, true));
                    at += 15_000;
                }
            }
            if is_there && away == 0 {
                times.push((at, false));
            }
            away = away.saturating_sub(1);
            at += i64::try_from(apart).unwrap() * 1000;
        }
        if pace == Pace::FirstHalf {
            times.push((LENGTH_S * 500 + 15_003, true));
        }
        times
    }

    fn add(&mut self, labels: &[(&str, &str)], course: Course, pace: Pace) {
        let mut value = self.rng.below(800) as f64 / 8.0;
        let mut samples = Vec::new();
        for (at, stale) in self.times(pace) {
            let luck = self.rng.below(40);
            let step = self.rng.below(100) as f64 / 8.0;
            value = match course {
                Course::Counter if luck == 0 => step,
                Course::Counter if luck < 8 => value,
                Course::Counter => value + step.floor(),
                Course::Gauge | Course::Finite => value + step - 6.25,
                Course::Bytes => (value * 7.0 + step * 131_072.0).floor() % 34_359_738_368.0,
                Course::Up => f64::from(luck != 0),
                Course::Always(number) => f64::from(number),
            };
            let bits = match (course, luck) {
                _ if stale => STALE,
                (Course::Gauge, 0) => f64::NAN.to_bits(),
                (Course::Gauge, 1) => f64::INFINITY.to_bits(),
                (Course::Gauge, 2) => f64::NEG_INFINITY.to_bits(),
                (Course::Gauge, 3) => (-0.0f64).to_bits(),
                _ => value.to_bits(),
            };
            samples.push((BEGIN_S * 1000 + at, bits));
        }
        let mut labels: Vec<_> =
            labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        labels.sort();
        self.series.push(Series { labels, samples });
    }

    /// Classic buckets that count the same observations, with their sum and count.
    fn add_histogram(&mut self, job: &str, instance: &str, pace: Pace) {
        const BOUNDS: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.5, 10.0, f64::INFINITY];
        const LE: [&str; 7] = ["0.125", "0.25", "0.5", "1", "2.5", "10", "+Inf"];
        let times = self.times(pace);
        let (mut counts, mut sum) = ([0u32; 7], 0.0);
        let mut samples = vec![Vec::new(); 9];
        for (at, stale) in times {
            if self.rng.below(60) == 0 {
                (counts, sum) = ([0; 7], 0.0);
            }
            for _ in 0..self.rng.below(12) {
                let seen = self.rng.below(100) as f64 / 8.0;
                sum += seen;
                for (count, bound) in counts.iter_mut().zip(BOUNDS) {
                    *count += u32::from(seen <= bound);
                }
            }
            let mut values: Vec<f64> = counts.iter().map(|count| f64::from(*count)).collect();
            values.extend([f64::from(counts[6]), sum]);
            for (samples, value) in samples.iter_mut().zip(values) {
                let bits = if stale { STALE } else { value.to_bits() };
                samples.push((BEGIN_S * 1000 + at, bits));
            }
        }
        for (at, samples) in samples.into_iter().enumerate() {
            let name = match at {
                7 => "latency_seconds_count",
                8 => "latency_seconds_sum",
                _ => "latency_seconds_bucket",
            };
            let mut labels = vec![("__name__", name), ("instance", instance), ("job", job)];
            labels.extend(LE.get(at).map(|le| ("le", *le)));
            let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            self.series.push(Series { labels, samples });
        }
    }
}

/// All series.
pub fn series() -> Vec<Series> {
    let mut fleet = Fleet { rng: Rng::new(42), series: Vec::new() };
    for (j, job) in ["api", "db", "web"].into_iter().enumerate() {
        for (i, instance) in ["a:1", "b:1", "c:2"].into_iter().enumerate() {
            let pace = if (i + j) % 2 == 0 { Pace::Gaps } else { Pace::Even };
            let of = |name| [("__name__", name), ("job", job), ("instance", instance)];
            for code in ["200", "404", "500"] {
                if (job, code) != ("db", "404") {
                    let labels = [&of("requests_total")[..], &[("code", code)]].concat();
                    fleet.add(&labels, Course::Counter, pace);
                }
            }
            fleet.add(&of("temperature"), Course::Gauge, pace);
            fleet.add(&of("load"), Course::Finite, Pace::Even);
            fleet.add(&of("memory_bytes"), Course::Bytes, pace);
            fleet.add(&of("up"), Course::Up, Pace::Even);
            let version = [("version", ["1.0", "1.1"][i % 2])];
            fleet.add(&[&of("build_info")[..], &version].concat(), Course::Always(1), Pace::Even);
            if i < 2 && j < 2 {
                fleet.add_histogram(job, instance, pace);
            }
        }
        if job != "db" {
            fleet.add(&[("__name__", "quota"), ("job", job)], Course::Always(100), Pace::Even);
        }
        fleet.add(&[("__name__", "gone"), ("job", job)], Course::Finite, Pace::FirstHalf);
        fleet.add(&[("__name__", "late"), ("job", job)], Course::Counter, Pace::SecondHalf);
    }
    for labels in [&[("a", "x"), ("b", "1")][..], &[("a", "x")], &[("a", "y"), ("b", "1")], &[]] {
        let labels = [&[("__name__", "uneven")], labels].concat();
        fleet.add(&labels, Course::Finite, Pace::Uneven);
        let labels = [&[("__name__", "uneven_total")], &labels[1..]].concat();
        fleet.add(&labels, Course::Counter, Pace::Uneven);
    }
    fleet.add(&[("__name__", "answer")], Course::Always(42), Pace::Even);
    fleet.series
}

/// The requests that bring all of it, in order of time.
pub fn requests() -> Vec<crate::remote_write::Request> {
    const PART_S: i64 = 300;
    let all = series();
    let parts = (BEGIN_S..=BEGIN_S + LENGTH_S).step_by(usize::try_from(PART_S).unwrap());
    let part = |begin: i64| -> Vec<Series> {
        let is_in = |at: i64| (begin * 1000..(begin + PART_S) * 1000).contains(&at);
        let of = |series: &Series| Series {
            labels: series.labels.clone(),
            samples: series.samples.iter().copied().filter(|(at, _)| is_in(*at)).collect(),
        };
        all.iter().map(of).filter(|series| !series.samples.is_empty()).collect()
    };
    parts
        .map(part)
        .filter(|part| !part.is_empty())
        .map(|part| request(&part, Version::V1, Packed::Snappy))
        .collect()
}
