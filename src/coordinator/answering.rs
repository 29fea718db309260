//! A query from its text to its answer: evaluated on all shards, or put together of what is kept and what is missing of it.

use std::time::Duration;

use super::api::Evaluated;
use super::evaluation::Evaluation;
use super::reading_texts;
use super::results::{Kept, Question};
use super::store::Coordinator;
use crate::model::{ShardId, TimestampMs};
use crate::query::grid::Grid;
use crate::query::memory::Account;
use crate::query::splice::{Piece, joined};
use crate::query::value::Series;
use crate::query::{
    Annotations, Answer, AnswerValue, EvalRange, Options, Prepared, QueryError, evaluate, prepare,
};
use crate::rt::clock::Stopwatch;
use crate::rt::pace::{Sharer, Slice};
use crate::rt::timer;
use crate::shard::{Request, Response};

/// A range of fewer steps is not worth keeping.
const STEPS_MIN: usize = 8;
/// A longer text is refused.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// The most steps that are kept of one question.
const STEPS_MAX: usize = 11_000;

/// What is to be evaluated of a range: its steps before those that are kept, and those behind.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    before: usize,
    /// The kept steps, counted in what is kept.
    kept: std::ops::Range<usize>,
    behind: usize,
    /// How many of the steps of what is kept are right.
    right: usize,
}

impl Coordinator {
    /// Evaluates a PromQL text, using what is kept of its answer.
    pub(super) async fn answer(
        &self,
        text: &str,
        range: EvalRange,
        options: &Options,
        timeout: Duration,
    ) -> Result<Evaluated, QueryError> {
        let running = Stopwatch::start();
        let prepared = prepared(text, range, options).await?;
        let prepared_in = running.elapsed();
        let account = self.0.budget.open();
        let answered = self.answer_prepared(text, &prepared, options, (timeout, running), &account);
        let answer = answered.await?;
        Ok(Evaluated { answer, prepared_in, account })
    }

    async fn answer_prepared(
        &self,
        text: &str,
        prepared: &Prepared,
        options: &Options,
        (timeout, running): (Duration, Stopwatch),
        account: &Account,
    ) -> Result<Answer, QueryError> {
        let grid = prepared.grid();
        let results = &self.0.results;
        // What is kept has been read before, and for another query.
        let is_kept = results.is_enabled() && prepared.is_divisible() && !options.counts_reads;
        if !is_kept || !(STEPS_MIN..=STEPS_MAX).contains(&grid.count) {
            return self.evaluate(prepared, timeout, account).await;
        }
        let question = Question {
            text: text.into(),
            step_ms: grid.step,
            phase_ms: grid.start.rem_euclid(grid.step),
            options: *options,
        };
        let kept = results.get(&question);
        let Some((moments, changed)) = self.changes(kept.as_deref()).await else {
            return self.evaluate(prepared, timeout, account).await;
        };
        let usable = kept.and_then(|kept| {
            let missing = missing(kept.piece.grid, grid, changed)?;
            Some((kept, missing))
        });
        let Some((kept, missing)) = usable else {
            results.count(0, grid.count);
            let answer = self.evaluate(prepared, timeout, account).await?;
            self.keep(question, moments, &answer).await;
            return Ok(answer);
        };
        results.count(missing.kept.len(), missing.before + missing.behind);
        let (before, behind) = (0..missing.before, grid.count - missing.behind..grid.count);
        if before.is_empty() && behind.is_empty() {
            let series = kept.piece.part(missing.kept).series;
            account.charge(series.iter().map(Series::held_bytes).sum())?;
            let value = AnswerValue::Matrix { grid, series };
            let annotations = Annotations::default();
            return Ok(Answer { value, annotations, samples_read: 0, reads: None, held_max: 0 });
        }
        // What is kept from now on reaches as far back, or ahead, as both; the answer is a part of it.
        let from = if before.is_empty() { 0 } else { missing.kept.start };
        let to = if behind.is_empty() { missing.right } else { missing.kept.end };
        let start = missing.kept.start - from;
        let mut pieces = vec![kept.piece.part(from..to)];
        let (mut samples_read, mut held_max) = (0, 0);
        let mut annotations = Annotations::default();
        for (steps, at) in [(before, 0), (behind, 1)] {
            if steps.is_empty() {
                continue;
            }
            let left = timeout.saturating_sub(running.elapsed());
            let answer = self.evaluate_steps((text, options), grid, steps, left, account).await?;
            samples_read += answer.samples_read;
            held_max = held_max.max(answer.held_max);
            annotations.merge(answer.annotations);
            let AnswerValue::Matrix { grid, series } = answer.value else {
                return Err(QueryError::Internal("a range query without a matrix".to_owned()));
            };
            pieces.insert(if at == 0 { 0 } else { pieces.len() }, Piece { grid, series });
        }
        let Some(whole) = joined(pieces) else {
            return Err(QueryError::Internal("a range of no steps".to_owned()));
        };
        let series = whole.part(start..start + grid.count).series;
        if annotations.is_empty() {
            let steps_max = kept.piece.grid.count.max(grid.count);
            let piece = whole.part(whole.grid.count.saturating_sub(steps_max)..whole.grid.count);
            results.keep(question, Kept { piece, moments });
        }
        let value = AnswerValue::Matrix { grid, series };
        Ok(Answer { value, annotations, samples_read, reads: None, held_max })
    }

