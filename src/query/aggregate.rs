//! Aggregations on the coordinator: of what other nodes computed, and those that need all of a group's values at once.

use super::annotation::Note;
use super::ast::AggregateOp;
use super::engine::{Evaluation, Value};
use super::error::QueryError;
use super::functions::many::quantile_of_many;
use super::grid::Grid;
use super::grouping::GroupIndex;
use super::leaf::Param;
use super::limit_ratio::RatioSampler;
use super::number::format_f;
use super::pace::{LABELS_POINTS, Pace};
use super::pages::Pages;
use super::partial::Partial;
use super::plan::AggregateCall;
use super::series_set::{drop_empty, let_go, sort_by_labels};
use super::top::{Choice, Top, count_at};
use super::value::{ABSENT, Column, Series};
use crate::model::Labels;

/// Evaluates an aggregation.
pub(super) async fn evaluate<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &AggregateCall,
    grid: Grid,
) -> Result<Value, QueryError> {
    let param = match call.param {
        Some(param) => evaluation.scalar(param)?,
        None => Param::Same(0.0),
    };
    let series = evaluation.vector(call.input).await?;
    let series = match (call.op, Partial::new(call.op, call.input_span)) {
        (_, Some(partial)) => by_cells(evaluation, call, partial, series).await?,
        (AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk, None) => {
            of_count(evaluation, call, param, series, grid).await?
        }
        (AggregateOp::LimitRatio, None) => of_ratio(evaluation, call, param, series, grid).await?,
        (AggregateOp::Quantile, None) => quantiles(evaluation, call, &param, series, grid).await?,
        (AggregateOp::CountValues, None) => {
            let counted = count_values(evaluation, call, series, grid).await?;
            evaluation.together(counted, grid).await?
        }
        (op, None) => return Err(QueryError::Internal(format!("{op:?} has no cells"))),
    };
    Ok(Value::Vector(series))
}

async fn by_cells<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &AggregateCall,
    mut partial: Partial,
    series: Vec<Series>,
) -> Result<Vec<Series>, QueryError> {
    let mut charged = 0;
    for one in series {
        evaluation.meter.spend(LABELS_POINTS + one.len()).await?;
        let (labels, histograms) = (one.labels.as_ref(), one.histograms.points());
        let added =
            partial.add(&call.grouping, labels, one.drop_name, one.column.run(), histograms);
        let bytes = added.bytes + added.points * size_of::<f64>();
        evaluation.meter.account().charge(bytes)?;
        charged += bytes;
    }
    let series = partial.into_series(&evaluation.meter, &mut evaluation.annotations).await?;
    // From here on it is charged as the node's value.
    evaluation.meter.account().release(charged);
    Ok(series)
}

/// The aggregations that give some of the series, as many as are asked for.
async fn of_count<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &AggregateCall,
    k: Param,
    series: Vec<Series>,
    grid: Grid,
) -> Result<Vec<Series>, QueryError> {
    let (least, most) = bounds(&k, grid);
    if most < 1.0 {
        return Ok(Vec::new());
    }
    if !k.all(|k| !k.is_nan()) {
        return Err(QueryError::Execution("Parameter value is NaN".to_owned()));
    }
    let whole = |k: f64| super::number::format_g(k);
    if least <= i64::MIN as f64 {
        return Err(QueryError::Execution(format!(
            "Scalar value {} underflows int64",
            whole(least)
        )));
    }
    if most >= i64::MAX as f64 {
        return Err(QueryError::Execution(format!("Scalar value {} overflows int64", whole(most))));
    }
    match Choice::of(call.op) {
        Some(Choice::First) | None => first(evaluation, call, &k, series, grid).await,
        Some(choice) => top(evaluation, call, (choice, k), series).await,
    }
}

