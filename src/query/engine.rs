//! Evaluation on the coordinator: the shards' parts are merged in order of the shards, then the rest of the plan runs,
//! node by node, over whole columns.

use std::cmp::Ordering;
use std::sync::Arc;

use super::annotation::{Annotations, Note};
use super::error::QueryError;
use super::grid::Grid;
use super::grouping::METRIC_LABELS;
use super::leaf::Param;
use super::leaf_fold::LeafPart;
use super::memory::Account;
use super::pace::{LABELS_POINTS, Meter, Pace, Pacer};
use super::plan::{MapFunction, Node, NodeId, NodeKind, VectorCall, VectorFunction};
use super::point_map::PointMap;
use super::prepare::Prepared;
use super::reads::{self, Reads};
use super::series_set::{
    MOVE_POINTS, Same, copied, drop_empty, drop_names, merge_same, sort_by, sort_by_labels,
};
use super::value::{ABSENT, AnswerValue, Column, HistogramColumn, Point, RawSeries, Series};
use super::{aggregate, arithmetic, binary, histogram, info, label_functions, merge, range_call};
use crate::model::{Labels, TimestampMs};

/// A query's answer and what was odd on the way to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer.
    pub value: AnswerValue,
    /// Warnings and infos; their texts need the query's.
    pub annotations: Annotations,
    /// How many samples the shards have read.
    pub samples_read: u64,
    /// What each step of the answer has looked at, if that was to be counted.
    pub reads: Option<Reads>,
    /// How many samples were held at once on the core that put the answer together, at most.
    pub held_max: usize,
}

/// What a node evaluates to.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A number for each step.
    Scalar(Param),
    /// A text.
    String(Vec<u8>),
    /// Series over the node's grid.
    Vector(Vec<Series>),
    /// Samples at their own instants.
    Samples(Vec<RawSeries>),
}

/// An evaluation in progress.
pub(super) struct Evaluation<'a, P> {
    /// Paces the work and bounds what is held.
    pub meter: Meter<'a, P>,
    /// What was odd so far.
    pub annotations: Annotations,
    /// Are metric names only taken off in the end?
    pub delayed: bool,
    /// Does the label of a metric's type say whether it is a counter?
    pub looks_at_types: bool,
    /// Is it counted what each step looks at?
    pub counts_reads: bool,
    /// What the node that is being computed looks at besides its inputs.
    pub own_reads: Option<Reads>,
    /// Each node's value, and how many uses of it are still to come.
    values: Vec<Option<(Value, usize, Weight)>>,
}

/// How much a value is.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    points: usize,
    /// Its labels, and what series take besides their points.
    label_bytes: usize,
}

