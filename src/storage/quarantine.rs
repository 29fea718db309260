//! Damaged files, kept for who can read more out of them.
//!
//! ```text
//! shard-000/quarantine/
//! ├── 00000007.run-12        a log segment or a checkpoint in which the 12th start found damage, as it was
//! ├── 00000007.run-12.txt    what was wrong: a line for each place
//! ├── chunks-00000003.cut-01BKGV7JBM69T2G1BGBGM6KB12    chunks of which that block could not get all
//! └── 01BKGV7JBM69T2G1BGBGM6KB12.run-12/    a block that could not be opened; with its text likewise
//! ```
//! A file is marked first, by its text, and moved when nothing needs it any more: until a checkpoint holds what could be
//! read of it, it stays where it is. Invariants: a marked file is never used again or removed; a text without its file
//! marks one that was not moved yet. Nothing here is ever read back, or removed: that is for people.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use ulid::Ulid;

use super::replay::Damage;
use crate::io::{BLOCK_BYTES, Disk, File};

const TEXT: &str = ".txt";

/// The files of one shard that are to be kept and were not moved yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Marked {
    dir: String,
    /// Name of the file to the name it gets.
    names: BTreeMap<String, String>,
}

impl Marked {
    /// Looks into the quarantine `dir`.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn find<D: Disk>(disk: &D, dir: &str) -> io::Result<Self> {
        let entries = disk.list(dir).await?;
        let there: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let waiting = there.iter().filter_map(|text| {
            let place = text.strip_suffix(TEXT).filter(|place| !there.contains(place))?;
            let (name, _) = place.split_once('.')?;
            Some((name.to_owned(), place.to_owned()))
        });
        Ok(Self { dir: dir.to_owned(), names: waiting.collect() })
    }

    /// Where the file of this name, of the shard's log or checkpoints, is to be moved; `None` if it is not to be kept.
    #[must_use]
    pub fn place_of(&self, name: &str) -> Option<String> {
        self.names.get(name).map(|place| format!("{}/{place}", self.dir))
    }
}

/// Marks the files that have this damage, durably.
///
/// - `run`: the start that found it.
///
/// # Errors
/// Those of the disk.
pub async fn mark<D: Disk>(disk: &D, damage: &[Damage], run: u64) -> io::Result<()> {
    mark_by(disk, damage, &format!("run-{run}")).await
}

/// Marks the files with chunks that the block `ulid`, cut from the Head, could not get. They may be readable another time.
///
/// # Errors
/// Those of the disk.
pub async fn mark_cut<D: Disk>(disk: &D, damage: &[Damage], ulid: Ulid) -> io::Result<()> {
    mark_by(disk, damage, &format!("cut-{ulid}")).await
}

async fn mark_by<D: Disk>(disk: &D, damage: &[Damage], who: &str) -> io::Result<()> {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for damage in damage {
        for path in &damage.keep {
            let text = texts.entry(path).or_default();
            text.push_str(&damage.to_string());
            text.push('\n');
        }
    }
    for (path, text) in texts {
        // A path is a shard's directory, what kind of file, and a name.
        let (Some((shard, _)), Some((_, name))) = (path.split_once('/'), path.rsplit_once('/'))
        else {
            continue;
        };
        let dir = format!("{shard}/quarantine");
        disk.create_dir(&dir).await?;
        disk.sync_dir(shard).await?;
        let marked = Marked::find(disk, &dir).await?;
        // An earlier start may have marked it and ended before anything else.
        let place = marked.place_of(name).unwrap_or_else(|| format!("{dir}/{name}.{who}"));
        write(disk, &format!("{place}{TEXT}"), &text).await?;
        disk.sync_dir(&dir).await?;
    }
    Ok(())
}

/// Moves the directory `name` out of `shard_dir`, durably, with a text that says what is wrong with it.
///
/// - `run`: the start that found it.
///
/// # Errors
/// Those of the disk.
pub async fn set_aside_dir<D: Disk>(
    disk: &D,
    shard_dir: &str,
    name: &str,
    run: u64,
    text: &str,
) -> io::Result<()> {
    let dir = format!("{shard_dir}/quarantine");
    disk.create_dir(&dir).await?;
    let place = format!("{dir}/{name}.run-{run}");
    write(disk, &format!("{place}{TEXT}"), text).await?;
    disk.sync_dir(&dir).await?;
    disk.rename_dir(&format!("{shard_dir}/{name}"), &place).await?;
    disk.sync_dir(&dir).await?;
    disk.sync_dir(shard_dir).await
}

async fn write<D: Disk>(disk: &D, path: &str, text: &str) -> io::Result<()> {
    match disk.remove(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut blocks = text.as_bytes().to_vec();
    blocks.resize(text.len().next_multiple_of(BLOCK_BYTES), b'\n');
    let mut file = disk.create(path, 0).await?;
    file.write_at(&blocks, 0).await?;
    file.set_len(text.len() as u64).await?;
    file.sync().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{SimDisk, run};

    fn damage(path: &str, offset: u64) -> Damage {
        let (file, what) = (path.to_owned(), "a hole".to_owned());
        Damage { keep: vec![file.clone()], file, offset, what }
    }

    #[test]
    fn a_file_is_marked_by_its_text_until_it_is_moved_there() {
        run(async {
            let (disk, path) = (SimDisk::new(1), "shard-000/wal/00000007");
            let dir = "shard-000/quarantine";
            disk.create_dir("shard-000/wal").await.unwrap();
            disk.create(path, 4096).await.unwrap();
            mark(&disk, &[damage(path, 0), damage(path, 4096)], 12).await.unwrap();
            let marked = Marked::find(&disk, dir).await.unwrap();
            let place = marked.place_of("00000007").unwrap();
            assert_eq!(place, "shard-000/quarantine/00000007.run-12");
            assert_eq!(marked.place_of("00000008"), None);
            let text = disk.open(&format!("{place}.txt")).await.unwrap();
            let len = usize::try_from(text.len()).unwrap();
            assert_eq!(
                String::from_utf8(text.read_at(0, len).await.unwrap()).unwrap(),
                "shard-000/wal/00000007, byte 0: a hole\nshard-000/wal/00000007, byte 4096: a hole\n"
            );
            mark(&disk, &[damage(path, 0)], 13).await.unwrap();
            assert_eq!(Marked::find(&disk, dir).await.unwrap(), marked, "marked once");
            disk.rename(path, &place).await.unwrap();
            let rest = Marked::find(&disk, dir).await.unwrap();
            assert_eq!(rest.place_of("00000007"), None, "a later file of that name is another");
        });
    }

    #[test]
    fn where_there_is_no_quarantine_nothing_is_marked() {
        let marked = run(Marked::find(&SimDisk::new(1), "shard-000/quarantine")).unwrap();
        assert_eq!(marked.names, BTreeMap::new());
    }
}
