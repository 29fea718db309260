//! Writes what a data directory holds as plain blocks of Prometheus: those of all shards together, and what is in no block
//! yet, the log and the checkpoints, with them.
//!
//! ```text
//! out/
//! ├── 01BKGV7JBM69T2G1BGBGM6KB12/   blocks of aligned two hours
//! └── head.tmp/                     while it is written: blocks for each shard of what is in none
//! ```
//! The data directory is locked meanwhile and not changed. What of it cannot be read is missing, and told.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Serialize;
use ulid::Ulid;

use super::{Alone, OfflineError, Progress, layout, open_block};
use crate::model::{Fingerprinter, Matcher, TimeRange};
use crate::rt::disk::plain::PlainDisk;
use crate::rt::{DataDir, entropy};
use crate::shard::{BLOCK_MS, Layout};
use crate::storage::block::{self, Block};
use crate::storage::blocks::{BlockMeta, Inventory, Listed, Origin};
use crate::storage::compaction::export::{ExportOptions, export as export_blocks};
use crate::storage::compaction::history::{is_taken, replaced};
use crate::storage::compaction::merge::{MergeOptions, Target};
use crate::storage::compaction::repartition::taken;
use crate::storage::cutting;
use crate::storage::files::{dirs, shard_dir};
use crate::storage::head::Head;
use crate::storage::head::cut_plan::{CutPlan, Extraction};
use crate::storage::head::spill::SpillFiles;
use crate::storage::replay::{Sources, replay};

/// Where what is in no block is put for the while.
const HEAD: &str = "head.tmp";
/// Series that are extracted at once.
const EXTRACTED: usize = 1 << 16;

/// What is exported.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Samples of this time.
    pub time: TimeRange,
    /// Series for which all of any of these hold; without any, all series.
    pub selectors: Vec<Vec<Matcher>>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The blocks.
    pub blocks: Vec<String>,
    /// Samples in them.
    pub samples: u64,
    /// What could not be read and is missing.
    pub missing: Vec<String>,
}

/// Writes what is wanted of the data directory `data` to `out`, which is new or empty.
///
/// # Errors
/// A data directory that is in use or none, an `out` that is not empty or cannot be written, or a block that is damaged
/// where it is needed.
pub fn export(
    data: &Path,
    out: &Path,
    wanted: &Wanted,
    progress: Progress<'_>,
) -> Result<Exported, OfflineError> {
    if !data.join("floodplain.json").is_file() {
        return Err(OfflineError::NoDataDirectory(data.to_owned()));
    }
    let failed = |action| move |source| OfflineError::Io { path: out.to_owned(), action, source };
    fs::create_dir_all(out).map_err(failed("create"))?;
    if fs::read_dir(out).map_err(failed("list"))?.next().is_some() {
        return Err(OfflineError::NotEmpty(out.to_owned()));
    }
    let out = out.canonicalize().map_err(failed("read"))?;
    let held = DataDir::hold(data)?;
    let root = held.place().root();
    let exporting = Exporting {
        layout: layout(root)?,
        data: PlainDisk::read_only(root),
        out: PlainDisk::new(&out),
        progress,
        missing: RefCell::default(),
    };
    futures_lite::future::block_on(exporting.run(wanted))
}

struct Exporting<'a> {
    layout: Layout,
    data: PlainDisk,
    out: PlainDisk,
    progress: Progress<'a>,
    missing: RefCell<Vec<String>>,
}

