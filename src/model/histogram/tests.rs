//! Tests of histograms as values.

use proptest::prelude::*;

use super::testing::{Counts, floats, integers, restyled, side, steps};
use super::*;

fn span(offset: i32, length: u32) -> Span {
    Span { offset, length }
}

/// 12 observations, two of them in the zero bucket.
fn valid() -> HistogramRef<'static, u64> {
    HistogramRef {
        schema: 1,
        zero_threshold: 0.001,
        count: 12,
        zero_count: 2,
        sum: 18.4,
        positive_spans: &[Span { offset: 0, length: 2 }, Span { offset: 1, length: 2 }],
        positive_buckets: &[1, 1, -1, 0],
        negative_spans: &[Span { offset: 0, length: 2 }, Span { offset: 1, length: 2 }],
        negative_buckets: &[1, 1, -1, 0],
        ..HistogramRef::empty()
    }
}

fn float() -> HistogramRef<'static, f64> {
    HistogramRef {
        positive_spans: &[Span { offset: 0, length: 2 }],
        positive_buckets: &[1.0, 2.5],
        count: 3.0,
        ..HistogramRef::empty()
    }
}

fn custom() -> HistogramRef<'static, u64> {
    HistogramRef {
        schema: schema::CUSTOM_BUCKETS,
        count: 5,
        sum: 19.4,
        positive_spans: &[Span { offset: 0, length: 2 }, Span { offset: 1, length: 2 }],
        positive_buckets: &[1, 1, -1, 0],
        custom_values: &[1.0, 2.0, 5.0, 10.0],
        ..HistogramRef::empty()
    }
}

fn fails<C: Count>(histogram: HistogramRef<'_, C>, with: &str) {
    assert_eq!(histogram.validate().unwrap_err().to_string(), with);
}

#[test]
fn valid_histograms_pass() {
    assert_eq!(valid().validate(), Ok(()));
    assert_eq!(float().validate(), Ok(()));
    assert_eq!(custom().validate(), Ok(()));
    assert_eq!(HistogramRef::<u64>::stale().validate(), Ok(()));
    // A bucket behind the last bound.
    assert_eq!(
        HistogramRef { custom_values: &[1.0, 2.0, 5.0, 6.0], ..custom() }.validate(),
        Ok(())
    );
    // An observation of NaN is in no bucket.
    assert_eq!(HistogramRef { count: 13, sum: f64::NAN, ..valid() }.validate(), Ok(()));
}

#[test]
fn faults_of_spans_and_buckets_are_told_in_upstreams_words() {
    fails(
        HistogramRef { positive_spans: &[span(0, 2), span(-1, 2)], ..valid() },
        "positive side: span number 2 with offset -1: histogram has a span whose offset is negative",
    );
    fails(
        HistogramRef { negative_spans: &[span(-9, 2)], ..valid() },
        "negative side: spans need 2 buckets, have 4 buckets: histogram spans specify different number of buckets \
         than provided",
    );
    fails(
        HistogramRef { negative_buckets: &[1, 1, -3, 0], ..valid() },
        "negative side: bucket number 3 has observation count of -1: histogram has a bucket whose observation count \
         is negative",
    );
    fails(
        HistogramRef { positive_buckets: &[1.0, -1e-7], ..float() },
        "positive side: bucket number 2 has observation count of -1e-07: histogram has a bucket whose observation \
         count is negative",
    );
}

#[test]
fn faults_of_counts_are_told_in_upstreams_words() {
    fails(
        HistogramRef { count: 13, ..valid() },
        "12 observations found in buckets, but the Count field is 13: histogram's observation count should equal the \
         number of observations found in the buckets (in absence of NaN)",
    );
    fails(
        HistogramRef { count: 11, sum: f64::NAN, ..valid() },
        "12 observations found in buckets, but the Count field is 11: histogram's observation count should be at \
         least the number of observations found in the buckets",
    );
    fails(
        HistogramRef { zero_count: -0.5, ..float() },
        "zero bucket has observation count of -0.5: histogram has a bucket whose observation count is negative",
    );
    fails(
        HistogramRef { count: -2.0, ..float() },
        "observation count is  -2: histogram's observation count is negative",
    );
}

