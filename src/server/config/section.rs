//! Reading values of a section: each of the kind that its key has, or a fault that says which it should be.

use super::fault::{Fault, Notice, Place, Wrong};
use super::yaml::{Entry, Node, Value};
use crate::query::durations::parse_duration;
use crate::server::byte_size::ByteSize;

const NS_PER_MS: i64 = 1_000_000;
/// No more of each is told: whoever has so many will not read them.
const FINDINGS_MAX: usize = 100;
/// A key that is less alike than this is not suggested.
const ALIKE_MIN: f64 = 0.75;

/// How YAML 1.1 spells what is true or false, as Prometheus reads it.
const TRUTHS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "y", "n"];

/// What the value of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `5m`.
    Duration,
    /// `512MB`.
    Size,
    /// A whole number, zero or above.
    Count,
    /// `true` or `false`, `yes` or `no`.
    Truth,
    /// Any single value.
    Text,
    /// A list of texts.
    Texts,
}

/// What was met on the way through a file.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is right and has no effect.
    pub notices: Vec<Notice>,
}

impl Findings {
    /// Notes what is wrong at a place.
    pub fn wrong(&mut self, place: Place, wrong: Wrong) {
        if self.faults.len() < FINDINGS_MAX {
            self.faults.push(Fault { place, wrong });
        }
    }

    /// Notes that the value of the key `path` cannot be what it is.
    pub fn wrong_value(&mut self, place: Place, path: &str, why: impl Into<String>) {
        self.wrong(place, Wrong::Value { path: path.to_owned(), why: why.into() });
    }

    /// Notes what has no effect.
    pub fn notice(&mut self, place: Place, message: String) {
        if self.notices.len() < FINDINGS_MAX {
            self.notices.push(Notice { place, message });
        }
    }

    /// Notes a key that `section` does not have.
    pub fn unknown(
        &mut self,
        entry: &Entry,
        section: &'static str,
        known: impl IntoIterator<Item = &'static str>,
    ) {
        if self.faults.len() >= FINDINGS_MAX {
            return; // comparing takes its time
        }
        let nearest = nearest(&entry.key, known);
        self.wrong(entry.place, Wrong::UnknownKey { key: entry.key.clone(), section, nearest });
    }

    /// The keys and values of a section; none if it is empty or something else.
    pub fn section<'a>(&mut self, node: &'a Node, path: &str) -> &'a [Entry] {
        match &node.value {
            Value::Null => &[],
            Value::Mapping(entries) => entries,
            other => {
                self.kind(node, path, "a mapping of keys to values", other.name());
                &[]
            }
        }
    }

    /// A single value; nothing if there is none.
    pub fn text<'a>(&mut self, node: &'a Node, path: &str) -> Option<&'a str> {
        match &node.value {
            Value::Null => None,
            Value::Scalar(text) => Some(text),
            other => {
                self.kind(node, path, "a single value", other.name());
                None
            }
        }
    }

    /// A duration in milliseconds.
    pub fn duration_ms(&mut self, node: &Node, path: &str) -> Option<i64> {
        let text = self.text(node, path)?;
        match parse_duration(text) {
            Ok(ns) => Some(ns / NS_PER_MS),
            Err(error) => {
                self.wrong_value(
                    node.place,
                    path,
                    format!("{error}; write it like 30m, 1h30m or 15d"),
                );
                None
            }
        }
    }

    /// A number of bytes.
    pub fn bytes(&mut self, node: &Node, path: &str) -> Option<u64> {
        match self.text(node, path)?.parse::<ByteSize>() {
            Ok(size) => Some(size.0 as u64),
            Err(error) => {
                self.wrong_value(node.place, path, error.to_string());
                None
            }
        }
    }

    /// A number, of the kind that `T` is.
    pub fn number<T: std::str::FromStr>(&mut self, node: &Node, path: &str) -> Option<T> {
        let text = self.text(node, path)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.wrong_value(
                node.place,
                path,
                format!("{text:?} is not a number that is possible here"),
            );
        }
        number
    }

    /// Looks whether the value is of that kind.
    pub fn check(&mut self, kind: Kind, node: &Node, path: &str) {
        match kind {
            Kind::Duration => _ = self.duration_ms(node, path),
            Kind::Size => _ = self.bytes(node, path),
            Kind::Count => _ = self.number::<u64>(node, path),
            Kind::Text => _ = self.text(node, path),
            Kind::Truth => match self.text(node, path) {
                None => {}
                Some(text) if TRUTHS.iter().any(|truth| text.eq_ignore_ascii_case(truth)) => {}
                Some(text) => {
                    self.wrong_value(
                        node.place,
                        path,
                        format!("{text:?} is neither true nor false"),
                    );
                }
            },
            Kind::Texts => match &node.value {
                Value::Null => {}
                Value::List(items) => items.iter().for_each(|item| _ = self.text(item, path)),
                other => self.kind(node, path, "a list", other.name()),
            },
        }
    }

    fn kind(&mut self, node: &Node, path: &str, expected: &'static str, found: &'static str) {
        self.wrong(node.place, Wrong::Kind { path: path.to_owned(), expected, found });
    }
}

