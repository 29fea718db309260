//! Windows over a series that has native histograms, alone or beside floats; or that has more to it in other ways: start
//! timestamps that are looked at, or a selector that is `anchored` or `smoothed`.
//!
//! Other series of floats are [`Windows`](super::window::Windows)' and fast; here each window is looked at on its own. A
//! series comes here with its first histogram or start, and brings along the floats of the windows that are still open.

use std::ops::Range;
use std::sync::Arc;

use super::error::QueryError;
use super::float_histogram::FloatHistogram;
use super::functions::starts::Span;
use super::grid::Grid;
use super::leaf::Shape;
use super::value::{ABSENT, HistogramAt, HistogramPoint, Point, present};
use crate::model::histogram::ResetHint;
use crate::model::{Sample, SampleStart, SamplesRef, TimestampMs, is_stale_nan};

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
    /// Since when the counters of the floats and of the histograms count, if any of the series is known to; zero where it is
    /// not known.
    pub starts: Option<(&'a [i64], &'a [i64])>,
    /// The window ends here, in milliseconds.
    pub end: i64,
    /// How long the window is, in milliseconds.
    pub length: i64,
    /// Which step.
    pub step: usize,
    /// The instants of the steps.
    pub grid: &'a Grid,
}

/// A sample of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct MixedSample<'a> {
    /// When, in milliseconds.
    pub t: i64,
    /// Since when the counter counts; zero if that is not known.
    pub start: i64,
    /// What.
    pub value: Either<'a>,
}

/// The value of a sample, whichever kind it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Either<'a> {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(&'a Arc<FloatHistogram>),
}

impl MixedSample<'_> {
    /// From the start to the sample.
    pub(super) fn span(&self) -> Span {
        Span { start: self.start, t: self.t }
    }
}

impl<'a> MixedWindow<'a> {
    /// The floats, in order of time.
    fn floats(&self) -> impl DoubleEndedIterator<Item = MixedSample<'a>> + ExactSizeIterator {
        let starts = self.starts.map(|(starts, _)| starts).unwrap_or_default();
        self.ts.iter().zip(self.vs).enumerate().map(|(at, (t, v))| {
            let start = starts.get(at).copied().unwrap_or(0);
            MixedSample { t: *t, start, value: Either::Float(*v) }
        })
    }

    /// The histograms, in order of time.
    pub(super) fn histograms(
        &self,
    ) -> impl DoubleEndedIterator<Item = MixedSample<'a>> + ExactSizeIterator {
        let starts = self.starts.map(|(_, starts)| starts).unwrap_or_default();
        self.histograms.iter().enumerate().map(|(at, (t, h))| {
            let start = starts.get(at).copied().unwrap_or(0);
            MixedSample { t: *t, start, value: Either::Histogram(h) }
        })
    }

    /// All samples in order of time.
    pub(super) fn iter(&self) -> impl Iterator<Item = MixedSample<'a>> {
        let (mut floats, mut histograms) = (self.floats().peekable(), self.histograms().peekable());
        std::iter::from_fn(move || {
            let at = histograms.peek().map(|histogram| histogram.t);
            floats.next_if(|float| at.is_none_or(|at| float.t < at)).or_else(|| histograms.next())
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
        let starts = self.starts.map(|(floats, histograms)| {
            let (floats, histograms) = (floats.get(float..), histograms.get(histogram..));
            (floats.unwrap_or_default(), histograms.unwrap_or_default())
        });
        Some(Self {
            ts: self.ts.get(float..).unwrap_or_default(),
            vs: self.vs.get(float..).unwrap_or_default(),
            histograms: self.histograms.get(histogram..).unwrap_or_default(),
            starts,
            ..*self
        })
    }

    /// The first sample.
    pub(super) fn first(&self) -> Option<MixedSample<'a>> {
        self.iter().next()
    }

    /// The last sample.
    pub(super) fn last(&self) -> Option<MixedSample<'a>> {
        let (float, histogram) = (self.floats().next_back(), self.histograms().next_back());
        // Of two at one instant, the histogram counts as the later one.
        match (float, histogram) {
            (Some(float), Some(histogram)) if float.t > histogram.t => Some(float),
            (float, histogram) => histogram.or(float),
        }
    }

    /// The last two samples, the earlier one first; `None` if there are fewer.
    pub(super) fn last_two(&self) -> Option<[MixedSample<'a>; 2]> {
        let mut last: Vec<_> = self.floats().rev().take(2).collect();
        last.extend(self.histograms().rev().take(2));
        last.sort_by_key(|sample| std::cmp::Reverse(sample.t));
        match last.as_slice() {
            [last, before, ..] => Some([*before, *last]),
            _ => None,
        }
    }
}

