//! `/api/v1/read`: remote read.
//!
//! | answer | when |
//! |---|---|
//! | 200 | all there is, as samples or as a stream of chunks, whichever is first among what the request takes |
//! | 400 | not a request; or more samples than an answer in one piece may have |
//! | 404, 405, 415 | no such thing, not a POST, not snappy |
//! | 503 | no room, or not ready |
//! | 500 | the disk does not read |
//!
//! A stream is read while it is sent: what a shard and this core hold of it does not grow with it. Where it cannot go on it
//! breaks off, which no client takes for an end. Native histograms are in both answers. Floats go out in XOR chunks whatever
//! they are stored in; upstream sends XOR2 chunks as they are, which older clients do not read. Each core runs its share of `--storage.remote.read-concurrent-limit`.
//! Source: `storage/remote/read_handler.go`, Prometheus 3.14.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_lite::StreamExt;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;

use super::body::{Body, BodyBounds, BodyFailed, ReadBodyError, read_body};
use super::home;
use super::reply::{self, Reply};
use super::service::Server;
use crate::coordinator::api::{Need, ReadError, ReadSeries, SeriesReading, Store};
use crate::coordinator::reading_texts;
use crate::model::{Labels, Samples, TimeRange};
use crate::query::QueryError;
use crate::query::memory::Account;
use crate::rt::local::Permit;
use crate::rt::pace::Slice;
use crate::rt::{task, timer};
use crate::wire::read::{
    ReadForm, ReadQuery, ReadRequestError, SamplesAnswer, SeriesFrames, decode_read,
};
use crate::wire::{BodyError, Compression, DECODED_BYTES_MAX, Decompressor, pack_snappy};

const BOUNDS: BodyBounds =
    BodyBounds { bytes_max: 32 << 20, unpacked_bytes_max: DECODED_BYTES_MAX };

/// An answer in one piece is not longer than this before it is packed, in bytes: it is all in memory.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Frames are sent in pieces of at least this many bytes, but for the last.
const PIECE_BYTES: usize = 64 << 10;

const STREAM: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Why a read is not answered.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Body(#[from] ReadBodyError),
    #[error(transparent)]
    Slow(#[from] timer::Elapsed),
    #[error(transparent)]
    Unpacking(#[from] BodyError),
    #[error(transparent)]
    Request(#[from] ReadRequestError),
    #[error(transparent)]
    Store(#[from] ReadError),
    #[error("exceeded sample limit ({0}); ask for less at once, or take STREAMED_XOR_CHUNKS")]
    Samples(u64),
    #[error(
        "the answer has more than {0} bytes; ask for less at once, or take STREAMED_XOR_CHUNKS"
    )]
    Bytes(usize),
    #[error(transparent)]
    Memory(#[from] QueryError),
    #[error("the server stops")]
    Stopping,
}

impl Refused {
    fn reply(&self) -> Reply {
        let sentence = self.to_string();
        match self {
            Self::Body(ReadBodyError::Overloaded(_)) | Self::Stopping => {
                reply::try_later(&sentence)
            }
            Self::Store(ReadError::NotReady) => reply::try_later(&sentence),
            Self::Store(ReadError::Refused(_)) | Self::Memory(_) => {
                reply::text(StatusCode::UNPROCESSABLE_ENTITY, &sentence)
            }
            Self::Store(ReadError::Storage(_)) => {
                reply::text(StatusCode::INTERNAL_SERVER_ERROR, &sentence)
            }
            Self::Slow(_) => reply::text(StatusCode::REQUEST_TIMEOUT, &sentence),
            Self::Body(_)
            | Self::Unpacking(_)
            | Self::Request(_)
            | Self::Samples(_)
            | Self::Bytes(_) => reply::text(StatusCode::BAD_REQUEST, &sentence),
        }
    }
}

/// Answers any request to the read path.
pub async fn handle<S, B>(server: &Server<S>, request: Request<B>) -> Reply
where
    S: Store,
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return reply::method_not_allowed("POST");
    }
    if !is_snappy(&head) {
        let sentence = "remote read is a prometheus.ReadRequest in snappy block format: Content-Encoding: snappy";
        return reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence);
    }
    let patience = server.settings.query_timeout;
    if let Some(reply) = home::not_ready(server.ready_for(Need::Reads, patience).await) {
        return reply;
    }
    read(server, body).await.unwrap_or_else(|refused| refused.reply())
}

/// Upstream looks at nothing; a client that says nothing sends snappy as well.
fn is_snappy(head: &Parts) -> bool {
    head.headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding.as_bytes() == b"snappy")
}

