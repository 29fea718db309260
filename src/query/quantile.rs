//! Quantiles: of plain values, and of classic histograms given as buckets.
//!
//! Source: `promql/quantile.go`.

use std::cmp::Ordering;

/// From so many values on, selecting one is faster than sorting all.
const SELECT_MIN: usize = 512;

/// How values sort for quantiles: NaN before everything else.
pub(super) fn nan_first(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The `q`-quantile of `values`, between neighbours by weight; reorders them. NaN without values or for a NaN `q`, and
/// infinite for a `q` outside of 0 to 1.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let weight = rank - rank.floor();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a rank is not negative and below the count"
    )]
    let lower = (rank.floor() as usize).min(values.len() - 1);
    let (below, above) = if values.len() < SELECT_MIN {
        values.sort_unstable_by(nan_first);
        let below = values.get(lower).copied().unwrap_or(f64::NAN);
        (below, values.get(lower + 1).copied().unwrap_or(below))
    } else {
        let (_, below, rest) = values.select_nth_unstable_by(lower, nan_first);
        (*below, rest.iter().copied().min_by(nan_first).unwrap_or(*below))
    };
    between(below, above, weight)
}

/// What lies `weight` of the way from one value to the next.
pub(super) fn between(below: f64, above: f64, weight: f64) -> f64 {
    below * (1.0 - weight) + above * weight
}

/// One bucket of a classic histogram: how many observations were at most `bound`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    /// The bucket's upper bound.
    pub bound: f64,
    /// Observations up to the bound, those of smaller buckets included.
    pub count: f64,
}

/// What had to be raised so that the buckets' counts rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Raised {
    /// The smallest and largest bound of a raised bucket.
    pub bounds: (f64, f64),
    /// By how much at most.
    pub diff_max: f64,
}

/// Counts that differ by less than this part of their sum are taken for the same: rounding, not data.
const SMALL_DELTA: f64 = 1e-12;

/// The `q`-quantile of a classic histogram, linear within a bucket, and what had to be repaired for it. Changes the
/// buckets. NaN without an infinite bucket, with a single one, or without observations.
pub(super) fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Raised>) {
    if q.is_nan() || buckets.is_empty() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !sort_and_coalesce(buckets) {
        return (f64::NAN, None);
    }
    let raised = make_monotonic(buckets);
    (quantile_of_sorted(q, buckets), raised)
}

/// The quantile of buckets that are sorted and rise.
fn quantile_of_sorted(q: f64, buckets: &[Bucket]) -> f64 {
    let [finite @ .., Bucket { count: observations, .. }] = buckets else {
        return f64::NAN;
    };
    let (Some(first), Some(highest)) = (finite.first(), finite.last()) else {
        return f64::NAN;
    };
    if *observations == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * observations;
    // Binary search as upstream: the first bucket that reaches the rank; a NaN rank or count is never reached.
    let found = first_index(finite.len(), |i| finite.get(i).is_some_and(|b| b.count >= rank));
    let Some(bucket) = finite.get(found) else {
        return highest.bound;
    };
    if found == 0 && first.bound <= 0.0 {
        return first.bound;
    }
    let (mut start, mut count) = (0.0, bucket.count);
    if let Some(below) = found.checked_sub(1).and_then(|below| finite.get(below)) {
        start = below.bound;
        count -= below.count;
        rank -= below.count;
    }
    start + (bucket.bound - start) * (rank / count)
}

/// The smallest index below `len` for which `holds`, which must not hold again and then not; `len` if there is none.
fn first_index(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// Sorts by bound and adds up buckets of the same bound; says whether the largest bound is infinite.
fn sort_and_coalesce(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.bound.partial_cmp(&b.bound).unwrap_or(Ordering::Equal));
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets.last().is_some_and(|last| last.bound == f64::INFINITY)
}

/// Raises counts that are below a smaller bucket's; differences that rounding explains are ironed out silently.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Raised> {
    let mut raised: Option<Raised> = None;
    let (first, rest) = buckets.split_first_mut()?;
    let mut below = first.count;
    for bucket in rest {
        if bucket.count == below {
            continue;
        }
        if nearly_equal(below, bucket.count, SMALL_DELTA) {
            bucket.count = below;
        } else if bucket.count < below {
            let bound = bucket.bound;
            let have = raised.unwrap_or(Raised { bounds: (bound, bound), diff_max: 0.0 });
            raised = Some(Raised {
                bounds: (have.bounds.0.min(bound), have.bounds.1.max(bound)),
                diff_max: have.diff_max.max(below - bucket.count),
            });
            bucket.count = below;
        } else {
            below = bucket.count;
        }
    }
    raised
}

