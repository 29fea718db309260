//! Asks one query of a script's store, the way a server asks its shards.

use super::store::Store;
use super::{Outcome, Settings};
use crate::query::engine::{Answer, evaluate};
use crate::query::error::QueryError;
use crate::query::memory::Budget;
use crate::query::pace::Pace;
use crate::query::prepare::{EvalRange, prepare};

/// The query's answer or its error; fails with the verdict if the query uses what is not supported.
pub(super) async fn ask<P: Pace>(
    query: &str,
    range: EvalRange,
    store: &Store,
    settings: &Settings,
    pace: &P,
) -> Result<Result<Answer, QueryError>, Outcome> {
    match answer(query, range, store, settings, pace).await {
        Err(error @ QueryError::Unsupported(_)) => Err(Outcome::Refused(error.to_string())),
        answered => Ok(answered),
    }
}

async fn answer<P: Pace>(
    query: &str,
    range: EvalRange,
    store: &Store,
    settings: &Settings,
    pace: &P,
) -> Result<Answer, QueryError> {
    let prepared = prepare(query, range, &settings.options)?;
    let mut parts = Vec::with_capacity(prepared.leaves().len());
    for leaf in prepared.leaves() {
        parts.push(store.ask(leaf).await?);
    }
    evaluate(&prepared, parts, pace, &Budget::unlimited().open()).await
}
