//! Where quoted texts end. What they stand for is `query::quote`'s.
//!
//! Escapes are checked here, so that unquoting cannot fail. Source: `promql/parser/lex.go`, after Go's own scanner.

use super::lexer::Lexer;
use super::token::TokenKind;
use crate::query::quote::{code_point_at, numbered_point};

impl Lexer<'_> {
    /// Reads the rest of a text whose opening `quote` has been read.
    pub(super) fn read_string(&mut self, quote: u8) -> Result<TokenKind, String> {
        let raw = quote == b'`';
        while let Some((point, width)) = code_point_at(self.text, self.at) {
            self.at += width;
            match point {
                '\\' if !raw => self.skip_escape(quote)?,
                char::REPLACEMENT_CHARACTER => return Err("invalid UTF-8 rune".to_owned()),
                '\n' if !raw => break,
                _ if point == char::from(quote) => return Ok(TokenKind::String),
                _ => {}
            }
        }
        let kind = if raw { "raw" } else { "quoted" };
        Err(format!("unterminated {kind} string"))
    }

    /// Steps over an escape whose backslash has been read.
    fn skip_escape(&mut self, quote: u8) -> Result<(), String> {
        let (digits, base, max) = match self.peek() {
            Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\') => (0, 0, 0),
            Some(byte) if byte == quote => (0, 0, 0),
            Some(b'0'..=b'7') => (3, 8, 255),
            Some(b'x') => (2, 16, 255),
            Some(b'u') => (4, 16, u32::from(char::MAX)),
            Some(b'U') => (8, 16, u32::from(char::MAX)),
            _ => {
                return Err(match code_point_at(self.text, self.at) {
                    Some((point, _)) => {
                        format!("unknown escape sequence {}", numbered_point(point))
                    }
                    None => "escape sequence not terminated".to_owned(),
                });
            }
        };
        // An octal escape has no letter: the byte just seen is its first digit.
        self.at += usize::from(base != 8);
        let mut value = 0_u32;
        for _ in 0..digits {
            let Some((point, width)) = code_point_at(self.text, self.at) else {
                return Err("escape sequence not terminated".to_owned());
            };
            let Some(digit) = point.to_digit(base) else {
                return Err(format!(
                    "illegal character {} in escape sequence",
                    numbered_point(point)
                ));
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
            self.at += width;
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }
}
