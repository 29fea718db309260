//! Which series fall into one group: the labels of `by` or `without`, and the key that series of a group share.

use super::ast::{Aggregate, VectorMatching};
use super::key_map::KeyMap;
use crate::model::labels::METRIC_NAME;
use crate::model::{Label, Labels, LabelsRef};

/// The labels that describe a metric and go where its name goes. Source: `schema.IsMetadataLabel` of Prometheus.
pub(super) const METRIC_LABELS: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// Stands between names and values in keys. No UTF-8 text contains it.
const SEPARATOR: u8 = 0xff;

/// How series fall into groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grouping {
    /// Sorted.
    labels: Vec<String>,
    without: bool,
    /// Are series looked at as if they had no metric name?
    unnamed: bool,
}

impl Grouping {
    /// The grouping that an aggregation asks for.
    pub(super) fn of(aggregate: &Aggregate) -> Self {
        let mut labels = aggregate.grouping.clone();
        labels.sort_unstable();
        Self { labels, without: aggregate.without, unnamed: false }
    }

    /// The same grouping of series whose metric names are dropped before.
    pub(super) fn of_unnamed(self) -> Self {
        Self { unnamed: true, ..self }
    }

    /// The signatures by which series of two vectors are paired.
    pub(super) fn of_matching(matching: &VectorMatching) -> Self {
        let mut labels = matching.labels.clone();
        labels.sort_unstable();
        Self { labels, without: !matching.on, unnamed: false }
    }

    /// The series that have the same in `labels`, which are sorted.
    pub(super) fn by(labels: &[&str]) -> Self {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Self { labels, without: false, unnamed: false }
    }

    /// All series in one group without labels.
    pub(super) fn one_group() -> Self {
        Self { labels: Vec::new(), without: false, unnamed: false }
    }

    /// The same grouping with one more label to group by.
    pub(super) fn and_by(&self, label: &str) -> Self {
        let mut grouping = self.clone();
        if !grouping.without {
            grouping.labels.push(label.to_owned());
            grouping.labels.sort_unstable();
        }
        grouping
    }

    fn keeps(&self, label: Label<'_>) -> bool {
        if self.unnamed && METRIC_LABELS.contains(&label.name) {
            return false;
        }
        let listed = self.labels.iter().any(|name| name == label.name);
        if self.without { !listed && label.name != METRIC_NAME } else { listed }
    }

    /// Are all series one group?
    pub(super) fn is_one_group(&self) -> bool {
        self.labels.is_empty() && !self.without
    }

    /// Writes to `key` what two series have in common if and only if they are in one group.
    pub(super) fn write_key(&self, labels: LabelsRef<'_>, key: &mut Vec<u8>) {
        key.clear();
        if self.is_one_group() {
            return;
        }
        for label in labels.iter().filter(|label| self.keeps(*label)) {
            key.extend_from_slice(label.name.as_bytes());
            key.push(SEPARATOR);
            key.extend_from_slice(label.value.as_bytes());
            key.push(SEPARATOR);
        }
    }

    /// The labels of the group that a series is in.
    pub(super) fn group_labels(&self, labels: LabelsRef<'_>) -> Labels {
        if self.is_one_group() {
            return Labels::empty();
        }
        let kept = labels.iter().filter(|label| self.keeps(*label));
        let pairs = kept.map(|label| (label.name, label.value));
        // Labels of a canonical set stay unique and named, whichever of them are kept.
        Labels::from_pairs(pairs).unwrap_or_else(|_| Labels::empty())
    }
}

/// Numbers the groups of a grouping in the order in which they come up.
#[derive(Debug)]
pub(super) struct GroupIndex<'g> {
    grouping: &'g Grouping,
    by_key: KeyMap,
    key: Vec<u8>,
}

impl<'g> GroupIndex<'g> {
    /// No groups yet.
    pub(super) fn new(grouping: &'g Grouping) -> Self {
        Self { grouping, by_key: KeyMap::default(), key: Vec::new() }
    }

    /// The number of the group that a series is in; the next free one if it is the first of its group.
    pub(super) fn place(&mut self, labels: LabelsRef<'_>) -> usize {
        self.find(labels).unwrap_or_else(|| {
            let place = self.by_key.len();
            self.by_key.insert(&self.key, place);
            place
        })
    }

    /// The number of the group that a series is in, if another one was.
    pub(super) fn find(&mut self, labels: LabelsRef<'_>) -> Option<usize> {
        self.grouping.write_key(labels, &mut self.key);
        self.by_key.get(&self.key)
    }
}

/// The labels without those that describe the metric.
pub(super) fn without_metric(labels: LabelsRef<'_>) -> Labels {
    labels.to_owned().without(&METRIC_LABELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouping(labels: &[&str], without: bool, unnamed: bool) -> Grouping {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Grouping { labels, without, unnamed }
    }

    fn series() -> Labels {
        Labels::from_pairs([("__name__", "x"), ("__unit__", "s"), ("job", "a"), ("pod", "p")])
            .unwrap()
    }

    #[test]
    fn by_keeps_what_is_named_and_without_the_rest_but_the_name() {
        let by = grouping(&["__name__", "job"], false, false).group_labels(series().as_ref());
        assert_eq!(by.to_string(), r#"{__name__="x", job="a"}"#);
        let without = grouping(&["pod"], true, false).group_labels(series().as_ref());
        assert_eq!(without.to_string(), r#"{__unit__="s", job="a"}"#);
    }

    #[test]
    fn a_function_that_drops_the_name_leaves_nothing_to_group_by_it() {
        let by = grouping(&["__name__", "job"], false, true).group_labels(series().as_ref());
        assert_eq!(by.to_string(), r#"{job="a"}"#);
    }

    #[test]
    fn series_of_one_group_have_one_key() {
        let other = Labels::from_pairs([("job", "a"), ("pod", "q")]).unwrap();
        let (mut key, mut other_key) = (Vec::new(), Vec::new());
        let by = grouping(&["job"], false, false);
        by.write_key(series().as_ref(), &mut key);
        by.write_key(other.as_ref(), &mut other_key);
        assert_eq!(key, other_key);
        grouping(&["pod"], false, false).write_key(other.as_ref(), &mut other_key);
        assert_ne!(key, other_key);
    }
}
