//! Windows over a series that has native histograms, alone or beside floats.
//!
//! Series of floats are [`Windows`](super::window::Windows)' and fast; here each window is looked at on its own. A series
//! comes here with its first histogram, and brings along the floats of the windows that are still open.

use std::ops::Range;
use std::sync::Arc;

use super::error::QueryError;
use super::float_histogram::FloatHistogram;
use super::grid::Grid;
use super::leaf::Shape;
use super::value::{ABSENT, HistogramAt, HistogramPoint, Point, present};
use crate::model::histogram::ResetHint;
use crate::model::{Sample, SamplesRef, is_stale_nan};

/// What looking at a histogram costs, in points.
const HISTOGRAM_POINTS: usize = 64;

/// The samples of one step's window; never empty.
pub(super) struct MixedWindow<'a> {
    /// The times of the floats, in milliseconds.
    pub ts: &'a [i64],
    /// The floats.
    pub vs: &'a [f64],
    /// The histograms and their times.
    pub histograms: &'a [HistogramAt],
    /// The window ends here, in milliseconds.
    pub end: i64,
    /// How long the window is, in milliseconds.
    pub length: i64,
    /// Which step.
    pub step: usize,
    /// The instants of the steps.
    pub grid: &'a Grid,
}

/// A sample of a window, whichever kind it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Either<'a> {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(&'a Arc<FloatHistogram>),
}

/// A sample and its time in milliseconds.
pub(super) type At<'a> = (i64, Either<'a>);

impl<'a> MixedWindow<'a> {
    /// All samples in order of time.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, Either<'a>)> {
        let mut floats = self.ts.iter().zip(self.vs).peekable();
        let mut histograms = self.histograms.iter().peekable();
        std::iter::from_fn(move || {
            let at = histograms.peek().map(|(t, _)| *t);
            if let Some((t, v)) = floats.next_if(|(t, _)| at.is_none_or(|at| **t < at)) {
                return Some((*t, Either::Float(*v)));
            }
            histograms.next().map(|(t, h)| (*t, Either::Histogram(h)))
        })
    }

    /// The same window without what lies before `start`, but for the last sample until then, whichever kind it is; `None`
    /// if nothing lies behind `start`.
    pub(super) fn anchored(&self, start: i64) -> Option<Self> {
        let mut float = self.ts.partition_point(|t| *t <= start);
        let mut histogram = self.histograms.partition_point(|(t, _)| *t <= start);
        if float == self.ts.len() && histogram == self.histograms.len() {
            return None;
        }
        let last_float = float.checked_sub(1).and_then(|at| self.ts.get(at));
        let last_histogram = histogram.checked_sub(1).and_then(|at| self.histograms.get(at));
        match (last_float, last_histogram) {
            (Some(t), Some((other, _))) if t < other => histogram -= 1,
            (Some(_), _) => float -= 1,
            (None, Some(_)) => histogram -= 1,
            (None, None) => {}
        }
        Some(Self {
            ts: self.ts.get(float..).unwrap_or_default(),
            vs: self.vs.get(float..).unwrap_or_default(),
            histograms: self.histograms.get(histogram..).unwrap_or_default(),
            ..*self
        })
    }

    /// The first sample.
    pub(super) fn first(&self) -> Option<(i64, Either<'a>)> {
        self.iter().next()
    }

    /// The last sample, and the one before it.
    pub(super) fn last_two(&self) -> (Option<At<'a>>, Option<At<'a>>) {
        let floats = self.ts.iter().zip(self.vs).rev().take(2);
        let histograms = self.histograms.iter().rev().take(2);
        let mut last: Vec<(i64, Either<'a>)> =
            floats.map(|(t, v)| (*t, Either::Float(*v))).collect();
        last.extend(histograms.map(|(t, h)| (*t, Either::Histogram(h))));
        last.sort_by_key(|(t, _)| std::cmp::Reverse(*t));
        let mut last = last.into_iter();
        (last.next(), last.next())
    }
}

