//! `/api/v1/status/self_metrics`: the server's own metrics as JSON, family by family.
//!
//! ```text
//! [{"name":"up_seconds","help":"…","type":"GAUGE","metric":[{"label":[{"name":"a","value":"b"}],"gauge":{"value":1.5}}]}]
//! ```
//! The shape is that of `io.prometheus.client.MetricFamily` in protobuf's JSON form: counts are texts, since JSON numbers
//! cannot hold all of them, and what JSON has no number for is one too. Made of the text that `/metrics` gives, so that both
//! say the same. Source: `web/api/v1/api.go` (`selfMetrics`), Prometheus 3.14.

use std::collections::BTreeMap;

use super::api_error::ApiError;
use super::form::Form;
use super::json::{array, number, text};
use super::reply::{self, Reply};
use crate::model::regexp::{Anchored, GoRegex};

/// `status/self_metrics`; `exposition` is what `/metrics` gives.
///
/// # Errors
/// A pattern that is none.
pub fn self_metrics(exposition: &[u8], form: &Form) -> Result<Reply, ApiError> {
    let pattern = match form.get("metric_name_pattern") {
        "" => None,
        pattern => Some(GoRegex::new(pattern, Anchored::Yes).map_err(|error| {
            ApiError::bad_data(format!("invalid metric_name_pattern: {error}"))
        })?),
    };
    let exposition = String::from_utf8_lossy(exposition);
    let mut families = families(&exposition);
    families.retain(|family| pattern.as_ref().is_none_or(|pattern| pattern.is_match(family.name)));
    Ok(reply::success(|out| array(out, &families, family_object)))
}

/// A family of the exposition.
#[derive(Debug, Default)]
struct Family<'a> {
    name: &'a str,
    help: String,
    kind: &'a str,
    /// By their labels as the text has them, in order of the text; `le` and `quantile` are not among these.
    metrics: Vec<(Pairs<'a>, Metric)>,
}

/// Labels, their escapes undone.
type Pairs<'a> = Vec<(&'a str, String)>;

/// What a metric says.
#[derive(Debug, Default)]
struct Metric {
    /// A counter's or a gauge's value.
    value: f64,
    /// A histogram's or a summary's.
    sum: f64,
    count: f64,
    /// Bounds with counts up to them, or quantiles with their values.
    parts: Vec<(f64, f64)>,
}

/// Reads what this server has written: nothing else comes here, and what does not fit is left out.
fn families(exposition: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut by_labels = BTreeMap::new();
    for line in exposition.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            by_labels.clear();
            families.push(Family { name, help: unescaped(help), ..Family::default() });
        } else if let Some((_, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            if let Some(family) = families.last_mut() {
                family.kind = kind;
            }
        } else if let Some((family, (name, mut labels, value))) =
            families.last_mut().zip(sample(line))
        {
            let suffix = name.strip_prefix(family.name).unwrap_or_default();
            let part = labels.iter().position(|(name, _)| matches!(*name, "le" | "quantile"));
            let part = part.map(|at| labels.remove(at).1);
            let count = family.metrics.len();
            let at = *by_labels.entry(labels.clone()).or_insert(count);
            if at == count {
                family.metrics.push((labels, Metric::default()));
            }
            let Some((_, metric)) = family.metrics.get_mut(at) else { continue };
            match (suffix, part.map(|part| part.parse())) {
                (_, Some(Ok(part))) => metric.parts.push((part, value)),
                ("_sum", _) => metric.sum = value,
                ("_count", _) => metric.count = value,
                _ => metric.value = value,
            }
        }
    }
    families
}

/// `name{label="value"} 1.5` in its parts.
fn sample(line: &str) -> Option<(&str, Pairs<'_>, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at_checked(end)?;
    let mut labels = Vec::new();
    while let Some(at) = rest.strip_prefix(['{', ',']) {
        let (label, after) = at.split_once("=\"")?;
        let mut chars = after.char_indices();
        let ends = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => drop(chars.next()?),
                _ => {}
            }
        };
        labels.push((label, unescaped(after.get(..ends)?)));
        rest = after.get(ends + 1..)?;
    }
    let value = rest.trim_start_matches('}').trim().parse().ok()?;
    Some((name, labels, value))
}

/// A help text or a label's value without its escapes.
fn unescaped(text: &str) -> String {
    let (mut out, mut chars) = (String::with_capacity(text.len()), text.chars());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                escaped => escaped.unwrap_or('\\'),
            },
            c => c,
        });
    }
    out
}

