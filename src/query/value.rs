//! What evaluation works on: series as columns over a grid's steps, and the answers they become.
//!
//! A column is dense from its first to its last point, and steps without a point hold [`ABSENT`]: the staleness
//! marker's bits, which no point ever has, because selectors take stale markers out before anything is computed and
//! arithmetic makes no such NaN. `present` keeps it so where a sign flip could. Native histograms, when they come,
//! stand beside the floats as a second column of their own.

use super::grid::Grid;
use crate::model::{Labels, STALE_NAN_BITS, Sample, TimestampMs};

/// Holds the place of a point that is not there.
pub const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Does `v` hold the place of a point that is not there?
#[inline]
#[must_use]
pub fn is_absent(v: f64) -> bool {
    v.to_bits() == STALE_NAN_BITS
}

/// `v` as a point's value: a NaN whose sign flip would be [`ABSENT`] becomes an ordinary one.
#[inline]
#[must_use]
pub(super) fn present(v: f64) -> f64 {
    if v.to_bits() << 1 == STALE_NAN_BITS << 1 { f64::NAN } else { v }
}

/// One series' values over the steps of a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    /// The step of the first value.
    first: usize,
    /// The values from there on; neither the first nor the last one is [`ABSENT`].
    values: Vec<f64>,
}

impl Column {
    /// The column of `values`, one for each step; `None` if no point is there.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        Self::from_step(0, values)
    }

    /// The column of `values`, of which the first is that of step `step`; `None` if no point is there.
    #[must_use]
    pub fn from_step(step: usize, values: &[f64]) -> Option<Self> {
        let first = values.iter().position(|v| !is_absent(*v))?;
        let last = values.iter().rposition(|v| !is_absent(*v))?;
        Some(Self { first: step + first, values: values.get(first..=last)?.to_vec() })
    }

    /// The same value at each of `count` steps; `None` if there are none.
    #[must_use]
    pub fn repeated(v: f64, count: usize) -> Option<Self> {
        (count > 0).then(|| Self { first: 0, values: vec![present(v); count] })
    }

    /// The value at `step`, or [`ABSENT`].
    #[inline]
    #[must_use]
    pub fn at(&self, step: usize) -> f64 {
        step.checked_sub(self.first).and_then(|i| self.values.get(i).copied()).unwrap_or(ABSENT)
    }

    /// The step of the first value and the values from there on, absent ones in between.
    #[must_use]
    pub fn run(&self) -> (usize, &[f64]) {
        (self.first, &self.values)
    }

    /// The points, each with its step.
    pub fn points(&self) -> impl Iterator<Item = (usize, f64)> {
        let steps = self.first..;
        steps.zip(self.values.iter().copied()).filter(|(_, v)| !is_absent(*v))
    }

    /// How many values are held, absent ones in between included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// No values? Only a default column has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Changes each point to what `change` makes of step and value; points that become [`ABSENT`] are gone. Says
    /// whether any point is left.
    pub(super) fn map(&mut self, mut change: impl FnMut(usize, f64) -> f64) -> bool {
        for (step, v) in (self.first..).zip(&mut self.values) {
            if !is_absent(*v) {
                *v = change(step, *v);
            }
        }
        self.trim()
    }

    /// Lets `change` have all values, given the first one's step; says whether any point is left.
    pub(super) fn change(&mut self, change: impl FnOnce(usize, &mut [f64])) -> bool {
        change(self.first, &mut self.values);
        self.trim()
    }

    /// Takes absent values off both ends; says whether any point is left.
    fn trim(&mut self) -> bool {
        let Some(last) = self.values.iter().rposition(|v| !is_absent(*v)) else {
            self.values.clear();
            return false;
        };
        self.values.truncate(last + 1);
        let absent = self.values.iter().take_while(|v| is_absent(**v)).count();
        self.values.drain(..absent);
        self.first += absent;
        true
    }

    /// Adds the points of `other`; says whether no step had a point in both.
    pub(super) fn merge(&mut self, other: &Self) -> bool {
        let first = self.first.min(other.first);
        let end = (self.first + self.values.len()).max(other.first + other.values.len());
        let mut values = vec![ABSENT; end - first];
        let mut disjoint = true;
        for (step, v) in self.points().chain(other.points()) {
            if let Some(slot) = values.get_mut(step - first) {
                disjoint &= is_absent(*slot);
                *slot = v;
            }
        }
        *self = Self { first, values };
        disjoint
    }
}

