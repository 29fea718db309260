//! What is wrong with a configuration file, and where; and what of it has no effect.
//!
//! All of what is wrong is told, not the first of it, so that a file is corrected in one go.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// A place in the file. Both count from 1; a column is a character, not a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is not YAML.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// More than this reader takes.
    #[error("{what} than {max}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much is taken.
        max: usize,
    },
    /// A second document.
    #[error("a second document begins here, and the configuration is one")]
    SecondDocument,
    /// A key that is a list or a mapping.
    #[error("a key is a plain word, and this one is a list or a mapping")]
    KeyIsNoWord,
    /// A key that stands twice in one mapping.
    #[error("key {key:?} stands here for the second time; the first is at {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it stands first.
        first: Place,
    },
    /// A key that no Prometheus knows.
    #[error("unknown key {key:?} in {section}{}", suggestion(.nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The section that it stands in.
        section: &'static str,
        /// A key that exists and is spelled much alike.
        nearest: Option<&'static str>,
    },
    /// Another kind of value than the key has.
    #[error("{path} is {expected}, and here is {found}")]
    Kind {
        /// The key, with its sections.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A value that cannot be what the key needs.
    #[error("{path}: {why}")]
    Value {
        /// The key, with its sections.
        path: String,
        /// Why not, and what would do.
        why: String,
    },
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean {key:?}?"))
}

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {wrong}")]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub wrong: Wrong,
}

/// Something that is right, and has another effect than its writer may think: mostly none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What, and why.
    pub message: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Why a configuration file is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is something else than a file: reading it might never end.
    #[error("the configuration file {} is not a regular file", file.display())]
    NotAFile {
        /// What is not one.
        file: PathBuf,
    },
    /// It is wrong. Never empty.
    #[error("{}", first(file, faults))]
    Wrong {
        /// The file.
        file: PathBuf,
        /// All that is wrong, in order of the lines.
        faults: Vec<Fault>,
    },
}

/// One sentence: the first fault, and how to see the others.
fn first(file: &std::path::Path, faults: &[Fault]) -> String {
    let file = file.display();
    match faults {
        [] => format!("{file}: wrong"),
        [only] => format!("{file}:{only}"),
        [first, others @ ..] => format!(
            "{file}:{first} (and {} more: see floodplain check config {file})",
            others.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_file_line_and_column_however_much_is_wrong() {
        let fault = |line| Fault {
            place: Place { line, column: 3 },
            wrong: Wrong::UnknownKey { key: "x".to_owned(), section: "global", nearest: None },
        };
        let told = |faults| ConfigError::Wrong { file: "a.yml".into(), faults }.to_string();
        assert_eq!(told(vec![fault(2)]), "a.yml:2:3: unknown key \"x\" in global");
        assert_eq!(
            told(vec![fault(2), fault(9)]),
            "a.yml:2:3: unknown key \"x\" in global (and 1 more: see floodplain check config a.yml)"
        );
    }
}
