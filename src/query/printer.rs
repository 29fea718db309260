//! Writes a tree back as text, in the one spelling that Prometheus gives it (`promql/parser/printer.go`).
//!
//! Whatever a text's white space, case of keywords and order of modifiers, equal trees read the same; and what is written
//! parses to the same tree again, places and a plus behind `offset` aside. Matchers are sorted by their text. Caches and
//! test runs rely on both.

use std::fmt;

use super::ast::{
    Aggregate, At, Binary, Cardinality, Duration, DurationExpr, DurationExprKind, Expr, ExprKind,
    Extension, MatchOp, MatrixSelector, Number, Subquery, VectorMatching, VectorSelector,
};
use super::durations::format_duration_ms;
use super::parser::is_listed_bare;
use super::quote::push_literal;
use crate::model::labels::{METRIC_NAME, is_legacy_name};
use crate::model::{Matcher, TimestampMs};

impl Expr {
    /// The expression as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        push_expr(&mut out, self, false);
        out
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        push_duration_expr(&mut out, self);
        f.write_str(&out)
    }
}

/// Writes an expression. Does an arithmetic operator follow it? An offset at its end must then not swallow that.
fn push_expr(out: &mut String, expr: &Expr, operator_follows: bool) {
    // A chain of operators may be too long to recurse: write its left end first, then what stands to the right of it.
    let mut above = Vec::new();
    let mut current = expr;
    loop {
        let left = match &current.kind {
            ExprKind::Binary(binary) => &binary.lhs,
            ExprKind::Subquery(subquery) => &subquery.expr,
            _ => break,
        };
        above.push(current);
        current = left;
    }
    let follows = |parent: Option<&&Expr>| match parent.map(|parent| &parent.kind) {
        Some(ExprKind::Binary(binary)) => binary.op.is_arithmetic(),
        Some(_) => false,
        None => operator_follows,
    };
    push_leaf(out, current, follows(above.last()));
    while let Some(parent) = above.pop() {
        let follows = follows(above.last());
        match &parent.kind {
            ExprKind::Binary(binary) => push_operator_and_rhs(out, binary, follows),
            ExprKind::Subquery(subquery) => push_subquery_suffix(out, subquery, follows),
            _ => unreachable!("only operators and subqueries were taken apart"),
        }
    }
}

/// Writes an expression that is no binary operator and no subquery.
fn push_leaf(out: &mut String, expr: &Expr, operator_follows: bool) {
    match &expr.kind {
        ExprKind::Aggregate(aggregate) => push_aggregate(out, aggregate),
        ExprKind::Call(call) => {
            out.push_str(call.function.name);
            out.push('(');
            for (index, arg) in call.args.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                push_expr(out, arg, false);
            }
            out.push(')');
        }
        ExprKind::Matrix(matrix) => push_matrix(out, matrix, operator_follows),
        ExprKind::Number(number) => push_number(out, *number),
        ExprKind::Paren(inner) => {
            out.push('(');
            push_expr(out, inner, false);
            out.push(')');
        }
        ExprKind::String(string) => push_literal(out, &string.value),
        ExprKind::Unary(unary) => {
            out.push(if unary.negative { '-' } else { '+' });
            push_expr(out, &unary.expr, operator_follows);
        }
        ExprKind::Vector(selector) => push_vector(out, selector, operator_follows),
        ExprKind::Binary(_) | ExprKind::Subquery(_) => push_expr(out, expr, operator_follows),
    }
}

fn push_aggregate(out: &mut String, aggregate: &Aggregate) {
    out.push_str(aggregate.op.name());
    if aggregate.without || !aggregate.grouping.is_empty() {
        push_labels(out, if aggregate.without { " without" } else { " by" }, &aggregate.grouping);
        out.push(' ');
    }
    out.push('(');
    if let Some(param) = &aggregate.param {
        push_expr(out, param, false);
        out.push_str(", ");
    }
    push_expr(out, &aggregate.expr, false);
    out.push(')');
}

/// Writes ` keyword (a, b)`.
fn push_labels(out: &mut String, keyword: &str, labels: &[String]) {
    out.push_str(keyword);
    out.push_str(" (");
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        push_name(out, label, is_listed_bare(label));
    }
    out.push(')');
}

