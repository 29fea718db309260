//! Compares answers with what a script expects.

use super::command::{Eval, Expected, ExpectedSeries, Text};
use crate::model::{Labels, TimestampMs, is_stale_nan};
use crate::query::annotation::Annotations;
use crate::query::quantile::nearly_equal;
use crate::query::value::{AnswerValue, RawSeries};

/// How much of their sum two values may differ by.
const TOLERANCE: f64 = 1e-6;

/// An answer with its points at their instants.
pub(super) enum Flat {
    /// A number.
    Scalar(f64),
    /// A text.
    String(Vec<u8>),
    /// One value a series, in the engine's order.
    Vector(Vec<(Labels, f64)>),
    /// Points of each series.
    Matrix(Vec<(Labels, Vec<(i64, f64)>)>),
}

impl Flat {
    /// The points of an answer.
    pub(super) fn of(answer: AnswerValue) -> Self {
        match answer {
            AnswerValue::Scalar { v, .. } => Self::Scalar(v),
            AnswerValue::String { v, .. } => Self::String(v),
            AnswerValue::Vector { samples, .. } => Self::Vector(samples),
            AnswerValue::Matrix { grid, series } => {
                let series = series.into_iter().map(|series| {
                    let points = series.column.points().map(|(step, v)| (grid.time(step), v));
                    let points = points.collect();
                    (series.labels, points)
                });
                Self::Matrix(series.collect())
            }
            AnswerValue::Ranges(series) => {
                let series = series.into_iter().map(|RawSeries { labels, samples }| {
                    (labels, samples.into_iter().map(|sample| (sample.t.0, sample.v)).collect())
                });
                Self::Matrix(series.collect())
            }
        }
    }
}

/// Are these notes the ones that the script expects for `query`?
pub(super) fn annotations(eval: &Eval, query: &str, notes: &Annotations) -> Result<(), String> {
    let (warnings, infos) = (notes.warnings(query), notes.infos(query));
    expected_texts("warning", &eval.warnings, &warnings)?;
    expected_texts("info", &eval.infos, &infos)?;
    if eval.no_warnings && !warnings.is_empty() {
        return Err(format!("unexpected warnings {warnings:?}"));
    }
    if eval.no_infos && !infos.is_empty() {
        return Err(format!("unexpected infos {infos:?}"));
    }
    Ok(())
}

/// Each expected text comes up, and if any is expected, nothing else does.
fn expected_texts(kind: &str, expected: &[Text], texts: &[String]) -> Result<(), String> {
    if expected.is_empty() {
        return Ok(());
    }
    if let Some(missing) = expected.iter().find(|want| !texts.iter().any(|text| want.matches(text)))
    {
        return Err(format!("expected {kind} {missing:?}, got {texts:?}"));
    }
    match texts.iter().find(|text| !expected.iter().any(|want| want.matches(text))) {
        Some(odd) => Err(format!("unexpected {kind} {odd:?}")),
        None => Ok(()),
    }
}

/// Is this the answer that the script expects?
pub(super) fn answer(eval: &Eval, answer: &Flat) -> Result<(), String> {
    match (&eval.answer, answer) {
        (Expected::Scalar(want), Flat::Scalar(have)) => same_value(*want, *have, "the scalar"),
        (Expected::String(want), Flat::String(have)) if want == have => Ok(()),
        (Expected::Series(want), Flat::Vector(have)) => vector(eval, want, have),
        (Expected::Series(want), Flat::Matrix(have)) => {
            let (start, step) = (eval.range.start(), eval.range.step());
            matrix(want, have, start, step)
        }
        (Expected::Ranges { start, step, series }, Flat::Matrix(have)) => {
            matrix(series, have, *start, *step)
        }
        (_, have) => Err(format!("expected {:?}, got {}", eval.answer, shown(have))),
    }
}

fn shown(answer: &Flat) -> String {
    match answer {
        Flat::Scalar(v) => format!("scalar {v}"),
        Flat::String(text) => format!("string {:?}", String::from_utf8_lossy(text)),
        Flat::Vector(samples) => format!("vector {samples:?}"),
        Flat::Matrix(series) => format!("matrix {series:?}"),
    }
}

fn same_value(want: f64, have: f64, what: &str) -> Result<(), String> {
    let stale = (is_stale_nan(want), is_stale_nan(have));
    if stale == (true, true) || (stale == (false, false) && nearly_equal(want, have, TOLERANCE)) {
        return Ok(());
    }
    Err(format!("expected {what} to be {want}, got {have}"))
}

fn vector(eval: &Eval, want: &[ExpectedSeries], have: &[(Labels, f64)]) -> Result<(), String> {
    for (position, (labels, v)) in have.iter().enumerate() {
        let found = want.iter().enumerate().find(|(_, want)| want.labels == *labels);
        let Some((line, expected)) = found else {
            return Err(format!("unexpected series {labels} with {v}"));
        };
        if eval.ordered && line != position {
            return Err(format!("expected {labels} at place {line}, got it at {position}"));
        }
        match expected.values.as_deref() {
            Some([Some(want)]) => same_value(*want, *v, &labels.to_string())?,
            _ => return Err(format!("expected no float for {labels}, got {v}")),
        }
    }
    missing(want, have.iter().map(|(labels, _)| labels))
}

fn matrix(
    want: &[ExpectedSeries],
    have: &[(Labels, Vec<(i64, f64)>)],
    start: i64,
    step: i64,
) -> Result<(), String> {
    if !have.is_sorted_by(|a, b| a.0 < b.0) {
        return Err("the series are not sorted by labels".to_owned());
    }
    for (labels, points) in have {
        let Some(expected) = want.iter().find(|want| want.labels == *labels) else {
            return Err(format!("unexpected series {labels} with {points:?}"));
        };
        let Some(values) = &expected.values else {
            return Err(format!("expected histograms for {labels}, got {points:?}"));
        };
        let expected =
            values.iter().enumerate().filter_map(|(i, v)| Some((start + step * i as i64, (*v)?)));
        let expected: Vec<(i64, f64)> = expected.collect();
        if expected.len() != points.len() {
            return Err(format!("expected {expected:?} for {labels}, got {points:?}"));
        }
        for ((want_t, want), (t, v)) in expected.iter().zip(points) {
            if want_t != t {
                return Err(format!("expected {expected:?} for {labels}, got {points:?}"));
            }
            same_value(*want, *v, &format!("{labels} at {t}"))?;
        }
    }
    missing(want, have.iter().map(|(labels, _)| labels))
}

fn missing<'a>(
    want: &[ExpectedSeries],
    have: impl Iterator<Item = &'a Labels> + Clone,
) -> Result<(), String> {
    match want.iter().find(|want| !have.clone().any(|labels| *labels == want.labels)) {
        Some(missing) => Err(format!("expected series {} is missing", missing.labels)),
        None => Ok(()),
    }
}

/// The instant's slice of a range answer, in the shape of what the instant query answered.
pub(super) fn at_instant(range: AnswerValue, t: TimestampMs, is_scalar: bool) -> Flat {
    let Flat::Matrix(series) = Flat::of(range) else {
        return Flat::Vector(Vec::new());
    };
    let at = series.into_iter().filter_map(|(labels, points)| {
        let (_, v) = points.into_iter().find(|(at, _)| *at == t.0)?;
        Some((labels, v))
    });
    let at: Vec<(Labels, f64)> = at.collect();
    match at.first() {
        Some((_, v)) if is_scalar => Flat::Scalar(*v),
        _ => Flat::Vector(at),
    }
}
