//! Functions that change each point on its own, with all their scalar arguments known: on a shard behind a fold, or on
//! the coordinator.

use std::sync::Arc;

use super::annotation::{Annotations, Note};
use super::arithmetic::{changes_metric, compute, go_max, go_min, holds};
use super::ast::{BinaryOp, TextRange};
use super::float_histogram::FloatHistogram;
use super::functions::date::{DatePart, part_of};
use super::functions::maths;
use super::grouping::{METRIC_LABELS, NAME_ALONE};
use super::leaf::Param;
use super::value::{ABSENT, HistogramPoint, Point, is_absent, present};

/// One such function.
#[derive(Clone, Debug)]
pub(super) enum PointMap {
    /// `-x`
    Negate,
    /// `abs`, `ln` and their like.
    Maths(fn(f64) -> f64),
    /// `clamp` and its like: lower and upper bound.
    Clamp(Param, Param),
    /// `round`, with the inverse of what to round to multiples of.
    Round(Param),
    /// `hour` and its like.
    Date(DatePart),
    /// `timestamp` of what is no selector: the instants of the steps in seconds.
    Timestamp(Param),
    /// An operator with a scalar.
    Scalar(ScalarOp),
    /// `histogram_count` and its like.
    Stat(HistogramStat),
}

/// A number that is read off a native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HistogramStat {
    /// `histogram_count`
    Count,
    /// `histogram_sum`
    Sum,
    /// `histogram_avg`
    Avg,
    /// `histogram_stddev`
    Stddev,
    /// `histogram_stdvar`
    Stdvar,
}

impl HistogramStat {
    /// The one that the function called `name` reads; `None` if it is none of those.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "histogram_count" => Self::Count,
            "histogram_sum" => Self::Sum,
            "histogram_avg" => Self::Avg,
            "histogram_stddev" => Self::Stddev,
            "histogram_stdvar" => Self::Stdvar,
            _ => return None,
        })
    }

    fn of(self, h: &FloatHistogram) -> f64 {
        match self {
            Self::Count => h.count,
            Self::Sum => h.sum,
            Self::Avg => h.mean(),
            Self::Stddev => h.stdvar().sqrt(),
            Self::Stdvar => h.stdvar(),
        }
    }
}

/// An operator between each point and a scalar.
#[derive(Clone, Debug)]
pub(super) struct ScalarOp {
    /// Arithmetic or a comparison.
    pub op: BinaryOp,
    /// The scalar.
    pub scalar: Param,
    /// Is it the left side?
    pub scalar_is_left: bool,
    /// A comparison that answers 0 or 1? Otherwise it keeps points as they are, or not at all.
    pub return_bool: bool,
    /// Where the operator stands, with its sides.
    pub span: TextRange,
}

impl ScalarOp {
    fn at(&self, step: usize, v: f64) -> f64 {
        let scalar = self.scalar.at(step);
        let (a, b) = if self.scalar_is_left { (scalar, v) } else { (v, scalar) };
        if !self.op.is_comparison() {
            compute(self.op, a, b)
        } else if self.return_bool {
            f64::from(holds(self.op, a, b))
        } else if holds(self.op, a, b) {
            v
        } else {
            ABSENT
        }
    }

    /// What a histogram becomes; `None` if the operator does not go with one.
    fn of_histogram(&self, step: usize, h: &FloatHistogram) -> Option<FloatHistogram> {
        let scalar = self.scalar.at(step);
        let mut h = h.clone();
        match (self.op, self.scalar_is_left) {
            (BinaryOp::Mul, _) => h.scale(scalar),
            (BinaryOp::Div, false) => h.divide(scalar),
            (BinaryOp::TrimUpper, false) => {
                h.trim_upper(scalar);
                return Some(h);
            }
            (BinaryOp::TrimLower, false) => {
                h.trim_lower(scalar);
                return Some(h);
            }
            _ => return None,
        }
        h.compact();
        Some(h)
    }

    /// The note for histograms that the operator does not go with.
    fn mismatch(&self) -> Note {
        let (left, right) =
            if self.scalar_is_left { ("float", "histogram") } else { ("histogram", "float") };
        Note::IncompatibleTypes(left, self.op.name(), right)
    }
}

