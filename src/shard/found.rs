//! What a question about labels finds, in any order and some of it often: each once, sorted, and no more than is asked for.

use std::collections::BTreeSet;

use crate::model::Labels;
use crate::query::QueryError;
use crate::query::memory::Tab;
use crate::rt::pace::Slice;

use super::asking::Asking;

/// What a place in a set takes, about.
const PLACE_BYTES: usize = 16;
/// Items that are handed on without a pause.
const ITEMS_AT_ONCE: usize = 256;

/// An item, and what it takes.
pub(super) trait Item: Ord {
    /// How many bytes it has on the heap.
    fn heap_bytes(&self) -> usize;
}

impl Item for Labels {
    fn heap_bytes(&self) -> usize {
        self.as_bytes().len()
    }
}

impl Item for String {
    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

/// The items so far.
pub(super) struct Found<T> {
    items: BTreeSet<T>,
    max: usize,
    tab: Tab,
}

impl<T: Item> Found<T> {
    /// Nothing yet of the answer to `asking`; of more than `max` items the first ones are kept.
    pub fn new(asking: &Asking, max: Option<usize>) -> Self {
        let tab = Tab::of(asking.account());
        Self { items: BTreeSet::new(), max: max.unwrap_or(usize::MAX), tab }
    }

    /// Adds an item, unless it is there or behind those that are wanted.
    ///
    /// # Errors
    /// There are more of them than the account holds.
    pub fn add(&mut self, item: T) -> Result<(), QueryError> {
        if self.items.len() >= self.max && self.items.last().is_none_or(|last| *last <= item) {
            return Ok(());
        }
        let bytes = size_of::<T>() + PLACE_BYTES + item.heap_bytes();
        if self.items.insert(item) {
            self.tab.add(bytes)?;
        }
        if self.items.len() > self.max
            && let Some(last) = self.items.pop_last()
        {
            self.tab.take_back(size_of::<T>() + PLACE_BYTES + last.heap_bytes());
        }
        Ok(())
    }

    /// All of them, sorted.
    ///
    /// # Errors
    /// They are more than the account holds.
    pub async fn into_sorted(mut self, slice: &mut Slice) -> Result<Vec<T>, QueryError> {
        self.tab.settle()?;
        let mut sorted = Vec::with_capacity(self.items.len());
        while let Some(item) = self.items.pop_first() {
            sorted.push(item);
            if sorted.len().is_multiple_of(ITEMS_AT_ONCE) {
                slice.breathe().await;
            }
        }
        Ok(sorted)
    }
}

impl Found<String> {
    /// Adds a text, unless it is there.
    ///
    /// # Errors
    /// There are more of them than the account holds.
    pub fn add_text(&mut self, text: &str) -> Result<(), QueryError> {
        if self.items.contains(text) {
            return Ok(());
        }
        self.add(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::memory::Budget;
    use crate::rt::executor::testing::on_one_shard;

    #[test]
    fn the_first_ones_are_kept_each_once() {
        on_one_shard(|_| async {
            let asking = Asking::new(&Budget::unlimited().open());
            for (max, want) in [(None, &["a", "b", "c", "d"][..]), (Some(2), &["a", "b"])] {
                let mut found = Found::new(&asking, max);
                ["c", "a", "d", "a", "b"].iter().for_each(|text| found.add_text(text).unwrap());
                assert_eq!(found.into_sorted(&mut Slice::start()).await.unwrap(), want);
            }
        });
    }

    #[test] // `/api/v1/series` over everything used to take as much memory as there is
    fn what_is_found_is_charged() {
        let budget = Budget::new(1 << 20, 1 << 20);
        let asking = Asking::new(&budget.open());
        let mut found = Found::new(&asking, None);
        let refused = (0..100_000).find_map(|i| found.add_text(&format!("value {i}")).err());
        assert!(matches!(refused, Some(QueryError::TooMuchMemory { .. })), "{refused:?}");
        let mut found = Found::new(&Asking::new(&budget.open()), Some(10));
        assert!((0..1000).rev().all(|i| found.add_text(&format!("value {i}")).is_ok()));
    }
}
