//! A leaf of a query: which samples a selector wants, and what each series' samples are folded into before they leave
//! the shard that owns them.
//!
//! Plain data: made by [`prepare`](super::prepare()), cloned to every shard, executed there by
//! [`LeafFold`](super::LeafFold). Windows are left-open: step `i` sees the samples in `(end_i - length, end_i]`, where
//! the ends run on their own grid, shifted by `offset` or pinned by `@`.

use std::sync::Arc;

use super::ast::{AggregateOp, Extension, TextRange};
use super::grid::Grid;
use super::grouping::{Grouping, METRIC_LABELS, NAME_ALONE};
use super::point_map::PointMap;
use crate::model::matcher::Matcher;
use crate::model::{Labels, TimeRange, TimestampMs};

/// What one selector of a query asks each shard.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub(super) matchers: Vec<Matcher>,
    pub(super) shape: Shape,
    pub(super) fold: Fold,
    /// What changes each folded point, in order.
    pub(super) maps: Vec<PointMap>,
    pub(super) name: NameRule,
    pub(super) reduce: Option<Reduce>,
    /// Is nothing looked at of histograms but their counts and sums?
    pub(super) stats_only: bool,
    /// Are start timestamps of samples looked at?
    pub(super) wants_starts: bool,
    /// Does the label of a metric's type say whether it is a counter?
    pub(super) looks_at_types: bool,
    /// Is it counted what each step looks at?
    pub(super) counts_reads: bool,
    /// Where annotations point to: the first argument of the function around the selector.
    pub(super) span: TextRange,
    /// The most samples that one shard may hold for this leaf.
    pub(super) samples_max: usize,
}

/// When a fold is evaluated and which samples it then sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The instants of evaluation, at least one.
    pub grid: Grid,
    /// The last instant of the first step's window, in milliseconds.
    pub first_end: i64,
    /// From one window's end to the next one's, in milliseconds: the grid's step, or 0 under `@`.
    pub end_step: i64,
    /// How long each window is, in milliseconds: the range, or the lookback.
    pub length: i64,
}

/// What becomes of one series' samples at each step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fold {
    /// The newest sample, unless it is a stale marker: an instant selector.
    Newest,
    /// The time of the newest sample, in seconds: `timestamp` of an instant selector.
    NewestTime,
    /// Since when the newest sample's counter counts, in seconds: `start_timestamp` of an instant selector.
    NewestStart,
    /// The value on the line between the samples around the instant: an instant selector that is `smoothed`.
    Smoothed(Reach),
    /// The same of numbers, and histograms as they are: what `info` has to know of info series, and must refuse.
    InfoTime,
    /// A function over all samples of the window.
    Range(RangeFunction),
    /// A function over a range that is `anchored` or `smoothed`.
    Extended(RangeFunction, Reach),
    /// The samples themselves, for what only the coordinator can fold; or as `anchored` or `smoothed` have them.
    Samples(Option<Reach>),
}

impl Fold {
    /// Does it look at start timestamps, where they are in use?
    pub(super) fn looks_at_starts(&self) -> bool {
        use RangeFunction as F;
        match self {
            Self::NewestStart | Self::Extended(F::Resets, _) => true,
            Self::Range(function) => {
                matches!(function, F::Rate | F::Increase | F::Irate | F::Resets)
            }
            _ => false,
        }
    }
}

/// How far beyond its range a selector looks that is `anchored` or `smoothed`. Its windows are wide enough for that; what
/// its range is within them, this tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Which of the two.
    pub extension: Extension,
    /// How far to look, in milliseconds.
    pub lookback: i64,
}

impl Reach {
    /// Is what lies between samples on a line between them?
    pub(super) fn is_smoothed(self) -> bool {
        self.extension == Extension::Smoothed
    }

    /// How far to look behind the end of the range.
    fn after(self) -> i64 {
        if self.is_smoothed() { self.lookback } else { 0 }
    }

    /// The windows of `shape`, made wide enough.
    pub(super) fn widen(self, shape: Shape) -> Shape {
        let beyond = self.lookback.saturating_add(self.after());
        Shape {
            first_end: shape.first_end.saturating_add(self.after()),
            length: shape.length.saturating_add(beyond),
            ..shape
        }
    }

    /// The range of a wide window that ends at `end`: its start, which is not in it, and its end, which is.
    pub(super) fn range(self, end: i64, length: i64) -> (i64, i64) {
        let length = length.saturating_sub(self.lookback).saturating_sub(self.after());
        let end = end.saturating_sub(self.after());
        (end.saturating_sub(length), end)
    }
}

