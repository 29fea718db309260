//! Answers: the handful of shapes in which every endpoint answers.
//!
//! Plain texts end with a line feed and forbid guessing their type, as Go's `http.Error` writes them; API errors are JSON.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::body::Body;
use super::json;
use super::json::slices::Slices;

/// An answer.
pub type Reply = Response<Body>;

/// Says in a refusal for lack of readiness whether the server stops.
pub const STOPPING: HeaderName = HeaderName::from_static("x-prometheus-stopping");

/// How long a sender that was turned away should wait, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// No body.
#[must_use]
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::Empty);
    *reply.status_mut() = status;
    reply
}

/// A body of some type.
#[must_use]
pub fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Whole(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A sentence for people.
#[must_use]
pub fn text(status: StatusCode, text: &str) -> Reply {
    let mut reply = whole(status, "text/plain; charset=utf-8", format!("{text}\n"));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// JSON.
#[must_use]
pub fn json(status: StatusCode, body: Vec<u8>) -> Reply {
    whole(status, "application/json", body)
}

/// A success whose data is at hand: `data` appends it.
#[must_use]
pub fn success(data: impl FnOnce(&mut Vec<u8>)) -> Reply {
    json(StatusCode::OK, json::success(data, &json::Notes::default()))
}

/// JSON that may be long.
#[must_use]
pub fn sliced(slices: Box<dyn Slices>) -> Reply {
    let mut reply = Response::new(Body::sliced(slices));
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    reply
}

/// Come back in a moment.
#[must_use]
pub fn try_later(text_of_it: &str) -> Reply {
    let mut reply = text(StatusCode::SERVICE_UNAVAILABLE, text_of_it);
    reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    reply
}

/// Not with this method; `allow` are those there are.
#[must_use]
pub fn method_not_allowed(allow: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    reply
}

/// It is over there.
#[must_use]
pub fn found(location: &str) -> Reply {
    let mut reply = empty(StatusCode::FOUND);
    if let Ok(location) = HeaderValue::from_str(location) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}
