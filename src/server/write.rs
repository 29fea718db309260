//! `/api/v1/write`: remote write 1.0 and 2.0.
//!
//! A request is turned away as early as it can be: by its headers, by its declared length, for lack of room, all before its
//! body is read; by its unpacked length before it is decoded. While a log is read back it waits for a few seconds, unpacked and
//! decoded, within what may be in flight. What reaches the store is answered when it is as durable as `--storage.wal.sync` promises.
//!
//! | answer | when |
//! |---|---|
//! | 204 | everything is stored; or the rest is, and `--remote-write.on-bad-sample=ignore` |
//! | 400 | not a message; or some samples were refused: the text names them |
//! | 413, 415 | a body larger than 32 MiB; not remote write, or a compression that is not known |
//! | 503 | no room, not ready, or the disk failed: with `Retry-After`, to be sent again. Not 429, on which senders drop data |
//!
//! Answers to 2.0 say in headers how much was written. Source: Prometheus remote write specifications 1.0 and 2.0.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body::Body as HttpBody;

use super::body::{BodyBounds, ReadBodyError, read_body};
use super::cli::BadSample;
use super::home;
use super::refusals::{RefusalLog, refusal_text};
use super::reply::{self, Reply};
use super::service::Server;
use crate::coordinator::api::{
    BadSampleMode, FloatChunks, Need, Readiness, Store, WriteError, WriteOutcome,
};
use crate::model::{LabelText, Refusals, WriteBatch};
use crate::rt::{Stopwatch, timer};
use crate::wire::{
    Content, Counts, DECODED_BYTES_MAX, Decompressor, Message, decode_v1, decode_v2, negotiate,
};

/// The largest body, as sent.
pub const BODY_BYTES_MAX: usize = 32 << 20;

const BOUNDS: BodyBounds =
    BodyBounds { bytes_max: BODY_BYTES_MAX, unpacked_bytes_max: DECODED_BYTES_MAX };

/// How long a write waits for a log that is read back. Its bytes count as in flight meanwhile, and most senders hear of nothing
/// for half a minute before they give up.
const OPENING_MAX: Duration = Duration::from_secs(5);

/// What is said of metric families is not told to the shards again within that time. They have to hear far more often than once
/// an hour that it is still said.
const TOLD_SECONDS: u64 = 600;

/// So many buffers are kept for the next requests, each if it is no larger than that.
const SPARES_MAX: usize = 16;
const SPARE_BYTES_MAX: usize = 4 << 20;

const WRITTEN: [HeaderName; 3] = [
    HeaderName::from_static("x-prometheus-remote-write-samples-written"),
    HeaderName::from_static("x-prometheus-remote-write-histograms-written"),
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written"),
];

const HINT: &str = "This is where remote write goes: POST prometheus.WriteRequest (1.0) or \
    io.prometheus.write.v2.Request (2.0), compressed with snappy, zstd or gzip.";

/// What one core keeps from write to write.
#[derive(Debug)]
pub struct WriteState {
    started: Stopwatch,
    decompressor: RefCell<Decompressor>,
    bodies: RefCell<Vec<Vec<u8>>>,
    batches: RefCell<Vec<WriteBatch>>,
    log: RefCell<RefusalLog>,
}

impl Default for WriteState {
    fn default() -> Self {
        Self {
            started: Stopwatch::start(),
            decompressor: RefCell::default(),
            bodies: RefCell::default(),
            batches: RefCell::default(),
            log: RefCell::default(),
        }
    }
}

