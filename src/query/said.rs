//! What a query says twice is computed once: `a / (a + b)` reads `a` once.
//!
//! Each part of the tree has a print of what it says, wherever it stands: of two parts with one print on one grid, the
//! second is the node of the first. A print has 128 bits and a secret of its own for each query, so that no text can be
//! made in which two parts that differ have the same.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use super::ast::{Expr, ExprKind, VectorSelector};
use super::grid::Grid;
use super::plan::NodeId;
use super::stats_only::StatsOnly;

/// The prints of a tree's parts, and the nodes that have been planned for them.
#[derive(Debug, Default)]
pub(super) struct Said {
    prints: HashMap<*const Expr, Print>,
    nodes: HashMap<(Print, i64, i64, usize, bool), NodeId>,
}

type Print = (u64, u64);

impl Said {
    /// Looks at `expr` and everything in it.
    pub(super) fn of(expr: &Expr, stats_only: &StatsOnly) -> Self {
        let mut said = Self::default();
        Printer {
            states: (RandomState::default(), RandomState::default()),
            stats_only,
            said: &mut said,
        }
        .visit(expr);
        said
    }

    /// The node that says the same as `expr` on this grid, if there is one.
    pub(super) fn node(&self, expr: &Expr, grid: Grid) -> Option<NodeId> {
        self.nodes.get(&self.key(expr, grid)?).copied()
    }

    /// `node` is what `expr` says on this grid.
    pub(super) fn note(&mut self, expr: &Expr, grid: Grid, node: NodeId) {
        if let Some(key) = self.key(expr, grid) {
            self.nodes.insert(key, node);
        }
    }

    fn key(&self, expr: &Expr, grid: Grid) -> Option<(Print, i64, i64, usize, bool)> {
        let print = self.prints.get(&std::ptr::from_ref(expr))?;
        Some((*print, grid.start, grid.step, grid.count, grid.is_instant))
    }
}

struct Printer<'a> {
    states: (RandomState, RandomState),
    stats_only: &'a StatsOnly,
    said: &'a mut Said,
}

/// A print in the making; takes what `Debug` says.
struct Printing(foldhash::quality::FoldHasher<'static>, foldhash::quality::FoldHasher<'static>);

impl fmt::Write for Printing {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // What is written in several pieces must not read like other pieces.
        for hasher in [&mut self.0, &mut self.1] {
            hasher.write(text.as_bytes());
            hasher.write_usize(text.len());
        }
        Ok(())
    }
}

impl Printing {
    fn child(&mut self, (one, other): Print) {
        self.0.write_u64(one);
        self.1.write_u64(other);
    }

    fn print(self) -> Print {
        (self.0.finish(), self.1.finish())
    }
}

