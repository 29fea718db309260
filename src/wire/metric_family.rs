//! What a scrape answers in protobuf: metric families, each behind its length.
//!
//! ```text
//! answer   │ len varint │ MetricFamily, len bytes │ ...
//! ```
//! Only the fields are here that this server writes. Repeated numbers are not packed: the messages are proto2.
//! Source: `io/prometheus/client/metrics.proto` of Prometheus's client model.

use prost::Message as _;

use crate::model::histogram::Span;

/// The metrics of one name and type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricFamily {
    /// Their name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Their type.
    #[prost(enumeration = "MetricType", optional, tag = "3")]
    pub kind: Option<i32>,
    /// The metrics.
    #[prost(message, repeated, tag = "4")]
    pub metrics: Vec<Metric>,
}

/// The types of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
pub enum MetricType {
    /// It rises.
    Counter = 0,
    /// It rises and falls.
    Gauge = 1,
    /// Quantiles.
    Summary = 2,
    /// Nobody knows.
    Untyped = 3,
    /// A distribution of all there ever was.
    Histogram = 4,
    /// A distribution of what there is.
    GaugeHistogram = 5,
}

/// One series and what it says now.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    /// Its labels but the name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<LabelPair>,
    /// A number.
    #[prost(message, optional, tag = "5")]
    pub untyped: Option<Untyped>,
    /// When it said so, in milliseconds since the Unix epoch.
    #[prost(int64, optional, tag = "6")]
    pub timestamp_ms: Option<i64>,
    /// A distribution.
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<Histogram>,
}

/// A name and its value.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct LabelPair {
    /// The name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// The value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// A number.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Untyped {
    /// Any bit pattern.
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
}

/// A distribution: of classic buckets, or a native one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    /// The sum of what was observed.
    #[prost(double, optional, tag = "2")]
    pub sum: Option<f64>,
    /// Classic buckets, by their bounds.
    #[prost(message, repeated, tag = "3")]
    pub buckets: Vec<Bucket>,
    /// How many observations there are.
    #[prost(double, optional, tag = "4")]
    pub count: Option<f64>,
    /// Of a native one: how wide its buckets are.
    #[prost(sint32, optional, tag = "5")]
    pub schema: Option<i32>,
    /// Up to where its zero bucket reaches.
    #[prost(double, optional, tag = "6")]
    pub zero_threshold: Option<f64>,
    /// How many observations are in that.
    #[prost(double, optional, tag = "8")]
    pub zero_count: Option<f64>,
    /// Which negative buckets it has.
    #[prost(message, repeated, tag = "9")]
    pub negative_spans: Vec<BucketSpan>,
    /// How many observations each of them has.
    #[prost(double, repeated, packed = "false", tag = "11")]
    pub negative_counts: Vec<f64>,
    /// Which positive buckets it has.
    #[prost(message, repeated, tag = "12")]
    pub positive_spans: Vec<BucketSpan>,
    /// How many observations each of them has.
    #[prost(double, repeated, packed = "false", tag = "14")]
    pub positive_counts: Vec<f64>,
}

/// A classic bucket.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Bucket {
    /// Its upper bound.
    #[prost(double, optional, tag = "2")]
    pub upper_bound: Option<f64>,
    /// How many observations are not above it.
    #[prost(double, optional, tag = "4")]
    pub cumulative_count: Option<f64>,
}

/// Buckets side by side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct BucketSpan {
    /// How many are left out before them.
    #[prost(sint32, optional, tag = "1")]
    pub offset: Option<i32>,
    /// How many they are.
    #[prost(uint32, optional, tag = "2")]
    pub length: Option<u32>,
}

impl MetricFamily {
    /// Appends the family behind its length.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encode_length_delimited_to_vec());
    }

    /// The families of an answer.
    #[cfg(test)]
    pub fn all_of(mut answer: &[u8]) -> Vec<Self> {
        let mut all = Vec::new();
        while !answer.is_empty() {
            all.push(Self::decode_length_delimited(&mut answer).unwrap());
        }
        all
    }
}

impl LabelPair {
    /// This pair.
    #[must_use]
    pub fn new(name: String, value: String) -> Self {
        Self { name: Some(name), value: Some(value) }
    }
}

impl From<Span> for BucketSpan {
    fn from(span: Span) -> Self {
        Self { offset: Some(span.offset), length: Some(span.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // golden bytes: as protoc writes the fields
    fn a_family_has_these_bytes() {
        let histogram = Histogram {
            count: Some(2.0),
            schema: Some(-1),
            positive_spans: vec![Span { offset: -1, length: 2 }.into()],
            positive_counts: vec![1.0, 1.0],
            ..Histogram::default()
        };
        let family = MetricFamily {
            name: Some("m".to_owned()),
            kind: Some(MetricType::Histogram.into()),
            metrics: vec![Metric {
                labels: vec![LabelPair::new("a".to_owned(), String::new())],
                timestamp_ms: Some(7),
                histogram: Some(histogram),
                ..Metric::default()
            }],
        };
        let one = b"\x71\0\0\0\0\0\0\xf0\x3f"; // not packed: a tag before each
        let histogram = [&b"\x21\0\0\0\0\0\0\0\x40\x28\x01\x62\x04\x08\x01\x10\x02"[..], one, one];
        let metric = [&b"\x0a\x05\x0a\x01a\x12\x00\x30\x07\x3a\x23"[..], &histogram.concat()];
        let expected = [&b"\x35\x0a\x01m\x18\x04\x22\x2e"[..], &metric.concat()].concat();
        let mut bytes = Vec::new();
        family.write_to(&mut bytes);
        assert_eq!(bytes, expected);
        assert_eq!(MetricFamily::all_of(&bytes), [family]);
    }
}
