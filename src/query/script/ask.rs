//! Asks one query of a script's shards, the way a server asks its shards.

use super::Outcome;
use super::shards::Shards;
use crate::query::engine::{Answer, evaluate};
use crate::query::error::QueryError;
use crate::query::memory::Budget;
use crate::query::pace::Pace;
use crate::query::prepare::{EvalRange, Options, prepare};

/// The query's answer or its error; fails with the verdict if the query uses what is not supported.
pub(super) async fn ask<S: Shards, P: Pace>(
    query: &str,
    range: EvalRange,
    shards: &S,
    options: &Options,
    pace: &P,
) -> Result<Result<Answer, QueryError>, Outcome> {
    match answer(query, range, shards, options, pace).await {
        Err(error @ QueryError::Unsupported(_)) => Err(Outcome::Refused(error.to_string())),
        answered => Ok(answered),
    }
}

/// The same, where an error is one whatever it says.
pub(super) async fn answer<S: Shards, P: Pace>(
    query: &str,
    range: EvalRange,
    shards: &S,
    options: &Options,
    pace: &P,
) -> Result<Answer, QueryError> {
    let prepared = prepare(query, range, options)?;
    let mut parts = Vec::with_capacity(prepared.leaves().len());
    for leaf in prepared.leaves() {
        parts.push(shards.ask(leaf).await?);
    }
    evaluate(&prepared, parts, pace, &Budget::unlimited().open()).await
}
