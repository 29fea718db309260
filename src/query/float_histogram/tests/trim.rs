//! What the operators `</` and `>/` leave.

use super::*;

/// Each line says how to trim, as `</ 2` or `>/ 2`, and what comes of it.
#[track_caller]
fn check(histogram: &str, want: &[(&str, &str)]) {
    for (trim, want) in want {
        let mut trimmed = h(histogram);
        let (operator, bound) = trim.split_once(' ').unwrap();
        let bound = bound.parse().unwrap();
        if operator == "</" {
            trimmed.trim_upper(bound)
        } else {
            trimmed.trim_lower(bound)
        }
        trimmed.compact();
        let mut want = h(want);
        want.compact();
        assert_same_but_for_rounding(&trimmed, &want);
    }
}

#[test]
fn exponential_buckets_are_cut_by_exponential_interpolation() {
    let plain =
        "sum:123.75 count:34 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] n_buckets:[1 2]";
    check(
        plain,
        &[
            (">/ -inf", plain),
            ("</ inf", plain),
            (">/ inf", "z_bucket_w:0.001"),
            ("</ -inf", "z_bucket_w:0.001"),
            (
                ">/ 0",
                "sum:120.20840280171308 count:30.5 z_bucket:0.5 z_bucket_w:0.001 buckets:[2 4 8 16]",
            ),
            (
                "</ 0",
                "sum:-3.53578390593273768 count:3.5 z_bucket:0.5 z_bucket_w:0.001 n_buckets:[1 2]",
            ),
            (
                "</ 1.4142135624",
                "count:8 sum:0.2570938865989847 z_bucket:1 z_bucket_w:0.001 buckets:[2 2] n_buckets:[1 2]",
            ),
            (
                ">/ 1.4142135624",
                "count:26 sum:116.50067065070982 z_bucket_w:0.001 buckets:[0 2 8 16]",
            ),
            (
                "</ 2",
                "count:10 sum:3.5355339059327373 z_bucket:1 z_bucket_w:0.001 buckets:[2 4] n_buckets:[1 2]",
            ),
            (">/ 2", "count:24 sum:113.13708498984761 z_bucket_w:0.001 offset:2 buckets:[8 16]"),
            (
                ">/ -1",
                "count:32 sum:119.50104602052653 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] n_buckets:[1]",
            ),
            ("</ -1", "count:2 sum:-2.8284271247461903 z_bucket_w:0.001 n_offset:1 n_buckets:[2]"),
        ],
    );
    check(
        "schema:2 sum:12.8286080906 count:28 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 4 7 3] n_buckets:[1 5 3 1]",
        &[
            (
                "</ 1.13",
                "schema:2 count:13.410582181123704 sum:-9.385798726068233 z_bucket:1 z_bucket_w:0.001 \
                 buckets:[1 1.410582181123704] n_buckets:[1 5 3 1]",
            ),
            (
                ">/ 1.13",
                "schema:2 count:14.589417818876296 sum:22.168126492693734 z_bucket_w:0.001 offset:1 \
                 buckets:[0.589417818876296 4 7 3]",
            ),
            (
                ">/ -1.3",
                "schema:2 count:25.54213947904476 sum:16.29588491217537 z_bucket:1 z_bucket_w:0.001 \
                 buckets:[1 2 4 7 3] n_buckets:[1 5 1.54213947904476]",
            ),
            (
                "</ -1.3",
                "schema:2 count:2.45786052095524 sum:-3.5189307983595066 z_bucket_w:0.001 n_offset:2 \
                 n_buckets:[1.45786052095524 1]",
            ),
        ],
    );
    check("", &[("</ -5", ""), (">/ 5", ""), ("</ inf", ""), (">/ inf", "")]);
}

#[test]
fn the_zero_bucket_is_on_the_side_of_the_others() {
    let positive = "sum:8.0210678118654755 count:12 z_bucket:2 z_bucket_w:0.5 buckets:[10]";
    check(
        positive,
        &[
            (">/ 0.5", "count:10 sum:7.0710678118654755 z_bucket_w:0.5 buckets:[10]"),
            (">/ 0.1", "count:11.6 sum:7.551067811865476 z_bucket:1.6 z_bucket_w:0.5 buckets:[10]"),
            (">/ 0", positive),
            ("</ 0.5", "count:2 sum:0.5 z_bucket:2 z_bucket_w:0.5"),
            ("</ 0.1", "count:0.4 sum:0.02 z_bucket:0.4 z_bucket_w:0.5"),
            ("</ 0", "z_bucket_w:0.5"),
        ],
    );
    let negative = "sum:-8.0210678118654755 count:12 z_bucket:2 z_bucket_w:0.5 n_buckets:[10]";
    check(
        negative,
        &[
            ("</ -0.5", "count:10 sum:-7.0710678118654755 z_bucket_w:0.5 n_buckets:[10]"),
            (
                "</ -0.1",
                "count:11.6 sum:-7.551067811865476 z_bucket:1.6 z_bucket_w:0.5 n_buckets:[10]",
            ),
            ("</ 0", negative),
            (">/ -0.5", "count:2 sum:-0.5 z_bucket:2 z_bucket_w:0.5"),
            (">/ -0.1", "count:0.4 sum:-0.02 z_bucket:0.4 z_bucket_w:0.5"),
            (">/ 0", "z_bucket_w:0.5"),
        ],
    );
    let alone = "count:5 z_bucket:5 z_bucket_w:0.1";
    check(
        alone,
        &[
            (">/ 0.1", "z_bucket_w:0.1"),
            ("</ 0.1", alone),
            (">/ 0.05", "count:1.25 sum:0.09375 z_bucket:1.25 z_bucket_w:0.1"),
            ("</ 0.05", "count:3.75 sum:-0.09375 z_bucket:3.75 z_bucket_w:0.1"),
            (">/ 0", "count:2.5 sum:0.125 z_bucket:2.5 z_bucket_w:0.1"),
            ("</ 0", "count:2.5 sum:-0.125 z_bucket:2.5 z_bucket_w:0.1"),
            (">/ -0.05", "count:3.75 sum:0.09375 z_bucket:3.75 z_bucket_w:0.1"),
            ("</ -0.1", "z_bucket_w:0.1"),
            (">/ -0.1", alone),
        ],
    );
    check(
        "sum:-6.75 z_bucket:5 z_bucket_w:0.01 buckets:[2 3] n_buckets:[1 2 3]",
        &[
            (
                "</ -0.005",
                "count:7.25 sum:-12.03019028017131 z_bucket:1.25 z_bucket_w:0.01 n_buckets:[1 2 3]",
            ),
            (">/ 0", "count:7.5 sum:5.669354249492381 z_bucket:2.5 z_bucket_w:0.01 buckets:[2 3]"),
        ],
    );
}

