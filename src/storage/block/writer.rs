//! Writes a block, series by series, in bounded memory, and publishes it.
//!
//! Owns the chunk segments and the order of steps: symbols first, then series in the order of their labels, each with its
//! chunks, then [`BlockWriter::finish`]. For the same series and chunks the files are those of Prometheus's own writer,
//! byte for byte, also in where it ends a segment.
//!
//! Until it is published the block lies in a temporary directory, and stays there if its writer is dropped:
//! [`BlockWriter::discard`] removes it, or the next start does.
//! Source: Prometheus `tsdb/chunks/chunks.go` (`WriteChunks`), `tsdb/index/index.go` (`Writer`), `tsdb/compact.go`.

use super::append_file::AppendFile;
use super::directory;
use super::error::BlockError;
pub use super::index_writer::IndexLimits;
use super::index_writer::IndexWriter;
use crate::encoding::block::chunks::{self, ChunkRef};
use crate::encoding::block::index::read::ChunkMeta;
use crate::encoding::block::meta::{BlockMeta, BlockStats, Ulid};
use crate::encoding::block::tombstones::Tombstones;
use crate::io::{Disk, Pace};
use crate::model::TimeRange;

/// Symbols that are written without a pause.
const SYMBOLS_AT_ONCE: u32 = 256;
/// Bytes of chunks that are written without a pause.
const CHUNK_BYTES_AT_ONCE: usize = 64 << 10;

/// How a block is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// How much memory the postings may take, in bytes; with less there are more passes over the series.
    pub postings_bytes: usize,
    /// A chunk segment does not grow beyond this, in bytes.
    pub segment_bytes_max: u64,
    /// How large the index may become.
    pub limits: IndexLimits,
}

impl Default for WriterOptions {
    /// The limits of the format, and 128 MiB for postings: 8 million at a time.
    fn default() -> Self {
        Self {
            postings_bytes: 128 << 20,
            segment_bytes_max: chunks::SEGMENT_BYTES_MAX,
            limits: IndexLimits::default(),
        }
    }
}

/// A chunk on its way into a block.
#[derive(Clone, Copy, Debug)]
pub struct ChunkToWrite<'a> {
    /// From its first sample to its last.
    pub range: TimeRange,
    /// The number of its encoding.
    pub encoding: u8,
    /// The encoded samples.
    pub bytes: &'a [u8],
}

/// A block that is being written.
pub struct BlockWriter<D: Disk> {
    disk: D,
    shard_dir: String,
    ulid: Ulid,
    /// The temporary directory.
    dir: String,
    options: WriterOptions,
    index: IndexWriter<D>,
    segment: Option<AppendFile<D::File>>,
    /// How many segments there are, the one being written included.
    segment_count: u32,
    stats: BlockStats,
    /// The chunks of the series that is being added.
    placed: Vec<ChunkMeta>,
}

impl<D: Disk> BlockWriter<D> {
    /// Begins a block whose labels are made of these symbols: all names and values, sorted, each once. They are numbered
    /// from 0 in this order.
    ///
    /// # Errors
    /// Those of the disk; symbols that are out of order or too many.
    pub async fn create(
        disk: &D,
        shard_dir: &str,
        ulid: Ulid,
        symbols: &mut dyn Iterator<Item = &str>,
        options: WriterOptions,
        pace: &mut impl Pace,
    ) -> Result<Self, BlockError> {
        let mut writer = Self::begin(disk, shard_dir, ulid, options).await?;
        for symbol in symbols {
            let number = writer.add_symbol(symbol).await?;
            if number.is_multiple_of(SYMBOLS_AT_ONCE) {
                pace.breathe().await;
            }
        }
        Ok(writer)
    }

