//! Sets of series: sorting them by labels, taking metric names off, and merging those that have become the same.

use std::cmp::Ordering;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::error::QueryError;
use super::pace::{LABELS_POINTS, Meter, Pace};
use super::value::Series;
use crate::model::Labels;

/// What to do with several series of the same labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Same {
    /// Make them one; fail if two of them have a point at the same step.
    Merge,
    /// Fail.
    Refuse,
}

/// Runs sorted at once; longer ones are merged with a breath in between.
const RUN: usize = 512;

/// The series sorted by labels.
pub(super) async fn sort_by_labels<P: Pace>(
    series: Vec<Series>,
    meter: &Meter<'_, P>,
) -> Result<Vec<Series>, QueryError> {
    let mut keys = SortKeys::default();
    for one in &series {
        meter.spend(LABELS_POINTS / 4).await?;
        keys.push(&one.labels);
    }
    sort_by(series, |_, a, b| keys.get(a).cmp(keys.get(b)), meter).await
}

/// The series sorted by what `compare` says of all of them and two indices; equal ones keep their order.
pub(super) async fn sort_by<P: Pace>(
    series: Vec<Series>,
    compare: impl Fn(&[Series], usize, usize) -> Ordering,
    meter: &Meter<'_, P>,
) -> Result<Vec<Series>, QueryError> {
    let mut order: Vec<usize> = (0..series.len()).collect();
    meter.spend(order.len()).await?;
    if order.is_sorted_by(|a, b| compare(&series, *a, *b).is_le()) {
        return Ok(series);
    }
    for run in order.chunks_mut(RUN) {
        meter.spend(run.len() * LABELS_POINTS / 4).await?;
        run.sort_by(|a, b| compare(&series, *a, *b));
    }
    let mut width = RUN;
    while width < order.len() {
        let mut merged = Vec::with_capacity(order.len());
        for pair in order.chunks(width * 2) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
                meter.spend(LABELS_POINTS / 8).await?;
                if compare(&series, *b, *a).is_lt() {
                    merged.push(*b);
                    right = right_rest;
                } else {
                    merged.push(*a);
                    left = left_rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        order = merged;
        width *= 2;
    }
    let mut series: Vec<Option<Series>> = series.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| series.get_mut(index)?.take()).collect())
}

/// Label sets as bytes that sort as the label sets do, so that comparing two of them is comparing memory.
///
/// Names and values end with two zeros, and a zero inside of one is followed by a one.
#[derive(Default)]
struct SortKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl SortKeys {
    fn push(&mut self, labels: &Labels) {
        for label in labels.iter() {
            for text in [label.name, label.value] {
                if text.bytes().any(|byte| byte == 0) {
                    self.bytes.extend(text.bytes().flat_map(|byte| {
                        let escape = (byte == 0).then_some(1);
                        std::iter::once(byte).chain(escape)
                    }));
                } else {
                    self.bytes.extend_from_slice(text.as_bytes());
                }
                self.bytes.extend_from_slice(&[0, 0]);
            }
        }
        self.ends.push(self.bytes.len());
    }

    fn get(&self, index: usize) -> &[u8] {
        let start =
            index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.bytes.get(start..end).unwrap_or_default()
    }
}

/// Takes these labels off the series for which `which` holds.
pub(super) async fn drop_names<P: Pace>(
    series: &mut [Series],
    labels: &[&str],
    which: impl Fn(&Series) -> bool,
    meter: &Meter<'_, P>,
) -> Result<(), QueryError> {
    for one in series.iter_mut().filter(|one| which(one)) {
        meter.spend(LABELS_POINTS).await?;
        one.labels = one.labels.without(labels);
    }
    Ok(())
}

/// Deals with series of the same labels; the first one's place and mark stay.
///
/// # Errors
/// Series of the same labels that cannot be one.
pub(super) async fn merge_same<P: Pace>(
    mut series: Vec<Series>,
    same: Same,
    meter: &Meter<'_, P>,
) -> Result<Vec<Series>, QueryError> {
    if series.len() <= 1 {
        return Ok(series);
    }
    let mut firsts: HashMap<&[u8], usize, RandomState> =
        HashMap::with_capacity_and_hasher(series.len(), RandomState::default());
    let mut repeated = Vec::new();
    for (index, one) in series.iter().enumerate() {
        meter.spend(LABELS_POINTS / 4).await?;
        let first = *firsts.entry(one.labels.as_bytes()).or_insert(index);
        if first != index {
            repeated.push((first, index));
        }
    }
    drop(firsts);
    if repeated.is_empty() {
        return Ok(series);
    }
    if same == Same::Refuse {
        return Err(QueryError::same_labelset());
    }
    for (first, index) in &repeated {
        let Some(other) = series.get_mut(*index) else {
            continue;
        };
        let column = std::mem::take(&mut other.column);
        let histograms = std::mem::take(&mut other.histograms);
        let other = Series { labels: Labels::empty(), drop_name: false, column, histograms };
        meter.spend(other.len()).await?;
        if let Some(first) = series.get_mut(*first)
            && !first.merge(other)
        {
            return Err(QueryError::same_labelset());
        }
    }
    series.retain(|one| !one.is_empty());
    Ok(series)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::memory::Budget;
    use crate::query::pace::Unpaced;
    use crate::query::value::Column;

    fn series(labels: Labels, values: &[f64]) -> Series {
        Series::of_floats(labels, false, Column::of(values).unwrap())
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        futures_lite::future::block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn sorting_by_keys_is_sorting_by_labels(
            sets in proptest::collection::vec(
                proptest::collection::btree_map("[ab\0]{1,2}", "[ab\0]{1,3}", 0..3),
                0..1500,
            ),
        ) {
            let of = |set: &std::collections::BTreeMap<String, String>| {
                let pairs = set.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                series(Labels::from_pairs(pairs).unwrap(), &[1.0])
            };
            let unsorted: Vec<Series> = sets.iter().map(of).collect();
            let mut want: Vec<Labels> = unsorted.iter().map(|one| one.labels.clone()).collect();
            want.sort();
            let account = Budget::unlimited().open();
            let meter = Meter::new(&Unpaced, 0, &account);
            let have = block_on(sort_by_labels(unsorted, &meter)).unwrap();
            let have: Vec<Labels> = have.into_iter().map(|one| one.labels).collect();
            prop_assert_eq!(have, want);
        }
    }

    #[test]
    fn series_that_have_become_the_same_are_one_unless_they_meet() {
        use crate::query::value::ABSENT;
        let labels = |v| Labels::from_pairs([("a", v)]).unwrap();
        let account = Budget::unlimited().open();
        let meter = Meter::new(&Unpaced, 0, &account);
        let three = || {
            vec![
                series(labels("1"), &[1.0]),
                series(labels("2"), &[5.0]),
                series(labels("1"), &[ABSENT, 2.0]),
            ]
        };
        let merged = block_on(merge_same(three(), Same::Merge, &meter)).unwrap();
        assert_eq!(merged, [series(labels("1"), &[1.0, 2.0]), series(labels("2"), &[5.0])]);
        let refused = block_on(merge_same(three(), Same::Refuse, &meter));
        assert_eq!(refused, Err(QueryError::same_labelset()));
        let meeting = vec![series(labels("1"), &[1.0]), series(labels("1"), &[1.0])];
        let refused = block_on(merge_same(meeting, Same::Merge, &meter));
        assert_eq!(refused, Err(QueryError::same_labelset()));
    }
}
