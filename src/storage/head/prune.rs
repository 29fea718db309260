//! Taking series that are gone out of the postings, and with them the pairs that nobody carries any more.
//!
//! In small steps, between which the Head is whole: a list is copied without what is gone while the old one still
//! serves, and takes what is new at its end; the copy takes its place in one step.
//! ```text
//! 1  postings   of each pair that a series which is gone had
//! 2  names      of each name the list of its pairs, without those whose postings are empty now
//! 3  pairs      that are in no list: out of the table, their text is given back
//! ```
//! A pair that a new series brings back in the middle of this is simply listed again.

use std::collections::BTreeSet;

use super::pairs::{Listing, PairId, Pairs, Postings};

/// What removing a pair costs, in numbers that are copied.
const PAIR_UNITS: usize = 64;

/// How far the pruning is.
#[derive(Debug, Default)]
pub struct Pruning {
    /// The series that are gone, sorted.
    gone: Vec<u32>,
    /// Pairs that they had and that are not pruned yet, each once.
    pairs: Vec<PairId>,
    /// Postings that are being copied.
    copying: Option<Copying>,
    /// Pairs whose postings were empty after it.
    empty: Vec<PairId>,
    /// How many of them were asked for their names; `None`: all.
    named: Option<usize>,
    /// Names whose lists are still to be copied.
    names: BTreeSet<Box<str>>,
    /// A list that is being copied, and how much of it is.
    copying_name: Option<(Box<str>, Vec<PairId>, usize)>,
}

#[derive(Debug)]
struct Copying {
    pair: PairId,
    kept: Vec<u32>,
    /// How much of the old list is copied.
    read: usize,
    /// How many of those that are gone lie before it.
    gone: usize,
}

impl Pruning {
    /// Begins, once all that are to go are gone: they are sorted.
    #[must_use]
    pub fn after(self, gone: Vec<u32>) -> Self {
        debug_assert!(gone.is_sorted(), "postings are sorted, so that one pass finds them");
        Self { gone, named: Some(0), ..self }
    }
}

impl Pairs {
    /// Notes that a series which is gone had these pairs.
    pub fn forget(&mut self, pairs: &[PairId], pruning: &mut Pruning) {
        for id in pairs {
            if let Some(pair) = self.pairs.get_mut(id.0).filter(|pair| !pair.to_prune) {
                pair.to_prune = true;
                pruning.pairs.push(*id);
            }
        }
    }

    /// Goes on for about `units` numbers that are copied; `true`: it is done.
    pub fn prune(&mut self, pruning: &mut Pruning, units: usize) -> bool {
        let mut left = units.max(1);
        while left > 0 {
            let used = if pruning.copying.is_some() || !pruning.pairs.is_empty() {
                self.prune_postings(pruning, left)
            } else if pruning.named.is_some() {
                self.name_next(pruning)
            } else if pruning.copying_name.is_some() || !pruning.names.is_empty() {
                self.prune_names(pruning, left)
            } else if let Some(pair) = pruning.empty.pop() {
                self.remove(pair);
                PAIR_UNITS
            } else {
                return true;
            };
            left = left.saturating_sub(used.max(1));
        }
        false
    }

    /// Copies some of one pair's postings; how much.
    fn prune_postings(&mut self, pruning: &mut Pruning, units: usize) -> usize {
        let Pruning { gone, pairs, copying, empty, .. } = pruning;
        let mut copy = match copying.take() {
            Some(copying) => copying,
            None => match pairs.pop() {
                Some(pair) => Copying { pair, kept: Vec::new(), read: 0, gone: 0 },
                None => return 0,
            },
        };
        let Some(pair) = self.pairs.get_mut(copy.pair.0) else { return 0 };
        let old = pair.postings.as_slice();
        if copy.read == 0 {
            copy.kept.reserve(old.len().saturating_sub(1));
        }
        let end = old.len().min(copy.read.saturating_add(units));
        for series in old.get(copy.read..end).unwrap_or_default() {
            let rest = gone.get(copy.gone..).unwrap_or_default();
            copy.gone += skip(rest, *series);
            if gone.get(copy.gone) != Some(series) {
                copy.kept.push(*series);
            }
        }
        let used = end - copy.read;
        copy.read = end;
        if copy.read < old.len() {
            *copying = Some(copy);
            return used;
        }
        if copy.kept.is_empty() {
            empty.push(copy.pair);
        }
        pair.to_prune = false;
        pair.postings = Postings::of(copy.kept);
        used + PAIR_UNITS / 4
    }

