//! What becomes of blocks is what should: merged, cleaned, taken apart and copied blocks hold the samples of a simple model,
//! and Debian's promtool reads them the same way.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use floodplain::encoding::block::meta::{BlockMeta, Origin, Ulid};
use floodplain::io::sim::{Faults, NoPace, Rng, SimDisk, run};
use floodplain::io::{BLOCK_BYTES, Disk, File};
use floodplain::model::matcher::MatchOp;
use floodplain::model::{Labels, Matcher, TimeRange, TimestampMs};
use floodplain::storage::block::{self, Block, IndexCache};
use floodplain::storage::blocks::{Inventory, Listed, open as open_all};
use floodplain::storage::compaction::export::{ExportOptions, export};
use floodplain::storage::compaction::history::replaced;
use floodplain::storage::compaction::import::{self, Adoption, How, ImportError};
use floodplain::storage::compaction::merge::{MergeOptions, Target};
use floodplain::storage::compaction::plan::{Candidate, Plan, PlanOptions, RANGE_MS, plan};
use floodplain::storage::compaction::run::{Made, clean, compact};
use floodplain::storage::compaction::{CompactionError, Stop, delete};

use crate::block_store::{Samples, add, labels, open_block, read, write};
use crate::peer::{PROMTOOL, installed};

const DIR: &str = "data";
const OWN: Origin = Origin { shard: 0, shards: 1 };

/// Random samples of `series` series from `min` to `max`, of a value every minute or so.
fn samples(rng: &mut Rng, series: u64, (min, max): (i64, i64)) -> Samples {
    let mut all = Samples::new();
    for series in (0..series).map(labels) {
        let (step, jitter) = (60_000 * (1 + rng.below(3)), rng.below(2) == 0);
        let (mut t, values) = (min + i64::try_from(rng.below(60_000)).unwrap(), all.entry(series));
        let values: &mut BTreeMap<i64, u64> = values.or_default();
        while t < max {
            values.insert(t, (rng.below(1 << 20) as f64 / 8.0).to_bits());
            t += i64::try_from(step + if jitter { rng.below(900) } else { 0 }).unwrap();
        }
    }
    all
}

async fn own_block(disk: &SimDisk, ulid: u128, time: (i64, i64), samples: &Samples) -> BlockMeta {
    let meta = BlockMeta::new(Ulid(ulid << 64), time.0, time.1);
    let meta = BlockMeta { floodplain: Some(OWN), ..meta };
    write(disk, DIR, meta, samples, 100).await.unwrap()
}

async fn metas(disk: &SimDisk) -> Vec<BlockMeta> {
    let mut metas = Vec::new();
    for ulid in block::list(disk, DIR).await.unwrap() {
        metas.push(open(disk, ulid).await.meta().clone());
    }
    metas
}

async fn open(disk: &SimDisk, ulid: Ulid) -> Block<SimDisk> {
    open_block(disk, &block::dir(DIR, ulid)).await.unwrap()
}

async fn next_plan(disk: &SimDisk) -> Plan {
    let metas = metas(disk).await;
    let mut candidates = Vec::new();
    for meta in &metas {
        let tombstone_count = open(disk, meta.ulid).await.tombstones().range_count();
        candidates.push(Candidate { meta, tombstone_count });
    }
    plan(&candidates, &PlanOptions::new(OWN, 0))
}

/// Names for new blocks, which sort behind all others.
struct Names(Cell<u128>);

impl Names {
    fn new() -> Self {
        Self(Cell::new(1 << 32))
    }

    fn next(&self) -> Ulid {
        self.0.set(self.0.get() + 1);
        Ulid(self.0.get() << 64)
    }
}

async fn merged(
    disk: &SimDisk,
    parents: &[Ulid],
    options: &MergeOptions<'_>,
) -> Result<Made, CompactionError> {
    let names = Names::new();
    let mut name = || names.next();
    let mut target = Target { disk, dir: DIR, name: &mut name };
    compact(&mut target, parents, options, &mut NoPace).await
}

/// All samples of the blocks that there are; where several have one at an instant, those of the first.
async fn all_samples(disk: &SimDisk, dir: &str) -> Samples {
    let mut all = Samples::new();
    for ulid in block::list(disk, dir).await.unwrap().into_iter().rev() {
        let block = open_block(disk, &block::dir(dir, ulid)).await.unwrap();
        let (samples, lost) = read(&block).await.unwrap();
        assert!(lost.is_empty(), "{lost:?}");
        add(&mut all, &samples);
    }
    all
}

