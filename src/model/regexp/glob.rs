//! Patterns that are texts with gaps between them, which need no automaton: `api`, `a|b`, `(a|b)c`, `node-[12]`, `api-.*`,
//! `.*err.*`, `.+`.
//!
//! Owns recognising them in a tree and matching whole values against them. Case matters in all of them; whatever does
//! not fit is left to the automaton. Facts: Prometheus does the same in `model/labels/regexp.go`.

use memchr::memmem::Finder;

use super::node::{Node, Times};
use super::{RegexpError, bounded, parse};

/// A pattern may stand for this many texts, as in Prometheus (`maxSetMatches`).
const TEXTS_MAX: usize = 256;

/// More alternatives with gaps than this are faster as one automaton.
const GLOBS_MAX: usize = 16;

/// All texts together are at most this long.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// What an anchored pattern comes to.
pub(in crate::model) enum Shape {
    /// Exactly these values; sorted, none twice.
    Texts(Vec<String>),
    /// Values that one of these matches, and what they all begin with.
    Globs { globs: Vec<Glob>, prefix: String },
    /// What an automaton has to find out, and what every value begins with that it finds.
    Automaton { parsed: parse::Pattern, prefix: String },
}

/// Texts with gaps between them.
#[derive(Clone, Debug)]
pub(in crate::model) struct Glob {
    prefix: Box<str>,
    /// What follows the prefix: gaps, each with the text that ends it; the last one ends at the value's end.
    inner: Vec<(Gap, Finder<'static>)>,
    /// The last gap and the text behind it; `None` if the value is the prefix itself.
    end: Option<(Gap, Box<str>)>,
}

/// How much a gap holds at least: `.*` nothing, `.+` one character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gap {
    at_least_one: bool,
}

/// Texts with gaps, being put together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Text(String),
    Gap(Gap),
}

type Pieces = Vec<Piece>;

/// The texts of a pattern that is nothing but a list of them: `a|b\.c`, `(a|b)`. Dashboards list thousands.
fn listed(pattern: &str) -> Option<Vec<String>> {
    let inner = pattern.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let (mut texts, mut text) = (Vec::new(), String::new());
    let mut chars = inner.unwrap_or(pattern).chars();
    while let Some(c) = chars.next() {
        match c {
            '|' => texts.push(std::mem::take(&mut text)),
            '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            c => text.push(c),
        }
    }
    texts.push(text);
    texts.sort_unstable();
    texts.dedup();
    Some(texts)
}

/// Reads an anchored pattern and says what it comes to.
pub(in crate::model) fn shape(pattern: &str) -> Result<Shape, RegexpError> {
    if let Some(texts) = listed(pattern) {
        return Ok(Shape::Texts(texts));
    }
    bounded(pattern)?;
    let parsed = parse::parse(pattern, true)?;
    let Some(mut expanded) = expand(&parsed.tree, Ends { first: true, last: true }) else {
        let prefix = leading_text(&parsed.tree, true).0;
        return Ok(Shape::Automaton { parsed, prefix });
    };
    expanded.sort_unstable();
    expanded.dedup();
    if let Some(texts) = expanded.iter().map(only_text).collect::<Option<Vec<_>>>() {
        return Ok(Shape::Texts(texts));
    }
    let prefix = leading_text(&parsed.tree, true).0;
    if expanded.len() > GLOBS_MAX {
        return Ok(Shape::Automaton { parsed, prefix });
    }
    Ok(Shape::Globs { globs: expanded.into_iter().map(Glob::new).collect(), prefix })
}

/// Does a part stand first or last in the pattern? There, `^` and `$` ask nothing.
#[derive(Clone, Copy)]
struct Ends {
    first: bool,
    last: bool,
}

/// The texts with gaps that `node` stands for; `None` if there is no such list, or it is too long.
fn expand(node: &Node, ends: Ends) -> Option<Vec<Pieces>> {
    match node {
        Node::Empty => Some(vec![Vec::new()]),
        Node::BeginText if ends.first => Some(vec![Vec::new()]),
        Node::EndText if ends.last => Some(vec![Vec::new()]),
        Node::Char { c, fold: false } => Some(vec![vec![Piece::Text(c.to_string())]]),
        Node::Class { class, fold: false } => {
            let chars = class.chars(TEXTS_MAX)?;
            Some(chars.into_iter().map(|c| vec![Piece::Text(c.to_string())]).collect())
        }
        Node::Capture(node) => expand(node, ends),
        Node::Concat(nodes) => {
            let is_empty =
                |node: &Node| matches!(node, Node::Empty | Node::BeginText | Node::EndText);
            let start = nodes.iter().take_while(|node| is_empty(node)).count();
            let end = nodes.len() - nodes.iter().rev().take_while(|node| is_empty(node)).count();
            let mut all = vec![Vec::new()];
            for (i, node) in nodes.iter().enumerate() {
                let ends =
                    Ends { first: ends.first && i <= start, last: ends.last && i + 1 >= end };
                all = product(&all, &expand(node, ends)?)?;
            }
            Some(all)
        }
        Node::Alternate(nodes) => {
            let mut all = Vec::new();
            for node in nodes {
                all.extend(expand(node, ends)?);
                is_small(&all)?;
            }
            Some(all)
        }
        Node::Repeat { node, times, .. } => repeated(node, *times),
        _ => None,
    }
}

