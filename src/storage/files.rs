//! One shard's files from start to start: read back, tidied up, cut by checkpoints.
//!
//! A start has two halves. [`begin`] reads the data back; if the number of shards has changed it also saves what it took
//! from the former shards as the first checkpoint of the new [`Layout`]. When every shard has begun, the caller makes the
//! new layout durable; until then a crash leaves the old one in force. [`Begun::finish`] then removes what is not needed
//! any more and opens the log for writing.
//!
//! After a write or a flush of the log that failed, the same process reads it back with [`begin_again`]: what is read then may
//! be in the kernel's memory only, so all of it is saved anew before anything relies on it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ulid::Ulid;

use crate::encoding::batch::BatchHeader;
use crate::encoding::record::CheckpointRecord;
use crate::io::{Disk, Pace};
use crate::model::Fingerprinter;
use crate::storage::checkpoint::{self, CheckpointId};
use crate::storage::head::Head;
use crate::storage::head::saved::Saving;
use crate::storage::head::spill::SpillFiles;
use crate::storage::quarantine::{self, Marked};
use crate::storage::replay::{Damage, Dirs, Layout, ReplayError, ReplayReport, Sources, replay};
use crate::storage::wal::{SegmentId, Spares, SyncMode, WalOptions, WalWriter};

/// What a shard has to know of its files.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Which shard this is.
    pub shard: u16,
    /// How many there are in this run.
    pub shards: u16,
    /// How often the data directory has been started, this time included.
    pub run: u64,
    /// Which files hold the data.
    pub layout: Layout,
    /// Length of a log segment in bytes, a multiple of 4 KiB.
    pub segment_bytes: u64,
    /// When a commit counts as done.
    pub sync: SyncMode,
    /// How many exemplars are kept: no more are read back.
    pub exemplars_max: usize,
    /// The time since some moment, which only grows: flushes of the log are measured by it.
    pub stopwatch: fn() -> Duration,
}

/// Why a shard's files cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// They cannot be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// They cannot be written, or not be listed.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// Where.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// What a process that still runs has acknowledged cannot be read back.
    #[error("{damage}; start the server anew to go on without it")]
    Acknowledged {
        /// The first of it.
        damage: String,
    },
}

fn io_error(path: &str, action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { path: path.to_owned(), action, source }
}

/// The directory of one shard.
#[must_use]
pub fn shard_dir(shard: u16) -> String {
    format!("shard-{shard:03}")
}

/// The directories below that.
#[must_use]
pub fn dirs(shard: u16) -> Dirs {
    let dir = |of: &str| format!("{}/{of}", shard_dir(shard));
    Dirs { wal: dir("wal"), head: dir("head"), quarantine: dir("quarantine") }
}

/// A start that has read the data back.
pub struct Begun<D: Disk> {
    /// The data. It takes no late samples until it is told how late they may be.
    pub head: Head,
    /// What was found.
    pub report: ReplayReport,
    disk: D,
    options: FileOptions,
    salts: Fingerprinter,
    /// Where the log goes on.
    log: CheckpointRecord,
    /// Log segments below this are not needed any more.
    first_needed: SegmentId,
    spill: SpillFiles<D>,
}

/// Reads the data back, when the process starts.
///
/// - `owns`: does the series with this routing hash belong to this shard?
/// - `is_published`: is a block of this name among the sources of any block there is, of any shard?
/// - `progress`: told bytes read and bytes in all.
///
/// # Errors
/// A disk that does not read or write. Damage is in the report.
pub async fn begin<D: Disk>(
    disk: D,
    options: FileOptions,
    fingerprinter: Fingerprinter,
    owns: &dyn Fn(u64) -> bool,
    is_published: &dyn Fn(Ulid) -> bool,
    progress: &dyn Fn(u64, u64),
    pace: &mut impl Pace,
) -> Result<Begun<D>, OpenError> {
    let told = Told { owns, is_published, progress };
    read_back(disk, options, fingerprinter, told, false, pace).await
}

