//! Blocks on a disk that keeps as little as it may: whatever becomes of them, no sample is lost or comes back.
//!
//! Random blocks, some of them of the shards and some of nobody, are merged, cleaned, deleted from, partitioned, dropped
//! and imported; the machine stops in the middle of one disk call after the other. Of what was being deleted or dropped at
//! that moment it is left open whether it is there. A failure names its seed and its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

use floodplain::encoding::block::meta::{BlockMeta, Origin, Ulid};
use floodplain::io::Disk;
use floodplain::io::sim::{Faults, NoPace, Rng, SimDisk, run};
use floodplain::model::matcher::MatchOp;
use floodplain::model::{Labels, Matcher, TimeRange, TimestampMs};
use floodplain::storage::block::{self, Block};
use floodplain::storage::compaction::history::is_known;
use floodplain::storage::compaction::import::{self, Adoption, How};
use floodplain::storage::compaction::merge::{MergeOptions, Target};
use floodplain::storage::compaction::plan::{Candidate, Plan, PlanOptions, RANGE_MS, plan};
use floodplain::storage::compaction::repartition::OwnPart;
use floodplain::storage::compaction::retention::{Kept, Limits, expired};
use floodplain::storage::compaction::run::{Made, clean, compact};
use floodplain::storage::compaction::{Stop, delete, repartition};

use crate::block_store::{
    Samples, Store, add, labels, open_block, read, shard_of, together, write,
};

const SHARDS: u16 = 2;
const SERIES: u64 = 6;
const FOREIGN: &str = "foreign";

/// What the blocks hold, as far as anybody was told.
#[derive(Clone, Default)]
struct Ledger {
    blocks: BTreeMap<Ulid, Samples>,
    /// What may be gone: a deletion or a drop that has not been answered.
    may_be_gone: Samples,
    /// What may be there: an import that has not been answered.
    may_be_there: Samples,
    next_ulid: u128,
    /// What has been done, and how often.
    did: BTreeMap<&'static str, usize>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn pick<T>(rng: &mut Rng, from: &[T]) -> Option<usize> {
    (!from.is_empty()).then(|| usize::try_from(rng.below(from.len() as u64)).unwrap())
}

fn stretch(rng: &mut Rng) -> (i64, i64) {
    let length = if rng.below(4) == 0 { 3 } else { 1 };
    let start = i64::try_from(rng.below(9)).unwrap() / length * length;
    (start * RANGE_MS, (start + length) * RANGE_MS)
}

/// Samples of this time of series for which `is_wanted`. At an instant a series has the same value in all blocks.
fn samples(rng: &mut Rng, (min, max): (i64, i64), is_wanted: impl Fn(&Labels) -> bool) -> Samples {
    let mut all = Samples::new();
    for series in 0..SERIES {
        let labels = labels(series);
        if rng.below(4) == 0 || !is_wanted(&labels) {
            continue;
        }
        let first = min + i64::try_from(rng.below(20)).unwrap() * 60_000;
        let step = if rng.below(2) == 0 { 1_200_000 } else { 2_400_000 };
        let times = (first..max).step_by(step);
        let value = |t: i64| (t.cast_unsigned() ^ series << 40).wrapping_mul(0x9e37_79b9) % 1000;
        all.insert(labels, times.map(|t| (t, (value(t) as f64).to_bits())).collect());
    }
    all.retain(|_, values| !values.is_empty());
    all
}

impl Ledger {
    fn did(&mut self, what: &'static str, times: usize) {
        *self.did.entry(what).or_default() += times;
    }

    fn ulid(&mut self) -> Ulid {
        self.next_ulid += 1;
        Ulid(self.next_ulid << 64)
    }

    /// A disk with some blocks, all durable.
    async fn begin(&mut self, rng: &mut Rng, seed: u64) -> SimDisk {
        let disk = SimDisk::new(seed);
        for _ in 0..3 + rng.below(3) {
            let shard = u16::try_from(rng.below(u64::from(SHARDS))).unwrap();
            let origin = (rng.below(4) > 0).then_some(Origin { shard, shards: SHARDS });
            let time = stretch(rng);
            let is_wanted = |labels: &Labels| origin.is_none() || shard_of(labels, SHARDS) == shard;
            let samples = samples(rng, time, is_wanted);
            let meta = BlockMeta::new(self.ulid(), time.0, time.1);
            let meta = BlockMeta { floodplain: origin, ..meta };
            write(&disk, &format!("shard-{shard:03}"), meta.clone(), &samples, 3).await.unwrap();
            self.blocks.insert(meta.ulid, samples);
        }
        let time = stretch(rng);
        let meta = BlockMeta::new(self.ulid(), time.0, time.1);
        write(&disk, FOREIGN, meta, &samples(rng, time, |_| true), 4).await.unwrap();
        disk
    }

