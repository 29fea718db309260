//! Compiled label matchers: what a selector asks of one label's value.
//!
//! Owns the comparison and its fast paths; the pattern language is `regexp`'s. A regular expression matches the whole
//! value, with `.` matching a newline, as Prometheus 3 wraps it: `^(?s:…)$`.
//! Source: Prometheus `model/labels/matcher.go` and `model/labels/regexp.go`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::labels::{is_legacy_name, write_quoted};
use super::regexp::{Anchored, GoRegex, RegexpError};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

impl std::fmt::Display for MatchOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a matcher cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// Its value is not a regular expression; the text is Go's.
    #[error(transparent)]
    Regexp(#[from] RegexpError),
}

/// One condition on one label, compiled. Cheap to clone; equal to another if name, operator and value are.
#[derive(Clone)]
pub struct Matcher(Arc<Inner>);

struct Inner {
    name: Box<str>,
    op: MatchOp,
    value: Box<str>,
    test: Test,
    matches_empty: bool,
}

/// What is asked of a value, before an operator with a `!` turns the answer around.
enum Test {
    /// Is it this matcher's value?
    Literal,
    /// Does the pattern match it?
    Pattern(GoRegex),
}

impl Matcher {
    /// Compiles one condition: `value` is a text for `=` and `!=`, an RE2 pattern for `=~` and `!~`.
    ///
    /// # Errors
    /// A pattern that Go's `regexp` refuses, with Go's text.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::Literal,
            MatchOp::Regex | MatchOp::NotRegex => {
                Test::Pattern(GoRegex::new(value, Anchored::Yes)?)
            }
        };
        let mut inner =
            Inner { name: name.into(), op, value: value.into(), test, matches_empty: false };
        inner.matches_empty = inner.matches("");
        Ok(Self(Arc::new(inner)))
    }

    /// Does the condition hold for a label with this value? A series without the label has the value `""`.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.0.matches(value)
    }

    /// Does it hold for series that do not have the label?
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.0.matches_empty
    }

    /// Which label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.0.op
    }

    /// What it compares with, as written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.0.value
    }

    /// The only values that the condition's text or pattern matches, if they are few; for `!=` and `!~`, the only
    /// values that fail. Sorted, without repetition. Postings are looked up by them instead of scanned.
    #[must_use]
    pub fn set_matches(&self) -> Option<&[String]> {
        None
    }

    /// What every value that the pattern matches begins with; never empty. `None` for `=` and `!=`, and when
    /// [`set_matches`](Self::set_matches) says more.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        None
    }
}

impl Inner {
    fn matches(&self, value: &str) -> bool {
        let found = match &self.test {
            Test::Literal => *self.value == *value,
            Test::Pattern(regex) => regex.is_match(value),
        };
        found != matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.name(), self.op(), self.value()) == (other.name(), other.op(), other.value())
    }
}

impl Eq for Matcher {}

impl Hash for Matcher {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name(), self.op(), self.value()).hash(state);
    }
}

impl std::fmt::Display for Matcher {
    /// As PromQL prints it: `job=~"a.*"`, a name that needs it quoted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if is_legacy_name(self.name()) {
            f.write_str(self.name())?;
        } else {
            write_quoted(f, self.name())?;
        }
        f.write_str(self.op().as_str())?;
        write_quoted(f, self.value())
    }
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).unwrap()
    }

    #[test]
    fn a_matcher_prints_as_promql_prints_it() {
        assert_eq!(matcher("job", MatchOp::Regex, "a.*\"").to_string(), r#"job=~"a.*\"""#);
        assert_eq!(matcher("a.b", MatchOp::NotEqual, "").to_string(), r#""a.b"!="""#);
    }

    #[test]
    fn a_pattern_matches_the_whole_value() {
        let regex = matcher("job", MatchOp::Regex, "ap|i.x");
        assert!(regex.matches("ap") && regex.matches("i\nx"));
        assert!(!regex.matches("api") && !regex.matches("xap"));
    }

    #[test]
    fn an_absent_label_is_an_empty_value() {
        assert!(matcher("a", MatchOp::Equal, "").matches_empty());
        assert!(matcher("a", MatchOp::NotEqual, "x").matches_empty());
        assert!(matcher("a", MatchOp::Regex, "x?").matches_empty());
        assert!(!matcher("a", MatchOp::NotRegex, ".*").matches_empty());
    }

    #[test]
    fn matchers_are_equal_by_their_text() {
        assert_eq!(matcher("a", MatchOp::Regex, "x"), matcher("a", MatchOp::Regex, "x"));
        assert_ne!(matcher("a", MatchOp::Regex, "x"), matcher("a", MatchOp::Equal, "x"));
    }
}
