//! PromQL: text and samples in, value out. No runtime, no file, no clock.
//!
//! A query goes through three steps. [`prepare()`] parses it and finds its [leaves](Leaf); every shard folds its own series
//! for each leaf with a [`LeafFold`]; [`evaluate`] merges the shards' [parts](LeafPart) and computes the rest.

mod aggregate;
pub mod annotation;
mod arithmetic;
pub mod ast;
mod ast_spine;
mod binary;
mod duration_expr;
pub mod durations;
mod element;
mod engine;
pub mod error;
pub mod float_histogram;
mod fold;
pub mod function_table;
mod functions;
pub mod grid;
mod grouping;
mod histogram;
mod invariance;
mod kahan;
mod label_functions;
mod leaf;
mod leaf_fold;
mod matching;
mod merge;
mod mixed;
mod names;
mod number;
pub mod pace;
pub mod parse_error;
pub mod parser;
mod partial;
mod plan;
mod planner;
mod planner_call;
mod planner_leaf;
mod planner_scalar;
mod point_map;
mod prepare;
pub mod prettier;
mod printer;
mod quantile;
pub mod quote;
mod range_call;
pub mod script;
mod selectors;
mod series_set;
mod stats_only;
mod step_run;
mod top;
pub mod tree;
pub mod value;
mod window;

pub use annotation::Annotations;
pub use engine::{Answer, evaluate};
pub use error::{QueryError, QueryErrorKind};
pub use leaf::Leaf;
pub use leaf_fold::{LeafFold, LeafPart};
pub use pace::{Cancel, Pace, Unpaced};
pub use prepare::{EvalRange, Options, Prepared, prepare};
pub use selectors::selectors;
pub use value::AnswerValue;
