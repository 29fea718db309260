//! Reads checkpoints and logs back into a Head.
//!
//! A shard reads its newest checkpoint and the log behind it. When the number of shards has changed since the last start,
//! every shard reads what all former shards wrote, takes the series that are its own, and saves them as its first
//! checkpoint in the new layout; see [`Layout`].
//! Reading never repairs. A torn tail is expected; a hole before the tail, a gap in the sequence or a record that cannot
//! be read is damage: it is reported, and costs what it covers.

use std::collections::HashMap;

use crate::encoding::record::{
    ChunksRecord, OpenChunksRecord, Record, RecordError, SamplesRecord, SeriesRecord, records,
};
use crate::io::{Disk, File, Pace};
use crate::model::{SeriesRef, route_hash};
use crate::storage::checkpoint::{self, CheckpointId};
use crate::storage::head::Head;
use crate::storage::wal::{Batch, SegmentId, SegmentReader};

/// Where one shard's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Its log segments.
    pub wal: String,
    /// Its checkpoints.
    pub head: String,
}

/// Which files hold the data: those that were written with this number of shards, in this run or a later one. What was
/// written with another number is of a start that changed the number and was not finished, or is left over from before
/// one that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many shards.
    pub shards: u16,
    /// Since which run.
    pub since_run: u64,
}

impl Layout {
    fn has(&self, shards: u16, run: u64) -> bool {
        self.shards == shards && run >= self.since_run
    }
}

/// What a shard reads back.
pub struct Sources<'a> {
    /// The shard's own directories; in a start that changes the number of shards, those of all former shards.
    pub dirs: &'a [Dirs],
    /// Which of the files there hold the data.
    pub layout: Layout,
    /// In a start that changes the number of shards: does the series with this routing hash belong here? The series
    /// then have no names in this shard's log yet.
    pub owns: Option<&'a dyn Fn(u64) -> bool>,
    /// Told how far along replay is: bytes read, bytes in all.
    pub progress: &'a dyn Fn(u64, u64),
}

/// Something that was acknowledged and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where, as far as known.
    pub file: String,
    /// At which byte.
    pub offset: u64,
    /// What is wrong, and what it costs.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, byte {}: {}", self.file, self.offset, self.what)
    }
}

/// What replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// The first segment that is needed; of the first directory, as the next four.
    pub first_segment: u64,
    /// The number that the log's next batch gets.
    pub next_sequence: u64,
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointId>,
    /// Its length in bytes.
    pub checkpoint_bytes: u64,
    /// Bytes of log behind it.
    pub log_bytes: u64,
    /// Batches applied.
    pub batches: u64,
    /// Samples in the logs, known ones included; those in checkpoints are not counted.
    pub samples: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What was acknowledged and cannot be read.
    pub damage: Vec<Damage>,
}

/// Why replay could not go on. Damage does not stop it.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The disk failed.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// Where.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: std::io::Error,
    },
}

fn io_error(path: &str, action: &'static str) -> impl FnOnce(std::io::Error) -> ReplayError {
    move |source| ReplayError::Io { path: path.to_owned(), action, source }
}

/// A file that is to be read.
struct Found {
    is_segment: bool,
    id: SegmentId,
    path: String,
    len: u64,
}

/// Reads the files back into `head` and makes what was read durable.
///
/// # Errors
/// A disk that does not read. Damage is in the report instead.
pub async fn replay<D: Disk>(
    disk: &D,
    sources: Sources<'_>,
    head: &mut Head,
    pace: &mut impl Pace,
) -> Result<ReplayReport, ReplayError> {
    let Sources { dirs, layout, owns, progress } = sources;
    let mut report = ReplayReport { next_sequence: 1, ..ReplayReport::default() };
    let (mut logs, mut damage) = (Vec::new(), Vec::new());
    for (index, dirs) in dirs.iter().enumerate() {
        let first = (index == 0).then_some(&mut report);
        let (files, state) = survey(disk, dirs, layout, first, &mut damage, pace).await?;
        logs.push((dirs, files, state));
    }
    report.damage = damage;
    let total: u64 = logs.iter().flat_map(|(_, files, _)| files).map(|file| file.len).sum();
    for (index, (dirs, files, mut state)) in logs.into_iter().enumerate() {
        for found in files {
            let file = disk.open(&found.path).await.map_err(io_error(&found.path, "open"))?;
            let mut reader = SegmentReader::new(file, found.id);
            let before = report.bytes;
            while let Some(batch) =
                reader.next(pace).await.map_err(io_error(&found.path, "read"))?
            {
                let mut damage = |offset, what| {
                    report.damage.push(Damage { file: found.path.clone(), offset, what })
                };
                state.expect(&batch, found.is_segment, &mut damage);
                for record in records(batch.payload) {
                    match record.and_then(|record| state.apply(record, owns, head)) {
                        Ok(samples) => report.samples += samples,
                        Err(error) => damage(
                            batch.offset,
                            format!("{error}; the rest of the batch is skipped"),
                        ),
                    }
                }
                report.batches += 1;
                report.bytes = before + batch.offset;
                progress(report.bytes, total);
                pace.breathe().await;
            }
            report.bytes = before + found.len;
            // What was read may still be on its way to the disk: whoever sends it again must not be told that it is
            // safe before it is.
            reader.file().sync().await.map_err(io_error(&found.path, "flush"))?;
        }
        if state.unreadable > 0 {
            let what = format!(
                "{} samples or chunks that belong to no series or cannot be read",
                state.unreadable
            );
            report.damage.push(Damage { file: dirs.wal.clone(), offset: 0, what });
        }
        if index == 0 {
            report.next_sequence = state.sequence.map_or(1, |sequence| sequence + 1);
        }
    }
    progress(total, total);
    Ok(report)
}

