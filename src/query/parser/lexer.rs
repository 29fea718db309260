//! Splits a text into words, one at a time, on demand.
//!
//! What a byte means depends on where it stands, so the lexer knows where it is:
//! ```text
//! outside       names, keywords, numbers, strings, operators; names may hold colons
//! {…}           names without colons, strings and = != =~ !~; keywords are names here
//! […            until the first number: numbers, + - * / % ^ ( ) , : and the words step range min_of max_of
//! […] further   as outside, but a colon separates and no name is known but those four words
//! values        behind a series description's labels: see `lex_series`
//! ```
//! White space (space, tab, line feed, carriage return) and comments (`#` to the end of the line) separate words.
//! Every step moves forward, so a text takes time in proportion to its length. Source: `promql/parser/lex.go`.

use super::lex_series::ValueMode;
use super::number::{duration_end, is_name_byte, number_end};
use super::token::{Keyword, Token, TokenKind, keyword, keyword_of_durations};
use crate::query::ast::BinaryOp;
use crate::query::quote::{code_point_at, quoted, quoted_point};

/// Which language a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// An expression or a selector.
    Query,
    /// A series with its values, as test scripts have.
    Series,
}

/// A text being split. After an error it must not be asked again.
pub(super) struct Lexer<'a> {
    pub(super) text: &'a [u8],
    /// Where the next byte to be read stands.
    pub(super) at: usize,
    /// Where the word being read began.
    pub(super) start: usize,
    pub(super) language: Language,
    /// How many `(` are open.
    paren_depth: usize,
    /// Is a `{` open?
    brace_open: bool,
    /// Is a `[` open?
    pub(super) bracket_open: bool,
    /// Are we between a `[` and the first number behind it?
    bracket_just_open: bool,
    /// Has a colon been seen since the last `[`?
    colon_seen: bool,
    /// Has a number been seen behind any `[` so far? Until then no colon may stand there, not even behind `step()`.
    duration_seen: bool,
    pub(super) value_mode: ValueMode,
}

