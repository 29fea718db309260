//! Operators between two numbers, as Go computes them.

use super::ast::BinaryOp;

/// The larger one; NaN if either is, unless one is +Inf. Source: Go, `math.Max`.
pub(super) fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// The smaller one; NaN if either is, unless one is -Inf. Source: Go, `math.Min`.
pub(super) fn go_min(a: f64, b: f64) -> f64 {
    -go_max(-a, -b)
}

/// Does `op` make something else of a metric, so that its name no longer fits?
pub(super) fn changes_metric(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
    matches!(op, Add | Sub | Mul | Div | Mod | Pow | Atan2)
}

/// Does the comparison `op` hold between `a` and `b`? False for what is no comparison.
#[inline(always)]
pub(super) fn holds(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Eq => a == b,
        BinaryOp::Ne => a != b,
        BinaryOp::Gt => a > b,
        BinaryOp::Lt => a < b,
        BinaryOp::Ge => a >= b,
        BinaryOp::Le => a <= b,
        _ => false,
    }
}

/// `a op b`; 1 or 0 for a comparison.
#[inline(always)]
pub(super) fn compute(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        _ => f64::from(holds(op, a, b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_beats_nan_in_extremes() {
        assert_eq!(go_max(f64::NAN, f64::INFINITY), f64::INFINITY);
        assert_eq!(go_min(f64::NEG_INFINITY, f64::NAN), f64::NEG_INFINITY);
        assert!(go_max(f64::NAN, 1.0).is_nan() && go_min(1.0, f64::NAN).is_nan());
        assert!(go_max(-0.0, 0.0).is_sign_positive() && go_min(0.0, -0.0).is_sign_negative());
    }

    #[test]
    fn the_remainder_has_the_sign_of_the_dividend() {
        assert_eq!(compute(BinaryOp::Mod, -5.0, 3.0), -2.0);
        assert!(compute(BinaryOp::Mod, 5.0, 0.0).is_nan());
    }

    #[test]
    fn powers_of_one_are_one() {
        assert_eq!(compute(BinaryOp::Pow, 1.0, f64::NAN), 1.0);
        assert_eq!(compute(BinaryOp::Pow, f64::NAN, 0.0), 1.0);
    }
}
