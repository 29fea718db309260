//! A remote-read request: `prometheus.ReadRequest` in a snappy block, and its HTTP head.

use crate::cli::Match;
use crate::http::Url;

/// A matcher's comparison, by its number in `prometheus.LabelMatcher`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal = 0,
    /// `!=`
    NotEqual = 1,
    /// `=~`
    Regex = 2,
    /// `!~`
    NotRegex = 3,
}

/// The body: all series for which all `matchers` hold, from the first to the last millisecond of `range`.
///
/// - `samples`: are samples wanted and not streamed chunks?
#[must_use]
pub fn body(range: (i64, i64), matchers: &[Match], samples: bool) -> Vec<u8> {
    let mut query = Vec::new();
    for (number, t) in [(1, range.0), (2, range.1)] {
        varint(&mut query, number << 3);
        varint(&mut query, t.cast_unsigned());
    }
    for Match { name, comparison, value } in matchers {
        let mut matcher = Vec::new();
        varint(&mut matcher, 1 << 3);
        varint(&mut matcher, *comparison as u64);
        message(&mut matcher, 2, name.as_bytes());
        message(&mut matcher, 3, value.as_bytes());
        message(&mut query, 3, &matcher);
    }
    let mut request = Vec::new();
    message(&mut request, 1, &query);
    // accepted_response_types: SAMPLES is 0, STREAMED_XOR_CHUNKS is 1.
    message(&mut request, 2, &[u8::from(!samples)]);
    // Only more than 4 GiB cannot be compressed.
    snap::raw::Encoder::new().compress_vec(&request).unwrap_or_default()
}

fn message(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).unwrap_or_default() | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap_or_default());
}

/// The head.
#[must_use]
pub fn head(url: &Url, headers: &[String], len: usize) -> Vec<u8> {
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let (path, host) = (url.path(), url.authority());
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
         X-Prometheus-Remote-Read-Version: 0.1.0\r\nContent-Length: {len}\r\n{more}\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // golden bytes
    fn a_request_has_these_bytes() {
        let up = Match { name: "job".into(), comparison: Comparison::Regex, value: "a.+".into() };
        let body = body((1, 300), &[up], false);
        let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        assert_eq!(
            plain,
            b"\x0a\x13\x08\x01\x10\xac\x02\x1a\x0c\x08\x02\x12\x03job\x1a\x03a.+\x12\x01\x01"
        );
    }
}
