//! Trees to print and to parse again: vectors that pass the checks, with parentheses wherever there could be doubt.
//!
//! Every part is boxed: proptest keeps the state of all of a strategy's parts on the stack.

use proptest::collection::vec as list;
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::{Matcher, TimestampMs};
use crate::query::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Duration, DurationExpr,
    DurationExprKind, Expr, ExprKind, Extension, MatchOp, MatrixSelector, Number, StringLiteral,
    Subquery, TextRange, Unary, VectorMatching, VectorSelector,
};
use crate::query::function_table::lookup;
use crate::query::printer::matcher_text;

fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: TextRange::default() }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    expr(ExprKind::Call(Call { function: lookup(name).unwrap(), args }))
}

fn paren(inner: Expr) -> Expr {
    expr(ExprKind::Paren(Box::new(inner)))
}

fn binary(lhs: Expr, op: BinaryOp, rhs: Expr, matching: Option<VectorMatching>) -> Expr {
    let (op_span, return_bool) = (TextRange::default(), op.is_comparison());
    expr(ExprKind::Binary(Box::new(Binary { op, op_span, lhs, rhs, return_bool, matching })))
}

/// Names of labels, some of them words of the language.
fn label() -> BoxedStrategy<String> {
    let words = select(vec!["sum", "on", "by", "offset", "inf", "without", "le"]);
    prop_oneof!["[a-z_][a-z0-9_]{0,8}", words.prop_map(str::to_owned), "[ -~ä\n]{1,8}"].boxed()
}

/// Names of metrics that stand before the braces.
fn metric() -> BoxedStrategy<String> {
    let words = select(vec!["sum", "by", "offset", "and", "start", "step", "fill"]);
    prop_oneof!["m[a-z0-9_:]{0,8}", words.prop_map(str::to_owned)].boxed()
}

fn wrapped(kind: DurationExprKind) -> DurationExpr {
    DurationExpr { kind, wrapped: true, span: TextRange::default() }
}

/// An expression for a length of time; every part of it is in parentheses.
fn length() -> BoxedStrategy<DurationExpr> {
    let number = |(value, is_duration): (u32, bool)| {
        DurationExprKind::Number(Number { value: f64::from(value), is_duration })
    };
    let leaf = prop_oneof![
        (1..100_000_u32, any::<bool>()).prop_map(number),
        Just(DurationExprKind::Step),
        Just(DurationExprKind::Range),
    ];
    let grow = |inner: BoxedStrategy<DurationExpr>| {
        use BinaryOp::{Add, Div, Mod, Mul, Pow, Sub};
        let two = (select(vec![Add, Sub, Mul, Div, Mod, Pow]), inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(op, lhs, rhs)| {
                wrapped(DurationExprKind::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) })
            }),
            two.prop_map(|(op, a, b)| {
                let (a, b) = (Box::new(a), Box::new(b));
                wrapped(if op == Add {
                    DurationExprKind::MinOf(a, b)
                } else {
                    DurationExprKind::MaxOf(a, b)
                })
            }),
            inner.prop_map(|expr| wrapped(DurationExprKind::Unary {
                negative: true,
                expr: Box::new(expr)
            })),
        ]
        .boxed()
    };
    leaf.prop_map(wrapped).prop_recursive(3, 8, 2, grow).boxed()
}

fn duration() -> BoxedStrategy<Duration> {
    // Calls need no parentheses around them. Everything else would mean something else without.
    let unwrap_calls = |(length, bare): (DurationExpr, bool)| {
        use DurationExprKind::{MaxOf, MinOf, Range, Step};
        let is_call = matches!(length.kind, Step | Range | MinOf(..) | MaxOf(..));
        Duration::Expr(Box::new(DurationExpr { wrapped: !(bare && is_call), ..length }))
    };
    let literal = (1..100_000_000_000_i64).prop_map(Duration::Ms);
    prop_oneof![literal, (length(), any::<bool>()).prop_map(unwrap_calls)].boxed()
}

/// The range of a subquery: no colon is read before there has been a number in brackets.
fn range_before_colon() -> BoxedStrategy<Duration> {
    let number = |duration| match duration {
        Duration::Expr(expr) if !expr.to_string().contains(|c: char| c.is_ascii_digit()) => {
            Duration::Ms(1)
        }
        duration => duration,
    };
    duration().prop_map(number).boxed()
}

fn offset() -> BoxedStrategy<Duration> {
    let negative = (-100_000_000_000_i64..0).prop_map(Duration::Ms);
    prop_oneof![3 => Just(Duration::Ms(0)), 1 => negative, 2 => duration()].boxed()
}

fn at() -> BoxedStrategy<Option<At>> {
    let timestamp =
        (-4_000_000_000_000_i64..4_000_000_000_000).prop_map(|ms| At::Timestamp(TimestampMs(ms)));
    let some = prop_oneof![Just(At::Start), Just(At::End), timestamp].prop_map(Some);
    prop_oneof![Just(None), some].boxed()
}

fn matcher() -> BoxedStrategy<Matcher> {
    let text = (select(vec![MatchOp::Equal, MatchOp::NotEqual]), any::<String>());
    let pattern = (select(vec![MatchOp::Regex, MatchOp::NotRegex]), "[a-z.|0-9]{0,8}");
    (label(), prop_oneof![text, pattern])
        .prop_map(|(name, (op, value))| {
            Matcher::new(&name, op, &value).unwrap_or_else(|_| Matcher::equal(&name, &value))
        })
        .boxed()
}

