//! The `*_over_time` family but for sums: extremes, counts, ends, and what needs all of a window's values in order.
//!
//! Source: `promql/functions.go`.

use crate::query::kahan::Kahan;
use crate::query::leaf::Param;
use crate::query::quantile::quantile;
use crate::query::value::ABSENT;
use crate::query::window::{Kernel, Window};

/// The smallest or largest value of each window; NaN only if nothing else is in it.
///
/// A queue of two stacks: extremes of all suffixes of the older samples, and one extreme over the newer ones. Each sample
/// is looked at twice, however many windows see it.
#[derive(Debug)]
pub(in crate::query) struct Extreme {
    largest: bool,
    /// The extremes of the older samples' suffixes; the last one is that of all of them, from `suffix_lo` on.
    suffixes: Vec<f64>,
    suffix_lo: usize,
    /// Samples from here on are the newer ones.
    middle: usize,
    /// The extreme of the newer samples that have been looked at.
    newer: f64,
    /// Newer samples before this one have been looked at.
    seen: usize,
}

impl Extreme {
    /// `min_over_time`
    pub(in crate::query) fn smallest() -> Self {
        Self {
            largest: false,
            suffixes: Vec::new(),
            suffix_lo: 0,
            middle: 0,
            newer: f64::NAN,
            seen: 0,
        }
    }

    /// `max_over_time`
    pub(in crate::query) fn largest() -> Self {
        Self { largest: true, ..Self::smallest() }
    }

    /// The extreme of an earlier and a later one.
    #[inline(always)]
    fn of(&self, earlier: f64, later: f64) -> f64 {
        let beats = if self.largest { later > earlier } else { later < earlier };
        if beats || earlier.is_nan() { later } else { earlier }
    }
}

impl Kernel for Extreme {
    fn reset(&mut self) {
        self.suffixes.clear();
        (self.suffix_lo, self.middle, self.seen) = (0, 0, 0);
        self.newer = f64::NAN;
    }

    fn shrink(&mut self, count: usize) {
        self.suffix_lo = self.suffix_lo.saturating_sub(count);
        self.middle = self.middle.saturating_sub(count);
        self.seen = self.seen.saturating_sub(count);
    }

    #[inline(always)]
    fn value(&mut self, window: &Window<'_>) -> f64 {
        if window.lo >= self.middle {
            self.suffixes.clear();
            let mut extreme = f64::NAN;
            for v in window.values().iter().rev() {
                extreme = self.of(*v, extreme);
                self.suffixes.push(extreme);
            }
            (self.middle, self.seen) = (window.hi, window.hi);
            self.newer = f64::NAN;
        } else {
            self.suffixes.truncate(self.middle - window.lo);
            for v in window.vs.get(self.seen..window.hi).unwrap_or_default() {
                self.newer = self.of(self.newer, *v);
            }
            self.seen = window.hi;
        }
        let older = self.suffixes.last().copied().unwrap_or(f64::NAN);
        self.of(older, self.newer)
    }
}

/// What a window's ends and size say.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) enum Ends {
    /// `count_over_time`
    Count,
    /// `present_over_time`
    Present,
    /// `first_over_time`
    First,
    /// `last_over_time`
    Last,
    /// `ts_of_first_over_time`
    TimeOfFirst,
    /// `ts_of_last_over_time`
    TimeOfLast,
}

impl Kernel for Ends {
    #[inline(always)]
    fn value(&mut self, window: &Window<'_>) -> f64 {
        match self {
            Self::Count => window.len() as f64,
            Self::Present => 1.0,
            Self::First => window.first().1,
            Self::Last => window.last().1,
            Self::TimeOfFirst => window.first().0 as f64 / 1000.0,
            Self::TimeOfLast => window.last().0 as f64 / 1000.0,
        }
    }
}

/// A function that reads every value of every window.
#[derive(Debug)]
pub(in crate::query) enum Scan {
    /// `stddev_over_time`
    Stddev,
    /// `stdvar_over_time`
    Stdvar,
    /// `quantile_over_time`: the quantile, room for sorting, and the quantiles outside of 0 to 1 that were asked for.
    Quantile(Param, Vec<f64>, Vec<f64>),
    /// `mad_over_time`
    Mad(Vec<f64>),
    /// `ts_of_min_over_time`
    TimeOfMin,
    /// `ts_of_max_over_time`
    TimeOfMax,
    /// `double_exponential_smoothing`: factors of level and trend, and what is wrong with them.
    Smoothing(Param, Param, Option<String>),
}

impl Scan {
    /// The quantiles outside of 0 to 1 that windows were asked for, each once in a row.
    pub(in crate::query) fn invalid_quantiles(&self) -> &[f64] {
        if let Self::Quantile(_, _, invalid) = self { invalid } else { &[] }
    }

    /// The quantile that the window of `step` is asked for, noted if it is none.
    pub(super) fn asked(q: &Param, step: usize, invalid: &mut Vec<f64>) -> f64 {
        let q = q.at(step);
        if !(0.0..=1.0).contains(&q) && invalid.last().is_none_or(|last| !(*last == q)) {
            invalid.push(q);
        }
        q
    }

