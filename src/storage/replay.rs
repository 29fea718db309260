//! Reads checkpoints and logs back into a Head.
//!
//! A shard reads its newest checkpoint and the log behind it. When the number of shards has changed since the last start,
//! every shard reads what all former shards wrote, takes the series that are its own, and saves them as its first
//! checkpoint in the new layout; see [`Layout`].
//! What the disk does not give is damage, too: the file is kept aside as it is, and the start goes on without it.
//! Reading never repairs. A torn tail is expected; a hole before the tail, a gap in the sequence or a record that cannot
//! be read is damage: it is reported, and costs what it covers.

use std::cell::RefCell;
use std::collections::BTreeSet;

use ulid::Ulid;

use crate::encoding::batch::disk_bytes;
use crate::encoding::record::{CutRecord, records};
use crate::io::{Disk, File, Pace, may_pass};
use crate::storage::checkpoint::{self, CheckpointId};
use crate::storage::head::Head;
use crate::storage::head::cut::Truncation;
use crate::storage::head::remove::Removal;
use crate::storage::head::spill::{self, SpillFiles};
use crate::storage::replay_state::{Applied, LogState};
use crate::storage::wal::SegmentId;
use crate::storage::wal::segment::{Hole, SegmentReader};

/// Where one shard's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Its log segments.
    pub wal: String,
    /// Its checkpoints.
    pub head: String,
    /// Its files that were found damaged.
    pub quarantine: String,
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
    /// then get new names, in this shard's new log.
    pub owns: Option<&'a dyn Fn(u64) -> bool>,
    /// Does this shard tell of the damage in the directories at this place in `dirs`? In a start that changes the number
    /// of shards all read them, and one tells.
    pub tells: &'a dyn Fn(usize) -> bool,
    /// Did the block of this name come into being? That is: is it among the sources of any block there is, of any shard?
    pub is_published: &'a dyn Fn(Ulid) -> bool,
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
    /// The files that have the damage: worth keeping for who can read more out of them.
    pub keep: Vec<String>,
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
    /// The spill files that the newest checkpoint refers to, whether the Head still needs them or not.
    pub spill_files: BTreeSet<u32>,
    /// What was acknowledged and cannot be read.
    pub damage: Vec<Damage>,
    /// Could a file that was read not be flushed? Then power loss may take what was read, unless it is saved anew.
    pub is_in_doubt: bool,
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

/// Series that are truncated without a pause.
const SERIES_AT_ONCE: usize = 256;
/// Steps of a removal without a pause.
const REMOVAL_UNITS: usize = 20_000;

/// A file that is to be read.
pub(super) struct Found {
    pub(super) is_segment: bool,
    pub(super) id: SegmentId,
    pub(super) path: String,
    pub(super) len: u64,
}

impl Found {
    /// What is wrong with a file whose last batch ends at `end`. Behind that of a segment may be anything; a checkpoint has its
    /// name when it is whole, and is as long as its batches.
    pub(super) fn lacks_behind(&self, end: u64) -> Option<Damage> {
        if self.is_segment || end >= self.len {
            return None;
        }
        let what = format!("{} bytes at the end that are not batches", self.len - end);
        Some(Damage { file: self.path.clone(), offset: end, what, keep: vec![self.path.clone()] })
    }
}

