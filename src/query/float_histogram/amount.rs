//! What a histogram counts in: plain numbers, or sums that carry what rounding took away.

use crate::query::kahan::Kahan;

/// A number of observations, or a sum of them.
pub trait Amount: Copy + std::fmt::Debug + sealed::Sealed {
    /// None.
    const NOTHING: Self;

    /// Both.
    #[must_use]
    fn plus(self, other: Self) -> Self;

    /// Times `factor`.
    #[must_use]
    fn scaled(self, factor: f64) -> Self;

    /// Divided by `divisor`.
    #[must_use]
    fn divided(self, divisor: f64) -> Self;

    /// The number without what rounding took away.
    fn rounded(self) -> f64;

    /// None, and nothing that rounding took away?
    fn is_nothing(self) -> bool;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f64 {}
    impl Sealed for crate::query::kahan::Kahan {}
}

impl Amount for f64 {
    const NOTHING: Self = 0.0;

    #[inline]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline]
    fn scaled(self, factor: f64) -> Self {
        self * factor
    }

    #[inline]
    fn divided(self, divisor: f64) -> Self {
        self / divisor
    }

    #[inline]
    fn rounded(self) -> f64 {
        self
    }

    #[inline]
    fn is_nothing(self) -> bool {
        self == 0.0
    }
}

impl Amount for Kahan {
    const NOTHING: Self = Self::ZERO;

    /// What the other sum has lost is added to the sum as well, as upstream does with histograms.
    #[inline]
    fn plus(self, other: Self) -> Self {
        let both = Self::plus(self, other.sum);
        if other.lost == 0.0 { both } else { Self::plus(both, other.lost) }
    }

    #[inline]
    fn scaled(self, factor: f64) -> Self {
        Self::scaled(self, factor)
    }

    #[inline]
    fn divided(self, divisor: f64) -> Self {
        Self::divided(self, divisor)
    }

    #[inline]
    fn rounded(self) -> f64 {
        self.sum
    }

    #[inline]
    fn is_nothing(self) -> bool {
        self.sum == 0.0 && self.lost == 0.0
    }
}
