//! Turns a tree into a plan: decides for each part on which grid it is evaluated, and what of it the shards can do.

use super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Expr, ExprKind, MatrixSelector, Subquery, TextRange,
};
use super::duration_expr::{DurationContext, milliseconds};
use super::error::QueryError;
use super::grid::Grid;
use super::grouping::Grouping;
use super::invariance::{Invariances, unwrap_parens};
use super::leaf::{Fold, Leaf, NameRule, Param, Reduce, Shape};
use super::plan::{AggregateCall, BinaryCall, Node, NodeId, NodeKind};
use super::planner_leaf::LeafDraft;
use super::prepare::{EvalRange, Options};
use super::quote::quoted;
use super::said::Said;
use super::stats_only::StatsOnly;
use crate::model::allowance;

/// A plan in the making.
pub(super) struct Planner<'a> {
    text: &'a str,
    pub(super) range: EvalRange,
    pub(super) options: &'a Options,
    invariances: Invariances,
    pub(super) stats_only: StatsOnly,
    said: Said,
    pub(super) durations: DurationContext,
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
}

impl<'a> Planner<'a> {
    /// A planner for `expr`, which is `text` parsed.
    pub(super) fn new(text: &'a str, range: EvalRange, options: &'a Options, expr: &Expr) -> Self {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let durations = DurationContext {
            step: seconds(range.step()),
            range: seconds(range.end().saturating_sub(range.start())),
        };
        let (invariances, stats_only) = (Invariances::of(expr), StatsOnly::of(expr));
        let said = Said::of(expr, &stats_only);
        let (nodes, leaves) = (Vec::new(), Vec::new());
        Self { text, range, options, invariances, stats_only, said, durations, nodes, leaves }
    }

    /// The plan's nodes and leaves.
    pub(super) fn into_parts(self) -> (Vec<Node>, Vec<Leaf>) {
        (self.nodes, self.leaves)
    }

    /// Plans the whole query.
    pub(super) fn plan_root(&mut self, expr: &Expr) -> Result<NodeId, QueryError> {
        let grid = self.range.grid();
        if self.invariances.get(expr).wrap { self.once(expr, grid) } else { self.plan(expr, grid) }
    }

    pub(super) fn push(&mut self, kind: NodeKind, grid: Grid, span: TextRange) -> NodeId {
        self.nodes.push(Node { kind, grid, span, uses: 1 });
        self.nodes.len() - 1
    }

    pub(super) fn unsupported(&self, span: TextRange, what: &str) -> QueryError {
        QueryError::unsupported(self.text, span, what)
    }

    /// What metric names become under a function that changes the metric.
    pub(super) fn dropping(&self) -> NameRule {
        if self.options.delayed_name_removal { NameRule::Mark } else { NameRule::Drop }
    }

    /// Are metric names only taken off in the end?
    pub(super) fn delays_names(&self) -> bool {
        self.options.delayed_name_removal
    }

    /// Plans `expr` as the argument of something that is evaluated at every step of `grid`.
    pub(super) fn plan_arg(&mut self, expr: &Expr, grid: Grid) -> Result<NodeId, QueryError> {
        if self.invariances.get(expr).wrap { self.once(expr, grid) } else { self.plan(expr, grid) }
    }

    /// Plans `expr`, which is the same at all steps of `grid`, to be evaluated at the first one only.
    fn once(&mut self, expr: &Expr, grid: Grid) -> Result<NodeId, QueryError> {
        if grid.count <= 1 {
            return self.plan(expr, grid.first());
        }
        let node = self.plan(expr, grid.first())?;
        Ok(self.push(NodeKind::Broadcast(node), grid, expr.span))
    }

    /// Plans `expr` on `grid`. Recursion is bounded by the parser's nesting limit; chains of operators are walked in a
    /// loop.
    pub(super) fn plan(&mut self, expr: &Expr, grid: Grid) -> Result<NodeId, QueryError> {
        if grid.count > self.options.samples_max {
            return Err(QueryError::TooManySamples);
        }
        // Whatever is known now has a number for each step.
        if !allowance::take_numbers(grid.count) {
            return Err(QueryError::TooManySamples);
        }
        let mut chain = Vec::new();
        let (mut lowest, mut at) = (expr, grid);
        let mut lhs = loop {
            if let Some(node) = self.said_before(lowest, at) {
                break node;
            }
            if let Some(draft) = self.leaf_of(lowest, at)? {
                let node = self.push_leaf(draft, at, lowest.span);
                self.said.note(lowest, at, node);
                break node;
            }
            let ExprKind::Binary(binary) = &lowest.kind else {
                let node = self.plan_other(lowest, at)?;
                self.said.note(lowest, at, node);
                break node;
            };
            let wraps = at.count > 1 && self.wraps_sides(lowest);
            let once = wraps && self.invariances.get(&binary.lhs).wrap;
            chain.push((lowest, binary, at, once));
            if once {
                at = at.first();
            }
            lowest = &binary.lhs;
        };
        while let Some((expr, binary, grid, once)) = chain.pop() {
            if once {
                lhs = self.push(NodeKind::Broadcast(lhs), grid, binary.lhs.span);
            }
            let rhs = if self.wraps_sides(expr) {
                self.plan_arg(&binary.rhs, grid)?
            } else {
                self.plan(&binary.rhs, grid)?
            };
            lhs = self.binary(expr, binary, (lhs, rhs), grid)?;
            self.said.note(expr, grid, lhs);
        }
        Ok(lhs)
    }