    /// One step that a server takes.
    async fn step(&mut self, store: &mut Store, rng: &mut Rng) -> Result<(), String> {
        match rng.below(10) {
            0..=2 => self.compact(store, rng).await,
            3 | 4 => self.delete(store, rng).await,
            5 | 6 => self.clean(store, rng).await,
            7 => self.repartition(store, rng).await,
            8 => self.import(store, rng).await,
            _ => self.retain(store, rng).await,
        }
    }

    /// Blocks have become others, which hold the same.
    async fn made(&mut self, store: &mut Store, dir: &str, made: Made) -> Result<(), String> {
        self.did("replace blocks", made.replaced.len());
        self.did("write a block as several", usize::from(made.blocks.len() > 1));
        self.did(
            "merge to nothing",
            usize::from(made.blocks.is_empty() && !made.replaced.is_empty()),
        );
        let mut held = Samples::new();
        for ulid in &made.replaced {
            add(&mut held, &self.blocks.remove(ulid).unwrap_or_default());
        }
        self.place(store, dir, &made.blocks, held).await?;
        store.drop_blocks(&made.replaced.into_iter().collect()).await.map_err(text)
    }

    /// New blocks, which hold this together.
    async fn place(
        &mut self,
        store: &mut Store,
        dir: &str,
        made: &[BlockMeta],
        mut held: Samples,
    ) -> Result<(), String> {
        let shard = store.shards.iter_mut().find(|shard| shard.dir == dir).unwrap();
        let (mut opened, mut parts) = (Vec::new(), BTreeMap::new());
        for meta in made {
            let block = open_block(&store.disk, &block::dir(dir, meta.ulid)).await.map_err(text)?;
            let (there, _) = read(&block).await.map_err(text)?;
            let part = there.into_keys().filter_map(|labels| held.remove_entry(&labels));
            parts.insert(meta.ulid, part.collect());
            opened.push(block);
        }
        assert!(held.values().all(BTreeMap::is_empty), "what did not come over was empty");
        self.blocks.append(&mut parts);
        shard.blocks.append(&mut opened);
        Ok(())
    }