fn push_operator_and_rhs(out: &mut String, binary: &Binary, operator_follows: bool) {
    out.push(' ');
    out.push_str(binary.op.name());
    if binary.return_bool {
        out.push_str(" bool");
    }
    if let Some(matching) = &binary.matching {
        push_matching(out, matching);
    }
    out.push(' ');
    push_expr(out, &binary.rhs, operator_follows);
}

fn push_matching(out: &mut String, matching: &VectorMatching) {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some(" group_left"),
        Cardinality::OneToMany => Some(" group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || group.is_some() {
        push_labels(out, if matching.on { " on" } else { " ignoring" }, &matching.labels);
    }
    if let Some(group) = group {
        push_labels(out, group, &matching.include);
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => push_fill(out, "fill", left),
        (left, right) => {
            if let Some(left) = left {
                push_fill(out, "fill_left", left);
            }
            if let Some(right) = right {
                push_fill(out, "fill_right", right);
            }
        }
    }
}

fn push_fill(out: &mut String, keyword: &str, value: f64) {
    out.push(' ');
    out.push_str(keyword);
    out.push_str(" (");
    push_shortest(out, value);
    out.push(')');
}

fn push_vector(out: &mut String, selector: &VectorSelector, operator_follows: bool) {
    push_name_and_matchers(out, selector);
    push_at(out, selector.at);
    push_extension(out, selector.extension);
    push_offset(out, &selector.offset, operator_follows);
}

fn push_matrix(out: &mut String, matrix: &MatrixSelector, operator_follows: bool) {
    let selector = &matrix.selector;
    push_name_and_matchers(out, selector);
    out.push('[');
    push_duration(out, &matrix.range);
    out.push(']');
    push_extension(out, selector.extension);
    push_at(out, selector.at);
    push_offset(out, &selector.offset, operator_follows);
}

fn push_subquery_suffix(out: &mut String, subquery: &Subquery, operator_follows: bool) {
    out.push('[');
    push_duration(out, &subquery.range);
    out.push(':');
    if let Some(step) = &subquery.step {
        push_duration(out, step);
    }
    out.push(']');
    push_at(out, subquery.at);
    push_offset(out, &subquery.offset, operator_follows);
}

fn push_name_and_matchers(out: &mut String, selector: &VectorSelector) {
    let name = selector.name.as_deref().unwrap_or_default();
    out.push_str(name);
    let is_name = |matcher: &Matcher| {
        !name.is_empty()
            && matcher.name() == METRIC_NAME
            && matcher.op() == MatchOp::Equal
            && matcher.value() == name
    };
    let matchers = selector.matchers.iter().filter(|matcher| !is_name(matcher));
    let mut texts: Vec<String> = matchers.map(matcher_text).collect();
    texts.sort_unstable();
    // Without a name the braces are all there is; upstream writes nothing, which does not parse.
    if !texts.is_empty() || name.is_empty() {
        out.push('{');
        out.push_str(&texts.join(","));
        out.push('}');
    }
}

/// Writes a label's name, in quotes if it would not be read as one without them.
fn push_name(out: &mut String, name: &str, bare: bool) {
    if bare {
        out.push_str(name);
    } else {
        push_literal(out, name.as_bytes());
    }
}

/// A condition as it stands between braces.
pub(super) fn matcher_text(matcher: &Matcher) -> String {
    let mut out = String::new();
    push_name(&mut out, matcher.name(), is_legacy_name(matcher.name()));
    out.push_str(matcher.op().as_str());
    push_literal(&mut out, matcher.value().as_bytes());
    out
}

