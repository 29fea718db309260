//! A label set as a request spells it, in any order and possibly wrong, and its way into canonical form.
//!
//! Only for sets that do not lie in the request in canonical form already. Bytes, not texts: whether they are UTF-8 is
//! looked at when a shard makes the series.

use std::fmt::Write;

use super::WireError;
use crate::model::labels::{
    METRIC_NAME, canonical_len, is_legacy_name, push_canonical, write_quoted,
};
use crate::model::refusal::LABEL_BYTES_MAX;
use crate::model::{LabelsError, RefusalReason};

/// A series is read up to this many labels: no more fit into the bytes that a series may have, at eight for the shortest
/// one. Two bytes of a request can encode one without a value, and 32 hold it.
pub(super) const LABELS_MAX: usize = LABEL_BYTES_MAX / 8;

/// A refused series is spelled out for people to at most about this many bytes.
const SPELLED_BYTES_MAX: usize = 1024;

/// Fails if a series that has `count` labels may have no further one, that at `offset` of the request.
pub(super) fn check_labels(count: usize, offset: usize) -> Result<(), WireError> {
    if count >= LABELS_MAX {
        return Err(WireError::TooManyLabels { offset, max: LABELS_MAX });
    }
    Ok(())
}

/// Names and values, in the request's order until [`canonicalise`](Self::canonicalise) has sorted them.
#[derive(Default)]
pub(super) struct LabelSet<'b> {
    labels: Vec<(&'b [u8], &'b [u8])>,
}

impl<'b> LabelSet<'b> {
    pub(super) fn clear(&mut self) {
        self.labels.clear();
    }

