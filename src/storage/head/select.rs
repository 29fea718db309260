//! Which series do these matchers select? From postings, without looking at series one by one where that is cheaper.
//!
//! Every matcher that cannot match an absent label names the postings that it wants; these are intersected, smallest
//! first. The others (`!=`, patterns that match the empty text) then take series away: by asking each series that is
//! left, or by subtracting postings, whichever looks at less. Source: `PostingsForMatchers` in `tsdb/querier.go`.

use std::borrow::Cow;

use super::Head;
use super::pairs::{PairId, Pairs};
use crate::model::matcher::MatchOp;
use crate::model::{Label, Matcher};

impl Head {
    /// The indexes of the series for which all `matchers` hold, sorted.
    #[must_use]
    pub fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let (narrowing, excluding): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|m| !m.matches_empty());
        let mut wanted: Vec<Cow<'_, [u32]>> =
            narrowing.into_iter().map(|m| wanted(&self.pairs, m)).collect();
        wanted.sort_by_key(|postings| postings.len());
        let mut wanted = wanted.into_iter();
        let mut selected: Vec<u32> = match wanted.next() {
            Some(first) => first.into_owned(),
            None => self.indexes().collect(),
        };
        for postings in wanted {
            intersect(&mut selected, &postings);
        }
        if self.removing {
            selected.retain(|series| self.exists(*series)); // postings may still have what is gone
        }
        for matcher in excluding {
            self.exclude(&mut selected, matcher);
        }
        selected
    }

    /// The indexes of all series, sorted.
    pub fn indexes(&self) -> impl Iterator<Item = u32> {
        let all_there = self.series.live() == self.series.len();
        (0..self.series.len()).filter(move |index| all_there || self.exists(*index))
    }

    /// Keeps of `selected` the series for which a matcher holds that also holds for series without the label.
    fn exclude(&self, selected: &mut Vec<u32>, matcher: &Matcher) {
        let pairs = self.pairs.of_name(matcher.name());
        if selected.len() < pairs.len() {
            selected.retain(|series| {
                matcher.matches(self.value_of(*series, matcher.name()).unwrap_or_default())
            });
            return;
        }
        let unwanted: Vec<PairId> = pairs
            .iter()
            .copied()
            .filter(|pair| !matcher.matches(self.pairs.value(*pair)))
            .collect();
        let unwanted = union(&self.pairs, &unwanted);
        if !unwanted.is_empty() {
            let mut rest = &unwanted[..];
            selected.retain(|series| !advance_to(&mut rest, *series));
        }
    }

    /// The labels of a series, in order of their names.
    pub fn label_pairs(&self, series: u32) -> impl Iterator<Item = Label<'_>> {
        let pairs = self.rest.get(series).map(|rest| &*rest.pairs).unwrap_or_default();
        pairs.iter().filter_map(|pair| self.pairs.label(*pair))
    }

    /// The value that a series has for a label name.
    #[must_use]
    pub fn value_of(&self, series: u32, name: &str) -> Option<&str> {
        self.label_pairs(series).find(|label| label.name == name).map(|label| label.value)
    }
}

/// The series that have a label for which `matcher`, which does not hold for series without the label, holds.
fn wanted<'a>(pairs: &'a Pairs, matcher: &Matcher) -> Cow<'a, [u32]> {
    if matcher.op() == MatchOp::Equal {
        let found = pairs.find(matcher.name(), matcher.value());
        return Cow::Borrowed(found.map(|pair| pairs.postings(pair)).unwrap_or_default());
    }
    let values = match matcher.set_matches() {
        Some(set) if matcher.op() == MatchOp::Regex => {
            set.iter().filter_map(|value| pairs.find(matcher.name(), value)).collect::<Vec<_>>()
        }
        _ => {
            let all = pairs.of_name(matcher.name()).iter().copied();
            all.filter(|pair| matcher.matches(pairs.value(*pair))).collect()
        }
    };
    match values.as_slice() {
        [only] => Cow::Borrowed(pairs.postings(*only)),
        several => Cow::Owned(union(pairs, several)),
    }
}

/// The series that carry at least one of the pairs, sorted. A series has one value a name, so that lists of one name
/// share nothing: putting them together and sorting is enough.
fn union(pairs: &Pairs, ids: &[PairId]) -> Vec<u32> {
    let mut all = Vec::with_capacity(ids.iter().map(|id| pairs.postings(*id).len()).sum());
    for id in ids {
        all.extend_from_slice(pairs.postings(*id));
    }
    all.sort_unstable();
    all.dedup(); // while pairs are pruned, one may be listed twice
    all
}

/// Keeps of `selected` what also stands in `postings`. Both are sorted.
fn intersect(selected: &mut Vec<u32>, postings: &[u32]) {
    let mut rest = postings;
    selected.retain(|series| advance_to(&mut rest, *series));
}

/// Moves `rest` to the first number that is not below `target`, in growing steps; is it `target`?
fn advance_to(rest: &mut &[u32], target: u32) -> bool {
    let mut step = 1;
    while rest.get(step).is_some_and(|at| *at < target) {
        *rest = rest.get(step..).unwrap_or_default();
        step *= 2;
    }
    let near = rest.get(..rest.len().min(step + 1)).unwrap_or_default();
    let skip = near.partition_point(|at| *at < target);
    *rest = rest.get(skip..).unwrap_or_default();
    rest.first() == Some(&target)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Fingerprinter, Labels};

    fn head(sets: &[Labels]) -> Head {
        let mut head = Head::new(Fingerprinter::new(1));
        for labels in sets {
            head.replay_unnamed_series(labels.as_ref()).unwrap();
        }
        head
    }

    fn any_matcher() -> impl Strategy<Value = Matcher> {
        let op = prop_oneof![
            Just(MatchOp::Equal),
            Just(MatchOp::NotEqual),
            Just(MatchOp::Regex),
            Just(MatchOp::NotRegex)
        ];
        let value = prop_oneof![
            Just(""),
            Just("1"),
            Just("2"),
            Just("1|2"),
            Just("1.*"),
            Just(".*"),
            Just(".+"),
            Just("|1"),
            Just("9")
        ];
        ("[a-d]", op, value).prop_map(|(name, op, value)| Matcher::new(&name, op, value).unwrap())
    }

    proptest! {
        #[test]
        fn selecting_is_asking_every_series(
            sets in proptest::collection::hash_set(proptest::collection::btree_map("[a-c]", "[0-2]{1,2}", 0..4), 0..60),
            matchers in proptest::collection::vec(any_matcher(), 0..4),
        ) {
            let sets: Vec<Labels> = sets.iter()
                .map(|set| Labels::from_pairs(set.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap())
                .collect();
            let holds = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()));
            let want: Vec<u32> = (0u32..).zip(&sets).filter(|(_, labels)| holds(labels)).map(|(i, _)| i).collect();
            prop_assert_eq!(head(&sets).select(&matchers), want);
        }

        #[test]
        fn intersecting_is_keeping_what_both_have(
            a in proptest::collection::btree_set(0u32..500, 0..200), b in proptest::collection::btree_set(0u32..500, 0..200),
        ) {
            let (mut left, right): (Vec<_>, Vec<_>) = (a.iter().copied().collect(), b.iter().copied().collect());
            intersect(&mut left, &right);
            prop_assert_eq!(left, a.intersection(&b).copied().collect::<Vec<_>>());
        }
    }
}
