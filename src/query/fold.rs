//! Folding one series after the other: samples in, a value for each step out.
//!
//! Where the samples come from does not matter: a shard feeds what it stores, the coordinator what a subquery evaluated.

use std::ops::Range;

use super::annotation::{Annotations, Note};
use super::any_kernel::{AnyKernel, with_kernel};
use super::ast::TextRange;
use super::error::QueryError;
use super::functions::extended;
use super::functions::histograms::{self, Oddities};
use super::functions::many::{self, MANY};
use super::grouping::METRIC_TYPE;
use super::leaf::{Fold, RangeFunction, Shape};
use super::mixed::{Either, MixedWindow, MixedWindows};
use super::pace::{Pace, Pacer, SLICE_POINTS};
use super::point_map::PointMap;
use super::reads::Reads;
use super::value::{ABSENT, HistogramAt, HistogramPoint, Point, is_absent};
use super::window::{Gathered, Kernel, Newest, NewestTime, Window, Windows};
use crate::model::labels::METRIC_NAME;
use crate::model::{LabelsRef, Sample, SamplesRef, is_stale_nan};

/// Folds series by one function, one at a time.
#[derive(Debug)]
pub(super) struct SeriesFold {
    fold: Fold,
    windows: Windows,
    /// What becomes of a series that has histograms.
    mixed: MixedWindows,
    /// What was odd about the windows of the series that has them.
    oddities: Oddities,
    kernel: AnyKernel,
    maps: Vec<PointMap>,
    /// Had the series that has just ended a value before the maps?
    had_values: bool,
    /// And a number among them?
    had_floats: bool,
    /// One value a step, as far as any series has reached; all [`ABSENT`] between two series.
    out: Vec<f64>,
    /// The steps of `out` that have been written lie in this range once a series has ended.
    run: (usize, usize),
    /// The most samples that the windows may hold at once.
    samples_max: usize,
    /// The last metric name that was noted not to be a counter's.
    non_counter: Option<String>,
    /// Is a name that is not a counter's worth a note?
    expects_counter: bool,
    /// Does the label of the type say whether it is one, and not the name?
    looks_at_types: bool,
    annotations: Annotations,
    /// Where annotations point to: the function's first argument.
    span: TextRange,
}

/// What one series became.
pub(super) struct Folded<'a> {
    /// The first step with a number.
    pub first: usize,
    /// The numbers from there on to the last one; empty if there is none.
    pub values: &'a [f64],
    /// The histograms, in order of their steps.
    pub histograms: &'a mut Vec<HistogramPoint>,
}

impl Folded<'_> {
    /// Nothing at all?
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histograms.is_empty()
    }

    /// How many samples it is as a query's limit counts them.
    pub(super) fn held(&self) -> usize {
        self.values.len() + self.histograms.iter().map(|(_, h)| h.points()).sum::<usize>()
    }
}

/// What `kernel` gives for the floats of a window on their own, if there are any.
fn of_floats(kernel: &mut AnyKernel, window: &MixedWindow<'_>) -> Option<Point> {
    let MixedWindow { ts, vs, end, length, step, grid, .. } = *window;
    if ts.is_empty() {
        return None;
    }
    let window = Window { ts, vs, lo: 0, hi: ts.len(), end, length, step, grid };
    let v = with_kernel!(kernel, kernel => {
        kernel.reset();
        kernel.extend(ts, vs, 0);
        kernel.value(&window)
    });
    (!is_absent(v)).then_some(Point::Float(v))
}

/// Puts floats at their steps into `out`, in which the steps of `run` are written; the range that is written then.
fn put(out: &mut Vec<f64>, run: Range<usize>, floats: &[(usize, f64)]) -> Range<usize> {
    let (Some((first, _)), Some((last, _))) = (floats.first(), floats.last()) else {
        return run;
    };
    if out.len() <= *last {
        out.resize(last + 1, ABSENT);
    }
    for (step, v) in floats {
        if let Some(slot) = out.get_mut(*step) {
            *slot = *v;
        }
    }
    if run.is_empty() { *first..last + 1 } else { run.start.min(*first)..run.end.max(last + 1) }
}

