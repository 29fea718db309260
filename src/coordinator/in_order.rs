//! Sorted lists of several shards put together, with pauses: they may have a million items.

use crate::rt::pace::{Slice, let_go};

/// Items that are merged without a pause.
const ITEMS_AT_ONCE: usize = 128;

/// The first `limit` items of all lists, sorted, each once; are there more? Each list is sorted and has none twice.
pub async fn merged<T: Ord + 'static>(
    lists: Vec<Vec<T>>,
    limit: usize,
    slice: &mut Slice,
) -> (Vec<T>, bool) {
    let most = lists.iter().map(Vec::len).sum::<usize>().min(limit);
    let mut merged = Vec::with_capacity(most);
    let mut lists: Vec<_> = lists.into_iter().map(|list| list.into_iter().peekable()).collect();
    loop {
        let fronts = lists.iter_mut().enumerate().filter_map(|(at, list)| Some((list.peek()?, at)));
        let Some((_, first)) = fronts.min() else { return (merged, false) };
        if merged.len() == limit {
            lists.into_iter().for_each(|list| let_go(list.collect()));
            return (merged, true);
        }
        if let Some(item) = lists.get_mut(first).and_then(Iterator::next) {
            for list in &mut lists {
                while list.next_if_eq(&item).is_some() {}
            }
            merged.push(item);
        }
        if merged.len().is_multiple_of(ITEMS_AT_ONCE) {
            slice.breathe().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::testing::on_one_shard;

    #[test]
    fn each_item_is_there_once_and_in_order() {
        on_one_shard(|_| async {
            let lists = || vec![vec![1, 3, 5], vec![2, 3, 9], vec![]];
            for (limit, want) in [
                (9, (vec![1, 2, 3, 5, 9], false)),
                (5, (vec![1, 2, 3, 5, 9], false)),
                (3, (vec![1, 2, 3], true)),
                (0, (vec![], true)),
            ] {
                assert_eq!(merged(lists(), limit, &mut Slice::start()).await, want, "{limit}");
            }
        });
    }
}