async fn read<S, B>(server: &Server<S>, body: B) -> Result<Reply, Refused>
where
    S: Store,
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let external = server.configuration.in_force().config.external_labels();
    let (queries, form) = asked(server, body, &external).await?;
    let turn = timer::timeout(server.settings.query_timeout, server.reads.acquire(1)).await?;
    let turn = turn.ok_or(Refused::Stopping)?;
    let reading = |ReadQuery { range, matchers }: ReadQuery| {
        let range: TimeRange = range?;
        Some(server.store.read(matchers, range))
    };
    let readings: VecDeque<Option<S::Reading>> = queries.into_iter().map(reading).collect();
    match form {
        ReadForm::Samples => {
            let max = server.settings.remote_read_samples_max;
            let (bytes, accounts) = samples(readings, &external, max).await?;
            let len = HeaderValue::from(bytes.len());
            // Charged until it is sent.
            let piece = futures_lite::stream::once(Ok(bytes));
            let body = piece.map(move |piece| {
                let _held = &accounts;
                piece
            });
            let mut reply = Response::new(Body::streamed(body));
            reply.headers_mut().insert(CONTENT_LENGTH, len);
            let protobuf = HeaderValue::from_static("application/x-protobuf");
            reply.headers_mut().insert(CONTENT_TYPE, protobuf);
            let snappy = HeaderValue::from_static("snappy");
            reply.headers_mut().insert(CONTENT_ENCODING, snappy);
            Ok(reply)
        }
        ReadForm::Chunks => {
            let frame_bytes_max = server.settings.remote_read_frame_bytes_max;
            let stream = ChunkStream { readings, query: 0, external, frame_bytes_max, _turn: turn };
            let mut reply = Response::new(Body::streamed(stream.into_pieces()));
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(STREAM));
            Ok(reply)
        }
    }
}

/// Reads and decodes the request.
async fn asked<S, B>(
    server: &Server<S>,
    body: B,
    external: &Labels,
) -> Result<(Vec<ReadQuery>, ReadForm), Refused>
where
    S: Store,
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let limit = server.settings.read_timeout;
    let admitted = server.admission.admit(BOUNDS.weight_of(&body)?, limit).await;
    let mut reservation = admitted.map_err(ReadBodyError::from)?;
    let (mut packed, mut bytes) = (Vec::new(), Vec::new());
    timer::timeout(limit, read_body(body, BOUNDS, &mut reservation, &mut packed)).await??;
    Decompressor::new().decompress(Compression::Snappy, &packed, &mut bytes)?;
    let external = external.clone();
    let reading = reading_texts::read(bytes.len(), move || decode_read(&bytes, &external)).await;
    Ok(reading.map_err(|error| ReadError::Storage(error.to_string()))??)
}

/// The whole answer in samples, packed.
async fn samples<R: SeriesReading>(
    readings: VecDeque<Option<R>>,
    external: &Labels,
    samples_max: u64,
) -> Result<(Bytes, Vec<Account>), Refused> {
    let (mut answer, mut decoded) = (SamplesAnswer::default(), Samples::default());
    let mut slice = Slice::start();
    let (mut charged, mut accounts) = (0, Vec::new());
    for reading in readings {
        let (mut last, mut count) = (None, 0);
        if let Some(mut reading) = reading {
            let account = reading.account().clone();
            while let Some(series) = reading.next().await? {
                count += series.len();
                if count > samples_max {
                    return Err(Refused::Samples(samples_max));
                }
                if last.as_ref() != Some(&series.labels) {
                    answer.begin_series(&series.labels, external);
                    last = Some(series.labels);
                }
                for chunk in &series.chunks {
                    ReadSeries::decode(chunk, &mut decoded);
                    answer.push(decoded.as_ref());
                    // It is packed as a whole, and then there twice.
                    let held = answer.len() * 2;
                    account.charge(held - charged)?;
                    charged = held;
                    if answer.len() > ANSWER_BYTES_MAX {
                        return Err(Refused::Bytes(ANSWER_BYTES_MAX));
                    }
                    slice.breathe().await;
                }
            }
            accounts.push(account);
        }
        answer.end_query();
    }
    let answer = answer.finish();
    let packing = task::spawn_blocking("packing an answer", move || pack_snappy(&answer));
    let packed = packing.await.map_err(|error| ReadError::Storage(error.to_string()))?;
    Ok((Bytes::from(packed), accounts))
}

/// Frames of all queries, one after the other.
struct ChunkStream<R> {
    readings: VecDeque<Option<R>>,
    /// The number of the first of them.
    query: usize,
    external: Labels,
    frame_bytes_max: usize,
    _turn: Permit,
}

