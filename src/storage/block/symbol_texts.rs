//! The texts of the symbols of an index that is being written, by their numbers.
//!
//! In memory there is only where every 32nd of them begins, and a window of the section: they are asked for in ascending
//! order, name by name.

use super::append_file::AppendFile;
use super::error::BlockError;
use crate::encoding::block::index::symbols::SymbolOffsets;
use crate::io::File;

/// Bytes that are read at once.
const WINDOW_BYTES: u64 = 64 << 10;

/// Finds texts.
pub struct SymbolTexts<'a, F: File> {
    offsets: &'a SymbolOffsets,
    window: Option<F::Read>,
    window_start: u64,
}

impl<'a, F: File> SymbolTexts<'a, F> {
    /// For the symbols that lie there; they have settled.
    pub fn new(offsets: &'a SymbolOffsets) -> Self {
        Self { offsets, window: None, window_start: 0 }
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
            let until = offsets.range().end.min(place.end.max(place.start + WINDOW_BYTES));
            let len = usize::try_from(until - place.start).unwrap_or(usize::MAX);
            self.window = Some(file.read(place.start, len).await?);
            self.window_start = place.start;
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