    /// Begins a block whose symbols are added one by one, before the first series.
    ///
    /// # Errors
    /// Those of the disk.
    ///
    /// # Panics
    /// If the options let a segment grow beyond what a chunk's reference reaches.
    pub async fn begin(
        disk: &D,
        shard_dir: &str,
        ulid: Ulid,
        options: WriterOptions,
    ) -> Result<Self, BlockError> {
        assert!(u32::try_from(options.segment_bytes_max).is_ok(), "offsets have 32 bits");
        let dir = directory::creation_dir(shard_dir, ulid);
        // What an attempt left that failed earlier.
        directory::remove_tree(disk, &dir).await?;
        let chunks_dir = format!("{dir}/{}", super::CHUNKS);
        disk.create_dir(&chunks_dir).await.map_err(BlockError::io(&chunks_dir, "create"))?;
        let index = IndexWriter::create(disk, &dir, options.limits).await?;
        Ok(Self {
            disk: disk.clone(),
            shard_dir: shard_dir.to_owned(),
            ulid,
            dir,
            options,
            index,
            segment: None,
            segment_count: 0,
            stats: BlockStats::default(),
            placed: Vec::new(),
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
        self.index.add_symbol(symbol).await
    }

    /// How many series have been added.
    #[must_use]
    pub fn series_count(&self) -> u64 {
        self.index.series_count()
    }

    /// May the index become too large with this series? See there; asked before the series is added, so that the block can
    /// be ended and the series go into another.
    ///
    /// The symbols are the caller's to count, before there is a block: their
    /// [`text_bytes`](crate::encoding::block::index::write::text_bytes) must stay below 4 GiB together.
    #[must_use]
    pub fn would_exceed(&self, labels: &[(u32, u32)], chunk_count: usize) -> bool {
        self.index.would_exceed(labels, chunk_count)
    }

    /// Adds a series, which sorts after the ones before it.
    ///
    /// - `labels`: numbers of the symbols of name and value, in the order of the names.
    /// - `chunks`: in the order of time, without overlaps.
    ///
    /// # Errors
    /// A series that is out of order, a chunk that cannot be one, an index that becomes too large; those of the disk.
    /// Nothing can be added after an error.
    pub async fn add_series(
        &mut self,
        labels: &[(u32, u32)],
        chunks: &[ChunkToWrite<'_>],
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        self.placed.clear();
        // What the segment is counted as: of the chunks of one series, each with the longest frame there is. Not what it
        // takes, but what decides where Prometheus ends a segment.
        let mut counted = self.segment.as_ref().map_or(0, AppendFile::len);
        let mut since_pause = 0;
        for chunk in chunks {
            self.count_samples(chunk)?;
            let bytes = (chunks::FRAME_BYTES_MAX + chunk.bytes.len()) as u64;
            if self.segment.is_none() || counted + bytes > self.options.segment_bytes_max {
                self.next_segment().await?;
                counted = chunks::HEADER_BYTES as u64;
            }
            counted += bytes;
            let reference = self.write_chunk(chunk).await?;
            self.placed.push(ChunkMeta { range: chunk.range, reference });
            since_pause += chunk.bytes.len();
            if since_pause >= CHUNK_BYTES_AT_ONCE {
                since_pause = 0;
                pace.breathe().await;
            }
        }
        self.index.add_series(labels, &self.placed).await?;
        self.stats.num_series += 1;
        self.stats.num_chunks += chunks.len() as u64;
        pace.breathe().await;
        Ok(())
    }

    fn count_samples(&mut self, chunk: &ChunkToWrite<'_>) -> Result<(), BlockError> {
        let refuse = |what: &str| {
            let series = self.index.series_count();
            let what = format!("series {series}, counted from 0: {what}");
            Err(BlockError::Order { path: format!("{}/{}", self.dir, super::CHUNKS), what })
        };
        let Some(kind) = kind(chunk.encoding) else {
            return refuse(&format!("a chunk of encoding {}, which is not known", chunk.encoding));
        };
        let Some(([high, low], _)) = chunk.bytes.split_first_chunk::<2>() else {
            return refuse("a chunk that is too short to say how many samples it has");
        };
        let count = u64::from(u16::from_be_bytes([*high, *low]) & kind.count_mask());
        self.stats.num_samples += count;
        match kind {
            Kind::Float => self.stats.num_float_samples += count,
            Kind::Histogram | Kind::HistogramWithStart => self.stats.num_histogram_samples += count,
        }
        Ok(())
    }

    async fn write_chunk(&mut self, chunk: &ChunkToWrite<'_>) -> Result<ChunkRef, BlockError> {
        let segment = self.segment.as_mut().expect("a segment has been begun");
        let offset = u32::try_from(segment.len()).expect("a segment ends before offsets do");
        let reference = ChunkRef::new(self.segment_count.saturating_sub(1), offset);
        let push = |out: &mut Vec<u8>| chunks::push_chunk(out, chunk.encoding, chunk.bytes);
        segment.append_with(push).await?;
        Ok(reference)
    }

    async fn next_segment(&mut self) -> Result<(), BlockError> {
        if let Some(full) = self.segment.take() {
            full.finish().await?;
        }
        let name = chunks::file_name(usize::try_from(self.segment_count).unwrap_or(usize::MAX));
        let path = format!("{}/{}/{name}", self.dir, super::CHUNKS);
        let mut segment = AppendFile::create(&self.disk, path).await?;
        segment.append(&chunks::header()).await?;
        self.segment = Some(segment);
        self.segment_count += 1;
        Ok(())
    }

    /// Writes what is made from the series, makes everything durable and publishes the block; gives its meta as it is in
    /// the block.
    ///
    /// - `meta`: the block's ULID, times, history and origin. How much there is of what is filled in.
    ///
    /// # Errors
    /// An index that is too large; those of the disk. If the last step failed, the block may be there under its name all
    /// the same: whoever goes on has to look.
    ///
    /// # Panics
    /// If `meta` is another block's.
    pub async fn finish(
        mut self,
        meta: BlockMeta,
        pace: &mut impl Pace,
    ) -> Result<BlockMeta, BlockError> {
        assert_eq!(meta.ulid, self.ulid, "a block has the name under which it was begun");
        if let Some(last) = self.segment.take() {
            last.finish().await?;
        }
        self.index.finish(self.options.postings_bytes, pace).await?;
        let meta = BlockMeta { stats: self.stats, ..meta };
        let files =
            [(super::TOMBSTONES, Tombstones::default().encode()), (super::META, meta.to_json())];
        for (name, content) in files {
            let mut file = AppendFile::create(&self.disk, format!("{}/{name}", self.dir)).await?;
            file.append(&content).await?;
            file.finish().await?;
        }
        for dir in [&format!("{}/{}", self.dir, super::CHUNKS), &self.dir] {
            directory::sync_dir(&self.disk, dir).await?;
        }
        directory::publish(&self.disk, &self.shard_dir, self.ulid).await?;
        Ok(meta)
    }

    /// Removes what has been written.
    ///
    /// # Errors
    /// Those of the disk; the next start removes what is left.
    pub async fn discard(self) -> Result<(), BlockError> {
        directory::remove_tree(&self.disk, &self.dir).await
    }
}

/// What the samples of a chunk are.
#[derive(Clone, Copy)]
enum Kind {
    Float,
    Histogram,
    /// With start timestamps: the upper two bits of the count are not count.
    HistogramWithStart,
}

/// What an encoding's number means; `None` for one that is not known.
fn kind(encoding: u8) -> Option<Kind> {
    match encoding {
        1 | 4 => Some(Kind::Float),
        2 | 3 => Some(Kind::Histogram),
        5 | 6 => Some(Kind::HistogramWithStart),
        _ => None,
    }
}

impl Kind {
    fn count_mask(self) -> u16 {
        match self {
            Self::Float | Self::Histogram => u16::MAX,
            Self::HistogramWithStart => u16::MAX >> 2,
        }
    }
}

#[cfg(test)]
mod tests;
