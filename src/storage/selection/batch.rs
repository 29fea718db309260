//! Reading what was found: chunks of many series at once, decoded and merged into runs of samples.

use std::collections::VecDeque;
use std::ops::Range;

use super::{BlockChunk, FoundSeries, Selected, note, note_text};
use crate::encoding::xor::{self, XorReader};
use crate::io::{Disk, Pace};
use crate::model::{Labels, Sample, Samples, TimeRange, TimestampMs};
use crate::storage::block::BlockError;
use crate::storage::block::reader::ChunkResult;
use crate::storage::head::pieces::{ChunkPiece, PieceSource, read_pieces};
use crate::storage::head::spill::ReadChunk;

/// Chunks that are read together at most, but for those that overlap each other.
const CHUNKS_AT_ONCE: usize = 2048;
/// Series that are read together at most: many have no chunk in a block, and samples in the Head.
const SERIES_AT_ONCE: usize = 64;

/// Some series' samples. Made once and used again for every read.
#[derive(Debug, Default)]
pub struct Batch {
    samples: Vec<Sample>,
    runs: Vec<Run>,
}

/// Consecutive samples of one series.
#[derive(Debug)]
pub struct Run {
    /// Whose.
    pub series: FoundSeries,
    /// Is it the first of its series?
    pub is_first: bool,
    /// Is it the last of its series?
    pub is_last: bool,
    window: TimeRange,
    chunks: Vec<BlockChunk>,
    samples: Range<usize>,
}

impl Batch {
    /// Hands out the runs, with their samples, which are sorted by time.
    pub fn take_runs(&mut self) -> impl Iterator<Item = (Run, &[Sample])> {
        let samples = &self.samples;
        let of_run = |run: Run| {
            let samples = samples.get(run.samples.clone()).unwrap_or_default();
            (run, samples)
        };
        self.runs.drain(..).map(of_run)
    }
}

impl<D: Disk> Selected<D> {
    /// Reads the next runs into `batch`; `false` if there are none left. Runs of one series follow each other.
    ///
    /// # Errors
    /// Want of memory or descriptors. A chunk that is damaged, or that the disk does not give, costs itself.
    pub async fn read(
        &mut self,
        batch: &mut Batch,
        pace: &mut impl Pace,
    ) -> Result<bool, BlockError> {
        batch.samples.clear();
        batch.runs.clear();
        if self.runs.is_empty() {
            let found = self.next(pace).await?;
            for series in found {
                split(series, self.range, &mut self.runs);
            }
        }
        let mut chunks = 0;
        while batch.runs.len() < SERIES_AT_ONCE
            && let Some(next) = self.runs.front()
            && (chunks == 0 || chunks + next.chunks.len() <= CHUNKS_AT_ONCE)
        {
            chunks += next.chunks.len();
            batch.runs.extend(self.runs.pop_front());
        }
        let mut read = self.read_chunks(&batch.runs, pace).await;
        let mut of_head = self.read_head(&batch.runs, pace).await;
        for run in &mut batch.runs {
            let start = batch.samples.len();
            self.merge(run, &mut read, &mut batch.samples)?;
            self.merge_head(run, &mut of_head, start, &mut batch.samples);
            run.samples = start..batch.samples.len();
            pace.breathe().await;
        }
        Ok(!batch.runs.is_empty())
    }

    /// The chunks of all runs, line by line in the order of the runs.
    async fn read_chunks(
        &self,
        runs: &[Run],
        pace: &mut impl Pace,
    ) -> Vec<std::vec::IntoIter<ChunkResult>> {
        let mut read = Vec::with_capacity(self.lines.len());
        for (at, line) in self.lines.iter().enumerate() {
            let of_line = runs.iter().flat_map(|run| &run.chunks).filter(|chunk| chunk.line == at);
            let references: Vec<_> = of_line.map(|chunk| chunk.meta.reference).collect();
            let chunks = if references.is_empty() {
                Vec::new()
            } else {
                line.block.block.read_chunks(&references, pace).await
            };
            read.push(chunks.into_iter());
        }
        read
    }

