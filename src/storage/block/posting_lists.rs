//! Postings and the algebra on them: which series stand in all of these, in any of them, in this and not in that.
//!
//! Nothing is put together before it is asked for: everything answers one question, which number is the first that is
//! not below this one, and passes it on to what it is made of. A list answers in steps that double, so that a short
//! list picks its few numbers out of a long one without passing by all of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use crate::io::Pace;
use crate::model::SeriesId;

/// Numbers that are passed by between two pauses, whether they are found or not: where lists have little in common, a long way
/// may lie between two that are.
const SLICE: u64 = 64 << 10;

/// Numbers of series, ascending.
#[derive(Clone, Debug)]
pub(super) enum Postings {
    /// As they are.
    List(List),
    /// What stands in all; with none to ask, nothing.
    All(Vec<Postings>),
    /// What stands in any.
    Any(Any),
    /// What stands in the first and not in the second.
    Without(Box<(Postings, Postings)>),
}

/// Numbers, ascending, and how many of them have been passed by. A clone shares the numbers.
#[derive(Clone, Debug)]
pub(super) struct List {
    numbers: Rc<Vec<u32>>,
    passed: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Any {
    parts: Vec<Postings>,
    /// The number at which each part stands, and which part; those at their end are not here.
    heads: BinaryHeap<Reverse<(u32, usize)>>,
}

impl Postings {
    /// These numbers, which ascend.
    pub fn list(numbers: Vec<u32>) -> Self {
        Self::List(List { numbers: Rc::new(numbers), passed: 0 })
    }

    /// What stands in all `parts`; the shortest is asked first.
    pub fn all(mut parts: Vec<Self>) -> Self {
        parts.sort_by_key(Self::len_max);
        if let [_] = parts.as_slice()
            && let Some(only) = parts.pop()
        {
            return only;
        }
        Self::All(parts)
    }

    /// What stands in any of `parts`.
    pub fn any(mut parts: Vec<Self>) -> Self {
        if let [_] = parts.as_slice()
            && let Some(only) = parts.pop()
        {
            return only;
        }
        let heads = parts
            .iter_mut()
            .enumerate()
            .filter_map(|(i, part)| part.seek(0).map(|head| Reverse((head, i))))
            .collect();
        Self::Any(Any { parts, heads })
    }

    /// What stands in `self` and not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self::Without(Box::new((self, other)))
    }

    /// At most so many numbers are there.
    pub fn len_max(&self) -> usize {
        match self {
            Self::List(list) => list.numbers.len(),
            Self::All(parts) => parts.iter().map(Self::len_max).min().unwrap_or(0),
            Self::Any(any) => any.parts.iter().map(Self::len_max).sum(),
            Self::Without(both) => both.0.len_max(),
        }
    }

    /// No number is above this; `None` if there are none.
    fn last_max(&self) -> Option<u32> {
        match self {
            Self::List(list) => list.numbers.last().copied(),
            Self::All(parts) => parts.iter().map(Self::last_max).min()?,
            Self::Any(any) => any.parts.iter().filter_map(Self::last_max).max(),
            Self::Without(both) => both.0.last_max(),
        }
    }

    /// The first number that is not below `target`. It is not used up: asked the same again, the answer is the same.
    ///
    /// - `target`: not below that of the call before.
    pub fn seek(&mut self, target: u64) -> Option<u32> {
        self.seek_within(target, u64::MAX)
    }

    /// The first number that is not below `target`, if it is below `bound`; one that is not may be given, too.
    fn seek_within(&mut self, target: u64, bound: u64) -> Option<u32> {
        match self {
            Self::List(list) => list.seek(target),
            Self::All(parts) => seek_all(parts, target, bound),
            Self::Any(any) => any.seek(target),
            Self::Without(both) => {
                let (wanted, unwanted) = &mut **both;
                let mut number = wanted.seek_within(target, bound)?;
                while unwanted.seek(u64::from(number)) == Some(number) {
                    if u64::from(number) + 1 >= bound {
                        return None;
                    }
                    number = wanted.seek_within(u64::from(number) + 1, bound)?;
                }
                Some(number)
            }
        }
    }

