//! Chunks of histograms that are being written, as a checkpoint has them.

use super::{OPEN_HISTOGRAMS, RecordError, begin, end, next_entry};
use crate::model::{SeriesRef, TimestampMs};

/// A chunk of histograms that is being written, as a checkpoint has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedOpenHistogram<'a> {
    /// Whose.
    pub series: SeriesRef,
    /// Which of Prometheus's encodings.
    pub encoding: u8,
    /// When the next chunk begins, if that has been predicted.
    pub next_at: Option<TimestampMs>,
    /// The chunk's bytes so far.
    pub bytes: &'a [u8],
}

/// Appends one open chunk to the body of a record that is being gathered.
pub fn push_open_histogram(body: &mut Vec<u8>, saved: SavedOpenHistogram<'_>) {
    body.extend_from_slice(&saved.series.0.to_le_bytes());
    body.push(saved.encoding);
    // No chunk ends at the last instant there is: `range_end` stays below it.
    body.extend_from_slice(&saved.next_at.map_or(i64::MAX, |t| t.0).to_le_bytes());
    let len = u32::try_from(saved.bytes.len()).expect("a chunk has far less than 4 GiB");
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(saved.bytes);
}

/// Appends a record of open chunks of histograms; `body` was gathered with [`push_open_histogram`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_open_histograms(out: &mut Vec<u8>, body: &[u8]) {
    let start = begin(out, OPEN_HISTOGRAMS);
    out.extend_from_slice(body);
    end(out, start);
}

/// Chunks of histograms that are being written.
#[derive(Clone, Copy, Debug)]
pub struct OpenHistogramsRecord<'a> {
    rest: &'a [u8],
}

impl<'a> OpenHistogramsRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    fn split(&mut self) -> Option<SavedOpenHistogram<'a>> {
        let (series, rest) = self.rest.split_first_chunk::<8>()?;
        let (&[encoding], rest) = rest.split_first_chunk::<1>()?;
        let (next_at, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.rest = rest;
        let next_at = Some(i64::from_le_bytes(*next_at)).filter(|t| *t != i64::MAX);
        Some(SavedOpenHistogram {
            series: SeriesRef(u64::from_le_bytes(*series)),
            encoding,
            next_at: next_at.map(TimestampMs),
            bytes,
        })
    }
}

impl<'a> Iterator for OpenHistogramsRecord<'a> {
    type Item = Result<SavedOpenHistogram<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_entry(
            self,
            |record| &mut record.rest,
            Self::split,
            "an open-histograms record ends within a chunk",
        )
    }
}
