//! PromQL text to tree.

use super::ast::{Expr, TextRange};
use super::parse_error::{ParseError, ParseErrors};

/// How deep parentheses, calls, signs and right operands may nest.
pub const NESTING_MAX: usize = 256;

/// Which parts of the language are switched on. The default is that of Prometheus 3.14 without feature flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    let _ = options;
    let message = "expressions cannot be parsed yet".to_owned();
    let error = ParseError { span: TextRange::default(), message };
    Err(ParseErrors::new(text.as_bytes(), vec![error]).unwrap_or_else(|| unreachable!()))
}