/// The windows of one series that has histograms.
#[derive(Debug)]
pub(super) struct MixedWindows {
    shape: Shape,
    /// Do stale markers count as samples?
    keeps_stale: bool,
    /// Are only counts and sums of the histograms looked at? Then whether there was a reset is found out before anything
    /// is put together, and said by every histogram.
    stats_only: bool,
    /// Has this series had a histogram?
    active: bool,
    ts: Vec<i64>,
    vs: Vec<f64>,
    histograms: Vec<HistogramAt>,
    /// The histograms' size, in samples.
    held: usize,
    /// The last histogram that has come, if `stats_only`.
    before: Option<FloatHistogram>,
    step: usize,
    /// The histograms that came out.
    out: Vec<HistogramPoint>,
    /// The steps of floats that came out lie in this range.
    written: Range<usize>,
    /// Samples of all series.
    samples_read: u64,
}

impl MixedWindows {
    /// Windows of `shape`, before any sample.
    pub(super) fn new(shape: Shape, keeps_stale: bool) -> Self {
        Self {
            shape,
            keeps_stale,
            stats_only: false,
            active: false,
            ts: Vec::new(),
            vs: Vec::new(),
            histograms: Vec::new(),
            held: 0,
            before: None,
            step: 0,
            out: Vec::new(),
            written: 0..0,
            samples_read: 0,
        }
    }

    /// The same windows for whoever looks at counts and sums alone.
    pub(super) fn for_stats_only(self, stats_only: bool) -> Self {
        Self { stats_only, ..self }
    }

    /// Forgets the series: another one begins.
    pub(super) fn reset(&mut self) {
        if !std::mem::take(&mut self.active) {
            return;
        }
        self.ts.clear();
        self.vs.clear();
        self.histograms.clear();
        self.out.clear();
        (self.held, self.step, self.before) = (0, 0, None);
        self.written = 0..0;
    }

    /// Has this series had a histogram?
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// The series has a histogram: from the step `step` on its windows are ours, and these floats are still in some of them.
    pub(super) fn take_over(&mut self, step: usize, ts: &[i64], vs: &[f64]) {
        self.active = true;
        self.step = step;
        self.ts.extend_from_slice(ts);
        self.vs.extend_from_slice(vs);
    }

    /// The steps of floats that came out lie in this range.
    pub(super) fn written(&self) -> Range<usize> {
        self.written.clone()
    }

    /// The histograms that came out.
    pub(super) fn out_mut(&mut self) -> &mut Vec<HistogramPoint> {
        &mut self.out
    }

    /// How many samples of all series have been taken in; a histogram is as many as it is large.
    pub(super) fn samples_read(&self) -> u64 {
        self.samples_read
    }

    /// Takes samples in, in order of time.
    ///
    /// # Errors
    /// More samples than `samples_max` would be held.
    pub(super) fn feed(
        &mut self,
        samples: SamplesRef<'_>,
        samples_max: usize,
    ) -> Result<(), QueryError> {
        samples.floats.iter().for_each(|sample| self.push_float(*sample));
        for sample in samples.histograms {
            let histogram = sample.histogram.as_ref();
            if self.is_seen(sample.t.0) && (self.keeps_stale || !histogram.is_stale()) {
                let mut histogram = FloatHistogram::of(histogram);
                if self.stats_only {
                    histogram = self.stats_of(histogram);
                }
                self.push_histogram(sample.t.0, Arc::new(histogram));
            }
            self.fits(samples_max)?;
        }
        self.fits(samples_max)
    }

    /// Like [`feed`](Self::feed), of histograms that have been computed.
    pub(super) fn feed_points(
        &mut self,
        floats: impl IntoIterator<Item = Sample>,
        histograms: Vec<HistogramAt>,
        samples_max: usize,
    ) -> Result<(), QueryError> {
        floats.into_iter().for_each(|sample| self.push_float(sample));
        for (t, histogram) in histograms {
            if self.is_seen(t) {
                self.push_histogram(t, histogram);
            }
        }
        self.fits(samples_max)
    }

    /// May any window that is still open see a sample at `t`?
    fn is_seen(&self, t: i64) -> bool {
        let before = self.shape.end(self.step).saturating_sub(self.shape.length);
        t > before && t <= self.shape.end(self.shape.grid.count.saturating_sub(1))
    }

    fn fits(&self, samples_max: usize) -> Result<(), QueryError> {
        if self.held + self.ts.len() > samples_max {
            Err(QueryError::TooManySamples)
        } else {
            Ok(())
        }
    }

    fn push_float(&mut self, Sample { t, v }: Sample) {
        if !self.is_seen(t.0) || is_stale_nan(v) && !self.keeps_stale {
            return;
        }
        self.ts.push(t.0);
        self.vs.push(if is_stale_nan(v) { v } else { present(v) });
        self.samples_read += 1;
    }

