//! Reads one shard's checkpoint, log and spill files as replay does, and tells what is wrong with them.
//!
//! No Head is filled: what is held is which series the log has named. Nothing is changed and nothing made durable, so that
//! it may run on files of a process that is alive. What is behind the last batch of the log is no damage, as for replay:
//! nobody was told of it.

use crate::encoding::batch::disk_bytes;
use crate::encoding::chunk::ChunkReader;
use crate::encoding::record::{
    ChunksRecord, HistogramsRecord, LoggedCount, LoggedHistogram, Record, RecordError, SpillPlace,
    records,
};
use crate::io::{Disk, Pace};
use crate::model::SeriesRef;
use crate::storage::head::saved_series;
use crate::storage::head::spill::{SpillError, SpillFiles};
use crate::storage::replay::{Damage, Dirs, Found, Layout, ReplayError, survey, unread};
use crate::storage::replay_state::{LogState, ReferenceMap};
use crate::storage::wal::segment::{Hole, SegmentReader};

/// Chunks of spill files that are read together.
const CHUNKS_AT_ONCE: usize = 2048;
/// No more damaged chunks than this are told one by one.
const CHUNKS_TOLD_MAX: u64 = 100;

/// What a shard's log, its checkpoint and its spill files hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogVerified {
    /// Checkpoints and segments that were read.
    pub files: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// Batches in them.
    pub batches: u64,
    /// Samples in the log.
    pub samples: u64,
    /// Chunks in the checkpoint, and those in spill files of which it tells.
    pub chunks: u64,
    /// What was acknowledged and cannot be read.
    pub damage: Vec<Damage>,
}

/// What is known while a log is read.
struct Reading<'a, D: Disk> {
    state: LogState,
    references: ReferenceMap,
    spill: &'a SpillFiles<D>,
    places: Vec<SpillPlace>,
    /// Samples and chunks of series that nothing has named.
    orphans: u64,
    damaged_chunks: u64,
    found: LogVerified,
}

/// Reads what is in `dirs`.
///
/// - `progress`: told bytes as they are read.
///
/// # Errors
/// A disk that does not read. Damage is in what it gives.
pub async fn verify_log<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    layout: Layout,
    progress: &dyn Fn(u64),
    pace: &mut impl Pace,
) -> Result<LogVerified, ReplayError> {
    let (log, damage) = survey(disk, dirs, layout, None, pace).await?;
    let spill = SpillFiles::of(disk.clone(), dirs.head.clone());
    let mut reading = Reading {
        state: log.state,
        references: ReferenceMap::default(),
        spill: &spill,
        places: Vec::new(),
        orphans: 0,
        damaged_chunks: 0,
        found: LogVerified { damage, ..LogVerified::default() },
    };
    for file in log.files {
        reading.file(disk, &file, progress, pace).await?;
    }
    reading.read_spilled(pace).await;
    let Reading { orphans, damaged_chunks, mut found, .. } = reading;
    let mut add = |what: String| {
        found.damage.push(Damage { file: dirs.wal.clone(), offset: 0, what, keep: Vec::new() });
    };
    if orphans > 0 {
        add(format!("{orphans} samples or chunks are lost: what named their series is damaged"));
    }
    if let Some(more) = damaged_chunks.checked_sub(CHUNKS_TOLD_MAX).filter(|more| *more > 0) {
        add(format!("{more} more chunks cannot be read"));
    }
    Ok(found)
}

