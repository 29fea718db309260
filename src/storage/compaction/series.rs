//! The series of several blocks in the order of their labels, each once, with its chunks in all of them.
//!
//! The next series is found by looking at one of each block: blocks that are merged are few.

use std::ops::Range;
use std::rc::Rc;

use super::error::CompactionError;
use super::samples::{Placed, runs};
use super::stop::Stop;
use super::symbols::{Numbers, SymbolTable};
use crate::encoding::block::index::read::ChunkMeta;
use crate::encoding::block::tombstones::{Intervals, Tombstones};
use crate::io::{Disk, File, Pace};
use crate::model::{SeriesId, TimeRange, TimestampMs};
use crate::storage::block::cursor::SeriesCursor;
use crate::storage::block::{Block, BlockError, INDEX};

/// Series that are looked at without a pause.
const AT_ONCE: u32 = 64;

/// Which series of a block are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All.
    All,
    /// These, ascending.
    Only(Vec<SeriesId>),
}

/// A block of which something is taken.
pub struct Source<'b, D: Disk> {
    /// The block.
    pub block: &'b Block<D>,
    /// Which of its series.
    pub series: Selection,
}

/// One series of some blocks. Its labels are numbers of a [`SymbolTable`].
#[derive(Clone, Debug, Default)]
pub struct MergedSeries {
    /// Numbers of name and value, in the order of the names.
    pub labels: Vec<(u32, u32)>,
    /// Its chunks in the order of time, without those of which all is deleted.
    pub chunks: Vec<Placed>,
    /// The runs of chunks that overlap no other run.
    pub runs: Vec<Range<usize>>,
    /// By block: what of the series is not taken.
    pub deleted: Vec<Intervals>,
}

/// The series one after the other.
pub struct SeriesMerge<'b, F> {
    heads: Vec<Head<'b, F>>,
    /// What is before and after the time that is wanted.
    outside: Vec<TimeRange>,
    since_pause: u32,
}

/// Where the reading of one block stands.
struct Head<'b, F> {
    path: String,
    cursor: SeriesCursor<'b, F>,
    numbers: &'b Numbers,
    /// `None` if all series are taken.
    only: Option<std::slice::Iter<'b, SeriesId>>,
    tombstones: Rc<Tombstones>,
    id: SeriesId,
    labels: Vec<(u32, u32)>,
    chunks: Vec<ChunkMeta>,
    is_done: bool,
}

impl<'b, F: File> SeriesMerge<'b, F> {
    /// Before the first of them.
    ///
    /// - `symbols`: of these blocks, in this order.
    /// - `keep`: samples outside of this time are not taken.
    ///
    /// # Errors
    /// A block that cannot be read.
    pub async fn begin<D: Disk<File = F>>(
        sources: &'b [Source<'b, D>],
        symbols: &'b SymbolTable,
        keep: TimeRange,
        pace: &mut impl Pace,
    ) -> Result<Self, CompactionError> {
        let before = keep.min() > TimestampMs::MIN;
        let before = before.then(|| TimeRange::new(TimestampMs::MIN, keep.min().saturating_sub(1)));
        let after = keep.max() < TimestampMs::MAX;
        let after = after.then(|| TimeRange::new(keep.max().saturating_add(1), TimestampMs::MAX));
        let outside = before.into_iter().chain(after).flatten().collect();
        let mut heads = Vec::with_capacity(sources.len());
        for (index, Source { block, series }) in sources.iter().enumerate() {
            let Some(numbers) = symbols.of_block(index) else { continue };
            let only = match series {
                Selection::All => None,
                Selection::Only(ids) => Some(ids.iter()),
            };
            let mut head = Head {
                path: format!("{}/{INDEX}", block.dir()),
                cursor: block.all_series(),
                numbers,
                only,
                tombstones: block.tombstones(),
                id: SeriesId(0),
                labels: Vec::new(),
                chunks: Vec::new(),
                is_done: false,
            };
            head.advance(pace).await?;
            heads.push(head);
        }
        Ok(Self { heads, outside, since_pause: 0 })
    }

    /// The next series of which anything is left; none at the end.
    ///
    /// # Errors
    /// A block that cannot be read or is damaged, or the wish to stop.
    pub async fn next(
        &mut self,
        stop: &Stop<'_>,
        pace: &mut impl Pace,
    ) -> Result<Option<MergedSeries>, CompactionError> {
        let mut series = MergedSeries::default();
        loop {
            self.since_pause += 1;
            if self.since_pause >= AT_ONCE {
                self.since_pause = 0;
                stop.check()?;
                pace.breathe().await;
            }
            let waiting = self.heads.iter().filter(|head| !head.is_done);
            let Some(first) = waiting.map(|head| head.labels.as_slice()).min() else {
                return Ok(None);
            };
            series.labels.clear();
            series.labels.extend_from_slice(first);
            series.chunks.clear();
            series.deleted.clear();
            for (source, head) in self.heads.iter_mut().enumerate() {
                let mut deleted = Intervals::default();
                if !head.is_done && head.labels == series.labels {
                    deleted = head.tombstones.get(head.id).cloned().unwrap_or_default();
                    self.outside.iter().for_each(|range| deleted.add(*range));
                    series.chunks.extend(head.chunks.iter().map(|chunk| Placed {
                        range: chunk.range,
                        source,
                        reference: chunk.reference,
                    }));
                    head.advance(pace).await?;
                }
                series.deleted.push(deleted);
            }
            series.runs = runs(&mut series.chunks, &series.deleted);
            if !series.runs.is_empty() {
                return Ok(Some(series));
            }
        }
    }
}

impl<F: File> Head<'_, F> {
    /// Goes to the next series that is taken.
    async fn advance(&mut self, pace: &mut impl Pace) -> Result<(), BlockError> {
        let before = std::mem::take(&mut self.labels);
        let is_first = before.is_empty();
        let damaged = |path: &str, id: SeriesId, what: &str| BlockError::Damaged {
            path: path.to_owned(),
            offset: 0,
            what: format!("series {}: {what}", id.0),
        };
        while let Some(next) = self.cursor.next(pace).await? {
            if let Some(only) = &mut self.only {
                let is_before = |id: &&SeriesId| **id < next.id;
                while only.as_slice().first().filter(is_before).is_some() {
                    only.next();
                }
                match only.as_slice().first() {
                    Some(id) if *id == next.id => {}
                    Some(_) => continue,
                    None => break,
                }
            }
            self.id = next.id;
            for (name, value) in next.labels {
                let pair = (self.numbers.get(*name), self.numbers.get(*value));
                let (Some(name), Some(value)) = pair else {
                    return Err(damaged(&self.path, next.id, "a label of it is no symbol"));
                };
                self.labels.push((name, value));
            }
            if !is_first && self.labels <= before {
                let what = "it does not sort after the one before it";
                return Err(damaged(&self.path, next.id, what));
            }
            self.chunks.clear();
            self.chunks.extend_from_slice(next.chunks);
            return Ok(());
        }
        self.is_done = true;
        Ok(())
    }
}
