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

use super::body::{Body, BodyFailed};
use super::reply;
use super::service::{Client, Server};
use super::unread::Unread;
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
    let (serving, peer) = (Rc::clone(&server), stream.peer());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (server, patience) = (Rc::clone(&serving), patience.clone());
        if let Some(peer) = peer {
            request.extensions_mut().insert(Client(peer));
        }
        async move {
            patience.end();
            let request = Unread::wrap(request, server.settings.read_timeout);
            let reply = server.answer(request).await;
            Ok::<_, Infallible>(reply.map(|body| Sent { body, patience }))
        }
    });
    // No `pipeline_flush`: it would also hold back the 400 to a head that does not parse.
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
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

/// How long one that is turned away may take to say what it wants.
const TURNING_AWAY_MAX: Duration = Duration::from_secs(1);

/// Answers whatever `stream` asks first with 503, and closes it: every place is taken.
pub async fn turn_away<S: Store>(server: Rc<Server<S>>, stream: Stream) {
    server.counters.connections_turned_away.add(1);
    stream.read_deadline().within(TURNING_AWAY_MAX.min(server.settings.read_timeout));
    let service = service_fn(|_: Request<Incoming>| async {
        let reply = reply::try_later(
            "as many connections are open as the limit on open files leaves room for; raise it (ulimit -n, LimitNOFILE=) \
             or close some",
        );
        Ok::<_, Infallible>(reply)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(stream, service);
    // The counter has told of it; what became of it is the peer's business.
    let _ = connection.await;
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
    type Error = BodyFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use super::*;
    use crate::rt::executor::testing::options;
    use crate::rt::executor::{End, Executors, Options, ShardContext, start};
    use crate::rt::net::{Door, Places, listen};
    use crate::rt::task;
    use crate::server::testing::{FakeStore, server};

    /// A server on an executor and a socket of its own.
    struct Running {
        address: SocketAddr,
        options: Options,
        executors: Executors,
    }

    impl Running {
        /// Starts it. With `gated`, writes wait until the server is told to stop.
        fn with(flags: &'static str, gated: bool) -> Self {
            Self::with_places(flags, gated, 100)
        }

        /// Likewise, with places for so many connections.
        fn with_places(flags: &'static str, gated: bool, places: usize) -> Self {
            let (address, doors) =
                listen("127.0.0.1:0".parse().unwrap(), 1, 100, &Places::new(places)).unwrap();
            let main = |door: Door| {
                move |context: ShardContext| async move {
                    let (store, stop) = (FakeStore::new(), context.stop);
                    if gated {
                        let gate = Event::new();
                        *store.gate.borrow_mut() = Some(gate.clone());
                        let stopping = stop.clone();
                        task::spawn("gate", async move {
                            stopping.wait().await;
                            gate.set();
                        });
                    }
                    let server = server(&store, flags);
                    let stopping = stop.clone();
                    let turning_away = Rc::clone(&server);
                    let handler = move |stream| serve(Rc::clone(&server), stream, stopping.clone());
                    let turn_away = move |stream| turn_away(Rc::clone(&turning_away), stream);
                    door.serve(stop, handler, turn_away).await;
                }
            };
            let options = options();
            let executors = start(&options, doors.into_iter().map(main).collect()).unwrap();
            Self { address, options, executors }
        }

        fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).unwrap()
        }

        /// Asks until the server's metrics have this line.
        fn await_metric(&self, line: &str) {
            let metrics = LAST.replace("/-/healthy", "/metrics");
            let line = format!("\n{line}\n");
            let mut answers =
                (0..10_000).map(|_| ask_and_read_to_the_end(self.connect(), &metrics));
            assert!(answers.any(|answer| answer.contains(&line)), "never {line}");
        }

        fn stop(self) {
            self.options.stop.raise();
            assert!(self.executors.join().iter().all(|exit| exit.end == End::Finished));
        }
    }

    /// Sends `request` and reads until the server closes.
    fn ask_and_read_to_the_end(mut client: TcpStream, request: &str) -> String {
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    const READY: &str = "GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n";
    const LAST: &str = "GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    #[test]
    fn requests_come_one_after_the_other_even_before_they_are_answered() {
        let running = Running::with("", false);
        let answers = ask_and_read_to_the_end(running.connect(), &format!("{READY}{READY}{LAST}"));
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
        assert!(answers.ends_with("Floodplain is Healthy.\n"), "{answers}");
        running.stop();
    }

    #[test]
    fn a_head_request_is_answered_with_a_length_and_no_body() {
        let running = Running::with("", false);
        let head = LAST.replace("GET", "HEAD");
        let answer = ask_and_read_to_the_end(running.connect(), &head);
        assert!(answer.contains("content-length: 23\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        running.stop();
    }

    #[test]
    fn a_form_may_come_in_chunks() {
        let running = Running::with("", false);
        let request = "POST /api/v1/labels HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
            Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n\
            6\r\nlimit=\r\n3\r\nten\r\n0\r\n\r\n";
        let answer = ask_and_read_to_the_end(running.connect(), request);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains(r#"strconv.Atoi: parsing \"ten\""#), "{answer}");
        running.stop();
    }

    #[test]
    fn what_is_not_http_and_what_is_too_much_of_it_is_refused() {
        let running = Running::with("", false);
        let answer =
            ask_and_read_to_the_end(running.connect(), "GET / HTTP/1.1\r\nno header\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        let many: String = (0..=HEADERS_MAX).map(|i| format!("x-{i}: y\r\n")).collect();
        let request = format!("GET / HTTP/1.1\r\n{many}\r\n");
        let answer = ask_and_read_to_the_end(running.connect(), &request);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        running.stop();
    }

    /// Reads one answer without a body, or with one of a known length.
    fn read_answer(client: &mut TcpStream) -> String {
        let mut answer = String::new();
        let mut reader = std::io::BufReader::new(client);
        while !answer.ends_with("\r\n\r\n") {
            let read = std::io::BufRead::read_line(&mut reader, &mut answer).unwrap();
            assert!(read > 0, "the connection has ended after {answer:?}");
        }
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        answer + &String::from_utf8(body).unwrap()
    }

    #[test] // the connection was reset under senders that still sent, and they took a 503 for a network failure
    fn a_request_that_is_answered_unread_does_not_cost_the_connection() {
        let running = Running::with("", false);
        let mut client = running.connect();
        for framing in ["Content-Length: 2000000", "Transfer-Encoding: chunked"] {
            let head = format!(
                "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n{framing}\r\n\r\n"
            );
            client.write_all(head.as_bytes()).unwrap();
            // The answer does not wait for the body, nor the body for anybody who wants it.
            let answer = read_answer(&mut client);
            assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
            let is_chunked = framing.ends_with("chunked");
            for _ in 0..2000 {
                client.write_all(if is_chunked { b"3e8\r\n" } else { b"" }).unwrap();
                client.write_all(&[b'x'; 1000]).unwrap();
                client.write_all(if is_chunked { b"\r\n" } else { b"" }).unwrap();
            }
            client.write_all(if is_chunked { b"0\r\n\r\n" } else { b"" }).unwrap();
            client.write_all(READY.as_bytes()).unwrap();
            let answer = read_answer(&mut client);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        drop(client);
        running.stop();
    }

    #[test]
    fn a_body_that_waits_to_be_asked_for_is_not_asked_for_after_its_request_was_refused() {
        let running = Running::with("", false);
        let request = "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\
            Expect: 100-continue\r\nContent-Length: 10\r\n\r\n";
        let answer = ask_and_read_to_the_end(running.connect(), request);
        assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        running.stop();
    }

    #[test] // idle connections used up all descriptors, and the log could not go on
    fn who_finds_no_place_is_told_to_come_back_and_is_served_when_there_is_one() {
        let running = Running::with_places("", false, 1);
        let mut first = running.connect();
        first.write_all(READY.as_bytes()).unwrap();
        assert!(read_answer(&mut first).starts_with("HTTP/1.1 200 OK\r\n"));
        let answer = ask_and_read_to_the_end(running.connect(), READY);
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("limit on open files"), "{answer}");
        first.write_all(LAST.replace("/-/healthy", "/metrics").as_bytes()).unwrap();
        let mut metrics = String::new();
        first.read_to_string(&mut metrics).unwrap();
        assert!(
            metrics.contains("\nfloodplain_http_connections_turned_away_total 1\n"),
            "{metrics}"
        );
        drop(first);
        running.await_metric("floodplain_http_connections 1");
        running.stop();
    }

    #[test] // a reset may overtake the answer that it follows
    fn who_still_sends_when_the_connection_ends_reads_the_answer_first() {
        let running = Running::with_places("", false, 0);
        let mut client = running.connect();
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n").unwrap();
        // In few pieces: on a machine that is busy, 900 of them took longer than the server lingers.
        for _ in 0..9 {
            client.write_all(&[b'x'; 100_000]).unwrap();
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        running.stop();
    }

    #[test]
    fn a_peer_that_stays_silent_is_given_up() {
        let running = Running::with("--web.read-timeout=10ms", false);
        let answer = ask_and_read_to_the_end(running.connect(), "GET / HTTP/1.1\r\nHo");
        assert_eq!(answer, "");
        let answers = ask_and_read_to_the_end(running.connect(), READY);
        assert!(answers.ends_with("Floodplain is Ready.\n"), "also after an answer: {answers}");
        running.stop();
    }

    #[test]
    fn a_body_that_does_not_arrive_is_given_up() {
        let running = Running::with("--web.read-timeout=10ms", false);
        let request = "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
        let answer = ask_and_read_to_the_end(running.connect(), request);
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        running.stop();
    }

    #[test]
    fn a_query_is_given_up_when_who_asked_has_gone() {
        let running = Running::with("", true);
        let mut asking = running.connect();
        asking.write_all(b"GET /api/v1/query?query=up HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        running.await_metric("prometheus_engine_queries 1");
        drop(asking);
        running.await_metric("prometheus_engine_queries 0");
        running.stop();
    }

    #[test]
    fn when_the_server_stops_what_was_accepted_is_answered_and_idle_connections_end() {
        let running = Running::with("", true);
        // The empty message, packed: one byte says that it unpacks to nothing.
        let request = "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n\0";
        let (mut writing, mut idle) = (running.connect(), running.connect());
        idle.write_all(READY.as_bytes()).unwrap();
        let mut first = [0; 12];
        idle.read_exact(&mut first).unwrap();
        writing.write_all(request.as_bytes()).unwrap();
        running.await_metric("floodplain_remote_write_body_bytes_total 1");
        running.stop();
        let mut answers = [String::new(), String::new()];
        writing.read_to_string(&mut answers[0]).unwrap();
        idle.read_to_string(&mut answers[1]).unwrap();
        assert!(answers[0].starts_with("HTTP/1.1 204 No Content\r\n"), "{answers:?}");
        assert!(answers[1].ends_with("Floodplain is Ready.\n"), "{answers:?}");
    }
}