impl Printer<'_> {
    /// Recursion is bounded by the parser's nesting limit; chains of operators and subqueries are walked in a loop.
    fn visit(&mut self, expr: &Expr) -> Print {
        let mut chain = Vec::new();
        let mut lowest = expr;
        loop {
            lowest = match &lowest.kind {
                ExprKind::Binary(binary) => {
                    chain.push(lowest);
                    &binary.lhs
                }
                ExprKind::Subquery(subquery) => {
                    chain.push(lowest);
                    &subquery.expr
                }
                _ => break,
            };
        }
        let mut print = self.visit_other(lowest);
        self.said.prints.insert(std::ptr::from_ref(lowest), print);
        while let Some(expr) = chain.pop() {
            let mut printing = Printing(self.states.0.build_hasher(), self.states.1.build_hasher());
            printing.child(print);
            match &expr.kind {
                ExprKind::Binary(binary) => {
                    let rhs = self.visit(&binary.rhs);
                    printing.child(rhs);
                    let _ =
                        write!(printing, "{:?}", (binary.op, binary.return_bool, &binary.matching));
                }
                ExprKind::Subquery(subquery) => {
                    let times = (&subquery.range, &subquery.step, &subquery.offset, subquery.at);
                    let _ = write!(printing, "subquery {times:?}");
                }
                _ => {}
            }
            print = printing.print();
            self.said.prints.insert(std::ptr::from_ref(expr), print);
        }
        print
    }

    fn visit_other(&mut self, expr: &Expr) -> Print {
        let mut printing = Printing(self.states.0.build_hasher(), self.states.1.build_hasher());
        // Writing to a print does not fail.
        let _ = match &expr.kind {
            ExprKind::Paren(inner) => return self.visit(inner),
            ExprKind::Number(number) => write!(printing, "number {}", number.value.to_bits()),
            ExprKind::String(text) => write!(printing, "text {:?}", text.value),
            ExprKind::Unary(unary) => {
                printing.child(self.visit(&unary.expr));
                write!(printing, "sign {}", unary.negative)
            }
            ExprKind::Vector(selector) => self.selector(&mut printing, selector),
            ExprKind::Matrix(matrix) => {
                let _ = write!(printing, "range {:?}", matrix.range);
                self.selector(&mut printing, &matrix.selector)
            }
            ExprKind::Aggregate(aggregate) => {
                printing.child(self.visit(&aggregate.expr));
                if let Some(param) = &aggregate.param {
                    printing.child(self.visit(param));
                }
                let by = (aggregate.op, &aggregate.grouping, aggregate.without);
                write!(printing, "{:?}", (by, aggregate.param.is_some()))
            }
            ExprKind::Call(call) => {
                for arg in &call.args {
                    printing.child(self.visit(arg));
                }
                write!(printing, "{} {}", call.function.name, call.args.len())
            }
            ExprKind::Binary(_) | ExprKind::Subquery(_) => return self.visit(expr),
        };
        printing.print()
    }

    fn selector(&self, printing: &mut Printing, selector: &VectorSelector) -> fmt::Result {
        for matcher in &selector.matchers {
            write!(printing, "{:?}", (matcher.op(), matcher.name(), matcher.value()))?;
        }
        let stats_only = self.stats_only.contains(selector);
        let VectorSelector { offset, at, extension, .. } = selector;
        write!(printing, "selector {:?}", (offset, at, extension, stats_only))
    }
}

#[cfg(test)]
mod tests {
    use crate::model::TimestampMs;
    use crate::query::parser::ParseOptions;
    use crate::query::prepare::{EvalRange, Options, prepare};

    fn leaves(query: &str) -> usize {
        let range = EvalRange::range(TimestampMs(0), TimestampMs(600_000), 60_000);
        let options = Options { parse: ParseOptions::ALL, ..Options::default() };
        prepare(query, range, &options).unwrap().leaves().len()
    }

    #[test]
    fn what_is_said_twice_is_read_once() {
        assert_eq!(leaves("a / (a + b)"), 2);
        assert_eq!(leaves("sum(rate(a[5m])) / on () group_left sum(rate(a[5m]))"), 1);
        assert_eq!(leaves("sum(a{x=\"1\"} @ 5) or sum(a{x=\"1\"} @ 5)"), 1);
        assert_eq!(leaves("(max_over_time(a[5m:1m]) > 1) / max_over_time(a[5m:1m])"), 1);
    }

    #[test]
    fn what_differs_in_anything_is_read_for_itself() {
        for query in [
            "a + b",
            "a + (a offset 5m)",
            "a + (a @ 5)",
            "rate(a[5m]) + rate(a[6m])",
            "rate(a[5m]) + increase(a[5m])",
            "a{x=\"1\"} + a{x=\"2\"}",
            "a{x=\"1\"} + a{x!=\"1\"}",
            "sum by (x) (a) + sum by (y) (a)",
            "sum by (x) (a) + sum without (x) (a)",
            "histogram_count(rate(a[5m])) + rate(a[5m])",
            "sum_over_time(a[5m:1m]) + sum_over_time(a[5m:2m])",
        ] {
            assert_eq!(leaves(query), 2, "{query}");
        }
    }

    #[test]
    fn a_chain_of_the_same_is_read_once_however_long() {
        let query = vec!["a"; 5000].join(" + ");
        assert_eq!(leaves(&query), 1);
    }
}
