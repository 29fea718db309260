//! What a query looks at, step by step, counted as upstream counts it: for who asks for statistics.
//!
//! ```text
//! looked at    of each step the samples that an instant query at that step would look at
//! read         of each step those of them that no step before has looked at
//! ```
//! A histogram counts as many samples as it is large. What the text says twice is looked at twice, although it is one node of
//! the plan. Source: `util/stats/query_stats.go` and where `promql/engine.go` increments what that holds, Prometheus 3.14.

use super::grid::Grid;
use super::leaf::Shape;
use super::plan::{MapFunction, RangeCall};
use super::plan::{NodeId, NodeKind, VectorFunction};

/// Samples of each step of a grid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// How many each step looks at.
    pub seen: Vec<u64>,
    /// How many of them are new to it.
    pub read: Vec<u64>,
    /// How many samples were held at once while this was counted, at most.
    pub held_max: usize,
}

impl Reads {
    /// None, at so many steps.
    #[must_use]
    pub(super) fn none(steps: usize) -> Self {
        Self { seen: vec![0; steps], read: vec![0; steps], held_max: 0 }
    }

    /// Step `step` looks at `seen` samples, of which `read` are new.
    pub(super) fn note(&mut self, step: usize, seen: usize, read: usize) {
        if let (Some(all), Some(new)) = (self.seen.get_mut(step), self.read.get_mut(step)) {
            *all += seen as u64;
            *new += read as u64;
        }
    }

    /// Step `step` looks at a window of `seen` samples, of which `read` are new, and that are held at once.
    pub(super) fn note_window(&mut self, step: usize, seen: usize, read: usize) {
        self.held_max = self.held_max.max(seen);
        self.note(step, seen, read);
    }

    /// What `other` counts is looked at as well.
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.seen, &other.seen), (&mut self.read, &other.read)] {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }

    /// All of it, as if it were of one step.
    #[must_use]
    pub(super) fn at_once(&self) -> Self {
        let sum = |counts: &[u64]| vec![counts.iter().sum()];
        Self { seen: sum(&self.seen), read: sum(&self.read), held_max: self.held_max }
    }

    /// The same of what is evaluated once for `steps` steps.
    fn spread(&self, steps: usize) -> Self {
        let Self { seen, read, .. } = self.at_once();
        let mut spread = Self::none(steps);
        spread.seen.fill(seen.first().copied().unwrap_or(0));
        if let (Some(first), Some(once)) = (spread.read.first_mut(), read.first()) {
            *first = *once;
        }
        spread
    }

    /// Adds what a subquery on `inner` has read to the first steps whose windows, of `shape`, see what it evaluated.
    fn add_read_of_inner(&mut self, of_inner: &Self, inner: Grid, shape: Shape) {
        let steps = self.read.len();
        for (index, read) in of_inner.read.iter().enumerate().filter(|(_, read)| **read > 0) {
            let behind = inner.time(index).saturating_sub(shape.first_end);
            let step = match shape.end_step {
                1.. if behind > 0 => (behind - 1) / shape.end_step + 1,
                _ => 0,
            };
            let step = usize::try_from(step).unwrap_or(usize::MAX).min(steps.saturating_sub(1));
            // Between two windows there may be instants that neither sees.
            let is_seen =
                steps <= 1 || inner.time(index) > shape.end(step).saturating_sub(shape.length);
            if is_seen && let Some(new) = self.read.get_mut(step) {
                *new += read;
            }
        }
    }
}

/// What a node looks at: `own` of it itself, and what its inputs do, of which `of` knows.
pub(super) fn of_node<'r>(
    kind: &NodeKind,
    grid: Grid,
    own: Option<Reads>,
    of: impl Fn(NodeId) -> Option<&'r Reads>,
) -> Reads {
    let mut reads = own.unwrap_or_else(|| Reads::none(grid.count));
    match kind {
        NodeKind::Broadcast(input) => {
            if let Some(input) = of(*input) {
                reads = input.spread(grid.count);
            }
        }
        NodeKind::Range(call) => {
            let RangeCall { source, inner, shape, .. } = &**call;
            if let Some(inner) = inner {
                reads.read.fill(0);
                if let Some(source) = of(*source) {
                    reads.add_read_of_inner(source, *inner, *shape);
                }
            }
            call.params.iter().filter_map(|param| of(*param)).for_each(|param| reads.add(param));
        }
        kind => inputs(kind).into_iter().filter_map(of).for_each(|input| reads.add(input)),
    }
    reads
}

