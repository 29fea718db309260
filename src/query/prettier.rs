//! Writes a tree back as text on several lines, as `format_query` gives it.
//!
//! What takes no more than a line stays on one, in the spelling of `printer`; what is longer is taken apart,
//! and each part stands on lines of its own, two spaces further in. The layout is Prometheus's, subqueries included, which it
//! does not indent where they fit a line (`promql/parser/prettier.go`, 3.14).
//!
//! A chain of operators is indented by one step more for each of them, so a layout may grow with the square of its text:
//! past [`BYTES_MAX`] there is none.

use super::ast::{Aggregate, Binary, Expr, ExprKind, Number, Subquery, TextRange};

/// A line may have this many bytes before it is taken apart, its indentation not counted.
const LINE_BYTES_MAX: usize = 100;

/// A layout may have this many bytes.
pub const BYTES_MAX: usize = 16 << 20;

const INDENT: &str = "  ";

/// The expression would take more than [`BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the formatted query would be longer than {BYTES_MAX} bytes")]
pub struct TooLong;

/// The expression as text on several lines.
///
/// # Errors
/// It is longer than any layout may be.
pub fn prettify(expr: &Expr) -> Result<String, TooLong> {
    prettify_at(expr, LINE_BYTES_MAX)
}

/// The same, with lines of another length.
fn prettify_at(expr: &Expr, line_bytes_max: usize) -> Result<String, TooLong> {
    let mut layout = Layout { out: String::new(), line_bytes_max };
    layout.expr(expr, 0, false)?;
    Ok(layout.out)
}

/// A layout being written.
struct Layout {
    out: String,
    line_bytes_max: usize,
}

impl Layout {
    /// Writes an expression whose first line is indented by `level` steps. Does an arithmetic operator follow it? An offset at
    /// its end must then not swallow that.
    fn expr(&mut self, expr: &Expr, level: usize, follows: bool) -> Result<(), TooLong> {
        match &expr.kind {
            ExprKind::Matrix(_)
            | ExprKind::Vector(_)
            | ExprKind::Number(_)
            | ExprKind::String(_) => self.line(expr, level, follows),
            ExprKind::Subquery(subquery) => self.subquery(expr, subquery, level, follows),
            ExprKind::Unary(unary) => {
                self.indent(level)?;
                self.text(if unary.negative { "-" } else { "+" })?;
                let sign_ends = self.out.len();
                self.expr(&unary.expr, level, follows)?;
                // The sign has the indentation that the operand brings, too.
                let operand = self.out.split_off(sign_ends);
                self.text(operand.trim())
            }
            _ if !self.needs_split(expr) => self.line(expr, level, follows),
            ExprKind::Binary(_) => self.chain(expr, level, follows),
            ExprKind::Aggregate(aggregate) => {
                self.indent(level)?;
                self.text(&before_parenthesis(aggregate))?;
                self.text("(\n")?;
                if let Some(param) = &aggregate.param {
                    self.expr(param, level + 1, false)?;
                    self.text(",\n")?;
                }
                self.expr(&aggregate.expr, level + 1, false)?;
                self.close(level)
            }
            ExprKind::Call(call) => {
                self.indent(level)?;
                self.text(call.function.name)?;
                self.text("(\n")?;
                for (index, arg) in call.args.iter().enumerate() {
                    self.text(if index > 0 { ",\n" } else { "" })?;
                    self.expr(arg, level + 1, false)?;
                }
                self.close(level)
            }
            ExprKind::Paren(inner) => {
                self.indent(level)?;
                self.text("(\n")?;
                self.expr(inner, level + 1, false)?;
                self.close(level)
            }
        }
    }

    /// Writes operators that do not fit a line: each further one to the left stands one step further in, down to what fits.
    fn chain(&mut self, expr: &Expr, level: usize, follows: bool) -> Result<(), TooLong> {
        let (mut above, mut current): (Vec<&Binary>, _) = (Vec::new(), expr);
        while let ExprKind::Binary(binary) = &current.kind
            && self.needs_split(current)
        {
            above.push(binary);
            current = &binary.lhs;
        }
        let follows_lhs = above.last().is_some_and(|binary| binary.op.is_arithmetic());
        self.expr(current, level + above.len(), follows_lhs)?;
        while let Some(binary) = above.pop() {
            let level = level + above.len();
            let follows = above.last().map_or(follows, |parent| parent.op.is_arithmetic());
            self.text("\n")?;
            self.indent(level)?;
            self.text(&operator(binary))?;
            self.text("\n")?;
            self.expr(&binary.rhs, level + 1, follows)?;
        }
        Ok(())
    }

