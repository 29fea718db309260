//! `rate`, `increase` and `delta`, which extrapolate to the edges of their windows, and the functions over neighbouring
//! samples: `irate`, `idelta`, `resets`, `changes`.
//!
//! Source: `promql/functions.go`, `extrapolatedRate` and `instantValue`.

use crate::query::value::ABSENT;
use crate::query::window::{Kernel, Window};

/// How many neighbouring samples are looked at together for resets.
const STRETCH: usize = 32;

/// How much the samples of a window rise over the whole window.
#[derive(Debug)]
pub(in crate::query) struct Extrapolated {
    /// Falling values are resets?
    counter: bool,
    /// Divide by the window's seconds?
    per_second: bool,
    /// The windows' length in seconds.
    seconds: f64,
    /// Buffered samples that are below the one before them, in order.
    resets: Vec<usize>,
}

impl Extrapolated {
    /// `rate` over windows of `length` milliseconds.
    pub(in crate::query) fn rate(length: i64) -> Self {
        let seconds = length as f64 / 1000.0;
        Self { counter: true, per_second: true, seconds, resets: Vec::new() }
    }

    /// `increase`
    pub(in crate::query) fn increase() -> Self {
        Self { per_second: false, ..Self::rate(0) }
    }

    /// `delta`
    pub(in crate::query) fn delta() -> Self {
        Self { counter: false, ..Self::increase() }
    }

    /// What the resets inside of the window have hidden, added to `rise` in order of time.
    #[inline(always)]
    fn with_resets(&self, mut rise: f64, window: &Window<'_>) -> f64 {
        if self.resets.last().is_none_or(|last| *last <= window.lo) {
            return rise;
        }
        let before = self.resets.partition_point(|reset| *reset <= window.lo);
        for reset in self.resets.iter().skip(before).take_while(|reset| **reset < window.hi) {
            rise += window.sample(reset - 1).1;
        }
        rise
    }
}

impl Kernel for Extrapolated {
    fn reset(&mut self) {
        self.resets.clear();
    }

    fn extend(&mut self, _ts: &[i64], vs: &[f64], from: usize) {
        if !self.counter {
            return;
        }
        let before = from.saturating_sub(1);
        let known = vs.get(before..).unwrap_or_default();
        // Resets are rare: most stretches are found to have none without a branch for each sample.
        for (stretch, first) in (0..).step_by(STRETCH).map_while(|at| Some((known.get(at..)?, at)))
        {
            let stretch = stretch.get(..=STRETCH).unwrap_or(stretch);
            let falls = |pair: &[f64]| matches!(pair, [previous, current] if current < previous);
            if stretch.len() < 2 {
                break;
            }
            if !stretch.windows(2).fold(false, |any, pair| any | falls(pair)) {
                continue;
            }
            let falling = stretch.windows(2).enumerate().filter(|(_, pair)| falls(pair));
            self.resets.extend(falling.map(|(at, _)| before + first + at + 1));
        }
    }

    fn shrink(&mut self, count: usize) {
        // A reset at the new front has lost the sample that it compares with, and no window can see it any more.
        self.resets.retain_mut(|reset| {
            let stays = *reset > count;
            *reset = reset.saturating_sub(count);
            stays
        });
    }

    #[inline(always)]
    fn value(&mut self, window: &Window<'_>) -> f64 {
        if window.len() < 2 {
            return ABSENT;
        }
        let ((first_t, first), (last_t, last)) = (window.first(), window.last());
        let mut rise = last - first;
        if self.counter {
            rise = self.with_resets(rise, window);
        }
        let gaps = Gaps {
            span: (last_t - first_t) as f64,
            start: first_t.saturating_sub(window.end.saturating_sub(window.length)) as f64,
            end: (window.end - last_t) as f64,
            intervals: (window.len() - 1) as f64,
        };
        let zero = (self.counter && rise > 0.0 && first >= 0.0).then_some(first);
        let mut factor = if window.length < SHORT_MS {
            gaps.factor(rise, zero, short_seconds)
        } else {
            gaps.factor(rise, zero, |ms| ms / 1000.0)
        };
        if self.per_second {
            factor /= self.seconds;
        }
        rise * factor
    }
}

/// How far the samples of a window reach, in milliseconds: from the first to the last one, from the window's start to the
/// first, from the last to the window's end; and how many intervals they make.
struct Gaps {
    span: f64,
    start: f64,
    end: f64,
    intervals: f64,
}

