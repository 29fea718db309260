//! What evaluation works on: series as columns over a grid's steps, and the answers they become.
//!
//! A column is dense from its first to its last point, and steps without a point hold [`ABSENT`]: the staleness
//! marker's bits, which no point ever has, because selectors take stale markers out before anything is computed and
//! arithmetic makes no such NaN. `present` keeps it so where a sign flip could. Native histograms stand beside the floats
//! as a column of their own, which names its steps: few series have any, and most of those have nothing else.

use std::sync::Arc;

use super::annotation::Annotations;
use super::error::QueryError;
use super::float_histogram::FloatHistogram;
use super::grid::Grid;
use super::pace::{Pace, Pacer};
use super::point_map::PointMap;
use super::series_set::MOVE_POINTS;
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

    /// The values of some of the steps, counted from the first of those.
    fn part(&self, steps: &std::ops::Range<usize>) -> Option<Self> {
        let end = self.first + self.values.len();
        let (from, to) = (steps.start.max(self.first), steps.end.min(end));
        let values = self.values.get(from.checked_sub(self.first)?..to.checked_sub(self.first)?)?;
        Self::from_step(from - steps.start, values)
    }

    /// Adds points at steps that have none, in order of the steps.
    pub(super) fn put(&mut self, points: &[(usize, f64)]) {
        let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else {
            return;
        };
        let mut values = vec![ABSENT; last - first + 1];
        for (step, v) in points {
            if let Some(slot) = values.get_mut(step - first) {
                *slot = *v;
            }
        }
        let more = Self { first: *first, values };
        if self.is_empty() {
            *self = more;
        } else {
            self.merge(&more);
        }
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

/// One series' native histograms over the steps of a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramColumn {
    /// Steps and values, in order of the steps, each step once.
    points: Vec<HistogramPoint>,
}

/// A step and the histogram there; shared, because steps that see the same sample have the same histogram.
pub type HistogramPoint = (usize, Arc<FloatHistogram>);

impl HistogramColumn {
    /// The column of `points`, which are in order of their steps, each step once.
    #[must_use]
    pub fn of(points: Vec<HistogramPoint>) -> Self {
        debug_assert!(points.is_sorted_by(|a, b| a.0 < b.0), "each step once, in order");
        Self { points }
    }

    /// The histogram at `step`.
    #[must_use]
    pub fn at(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        let at = self.points.binary_search_by_key(&step, |point| point.0).ok()?;
        self.points.get(at).map(|point| &point.1)
    }

    /// All points.
    #[must_use]
    pub fn points(&self) -> &[HistogramPoint] {
        &self.points
    }

    /// No points?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// How many samples these are as a query's limit counts them: a histogram is as many as it is large.
    #[must_use]
    pub fn held(&self) -> usize {
        self.points.iter().map(|(_, h)| h.points()).sum()
    }

    /// Keeps the points whose steps `wanted` wants.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(usize) -> bool) {
        self.points.retain(|(step, _)| wanted(*step));
    }

    /// Changes each point to what `map` makes of it; gives the numbers that some of them become instead.
    pub(super) fn change(
        &mut self,
        map: &PointMap,
        annotations: &mut Annotations,
    ) -> Vec<(usize, f64)> {
        map.apply_to_histograms(&mut self.points, annotations)
    }

    /// Adds the points of `other`; says whether no step had a point in both.
    fn merge(&mut self, other: Self) -> bool {
        self.points.extend(other.points);
        self.points.sort_by_key(|point| point.0); // stable, and quick for sorted runs
        let before = self.points.len();
        self.points.dedup_by_key(|point| point.0);
        before == self.points.len()
    }
}

/// What a series has at a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// A series during evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, so far.
    pub labels: Labels,
    /// Does its metric name go when the answer is made? Only ever set under delayed name removal.
    pub drop_name: bool,
    /// Its numbers.
    pub column: Column,
    /// Its histograms, at steps that have no number.
    pub histograms: HistogramColumn,
}

impl Series {
    /// A series of numbers.
    #[must_use]
    pub fn of_floats(labels: Labels, drop_name: bool, column: Column) -> Self {
        Self { labels, drop_name, column, histograms: HistogramColumn::default() }
    }

