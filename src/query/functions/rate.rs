//! `rate`, `increase` and `delta`, which extrapolate to the edges of their windows, and the functions over neighbouring
//! samples: `irate`, `idelta`, `resets`, `changes`.
//!
//! Source: `promql/functions.go`, `extrapolatedRate` and `instantValue`.

use crate::query::leaf::Shape;
use crate::query::value::ABSENT;
use crate::query::window::{Kernel, RUN_WINDOWS, Run, Window};

/// How many neighbouring samples are looked at together for resets.
const STRETCH: usize = 32;

/// How much the samples of a window rise over the whole window.
#[derive(Debug)]
pub(in crate::query) struct Extrapolated {
    /// Falling values are resets?
    counter: bool,
    /// What the rise is divided by: the windows' length in seconds, or 1.
    seconds: f64,
    /// Buffered samples that are below the one before them, in order.
    resets: Vec<usize>,
}

impl Extrapolated {
    /// `rate` over windows of `length` milliseconds.
    pub(in crate::query) fn rate(length: i64) -> Self {
        Self { counter: true, seconds: length as f64 / 1000.0, resets: Vec::new() }
    }

    /// `increase`
    pub(in crate::query) fn increase() -> Self {
        Self { seconds: 1.0, ..Self::rate(0) }
    }

    /// `delta`
    pub(in crate::query) fn delta() -> Self {
        Self { counter: false, ..Self::increase() }
    }

    /// Adds to the rise of each window what the resets inside of it have hidden, in order of time.
    fn add_resets(&self, run: &Run<'_>, rises: &mut [f64]) {
        let (Some((lo, _)), Some((_, hi))) = (run.bounds.first(), run.bounds.last()) else {
            return;
        };
        let mut windows = run.bounds;
        let mut rises = rises.get_mut(..windows.len()).unwrap_or_default();
        let before = self.resets.partition_point(|reset| reset <= lo);
        for reset in self.resets.iter().skip(before).take_while(|reset| *reset < hi) {
            let hidden = run.vs.get(reset - 1).copied().unwrap_or(0.0);
            let passed = windows.iter().take_while(|(_, hi)| hi <= reset).count();
            windows = windows.get(passed..).unwrap_or_default();
            rises = rises.get_mut(passed..).unwrap_or_default();
            let inside = windows.iter().zip(&mut *rises).take_while(|((lo, _), _)| lo < reset);
            inside.for_each(|(_, rise)| *rise += hidden);
        }
    }

    /// Writes the value of each window.
    ///
    /// Hardly a window needs more than a sum and two divisions: those are done for all of them without a branch, several
    /// at a time, and what may need more is found and done anew.
    #[inline(always)]
    fn extrapolate(&self, edges: &Edges, seconds: impl Fn(f64) -> f64 + Copy, out: &mut [f64]) {
        let mut is_any_special = 0;
        for ((gaps, rise, first), out) in edges.windows().zip(&mut *out) {
            is_any_special |= u64::from(self.is_special(&gaps, rise, first, seconds));
            let value = rise * (gaps.plain_factor(seconds) / self.seconds);
            *out = if gaps.intervals == 0.0 { ABSENT } else { value };
        }
        if is_any_special == 0 {
            return;
        }
        for ((gaps, rise, first), out) in edges.windows().zip(out) {
            if self.is_special(&gaps, rise, first, seconds) && gaps.intervals > 0.0 {
                let zero = self.begins(rise, first).then_some(first);
                *out = rise * (gaps.factor(rise, zero, seconds) / self.seconds);
            }
        }
    }

