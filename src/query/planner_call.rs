//! Planning of function calls: which node computes each function, and which functions the shards can fold.

use super::ast::{Call, Expr, ExprKind, Extension, MatrixSelector, TextRange, VectorSelector};
use super::error::QueryError;
use super::functions::date::DatePart;
use super::functions::maths;
use super::grid::Grid;
use super::grouping::Grouping;
use super::invariance::unwrap_parens;
use super::leaf::{Fold, NameRule, Param, RangeFunction, Reduce};
use super::plan::{MapFunction, NodeId, NodeKind, RangeCall, VectorCall, VectorFunction};
use super::planner::{Planner, label_name};
use super::planner_leaf::MaybeLeaf;
use super::point_map::HistogramStat;
use crate::model::labels::METRIC_NAME;
use crate::model::{Anchored, GoRegex, Labels, LabelsBuilder};
use crate::query::ast::{AggregateOp, MatchOp};

/// The function over ranges that is called `name`, its parameters still to be filled in; `None` if there is none.
fn range_function(name: &str) -> Option<RangeFunction> {
    let unknown = || Param::Same(f64::NAN);
    Some(match name {
        "rate" => RangeFunction::Rate,
        "increase" => RangeFunction::Increase,
        "delta" => RangeFunction::Delta,
        "irate" => RangeFunction::Irate,
        "idelta" => RangeFunction::Idelta,
        "deriv" => RangeFunction::Deriv,
        "predict_linear" => RangeFunction::PredictLinear(unknown()),
        "changes" => RangeFunction::Changes,
        "resets" => RangeFunction::Resets,
        "avg_over_time" => RangeFunction::Avg,
        "sum_over_time" => RangeFunction::Sum,
        "count_over_time" => RangeFunction::Count,
        "min_over_time" => RangeFunction::Min,
        "max_over_time" => RangeFunction::Max,
        "stddev_over_time" => RangeFunction::Stddev,
        "stdvar_over_time" => RangeFunction::Stdvar,
        "quantile_over_time" => RangeFunction::Quantile(unknown()),
        "mad_over_time" => RangeFunction::Mad,
        "first_over_time" => RangeFunction::First,
        "last_over_time" => RangeFunction::Last,
        "present_over_time" | "absent_over_time" => RangeFunction::Present,
        "ts_of_first_over_time" => RangeFunction::TimeOfFirst,
        "ts_of_last_over_time" => RangeFunction::TimeOfLast,
        "ts_of_min_over_time" => RangeFunction::TimeOfMin,
        "ts_of_max_over_time" => RangeFunction::TimeOfMax,
        "double_exponential_smoothing" => RangeFunction::Smoothing(unknown(), unknown()),
        _ => return None,
    })
}

/// Refuses a range that is `anchored` or `smoothed` under a function that does not know what to do with samples from outside
/// of it.
fn allow(matrix: &MatrixSelector, function: &str) -> Result<(), QueryError> {
    let (name, allowed): (_, &[&str]) = match matrix.selector.extension {
        None => return Ok(()),
        Some(Extension::Anchored) => {
            ("anchored", &["changes", "delta", "increase", "rate", "resets"])
        }
        Some(Extension::Smoothed) => ("smoothed", &["delta", "increase", "rate"]),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(QueryError::Execution(format!(
        "{name} modifier can only be used with: {allowed} - not with {function}"
    )))
}

/// The part of a date that the function called `name` gives; `None` if it is none of those.
pub(super) fn date_part(name: &str) -> Option<DatePart> {
    Some(match name {
        "minute" => DatePart::Minute,
        "hour" => DatePart::Hour,
        "day_of_week" => DatePart::DayOfWeek,
        "day_of_month" => DatePart::DayOfMonth,
        "day_of_year" => DatePart::DayOfYear,
        "days_in_month" => DatePart::DaysInMonth,
        "month" => DatePart::Month,
        "year" => DatePart::Year,
        _ => return None,
    })
}

impl RangeFunction {
    /// The function with its scalar arguments, which are as many as it takes.
    pub(super) fn with_params(self, params: &[Param]) -> Self {
        match (self, params) {
            (Self::PredictLinear(_), [seconds]) => Self::PredictLinear(seconds.clone()),
            (Self::Quantile(_), [q]) => Self::Quantile(q.clone()),
            (Self::Smoothing(..), [level, trend]) => Self::Smoothing(level.clone(), trend.clone()),
            (function, _) => function,
        }
    }

    /// Does a series keep its metric name under it?
    fn keeps_name(&self) -> bool {
        matches!(self, Self::Last | Self::First)
    }
}

impl VectorFunction {
    /// Does it give a scalar?
    pub(super) fn returns_scalar(&self) -> bool {
        matches!(self, Self::Scalar | Self::MaxOf(_) | Self::MinOf(_))
    }
}

/// A call's arguments without the parentheses around them.
struct Args<'e> {
    call: &'e Call,
}

