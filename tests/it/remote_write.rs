//! Remote-write requests as senders make them, in both versions and both compressions.

use std::net::SocketAddr;

use floodplain::wire::proto::{v1, v2};
use prost::Message;

use crate::http;

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

    fn v1(&self) -> v1::TimeSeries {
        let label = |(n, v): &(String, String)| v1::Label {
            name: n.clone().into(),
            value: v.clone().into(),
        };
        let sample = |(timestamp, bits): &(i64, u64)| v1::Sample {
            value: f64::from_bits(*bits),
            timestamp: *timestamp,
        };
        v1::TimeSeries {
            labels: self.labels.iter().map(label).collect(),
            samples: self.samples.iter().map(sample).collect(),
            exemplars: vec![],
            histograms: vec![],
        }
    }

    fn v2(&self, symbols: &mut Vec<Vec<u8>>) -> v2::TimeSeries {
        let mut place = |text: &str| {
            let known = symbols.iter().position(|symbol| symbol == text.as_bytes());
            let at = known.unwrap_or_else(|| {
                symbols.push(text.into());
                symbols.len() - 1
            });
            u32::try_from(at).unwrap()
        };
        let labels_refs = self.labels.iter().flat_map(|(n, v)| [place(n), place(v)]).collect();
        let sample = |(timestamp, bits): &(i64, u64)| v2::Sample {
            value: f64::from_bits(*bits),
            timestamp: *timestamp,
            start_timestamp: 0,
        };
        let samples = self.samples.iter().map(sample).collect();
        v2::TimeSeries {
            labels_refs,
            samples,
            histograms: vec![],
            exemplars: vec![],
            metadata: None,
        }
    }
}

/// The request that brings `series`.
pub fn request(series: &[Series], version: Version, packed: Packed) -> Request {
    let (message, proto, number) = match version {
        Version::V1 => {
            let timeseries = series.iter().map(Series::v1).collect();
            let request = v1::WriteRequest { timeseries, metadata: vec![] };
            (request.encode_to_vec(), "prometheus.WriteRequest", "0.1.0")
        }
        Version::V2 => {
            let mut symbols = vec![vec![]];
            let timeseries = series.iter().map(|series| series.v2(&mut symbols)).collect();
            let request = v2::Request { symbols, timeseries };
            (request.encode_to_vec(), "io.prometheus.write.v2.Request", "2.0.0")
        }
    };
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