async fn assert_sound(disk: &SimDisk, dir: &str) {
    for ulid in block::list(disk, dir).await.unwrap() {
        let block = open_block(disk, &block::dir(dir, ulid)).await.unwrap();
        let wrong = block.verify(&mut NoPace).await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

fn ulids(metas: &[BlockMeta]) -> Vec<Ulid> {
    metas.iter().map(|meta| meta.ulid).collect()
}

fn count(samples: &Samples) -> u64 {
    samples.values().map(|values| values.len() as u64).sum()
}

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap()
}

/// Copies all below `dir` to the host.
fn to_host(disk: &SimDisk, dir: &str, host: &Path) {
    for path in disk.paths() {
        let Some(below) = path.strip_prefix(&format!("{dir}/")) else { continue };
        let bytes = run(async {
            let file = disk.open_read(&path).await.unwrap();
            file.read_at(0, usize::try_from(file.len()).unwrap()).await.unwrap()
        });
        let to = host.join(below);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
}

fn promtool(args: &[&str], dir: &Path) -> String {
    let output = Command::new(PROMTOOL).args(args).arg(dir).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What promtool finds in a data directory.
fn dumped(dir: &Path) -> BTreeMap<String, BTreeMap<i64, u64>> {
    let mut samples: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
    for line in promtool(&["tsdb", "dump"], dir).lines() {
        let (rest, t) = line.rsplit_once(' ').unwrap();
        let (labels, value) = rest.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        samples.entry(labels.to_owned()).or_default().insert(t.parse().unwrap(), value.to_bits());
    }
    samples
}

#[test]
fn promtool_reads_blocks_that_were_merged_and_deleted_from() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let host = tempfile::tempdir().unwrap();
    let (disk, mut rng, mut model) = (SimDisk::new(1), Rng::new(1), Samples::new());
    run(async {
        // Ten ranges, and two blocks of late samples over some of them.
        let ranges = (0..10).map(|n| (n * RANGE_MS, (n + 1) * RANGE_MS));
        let times: Vec<_> =
            ranges.chain([(2 * RANGE_MS, 3 * RANGE_MS), (0, 6 * RANGE_MS)]).collect();
        let mut blocks = Vec::new();
        for (n, time) in (1..).zip(times) {
            let of_block = samples(&mut rng, 40 + 5 * u64::try_from(n % 4).unwrap(), time);
            own_block(&disk, n, time, &of_block).await;
            blocks.push(of_block);
        }
        blocks.iter().rev().for_each(|of_block| add(&mut model, of_block));
        let mut merges = 0;
        let names = Names::new();
        loop {
            let mut name = || names.next();
            let mut target = Target { disk: &disk, dir: DIR, name: &mut name };
            let options = MergeOptions { window_chunks: 100, ..MergeOptions::default() };
            let made = match next_plan(&disk).await {
                Plan::Nothing => break,
                Plan::Drop(gone) => Made { blocks: Vec::new(), replaced: gone },
                Plan::Merge(parents) => {
                    compact(&mut target, &parents, &options, &mut NoPace).await.unwrap()
                }
            };
            merges += made.blocks.len();
            for ulid in made.replaced {
                block::delete(&disk, DIR, ulid).await.unwrap();
            }
            assert_eq!(all_samples(&disk, DIR).await, model);
            if merges == 1 {
                let matchers = [Matcher::new("__name__", MatchOp::Equal, "m1").unwrap()];
                let gone = range(RANGE_MS + 5, 5 * RANGE_MS);
                for meta in metas(&disk).await {
                    let block = open(&disk, meta.ulid).await;
                    delete::delete(&disk, &block, &matchers, gone, &mut NoPace).await.unwrap();
                }
                for (labels, values) in &mut model {
                    let is_left = |t: i64| {
                        labels.get("__name__") != Some("m1") || !gone.contains(TimestampMs(t))
                    };
                    values.retain(|t, _| is_left(*t));
                }
            }
        }
        assert!(merges > 2, "{merges} merges");
        assert_sound(&disk, DIR).await;
    });
    to_host(&disk, DIR, host.path());
    fs::create_dir(host.path().join("wal")).unwrap(); // promtool opens a whole database
    let printed: BTreeMap<String, _> = model
        .iter()
        .map(|(labels, values)| (labels.as_ref().to_string(), values.clone()))
        .collect();
    assert_eq!(dumped(host.path()), printed);
    let listed = promtool(&["tsdb", "list"], host.path());
    assert_eq!(listed.lines().count(), 1 + run(metas(&disk)).len(), "{listed}");
    let analyzed = promtool(&["tsdb", "analyze"], host.path());
    assert!(analyzed.contains("Block ID:"), "{analyzed}");
}

#[test]
fn what_is_to_be_merged_is_read_once_and_the_new_block_counts_what_it_has() {
    run(async {
        let (disk, mut rng) = (SimDisk::new(1), Rng::new(1));
        let first = samples(&mut rng, 12, (0, RANGE_MS));
        let second = samples(&mut rng, 9, (RANGE_MS, 2 * RANGE_MS));
        let mut parents = vec![own_block(&disk, 1, (0, RANGE_MS), &first).await];
        parents.push(own_block(&disk, 2, (RANGE_MS, 2 * RANGE_MS), &second).await);
        let made = merged(&disk, &ulids(&parents), &MergeOptions::default()).await.unwrap();
        let [meta] = &made.blocks[..] else { panic!("{made:?}") };
        assert_eq!(made.replaced, ulids(&parents));
        assert_eq!((meta.min_time, meta.max_time), (0, 2 * RANGE_MS));
        assert_eq!(meta.stats.num_samples, count(&first) + count(&second));
        assert_eq!(meta.stats.num_series, 12);
        let chunks: u64 = parents.iter().map(|meta| meta.stats.num_chunks).sum();
        assert_eq!(meta.stats.num_chunks, chunks, "chunks are copied as they are");
        assert_eq!(open(&disk, meta.ulid).await.meta(), meta);
    });
}

#[test]
fn a_block_that_would_be_too_large_is_written_as_several() {
    run(async {
        let (disk, mut rng) = (SimDisk::new(1), Rng::new(1));
        let first = samples(&mut rng, 300, (0, RANGE_MS));
        let second = samples(&mut rng, 280, (0, RANGE_MS));
        let parents = [
            own_block(&disk, 1, (0, RANGE_MS), &first).await,
            own_block(&disk, 2, (0, RANGE_MS), &second).await,
        ];
        own_block(&disk, 3, (RANGE_MS, 2 * RANGE_MS), &first).await;
        let mut options = MergeOptions { window_chunks: 50, ..MergeOptions::default() };
        options.writer.limits.section_bytes_max = 4000;
        let made = merged(&disk, &ulids(&parents), &options).await.unwrap();
        assert!(made.blocks.len() > 3, "{} blocks", made.blocks.len());
        let (last, others) = made.blocks.split_last().unwrap();
        assert_eq!(last.compaction.parents.len(), 2);
        assert!(others.iter().all(|meta| meta.compaction.parents.is_empty()));
        assert_eq!(made.blocks.iter().map(|meta| meta.stats.num_series).sum::<u64>(), 300);
        let there = metas(&disk).await;
        let gone = replaced(&there.iter().collect::<Vec<_>>());
        assert_eq!(gone.into_iter().collect::<Vec<_>>(), ulids(&parents));
        for ulid in made.replaced {
            block::delete(&disk, DIR, ulid).await.unwrap();
        }
        let mut model = second;
        add(&mut model, &first);
        block::delete(&disk, DIR, Ulid(3 << 64)).await.unwrap();
        assert_eq!(all_samples(&disk, DIR).await, model);
        assert_sound(&disk, DIR).await;
        assert_eq!(next_plan(&disk).await, Plan::Nothing, "they are not merged again");
    });
}

#[test]
fn work_that_is_to_stop_leaves_everything_as_it_was() {
    run(async {
        let (disk, mut rng) = (SimDisk::new(1), Rng::new(1));
        let of_block = samples(&mut rng, 200, (0, RANGE_MS));
        let parents = [
            own_block(&disk, 1, (0, RANGE_MS), &of_block).await,
            own_block(&disk, 2, (0, RANGE_MS), &of_block).await,
        ];
        let before = disk.paths();
        for after in 0..5 {
            let asked = Cell::new(0);
            let is_wanted = || asked.replace(asked.get() + 1) >= after;
            let stop = Stop::when(&is_wanted);
            let options = MergeOptions { window_chunks: 20, stop, ..MergeOptions::default() };
            let stopped = merged(&disk, &ulids(&parents), &options).await;
            assert!(matches!(stopped, Err(CompactionError::Stopped)), "{after}: {stopped:?}");
            assert_eq!(disk.paths(), before);
        }
        assert_eq!(metas(&disk).await, parents);
    });
}

#[test]
fn a_damaged_block_is_marked_and_left_alone_and_others_are_merged() {
    run(async {
        let (disk, mut rng) = (SimDisk::new(1), Rng::new(1));
        let mut parents = Vec::new();
        for n in 0..4 {
            let time = (0, RANGE_MS);
            let time = if n < 2 { time } else { (time.0 + RANGE_MS, time.1 + RANGE_MS) };
            let of_block = samples(&mut rng, 20, time);
            parents.push(own_block(&disk, 1 + n, time, &of_block).await);
        }
        let damaged = block::dir(DIR, parents[1].ulid);
        disk.flip_bit(&format!("{damaged}/chunks/000001"), 8 * 5000);
        let Plan::Merge(chosen) = next_plan(&disk).await else { panic!("there are overlaps") };
        assert_eq!(chosen, ulids(&parents[..2]));
        let error = merged(&disk, &chosen, &MergeOptions::default()).await.unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("{damaged}/chunks/000001, byte ")),
            "{error}"
        );
        let failed: Vec<bool> =
            metas(&disk).await.iter().map(|meta| meta.compaction.failed).collect();
        assert_eq!(failed, [false, true, false, false]);
        assert_eq!(next_plan(&disk).await, Plan::Merge(ulids(&parents[2..])));
    });
}

