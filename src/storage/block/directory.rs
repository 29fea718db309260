//! The directories of a shard's blocks: what they are called, how a block comes to be there, and how it goes. Why in this
//! way is said in [`super`].

use std::io;

use ulid::Ulid;

use super::error::BlockError;
use crate::io::Disk;

const CREATION: &str = ".tmp-for-creation";
const DELETION: &str = ".tmp-for-deletion";

/// The path of a block's directory within `shard_dir`.
#[must_use]
pub fn dir(shard_dir: &str, ulid: Ulid) -> String {
    below(shard_dir, &ulid.to_string())
}

/// The path of the directory in which a block is written before it has its name.
#[must_use]
pub fn creation_dir(shard_dir: &str, ulid: Ulid) -> String {
    below(shard_dir, &format!("{ulid}{CREATION}"))
}

/// The path of `name` in `dir`, which may be the root.
fn below(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// The blocks in `shard_dir`, in the order of their ULIDs; whether they can be read is not looked at.
///
/// # Errors
/// Those of the disk.
pub async fn list<D: Disk>(disk: &D, shard_dir: &str) -> Result<Vec<Ulid>, BlockError> {
    let entries = disk.list(shard_dir).await.map_err(BlockError::io(shard_dir, "list"))?;
    let dirs = entries.iter().filter(|entry| entry.is_dir);
    let mut ulids: Vec<Ulid> = dirs.filter_map(|entry| ulid(&entry.name)).collect();
    ulids.sort_unstable();
    Ok(ulids)
}

/// The ULID that a name is, written as it always is.
fn ulid(name: &str) -> Option<Ulid> {
    Ulid::from_string(name).ok().filter(|ulid| ulid.to_string() == name)
}

/// Gives the block that was written in its temporary directory its name. Everything in it is durable already.
///
/// # Errors
/// Those of the disk. If it was the last step that failed the block is there, but a crash may still take its name.
pub(in crate::storage) async fn publish<D: Disk>(
    disk: &D,
    shard_dir: &str,
    ulid: Ulid,
) -> Result<(), BlockError> {
    let (from, to) = (creation_dir(shard_dir, ulid), dir(shard_dir, ulid));
    disk.rename_dir(&from, &to).await.map_err(BlockError::io(&to, "give a new block its name"))?;
    sync_dir(disk, shard_dir).await
}

/// Removes a block. A crash leaves it whole, or leaves something that [`tidy`] removes.
///
/// # Errors
/// Those of the disk; the block may be there or not.
pub async fn delete<D: Disk>(disk: &D, shard_dir: &str, ulid: Ulid) -> Result<(), BlockError> {
    let from = dir(shard_dir, ulid);
    let to = format!("{from}{DELETION}");
    remove_tree(disk, &to).await?;
    disk.rename_dir(&from, &to).await.map_err(BlockError::io(&from, "set aside"))?;
    // Before the first file goes: else a crash could leave half a block under the block's name.
    sync_dir(disk, shard_dir).await?;
    remove_tree(disk, &to).await
}

/// Removes what a process that ended left half written or half removed; gives the names. The names that are left are
/// durable then: whoever goes on relies on them.
///
/// # Errors
/// Those of the disk.
pub async fn tidy<D: Disk>(disk: &D, shard_dir: &str) -> Result<Vec<String>, BlockError> {
    let entries = disk.list(shard_dir).await.map_err(BlockError::io(shard_dir, "list"))?;
    let is_left = |name: &str| {
        [CREATION, DELETION].iter().any(|end| name.strip_suffix(end).and_then(ulid).is_some())
    };
    let left: Vec<String> = entries
        .into_iter()
        .filter(|entry| entry.is_dir && is_left(&entry.name))
        .map(|entry| entry.name)
        .collect();
    // A process that was killed may not have come to this: a crash could still give half a block the block's name.
    match disk.sync_dir(shard_dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(left),
        synced => synced.map_err(BlockError::io(shard_dir, "flush the directory"))?,
    }
    for name in &left {
        // One that cannot be removed takes room until the next start, and is in nobody's way.
        let _ = remove_tree(disk, &below(shard_dir, name)).await;
    }
    if !left.is_empty() {
        sync_dir(disk, shard_dir).await?;
    }
    Ok(left)
}

/// Removes the directory `root` and all that is in it; nothing if it is not there.
///
/// # Errors
/// Those of the disk; then some of it may be gone.
pub async fn remove_tree<D: Disk>(disk: &D, root: &str) -> Result<(), BlockError> {
    let (mut to_visit, mut visited) = (vec![root.to_owned()], Vec::new());
    while let Some(dir) = to_visit.pop() {
        for entry in disk.list(&dir).await.map_err(BlockError::io(&dir, "list"))? {
            let path = below(&dir, &entry.name);
            if entry.is_dir {
                to_visit.push(path);
            } else {
                disk.remove(&path).await.map_err(BlockError::io(&path, "remove"))?;
            }
        }
        visited.push(dir);
    }
    for dir in visited.iter().rev() {
        match disk.remove_dir(dir).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome.map_err(BlockError::io(dir, "remove"))?,
        }
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(in crate::storage) async fn sync_dir<D: Disk>(disk: &D, dir: &str) -> Result<(), BlockError> {
    disk.sync_dir(dir).await.map_err(BlockError::io(dir, "flush the directory"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Faults, SimDisk, run};

    const DIR: &str = "shard-000";

    async fn block(disk: &SimDisk, name: &str) {
        disk.create_dir(&format!("{DIR}/{name}/chunks")).await.unwrap();
        for file in ["chunks/000001", "index", "meta.json"] {
            disk.create(&format!("{DIR}/{name}/{file}"), 0).await.unwrap();
        }
        disk.sync_dir(&format!("{DIR}/{name}/chunks")).await.unwrap();
        disk.sync_dir(&format!("{DIR}/{name}")).await.unwrap();
    }

    async fn names(disk: &SimDisk) -> Vec<String> {
        disk.list(DIR).await.unwrap().into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn only_directories_named_by_a_ulid_are_blocks() {
        run(async {
            let (disk, first, second) = (SimDisk::new(1), Ulid(5 << 80), Ulid(6 << 80));
            for name in [second.to_string(), first.to_string(), "wal".to_owned()] {
                block(&disk, &name).await;
            }
            block(&disk, &format!("{first}{CREATION}")).await;
            block(&disk, &Ulid(0xa << 80).to_string().to_lowercase()).await;
            disk.create(&dir(DIR, Ulid(7)), 0).await.unwrap();
            assert_eq!(list(&disk, DIR).await.unwrap(), [first, second]);
            assert_eq!(list(&disk, "nowhere").await.unwrap(), []);
        });
    }

    #[test]
    fn what_was_left_half_done_is_removed_and_nothing_else() {
        run(async {
            let (disk, ulid) = (SimDisk::new(1), Ulid(5 << 80));
            let left = [format!("{ulid}{CREATION}"), format!("{ulid}{DELETION}")];
            for name in left.iter().map(String::as_str).chain([
                ulid.to_string().as_str(),
                "wal",
                "notes.tmp-for-deletion",
            ]) {
                block(&disk, name).await;
            }
            assert_eq!(tidy(&disk, DIR).await.unwrap(), left);
            let kept = [&ulid.to_string(), "notes.tmp-for-deletion", "wal"];
            assert_eq!(names(&disk).await, kept);
            assert_eq!(tidy(&disk, DIR).await.unwrap(), [""; 0]);
        });
    }

    #[test] // crash: a block that is being removed is whole or is no block
    fn a_crash_while_a_block_is_removed_leaves_it_whole_or_gone() {
        let (mut whole, mut gone) = (0, 0);
        for crash_at in 1..20 {
            for seed in 0..20 {
                run(async {
                    let (disk, ulid) = (SimDisk::new(seed), Ulid(5 << 80));
                    block(&disk, &ulid.to_string()).await;
                    let crash_at = Some(disk.calls() + crash_at);
                    disk.set_faults(Faults { crash_at, ..Faults::default() });
                    let done = delete(&disk, DIR, ulid).await.is_ok();
                    let after = disk.image_after_crash(seed, Faults::default());
                    tidy(&after, DIR).await.unwrap();
                    match after.paths().len() {
                        0 => gone += 1,
                        3 if !done => whole += 1,
                        _ => panic!("crash at {crash_at:?}, seed {seed}: {:?}", after.paths()),
                    }
                    let blocks = list(&after, DIR).await.unwrap();
                    assert_eq!(blocks.len() * 3, after.paths().len(), "{crash_at:?}, seed {seed}");
                    assert_eq!(names(&after).await.len(), blocks.len());
                });
            }
        }
        assert!(whole > 0 && gone > 0, "whole {whole}, gone {gone}");
    }
}
