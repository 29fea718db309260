//! Writes a block's index: symbols, then series, then what is made from them. The format is `encoding::block::index`'s.
//!
//! Owns the file and the promises about order. In memory it has where every 32nd symbol is, how often each label name is
//! used, and what is being written; postings are made from the series on disk (`postings_writer`), and the offset table, whose
//! length stands before it, waits in a file of its own:
//! ```text
//! index                 the index
//! index.offset-table    entries of the offset table, until they are copied
//! ```

use std::collections::BTreeMap;

use super::append_file::AppendFile;
use super::error::BlockError;
use super::label_pairs::LabelPairs;
use super::page_sums::PageSums;
use super::postings_writer::{PostingsWriter, Written};
use super::symbol_texts::SymbolTexts;
use crate::encoding::block::index::read::{
    ChunkMeta, HEAD_BYTES, HEADER_BYTES, SERIES_ALIGNMENT, TOC_BYTES, Toc, Version,
};
use crate::encoding::block::index::symbols::SymbolOffsets;
use crate::encoding::block::index::write::{self, POSTINGS_ALIGNMENT, SectionSum};
use crate::io::{Disk, Pace};

const TABLE: &str = "index.offset-table";
/// Bytes that are copied at once.
const COPY_BYTES: usize = 256 << 10;
/// What a label name takes in the offset table, where that is estimated.
const NAME_BYTES: u64 = 24;

/// How large an index may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLimits {
    /// The whole of it, in bytes.
    pub index_bytes_max: u64,
    /// Symbols and offset table, each, in bytes.
    pub section_bytes_max: u64,
}

impl Default for IndexLimits {
    /// Those of the format.
    fn default() -> Self {
        Self { index_bytes_max: write::BYTES_MAX, section_bytes_max: write::SECTION_BYTES_MAX }
    }
}

/// An index that is being written.
pub struct IndexWriter<D: Disk> {
    disk: D,
    dir: String,
    limits: IndexLimits,
    file: AppendFile<D::File>,
    symbols: SymbolOffsets,
    last_symbol: Option<String>,
    /// The checksums over the symbols so far, without their count.
    symbol_sums: PageSums,
    /// Where the section of the series begins; `None` while there may be more symbols.
    series_start: Option<u64>,
    series_count: u64,
    last_labels: Vec<(u32, u32)>,
    /// How many series have a label of each name, by the name's symbol.
    names: BTreeMap<u32, u64>,
    /// How many labels all series have together.
    label_count: u64,
    pairs: LabelPairs,
}

