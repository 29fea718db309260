//! Lengths of time in brackets and behind `offset`: `5m`, `300`, `2 * step()`, `min_of(5m, range() / 10)`.
//!
//! In brackets everything up to the closing bracket or the colon belongs to the length. Behind `offset` only the shortest
//! possible text does: `x offset 5m - 8` subtracts 8 from `x offset 5m`. But what begins with a parenthesis, or with two
//! signs, goes on as far as operators of lengths do.
//!
//! A number that is not in parentheses is checked at once; everything else is computed when the query runs.

use super::cursor::{Parsed, Parser, merge};
use super::expr::{BINDING_BEHIND_SIGN, binding, binding_right_of};
use super::token::{TimeWord, Token, TokenKind};
use crate::query::ast::{BinaryOp, Duration, DurationExpr, DurationExprKind, Number, TextRange};

/// A length of time as parsed: a lone number, or something to be computed.
pub(super) struct Length(DurationExpr);

const US_PER_SECOND: f64 = 1e6;
const US_PER_MS: i64 = 1_000;
/// The longest length, 2^63 nanoseconds, in seconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

impl Parser<'_> {
    /// A length in brackets, which must not be zero or negative if it is a number.
    pub(super) fn positive_length(&mut self) -> Parsed<Length> {
        let length = self.length(0)?;
        if length.number().is_some_and(|number| number.value <= 0.0) {
            self.report(length.0.span, "duration must be greater than 0");
        }
        Ok(Length(length.0))
    }

    /// A length whose operators bind at least as tight as `loosest`.
    fn length(&mut self, loosest: u8) -> Parsed<Length> {
        self.nested(|parser| {
            let operand = parser.length_operand()?;
            parser.length_from(operand, loosest)
        })
    }

    /// Goes on behind a length with operators that bind at least as tight as `loosest`.
    fn length_from(&mut self, mut left: Length, loosest: u8) -> Parsed<Length> {
        loop {
            match self.peek() {
                TokenKind::Binary(op) if op.is_arithmetic() && binding(op) >= loosest => {
                    let op_span = self.bump().span();
                    let right = self.length(binding_right_of(op))?;
                    left = self.length_binary(left, op, op_span, right);
                }
                _ => return Ok(left),
            }
        }
    }

    fn length_operand(&mut self) -> Parsed<Length> {
        loop {
            match self.peek() {
                TokenKind::Number | TokenKind::Duration => return Ok(self.length_number(None)),
                TokenKind::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                    let sign = self.bump();
                    let operand = self.length(BINDING_BEHIND_SIGN)?;
                    return Ok(operand.signed(sign));
                }
                TokenKind::TimeWord(word) if !matches!(word, TimeWord::Start | TimeWord::End) => {
                    return self.length_call(word);
                }
                TokenKind::LeftParen => return self.length_paren(),
                _ => self.refuse()?,
            }
        }
    }

    /// The number that comes next. One that is too large is reported at `sign`, if it has one that counts.
    fn length_number(&mut self, sign: Option<Token>) -> Length {
        let (number, span) = self.number();
        if number.value.abs() > SECONDS_MAX {
            self.report(sign.map_or(span, Token::span), "duration out of range");
            return Length::zero();
        }
        Length(DurationExpr { kind: DurationExprKind::Number(number), wrapped: false, span })
    }

    /// `step()` and `range()`, `min_of(a, b)` and `max_of(a, b)`; the word comes next.
    fn length_call(&mut self, word: TimeWord) -> Parsed<Length> {
        let name = self.bump();
        self.expect(TokenKind::LeftParen)?;
        let kind = if matches!(word, TimeWord::MinOf | TimeWord::MaxOf) {
            let first = Box::new(self.length(0)?.0);
            self.expect(TokenKind::Comma)?;
            let second = Box::new(self.length(0)?.0);
            if word == TimeWord::MinOf {
                DurationExprKind::MinOf(first, second)
            } else {
                DurationExprKind::MaxOf(first, second)
            }
        } else if word == TimeWord::Step {
            DurationExprKind::Step
        } else {
            DurationExprKind::Range
        };
        let close = self.expect(TokenKind::RightParen)?;
        Ok(Length(DurationExpr { kind, wrapped: false, span: merge(name.span(), close.span()) }))
    }

    fn length_paren(&mut self) -> Parsed<Length> {
        let open = self.bump();
        let inner = self.length(0)?;
        self.expect(TokenKind::RightParen)?;
        Ok(inner.wrapped(Some(open)))
    }

    fn length_binary(
        &mut self,
        left: Length,
        op: BinaryOp,
        op_span: TextRange,
        right: Length,
    ) -> Length {
        if right.number().is_some_and(|number| number.value == 0.0) {
            let what = match op {
                BinaryOp::Div => "division by zero",
                BinaryOp::Mod => "modulo by zero",
                _ => "",
            };
            if !what.is_empty() {
                self.report(op_span, what);
                return Length::zero();
            }
        }
        let span = merge(left.0.span, right.0.span);
        let (lhs, rhs) = (Box::new(left.0), Box::new(right.0));
        Length(DurationExpr {
            kind: DurationExprKind::Binary { op, lhs, rhs },
            wrapped: false,
            span,
        })
    }

    /// A length behind `offset`.
    pub(super) fn offset_length(&mut self) -> Parsed<Length> {
        let length = self.shortest_length()?;
        // Upstream takes this for an offset of 292 years.
        if length.number().is_some_and(|number| number.value.is_nan()) {
            self.report(length.0.span, "duration out of range");
        }
        Ok(length)
    }

    fn shortest_length(&mut self) -> Parsed<Length> {
        match self.peek() {
            TokenKind::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                let sign = self.bump();
                self.shortest_signed_length(sign)
            }
            TokenKind::LeftParen => self.length(0),
            _ => self.length_operand(),
        }
    }

    fn shortest_signed_length(&mut self, sign: Token) -> Parsed<Length> {
        match self.peek() {
            TokenKind::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                let operand = self.length(BINDING_BEHIND_SIGN)?;
                self.length_from(operand.signed(sign), 0)
            }
            TokenKind::LeftParen => {
                self.bump();
                let inner = self.length(0)?;
                self.expect(TokenKind::RightParen)?;
                Ok(inner.wrapped(None).signed(sign))
            }
            TokenKind::Number | TokenKind::Duration => {
                Ok(self.length_number(Some(sign)).signed(sign))
            }
            // Only here is a plus kept: `parse_query` shows it.
            _ => Ok(self.length_operand()?.behind(sign)),
        }
    }
}

