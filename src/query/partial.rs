//! Aggregations that can be begun anywhere and finished elsewhere: one cell for each group and step, merged cell by cell.
//!
//! Shards fold their own series into cells and send those; the coordinator merges them in order of the shards, so that
//! the same query gives the same bits. It folds series of its own the same way.

use std::fmt::Debug;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::ast::AggregateOp;
use super::error::QueryError;
use super::grouping::Grouping;
use super::kahan::{Kahan, Mean};
use super::pace::{LABELS_POINTS, Meter, Pace};
use super::step_run::StepRun;
use super::value::{ABSENT, Column, Series, is_absent};
use crate::model::{Labels, LabelsRef};

/// What one aggregation knows of one group at one step.
trait Cell: Copy + Debug {
    /// Of no series.
    const EMPTY: Self;

    /// Takes one series' value in.
    fn add(&mut self, v: f64);

    /// Takes in what another cell of the same group and step knows.
    fn merge(&mut self, other: &Self);

    /// The aggregate, or [`ABSENT`] of no series.
    fn value(&self) -> f64;
}

#[derive(Clone, Copy, Debug)]
struct Sum(Kahan);

impl Cell for Sum {
    const EMPTY: Self = Self(Kahan { sum: ABSENT, lost: 0.0 });

    #[inline(always)]
    fn add(&mut self, v: f64) {
        self.0 = if is_absent(self.0.sum) { Kahan::of(v) } else { self.0.plus(v) };
    }

    fn merge(&mut self, other: &Self) {
        if is_absent(self.0.sum) {
            *self = *other;
        } else if !is_absent(other.0.sum) {
            self.0 = self.0.plus_sum(other.0);
        }
    }

    fn value(&self) -> f64 {
        if is_absent(self.0.sum) { ABSENT } else { self.0.total() }
    }
}

impl Cell for Mean {
    const EMPTY: Self = Self::EMPTY;

