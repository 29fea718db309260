//! Which blocks are compacted next: a decision, without a look at the disk.
//!
//! Blocks grow by ranges of time, 2 h, 6 h, 18 h and so on, aligned to the epoch, until a range would be longer than a
//! block may be. In this order, and as Prometheus has it:
//! 1. blocks that overlap in time, together with those that overlap these;
//! 2. but for the newest, blocks that fill an aligned range from its first instant to its last, or lie in one that is
//!    over; short ranges first, and the oldest of each;
//! 3. one block of which much is deleted: of long ones more than 5 in 100 series, of a shorter one everything.
//!
//! What differs: a block that could not be compacted is not tried again, whatever the reason to take it; Prometheus looks
//! only in step 2, and tries the others for ever. The parts of a block that was too large to be one ([`PART_HINT`]) overlap
//! by intention, so only step 3 looks at them.
//!
//! Blocks that may hold other shards' series are left alone: `repartition` makes own ones of them. And an own one that was
//! made of such a block waits until that is gone, as long as its parents are what says that it need not be done again.
//! Source: Prometheus `tsdb/compact.go` (`plan`, `selectDirs`, `selectOverlappingDirs`, `splitByRange`).

use std::collections::BTreeSet;

use super::history::replaced;
use crate::encoding::block::meta::{BlockMeta, Origin, Ulid};

/// The shortest range of a block, in milliseconds.
pub const RANGE_MS: i64 = 2 * 60 * 60 * 1000;
/// What marks a block that is one of several which together are one compacted block.
pub const PART_HINT: &str = "floodplain-part";

/// Each range is this many of the one before.
const STEP: i64 = 3;
/// No block is longer than this, however long samples are kept.
const BLOCK_MS_MAX: i64 = 31 * 24 * 60 * 60 * 1000;
/// Nor than this part of the time for which samples are kept.
const RETENTION_PARTS: i64 = 10;

/// What is known of one block.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its own account of itself.
    pub meta: &'a BlockMeta,
    /// How many ranges of its series are deleted. The tombstones know better than the meta, which is written after them.
    pub tombstone_count: u64,
}

/// What compaction does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// All is well.
    Nothing,
    /// These are removed, because other blocks have taken their place or nothing is left of them: before anything else,
    /// for it is these others that say so.
    Drop(Vec<Ulid>),
    /// One block is made of these, in the order of time; of a single one, to be rid of what is deleted.
    Merge(Vec<Ulid>),
}

/// What a plan follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Whose blocks are compacted.
    own: Origin,
    /// Lengths of ranges in milliseconds, shortest first; never empty.
    ranges: Vec<i64>,
}

impl PlanOptions {
    /// The ranges that Prometheus would use.
    ///
    /// - `own`: whose blocks are compacted.
    /// - `retention_ms`: how long samples are kept, in milliseconds; 0 is for ever.
    #[must_use]
    pub fn new(own: Origin, retention_ms: i64) -> Self {
        let longest = match retention_ms {
            ..=0 => BLOCK_MS_MAX,
            kept => BLOCK_MS_MAX.min(kept / RETENTION_PARTS),
        };
        let longer = |range: &i64| Some(range * STEP).filter(|longer| *longer <= longest);
        Self { own, ranges: std::iter::successors(Some(RANGE_MS), longer).collect() }
    }
}

/// What is to be done next about these blocks: all that a shard reads, those that may hold other shards' series included.
#[must_use]
pub fn plan(blocks: &[Candidate<'_>], options: &PlanOptions) -> Plan {
    let metas: Vec<&BlockMeta> = blocks.iter().map(|block| block.meta).collect();
    let replaced = replaced(&metas);
    let is_own = |meta: &&&BlockMeta| meta.floodplain == Some(options.own);
    let dropped = metas.iter().filter(is_own).map(|meta| meta.ulid);
    let dropped: Vec<Ulid> = dropped.filter(|ulid| replaced.contains(ulid)).collect();
    if !dropped.is_empty() {
        return Plan::Drop(dropped);
    }
    let mixed: BTreeSet<Ulid> = blocks
        .iter()
        .filter(|block| block.meta.floodplain != Some(options.own))
        .map(|block| block.meta.ulid)
        .collect();
    let waits = |block: &Candidate<'_>| {
        block.meta.compaction.parents.iter().any(|parent| mixed.contains(&parent.ulid))
    };
    let mut own: Vec<Candidate<'_>> = blocks
        .iter()
        .copied()
        .filter(|block| !mixed.contains(&block.meta.ulid) && !waits(block))
        .collect();
    own.sort_by_key(|block| (block.meta.min_time, block.meta.ulid));
    let whole: Vec<Candidate<'_>> = own.iter().copied().filter(|block| !is_part(block)).collect();
    let chosen = overlapping(&whole)
        .or_else(|| filling(whole.split_last()?.1, &options.ranges))
        .or_else(|| deleted(own.split_last()?.1, &options.ranges));
    match chosen {
        Some(chosen) => Plan::Merge(chosen.iter().map(|block| block.meta.ulid).collect()),
        None => Plan::Nothing,
    }
}