impl Length {
    /// What stands in for a length whose fault is reported.
    fn zero() -> Self {
        let number = Number { value: 0.0, is_duration: false };
        let (kind, span) = (DurationExprKind::Number(number), TextRange::default());
        Self(DurationExpr { kind, wrapped: false, span })
    }

    /// The number, if it is nothing but one.
    fn number(&self) -> Option<Number> {
        match self.0 {
            DurationExpr { kind: DurationExprKind::Number(number), wrapped: false, .. } => {
                Some(number)
            }
            _ => None,
        }
    }

    /// The same in parentheses. A number that was alone begins, for messages, with the parenthesis.
    fn wrapped(self, open: Option<Token>) -> Self {
        let mut span = self.0.span;
        if let (Some(open), Some(_)) = (open, self.number()) {
            span.start = open.start;
        }
        Self(DurationExpr { wrapped: true, span, ..self.0 })
    }

    /// The same behind a sign. Numbers take it in; a plus is dropped.
    fn signed(self, sign: Token) -> Self {
        let negative = sign.kind == TokenKind::Binary(BinaryOp::Sub);
        let span = merge(sign.span(), self.0.span);
        if let Some(number) = self.number() {
            let kind = DurationExprKind::Number(number.signed(negative));
            return Self(DurationExpr { kind, wrapped: false, span });
        }
        if negative { self.behind(sign) } else { self }
    }

    /// The same behind a sign that is kept, be it a plus.
    fn behind(self, sign: Token) -> Self {
        let negative = sign.kind == TokenKind::Binary(BinaryOp::Sub);
        let span = merge(sign.span(), self.0.span);
        let kind = DurationExprKind::Unary { negative, expr: Box::new(self.0) };
        Self(DurationExpr { kind, wrapped: false, span })
    }