/// Two blocks, and the one that they were merged into, all there still.
async fn merged_and_not_removed(dir: &str, origin: Origin) -> (SimDisk, Vec<Ulid>, Vec<Ulid>) {
    let (disk, names, mut rng) = (SimDisk::new(1), Names::new(), Rng::new(1));
    let mut parents = Vec::new();
    for ulid in [1, 2] {
        let meta = BlockMeta::new(Ulid(ulid << 64), 0, RANGE_MS);
        let meta = BlockMeta { floodplain: Some(origin), ..meta };
        let samples = samples(&mut rng, 2, (0, RANGE_MS));
        parents.push(write(&disk, dir, meta, &samples, 100).await.unwrap().ulid);
    }
    let mut name = || names.next();
    let mut target = Target { disk: &disk, dir, name: &mut name };
    let made = compact(&mut target, &parents, &MergeOptions::default(), &mut NoPace).await;
    (disk, parents, ulids(&made.unwrap().blocks))
}

#[test] // once, a start passed over the parents of a block that it then could not open: their samples were gone
fn when_a_merged_block_does_not_open_its_parents_are_read_and_when_it_does_they_are_to_go() {
    run(async {
        let dir = "shard-000";
        for is_broken in [false, true] {
            let (disk, parents, merged) = merged_and_not_removed(dir, OWN).await;
            if is_broken {
                disk.flip_bit(&format!("{}/index", block::dir(dir, merged[0])), 0);
            }
            let inventory = Inventory::take(&disk, &mut NoPace).await.unwrap();
            let cache = Rc::new(IndexCache::new(1 << 20));
            let opened = open_all(&disk, OWN, &inventory, &cache, 7, &mut NoPace).await.unwrap();
            let served: Vec<Ulid> =
                opened.blocks.iter().map(|served| served.block.meta().ulid).collect();
            let gone: Vec<Ulid> = opened.replaced.iter().map(|listed| listed.meta.ulid).collect();
            if is_broken {
                assert_eq!((served, gone), (parents, Vec::new()));
                assert_eq!(opened.damage.len(), 1);
                assert_eq!(block::list(&disk, dir).await.unwrap().len(), 2, "it is put aside");
            } else {
                assert_eq!((served, gone), (merged, parents));
            }
        }
    });
}

