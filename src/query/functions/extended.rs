//! What `anchored` and `smoothed` make of a range: its value at each edge is known, so that nothing is extrapolated.
//!
//! ```text
//! samples     o     o      o      o      o       o
//! range             (start                end]
//! anchored          the sample at the start or the last one before it stands for the start, the last one for the end
//! smoothed          what lies on the line between the samples around an edge stands for it
//! ```
//! Windows reach beyond the range by as much as [`Reach`] says. Source: `promql/functions.go`: `extendedRate`,
//! `extendedHistogramRate`, `pickFirstSampleIndices`; `promql/engine.go`: `smoothSeries`, `extendFloats`.

use std::sync::Arc;

use super::histograms::{Oddities, Oddity, turns};
use crate::model::histogram::ResetHint;
use crate::model::{Sample, TimestampMs};
use crate::query::annotation::HistogramOperation;
use crate::query::float_histogram::{FloatHistogram, Incompatible};
use crate::query::leaf::{RangeFunction, Reach};
use crate::query::mixed::MixedWindow;
use crate::query::value::{HistogramAt, Point};

/// What `function` gives for the range within a wide window.
pub(in crate::query) fn value(
    function: &RangeFunction,
    reach: Reach,
    window: &MixedWindow<'_>,
    oddities: &mut Oddities,
) -> Option<Point> {
    use RangeFunction as F;
    let range = reach.range(window.end, window.length);
    if matches!(function, F::Changes | F::Resets) {
        return Some(turns(function, &window.anchored(range.0)?));
    }
    let (is_counter, is_rate) = (*function != F::Delta, *function == F::Rate);
    let seconds = range.1.saturating_sub(range.0) as f64 / 1000.0;
    let edges = Edges { range, is_smoothed: reach.is_smoothed(), is_counter };
    if window.histograms.is_empty() {
        let floats: Vec<Float> = window.ts.iter().zip(window.vs).map(|(t, v)| (*t, *v)).collect();
        let rise = edges.rise(&floats)?;
        return Some(Point::Float(if is_rate { rise / seconds } else { rise }));
    }
    if !window.ts.is_empty() {
        oddities.add(Oddity::MixedKinds);
        return None;
    }
    let mut rise = edges.rise_of_histograms(window.histograms, oddities)?;
    if is_rate {
        rise.divide(seconds);
    }
    rise.reset_hint = ResetHint::Gauge;
    rise.compact();
    Some(Point::Histogram(Arc::new(rise)))
}

/// A float and its time.
type Float = (i64, f64);

/// The range, and what stands for its edges.
#[derive(Clone, Copy)]
struct Edges {
    /// Its start, which is not in it, and its end, which is.
    range: (i64, i64),
    is_smoothed: bool,
    /// Falling values are resets?
    is_counter: bool,
}

impl Edges {
    /// The first and the last sample that is looked at. Nothing if all samples lie before the range, or at its start.
    fn places<T>(&self, samples: &[(i64, T)]) -> Option<(usize, usize)> {
        let (start, end) = self.range;
        let before_last = samples.split_last()?.1;
        let first = before_last.partition_point(|(t, _)| *t <= start).saturating_sub(1);
        let last = match self.is_smoothed {
            true => before_last.partition_point(|(t, _)| *t < end),
            false => before_last.len(),
        };
        samples.get(last).filter(|(t, _)| *t > start).map(|_| (first, last))
    }

    /// The same; nothing either if there is no sample before the range's end to draw a line from.
    fn places_of_rise<T>(&self, samples: &[(i64, T)]) -> Option<(usize, usize)> {
        let (first, last) = self.places(samples)?;
        let is_behind = samples.get(first).is_some_and(|(t, _)| *t > self.range.1);
        (!(self.is_smoothed && is_behind)).then_some((first, last))
    }

