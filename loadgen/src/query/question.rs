//! What is asked: a query, the times at which it is evaluated, and the selector whose points it goes through.

use std::path::Path;

use crate::http::form::seconds;

/// One query of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// PromQL, comment and all.
    pub query: String,
    /// Behind the last `#`: what its points are.
    pub selector: Option<String>,
}

impl Question {
    /// The query `text`. A `#` in a string begins no comment.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let (mut quote, mut comment, mut chars) = (None, None, text.char_indices());
        while let Some((at, c)) = chars.next() {
            match (quote, c) {
                (Some('"' | '\''), '\\') => drop(chars.next()),
                (Some(open), _) if open == c => quote = None,
                (None, '"' | '\'' | '`') => quote = Some(c),
                (None, '#') => comment = Some(at + 1),
                _ => {}
            }
        }
        let selector = comment.and_then(|at| text.get(at..)).map(str::trim);
        let selector = selector.filter(|selector| !selector.is_empty()).map(str::to_owned);
        Self { query: text.trim().to_owned(), selector }
    }

    /// The query whose values add up to how many points there are.
    #[must_use]
    pub fn count(&self) -> Option<String> {
        self.selector.as_ref().map(|selector| format!("count({selector})"))
    }
}

/// The queries of the command line, and those of a file, one a line.
///
/// # Errors
/// The file cannot be read.
pub fn list(given: &[String], file: Option<&Path>) -> std::io::Result<Vec<Question>> {
    let text = file.map(std::fs::read_to_string).transpose()?.unwrap_or_default();
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(given.iter().map(String::as_str).chain(lines).map(Question::new).collect())
}

/// At which times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// At one, in milliseconds since the epoch.
    Instant(i64),
    /// At several, all in milliseconds.
    Range {
        /// The first.
        start: i64,
        /// The last is not later.
        end: i64,
        /// From one to the next.
        step: i64,
    },
}

impl Times {
    /// How many.
    #[must_use]
    pub fn count(self) -> u64 {
        match self {
            Self::Instant(_) => 1,
            Self::Range { start, end, step } => ((end - start) / step + 1).cast_unsigned(),
        }
    }

    /// The route that evaluates a query at these times.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Instant(_) => "/api/v1/query",
            Self::Range { .. } => "/api/v1/query_range",
        }
    }

    /// What the route has to be told beside the query.
    #[must_use]
    pub fn form(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Instant(time) => vec![("time", seconds(time))],
            Self::Range { start, end, step } => {
                vec![("start", seconds(start)), ("end", seconds(end)), ("step", seconds(step))]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_comment_sign_says_what_points_are() {
        for (text, selector) in [
            ("sum(rate(m[5m])) # m", Some("m")),
            (r##"m{a="#", b='\'#', c=`\`} # m{a="x#y"}"##, Some(r##"m{a="x#y"}"##)),
            ("m #", None),
            ("m", None),
            (r##"m{a="# n"}"##, None),
        ] {
            assert_eq!(Question::new(text).selector.as_deref(), selector, "{text}");
        }
        assert_eq!(Question::new("m # m").count().as_deref(), Some("count(m)"));
    }

    #[test]
    fn a_file_has_a_query_a_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# comment\nup # up\n\n  1 + 1\n").unwrap();
        let list = list(&["m".to_owned()], Some(file.path())).unwrap();
        let queries: Vec<&str> = list.iter().map(|question| question.query.as_str()).collect();
        assert_eq!(queries, ["m", "up # up", "1 + 1"]);
    }

    #[test]
    fn both_ends_of_a_range_are_steps() {
        let hours = Times::Range { start: 0, end: 6 * 3_600_000, step: 15_000 };
        assert_eq!(hours.count(), 1441);
        assert_eq!(Times::Range { start: 0, end: 14_999, step: 15_000 }.count(), 1);
        assert_eq!(hours.form()[2], ("step", "15.000".to_owned()));
        assert_eq!(Times::Instant(1).count(), 1);
    }
}