/// The functions over a window of samples that give one number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RangeFunction {
    /// `rate`
    Rate,
    /// `increase`
    Increase,
    /// `delta`
    Delta,
    /// `irate`
    Irate,
    /// `idelta`
    Idelta,
    /// `deriv`
    Deriv,
    /// `predict_linear`, with the seconds to look ahead.
    PredictLinear(Param),
    /// `changes`
    Changes,
    /// `resets`
    Resets,
    /// `avg_over_time`
    Avg,
    /// `sum_over_time`
    Sum,
    /// `count_over_time`
    Count,
    /// `min_over_time`
    Min,
    /// `max_over_time`
    Max,
    /// `stddev_over_time`
    Stddev,
    /// `stdvar_over_time`
    Stdvar,
    /// `quantile_over_time`, with the quantile.
    Quantile(Param),
    /// `mad_over_time`
    Mad,
    /// `first_over_time`
    First,
    /// `last_over_time`
    Last,
    /// `present_over_time`; also what `absent_over_time` is made of.
    Present,
    /// `ts_of_first_over_time`
    TimeOfFirst,
    /// `ts_of_last_over_time`
    TimeOfLast,
    /// `ts_of_min_over_time`
    TimeOfMin,
    /// `ts_of_max_over_time`
    TimeOfMax,
    /// `double_exponential_smoothing`, with the factors of level and trend.
    Smoothing(Param, Param),
}

/// A scalar argument of a function, known before any sample is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Param {
    /// The same at every step.
    Same(f64),
    /// One for each step.
    Each(Arc<[f64]>),
}

impl Param {
    /// The instants of a grid's steps in seconds.
    pub(super) fn seconds_of(grid: Grid) -> Self {
        Self::Each((0..grid.count).map(|step| grid.time(step) as f64 / 1000.0).collect())
    }

    /// The argument at `step`.
    pub(super) fn at(&self, step: usize) -> f64 {
        match self {
            Self::Same(v) => *v,
            Self::Each(values) => values.get(step).copied().unwrap_or(f64::NAN),
        }
    }

    /// The argument changed at every step.
    pub(super) fn map(self, change: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Same(v) => Self::Same(change(v)),
            Self::Each(values) => Self::Each(values.iter().map(|v| change(*v)).collect()),
        }
    }

    /// What `combine` makes of this and another argument at each of `steps` steps.
    pub(super) fn zip(
        &self,
        other: &Self,
        steps: usize,
        combine: impl Fn(f64, f64) -> f64,
    ) -> Self {
        match (self, other) {
            (Self::Same(a), Self::Same(b)) => Self::Same(combine(*a, *b)),
            _ => {
                Self::Each((0..steps).map(|step| combine(self.at(step), other.at(step))).collect())
            }
        }
    }

    /// Does `holds` hold at every step?
    pub(super) fn all(&self, holds: impl Fn(f64) -> bool) -> bool {
        match self {
            Self::Same(v) => holds(*v),
            Self::Each(values) => values.iter().all(|v| holds(*v)),
        }
    }
}

/// What happens to a series' metric name, and to the labels that describe the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameRule {
    /// They stay.
    Keep,
    /// They go at once.
    Drop,
    /// The name goes at once, and the other labels stay.
    DropName,
    /// They stay until the answer is made: delayed name removal.
    Mark,
}

impl NameRule {
    /// The labels that go at once.
    pub(super) fn dropped(self) -> &'static [&'static str] {
        match self {
            Self::Keep | Self::Mark => &[],
            Self::DropName => NAME_ALONE,
            Self::Drop => METRIC_LABELS,
        }
    }

    /// What of `labels` is left at once.
    pub(super) fn left_of(self, labels: Labels) -> Labels {
        if self.drops() { labels.without(self.dropped()) } else { labels }
    }

    /// Does anything go at once?
    pub(super) fn drops(self) -> bool {
        !self.dropped().is_empty()
    }
}

/// An aggregation that a shard can begin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reduce {
    /// Which.
    pub op: AggregateOp,
    /// Of `topk`, `bottomk` and `limitk`, how many; of `limit_ratio`, the ratio.
    pub k: Param,
    /// Which series make a group.
    pub grouping: Grouping,
    /// Where annotations point to: what is aggregated, or all of it where the best are chosen.
    pub span: TextRange,
}

impl Leaf {
    /// The conditions that a series has to meet.
    #[must_use]
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Are the start timestamps of samples looked at? Otherwise they need not be there.
    #[must_use]
    pub fn wants_starts(&self) -> bool {
        self.wants_starts
    }

    /// Does it look at nothing but the newest sample of each series in its range?
    #[must_use]
    pub fn wants_newest_only(&self) -> bool {
        let is_one_window = self.shape.grid.count == 1 || self.shape.end_step == 0;
        is_one_window && matches!(self.fold, Fold::Newest | Fold::NewestTime)
    }

    /// How far beyond its range it looks, of samples that go as they are.
    pub(super) fn reach_of_samples(&self) -> Option<Reach> {
        match self.fold {
            Fold::Samples(reach) => reach,
            _ => None,
        }
    }

    /// The samples that matter: none outside of this range changes the answer.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        let (first, last) =
            (self.shape.end(0), self.shape.end(self.shape.grid.count.saturating_sub(1)));
        let min = first.saturating_sub(self.shape.length).saturating_add(1);
        let (min, max) = (TimestampMs(min.min(last)), TimestampMs(last));
        TimeRange::new(min, max).unwrap_or(TimeRange::ALL)
    }
}

impl Shape {
    /// The last instant of the window of step `index`, in milliseconds.
    #[inline]
    pub(super) fn end(&self, index: usize) -> i64 {
        self.first_end.saturating_add(self.end_step.saturating_mul(index as i64))
    }
}
