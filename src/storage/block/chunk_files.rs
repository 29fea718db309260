//! The chunk segments of a block: many chunks at once, past the cache, in few and long reads.
//!
//! How long a chunk is stands in front of it. So each is first taken to be as long as chunks of floats are; one that is
//! longer is read again. A segment or a chunk that is broken costs itself.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::BlockError;
use super::cache::IndexCache;
use super::coalesce::coalesce;
use crate::encoding::block::chunks::{
    self, ChunkError, ChunkRef, HEADER_BYTES, check_header, split_chunk,
};
use crate::io::{Disk, File, Pace};

/// As long as a chunk is taken to be before it is looked at, in bytes.
const CHUNK_BYTES: u64 = 1280;
/// No chunk has this many bytes. Prometheus cuts them near one or two thousand.
const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// Reads that are done together, each a mebibyte at most.
const READS: usize = 16;

/// One chunk, out of its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkBytes {
    /// The number of its encoding.
    pub encoding: u8,
    /// The encoded samples.
    pub bytes: Box<[u8]>,
}

/// What was asked of one chunk.
pub type ChunkResult = Result<ChunkBytes, BlockError>;

pub(super) struct ChunkFiles<F> {
    dir: String,
    /// By index; with what is wrong if it is not a segment.
    segments: BTreeMap<usize, Result<F, ChunkError>>,
    /// Length of all together in bytes.
    pub bytes: u64,
    /// Counts what is read.
    cache: Rc<IndexCache>,
}

/// A chunk that is wanted: its place among those that are, and the bytes in which it is.
type Wanted = (usize, Range<u64>);

