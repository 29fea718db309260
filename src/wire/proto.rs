//! The messages of remote write and remote read, as `prost` encodes and decodes them.
//!
//! Everything off the hot path goes through these: native histograms, exemplars and metadata while decoding, whole
//! requests in tests, benches and senders. The hot path, [`super::write_v1`] and [`super::write_v2`], walks the bytes
//! itself, and property tests hold it to what these decode.
//!
//! Texts are `bytes` here, not `string`: a label that is not UTF-8 costs its series, not its request, as upstream has it.
//! Field 2 of `v1::WriteRequest` is reserved (Cortex used it). Source: `prompb/{remote,types}.proto` and
//! `prompb/io/prometheus/write/v2/types.proto` of Prometheus 3.14.

/// Remote write 1.0: package `prometheus`.
pub mod v1 {
    /// A request.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct WriteRequest {
        /// The series with their samples.
        #[prost(message, repeated, tag = "1")]
        pub timeseries: Vec<TimeSeries>,
        /// What metrics are; Prometheus sends these in requests of their own.
        #[prost(message, repeated, tag = "3")]
        pub metadata: Vec<MetricMetadata>,
    }

    /// One series of a request.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        /// Its labels; senders should sort them by name.
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        /// Its samples; senders should sort them by time.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        /// Its exemplars.
        #[prost(message, repeated, tag = "3")]
        pub exemplars: Vec<Exemplar>,
        /// Its native histograms.
        #[prost(message, repeated, tag = "4")]
        pub histograms: Vec<Histogram>,
    }

    /// A name and its value.
    #[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
    pub struct Label {
        /// UTF-8, if the sender keeps to the protocol.
        #[prost(bytes = "vec", tag = "1")]
        pub name: Vec<u8>,
        /// UTF-8, if the sender keeps to the protocol.
        #[prost(bytes = "vec", tag = "2")]
        pub value: Vec<u8>,
    }

    /// One float sample.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Sample {
        /// Any bit pattern.
        #[prost(double, tag = "1")]
        pub value: f64,
        /// Milliseconds since the Unix epoch.
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
    }

    /// An example of what was counted.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Exemplar {
        /// What identifies the example: a trace id.
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        /// What it measured.
        #[prost(double, tag = "2")]
        pub value: f64,
        /// Milliseconds since the Unix epoch.
        #[prost(int64, tag = "3")]
        pub timestamp: i64,
    }

    /// What a metric is.
    #[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
    pub struct MetricMetadata {
        /// By the number of [`MetricType`](crate::model::MetricType).
        #[prost(int32, tag = "1")]
        pub r#type: i32,
        /// The name of the metric, without the suffixes of its series.
        #[prost(bytes = "vec", tag = "2")]
        pub metric_family_name: Vec<u8>,
        /// What it says, for people.
        #[prost(bytes = "vec", tag = "4")]
        pub help: Vec<u8>,
        /// In which unit.
        #[prost(bytes = "vec", tag = "5")]
        pub unit: Vec<u8>,
    }

    /// A native histogram. 1.0 and 2.0 share the numbers of all its fields but one, see
    /// [`v2::Histogram`](super::v2::Histogram).
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Histogram {
        /// How many observations; whole for integer histograms.
        #[prost(oneof = "Count", tags = "1, 2")]
        pub count: Option<Count>,
        /// Their sum.
        #[prost(double, tag = "3")]
        pub sum: f64,
        /// -4 to 8: a power of two has 2^schema buckets; -53: `custom_values` has the bounds.
        #[prost(sint32, tag = "4")]
        pub schema: i32,
        /// How wide the bucket around zero is.
        #[prost(double, tag = "5")]
        pub zero_threshold: f64,
        /// How many observations are in it.
        #[prost(oneof = "ZeroCount", tags = "6, 7")]
        pub zero_count: Option<ZeroCount>,
        /// Where the buckets of negative observations are.
        #[prost(message, repeated, tag = "8")]
        pub negative_spans: Vec<BucketSpan>,
        /// Integer histograms: each bucket's count less the one before it.
        #[prost(sint64, repeated, tag = "9")]
        pub negative_deltas: Vec<i64>,
        /// Float histograms: each bucket's count.
        #[prost(double, repeated, tag = "10")]
        pub negative_counts: Vec<f64>,
        /// Where the buckets of positive observations are.
        #[prost(message, repeated, tag = "11")]
        pub positive_spans: Vec<BucketSpan>,
        /// Integer histograms: each bucket's count less the one before it.
        #[prost(sint64, repeated, tag = "12")]
        pub positive_deltas: Vec<i64>,
        /// Float histograms: each bucket's count.
        #[prost(double, repeated, tag = "13")]
        pub positive_counts: Vec<f64>,
        /// By the number of [`ResetHint`](crate::model::ResetHint).
        #[prost(int32, tag = "14")]
        pub reset_hint: i32,
        /// Milliseconds since the Unix epoch.
        #[prost(int64, tag = "15")]
        pub timestamp: i64,
        /// The upper bounds of custom buckets (schema -53).
        #[prost(double, repeated, tag = "16")]
        pub custom_values: Vec<f64>,
    }

    /// How many observations a histogram has.
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub enum Count {
        /// Of an integer histogram.
        #[prost(uint64, tag = "1")]
        Int(u64),
        /// Of a float histogram.
        #[prost(double, tag = "2")]
        Float(f64),
    }

    /// How many observations a histogram has around zero.
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub enum ZeroCount {
        /// Of an integer histogram.
        #[prost(uint64, tag = "6")]
        Int(u64),
        /// Of a float histogram.
        #[prost(double, tag = "7")]
        Float(f64),
    }

    /// Buckets side by side.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub struct BucketSpan {
        /// How many buckets lie between the span before and this one; of the first span, where it starts.
        #[prost(sint32, tag = "1")]
        pub offset: i32,
        /// How many buckets it has.
        #[prost(uint32, tag = "2")]
        pub length: u32,
    }
}