    #[inline(always)]
    fn add(&mut self, v: f64) {
        Self::add(self, v);
    }

    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }

    fn value(&self) -> f64 {
        if self.is_empty() { ABSENT } else { self.total() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Count(f64);

impl Cell for Count {
    const EMPTY: Self = Self(0.0);

    #[inline(always)]
    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn merge(&mut self, other: &Self) {
        self.0 += other.0;
    }

    fn value(&self) -> f64 {
        if self.0 == 0.0 { ABSENT } else { self.0 }
    }
}

/// The smallest value, or the largest; NaN only if nothing else is there. [`ABSENT`] is a NaN, so anything replaces it.
#[derive(Clone, Copy, Debug)]
struct Extreme<const LARGEST: bool>(f64);

impl<const LARGEST: bool> Cell for Extreme<LARGEST> {
    const EMPTY: Self = Self(ABSENT);

    #[inline(always)]
    fn add(&mut self, v: f64) {
        let beats = if LARGEST { self.0 < v } else { self.0 > v };
        if beats || self.0.is_nan() {
            self.0 = v;
        }
    }

    fn merge(&mut self, other: &Self) {
        if !is_absent(other.0) {
            self.add(other.0);
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
struct Present(bool);

impl Cell for Present {
    const EMPTY: Self = Self(false);

    #[inline(always)]
    fn add(&mut self, _: f64) {
        self.0 = true;
    }

    fn merge(&mut self, other: &Self) {
        self.0 |= other.0;
    }

    fn value(&self) -> f64 {
        if self.0 { 1.0 } else { ABSENT }
    }
}

/// Count, mean, and sum of the squared distances from the mean (Welford; Chan et al. for merging). With `ROOT`, the
/// standard deviation, else the variance; both of the population.
#[derive(Clone, Copy, Debug)]
struct Moments<const ROOT: bool> {
    count: f64,
    mean: f64,
    squares: f64,
}

impl<const ROOT: bool> Cell for Moments<ROOT> {
    const EMPTY: Self = Self { count: 0.0, mean: 0.0, squares: 0.0 };

    #[inline(always)]
    fn add(&mut self, v: f64) {
        if self.count == 0.0 {
            *self =
                Self { count: 1.0, mean: v, squares: if v.is_finite() { 0.0 } else { f64::NAN } };
            return;
        }
        self.count += 1.0;
        let delta = v - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (v - self.mean);
    }

    fn merge(&mut self, other: &Self) {
        if self.count == 0.0 {
            *self = *other;
        } else if other.count != 0.0 {
            let count = self.count + other.count;
            let delta = other.mean - self.mean;
            let mean = self.mean + delta * (other.count / count);
            let between = delta * delta * (self.count * other.count / count);
            *self = Self { count, mean, squares: self.squares + other.squares + between };
        }
    }

    fn value(&self) -> f64 {
        if self.count == 0.0 {
            return ABSENT;
        }
        let variance = self.squares / self.count;
        if ROOT { variance.sqrt() } else { variance }
    }
}

/// The groups of one aggregation, each with its cells from the first step that has any to the last.
#[derive(Debug)]
struct Groups<C> {
    /// Where each group is, by its key.
    by_key: HashMap<Box<[u8]>, usize, RandomState>,
    groups: Vec<Group<C>>,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Group<C> {
    labels: Labels,
    drop_name: bool,
    run: StepRun<C>,
}

impl<C: Cell> Groups<C> {
    fn new() -> Self {
        Self { by_key: HashMap::default(), groups: Vec::new(), key: Vec::new() }
    }

    /// The group of a series, made if there is none yet.
    fn group(&mut self, grouping: &Grouping, labels: LabelsRef<'_>) -> Option<&mut Group<C>> {
        grouping.write_key(labels, &mut self.key);
        let at = match self.by_key.get(self.key.as_slice()) {
            Some(at) => *at,
            None => {
                let labels = grouping.group_labels(labels);
                self.groups.push(Group { labels, drop_name: false, run: StepRun::new() });
                self.by_key.insert(self.key.as_slice().into(), self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        self.groups.get_mut(at)
    }

    fn add(
        &mut self,
        grouping: &Grouping,
        labels: LabelsRef<'_>,
        drop_name: bool,
        (first, values): (usize, &[f64]),
    ) -> usize {
        let Some(group) = self.group(grouping, labels) else {
            return 0;
        };
        group.drop_name |= drop_name;
        let before = group.run.cells().len();
        let cells = group.run.grown_to(first, first + values.len(), &C::EMPTY);
        for (cell, v) in cells.iter_mut().zip(values) {
            if !is_absent(*v) {
                cell.add(*v);
            }
        }
        group.run.cells().len() - before
    }

    async fn merge<P: Pace>(
        &mut self,
        other: Self,
        meter: &Meter<'_, P>,
    ) -> Result<(), QueryError> {
        let mut theirs: Vec<Option<Group<C>>> = other.groups.into_iter().map(Some).collect();
        for (key, at) in other.by_key {
            let Some(group) = theirs.get_mut(at).and_then(Option::take) else {
                continue;
            };
            meter.spend(LABELS_POINTS + group.run.cells().len()).await?;
            match self.by_key.get(&key).and_then(|at| self.groups.get_mut(*at)) {
                Some(mine) => {
                    mine.drop_name |= group.drop_name;
                    let (first, theirs) = (group.run.first(), group.run.cells());
                    let cells = mine.run.grown_to(first, first + theirs.len(), &C::EMPTY);
                    for (cell, their) in cells.iter_mut().zip(theirs) {
                        cell.merge(their);
                    }
                }
                None => {
                    self.by_key.insert(key, self.groups.len());
                    self.groups.push(group);
                }
            }
        }
        Ok(())
    }

    async fn into_series<P: Pace>(self, meter: &Meter<'_, P>) -> Result<Vec<Series>, QueryError> {
        let (mut series, mut values) = (Vec::with_capacity(self.groups.len()), Vec::new());
        for group in self.groups {
            meter.spend(LABELS_POINTS + group.run.cells().len()).await?;
            values.clear();
            values.extend(group.run.cells().iter().map(Cell::value));
            if let Some(column) = Column::from_step(group.run.first(), &values) {
                series.push(Series { labels: group.labels, drop_name: group.drop_name, column });
            }
        }
        Ok(series)
    }
}

/// One aggregation's cells.
#[derive(Debug)]
enum Cells {
    Sum(Groups<Sum>),
    Avg(Groups<Mean>),
    Count(Groups<Count>),
    Min(Groups<Extreme<false>>),
    Max(Groups<Extreme<true>>),
    Group(Groups<Present>),
    Stddev(Groups<Moments<true>>),
    Stdvar(Groups<Moments<false>>),
}

/// Runs `$body` with `$groups` bound to whichever cells they are.
macro_rules! with_groups {
    ($cells:expr, $groups:ident => $body:expr) => {
        match $cells {
            Cells::Sum($groups) => $body,
            Cells::Avg($groups) => $body,
            Cells::Count($groups) => $body,
            Cells::Min($groups) => $body,
            Cells::Max($groups) => $body,
            Cells::Group($groups) => $body,
            Cells::Stddev($groups) => $body,
            Cells::Stdvar($groups) => $body,
        }
    };
}

/// An aggregation in progress.
#[derive(Debug)]
pub(super) struct Partial(Cells);

impl Partial {
    /// An aggregation over no series yet; `None` if `op` cannot be merged from parts.
    pub(super) fn new(op: AggregateOp) -> Option<Self> {
        Some(Self(match op {
            AggregateOp::Sum => Cells::Sum(Groups::new()),
            AggregateOp::Avg => Cells::Avg(Groups::new()),
            AggregateOp::Count => Cells::Count(Groups::new()),
            AggregateOp::Min => Cells::Min(Groups::new()),
            AggregateOp::Max => Cells::Max(Groups::new()),
            AggregateOp::Group => Cells::Group(Groups::new()),
            AggregateOp::Stddev => Cells::Stddev(Groups::new()),
            AggregateOp::Stdvar => Cells::Stdvar(Groups::new()),
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::CountValues
            | AggregateOp::Quantile
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => return None,
        }))
    }

    /// Takes a series in: its first step with a value and the values from there on. Returns how many cells that made.
    pub(super) fn add(
        &mut self,
        grouping: &Grouping,
        labels: LabelsRef<'_>,
        drop_name: bool,
        run: (usize, &[f64]),
    ) -> usize {
        with_groups!(&mut self.0, groups => groups.add(grouping, labels, drop_name, run))
    }

    /// Takes in what another shard has aggregated.
    ///
    /// # Errors
    /// Another aggregation than this one, or an evaluation that should stop.
    pub(super) async fn merge<P: Pace>(
        &mut self,
        other: Self,
        meter: &Meter<'_, P>,
    ) -> Result<(), QueryError> {
        match (&mut self.0, other.0) {
            (Cells::Sum(mine), Cells::Sum(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Avg(mine), Cells::Avg(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Count(mine), Cells::Count(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Min(mine), Cells::Min(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Max(mine), Cells::Max(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Group(mine), Cells::Group(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Stddev(mine), Cells::Stddev(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Stdvar(mine), Cells::Stdvar(theirs)) => mine.merge(theirs, meter).await,
            _ => Err(QueryError::Internal("parts of two different aggregations".to_owned())),
        }
    }

    /// The groups that have a value at some step, in the order in which they came up.
    ///
    /// # Errors
    /// An evaluation that should stop.
    pub(super) async fn into_series<P: Pace>(
        self,
        meter: &Meter<'_, P>,
    ) -> Result<Vec<Series>, QueryError> {
        with_groups!(self.0, groups => groups.into_series(meter).await)
    }
}
