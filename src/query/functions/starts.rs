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
    use super::*;

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