/// The nodes whose results a node uses on its own grid.
fn inputs(kind: &NodeKind) -> Vec<NodeId> {
    match kind {
        NodeKind::Scalar(_)
        | NodeKind::String(_)
        | NodeKind::Leaf { .. }
        | NodeKind::Empty
        | NodeKind::Broadcast(_)
        | NodeKind::Range(_) => Vec::new(),
        NodeKind::Absent(input, ..) | NodeKind::Negate(input) => vec![*input],
        NodeKind::Aggregate(call) => call.param.into_iter().chain([call.input]).collect(),
        NodeKind::Binary(call) => vec![call.lhs, call.rhs],
        NodeKind::Map(input, function) => {
            let params = match function {
                MapFunction::Clamp(lower, upper) => [*lower, *upper],
                MapFunction::Round(to) => [*to, None],
                MapFunction::Maths(_)
                | MapFunction::Date(_)
                | MapFunction::Timestamp
                | MapFunction::Stat(_) => [None, None],
            };
            params.into_iter().flatten().chain([*input]).collect()
        }
        NodeKind::Vector(call) => {
            let mut inputs = vec![call.input];
            match &call.function {
                VectorFunction::HistogramQuantile { q } => inputs.push(q.0),
                VectorFunction::HistogramQuantiles { qs, .. } => {
                    inputs.extend(qs.iter().map(|(q, _)| *q));
                }
                VectorFunction::HistogramFraction { lower, upper } => {
                    inputs.extend([*lower, *upper]);
                }
                VectorFunction::MaxOf(other) | VectorFunction::MinOf(other) => inputs.push(*other),
                _ => {}
            }
            inputs
        }
        NodeKind::Info(call) => vec![call.base, call.infos],
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use crate::model::{Labels, Sample, TimestampMs};
    use crate::query::memory::Budget;
    use crate::query::{Answer, EvalRange, LeafFold, Options, Unpaced, evaluate, prepare};

    /// The answer over `one`, which has a sample every 10 seconds from 0 to 1000 seconds, and `three`, of which there are three.
    /// They are in two shards.
    fn ask(query: &str, range: EvalRange) -> Answer {
        let options = Options { counts_reads: true, ..Options::default() };
        let prepared = prepare(query, range, &options).unwrap();
        let samples: Vec<_> =
            (0..=100).map(|i| Sample { t: TimestampMs(i * 10_000), v: i as f64 }).collect();
        let stored = [("one", "1"), ("three", "1"), ("three", "2"), ("three", "3")];
        let parts = prepared.leaves().iter().map(|leaf| {
            let shard = |shard: usize| {
                let mut fold = LeafFold::new(leaf);
                for (_, (name, a)) in stored.iter().enumerate().filter(|(i, _)| i % 2 == shard) {
                    let labels = Labels::from_pairs([("__name__", *name), ("a", *a)]).unwrap();
                    if leaf.matchers().iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
                    {
                        block_on(fold.push(labels.as_ref(), &samples, &Unpaced)).unwrap();
                    }
                }
                block_on(fold.finish(&Unpaced)).unwrap()
            };
            vec![shard(0), shard(1)]
        });
        let (parts, account) = (parts.collect(), Budget::unlimited().open());
        block_on(evaluate(&prepared, parts, &Unpaced, &account)).unwrap()
    }

    fn check(query: &str, range: EvalRange, seen: &[u64], read: &[u64]) {
        let reads = ask(query, range).reads.unwrap();
        assert_eq!((reads.seen.as_slice(), reads.read.as_slice()), (seen, read), "{query}");
    }

    fn at(query: &str, seconds: i64, seen: u64, read: u64) {
        check(query, EvalRange::instant(TimestampMs(seconds * 1000)), &[seen], &[read]);
    }

    fn over(query: &str, (start, end, step): (i64, i64, i64), seen: &[u64], read: &[u64]) {
        let (start, end) = (TimestampMs(start * 1000), TimestampMs(end * 1000));
        check(query, EvalRange::range(start, end, step * 1000), seen, read);
    }

    #[test]
    fn an_instant_looks_at_what_its_selectors_do() {
        at("1", 21, 0, 0);
        at("\"text\"", 21, 0, 0);
        at("three", 21, 3, 3);
        at("timestamp(three @ 15)", 21, 3, 3);
        at("one[60s]", 201, 6, 6);
        at("sum by (a) (max_over_time(three[60s] @ 30))", 201, 12, 12);
        at("absent_over_time(one[60s])", 201, 6, 6);
        at("one + one", 201, 2, 2);
    }

    #[test]
    fn a_range_looks_at_whole_windows_and_reads_what_is_new_in_them() {
        over("one", (201, 220, 5), &[1; 4], &[1; 4]);
        over("timestamp(one)", (204, 223, 5), &[1; 4], &[1; 4]);
        over("max_over_time(three[60s])", (201, 220, 5), &[18; 4], &[18, 0, 3, 0]);
        over("max_over_time(one[10s])", (991, 1021, 10), &[1, 1, 0, 0], &[1, 1, 0, 0]);
        over("rate(one[20s])", (200, 320, 60), &[2; 3], &[2; 3]);
        over("sum(max_over_time(three[60s] @ 30))", (201, 216, 5), &[12; 4], &[12, 0, 0, 0]);
        over("predict_linear(one[60s] @ 100, 60)", (100, 300, 100), &[6; 3], &[6, 0, 0]);
    }

    #[test]
    fn a_subquery_is_looked_at_as_often_as_it_is_evaluated_and_read_as_what_is_inside() {
        at("one[60s:5s]", 201, 12, 12);
        at("max_over_time(one[60s])[20s:5s]", 201, 24, 8);
        at("max_over_time(three[60s:5s])", 201, 36, 36);
        at("sum_over_time(three[1m:10s] @ 200 offset 1m)", 300, 18, 18);
        at("rate(sum_over_time(one[30s])[1m:30s])", 240, 2, 6);
        at("sum_over_time(max_over_time(three[60s] @ 300)[5m:1m] @ 600)[10m:2m]", 800, 75, 18);
        for end in [216, 220] {
            over("max_over_time(three[60s:5s])", (201, end, 5), &[36; 4], &[36, 3, 3, 3]);
        }
        let twice = "sum(max_over_time(three[60s:5s])) + sum(max_over_time(three[60s:5s]))";
        over(twice, (201, 220, 5), &[72; 4], &[72, 6, 6, 6]);
        over("max_over_time(one[30s:10s])", (201, 261, 60), &[3, 3], &[3, 3]);
        over("max_over_time(one[20s:10s])", (201, 221, 10), &[2; 3], &[2, 1, 1]);
    }

    #[test]
    fn the_most_that_is_held_has_windows_and_results() {
        let held = |query| ask(query, EvalRange::instant(TimestampMs(201_000))).held_max;
        assert_eq!((held("1"), held("three"), held("one[60s]")), (1, 3, 6));
    }
}