/// Evaluates a prepared query from what the shards answered: `parts[leaf][shard]`, in the order of
/// [`Prepared::leaves`] and of the shards. Its memory is charged to `account`, which the parts' has been.
///
/// # Errors
/// Data that the query cannot be answered for, more samples than it may hold, an evaluation that `pace` stops, or parts
/// that are not this query's.
pub async fn evaluate<P: Pace>(
    prepared: &Prepared,
    parts: Vec<Vec<LeafPart>>,
    pace: &P,
    account: &Account,
) -> Result<Answer, QueryError> {
    let mut evaluation = Evaluation {
        meter: Meter::new(pace, prepared.options.samples_max, account),
        annotations: Annotations::default(),
        delayed: prepared.options.delayed_name_removal,
        looks_at_types: prepared.options.looks_at_types,
        counts_reads: prepared.options.counts_reads,
        own_reads: None,
        values: Vec::with_capacity(prepared.nodes.len()),
    };
    let mut reads: Vec<Reads> = Vec::new();
    let mut held_max = 0;
    let samples_read = parts.iter().flatten().map(LeafPart::samples_read).sum();
    let mut parts: Vec<Option<Vec<LeafPart>>> = parts.into_iter().map(Some).collect();
    for node in &prepared.nodes {
        evaluation.meter.spend(1).await?;
        let before = evaluation.meter.held();
        let value = evaluation.compute(node, &mut parts).await?;
        let weight = value.weight(evaluation.meter.pacer()).await?;
        evaluation.meter.hold(weight.points)?;
        evaluation.meter.account().charge(weight.label_bytes)?;
        // While a result is made, what it is made of is still there.
        held_max = held_max.max(before.saturating_add(weight.points));
        if evaluation.counts_reads {
            let own = evaluation.own_reads.take();
            held_max = held_max.max(before + own.as_ref().map_or(0, |own| own.held_max));
            reads.push(reads::of_node(&node.kind, node.grid, own, |id| reads.get(id)));
        }
        evaluation.values.push(Some((value, node.uses, weight)));
    }
    let last = prepared.nodes.len().wrapping_sub(1);
    let grid = prepared.nodes.get(last).map(|node| node.grid);
    let value = evaluation.take(last).await?;
    let value = evaluation.answer(prepared, value, grid.unwrap_or(Grid::instant(0))).await?;
    // Until it is sent.
    let held = value.held_bytes(evaluation.meter.pacer()).await?;
    account.charge(held)?;
    // A subquery that is the whole query has a grid of its own.
    let reads =
        reads.pop().map(|all| if prepared.range.is_instant() { all.at_once() } else { all });
    Ok(Answer { value, annotations: evaluation.annotations, samples_read, reads, held_max })
}

impl Value {
    async fn weight<P: Pace>(&self, pacer: Pacer<'_, P>) -> Result<Weight, QueryError> {
        let mut weight = Weight::default();
        match self {
            Self::Scalar(Param::Same(_)) | Self::String(_) => weight.points = 1,
            Self::Scalar(Param::Each(values)) => weight.points = values.len(),
            Self::Vector(series) => {
                for one in series {
                    pacer.spend(MOVE_POINTS).await?;
                    weight.points += points_of(one);
                    weight.label_bytes += size_of::<Series>() + one.labels.as_bytes().len();
                }
            }
            Self::Samples(series) => {
                for one in series {
                    pacer.spend(MOVE_POINTS).await?;
                    weight.points += one.held();
                    weight.label_bytes += size_of::<RawSeries>() + one.labels.as_bytes().len();
                    weight.label_bytes += size_of_val(one.samples.as_slice()) / 2;
                }
            }
        }
        Ok(weight)
    }
}

/// The points that a series is as large as: its own, and some for labels that only a query can make so long.
fn points_of(series: &Series) -> usize {
    const LABEL_BYTES_FREE: usize = 4096;
    let label_bytes = series.labels.as_bytes().len().saturating_sub(LABEL_BYTES_FREE);
    series.column.len() + series.histograms.held() + label_bytes / size_of::<f64>()
}

pub(super) fn misfit(what: &str) -> QueryError {
    QueryError::Internal(format!("{what} does not fit the plan"))
}

