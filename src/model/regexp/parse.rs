//! Go's regular expression syntax, Perl flavour, read into a tree.
//!
//! Accepts what `regexp/syntax.Parse` accepts with the flags `Perl`, and names the same fault in the same part of the
//! pattern where that one refuses: the parser of the copy that Prometheus uses, `github.com/grafana/regexp`, which Go's own
//! has since outgrown in how it takes the names of Unicode's tables. Source: `go doc regexp/syntax`; RE2, "Syntax".
//!
//! How large a pattern may become is not looked at here, only how deep: see [`super::GoRegex::new`].

use super::RegexpError;
use super::class::{Class, Item};
use super::node::{Node, Times};

/// A counted repetition, and the product of nested ones, is at most this.
const REPEAT_MAX: u32 = 1000;

/// How often a pattern may name a category or a script: each takes microseconds and kilobytes to look up. More of them
/// rarely fit into what a pattern may compile to.
const PROPERTIES_MAX: usize = 1000;

/// A tree is at most this high: what walks it may recurse.
const HEIGHT_MAX: usize = 1000;

/// A pattern read: its tree, and the name of each capturing group in order; the empty name for those without.
#[derive(Debug)]
pub(in crate::model) struct Pattern {
    pub(super) tree: Node,
    pub(super) names: Vec<String>,
}

/// What `(?flags)` changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags {
    /// `i`: case does not matter.
    fold: bool,
    /// `m`: `^` and `$` match at lines.
    multi_line: bool,
    /// `s`: `.` matches a newline.
    dot_newline: bool,
    /// `U`: repetitions are lazy, and greedy with `?`.
    lazy: bool,
}

/// A part and the height of its tree.
struct Part {
    node: Node,
    height: usize,
}

/// A group that is still open; the outermost one is the pattern itself.
struct Group {
    captures: bool,
    /// The flags that hold again behind it.
    flags: Flags,
    alternatives: Vec<Part>,
    parts: Vec<Part>,
}

struct Parser<'p> {
    pattern: &'p str,
    at: usize,
    flags: Flags,
    /// The groups around the innermost one.
    outer: Vec<Group>,
    group: Group,
    names: Vec<String>,
    /// How many categories and scripts have been named so far.
    properties: usize,
}

/// Reads `pattern`; with `dot_newline` as if it stood in `(?s:…)`.
pub(super) fn parse(pattern: &str, dot_newline: bool) -> Result<Pattern, RegexpError> {
    let flags = Flags { dot_newline, ..Flags::default() };
    let mut parser = Parser {
        pattern,
        at: 0,
        flags,
        outer: Vec::new(),
        group: Group::new(false, flags),
        names: Vec::new(),
        properties: 0,
    };
    // Where a repetition starts that stands directly before what is read next.
    let mut repeated_at = None;
    while let Some(c) = parser.peek() {
        let start = parser.at;
        let is_repetition = match c {
            '*' | '+' | '?' => {
                parser.at += 1;
                let (min, max) = match c {
                    '*' => (0, None),
                    '+' => (1, None),
                    _ => (0, Some(1)),
                };
                parser.repeat(Times { min, max, counted: false }, start, repeated_at)?;
                true
            }
            '{' => match parser.counts()? {
                Some(times) => {
                    parser.repeat(times, start, repeated_at)?;
                    true
                }
                None => {
                    parser.at += 1;
                    parser.push_char('{')?;
                    false
                }
            },
            _ => {
                parser.part(c)?;
                false
            }
        };
        repeated_at = is_repetition.then_some(start);
    }
    parser.finish()
}

impl Group {
    fn new(captures: bool, flags: Flags) -> Self {
        Self { captures, flags, alternatives: Vec::new(), parts: Vec::new() }
    }

    /// What stands since the last `|`, as one part.
    fn concat(&mut self) -> Part {
        let mut parts = std::mem::take(&mut self.parts);
        match (parts.pop(), parts.is_empty()) {
            (None, _) => Part { node: Node::Empty, height: 1 },
            (Some(only), true) => only,
            (Some(last), false) => {
                parts.push(last);
                combine(parts, Node::Concat)
            }
        }
    }

    /// All that stands in the group, as one part.
    fn alternate(&mut self) -> Part {
        let last = self.concat();
        if self.alternatives.is_empty() {
            return last;
        }
        self.alternatives.push(last);
        combine(std::mem::take(&mut self.alternatives), Node::Alternate)
    }
}

