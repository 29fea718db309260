//! Facts about histograms, most of them from upstream's own tests (`model/histogram/float_histogram_test.go` and
//! `promql/promqltest/testdata/native_histograms.test`), and properties.

mod arithmetic;
mod estimates;
mod properties;
mod reset;
mod trim;

use super::*;

/// The histogram that `text` describes in the words of upstream's test scripts; a bucket that is not there is `_`.
fn h(text: &str) -> FloatHistogram {
    let mut histogram = FloatHistogram::empty(0);
    let (mut buckets, mut n_buckets) = (Vec::new(), Vec::new());
    let (mut offset, mut n_offset) = (0, 0);
    let list = |text: &str| -> Vec<Option<f64>> {
        text.split_whitespace().map(|n| (n != "_").then(|| n.parse().unwrap())).collect()
    };
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').unwrap();
        let (value, next) = match after.strip_prefix('[') {
            Some(after) => after.split_once(']').unwrap(),
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        rest = next.trim_start();
        match key {
            "schema" => histogram.schema = value.parse().unwrap(),
            "count" => histogram.count = value.parse().unwrap(),
            "sum" => histogram.sum = value.parse().unwrap(),
            "z_bucket" => histogram.zero_count = value.parse().unwrap(),
            "z_bucket_w" => histogram.zero_threshold = value.parse().unwrap(),
            "offset" => offset = value.parse().unwrap(),
            "n_offset" => n_offset = value.parse().unwrap(),
            "buckets" => buckets = list(value),
            "n_buckets" => n_buckets = list(value),
            "custom_values" => {
                histogram.custom = list(value).into_iter().map(Option::unwrap).collect();
            }
            "hint" => {
                histogram.reset_hint = match value {
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    other => panic!("no hint: {other}"),
                };
            }
            other => panic!("no part of a histogram: {other}"),
        }
    }
    let side = |offset: i32, buckets: Vec<Option<f64>>| {
        (offset..).zip(buckets).filter_map(|(i, n)| Some((i, n?))).collect()
    };
    histogram.positive = side(offset, buckets);
    histogram.negative = side(n_offset, n_buckets);
    histogram
}

/// Are the numbers the same but for rounding, as upstream's test scripts compare?
#[track_caller]
fn assert_close(a: f64, b: f64) {
    let close =
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * a.abs().min(b.abs());
    assert!(close, "{a} is not {b}");
}

#[track_caller]
fn assert_same_but_for_rounding(a: &FloatHistogram, b: &FloatHistogram) {
    let shape = |h: &FloatHistogram| {
        let mut shape = h.map(|_| 0.0);
        shape.custom = Arc::clone(&h.custom);
        shape
    };
    assert_eq!(shape(a), shape(b), "{a} is not {b}");
    let numbers = |h: &FloatHistogram| {
        let sides = h.positive.iter().chain(&h.negative).map(|(_, n)| *n);
        [h.zero_count, h.count, h.sum].into_iter().chain(sides).collect::<Vec<_>>()
    };
    for (a, b) in numbers(a).into_iter().zip(numbers(b)) {
        assert_close(a, b);
    }
}

const MIXED: &str = "z_bucket_w:0.01 z_bucket:5.5 count:3493.3 sum:2349209.324 offset:-2 \
    buckets:[1 _ _ 3.3 4.2 0.1] n_offset:3 n_buckets:[3.1 3 _ _ _ 123400 1000]";

#[test]
fn text_is_upstreams() {
    let histogram = h(&format!("schema:1 {MIXED}"));
    assert_eq!(
        histogram.to_string(),
        "{count:3493.3, sum:2.349209324e+06, [-22.62741699796952,-16):1000, [-16,-11.31370849898476):123400, \
         [-4,-2.82842712474619):3, [-2.82842712474619,-2):3.1, [-0.01,0.01]:5.5, (0.35355339059327373,0.5]:1, \
         (1,1.414213562373095]:3.3, (1.414213562373095,2]:4.2, (2,2.82842712474619]:0.1}"
    );
    let custom = "schema:-53 count:3493.3 sum:2349209.324 buckets:[1 _ _ 3.3 4.2 0.1 5] \
        custom_values:[1 2 5 10 15 20]";
    assert_eq!(
        h(custom).to_string(),
        "{count:3493.3, sum:2.349209324e+06, [-Inf,1]:1, (5,10]:3.3, (10,15]:4.2, (15,20]:0.1, (20,+Inf]:5}"
    );
    assert_eq!(h("").to_string(), "{count:0, sum:0}");
}

#[test]
fn sizes_are_upstreams() {
    // 168 bytes, and 8 for each span, bucket and bound: 168, 264 and 240.
    assert_eq!(h("schema:1").points(), (168 + 8) / 16);
    assert_eq!(h(MIXED).points(), (168 + 8 * 12 + 8) / 16);
    let custom = "schema:-53 buckets:[1 _ _ 3.3 4.2 0.1] custom_values:[1 2 3]";
    assert_eq!(h(custom).points(), (168 + 8 * 9 + 8) / 16);
}

