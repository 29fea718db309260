//! What the lines of a script say.

use std::sync::Arc;

use crate::model::{GoRegex, Labels};
use crate::query::float_histogram::FloatHistogram;
use crate::query::prepare::EvalRange;

/// Why a script cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// One command.
#[derive(Debug)]
pub(super) enum Command {
    /// Forget all samples.
    Clear,
    /// Store samples.
    Load(Load),
    /// Ask a query.
    Eval(Box<Eval>),
}

/// Series to store.
#[derive(Debug)]
pub(super) struct Load {
    /// From one value to the next, in milliseconds.
    pub step: i64,
    /// Also store each classic histogram as a native one?
    pub with_native: bool,
    /// The series.
    pub series: Vec<LoadSeries>,
}

/// A series to store.
#[derive(Debug)]
pub(super) struct LoadSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its values, one a step; `None` where there is none.
    pub values: Vec<Option<ScriptValue>>,
    /// Their start timestamps, as what is added to their own times; `None` where there is none. Empty, or as many as values.
    pub starts: Vec<Option<i64>>,
}

/// A query and what it must answer.
#[derive(Debug)]
pub(super) struct Eval {
    /// Its line, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// When.
    pub range: EvalRange,
    /// Must series come in the order of the lines?
    pub ordered: bool,
    /// Must it fail, and how?
    pub fails: Option<Text>,
    /// The warnings that there must be.
    pub warnings: Vec<Text>,
    /// The infos that there must be.
    pub infos: Vec<Text>,
    /// Must there be no warning?
    pub no_warnings: bool,
    /// Must there be no info?
    pub no_infos: bool,
    /// The answer.
    pub answer: Expected,
}

/// The answer that is expected.
#[derive(Debug)]
pub(super) enum Expected {
    /// A number.
    Scalar(f64),
    /// A text.
    String(Vec<u8>),
    /// Series, in the order of their lines.
    Series(Vec<ExpectedSeries>),
    /// The raw or inner points of a range vector, on this grid.
    Ranges {
        /// First instant.
        start: i64,
        /// From one instant to the next.
        step: i64,
        /// The series.
        series: Vec<ExpectedSeries>,
    },
}

/// One expected series.
#[derive(Debug)]
pub(super) struct ExpectedSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its values, one a step; `None` where there must be none.
    pub values: Vec<Option<ScriptValue>>,
}

/// A value as a script spells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ScriptValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram {
        /// The histogram.
        histogram: Arc<FloatHistogram>,
        /// Does the script say what is known about a reset before it?
        hints: bool,
    },
}

/// A text that must come up.
#[derive(Debug)]
pub(super) enum Text {
    /// Any text.
    Any,
    /// This one.
    Exactly(String),
    /// One with a match of this pattern.
    Matching(GoRegex),
}

impl Text {
    /// Is `text` as expected?
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(want) => want == text,
            Self::Matching(pattern) => pattern.is_match(text),
        }
    }
}
