//! All that a server stores, shards, logs, Heads and blocks, as its shards work on it, on one simulated disk and without
//! executors: each thing that a shard does by itself or is asked for is one call here.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use floodplain::encoding::block::meta::{BlockMeta, Origin, Ulid};
use floodplain::io::Disk;
use floodplain::io::sim::{NoPace, SimDisk};
use floodplain::model::{
    Fingerprinter, HistogramEntry, LabelText, Labels, LabelsAt, Matcher, Part, PartEntry, Refusals,
    Sample, Span, StartAt, TimeRange, TimestampMs, Value,
};
use floodplain::storage::block::{self, Block, IndexCache};
use floodplain::storage::blocks::{self, Inventory, Listed};
use floodplain::storage::compaction::import::{self, Adoption, How};
use floodplain::storage::compaction::merge::{MergeOptions, Target};
use floodplain::storage::compaction::plan::{Candidate, Plan, PlanOptions, plan};
use floodplain::storage::compaction::retention::{Kept, Limits, expired};
use floodplain::storage::compaction::run::{Made, clean, compact};
use floodplain::storage::compaction::{Stop, delete as of_block, repartition};
use floodplain::storage::cutting;
use floodplain::storage::files::{self, FileOptions, Files, shard_dir};
use floodplain::storage::head::Head;
use floodplain::storage::head::cut::{Cut, Truncation};
use floodplain::storage::head::cut_plan::Extraction;
use floodplain::storage::head::delete as of_head;
use floodplain::storage::head::doubt::resolve;
use floodplain::storage::head::remove::Removal;
use floodplain::storage::head::spill::SpillFiles;
use floodplain::storage::replay::Layout;
use floodplain::storage::selection::{Batch, Selected};
use floodplain::storage::served::{Served, ServedBlock};
use floodplain::storage::wal::{LogBuffer, SyncMode, WalWriter};

use crate::attached::{Attached, EXEMPLARS_MAX};
use crate::values::{bits_of, start_of, value_of};

/// Series to time to value bits.
pub type Samples = BTreeMap<String, BTreeMap<i64, u64>>;

const SEGMENT_BYTES: u64 = 16 << 10;
pub const WINDOW_MS: i64 = 4 * 60 * 60 * 1000;
/// How long samples are kept: so short that weeks of it are few blocks.
pub const RETENTION_MS: i64 = 26 * 60 * 60 * 1000;
/// Blocks are made as if samples were kept for so long: of two hours and of six.
const PLANNED_MS: i64 = 60 * 60 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What the server keeps in `floodplain.json`: here it is in a file's name, which appears in one step.
#[derive(Clone, Copy, Debug)]
struct Manifest {
    run: u64,
    layout: Layout,
}

impl Manifest {
    fn name(self) -> String {
        format!("run.{:06}.{}.{}", self.run, self.layout.shards, self.layout.since_run)
    }

    async fn find(disk: &SimDisk) -> Result<Option<Self>, String> {
        let entries = disk.list("").await.map_err(text)?;
        let parse = |name: &str| {
            let mut fields = name.strip_prefix("run.")?.split('.');
            let run = fields.next()?.parse().ok()?;
            let shards = fields.next()?.parse().ok()?;
            let layout = Layout { shards, since_run: fields.next()?.parse().ok()? };
            Some(Self { run, layout })
        };
        let newest = |found: &Self| (found.run, found.layout.since_run);
        Ok(entries.iter().filter_map(|entry| parse(&entry.name)).max_by_key(newest))
    }

    /// Makes this one the newest, durably; then the ones before go.
    async fn write(self, disk: &SimDisk) -> Result<(), String> {
        disk.create(&self.name(), 0).await.map_err(text)?;
        disk.sync_dir("").await.map_err(text)?;
        for entry in disk.list("").await.map_err(text)? {
            if entry.name.starts_with("run.") && entry.name != self.name() {
                disk.remove(&entry.name).await.map_err(text)?;
            }
        }
        Ok(())
    }
}

pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub fn labels(series: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("series", series)]).unwrap()
}

/// Appends what of `samples` is of a shard's own series to its Head and log, and what else a request with these samples
/// carries; all of it must be taken.
pub async fn append_own(
    head: &RefCell<Head>,
    log: &RefCell<LogBuffer>,
    spill: &SpillFiles<SimDisk>,
    keys: &Fingerprinter,
    is_own: impl Fn(u64) -> bool,
    samples: &Samples,
    now: TimestampMs,
) {
    let (mut part, mut text) = (Part::default(), LabelText::default());
    for (series, values) in samples {
        let labels = labels(series);
        let fingerprint = keys.of(labels.as_ref());
        if !is_own(fingerprint.route) {
            continue;
        }
        let offset = u32::try_from(text.body.len()).unwrap();
        let len = u32::try_from(labels.as_bytes().len()).unwrap();
        text.body.extend_from_slice(labels.as_bytes());
        let labels = LabelsAt::Canonical(Span { offset, len });
        let (samples, histograms) = (part.samples.len(), part.histograms.len());
        for (t, bits) in values {
            let t = TimestampMs(*t);
            match value_of(*bits) {
                Value::Float(v) => {
                    let sample = u32::try_from(part.samples.len()).unwrap();
                    part.starts.push(StartAt { sample, start: TimestampMs(start_of(t.0)) });
                    part.samples.push(Sample { t, v });
                }
                Value::Histogram(histogram) => part.histograms.push(t, histogram.as_ref()),
            }
        }
        if part.samples.len() > samples {
            let samples_end = u32::try_from(part.samples.len()).unwrap();
            part.entries.push(PartEntry { fingerprint, labels, samples_end });
        }
        if part.histograms.len() > histograms {
            let end = u32::try_from(part.histograms.len()).unwrap();
            part.histogram_entries.push(HistogramEntry { fingerprint, labels, end });
        }
    }
    let bounds = head.borrow().bounds(now);
    let (mut refused, mut doubtful) = (Refusals::default(), Vec::new());
    {
        let (mut head, mut log) = (head.borrow_mut(), log.borrow_mut());
        let entries = 0..part.entries.len();
        let floats = head.append(&part, entries, &text, bounds, &mut log);
        let entries = 0..part.histogram_entries.len();
        let histograms = head.append_histograms(&part, entries, &text, bounds, &mut log);
        for appended in [floats, histograms] {
            refused.append(appended.refused);
            doubtful.extend(appended.doubtful);
        }
    }
    let resolved = resolve(head, log, spill, &part, &text, &doubtful, bounds, &mut NoPace).await;
    refused.append(resolved.refused);
    assert_eq!(refused, Refusals::default(), "only what must be taken is sent");
    Attached::of(samples).append_own(head, log, keys, is_own, bounds);
}

fn shard_of(route: u64, shards: u16) -> u16 {
    floodplain::coordinator::route::shard_of(route, shards).0
}

/// One shard as the server builds it, without a core of its own.
pub struct Shard {
    own: Origin,
    dir: String,
    disk: SimDisk,
    head: Rc<RefCell<Head>>,
    log: RefCell<LogBuffer>,
    writer: WalWriter<SimDisk>,
    files: Files<SimDisk>,
    served: Served<SimDisk>,
    cache: Rc<IndexCache>,
    mixed: Vec<Listed>,
    owns: Rc<dyn Fn(u64) -> bool>,
    /// Names blocks, of all shards.
    names: Rc<Cell<u128>>,
}

/// A server's storage.
pub struct Store {
    pub shards: Vec<Shard>,
    keys: Fingerprinter,
    /// What the start found damaged, or could not read.
    pub damage: Vec<String>,
    /// Blocks that the disk did not read.
    pub left_out: Vec<Ulid>,
}