#[test] // once, nobody removed them: when all had their parts of the merged block they came back, and what was deleted since
fn what_was_replaced_in_a_former_layout_is_to_go_before_its_successor_can() {
    run(async {
        // Shard 1 of two merges, and the process ends before the parents are removed. Then there are three, or one.
        let (dir, former) = ("shard-001", Origin { shard: 1, shards: 2 });
        let (disk, parents, merged) = merged_and_not_removed(dir, former).await;
        for (shards, keeper) in [(3, 1), (1, 0)] {
            for shard in 0..shards {
                let inventory = Inventory::take(&disk, &mut NoPace).await.unwrap();
                let (own, cache) = (Origin { shard, shards }, Rc::new(IndexCache::new(1 << 20)));
                let opened =
                    open_all(&disk, own, &inventory, &cache, 7, &mut NoPace).await.unwrap();
                let names = |listed: &[Listed]| -> Vec<(u16, Ulid)> {
                    listed.iter().map(|listed| (listed.shard, listed.meta.ulid)).collect()
                };
                let gone = if shard == keeper { parents.as_slice() } else { &[] };
                let gone: Vec<(u16, Ulid)> = gone.iter().map(|ulid| (1, *ulid)).collect();
                assert_eq!(names(&opened.replaced), gone, "shard {shard} of {shards}");
                assert_eq!(names(&opened.mixed), [(1, merged[0])], "shard {shard} of {shards}");
                assert_eq!(opened.blocks.len(), 1, "shard {shard} of {shards}");
            }
        }
    });
}

