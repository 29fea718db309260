//! PromQL text to tree: the entry points and their options.
//!
//! ```text
//! lexer, lex_*        bytes to words, one at a time; token and number say what words there are
//! cursor              one word of lookahead, and how parsing goes on behind a fault; faults, the faults so far
//! expr                operators by precedence, parentheses, literals; its parts: binary, call, aggregate, selector
//! modifier            what stands behind an expression: ranges, offset, @, anchored; duration_expr, lengths of time
//! check               types and rules that need the whole tree
//! series, histogram   series with their values, as test scripts have them
//! ```
//! A text is read once, from left to right, and the tree is then walked once: time and memory are in proportion to the
//! text. Nesting is limited to [`NESTING_MAX`], so that neither parsing nor any later walk can exhaust the stack; chains
//! of operators may be of any length. Texts and places of errors are Prometheus's (3.14, `promql/parser`).

mod aggregate;
mod binary;
mod call;
mod check;
mod cursor;
mod duration_expr;
mod expr;
mod faults;
mod histogram;
mod lex_series;
mod lex_string;
mod lexer;
mod modifier;
mod number;
#[cfg(test)]
mod properties;
mod selector;
mod series;
#[cfg(test)]
mod testing;
mod token;
#[cfg(test)]
pub(super) mod trees;

use cursor::Parser;
use lexer::Language;

use super::ast::Expr;
use super::parse_error::ParseErrors;
use crate::model::Matcher;
pub use histogram::HistogramLiteral;
pub use series::{HistogramStep, SeriesDescription, SeriesItem};
pub(super) use token::is_listed_bare;

/// How deep parentheses, calls, aggregations, signs and right operands may nest. Deeper texts are refused.
pub const NESTING_MAX: usize = 256;

/// Which parts of the language are switched on. The default is that of Prometheus 3.14 without feature flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParseOptions {
    /// Functions and aggregations marked experimental: `promql-experimental-functions`.
    pub experimental_functions: bool,
    /// `anchored` and `smoothed`: `promql-extended-range-selectors`.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left` and `fill_right`: `promql-binop-fill-modifiers`.
    pub binop_fill_modifiers: bool,
}

impl ParseOptions {
    /// Everything the language has.
    pub const ALL: Self = Self {
        experimental_functions: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
    };
}

/// Parses and checks one expression.
///
/// # Errors
/// All faults that were found, with their places.
pub fn parse_expr(text: &str, options: &ParseOptions) -> Result<Expr, ParseErrors> {
    parse_expr_bytes(text.as_bytes(), options)
}

/// Parses and checks one expression that need not be UTF-8. It may hold any bytes, but only in comments is everything
/// accepted.
///
/// # Errors
/// All faults that were found, with their places.
pub fn parse_expr_bytes(text: &[u8], options: &ParseOptions) -> Result<Expr, ParseErrors> {
    let mut parser = Parser::new(text, Language::Query, *options);
    let mut expr = parser.whole_expr();
    if let Some(expr) = expr.as_mut().filter(|_| parser.faults.is_empty()) {
        check::check(text, expr, &mut parser.faults);
    }
    parser.finish(expr)
}

/// Parses one selector of instant vectors, as `match[]` has it. Unlike in an expression, its conditions may all match
/// the empty string: whether that is allowed is for the caller to say.
///
/// # Errors
/// All faults that were found, with their places.
pub fn parse_metric_selector(text: &str) -> Result<Vec<Matcher>, ParseErrors> {
    let mut parser = Parser::new(text.as_bytes(), Language::Query, ParseOptions::default());
    let matchers = parser.whole_selector();
    parser.finish(matchers)
}

/// Parses the selectors of a request with several `match[]`.
///
/// # Errors
/// The faults of the first text that has any.
pub fn parse_metric_selectors<'a>(
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Vec<Matcher>>, ParseErrors> {
    texts.into_iter().map(parse_metric_selector).collect()
}

/// Parses a series and its values, as the `load` blocks of test scripts have them: `up{job="a"} 1+1x5 _ stale`.
///
/// # Errors
/// All faults that were found, with their places.
pub fn parse_series_description(text: &str) -> Result<SeriesDescription, ParseErrors> {
    let mut parser = Parser::new(text.as_bytes(), Language::Series, ParseOptions::default());
    let description = parser.whole_series();
    parser.finish(description)
}