/// What a window of a series that is not floats alone becomes.
fn mixed_value(
    fold: &Fold,
    window: &MixedWindow<'_>,
    kernel: &mut AnyKernel,
    oddities: &mut Oddities,
) -> Option<Point> {
    match fold {
        Fold::Newest | Fold::Samples(_) => match window.last()?.value {
            Either::Float(v) => (!is_stale_nan(v)).then_some(Point::Float(v)),
            Either::Histogram(h) => {
                (!h.is_stale()).then(|| Point::Histogram(std::sync::Arc::clone(h)))
            }
        },
        Fold::NewestTime | Fold::NewestStart | Fold::InfoTime => {
            let newest = window.last()?;
            let is_stale = match newest.value {
                Either::Float(v) => is_stale_nan(v),
                Either::Histogram(h) => h.is_stale(),
            };
            let ms = if *fold == Fold::NewestStart { newest.start } else { newest.t };
            match newest.value {
                _ if is_stale => None,
                Either::Histogram(h) if *fold == Fold::InfoTime => {
                    Some(Point::Histogram(std::sync::Arc::clone(h)))
                }
                _ => Some(Point::Float(ms as f64 / 1000.0)),
            }
        }
        Fold::Smoothed(reach) => extended::smoothed(*reach, window, oddities),
        Fold::Range(function) => {
            histograms::value(function, window, || of_floats(kernel, window), oddities)
        }
        Fold::Extended(function, reach) => extended::value(function, *reach, window, oddities),
    }
}

/// Counts what a window of such a series looks at; `point` is what it has become.
fn note_mixed(
    reads: &mut Reads,
    fold: &Fold,
    window: &MixedWindow<'_>,
    point: Option<&Point>,
    end_step: i64,
) {
    let step = window.step;
    let one = match (fold, point) {
        (Fold::Range(_) | Fold::Extended(..), _) => {
            let before = window.end.saturating_sub(end_step);
            let is_new = |t: i64| step == 0 || (end_step > 0 && t > before);
            let all = window.ts.iter().map(|t| (*t, 1));
            let all = all.chain(window.histograms.iter().map(|(t, h)| (*t, h.points())));
            let (mut seen, mut read) = (0, 0);
            for (t, points) in all {
                seen += points;
                read += if is_new(t) { points } else { 0 };
            }
            return reads.note_window(step, seen, read);
        }
        // Upstream does not count what it draws lines between.
        (Fold::Smoothed(_), _) | (_, None) => 0,
        (Fold::Newest | Fold::Samples(_), Some(Point::Histogram(h))) => h.points(),
        (_, Some(_)) => 1,
    };
    reads.note(step, one, one);
}

impl SeriesFold {
    /// A fold of series over windows of `shape`, of which at most `samples_max` samples may be held at once; notes point
    /// to `span`.
    pub(super) fn new(shape: Shape, fold: &Fold, samples_max: usize, span: TextRange) -> Self {
        let kernel = match fold {
            Fold::Newest | Fold::Samples(_) => AnyKernel::Newest(Newest),
            // Those are `mixed`'s alone.
            Fold::NewestStart | Fold::Smoothed(_) | Fold::Extended(..) => AnyKernel::Newest(Newest),
            Fold::NewestTime | Fold::InfoTime => AnyKernel::NewestTime(NewestTime),
            Fold::Range(function) => AnyKernel::of(function, &shape),
        };
        let instant =
            matches!(fold, Fold::Newest | Fold::NewestTime | Fold::NewestStart | Fold::InfoTime);
        Self {
            fold: fold.clone(),
            windows: Windows::new(shape, instant),
            mixed: MixedWindows::new(shape, instant),
            oddities: Oddities::default(),
            kernel,
            maps: Vec::new(),
            had_values: false,
            had_floats: false,
            out: Vec::new(),
            run: (0, 0),
            samples_max,
            non_counter: None,
            expects_counter: matches!(
                fold,
                Fold::Range(RangeFunction::Rate | RangeFunction::Increase)
                    | Fold::Extended(RangeFunction::Rate | RangeFunction::Increase, _)
            ),
            looks_at_types: false,
            annotations: Annotations::default(),
            span,
        }
    }

    /// The same fold, with `maps` applied in order to what it gives.
    pub(super) fn with_maps(self, maps: Vec<PointMap>) -> Self {
        Self { maps, ..self }
    }

    /// The same fold for whoever looks at nothing of histograms but their counts and sums.
    pub(super) fn for_stats_only(self, stats_only: bool) -> Self {
        Self { mixed: self.mixed.for_stats_only(stats_only), ..self }
    }

