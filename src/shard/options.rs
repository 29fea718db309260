//! How a shard keeps its data: for how long, how much of it, how late it may come, and in blocks of what length.

use super::backlog::Limits;
pub use crate::storage::head::FloatChunks;

/// The stretch of time of a block as it is cut from a Head: two hours. Blocks are aligned to it.
pub const BLOCK_MS: i64 = 2 * 3_600_000;
/// How long data is kept unless it is told otherwise: 15 days.
pub const RETENTION_MS: i64 = 15 * 86_400_000;
/// How many exemplars are kept unless it is told otherwise, as in a Prometheus that keeps them.
pub const EXEMPLARS_MAX: u64 = 100_000;
/// Blocks do not grow beyond 31 days, however long data is kept.
const BLOCK_MS_MAX: i64 = 31 * 86_400_000;
/// Nor beyond this part of the time for which it is kept, so that what goes at once is not much.
const BLOCKS_A_RETENTION: i64 = 10;

/// How a shard keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageOptions {
    /// For how long, in milliseconds; above zero. `None`: for ever.
    pub retention_ms: Option<i64>,
    /// How many bytes of it, of all shards together; above zero. `None`: as many as there are.
    pub retention_bytes: Option<u64>,
    /// How much older than the newest sample of the Head a sample may be, in milliseconds, if its series has a newer one
    /// already. Zero: not at all.
    pub out_of_order_window_ms: i64,
    /// In which encoding blocks that are cut from now on have floats.
    pub float_chunks: FloatChunks,
    /// How many exemplars are kept, of all shards together. Zero: none.
    pub exemplars_max: u64,
    /// Compaction makes no block that is longer than this, in milliseconds; at least [`BLOCK_MS`].
    pub max_block_ms: i64,
    /// How many bytes of the indexes of blocks one shard holds in memory.
    pub index_cache_bytes: usize,
    /// How many bytes of chunks that queries have read are held in memory, of all shards together. Zero: none.
    pub chunk_cache_bytes: usize,
    /// How far the cutting of blocks may be behind before writes are held back.
    pub backlog: Limits,
}

impl StorageOptions {
    /// How many exemplars one of so many shards keeps. Together they may keep a few more than were asked for.
    #[must_use]
    pub fn exemplars_of_shard(&self, shards: u16) -> usize {
        usize::try_from(self.exemplars_max.div_ceil(u64::from(shards))).unwrap_or(usize::MAX)
    }

    /// How many bytes of chunks one of so many shards holds.
    #[must_use]
    pub fn chunk_cache_of_shard(&self, shards: u16) -> usize {
        self.chunk_cache_bytes / usize::from(shards.max(1))
    }

    /// How long blocks may become if data is kept for `retention_ms`: a tenth of that, but at least as long as they are cut,
    /// and at most 31 days.
    #[must_use]
    pub fn max_block_ms(retention_ms: Option<i64>) -> i64 {
        let part = retention_ms.map_or(BLOCK_MS_MAX, |retention| retention / BLOCKS_A_RETENTION);
        part.clamp(BLOCK_MS, BLOCK_MS_MAX)
    }
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            retention_ms: Some(RETENTION_MS),
            retention_bytes: None,
            out_of_order_window_ms: 3_600_000,
            float_chunks: FloatChunks::default(),
            exemplars_max: EXEMPLARS_MAX,
            max_block_ms: Self::max_block_ms(Some(RETENTION_MS)),
            index_cache_bytes: 64 << 20,
            chunk_cache_bytes: 64 << 20,
            backlog: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_a_tenth_of_the_retention_within_bounds() {
        const HOUR_MS: i64 = 3_600_000;
        assert_eq!(StorageOptions::max_block_ms(Some(RETENTION_MS)), 36 * HOUR_MS);
        assert_eq!(StorageOptions::max_block_ms(Some(HOUR_MS)), BLOCK_MS);
        assert_eq!(StorageOptions::max_block_ms(Some(10 * 365 * 24 * HOUR_MS)), 31 * 24 * HOUR_MS);
        assert_eq!(StorageOptions::max_block_ms(None), 31 * 24 * HOUR_MS);
    }
}