    /// Writes the value of each window of a run whose windows lie `stride` samples apart and are alike but for their values:
    /// what is made of times alone is made once.
    #[inline(always)]
    fn extrapolate_alike(&self, run: &Run<'_>, stride: usize, out: &mut [f64]) {
        let sample = |at: usize| Some((*run.ts.get(at)?, run.vs.get(at..)?));
        let Some((lo, hi)) = run.bounds.first().copied() else {
            return;
        };
        let (Some((first_t, firsts)), Some((last_t, lasts))) = (sample(lo), sample(hi - 1)) else {
            return;
        };
        let gaps = Gaps {
            span: last_t.wrapping_sub(first_t) as f64,
            start: first_t.wrapping_sub(run.end.wrapping_sub(run.shape.length)) as f64,
            end: run.end.wrapping_sub(last_t) as f64,
            intervals: (hi - lo - 1) as f64,
        };
        if gaps.intervals == 0.0 {
            out.fill(ABSENT);
            return;
        }
        let (firsts, mut rises) = (each(firsts, stride), each(lasts, stride));
        rises.iter_mut().zip(&firsts).for_each(|(rise, first)| *rise -= first);
        self.add_resets(run, &mut rises);
        let seconds = |ms: f64| ms / 1000.0;
        let factor = gaps.factor(0.0, None, seconds) / self.seconds;
        let mut may_any_begin = 0;
        for ((out, rise), first) in out.iter_mut().zip(&rises).zip(&firsts) {
            *out = rise * factor;
            let may_begin =
                self.begins(*rise, *first) & gaps.may_reach_zero(*rise, *first, seconds);
            may_any_begin |= u64::from(may_begin);
        }
        if may_any_begin == 0 {
            return;
        }
        for ((out, rise), first) in out.iter_mut().zip(&rises).zip(&firsts) {
            if self.begins(*rise, *first) && gaps.may_reach_zero(*rise, *first, seconds) {
                *out = rise * (gaps.factor(*rise, Some(*first), seconds) / self.seconds);
            }
        }
    }

    /// May a counter that rises by `rise` from `first` have begun in a window?
    #[inline(always)]
    fn begins(&self, rise: f64, first: f64) -> bool {
        self.counter & (rise > 0.0) & (first >= 0.0)
    }

    /// May a window need more than [`Gaps::plain_factor`]?
    #[inline(always)]
    fn is_special(&self, gaps: &Gaps, rise: f64, first: f64, seconds: impl Fn(f64) -> f64) -> bool {
        gaps.are_wide() | (self.begins(rise, first) & gaps.may_reach_zero(rise, first, seconds))
    }
}

/// The first of `vs`, and each `stride`-th from there on; zeros behind the last.
#[inline(always)]
fn each(vs: &[f64], stride: usize) -> [f64; RUN_WINDOWS] {
    let mut some = [0.0; RUN_WINDOWS];
    if stride == 1 {
        some.iter_mut().zip(vs).for_each(|(to, v)| *to = *v);
    } else {
        some.iter_mut().zip(vs.iter().step_by(stride)).for_each(|(to, v)| *to = *v);
    }
    some
}

/// What is to be known of the windows of a run, each at its place: times in milliseconds.
struct Edges {
    /// By how much the last sample lies above the first one, resets undone.
    rise: [f64; RUN_WINDOWS],
    /// The first sample's value.
    first: [f64; RUN_WINDOWS],
    span: [f64; RUN_WINDOWS],
    start: [f64; RUN_WINDOWS],
    end: [f64; RUN_WINDOWS],
    intervals: [f64; RUN_WINDOWS],
}