    fn push_histogram(&mut self, t: i64, histogram: Arc<FloatHistogram>) {
        let points = histogram.points();
        self.held += points;
        self.samples_read += points as u64;
        self.histograms.push((t, histogram));
    }

    /// What is looked at of a histogram of which only count and sum are, and whether a counter was reset before it: that is
    /// found out while the buckets are there. Source: `promql/histogram_stats_iterator.go`.
    fn stats_of(&mut self, mut histogram: FloatHistogram) -> FloatHistogram {
        let stats = |of: &FloatHistogram| FloatHistogram {
            reset_hint: of.reset_hint,
            count: of.count,
            sum: of.sum,
            ..FloatHistogram::empty(of.schema)
        };
        if histogram.is_stale() {
            return stats(&histogram);
        }
        if histogram.reset_hint == ResetHint::Unknown
            && let Some(before) = &self.before
        {
            let is_reset = histogram.is_reset_after(before);
            histogram.reset_hint = if is_reset { ResetHint::Reset } else { ResetHint::NotReset };
        }
        let stats = stats(&histogram);
        self.before = Some(histogram);
        stats
    }

    /// Computes every window that no later sample can fall into; with `ended`, all windows. Floats go to `out`, which has a
    /// place for each step that floats may reach, and is grown as it needs.
    ///
    /// Stops when about as many points as `work` says are worked through, takes them off it, and says whether it is done.
    pub(super) fn advance(
        &mut self,
        ended: bool,
        out: &mut Vec<f64>,
        work: &mut usize,
        mut compute: impl FnMut(&MixedWindow<'_>) -> Option<Point>,
    ) -> bool {
        let shape = self.shape;
        let newest = self.ts.last().copied().max(self.histograms.last().map(|(t, _)| *t));
        let Some(newest) = newest else {
            return true;
        };
        let mut done = true;
        let (mut float, mut histogram) = (Cursor::default(), Cursor::default());
        while self.step < shape.grid.count {
            let end = shape.end(self.step);
            if !ended && end >= newest {
                break;
            }
            if *work == 0 {
                done = false;
                break;
            }
            let start = end.saturating_sub(shape.length);
            float.move_to(start, end, |at| self.ts.get(at).copied());
            histogram.move_to(start, end, |at| self.histograms.get(at).map(|(t, _)| *t));
            let window = MixedWindow {
                ts: self.ts.get(float.lo..float.hi).unwrap_or_default(),
                vs: self.vs.get(float.lo..float.hi).unwrap_or_default(),
                histograms: self.histograms.get(histogram.lo..histogram.hi).unwrap_or_default(),
                end,
                length: shape.length,
                step: self.step,
                grid: &shape.grid,
            };
            let points = 1 + window.ts.len() + window.histograms.len() * HISTOGRAM_POINTS;
            *work = work.saturating_sub(points);
            let is_empty = window.ts.is_empty() && window.histograms.is_empty();
            match if is_empty { None } else { compute(&window) } {
                Some(Point::Float(v)) => {
                    if out.len() <= self.step {
                        out.resize(self.step + 1, ABSENT);
                    }
                    if let Some(slot) = out.get_mut(self.step) {
                        *slot = v;
                    }
                    let is_first = self.written.is_empty();
                    let first = if is_first { self.step } else { self.written.start };
                    self.written = first..self.step + 1;
                }
                Some(Point::Histogram(h)) => self.out.push((self.step, h)),
                None => {}
            }
            self.step += 1;
        }
        self.ts.drain(..float.lo.min(self.ts.len()));
        self.vs.drain(..float.lo.min(self.vs.len()));
        let gone = self.histograms.drain(..histogram.lo.min(self.histograms.len()));
        self.held -= gone.map(|(_, h)| h.points()).sum::<usize>();
        done
    }
}

/// The bounds of a window in one of the lists.
#[derive(Default)]
struct Cursor {
    lo: usize,
    hi: usize,
}

impl Cursor {
    fn move_to(&mut self, start: i64, end: i64, time: impl Fn(usize) -> Option<i64>) {
        while time(self.lo).is_some_and(|t| t <= start) {
            self.lo += 1;
        }
        self.hi = self.hi.max(self.lo);
        while time(self.hi).is_some_and(|t| t <= end) {
            self.hi += 1;
        }
    }
}