impl Store {
    /// Starts with so many shards, or with as many as there were.
    pub async fn open(disk: &SimDisk, shards: Option<u16>) -> Result<Self, String> {
        let before = Manifest::find(disk).await?;
        let first = Layout { shards: shards.unwrap_or(2), since_run: 1 };
        let mut manifest = match before {
            Some(Manifest { run, layout }) => Manifest { run: run + 1, layout },
            None => Manifest { run: 1, layout: first },
        };
        manifest.write(disk).await?;
        let Manifest { run, layout } = manifest;
        let shards = shards.unwrap_or(layout.shards);
        let (keys, names) = (Fingerprinter::new(run), Rc::new(Cell::new(u128::from(run) << 96)));
        let (mut begun, mut damage, mut pace) = (Vec::new(), Vec::new(), NoPace);
        let mut left_out = Vec::new();
        for shard in 0..shards {
            let options = FileOptions {
                shard,
                shards,
                run,
                layout,
                segment_bytes: SEGMENT_BYTES,
                sync: SyncMode::Always,
                exemplars_max: EXEMPLARS_MAX,
                stopwatch: || Duration::ZERO,
            };
            let owns = |route| shard_of(route, shards) == shard;
            let inventory = Inventory::take(disk, &mut pace).await.map_err(text)?;
            let sources = inventory.sources();
            let is_published = |ulid| sources.contains(&ulid);
            let (disk, keys) = (disk.clone(), keys.clone());
            let beginning =
                files::begin(disk, options, keys, &owns, &is_published, &|_, _| {}, &mut pace);
            let beginning = beginning.await.map_err(text)?;
            begun.push((inventory, beginning));
        }
        if layout.shards != shards {
            manifest.layout = Layout { shards, since_run: run };
            manifest.write(disk).await?;
        }
        let mut opened = Vec::new();
        for (shard, (inventory, begun)) in (0..).zip(begun) {
            let (mut head, files, writer, report) = begun.finish().await.map_err(text)?;
            damage.extend(report.damage.iter().map(text));
            head.set_window(WINDOW_MS);
            head.raise_min_valid(inventory.cut_until());
            let (own, cache) = (Origin { shard, shards }, Rc::new(IndexCache::new(1 << 18)));
            let blocks = blocks::open(disk, own, &inventory, &cache, run, &mut pace).await;
            let blocks = blocks.map_err(text)?;
            damage.extend(blocks.damage.iter().map(text));
            left_out.extend(blocks.left_out);
            opened.push(Shard {
                own,
                dir: shard_dir(shard),
                disk: disk.clone(),
                head: Rc::new(RefCell::new(head)),
                log: RefCell::default(),
                writer,
                files,
                served: Served::new(blocks.blocks),
                cache,
                mixed: blocks.mixed,
                owns: Rc::new(move |route| shard_of(route, shards) == shard),
                names: Rc::clone(&names),
            });
            for Listed { shard, meta } in blocks.replaced {
                block::delete(disk, &shard_dir(shard), meta.ulid).await.map_err(text)?;
            }
        }
        Ok(Self { shards: opened, keys, damage, left_out })
    }

    /// Appends `samples` and commits them; `Ok` is the acknowledgement.
    pub async fn append(&mut self, samples: &Samples, now: i64) -> Result<(), String> {
        let count = u16::try_from(self.shards.len()).unwrap();
        for (index, shard) in (0..).zip(&mut self.shards) {
            let own = |route| shard_of(route, count) == index;
            let (head, log, spill) = (&shard.head, &shard.log, shard.files.spill());
            let now = TimestampMs(now + DAY_MS);
            append_own(head, log, spill, &self.keys, own, samples, now).await;
        }
        self.commit().await
    }

    async fn commit(&mut self) -> Result<(), String> {
        for shard in &mut self.shards {
            shard.commit().await?;
        }
        Ok(())
    }