#[test]
fn want_of_room_marks_nothing() {
    run(async {
        let (disk, mut rng) = (SimDisk::new(1), Rng::new(1));
        let of_block = samples(&mut rng, 20, (0, RANGE_MS));
        let parents = [
            own_block(&disk, 1, (0, RANGE_MS), &of_block).await,
            own_block(&disk, 2, (0, RANGE_MS), &of_block).await,
        ];
        let before = disk.paths();
        let mut used = BLOCK_BYTES as u64;
        for path in &before {
            used += disk.open(path).await.unwrap().len();
        }
        disk.set_faults(Faults { capacity_bytes: Some(used), ..Faults::default() });
        merged(&disk, &ulids(&parents), &MergeOptions::default()).await.unwrap_err();
        disk.set_faults(Faults::default());
        assert_eq!(disk.paths(), before);
        assert_eq!(metas(&disk).await, parents);
        merged(&disk, &ulids(&parents), &MergeOptions::default()).await.unwrap();
    });
}

#[test]
fn blocks_of_which_all_is_deleted_become_nothing() {
    run(async {
        let (disk, mut rng) = (SimDisk::new(1), Rng::new(1));
        let of_block = samples(&mut rng, 20, (0, RANGE_MS));
        let parents = [
            own_block(&disk, 1, (0, RANGE_MS), &of_block).await,
            own_block(&disk, 2, (0, RANGE_MS), &of_block).await,
        ];
        let all = [Matcher::new("__name__", MatchOp::Regex, ".+").unwrap()];
        for meta in &parents {
            let block = open(&disk, meta.ulid).await;
            let delete = async |range| {
                delete::delete(&disk, &block, &all, range, &mut NoPace).await.unwrap()
            };
            assert!(delete(TimeRange::ALL).await);
            assert!(!delete(range(0, 5)).await, "it was deleted before");
            assert_eq!(block.tombstones().range_count(), 20);
        }
        let made = merged(&disk, &ulids(&parents), &MergeOptions::default()).await.unwrap();
        assert_eq!(made, Made { blocks: Vec::new(), replaced: ulids(&parents) });
        let there = metas(&disk).await;
        assert!(there.iter().all(|meta| meta.compaction.deletable));
        assert!(there.iter().all(|meta| meta.stats.num_tombstones == 20));
        assert_eq!(next_plan(&disk).await, Plan::Drop(ulids(&parents)));
    });
}

