//! One block, open for reading: immutable but for its tombstones.
//!
//! ```text
//! 01BKGV7JBM69T2G1BGBGM6KB12/
//! ├── meta.json          which time it covers, what it came from
//! ├── index              series, and by which labels they are found       through the cache
//! ├── chunks/000001 ...  samples                                          those that queries read through a cache of their own
//! └── tombstones         what is not to be seen any more; may be missing
//! ```
//! Reads go past the kernel's page cache. What is in memory is what Prometheus holds of an index, every 32nd entry, and
//! what the cache keeps of the rest.
//! A chunk that cannot be read costs that chunk, a segment its chunks. What is broken in the index costs whoever needs
//! it, with file and byte; what of it opening reads, the block.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;

use super::cache::IndexCache;
use super::chunk_files::ChunkFiles;
pub use super::chunk_files::{ChunkBytes, ChunkResult};
use super::cursor::{SeriesCursor, SymbolCursor};
use super::index_file::IndexFile;
pub use super::series::SeriesEntry;
use super::{BlockError, CHUNKS, INDEX, META, TOMBSTONES};
use crate::encoding::block::chunks::ChunkRef;
pub use crate::encoding::block::index::read::ChunkMeta;
use crate::encoding::block::meta::BlockMeta;
use crate::encoding::block::tombstones::Tombstones;
use crate::io::{Disk, File, Pace};
use crate::model::{Matcher, SeriesId};

/// No `meta.json` is longer than this, in bytes.
const META_BYTES_MAX: u64 = 64 << 20;
/// So often a `meta.json` is read for two reads in a row that agree.
const META_READS_MAX: usize = 5;
/// No tombstones are longer than this, in bytes.
const TOMBSTONES_BYTES_MAX: u64 = 1 << 30;

/// One block, open.
pub struct Block<D: Disk> {
    dir: String,
    meta: BlockMeta,
    tombstones: RefCell<Rc<Tombstones>>,
    pub(super) index: IndexFile<D::File>,
    pub(super) chunks: ChunkFiles<D::File>,
    bytes: u64,
}

/// Reads all of a short file.
async fn read_whole<D: Disk>(
    disk: &D,
    path: &str,
    bytes_max: u64,
) -> Result<<D::File as File>::Read, BlockError> {
    let file = disk.open_read(path).await.map_err(BlockError::io(path, "open"))?;
    let len = usize::try_from(file.len()).ok().filter(|_| file.len() <= bytes_max);
    let too_long = || BlockError::Damaged {
        path: path.to_owned(),
        offset: 0,
        what: format!("{} bytes are too many, {bytes_max} would be read", file.len()),
    };
    file.read_at(0, len.ok_or_else(too_long)?).await.map_err(BlockError::io(path, "read"))
}

/// What the block in the directory `dir` says of itself, and the bytes in which it does.
///
/// It decides whether the block is kept, and has no checksum: two reads in a row must bring the same.
///
/// # Errors
/// A disk that does not read, or a `meta.json` that cannot be understood.
pub(in crate::storage) async fn read_meta<D: Disk>(
    disk: &D,
    dir: &str,
) -> Result<(BlockMeta, <D::File as File>::Read), BlockError> {
    let path = format!("{dir}/{META}");
    let mut json = read_whole(disk, &path, META_BYTES_MAX).await?;
    for _ in 1..META_READS_MAX {
        let before = std::mem::replace(&mut json, read_whole(disk, &path, META_BYTES_MAX).await?);
        if *before == *json {
            let meta = BlockMeta::parse(&json);
            return Ok((meta.map_err(|source| BlockError::Meta { path, source })?, json));
        }
    }
    let what = format!("of {META_READS_MAX} reads no two in a row bring the same");
    Err(BlockError::Damaged { path, offset: 0, what })
}

