//! Which range queries have an answer that can be put together from answers over parts of their range: at each step it
//! depends on that step's instant and on samples up to it, and on nothing else of the question.
//!
//! That is not so where the text names the query's own range or step, pins a selector to an instant, looks ahead of the
//! step, or chooses series by what they have over the whole range.

use super::ast::{Duration, Expr, ExprKind, VectorSelector};

/// Is `expr` such a query?
pub(super) fn is_divisible(expr: &Expr) -> bool {
    let mut rest = vec![expr];
    while let Some(expr) = rest.pop() {
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Paren(inner) => rest.push(inner),
            ExprKind::Unary(unary) => rest.push(&unary.expr),
            ExprKind::Binary(binary) => rest.extend([&binary.lhs, &binary.rhs]),
            ExprKind::Aggregate(aggregate) => {
                rest.push(&aggregate.expr);
                rest.extend(&aggregate.param);
            }
            ExprKind::Call(call) => {
                let name = call.function.name;
                let is_sort = name.starts_with("sort"); // sorts an instant alone, and a part may be one
                if is_sort || matches!(name, "start" | "end" | "range" | "step" | "info") {
                    return false;
                }
                rest.extend(&call.args);
            }
            ExprKind::Vector(selector) => {
                if !looks_back(selector) {
                    return false;
                }
            }
            ExprKind::Matrix(matrix) => {
                if !looks_back(&matrix.selector) || !is_plain(&matrix.range) {
                    return false;
                }
            }
            ExprKind::Subquery(subquery) => {
                let step = subquery.step.as_ref().is_none_or(is_plain);
                let offset = is_plain(&subquery.offset) && !is_negative(&subquery.offset);
                if subquery.at.is_some() || !step || !offset || !is_plain(&subquery.range) {
                    return false;
                }
                rest.push(&subquery.expr);
            }
        }
    }
    true
}

fn looks_back(selector: &VectorSelector) -> bool {
    selector.at.is_none()
        && selector.extension.is_none()
        && is_plain(&selector.offset)
        && !is_negative(&selector.offset)
}

/// Is it a number, and no expression, which may ask for the query's step?
fn is_plain(duration: &Duration) -> bool {
    matches!(duration, Duration::Ms(_))
}

fn is_negative(duration: &Duration) -> bool {
    matches!(duration, Duration::Ms(ms) if *ms < 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::parser::{ParseOptions, parse_expr};

    fn check(text: &str) -> bool {
        is_divisible(&parse_expr(text, &ParseOptions::ALL).unwrap())
    }

    #[test]
    fn what_looks_back_from_each_step_is_divisible() {
        for text in [
            "sum by (job) (rate(x[5m] offset 1h)) / 2",
            "max_over_time(sum(x)[1h:1m] offset 5m)",
            "topk(5, x) unless absent(y)",
            "time() - timestamp(x)",
            "quantile(scalar(q), x)",
        ] {
            assert!(check(text), "{text}");
        }
    }

    #[test]
    fn what_knows_its_range_or_looks_ahead_is_not() {
        for text in [
            "x @ 5",
            "x @ end()",
            "rate(x[5m] @ start())",
            "x offset -5m",
            "max_over_time(x[1h:1m] offset -5m)",
            "max_over_time(x[1h:1m] @ 7)",
            "rate(x[range()])",
            "x offset step()",
            "x + (y > start())",
            "vector(end())",
            "info(x)",
            "limitk(1, sort_by_label(x, \"a\"))",
            "rate(x[5m] smoothed)",
            "sum(x anchored)",
        ] {
            assert!(!check(text), "{text}");
        }
    }
}