#[test]
fn a_cleaned_block_has_neither_tombstones_nor_what_they_delete() {
    run(async {
        let (disk, mut rng) = (SimDisk::new(1), Rng::new(1));
        let mut model = samples(&mut rng, 30, (0, RANGE_MS));
        let dirty = own_block(&disk, 1, (0, RANGE_MS), &model).await;
        let clean = async || {
            let names = Names::new();
            let mut name = || names.next();
            let mut target = Target { disk: &disk, dir: DIR, name: &mut name };
            clean(&mut target, dirty.ulid, &MergeOptions::default(), &mut NoPace).await.unwrap()
        };
        assert_eq!(clean().await, Made::default(), "there is nothing to clean");
        let block = open(&disk, dirty.ulid).await;
        let matchers = [Matcher::new("series", MatchOp::Regex, "00.|015").unwrap()];
        let gone = range(RANGE_MS / 4, RANGE_MS / 2);
        delete::delete(&disk, &block, &matchers, gone, &mut NoPace).await.unwrap();
        let all = [Matcher::new("series", MatchOp::Equal, "020").unwrap()];
        delete::delete(&disk, &block, &all, TimeRange::ALL, &mut NoPace).await.unwrap();
        model.remove(&labels(20));
        for (labels, values) in &mut model {
            if matchers[0].matches(labels.get("series").unwrap()) {
                values.retain(|t, _| !gone.contains(TimestampMs(*t)));
            }
        }
        let made = clean().await;
        let [meta] = &made.blocks[..] else { panic!("{made:?}") };
        assert_eq!(meta.compaction.level, 1);
        assert_eq!(meta.compaction.sources, [dirty.ulid]);
        assert_eq!(meta.stats.num_samples, count(&model));
        let cleaned = open(&disk, meta.ulid).await;
        assert!(cleaned.tombstones().is_empty());
        assert_eq!(read(&cleaned).await.unwrap().0, model);
        let texts = cleaned.label_values("series", &[], &mut NoPace).await.unwrap();
        assert!(!texts.contains(&"020".to_owned()));
        assert_sound(&disk, DIR).await;
    });
}

#[test]
fn what_is_exported_is_what_was_asked_for_in_aligned_blocks_of_nobody() {
    run(async {
        let (disk, to, mut rng) = (SimDisk::new(1), SimDisk::new(2), Rng::new(1));
        let mut blocks = Vec::new();
        // Two shards' blocks of the same time, one that is longer, and one far away.
        let times = [(0, RANGE_MS), (0, RANGE_MS), (RANGE_MS, 4 * RANGE_MS)];
        let far = (50 * RANGE_MS, 51 * RANGE_MS);
        let mut model = Samples::new();
        for (n, time) in (1..).zip(times.into_iter().chain([far])) {
            let mut of_block = samples(&mut rng, 30, time);
            let is_of_shard = |labels: &Labels| labels.get("series").unwrap() < "015";
            of_block.retain(|labels, _| n > 2 || is_of_shard(labels) == (n == 1));
            let meta = own_block(&disk, n, time, &of_block).await;
            blocks.push(open(&disk, meta.ulid).await);
            add(&mut model, &of_block);
        }
        let matchers = [Matcher::new("__name__", MatchOp::NotEqual, "m2").unwrap()];
        let time = range(RANGE_MS / 2, 51 * RANGE_MS);
        model.retain(|labels, _| matchers[0].matches(labels.get("__name__").unwrap()));
        model.values_mut().for_each(|values| values.retain(|t, _| time.contains(TimestampMs(*t))));
        let names = Names::new();
        let mut name = || names.next();
        let mut target = Target { disk: &to, dir: "export", name: &mut name };
        let (matchers, range_ms) = (&matchers[..], 2 * RANGE_MS);
        let selectors = &[matchers.to_vec()][..];
        let options = ExportOptions { selectors, time, range_ms, merge: MergeOptions::default() };
        let (blocks, told) = (blocks.iter().collect::<Vec<_>>(), Cell::new((0, 0)));
        let progress = |at, of| told.set((at, of));
        let made = export(&blocks, &mut target, &options, &progress, &mut NoPace).await.unwrap();
        let halves = |t: i64| t * 2 / RANGE_MS;
        let times: Vec<_> =
            made.iter().map(|meta| (halves(meta.min_time), halves(meta.max_time))).collect();
        assert_eq!(times, [(1, 4), (4, 8), (100, 102)]);
        assert_eq!(told.get(), (2, 3));
        let is_plain = |meta: &BlockMeta| {
            meta.floodplain.is_none()
                && meta.compaction.sources == [meta.ulid]
                && meta.compaction.level == 1
                && meta.compaction.parents.is_empty()
        };
        assert!(made.iter().all(is_plain));
        assert_eq!(all_samples(&to, "export").await, model);
        assert_sound(&to, "export").await;
    });
}

async fn rewrite_meta(disk: &SimDisk, dir: &str, change: impl FnOnce(String) -> String) {
    let path = format!("{dir}/meta.json");
    let mut file = disk.open(&path).await.unwrap();
    let len = usize::try_from(file.len()).unwrap();
    let text = change(String::from_utf8(file.read_at(0, len).await.unwrap()).unwrap());
    let mut bytes = text.clone().into_bytes();
    bytes.resize(text.len().next_multiple_of(BLOCK_BYTES), 0);
    file.write_at(&bytes, 0).await.unwrap();
    file.set_len(text.len() as u64).await.unwrap();
}

