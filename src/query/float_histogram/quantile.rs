//! What can be estimated about observations of which only buckets are known.
//!
//! Within an exponential bucket, observations are taken to be spread as if finer buckets were equally full; within a
//! custom one and the zero bucket, evenly. Source: `promql/quantile.go`, and `histogramVariance` in `functions.go`.

use super::{Bucket, FloatHistogram};
use crate::query::kahan::Kahan;

/// What is to be said about an estimate: observations of NaN are in no bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuantileNotes {
    /// The quantile is among the observations of NaN.
    pub nan_result: bool,
    /// The quantile is higher than it would be without observations of NaN.
    pub nan_skew: bool,
    /// The fraction counts observations of NaN in none of its parts.
    pub nan_left_out: bool,
}

impl FloatHistogram {
    /// The `q`-quantile; NaN without observations or for a NaN `q`, and infinite for a `q` outside of 0 to 1.
    /// Source: `HistogramQuantile`.
    #[must_use]
    pub fn quantile(&self, q: f64) -> (f64, QuantileNotes) {
        let mut notes = QuantileNotes::default();
        if q < 0.0 {
            return (f64::NEG_INFINITY, notes);
        }
        if q > 1.0 {
            return (f64::INFINITY, notes);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, notes);
        }
        // Observations of NaN are above all others, so that only counting from below finds the right bucket.
        let may_have_nan = self.sum.is_nan();
        let upwards = may_have_nan || q < 0.5;
        let part = if upwards { q } else { 1.0 - q };
        let mut rank = part * self.count;
        let mut all = self.buckets();
        let mut next = || if upwards { all.next() } else { all.next_back() };
        let (mut bucket, mut count) = (NO_BUCKET, 0.0);
        while let Some(here) = next() {
            bucket = here;
            count += bucket.count;
            if bucket.count != 0.0 && count >= rank {
                break;
            }
        }
        if self.has_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, notes);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, notes);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.on_one_side(&mut bucket);
        }
        // Rounding may have made more of the buckets than there is.
        if count > self.count {
            count = self.count;
        }
        if count < rank {
            notes.nan_result = may_have_nan;
            return (if may_have_nan { f64::NAN } else { bucket.upper }, notes);
        }
        rank = if upwards { rank - (count - bucket.count) } else { count - rank };
        if may_have_nan {
            // Upstream goes on with the bucket that it looks at last here, not with the one of the rank.
            while let Some(here) = next() {
                bucket = here;
                count += bucket.count;
            }
            notes.nan_skew = count < self.count;
        }
        (self.within(&bucket, rank / bucket.count), notes)
    }

    /// Where `fraction` of a bucket's observations are below.
    fn within(&self, bucket: &Bucket, fraction: f64) -> f64 {
        let Bucket { lower, upper, .. } = *bucket;
        if self.has_custom_buckets() || (lower <= 0.0 && upper >= 0.0) {
            return lower + (upper - lower) * fraction;
        }
        let (lower_log, upper_log) = (lower.abs().log2(), upper.abs().log2());
        if lower > 0.0 {
            (lower_log + (upper_log - lower_log) * fraction).exp2()
        } else {
            -(upper_log + (lower_log - upper_log) * (1.0 - fraction)).exp2()
        }
    }

    /// Lets the zero bucket of a histogram with buckets on one side only begin or end at zero.
    fn on_one_side(&self, zero: &mut Bucket) {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => zero.lower = 0.0,
            (false, true) => zero.upper = 0.0,
            _ => {}
        }
    }

    /// Which part of the observations is between `lower` and `upper`; NaN without observations or if either is NaN.
    /// Source: `HistogramFraction`.
    #[must_use]
    pub fn fraction(&self, lower: f64, upper: f64) -> (f64, QuantileNotes) {
        let mut notes = QuantileNotes::default();
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, notes);
        }
        if lower >= upper {
            return (0.0, notes);
        }
        let mut buckets = self.buckets();
        // How many observations are below each of the two.
        let mut ranks = [None, None];
        let (mut rank, mut count) = (0.0, 0.0);
        for mut bucket in buckets.by_ref() {
            count += bucket.count;
            let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if is_zero {
                self.on_one_side(&mut bucket);
            }
            let linear = self.has_custom_buckets() || is_zero;
            for (found, v) in ranks.iter_mut().zip([lower, upper]) {
                if found.is_some() {
                } else if bucket.lower >= v {
                    *found = Some(rank);
                } else if bucket.lower < v && bucket.upper > v {
                    *found = Some(if linear && bucket.lower == f64::NEG_INFINITY {
                        // Nothing can be said about where they are.
                        bucket.count
                    } else {
                        rank + bucket.count * bucket.fraction_below(v, linear)
                    });
                }
            }
            if ranks.iter().all(Option::is_some) {
                break;
            }
            rank += bucket.count;
        }
        if self.sum.is_nan() {
            count = buckets.fold(count, |count, bucket| count + bucket.count);
            notes.nan_left_out = count < self.count;
        } else {
            count = self.count;
        }
        let [below, up_to] = ranks.map(|rank| match rank {
            Some(rank) if rank > count => count,
            Some(rank) => rank,
            None => count,
        });
        ((up_to - below) / self.count, notes)
    }

    /// The variance of the observations, as `histogram_stdvar` has it.
    #[must_use]
    pub fn stdvar(&self) -> f64 {
        let mean = self.mean();
        let mut variance = Kahan::ZERO;
        for bucket in self.buckets().filter(|bucket| bucket.count != 0.0) {
            let value = if self.has_custom_buckets() {
                f64::midpoint(bucket.upper, bucket.lower)
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                let middle = (bucket.upper * bucket.lower).sqrt();
                if bucket.upper < 0.0 { -middle } else { middle }
            };
            let delta = value - mean;
            variance = variance.plus(bucket.count * delta * delta);
        }
        variance.total() / self.count
    }
}

/// What is looked at if there is no bucket.
const NO_BUCKET: Bucket =
    Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
