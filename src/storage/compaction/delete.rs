//! Deletes samples of a block: they are not seen any more, and go when the block is merged or cleaned.

use super::rewrite;
use crate::encoding::block::index::read::ChunkMeta;
use crate::encoding::block::tombstones::Tombstones;
use crate::io::{Disk, Pace};
use crate::model::{Matcher, TimeRange};
use crate::storage::block::{Block, BlockError};

/// Series that are looked at together.
const AT_ONCE: usize = 256;

/// Deletes the samples of `block` within `range`, both ends included, of all series for which all `matchers` hold. When it
/// returns this is durable, and `block` has it too. Is anything deleted that was not before?
///
/// Of a block that several shards read, one of them does this, and the others open it anew.
///
/// # Errors
/// A disk that does not read or write, or an index that is damaged where this needs it. What was to be deleted is there or
/// not; `block` knows.
pub async fn delete<D: Disk>(
    disk: &D,
    block: &Block<D>,
    matchers: &[Matcher],
    range: TimeRange,
    pace: &mut impl Pace,
) -> Result<bool, BlockError> {
    let before = block.tombstones();
    let mut tombstones = Tombstones::clone(&before);
    let found = block.select(matchers, pace).await?;
    for ids in found.chunks(AT_ONCE) {
        for series in block.series(ids, pace).await? {
            // No more than what is there: later blocks of the same samples may be longer.
            if let Some(part) = deleted_part(&series.chunks, range) {
                tombstones.add(series.id, part);
            }
        }
        pace.breathe().await;
    }
    if tombstones == *before {
        return Ok(false);
    }
    let replaced = || block.set_tombstones(tombstones.clone());
    rewrite::tombstones(disk, block.dir(), &tombstones, replaced).await?;
    Ok(true)
}

/// What of `range` lies between the first and the last sample of a series, if any of its chunks has samples there.
fn deleted_part(chunks: &[ChunkMeta], range: TimeRange) -> Option<TimeRange> {
    chunks.iter().find(|chunk| chunk.range.overlaps(range))?;
    let (first, last) = (chunks.first()?.range, chunks.last()?.range);
    TimeRange::new(range.min().max(first.min()), range.max().min(last.max()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::block::chunks::ChunkRef;
    use crate::model::TimestampMs;

    fn range(min: i64, max: i64) -> TimeRange {
        TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap()
    }

    #[test]
    fn only_what_is_there_is_deleted() {
        let chunk = |min, max| ChunkMeta { range: range(min, max), reference: ChunkRef(0) };
        let chunks = [chunk(10, 20), chunk(40, 50)];
        let part = |min, max| deleted_part(&chunks, range(min, max));
        assert_eq!(part(0, 9), None);
        assert_eq!(part(21, 39), None);
        assert_eq!(part(51, 60), None);
        assert_eq!(part(0, 10), Some(range(10, 10)));
        assert_eq!(part(15, 45), Some(range(15, 45)));
        assert_eq!(part(0, 100), Some(range(10, 50)));
        assert_eq!(deleted_part(&[], range(0, 100)), None);
    }
}