    /// The values at the start and at the end.
    fn values(&self, floats: &[Float], (first, last): (usize, usize)) -> Option<(f64, f64)> {
        let (start, end) = self.range;
        let at = |place: usize| floats.get(place).copied();
        let left = match (at(first)?, at(first + 1)) {
            (here, Some(next)) if self.is_smoothed && here.0 < start => {
                line(here, next, start, self.is_counter)
            }
            (here, _) => here.1,
        };
        let right = match (last.checked_sub(1).and_then(at), at(last)?) {
            (Some(before), here) if self.is_smoothed && here.0 > end => {
                line(before, here, end, self.is_counter)
            }
            (_, here) => here.1,
        };
        Some((left, right))
    }

    /// The samples between the edges, without those that stand for one or lie on one.
    fn between<'s, T>(
        &self,
        samples: &'s [(i64, T)],
        (first, last): (usize, usize),
    ) -> &'s [(i64, T)] {
        let (start, end) = self.range;
        let t = |place: usize| samples.get(place).map(|(t, _)| *t);
        let from = if t(first).is_some_and(|t| t <= start) { first + 1 } else { first };
        let to = if t(last).is_some_and(|t| t >= end) { last } else { last + 1 };
        samples.get(from..to).unwrap_or_default()
    }

    /// How much the values rise from edge to edge, resets made up for.
    fn rise(&self, floats: &[Float]) -> Option<f64> {
        let places = self.places_of_rise(floats)?;
        let (left, right) = self.values(floats, places)?;
        let rise = right - left;
        if !self.is_counter {
            return Some(rise);
        }
        // Resets between a line's two ends are made up for by the line.
        let between = self.between(floats, places).iter().map(|(_, v)| *v);
        let (mut before, mut hidden) = (left, 0.0);
        for v in between.chain([right]) {
            if v < before {
                hidden += before;
            }
            before = v;
        }
        Some(rise + hidden)
    }

    /// The same of histograms. `None` if they do not go together.
    fn rise_of_histograms(
        &self,
        samples: &[HistogramAt],
        oddities: &mut Oddities,
    ) -> Option<FloatHistogram> {
        let (first, last) = self.places_of_rise(samples)?;
        let looked_at = samples.get(first..=last)?;
        let is_custom = looked_at.first()?.1.has_custom_buckets();
        for (_, h) in looked_at {
            if h.has_custom_buckets() != is_custom {
                oddities.add(Oddity::MixedBuckets);
                return None;
            }
            if self.is_counter && h.reset_hint == ResetHint::Gauge {
                oddities.add(Oddity::NotCounter);
            }
        }
        let (left, right) = (self.left(looked_at, oddities), self.right(looked_at, oddities));
        let (left, right) = (oddities.fitting(left)?, oddities.fitting(right)?);
        if !self.is_counter && [&left, &right].iter().any(|h| h.reset_hint != ResetHint::Gauge) {
            oddities.add(Oddity::NotGauge);
        }
        let mut rise = right.clone();
        let done = rise.sub(&left);
        oddities.put_together(done, HistogramOperation::Subtraction)?;
        let resets = match self.is_counter {
            true => self.before_resets(looked_at, (&left, &right)),
            false => Vec::new(),
        };
        if let [first, others @ ..] = resets.as_slice() {
            let mut hidden = FloatHistogram::clone(first);
            for other in others {
                let done = hidden.add(other);
                oddities.put_together(done, HistogramOperation::Addition)?;
            }
            let done = rise.add(&hidden);
            oddities.put_together(done, HistogramOperation::Addition)?;
        }
        Some(rise)
    }

    fn left(
        &self,
        samples: &[HistogramAt],
        oddities: &mut Oddities,
    ) -> Result<FloatHistogram, Incompatible> {
        match samples {
            [here, next, ..] if self.is_smoothed && here.0 < self.range.0 => {
                line_of_histograms(here, next, self.range.0, self.is_counter, oddities)
            }
            [(_, here), ..] => Ok(FloatHistogram::clone(here)),
            [] => Err(Incompatible::Schemas),
        }
    }

    fn right(
        &self,
        samples: &[HistogramAt],
        oddities: &mut Oddities,
    ) -> Result<FloatHistogram, Incompatible> {
        match samples {
            [.., before, here] if self.is_smoothed && here.0 > self.range.1 => {
                line_of_histograms(before, here, self.range.1, self.is_counter, oddities)
            }
            [.., (_, here)] => Ok(FloatHistogram::clone(here)),
            [] => Err(Incompatible::Schemas),
        }
    }

    /// What was counted just before each reset. Source: `correctForCounterResetsHistogram`.
    fn before_resets<'h>(
        &self,
        looked_at: &'h [HistogramAt],
        (left, right): (&'h FloatHistogram, &'h FloatHistogram),
    ) -> Vec<&'h FloatHistogram> {
        // The last sample stands for the end, or says with the line to it whether there was a reset before it. If it is the
        // first one, too, it stands for both edges.
        let Some((_, [(first_t, first), between @ ..])) = looked_at.split_last() else {
            return Vec::new();
        };
        let (mut between, mut before) = (between, left);
        if self.is_smoothed
            && *first_t < self.range.0
            && let Some((_, second)) = looked_at.get(1)
            && second.is_reset_after(first)
        {
            // The line to the start has made up for this reset already.
            let Some((_, behind)) = between.split_first() else {
                return Vec::new();
            };
            (between, before) = (behind, second);
        }
        let mut resets = Vec::new();
        for h in between.iter().map(|(_, h)| &**h).chain([right]) {
            if h.is_reset_after(before) {
                resets.push(before);
            }
            before = h;
        }
        resets
    }
}

