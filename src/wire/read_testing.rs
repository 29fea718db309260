//! Answers of remote read, taken apart, for tests.

use prost::Message as _;

use super::model_test::parts;
use super::proto::{read, v1};
use crate::model::{Sample, Samples, TimeRange, TimestampMs, ValueRef};

#[derive(Clone, PartialEq, prost::Message)]
struct Results {
    #[prost(message, repeated, tag = "1")]
    results: Vec<ResultOfQuery>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResultOfQuery {
    #[prost(message, repeated, tag = "1")]
    series: Vec<v1::TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(message, repeated, tag = "1")]
    series: Vec<read::ChunkedSeries>,
}

/// A chunk: its times, the number of its encoding, its bytes.
pub type Chunk = (TimeRange, u8, Vec<u8>);

/// The samples of each series of the first query of an answer in samples.
pub fn samples_of(answer: &[u8]) -> Vec<Samples> {
    let of_series = |series: v1::TimeSeries| {
        let mut samples = Samples::default();
        for v1::Sample { value, timestamp } in series.samples {
            samples.floats.push(Sample { t: TimestampMs(timestamp), v: value });
        }
        for message in &series.histograms {
            let t = TimestampMs(message.timestamp);
            parts(message, |histogram| samples.push(t, ValueRef::Histogram(histogram)));
        }
        samples
    };
    let first = Results::decode(answer).unwrap().results.remove(0);
    first.series.into_iter().map(of_series).collect()
}

/// The chunks of some frames of a stream.
pub fn chunks_of(mut frames: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    while !frames.is_empty() {
        let len = prost::decode_length_delimiter(&mut frames).unwrap();
        let (frame, behind) = frames[4..].split_at(len);
        frames = behind;
        for chunk in Frame::decode(frame).unwrap().series.remove(0).chunks {
            let times = [chunk.min_time_ms, chunk.max_time_ms].map(TimestampMs);
            let range = TimeRange::new(times[0], times[1]).unwrap();
            chunks.push((range, u8::try_from(chunk.r#type).unwrap(), chunk.data));
        }
    }
    chunks
}