    /// Notes the name of the next pair that nobody carries.
    fn name_next(&mut self, pruning: &mut Pruning) -> usize {
        let Some(id) = pruning.named.and_then(|at| pruning.empty.get(at)).copied() else {
            pruning.named = None;
            return 1;
        };
        pruning.named = pruning.named.map(|at| at + 1);
        let Some(pair) = self.pairs.get_mut(id.0) else { return 1 };
        if pair.postings.as_slice().is_empty() {
            pair.listing = Listing::Leaves;
            if let Some(label) = self.label(id)
                && !pruning.names.contains(label.name)
            {
                pruning.names.insert(label.name.into());
            }
        }
        PAIR_UNITS / 2
    }

    /// Copies some of one name's list; how much.
    fn prune_names(&mut self, pruning: &mut Pruning, units: usize) -> usize {
        let next = || Some((pruning.names.pop_first()?, Vec::new(), 0));
        let Some((name, mut kept, read)) = pruning.copying_name.take().or_else(next) else {
            return 0;
        };
        let Some(old) = self.names.get_mut(&name) else { return 1 };
        let end = old.len().min(read.saturating_add(units));
        for id in old.get(read..end).unwrap_or_default() {
            match self.pairs.get_mut(id.0) {
                Some(pair) if pair.listing == Listing::Leaves => pair.listing = Listing::Left,
                _ => kept.push(*id),
            }
        }
        let used = end - read;
        if end < old.len() {
            pruning.copying_name = Some((name, kept, end));
            return used;
        }
        if kept.is_empty() {
            self.names.remove(&name);
        } else {
            *old = kept;
        }
        used + 1
    }

    /// Removes a pair that is in no list and that nobody carries.
    fn remove(&mut self, id: PairId) {
        let Some(pair) = self.pairs.get(id.0) else { return };
        if pair.listing != Listing::Left || !pair.postings.as_slice().is_empty() {
            return; // brought back
        }
        let (page, len) = (pair.page as usize, pair.len as usize);
        let hash = self.fingerprinter.keyed(self.text_of(id));
        self.table.remove(hash, id.0);
        self.pairs.remove(id.0);
        let is_last = page + 1 == self.text.len();
        if let Some(text) = self.text.get_mut(page) {
            text.used -= len.min(text.used);
            if text.used == 0 && !is_last {
                text.bytes = Vec::new();
            }
        }
    }
}

/// How many numbers at the front of `sorted` are below `number`, found in growing steps.
fn skip(sorted: &[u32], number: u32) -> usize {
    if sorted.first().is_none_or(|first| *first >= number) {
        return 0;
    }
    let mut step = 1;
    while sorted.get(step).is_some_and(|at| *at < number) {
        step *= 2;
    }
    let from = step / 2;
    let near = sorted.get(from..sorted.len().min(step + 1)).unwrap_or_default();
    from + near.partition_point(|at| *at < number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn skipping_is_counting_what_is_below(
            sorted in proptest::collection::btree_set(0u32..100, 0..50), number in 0u32..110,
        ) {
            let sorted: Vec<_> = sorted.into_iter().collect();
            prop_assert_eq!(skip(&sorted, number), sorted.iter().filter(|n| **n < number).count());
        }
    }
}
