//! What the parser's tests share: short ways to say what a text parses to, or what is wrong with it.

use super::{ParseOptions, parse_expr};
use crate::query::ast::{Expr, ExprKind};

/// The tree of a text that parses with everything switched on.
pub(super) fn parsed(text: &str) -> Expr {
    parse_expr(text, &ParseOptions::ALL).unwrap_or_else(|errors| panic!("{text}: {errors}"))
}

/// The canonical text of a text.
pub(super) fn printed(text: &str) -> String {
    parsed(text).to_text()
}

/// What is wrong with a text, with everything switched on: the words faulted, and the messages.
pub(super) fn faults(text: &str) -> Vec<(&str, String)> {
    faults_with(text, &ParseOptions::ALL)
}

/// What is wrong with a text under `options`.
pub(super) fn faults_with<'a>(text: &'a str, options: &ParseOptions) -> Vec<(&'a str, String)> {
    let Err(errors) = parse_expr(text, options) else { return Vec::new() };
    let word = |start: u32, end: u32| text.get(start as usize..end as usize).unwrap_or("<outside>");
    errors.errors().iter().map(|e| (word(e.span.start, e.span.end), e.message.clone())).collect()
}

/// Asserts that a text has one fault, at `word`, with `message`.
pub(super) fn assert_fault(text: &str, word: &str, message: &str) {
    assert_eq!(faults(text), [(word, message.to_owned())], "{text}");
}

/// The expression with every operator in parentheses.
pub(super) fn grouped(text: &str) -> String {
    fn group(expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Binary(b) => format!("({} {} {})", group(&b.lhs), b.op.name(), group(&b.rhs)),
            ExprKind::Unary(u) => {
                format!("({}{})", if u.negative { '-' } else { '+' }, group(&u.expr))
            }
            _ => expr.to_text(),
        }
    }
    group(&parsed(text))
}