    /// Some merges are made to fill more than one block.
    fn options(rng: &mut Rng) -> MergeOptions<'static> {
        let mut options = MergeOptions { window_chunks: 5, ..MergeOptions::default() };
        if rng.below(3) == 0 {
            options.writer.limits.index_bytes_max = 800;
        }
        options
    }

    async fn compact(&mut self, store: &mut Store, rng: &mut Rng) -> Result<(), String> {
        let options = Self::options(rng);
        for shard in 0..store.shards.len() {
            let shard = &store.shards[shard];
            let (dir, own) = (shard.dir.clone(), shard.own);
            let others = store.shards.iter().filter(|other| other.dir != dir);
            let mixed = others
                .flat_map(|other| other.blocks.iter().filter(|block| other.is_mixed(block.meta())));
            let tombstone_count = |block: &Block<SimDisk>| block.tombstones().range_count();
            let candidates: Vec<_> = shard
                .blocks
                .iter()
                .chain(mixed)
                .map(|b| Candidate { meta: b.meta(), tombstone_count: tombstone_count(b) })
                .collect();
            let mut name = || self.ulid();
            let disk = store.disk.clone();
            let mut target = Target { disk: &disk, dir: &dir, name: &mut name };
            match plan(&candidates, &PlanOptions::new(own, 0)) {
                Plan::Nothing => {}
                Plan::Drop(ulids) => {
                    store.drop_blocks(&ulids.into_iter().collect()).await.map_err(text)?;
                }
                Plan::Merge(ulids) => {
                    let made = compact(&mut target, &ulids, &options, &mut NoPace).await;
                    self.made(store, &dir, made.map_err(text)?).await?;
                }
            }
        }
        Ok(())
    }

    async fn clean(&mut self, store: &mut Store, rng: &mut Rng) -> Result<(), String> {
        let options = Self::options(rng);
        let dirty: Vec<(String, Ulid)> = store
            .shards
            .iter()
            .flat_map(|shard| shard.blocks.iter().map(move |block| (shard, block)))
            .filter(|(shard, block)| {
                !shard.is_mixed(block.meta()) && !block.tombstones().is_empty()
            })
            .map(|(shard, block)| (shard.dir.clone(), block.meta().ulid))
            .collect();
        let Some(which) = pick(rng, &dirty) else { return Ok(()) };
        let (dir, ulid) = dirty[which].clone();
        let mut name = || self.ulid();
        let disk = store.disk.clone();
        let mut target = Target { disk: &disk, dir: &dir, name: &mut name };
        let made = clean(&mut target, ulid, &options, &mut NoPace).await.map_err(text)?;
        self.did("clean", 1);
        self.made(store, &dir, made).await
    }

    async fn delete(&mut self, store: &mut Store, rng: &mut Rng) -> Result<(), String> {
        let from = i64::try_from(rng.below(10)).unwrap() * RANGE_MS - 1_000_000;
        let length = if rng.below(3) == 0 { 20 } else { 4 };
        let range = (from, from + i64::try_from(rng.below(length * 7_200_000)).unwrap());
        let pattern = ["m0", "m1", "m.", "m[12]"][usize::try_from(rng.below(4)).unwrap()];
        let matchers = [Matcher::new("__name__", MatchOp::Regex, pattern).unwrap()];
        let is_deleted = |labels: &Labels, t: i64| {
            matchers[0].matches(labels.get("__name__").unwrap()) && (range.0..=range.1).contains(&t)
        };
        for samples in self.blocks.values_mut() {
            for (labels, values) in samples {
                let (gone, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    std::mem::take(values).into_iter().partition(|(t, _)| is_deleted(labels, *t));
                *values = left;
                self.may_be_gone.entry(labels.clone()).or_default().extend(gone);
            }
        }
        let range = TimeRange::new(TimestampMs(range.0), TimestampMs(range.1)).unwrap();
        for block in store.shards.iter().flat_map(|shard| &shard.blocks) {
            let deleted = delete::delete(&store.disk, block, &matchers, range, &mut NoPace).await;
            let deleted = deleted.map_err(text)?;
            self.did("delete", usize::from(deleted));
        }
        self.may_be_gone.clear();
        Ok(())
    }

    async fn repartition(&mut self, store: &mut Store, rng: &mut Rng) -> Result<(), String> {
        let options = Self::options(rng);
        let mixed = store.shards.iter().flat_map(|shard| {
            let mixed = shard.blocks.iter().filter(|block| shard.is_mixed(block.meta()));
            mixed.map(|block| (block.dir().to_owned(), block.meta().ulid))
        });
        let mixed: Vec<(String, Ulid)> = mixed.collect();
        let Some(which) = pick(rng, &mixed) else { return Ok(()) };
        let (mixed_dir, ulid) = &mixed[which];
        let first = rng.below(2);
        for shard in [first, 1 - first] {
            let shard = &store.shards[usize::try_from(shard).unwrap()];
            let (own, dir) = (shard.own, shard.dir.clone());
            let taken = repartition::taken(&store.disk, mixed_dir).await.map_err(text)?;
            if taken.contains(&(own.shards, own.shard)) {
                continue;
            }
            let owns = |route: u64| route % u64::from(SHARDS) == u64::from(own.shard);
            let mut name = || self.ulid();
            let disk = store.disk.clone();
            let mut target = Target { disk: &disk, dir: &dir, name: &mut name };
            let (target, pace) = (&mut target, &mut NoPace);
            let made = repartition::repartition(target, mixed_dir, own, &owns, &options, pace);
            let OwnPart { blocks, mark } = made.await.map_err(text)?;
            let held: Samples = self.blocks[ulid]
                .iter()
                .filter(|(labels, _)| shard_of(labels, SHARDS) == own.shard)
                .map(|(labels, values)| (labels.clone(), values.clone()))
                .collect();
            self.place(store, &dir, &blocks, held).await?;
            self.did("take an own part", 1);
            mark.map_err(text)?;
            if rng.below(2) == 0 {
                return Ok(());
            }
        }
        self.did("take all parts", 1);
        self.blocks.remove(ulid);
        store.drop_blocks(&BTreeSet::from([*ulid])).await.map_err(text)
    }

    async fn import(&mut self, store: &mut Store, rng: &mut Rng) -> Result<(), String> {
        let found = block::list(&store.disk, FOREIGN).await.map_err(text)?;
        let Some(from) = found.first().map(|ulid| block::dir(FOREIGN, *ulid)) else {
            return Ok(());
        };
        let foreign = import::check(&store.disk, &from, true, &mut NoPace).await.map_err(text)?;
        let mut ulid = foreign.meta.ulid;
        if is_known(&store.metas(), ulid) {
            if rng.below(4) > 0 {
                return Ok(());
            }
            ulid = self.ulid();
        }
        let opened = open_block(&store.disk, &from).await.map_err(text)?;
        let (samples, _) = read(&opened).await.map_err(text)?;
        add(&mut self.may_be_there, &samples);
        let shard = &mut store.shards[pick(rng, &[(); 2]).unwrap()];
        let source = store.disk.clone();
        let how = if rng.below(2) == 0 { How::Copy(&source) } else { How::Link };
        let adoption = Adoption {
            from: &from,
            foreign: &foreign,
            ulid,
            how,
            disk: &store.disk,
            dir: &shard.dir,
            progress: &|_| {},
            stop: Stop::NEVER,
        };
        let meta = adoption.publish(&mut NoPace).await.map_err(text)?;
        self.may_be_there.clear();
        self.did("import", 1);
        self.blocks.insert(meta.ulid, samples);
        let path = block::dir(&shard.dir, meta.ulid);
        let opened = open_block(&store.disk, &path).await;
        shard.blocks.push(opened.map_err(text)?);
        Ok(())
    }

    async fn retain(&mut self, store: &mut Store, rng: &mut Rng) -> Result<(), String> {
        let kept: Vec<Kept> = store
            .shards
            .iter()
            .flat_map(|shard| &shard.blocks)
            .map(|block| {
                let meta = block.meta();
                Kept { ulid: meta.ulid, max_time: meta.max_time, bytes: block.bytes() }
            })
            .collect();
        let time_ms = i64::try_from(2 + rng.below(6)).unwrap() * RANGE_MS;
        let gone: BTreeSet<Ulid> =
            expired(&kept, None, 0, Limits { time_ms, bytes: 0 }).into_iter().collect();
        for ulid in &gone {
            add(&mut self.may_be_gone, &self.blocks.remove(ulid).unwrap_or_default());
        }
        store.drop_blocks(&gone).await.map_err(text)?;
        self.may_be_gone.clear();
        self.did("drop what is too old", gone.len());
        Ok(())
    }

    /// What must be there is there, and nothing that may not be.
    fn check(&mut self, found: BTreeMap<Ulid, Samples>, story: &str) {
        let (must, there) = (together(&self.blocks), together(&found));
        let mut may = must.clone();
        add(&mut may, &self.may_be_gone);
        add(&mut may, &self.may_be_there);
        let contained = |small: &Samples, large: &Samples, what: &str| {
            for (series, values) in small {
                let among = large.get(series);
                for (t, v) in values {
                    let there = among.and_then(|values| values.get(t));
                    assert_eq!(there, Some(v), "{story}: {what}: {}, t {t}", series.as_ref());
                }
            }
        };
        contained(&must, &there, "lost");
        contained(&there, &may, "came from nowhere");
        self.blocks = found;
        self.may_be_gone.clear();
        self.may_be_there.clear();
    }
}

