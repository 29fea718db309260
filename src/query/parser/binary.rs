//! What stands behind a binary operator: `bool`, `on (…)`, `group_left (…)`, `fill (…)`.

use super::cursor::{Parsed, Parser, merge};
use super::token::{Keyword, TokenKind};
use crate::query::ast::{Binary, BinaryOp, Cardinality, Expr, ExprKind, TextRange, VectorMatching};

/// The modifiers of one operator.
pub(super) struct BinaryModifiers {
    return_bool: bool,
    matching: VectorMatching,
}

impl Parser<'_> {
    pub(super) fn binary_modifiers(&mut self) -> Parsed<BinaryModifiers> {
        let return_bool = self.accept(TokenKind::Keyword(Keyword::Bool)).is_some();
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek() {
            self.bump();
            matching.on = keyword == Keyword::On;
            matching.labels = self.grouping_labels()?;
            self.group_modifier(&mut matching)?;
        }
        self.fill_modifiers(&mut matching)?;
        Ok(BinaryModifiers { return_bool, matching })
    }

    fn group_modifier(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        matching.cardinality = match self.peek() {
            TokenKind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            TokenKind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.bump();
        // The labels may be absent, but a parenthesis is always theirs, never the operand's.
        let next = self.peek();
        if next == TokenKind::LeftParen || !next.begins_expr() {
            matching.include = self.grouping_labels()?;
        }
        Ok(())
    }

    fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        let TokenKind::Keyword(first) = self.peek() else { return Ok(()) };
        let other = match first {
            Keyword::Fill => None,
            Keyword::FillLeft => Some(Keyword::FillRight),
            Keyword::FillRight => Some(Keyword::FillLeft),
            _ => return Ok(()),
        };
        self.fill(first, matching)?;
        match other {
            Some(other) if self.peek() == TokenKind::Keyword(other) => self.fill(other, matching),
            _ => Ok(()),
        }
    }

    /// `fill (-1)` and its like; the keyword comes next.
    fn fill(&mut self, keyword: Keyword, matching: &mut VectorMatching) -> Parsed<()> {
        self.bump();
        self.expect(TokenKind::LeftParen)?;
        let negative = self.sign();
        let value = loop {
            match self.peek() {
                TokenKind::Number | TokenKind::Duration => {
                    break self.number().0.signed(negative == Some(true)).value;
                }
                _ => self.refuse()?,
            }
        };
        self.expect(TokenKind::RightParen)?;
        if keyword != Keyword::FillRight {
            matching.fill_left = Some(value);
        }
        if keyword != Keyword::FillLeft {
            matching.fill_right = Some(value);
        }
        Ok(())
    }

    /// Accepts a sign; says whether it is a minus.
    pub(super) fn sign(&mut self) -> Option<bool> {
        let negative = match self.peek() {
            TokenKind::Binary(BinaryOp::Sub) => true,
            TokenKind::Binary(BinaryOp::Add) => false,
            _ => return None,
        };
        self.bump();
        Some(negative)
    }

    /// Joins two operands.
    pub(super) fn binary(
        &mut self,
        lhs: Expr,
        op: BinaryOp,
        op_span: TextRange,
        modifiers: BinaryModifiers,
        rhs: Expr,
    ) -> Expr {
        let BinaryModifiers { return_bool, matching } = modifiers;
        let span = merge(lhs.span, rhs.span);
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.binop_fill_modifiers {
            self.report(span, "binop fill modifiers are experimental and not enabled");
        }
        let binary = Binary { op, op_span, lhs, rhs, return_bool, matching: Some(matching) };
        Expr { kind: ExprKind::Binary(Box::new(binary)), span }
    }
}
