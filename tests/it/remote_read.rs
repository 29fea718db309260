//! Remote read as its clients see it: every frame holds, series come in order of labels, and all that was sent is there. The
//! messages are declared here once more, as a client would.

use std::collections::BTreeMap;

use floodplain::encoding::varint;
use floodplain::encoding::xor::XorReader;
use prost::Message;

use crate::http;
use crate::offline::{Samples, samples, send, until_both_have_blocks};
use crate::server::Running;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
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
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(message, repeated, tag = "1")]
    series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    query: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
struct Chunk {
    #[prost(int64, tag = "1")]
    min: i64,
    #[prost(int64, tag = "2")]
    max: i64,
    #[prost(int32, tag = "3")]
    encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, repeated, tag = "1")]
    results: Vec<ResultOfQuery>,
}

#[derive(Clone, PartialEq, Message)]
struct ResultOfQuery {
    #[prost(message, repeated, tag = "1")]
    series: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    v: f64,
    #[prost(int64, tag = "2")]
    t: i64,
}

/// Asks for something that is not there, and for all of `m`.
fn ask(server: &Running, accepted: i32) -> Vec<u8> {
    let matcher = |name: &str, value: &str| Matcher {
        kind: 0,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let query = |name| Query { start: 0, end: i64::MAX, matchers: vec![matcher("__name__", name)] };
    let queries = vec![query("none"), query("m")];
    let message = Request { queries, accepted: vec![accepted] }.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let headers = ["Content-Encoding: snappy", "Content-Type: application/x-protobuf"];
    let answer = http::send(server.address, "POST /api/v1/read", &headers, &body).unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.body
}

fn frames(mut body: &[u8]) -> Vec<Frame> {
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
    let frames = frames(&ask(&running, 1));
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
    let unpacked = snap::raw::Decoder::new().decompress_vec(&ask(&running, 0)).unwrap();
    let results = Response::decode(&*unpacked).unwrap().results;
    assert_eq!(results.iter().map(|of| of.series.len()).collect::<Vec<_>>(), [0, sent.len()]);
    let read: Samples = results[1]
        .series
        .iter()
        .map(|s| (name(&s.labels), s.samples.iter().map(|sample| (sample.t, sample.v)).collect()))
        .collect();
    assert!(read == sent, "something else came back than was sent");
}
