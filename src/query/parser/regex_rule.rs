//! What parsing must know of a condition on a label: is its pattern one, and does it hold for series without the label?
//!
//! This is the one place where the parser asks `model` for compiled matchers. The tree keeps conditions as written.

use crate::model::Matcher;
use crate::query::ast::{LabelMatcher, MatchOp};

/// What is wrong with the condition's pattern, in Go's words. Texts are never wrong.
pub(super) fn check(matcher: &LabelMatcher) -> Result<(), String> {
    match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => Ok(()),
        MatchOp::Regex | MatchOp::NotRegex => {
            let compiled = Matcher::new(&matcher.name, matcher.op, &matcher.value);
            compiled.map(|_| ()).map_err(|error| error.to_string())
        }
    }
}

/// Does the condition hold for series that do not have the label? Its pattern has been checked.
pub(super) fn matches_empty(matcher: &LabelMatcher) -> bool {
    Matcher::new(&matcher.name, matcher.op, &matcher.value)
        .is_ok_and(|compiled| compiled.matches_empty())
}
