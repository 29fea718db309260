//! Functions that change each point on its own, with all their scalar arguments known: on a shard behind a fold, or on
//! the coordinator.

use super::arithmetic::{compute, go_max, go_min, holds};
use super::ast::BinaryOp;
use super::functions::date::{DatePart, part_of};
use super::functions::maths;
use super::leaf::Param;
use super::value::{ABSENT, is_absent};

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
        }
    }

    /// Does the metric become another one under it, so that its name no longer fits?
    pub(super) fn changes_metric(&self) -> bool {
        match self {
            Self::Scalar(op) => !op.op.is_comparison() || op.return_bool,
            _ => true,
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
        PointMap::Scalar(ScalarOp { op, scalar, scalar_is_left, return_bool })
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
