//! Reads logs back into a Head.
//!
//! A shard reads its own log, and the logs of others where those were written with another number of shards: of these
//! it takes the series that are its own. Batches are applied run by run, so that a series whose samples lie in several
//! directories, because the number of shards changed in between, comes back in the order of its samples.
//! Reading never repairs. A torn tail is expected; a hole before the tail, a gap in the sequence or a record that cannot
//! be read is damage: it is reported, and costs what it covers.

use std::collections::HashMap;

use super::segment::{SegmentId, SegmentReader};
use crate::encoding::record::{Record, RecordError, SamplesRecord, SeriesRecord, records};
use crate::io::{Disk, File, Pace};
use crate::model::SeriesRef;
use crate::storage::head::Head;

/// One directory of segments.
#[derive(Clone, Debug)]
pub struct Log {
    /// Where its segments are.
    pub dir: String,
    /// This shard's own?
    pub own: bool,
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
    /// The number that the log's next segment gets.
    pub next_segment: u64,
    /// The number that the log's next batch gets.
    pub next_sequence: u64,
    /// Batches applied.
    pub batches: u64,
    /// Samples in them, known ones included.
    pub samples: u64,
    /// Bytes of log read.
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

/// A segment that is to be read.
struct Found {
    run: u64,
    shards: u16,
    log: usize,
    id: SegmentId,
    len: u64,
}

/// What a shard reads back.
pub struct Sources<'a> {
    /// The shard's own log, and those of all others.
    pub logs: &'a [Log],
    /// The first segment of the own log that is needed; earlier ones are covered by a checkpoint.
    pub from: SegmentId,
    /// How many shards there are in this run.
    pub shards: u16,
    /// Does the series with this routing hash belong here?
    pub owns: &'a dyn Fn(u64) -> bool,
    /// Told how far along replay is: bytes read, bytes in all.
    pub progress: &'a dyn Fn(u64, u64),
}

/// Reads the logs back into `head` and makes what was read durable.
///
/// # Errors
/// A disk that does not read. Damage is in the report instead.
pub async fn replay<D: Disk>(
    disk: &D,
    sources: Sources<'_>,
    head: &mut Head,
    pace: &mut impl Pace,
) -> Result<ReplayReport, ReplayError> {
    let Sources { logs, from, shards, owns, progress } = sources;
    let mut report =
        ReplayReport { next_segment: from.0.max(1), next_sequence: 1, ..ReplayReport::default() };
    let mut found = Vec::new();
    for (log, directory) in logs.iter().enumerate() {
        let segments = survey(disk, log, directory, pace).await?;
        if directory.own {
            let next = segments.iter().map(|segment| segment.id.0 + 1).max().unwrap_or(1);
            report.next_segment = report.next_segment.max(next);
            found.extend(
                segments.into_iter().filter(|segment| segment.id >= from && segment.shards > 0),
            );
        } else if segments.iter().any(|segment| segment.shards != 0 && segment.shards != shards) {
            found.extend(segments.into_iter().filter(|segment| segment.shards > 0));
        }
    }
    found.sort_by_key(|segment| (segment.run, segment.log, segment.id));
    let total: u64 = found.iter().map(|segment| segment.len).sum();
    let mut states: Vec<LogState> = logs.iter().map(|_| LogState::default()).collect();
    for segment in &found {
        let (Some(log), Some(state)) = (logs.get(segment.log), states.get_mut(segment.log)) else {
            continue;
        };
        let path = format!("{}/{}", log.dir, segment.id);
        let file = disk.open(&path).await.map_err(io_error(&path, "open"))?;
        let mut reader = SegmentReader::new(file, segment.id);
        let before = report.bytes;
        while let Some(batch) = reader.next(pace).await.map_err(io_error(&path, "read"))? {
            let mut damage =
                |offset, what| report.damage.push(Damage { file: path.clone(), offset, what });
            if let Some(hole) = batch.hole {
                damage(
                    hole.start,
                    format!(
                        "{} bytes that are not batches, before valid ones",
                        hole.end - hole.start
                    ),
                );
            }
            if let Some(lost) = state.lost_before(batch.header.sequence) {
                damage(
                    batch.offset,
                    format!("{lost} batches before number {} are missing", batch.header.sequence),
                );
            }
            state.sequence = Some(batch.header.sequence);
            for record in records(batch.payload) {
                match record.and_then(|record| state.apply(record, log.own, owns, head)) {
                    Ok(samples) => report.samples += samples,
                    Err(error) => {
                        damage(batch.offset, format!("{error}; the rest of the batch is skipped"))
                    }
                }
            }
            report.batches += 1;
            report.bytes = before + batch.offset;
            progress(report.bytes, total);
            pace.breathe().await;
        }
        report.bytes = before + segment.len;
        // What was read may still be on its way to the disk: whoever sends it again must not be told that it is safe
        // before it is.
        reader.file().sync().await.map_err(io_error(&path, "flush"))?;
    }
    for (log, state) in logs.iter().zip(&states) {
        if state.unknown_references > 0 {
            let what = format!(
                "{} samples of series that the log does not name",
                state.unknown_references
            );
            report.damage.push(Damage { file: log.dir.clone(), offset: 0, what });
        }
        if log.own {
            report.next_sequence = state.sequence.map_or(1, |sequence| sequence + 1);
        }
    }
    progress(total, total);
    Ok(report)
}

