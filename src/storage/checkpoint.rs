//! A checkpoint: what a Head holds, so that the log before it is needed no more.
//!
//! ```text
//! shard-000/head/
//! ├── checkpoint-00000004    batches as in the log (`encoding::batch`), whose segment number is the checkpoint's own;
//! │                          the first record says where the log goes on (`encoding::record`, kinds 1 and 16 to 18)
//! └── checkpoint.tmp         one that is being written, or was when the process ended
//! ```
//! It is written while the shard goes on: series by series, each as it is at that moment. Samples that come meanwhile are
//! in the log behind it, and some of them in the checkpoint too; replay passes over those that it has already.
//! Invariants: a checkpoint has its name only when it is whole and durable; the one before it, and the log that it
//! covers, go only after that.

use std::io;
use std::time::Duration;

use crate::encoding::batch::{self, BatchHeader};
use crate::encoding::record::{self, CheckpointRecord, Record, records};
use crate::io::{Disk, File, Pace, may_pass};
use crate::model::refusal::LABEL_BYTES_MAX;
use crate::storage::quarantine::Marked;
use crate::storage::wal::{SegmentId, SegmentReader};

/// A batch of a checkpoint that has reached this is written, in bytes.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes that are gathered without a pause: some 100 us.
const SAVE_BYTES: usize = 64 << 10;
const PREFIX: &str = "checkpoint-";
const TEMPORARY: &str = "checkpoint.tmp";

/// Numbers a shard's checkpoints upward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointId(pub u64);

impl CheckpointId {
    /// The path of the checkpoint within the directory `dir`.
    #[must_use]
    pub fn path(self, dir: &str) -> String {
        format!("{dir}/{PREFIX}{:08}", self.0)
    }

    fn from_file_name(name: &str) -> Option<Self> {
        name.strip_prefix(PREFIX)?.parse().ok().map(Self)
    }
}

/// A checkpoint on disk.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its number.
    pub id: CheckpointId,
    /// Its length in bytes.
    pub len: u64,
    /// Where the log goes on; `None` if the damage of the file covers that.
    pub log: Option<CheckpointRecord>,
}

/// The newest checkpoint in `dir` that holds anything and was written by such a start as `is_wanted` says, given how many
/// shards it had and which run it was; and those in which nothing can be read. A checkpoint has its name when it is whole:
/// what cannot be read is damage.
///
/// # Errors
/// Those of the disk.
pub async fn newest<D: Disk>(
    disk: &D,
    dir: &str,
    is_wanted: impl Fn(u16, u64) -> bool,
    pace: &mut impl Pace,
) -> io::Result<(Option<Found>, Vec<CheckpointId>)> {
    let entries = disk.list(dir).await?;
    let mut ids: Vec<CheckpointId> =
        entries.iter().filter_map(|entry| CheckpointId::from_file_name(&entry.name)).collect();
    ids.sort_unstable();
    let mut unreadable = Vec::new();
    for id in ids.into_iter().rev() {
        let file = match disk.open(&id.path(dir)).await {
            Err(error) if may_pass(&error) => return Err(error),
            Err(_) => {
                unreadable.push(id);
                continue;
            }
            Ok(file) => file,
        };
        let len = file.len();
        let mut reader = SegmentReader::new(file, SegmentId(id.0));
        let Some(first) = reader.next(pace).await? else {
            unreadable.push(id);
            continue;
        };
        if is_wanted(first.header.shards, first.header.run) {
            let log = match records(first.payload).next() {
                Some(Ok(Record::Checkpoint(log))) => Some(log),
                _ => None,
            };
            return Ok((Some(Found { id, len, log }), unreadable));
        }
    }
    Ok((None, unreadable))
}

/// The number that follows those of all checkpoints in `dir`, whoever wrote them.
///
/// # Errors
/// Those of the disk.
pub async fn next_id<D: Disk>(disk: &D, dir: &str) -> io::Result<CheckpointId> {
    let entries = disk.list(dir).await?;
    let last = entries.iter().filter_map(|entry| CheckpointId::from_file_name(&entry.name)).max();
    Ok(CheckpointId(last.map_or(1, |last| last.0 + 1)))
}

/// Writes the checkpoint `header.segment` into `dir` and gives it its name; its length in bytes.
///
/// - `header`: its sequence does not matter.
/// - `save`: appends the next records, some of the given number of bytes, to a payload; is there more?
///
/// # Errors
/// Those of the disk; then nothing has changed but a temporary file.
pub async fn write<D: Disk>(
    disk: &D,
    dir: &str,
    header: BatchHeader,
    log: CheckpointRecord,
    mut save: impl FnMut(usize, &mut Vec<u8>) -> bool,
    pace: &mut impl Pace,
) -> io::Result<u64> {
    remove_temporary(disk, dir).await?;
    let temporary = format!("{dir}/{TEMPORARY}");
    let file = disk.create(&temporary, 0).await?;
    let (mut buffer, mut offset, mut sequence) = (vec![0; batch::HEADER_BYTES], 0, 0);
    record::push_checkpoint(&mut buffer, log);
    let mut more = true;
    while more {
        more = save(SAVE_BYTES, &mut buffer);
        pace.breathe().await;
        if buffer.len() >= BATCH_BYTES || !more {
            sequence += 1;
            batch::seal(&mut buffer, BatchHeader { sequence, ..header });
            file.write_at(&buffer, offset).await?;
            offset += buffer.len() as u64;
            buffer.clear();
            buffer.resize(batch::HEADER_BYTES, 0);
        }
    }
    file.sync().await?;
    disk.rename(&temporary, &CheckpointId(header.segment).path(dir)).await?;
    disk.sync_dir(dir).await?;
    Ok(offset)
}

