//! Durations that are expressions, once step and range of the query are known.
//!
//! Source: `promql/durations.go`; places in the error texts are bytes, first and behind the last, as upstream has them.

use super::ast::{BinaryOp, Duration, DurationExpr, DurationExprKind, TextRange};
use super::error::QueryError;

/// What `step()` and `range()` stand for, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct DurationContext {
    /// The query's step; 0 for an instant query.
    pub step: f64,
    /// From the query's start to its end.
    pub range: f64,
}

/// The most seconds that a duration may have: what nanoseconds in 63 bits hold.
const SECONDS_MAX: f64 = (1u64 << 63) as f64 / 1e9;

/// `duration` in milliseconds, which may be 0 or less only if `negative_too`.
///
/// # Errors
/// An expression whose value is no duration, with its place.
pub(super) fn milliseconds(
    duration: &Duration,
    negative_too: bool,
    context: &DurationContext,
) -> Result<i64, QueryError> {
    let expr = match duration {
        Duration::Ms(ms) => return Ok(*ms),
        Duration::Expr(expr) => expr,
    };
    let seconds = seconds(expr, context)?;
    if !seconds.is_finite() {
        return Err(wrong(expr.span, "duration is NaN or infinite"));
    }
    if seconds <= 0.0 && !negative_too {
        return Err(wrong(expr.span, "duration must be greater than 0"));
    }
    if seconds.abs() > SECONDS_MAX {
        return Err(wrong(expr.span, "duration is out of range"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded above; fractions of a millisecond are cut off"
    )]
    let ms = (seconds * 1000.0) as i64;
    Ok(ms)
}

fn wrong(span: TextRange, what: &str) -> QueryError {
    QueryError::BadData(format!("{}:{}: {what}", span.start, span.end))
}

/// The value in seconds. Recursion is bounded by the parser's nesting limit.
fn seconds(expr: &DurationExpr, context: &DurationContext) -> Result<f64, QueryError> {
    let value = |expr: &DurationExpr| seconds(expr, context);
    Ok(match &expr.kind {
        DurationExprKind::Number(number) => number.value,
        DurationExprKind::Step => context.step,
        DurationExprKind::Range => context.range,
        DurationExprKind::Unary { negative, expr } => {
            if *negative {
                -value(expr)?
            } else {
                value(expr)?
            }
        }
        DurationExprKind::MinOf(a, b) => super::arithmetic::go_min(value(a)?, value(b)?),
        DurationExprKind::MaxOf(a, b) => super::arithmetic::go_max(value(a)?, value(b)?),
        DurationExprKind::Binary { op, lhs, rhs } => {
            let (a, b) = (value(lhs)?, value(rhs)?);
            match op {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Pow => a.powf(b),
                BinaryOp::Div if b == 0.0 => return Err(wrong(expr.span, "division by zero")),
                BinaryOp::Div => a / b,
                BinaryOp::Mod if b == 0.0 => return Err(wrong(expr.span, "modulo by zero")),
                BinaryOp::Mod => a % b,
                _ => return Err(wrong(expr.span, "unexpected duration expression operator")),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::ast::Number;

    fn number(value: f64) -> Box<DurationExpr> {
        let kind = DurationExprKind::Number(Number { value, is_duration: false });
        Box::new(DurationExpr { kind, wrapped: false, span: TextRange { start: 3, end: 9 } })
    }

    fn binary(op: BinaryOp, a: f64, b: f64) -> Duration {
        let kind = DurationExprKind::Binary { op, lhs: number(a), rhs: number(b) };
        let span = TextRange { start: 3, end: 9 };
        Duration::Expr(Box::new(DurationExpr { kind, wrapped: true, span }))
    }

    const CONTEXT: DurationContext = DurationContext { step: 15.0, range: 3600.0 };

    #[test]
    fn step_and_range_are_the_querys() {
        let kind = DurationExprKind::Binary {
            op: BinaryOp::Div,
            lhs: Box::new(DurationExpr { kind: DurationExprKind::Range, ..*number(0.0) }),
            rhs: Box::new(DurationExpr { kind: DurationExprKind::Step, ..*number(0.0) }),
        };
        let expr = Duration::Expr(Box::new(DurationExpr { kind, ..*number(0.0) }));
        assert_eq!(milliseconds(&expr, false, &CONTEXT), Ok(240_000));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_its_place() {
        let refused = |duration| milliseconds(&duration, false, &CONTEXT).unwrap_err().to_string();
        assert_eq!(
            refused(binary(BinaryOp::Sub, 1.0, 1.0)),
            "3:9: duration must be greater than 0"
        );
        assert_eq!(refused(binary(BinaryOp::Div, 1.0, 0.0)), "3:9: division by zero");
        assert_eq!(refused(binary(BinaryOp::Mod, 1.0, 0.0)), "3:9: modulo by zero");
        assert_eq!(refused(binary(BinaryOp::Mul, 1e10, 1e10)), "3:9: duration is out of range");
        assert_eq!(
            refused(binary(BinaryOp::Mul, f64::NAN, 1.0)),
            "3:9: duration is NaN or infinite"
        );
    }

    #[test]
    fn only_offsets_may_be_negative() {
        let negative = binary(BinaryOp::Sub, 1.0, 2.5);
        assert_eq!(milliseconds(&negative, true, &CONTEXT), Ok(-1500));
    }
}
