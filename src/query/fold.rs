//! Folding one series after the other: samples in, a value for each step out.
//!
//! Where the samples come from does not matter: a shard feeds what it stores, the coordinator what a subquery evaluated.

use super::annotation::{Annotations, Note};
use super::ast::TextRange;
use super::error::QueryError;
use super::functions::over_time::{Ends, Extreme, Scan};
use super::functions::rate::{Extrapolated, LastStep, Turns};
use super::functions::regression::Line;
use super::functions::sliding_sum::SlidingSum;
use super::leaf::{Fold, RangeFunction, Shape};
use super::value::{ABSENT, is_absent};
use super::window::{Kernel, Newest, NewestTime, Windows};
use crate::model::Sample;

/// Folds series by one function, one at a time.
#[derive(Debug)]
pub(super) struct SeriesFold {
    windows: Windows,
    kernel: AnyKernel,
    /// One value a step; all [`ABSENT`] between two series.
    out: Vec<f64>,
    /// The steps of `out` that are not [`ABSENT`] lie in this range once a series has ended.
    run: (usize, usize),
    /// The most samples that the windows may hold at once.
    samples_max: usize,
    /// The last metric name that was noted not to be a counter's.
    non_counter: Option<String>,
    /// Is a name that is not a counter's worth a note?
    expects_counter: bool,
    annotations: Annotations,
    /// Where annotations point to: the function's first argument.
    span: TextRange,
}

/// One of the kernels, so that they are told apart once for thousands of samples.
#[derive(Debug)]
enum AnyKernel {
    Newest(Newest),
    NewestTime(NewestTime),
    Extrapolated(Extrapolated),
    LastStep(LastStep),
    Turns(Turns),
    SlidingSum(SlidingSum),
    Extreme(Extreme),
    Ends(Ends),
    Line(Line),
    Scan(Scan),
}

/// Runs `$body` with `$kernel` bound to whichever kernel it is.
macro_rules! with_kernel {
    ($any:expr, $kernel:ident => $body:expr) => {
        match $any {
            AnyKernel::Newest($kernel) => $body,
            AnyKernel::NewestTime($kernel) => $body,
            AnyKernel::Extrapolated($kernel) => $body,
            AnyKernel::LastStep($kernel) => $body,
            AnyKernel::Turns($kernel) => $body,
            AnyKernel::SlidingSum($kernel) => $body,
            AnyKernel::Extreme($kernel) => $body,
            AnyKernel::Ends($kernel) => $body,
            AnyKernel::Line($kernel) => $body,
            AnyKernel::Scan($kernel) => $body,
        }
    };
}

impl AnyKernel {
    fn of(function: &RangeFunction) -> Self {
        match function {
            RangeFunction::Rate => Self::Extrapolated(Extrapolated::rate()),
            RangeFunction::Increase => Self::Extrapolated(Extrapolated::increase()),
            RangeFunction::Delta => Self::Extrapolated(Extrapolated::delta()),
            RangeFunction::Irate => Self::LastStep(LastStep { rate: true }),
            RangeFunction::Idelta => Self::LastStep(LastStep { rate: false }),
            RangeFunction::Deriv => Self::Line(Line::Slope),
            RangeFunction::PredictLinear(seconds) => Self::Line(Line::Ahead(seconds.clone())),
            RangeFunction::Changes => Self::Turns(Turns::changes()),
            RangeFunction::Resets => Self::Turns(Turns::resets()),
            RangeFunction::Avg => Self::SlidingSum(SlidingSum::mean()),
            RangeFunction::Sum => Self::SlidingSum(SlidingSum::sum()),
            RangeFunction::Count => Self::Ends(Ends::Count),
            RangeFunction::Min => Self::Extreme(Extreme::smallest()),
            RangeFunction::Max => Self::Extreme(Extreme::largest()),
            RangeFunction::Stddev => Self::Scan(Scan::Stddev),
            RangeFunction::Stdvar => Self::Scan(Scan::Stdvar),
            RangeFunction::Quantile(q) => {
                Self::Scan(Scan::Quantile(q.clone(), Vec::new(), Vec::new()))
            }
            RangeFunction::Mad => Self::Scan(Scan::Mad(Vec::new())),
            RangeFunction::First => Self::Ends(Ends::First),
            RangeFunction::Last => Self::Ends(Ends::Last),
            RangeFunction::Present => Self::Ends(Ends::Present),
            RangeFunction::TimeOfFirst => Self::Ends(Ends::TimeOfFirst),
            RangeFunction::TimeOfLast => Self::Ends(Ends::TimeOfLast),
            RangeFunction::TimeOfMin => Self::Scan(Scan::TimeOfMin),
            RangeFunction::TimeOfMax => Self::Scan(Scan::TimeOfMax),
            RangeFunction::Smoothing(level, trend) => {
                Self::Scan(Scan::Smoothing(level.clone(), trend.clone(), None))
            }
        }
    }
}