impl PointMap {
    /// Changes the points of consecutive steps, of which the first is `first`. Points that are gone become [`ABSENT`].
    pub(super) fn apply(&self, first: usize, values: &mut [f64]) {
        match self {
            Self::Negate => each(first, values, |_, v| -v),
            Self::Maths(function) => each(first, values, |_, v| function(v)),
            Self::Clamp(lower, upper) => each(first, values, |step, v| {
                let (lower, upper) = (lower.at(step), upper.at(step));
                if upper < lower { ABSENT } else { go_max(lower, go_min(upper, v)) }
            }),
            Self::Round(inverse) => {
                each(first, values, |step, v| maths::round(v, inverse.at(step)));
            }
            Self::Date(part) => each(first, values, |_, v| part_of(*part, v)),
            Self::Timestamp(seconds) => each(first, values, |step, _| seconds.at(step)),
            Self::Scalar(op) => each(first, values, |step, v| op.at(step, v)),
            Self::Stat(_) => values.fill(ABSENT),
        }
    }

    /// Changes histograms; gives the numbers that some of them become instead, in order of their steps.
    pub(super) fn apply_to_histograms(
        &self,
        histograms: &mut Vec<HistogramPoint>,
        annotations: &mut Annotations,
    ) -> Vec<(usize, f64)> {
        let mut floats = Vec::new();
        histograms.retain_mut(|(step, h)| match self.of_histogram(*step, h, annotations) {
            Some(Point::Histogram(changed)) => {
                *h = changed;
                true
            }
            Some(Point::Float(v)) => {
                floats.push((*step, v));
                false
            }
            None => false,
        });
        floats
    }

    fn of_histogram(
        &self,
        step: usize,
        h: &Arc<FloatHistogram>,
        annotations: &mut Annotations,
    ) -> Option<Point> {
        match self {
            Self::Negate => {
                let mut negative = FloatHistogram::clone(h);
                negative.negate();
                Some(Point::Histogram(Arc::new(negative)))
            }
            Self::Timestamp(seconds) => Some(Point::Float(seconds.at(step))),
            Self::Stat(stat) => Some(Point::Float(present(stat.of(h)))),
            Self::Scalar(op) => {
                let changed = op.of_histogram(step, h);
                if changed.is_none() {
                    annotations.add(op.mismatch(), op.span);
                }
                changed.map(|h| Point::Histogram(Arc::new(h)))
            }
            Self::Maths(_) | Self::Clamp(..) | Self::Round(_) | Self::Date(_) => None,
        }
    }

    /// The labels of the metric that no longer fit what it becomes.
    pub(super) fn drops(&self) -> &'static [&'static str] {
        match self {
            Self::Scalar(op) if !changes_metric(op.op) && !op.return_bool => &[],
            Self::Stat(_) => NAME_ALONE,
            _ => METRIC_LABELS,
        }
    }
}

fn each(first: usize, values: &mut [f64], change: impl Fn(usize, f64) -> f64) {
    for (step, v) in (first..).zip(values) {
        if !is_absent(*v) {
            *v = change(step, *v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(map: &PointMap, values: &[f64]) -> Vec<f64> {
        let mut values = values.to_vec();
        map.apply(0, &mut values);
        values
    }

    fn scalar(op: BinaryOp, scalar_is_left: bool, return_bool: bool) -> PointMap {
        let scalar = Param::Each([1.0, 5.0].into());
        PointMap::Scalar(ScalarOp {
            op,
            scalar,
            scalar_is_left,
            return_bool,
            span: TextRange::default(),
        })
    }

    #[test]
    fn a_comparison_keeps_the_vectors_value_whichever_side_it_is_on() {
        let kept = mapped(&scalar(BinaryOp::Lt, true, false), &[3.0, 3.0]);
        assert_eq!(kept[0], 3.0);
        assert!(is_absent(kept[1]));
        assert_eq!(mapped(&scalar(BinaryOp::Lt, false, true), &[3.0, 3.0]), [0.0, 1.0]);
    }

    #[test]
    fn arithmetic_keeps_the_order_of_its_sides() {
        assert_eq!(mapped(&scalar(BinaryOp::Sub, true, false), &[3.0, 3.0]), [-2.0, 2.0]);
        assert_eq!(mapped(&scalar(BinaryOp::Sub, false, false), &[3.0, 3.0]), [2.0, -2.0]);
    }

    #[test]
    fn points_that_are_not_there_stay_so() {
        assert!(is_absent(mapped(&PointMap::Negate, &[ABSENT])[0]));
        let empty = PointMap::Clamp(Param::Same(2.0), Param::Same(1.0));
        assert!(is_absent(mapped(&empty, &[1.5])[0]));
    }
}
