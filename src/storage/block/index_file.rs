//! One block's index, open: what is held of it, and how the rest is found and read.
//!
//! Opening reads the symbols and the postings' table once, from end to end, checks them, and keeps every 32nd entry and
//! all label names, and a checksum of each page of these two, to which later reads of them are held. Lists and series have
//! their own. Everything else is read when it is asked for, in pages through the cache.
//! What is wrong is told with file and byte. A list of postings or a symbol that is broken costs what asks for it.

use std::io;
use std::ops::Range;
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::BlockError;
use super::cache::{IndexCache, PAGE_BYTES};
use super::page_sums::PageSums;
use super::pages::{PagedFile, Pages};
use super::posting_lists::Postings;
use super::section::Section;
use crate::encoding::block::index::postings_table::{PostingsTable, Values};
use crate::encoding::block::index::read::{
    CHECKSUM_BYTES, HEAD_BYTES, HEADER_BYTES, Head, IndexError, TOC_BYTES, Toc, Version, check,
    postings, split_postings_entry, split_symbol, version,
};
use crate::encoding::block::index::symbols::SymbolOffsets;
use crate::io::{File, Pace};

const SYMBOLS: &str = "the symbols";
const TABLE: &str = "the postings' table";
/// Bytes of the table that are looked at between two pauses.
const TABLE_WINDOW_BYTES: u64 = 64 << 10;
/// Lists, or groups of symbols, that are read together.
const SLICE: usize = 256;
/// Lists are read together until they have this many bytes.
const LISTS_BYTES: u64 = 4 << 20;
/// As many numbers are put together and sorted at once: some 100 us.
const RUN: usize = 8192;

pub(super) struct IndexFile<F> {
    pub paged: PagedFile<F>,
    pub version: Version,
    pub toc: Toc,
    pub symbols: SymbolOffsets,
    pub table: PostingsTable,
    /// At which byte the first entry of the table begins.
    table_first: u64,
    /// The label names, by the reference of their symbol; and back.
    names: HashMap<u32, Rc<str>, FixedState>,
    references: HashMap<Rc<str>, u32, FixedState>,
}

/// The texts of some symbols.
#[derive(Default)]
pub(super) struct SymbolTexts {
    /// Sorted, and behind which byte of the texts each ends.
    ends: Vec<(u32, usize)>,
    texts: String,
}

impl SymbolTexts {
    /// The text of the symbol at this place.
    fn at(&self, place: usize) -> Option<&str> {
        let before = place.checked_sub(1).and_then(|before| self.ends.get(before));
        self.texts.get(before.map_or(0, |(_, end)| *end)..self.ends.get(place)?.1)
    }

    /// The text of a symbol.
    pub fn get(&self, reference: u32) -> Option<&str> {
        self.at(self.ends.binary_search_by_key(&reference, |(own, _)| *own).ok()?)
    }

    /// All symbols, in order of their references.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        let texts = (0..).map_while(|place| self.at(place));
        self.ends.iter().map(|(reference, _)| *reference).zip(texts)
    }
}

impl<F: File> IndexFile<F> {
    /// Reads what is held of an index.
    pub async fn open(
        file: F,
        path: String,
        cache: Rc<IndexCache>,
        pace: &mut impl Pace,
    ) -> Result<Self, BlockError> {
        let mut paged = PagedFile::new(file, path, cache);
        let (file, path, len) = (&paged.file, paged.path.as_str(), paged.file.len());
        let Some(toc_at) = len.checked_sub((HEADER_BYTES + TOC_BYTES) as u64) else {
            return Err(paged.damaged(0, format_args!("{len} bytes are too few for an index")));
        };
        let toc_at = toc_at + HEADER_BYTES as u64;
        let ends = [(0, HEADER_BYTES), (toc_at, TOC_BYTES)];
        let mut ends = file.read_many(&ends).await.into_iter();
        let mut next = || {
            let read = ends.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
            read.map_err(BlockError::io(path, "read"))
        };
        let (header, toc) = (next()?, next()?);
        let version = version(&header).map_err(|error| paged.damaged(0, error))?;
        let toc = Toc::parse(&toc, len).map_err(|error| paged.damaged(toc_at, error))?;
        let (table, table_sums) = open_table(file, path, toc, version, pace).await?;
        let (symbols, symbol_sums, names) =
            open_symbols(file, path, toc, version, &table, pace).await?;
        let table_first = table_sums.range().start;
        paged.sums = vec![symbol_sums, table_sums];
        let references = names.iter().map(|(reference, name)| (Rc::clone(name), *reference));
        let references = references.collect();
        Ok(Self { version, toc, symbols, table, table_first, names, references, paged })
    }