#[test]
fn faults_of_schemas_and_bounds_are_told_in_upstreams_words() {
    fails(
        HistogramRef { schema: 9, ..valid() },
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom \
         buckets, got schema 9",
    );
    fails(
        HistogramRef { custom_values: &[1.0], ..valid() },
        "histogram with exponential schema must not have custom bounds",
    );
    let check = |bounds: &[f64], text: &str| {
        fails(
            HistogramRef { custom_values: bounds, ..custom() },
            &format!("custom buckets: {text}"),
        );
    };
    check(&[1.0, f64::NAN], "histogram custom bounds must not be NaN");
    check(
        &[1.0, 2.0, 2.0, 10.0],
        "previous bound is 2.000000 and current is 2.000000: histogram custom bounds must be in strictly increasing \
         order",
    );
    check(
        &[1.0, 2.0, 5.0, f64::INFINITY],
        "last +Inf bound must not be explicitly defined: histogram custom bounds must be finite",
    );
    check(
        &[1.0, 2.0, 5.0],
        "only 3 custom bounds defined which is insufficient to cover total span length of 5: histogram custom bounds \
         are too few",
    );
    check(
        &[f64::NEG_INFINITY, f64::NEG_INFINITY],
        "previous bound is -Inf and current is -Inf: histogram custom bounds must be in strictly increasing order",
    );
}

#[test]
fn custom_buckets_have_nothing_at_zero_nor_below() {
    fails(HistogramRef { zero_count: 1, ..custom() }, "custom buckets: must have zero count of 0");
    fails(
        HistogramRef { zero_threshold: 0.1, ..custom() },
        "custom buckets: must have zero threshold of 0",
    );
    fails(
        HistogramRef { negative_spans: &[span(0, 0)], ..custom() },
        "custom buckets: must not have negative spans",
    );
    fails(
        HistogramRef { negative_buckets: &[1], ..custom() },
        "custom buckets: must not have negative buckets",
    );
    fails(
        HistogramRef { positive_spans: &[span(-1, 4)], ..custom() },
        "custom buckets: span number 1 with offset -1: histogram has a span whose offset is negative",
    );
}

#[test]
fn reducing_puts_the_buckets_together_that_end_in_the_same_one() {
    // Buckets 2i - 1 and 2i of the finer schema are bucket i of the coarser one.
    let fine = HistogramRef {
        schema: 9,
        count: 21,
        positive_spans: &[span(-1, 3), span(1, 2), span(40, 1)],
        positive_buckets: &[1, 1, 1, 1, 1, 1],
        ..HistogramRef::empty()
    };
    let coarse = fine.reduced(8).unwrap();
    let counts = |h: HistogramRef<'_, u64>| -> Vec<_> {
        populated::<u64>(h.positive_spans, h.positive_buckets).collect()
    };
    assert_eq!(counts(fine), [(-1, 1), (0, 2), (1, 3), (3, 4), (4, 5), (45, 6)]);
    assert_eq!(counts(coarse.as_ref()), [(0, 3), (1, 3), (2, 9), (23, 6)]);
    assert_eq!((coarse.as_ref().schema, coarse.as_ref().count), (8, 21));
    assert_eq!(coarse.as_ref().validate(), Ok(()));
}

#[test]
fn what_is_coarse_enough_or_brings_its_bounds_is_not_reduced() {
    assert_eq!(valid().reduced(1).unwrap().as_ref(), valid());
    assert_eq!(custom().reduced(-60).unwrap().as_ref(), custom());
}

// A sender may leave out buckets with empty spans, one behind the other: each has 32 bits, their sum has more. Reducing
// relied on less: a build with assertions panicked, and one without refused a histogram that is valid to the letter.
#[test]
fn reducing_takes_distances_of_more_than_32_bits() {
    let far = |length| Span { offset: i32::MAX, length };
    let spans = [far(0), far(0), far(0), far(1), far(0), far(0), far(2)];
    let histogram = HistogramRef::<u64> {
        schema: 9,
        count: 6,
        positive_spans: &spans,
        positive_buckets: &[1, 1, 1],
        ..HistogramRef::empty()
    };
    let reduced = histogram.reduced(8).unwrap();
    assert_eq!(reduced.as_ref().validate(), Ok(()));
    let behind: Vec<_> = BucketIndexes::new(&spans).map(|index| ((index - 1) >> 1) + 1).collect();
    let indexes: Vec<_> = BucketIndexes::new(reduced.as_ref().positive_spans).collect();
    assert_eq!(indexes, behind);
}

