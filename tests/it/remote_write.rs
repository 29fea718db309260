//! Remote-write requests as senders make them, in both versions and both compressions.
//!
//! The messages are the tests' own: what is sent does not depend on how the server describes it. A value is sent as the
//! 64 bits it is (`fixed64` and `double` look alike on the wire): encoders of `double` leave a negative zero out.

use std::net::SocketAddr;

use prost::Message;

use crate::http;

/// Of both versions; 2.0 leaves `1` empty and has names and values in `symbols`.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries_v2: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

/// A name and its value.
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(fixed64, tag = "1")]
    bits: u64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// A series and some of its samples: time in milliseconds, value as its bits.
#[derive(Clone)]
pub struct Series {
    pub labels: Vec<(String, String)>,
    pub samples: Vec<(i64, u64)>,
}

/// A body and the headers that tell what it is.
#[derive(Clone)]
pub struct Request {
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub enum Version {
    V1,
    V2,
}

#[derive(Clone, Copy, Debug)]
pub enum Packed {
    Snappy,
    Zstd,
}

impl Series {
    pub fn new(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        Self {
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            samples: samples.iter().map(|(t, v)| (*t, v.to_bits())).collect(),
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let sample = |(timestamp, bits): &(i64, u64)| Sample { bits: *bits, timestamp: *timestamp };
        self.samples.iter().map(sample).collect()
    }

    fn v1(&self) -> TimeSeries {
        let label = |(n, v): &(String, String)| Label { name: n.clone(), value: v.clone() };
        TimeSeries { labels: self.labels.iter().map(label).collect(), samples: self.samples() }
    }

    fn v2(&self, symbols: &mut Vec<String>) -> TimeSeriesV2 {
        let mut place = |text: &String| {
            let known = symbols.iter().position(|symbol| symbol == text);
            let at = known.unwrap_or_else(|| {
                symbols.push(text.clone());
                symbols.len() - 1
            });
            u32::try_from(at).unwrap()
        };
        let labels_refs = self.labels.iter().flat_map(|(n, v)| [place(n), place(v)]).collect();
        TimeSeriesV2 { labels_refs, samples: self.samples() }
    }
}

/// The request that brings `series`.
pub fn request(series: &[Series], version: Version, packed: Packed) -> Request {
    let mut write = WriteRequest::default();
    let (proto, number) = match version {
        Version::V1 => {
            write.timeseries = series.iter().map(Series::v1).collect();
            ("prometheus.WriteRequest", "0.1.0")
        }
        Version::V2 => {
            write.symbols.push(String::new());
            write.timeseries_v2 = series.iter().map(|s| s.v2(&mut write.symbols)).collect();
            ("io.prometheus.write.v2.Request", "2.0.0")
        }
    };
    let message = write.encode_to_vec();
    let (body, encoding) = match packed {
        Packed::Snappy => (snap::raw::Encoder::new().compress_vec(&message).unwrap(), "snappy"),
        Packed::Zstd => (zstd::encode_all(message.as_slice(), 0).unwrap(), "zstd"),
    };
    let headers = vec![
        format!("Content-Type: application/x-protobuf;proto={proto}"),
        format!("Content-Encoding: {encoding}"),
        format!("X-Prometheus-Remote-Write-Version: {number}"),
    ];
    Request { headers, body }
}

impl Request {
    /// Sends it over a connection of its own; the answer must be 204.
    pub fn send(&self, address: SocketAddr) {
        let headers: Vec<&str> = self.headers.iter().map(String::as_str).collect();
        let answer = http::send(address, "POST /api/v1/write", &headers, &self.body).unwrap();
        let said = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 204, "{said}");
    }
}
