//! Operators between two vectors: series are paired by the labels they share, one to one or many to one.
//!
//! Labels are worked out once for each pair of series, values column by column. Upstream goes step by step and fails at
//! the first step that has two candidates where one is allowed; here the first such step is looked for, among the series
//! that could clash at all. Source: `VectorBinop` in `promql/engine.go`.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::annotation::Annotations;
use super::arithmetic::{changes_metric, compute, holds};
use super::ast::{BinaryOp, Cardinality, TextRange, VectorMatching};
use super::element::{Element, element};
use super::engine::Evaluation;
use super::error::QueryError;
use super::grouping::{GroupIndex, Grouping, METRIC_LABELS};
use super::pace::{LABELS_POINTS, Meter, Pace};
use super::pages::Pages;
use super::plan::{BinaryCall, Node};
use super::series_set::{MOVE_POINTS, let_go};
use super::step_run::StepRun;
use super::value::{ABSENT, Column, HistogramColumn, Point, Series, is_absent};
use crate::model::Labels;

/// One operator with its vectors. "Many" is the side that may have several series with one signature, "one" the other;
/// with one-to-one they are the left and the right side.
struct Pairing<'a> {
    call: &'a BinaryCall,
    matching: &'a VectorMatching,
    signature: &'a Grouping,
    many: Vec<Series>,
    one: Vec<Series>,
    /// Each signature's series of the one side.
    ones: Vec<Vec<usize>>,
    /// Each signature's series of the many side.
    manys: Vec<Vec<usize>>,
    /// Are metric names taken off at once?
    drops_names: bool,
}

/// What a series of the many side gave with one of the other side, or with the value that fills in for it.
struct Pair {
    labels: Labels,
    /// Nothing if a comparison let nothing through.
    points: Points,
    place: usize,
    many: usize,
    /// Which series of the one side; `None` for the fill value.
    one: Option<usize>,
}

/// The points of a result.
#[derive(Default)]
struct Points {
    column: Column,
    histograms: HistogramColumn,
}

/// The other side of a series of the many side.
#[derive(Clone, Copy)]
enum Other<'a> {
    Series(&'a Series),
    /// The value that fills in where no series of this place has a point.
    Fill {
        place: usize,
        v: f64,
    },
}

/// An error and the step at which it comes up.
type Clash = Option<(usize, QueryError)>;

/// Evaluates an operator between two vectors; set operators are not among them.
pub(super) async fn evaluate<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &BinaryCall,
    matching: &VectorMatching,
    (lhs, rhs): (Vec<Series>, Vec<Series>),
    node: &Node,
) -> Result<Vec<Series>, QueryError> {
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if (lhs.is_empty() || rhs.is_empty()) && !fills {
        return Ok(Vec::new());
    }
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    let signature = Grouping::of_matching(matching);
    let mut index = GroupIndex::new(&signature);
    let ones = places(evaluation, &one, &mut index).await?;
    let manys = places(evaluation, &many, &mut index).await?;
    let drops_names = changes_metric(call.op) || (call.return_bool && !evaluation.delayed);
    let pairing =
        Pairing { call, matching, signature: &signature, many, one, ones, manys, drops_names };
    let ambiguous = pairing.ambiguity(evaluation, node.grid.count).await?;
    let mut pairs = pairing.pairs(evaluation, node.span).await?;
    let repeated = match matching.cardinality {
        Cardinality::OneToOne => pairing.second_match(evaluation).await?,
        _ => pairing.same_result(evaluation, &pairs).await?,
    };
    // Of two clashes at the same step, upstream sees that of the one side first.
    let first = [ambiguous, repeated].into_iter().flatten().min_by_key(|(step, _)| *step);
    if let Some((_, error)) = first {
        let_go(pairs, evaluation.meter.pacer()).await?;
        pairing.let_go(&evaluation.meter).await?;
        return Err(error);
    }
    if let Some(fill) = matching.fill_left {
        pairing.fill_many(evaluation, fill, &mut pairs, node.span).await?;
    }
    let drop_name = call.return_bool && evaluation.delayed;
    let mut series = Vec::with_capacity(pairs.len());
    for Pair { labels, points: Points { column, histograms }, .. } in pairs {
        evaluation.meter.spend(MOVE_POINTS).await?;
        let one = Series { labels, drop_name, column, histograms };
        series.extend((!one.is_empty()).then_some(one));
    }
    // What was paired has as many parts as the result.
    pairing.let_go(&evaluation.meter).await?;
    Ok(series)
}