#[test]
fn a_block_whose_series_would_not_be_what_they_seem_is_not_imported() {
    run(async {
        let (disk, mut rng) = (SimDisk::new(1), Rng::new(1));
        let of_block = samples(&mut rng, 5, (0, RANGE_MS));
        let meta = own_block(&disk, 1, (0, RANGE_MS), &of_block).await;
        let dir = block::dir(DIR, meta.ulid);
        let thanos = |section: &str| format!("\"version\": 1,\n\t\"thanos\": {section}");
        let with = async |section: &str| {
            let change = |text: String| text.replace("\"version\": 1", &thanos(section));
            rewrite_meta(&disk, &dir, change).await;
            let checked = import::check(&disk, &dir, true, &mut NoPace).await;
            let back = |text: String| text.replace(&thanos(section), "\"version\": 1");
            rewrite_meta(&disk, &dir, back).await;
            checked
        };
        let labels = with(r#"{"labels": {"cluster": "a"}}"#).await.unwrap_err();
        assert!(labels.to_string().contains("external labels, cluster=\"a\""), "{labels}");
        let coarse = with(r#"{"labels": {}, "downsample": {"resolution": 300000}}"#).await;
        assert!(matches!(coarse, Err(ImportError::Downsampled { resolution_ms: 300_000, .. })));
        for plain in [r#"{"labels": {}, "source": "sidecar"}"#, r#"{"labels": null}"#] {
            assert_eq!(with(plain).await.unwrap().meta, meta, "{plain}");
        }
        disk.flip_bit(&format!("{dir}/chunks/000001"), 8 * 300);
        let damaged = import::check(&disk, &dir, true, &mut NoPace).await;
        assert!(matches!(damaged, Err(ImportError::Damaged { .. })), "{damaged:?}");
        assert!(import::check(&disk, &dir, false, &mut NoPace).await.is_ok(), "it opens");
    });
}

#[test]
fn an_imported_block_is_nobodys_and_its_own() {
    run(async {
        let (there, here, mut rng) = (SimDisk::new(1), SimDisk::new(2), Rng::new(1));
        let of_block = samples(&mut rng, 30, (0, RANGE_MS));
        let mut meta = own_block(&there, 1, (0, RANGE_MS), &of_block).await;
        let from = block::dir(DIR, meta.ulid);
        // What it says of other blocks is not believed.
        let parents = "\"compaction\": {\n\t\t\"deletable\": true,\n\t\t\"parents\": [{\"ulid\": \"01BKGV7JBM69T2G1BGBGM6KB12\", \"minTime\": 0, \"maxTime\": 1}],";
        rewrite_meta(&there, &from, |text| text.replace("\"compaction\": {", parents)).await;
        let foreign = import::check(&there, &from, true, &mut NoPace).await.unwrap();
        assert_eq!(foreign.meta.compaction.parents.len(), 1);
        let bytes = Cell::new(0);
        let progress = |more| bytes.set(bytes.get() + more);
        let adoption = |how, disk, ulid| Adoption {
            from: &from,
            foreign: &foreign,
            ulid,
            how,
            disk,
            dir: "shard-000",
            progress: &progress,
            stop: Stop::NEVER,
        };
        let copied =
            adoption(How::Copy(&there), &here, meta.ulid).publish(&mut NoPace).await.unwrap();
        meta.floodplain = None;
        assert_eq!(copied, meta);
        assert!(bytes.get() > 0 && bytes.get() <= foreign.bytes);
        assert_eq!(all_samples(&here, "shard-000").await, of_block);
        assert_sound(&here, "shard-000").await;
        // A linked one shares its bytes, and still is deleted from by itself.
        let linked = adoption(How::Link, &there, Ulid(9)).publish(&mut NoPace).await.unwrap();
        let block = open_block(&there, &block::dir("shard-000", linked.ulid)).await.unwrap();
        assert_eq!(read(&block).await.unwrap().0, of_block);
        delete::delete(&there, &block, &[], TimeRange::ALL, &mut NoPace).await.unwrap();
        assert_eq!(all_samples(&there, "shard-000").await, Samples::new());
        assert_eq!(all_samples(&there, DIR).await, of_block);
        assert_eq!(run(there.list("shard-000")).unwrap().len(), 1);
    });
}
