//! Expressions: operators by precedence, signs, parentheses and literals.
//!
//! ```text
//! loosest    or
//!            and unless
//!            == != < > <= >= </ >/
//!            + -
//!            * / % atan2            and signs: -1^2 is -(1^2), -1*2 is (-1)*2
//!            ^                      to the right: 1^2^3 is 1^(2^3)
//! tightest   [range] offset @ anchored smoothed
//! ```

use super::cursor::{Parsed, Parser, merge};
use super::number::{self, NumberError};
use super::token::{Keyword, Token, TokenKind};
use crate::query::ast::{BinaryOp, Expr, ExprKind, Number, StringLiteral, TextRange, Unary};
use crate::query::durations::parse_duration;
use crate::query::quote::unquoted;

const SIGN: u8 = 5;
const POWER: u8 = 6;

/// How tight an operator binds; more is tighter.
pub(super) fn binding(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Gt
        | BinaryOp::Lt
        | BinaryOp::Ge
        | BinaryOp::Le
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => SIGN,
        BinaryOp::Pow => POWER,
    }
}

/// The loosest operator that may stand in the right operand of `op`.
pub(super) fn binding_right_of(op: BinaryOp) -> u8 {
    if op == BinaryOp::Pow { POWER } else { binding(op) + 1 }
}

/// The loosest operator that may stand in what a sign stands before.
pub(super) const BINDING_BEHIND_SIGN: u8 = SIGN + 1;

impl Parser<'_> {
    /// The whole text as one expression; `None` if there is none.
    pub(super) fn whole_expr(&mut self) -> Option<Expr> {
        if self.accept(TokenKind::Eof).is_some() {
            self.report(TextRange::default(), "no expression found in input");
            return None;
        }
        let parsed = self.expr();
        self.whole(parsed)
    }

    /// An expression with whatever operators it has.
    pub(super) fn expr(&mut self) -> Parsed<Expr> {
        self.expr_binding(0)
    }

    /// An expression whose operators bind at least as tight as `loosest`.
    fn expr_binding(&mut self, loosest: u8) -> Parsed<Expr> {
        self.nested(|parser| {
            let operand = parser.operand()?;
            parser.expr_from(operand, loosest)
        })
    }

    /// Goes on behind an expression with modifiers and with operators that bind at least as tight as `loosest`.
    fn expr_from(&mut self, mut left: Expr, loosest: u8) -> Parsed<Expr> {
        loop {
            left = self.modifiers(left)?;
            match self.peek() {
                TokenKind::Binary(op) if binding(op) >= loosest => {
                    let op_span = self.bump().span();
                    let modifiers = self.binary_modifiers()?;
                    let right = self.expr_binding(binding_right_of(op))?;
                    left = self.binary(left, op, op_span, modifiers, right);
                }
                _ => return Ok(left),
            }
        }
    }

    /// Accepts a `)` behind an expression. If words had to be skipped, operators may have followed them.
    fn closing_paren(&mut self, mut inner: Expr) -> Parsed<(Expr, Token)> {
        loop {
            if let Some(paren) = self.accept(TokenKind::RightParen) {
                return Ok((inner, paren));
            }
            self.refuse()?;
            inner = self.expr_from(inner, 0)?;
        }
    }

    /// What stands before or behind an operator, without modifiers.
    fn operand(&mut self) -> Parsed<Expr> {
        loop {
            match self.peek() {
                TokenKind::Number | TokenKind::Duration => {
                    let (number, span) = self.number();
                    return Ok(Expr { kind: ExprKind::Number(number), span });
                }
                TokenKind::Identifier | TokenKind::TimeWord(_) => {
                    let name = self.bump();
                    return match self.peek() {
                        TokenKind::LeftParen => self.call(name),
                        _ => self.named_selector(name),
                    };
                }
                TokenKind::Aggregate(op) => {
                    let name = self.bump();
                    return match self.peek() {
                        TokenKind::LeftParen
                        | TokenKind::Keyword(Keyword::By | Keyword::Without) => {
                            self.aggregate(op, name)
                        }
                        _ => self.named_selector(name),
                    };
                }
                TokenKind::Binary(BinaryOp::Add | BinaryOp::Sub) => return self.signed(),
                TokenKind::LeftParen => return self.paren(),
                TokenKind::LeftBrace => return self.unnamed_selector(),
                TokenKind::String => {
                    let token = self.bump();
                    let value = unquoted(self.word(token.span()));
                    return Ok(Expr {
                        kind: ExprKind::String(StringLiteral { value }),
                        span: token.span(),
                    });
                }
                kind if kind.is_metric_name() => {
                    let name = self.bump();
                    return self.named_selector(name);
                }
                _ => self.refuse()?,
            }
        }
    }

    fn paren(&mut self) -> Parsed<Expr> {
        let open = self.bump();
        let inner = self.expr()?;
        let (inner, close) = self.closing_paren(inner)?;
        let span = merge(open.span(), close.span());
        Ok(Expr { kind: ExprKind::Paren(Box::new(inner)), span })
    }

    /// A sign and what it stands before. Numbers take it in.
    fn signed(&mut self) -> Parsed<Expr> {
        let sign = self.bump();
        let negative = sign.kind == TokenKind::Binary(BinaryOp::Sub);
        let operand = self.expr_binding(BINDING_BEHIND_SIGN)?;
        let span = merge(sign.span(), operand.span);
        let kind = match operand.kind {
            ExprKind::Number(number) => ExprKind::Number(number.signed(negative)),
            _ => ExprKind::Unary(Unary { negative, expr: Box::new(operand) }),
        };
        Ok(Expr { kind, span })
    }

    /// The number or duration that comes next.
    pub(super) fn number(&mut self) -> (Number, TextRange) {
        let token = self.bump();
        let word = self.word(token.span());
        let is_duration = token.kind == TokenKind::Duration;
        let value = if is_duration { duration_seconds(word) } else { number::value(word) };
        let value = value.unwrap_or_else(|error| {
            self.report(token.span(), error.message);
            error.instead
        });
        (Number { value, is_duration }, token.span())
    }
}