#[test]
fn all_buckets_come_from_the_lowest_to_the_highest() {
    let bounds = |text: &str| -> Vec<(f64, f64, f64)> {
        h(text).buckets().map(|b| (b.lower, b.upper, b.count)).collect()
    };
    let sides = "schema:0 count:9 buckets:[1 _ 2] n_buckets:[3 _ 0] z_bucket:4";
    // The zero bucket ends at a bucket's bound.
    assert_eq!(
        bounds(&format!("{sides} z_bucket_w:0.5")),
        [(-4.0, -2.0, 0.0), (-1.0, -0.5, 3.0), (-0.5, 0.5, 4.0), (0.5, 1.0, 1.0), (2.0, 4.0, 2.0)]
    );
    // It ends within the nearest bucket.
    assert_eq!(
        bounds(&format!("{sides} z_bucket_w:0.6")),
        [(-4.0, -2.0, 0.0), (-1.0, -0.6, 3.0), (-0.6, 0.6, 4.0), (0.6, 1.0, 1.0), (2.0, 4.0, 2.0)]
    );
    // Nothing is in it.
    assert_eq!(bounds("buckets:[1] z_bucket_w:0.1"), [(0.5, 1.0, 1.0)]);
    let custom = h("schema:-53 buckets:[100 344 _ 123 _ 55] custom_values:[-10 25 50 100 500]");
    let inf = f64::INFINITY;
    let bucket = |lower, upper, lower_inclusive, count| Bucket {
        lower,
        upper,
        lower_inclusive,
        upper_inclusive: true,
        count,
    };
    assert_eq!(
        custom.buckets().collect::<Vec<_>>(),
        [
            bucket(-inf, -10.0, true, 100.0),
            bucket(-10.0, 25.0, false, 344.0),
            bucket(50.0, 100.0, false, 123.0),
            bucket(500.0, inf, false, 55.0),
        ]
    );
}

#[test]
fn equal_is_to_the_bit_and_knows_empty_buckets() {
    let one = h("schema:3 count:2.2 sum:9.7 z_bucket_w:0.1 z_bucket:1.1 buckets:[3] n_buckets:[4]");
    let changed = |change: fn(&mut FloatHistogram)| {
        let mut other = one.clone();
        change(&mut other);
        assert_eq!(one.is_same(&other), other.is_same(&one));
        assert!(other.is_same(&other));
        !one.is_same(&other)
    };
    assert!(!changed(|h| h.reset_hint = ResetHint::Gauge));
    assert!(!changed(|h| h.custom = [1.0].into()));
    assert!(changed(|h| h.count = f64::NAN));
    assert!(changed(|h| h.zero_count = f64::NAN));
    assert!(changed(|h| h.positive = vec![(0, f64::NAN)]));
    assert!(changed(|h| h.negative = vec![(0, f64::NAN)]));
    assert!(changed(|h| h.positive.push((5, 0.0))));
    assert!(changed(|h| h.zero_threshold = 0.2));
    assert!(changed(|h| h.schema = 2));
    let custom = h("schema:-53 count:2.2 sum:9.7 buckets:[3] custom_values:[1 2 3]");
    let other = h("schema:-53 count:2.2 sum:9.7 buckets:[3] custom_values:[1 2 3 4]");
    assert!(custom.is_same(&custom.clone()) && !custom.is_same(&other));
}

#[test]
fn empty_buckets_go_and_those_of_no_number_stay() {
    let mut histogram = h("offset:-4 buckets:[0 0 1 NaN _ 0 3] n_buckets:[0] z_bucket:0");
    histogram.compact();
    let indexes: Vec<i32> = histogram.positive.iter().map(|(i, _)| *i).collect();
    assert_eq!((indexes, histogram.negative), (vec![-2, -1, 2], vec![]));
}

#[test]
fn an_integer_histogram_counts_what_its_differences_add_up_to() {
    let spans = [Span { offset: -2, length: 2 }, Span { offset: 1, length: 1 }];
    let plain = HistogramRef::<u64>::empty();
    let int = HistogramRef { positive_spans: &spans, zero_threshold: 0.5, ..plain };
    let int = int.counting::<u64>(9, 2, &[3, -1, 2], &[]);
    let read = FloatHistogram::of(AnyHistogramRef::Int(int));
    assert_eq!(read, h("count:9 z_bucket:2 z_bucket_w:0.5 offset:-2 buckets:[3 2 _ 4]"));
    assert!(!read.is_stale());
    assert!(FloatHistogram::of(AnyHistogramRef::Int(HistogramRef::stale())).is_stale());
}

#[test]
fn what_is_finer_than_any_stored_histogram_is_reduced_when_it_is_read() {
    let spans = [Span { offset: 0, length: 3 }];
    let fine = HistogramRef { schema: 9, positive_spans: &spans, ..HistogramRef::<f64>::empty() };
    let fine = fine.counting::<f64>(7.0, 0.0, &[1.0, 2.0, 4.0], &[]);
    let read = FloatHistogram::of(AnyHistogramRef::Float(fine));
    assert_eq!(read, h("schema:8 count:7 buckets:[1 6]"));
}