/// Reads the data back in a process whose log has failed; nobody writes to it any more. The log's last batch, for which
/// nobody was told that it is safe, may be there, be torn, or seem to be there because the kernel still has it although the
/// flush was in vain. So a checkpoint holds everything when this returns, and what was read is never needed again: neither it
/// nor a second flush of it is relied on.
///
/// # Errors
/// As [`begin`], a disk without room for the checkpoint, and damage: what was acknowledged is known to the former Head, and
/// must not be lost by going on without it. It may be tried again.
pub async fn begin_again<D: Disk>(
    disk: D,
    options: FileOptions,
    fingerprinter: Fingerprinter,
    is_published: &dyn Fn(Ulid) -> bool,
    progress: &dyn Fn(u64, u64),
    pace: &mut impl Pace,
) -> Result<Begun<D>, OpenError> {
    assert!(
        options.layout.shards == options.shards,
        "the layout was changed when the process started"
    );
    let told = Told { owns: &|_| true, is_published, progress };
    read_back(disk, options, fingerprinter, told, true, pace).await
}

/// What the caller of a start knows, and is told.
struct Told<'a> {
    owns: &'a dyn Fn(u64) -> bool,
    is_published: &'a dyn Fn(Ulid) -> bool,
    progress: &'a dyn Fn(u64, u64),
}

/// - `in_doubt`: is what is read not to be relied on until it is written anew?
async fn read_back<D: Disk>(
    disk: D,
    options: FileOptions,
    fingerprinter: Fingerprinter,
    Told { owns, is_published, progress }: Told<'_>,
    in_doubt: bool,
    pace: &mut impl Pace,
) -> Result<Begun<D>, OpenError> {
    let own = dirs(options.shard);
    for dir in [&own.wal, &own.head] {
        disk.create_dir(dir).await.map_err(io_error(dir, "make the directory"))?;
    }
    let changes = options.layout.shards != options.shards;
    let former =
        if changes { (0..options.layout.shards).map(dirs).collect() } else { vec![own.clone()] };
    // Each former shard's damage is told once, by one of the shards that read it.
    let tells = |index: usize| {
        !changes || index % usize::from(options.shards) == usize::from(options.shard)
    };
    let owns = changes.then_some(owns);
    let sources = Sources {
        dirs: &former,
        layout: options.layout,
        owns,
        tells: &tells,
        is_published,
        progress,
    };
    let spill = SpillFiles::open(disk.clone(), own.head.clone()).await;
    let spill = spill.map_err(io_error(&own.head, "list"))?;
    let mut head = Head::new(fingerprinter.clone());
    head.set_exemplars_max(options.exemplars_max);
    let head = RefCell::new(head);
    let mut report = replay(&disk, sources, &spill, &head, pace).await?;
    if in_doubt && let Some(damage) = report.damage.first() {
        // The former Head has it all, and answers. Who goes on without a part of the log makes that part lost.
        return Err(OpenError::Acknowledged { damage: damage.to_string() });
    }
    report.is_in_doubt |= in_doubt;
    for dir in [&own.wal, &own.head] {
        // A process that was killed between naming a checkpoint and making the name durable leaves a name that power
        // loss can still take. What is freed from here on relies on it.
        disk.sync_dir(dir).await.map_err(io_error(dir, "flush the directory"))?;
    }
    let entries = disk.list(&own.wal).await.map_err(io_error(&own.wal, "list"))?;
    let last = entries.iter().filter_map(|entry| SegmentId::from_file_name(&entry.name)).max();
    let next_segment = last.map_or(1, |last| last.0 + 1).max(report.first_segment);
    let mut log =
        CheckpointRecord { first_segment: next_segment, next_sequence: report.next_sequence };
    let mut first_needed = SegmentId(report.first_segment);
    let is_damaged = !report.damage.is_empty();
    // A disk that is full as well must not stop the start: then the next one tells all of this again.
    let untold = |file: &str, action: &str, error: io::Error| Damage {
        file: file.to_owned(),
        offset: 0,
        what: format!("cannot {action}: {error}"),
        keep: Vec::new(),
    };
    if is_damaged && let Err(error) = quarantine::mark(&disk, &report.damage, options.run).await {
        report.damage.push(untold(&own.quarantine, "mark damaged files", error));
    }
    if changes {
        log.next_sequence = 1;
    }
    // After damage, too: then nothing needs the damaged files any more, and it is told only once.
    if changes || is_damaged || report.is_in_doubt {
        let saved = save(&disk, &own.head, &options, &fingerprinter, log, &head, pace).await;
        match saved {
            Ok((id, bytes)) => {
                report.checkpoint = Some(id);
                (report.checkpoint_bytes, report.log_bytes) = (bytes, 0);
                report.spill_files = head.borrow().spill_files();
                first_needed = SegmentId(next_segment);
            }
            Err(error) if !changes && !report.is_in_doubt => {
                report.damage.push(untold(&own.head, "write a checkpoint without it", error));
            }
            Err(error) => return Err(io_error(&own.head, "write a checkpoint")(error)),
        }
    }
    let head = head.into_inner();
    Ok(Begun { head, report, disk, options, salts: fingerprinter, log, first_needed, spill })
}

