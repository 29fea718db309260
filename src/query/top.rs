//! `topk`, `bottomk`, and what a shard does of `limitk`: at each step, the k largest or smallest values of each group, or
//! those of the first series by labels, with all their labels.
//!
//! Of equal values those of the series that sort first by labels are taken, and NaN only where nothing else is left, so
//! that what a shard lets go can be no part of the answer, and the answer does not depend on who came first.

use std::cmp::Ordering;

use super::annotation::{Annotations, Note};
use super::ast::{AggregateOp, TextRange};
use super::error::QueryError;
use super::grouping::Grouping;
use super::key_map::KeyMap;
use super::leaf::Param;
use super::pace::{LABELS_POINTS, Pace, Pacer};
use super::series_set::order_by;
use super::step_run::StepRun;
use super::value::{ABSENT, Column, HistogramColumn, Series, is_absent};

/// Candidates are swept when they have become this many times the ones still in the running.
const SWEEP_FACTOR: usize = 2;
/// Fewer candidates are not worth a sweep.
const SWEEP_MIN: usize = 1024;

/// Of more entries of a step, sorting takes long enough to pause in.
const SORTED_AT_ONCE: usize = 1024;

/// Who is better than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The largest values: `topk`.
    Largest,
    /// The smallest values: `bottomk`.
    Smallest,
    /// The first series by labels, whatever they have: `limitk`.
    First,
}

impl Choice {
    /// The choice that an aggregation is; `None` if it is none.
    pub(super) fn of(op: AggregateOp) -> Option<Self> {
        Some(match op {
            AggregateOp::Topk => Self::Largest,
            AggregateOp::Bottomk => Self::Smallest,
            AggregateOp::Limitk => Self::First,
            _ => return None,
        })
    }

    /// How queries spell it.
    fn name(self) -> &'static str {
        match self {
            Self::Largest => AggregateOp::Topk.name(),
            Self::Smallest => AggregateOp::Bottomk.name(),
            Self::First => AggregateOp::Limitk.name(),
        }
    }
}

/// A choice in progress.
#[derive(Debug)]
pub(super) struct Top {
    choice: Choice,
    k: Param,
    grouping: Grouping,
    by_key: KeyMap,
    key: Vec<u8>,
    /// For each group and step, the best so far.
    groups: Vec<StepRun<Ranks>>,
    /// Series that are or were among the best of some step.
    candidates: Vec<Series>,
    /// Entries and steps in all groups.
    ranked: usize,
    /// Points of all candidates.
    points: usize,
    sweep_at: usize,
    /// Where notes point to.
    span: TextRange,
    annotations: Annotations,
}

/// A value and the candidate that has it; [`ABSENT`] if it has a histogram there.
type Entry = (f64, usize);

/// The best so far of a group at a step.
#[derive(Clone, Debug)]
struct Ranks {
    /// Whoever is beaten by this number is not among them; NaN beats nobody. It lies here so that most are beaten without a look at
    /// the entries.
    worst: f64,
    /// A heap with the worst of them on top.
    entries: Vec<Entry>,
}

impl Ranks {
    const NONE: Self = Self { worst: f64::NAN, entries: Vec::new() };
}

/// What is kept of a candidate.
#[derive(Clone, Default)]
struct Kept {
    /// The step of the first number.
    first: usize,
    /// The numbers from there on, absent ones in between.
    values: Vec<f64>,
    /// The steps of the histograms.
    histograms: Vec<usize>,
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histograms.is_empty()
    }

    fn put(&mut self, step: usize, v: f64) {
        if is_absent(v) {
            self.histograms.push(step);
            return;
        }
        if self.values.is_empty() {
            self.first = step;
        }
        self.values.resize(step - self.first, ABSENT);
        self.values.push(v);
    }

    /// What is left of `series`.
    fn of(self, mut series: Series) -> Series {
        let Self { first, values, histograms } = self;
        series.column = Column::from_step(first, &values).unwrap_or_default();
        if histograms.is_empty() {
            series.histograms = HistogramColumn::default();
        } else {
            series.histograms.retain(|step| histograms.binary_search(&step).is_ok());
        }
        series
    }
}

/// Moves the last entry of a heap up to where it belongs: below none that is worse.
fn sift_up(heap: &mut [Entry], order: &impl Fn(&Entry, &Entry) -> Ordering) {
    let mut at = heap.len().saturating_sub(1);
    while at > 0 {
        let parent = (at - 1) / 2;
        match (heap.get(parent), heap.get(at)) {
            (Some(above), Some(entry)) if order(entry, above).is_gt() => heap.swap(parent, at),
            _ => return,
        }
        at = parent;
    }
}