/// What lies at `t` on the line between two samples; a counter that falls has begun at zero.
fn line((t1, v1): Float, (t2, v2): Float, t: i64, is_counter: bool) -> f64 {
    let v1 = if is_counter && v2 < v1 { 0.0 } else { v1 };
    v1 + (v2 - v1) * (t.saturating_sub(t1) as f64) / (t2.saturating_sub(t1) as f64)
}

/// The same of histograms.
fn line_of_histograms(
    (t1, one): &HistogramAt,
    (t2, other): &HistogramAt,
    t: i64,
    is_counter: bool,
    oddities: &mut Oddities,
) -> Result<FloatHistogram, Incompatible> {
    if t == *t1 {
        return Ok(FloatHistogram::clone(one));
    }
    let mut at = FloatHistogram::clone(other);
    if t == *t2 {
        return Ok(at);
    }
    let part = t.saturating_sub(*t1) as f64 / t2.saturating_sub(*t1) as f64;
    if is_counter && other.is_reset_after(one) {
        at.scale(part);
        return Ok(at);
    }
    oddities.combined(at.sub(one)?, HistogramOperation::Subtraction);
    at.scale(part);
    oddities.combined(at.add(one)?, HistogramOperation::Addition);
    Ok(at)
}

/// What a `smoothed` instant selector has: what lies on the line between the samples around the instant, or the last sample
/// if none has come behind it.
pub(in crate::query) fn smoothed(
    reach: Reach,
    window: &MixedWindow<'_>,
    oddities: &mut Oddities,
) -> Option<Point> {
    let (_, t) = reach.range(window.end, window.length);
    let MixedWindow { ts, vs, histograms, .. } = *window;
    if histograms.is_empty() {
        let place = ts.partition_point(|at| *at < t);
        let at = |place: usize| Some((*ts.get(place)?, *vs.get(place)?));
        let v = match (place.checked_sub(1).and_then(at), at(place)) {
            (_, Some((at, v))) if at == t => v,
            (Some(before), Some(behind)) => line(before, behind, t, false),
            (Some((_, before)), None) => before,
            (None, _) => return None,
        };
        return Some(Point::Float(v));
    }
    if !ts.is_empty() {
        oddities.add(Oddity::MixedKinds);
        return None;
    }
    let place = histograms.partition_point(|(at, _)| *at < t);
    let before = place.checked_sub(1).and_then(|place| histograms.get(place));
    match (before, histograms.get(place)) {
        (_, Some((at, h))) if *at == t => Some(Point::Histogram(Arc::clone(h))),
        (Some(before), Some(behind)) => {
            let are_gauges = [before, behind].iter().all(|(_, h)| h.reset_hint == ResetHint::Gauge);
            let is_mixed = before.1.has_custom_buckets() != behind.1.has_custom_buckets();
            let at = match is_mixed {
                true => Err(Incompatible::Schemas),
                false => line_of_histograms(before, behind, t, !are_gauges, oddities),
            };
            Some(Point::Histogram(Arc::new(oddities.fitting(at)?)))
        }
        (Some((_, before)), None) => {
            // What it says of a reset is about the sample before it, not about its value.
            let mut before = FloatHistogram::clone(before);
            before.reset_hint = ResetHint::Unknown;
            Some(Point::Histogram(Arc::new(before)))
        }
        (None, _) => None,
    }
}