impl Edges {
    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "the loops over windows end at RUN_WINDOWS")]
    fn of_run(run: &Run<'_>, number: impl Fn(i64) -> f64) -> Self {
        let none = [0.0; RUN_WINDOWS];
        let mut edges =
            Self { rise: none, first: none, span: none, start: none, end: none, intervals: none };
        let count = run.bounds.len().min(RUN_WINDOWS);
        let (mut first_t, mut last_t) = ([0; RUN_WINDOWS], [0; RUN_WINDOWS]);
        for i in 0..count {
            let (lo, hi) = run.bounds[i];
            let at = |i: usize| match (run.ts.get(i), run.vs.get(i)) {
                (Some(t), Some(v)) => (*t, *v),
                _ => (0, f64::NAN),
            };
            let ((from_t, from), (to_t, to)) = (at(lo), at(hi.wrapping_sub(1)));
            (first_t[i], last_t[i]) = (from_t, to_t);
            (edges.first[i], edges.rise[i]) = (from, to - from);
            edges.intervals[i] = number((hi - lo - 1) as i64);
        }
        let mut window_end = run.end;
        for i in 0..count {
            let window_start = window_end.wrapping_sub(run.shape.length);
            edges.span[i] = number(last_t[i].wrapping_sub(first_t[i]));
            edges.start[i] = number(first_t[i].wrapping_sub(window_start));
            edges.end[i] = number(window_end.wrapping_sub(last_t[i]));
            window_end = window_end.wrapping_add(run.shape.end_step);
        }
        edges
    }

    /// The gaps, the rise and the first value of each window, and of those that are not there.
    #[inline(always)]
    fn windows(&self) -> impl Iterator<Item = (Gaps, f64, f64)> {
        let Self { rise, first, span, start, end, intervals } = self;
        let gaps = span.iter().zip(start).zip(end).zip(intervals);
        gaps.zip(rise).zip(first).map(|((gaps, rise), first)| {
            let (((span, start), end), intervals) = gaps;
            let [span, start, end, intervals] = [*span, *start, *end, *intervals];
            (Gaps { span, start, end, intervals }, *rise, *first)
        })
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

    fn value(&mut self, window: &Window<'_>) -> f64 {
        let Window { ts, vs, lo, hi, end, length, step, grid } = *window;
        let shape = Shape { grid: *grid, first_end: end, end_step: 0, length };
        let mut values = [ABSENT];
        let (bounds, shape) = (&[(lo, hi)], &shape);
        self.values(&Run { ts, vs, bounds, end, shape, step, stride: None }, &mut values);
        let [value] = values;
        value
    }

    #[inline(always)]
    fn values(&mut self, run: &Run<'_>, out: &mut [f64]) {
        if let Some(stride) = run.stride {
            self.extrapolate_alike(run, stride, out);
        } else if run.shape.length < SHORT_MS {
            let mut edges = Edges::of_run(run, short_number);
            self.add_resets(run, &mut edges.rise);
            self.extrapolate(&edges, short_seconds, out);
        } else {
            let mut edges = Edges::of_run(run, |ms| ms as f64);
            self.add_resets(run, &mut edges.rise);
            self.extrapolate(&edges, |ms| ms / 1000.0, out);
        }
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
        if self.are_wide() {
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
            && reaches_zero(sampled, to_start, rise, first)
        {
            // A counter does not begin below zero.
            let to_zero = sampled * (first / rise);
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled }
    }

    /// The same where both edges are near, and zero is far.
    #[inline(always)]
    fn plain_factor(&self, seconds: impl Fn(f64) -> f64) -> f64 {
        let [span, start, end] = [seconds(self.span), seconds(self.start), seconds(self.end)];
        if span == 0.0 { 1.0 } else { (span + start + end) / span }
    }

    /// May a sample be missing at an edge?
    #[inline(always)]
    fn are_wide(&self) -> bool {
        let near = self.span * (1.1 - MARGIN);
        (self.start * self.intervals >= near) | (self.end * self.intervals >= near)
    }

    /// May a counter that rises by `rise` from `first` have begun inside of the window? With the wider gap that
    /// [`are_wide`](Self::are_wide) may take away.
    #[inline(always)]
    fn may_reach_zero(&self, rise: f64, first: f64, seconds: impl Fn(f64) -> f64) -> bool {
        reaches_zero(seconds(self.span), seconds(self.start), rise, first)
    }
}

/// Does a line that rises by `rise` in `sampled` seconds from `first` come from zero within `to_start` seconds before, or nearly?
#[inline(always)]
fn reaches_zero(sampled: f64, to_start: f64, rise: f64, first: f64) -> bool {
    first * sampled <= to_start * rise * (1.0 + MARGIN)
}

/// Windows shorter than this, some 18 hours, have times of at most 26 bits.
const SHORT_MS: i64 = 1 << 26;

/// A whole number from 0 up to [`SHORT_MS`] as a float, by the bits of 2^52 plus it: processors convert several of those at once.
#[inline(always)]
fn short_number(ms: i64) -> f64 {
    const BIAS: f64 = (1_u64 << 52) as f64;
    f64::from_bits(BIAS.to_bits() | ms.cast_unsigned()) - BIAS
}

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
