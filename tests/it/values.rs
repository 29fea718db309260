//! Values of the crash tests, as 64 bits each: floats, and native histograms of both kinds, which the bits say all of.

use floodplain::model::histogram::Span;
use floodplain::model::{AnyHistogram, AnyHistogramRef, Count, HistogramRef, Value, ValueRef};

/// The bits that say which kind it is: six for an integer, seven for a float histogram, others for a float.
const KIND: u64 = 0b1110;
const INT: u64 = 6 << 1;
const FLOAT: u64 = 7 << 1;

/// A value that a series may have: some have floats alone, some histograms of one kind alone, others all of them. The lowest bit stays
/// as it is.
pub fn some_bits(random: u64, series: &str) -> u64 {
    let plain = random & !KIND;
    match series.bytes().last().unwrap_or_default() % 4 {
        0 => plain,
        1 => plain | INT,
        2 => plain | FLOAT,
        _ => random,
    }
}

/// Since when the counter of a float at `t` counts: its process began with the span of time that it is in. Never zero.
pub fn start_of(t: i64) -> i64 {
    const SPAN_MS: i64 = 3_000_000;
    t.div_euclid(SPAN_MS) * SPAN_MS + 1
}

/// The value that these bits stand for.
pub fn value_of(bits: u64) -> Value {
    let sum = f64::from_bits(bits);
    let [a, b, c, ..] = (bits >> 8).to_le_bytes();
    // Layouts differ now and then, counters go up and down: chunks end for every reason there is.
    let spans = [Span { offset: i32::from(c % 3) - 1, length: 2 }, Span { offset: 1, length: 1 }];
    match bits & KIND {
        INT => {
            let (a, b) = (i64::from(a), i64::from(b));
            // As differences: counts of a, b, and none.
            let buckets = [a, b - a, -b];
            let h = histogram::<u64>((a + b).cast_unsigned(), sum, &spans, &buckets);
            Value::Histogram(AnyHistogram::Int(h.to_histogram()))
        }
        FLOAT => {
            let (a, b) = (f64::from(a) / 2.0, f64::from(b));
            let buckets = [a, b, 0.0];
            let h = histogram(a + b, sum, &spans, &buckets);
            Value::Histogram(AnyHistogram::Float(h.to_histogram()))
        }
        _ => Value::Float(sum),
    }
}

fn histogram<'a, C: Count>(
    count: C,
    sum: f64,
    positive_spans: &'a [Span],
    positive_buckets: &'a [C::Bucket],
) -> HistogramRef<'a, C> {
    HistogramRef { count, sum, positive_spans, positive_buckets, ..HistogramRef::empty() }
}

/// The bits that stand for a value; fails for one that none stand for.
pub fn bits_of(value: ValueRef<'_>) -> u64 {
    let bits = match value {
        ValueRef::Float(v) => v.to_bits(),
        ValueRef::Histogram(AnyHistogramRef::Int(h)) => h.sum.to_bits(),
        ValueRef::Histogram(AnyHistogramRef::Float(h)) => h.sum.to_bits(),
    };
    let sent = value_of(bits);
    assert!(sent.as_ref().is_same_sample(value), "nobody sent {value:?}, but {sent:?}");
    bits
}
