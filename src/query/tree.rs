//! Tells a tree piece by piece, as `parse_query` shows it: objects with members, in the order of their names.
//!
//! ```text
//! {"lhs":…,"op":"+","rhs":…,"type":"binaryExpr"}      one object a node; `type` says of which kind
//! ```
//! Nothing is held of what was told, and a chain of operators is walked down in a loop: it may be as long as its text. What a
//! node's members are is Prometheus's (`web/api/v1/translate_ast.go`, 3.14); a place in the text is not among them.

use super::ast::{
    Aggregate, At, Binary, Call, Cardinality, Duration, DurationExpr, DurationExprKind, Expr,
    ExprKind, Extension, Number, Subquery, VectorMatching, VectorSelector,
};
use super::number::format_f;
use crate::model::{Matcher, TimestampMs};

/// A piece of a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Piece<'a> {
    /// An object begins.
    Object,
    /// The object ends.
    ObjectEnds,
    /// A list begins.
    List,
    /// The list ends.
    ListEnds,
    /// The name of the member whose value is next.
    Name(&'static str),
    /// A text.
    Text(&'a str),
    /// A text that may not be UTF-8.
    Bytes(&'a [u8]),
    /// A whole number.
    Whole(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Truth(bool),
    /// Nothing.
    Null,
}

/// Tells the tree of `expr` to `to`.
pub fn tell(expr: &Expr, to: &mut impl FnMut(Piece<'_>)) {
    Teller(to).expr(expr);
}

struct Teller<'t, F>(&'t mut F);

impl<F: FnMut(Piece<'_>)> Teller<'_, F> {
    fn piece(&mut self, piece: Piece<'_>) {
        (self.0)(piece);
    }

    fn member(&mut self, name: &'static str, value: Piece<'_>) {
        self.piece(Piece::Name(name));
        self.piece(value);
    }

    /// The last member of a node, and its end.
    fn ends_as(&mut self, kind: &'static str) {
        self.member("type", Piece::Text(kind));
        self.piece(Piece::ObjectEnds);
    }

    fn child(&mut self, name: &'static str, expr: &Expr) {
        self.piece(Piece::Name(name));
        self.expr(expr);
    }

    fn expr(&mut self, expr: &Expr) {
        let (mut above, mut current): (Vec<&Binary>, _) = (Vec::new(), expr);
        while let ExprKind::Binary(binary) = &current.kind {
            self.piece(Piece::Object);
            self.member("bool", Piece::Truth(binary.return_bool));
            self.piece(Piece::Name("lhs"));
            above.push(binary);
            current = &binary.lhs;
        }
        self.no_operator(current);
        while let Some(binary) = above.pop() {
            self.piece(Piece::Name("matching"));
            self.matching(binary.matching.as_ref());
            self.member("op", Piece::Text(binary.op.name()));
            self.child("rhs", &binary.rhs);
            self.ends_as("binaryExpr");
        }
    }

    fn no_operator(&mut self, expr: &Expr) {
        self.piece(Piece::Object);
        match &expr.kind {
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate),
            ExprKind::Call(call) => self.call(call),
            ExprKind::Matrix(matrix) => {
                self.selector(&matrix.selector, Some(&matrix.range));
                self.ends_as("matrixSelector");
            }
            ExprKind::Vector(selector) => {
                self.selector(selector, None);
                self.ends_as("vectorSelector");
            }
            ExprKind::Subquery(subquery) => self.subquery(subquery),
            ExprKind::Number(number) => {
                self.member("type", Piece::Text("numberLiteral"));
                self.member("val", Piece::Text(&format_f(number.value)));
                self.piece(Piece::ObjectEnds);
            }
            ExprKind::String(string) => {
                self.member("type", Piece::Text("stringLiteral"));
                self.member("val", Piece::Bytes(&string.value));
                self.piece(Piece::ObjectEnds);
            }
            ExprKind::Paren(inner) => {
                self.child("expr", inner);
                self.ends_as("parenExpr");
            }
            ExprKind::Unary(unary) => {
                self.child("expr", &unary.expr);
                self.member("op", Piece::Text(if unary.negative { "-" } else { "+" }));
                self.ends_as("unaryExpr");
            }
            ExprKind::Binary(_) => unreachable!("operators were taken apart"),
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate) {
        self.child("expr", &aggregate.expr);
        self.texts("grouping", &aggregate.grouping);
        self.member("op", Piece::Text(aggregate.op.name()));
        match &aggregate.param {
            Some(param) => self.child("param", param),
            None => self.member("param", Piece::Null),
        }
        self.member("type", Piece::Text("aggregation"));
        self.member("without", Piece::Truth(aggregate.without));
        self.piece(Piece::ObjectEnds);
    }

    fn call(&mut self, Call { function, args }: &Call) {
        self.piece(Piece::Name("args"));
        self.piece(Piece::List);
        for arg in args {
            self.expr(arg);
        }
        self.piece(Piece::ListEnds);
        self.piece(Piece::Name("func"));
        self.piece(Piece::Object);
        self.piece(Piece::Name("argTypes"));
        self.piece(Piece::List);
        for value_type in function.args {
            self.piece(Piece::Text(value_type.name()));
        }
        self.piece(Piece::ListEnds);
        self.member("name", Piece::Text(function.name));
        self.member("returnType", Piece::Text(function.returns.name()));
        self.member("variadic", Piece::Whole(function.variadic.into()));
        self.piece(Piece::ObjectEnds);
        self.ends_as("call");
    }

    fn matching(&mut self, matching: Option<&VectorMatching>) {
        let Some(matching) = matching else { return self.piece(Piece::Null) };
        let card = match matching.cardinality {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        };
        let fill = |value: Option<f64>| value.map_or(Piece::Null, Piece::Float);
        self.piece(Piece::Object);
        self.member("card", Piece::Text(card));
        self.piece(Piece::Name("fillValues"));
        self.piece(Piece::Object);
        self.member("lhs", fill(matching.fill_left));
        self.member("rhs", fill(matching.fill_right));
        self.piece(Piece::ObjectEnds);
        self.texts("include", &matching.include);
        self.texts("labels", &matching.labels);
        self.member("on", Piece::Truth(matching.on));
        self.piece(Piece::ObjectEnds);
    }

    /// A selector's members, up to its type; `range` is that of a matrix.
    fn selector(&mut self, selector: &VectorSelector, range: Option<&Duration>) {
        let is = |extension| Piece::Truth(selector.extension == Some(extension));
        self.member("anchored", is(Extension::Anchored));
        self.piece(Piece::Name("matchers"));
        self.piece(Piece::List);
        for matcher in &selector.matchers {
            self.matcher(matcher);
        }
        self.piece(Piece::ListEnds);
        self.member("name", Piece::Text(selector.name.as_deref().unwrap_or_default()));
        self.duration(["offset", "offsetExpr"], Some(&selector.offset));
        if range.is_some() {
            self.duration(["range", "rangeExpr"], range);
        }
        self.member("smoothed", is(Extension::Smoothed));
        self.at(selector.at, |_| {});
    }

    fn matcher(&mut self, matcher: &Matcher) {
        self.piece(Piece::Object);
        self.member("name", Piece::Text(matcher.name()));
        self.member("type", Piece::Text(matcher.op().as_str()));
        self.member("value", Piece::Text(matcher.value()));
        self.piece(Piece::ObjectEnds);
    }

    fn subquery(&mut self, subquery: &Subquery) {
        self.child("expr", &subquery.expr);
        self.duration(["offset", "offsetExpr"], Some(&subquery.offset));
        self.duration(["range", "rangeExpr"], Some(&subquery.range));
        self.at(subquery.at, |teller| {
            teller.duration(["step", "stepExpr"], subquery.step.as_ref())
        });
        self.ends_as("subquery");
    }

    /// `startOrEnd`, what stands between it and the next by its name, and `timestamp`.
    fn at(&mut self, at: Option<At>, between: impl FnOnce(&mut Self)) {
        let (edge, timestamp) = match at {
            None => (Piece::Null, Piece::Null),
            Some(At::Start) => (Piece::Text("start"), Piece::Null),
            Some(At::End) => (Piece::Text("end"), Piece::Null),
            Some(At::Timestamp(TimestampMs(ms))) => (Piece::Null, Piece::Whole(ms)),
        };
        self.member("startOrEnd", edge);
        between(self);
        self.member("timestamp", timestamp);
    }

    /// A length in milliseconds, zero if it has to be computed or is not there, and the expression to compute it by.
    fn duration(&mut self, [length, expr]: [&'static str; 2], duration: Option<&Duration>) {
        let ms = if let Some(Duration::Ms(ms)) = duration { *ms } else { 0 };
        self.member(length, Piece::Whole(ms));
        self.piece(Piece::Name(expr));
        match duration {
            Some(Duration::Expr(expr)) => self.duration_expr(expr),
            _ => self.piece(Piece::Null),
        }
    }

    fn duration_expr(&mut self, expr: &DurationExpr) {
        let (op, lhs, rhs) = match &expr.kind {
            DurationExprKind::Number(number) if !expr.wrapped => {
                return self.duration_number(*number);
            }
            DurationExprKind::Number(number) => {
                // In parentheses a number has a sign, to upstream.
                self.piece(Piece::Object);
                self.member("lhs", Piece::Null);
                self.member("op", Piece::Text("+"));
                self.piece(Piece::Name("rhs"));
                self.duration_number(*number);
                return self.duration_ends(true);
            }
            DurationExprKind::Step => ("step", None, None),
            DurationExprKind::Range => ("range", None, None),
            DurationExprKind::Unary { negative, expr } => {
                (if *negative { "-" } else { "+" }, None, Some(expr))
            }
            DurationExprKind::Binary { op, lhs, rhs } => (op.name(), Some(lhs), Some(rhs)),
            DurationExprKind::MinOf(a, b) => ("min_of", Some(a), Some(b)),
            DurationExprKind::MaxOf(a, b) => ("max_of", Some(a), Some(b)),
        };
        self.piece(Piece::Object);
        self.operand("lhs", lhs.map(AsRef::as_ref));
        self.member("op", Piece::Text(op));
        self.operand("rhs", rhs.map(AsRef::as_ref));
        self.duration_ends(expr.wrapped);
    }

    fn operand(&mut self, name: &'static str, expr: Option<&DurationExpr>) {
        self.piece(Piece::Name(name));
        match expr {
            Some(expr) => self.duration_expr(expr),
            None => self.piece(Piece::Null),
        }
    }

    fn duration_number(&mut self, number: Number) {
        self.piece(Piece::Object);
        self.member("duration", Piece::Truth(number.is_duration));
        self.member("type", Piece::Text("numberLiteral"));
        self.member("val", Piece::Text(&format_f(number.value)));
        self.piece(Piece::ObjectEnds);
    }

    fn duration_ends(&mut self, wrapped: bool) {
        self.member("type", Piece::Text("durationExpr"));
        self.member("wrapped", Piece::Truth(wrapped));
        self.piece(Piece::ObjectEnds);
    }

    fn texts(&mut self, name: &'static str, texts: &[String]) {
        self.piece(Piece::Name(name));
        self.piece(Piece::List);
        for text in texts {
            self.piece(Piece::Text(text));
        }
        self.piece(Piece::ListEnds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::parser::{ParseOptions, parse_expr};

    /// The names, in order, of the kinds of node that a text has.
    fn kinds(text: &str) -> Vec<String> {
        let expr = parse_expr(text, &ParseOptions::ALL).unwrap();
        let (mut kinds, mut is_kind) = (Vec::new(), false);
        tell(&expr, &mut |piece| {
            if let (true, Piece::Text(kind)) = (is_kind, piece) {
                kinds.push(kind.to_owned());
            }
            is_kind = piece == Piece::Name("type");
        });
        kinds.retain(|kind| !matches!(kind.as_str(), "=" | "!=" | "=~" | "!~"));
        kinds
    }

    #[test]
    fn every_kind_of_node_has_its_name() {
        assert_eq!(
            kinds("sum(rate(x[5m])) + -max_over_time((y)[1h:]) * 2"),
            [
                "matrixSelector",
                "call",
                "aggregation",
                "vectorSelector",
                "parenExpr",
                "subquery",
                "call",
                "unaryExpr",
                "numberLiteral",
                "binaryExpr",
                "binaryExpr",
            ]
        );
    }

    #[test] // recursion along it would exhaust the stack
    fn a_chain_of_a_hundred_thousand_operators_is_told() {
        let expr = parse_expr(&vec!["1"; 100_000].join("+"), &ParseOptions::ALL).unwrap();
        let (mut depth, mut deepest) = (0u32, 0u32);
        tell(&expr, &mut |piece| match piece {
            Piece::Object => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            Piece::ObjectEnds => depth -= 1,
            _ => {}
        });
        assert_eq!((depth, deepest), (0, 100_000));
    }
}