    pub fn has_mixed(&self) -> bool {
        let is_mixed = |shard: &Shard| shard.served.view().blocks().iter().any(|b| b.is_mixed);
        self.shards.iter().any(is_mixed)
    }

    /// Is a block there still of which shards take their parts, even if all have theirs?
    pub fn has_mixed_left(&self) -> bool {
        self.has_mixed() || self.shards.iter().any(|shard| !shard.mixed.is_empty())
    }

    /// Deletes these samples everywhere. Not to be asked while blocks are mixed.
    pub async fn delete(&mut self, matchers: &[Matcher], range: TimeRange) -> Result<(), String> {
        assert_eq!(self.left_out, [], "a shard refuses that");
        for shard in &mut self.shards {
            let (head, log, spill) = (&shard.head, &shard.log, shard.files.spill());
            let deleted = of_head::delete(head, log, spill, matchers, range, &mut NoPace).await;
            // A damaged chunk across an end of the time is given up, which the server tells.
            self.damage.extend(deleted.map_err(text)?.1.iter().map(text));
            let view = shard.served.view();
            for served in view.overlapping(range) {
                let pace = &mut NoPace;
                let deleted = of_block::delete(&shard.disk, &served.block, matchers, range, pace);
                deleted.await.map_err(text)?;
            }
            shard.commit().await?;
        }
        Ok(())
    }

    /// What was sent besides samples, and is there.
    pub fn attached(&self) -> Attached {
        Attached::read(self.shards.iter().map(|shard| &*shard.head))
    }

    /// All that queries see, and what they are told is damaged.
    pub async fn read(&self) -> Result<(Samples, Vec<String>), String> {
        let (mut all, mut damage, mut batch) = (Samples::new(), Vec::new(), Batch::default());
        for shard in &self.shards {
            let (spill, view) = (Rc::clone(shard.files.spill()), shard.served.view());
            let (head, owns, pace) = (Rc::clone(&shard.head), &shard.owns, &mut NoPace);
            let selected = Selected::find(head, spill, view, &[], TimeRange::ALL, owns, pace);
            let mut selected = selected.await.map_err(text)?;
            let mut own = Samples::new();
            while selected.read(&mut batch, &mut NoPace).await.map_err(text)? {
                for (run, samples) in batch.take_runs() {
                    let labels = run.series.labels(&shard.head).unwrap();
                    let of_series =
                        own.entry(labels.get("series").unwrap().to_owned()).or_default();
                    for (t, value) in samples.iter() {
                        let before = of_series.insert(t.0, bits_of(value));
                        assert_eq!(before, None, "a sample stands twice");
                    }
                }
            }
            own.retain(|_, values| !values.is_empty());
            for (series, values) in own {
                let name = series.clone();
                assert!(all.insert(series, values).is_none(), "{name} is in two shards");
            }
            damage.append(&mut selected.take_damage());
        }
        Ok((all, damage))
    }
}

/// Takes the block in the directory `from` into the data directory, while no server runs.
pub async fn import(disk: &SimDisk, from: &str, links: bool) -> Result<(), String> {
    let (dir, pace) = (shard_dir(0), &mut NoPace);
    block::tidy(disk, &dir).await.map_err(text)?;
    let foreign = import::check(disk, from, true, pace).await.map_err(text)?;
    let adoption = Adoption {
        from,
        foreign: &foreign,
        ulid: foreign.meta.ulid,
        how: if links { How::Link } else { How::Copy(disk) },
        disk,
        dir: &dir,
        progress: &|_| {},
        stop: Stop::NEVER,
    };
    adoption.publish(pace).await.map(drop).map_err(text)
}

impl Shard {
    async fn commit(&mut self) -> Result<(), String> {
        let payloads = self.log.borrow_mut().take();
        self.writer.commit(payloads).await.map(drop).map_err(text)
    }

    /// Has its log failed, so that it takes no more before a restart?
    pub fn has_failed(&self) -> bool {
        self.writer.has_failed()
    }

