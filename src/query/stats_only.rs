//! Of which selectors' histograms nothing is looked at but counts and sums: buckets need not be kept for those, and whether
//! a counter was reset is found out sample by sample.
//!
//! Source: `detectHistogramStatsDecoding` in `promql/engine.go`.

use std::collections::HashSet;

use super::ast::{BinaryOp, Expr, ExprKind, VectorSelector};

/// Those selectors of one tree.
#[derive(Debug, Default)]
pub(super) struct StatsOnly(HashSet<*const VectorSelector>);

/// What stands above a part of the tree.
#[derive(Clone, Copy, Default)]
struct Above {
    /// A function that looks at counts and sums alone?
    stats: bool,
    /// Something that needs buckets?
    buckets: bool,
}

impl StatsOnly {
    /// Looks at `expr` and everything in it.
    pub(super) fn of(expr: &Expr) -> Self {
        let mut found = Self::default();
        found.visit(expr, Above::default());
        found
    }

    /// Is this selector of the tree one of them?
    pub(super) fn contains(&self, selector: &VectorSelector) -> bool {
        self.0.contains(&std::ptr::from_ref(selector))
    }

    /// Goes down the left spine in a loop: a chain of operators is as deep as it is long.
    fn visit(&mut self, expr: &Expr, above: Above) {
        let (mut expr, mut above, mut beside) = (expr, above, Vec::new());
        loop {
            expr = match &expr.kind {
                ExprKind::Binary(binary) => {
                    above.buckets |= matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
                    beside.push((&binary.rhs, above));
                    &binary.lhs
                }
                ExprKind::Subquery(subquery) => {
                    above.buckets = true;
                    &subquery.expr
                }
                ExprKind::Paren(inner) => inner,
                ExprKind::Unary(unary) => &unary.expr,
                ExprKind::Aggregate(aggregate) => {
                    aggregate.param.iter().for_each(|param| self.visit(param, above));
                    &aggregate.expr
                }
                ExprKind::Call(call) => {
                    match call.function.name {
                        "histogram_count" | "histogram_sum" | "histogram_avg" => above.stats = true,
                        "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                            above.buckets = true;
                        }
                        _ => {}
                    }
                    call.args.iter().for_each(|arg| self.visit(arg, above));
                    break;
                }
                ExprKind::Matrix(matrix) => {
                    self.note(&matrix.selector, above);
                    break;
                }
                ExprKind::Vector(selector) => {
                    self.note(selector, above);
                    break;
                }
                ExprKind::Number(_) | ExprKind::String(_) => break,
            };
        }
        beside.into_iter().for_each(|(expr, above)| self.visit(expr, above));
    }

    fn note(&mut self, selector: &VectorSelector, above: Above) {
        if above.stats && !above.buckets {
            self.0.insert(selector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::parser::{ParseOptions, parse_expr};

    fn count(text: &str) -> usize {
        StatsOnly::of(&parse_expr(text, &ParseOptions::ALL).unwrap()).0.len()
    }

    #[test]
    fn what_needs_buckets_anywhere_above_a_selector_needs_them() {
        assert_eq!(count("histogram_count(rate(x[5m])) / histogram_sum(sum(y))"), 2);
        assert_eq!(count("histogram_avg(rate(x[5m]) > 0)"), 1);
        for text in [
            "rate(x[5m])",
            "histogram_stddev(x)",
            "histogram_quantile(0.9, x)",
            "histogram_count(x </ 5)",
            "histogram_count(sum_over_time(x[5m:1m]))",
            "max_over_time(histogram_count(x)[5m:1m])",
        ] {
            assert_eq!(count(text), 0, "{text}");
        }
    }

    #[test]
    fn a_chain_of_operators_may_be_of_any_length() {
        let text = vec!["histogram_count(a)"; 5000].join(" + ");
        assert_eq!(count(&text), 5000);
    }
}
