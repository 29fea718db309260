//! Makes one block of several, or several that are only as large as a block can be.
//!
//! Three passes over the indexes: symbols are numbered; if not all of everything is taken, series are looked through for the
//! symbols that are still needed; then series are written one by one. The chunks of many series are read together, in long
//! reads. In memory are the numbers of the symbols, one window of chunks, and what the writer holds: that does not grow
//! with the samples.
//!
//! The index has limits. When a series might exceed them, the block is ended, and the next one begins with that series;
//! what the blocks say of each other then is `history`'s.
//! Invariants: nothing but new blocks is written, and no block is published that is not whole. After a failure none is left:
//! a block that nobody serves would not hear of later deletions, and bring the samples back at the next start.

use super::error::CompactionError;
use super::history::History;
use super::samples::{self, ReadChunk};
use super::series::{MergedSeries, Selection, SeriesMerge, Source};
use super::stop::Stop;
use super::symbols::{MergedSymbols, SymbolTable};
use crate::encoding::block::chunks::{self, ChunkRef};
use crate::encoding::block::meta::{BlockMeta, Ulid};
use crate::encoding::chunk_encoder::EncodedChunk;
use crate::io::{Disk, Pace};
use crate::model::TimeRange;
use crate::storage::block::reader::ChunkBytes;
use crate::storage::block::writer::{BlockWriter, ChunkToWrite, WriterOptions};
use crate::storage::block::{self, Block, BlockError, CHUNKS};

/// What a symbols section has beside its symbols, in bytes, where the writer counts.
const SECTION_BYTES: u64 = 4;

/// How blocks are merged.
#[derive(Clone, Copy, Debug)]
pub struct MergeOptions<'a> {
    /// How the new block is written.
    pub writer: WriterOptions,
    /// Chunks that are read together; those of one series always are.
    pub window_chunks: usize,
    /// Asked now and then.
    pub stop: Stop<'a>,
}

impl Default for MergeOptions<'_> {
    /// Windows of about two mebibytes.
    fn default() -> Self {
        Self { writer: WriterOptions::default(), window_chunks: 8192, stop: Stop::NEVER }
    }
}

/// Where new blocks go, and what they are called.
pub struct Target<'a, W> {
    /// The disk.
    pub disk: &'a W,
    /// The directory of blocks.
    pub dir: &'a str,
    /// Names a new block.
    pub name: &'a mut dyn FnMut() -> Ulid,
}

/// Labels, as numbers of symbols.
type Labels = Vec<(u32, u32)>;

/// The stretch of series that goes into one block.
#[derive(Clone, Debug, Default)]
struct Stretch {
    /// The first series, if it is not the first of all.
    from: Option<Labels>,
    /// The first series that does not belong to it any more.
    until: Option<Labels>,
}

impl Stretch {
    fn is_before(&self, labels: &[(u32, u32)]) -> bool {
        self.from.as_deref().is_some_and(|from| labels < from)
    }

    fn is_behind(&self, labels: &[(u32, u32)]) -> bool {
        self.until.as_deref().is_some_and(|until| labels >= until)
    }
}

/// Makes blocks of what is taken of `sources`, and publishes them; none if nothing is left.
///
/// - `sources`: the one that is first wins where several have a sample at the same instant. Nothing is deleted from them
///   meanwhile.
/// - `keep`: samples outside of this time are not taken.
///
/// # Errors
/// A source that cannot be read, a target that cannot be written, or the wish to stop. What had been written is removed.
pub async fn merge<D: Disk, W: Disk>(
    target: &mut Target<'_, W>,
    sources: &[Source<'_, D>],
    keep: TimeRange,
    history: &History,
    options: &MergeOptions<'_>,
    pace: &mut impl Pace,
) -> Result<Vec<BlockMeta>, CompactionError> {
    let blocks: Vec<&Block<D>> = sources.iter().map(|source| source.block).collect();
    let symbols = SymbolTable::read(&blocks, &options.stop, pace).await?;
    let room = options.writer.limits.section_bytes_max.saturating_sub(SECTION_BYTES);
    let is_whole = |source: &Source<'_, D>| {
        source.series == Selection::All && source.block.tombstones().is_empty()
    };
    let takes_all =
        keep == TimeRange::ALL && symbols.bytes() <= room && sources.iter().all(is_whole);
    let merge = Merge { sources, blocks, symbols, keep, takes_all, room, options };
    let mut begun = Vec::new();
    match merge.write_blocks(target, history, &mut begun, pace).await {
        Ok(made) => Ok(made),
        Err(error) => Err(take_back(target.disk, target.dir, &begun, error).await),
    }
}

/// Removes blocks that have been written, or were being written, when something failed; gives what is to be said of it.
pub(super) async fn take_back<D: Disk>(
    disk: &D,
    dir: &str,
    begun: &[Ulid],
    why: CompactionError,
) -> CompactionError {
    let remove = async {
        for ulid in begun {
            block::remove_tree(disk, &block::creation_dir(dir, *ulid)).await?;
        }
        for ulid in block::list(disk, dir).await? {
            if begun.contains(&ulid) {
                block::delete(disk, dir, ulid).await?;
            }
        }
        Ok(())
    };
    match remove.await {
        Ok(()) => why,
        Err(source) => CompactionError::Unsettled { why: Box::new(why), source },
    }
}