/// Likewise of custom buckets with these bounds.
#[track_caller]
fn check_custom(bounds: &str, histogram: &str, want: &[(&str, &str)]) {
    let custom = |text: &str| format!("schema:-53 custom_values:[{bounds}] {text}");
    for (trim, want) in want {
        check(&custom(histogram), &[(trim, &custom(want))]);
    }
}

#[test]
fn custom_buckets_are_cut_by_linear_interpolation() {
    let plain = "sum:172.5 count:15 buckets:[1 6 4 3 1]";
    check_custom(
        "5 10 15 20",
        plain,
        &[
            ("</ 15", "count:11 sum:97.5 buckets:[1 6 4]"),
            (">/ 15", "count:4 sum:72.5 offset:3 buckets:[3 1]"),
            ("</ 13", "count:9.4 sum:75.1 buckets:[1 6 2.4]"),
            (">/ 13", "count:5.6 sum:94.9 offset:2 buckets:[1.6 3 1]"),
            ("</ 7.5", "count:4 sum:21.25 buckets:[1 3]"),
            ("</ 50", "count:14 sum:150 buckets:[1 6 4 3]"),
            ("</ -inf", ""),
            (">/ inf", ""),
            ("</ inf", plain),
            (">/ -inf", plain),
            (">/ 0", plain),
            ("</ 0", ""),
        ],
    );
    check_custom(
        "-10 5 10 15 20",
        "sum:172.5 count:15 buckets:[2 1 6 4 3 1]",
        &[
            ("</ 2", "count:2.8 sum:-23.2 buckets:[2 0.8]"),
            ("</ -4", "count:2.4 sum:-22.8 buckets:[2 0.4]"),
            ("</ -15", "count:2 sum:-30 buckets:[2]"),
        ],
    );
}

#[test]
fn buckets_without_a_bound_are_cut_as_far_as_anything_is_known() {
    let all = "sum:100 count:100 buckets:[100]";
    check_custom(
        "",
        all,
        &[
            ("</ 10", ""),
            (">/ 10", ""),
            ("</ inf", all),
            (">/ inf", ""),
            (">/ -inf", all),
            ("</ -inf", ""),
        ],
    );
    check_custom(
        "0",
        "sum:33 count:100 buckets:[1 100]",
        &[
            ("</ 10", "count:1 buckets:[1]"),
            ("</ 0", "count:1 buckets:[1]"),
            ("</ -10", "sum:-10 count:1 buckets:[1]"),
            (">/ -10", "count:100 buckets:[0 100]"),
            (">/ 10", "sum:1000 count:100 buckets:[0 100]"),
        ],
    );
    let plain = "sum:33 count:101 buckets:[1 100]";
    check_custom(
        "5",
        plain,
        &[
            ("</ 10", "sum:2.5 count:1 buckets:[1]"),
            ("</ 2", "sum:0.4 count:0.4 buckets:[0.4]"),
            ("</ 0", ""),
            ("</ -10", ""),
            (">/ -10", "sum:500 count:100 buckets:[0 100]"),
            (">/ 0", plain),
            (">/ 2", "sum:502.1 count:100.6 buckets:[0.6 100]"),
            (">/ 10", "sum:1000 count:100 buckets:[0 100]"),
        ],
    );
    check_custom(
        "-5",
        plain,
        &[
            ("</ 10", "sum:-5 count:1 buckets:[1]"),
            ("</ -2", "sum:-5 count:1 buckets:[1]"),
            ("</ -10", "sum:-10 count:1 buckets:[1]"),
            (">/ -10", "sum:-500 count:100 buckets:[0 100]"),
            (">/ -2", "sum:-200 count:100 buckets:[0 100]"),
            (">/ 10", "sum:1000 count:100 buckets:[0 100]"),
        ],
    );
}
