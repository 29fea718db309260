//! What has changed since Prometheus 2.42 and may show in an answer: as data, each with its reason.
//!
//! A change does not excuse a difference because it might have caused it. It says what to ask instead, so that the change
//! plays no part: only if both servers then give the same answer is the difference explained by it.

use super::expr::{COMPARISONS, Expr, Expr::*, Shift};

/// One change.
pub struct Change {
    /// What has changed, since when, and where that is written.
    pub reason: &'static str,
    /// What to ask instead of this node; `None` if the change does not touch it.
    pub instead: fn(&Expr) -> Option<Expr>,
    /// Is it that both refuse that, where only one of them refused before?
    pub refused: bool,
}

impl Change {
    /// `expr` without what the change touches; `None` if it touches nothing.
    pub fn without(&self, expr: &Expr) -> Option<Expr> {
        let is_touched = expr.any(&|node| (self.instead)(node).is_some());
        is_touched.then(|| expr.clone().map(&|node| (self.instead)(&node).unwrap_or(node)))
    }
}

fn renamed(expr: &Expr, names: &[&str], to: &str) -> Option<Expr> {
    match expr {
        Call(name, args) if names.contains(&name.as_str()) => {
            Some(Call(to.to_owned(), args.clone()))
        }
        _ => None,
    }
}

/// Only what is a number and finite.
fn finite(expr: Expr) -> Expr {
    let above = Expr::binary(">", expr, Expr::number("-Inf"));
    Expr::binary("<", above, Expr::number("Inf"))
}

/// Without an offset of zero; `None` if there is none.
fn moved(shift: &Shift) -> Option<Shift> {
    let is_zero = shift.offset.as_deref() == Some("0s");
    is_zero.then(|| Shift { offset: None, ..shift.clone() })
}

/// A vector without series.
fn nothing() -> Expr {
    Selector("nothing_like_it".to_owned(), Shift::default())
}

/// The last digits of a result of these depend on the order of additions, or on who wrote the function.
const INEXACT: &[&str] = &[
    "sum",
    "avg",
    "stddev",
    "stdvar",
    "quantile",
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "predict_linear",
    "avg_over_time",
    "sum_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "quantile_over_time",
    "histogram_quantile",
    "holt_winters",
    "exp",
    "sqrt",
    "ln",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "rad",
    "deg",
    "timestamp",
];

