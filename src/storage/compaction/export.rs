//! Writes a copy of what some blocks hold, of some time and some series, as plain blocks of aligned ranges.
//!
//! What is written is nobody's: it names no shard and no parents, and Prometheus opens it. Of several shards' blocks for one
//! range it makes one, for side by side they would be taken for overlapping ones.

use super::error::CompactionError;
use super::history::History;
use super::merge::{MergeOptions, Target, merge};
use super::series::{Selection, Source};
use crate::encoding::block::meta::BlockMeta;
use crate::io::{Disk, Pace};
use crate::model::{Matcher, SeriesId, TimeRange, TimestampMs};
use crate::storage::block::Block;

/// What is copied.
#[derive(Clone, Debug)]
pub struct ExportOptions<'a> {
    /// Series for which all matchers of any of these hold; without any, all series.
    pub selectors: &'a [Vec<Matcher>],
    /// Samples of this time.
    pub time: TimeRange,
    /// A new block's range is this long, in milliseconds, and aligned to that; positive.
    pub range_ms: i64,
    /// How it is written.
    pub merge: MergeOptions<'a>,
}

/// No more ranges than this are looked at, some centuries of two hours: longer ones are made instead.
const RANGES_MAX: u64 = 1 << 20;

/// A range of time whose end does not belong to it.
type HalfOpen = (i64, i64);

/// Copies from `blocks` to `target`; the blocks that were written.
///
/// - `progress`: told blocks' ranges as they begin, and how many there may be.
///
/// # Errors
/// A block that cannot be read, a target that cannot be written, or the wish to stop. What has been written stays.
///
/// # Panics
/// If ranges are not positive.
pub async fn export<D: Disk, W: Disk>(
    blocks: &[&Block<D>],
    target: &mut Target<'_, W>,
    options: &ExportOptions<'_>,
    progress: &dyn Fn(usize, usize),
    pace: &mut impl Pace,
) -> Result<Vec<BlockMeta>, CompactionError> {
    assert!(options.range_ms > 0, "a range has a length");
    let mut blocks = blocks.to_vec();
    // Of two samples at the same instant, that of the block which was made first wins.
    blocks.sort_by_key(|block| block.meta().ulid);
    let times: Vec<HalfOpen> =
        blocks.iter().map(|block| (block.meta().min_time, block.meta().max_time)).collect();
    let mut selected: Vec<Option<Vec<SeriesId>>> = blocks.iter().map(|_| None).collect();
    let ranges = ranges(&times, options.time, options.range_ms);
    let mut made = Vec::new();
    for (index, (min, max)) in ranges.iter().copied().enumerate() {
        progress(index, ranges.len());
        let Some(keep) = TimeRange::new(TimestampMs(min), TimestampMs(max.saturating_sub(1)))
        else {
            continue;
        };
        let (mut sources, mut is_inside) = (Vec::new(), true);
        for ((block, time), selected) in blocks.iter().zip(&times).zip(&mut selected) {
            if time.1 <= min {
                // No later range needs what has been selected of it.
                *selected = None;
            }
            if time.0 >= max || time.1 <= min {
                continue;
            }
            is_inside &= min <= time.0 && time.1 <= max;
            let series = if options.selectors.is_empty() {
                Selection::All
            } else {
                if selected.is_none() {
                    *selected = Some(select(block, options.selectors, pace).await?);
                }
                Selection::Only(selected.clone().unwrap_or_default())
            };
            sources.push(Source { block, series });
        }
        let keep = if is_inside { TimeRange::ALL } else { keep };
        let history = History::of_copy(min, max);
        made.extend(merge(target, &sources, keep, &history, &options.merge, pace).await?);
    }
    Ok(made)
}

