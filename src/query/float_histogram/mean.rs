//! Means of histograms.

use super::{Amount, Combined, Counted, FloatHistogram, HistogramSum, Incompatible};

/// A mean that sums as long as all of the sum is finite, and goes from mean to mean from then on. Source: `avg` in
/// `promql/engine.go`.
#[derive(Clone, Debug)]
pub struct HistogramMean {
    /// Sum or mean.
    value: HistogramSum,
    /// How many histograms.
    count: f64,
    /// A mean already?
    incremental: bool,
}

impl HistogramMean {
    /// The mean of one.
    #[must_use]
    pub fn new(first: FloatHistogram) -> Self {
        Self { value: HistogramSum::new(first), count: 1.0, incremental: false }
    }

    /// Takes one more in.
    ///
    /// # Errors
    /// They cannot be combined, and nothing has changed.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, Incompatible> {
        let count = self.count + 1.0;
        if !self.incremental {
            let attempt = self.try_sum(other, |sum| sum.add(other))?;
            if let Some(combined) = attempt {
                self.count = count;
                return Ok(combined);
            }
        }
        self.value.counted().check(other)?;
        self.make_incremental();
        self.value.scale(self.count / count);
        let mut part = other.clone();
        part.divide(count);
        self.count = count;
        self.value.add(&part)
    }

    /// Takes in what another mean has seen.
    ///
    /// # Errors
    /// They cannot be combined, and nothing has changed.
    pub fn merge(&mut self, other: &Self) -> Result<Combined, Incompatible> {
        let count = self.count + other.count;
        if !self.incremental && !other.incremental {
            let attempt = self.try_sum(other.value.counted(), |sum| sum.merge(&other.value))?;
            if let Some(combined) = attempt {
                self.count = count;
                return Ok(combined);
            }
        }
        self.value.counted().check(other.value.counted())?;
        let mut part = other.clone();
        for mean in [&mut *self, &mut part] {
            mean.make_incremental();
            mean.value.scale(mean.count / count);
        }
        self.count = count;
        self.value.merge(&part.value)
    }

    /// The mean as one histogram.
    #[must_use]
    pub fn total(&self) -> FloatHistogram {
        let mut mean = self.value.clone();
        if !self.incremental {
            mean.divide(self.count);
        }
        mean.total()
    }

    /// How many histograms it is the mean of.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.count
    }

    fn make_incremental(&mut self) {
        if !self.incremental {
            self.value.divide(self.count);
            self.incremental = true;
        }
    }

    /// Adds to the sum, unless it would overflow.
    fn try_sum<N: Amount>(
        &mut self,
        other: &Counted<N>,
        add: impl FnOnce(&mut HistogramSum) -> Result<Combined, Incompatible>,
    ) -> Result<Option<Combined>, Incompatible> {
        // However buckets are put together, no number is larger than that of all of them: mostly, no copy is needed.
        if self.value.counted().magnitude() + other.magnitude() < f64::MAX / 4.0 {
            return add(&mut self.value).map(Some);
        }
        let mut sum = self.value.clone();
        let combined = add(&mut sum)?;
        if sum.counted().has_infinity() {
            return Ok(None);
        }
        self.value = sum;
        Ok(Some(combined))
    }
}

impl<N: Amount> Counted<N> {
    fn numbers(&self) -> impl Iterator<Item = f64> {
        let sides = self.positive.iter().chain(&self.negative).map(|(_, n)| *n);
        [self.zero_count, self.count, self.sum].into_iter().chain(sides).map(N::rounded)
    }

    /// The sum of all its numbers without their signs.
    fn magnitude(&self) -> f64 {
        self.numbers().map(f64::abs).sum()
    }

    /// Is any of its numbers infinite? Source: `HasOverflow`.
    fn has_infinity(&self) -> bool {
        self.numbers().any(f64::is_infinite)
    }
}