    /// As the tree has it: numbers in milliseconds, everything else as it is.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, which is what is wanted"
    )]
    pub(super) fn into_duration(self) -> Duration {
        match self.number() {
            Some(number) => {
                // To microseconds first: in nanoseconds, as upstream has it, half a year of seconds is no longer exact,
                // and a millisecond could be lost.
                let us = (number.value * US_PER_SECOND).round() as i64;
                Duration::Ms(us / US_PER_MS)
            }
            None => Duration::Expr(Box::new(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::query::ast::{Duration, DurationExprKind, ExprKind};
    use crate::query::parser::testing::{assert_fault, faults, grouped, parsed, printed};

    fn range(text: &str) -> Duration {
        let ExprKind::Matrix(matrix) = parsed(&format!("a[{text}]")).kind else {
            panic!("a range")
        };
        matrix.range
    }

    #[test]
    fn a_lone_number_is_milliseconds() {
        for (text, ms) in [
            ("5m", 300_000),
            ("1.5", 1500),
            ("0x10", 16_000),
            ("+5", 5000),
            ("1.0015", 1001),
            ("207d17h7m20s275ms", 17_946_440_275),
        ] {
            assert_eq!(range(text), Duration::Ms(ms), "{text}");
        }
        assert!(matches!(range("(5)"), Duration::Expr(_)));
        assert!(matches!(range("5 + 1"), Duration::Expr(_)));
    }

    #[test]
    fn in_brackets_operators_bind_as_ever_and_all_belongs_to_the_length() {
        for (text, want) in [
            ("a[11s+10s-5*2^2]", "a[11s + 10s - 5 * 2 ^ 2]"),
            ("a[-(10s-5s)+20s]", "a[-(10s - 5s) + 20s]"),
            ("a[ STEP ( ) % 2]", "a[step() % 2]"),
            (
                "a[min_of(range(),1h):max_of(step(),(5))]",
                "a[min_of(range(), 1h):max_of(step(), (5))]",
            ),
            ("a[-2^2]", "a[-2 ^ 2]"),
        ] {
            assert_eq!(printed(text), want);
        }
    }

    #[test]
    fn behind_offset_a_length_is_as_short_as_can_be() {
        for (text, want) in [
            ("a offset 5s-8", "(a offset 5s - 8)"),
            ("a offset -1^1", "(a offset -1s ^ 1)"),
            ("a offset step()*2", "(a offset step() * 2)"),
            ("a offset -(5)*2", "(a offset -(5) * 2)"),
            ("a offset min_of(1,2)*2", "(a offset min_of(1, 2) * 2)"),
        ] {
            assert_eq!(grouped(text), want);
        }
    }

    #[test]
    fn behind_offset_a_plus_before_a_call_is_kept_in_the_tree_but_not_printed() {
        for call in ["step()", "range()", "min_of(1, 2)"] {
            let expr = parsed(&format!("a offset +{call}"));
            let ExprKind::Vector(selector) = &expr.kind else { panic!("a selector") };
            let Duration::Expr(offset) = &selector.offset else { panic!("an expression") };
            assert!(matches!(offset.kind, DurationExprKind::Unary { negative: false, .. }));
            assert_eq!(expr.to_text(), format!("a offset {call}"));
        }
        assert!(matches!(range("+step()"), Duration::Expr(e) if e.kind == DurationExprKind::Step));
    }

    #[test]
    fn behind_offset_a_parenthesis_or_two_signs_go_on_as_far_as_they_can() {
        for (text, want) in [
            ("a offset (5)*2", "a offset (5) * 2"),
            ("a offset --step()*2", "a offset --step() * 2"),
            ("a offset (5s-8) == 1", "(a offset (5s - 8) == 1)"),
        ] {
            assert_eq!(grouped(text), want);
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_at_once() {
        let not_positive = "duration must be greater than 0";
        assert_fault("a[0]", "0", not_positive);
        assert_fault("a[-5m]", "-5m", not_positive);
        assert_fault("a[5m:0s]", "0s", not_positive);
        assert_fault("a offset (4d/0)", "/", "division by zero");
        assert_fault("a offset (4d%0)", "%", "modulo by zero");
        assert_fault("a offset 9.5e10", "9.5e10", "duration out of range");
        assert_fault("a offset -9.5e10", "-", "duration out of range");
        assert_fault("a offset NaN", "NaN", "duration out of range");
        assert_eq!(faults("a[9.5e10]").len(), 2);
        assert!(faults("a[(0)]").is_empty(), "what is computed is checked when it is");
    }

    #[test]
    fn units_are_checked_in_their_order() {
        assert_eq!(
            faults("a[5m1m]")[0],
            ("5m1m", "not a valid duration string: \"5m1m\"".to_owned())
        );
        assert_eq!(
            faults("a[5y1hs]")[0],
            ("5y1hs", "unknown unit \"hs\" in duration \"5y1hs\"".to_owned())
        );
    }
}