impl<'e> Args<'e> {
    fn get(&self, index: usize) -> Result<&'e Expr, QueryError> {
        let arg = self.call.args.get(index).map(unwrap_parens);
        arg.ok_or_else(|| {
            QueryError::Internal(format!("{}() lacks an argument", self.call.function.name))
        })
    }

    fn text(&self, index: usize) -> Result<&'e [u8], QueryError> {
        match &self.get(index)?.kind {
            ExprKind::String(text) => Ok(&text.value),
            _ => Err(QueryError::Internal(format!("{}() lacks a text", self.call.function.name))),
        }
    }

    fn texts(&self, from: usize) -> Result<Vec<&'e [u8]>, QueryError> {
        (from..self.call.args.len()).map(|index| self.text(index)).collect()
    }

    /// The range vector among the arguments, and where it is.
    fn range(&self) -> Option<(usize, &'e Expr)> {
        let args = self.call.args.iter().map(unwrap_parens).enumerate();
        args.into_iter()
            .find(|(_, arg)| matches!(arg.kind, ExprKind::Matrix(_) | ExprKind::Subquery(_)))
    }
}

impl Planner<'_> {
    /// Plans a function call.
    pub(super) fn call(
        &mut self,
        expr: &Expr,
        call: &Call,
        grid: Grid,
    ) -> Result<NodeId, QueryError> {
        let args = Args { call };
        let name = call.function.name;
        if let Some(value) = self.constant(expr, grid) {
            return Ok(self.push(NodeKind::Scalar(value), grid, expr.span));
        }
        if name == "absent" || name == "absent_over_time" {
            return self.absent(expr, call, grid);
        }
        if name == "info" {
            return self.info(expr, call, grid);
        }
        if let Some(function) = range_function(name) {
            return self.range_call(expr, call, function, grid);
        }
        if let Some(function) = self.map_function(call, grid)? {
            return self.map(expr, &args, function, grid);
        }
        self.vector_call(expr, &args, grid)
    }

    /// The leaf that computes the whole call, if it is a range function or `timestamp` or `start_timestamp` of a selector.
    pub(super) fn leaf_of_call(&self, call: &Call, grid: Grid) -> Result<MaybeLeaf, QueryError> {
        let args = Args { call };
        let name = call.function.name;
        let fold = match name {
            "timestamp" => Some(Fold::NewestTime),
            "start_timestamp" if self.options.use_start_timestamps => Some(Fold::NewestStart),
            _ => None,
        };
        if let Some(fold) = fold {
            let arg = args.get(0)?;
            return match &arg.kind {
                ExprKind::Vector(selector) => {
                    Ok(Some(self.instant_leaf(selector, arg.span, grid, fold)?))
                }
                _ => Ok(None),
            };
        }
        let (Some(function), Some((at, range))) = (range_function(name), args.range()) else {
            return Ok(None);
        };
        let ExprKind::Matrix(matrix) = &range.kind else {
            return Ok(None);
        };
        if name == "absent_over_time" {
            return Ok(None);
        }
        allow(matrix, name)?;
        let mut params = Vec::new();
        for (_, arg) in call.args.iter().enumerate().filter(|(index, _)| *index != at) {
            match self.constant(unwrap_parens(arg), grid) {
                Some(param) => params.push(param),
                None => return Ok(None),
            }
        }
        let rule = if function.keeps_name() { NameRule::Keep } else { self.dropping() };
        let fold = Fold::Range(function.with_params(&params));
        Ok(Some(self.range_leaf(matrix, args.get(0)?.span, grid, fold, rule)?))
    }

    /// Plans a range function that no leaf can compute: over a subquery, or with arguments that have to be evaluated.
    fn range_call(
        &mut self,
        expr: &Expr,
        call: &Call,
        function: RangeFunction,
        grid: Grid,
    ) -> Result<NodeId, QueryError> {
        let args = Args { call };
        let Some((at, range)) = args.range() else {
            return Err(QueryError::Internal(format!("{}() lacks a range", call.function.name)));
        };
        // For absent_over_time it is no matter who is there, so names need not part.
        let keeps = function.keeps_name() || call.function.name == "absent_over_time";
        let name = if keeps { NameRule::Keep } else { self.dropping() };
        // Upstream evaluates a subquery in place of the argument and so forgets where it stood.
        let mut span = args.get(0)?.span;
        let (source, inner, shape) = match &range.kind {
            ExprKind::Matrix(matrix) => {
                allow(matrix, call.function.name)?;
                let shape = self.range_shape(matrix, grid)?;
                let draft =
                    self.range_leaf(matrix, span, grid, Fold::Samples(None), NameRule::Keep)?;
                (self.push_leaf(draft, grid, range.span), None, shape)
            }
            ExprKind::Subquery(subquery) => {
                if at == 0 {
                    span = TextRange::default();
                }
                let (node, inner, shape) = self.inner_of(subquery, grid)?;
                (node, Some(inner), shape)
            }
            _ => return Err(QueryError::Internal("a range that is none".to_owned())),
        };
        let mut params = Vec::new();
        for (_, arg) in call.args.iter().enumerate().filter(|(index, _)| *index != at) {
            params.push(self.plan_arg(unwrap_parens(arg), grid)?);
        }
        let range = RangeCall { function, source, inner, shape, params, name, span };
        Ok(self.push(NodeKind::Range(Box::new(range)), grid, expr.span))
    }

    /// Plans `absent` and `absent_over_time`: 1 at steps where there is no series, so shards only have to say where there
    /// is one.
    fn absent(&mut self, expr: &Expr, call: &Call, grid: Grid) -> Result<NodeId, QueryError> {
        let arg = Args { call }.get(0)?;
        let over_time = call.function.name == "absent_over_time";
        let present = Fold::Range(RangeFunction::Present);
        let (draft, labels) = match &arg.kind {
            ExprKind::Vector(selector) => (
                Some(self.instant_leaf(selector, arg.span, grid, Fold::Newest)?),
                absent_labels(selector),
            ),
            ExprKind::Matrix(matrix) => {
                allow(matrix, call.function.name)?;
                let draft = self.range_leaf(matrix, arg.span, grid, present, NameRule::Keep)?;
                (Some(draft), absent_labels(&matrix.selector))
            }
            _ => (None, Labels::empty()),
        };
        let input = match draft {
            Some(draft) => {
                let reduce = || Reduce {
                    op: AggregateOp::Group,
                    k: Param::Same(0.0),
                    grouping: Grouping::one_group(),
                    span: arg.span,
                };
                let draft = draft.map(|draft| {
                    let mut draft = draft;
                    draft.leaf.reduce = Some(reduce());
                    draft
                });
                self.push_leaf(draft, grid, arg.span)
            }
            None if over_time => self.range_call(arg, call, RangeFunction::Present, grid)?,
            None => self.plan_arg(arg, grid)?,
        };
        let drop_name = over_time && self.delays_names();
        Ok(self.push(NodeKind::Absent(input, labels, drop_name), grid, expr.span))
    }

    fn map(
        &mut self,
        expr: &Expr,
        args: &Args<'_>,
        function: MapFunction,
        grid: Grid,
    ) -> Result<NodeId, QueryError> {
        let input = match args.call.args.first() {
            Some(_) => self.plan_arg(args.get(0)?, grid)?,
            // The date functions are about now if nothing else is asked for.
            None => {
                let seconds = (0..grid.count).map(|step| (grid.time(step) / 1000) as f64).collect();
                let now = self.push(NodeKind::Scalar(Param::Each(seconds)), grid, expr.span);
                let function = VectorFunction::Vector;
                let call = VectorCall { function, input: now, input_span: expr.span };
                self.push(NodeKind::Vector(Box::new(call)), grid, expr.span)
            }
        };
        Ok(self.push(NodeKind::Map(input, function), grid, expr.span))
    }

    fn map_function(&mut self, call: &Call, grid: Grid) -> Result<Option<MapFunction>, QueryError> {
        let args = Args { call };
        let name = call.function.name;
        if let Some(function) = maths::named(name) {
            return Ok(Some(MapFunction::Maths(function)));
        }
        if let Some(part) = date_part(name) {
            return Ok(Some(MapFunction::Date(part)));
        }
        if let Some(stat) = HistogramStat::named(name) {
            return Ok(Some(MapFunction::Stat(stat)));
        }
        Ok(Some(match name {
            "clamp" => {
                let lower = self.plan_arg(args.get(1)?, grid)?;
                MapFunction::Clamp(Some(lower), Some(self.plan_arg(args.get(2)?, grid)?))
            }
            "clamp_min" => MapFunction::Clamp(Some(self.plan_arg(args.get(1)?, grid)?), None),
            "clamp_max" => MapFunction::Clamp(None, Some(self.plan_arg(args.get(1)?, grid)?)),
            "round" if call.args.len() < 2 => MapFunction::Round(None),
            "round" => MapFunction::Round(Some(self.plan_arg(args.get(1)?, grid)?)),
            "timestamp" => MapFunction::Timestamp,
            _ => return Ok(None),
        }))
    }

    fn vector_call(
        &mut self,
        expr: &Expr,
        args: &Args<'_>,
        grid: Grid,
    ) -> Result<NodeId, QueryError> {
        let name = args.call.function.name;
        let (function, input) = match name {
            "scalar" => (VectorFunction::Scalar, 0),
            "vector" => (VectorFunction::Vector, 0),
            "sort" => (VectorFunction::Sort { descending: false }, 0),
            "sort_desc" => (VectorFunction::Sort { descending: true }, 0),
            "sort_by_label" | "sort_by_label_desc" => {
                let labels = args.texts(1)?.into_iter();
                let labels =
                    labels.map(|label| String::from_utf8_lossy(label).into_owned()).collect();
                (
                    VectorFunction::SortByLabel {
                        labels,
                        descending: name == "sort_by_label_desc",
                    },
                    0,
                )
            }
            // Of anything but a selector, or where starts are not in use.
            "start_timestamp" => (VectorFunction::Nothing, 0),
            "label_replace" => (label_replace(args)?, 0),
            "label_join" => (label_join(args)?, 0),
            "max_of" => (VectorFunction::MaxOf(self.plan_arg(args.get(1)?, grid)?), 0),
            "min_of" => (VectorFunction::MinOf(self.plan_arg(args.get(1)?, grid)?), 0),
            "histogram_quantile" => {
                let q = args.get(0)?;
                (VectorFunction::HistogramQuantile { q: (self.plan_arg(q, grid)?, q.span) }, 1)
            }
            "histogram_quantiles" => {
                let label = String::from_utf8_lossy(args.text(1)?).into_owned();
                let mut qs = Vec::new();
                for index in 2..args.call.args.len() {
                    let q = args.get(index)?;
                    qs.push((self.plan_arg(q, grid)?, q.span));
                }
                (VectorFunction::HistogramQuantiles { label, qs }, 0)
            }
            "histogram_fraction" => {
                let lower = self.plan_arg(args.get(0)?, grid)?;
                let upper = self.plan_arg(args.get(1)?, grid)?;
                (VectorFunction::HistogramFraction { lower, upper }, 2)
            }
            _ => return Err(self.unsupported(expr.span, &format!("{name}()"))),
        };
        let arg = args.get(input)?;
        let input = self.plan_arg(arg, grid)?;
        let call = VectorCall { function, input, input_span: arg.span };
        Ok(self.push(NodeKind::Vector(Box::new(call)), grid, expr.span))
    }
}

