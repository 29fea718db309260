//! Full chunks leave memory for files, and are read back from them. What queries read is kept in a cache.
//!
//! ```text
//! shard-000/head/
//! └── chunks-00000007    chunks (`encoding::spilled`) that begin in one aligned two-hour range
//! ```
//! Owns the files; which of their chunks are needed is the Head's to know, and after a restart the checkpoint's. A file is
//! written in batches, each on a multiple of 4 KiB and made durable at once. Invariants: a chunk is in memory until its
//! batch, and the name of its file, are durable; nothing durable is written again; after a write or a flush that failed
//! nothing more goes into that file; a number is not used twice. One spill at a time, none while a checkpoint is
//! written: then what a log repeats of a checkpoint is in memory after a restart.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use bytes::Bytes;

use super::Head;
use super::pieces::{ChunkPiece, PieceSource, read_pieces};
use super::spill_batch::{BATCH_BYTES, RangeBatch, SpillBatch};
use super::spilled::FILES_MAX;
use crate::encoding::record::SpillPlace;
use crate::encoding::spilled::{self, SpilledError, SpilledHeader};
use crate::io::{BLOCK_BYTES, Disk, File, Pace, same_error};
use crate::model::{Samples, TimeRange, TimestampMs};
use crate::storage::chunk_cache::{ChunkBytes, ChunkCache, KEPT_AT_ONCE, KeptChunks};
use crate::storage::quarantine::Marked;
use crate::storage::reads::ReadCounter;
use crate::storage::replay::Damage;

/// A file that has reached this takes no further batch, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Chunks with no more than this between them are read at once, in bytes.
const GAP_BYTES: u64 = 32 << 10;
/// What is read at once, in bytes, unless a single chunk is larger.
const RUN_BYTES: u64 = 1 << 20;
/// Chunks that are replaced by where they lie without a pause: some 100 us.
const INSTALLED_AT_ONCE: usize = 256;
/// Reads that are under way at a time.
const READS: usize = 32;
const PREFIX: &str = "chunks-";

const _: () = assert!(
    FILE_BYTES_MAX + 64 * BATCH_BYTES as u64 <= u32::MAX as u64,
    "an offset in a file has 32 bits"
);

/// Why a chunk that has left memory cannot be read. It costs this chunk.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// The disk does not give it.
    #[error("{path}, byte {offset}: cannot read a chunk of {len} bytes: {source}")]
    Io {
        /// The file.
        path: String,
        /// Where the chunk begins.
        offset: u32,
        /// Length of its frame.
        len: u32,
        /// What the disk said.
        source: io::Error,
    },
    /// Something else lies there.
    #[error("{path}, byte {offset}: {source}")]
    Damaged {
        /// The file.
        path: String,
        /// Where the chunk begins.
        offset: u32,
        /// What is wrong.
        source: SpilledError,
    },
}

impl SpillError {
    /// What it costs, and the file, which is worth keeping: what lies there may be readable for somebody.
    #[must_use]
    pub fn damage(&self) -> Damage {
        let (Self::Io { path, offset, .. } | Self::Damaged { path, offset, .. }) = self;
        let what = match self {
            Self::Io { len, source, .. } => format!("cannot read a chunk of {len} bytes: {source}"),
            Self::Damaged { source, .. } => source.to_string(),
        };
        Damage { file: path.clone(), offset: u64::from(*offset), what, keep: vec![path.clone()] }
    }
}

/// The bytes of a chunk, or why there are none.
pub type ReadChunk = Result<Bytes, SpillError>;

/// What was spilled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spilled {
    /// Chunks.
    pub chunks: u64,
    /// Bytes that were written, padding included.
    pub bytes: u64,
}

/// A directory's spill files.
pub struct SpillFiles<D: Disk> {
    disk: D,
    dir: String,
    /// Files that are open, by number.
    open: RefCell<BTreeMap<u32, Rc<D::File>>>,
    /// Where chunks are kept that queries have read; `None`: nowhere.
    cache: OnceCell<Rc<ChunkCache>>,
    /// Those of each file, as long as it is needed.
    kept: RefCell<BTreeMap<u32, KeptChunks>>,
    /// Files that take another batch, by the end of their range.
    writing: RefCell<BTreeMap<TimestampMs, Writing<D::File>>>,
    next_number: Cell<u32>,
    /// The files that a batch on its way goes into, until all of its chunks are replaced; `None`: there is none on its way.
    filling: RefCell<Option<BTreeSet<u32>>>,
    /// What was read of them.
    pub reads: ReadCounter,
    /// How long each is, by number.
    lens: RefCell<BTreeMap<u32, u64>>,
    counts: Cell<SpillCounts>,
}