    fn name(&self) -> Ulid {
        self.names.set(self.names.get() + 1);
        Ulid(self.names.get())
    }

    pub async fn fill_spares(&self) -> Result<(), String> {
        self.files.spares().fill().await.map_err(text)
    }

    pub async fn spill(&self) -> Result<(), String> {
        self.files.spill().spill(&self.head, 0, &mut NoPace).await.map(drop).map_err(text)
    }

    pub async fn checkpoint(&mut self) -> Result<(), String> {
        self.spill().await?;
        let log = self.writer.cut().await.map_err(text)?;
        self.files.checkpoint(log, &self.head, &mut NoPace).await.map_err(text)
    }

    /// Begins a cut if one is due.
    pub async fn begin_cut(&mut self) -> Result<Option<(Cut, Extraction)>, String> {
        let Some(range) = self.head.borrow().next_cut() else { return Ok(None) };
        // What does not leave memory goes into the block from there.
        let _ = self.spill().await;
        let ulid = self.name();
        let cut = self.head.borrow_mut().freeze(ulid, range, &mut self.log.borrow_mut());
        if let Err(error) = self.commit().await {
            self.head.borrow_mut().give_up(cut);
            return Err(error);
        }
        let extraction = Extraction::of(&self.head.borrow(), cut);
        Ok(Some((cut, extraction)))
    }

    /// Ends it; what of it could not be read.
    pub async fn end_cut(&mut self, cut: Cut, extraction: Extraction) -> Result<usize, String> {
        let lost = match self.write_cut(extraction).await {
            Ok(lost) => lost,
            Err(error) => {
                self.head.borrow_mut().give_up(cut);
                return Err(error);
            }
        };
        let mut truncation = Truncation::of(cut);
        while !self.head.borrow_mut().truncate_some(&mut truncation, 3) {}
        let mut removal = Removal::of(truncation.into_empty());
        while !self.head.borrow_mut().remove_some(&mut removal, 100) {}
        self.checkpoint().await?;
        Ok(lost)
    }

    async fn write_cut(&mut self, mut extraction: Extraction) -> Result<usize, String> {
        while !self.head.borrow_mut().extract_some(&mut extraction, 3) {}
        let plan = extraction.into_plan();
        if plan.is_empty() {
            return Ok(0);
        }
        let written = cutting::write_block(&self.disk, self.own, plan, &mut NoPace).await;
        let written = written.map_err(text)?;
        let metas: Vec<BlockMeta> = written.meta.into_iter().collect();
        self.serve(&metas, &[]).await?;
        Ok(written.lost.len())
    }

    async fn serve(&self, metas: &[BlockMeta], replaced: &[Ulid]) -> Result<(), String> {
        let mut added = Vec::new();
        for meta in metas {
            let path = block::dir(&self.dir, meta.ulid);
            let block = Block::open(&self.disk, &path, Rc::clone(&self.cache), &mut NoPace).await;
            added.push(Rc::new(ServedBlock { block: block.map_err(text)?, is_mixed: false }));
        }
        self.served.change(added, replaced);
        Ok(())
    }

    async fn remove(&self, ulids: &[Ulid]) -> Result<(), String> {
        for ulid in ulids {
            block::delete(&self.disk, &self.dir, *ulid).await.map_err(text)?;
        }
        Ok(())
    }

    async fn made(&self, made: Made) -> Result<(), String> {
        self.serve(&made.blocks, &made.replaced).await?;
        self.remove(&made.replaced).await
    }