    /// Evaluates some steps of `grid`. A single one is evaluated with a neighbour: a range of one step is an instant, and
    /// some of the language is not the same there.
    async fn evaluate_steps(
        &self,
        (text, options): (&str, &Options),
        grid: Grid,
        steps: std::ops::Range<usize>,
        timeout: Duration,
        account: &Account,
    ) -> Result<Answer, QueryError> {
        let mut asked = steps.clone();
        if asked.len() == 1 {
            asked = if asked.start > 0 { asked.start - 1..asked.end } else { asked.start..2 };
        }
        let (start, end) = (grid.time(asked.start), grid.time(asked.end - 1));
        let range = EvalRange::range(TimestampMs(start), TimestampMs(end), grid.step);
        let mut answer =
            self.evaluate(&prepared(text, range, options).await?, timeout, account).await?;
        if asked != steps
            && let AnswerValue::Matrix { grid, series } = &mut answer.value
        {
            let whole = Piece { grid: *grid, series: std::mem::take(series) };
            let from = steps.start - asked.start;
            let part = whole.part(from..from + steps.len());
            (*grid, *series) = (part.grid, part.series);
        }
        Ok(answer)
    }

    /// Evaluates all of a query.
    async fn evaluate(
        &self,
        prepared: &Prepared,
        timeout: Duration,
        account: &Account,
    ) -> Result<Answer, QueryError> {
        let evaluation = Evaluation::begin(timeout, account);
        let answered = timer::timeout(timeout, self.fold(prepared.leaves(), &evaluation));
        let parts = answered.await.map_err(|_| QueryError::Timeout)??;
        let _sharer = Sharer::begin();
        evaluate(prepared, parts, &evaluation, evaluation.account()).await
    }

    /// The shards' moments now, and the first instant that has changed since what is kept; `None` if a shard does not say.
    async fn changes(&self, kept: Option<&Kept>) -> Option<(Vec<u64>, Option<TimestampMs>)> {
        let calls = (0..self.0.shards).map(|shard| {
            let since = kept.and_then(|kept| kept.moments.get(usize::from(shard)).copied());
            self.0.peers.call(ShardId(shard), Request::Changes(since))
        });
        let (mut moments, mut first) = (Vec::new(), None::<TimestampMs>);
        for response in super::gather::all(calls).await {
            let Ok(Response::Changes(changed)) = response else {
                return None;
            };
            moments.push(changed.moment);
            first = [first, changed.from].into_iter().flatten().min();
        }
        Some((moments, first))
    }

    /// Keeps an answer of which nothing odd is to be told, if it is not too large to be kept.
    async fn keep(&self, question: Question, moments: Vec<u64>, answer: &Answer) {
        if let AnswerValue::Matrix { grid, series } = &answer.value
            && answer.annotations.is_empty()
        {
            let (mut copies, mut slice) = (Vec::with_capacity(series.len()), Slice::start());
            let mut bytes = 0;
            for one in series {
                bytes += one.held_bytes();
                if bytes > self.0.results.bytes_of_one_max() {
                    return;
                }
                copies.push(one.clone());
                slice.breathe().await;
            }
            let piece = Piece { grid: *grid, series: copies };
            self.0.results.keep(question, Kept { piece, moments });
        }
    }
}

