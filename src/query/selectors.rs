//! The selectors of a text, for questions that are about series and not about values.

use super::ast::{Expr, ExprKind};
use super::error::QueryError;
use super::parser::{ParseOptions, parse_expr};
use crate::model::Matcher;

/// The conditions of every selector of a PromQL text, in order.
///
/// # Errors
/// A text that does not parse.
pub fn selectors(text: &str) -> Result<Vec<Vec<Matcher>>, QueryError> {
    let expr = parse_expr(text, &ParseOptions::default())?;
    let mut found = Vec::new();
    collect(&expr, &mut found);
    Ok(found)
}

/// Goes down the left spine of a tree in a loop: a chain of operators is as deep as it is long.
fn collect(expr: &Expr, found: &mut Vec<Vec<Matcher>>) {
    let (mut expr, mut behind) = (expr, Vec::new());
    loop {
        expr = match &expr.kind {
            ExprKind::Binary(binary) => {
                behind.push(&binary.rhs);
                &binary.lhs
            }
            ExprKind::Subquery(subquery) => &subquery.expr,
            ExprKind::Paren(inner) => inner,
            ExprKind::Unary(unary) => &unary.expr,
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.iter().for_each(|param| collect(param, found));
                &aggregate.expr
            }
            ExprKind::Call(call) => {
                call.args.iter().for_each(|arg| collect(arg, found));
                break;
            }
            ExprKind::Matrix(matrix) => {
                found.push(matrix.selector.matchers.clone());
                break;
            }
            ExprKind::Vector(vector) => {
                found.push(vector.matchers.clone());
                break;
            }
            ExprKind::Number(_) | ExprKind::String(_) => break,
        };
    }
    behind.into_iter().rev().for_each(|expr| collect(expr, found));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let parsed = |text: &&str| super::super::parser::parse_metric_selector(text).unwrap();
        let expected: Vec<Vec<Matcher>> = expected.iter().map(parsed).collect();
        assert_eq!(selectors(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn selectors_are_found_wherever_they_stand() {
        check("up", &["up"]);
        check("1 + 2", &[]);
        check("\"text\"", &[]);
        check("-(up)", &["up"]);
        check("a{x=\"1\"} + b * c", &["a{x=\"1\"}", "b", "c"]);
        check("histogram_quantile(scalar(q), sum by (le) (rate(b[5m])))", &["q", "b"]);
        check("max_over_time(rate(a[5m])[1h:] offset 5m)", &["a"]);
        check("topk(scalar(k), {__name__=~\"a.+\"})", &["k", "{__name__=~\"a.+\"}"]);
        check("a and on () (b unless c)", &["a", "b", "c"]);
    }

    #[test]
    fn a_chain_of_operators_may_be_of_any_length() {
        let text = vec!["a"; 20_000].join(" + ");
        assert_eq!(selectors(&text).unwrap().len(), 20_000);
    }

    #[test]
    fn a_text_that_does_not_parse_is_refused() {
        assert!(matches!(selectors("up{"), Err(QueryError::Parse(_))));
    }
}
