//! Planning of leaves: what of a query the shards can compute from one series' samples at a time.
//!
//! That is a selector or a range function over one, and behind it any functions of single points whose other arguments are
//! known: `100 * (1 - rate(x[5m]))` leaves a shard as it is asked for, or already summed.

use super::ast::{
    At, Binary, BinaryOp, Call, Expr, ExprKind, MatchOp, MatrixSelector, TextRange, VectorSelector,
};
use super::duration_expr::milliseconds;
use super::error::QueryError;
use super::functions::maths;
use super::grid::Grid;
use super::grouping::NAME_ALONE;
use super::invariance::unwrap_parens;
use super::leaf::{Fold, Leaf, NameRule, Param, Reach, Shape};
use super::planner::Planner;
use super::planner_call::date_part;
use super::point_map::{HistogramStat, PointMap, ScalarOp};
use crate::model::labels::METRIC_NAME;

/// How many functions of points may stand one behind the other in a leaf. Longer chains are evaluated, not folded.
const MAPS_MAX: usize = 16;

/// A leaf before it has a place in the plan.
pub(super) struct LeafDraft {
    pub leaf: Leaf,
    /// Is the metric name the same in all series that the leaf selects?
    pub one_name: bool,
}

/// A leaf that may be there; `None` inside if there is nothing to select at.
pub(super) type MaybeLeaf = Option<Option<LeafDraft>>;

