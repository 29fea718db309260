//! The series of an index that is being written, read back in order: each by its id and the bytes of its entry.
//!
//! Owns a window of the series section, so that a pass reads the disk in long pieces. Checksums are looked at: a bit that
//! the disk or the memory lost must not go into the postings.

use std::ops::Range;

use super::append_file::AppendFile;
use super::error::BlockError;
use crate::encoding::block::index::read::{self, SERIES_ALIGNMENT};
use crate::encoding::varint;
use crate::io::File;

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// One pass over the series.
pub struct SeriesScan<F: File> {
    /// Where the next entry begins, but for zeros before it.
    at: u64,
    end: u64,
    window: Option<F::Read>,
    window_start: u64,
}

impl<F: File> SeriesScan<F> {
    /// A pass over the section that lies there; it has settled.
    pub fn new(section: Range<u64>) -> Self {
        Self { at: section.start, end: section.end, window: None, window_start: 0 }
    }

    /// The next series: its id and the body of its entry.
    ///
    /// # Errors
    /// Those of the disk, and bytes that are not those that were written.
    pub async fn next(&mut self, file: &AppendFile<F>) -> Result<Option<(u32, &[u8])>, BlockError> {
        let at = self.at.next_multiple_of(SERIES_ALIGNMENT);
        if at >= self.end {
            return Ok(None);
        }
        let damaged = |what: String| {
            let path = file.path().to_owned();
            BlockError::Damaged { path, offset: at, what: format!("read back: {what}") }
        };
        let front = self.bytes_at(at, varint::BYTES_MAX, file).await?;
        let len = read::series_frame_len(front).map_err(|error| damaged(error.to_string()))?;
        let id =
            u32::try_from(at / SERIES_ALIGNMENT).map_err(|error| damaged(error.to_string()))?;
        self.at = at.saturating_add(len);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let frame = self.bytes_at(at, len, file).await?;
        let (body, _) = read::split_series(frame).map_err(|error| damaged(error.to_string()))?;
        Ok(Some((id, body)))
    }

    /// `len` bytes from `at` on, fewer where the section ends.
    async fn bytes_at(
        &mut self,
        at: u64,
        len: usize,
        file: &AppendFile<F>,
    ) -> Result<&[u8], BlockError> {
        let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
        let len = len.min(left);
        let held = self.window.as_deref().map_or(0, <[u8]>::len) as u64;
        if at < self.window_start || at + len as u64 > self.window_start + held {
            self.window = Some(file.read(at, len.max(WINDOW_BYTES).min(left)).await?);
            self.window_start = at;
        }
        let from = usize::try_from(at - self.window_start).unwrap_or(usize::MAX);
        let window = self.window.as_deref().unwrap_or_default();
        Ok(window.get(from..).and_then(|rest| rest.get(..len)).unwrap_or_default())
    }
}

/// The labels of the series whose entry has this body: numbers of the symbols of name and value.
pub fn labels(body: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    let (count, mut rest) = varint::split_unsigned(body).unwrap_or_default();
    (0..count).map_while(move |_| {
        let (name, behind) = varint::split_unsigned(rest)?;
        let (value, behind) = varint::split_unsigned(behind)?;
        rest = behind;
        Some((u32::try_from(name).ok()?, u32::try_from(value).ok()?))
    })
}