fn selector() -> BoxedStrategy<VectorSelector> {
    let extension = select(vec![None, None, Some(Extension::Anchored), Some(Extension::Smoothed)]);
    (proptest::option::of(metric()), list(matcher(), 0..3), offset(), at(), extension)
        .prop_map(|(name, mut matchers, offset, at, extension)| {
            let value = name.clone().unwrap_or_else(|| "quoted name".to_owned());
            let name_is = Matcher::equal("__name__", &value);
            if name.is_none() {
                matchers.push(name_is.clone());
            }
            // The printer sorts them, so only sorted ones can come back as they were.
            matchers.sort_by_key(matcher_text);
            if name.is_some() {
                matchers.push(name_is);
            }
            VectorSelector { name, matchers, offset, at, extension }
        })
        .boxed()
}

fn instant() -> BoxedStrategy<Expr> {
    selector().prop_map(|selector| expr(ExprKind::Vector(Box::new(selector)))).boxed()
}

fn matrix() -> BoxedStrategy<Expr> {
    (selector(), duration())
        .prop_map(|(selector, range)| {
            let selector_span = TextRange::default();
            expr(ExprKind::Matrix(Box::new(MatrixSelector { selector, selector_span, range })))
        })
        .boxed()
}

fn scalar() -> BoxedStrategy<Expr> {
    let number = |value, is_duration| expr(ExprKind::Number(Number { value, is_duration }));
    let float = prop_oneof![proptest::num::f64::NORMAL, proptest::num::f64::ZERO];
    prop_oneof![
        float.prop_map(move |value| number(value, false)),
        // As the parser adds them up.
        (1..10_000_000_u32)
            .prop_map(move |ms| number(f64::from(ms / 1000) + f64::from(ms % 1000) / 1000.0, true)),
        Just(call("time", Vec::new())),
    ]
    .boxed()
}

/// Modifiers that `op` may have between vectors.
fn matching(op: BinaryOp) -> BoxedStrategy<VectorMatching> {
    let fill = || proptest::option::of(proptest::num::f64::NORMAL);
    let group = select(vec![Cardinality::OneToOne, Cardinality::ManyToOne, Cardinality::OneToMany]);
    (any::<bool>(), list(label(), 0..3), list(label(), 0..3), group, fill(), fill())
        .prop_map(move |(on, labels, mut include, cardinality, fill_left, fill_right)| {
            if op.is_set() {
                let (cardinality, include) = (Cardinality::ManyToMany, Vec::new());
                return VectorMatching {
                    cardinality,
                    labels,
                    on,
                    include,
                    fill_left: None,
                    fill_right: None,
                };
            }
            include.retain(|label| {
                cardinality != Cardinality::OneToOne && !(on && labels.contains(label))
            });
            VectorMatching { cardinality, labels, on, include, fill_left, fill_right }
        })
        .boxed()
}

fn operator() -> BoxedStrategy<(BinaryOp, VectorMatching)> {
    use BinaryOp::*;
    let ops = vec![
        Add, Sub, Mul, Div, Mod, Pow, Atan2, Eq, Ne, Gt, Lt, Ge, Le, And, Or, Unless, TrimUpper,
        TrimLower,
    ];
    select(ops).prop_flat_map(|op| (Just(op), matching(op))).boxed()
}

fn aggregate(inner: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let op = select(vec![AggregateOp::Sum, AggregateOp::Topk, AggregateOp::CountValues]);
    (op, inner, list(label(), 0..3), any::<bool>(), scalar())
        .prop_map(|(op, inner, grouping, without, number)| {
            let param = match op {
                AggregateOp::Topk => Some(number),
                AggregateOp::CountValues => Some(expr(ExprKind::String(StringLiteral {
                    value: b"a\xff\xef\xbf\xbd".to_vec(),
                }))),
                _ => None,
            };
            expr(ExprKind::Aggregate(Box::new(Aggregate {
                op,
                expr: inner,
                param,
                grouping,
                without,
            })))
        })
        .boxed()
}

fn subquery(inner: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    (inner, range_before_colon(), proptest::option::of(duration()), offset(), at())
        .prop_map(|(inner, range, step, offset, at)| {
            let subquery = Subquery { expr: paren(inner), range, step, offset, at };
            call("max_over_time", vec![expr(ExprKind::Subquery(Box::new(subquery)))])
        })
        .boxed()
}

/// An expression that is a vector.
pub(in crate::query) fn vector() -> BoxedStrategy<Expr> {
    let grow = |inner: BoxedStrategy<Expr>| {
        let operand = prop_oneof![inner.clone().prop_map(paren), instant()].boxed();
        let two = (operand.clone(), operator(), operand.clone());
        prop_oneof![
            aggregate(inner.clone()),
            subquery(inner.clone()),
            two.prop_map(|(lhs, (op, matching), rhs)| binary(lhs, op, rhs, Some(matching))).boxed(),
            (operand.clone(), scalar())
                .prop_map(|(lhs, rhs)| binary(lhs, BinaryOp::Mul, rhs, None))
                .boxed(),
            matrix().prop_map(|matrix| call("rate", vec![matrix])).boxed(),
            (inner.clone(), scalar())
                .prop_map(|(inner, number)| call("round", vec![inner, number]))
                .boxed(),
            (operand, any::<bool>())
                .prop_map(|(inner, negative)| {
                    expr(ExprKind::Unary(Unary { negative, expr: Box::new(inner) }))
                })
                .boxed(),
            inner.prop_map(paren).boxed(),
        ]
        .boxed()
    };
    instant().prop_recursive(4, 24, 3, grow).boxed()
}
