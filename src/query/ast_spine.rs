//! The left spine of a tree: `a + b + c + ...` is as deep as it is long, so nothing may recurse along it.
//!
//! Owns what the compiler would otherwise derive by recursion for [`Binary`]: drop, clone and compare in a loop.

use super::ast::{Binary, Expr, ExprKind, Number, Subquery, TextRange, ValueType};

impl Expr {
    /// What the expression evaluates to. Takes one step for every operator of a chain of scalars.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        let (mut expr, mut is_operand) = (self, false);
        loop {
            let value_type = match &expr.kind {
                ExprKind::Aggregate(_) | ExprKind::Vector(_) => ValueType::Vector,
                ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
                ExprKind::Number(_) => ValueType::Scalar,
                ExprKind::String(_) => ValueType::String,
                ExprKind::Call(call) => call.function.returns,
                ExprKind::Paren(inner) => {
                    expr = inner;
                    continue;
                }
                ExprKind::Unary(unary) => {
                    expr = &unary.expr;
                    continue;
                }
                ExprKind::Binary(binary) if binary.rhs.value_type() != ValueType::Scalar => {
                    ValueType::Vector
                }
                ExprKind::Binary(binary) => {
                    (expr, is_operand) = (&binary.lhs, true);
                    continue;
                }
            };
            // Two scalars make a scalar; everything else makes a vector, even where checking refuses it.
            return match value_type {
                ValueType::Scalar => ValueType::Scalar,
                _ if is_operand => ValueType::Vector,
                _ => value_type,
            };
        }
    }

    /// Takes the expression out and leaves a number in its place.
    pub(super) fn take(&mut self) -> Self {
        let number = Number { value: 0.0, is_duration: false };
        std::mem::replace(self, Self { kind: ExprKind::Number(number), span: TextRange::default() })
    }
}

/// Drops an expression from its root down to the left, one node at a time.
fn drop_spine(mut expr: Expr) {
    loop {
        expr = match &mut expr.kind {
            ExprKind::Binary(binary) => binary.lhs.take(),
            ExprKind::Subquery(subquery) => subquery.expr.take(),
            _ => return,
        };
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        drop_spine(self.lhs.take());
    }
}

impl Drop for Subquery {
    fn drop(&mut self) {
        drop_spine(self.expr.take());
    }
}

impl Binary {
    /// A copy of this operator over the left side `lhs`.
    fn clone_over(&self, lhs: Expr) -> Self {
        Self {
            op: self.op,
            op_span: self.op_span,
            lhs,
            rhs: self.rhs.clone(),
            return_bool: self.return_bool,
            matching: self.matching.clone(),
        }
    }

    /// Is everything but the left side the same?
    fn agrees_beside_lhs(&self, other: &Self) -> bool {
        self.op == other.op
            && self.op_span == other.op_span
            && self.return_bool == other.return_bool
            && self.matching == other.matching
            && self.rhs == other.rhs
    }
}

impl Clone for Binary {
    fn clone(&self) -> Self {
        let mut above = Vec::new();
        let mut lowest = self;
        while let ExprKind::Binary(next) = &lowest.lhs.kind {
            above.push(lowest);
            lowest = next;
        }
        let mut copy = lowest.clone_over(lowest.lhs.clone());
        while let Some(binary) = above.pop() {
            let lhs = Expr { kind: ExprKind::Binary(Box::new(copy)), span: binary.lhs.span };
            copy = binary.clone_over(lhs);
        }
        copy
    }
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self, other);
        loop {
            if !left.agrees_beside_lhs(right) || left.lhs.span != right.lhs.span {
                return false;
            }
            match (&left.lhs.kind, &right.lhs.kind) {
                (ExprKind::Binary(a), ExprKind::Binary(b)) => (left, right) = (a, b),
                (a, b) => return a == b,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::ast::BinaryOp;

    fn number(value: f64) -> Expr {
        let kind = ExprKind::Number(Number { value, is_duration: false });
        Expr { kind, span: TextRange::default() }
    }

    /// `0 + 1 + 2 + ...` with `operators` operators.
    fn sum(operators: u32) -> Expr {
        (1..=operators).fold(number(0.0), |lhs, n| {
            let binary = Binary {
                op: BinaryOp::Add,
                op_span: TextRange::default(),
                lhs,
                rhs: number(f64::from(n)),
                return_bool: false,
                matching: None,
            };
            Expr { kind: ExprKind::Binary(Box::new(binary)), span: TextRange::default() }
        })
    }

    #[test]
    fn a_chain_of_a_million_operators_clones_compares_and_drops() {
        let chain = sum(1_000_000);
        let copy = chain.clone();
        assert!(chain == copy);
        assert_eq!(chain.value_type(), ValueType::Scalar);
    }

    #[test]
    fn chains_that_differ_only_at_their_left_end_are_not_equal() {
        let mut other = sum(3);
        let ExprKind::Binary(top) = &mut other.kind else { panic!("a sum is binary") };
        let ExprKind::Binary(middle) = &mut top.lhs.kind else { panic!("a sum leans to the left") };
        middle.rhs = number(7.0);
        assert!(sum(3) != other && sum(3) != sum(4) && sum(3) == sum(3));
    }
}
