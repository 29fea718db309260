//! A query as a list of steps: what to compute from which earlier results, on which grid.
//!
//! Flat and in order of evaluation, so that neither planning nor evaluating nor dropping a plan recurses, however long a
//! chain of operators is. Each node knows how often later nodes use its result; the last node's is the answer's.

use super::ast::{AggregateOp, BinaryOp, TextRange, VectorMatching};
use super::functions::date::DatePart;
use super::grid::Grid;
use super::grouping::Grouping;
use super::leaf::{NameRule, Param, RangeFunction, Shape};
use super::point_map::HistogramStat;
use crate::model::{GoRegex, Labels, Matcher};

/// Which node of a plan.
pub(super) type NodeId = usize;

/// One step of a plan.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// What to compute.
    pub kind: NodeKind,
    /// At which instants.
    pub grid: Grid,
    /// Where it stands in the text; the first place, if it is said more than once.
    pub span: TextRange,
    /// How many later nodes use its result.
    pub uses: usize,
}

/// What a node computes.
#[derive(Clone, Debug)]
pub(super) enum NodeKind {
    /// A scalar that is known.
    Scalar(Param),
    /// A text.
    String(Vec<u8>),
    /// What the shards answered for a leaf.
    Leaf {
        /// Which of the plan's leaves.
        leaf: usize,
        /// What its fold did to metric names.
        name: NameRule,
        /// Is the metric name the same in all series that the leaf selects?
        one_name: bool,
    },
    /// No series at all.
    Empty,
    /// The one step of an input that is the same at all steps.
    Broadcast(NodeId),
    /// A range function over what an inner query evaluated or a leaf sent as it is.
    Range(Box<RangeCall>),
    /// 1 where the input has no series; the labels of the answer, and whether their metric labels go in the end.
    Absent(NodeId, Labels, bool),
    /// An aggregation of series that are here.
    Aggregate(Box<AggregateCall>),
    /// `-x`
    Negate(NodeId),
    /// An operator.
    Binary(Box<BinaryCall>),
    /// A function of numbers, applied to each point.
    Map(NodeId, MapFunction),
    /// A function of vectors.
    Vector(Box<VectorCall>),
    /// `info`
    Info(Box<InfoCall>),
}

/// A range function over series that are here.
#[derive(Clone, Debug)]
pub(super) struct RangeCall {
    /// Which function; its parameters are filled in from `params`.
    pub function: RangeFunction,
    /// The inner query or the leaf.
    pub source: NodeId,
    /// The grid of the inner query; `None` if the source is raw samples.
    pub inner: Option<Grid>,
    /// Windows.
    pub shape: Shape,
    /// Scalar arguments that were not known before.
    pub params: Vec<NodeId>,
    /// What happens to metric names.
    pub name: NameRule,
    /// Where annotations point to.
    pub span: TextRange,
}

/// An aggregation of series that are here.
#[derive(Clone, Debug)]
pub(super) struct AggregateCall {
    /// Which.
    pub op: AggregateOp,
    /// Where it stands.
    pub span: TextRange,
    /// What is aggregated.
    pub input: NodeId,
    /// The input's place.
    pub input_span: TextRange,
    /// Its parameter: k, a quantile, a ratio.
    pub param: Option<NodeId>,
    /// The parameter's place.
    pub param_span: TextRange,
    /// `count_values`' label.
    pub value_label: String,
    /// Which series make a group.
    pub grouping: Grouping,
}

/// An operator between two results.
#[derive(Clone, Debug)]
pub(super) struct BinaryCall {
    /// Which.
    pub op: BinaryOp,
    /// Left side.
    pub lhs: NodeId,
    /// Right side.
    pub rhs: NodeId,
    /// Which sides are scalars.
    pub scalars: (bool, bool),
    /// A comparison that answers 0 or 1?
    pub return_bool: bool,
    /// How vectors are paired.
    pub matching: Option<VectorMatching>,
}

/// The functions that change each point on its own and drop the metric name.
#[derive(Clone, Debug)]
pub(super) enum MapFunction {
    /// `abs`, `ln` and their like.
    Maths(fn(f64) -> f64),
    /// `clamp`, `clamp_min`, `clamp_max`: lower and upper bound.
    Clamp(Option<NodeId>, Option<NodeId>),
    /// `round`: to multiples of this.
    Round(Option<NodeId>),
    /// `hour` and its like.
    Date(DatePart),
    /// `timestamp` of anything but a selector: the instant of evaluation.
    Timestamp,
    /// `histogram_count` and its like.
    Stat(HistogramStat),
}

/// Series that are given the labels of others.
#[derive(Clone, Debug)]
pub(super) struct InfoCall {
    /// The series.
    pub base: NodeId,
    /// The info series: of each the times of its samples, in seconds.
    pub infos: NodeId,
    /// What info series' names are like; a series with such a name is given nothing.
    pub names: Vec<Matcher>,
    /// What is asked of the other labels of info series.
    pub data: Vec<Matcher>,
}

/// A function that looks at series together, or at their labels.
#[derive(Clone, Debug)]
pub(super) struct VectorCall {
    /// Which.
    pub function: VectorFunction,
    /// The vector, or the scalar that becomes one.
    pub input: NodeId,
    /// The input's place.
    pub input_span: TextRange,
}

/// The functions of [`VectorCall`].
#[derive(Clone, Debug)]
pub(super) enum VectorFunction {
    /// Of any input no series.
    Nothing,
    /// `scalar`
    Scalar,
    /// `vector`
    Vector,
    /// `sort` and `sort_desc`.
    Sort {
        /// Largest first?
        descending: bool,
    },
    /// `sort_by_label` and `sort_by_label_desc`.
    SortByLabel {
        /// The labels, the most important first.
        labels: Vec<String>,
        /// Last first?
        descending: bool,
    },
    /// `label_replace`
    LabelReplace {
        /// The label to set.
        dst: String,
        /// What to, with `$1` and its like.
        template: String,
        /// The label to read.
        src: String,
        /// What it must match.
        regex: GoRegex,
    },
    /// `label_join`
    LabelJoin {
        /// The label to set.
        dst: String,
        /// Stands between the parts.
        separator: String,
        /// The labels to read.
        src: Vec<String>,
    },
    /// `histogram_quantile`
    HistogramQuantile {
        /// The quantile, and its place.
        q: (NodeId, TextRange),
    },
    /// `histogram_quantiles`
    HistogramQuantiles {
        /// The label that says which quantile.
        label: String,
        /// The quantiles and their places.
        qs: Vec<(NodeId, TextRange)>,
    },
    /// `histogram_fraction`
    HistogramFraction {
        /// The lower bound.
        lower: NodeId,
        /// The upper bound.
        upper: NodeId,
    },
    /// `max_of` of the input and this scalar.
    MaxOf(NodeId),
    /// `min_of` of the input and this scalar.
    MinOf(NodeId),
}
