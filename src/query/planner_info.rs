//! Planning of `info()`: which series say something about others, and at which instants they are asked.
//!
//! They are selected by a leaf of their own, and brought together with what they are about where all of it is. What is
//! said of a series is what was said at the time that its samples are of: the modifiers of the first selector in the first
//! argument, and of the subqueries around it, hold for the info series, too.
//! Source: `promql/info.go`.

use super::ast::{At, Call, Expr, ExprKind, MatchOp, Subquery, VectorSelector};
use super::duration_expr::milliseconds;
use super::error::QueryError;
use super::grid::Grid;
use super::leaf::{Fold, Leaf, NameRule};
use super::plan::{InfoCall, NodeId, NodeKind};
use super::planner::Planner;
use super::planner_leaf::LeafDraft;
use crate::model::Matcher;
use crate::model::labels::METRIC_NAME;

/// The labels that an info series has in common with the series that it says something of.
pub(super) const IDENTIFYING_LABELS: [&str; 2] = ["instance", "job"];

/// The info metric, if none is named.
const TARGET_INFO: &str = "target_info";

/// What the names of info metrics are like, if it is only said which they are not.
const INFO_NAMES: &str = ".+_info";

impl Planner<'_> {
    /// Plans `info(v)` or `info(v, {…})`.
    pub(super) fn info(
        &mut self,
        expr: &Expr,
        call: &Call,
        grid: Grid,
    ) -> Result<NodeId, QueryError> {
        let internal = |what: &str| QueryError::Internal(format!("info() {what}"));
        let base = call.args.first().ok_or_else(|| internal("lacks an argument"))?;
        let (conditions, span) = match call.args.get(1).map(|arg| (&arg.kind, arg.span)) {
            None => (Vec::new(), expr.span),
            Some((ExprKind::Vector(selector), span)) => (selector.matchers.clone(), span),
            Some(_) => return Err(internal("lacks its conditions")),
        };
        let (names, data): (Vec<Matcher>, Vec<Matcher>) =
            conditions.into_iter().partition(|matcher| matcher.name() == METRIC_NAME);
        let names = effective_names(names)?;
        let mut matchers = names.clone();
        matchers.extend(data.iter().cloned());
        matchers.extend(self.identities_of(base, grid)?);
        let (at, offset) = self.reference_time(base)?;
        let leaf = Leaf {
            matchers,
            shape: self.shape(grid, self.options.lookback_ms, offset, at),
            fold: Fold::InfoTime,
            maps: Vec::new(),
            name: NameRule::Keep,
            reduce: None,
            stats_only: false,
            wants_starts: false,
            looks_at_types: self.options.looks_at_types,
            counts_reads: self.options.counts_reads,
            span,
            samples_max: self.options.samples_max,
        };
        let draft = (grid.count > 0).then_some(LeafDraft { leaf, one_name: false });
        let base = self.plan_arg(base, grid)?;
        let infos = self.push_leaf(draft, grid, span);
        let call = InfoCall { base, infos, names, data };
        Ok(self.push(NodeKind::Info(Box::new(call)), grid, expr.span))
    }

    /// What all series of `base` are known to have in their identifying labels, so that no shard has to look at info series
    /// of others. A condition that a series without the label meets is none: it may not hold for what is asked of info
    /// series.
    fn identities_of(&self, base: &Expr, grid: Grid) -> Result<Vec<Matcher>, QueryError> {
        let Some(Some(LeafDraft { leaf, .. })) = self.leaf_of(base, grid)? else {
            return Ok(Vec::new());
        };
        let identifies = |matcher: &Matcher| {
            IDENTIFYING_LABELS.contains(&matcher.name()) && !matcher.matches_empty()
        };
        Ok(leaf.matchers.into_iter().filter(identifies).collect())
    }

    /// The time that the samples of `base` are of, as far as its first selector says: its `@`, or that of the innermost
    /// subquery around it that has one, and the sum of the offsets up to there.
    fn reference_time(&self, base: &Expr) -> Result<(Option<At>, i64), QueryError> {
        let mut around: Vec<&Subquery> = Vec::new();
        let mut ahead = vec![(base, 0)];
        let selector: &VectorSelector = loop {
            let Some((expr, depth)) = ahead.pop() else {
                return Ok((None, 0));
            };
            around.truncate(depth);
            match &expr.kind {
                ExprKind::Vector(selector) => break selector,
                ExprKind::Matrix(matrix) => break &matrix.selector,
                ExprKind::Number(_) | ExprKind::String(_) => {}
                ExprKind::Paren(inner) => ahead.push((inner, depth)),
                ExprKind::Unary(unary) => ahead.push((&unary.expr, depth)),
                ExprKind::Binary(binary) => {
                    ahead.extend([(&binary.rhs, depth), (&binary.lhs, depth)]);
                }
                ExprKind::Aggregate(aggregate) => {
                    ahead.extend(aggregate.param.as_ref().map(|param| (param, depth)));
                    ahead.push((&aggregate.expr, depth));
                }
                ExprKind::Call(call) => {
                    ahead.extend(call.args.iter().rev().map(|arg| (arg, depth)));
                }
                ExprKind::Subquery(subquery) => {
                    around.push(subquery);
                    ahead.push((&subquery.expr, depth + 1));
                }
            }
        };
        let mut at = selector.at;
        let mut offset = milliseconds(&selector.offset, true, &self.durations)?;
        while let (None, Some(subquery)) = (at, around.pop()) {
            let more = milliseconds(&subquery.offset, true, &self.durations)?;
            (at, offset) = (subquery.at, offset.saturating_add(more));
        }
        Ok((at, offset))
    }
}

