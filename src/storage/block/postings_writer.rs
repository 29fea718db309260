//! The postings of an index, made from its series section in passes, in as much memory as it is given.
//!
//! A pass reads the section once and gathers, for some label names, which series has which value: eight bytes each, in the
//! order of the series. Sorted by value, and by nothing else, they are the lists of that name. As many names go into one
//! pass as fit the budget. A name that does not fit by itself goes range of values by range of values: one more pass
//! counts how many series each has. A single value that does not fit, like the list of all series, is written while it is
//! read.
//!
//! Nothing is held a series or a value, so a block of any size is written in the same memory; only the number of passes
//! grows.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use super::append_file::AppendFile;
use super::error::BlockError;
use super::series_scan::{self, SeriesScan};
use super::symbol_texts::SymbolTexts;
use crate::encoding::block::index::write::{self, PostingsList, SECTION_BYTES_MAX};
use crate::io::{File, Pace};

/// Series that are looked at without a pause: some 20 us.
const SERIES_AT_ONCE: u32 = 64;
/// Entries that are sorted or written without a pause: some 50 us.
const ENTRIES_AT_ONCE: usize = 8192;
/// The ranges of values that one pass counts.
const BUCKETS: u32 = 4096;

/// A series by a value: the number of the value's symbol and the series' id.
type Entry = (u32, u32);

/// A name of which a pass gathers the series.
struct Column {
    name: u32,
    values: RangeInclusive<u32>,
    entries: Vec<Entry>,
}

/// Some values of a name, and how many series have one of them.
struct ValueRange {
    values: RangeInclusive<u32>,
    count: u64,
}

/// Writes the lists of an index, and the entries of its offset table to a file of their own.
pub struct PostingsWriter<'a, F: File> {
    /// Ends where the lists begin.
    pub index: &'a mut AppendFile<F>,
    /// Gets the entries of the offset table.
    pub table: &'a mut AppendFile<F>,
    /// The symbols of the index.
    pub texts: SymbolTexts<'a, F>,
    /// Where in the index its series are.
    pub section: Range<u64>,
    /// How many entries may be held at once.
    pub entries_max: u64,
    /// How many lists have been written.
    pub list_count: u32,
    /// The checksum over their entries of the offset table.
    pub table_sum: u32,
}

/// What has been written.
pub struct Written {
    /// How many lists.
    pub list_count: u32,
    /// The checksum over the entries of the offset table.
    pub table_sum: u32,
}

