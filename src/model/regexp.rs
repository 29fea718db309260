//! Regular expressions with the syntax and the meaning of Go's `regexp` (RE2), run by the crate `regex`.
//!
//! PromQL's patterns are Go's. The crate reads some of them differently without saying so: `\d`, `\w`, `\s` and `\b` are
//! Unicode's there and ASCII's in Go, `[a&&b]` intersects there, `\<` is a boundary of words there. So a pattern is read
//! by Go's rules (`parse`) into a tree (`node`, `class`), which is written out in a syntax that both agree on; what Go
//! refuses is refused with Go's words. `glob` recognises the trees that need no automaton at all.

mod class;
pub(super) mod glob;
mod node;
mod parse;

use super::allowance;
use node::Written;
use regex::RegexBuilder;

/// A pattern may compile to this many bytes, which takes up to 50 ms. Go allows 128 MiB; a query should not cost that.
const COMPILED_BYTES_MAX: usize = 4 << 20;
/// One that compiles to no more is small, and takes up to 200 us.
const SMALL_BYTES_MAX: usize = 16 << 10;
/// A pattern that needs an automaton may be so long.
const PATTERN_BYTES_MAX: usize = 64 << 10;
/// What an automaton may keep of the states that it has been in.
const STATES_BYTES_MAX: usize = 512 << 10;

/// What is written out for the crate may have this many bytes. Each costs a tenth of a microsecond, and literal text of
/// half that length compiles to more than [`COMPILED_BYTES_MAX`].
const WRITTEN_BYTES_MAX: usize = 512 << 10;

/// The written-out tree nests deeper than the pattern: every level may cost a few.
const WRITTEN_NESTING_MAX: u32 = 8 * 1000;

/// Go's words for a pattern that would become too large.
pub(super) const TOO_LARGE: &str = "expression too large";

/// Refuses a pattern that is too long to be read into a tree.
fn bounded(pattern: &str) -> Result<(), RegexpError> {
    if pattern.len() <= PATTERN_BYTES_MAX {
        return Ok(());
    }
    // All of it would tell nobody more.
    let shown: String = pattern.chars().take(64).chain("…".chars()).collect();
    Err(RegexpError { what: TOO_LARGE, expression: shown })
}

/// Does a pattern have to match the whole text?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchored {
    /// The whole text, with `.` matching a newline: `^(?s:…)$`, as matchers and `label_replace` wrap it.
    Yes,
    /// Any part of it, as Go's `regexp.MatchString` does.
    No,
}

/// Why a pattern was refused. Prints what Go prints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {what}: `{expression}`")]
pub struct RegexpError {
    /// Go's name for the fault: `missing closing ]`.
    pub what: &'static str,
    /// The part of the pattern that has it.
    pub expression: String,
}

impl RegexpError {
    /// Does it break a bound, and no rule of the language?
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.what == TOO_LARGE || self.what == allowance::TOO_MANY
    }
}

/// A compiled pattern. A clone shares the program but not the memory in which it runs, so threads that each have their
/// own do not wait for each other.
#[derive(Clone, Debug)]
pub struct GoRegex {
    regex: regex::Regex,
    /// The groups 1, 2, ...: their names, empty for those without, and where the program has them.
    groups: Box<[(String, usize)]>,
}

/// What the groups of a pattern matched.
#[derive(Debug)]
pub struct Captures<'r, 't> {
    found: regex::Captures<'t>,
    groups: &'r [(String, usize)],
}

