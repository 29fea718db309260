//! Scalars that are known when a query is planned: numbers, what is computed from them, the times of the steps.

use super::arithmetic::compute;
use super::ast::{Call, Expr, ExprKind};
use super::grid::Grid;
use super::leaf::Param;
use super::planner::Planner;

impl Planner<'_> {
    /// The value of a scalar expression that reads no series, at each step of `grid`; `None` if it does or may.
    pub(super) fn constant(&self, expr: &Expr, grid: Grid) -> Option<Param> {
        match &expr.kind {
            ExprKind::Number(number) => Some(Param::Same(number.value)),
            ExprKind::Paren(inner) => self.constant(inner, grid),
            ExprKind::Unary(unary) => {
                let value = self.constant(&unary.expr, grid)?;
                Some(if unary.negative { value.map(|v| -v) } else { value })
            }
            ExprKind::Call(call) => self.constant_call(call, grid),
            // Only a single operator: chains are left to evaluation, which does not recurse.
            ExprKind::Binary(binary) if !matches!(binary.lhs.kind, ExprKind::Binary(_)) => {
                let (lhs, rhs) =
                    (self.constant(&binary.lhs, grid)?, self.constant(&binary.rhs, grid)?);
                Some(lhs.zip(&rhs, grid.count, |a, b| compute(binary.op, a, b)))
            }
            _ => None,
        }
    }

    fn constant_call(&self, call: &Call, grid: Grid) -> Option<Param> {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let range = &self.range;
        Some(match call.function.name {
            "start" => Param::Same(seconds(range.start())),
            "end" => Param::Same(seconds(range.end())),
            "range" => Param::Same(seconds(range.end().saturating_sub(range.start()))),
            "step" => {
                Param::Same(if range.start() == range.end() { 0.0 } else { seconds(range.step()) })
            }
            "pi" => Param::Same(std::f64::consts::PI),
            "time" => Param::seconds_of(grid),
            _ => return None,
        })
    }
}