impl Number {
    /// The number, or what a minus before it makes of it.
    pub(super) fn signed(self, negative: bool) -> Self {
        Self { value: if negative { -self.value } else { self.value }, ..self }
    }
}

/// The seconds of a duration: whole ones and the rest apart, as upstream adds them.
#[expect(
    clippy::cast_precision_loss,
    reason = "a number of the language is an f64: the nearest one is meant"
)]
fn duration_seconds(word: &[u8]) -> Result<f64, NumberError> {
    const NS_PER_SECOND: i64 = 1_000_000_000;
    let ns = parse_duration(&String::from_utf8_lossy(word))
        .map_err(|error| NumberError { message: error.to_string(), instead: 0.0 })?;
    Ok((ns / NS_PER_SECOND) as f64 + (ns % NS_PER_SECOND) as f64 / NS_PER_SECOND as f64)
}

#[cfg(test)]
mod tests {
    use crate::query::parser::testing::{assert_fault, faults, grouped, parsed, printed};

    #[test]
    fn operators_bind_by_their_level_and_to_the_left() {
        for (text, want) in [
            ("a or b and c", "(a or (b and c))"),
            ("a and b unless c", "((a and b) unless c)"),
            ("a == b + c", "(a == (b + c))"),
            ("a > b < c", "((a > b) < c)"),
            ("a </ b >/ c", "((a </ b) >/ c)"),
            ("a - b - c", "((a - b) - c)"),
            ("a + b * c", "(a + (b * c))"),
            ("a / b atan2 c % d", "(((a / b) atan2 c) % d)"),
            ("a ^ b ^ c", "(a ^ (b ^ c))"),
            ("a * b ^ c * d", "((a * (b ^ c)) * d)"),
        ] {
            assert_eq!(grouped(text), want, "{text}");
        }
    }

    #[test]
    fn a_sign_binds_tighter_than_times_and_looser_than_a_power() {
        assert_eq!(grouped("-a ^ b"), "(-(a ^ b))");
        assert_eq!(grouped("-a * b"), "((-a) * b)");
        assert_eq!(grouped("a ^ -b * c"), "((a ^ (-b)) * c)");
        assert_eq!(grouped("-+a"), "(-(+a))");
        assert_eq!(grouped("-1 ^ 2"), "(-(1 ^ 2))");
    }

    #[test]
    fn numbers_take_their_sign_in() {
        assert_eq!(grouped("--1"), "1");
        assert_eq!(grouped("-1h30m"), "-1h30m");
        assert_eq!(parsed(" -5").span.start, 1);
    }

    #[test]
    fn numbers_and_durations_keep_their_value_and_kind() {
        for (text, want) in [
            ("0x1f", "31"),
            ("017", "15"),
            ("1_000.5", "1000.5"),
            ("1e3", "1000"),
            (".5", "0.5"),
            ("iNf", "+Inf"),
            ("nan", "NaN"),
            ("90m", "1h30m"),
            ("1s1ms", "1s1ms"),
            ("300", "300"),
        ] {
            assert_eq!(printed(text), want, "{text}");
        }
    }

    #[test]
    fn strings_are_bytes_and_raw_ones_know_no_escapes() {
        assert_eq!(printed(r#"'\xff\'"'"#), r#""\xff'\"""#);
        assert_eq!(printed(r"`\d+`"), r#""\\d+""#);
    }

    #[test]
    fn words_of_the_language_name_metrics_where_nothing_else_can_stand() {
        for name in
            ["sum", "by", "offset", "and", "step", "start", "anchored", "fill", "without", "min_of"]
        {
            assert_eq!(printed(name), name);
            assert_eq!(
                printed(&format!("{name}{{a=\"b\"}} + {name}")),
                format!("{name}{{a=\"b\"}} + {name}")
            );
        }
        for name in ["bool", "on", "ignoring", "group_left", "group_right", "atan2"] {
            assert_eq!(faults(name).len(), 1, "{name}");
        }
        assert_eq!(grouped("or or or"), "(or or or)");
    }

    #[test]
    fn an_expression_ends_where_its_text_does() {
        assert_fault("a b", "b", "unexpected identifier \"b\"");
        assert_fault("a +", "", "unexpected end of input");
        assert_fault("* a", "*", "unexpected <op:*>");
        assert_fault("", "", "no expression found in input");
        assert_fault(" # nothing", "", "no expression found in input");
        assert_fault("(a", "", "unclosed left parenthesis");
        assert_fault("a)", "", "unexpected right parenthesis ')'");
    }

    #[test]
    fn behind_a_fault_the_rest_is_still_read_for_words_that_are_none() {
        let second = ("$", "unexpected character: '$'".to_owned());
        assert_eq!(faults("a b c $"), [("b", "unexpected identifier \"b\"".to_owned()), second]);
    }

    #[test]
    fn every_node_knows_its_bytes() {
        let expr = parsed(" rate(x[5m]) + 1 ");
        assert_eq!((expr.span.start, expr.span.end), (1, 16));
    }
}