    /// What makes the query fail, if anything does.
    pub(in crate::query) fn failure(&self) -> Option<&str> {
        if let Self::Smoothing(_, _, failure) = self { failure.as_deref() } else { None }
    }
}

impl Kernel for Scan {
    const SCANS: bool = true;

    fn value(&mut self, window: &Window<'_>) -> f64 {
        match self {
            Self::Stddev => variance(window.values()).sqrt(),
            Self::Stdvar => variance(window.values()),
            Self::Quantile(q, scratch, invalid) => {
                let q = Self::asked(q, window.step, invalid);
                scratch.clear();
                scratch.extend_from_slice(window.values());
                quantile(q, scratch)
            }
            Self::Mad(scratch) => median_deviation(window.values(), scratch),
            Self::TimeOfMin | Self::TimeOfMax => {
                let mut best = Best::new(matches!(self, Self::TimeOfMax), window.first());
                best.add(window.times(), window.values());
                best.seconds()
            }
            Self::Smoothing(level, trend, failure) => {
                let mut smoothing = Smoothing::new(level, trend, window.step, failure);
                smoothing.add(window.values());
                smoothing.value()
            }
        }
    }
}

/// The population variance, by Welford's method with both sums compensated.
fn variance(values: &[f64]) -> f64 {
    let mut variance = Variance::default();
    variance.add(values);
    variance.value()
}

/// The variance of the values so far.
pub(super) struct Variance {
    mean: Kahan,
    squares: Kahan,
    count: f64,
}

impl Default for Variance {
    fn default() -> Self {
        Self { mean: Kahan::ZERO, squares: Kahan::ZERO, count: 0.0 }
    }
}

impl Variance {
    pub(super) fn add(&mut self, values: &[f64]) {
        let Self { mut mean, mut squares, mut count } = *self;
        for v in values {
            count += 1.0;
            let delta = v - mean.total();
            mean = mean.plus(delta / count);
            squares = squares.plus(delta * (v - mean.total()));
        }
        *self = Self { mean, squares, count };
    }

    pub(super) fn value(&self) -> f64 {
        self.squares.total() / self.count
    }
}

/// The median of the distances from the median; NaN if any value is.
fn median_deviation(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    scratch.clear();
    scratch.extend_from_slice(values);
    let median = quantile(0.5, scratch);
    for v in scratch.iter_mut() {
        *v = (*v - median).abs();
    }
    quantile(0.5, scratch)
}

/// The last of the best values so far, and its time.
pub(super) struct Best {
    largest: bool,
    t: i64,
    v: f64,
}

impl Best {
    /// Looks for the largest or the smallest value, of which the first is this.
    pub(super) fn new(largest: bool, (t, v): (i64, f64)) -> Self {
        Self { largest, t, v }
    }

    pub(super) fn add(&mut self, ts: &[i64], vs: &[f64]) {
        for (t, v) in ts.iter().zip(vs) {
            let beats = if self.largest { *v >= self.v } else { *v <= self.v };
            if beats || self.v.is_nan() {
                (self.t, self.v) = (*t, *v);
            }
        }
    }

    /// Its time in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.t as f64 / 1000.0
    }
}

/// What is wrong with the factors of smoothing: both lie between 0 and 1.
fn wrong_factor(level: f64, trend: f64) -> Option<String> {
    let wrong = |v: f64| v <= 0.0 || v >= 1.0;
    if wrong(level) {
        Some(format!("invalid smoothing factor. Expected: 0 < sf < 1, got: {level:.6}"))
    } else if wrong(trend) {
        Some(format!("invalid trend factor. Expected: 0 < tf < 1, got: {trend:.6}"))
    } else {
        None
    }
}

/// Holt's double exponential smoothing of the values so far; needs two of them.
pub(super) struct Smoothing {
    level_factor: f64,
    trend_factor: f64,
    count: usize,
    before: f64,
    level: f64,
    trend: f64,
}

impl Smoothing {
    /// With the factors that hold at `step`; what is wrong with them is noted.
    pub(super) fn new(
        level: &Param,
        trend: &Param,
        step: usize,
        failure: &mut Option<String>,
    ) -> Self {
        let (level_factor, trend_factor) = (level.at(step), trend.at(step));
        if let Some(wrong) = wrong_factor(level_factor, trend_factor) {
            failure.get_or_insert(wrong);
        }
        Self { level_factor, trend_factor, count: 0, before: 0.0, level: 0.0, trend: 0.0 }
    }

    pub(super) fn add(&mut self, values: &[f64]) {
        let Self { level_factor, trend_factor, .. } = *self;
        for v in values {
            match self.count {
                0 => {
                    self.level = *v;
                    self.count = 1;
                    continue;
                }
                1 => self.trend = v - self.level,
                _ => {
                    self.trend = trend_factor * (self.level - self.before)
                        + (1.0 - trend_factor) * self.trend;
                }
            }
            self.count += 1;
            let next = level_factor * v + (1.0 - level_factor) * (self.level + self.trend);
            (self.before, self.level) = (self.level, next);
        }
    }

    pub(super) fn value(&self) -> f64 {
        if self.count < 2 { ABSENT } else { self.level }
    }
}
