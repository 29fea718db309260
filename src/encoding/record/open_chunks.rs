//! Chunks that are being written, as a checkpoint has them.

use super::{OPEN_CHUNKS, RecordError, begin, end, next_entry};
use crate::encoding::xor::{Words, XorAppender};
use crate::model::{SeriesRef, TimestampMs};

/// Appends one open chunk to the body of an open-chunks record that is being gathered.
pub fn push_open_chunk(
    body: &mut Vec<u8>,
    series: SeriesRef,
    next_at: TimestampMs,
    appender: &XorAppender,
    words: &Words,
) {
    body.extend_from_slice(&series.0.to_le_bytes());
    body.extend_from_slice(&next_at.0.to_le_bytes());
    appender.save(words, body);
}

/// Appends a record of open chunks; `body` was gathered with [`push_open_chunk`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_open_chunks(out: &mut Vec<u8>, body: &[u8]) {
    let start = begin(out, OPEN_CHUNKS);
    out.extend_from_slice(body);
    end(out, start);
}

/// A chunk that is being written, as a checkpoint has it.
#[derive(Clone, Debug)]
pub struct SavedOpenChunk {
    /// Whose.
    pub series: SeriesRef,
    /// When the next chunk begins.
    pub next_at: TimestampMs,
    /// Where its writing stands.
    pub appender: XorAppender,
    /// Its finished words.
    pub words: Words,
}

/// Chunks that are being written.
#[derive(Clone, Debug)]
pub struct OpenChunksRecord<'a> {
    rest: &'a [u8],
}

impl<'a> OpenChunksRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    fn split(&mut self) -> Option<SavedOpenChunk> {
        let (series, rest) = self.rest.split_first_chunk::<8>()?;
        let (next_at, rest) = rest.split_first_chunk::<8>()?;
        let (appender, words, rest) = XorAppender::restore(rest)?;
        self.rest = rest;
        let (series, next_at) = (u64::from_le_bytes(*series), i64::from_le_bytes(*next_at));
        Some(SavedOpenChunk {
            series: SeriesRef(series),
            next_at: TimestampMs(next_at),
            appender,
            words,
        })
    }
}

impl Iterator for OpenChunksRecord<'_> {
    type Item = Result<SavedOpenChunk, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_entry(
            self,
            |record| &mut record.rest,
            Self::split,
            "an open-chunks record ends within a chunk",
        )
    }
}
