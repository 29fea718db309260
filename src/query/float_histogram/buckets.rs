//! The buckets of a histogram with their bounds.

use super::{Counted, FloatHistogram};

/// A bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Does it hold observations of exactly `lower`?
    pub lower_inclusive: bool,
    /// Does it hold observations of exactly `upper`?
    pub upper_inclusive: bool,
    /// How many observations it holds.
    pub count: f64,
}

impl Bucket {
    /// Which part of it lies up to `v`, which is within its finite bounds.
    ///
    /// - `linear`: as custom buckets and the zero bucket are filled; else as exponential ones are.
    pub(super) fn fraction_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, v_log] = [self.lower, self.upper, v].map(|bound| bound.abs().log2());
        if v > 0.0 {
            (v_log - lower) / (upper - lower)
        } else {
            1.0 - (v_log - upper) / (lower - upper)
        }
    }
}

impl<N> Counted<N> {
    /// A bucket with `count` observations where the bucket at `index` is.
    pub(super) fn bucket(&self, negative: bool, index: i32, count: f64) -> Bucket {
        let (lower, upper) = self.bounds_of(index);
        let (lower, upper) = if negative { (-upper, -lower) } else { (lower, upper) };
        let custom = self.schema == crate::model::histogram::schema::CUSTOM_BUCKETS;
        Bucket {
            lower,
            upper,
            lower_inclusive: if custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count,
        }
    }
}

impl FloatHistogram {
    /// All buckets from the lowest to the highest, the zero bucket if it has observations, and others even if they have
    /// none. One that overlaps with the zero bucket begins or ends where that ends. Source: `AllBucketIterator`.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let outside_zero = |mut bucket: Bucket| {
            if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
                bucket.upper = -self.zero_threshold;
            } else if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
                bucket.lower = self.zero_threshold;
            }
            bucket
        };
        let negative = self.negative.iter().rev().map(|(i, n)| self.bucket(true, *i, *n));
        let positive = self.positive.iter().map(|(i, n)| self.bucket(false, *i, *n));
        let zero =
            (self.zero_count > 0.0 && !self.has_custom_buckets()).then(|| self.zero_bucket());
        negative.map(outside_zero).chain(zero).chain(positive.map(outside_zero))
    }

    /// The zero bucket; not there if the histogram has custom ones.
    pub(super) fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }
}
