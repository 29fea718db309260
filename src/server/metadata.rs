//! `/api/v1/metadata`: type, help text and unit of metric families, as their senders say it.
//!
//! In Prometheus this is what scrape targets say, and what is pushed has none; here it is what remote write brought. The shape,
//! the parameters and their texts are the same. Source: `web/api/v1/api.go` (`metricMetadata`), Prometheus 3.14.

use super::api_error::ApiError;
use super::form::Form;
use super::json::Notes;
use super::json::slices::Members;
use super::json::{array, object, text};
use super::reply::{self, Reply};
use super::service::Server;
use crate::coordinator::api::Store;
use crate::model::{Family, Metadata};

/// `metadata`.
///
/// # Errors
/// A limit that is no number, or a store that cannot answer.
pub async fn metadata<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    let (limit, limit_per_metric) = (number(form, "limit")?, number(form, "limit_per_metric")?);
    let metric = Some(form.get("metric")).filter(|metric| !metric.is_empty());
    let mut families = server.store.metadata(metric.map(str::to_owned)).await?;
    // Zero is none of the families, but all of a family.
    if let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) {
        families.truncate(limit);
    }
    if let Some(limit) = limit_per_metric.and_then(|limit| usize::try_from(limit).ok())
        && limit > 0
    {
        families.iter_mut().for_each(|(_, entries)| entries.truncate(limit));
    }
    Ok(reply::sliced(Box::new(Members::new(families, member, Notes::default()))))
}

/// A whole number, if it is given; below zero, or beyond all there can be, it is no limit.
fn number(form: &Form, name: &'static str) -> Result<Option<i64>, ApiError> {
    let text = form.get(name);
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.parse::<i64>().ok();
    number.map(Some).ok_or_else(|| ApiError::bad_data(format!("{name} must be a number")))
}

fn member(out: &mut Vec<u8>, (name, entries): &Family) {
    text::string(out, name);
    out.push(b':');
    array(out, entries, |out, Metadata { kind, help, unit }| {
        let texts = [("type", kind.name()), ("help", help.as_str()), ("unit", unit.as_str())];
        object(out, texts, text::string);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricType;
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{FakeStore, ask, get, server};

    fn said(kind: MetricType, help: &str, unit: &str) -> Metadata {
        Metadata { kind, help: help.to_owned(), unit: unit.to_owned() }
    }

    /// The answers to these queries, asked about two families.
    fn check(queries: &'static [(&'static str, u16, &'static str)]) {
        on_one_shard(move |_| async move {
            let store = FakeStore::new();
            *store.families.borrow_mut() = vec![
                (
                    "a".to_owned(),
                    vec![
                        said(MetricType::Gauge, "New <b>.", ""),
                        said(MetricType::Gauge, "Old.", ""),
                    ],
                ),
                ("b_total".to_owned(), vec![said(MetricType::Counter, "", "seconds")]),
            ];
            let server = server(&store, "");
            for (query, status, body) in queries {
                let answered = ask(&server, get(&format!("/api/v1/metadata?{query}"))).await;
                assert_eq!(
                    (answered.status.as_u16(), answered.body.as_str()),
                    (*status, *body),
                    "{query}"
                );
            }
        });
    }

    #[test]
    fn families_are_members_in_order_each_with_what_is_said_of_it() {
        check(&[
            (
                "",
                200,
                r#"{"status":"success","data":{"a":[{"type":"gauge","help":"New \u003cb\u003e.","unit":""},{"type":"gauge","help":"Old.","unit":""}],"b_total":[{"type":"counter","help":"","unit":"seconds"}]}}"#,
            ),
            (
                "metric=b_total",
                200,
                r#"{"status":"success","data":{"b_total":[{"type":"counter","help":"","unit":"seconds"}]}}"#,
            ),
            ("metric=b", 200, r#"{"status":"success","data":{}}"#),
        ]);
    }

    #[test]
    fn limits_cut_the_families_and_what_is_said_of_each() {
        check(&[
            ("limit=0", 200, r#"{"status":"success","data":{}}"#),
            (
                "limit=1&limit_per_metric=1",
                200,
                r#"{"status":"success","data":{"a":[{"type":"gauge","help":"New \u003cb\u003e.","unit":""}]}}"#,
            ),
            (
                "limit=-1&limit_per_metric=0&metric=a",
                200,
                r#"{"status":"success","data":{"a":[{"type":"gauge","help":"New \u003cb\u003e.","unit":""},{"type":"gauge","help":"Old.","unit":""}]}}"#,
            ),
        ]);
    }

    #[test]
    fn a_limit_that_is_no_number_is_refused_in_prometheus_words() {
        check(&[
            (
                "limit=x",
                400,
                r#"{"status":"error","errorType":"bad_data","error":"limit must be a number"}"#,
            ),
            (
                "limit_per_metric=1.5",
                400,
                r#"{"status":"error","errorType":"bad_data","error":"limit_per_metric must be a number"}"#,
            ),
        ]);
    }
}