impl GoRegex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// A pattern that Go refuses; `expression too large` for one that compiles to more than 4 MiB.
    pub fn new(pattern: &str, anchored: Anchored) -> Result<Self, RegexpError> {
        bounded(pattern)?;
        let parsed = parse::parse(pattern, anchored == Anchored::Yes)?;
        Self::compile(pattern, parsed, anchored)
    }

    pub(super) fn compile(
        pattern: &str,
        parsed: parse::Pattern,
        anchored: Anchored,
    ) -> Result<Self, RegexpError> {
        let mut written = Written::default();
        written.text.push_str(if anchored == Anchored::Yes { "\\A(?:" } else { "(?:" });
        written.push(&parsed.tree);
        written.text.push_str(if anchored == Anchored::Yes { ")\\z" } else { ")" });
        let refused = |what| RegexpError { what, expression: pattern.to_owned() };
        if written.text.len() > WRITTEN_BYTES_MAX {
            return Err(refused(TOO_LARGE));
        }
        let build = |bytes_max| {
            RegexBuilder::new(&written.text)
                .size_limit(bytes_max)
                .dfa_size_limit(STATES_BYTES_MAX)
                .nest_limit(WRITTEN_NESTING_MAX)
                .build()
        };
        allowance::take_one().map_err(refused)?;
        let built = match build(SMALL_BYTES_MAX) {
            Err(regex::Error::CompiledTooBig(_)) => {
                allowance::take_large().map_err(refused)?;
                build(COMPILED_BYTES_MAX)
            }
            built => built,
        };
        let regex = built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => refused(TOO_LARGE),
            _ => refused("regexp/syntax: internal error"),
        })?;
        let groups = parsed.names.into_iter().zip(written.groups).collect();
        Ok(Self { regex, groups })
    }

    /// Does the pattern match `text`?
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// What the groups of the leftmost match matched.
    #[must_use]
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'_, 't>> {
        self.regex.captures(text).map(|found| Captures { found, groups: &self.groups })
    }
}

impl<'t> Captures<'_, 't> {
    /// What group `index` matched; 0 is the whole match. `None` if there is no such group or it took no part.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'t str> {
        let written = match index.checked_sub(1) {
            Some(i) => self.groups.get(i)?.1,
            None => 0,
        };
        self.found.get(written).map(|group| group.as_str())
    }

    /// What the first group called `name` that took part matched.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&'t str> {
        let mut named = self.groups.iter().filter(|(known, _)| known == name);
        named.find_map(|(_, written)| self.found.get(*written)).map(|group| group.as_str())
    }

    /// Appends `template` to `out` with `$1`, `$name` and `${name}` replaced by what those groups matched and `$$` by a
    /// dollar sign. A name is as long as it can be, `$1x` is the group `1x`; one that is not known stands for nothing; a
    /// dollar sign before anything else is itself. As Go's `Regexp.Expand`.
    pub fn expand(&self, template: &str, out: &mut String) {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = reference(rest) {
                out.push_str(self.named_or_numbered(name).unwrap_or_default());
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
    }

    fn named_or_numbered(&self, name: &str) -> Option<&'t str> {
        let is_number = name.bytes().all(|b| b.is_ascii_digit());
        if is_number && (name.len() == 1 || !name.starts_with('0')) {
            return name.parse().ok().and_then(|index| self.get(index));
        }
        self.name(name)
    }
}