/// What is asked of the names of info series.
fn effective_names(mut names: Vec<Matcher>) -> Result<Vec<Matcher>, QueryError> {
    if names.is_empty() {
        return Ok(vec![Matcher::equal(METRIC_NAME, TARGET_INFO)]);
    }
    let is_positive = |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
    if !names.iter().any(is_positive) {
        let like_info = Matcher::new(METRIC_NAME, MatchOp::Regex, INFO_NAMES);
        names.insert(0, like_info.map_err(|error| QueryError::Internal(error.to_string()))?);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::query::prepare::{EvalRange, Options, Prepared, prepare};

    fn prepared(query: &str) -> Prepared {
        let parse = crate::query::parser::ParseOptions::ALL;
        let options = Options { parse, ..Options::default() };
        let range = EvalRange::range(TimestampMs(600_000), TimestampMs(660_000), 60_000);
        prepare(query, range, &options).unwrap()
    }

    /// The leaf of the info series, which comes last.
    fn leaf(query: &str) -> Leaf {
        prepared(query).leaves().last().unwrap().clone()
    }

    #[test]
    fn info_series_are_looked_for_where_the_samples_of_the_first_selector_are_from() {
        let check = |base: &str, first_end: i64, end_step: i64| {
            let shape = leaf(&format!("info({base}, {{a=\"b\"}})")).shape;
            assert_eq!((shape.first_end, shape.end_step), (first_end * 1000, end_step), "{base}");
        };
        check("x", 600, 60_000);
        check("x offset 1m", 540, 60_000);
        check("x @ 100 offset 1m", 40, 0);
        check("x @ start()", 600, 0);
        check("rate(x[5m] offset 1m)", 540, 60_000);
        check("(sum by (job) (-x offset 2m)) / y offset 1m", 480, 60_000);
        check("1 + x offset 1m", 540, 60_000);
        check("topk(scalar(y @ 5), x offset 1m)", 540, 60_000);
        check("max_over_time(x[5m:1m] offset 3m)", 420, 60_000);
        check("max_over_time((x offset 1m)[5m:1m] offset 3m)", 360, 60_000);
        check("max_over_time((x offset 1m)[5m:1m] @ 300 offset 3m)", 60, 0);
        check("max_over_time((x @ 200 offset 1m)[5m:1m] @ 300 offset 3m)", 140, 0);
        check("max_over_time(max_over_time(x[2m:1m] offset 10s)[5m:1m] offset 1m)", 530, 60_000);
        check("max_over_time(vector(1)[5m:1m] offset 3m) + x", 600, 60_000);
        check("vector(1)", 600, 60_000);
    }

    #[test]
    fn shards_look_only_for_info_series_that_a_selector_allows() {
        let check = |query: &str, expected: &[&str]| {
            let conditions = leaf(query).matchers;
            let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
            assert_eq!(conditions, expected, "{query}");
        };
        check(r"info(x)", &[r#"__name__="target_info""#]);
        check(
            r#"info(rate(x{job="a",instance!="",pod="p"}[5m]))"#,
            &[r#"__name__="target_info""#, r#"job="a""#, r#"instance!="""#],
        );
        check(r#"info(x{job!="a"})"#, &[r#"__name__="target_info""#]);
        check(r#"info(x{job="a"} + x{job="a"})"#, &[r#"__name__="target_info""#]);
        check(
            r#"info(x, {data="d", __name__!="a_info"})"#,
            &[r#"__name__=~".+_info""#, r#"__name__!="a_info""#, r#"data="d""#],
        );
        check(r#"info(x, {__name__=~".*"})"#, &[r#"__name__=~".*""#]);
        check(r#"info(x, {data="d"})"#, &[r#"__name__="target_info""#, r#"data="d""#]);
    }
}
