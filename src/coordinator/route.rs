//! Which shard owns a series. The only place that turns a label hash into a [`ShardId`].

use crate::model::ShardId;

/// The shard, of `shards`, that owns the series whose labels have the routing hash `route`
/// ([`crate::model::route_hash`]).
///
/// Multiplies instead of dividing: the upper bits of the hash choose, evenly to one part in 2^48.
///
/// # Panics
/// If there are no shards.
#[inline]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the product's upper half is below `shards`")]
pub fn shard_of(route: u64, shards: u16) -> ShardId {
    assert!(shards > 0, "a store has shards");
    ShardId(((u128::from(route) * u128::from(shards)) >> 64) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // golden: where series live may never move
    fn the_upper_bits_choose_the_shard() {
        let shards = |route| [1, 2, 3, 8].map(|shards| shard_of(route, shards).0);
        assert_eq!(shards(0), [0, 0, 0, 0]);
        assert_eq!(shards(u64::MAX), [0, 1, 2, 7]);
        assert_eq!(shards(0x7fff_ffff_ffff_ffff), [0, 0, 1, 3]);
        assert_eq!(shards(0x8000_0000_0000_0000), [0, 1, 1, 4]);
    }

    #[test]
    fn series_spread_evenly() {
        for shards in [2, 3, 7] {
            let mut counts = vec![0u32; usize::from(shards)];
            for i in 0..10_000u32 {
                counts[shard_of(seahash::hash(&i.to_le_bytes()), shards).index()] += 1;
            }
            let fair = 10_000 / u32::from(shards);
            assert!(counts.iter().all(|n| n.abs_diff(fair) < fair / 5), "{counts:?}");
        }
    }
}
