//! The zero bucket, and how those of two histograms become equally wide.

use super::{Amount, Counted};

impl<N: Amount> Counted<N> {
    /// Widens the zero bucket until it is as wide as `other`'s can be made, and gives what `other`'s holds then. Neither
    /// ends within a bucket that has observations. Does nothing about thresholds that are no numbers.
    /// Source: `reconcileZeroBuckets`.
    pub(super) fn widen_zero_to<M: Amount>(
        &mut self,
        other: &Counted<M>,
        lift: impl Fn(M) -> N + Copy,
    ) -> N {
        let (mut zero, mut threshold) = (lift(other.zero_count), other.zero_threshold);
        loop {
            if self.zero_threshold > threshold {
                (zero, threshold) = other.zero_up_to(self.zero_threshold, lift);
            }
            // Each round ends at a bucket's bound that is further out, or is the last one.
            if threshold > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = self.zero_up_to(threshold, |n| n);
                self.drop_within_zero();
            } else {
                return zero;
            }
        }
    }

    /// What the zero bucket would hold if it reached up to `threshold`, which is further than it does, and up to where it
    /// would then have to reach so as not to end within a bucket with observations. Source:
    /// `zeroCountForLargerThreshold`.
    pub(super) fn zero_up_to<M: Amount>(
        &self,
        mut threshold: f64,
        lift: impl Fn(N) -> M,
    ) -> (M, f64) {
        'again: loop {
            let mut zero = lift(self.zero_count);
            for (side, is_last) in [(&self.positive, false), (&self.negative, true)] {
                for (index, n) in side {
                    let (lower, upper) = self.bounds_of(*index);
                    if lower >= threshold {
                        break;
                    }
                    zero = zero.plus(lift(*n));
                    if upper > threshold {
                        if !n.is_nothing() {
                            threshold = upper;
                            if is_last {
                                // More of the positive ones may be within it now.
                                continue 'again;
                            }
                        }
                        break;
                    }
                }
            }
            return (zero, threshold);
        }
    }

    /// Drops the buckets whose observations are in the zero bucket already, and the empty ones.
    fn drop_within_zero(&mut self) {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let outside =
            |index: i32| super::bounds::exponential(schema, i64::from(index) - 1) >= threshold;
        for side in [&mut self.positive, &mut self.negative] {
            let within = side.iter().take_while(|(index, _)| !outside(*index)).count();
            side.drain(..within);
        }
        self.compact();
    }
}
