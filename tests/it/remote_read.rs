//! Remote read as its clients see it: every frame holds, series come in order of labels, and all that was sent is there.
//!
//! The client is also the one by which other tests get chunks out of a Prometheus. Its messages are the tests' own, as
//! those of remote write.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use floodplain::encoding::varint;
use floodplain::encoding::xor::XorReader;
use floodplain::wire::proto::v1;
use prost::Message;

use crate::http;
use crate::offline::{Samples, samples, send, until_both_have_blocks};
use crate::remote_write::Label;
use crate::server::Running;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Query {
    #[prost(int64, tag = "1")]
    start: i64,
    #[prost(int64, tag = "2")]
    end: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
struct Matcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Frame {
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    query: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

/// A chunk as Prometheus has it.
#[derive(Clone, PartialEq, Message)]
pub struct Chunk {
    #[prost(int64, tag = "1")]
    pub min: i64,
    /// Of an open chunk of Prometheus the largest number there is: it may still grow.
    #[prost(int64, tag = "2")]
    pub max: i64,
    /// 1 is XOR.
    #[prost(int32, tag = "3")]
    pub encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Response {
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<ResultOfQuery>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ResultOfQuery {
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<v1::Histogram>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    v: f64,
    #[prost(int64, tag = "2")]
    t: i64,
}

/// The forms of an answer.
pub const SAMPLES: i32 = 0;
pub const CHUNKS: i32 = 1;

impl Query {
    /// All series of a metric.
    pub fn of(metric: &str, start: i64, end: i64) -> Self {
        let (name, value) = ("__name__".to_owned(), metric.to_owned());
        Self { start, end, matchers: vec![Matcher { kind: 0, name, value }] }
    }
}

/// What is answered in one of the forms.
pub fn read(address: SocketAddr, queries: Vec<Query>, form: i32) -> Vec<u8> {
    let message = Request { queries, accepted: vec![form] }.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let headers = ["Content-Encoding: snappy", "Content-Type: application/x-protobuf"];
    let answer = http::send(address, "POST /api/v1/read", &headers, &body).unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.body
}

/// Something that is not there, and all of `m`.
fn ask(server: &Running, form: i32) -> Vec<u8> {
    let queries = ["none", "m"].map(|metric| Query::of(metric, 0, i64::MAX));
    read(server.address, queries.into(), form)
}

/// The frames of a stream of chunks.
pub fn frames(mut body: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let (len, rest) = varint::split_unsigned(body).unwrap();
        let (sum, rest) = rest.split_at(4);
        let (message, rest) = rest.split_at(usize::try_from(len).unwrap());
        assert_eq!(sum, crc32c::crc32c(message).to_be_bytes());
        frames.push(Frame::decode(message).unwrap());
        body = rest;
    }
    frames
}

fn name(labels: &[Label]) -> String {
    assert!(labels.is_sorted_by(|a, b| a.name < b.name), "{labels:?}");
    labels.iter().find(|label| label.name == "series").unwrap().value.clone()
}

/// Eight hours of some series, of which both shards have blocks.
fn filled(dir: &std::path::Path, more: &[&str]) -> (Running, Samples) {
    let (running, sent) = (Running::with_flags(dir, 2, more), samples(8 * 60));
    send(&sent, running.address);
    until_both_have_blocks(dir);
    (running, sent)
}

#[test]
fn a_stream_has_all_samples_in_frames_of_series_in_order_of_labels() {
    let dir = tempfile::tempdir().unwrap();
    // Small frames, so that a series takes several.
    let (running, sent) = filled(dir.path(), &["--storage.remote.read-max-bytes-in-frame=300"]);
    let frames = frames(&ask(&running, CHUNKS));
    assert!(frames.len() >= 2 * sent.len(), "{} frames", frames.len());
    assert!(frames.iter().all(|frame| frame.query == 1 && frame.series.len() == 1));
    let names: Vec<String> = frames.iter().map(|frame| name(&frame.series[0].labels)).collect();
    assert!(names.is_sorted(), "{names:?}");
    let mut read = Samples::new();
    for (name, frame) in names.into_iter().zip(frames) {
        let samples = read.entry(name).or_default();
        for chunk in &frame.series[0].chunks {
            assert_eq!(chunk.encoding, 1);
            let decoded: BTreeMap<i64, f64> = XorReader::new(&chunk.data)
                .unwrap()
                .map(|sample| sample.map(|sample| (sample.t.0, sample.v)).unwrap())
                .collect();
            let range = [decoded.keys().next(), decoded.keys().next_back()];
            assert_eq!(range, [Some(&chunk.min), Some(&chunk.max)]);
            assert!(samples.keys().next_back().is_none_or(|last| *last < chunk.min));
            samples.extend(decoded);
        }
    }
    assert!(read == sent, "something else came back than was sent");
}

#[test]
fn an_answer_in_one_piece_has_all_samples_and_a_result_for_each_query() {
    let dir = tempfile::tempdir().unwrap();
    let (running, sent) = filled(dir.path(), &[]);
    let unpacked = snap::raw::Decoder::new().decompress_vec(&ask(&running, SAMPLES)).unwrap();
    let results = Response::decode(&*unpacked).unwrap().results;
    assert_eq!(results.iter().map(|of| of.series.len()).collect::<Vec<_>>(), [0, sent.len()]);
    let read: Samples = results[1]
        .series
        .iter()
        .map(|s| (name(&s.labels), s.samples.iter().map(|sample| (sample.t, sample.v)).collect()))
        .collect();
    assert!(read == sent, "something else came back than was sent");
}