impl<D: Disk> IndexWriter<D> {
    /// Begins an index in `dir`, which has none.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn create(disk: &D, dir: &str, limits: IndexLimits) -> Result<Self, BlockError> {
        let mut file = AppendFile::create(disk, format!("{dir}/{}", super::INDEX)).await?;
        file.append(&write::header()).await?;
        // Length and count of the symbols, which are known behind them.
        file.append(&[0; HEAD_BYTES]).await?;
        Ok(Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            limits,
            symbols: SymbolOffsets::new(Version::V2, file.len()),
            symbol_sums: PageSums::new(file.len()),
            file,
            last_symbol: None,
            series_start: None,
            series_count: 0,
            last_labels: Vec::new(),
            names: BTreeMap::new(),
            label_count: 0,
            pairs: LabelPairs::default(),
        })
    }

    /// Adds a symbol, which sorts after the ones before it; gives its number.
    ///
    /// # Errors
    /// A symbol that does not, or for which there is no room; those of the disk.
    ///
    /// # Panics
    /// If there is a series already.
    pub async fn add_symbol(&mut self, symbol: &str) -> Result<u32, BlockError> {
        assert_eq!(self.series_start, None, "symbols come before the series");
        if self.last_symbol.as_deref().is_some_and(|last| last >= symbol) {
            return Err(self.disorder(format!("symbol {symbol:?} does not sort after the last")));
        }
        let bytes = write::text_bytes(symbol);
        let section = self.symbols.range();
        let total = section.end - section.start + bytes + 4;
        if total > self.limits.section_bytes_max {
            return Err(self.too_large("the symbols", total, self.limits.section_bytes_max));
        }
        let pushed = self.symbols.push(usize::try_from(bytes).unwrap_or(usize::MAX));
        let number = pushed.map_err(|error| self.disorder(error.to_string()))?;
        let sums = &mut self.symbol_sums;
        let push = |out: &mut Vec<u8>| {
            let start = out.len();
            write::push_text(out, symbol);
            sums.note(out.get(start..).unwrap_or_default());
        };
        self.file.append_with(push).await?;
        let last = self.last_symbol.get_or_insert_default();
        last.clear();
        last.push_str(symbol);
        Ok(number)
    }

    async fn end_symbols(&mut self) -> Result<u64, BlockError> {
        if let Some(series_start) = self.series_start {
            return Ok(series_start);
        }
        let (section, count) = (self.symbols.range(), self.symbols.count());
        let len = section.end - section.start;
        let head = write::section_head(count, len);
        let head = head.ok_or_else(|| self.too_large("the symbols", len, u32::MAX.into()))?;
        self.file.overwrite(HEADER_BYTES as u64, &head).await?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let sum = SectionSum::of_bytes_before(count, self.symbol_sums.whole(), len);
        self.file.append(&sum.end()).await?;
        self.series_start = Some(self.file.len());
        Ok(self.file.len())
    }

    /// Adds a series, which sorts after the ones before it.
    ///
    /// - `labels`: numbers of the symbols of name and value, in the order of the names.
    /// - `chunks`: in the order of time.
    ///
    /// # Errors
    /// A series that is out of order, or for which there is no room; those of the disk.
    pub async fn add_series(
        &mut self,
        labels: &[(u32, u32)],
        chunks: &[ChunkMeta],
    ) -> Result<(), BlockError> {
        self.end_symbols().await?;
        if let Some(what) = self.out_of_order(labels, chunks) {
            let series = self.series_count;
            return Err(self.disorder(format!("series {series}, counted from 0: {what}")));
        }
        self.file.pad(SERIES_ALIGNMENT).await?;
        let chunks = chunks.iter().copied();
        self.file.append_with(|out| write::push_series(out, labels, chunks)).await?;
        self.within_limit()?;
        for (name, value) in labels {
            *self.names.entry(*name).or_default() += 1;
            self.pairs.add(*name, *value);
        }
        self.label_count += labels.len() as u64;
        self.series_count += 1;
        self.last_labels.clear();
        self.last_labels.extend_from_slice(labels);
        Ok(())
    }

    /// What is wrong with a series, if something is. Symbols are numbered in their order, so numbers compare as texts do.
    fn out_of_order(&self, labels: &[(u32, u32)], chunks: &[ChunkMeta]) -> Option<&'static str> {
        let symbols = self.symbols.count();
        if labels <= self.last_labels.as_slice() {
            return Some("its labels do not sort after those of the one before");
        }
        if !labels.is_sorted_by(|a, b| a.0 < b.0) {
            return Some("its label names are not sorted");
        }
        if labels.iter().any(|(name, value)| *name >= symbols || *value >= symbols) {
            return Some("it has a label that is no symbol");
        }
        if !chunks.is_sorted_by(|a, b| a.range.max() < b.range.min() && a.reference < b.reference) {
            return Some("its chunks overlap or are not sorted");
        }
        None
    }

    /// May the index become too large with this series and the ones before it? Asked before it is added, so that a caller
    /// can end the block first. The answer is an estimate, and comes early rather than late: `true` above seven eighths of
    /// the room.
    pub fn would_exceed(&self, labels: &[(u32, u32)], chunk_count: usize) -> bool {
        let section = self.symbols.range();
        let symbols = u64::from(self.symbols.count()).max(1);
        let value_bytes = (section.end - section.start).div_ceil(symbols);
        let lists = self.pairs.count() + labels.len() as u64 + 1;
        let uses = self.label_count + labels.len() as u64 + self.series_count + 1;
        let table = lists * (write::OFFSET_BYTES_MAX + value_bytes + NAME_BYTES);
        let postings = lists * write::list_bytes(0) + uses * 4;
        let series = self.file.len() + write::series_bytes_max(labels.len(), chunk_count);
        let total = series + postings + table + TOC_BYTES as u64;
        let room = |max: u64| max - max / 8;
        table > room(self.limits.section_bytes_max) || total > room(self.limits.index_bytes_max)
    }

    /// Writes what is made from the series, and makes the index durable; gives its length.
    ///
    /// - `postings_bytes`: how much memory the postings may take.
    ///
    /// # Errors
    /// An index that is too large; those of the disk.
    pub async fn finish(
        mut self,
        postings_bytes: usize,
        pace: &mut impl Pace,
    ) -> Result<u64, BlockError> {
        let series_start = self.end_symbols().await?;
        let series_end = self.file.len();
        self.file.settle().await?;
        self.file.pad(POSTINGS_ALIGNMENT).await?;
        let mut table = AppendFile::create(&self.disk, format!("{}/{TABLE}", self.dir)).await?;
        let postings = PostingsWriter {
            index: &mut self.file,
            table: &mut table,
            texts: SymbolTexts::new(&self.symbols, &self.symbol_sums),
            section: series_start..series_end,
            // The entries, and as much to sort them.
            entries_max: (postings_bytes / 16).max(1) as u64,
            list_count: 0,
            table_sum: 0,
        };
        let written = postings.write(self.series_count, &self.names, pace).await?;
        self.within_limit()?;
        let postings_table = self.file.len();
        self.copy_table(written, table, pace).await?;
        self.within_limit()?;
        let toc = Toc {
            symbols: HEADER_BYTES as u64,
            series: series_start,
            label_indices: series_end,
            label_indices_table: postings_table,
            postings: series_end,
            postings_table,
            end: self.file.len(),
        };
        self.file.append(&toc.to_bytes()).await?;
        self.file.finish().await
    }

    /// Appends the offset table, whose entries are all in `table`, and removes that.
    async fn copy_table(
        &mut self,
        Written { list_count: count, table_sum }: Written,
        mut table: AppendFile<D::File>,
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        table.settle().await?;
        let (len, max) = (table.len(), self.limits.section_bytes_max);
        let head = write::section_head(count, len).filter(|_| len + 4 <= max);
        let head = head.ok_or_else(|| self.too_large("the offset table", len + 4, max))?;
        self.file.append(&head).await?;
        let (mut sum, mut at) = (SectionSum::begin(count), 0);
        while at < len {
            let piece = usize::try_from(len - at).unwrap_or(usize::MAX).min(COPY_BYTES);
            let piece = table.read(at, piece).await?;
            sum.add(&piece);
            self.file.append(&piece).await?;
            at += piece.len() as u64;
            pace.breathe().await;
        }
        let written = usize::try_from(len).unwrap_or(usize::MAX);
        if sum != SectionSum::of_bytes_before(count, table_sum, written) {
            let (path, what) = (table.path().to_owned(), "read back, it is not what was written");
            return Err(BlockError::Damaged { path, offset: 0, what: what.to_owned() });
        }
        self.file.append(&sum.end()).await?;
        let path = table.path().to_owned();
        drop(table);
        self.disk.remove(&path).await.map_err(BlockError::io(&path, "remove"))
    }

    fn within_limit(&self) -> Result<(), BlockError> {
        let (bytes, max) = (self.file.len(), self.limits.index_bytes_max);
        if bytes <= max { Ok(()) } else { Err(self.too_large("the index", bytes, max)) }
    }

    fn too_large(&self, what: &'static str, bytes: u64, max: u64) -> BlockError {
        BlockError::TooLarge { path: self.file.path().to_owned(), what, bytes, max }
    }

    fn disorder(&self, what: String) -> BlockError {
        BlockError::Order { path: self.file.path().to_owned(), what }
    }

    /// How many series there are.
    pub fn series_count(&self) -> u64 {
        self.series_count
    }
}
