//! A native histogram as an answer of remote read in samples has it: `prometheus.Histogram`.
//!
//! Source: `prompb/codec.go` of Prometheus 3.14. Hints have the same numbers in the message and in `model`.

use super::proto::v1;
use crate::model::histogram::Span;
use crate::model::{AnyHistogramRef, Count, HistogramRef, TimestampMs};

/// The message of the histogram `h` at `t`.
pub(super) fn message(t: TimestampMs, h: AnyHistogramRef<'_>) -> v1::Histogram {
    match h {
        AnyHistogramRef::Int(h) => v1::Histogram {
            count: Some(v1::Count::Int(h.count)),
            zero_count: Some(v1::ZeroCount::Int(h.zero_count)),
            negative_deltas: h.negative_buckets.to_vec(),
            positive_deltas: h.positive_buckets.to_vec(),
            ..shared(t, h)
        },
        AnyHistogramRef::Float(h) => v1::Histogram {
            count: Some(v1::Count::Float(h.count)),
            zero_count: Some(v1::ZeroCount::Float(h.zero_count)),
            negative_counts: h.negative_buckets.to_vec(),
            positive_counts: h.positive_buckets.to_vec(),
            ..shared(t, h)
        },
    }
}

/// What both kinds have.
fn shared<C: Count>(t: TimestampMs, h: HistogramRef<'_, C>) -> v1::Histogram {
    v1::Histogram {
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        negative_spans: spans(h.negative_spans),
        positive_spans: spans(h.positive_spans),
        reset_hint: h.reset_hint.number().into(),
        timestamp: t.0,
        custom_values: h.custom_values.to_vec(),
        ..v1::Histogram::default()
    }
}

fn spans(spans: &[Span]) -> Vec<v1::BucketSpan> {
    spans.iter().map(|s| v1::BucketSpan { offset: s.offset, length: s.length }).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::model::ResetHint;

    #[test] // golden bytes: protoc's of the message, field by field
    fn a_histogram_has_these_bytes() {
        let h = HistogramRef::<u64> {
            reset_hint: ResetHint::Gauge,
            schema: -53,
            zero_threshold: 0.0,
            count: 5,
            zero_count: 0,
            sum: 2.0,
            positive_spans: &[Span { offset: 1, length: 2 }],
            negative_spans: &[],
            positive_buckets: &[3, -1],
            negative_buckets: &[],
            custom_values: &[1.0],
        };
        let bytes = message(TimestampMs(7), AnyHistogramRef::Int(h)).encode_to_vec();
        let count_and_sum = b"\x08\x05\x19\0\0\0\0\0\0\0\x40";
        let schema_and_zero = b"\x20\x69\x30\x00";
        let buckets = b"\x5a\x04\x08\x02\x10\x02\x62\x02\x06\x01";
        let rest = b"\x70\x03\x78\x07\x82\x01\x08\0\0\0\0\0\0\xf0\x3f";
        assert_eq!(bytes, [&count_and_sum[..], schema_and_zero, buckets, rest].concat());
        let float = HistogramRef::<f64> { count: 0.5, ..HistogramRef::empty() };
        let float = message(TimestampMs(0), AnyHistogramRef::Float(float));
        assert_eq!(float.count, Some(v1::Count::Float(0.5)));
        assert_eq!(float.zero_count, Some(v1::ZeroCount::Float(0.0)));
    }
}
