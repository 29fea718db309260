//! Which series do these matchers select? From postings, without looking at series one by one where that is cheaper.
//!
//! Every matcher that cannot match an absent label names the postings that it wants, and these are intersected: first those
//! whose values stand in the matcher, smallest first, then those that are looked for among all values of the name. The others
//! (`!=`, patterns that match the empty text) then take series away. Either is done by asking each series that is left, or by
//! postings, whichever looks at less. Source: `PostingsForMatchers` in `tsdb/querier.go`.
//!
//! A name may have a million values and a list a million series, so that all of it is done some at a time, with pauses in
//! between in which the Head may change: what comes or goes meanwhile is selected or not.

use std::cell::RefCell;

use super::Head;
use super::pairs::PairId;
use crate::io::Pace;
use crate::model::matcher::MatchOp;
use crate::model::{Label, Matcher};

/// Values, or labels of series, that are matched without a pause: some 100 us with a pattern that is very dear.
const MATCHED_AT_ONCE: usize = 32;
/// Numbers of series that are looked at without a pause: some 20 us.
const SERIES_AT_ONCE: usize = 8192;
/// Lists that are looked at without a pause.
const LISTS_AT_ONCE: usize = 512;
/// To ask a series for a label costs as much as to look at so many values.
const VALUES_PER_SERIES: usize = 4;
/// Up to so many numbers of several lists are put together by sorting, more of them by marking.
const SORTED_MAX: usize = 4096;

/// The series that carry one pair, or several.
enum List {
    Pair(PairId),
    Union(Vec<u32>),
}

impl List {
    fn of<'a>(&'a self, head: &'a Head) -> &'a [u32] {
        match self {
            Self::Pair(pair) => head.pairs.postings(*pair),
            Self::Union(numbers) => numbers,
        }
    }
}

