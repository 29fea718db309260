//! Operators between results: scalars, a vector and a scalar, and the set operators. Pairs of vectors are `matching`'s.

use super::annotation::Note;
use super::arithmetic::compute;
use super::ast::{BinaryOp, VectorMatching};
use super::engine::{Evaluation, Value};
use super::error::QueryError;
use super::grouping::{GroupIndex, Grouping};
use super::leaf::Param;
use super::pace::{LABELS_POINTS, Pace};
use super::plan::{BinaryCall, Node};
use super::point_map::{PointMap, ScalarOp};
use super::series_set::{append, drop_empty};
use super::step_run::StepRun;
use super::value::{Column, Series, is_absent};

/// Evaluates an operator.
pub(super) async fn evaluate<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &BinaryCall,
    node: &Node,
) -> Result<Value, QueryError> {
    let grid = node.grid;
    let series = match call.scalars {
        (true, true) => {
            let (a, b) = (evaluation.scalar(call.lhs)?, evaluation.scalar(call.rhs)?);
            evaluation.meter.spend(grid.count).await?;
            return Ok(Value::Scalar(a.zip(&b, grid.count, |a, b| compute(call.op, a, b))));
        }
        (true, false) => {
            let scalar = evaluation.scalar(call.lhs)?;
            let series = evaluation.vector(call.rhs).await?;
            with_scalar(evaluation, call, series, (scalar, true), node).await?
        }
        (false, true) => {
            let series = evaluation.vector(call.lhs).await?;
            let scalar = evaluation.scalar(call.rhs)?;
            with_scalar(evaluation, call, series, (scalar, false), node).await?
        }
        (false, false) => {
            let lhs = evaluation.vector(call.lhs).await?;
            let rhs = evaluation.vector(call.rhs).await?;
            let Some(matching) = &call.matching else {
                return Err(QueryError::Internal("two vectors without matching".to_owned()));
            };
            let together = match call.op {
                BinaryOp::And | BinaryOp::Unless | BinaryOp::Or => {
                    set_operator(evaluation, call.op, lhs, rhs, matching).await?
                }
                _ => {
                    super::matching::evaluate(evaluation, call, matching, (lhs, rhs), node).await?
                }
            };
            evaluation.together(together, grid).await?
        }
    };
    Ok(Value::Vector(series))
}

/// A vector and a scalar.
async fn with_scalar<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &BinaryCall,
    mut series: Vec<Series>,
    (scalar, scalar_is_left): (Param, bool),
    node: &Node,
) -> Result<Vec<Series>, QueryError> {
    let op = call.op;
    if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
        for one in series.iter_mut().filter(|one| !one.column.is_empty()) {
            one.column = Column::default();
            let note = Note::IncompatibleTypes("float", op.name(), "float");
            evaluation.annotations.add(note, node.span);
        }
    }
    let return_bool = call.return_bool;
    let map = ScalarOp { op, scalar, scalar_is_left, return_bool, span: node.span };
    evaluation.map(series, &PointMap::Scalar(map), node.grid).await
}

/// `and`, `or`, `unless`: which points stay depends on which signatures the other side has at the same step.
async fn set_operator<P: Pace>(
    evaluation: &Evaluation<'_, P>,
    op: BinaryOp,
    mut lhs: Vec<Series>,
    mut rhs: Vec<Series>,
    matching: &VectorMatching,
) -> Result<Vec<Series>, QueryError> {
    let signature = Grouping::of_matching(matching);
    let (deciding, decided) = match op {
        BinaryOp::Or => (&lhs, &mut rhs),
        _ => (&rhs, &mut lhs),
    };
    let mut index = GroupIndex::new(&signature);
    let mut presence: Vec<StepRun<bool>> = Vec::new();
    for one in deciding {
        evaluation.meter.spend(LABELS_POINTS + one.len()).await?;
        let place = index.place(one.labels.as_ref());
        if place == presence.len() {
            presence.push(StepRun::new());
        }
        let (first, values) = one.column.run();
        if let Some(present) = presence.get_mut(place) {
            let steps = present.grown_to(first, first + values.len(), &false);
            for (present, v) in steps.iter_mut().zip(values) {
                *present |= !is_absent(*v);
            }
            for (step, _) in one.histograms.points() {
                present.grown_to(*step, *step + 1, &false).fill(true);
            }
        }
    }
    let keeps_matched = op == BinaryOp::And;
    for one in decided.iter_mut() {
        evaluation.meter.spend(LABELS_POINTS + one.len()).await?;
        let present = index.find(one.labels.as_ref()).and_then(|place| presence.get(place));
        one.retain(|step| {
            let matched =
                present.and_then(|present| present.get(step)).is_some_and(|present| *present);
            matched == keeps_matched
        });
    }
    drop_empty(decided, &evaluation.meter).await?;
    if op == BinaryOp::Or {
        append(&mut lhs, rhs.len(), rhs, evaluation.meter.pacer()).await?;
    }
    Ok(lhs)
}