fn is_part(block: &Candidate<'_>) -> bool {
    block.meta.compaction.hints.iter().any(|hint| hint == PART_HINT)
}

fn has_failed(blocks: &[Candidate<'_>]) -> bool {
    blocks.iter().any(|block| block.meta.compaction.failed)
}

/// The oldest blocks that overlap, of which each overlaps one before it.
fn overlapping<'a, 'm>(blocks: &'a [Candidate<'m>]) -> Option<&'a [Candidate<'m>]> {
    let mut rest = blocks;
    while let Some(first) = rest.first() {
        let mut end = first.meta.max_time;
        let overlaps = |block: &Candidate<'_>| {
            let overlaps = block.meta.min_time < end;
            end = end.max(block.meta.max_time);
            overlaps
        };
        let count = 1 + rest.iter().skip(1).map(overlaps).take_while(|overlaps| *overlaps).count();
        let (group, behind) = rest.split_at_checked(count)?;
        if count > 1 && !has_failed(group) {
            return Some(group);
        }
        rest = behind;
    }
    None
}

/// Blocks that are to become one of the next longer range. They do not overlap, and the newest is not among them.
fn filling<'a, 'm>(blocks: &'a [Candidate<'m>], ranges: &[i64]) -> Option<&'a [Candidate<'m>]> {
    let newest = blocks.last()?.meta.min_time;
    ranges.iter().skip(1).find_map(|range| {
        within_aligned(blocks, *range).find(|group| {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { return false };
            let (min, max) = (first.meta.min_time, last.meta.max_time);
            let is_over = max <= newest || max.checked_sub(min) == Some(*range);
            group.len() > 1 && is_over && !has_failed(group)
        })
    })
}

/// The blocks in each aligned stretch of `range` milliseconds, without those that do not fit one.
fn within_aligned<'a, 'm>(
    blocks: &'a [Candidate<'m>],
    range: i64,
) -> impl Iterator<Item = &'a [Candidate<'m>]> {
    let mut rest = blocks;
    std::iter::from_fn(move || {
        while let Some(first) = rest.first() {
            let begin =
                i128::from(first.meta.min_time).div_euclid(range.into()) * i128::from(range);
            let end = begin + i128::from(range);
            let fits = |block: &&Candidate<'_>| i128::from(block.meta.max_time) <= end;
            let count = rest.iter().take_while(fits).count();
            let (group, behind) = rest.split_at_checked(count.max(1))?;
            rest = behind;
            if count > 0 {
                return Some(group);
            }
        }
        None
    })
}

