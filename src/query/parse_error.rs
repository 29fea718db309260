//! What is wrong with a text, where, and how that is shown: `1:5: parse error: unexpected end of input`.
//!
//! A text can have several faults at once; the first one speaks for all of them, as in Prometheus's API. The messages
//! are Prometheus's own wherever it has one (`promql/parser`), since tools and people match on them.

use std::fmt;

use super::ast::TextRange;

/// One fault of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where, in bytes of the text.
    pub span: TextRange,
    /// What, without the place.
    pub message: String,
}

/// All faults of one text, in the order found; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseErrors {
    /// Where the first fault stands, as `line:column`, both counted from 1, columns in bytes.
    position: String,
    /// The faults.
    errors: Vec<ParseError>,
}

impl ParseErrors {
    /// The faults of `text`; `None` if there are none.
    #[must_use]
    pub fn new(text: &[u8], errors: Vec<ParseError>) -> Option<Self> {
        let first = errors.first()?;
        Some(Self { position: position(text, first.span), errors })
    }

    /// The faults in the order found.
    #[must_use]
    pub fn errors(&self) -> &[ParseError] {
        &self.errors
    }
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.errors.first().map_or("", |error| error.message.as_str());
        write!(f, "{}: parse error: {message}", self.position)
    }
}

impl std::error::Error for ParseErrors {}

/// Where `span` starts in `text`, as `line:column`. Both count from 1; a column is a byte.
#[must_use]
pub fn position(text: &[u8], span: TextRange) -> String {
    if text.is_empty() {
        return "unknown position".to_owned();
    }
    let Some(before) = text.get(..span.start as usize) else {
        return "invalid position".to_owned();
    };
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    format!("{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: u32) -> TextRange {
        TextRange { start, end: start }
    }

    #[test]
    fn the_first_of_several_faults_is_the_one_shown() {
        let errors = ["first", "second"]
            .map(|message| ParseError { span: at(2), message: message.to_owned() });
        let errors = ParseErrors::new(b"1+", errors.to_vec()).unwrap();
        assert_eq!(errors.to_string(), "1:3: parse error: first");
        assert_eq!(errors.errors().len(), 2);
    }

    #[test]
    fn no_faults_are_no_error() {
        assert_eq!(ParseErrors::new(b"1", Vec::new()), None);
    }

    #[test]
    fn lines_and_columns_count_from_one_and_a_column_is_a_byte() {
        assert_eq!(position("ä\nöb".as_bytes(), at(5)), "2:3");
        assert_eq!(position(b"a\n", at(1)), "1:2");
        assert_eq!(position(b"a\n", at(2)), "2:1");
    }

    #[test]
    fn an_empty_text_and_a_place_outside_have_no_position() {
        assert_eq!(position(b"", at(0)), "unknown position");
        assert_eq!(position(b"a", at(2)), "invalid position");
    }
}
