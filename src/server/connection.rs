//! One connection: HTTP/1.1, requests one after the other, until either side has had enough.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::service::Server;
use crate::coordinator::api::Store;
use crate::rt::local::Event;

/// Head and buffered body of a request take no more than this: a longer head is answered 431.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// A request has at most this many header fields.
const HEADERS_MAX: usize = 128;

/// Serves `io` until it ends, fails, or `stop` happens: then the request under way is answered, and no other.
pub async fn serve<S, I>(server: Rc<Server<S>>, io: I, stop: Event)
where
    S: Store,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let server = Rc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .pipeline_flush(true)
        .serve_connection(io, service);
    let (mut connection, mut stop) = (pin!(connection), pin!(stop.wait()));
    let mut stopping = false;
    let outcome = poll_fn(|cx| {
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = outcome.await {
        // Clients that go away are none of the operator's business.
        tracing::debug!(%error, "a connection ended early");
    }
}