/// One block of which so much is deleted that it is written anew.
fn deleted<'a, 'm>(blocks: &'a [Candidate<'m>], ranges: &[i64]) -> Option<&'a [Candidate<'m>]> {
    let long_enough = ranges.get(ranges.len() / 2)?;
    for block in blocks.chunks(1).rev() {
        let [Candidate { meta, tombstone_count }] = block else { continue };
        let series_count = meta.stats.num_series;
        let is_short = meta.max_time.saturating_sub(meta.min_time) < *long_enough;
        let is_all = *tombstone_count > 0 && *tombstone_count >= series_count;
        // More than 5 in 100, as Prometheus counts: with one series more than there are.
        let is_much = tombstone_count.saturating_mul(20) > series_count.saturating_add(1);
        if !has_failed(block) && if is_short { is_all } else { is_much } {
            return Some(block);
        }
        if is_short {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::block::meta::Parent;

    const OWN: Origin = Origin { shard: 1, shards: 2 };

    /// Ranges of 20, 60, 180, 540 and so on, as the 2 h ranges without their zeros.
    fn options() -> PlanOptions {
        PlanOptions { own: OWN, ranges: vec![20, 60, 180, 540, 1620] }
    }

    /// A block of 100 series; it is named by its place in the table.
    fn block(min: i64, max: i64) -> BlockMeta {
        let mut meta = BlockMeta::new(Ulid(0), min, max);
        meta.stats.num_series = 100;
        meta.floodplain = Some(OWN);
        meta
    }

    fn blocks(ranges: &[(i64, i64)]) -> Vec<BlockMeta> {
        ranges.iter().map(|(min, max)| block(*min, *max)).collect()
    }

    fn with(mut meta: BlockMeta, change: impl FnOnce(&mut BlockMeta)) -> BlockMeta {
        change(&mut meta);
        meta
    }

    fn failed(meta: BlockMeta) -> BlockMeta {
        with(meta, |meta| meta.compaction.failed = true)
    }

    fn part(meta: BlockMeta) -> BlockMeta {
        with(meta, |meta| meta.compaction.hints.push(PART_HINT.to_owned()))
    }

    fn with_tombstones(meta: BlockMeta, count: u64) -> BlockMeta {
        with(meta, |meta| meta.stats.num_tombstones = count)
    }

    fn answer(blocks: &mut [BlockMeta], options: &PlanOptions) -> Vec<u128> {
        (1..).zip(blocks.iter_mut()).for_each(|(n, meta)| meta.ulid = Ulid(n));
        let candidates: Vec<_> = blocks
            .iter()
            .map(|meta| Candidate { meta, tombstone_count: meta.stats.num_tombstones })
            .collect();
        match plan(&candidates, options) {
            Plan::Nothing => vec![],
            Plan::Drop(ulids) => panic!("{ulids:?} are dropped"),
            Plan::Merge(ulids) => ulids.into_iter().map(|ulid| ulid.0).collect(),
        }
    }

    /// The answer as the places in the table, from 1 on.
    fn check(mut blocks: Vec<BlockMeta>, chosen: &[u128]) {
        assert_eq!(answer(&mut blocks, &options()), chosen);
    }

    fn check_ranges(ranges: &[(i64, i64)], chosen: &[u128]) {
        check(blocks(ranges), chosen);
    }

    #[test]
    fn ranges_are_three_times_as_long_each_up_to_a_tenth_of_what_is_kept() {
        let hours = |retention_hours: i64| -> Vec<i64> {
            let hour = 60 * 60 * 1000;
            let options = PlanOptions::new(OWN, retention_hours * hour);
            options.ranges.into_iter().map(|range| range / hour).collect()
        };
        assert_eq!(hours(15 * 24), [2, 6, 18]);
        assert_eq!(hours(0), [2, 6, 18, 54, 162, 486]);
        assert_eq!(hours(10 * 365 * 24), [2, 6, 18, 54, 162, 486]);
        assert_eq!(hours(60), [2, 6]);
        assert_eq!(hours(59), [2]);
        assert_eq!(hours(1), [2]);
    }

    #[test]
    fn without_blocks_there_is_nothing_to_do() {
        check_ranges(&[], &[]);
        check_ranges(&[(0, 20)], &[]);
    }

    #[test]
    fn a_range_that_is_not_full_waits_for_its_end() {
        check_ranges(&[(0, 20), (20, 40)], &[]);
        check_ranges(&[(0, 20), (20, 40), (40, 60)], &[]);
    }

    #[test]
    fn a_full_range_is_merged_when_there_is_a_newer_block() {
        check_ranges(&[(0, 20), (20, 40), (40, 60), (60, 80)], &[1, 2, 3]);
        check_ranges(&[(60, 80), (40, 60), (0, 20), (20, 40)], &[3, 4, 2]);
    }

    #[test]
    fn a_range_with_a_gap_is_merged_when_it_is_over() {
        check_ranges(&[(0, 20), (40, 60), (60, 80)], &[1, 2]);
        check_ranges(&[(0, 20), (20, 40), (60, 80)], &[]);
        check_ranges(&[(0, 20), (20, 40), (60, 80), (80, 100)], &[1, 2]);
    }

    #[test]
    fn a_block_alone_in_its_range_stays() {
        check_ranges(&[(0, 20), (60, 80), (120, 140), (180, 200)], &[]);
        check_ranges(&[(0, 20), (60, 80), (120, 140), (180, 200), (240, 260)], &[1, 2, 3]);
    }

    #[test]
    fn short_ranges_come_before_long_ones() {
        let long = [(0, 60), (60, 120), (120, 180)];
        check_ranges(&[&long[..], &[(180, 200)]].concat(), &[1, 2, 3]);
        let and_short = [(180, 200), (200, 220), (220, 240), (240, 260)];
        check_ranges(&[&long[..], &and_short].concat(), &[4, 5, 6]);
    }

    #[test]
    fn the_oldest_of_several_ranges_comes_first() {
        let ranges = [(0, 20), (20, 40), (40, 60), (60, 80), (80, 100), (100, 120), (120, 140)];
        check_ranges(&ranges, &[1, 2, 3]);
    }

    #[test]
    fn a_block_that_fits_no_aligned_range_is_passed_over() {
        check_ranges(&[(0, 20), (20, 60), (60, 140), (140, 160), (160, 180), (180, 200)], &[1, 2]);
        let ranges = [(50, 70), (70, 90), (90, 110), (110, 120), (180, 200), (200, 220)];
        check_ranges(&ranges, &[2, 3, 4]);
    }

    #[test]
    fn ranges_before_the_epoch_are_aligned_too() {
        check_ranges(&[(-60, -40), (-40, -20), (-20, 0), (0, 20)], &[1, 2, 3]);
        check_ranges(&[(-20, 0), (0, 20), (20, 40)], &[]);
        check_ranges(&[(i64::MIN, i64::MIN + 1), (i64::MAX - 1, i64::MAX)], &[]);
    }

    #[test]
    fn blocks_that_overlap_come_first_and_the_newest_is_no_exception() {
        check_ranges(&[(0, 20), (19, 40), (40, 60)], &[1, 2]);
        check_ranges(&[(0, 20), (20, 40), (30, 50)], &[2, 3]);
        check_ranges(&[(0, 20), (20, 40), (40, 60), (60, 80), (60, 80)], &[4, 5]);
    }

    #[test]
    fn blocks_that_only_touch_do_not_overlap() {
        check_ranges(&[(0, 20), (20, 40)], &[]);
    }

    #[test]
    fn what_overlaps_is_taken_with_all_that_it_reaches() {
        check_ranges(&[(0, 20), (10, 40), (30, 50), (50, 60)], &[1, 2, 3]);
        check_ranges(&[(0, 100), (10, 20), (30, 40), (90, 110), (110, 130)], &[1, 2, 3, 4]);
        check_ranges(&[(0, 20), (0, 20), (20, 40), (30, 50)], &[1, 2]);
    }

    #[test]
    fn a_range_with_a_block_that_failed_is_passed_over() {
        let fresh =
            blocks(&[(0, 20), (20, 40), (40, 60), (60, 80), (80, 100), (100, 120), (120, 140)]);
        let first = |change: fn(BlockMeta) -> BlockMeta| {
            let mut blocks = fresh.clone();
            blocks[0] = change(blocks[0].clone());
            blocks
        };
        check(first(|meta| meta), &[1, 2, 3]);
        check(first(failed), &[4, 5, 6]);
    }

    #[test]
    fn overlapping_blocks_of_which_one_failed_are_not_tried_for_ever() {
        let overlaps = [block(0, 20), failed(block(10, 30)), block(30, 50), block(40, 60)];
        check(overlaps.to_vec(), &[3, 4]);
    }

    #[test]
    fn a_long_block_is_cleaned_when_of_more_than_5_in_100_series_something_is_deleted() {
        let check = |deleted, chosen: &[u128]| {
            check(vec![with_tombstones(block(0, 180), deleted), block(180, 200)], chosen);
        };
        check(5, &[]);
        check(6, &[1]);
    }

    #[test]
    fn a_short_block_is_cleaned_when_nothing_is_left_of_it() {
        let check = |deleted, chosen: &[u128]| {
            check(vec![with_tombstones(block(0, 20), deleted), block(20, 40)], chosen);
        };
        check(99, &[]);
        check(100, &[1]);
    }

    #[test]
    fn a_short_block_hides_older_ones_from_cleaning() {
        let long = || with_tombstones(block(0, 180), 50);
        check(vec![long(), block(180, 200), block(200, 220)], &[]);
        check(vec![long(), block(180, 360), block(360, 380)], &[1]);
        check(vec![long(), with_tombstones(block(180, 360), 50), block(360, 380)], &[2]);
    }

    #[test]
    fn the_newest_block_and_one_that_failed_are_not_cleaned() {
        check(vec![block(0, 20), with_tombstones(block(20, 40), 100)], &[]);
        check(vec![failed(with_tombstones(block(0, 180), 50)), block(180, 200)], &[]);
    }

    #[test]
    fn blocks_that_may_hold_other_shards_series_are_left_alone() {
        let foreign = |meta| with(meta, |meta: &mut BlockMeta| meta.floodplain = None);
        let former = |meta| {
            let former = Origin { shard: 1, shards: 3 };
            with(meta, |meta: &mut BlockMeta| meta.floodplain = Some(former))
        };
        let own = blocks(&[(0, 20), (20, 40), (40, 60)]);
        check([&own[..], &[foreign(block(60, 80))]].concat(), &[]);
        check([&own[..], &[former(block(0, 20)), block(60, 80)]].concat(), &[1, 2, 3]);
        check(vec![foreign(block(0, 20)), former(block(10, 30))], &[]);
    }

    #[test]
    fn a_block_made_of_a_mixed_one_waits_until_that_is_gone() {
        let child = |of| {
            let parent = Parent { ulid: Ulid(of), min_time: 0, max_time: 20 };
            with(block(0, 20), |meta| meta.compaction.parents.push(parent))
        };
        let foreign = with(block(0, 20), |meta| meta.floodplain = None);
        check(vec![foreign, child(1), block(10, 40)], &[]);
        check(vec![block(40, 60), child(99), block(10, 40)], &[2, 3]);
    }

    #[test]
    fn parts_of_one_block_are_not_merged_again_but_cleaned() {
        let parts = vec![part(block(0, 180)), part(block(0, 180)), block(180, 200)];
        check(parts, &[]);
        let parts =
            vec![part(with_tombstones(block(0, 180), 50)), part(block(0, 180)), block(180, 200)];
        check(parts, &[1]);
    }

    #[test]
    fn what_is_replaced_is_dropped_before_anything_else() {
        let mut blocks = blocks(&[(0, 20), (10, 30)]);
        (1..).zip(&mut blocks).for_each(|(n, meta)| meta.ulid = Ulid(n));
        blocks[0].compaction.deletable = true;
        let mut foreign = with(block(0, 20), |meta| meta.floodplain = None);
        foreign.compaction.deletable = true;
        blocks.push(foreign);
        let candidates: Vec<_> =
            blocks.iter().map(|meta| Candidate { meta, tombstone_count: 0 }).collect();
        assert_eq!(plan(&candidates, &options()), Plan::Drop(vec![Ulid(1)]));
    }

    proptest! {
        #[test]
        fn following_the_plan_ends_with_blocks_that_do_not_overlap(
            ranges in proptest::collection::vec((0i64..600, 1i64..60), 0..30),
        ) {
            let mut blocks: Vec<_> = ranges.into_iter().map(|(min, len)| block(min, min + len)).collect();
            for round in 0.. {
                prop_assert!(round < 60, "every round leaves fewer blocks");
                let chosen = answer(&mut blocks, &options());
                if chosen.is_empty() {
                    break;
                }
                prop_assert!(chosen.len() > 1);
                let (merged, mut rest): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|meta| chosen.contains(&meta.ulid.0));
                let min = merged.iter().map(|meta| meta.min_time).min().unwrap();
                let max = merged.iter().map(|meta| meta.max_time).max().unwrap();
                rest.push(block(min, max));
                blocks = rest;
            }
            blocks.sort_by_key(|meta| meta.min_time);
            prop_assert!(blocks.windows(2).all(|pair| pair[0].max_time <= pair[1].min_time));
        }

        #[test]
        fn any_metas_have_a_plan(ranges in proptest::collection::vec((any::<i64>(), any::<i64>(), any::<u64>(), any::<u64>()), 0..8)) {
            let mut blocks: Vec<_> = ranges.into_iter().map(|(a, b, series, tombstones)| {
                let mut meta = with_tombstones(block(a.min(b), a.max(b)), tombstones);
                meta.stats.num_series = series;
                meta
            }).collect();
            let _ = answer(&mut blocks, &options());
        }
    }
}
