//! Sets of series: sorting them by labels, taking metric names off, and merging those that have become the same.

use std::cmp::Ordering;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::error::QueryError;
use super::pace::{LABELS_POINTS, Meter, Pace, Pacer};
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
const RUN: usize = 64;

/// What comparing two label sets as bytes costs, in points.
const KEY_POINTS: usize = LABELS_POINTS / 4;

/// The series sorted by labels.
pub(super) async fn sort_by_labels<P: Pace>(
    mut series: Vec<Series>,
    meter: &Meter<'_, P>,
) -> Result<Vec<Series>, QueryError> {
    sort_labelled(&mut series, |one| &one.labels, meter.pacer()).await?;
    Ok(series)
}

/// Sorts what has labels by them.
pub(super) async fn sort_labelled<T, P: Pace>(
    items: &mut [T],
    labels: impl Fn(&T) -> &Labels,
    pacer: Pacer<'_, P>,
) -> Result<(), QueryError> {
    let mut keys = SortKeys::with_capacity(items.len());
    for one in &*items {
        pacer.spend(KEY_POINTS).await?;
        keys.push(labels(one));
    }
    let compare = |a, b| keys.get(a).cmp(keys.get(b));
    if let Some(order) = order_by(items.len(), KEY_POINTS, compare, pacer).await? {
        arrange(items, order, pacer).await?;
    }
    Ok(())
}

/// The series sorted by what `compare` says of all of them and two indices; equal ones keep their order.
///
/// - `points`: what comparing two of them costs.
pub(super) async fn sort_by<P: Pace>(
    mut series: Vec<Series>,
    points: usize,
    compare: impl Fn(&[Series], usize, usize) -> Ordering,
    meter: &Meter<'_, P>,
) -> Result<Vec<Series>, QueryError> {
    let pacer = meter.pacer();
    let of_two = |a, b| compare(&series, a, b);
    if let Some(order) = order_by(series.len(), points, of_two, pacer).await? {
        arrange(&mut series, order, pacer).await?;
    }
    Ok(series)
}