    /// The label name of this symbol, if it is one.
    pub fn name(&self, symbol: u32) -> Option<&Rc<str>> {
        self.names.get(&symbol)
    }

    /// The symbol of this label name.
    pub fn symbol_of_name(&self, name: &str) -> Option<u32> {
        self.references.get(name).copied()
    }

    /// How many bytes of memory are held, about.
    pub fn held_bytes(&self) -> usize {
        let names: usize = self.names.values().map(|name| name.len() + 64).sum();
        let sums: usize = self.paged.sums.iter().map(PageSums::held_bytes).sum();
        self.symbols.held_bytes() + self.table.held_bytes() + names + sums
    }

    /// The texts of these symbols.
    pub async fn texts(
        &self,
        mut references: Vec<u32>,
        pace: &mut impl Pace,
    ) -> Result<SymbolTexts, BlockError> {
        references.sort_unstable();
        references.dedup();
        // Each with how many of its symbols are wanted.
        let mut groups: Vec<(usize, Range<u64>, usize)> = Vec::new();
        for (place, reference) in references.iter().enumerate() {
            if place.is_multiple_of(SLICE) {
                pace.breathe().await;
            }
            let unknown = || self.unknown_symbol(*reference);
            let (group, range) = self.symbols.group_of(*reference).ok_or_else(unknown)?;
            match groups.last_mut() {
                Some((last, _, wanted)) if *last == group => *wanted += 1,
                _ => groups.push((group, range, 1)),
            }
        }
        pace.breathe().await;
        let mut texts = SymbolTexts::default();
        let mut wanted = references.iter().copied().peekable();
        for groups in groups.chunks(SLICE) {
            let ranges: Vec<Range<u64>> =
                groups.iter().map(|(_, range, _)| range.clone()).collect();
            let pages = self.paged.pages(&ranges, pace).await?;
            for (group, range, count) in groups {
                let (mut left, bytes) = (*count, pages.bytes(range.clone()));
                for symbol in self.symbols.symbols_in(*group, &bytes) {
                    let (reference, text) =
                        symbol.map_err(|error| self.paged.damaged(range.start, error))?;
                    if wanted.next_if_eq(&reference).is_some() {
                        texts.texts.push_str(text);
                        texts.ends.push((reference, texts.texts.len()));
                        left -= 1;
                    }
                    if left == 0 {
                        break;
                    }
                }
            }
            pace.breathe().await;
        }
        match wanted.next() {
            None => Ok(texts),
            Some(reference) => Err(self.unknown_symbol(reference)),
        }
    }

    fn unknown_symbol(&self, reference: u32) -> BlockError {
        let count = self.symbols.count();
        let what = format_args!("no symbol has the reference {reference}, there are {count}");
        self.paged.damaged(self.toc.symbols, what)
    }