fn push_at(out: &mut String, at: Option<At>) {
    match at {
        None => {}
        Some(At::Start) => out.push_str(" @ start()"),
        Some(At::End) => out.push_str(" @ end()"),
        Some(At::Timestamp(timestamp)) => {
            out.push_str(" @ ");
            push_seconds(out, timestamp);
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "upstream writes a float, too; instants of our age are exact"
)]
fn push_seconds(out: &mut String, TimestampMs(ms): TimestampMs) {
    out.push_str(&format!("{:.3}", ms as f64 / 1000.0));
}

fn push_extension(out: &mut String, extension: Option<Extension>) {
    match extension {
        None => {}
        Some(Extension::Anchored) => out.push_str(" anchored"),
        Some(Extension::Smoothed) => out.push_str(" smoothed"),
    }
}

fn push_offset(out: &mut String, offset: &Duration, operator_follows: bool) {
    if *offset == Duration::Ms(0) {
        return;
    }
    out.push_str(" offset ");
    match offset {
        // Unlike upstream, do not let a part of the offset read as an operator behind it, nor the other way round.
        Duration::Expr(expr) if !ends_by_itself(expr) => {
            if operator_follows {
                out.push('+');
            }
            let parens = !expr.wrapped && (operator_follows || !goes_on(expr));
            out.push_str(if parens { "(" } else { "" });
            push_duration_expr(out, expr);
            out.push_str(if parens { ")" } else { "" });
        }
        offset => push_duration(out, offset),
    }
}

/// Behind `offset`, does the expression end where it ends even if an operator follows? That is so for calls, and for
/// calls and parentheses with one sign.
fn ends_by_itself(expr: &DurationExpr) -> bool {
    let is_call = |expr: &DurationExpr| {
        use DurationExprKind::{MaxOf, MinOf, Range, Step};
        matches!(expr.kind, Step | Range | MinOf(..) | MaxOf(..)) && !expr.wrapped
    };
    match &expr.kind {
        DurationExprKind::Unary { expr: inner, .. } if !expr.wrapped => {
            inner.wrapped || is_call(inner)
        }
        _ => is_call(expr),
    }
}

/// Behind `offset`, is the expression read to its end? That is so if it begins with a parenthesis or two signs.
fn goes_on(expr: &DurationExpr) -> bool {
    let mut first = expr;
    while let (DurationExprKind::Binary { lhs, .. }, false) = (&first.kind, first.wrapped) {
        first = lhs;
    }
    let two_signs = match &first.kind {
        DurationExprKind::Unary { expr, .. } => matches!(expr.kind, DurationExprKind::Unary { .. }),
        _ => false,
    };
    first.wrapped || two_signs
}

fn push_duration(out: &mut String, duration: &Duration) {
    match duration {
        Duration::Ms(ms) => out.push_str(&format_duration_ms(*ms)),
        Duration::Expr(expr) => push_duration_expr(out, expr),
    }
}

fn push_duration_expr(out: &mut String, expr: &DurationExpr) {
    if expr.wrapped {
        out.push('(');
    }
    match &expr.kind {
        DurationExprKind::Number(number) => push_number(out, *number),
        DurationExprKind::Step => out.push_str("step()"),
        DurationExprKind::Range => out.push_str("range()"),
        DurationExprKind::Unary { negative, expr } => {
            if *negative {
                out.push('-');
            }
            push_duration_expr(out, expr);
        }
        DurationExprKind::Binary { op, lhs, rhs } => {
            push_duration_expr(out, lhs);
            out.push(' ');
            out.push_str(op.name());
            out.push(' ');
            push_duration_expr(out, rhs);
        }
        DurationExprKind::MinOf(a, b) | DurationExprKind::MaxOf(a, b) => {
            let min = matches!(expr.kind, DurationExprKind::MinOf(..));
            out.push_str(if min { "min_of(" } else { "max_of(" });
            push_duration_expr(out, a);
            out.push_str(", ");
            push_duration_expr(out, b);
            out.push(')');
        }
    }
    if expr.wrapped {
        out.push(')');
    }
}

/// Writes a number with all its digits and no exponent, or as the duration it was written as.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a duration that was parsed is in range; others may saturate"
)]
fn push_number(out: &mut String, number: Number) {
    if number.is_duration {
        out.push_str(&format_duration_ms((number.value * 1000.0).round() as i64));
    } else if number.value.is_infinite() {
        out.push_str(if number.value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        out.push_str(&number.value.to_string());
    }
}

/// Writes a number as Go's `%v` does: with an exponent below 1e-4 and from 1e6 up.
fn push_shortest(out: &mut String, value: f64) {
    let scientific = format!("{value:e}");
    let exponent = scientific.split_once('e').and_then(|(digits, exponent)| {
        let exponent: i32 = exponent.parse().ok()?;
        (!(-4..6).contains(&exponent)).then_some((digits, exponent))
    });
    match exponent {
        Some((digits, exponent)) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            out.push_str(&format!("{digits}e{sign}{:02}", exponent.unsigned_abs()));
        }
        None => push_number(out, Number { value, is_duration: false }),
    }
}

