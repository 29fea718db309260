//! Sums, differences, multiples and means.

use super::*;

#[track_caller]
fn adds(one: &str, other: &str, want: &str, bounds_reconciled: bool) {
    let mut want = h(want);
    want.compact();
    for (a, b) in [(h(one), h(other)), (h(other), h(one))] {
        let combined = Combined { counter_reset_collision: false, bounds_reconciled };
        let mut plain = a.clone();
        assert_eq!(plain.add(&b), Ok(combined));
        plain.compact();
        assert_eq!(plain, want, "{plain} is not {want}");
        let mut sum = HistogramSum::new(a.clone());
        assert_eq!(sum.add(&b), Ok(combined));
        let mut sum = sum.total();
        sum.compact();
        assert_eq!(sum, want, "{sum} is not {want}");
        let mut merged = HistogramSum::new(a);
        assert_eq!(merged.merge(&HistogramSum::new(b)), Ok(combined));
        let mut merged = merged.total();
        merged.compact();
        assert_eq!(merged, want, "{merged} is not {want}");
    }
}

#[test]
fn numbers_of_buckets_are_added() {
    adds(
        "z_bucket_w:0.01 z_bucket:11 count:30 sum:2.345 offset:-2 buckets:[1 0 _ 3 4 7] \
         n_offset:3 n_buckets:[3 1 _ _ _ 5 6]",
        "z_bucket_w:0.01 z_bucket:8 count:21 sum:1.234 offset:-2 buckets:[0 0 _ 2 3 6] \
         n_offset:3 n_buckets:[1 1 0 0 0 4 4]",
        "z_bucket_w:0.01 z_bucket:19 count:51 sum:3.579 offset:-2 buckets:[1 0 _ 5 7 13] \
         n_offset:3 n_buckets:[4 2 _ _ _ 9 10]",
        false,
    );
}

#[test]
fn buckets_that_only_one_has_are_kept() {
    adds(
        "z_bucket_w:0.001 z_bucket:11 count:30 sum:2.345 offset:-2 buckets:[1 0 _ _ 3 4 7] \
         n_offset:3 n_buckets:[3 1 _ _ _ 5 6]",
        "z_bucket_w:0.001 z_bucket:8 count:21 sum:1.234 buckets:[5 4 _ _ _ 2 3 6] \
         n_offset:-9 n_buckets:[1 1 _ _ _ 4 4]",
        "z_bucket_w:0.001 z_bucket:19 count:51 sum:3.579 offset:-2 buckets:[1 0 5 4 3 4 7 2 3 6] \
         n_offset:-9 n_buckets:[1 1 _ _ _ 4 4 _ _ _ _ _ 3 1 _ _ _ 5 6]",
        false,
    );
}

#[test]
fn the_finer_one_is_reduced() {
    adds(
        "schema:0 z_bucket_w:0.01 z_bucket:8 count:21 sum:1.234 offset:-1 buckets:[5 4 2 3 6 2 5] \
         n_offset:4 n_buckets:[1 1 _ 4 4]",
        "schema:1 z_bucket_w:0.01 z_bucket:11 count:30 sum:2.345 offset:-4 \
         buckets:[1 0 0 _ _ _ _ _ 3 2 2 3 4] n_offset:6 n_buckets:[3 0.5 0.5 _ _ _ _ _ _ 2 3 2 4]",
        "schema:0 z_bucket_w:0.01 z_bucket:19 count:51 sum:3.579 offset:-2 buckets:[1 5 4 2 6 10 9 5] \
         n_offset:3 n_buckets:[3 2 1 _ 4 9 6]",
        false,
    );
}

#[test]
fn the_narrower_zero_bucket_is_widened() {
    let narrow = "z_bucket_w:0.01 z_bucket:11 count:30 sum:2.345 offset:-2 buckets:[1 0 _ _ 3 4 7] \
        n_offset:3 n_buckets:[3 1 _ _ _ 5 6]";
    let wide = |threshold: &str| {
        format!(
            "z_bucket_w:{threshold} z_bucket:17 count:21 sum:1.234 offset:1 buckets:[2 3 6 2 5] \
             n_offset:4 n_buckets:[1 1 _ 4 4]"
        )
    };
    let sum = |threshold: &str| {
        format!(
            "z_bucket_w:{threshold} z_bucket:29 count:51 sum:3.579 offset:1 buckets:[2 6 10 9 5] \
             n_offset:3 n_buckets:[3 2 1 _ 4 9 6]"
        )
    };
    adds(narrow, &wide("1"), &sum("1"), false);
    // It would end within a bucket that has observations, and becomes wider still.
    adds(narrow, &wide("0.2"), &sum("0.25"), false);
}