    /// Tells `found` of every value of `name` that begins with `prefix`, in order, and where its list begins.
    pub async fn each_value(
        &self,
        name: &str,
        prefix: &str,
        found: &mut impl FnMut(&str, u64),
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        match self.table.with_prefix(name, prefix) {
            None => Ok(()),
            Some(Values::Held(values)) => {
                for (value, offset) in values.take_while(|(value, _)| value.starts_with(prefix)) {
                    found(value, *offset);
                    pace.breathe().await;
                }
                Ok(())
            }
            Some(Values::Read(range)) => {
                let of_prefix = |value: &str, offset| {
                    if value.starts_with(prefix) {
                        found(value, offset);
                    }
                };
                self.read_table(name, range, of_prefix, pace).await
            }
        }
    }

    /// Where the lists of those of `values` begin that `name` has.
    pub async fn find_values(
        &self,
        name: &str,
        values: &[String],
        pace: &mut impl Pace,
    ) -> Result<Vec<u64>, BlockError> {
        let (mut offsets, mut ranges) = (Vec::new(), Vec::new());
        for value in values {
            pace.breathe().await;
            match self.table.find(name, value) {
                None => {}
                Some(Values::Held(mut values)) => {
                    offsets.extend(values.next().map(|(_, offset)| *offset));
                }
                Some(Values::Read(range)) => ranges.push((value, self.in_file(&range))),
            }
        }
        for ranges in ranges.chunks(SLICE) {
            let wanted: Vec<Range<u64>> = ranges.iter().map(|(_, range)| range.clone()).collect();
            let pages = self.paged.pages(&wanted, pace).await?;
            for (value, range) in ranges {
                let bytes = pages.bytes(range.clone());
                let mut rest = &*bytes;
                while !rest.is_empty() {
                    let at = range.start + (bytes.len() - rest.len()) as u64;
                    let (entry, behind) = split_postings_entry(rest)
                        .map_err(|error| self.paged.damaged(at, error))?;
                    if entry.name == name && entry.value == value.as_str() {
                        offsets.push(entry.offset);
                        break;
                    }
                    rest = behind;
                }
            }
            pace.breathe().await;
        }
        Ok(offsets)
    }

    /// Tells `found` of every entry for `name` in these bytes of the table.
    async fn read_table(
        &self,
        name: &str,
        range: Range<u32>,
        mut found: impl FnMut(&str, u64),
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        let Range { start: mut at, end } = self.in_file(&range);
        let mut window = TABLE_WINDOW_BYTES;
        while at < end {
            let range = at..end.min(at.saturating_add(window));
            let pages = self.paged.pages(std::slice::from_ref(&range), pace).await?;
            let bytes = pages.bytes(range);
            let mut rest = &*bytes;
            let cut = loop {
                match split_postings_entry(rest) {
                    Ok((entry, behind)) => {
                        if entry.name == name {
                            found(entry.value, entry.offset);
                            // A pattern may be dear.
                            pace.breathe().await;
                        }
                        rest = behind;
                    }
                    Err(error) => break error,
                }
            };
            let before = at;
            at += (bytes.len() - rest.len()) as u64;
            match cut {
                // The next window begins with this entry, and is long enough for it.
                IndexError::Cut { needed, .. } if at == end || needed <= end - at => {
                    window = TABLE_WINDOW_BYTES.max(needed);
                    if at == before && (rest.len() as u64) >= needed {
                        return Err(self
                            .paged
                            .damaged(at, "an entry of the postings' table is cut off"));
                    }
                }
                error => return Err(self.paged.damaged(at, error)),
            }
            pace.breathe().await;
        }
        Ok(())
    }

    /// The bytes of the file that are these of the table.
    fn in_file(&self, range: &Range<u32>) -> Range<u64> {
        self.table_first + u64::from(range.start)..self.table_first + u64::from(range.end)
    }