    fn subquery(
        &mut self,
        expr: &Expr,
        subquery: &Subquery,
        level: usize,
        follows: bool,
    ) -> Result<(), TooLong> {
        let whole = text(expr, follows);
        if whole.len() <= self.line_bytes_max {
            return self.text(&whole);
        }
        self.expr(&subquery.expr, level, false)?;
        let suffix = whole.get(subquery.expr.to_text().len()..).unwrap_or_default();
        self.text(suffix)
    }

    /// Writes an expression on one line.
    fn line(&mut self, expr: &Expr, level: usize, follows: bool) -> Result<(), TooLong> {
        self.indent(level)?;
        self.text(&text(expr, follows))
    }

    fn close(&mut self, level: usize) -> Result<(), TooLong> {
        self.text("\n")?;
        self.indent(level)?;
        self.text(")")
    }

    fn indent(&mut self, level: usize) -> Result<(), TooLong> {
        self.fits(level.saturating_mul(INDENT.len()))?;
        self.out.extend(std::iter::repeat_n(INDENT, level));
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), TooLong> {
        self.fits(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn fits(&self, bytes: usize) -> Result<(), TooLong> {
        let fits = self.out.len().saturating_add(bytes) <= BYTES_MAX;
        if fits { Ok(()) } else { Err(TooLong) }
    }

    /// Is the expression too long for a line? Only what may fit one is written to see: a long one is asked for each of its
    /// parts.
    fn needs_split(&self, expr: &Expr) -> bool {
        has_at_least(expr, self.line_bytes_max + 1) || expr.to_text().len() > self.line_bytes_max
    }
}

/// The expression on one line; does an arithmetic operator follow it?
fn text(expr: &Expr, follows: bool) -> String {
    if !follows {
        return expr.to_text();
    }
    // The printer minds it if it sees it.
    let sum = Binary {
        op: super::ast::BinaryOp::Add,
        op_span: TextRange::default(),
        lhs: expr.clone(),
        rhs: zero(),
        return_bool: false,
        matching: None,
    };
    let mut text = one(ExprKind::Binary(Box::new(sum))).to_text();
    text.truncate(text.len().saturating_sub(" + 0".len()));
    text
}

/// `on (a) group_left ()` and the like, behind the operator's name.
fn operator(binary: &Binary) -> String {
    let bare = Binary {
        op: binary.op,
        op_span: binary.op_span,
        lhs: zero(),
        rhs: zero(),
        return_bool: binary.return_bool,
        matching: binary.matching.clone(),
    };
    let text = one(ExprKind::Binary(Box::new(bare))).to_text();
    let operator = text.strip_prefix("0 ").and_then(|text| text.strip_suffix(" 0"));
    operator.unwrap_or_default().to_owned()
}

/// `sum by (a) `, up to the parenthesis.
fn before_parenthesis(aggregate: &Aggregate) -> String {
    let bare = Aggregate {
        op: aggregate.op,
        expr: zero(),
        param: None,
        grouping: aggregate.grouping.clone(),
        without: aggregate.without,
    };
    let mut text = one(ExprKind::Aggregate(Box::new(bare))).to_text();
    text.truncate(text.len().saturating_sub("(0)".len()));
    text
}

fn one(kind: ExprKind) -> Expr {
    Expr { kind, span: TextRange::default() }
}

fn zero() -> Expr {
    one(ExprKind::Number(Number { value: 0.0, is_duration: false }))
}

/// Does the expression have this many bytes as text, as far as can be told without writing it? Looks at no more than so many
/// of its parts. `false` if it may have fewer.
fn has_at_least(expr: &Expr, bytes: usize) -> bool {
    let (mut found, mut left) = (0usize, vec![expr]);
    while let Some(expr) = left.pop() {
        found = found.saturating_add(match &expr.kind {
            ExprKind::Aggregate(aggregate) => {
                left.extend(aggregate.param.iter().chain([&aggregate.expr]));
                aggregate.op.name().len() + "()".len()
            }
            ExprKind::Binary(binary) => {
                left.extend([&binary.rhs, &binary.lhs]);
                binary.op.name().len() + 2
            }
            ExprKind::Call(call) => {
                // No more of them than can matter: a call may have millions.
                left.extend(call.args.iter().take(bytes));
                call.function.name.len() + "()".len()
            }
            ExprKind::Subquery(subquery) => {
                left.push(&subquery.expr);
                "[:]".len()
            }
            ExprKind::Paren(inner) => {
                left.push(inner);
                "()".len()
            }
            ExprKind::Unary(unary) => {
                left.push(&unary.expr);
                1
            }
            ExprKind::String(string) => string.value.len(),
            ExprKind::Matrix(_) | ExprKind::Number(_) | ExprKind::Vector(_) => 1,
        });
        if found >= bytes {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::parser::{ParseOptions, parse_expr};

    fn parsed(text: &str) -> Expr {
        parse_expr(text, &ParseOptions::ALL).unwrap()
    }

    /// With lines of ten bytes, as upstream tests it.
    fn check(text: &str, want: &str) {
        assert_eq!(prettify_at(&parsed(text), 10).unwrap(), want, "{text}");
    }

    #[test]
    fn aggregations() {
        check("sum(foo)", "sum(foo)");
        for text in [
            r#"sum without(job,foo) (task:errors:rate10s{job="s"})"#,
            r#"sum(task:errors:rate10s{job="s"}) without(job,foo)"#,
        ] {
            check(text, "sum without (job, foo) (\n  task:errors:rate10s{job=\"s\"}\n)");
        }
        check(
            r#"sum by() (task:errors:rate10s{job="s"})"#,
            "sum(\n  task:errors:rate10s{job=\"s\"}\n)",
        );
        check(
            r#"topk(10, ask:errors:rate10s{job="s"})"#,
            "topk(\n  10,\n  ask:errors:rate10s{job=\"s\"}\n)",
        );
        check(
            r#"sum by(job,foo) # Comment 1.
(sum by(job,foo) ( # Comment 2.
task:errors:rate10s{job="s"}))"#,
            r#"sum by (job, foo) (
  sum by (job, foo) (
    task:errors:rate10s{job="s"}
  )
)"#,
        );
        check(
            r#"sum by(job,foo) (sum by(job,foo) (sum by(job,foo) (task:errors:rate10s{job="s"})))"#,
            r#"sum by (job, foo) (
  sum by (job, foo) (
    sum by (job, foo) (
      task:errors:rate10s{job="s"}
    )
  )
)"#,
        );
    }

    #[test]
    fn operators() {
        check("a+b", "a + b");
        check("a == bool 1", "  a\n== bool\n  1");
        check("a + ignoring(job) b", "  a\n+ ignoring (job)\n  b");
        check("foo_1 + foo_2", "  foo_1\n+\n  foo_2");
        check("foo_1 + foo_2 + foo_3", "    foo_1\n  +\n    foo_2\n+\n  foo_3");
        check("foo + baar + foo_3", "  foo + baar\n+\n  foo_3");
        check(
            "foo_1 + ignoring(foo) foo_2 + ignoring(job) group_left foo_3 + on(instance) group_right foo_4",
            "      foo_1
    + ignoring (foo)
      foo_2
  + ignoring (job) group_left ()
    foo_3
+ on (instance) group_right ()
  foo_4",
        );
    }

    #[test]
    fn calls() {
        check("rate(foo[1m])", "rate(\n  foo[1m]\n)");
        check(
            "rate(long_vector_selector[10m:1m] @ start() offset 1m)",
            "rate(\n  long_vector_selector[10m:1m] @ start() offset 1m\n)",
        );
        check(
            "histogram_quantile(0.9, rate(foo[1m]))",
            "histogram_quantile(\n  0.9,\n  rate(\n    foo[1m]\n  )\n)",
        );
        check(
            "max_over_time(rate(demo_api_request_duration_seconds_count[1m])[1m:] @ start() offset 1m)",
            "max_over_time(
  rate(
    demo_api_request_duration_seconds_count[1m]
  )[1m:] @ start() offset 1m
)",
        );
        check(
            r#"label_replace(label_replace(up{job="api-server",service="a:c"}, "foo", "$1", "service", "(.*):.*"), "foo", "$1", "service", "(.*):.*")"#,
            r#"label_replace(
  label_replace(
    up{job="api-server",service="a:c"},
    "foo",
    "$1",
    "service",
    "(.*):.*"
  ),
  "foo",
  "$1",
  "service",
  "(.*):.*"
)"#,
        );
        check("rate(foo[2*1h])", "rate(\n  foo[2 * 1h]\n)");
        check("rate(foo[-5m+35m])", "rate(\n  foo[-5m + 35m]\n)");
    }