    /// Appends the samples of one run to `samples`.
    fn merge(
        &mut self,
        run: &Run,
        read: &mut [std::vec::IntoIter<ChunkResult>],
        samples: &mut Vec<Sample>,
    ) -> Result<(), BlockError> {
        let start = samples.len();
        let (mut of_line, mut more, mut line_before) = (Vec::new(), Vec::new(), 0);
        for chunk in &run.chunks {
            if chunk.line != line_before {
                merge_into(samples, start, &mut of_line);
                line_before = chunk.line;
            }
            let (Some(line), Some(bytes)) =
                (self.lines.get(chunk.line), read.get_mut(chunk.line).and_then(Iterator::next))
            else {
                continue;
            };
            let deleted =
                line.tombstones.get(chunk.series).filter(|d| d.overlaps(chunk.meta.range));
            let wanted = |t| run.window.contains(t) && !deleted.is_some_and(|d| d.is_deleted(t));
            if let Err(error) = decode(bytes, &mut more, wanted) {
                let error = match error {
                    DecodeError::Unread(error) => error,
                    DecodeError::Undecoded(what) => {
                        line.block.block.damaged_chunk(chunk.meta.reference, what)
                    }
                };
                note(&mut self.damage, error)?;
            }
            merge_into(&mut of_line, 0, &mut more);
        }
        merge_into(samples, start, &mut of_line);
        Ok(())
    }

    /// What the Head has of all runs: pieces here, and those read that have left memory, each in the order of the runs.
    async fn read_head(&self, runs: &[Run], pace: &mut impl Pace) -> OfHead {
        let (mut pieces, mut places) = (Vec::with_capacity(runs.len()), Vec::new());
        for run in runs {
            let of_run = match run.series.head {
                Some(index) => self.head.borrow().pieces(index, run.window),
                None => Vec::new(),
            };
            places.extend(of_run.iter().filter_map(ChunkPiece::place));
            pieces.push(of_run);
            pace.breathe().await;
        }
        let read =
            if places.is_empty() { Vec::new() } else { self.spill.read(&places, pace).await };
        OfHead { pieces: pieces.into_iter(), read: read.into_iter() }
    }

    /// Merges what the Head has of one run into `samples[start..]`.
    fn merge_head(
        &mut self,
        run: &Run,
        of_head: &mut OfHead,
        start: usize,
        samples: &mut Vec<Sample>,
    ) {
        let mut here = Vec::new();
        for piece in of_head.pieces.next().unwrap_or_default() {
            match piece.source {
                PieceSource::Bytes(bytes) => here.push((piece.encoding, bytes, piece.late)),
                PieceSource::Spilled(_) => match of_head.read.next() {
                    Some(Ok(bytes)) => here.push((piece.encoding, bytes, piece.late)),
                    Some(Err(error)) => note_text(&mut self.damage, error.to_string()),
                    None => {}
                },
            }
        }
        let mut more = Samples::default();
        let pieces = here.iter().map(|(encoding, bytes, late)| (*encoding, &**bytes, *late));
        read_pieces(pieces, run.window, &mut more);
        merge_into(samples, start, &mut more.floats);
    }
}

/// What the Head has of some runs.
struct OfHead {
    pieces: std::vec::IntoIter<Vec<ChunkPiece>>,
    /// Those of the pieces that have left memory.
    read: std::vec::IntoIter<ReadChunk>,
}

