//! Rules that concern the whole tree: types of operands and arguments, and which modifiers may stand together.
//!
//! Only a text that parses is checked. Checking also completes the tree: set operators are many-to-many, and there is
//! nothing to match unless both operands are vectors. The order of the reports is Prometheus's.

use std::collections::HashMap;

use super::faults::Faults;
use super::lexer::{is_space, offset};
use crate::model::Matcher;
use crate::model::labels::METRIC_NAME;
use crate::query::ast::{
    Aggregate, Binary, Call, Cardinality, Expr, ExprKind, TextRange, ValueType, VectorMatching,
    VectorSelector,
};
use crate::query::quote::quoted;

/// How often the same rule is reported of one operator or selector. Each report quotes labels of any length.
const REPORTS_MAX: usize = 100;

/// Adds to `faults` what is wrong with `expr`, which was parsed from `text`.
pub(super) fn check(text: &[u8], expr: &mut Expr, faults: &mut Faults) {
    Checker { text, faults }.expr(expr);
}

struct Checker<'a> {
    text: &'a [u8],
    faults: &'a mut Faults,
}

impl Checker<'_> {
    fn report(&mut self, span: TextRange, message: impl Into<String>) {
        self.faults.push(span, message);
    }

    /// Checks an expression; returns its type.
    fn expr(&mut self, expr: &mut Expr) -> ValueType {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Binary(_) | ExprKind::Subquery(_) => self.spine(expr),
            ExprKind::Aggregate(aggregate) => {
                self.aggregate(aggregate);
                ValueType::Vector
            }
            ExprKind::Call(call) => {
                self.call(call, span);
                call.function.returns
            }
            ExprKind::Matrix(matrix) => {
                self.selector(&matrix.selector, matrix.selector_span, false);
                ValueType::Matrix
            }
            ExprKind::Vector(selector) => {
                self.selector(selector, span, false);
                ValueType::Vector
            }
            ExprKind::Paren(inner) => self.expr(inner),
            ExprKind::Unary(unary) => {
                let value_type = self.expr(&mut unary.expr);
                if !is_scalar_or_vector(value_type) {
                    let what = "unary expression only allowed on expressions of type scalar or instant vector";
                    let got = quoted(value_type.documented().as_bytes());
                    self.report(span, format!("{what}, got {got}"));
                }
                value_type
            }
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
        }
    }

    /// Checks a chain of operators or subqueries from its left end up; such a chain may be too long to recurse.
    fn spine(&mut self, root: &mut Expr) -> ValueType {
        let mut above = Vec::new();
        let mut current = root.take();
        loop {
            let left = match &mut current.kind {
                ExprKind::Binary(binary) => binary.lhs.take(),
                ExprKind::Subquery(subquery) => subquery.expr.take(),
                _ => break,
            };
            above.push(std::mem::replace(&mut current, left));
        }
        let mut value_type = self.expr(&mut current);
        while let Some(mut parent) = above.pop() {
            let span = parent.span;
            match &mut parent.kind {
                ExprKind::Binary(binary) => {
                    binary.lhs = current;
                    value_type = self.binary(binary, span, value_type);
                }
                ExprKind::Subquery(subquery) => {
                    subquery.expr = current;
                    if value_type != ValueType::Vector {
                        let what = "subquery is only allowed on instant vector";
                        self.report(span, format!("{what}, got {} instead", value_type.name()));
                    }
                    value_type = ValueType::Matrix;
                }
                _ => unreachable!("only operators and subqueries were taken apart"),
            }
            current = parent;
        }
        *root = current;
        value_type
    }

    fn aggregate(&mut self, aggregate: &mut Aggregate) {
        self.expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression");
        if let (Some(param), Some(wanted)) = (&mut aggregate.param, aggregate.op.param()) {
            self.expect(param, wanted, "aggregation parameter");
        }
    }

    fn expect(&mut self, expr: &mut Expr, wanted: ValueType, context: &str) {
        let got = self.expr(expr);
        if got != wanted {
            self.report(expr.span, expected_type(wanted, context, got));
        }
    }

    fn binary(&mut self, binary: &mut Binary, span: TextRange, left: ValueType) -> ValueType {
        let right = self.expr(&mut binary.rhs);
        let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
        if binary.return_bool && !binary.op.is_comparison() {
            self.report(
                self.op_range(binary),
                "bool modifier can only be used on comparison operators",
            );
        }
        if binary.op.is_comparison() && !binary.return_bool && scalars {
            self.report(
                self.op_range(binary),
                "comparisons between scalars must use BOOL modifier",
            );
        }
        if let Some(matching) = &mut binary.matching
            && binary.op.is_set()
            && matching.cardinality == Cardinality::OneToOne
        {
            matching.cardinality = Cardinality::ManyToMany;
        }
        self.shared_labels(binary);
        for (value_type, operand) in [(left, &binary.lhs), (right, &binary.rhs)] {
            if !is_scalar_or_vector(value_type) {
                let what = "binary expression must contain only scalar and instant vector types";
                self.report(operand.span, what);
            }
        }
        if left == ValueType::Vector && right == ValueType::Vector {
            self.matching_of_vectors(binary, span);
        } else if let Some(matching) = binary.matching.take() {
            self.matching_without_vectors(&matching, span);
        }
        if binary.op.is_set() && (left == ValueType::Scalar || right == ValueType::Scalar) {
            let op = quoted(binary.op.name().as_bytes());
            self.report(span, format!("set operator {op} not allowed in binary scalar expression"));
        }
        if scalars { ValueType::Scalar } else { ValueType::Vector }
    }

    /// Reports labels that stand both in `on (…)` and in `group_left (…)` or `group_right (…)`.
    fn shared_labels(&mut self, binary: &Binary) {
        let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on) else {
            return;
        };
        if matching.include.is_empty() {
            return;
        }
        let mut times = HashMap::<&str, usize>::new();
        for label in &matching.include {
            *times.entry(label).or_default() += 1;
        }
        let shared = matching.labels.iter().flat_map(|label| {
            std::iter::repeat_n(label, times.get(label.as_str()).copied().unwrap_or_default())
        });
        for label in shared.take(REPORTS_MAX) {
            let what = "must not occur in ON and GROUP clause at once";
            let label = quoted(label.as_bytes());
            self.report(self.op_range(binary), format!("label {label} {what}"));
        }
    }

    fn matching_of_vectors(&mut self, binary: &Binary, span: TextRange) {
        let Some(matching) = binary.matching.as_ref().filter(|_| binary.op.is_set()) else {
            return;
        };
        if matches!(matching.cardinality, Cardinality::OneToMany | Cardinality::ManyToOne) {
            let op = quoted(binary.op.name().as_bytes());
            self.report(span, format!("no grouping allowed for {op} operation"));
        }
        if matching.cardinality != Cardinality::ManyToMany {
            self.report(span, "set operations must always be many-to-many");
        }
        if has_fill(matching) {
            self.report(span, "filling in missing series not allowed for set operators");
        }
    }

    fn matching_without_vectors(&mut self, matching: &VectorMatching, span: TextRange) {
        if !matching.labels.is_empty() {
            self.report(span, "vector matching only allowed between instant vectors");
        }
        if has_fill(matching) {
            self.report(span, "filling in missing series only allowed between instant vectors");
        }
    }

    /// Where an operator and its modifiers stand; as upstream has it, up to their last byte, not behind it.
    fn op_range(&self, binary: &Binary) -> TextRange {
        let (from, to) = (binary.lhs.span.end as usize, binary.rhs.span.start as usize);
        let between = self.text.get(from..to).unwrap_or_default();
        let before = between.iter().take_while(|byte| is_space(**byte)).count();
        let behind = between.iter().rev().take_while(|byte| is_space(**byte)).count();
        TextRange { start: offset(from + before), end: offset((to - behind).saturating_sub(1)) }
    }

    fn call(&mut self, call: &mut Call, span: TextRange) {
        let function = call.function;
        let name = quoted(function.name.as_bytes());
        self.argument_count(call, &name, span);
        let labels_only = function.name == "info";
        if labels_only {
            self.info_labels(call, &name, span);
        }
        for (index, arg) in call.args.iter_mut().enumerate() {
            let wanted = match function.args.get(index) {
                Some(wanted) => *wanted,
                // Too many arguments; that has been reported.
                None if function.variadic == 0 => break,
                None => match function.args.last() {
                    Some(wanted) => *wanted,
                    None => break,
                },
            };
            let got = match &arg.kind {
                ExprKind::Vector(selector) if labels_only && index == 1 => {
                    self.selector(selector, arg.span, selector.name.is_none());
                    ValueType::Vector
                }
                _ => self.expr(arg),
            };
            if got != wanted {
                let context = format!("call to function {name}");
                self.report(arg.span, expected_type(wanted, &context, got));
            }
        }
    }

    fn argument_count(&mut self, call: &Call, name: &str, span: TextRange) {
        let (wanted, got) = (call.function.args.len(), call.args.len());
        let (at_least, at_most) = match call.function.variadic {
            0 => (wanted, Some(wanted)),
            variadic => (wanted - 1, usize::try_from(variadic).ok().map(|more| wanted - 1 + more)),
        };
        let bound = match at_most {
            Some(_) if call.function.variadic == 0 && got != wanted => format!("{wanted}"),
            _ if got < at_least => format!("at least {at_least}"),
            Some(at_most) if got > at_most => format!("at most {at_most}"),
            _ => return,
        };
        self.report(span, format!("expected {bound} argument(s) in call to {name}, got {got}"));
    }

    /// The second argument of `info` is no vector but a set of conditions, so it must not name a metric.
    fn info_labels(&mut self, call: &Call, name: &str, span: TextRange) {
        let Some(arg) = call.args.get(1) else { return };
        let got = arg.value_type();
        if got != ValueType::Vector {
            let context = format!("call to function {name}");
            self.report(span, expected_type(ValueType::Vector, &context, got));
        }
        match &arg.kind {
            ExprKind::Vector(selector) if selector.name.is_none() => {}
            ExprKind::Vector(_) => {
                self.report(arg.span, "expected label selectors only, got vector selector instead");
            }
            _ => self.report(arg.span, "expected label selectors only"),
        }
    }

    fn selector(&mut self, selector: &VectorSelector, span: TextRange, may_match_all: bool) {
        if let Some(name) = &selector.name {
            // The last condition is that name itself.
            let others = selector.matchers.iter().rev().skip(1).rev();
            for matcher in others.filter(|matcher| matcher.name() == METRIC_NAME).take(REPORTS_MAX)
            {
                let (name, other) = (quoted(name.as_bytes()), quoted(matcher.value().as_bytes()));
                self.report(span, format!("metric name must not be set twice: {name} or {other}"));
            }
        } else if !may_match_all && selector.matchers.iter().all(Matcher::matches_empty) {
            self.report(span, "vector selector must contain at least one non-empty matcher");
        }
    }
}

