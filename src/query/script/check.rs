//! Compares answers with what a script expects.

use super::command::{Eval, Expected, ExpectedSeries, ScriptValue, Text};
use crate::model::{Labels, TimestampMs, is_stale_nan};
use crate::query::annotation::Annotations;
use crate::query::float_histogram::FloatHistogram;
use crate::query::quantile::nearly_equal;
use crate::query::value::{AnswerValue, Point, Series};

/// How much of their sum two values may differ by.
const TOLERANCE: f64 = 1e-6;

/// An answer with its points at their instants.
pub(super) enum Flat {
    /// A number.
    Scalar(f64),
    /// A text.
    String(Vec<u8>),
    /// One value a series, in the engine's order.
    Vector(Vec<(Labels, Point)>),
    /// Points of each series, in order of time.
    Matrix(Vec<(Labels, Vec<(i64, Point)>)>),
}

impl Flat {
    /// The points of an answer.
    pub(super) fn of(answer: AnswerValue) -> Self {
        match answer {
            AnswerValue::Scalar { v, .. } => Self::Scalar(v),
            AnswerValue::String { v, .. } => Self::String(v),
            AnswerValue::Vector { samples, .. } => Self::Vector(samples),
            AnswerValue::Matrix { grid, series } => {
                let points = |one: &Series| {
                    let mut steps: Vec<usize> = one.steps().collect();
                    steps.sort_unstable();
                    let points = steps.into_iter();
                    points.filter_map(|step| Some((grid.time(step), one.at(step)?))).collect()
                };
                Self::Matrix(
                    series.into_iter().map(|one| (one.labels.clone(), points(&one))).collect(),
                )
            }
            AnswerValue::Ranges(series) => {
                let series = series.into_iter().map(|one| {
                    let floats = one.samples.into_iter().map(|s| (s.t.0, Point::Float(s.v)));
                    let histograms = one.histograms.into_iter();
                    let histograms = histograms.map(|(t, h)| (t, Point::Histogram(h)));
                    let mut points: Vec<(i64, Point)> = floats.chain(histograms).collect();
                    points.sort_by_key(|(t, _)| *t);
                    (one.labels, points)
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
        Flat::Vector(samples) => {
            let samples =
                samples.iter().map(|(labels, point)| format!("{labels} {}", written(point)));
            format!("vector [{}]", samples.collect::<Vec<_>>().join(", "))
        }
        Flat::Matrix(series) => {
            let series = series.iter().map(|(labels, points)| format!("{labels} {}", all(points)));
            format!("matrix [{}]", series.collect::<Vec<_>>().join(", "))
        }
    }
}

fn written(point: &Point) -> String {
    match point {
        Point::Float(v) => v.to_string(),
        Point::Histogram(h) => spelled(h),
    }
}

/// A histogram with what its short form leaves out.
fn spelled(h: &FloatHistogram) -> String {
    let FloatHistogram { schema, reset_hint, zero_threshold, custom, .. } = h;
    format!(
        "{h} (schema {schema}, hint {reset_hint:?}, zero up to {zero_threshold}, bounds {custom:?})"
    )
}

fn all(points: &[(i64, Point)]) -> String {
    let points = points.iter().map(|(t, point)| format!("{} @{t}", written(point)));
    format!("[{}]", points.collect::<Vec<_>>().join(", "))
}

fn same_value(want: f64, have: f64, what: &str) -> Result<(), String> {
    let stale = (is_stale_nan(want), is_stale_nan(have));
    if stale == (true, true) || (stale == (false, false) && nearly_equal(want, have, TOLERANCE)) {
        return Ok(());
    }
    Err(format!("expected {what} to be {want}, got {have}"))
}

fn same_point(want: &ScriptValue, have: &Point, what: &str) -> Result<(), String> {
    match (want, have) {
        (ScriptValue::Float(want), Point::Float(have)) => same_value(*want, *have, what),
        (ScriptValue::Histogram { histogram: want, hints }, Point::Histogram(have)) => {
            if same_histogram(want, have) && (!hints || want.reset_hint == have.reset_hint) {
                return Ok(());
            }
            Err(format!("expected {what} to be {}, got {}", spelled(want), spelled(have)))
        }
        (ScriptValue::Float(want), have) => {
            Err(format!("expected {what} to be {want}, got {}", written(have)))
        }
        (ScriptValue::Histogram { histogram, .. }, have) => {
            Err(format!("expected {what} to be {}, got {}", spelled(histogram), written(have)))
        }
    }
}

/// Are the two the same but for rounding and for buckets that are empty?
fn same_histogram(want: &FloatHistogram, have: &FloatHistogram) -> bool {
    let near = |a: f64, b: f64| nearly_equal(a, b, TOLERANCE);
    let (mut want, mut have) = (want.clone(), have.clone());
    want.compact();
    have.compact();
    let side = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && near(a.1, b.1))
    };
    want.schema == have.schema
        && want.zero_threshold == have.zero_threshold
        && (!want.has_custom_buckets() || want.custom == have.custom)
        && near(want.count, have.count)
        && near(want.sum, have.sum)
        && near(want.zero_count, have.zero_count)
        && side(&want.positive, &have.positive)
        && side(&want.negative, &have.negative)
}

fn vector(eval: &Eval, want: &[ExpectedSeries], have: &[(Labels, Point)]) -> Result<(), String> {
    for (position, (labels, point)) in have.iter().enumerate() {
        let found = want.iter().enumerate().find(|(_, want)| want.labels == *labels);
        let Some((line, expected)) = found else {
            return Err(format!("unexpected series {labels} with {}", written(point)));
        };
        if eval.ordered && line != position {
            return Err(format!("expected {labels} at place {line}, got it at {position}"));
        }
        match expected.values.as_slice() {
            [Some(want)] => same_point(want, point, &labels.to_string())?,
            _ => return Err(format!("expected nothing for {labels}, got {}", written(point))),
        }
    }
    missing(want, have.iter().map(|(labels, _)| labels))
}

fn matrix(
    want: &[ExpectedSeries],
    have: &[(Labels, Vec<(i64, Point)>)],
    start: i64,
    step: i64,
) -> Result<(), String> {
    if !have.is_sorted_by(|a, b| a.0 < b.0) {
        return Err("the series are not sorted by labels".to_owned());
    }
    for (labels, points) in have {
        let Some(expected) = want.iter().find(|want| want.labels == *labels) else {
            return Err(format!("unexpected series {labels} with {}", all(points)));
        };
        let steps = (0i64..).map(|index| start + step * index);
        let expected = steps.zip(&expected.values).filter_map(|(t, v)| Some((t, v.as_ref()?)));
        let expected: Vec<(i64, &ScriptValue)> = expected.collect();
        if !expected.iter().map(|(t, _)| t).eq(points.iter().map(|(t, _)| t)) {
            let times: Vec<i64> = expected.iter().map(|(t, _)| *t).collect();
            return Err(format!("expected {labels} at {times:?}, got {}", all(points)));
        }
        for ((t, want), (_, point)) in expected.into_iter().zip(points) {
            same_point(want, point, &format!("{labels} at {t}"))?;
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
        let (_, point) = points.into_iter().find(|(at, _)| *at == t.0)?;
        Some((labels, point))
    });
    let at: Vec<(Labels, Point)> = at.collect();
    match at.first() {
        Some((_, Point::Float(v))) if is_scalar => Flat::Scalar(*v),
        _ => Flat::Vector(at),
    }
}
