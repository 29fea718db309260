//! Removing series that have nothing left, without stopping the shard.
//!
//! A series is gone from one step to the next: it is in no table, and selecting passes over it. Postings, names and pairs
//! follow in small steps (`prune`). One removal at a time.

use super::Head;
use super::prune::Pruning;
use crate::model::SeriesRef;

/// What removing a series costs, in numbers that are copied.
const SERIES_UNITS: usize = 64;

/// Series that are being removed.
#[derive(Debug)]
pub struct Removal {
    /// Those that may have nothing left, sorted.
    candidates: Vec<u32>,
    next: usize,
    gone: Vec<u32>,
    /// Once all that have nothing left are gone.
    pruning: Option<Pruning>,
    pairs: Pruning,
}

impl Removal {
    /// Of the series at these indexes those will be removed that have no sample when their turn comes.
    #[must_use]
    pub fn of(mut candidates: Vec<u32>) -> Self {
        candidates.sort_unstable();
        candidates.dedup();
        Self { candidates, next: 0, gone: Vec::new(), pruning: None, pairs: Pruning::default() }
    }
}

impl Head {
    /// Goes on with a removal for about `units` simple steps, some nanoseconds each; `true`: it is done.
    pub fn remove_some(&mut self, removal: &mut Removal, units: usize) -> bool {
        self.removing = true;
        let mut left = units.max(1);
        while left > 0 && removal.next < removal.candidates.len() {
            if let Some(index) = removal.candidates.get(removal.next) {
                self.remove_if_empty(*index, removal);
            }
            removal.next += 1;
            left = left.saturating_sub(SERIES_UNITS);
        }
        if removal.next < removal.candidates.len() {
            return false;
        }
        let Removal { gone, pruning, pairs, .. } = removal;
        let pruning =
            pruning.get_or_insert_with(|| std::mem::take(pairs).after(std::mem::take(gone)));
        let done = self.pairs.prune(pruning, left);
        self.removing = !done;
        done
    }

    fn remove_if_empty(&mut self, index: u32, removal: &mut Removal) {
        let Some((series, rest)) = self.series.get(index).zip(self.rest.get(index)) else { return };
        if series.reference == SeriesRef::default() || !series.has_no_floats() || !rest.is_empty() {
            return;
        }
        let check = series.fingerprint.check;
        self.table.remove(check, index);
        self.series.remove(index);
        self.starts.remove(index);
        if let Some(rest) = self.rest.remove(index) {
            self.pairs.forget(&rest.pairs, &mut removal.pairs);
        }
        removal.gone.push(index);
        self.stats.series_removed += 1;
    }

