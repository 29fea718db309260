//! A pattern as a tree, and the tree in the syntax of the crate `regex`.
//!
//! What is written is the plainest spelling there is: explicit ranges, every flag where it holds, groups without names.
//! So nothing that the two syntaxes read differently can occur in it.

use super::class::Class;

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Matches the empty text.
    Empty,
    /// One character; with `fold` whichever its case.
    Char { c: char, fold: bool },
    /// One character out of some; with `fold` whichever its case.
    Class { class: Class, fold: bool },
    /// Any one character.
    AnyChar,
    /// Any one character but a newline.
    AnyCharNotNewline,
    /// `^` without the flag `m`, `\A`.
    BeginText,
    /// `$` without the flag `m`, `\z`.
    EndText,
    /// `^` with the flag `m`.
    BeginLine,
    /// `$` with the flag `m`.
    EndLine,
    /// `\b`, between ASCII word characters and others.
    WordBoundary,
    /// `\B`.
    NotWordBoundary,
    /// A group whose match can be asked for.
    Capture(Box<Node>),
    /// The same thing several times.
    Repeat { node: Box<Node>, times: Times, greedy: bool },
    /// One after the other.
    Concat(Vec<Node>),
    /// The first that matches.
    Alternate(Vec<Node>),
}

/// How often something repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) min: u32,
    /// `None` is without end.
    pub(super) max: Option<u32>,
    /// Written `{n,m}`, not `*`, `+` or `?`: Go limits these.
    pub(super) counted: bool,
}

/// A tree written in the syntax of the crate `regex`.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) text: String,
    /// Where the pattern's groups 1, 2, ... are among the groups of the text.
    pub(super) groups: Vec<usize>,
    groups_written: usize,
}

impl Written {
    /// Appends a part.
    pub(super) fn push(&mut self, node: &Node) {
        let out = &mut self.text;
        match node {
            Node::Empty => out.push_str("(?:)"),
            Node::Char { c, fold } => write_char(*c, *fold, out),
            Node::Class { class, fold: false } => class.write(out),
            Node::Class { class, fold: true } => {
                out.push_str("(?i:");
                class.write(out);
                out.push(')');
            }
            Node::AnyChar => out.push_str("(?s:.)"),
            Node::AnyCharNotNewline => out.push_str("[^\\n]"),
            Node::BeginText => out.push_str("\\A"),
            Node::EndText => out.push_str("\\z"),
            Node::BeginLine => out.push_str("(?m:^)"),
            Node::EndLine => out.push_str("(?m:$)"),
            Node::WordBoundary => out.push_str("(?-u:\\b)"),
            Node::NotWordBoundary => out.push_str("(?-u:\\B)"),
            Node::Capture(node) => {
                self.groups_written += 1;
                self.groups.push(self.groups_written);
                self.enclose("(", node);
            }
            Node::Repeat { node, times, greedy } => {
                self.enclose("(?:", node);
                times.write(&mut self.text);
                self.text.push_str(if *greedy { "" } else { "?" });
            }
            Node::Concat(nodes) => nodes.iter().for_each(|node| self.push(node)),
            Node::Alternate(nodes) => self.alternate(nodes),
        }
    }

    fn enclose(&mut self, opening: &str, node: &Node) {
        self.text.push_str(opening);
        self.push(node);
        self.text.push(')');
    }

    fn alternate(&mut self, nodes: &[Node]) {
        self.text.push_str("(?:");
        // The crate rewrites `.*a|.*b` to `.*(?:a|b)`, which prefers the later of a and b where the pattern prefers a. A
        // group that is in one alternative only keeps it from doing so. (regex-syntax 0.8, `lift_common_prefix`.)
        if nodes.iter().all(Node::matches_in_several_ways) {
            self.groups_written += 1;
            self.text.push_str("()");
        }
        for (i, node) in nodes.iter().enumerate() {
            if i > 0 {
                self.text.push('|');
            }
            self.push(node);
        }
        self.text.push(')');
    }
}

impl Node {
    /// May the same text match in more than one way, of which the pattern prefers one?
    fn matches_in_several_ways(&self) -> bool {
        match self {
            Self::Repeat { .. } | Self::Alternate(_) => true,
            Self::Capture(node) => node.matches_in_several_ways(),
            Self::Concat(nodes) => nodes.iter().any(Self::matches_in_several_ways),
            _ => false,
        }
    }

    /// Do counted repetitions, multiplied where they nest, stay within `n`? As Go reckons: `{0}` ends the reckoning.
    pub(super) fn repeats_at_most(&self, n: u32) -> bool {
        match self {
            Self::Repeat { node, times, .. } if times.counted => {
                let copies = times.max.unwrap_or(times.min);
                times.max == Some(0) || copies <= n && node.repeats_at_most(n / copies.max(1))
            }
            Self::Repeat { node, .. } | Self::Capture(node) => node.repeats_at_most(n),
            Self::Concat(nodes) | Self::Alternate(nodes) => {
                nodes.iter().all(|node| node.repeats_at_most(n))
            }
            _ => true,
        }
    }
}

impl Times {
    fn write(self, out: &mut String) {
        let Self { min, max, .. } = self;
        match (min, max) {
            (0, None) => out.push('*'),
            (1, None) => out.push('+'),
            (0, Some(1)) => out.push('?'),
            (_, None) => out.push_str(&format!("{{{min},}}")),
            (_, Some(max)) => out.push_str(&format!("{{{min},{max}}}")),
        }
    }
}

fn write_char(c: char, fold: bool, out: &mut String) {
    let mut buffer = [0; 4];
    let text = c.encode_utf8(&mut buffer);
    if fold {
        out.push_str("(?i:");
    }
    regex_syntax::escape_into(text, out);
    if fold {
        out.push(')');
    }
}