    /// What stands in any of the lists that begin at these bytes.
    ///
    /// A name may have a million values with a series each: short lists become few long ones.
    pub async fn union(
        &self,
        offsets: Vec<u64>,
        pace: &mut impl Pace,
    ) -> Result<Postings, BlockError> {
        let (mut runs, mut run) = (Vec::new(), Vec::new());
        let end = |run: &mut Vec<u32>, runs: &mut Vec<Postings>| {
            run.sort_unstable();
            run.dedup();
            runs.push(Postings::list(std::mem::take(run)));
        };
        let add = |numbers: Vec<u32>| {
            if numbers.len() >= RUN {
                runs.push(Postings::list(numbers));
                return;
            }
            run.extend_from_slice(&numbers);
            if run.len() >= RUN {
                end(&mut run, &mut runs);
            }
        };
        self.each_list(offsets, add, pace).await?;
        if !run.is_empty() {
            end(&mut run, &mut runs);
        }
        Ok(Postings::any(runs))
    }

    /// The lists that begin at these bytes, in the order of the bytes.
    pub async fn lists(
        &self,
        offsets: Vec<u64>,
        pace: &mut impl Pace,
    ) -> Result<Vec<Postings>, BlockError> {
        let mut lists = Vec::with_capacity(offsets.len());
        self.each_list(offsets, |numbers| lists.push(Postings::list(numbers)), pace).await?;
        Ok(lists)
    }

    /// Hands over the numbers of the lists that begin at these bytes, in the order of the bytes.
    async fn each_list(
        &self,
        mut offsets: Vec<u64>,
        mut found: impl FnMut(Vec<u32>),
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        offsets.sort_unstable();
        for offsets in offsets.chunks(SLICE) {
            let head = |offset: &u64| *offset..offset.saturating_add(HEAD_BYTES as u64);
            let heads: Vec<Range<u64>> = offsets.iter().map(head).collect();
            let pages = self.paged.pages(&heads, pace).await?;
            let mut frames = Vec::with_capacity(heads.len());
            for range in heads {
                let head = Head::parse(&pages.bytes(range.clone()), "a list of postings");
                let head = head.map_err(|error| self.paged.damaged(range.start, error))?;
                let frame = range.start..range.start.saturating_add(head.frame_len());
                if frame.end > self.toc.end {
                    let what = format_args!(
                        "a list of postings takes {} bytes, sections end at byte {}",
                        head.frame_len(),
                        self.toc.end
                    );
                    return Err(self.paged.damaged(range.start, what));
                }
                frames.push(frame);
            }
            let mut bytes = 0;
            let is_full = |frame: &Range<u64>, _: &Range<u64>| {
                bytes += frame.end - frame.start;
                if bytes < LISTS_BYTES {
                    return true;
                }
                bytes = 0;
                false
            };
            for frames in frames.chunk_by(is_full) {
                let pages = self.paged.pages(frames, pace).await?;
                for frame in frames {
                    let numbers = self.numbers(&pages, frame.clone(), pace).await?;
                    found(numbers);
                }
            }
        }
        Ok(())
    }

    /// The numbers of a list that is in these bytes of the file, which ascend. A list may be as long as there are series,
    /// so it is taken page by page.
    async fn numbers(
        &self,
        pages: &Pages,
        frame: Range<u64>,
        pace: &mut impl Pace,
    ) -> Result<Vec<u32>, BlockError> {
        let damaged = |error| self.paged.damaged(frame.start, error);
        let mut numbers = Vec::new();
        let push = |bytes: &[u8], numbers: &mut Vec<u32>| {
            numbers.extend(bytes.as_chunks::<4>().0.iter().map(|n| u32::from_be_bytes(*n)));
        };
        let short = frame.end - frame.start <= PAGE_BYTES as u64;
        if short || !frame.start.is_multiple_of(4) {
            push(postings(&pages.bytes(frame.clone())).map_err(damaged)?, &mut numbers);
        } else {
            let what = "a list of postings";
            let (first, end) = (frame.start + HEAD_BYTES as u64, frame.end - CHECKSUM_BYTES as u64);
            let head = Head::parse(&pages.bytes(frame.start..first), what).map_err(damaged)?;
            let mut computed = crc32c::crc32c(&head.count.to_be_bytes());
            for piece in pages.pieces(first..end) {
                computed = crc32c::crc32c_append(computed, piece);
                push(piece, &mut numbers);
                pace.breathe().await;
            }
            let stored = pages.bytes(end..frame.end).first_chunk().copied().unwrap_or_default();
            check(what, stored, computed).map_err(damaged)?;
            if numbers.len() as u64 != u64::from(head.count) {
                let what = "a list of postings is not as long as its count says";
                return Err(damaged(IndexError::Malformed { what }));
            }
        }
        let mut last = None;
        for numbers in numbers.chunks(PAGE_BYTES) {
            let follows = last.is_none_or(|last| Some(&last) < numbers.first());
            if !follows || !numbers.is_sorted_by(|a, b| a < b) {
                return Err(damaged(IndexError::Malformed {
                    what: "a list of postings is not sorted",
                }));
            }
            last = numbers.last().copied();
            pace.breathe().await;
        }
        Ok(numbers)
    }
}

