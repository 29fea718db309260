//! What a shard has of some series, Head and blocks together: each series once, its samples in order of time and none
//! twice.
//!
//! The blocks give their series in order of labels; a merge of those lines goes through all of them at once, and the
//! Head's part of a series is found by its fingerprint. Series that only the Head has come last, unless all are wanted in
//! order of labels. Chunks are read for many
//! series at once, and a series with very many of them comes in several runs, so that memory is bounded whatever is
//! selected.
//!
//! Where several sources have a sample of one instant, the first stands: blocks before the Head, older blocks before
//! newer ones. What is damaged, or what the disk does not give, costs itself and is told.

mod batch;
mod head_order;
#[cfg(test)]
mod kinds_test;
mod line;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use batch::ReadRuns;
pub use batch::{Batch, Run, breathe_after};
use head_order::HeadOrder;
use line::Line;

use super::block::BlockError;
use super::block::reader::ChunkMeta;
use super::head::Head;
use super::head::spill::SpillFiles;
use super::served::View;
use crate::io::{Disk, Pace};
use crate::model::{Labels, Matcher, SeriesId, TimeRange};

/// Series that are looked for together.
const SERIES_AT_ONCE: usize = 256;

/// The series of a shard that some matchers find, and their samples in a range.
pub struct Selected<D: Disk> {
    head: Rc<RefCell<Head>>,
    spill: Rc<SpillFiles<D>>,
    range: TimeRange,
    lines: Vec<Line<D>>,
    /// The Head's series, sorted, and which of them have been found together with their part in blocks.
    in_head: Vec<u32>,
    is_found: Vec<bool>,
    /// How many of `in_head` have been looked at since the blocks are through.
    head_next: usize,
    /// In its place, if all series are wanted in order of labels.
    head_order: Option<HeadOrder>,
    /// Found, and not read yet.
    runs: VecDeque<Run>,
    /// Read, and not handed out yet.
    read_runs: ReadRuns,
    damage: Vec<String>,
    /// Are the starts of samples read as well?
    with_starts: bool,
    /// Is a series' newest sample in the range all that is wanted of it?
    newest_only: bool,
    /// Are chunks kept for who asks next?
    through_cache: bool,
    /// Keeps everything where it is that is still to be read.
    _view: Rc<View<D>>,
}

/// One series, and where its samples are.
#[derive(Debug)]
pub struct FoundSeries {
    /// Its labels; `None` for one that only the Head has, where they are often not needed.
    labels: Option<Labels>,
    /// Its index in the Head.
    head: Option<u32>,
    /// Its chunks in blocks, line by line.
    chunks: Vec<BlockChunk>,
}

/// A chunk of a series in one of the blocks.
#[derive(Clone, Copy, Debug)]
struct BlockChunk {
    /// The place of its block's line.
    line: usize,
    series: SeriesId,
    meta: ChunkMeta,
}

impl FoundSeries {
    /// Its labels, looked up in `head` if only that has it.
    #[must_use]
    pub fn labels(self, head: &RefCell<Head>) -> Option<Labels> {
        self.labels.or_else(|| head.borrow().labels(self.head?))
    }
}

impl<D: Disk> Selected<D> {
    /// Finds the series for which all `matchers` hold.
    ///
    /// - `spill`: where the Head's chunks are that have left memory.
    /// - `owns`: does the series with this routing hash belong to this shard? Asked of blocks that may hold others, too.
    ///
    /// # Errors
    /// Want of memory or descriptors. An index that is damaged, or cannot be read, costs what its block has.
    pub async fn find(
        head: Rc<RefCell<Head>>,
        spill: Rc<SpillFiles<D>>,
        view: Rc<View<D>>,
        matchers: &[Matcher],
        range: TimeRange,
        owns: &Rc<dyn Fn(u64) -> bool>,
        pace: &mut impl Pace,
    ) -> Result<Self, BlockError> {
        let (mut lines, mut damage) = (Vec::new(), Vec::new());
        for block in view.overlapping(range) {
            match block.block.select(matchers, pace).await {
                Ok(ids) if ids.is_empty() => {}
                Ok(ids) => lines.push(Line::new(Rc::clone(block), ids, owns)),
                Err(error) => note(&mut damage, error)?,
            }
        }
        let in_head = Head::select(&head, matchers, pace).await;
        // Without blocks none is looked up by its labels.
        let is_found = if lines.is_empty() { Vec::new() } else { vec![false; in_head.len()] };
        let (head_next, runs) = (0, VecDeque::new());
        Ok(Self {
            head,
            spill,
            range,
            lines,
            in_head,
            is_found,
            head_next,
            head_order: None,
            runs,
            read_runs: ReadRuns::default(),
            damage,
            with_starts: false,
            newest_only: false,
            through_cache: false,
            _view: view,
        })
    }

