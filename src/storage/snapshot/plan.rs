//! Which of the blocks that shards give to a snapshot stay as they are, and which become one: a decision, without a look at
//! the disk.
//!
//! Blocks of which every sample is wanted and whose time no other block shares stay. Those that share an instant become
//! one, and with them those that share one with these: side by side Prometheus would take them for overlapping ones. Of a
//! mixed block only the series are wanted of shards that answer from it; when all do, it is a block as any other.

use std::collections::{BTreeMap, BTreeSet};

use super::share::{Held, Share};

/// What is done for the blocks of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The block is one of the snapshot's.
    Keep(Held),
    /// One block is made of these.
    Merge {
        /// No sample is before this instant.
        min_time: i64,
        /// All samples are before this one.
        max_time: i64,
        /// The one that was made first comes first.
        sources: Vec<Wanted>,
    },
}

/// What is wanted of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The block.
    pub held: Held,
    /// The series of these shards; `None`: all there are.
    pub only: Option<BTreeSet<u16>>,
}

/// What to do, oldest blocks first.
///
/// - `shares`: of all shards.
#[must_use]
pub fn plan(shares: &[Share]) -> Vec<Step> {
    let mut wanted: BTreeMap<_, Wanted> = BTreeMap::new();
    for Share { own, blocks } in shares {
        for held in blocks {
            let key = (held.meta.min_time, held.meta.ulid);
            let only = held.is_mixed.then(BTreeSet::new);
            let new = || Wanted { held: held.clone(), only };
            if let Some(only) = &mut wanted.entry(key).or_insert_with(new).only {
                only.insert(own.shard);
            }
        }
    }
    let mut groups: Vec<(i64, Vec<Wanted>)> = Vec::new();
    for mut block in wanted.into_values() {
        let is_all = block.only.as_ref().is_some_and(|only| only.len() >= shares.len());
        block.only = block.only.filter(|_| !is_all);
        let (min, max) = (block.held.meta.min_time, block.held.meta.max_time);
        match groups.last_mut() {
            Some((end, group)) if min < *end => {
                *end = max.max(*end);
                group.push(block);
            }
            _ => groups.push((max, vec![block])),
        }
    }
    groups.into_iter().filter_map(|(max_time, group)| step(group, max_time)).collect()
}