/// Nothing but blocks and their files.
fn assert_tidy(disk: &SimDisk, story: &str) {
    for path in disk.paths().iter().filter(|path| !path.starts_with(FOREIGN)) {
        let parts: Vec<&str> = path.split('/').collect();
        let is_ours = match parts[..] {
            [_, ulid, "index" | "meta.json" | "tombstones"] => ulid.len() == 26,
            [_, ulid, "chunks", _] => ulid.len() == 26,
            [_, ulid, mark] => ulid.len() == 26 && mark.starts_with("taken-"),
            _ => false,
        };
        assert!(is_ours, "{story}: {path} was left");
    }
    for shard in 0..SHARDS {
        let entries = run(disk.list(&format!("shard-{shard:03}"))).unwrap();
        let strange = entries.iter().find(|entry| entry.name.len() != 26);
        assert_eq!(strange, None, "{story}: was left");
    }
}

/// One run of a server: opens the blocks and takes some steps.
async fn serve(disk: &SimDisk, ledger: &mut Ledger, rng: &mut Rng) -> Result<(), String> {
    let mut store = Store::open(disk, SHARDS).await.map_err(text)?;
    for _ in 0..2 + rng.below(4) {
        ledger.step(&mut store, rng).await?;
    }
    Ok(())
}

/// A start on what is left: everything opens, and holds what it should.
fn check_start(disk: &SimDisk, ledger: &mut Ledger, story: &str) {
    let store = run(Store::open(disk, SHARDS)).unwrap_or_else(|error| panic!("{story}: {error}"));
    let damaged: Vec<String> = store.damaged.iter().map(text).collect();
    assert_eq!(damaged, [""; 0], "{story}: a crash is not damage");
    let (found, lost) = run(store.read()).unwrap_or_else(|error| panic!("{story}: {error}"));
    assert!(lost.is_empty(), "{story}: {lost:?}");
    assert_tidy(disk, story);
    ledger.check(found, story);
}