/// Saves all of a Head, series by series; gives the checkpoint and its length in bytes.
async fn save<D: Disk>(
    disk: &D,
    dir: &str,
    options: &FileOptions,
    salts: &Fingerprinter,
    log: CheckpointRecord,
    head: &RefCell<Head>,
    pace: &mut impl Pace,
) -> io::Result<(CheckpointId, u64)> {
    let id = checkpoint::next_id(disk, dir).await?;
    let mut saving = Saving::begin(&head.borrow());
    let save = |bytes, payload: &mut Vec<u8>| {
        saving = head.borrow().save(saving, bytes, payload);
        !saving.is_done()
    };
    let header = header(options, salts, id);
    Ok((id, checkpoint::write(disk, dir, header, log, save, pace).await?))
}

fn header(options: &FileOptions, salts: &Fingerprinter, id: CheckpointId) -> BatchHeader {
    let salt = salts.keyed(&[b"checkpoint".as_slice(), &id.0.to_le_bytes()].concat());
    BatchHeader { shards: options.shards, segment: id.0, run: options.run, salt, sequence: 0 }
}

impl<D: Disk> Begun<D> {
    /// Removes what is not needed any more and opens the log for writing. Every shard has begun, and if the number of
    /// shards has changed, the new layout is durable.
    ///
    /// # Errors
    /// A disk that does not write.
    pub async fn finish(self) -> Result<(Head, Files<D>, WalWriter<D>, ReplayReport), OpenError> {
        let Self { head, report, disk, options, salts, log, first_needed, spill } = self;
        let own = dirs(options.shard);
        let marked = Marked::find(&disk, &own.quarantine).await;
        let marked = marked.map_err(io_error(&own.quarantine, "list"))?;
        checkpoint::tidy(&disk, &own.head, report.checkpoint, &marked)
            .await
            .map_err(io_error(&own.head, "tidy up"))?;
        // The next start may read the same checkpoint again.
        let needed = report.spill_files.union(&head.spill_files()).copied().collect();
        spill.remove_unused(&needed, &marked).await.map_err(io_error(&own.head, "tidy up"))?;
        let durable = options.sync == SyncMode::Always;
        let spares =
            Spares::open(disk.clone(), own.wal.clone(), options.segment_bytes, durable).await;
        let spares = Rc::new(spares.map_err(io_error(&own.wal, "tidy up"))?);
        let files = Files {
            disk,
            own,
            salts: salts.clone(),
            spares: Rc::clone(&spares),
            checkpoint_bytes: Cell::new(report.checkpoint_bytes),
            checkpoints: Cell::default(),
            spill: Rc::new(spill),
            options: options.clone(),
        };
        let wal = &files.own.wal;
        files.free_segments_before(first_needed).await.map_err(io_error(wal, "tidy up"))?;
        files.remove_former_shards().await.map_err(io_error(wal, "remove former shards' files"))?;
        let wal_options = WalOptions {
            dir: wal.clone(),
            segment_bytes: options.segment_bytes,
            sync: options.sync,
            shards: options.shards,
            run: options.run,
            salts,
            stopwatch: options.stopwatch,
        };
        let writer =
            WalWriter::new(wal_options, spares, SegmentId(log.first_segment), log.next_sequence);
        Ok((head, files, writer, report))
    }
}