/// The series of each signature.
async fn places<P: Pace>(
    evaluation: &Evaluation<'_, P>,
    series: &[Series],
    index: &mut GroupIndex<'_>,
) -> Result<Vec<Vec<usize>>, QueryError> {
    let mut places: Vec<Vec<usize>> = Vec::new();
    for (at, one) in series.iter().enumerate() {
        evaluation.meter.spend(LABELS_POINTS).await?;
        let place = index.place(one.labels.as_ref());
        while place >= places.len() {
            evaluation.meter.spend(1).await?;
            places.push(Vec::new());
        }
        if let Some(place) = places.get_mut(place) {
            place.push(at);
        }
    }
    Ok(places)
}

impl Pairing<'_> {
    /// Drops the series of both sides.
    async fn let_go<P: Pace>(self, meter: &Meter<'_, P>) -> Result<(), QueryError> {
        let_go(self.many.into_iter().chain(self.one), meter.pacer()).await?;
        let_go(self.ones.into_iter().chain(self.manys), meter.pacer()).await
    }

    /// The value of a pair of points; [`ABSENT`] if a comparison lets nothing through.
    #[inline(always)]
    fn value(&self, many: f64, one: f64) -> f64 {
        let swapped = self.matching.cardinality == Cardinality::OneToMany;
        let (a, b) = if swapped { (one, many) } else { (many, one) };
        let op = self.call.op;
        if !op.is_comparison() {
            return compute(op, a, b);
        }
        match (holds(op, a, b), self.call.return_bool) {
            (holds, true) => f64::from(holds),
            (true, false) => a,
            (false, false) => ABSENT,
        }
    }

    /// The labels that a pair's result has.
    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let mut labels = many.to_builder();
        if self.drops_names {
            for name in METRIC_LABELS {
                labels.remove(name);
            }
        }
        let matching = self.matching;
        if matching.cardinality == Cardinality::OneToOne {
            let listed = |name: &str| matching.labels.iter().any(|label| label == name);
            for label in many.iter().filter(|label| listed(label.name) != matching.on) {
                labels.remove(label.name);
            }
        }
        for name in &matching.include {
            labels.set(name.as_str(), one.get(name).unwrap_or_default());
        }
        labels.build()
    }

    fn ones_at(&self, place: usize) -> &[usize] {
        self.ones.get(place).map(Vec::as_slice).unwrap_or_default()
    }

    /// Has any series of the one side with this signature a point at `step`?
    fn one_at(&self, place: usize, step: usize) -> bool {
        let mut ones = self.ones_at(place).iter().filter_map(|at| self.one.get(*at));
        ones.any(|series| series.has(step))
    }

    /// The first step at which two series of the one side have the same signature. At steps where the other side has
    /// nothing at all upstream does not look.
    async fn ambiguity<P: Pace>(
        &self,
        evaluation: &Evaluation<'_, P>,
        steps: usize,
    ) -> Result<Clash, QueryError> {
        // The step, the second and the first series in question; the least of them is what upstream meets first.
        let mut first: Option<(usize, usize, usize)> = None;
        let mut asked: Option<Vec<bool>> = None;
        for ones in &self.ones {
            evaluation.meter.spend(1).await?;
            if ones.len() <= 1 {
                continue;
            }
            let asked = match &mut asked {
                Some(asked) => asked,
                None => asked.insert(self.steps_with_many(evaluation, steps).await?),
            };
            let mut taken: Vec<Option<usize>> = vec![None; steps];
            for at in ones {
                let Some(series) = self.one.get(*at) else {
                    continue;
                };
                evaluation.meter.spend(series.len()).await?;
                for step in series.steps() {
                    let Some(holder) = taken.get_mut(step) else {
                        continue;
                    };
                    match holder {
                        None => *holder = Some(*at),
                        Some(holder) if asked.get(step) == Some(&true) => {
                            let clash = (step, *at, *holder);
                            first = Some(first.map_or(clash, |first| first.min(clash)));
                        }
                        Some(_) => {}
                    }
                }
            }
        }
        Ok(first.and_then(|(step, second, first)| {
            let (first, second) = (self.one.get(first)?, self.one.get(second)?);
            Some((step, self.ambiguous(&first.labels, &second.labels)))
        }))
    }

    /// At which steps does the many side have any point, or need none because values are filled in?
    async fn steps_with_many<P: Pace>(
        &self,
        evaluation: &Evaluation<'_, P>,
        steps: usize,
    ) -> Result<Vec<bool>, QueryError> {
        let fills = self.matching.fill_left.is_some() || self.matching.fill_right.is_some();
        let mut asked = vec![fills; steps];
        for series in &self.many {
            evaluation.meter.spend(series.len()).await?;
            for step in series.steps() {
                if let Some(asked) = asked.get_mut(step) {
                    *asked = true;
                }
            }
        }
        Ok(asked)
    }

    fn ambiguous(&self, first: &Labels, second: &Labels) -> QueryError {
        let swapped = self.matching.cardinality == Cardinality::OneToMany;
        let side = if swapped { "left" } else { "right" };
        let group = self.signature.group_labels(second.as_ref());
        let (first, second) = (first.to_string(), second.to_string());
        let (first, second) = if first <= second { (first, second) } else { (second, first) };
        QueryError::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{first}, \
             {second}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }

    /// What each series of the many side gives, in the order of that side. Notes point to `span`.
    async fn pairs<P: Pace>(
        &self,
        evaluation: &mut Evaluation<'_, P>,
        span: TextRange,
    ) -> Result<Pages<Pair>, QueryError> {
        let mut place_of = vec![0; self.many.len()];
        for (place, manys) in self.manys.iter().enumerate() {
            evaluation.meter.spend(1 + manys.len()).await?;
            for many in manys {
                if let Some(slot) = place_of.get_mut(*many) {
                    *slot = place;
                }
            }
        }
        let (mut pairs, mut values) = (Pages::default(), Vec::new());
        for ((at, many), place) in self.many.iter().enumerate().zip(place_of) {
            for one in self.ones_at(place) {
                let Some(other) = self.one.get(*one) else {
                    continue;
                };
                evaluation.meter.spend(LABELS_POINTS * 4 + many.len() * 2).await?;
                let notes = (&mut evaluation.annotations, span);
                if let Some(points) = self.points(many, Other::Series(other), &mut values, notes) {
                    let labels = self.result_labels(&many.labels, &other.labels);
                    pairs.push(Pair { labels, points, place, many: at, one: Some(*one) });
                }
            }
            if let Some(v) = self.matching.fill_right {
                evaluation.meter.spend(LABELS_POINTS * 4 + many.len() * 2).await?;
                let notes = (&mut evaluation.annotations, span);
                if let Some(points) =
                    self.points(many, Other::Fill { place, v }, &mut values, notes)
                {
                    let group = self.signature.group_labels(many.labels.as_ref());
                    let labels = self.result_labels(&many.labels, &group);
                    pairs.push(Pair { labels, points, place, many: at, one: None });
                }
            }
        }
        Ok(pairs)
    }

    /// What `many` gives with the other side; `None` if the two have no points at the same step. There may be no points even
    /// so: a comparison lets none of them through.
    fn points(
        &self,
        many: &Series,
        other: Other<'_>,
        values: &mut Vec<f64>,
        notes: (&mut Annotations, TextRange),
    ) -> Option<Points> {
        let has_histograms = !many.histograms.is_empty()
            || matches!(other, Other::Series(other) if !other.histograms.is_empty())
            || matches!(self.call.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        if has_histograms {
            return self.elements(
                many.steps(),
                |step| Some((many.at(step)?, self.other_at(other, step)?)),
                notes,
            );
        }
        let (first, run) = many.column.run();
        let mut matched = false;
        values.clear();
        let float_at = |step| match other {
            Other::Series(other) => other.column.at(step),
            Other::Fill { place, v } => {
                if self.one_at(place, step) {
                    ABSENT
                } else {
                    v
                }
            }
        };
        values.extend((first..).zip(run).map(|(step, v)| {
            let other = float_at(step);
            if is_absent(*v) || is_absent(other) {
                return ABSENT;
            }
            matched = true;
            self.value(*v, other)
        }));
        let column = Column::from_step(first, values).unwrap_or_default();
        matched.then_some(Points { column, histograms: HistogramColumn::default() })
    }

    fn other_at(&self, other: Other<'_>, step: usize) -> Option<Point> {
        match other {
            Other::Series(other) => other.at(step),
            Other::Fill { place, v } => (!self.one_at(place, step)).then_some(Point::Float(v)),
        }
    }

    /// What pairs of points of the many and the one side give at these steps, one by one.
    fn elements(
        &self,
        steps: impl Iterator<Item = usize>,
        pair_at: impl Fn(usize) -> Option<(Point, Point)>,
        (annotations, span): (&mut Annotations, TextRange),
    ) -> Option<Points> {
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        let mut matched = false;
        let swapped = self.matching.cardinality == Cardinality::OneToMany;
        for step in steps {
            let Some((many, one)) = pair_at(step) else {
                continue;
            };
            matched = true;
            let (a, b) = if swapped { (one, many) } else { (many, one) };
            let (point, note) = match element(self.call.op, &a, &b) {
                Element::Kept(point, note) => {
                    (Some(if self.call.return_bool { Point::Float(1.0) } else { point }), note)
                }
                Element::Filtered => (self.call.return_bool.then_some(Point::Float(0.0)), None),
                Element::Refused(note) => (None, note),
            };
            if let Some(note) = note {
                annotations.add(note, span);
            }
            match point {
                Some(Point::Float(v)) => floats.push((step, v)),
                Some(Point::Histogram(h)) => histograms.push((step, h)),
                None => {}
            }
        }
        floats.sort_by_key(|(step, _)| *step);
        histograms.sort_by_key(|(step, _)| *step);
        let mut column = Column::default();
        column.put(&floats);
        matched.then(|| Points { column, histograms: HistogramColumn::of(histograms) })
    }

    /// One to one: the first step at which a second series of the left side has a match that another one has taken.
    async fn second_match<P: Pace>(
        &self,
        evaluation: &Evaluation<'_, P>,
    ) -> Result<Clash, QueryError> {
        let mut first: Option<usize> = None;
        for (place, manys) in self.manys.iter().enumerate() {
            evaluation.meter.spend(1).await?;
            if manys.len() <= 1 {
                continue;
            }
            let mut taken: StepRun<bool> = StepRun::new();
            for many in manys.iter().filter_map(|at| self.many.get(*at)) {
                evaluation.meter.spend(many.len() * 2).await?;
                for step in many.steps() {
                    if self.matching.fill_right.is_none() && !self.one_at(place, step) {
                        continue;
                    }
                    for taken in taken.grown_to(step, step + 1, &false) {
                        if *taken {
                            first = Some(first.map_or(step, |first| first.min(step)));
                        }
                        *taken = true;
                    }
                }
            }
        }
        let text = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
        Ok(first.map(|step| (step, QueryError::Execution(text.to_owned()))))
    }

    /// Many to one: the first step at which two series with the same signature give results with the same labels.
    async fn same_result<P: Pace>(
        &self,
        evaluation: &Evaluation<'_, P>,
        pairs: &Pages<Pair>,
    ) -> Result<Clash, QueryError> {
        // With room for all: to grow it would be to move all of it at once.
        let mut by_labels: HashMap<(usize, &Labels), Vec<&Pair>, RandomState> =
            HashMap::with_capacity_and_hasher(pairs.len(), RandomState::default());
        for pair in pairs.iter() {
            evaluation.meter.spend(LABELS_POINTS).await?;
            by_labels.entry((pair.place, &pair.labels)).or_default().push(pair);
        }
        let mut first: Option<usize> = None;
        for pairs in by_labels.values() {
            evaluation.meter.spend(1).await?;
            if pairs.len() <= 1 {
                continue;
            }
            let mut taken: StepRun<bool> = StepRun::new();
            for pair in pairs {
                let Some(many) = self.many.get(pair.many) else {
                    continue;
                };
                evaluation.meter.spend(many.len() * 2).await?;
                for step in many.steps().filter(|step| self.is_matched(pair, *step)) {
                    for taken in taken.grown_to(step, step + 1, &false) {
                        if *taken {
                            first = Some(first.map_or(step, |first| first.min(step)));
                        }
                        *taken = true;
                    }
                }
            }
        }
        let text = "multiple matches for labels: grouping labels must ensure unique matches";
        Ok(first.map(|step| (step, QueryError::Execution(text.to_owned()))))
    }

    /// Has the other side of this pair a point at `step`?
    fn is_matched(&self, pair: &Pair, step: usize) -> bool {
        match pair.one.and_then(|one| self.one.get(one)) {
            Some(one) => one.has(step),
            None => !self.one_at(pair.place, step),
        }
    }

    /// Adds what the one side's series give with `fill` at steps where the many side has none with their signature.
    async fn fill_many<P: Pace>(
        &self,
        evaluation: &mut Evaluation<'_, P>,
        fill: f64,
        pairs: &mut Pages<Pair>,
        span: TextRange,
    ) -> Result<(), QueryError> {
        for (place, ones) in self.ones.iter().enumerate() {
            let manys = self.manys.get(place).map(Vec::as_slice).unwrap_or_default();
            let manys: Vec<&Series> = manys.iter().filter_map(|at| self.many.get(*at)).collect();
            for (at, one) in ones.iter().filter_map(|at| Some((*at, self.one.get(*at)?))) {
                let points = one.len() * (1 + manys.len());
                evaluation.meter.spend(LABELS_POINTS * 4 + points).await?;
                let pair_at = |step| {
                    let free = !manys.iter().any(|many| many.has(step));
                    free.then_some((Point::Float(fill), one.at(step)?))
                };
                let notes = (&mut evaluation.annotations, span);
                if let Some(points) = self.elements(one.steps(), pair_at, notes) {
                    let group = self.signature.group_labels(one.labels.as_ref());
                    let labels = self.result_labels(&group, &one.labels);
                    pairs.push(Pair { labels, points, place, many: usize::MAX, one: Some(at) });
                }
            }
        }
        Ok(())
    }
}
