//! `label_replace`, `label_join` and the sorts: functions that look at labels, or at series beside each other.

use std::cmp::Ordering;

use super::error::QueryError;
use super::plan::VectorFunction;
use super::value::Series;
use crate::model::labels::METRIC_NAME;

/// The longest value that a label can be given, in bytes. Calls that double a value can be nested.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// Changes one series' labels as `label_replace` or `label_join` asks. A new metric name is there to stay.
///
/// # Errors
/// A value longer than a label may have.
pub(super) fn change(series: &mut Series, function: &VectorFunction) -> Result<(), QueryError> {
    let (dst, value) = match function {
        VectorFunction::LabelReplace { dst, template, src, regex } => {
            let text = series.labels.get(src).unwrap_or_default();
            let groups = template.bytes().filter(|byte| *byte == b'$').count();
            bounded(dst, text.len().saturating_mul(groups).saturating_add(template.len()))?;
            let Some(captures) = regex.captures(text) else {
                return Ok(());
            };
            let mut value = String::new();
            captures.expand(template, &mut value);
            (dst, value)
        }
        VectorFunction::LabelJoin { dst, separator, src } => {
            let values = || src.iter().map(|name| series.labels.get(name).unwrap_or_default());
            let bytes = values().map(|value| value.len().saturating_add(separator.len()));
            bounded(dst, bytes.fold(0, usize::saturating_add))?;
            (dst, values().collect::<Vec<_>>().join(separator))
        }
        _ => return Ok(()),
    };
    series.labels = series.labels.to_builder().set(dst.as_str(), value).build();
    if dst == METRIC_NAME {
        series.drop_name = false;
    }
    Ok(())
}

fn bounded(label: &str, bytes: usize) -> Result<(), QueryError> {
    if bytes <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(QueryError::Execution(format!(
        "label \"{label}\" would get a value of up to {bytes} bytes, at most {VALUE_BYTES_MAX} are allowed"
    )))
}

/// How `sort` and its like order two series of an instant.
pub(super) fn order(a: &Series, b: &Series, function: &VectorFunction) -> Ordering {
    match function {
        VectorFunction::Sort { descending } => {
            by_value(a.column.run().1.first(), b.column.run().1.first(), *descending)
        }
        VectorFunction::SortByLabel { labels, descending } => {
            let order = by_labels(a, b, labels);
            if *descending { order.reverse() } else { order }
        }
        _ => Ordering::Equal,
    }
}

/// By value, NaN last in either direction.
fn by_value(a: Option<&f64>, b: Option<&f64>, descending: bool) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else {
        return Ordering::Equal;
    };
    let order = if descending { b.partial_cmp(a) } else { a.partial_cmp(b) };
    order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// By the labels named, in natural order; by all labels where those are the same.
fn by_labels(a: &Series, b: &Series, labels: &[String]) -> Ordering {
    for label in labels {
        let (a, b) =
            (a.labels.get(label).unwrap_or_default(), b.labels.get(label).unwrap_or_default());
        if a != b {
            return natural(a, b);
        }
    }
    a.labels.cmp(&b.labels)
}

/// `node10` after `node9`: runs of digits compare as numbers. Source: `facette/natsort`, as Prometheus uses it.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_chunks, mut b_chunks) = (chunks(a), chunks(b));
    loop {
        let (a_chunk, b_chunk) = match (a_chunks.next(), b_chunks.next()) {
            (None, None) => return a.cmp(b), // numbers of the same value with different zeros
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => (a, b),
        };
        let order = match (a_chunk.parse::<i64>(), b_chunk.parse::<i64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => a_chunk.cmp(b_chunk),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The runs of digits and of other characters in turn.
fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let digits = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (chunk, more) = rest.split_at_checked(end)?;
        rest = more;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_sort_as_numbers() {
        let mut names = ["a10", "a9", "a", "b1", "a010z", "10", "9"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["9", "10", "a", "a9", "a10", "a010z", "b1"]);
    }

    #[test]
    fn nan_sorts_last_in_both_directions() {
        for descending in [false, true] {
            assert_eq!(by_value(Some(&f64::NAN), Some(&1.0), descending), Ordering::Greater);
            assert_eq!(by_value(Some(&1.0), Some(&f64::NAN), descending), Ordering::Less);
        }
        assert_eq!(by_value(Some(&1.0), Some(&2.0), true), Ordering::Greater);
    }
}