/// The files of one shard that are needed: its newest checkpoint, and the segments behind that.
async fn survey<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    layout: Layout,
    report: Option<&mut ReplayReport>,
    damage: &mut Vec<Damage>,
    pace: &mut impl Pace,
) -> Result<(Vec<Found>, LogState), ReplayError> {
    let (mut found, mut state) = (Vec::new(), LogState::default());
    let mut from = SegmentId(0);
    let newest =
        checkpoint::newest(disk, &dirs.head, |shards, run| layout.has(shards, run), pace).await;
    let (newest, unreadable) = newest.map_err(io_error(&dirs.head, "read"))?;
    for id in unreadable {
        let what = "nothing in this checkpoint can be read; what only it held is lost".to_owned();
        damage.push(Damage { file: id.path(&dirs.head), offset: 0, what });
    }
    if let Some(checkpoint) = newest {
        // Where the log goes on is in the first batch. If that is damaged, all that is left of the log lies behind it.
        from = SegmentId(checkpoint.log.map_or(0, |log| log.first_segment));
        state.sequence = checkpoint.log.and_then(|log| log.next_sequence.checked_sub(1));
        let (path, id) = (checkpoint.id.path(&dirs.head), SegmentId(checkpoint.id.0));
        found.push(Found { is_segment: false, id, path, len: checkpoint.len });
    }
    let mut log_bytes = 0;
    let entries = disk.list(&dirs.wal).await.map_err(io_error(&dirs.wal, "list"))?;
    for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
        let Some(id) = SegmentId::from_file_name(&entry.name).filter(|id| *id >= from) else {
            continue;
        };
        let path = format!("{}/{}", dirs.wal, entry.name);
        let file = disk.open(&path).await.map_err(io_error(&path, "open"))?;
        let mut reader = SegmentReader::new(file, id);
        let first =
            reader.next(pace).await.map_err(io_error(&path, "read"))?.map(|batch| batch.header);
        // A segment without a batch was begun when the process ended: nobody was told of anything in it.
        if first.is_some_and(|header| layout.has(header.shards, header.run)) {
            log_bytes += entry.len;
            found.push(Found { is_segment: true, id, path, len: entry.len });
        }
    }
    if let Some(report) = report {
        report.checkpoint = newest.map(|checkpoint| checkpoint.id);
        report.checkpoint_bytes = newest.map_or(0, |checkpoint| checkpoint.len);
        report.log_bytes = log_bytes;
        report.first_segment = from.0;
    }
    found.sort_by_key(|file| (file.is_segment, file.id));
    Ok((found, state))
}

/// What is known while one log is read.
#[derive(Default)]
struct LogState {
    /// Number of the last batch of the log.
    sequence: Option<u64>,
    references: ReferenceMap,
    /// Samples and chunks that could not be taken over.
    unreadable: u64,
}

impl LogState {
    /// Looks whether `batch` is the one that should come now.
    fn expect(
        &mut self,
        batch: &Batch<'_>,
        is_segment: bool,
        damage: &mut impl FnMut(u64, String),
    ) {
        if let Some(hole) = batch.hole {
            damage(
                hole.start,
                format!("{} bytes that are not batches, before valid ones", hole.end - hole.start),
            );
        }
        if !is_segment {
            return;
        }
        let sequence = batch.header.sequence;
        if let Some(lost) =
            self.sequence.and_then(|last| sequence.checked_sub(last + 1)).filter(|lost| *lost > 0)
        {
            damage(batch.offset, format!("{lost} batches before number {sequence} are missing"));
        }
        self.sequence = Some(sequence);
    }