fn label_replace(args: &Args<'_>) -> Result<VectorFunction, QueryError> {
    let refuse = |what: &str, value: &[u8]| {
        let value = String::from_utf8_lossy(value);
        QueryError::Execution(format!("invalid {what} in label_replace(): {value}"))
    };
    let (dst, pattern) = (args.text(1)?, args.text(4)?);
    let compiled =
        std::str::from_utf8(pattern).ok().map(|pattern| GoRegex::new(pattern, Anchored::Yes));
    let regex = match compiled {
        Some(Ok(regex)) => regex,
        Some(Err(why)) if why.is_bound() => return Err(QueryError::Execution(why.to_string())),
        _ => return Err(refuse("regular expression", pattern)),
    };
    let Some(dst) = label_name(dst) else {
        return Err(refuse("destination label name", dst));
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (template, src) = (text(args.text(2)?), text(args.text(3)?));
    Ok(VectorFunction::LabelReplace { dst: dst.to_owned(), template, src, regex })
}

fn label_join(args: &Args<'_>) -> Result<VectorFunction, QueryError> {
    let name = |what: &str, bytes: &[u8]| match label_name(bytes) {
        Some(name) => Ok(name.to_owned()),
        None => {
            let bytes = String::from_utf8_lossy(bytes);
            Err(QueryError::Execution(format!(
                "invalid {what} label name in label_join(): {bytes}"
            )))
        }
    };
    let src =
        args.texts(3)?.into_iter().map(|label| name("source", label)).collect::<Result<_, _>>()?;
    let dst = name("destination", args.text(1)?)?;
    let separator = String::from_utf8_lossy(args.text(2)?).into_owned();
    Ok(VectorFunction::LabelJoin { dst, separator, src })
}

/// The labels of a series that would be there if the selector found one: those that it asks to be equal, each only if
/// nothing else is asked of it.
fn absent_labels(selector: &VectorSelector) -> Labels {
    let mut labels = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            labels.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            labels.remove(matcher.name());
        }
    }
    labels.build()
}