    /// How many bytes it holds of what was selected, before anything is read, about.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let lines: usize = self.lines.iter().map(Line::held_bytes).sum();
        let order = self.head_order.as_ref().map_or(0, HeadOrder::held_bytes);
        size_of_val(self.in_head.as_slice()) + self.is_found.len() + lines + order
    }

    /// The same, with the starts of those samples that have one.
    #[must_use]
    pub fn with_starts(self) -> Self {
        Self { with_starts: true, ..self }
    }

    /// The same for who looks at nothing but the newest sample of each series: others may be left out.
    #[must_use]
    pub fn newest_only(self) -> Self {
        Self { newest_only: true, ..self }
    }

    /// The same for a query, which may come again: chunks are read through the cache. Others read past it.
    #[must_use]
    pub fn through_cache(self) -> Self {
        Self { through_cache: true, ..self }
    }

    /// The same, with all series in order of labels.
    pub async fn in_order(mut self, pace: &mut impl Pace) -> Self {
        let in_head = std::mem::take(&mut self.in_head);
        self.head_order = Some(HeadOrder::of(&self.head, &in_head, self.range, pace).await);
        self
    }

    /// The next series that have a chunk in the range, some hundreds at most; none if there are no more. For who wants
    /// labels only; see [`read`](Self::read) for samples.
    ///
    /// # Errors
    /// Want of memory or descriptors.
    pub async fn next(&mut self, pace: &mut impl Pace) -> Result<Vec<FoundSeries>, BlockError> {
        let mut found = Vec::new();
        while found.len() < SERIES_AT_ONCE {
            for line in &mut self.lines {
                if let Err(error) = line.fill(self.range, pace).await {
                    note(&mut self.damage, error)?;
                    line.give_up();
                }
            }
            let of_head = self.head_order.as_ref().and_then(HeadOrder::front);
            let fronts = self.lines.iter().filter_map(Line::front).chain(of_head);
            let Some(labels) = fronts.min().cloned() else { break };
            found.push(self.take(labels));
            pace.tick().await;
        }
        if found.is_empty() {
            self.next_of_head(&mut found, pace).await;
        }
        Ok(found)
    }

    /// What all lines and the Head have of the series with these labels, which is the first of some line.
    fn take(&mut self, labels: Labels) -> FoundSeries {
        let mut chunks = Vec::new();
        for (at, line) in self.lines.iter_mut().enumerate() {
            if let Some(entry) = line.take(&labels) {
                let of_line = |meta| BlockChunk { line: at, series: entry.id, meta };
                chunks.extend(entry.chunks.into_iter().map(of_line));
            }
        }
        if let Some(order) = &mut self.head_order {
            let head = order.take(&labels);
            return FoundSeries { labels: Some(labels), head, chunks };
        }
        let index = self.head.borrow().index_of(labels.as_ref());
        let place = index.and_then(|index| self.in_head.binary_search(&index).ok());
        if let Some(is_found) = place.and_then(|place| self.is_found.get_mut(place)) {
            *is_found = true;
        }
        FoundSeries { labels: Some(labels), head: index.filter(|_| place.is_some()), chunks }
    }

    async fn next_of_head(&mut self, found: &mut Vec<FoundSeries>, pace: &mut impl Pace) {
        while let Some(index) = self.in_head.get(self.head_next) {
            let is_found = self.is_found.get(self.head_next).copied().unwrap_or(false);
            self.head_next += 1;
            if !is_found && self.head.borrow().overlaps(*index, self.range) {
                found.push(FoundSeries { labels: None, head: Some(*index), chunks: Vec::new() });
                if found.len() == SERIES_AT_ONCE {
                    return;
                }
            }
            pace.tick().await;
        }
    }

    /// What is damaged among that which was read so far, in words; each once.
    pub fn take_damage(&mut self) -> Vec<String> {
        std::mem::take(&mut self.damage)
    }
}

/// Damage, and what the disk does not give, costs itself and is noted. Want of memory or descriptors is an error: who asks
/// again gets all of it.
fn note(damage: &mut Vec<String>, error: BlockError) -> Result<(), BlockError> {
    if error.may_pass() {
        return Err(error);
    }
    note_text(damage, error.to_string());
    Ok(())
}

fn note_text(damage: &mut Vec<String>, text: String) {
    /// More of them tell nobody more.
    const DAMAGE_MAX: usize = 100;
    if damage.len() < DAMAGE_MAX && !damage.contains(&text) {
        damage.push(text);
    }
}