/// What an `anchored` or `smoothed` range has of a series' floats in a wide window that ends at `end`: the values at its
/// edges, and the samples between them.
pub(in crate::query) fn samples(
    reach: Reach,
    (end, length): (i64, i64),
    samples: &[Sample],
) -> Vec<Sample> {
    let edges = Edges {
        range: reach.range(end, length),
        is_smoothed: reach.is_smoothed(),
        is_counter: false,
    };
    let floats: Vec<Float> = samples.iter().map(|sample| (sample.t.0, sample.v)).collect();
    let Some(places) = edges.places(&floats) else {
        return Vec::new();
    };
    let Some((left, right)) = edges.values(&floats, places) else {
        return Vec::new();
    };
    let between = edges.between(&floats, places).iter().copied();
    let all = [(edges.range.0, left)].into_iter().chain(between).chain([(edges.range.1, right)]);
    all.map(|(t, v)| Sample { t: TimestampMs(t), v }).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_lite::future::block_on;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{HistogramSample, SamplesRef};
    use crate::query::ast::{Extension, TextRange};
    use crate::query::fold::SeriesFold;
    use crate::query::grid::Grid;
    use crate::query::leaf::{Fold, Shape};
    use crate::query::pace::{Pacer, Unpaced};
    use crate::query::value::is_absent;

    const LOOKBACK: i64 = 20_000;

    /// What a fold gives at each step for these samples, as floats or as histograms that count as much.
    fn folded(fold: &Fold, shape: Shape, samples: &[Float], as_histograms: bool) -> Vec<f64> {
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        for (t, v) in samples {
            let (t, v) = (TimestampMs(*t), *v);
            if as_histograms {
                let positive = vec![(0, v)];
                let h = FloatHistogram { count: v, sum: v, positive, ..FloatHistogram::empty(0) };
                histograms.push(HistogramSample { t, histogram: h.to_any() });
            } else {
                floats.push(Sample { t, v });
            }
        }
        let mut fold = SeriesFold::new(shape, fold, 10_000, TextRange::default());
        fold.begin();
        let points = Cell::new(0);
        let pacer = Pacer::new(&Unpaced, &points);
        let (floats, histograms) = (&floats, &histograms);
        let samples = SamplesRef { floats, histograms, starts: &[] };
        block_on(fold.feed_any(samples, pacer)).unwrap();
        let folded = block_on(fold.end(pacer)).unwrap();
        let mut out = vec![f64::NAN; shape.grid.count];
        for (step, v) in (folded.first..).zip(folded.values) {
            if !is_absent(*v) {
                out[step] = *v;
            }
        }
        for (step, h) in &*folded.histograms {
            assert!(h.positive.iter().map(|(_, n)| n).sum::<f64>() == h.count, "{h}");
            out[*step] = h.count;
        }
        out
    }

    fn near(a: f64, b: f64) -> bool {
        a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * (1.0 + a.abs() + b.abs())
    }

    /// What lies at `t` on the lines through the samples within reach; the nearest sample where there is no line.
    fn on_line(samples: &[Float], t: i64) -> Option<f64> {
        let behind = samples.iter().find(|(at, _)| *at >= t);
        let before = samples.iter().rev().find(|(at, _)| *at <= t);
        Some(match (before.or(behind)?, behind.or(before)?) {
            (one, other) if one.0 == other.0 => one.1,
            (one, other) => {
                one.1 + (other.1 - one.1) * (t - one.0) as f64 / (other.0 - one.0) as f64
            }
        })
    }

    proptest! {
        #[test]
        fn counters_rise_alike_as_floats_and_as_histograms_and_gauges_along_lines(
            steps in proptest::collection::vec((1i64..9000, 0u8..20), 0..25),
            (start, step, count) in (-10_000i64..60_000, 1i64..9000, 1usize..15),
            (length, offset, anchored) in (1i64..25_000, -9000i64..9000, any::<bool>()),
        ) {
            let mut t = -20_000;
            let samples: Vec<Float> = steps.into_iter().map(|(gap, v)| { t += gap; (t, f64::from(v)) }).collect();
            let extension = if anchored { Extension::Anchored } else { Extension::Smoothed };
            let reach = Reach { extension, lookback: LOOKBACK };
            let grid = Grid { start, step, count, is_instant: false };
            let shape = Shape { grid, first_end: start - offset, end_step: step, length };
            let wide = reach.widen(shape);
            for function in [RangeFunction::Rate, RangeFunction::Increase] {
                let fold = Fold::Extended(function, reach);
                let (floats, histograms) = (folded(&fold, wide, &samples, false), folded(&fold, wide, &samples, true));
                prop_assert!(floats.iter().zip(&histograms).all(|(a, b)| near(*a, *b)), "{floats:?} {histograms:?}");
            }
            let delta = folded(&Fold::Extended(RangeFunction::Delta, reach), wide, &samples, false);
            let smoothed = folded(&Fold::Smoothed(reach), reach.widen(Shape { length: 0, ..shape }), &samples, false);
            for (i, delta) in delta.into_iter().enumerate() {
                let end = shape.end(i);
                let after = if anchored { 0 } else { LOOKBACK };
                let within: Vec<Float> = samples.iter().copied()
                    .filter(|(t, _)| *t > end - length - LOOKBACK && *t <= end + after).collect();
                let in_range = within.iter().any(|(t, _)| *t > end - length);
                let mut want = f64::NAN;
                if anchored && in_range {
                    let anchor = within.iter().rev().find(|(t, _)| *t <= end - length).unwrap_or(&within[0]);
                    want = within.last().unwrap().1 - anchor.1;
                } else if in_range && within[0].0 <= end {
                    want = on_line(&within, end).unwrap() - on_line(&within, end - length).unwrap();
                }
                prop_assert!(near(delta, want), "step {i}: {delta}, should be {want}");
                let near_end: Vec<Float> = within.into_iter().filter(|(t, _)| *t > end - LOOKBACK).collect();
                let want = near_end.first().filter(|(t, _)| !anchored && *t <= end).and_then(|_| on_line(&near_end, end));
                if !anchored {
                    let want = want.unwrap_or(f64::NAN);
                    prop_assert!(near(smoothed[i], want), "step {i}: {}, should be {want}", smoothed[i]);
                }
            }
        }
    }

    #[test]
    fn a_range_lies_within_its_wide_window() {
        let grid = Grid::instant(1000);
        let shape = Shape { grid, first_end: 900, end_step: 1, length: 300 };
        for extension in [Extension::Anchored, Extension::Smoothed] {
            let reach = Reach { extension, lookback: 50 };
            let wide = reach.widen(shape);
            assert_eq!(reach.range(wide.first_end, wide.length), (600, 900));
            assert_eq!(wide.first_end, if reach.is_smoothed() { 950 } else { 900 });
            assert_eq!(wide.first_end - wide.length, 550);
        }
    }
}