impl<F: File> PostingsWriter<'_, F> {
    /// Writes all lists.
    ///
    /// - `series_count`: how many series there are.
    /// - `names`: the symbol of each name, and how many series have a label of it.
    ///
    /// # Errors
    /// Those of the disk, and a list that is too long.
    pub async fn write(
        mut self,
        series_count: u64,
        names: &BTreeMap<u32, u64>,
        pace: &mut impl Pace,
    ) -> Result<Written, BlockError> {
        self.write_while_scanning(None, series_count, pace).await?;
        let (mut columns, mut gathered) = (Vec::new(), 0);
        for (name, count) in names {
            if gathered + count > self.entries_max {
                self.write_columns(std::mem::take(&mut columns), pace).await?;
                gathered = 0;
            }
            if *count > self.entries_max {
                self.write_by_ranges(*name, *count, pace).await?;
            } else {
                columns.push(Column::new(*name, 0..=u32::MAX, *count));
                gathered += count;
            }
        }
        self.write_columns(columns, pace).await?;
        Ok(Written { list_count: self.list_count, table_sum: self.table_sum })
    }

    /// Writes the lists of a name that does not fit the budget.
    async fn write_by_ranges(
        &mut self,
        name: u32,
        count: u64,
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        // The next range is the last of these.
        let mut left = vec![ValueRange { values: 0..=u32::MAX, count }];
        while let Some(ValueRange { values, count }) = left.pop() {
            if count <= self.entries_max {
                let column = Column::new(name, values, count);
                self.write_columns(vec![column], pace).await?;
            } else if values.start() == values.end() {
                self.write_while_scanning(Some((name, *values.start())), count, pace).await?;
            } else {
                let mut ranges = self.count_by_ranges(name, values, pace).await?;
                ranges.reverse();
                left.append(&mut ranges);
            }
        }
        Ok(())
    }

    /// Splits a range of values into such as fit the budget, and such as one more count may split further.
    async fn count_by_ranges(
        &mut self,
        name: u32,
        values: RangeInclusive<u32>,
        pace: &mut impl Pace,
    ) -> Result<Vec<ValueRange>, BlockError> {
        let width = (values.end() - values.start()) / BUCKETS + 1;
        let mut counts = vec![0u64; BUCKETS as usize];
        let mut scan = SeriesScan::new(self.section.clone());
        let mut looked_at = 0u32;
        while let Some((_, body)) = scan.next(self.index).await? {
            let of_name = |(n, v): &Entry| *n == name && values.contains(v);
            for (_, value) in series_scan::labels(body).filter(of_name) {
                if let Some(count) = counts.get_mut(((value - values.start()) / width) as usize) {
                    *count += 1;
                }
            }
            rest(&mut looked_at, pace).await;
        }
        let mut ranges: Vec<ValueRange> = Vec::new();
        for (bucket, count) in (0..BUCKETS).zip(counts).filter(|(_, count)| *count > 0) {
            let first = values.start() + bucket * width;
            let last = first.saturating_add(width - 1).min(*values.end());
            match ranges.last_mut() {
                Some(range) if range.count + count <= self.entries_max => {
                    *range = ValueRange {
                        values: *range.values.start()..=last,
                        count: range.count + count,
                    };
                }
                _ => ranges.push(ValueRange { values: first..=last, count }),
            }
        }
        Ok(ranges)
    }

    /// Gathers the columns, which are in the order of their names, in one pass and writes their lists.
    async fn write_columns(
        &mut self,
        mut columns: Vec<Column>,
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        if columns.is_empty() {
            return Ok(());
        }
        let mut scan = SeriesScan::new(self.section.clone());
        let mut looked_at = 0;
        while let Some((id, body)) = scan.next(self.index).await? {
            for (name, value) in series_scan::labels(body) {
                let place = columns.binary_search_by_key(&name, |column| column.name);
                let column = place.ok().and_then(|place| columns.get_mut(place));
                if let Some(column) = column.filter(|column| column.values.contains(&value)) {
                    column.entries.push((value, id));
                }
            }
            rest(&mut looked_at, pace).await;
        }
        let mut scratch = Vec::new();
        for mut column in columns {
            sort_by_value(&mut column.entries, &mut scratch, pace).await;
            let name = self.texts.text(column.name, self.index).await?.to_owned();
            for of_value in column.entries.chunk_by(|a, b| a.0 == b.0) {
                let value = of_value.first().map(|entry| entry.0);
                let mut list = self.begin_list(&name, value, of_value.len() as u64).await?;
                for entries in of_value.chunks(ENTRIES_AT_ONCE) {
                    let ids = entries.iter().map(|entry| entry.1);
                    self.index.append_with(|out| list.push(out, ids)).await?;
                    pace.breathe().await;
                }
                self.index.append_with(|out| list.end(out)).await?;
            }
        }
        Ok(())
    }

    /// Writes one list, of the series with this label or of all, without holding it.
    async fn write_while_scanning(
        &mut self,
        label: Option<(u32, u32)>,
        count: u64,
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        let name = match label {
            Some((name, _)) => self.texts.text(name, self.index).await?.to_owned(),
            None => String::new(),
        };
        let mut list = self.begin_list(&name, label.map(|(_, value)| value), count).await?;
        let mut scan = SeriesScan::new(self.section.clone());
        let (mut ids, mut looked_at) = (Vec::with_capacity(ENTRIES_AT_ONCE), 0);
        loop {
            let next = scan.next(self.index).await?;
            let is_last = next.is_none();
            if let Some((id, body)) = next
                && label.is_none_or(|label| series_scan::labels(body).any(|own| own == label))
            {
                ids.push(id);
            }
            if is_last || ids.len() == ENTRIES_AT_ONCE {
                self.index.append_with(|out| list.push(out, ids.drain(..))).await?;
            }
            if is_last {
                break;
            }
            rest(&mut looked_at, pace).await;
        }
        self.index.append_with(|out| list.end(out)).await
    }

    /// Begins a list and enters it into the offset table.
    async fn begin_list(
        &mut self,
        name: &str,
        value: Option<u32>,
        count: u64,
    ) -> Result<PostingsList, BlockError> {
        let offset = self.index.len();
        let value = match value {
            Some(value) => self.texts.text(value, self.index).await?,
            None => "",
        };
        let sum = &mut self.table_sum;
        let push = |out: &mut Vec<u8>| {
            let start = out.len();
            write::push_offset(out, name, value, offset);
            *sum = crc32c::crc32c_append(*sum, out.get(start..).unwrap_or_default());
        };
        self.table.append_with(push).await?;
        let too_large = |path: &str, what| BlockError::TooLarge {
            path: path.to_owned(),
            what,
            bytes: write::list_bytes(count),
            max: SECTION_BYTES_MAX,
        };
        let next_count = self.list_count.checked_add(1);
        self.list_count =
            next_count.ok_or_else(|| too_large(self.table.path(), "the offset table"))?;
        let mut list = None;
        if let Ok(count) = u32::try_from(count) {
            self.index.append_with(|out| list = PostingsList::begin(out, count)).await?;
        }
        list.ok_or_else(|| too_large(self.index.path(), "a list of postings"))
    }
}

