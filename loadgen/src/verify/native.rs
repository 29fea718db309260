//! What a remote read answers of native histograms, as far as verifying needs it.
//!
//! PromQL turns a histogram into JSON that rounds and merges; remote read gives it as it was written.
//! ```text
//! a snappy block: ReadResponse 1 QueryResult*   QueryResult 1 TimeSeries*   TimeSeries 1 Label*, 2 Sample*, 4 Histogram*
//! Label 1 name, 2 value   Sample 1 value f64, 2 timestamp
//! ```
//! A histogram is what `body::mixed` writes down. Buckets are compared by their index: a server may cut them into other
//! spans and keep or drop empty ones. Source: `prompb/remote.proto` and `prompb/types.proto`, Prometheus.

use std::borrow::Cow;

use super::answer::{AnswerError, Metric};
use super::compare::{Found, Value};
use crate::population::histogram::{Histogram, SCHEMA, ZERO_THRESHOLD};
use crate::protobuf::{Field, fields, varint, zigzag};

/// No answer to one question is larger; a block that claims to be is not decompressed.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// No flood has as many buckets in a histogram; a span that claims more is not walked.
const BUCKETS_MAX: usize = 1 << 16;

/// The series of an answer, with floats and histograms.
///
/// # Errors
/// A refusal, or another form.
pub fn series(status: u16, body: &[u8]) -> Result<Vec<Found<'static>>, AnswerError> {
    let form = |what: &str| AnswerError::Form { status, what: what.to_owned() };
    if status != 200 {
        let text: String = String::from_utf8_lossy(body).trim().chars().take(200).collect();
        return Err(form(&text));
    }
    let len = snap::raw::decompress_len(body).map_err(|_| form("it is no snappy block"))?;
    if len > MESSAGE_BYTES_MAX {
        return Err(form("more than 1 GiB: lower --samples-per-query"));
    }
    let message = snap::raw::Decoder::new().decompress_vec(body);
    let message = message.map_err(|_| form("it is no snappy block"))?;
    read_response(&message).ok_or_else(|| form("it is no ReadResponse"))
}

fn read_response(message: &[u8]) -> Option<Vec<Found<'static>>> {
    let mut found = Vec::new();
    for result in whole(message) {
        for series in whole(result?.of(1).unwrap_or_default()) {
            found.push(one_series(series?.of(1).unwrap_or_default())?);
        }
    }
    Some(found)
}

fn one_series(message: &[u8]) -> Option<Found<'static>> {
    let mut found = Found { metric: Metric::new(), samples: Vec::new() };
    for field in whole(message) {
        match field? {
            Field { number: 1, bytes: Some(label), .. } => {
                let (mut name, mut value) = (String::new(), String::new());
                for field in whole(label) {
                    let field = field?;
                    let text = || String::from_utf8(field.bytes?.to_vec()).ok();
                    match field.number {
                        1 => name = text()?,
                        2 => value = text()?,
                        _ => {}
                    }
                }
                found.metric.insert(name, value);
            }
            Field { number: 2, bytes: Some(sample), .. } => {
                let (mut value, mut time) = (0.0, 0);
                for field in whole(sample) {
                    let field = field?;
                    match field.number {
                        1 => value = f64::from_bits(field.varint),
                        2 => time = field.varint.cast_signed(),
                        _ => {}
                    }
                }
                found.samples.push((time, Value::Float(Cow::Owned(value.to_string()))));
            }
            Field { number: 4, bytes: Some(histogram), .. } => {
                found.samples.push(one_histogram(histogram)?);
            }
            _ => {}
        }
    }
    Some(found)
}

fn one_histogram(message: &[u8]) -> Option<(i64, Value<'static>)> {
    let mut histogram = Histogram::default();
    let (mut time, mut schema, mut threshold) = (0, 0, 0.0);
    let (mut float, mut strange, mut spans, mut counts) = (false, false, Vec::new(), Vec::new());
    let mut whole_number = |bits: u64| {
        let count = whole_count(f64::from_bits(bits));
        strange |= count.is_none();
        count.unwrap_or(0)
    };
    let mut negative = false;
    for field in whole(message) {
        let field = field?;
        match (field.number, field.bytes) {
            (1, _) => histogram.count = field.varint,
            (2, _) => {
                float = true;
                histogram.count = whole_number(field.varint);
            }
            (3, _) => histogram.sum = f64::from_bits(field.varint),
            (4, _) => schema = zigzag(field.varint),
            (5, _) => threshold = f64::from_bits(field.varint),
            (6, _) => histogram.zero_count = field.varint,
            (7, _) => histogram.zero_count = whole_number(field.varint),
            (8..=10 | 16, _) => negative = true,
            (11, Some(span)) => spans.push(span),
            (12, Some(mut deltas)) => {
                let mut count = 0u64;
                while !deltas.is_empty() {
                    let (delta, rest) = varint(deltas)?;
                    count = count.wrapping_add_signed(zigzag(delta));
                    counts.push(count);
                    deltas = rest;
                }
            }
            (13, Some(floats)) => {
                let (floats, _) = floats.as_chunks::<8>();
                counts.extend(floats.iter().map(|bits| whole_number(u64::from_le_bytes(*bits))));
            }
            (15, _) => time = field.varint.cast_signed(),
            _ => {}
        }
    }
    histogram.buckets = buckets(&spans, &counts)?;
    let foreign = strange
        || negative
        || schema != i64::from(SCHEMA)
        || threshold.to_bits() != ZERO_THRESHOLD.to_bits();
    let value = match foreign {
        true => {
            Value::Foreign(format!("a histogram of schema {schema} or form that no flood sends"))
        }
        false => Value::Histogram { histogram, float },
    };
    Some((time, value))
}