/// The series that any of the selectors select, ascending.
async fn select<D: Disk>(
    block: &Block<D>,
    selectors: &[Vec<Matcher>],
    pace: &mut impl Pace,
) -> Result<Vec<SeriesId>, CompactionError> {
    let mut all = Vec::new();
    for matchers in selectors {
        all.extend(block.select(matchers, pace).await?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// The aligned ranges, cut to the time that is wanted, in which there is a block.
fn ranges(blocks: &[HalfOpen], wanted: TimeRange, range_ms: i64) -> Vec<HalfOpen> {
    let (first, behind) = (wanted.min().0, wanted.max().0.saturating_add(1));
    let mut ranges: Vec<HalfOpen> = Vec::new();
    let mut sorted: Vec<HalfOpen> = blocks
        .iter()
        .map(|(min, max)| ((*min).max(first), (*max).min(behind)))
        .filter(|(min, max)| min < max)
        .collect();
    sorted.sort_unstable();
    let ranges_of = |range_ms: i64| {
        let of_block = |(min, max): &HalfOpen| (max.abs_diff(*min) / range_ms.unsigned_abs()) + 2;
        sorted.iter().map(of_block).fold(0, u64::saturating_add)
    };
    let mut range_ms = range_ms;
    while ranges_of(range_ms) > RANGES_MAX {
        range_ms = range_ms.saturating_mul(3);
    }
    for (min, max) in sorted {
        let mut at = ranges.last().map_or(min, |last| last.1.max(min));
        while at < max {
            let end = at.div_euclid(range_ms).saturating_add(1).saturating_mul(range_ms);
            let begin = end.saturating_sub(range_ms).max(first);
            ranges.push((begin, end.min(behind)));
            if end >= behind {
                break;
            }
            at = end;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(min: i64, max: i64) -> TimeRange {
        TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap()
    }

    #[test]
    fn ranges_are_aligned_and_only_where_blocks_are() {
        let all = |blocks: &[HalfOpen]| ranges(blocks, TimeRange::ALL, 20);
        assert_eq!(all(&[(0, 20), (20, 30), (100, 101)]), [(0, 20), (20, 40), (100, 120)]);
        assert_eq!(all(&[(0, 20), (0, 20), (10, 30)]), [(0, 20), (20, 40)]);
        assert_eq!(all(&[(-5, 5)]), [(-20, 0), (0, 20)]);
        assert_eq!(all(&[(5, 5)]), []);
    }

    #[test]
    fn the_first_and_the_last_range_are_cut_to_the_time_that_is_wanted() {
        let cut = |min, max| ranges(&[(0, 60)], time(min, max), 20);
        assert_eq!(cut(10, 44), [(10, 20), (20, 40), (40, 45)]);
        assert_eq!(cut(39, 40), [(39, 40), (40, 41)]);
        assert_eq!(cut(60, 100), []);
    }

    #[test]
    fn a_block_of_all_of_time_is_copied_in_longer_ranges() {
        let count = ranges(&[(i64::MIN, i64::MAX)], TimeRange::ALL, 7_200_000).len();
        assert!((1..1 << 20).contains(&count), "{count}");
    }

    proptest! {
        #[test]
        fn each_instant_of_a_block_is_in_one_range(
            blocks in proptest::collection::vec((-300i64..300, 1i64..100), 0..8),
            (min, len) in (-300i64..300, 0i64..300), range_ms in 1i64..50,
        ) {
            let blocks: Vec<HalfOpen> = blocks.into_iter().map(|(min, len)| (min, min + len)).collect();
            let found = ranges(&blocks, time(min, min + len), range_ms);
            prop_assert!(found.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            for t in -300..400 {
                let is_wanted = (min..=min + len).contains(&t) && blocks.iter().any(|b| (b.0..b.1).contains(&t));
                let holding: Vec<_> = found.iter().filter(|range| (range.0..range.1).contains(&t)).collect();
                prop_assert!(!is_wanted || holding.len() == 1, "{} in {:?}", t, holding);
            }
            for (min, max) in found {
                prop_assert_eq!(min.div_euclid(range_ms), (max - 1).div_euclid(range_ms));
            }
        }

        #[test]
        fn ranges_at_the_ends_of_time_end(a: i64, b: i64) {
            for range_ms in [1 << 40, i64::MAX / 4, i64::MAX] {
                let _ = ranges(&[(a.min(b), a.max(b))], TimeRange::ALL, range_ms);
            }
        }
    }
}
