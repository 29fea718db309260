//! What is scraped, and whom alerts are sent to: nothing and nobody, as long as this server does neither.
//!
//! The paths and shapes are there for who asks all Prometheus servers alike, the parameters are checked as there. Source:
//! `web/api/v1/api.go` (`scrapePools`, `scrapePoolConfig`, `targets`, `targetMetadata`, `targetRelabelSteps`,
//! `alertmanagers`), Prometheus 3.14.

use std::collections::BTreeMap;

use super::api_error::ApiError;
use super::form::Form;
use super::json::text;
use super::reply::{self, Reply};
use crate::query::parser::parse_metric_selector;

/// `scrape_pools`.
#[must_use]
pub fn scrape_pools() -> Reply {
    constant(r#"{"scrapePools":[]}"#)
}

/// `scrape_pools/config`.
///
/// # Errors
/// Always: there is no pool of whatever name.
pub fn scrape_pool_config(form: &Form) -> Result<Reply, ApiError> {
    Err(no_pool(form))
}

/// `targets`. What is not asked for has no counts either.
#[must_use]
pub fn targets(form: &Form) -> Reply {
    let state = form.get("state").to_lowercase();
    let with_dropped = matches!(state.as_str(), "" | "any" | "dropped");
    let counts = if with_dropped { "{}" } else { "null" };
    constant(&format!(
        r#"{{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{counts}}}"#
    ))
}

/// `targets/metadata`. What senders say of their metrics is in `metadata`: they are no targets.
///
/// # Errors
/// A limit that is no number, or a selector of targets that is none.
pub fn metadata(form: &Form) -> Result<Reply, ApiError> {
    let limit = form.get("limit");
    if !limit.is_empty() && limit.parse::<i64>().is_err() {
        return Err(ApiError::bad_data("limit must be a number"));
    }
    let selector = form.get("match_target");
    if !selector.is_empty() {
        parse_metric_selector(selector).map_err(|errors| {
            ApiError::bad_data(format!("invalid parameter \"match_target\": {errors}"))
        })?;
    }
    Ok(constant("[]"))
}

/// `targets/relabel_steps`.
///
/// # Errors
/// Always: there is no pool of whatever name.
pub fn relabel_steps(form: &Form) -> Result<Reply, ApiError> {
    if !form.get("scrapePool").is_empty() {
        let labels = form.get("labels");
        if labels.is_empty() {
            return Err(ApiError::bad_data("no labels parameter provided"));
        }
        serde_json::from_str::<BTreeMap<String, String>>(labels)
            .map_err(|error| ApiError::bad_data(format!("error parsing labels: {error}")))?;
    }
    Err(no_pool(form))
}

/// `alertmanagers`.
#[must_use]
pub fn alertmanagers() -> Reply {
    constant(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#)
}

fn no_pool(form: &Form) -> ApiError {
    match form.get("scrapePool") {
        "" => ApiError::bad_data("no scrapePool parameter provided"),
        pool => {
            let mut quoted = Vec::new();
            text::label(&mut quoted, pool);
            let quoted = String::from_utf8_lossy(&quoted);
            ApiError::bad_data(format!(
                "error retrieving scrape config: scrape pool {quoted} not found"
            ))
        }
    }
}

fn constant(data: &str) -> Reply {
    reply::success(|out| out.extend_from_slice(data.as_bytes()))
}

#[cfg(test)]
mod tests {
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{FakeStore, ask, get, server};

    #[test]
    fn there_is_nothing_and_it_is_said_as_upstream_says_it() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            for (path, data) in [
                ("scrape_pools", r#"{"scrapePools":[]}"#),
                ("targets", r#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}"#),
                (
                    "targets?state=active",
                    r#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":null}"#,
                ),
                ("targets/metadata?match_target=%7Bjob=%22a%22%7D&limit=1", "[]"),
                ("alertmanagers", r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#),
            ] {
                let answered = ask(&server, get(&format!("/api/v1/{path}"))).await;
                let expected = format!(r#"{{"status":"success","data":{data}}}"#);
                assert_eq!((answered.status.as_u16(), answered.body), (200, expected), "{path}");
            }
        });
    }

    #[test]
    fn parameters_that_cannot_mean_anything_are_refused() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            for (path, error) in [
                ("scrape_pools/config", "no scrapePool parameter provided"),
                (
                    "scrape_pools/config?scrapePool=a",
                    r#"error retrieving scrape config: scrape pool \"a\" not found"#,
                ),
                ("targets/relabel_steps", "no scrapePool parameter provided"),
                ("targets/relabel_steps?scrapePool=a", "no labels parameter provided"),
                (
                    "targets/relabel_steps?scrapePool=a&labels=%7B",
                    "error parsing labels: EOF while parsing an object at line 1 column 1",
                ),
                (
                    "targets/relabel_steps?scrapePool=a&labels=%7B%22b%22:%22c%22%7D",
                    r#"error retrieving scrape config: scrape pool \"a\" not found"#,
                ),
                ("targets/metadata?limit=x", "limit must be a number"),
                (
                    "targets/metadata?match_target=%7B",
                    r#"invalid parameter \"match_target\": 1:2: parse error: unexpected end of input inside braces"#,
                ),
            ] {
                let answered = ask(&server, get(&format!("/api/v1/{path}"))).await;
                let expected =
                    format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#);
                assert_eq!((answered.status.as_u16(), answered.body), (400, expected), "{path}");
            }
        });
    }
}