/// The windows of one series.
#[derive(Debug)]
pub(super) struct MixedWindows {
    shape: Shape,
    /// Do stale markers count as samples?
    keeps_stale: bool,
    /// Are only counts and sums of the histograms looked at? Then whether there was a reset is found out before anything
    /// is put together, and said by every histogram.
    stats_only: bool,
    /// Is the series ours?
    active: bool,
    ts: Vec<i64>,
    vs: Vec<f64>,
    histograms: Vec<HistogramAt>,
    /// The starts of floats and histograms, zero where they are not known; none at all before one is known.
    float_starts: Vec<i64>,
    histogram_starts: Vec<i64>,
    has_starts: bool,
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
            float_starts: Vec::new(),
            histogram_starts: Vec::new(),
            has_starts: false,
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
        self.float_starts.clear();
        self.histogram_starts.clear();
        self.has_starts = false;
        self.out.clear();
        (self.held, self.step, self.before) = (0, 0, None);
        self.written = 0..0;
    }

    /// Is the series ours, because it has a histogram or for another reason?
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// The series becomes ours: from the step `step` on its windows are ours, and these floats are still in some of them.
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
        if !samples.starts.is_empty() && !self.has_starts {
            self.has_starts = true;
            self.float_starts.resize(self.ts.len(), 0);
            self.histogram_starts.resize(self.histograms.len(), 0);
        }
        let mut starts = Starts(samples.starts);
        for sample in samples.floats {
            if self.push_float(*sample) && self.has_starts {
                self.float_starts.push(starts.at(sample.t));
            }
        }
        let mut starts = Starts(samples.starts);
        for sample in samples.histograms {
            let histogram = sample.histogram.as_ref();
            if self.is_seen(sample.t.0) && (self.keeps_stale || !histogram.is_stale()) {
                let mut histogram = FloatHistogram::of(histogram);
                if self.stats_only {
                    histogram = self.stats_of(histogram);
                }
                self.push_histogram(sample.t.0, Arc::new(histogram));
                if self.has_starts {
                    self.histogram_starts.push(starts.at(sample.t));
                }
            }
            self.fits(samples_max)?;
        }
        self.fits(samples_max)
    }

    /// Like [`feed`](Self::feed), of histograms that have been computed.
    pub(super) fn feed_points(
        &mut self,
        floats: &[Sample],
        histograms: Vec<HistogramAt>,
        samples_max: usize,
    ) -> Result<(), QueryError> {
        for sample in floats {
            self.push_float(*sample);
        }
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

    /// Takes a float in, unless no window sees it; was it taken in?
    fn push_float(&mut self, Sample { t, v }: Sample) -> bool {
        if !self.is_seen(t.0) || is_stale_nan(v) && !self.keeps_stale {
            return false;
        }
        self.ts.push(t.0);
        self.vs.push(if is_stale_nan(v) { v } else { present(v) });
        self.samples_read += 1;
        true
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
                starts: self.has_starts.then(|| {
                    let of_floats = self.float_starts.get(float.lo..float.hi);
                    let of_histograms = self.histogram_starts.get(histogram.lo..histogram.hi);
                    (of_floats.unwrap_or_default(), of_histograms.unwrap_or_default())
                }),
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
        self.float_starts.drain(..float.lo.min(self.float_starts.len()));
        self.histogram_starts.drain(..histogram.lo.min(self.histogram_starts.len()));
        let gone = self.histograms.drain(..histogram.lo.min(self.histograms.len()));
        self.held -= gone.map(|(_, h)| h.points()).sum::<usize>();
        done
    }
}

/// The starts of samples that are asked for in order of time.
struct Starts<'a>(&'a [SampleStart]);

impl Starts<'_> {
    /// The start of the sample at `t`; zero if it has none.
    fn at(&mut self, t: TimestampMs) -> i64 {
        while let Some((first, rest)) = self.0.split_first() {
            if first.t >= t {
                return if first.t == t { first.start.0 } else { 0 };
            }
            self.0 = rest;
        }
        0
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
