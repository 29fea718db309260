//! Sums that carry what rounding took away: Kahan's, with Neumaier's improvement, as Prometheus sums.
//!
//! Source: `util/kahansum` of Prometheus. Nothing here may be contracted to fused multiply-adds; Rust never does so.

/// A sum and the part of it that did not fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kahan {
    /// The rounded sum.
    pub sum: f64,
    /// What rounding has lost so far.
    pub lost: f64,
}

/// The rounded sum of two numbers and what rounding lost, exactly (Knuth's TwoSum), if it is finite.
#[inline(always)]
pub(super) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

impl Kahan {
    /// Nothing added yet.
    pub(super) const ZERO: Self = Self { sum: 0.0, lost: 0.0 };

    /// The sum of one number.
    pub(super) fn of(v: f64) -> Self {
        Self { sum: v, lost: 0.0 }
    }

    /// The sum with `v` added. An infinite sum has lost nothing.
    #[inline(always)]
    #[must_use]
    pub(super) fn plus(self, v: f64) -> Self {
        let sum = self.sum + v;
        let lost = if sum.is_infinite() {
            0.0
        } else if self.sum.abs() >= v.abs() {
            self.lost + ((self.sum - sum) + v)
        } else {
            self.lost + ((v - sum) + self.sum)
        };
        Self { sum, lost }
    }

    /// The sum with another one added.
    #[must_use]
    pub(super) fn plus_sum(self, other: Self) -> Self {
        let both = self.plus(other.sum);
        if both.sum.is_infinite() { both } else { Self { lost: both.lost + other.lost, ..both } }
    }

    /// Sum and lost part, each times `factor`.
    #[must_use]
    pub(super) fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, lost: self.lost * factor }
    }

    /// Sum and lost part, each divided by `divisor`.
    #[must_use]
    pub(super) fn divided(self, divisor: f64) -> Self {
        Self { sum: self.sum / divisor, lost: self.lost / divisor }
    }

    /// The sum as one number.
    #[must_use]
    pub(super) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// A mean that sums as long as the sum is finite, and goes from mean to mean from then on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mean {
    /// Sum or mean.
    value: Kahan,
    /// How many numbers.
    count: f64,
    /// A mean already?
    incremental: bool,
}

impl Mean {
    /// The mean of nothing.
    pub(super) const EMPTY: Self = Self { value: Kahan::ZERO, count: 0.0, incremental: false };

    /// The mean of `count` numbers of a known, finite sum.
    pub(super) fn of_sum(value: Kahan, count: f64) -> Self {
        Self { value, count, incremental: false }
    }

    /// Nothing in it?
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// Takes `v` in.
    #[inline(always)]
    pub(super) fn add(&mut self, v: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.value = Kahan::of(v);
            return;
        }
        if !self.incremental {
            let sum = self.value.plus(v);
            if !sum.sum.is_infinite() {
                self.value = sum;
                return;
            }
            self.incremental = true;
            self.value = self.value.divided(self.count - 1.0);
        }
        self.value = self.value.scaled((self.count - 1.0) / self.count).plus(v / self.count);
    }

    /// Takes in what another mean has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.is_empty() {
            *self = *other;
            return;
        }
        if other.is_empty() {
            return;
        }
        let count = self.count + other.count;
        if !self.incremental && !other.incremental {
            let sum = self.value.plus_sum(other.value);
            if !sum.sum.is_infinite() {
                *self = Self::of_sum(sum, count);
                return;
            }
        }
        let (left, right) = (self.mean(), other.mean());
        let value = left.scaled(self.count / count).plus_sum(right.scaled(other.count / count));
        *self = Self { value, count, incremental: true };
    }

    fn mean(&self) -> Kahan {
        if self.incremental { self.value } else { self.value.divided(self.count) }
    }

    /// The mean as one number; NaN of nothing.
    pub(super) fn total(&self) -> f64 {
        self.mean().total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        values.iter().fold(Kahan::ZERO, |sum, v| sum.plus(*v)).total()
    }

    #[test]
    fn small_numbers_survive_large_ones() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
    }

    #[test]
    fn an_infinite_sum_stays_infinite() {
        assert_eq!(sum(&[f64::MAX, f64::MAX, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn a_mean_does_not_overflow_where_its_sum_would() {
        let mut mean = Mean::EMPTY;
        [f64::MAX, f64::MAX, f64::MAX].iter().for_each(|v| mean.add(*v));
        assert!((mean.total() / f64::MAX - 1.0).abs() < 1e-15);
    }

    #[test]
    fn merged_means_are_the_mean_of_everything() {
        let of = |values: &[f64]| {
            let mut mean = Mean::EMPTY;
            values.iter().for_each(|v| mean.add(*v));
            mean
        };
        let mut left = of(&[1.0, 2.0]);
        left.merge(&of(&[3.0, 6.0]));
        assert_eq!(left.total(), 3.0);
        let mut large = of(&[f64::MAX, f64::MAX]);
        large.merge(&of(&[f64::MAX]));
        assert!((large.total() / f64::MAX - 1.0).abs() < 1e-15);
        let mut empty = Mean::EMPTY;
        empty.merge(&of(&[5.0]));
        empty.merge(&Mean::EMPTY);
        assert_eq!(empty.total(), 5.0);
    }
}