    /// Applies one record; how many samples of the log it held for this shard.
    fn apply(
        &mut self,
        record: Record<'_>,
        owns: Option<&dyn Fn(u64) -> bool>,
        head: &mut Head,
    ) -> Result<u64, RecordError> {
        match record {
            Record::Series(series) => self.apply_series(series, owns, head)?,
            Record::Samples(samples) => return Ok(self.apply_samples(samples, head)),
            Record::Chunks(chunks) => self.apply_chunks(chunks, head)?,
            Record::OpenChunks(chunks) => self.apply_open_chunks(chunks, head)?,
            Record::Checkpoint(_) => {} // the survey has read it
        }
        Ok(0)
    }

    fn apply_series(
        &mut self,
        series: SeriesRecord<'_>,
        owns: Option<&dyn Fn(u64) -> bool>,
        head: &mut Head,
    ) -> Result<(), RecordError> {
        for series in series {
            let (reference, labels) = series?;
            let index = match owns {
                None => head.replay_series(labels, reference),
                Some(owns) if owns(route_hash(labels)) => head.replay_unnamed_series(labels),
                Some(_) => Some(ReferenceMap::ELSEWHERE),
            };
            self.references.insert(reference, index.unwrap_or(ReferenceMap::ELSEWHERE));
        }
        Ok(())
    }

    /// The index that a reference has in the Head; `None`, counted, if the log has not named it.
    #[inline]
    fn index_of(&mut self, reference: SeriesRef) -> Option<u32> {
        let index = self.references.get(reference);
        self.unreadable += u64::from(index.is_none());
        index.filter(|index| *index != ReferenceMap::ELSEWHERE)
    }

    fn apply_samples(&mut self, samples: SamplesRecord<'_>, head: &mut Head) -> u64 {
        const GROUP: usize = 32;
        let mut applied = 0;
        let mut iter = samples.iter();
        let mut group = Vec::with_capacity(GROUP);
        while iter.size_hint().0 > 0 {
            // A group at a time, so that the cache misses of its series overlap.
            for logged in iter.by_ref().take(GROUP) {
                if let Some(index) = self.index_of(logged.series) {
                    head.prefetch(index);
                    group.push((index, logged.sample));
                }
            }
            applied += group.len() as u64;
            for (index, sample) in group.drain(..) {
                head.replay_sample(index, sample);
            }
        }
        applied
    }

    fn apply_chunks(
        &mut self,
        chunks: ChunksRecord<'_>,
        head: &mut Head,
    ) -> Result<(), RecordError> {
        for chunk in chunks {
            let chunk = chunk?;
            if let Some(index) = self.index_of(chunk.series) {
                self.unreadable += u64::from(!head.replay_chunk(index, chunk));
            }
        }
        Ok(())
    }

    fn apply_open_chunks(
        &mut self,
        chunks: OpenChunksRecord<'_>,
        head: &mut Head,
    ) -> Result<(), RecordError> {
        for chunk in chunks {
            let chunk = chunk?;
            if let Some(index) = self.index_of(chunk.series) {
                self.unreadable += u64::from(!head.replay_open_chunk(index, chunk));
            }
        }
        Ok(())
    }
}

/// From a log's references to a Head's indexes. References are nearly dense, but may begin anywhere.
#[derive(Default)]
struct ReferenceMap {
    pages: HashMap<u64, Box<[u32; Self::PAGE]>, foldhash::fast::FixedState>,
}

impl ReferenceMap {
    const PAGE: usize = 4096;
    /// Not named by the log.
    const UNKNOWN: u32 = u32::MAX;
    /// Another shard's.
    const ELSEWHERE: u32 = u32::MAX - 1;

    fn place(reference: SeriesRef) -> (u64, usize) {
        let page = Self::PAGE as u64;
        (reference.0 / page, usize::try_from(reference.0 % page).unwrap_or(0))
    }

    fn insert(&mut self, reference: SeriesRef, index: u32) {
        let (page, at) = Self::place(reference);
        let page = self.pages.entry(page).or_insert_with(|| Box::new([Self::UNKNOWN; Self::PAGE]));
        if let Some(slot) = page.get_mut(at) {
            *slot = index;
        }
    }

    #[inline]
    fn get(&self, reference: SeriesRef) -> Option<u32> {
        let (page, at) = Self::place(reference);
        let index = *self.pages.get(&page)?.get(at)?;
        (index != Self::UNKNOWN).then_some(index)
    }
}