/// The plan of a query.
async fn prepared(text: &str, range: EvalRange, options: &Options) -> Result<Prepared, QueryError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(QueryError::BadData(format!(
            "the query has {} bytes, at most {TEXT_BYTES_MAX} are allowed; ask in parts",
            text.len()
        )));
    }
    let (text, options) = (text.to_owned(), *options);
    let reading = reading_texts::read(text.len(), move || prepare(&text, range, &options));
    reading.await.map_err(|error| QueryError::Internal(error.to_string()))?
}

/// What of `grid` is missing in an answer over `kept`, of which steps from the instant `changed` on are not right any more;
/// `None` if nothing of it helps.
fn missing(kept: Grid, grid: Grid, changed: Option<TimestampMs>) -> Option<Missing> {
    let index_of = |t: i64| t.checked_sub(kept.start).map(|ahead| ahead / kept.step);
    let right = match changed {
        // The steps before that instant.
        Some(TimestampMs(t)) if t <= kept.start => 0,
        Some(TimestampMs(t)) => {
            let steps = index_of(t.checked_sub(1)?)?.checked_add(1)?;
            kept.count.min(usize::try_from(steps).ok()?)
        }
        None => kept.count,
    };
    let from = usize::try_from(index_of(grid.start).map_or(0, |index| index.max(0))).ok()?;
    let behind_last = grid.end().checked_sub(kept.start)?.checked_div(kept.step)?.checked_add(1)?;
    let to = right.min(usize::try_from(behind_last).ok()?);
    if from >= to {
        return None;
    }
    let first = kept.time(from).checked_sub(grid.start)?.checked_div(grid.step)?;
    let before = usize::try_from(first).ok()?;
    let behind = grid.count.checked_sub(before + (to - from))?;
    Some(Missing { before, kept: from..to, behind, right })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grid(start: i64, count: usize) -> Grid {
        Grid { start, step: 10, count, is_instant: count == 1 }
    }

    #[test]
    fn a_range_that_moved_on_lacks_its_end() {
        let missing = missing(grid(0, 10), grid(30, 10), None).unwrap();
        assert_eq!(missing, Missing { before: 0, kept: 3..10, behind: 3, right: 10 });
    }

    #[test]
    fn steps_from_a_change_on_are_missing() {
        let of = |t| missing(grid(0, 10), grid(0, 10), Some(TimestampMs(t)));
        assert_eq!(of(50), Some(Missing { before: 0, kept: 0..5, behind: 5, right: 5 }));
        assert_eq!(of(51), Some(Missing { before: 0, kept: 0..6, behind: 4, right: 6 }));
        assert_eq!(of(0), None);
        assert_eq!(of(i64::MIN), None);
        assert_eq!(of(1000), Some(Missing { before: 0, kept: 0..10, behind: 0, right: 10 }));
    }

    proptest! {
        #[test]
        fn what_is_kept_and_what_is_missing_is_the_range(
            (kept_at, kept_count) in (-20i64..20, 1usize..30),
            (at, count) in (-20i64..20, 1usize..30),
            changed in proptest::option::of(-300i64..400),
        ) {
            let (kept, asked) = (grid(kept_at * 10, kept_count), grid(at * 10, count));
            let right = |t: i64| {
                let ahead = t - kept.start;
                ahead >= 0 && ahead / 10 < kept_count as i64 && changed.is_none_or(|changed| t < changed)
            };
            let want: Vec<i64> = (0..count).map(|step| asked.time(step)).filter(|t| right(*t)).collect();
            match missing(kept, asked, changed.map(TimestampMs)) {
                None => prop_assert!(want.is_empty()),
                Some(missing) => {
                    let have: Vec<i64> = missing.kept.clone().map(|step| kept.time(step)).collect();
                    prop_assert_eq!(have, want);
                    prop_assert_eq!(missing.before + missing.kept.len() + missing.behind, count);
                    prop_assert_eq!(asked.time(missing.before), kept.time(missing.kept.start));
                }
            }
        }
    }
}