/// Reads the files back into `head` and makes what was read durable.
///
/// - `spill`: this shard's own spill files. In a start that changes the number of shards the chunks that are in those of the
///   former shards go into it, so that memory does not hold them all.
///
/// # Errors
/// A disk that does not read. Damage is in the report instead.
pub async fn replay<D: Disk>(
    disk: &D,
    sources: Sources<'_>,
    spill: &SpillFiles<D>,
    head: &RefCell<Head>,
    pace: &mut impl Pace,
) -> Result<ReplayReport, ReplayError> {
    let Sources { dirs, layout, owns, tells, is_published, progress } = sources;
    let mut report = ReplayReport { next_sequence: 1, ..ReplayReport::default() };
    let (mut logs, mut damage) = (Vec::new(), Vec::new());
    for (index, dirs) in dirs.iter().enumerate() {
        let first = (index == 0).then_some(&mut report);
        let (log, found) = survey(disk, dirs, layout, first, pace).await?;
        if tells(index) {
            damage.extend(found);
        }
        logs.push((dirs, log));
    }
    report.damage = damage;
    let mut may_have_empty = false;
    let total: u64 = logs.iter().flat_map(|(_, log)| &log.files).map(|file| file.len).sum();
    for (index, (dirs, Log { files, batchless, mut state })) in logs.into_iter().enumerate() {
        let tells = tells(index);
        let mut before: Option<Found> = None;
        let former = SpillFiles::of(disk.clone(), dirs.head.clone());
        let listed = spill::list(disk, &dirs.head).await;
        state.spill_files = listed.map_err(io_error(&dirs.head, "list"))?;
        for found in files {
            let file = match open_file(disk, &found.path).await? {
                Ok(file) => file,
                Err(damaged) => {
                    report.damage.extend(tells.then_some(damaged));
                    continue;
                }
            };
            let mut reader = SegmentReader::new(file, found.id);
            let (bytes_before, mut end) = (report.bytes, 0);
            while let Some(batch) =
                reader.next(pace).await.map_err(io_error(&found.path, "read"))?
            {
                let mut damage = |offset, what, keep| {
                    if tells {
                        report.damage.push(Damage { file: found.path.clone(), offset, what, keep });
                    }
                };
                if let Some(Hole { start, end }) = batch.hole {
                    let what =
                        format!("{} bytes that are not batches, before valid ones", end - start);
                    damage(start, what, vec![found.path.clone()]);
                }
                let number = batch.header.sequence;
                if found.is_segment
                    && let Some(lost) = state.follow(number)
                {
                    let what = format!("{lost} batches before number {number} are missing");
                    let keep = match batch.hole {
                        Some(_) => vec![found.path.clone()],
                        None => suspects(before.as_ref(), &found, &batchless),
                    };
                    damage(batch.offset, what, keep);
                }
                for record in records(batch.payload) {
                    let applied =
                        record.and_then(|record| state.apply(record, owns, &mut head.borrow_mut()));
                    match applied {
                        Ok(Applied::Samples(samples)) => report.samples += samples,
                        Ok(Applied::Elsewhere(chunks)) => {
                            state.take_over(&chunks, &former, spill, head, pace).await;
                        }
                        Ok(Applied::Deleted(indexes, range)) => {
                            state.delete(&indexes, range, spill, head, pace).await;
                            may_have_empty = true;
                        }
                        Ok(Applied::Cut(cut)) if is_published(cut.ulid) => {
                            let only = owns.map(|_| state.references.indexes());
                            forget(cut, only, head, pace).await;
                            may_have_empty = true;
                        }
                        Ok(Applied::Cut(_)) => {} // what it was to hold is still here
                        Err(error) => damage(
                            batch.offset,
                            format!("{error}; the rest of the batch is skipped"),
                            vec![found.path.clone()],
                        ),
                    }
                }
                report.batches += 1;
                end = batch.offset + disk_bytes(batch.payload.len()) as u64;
                report.bytes = bytes_before + batch.offset;
                progress(report.bytes, total);
                pace.breathe().await;
            }
            report.bytes = bytes_before + found.len;
            let lacks = unread(&reader, &found.path).or_else(|| found.lacks_behind(end));
            report.damage.extend(lacks.filter(|_| tells));
            // What was read may still be on its way to the disk: whoever sends it again must not be told that it is
            // safe before it is.
            match reader.file().sync().await {
                Ok(()) => {}
                Err(error) if may_pass(&error) => {
                    return Err(io_error(&found.path, "flush")(error));
                }
                Err(_) => report.is_in_doubt = true,
            }
            before = Some(found).filter(|found| found.is_segment);
        }
        if owns.is_none() {
            report.spill_files.append(&mut state.spill_files_named);
        }
        for what in state.lost(tells) {
            let (file, keep) = (dirs.wal.clone(), state.spill_keep.iter().cloned().collect());
            report.damage.push(Damage { file, offset: 0, what, keep });
        }
        if index == 0 {
            report.next_sequence = state.sequence.map_or(1, |sequence| sequence + 1);
        }
    }
    head.borrow_mut().finish_replay();
    if may_have_empty {
        let empty = head.borrow().empty_series().collect();
        let mut removal = Removal::of(empty);
        while !head.borrow_mut().remove_some(&mut removal, REMOVAL_UNITS) {
            pace.breathe().await;
        }
    }
    progress(total, total);
    Ok(report)
}

/// Opens a file; or what it costs that the disk does not.
async fn open_file<D: Disk>(disk: &D, path: &str) -> Result<Result<D::File, Damage>, ReplayError> {
    match disk.open(path).await {
        Ok(file) => Ok(Ok(file)),
        Err(error) if may_pass(&error) => Err(io_error(path, "open")(error)),
        Err(error) => {
            let what = format!("cannot be opened: {error}; what only it held is lost");
            let (file, keep) = (path.to_owned(), vec![path.to_owned()]);
            Ok(Err(Damage { file, offset: 0, what, keep }))
        }
    }
}