fn repeated(node: &Node, times: Times) -> Option<Vec<Pieces>> {
    let gap = |at_least_one| Some(vec![vec![Piece::Gap(Gap { at_least_one })]]);
    match (node, times) {
        (Node::AnyChar, Times { min: 0, max: None, .. }) => gap(false),
        (Node::AnyChar, Times { min: 1, max: None, .. }) => gap(true),
        (_, Times { min, max: Some(max), .. }) => {
            let once = expand(node, Ends { first: false, last: false })?;
            let mut exactly = vec![Vec::new()];
            let mut all = Vec::new();
            for n in 0..=max {
                if n >= min {
                    all.extend(exactly.iter().cloned());
                    is_small(&all)?;
                }
                if n < max {
                    exactly = product(&exactly, &once)?;
                }
            }
            Some(all)
        }
        _ => None,
    }
}

/// Every one of `left` followed by every one of `right`.
fn product(left: &[Pieces], right: &[Pieces]) -> Option<Vec<Pieces>> {
    if left.len().saturating_mul(right.len()) > TEXTS_MAX {
        return None;
    }
    let mut all = Vec::new();
    for start in left {
        for end in right {
            let mut pieces = start.clone();
            end.iter().try_for_each(|piece| append(&mut pieces, piece))?;
            all.push(pieces);
        }
    }
    is_small(&all)?;
    Some(all)
}

/// `None` if two gaps meet that both ask for a character: one gap cannot say so.
fn append(pieces: &mut Pieces, piece: &Piece) -> Option<()> {
    match (pieces.last_mut(), piece) {
        (Some(Piece::Text(last)), Piece::Text(text)) => last.push_str(text),
        (Some(Piece::Gap(last)), Piece::Gap(gap)) => {
            if last.at_least_one && gap.at_least_one {
                return None;
            }
            last.at_least_one |= gap.at_least_one;
        }
        _ => pieces.push(piece.clone()),
    }
    Some(())
}

fn is_small(all: &[Pieces]) -> Option<()> {
    let bytes = |piece: &Piece| match piece {
        Piece::Text(text) => text.len(),
        Piece::Gap(_) => 1,
    };
    let total: usize = all.iter().flatten().map(bytes).sum();
    (all.len() <= TEXTS_MAX && total <= TEXT_BYTES_MAX).then_some(())
}

fn only_text(pieces: &Pieces) -> Option<String> {
    match pieces.as_slice() {
        [] => Some(String::new()),
        [Piece::Text(text)] => Some(text.clone()),
        _ => None,
    }
}

/// The text that every match of `node` begins with, and whether that is all of every match.
fn leading_text(node: &Node, is_first: bool) -> (String, bool) {
    match node {
        Node::Empty => (String::new(), true),
        Node::BeginText if is_first => (String::new(), true),
        Node::Char { c, fold: false } => (c.to_string(), true),
        Node::Capture(node) => leading_text(node, is_first),
        Node::Concat(nodes) => {
            let mut text = String::new();
            for node in nodes {
                let (more, is_all) = leading_text(node, is_first && text.is_empty());
                text.push_str(&more);
                if !is_all {
                    return (text, false);
                }
            }
            (text, true)
        }
        Node::Alternate(nodes) => {
            let mut each = nodes.iter().map(|node| leading_text(node, is_first));
            let Some((mut common, mut is_all)) = each.next() else { return (String::new(), false) };
            for (text, all) in each {
                is_all &= all && text == common;
                common.truncate(common_bytes(&common, &text));
            }
            (common, is_all)
        }
        Node::Repeat { node, times, .. } if times.min > 0 => {
            let (text, is_all) = leading_text(node, is_first);
            (text, is_all && times.min == 1 && times.max == Some(1))
        }
        _ => (String::new(), false),
    }
}

/// How many bytes two texts have in common at their front, in whole characters.
fn common_bytes(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum()
}

