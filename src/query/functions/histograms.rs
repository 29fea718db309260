//! Range functions over windows that have native histograms, alone or beside floats.
//!
//! Source: `promql/functions.go`: `histogramRate`, `instantValue`, and what each function does about kinds that mix.

use std::sync::Arc;

use super::starts::{self, Placed, Span};
use crate::model::histogram::ResetHint;
use crate::query::annotation::{HistogramOperation, Note};
use crate::query::float_histogram::{
    Combined, FloatHistogram, HistogramMean, HistogramSum, Incompatible,
};
use crate::query::leaf::RangeFunction;
use crate::query::mixed::{Either, MixedWindow};
use crate::query::value::{HistogramAt, Point};

/// What is odd about a window, before it is known what the metric is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::query) enum Oddity {
    /// Floats and histograms where one kind is wanted.
    MixedKinds,
    /// Exponential and custom buckets.
    MixedBuckets,
    /// A gauge where a counter is wanted.
    NotCounter,
    /// A counter where a gauge is wanted.
    NotGauge,
    /// Histograms that were not looked at.
    Ignored,
    /// Histograms after a reset and after none were added up.
    ResetCollision,
    /// Custom buckets of different bounds.
    MismatchedBuckets(HistogramOperation),
    /// A sample that began to count before the one before it was taken, in so many windows.
    StartOverlap(u64),
}

impl Oddity {
    /// The note about it.
    pub(in crate::query) fn note(self, metric: &str) -> Note {
        let metric = metric.to_owned();
        match self {
            Self::MixedKinds => Note::MixedFloatsHistograms(metric),
            Self::MixedBuckets => Note::MixedExponentialCustom(metric),
            Self::NotCounter => Note::NotCounter(metric),
            Self::NotGauge => Note::NotGauge(metric),
            Self::Ignored => Note::IgnoredInMixedRange(metric),
            Self::ResetCollision => Note::ResetCollision(HistogramOperation::Aggregation),
            Self::MismatchedBuckets(operation) => Note::MismatchedBuckets(operation),
            Self::StartOverlap(count) => Note::StartTimeOverlap(metric, count),
        }
    }
}

/// What was odd, each once; overlaps are counted.
#[derive(Debug, Default)]
pub(in crate::query) struct Oddities(Vec<Oddity>);

impl Oddities {
    /// Notes something odd.
    pub(in crate::query) fn add(&mut self, oddity: Oddity) {
        if let Oddity::StartOverlap(more) = oddity {
            for known in &mut self.0 {
                if let Oddity::StartOverlap(count) = known {
                    *count += more;
                    return;
                }
            }
        }
        if !self.0.contains(&oddity) {
            self.0.push(oddity);
        }
    }

    /// Notes what was odd in putting two histograms together.
    pub(super) fn combined(&mut self, combined: Combined, operation: HistogramOperation) {
        if combined.bounds_reconciled {
            self.add(Oddity::MismatchedBuckets(operation));
        }
    }

    /// Notes what was odd in putting two histograms together; did they go together?
    fn done(
        &mut self,
        combined: Result<Combined, Incompatible>,
        operation: HistogramOperation,
    ) -> bool {
        if let Ok(combined) = combined {
            self.combined(combined, operation);
        }
        combined.is_ok()
    }

    fn incompatible(&mut self, why: &Incompatible) {
        if matches!(why, Incompatible::Schemas) {
            self.add(Oddity::MixedBuckets);
        }
    }

    /// What has been made of histograms; `None` if they do not go together, which is noted.
    pub(super) fn fitting<T>(&mut self, made: Result<T, Incompatible>) -> Option<T> {
        if let Err(why) = &made {
            self.incompatible(why);
        }
        made.ok()
    }

    /// Notes what was odd in putting two histograms together; `None` if they do not go together.
    pub(super) fn put_together(
        &mut self,
        done: Result<Combined, Incompatible>,
        operation: HistogramOperation,
    ) -> Option<()> {
        let combined = self.fitting(done)?;
        self.combined(combined, operation);
        Some(())
    }

    fn extend(&mut self, others: Self) {
        others.0.into_iter().for_each(|oddity| self.add(oddity));
    }

    /// Nothing odd?
    pub(in crate::query) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all of them.
    pub(in crate::query) fn take(&mut self) -> Vec<Oddity> {
        std::mem::take(&mut self.0)
    }
}