/// A disk with the blocks of `seed`, and what is in them.
fn begun(seed: u64) -> (SimDisk, Ledger) {
    let mut ledger = Ledger::default();
    let disk = run(ledger.begin(&mut Rng::new(seed), seed));
    (disk, ledger)
}

/// The blocks of `seed` through one run, in whose call `at` the machine stops, and several starts that could follow: after
/// power was lost, after it was lost again during the start, and after a kill with power lost during the start. How many
/// calls the run made, and how many stops it stood for.
fn crash(begun: &(SimDisk, Ledger), seed: u64, at: Option<u64>) -> (u64, u64) {
    let faults = |crash_at| Faults { crash_at, ..Faults::default() };
    let (disk, mut ledger) = (begun.0.image_after_kill(faults(at)), begun.1.clone());
    let done = run(serve(&disk, &mut ledger, &mut Rng::new(!seed)));
    assert!(done.is_ok() || disk.crashed(), "seed {seed}, stopped in call {at:?}: {done:?}");
    let luck = seed.wrapping_mul(31).wrapping_add(at.unwrap_or(0));
    let then_at = Some(1 + luck % 12);
    let starts = [
        ("power lost", disk.image_after_crash(luck, Faults::default()), None),
        ("power lost twice", disk.image_after_crash(!luck, faults(then_at)), then_at),
        ("killed, then power lost", disk.image_after_kill(faults(then_at)), then_at),
    ];
    for (how, mut left, then_at) in starts {
        let story = format!("seed {seed}, stopped in call {at:?}, {how}, in call {then_at:?}");
        if then_at.is_some() {
            let opened = run(Store::open(&left, SHARDS));
            assert!(opened.is_ok() || left.crashed(), "{story}");
            left = left.image_after_crash(luck, Faults::default());
        }
        check_start(&left, &mut ledger.clone(), &story);
    }
    (disk.calls(), 3)
}

/// Each of the two tests below stops this often.
pub const POINTS_MIN: u64 = 10_000;

/// Stops in each call of the runs of these seeds, until there are so many stops.
fn crash_everywhere(seeds: impl Iterator<Item = u64>) {
    let (mut points, began) = (0, Instant::now());
    for seed in seeds {
        let begun = begun(seed);
        let (calls, _) = crash(&begun, seed, None);
        for at in 1..=calls {
            points += crash(&begun, seed, Some(at)).1;
        }
        if points >= POINTS_MIN {
            break;
        }
    }
    println!("{points} crash points in {:?}", began.elapsed());
    assert!(points >= POINTS_MIN);
}

#[test] // crash: each of at least 10,000 points is reproducible from the seed and the calls that a failure names
fn no_sample_is_lost_or_comes_back_by_a_crash_in_the_middle_of_any_call() {
    crash_everywhere((0..).step_by(2));
}

