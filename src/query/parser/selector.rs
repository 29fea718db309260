//! Selectors of instant vectors: `up`, `up{job="a"}`, `{"a.b", c=~"d.*"}`.

use super::cursor::{Parsed, Parser, merge};
use super::regex_rule;
use super::token::{Token, TokenKind};
use crate::model::labels::METRIC_NAME;
use crate::query::ast::{
    BinaryOp, Duration, Expr, ExprKind, LabelMatcher, MatchOp, TextRange, VectorSelector,
};
use crate::query::quote::{quoted, unquoted};

const CONTEXT: &str = "label matching";

impl Parser<'_> {
    /// The whole text as one selector; `None` if there is none.
    pub(super) fn whole_selector(&mut self) -> Option<Vec<LabelMatcher>> {
        let parsed = self.selector();
        match self.whole(parsed)?.kind {
            ExprKind::Vector(selector) => Some(selector.matchers),
            _ => None,
        }
    }

    fn selector(&mut self) -> Parsed<Expr> {
        loop {
            match self.peek() {
                TokenKind::LeftBrace => return self.unnamed_selector(),
                kind if kind.is_metric_name() => {
                    let name = self.bump();
                    return self.named_selector(name);
                }
                _ => self.refuse()?,
            }
        }
    }

    /// What follows a metric's name.
    pub(super) fn named_selector(&mut self, name: Token) -> Parsed<Expr> {
        let (mut matchers, mut span) = (Vec::new(), name.span());
        if self.peek() == TokenKind::LeftBrace {
            let (list, braces) = self.label_matchers()?;
            matchers = list;
            span = merge(span, braces);
        }
        let name = String::from_utf8_lossy(self.word(name.span())).into_owned();
        let value = name.clone();
        matchers.push(LabelMatcher { name: METRIC_NAME.to_owned(), op: MatchOp::Equal, value });
        Ok(vector(Some(name), matchers, span))
    }

    /// A selector that is only braces.
    pub(super) fn unnamed_selector(&mut self) -> Parsed<Expr> {
        let (matchers, span) = self.label_matchers()?;
        Ok(vector(None, matchers, span))
    }

    /// `{a="b", …}` and where it stands.
    fn label_matchers(&mut self) -> Parsed<(Vec<LabelMatcher>, TextRange)> {
        let open = self.bump();
        let mut matchers = Vec::new();
        while self.peek() != TokenKind::RightBrace {
            match self.label_matcher() {
                Ok(matcher) => matchers.extend(matcher),
                Err(stop) => self.recover(stop, CONTEXT, "identifier or \"}\"")?,
            }
            self.end_of_matcher()?;
        }
        let close = self.bump();
        Ok((matchers, merge(open.span(), close.span())))
    }

    /// Accepts a comma, or looks at a closing brace.
    fn end_of_matcher(&mut self) -> Parsed<()> {
        loop {
            match self.peek() {
                TokenKind::RightBrace => return Ok(()),
                TokenKind::Comma => {
                    self.bump();
                    return Ok(());
                }
                _ => match self.refuse() {
                    Ok(()) => {}
                    Err(stop) => self.recover(stop, CONTEXT, "\",\" or \"}\"")?,
                },
            }
        }
    }

    /// One condition; `None` if it is faulty and that has been reported.
    fn label_matcher(&mut self) -> Parsed<Option<LabelMatcher>> {
        let quoted_name = loop {
            match self.peek() {
                TokenKind::Identifier => break false,
                TokenKind::String => break true,
                _ => self.refuse()?,
            }
        };
        let name_span = self.bump().span();
        let name = if quoted_name {
            self.unquoted_text(name_span)
        } else {
            String::from_utf8_lossy(self.word(name_span)).into_owned()
        };
        let op = match self.match_op() {
            Ok(op) => op,
            // A quoted text alone is the metric's name.
            Err(_) if quoted_name => {
                let name_is =
                    LabelMatcher { name: METRIC_NAME.to_owned(), op: MatchOp::Equal, value: name };
                return Ok(Some(name_is));
            }
            Err(stop) => {
                self.recover(stop, CONTEXT, "label matching operator")?;
                return Ok(None);
            }
        };
        let value_span = match self.expect(TokenKind::String) {
            Ok(token) => token.span(),
            Err(stop) => {
                self.recover(stop, CONTEXT, "string")?;
                return Ok(None);
            }
        };
        let matcher = LabelMatcher { name, op, value: self.unquoted_text(value_span) };
        if let Err(message) = regex_rule::check(&matcher) {
            self.report(merge(name_span, value_span), message);
        }
        Ok(Some(matcher))
    }

    fn match_op(&mut self) -> Parsed<MatchOp> {
        let op = match self.peek() {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Binary(BinaryOp::Ne) => MatchOp::NotEqual,
            TokenKind::RegexMatch => MatchOp::Regex,
            TokenKind::RegexNoMatch => MatchOp::NotRegex,
            _ => return Err(super::cursor::Stop::Fault),
        };
        self.bump();
        Ok(op)
    }

    /// The text of a quoted name or value. Labels are UTF-8, so nothing else can ever be meant.
    fn unquoted_text(&mut self, span: TextRange) -> String {
        String::from_utf8(unquoted(self.word(span))).unwrap_or_else(|error| {
            let shown = quoted(error.as_bytes());
            self.report(span, format!("{shown} is not UTF-8, but names and values of labels are"));
            String::new()
        })
    }
}

fn vector(name: Option<String>, matchers: Vec<LabelMatcher>, span: TextRange) -> Expr {
    let (offset, at, extension) = (Duration::Ms(0), None, None);
    let selector = VectorSelector { name, matchers, offset, at, extension };
    Expr { kind: ExprKind::Vector(Box::new(selector)), span }
}