/// One merge.
struct Merge<'a, D: Disk> {
    sources: &'a [Source<'a, D>],
    blocks: Vec<&'a Block<D>>,
    symbols: SymbolTable,
    keep: TimeRange,
    /// Is nothing left out?
    takes_all: bool,
    /// For symbols, in bytes.
    room: u64,
    options: &'a MergeOptions<'a>,
}

impl<D: Disk> Merge<'_, D> {
    async fn series(
        &self,
        pace: &mut impl Pace,
    ) -> Result<SeriesMerge<'_, D::File>, CompactionError> {
        SeriesMerge::begin(self.sources, &self.symbols, self.keep, pace).await
    }

    /// Writes and publishes all blocks.
    ///
    /// - `begun`: gets the names of those that have been begun.
    async fn write_blocks<W: Disk>(
        &self,
        target: &mut Target<'_, W>,
        history: &History,
        begun: &mut Vec<Ulid>,
        pace: &mut impl Pace,
    ) -> Result<Vec<BlockMeta>, CompactionError> {
        let (mut made, mut stretch) = (Vec::new(), Stretch::default());
        while let Some(used) = self.used_symbols(&mut stretch, pace).await? {
            let (ulid, options) = ((target.name)(), self.options.writer);
            begun.push(ulid);
            let mut writer = BlockWriter::begin(target.disk, target.dir, ulid, options).await?;
            let is_last = self.fill(&mut writer, &used, &mut stretch, pace).await?;
            if writer.series_count() == 0 {
                writer.discard().await?;
                break;
            }
            let is_part = !made.is_empty() || !is_last;
            let history = if is_part { &history.part(is_last) } else { history };
            made.push(writer.finish(history.meta(ulid), pace).await?);
            if is_last {
                break;
            }
            stretch.from = stretch.until.take();
        }
        Ok(made)
    }

    /// Which symbols the series of the stretch need, by number; `None` if there are no series. The stretch ends where they
    /// would be too many.
    async fn used_symbols(
        &self,
        stretch: &mut Stretch,
        pace: &mut impl Pace,
    ) -> Result<Option<Vec<bool>>, CompactionError> {
        if self.takes_all {
            return Ok(Some(vec![true; self.symbols.count()]));
        }
        let mut used = vec![false; self.symbols.count()];
        let (mut bytes, mut is_empty) = (0, true);
        let mut merge = self.series(pace).await?;
        while let Some(series) = merge.next(&self.options.stop, pace).await? {
            if stretch.is_before(&series.labels) {
                continue;
            }
            let mut more = 0;
            let numbers: Vec<u32> = series.labels.iter().flat_map(|(n, v)| [*n, *v]).collect();
            for number in &numbers {
                if !is_used(&used, *number) {
                    more += self.symbols.bytes_of(*number);
                }
            }
            if !is_empty && bytes + more > self.room {
                stretch.until = Some(series.labels);
                break;
            }
            for number in &numbers {
                if let Some(used) = index(*number).and_then(|at| used.get_mut(at)) {
                    *used = true;
                }
            }
            (bytes, is_empty) = (bytes + more, false);
        }
        Ok((!is_empty).then_some(used))
    }

    /// Writes the series of the stretch, or as many of them as fit. Was that the last of all series? If not, the stretch
    /// ends before the next one.
    async fn fill<W: Disk>(
        &self,
        writer: &mut BlockWriter<W>,
        used: &[bool],
        stretch: &mut Stretch,
        pace: &mut impl Pace,
    ) -> Result<bool, CompactionError> {
        let in_block = self.write_symbols(writer, used, pace).await?;
        let mut merge = self.series(pace).await?;
        let (mut window, mut chunk_count) = (Vec::new(), 0);
        loop {
            let next = merge.next(&self.options.stop, pace).await?;
            let is_end = next.is_none();
            if let Some(series) = next.filter(|series| !stretch.is_before(&series.labels)) {
                chunk_count += series.chunks.len();
                window.push(series);
            }
            if !is_end && chunk_count < self.options.window_chunks {
                continue;
            }
            if let Some(next) = self.write(writer, &window, &in_block, stretch, pace).await? {
                stretch.until = Some(next);
                return Ok(false);
            }
            if is_end {
                return Ok(true);
            }
            window.clear();
            chunk_count = 0;
        }
    }

    /// Writes the symbols that are used; gives the number of each in the block.
    async fn write_symbols<W: Disk>(
        &self,
        writer: &mut BlockWriter<W>,
        used: &[bool],
        pace: &mut impl Pace,
    ) -> Result<Vec<u32>, CompactionError> {
        let mut in_block = vec![0; used.len()];
        let mut merged = MergedSymbols::begin(&self.blocks, pace).await?;
        while let Some((number, text, _)) = merged.next(&self.options.stop, pace).await? {
            if is_used(used, number) {
                let written = writer.add_symbol(text).await?;
                if let Some(place) = index(number).and_then(|at| in_block.get_mut(at)) {
                    *place = written;
                }
            }
        }
        Ok(in_block)
    }

    /// Writes series; gives the labels of the first one that belongs into another block, if there is one.
    async fn write<W: Disk>(
        &self,
        writer: &mut BlockWriter<W>,
        window: &[MergedSeries],
        in_block: &[u32],
        stretch: &Stretch,
        pace: &mut impl Pace,
    ) -> Result<Option<Labels>, CompactionError> {
        let read = self.read(window, pace).await?;
        let place = |number: u32| index(number).and_then(|at| in_block.get(at)).copied();
        let place = |number: u32| place(number).unwrap_or(u32::MAX);
        let (mut rest, mut labels, mut merged) = (read.as_slice(), Vec::new(), Vec::new());
        for series in window {
            let (chunks, behind) = rest.split_at_checked(series.chunks.len()).unwrap_or_default();
            rest = behind;
            self.merge_chunks(series, chunks, &mut merged)?;
            pace.breathe().await;
            let chunks: Vec<ChunkToWrite<'_>> = merged.iter().map(Merged::to_write).collect();
            if chunks.is_empty() {
                continue;
            }
            labels.clear();
            labels.extend(series.labels.iter().map(|(n, v)| (place(*n), place(*v))));
            let is_full = writer.series_count() > 0 && writer.would_exceed(&labels, chunks.len());
            if is_full || stretch.is_behind(&series.labels) {
                return Ok(Some(series.labels.clone()));
            }
            writer.add_series(&labels, &chunks, pace).await?;
        }
        Ok(None)
    }

    /// The chunks of these series, one behind the other.
    async fn read(
        &self,
        window: &[MergedSeries],
        pace: &mut impl Pace,
    ) -> Result<Vec<ChunkBytes>, CompactionError> {
        let all = || window.iter().flat_map(|series| &series.chunks);
        let mut of_block = Vec::with_capacity(self.blocks.len());
        for (source, block) in self.blocks.iter().enumerate() {
            let wanted = all().filter(|chunk| chunk.source == source);
            let references: Vec<ChunkRef> = wanted.map(|chunk| chunk.reference).collect();
            of_block.push(block.read_chunks(&references, pace).await.into_iter());
        }
        let mut read = Vec::new();
        for chunk in all() {
            if let Some(next) = of_block.get_mut(chunk.source).and_then(Iterator::next) {
                read.push(next?);
            }
        }
        Ok(read)
    }

    /// Merges the chunks of one series.
    fn merge_chunks<'c>(
        &self,
        series: &MergedSeries,
        read: &'c [ChunkBytes],
        out: &mut Vec<Merged<'c>>,
    ) -> Result<(), BlockError> {
        out.clear();
        for run in &series.runs {
            let placed = series.chunks.get(run.clone()).unwrap_or_default();
            let read = read.get(run.clone()).unwrap_or_default();
            if let ([placed], [read]) = (placed, read)
                && !series.deleted.get(placed.source).is_some_and(|d| d.overlaps(placed.range))
            {
                let (range, encoding, bytes) = (placed.range, read.encoding, &read.bytes[..]);
                out.push(Merged::Same(ChunkToWrite { range, encoding, bytes }));
                continue;
            }
            let chunks: Vec<ReadChunk<'_>> = placed
                .iter()
                .zip(read)
                .map(|(placed, read)| ReadChunk {
                    range: placed.range,
                    source: placed.source,
                    encoding: read.encoding,
                    bytes: &read.bytes,
                    deleted: series.deleted.get(placed.source),
                })
                .collect();
            let mut new = Vec::new();
            samples::merge(&chunks, &mut new).map_err(|refused| {
                let place = placed.get(refused.index);
                let block = place.and_then(|place| self.blocks.get(place.source));
                let dir = block.map_or("", |block| block.dir());
                let reference = place.map_or(ChunkRef(0), |place| place.reference);
                let name = chunks::file_name(reference.segment_index());
                BlockError::Damaged {
                    path: format!("{dir}/{CHUNKS}/{name}"),
                    offset: reference.offset(),
                    what: refused.why.to_string(),
                }
            })?;
            out.extend(new.into_iter().map(Merged::New));
        }
        Ok(())
    }
}

/// A chunk of a new block.
enum Merged<'c> {
    /// As it was.
    Same(ChunkToWrite<'c>),
    /// Made of others.
    New(EncodedChunk),
}

impl Merged<'_> {
    fn to_write(&self) -> ChunkToWrite<'_> {
        match self {
            Self::Same(chunk) => *chunk,
            Self::New(EncodedChunk { range, encoding, bytes }) => {
                ChunkToWrite { range: *range, encoding: *encoding, bytes }
            }
        }
    }
}

fn index(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

fn is_used(used: &[bool], number: u32) -> bool {
    index(number).and_then(|at| used.get(at)).is_some_and(|used| *used)
}