#[test] // crash: 10,000 more, beside the others
fn no_sample_is_lost_or_comes_back_by_a_crash_in_the_middle_of_any_other_call() {
    crash_everywhere((1..).step_by(2));
}

#[test]
fn random_runs_do_all_that_is_to_be_stopped() {
    let mut did = BTreeMap::new();
    for seed in 0..150 {
        let (disk, mut ledger) = begun(seed);
        run(serve(&disk, &mut ledger, &mut Rng::new(!seed))).unwrap();
        ledger.did.into_iter().for_each(|(what, times)| *did.entry(what).or_default() += times);
    }
    println!("{did:?}");
    assert_eq!(did.len(), 9, "{did:?}");
    assert!(did.values().all(|times: &usize| *times >= 3), "{did:?}");
}

#[test]
fn a_call_that_fails_costs_no_sample() {
    let (mut failed, mut full) = (0, 0);
    for seed in 0..150 {
        let begun = begun(seed);
        let (calls, _) = crash(&begun, seed, None);
        let mut rng = Rng::new(seed);
        for _ in 0..8 {
            let at = 1 + rng.below(calls.max(1));
            let kind =
                if rng.below(2) == 0 { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            let story = format!("seed {seed}, {kind:?} in call {at}");
            let faults = Faults { fail_at: Some((at, kind)), ..Faults::default() };
            let (disk, mut ledger) = (begun.0.image_after_kill(faults), begun.1.clone());
            let done = run(serve(&disk, &mut ledger, &mut Rng::new(!seed)));
            failed += u32::from(done.is_err());
            full += u32::from(kind == io::ErrorKind::StorageFull && done.is_err());
            // The server goes on, and then loses power.
            let disk = disk.image_after_kill(Faults::default());
            check_start(&disk, &mut ledger, &story);
            let again = run(serve(&disk, &mut ledger, &mut Rng::new(seed ^ at)));
            assert!(again.is_ok(), "{story}: {again:?}");
            check_start(&disk.image_after_crash(at, Faults::default()), &mut ledger, &story);
        }
    }
    assert!(failed > 200 && full > 50, "{failed} failed, {full} for want of room");
}

#[test]
fn a_flipped_bit_costs_its_block_at_most_and_no_start() {
    let (mut noticed, mut harmless) = (0, 0);
    for seed in 0..400 {
        let (disk, mut ledger) = begun(seed);
        let mut rng = Rng::new(seed);
        let of_blocks = |path: &String| !path.starts_with(FOREIGN);
        let paths: Vec<String> = disk.paths().into_iter().filter(of_blocks).collect();
        let path = &paths[pick(&mut rng, &paths).unwrap()];
        let len = run(async { floodplain::io::File::len(&disk.open(path).await.unwrap()) });
        disk.flip_bit(path, rng.below(8 * len));
        let story = format!("seed {seed}, a bit of {path} was flipped");
        let ulid = Ulid::from_string(path.split('/').nth(1).unwrap()).unwrap();
        let (all, others) = (together(&ledger.blocks), {
            let mut others = ledger.blocks.clone();
            others.remove(&ulid);
            together(&others)
        });
        // Compaction meets it, too; whatever comes of that, a start follows.
        let mut told = 0;
        for _ in 0..3 {
            let mut store =
                run(Store::open(&disk, SHARDS)).unwrap_or_else(|error| panic!("{story}: {error}"));
            told += store.damaged.len();
            let (found, lost) = run(store.read()).unwrap_or_else(|e| panic!("{story}: {e}"));
            told += lost.len();
            let found = together(&found);
            for (series, values) in &found {
                for (t, v) in values {
                    let sent = all.get(series).and_then(|values| values.get(t));
                    assert_eq!(sent, Some(v), "{story}: altered or invented");
                }
            }
            for (series, values) in &others {
                for (t, v) in values {
                    let there = found.get(series).and_then(|values| values.get(t));
                    assert_eq!(there, Some(v), "{story}: another block's sample is lost");
                }
            }
            let is_lost = found != all;
            assert!(!is_lost || told > 0, "{story}: lost in silence");
            let _ = run(ledger.compact(&mut store, &mut rng));
        }
        noticed += u32::from(told > 0);
        harmless += u32::from(told == 0);
    }
    assert!(noticed > 100, "noticed {noticed} times, harmless {harmless} times");
}