/// Removes every checkpoint in `dir` but `keep`, and what is left of one that was not finished. Those that are marked as
/// damaged are moved to their place. How many checkpoints went.
///
/// # Errors
/// Those of the disk.
pub async fn tidy<D: Disk>(
    disk: &D,
    dir: &str,
    keep: Option<CheckpointId>,
    marked: &Marked,
) -> io::Result<u64> {
    remove_temporary(disk, dir).await?;
    let mut removed = 0;
    for entry in disk.list(dir).await? {
        if let Some(id) = CheckpointId::from_file_name(&entry.name)
            && Some(id) != keep
        {
            match marked.place_of(&entry.name) {
                Some(place) => disk.rename(&id.path(dir), &place).await?,
                None => disk.remove(&id.path(dir)).await?,
            }
            removed += 1;
        }
    }
    Ok(removed)
}

async fn remove_temporary<D: Disk>(disk: &D, dir: &str) -> io::Result<()> {
    match disk.remove(&format!("{dir}/{TEMPORARY}")).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Is it time for a checkpoint? When the log since the last one is several times as long as that: then writing it costs
/// a fraction of what the log did, and replay reads a few times what the Head holds at most. Or when it is half as long and
/// the shard has done other things for long enough: then it bounds the time of a restart, and costs a few parts in a
/// hundred.
///
/// - `log_bytes_max`: with a longer log writes would be held back; it is time at half of that, however long the last one is.
/// - `since_last`: the time since the last one began.
/// - `last_took`: how long that took.
#[must_use]
pub fn is_due(
    log_bytes: u64,
    checkpoint_bytes: u64,
    log_bytes_max: u64,
    since_last: Duration,
    last_took: Duration,
) -> bool {
    const TIMES: u64 = 3;
    const LOG_BYTES_MIN: u64 = 256 << 20;
    const SOON_LOG_BYTES_MIN: u64 = 64 << 20;
    const REST_TIMES: u32 = 20;
    let times = LOG_BYTES_MIN.max(checkpoint_bytes.saturating_mul(TIMES));
    log_bytes >= times.min(log_bytes_max / 2)
        || log_bytes >= SOON_LOG_BYTES_MIN.max(checkpoint_bytes / 2)
            && since_last >= last_took.saturating_mul(REST_TIMES)
}

const _: () = assert!(
    BATCH_BYTES + SAVE_BYTES + 2 * LABEL_BYTES_MAX < batch::PAYLOAD_BYTES_MAX,
    "what is gathered at once fits a batch that is nearly full"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_when_the_log_is_several_times_as_long() {
        let (now, a_second) = (Duration::ZERO, Duration::from_secs(1));
        let is_due = |log, checkpoint| is_due(log, checkpoint, u64::MAX, now, a_second);
        assert!(!is_due(255 << 20, 0));
        assert!(is_due(256 << 20, 0));
        assert!(!is_due(2 << 30, 1 << 30));
        assert!(is_due(3 << 30, 1 << 30));
    }

    #[test] // else writes could be held back for want of it, and for good
    fn a_checkpoint_is_due_before_writes_are_held_back_however_long_the_last_one_is() {
        let is_due = |log| is_due(log, 1 << 40, 2 << 30, Duration::ZERO, Duration::from_secs(1));
        assert!(!is_due((1 << 30) - 1));
        assert!(is_due(1 << 30));
    }

    #[test]
    fn a_checkpoint_is_due_earlier_when_the_last_one_is_long_ago_against_its_cost() {
        let is_due = |log, since| {
            let (since, took) = (Duration::from_secs(since), Duration::from_secs(2));
            is_due(log, 1 << 30, u64::MAX, since, took)
        };
        assert!(!is_due(512 << 20, 39));
        assert!(is_due(512 << 20, 40));
        assert!(!is_due(511 << 20, 1000));
        let long = Duration::from_secs(1 << 20);
        assert!(!super::is_due(63 << 20, 0, u64::MAX, long, Duration::ZERO));
        assert!(super::is_due(64 << 20, 0, u64::MAX, long, Duration::ZERO));
    }

    #[test]
    fn only_finished_checkpoints_have_numbers() {
        assert_eq!(CheckpointId::from_file_name("checkpoint-00000007"), Some(CheckpointId(7)));
        assert_eq!(CheckpointId::from_file_name("checkpoint.tmp"), None);
        assert_eq!(CheckpointId(7).path("shard-000/head"), "shard-000/head/checkpoint-00000007");
    }
}