fn family_object(out: &mut Vec<u8>, family: &Family<'_>) {
    out.extend_from_slice(br#"{"name":"#);
    text::string(out, family.name);
    out.extend_from_slice(br#","help":"#);
    text::string(out, &family.help);
    out.extend_from_slice(br#","type":"#);
    text::string(out, &family.kind.to_uppercase());
    out.extend_from_slice(br#","metric":"#);
    array(out, &family.metrics, |out, (labels, metric)| {
        out.push(b'{');
        if !labels.is_empty() {
            out.extend_from_slice(br#""label":"#);
            array(out, labels, |out, (name, value)| {
                out.extend_from_slice(br#"{"name":"#);
                text::string(out, name);
                out.extend_from_slice(br#","value":"#);
                text::string(out, value);
                out.push(b'}');
            });
            out.push(b',');
        }
        text::string(out, family.kind);
        out.push(b':');
        match family.kind {
            "histogram" => parts(out, metric, ["bucket", "upperBound", "cumulativeCount"]),
            "summary" => parts(out, metric, ["quantile", "quantile", "value"]),
            _ => {
                out.extend_from_slice(br#"{"value":"#);
                double(out, metric.value);
                out.push(b'}');
            }
        }
        out.push(b'}');
    });
    out.push(b'}');
}

/// A histogram or a summary: how many, their sum, and its parts.
fn parts(out: &mut Vec<u8>, metric: &Metric, [list, key, value_name]: [&str; 3]) {
    let whole = |out: &mut Vec<u8>, n: f64| text::string(out, &n.to_string());
    out.extend_from_slice(br#"{"sampleCount":"#);
    whole(out, metric.count);
    out.extend_from_slice(br#","sampleSum":"#);
    double(out, metric.sum);
    out.push(b',');
    text::string(out, list);
    out.push(b':');
    // The last bucket is the count again, and not written in protobuf.
    let told = metric.parts.iter().filter(|(part, _)| part.is_finite());
    array(out, told, |out, (part, value)| {
        out.push(b'{');
        text::string(out, key);
        out.push(b':');
        double(out, *part);
        out.push(b',');
        text::string(out, value_name);
        out.push(b':');
        if value_name == "value" {
            double(out, *value)
        } else {
            whole(out, *value)
        }
        out.push(b'}');
    });
    out.push(b'}');
}

/// A number, or the text by which protobuf's JSON form has one that JSON does not.
fn double(out: &mut Vec<u8>, v: f64) {
    if v.is_finite() {
        return number::bare_value(out, v);
    }
    out.extend_from_slice(match v {
        v if v.is_nan() => br#""NaN""#,
        v if v > 0.0 => br#""Infinity""#,
        _ => br#""-Infinity""#,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::metrics::exposition::{Buckets, Exposition, Kind};

    fn told(exposition: &[u8], query: &str) -> serde_json::Value {
        let reply = self_metrics(exposition, &Form::new(b"", query)).unwrap();
        let crate::server::body::Body::Whole(body) = reply.body() else { panic!("no body") };
        let mut json: serde_json::Value = serde_json::from_slice(body).unwrap();
        json["data"].take()
    }

    #[test]
    fn every_kind_of_family_has_its_form() {
        let mut exposition = Exposition::default();
        exposition.counter("a_total", "Counts\n\\a.", 12);
        let mut gauge = exposition.family("b", Kind::Gauge, "Says.");
        gauge.value(&[("x", "\"1\\\n")], f64::NAN);
        gauge.value(&[("x", "2")], 0.5);
        let buckets = Buckets { counts: vec![(0.1, 2), (1.0, 3)], above: 1, sum: 7.5 };
        exposition.family("c", Kind::Histogram, "Spreads.").histogram(&[("x", "1")], &buckets);
        exposition.family("d", Kind::Summary, "Ranks.").summary(&[], &[(0.5, 2.0)], 3.0, 4);
        let exposition = exposition.finish();
        assert_eq!(
            told(&exposition, ""),
            serde_json::json!([
                {
                    "name": "a_total", "help": "Counts\n\\a.", "type": "COUNTER",
                    "metric": [{"counter": {"value": 12}}],
                },
                {
                    "name": "b", "help": "Says.", "type": "GAUGE",
                    "metric": [
                        {"label": [{"name": "x", "value": "\"1\\\n"}], "gauge": {"value": "NaN"}},
                        {"label": [{"name": "x", "value": "2"}], "gauge": {"value": 0.5}},
                    ],
                },
                {
                    "name": "c", "help": "Spreads.", "type": "HISTOGRAM",
                    "metric": [{
                        "label": [{"name": "x", "value": "1"}],
                        "histogram": {
                            "sampleCount": "6", "sampleSum": 7.5,
                            "bucket": [
                                {"upperBound": 0.1, "cumulativeCount": "2"},
                                {"upperBound": 1, "cumulativeCount": "5"},
                            ],
                        },
                    }],
                },
                {
                    "name": "d", "help": "Ranks.", "type": "SUMMARY",
                    "metric": [{
                        "summary": {
                            "sampleCount": "4", "sampleSum": 3,
                            "quantile": [{"quantile": 0.5, "value": 2}],
                        },
                    }],
                },
            ])
        );
        assert_eq!(told(&exposition, "metric_name_pattern=[ab].*").as_array().unwrap().len(), 2);
        let refused = self_metrics(&exposition, &Form::new(b"", "metric_name_pattern=["));
        assert!(refused.is_err());
    }
}