/// Do `a` and `b` differ by less than `tolerance` of the sum of their magnitudes? NaNs are equal to each other.
/// Source: `util/almost` of Prometheus.
pub(super) fn nearly_equal(a: f64, b: f64, tolerance: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (magnitude, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || magnitude < f64::MIN_POSITIVE {
        return difference < tolerance * f64::MIN_POSITIVE;
    }
    difference / magnitude.min(f64::MAX) < tolerance
}

/// Which part of a classic histogram's observations lies between `lower` and `upper`. Changes the buckets.
pub(super) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets.is_empty() || !sort_and_coalesce(buckets) {
        return f64::NAN;
    }
    let count = buckets.last().map_or(0.0, |last| last.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    // A NaN rank stays one.
    let rank = |bound| match rank_of(bound, buckets) {
        Some(rank) if rank > count => count,
        rank => rank.unwrap_or(count),
    };
    (rank(upper) - rank(lower)) / count
}

/// How many observations lie below `bound`; `None` above the last bucket that has an upper bound.
fn rank_of(bound: f64, buckets: &[Bucket]) -> Option<f64> {
    let first = buckets.first()?;
    let mut start = if first.bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut rank = 0.0;
    for bucket in buckets {
        if start >= bound {
            return Some(rank);
        }
        if bucket.bound > bound {
            // Within a bucket that reaches down for ever nothing can be told apart.
            return Some(if start == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + (bucket.count - rank) * (bound - start) / (bucket.bound - start)
            });
        }
        (start, rank) = (bucket.bound, bucket.count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(of: &[(f64, f64)]) -> Vec<Bucket> {
        of.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect()
    }

    #[test]
    fn a_quantile_lies_between_its_neighbours_by_weight() {
        assert_eq!(quantile(0.75, &mut [4.0, 1.0, 3.0, 2.0]), 3.25);
        assert_eq!(quantile(1.0, &mut [1.0]), 1.0);
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &mut [1.0]), f64::INFINITY);
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan() && quantile(0.5, &mut []).is_nan());
    }

    #[test]
    fn many_values_have_the_same_quantile_as_few() {
        let mut many: Vec<f64> = (0..1001u32).map(|i| f64::from(i * 7919 % 1001)).collect();
        assert_eq!(quantile(0.25, &mut many), 250.0);
        assert_eq!(quantile(1.0, &mut many), 1000.0);
        assert_eq!(quantile(0.0005, &mut many), 0.5);
    }

    #[test]
    fn nan_sorts_before_everything() {
        assert_eq!(quantile(1.0, &mut [5.0, f64::NAN, 7.0]), 7.0);
        assert!(quantile(0.0, &mut [5.0, f64::NAN, 7.0]).is_nan());
    }

    #[test]
    fn a_rank_in_the_last_bucket_gives_the_bound_below_it() {
        let mut of = buckets(&[(f64::INFINITY, 10.0), (1.0, 2.0), (2.0, 4.0)]);
        assert_eq!(bucket_quantile(0.99, &mut of), (2.0, None));
        assert_eq!(bucket_quantile(0.1, &mut of), (0.5, None));
        assert_eq!(bucket_quantile(0.3, &mut of), (1.5, None));
    }

    #[test]
    fn counts_that_fall_are_raised_and_that_is_said() {
        let mut of = buckets(&[(1.0, 5.0), (2.0, 3.0), (4.0, 10.0), (f64::INFINITY, 10.0)]);
        let (_, raised) = bucket_quantile(0.5, &mut of);
        assert_eq!(raised, Some(Raised { bounds: (2.0, 2.0), diff_max: 2.0 }));
        let mut noise = buckets(&[(1.0, 5.0), (2.0, 5.0 - 1e-14), (f64::INFINITY, 6.0)]);
        assert_eq!(bucket_quantile(0.5, &mut noise).1, None);
    }

    #[test]
    fn buckets_without_an_infinite_one_have_no_quantile() {
        assert!(bucket_quantile(0.5, &mut buckets(&[(1.0, 5.0), (2.0, 6.0)])).0.is_nan());
    }

    #[test]
    fn a_fraction_interpolates_within_buckets() {
        let of = || buckets(&[(1.0, 2.0), (2.0, 6.0), (f64::INFINITY, 10.0)]);
        assert_eq!(bucket_fraction(0.5, 1.5, &mut of()), 0.3);
        assert_eq!(bucket_fraction(f64::NEG_INFINITY, f64::INFINITY, &mut of()), 1.0);
        assert_eq!(bucket_fraction(2.0, 1.0, &mut of()), 0.0);
    }
}