/// What of the file at `path` could not be read, and may have been acknowledged.
pub(super) fn unread<F: File>(reader: &SegmentReader<F>, path: &str) -> Option<Damage> {
    let unread = reader.unread()?;
    let (file, keep) = (path.to_owned(), vec![path.to_owned()]);
    Some(Damage { file, offset: unread.start, what: unread.to_string(), keep })
}

/// The files that may have held the batches that are missing before the first one of `found`: segments in which there is
/// none at all, or else the end of the segment before.
fn suspects(before: Option<&Found>, found: &Found, batchless: &[Found]) -> Vec<String> {
    let between = batchless
        .iter()
        .filter(|file| file.id < found.id && before.is_none_or(|before| before.id < file.id));
    let between: Vec<String> = between.map(|file| file.path.clone()).collect();
    match before {
        Some(before) if between.is_empty() => vec![before.path.clone()],
        _ => between,
    }
}

/// Drops what was read so far, of the series `only` or of all, and is in a block. Series that have nothing left stay until
/// everything is read: later records may still refer to them.
async fn forget(
    cut: CutRecord,
    only: Option<Vec<u32>>,
    head: &RefCell<Head>,
    pace: &mut impl Pace,
) {
    head.borrow_mut().finish_replay();
    let mut truncation = Truncation::replayed(&head.borrow(), cut, only);
    while !head.borrow_mut().truncate_some(&mut truncation, SERIES_AT_ONCE) {
        pace.breathe().await;
    }
    head.borrow_mut().raise_min_valid(cut.range.end());
}

/// One shard's checkpoint and log, before they are read.
#[derive(Default)]
pub(super) struct Log {
    /// The newest checkpoint, and the segments behind that.
    pub(super) files: Vec<Found>,
    /// Segments behind it in which no batch can be read.
    batchless: Vec<Found>,
    pub(super) state: LogState,
}

/// The files of one shard that are needed, and the damage that can be seen at once.
pub(super) async fn survey<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    layout: Layout,
    report: Option<&mut ReplayReport>,
    pace: &mut impl Pace,
) -> Result<(Log, Vec<Damage>), ReplayError> {
    let (mut log, mut damage) = (Log::default(), Vec::new());
    let mut from = SegmentId(0);
    let newest =
        checkpoint::newest(disk, &dirs.head, |shards, run| layout.has(shards, run), pace).await;
    let (newest, unreadable) = newest.map_err(io_error(&dirs.head, "read"))?;
    for id in unreadable {
        let what = "nothing in this checkpoint can be read; what only it held is lost".to_owned();
        let file = id.path(&dirs.head);
        damage.push(Damage { keep: vec![file.clone()], file, offset: 0, what });
    }
    if let Some(checkpoint) = newest {
        // Where the log goes on is in the first batch. If that is damaged, all that is left of the log lies behind it.
        from = SegmentId(checkpoint.log.map_or(0, |log| log.first_segment));
        log.state.sequence = checkpoint.log.and_then(|log| log.next_sequence.checked_sub(1));
        let (path, id) = (checkpoint.id.path(&dirs.head), SegmentId(checkpoint.id.0));
        log.files.push(Found { is_segment: false, id, path, len: checkpoint.len });
    }
    let mut log_bytes = 0;
    let entries = disk.list(&dirs.wal).await.map_err(io_error(&dirs.wal, "list"))?;
    for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
        let Some(id) = SegmentId::from_file_name(&entry.name).filter(|id| *id >= from) else {
            continue;
        };
        let path = format!("{}/{}", dirs.wal, entry.name);
        let file = match open_file(disk, &path).await? {
            Ok(file) => file,
            Err(damaged) => {
                damage.push(damaged);
                continue;
            }
        };
        let mut reader = SegmentReader::new(file, id);
        let first =
            reader.next(pace).await.map_err(io_error(&path, "read"))?.map(|batch| batch.header);
        let found = Found { is_segment: true, id, path, len: entry.len };
        match first {
            Some(header) if layout.has(header.shards, header.run) => {
                log_bytes += entry.len;
                log.files.push(found);
            }
            Some(_) => {}
            // It was begun when the process ended: nobody was told of anything in it. Unless batches are missing.
            None => {
                damage.extend(unread(&reader, &found.path));
                log.batchless.push(found);
            }
        }
    }
    if let Some(report) = report {
        report.checkpoint = newest.map(|checkpoint| checkpoint.id);
        report.checkpoint_bytes = newest.map_or(0, |checkpoint| checkpoint.len);
        report.log_bytes = log_bytes;
        report.first_segment = from.0;
    }
    log.files.sort_by_key(|file| (file.is_segment, file.id));
    Ok((log, damage))
}
