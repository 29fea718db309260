//! What the query API answers, as far as verifying needs it.
//! ```text
//! query   {"status":"success","data":{"resultType":"matrix","result":[{"metric":{..},"values":[[1.042,"1"],..]},..]}}
//! series  {"status":"success","data":[{"__name__":"up",..},..]}
//! values  {"status":"success","data":["up",..]}
//! error   {"status":"error","errorType":"execution","error":"why"}
//! ```
//! Source: Prometheus, "HTTP API". Members that are not named here are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A label set as the API spells it.
pub type Metric = BTreeMap<String, String>;

/// One series of a matrix.
#[derive(Debug, Deserialize)]
pub struct Series<'a> {
    /// Its labels.
    pub metric: Metric,
    /// Seconds since the epoch, and the value as text.
    #[serde(borrow, default)]
    pub values: Vec<(f64, &'a str)>,
}

/// Why an answer is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The server refused.
    #[error("{status}: {error_type}: {error}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Prometheus' class of errors.
        error_type: String,
        /// What it says.
        error: String,
    },
    /// It is not the JSON it should be.
    #[error("the answer with status {status} is not of the query API: {what}")]
    Form {
        /// The HTTP status.
        status: u16,
        /// Where it differs.
        what: String,
    },
}

#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    data: Option<T>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct QueryData<'a> {
    #[serde(rename = "resultType")]
    result_type: String,
    #[serde(borrow)]
    result: Vec<Series<'a>>,
}

/// The series of a matrix.
///
/// # Errors
/// A refusal, or another form.
pub fn matrix(status: u16, body: &[u8]) -> Result<Vec<Series<'_>>, AnswerError> {
    let data: QueryData<'_> = data(status, body)?;
    match data.result_type.as_str() {
        "matrix" => Ok(data.result),
        other => Err(AnswerError::Form { status, what: format!("a {other} instead of a matrix") }),
    }
}

/// The data of any successful answer.
///
/// # Errors
/// A refusal, or another form.
pub fn data<'a, T: Deserialize<'a>>(status: u16, body: &'a [u8]) -> Result<T, AnswerError> {
    let form = |what: String| AnswerError::Form { status, what };
    let refused = !(200..300).contains(&status);
    if refused && let Ok(Envelope { error_type, error, .. }) = parse::<serde_json::Value>(body) {
        return Err(AnswerError::Refused { status, error_type, error });
    }
    if refused {
        let text = String::from_utf8_lossy(body).trim().chars().take(200).collect();
        return Err(form(text));
    }
    let envelope = parse::<T>(body).map_err(|error| form(error.to_string()))?;
    match (envelope.status.as_str(), envelope.data) {
        ("success", Some(data)) => Ok(data),
        (status, _) => Err(form(format!("its status is \"{status}\""))),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Envelope<T>, serde_json::Error> {
    serde_json::from_slice(body)
}

/// Milliseconds since the epoch of the API's seconds, which have at most three decimals.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "saturates; no sample was sent there")]
pub fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_matrix_has_series_with_values() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"up","a":"\u00e4"},"values":[[1.042,"1"],[2,"+Inf"]],"more":1}]},"warnings":["w"]}"#;
        let series = matrix(200, body).unwrap();
        assert_eq!(series[0].metric["a"], "ä");
        assert_eq!(series[0].values, [(1.042, "1"), (2.0, "+Inf")]);
        assert!(
            matrix(200, br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_refusal_says_why() {
        let body = br#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
        let error = matrix(422, body).unwrap_err();
        assert_eq!(error.to_string(), "422: execution: too many samples");
        assert!(
            matrix(503, b"Service Unavailable")
                .unwrap_err()
                .to_string()
                .contains("Service Unavailable")
        );
    }

    #[test]
    fn other_answers_are_not_taken_for_empty_ones() {
        for body in [
            &b""[..],
            b"{}",
            br#"{"status":"success"}"#,
            br#"{"status":"error","data":{"resultType":"matrix","result":[]}}"#,
            br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            br#"{"status":"success","data":{"resultType":"matrix"}}"#,
        ] {
            assert!(matrix(200, body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }

    proptest! {
        #[test]
        fn every_millisecond_survives_its_text(ms in 0i64..253_402_300_799_999) {
            let text = format!("{}.{:03}", ms / 1000, ms % 1000);
            prop_assert_eq!(milliseconds(serde_json::from_str(&text).unwrap()), ms);
        }
    }
}
