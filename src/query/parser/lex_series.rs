//! The words behind the labels of a series description: `1 2+3x4 _ stale {{schema:1 buckets:[1 2]}}x3`.
//!
//! White space separates values, so here it is a word of its own. An `x` always means "times", an underscore always a
//! missing value. Source: `promql/parser/lex.go`.

use super::lexer::{Lexer, Read, begins_name, is_space};
use super::number::number_end;
use super::token::{TokenKind, histogram_key, keyword, reset_hint};
use crate::query::ast::BinaryOp;
use crate::query::quote::quoted;

/// Where in the values of a series description the lexer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueMode {
    /// Not in them.
    Outside,
    /// Between values.
    Values,
    /// Between `{{` and `}}`.
    Histogram,
    /// Between `[` and `]` of a histogram.
    Buckets,
}

impl Lexer<'_> {
    pub(super) fn read_value(&mut self) -> Read {
        match self.value_mode {
            ValueMode::Histogram => self.read_in_histogram(),
            ValueMode::Buckets => self.read_in_buckets(),
            ValueMode::Outside | ValueMode::Values => self.read_between_values(),
        }
    }

    fn read_between_values(&mut self) -> Read {
        let Some(byte) = self.bump() else { return self.read_end() };
        Ok(Some(match byte {
            b'{' if self.peek() == Some(b'{') => {
                self.at += 1;
                self.value_mode = ValueMode::Histogram;
                TokenKind::OpenHistogram
            }
            _ if is_space(byte) => self.read_space(),
            b'+' => TokenKind::Binary(BinaryOp::Add),
            b'-' => TokenKind::Binary(BinaryOp::Sub),
            b'x' => TokenKind::Times,
            b'_' => TokenKind::Blank,
            b'0'..=b'9' | b'.'
                if byte != b'.' || self.peek().is_some_and(|b| b.is_ascii_digit()) =>
            {
                return self.read_number();
            }
            _ if begins_name(byte) => self.read_name_or_keyword(),
            _ => return self.refuse("unexpected character in series sequence: "),
        }))
    }

    fn read_in_histogram(&mut self) -> Read {
        let Some(byte) = self.bump() else { return self.refuse_in_histogram() };
        Ok(Some(match byte {
            _ if is_space(byte) => self.read_space(),
            _ if begins_name(byte) => return self.read_histogram_word(),
            b':' => TokenKind::Colon,
            b'-' => TokenKind::Binary(BinaryOp::Sub),
            b'0'..=b'9' => return self.read_number(),
            b'[' => {
                self.value_mode = ValueMode::Buckets;
                TokenKind::LeftBracket
            }
            b'}' if self.peek() == Some(b'}') => {
                self.at += 1;
                self.value_mode = ValueMode::Values;
                TokenKind::CloseHistogram
            }
            _ => return self.refuse_in_histogram(),
        }))
    }

    fn refuse_in_histogram(&self) -> Read {
        self.refuse("histogram description incomplete unexpected: ")
    }

    /// Reads the rest of a key, a hint, `Inf` or `NaN` whose first byte has been read.
    fn read_histogram_word(&mut self) -> Read {
        self.skip_while(begins_name);
        let word = self.word();
        if let Some(key) = histogram_key(word) {
            return match self.peek() {
                Some(b':') => Ok(Some(TokenKind::HistogramKey(key))),
                _ => Err("missing `:` for histogram descriptor".to_owned()),
            };
        }
        if let Some(hint) = reset_hint(word) {
            return Ok(Some(TokenKind::ResetHint(hint)));
        }
        match keyword(word) {
            Some(TokenKind::Number) => Ok(Some(TokenKind::Number)),
            _ => Err(format!("bad histogram descriptor found: {}", quoted(word))),
        }
    }

    fn read_in_buckets(&mut self) -> Read {
        match self.bump() {
            Some(byte) if is_space(byte) => Ok(Some(self.read_space())),
            Some(b'-') => Ok(Some(TokenKind::Binary(BinaryOp::Sub))),
            Some(b'0'..=b'9') => self.read_number(),
            Some(b']') => {
                self.value_mode = ValueMode::Histogram;
                Ok(Some(TokenKind::RightBracket))
            }
            Some(byte) if begins_name(byte) => {
                self.skip_while(begins_name);
                match keyword(self.word()) {
                    Some(TokenKind::Number) => Ok(Some(TokenKind::Number)),
                    _ => self.refuse("invalid character in buckets description: "),
                }
            }
            _ => self.refuse("invalid character in buckets description: "),
        }
    }

    /// Reads the rest of a number whose first byte has been read.
    fn read_number(&mut self) -> Read {
        let read = number_end(self.text, self.start, true);
        let (Ok(end) | Err(end)) = read;
        self.at = end;
        match read {
            Ok(_) => Ok(Some(TokenKind::Number)),
            Err(_) => Err(format!("bad number syntax: {}", quoted(self.word()))),
        }
    }

    /// Reads white space as one word, of which the message names only the first byte.
    fn read_space(&mut self) -> TokenKind {
        self.skip_while(is_space);
        TokenKind::Space
    }
}