impl Column {
    /// Of the series that have one of these values there are `count`.
    fn new(name: u32, values: RangeInclusive<u32>, count: u64) -> Self {
        let count = usize::try_from(count).unwrap_or_default();
        Self { name, values, entries: Vec::with_capacity(count) }
    }
}

/// Lets others run every so many series.
async fn rest(looked_at: &mut u32, pace: &mut impl Pace) {
    *looked_at = looked_at.wrapping_add(1);
    if looked_at.is_multiple_of(SERIES_AT_ONCE) {
        pace.breathe().await;
    }
}

/// Sorts by value and leaves those of the same value in order, eleven bits of the value at a time.
///
/// - `scratch`: any content; grows to the length of `entries`.
async fn sort_by_value(entries: &mut Vec<Entry>, scratch: &mut Vec<Entry>, pace: &mut impl Pace) {
    const DIGIT_BITS: u32 = 11;
    if entries.len() <= ENTRIES_AT_ONCE / 4 {
        entries.sort_by_key(|entry| entry.0);
        return;
    }
    let (mut min, mut max) = (u32::MAX, 0);
    for some in entries.chunks(ENTRIES_AT_ONCE) {
        for (value, _) in some {
            (min, max) = (min.min(*value), max.max(*value));
        }
        pace.breathe().await;
    }
    let bits = u32::BITS - (max - min).leading_zeros();
    for shift in (0..bits).step_by(DIGIT_BITS as usize) {
        let digit = |entry: &Entry| ((entry.0 - min) >> shift & ((1 << DIGIT_BITS) - 1)) as usize;
        let mut places = [0usize; 1 << DIGIT_BITS];
        for some in entries.chunks(ENTRIES_AT_ONCE) {
            for entry in some {
                if let Some(count) = places.get_mut(digit(entry)) {
                    *count += 1;
                }
            }
            pace.breathe().await;
        }
        let mut next = 0;
        for place in &mut places {
            next += std::mem::replace(place, next);
        }
        scratch.clear();
        scratch.resize(entries.len(), (0, 0));
        for some in entries.chunks(ENTRIES_AT_ONCE) {
            for entry in some {
                if let Some(place) = places.get_mut(digit(entry))
                    && let Some(to) = scratch.get_mut(*place)
                {
                    *to = *entry;
                    *place += 1;
                }
            }
            pace.breathe().await;
        }
        std::mem::swap(entries, scratch);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::io::sim::{NoPace, run};

    proptest! {
        #[test]
        fn entries_are_sorted_by_value_and_those_of_one_value_stay_in_order(values in proptest::collection::vec(any::<u32>(), 1..200), count in 0usize..20_000, narrow in 0u32..32) {
            let entries: Vec<Entry> = (0..count).map(|i| (values[i % values.len()] >> narrow, u32::try_from(i).unwrap())).collect();
            let mut sorted = entries.clone();
            run(sort_by_value(&mut sorted, &mut Vec::new(), &mut NoPace));
            let mut expected = entries;
            expected.sort();
            prop_assert!(sorted == expected);
        }
    }
}
