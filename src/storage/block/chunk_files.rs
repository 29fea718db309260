//! The chunk segments of a block: many chunks at once, in few and long reads. What queries read is kept in a cache.
//!
//! How long a chunk is stands in front of it. So each is first taken to be as long as chunks of floats are; one that is
//! longer is read again. A segment or a chunk that is broken, or that the disk does not give, costs itself: what was to be
//! read together with others and was not is read alone.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::BlockError;
use super::cache::IndexCache;
use super::coalesce::coalesce;
use crate::encoding::block::chunks::{
    self, ChunkError, ChunkRef, HEADER_BYTES, check_header, split_chunk,
};
use crate::io::{BLOCK_BYTES, Disk, File, Pace, may_pass, same_error};
pub use crate::storage::chunk_cache::ChunkBytes;
use crate::storage::chunk_cache::{KEPT_AT_ONCE, KeptChunks};

/// As long as a chunk is taken to be before it is looked at, in bytes.
const CHUNK_BYTES: u64 = 1280;
/// No chunk has this many bytes. Prometheus cuts them near one or two thousand.
const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// Reads that are done together, each a mebibyte at most.
const READS: usize = 16;

/// What was asked of one chunk.
pub type ChunkResult = Result<ChunkBytes, BlockError>;

pub(super) struct ChunkFiles<F> {
    dir: String,
    /// By index; with what is wrong if nothing can be read of it.
    segments: BTreeMap<usize, Result<F, Unusable>>,
    /// Length of all together in bytes.
    pub bytes: u64,
    /// Counts what is read.
    cache: Rc<IndexCache>,
    /// Those that queries have read.
    kept: KeptChunks,
}

/// Why nothing can be read of a segment.
enum Unusable {
    /// It does not begin as one.
    Broken(ChunkError),
    /// The disk does not give it.
    Unread(io::Error),
}

/// A chunk that is wanted: its place among those that are, and the bytes in which it is.
type Wanted = (usize, Range<u64>);

