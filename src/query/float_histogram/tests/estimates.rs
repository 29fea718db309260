//! Quantiles, fractions and variances.

use super::*;

const POSITIVE: &str = "schema:0 count:12 sum:100 z_bucket:2 z_bucket_w:0.001 buckets:[2 3 0 1 4]";
const NEGATIVE: &str =
    "schema:0 count:12 sum:100 z_bucket:2 z_bucket_w:0.001 n_buckets:[2 3 0 1 4]";
const BOTH: &str = "schema:0 count:24 sum:100 z_bucket:4 z_bucket_w:0.001 buckets:[2 3 0 1 4] \
    n_buckets:[2 3 0 1 4]";

#[track_caller]
fn quantiles(text: &str, want: &[(f64, f64)]) {
    for (q, want) in want {
        let (quantile, notes) = h(text).quantile(*q);
        assert_close(quantile, *want);
        assert_eq!(notes, QuantileNotes::default());
    }
}

#[test]
fn quantiles_are_upstreams() {
    let inf = f64::INFINITY;
    quantiles(
        POSITIVE,
        &[
            (1.001, inf),
            (1.0, 16.0),
            (0.99, 15.67072476139083),
            (0.9, 12.99603834169977),
            (0.6, 4.594793419988138),
            (0.5, 1.5874010519681994),
            (0.1, 0.0006),
            (0.0, 0.0),
            (-1.0, -inf),
            (f64::NAN, f64::NAN),
        ],
    );
    quantiles(
        NEGATIVE,
        &[
            (1.0, 0.0),
            (0.99, -0.00006),
            (0.9, -0.0006),
            (0.5, -1.5874010519681996),
            (0.1, -12.996038341699768),
            (0.0, -16.0),
        ],
    );
    quantiles(
        BOTH,
        &[
            (1.0, 16.0),
            (0.99, 15.34822590920423),
            (0.9, 10.556063286183155),
            (0.7, 1.2030250360821164),
            (0.55, 0.0006),
            (0.5, 0.0),
            (0.45, -0.0006),
            (0.3, -1.2030250360821169),
            (0.01, -15.34822590920423),
            (0.0, -16.0),
        ],
    );
    quantiles("schema:0 count:4 sum:5 buckets:[1 2 1]", &[(0.5, std::f64::consts::SQRT_2)]);
    quantiles("", &[(0.5, f64::NAN)]);
    // Buckets without a bound on one side give the other one.
    let custom = "schema:-53 count:4 sum:5 buckets:[1 2 1] custom_values:[5 10]";
    quantiles(custom, &[(0.125, 2.5), (0.5, 7.5), (0.75, 10.0), (1.0, 10.0)]);
    quantiles("schema:-53 count:1 buckets:[1] custom_values:[-3]", &[(0.5, -3.0)]);
}

#[test]
fn observations_of_nan_are_told_of() {
    let (all, some) = (h("count:3 sum:NaN"), h("count:15 sum:NaN buckets:[12]"));
    let result = QuantileNotes { nan_result: true, ..QuantileNotes::default() };
    let skew = QuantileNotes { nan_skew: true, ..QuantileNotes::default() };
    let left_out = QuantileNotes { nan_left_out: true, ..QuantileNotes::default() };
    for q in [0.4, 0.8, 1.0] {
        let (quantile, notes) = all.quantile(q);
        assert!(quantile.is_nan() && notes == result);
    }
    let (quantile, notes) = some.quantile(0.81);
    assert!(quantile.is_nan() && notes == result);
    assert_eq!(some.quantile(0.8), (1.0, skew));
    let (quantile, notes) = some.quantile(0.4);
    assert_close(quantile, 0.7071067811865475);
    assert_eq!(notes, skew);
    let inf = f64::INFINITY;
    for (upper, want) in [(0.7071067811865475, 0.4), (inf, 0.8)] {
        let (fraction, notes) = some.fraction(-inf, upper);
        assert_close(fraction, want);
        assert_eq!(notes, left_out);
    }
    assert_eq!(all.fraction(-inf, inf), (0.0, left_out));
    // Infinite observations of both signs: none of them is NaN.
    let infinite = h("count:2 sum:NaN buckets:[1] n_buckets:[1]");
    assert_eq!(infinite.quantile(1.0).1, QuantileNotes::default());
    assert_eq!(infinite.fraction(-inf, inf), (1.0, QuantileNotes::default()));
}

#[test]
fn fractions_are_upstreams() {
    let inf = f64::INFINITY;
    let check = |text: &str, want: &[(f64, f64, f64)]| {
        for (lower, upper, want) in want {
            assert_close(h(text).fraction(*lower, *upper).0, *want);
        }
    };
    check(
        POSITIVE,
        &[
            (0.0, inf, 1.0),
            (-inf, 0.0, 0.0),
            (-0.001, 0.0, 0.0),
            (0.0, 0.001, 1.0 / 6.0),
            (0.001, inf, 5.0 / 6.0),
            (0.0, 0.0005, 1.0 / 12.0),
            (-inf, -0.001, 0.0),
            (1.0, 2.0, 0.25),
            (0.0, 1.5, 0.4795739585136224),
            (42.0, 3.0, 0.0),
            (3.0, f64::NAN, f64::NAN),
            (f64::NAN, 42.0, f64::NAN),
        ],
    );
    check("schema:0 sum:5 count:4 n_buckets:[1 2 1]", &[(-2.0, -1.0, 0.5)]);
    check(
        "schema:0 z_bucket:1 z_bucket_w:0.5 sum:0.25 count:1",
        &[(-0.5, 0.5, 1.0), (0.0, 1.0, 0.5)],
    );
    check("", &[(3.0, 42.0, f64::NAN)]);
    // A first bucket that ends above zero begins there; of one that does not, nothing is known.
    let custom = "schema:-53 count:4 sum:5 buckets:[1 2 1] custom_values:[5 10]";
    check(custom, &[(5.0, 7.5, 0.25), (-inf, 3.0, 0.15), (20.0, inf, 0.25)]);
    check("schema:-53 count:4 buckets:[1 3] custom_values:[-5]", &[(-inf, -10.0, 0.25)]);
}

#[test]
fn variances_are_upstreams() {
    let zeros = |n: usize| "0 ".repeat(n);
    let positive = format!("{}1 {}1 0 1 {}1", zeros(13), zeros(10), zeros(27));
    let negative = format!("{}1 {}1", zeros(24), zeros(21));
    let spread = |sum: &str| {
        format!("schema:3 count:7 sum:{sum} z_bucket:1 buckets:[{positive}] n_buckets:[{negative}]")
    };
    for (text, want) in [
        ("schema:2 count:4 sum:10 buckets:[1 0 0 0 1 0 0 1 1]", 1.163807968526718),
        ("schema:8 count:10 sum:10 buckets:[1 2 3 4]", 2.3971123370139447e-05),
        (&spread("62"), 1844.4651144196398),
        (
            "schema:0 count:10 sum:-112946 n_buckets:[0 0 1 1 1 0 1 1 0 0 3 0 0 0 1 0 0 1]",
            759352122.1939945,
        ),
        ("schema:0 count:10 sum:-100 n_buckets:[0 0 0 0 10]", 1.725830020304794),
        (&spread("NaN"), f64::NAN),
        (&spread("inf"), f64::INFINITY),
    ] {
        assert_close(h(text).stdvar(), want);
    }
    assert_eq!(h("count:4 sum:5").mean(), 1.25);
    assert!(h("").mean().is_nan());
}
