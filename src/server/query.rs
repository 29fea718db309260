//! `/api/v1/query` and `/api/v1/query_range`.
//!
//! Owns what surrounds an evaluation: its parameters, its turn, its time. Each core runs its share of
//! `--query.max-concurrency`; the time that a query waits for its turn counts towards its timeout. An answer is written
//! while it is sent, when its turn is over.
//! Source: `web/api/v1/api.go` (`query`, `queryRange`, `returnAPIError`), Prometheus 3.14.

use std::net::SocketAddr;
use std::time::Duration;

use super::active_queries::Listed;
use super::api_error::{ApiError, ErrorType};
use super::cli::Features;
use super::form::Form;
use super::home;
use super::json::Notes;
use super::json::answer::AnswerSlices;
use super::json::stats::Stats;
use super::metrics::Counters;
use super::params;
use super::reply::{self, Reply};
use super::route::Endpoint;
use super::series::TRUNCATED;
use super::service::Server;
use crate::coordinator::api::{Evaluated, Need, Store};
use crate::query::{Answer, AnswerValue, EvalRange, Options, QueryError, QueryErrorKind};
use crate::rt::{Stopwatch, timer};

/// `query`.
///
/// # Errors
/// A parameter that cannot mean anything, or a query without an answer.
pub async fn instant<S: Store>(
    server: &Server<S>,
    form: &Form,
    client: Option<SocketAddr>,
) -> Result<Reply, ApiError> {
    let limit = params::limit(form)?;
    let at = params::time(form, "time", (server.now)())?;
    let asked = Asked { endpoint: Endpoint::Query, client, range: EvalRange::instant(at), limit };
    answer(server, form, asked).await
}

/// `query_range`.
///
/// # Errors
/// A parameter that cannot mean anything, or a query without an answer.
pub async fn range<S: Store>(
    server: &Server<S>,
    form: &Form,
    client: Option<SocketAddr>,
) -> Result<Reply, ApiError> {
    let limit = params::limit(form)?;
    let params::Grid { start, end, step_ms } = params::grid(form)?;
    let range = EvalRange::range(start, end, step_ms);
    answer(server, form, Asked { endpoint: Endpoint::QueryRange, client, range, limit }).await
}

/// What a request asks for, besides its text.
struct Asked {
    endpoint: Endpoint,
    client: Option<SocketAddr>,
    range: EvalRange,
    limit: Option<usize>,
}