async fn top<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &AggregateCall,
    (choice, k): (Choice, Param),
    series: Vec<Series>,
) -> Result<Vec<Series>, QueryError> {
    let mut top = Top::new(choice, k, call.grouping.clone(), call.span);
    for one in series {
        evaluation.meter.spend(LABELS_POINTS + one.column.len() * 2).await?;
        top.push(one);
        top.sweep_if_due(evaluation.meter.pacer()).await?;
    }
    evaluation.annotations.merge(top.take_annotations());
    top.into_series(evaluation.meter.pacer()).await
}

/// `limitk`: those series of each group that come first, which at a single step is the order that a `sort` below has
/// made, and otherwise that of the labels.
async fn first<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &AggregateCall,
    k: &Param,
    series: Vec<Series>,
    grid: Grid,
) -> Result<Vec<Series>, QueryError> {
    let mut series = match grid.count {
        1 => series,
        _ => sort_by_labels(series, &evaluation.meter).await?,
    };
    let k: Vec<usize> = (0..grid.count).map(|step| count_at(k, step)).collect();
    let mut index = GroupIndex::new(&call.grouping);
    // For each group, how many more are wanted at each step.
    let mut wanted: Vec<Vec<usize>> = Vec::new();
    for one in &mut series {
        evaluation.meter.spend(LABELS_POINTS + one.len()).await?;
        let place = index.place(one.labels.as_ref());
        if place == wanted.len() {
            evaluation.meter.hold(k.len())?;
            wanted.push(k.clone());
        }
        if let Some(wanted) = wanted.get_mut(place) {
            one.retain(|step| match wanted.get_mut(step) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            });
        }
    }
    evaluation.meter.release(k.len() * wanted.len());
    drop_empty(&mut series, &evaluation.meter).await?;
    Ok(series)
}

/// `limit_ratio`: a share of the series. What the shards have left out would be left out here, too.
async fn of_ratio<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &AggregateCall,
    ratio: Param,
    mut series: Vec<Series>,
    grid: Grid,
) -> Result<Vec<Series>, QueryError> {
    let (least, most) = bounds(&ratio, grid);
    if least == 0.0 && most == 0.0 {
        return Ok(Vec::new());
    }
    if !ratio.all(|ratio| !ratio.is_nan()) {
        return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
    }
    if most > 1.0 {
        evaluation.annotations.add(Note::InvalidRatio(most, 1.0), call.param_span);
    }
    if least < -1.0 {
        evaluation.annotations.add(Note::InvalidRatio(least, -1.0), call.param_span);
    }
    let mut sampler = RatioSampler::new(ratio);
    for one in &mut series {
        evaluation.meter.spend(LABELS_POINTS + one.len()).await?;
        let offset = sampler.offset(one.labels.as_ref(), &[]);
        sampler.limit(one, offset);
    }
    drop_empty(&mut series, &evaluation.meter).await?;
    Ok(series)
}

/// The least and the most that a parameter is; NaN if it is NaN anywhere.
fn bounds(param: &Param, grid: Grid) -> (f64, f64) {
    let steps = match param {
        Param::Same(_) => 1,
        Param::Each(_) => grid.count,
    };
    let values = (0..steps).map(|step| param.at(step));
    values.fold((f64::MAX, f64::MIN), |(least, most), v| {
        (super::arithmetic::go_min(least, v), super::arithmetic::go_max(most, v))
    })
}

