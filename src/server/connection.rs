//! One connection: HTTP/1.1, requests one after the other, until either side has had enough.
//!
//! Owns when a silent peer is given up: `--web.read-timeout` after the connection began or the last answer was sent, if
//! no whole request head has arrived by then. While a request is worked on there is no such deadline; its body has one of
//! its own.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::body::Body;
use super::service::Server;
use crate::coordinator::api::Store;
use crate::rt::local::Event;
use crate::rt::net::{ReadDeadline, Stream};

/// The head of a request takes no more than this: a longer one is answered 431. Bodies pass through in pieces of it.
const BUFFER_BYTES_MAX: usize = 128 << 10;
/// A request has at most this many header fields.
const HEADERS_MAX: usize = 128;

/// Serves `stream` until it ends, fails, or `stop` happens: then the request under way is answered, and no other.
pub async fn serve<S: Store>(server: Rc<Server<S>>, stream: Stream, stop: Event) {
    let counted = Open::begin(&server);
    let patience =
        Patience { deadline: stream.read_deadline(), limit: server.settings.read_timeout };
    patience.begin();
    let serving = Rc::clone(&server);
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, patience) = (Rc::clone(&serving), patience.clone());
        async move {
            patience.end();
            let reply = server.answer(request).await;
            Ok::<_, Infallible>(reply.map(|body| Sent { body, patience }))
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .pipeline_flush(true)
        .serve_connection(stream, service);
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
    drop(counted);
}

/// A connection, counted for as long as it is open.
struct Open<S: Store>(Rc<Server<S>>);

impl<S: Store> Open<S> {
    fn begin(server: &Rc<Server<S>>) -> Self {
        server.counters.connections_accepted.add(1);
        server.counters.connections.add(1);
        Self(Rc::clone(server))
    }
}

impl<S: Store> Drop for Open<S> {
    fn drop(&mut self) {
        self.0.counters.connections.subtract(1);
    }
}

/// How long the peer may take to send the next request.
#[derive(Clone)]
struct Patience {
    deadline: ReadDeadline,
    limit: Duration,
}

impl Patience {
    fn begin(&self) {
        self.deadline.within(self.limit);
    }

    fn end(&self) {
        self.deadline.lift();
    }
}

/// The body of an answer; when it is sent, or given up, the wait for the next request begins.
struct Sent {
    body: Body,
    patience: Patience,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.patience.begin();
    }
}