/// Remote write 2.0: package `io.prometheus.write.v2`.
pub mod v2 {
    pub use super::v1::{BucketSpan, Count, ZeroCount};

    /// A request. Fields 1 to 3 are reserved, so that a 1.0 request read as 2.0 is an empty one.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        /// Every text of the request once; the first one is empty.
        #[prost(bytes = "vec", repeated, tag = "4")]
        pub symbols: Vec<Vec<u8>>,
        /// The series with their samples.
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries>,
    }

    /// One series of a request.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        /// Name, value, name, value, ... as places in `symbols`; senders should sort them by name.
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// Its samples, or
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        /// its native histograms.
        #[prost(message, repeated, tag = "3")]
        pub histograms: Vec<Histogram>,
        /// Its exemplars.
        #[prost(message, repeated, tag = "4")]
        pub exemplars: Vec<Exemplar>,
        /// What its metric is.
        #[prost(message, optional, tag = "5")]
        pub metadata: Option<Metadata>,
    }

    /// One float sample.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Sample {
        /// Any bit pattern.
        #[prost(double, tag = "1")]
        pub value: f64,
        /// Milliseconds since the Unix epoch.
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
        /// Since when a counter counts; 0 is unknown.
        #[prost(int64, tag = "3")]
        pub start_timestamp: i64,
    }

    /// An example of what was counted.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Exemplar {
        /// What identifies the example, as places in `symbols`.
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// What it measured.
        #[prost(double, tag = "2")]
        pub value: f64,
        /// Milliseconds since the Unix epoch.
        #[prost(int64, tag = "3")]
        pub timestamp: i64,
    }

    /// What a metric is.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub struct Metadata {
        /// By the number of [`MetricType`](crate::model::MetricType).
        #[prost(int32, tag = "1")]
        pub r#type: i32,
        /// What it says, for people: a place in `symbols`.
        #[prost(uint32, tag = "3")]
        pub help_ref: u32,
        /// In which unit: a place in `symbols`.
        #[prost(uint32, tag = "4")]
        pub unit_ref: u32,
    }

    /// A native histogram: [`v1::Histogram`](super::v1::Histogram) and a start timestamp.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Histogram {
        /// How many observations; whole for integer histograms.
        #[prost(oneof = "Count", tags = "1, 2")]
        pub count: Option<Count>,
        /// Their sum.
        #[prost(double, tag = "3")]
        pub sum: f64,
        /// -4 to 8: a power of two has 2^schema buckets; -53: `custom_values` has the bounds.
        #[prost(sint32, tag = "4")]
        pub schema: i32,
        /// How wide the bucket around zero is.
        #[prost(double, tag = "5")]
        pub zero_threshold: f64,
        /// How many observations are in it.
        #[prost(oneof = "ZeroCount", tags = "6, 7")]
        pub zero_count: Option<ZeroCount>,
        /// Where the buckets of negative observations are.
        #[prost(message, repeated, tag = "8")]
        pub negative_spans: Vec<BucketSpan>,
        /// Integer histograms: each bucket's count less the one before it.
        #[prost(sint64, repeated, tag = "9")]
        pub negative_deltas: Vec<i64>,
        /// Float histograms: each bucket's count.
        #[prost(double, repeated, tag = "10")]
        pub negative_counts: Vec<f64>,
        /// Where the buckets of positive observations are.
        #[prost(message, repeated, tag = "11")]
        pub positive_spans: Vec<BucketSpan>,
        /// Integer histograms: each bucket's count less the one before it.
        #[prost(sint64, repeated, tag = "12")]
        pub positive_deltas: Vec<i64>,
        /// Float histograms: each bucket's count.
        #[prost(double, repeated, tag = "13")]
        pub positive_counts: Vec<f64>,
        /// By the number of [`ResetHint`](crate::model::ResetHint).
        #[prost(int32, tag = "14")]
        pub reset_hint: i32,
        /// Milliseconds since the Unix epoch.
        #[prost(int64, tag = "15")]
        pub timestamp: i64,
        /// The upper bounds of custom buckets (schema -53).
        #[prost(double, repeated, tag = "16")]
        pub custom_values: Vec<f64>,
        /// Since when the histogram counts; 0 is unknown.
        #[prost(int64, tag = "17")]
        pub start_timestamp: i64,
    }
}