impl<P: Pace> Evaluation<'_, P> {
    /// The value of an earlier node, to be used once.
    pub(super) async fn take(&mut self, id: NodeId) -> Result<Value, QueryError> {
        let slot = self.values.get_mut(id).ok_or_else(|| misfit("a node that is not there"))?;
        if let Some((value, uses, _)) = slot
            && *uses > 1
        {
            *uses -= 1;
            return match value {
                Value::Vector(series) => copied(series, &self.meter).await.map(Value::Vector),
                value => Ok(value.clone()),
            };
        }
        let (value, _, weight) = slot.take().ok_or_else(|| misfit("a node used too often"))?;
        self.meter.release(weight.points);
        self.meter.account().release(weight.label_bytes);
        Ok(value)
    }

    /// The series of an earlier node.
    pub(super) async fn vector(&mut self, id: NodeId) -> Result<Vec<Series>, QueryError> {
        match self.take(id).await? {
            Value::Vector(series) => Ok(series),
            _ => Err(misfit("a value that is no vector")),
        }
    }

    /// The numbers of an earlier node.
    pub(super) fn scalar(&mut self, id: NodeId) -> Result<Param, QueryError> {
        let slot = self.values.get_mut(id).ok_or_else(|| misfit("a node that is not there"))?;
        let Some((Value::Scalar(value), uses, weight)) = slot else {
            return Err(misfit("a value that is no scalar"));
        };
        let value = value.clone();
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            self.meter.release(weight.points);
            *slot = None;
        }
        Ok(value)
    }

    /// The numbers of an earlier node, or `absent` at every step.
    fn scalar_or(&mut self, id: Option<NodeId>, absent: f64) -> Result<Param, QueryError> {
        id.map_or(Ok(Param::Same(absent)), |id| self.scalar(id))
    }

    async fn compute(
        &mut self,
        node: &Node,
        parts: &mut [Option<Vec<LeafPart>>],
    ) -> Result<Value, QueryError> {
        match &node.kind {
            NodeKind::Scalar(value) => Ok(Value::Scalar(value.clone())),
            NodeKind::String(text) => Ok(Value::String(text.clone())),
            NodeKind::Empty => Ok(Value::Vector(Vec::new())),
            NodeKind::Leaf { leaf, name, one_name } => {
                let parts = parts.get_mut(*leaf).and_then(Option::take);
                let parts = parts.ok_or_else(|| misfit("the number of leaves answered"))?;
                merge::parts(self, parts, *name, *one_name, node.grid).await
            }
            NodeKind::Broadcast(input) => self.broadcast(*input, node.grid.count).await,
            NodeKind::Range(call) => range_call::evaluate(self, call).await.map(Value::Vector),
            NodeKind::Absent(input, labels, drop_name) => {
                self.absent(*input, labels, *drop_name, node.grid.count).await
            }
            NodeKind::Aggregate(call) => aggregate::evaluate(self, call, node.grid).await,
            NodeKind::Negate(input) => self.negate(*input, node.grid).await,
            NodeKind::Binary(call) => binary::evaluate(self, call, node).await,
            NodeKind::Map(input, function) => {
                let map = self.resolved(function, node.grid)?;
                let series = self.vector(*input).await?;
                self.map(series, &map, node.grid).await.map(Value::Vector)
            }
            NodeKind::Vector(call) => self.vector_call(call, node).await,
            NodeKind::Info(call) => info::evaluate(self, call, node.grid).await,
        }
    }

    async fn broadcast(&mut self, input: NodeId, count: usize) -> Result<Value, QueryError> {
        let mut series = match self.take(input).await? {
            Value::Vector(series) => series,
            Value::Scalar(value) => return Ok(Value::Scalar(Param::Same(value.at(0)))),
            other => return Ok(other),
        };
        self.meter.hold(series.len().saturating_mul(count))?;
        self.meter.release(series.len().saturating_mul(count));
        for one in &mut series {
            self.meter.spend(count).await?;
            match one.at(0) {
                Some(Point::Float(v)) => {
                    one.column = Column::repeated(v, count).unwrap_or_default()
                }
                Some(Point::Histogram(h)) => {
                    let points = (0..count).map(|step| (step, Arc::clone(&h))).collect();
                    one.histograms = HistogramColumn::of(points);
                }
                None => {}
            }
        }
        Ok(Value::Vector(series))
    }

    async fn absent(
        &mut self,
        input: NodeId,
        labels: &Labels,
        drop_name: bool,
        count: usize,
    ) -> Result<Value, QueryError> {
        let mut values = vec![1.0; count];
        for series in self.vector(input).await? {
            self.meter.spend(series.len()).await?;
            for step in series.steps() {
                if let Some(v) = values.get_mut(step) {
                    *v = ABSENT;
                }
            }
        }
        let column = Column::of(&values);
        let series = column.map(|column| Series::of_floats(labels.clone(), drop_name, column));
        Ok(Value::Vector(series.into_iter().collect()))
    }

    async fn negate(&mut self, input: NodeId, grid: Grid) -> Result<Value, QueryError> {
        match self.take(input).await? {
            Value::Scalar(value) => Ok(Value::Scalar(value.map(|v| -v))),
            Value::Vector(series) => {
                self.map(series, &PointMap::Negate, grid).await.map(Value::Vector)
            }
            _ => Err(misfit("the operand of a sign")),
        }
    }

    /// The series without the labels that describe their metric, or marked to lose them in the end.
    pub(super) async fn without_names(
        &mut self,
        series: Vec<Series>,
        same: Same,
    ) -> Result<Vec<Series>, QueryError> {
        self.without(METRIC_LABELS, series, same).await
    }

    /// The series without these labels of their metric, or marked to lose all of them in the end.
    async fn without(
        &mut self,
        labels: &[&str],
        mut series: Vec<Series>,
        same: Same,
    ) -> Result<Vec<Series>, QueryError> {
        if self.delayed {
            for one in &mut series {
                self.meter.spend(MOVE_POINTS).await?;
                one.drop_name = true;
            }
            return Ok(series);
        }
        drop_names(&mut series, labels, |_| true, &self.meter).await?;
        merge_same(series, same, &self.meter).await
    }

    /// Merges series that have become the same, as upstream does where it puts vectors of many steps together. With names
    /// that are still to go, an instant's series are left as they are.
    pub(super) async fn together(
        &mut self,
        series: Vec<Series>,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        if self.delayed && grid.is_instant {
            return Ok(series);
        }
        merge_same(series, Same::Merge, &self.meter).await
    }

    /// The function with its arguments evaluated.
    fn resolved(&mut self, function: &MapFunction, grid: Grid) -> Result<PointMap, QueryError> {
        Ok(match function {
            MapFunction::Maths(function) => PointMap::Maths(*function),
            MapFunction::Clamp(lower, upper) => {
                let lower = self.scalar_or(*lower, f64::NEG_INFINITY)?;
                PointMap::Clamp(lower, self.scalar_or(*upper, f64::INFINITY)?)
            }
            MapFunction::Round(to) => PointMap::Round(self.scalar_or(*to, 1.0)?.map(|to| 1.0 / to)),
            MapFunction::Date(part) => PointMap::Date(*part),
            MapFunction::Stat(stat) => PointMap::Stat(*stat),
            MapFunction::Timestamp => PointMap::Timestamp(Param::seconds_of(grid)),
        })
    }

    /// Changes each point of `series`.
    pub(super) async fn map(
        &mut self,
        mut series: Vec<Series>,
        map: &PointMap,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        for one in &mut series {
            self.meter.spend(one.len() * 2).await?;
            one.column.change(|first, values| map.apply(first, values));
            if !one.histograms.is_empty() {
                let floats = one.histograms.change(map, &mut self.annotations);
                one.column.put(&floats);
            }
        }
        drop_empty(&mut series, &self.meter).await?;
        let dropped = map.drops();
        if dropped.is_empty() {
            return Ok(series);
        }
        let series = self.without(dropped, series, Same::Merge).await?;
        self.together(series, grid).await
    }

    async fn vector_call(&mut self, call: &VectorCall, node: &Node) -> Result<Value, QueryError> {
        let grid = node.grid;
        let series = match &call.function {
            VectorFunction::Vector => {
                let value = self.scalar(call.input)?;
                let values: Vec<f64> = (0..grid.count).map(|step| value.at(step)).collect();
                let column = Column::of(&values);
                let labels = Labels::empty();
                column.map(|column| Series::of_floats(labels, false, column)).into_iter().collect()
            }
            VectorFunction::Nothing => {
                self.vector(call.input).await?;
                Vec::new()
            }
            VectorFunction::Scalar => return self.only_value(call.input, grid.count).await,
            VectorFunction::MaxOf(other) | VectorFunction::MinOf(other) => {
                let largest = matches!(call.function, VectorFunction::MaxOf(_));
                let choose = if largest { arithmetic::go_max } else { arithmetic::go_min };
                let (a, b) = (self.scalar(call.input)?, self.scalar(*other)?);
                return Ok(Value::Scalar(a.zip(&b, grid.count, choose)));
            }
            VectorFunction::Sort { .. } | VectorFunction::SortByLabel { .. } => {
                self.sort(call, node).await?
            }
            VectorFunction::LabelReplace { .. } | VectorFunction::LabelJoin { .. } => {
                let mut series = self.vector(call.input).await?;
                for one in &mut series {
                    self.meter.spend(LABELS_POINTS * 4).await?;
                    label_functions::change(one, &call.function)?;
                }
                merge_same(series, Same::Merge, &self.meter).await?
            }
            VectorFunction::HistogramQuantile { .. }
            | VectorFunction::HistogramQuantiles { .. }
            | VectorFunction::HistogramFraction { .. } => {
                histogram::evaluate(self, call, grid).await?
            }
        };
        Ok(Value::Vector(series))
    }

    /// `scalar`: the value of the only series at each step, NaN where there is not exactly one.
    async fn only_value(&mut self, input: NodeId, count: usize) -> Result<Value, QueryError> {
        let mut values = vec![(0u32, f64::NAN); count];
        for series in self.vector(input).await? {
            self.meter.spend(series.column.len()).await?;
            for (step, v) in series.column.points() {
                if let Some((seen, value)) = values.get_mut(step) {
                    *seen += 1;
                    *value = if *seen == 1 { v } else { f64::NAN };
                }
            }
        }
        Ok(Value::Scalar(Param::Each(values.into_iter().map(|(_, v)| v).collect())))
    }

    async fn sort(&mut self, call: &VectorCall, node: &Node) -> Result<Vec<Series>, QueryError> {
        let mut series = self.vector(call.input).await?;
        if matches!(call.function, VectorFunction::Sort { .. }) {
            // Histograms have no order among numbers, and are left out.
            for one in &mut series {
                self.meter.spend(MOVE_POINTS).await?;
                one.histograms = HistogramColumn::default();
            }
            drop_empty(&mut series, &self.meter).await?;
        }
        if !node.grid.is_instant {
            self.annotations.add(Note::SortInRangeQuery, node.span);
            return Ok(series);
        }
        let order = |a: &Series, b: &Series| label_functions::order(a, b, &call.function);
        let compare = |series: &[Series], a: usize, b: usize| match (series.get(a), series.get(b)) {
            (Some(a), Some(b)) => order(a, b),
            _ => Ordering::Equal,
        };
        // To find the labels that are named in a label set, and to compare numbers in them, is dear.
        let points = match call.function {
            VectorFunction::Sort { .. } => MOVE_POINTS,
            _ => LABELS_POINTS * 2,
        };
        sort_by(series, points, compare, &self.meter).await
    }

    /// Makes the answer of the last node's value.
    async fn answer(
        &mut self,
        prepared: &Prepared,
        value: Value,
        grid: Grid,
    ) -> Result<AnswerValue, QueryError> {
        let t = TimestampMs(prepared.range.start());
        let mut series = match value {
            Value::String(v) => return Ok(AnswerValue::String { t, v }),
            Value::Samples(series) => return Ok(AnswerValue::Ranges(series)),
            Value::Scalar(v) if prepared.range.is_instant() => {
                return Ok(AnswerValue::Scalar { t, v: v.at(0) });
            }
            Value::Scalar(value) => {
                let values: Vec<f64> = (0..grid.count).map(|step| value.at(step)).collect();
                let labels = Labels::empty();
                let column = Column::of(&values);
                let series = column.map(|column| Series::of_floats(labels, false, column));
                series.into_iter().collect()
            }
            Value::Vector(series) => series,
        };
        if self.delayed {
            drop_names(&mut series, METRIC_LABELS, |series| series.drop_name, &self.meter).await?;
            series = merge_same(series, Same::Merge, &self.meter).await?;
        }
        if prepared.is_instant_vector() {
            let mut samples = Vec::with_capacity(series.len());
            for one in series {
                self.meter.spend(LABELS_POINTS / 2).await?;
                let point = one.at(0);
                samples.extend(point.map(|point| (one.labels, point)));
            }
            return Ok(AnswerValue::Vector { t, samples });
        }
        let series = sort_by_labels(series, &self.meter).await?;
        Ok(AnswerValue::Matrix { grid, series })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Sample;
    use crate::query::leaf_fold::LeafFold;
    use crate::query::memory::Budget;
    use crate::query::pace::Unpaced;
    use crate::query::prepare::{EvalRange, Options, prepare};
    use crate::query::quantile::nearly_equal;

    type Stored = (Labels, Vec<Sample>);

    /// The answer over series spread over `shards` shards as `place` says.
    fn ask(
        query: &str,
        stored: &[Stored],
        shards: usize,
        place: impl Fn(usize) -> usize,
    ) -> AnswerValue {
        let range = EvalRange::range(TimestampMs(60_000), TimestampMs(300_000), 30_000);
        let prepared = prepare(query, range, &Options::default()).unwrap();
        let parts = prepared.leaves().iter().map(|leaf| {
            let shard = |shard| {
                let mut fold = LeafFold::new(leaf);
                for (_, (labels, samples)) in
                    stored.iter().enumerate().filter(|(i, _)| place(*i) % shards == shard)
                {
                    futures_lite::future::block_on(fold.push(labels.as_ref(), samples, &Unpaced))
                        .unwrap();
                }
                futures_lite::future::block_on(fold.finish(&Unpaced)).unwrap()
            };
            (0..shards).map(shard).collect()
        });
        let parts = parts.collect();
        futures_lite::future::block_on(evaluate(
            &prepared,
            parts,
            &Unpaced,
            &Budget::unlimited().open(),
        ))
        .unwrap()
        .value
    }

    fn agree(one: &AnswerValue, other: &AnswerValue) -> bool {
        let (AnswerValue::Matrix { series: one, .. }, AnswerValue::Matrix { series: other, .. }) =
            (one, other)
        else {
            return false;
        };
        one.len() == other.len()
            && one.iter().zip(other).all(|(a, b)| {
                let same = |((s, v), (t, w)): ((usize, f64), (usize, f64))| {
                    s == t && (nearly_equal(v, w, 1e-9) || (v - w).abs() < 1e-9)
                };
                a.labels == b.labels
                    && a.column.points().count() == b.column.points().count()
                    && a.column.points().zip(b.column.points()).all(same)
            })
    }

    fn stored() -> impl Strategy<Value = Vec<Stored>> {
        let value = prop_oneof![
            6 => (-20i32..20).prop_map(|v| f64::from(v) / 2.0),
            1 => Just(f64::NAN),
            1 => Just(1e300),
        ];
        let samples = proptest::collection::vec(proptest::option::weighted(0.8, value), 0..12);
        proptest::collection::vec((0..3u8, samples), 1..12).prop_map(|series| {
            let series = series.into_iter().enumerate().map(|(i, (group, values))| {
                let (group, i) = (group.to_string(), i.to_string());
                let pairs = [("__name__", "x_total"), ("g", &group), ("i", &i)];
                let labels = Labels::from_pairs(pairs).unwrap();
                let samples = (1..)
                    .zip(values)
                    .filter_map(|(t, v)| Some(Sample { t: TimestampMs(t * 25_000), v: v? }));
                (labels, samples.collect())
            });
            series.collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn parts_of_several_shards_add_up_to_the_answer_of_one(
            stored in stored(),
            shards in 2usize..5,
            places in proptest::collection::vec(0usize..5, 12),
        ) {
            for op in ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"] {
                for input in ["x_total", "rate(x_total[1m])", "x_total > 1"] {
                    for by in ["", "by (g)", "without (i)"] {
                        let query = format!("{op} {by} ({input})");
                        let one = ask(&query, &stored, 1, |_| 0);
                        let many = ask(&query, &stored, shards, |i| places[i]);
                        prop_assert!(agree(&one, &many), "{query}: {one:?} {many:?}");
                    }
                }
            }
            for query in [
                "x_total",
                "topk(2, x_total)",
                "bottomk by (g) (1, x_total)",
                "topk(1, increase(x_total[1m]))",
                "quantile(0.3, x_total)",
                "count_values(\"v\", x_total)",
                "absent(x_total)",
                "max_over_time(sum(x_total)[1m:10s])",
                "x_total / on (g) group_left sum by (g) (x_total)",
            ] {
                let one = ask(query, &stored, 1, |_| 0);
                let many = ask(query, &stored, shards, |i| places[i]);
                prop_assert!(agree(&one, &many), "{query}: {one:?} {many:?}");
            }
        }

        #[test]
        fn the_same_parts_give_the_same_bits(stored in stored(), places in proptest::collection::vec(0usize..3, 12)) {
            let bits = |answer: &AnswerValue| match answer {
                AnswerValue::Matrix { series, .. } => {
                    let of = |one: &Series| one.column.points().map(|(_, v)| v.to_bits()).collect::<Vec<_>>();
                    series.iter().map(of).collect::<Vec<_>>()
                }
                _ => Vec::new(),
            };
            let ask = || ask("sum by (g) (x_total)", &stored, 3, |i| places[i]);
            prop_assert_eq!(bits(&ask()), bits(&ask()));
        }
    }

    #[test]
    fn leaves_and_parts_can_go_to_other_cores() {
        fn can_be_sent<T: Send + 'static>() {}
        can_be_sent::<crate::query::Leaf>();
        can_be_sent::<LeafPart>();
        can_be_sent::<Prepared>();
        can_be_sent::<Answer>();
    }

    #[test]
    fn parts_of_another_query_are_an_internal_error() {
        let at = EvalRange::instant(TimestampMs(0));
        let prepared = prepare("x + y", at, &Options::default()).unwrap();
        let answer = futures_lite::future::block_on(evaluate(
            &prepared,
            Vec::new(),
            &Unpaced,
            &Budget::unlimited().open(),
        ));
        assert!(matches!(answer, Err(QueryError::Internal(_))));
    }

    #[test]
    fn labels_cannot_be_doubled_without_end() {
        let doubled = |inner: String| format!(r#"label_join({inner}, "a", "", "a", "a")"#);
        let start = r#"label_replace(vector(1), "a", "xx", "", "")"#.to_owned();
        let ask = |times| {
            let query = (0..times).fold(start.clone(), |inner, _| doubled(inner));
            let at = EvalRange::instant(TimestampMs(0));
            let prepared = prepare(&query, at, &Options::default()).unwrap();
            futures_lite::future::block_on(evaluate(
                &prepared,
                Vec::new(),
                &Unpaced,
                &Budget::unlimited().open(),
            ))
        };
        assert!(ask(19).is_ok());
        assert!(matches!(ask(100), Err(QueryError::Execution(_))));
    }

    #[test]
    fn an_answer_of_more_samples_than_allowed_is_refused() {
        let range = EvalRange::range(TimestampMs(0), TimestampMs(100_000), 1000);
        let options = Options { samples_max: 1000, ..Options::default() };
        let fails = |query: &str| {
            let prepared = prepare(query, range, &options)?;
            futures_lite::future::block_on(evaluate(
                &prepared,
                Vec::new(),
                &Unpaced,
                &Budget::unlimited().open(),
            ))
            .map(|_| ())
        };
        assert_eq!(fails("vector(1) + time()"), Ok(()));
        assert_eq!(fails("sum_over_time(vector(1)[1d:1s])"), Err(QueryError::TooManySamples));
    }
}
