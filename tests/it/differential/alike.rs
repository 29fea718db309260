//! Whether two servers gave the same answer.

use std::collections::BTreeMap;

use serde_json::Value;

/// How far two numbers may lie apart, as a part of the larger one.
const RELATIVE: f64 = 1e-9;
/// How far, as a part of the largest number in both answers: what is left when large numbers cancel out is as uncertain as they were.
const OF_LARGEST: f64 = 1e-14;

/// What an answer is, for the count of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Empty,
    Full,
    BadData,
    Execution,
    OtherError,
}

/// What this answer is.
pub fn kind(answer: &Value) -> Kind {
    match (answer["status"].as_str(), answer["errorType"].as_str()) {
        (Some("success"), _) => {
            let result = &answer["data"]["result"];
            let is_empty = result.as_array().is_some_and(Vec::is_empty);
            if is_empty { Kind::Empty } else { Kind::Full }
        }
        (_, Some("bad_data")) => Kind::BadData,
        (_, Some("execution")) => Kind::Execution,
        _ => Kind::OtherError,
    }
}

/// The difference between two answers, if there is one.
///
/// - `in_order`: is the order of the series part of the answer? It is compared by values: equal ones may stand either way.
pub fn difference(theirs: &Value, ours: &Value, in_order: bool) -> Option<String> {
    let said = || format!("theirs {}\n  ours   {}", short(theirs), short(ours));
    let same = |field: &str| theirs[field] == ours[field];
    if !same("status") || !same("errorType") {
        return Some(said());
    }
    let (theirs, ours) = (&theirs["data"], &ours["data"]);
    if theirs["resultType"] != ours["resultType"] {
        return Some(said());
    }
    if !matches!(theirs["resultType"].as_str(), Some("vector" | "matrix")) {
        let alike = points_alike(&theirs["result"], &ours["result"], 0.0);
        return (!alike).then(said);
    }
    let slack = largest(theirs).max(largest(ours)) * OF_LARGEST;
    if in_order && theirs["resultType"] == "vector" {
        let values = |data: &Value| -> Vec<Value> {
            let result = data["result"].as_array().into_iter().flatten();
            result.map(|series| series["value"].clone()).collect()
        };
        if !points_alike(&Value::Array(values(theirs)), &Value::Array(values(ours)), slack) {
            return Some(format!("in another order: {}", said()));
        }
    }
    let (theirs, ours) = (by_labels(theirs), by_labels(ours));
    let missing = theirs.keys().find(|labels| !ours.contains_key(*labels));
    let invented = ours.keys().find(|labels| !theirs.contains_key(*labels));
    if missing.is_some() || invented.is_some() {
        return Some(format!(
            "{} series theirs, {} ours: missing {missing:?}, invented {invented:?}",
            theirs.len(),
            ours.len()
        ));
    }
    theirs.into_iter().find_map(|(labels, their)| {
        let our = ours.get(&labels)?;
        let (their, our) = (points(their), points(our));
        if their.len() != our.len() {
            let (their, our) = (short(&Value::Array(their)), short(&Value::Array(our)));
            return Some(format!("{labels}\n  theirs {their}\n  ours   {our}"));
        }
        let mut pairs = their.into_iter().zip(our);
        let (their, our) = pairs.find(|(a, b)| !points_alike(a, b, slack))?;
        Some(format!("{labels}: theirs {their} ours {our}"))
    })
}

/// At most so much of it that a person reads it.
fn short(value: &Value) -> String {
    let mut text = value.to_string();
    let end = text.char_indices().nth(600).map_or(text.len(), |(at, _)| at);
    text.truncate(end);
    text
}

/// The samples of a series.
fn points(series: &Value) -> Vec<Value> {
    match series["values"].as_array() {
        Some(values) => values.clone(),
        None => vec![series["value"].clone()],
    }
}

fn by_labels(data: &Value) -> BTreeMap<String, &Value> {
    let series = data["result"].as_array().into_iter().flatten();
    series.map(|series| (series["metric"].to_string(), series)).collect()
}

/// The largest finite number among the values, without its sign.
fn largest(data: &Value) -> f64 {
    let series = data["result"].as_array().into_iter().flatten();
    let values = series.flat_map(points);
    let numbers = values.filter_map(|point| point[1].as_str()?.parse::<f64>().ok());
    numbers.map(f64::abs).filter(|number| number.is_finite()).fold(0.0, f64::max)
}

fn points_alike(their: &Value, our: &Value, slack: f64) -> bool {
    match (their, our) {
        (Value::Array(their), Value::Array(our)) => {
            let pairs = || their.iter().zip(our);
            their.len() == our.len() && pairs().all(|(a, b)| points_alike(a, b, slack))
        }
        (Value::String(their), Value::String(our)) if their != our => {
            match (their.parse::<f64>(), our.parse::<f64>()) {
                (Ok(a), Ok(b)) if a.is_finite() && b.is_finite() => {
                    (a - b).abs() <= (RELATIVE * a.abs().max(b.abs())).max(slack)
                }
                _ => false,
            }
        }
        _ => their == our,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(value: &str) -> Value {
        let series = json!({"metric": {"a": "b"}, "value": [1.5, value]});
        json!({"status": "success", "data": {"resultType": "vector", "result": [series]}})
    }

    #[test]
    fn numbers_may_differ_in_their_last_digits_and_nothing_else_may() {
        let differ = |a, b| difference(&vector(a), &vector(b), true).is_some();
        assert!(!differ("0.1", "0.10000000000000002"));
        assert!(differ("0.1", "0.1000001"));
        assert!(differ("NaN", "+Inf"));
        assert!(differ("1", "NaN"));
        let empty = json!({"status": "success", "data": {"resultType": "vector", "result": []}});
        assert!(difference(&vector("1"), &empty, false).is_some());
        let error = json!({"status": "error", "errorType": "bad_data", "error": "x"});
        assert!(difference(&vector("1"), &error, false).is_some());
        let other = json!({"status": "error", "errorType": "bad_data", "error": "y"});
        assert!(difference(&error, &other, false).is_none());
    }
}
