//! Range functions over windows that have native histograms, alone or beside floats.
//!
//! Source: `promql/functions.go`: `histogramRate`, `instantValue`, and what each function does about kinds that mix.

use std::sync::Arc;

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
        }
    }
}

/// What was odd, each once.
#[derive(Debug, Default)]
pub(in crate::query) struct Oddities(Vec<Oddity>);

impl Oddities {
    /// Notes something odd.
    pub(in crate::query) fn add(&mut self, oddity: Oddity) {
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
        F::First => return window.first().map(|(_, v)| point(v)),
        F::Last => return window.last_two().0.map(|(_, v)| point(v)),
        F::TimeOfFirst => return window.first().map(|(t, _)| Point::Float(t as f64 / 1000.0)),
        F::TimeOfLast => return window.last_two().0.map(|(t, _)| Point::Float(t as f64 / 1000.0)),
        _ if histograms == 0 => return of_floats(),
        F::Changes | F::Resets => return Some(turns(function, window)),
        F::Irate | F::Idelta => return last_step(*function == F::Irate, window, oddities),
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
    let mut samples = window.iter().map(|(_, v)| v);
    let mut before = samples.next();
    let mut count = 0u32;
    for v in samples {
        let turns = match (before, v) {
            (Some(Either::Float(a)), Either::Float(b)) if is_changes => {
                a != b && !(a.is_nan() && b.is_nan())
            }
            (Some(Either::Float(a)), Either::Float(b)) => b < a,
            (Some(Either::Histogram(a)), Either::Histogram(b)) if is_changes => !b.is_same(a),
            (Some(Either::Histogram(a)), Either::Histogram(b)) => b.is_reset_after(a),
            _ => true,
        };
        count += u32::from(turns);
        before = Some(v);
    }
    Point::Float(f64::from(count))
}

/// `irate` and `idelta`.
fn last_step(is_rate: bool, window: &MixedWindow<'_>, oddities: &mut Oddities) -> Option<Point> {
    let (Some((t, last)), Some((before_t, before))) = window.last_two() else {
        return None;
    };
    let seconds = (t - before_t) as f64 / 1000.0;
    if t == before_t {
        return None;
    }
    let (last, before) = match (last, before) {
        (Either::Histogram(last), Either::Histogram(before)) => (last, before),
        (Either::Float(v), Either::Float(before)) => {
            let step = if is_rate && v < before { v } else { v - before };
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
    if !is_rate || !last.is_reset_after(before) {
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
    // With a reset behind it the first one does not count, and may have any buckets.
    let nothing;
    let mut before: &FloatHistogram = first;
    if is_counter && second.is_reset_after(first) {
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
        for (_, h) in rest {
            if h.is_reset_after(before) {
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
    let mut rise = rise(window.histograms, is_counter, oddities)?;
    let ((first_t, first), (last_t, _)) = (window.histograms.first()?, window.histograms.last()?);
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let mut to_start = seconds(first_t - window.end.saturating_sub(window.length));
    let mut to_end = seconds(window.end - last_t);
    let sampled = seconds(last_t - first_t);
    let spacing = sampled / (window.histograms.len() - 1) as f64;
    let threshold = spacing * 1.1;
    if to_start >= threshold {
        to_start = spacing / 2.0;
    }
    if is_counter && rise.count > 0.0 && first.count >= 0.0 {
        let to_zero = sampled * (first.count / rise.count);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = spacing / 2.0;
    }
    let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if *function == RangeFunction::Rate {
        factor /= seconds(window.length);
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
