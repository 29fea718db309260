//! Asks a query in every way that must give the same answer.
//!
//! An instant query is asked as it is; with `@` set to its instant at every selector and subquery that has none, at
//! several other instants; and each of these as the middle step of a range query.

use super::command::{Eval, Expected};
use super::shards::Shards;
use super::{Outcome, ask, check};
use crate::model::TimestampMs;
use crate::query::ast::{At, Expr, ExprKind};
use crate::query::pace::Pace;
use crate::query::parser::{ParseOptions, parse_expr};
use crate::query::prepare::{EvalRange, Options};
use crate::query::value::AnswerValue;

const MINUTE_MS: i64 = 60_000;

/// Functions whose results depend on the instant of evaluation, so that `@` does not pin them.
const UNPINNED: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    "start",
    "end",
    "range",
    "step",
];

/// Asks and checks an `eval`; the error is its verdict.
pub(super) async fn in_every_way<S: Shards, P: Pace>(
    eval: &Eval,
    shards: &S,
    options: &Options,
    pace: &P,
) -> Result<(), Outcome> {
    let asked = ask_and_check(&eval.query, eval.range, eval, shards, options, pace).await;
    let in_query = |query: &str, outcome: Outcome| match outcome {
        Outcome::Failed(what) => Outcome::Failed(format!("{query}: {what}")),
        outcome => outcome,
    };
    asked.map_err(|outcome| in_query(&eval.query, outcome))?;
    if !eval.range.is_instant() {
        return Ok(());
    }
    let t = eval.range.start();
    as_range(&eval.query, t, eval, shards, options, pace)
        .await
        .map_err(|outcome| in_query(&eval.query, outcome))?;
    let Some(pinned) = pinned(&eval.query, t) else {
        return Ok(());
    };
    let instants: &[i64] = if t == 0 { &[-1000, 0, 1000] } else { &[-10 * t, 0, t / 5, t, 10 * t] };
    for at in instants {
        let range = EvalRange::instant(TimestampMs(*at));
        let asked = ask_and_check(&pinned, range, eval, shards, options, pace).await;
        asked.map_err(|outcome| in_query(&format!("{pinned} at {at}"), outcome))?;
        let asked = as_range(&pinned, *at, eval, shards, options, pace).await;
        asked.map_err(|outcome| in_query(&format!("{pinned} around {at}"), outcome))?;
    }
    Ok(())
}

async fn ask_and_check<S: Shards, P: Pace>(
    query: &str,
    range: EvalRange,
    eval: &Eval,
    shards: &S,
    options: &Options,
    pace: &P,
) -> Result<(), Outcome> {
    let answer = match (ask::ask(query, range, shards, options, pace).await?, &eval.fails) {
        (Ok(answer), None) => answer,
        (Err(error), Some(text)) if text.matches(&error.to_string()) => return Ok(()),
        (Err(error), _) => return Err(Outcome::Failed(format!("failed: {error}"))),
        (Ok(_), Some(text)) => {
            return Err(Outcome::Failed(format!("should have failed: {text:?}")));
        }
    };
    check::annotations(eval, query, &answer.annotations).map_err(Outcome::Failed)?;
    check::answer(eval, &check::Flat::of(answer.value)).map_err(Outcome::Failed)
}

/// Asks the query over two minutes around `t` and checks the middle step.
async fn as_range<S: Shards, P: Pace>(
    query: &str,
    t: i64,
    eval: &Eval,
    shards: &S,
    options: &Options,
    pace: &P,
) -> Result<(), Outcome> {
    let depends_on_range =
        ["start()", "end()", "range()", "step()"].iter().any(|f| query.contains(f));
    let plain = matches!(eval.answer, Expected::Scalar(_) | Expected::Series(_));
    if eval.fails.is_some() || eval.ordered || depends_on_range || !plain {
        return Ok(());
    }
    let (start, end) = (TimestampMs(t - MINUTE_MS), TimestampMs(t + MINUTE_MS));
    let range = EvalRange::range(start, end, MINUTE_MS);
    let answer = match ask::ask(query, range, shards, options, pace).await? {
        Ok(answer) => answer,
        Err(error) => return Err(Outcome::Failed(format!("failed as a range query: {error}"))),
    };
    let AnswerValue::Matrix { .. } = &answer.value else {
        return Err(Outcome::Failed("a range query answered no matrix".to_owned()));
    };
    let is_scalar = matches!(eval.answer, Expected::Scalar(_));
    let at = check::at_instant(answer.value, TimestampMs(t), is_scalar);
    check::answer(eval, &at).map_err(|what| Outcome::Failed(format!("as a range query: {what}")))
}

/// The query with `@ t` wherever it reads samples without a fixed instant; `None` if that does not make its answer the
/// same at all instants.
fn pinned(query: &str, t: i64) -> Option<String> {
    let mut expr = parse_expr(query, &ParseOptions::ALL).ok()?;
    pin(&mut expr, t).then(|| expr.to_text())
}

/// Pins `expr`; says whether all functions in it stay the same. Selectors in a subquery follow the subquery.
fn pin(expr: &mut Expr, t: i64) -> bool {
    let fix = |at: &mut Option<At>| {
        if !matches!(at, Some(At::Timestamp(_))) {
            *at = Some(At::Timestamp(TimestampMs(t)));
        }
    };
    match &mut expr.kind {
        ExprKind::Vector(selector) => fix(&mut selector.at),
        ExprKind::Matrix(matrix) => fix(&mut matrix.selector.at),
        ExprKind::Subquery(subquery) => fix(&mut subquery.at),
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Paren(inner) => return pin(inner, t),
        ExprKind::Unary(unary) => return pin(&mut unary.expr, t),
        ExprKind::Aggregate(aggregate) => {
            let param = aggregate.param.as_mut().is_none_or(|param| pin(param, t));
            return pin(&mut aggregate.expr, t) && param;
        }
        ExprKind::Binary(binary) => {
            let lhs = pin(&mut binary.lhs, t);
            return pin(&mut binary.rhs, t) && lhs;
        }
        ExprKind::Call(call) => {
            let stays = !UNPINNED.contains(&call.function.name);
            return call.args.iter_mut().fold(stays, |stays, arg| pin(arg, t) && stays);
        }
    }
    true
}
