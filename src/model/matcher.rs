//! Compiled label matchers: what a selector asks of one label's value.
//!
//! Owns the comparison; the pattern language, and which patterns need no automaton, is `regexp`'s. A pattern matches the
//! whole value, with `.` matching a newline, as Prometheus 3 wraps it: `^(?s:…)$`.
//! Source: Prometheus `model/labels/matcher.go` and `model/labels/regexp.go`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::labels::{is_legacy_name, write_quoted};
use super::regexp::glob::{Glob, Shape, shape};
use super::regexp::{Anchored, GoRegex, RegexpError};

/// Up to this many values are compared one by one.
const COMPARED_MAX: usize = 8;

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
    /// Is it one of these? Sorted; with more than a few, the hashed copy answers.
    Texts { texts: Vec<String>, hashed: Option<HashSet<Box<str>, FixedState>> },
    /// Does one of these match it?
    Globs { globs: Vec<Glob>, prefix: String },
    /// Does the automaton match it?
    Automaton { regex: GoRegex, prefix: String },
}

impl Matcher {
    /// Compiles one condition: `value` is a text for `=` and `!=`, an RE2 pattern for `=~` and `!~`.
    ///
    /// # Errors
    /// A pattern that Go's `regexp` refuses, with Go's text.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::texts(vec![value.to_owned()]),
            MatchOp::Regex | MatchOp::NotRegex => Test::pattern(value)?,
        };
        Ok(Self::of(name, op, value, test))
    }

    /// The condition that a label has this value; the empty one: that it is not there.
    #[must_use]
    pub fn equal(name: &str, value: &str) -> Self {
        Self::of(name, MatchOp::Equal, value, Test::texts(vec![value.to_owned()]))
    }

    fn of(name: &str, op: MatchOp, value: &str, test: Test) -> Self {
        let mut inner =
            Inner { name: name.into(), op, value: value.into(), test, matches_empty: false };
        inner.matches_empty = inner.matches("");
        Self(Arc::new(inner))
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

    /// The same matcher with memory of its own to run its automaton in: one a thread, so that threads do not wait for
    /// each other.
    #[must_use]
    pub fn unshared(&self) -> Self {
        match &self.0.test {
            Test::Automaton { regex, prefix } => {
                let Inner { name, op, value, matches_empty, .. } = &*self.0;
                let test = Test::Automaton { regex: regex.clone(), prefix: prefix.clone() };
                let (name, value) = (name.clone(), value.clone());
                Self(Arc::new(Inner { name, op: *op, value, test, matches_empty: *matches_empty }))
            }
            Test::Texts { .. } | Test::Globs { .. } => self.clone(),
        }
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

    /// The only values that the text or the pattern matches, if they are few: with `=` and `=~` the values to look
    /// postings up by, with `!=` and `!~` those to leave out. Sorted, none twice.
    #[must_use]
    pub fn set_matches(&self) -> Option<&[String]> {
        match &self.0.test {
            Test::Texts { texts, .. } => Some(texts),
            Test::Globs { .. } | Test::Automaton { .. } => None,
        }
    }

    /// What every value begins with that the pattern matches; never empty. `None` if that is nothing, and where
    /// [`set_matches`](Self::set_matches) says more.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        match &self.0.test {
            Test::Texts { .. } => None,
            Test::Globs { prefix, .. } | Test::Automaton { prefix, .. } => {
                Some(prefix.as_str()).filter(|prefix| !prefix.is_empty())
            }
        }
    }
}

impl Test {
    fn texts(texts: Vec<String>) -> Self {
        let hashed = (texts.len() > COMPARED_MAX)
            .then(|| texts.iter().map(|text| text.as_str().into()).collect());
        Self::Texts { texts, hashed }
    }

    fn pattern(pattern: &str) -> Result<Self, RegexpError> {
        Ok(match shape(pattern)? {
            Shape::Texts(texts) => Self::texts(texts),
            Shape::Globs { globs, prefix } => Self::Globs { globs, prefix },
            Shape::Automaton { parsed, prefix } => {
                let regex = GoRegex::compile(pattern, parsed, Anchored::Yes)?;
                Self::Automaton { regex, prefix }
            }
        })
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Texts { hashed: Some(hashed), .. } => hashed.contains(value),
            Self::Texts { texts, hashed: None } => texts.iter().any(|text| text == value),
            Self::Globs { globs, .. } => globs.iter().any(|glob| glob.matches(value)),
            Self::Automaton { regex, .. } => regex.is_match(value),
        }
    }
}