/// A series during evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, so far.
    pub labels: Labels,
    /// Does its metric name go when the answer is made? Only ever set under delayed name removal.
    pub drop_name: bool,
    /// Its values.
    pub column: Column,
}

/// A series' raw samples, as a range selector without a function answers them.
#[derive(Clone, Debug, PartialEq)]
pub struct RawSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its samples, stale markers left out, in order of time.
    pub samples: Vec<Sample>,
}

/// A query's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerValue {
    /// A number at the query's instant.
    Scalar {
        /// The instant.
        t: TimestampMs,
        /// The number.
        v: f64,
    },
    /// A text at the query's instant. Bytes: escapes such as `\xff` may leave UTF-8.
    String {
        /// The instant.
        t: TimestampMs,
        /// The text.
        v: Vec<u8>,
    },
    /// One sample a series, in the engine's order: `sort` and `topk` decide it.
    Vector {
        /// The instant of all samples.
        t: TimestampMs,
        /// The series and their values.
        samples: Vec<(Labels, f64)>,
    },
    /// Points over the query's grid, sorted by labels.
    Matrix {
        /// When the steps are.
        grid: Grid,
        /// The series.
        series: Vec<Series>,
    },
    /// Raw samples at their own instants, sorted by labels.
    Ranges(Vec<RawSeries>),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_column_holds_no_more_than_its_points_span() {
        let column = Column::of(&[ABSENT, 1.0, ABSENT, 2.0, ABSENT]).unwrap();
        assert_eq!(column.run().0, 1);
        assert_eq!(column.points().collect::<Vec<_>>(), [(1, 1.0), (3, 2.0)]);
        assert!(is_absent(column.at(0)) && is_absent(column.at(2)) && is_absent(column.at(9)));
        assert_eq!(Column::of(&[ABSENT]), None);
    }

    #[test]
    fn merging_tells_of_points_at_the_same_step() {
        let mut left = Column::of(&[1.0, ABSENT, 3.0]).unwrap();
        assert!(left.merge(&Column::of(&[ABSENT, 2.0, ABSENT, 4.0]).unwrap()));
        assert_eq!(left.points().map(|(_, v)| v).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0]);
        assert!(!left.merge(&Column::of(&[ABSENT, 9.0]).unwrap()));
    }

    #[test]
    fn a_mapped_column_loses_what_becomes_absent() {
        let mut column = Column::of(&[1.0, 2.0, 3.0]).unwrap();
        assert!(column.map(|_, v| if v < 3.0 { ABSENT } else { -v }));
        assert_eq!(column, Column::of(&[ABSENT, ABSENT, -3.0]).unwrap());
        assert!(!column.map(|_, _| ABSENT));
    }

    #[test]
    fn no_sign_flip_of_a_point_is_absent() {
        let flipped = -present(f64::from_bits(STALE_NAN_BITS | 1 << 63));
        assert!(!is_absent(flipped) && !is_absent(-flipped));
    }

    proptest! {
        #[test]
        fn a_column_reads_like_the_values_it_was_made_of(values in proptest::collection::vec(prop_oneof![Just(ABSENT), any::<f64>()], 0..20)) {
            let column = Column::of(&values).unwrap_or_default();
            for (step, v) in values.iter().enumerate() {
                prop_assert_eq!(column.at(step).to_bits(), v.to_bits());
            }
        }
    }
}