#[test]
fn schemas_and_zero_buckets_may_both_differ() {
    adds(
        "schema:0 z_bucket_w:0.01 z_bucket:8 count:21 sum:1.234 offset:-2 buckets:[2 5 4 2 3 6 2 5] \
         n_offset:4 n_buckets:[1 1 _ 4 4]",
        "schema:1 z_bucket_w:0.25 z_bucket:12 count:30 sum:2.345 offset:-3 \
         buckets:[1 0 _ _ _ _ _ 3 2 2 3 4] n_offset:6 n_buckets:[3 0.5 0.5 _ _ _ _ _ _ 2 3 2 4]",
        "schema:0 z_bucket_w:0.25 z_bucket:22 count:51 sum:3.579 offset:-1 buckets:[6 4 2 6 10 9 5] \
         n_offset:3 n_buckets:[3 2 1 _ 4 9 6]",
        false,
    );
    adds(
        "schema:0 z_bucket_w:0.25 z_bucket:8 count:21 sum:1.234 offset:-1 buckets:[5 4 2 3 6 2 5] \
         n_offset:4 n_buckets:[1 1 _ 4 4]",
        "schema:1 z_bucket_w:0.01 z_bucket:11 count:30 sum:2.345 offset:-4 \
         buckets:[1 0 0 _ _ _ _ _ 3 2 2 3 4] n_offset:6 n_buckets:[3 0.5 0.5 _ _ _ _ _ _ 2 3 2 4]",
        "schema:0 z_bucket_w:0.25 z_bucket:20 count:51 sum:3.579 offset:-1 buckets:[5 4 2 6 10 9 5] \
         n_offset:3 n_buckets:[3 2 1 _ 4 9 6]",
        false,
    );
}

#[test]
fn custom_buckets_are_added_between_the_bounds_that_both_have() {
    adds(
        "schema:-53 count:15 sum:2.345 buckets:[1 0 _ 3 4 7] custom_values:[1 2 3 4 5]",
        "schema:-53 count:11 sum:1.234 buckets:[0 0 _ 2 3 6] custom_values:[1 2 3 4 5]",
        "schema:-53 count:26 sum:3.579 buckets:[1 0 _ 5 7 13] custom_values:[1 2 3 4 5]",
        false,
    );
    adds(
        "schema:-53 count:10 sum:100 buckets:[2 3 5] custom_values:[1 2.5]",
        "schema:-53 count:8 sum:80 buckets:[1 2 3 2] custom_values:[1 2 3]",
        "schema:-53 count:18 sum:180 buckets:[3 15] custom_values:[1]",
        true,
    );
    adds(
        "schema:-53 count:6 sum:2.345 buckets:[1 _ 5] custom_values:[2 4]",
        "schema:-53 count:220 sum:1.234 buckets:[10 20 _ 40 50 100] custom_values:[1 2 3 4 5]",
        "schema:-53 count:226 sum:3.579 buckets:[31 40 155] custom_values:[2 4]",
        true,
    );
    adds(
        "schema:-53 count:3 sum:50 buckets:[1 2] custom_values:[1.5]",
        "schema:-53 count:30 sum:40 buckets:[10 20] custom_values:[2.5]",
        "schema:-53 count:33 sum:90 buckets:[33]",
        true,
    );
}

#[track_caller]
fn subtracts(one: &str, other: &str, want: &str, bounds_reconciled: bool) {
    let mut want = h(want);
    want.compact();
    let mut difference = h(one);
    let combined = Combined { counter_reset_collision: false, bounds_reconciled };
    assert_eq!(difference.sub(&h(other)), Ok(combined));
    difference.compact();
    assert_eq!(difference, want);
    let mut turned = h(other);
    turned.sub(&h(one)).unwrap();
    turned.compact();
    let hint = want.reset_hint;
    want.negate();
    want.reset_hint = hint;
    assert_eq!(turned, want);
}