impl<F: File> ChunkFiles<F> {
    /// Opens all segments in the directory `dir`.
    ///
    /// - `cache`: counts what is read of them later, and has the cache of chunks.
    pub async fn open<D: Disk<File = F>>(
        disk: &D,
        dir: String,
        cache: Rc<IndexCache>,
    ) -> Result<Self, BlockError> {
        let entries = disk.list(&dir).await.map_err(BlockError::io(&dir, "list"))?;
        let kept = KeptChunks::new(Rc::clone(&cache.chunks));
        let mut found = Self { dir, segments: BTreeMap::new(), bytes: 0, cache, kept };
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let Some(index) = entry.name.parse::<usize>().ok().and_then(|n| n.checked_sub(1))
            else {
                continue;
            };
            if chunks::file_name(index) != entry.name {
                continue;
            }
            let path = found.path(index);
            found.bytes += entry.len;
            let segment = match open_segment(disk, &path).await {
                Err(Unusable::Unread(source)) if may_pass(&source) => {
                    return Err(BlockError::Io { path, action: "open", source });
                }
                opened => opened,
            };
            found.segments.insert(index, segment);
        }
        Ok(found)
    }

    /// The segments that are none, and why.
    pub fn broken(&self) -> impl Iterator<Item = BlockError> {
        self.segments.iter().filter_map(move |(index, segment)| {
            let at = ChunkRef::new(u32::try_from(*index).unwrap_or(u32::MAX), 0);
            segment.as_ref().err().map(|error| self.unusable(at, error))
        })
    }

    fn path(&self, index: usize) -> String {
        format!("{}/{}", self.dir, chunks::file_name(index))
    }

    pub fn damaged(&self, at: ChunkRef, what: impl std::fmt::Display) -> BlockError {
        let (path, offset) = (self.path(at.segment_index()), at.offset());
        BlockError::Damaged { path, offset, what: what.to_string() }
    }

    fn unusable(&self, at: ChunkRef, why: &Unusable) -> BlockError {
        match why {
            Unusable::Broken(error) => self.damaged(at, error),
            Unusable::Unread(source) => self.unread(at, same_error(source)),
        }
    }

    fn unread(&self, at: ChunkRef, source: io::Error) -> BlockError {
        BlockError::Io { path: self.path(at.segment_index()), action: "read", source }
    }

    /// The chunks at `references`, in that order, through the cache: only those that it does not have are read.
    pub async fn read_through(
        &self,
        references: &[ChunkRef],
        pace: &mut impl Pace,
    ) -> Vec<ChunkResult> {
        if !self.kept.is_on() {
            return self.read(references, pace).await;
        }
        let kept = |reference: &ChunkRef| self.kept.get(reference.0).map(Ok);
        let mut found: Vec<Option<ChunkResult>> = references.iter().map(kept).collect();
        let is_missing =
            |(found, reference): (&Option<_>, &ChunkRef)| found.is_none().then_some(*reference);
        let missing: Vec<_> = found.iter().zip(references).filter_map(is_missing).collect();
        pace.breathe().await;
        if missing.is_empty() {
            return found.into_iter().flatten().collect();
        }
        let read = self.read(&missing, pace).await;
        for some in missing.iter().zip(&read).collect::<Vec<_>>().chunks(KEPT_AT_ONCE) {
            for (reference, chunk) in some {
                if let Ok(chunk) = chunk {
                    self.kept.insert(reference.0, chunk);
                }
            }
            pace.breathe().await;
        }
        let mut read = read.into_iter();
        found.iter_mut().filter(|found| found.is_none()).for_each(|found| *found = read.next());
        found.into_iter().flatten().collect()
    }

    /// Reads the chunks at `references`, in that order, past the cache.
    pub async fn read(&self, references: &[ChunkRef], pace: &mut impl Pace) -> Vec<ChunkResult> {
        let mut order: Vec<(ChunkRef, usize)> = references.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let mut found: Vec<Option<ChunkResult>> = references.iter().map(|_| None).collect();
        for of_segment in order.chunk_by(|a, b| a.0.segment_index() == b.0.segment_index()) {
            let index = of_segment.first().map_or(0, |(first, _)| first.segment_index());
            let file = match self.segments.get(&index) {
                Some(Ok(file)) => file,
                Some(Err(error)) => {
                    for (reference, place) in of_segment {
                        put(&mut found, *place, Err(self.unusable(*reference, error)));
                    }
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
            let longer = self.read_from(file, &wanted, references, &mut found, pace).await;
            self.read_from(file, &longer, references, &mut found, pace).await;
        }
        let not_read = |(found, reference): (Option<ChunkResult>, &ChunkRef)| {
            found.unwrap_or_else(|| Err(self.damaged(*reference, "is not read")))
        };
        found.into_iter().zip(references).map(not_read).collect()
    }

    fn refuse(
        &self,
        chunks: &[(ChunkRef, usize)],
        found: &mut [Option<ChunkResult>],
        what: impl std::fmt::Display,
    ) {
        for (reference, place) in chunks {
            put(found, *place, Err(self.damaged(*reference, &what)));
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
    ) -> Vec<Wanted> {
        let ranges: Vec<Range<u64>> = wanted.iter().map(|(_, range)| range.clone()).collect();
        let mut longer = Vec::new();
        let len = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        for reads in coalesce(&ranges).chunks(READS) {
            let asked: Vec<(u64, usize)> = reads
                .iter()
                .map(|read| (read.bytes.start, len(read.bytes.end - read.bytes.start)))
                .collect();
            self.cache.chunk_reads.note(&asked);
            for (read, bytes) in reads.iter().zip(file.read_many(&asked).await) {
                for (place, range) in wanted.get(read.parts.clone()).unwrap_or_default() {
                    let at = references.get(*place).copied().unwrap_or(ChunkRef(0));
                    let alone;
                    let rest = match &bytes {
                        Ok(bytes) => bytes.get(len(range.start - read.bytes.start)..),
                        Err(_) => match read_alone(file, range).await {
                            Ok(bytes) => {
                                alone = bytes;
                                Some(&*alone)
                            }
                            Err(source) => {
                                put(found, *place, Err(self.unread(at, source)));
                                continue;
                            }
                        },
                    };
                    let chunk = match split_chunk(rest.unwrap_or_default()) {
                        Ok((chunk, _)) => {
                            let bytes = Bytes::copy_from_slice(chunk.data);
                            Ok(ChunkBytes { encoding: chunk.encoding, bytes })
                        }
                        Err(ChunkError::Cut { needed, .. })
                            if needed > range.end - range.start
                                && may_be_chunk(file, range.start, needed) =>
                        {
                            longer.push((*place, range.start..range.start + needed));
                            continue;
                        }
                        Err(error) => Err(self.damaged(at, error)),
                    };
                    put(found, *place, chunk);
                }
                pace.breathe().await;
            }
        }
        longer
    }
}

fn put(found: &mut [Option<ChunkResult>], place: usize, chunk: ChunkResult) {
    if let Some(found) = found.get_mut(place) {
        *found = Some(chunk);
    }
}

async fn open_segment<D: Disk>(disk: &D, path: &str) -> Result<D::File, Unusable> {
    let file = disk.open_read(path).await.map_err(Unusable::Unread)?;
    let len = usize::try_from(file.len()).unwrap_or(usize::MAX).min(HEADER_BYTES);
    let header = file.read_at(0, len).await.map_err(Unusable::Unread)?;
    check_header(&header).map(|()| file).map_err(Unusable::Broken)
}

/// Can a chunk of `needed` bytes begin at `start`?
fn may_be_chunk<F: File>(file: &F, start: u64, needed: u64) -> bool {
    needed <= CHUNK_BYTES_MAX && needed <= file.len().saturating_sub(start)
}

/// Reads one chunk, and no block of the disk that it does not touch: one beside it may be what cannot be read.
async fn read_alone<F: File>(file: &F, range: &Range<u64>) -> io::Result<F::Read> {
    let len = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let block_end = (range.start + 1).next_multiple_of(BLOCK_BYTES as u64);
    let front = file.read_at(range.start, len(block_end.min(range.end) - range.start)).await?;
    match split_chunk(&front) {
        Err(ChunkError::Cut { needed, .. }) if may_be_chunk(file, range.start, needed) => {
            file.read_at(range.start, len(needed)).await
        }
        _ => Ok(front),
    }
}