impl Exporting<'_> {
    async fn run(self, wanted: &Wanted) -> Result<Exported, OfflineError> {
        let inventory = Inventory::take(&self.data, &mut Alone).await?;
        for (shard, ulid, why) in inventory.unreadable.iter().chain(&inventory.unread) {
            let dir = block::dir(&shard_dir(*shard), *ulid);
            self.missing.borrow_mut().push(format!("{dir}: {why}"));
        }
        let mut blocks = self.blocks(&inventory).await?;
        let published = inventory.sources();
        for shard in 0..self.layout.shards {
            (self.progress)("logs read", u64::from(shard), u64::from(self.layout.shards));
            for meta in self.write_head(shard, &published).await? {
                blocks.push(open_block(&self.out, &block::dir(HEAD, meta.ulid)).await?);
            }
        }
        let sources: Vec<&Block<PlainDisk>> = blocks.iter().collect();
        let options = ExportOptions {
            selectors: &wanted.selectors,
            time: wanted.time,
            range_ms: BLOCK_MS,
            merge: MergeOptions::default(),
        };
        let mut name = Ulid::generate;
        let mut target = Target { disk: &self.out, dir: "", name: &mut name };
        let progress =
            |done: usize, total: usize| (self.progress)("ranges", done as u64, total as u64);
        let made = export_blocks(&sources, &mut target, &options, &progress, &mut Alone).await;
        block::remove_tree(&self.out, HEAD).await?;
        let made = made?;
        Ok(Exported {
            blocks: made.iter().map(|meta| meta.ulid.to_string()).collect(),
            samples: made.iter().map(|meta| meta.stats.num_samples).sum(),
            missing: self.missing.into_inner(),
        })
    }

    /// The blocks that a server would answer from.
    async fn blocks(&self, inventory: &Inventory) -> Result<Vec<Block<PlainDisk>>, OfflineError> {
        let metas: Vec<_> = inventory.blocks.iter().map(|block| &block.meta).collect();
        let replaced = replaced(&metas);
        let shards = self.layout.shards;
        let mut blocks = Vec::new();
        for Listed { shard, meta } in &inventory.blocks {
            let dir = block::dir(&shard_dir(*shard), meta.ulid);
            if replaced.contains(&meta.ulid) {
                continue;
            }
            if meta.floodplain.is_none_or(|origin| origin.shards != shards) {
                let marks = taken(&self.data, &dir).await?;
                let is_taken = |shard: u16| {
                    let own = Origin { shard, shards };
                    marks.contains(&(shards, shard)) || is_taken(&metas, meta.ulid, own)
                };
                match (0..shards).filter(|shard| is_taken(*shard)).count() {
                    0 => {}
                    count if count == usize::from(shards) => continue,
                    // What was deleted from the parts would come back.
                    _ => return Err(OfflineError::BeingDivided(dir)),
                }
            }
            match open_block(&self.data, &dir).await {
                Ok(block) => blocks.push(block),
                Err(error) => self.missing.borrow_mut().push(error.to_string()),
            }
        }
        Ok(blocks)
    }

    /// Writes blocks of what of a shard's data is in none.
    async fn write_head(
        &self,
        shard: u16,
        published: &BTreeSet<Ulid>,
    ) -> Result<Vec<BlockMeta>, OfflineError> {
        let dirs = dirs(shard);
        let spill = SpillFiles::of(self.data.clone(), dirs.head.clone());
        let head = RefCell::new(Head::new(Fingerprinter::new(entropy::seed())));
        let sources = Sources {
            dirs: &[dirs],
            layout: self.layout,
            owns: None,
            tells: &|_| true,
            is_published: &|ulid| published.contains(&ulid),
            progress: &|_, _| {},
        };
        let report = replay(&self.data, sources, &spill, &head, &mut Alone).await?;
        self.missing.borrow_mut().extend(report.damage.iter().map(ToString::to_string));
        let plan = whole(&mut head.into_inner());
        let mut name = Ulid::generate;
        let mut target = Target { disk: &self.out, dir: HEAD, name: &mut name };
        let copied = cutting::write_copies(&spill, &mut target, plan, &mut Alone).await?;
        self.missing.borrow_mut().extend(copied.lost.iter().map(ToString::to_string));
        Ok(copied.blocks)
    }
}

/// All that a Head holds.
fn whole(head: &mut Head) -> CutPlan {
    let mut extraction = Extraction::of_all(head);
    while !head.extract_some(&mut extraction, EXTRACTED) {}
    extraction.into_plan()
}