#[test]
fn differences_follow_the_same_rules() {
    subtracts(
        "z_bucket_w:0.01 z_bucket:11 count:30 sum:23 offset:-2 buckets:[1 0 _ 3 4 7] \
         n_offset:3 n_buckets:[3 1 _ _ _ 5 6]",
        "z_bucket_w:0.01 z_bucket:8 count:21 sum:12 offset:-2 buckets:[0 0 _ 2 3 6] \
         n_offset:3 n_buckets:[1 1 _ _ _ 4 4]",
        "z_bucket_w:0.01 z_bucket:3 count:9 sum:11 offset:-2 buckets:[1 0 _ 1 1 1] \
         n_offset:3 n_buckets:[2 0 _ _ _ 1 2]",
        false,
    );
    subtracts(
        "schema:0 z_bucket_w:0.01 z_bucket:8 count:59 sum:1.234 offset:-2 buckets:[2 5 4 2 3 6 7 5] \
         n_offset:3 n_buckets:[4 10 1 _ 4 14 7]",
        "schema:1 z_bucket_w:0.01 z_bucket:2 count:19 sum:0.345 offset:-4 \
         buckets:[1 0 0 _ _ _ _ _ 1 2 2 3 4] n_offset:6 n_buckets:[3 0.5 0.5 _ _ _ _ _ _ 2 3 2 4]",
        "schema:0 z_bucket_w:0.01 z_bucket:6 count:40 sum:0.889 offset:-2 buckets:[1 5 4 2 2 2 0 5] \
         n_offset:3 n_buckets:[1 9 1 _ 4 9 1]",
        false,
    );
    subtracts(
        "schema:-53 hint:gauge count:220 sum:9.9 buckets:[10 20 _ 40 50 100] custom_values:[1 2 3 4 5]",
        "schema:-53 hint:gauge count:6 sum:4.4 buckets:[1 _ 5] custom_values:[2 4]",
        "schema:-53 hint:gauge count:214 sum:5.5 buckets:[29 40 145] custom_values:[2 4]",
        true,
    );
}

#[test]
fn custom_and_exponential_buckets_do_not_mix_and_nothing_changes() {
    let (exponential, custom) = (h(MIXED), h("schema:-53 count:1 buckets:[1] hint:reset"));
    for (a, b) in [(&exponential, &custom), (&custom, &exponential)] {
        let mut sum = a.clone();
        let error = sum.add(b).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot apply this operation on histograms with a mix of exponential and custom bucket schemas"
        );
        assert_eq!(sum.sub(b), Err(Incompatible::Schemas));
        assert_eq!(&sum, a);
        let mut mean = HistogramMean::new(a.clone());
        assert_eq!(mean.add(b), Err(Incompatible::Schemas));
        assert_eq!(&mean.total(), a);
    }
    let mut torn = h("schema:-53 custom_values:[2 1]");
    assert_eq!(torn.add(&custom), Err(Incompatible::Bounds));
}

#[test]
fn hints_combine_to_what_both_say() {
    let hints = ["hint:reset", "hint:not_reset", "hint:gauge", ""];
    let (reset, not, gauge, unknown) =
        (ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge, ResetHint::Unknown);
    let want = [
        [reset, unknown, gauge, unknown],
        [unknown, not, gauge, unknown],
        [gauge, gauge, gauge, gauge],
        [unknown, unknown, gauge, unknown],
    ];
    for (i, one) in hints.iter().enumerate() {
        for (j, other) in hints.iter().enumerate() {
            let mut sum = h(one);
            let combined = sum.add(&h(other)).unwrap();
            assert_eq!(sum.reset_hint, want[i][j]);
            assert_eq!(combined.counter_reset_collision, i + j == 1);
        }
    }
}

