//! What is wrong with a text so far.
//!
//! A text of a megabyte can hold a hundred thousand faults, and some messages quote words of any length. Messages are
//! kept up to [`MESSAGE_BYTES_MAX`]; what is found after that goes unsaid.

use crate::query::ast::TextRange;
use crate::query::parse_error::ParseError;

/// How many bytes the messages about one text may have together, the last one aside.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Faults in the order found.
#[derive(Default)]
pub(super) struct Faults {
    errors: Vec<ParseError>,
    message_bytes: usize,
}

impl Faults {
    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(super) fn push(&mut self, span: TextRange, message: impl Into<String>) {
        if self.message_bytes <= MESSAGE_BYTES_MAX {
            let message = message.into();
            self.message_bytes += message.len();
            self.errors.push(ParseError { span, message });
        }
    }

    pub(super) fn into_errors(self) -> Vec<ParseError> {
        self.errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_after_the_last_byte_of_room_goes_unsaid() {
        let mut faults = Faults::default();
        for message in ["first".to_owned(), "x".repeat(MESSAGE_BYTES_MAX), "last".to_owned()] {
            faults.push(TextRange::default(), message);
        }
        let lengths: Vec<usize> =
            faults.into_errors().iter().map(|error| error.message.len()).collect();
        assert_eq!(lengths, [5, MESSAGE_BYTES_MAX]);
    }
}
