//! The start page, and the two words by which a process says that it lives and that it answers.

use http::StatusCode;

use super::reply::{self, Reply};
use super::settings::Settings;
use super::version;
use crate::coordinator::api::Readiness;

/// The start page: what this is and where everything is. Status 200, because clients take it for a health check.
#[must_use]
pub fn page(settings: &Settings, readiness: Readiness) -> Reply {
    let title = escaped(&settings.page_title);
    let state = match readiness {
        Readiness::Ready => "ready".to_owned(),
        other => unready(other),
    };
    let links: String = [
        ("metrics", "its own metrics"),
        ("api/v1/status/tsdb", "what the Head holds"),
        ("api/v1/status/flags", "flags"),
        ("api/v1/status/runtimeinfo", "what runs"),
        ("api/v1/status/buildinfo", "version"),
        ("-/ready", "readiness"),
    ]
    .iter()
    .map(|(path, what)| {
        let prefix = escaped(&settings.prefix);
        format!("<li><a href=\"{prefix}/{path}\">{what}</a></li>\n")
    })
    .collect();
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n<body>\n\
         <h1>{title}</h1>\n\
         <p>Floodplain {} stores Prometheus time series. State: {state}.</p>\n\
         <p>Write to <code>{prefix}/api/v1/write</code>; point Grafana, as a Prometheus data source, at this address.</p>\n\
         <ul>\n{links}</ul>\n</body>\n</html>\n",
        version::OWN,
        prefix = escaped(&settings.prefix),
    );
    reply::whole(StatusCode::OK, "text/html; charset=utf-8", page)
}

/// The process lives.
#[must_use]
pub fn healthy() -> Reply {
    reply::text(StatusCode::OK, "Floodplain is Healthy.")
}

/// The server answers.
#[must_use]
pub fn ready() -> Reply {
    reply::text(StatusCode::OK, "Floodplain is Ready.")
}

/// Why a request is not answered; `None` if it is.
#[must_use]
pub fn not_ready(readiness: Readiness) -> Option<Reply> {
    let stopping = match readiness {
        Readiness::Ready => return None,
        Readiness::Replaying(_) => "false",
        Readiness::Stopping => "true",
    };
    let mut reply = reply::try_later(&format!("Service Unavailable: {}", unready(readiness)));
    reply.headers_mut().insert(reply::STOPPING, http::HeaderValue::from_static(stopping));
    Some(reply)
}

/// The state in words.
fn unready(readiness: Readiness) -> String {
    match readiness {
        Readiness::Ready => "ready".to_owned(),
        Readiness::Stopping => "stopping".to_owned(),
        Readiness::Replaying(progress) => format!(
            "replaying the log, {} of {} MiB read",
            progress.bytes_read >> 20,
            progress.bytes >> 20
        ),
    }
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