impl<D: Disk> Reading<'_, D> {
    async fn file(
        &mut self,
        disk: &D,
        file: &Found,
        progress: &dyn Fn(u64),
        pace: &mut impl Pace,
    ) -> Result<(), ReplayError> {
        let failed =
            |action| move |source| ReplayError::Io { path: file.path.clone(), action, source };
        let opened = disk.open_read(&file.path).await.map_err(failed("open"))?;
        let mut reader = SegmentReader::new(opened, file.id);
        let (mut told, mut end) = (0, 0);
        while let Some(batch) = reader.next(pace).await.map_err(failed("read"))? {
            if let Some(Hole { start, end }) = batch.hole {
                let what = format!("{} bytes that are not batches, before valid ones", end - start);
                self.add(&file.path, start, what);
            }
            let number = batch.header.sequence;
            if file.is_segment
                && let Some(lost) = self.state.follow(number)
            {
                let what = format!("{lost} batches before number {number} are missing");
                self.add(&file.path, batch.offset, what);
            }
            for record in records(batch.payload) {
                let read = record.and_then(|record| self.record(record, &file.path, batch.offset));
                if let Err(error) = read {
                    let what = format!("{error}; the rest of the batch is skipped");
                    self.add(&file.path, batch.offset, what);
                }
            }
            self.found.batches += 1;
            end = batch.offset + disk_bytes(batch.payload.len()) as u64;
            progress(batch.offset - told);
            told = batch.offset;
            if self.places.len() >= CHUNKS_AT_ONCE {
                self.read_spilled(pace).await;
            }
            pace.breathe().await;
        }
        let lacks = unread(&reader, &file.path).or_else(|| file.lacks_behind(end));
        self.found.damage.extend(lacks);
        progress(file.len.saturating_sub(told));
        self.found.files += 1;
        self.found.bytes += file.len;
        Ok(())
    }

    fn add(&mut self, file: &str, offset: u64, what: String) {
        self.found.damage.push(Damage { file: file.to_owned(), offset, what, keep: Vec::new() });
    }

    fn add_chunk(&mut self, file: &str, offset: u64, what: String) {
        self.damaged_chunks += 1;
        if self.damaged_chunks <= CHUNKS_TOLD_MAX {
            self.add(file, offset, what);
        }
    }

    fn meet(&mut self, series: SeriesRef) {
        self.orphans += u64::from(self.references.get(series).is_none());
    }

    fn record(&mut self, record: Record<'_>, path: &str, offset: u64) -> Result<(), RecordError> {
        match record {
            Record::Series(series) => {
                for series in series {
                    self.references.insert(series?.0, 0);
                }
            }
            Record::SavedSeries(saved) => {
                saved_series::check(saved, |series| self.references.insert(series, 0))?;
            }
            Record::Samples(samples) => {
                self.found.samples += samples.len() as u64;
                for logged in samples.iter() {
                    self.meet(logged.series);
                }
            }
            Record::Chunks(chunks) | Record::LateChunks(chunks) => {
                self.chunks(chunks, path, offset)?;
            }
            Record::Starts(starts) => {
                for logged in starts {
                    logged?;
                }
            }
            Record::Histograms(record) => self.histograms(record)?,
            Record::FloatHistograms(record) => self.histograms(record)?,
            Record::OpenHistograms(chunks) => {
                for chunk in chunks {
                    let chunk = chunk?;
                    self.meet(chunk.series);
                    self.found.chunks += 1;
                    if let Some(wrong) = wrong_samples(chunk.encoding, chunk.bytes) {
                        self.add_chunk(path, offset, format!("a chunk of this batch: {wrong}"));
                    }
                }
            }
            Record::OpenChunks(chunks) => {
                for chunk in chunks {
                    self.meet(chunk?.series);
                    self.found.chunks += 1;
                }
            }
            Record::SpilledChunks(places) => {
                for place in places {
                    let place = place?;
                    self.meet(place.series);
                    self.places.push(place);
                }
            }
            Record::Tombstones(series) => {
                for series in series {
                    series?;
                }
            }
            Record::Exemplars(exemplars) => {
                for exemplar in exemplars {
                    exemplar?;
                }
            }
            Record::Metadata(families) => {
                for family in families {
                    family?;
                }
            }
            Record::Cut(_) | Record::Checkpoint(_) => {}
        }
        Ok(())
    }

    fn histograms<C: LoggedCount>(
        &mut self,
        mut record: HistogramsRecord<'_, C>,
    ) -> Result<(), RecordError> {
        while let Some(logged) = record.next_histogram() {
            let LoggedHistogram { series, histogram, .. } = logged?;
            self.meet(series);
            self.found.samples += 1;
            if !histogram.is_stale() && histogram.validate().is_err() {
                let what = "a histogram of the log is none";
                return Err(RecordError::Body { offset: 0, what });
            }
        }
        Ok(())
    }

    fn chunks(
        &mut self,
        chunks: ChunksRecord<'_>,
        path: &str,
        offset: u64,
    ) -> Result<(), RecordError> {
        for chunk in chunks {
            let chunk = chunk?;
            self.meet(chunk.series);
            self.found.chunks += 1;
            if let Some(wrong) = wrong_samples(chunk.encoding, chunk.bytes) {
                self.add_chunk(path, offset, format!("a chunk of this batch: {wrong}"));
            }
        }
        Ok(())
    }

    /// Reads the chunks in spill files that were met.
    async fn read_spilled(&mut self, pace: &mut impl Pace) {
        let places = std::mem::take(&mut self.places);
        for places in places.chunks(CHUNKS_AT_ONCE) {
            let read = self.spill.read(places, pace).await;
            for (place, read) in places.iter().zip(read) {
                self.found.chunks += 1;
                match read {
                    Ok(bytes) => {
                        if let Some(wrong) = wrong_samples(place.encoding, &bytes) {
                            let path = self.spill.path(place.file);
                            self.add_chunk(&path, u64::from(place.offset), wrong);
                        }
                    }
                    Err(error) => self.add_spill_error(&error),
                }
            }
            pace.breathe().await;
        }
    }

    fn add_spill_error(&mut self, error: &SpillError) {
        let (path, offset, what) = match error {
            SpillError::Io { path, offset, source, .. } => (path, offset, source.to_string()),
            SpillError::Damaged { path, offset, source } => (path, offset, source.to_string()),
        };
        self.add_chunk(path, u64::from(*offset), what);
    }
}

/// What is wrong with the samples of a chunk.
fn wrong_samples(encoding: u8, bytes: &[u8]) -> Option<String> {
    let mut reader = match ChunkReader::new(encoding, bytes) {
        Ok(reader) => reader,
        Err(error) => return Some(error.to_string()),
    };
    std::iter::from_fn(|| reader.advance()).find_map(Result::err).map(|error| error.to_string())
}
