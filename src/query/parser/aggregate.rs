//! Aggregations: `sum by (job) (x)`, and the lists of labels that they share with binary operators.

use super::cursor::{Parsed, Parser};
use super::token::{Keyword, Token, TokenKind};
use crate::query::ast::{Aggregate, AggregateOp, Expr, ExprKind, Number, TextRange};
use crate::query::quote::{quoted, unquoted};

/// The labels of `by (…)` or `without (…)`.
#[derive(Default)]
struct Grouping {
    labels: Vec<String>,
    without: bool,
}

impl Parser<'_> {
    /// What stands behind an aggregation's name.
    pub(super) fn aggregate(&mut self, op: AggregateOp, name: Token) -> Parsed<Expr> {
        let (grouping, args, end) = match self.aggregate_parts() {
            Ok(parts) => parts,
            Err(stop) => {
                self.recover(stop, "aggregation", "")?;
                (Grouping::default(), Vec::new(), self.last_closing())
            }
        };
        let span = TextRange { start: name.start, end };
        let (param, expr) = self.aggregate_args(op, args, span);
        let Grouping { labels, without } = grouping;
        let aggregate = Aggregate { op, expr, param, grouping: labels, without };
        Ok(Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span })
    }

    /// Labels and arguments in either order, and where they end.
    fn aggregate_parts(&mut self) -> Parsed<(Grouping, Vec<Expr>, u32)> {
        if let Some(grouping) = self.grouping()? {
            let args = self.call_args()?;
            return Ok((grouping, args, self.last_closing()));
        }
        let args = self.call_args()?;
        let args_end = self.last_closing();
        if let Some(grouping) = self.grouping()? {
            return Ok((grouping, args, self.last_closing()));
        }
        // Looking for a modifier has read one word too many. A parenthesis there is somebody else's.
        let end = if self.peek() == TokenKind::RightParen { args_end } else { self.last_closing() };
        Ok((Grouping::default(), args, end))
    }

    /// `by (…)` or `without (…)`, if that comes next.
    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = match self.peek() {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.bump();
        let labels = self.grouping_labels()?;
        Ok(Some(Grouping { labels, without }))
    }

    /// Sorts the arguments into parameter and vector. A wrong number of them is reported, and the tree then of no use.
    fn aggregate_args(
        &mut self,
        op: AggregateOp,
        args: Vec<Expr>,
        span: TextRange,
    ) -> (Option<Expr>, Expr) {
        let (got, wanted) = (args.len(), if op.param().is_some() { 2 } else { 1 });
        let mut args = args.into_iter();
        let param = if wanted == 2 { args.next() } else { None };
        let number = ExprKind::Number(Number { value: 0.0, is_duration: false });
        let expr = args.next().unwrap_or(Expr { kind: number, span });
        if got == 0 {
            self.report(span, "no arguments for aggregate expression provided");
        } else if op.is_experimental() && !self.options.experimental_functions {
            let name = op.name();
            let flag = "--enable-feature=promql-experimental-functions";
            self.report(span, format!("{name}() is experimental and must be enabled with {flag}"));
        } else if got != wanted {
            let what = "wrong number of arguments for aggregate expression provided";
            self.report(span, format!("{what}, expected {wanted}, got {got}"));
        }
        (param, expr)
    }

    /// `(a, "b.c")`
    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        let mut labels = Vec::new();
        if let Err(stop) = self.expect(TokenKind::LeftParen) {
            self.recover(stop, CONTEXT, "\"(\"")?;
            return Ok(labels);
        }
        while self.peek() != TokenKind::RightParen {
            match self.grouping_label() {
                Ok(label) => labels.push(label),
                Err(stop) => self.recover(stop, CONTEXT, "label")?,
            }
            loop {
                match self.peek() {
                    TokenKind::RightParen => break,
                    TokenKind::Comma => {
                        self.bump();
                        break;
                    }
                    _ => match self.refuse() {
                        Ok(()) => {}
                        Err(stop) => self.recover(stop, CONTEXT, "\",\" or \")\"")?,
                    },
                }
            }
        }
        self.bump();
        Ok(labels)
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        loop {
            let kind = self.peek();
            let quoted_name = kind == TokenKind::String;
            if !quoted_name && !kind.is_label_name() {
                self.refuse()?;
                continue;
            }
            let span = self.bump().span();
            let word = self.word(span);
            let name = if quoted_name { unquoted(word) } else { word.to_vec() };
            return match String::from_utf8(name) {
                Ok(name) if !name.is_empty() => Ok(name),
                name => {
                    let name = name
                        .map_or_else(std::string::FromUtf8Error::into_bytes, String::into_bytes);
                    self.report(
                        span,
                        format!("invalid label name for grouping: {}", quoted(&name)),
                    );
                    Ok(String::new())
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::query::parser::ParseOptions;
    use crate::query::parser::testing::{assert_fault, faults, faults_with, parsed, printed};

    #[test]
    fn labels_stand_before_or_behind_the_arguments() {
        assert_eq!(printed("sum by(a)(x)"), "sum by (a) (x)");
        assert_eq!(printed("SUM(x)WITHOUT(a,)"), "sum without (a) (x)");
        assert_eq!(printed("sum by () (x)"), "sum(x)");
        assert_eq!(printed("sum without () (x)"), "sum without () (x)");
        assert_fault("sum by (a) (x) by (b)", "by", "unexpected <by>");
    }

    #[test]
    fn quoted_labels_may_have_any_name_but_none() {
        assert_eq!(printed(r#"sum by ("a.b", "c") (x)"#), r#"sum by ("a.b", c) (x)"#);
        assert_fault(r#"sum by ("") (x)"#, r#""""#, "invalid label name for grouping: \"\"");
        assert_fault(
            r#"sum by ("\xff") (x)"#,
            r#""\xff""#,
            r#"invalid label name for grouping: "\xff""#,
        );
    }

    #[test]
    fn parsing_goes_on_behind_a_faulty_list_of_labels() {
        assert_fault(
            "sum by (a b) (x)",
            "b",
            "unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
        );
        assert_fault("sum by (,) (x)", ",", "unexpected \",\" in grouping opts, expected label");
        assert_fault(
            "sum by a (x)",
            "a",
            "unexpected identifier \"a\" in grouping opts, expected \"(\"",
        );
    }

    #[test]
    fn a_fault_in_the_arguments_leaves_an_aggregation_without_any() {
        let found = faults("sum(x y)");
        let messages: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
        let without = "no arguments for aggregate expression provided";
        assert_eq!(messages, ["unexpected identifier \"y\" in aggregation", without]);
    }

    #[test]
    fn the_number_of_arguments_is_the_operators() {
        let wrong = "wrong number of arguments for aggregate expression provided";
        assert_fault("sum()", "sum()", "no arguments for aggregate expression provided");
        assert_fault("topk(x)", "topk(x)", &format!("{wrong}, expected 2, got 1"));
        assert_fault("sum(x, y)", "sum(x, y)", &format!("{wrong}, expected 1, got 2"));
        assert_eq!(printed("quantile by (a) (0.5, x)"), "quantile by (a) (0.5, x)");
    }

    #[test]
    fn an_aggregation_ends_at_its_own_parenthesis() {
        assert_eq!(parsed("(sum(x) )").span.end, 9);
        assert_fault(
            "(sum(x, y) )",
            "sum(x, y)",
            "wrong number of arguments for aggregate expression provided, expected 1, got 2",
        );
    }

    #[test]
    fn some_aggregations_are_behind_a_flag() {
        let found = faults_with("limitk(1, x)", &ParseOptions::default());
        let message = "limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions";
        assert_eq!(found, [("limitk(1, x)", message.to_owned())]);
        assert_eq!(printed("limit_ratio(0.5, x)"), "limit_ratio(0.5, x)");
    }
}