/// Moves the first entry of a heap down to where it belongs.
fn sift_down(heap: &mut [Entry], order: &impl Fn(&Entry, &Entry) -> Ordering) {
    let mut at = 0;
    loop {
        let mut worst = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if let (Some(below), Some(entry)) = (heap.get(child), heap.get(worst))
                && order(below, entry).is_gt()
            {
                worst = child;
            }
        }
        if worst == at {
            return;
        }
        heap.swap(worst, at);
        at = worst;
    }
}

/// How many are asked for at `step`; none for less than one and for NaN.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a count beyond what memory holds is as good as any"
)]
pub(super) fn count_at(k: &Param, step: usize) -> usize {
    let k = k.at(step);
    if k >= 1.0 { k as usize } else { 0 }
}

impl Top {
    /// The `k` best of each group; notes point to `span`.
    pub(super) fn new(choice: Choice, k: Param, grouping: Grouping, span: TextRange) -> Self {
        Self {
            choice,
            k,
            grouping,
            by_key: KeyMap::default(),
            key: Vec::new(),
            groups: Vec::new(),
            candidates: Vec::new(),
            ranked: 0,
            points: 0,
            sweep_at: SWEEP_MIN,
            span,
            annotations: Annotations::default(),
        }
    }

    /// Takes what was odd.
    pub(super) fn take_annotations(&mut self) -> Annotations {
        std::mem::take(&mut self.annotations)
    }

    /// How many points are held.
    pub(super) fn held(&self) -> usize {
        self.ranked + self.points
    }

