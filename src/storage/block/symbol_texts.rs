//! The texts of the symbols of an index that is being written, by their numbers.
//!
//! In memory there is only where every 32nd of them begins, and a window of the section: they are asked for in ascending
//! order, name by name. What is read back is held to the checksums of what was written: another text would go into the
//! postings' table with a right checksum, and be wrong for ever.

use super::append_file::AppendFile;
use super::error::BlockError;
use super::page_sums::PageSums;
use crate::encoding::block::index::symbols::SymbolOffsets;
use crate::io::File;

/// Bytes that are read at once.
const WINDOW_BYTES: u64 = 64 << 10;

/// Finds texts.
pub struct SymbolTexts<'a, F: File> {
    offsets: &'a SymbolOffsets,
    sums: &'a PageSums,
    window: Option<F::Read>,
    window_start: u64,
}

impl<'a, F: File> SymbolTexts<'a, F> {
    /// For the symbols that lie there; they have settled.
    ///
    /// - `sums`: of their pages.
    pub(super) fn new(offsets: &'a SymbolOffsets, sums: &'a PageSums) -> Self {
        Self { offsets, sums, window: None, window_start: 0 }
    }

    /// The text of the symbol with this number.
    ///
    /// # Errors
    /// Those of the disk, and bytes that are not those that were written.
    pub async fn text(&mut self, symbol: u32, file: &AppendFile<F>) -> Result<&str, BlockError> {
        let offsets = self.offsets;
        let damaged = |what: String| {
            let (path, offset) = (file.path().to_owned(), offsets.range().start);
            BlockError::Damaged {
                path,
                offset,
                what: format!("read back, symbol {symbol}: {what}"),
            }
        };
        let no_such = || damaged("there are not as many".to_owned());
        let (group, place) = offsets.group_of(symbol).ok_or_else(no_such)?;
        let held = self.window.as_deref().map_or(0, <[u8]>::len) as u64;
        if place.start < self.window_start || place.end > self.window_start + held {
            let until = place.end.max(place.start + WINDOW_BYTES);
            let pages = self.sums.pages_around(place.start..until);
            let len = usize::try_from(pages.end - pages.start).unwrap_or(usize::MAX);
            let mut read = file.read(pages.start, len).await?;
            if self.sums.first_wrong(pages.start, &read).is_some() {
                read = file.read(pages.start, len).await?;
            }
            if let Some(offset) = self.sums.first_wrong(pages.start, &read) {
                let what = "read back, this page is not what was written".to_owned();
                return Err(BlockError::Damaged { path: file.path().to_owned(), offset, what });
            }
            self.window = Some(read);
            self.window_start = pages.start;
        }
        let window_start = self.window_start;
        let within = |at: u64| usize::try_from(at - window_start).unwrap_or(usize::MAX);
        let bytes = self.window.as_deref().unwrap_or_default();
        let bytes = bytes.get(within(place.start)..within(place.end)).unwrap_or_default();
        for found in offsets.symbols_in(group, bytes) {
            let (number, text) = found.map_err(|error| damaged(error.to_string()))?;
            if number == symbol {
                return Ok(text);
            }
        }
        Err(no_such())
    }
}
