//! Adding and subtracting.

use super::{Amount, Counted, FloatHistogram, bounds, side};
use crate::model::histogram::ResetHint;

/// What an addition found, besides the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// One follows a reset, the other one does not.
    pub counter_reset_collision: bool,
    /// They had different custom bounds, and now have those that both had.
    pub bounds_reconciled: bool,
}

/// Why two histograms cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// Only one of them brings its own bounds.
    #[error(
        "cannot apply this operation on histograms with a mix of exponential and custom bucket schemas"
    )]
    Schemas,
    /// Different custom bounds, which do not rise: no valid histogram has such.
    #[error("histogram custom bounds must be in strictly increasing order")]
    Bounds,
}

impl FloatHistogram {
    /// Adds `other`, in the coarser schema, the wider zero bucket, or the custom bounds that both have.
    ///
    /// # Errors
    /// They cannot be combined, and nothing has changed. Source: `Add`.
    pub fn add(&mut self, other: &Self) -> Result<Combined, Incompatible> {
        self.combine(other, |n| n)
    }

    /// Subtracts `other`, likewise. That the difference of two counters is a gauge is for the caller to say.
    ///
    /// # Errors
    /// They cannot be combined, and nothing has changed. Source: `Sub`.
    pub fn sub(&mut self, other: &Self) -> Result<Combined, Incompatible> {
        self.combine(other, |n| -n)
    }
}

impl<N: Amount> Counted<N> {
    /// Can `other` be added?
    pub(super) fn check<M: Amount>(&self, other: &Counted<M>) -> Result<(), Incompatible> {
        if self.has_custom_buckets() != other.has_custom_buckets() {
            return Err(Incompatible::Schemas);
        }
        if self.has_custom_buckets()
            && !bounds::same(&self.custom, &other.custom)
            && !(bounds::rise(&self.custom) && bounds::rise(&other.custom))
        {
            return Err(Incompatible::Bounds);
        }
        Ok(())
    }

    /// Adds the numbers that `lift` makes of `other`'s.
    pub(super) fn combine<M: Amount>(
        &mut self,
        other: &Counted<M>,
        lift: impl Fn(M) -> N + Copy,
    ) -> Result<Combined, Incompatible> {
        self.check(other)?;
        let mut combined = Combined {
            counter_reset_collision: self.combine_hint(other.reset_hint),
            bounds_reconciled: false,
        };
        self.count = self.count.plus(lift(other.count));
        self.sum = self.sum.plus(lift(other.sum));
        if self.has_custom_buckets() {
            combined.bounds_reconciled = self.combine_custom(other, lift);
        } else {
            self.combine_exponential(other, lift);
        }
        Ok(combined)
    }

    /// Tells whether bounds differed.
    fn combine_custom<M: Amount>(
        &mut self,
        other: &Counted<M>,
        lift: impl Fn(M) -> N + Copy,
    ) -> bool {
        let theirs = other.positive.iter().map(|(index, n)| (*index, lift(*n)));
        if bounds::same(&self.custom, &other.custom) {
            side::add(&mut self.positive, theirs);
            return false;
        }
        let common = bounds::common(&self.custom, &other.custom);
        let mut sum = Vec::with_capacity(self.positive.len());
        let ours = std::mem::take(&mut self.positive).into_iter();
        let within = bounds::index_within;
        side::add(&mut sum, ours.map(|(i, n)| (within(&common, &self.custom, i), n)));
        side::add(&mut sum, theirs.map(|(i, n)| (within(&common, &other.custom, i), n)));
        sum.retain(|(_, n)| !n.is_nothing());
        self.positive = sum;
        self.custom = common.into();
        true
    }

    fn combine_exponential<M: Amount>(&mut self, other: &Counted<M>, lift: impl Fn(M) -> N + Copy) {
        let zero = self.widen_zero_to(other, lift);
        self.zero_count = self.zero_count.plus(zero);
        self.reduce_to(other.schema);
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let shift = u32::try_from(i64::from(other.schema) - i64::from(schema)).unwrap_or(0);
        let sides = [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)];
        for (ours, theirs) in sides {
            let theirs = theirs.iter().map(|(index, n)| (*index, lift(*n)));
            // What is within the zero bucket has been added there.
            let outside = side::reduced(theirs, shift)
                .skip_while(|(index, _)| bounds::exponential(schema, (*index).into()) <= threshold);
            side::add(ours, outside);
        }
    }

    /// What is known about a reset before both; tells whether they contradict each other. Source: `adjustCounterReset`.
    fn combine_hint(&mut self, other: ResetHint) -> bool {
        let (hint, collision) = match (self.reset_hint, other) {
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
            (one, other) if one == other => (one, false),
            (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
            _ => (ResetHint::Unknown, true),
        };
        self.reset_hint = hint;
        collision
    }
}