    /// The same fold, which goes by the label of a metric's type where it matters whether that is a counter.
    pub(super) fn looking_at_types(self, looks_at_types: bool) -> Self {
        Self { looks_at_types, ..self }
    }

    /// The same fold, which counts what each step looks at.
    pub(super) fn counting_reads(self, counts: bool) -> Self {
        if counts { Self { windows: self.windows.counting_reads(), ..self } } else { self }
    }

    /// What has been counted.
    pub(super) fn reads_mut(&mut self) -> Option<&mut Reads> {
        self.windows.reads_mut()
    }

    /// A new series begins.
    pub(super) fn begin(&mut self) {
        let (first, end) = self.run;
        if let Some(written) = self.out.get_mut(first..end) {
            written.fill(ABSENT);
        }
        self.run = (0, 0);
        self.windows.reset();
        self.mixed.reset();
        if matches!(self.fold, Fold::NewestStart | Fold::Smoothed(_) | Fold::Extended(..)) {
            self.mixed.take_over(0, &[], &[]);
        }
        with_kernel!(&mut self.kernel, kernel => kernel.reset());
    }

    /// The series' next samples, in order of time.
    ///
    /// # Errors
    /// A window that holds more samples than a query may, or an evaluation that should stop.
    pub(super) async fn feed<P: Pace>(
        &mut self,
        mut samples: &[Sample],
        pacer: Pacer<'_, P>,
    ) -> Result<(), QueryError> {
        loop {
            match self.windows.gather(&mut samples) {
                Gathered::Ended => break,
                Gathered::Some => pacer.spend(MANY).await?,
                Gathered::Enough => self.advance_all(false, pacer).await?,
            }
            if self.windows.buffered() > self.samples_max {
                return Err(QueryError::TooManySamples);
            }
        }
        Ok(())
    }

    /// The series' next samples, floats and histograms, and starts if they matter.
    ///
    /// # Errors
    /// Windows that hold more samples than a query may, or an evaluation that should stop.
    pub(super) async fn feed_any<P: Pace>(
        &mut self,
        samples: SamplesRef<'_>,
        pacer: Pacer<'_, P>,
    ) -> Result<(), QueryError> {
        if !self.mixed.is_active() {
            if samples.histograms.is_empty() && samples.starts.is_empty() {
                return self.feed(samples.floats, pacer).await;
            }
            let (step, ts, vs) = self.windows.open();
            self.mixed.take_over(step, ts, vs);
        }
        self.mixed.feed(samples, self.samples_max)?;
        self.advance_all(false, pacer).await
    }

    /// The series' samples, all of them: floats, and histograms as they have been computed.
    ///
    /// # Errors
    /// Windows that hold more samples than a query may, or an evaluation that should stop.
    pub(super) async fn feed_points<P: Pace>(
        &mut self,
        floats: &[Sample],
        histograms: Vec<HistogramAt>,
        pacer: Pacer<'_, P>,
    ) -> Result<(), QueryError> {
        if histograms.is_empty() {
            return self.feed(floats, pacer).await;
        }
        self.mixed.take_over(0, &[], &[]);
        self.mixed.feed_points(floats, histograms, self.samples_max)
    }

    /// Computes what can be computed by now, and breathes in between.
    async fn advance_all<P: Pace>(
        &mut self,
        ended: bool,
        pacer: Pacer<'_, P>,
    ) -> Result<(), QueryError> {
        loop {
            // What is buffered is moved each time: not too often.
            let slice = pacer.slice().max(SLICE_POINTS / 4);
            let mut work = slice;
            let done = if self.mixed.is_active() {
                self.advance_mixed(ended, &mut work)
            } else {
                self.advance(ended, &mut work)
            };
            pacer.spend(slice - work).await?;
            if let Some(window) = self.windows.long() {
                let v = match &mut self.kernel {
                    AnyKernel::Scan(scan) => many::scan(scan, &window, pacer).await?,
                    AnyKernel::Line(line) => many::line(line, &window, pacer).await?,
                    _ => ABSENT, // no others are stopped before a window
                };
                self.windows.put(v, &mut self.out);
                continue;
            }
            if done {
                return Ok(());
            }
        }
    }

