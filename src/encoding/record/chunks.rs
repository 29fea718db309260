//! Full chunks, those of late samples likewise, as a checkpoint has them.

use super::{CHUNKS, LATE_CHUNKS, RecordError, begin, end, next_entry};
use crate::model::{SeriesRef, TimeRange, TimestampMs};

/// Appends one full chunk to the body of a chunks record that is being gathered.
pub fn push_chunk(
    body: &mut Vec<u8>,
    series: SeriesRef,
    encoding: u8,
    range: TimeRange,
    chunk: &[u8],
) {
    body.extend_from_slice(&series.0.to_le_bytes());
    body.push(encoding);
    body.extend_from_slice(&range.min().0.to_le_bytes());
    body.extend_from_slice(&range.max().0.to_le_bytes());
    body.extend_from_slice(
        &u32::try_from(chunk.len()).expect("a chunk has about a thousand bytes").to_le_bytes(),
    );
    body.extend_from_slice(chunk);
}

/// Appends a record of full chunks; `body` was gathered with [`push_chunk`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_chunks(out: &mut Vec<u8>, body: &[u8]) {
    let start = begin(out, CHUNKS);
    out.extend_from_slice(body);
    end(out, start);
}

/// Appends a record of late chunks; `body` was gathered with [`push_chunk`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_late_chunks(out: &mut Vec<u8>, body: &[u8]) {
    let start = begin(out, LATE_CHUNKS);
    out.extend_from_slice(body);
    end(out, start);
}

/// A full chunk, as a checkpoint has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedChunk<'a> {
    /// Whose.
    pub series: SeriesRef,
    /// Which of Prometheus's encodings.
    pub encoding: u8,
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Chunks that are full.
#[derive(Clone, Debug)]
pub struct ChunksRecord<'a> {
    rest: &'a [u8],
}

impl<'a> ChunksRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    fn split(&mut self) -> Option<SavedChunk<'a>> {
        let (series, rest) = self.rest.split_first_chunk::<8>()?;
        let (&[encoding], rest) = rest.split_first_chunk::<1>()?;
        let (min, rest) = rest.split_first_chunk::<8>()?;
        let (max, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.rest = rest;
        let time = |bytes| TimestampMs(i64::from_le_bytes(bytes));
        let range = TimeRange::new(time(*min), time(*max))?;
        Some(SavedChunk { series: SeriesRef(u64::from_le_bytes(*series)), encoding, range, bytes })
    }
}

impl<'a> Iterator for ChunksRecord<'a> {
    type Item = Result<SavedChunk<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_entry(
            self,
            |record| &mut record.rest,
            Self::split,
            "a chunks record ends within a chunk",
        )
    }
}