    /// The bytes that it takes, about.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let points = self.column.len() + self.histograms.held() * 2;
        size_of::<Self>() + self.labels.as_bytes().len() + points * size_of::<f64>()
    }

    /// No points at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.column.is_empty() && self.histograms.is_empty()
    }

    /// Is there a point at `step`?
    #[must_use]
    pub fn has(&self, step: usize) -> bool {
        !is_absent(self.column.at(step)) || self.histograms.at(step).is_some()
    }

    /// The point at `step`.
    #[must_use]
    pub fn at(&self, step: usize) -> Option<Point> {
        let v = self.column.at(step);
        if !is_absent(v) {
            return Some(Point::Float(v));
        }
        self.histograms.at(step).map(|h| Point::Histogram(Arc::clone(h)))
    }

    /// The steps that have a point: first those of the numbers.
    pub fn steps(&self) -> impl Iterator<Item = usize> {
        let of_histograms = self.histograms.points().iter().map(|(step, _)| *step);
        self.column.points().map(|(step, _)| step).chain(of_histograms)
    }

    /// How many points there are to go through, absent ones among the numbers included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.column.len() + self.histograms.points().len()
    }

    /// The points of some of the steps, counted from the first of those.
    pub(super) fn part(&self, steps: std::ops::Range<usize>) -> Self {
        let points = self.histograms.points().iter().filter(|(step, _)| steps.contains(step));
        let points = points.map(|(step, h)| (step - steps.start, Arc::clone(h)));
        Self {
            labels: self.labels.clone(),
            drop_name: self.drop_name,
            column: self.column.part(&steps).unwrap_or_default(),
            histograms: HistogramColumn::of(points.collect()),
        }
    }

    /// The same points so many steps later.
    pub(super) fn shifted(mut self, steps: usize) -> Self {
        self.column.first += steps;
        self.histograms.points.iter_mut().for_each(|(step, _)| *step += steps);
        self
    }

    /// Keeps the points whose steps `wanted` wants; it is asked once for each.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(usize) -> bool) {
        self.column.map(|step, v| if wanted(step) { v } else { ABSENT });
        self.histograms.retain(wanted);
    }

    /// Takes the points of `other` in; says whether no step had a point in both.
    pub(super) fn merge(&mut self, other: Self) -> bool {
        let mut disjoint = true;
        if !other.column.is_empty() {
            if self.column.is_empty() {
                self.column = other.column;
            } else {
                disjoint &= self.column.merge(&other.column);
            }
        }
        if self.histograms.is_empty() && other.histograms.is_empty() {
            return disjoint;
        }
        disjoint &= self.histograms.merge(other.histograms);
        disjoint
            && self.histograms.points().iter().all(|(step, _)| is_absent(self.column.at(*step)))
    }
}

/// A native histogram at its own instant, in milliseconds.
pub type HistogramAt = (i64, Arc<FloatHistogram>);

/// A series' raw samples, as a range selector without a function answers them.
#[derive(Clone, Debug, PartialEq)]
pub struct RawSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its numbers, stale markers left out, in order of time.
    pub samples: Vec<Sample>,
    /// Its histograms, likewise.
    pub histograms: Vec<HistogramAt>,
}

impl RawSeries {
    /// Its labels.
    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// How many samples these are as a query's limit counts them: a histogram is as many as it is large.
    pub(super) fn held(&self) -> usize {
        self.samples.len() + self.histograms.iter().map(|(_, h)| h.points()).sum::<usize>()
    }
}

impl AnswerValue {
    /// The bytes that it takes, about.
    pub(super) async fn held_bytes<P: Pace>(
        &self,
        pacer: Pacer<'_, P>,
    ) -> Result<usize, QueryError> {
        let mut held = 0;
        match self {
            Self::Scalar { .. } => {}
            Self::String { v, .. } => held += v.len(),
            Self::Vector { samples, .. } => {
                for (labels, point) in samples {
                    pacer.spend(MOVE_POINTS).await?;
                    held += size_of::<(Labels, Point)>() + labels.as_bytes().len();
                    if let Point::Histogram(h) = point {
                        held += h.points() * 2 * size_of::<f64>();
                    }
                }
            }
            Self::Matrix { series, .. } => {
                for one in series {
                    pacer.spend(MOVE_POINTS).await?;
                    held += one.held_bytes();
                }
            }
            Self::Ranges(series) => {
                for one in series {
                    pacer.spend(MOVE_POINTS).await?;
                    held += size_of::<RawSeries>() + one.labels.as_bytes().len();
                    held += one.held() * 2 * size_of::<f64>();
                }
            }
        }
        Ok(held)
    }
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
        samples: Vec<(Labels, Point)>,
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
