//! Where parsing stands: the next word, what is wrong so far, and how it goes on behind a fault.
//!
//! A text may have several faults, and each is reported once, as Prometheus does with its generated parser:
//! - A word that cannot stand where it stands ends, as [`Stop::Fault`], every construct up to the innermost one that knows
//!   how to go on (a list of labels, a range, an aggregation, at last the whole text). That one reports it.
//! - From then on, until a word is accepted again, words that fit nowhere are skipped in silence.
//! - If the text ends meanwhile, parsing stops for good, as [`Stop::End`]. So it does at bytes that are no word at all.
//!
//! These are yacc's rules for its token `error`; Prometheus's grammar says which constructs know how to go on.

use super::faults::Faults;
use super::lexer::{Language, Lexer, offset};
use super::token::{Token, TokenKind};
use super::{NESTING_MAX, ParseOptions};
use crate::query::ast::TextRange;
use crate::query::parse_error::ParseErrors;

/// Why a construct was not parsed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The next word does not fit; nobody has said so yet.
    Fault,
    /// There is nothing more to parse, and what is wrong has been said.
    End,
}

/// What a construct parses to.
pub(super) type Parsed<T> = Result<T, Stop>;

/// A text being parsed.
pub(super) struct Parser<'a> {
    pub(super) options: ParseOptions,
    pub(super) faults: Faults,
    lexer: Lexer<'a>,
    /// The word that comes next, if it has been looked at.
    ahead: Option<Token>,
    /// The last word that was read; faults are reported there.
    last: Token,
    /// Has a word been met that cannot be read? Then it is already reported.
    unreadable: bool,
    /// Are words that fit nowhere being skipped?
    skipping: bool,
    /// Behind the last word read that can end an expression. Some nodes end here, even if it is the word behind them.
    last_closing: u32,
    nesting: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8], language: Language, options: ParseOptions) -> Self {
        let mut faults = Faults::default();
        let fits = u32::try_from(text.len()).is_ok();
        if !fits {
            faults.push(TextRange::default(), "text is longer than 4 GiB");
        }
        let text = if fits { text } else { Default::default() };
        Self {
            options,
            faults,
            lexer: Lexer::new(text, language),
            ahead: None,
            last: Token { kind: TokenKind::Nothing, start: 0, end: 0 },
            unreadable: false,
            skipping: false,
            last_closing: 0,
            nesting: 0,
        }
    }

    /// The result, or what is wrong.
    pub(super) fn finish<T>(self, result: Option<T>) -> Result<T, ParseErrors> {
        match (ParseErrors::new(self.lexer.text, self.faults.into_errors()), result) {
            (Some(errors), _) => Err(errors),
            (None, Some(result)) => Ok(result),
            (None, None) => panic!("a text without a result has an error"),
        }
    }

    /// The next word's kind.
    pub(super) fn peek(&mut self) -> TokenKind {
        match self.ahead {
            Some(token) => token.kind,
            None => self.read().kind,
        }
    }

    fn read(&mut self) -> Token {
        let token = self.read_word();
        self.ahead = Some(token);
        token
    }

    fn read_word(&mut self) -> Token {
        let nothing = Token { kind: TokenKind::Nothing, ..self.last };
        if self.unreadable || self.last.kind == TokenKind::Eof {
            return nothing;
        }
        match self.lexer.next() {
            Ok(token) => {
                self.last = token;
                if matches!(
                    token.kind,
                    TokenKind::RightBrace
                        | TokenKind::RightParen
                        | TokenKind::RightBracket
                        | TokenKind::Duration
                        | TokenKind::Number
                ) {
                    self.last_closing = token.end;
                }
                token
            }
            Err(message) => {
                let span = TextRange {
                    start: offset(self.lexer.start),
                    end: offset(self.lexer.text.len()),
                };
                self.faults.push(span, message);
                self.unreadable = true;
                nothing
            }
        }
    }

    /// Accepts the next word.
    pub(super) fn bump(&mut self) -> Token {
        let token = match self.ahead.take() {
            Some(token) => token,
            None => self.read_word(),
        };
        self.skipping = false;
        token
    }

    /// Accepts the next word if it is of that kind.
    pub(super) fn accept(&mut self, kind: TokenKind) -> Option<Token> {
        (self.peek() == kind).then(|| self.bump())
    }

    /// Accepts a word of that kind and nothing else.
    pub(super) fn expect(&mut self, kind: TokenKind) -> Parsed<Token> {
        loop {
            match self.accept(kind) {
                Some(token) => return Ok(token),
                None => self.refuse()?,
            }
        }
    }

    /// Says that the next word does not fit. `Ok` means that it was skipped: look again.
    pub(super) fn refuse(&mut self) -> Parsed<()> {
        if !self.skipping {
            return Err(Stop::Fault);
        }
        if self.peek() == TokenKind::Nothing {
            return Err(Stop::End);
        }
        self.ahead = None;
        Ok(())
    }

    /// Reports the last word read as misplaced, unless it cannot be read, which is reported already.
    pub(super) fn report_unexpected(&mut self, context: &str, expected: &str) {
        if self.unreadable {
            return;
        }
        let span = TextRange { start: self.last.start, end: self.last.end };
        let mut message = format!("unexpected {}", self.last.kind.describe(self.word(span)));
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        self.report(span, message);
    }

    /// What a construct does about a fault inside of it that it can go on behind: reports it, and from here on skips what
    /// does not fit.
    pub(super) fn recover(&mut self, stop: Stop, context: &str, expected: &str) -> Parsed<()> {
        match stop {
            Stop::Fault => {
                self.skipping = true;
                self.report_unexpected(context, expected);
                Ok(())
            }
            Stop::End => Err(Stop::End),
        }
    }

    pub(super) fn report(&mut self, span: TextRange, message: impl Into<String>) {
        self.faults.push(span, message);
    }

    /// The bytes of a span.
    pub(super) fn word(&self, span: TextRange) -> &'a [u8] {
        self.lexer.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The place of the last word read.
    pub(super) fn last_span(&self) -> TextRange {
        TextRange { start: self.last.start, end: self.last.end }
    }

    pub(super) fn last_closing(&self) -> u32 {
        self.last_closing
    }

    /// Parses something one level deeper, if there is room.
    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting == NESTING_MAX {
            let message = format!("expression is nested more than {NESTING_MAX} levels deep");
            self.report(self.last_span(), message);
            return Err(Stop::End);
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    /// Ends the text: whatever is left of it does not belong to it. Reads it all the same, for the words that cannot be
    /// read are reported, too.
    pub(super) fn end_of_text(&mut self) {
        if !matches!(self.peek(), TokenKind::Eof | TokenKind::Nothing) {
            if !self.skipping {
                self.report_unexpected("", "");
                self.skipping = true;
            }
            while !matches!(self.peek(), TokenKind::Eof | TokenKind::Nothing) {
                self.ahead = None;
            }
        }
    }

    /// Does what must be done if a whole text stopped before its end.
    pub(super) fn whole<T>(&mut self, parsed: Parsed<T>) -> Option<T> {
        match parsed {
            Ok(result) => {
                self.end_of_text();
                Some(result)
            }
            Err(stop) => {
                if self.recover(stop, "", "").is_ok() {
                    self.end_of_text();
                }
                None
            }
        }
    }
}

impl Token {
    pub(super) fn span(self) -> TextRange {
        TextRange { start: self.start, end: self.end }
    }
}

/// From the start of `first` to the end of `last`.
pub(super) fn merge(first: TextRange, last: TextRange) -> TextRange {
    TextRange { start: first.start, end: last.end }
}