/// Why a write was not answered with what the store said.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Body(#[from] ReadBodyError),
    #[error("the body did not arrive within {0:?}")]
    Slow(Duration),
    #[error(transparent)]
    Unpacking(#[from] crate::wire::BodyError),
    #[error(transparent)]
    Decoding(#[from] crate::wire::WireError),
    #[error(transparent)]
    Store(#[from] WriteError),
    #[error("the log is being replayed, or the server stops")]
    NotReady(Readiness),
}

/// What a write came to.
struct Written {
    samples: u64,
    histograms: u64,
    exemplars: u64,
    /// What is to be told of what was refused; empty if nothing was.
    refusals: String,
}

/// Answers any request to the write path.
pub async fn handle<S, B>(server: &Server<S>, request: Request<B>) -> Reply
where
    S: Store,
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    if !server.settings.receives_remote_write {
        return reply::text(
            StatusCode::NOT_FOUND,
            "remote write receiver needs to be enabled with --web.enable-remote-write-receiver",
        );
    }
    let (head, body) = request.into_parts();
    match head.method {
        Method::POST => {}
        // Vector asks before it starts, and wants a 200.
        Method::GET | Method::HEAD => return reply::text(StatusCode::OK, HINT),
        _ => return reply::method_not_allowed("GET, HEAD, POST"),
    }
    let content = match content(&head) {
        Ok(content) => content,
        Err(error) => return reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error.to_string()),
    };
    let watch = Stopwatch::start();
    let outcome = write(server, content, body).await;
    if outcome.is_ok() {
        server.counters.write_durations.observe(watch.elapsed());
    }
    let written =
        outcome.as_ref().map(|written| [written.samples, written.histograms, written.exemplars]);
    let written = written.unwrap_or_default();
    let mut reply = answer(server, outcome);
    if content.message == Message::V2 {
        say_written(reply.headers_mut(), written);
    }
    reply
}

impl WriteState {
    /// Tells the log of a request with refused series, unless it heard of one a moment ago.
    fn log(&self, message: Message, refusals: &str, series: u64) {
        let Some(kept_back) = self.log.borrow_mut().admit(self.started.elapsed()) else { return };
        let first = refusals.lines().next().unwrap_or_default();
        tracing::warn!(
            protocol = protocol(message),
            series,
            first,
            requests_not_logged = kept_back,
            "refused samples of a write"
        );
    }
}

fn protocol(message: Message) -> &'static str {
    match message {
        Message::V1 => "1.0",
        Message::V2 => "2.0",
    }
}

fn content(head: &Parts) -> Result<Content, crate::wire::ContentError> {
    let header =
        |name| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    negotiate(header(CONTENT_TYPE).as_deref(), header(CONTENT_ENCODING).as_deref())
}

fn answer<S: Store>(server: &Server<S>, outcome: Result<Written, Refused>) -> Reply {
    let refused = match outcome {
        Ok(written) if written.refusals.is_empty() => return reply::empty(StatusCode::NO_CONTENT),
        Ok(_) if server.settings.bad_sample == BadSample::Ignore => {
            return reply::empty(StatusCode::NO_CONTENT);
        }
        Ok(written) => return reply::text(StatusCode::BAD_REQUEST, &written.refusals),
        Err(refused) => refused,
    };
    let sentence = refused.to_string();
    match refused {
        Refused::Body(ReadBodyError::TooLarge { .. }) => {
            reply::text(StatusCode::PAYLOAD_TOO_LARGE, &sentence)
        }
        Refused::Body(ReadBodyError::Overloaded(_)) | Refused::Store(WriteError::Overloaded) => {
            server.counters.overloaded.add(1);
            reply::try_later(&sentence)
        }
        // Whatever the disk has: a sender can only come back, and the sentence says what its owner can do.
        Refused::Store(WriteError::NotReady | WriteError::Storage(_)) => {
            reply::try_later(&sentence)
        }
        Refused::NotReady(readiness) => {
            home::not_ready(readiness).unwrap_or_else(|| reply::try_later(&sentence))
        }
        Refused::Slow(_) => reply::text(StatusCode::REQUEST_TIMEOUT, &sentence),
        Refused::Body(ReadBodyError::Broken(_)) | Refused::Unpacking(_) | Refused::Decoding(_) => {
            tracing::debug!(error = %sentence, "refused a write that cannot be read");
            reply::text(StatusCode::BAD_REQUEST, &sentence)
        }
    }
}