fn expected_type(wanted: ValueType, context: &str, got: ValueType) -> String {
    format!("expected type {} in {context}, got {}", wanted.documented(), got.documented())
}

fn is_scalar_or_vector(value_type: ValueType) -> bool {
    matches!(value_type, ValueType::Scalar | ValueType::Vector)
}

fn has_fill(matching: &VectorMatching) -> bool {
    matching.fill_left.is_some() || matching.fill_right.is_some()
}

#[cfg(test)]
mod tests {
    use crate::query::ast::{Cardinality, ExprKind, VectorMatching};
    use crate::query::parser::testing::{assert_fault, faults, parsed};

    #[test]
    fn arguments_have_the_types_that_functions_want() {
        let context = "in call to function";
        assert_fault(
            "rate(a)",
            "a",
            &format!("expected type range vector {context} \"rate\", got instant vector"),
        );
        assert_fault(
            "abs(1)",
            "1",
            &format!("expected type instant vector {context} \"abs\", got scalar"),
        );
        assert_fault(
            "vector(\"s\")",
            "\"s\"",
            &format!("expected type scalar {context} \"vector\", got string"),
        );
        assert_fault(
            "label_join(a, \"b\", \"c\", \"d\", 5)",
            "5",
            &format!("expected type string {context} \"label_join\", got scalar"),
        );
    }