/// All changes.
pub const CHANGES: &[Change] = &[
    Change {
        refused: false,
        reason: "since 2.51 a counter is not extrapolated to zero beyond half of the distance between its samples (#13725)",
        instead: |expr| renamed(expr, &["rate", "increase"], "delta"),
    },
    Change {
        refused: false,
        reason: "since 3.0 stddev and stdvar of NaN or an infinity are NaN also if it comes first (#14941)",
        instead: |expr| match expr {
            Aggregate { op, grouping, param: None, input } if op.starts_with("std") => {
                let input = Box::new(finite((**input).clone()));
                let (op, grouping) = (op.clone(), grouping.clone());
                Some(Aggregate { op, grouping, param: None, input })
            }
            _ => None,
        },
    },
    Change {
        refused: false,
        reason: "since 3.9 a unary minus may bring series together that are there at different times (#17708)",
        instead: |expr| match expr {
            Negate(inner) => {
                Some(Paren(Expr::binary("*", (**inner).clone(), Expr::number("-1")).into()))
            }
            _ => None,
        },
    },
    Change {
        refused: true,
        reason: "since 3.9 a comparison finds many-to-one matches also among pairs that it passes over (#17668)",
        instead: |expr| match expr {
            Binary { op, is_bool: false, matching, lhs, rhs }
                if COMPARISONS.contains(&op.as_str()) =>
            {
                let (op, matching) = (op.clone(), matching.clone());
                Some(Binary { op, is_bool: true, matching, lhs: lhs.clone(), rhs: rhs.clone() })
            }
            _ => None,
        },
    },
    Change {
        refused: false,
        reason: "since 2.47 atan2 takes the metric name off, as all arithmetic does (#12595)",
        instead: |expr| match expr {
            Binary { op, is_bool, matching, lhs, rhs } if op == "atan2" => {
                let (op, matching) = ("/".to_owned(), matching.clone());
                Some(Binary { op, is_bool: *is_bool, matching, lhs: lhs.clone(), rhs: rhs.clone() })
            }
            _ => None,
        },
    },
    Change {
        refused: false,
        reason: "until 2.52 count_values could lose a label of by () from its second step on, which was never written about",
        instead: |expr| match expr {
            Aggregate { op, grouping, param, input }
                if op == "count_values" && grouping.starts_with("by") =>
            {
                let (op, param) = (op.clone(), param.clone());
                Some(Aggregate { op, grouping: "by ()".to_owned(), param, input: input.clone() })
            }
            _ => None,
        },
    },
    Change {
        refused: false,
        reason: "since 3.4 histogram_fraction takes classic histograms (#16095)",
        instead: |expr| match expr {
            Call(name, _) if name == "histogram_fraction" => Some(nothing()),
            _ => None,
        },
    },
    Change {
        refused: false,
        reason: "since 3.4 an offset may be zero (#16249)",
        instead: |expr| match expr {
            Selector(what, shift) => Some(Selector(what.clone(), moved(shift)?)),
            Matrix(what, range, shift) => Some(Matrix(what.clone(), range.clone(), moved(shift)?)),
            Subquery(inner, range, step, shift) => {
                Some(Subquery(inner.clone(), range.clone(), step.clone(), moved(shift)?))
            }
            _ => None,
        },
    },
    Change {
        refused: false,
        reason: "since 2.51 a range vector with @ does not move with the steps (#13559)",
        instead: |expr| match expr {
            Matrix(what, range, shift) if shift.at.is_some() => {
                let shift = Shift { at: None, ..shift.clone() };
                Some(Matrix(what.clone(), range.clone(), shift))
            }
            Subquery(inner, range, step, shift) if shift.at.is_some() => {
                let shift = Shift { at: None, ..shift.clone() };
                Some(Subquery(inner.clone(), range.clone(), step.clone(), shift))
            }
            _ => None,
        },
    },
    Change {
        refused: false,
        reason: "which of equal values topk and bottomk take is nobody's promise",
        instead: |expr| match expr {
            Aggregate { op, input, .. } if op == "topk" || op == "bottomk" => {
                Some(Paren(input.clone()))
            }
            _ => None,
        },
    },
    Change {
        refused: false,
        reason: "since 2.54 a compensated sum that overflows is infinite, and no longer NaN (#14362)",
        instead: |expr| match expr {
            Call(name, args) if name == "predict_linear" => {
                Some(Expr::call("max_over_time", args.first().cloned()))
            }
            _ => {
                let sums = [
                    "stddev_over_time",
                    "stdvar_over_time",
                    "sum_over_time",
                    "avg_over_time",
                    "deriv",
                ];
                renamed(expr, &sums, "max_over_time")
            }
        },
    },
    Change {
        refused: false,
        reason: "of large numbers these depend on the last digit",
        instead: |expr| match expr {
            Binary { op, is_bool, matching, lhs, rhs } if op == "%" => {
                let (op, matching) = ("*".to_owned(), matching.clone());
                Some(Binary { op, is_bool: *is_bool, matching, lhs: lhs.clone(), rhs: rhs.clone() })
            }
            Aggregate { op, grouping, param, input } if op == "count_values" => {
                let input = Box::new(Expr::call("sgn", [(**input).clone()]));
                let (op, grouping, param) = (op.clone(), grouping.clone(), param.clone());
                Some(Aggregate { op, grouping, param, input })
            }
            _ => renamed(expr, &["sin", "cos", "tan"], "abs"),
        },
    },
    Change {
        refused: false,
        reason: "sums are compensated since 2.54 and averages since 2.55 (#14074, #14413): what is next to a whole number, or to \
                 nothing, may fall to the other side",
        instead: |expr| {
            let operators = ["/", "%", "^", "atan2", "*", "-", "+"];
            let is_inexact = expr.is(INEXACT)
                || matches!(expr, Binary { op, .. } if operators.contains(&op.as_str()));
            is_inexact.then(|| Expr::call("round", [expr.clone(), Expr::number("0.0009765625")]))
        },
    },
];