/// The known key that `key` is probably meant to be.
fn nearest(key: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    // A key that stands in another section or is longer than any key would take its time and find nothing.
    let key = Some(key).filter(|key| key.len() <= 64)?;
    let alike =
        known.into_iter().map(|name| (name, strsim::normalized_damerau_levenshtein(key, name)));
    alike
        .filter(|(_, alike)| *alike >= ALIKE_MIN)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::yaml::parse;

    fn fault(text: &str, kind: Kind) -> Option<String> {
        let mut findings = Findings::default();
        findings.check(kind, &parse(text).unwrap().unwrap(), "a.b");
        findings.faults.first().map(ToString::to_string)
    }

    #[test]
    fn a_misspelled_key_finds_the_one_that_was_meant() {
        const KNOWN: [&str; 3] = ["external_labels", "scrape_interval", "scrape_timeout"];
        assert_eq!(nearest("externl_labels", KNOWN), Some("external_labels"));
        assert_eq!(nearest("scrape-timeout", KNOWN), Some("scrape_timeout"));
        assert_eq!(nearest("colour", KNOWN), None);
        assert_eq!(nearest(&"scrape_timeout".repeat(100), KNOWN), None);
    }

    #[test]
    fn a_value_of_another_kind_is_told_with_what_would_do() {
        for (text, kind, why) in [
            (
                "5",
                Kind::Duration,
                "1:1: a.b: not a valid duration string: \"5\"; write it like 30m, 1h30m or 15d",
            ),
            (
                "much",
                Kind::Size,
                "1:1: a.b: \"much\" is not an amount of bytes; write it like 512MB, 1GiB or 4096",
            ),
            ("-1", Kind::Count, "1:1: a.b: \"-1\" is not a number that is possible here"),
            ("maybe", Kind::Truth, "1:1: a.b: \"maybe\" is neither true nor false"),
            ("[x]", Kind::Text, "1:1: a.b is a single value, and here is a list"),
            ("x: 1", Kind::Texts, "1:1: a.b is a list, and here is a mapping of keys to values"),
        ] {
            assert_eq!(fault(text, kind).as_deref(), Some(why));
        }
    }

    #[test]
    fn what_is_true_or_false_has_the_words_of_yaml_1_1_too() {
        for text in ["true", "False", "yes", "OFF", "n"] {
            assert_eq!(fault(text, Kind::Truth), None, "{text}");
        }
    }

    #[test]
    fn a_key_without_a_value_is_as_none_at_all() {
        for kind in [Kind::Duration, Kind::Size, Kind::Count, Kind::Truth, Kind::Text, Kind::Texts]
        {
            assert_eq!(fault("~", kind), None, "{kind:?}");
        }
    }
}
