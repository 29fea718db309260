//! Sums of histograms.

use super::{Combined, Counted, FloatHistogram, Incompatible};
use crate::query::kahan::Kahan;

/// A running sum of histograms in which every number carries what rounding took away. Source: `KahanAdd`.
#[derive(Clone, Debug)]
pub struct HistogramSum {
    sum: Counted<Kahan>,
}

impl HistogramSum {
    /// The sum of one.
    #[must_use]
    pub fn new(first: FloatHistogram) -> Self {
        Self { sum: first.map(Kahan::of) }
    }

    /// Adds one more.
    ///
    /// # Errors
    /// They cannot be combined, and nothing has changed.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, Incompatible> {
        self.sum.combine(other, Kahan::of)
    }

    /// Adds the sum of others.
    ///
    /// # Errors
    /// They cannot be combined, and nothing has changed.
    pub fn merge(&mut self, other: &Self) -> Result<Combined, Incompatible> {
        self.sum.combine(&other.sum, |n| n)
    }

    /// Times `factor`; see [`Counted::scale`].
    pub fn scale(&mut self, factor: f64) {
        self.sum.scale(factor);
    }

    /// Divided by `divisor`; see [`Counted::divide`].
    pub fn divide(&mut self, divisor: f64) {
        self.sum.divide(divisor);
    }

    /// The sum as one histogram.
    #[must_use]
    pub fn total(&self) -> FloatHistogram {
        self.sum.map(Kahan::total)
    }

    pub(super) fn counted(&self) -> &Counted<Kahan> {
        &self.sum
    }
}
