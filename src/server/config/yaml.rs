//! YAML to a tree of which every part knows its place.
//!
//! Owns what is taken of YAML: one document, and no more than `BYTES_MAX`, `LINE_BYTES_MAX`, `NODES_MAX` and `DEPTH_MAX`. An
//! alias is a second pointer to what its anchor names, never a copy: a few lines that unfold to billions of nodes stay a few
//! lines. What a scalar means is the reader's to say; here it is text.
//!
//! Invariants: keys are scalars, each once in a mapping; an alias never leads to what it lies in.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::fault::{Fault, Place, Wrong};

/// A file has no more bytes: some ten thousand scrape configurations.
pub const BYTES_MAX: usize = 4 << 20;
/// A line has no more bytes: the parser holds all of a line before it knows whether a key stands at its front, at two
/// hundred times its length.
const LINE_BYTES_MAX: usize = 256 << 10;
/// A file has no more values, keys not counted.
const NODES_MAX: usize = 1 << 20;
/// Nothing lies deeper than in so many lists and mappings.
const DEPTH_MAX: usize = 64;

/// A value and where it begins.
#[derive(Debug)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// What stands at a place.
#[derive(Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any other scalar, as it is written.
    Scalar(String),
    /// A list.
    List(Vec<Rc<Node>>),
    /// Keys and values, in order of the file.
    Mapping(Vec<Entry>),
}

impl Value {
    /// What it is called in a sentence.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Mapping(_) => "a mapping of keys to values",
        }
    }
}

/// A key and its value.
#[derive(Debug)]
pub struct Entry {
    /// The key, as it is written.
    pub key: String,
    /// Where the key begins.
    pub place: Place,
    /// The value.
    pub node: Rc<Node>,
}

/// Reads the document in `text`; nothing if there is none.
///
/// # Errors
/// The first thing that is not YAML, more of it than is taken, a key that stands twice.
pub fn parse(text: &str) -> Result<Option<Rc<Node>>, Fault> {
    let start = Place { line: 1, column: 1 };
    if text.len() > BYTES_MAX {
        return Err(too_much(start, "the file has more bytes", BYTES_MAX));
    }
    let long = text.split(['\n', '\r']).zip(1..).find(|(line, _)| line.len() > LINE_BYTES_MAX);
    if let Some((_, line)) = long {
        let place = Place { line, column: 1 };
        return Err(too_much(place, "the line has more bytes", LINE_BYTES_MAX));
    }
    let events = Parser::new_from_str(text);
    let mut tree = Tree { events, anchors: HashMap::new(), nodes: 0, place: start };
    let mut document = None;
    while let Some((event, place)) = tree.next()? {
        match event {
            Event::DocumentStart(_) if document.is_some() => {
                return Err(Fault { place, wrong: Wrong::SecondDocument });
            }
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            event => document = Some(tree.node(event, place, 0)?),
        }
    }
    Ok(document)
}

/// What has been read of the tree.
struct Tree<'a> {
    events: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
    /// Of the last event.
    place: Place,
}

impl<'a> Tree<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Place)>, Fault> {
        match self.events.next() {
            None => Ok(None),
            Some(Ok((event, Span { start, .. }))) => {
                self.place = place(&start);
                Ok(Some((event, self.place)))
            }
            Some(Err(error)) => Err(syntax(&error)),
        }
    }

    /// The node that `event` begins, at `depth` lists and mappings.
    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Rc<Node>, Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(too_much(place, "the file has more values", NODES_MAX));
        }
        if depth > DEPTH_MAX {
            let what = "this lies in more lists and mappings";
            return Err(too_much(place, what, DEPTH_MAX));
        }
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let unknown = || syntax_at(place, "an alias stands within what it is an alias of");
                return self.anchors.get(&anchor).map(Rc::clone).ok_or_else(unknown);
            }
            Event::Scalar(text, style, anchor, _) => (anchor, scalar(&text, style)),
            Event::SequenceStart(anchor, _) => (anchor, Value::List(self.list(depth)?)),
            Event::MappingStart(anchor, _) => (anchor, Value::Mapping(self.mapping(depth)?)),
            _ => return Err(syntax_at(place, "a value is missing")),
        };
        let node = Rc::new(Node { place, value });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Rc<Node>>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.inside()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, place) => items.push(self.node(event, place, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        let mut places: HashMap<String, Place> = HashMap::new();
        loop {
            let (event, place) = self.inside()?;
            if let Event::MappingEnd = event {
                return Ok(entries);
            }
            let is_scalar = matches!(event, Event::Scalar(..) | Event::Alias(_));
            let key = if is_scalar { Some(self.node(event, place, depth + 1)?) } else { None };
            let key = match key.as_deref().map(|node| &node.value) {
                Some(Value::Scalar(text)) => text.clone(),
                Some(Value::Null) => String::new(),
                _ => return Err(Fault { place, wrong: Wrong::KeyIsNoWord }),
            };
            if let Some(first) = places.insert(key.clone(), place) {
                return Err(Fault { place, wrong: Wrong::DuplicateKey { key, first } });
            }
            let (event, value_place) = self.inside()?;
            let node = self.node(event, value_place, depth + 1)?;
            entries.push(Entry { key, place, node });
        }
    }

    /// The next event where there must be one.
    fn inside(&mut self) -> Result<(Event<'a>, Place), Fault> {
        let last = self.place;
        self.next()?.ok_or_else(|| syntax_at(last, "the file ends too early"))
    }
}