/// Reads, unpacks, decodes and stores a body.
async fn write<S, B>(server: &Server<S>, content: Content, body: B) -> Result<Written, Refused>
where
    S: Store,
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let limit = server.settings.read_timeout;
    let admitted = server.admission.admit(BOUNDS.weight_of(&body)?, limit).await;
    let mut reservation = admitted.map_err(ReadBodyError::from)?;
    let mut packed = server.writes.bodies.borrow_mut().pop().unwrap_or_default();
    packed.clear();
    timer::timeout(limit, read_body(body, BOUNDS, &mut reservation, &mut packed))
        .await
        .map_err(|_| Refused::Slow(limit))??;
    server.counters.body_bytes.add(packed.len() as u64);

    let mut batch = server.writes.batches.borrow_mut().pop().unwrap_or_default();
    batch.wants_starts = server.configuration.in_force().storage.float_chunks == FloatChunks::Xor2;
    batch.told.forget_before(server.writes.started.elapsed().as_secs() / TOLD_SECONDS);
    let mut text = batch.reclaim_body();
    let unpacked =
        server.writes.decompressor.borrow_mut().decompress(content.compression, &packed, &mut text);
    keep(&server.writes.bodies, packed, Vec::capacity);
    unpacked?;
    server.counters.unpacked_bytes.add(text.len() as u64);
    // The estimate is over: from here on the request weighs what it holds.
    reservation.resize(text.len()).map_err(ReadBodyError::from)?;

    let counts = decode(server, content.message, text, &mut batch)?;
    reservation.resize(held_bytes(&batch)).map_err(ReadBodyError::from)?;
    server.counters.refused(&batch.refused, counts.refused_samples);
    server.counters.refused_exemplars.add(counts.refused_exemplars);
    if counts.refused_series > 0 && server.settings.bad_sample == BadSample::Rollback {
        let refusals = refusal_text(batch.refused.iter(), counts.refused_series);
        server.writes.log(content.message, &refusals, counts.refused_series);
        keep(&server.writes.batches, batch, held_bytes);
        return Ok(Written { samples: 0, histograms: 0, exemplars: 0, refusals });
    }

    match server.ready_for(Need::Writes, OPENING_MAX).await {
        // A shard that is still being opened anew says itself what is the matter.
        Readiness::Ready => {}
        not_ready => return Err(Refused::NotReady(not_ready)),
    }
    let mode = match server.settings.bad_sample {
        BadSample::Report | BadSample::Ignore => BadSampleMode::StoreTheRest,
        BadSample::Rollback => BadSampleMode::Rollback,
    };
    let WriteOutcome {
        written,
        histograms_written,
        refused,
        refused_series,
        exemplars_written,
        mut exemplars_refused,
        mut batch,
    } = server.store.write(batch, mode).await?;
    if mode == BadSampleMode::StoreTheRest || refused_series == 0 {
        batch.is_told();
    }
    match content.message {
        Message::V1 => {
            server.counters.written_v1.add(written);
            server.counters.histograms_v1.add(histograms_written);
        }
        Message::V2 => {
            server.counters.written_v2.add(written);
            server.counters.histograms_v2.add(histograms_written);
        }
    }
    let mut refusals = String::new();
    if content.message == Message::V1 {
        // To its senders exemplars are never an error, as in Prometheus.
        exemplars_refused = Refusals::default();
    }
    let series = counts.refused_series + refused_series + exemplars_refused.series;
    if series > 0 {
        let named = batch.refused.iter().chain(&refused).chain(&exemplars_refused.named);
        refusals = refusal_text(named, series);
        server.writes.log(content.message, &refusals, series);
    }
    keep(&server.writes.batches, batch, held_bytes);
    Ok(Written {
        samples: written,
        histograms: histograms_written,
        exemplars: exemplars_written,
        refusals,
    })
}

fn decode<S: Store>(
    server: &Server<S>,
    message: Message,
    text: Vec<u8>,
    batch: &mut WriteBatch,
) -> Result<Counts, Refused> {
    let store = &server.store;
    let shard_of = |route| store.shard_of(route);
    let (fingerprinter, shards) = (store.fingerprinter(), store.shard_count());
    let mut counts = Counts::default();
    match message {
        Message::V1 => decode_v1(text, fingerprinter, shards, shard_of, batch, &mut counts)?,
        Message::V2 => decode_v2(text, fingerprinter, shards, shard_of, batch, &mut counts)?,
    }
    Ok(counts)
}

/// What a batch holds, in bytes.
fn held_bytes(batch: &WriteBatch) -> usize {
    let part = |part: &crate::model::Part| {
        size_of_val(part.entries.as_slice())
            + size_of_val(part.samples.as_slice())
            + size_of_val(part.histogram_entries.as_slice())
            + part.histograms.bytes()
            + size_of_val(part.metadata.as_slice())
            + size_of_val(part.exemplars.as_slice())
    };
    let LabelText { body, rewritten, symbols } = &*batch.text;
    let text = body.len() + rewritten.len() + size_of_val(symbols.as_slice());
    text + batch.parts.iter().map(part).sum::<usize>()
}

