//! The buckets of one side: a list of index and number, with rising indexes.

use super::Amount;

/// Adds `other` to `side`.
///
/// - `other`: in the order of indexes; one that comes several times in a row is summed first.
pub(super) fn add<N: Amount>(side: &mut Vec<(i32, N)>, other: impl Iterator<Item = (i32, N)>) {
    let mut missing: Vec<(i32, N)> = Vec::new();
    let mut at = 0;
    for (index, n) in other {
        while side.get(at).is_some_and(|(here, _)| *here < index) {
            at += 1;
        }
        let here = match side.get_mut(at) {
            Some(here) if here.0 == index => Some(here),
            _ => missing.last_mut().filter(|(last, _)| *last == index),
        };
        match here {
            Some((_, sum)) => *sum = sum.plus(n),
            None => missing.push((index, n)),
        }
    }
    if side.is_empty() {
        *side = missing;
    } else if !missing.is_empty() {
        side.extend(missing);
        // Two sorted runs: the sort finds them, and merges.
        side.sort_by_key(|(index, _)| *index);
    }
}

/// The same observations in buckets 2^`shift` times as wide.
///
/// - `buckets`: in the order of indexes.
pub(super) fn reduced<N: Amount>(
    buckets: impl Iterator<Item = (i32, N)>,
    shift: u32,
) -> impl Iterator<Item = (i32, N)> {
    // Bucket i ends at bound i: those up to a bound of the coarser schema go into the bucket that ends there. A shift by
    // 63 leaves nothing but the sign, and so does any larger one.
    let coarser = move |index: i32| ((i64::from(index) - 1) >> shift.min(63)) + 1;
    let mut buckets = buckets.peekable();
    std::iter::from_fn(move || {
        let (index, first) = buckets.next()?;
        let target = coarser(index);
        let mut sum = first;
        while let Some((_, n)) = buckets.next_if(|(index, _)| coarser(*index) == target) {
            sum = sum.plus(n);
        }
        // It is no further from zero than the index was.
        Some((i32::try_from(target).unwrap_or(index), sum))
    })
}

/// How many runs of consecutive buckets there are: as many spans as the side would have.
pub(super) fn runs<N>(side: &[(i32, N)]) -> usize {
    let follows = |pair: &&[(i32, N)]| match pair {
        [(a, _), (b, _)] => a.checked_add(1) == Some(*b),
        _ => false,
    };
    side.len() - side.windows(2).filter(follows).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn side() -> impl Strategy<Value = Vec<(i32, f64)>> {
        let index = prop_oneof![-20i32..20, any::<i32>()];
        prop::collection::btree_map(index, (-8i32..9).prop_map(f64::from), 0..20)
            .prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn adding_is_what_a_map_does(a in side(), b in side()) {
            let mut model: BTreeMap<i32, f64> = a.iter().copied().collect();
            for (index, n) in &b {
                *model.entry(*index).or_default() += n;
            }
            let mut sum = a;
            add(&mut sum, b.into_iter());
            prop_assert_eq!(sum, model.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn reducing_is_what_a_map_does(a in side(), shift in prop_oneof![0u32..9, any::<u32>()]) {
            let mut model: BTreeMap<i64, f64> = BTreeMap::new();
            for (index, n) in &a {
                let width = 1i128 << shift.min(63);
                let target = (i128::from(*index) - 1).div_euclid(width) + 1;
                *model.entry(i64::try_from(target).unwrap()).or_default() += n;
            }
            let reduced: Vec<(i64, f64)> =
                reduced(a.into_iter(), shift).map(|(i, n)| (i64::from(i), n)).collect();
            prop_assert_eq!(reduced, model.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn there_are_as_many_runs_as_spans(a in side()) {
            let mut spans = crate::model::histogram::span::SpanBuilder::default();
            for (index, _) in &a {
                prop_assert!(spans.push_far((*index).into()));
            }
            let spans = spans.build();
            let filled = spans.iter().filter(|span| span.length > 0).count();
            prop_assert_eq!(runs(&a), filled);
        }
    }
}