impl Planner<'_> {
    /// When the windows of a selector or subquery with these modifiers end, for each step of `grid`.
    pub(super) fn shape(&self, grid: Grid, length: i64, offset: i64, at: Option<At>) -> Shape {
        match at.map(|at| self.instant_of(at)) {
            Some(at) => Shape { grid, first_end: at.saturating_sub(offset), end_step: 0, length },
            None => {
                let first_end = grid.start.saturating_sub(offset);
                Shape { grid, first_end, end_step: grid.step, length }
            }
        }
    }

    fn instant_of(&self, at: At) -> i64 {
        match at {
            At::Timestamp(t) => t.0,
            At::Start => self.range.start(),
            At::End => self.range.end(),
        }
    }

    fn draft(
        &self,
        selector: &VectorSelector,
        span: TextRange,
        shape: Shape,
        fold: Fold,
        name: NameRule,
    ) -> Result<Option<LeafDraft>, QueryError> {
        if shape.grid.count == 0 {
            return Ok(None);
        }
        let matchers = selector.matchers.clone();
        let one_name = selector.matchers.iter().any(|matcher| {
            matcher.name() == METRIC_NAME
                && matcher.op() == MatchOp::Equal
                && !matcher.value().is_empty()
        });
        let samples_max = self.options.samples_max;
        let maps = Vec::new();
        let (reduce, stats_only) = (None, self.stats_only.contains(selector));
        let wants_starts = self.options.use_start_timestamps && fold.looks_at_starts();
        let leaf = Leaf {
            matchers,
            shape,
            fold,
            maps,
            name,
            reduce,
            stats_only,
            wants_starts,
            looks_at_types: self.options.looks_at_types,
            counts_reads: self.options.counts_reads,
            span,
            samples_max,
        };
        Ok(Some(LeafDraft { leaf, one_name }))
    }

    /// A leaf for an instant selector; `None` if there is nothing to select at.
    pub(super) fn instant_leaf(
        &self,
        selector: &VectorSelector,
        span: TextRange,
        grid: Grid,
        fold: Fold,
    ) -> Result<Option<LeafDraft>, QueryError> {
        let offset = milliseconds(&selector.offset, true, &self.durations)?;
        let name = if fold == Fold::Newest { NameRule::Keep } else { self.dropping() };
        let reach = self.reach(selector).filter(|reach| reach.is_smoothed());
        // When a sample is has nothing to do with lines between samples.
        if fold == Fold::Newest
            && let Some(reach) = reach
        {
            let shape = reach.widen(self.shape(grid, 0, offset, selector.at));
            return self.draft(selector, span, shape, Fold::Smoothed(reach), name);
        }
        let shape = self.shape(grid, self.options.lookback_ms, offset, selector.at);
        self.draft(selector, span, shape, fold, name)
    }

    /// How far beyond its range a selector looks, if it does.
    fn reach(&self, selector: &VectorSelector) -> Option<Reach> {
        let lookback = self.options.lookback_ms;
        selector.extension.map(|extension| Reach { extension, lookback })
    }

    /// A leaf for a range selector under a function; `span` is where the function's notes point to.
    pub(super) fn range_leaf(
        &self,
        matrix: &MatrixSelector,
        span: TextRange,
        grid: Grid,
        fold: Fold,
        name: NameRule,
    ) -> Result<Option<LeafDraft>, QueryError> {
        let shape = self.range_shape(matrix, grid)?;
        let Some(reach) = self.reach(&matrix.selector) else {
            return self.draft(&matrix.selector, span, shape, fold, name);
        };
        let fold = match fold {
            Fold::Range(function) => Fold::Extended(function, reach),
            _ => Fold::Samples(Some(reach)),
        };
        self.draft(&matrix.selector, span, reach.widen(shape), fold, name)
    }

    /// The windows of a range selector.
    pub(super) fn range_shape(
        &self,
        matrix: &MatrixSelector,
        grid: Grid,
    ) -> Result<Shape, QueryError> {
        let offset = milliseconds(&matrix.selector.offset, true, &self.durations)?;
        let length = milliseconds(&matrix.range, false, &self.durations)?;
        Ok(self.shape(grid, length, offset, matrix.selector.at))
    }

    /// The leaf that computes all of `expr`, if one can.
    pub(super) fn leaf_of(&self, expr: &Expr, grid: Grid) -> Result<MaybeLeaf, QueryError> {
        self.mapped_leaf(expr, grid, MAPS_MAX)
    }

    fn mapped_leaf(
        &self,
        expr: &Expr,
        grid: Grid,
        maps_max: usize,
    ) -> Result<MaybeLeaf, QueryError> {
        let Some(maps_max) = maps_max.checked_sub(1) else {
            return Ok(None);
        };
        match &expr.kind {
            ExprKind::Paren(inner) => self.mapped_leaf(inner, grid, maps_max),
            ExprKind::Vector(selector) => {
                Ok(Some(self.instant_leaf(selector, expr.span, grid, Fold::Newest)?))
            }
            ExprKind::Unary(unary) => {
                let inner = self.mapped_leaf(&unary.expr, grid, maps_max)?;
                Ok(if unary.negative { self.map_leaf(inner, PointMap::Negate) } else { inner })
            }
            ExprKind::Binary(binary) => match self.scalar_op(expr.span, binary, grid) {
                Some((op, vector)) => {
                    let inner = self.mapped_leaf(vector, grid, maps_max)?;
                    Ok(self.map_leaf(inner, PointMap::Scalar(op)))
                }
                None => Ok(None),
            },
            ExprKind::Call(call) => match self.point_map(call, grid) {
                Some((map, vector)) => {
                    let inner = self.mapped_leaf(vector, grid, maps_max)?;
                    Ok(self.map_leaf(inner, map))
                }
                None => self.leaf_of_call(call, grid),
            },
            _ => Ok(None),
        }
    }

    /// The leaf with one more function of points behind it. Series that lose their names there may become the same, which
    /// a shard cannot see; so they lose them only if it is the same name.
    fn map_leaf(&self, leaf: MaybeLeaf, map: PointMap) -> MaybeLeaf {
        let Some(Some(mut draft)) = leaf else {
            return leaf;
        };
        let (before, after) = (draft.leaf.name, map.drops());
        if after.len() > before.dropped().len() && before != NameRule::Mark {
            let only_name = self.dropping() == NameRule::Drop && after == NAME_ALONE;
            draft.leaf.name = if only_name { NameRule::DropName } else { self.dropping() };
            if !before.drops() && draft.leaf.name.drops() && !draft.one_name {
                return None;
            }
        }
        draft.leaf.maps.push(map);
        Some(Some(draft))
    }

    /// The operator with a known scalar that `binary` is, and its vector.
    fn scalar_op<'e>(
        &self,
        span: TextRange,
        binary: &'e Binary,
        grid: Grid,
    ) -> Option<(ScalarOp, &'e Expr)> {
        let op = binary.op;
        if op.is_set() || matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            return None;
        }
        let return_bool = binary.return_bool;
        if let Some(scalar) = self.constant(&binary.rhs, grid) {
            return Some((
                ScalarOp { op, scalar, scalar_is_left: false, return_bool, span },
                &binary.lhs,
            ));
        }
        let scalar = self.constant(&binary.lhs, grid)?;
        Some((ScalarOp { op, scalar, scalar_is_left: true, return_bool, span }, &binary.rhs))
    }

    /// The function of points that `call` is, if its other arguments are known, and its vector.
    fn point_map<'e>(&self, call: &'e Call, grid: Grid) -> Option<(PointMap, &'e Expr)> {
        let vector = unwrap_parens(call.args.first()?);
        let known = |index: usize| self.constant(unwrap_parens(call.args.get(index)?), grid);
        let name = call.function.name;
        if let Some(function) = maths::named(name) {
            return Some((PointMap::Maths(function), vector));
        }
        if let Some(part) = date_part(name) {
            return Some((PointMap::Date(part), vector));
        }
        if let Some(stat) = HistogramStat::named(name) {
            return Some((PointMap::Stat(stat), vector));
        }
        let infinite = Param::Same(f64::INFINITY);
        let map = match name {
            "clamp" => PointMap::Clamp(known(1)?, known(2)?),
            "clamp_min" => PointMap::Clamp(known(1)?, infinite),
            "clamp_max" => PointMap::Clamp(infinite.map(|v| -v), known(1)?),
            "round" if call.args.len() < 2 => PointMap::Round(Param::Same(1.0)),
            "round" => PointMap::Round(known(1)?.map(|to| 1.0 / to)),
            _ => return None,
        };
        Some((map, vector))
    }
}
