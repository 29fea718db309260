//! `/api/v1/status/active_queries`: the queries that run, and an end to one of them.
//!
//! Prometheus has no such endpoint. Everybody who may query may see the list; ending a query is for operators, and needs
//! `--web.enable-admin-api`.

use http::StatusCode;

use super::ActiveQuery;
use crate::coordinator::api::Store;
use crate::server::api_error::{ApiError, ErrorType};
use crate::server::json::{array, number, text};
use crate::server::reply::{self, Reply};
use crate::server::service::Server;
use crate::server::{admin, rfc3339};

/// `status/active_queries`: the oldest first.
#[must_use]
pub fn list<S: Store>(server: &Server<S>) -> Reply {
    let queries = server.settings.active_queries.list();
    reply::success(|out| {
        out.extend_from_slice(br#"{"queries":"#);
        array(out, &queries, query_object);
        out.push(b'}');
    })
}

/// `status/active_queries/<id>/cancel`: it is told to stop, and does within some milliseconds.
///
/// # Errors
/// The API is off, or no query of that name runs.
pub fn cancel<S: Store>(server: &Server<S>, name: &str) -> Result<Reply, ApiError> {
    admin::enabled(server)?;
    let cancelled = name.parse().ok().and_then(|id| server.settings.active_queries.cancel(id));
    let Some(query) = cancelled else {
        return Err(ApiError::new(ErrorType::NotFound, format!("no query {name:?} is running")));
    };
    tracing::info!(id = query.id, query = query.text, "a query is cancelled by request");
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn query_object(out: &mut Vec<u8>, query: &ActiveQuery) {
    let client = query.client.map(|client| client.to_string()).unwrap_or_default();
    out.extend_from_slice(br#"{"id":"#);
    number::unsigned(out, query.id);
    for (name, value) in [
        ("query", query.text.as_str()),
        ("handler", query.endpoint.name()),
        ("client", client.as_str()),
        ("startTime", &rfc3339::format(query.started)),
    ] {
        out.push(b',');
        text::string(out, name);
        out.push(b':');
        text::string(out, value);
    }
    out.extend_from_slice(br#","durationSeconds":"#);
    number::bare_value(out, query.running_for().as_secs_f64());
    out.push(b'}');
}