#[test]
fn times_and_divided_by_reach_every_number() {
    let case = "z_bucket_w:0.01 z_bucket:11 count:30 sum:23 offset:-2 buckets:[1 0 _ 3 4 7] \
        n_offset:3 n_buckets:[3 1 _ _ _ 5 6]";
    let mut triple = h(case);
    triple.scale(3.0);
    let want = "z_bucket_w:0.01 z_bucket:33 count:90 sum:69 offset:-2 buckets:[3 0 _ 9 12 21] \
        n_offset:3 n_buckets:[9 3 _ _ _ 15 18]";
    assert_eq!(triple, h(want));
    let mut turned = h(case);
    turned.scale(-2.0);
    let want = "hint:gauge z_bucket_w:0.01 z_bucket:-22 count:-60 sum:-46 offset:-2 \
        buckets:[-2 0 _ -6 -8 -14] n_offset:3 n_buckets:[-6 -2 _ _ _ -10 -12]";
    assert_eq!(turned, h(want));
    let mut half = h(case);
    half.divide(2.0);
    let want = "z_bucket_w:0.01 z_bucket:5.5 count:15 sum:11.5 offset:-2 buckets:[0.5 0 _ 1.5 2 3.5] \
        n_offset:3 n_buckets:[1.5 0.5 _ _ _ 2.5 3]";
    assert_eq!(half, h(want));
    let mut negated = h("hint:not_reset count:1 buckets:[1]");
    negated.negate();
    assert_eq!(negated, h("hint:gauge count:-1 sum:-0 buckets:[-1]"));
    let mut nothing = h(case);
    nothing.scale(0.0);
    let want =
        "z_bucket_w:0.01 offset:-2 buckets:[0 0 _ 0 0 0] n_offset:3 n_buckets:[0 0 _ _ _ 0 0]";
    assert_eq!(nothing, h(want));
}

#[test]
fn division_by_zero_leaves_no_buckets() {
    let mut histogram = h(&format!("{MIXED} hint:reset"));
    histogram.divide(0.0);
    assert_eq!(histogram, h("hint:reset z_bucket_w:0.01 z_bucket:inf count:inf sum:inf"));
    histogram = h(MIXED);
    histogram.divide(-0.0);
    assert_eq!((histogram.count, histogram.reset_hint), (f64::NEG_INFINITY, ResetHint::Unknown));
}

#[test]
fn sums_keep_what_rounding_took_away() {
    let case =
        |n: &str| h(&format!("count:{n} sum:{n} z_bucket:{n} buckets:[{n}] n_buckets:[{n}]"));
    let mut sum = HistogramSum::new(case("1"));
    for n in ["1e100", "1", "-1e100"] {
        sum.add(&case(n)).unwrap();
    }
    assert_eq!(sum.total(), case("2"));
    sum.scale(3.0);
    sum.divide(2.0);
    assert_eq!(sum.total(), case("3"));
    // Also where buckets are put together on the way.
    let mut sum = HistogramSum::new(h("schema:1 z_bucket_w:0.01 offset:1 buckets:[1e100 1]"));
    sum.add(&h("schema:0 z_bucket_w:1 offset:1 buckets:[-1e100]")).unwrap();
    assert_eq!(sum.total(), h("schema:0 z_bucket_w:1 offset:1 buckets:[1]"));
}

#[test]
fn a_mean_does_not_overflow_where_its_sum_would() {
    let large = h("count:1.5e308 sum:1e308 buckets:[1.5e308]");
    let mut mean = HistogramMean::new(large.clone());
    mean.add(&large).unwrap();
    mean.add(&large).unwrap();
    assert_eq!(mean.count(), 3.0);
    assert_same_but_for_rounding(&mean.total(), &large);
    let mut merged = HistogramMean::new(large.clone());
    merged.merge(&mean).unwrap();
    merged.merge(&HistogramMean::new(large.clone())).unwrap();
    assert_same_but_for_rounding(&merged.total(), &large);
    let mut small = HistogramMean::new(h("count:1 sum:2 buckets:[1]"));
    small.add(&h("count:3 sum:4 buckets:[_ 3]")).unwrap();
    let mut other = HistogramMean::new(h("count:2 sum:0 buckets:[1 1]"));
    other.merge(&small).unwrap();
    let sixth = h("count:2 sum:2 buckets:[0.6666666666666666 1.3333333333333333]");
    assert_same_but_for_rounding(&other.total(), &sixth);
}