/// Reads the postings' table; what is held of it, and the checksums of its entries' pages.
async fn open_table<F: File>(
    file: &F,
    path: &str,
    toc: Toc,
    version: Version,
    pace: &mut impl Pace,
) -> Result<(PostingsTable, PageSums), BlockError> {
    let (mut section, head) =
        Section::of_index(file, path, toc.postings_table, toc.end, TABLE).await?;
    let (mut table, first) = (PostingsTable::new(version), section.offset());
    let place = |at: u64| {
        let far = |_| IndexError::Malformed { what: "the postings' table is longer than 4 GiB" };
        u32::try_from(at - first).map_err(far)
    };
    for _ in 0..head.count {
        let at = section.offset();
        let entry = |rest: &[u8]| {
            let (entry, behind) = split_postings_entry(rest)?;
            let len = rest.len() - behind.len();
            table.push(entry, place(at)?..place(at + len as u64)?)?;
            Ok(((), len))
        };
        section.next(entry, pace).await?;
    }
    if !section.is_done() {
        return Err(section.damaged("the postings' table is longer than its count says"));
    }
    Ok((table, section.check(TABLE).await?))
}

/// Label names by the reference of their symbol.
type Names = HashMap<u32, Rc<str>, FixedState>;

/// Reads the symbols; what is held of them, the checksums of their pages, and which of them are label names.
async fn open_symbols<F: File>(
    file: &F,
    path: &str,
    toc: Toc,
    version: Version,
    table: &PostingsTable,
    pace: &mut impl Pace,
) -> Result<(SymbolOffsets, PageSums, Names), BlockError> {
    let (mut section, head) = Section::of_index(file, path, toc.symbols, toc.end, SYMBOLS).await?;
    let mut symbols = SymbolOffsets::new(version, section.offset());
    let (mut found, mut names) = (Names::default(), table.names().peekable());
    let mut last: Option<String> = None;
    for _ in 0..head.count {
        let symbol = |rest: &[u8]| {
            let (symbol, behind) = split_symbol(rest)?;
            let len = rest.len() - behind.len();
            match &mut last {
                Some(last) if last.as_str() >= symbol => {
                    return Err(IndexError::Malformed { what: "the symbols are not sorted" });
                }
                Some(last) => {
                    last.clear();
                    last.push_str(symbol);
                }
                None => last = Some(symbol.to_owned()),
            }
            let reference = symbols.push(len)?;
            if names.next_if_eq(&symbol).is_some() {
                found.insert(reference, symbol.into());
            }
            Ok(((), len))
        };
        section.next(symbol, pace).await?;
    }
    if !section.is_done() {
        return Err(section.damaged("the symbols are longer than their count says"));
    }
    let sums = section.check(SYMBOLS).await?;
    match names.next() {
        None => Ok((symbols, sums, found)),
        Some(name) => Err(section.damaged(format_args!("the label name {name:?} is no symbol"))),
    }
}