impl<D: Disk> Block<D> {
    /// Opens the block in the directory `dir`, which is whole and does not change.
    ///
    /// # Errors
    /// A disk that does not read, or a `meta.json`, tombstones, symbols or a postings' table that are not what they
    /// should be.
    pub async fn open(
        disk: &D,
        dir: &str,
        cache: Rc<IndexCache>,
        pace: &mut impl Pace,
    ) -> Result<Self, BlockError> {
        let path = |name| format!("{dir}/{name}");
        let (meta, json) = read_meta(disk, dir).await?;
        let mut bytes = json.len() as u64;
        let tombstones_path = path(TOMBSTONES);
        let tombstones = match read_whole(disk, &tombstones_path, TOMBSTONES_BYTES_MAX).await {
            Err(BlockError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Tombstones::default()
            }
            read => {
                let read = read?;
                bytes += read.len() as u64;
                Tombstones::parse(&read).map_err(|error| BlockError::Damaged {
                    path: tombstones_path,
                    offset: 0,
                    what: error.to_string(),
                })?
            }
        };
        let index_path = path(INDEX);
        let file =
            disk.open_read(&index_path).await.map_err(BlockError::io(&index_path, "open"))?;
        let index = IndexFile::open(file, index_path, Rc::clone(&cache), pace).await?;
        let chunks = ChunkFiles::open(disk, path(CHUNKS), cache).await?;
        bytes += index.paged.file.len() + chunks.bytes;
        let tombstones = RefCell::new(Rc::new(tombstones));
        Ok(Self { dir: dir.to_owned(), meta, tombstones, index, chunks, bytes })
    }

    /// Its directory.
    pub fn dir(&self) -> &str {
        &self.dir
    }

    /// What its `meta.json` says.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// What of it is deleted.
    pub fn tombstones(&self) -> Rc<Tombstones> {
        Rc::clone(&self.tombstones.borrow())
    }

    /// More is deleted now: the file of tombstones has been replaced by one that holds these.
    pub fn set_tombstones(&self, tombstones: Tombstones) {
        self.tombstones.replace(Rc::new(tombstones));
    }

    /// Length of its files in bytes, as they were when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory in bytes, about, that is held of its index, the cache not counted.
    pub fn held_bytes(&self) -> usize {
        self.index.held_bytes()
    }

    /// The series for which all `matchers` hold, in order of their labels.
    ///
    /// # Errors
    /// A disk that does not read, or an index that is broken where this needs it.
    pub async fn select(
        &self,
        matchers: &[Matcher],
        pace: &mut impl Pace,
    ) -> Result<Vec<SeriesId>, BlockError> {
        self.index.select(matchers, pace).await
    }

    /// Labels and chunks of these series, in this order. Deleted ones are among them.
    ///
    /// # Errors
    /// A disk that does not read, or an index that is broken where this needs it.
    pub async fn series(
        &self,
        ids: &[SeriesId],
        pace: &mut impl Pace,
    ) -> Result<Vec<SeriesEntry>, BlockError> {
        self.index.series(ids, pace).await
    }

    /// The chunks at these places, in this order. They are best asked for in the order of the series. A chunk or a segment
    /// that is broken, or that the disk does not give, is an error in its place. What is read is not kept: this is for who
    /// reads everything once.
    pub async fn read_chunks(
        &self,
        references: &[ChunkRef],
        pace: &mut impl Pace,
    ) -> Vec<ChunkResult> {
        self.chunks.read(references, pace).await
    }

    /// The same for a query, which may ask for the same chunks again soon: through the cache of chunks.
    pub async fn read_chunks_through(
        &self,
        references: &[ChunkRef],
        pace: &mut impl Pace,
    ) -> Vec<ChunkResult> {
        self.chunks.read_through(references, pace).await
    }

    /// The error for a chunk that could be read and is not what it should be.
    pub fn damaged_chunk(&self, at: ChunkRef, what: &str) -> BlockError {
        self.chunks.damaged(at, what)
    }

    /// The label names of the series for which all `matchers` hold, sorted; without matchers, of all.
    ///
    /// # Errors
    /// A disk that does not read, or an index that is broken where this needs it.
    pub async fn label_names(
        &self,
        matchers: &[Matcher],
        pace: &mut impl Pace,
    ) -> Result<Vec<String>, BlockError> {
        self.index.label_names(matchers, pace).await
    }

    /// The values of the label `name` that the series have for which all `matchers` hold, sorted.
    ///
    /// # Errors
    /// A disk that does not read, or an index that is broken where this needs it.
    pub async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        pace: &mut impl Pace,
    ) -> Result<Vec<String>, BlockError> {
        self.index.label_values(name, matchers, pace).await
    }

    /// All series in order of their labels, for a merge.
    pub fn all_series(&self) -> SeriesCursor<'_, D::File> {
        SeriesCursor::new(&self.index)
    }

    /// How many symbols there are.
    pub fn symbol_count(&self) -> u32 {
        self.index.symbols.count()
    }

    /// All symbols in order, for a merge.
    pub fn symbols(&self) -> SymbolCursor<'_, D::File> {
        SymbolCursor::new(&self.index)
    }
}