#[cfg(test)]
mod tests {
    use crate::query::parser::{ParseOptions, parse_expr};

    fn printed(text: &str) -> String {
        parse_expr(text, &ParseOptions::ALL).unwrap().to_text()
    }

    fn check(text: &str, want: &str) {
        assert_eq!(printed(text), want);
        assert_eq!(printed(want), want);
    }

    #[test]
    fn there_is_one_spelling_whatever_was_written() {
        check(
            "SUM  BY(b,a)(rate( x{ c='d' , a!=\"b\" }[ 300 ] ))",
            "sum by (b, a) (rate(x{a!=\"b\",c=\"d\"}[5m]))",
        );
        check("a AND ON() b", "a and on () b");
        check("a - ignoring() b", "a - b");
        check("a - ignoring() group_left b", "a - ignoring () group_left () b");
        check("topk by (a) (5, b)", "topk by (a) (5, b)");
        check("x[1h:] OFFSET 1w @ 10", "x[1h:] @ 10.000 offset 1w");
        check("x[5m] @ start() anchored offset 1m", "x[5m] anchored @ start() offset 1m");
        check("x smoothed @ end()", "x @ end() smoothed");
        check("(((1)))", "(((1)))");
    }

    #[test]
    fn names_that_would_not_be_read_without_quotes_have_them() {
        check("{\"a.b\"=\"c\", d=\"e\"}", "{\"a.b\"=\"c\",d=\"e\"}");
        check("sum by (\"a.b\", \"c\", \"ü\") (x)", "sum by (\"a.b\", c, \"ü\") (x)");
        check("sum by (\"inf\", \"without\", on) (x)", "sum by (\"inf\", \"without\", on) (x)");
        check("{inf=\"a\", without=\"b\"}", "{inf=\"a\",without=\"b\"}");
    }

    #[test]
    fn an_explicit_name_matcher_stays_one() {
        check("{__name__=\"a\"}", "{__name__=\"a\"}");
        check("{__name__=\"\", a=\"x\"}", "{__name__=\"\",a=\"x\"}");
        check("info(x, {})", "info(x, {})");
    }

    #[test]
    fn numbers_have_no_exponent_but_fills_do_as_upstreams() {
        check("1e10 + .1 - Inf", "10000000000 + 0.1 - +Inf");
        check("a + fill(123456) b", "a + fill (123456) b");
        check("a + fill_left(1e6) b", "a + fill_left (1e+06) b");
        check(
            "a + fill_left(-1.5e-7) fill_right(1) b",
            "a + fill_left (-1.5e-07) fill_right (1) b",
        );
    }

    #[test]
    fn texts_are_written_so_that_they_can_be_read() {
        check(r#""\u0001\xff\ufffd\"""#, r#""\x01\xff\ufffd\"""#);
        check(
            "label_replace(a, `b`, '$1', \"c\", '\\n')",
            r#"label_replace(a, "b", "$1", "c", "\n")"#,
        );
    }

    #[test] // upstream writes the first as `x offset 5s + 3`, which adds 3 to x, and the second as `x @ … offset (5) - 3`
    fn an_offset_ends_where_it_ended() {
        check("x offset --5s + 3", "x offset (5s + 3)");
        check("x offset (5) @ 1 - 3", "x @ 1.000 offset +(5) - 3");
        check("x offset (5) @ 1 == 3", "x @ 1.000 offset (5) == 3");
        check("-x offset (5) * 2 @ 1 - 3", "-x @ 1.000 offset +((5) * 2) - 3");
        check("x offset -(5) - 3", "x offset -(5) - 3");
        check("x offset step() - 3", "x offset step() - 3");
        check("x offset +-(2 ^ 2) - 3", "x offset (-(2 ^ 2) - 3)");
    }
}