impl<F: File> ChunkFiles<F> {
    /// Opens all segments in the directory `dir`.
    ///
    /// - `cache`: counts what is read of them later.
    pub async fn open<D: Disk<File = F>>(
        disk: &D,
        dir: String,
        cache: Rc<IndexCache>,
    ) -> Result<Self, BlockError> {
        let entries = disk.list(&dir).await.map_err(BlockError::io(&dir, "list"))?;
        let mut found = Self { dir, segments: BTreeMap::new(), bytes: 0, cache };
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let Some(index) = entry.name.parse::<usize>().ok().and_then(|n| n.checked_sub(1))
            else {
                continue;
            };
            if chunks::file_name(index) != entry.name {
                continue;
            }
            let path = found.path(index);
            let file = disk.open_read(&path).await.map_err(BlockError::io(&path, "open"))?;
            let len = usize::try_from(file.len()).unwrap_or(usize::MAX).min(HEADER_BYTES);
            let header = file.read_at(0, len).await.map_err(BlockError::io(&path, "read"))?;
            found.bytes += file.len();
            found.segments.insert(index, check_header(&header).map(|()| file));
        }
        Ok(found)
    }

    /// The segments that are none, and why.
    pub fn broken(&self) -> impl Iterator<Item = BlockError> {
        let damaged = |index, error: &ChunkError| self.damaged(ChunkRef::new(index, 0), error);
        self.segments.iter().filter_map(move |(index, segment)| {
            let index = u32::try_from(*index).unwrap_or(u32::MAX);
            segment.as_ref().err().map(|error| damaged(index, error))
        })
    }

    fn path(&self, index: usize) -> String {
        format!("{}/{}", self.dir, chunks::file_name(index))
    }

    pub fn damaged(&self, at: ChunkRef, what: impl std::fmt::Display) -> BlockError {
        let (path, offset) = (self.path(at.segment_index()), at.offset());
        BlockError::Damaged { path, offset, what: what.to_string() }
    }

    /// Reads the chunks at `references`, in that order.
    pub async fn read(
        &self,
        references: &[ChunkRef],
        pace: &mut impl Pace,
    ) -> Result<Vec<ChunkResult>, BlockError> {
        let mut order: Vec<(ChunkRef, usize)> = references.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let mut found: Vec<Option<ChunkResult>> = references.iter().map(|_| None).collect();
        for of_segment in order.chunk_by(|a, b| a.0.segment_index() == b.0.segment_index()) {
            let index = of_segment.first().map_or(0, |(first, _)| first.segment_index());
            let file = match self.segments.get(&index) {
                Some(Ok(file)) => file,
                Some(Err(error)) => {
                    self.refuse(of_segment, &mut found, error);
                    continue;
                }
                None => {
                    self.refuse(of_segment, &mut found, "there is no such segment");
                    continue;
                }
            };
            let mut wanted: Vec<Wanted> = Vec::with_capacity(of_segment.len());
            for (reference, place) in of_segment {
                let at = reference.offset();
                if (HEADER_BYTES as u64..file.len()).contains(&at) {
                    wanted.push((*place, at..(at + CHUNK_BYTES).min(file.len())));
                } else {
                    let what = format_args!("no chunk is here, the file has {} bytes", file.len());
                    self.refuse(&[(*reference, *place)], &mut found, what);
                }
            }
            let longer = self.read_from(file, &wanted, references, &mut found, pace).await?;
            self.read_from(file, &longer, references, &mut found, pace).await?;
        }
        let not_read = |(found, reference): (Option<ChunkResult>, &ChunkRef)| {
            found.unwrap_or_else(|| Err(self.damaged(*reference, "is not read")))
        };
        Ok(found.into_iter().zip(references).map(not_read).collect())
    }

    fn refuse(
        &self,
        chunks: &[(ChunkRef, usize)],
        found: &mut [Option<ChunkResult>],
        what: impl std::fmt::Display,
    ) {
        for (reference, place) in chunks {
            if let Some(found) = found.get_mut(*place) {
                *found = Some(Err(self.damaged(*reference, &what)));
            }
        }
    }

    /// Reads what is wanted of one segment; gives what is longer than it was taken to be.
    async fn read_from(
        &self,
        file: &F,
        wanted: &[Wanted],
        references: &[ChunkRef],
        found: &mut [Option<ChunkResult>],
        pace: &mut impl Pace,
    ) -> Result<Vec<Wanted>, BlockError> {
        let ranges: Vec<Range<u64>> = wanted.iter().map(|(_, range)| range.clone()).collect();
        let mut longer = Vec::new();
        let len = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        for reads in coalesce(&ranges).chunks(READS) {
            let asked: Vec<(u64, usize)> = reads
                .iter()
                .map(|read| (read.bytes.start, len(read.bytes.end - read.bytes.start)))
                .collect();
            self.cache.chunk_reads.note(&asked);
            let bytes = file.read_many(&asked).await.map_err(|source| {
                let index = wanted.first().and_then(|(place, _)| references.get(*place));
                let path = self.path(index.map_or(0, |reference| reference.segment_index()));
                BlockError::Io { path, action: "read", source }
            })?;
            for (read, bytes) in reads.iter().zip(&bytes) {
                for (place, range) in wanted.get(read.parts.clone()).unwrap_or_default() {
                    let from = len(range.start - read.bytes.start);
                    let rest = bytes.get(from..).unwrap_or_default();
                    let chunk = match split_chunk(rest) {
                        Ok((chunk, _)) => {
                            Ok(ChunkBytes { encoding: chunk.encoding, bytes: chunk.data.into() })
                        }
                        Err(ChunkError::Cut { needed, .. })
                            if needed <= CHUNK_BYTES_MAX
                                && needed > range.end - range.start
                                && needed <= file.len() - range.start =>
                        {
                            longer.push((*place, range.start..range.start + needed));
                            continue;
                        }
                        Err(error) => {
                            let at = references.get(*place).copied().unwrap_or(ChunkRef(0));
                            Err(self.damaged(at, error))
                        }
                    };
                    if let Some(found) = found.get_mut(*place) {
                        *found = Some(chunk);
                    }
                }
                pace.breathe().await;
            }
        }
        Ok(longer)
    }
}
