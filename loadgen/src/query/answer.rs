//! What the query API answers, and whether two answers say the same.
//! ```text
//! matrix  [{"metric":{..},"values":[[1.042,"1"],..],"histograms":[[1.042,{..}],..]},..]
//! vector  [{"metric":{..},"value":[1.042,"1"]},..]            or "histogram"
//! scalar  [1.042,"1"]                                         and so a string
//! ```
//! Source: Prometheus, "HTTP API". The order of series does not matter.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::verify::answer::{AnswerError, Metric, data};

/// The data of an answer.
#[derive(Debug, Deserialize)]
pub struct Answer<'a> {
    #[serde(rename = "resultType")]
    result_type: String,
    #[serde(borrow)]
    result: Outcome<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Outcome<'a> {
    /// A scalar or a string.
    One(#[serde(borrow)] (f64, &'a str)),
    Series(#[serde(borrow)] Vec<Series<'a>>),
}

#[derive(Debug, Deserialize)]
struct Series<'a> {
    metric: Metric,
    #[serde(borrow, default)]
    values: Vec<(f64, &'a str)>,
    #[serde(borrow, default)]
    value: Option<(f64, &'a str)>,
    #[serde(default)]
    histograms: Vec<(f64, Value)>,
    #[serde(default)]
    histogram: Option<(f64, Value)>,
}

/// Anything that is answered, unread.
#[derive(Debug, Deserialize)]
struct Anything {}

/// Is `body` a refusal or no answer at all? Looks no further than its beginning if it says success.
///
/// # Errors
/// It is.
pub fn success(status: u16, beginning: &[u8]) -> Result<(), AnswerError> {
    if status == 200 && beginning.starts_with(br#"{"status":"success""#) {
        return Ok(());
    }
    fn read<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, AnswerError> {
        data(status, body)
    }
    read::<Anything>(status, beginning).map(|_| ())
}

impl<'a> Answer<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// A refusal, or something else.
    pub fn read(status: u16, body: &'a [u8]) -> Result<Self, AnswerError> {
        data(status, body)
    }

    /// How many points it has, of floats and histograms.
    #[must_use]
    pub fn points(&self) -> u64 {
        match &self.result {
            Outcome::One(_) => 1,
            Outcome::Series(series) => series.iter().map(|one| one.points() as u64).sum(),
        }
    }

    /// What its floats add up to.
    #[must_use]
    pub fn sum(&self) -> f64 {
        let number = |(_, text): &(f64, &str)| text.parse().unwrap_or(0.0);
        match &self.result {
            Outcome::One(one) => number(one),
            Outcome::Series(series) => series.iter().flat_map(Series::floats).map(number).sum(),
        }
    }

    /// Where `other` says something else, if anywhere; floats may differ by `tolerance` of the larger.
    #[must_use]
    pub fn difference(&self, other: &Self, tolerance: f64) -> Option<String> {
        if self.result_type != other.result_type {
            return Some(format!("a {} and a {}", self.result_type, other.result_type));
        }
        let (ours, theirs) = match (&self.result, &other.result) {
            (Outcome::One(a), Outcome::One(b)) => return point(a, b, tolerance),
            (Outcome::Series(ours), Outcome::Series(theirs)) => (ours, theirs),
            _ => return Some("one is a series and one is none".to_owned()),
        };
        let mut theirs: HashMap<&Metric, &Series<'_>> =
            theirs.iter().map(|series| (&series.metric, series)).collect();
        for series in ours {
            let named = |what: String| format!("{what}, {:?}", series.metric);
            let Some(others) = theirs.remove(&series.metric) else {
                return Some(named("a series that only the first has".to_owned()));
            };
            if let Some(what) = series.difference(others, tolerance) {
                return Some(named(what));
            }
        }
        let left = theirs.keys().next();
        left.map(|metric| format!("a series that only the second has, {metric:?}"))
    }
}

impl<'a> Series<'a> {
    fn floats(&self) -> impl Iterator<Item = &(f64, &'a str)> {
        self.values.iter().chain(&self.value)
    }

    fn histograms(&self) -> impl Iterator<Item = &(f64, Value)> {
        self.histograms.iter().chain(&self.histogram)
    }

    fn points(&self) -> usize {
        self.floats().count() + self.histograms().count()
    }

    fn difference(&self, other: &Self, tolerance: f64) -> Option<String> {
        let counts = |series: &Self| (series.floats().count(), series.histograms().count());
        let (ours, theirs) = (counts(self), counts(other));
        if ours != theirs {
            return Some(format!("(floats, histograms) {ours:?} and {theirs:?}"));
        }
        let mut floats = self.floats().zip(other.floats());
        if let Some(what) = floats.find_map(|(a, b)| point(a, b, tolerance)) {
            return Some(what);
        }
        let mut histograms = self.histograms().zip(other.histograms());
        let differ = histograms.find(|(a, b)| a != b);
        differ.map(|((t, _), _)| format!("another histogram at {t}"))
    }
}

#[expect(clippy::float_cmp, reason = "equal ones, infinities among them, need no tolerance")]
fn point(a: &(f64, &str), b: &(f64, &str), tolerance: f64) -> Option<String> {
    let same_text = a.1 == b.1;
    let (x, y): (f64, f64) = (a.1.parse().unwrap_or(0.0), b.1.parse().unwrap_or(0.0));
    let near = x == y
        || (x - y).abs() <= tolerance * x.abs().max(y.abs()) && x.is_finite() && y.is_finite();
    if a.0 == b.0 && (same_text || near) {
        return None;
    }
    Some(format!("{} at {} and {} at {}", a.1, a.0, b.1, b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(kind: &str, result: &str) -> Vec<u8> {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
            .into_bytes()
    }

    fn difference(a: (&str, &str), b: (&str, &str)) -> Option<String> {
        let (a, b) = (body(a.0, a.1), body(b.0, b.1));
        let [a, b] = [&a, &b].map(|body| Answer::read(200, body).unwrap());
        a.difference(&b, 1e-9)
    }

    #[test]
    fn series_may_come_in_any_order_and_values_nearly_agree() {
        let ours = r#"[{"metric":{"a":"1"},"values":[[1,"0.3"],[2,"NaN"]]},{"metric":{},"values":[[1,"+Inf"]]}]"#;
        let theirs = r#"[{"metric":{},"values":[[1,"+Inf"]]},{"metric":{"a":"1"},"values":[[1,"0.30000000000000004"],[2,"NaN"]]}]"#;
        assert_eq!(difference(("matrix", ours), ("matrix", theirs)), None);
        let answer = body("matrix", ours);
        let answer = Answer::read(200, &answer).unwrap();
        assert_eq!(answer.points(), 3);
        let counts = body("matrix", r#"[{"metric":{},"values":[[1,"2"],[2,"3"]]}]"#);
        assert!((Answer::read(200, &counts).unwrap().sum() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn what_differs_is_named() {
        let one = r#"[{"metric":{"a":"1"},"value":[1,"2"]}]"#;
        for (other, what) in [
            ("[]", "only the first has"),
            (r#"[{"metric":{"a":"1"},"value":[1,"2.1"]}]"#, "2 at 1 and 2.1 at 1"),
            (r#"[{"metric":{"a":"1"},"value":[2,"2"]}]"#, "2 at 1 and 2 at 2"),
            (r#"[{"metric":{"a":"1"}}]"#, "(1, 0) and (0, 0)"),
            (r#"[{"metric":{"a":"1"},"histogram":[1,{"count":"1"}]}]"#, "(1, 0) and (0, 1)"),
        ] {
            let found = difference(("vector", one), ("vector", other)).unwrap();
            assert!(found.contains(what), "{found}");
        }
        assert!(difference(("vector", "[]"), ("vector", one)).unwrap().contains("only the second"));
        assert!(difference(("vector", one), ("matrix", "[]")).unwrap().contains("a matrix"));
        assert_eq!(difference(("scalar", r#"[1,"2"]"#), ("scalar", r#"[1,"2"]"#)), None);
        assert!(difference(("scalar", r#"[1,"+Inf"]"#), ("scalar", r#"[1,"2"]"#)).is_some());
        assert!(difference(("scalar", r#"[1,"NaN"]"#), ("scalar", r#"[1,"2"]"#)).is_some());
    }

    #[test]
    fn a_refusal_is_told_from_an_answer_by_its_beginning() {
        assert_eq!(success(200, br#"{"status":"success","data":{"#), Ok(()));
        let refusal = br#"{"status":"error","errorType":"bad_data","error":"what"}"#;
        assert_eq!(success(400, refusal).unwrap_err().to_string(), "400: bad_data: what");
        assert!(success(200, b"<html>").is_err());
        assert!(Answer::read(400, refusal).is_err());
    }
}
