//! Operators between two points of which at least one is a native histogram, and those that are made for histograms.
//!
//! Source: `vectorElemBinop` in `promql/engine.go`.

use std::sync::Arc;

use super::annotation::{HistogramOperation, Note};
use super::arithmetic::{compute, holds};
use super::ast::BinaryOp;
use super::float_histogram::{FloatHistogram, Incompatible};
use super::value::Point;
use crate::model::histogram::ResetHint;

/// What an operator makes of two points.
#[derive(Debug)]
pub(super) enum Element {
    /// This, with something to note about it perhaps.
    Kept(Point, Option<Note>),
    /// Nothing: a comparison does not hold between them.
    Filtered,
    /// Nothing, and why.
    Refused(Option<Note>),
}

/// `a op b`; a comparison gives `a` where it holds.
pub(super) fn element(op: BinaryOp, a: &Point, b: &Point) -> Element {
    match (a, b) {
        (Point::Float(_), Point::Float(_)) if is_trim(op) => mismatch(op, "float", "float"),
        (Point::Float(a), Point::Float(b)) => of_floats(op, *a, *b),
        (Point::Float(a), Point::Histogram(b)) => match op {
            BinaryOp::Mul => changed(b, |h| h.scale(*a)),
            _ => mismatch(op, "float", "histogram"),
        },
        (Point::Histogram(a), Point::Float(b)) => match op {
            BinaryOp::Mul => changed(a, |h| h.scale(*b)),
            BinaryOp::Div => changed(a, |h| h.divide(*b)),
            BinaryOp::TrimUpper => trimmed(a, |h| h.trim_upper(*b)),
            BinaryOp::TrimLower => trimmed(a, |h| h.trim_lower(*b)),
            _ => mismatch(op, "histogram", "float"),
        },
        (Point::Histogram(a), Point::Histogram(b)) => match op {
            BinaryOp::Add | BinaryOp::Sub => put_together(op, a, b),
            BinaryOp::Eq => kept_if(a.is_same(b), a),
            BinaryOp::Ne => kept_if(!a.is_same(b), a),
            _ => mismatch(op, "histogram", "histogram"),
        },
    }
}

fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper)
}

fn of_floats(op: BinaryOp, a: f64, b: f64) -> Element {
    if !op.is_comparison() {
        return Element::Kept(Point::Float(compute(op, a, b)), None);
    }
    if holds(op, a, b) { Element::Kept(Point::Float(a), None) } else { Element::Filtered }
}

fn mismatch(op: BinaryOp, left: &'static str, right: &'static str) -> Element {
    Element::Refused(Some(Note::IncompatibleTypes(left, op.name(), right)))
}

fn trimmed(h: &FloatHistogram, change: impl FnOnce(&mut FloatHistogram)) -> Element {
    let mut h = h.clone();
    change(&mut h);
    Element::Kept(Point::Histogram(Arc::new(h)), None)
}

fn changed(h: &FloatHistogram, change: impl FnOnce(&mut FloatHistogram)) -> Element {
    trimmed(h, |h| {
        change(h);
        h.compact();
    })
}

fn kept_if(holds: bool, h: &Arc<FloatHistogram>) -> Element {
    if holds { Element::Kept(Point::Histogram(Arc::clone(h)), None) } else { Element::Filtered }
}

fn put_together(op: BinaryOp, a: &FloatHistogram, b: &FloatHistogram) -> Element {
    let mut h = a.clone();
    let (combined, operation) = match op {
        BinaryOp::Add => (h.add(b), HistogramOperation::Addition),
        _ => (h.sub(b), HistogramOperation::Subtraction),
    };
    let combined = match combined {
        Ok(combined) => combined,
        Err(Incompatible::Schemas) => {
            return Element::Refused(Some(Note::IncompatibleBuckets(op.name())));
        }
        Err(_) => return Element::Refused(None),
    };
    if combined.counter_reset_collision {
        return Element::Refused(Some(Note::ResetCollision(operation)));
    }
    if op == BinaryOp::Sub {
        h.reset_hint = ResetHint::Gauge;
    }
    h.compact();
    let note = combined.bounds_reconciled.then_some(Note::MismatchedBuckets(operation));
    Element::Kept(Point::Histogram(Arc::new(h)), note)
}
