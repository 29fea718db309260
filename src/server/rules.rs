//! `/api/v1/rules`, `/api/v1/alerts` and `/api/v1/notifications`: no rules are evaluated here, so there are no alerts, and
//! this server has nothing to tell its user interface of.
//!
//! Parameters are checked as Prometheus checks them. Source: `web/api/v1/api.go` (`rules`, `parseListRulesPaginationRequest`,
//! `notifications`), Prometheus 3.14.

use http::StatusCode;

use super::api_error::ApiError;
use super::form::Form;
use super::params;
use super::reply::{self, Reply};
use super::series;
use crate::query::quote::quoted;

/// `rules`.
///
/// # Errors
/// A parameter that cannot mean anything, or a token of a page that there is not.
pub async fn rules(form: &Form) -> Result<Reply, ApiError> {
    if let Some(error) = form.malformed() {
        return Err(ApiError::bad_data(format!("error parsing form values: {error}")));
    }
    series::selectors(form).await.map_err(ApiError::bad_data)?;
    let kind = form.get("type").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        let why = format!("not supported value {}", quoted(kind.as_bytes()));
        return Err(invalid("type", &why));
    }
    params::parse_truth(&form.get("exclude_alerts").to_lowercase()).map_err(|why| {
        invalid("exclude_alerts", &format!("error converting exclude_alerts: {why}"))
    })?;
    let (limit, token) = (form.get("group_limit"), form.get("group_next_token"));
    match (limit, token) {
        ("", "") => {}
        ("", _) => {
            let why = "group_limit needs to be present in order to paginate over the groups";
            return Err(invalid("group_next_token", why));
        }
        (limit, token) => {
            let limit = params::parse_int32(limit).map_err(|why| {
                invalid("group_limit", &format!("group_limit needs to be a valid number: {why}"))
            })?;
            if limit <= 0 {
                return Err(invalid("group_limit", "group_limit needs to be greater than 0"));
            }
            if !token.is_empty() {
                let why = format!("invalid group_next_token '{token}'. were rule groups changed?");
                return Err(invalid("group_next_token", &why));
            }
        }
    }
    Ok(reply::success(|out| out.extend_from_slice(br#"{"groups":[]}"#)))
}

fn invalid(name: &str, why: &str) -> ApiError {
    ApiError::bad_data(format!("invalid parameter \"{name}\": {why}"))
}

/// `alerts`.
#[must_use]
pub fn alerts() -> Reply {
    reply::success(|out| out.extend_from_slice(br#"{"alerts":[]}"#))
}

/// `notifications`.
#[must_use]
pub fn notifications() -> Reply {
    reply::success(|out| out.extend_from_slice(b"[]"))
}

/// `notifications/live`. No place for a subscriber, as Prometheus says it when it has too many: browsers do not ask again.
#[must_use]
pub fn notifications_live() -> Reply {
    reply::empty(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{FakeStore, ask, get, server};

    #[test]
    fn there_are_none() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            for (path, data) in [
                ("rules", r#"{"groups":[]}"#),
                (
                    "rules?type=alert&group_limit=40&exclude_alerts=true&match[]=%7Ba=%22b%22%7D",
                    r#"{"groups":[]}"#,
                ),
                ("alerts", r#"{"alerts":[]}"#),
                ("notifications", "[]"),
            ] {
                let answered = ask(&server, get(&format!("/api/v1/{path}"))).await;
                let expected = format!(r#"{{"status":"success","data":{data}}}"#);
                assert_eq!((answered.status.as_u16(), answered.body), (200, expected), "{path}");
            }
            let answered = ask(&server, get("/api/v1/notifications/live")).await;
            assert_eq!((answered.status.as_u16(), answered.body.as_str()), (204, ""));
        });
    }

    #[test]
    fn parameters_of_rules_are_checked() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            for (query, error) in [
                ("type=x", r#"invalid parameter \"type\": not supported value \"x\""#),
                (
                    "group_next_token=a",
                    r#"invalid parameter \"group_next_token\": group_limit needs to be present in order to paginate over the groups"#,
                ),
                (
                    "exclude_alerts=x",
                    r#"invalid parameter \"exclude_alerts\": error converting exclude_alerts: strconv.ParseBool: parsing \"x\": invalid syntax"#,
                ),
                (
                    "group_limit=2147483648",
                    r#"invalid parameter \"group_limit\": group_limit needs to be a valid number: strconv.ParseInt: parsing \"2147483648\": value out of range"#,
                ),
                (
                    "group_limit=0",
                    r#"invalid parameter \"group_limit\": group_limit needs to be greater than 0"#,
                ),
                (
                    "group_limit=1&group_next_token=a",
                    r#"invalid parameter \"group_next_token\": invalid group_next_token 'a'. were rule groups changed?"#,
                ),
            ] {
                let answered = ask(&server, get(&format!("/api/v1/rules?{query}"))).await;
                let expected =
                    format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#);
                assert_eq!((answered.status.as_u16(), answered.body), (400, expected), "{query}");
            }
        });
    }
}
