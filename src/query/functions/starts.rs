//! What start timestamps tell about counters: that one was reset though its values hide it, and since when the first sample
//! of a window counts.
//!
//! Source: `promql/functions.go`: `isStartTimestampReset`, `checkStartTimeOverlap`, `extrapolatedRate`.

use super::histograms::{Oddities, Oddity};
use crate::query::leaf::RangeFunction;
use crate::query::mixed::MixedWindow;
use crate::query::value::Point;

/// When a sample is, and since when its counter counts; zero if that is not known. In milliseconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) struct Span {
    /// Since when.
    pub start: i64,
    /// When.
    pub t: i64,
}

impl Span {
    /// Has the counter begun anew since `before`?
    pub(super) fn is_reset_after(self, before: Self) -> bool {
        // A start at the sample itself is what some write who do not know one.
        let is_known = |span: Self| span.start != 0 && span.start < span.t;
        if !is_known(self) || self.start < before.t {
            return false;
        }
        // Who counts anew with every sample starts where the one before ended; who does not know its start says the same of
        // its second sample.
        self.start > before.t || is_known(before)
    }

    /// Does it begin within what `before` has counted already, and not together with it?
    pub(super) fn overlaps(self, before: Self) -> bool {
        self.start != 0 && self.start < before.t && self.start != before.start
    }
}

/// Which of neighbouring samples were reset, by their starts; notes it once if they overlap.
pub(super) fn resets(spans: &[Span], oddities: &mut Oddities) -> Vec<bool> {
    let pairs = || spans.iter().zip(spans.iter().skip(1));
    if pairs().any(|(before, span)| span.overlaps(*before)) {
        oddities.add(Oddity::StartOverlap(1));
    }
    pairs().map(|(before, span)| span.is_reset_after(*before)).collect()
}

/// Where the samples of a window lie in it.
pub(super) struct Placed {
    /// The first one.
    pub first: Span,
    /// When the last one is.
    pub last_t: i64,
    /// How many there are.
    pub count: usize,
    /// The window: its start, which is not in it, and its end, which is.
    pub window: (i64, i64),
}

impl Placed {
    /// Is it known that the counter was zero within the window, before the first sample?
    pub(super) fn begins_within(&self) -> bool {
        let Span { start, t } = self.first;
        start != 0 && start > self.window.0 && start < t
    }

    /// By how much larger the rise over the whole window is taken to be than the one between samples; `None` if one sample
    /// is all there is. With a zero in the window the rise is counted from there.
    ///
    /// - `zero`: of a counter that cannot have begun below zero, its first value and its rise.
    pub(super) fn factor(&self, zero: Option<(f64, f64)>) -> Option<f64> {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let mut sampled = seconds(self.last_t.saturating_sub(self.first.t));
        let intervals = self.count.saturating_sub(1);
        let spacing = if intervals > 0 { sampled / intervals as f64 } else { 0.0 };
        let threshold = spacing * 1.1;
        let mut to_start = seconds(self.first.t.saturating_sub(self.window.0));
        let mut to_end = seconds(self.window.1.saturating_sub(self.last_t));
        if zero.is_some_and(|_| self.begins_within()) {
            to_start = 0.0;
            sampled = seconds(self.last_t.saturating_sub(self.first.start));
        } else if intervals == 0 {
            return None;
        } else {
            if to_start >= threshold {
                to_start = spacing / 2.0;
            }
            if let Some((first, rise)) = zero
                && rise > 0.0
                && first >= 0.0
            {
                let to_zero = sampled * (first / rise);
                if to_zero < to_start {
                    to_start = to_zero;
                }
            }
        }
        if to_end >= threshold {
            to_end = spacing / 2.0;
        }
        Some(if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled })
    }
}

/// `rate` and `increase` of floats some of which have starts.
pub(super) fn extrapolated(
    function: &RangeFunction,
    window: &MixedWindow<'_>,
    oddities: &mut Oddities,
) -> Option<Point> {
    let spans: Vec<Span> = window.iter().map(|sample| sample.span()).collect();
    let (first, last) = (*window.vs.first()?, *window.vs.last()?);
    let mut rise = last - first;
    let pairs = window.vs.iter().zip(window.vs.iter().skip(1));
    for ((before, v), is_reset) in pairs.zip(resets(&spans, oddities)) {
        if v < before || is_reset {
            rise += before;
        }
    }
    let placed = Placed::of(&spans, window)?;
    let factor = placed.factor(Some((first, rise)))?;
    if placed.begins_within() {
        rise += first;
    }
    let seconds = window.length as f64 / 1000.0;
    let factor = if *function == RangeFunction::Rate { factor / seconds } else { factor };
    Some(Point::Float(rise * factor))
}

impl Placed {
    /// Where these samples lie in `window`; `None` if there are none.
    pub(super) fn of(spans: &[Span], window: &MixedWindow<'_>) -> Option<Self> {
        let (first, last_t) = (*spans.first()?, spans.last()?.t);
        let start = window.end.saturating_sub(window.length);
        Some(Self { first, last_t, count: spans.len(), window: (start, window.end) })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_lite::future::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Sample, SampleStart, SamplesRef, TimestampMs};
    use crate::query::ast::TextRange;
    use crate::query::fold::SeriesFold;
    use crate::query::grid::Grid;
    use crate::query::leaf::{Fold, Shape};
    use crate::query::pace::{Pacer, Unpaced};
    use crate::query::value::is_absent;

    /// Samples with their starts.
    type Started = Vec<(Span, f64)>;