/// Remote read: package `prometheus`, like 1.0 of remote write, whose labels and samples it has. Source: `prompb/remote.proto`
/// and `prompb/types.proto`.
pub mod read {
    use super::v1::Label;

    /// A request.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ReadRequest {
        /// What is asked for.
        #[prost(message, repeated, tag = "1")]
        pub queries: Vec<Query>,
        /// In which forms the answer may be, the best one first: 0 samples, 1 chunks.
        #[prost(int32, repeated, tag = "2")]
        pub accepted_response_types: Vec<i32>,
    }

    /// Some series in a range of time. Its hints (field 4) change nothing here.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Query {
        /// The first instant, in milliseconds since the Unix epoch.
        #[prost(int64, tag = "1")]
        pub start_timestamp_ms: i64,
        /// The last one.
        #[prost(int64, tag = "2")]
        pub end_timestamp_ms: i64,
        /// All of them hold for the series.
        #[prost(message, repeated, tag = "3")]
        pub matchers: Vec<LabelMatcher>,
    }

    /// What has to hold for a label.
    #[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
    pub struct LabelMatcher {
        /// 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
        #[prost(int32, tag = "1")]
        pub r#type: i32,
        /// The label's name.
        #[prost(string, tag = "2")]
        pub name: String,
        /// A value or a pattern.
        #[prost(string, tag = "3")]
        pub value: String,
    }

    /// Some chunks of a series: field 1 of a frame's message, whose field 2 is the query's number.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ChunkedSeries {
        /// Its labels, sorted by name.
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        /// Its chunks.
        #[prost(message, repeated, tag = "2")]
        pub chunks: Vec<Chunk>,
    }

    /// A chunk as Prometheus has it.
    #[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
    pub struct Chunk {
        /// When its first sample is.
        #[prost(int64, tag = "1")]
        pub min_time_ms: i64,
        /// When its last one is.
        #[prost(int64, tag = "2")]
        pub max_time_ms: i64,
        /// The number of its encoding.
        #[prost(int32, tag = "3")]
        pub r#type: i32,
        /// Its bytes.
        #[prost(bytes = "vec", tag = "4")]
        pub data: Vec<u8>,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{v1, v2};

    #[test] // golden bytes: a field number that moved would read other senders' requests wrongly
    fn a_write_request_has_these_bytes() {
        let request = v1::WriteRequest {
            timeseries: vec![v1::TimeSeries {
                labels: vec![v1::Label { name: b"__name__".to_vec(), value: b"up".to_vec() }],
                samples: vec![v1::Sample { value: 1.0, timestamp: 1000 }],
                exemplars: vec![v1::Exemplar { labels: vec![], value: 2.0, timestamp: 3 }],
                histograms: vec![v1::Histogram {
                    count: Some(v1::Count::Int(4)),
                    zero_count: Some(v1::ZeroCount::Float(0.5)),
                    schema: -53,
                    custom_values: vec![1.0],
                    timestamp: 5,
                    ..Default::default()
                }],
            }],
            metadata: vec![v1::MetricMetadata {
                r#type: 2,
                metric_family_name: b"up".to_vec(),
                help: b"h".to_vec(),
                unit: b"s".to_vec(),
            }],
        };
        let series = b"\
            \x0a\x0e\x0a\x08__name__\x12\x02up\
            \x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\xe8\x07\
            \x1a\x0b\x11\0\0\0\0\0\0\0\x40\x18\x03\
            \x22\x1a\x08\x04\x20\x69\x39\0\0\0\0\0\0\xe0\x3f\x78\x05\x82\x01\x08\0\0\0\0\0\0\xf0\x3f";
        let metadata = b"\x08\x02\x12\x02up\x22\x01h\x2a\x01s";
        let want = [&b"\x0a\x47"[..], series, b"\x1a\x0c", metadata].concat();
        assert_eq!(request.encode_to_vec(), want);
    }

    #[test] // golden bytes
    fn a_2_0_request_has_these_bytes() {
        let request = v2::Request {
            symbols: vec![b"".to_vec(), b"__name__".to_vec(), b"up".to_vec()],
            timeseries: vec![v2::TimeSeries {
                labels_refs: vec![1, 2],
                samples: vec![v2::Sample { value: 1.0, timestamp: 1000, start_timestamp: 1 }],
                histograms: vec![],
                exemplars: vec![],
                metadata: Some(v2::Metadata { r#type: 2, help_ref: 1, unit_ref: 2 }),
            }],
        };
        let series = b"\
            \x0a\x02\x01\x02\
            \x12\x0e\x09\0\0\0\0\0\0\xf0\x3f\x10\xe8\x07\x18\x01\
            \x2a\x06\x08\x02\x18\x01\x20\x02";
        let want = [&b"\x22\0\x22\x08__name__\x22\x02up\x2a\x1c"[..], series].concat();
        assert_eq!(request.encode_to_vec(), want);
    }
}
