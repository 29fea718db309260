//! A snapshot: one directory of blocks, made of what all shards had at a moment, that Prometheus opens.
//!
//! ```text
//! snapshots/
//! ├── 20171210T211224Z-2be650b6d2b73a68/         a snapshot: blocks side by side, of which none overlap
//! ├── 20171210T ....tmp-for-creation/            one that is being made: blocks as they will be in it
//! └── 20171210T ....shares.tmp-for-creation/     what the shards give to that (`share`)
//!     └── shard-000/
//!         ├── 01BKGV7JBM69T2G1BGBGM6KB12/        blocks that it had: index and chunks are hard links
//!         ├── 01BKGV7JBNG8Q2NH6X2S7P6V4R/        blocks of what was in its Head
//!         └── head/chunks-00000007               while these are written: hard links of its spill files
//! ```
//! A shard gives its share in one step, as far as its blocks and its Head go; from then on the snapshot has names of its own
//! for all that it needs, and the shard goes on as it likes. Which blocks stay as they are and which become one is decided
//! when all shares are there (`plan`), and then done (`assemble`).
//! Invariants: a directory without the temporary end is whole and durable; what has it is nobody's and removed at the next
//! start; nothing outside of the temporary directories is changed but by the last rename.

pub mod assemble;
pub mod plan;
pub mod share;

use std::io;

pub use assemble::assemble;
pub use share::{Held, Share, copy_head, hold, hold_spill_files};

use super::block::{self, BlockError};
use super::compaction::CompactionError;
use crate::io::Disk;

/// Where all snapshots are.
pub const SNAPSHOTS: &str = "snapshots";
const CREATION: &str = ".tmp-for-creation";

/// The directory of a snapshot.
#[must_use]
pub fn dir(name: &str) -> String {
    format!("{SNAPSHOTS}/{name}")
}

/// The directory in which it is made.
#[must_use]
pub fn creation_dir(name: &str) -> String {
    format!("{SNAPSHOTS}/{name}{CREATION}")
}

/// The directory in which the shards' shares are meanwhile.
#[must_use]
pub fn shares_dir(name: &str) -> String {
    format!("{SNAPSHOTS}/{name}.shares{CREATION}")
}

/// Gives a snapshot its name. Everything in it is durable already.
async fn publish<D: Disk>(disk: &D, name: &str) -> Result<(), BlockError> {
    let (from, to) = (creation_dir(name), dir(name));
    let renamed = disk.rename_dir(&from, &to).await;
    renamed.map_err(BlockError::io(&to, "give a snapshot its name"))?;
    let synced = disk.sync_dir(SNAPSHOTS).await;
    if synced.is_err() {
        // Nobody is told of it. If this fails as well, it is whole all the same.
        let _ = disk.rename_dir(&to, &from).await;
    }
    synced.map_err(BlockError::io(SNAPSHOTS, "flush the directory"))
}

/// Removes what there is of a snapshot that is not to be.
///
/// # Errors
/// Those of the disk; the next start removes what is left.
pub async fn discard<D: Disk>(disk: &D, name: &str) -> Result<(), BlockError> {
    remove(disk, &[creation_dir(name), shares_dir(name)]).await
}

/// Removes what a process that ended left of snapshots that it was making; gives the directories.
///
/// # Errors
/// Those of the disk.
pub async fn tidy<D: Disk>(disk: &D) -> Result<Vec<String>, BlockError> {
    let entries = disk.list(SNAPSHOTS).await.map_err(BlockError::io(SNAPSHOTS, "list"))?;
    let left = entries.iter().filter(|entry| entry.is_dir && entry.name.ends_with(CREATION));
    let left: Vec<String> = left.map(|entry| dir(&entry.name)).collect();
    remove(disk, &left).await?;
    Ok(left)
}

async fn remove<D: Disk>(disk: &D, dirs: &[String]) -> Result<(), BlockError> {
    // What is half removed must not get a snapshot's name back by a crash.
    match disk.sync_dir(SNAPSHOTS).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        synced => synced.map_err(BlockError::io(SNAPSHOTS, "flush the directory"))?,
    }
    for dir in dirs {
        block::remove_tree(disk, dir).await?;
    }
    Ok(())
}

/// Why there is no snapshot, for people, and what to do. Files are named as they are outside of the shares that are gone.
#[must_use]
pub fn explain(name: &str, error: &CompactionError) -> String {
    let what = error.to_string().replace(&format!("{}/", shares_dir(name)), "");
    format!("{what}; no snapshot is left behind: {}", cure(error))
}

fn cure(error: &CompactionError) -> &'static str {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    match error {
        CompactionError::Stopped => "ask again when the server has started",
        CompactionError::Unsettled { why, .. } => cure(why),
        CompactionError::Block(BlockError::Io { source, .. }) => match source.kind() {
            StorageFull | QuotaExceeded => "make room on the disk and ask again",
            _ => "see what the system's log says of the disk, and ask again",
        },
        CompactionError::Block(_) => {
            "floodplain verify names all that is damaged; without the damaged block, moved out of its directory while the \
             server is stopped, there will be one"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Faults, SimDisk, run};

    #[test]
    fn a_start_removes_what_was_being_made_and_nothing_else() {
        run(async {
            let disk = SimDisk::new(1);
            assert_eq!(tidy(&disk).await.unwrap(), [""; 0]);
            for path in ["a", "b.tmp-for-creation/shard-000/head", "c.tmp-for-creation-not"] {
                disk.create_dir(&dir(path)).await.unwrap();
                disk.create(&format!("{}/x", dir(path)), 0).await.unwrap();
            }
            assert_eq!(tidy(&disk).await.unwrap(), ["snapshots/b.tmp-for-creation"]);
            assert_eq!(disk.paths(), ["snapshots/a/x", "snapshots/c.tmp-for-creation-not/x"]);
            assert_eq!(disk.list(SNAPSHOTS).await.unwrap().len(), 2);
        });
    }

    #[test] // crash: a snapshot whose name cannot be made durable is none, now or later
    fn a_name_that_cannot_be_made_durable_is_taken_back() {
        run(async {
            let disk = SimDisk::new(1);
            let path = format!("{}/x", creation_dir("a"));
            disk.create_dir(&creation_dir("a")).await.unwrap();
            disk.create(&path, 0).await.unwrap();
            disk.sync_dir(&creation_dir("a")).await.unwrap();
            let fail_at = Some((disk.calls() + 2, io::ErrorKind::Other));
            disk.set_faults(Faults { fail_at, ..Faults::default() });
            publish(&disk, "a").await.unwrap_err();
            assert_eq!(disk.paths(), [path]);
            discard(&disk, "a").await.unwrap();
            assert_eq!(disk.image_after_crash(1, Faults::default()).paths(), [""; 0]);
        });
    }

    #[test]
    fn a_failure_names_the_file_as_it_is_and_the_cure() {
        let full = BlockError::Io {
            path: format!("{}/shard-000/01/chunks/000001", shares_dir("a")),
            action: "write",
            source: io::Error::new(io::ErrorKind::StorageFull, "no room"),
        };
        assert_eq!(
            explain("a", &full.into()),
            "shard-000/01/chunks/000001: cannot write: no room; no snapshot is left behind: make room on the disk and ask \
             again"
        );
    }
}