    #[test]
    fn parentheses() {
        check("(foo)", "(foo)");
        check("(_foo_long_)", "(\n  _foo_long_\n)");
        check("((foo_long))", "(\n  (foo_long)\n)");
        check("(((foo_long)))", "(\n  (\n    (foo_long)\n  )\n)");
        check("(1 + 2)", "(1 + 2)");
        check("(foo + bar)", "(\n  foo + bar\n)");
        check("(foo_long + bar_long)", "(\n    foo_long\n  +\n    bar_long\n)");
        check(
            "((foo_long + bar_long) + bar_2_long)",
            "(\n    (\n        foo_long\n      +\n        bar_long\n    )\n  +\n    bar_2_long\n)",
        );
    }

    #[test]
    fn selectors_stay_on_their_line() {
        check("a @ 1", "a @ 1.000");
        check("vector_selector @ start()", "vector_selector @ start()");
    }

    #[test]
    fn signs_stand_before_what_they_are_of() {
        check("-1", "-1");
        check("-vector_selector", "-vector_selector");
        check("(-vector_selector)", "(\n  -vector_selector\n)");
        check(
            "(-histogram_quantile(0.9, -rate(foo[1m] @ start())))",
            "(
  -histogram_quantile(
    0.9,
    -rate(
      foo[1m] @ start()
    )
  )
)",
        );
    }

    #[test] // those of upstream's tests that come from https://monitoring.mixins.dev/
    fn rules_as_people_write_them() {
        check(
            r#"(node_filesystem_avail_bytes{job="node",fstype!=""} / node_filesystem_size_bytes{job="node",fstype!=""} * 100 < 40 and predict_linear(node_filesystem_avail_bytes{job="node",fstype!=""}[6h], 24*60*60) < 0 and node_filesystem_readonly{job="node",fstype!=""} == 0)"#,
            r#"(
            node_filesystem_avail_bytes{fstype!="",job="node"}
          /
            node_filesystem_size_bytes{fstype!="",job="node"}
        *
          100
      <
        40
    and
        predict_linear(
          node_filesystem_avail_bytes{fstype!="",job="node"}[6h],
            24 * 60
          *
            60
        )
      <
        0
  and
      node_filesystem_readonly{fstype!="",job="node"}
    ==
      0
)"#,
        );
        check(
            r#"1 - ((node_memory_MemAvailable_bytes{job="node"} or (node_memory_Buffers_bytes{job="node"} + node_memory_Cached_bytes{job="node"} + node_memory_MemFree_bytes{job="node"} + node_memory_Slab_bytes{job="node"}) ) / node_memory_MemTotal_bytes{job="node"})"#,
            r#"  1
-
  (
      (
          node_memory_MemAvailable_bytes{job="node"}
        or
          (
                  node_memory_Buffers_bytes{job="node"}
                +
                  node_memory_Cached_bytes{job="node"}
              +
                node_memory_MemFree_bytes{job="node"}
            +
              node_memory_Slab_bytes{job="node"}
          )
      )
    /
      node_memory_MemTotal_bytes{job="node"}
  )"#,
        );
        check(
            r#"(count by (job) (changes(process_start_time_seconds{job="alertmanager"}[10m]) > 4) / count by (job) (up{job="alertmanager"})) >= 0.5"#,
            r#"  (
      count by (job) (
          changes(
            process_start_time_seconds{job="alertmanager"}[10m]
          )
        >
          4
      )
    /
      count by (job) (
        up{job="alertmanager"}
      )
  )