impl Inner {
    fn matches(&self, value: &str) -> bool {
        self.test.matches(value) != matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
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
    use proptest::prelude::*;

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

    #[test]
    fn few_values_are_named_and_many_begin_alike() {
        let texts = |matcher: &Matcher| matcher.set_matches().map(<[String]>::to_vec);
        let few = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(texts(&matcher("x", MatchOp::Regex, "b|a")), few);
        assert_eq!(texts(&matcher("x", MatchOp::NotRegex, "b|a")), few);
        assert_eq!(texts(&matcher("x", MatchOp::Equal, "a")), Some(vec!["a".to_owned()]));
        assert_eq!(texts(&matcher("x", MatchOp::Regex, "a.*")), None);
        assert_eq!(matcher("x", MatchOp::Regex, "ab.*|a[0-9]+").prefix(), Some("a"));
        assert_eq!(matcher("x", MatchOp::Regex, ".*").prefix(), None);
        assert_eq!(matcher("x", MatchOp::Regex, "a").prefix(), None);
    }

    #[test]
    fn a_long_list_of_values_is_matched_like_a_short_one() {
        let list: Vec<String> = (0..200).map(|i| format!("node-{i}")).collect();
        let regex = matcher("node", MatchOp::Regex, &list.join("|"));
        assert_eq!(regex.set_matches().map(<[String]>::len), Some(200));
        assert!(list.iter().all(|value| regex.matches(value)));
        assert!(!regex.matches("node-200") && !regex.matches(""));
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_in_gos_words() {
        let error = Matcher::new("a", MatchOp::Regex, "[a").unwrap_err();
        assert_eq!(error.to_string(), "error parsing regexp: missing closing ]: `[a`");
        assert!(Matcher::new("a", MatchOp::Equal, "[a").is_ok());
    }

    /// Patterns out of the parts that the fast paths recognise and some that they do not.
    fn patterns() -> impl Strategy<Value = String> {
        let leaf = proptest::sample::select(vec![
            "a", "b", "ab", "é", "", ".*", ".+", ".", "[ab]", "[^a]", "a?", "b*", "b+", "a{2}",
            "(?i:a)", "^", "$", "\\.", "a{0,2}", "(?-s:.*)", "\\b", "\\d",
        ])
        .prop_map(str::to_owned);
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 1..4).prop_map(|all| all.concat()),
                proptest::collection::vec(inner.clone(), 1..4)
                    .prop_map(|all| format!("({})", all.join("|"))),
                inner.prop_map(|one| format!("(?:{one})?")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_fast_path_answers_like_the_automaton(
            pattern in patterns(),
            values in proptest::collection::vec("[abé.1\n]{0,5}", 8),
        ) {
            let fast = matcher("x", MatchOp::Regex, &pattern);
            let not = matcher("x", MatchOp::NotRegex, &pattern);
            let plain = GoRegex::new(&pattern, Anchored::Yes).unwrap();
            let named = fast.set_matches().unwrap_or_default();
            for value in values.iter().chain(named) {
                let found = plain.is_match(value);
                prop_assert_eq!(fast.matches(value), found, "{} on {:?}", pattern, value);
                prop_assert_eq!(not.matches(value), !found);
                if found {
                    prop_assert!(value.starts_with(fast.prefix().unwrap_or_default()));
                    prop_assert!(fast.set_matches().is_none_or(|set| set.contains(value)));
                }
            }
            prop_assert!(named.iter().all(|value| fast.matches(value)));
        }

        #[test]
        fn no_text_panics_as_a_pattern(pattern in "[\\\\\\[\\](){}|*+?.^$a-c0-9:=<>PpQEx!-]{0,24}", value in "[a-c]{0,4}") {
            if let Ok(regex) = Matcher::new("x", MatchOp::Regex, &pattern) {
                let _ = regex.matches(&value);
            }
        }
    }
}
