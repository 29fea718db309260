//! From a query's text to a plan: parsed, checked, all times resolved, its leaves found.

use super::ast::{ExprKind, ValueType};
use super::error::QueryError;
use super::grid::Grid;
use super::leaf::Leaf;
use super::parser::{ParseOptions, parse_expr};
use super::plan::Node;
use super::planner::Planner;
use crate::model::TimestampMs;

/// What an engine is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// How far back an instant selector looks for its newest sample, in milliseconds: `--query.lookback-delta`.
    pub lookback_ms: i64,
    /// The most samples that a query may hold at once, on a shard or on the coordinator: `--query.max-samples`.
    pub samples_max: usize,
    /// The step of subqueries that do not name one, in milliseconds: the global evaluation interval.
    pub subquery_step_ms: i64,
    /// Do metric names stay until the answer is made? `promql-delayed-name-removal`.
    pub delayed_name_removal: bool,
    /// Do `rate`, `increase`, `irate` and `resets` look at the start timestamps of samples, and does `start_timestamp` answer?
    /// `use-start-timestamps`.
    pub use_start_timestamps: bool,
    /// Does the label of a metric's type say whether it is a counter, and not its name? `type-and-unit-labels`.
    pub looks_at_types: bool,
    /// Is it counted what each step looks at?
    pub counts_reads: bool,
    /// Which parts of the language are switched on.
    pub parse: ParseOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            samples_max: 50_000_000,
            subquery_step_ms: 60 * 1000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            looks_at_types: false,
            counts_reads: false,
            parse: ParseOptions::default(),
        }
    }
}

/// When a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalRange {
    start: i64,
    end: i64,
    /// 0 for an instant query.
    step: i64,
}

impl EvalRange {
    /// An instant query at `at`.
    #[must_use]
    pub fn instant(at: TimestampMs) -> Self {
        Self { start: at.0, end: at.0, step: 0 }
    }

    /// A range query from `start` to `end`, both included, every `step_ms` milliseconds, at least 1.
    #[must_use]
    pub fn range(start: TimestampMs, end: TimestampMs, step_ms: i64) -> Self {
        Self { start: start.0, end: end.0, step: step_ms.max(1) }
    }

    /// An instant query, not a range query with one step?
    #[must_use]
    pub fn is_instant(&self) -> bool {
        self.step == 0
    }

    pub(super) fn start(&self) -> i64 {
        self.start
    }

    pub(super) fn end(&self) -> i64 {
        self.end
    }

    pub(super) fn step(&self) -> i64 {
        self.step
    }

    /// The instants.
    #[must_use]
    pub fn grid(&self) -> Grid {
        if self.is_instant() {
            Grid::instant(self.start)
        } else {
            Grid::new(self.start, self.end, self.step)
        }
    }
}

/// A query ready to be asked: send its leaves to every shard, then [`evaluate`](super::evaluate).
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) nodes: Vec<Node>,
    pub(super) leaves: Vec<Leaf>,
    pub(super) range: EvalRange,
    pub(super) options: Options,
    returns: ValueType,
    is_divisible: bool,
}

impl Prepared {
    /// Is the answer one sample a series, all at one instant?
    pub(super) fn is_instant_vector(&self) -> bool {
        self.range.is_instant() && self.returns == ValueType::Vector
    }

    /// A range query whose answer can be put together from answers over parts of its range? Then nothing but its text, its
    /// options and each step's instant decides it, and samples up to that instant.
    #[must_use]
    pub fn is_divisible(&self) -> bool {
        self.is_divisible
    }

    /// When the query is evaluated.
    #[must_use]
    pub fn grid(&self) -> Grid {
        self.range.grid()
    }

    /// What to ask the shards; may be nothing.
    #[must_use]
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }
}

/// Prepares the query `text`.
///
/// # Errors
/// A text that does not parse, that no answer can be given to, or that uses what is not supported yet.
pub fn prepare(text: &str, range: EvalRange, options: &Options) -> Result<Prepared, QueryError> {
    let expr = parse_expr(text, &options.parse)?;
    let returns = expr.value_type();
    if !range.is_instant() && !matches!(returns, ValueType::Scalar | ValueType::Vector) {
        let name = returns.documented();
        return Err(QueryError::BadData(format!(
            "invalid expression type \"{name}\" for range query, must be Scalar or instant Vector"
        )));
    }
    let mut planner = Planner::new(text, range, options, &expr);
    match &super::invariance::unwrap_parens(&expr).kind {
        ExprKind::Matrix(matrix) => planner.raw_samples(matrix)?,
        ExprKind::Subquery(subquery) => planner.inner_of(subquery, range.grid())?.0,
        _ => planner.plan_root(&expr)?,
    };
    let (nodes, leaves) = planner.into_parts();
    let is_divisible = !range.is_instant() && super::divisible::is_divisible(&expr);
    Ok(Prepared { nodes, leaves, range, options: *options, returns, is_divisible })
}
