//! Which parts of a query are the same at every step, because `@` pins all that they read: those are evaluated once.
//!
//! Source: `preprocessExprHelper` in `promql/engine.go`, but for one thing: an aggregation's parameter counts, too.

use std::collections::HashMap;

use super::ast::{Expr, ExprKind};

/// What is known of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invariance {
    /// The same at every step?
    pub same: bool,
    /// And worth evaluating once? Numbers are not, and range vectors are read by the function around them.
    pub wrap: bool,
}

/// Functions whose results depend on the instant of evaluation even if their arguments do not.
const UNSAFE: [&str; 11] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
];

/// What is known of each part of one tree.
#[derive(Debug, Default)]
pub(super) struct Invariances(HashMap<*const Expr, Invariance>);

impl Invariances {
    /// Looks at `expr` and everything in it.
    pub(super) fn of(expr: &Expr) -> Self {
        let mut known = Self::default();
        known.visit(expr);
        known
    }

    /// What is known of `expr`, a part of the tree that was looked at.
    pub(super) fn get(&self, expr: &Expr) -> Invariance {
        let unknown = Invariance { same: false, wrap: false };
        self.0.get(&std::ptr::from_ref(expr)).copied().unwrap_or(unknown)
    }

    /// Recursion is bounded by the parser's nesting limit; chains of operators are walked in a loop.
    fn visit(&mut self, expr: &Expr) -> Invariance {
        let mut chain = Vec::new();
        let mut lowest = expr;
        while let ExprKind::Binary(binary) = &lowest.kind {
            chain.push((lowest, binary));
            lowest = &binary.lhs;
        }
        let mut left = self.visit_other(lowest);
        self.0.insert(std::ptr::from_ref(lowest), left);
        while let Some((expr, binary)) = chain.pop() {
            let right = self.visit(&binary.rhs);
            let same = left.same && right.same;
            left = Invariance { same, wrap: same };
            self.0.insert(std::ptr::from_ref(expr), left);
        }
        left
    }

    fn visit_other(&mut self, expr: &Expr) -> Invariance {
        match &expr.kind {
            ExprKind::Vector(selector) => {
                Invariance { same: selector.at.is_some(), wrap: selector.at.is_some() }
            }
            ExprKind::Matrix(matrix) => {
                Invariance { same: matrix.selector.at.is_some(), wrap: false }
            }
            ExprKind::Subquery(subquery) => {
                self.visit(&subquery.expr);
                Invariance { same: subquery.at.is_some(), wrap: false }
            }
            ExprKind::Number(_) | ExprKind::String(_) => Invariance { same: true, wrap: false },
            ExprKind::Paren(inner) => self.visit(inner),
            ExprKind::Unary(unary) => self.visit(&unary.expr),
            ExprKind::Aggregate(aggregate) => {
                let param = aggregate.param.as_ref().is_none_or(|param| self.visit(param).same);
                let input = self.visit(&aggregate.expr);
                Invariance { same: input.same && param, wrap: input.wrap && param }
            }
            ExprKind::Call(call) => {
                let mut same = !UNSAFE.contains(&call.function.name);
                let mut of_selector = call.function.name == "timestamp";
                for arg in &call.args {
                    let of_arg = self.visit(arg);
                    same &= of_arg.same;
                    let selector = matches!(unwrap_parens(arg).kind, ExprKind::Vector(_));
                    of_selector &= of_arg.same && selector;
                }
                if matches!(call.function.name, "start" | "end" | "range" | "step") {
                    return Invariance { same: true, wrap: false }; // numbers by now
                }
                Invariance { same: same || of_selector, wrap: same || of_selector }
            }
            ExprKind::Binary(_) => self.visit(expr),
        }
    }
}

/// `expr` without the parentheses around it.
pub(super) fn unwrap_parens(mut expr: &Expr) -> &Expr {
    while let ExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    expr
}