/// What `function` gives for a window that may have histograms. `of_floats` is what it gives for the floats alone, of which
/// there are some then; [`None`] if there is no value.
pub(in crate::query) fn value(
    function: &RangeFunction,
    window: &MixedWindow<'_>,
    of_floats: impl FnOnce() -> Option<Point>,
    oddities: &mut Oddities,
) -> Option<Point> {
    use RangeFunction as F;
    let (floats, histograms) = (window.ts.len(), window.histograms.len());
    match function {
        F::Count => return Some(Point::Float((floats + histograms) as f64)),
        F::Present => return Some(Point::Float(1.0)),
        F::First => return window.first().map(|sample| point(sample.value)),
        F::Last => return window.last().map(|sample| point(sample.value)),
        F::TimeOfFirst => return window.first().map(|first| Point::Float(first.t as f64 / 1000.0)),
        F::TimeOfLast => return window.last().map(|last| Point::Float(last.t as f64 / 1000.0)),
        _ if histograms == 0 && window.starts.is_none() => return of_floats(),
        F::Changes | F::Resets => return Some(turns(function, window)),
        F::Irate | F::Idelta => return last_step(*function == F::Irate, window, oddities),
        F::Rate | F::Increase if histograms == 0 => {
            return starts::extrapolated(function, window, oddities);
        }
        F::Rate | F::Increase | F::Delta | F::Avg | F::Sum if floats > 0 => {
            oddities.add(Oddity::MixedKinds);
            return None;
        }
        F::Rate | F::Increase | F::Delta => return extrapolated(function, window, oddities),
        F::Sum => return added_up(window.histograms, oddities),
        F::Avg => return mean(window.histograms, oddities),
        _ => {}
    }
    if floats == 0 {
        return None;
    }
    // The others look at floats alone.
    oddities.add(Oddity::Ignored);
    of_floats()
}

fn point(v: Either<'_>) -> Point {
    match v {
        Either::Float(v) => Point::Float(v),
        Either::Histogram(h) => Point::Histogram(Arc::clone(h)),
    }
}

/// `changes` and `resets`: between two samples of different kinds there is always one.
pub(super) fn turns(function: &RangeFunction, window: &MixedWindow<'_>) -> Point {
    let is_changes = *function == RangeFunction::Changes;
    let mut samples = window.iter();
    let mut before = samples.next();
    let mut count = 0u32;
    for sample in samples {
        let turns = before.is_none_or(|before| match (before.value, sample.value) {
            (Either::Float(a), Either::Float(b)) if is_changes => {
                a != b && !(a.is_nan() && b.is_nan())
            }
            (Either::Histogram(a), Either::Histogram(b)) if is_changes => !b.is_same(a),
            (Either::Float(a), Either::Float(b)) => {
                b < a || sample.span().is_reset_after(before.span())
            }
            (Either::Histogram(a), Either::Histogram(b)) => {
                sample.span().is_reset_after(before.span()) || b.is_reset_after(a)
            }
            _ => true,
        });
        count += u32::from(turns);
        before = Some(sample);
    }
    Point::Float(f64::from(count))
}

/// `irate` and `idelta`.
fn last_step(is_rate: bool, window: &MixedWindow<'_>, oddities: &mut Oddities) -> Option<Point> {
    let [before, last] = window.last_two()?;
    let seconds = (last.t - before.t) as f64 / 1000.0;
    if last.t == before.t {
        return None;
    }
    let is_reset = last.span().is_reset_after(before.span());
    let (last, before) = match (last.value, before.value) {
        (Either::Histogram(last), Either::Histogram(before)) => (last, before),
        (Either::Float(v), Either::Float(before)) => {
            let step = if is_rate && (v < before || is_reset) { v } else { v - before };
            return Some(Point::Float(if is_rate { step / seconds } else { step }));
        }
        _ => {
            oddities.add(Oddity::MixedKinds);
            return None;
        }
    };
    let gauges = [last, before].map(|h| h.reset_hint == ResetHint::Gauge);
    if is_rate && gauges.contains(&true) {
        oddities.add(Oddity::NotCounter);
    }
    if !is_rate && gauges.contains(&false) {
        oddities.add(Oddity::NotGauge);
    }
    let mut step = FloatHistogram::clone(last);
    if !is_rate || !(is_reset || last.is_reset_after(before)) {
        match step.sub(before) {
            Ok(combined) => oddities.combined(combined, HistogramOperation::Subtraction),
            Err(why) => {
                oddities.incompatible(&why);
                return None;
            }
        }
    }
    step.reset_hint = ResetHint::Gauge;
    step.compact();
    if is_rate {
        step.divide(seconds);
    }
    Some(Point::Histogram(Arc::new(step)))
}

