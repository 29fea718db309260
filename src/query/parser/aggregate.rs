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
            let flag = "--enable-feature=promql-experimental-functions";
            let name = op.name();
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