/// What has become of chunks since these files were opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpillCounts {
    /// They have left memory.
    pub spilled: u64,
    /// They could not be read back, or not as they were written; each time they were asked for.
    pub damaged: u64,
}

/// A batch is on its way for as long as this lives, also if nobody waits for its end.
struct Filling<'a>(&'a RefCell<Option<BTreeSet<u32>>>);

impl<'a> Filling<'a> {
    fn begin(files: &'a RefCell<Option<BTreeSet<u32>>>) -> Self {
        assert!(files.replace(Some(BTreeSet::new())).is_none(), "one spill at a time");
        Self(files)
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.replace(None);
    }
}

struct Writing<F> {
    number: u32,
    file: Rc<F>,
    /// Where the next batch begins.
    offset: u64,
}

impl<D: Disk> SpillFiles<D> {
    /// The spill files in `dir`, to be read only. Any thread may have its own.
    #[must_use]
    pub fn of(disk: D, dir: String) -> Self {
        Self {
            disk,
            dir,
            open: RefCell::default(),
            writing: RefCell::default(),
            next_number: Cell::new(u32::MAX),
            filling: RefCell::default(),
            cache: OnceCell::new(),
            kept: RefCell::default(),
            reads: ReadCounter::default(),
            lens: RefCell::default(),
            counts: Cell::default(),
        }
    }

