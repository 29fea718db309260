//! The symbols of several blocks as one table: every text has one number, and numbers are in the order of the texts.
//!
//! So series of different blocks are compared by numbers. In memory is a number for each symbol of each block, and for
//! each number how long its text is; the texts stay on disk, and are read again for each block that is written.

use super::error::CompactionError;
use super::stop::Stop;
use crate::encoding::block::index::write::text_bytes;
use crate::io::{Disk, File, Pace};
use crate::storage::block::cursor::SymbolCursor;
use crate::storage::block::{Block, BlockError};

/// Symbols that are looked at without a pause.
const AT_ONCE: usize = 256;

/// By what number the symbols of one block go.
#[derive(Debug, Default)]
pub struct Numbers {
    /// How the block names its symbols, ascending; empty if it counts them from 0.
    references: Vec<u32>,
    numbers: Vec<u32>,
}

impl Numbers {
    /// The number of the symbol that the block names so.
    pub fn get(&self, reference: u32) -> Option<u32> {
        let at = match self.references.is_empty() {
            true => usize::try_from(reference).ok()?,
            false => self.references.binary_search(&reference).ok()?,
        };
        self.numbers.get(at).copied()
    }

    fn push(&mut self, reference: u32, number: u32) {
        let count = self.numbers.len();
        if self.references.is_empty() && usize::try_from(reference) != Ok(count) {
            self.references.extend((0..reference).take(count));
        }
        if !self.references.is_empty() || usize::try_from(reference) != Ok(count) {
            self.references.push(reference);
        }
        self.numbers.push(number);
    }
}

/// The numbers of all symbols of some blocks.
pub struct SymbolTable {
    /// By block.
    numbers: Vec<Numbers>,
    /// By number: how many bytes the symbol takes in an index.
    bytes: Vec<u32>,
}

impl SymbolTable {
    /// Reads the symbols of all `blocks`.
    ///
    /// # Errors
    /// A block that cannot be read, or has more symbols than can be numbered.
    pub async fn read<D: Disk>(
        blocks: &[&Block<D>],
        stop: &Stop<'_>,
        pace: &mut impl Pace,
    ) -> Result<Self, CompactionError> {
        let mut numbers: Vec<Numbers> = blocks.iter().map(|_| Numbers::default()).collect();
        let mut bytes = Vec::new();
        let mut merged = MergedSymbols::begin(blocks, pace).await?;
        while let Some((number, text, named)) = merged.next(stop, pace).await? {
            bytes.push(u32::try_from(text_bytes(text)).unwrap_or(u32::MAX));
            for (block, reference) in named {
                if let Some(numbers) = numbers.get_mut(*block) {
                    numbers.push(*reference, number);
                }
            }
        }
        Ok(Self { numbers, bytes })
    }

    /// The numbers of the symbols of a block, by its place in the list.
    pub fn of_block(&self, index: usize) -> Option<&Numbers> {
        self.numbers.get(index)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes the symbol with this number takes in an index.
    pub fn bytes_of(&self, number: u32) -> u64 {
        let bytes = usize::try_from(number).ok().and_then(|number| self.bytes.get(number));
        bytes.copied().unwrap_or_default().into()
    }

    /// How many bytes all of them take.
    pub fn bytes(&self) -> u64 {
        self.bytes.iter().map(|bytes| u64::from(*bytes)).sum()
    }
}

/// The symbols of several blocks in the order of their texts, each once.
pub struct MergedSymbols<'b, F> {
    cursors: Vec<SymbolCursor<'b, F>>,
    heads: Vec<Option<(u32, String)>>,
    next: u32,
    text: String,
    /// Which of the blocks have it, and how they name it.
    named: Vec<(usize, u32)>,
}

/// A symbol: its number, its text, and which blocks have it under which reference.
pub type MergedSymbol<'m> = (u32, &'m str, &'m [(usize, u32)]);

impl<'b, F: File> MergedSymbols<'b, F> {
    /// Before the first of them.
    ///
    /// # Errors
    /// A block that cannot be read.
    pub async fn begin<D: Disk<File = F>>(
        blocks: &[&'b Block<D>],
        pace: &mut impl Pace,
    ) -> Result<Self, BlockError> {
        let mut merged = Self {
            cursors: blocks.iter().map(|block| block.symbols()).collect(),
            heads: blocks.iter().map(|_| Some((0, String::new()))).collect(),
            next: 0,
            text: String::new(),
            named: Vec::new(),
        };
        for (cursor, head) in merged.cursors.iter_mut().zip(&mut merged.heads) {
            advance(cursor, head, pace).await?;
        }
        Ok(merged)
    }

    /// The next one; none at the end.
    ///
    /// # Errors
    /// A block that cannot be read, more symbols than can be numbered, or the wish to stop.
    pub async fn next(
        &mut self,
        stop: &Stop<'_>,
        pace: &mut impl Pace,
    ) -> Result<Option<MergedSymbol<'_>>, CompactionError> {
        let first = self.heads.iter().flatten().map(|(_, text)| text.as_str()).min();
        let Some(first) = first else { return Ok(None) };
        self.text.clear();
        self.text.push_str(first);
        self.named.clear();
        let heads = self.cursors.iter_mut().zip(&mut self.heads).enumerate();
        for (index, (cursor, head)) in heads {
            if let Some((reference, _)) = head.as_ref().filter(|(_, text)| *text == self.text) {
                self.named.push((index, *reference));
                advance(cursor, head, pace).await?;
            }
        }
        let number = self.next;
        if usize::try_from(number).is_ok_and(|number| number.is_multiple_of(AT_ONCE)) {
            stop.check()?;
            pace.breathe().await;
        }
        // As many have no numbers in an index either.
        self.next = number.checked_add(1).ok_or_else(|| BlockError::TooLarge {
            path: "symbols".to_owned(),
            what: "the count of symbols",
            bytes: 1 << 32,
            max: u32::MAX.into(),
        })?;
        Ok(Some((number, &self.text, &self.named)))
    }
}

async fn advance<F: File>(
    cursor: &mut SymbolCursor<'_, F>,
    head: &mut Option<(u32, String)>,
    pace: &mut impl Pace,
) -> Result<(), BlockError> {
    match cursor.next(pace).await? {
        Some((reference, text)) => {
            if let Some((own, held)) = head {
                *own = reference;
                held.clear();
                held.push_str(text);
            }
        }
        None => *head = None,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_numbered_by_place_or_by_offset() {
        let mut by_place = Numbers::default();
        (0..3).for_each(|n| by_place.push(n, n * 2));
        assert_eq!([0, 1, 2, 3].map(|n| by_place.get(n)), [Some(0), Some(2), Some(4), None]);
        let mut by_offset = Numbers::default();
        [(13, 0), (17, 5), (30, 6)].iter().for_each(|(at, n)| by_offset.push(*at, *n));
        assert_eq!([13, 17, 30, 14].map(|at| by_offset.get(at)), [Some(0), Some(5), Some(6), None]);
        let mut odd = Numbers::default();
        [(0, 3), (7, 5)].iter().for_each(|(at, n)| odd.push(*at, *n));
        assert_eq!([0, 7, 1].map(|at| odd.get(at)), [Some(3), Some(5), None]);
    }
}
