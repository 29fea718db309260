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

#[cfg(test)]
mod tests {
    use crate::query::parser::ParseOptions;
    use crate::query::parser::testing::{assert_fault, faults, faults_with, printed};

    #[test]
    fn modifiers_stand_in_one_order() {
        for text in [
            "a == bool b",
            "a + on (x, \"y.z\") b",
            "a + ignoring (x) group_left (y) b",
            "a + on () group_right () b",
            "a + on (x) group_left () fill_left (1) fill_right (-2) b",
            "a + fill (NaN) b",
        ] {
            assert_eq!(printed(&text.replace("NaN", "+3")), text.replace("NaN", "3"));
        }
        assert_fault("a + on(x) bool b", "bool", "unexpected <bool>");
        assert_fault("a + group_left(x) b", "group_left", "unexpected <group_left>");
        assert_fault("a + on(x) ignoring(y) b", "ignoring", "unexpected <ignoring>");
    }

    #[test]
    fn labels_of_a_group_may_be_absent_but_a_parenthesis_is_theirs() {
        assert_eq!(printed("a * on (x) group_left b"), "a * on (x) group_left () b");
        let found = faults("a * on (x) group_left (b + c)");
        let message = "unexpected <op:+> in grouping opts, expected \",\" or \")\"";
        assert_eq!(found.first(), Some(&("+", message.to_owned())));
    }

    #[test]
    fn words_of_the_language_name_labels_in_groups() {
        let labels = "(on, by, bool, sum, offset, group_left, atan2, and, start, step, fill)";
        assert_eq!(printed(&format!("a + on {labels} b")), format!("a + on {labels} b"));
        assert_fault(
            "a + on (without) b",
            "without",
            "unexpected <without> in grouping opts, expected label",
        );
    }

    #[test]
    fn fill_is_a_modifier_only_before_a_parenthesis() {
        assert_eq!(printed("a + fill"), "a + fill");
        assert_eq!(printed("a + fill (1h) fill"), "a + fill (3600) fill");
        assert_fault("a + fill(b) c", "b", "unexpected identifier \"b\"");
    }

    #[test]
    fn fill_is_behind_a_flag() {
        let found = faults_with("a + fill(1) b", &ParseOptions::default());
        let message = "binop fill modifiers are experimental and not enabled".to_owned();
        assert_eq!(found, [("a + fill(1) b", message)]);
    }
}