impl Gaps {
    /// By how much larger the rise over the whole window is taken to be than the `rise` between its samples. `zero` is
    /// the first sample's value if the series cannot have begun below zero.
    ///
    /// The operations and their order are upstream's, so that the result is, to the last bit. Divisions are what this
    /// costs, so two of them are left out where multiplying shows that their results cannot matter, and three are
    /// `seconds`' to save.
    #[inline(always)]
    fn factor(&self, rise: f64, zero: Option<f64>, seconds: impl Fn(f64) -> f64) -> f64 {
        let [mut to_start, mut to_end] = [seconds(self.start), seconds(self.end)];
        let sampled = seconds(self.span);
        // A sample that is missing at an edge means that the series begins or ends there, half a spacing away.
        let near = self.span * (1.1 - MARGIN);
        if self.start * self.intervals >= near || self.end * self.intervals >= near {
            let spacing = sampled / self.intervals;
            let threshold = spacing * 1.1;
            if to_start >= threshold {
                to_start = spacing / 2.0;
            }
            if to_end >= threshold {
                to_end = spacing / 2.0;
            }
        }
        if let Some(first) = zero
            && first * sampled <= to_start * rise * (1.0 + MARGIN)
        {
            // A counter does not begin below zero.
            let to_zero = sampled * (first / rise);
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled }
    }
}

/// Windows shorter than this, some 18 hours, have times of at most 26 bits.
const SHORT_MS: i64 = 1 << 26;

/// A thousandth in two parts, of which the first has so few bits that a product with 26 more is exact.
const MILLI: f64 = f64::from_bits(0.001_f64.to_bits() & !((1 << 26) - 1));
const MILLI_REST: f64 = (1.0 - 1000.0 * MILLI) / 1000.0;

/// `ms / 1000.0` to the last bit, without dividing, for a whole `ms` below [`SHORT_MS`].
///
/// The first product is exact and the second one's error is below 2^-79 of the result, so the sum is the quotient rounded,
/// unless that lies closer than 2^-26 of its last bit to the middle between two numbers. It does not: an integer over 1000
/// is no such middle, and so at least a 2000th of a last bit away from it.
#[inline(always)]
fn short_seconds(ms: f64) -> f64 {
    ms * MILLI + ms * MILLI_REST
}

/// What a comparison of products leaves to the exact one; far more than rounding can move.
const MARGIN: f64 = 1e-9;

/// The step between a window's last two samples.
#[derive(Debug)]
pub(in crate::query) struct LastStep {
    /// `irate`, not `idelta`?
    pub rate: bool,
}

impl Kernel for LastStep {
    #[inline(always)]
    fn value(&mut self, window: &Window<'_>) -> f64 {
        if window.len() < 2 {
            return ABSENT;
        }
        let (t, v) = window.last();
        let (before_t, before) = window.sample(window.hi - 2);
        if t == before_t {
            return ABSENT;
        }
        // After a reset, a counter has counted what it shows.
        let step = if self.rate && v < before { v } else { v - before };
        if self.rate { step / ((t - before_t) as f64 / 1000.0) } else { step }
    }
}

/// How often neighbouring samples of a window differ.
#[derive(Debug)]
pub(in crate::query) struct Turns {
    /// Does going from the first value to the second count?
    turns: fn(f64, f64) -> bool,
    /// For each buffered sample, how many turns there have been up to it, modulo 2^32.
    counts: Vec<u32>,
}

impl Turns {
    /// `resets`
    pub(in crate::query) fn resets() -> Self {
        Self { turns: |before, v| v < before, counts: Vec::new() }
    }

    /// `changes`
    pub(in crate::query) fn changes() -> Self {
        Self {
            turns: |before, v| v != before && !(v.is_nan() && before.is_nan()),
            counts: Vec::new(),
        }
    }
}

impl Kernel for Turns {
    fn reset(&mut self) {
        self.counts.clear();
    }

    fn extend(&mut self, _ts: &[i64], vs: &[f64], from: usize) {
        let mut count = self.counts.last().copied().unwrap_or(0);
        let mut before = from.checked_sub(1).and_then(|i| vs.get(i)).copied();
        for v in vs.get(from..).unwrap_or_default() {
            if before.is_some_and(|before| (self.turns)(before, *v)) {
                count = count.wrapping_add(1);
            }
            self.counts.push(count);
            before = Some(*v);
        }
    }

    fn shrink(&mut self, count: usize) {
        self.counts.drain(..count.min(self.counts.len()));
    }

    fn value(&mut self, window: &Window<'_>) -> f64 {
        let at = |index: usize| self.counts.get(index).copied().unwrap_or(0);
        f64::from(at(window.hi - 1).wrapping_sub(at(window.lo)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_without_dividing() {
        let all = 0..SHORT_MS;
        for ms in all.clone().step_by(997).chain(0..100_000).chain(SHORT_MS - 100_000..SHORT_MS) {
            assert!(all.contains(&ms));
            let ms = ms as f64;
            assert_eq!(short_seconds(ms).to_bits(), (ms / 1000.0).to_bits(), "{ms}");
        }
    }
}