/// Index and count of every bucket with events; `None` if spans and counts do not fit each other.
fn buckets(spans: &[&[u8]], counts: &[u64]) -> Option<Vec<(i32, u64)>> {
    let (mut next, mut indices) = (0i32, Vec::new());
    for span in spans {
        let (mut offset, mut length) = (0, 0);
        for field in whole(span) {
            let field = field?;
            match field.number {
                1 => offset = i32::try_from(zigzag(field.varint)).ok()?,
                2 => length = i32::try_from(field.varint).ok()?,
                _ => {}
            }
        }
        let first = next.checked_add(offset)?;
        next = first.checked_add(length)?;
        if indices.len() + usize::try_from(length).ok()? > BUCKETS_MAX {
            return None;
        }
        indices.extend(first..next);
    }
    let fit = indices.len() == counts.len();
    fit.then(|| indices.into_iter().zip(counts.iter().copied()).filter(|b| b.1 > 0).collect())
}

/// A float that is a count, as all counts of a flood are.
fn whole_count(number: f64) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "looked at before")]
    let count = || number as u64;
    ((0.0..=EXACT_MAX).contains(&number) && number.fract() == 0.0).then(count)
}

/// The fields of a message, `None` where it is damaged.
fn whole(message: &[u8]) -> impl Iterator<Item = Option<Field<'_>>> {
    fields(message).map(|field| (!field.damaged).then_some(field))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
    }

    /// An integer histogram with these spans and deltas.
    fn histogram(spans: &[[u8; 2]], deltas: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x08, 6, 0x19];
        bytes.extend(2.5f64.to_le_bytes());
        bytes.extend([0x20, 6, 0x29]);
        bytes.extend(ZERO_THRESHOLD.to_le_bytes());
        bytes.extend([0x30, 1]);
        for [offset, length] in spans {
            bytes.extend(message(11, &[0x08, *offset, 0x10, *length]));
        }
        bytes.extend(message(12, deltas));
        bytes.extend([0x78, 100]);
        bytes
    }

    #[test]
    fn an_answer_has_series_with_histograms_whatever_their_spans() {
        let expected =
            Histogram { count: 6, sum: 2.5, zero_count: 1, buckets: vec![(-2, 2), (0, 3)] };
        // -2 and 0 in two spans, or in one with an empty bucket between them.
        for bytes in [histogram(&[[3, 1], [2, 1]], &[4, 2]), histogram(&[[3, 3]], &[4, 3, 6])] {
            let label = message(1, &[message(1, b"a"), message(2, b"b")].concat());
            let series = message(1, &[label, message(4, &bytes)].concat());
            let response = message(1, &series);
            let block = snap::raw::Encoder::new().compress_vec(&response).unwrap();
            let found = super::series(200, &block).unwrap();
            assert_eq!(found[0].metric["a"], "b");
            let value = Value::Histogram { histogram: expected.clone(), float: false };
            assert_eq!(found[0].samples, [(100, value)]);
        }
    }

    #[test]
    fn spans_that_promise_other_buckets_than_there_are_refused() {
        assert!(one_histogram(&histogram(&[[3, 2]], &[4])).is_none());
        assert!(one_histogram(&histogram(&[[3, 1]], &[4, 2])).is_none());
    }

    #[test]
    fn other_answers_are_not_taken_for_empty_ones() {
        assert!(series(404, b"not found").unwrap_err().to_string().contains("not found"));
        assert!(series(200, b"\xff\xff").is_err());
        let cut = snap::raw::Encoder::new().compress_vec(&message(1, b"\x0a\x05ab")).unwrap();
        assert!(series(200, &cut).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = one_histogram(&bytes);
            let _any = read_response(&bytes);
            let _any = series(200, &bytes);
        }
    }
}