    /// Enters a series. Histograms are none of the largest or smallest.
    pub(super) fn push(&mut self, mut series: Series) {
        if self.choice != Choice::First && !std::mem::take(&mut series.histograms).is_empty() {
            self.annotations.add(Note::IgnoredInAggregation(self.choice.name()), self.span);
        }
        if series.is_empty() {
            return;
        }
        self.grouping.write_key(series.labels.as_ref(), &mut self.key);
        let at = match self.by_key.get(&self.key) {
            Some(at) => at,
            None => {
                self.groups.push(StepRun::new());
                self.by_key.insert(&self.key, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        let Some(group) = self.groups.get_mut(at) else {
            return;
        };
        let (before, new) = (group.cells().len(), self.candidates.len());
        let (mut entered, mut more) = (false, 0);
        let candidates = &self.candidates;
        let labels = |candidate: usize| match candidates.get(candidate) {
            Some(candidate) => &candidate.labels,
            None => &series.labels, // the one that is being entered
        };
        let choice = self.choice;
        let order = |a: &Entry, b: &Entry| {
            compare(choice, a.0, b.0).then_with(|| labels(a.1).cmp(labels(b.1)))
        };
        let loses = |v: f64, worst: f64| match choice {
            Choice::Largest => v < worst,
            Choice::Smallest => v > worst,
            Choice::First => false,
        };
        let mut enter = |Ranks { worst, entries }: &mut Ranks, k: usize, v: f64| {
            let entry = (v, new);
            if entries.len() < k {
                entries.push(entry);
                sift_up(entries, &order);
                more += 1;
            } else if k > 0
                && let Some(worst) = entries.first_mut()
                && order(&entry, worst).is_lt()
            {
                *worst = entry;
                sift_down(entries, &order);
            } else {
                return;
            }
            entered = true;
            if let Some((v, _)) = entries.first()
                && entries.len() >= k
            {
                *worst = *v; // NaN if it is absent
            }
        };
        let (first, values) = series.column.run();
        if !values.is_empty() {
            let ranks = group.grown_to(first, first + values.len(), &Ranks::NONE);
            for ((step, v), ranks) in (first..).zip(values).zip(ranks) {
                // Most are beaten at nearly every step: that is told by one number.
                if !loses(*v, ranks.worst) && !is_absent(*v) {
                    enter(ranks, count_at(&self.k, step), *v);
                }
            }
        }
        for (step, _) in series.histograms.points() {
            let ranks = group.grown_to(*step, *step + 1, &Ranks::NONE);
            ranks.iter_mut().for_each(|ranks| enter(ranks, count_at(&self.k, *step), ABSENT));
        }
        self.ranked += more + group.cells().len() - before;
        if entered {
            self.points += points_of(&series);
            self.candidates.push(series);
        }
    }

    /// Forgets the candidates that are among the best nowhere any more, if there are many by now.
    pub(super) async fn sweep_if_due<P: Pace>(
        &mut self,
        pacer: Pacer<'_, P>,
    ) -> Result<(), QueryError> {
        if self.candidates.len() < self.sweep_at {
            return Ok(());
        }
        let mut places = vec![None; self.candidates.len()];
        for Ranks { entries, .. } in self.groups.iter().flat_map(StepRun::cells) {
            pacer.spend(1 + entries.len()).await?;
            for (_, candidate) in entries {
                if let Some(place) = places.get_mut(*candidate) {
                    *place = Some(0);
                }
            }
        }
        for (place, index) in places.iter_mut().flatten().zip(0usize..) {
            *place = index;
        }
        for Ranks { entries, .. } in self.groups.iter_mut().flat_map(StepRun::cells_mut) {
            pacer.spend(1 + entries.len()).await?;
            for (_, candidate) in entries {
                if let Some(Some(place)) = places.get(*candidate) {
                    *candidate = *place;
                }
            }
        }
        let mut places = places.into_iter();
        self.candidates.retain(|_| places.next().is_some_and(|place| place.is_some()));
        self.points = self.candidates.iter().map(points_of).sum();
        self.sweep_at = SWEEP_MIN.max(self.candidates.len() * SWEEP_FACTOR);
        Ok(())
    }

    /// Which of two entries is better; labels decide between equals.
    fn order(&self, a: &Entry, b: &Entry) -> Ordering {
        let labels = |entry: &Entry| self.candidates.get(entry.1).map(|series| &series.labels);
        compare(self.choice, a.0, b.0).then_with(|| labels(a).cmp(&labels(b)))
    }

    /// The series that are among the best at some step, with those points only: group by group, and in each group step
    /// by step from the best on.
    ///
    /// # Errors
    /// An evaluation that should stop.
    pub(super) async fn into_series<P: Pace>(
        self,
        pacer: Pacer<'_, P>,
    ) -> Result<Vec<Series>, QueryError> {
        let mut kept = vec![Kept::default(); self.candidates.len()];
        let mut order = Vec::with_capacity(self.candidates.len());
        let mut best: Vec<Entry> = Vec::new();
        for group in &self.groups {
            for (step, Ranks { entries, .. }) in (group.first()..).zip(group.cells()) {
                best.clear();
                best.extend_from_slice(entries);
                pacer.spend(1 + best.len() * 4).await?;
                let compare = |a: usize, b: usize| match (best.get(a), best.get(b)) {
                    (Some(a), Some(b)) => self.order(a, b),
                    _ => Ordering::Equal,
                };
                if best.len() > SORTED_AT_ONCE {
                    let order = order_by(best.len(), LABELS_POINTS / 4, compare, pacer).await?;
                    let order = order.unwrap_or_default().into_iter();
                    let sorted: Vec<Entry> = order.filter_map(|at| best.get(at).copied()).collect();
                    best = if sorted.is_empty() { best } else { sorted };
                } else {
                    best.sort_by(|a, b| self.order(a, b));
                }
                for (v, candidate) in &best {
                    let Some(kept) = kept.get_mut(*candidate) else {
                        continue;
                    };
                    if kept.is_empty() {
                        order.push(*candidate);
                    }
                    kept.put(step, *v);
                }
            }
        }
        let mut candidates: Vec<Option<Series>> = self.candidates.into_iter().map(Some).collect();
        let mut series = Vec::with_capacity(order.len());
        for candidate in order {
            let one = candidates.get_mut(candidate).and_then(Option::take);
            if let Some((one, kept)) = one.zip(kept.get_mut(candidate)) {
                pacer.spend(LABELS_POINTS + one.len()).await?;
                series.push(std::mem::take(kept).of(one));
            }
        }
        Ok(series)
    }
}

/// How many points a candidate is.
fn points_of(series: &Series) -> usize {
    series.column.len() + series.histograms.held()
}

/// Which of two values comes first; NaN last.
fn compare(choice: Choice, a: f64, b: f64) -> Ordering {
    if choice == Choice::First {
        return Ordering::Equal;
    }
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let ascending = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if choice == Choice::Largest { ascending.reverse() } else { ascending }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_lite::future::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Labels;
    use crate::query::float_histogram::FloatHistogram;
    use crate::query::pace::Unpaced;

    fn series(name: &str, values: &[f64]) -> Series {
        let labels = Labels::from_pairs([("s", name)]).unwrap();
        Series::of_floats(labels, false, Column::of(values).unwrap())
    }

    fn top(choice: Choice, k: f64) -> Top {
        Top::new(choice, Param::Same(k), Grouping::one_group(), TextRange::default())
    }

    fn all_of(top: Top) -> Vec<Series> {
        let points = Cell::new(0);
        block_on(top.into_series(Pacer::new(&Unpaced, &points))).unwrap()
    }

    fn names(top: Top) -> Vec<(String, Vec<f64>)> {
        let named = all_of(top).into_iter().map(|series| {
            let name = series.labels.get("s").unwrap().to_owned();
            (name, series.column.points().map(|(_, v)| v).collect())
        });
        named.collect()
    }

    #[test]
    fn each_step_has_its_own_best() {
        let mut top = top(Choice::Largest, 1.0);
        top.push(series("a", &[1.0, 5.0, f64::NAN]));
        top.push(series("b", &[2.0, 4.0, 1.0]));
        assert_eq!(names(top), [("b".to_owned(), vec![2.0, 1.0]), ("a".to_owned(), vec![5.0])]);
    }

    #[test]
    fn of_equals_the_first_by_labels_stays_whoever_came_first() {
        for order in [["a", "b", "c"], ["c", "b", "a"]] {
            let mut top = top(Choice::Smallest, 2.0);
            order.iter().for_each(|name| top.push(series(name, &[1.0])));
            assert_eq!(names(top), [("a".to_owned(), vec![1.0]), ("b".to_owned(), vec![1.0])]);
        }
    }

    #[test]
    fn the_first_by_labels_are_taken_whatever_they_have() {
        let histogram = || std::sync::Arc::new(FloatHistogram::empty(0));
        for order in [[0, 1, 2], [2, 1, 0]] {
            let mut a = series("a", &[ABSENT, 9.0]);
            a.histograms = HistogramColumn::of(vec![(2, histogram())]);
            let mut b = series("b", &[5.0, 5.0]);
            b.histograms = HistogramColumn::of(vec![(2, histogram()), (3, histogram())]);
            let c = series("c", &[1.0, 1.0, 1.0, 1.0, 1.0]);
            let all = [a, b, c];
            let mut top = top(Choice::First, 1.0);
            order.iter().for_each(|index| top.push(all[*index].clone()));
            let mut have = all_of(top);
            have.sort_by(|a, b| a.labels.cmp(&b.labels));
            let steps = have.iter().map(|one| one.steps().collect::<Vec<_>>());
            assert_eq!(steps.collect::<Vec<_>>(), [vec![1, 2], vec![0, 3], vec![4]]);
        }
    }

    proptest! {
        #[test]
        fn the_best_are_the_first_of_all_sorted(
            values in proptest::collection::vec(prop_oneof![(0..5i8).prop_map(f64::from), Just(f64::NAN)], 1..40),
            k in 1usize..8,
            largest in any::<bool>(),
        ) {
            let all: Vec<Series> =
                values.iter().enumerate().map(|(i, v)| series(&format!("{i:02}"), &[*v])).collect();
            let choice = if largest { Choice::Largest } else { Choice::Smallest };
            let mut top = top(choice, k as f64);
            all.iter().rev().for_each(|one| top.push(one.clone()));
            let mut sorted: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
            sorted.sort_by(|a, b| compare(choice, a.1, b.1).then(a.0.cmp(&b.0)));
            let want: Vec<String> = sorted.iter().take(k).map(|(i, _)| format!("{i:02}")).collect();
            let have: Vec<String> = names(top).into_iter().map(|(name, _)| name).collect();
            prop_assert_eq!(have, want);
        }
    }

    #[test]
    fn what_was_overtaken_is_forgotten() {
        let (mut top, points) = (top(Choice::Largest, 1.0), Cell::new(0));
        for i in 0..10_000 {
            top.push(series(&format!("{i:05}"), &[f64::from(i)]));
            block_on(top.sweep_if_due(Pacer::new(&Unpaced, &points))).unwrap();
        }
        assert!(top.held() < 10_000);
        assert_eq!(names(top), [("09999".to_owned(), vec![9999.0])]);
    }
}
