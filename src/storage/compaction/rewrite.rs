//! The two files of a block that change: `meta.json` and `tombstones`. Each is replaced in one step.
//!
//! ```text
//! 01BKGV7JBM69T2G1BGBGM6KB12/
//! ├── meta.json          as it was, or as it is to be: never anything else
//! ├── meta.json.tmp      half of a new one, which a crash leaves behind
//! └── tombstones.tmp     the same
//! ```
//! A block's files may be hard links that a snapshot has, too: a replaced file is another file, and that of the snapshot
//! stays as it was. What others have put into `meta.json` survives.

use std::io;

use serde_json::{Map, Value};

use crate::encoding::block::meta::BlockMeta;
use crate::encoding::block::tombstones::Tombstones;
use crate::io::Disk;
use crate::storage::block::append_file::AppendFile;
use crate::storage::block::reader::read_meta;
use crate::storage::block::{BlockError, META, TOMBSTONES};

const TEMPORARY: &str = ".tmp";
/// The fields that are ours to write.
const FIELDS: [&str; 7] =
    ["ulid", "minTime", "maxTime", "stats", "compaction", "version", "floodplain"];

/// Changes what the block in the directory `dir` says of itself.
///
/// # Errors
/// Those of the disk, and a meta that cannot be understood. Then the block says what it said, or what it is to say.
pub async fn meta<D: Disk>(
    disk: &D,
    dir: &str,
    change: impl FnOnce(&mut BlockMeta),
) -> Result<BlockMeta, BlockError> {
    let (mut meta, before) = read_meta(disk, dir).await?;
    change(&mut meta);
    replace(disk, dir, META, &with_others_fields(&meta, &before)).await?;
    Ok(meta)
}

/// Replaces what is deleted of the block in the directory `dir`, and then counts it in its meta.
///
/// - `replaced`: called when readers of the files see the new tombstones, even if something fails later.
///
/// # Errors
/// Those of the disk, and a meta that cannot be understood. Then the old tombstones are there or the new ones.
pub async fn tombstones<D: Disk>(
    disk: &D,
    dir: &str,
    tombstones: &Tombstones,
    replaced: impl FnOnce(),
) -> Result<(), BlockError> {
    write(disk, dir, TOMBSTONES, &tombstones.encode()).await?;
    give_name(disk, dir, TOMBSTONES).await?;
    replaced();
    sync(disk, dir).await?;
    meta(disk, dir, |meta| meta.stats.num_tombstones = tombstones.range_count()).await?;
    Ok(())
}

/// Removes what a crash left of a file that was to replace another, and makes durable which files there are: a process that
/// was killed may not have come to that. A start does this to each block before it reads it.
///
/// # Errors
/// Those of the disk.
pub async fn tidy<D: Disk>(disk: &D, dir: &str) -> Result<(), BlockError> {
    for name in [META, TOMBSTONES] {
        remove_temporary(disk, dir, name).await?;
    }
    sync(disk, dir).await
}

async fn replace<D: Disk>(disk: &D, dir: &str, name: &str, bytes: &[u8]) -> Result<(), BlockError> {
    write(disk, dir, name, bytes).await?;
    give_name(disk, dir, name).await?;
    sync(disk, dir).await
}

/// Writes the file under its temporary name, durably.
async fn write<D: Disk>(disk: &D, dir: &str, name: &str, bytes: &[u8]) -> Result<(), BlockError> {
    remove_temporary(disk, dir, name).await?;
    let mut file = AppendFile::create(disk, format!("{dir}/{name}{TEMPORARY}")).await?;
    file.append(bytes).await?;
    file.finish().await?;
    Ok(())
}

async fn give_name<D: Disk>(disk: &D, dir: &str, name: &str) -> Result<(), BlockError> {
    let path = format!("{dir}/{name}");
    let renamed = disk.rename(&format!("{path}{TEMPORARY}"), &path).await;
    renamed.map_err(BlockError::io(&path, "replace"))
}

async fn sync<D: Disk>(disk: &D, dir: &str) -> Result<(), BlockError> {
    disk.sync_dir(dir).await.map_err(BlockError::io(dir, "flush the directory"))
}

async fn remove_temporary<D: Disk>(disk: &D, dir: &str, name: &str) -> Result<(), BlockError> {
    let path = format!("{dir}/{name}{TEMPORARY}");
    match disk.remove(&path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(BlockError::io(&path, "remove")),
    }
}