fn combine(parts: Vec<Part>, node: impl FnOnce(Vec<Node>) -> Node) -> Part {
    let height = 1 + parts.iter().map(|part| part.height).max().unwrap_or_default();
    Part { node: node(parts.into_iter().map(|part| part.node).collect()), height }
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// The fault `what` in the pattern from `start` to where the parser stands.
    fn error(&self, what: &'static str, start: usize) -> RegexpError {
        RegexpError {
            what,
            expression: self.pattern.get(start..self.at).unwrap_or_default().to_owned(),
        }
    }

    /// The fault `what` in the pattern as a whole.
    fn error_in_all(&self, what: &'static str) -> RegexpError {
        RegexpError { what, expression: self.pattern.to_owned() }
    }

    fn push(&mut self, part: Part) -> Result<(), RegexpError> {
        if part.height > HEIGHT_MAX {
            return Err(self.error_in_all("expression nests too deeply"));
        }
        self.group.parts.push(part);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Result<(), RegexpError> {
        self.push(Part { node, height: 1 })
    }

    fn push_char(&mut self, c: char) -> Result<(), RegexpError> {
        let fold = self.flags.fold && (!c.is_ascii() || c.is_ascii_alphabetic());
        self.push_node(Node::Char { c, fold })
    }

    fn push_class(&mut self, class: Class) -> Result<(), RegexpError> {
        self.push_node(Node::Class { class, fold: self.flags.fold })
    }

    /// Reads what is not a repetition and starts with `c`.
    fn part(&mut self, c: char) -> Result<(), RegexpError> {
        match c {
            '(' if self.rest().starts_with("(?") => return self.flags_or_group(),
            '[' => return self.class(),
            '\\' => return self.escape(),
            _ => self.at += c.len_utf8(),
        }
        let Flags { multi_line, dot_newline, .. } = self.flags;
        match c {
            '(' => {
                self.open(true);
                self.names.push(String::new());
                Ok(())
            }
            ')' => self.close(),
            '|' => {
                let part = self.group.concat();
                self.group.alternatives.push(part);
                Ok(())
            }
            '^' if multi_line => self.push_node(Node::BeginLine),
            '^' => self.push_node(Node::BeginText),
            '$' if multi_line => self.push_node(Node::EndLine),
            '$' => self.push_node(Node::EndText),
            '.' if dot_newline => self.push_node(Node::AnyChar),
            '.' => self.push_node(Node::AnyCharNotNewline),
            _ => self.push_char(c),
        }
    }

    fn open(&mut self, captures: bool) {
        let group = Group::new(captures, self.flags);
        self.outer.push(std::mem::replace(&mut self.group, group));
    }

    fn close(&mut self) -> Result<(), RegexpError> {
        let Some(outer) = self.outer.pop() else {
            return Err(self.error_in_all("unexpected )"));
        };
        let mut group = std::mem::replace(&mut self.group, outer);
        self.flags = group.flags;
        let Part { node, height } = group.alternate();
        if group.captures {
            self.push(Part { node: Node::Capture(Box::new(node)), height: height + 1 })
        } else {
            self.push(Part { node, height })
        }
    }

    fn finish(mut self) -> Result<Pattern, RegexpError> {
        if !self.outer.is_empty() {
            return Err(self.error_in_all("missing closing )"));
        }
        let part = self.group.alternate();
        self.push(part)?;
        let tree = self.group.concat().node;
        Ok(Pattern { tree, names: self.names })
    }

    /// Repeats the last part. `start` is where the operator stands, `repeated_at` where one stands directly before it.
    fn repeat(
        &mut self,
        times: Times,
        start: usize,
        repeated_at: Option<usize>,
    ) -> Result<(), RegexpError> {
        let lazy = self.eat("?");
        if let Some(before) = repeated_at {
            return Err(self.error("invalid nested repetition operator", before));
        }
        let Some(Part { node, height }) = self.group.parts.pop() else {
            return Err(self.error("missing argument to repetition operator", start));
        };
        let node = Node::Repeat { node: Box::new(node), times, greedy: lazy == self.flags.lazy };
        let copies = times.max.unwrap_or(times.min).max(times.min);
        if times.counted && copies >= 2 && !node.repeats_at_most(REPEAT_MAX) {
            return Err(self.error("invalid repeat count", start));
        }
        self.push(Part { node, height: height + 1 })
    }

    /// `{n}`, `{n,}`, `{n,m}`; `None`, with nothing read, if it is none of them and so means itself.
    fn counts(&mut self) -> Result<Option<Times>, RegexpError> {
        let start = self.at;
        let read = |parser: &mut Self| {
            parser.eat("{");
            let min = parser.number()?;
            let max = match parser.eat(",") {
                false => Some(min),
                true if parser.rest().starts_with('}') => None,
                true => Some(parser.number()?),
            };
            parser.eat("}").then_some((min, max))
        };
        let Some((min, max)) = read(self) else {
            self.at = start;
            return Ok(None);
        };
        if min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX || min > max) {
            return Err(self.error("invalid repeat count", start));
        }
        Ok(Some(Times { min, max, counted: true }))
    }

    /// Decimal digits without a leading zero; numbers beyond any limit come out as some number beyond it.
    fn number(&mut self) -> Option<u32> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let text = self.rest().get(..digits)?;
        if text.is_empty() || (text.len() > 1 && text.starts_with('0')) {
            return None;
        }
        let number = text.parse().unwrap_or(u32::MAX);
        self.at += digits;
        Some(number)
    }

    /// What starts with `(?`: a named group, flags, or a group with flags.
    fn flags_or_group(&mut self) -> Result<(), RegexpError> {
        let start = self.at;
        let rest = self.rest();
        if (rest.starts_with("(?P<") && rest.len() > 4)
            || (rest.starts_with("(?<") && rest.len() > 3)
        {
            return self.named_group();
        }
        self.at += 2;
        let mut flags = self.flags;
        let (mut value, mut is_value_used) = (true, true);
        while let Some(c) = self.next() {
            match c {
                'i' => flags.fold = value,
                'm' => flags.multi_line = value,
                's' => flags.dot_newline = value,
                'U' => flags.lazy = value,
                '-' if value => {
                    (value, is_value_used) = (false, false);
                    continue;
                }
                ':' | ')' if is_value_used => {
                    if c == ':' {
                        self.open(false);
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            is_value_used = true;
        }
        Err(self.error("invalid or unsupported Perl syntax", start))
    }

    /// `(?P<name>` or `(?<name>`.
    fn named_group(&mut self) -> Result<(), RegexpError> {
        let start = self.at;
        let Some(len) = self.rest().find('>') else {
            self.at = self.pattern.len();
            return Err(self.error("invalid named capture", start));
        };
        let opening = if self.rest().starts_with("(?P") { 4 } else { 3 };
        let name = self.rest().get(opening..len).unwrap_or_default().to_owned();
        self.at += len + 1;
        if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
            return Err(self.error("invalid named capture", start));
        }
        self.open(true);
        self.names.push(name);
        Ok(())
    }

    /// What starts with a backslash, outside of brackets.
    fn escape(&mut self) -> Result<(), RegexpError> {
        let start = self.at;
        let node = match self.rest().as_bytes().get(1) {
            Some(b'A') => Node::BeginText,
            Some(b'b') => Node::WordBoundary,
            Some(b'B') => Node::NotWordBoundary,
            Some(b'z') => Node::EndText,
            Some(b'C') => {
                self.at += 2;
                return Err(self.error("invalid escape sequence", start));
            }
            Some(b'Q') => return self.quoted(),
            _ => {
                if let Some(item) = self.named_set()? {
                    return self.push_class(Class::of(item));
                }
                let code = self.escaped_char()?;
                return match char::from_u32(code) {
                    Some(c) => self.push_char(c),
                    None => self.push_class(Class::of(Item::Range(code, code))),
                };
            }
        };
        self.at += 2;
        self.push_node(node)
    }

    /// `\Q…\E`, of which the end may be missing.
    fn quoted(&mut self) -> Result<(), RegexpError> {
        self.at += 2;
        while !self.eat("\\E") {
            match self.next() {
                Some(c) => self.push_char(c)?,
                None => break,
            }
        }
        Ok(())
    }

    /// `\d` and its like, `\pL`, `\p{Greek}`; `None`, with nothing read, if there is none.
    fn named_set(&mut self) -> Result<Option<Item>, RegexpError> {
        let start = self.at;
        let mut bytes = self.rest().bytes();
        let (Some(b'\\'), Some(letter)) = (bytes.next(), bytes.next()) else { return Ok(None) };
        if let Some(item) = Item::perl(letter) {
            self.at += 2;
            return Ok(Some(item));
        }
        if !letter.eq_ignore_ascii_case(&b'p') {
            return Ok(None);
        }
        self.at += 2;
        let name_start = self.at;
        let name = match self.next() {
            Some('{') => match self.rest().find('}') {
                Some(len) => {
                    self.at += len + 1;
                    self.pattern.get(name_start + 1..self.at - 1)
                }
                None => {
                    self.at = self.pattern.len();
                    None
                }
            },
            Some(_) => self.pattern.get(name_start..self.at),
            None => None,
        };
        self.properties += 1;
        if self.properties > PROPERTIES_MAX {
            return Err(RegexpError {
                what: "expression too large",
                expression: self.pattern.to_owned(),
            });
        }
        let set = name.and_then(|name| Item::unicode(name, letter == b'P'));
        set.map(Some).ok_or_else(|| self.error("invalid character class range", start))
    }

    /// One character spelled with a backslash; a code point, since Go takes surrogates, too.
    fn escaped_char(&mut self) -> Result<u32, RegexpError> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.next() else {
            return Err(RegexpError {
                what: "trailing backslash at end of expression",
                expression: String::new(),
            });
        };
        let code = match c {
            '0' => Some(self.octal(0)),
            // A single digit would be a reference to a group, which RE2 does not have.
            '1'..='7' if self.rest().starts_with(|next| matches!(next, '0'..='7')) => {
                Some(self.octal(u32::from(c) - u32::from('0')))
            }
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        code.ok_or_else(|| self.error("invalid escape sequence", start))
    }

    /// Up to two more octal digits behind the first one.
    fn octal(&mut self, first: u32) -> u32 {
        let mut code = first;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            code = code * 8 + digit;
            self.at += 1;
        }
        code
    }

    /// Two hexadecimal digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.next()?;
        if first != '{' {
            let second = self.next()?;
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let (mut code, mut digits) = (0, 0);
        loop {
            let c = self.next()?;
            if c == '}' {
                return (digits > 0).then_some(code);
            }
            code = code * 16 + c.to_digit(16)?;
            digits += 1;
            if code > u32::from(char::MAX) {
                return None;
            }
        }
    }

    /// `[…]`.
    fn class(&mut self) -> Result<(), RegexpError> {
        let start = self.at;
        self.at += 1;
        let mut class = Class { negated: self.eat("^"), items: Vec::new() };
        let mut is_first = true; // a `]` in front means itself
        while is_first || !self.rest().starts_with(']') {
            is_first = false;
            let item = match self.posix_set()? {
                Some(item) => Some(item),
                None => self.named_set()?,
            };
            let item = match item {
                Some(item) => item,
                None => self.range(start)?,
            };
            class.items.push(item);
        }
        self.at += 1;
        self.push_class(class)
    }

    /// `[:alpha:]`; `None`, with nothing read, if there is none.
    fn posix_set(&mut self) -> Result<Option<Item>, RegexpError> {
        let start = self.at;
        let Some(inner) = self.rest().strip_prefix("[:") else { return Ok(None) };
        let Some(len) = inner.find(":]") else { return Ok(None) };
        let item = Item::posix(inner.get(..len).unwrap_or_default());
        self.at += 2 + len + 2;
        item.map(Some).ok_or_else(|| self.error("invalid character class range", start))
    }

    /// One character of the brackets that open at `class_start`, or a range of them.
    fn range(&mut self, class_start: usize) -> Result<Item, RegexpError> {
        let start = self.at;
        let first = self.class_char(class_start)?;
        let mut last = first;
        let mut next = self.rest().bytes();
        if next.next() == Some(b'-') && next.next().is_some_and(|b| b != b']') {
            self.at += 1;
            last = self.class_char(class_start)?;
        }
        if last < first {
            return Err(self.error("invalid character class range", start));
        }
        Ok(Item::Range(first, last))
    }

    fn class_char(&mut self, class_start: usize) -> Result<u32, RegexpError> {
        if self.rest().starts_with('\\') {
            return self.escaped_char();
        }
        match self.next() {
            Some(c) => Ok(u32::from(c)),
            None => Err(self.error("missing closing ]", class_start)),
        }
    }
}