impl Glob {
    fn new(pieces: Pieces) -> Self {
        let mut glob = Self { prefix: "".into(), inner: Vec::new(), end: None };
        for piece in pieces {
            match (&mut glob.end, piece) {
                (None, Piece::Text(text)) => glob.prefix = text.into(),
                (Some((_, end)), Piece::Text(text)) => *end = text.into(),
                (end, Piece::Gap(gap)) => {
                    if let Some((before, text)) = end.take() {
                        glob.inner.push((before, Finder::new(text.as_bytes()).into_owned()));
                    }
                    *end = Some((gap, "".into()));
                }
            }
        }
        glob
    }

    /// Does the whole of `value` match?
    pub(in crate::model) fn matches(&self, value: &str) -> bool {
        let value = value.as_bytes();
        let Some(mut rest) = value.strip_prefix(self.prefix.as_bytes()) else { return false };
        let Some((last_gap, suffix)) = &self.end else { return rest.is_empty() };
        for (gap, text) in &self.inner {
            // The first place is the best one: what matches behind a later one matches behind it, too. A character has
            // at least one byte, and a text can only be found at the border of one.
            let Some(room) = rest.get(gap.bytes()..) else { return false };
            let Some(found) = text.find(room) else { return false };
            rest = room.get(found + text.needle().len()..).unwrap_or_default();
        }
        rest.strip_suffix(suffix.as_bytes()).is_some_and(|rest| rest.len() >= last_gap.bytes())
    }
}

impl Gap {
    fn bytes(self) -> usize {
        usize::from(self.at_least_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(pattern: &str) -> String {
        match shape(pattern).unwrap() {
            Shape::Texts(texts) => format!("texts {}", texts.join(" ")),
            Shape::Globs { globs, prefix } => format!("{} globs, prefix {prefix}", globs.len()),
            Shape::Automaton { prefix, .. } => format!("automaton, prefix {prefix}"),
        }
    }

    #[test]
    fn patterns_are_recognised_for_what_they_are() {
        for (pattern, want) in [
            ("", "texts "),
            ("(a|)", "texts  a"),
            ("(a)|(b)", "texts a b"),
            ("api", "texts api"),
            ("a|b|c|a", "texts a b c"),
            ("(a|b)c", "texts ac bc"),
            ("^(?:a|b)$", "texts a b"),
            ("^a$|^b$", "texts a b"),
            ("node-[0-2]x?", "texts node-0 node-0x node-1 node-1x node-2 node-2x"),
            ("a{2}|b{0,2}", "texts  aa b bb"),
            ("10\\.0\\.0\\.1", "texts 10.0.0.1"),
            (".*", "1 globs, prefix "),
            (".+", "1 globs, prefix "),
            ("api-.*", "1 globs, prefix api-"),
            ("api-(?:a|b).+", "2 globs, prefix api-"),
            (".*err.*|warn", "2 globs, prefix "),
            ("api-[a-z]+", "automaton, prefix api-"),
            ("api-1?(2|3)*", "automaton, prefix api-"),
            ("(ab)+c|abd*", "automaton, prefix ab"),
            ("(?i)api", "automaton, prefix "),
            ("(?i)1.2", "automaton, prefix 1"),
            ("(?-s)a.*", "automaton, prefix a"),
            (".+.+", "automaton, prefix "),
            ("a^b", "automaton, prefix a"),
            ("a$b", "automaton, prefix a"),
            ("(|a)^b", "automaton, prefix "),
        ] {
            assert_eq!(describe(pattern), want, "{pattern}");
        }
    }

    #[test]
    fn what_would_be_a_long_list_is_left_to_the_automaton() {
        assert_eq!(describe("[a-z][a-z]"), "automaton, prefix ");
        assert_eq!(describe("(?:a|b){9}"), "automaton, prefix ");
        assert_eq!(
            describe(&format!("(?:{}){{1000}}", "a".repeat(1000))),
            format!("automaton, prefix {}", "a".repeat(1000))
        );
        assert_eq!(describe("[a-q].*"), "automaton, prefix ");
    }

    #[test] // pattern, values it matches, values it does not
    fn a_gap_holds_what_it_asks_for() {
        for (pattern, yes, no) in [
            ("a.*b.*c", &["abc", "a1b2c", "abbcc"][..], &["ac", "abcd", "xabc"][..]),
            ("a.+b.*", &["a1b", "abb"], &["ab", "a1"]),
            (".+é.+", &["aéa", "ééé", "éééé"], &["é", "éé", "aé", "éa"]),
            (".*ab.*ab", &["abab", "ab1ab"], &["ab", "abb"]),
            (".+a", &["éa", "aa"], &["a"]),
        ] {
            let Shape::Globs { globs, .. } = shape(pattern).unwrap() else { panic!("{pattern}") };
            let matches = |text: &str| globs.iter().any(|glob| glob.matches(text));
            yes.iter().for_each(|text| assert!(matches(text), "{pattern} on {text}"));
            no.iter().for_each(|text| assert!(!matches(text), "{pattern} on {text}"));
        }
    }
}