    pub(super) fn push(&mut self, name: &'b [u8], value: &'b [u8]) {
        self.labels.push((name, value));
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Sorts the labels and appends their canonical bytes to `out`, those without a value left out.
    ///
    /// Fails, with `out` as it was, for a name that is empty or stands twice, without a metric name, and for a set of more
    /// bytes than a series may have: in 2.0 a few bytes can stand for gigabytes, so this is known before they are written.
    pub(super) fn canonicalise(&mut self, out: &mut Vec<u8>) -> Result<(), RefusalReason> {
        self.labels.sort_by(|a, b| a.0.cmp(b.0)); // stable: errors spell values in the sender's order
        let is_metric =
            |label: &(&[u8], &[u8])| label.0 == METRIC_NAME.as_bytes() && !label.1.is_empty();
        if !self.labels.iter().any(is_metric) {
            return Err(RefusalReason::NoMetricName);
        }
        if let Some((_, value)) = self.labels.first().filter(|label| label.0.is_empty()) {
            return Err(RefusalReason::Labels(LabelsError::EmptyName(lossy(value))));
        }
        let pairs = self.labels.iter().zip(self.labels.iter().skip(1));
        if let Some((twice, _)) = pairs.into_iter().find(|(a, b)| a.0 == b.0) {
            return Err(RefusalReason::Labels(LabelsError::Duplicate(lossy(twice.0))));
        }
        let kept = || self.labels.iter().filter(|label| !label.1.is_empty());
        let bytes = kept().map(|(name, value)| canonical_len(name.len(), value.len())).sum();
        if bytes > LABEL_BYTES_MAX {
            return Err(RefusalReason::LabelsTooLong { bytes });
        }
        kept().for_each(|(name, value)| push_canonical(out, name, value));
        Ok(())
    }

    /// The set for people, as Prometheus prints one, cut if it is long: `{__name__="up", job="api"}`.
    pub(super) fn spell(&self) -> String {
        let mut text = "{".to_owned();
        for (i, (name, value)) in self.labels.iter().enumerate() {
            if i > 0 {
                text.push_str(", ");
            }
            if text.len() >= SPELLED_BYTES_MAX {
                text.push_str("...");
                break;
            }
            let name = lossy(name);
            if is_legacy_name(&name) {
                text.push_str(&name);
            } else {
                let _ = write_quoted(&mut text, &name); // writing to a String does not fail
            }
            text.push('=');
            let _ = write_quoted(&mut text, &lossy(value));
        }
        let _ = write!(text, "}}");
        text
    }
}

/// `bytes` for people: what is not UTF-8 replaced, and cut if it is long.
fn lossy(bytes: &[u8]) -> String {
    match bytes.get(..SPELLED_BYTES_MAX) {
        Some(start) if start.len() < bytes.len() => {
            format!("{}...", String::from_utf8_lossy(start))
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn set(pairs: &[(&'static str, &'static str)]) -> LabelSet<'static> {
        let mut set = LabelSet::default();
        pairs.iter().for_each(|(name, value)| set.push(name.as_bytes(), value.as_bytes()));
        set
    }

    fn canonical(pairs: &[(&'static str, &'static str)]) -> Result<Vec<u8>, RefusalReason> {
        let mut out = b"before".to_vec();
        let result = set(pairs).canonicalise(&mut out);
        assert!(out.starts_with(b"before") && (result.is_ok() || out.len() == 6));
        result.map(|()| out.split_off(6))
    }

    #[test]
    fn labels_are_sorted_and_those_without_a_value_dropped() {
        let labels = Labels::from_pairs([("__name__", "up"), ("a", "1")]).unwrap();
        assert_eq!(
            canonical(&[("b", ""), ("a", "1"), ("__name__", "up")]).unwrap(),
            labels.as_bytes()
        );
    }

    #[test]
    fn a_set_that_is_none_is_refused_with_the_reason() {
        let duplicate = RefusalReason::Labels(LabelsError::Duplicate("a".to_owned()));
        let empty_name = RefusalReason::Labels(LabelsError::EmptyName("1".to_owned()));
        assert_eq!(canonical(&[]), Err(RefusalReason::NoMetricName));
        assert_eq!(canonical(&[("__name__", ""), ("a", "1")]), Err(RefusalReason::NoMetricName));
        assert_eq!(canonical(&[("a", "1"), ("__name__", "up"), ("a", "")]), Err(duplicate));
        assert_eq!(canonical(&[("", "1"), ("__name__", "up")]), Err(empty_name));
    }

    #[test] // a symbol of megabytes costs two bytes each time a series names it
    fn a_set_is_as_long_as_a_series_may_have_and_no_longer() {
        for len in [1, 127, 128, 20_000, LABEL_BYTES_MAX - 30, LABEL_BYTES_MAX - 29, 3 << 20] {
            let value = vec![b'v'; len];
            let mut set = set(&[("__name__", "up")]);
            set.push(b"a", &value);
            let mut canonical = Vec::new();
            push_canonical(&mut canonical, b"__name__", b"up");
            push_canonical(&mut canonical, b"a", &value);
            let bytes = canonical.len();
            let mut out = Vec::new();
            if bytes <= LABEL_BYTES_MAX {
                assert_eq!(set.canonicalise(&mut out), Ok(()), "{bytes} bytes");
                assert_eq!(out, canonical);
            } else {
                let refused = RefusalReason::LabelsTooLong { bytes };
                assert_eq!(set.canonicalise(&mut out), Err(refused));
                assert_eq!(out.capacity(), 0);
            }
        }
    }

    #[test]
    fn a_set_is_spelled_as_prometheus_spells_it_and_cut_when_long() {
        assert_eq!(
            set(&[("__name__", "up"), ("a.b", "\"")]).spell(),
            r#"{__name__="up", "a.b"="\""}"#
        );
        let mut long = LabelSet::default();
        let value = vec![b'x'; 5000];
        (0..100).for_each(|_| long.push(b"a", &value));
        assert!(long.spell().len() < 3 * SPELLED_BYTES_MAX);
        let mut bytes = LabelSet::default();
        bytes.push(b"a", b"\xff");
        assert_eq!(bytes.spell(), "{a=\"\u{fffd}\"}");
    }
}