/// The bytes of `meta`, and behind its fields those of `before` that are others'.
fn with_others_fields(meta: &BlockMeta, before: &[u8]) -> Vec<u8> {
    let mut json = meta.to_json();
    let fields: Map<String, Value> = serde_json::from_slice(before).unwrap_or_default();
    let others: Map<String, Value> =
        fields.into_iter().filter(|(name, _)| !FIELDS.contains(&name.as_str())).collect();
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
    let written = serde::Serialize::serialize(&others, &mut serializer);
    // Both are objects: the end of one and the beginning of the other become a comma.
    if let (Ok(()), Some(kept), Some(rest)) =
        (written, json.strip_suffix(b"\n}"), text.strip_prefix(b"{\n"))
    {
        json = [kept, b",\n", rest].concat();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::block::meta::Ulid;
    use crate::io::File;
    use crate::io::sim::{Faults, SimDisk, run};
    use crate::model::{SeriesId, TimeRange};

    const DIR: &str = "shard-000/01";

    fn old() -> BlockMeta {
        BlockMeta::new(Ulid(1), 0, 20)
    }

    async fn text(disk: &SimDisk, name: &str) -> String {
        let file = disk.open(&format!("{DIR}/{name}")).await.unwrap();
        let len = usize::try_from(file.len()).unwrap();
        String::from_utf8(file.read_at(0, len).await.unwrap()).unwrap()
    }

    async fn with_meta(seed: u64, json: &[u8]) -> SimDisk {
        let disk = SimDisk::new(seed);
        disk.create_dir(DIR).await.unwrap();
        replace(&disk, DIR, META, json).await.unwrap();
        disk
    }

    #[test]
    fn what_others_have_written_into_a_meta_stays() {
        run(async {
            let thanos =
                br#"{"ulid":"00000000000000000000000001","minTime":0,"maxTime":20,"version":1,
                "thanos":{"labels":{},"downsample":{"resolution":0}}}"#;
            let disk = with_meta(1, thanos).await;
            let changed = meta(&disk, DIR, |meta| meta.compaction.failed = true).await.unwrap();
            assert!(changed.compaction.failed);
            let json = text(&disk, META).await;
            assert!(json.ends_with("\n\t\"thanos\": {\n\t\t\"downsample\": {\n\t\t\t\"resolution\": 0\n\t\t},\n\t\t\"labels\": {}\n\t}\n}"), "{json}");
            assert_eq!(BlockMeta::parse(json.as_bytes()), Ok(changed));
        });
    }

    #[test]
    fn a_meta_without_others_fields_is_written_as_it_always_is() {
        run(async {
            let disk = with_meta(1, &old().to_json()).await;
            let changed = meta(&disk, DIR, |meta| meta.max_time = 30).await.unwrap();
            assert_eq!(text(&disk, META).await.into_bytes(), changed.to_json());
        });
    }

    #[test] // crash: after any call, the file is the old one or the new one
    fn a_crash_leaves_the_old_file_or_the_new_one() {
        let (mut olds, mut news) = (0, 0);
        let mut deleted = Tombstones::default();
        deleted.add(SeriesId(1), TimeRange::ALL);
        for crash_at in 1..16 {
            for seed in 0..20 {
                run(async {
                    let disk = with_meta(seed, &old().to_json()).await;
                    replace(&disk, DIR, TOMBSTONES, &Tombstones::default().encode()).await.unwrap();
                    let crash_at = Some(disk.calls() + crash_at);
                    disk.set_faults(Faults { crash_at, ..Faults::default() });
                    let mut is_seen = false;
                    let done = tombstones(&disk, DIR, &deleted, || is_seen = true).await.is_ok();
                    let after = disk.image_after_crash(seed, Faults::default());
                    tidy(&after, DIR).await.unwrap();
                    assert_eq!(after.paths().len(), 2);
                    let file = after.open(&format!("{DIR}/{TOMBSTONES}")).await.unwrap();
                    let bytes =
                        file.read_at(0, usize::try_from(file.len()).unwrap()).await.unwrap();
                    let found = Tombstones::parse(&bytes).unwrap();
                    assert!(found == deleted || found.is_empty() && !done, "seed {seed}");
                    let meta = BlockMeta::parse(text(&after, META).await.as_bytes()).unwrap();
                    assert!(meta.stats.num_tombstones == 0 || found == deleted, "counted first");
                    assert!(is_seen || found.is_empty() || !done);
                    olds += u32::from(found.is_empty());
                    news += u32::from(found == deleted);
                });
            }
        }
        assert!(olds > 0 && news > 0, "{olds} {news}");
    }
}
