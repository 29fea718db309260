//! The rest of a request's body that nobody wants: read and thrown away, so that its sender gets to see the answer.
//!
//! A request may be answered before its body is read: a write for which there is no room, say. If the connection were then
//! closed while the peer still sends, the kernel would reset it, and senders would meet a broken pipe in place of the 503
//! and its `Retry-After`, and try again as after a network failure. So the answer goes out at once, and what follows is
//! discarded in a task of its own, within bounds of length and time; then the connection takes the next request.
//! What is past the bounds closes the connection, as ever.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::rt::{task, timer};

/// So much is discarded of a body; of one that declares more, nothing.
const DISCARDED_BYTES_MAX: u64 = 4 << 20;
/// And for so long.
const DISCARDING_MAX: Duration = Duration::from_secs(5);

/// A request's body. Dropped before its end, it discards the rest.
#[derive(Debug)]
pub struct Unread<B: HttpBody<Data = Bytes> + Unpin + 'static> {
    /// Until its end has been read.
    body: Option<B>,
    /// The peer does not send it unless it is told that somebody reads.
    is_awaited: bool,
    limit: Duration,
}

impl<B: HttpBody<Data = Bytes> + Unpin + 'static> Unread<B> {
    /// The request with its body wrapped.
    ///
    /// - `read_timeout`: how long a body may take to arrive; what is discarded may not take longer either.
    pub fn wrap(request: Request<B>, read_timeout: Duration) -> Request<Self> {
        let is_awaited = request.headers().contains_key(EXPECT);
        let limit = DISCARDING_MAX.min(read_timeout);
        request.map(|body| Self { body: Some(body), is_awaited, limit })
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin + 'static> HttpBody for Unread<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.is_awaited = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin + 'static> Drop for Unread<B> {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let is_long = body.size_hint().lower() > DISCARDED_BYTES_MAX;
        if !self.is_awaited && !body.is_end_stream() && !is_long {
            let discarding = timer::timeout(self.limit, discard(body));
            drop(task::spawn("discard", async move {
                // What comes too late is dropped with its body, and the connection with that.
                let _ = discarding.await;
            }));
        }
    }
}

async fn discard<B: HttpBody<Data = Bytes> + Unpin>(mut body: B) {
    let mut left = DISCARDED_BYTES_MAX;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(bytes) {
            Some(less) => left = less,
            None => return,
        }
    }
}
