//! One connection, as hyper reads and writes it.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::{AcceptedTcpStream, TcpStream};
use hyper::rt::ReadBufCursor;

use super::deadline::{Alarm, ReadDeadline};

/// How long a peer may take nothing of what is sent to it before its connection is given up.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// What a peer still sends after the end of a connection is discarded for so long, and so much of it: the kernel answers
/// bytes that nobody reads with a reset, which may reach the peer before the last answer does.
const LINGERING_MAX: Duration = Duration::from_secs(1);
const LINGERED_BYTES_MAX: usize = 1 << 20;
/// So much is discarded at once.
const LINGERED_PIECE_BYTES: usize = 16 << 10;

/// An accepted connection. Small answers are sent at once (TCP_NODELAY).
pub struct Stream {
    tcp: TcpStream,
    peer: Option<SocketAddr>,
    read_deadline: ReadDeadline,
    read_alarm: Alarm,
    /// Set while a write waits for the peer.
    write_deadline: Option<Instant>,
    write_alarm: Alarm,
    /// Set once nothing more is sent.
    closing: Option<Closing>,
}

/// What is known of a connection whose sending half is closed.
struct Closing {
    until: Instant,
    discarded: usize,
}

impl Stream {
    /// Takes a connection over on this executor.
    pub(super) fn new(accepted: AcceptedTcpStream) -> Self {
        let tcp = accepted.bind_to_executor();
        // Both fail only if the peer has left already, which the first read tells.
        let _ = tcp.set_nodelay(true);
        let peer = tcp.peer_addr().ok();
        Self {
            tcp,
            peer,
            read_deadline: ReadDeadline::default(),
            read_alarm: Alarm::default(),
            write_deadline: None,
            write_alarm: Alarm::default(),
            closing: None,
        }
    }

    /// Discards what the peer still sends, if it does; ready when it has stopped, or has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(closing) = &mut self.closing else { return Poll::Ready(()) };
        let mut piece = [0; LINGERED_PIECE_BYTES];
        match Pin::new(&mut self.tcp).poll_read(cx, &mut piece) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(read)) => {
                closing.discarded += read;
                if closing.discarded > LINGERED_BYTES_MAX {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref(); // and in between, others have their turn
                Poll::Pending
            }
            // Most peers have nothing more to say, and need not be waited for.
            Poll::Pending if closing.discarded == 0 => Poll::Ready(()),
            Poll::Pending => self.read_alarm.poll(Some(closing.until), cx),
        }
    }

    /// Who is at the other end, if it has not left yet.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The deadline of this stream's reads, to be set by who serves it. It counts from the next read on.
    #[must_use]
    pub fn read_deadline(&self) -> ReadDeadline {
        self.read_deadline.clone()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // SAFETY: `as_mut` asks that nothing initialised is made uninitialised; the slice is only given to recv(2),
        // which writes bytes.
        let room: &mut [MaybeUninit<u8>] = unsafe { buf.as_mut() };
        let len = room.len();
        // SAFETY: `MaybeUninit<u8>` has the layout of `u8`, and the borrow of `room` lasts as long as this one. The
        // stream hands the slice to recv(2), which writes it and never reads it.
        let room: &mut [u8] =
            unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), len) };
        match Pin::new(&mut this.tcp).poll_read(cx, room) {
            Poll::Ready(outcome) => {
                let read = outcome?;
                assert!(read <= len, "recv(2) stays within its buffer");
                // SAFETY: recv(2) has written the first `read` bytes.
                unsafe { buf.advance(read) };
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                ready!(this.read_alarm.poll(this.read_deadline.get(), cx));
                Poll::Ready(Err(timed_out("the peer did not send in time")))
            }
        }
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match Pin::new(&mut this.tcp).poll_write(cx, buf) {
            Poll::Ready(outcome) => {
                this.write_deadline = None;
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                let deadline =
                    *this.write_deadline.get_or_insert_with(|| Instant::now() + WRITE_STALL_MAX);
                ready!(this.write_alarm.poll(Some(deadline), cx));
                Poll::Ready(Err(timed_out("the peer took nothing of what was sent")))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    /// Sends nothing more, and reads nothing more than it takes for the peer to see what was sent.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.tcp).poll_close(cx))?;
            self.closing = Some(Closing { until: Instant::now() + LINGERING_MAX, discarded: 0 });
        }
        self.poll_linger(cx).map(Ok)
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
