//! Which series fall into one group: the labels of `by` or `without`, and the key that series of a group share.

use super::ast::{Aggregate, VectorMatching};
use super::key_map::KeyMap;
use crate::model::labels::METRIC_NAME;
use crate::model::{Labels, LabelsRef};

/// The labels that describe a metric and go where its name goes. Source: `schema.IsMetadataLabel` of Prometheus.
pub(super) const METRIC_LABELS: &[&str] = &[METRIC_NAME, METRIC_TYPE, "__unit__"];

/// The label that says of which type a metric is.
pub(super) const METRIC_TYPE: &str = "__type__";

/// The name alone: `histogram_count` and its like leave the type and the unit.
pub(super) const NAME_ALONE: &[&str] = &[METRIC_NAME];

/// Stands between names and values in keys. No UTF-8 text contains it.
const SEPARATOR: u8 = 0xff;

/// How series fall into groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grouping {
    /// Sorted.
    labels: Vec<String>,
    without: bool,
    /// Series are looked at as if they did not have these.
    hidden: &'static [&'static str],
}

impl Grouping {
    /// The grouping that an aggregation asks for.
    pub(super) fn of(aggregate: &Aggregate) -> Self {
        let mut labels = aggregate.grouping.clone();
        labels.sort_unstable();
        Self { labels, without: aggregate.without, hidden: &[] }
    }

    /// The same grouping of series that lose these labels before.
    pub(super) fn of_those_without(self, hidden: &'static [&'static str]) -> Self {
        Self { hidden, ..self }
    }

    /// The signatures by which series of two vectors are paired.
    pub(super) fn of_matching(matching: &VectorMatching) -> Self {
        let mut labels = matching.labels.clone();
        labels.sort_unstable();
        Self { labels, without: !matching.on, hidden: &[] }
    }

    /// The series that have the same in `labels`, which are sorted.
    pub(super) fn by(labels: &[&str]) -> Self {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Self { labels, without: false, hidden: &[] }
    }

    /// All series in one group without labels.
    pub(super) fn one_group() -> Self {
        Self { labels: Vec::new(), without: false, hidden: &[] }
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

    /// Does this name stay?
    fn keeps(&self, name: &[u8]) -> bool {
        let is = |other: &str| other.as_bytes() == name;
        if self.hidden.iter().any(|hidden| is(hidden)) {
            return false;
        }
        let listed = self.labels.iter().any(|listed| is(listed));
        if self.without { !listed && !is(METRIC_NAME) } else { listed }
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
        for (name, value) in labels.iter_raw().filter(|(name, _)| self.keeps(name)) {
            key.extend_from_slice(name);
            key.push(SEPARATOR);
            key.extend_from_slice(value);
            key.push(SEPARATOR);
        }
    }

    /// The labels of the group that a series is in.
    pub(super) fn group_labels(&self, labels: LabelsRef<'_>) -> Labels {
        if self.is_one_group() {
            return Labels::empty();
        }
        let kept = labels.iter().filter(|label| self.keeps(label.name.as_bytes()));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn grouping(labels: &[&str], without: bool, hidden: &'static [&'static str]) -> Grouping {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Grouping { labels, without, hidden }
    }

    fn series() -> Labels {
        Labels::from_pairs([("__name__", "x"), ("__unit__", "s"), ("job", "a"), ("pod", "p")])
            .unwrap()
    }

    #[test]
    fn by_keeps_what_is_named_and_without_the_rest_but_the_name() {
        let by = grouping(&["__name__", "job"], false, &[]).group_labels(series().as_ref());
        assert_eq!(by.to_string(), r#"{__name__="x", job="a"}"#);
        let without = grouping(&["pod"], true, &[]).group_labels(series().as_ref());
        assert_eq!(without.to_string(), r#"{__unit__="s", job="a"}"#);
    }

    #[test]
    fn a_function_that_drops_the_name_leaves_nothing_to_group_by_it() {
        let by =
            grouping(&["__name__", "job"], false, METRIC_LABELS).group_labels(series().as_ref());
        assert_eq!(by.to_string(), r#"{job="a"}"#);
        let by = grouping(&["__name__", "__unit__"], false, NAME_ALONE);
        assert_eq!(by.group_labels(series().as_ref()).to_string(), r#"{__unit__="s"}"#);
    }

    #[test]
    fn series_of_one_group_have_one_key() {
        let other = Labels::from_pairs([("job", "a"), ("pod", "q")]).unwrap();
        let (mut key, mut other_key) = (Vec::new(), Vec::new());
        let by = grouping(&["job"], false, &[]);
        by.write_key(series().as_ref(), &mut key);
        by.write_key(other.as_ref(), &mut other_key);
        assert_eq!(key, other_key);
        grouping(&["pod"], false, &[]).write_key(other.as_ref(), &mut other_key);
        assert_ne!(key, other_key);
    }
}