    /// All numbers.
    pub async fn collect(mut self, pace: &mut impl Pace) -> Vec<SeriesId> {
        let Some(last) = self.last_max().map(u64::from) else { return Vec::new() };
        let (mut found, mut target) = (Vec::new(), 0);
        while target <= last {
            let bound = target + SLICE;
            while let Some(number) = self.seek_within(target, bound) {
                target = u64::from(number);
                if target >= bound {
                    break;
                }
                found.push(SeriesId(number));
                target += 1;
            }
            target = target.max(bound);
            pace.breathe().await;
        }
        found
    }
}

impl List {
    fn seek(&mut self, target: u64) -> Option<u32> {
        let mut rest = self.numbers.get(self.passed..)?;
        let is_below = |number: &u32| u64::from(*number) < target;
        let mut step = 1;
        while rest.get(step).is_some_and(is_below) {
            rest = rest.get(step..).unwrap_or_default();
            step *= 2;
        }
        let near = rest.get(..rest.len().min(step + 1)).unwrap_or_default();
        let behind = rest.get(near.partition_point(is_below)..).unwrap_or_default();
        self.passed = self.numbers.len() - behind.len();
        behind.first().copied()
    }
}

fn seek_all(parts: &mut [Postings], mut target: u64, bound: u64) -> Option<u32> {
    'candidates: loop {
        let mut candidate = None;
        for part in &mut *parts {
            if target >= bound {
                return None;
            }
            let number = part.seek_within(target, bound)?;
            if candidate.is_some_and(|candidate| candidate != number) {
                target = u64::from(number);
                continue 'candidates;
            }
            (candidate, target) = (Some(number), u64::from(number));
        }
        return candidate;
    }
}

impl Any {
    fn seek(&mut self, target: u64) -> Option<u32> {
        loop {
            let Reverse((head, part)) = *self.heads.peek()?;
            if u64::from(head) >= target {
                return Some(head);
            }
            self.heads.pop();
            let next = self.parts.get_mut(part).and_then(|part| part.seek(target));
            self.heads.extend(next.map(|head| Reverse((head, part))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::io::sim::{NoPace, run};

    /// Postings, and the set that they are.
    fn any_postings() -> impl Strategy<Value = (Postings, BTreeSet<u32>)> {
        let numbers = prop_oneof![0u32..60, (u32::MAX - 3)..=u32::MAX];
        let list = proptest::collection::btree_set(numbers, 0..40)
            .prop_map(|set| (Postings::list(set.iter().copied().collect()), set));
        list.prop_recursive(3, 12, 4, |inner| {
            let several = || proptest::collection::vec(inner.clone(), 1..4);
            prop_oneof![
                several().prop_map(|parts| {
                    let (parts, sets): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
                    let set = sets.into_iter().reduce(|a, b| &a & &b).unwrap_or_default();
                    (Postings::all(parts), set)
                }),
                several().prop_map(|parts| {
                    let (parts, sets): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
                    (Postings::any(parts), sets.into_iter().flatten().collect())
                }),
                (inner.clone(), inner.clone())
                    .prop_map(|((a, in_a), (b, in_b))| (a.without(b), &in_a - &in_b)),
            ]
        })
    }

    proptest! {
        #[test]
        fn postings_read_like_sets((postings, set) in any_postings()) {
            let numbers = run(postings.clone().collect(&mut NoPace));
            prop_assert!(set.len() <= postings.len_max());
            prop_assert_eq!(numbers, set.into_iter().map(SeriesId).collect::<Vec<_>>());
        }

        #[test]
        fn seeking_is_looking_for_the_first_that_is_not_below(
            (mut postings, set) in any_postings(), mut targets in proptest::collection::vec(0u32..70, 0..20),
        ) {
            targets.sort_unstable();
            for target in targets {
                prop_assert_eq!(postings.seek(u64::from(target)), set.range(target..).next().copied());
            }
        }
    }
}