/// The segments of one directory. A segment's run is that of its first batch; one without a batch belongs to nobody.
async fn survey<D: Disk>(
    disk: &D,
    log: usize,
    directory: &Log,
    pace: &mut impl Pace,
) -> Result<Vec<Found>, ReplayError> {
    let dir = &directory.dir;
    let entries = disk.list(dir).await.map_err(io_error(dir, "list"))?;
    let mut found = Vec::new();
    for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
        let Some(id) = SegmentId::from_file_name(&entry.name) else { continue };
        let path = format!("{dir}/{}", entry.name);
        let file = disk.open(&path).await.map_err(io_error(&path, "open"))?;
        let first = SegmentReader::new(file, id)
            .next(pace)
            .await
            .map_err(io_error(&path, "read"))?
            .map(|b| b.header);
        let (run, shards) = first.map_or((u64::MAX, 0), |header| (header.run, header.shards));
        found.push(Found {
            run,
            shards,
            log,
            id,
            len: if first.is_some() { entry.len } else { 0 },
        });
    }
    Ok(found)
}

/// What is known while one log is read.
#[derive(Default)]
struct LogState {
    sequence: Option<u64>,
    references: ReferenceMap,
    unknown_references: u64,
}

impl LogState {
    /// How many batches are missing before the one with this number.
    fn lost_before(&self, sequence: u64) -> Option<u64> {
        let lost = sequence.checked_sub(self.sequence? + 1)?;
        (lost > 0).then_some(lost)
    }

    /// Applies one record; how many samples it held for this shard.
    fn apply(
        &mut self,
        record: Record<'_>,
        own: bool,
        owns: &dyn Fn(u64) -> bool,
        head: &mut Head,
    ) -> Result<u64, RecordError> {
        match record {
            Record::Series(series) => self.apply_series(series, own, owns, head).map(|()| 0),
            Record::Samples(samples) => Ok(self.apply_samples(samples, head)),
        }
    }

    fn apply_series(
        &mut self,
        series: SeriesRecord<'_>,
        own: bool,
        owns: &dyn Fn(u64) -> bool,
        head: &mut Head,
    ) -> Result<(), RecordError> {
        for series in series {
            let (reference, labels) = series?;
            let index = if owns(seahash::hash(labels.as_bytes())) {
                head.replay_series(labels, own.then_some(reference))
                    .unwrap_or(ReferenceMap::ELSEWHERE)
            } else {
                if own {
                    head.skip_references_to(reference);
                }
                ReferenceMap::ELSEWHERE
            };
            self.references.insert(reference, index);
        }
        Ok(())
    }

    fn apply_samples(&mut self, samples: SamplesRecord<'_>, head: &mut Head) -> u64 {
        const GROUP: usize = 32;
        let mut applied = 0;
        let mut iter = samples.iter();
        let mut group = Vec::with_capacity(GROUP);
        loop {
            // A group at a time, so that the cache misses of its series overlap.
            for logged in iter.by_ref().take(GROUP) {
                match self.references.get(logged.series) {
                    Some(ReferenceMap::ELSEWHERE) => {}
                    Some(index) => {
                        head.prefetch(index);
                        group.push((index, logged.sample));
                    }
                    None => self.unknown_references += 1,
                }
            }
            if group.is_empty() && iter.size_hint().0 == 0 {
                return applied;
            }
            applied += group.len() as u64;
            for (index, sample) in group.drain(..) {
                head.replay_sample(index, sample);
            }
        }
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