    fn advance_mixed(&mut self, ended: bool, work: &mut usize) -> bool {
        let Self { fold, mixed, kernel, oddities, out, windows, .. } = self;
        let end_step = windows.shape().end_step;
        let mut reads = windows.reads_mut();
        mixed.advance(ended, out, work, |window| {
            let point = mixed_value(fold, window, kernel, oddities);
            if let Some(reads) = reads.as_deref_mut() {
                note_mixed(reads, fold, window, point.as_ref(), end_step);
            }
            point
        })
    }

    fn advance(&mut self, ended: bool, work: &mut usize) -> bool {
        let reach = self.windows.reach();
        if self.out.len() < reach {
            self.out.resize(reach, ABSENT);
        }
        let windows = &mut self.windows;
        with_kernel!(&mut self.kernel, kernel => {
            windows.advance(kernel, ended, &mut self.out, work)
        })
    }

    /// The series has no more samples.
    ///
    /// # Errors
    /// What the function refuses to compute, or an evaluation that should stop.
    pub(super) async fn end<P: Pace>(
        &mut self,
        pacer: Pacer<'_, P>,
    ) -> Result<Folded<'_>, QueryError> {
        self.advance_all(true, pacer).await?;
        let mut steps = self.windows.written();
        if self.mixed.is_active() {
            steps = self.mixed.written();
            let before = self.windows.written();
            if !before.is_empty() {
                steps = before.start..steps.end.max(before.end);
            }
        }
        if let AnyKernel::Scan(scan) = &self.kernel
            && let Some(failure) = scan.failure()
        {
            return Err(QueryError::Execution(failure.to_owned()));
        }
        let run = self.out.get_mut(steps.clone()).unwrap_or_default();
        self.had_floats = run.iter().any(|v| !is_absent(*v));
        self.had_values = self.had_floats || !self.mixed.out_mut().is_empty();
        for map in &self.maps {
            let run = self.out.get_mut(steps.clone()).unwrap_or_default();
            map.apply(steps.start, run);
            let histograms = self.mixed.out_mut();
            if !histograms.is_empty() {
                let floats = map.apply_to_histograms(histograms, &mut self.annotations);
                steps = put(&mut self.out, steps, &floats);
            }
        }
        self.run = (steps.start, steps.end);
        let histograms = self.mixed.out_mut();
        let run = self.out.get(steps.clone()).unwrap_or_default();
        let Some(first) = run.iter().position(|v| !is_absent(*v)) else {
            return Ok(Folded { first: 0, values: &[], histograms });
        };
        let last = run.iter().rposition(|v| !is_absent(*v)).unwrap_or(first);
        let values = run.get(first..=last).unwrap_or_default();
        Ok(Folded { first: steps.start + first, values, histograms })
    }

    /// Had the series that has just ended any value before the maps took it away?
    pub(super) fn had_values(&self) -> bool {
        self.had_values
    }

    /// Should [`note_metric`](Self::note_metric) be told what the series that has just ended is called?
    pub(super) fn asks_for_metric(&self) -> bool {
        (self.had_floats && self.expects_counter) || !self.oddities.is_empty()
    }

    /// How many samples have been fed, those outside of all windows left out.
    pub(super) fn samples_read(&self) -> u64 {
        self.windows.samples_read() + self.mixed.samples_read()
    }

    /// The series that has just ended has these labels: notes what is odd about that and about its windows.
    pub(super) fn note_metric(&mut self, labels: LabelsRef<'_>) {
        let metric = labels.get(METRIC_NAME).unwrap_or_default();
        for oddity in self.oddities.take() {
            self.annotations.add(oddity.note(metric), self.span);
        }
        if !self.had_floats || !self.expects_counter || metric.is_empty() {
            return;
        }
        if self.looks_at_types {
            let kind = labels.get(METRIC_TYPE).unwrap_or_default();
            if !matches!(kind, "counter" | "histogram") {
                let note = Note::NonCounterType(metric.to_owned(), kind.to_owned());
                self.annotations.add(note, self.span);
            }
            return;
        }
        let endings = ["_total", "_sum", "_count", "_bucket"];
        if endings.iter().any(|ending| metric.ends_with(ending)) {
            return;
        }
        if self.non_counter.as_deref() != Some(metric) {
            self.annotations.add(Note::PossibleNonCounter(metric.to_owned()), self.span);
            self.non_counter = Some(metric.to_owned());
        }
    }

    /// Some of the data that the fold should have seen cannot be read.
    pub(super) fn note_damage(&mut self, what: String) {
        self.annotations.add(Note::Damaged(what), self.span);
    }

    /// What was odd about all series.
    pub(super) fn into_annotations(mut self) -> Annotations {
        if let AnyKernel::Scan(scan) = &self.kernel {
            for q in scan.invalid_quantiles() {
                self.annotations.add(Note::InvalidQuantile(*q), self.span);
            }
        }
        self.annotations
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_lite::future::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{STALE_NAN_BITS, TimestampMs};
    use crate::query::grid::Grid;
    use crate::query::leaf::Param;
    use crate::query::pace::Unpaced;
    use crate::query::quantile::{nearly_equal, quantile};

    /// What a function gives for one window, written down as simply as can be.
    fn model(function: &RangeFunction, window: &[Sample], end: i64, length: i64, eval: i64) -> f64 {
        let values: Vec<f64> = window.iter().map(|sample| sample.v).collect();
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let [first, .., last] = window else {
            return match (window, function) {
                ([], _) => ABSENT,
                ([one], RangeFunction::TimeOfFirst | RangeFunction::TimeOfMax) => seconds(one.t.0),
                ([_], RangeFunction::Count | RangeFunction::Present) => 1.0,
                ([_], RangeFunction::Changes | RangeFunction::Resets) => 0.0,
                ([one], RangeFunction::Stdvar) => one.v * 0.0,
                (
                    [one],
                    RangeFunction::Avg
                    | RangeFunction::Sum
                    | RangeFunction::Min
                    | RangeFunction::Max
                    | RangeFunction::First
                    | RangeFunction::Last,
                ) => one.v,
                ([one], RangeFunction::Quantile(q)) => quantile(q.at(0), &mut [one.v]),
                _ => ABSENT,
            };
        };
        let count = values.len() as f64;
        let pairs = || window.windows(2).map(|pair| (pair[0].v, pair[1].v));
        let extreme = |better: fn(f64, f64) -> bool| {
            let numbers = values.iter().filter(|v| !v.is_nan());
            numbers.copied().reduce(|a, b| if better(b, a) { b } else { a }).unwrap_or(f64::NAN)
        };
        match function {
            RangeFunction::Rate | RangeFunction::Increase | RangeFunction::Delta => {
                let counter = *function != RangeFunction::Delta;
                let mut rise = last.v - first.v;
                if counter {
                    rise = pairs().filter(|(a, b)| b < a).fold(rise, |rise, (a, _)| rise + a);
                }
                let sampled = seconds(last.t.0 - first.t.0);
                let spacing = sampled / (count - 1.0);
                let edge = |gap: f64| if gap >= spacing * 1.1 { spacing / 2.0 } else { gap };
                let mut before = edge(seconds(first.t.0 - (end - length)));
                if counter && rise > 0.0 && first.v >= 0.0 {
                    before = before.min(sampled * first.v / rise);
                }
                let all = rise * (sampled + before + edge(seconds(end - last.t.0))) / sampled;
                if *function == RangeFunction::Rate { all / seconds(length) } else { all }
            }
            RangeFunction::Irate | RangeFunction::Idelta => {
                let before = &window[window.len() - 2];
                let rise = last.v - before.v;
                if *function == RangeFunction::Idelta {
                    return rise;
                }
                let rise = if last.v < before.v { last.v } else { rise };
                rise / seconds(last.t.0 - before.t.0)
            }
            RangeFunction::PredictLinear(_) => {
                let xs: Vec<f64> = window.iter().map(|s| seconds(s.t.0 - eval)).collect();
                let (x, y) = (xs.iter().sum::<f64>() / count, values.iter().sum::<f64>() / count);
                let both: f64 = xs.iter().zip(&values).map(|(a, b)| (a - x) * (b - y)).sum();
                let square: f64 = xs.iter().map(|a| (a - x) * (a - x)).sum();
                y - both / square * x
            }
            RangeFunction::Changes => {
                let differ = |(a, b): &(f64, f64)| a != b && !(a.is_nan() && b.is_nan());
                pairs().filter(differ).count() as f64
            }
            RangeFunction::Resets => pairs().filter(|(a, b)| b < a).count() as f64,
            RangeFunction::Avg => values.iter().sum::<f64>() / count,
            RangeFunction::Sum => values.iter().sum(),
            RangeFunction::Count => count,
            RangeFunction::Min => extreme(|a, b| a < b),
            RangeFunction::Max => extreme(|a, b| a > b),
            RangeFunction::Stdvar => {
                let mean = values.iter().sum::<f64>() / count;
                values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count
            }
            RangeFunction::Quantile(q) => quantile(q.at(0), &mut values.clone()),
            RangeFunction::First => first.v,
            RangeFunction::Last => last.v,
            RangeFunction::Present => 1.0,
            RangeFunction::TimeOfFirst => seconds(first.t.0),
            RangeFunction::TimeOfMax => {
                let best = extreme(|a, b| a > b);
                let newest = window.iter().rev().find(|s| s.v == best);
                seconds(newest.unwrap_or(if best.is_nan() { last } else { first }).t.0)
            }
            _ => panic!("{function:?} has no model"),
        }
    }

    fn functions() -> Vec<RangeFunction> {
        vec![
            RangeFunction::Rate,
            RangeFunction::Increase,
            RangeFunction::Delta,
            RangeFunction::Irate,
            RangeFunction::Idelta,
            RangeFunction::PredictLinear(Param::Same(0.0)),
            RangeFunction::Changes,
            RangeFunction::Resets,
            RangeFunction::Avg,
            RangeFunction::Sum,
            RangeFunction::Count,
            RangeFunction::Min,
            RangeFunction::Max,
            RangeFunction::Stdvar,
            RangeFunction::Quantile(Param::Same(0.3)),
            RangeFunction::First,
            RangeFunction::Last,
            RangeFunction::Present,
            RangeFunction::TimeOfFirst,
            RangeFunction::TimeOfMax,
        ]
    }

    fn fold(shape: Shape, fold: Fold, pieces: &[&[Sample]]) -> Vec<f64> {
        let mut fold = SeriesFold::new(shape, &fold, usize::MAX, TextRange::default());
        // A series before the one that counts: it must leave nothing behind.
        fold.begin();
        let points = Cell::new(0);
        let pacer = Pacer::new(&Unpaced, &points);
        let before = |t: i64| Sample { t: TimestampMs(t * 999), v: f64::INFINITY };
        let before: Vec<Sample> = (0..50).map(before).collect();
        block_on(fold.feed(&before, pacer)).unwrap();
        block_on(fold.end(pacer)).unwrap();
        fold.begin();
        for piece in pieces {
            block_on(fold.feed(piece, pacer)).unwrap();
        }
        let Folded { first, values, .. } = block_on(fold.end(pacer)).unwrap();
        let mut steps = vec![ABSENT; shape.grid.count];
        steps[first..first + values.len()].copy_from_slice(values);
        steps
    }

    fn check(shape: Shape, samples: &[Sample], pieces: &[&[Sample]]) {
        for function in functions() {
            let have = fold(shape, Fold::Range(function.clone()), pieces);
            for (step, have) in have.into_iter().enumerate() {
                let end = shape.end(step);
                let mut window: Vec<Sample> = samples.to_vec();
                window.retain(|s| s.t.0 > end - shape.length && s.t.0 <= end);
                window.retain(|s| s.v.to_bits() != STALE_NAN_BITS);
                let want = model(&function, &window, end, shape.length, shape.grid.time(step));
                // A line through close samples, read off far away, amplifies rounding, here as upstream.
                let far = matches!(function, RangeFunction::PredictLinear(_));
                let tolerance = if far { 1e-3 } else { 1e-9 };
                let same = match (is_absent(want), is_absent(have)) {
                    (false, false) => {
                        nearly_equal(want, have, tolerance) || (want - have).abs() < 1e-7
                    }
                    (want, have) => want == have,
                };
                assert!(same, "{function:?} at step {step}: {have}, should be {want}");
            }
        }
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let value = prop_oneof![
            8 => (-50i32..50).prop_map(|v| f64::from(v) / 4.0),
            2 => 0.0..1000.0f64,
            1 => Just(f64::NAN),
            1 => Just(f64::from_bits(STALE_NAN_BITS)),
            1 => Just(f64::INFINITY),
        ];
        proptest::collection::vec((1i64..4000, value), 0..60).prop_map(|steps| {
            let mut t = -20_000;
            let next = |(gap, v)| {
                t += gap;
                Sample { t: TimestampMs(t), v }
            };
            steps.into_iter().map(next).collect()
        })
    }

    proptest! {
        #[test]
        fn sliding_windows_give_what_each_window_gives_on_its_own(
            samples in samples(),
            (start, step, count) in (-30_000i64..60_000, 1i64..9000, 1usize..20),
            (length, offset, pinned) in (1i64..30_000, -9000i64..9000, any::<bool>()),
            cut in 0usize..60,
        ) {
            let grid = Grid { start, step, count, is_instant: false };
            let end_step = if pinned { 0 } else { step };
            let shape = Shape { grid, first_end: start - offset, end_step, length };
            let (left, right) = samples.split_at(cut.min(samples.len()));
            check(shape, &samples, &[left, right]);
        }
    }

    /// Samples as Prometheus makes them: every second, but now and then late, or not at all.
    fn scraped() -> impl Strategy<Value = Vec<Sample>> {
        let gap =
            prop_oneof![60 => Just(1000i64), 1 => 1000i64..1003, 1 => Just(2000), 1 => Just(9000)];
        let rise =
            prop_oneof![20 => (0u32..9).prop_map(f64::from), 1 => Just(-1e9), 1 => Just(0.3)];
        proptest::collection::vec((gap, rise), 0..250).prop_map(|steps| {
            let next = |(t, v): &mut (i64, f64), (gap, rise)| {
                // Counters never fall below zero.
                (*t, *v) = (*t + gap, f64::max(*v + rise, 0.0));
                Some(Sample { t: TimestampMs(*t), v: *v })
            };
            steps.into_iter().scan((0, 0.0), next).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn windows_that_are_alike_have_the_bits_that_each_has_on_its_own(
            samples in scraped(),
            (start, step) in (-9000i64..20_000, prop_oneof![4 => (1i64..5).prop_map(|n| n * 1000), 1 => 1i64..5000]),
            length in prop_oneof![4 => (1i64..9).prop_map(|n| n * 1000), 1 => 1i64..9000],
            cut in 0usize..250,
        ) {
            let grid = Grid { start, step, count: 250, is_instant: false };
            let shape = Shape { grid, first_end: start, end_step: step, length };
            let (left, right) = samples.split_at(cut.min(samples.len()));
            let ranges = [RangeFunction::Rate, RangeFunction::Increase, RangeFunction::Delta, RangeFunction::Max];
            for one in ranges.map(Fold::Range).into_iter().chain([Fold::Newest, Fold::NewestTime]) {
                let have = fold(shape, one.clone(), &[left, right]);
                for (at, have) in have.into_iter().enumerate() {
                    let grid = Grid::instant(grid.time(at));
                    let alone = Shape { grid, first_end: grid.start, end_step: 1, length };
                    let want = fold(alone, one.clone(), &[&samples]);
                    prop_assert_eq!(want[0].to_bits(), have.to_bits(), "{:?} at step {}", one, at);
                }
            }
        }
    }

    #[test]
    fn a_series_longer_than_the_buffer_is_folded_in_pieces() {
        let value = |i: i64| if i % 1000 == 999 { 0.0 } else { (i % 1000) as f64 };
        let samples: Vec<Sample> =
            (0..10_000).map(|i| Sample { t: TimestampMs(i * 15_000), v: value(i) }).collect();
        let grid = Grid { start: 7_000_000, step: 7_777_000, count: 19, is_instant: false };
        // The second kind of window alone is larger than the buffer.
        for length in [9_000_000, 75_000_000] {
            let shape = Shape { grid, first_end: grid.start, end_step: grid.step, length };
            check(shape, &samples, &[&samples]);
        }
    }

    #[test]
    fn a_window_that_holds_too_many_samples_is_refused() {
        let grid = Grid::instant(1_000_000);
        let shape = Shape { grid, first_end: grid.start, end_step: 1, length: 1_000_000 };
        let mut fold =
            SeriesFold::new(shape, &Fold::Range(RangeFunction::Sum), 5000, TextRange::default());
        fold.begin();
        let points = Cell::new(0);
        let samples: Vec<Sample> =
            (1..10_000).map(|t| Sample { t: TimestampMs(t), v: 1.0 }).collect();
        let fed = block_on(fold.feed(&samples, Pacer::new(&Unpaced, &points)));
        assert_eq!(fed, Err(QueryError::TooManySamples));
    }
}
