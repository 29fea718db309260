//! Which blocks are past the time or the size that is kept: a decision, without a look at the disk.
//!
//! Whole blocks go, the oldest first. By time: those that end so long before the newest that everything in them is too old;
//! the newest says what time it is, so that data which was imported or is no longer written does not run away. By size:
//! log, Head and blocks are counted, from the newest on; the block that would exceed the limit goes, and all before it.
//! Whichever takes more decides.
//! Source: Prometheus `tsdb/db.go` (`BeyondTimeRetention`, `BeyondSizeRetention`).

use crate::encoding::block::meta::Ulid;

/// What is known of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub ulid: Ulid,
    /// All its samples are before this instant, in milliseconds since the epoch.
    pub max_time: i64,
    /// Length of all its files in bytes.
    pub bytes: u64,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// For how long, in milliseconds; 0 is for ever.
    pub time_ms: i64,
    /// How many bytes; 0 is any number.
    pub bytes: u64,
}

/// The blocks that are to go, the newest of them first.
///
/// - `newest`: an instant behind the newest sample of any block; blocks of this shard are looked at anyway.
/// - `other_bytes`: what the log and the Head take on the disk.
#[must_use]
pub fn expired(
    blocks: &[Kept],
    newest: Option<i64>,
    other_bytes: u64,
    limits: Limits,
) -> Vec<Ulid> {
    let mut blocks = blocks.to_vec();
    blocks.sort_by_key(|block| std::cmp::Reverse((block.max_time, block.ulid)));
    let newest = blocks.first().map(|block| block.max_time).max(newest);
    let too_old = |block: &Kept| {
        let behind = newest.unwrap_or(block.max_time).saturating_sub(block.max_time);
        limits.time_ms > 0 && behind >= limits.time_ms
    };
    let mut bytes = other_bytes;
    let mut too_much = |block: &Kept| {
        bytes = bytes.saturating_add(block.bytes);
        limits.bytes > 0 && bytes > limits.bytes
    };
    let first = blocks.iter().position(|block| too_much(block) || too_old(block));
    blocks.into_iter().skip(first.unwrap_or(usize::MAX)).map(|block| block.ulid).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Blocks as `max_time bytes`; the answer as the positions of those that go, from 1 on.
    fn check(blocks: &[(i64, u64)], other_bytes: u64, limits: Limits, gone: &[u128]) {
        let blocks: Vec<Kept> = (1..)
            .zip(blocks)
            .map(|(n, (max_time, bytes))| Kept {
                ulid: Ulid(n),
                max_time: *max_time,
                bytes: *bytes,
            })
            .collect();
        let found: Vec<u128> =
            expired(&blocks, None, other_bytes, limits).into_iter().map(|ulid| ulid.0).collect();
        assert_eq!(found, gone);
    }

    fn time(time_ms: i64) -> Limits {
        Limits { time_ms, bytes: 0 }
    }

    fn bytes(bytes: u64) -> Limits {
        Limits { time_ms: 0, bytes }
    }

    #[test]
    fn a_block_goes_when_it_ends_as_long_before_the_newest_as_samples_are_kept() {
        check(&[(100, 1), (200, 1), (300, 1)], 0, time(201), &[]);
        check(&[(100, 1), (200, 1), (300, 1)], 0, time(200), &[1]);
        check(&[(300, 1), (100, 1), (200, 1)], 0, time(100), &[3, 2]);
    }

    #[test]
    fn the_newest_block_is_never_too_old() {
        check(&[(100, 1)], 0, time(1), &[]);
        check(&[(100, 1), (100, 1)], 0, time(1), &[]);
    }

    #[test]
    fn other_shards_blocks_may_say_what_time_it_is() {
        let block = Kept { ulid: Ulid(1), max_time: 100, bytes: 1 };
        assert_eq!(expired(&[block], Some(199), 0, time(100)), []);
        assert_eq!(expired(&[block], Some(200), 0, time(100)), [Ulid(1)]);
        assert_eq!(expired(&[block], Some(0), 0, time(100)), []);
    }

    #[test]
    fn no_limit_keeps_everything() {
        check(&[(i64::MIN, u64::MAX), (i64::MAX, u64::MAX)], u64::MAX, Limits::default(), &[]);
    }

    #[test]
    fn log_and_head_count_like_the_blocks() {
        check(&[(100, 10), (200, 10), (300, 10)], 0, bytes(30), &[]);
        check(&[(100, 10), (200, 10), (300, 10)], 1, bytes(30), &[1]);
        check(&[(100, 10), (200, 10), (300, 10)], 11, bytes(30), &[2, 1]);
    }

    #[test]
    fn a_block_that_is_too_large_by_itself_goes_with_all_before_it() {
        check(&[(100, 1), (200, 1), (300, 31)], 0, bytes(30), &[3, 2, 1]);
    }

    #[test]
    fn what_is_reached_first_decides() {
        let both = |time_ms, bytes| Limits { time_ms, bytes };
        check(&[(100, 10), (200, 10), (300, 10)], 0, both(100, 20), &[2, 1]);
        check(&[(100, 10), (200, 10), (300, 10)], 0, both(300, 10), &[2, 1]);
        check(&[(100, 10), (200, 10), (300, 10)], 0, both(200, 30), &[1]);
    }

    proptest! {
        #[test]
        fn what_goes_is_older_than_what_stays_and_what_stays_is_within_the_limits(
            found in proptest::collection::vec((any::<i64>(), any::<u32>()), 0..20),
            other_bytes: u32, time_ms in 0..i64::MAX, limit: u32,
        ) {
            let limits = Limits { time_ms, bytes: limit.into() };
            let blocks: Vec<Kept> = (1..).zip(found).map(|(n, (max_time, bytes))| Kept { ulid: Ulid(n), max_time, bytes: bytes.into() }).collect();
            let gone = expired(&blocks, None, other_bytes.into(), limits);
            let (gone, stay): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| gone.contains(&block.ulid));
            let oldest = stay.iter().map(|block| block.max_time).min();
            prop_assert!(gone.iter().all(|block| oldest.is_none_or(|oldest| block.max_time <= oldest)));
            let newest = stay.iter().map(|block| block.max_time).max();
            if let (Some(oldest), Some(newest), 1..) = (oldest, newest, time_ms) {
                prop_assert!(newest == oldest || newest.saturating_sub(oldest) < time_ms);
            }
            let bytes: u64 = stay.iter().map(|block| block.bytes).sum();
            prop_assert!(limit == 0 || stay.is_empty() || bytes + u64::from(other_bytes) <= limits.bytes);
        }
    }
}