    /// The spill files in `dir`, to be read and written.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn open(disk: D, dir: String) -> io::Result<Self> {
        let numbers = list(&disk, &dir).await?;
        let files = Self::of(disk, dir);
        files.next_number.set(numbers.keys().next_back().map_or(1, |last| last.saturating_add(1)));
        files.lens.replace(numbers);
        Ok(files)
    }

    /// What is read [through the cache](Self::read_through) goes into this one from now on.
    pub fn keep_chunks_in(&self, cache: &Rc<ChunkCache>) {
        let _ = self.cache.set(Rc::clone(cache));
    }

    /// What the files take on disk, in bytes; of those that are written here.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lens.borrow().values().sum()
    }

    /// What has become of chunks.
    #[must_use]
    pub fn counts(&self) -> SpillCounts {
        self.counts.get()
    }

    /// Counts on from where those who had these files open before have ended.
    pub fn count_on(&self, before: &Self) {
        self.counts.set(before.counts.get());
        self.reads.count_on(&before.reads);
    }

    fn count(&self, spilled: u64, damaged: u64) {
        let before = self.counts.get();
        self.counts.set(SpillCounts {
            spilled: before.spilled + spilled,
            damaged: before.damaged + damaged,
        });
    }

    /// The path of a file.
    pub(in crate::storage) fn path(&self, number: u32) -> String {
        format!("{}/{PREFIX}{number:08}", self.dir)
    }

    /// Lets full chunks leave memory until no more than `leave_bytes` of them are there.
    ///
    /// # Errors
    /// Those of the disk; what was not written stays in memory.
    pub async fn spill(
        &self,
        head: &RefCell<Head>,
        leave_bytes: u64,
        pace: &mut impl Pace,
    ) -> io::Result<Spilled> {
        let mut spilled = Spilled::default();
        while head.borrow().stats.chunk_bytes > leave_bytes {
            let mut batch = SpillBatch::default();
            while head.borrow_mut().gather_full(&mut batch) {
                pace.breathe().await;
            }
            if batch.is_empty() {
                break;
            }
            pace.breathe().await;
            let _filling = Filling::begin(&self.filling);
            match self.write(&mut batch).await {
                Ok(bytes) => spilled.bytes += bytes,
                Err(error) => {
                    head.borrow_mut().keep(batch);
                    return Err(error);
                }
            }
            let mut chunks = batch.into_chunks().peekable();
            while chunks.peek().is_some() {
                let some = chunks.by_ref().take(INSTALLED_AT_ONCE);
                let installed = head.borrow_mut().install(some);
                spilled.chunks += installed;
                self.count(installed, 0);
                pace.breathe().await;
            }
        }
        Ok(spilled)
    }

    /// Writes a batch and makes it durable; the bytes that it took.
    async fn write(&self, batch: &mut SpillBatch) -> io::Result<u64> {
        let mut written = 0;
        for (end, of_range) in &mut batch.ranges {
            written += self.write_range(*end, of_range).await?;
        }
        Ok(written)
    }

    async fn write_range(&self, end: TimestampMs, batch: &mut RangeBatch) -> io::Result<u64> {
        // It takes the file out, and puts it back when all went well: otherwise nothing more goes into it.
        let Writing { number, file, offset } = self.take_file(end).await?;
        if let Some(filling) = &mut *self.filling.borrow_mut() {
            filling.insert(number);
        }
        batch.bytes.resize(batch.bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        file.write_at(&batch.bytes, offset).await?;
        file.sync().await?;
        if offset == 0 {
            self.disk.sync_dir(&self.dir).await?;
        }
        let start = u32::try_from(offset).map_err(io::Error::other)?;
        for leaving in &mut batch.chunks {
            leaving.place.file = number;
            leaving.place.offset = leaving.place.offset.saturating_add(start);
        }
        let len = std::mem::take(&mut batch.bytes).len() as u64;
        self.lens.borrow_mut().insert(number, offset + len);
        let writing = Writing { number, file, offset: offset + len };
        self.writing.borrow_mut().insert(end, writing);
        Ok(len)
    }

    /// Takes out the file that takes the next batch of a range; a new one if there is none or it is long enough.
    async fn take_file(&self, end: TimestampMs) -> io::Result<Writing<D::File>> {
        let writing = self.writing.borrow_mut().remove(&end);
        if let Some(writing) = writing.filter(|writing| writing.offset < FILE_BYTES_MAX) {
            return Ok(writing);
        }
        let number = self.next_number.get();
        let next = number.checked_add(1).filter(|next| *next < FILES_MAX);
        let next = next.ok_or_else(|| io::Error::other("no more file numbers"))?;
        self.next_number.set(next);
        let file = Rc::new(self.disk.create(&self.path(number), 0).await?);
        self.open.borrow_mut().insert(number, Rc::clone(&file));
        Ok(Writing { number, file, offset: 0 })
    }

    async fn file(&self, number: u32) -> io::Result<Rc<D::File>> {
        let open = self.open.borrow().get(&number).cloned();
        if let Some(file) = open {
            return Ok(file);
        }
        let file = Rc::new(self.disk.open_read(&self.path(number)).await?);
        self.open.borrow_mut().insert(number, Rc::clone(&file));
        Ok(file)
    }

    /// Opens these files, so that they can be read for as long as this lives, also when somebody else has removed them.
    ///
    /// # Errors
    /// Those of the disk; others are open nevertheless.
    pub async fn hold(&self, numbers: &BTreeSet<u32>) -> io::Result<()> {
        let mut held = Ok(());
        for number in numbers {
            held = held.and(self.file(*number).await.map(drop));
        }
        held
    }

    /// The chunks at these places, in their order, through the cache if there is one: only those that it does not have are
    /// read.
    pub async fn read_through(
        &self,
        places: &[SpillPlace],
        pace: &mut impl Pace,
    ) -> Vec<ReadChunk> {
        let Some(cache) = self.cache.get().filter(|cache| cache.is_on()) else {
            return self.read(places, pace).await;
        };
        let mut found = self.kept(cache, places);
        let is_missing =
            |(found, place): (&Option<_>, &SpillPlace)| found.is_none().then_some(*place);
        let missing: Vec<_> = found.iter().zip(places).filter_map(is_missing).collect();
        pace.breathe().await;
        if missing.is_empty() {
            return found.into_iter().flatten().collect();
        }
        let read = self.read(&missing, pace).await;
        for some in missing.iter().zip(&read).collect::<Vec<_>>().chunks(KEPT_AT_ONCE) {
            self.keep(cache, some);
            pace.breathe().await;
        }
        let mut read = read.into_iter();
        found.iter_mut().filter(|found| found.is_none()).for_each(|found| *found = read.next());
        found.into_iter().flatten().collect()
    }

    /// What the cache has of these places.
    fn kept(&self, cache: &Rc<ChunkCache>, places: &[SpillPlace]) -> Vec<Option<ReadChunk>> {
        let mut kept = self.kept.borrow_mut();
        let of_place = |place: &SpillPlace| {
            let of_file = kept.entry(place.file).or_insert_with(|| KeptChunks::new(cache.clone()));
            let chunk = of_file.get(u64::from(place.offset))?;
            (chunk.encoding == place.encoding).then_some(Ok(chunk.bytes))
        };
        places.iter().map(of_place).collect()
    }

    /// Adds what could be read to the cache, but for what is of a file that is gone meanwhile.
    fn keep(&self, cache: &Rc<ChunkCache>, read: &[(&SpillPlace, &ReadChunk)]) {
        let (mut kept, open) = (self.kept.borrow_mut(), self.open.borrow());
        for (place, chunk) in read {
            let Ok(bytes) = chunk else { continue };
            if open.contains_key(&place.file) {
                let of_file =
                    kept.entry(place.file).or_insert_with(|| KeptChunks::new(cache.clone()));
                let chunk = ChunkBytes { encoding: place.encoding, bytes: bytes.clone() };
                of_file.insert(u64::from(place.offset), &chunk);
            }
        }
    }

    /// Reads the chunks at these places, in their order, past the cache: what lies close together at once.
    pub async fn read(&self, places: &[SpillPlace], pace: &mut impl Pace) -> Vec<ReadChunk> {
        let mut order: Vec<(usize, SpillPlace)> = places.iter().copied().enumerate().collect();
        order.sort_by_key(|(_, place)| (place.file, place.offset));
        let mut read: Vec<(usize, ReadChunk)> = Vec::with_capacity(places.len());
        for of_file in order.chunk_by(|(_, a), (_, b)| a.file == b.file) {
            let Some((_, first)) = of_file.first() else { continue };
            match self.file(first.file).await {
                Ok(file) => self.read_file(&file, of_file, &mut read, pace).await,
                Err(error) => read.extend(
                    of_file.iter().map(|(at, place)| (*at, Err(self.io_error(*place, &error)))),
                ),
            }
        }
        self.count(0, read.iter().filter(|(_, chunk)| chunk.is_err()).count() as u64);
        read.sort_by_key(|(at, _)| *at);
        read.into_iter().map(|(_, read)| read).collect()
    }

    async fn read_file(
        &self,
        file: &D::File,
        places: &[(usize, SpillPlace)],
        out: &mut Vec<(usize, ReadChunk)>,
        pace: &mut impl Pace,
    ) {
        let runs = runs(places);
        for some in runs.chunks(READS) {
            let ranges: Vec<(u64, usize)> = some.iter().map(|run| (run.start, run.len())).collect();
            self.reads.note(&ranges);
            for (run, bytes) in some.iter().zip(file.read_many(&ranges).await) {
                for (at, place) in run.places {
                    let opened = match &bytes {
                        Ok(bytes) => {
                            let start = u64::from(place.offset) - run.start;
                            let rest = bytes.get(usize::try_from(start).unwrap_or(usize::MAX)..);
                            let frame = rest.and_then(|rest| rest.get(..place.len as usize));
                            self.opened(*place, frame.unwrap_or_default())
                        }
                        // What failed may be another chunk of the run, or what lies between two.
                        Err(_) => self.read_alone(file, *place).await,
                    };
                    out.push((*at, opened));
                }
                pace.breathe().await;
            }
        }
    }

    async fn read_alone(&self, file: &D::File, place: SpillPlace) -> ReadChunk {
        self.reads.note(&[(u64::from(place.offset), place.len as usize)]);
        match file.read_at(u64::from(place.offset), place.len as usize).await {
            Ok(bytes) => self.opened(place, &bytes),
            Err(error) => Err(self.io_error(place, &error)),
        }
    }

    fn opened(&self, place: SpillPlace, frame: &[u8]) -> ReadChunk {
        let SpillPlace { series, range, encoding, late, offset, .. } = place;
        let wanted = SpilledHeader { series, range, encoding, late };
        spilled::open(frame, wanted)
            .map(Bytes::copy_from_slice)
            .map_err(|source| SpillError::Damaged { path: self.path(place.file), offset, source })
    }

    fn io_error(&self, place: SpillPlace, error: &io::Error) -> SpillError {
        let source = same_error(error);
        let SpillPlace { file, offset, len, .. } = place;
        SpillError::Io { path: self.path(file), offset, len, source }
    }

    /// Appends the samples within `range` of these pieces of a series to `out`, oldest first, each instant once. What cannot
    /// be read is missing.
    pub async fn read_series(
        &self,
        pieces: &[ChunkPiece],
        range: TimeRange,
        out: &mut Samples,
        pace: &mut impl Pace,
    ) -> Vec<SpillError> {
        let places: Vec<SpillPlace> = pieces.iter().filter_map(ChunkPiece::place).collect();
        let mut read =
            if places.is_empty() { Vec::new() } else { self.read(&places, pace).await }.into_iter();
        let (mut bytes, mut errors) = (Vec::with_capacity(pieces.len()), Vec::new());
        for piece in pieces {
            match (&piece.source, piece.place().and_then(|_| read.next())) {
                (PieceSource::Bytes(here), _) => {
                    bytes.push((piece.encoding, here.clone(), piece.late))
                }
                (_, Some(Ok(there))) => bytes.push((piece.encoding, there, piece.late)),
                (_, Some(Err(error))) => errors.push(error),
                (_, None) => {}
            }
        }
        let pieces = bytes.iter().map(|(encoding, bytes, late)| (*encoding, &**bytes, *late));
        read_pieces(pieces, range, out);
        errors
    }

    /// Removes the files that nothing needs: neither the Head, which needs `in_use`, nor the newest checkpoint. Those that are
    /// marked as damaged are moved to their place.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn remove_unused(&self, in_use: &BTreeSet<u32>, marked: &Marked) -> io::Result<()> {
        let mut keep = in_use.clone();
        keep.extend(self.filling.borrow().iter().flatten());
        self.writing.borrow_mut().retain(|_, writing| keep.contains(&writing.number));
        self.open.borrow_mut().retain(|number, _| keep.contains(number));
        self.kept.borrow_mut().retain(|number, _| keep.contains(number));
        for number in list(&self.disk, &self.dir).await?.into_keys() {
            if keep.contains(&number) {
                continue;
            }
            match marked.place_of(&format!("{PREFIX}{number:08}")) {
                Some(place) => self.disk.rename(&self.path(number), &place).await?,
                None => self.disk.remove(&self.path(number)).await?,
            }
            self.lens.borrow_mut().remove(&number);
        }
        Ok(())
    }
}