/// The name at the front of what follows a dollar sign, in braces or not, and what stands behind it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (inner, in_braces) = match text.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let is_of_name = |c: char| c == '_' || c.is_alphanumeric();
    let end = inner.find(|c| !is_of_name(c)).unwrap_or(inner.len());
    let (name, rest) = inner.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
    if in_braces { rest.strip_prefix('}').map(|rest| (name, rest)) } else { Some((name, rest)) }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        GoRegex::new(pattern, Anchored::Yes).unwrap().is_match(text)
    }

    fn refusal(pattern: &str) -> String {
        GoRegex::new(pattern, Anchored::Yes).unwrap_err().to_string()
    }

    #[test] // the right-hand sides are what Go prints
    fn what_go_refuses_is_refused_in_gos_words() {
        for (pattern, fault) in [
            ("[a", "missing closing ]: `[a`"),
            ("x[a-", "missing closing ]: `[a-`"),
            ("(ab", "missing closing ): `(ab`"),
            ("ab)", "unexpected ): `ab)`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a*??+", "invalid nested repetition operator: `*??`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("(|+?)", "missing argument to repetition operator: `+?`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("a{99999999999999999999}", "invalid repeat count: `{99999999999999999999}`"),
            ("(a{40}){26}b", "invalid repeat count: `{26}`"),
            ("((a{10}){10}){11}?", "invalid repeat count: `{11}?`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
            ("(?-)", "invalid or unsupported Perl syntax: `(?-)`"),
            ("(?i-:a)", "invalid or unsupported Perl syntax: `(?i-:`"),
            ("(?<=a)", "invalid named capture: `(?<=a)`"),
            ("(?P<a b>c)", "invalid named capture: `(?P<a b>`"),
            ("(?P<>c)", "invalid named capture: `(?P<>`"),
            ("[b-a]", "invalid character class range: `b-a`"),
            ("[a--b]", "invalid character class range: `a--`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            ("\\p{Foo}", "invalid character class range: `\\p{Foo}`"),
            ("\\p{Grek}", "invalid character class range: `\\p{Grek}`"),
            ("\\p{sc=Greek}", "invalid character class range: `\\p{sc=Greek}`"),
            ("\\p{greek}", "invalid character class range: `\\p{greek}`"),
            ("\\p{Uppercase_Letter}", "invalid character class range: `\\p{Uppercase_Letter}`"),
            ("\\p{Gree-k}", "invalid character class range: `\\p{Gree-k}`"),
            ("\\pn", "invalid character class range: `\\pn`"),
            ("[\\pX]", "invalid character class range: `\\pX`"),
            ("\\p", "invalid character class range: `\\p`"),
            ("\\u0041", "invalid escape sequence: `\\u`"),
            ("\\1", "invalid escape sequence: `\\1`"),
            ("\\8", "invalid escape sequence: `\\8`"),
            ("\\C", "invalid escape sequence: `\\C`"),
            ("\\Z", "invalid escape sequence: `\\Z`"),
            ("\\é", "invalid escape sequence: `\\é`"),
            ("\\x4", "invalid escape sequence: `\\x4`"),
            ("\\x{}", "invalid escape sequence: `\\x{}`"),
            ("\\x{110000}", "invalid escape sequence: `\\x{110000`"),
            ("[\\b]", "invalid escape sequence: `\\b`"),
            ("[a-\\d]", "invalid escape sequence: `\\d`"),
            ("a\\", "trailing backslash at end of expression: ``"),
        ] {
            assert_eq!(refusal(pattern), format!("error parsing regexp: {fault}"), "{pattern}");
        }
    }

    #[test] // pattern, values it matches, values it does not
    fn what_the_crate_regex_reads_differently_is_read_as_go_reads_it() {
        for (pattern, yes, no) in [
            ("\\d", &["7"][..], &["\u{663}"][..]),
            ("\\w", &["a", "_"], &["é"]),
            ("\\s", &[" ", "\t"], &["\u{a0}", "\u{b}"]),
            ("\\W", &["é", "-"], &["a"]),
            ("é\\b.*", &[], &["é", "é "]),
            ("é\\bx", &["éx"], &[]),
            ("é\\B.", &["é ", "éé"], &["éx"]),
            ("[a&&b]", &["a", "b", "&"], &[]),
            ("[a~~b]", &["a", "b", "~"], &[]),
            ("[[a]", &["[", "a"], &[]),
            ("[]a]", &["]", "a"], &[]),
            ("[^]a]", &["b"], &["]", "a"]),
            ("{{x}}", &["{{x}}"], &[]),
            ("a{,2}", &["a{,2}"], &["", "aa"]),
            ("a{01}", &["a{01}"], &["a"]),
            ("a{1", &["a{1"], &["a"]),
            ("\\<a\\>", &["<a>"], &["a"]),
            ("\\Qa.b\\Ec*", &["a.b", "a.bcc"], &["axb"]),
            ("\\Qa|b", &["a|b"], &["a"]),
            ("\\101\\07\\0", &["A\u{7}\0"], &[]),
            ("\\x41\\x{1F600}", &["A\u{1f600}"], &[]),
            ("\\_\\-\\/\\ ", &["_-/ "], &[]),
            ("(?i)k", &["k", "K", "\u{212a}"], &[]),
            ("(?i)[^k]", &["a"], &["K", "\u{212a}"]),
            ("(?i)\\W", &["-"], &["k", "\u{212a}", "\u{17f}"]),
            ("a(?i)b|c", &["aB", "C"], &["AB"]),
            ("(?i:a)b", &["Ab"], &["AB"]),
            (".", &["\n"], &[]),
            ("(?-s).", &["a"], &["\n"]),
            ("(?m)a$\n^b", &["a\nb"], &[]),
            ("a\n^b", &[], &["a\nb"]),
            ("\\pN\\p{Lu}\\P{Greek}\\p{^Greek}", &["1Aaa"], &["1Aaω"]),
            ("\\p{Greek}\\p{Old_Italic}\\p{Any}", &["ω\u{10300}!"], &[]),
            ("\\p{Cs}", &[], &["", "a"]),
            ("[[:alpha:][:^ascii:]]", &["a", "é"], &["1"]),
            ("\\x{d800}", &[], &["", "a"]),
            ("[\\x{d7ff}-\\x{e000}]", &["\u{d7ff}", "\u{e000}"], &["a"]),
            ("[^\\x00-\\x{10FFFF}]", &[], &["", "a"]),
            ("(?P<1>a)(?<n>b)(?P<n>c)", &["abc"], &[]),
            ("a(?:){3}|()", &["a", ""], &[]),
        ] {
            yes.iter().for_each(|text| assert!(matches(pattern, text), "{pattern} on {text:?}"));
            no.iter().for_each(|text| assert!(!matches(pattern, text), "{pattern} on {text:?}"));
        }
    }

    #[test]
    fn a_pattern_without_anchors_matches_any_part() {
        let regex = GoRegex::new("b.d", Anchored::No).unwrap();
        assert!(regex.is_match("abcde"));
        assert!(!regex.is_match("b\nd"));
    }

    #[test] // the crate rewrites `.*a|.*b` to `.*(?:a|b)`, which finds other groups: Go's are these
    fn the_first_alternative_that_matches_is_the_one() {
        let regex = GoRegex::new(".*a(.*)|.*b(.*)", Anchored::Yes).unwrap();
        let found = regex.captures("xaybz").unwrap();
        assert_eq!((found.get(1), found.get(2)), (Some("ybz"), None));
        let regex = GoRegex::new("(?:a|ab)(c|bcd)|(?:a|ab)(.*)", Anchored::Yes).unwrap();
        let found = regex.captures("abx").unwrap();
        assert_eq!((found.get(1), found.get(2)), (None, Some("bx")));
    }

    #[test] // template, result; as Go's `Regexp.Expand`
    fn a_template_is_expanded_as_go_expands_it() {
        let regex = GoRegex::new("(?P<first>[a-z]+)-(\\d+)(x)?(y){0}", Anchored::Yes).unwrap();
        let found = regex.captures("ab-12").unwrap();
        for (template, result) in [
            ("$1", "ab"),
            ("${1}0", "ab0"),
            ("$10", ""),
            ("$1x", ""),
            ("$01", ""),
            ("$0", "ab-12"),
            ("$first/$2", "ab/12"),
            ("${first}", "ab"),
            ("$$1", "$1"),
            ("$3$4$5$other.", "."),
            ("$", "$"),
            ("$-a ${ ${1 ${}", "$-a ${ ${1 ${}"),
            ("é$1é.", "é."),
        ] {
            let mut out = String::new();
            found.expand(template, &mut out);
            assert_eq!(out, result, "{template}");
        }
    }

    #[test]
    fn nesting_is_limited_and_deep_patterns_do_not_overflow_the_stack() {
        let nested = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(matches(&nested(900), "a"));
        let error = GoRegex::new(&nested(2000), Anchored::Yes).unwrap_err();
        assert_eq!(error.what, "expression nests too deeply");
        let repeated = format!("{}a{}", "(?:".repeat(400), ")*|b".repeat(400));
        assert!(matches(&repeated, "ab"));
        let flat = format!("{}a{}", "(?:".repeat(10_000), ")".repeat(10_000));
        assert!(matches(&flat, "a"));
    }

    #[test]
    fn a_pattern_that_compiles_to_too_much_is_refused() {
        for pattern in ["(((a{1000}){1000}){1000})", "((a{1,30}){1,30}){1,30}b"] {
            let why = refusal(pattern);
            assert!(why.contains("invalid repeat count"), "{why}");
        }
        let long = refusal(&"[ab]".repeat(20_000));
        assert!(long.contains("expression too large") && long.len() < 400, "{long}");
        assert_eq!(
            refusal("\\pL{1000}"),
            "error parsing regexp: expression too large: `\\pL{1000}`"
        );
        let folded = format!("(?i){}", "k".repeat(40_000));
        assert!(refusal(&folded).starts_with("error parsing regexp: expression too large"));
        let many = |count| format!("[{}]", "\\pZ".repeat(count));
        assert!(matches(&many(1000), " "));
        assert!(refusal(&many(1001)).starts_with("error parsing regexp: expression too large"));
    }
}
