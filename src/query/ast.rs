//! The tree that a PromQL text parses into. Every node knows the bytes of the text it came from.
//!
//! Nothing here is evaluated and nothing is resolved: `@ start()` stays what was written, a duration expression stays an
//! expression. Only the conditions of selectors are compiled, once: whether a pattern is one is a matter of parsing. The
//! shape follows Prometheus's own tree (`promql/parser/ast.go`), so that the printer, `parse_query` and error texts can say
//! the same.
//!
//! How deep a tree is: everything that nests is limited by the parser ([`super::parser::NESTING_MAX`]), with one exception.
//! A chain of binary operators (`a + b + c + ...`) or of subqueries leans to the left and may be as long as its text, so
//! walk down [`Binary::lhs`] and [`Subquery::expr`] in a loop, not by recursion. Dropping, cloning and comparing do.

pub use crate::model::MatchOp;
use crate::model::{Matcher, TimestampMs};

/// Bytes `start..end` of the query text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TextRange {
    /// First byte.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

/// An expression and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: TextRange,
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// At most one sample a series.
    Vector,
    /// A range of samples a series.
    Matrix,
    /// A text.
    String,
}

/// The kinds of expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `sum by (job) (x)`, `topk(3, x)`.
    Aggregate(Box<Aggregate>),
    /// `a + on (x) b`.
    Binary(Box<Binary>),
    /// `rate(x[5m])`.
    Call(Call),
    /// `x{a="b"}[5m]`.
    Matrix(Box<MatrixSelector>),
    /// `(…)[1h:5m]`.
    Subquery(Box<Subquery>),
    /// `1.5`, `0x1f`, `1h30m`.
    Number(Number),
    /// `(…)`.
    Paren(Box<Expr>),
    /// `"text"`.
    String(StringLiteral),
    /// `-x`, `+x`.
    Unary(Unary),
    /// `x{a="b"}`.
    Vector(Box<VectorSelector>),
}

/// A number as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// Its value; a duration's is seconds.
    pub value: f64,
    /// Written as a duration (`1h30m`)? The printer keeps it one.
    pub is_duration: bool,
}

/// A text as written, unescaped. Bytes: escapes such as `\xff` may leave UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringLiteral {
    /// The unescaped bytes.
    pub value: Vec<u8>,
}

/// `-x` or `+x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Minus, not plus?
    pub negative: bool,
    /// What the sign stands before.
    pub expr: Box<Expr>,
}

/// A function and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// One of the language's functions.
    pub function: &'static Function,
    /// The arguments in order.
    pub args: Vec<Expr>,
}

/// What the language knows about a function before evaluating it. All of them: [`super::function_table::TABLE`].
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// As queries spell it.
    pub name: &'static str,
    /// Types of the arguments; the last one's is that of its repetitions, too.
    pub args: &'static [ValueType],
    /// 0: exactly `args`; n > 0: the last one may be absent or stand up to n times; -1: absent or any number of times.
    pub variadic: i8,
    /// What it returns.
    pub returns: ValueType,
    /// Only with `--enable-feature=promql-experimental-functions`.
    pub experimental: bool,
}

/// The aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

/// An aggregation over a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// `topk`'s k and its like.
    pub param: Option<Expr>,
    /// The labels of `by (…)` or `without (…)`.
    pub grouping: Vec<String>,
    /// `without`, not `by`?
    pub without: bool,
}

/// The binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `>`
    Gt,
    /// `<`
    Lt,
    /// `>=`
    Ge,
    /// `<=`
    Le,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
    /// `</`: keeps a histogram's buckets below a bound.
    TrimUpper,
    /// `>/`: keeps a histogram's buckets above a bound.
    TrimLower,
}

/// An operator between two expressions.
#[derive(Debug)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Where the operator's own text stands.
    pub op_span: TextRange,
    /// Left side.
    pub lhs: Expr,
    /// Right side.
    pub rhs: Expr,
    /// A comparison that answers 0 or 1 instead of filtering?
    pub return_bool: bool,
    /// How the sides' series are paired; `None` unless both are vectors.
    pub matching: Option<VectorMatching>,
}

/// How many series of one side may meet how many of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// The default.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How two vectors' series are paired.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatching {
    /// How many of one side may meet how many of the other.
    pub cardinality: Cardinality,
    /// The labels of `on (…)` or `ignoring (…)`.
    pub labels: Vec<String>,
    /// `on`, not `ignoring`?
    pub on: bool,
    /// The labels of `group_left (…)` or `group_right (…)`.
    pub include: Vec<String>,
    /// `fill_left(x)` or `fill(x)`: the value of series missing on the left.
    pub fill_left: Option<f64>,
    /// `fill_right(x)` or `fill(x)`: the value of series missing on the right.
    pub fill_right: Option<f64>,
}

/// `@ 1234.5`, `@ start()`, `@ end()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A fixed instant.
    Timestamp(TimestampMs),
    /// The outermost query's start.
    Start,
    /// The outermost query's end.
    End,
}

/// `anchored` or `smoothed` behind a selector (experimental).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// `anchored`
    Anchored,
    /// `smoothed`
    Smoothed,
}

/// Selects series by their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name, if it stands before the braces; `matchers` has it too.
    pub name: Option<String>,
    /// All conditions, in the order written; that of a name before the braces comes last, as upstream has it.
    pub matchers: Vec<Matcher>,
    /// `offset …`; zero if absent.
    pub offset: Duration,
    /// `@ …`
    pub at: Option<At>,
    /// `anchored`, `smoothed`.
    pub extension: Option<Extension>,
}

/// A selector with a range.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// The selector, with the modifiers that stand behind the range.
    pub selector: VectorSelector,
    /// Where the selector stands, without the range.
    pub selector_span: TextRange,
    /// How far it looks back.
    pub range: Duration,
}

/// An expression evaluated on a grid of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How far it looks back.
    pub range: Duration,
    /// Its step; `None` is the global evaluation interval.
    pub step: Option<Duration>,
    /// `offset …`; zero if absent.
    pub offset: Duration,
    /// `@ …`
    pub at: Option<At>,
}

/// A length of time, as a literal or as an expression over literals, `step()` and `range()`.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// Milliseconds, rounded toward zero as evaluation does; negative only in offsets.
    Ms(i64),
    /// To be computed when step and range of the query are known.
    Expr(Box<DurationExpr>),
}

/// An expression in the place of a duration. Source: `promql/durations.go`.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationExprKind,
    /// In parentheses? The printer keeps them. A lone number is an expression only if it is.
    pub wrapped: bool,
    /// Where it stands.
    pub span: TextRange,
}

/// The kinds of duration expression.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExprKind {
    /// Seconds, or a duration written as such.
    Number(Number),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-x`, `+x`
    Unary {
        /// Minus, not plus?
        negative: bool,
        /// What the sign stands before.
        expr: Box<DurationExpr>,
    },
    /// `a + b`; one of `+ - * / % ^`.
    Binary {
        /// Which.
        op: BinaryOp,
        /// Left side.
        lhs: Box<DurationExpr>,
        /// Right side.
        rhs: Box<DurationExpr>,
    },
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
}