async fn answer<S: Store>(
    server: &Server<S>,
    form: &Form,
    Asked { endpoint, client, range, limit }: Asked,
) -> Result<Reply, ApiError> {
    let timeout =
        params::timeout(form)?.unwrap_or(Duration::MAX).min(server.settings.query_timeout);
    let lookback_ms = params::lookback_delta_ms(form)?.unwrap_or(server.settings.lookback_delta_ms);
    let text = form.get("query");
    let samples_max = server.settings.query_samples_max;
    let Features {
        parse,
        delayed_name_removal,
        use_start_timestamps,
        type_and_unit_labels,
        per_step_stats,
    } = server.settings.features;
    let stats_asked = params::stats(form);
    let options = Options {
        lookback_ms,
        samples_max,
        delayed_name_removal,
        use_start_timestamps,
        looks_at_types: type_and_unit_labels,
        counts_reads: stats_asked != params::Stats::None,
        parse,
        ..Options::default()
    };

    let waiting = Stopwatch::start();
    // Before it takes its turn: while the log is read back nobody's turn ends.
    if let Some(reply) = home::not_ready(server.ready_for(Need::Reads, timeout).await) {
        return Ok(reply);
    }
    let left = timeout.saturating_sub(waiting.elapsed());
    let Ok(turn) = timer::timeout(left, server.queries.acquire(1)).await else {
        return Err(ApiError::new(ErrorType::Timeout, "query timed out in query queue"));
    };
    let waited = waiting.elapsed();
    server.counters.query_waits.observe(waited);
    let _turn = turn.ok_or_else(|| ApiError::new(ErrorType::Unavailable, "the server stops"))?;

    let listed = server.active_queries.begin(text, endpoint, client, (server.now)());
    let running = Running::begin(&server.counters, listed);
    let evaluation = Stopwatch::start();
    let left = timeout.saturating_sub(waited);
    let asked = server.store.query(text, range, &options, left);
    let asked = futures_lite::future::or(asked, running.cancelled());
    let outcome = timer::timeout(left, asked).await;
    let took = evaluation.elapsed();
    server.counters.query_durations.observe(took);
    drop(running);

    let Evaluated { answer, prepared_in, account } = match outcome {
        Ok(outcome) => outcome.map_err(|error| refusal(&error))?,
        Err(_) => return Err(refusal(&QueryError::Timeout)),
    };
    let Answer { mut value, annotations, samples_read, reads, held_max } = answer;
    server.counters.query_samples.add(samples_read);
    let mut notes = Notes { warnings: annotations.warnings(text), infos: annotations.infos(text) };
    if limit.is_some_and(|limit| truncate(&mut value, limit)) {
        notes.warnings.push(TRUNCATED.to_owned());
    }
    let stats = match stats_asked {
        params::Stats::None => None,
        params::Stats::Asked { each_step, deprecated } => {
            notes.warnings.extend(deprecated.then(|| deprecated_stats(form.get("stats"))));
            Some(Stats {
                queue_seconds: waited.as_secs_f64(),
                eval_seconds: took.as_secs_f64(),
                preparation_seconds: prepared_in.as_secs_f64(),
                reads: reads.unwrap_or_default(),
                each_of: (each_step && per_step_stats).then(|| range.grid()),
                held_max,
            })
        }
    };
    Ok(reply::sliced(Box::new(AnswerSlices::new(value, stats, notes).holding(account))))
}

/// A query that runs, counted and listed for as long.
struct Running<'a> {
    counters: &'a Counters,
    listed: Listed<'a>,
}

impl<'a> Running<'a> {
    fn begin(counters: &'a Counters, listed: Listed<'a>) -> Self {
        counters.queries.add(1);
        Self { counters, listed }
    }

    /// Fails when somebody has cancelled it.
    async fn cancelled<T>(&self) -> Result<T, QueryError> {
        self.listed.cancelled().await;
        Err(QueryError::Canceled)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.counters.queries.subtract(1);
    }
}

/// How an API says that a query has no answer.
fn refusal(error: &QueryError) -> ApiError {
    match error.kind() {
        QueryErrorKind::BadData => {
            ApiError::bad_data(format!("invalid parameter \"query\": {error}"))
        }
        QueryErrorKind::Execution => ApiError::new(ErrorType::Execution, error.to_string()),
        QueryErrorKind::Timeout => ApiError::new(ErrorType::Timeout, error.to_string()),
        QueryErrorKind::Canceled => ApiError::new(ErrorType::Canceled, error.to_string()),
        QueryErrorKind::Internal => ApiError::new(ErrorType::Internal, error.to_string()),
    }
}

/// Keeps the first `limit` series; were there more?
fn truncate(value: &mut AnswerValue, limit: usize) -> bool {
    fn cut<T>(series: &mut Vec<T>, limit: usize) -> bool {
        let longer = series.len() > limit;
        series.truncate(limit);
        longer
    }
    match value {
        AnswerValue::Scalar { .. } | AnswerValue::String { .. } => false,
        AnswerValue::Vector { samples, .. } => cut(samples, limit),
        AnswerValue::Matrix { series, .. } => cut(series, limit),
        AnswerValue::Ranges(series) => cut(series, limit),
    }
}