/// A scalar without quotes may be none: as YAML's core schema has it.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    let is_null =
        style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if is_null { Value::Null } else { Value::Scalar(text.to_owned()) }
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}

fn syntax(error: &ScanError) -> Fault {
    syntax_at(place(error.marker()), error.info())
}

fn syntax_at(place: Place, what: &str) -> Fault {
    Fault { place, wrong: Wrong::Syntax(what.to_owned()) }
}

fn too_much(place: Place, what: &'static str, max: usize) -> Fault {
    Fault { place, wrong: Wrong::TooMuch { what, max } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> String {
        match parse(text) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(node)) => node.value.name().to_owned(),
            Err(fault) => fault.to_string(),
        }
    }

    fn entries(node: &Node) -> &[Entry] {
        match &node.value {
            Value::Mapping(entries) => entries,
            other => panic!("{}", other.name()),
        }
    }

    #[test]
    fn every_key_and_value_knows_its_line_and_column() {
        let document = parse("# a comment\na:\n  bé: 1\n  'c':\n").unwrap().unwrap();
        let outer = &entries(&document)[0];
        let inner = entries(&outer.node);
        let seen: Vec<_> = inner
            .iter()
            .map(|entry| {
                (entry.key.as_str(), entry.place.to_string(), entry.node.place.to_string())
            })
            .collect();
        assert_eq!(outer.place.to_string(), "2:1");
        assert_eq!((seen[0].0, &*seen[0].1, &*seen[0].2), ("bé", "3:3", "3:7"));
        assert_eq!((seen[1].0, &*seen[1].1), ("c", "4:3"));
        assert!(matches!(inner[1].node.value, Value::Null));
    }

    #[test]
    fn a_file_without_a_document_is_none_and_a_second_one_is_refused() {
        assert_eq!(told(""), "nothing");
        assert_eq!(told("# nothing yet\n"), "nothing");
        assert_eq!(told("a: 1\n"), "a mapping of keys to values");
        assert_eq!(
            told("a: 1\n---\nb: 2\n"),
            "2:1: a second document begins here, and the configuration is one"
        );
    }

    #[test]
    fn a_key_that_stands_twice_is_told_with_both_places() {
        assert_eq!(
            told("a: 1\nb: 2\na: 3\n"),
            "3:1: key \"a\" stands here for the second time; the first is at 1:1"
        );
    }

    #[test]
    fn a_key_that_is_no_word_is_refused() {
        assert!(told("[a, b]: 1\n").contains("a key is a plain word"), "{}", told("[a, b]: 1\n"));
    }

    #[test]
    fn what_is_not_yaml_is_told_with_its_place() {
        let told = told("a: [1\nb: 2\n");
        assert!(told.contains(": not YAML: ") && told.starts_with(|c: char| c.is_ascii_digit()));
    }

    #[test] // a hundred lines of these would be more nodes than there are atoms, were they copied
    fn an_alias_is_not_a_copy_so_that_a_few_lines_stay_a_few_lines() {
        let mut bomb = "a0: &a0 [x, x]\n".to_owned();
        for level in 1..100 {
            let before = level - 1;
            bomb.push_str(&format!("a{level}: &a{level} [*a{before}, *a{before}]\n"));
        }
        assert_eq!(told(&bomb), "a mapping of keys to values");
    }

    #[test]
    fn an_alias_never_leads_to_what_it_lies_in() {
        let told = told("a: &a [*a]\n");
        assert!(told.contains("not YAML"), "{told}");
    }

    #[test]
    fn what_lies_too_deep_or_is_too_long_is_refused() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let too_deep = "more lists and mappings than 64";
        assert!(told(&deep).contains(too_deep), "{}", told(&deep));
        let deeper = told(&"[".repeat(100_000));
        assert!(deeper.contains(too_deep) || deeper.contains("recursion limit"), "{deeper}");
        let deep = "- ".repeat(1000);
        assert!(told(&deep).contains("more lists and mappings than 64"), "{}", told(&deep));
        let long = "#".repeat(BYTES_MAX + 1);
        assert!(told(&long).contains("the file has more bytes than 4194304"));
        let long = format!("a: b\n{}", "[".repeat(LINE_BYTES_MAX + 1));
        assert!(told(&long).starts_with("2:1: the line has more bytes than 262144"));
        let many = "-\n".repeat(NODES_MAX + 1);
        assert!(told(&many).contains("the file has more values than 1048576"));
    }

    proptest! {
        #[test]
        fn any_text_gives_a_document_or_a_fault(text in "[ \n\t\\-:\\[\\]{},&*!|>'\"%@`#?a0~$\u{e9}]{0,60}") {
            let _ = parse(&text);
        }
    }
}