    /// Is there a series at `index`?
    #[must_use]
    pub fn exists(&self, index: u32) -> bool {
        self.series.get(index).is_some_and(|series| series.reference != SeriesRef::default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::{index_of, keys, labels, read, sample, send};
    use std::cell::RefCell;

    use super::*;
    use crate::io::sim::{NoPace, run};
    use crate::model::Matcher;
    use crate::model::matcher::MatchOp;
    use crate::storage::wal::LogBuffer;

    #[derive(Debug, Clone)]
    enum Act {
        /// Makes the series if it is not there.
        Name(u32),
        Append(u32),
        Remove(Vec<u32>),
        /// Some steps of the removal.
        Step(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let series = 0u32..20;
        prop_oneof![
            series.clone().prop_map(Act::Name),
            series.clone().prop_map(Act::Append),
            proptest::collection::vec(series, 1..20).prop_map(Act::Remove),
            (1usize..200).prop_map(Act::Step),
        ]
    }

    fn matchers() -> Vec<Vec<Matcher>> {
        let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
        vec![
            vec![],
            vec![matcher("parity", MatchOp::Equal, "1")],
            vec![matcher("series", MatchOp::Regex, "1.*")],
            vec![matcher("series", MatchOp::NotRegex, "1.+")],
            vec![
                matcher("__name__", MatchOp::Equal, "m"),
                matcher("series", MatchOp::NotEqual, "3"),
            ],
            vec![matcher("series", MatchOp::Regex, "1|2|17")],
        ]
    }

    fn finish(head: &mut Head, removal: &mut Option<Removal>, units: usize) {
        while let Some(running) = removal {
            if head.remove_some(running, units) {
                *removal = None;
            }
        }
    }

    /// Is everything that can be asked as the model has it?
    fn compare(head: &mut Head, model: &BTreeMap<u32, Vec<crate::model::Sample>>) {
        let cell = RefCell::new(std::mem::replace(head, Head::new(keys())));
        for matchers in matchers() {
            let want: Vec<String> = {
                let all = model.keys().map(|series| labels(*series));
                let holds = |labels: &crate::model::Labels| {
                    matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
                };
                all.filter(holds).map(|labels| labels.to_string()).collect()
            };
            let selected = run(Head::select(&cell, &matchers, &mut NoPace));
            let asked = cell.borrow();
            let mut found: Vec<_> =
                selected.iter().map(|index| asked.labels(*index).unwrap().to_string()).collect();
            let mut want = want;
            want.sort();
            found.sort();
            assert_eq!(found, want, "{matchers:?}");
        }
        *head = cell.into_inner();
        for (series, samples) in model {
            assert_eq!(&read(head, *series), samples, "series {series}");
        }
        assert_eq!(head.stats().series, model.len() as u64);
    }

    proptest! {
        #[test]
        fn after_any_changes_a_head_answers_as_a_map_would(
            acts in proptest::collection::vec(act(), 0..80), units in 1usize..300,
        ) {
            let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
            let (mut model, mut removal) = (BTreeMap::new(), None);
            for (t, act) in (0i64..).zip(acts) {
                match act {
                    Act::Name(series) => {
                        head.replay_unnamed_series(labels(series).as_ref()).unwrap();
                        model.entry(series).or_insert_with(Vec::new);
                    }
                    Act::Append(series) => {
                        let sample = sample(t, 0.0);
                        prop_assert_eq!(send(&mut head, &mut log, series, &[sample]).written, 1);
                        model.entry(series).or_insert_with(Vec::new).push(sample);
                    }
                    Act::Remove(series) => {
                        finish(&mut head, &mut removal, units);
                        let indexes = series.iter().filter_map(|series| index_of(&head, *series));
                        let mut begun = Removal::of(indexes.collect());
                        // The series go first; what follows may take its time.
                        let all_go = 1 + SERIES_UNITS * begun.candidates.len();
                        let done = head.remove_some(&mut begun, all_go);
                        model.retain(|name, samples| !series.contains(name) || !samples.is_empty());
                        removal = (!done).then_some(begun);
                    }
                    Act::Step(units) => {
                        if let Some(running) = &mut removal
                            && head.remove_some(running, units)
                        {
                            removal = None;
                        }
                    }
                }
                compare(&mut head, &model);
            }
            finish(&mut head, &mut removal, units);
            compare(&mut head, &model);
            let (names, pairs) = (head.pairs().names().count(), head.pairs().len() as usize);
            let parities: std::collections::BTreeSet<_> = model.keys().map(|series| series % 2).collect();
            let want = if model.is_empty() { 0 } else { 1 + model.len() + parities.len() };
            prop_assert_eq!((names, pairs), (if model.is_empty() { 0 } else { 3 }, want));
            let listed: usize = ["series", "parity", "__name__"].iter().map(|n| head.pairs().of_name(n).len()).sum();
            prop_assert_eq!(listed, want);
        }
    }

    #[test]
    fn memory_of_series_that_are_gone_is_given_back() {
        let mut head = Head::new(keys());
        for series in 0..30_000 {
            head.replay_unnamed_series(labels(series).as_ref()).unwrap();
        }
        let text = head.pairs().text_bytes();
        let mut removal = Some(Removal::of((0..29_900).collect()));
        finish(&mut head, &mut removal, 1000);
        assert_eq!((head.series.live(), head.series.pages(), head.rest.pages()), (100, 2, 2));
        assert!(head.pairs().text_bytes() < text / 2, "{} of {text}", head.pairs().text_bytes());
        assert_eq!(head.table.len(), 100);
    }
}
