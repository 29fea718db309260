//! `/api/v1/query_exemplars`: the exemplars of the series that the selectors of an expression find.
//!
//! Source: `web/api/v1/api.go` (`queryExemplars`), `web/api/v1/json_codec.go`, Prometheus 3.14.

use http::StatusCode;

use super::api_error::{ApiError, ErrorType};
use super::form::Form;
use super::json::slices::{self, List};
use super::json::{Notes, array, number};
use super::params;
use super::reply::{self, Reply};
use super::series::in_time;
use super::service::Server;
use crate::coordinator::api::{Limited, Store};
use crate::coordinator::reading_texts;
use crate::model::{Exemplar, SeriesExemplars};
use crate::query::selectors;

/// `query_exemplars`. An expression without a selector is answered 204, as in Prometheus.
///
/// # Errors
/// An expression that does not parse, a parameter that cannot mean anything, or a store that cannot answer.
pub async fn exemplars<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    let range = params::range(form)?.ok_or_else(|| {
        ApiError::bad_data("end timestamp must not be before start timestamp".to_owned())
    })?;
    let text = form.get("query").to_owned();
    let reading = reading_texts::read(text.len(), move || selectors(&text));
    let read =
        reading.await.map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))?;
    let selectors = read.map_err(|error| ApiError::bad_data(error.to_string()))?;
    if selectors.is_empty() {
        return Ok(reply::empty(StatusCode::NO_CONTENT));
    }
    let Limited { items, account, .. } =
        in_time(server, server.store.exemplars(selectors, range)).await?;
    let list = List::new(items, of_series, Notes::default()).holding(account);
    Ok(reply::sliced(Box::new(list)))
}

fn of_series(out: &mut Vec<u8>, SeriesExemplars { series, exemplars }: &SeriesExemplars) {
    out.extend_from_slice(br#"{"seriesLabels":"#);
    slices::labels(out, series);
    out.extend_from_slice(br#","exemplars":"#);
    array(out, exemplars, |out, Exemplar { labels, value, t }| {
        out.extend_from_slice(br#"{"labels":"#);
        slices::labels(out, labels);
        out.extend_from_slice(br#","value":"#);
        number::value(out, *value);
        out.extend_from_slice(br#","timestamp":"#);
        number::timestamp(out, *t);
        out.push(b'}');
    });
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, TimestampMs};
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{FakeStore, ask, get, post_form, server};

    fn labels(pairs: &[(&'static str, &'static str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    /// The answers to these questions, asked about two series; by both methods.
    fn check(questions: &'static [(&'static str, u16, &'static str)]) {
        on_one_shard(move |_| async move {
            let store = FakeStore::new();
            let exemplar = |trace, value, t| Exemplar {
                labels: labels(&[("trace_id", trace)]),
                value,
                t: TimestampMs(t),
            };
            *store.exemplars.borrow_mut() = vec![
                SeriesExemplars {
                    series: labels(&[("__name__", "a"), ("job", "<x>")]),
                    exemplars: vec![exemplar("t1", 1.5, 1042), exemplar("t2", f64::INFINITY, 2000)],
                },
                SeriesExemplars {
                    series: labels(&[("__name__", "b")]),
                    exemplars: vec![Exemplar {
                        labels: Labels::empty(),
                        ..exemplar("", 0.0, 3000)
                    }],
                },
            ];
            let server = server(&store, "");
            for (form, status, body) in questions {
                let path = "/api/v1/query_exemplars";
                for request in [get(&format!("{path}?{form}")), post_form(path, form)] {
                    let answered = ask(&server, request).await;
                    let told = (answered.status.as_u16(), answered.body.as_str());
                    assert_eq!(told, (*status, *body), "{form}");
                }
            }
        });
    }

    #[test]
    fn exemplars_are_told_series_by_series() {
        check(&[
            (
                "query=rate(a[5m])%2Bb",
                200,
                r#"{"status":"success","data":[{"seriesLabels":{"__name__":"a","job":"<x>"},"exemplars":[{"labels":{"trace_id":"t1"},"value":"1.5","timestamp":1.042},{"labels":{"trace_id":"t2"},"value":"+Inf","timestamp":2}]},{"seriesLabels":{"__name__":"b"},"exemplars":[{"labels":{},"value":"0","timestamp":3}]}]}"#,
            ),
            (
                "query=a&start=1&end=1.5",
                200,
                r#"{"status":"success","data":[{"seriesLabels":{"__name__":"a","job":"<x>"},"exemplars":[{"labels":{"trace_id":"t1"},"value":"1.5","timestamp":1.042}]}]}"#,
            ),
            ("query=c", 200, r#"{"status":"success","data":[]}"#),
        ]);
    }

    #[test]
    fn an_expression_without_a_selector_has_no_answer() {
        check(&[("query=1%2B1", 204, "")]);
    }

    #[test]
    fn what_cannot_be_asked_is_refused_in_prometheus_words() {
        check(&[
            (
                "query=a&start=2&end=1",
                400,
                r#"{"status":"error","errorType":"bad_data","error":"end timestamp must not be before start timestamp"}"#,
            ),
            (
                "query=a&start=x",
                400,
                r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"}"#,
            ),
            (
                "query=",
                400,
                r#"{"status":"error","errorType":"bad_data","error":"unknown position: parse error: no expression found in input"}"#,
            ),
        ]);
    }
}
