//! Reading what was found: chunks of many series at once, decoded and merged into runs of samples.
//!
//! Chunks are read in long reads, and their bytes wait here; samples are made of them run by run, as long as there are not too
//! many: those of histograms may take a hundred times what their chunks do.

use std::collections::VecDeque;
use std::ops::Range;

use super::{BlockChunk, FoundSeries, Selected, note, note_text};
use crate::encoding::chunk;
use crate::io::{Disk, Pace};
use crate::model::{Labels, Sample, Samples, SamplesMark, SamplesRef, TimeRange, TimestampMs};
use crate::storage::block::BlockError;
use crate::storage::block::reader::ChunkResult;
use crate::storage::head::pieces::{ChunkPiece, PieceSource, read_pieces};
use crate::storage::head::spill::ReadChunk;
use crate::storage::head::starts::{self, starts_of};

/// Chunks that are read together at most, but for those that overlap each other.
const CHUNKS_AT_ONCE: usize = 2048;
/// Chunks of a run at most, but for those that overlap each other.
const RUN_CHUNKS: usize = 256;
/// Histograms that are in memory together take about so many bytes at most, but for those of one run.
const HISTOGRAM_BYTES_MAX: usize = 8 << 20;
/// As many floats are in memory together, but for those of one run: they still lie near the core when they are folded.
const FLOATS_MAX: usize = 16 << 10;
/// Series that are read together at most: many have no chunk in a block, and samples in the Head.
const SERIES_AT_ONCE: usize = 256;

/// Some series' samples. Made once and used again for every read.
#[derive(Debug, Default)]
pub struct Batch {
    samples: Samples,
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
    samples: Range<SamplesMark>,
}