#[test]
fn reducing_refuses_spans_that_do_not_fit() {
    let short = HistogramRef { positive_buckets: &[1, 1], ..valid() };
    assert_eq!(
        short.reduced(0).unwrap_err().to_string(),
        "have 2 buckets but spans need more: histogram spans specify different number of buckets than provided"
    );
    let long = HistogramRef { positive_buckets: &[1, 1, 1, 1, 1], ..valid() };
    assert_eq!(
        long.reduced(0).unwrap_err().to_string(),
        "spans need 4 buckets, have 5 buckets: histogram spans specify different number of buckets than provided"
    );
    let huge = HistogramRef { positive_spans: &[span(i32::MAX, u32::MAX); 9], ..valid() };
    assert!(huge.reduced(0).is_err());
}

#[test]
fn histograms_of_a_series_share_their_layout() {
    let one = valid().to_histogram();
    let next = HistogramRef { count: 13, zero_count: 3, ..valid() }.to_histogram_like(&one);
    assert!(Arc::ptr_eq(one.layout(), next.layout()));
    assert!(Arc::ptr_eq(one.layout(), one.to_float().layout()));
    let wider = HistogramRef { zero_threshold: 0.002, ..valid() }.to_histogram_like(&one);
    assert!(!Arc::ptr_eq(one.layout(), wider.layout()));
}

#[test]
fn a_float_histogram_of_integers_has_counts_instead_of_differences() {
    let float = valid().to_histogram().to_float();
    assert_eq!(float.as_ref().positive_buckets, [1.0, 2.0, 1.0, 1.0]);
    assert_eq!(float.as_ref().negative_buckets, [1.0, 2.0, 1.0, 1.0]);
    assert_eq!((float.as_ref().count, float.as_ref().zero_count), (12.0, 2.0));
    assert_eq!(float.as_ref().validate(), Ok(()));
}

#[test]
fn a_repetition_may_be_written_in_another_way() {
    let other = HistogramRef {
        reset_hint: ResetHint::NotReset,
        positive_spans: &[span(0, 1), span(0, 1), span(0, 4), span(0, 0)],
        positive_buckets: &[1, 1, -2, 1, 0, -1],
        ..valid()
    };
    assert!(other.is_same_sample(valid()));
    assert_ne!(other, valid());
    assert!(!HistogramRef { sum: -18.4, ..valid() }.is_same_sample(valid()));
    assert!(!HistogramRef { positive_buckets: &[1, 1, -1, 1], ..valid() }.is_same_sample(valid()));
    let stale = HistogramRef { sum: HistogramRef::<u64>::stale().sum, ..valid() };
    assert!(stale.is_same_sample(HistogramRef::stale()) && !stale.is_same_sample(valid()));
}

proptest! {
    #[test]
    fn however_spans_are_written_the_buckets_are_the_same(
        counts in prop::collection::btree_map(-20i64..20, 1i64..9, 0..20), style in 1u8..3,
    ) {
        let counts: Counts<u64> = counts;
        let (spans, buckets) = side::<u64>(&counts);
        let odd = restyled(&spans, style);
        prop_assert!(populated::<u64>(&odd, &buckets).eq(counts));
    }

    #[test]
    fn reducing_keeps_every_observation(steps in steps(), by in 1i32..70) {
        for histogram in integers(&steps) {
            let reduced = histogram.as_ref().reduced(histogram.as_ref().schema - by).unwrap();
            let total = |h: HistogramRef<'_, u64>| -> i64 {
                [h.positive_buckets, h.negative_buckets].into_iter().flat_map(counts::<u64>).sum()
            };
            prop_assert_eq!(total(reduced.as_ref()), total(histogram.as_ref()));
        }
    }

    #[test]
    fn a_copy_is_the_same_to_the_bit(steps in steps()) {
        let (integers, floats) = (integers(&steps), floats(&steps));
        for pair in integers.windows(2) {
            prop_assert_eq!(pair[0].as_ref().to_histogram_like(&pair[1]), pair[0].clone());
        }
        for pair in floats.windows(2) {
            prop_assert_eq!(pair[0].as_ref().to_histogram_like(&pair[1]), pair[0].clone());
        }
    }
}