/// A word, or nothing if what was read separates words, or why it cannot be read.
pub(super) type Read = Result<Option<TokenKind>, String>;

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// May a name or a keyword begin with it?
pub(super) fn begins_name(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphabetic()
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], language: Language) -> Self {
        Self {
            text,
            at: 0,
            start: 0,
            language,
            paren_depth: 0,
            brace_open: false,
            bracket_open: false,
            bracket_just_open: false,
            colon_seen: false,
            duration_seen: false,
            value_mode: ValueMode::Outside,
        }
    }

    /// The next word. The error is a message; it concerns everything from [`Self::start`] to the end.
    pub(super) fn next(&mut self) -> Result<Token, String> {
        loop {
            self.start = self.at;
            let read = if self.value_mode != ValueMode::Outside {
                self.read_value()?
            } else if self.brace_open {
                self.read_in_braces()?
            } else if self.bracket_just_open {
                self.read_in_fresh_brackets()?
            } else {
                self.read_outside()?
            };
            if let Some(kind) = read {
                // Of white space, only the first byte is the word.
                let end = if kind == TokenKind::Space { self.start + 1 } else { self.at };
                return Ok(Token { kind, start: offset(self.start), end: offset(end) });
            }
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Reads one byte.
    pub(super) fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Steps over the next byte if it is `wanted`.
    fn accept(&mut self, wanted: u8) -> bool {
        let accepted = self.peek() == Some(wanted);
        self.at += usize::from(accepted);
        accepted
    }

    pub(super) fn skip_while(&mut self, skipped: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&skipped) {
            self.at += 1;
        }
    }

    /// The bytes read since the word began.
    pub(super) fn word(&self) -> &'a [u8] {
        self.text.get(self.start..self.at).unwrap_or_default()
    }

    /// The code point at `at` in single quotes.
    pub(super) fn shown(&self, at: usize) -> String {
        quoted_point(code_point_at(self.text, at).map(|(point, _)| point))
    }

    /// A message about the code point with which this word began.
    pub(super) fn refuse<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{what}{}", self.shown(self.start)))
    }

    fn read_outside(&mut self) -> Read {
        let Some(byte) = self.bump() else { return self.read_end() };
        let op = match byte {
            b'#' => return self.skip_comment(),
            b',' => return Ok(Some(TokenKind::Comma)),
            b'@' => return Ok(Some(TokenKind::At)),
            b'(' | b')' => return self.read_paren(byte),
            b'{' => {
                self.brace_open = true;
                return Ok(Some(TokenKind::LeftBrace));
            }
            b'[' => return self.read_left_bracket(),
            b']' => return self.read_right_bracket(),
            b'"' | b'\'' | b'`' => return self.read_string(byte).map(Some),
            b'=' if self.peek() == Some(b'~') => {
                return Err(format!("unexpected character after '=': {}", self.shown(self.at)));
            }
            b'=' if !self.accept(b'=') => return Ok(Some(TokenKind::Assign)),
            b'=' => BinaryOp::Eq,
            b'!' if !self.accept(b'=') => {
                return Err(format!("unexpected character after '!': {}", self.shown(self.at)));
            }
            b'!' => BinaryOp::Ne,
            b'<' if self.accept(b'=') => BinaryOp::Le,
            b'<' if self.accept(b'/') => BinaryOp::TrimUpper,
            b'<' => BinaryOp::Lt,
            b'>' if self.accept(b'=') => BinaryOp::Ge,
            b'>' if self.accept(b'/') => BinaryOp::TrimLower,
            b'>' => BinaryOp::Gt,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' => arithmetic(byte),
            _ if is_space(byte) => return self.skip_space(),
            _ if self.begins_number(byte) => return self.read_number_or_duration().map(Some),
            b':' if self.bracket_open => return self.read_colon(),
            _ if begins_name(byte) && self.bracket_open => {
                return match self.read_duration_word() {
                    Some(word) => Ok(Some(word)),
                    None => Err(format!(
                        "unexpected character: {}, expected ':'",
                        self.shown(self.start)
                    )),
                };
            }
            _ if begins_name(byte) || byte == b':' => return Ok(Some(self.read_name_or_keyword())),
            _ => return self.refuse("unexpected character: "),
        };
        Ok(Some(TokenKind::Binary(op)))
    }

    pub(super) fn read_end(&self) -> Read {
        if self.paren_depth != 0 {
            return Err("unclosed left parenthesis".to_owned());
        }
        if self.bracket_open {
            return Err("unclosed left bracket".to_owned());
        }
        Ok(Some(TokenKind::Eof))
    }

    /// Reads what stands behind a `[` up to and including the first number. Comments and strings are unknown here.
    fn read_in_fresh_brackets(&mut self) -> Read {
        let Some(byte) = self.bump() else {
            return Err("unexpected end of input in duration expression".to_owned());
        };
        match byte {
            b']' => {
                self.colon_seen = false;
                self.read_right_bracket()
            }
            b':' if !self.duration_seen => {
                self.start = self.at;
                Err("unexpected colon before duration in duration expression".to_owned())
            }
            b':' if self.colon_seen => {
                self.start = self.at;
                Err("unexpected repeated colon in duration expression".to_owned())
            }
            b':' => self.read_colon(),
            b'(' | b')' => self.read_paren(byte),
            b',' => Ok(Some(TokenKind::Comma)),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' => {
                Ok(Some(TokenKind::Binary(arithmetic(byte))))
            }
            _ if is_space(byte) => self.skip_space(),
            _ if self.begins_number(byte) => {
                self.duration_seen = true;
                self.bracket_just_open = false;
                self.read_number_or_duration().map(Some)
            }
            _ => match self.read_duration_word() {
                Some(word) => Ok(Some(word)),
                None => self.refuse("unexpected character in duration expression: "),
            },
        }
    }

    fn read_in_braces(&mut self) -> Read {
        let Some(byte) = self.bump() else {
            return Err("unexpected end of input inside braces".to_owned());
        };
        Ok(Some(match byte {
            b'#' => return self.skip_comment(),
            b',' => TokenKind::Comma,
            b'"' | b'\'' | b'`' => return self.read_string(byte).map(Some),
            b'=' if self.accept(b'~') => TokenKind::RegexMatch,
            b'=' => TokenKind::Assign,
            b'!' if self.accept(b'~') => TokenKind::RegexNoMatch,
            b'!' if self.accept(b'=') => TokenKind::Binary(BinaryOp::Ne),
            b'!' => {
                let next = self.shown(self.at);
                return Err(format!("unexpected character after '!' inside braces: {next}"));
            }
            b'{' => return self.refuse("unexpected left brace "),
            b'}' => {
                self.brace_open = false;
                if self.language == Language::Series {
                    self.value_mode = ValueMode::Values;
                }
                TokenKind::RightBrace
            }
            _ if is_space(byte) => return self.skip_space(),
            _ if begins_name(byte) => {
                self.skip_while(is_name_byte);
                TokenKind::Identifier
            }
            _ => return self.refuse("unexpected character inside braces: "),
        }))
    }

    fn read_paren(&mut self, byte: u8) -> Read {
        if byte == b'(' {
            self.paren_depth += 1;
            return Ok(Some(TokenKind::LeftParen));
        }
        let Some(depth) = self.paren_depth.checked_sub(1) else {
            self.start = self.at;
            return Err("unexpected right parenthesis ')'".to_owned());
        };
        self.paren_depth = depth;
        Ok(Some(TokenKind::RightParen))
    }

    fn read_left_bracket(&mut self) -> Read {
        if self.bracket_open {
            return Err("unexpected left bracket '['".to_owned());
        }
        self.bracket_open = true;
        self.bracket_just_open = true;
        self.colon_seen = false;
        Ok(Some(TokenKind::LeftBracket))
    }

    fn read_right_bracket(&mut self) -> Read {
        if !self.bracket_open {
            return Err("unexpected right bracket ']'".to_owned());
        }
        self.bracket_open = false;
        self.bracket_just_open = false;
        Ok(Some(TokenKind::RightBracket))
    }

    fn read_colon(&mut self) -> Read {
        if self.colon_seen {
            return Err("unexpected colon ':'".to_owned());
        }
        self.colon_seen = true;
        Ok(Some(TokenKind::Colon))
    }

    fn begins_number(&self, byte: u8) -> bool {
        byte.is_ascii_digit()
            || (byte == b'.' && self.peek().is_some_and(|next| next.is_ascii_digit()))
    }

    /// Reads the rest of a number or duration whose first byte has been read.
    fn read_number_or_duration(&mut self) -> Result<TokenKind, String> {
        let times = self.language == Language::Series;
        let (read, kind) = match number_end(self.text, self.start, times) {
            Ok(end) => (Ok(end), TokenKind::Number),
            Err(digits_end) => (duration_end(self.text, digits_end), TokenKind::Duration),
        };
        let (Ok(end) | Err(end)) = read;
        self.at = end;
        match read {
            Ok(_) => Ok(kind),
            Err(_) => Err(format!("bad number or duration syntax: {}", quoted(self.word()))),
        }
    }

    /// Reads one of the words that durations know, whose first byte has been read. Digits end it.
    fn read_duration_word(&mut self) -> Option<TokenKind> {
        self.skip_while(begins_name);
        keyword_of_durations(self.word())
    }

    /// Reads the rest of a name or keyword whose first byte has been read.
    pub(super) fn read_name_or_keyword(&mut self) -> TokenKind {
        self.skip_while(|byte| is_name_byte(byte) || byte == b':');
        self.begin_values();
        match keyword(self.word()) {
            // These words came late: without a parenthesis they still name metrics.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.paren_follows() =>
            {
                TokenKind::Identifier
            }
            Some(keyword) => keyword,
            None if self.word().contains(&b':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        }
    }

    /// In a series description, values follow a name or a brace, unless that is followed by labels.
    fn begin_values(&mut self) {
        if self.language == Language::Series {
            let labels_follow = self.peek() == Some(b'{');
            self.value_mode = if labels_follow { ValueMode::Outside } else { ValueMode::Values };
        }
    }

    fn paren_follows(&self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        rest.iter().copied().find(|byte| !is_space(*byte)) == Some(b'(')
    }

    pub(super) fn skip_space(&mut self) -> Read {
        self.skip_while(is_space);
        Ok(None)
    }

    fn skip_comment(&mut self) -> Read {
        self.skip_while(|byte| byte != b'\n' && byte != b'\r');
        Ok(None)
    }
}

fn arithmetic(byte: u8) -> BinaryOp {
    match byte {
        b'+' => BinaryOp::Add,
        b'-' => BinaryOp::Sub,
        b'*' => BinaryOp::Mul,
        b'/' => BinaryOp::Div,
        b'%' => BinaryOp::Mod,
        _ => BinaryOp::Pow,
    }
}

/// A place in the text as spans have it. The parser takes no text of which some place would not fit.
pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use crate::query::parser::testing::{assert_fault, faults, printed};

    #[test]
    fn white_space_and_comments_separate_words_everywhere() {
        let text = "#\nmax_over_time#a\r(\tx{#b\na=\"b\"#c\n}[5m#d\n:1m])#e";
        assert_eq!(printed(text), "max_over_time(x{a=\"b\"}[5m:1m])");
    }

    #[test]
    fn characters_that_begin_no_word_are_shown() {
        assert_fault("a $ b", "$ b", "unexpected character: '$'");
        assert_fault("a é", "é", "unexpected character: 'é'");
        assert_fault("a =~ b", "=~ b", "unexpected character after '=': '~'");
        assert_fault("a !", "!", "unexpected character after '!': '\u{fffd}'");
        assert_fault("a{b!c}", "!c}", "unexpected character after '!' inside braces: 'c'");
        assert_fault("a{{", "{", "unexpected left brace '{'");
        assert_fault("a{1}", "1}", "unexpected character inside braces: '1'");
        assert_fault("a]", "]", "unexpected right bracket ']'");
    }

    #[test]
    fn texts_are_quoted_utf8_with_complete_escapes() {
        assert_fault("'a", "'a", "unterminated quoted string");
        assert_fault("\"a\n\"", "\"a\n\"", "unterminated quoted string");
        assert_fault("`a", "`a", "unterminated raw string");
        assert_fault(r#""\c""#, r#""\c""#, "unknown escape sequence U+0063 'c'");
        assert_fault(r#""\x4""#, r#""\x4""#, "illegal character U+0022 '\"' in escape sequence");
        assert_fault(
            r#""\ud800""#,
            r#""\ud800""#,
            "escape sequence is an invalid Unicode code point",
        );
        assert_fault(r#""\400""#, r#""\400""#, "escape sequence is an invalid Unicode code point");
        assert_fault(r#""\"#, r#""\"#, "escape sequence not terminated");
        assert_fault("\"\u{fffd}\"", "\"\u{fffd}\"", "invalid UTF-8 rune");
    }

    #[test]
    fn numbers_must_not_run_into_names() {
        assert_fault("2.5.", "2.5.", "bad number or duration syntax: \"2.5.\"");
        assert_fault("0deadbeef", "0deadbeef", "bad number or duration syntax: \"0de\"");
        assert_fault(
            "1e400",
            "1e400",
            "error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range",
        );
    }

    #[test]
    fn brackets_do_not_nest_and_colons_stand_once() {
        assert_fault("a[5m[", "[", "unexpected left bracket '['");
        assert_fault("a[5m", "", "unclosed left bracket");
        assert_fault("a[5m::]", ":]", "unexpected colon ':'");
        assert_fault("a[:5m]", "5m]", "unexpected colon before duration in duration expression");
        assert_fault("a[step():]", "]", "unexpected colon before duration in duration expression");
        let number_before = "rate(a[5m]) + rate(a[step():])";
        assert_eq!(printed(number_before), number_before);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_faults_outside_of_comments() {
        use crate::query::parser::{ParseOptions, parse_expr_bytes};
        let message =
            |text: &[u8]| parse_expr_bytes(text, &ParseOptions::ALL).map_err(|e| e.to_string());
        assert_eq!(
            message(b"a\xff").unwrap_err(),
            "1:2: parse error: unexpected character: '\u{fffd}'"
        );
        assert_eq!(message(b"'\xff'").unwrap_err(), "1:1: parse error: invalid UTF-8 rune");
        assert_eq!(message(b"a #\xff").unwrap().to_text(), "a");
    }

    #[test]
    fn the_first_word_that_cannot_be_read_ends_the_text() {
        assert_eq!(faults("a + $ + $").len(), 1);
    }
}