async fn quantiles<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &AggregateCall,
    q: &Param,
    series: Vec<Series>,
    grid: Grid,
) -> Result<Vec<Series>, QueryError> {
    let (least, most) = bounds(q, grid);
    if !q.all(|q| !q.is_nan()) {
        evaluation.annotations.add(Note::InvalidQuantile(f64::NAN), call.param_span);
    }
    if most > 1.0 {
        evaluation.annotations.add(Note::InvalidQuantile(most), call.param_span);
    }
    if least < 0.0 {
        evaluation.annotations.add(Note::InvalidQuantile(least), call.param_span);
    }
    let mut index = GroupIndex::new(&call.grouping);
    let mut groups: Vec<Pages<Series>> = Vec::new();
    for one in series {
        evaluation.meter.spend(LABELS_POINTS).await?;
        if !one.histograms.is_empty() {
            let note = Note::IgnoredInAggregation(call.op.name());
            evaluation.annotations.add(note, call.input_span);
        }
        if one.column.is_empty() {
            continue;
        }
        let place = index.place(one.labels.as_ref());
        match groups.get_mut(place) {
            Some(group) => group.push(one),
            None => groups.push([one].into_iter().collect()),
        }
    }
    let mut out = Vec::with_capacity(groups.len());
    let mut values = Vec::new();
    for group in groups {
        let (mut steps, mut drop_name) = (vec![ABSENT; grid.count], false);
        for (step, slot) in steps.iter_mut().enumerate() {
            values.clear();
            for one in group.iter() {
                evaluation.meter.spend(2).await?;
                let v = one.column.at(step);
                if !super::value::is_absent(v) {
                    values.push(v);
                    drop_name |= one.drop_name;
                }
            }
            if !values.is_empty() {
                *slot = quantile_of_many(q.at(step), &mut values, evaluation.meter.pacer()).await?;
            }
        }
        let Some(first) = group.iter().next() else {
            continue;
        };
        let labels = call.grouping.group_labels(first.labels.as_ref());
        let column = Column::of(&steps);
        out.extend(column.map(|column| Series::of_floats(labels, drop_name, column)));
        let_go(group, evaluation.meter.pacer()).await?;
    }
    Ok(out)
}

/// How often each value has come up at each step.
struct Counts<'a> {
    index: GroupIndex<'a>,
    steps: Vec<(Labels, Vec<f64>)>,
    grid: Grid,
}

impl Counts<'_> {
    /// Where the series that are like `labels` and have the value `value` are counted.
    async fn place<P: Pace>(
        &mut self,
        evaluation: &Evaluation<'_, P>,
        call: &AggregateCall,
        labels: &Labels,
        value: String,
    ) -> Result<usize, QueryError> {
        evaluation.meter.spend(LABELS_POINTS * 4).await?;
        let labels = labels.to_builder().set(call.value_label.as_str(), value).build();
        let place = self.index.place(labels.as_ref());
        if place == self.steps.len() {
            evaluation.meter.hold(self.grid.count)?;
            let labels = call.grouping.group_labels(labels.as_ref());
            self.steps.push((labels, vec![ABSENT; self.grid.count]));
        }
        Ok(place)
    }

    fn count(&mut self, place: usize, step: usize) {
        if let Some(count) = self.steps.get_mut(place).and_then(|(_, steps)| steps.get_mut(step)) {
            *count = if super::value::is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
    }
}

async fn count_values<P: Pace>(
    evaluation: &Evaluation<'_, P>,
    call: &AggregateCall,
    series: Vec<Series>,
    grid: Grid,
) -> Result<Vec<Series>, QueryError> {
    let index = GroupIndex::new(&call.grouping);
    let mut counts = Counts { index, steps: Vec::new(), grid };
    for one in series {
        // Neighbouring points often have the same value; its label is then the same, too.
        let mut last: Option<(u64, usize)> = None;
        for (step, v) in one.column.points() {
            let place = match last {
                Some((bits, place)) if bits == v.to_bits() => place,
                _ => counts.place(evaluation, call, &one.labels, format_f(v)).await?,
            };
            last = Some((v.to_bits(), place));
            counts.count(place, step);
        }
        for (step, h) in one.histograms.points() {
            let place = counts.place(evaluation, call, &one.labels, h.to_string()).await?;
            counts.count(place, *step);
        }
    }
    let counts = counts.steps;
    evaluation.meter.release(counts.len() * grid.count);
    let mut series = Vec::with_capacity(counts.len());
    for (labels, steps) in counts {
        evaluation.meter.spend(LABELS_POINTS + steps.len()).await?;
        let column = Column::of(&steps);
        series.extend(column.map(|column| Series::of_floats(labels, false, column)));
    }
    sort_by_labels(series, &evaluation.meter).await
}