    /// The node that says the same as `expr`, used once more.
    fn said_before(&mut self, expr: &Expr, grid: Grid) -> Option<NodeId> {
        let node = self.said.node(expr, grid)?;
        self.nodes.get_mut(node)?.uses += 1;
        Some(node)
    }

    /// Are the sides of this operator evaluated once where they are the same at all steps? Not if both are: then the
    /// operator itself is.
    fn wraps_sides(&self, expr: &Expr) -> bool {
        !self.invariances.get(expr).same
    }

    fn binary(
        &mut self,
        expr: &Expr,
        binary: &Binary,
        (lhs, rhs): (NodeId, NodeId),
        grid: Grid,
    ) -> Result<NodeId, QueryError> {
        let is_scalar = |id: NodeId, nodes: &[Node]| {
            nodes.get(id).is_some_and(|node| is_scalar_node(node, nodes))
        };
        let scalars = (is_scalar(lhs, &self.nodes), is_scalar(rhs, &self.nodes));
        if scalars == (true, true) && matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper)
        {
            return Err(self.unsupported(binary.op_span, "trimming a scalar"));
        }
        let call = BinaryCall {
            op: binary.op,
            lhs,
            rhs,
            scalars,
            return_bool: binary.return_bool,
            matching: binary.matching.clone(),
        };
        Ok(self.push(NodeKind::Binary(Box::new(call)), grid, expr.span))
    }

    fn plan_other(&mut self, expr: &Expr, grid: Grid) -> Result<NodeId, QueryError> {
        match &expr.kind {
            ExprKind::Number(number) => {
                Ok(self.push(NodeKind::Scalar(Param::Same(number.value)), grid, expr.span))
            }
            ExprKind::String(text) => {
                Ok(self.push(NodeKind::String(text.value.clone()), grid, expr.span))
            }
            ExprKind::Paren(inner) => self.plan(inner, grid),
            ExprKind::Unary(unary) => {
                let inner = self.plan(&unary.expr, grid)?;
                if !unary.negative {
                    return Ok(inner);
                }
                Ok(self.push(NodeKind::Negate(inner), grid, expr.span))
            }
            ExprKind::Call(call) => self.call(expr, call, grid),
            ExprKind::Aggregate(aggregate) => self.aggregate(expr, aggregate, grid),
            ExprKind::Binary(_) => self.plan(expr, grid),
            ExprKind::Vector(_) | ExprKind::Matrix(_) | ExprKind::Subquery(_) => {
                Err(QueryError::Internal("a selector where none can be planned".to_owned()))
            }
        }
    }

    /// Adds a leaf and the node that takes its parts in.
    pub(super) fn push_leaf(
        &mut self,
        draft: Option<LeafDraft>,
        grid: Grid,
        span: TextRange,
    ) -> NodeId {
        let Some(LeafDraft { leaf, one_name }) = draft else {
            return self.push(NodeKind::Empty, grid, span);
        };
        let name = leaf.name;
        self.leaves.push(leaf);
        self.push(NodeKind::Leaf { leaf: self.leaves.len() - 1, name, one_name }, grid, span)
    }

    /// Plans a range selector that is the whole query.
    pub(super) fn raw_samples(&mut self, matrix: &MatrixSelector) -> Result<NodeId, QueryError> {
        let grid = self.range.grid();
        let span = matrix.selector_span;
        let draft = self.range_leaf(matrix, span, grid, Fold::Samples(None), NameRule::Keep)?;
        Ok(self.push_leaf(draft, grid, span))
    }

    /// Plans what is inside of a subquery under something evaluated on `outer`: the node, the grid it is evaluated on,
    /// and the subquery's windows over it.
    ///
    /// The inner grid is absolute: its instants are multiples of its step, from the first one inside of the first window.
    pub(super) fn inner_of(
        &mut self,
        subquery: &Subquery,
        outer: Grid,
    ) -> Result<(NodeId, Grid, Shape), QueryError> {
        let offset = milliseconds(&subquery.offset, true, &self.durations)?;
        let length = milliseconds(&subquery.range, false, &self.durations)?;
        let step = match &subquery.step {
            Some(step) => milliseconds(step, false, &self.durations)?,
            None => self.options.subquery_step_ms,
        };
        let step = step.max(1);
        let shape = self.shape(outer, length, offset, subquery.at);
        let before = shape.first_end.saturating_sub(length);
        // Division cuts towards zero, so before the epoch the aligned instant may lie behind `before` already.
        let aligned = before / step * step;
        let start = if aligned <= before { aligned.saturating_add(step) } else { aligned };
        let end = shape.end(outer.count.saturating_sub(1));
        let grid = Grid::new(start, end, step);
        let grid = if outer.count == 0 { Grid { count: 0, ..grid } } else { grid };
        let inner = &subquery.expr;
        let node = if self.invariances.get(inner).same {
            self.once(inner, grid)?
        } else {
            self.plan(inner, grid)?
        };
        Ok((node, grid, shape))
    }

    fn aggregate(
        &mut self,
        expr: &Expr,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<NodeId, QueryError> {
        let input = unwrap_parens(&aggregate.expr);
        if aggregate.op == AggregateOp::CountValues {
            return self.count_values(expr, aggregate, grid);
        }
        let param = aggregate.param.as_ref().map(unwrap_parens);
        let constant = param.and_then(|param| self.constant(param, grid));
        let grouping = Grouping::of(aggregate);
        if let Some(k) = splits(aggregate.op, param.is_some(), constant.as_ref())
            && let Some(draft) = self.leaf_of(input, grid)?
        {
            let Some(mut draft) = draft else {
                return Ok(self.push(NodeKind::Empty, grid, expr.span));
            };
            let grouping = grouping.of_those_without(draft.leaf.name.dropped());
            let chooses = has_count_or_ratio(aggregate.op);
            let span = if chooses { expr.span } else { aggregate.expr.span };
            draft.leaf.reduce = Some(Reduce { op: aggregate.op, k, grouping, span });
            if !chooses {
                return Ok(self.push_leaf(Some(draft), grid, expr.span));
            }
            // The best of each shard are still to be compared with each other, and the parameter to be looked at.
            let param = self.plan_param(param, grid)?;
            let input = self.push_leaf(Some(draft), grid, input.span);
            return Ok(self.push_aggregate(expr, aggregate, (param, input), grid));
        }
        let param = self.plan_param(param, grid)?;
        let input = self.plan(input, grid)?;
        Ok(self.push_aggregate(expr, aggregate, (param, input), grid))
    }

    fn plan_param(
        &mut self,
        param: Option<&Expr>,
        grid: Grid,
    ) -> Result<Option<(NodeId, TextRange)>, QueryError> {
        let planned = param.map(|param| Ok((self.plan_arg(param, grid)?, param.span)));
        planned.transpose()
    }

    fn push_aggregate(
        &mut self,
        expr: &Expr,
        aggregate: &Aggregate,
        (param, input): (Option<(NodeId, TextRange)>, NodeId),
        grid: Grid,
    ) -> NodeId {
        let call = AggregateCall {
            op: aggregate.op,
            span: expr.span,
            input,
            input_span: aggregate.expr.span,
            param: param.map(|(node, _)| node),
            param_span: param.map_or(expr.span, |(_, span)| span),
            value_label: String::new(),
            grouping: Grouping::of(aggregate),
        };
        self.push(NodeKind::Aggregate(Box::new(call)), grid, expr.span)
    }

    fn count_values(
        &mut self,
        expr: &Expr,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<NodeId, QueryError> {
        let label = match aggregate.param.as_ref().map(|param| &unwrap_parens(param).kind) {
            Some(ExprKind::String(label)) => &label.value,
            _ => return Err(QueryError::Internal("count_values without a label".to_owned())),
        };
        let Some(value_label) = label_name(label) else {
            let quoted = quoted(label);
            return Err(QueryError::Execution(format!("invalid label name {quoted}")));
        };
        let input = self.plan(unwrap_parens(&aggregate.expr), grid)?;
        let grouping = Grouping::of(aggregate).and_by(value_label);
        let call = AggregateCall {
            op: aggregate.op,
            span: expr.span,
            input,
            input_span: aggregate.expr.span,
            param: None,
            param_span: expr.span,
            value_label: value_label.to_owned(),
            grouping,
        };
        Ok(self.push(NodeKind::Aggregate(Box::new(call)), grid, expr.span))
    }
}

/// Does this node give a scalar?
fn is_scalar_node(node: &Node, nodes: &[Node]) -> bool {
    let of = |id: &NodeId| nodes.get(*id).is_some_and(|node| is_scalar_node(node, nodes));
    match &node.kind {
        NodeKind::Scalar(_) => true,
        NodeKind::Broadcast(input) | NodeKind::Negate(input) => of(input),
        NodeKind::Binary(call) => call.scalars == (true, true),
        NodeKind::Vector(call) => call.function.returns_scalar(),
        _ => false,
    }
}

/// Does it give some of the series, as many as its parameter says?
fn has_count_or_ratio(op: AggregateOp) -> bool {
    matches!(
        op,
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio
    )
}

/// Can shards begin this aggregation, and with which k?
fn splits(op: AggregateOp, has_param: bool, param: Option<&Param>) -> Option<Param> {
    match op {
        _ if has_count_or_ratio(op) => {
            // Anything odd about k is the coordinator's to say.
            param.filter(|k| k.all(|k| k.is_finite())).cloned()
        }
        AggregateOp::Quantile | AggregateOp::CountValues => None,
        _ => (!has_param).then_some(Param::Same(0.0)),
    }
}

/// `bytes` as a label's name; `None` if they are not one: empty, or no UTF-8.
pub(super) fn label_name(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}