    /// Makes one block of several, if that is due; how many were merged.
    pub async fn compact(&self, options: &MergeOptions<'_>) -> Result<usize, String> {
        let view = self.served.view();
        let candidates: Vec<Candidate<'_>> = view
            .blocks()
            .iter()
            .map(|served| Candidate {
                meta: served.block.meta(),
                tombstone_count: served.block.tombstones().range_count(),
            })
            .collect();
        let parents = match plan(&candidates, &PlanOptions::new(self.own, PLANNED_MS)) {
            Plan::Nothing => return Ok(0),
            Plan::Drop(ulids) => {
                self.served.change(Vec::new(), &ulids);
                self.remove(&ulids).await?;
                return Ok(0);
            }
            Plan::Merge(parents) => parents,
        };
        let mut name = || self.name();
        let mut target = Target { disk: &self.disk, dir: &self.dir, name: &mut name };
        let made = compact(&mut target, &parents, options, &mut NoPace).await.map_err(text)?;
        self.made(made).await?;
        Ok(parents.len())
    }

    /// Rewrites what has tombstones; how many blocks.
    pub async fn clean(&self, options: &MergeOptions<'_>) -> Result<usize, String> {
        let view = self.served.view();
        let dirty = view.blocks().iter().filter(|s| !s.block.tombstones().is_empty());
        let dirty: Vec<Ulid> = dirty.map(|served| served.block.meta().ulid).collect();
        for ulid in &dirty {
            let mut name = || self.name();
            let mut target = Target { disk: &self.disk, dir: &self.dir, name: &mut name };
            let made = clean(&mut target, *ulid, options, &mut NoPace).await.map_err(text)?;
            self.made(made).await?;
        }
        Ok(dirty.len())
    }

    /// Its own blocks, as retention looks at them.
    fn kept(&self) -> Vec<Kept> {
        let view = self.served.view();
        let own = view.blocks().iter().filter(|served| !served.is_mixed);
        own.map(|served| Kept {
            ulid: served.block.meta().ulid,
            max_time: served.block.meta().max_time,
            bytes: served.block.bytes(),
        })
        .collect()
    }

    /// What its own blocks take.
    pub fn own_bytes(&self) -> u64 {
        self.kept().iter().map(|kept| kept.bytes).sum()
    }

    /// The blocks that are past what is kept, and the instant before which they are.
    pub fn expired(&self, limits: Limits) -> Option<(Vec<Ulid>, i64)> {
        let kept = self.kept();
        let gone: BTreeSet<Ulid> = expired(&kept, None, 0, limits).into_iter().collect();
        let of_gone = kept.iter().filter(|kept| gone.contains(&kept.ulid));
        let end = of_gone.map(|kept| kept.max_time).max()?;
        Some((gone.into_iter().collect(), end))
    }

    pub async fn retire(&self, ulids: &[Ulid]) -> Result<(), String> {
        self.served.change(Vec::new(), ulids);
        self.remove(ulids).await
    }

    /// Takes the own part of one mixed block, if there is one; and removes it when all have theirs.
    pub async fn take_part(&mut self, options: &MergeOptions<'_>) -> Result<bool, String> {
        let Some(Listed { shard, meta }) = self.mixed.pop() else { return Ok(false) };
        let path = block::dir(&shard_dir(shard), meta.ulid);
        let is_served = |s: &Rc<ServedBlock<SimDisk>>| s.block.meta().ulid == meta.ulid;
        if self.served.view().blocks().iter().any(is_served) {
            let mut name = || self.name();
            let mut target = Target { disk: &self.disk, dir: &self.dir, name: &mut name };
            let (own, owns, pace) = (self.own, &*self.owns, &mut NoPace);
            let part = repartition::repartition(&mut target, &path, own, owns, options, pace).await;
            let part = part.map_err(text)?;
            self.serve(&part.blocks, &[meta.ulid]).await?;
            part.mark.map_err(text)?;
        }
        let taken = repartition::taken(&self.disk, &path).await.map_err(text)?;
        if repartition::is_done(&taken, self.own.shards) {
            match block::delete(&self.disk, &shard_dir(shard), meta.ulid).await {
                Err(error) if !error.is_not_found() => return Err(text(error)),
                _ => {}
            }
        }
        Ok(true)
    }
}