/// The order in which `compare` sorts `count` things, as their indices; `None` if they are sorted. Equal ones keep their order.
pub(super) async fn order_by<P: Pace>(
    count: usize,
    points: usize,
    compare: impl Fn(usize, usize) -> Ordering,
    pacer: Pacer<'_, P>,
) -> Result<Option<Vec<usize>>, QueryError> {
    let mut sorted = 1;
    while sorted < count && compare(sorted - 1, sorted).is_le() {
        pacer.spend(points).await?;
        sorted += 1;
    }
    if sorted >= count {
        return Ok(None);
    }
    let mut order: Vec<usize> = (0..count).collect();
    for run in order.chunks_mut(RUN) {
        pacer.spend(run.len() * points * 4).await?;
        run.sort_by(|a, b| compare(*a, *b));
    }
    let mut width = RUN;
    while width < count {
        let mut merged = Vec::with_capacity(count);
        for pair in order.chunks(width * 2) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
                pacer.spend(points).await?;
                if compare(*b, *a).is_lt() {
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
    Ok(Some(order))
}

/// Puts items into an order, where they lie.
async fn arrange<T, P: Pace>(
    items: &mut [T],
    mut order: Vec<usize>,
    pacer: Pacer<'_, P>,
) -> Result<(), QueryError> {
    for start in 0..items.len() {
        let mut at = start;
        // Round the circle of those that stand in each other's places.
        while let Some(from) = order.get_mut(at).map(|from| std::mem::replace(from, at))
            && from != start
        {
            pacer.spend(MOVE_POINTS).await?;
            items.swap(at, from);
            at = from;
        }
    }
    Ok(())
}

/// What looking at a series, or moving it, costs, in points.
pub(super) const MOVE_POINTS: usize = 4;

/// Takes those series away that have no points.
pub(super) async fn drop_empty<P: Pace>(
    series: &mut Vec<Series>,
    meter: &Meter<'_, P>,
) -> Result<(), QueryError> {
    let mut kept = 0;
    for at in 0..series.len() {
        meter.spend(MOVE_POINTS).await?;
        if series.get(at).is_some_and(|one| !one.is_empty()) {
            series.swap(kept, at);
            kept += 1;
        }
    }
    while series.len() > kept {
        meter.spend(MOVE_POINTS).await?;
        series.pop();
    }
    Ok(())
}

/// Appends `count` more to `all`, without moving at once what may be a gigabyte.
pub(super) async fn append<T, P: Pace>(
    all: &mut Vec<T>,
    count: usize,
    more: impl IntoIterator<Item = T>,
    pacer: Pacer<'_, P>,
) -> Result<(), QueryError> {
    if all.capacity() - all.len() < count {
        let mut moved = Vec::with_capacity(all.len() + count);
        for one in std::mem::take(all) {
            pacer.spend(MOVE_POINTS).await?;
            moved.push(one);
        }
        *all = moved;
    }
    for one in more {
        pacer.spend(MOVE_POINTS).await?;
        all.push(one);
    }
    Ok(())
}

/// Drops what there may be a million of.
pub(super) async fn let_go<T, P: Pace>(
    items: impl IntoIterator<Item = T>,
    pacer: Pacer<'_, P>,
) -> Result<(), QueryError> {
    for one in items {
        pacer.spend(MOVE_POINTS).await?;
        drop(one);
    }
    Ok(())
}

/// A copy of all series.
pub(super) async fn copied<P: Pace>(
    series: &[Series],
    meter: &Meter<'_, P>,
) -> Result<Vec<Series>, QueryError> {
    let mut copies = Vec::with_capacity(series.len());
    for one in series {
        meter.spend(LABELS_POINTS + one.len()).await?;
        copies.push(one.clone());
    }
    Ok(copies)
}

/// Label sets as bytes that sort as the label sets do, so that comparing two of them is comparing memory.
///
/// Names and values end with two zeros, and a zero inside of one is followed by a one.
///
/// They lie in pages: one long run of bytes would be moved whenever it has to grow.
struct SortKeys {
    pages: Vec<Vec<u8>>,
    /// Of each key, its page and where it lies there.
    places: Vec<(u32, u32, u32)>,
}

impl SortKeys {
    const PAGE_BYTES: usize = 64 << 10;

    /// Room for so many.
    fn with_capacity(count: usize) -> Self {
        Self { pages: Vec::new(), places: Vec::with_capacity(count) }
    }

    fn push(&mut self, labels: &Labels) {
        // Zeros within a text are few; a label takes two bytes more than it has, twice.
        let bytes = labels.as_bytes().len() * 2 + 4;
        if self.pages.last().is_none_or(|page| page.capacity() - page.len() < bytes) {
            self.pages.push(Vec::with_capacity(bytes.max(Self::PAGE_BYTES)));
        }
        let at = self.pages.len() - 1;
        let Some(page) = self.pages.last_mut() else { return };
        let start = page.len();
        for (name, value) in labels.as_ref().iter_raw() {
            for text in [name, value] {
                if text.contains(&0) {
                    page.extend(text.iter().flat_map(|byte| {
                        let escape = (*byte == 0).then_some(1);
                        std::iter::once(*byte).chain(escape)
                    }));
                } else {
                    page.extend_from_slice(text);
                }
                page.extend_from_slice(&[0, 0]);
            }
        }
        let fits = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.places.push((fits(at), fits(start), fits(page.len())));
    }

    fn get(&self, index: usize) -> &[u8] {
        let Some((page, start, end)) = self.places.get(index) else { return &[] };
        let page = self.pages.get(*page as usize);
        page.and_then(|page| page.get(*start as usize..*end as usize)).unwrap_or_default()
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
        let_go(series, meter.pacer()).await?;
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
            let_go(series, meter.pacer()).await?;
            return Err(QueryError::same_labelset());
        }
    }
    drop_empty(&mut series, meter).await?;
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