impl SeriesFold {
    /// A fold of series over windows of `shape`, of which at most `samples_max` samples may be held at once; notes point
    /// to `span`.
    pub(super) fn new(shape: Shape, fold: &Fold, samples_max: usize, span: TextRange) -> Self {
        let kernel = match fold {
            Fold::Newest | Fold::Samples => AnyKernel::Newest(Newest),
            Fold::NewestTime => AnyKernel::NewestTime(NewestTime),
            Fold::Range(function) => AnyKernel::of(function),
        };
        let instant = matches!(fold, Fold::Newest | Fold::NewestTime);
        Self {
            windows: Windows::new(shape, instant),
            kernel,
            out: vec![ABSENT; shape.grid.count],
            run: (0, 0),
            samples_max,
            non_counter: None,
            expects_counter: matches!(
                fold,
                Fold::Range(RangeFunction::Rate | RangeFunction::Increase)
            ),
            annotations: Annotations::default(),
            span,
        }
    }

    /// A new series begins.
    pub(super) fn begin(&mut self) {
        let (first, end) = self.run;
        if let Some(written) = self.out.get_mut(first..end) {
            written.fill(ABSENT);
        }
        self.run = (0, 0);
        self.windows.reset();
        with_kernel!(&mut self.kernel, kernel => kernel.reset());
    }

    /// The series' next samples, in order of time.
    ///
    /// # Errors
    /// A window that holds more samples than a query may.
    pub(super) fn feed(
        &mut self,
        samples: impl IntoIterator<Item = Sample>,
    ) -> Result<(), QueryError> {
        let mut samples = samples.into_iter();
        while self.windows.gather(&mut samples) {
            let windows = &mut self.windows;
            with_kernel!(&mut self.kernel, kernel => windows.advance(kernel, false, &mut self.out));
            if self.windows.buffered() > self.samples_max {
                return Err(QueryError::TooManySamples);
            }
        }
        Ok(())
    }

    /// The series has no more samples: the first step with a value, and the values from there on to the last one. Empty
    /// if there is none.
    ///
    /// # Errors
    /// What the function refuses to compute.
    pub(super) fn end(&mut self) -> Result<(usize, &[f64]), QueryError> {
        let windows = &mut self.windows;
        with_kernel!(&mut self.kernel, kernel => windows.advance(kernel, true, &mut self.out));
        if let AnyKernel::Scan(scan) = &self.kernel
            && let Some(failure) = scan.failure()
        {
            return Err(QueryError::Execution(failure.to_owned()));
        }
        let steps = self.windows.written();
        let written = self.out.get(steps.clone()).unwrap_or_default();
        let Some(first) = written.iter().position(|v| !is_absent(*v)) else {
            self.run = (steps.start, steps.end);
            return Ok((0, &[]));
        };
        let last = written.iter().rposition(|v| !is_absent(*v)).unwrap_or(first);
        self.run = (steps.start + first, steps.start + last + 1);
        Ok((self.run.0, self.out.get(self.run.0..self.run.1).unwrap_or_default()))
    }

    /// Should [`note_metric`](Self::note_metric) be told of series' names?
    pub(super) fn expects_counter(&self) -> bool {
        self.expects_counter
    }

    /// How many samples have been fed, those outside of all windows left out.
    pub(super) fn samples_read(&self) -> u64 {
        self.windows.samples_read()
    }

    /// Notes that the series that has just ended, and had a value, is called `metric`.
    pub(super) fn note_metric(&mut self, metric: &str) {
        let counter = |name: &str| {
            ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
        };
        if !self.expects_counter || metric.is_empty() || counter(metric) {
            return;
        }
        if self.non_counter.as_deref() != Some(metric) {
            self.annotations.add(Note::PossibleNonCounter(metric.to_owned()), self.span);
            self.non_counter = Some(metric.to_owned());
        }
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