impl<R: SeriesReading + 'static> ChunkStream<R> {
    fn into_pieces(self) -> impl futures_lite::Stream<Item = Result<Bytes, BodyFailed>> {
        futures_lite::stream::unfold(Some(self), |stream| async move {
            let mut stream = stream?;
            match stream.next_piece().await {
                Ok(piece) if piece.is_empty() => None,
                Ok(piece) => Some((Ok(Bytes::from(piece)), Some(stream))),
                Err(error) => {
                    tracing::error!(%error, "a remote read breaks off");
                    Some((Err(BodyFailed(error.to_string())), None))
                }
            }
        })
    }

    /// Some frames; none at the end.
    async fn next_piece(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES {
            let Some(reading) = self.readings.front_mut() else { break };
            let series = match reading {
                Some(reading) => reading.next().await?,
                None => None,
            };
            let Some(series) = series else {
                self.readings.pop_front();
                self.query += 1;
                continue;
            };
            let (labels, max) = (&series.labels, self.frame_bytes_max);
            let mut frames = SeriesFrames::of(self.query, labels, &self.external, max);
            for chunk in series.chunks {
                frames.push(chunk.range, chunk.encoding, chunk.bytes, &mut piece);
            }
            frames.finish(&mut piece);
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod kinds_test;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{
        Answered, FakeStore, Pieces, Written, ask, get, request, server, write_v1,
    };

    const SERIES: [Written<'static>; 2] = [
        (&[("__name__", "up"), ("job", "a")], &[(1000, 1.0), (2000, 2.5), (3000, 3.0)]),
        (&[("__name__", "up"), ("job", "b")], &[(1500, 1.0)]),
    ];

    /// `up` from 1000 to 2999, in this form: field 2 of the request.
    fn message(form: u8) -> Vec<u8> {
        let matcher = b"\x1a\x0e\x12\x08__name__\x1a\x02up";
        let query = [b"\x08\xe8\x07\x10\xb7\x17", &matcher[..]].concat();
        let mut message = vec![0x0a, u8::try_from(query.len()).unwrap()];
        message.extend(query);
        message.extend([0x10, form]);
        message
    }

    async fn read(flags: &str, body: Vec<u8>) -> Answered {
        let store = FakeStore::new();
        let server = server(&store, flags);
        assert_eq!(ask(&server, write_v1(&SERIES)).await.status, 204);
        let mut request = request(Method::POST, "/api/v1/read");
        *request.body_mut() = Pieces::whole(body);
        request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        ask(&server, request).await
    }

    #[test]
    fn samples_come_in_one_piece_packed() {
        on_one_shard(|_| async {
            let answered = read("", pack_snappy(&message(0))).await;
            assert_eq!(answered.status, 200, "{}", answered.body);
            assert_eq!(answered.header("content-type"), "application/x-protobuf");
            assert_eq!(answered.header("content-encoding"), "snappy");
        });
    }

    #[test]
    fn chunks_come_as_a_stream_of_frames() {
        on_one_shard(|_| async {
            let answered = read("", pack_snappy(&message(1))).await;
            assert_eq!((answered.status.as_u16(), answered.header("content-type")), (200, STREAM));
            assert_eq!(answered.header("content-encoding"), "");
            assert!(answered.body.contains("up") && answered.body.contains("job"));
        });
    }

    #[test]
    fn an_answer_in_one_piece_has_no_more_samples_than_it_may_have() {
        on_one_shard(|_| async {
            let limit = "--storage.remote.read-sample-limit=1";
            let answered = read(limit, pack_snappy(&message(0))).await;
            assert_eq!(answered.status, 400);
            assert!(answered.body.starts_with("exceeded sample limit (1)"), "{}", answered.body);
            assert_eq!(read(limit, pack_snappy(&message(1))).await.status, 200, "a stream is free");
        });
    }

    #[test]
    fn what_is_not_a_read_is_refused_with_the_reason() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let answered = ask(&server, get("/api/v1/read")).await;
            assert_eq!((answered.status.as_u16(), answered.header("allow")), (405, "POST"));
            let mut gzip = request(Method::POST, "/api/v1/read");
            gzip.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            assert_eq!(ask(&server, gzip).await.status, 415);
            assert_eq!(read("", b"\xff".to_vec()).await.status, 400);
            let answered = read("", pack_snappy(b"\x0a\xff")).await;
            assert_eq!(answered.status, 400);
            assert!(answered.body.contains("not a prometheus.ReadRequest"), "{}", answered.body);
            let answered = read("", pack_snappy(&message(9))).await;
            assert!(answered.body.contains("requested response types: [9]"), "{}", answered.body);
        });
    }
}