fn deprecated_stats(value: &str) -> String {
    format!(
        "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"",
        crate::query::quote::quoted(value.as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::model::{Labels, TimestampMs};
    use crate::query::value::{Column, Point, Series};
    use crate::query::{Annotations, Reads, grid};
    use crate::rt::executor::testing::on_one_shard;
    use crate::rt::local::Event;
    use crate::rt::task;
    use crate::server::testing::{
        Answered, FakeStore, NOW, Pieces, Question, ask, get, post_form, server, write_v1,
    };

    fn answered(value: AnswerValue) -> Result<Answer, QueryError> {
        let reads = Some(Reads { seen: vec![3], read: vec![2], ..Reads::default() });
        let annotations = Annotations::default();
        Ok(Answer { value, annotations, samples_read: 3, reads, held_max: 4 })
    }

    fn vector(series: usize) -> Result<Answer, QueryError> {
        answered(AnswerValue::Vector {
            t: NOW,
            samples: vec![(Labels::empty(), Point::Float(1.0)); series],
        })
    }

    /// What a server answers whose store gives this answer, and what the store was asked.
    async fn ask_once(
        answer: Result<Answer, QueryError>,
        request: Request<Pieces>,
    ) -> (Answered, Option<Question>) {
        let store = FakeStore::new();
        *store.answer.borrow_mut() = Some(answer);
        let answered = ask(&server(&store, ""), request).await;
        let question = store.question.borrow_mut().take();
        (answered, question)
    }

    #[test]
    fn an_instant_query_is_asked_for_now_unless_it_says_otherwise() {
        on_one_shard(|_| async {
            let (answered, question) = ask_once(vector(1), get("/api/v1/query?query=up")).await;
            assert_eq!(
                answered.body,
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000,"1"]}]}}"#
            );
            let question = question.unwrap();
            assert_eq!((question.text.as_str(), question.range), ("up", EvalRange::instant(NOW)));
            assert_eq!(question.options, Options::default());

            let form = "query=up&time=1.5&lookback_delta=1m&timeout=3";
            let (_, question) = ask_once(vector(1), post_form("/api/v1/query", form)).await;
            let question = question.unwrap();
            assert_eq!(question.range, EvalRange::instant(TimestampMs(1500)));
            assert_eq!(question.options.lookback_ms, 60_000);
            assert!(question.timeout <= Duration::from_secs(3));
        });
    }

    #[test]
    fn what_was_written_is_answered() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let series = (&[("__name__", "up"), ("job", "a")][..], &[(1000, 1.0), (2000, 3.0)][..]);
            assert_eq!(ask(&server, write_v1(&[series])).await.status, 204);
            let answered = ask(&server, get("/api/v1/query?query=up%2B1&time=2")).await;
            assert_eq!(
                answered.body,
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[2,"4"]}]}}"#
            );
            let answered = ask(&server, get("/api/v1/query?query=up%7B&time=2")).await;
            assert_eq!(answered.status, 400);
            assert!(
                answered
                    .body
                    .contains(r#""error":"invalid parameter \"query\": 1:4: parse error: "#),
                "{}",
                answered.body
            );
        });
    }

    #[test]
    fn a_range_query_has_a_grid() {
        on_one_shard(|_| async {
            let column = Column::of(&[1.0, 2.0]).unwrap();
            let series = vec![Series::of_floats(Labels::empty(), false, column)];
            let value = AnswerValue::Matrix { grid: grid::Grid::new(1000, 2000, 1000), series };
            let uri = "/api/v1/query_range?query=up&start=1&end=2&step=1";
            let (answered, question) = ask_once(answered(value), get(uri)).await;
            assert_eq!(
                answered.body,
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2,"2"]]}]}}"#
            );
            let expected = EvalRange::range(TimestampMs(1000), TimestampMs(2000), 1000);
            assert_eq!(question.unwrap().range, expected);
        });
    }

    #[test]
    fn a_parameter_that_cannot_mean_anything_asks_nobody() {
        on_one_shard(|_| async {
            for (uri, error) in [
                (
                    "/api/v1/query?query=up&time=soon",
                    r#"invalid parameter \"time\": invalid time value for 'time': cannot parse \"soon\" to a valid timestamp"#,
                ),
                (
                    "/api/v1/query?query=up&limit=-1",
                    r#"invalid parameter \"limit\": limit must be non-negative"#,
                ),
                (
                    "/api/v1/query?query=up&timeout=x",
                    r#"invalid parameter \"timeout\": cannot parse \"x\" to a valid duration"#,
                ),
                (
                    "/api/v1/query_range?query=up&start=2&end=1&step=1",
                    r#"invalid parameter \"end\": end timestamp must not be before start time"#,
                ),
            ] {
                let (answered, question) = ask_once(vector(1), get(uri)).await;
                assert_eq!(answered.status, 400);
                assert_eq!(
                    answered.body,
                    format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#)
                );
                assert!(question.is_none(), "{uri}");
            }
        });
    }

    #[test]
    fn each_kind_of_error_has_its_status() {
        on_one_shard(|_| async {
            for (error, status, error_type, text) in [
                (
                    QueryError::BadData("no".to_owned()),
                    400,
                    "bad_data",
                    r#"invalid parameter \"query\": no"#,
                ),
                (
                    QueryError::TooManySamples,
                    422,
                    "execution",
                    "query processing would load too many samples into memory in query execution",
                ),
                (QueryError::Timeout, 503, "timeout", "query timed out in expression evaluation"),
                (
                    QueryError::Canceled,
                    499,
                    "canceled",
                    "query was canceled in expression evaluation",
                ),
                (QueryError::Internal("x".to_owned()), 500, "internal", "internal error: x"),
            ] {
                let (answered, _) = ask_once(Err(error), get("/api/v1/query?query=up")).await;
                assert_eq!(answered.status.as_u16(), status);
                assert_eq!(
                    answered.body,
                    format!(r#"{{"status":"error","errorType":"{error_type}","error":"{text}"}}"#)
                );
            }
        });
    }

    #[test]
    fn a_limit_cuts_the_series_and_says_so() {
        on_one_shard(|_| async {
            let (answered, _) = ask_once(vector(3), get("/api/v1/query?query=up&limit=2")).await;
            let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
            assert_eq!(json["data"]["result"].as_array().unwrap().len(), 2);
            assert_eq!(json["warnings"], serde_json::json!(["results truncated due to limit"]));
            let (answered, _) = ask_once(vector(3), get("/api/v1/query?query=up&limit=3")).await;
            assert!(!answered.body.contains("warnings"), "{}", answered.body);
        });
    }

    #[test]
    fn statistics_come_when_they_are_asked_for() {
        on_one_shard(|_| async {
            let (answered, _) = ask_once(vector(1), get("/api/v1/query?query=up&stats=1")).await;
            let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
            let samples = serde_json::json!({
                "totalQueryableSamples": 3, "samplesRead": 2, "peakSamples": 4
            });
            assert_eq!(json["data"]["stats"]["samples"], samples);
            assert_eq!(
                json["warnings"][0],
                "value \"1\" for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""
            );
        });
    }

    #[test]
    fn each_step_is_told_of_if_a_flag_and_the_request_say_so() {
        on_one_shard(|_| async {
            let flag = "--enable-feature=promql-per-step-stats";
            for (flags, uri, per_step) in [
                (flag, "/api/v1/query?query=up&stats=all&time=2", serde_json::json!([[2, 3]])),
                (flag, "/api/v1/query?query=up&stats=true", serde_json::Value::Null),
                ("", "/api/v1/query?query=up&stats=all", serde_json::Value::Null),
            ] {
                let store = FakeStore::new();
                *store.answer.borrow_mut() = Some(vector(1));
                let answered = ask(&server(&store, flags), get(uri)).await;
                let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
                let samples = &json["data"]["stats"]["samples"];
                assert_eq!(samples["totalQueryableSamplesPerStep"], per_step, "{flags} {uri}");
                assert!(store.question.borrow_mut().take().unwrap().options.counts_reads);
            }
        });
    }

    #[test]
    fn a_query_that_takes_too_long_is_stopped() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            *store.gate.borrow_mut() = Some(Event::new());
            let server = server(&store, "");
            let answered = ask(&server, get("/api/v1/query?query=up&timeout=1ms")).await;
            assert_eq!(answered.status, 503);
            assert!(answered.body.contains("query timed out in expression evaluation"));
            assert_eq!(server.counters.queries.get(), 0);
        });
    }

    #[test]
    fn a_query_that_runs_is_listed_and_can_be_cancelled() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            *store.gate.borrow_mut() = Some(Event::new());
            let server = server(&store, "--web.enable-admin-api");
            let first = std::rc::Rc::clone(&server);
            let first =
                task::spawn(
                    "first",
                    async move { ask(&first, get("/api/v1/query?query=up")).await },
                );
            let listed = ask(&server, get("/api/v1/status/active_queries")).await;
            let json: serde_json::Value = serde_json::from_str(&listed.body).unwrap();
            let query = &json["data"]["queries"][0];
            assert_eq!((&query["query"], &query["id"]), (&"up".into(), &1.into()));
            assert_eq!(query["handler"], "/api/v1/query");
            assert_eq!(query["startTime"], "2023-11-14T22:13:20Z");
            let cancel =
                |id: &str| post_form(&format!("/api/v1/status/active_queries/{id}/cancel"), "");
            assert_eq!(ask(&server, cancel("2")).await.status, 404);
            assert_eq!(ask(&server, cancel("1")).await.status, 204);
            let answered = first.await.unwrap();
            assert_eq!(answered.status.as_u16(), 499);
            assert!(answered.body.contains("query was canceled in expression evaluation"));
            let listed = ask(&server, get("/api/v1/status/active_queries")).await;
            assert_eq!(listed.body, r#"{"status":"success","data":{"queries":[]}}"#);
        });
    }

    #[test]
    fn only_operators_may_cancel() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let cancel = post_form("/api/v1/status/active_queries/1/cancel", "");
            let answered = ask(&server, cancel).await;
            assert_eq!(answered.status, 500);
            assert!(answered.body.contains("admin APIs disabled"), "{}", answered.body);
        });
    }

    #[test]
    fn the_flags_switch_parts_of_the_language_on() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            *store.answer.borrow_mut() = Some(vector(1));
            let flags = "--enable-feature=promql-delayed-name-removal,promql-experimental-functions,use-start-timestamps";
            ask(&server(&store, flags), get("/api/v1/query?query=up")).await;
            let options = store.question.borrow_mut().take().unwrap().options;
            assert!(options.delayed_name_removal && options.parse.experimental_functions);
            assert!(options.use_start_timestamps && !options.parse.binop_fill_modifiers);
        });
    }

    #[test]
    fn a_query_beyond_the_core_s_share_waits_for_its_turn() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let gate = Event::new();
            *store.gate.borrow_mut() = Some(gate.clone());
            *store.answer.borrow_mut() = Some(vector(1));
            let server = server(&store, "--query.max-concurrency=1");
            let first = std::rc::Rc::clone(&server);
            let first = task::spawn("first", async move {
                ask(&first, get("/api/v1/query?query=up")).await.status.as_u16()
            });
            assert_eq!(server.counters.queries.get(), 1);
            let answered = ask(&server, get("/api/v1/query?query=up&timeout=1ms")).await;
            assert!(answered.body.contains("query timed out in query queue"), "{}", answered.body);
            gate.set();
            assert_eq!(first.await, Ok(200));
            assert_eq!(ask(&server, get("/api/v1/query?query=up")).await.status, 200);
        });
    }
}
