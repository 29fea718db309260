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
        ("api/v1/status/config", "the configuration that holds"),
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
        Readiness::Replaying(progress) if progress.bytes == 0 => {
            "replaying the log, just begun".to_owned()
        }
        Readiness::Replaying(progress) => {
            const LARGE: u64 = 10 << 20;
            let (shift, unit) = if progress.bytes < LARGE { (10, "KiB") } else { (20, "MiB") };
            let (read, all) = (progress.bytes_read >> shift, progress.bytes >> shift);
            format!("replaying the log, {read} of {all} {unit} read")
        }
    }
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::api::ReplayProgress;

    #[test] // a start that had just begun said "0 of 0 MiB", and so did any small one
    fn a_replay_says_how_far_it_is_in_figures_that_mean_something() {
        let said =
            |bytes_read, bytes| unready(Readiness::Replaying(ReplayProgress { bytes_read, bytes }));
        assert_eq!(said(0, 0), "replaying the log, just begun");
        assert_eq!(said(0, 300 << 10), "replaying the log, 0 of 300 KiB read");
        assert_eq!(said(5 << 20, 64 << 20), "replaying the log, 5 of 64 MiB read");
    }
}