/// How much the histograms of a window rise, resets made up for. `None` if they do not go together; of what was odd until
/// then, only that is told.
fn rise(
    samples: &[HistogramAt],
    spans: &[Span],
    is_counter: bool,
    oddities: &mut Oddities,
) -> Option<FloatHistogram> {
    let [(_, first), rest @ ..] = samples else {
        return None;
    };
    let ((_, second), (_, last)) = (rest.first()?, rest.last()?);
    let is_gauge = |h: &FloatHistogram| h.reset_hint == ResetHint::Gauge;
    let mut odd = Oddities::default();
    if is_counter && (is_gauge(first) || is_gauge(last)) {
        odd.add(Oddity::NotCounter);
    }
    let resets = if is_counter { starts::resets(spans, &mut odd) } else { Vec::new() };
    let begins_anew = |at: usize| resets.get(at).copied().unwrap_or(false);
    // With a reset behind it the first one does not count, and may have any buckets.
    let nothing;
    let mut before: &FloatHistogram = first;
    if is_counter && (begins_anew(0) || second.is_reset_after(first)) {
        let custom = Arc::clone(&second.custom);
        nothing = FloatHistogram { custom, ..FloatHistogram::empty(second.schema) };
        before = &nothing;
    }
    let is_custom = before.has_custom_buckets();
    if last.has_custom_buckets() != is_custom {
        oddities.extend(odd);
        oddities.add(Oddity::MixedBuckets);
        return None;
    }
    let mut schema = last.schema.min(before.schema);
    let between = rest.split_last().map(|(_, between)| between).unwrap_or_default();
    for (_, h) in between.iter().filter(|_| is_counter) {
        if is_gauge(h) {
            odd.add(Oddity::NotCounter);
        }
        schema = schema.min(h.schema);
        if h.has_custom_buckets() != is_custom {
            oddities.add(Oddity::MixedBuckets);
            return None;
        }
    }
    let mut rise = FloatHistogram::clone(last);
    rise.reduce_to(schema);
    let mut done = odd.done(rise.sub(before), HistogramOperation::Subtraction);
    if is_counter {
        for (at, (_, h)) in rest.iter().enumerate() {
            if begins_anew(at) || h.is_reset_after(before) {
                done = done && odd.done(rise.add(before), HistogramOperation::Addition);
            }
            before = h;
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        odd.add(Oddity::NotGauge);
    }
    if !done {
        oddities.add(Oddity::MixedBuckets);
        return None;
    }
    oddities.extend(odd);
    rise.reset_hint = ResetHint::Gauge;
    rise.compact();
    Some(rise)
}

/// `rate`, `increase` and `delta` of histograms alone: the rise, extrapolated to the edges of the window by the counts.
fn extrapolated(
    function: &RangeFunction,
    window: &MixedWindow<'_>,
    oddities: &mut Oddities,
) -> Option<Point> {
    let is_counter = *function != RangeFunction::Delta;
    let spans: Vec<Span> = window.histograms().map(|sample| sample.span()).collect();
    let ((_, first), placed) = (window.histograms.first()?, Placed::of(&spans, window)?);
    let begins_within = is_counter && placed.begins_within();
    let mut rise = match window.histograms {
        // What a single one has counted in the window, it has counted since its start.
        [_] if begins_within => FloatHistogram::clone(first),
        [_] => return None,
        samples => {
            let mut rise = rise(samples, &spans, is_counter, oddities)?;
            if begins_within {
                let done = rise.add(first);
                oddities.put_together(done, HistogramOperation::Addition)?;
            }
            rise
        }
    };
    let zero = is_counter.then_some((first.count, rise.count));
    let mut factor = placed.factor(zero)?;
    if *function == RangeFunction::Rate {
        factor /= window.length as f64 / 1000.0;
    }
    rise.scale(factor);
    Some(Point::Histogram(Arc::new(rise)))
}

/// Notes it if some of `histograms` come after a reset and others after none.
fn note_collision<'a>(
    histograms: impl Iterator<Item = &'a Arc<FloatHistogram>>,
    oddities: &mut Oddities,
) {
    let (mut reset, mut none) = (false, false);
    for h in histograms {
        reset |= h.reset_hint == ResetHint::Reset;
        none |= h.reset_hint == ResetHint::NotReset;
    }
    if reset && none {
        oddities.add(Oddity::ResetCollision);
    }
}

/// `sum_over_time`
fn added_up(samples: &[HistogramAt], oddities: &mut Oddities) -> Option<Point> {
    let [(_, first), rest @ ..] = samples else {
        return None;
    };
    let (mut sum, mut reconciled) = (HistogramSum::new(FloatHistogram::clone(first)), false);
    for (_, h) in rest {
        match sum.add(h) {
            Ok(combined) => reconciled |= combined.bounds_reconciled,
            Err(why) => {
                oddities.incompatible(&why);
                return None;
            }
        }
    }
    if reconciled {
        oddities.add(Oddity::MismatchedBuckets(HistogramOperation::Aggregation));
    }
    note_collision(samples.iter().map(|(_, h)| h), oddities);
    Some(Point::Histogram(Arc::new(sum.total())))
}

/// `avg_over_time`
fn mean(samples: &[HistogramAt], oddities: &mut Oddities) -> Option<Point> {
    let [(_, first), rest @ ..] = samples else {
        return None;
    };
    let (mut mean, mut reconciled) = (HistogramMean::new(FloatHistogram::clone(first)), false);
    for (_, h) in rest {
        match mean.add(h) {
            Ok(combined) => reconciled |= combined.bounds_reconciled,
            Err(why) => {
                oddities.incompatible(&why);
                return None;
            }
        }
    }
    if reconciled {
        oddities.add(Oddity::MismatchedBuckets(HistogramOperation::Aggregation));
    }
    note_collision(samples.iter().map(|(_, h)| h), oddities);
    Some(Point::Histogram(Arc::new(mean.total())))
}