>=
  0.5"#,
        );
    }

    #[test]
    fn what_fits_a_hundred_bytes_is_one_line() {
        let text = format!("{} + b", "a".repeat(96));
        assert_eq!(prettify(&parsed(&text)), Ok(text));
        let text = format!("{} + b", "a".repeat(97));
        assert_eq!(prettify(&parsed(&text)), Ok(format!("  {}\n+\n  b", "a".repeat(97))));
    }

    #[test] // its indentation alone would take gigabytes
    fn a_chain_of_a_hundred_thousand_operators_is_refused() {
        let text = vec!["a"; 100_000].join(" + ");
        assert_eq!(prettify(&parsed(&text)), Err(TooLong));
    }

    #[test] // upstream loses the parentheses here, and the next operator with them
    fn an_offset_ends_where_it_ended() {
        check("long_name offset (5) @ 1 - 3", "  long_name @ 1.000 offset +(5)\n-\n  3");
    }

    proptest! {
        #[test]
        fn what_is_written_parses_to_the_same_tree(
            expr in crate::query::parser::trees::vector(),
            line_bytes_max in 0usize..60,
        ) {
            let pretty = prettify_at(&expr, line_bytes_max).unwrap();
            let back = parse_expr(&pretty, &ParseOptions::ALL);
            prop_assert_eq!(back.map(|back| back.to_text()), Ok(expr.to_text()), "{}", pretty);
        }
    }
}