    #[test]
    fn functions_say_how_many_arguments_they_take() {
        assert_fault("abs()", "abs()", "expected 1 argument(s) in call to \"abs\", got 0");
        assert_fault("time(1)", "time(1)", "expected 0 argument(s) in call to \"time\", got 1");
        assert_fault(
            "hour(a, a)",
            "hour(a, a)",
            "expected at most 1 argument(s) in call to \"hour\", got 2",
        );
        assert_fault(
            "label_join(a)",
            "label_join(a)",
            "expected at least 3 argument(s) in call to \"label_join\", got 1",
        );
        for text in [
            "hour()",
            "round(a)",
            "label_join(a, \"b\", \"c\")",
            "label_join(a, \"b\", \"c\", \"d\", \"e\")",
        ] {
            assert!(faults(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn aggregations_take_vectors_and_parameters_of_their_type() {
        assert_fault(
            "sum(1)",
            "1",
            "expected type instant vector in aggregation expression, got scalar",
        );
        assert_fault(
            "topk(a, b)",
            "a",
            "expected type scalar in aggregation parameter, got instant vector",
        );
        assert_fault(
            "count_values(1, b)",
            "1",
            "expected type string in aggregation parameter, got scalar",
        );
    }

    #[test]
    fn operators_take_scalars_and_instant_vectors() {
        let message = "binary expression must contain only scalar and instant vector types";
        assert_fault("a[5m] + 1", "a[5m]", message);
        assert_fault("1 + \"s\"", "\"s\"", message);
        assert_fault(
            "-\"s\"",
            "-\"s\"",
            "unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        );
        assert_fault(
            "(1)[5m:]",
            "(1)[5m:]",
            "subquery is only allowed on instant vector, got scalar instead",
        );
    }

    #[test]
    fn bool_belongs_to_comparisons_and_comparisons_of_scalars_need_it() {
        assert_fault(
            "a + bool b",
            "+ boo",
            "bool modifier can only be used on comparison operators",
        );
        assert_fault("1 == 1", "=", "comparisons between scalars must use BOOL modifier");
        assert!(faults("1 == bool 1 > bool 2").is_empty());
    }

    #[test]
    fn sets_are_of_vectors_and_many_to_many() {
        assert_fault(
            "1 and a",
            "1 and a",
            "set operator \"and\" not allowed in binary scalar expression",
        );
        let found = faults("a and on(b) group_left(c) d");
        let messages: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "no grouping allowed for \"and\" operation",
                "set operations must always be many-to-many"
            ]
        );
        assert_fault(
            "a or fill(1) b",
            "a or fill(1) b",
            "filling in missing series not allowed for set operators",
        );
        assert_eq!(matching("a or b").map(|m| m.cardinality), Some(Cardinality::ManyToMany));
    }

    fn matching(text: &str) -> Option<VectorMatching> {
        let ExprKind::Binary(mut binary) = parsed(text).kind else { panic!("an operator") };
        binary.matching.take()
    }

    #[test]
    fn only_vectors_are_matched() {
        assert!(matching("a + b").is_some());
        assert_eq!(matching("a + 1"), None);
        assert_fault(
            "a + on(b) 1",
            "a + on(b) 1",
            "vector matching only allowed between instant vectors",
        );
        assert_fault(
            "1 + fill(0) a",
            "1 + fill(0) a",
            "filling in missing series only allowed between instant vectors",
        );
    }

    #[test]
    fn a_label_that_is_matched_on_is_not_also_copied() {
        let message = "label \"b\" must not occur in ON and GROUP clause at once";
        assert_fault("a + on(b) group_left(b) c", "+ on(b) group_left(b", message);
        assert!(faults("a + ignoring(b) group_left(b) c").is_empty());
    }

    #[test]
    fn a_selector_names_one_metric_and_never_all_of_them() {
        assert_fault(
            "a{__name__=\"b\"}",
            "a{__name__=\"b\"}",
            "metric name must not be set twice: \"a\" or \"b\"",
        );
        let message = "vector selector must contain at least one non-empty matcher";
        for text in ["{}", "{a=\"\"}", "{a!=\"b\"}", "{a=~\".*\"}", "{a!~\".+\"}", "{a=~\"b|\"}"] {
            assert_fault(text, text, message);
        }
        for text in ["{a=\"b\"}", "{a!=\"\"}", "{a=~\".+\"}", "{a!~\".*\"}", "a{b=~\".*\"}"] {
            assert!(faults(text).is_empty(), "{text}");
        }
    }

    #[test] // or a megabyte of text could ask for gigabytes of messages
    fn the_same_rule_is_reported_a_hundred_times_at_most() {
        let (name, names) = ("x".repeat(1000), vec!["\"y\""; 1000].join(","));
        assert_eq!(faults(&format!("{name}{{{names}}}")).len(), 100);
        let labels = vec![name; 1000].join(",");
        assert_eq!(faults(&format!("a + on({labels}) group_left({labels}) b")).len(), 100);
    }

    #[test]
    fn the_second_argument_of_info_is_a_set_of_conditions() {
        assert!(faults("info(a, {b=~\".*\"})").is_empty());
        assert_fault(
            "info(a, b)",
            "b",
            "expected label selectors only, got vector selector instead",
        );
        assert_fault("info(a, sum(b))", "sum(b)", "expected label selectors only");
        assert_eq!(faults("info(a, 1)").len(), 3);
    }

    #[test]
    fn types_are_checked_only_where_the_text_parses() {
        assert_fault("abs(1) b", "b", "unexpected identifier \"b\"");
    }
}
