//! Answers of remote read, taken apart, for tests.

use prost::Message as _;

use super::proto::{read, v1};
use crate::model::histogram::Span;
use crate::model::{
    AnyHistogram, HistogramRef, ResetHint, Sample, Samples, TimeRange, TimestampMs, ValueRef,
};

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
            let histogram = histogram_of(message);
            samples.push(TimestampMs(message.timestamp), ValueRef::Histogram(histogram.as_ref()));
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

fn spans(spans: &[v1::BucketSpan]) -> Vec<Span> {
    spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect()
}

/// The histogram that a message is.
fn histogram_of(message: &v1::Histogram) -> AnyHistogram {
    let (positive, negative) = (spans(&message.positive_spans), spans(&message.negative_spans));
    let reset_hint = ResetHint::of_number(u8::try_from(message.reset_hint).unwrap()).unwrap();
    match (message.count.unwrap(), message.zero_count.unwrap()) {
        (v1::Count::Int(count), v1::ZeroCount::Int(zero_count)) => {
            let h = HistogramRef::<u64> {
                reset_hint,
                schema: message.schema,
                zero_threshold: message.zero_threshold,
                count,
                zero_count,
                sum: message.sum,
                positive_spans: &positive,
                negative_spans: &negative,
                positive_buckets: &message.positive_deltas,
                negative_buckets: &message.negative_deltas,
                custom_values: &message.custom_values,
            };
            AnyHistogram::Int(h.to_histogram())
        }
        (v1::Count::Float(count), v1::ZeroCount::Float(zero_count)) => {
            let h = HistogramRef::<f64> {
                reset_hint,
                schema: message.schema,
                zero_threshold: message.zero_threshold,
                count,
                zero_count,
                sum: message.sum,
                positive_spans: &positive,
                negative_spans: &negative,
                positive_buckets: &message.positive_counts,
                negative_buckets: &message.negative_counts,
                custom_values: &message.custom_values,
            };
            AnyHistogram::Float(h.to_histogram())
        }
        other => panic!("a histogram counts in one kind of number: {other:?}"),
    }
}