impl Batch {
    /// Hands out the runs, with their samples, which are sorted by time.
    pub fn take_runs(&mut self) -> impl Iterator<Item = (Run, SamplesRef<'_>)> {
        let samples = &self.samples;
        let of_run = |run: Run| {
            let of_run = samples.between(run.samples.start, run.samples.end);
            (run, of_run)
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
        if self.read_runs.runs.is_empty() {
            self.read_some(pace).await?;
        }
        let mut read_runs = std::mem::take(&mut self.read_runs);
        let mut histogram_bytes = 0;
        while histogram_bytes < HISTOGRAM_BYTES_MAX
            && batch.samples.floats.len() < FLOATS_MAX
            && let Some(mut run) = read_runs.runs.pop_front()
        {
            let start = batch.samples.mark();
            self.merge(&run, &mut read_runs.of_lines, &mut batch.samples, pace).await?;
            self.merge_head(&run, &mut read_runs.of_head, start, &mut batch.samples);
            if !run.is_first
                && let Some(first) = batch.samples.histograms.get_mut(start.histograms)
            {
                // It says whether there was a reset since the one before it in its chunk: in the run before, others may stand
                // between them.
                first.histogram.forget_reset();
            }
            run.samples = start..batch.samples.mark();
            let of_run = batch.samples.between(run.samples.start, run.samples.end);
            let bytes = of_run.histograms.iter().map(|sample| sample.histogram.heap_bytes());
            histogram_bytes += bytes.sum::<usize>() + size_of_val(of_run.histograms);
            breathe_after(of_run, pace).await;
            batch.runs.push(run);
        }
        self.read_runs = read_runs;
        Ok(!batch.runs.is_empty())
    }

    /// Reads the chunks of the next runs.
    async fn read_some(&mut self, pace: &mut impl Pace) -> Result<(), BlockError> {
        if self.runs.is_empty() {
            let found = self.next(pace).await?;
            for series in found {
                split(series, self.range, &mut self.runs);
            }
        }
        let (mut runs, mut chunks) = (VecDeque::new(), 0);
        while runs.len() < SERIES_AT_ONCE
            && let Some(next) = self.runs.front()
            && (chunks == 0 || chunks + next.chunks.len() <= CHUNKS_AT_ONCE)
        {
            chunks += next.chunks.len();
            runs.extend(self.runs.pop_front());
        }
        let of_lines = self.read_chunks(&runs, pace).await;
        let of_head = self.read_head(&runs, pace).await;
        self.read_runs = ReadRuns { runs, of_lines, of_head };
        Ok(())
    }

    /// The chunks of all runs, line by line in the order of the runs.
    async fn read_chunks(
        &self,
        runs: &VecDeque<Run>,
        pace: &mut impl Pace,
    ) -> Vec<std::vec::IntoIter<ChunkResult>> {
        let mut read = Vec::with_capacity(self.lines.len());
        for (at, line) in self.lines.iter().enumerate() {
            let of_line = runs.iter().flat_map(|run| &run.chunks).filter(|chunk| chunk.line == at);
            let references: Vec<_> = of_line.map(|chunk| chunk.meta.reference).collect();
            let chunks = if references.is_empty() {
                Vec::new()
            } else if self.through_cache {
                line.block.block.read_chunks_through(&references, pace).await
            } else {
                line.block.block.read_chunks(&references, pace).await
            };
            read.push(chunks.into_iter());
        }
        read
    }

    /// Appends the samples of one run to `samples`.
    async fn merge(
        &mut self,
        run: &Run,
        read: &mut [std::vec::IntoIter<ChunkResult>],
        samples: &mut Samples,
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        let start = samples.mark();
        // A line that goes on where those before it end is read to where it belongs. The samples of another one are put together
        // before they are merged with what is there, once and not chunk by chunk.
        let (mut of_line, mut line_before, mut goes_on) = (Samples::default(), None, true);
        let mut covered = None;
        for chunk in &run.chunks {
            if line_before != Some(chunk.line) {
                samples.merge(start, &mut of_line);
                goes_on = covered.is_none_or(|covered| covered < chunk.meta.range.min());
                line_before = Some(chunk.line);
            }
            covered = covered.max(Some(chunk.meta.range.max()));
            let (together, begin) = match goes_on {
                true => (&mut *samples, start),
                false => (&mut of_line, SamplesMark::default()),
            };
            let before = together.mark();
            let (Some(line), Some(bytes)) =
                (self.lines.get(chunk.line), read.get_mut(chunk.line).and_then(Iterator::next))
            else {
                continue;
            };
            let deleted =
                line.tombstones.get(chunk.series).filter(|d| d.overlaps(chunk.meta.range));
            let wanted = |t| run.window.contains(t) && !deleted.is_some_and(|d| d.is_deleted(t));
            if self.with_starts
                && let Ok(chunk) = &bytes
            {
                chunk::read_starts(chunk.encoding, &chunk.bytes, wanted, &mut together.starts);
            }
            if let Err(error) = decode(bytes, together, wanted) {
                let error = match error {
                    DecodeError::Unread(error) => error,
                    DecodeError::Undecoded(what) => {
                        let what = format!("its samples cannot be decoded: {what}");
                        line.block.block.damaged_chunk(chunk.meta.reference, &what)
                    }
                };
                note(&mut self.damage, error)?;
            }
            let of_chunk = together.between(before, together.mark());
            breathe_after(of_chunk, pace).await;
            together.merge_from(begin, before);
        }
        samples.merge(start, &mut of_line);
        Ok(())
    }

    /// What the Head has of all runs: pieces here, and those read that have left memory, each in the order of the runs.
    async fn read_head(&self, runs: &VecDeque<Run>, pace: &mut impl Pace) -> OfHead {
        let (mut of_runs, mut places) = (Vec::with_capacity(runs.len()), Vec::new());
        let mut starts = Vec::new();
        for run in runs {
            let of_run = match run.series.head {
                Some(index) => self.of_head(index, run),
                None => RunOfHead::Pieces(Vec::new()),
            };
            if self.with_starts {
                let head = self.head.borrow();
                let of_series = run.series.head.map(|index| head.starts(index).to_vec());
                starts.push(of_series.unwrap_or_default());
            }
            if let RunOfHead::Pieces(pieces) = &of_run {
                places.extend(pieces.iter().filter_map(ChunkPiece::place));
            }
            of_runs.push(of_run);
            pace.tick().await;
        }
        let read = if places.is_empty() {
            Vec::new()
        } else if self.through_cache {
            self.spill.read_through(&places, pace).await
        } else {
            self.spill.read(&places, pace).await
        };
        OfHead { runs: of_runs.into_iter(), read: read.into_iter(), starts: starts.into_iter() }
    }

    /// What is needed of the Head for one run of the series at `index`.
    fn of_head(&self, index: u32, run: &Run) -> RunOfHead {
        let head = self.head.borrow();
        // A block may have what is newer, and what has a start is looked up with it.
        let is_newest_enough = self.newest_only && !self.with_starts && run.chunks.is_empty();
        let newest = is_newest_enough.then(|| head.newest(index, run.window)).flatten();
        newest.map_or_else(|| RunOfHead::Pieces(head.pieces(index, run.window)), RunOfHead::Newest)
    }

    /// Merges what the Head has of one run into `samples[start..]`.
    fn merge_head(
        &mut self,
        run: &Run,
        of_head: &mut OfHead,
        start: SamplesMark,
        samples: &mut Samples,
    ) {
        let pieces = match of_head.runs.next() {
            Some(RunOfHead::Pieces(pieces)) => pieces,
            Some(RunOfHead::Newest(sample)) => {
                samples.floats.push(sample);
                return;
            }
            None => return,
        };
        let mut here = Vec::new();
        for piece in pieces {
            match piece.source {
                PieceSource::Bytes(bytes) => here.push((piece.encoding, bytes, piece.late)),
                PieceSource::Spilled(_) => match of_head.read.next() {
                    Some(Ok(bytes)) => here.push((piece.encoding, bytes, piece.late)),
                    Some(Err(error)) => note_text(&mut self.damage, error.to_string()),
                    None => {}
                },
            }
        }
        let before = samples.mark();
        let pieces = here.iter().map(|(encoding, bytes, late)| (*encoding, &**bytes, *late));
        read_pieces(pieces, run.window, samples);
        if let Some(runs) = of_head.starts.next() {
            let floats = samples.floats.get(before.floats..).unwrap_or_default();
            starts_of(floats, &runs, &mut samples.starts);
        }
        samples.merge_from(start, before);
    }
}

/// Lets others run after these samples were made. Floats are so by the hundred in a microsecond; a histogram may take one alone.
pub async fn breathe_after(samples: SamplesRef<'_>, pace: &mut impl Pace) {
    if samples.histograms.is_empty() {
        pace.tick().await;
    } else {
        pace.breathe().await;
    }
}

/// Runs whose chunks have been read, and of which no samples have been made yet.
#[derive(Default)]
pub(super) struct ReadRuns {
    runs: VecDeque<Run>,
    /// What each line has of them, in their order.
    of_lines: Vec<std::vec::IntoIter<ChunkResult>>,
    of_head: OfHead,
}

/// What the Head has of some runs.
#[derive(Default)]
struct OfHead {
    runs: std::vec::IntoIter<RunOfHead>,
    /// Those of the pieces that have left memory.
    read: std::vec::IntoIter<ReadChunk>,
    /// Since when their counters count, if that is wanted.
    starts: std::vec::IntoIter<Vec<starts::Run>>,
}

/// What the Head has of one run.
enum RunOfHead {
    /// All its samples, to be read.
    Pieces(Vec<ChunkPiece>),
    /// The one sample that is wanted.
    Newest(Sample),
}

enum DecodeError {
    /// It could not be read.
    Unread(BlockError),
    /// It was read and is not what it should be.
    Undecoded(chunk::ChunkError),
}

/// Appends the samples of a chunk for whose times `wanted` holds; those before a place that cannot be decoded are there. Who
/// merges them with others says of the first histogram that it follows another.
fn decode(
    chunk: ChunkResult,
    out: &mut Samples,
    wanted: impl Fn(TimestampMs) -> bool,
) -> Result<(), DecodeError> {
    let chunk = chunk.map_err(DecodeError::Unread)?;
    chunk::read_hinted(chunk.encoding, &chunk.bytes, wanted, out).map_err(DecodeError::Undecoded)
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
        if group.len() >= RUN_CHUNKS
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
        let nothing = SamplesMark::default();
        Self { series, is_first, is_last, window, chunks, samples: nothing..nothing }
    }
}