impl Head {
    /// The indexes of the series for which all `matchers` hold, sorted.
    pub async fn select(
        head: &RefCell<Self>,
        matchers: &[Matcher],
        pace: &mut impl Pace,
    ) -> Vec<u32> {
        let (narrowing, excluding): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|matcher| !matcher.matches_empty());
        let (mut lists, mut scans) = (Vec::new(), Vec::new());
        for matcher in narrowing {
            match looked_up(head, matcher, pace).await {
                Some(pairs) => lists.push(union(head, pairs, pace).await),
                None => scans.push(matcher),
            }
        }
        lists.sort_by_cached_key(|list| list.of(&head.borrow()).len());
        let mut selected: Option<Vec<u32>> = None;
        for list in lists {
            narrow(head, &mut selected, list, pace).await;
        }
        for matcher in scans {
            let values = head.borrow().pairs.of_name(matcher.name()).len();
            match &mut selected {
                Some(selected) if selected.len() < values / VALUES_PER_SERIES => {
                    ask(head, selected, matcher, pace).await;
                }
                _ => {
                    let pairs = look_for(head, matcher, true, pace).await;
                    let list = union(head, pairs, pace).await;
                    narrow(head, &mut selected, list, pace).await;
                }
            }
        }
        let mut selected = match selected {
            Some(selected) => selected,
            None => all(head, pace).await,
        };
        if head.borrow().removing {
            // Postings may still have what is gone.
            keep(head, &mut selected, SERIES_AT_ONCE, pace, |head, some| {
                some.retain(|series| head.exists(*series));
            })
            .await;
        }
        for matcher in excluding {
            let values = head.borrow().pairs.of_name(matcher.name()).len();
            if selected.len() < values {
                ask(head, &mut selected, matcher, pace).await;
                continue;
            }
            let pairs = look_for(head, matcher, false, pace).await;
            let unwanted = union(head, pairs, pace).await;
            keep(head, &mut selected, SERIES_AT_ONCE, pace, |head, some| {
                let mut rest = unwanted.of(head);
                some.retain(|series| !advance_to(&mut rest, *series));
            })
            .await;
        }
        selected
    }

    /// The indexes of all series, sorted.
    pub fn indexes(&self) -> impl Iterator<Item = u32> {
        let all_there = self.series.live() == self.series.len();
        (0..self.series.len()).filter(move |index| all_there || self.exists(*index))
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

/// The pairs of the values that stand in `matcher`, which does not hold for series without the label; `None` if none do.
async fn looked_up(
    head: &RefCell<Head>,
    matcher: &Matcher,
    pace: &mut impl Pace,
) -> Option<Vec<PairId>> {
    let is_plain = matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
    let values = matcher.set_matches().filter(|_| is_plain)?;
    let mut found = Vec::new();
    for values in values.chunks(MATCHED_AT_ONCE) {
        {
            let head = head.borrow();
            found.extend(values.iter().filter_map(|value| head.pairs.find(matcher.name(), value)));
        }
        pace.breathe().await;
    }
    Some(found)
}

/// The pairs of the values for which `matcher` holds, or, with `holds` unset, does not.
async fn look_for(
    head: &RefCell<Head>,
    matcher: &Matcher,
    holds: bool,
    pace: &mut impl Pace,
) -> Vec<PairId> {
    // As they are now: while series are removed, places in the list move.
    let all = head.borrow().pairs.of_name(matcher.name()).to_vec();
    let mut found = Vec::new();
    for some in all.chunks(MATCHED_AT_ONCE) {
        {
            let head = head.borrow();
            let is_found = |pair: &PairId| matcher.matches(head.pairs.value(*pair)) == holds;
            found.extend(some.iter().copied().filter(is_found));
        }
        pace.breathe().await;
    }
    found
}

/// The series that carry at least one of the pairs.
async fn union(head: &RefCell<Head>, pairs: Vec<PairId>, pace: &mut impl Pace) -> List {
    if let [only] = pairs.as_slice() {
        return List::Pair(*only);
    }
    let mut numbers = Vec::new();
    let mut before = 0;
    for (place, pair) in pairs.iter().enumerate() {
        let head = head.borrow();
        let postings = head.pairs.postings(*pair);
        if place == LISTS_AT_ONCE || numbers.len() + postings.len() > SORTED_MAX {
            break;
        }
        numbers.extend_from_slice(postings);
        before = place + 1;
    }
    if before < pairs.len() {
        return List::Union(marked(head, &pairs, pace).await);
    }
    numbers.sort_unstable();
    numbers.dedup(); // while pairs are pruned, one may be listed twice
    List::Union(numbers)
}

/// The series that carry at least one of the pairs, sorted without comparing: each is marked where it belongs.
async fn marked(head: &RefCell<Head>, pairs: &[PairId], pace: &mut impl Pace) -> Vec<u32> {
    const BITS: u32 = u64::BITS;
    let words = head.borrow().series.len().div_ceil(BITS);
    let mut marks = vec![0u64; words as usize];
    let (mut count, mut since_pause) = (0, 0);
    for pair in pairs {
        // Behind which one to go on; the list may be another one after a pause.
        let mut last = None;
        loop {
            let more = {
                let head = head.borrow();
                let all = head.pairs.postings(*pair);
                let from = last.map_or(0, |last| all.partition_point(|series| *series <= last));
                let rest = all.get(from..).unwrap_or_default();
                let some = rest.get(..rest.len().min(SERIES_AT_ONCE)).unwrap_or_default();
                for series in some {
                    // One that has come meanwhile may lie behind the end.
                    if let Some(word) = marks.get_mut((series / BITS) as usize) {
                        *word |= 1 << (series % BITS);
                    }
                }
                last = some.last().copied();
                count += some.len();
                since_pause += some.len() + SERIES_AT_ONCE / LISTS_AT_ONCE;
                some.len() < rest.len()
            };
            if since_pause >= SERIES_AT_ONCE {
                since_pause = 0;
                pace.breathe().await;
            }
            if !more {
                break;
            }
        }
    }
    let mut numbers = Vec::with_capacity(count);
    for (some, first) in marks.chunks(SERIES_AT_ONCE / 8).zip((0u32..).step_by(SERIES_AT_ONCE / 8))
    {
        for (word, place) in some.iter().zip(first..) {
            let mut left = *word;
            while left != 0 {
                numbers.push(place * BITS + left.trailing_zeros());
                left &= left - 1;
            }
        }
        pace.breathe().await;
    }
    numbers
}

/// Keeps of what is selected, or of all, what stands in `list`.
async fn narrow(
    head: &RefCell<Head>,
    selected: &mut Option<Vec<u32>>,
    list: List,
    pace: &mut impl Pace,
) {
    match (selected, list) {
        (Some(selected), list) => {
            keep(head, selected, SERIES_AT_ONCE, pace, |head, some| {
                let mut rest = list.of(head);
                some.retain(|series| advance_to(&mut rest, *series));
            })
            .await;
        }
        (selected @ None, List::Union(numbers)) => *selected = Some(numbers),
        (selected @ None, List::Pair(pair)) => {
            *selected = Some(head.borrow().pairs.postings(pair).to_vec());
        }
    }
}

/// Keeps of `selected` the series for which `matcher` holds, by asking each.
async fn ask(
    head: &RefCell<Head>,
    selected: &mut Vec<u32>,
    matcher: &Matcher,
    pace: &mut impl Pace,
) {
    keep(head, selected, MATCHED_AT_ONCE, pace, |head, some| {
        some.retain(|series| {
            matcher.matches(head.value_of(*series, matcher.name()).unwrap_or_default())
        });
    })
    .await;
}

/// All series.
async fn all(head: &RefCell<Head>, pace: &mut impl Pace) -> Vec<u32> {
    let end = head.borrow().series.len();
    let mut selected = Vec::with_capacity(end as usize);
    for first in (0..end).step_by(SERIES_AT_ONCE) {
        let behind = end.min(first.saturating_add(u32::try_from(SERIES_AT_ONCE).unwrap_or(end)));
        {
            let head = head.borrow();
            let all_there = head.series.live() == head.series.len();
            selected.extend((first..behind).filter(|index| all_there || head.exists(*index)));
        }
        pace.breathe().await;
    }
    selected
}

/// Keeps of `selected` what `keep` leaves of each part of it.
async fn keep(
    head: &RefCell<Head>,
    selected: &mut Vec<u32>,
    at_once: usize,
    pace: &mut impl Pace,
    mut keep: impl FnMut(&Head, &mut Vec<u32>),
) {
    let (mut kept, mut part) = (Vec::new(), Vec::new());
    for some in selected.chunks(at_once) {
        part.clear();
        part.extend_from_slice(some);
        keep(&head.borrow(), &mut part);
        kept.extend_from_slice(&part);
        pace.breathe().await;
    }
    *selected = kept;
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
    use crate::io::sim::{NoPace, run};
    use crate::model::{Fingerprinter, Labels};

    fn head(sets: &[Labels]) -> RefCell<Head> {
        let mut head = Head::new(Fingerprinter::new(1));
        for labels in sets {
            head.replay_unnamed_series(labels.as_ref()).unwrap();
        }
        RefCell::new(head)
    }

    fn select(head: &RefCell<Head>, matchers: &[Matcher]) -> Vec<u32> {
        run(Head::select(head, matchers, &mut NoPace))
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
            prop_assert_eq!(select(&head(&sets), &matchers), want);
        }
    }

    /// Counts its pauses, and does something to the Head in one of them.
    struct Counting<F> {
        pauses: usize,
        meanwhile: F,
    }

    impl<F: FnMut(usize)> Pace for Counting<F> {
        async fn breathe(&mut self) {
            self.pauses += 1;
            (self.meanwhile)(self.pauses);
        }
    }

    fn many(count: u32) -> RefCell<Head> {
        let sets: Vec<Labels> = (0..count)
            .map(|i| Labels::from_pairs([("__name__", "m"), ("id", &format!("x{i}"))]).unwrap())
            .collect();
        head(&sets)
    }

    #[test] // a pattern over a million values used to hold the core for as long as it took
    fn a_selection_pauses_however_many_values_and_series_it_looks_at() {
        let head = many(20_000);
        for (matchers, least) in [
            (vec![("id", MatchOp::Regex, ".*[13579]")], 20_000 / MATCHED_AT_ONCE),
            (vec![("id", MatchOp::NotRegex, ".*[13579]")], 20_000 / MATCHED_AT_ONCE),
            (vec![("__name__", MatchOp::Regex, ".+")], 1),
            (vec![("__name__", MatchOp::Equal, "m"), ("id", MatchOp::Regex, ".+")], 160),
            (vec![], 3),
        ] {
            let of = |(name, op, value): &(&str, MatchOp, &str)| Matcher::new(name, *op, value);
            let matchers: Vec<Matcher> = matchers.iter().map(|m| of(m).unwrap()).collect();
            let mut pace = Counting { pauses: 0, meanwhile: |_| {} };
            let selected = run(Head::select(&head, &matchers, &mut pace));
            assert!(selected.len() >= 10_000 && selected.is_sorted(), "{matchers:?}");
            assert!(pace.pauses >= least, "{matchers:?}: {} pauses", pace.pauses);
        }
    }

    #[test]
    fn series_that_come_in_a_pause_do_not_disturb_a_selection() {
        let (head, matchers) = (many(10_000), [Matcher::new("id", MatchOp::Regex, ".+").unwrap()]);
        let mut pace = Counting {
            pauses: 0,
            meanwhile: |pause| {
                let labels = Labels::from_pairs([("id", format!("y{pause}").as_str())]).unwrap();
                head.borrow_mut().replay_unnamed_series(labels.as_ref()).unwrap();
            },
        };
        let selected = run(Head::select(&head, &matchers, &mut pace));
        assert_eq!(selected, (0..10_000).collect::<Vec<_>>());
    }
}
