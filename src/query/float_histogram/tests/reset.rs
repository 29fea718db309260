//! Resets.

use super::*;

#[track_caller]
fn check(previous: &str, now: &str, want: bool) {
    assert_eq!(h(now).is_reset_after(&h(previous)), want);
}

const NOW: &str = "z_bucket_w:0.01 z_bucket:5.5 count:3493.3 sum:2349209.324 offset:-2 \
    buckets:[1 1.23 _ 3.3 4.2 0.1] n_offset:3 n_buckets:[3.1 3 _ _ _ 123400 1000]";

/// [`NOW`] with one part of it replaced.
fn with(part: &str, other: &str) -> String {
    assert!(NOW.contains(part));
    NOW.replace(part, other)
}

#[test]
fn what_becomes_less_was_reset_but_for_the_sum() {
    check("", "", false);
    check("", NOW, false);
    check(NOW, "", true);
    check(NOW, NOW, false);
    for (part, more, less) in [
        ("z_bucket:5.5", "z_bucket:5.6", "z_bucket:5.4"),
        ("count:3493.3", "count:3493.4", "count:3493.2"),
        ("4.2", "4.3", "4.1"),
        ("3.1 3 ", "3.1 3.1 ", "3.1 2.9 "),
    ] {
        check(NOW, &with(part, more), false);
        check(NOW, &with(part, less), true);
    }
    check(NOW, &with("sum:2349209.324", "sum:-7"), false);
}

#[test]
fn buckets_may_come_and_only_empty_ones_may_go() {
    check(&with("1.23", "_"), NOW, false);
    check(NOW, &with("1.23", "_"), true);
    check(&with("1.23", "0"), &with("1.23", "_"), false);
    check(&with("4.2 0.1", "4.2 0"), &with("4.2 0.1", "4.2"), false);
    check("offset:23 buckets:[0]", "", false);
    // One with observations goes behind an empty one.
    let zero = "z_bucket_w:0.001 ";
    check(
        &format!("{zero} count:10 buckets:[5] n_offset:1 n_buckets:[0 5]"),
        &format!("{zero} count:20 buckets:[20]"),
        true,
    );
    check(
        &format!("{zero} count:7 buckets:[2 0 5]"),
        &format!("{zero} count:100 buckets:[100]"),
        true,
    );
}

#[test]
fn a_zero_bucket_becomes_wider_without_a_reset_but_not_into_a_bucket() {
    check(NOW, &with("z_bucket_w:0.01", "z_bucket_w:0.009"), true);
    check(NOW, &with("z_bucket_w:0.01", "z_bucket_w:0.011"), false);
    check(NOW, &with("z_bucket_w:0.01", "z_bucket_w:0.3"), true);
    check(NOW, &with("z_bucket_w:0.01", "z_bucket_w:NaN"), true);
    let covering = "z_bucket_w:1 z_bucket:7.73 count:3493.3 offset:1 buckets:[3.3 4.2 0.1] \
        n_offset:3 n_buckets:[3.1 3 _ _ _ 123400 1000]";
    check(NOW, covering, false);
    check(NOW, &covering.replace("7.73", "7.72"), true);
}

#[test]
fn resolution_is_only_lost_without_a_reset() {
    let fine = "schema:1 z_bucket_w:0.01 z_bucket:5.5 count:3493.3 offset:-5 \
        buckets:[0.4 0.6 1 0.23 _ _ 2 1.3 1.2 3 0.05 0.05] n_offset:5 \
        n_buckets:[2 1.1 2 1 _ _ _ _ _ _ 23400 100000 500 500]";
    check(NOW, fine, true);
    check(fine, NOW, false);
    check(fine, &with("3.3", "4.3"), false);
    check(fine, &with("3.3", "2.3"), true);
    check(fine, "schema:-53 count:9999", true);
    check("schema:-53 count:1", "schema:0 count:9999", true);
}

#[test]
fn what_is_known_decides() {
    check("", "hint:reset", true);
    check(NOW, "hint:not_reset", false);
    check(NOW, "hint:gauge", true);
    check("hint:reset", NOW, false);
}

#[test]
fn custom_buckets_are_compared_between_the_bounds_that_both_have() {
    let same = |buckets: &str| {
        format!("schema:-53 count:3493.3 buckets:[{buckets}] custom_values:[1 2 3 4 5]")
    };
    check(&same(""), &same("1 1.23 _ 3.3"), false);
    check(&same("1 1.23 _ 3.3"), &same("1 _ _ 3.3"), true);
    check(&same("1 0 _ 3.3"), &same("1 _ _ 3.4"), false);
    check(&same("1 0 _ 3.3"), &same("1 0 _ 3.2"), true);
    let custom = |count: u32, bounds: &str, buckets: &str| {
        format!("schema:-53 count:{count} buckets:[{buckets}] custom_values:[{bounds}]")
    };
    for (previous, now, want) in [
        (
            custom(200, "0 1 2 3", "20 35 40 50"),
            custom(200, "0 0.5 1 2 3", "25 15 40 50 70"),
            false,
        ),
        (
            custom(100, "0 1 3 5", "_ 10 15 20 25"),
            custom(100, "0 1 2 3 5", "_ 10 16 10 5 25"),
            true,
        ),
        (custom(100, "0 1 2", "_ 10 20 20"), custom(100, "0 1 2 3", "_ 100 200 8 7"), true),
        (custom(100, "4 5 6", "_ 10 20 30"), custom(100, "1 2 3", "_ 15 25 35"), false),
        (custom(200, "0 1 3 5", "10 20 30 40"), custom(200, "0 2 3 4 5", "15 25 70 50 100"), false),
        (
            custom(200, "0 1 2 3 4 5", "10 20 _ 30 40 50"),
            custom(200, "0 1 3 4 5 7", "15 25 35 _ 25 60"),
            true,
        ),
        (
            custom(300, "0 1 2 3 4 5 6", "10 20 _ _ 30 40 50"),
            custom(300, "0 0.5 1 3 5 7", "12 25 45 _ 75 95"),
            false,
        ),
    ] {
        check(&previous, &now, want);
    }
}