/// Keeps a buffer for the next request, unless there are enough or it is large.
fn keep<T>(spares: &RefCell<Vec<T>>, spare: T, bytes: impl Fn(&T) -> usize) {
    let mut spares = spares.borrow_mut();
    if spares.len() < SPARES_MAX && bytes(&spare) <= SPARE_BYTES_MAX {
        spares.push(spare);
    }
}

/// - `written`: samples, histograms and exemplars.
fn say_written(headers: &mut HeaderMap, written: [u64; 3]) {
    for (name, n) in WRITTEN.into_iter().zip(written) {
        headers.insert(name, HeaderValue::from(n));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::model::Labels;
    use crate::rt::executor::testing::on_one_shard;
    use crate::rt::local::Event;
    use crate::rt::task;
    use crate::server::testing::{
        Answered, FakeStore, Pieces, ask, post_write, request, server, write_v1, write_v2,
    };

    const GOOD: crate::server::testing::Written<'static> =
        (&[("__name__", "up"), ("job", "a")], &[(1000, 1.0), (2000, 2.5)]);
    const BAD: crate::server::testing::Written<'static> =
        (&[("__name__", "up"), ("bad", "1")], &[(1000, 1.0)]);
    const NAMELESS: crate::server::testing::Written<'static> = (&[("job", "b")], &[(1000, 1.0)]);

    fn written(answered: &Answered) -> [&str; 3] {
        ["samples", "histograms", "exemplars"]
            .map(|kind| answered.header(&format!("x-prometheus-remote-write-{kind}-written")))
    }

    fn stored(store: &FakeStore, pairs: &[(&'static str, &'static str)]) -> Vec<(i64, f64)> {
        let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
        let samples = store.samples.borrow();
        samples.get(&labels).into_iter().flatten().map(|(t, v)| (*t, *v)).collect()
    }

    #[test]
    fn both_protocols_write_the_same_series() {
        on_one_shard(|_| async {
            for (request, headers) in
                [(write_v1(&[GOOD]), ["", "", ""]), (write_v2(&[GOOD]), ["2", "0", "0"])]
            {
                let store = FakeStore::new();
                let answered = ask(&server(&store, ""), request).await;
                assert_eq!((answered.status.as_u16(), answered.body.as_str()), (204, ""));
                assert_eq!(written(&answered), headers);
                assert_eq!(stored(&store, GOOD.0), GOOD.1);
            }
        });
    }

    #[test]
    fn bad_samples_are_named_and_the_others_stored() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let server = server(&store, "");
            let answered = ask(&server, write_v2(&[NAMELESS, GOOD, BAD])).await;
            assert_eq!(answered.status, 400);
            assert_eq!(
                answered.body,
                "missing metric name for series {job=\"b\"}\n\
                 out of order sample for series {__name__=\"up\", bad=\"1\"}\n"
            );
            assert_eq!(written(&answered), ["2", "0", "0"]);
            assert_eq!(stored(&store, GOOD.0), GOOD.1);
            let refusals = server.counters.refusals();
            assert!(refusals.contains(&("no_metric_name", 1)), "{refusals:?}");
        });
    }

    #[test]
    fn bad_samples_may_be_ignored() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let server = server(&store, "--remote-write.on-bad-sample=ignore");
            let answered = ask(&server, write_v1(&[GOOD, BAD])).await;
            assert_eq!((answered.status.as_u16(), answered.body.as_str()), (204, ""));
            assert_eq!(stored(&store, GOOD.0), GOOD.1);
        });
    }

    #[test]
    fn bad_samples_may_take_the_whole_request_with_them() {
        on_one_shard(|_| async {
            for bad in [BAD, NAMELESS] {
                let store = FakeStore::new();
                let server = server(&store, "--remote-write.on-bad-sample=rollback");
                let answered = ask(&server, write_v1(&[GOOD, bad])).await;
                assert_eq!(answered.status, 400, "{}", answered.body);
                assert_eq!(stored(&store, GOOD.0), []);
            }
        });
    }

    #[test]
    fn what_is_not_remote_write_is_told_so() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let answered = ask(&server, post_write("text/plain", b"")).await;
            assert_eq!(answered.status, 415);
            assert!(answered.body.contains("text/plain"), "{}", answered.body);

            let mut unknown = write_v1(&[GOOD]);
            unknown.headers_mut().insert("content-encoding", "br".parse().unwrap());
            assert_eq!(ask(&server, unknown).await.status, 415);

            let mut garbage = write_v2(&[GOOD]);
            *garbage.body_mut() = Pieces::whole("not snappy");
            let answered = ask(&server, garbage).await;
            assert_eq!((answered.status.as_u16(), written(&answered)), (400, ["0", "0", "0"]));
        });
    }

    #[test]
    fn a_sender_that_looks_before_it_sends_gets_a_hint() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let answered = ask(&server, request(Method::GET, "/api/v1/write")).await;
            assert_eq!(answered.status, 200);
            assert!(answered.body.contains("POST"), "{}", answered.body);
            assert_eq!(ask(&server, request(Method::HEAD, "/api/v1/write")).await.status, 200);
            let answered = ask(&server, request(Method::DELETE, "/api/v1/write")).await;
            assert_eq!(
                (answered.status.as_u16(), answered.header("allow")),
                (405, "GET, HEAD, POST")
            );
        });
    }

    #[test]
    fn a_switched_off_receiver_says_which_flag_switches_it_on() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "--no-web.enable-remote-write-receiver");
            let answered = ask(&server, write_v1(&[GOOD])).await;
            assert_eq!(answered.status, 404);
            assert!(answered.body.contains("--web.enable-remote-write-receiver"));
        });
    }

    #[test]
    fn a_body_that_declares_too_much_is_refused_unread() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let mut large = write_v1(&[]);
            *large.body_mut() = Pieces::declaring(BODY_BYTES_MAX as u64 + 1, &[b"broken"]);
            assert_eq!(ask(&server, large).await.status, 413);
        });
    }

    #[test] // 429 would lose data with most senders
    fn a_full_core_answers_503_before_it_reads_and_takes_writes_again_when_there_is_room() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            // No longer than a body may take to arrive does a write wait for room.
            let server = server(&store, "--web.read-timeout=10ms");
            let all = server.settings.inflight_bytes_per_shard_max;
            let held = server.admission.reserve(all).unwrap();
            let mut unread = write_v1(&[]);
            *unread.body_mut() = Pieces::declaring(100, &[b"broken"]);
            let answered = ask(&server, unread).await;
            assert_eq!((answered.status.as_u16(), answered.header("retry-after")), (503, "1"));
            assert_eq!(server.counters.overloaded.get(), 1);
            drop(held);
            assert_eq!(ask(&server, write_v1(&[GOOD])).await.status, 204);
            assert_eq!(server.admission.held(), 0);
        });
    }

    #[test]
    fn a_write_holds_its_bytes_until_it_is_answered() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let gate = Event::new();
            *store.gate.borrow_mut() = Some(gate.clone());
            let server = server(&store, "");
            let asking = Rc::clone(&server);
            let writing =
                task::spawn("write", async move { ask(&asking, write_v1(&[GOOD])).await.status });
            assert!(server.admission.held() > 0);
            gate.set();
            assert_eq!(writing.await, Ok(StatusCode::NO_CONTENT));
            assert_eq!(server.admission.held(), 0);
        });
    }

    #[test]
    fn what_the_store_cannot_do_now_is_to_be_sent_again() {
        on_one_shard(|_| async {
            for (error, why) in [
                (WriteError::Overloaded, "as many writes waiting as they may"),
                (WriteError::NotReady, "does not take writes now"),
                (WriteError::Storage("disk on fire".to_owned()), "storage: disk on fire"),
            ] {
                let store = FakeStore::new();
                *store.write_error.borrow_mut() = Some(error);
                let answered = ask(&server(&store, ""), write_v2(&[GOOD])).await;
                let seen = (answered.status.as_u16(), answered.header("retry-after"));
                assert_eq!(seen, (503, "1"));
                assert!(answered.body.contains(why), "{}", answered.body);
                assert_eq!(written(&answered), ["0", "0", "0"]);
            }
        });
    }
}