fn step(mut group: Vec<Wanted>, max_time: i64) -> Option<Step> {
    let min_time = group.first()?.held.meta.min_time;
    if let [Wanted { held, only: None }] = group.as_slice() {
        return Some(Step::Keep(held.clone()));
    }
    group.sort_by_key(|wanted| wanted.held.meta.ulid);
    Some(Step::Merge { min_time, max_time, sources: group })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::block::meta::{BlockMeta, Origin, Ulid};

    fn held(ulid: u128, min: i64, max: i64, is_mixed: bool) -> Held {
        Held { dir: format!("d/{ulid}"), meta: BlockMeta::new(Ulid(ulid), min, max), is_mixed }
    }

    fn shares(blocks: Vec<Vec<Held>>) -> Vec<Share> {
        let shards = u16::try_from(blocks.len()).unwrap();
        let share = |(shard, blocks)| Share { own: Origin { shard, shards }, blocks };
        (0..).zip(blocks).map(share).collect()
    }

    /// Times, and for each source its name and whose series are taken.
    type Said = (i64, i64, Vec<(u128, Option<Vec<u16>>)>);

    /// What a plan says; of a block that stays, without sources.
    fn said(blocks: Vec<Vec<Held>>) -> Vec<Said> {
        let say = |step| match step {
            Step::Keep(held) => (held.meta.min_time, held.meta.max_time, Vec::new()),
            Step::Merge { min_time, max_time, sources } => {
                let only = |only: BTreeSet<u16>| only.into_iter().collect();
                let source = |w: Wanted| (w.held.meta.ulid.0, w.only.map(only));
                (min_time, max_time, sources.into_iter().map(source).collect())
            }
        };
        plan(&shares(blocks)).into_iter().map(say).collect()
    }

    #[test]
    fn a_block_that_shares_no_instant_stays_as_it_is() {
        let blocks = vec![vec![held(2, 20, 40, false)], vec![held(1, 0, 20, false)]];
        assert_eq!(said(blocks), [(0, 20, vec![]), (20, 40, vec![])]);
        assert_eq!(said(vec![vec![], vec![]]), []);
    }

    #[test]
    fn blocks_that_share_an_instant_become_one_with_those_that_share_one_with_them() {
        let long = vec![held(9, 0, 60, false), held(8, 60, 80, false)];
        let short = vec![held(1, 0, 20, false), held(7, 20, 40, false), held(3, 79, 99, false)];
        let all = |of: &[u128]| of.iter().map(|ulid| (*ulid, None)).collect::<Vec<_>>();
        assert_eq!(said(vec![long, short]), [(0, 60, all(&[1, 7, 9])), (60, 99, all(&[3, 8]))]);
    }

    #[test]
    fn a_mixed_block_that_all_answer_from_is_there_once() {
        let mixed = || vec![held(1, 0, 20, true)];
        assert_eq!(said(vec![mixed(), mixed()]), [(0, 20, vec![])]);
    }

    #[test]
    fn of_a_mixed_block_who_has_its_part_takes_nothing_more() {
        let blocks = vec![vec![held(1, 0, 20, true)], vec![held(5, 0, 20, false)], vec![]];
        assert_eq!(said(blocks), [(0, 20, vec![(1, Some(vec![0])), (5, None)])]);
        let blocks = vec![vec![held(1, 0, 20, true)], vec![]];
        assert_eq!(said(blocks), [(0, 20, vec![(1, Some(vec![0]))])], "the other one has none");
    }

    proptest! {
        #[test]
        fn no_two_blocks_of_a_snapshot_overlap_and_every_share_is_in_one(
            times in proptest::collection::vec((0u16..3, 0i64..40, 0i64..12, 0u8..8), 0..12),
        ) {
            let mut blocks = vec![Vec::new(), Vec::new(), Vec::new()];
            for (ulid, (shard, min, len, takers)) in (1u128..).zip(times) {
                // Some blocks are mixed: then other shards may take of them, too.
                let is_mixed = takers > 4;
                for other in 0..3u16 {
                    if other == shard || is_mixed && takers & 1 << other != 0 {
                        blocks[usize::from(other)].push(held(ulid, min, min + len, is_mixed));
                    }
                }
            }
            let shares = shares(blocks);
            let mut given = BTreeSet::new();
            let (mut taken, mut times) = (Vec::new(), Vec::new());
            for share in &shares {
                given.extend(share.blocks.iter().map(|held| (held.meta.ulid, share.own.shard)));
            }
            let mut take = |held: &Held, only: Option<&BTreeSet<u16>>| {
                let of = |shard: &u16| given.contains(&(held.meta.ulid, *shard));
                // Without a choice of shards everything is taken: then nobody else may have been left out.
                let everyone = || if held.is_mixed { (0..3).collect() } else { (0..3).filter(of).collect() };
                let shards: BTreeSet<u16> = only.cloned().unwrap_or_else(everyone);
                taken.extend(shards.into_iter().map(|shard| (held.meta.ulid, shard)));
            };
            for step in plan(&shares) {
                match step {
                    Step::Keep(held) => {
                        take(&held, None);
                        times.push((held.meta.min_time, held.meta.max_time));
                    }
                    Step::Merge { min_time, max_time, sources } => {
                        for wanted in sources {
                            prop_assert!(min_time <= wanted.held.meta.min_time);
                            prop_assert!(wanted.held.meta.max_time <= max_time);
                            take(&wanted.held, wanted.only.as_ref());
                        }
                        times.push((min_time, max_time));
                    }
                }
            }
            prop_assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{times:?}");
            let count = taken.len();
            let taken: BTreeSet<_> = taken.into_iter().collect();
            prop_assert_eq!(taken.len(), count, "twice");
            prop_assert_eq!(taken, given);
        }
    }
}