    /// What `function` gives at each step for these samples, which come in pieces.
    fn folded(function: RangeFunction, shape: Shape, pieces: &[&[(Span, f64)]]) -> Vec<f64> {
        let fold = Fold::Range(function);
        let mut fold = SeriesFold::new(shape, &fold, 10_000, TextRange::default());
        let points = Cell::new(0);
        let pacer = Pacer::new(&Unpaced, &points);
        fold.begin();
        for piece in pieces {
            let floats = piece.iter().map(|(span, v)| Sample { t: TimestampMs(span.t), v: *v });
            let known = piece.iter().map(|(span, _)| span).filter(|span| span.start != 0);
            let start = |span: &Span| TimestampMs(span.start);
            let starts =
                known.map(|span| SampleStart { t: TimestampMs(span.t), start: start(span) });
            let (floats, starts): (Vec<_>, Vec<_>) = (floats.collect(), starts.collect());
            let samples = SamplesRef { floats: &floats, histograms: &[], starts: &starts };
            block_on(fold.feed_any(samples, pacer)).unwrap();
        }
        let folded = block_on(fold.end(pacer)).unwrap();
        let mut out = vec![f64::NAN; shape.grid.count];
        for (step, v) in (folded.first..).zip(folded.values).filter(|(_, v)| !is_absent(**v)) {
            out[step] = *v;
        }
        out
    }

    fn started() -> impl Strategy<Value = Started> {
        // Where each one starts: not known, as the one before, at the sample before, or so long before itself.
        let start = prop_oneof![3 => Just(None), 5 => Just(Some(-1)), 1 => Just(Some(0)), 3 => (1i64..9000).prop_map(Some)];
        proptest::collection::vec((1i64..4000, start, 0u8..20), 0..40).prop_map(|steps| {
            let mut before = Span { start: 0, t: -10_000 };
            let next = |(gap, start, v)| {
                let t = before.t + gap;
                let start = match start {
                    None => 0,
                    Some(-1) => before.start,
                    Some(0) => before.t,
                    Some(ago) => t - ago,
                };
                before = Span { start, t };
                (before, f64::from(v))
            };
            steps.into_iter().map(next).collect()
        })
    }

    proptest! {
        #[test]
        fn starts_matter_alike_in_pieces_of_any_length_and_only_where_they_are_known(
            samples in started(), cuts in (0usize..40, 0usize..40),
            (start, step, count, length) in (-9000i64..60_000, 1i64..9000, 1usize..15, 1i64..25_000),
        ) {
            use RangeFunction as F;
            let grid = Grid { start, step, count, is_instant: false };
            let shape = Shape { grid, first_end: start, end_step: step, length };
            let cut = |at: usize| at.min(samples.len());
            let (first, last) = (cut(cuts.0.min(cuts.1)), cut(cuts.0.max(cuts.1)));
            let pieces = [&samples[..first], &samples[first..last], &samples[last..]];
            let unknown: Started =
                samples.iter().map(|(span, v)| (Span { start: 0, ..*span }, *v)).collect();
            // One start far before all windows takes a series away from the quick way.
            let far = Span { start: -90_000, t: -80_000 };
            let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
            for function in [F::Rate, F::Increase, F::Irate, F::Resets] {
                let whole = folded(function.clone(), shape, &[&samples]);
                let in_pieces = folded(function.clone(), shape, &pieces);
                prop_assert!(same(&whole, &in_pieces), "{function:?}: {whole:?} {in_pieces:?}");
                let quick = folded(function.clone(), shape, &[&unknown]);
                let slow = folded(function.clone(), shape, &[&[(far, 0.0)], &unknown]);
                prop_assert!(same(&quick, &slow), "{function:?}: {quick:?} {slow:?}");
            }
            let resets = folded(F::Resets, shape, &[&samples]);
            for (step, resets) in resets.into_iter().enumerate() {
                let end = shape.end(step);
                let window: Started = samples.iter().copied().filter(|(span, _)| span.t > end - length && span.t <= end).collect();
                let turns = window.windows(2).filter(|pair| pair[1].1 < pair[0].1 || pair[1].0.is_reset_after(pair[0].0));
                let want = if window.is_empty() { f64::NAN } else { turns.count() as f64 };
                prop_assert!(want.to_bits() == resets.to_bits(), "step {step}: {resets}, should be {want}");
            }
        }
    }

    /// Is the sample with this start at 100 reset after one at 40 with that start? And does it overlap?
    #[track_caller]
    fn check(before: i64, start: i64, is_reset: bool, overlaps: bool) {
        let (before, span) = (Span { start: before, t: 40 }, Span { start, t: 100 });
        assert_eq!((span.is_reset_after(before), span.overlaps(before)), (is_reset, overlaps));
    }

    #[test]
    fn a_counter_that_goes_on_is_not_reset() {
        check(10, 10, false, false);
        check(0, 0, false, false);
        check(10, 0, false, false);
    }

    #[test]
    fn one_that_starts_after_the_sample_before_is_reset() {
        check(10, 41, true, false);
        check(0, 99, true, false);
    }

    #[test]
    fn one_that_starts_with_the_sample_before_is_reset_if_that_knew_its_start() {
        check(10, 40, true, false);
        check(0, 40, false, false);
        check(40, 40, false, false);
        check(41, 40, false, false);
    }

    #[test]
    fn a_start_at_the_sample_itself_or_behind_it_means_nothing() {
        check(10, 100, false, false);
        check(10, 101, false, false);
    }

    #[test]
    fn one_that_starts_before_the_sample_before_overlaps_it() {
        check(10, 30, false, true);
        check(0, 39, false, true);
        check(0, -5, false, true);
    }
}