/// One shard's files while it runs.
pub struct Files<D: Disk> {
    disk: D,
    own: Dirs,
    options: FileOptions,
    salts: Fingerprinter,
    spares: Rc<Spares<D>>,
    checkpoint_bytes: Cell<u64>,
    checkpoints: Cell<CheckpointCounts>,
    spill: Rc<SpillFiles<D>>,
}

/// What has become of checkpoints since the files were opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointCounts {
    /// They were written, and are durable.
    pub written: u64,
    /// They were removed, because a newer one covers what they did.
    pub deleted: u64,
    /// Times that old ones could not be removed.
    pub deletion_failures: u64,
}

impl<D: Disk> Files<D> {
    /// Writes a checkpoint and frees what it covers.
    ///
    /// - `log`: where the log was cut before the first series is saved.
    /// - `head`: none of its chunks is dropped, and none leaves memory, until this has ended.
    ///
    /// # Errors
    /// Those of the disk; then everything that was there before is there still.
    pub async fn checkpoint(
        &self,
        log: CheckpointRecord,
        head: &RefCell<Head>,
        pace: &mut impl Pace,
    ) -> io::Result<()> {
        let (disk, dir) = (&self.disk, &self.own.head);
        let saving = save(disk, dir, &self.options, &self.salts, log, head, pace);
        let (id, bytes) = saving.await?;
        self.checkpoint_bytes.set(bytes);
        let mut counts = self.checkpoints.get();
        counts.written += 1;
        self.checkpoints.set(counts);
        let marked = Marked::find(&self.disk, &self.own.quarantine).await?;
        let tidied = checkpoint::tidy(&self.disk, &self.own.head, Some(id), &marked).await;
        counts.deleted += tidied.as_ref().copied().unwrap_or_default();
        counts.deletion_failures += u64::from(tidied.is_err());
        self.checkpoints.set(counts);
        tidied?;
        let needed = head.borrow().spill_files();
        self.spill.remove_unused(&needed, &marked).await?;
        self.free_segments_before(SegmentId(log.first_segment)).await
    }

    /// The files of chunks that have left memory.
    pub fn spill(&self) -> &Rc<SpillFiles<D>> {
        &self.spill
    }

    /// The files that wait to become segments.
    pub fn spares(&self) -> &Rc<Spares<D>> {
        &self.spares
    }

    /// Length of the newest checkpoint in bytes.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_bytes.get()
    }

    /// What has become of checkpoints.
    pub fn checkpoint_counts(&self) -> CheckpointCounts {
        self.checkpoints.get()
    }

    async fn free_segments_before(&self, first_needed: SegmentId) -> io::Result<()> {
        let marked = Marked::find(&self.disk, &self.own.quarantine).await?;
        for entry in self.disk.list(&self.own.wal).await? {
            let id = SegmentId::from_file_name(&entry.name).filter(|id| *id < first_needed);
            match (id, marked.place_of(&entry.name)) {
                (Some(id), Some(place)) => self.spares.set_aside(id, &place).await?,
                (Some(id), None) => self.spares.give_back(id).await?,
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// Shards that are no more leave directories behind; each shard there is removes its share of them.
    async fn remove_former_shards(&self) -> io::Result<()> {
        let entries = self.disk.list("").await?;
        let shards = entries
            .iter()
            .filter_map(|entry| entry.name.strip_prefix("shard-")?.parse::<u16>().ok());
        let former: BTreeSet<u16> = shards.filter(|shard| *shard >= self.options.shards).collect();
        for shard in
            former.into_iter().filter(|shard| shard % self.options.shards == self.options.shard)
        {
            let Dirs { wal, head, quarantine } = dirs(shard);
            let marked = Marked::find(&self.disk, &quarantine).await?;
            for dir in [&wal, &head] {
                for entry in self.disk.list(dir).await?.into_iter().filter(|entry| !entry.is_dir) {
                    let path = format!("{dir}/{}", entry.name);
                    match marked.place_of(&entry.name) {
                        Some(place) => self.disk.rename(&path, &place).await?,
                        None => self.disk.remove(&path).await?,
                    }
                }
            }
            for dir in [&wal, &head, &shard_dir(shard)] {
                match self.disk.remove_dir(dir).await {
                    // Damaged files are kept there, or something that is not ours; or somebody was faster.
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                        ) => {}
                    removed => removed?,
                }
            }
        }
        Ok(())
    }
}
