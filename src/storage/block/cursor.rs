//! All of a block in order, for who merges blocks: its series by their labels, its symbols by their texts.
//!
//! Both read their part of the index from end to end in windows of a mebibyte, past the cache, and hold one item.

use super::BlockError;
use super::index_file::IndexFile;
use super::section::Section;
use crate::encoding::block::index::read::{
    ChunkMeta, IndexError, SERIES_ALIGNMENT, Version, series, split_series, split_symbol,
};
use crate::io::{File, Pace};
use crate::model::SeriesId;

/// The series of a block, one after the other.
pub struct SeriesCursor<'b, F> {
    section: Section<'b, F>,
    version: Version,
    labels: Vec<(u32, u32)>,
    chunks: Vec<ChunkMeta>,
}

/// One series, as the index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorSeries<'c> {
    /// Names it within the block.
    pub id: SeriesId,
    /// The references of its labels' symbols, name and value, in order of the names.
    pub labels: &'c [(u32, u32)],
    /// Its chunks, oldest first.
    pub chunks: &'c [ChunkMeta],
}

impl<'b, F: File> SeriesCursor<'b, F> {
    pub(super) fn new(index: &'b IndexFile<F>) -> Self {
        let (start, end) = (index.toc.series, index.toc.series_end());
        let section = Section::new(&index.paged.file, &index.paged.path, start, end);
        Self { section, version: index.version, labels: Vec::new(), chunks: Vec::new() }
    }

    /// The next series; none at the end.
    ///
    /// # Errors
    /// A disk that does not read, or bytes that are not a series: nothing behind them can be found, and this is not to
    /// be asked again.
    pub async fn next(
        &mut self,
        pace: &mut impl Pace,
    ) -> Result<Option<CursorSeries<'_>>, BlockError> {
        loop {
            if self.version == Version::V2 {
                self.section.skip_to(self.section.offset().next_multiple_of(SERIES_ALIGNMENT));
            }
            if self.section.is_done() {
                return Ok(None);
            }
            let at = self.section.offset();
            let number = if self.version == Version::V2 { at / SERIES_ALIGNMENT } else { at };
            let id = u32::try_from(number).map(SeriesId);
            let id = id.map_err(|_| self.section.damaged("a series behind the first 64 GiB"))?;
            self.labels.clear();
            self.chunks.clear();
            let (labels, chunks) = (&mut self.labels, &mut self.chunks);
            let entry = |rest: &[u8]| {
                if rest.first() == Some(&0) {
                    return Ok((false, 1)); // what comes next is aligned
                }
                let (body, behind) = split_series(rest)?;
                match series(body, labels, chunks) {
                    // Its checksum is right: more bytes would not help.
                    Err(IndexError::Cut { what, .. }) => Err(IndexError::Malformed { what }),
                    read => read.map(|()| (true, rest.len() - behind.len())),
                }
            };
            if self.section.next(entry, pace).await? {
                return Ok(Some(CursorSeries { id, labels: &self.labels, chunks: &self.chunks }));
            }
        }
    }
}

/// The symbols of a block, one after the other.
pub struct SymbolCursor<'b, F> {
    section: Section<'b, F>,
    index: &'b IndexFile<F>,
    next: u32,
    text: String,
}

impl<'b, F: File> SymbolCursor<'b, F> {
    pub(super) fn new(index: &'b IndexFile<F>) -> Self {
        let range = index.symbols.range();
        let mut section =
            Section::new(&index.paged.file, &index.paged.path, range.start, range.end);
        section.note_sums();
        Self { section, index, next: 0, text: String::new() }
    }

    /// The next symbol, and the reference by which series name it; none at the end. References ascend as texts do. Only at
    /// the end it is known that all of them are what they should be.
    ///
    /// # Errors
    /// A disk that does not read, or bytes that have changed since the block was opened.
    pub async fn next(&mut self, pace: &mut impl Pace) -> Result<Option<(u32, &str)>, BlockError> {
        if self.section.is_done() {
            let sums = self.section.sums();
            if sums.is_some_and(|sums| !self.index.paged.sums.contains(sums)) {
                let what = "the symbols are not what they were when the index was opened";
                return Err(self.section.damaged(what));
            }
            return Ok(None);
        }
        let reference = match self.index.version {
            Version::V1 => u32::try_from(self.section.offset()).unwrap_or(u32::MAX),
            Version::V2 => self.next,
        };
        let text = &mut self.text;
        let symbol = |rest: &[u8]| {
            let (symbol, behind) = split_symbol(rest)?;
            text.clear();
            text.push_str(symbol);
            Ok(((), rest.len() - behind.len()))
        };
        self.section.next(symbol, pace).await?;
        self.next = self.next.saturating_add(1);
        Ok(Some((reference, &self.text)))
    }
}