enum DecodeError {
    /// It could not be read.
    Unread(BlockError),
    /// It was read and is not what it should be.
    Undecoded(&'static str),
}

/// Appends the samples of a chunk for whose times `wanted` holds; those before a place that cannot be decoded are there.
fn decode(
    chunk: ChunkResult,
    out: &mut Vec<Sample>,
    wanted: impl Fn(TimestampMs) -> bool,
) -> Result<(), DecodeError> {
    let chunk = chunk.map_err(DecodeError::Unread)?;
    if chunk.encoding != xor::ENCODING {
        let what =
            "its encoding is not that of float samples, which is all that this version reads";
        return Err(DecodeError::Undecoded(what));
    }
    let broken = |_| DecodeError::Undecoded("its samples cannot be decoded");
    for sample in XorReader::new(&chunk.bytes).map_err(broken)? {
        let sample = sample.map_err(broken)?;
        if wanted(sample.t) {
            out.push(sample);
        }
    }
    Ok(())
}

/// Merges `more` into `samples[start..]`; both are sorted, and of two samples of one instant the one that is there stands.
fn merge_into(samples: &mut Vec<Sample>, start: usize, more: &mut Vec<Sample>) {
    let is_behind = |first: &Sample| {
        samples.len() == start || samples.last().is_none_or(|last| last.t < first.t)
    };
    if more.first().is_none_or(is_behind) {
        samples.append(more);
        return;
    }
    let first = more.first().map_or(TimestampMs::MAX, |sample| sample.t);
    let there = samples.get(start..).unwrap_or_default();
    let kept = start + there.partition_point(|sample| sample.t < first);
    let rest = samples.split_off(kept);
    let (mut left, mut right) = (rest.into_iter().peekable(), more.drain(..).peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        if a.t <= b.t {
            if a.t == b.t {
                right.next();
            }
            samples.extend(left.next());
        } else {
            samples.extend(right.next());
        }
    }
    samples.extend(left);
    samples.extend(right);
}

/// Splits a series into runs of not too many chunks, which share no instant.
fn split(series: FoundSeries, range: TimeRange, runs: &mut VecDeque<Run>) {
    let FoundSeries { labels, head, chunks } = series;
    let mut by_time = chunks;
    // Line by line where chunks begin together, so that the first line's samples stand.
    by_time.sort_by_key(|chunk| (chunk.meta.range.min(), chunk.line));
    let (mut from, mut is_first) = (range.min(), true);
    let mut group: Vec<BlockChunk> = Vec::new();
    let mut covered = TimestampMs::MIN;
    for chunk in by_time {
        if group.len() >= CHUNKS_AT_ONCE
            && chunk.meta.range.min() > covered
            && let Some(window) = TimeRange::new(from, covered)
        {
            let chunks = std::mem::take(&mut group);
            runs.push_back(Run::new(labels.clone(), head, window, chunks, (is_first, false)));
            is_first = false;
            from = covered.saturating_add(1);
        }
        covered = covered.max(chunk.meta.range.max());
        group.push(chunk);
    }
    let window = TimeRange::new(from, range.max()).unwrap_or(range);
    runs.push_back(Run::new(labels, head, window, group, (is_first, true)));
}

impl Run {
    fn new(
        labels: Option<Labels>,
        head: Option<u32>,
        window: TimeRange,
        mut chunks: Vec<BlockChunk>,
        (is_first, is_last): (bool, bool),
    ) -> Self {
        chunks.sort_by_key(|chunk| (chunk.line, chunk.meta.range.min()));
        let series = FoundSeries { labels, head, chunks: Vec::new() };
        Self { series, is_first, is_last, window, chunks, samples: 0..0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn samples(of: &BTreeMap<i64, i64>) -> Vec<Sample> {
        of.iter().map(|(t, v)| Sample { t: TimestampMs(*t), v: *v as f64 }).collect()
    }

    proptest! {
        #[test]
        fn merging_is_a_map_in_which_the_first_stands(
            before in proptest::collection::btree_map(-5i64..0, 0i64..9, 0..4),
            parts in proptest::collection::vec(proptest::collection::btree_map(0i64..40, 0i64..9, 0..20), 0..5),
        ) {
            let mut out = samples(&before);
            let mut model = BTreeMap::new();
            for part in &parts {
                merge_into(&mut out, before.len(), &mut samples(part));
                for (t, v) in part {
                    model.entry(*t).or_insert(*v);
                }
            }
            let want: Vec<_> = samples(&before).into_iter().chain(samples(&model)).collect();
            prop_assert_eq!(out, want);
        }
    }
}