impl ChunkPiece {
    /// Where it lies, if it has left memory.
    #[must_use]
    pub fn place(&self) -> Option<SpillPlace> {
        match &self.source {
            PieceSource::Bytes(_) => None,
            PieceSource::Spilled(place) => Some(*place),
        }
    }
}

/// The spill files in `dir`: number to length in bytes.
///
/// # Errors
/// Those of the disk.
pub async fn list<D: Disk>(disk: &D, dir: &str) -> io::Result<BTreeMap<u32, u64>> {
    let number = |name: &str| name.strip_prefix(PREFIX)?.parse().ok();
    let entries = disk.list(dir).await?;
    Ok(entries.iter().filter_map(|entry| Some((number(&entry.name)?, entry.len))).collect())
}

/// Places that are read at once.
struct Run<'a> {
    start: u64,
    end: u64,
    places: &'a [(usize, SpillPlace)],
}

impl Run<'_> {
    fn len(&self) -> usize {
        usize::try_from(self.end - self.start).unwrap_or(usize::MAX)
    }
}

/// Puts sorted places of one file together where they lie close to each other.
fn runs(places: &[(usize, SpillPlace)]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    let mut from = 0;
    for (at, (_, place)) in places.iter().enumerate() {
        let (start, end) =
            (u64::from(place.offset), u64::from(place.offset) + u64::from(place.len));
        match runs.last_mut() {
            Some(run)
                if start <= run.end + GAP_BYTES && end.max(run.end) - run.start <= RUN_BYTES =>
            {
                run.end = run.end.max(end);
                run.places = places.get(from..=at).unwrap_or_default();
            }
            _ => {
                from = at;
                runs.push(Run { start, end, places: places.get(at..=at).unwrap_or_default() });
            }
        }
    }
    runs
}
