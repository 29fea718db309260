//! A snapshot on a disk that keeps as little as it may: it is whole or it is absent, and the blocks stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use floodplain::encoding::block::meta::{BlockMeta, Origin, Ulid};
use floodplain::io::Disk;
use floodplain::io::sim::{Faults, NoPace, Rng, SimDisk, run};
use floodplain::model::matcher::MatchOp;
use floodplain::model::{Labels, Matcher, TimeRange, TimestampMs};
use floodplain::storage::block::{self, Block};
use floodplain::storage::compaction::delete;
use floodplain::storage::compaction::merge::MergeOptions;
use floodplain::storage::compaction::plan::RANGE_MS;
use floodplain::storage::snapshot::{self, Share, assemble, hold};

use crate::block_store::{Samples, Store, labels, open_block, read, shard_of, together, write};

const SHARDS: u16 = 2;
const SERIES: u64 = 6;
const NAME: &str = "20171210T211224Z-2be650b6d2b73a68";

/// A disk with some blocks, all durable: of both shards or of one, of one range or of three, some of them mixed; of some
/// something is deleted.
async fn begun(seed: u64) -> SimDisk {
    let (mut rng, disk) = (Rng::new(seed), SimDisk::new(seed));
    let pattern = ["m0", "m1", "nothing"][usize::try_from(rng.below(3)).unwrap()];
    let deleted = [Matcher::new("__name__", MatchOp::Regex, pattern).unwrap()];
    for number in 1..=2 + rng.below(4) {
        let shard = u16::try_from(rng.below(u64::from(SHARDS))).unwrap();
        let origin = (rng.below(4) > 0).then_some(Origin { shard, shards: SHARDS });
        let length = if rng.below(4) == 0 { 3 } else { 1 };
        let min = i64::try_from(rng.below(6)).unwrap() / length * length * RANGE_MS;
        let max = min + length * RANGE_MS;
        let of_series = |series: u64| {
            let value = |t: i64| (t, t.cast_unsigned() ^ series << 40);
            let samples = (min..max).step_by(1_800_000).map(value);
            (labels(series), samples.collect::<BTreeMap<_, _>>())
        };
        let is_own = |l: &Labels| origin.is_none() || shard_of(l, SHARDS) == shard;
        let samples = (0..SERIES).map(of_series).filter(|(labels, _)| is_own(labels)).collect();
        let meta = BlockMeta::new(Ulid(u128::from(number) << 64), min, max);
        let (meta, dir) = (BlockMeta { floodplain: origin, ..meta }, format!("shard-{shard:03}"));
        let meta = write(&disk, &dir, meta, &samples, 2).await.unwrap();
        if origin.is_some() {
            let block = open_block(&disk, &block::dir(&dir, meta.ulid)).await.unwrap();
            let range = TimeRange::new(TimestampMs(0), TimestampMs(5 * RANGE_MS / 2)).unwrap();
            delete::delete(&disk, &block, &deleted, range, &mut NoPace).await.unwrap();
        }
    }
    disk
}

/// What the shards do for a snapshot, and after a failure.
async fn make(disk: &SimDisk, store: &Store) -> Result<(), String> {
    let made = try_make(disk, store).await;
    if made.is_err() {
        let _ = snapshot::discard(disk, NAME).await;
    }
    made
}

async fn try_make(disk: &SimDisk, store: &Store) -> Result<(), String> {
    let mut shares: Vec<Share> = Vec::new();
    for own in &store.shards {
        let all = store.shards.iter().flat_map(|shard| &shard.blocks);
        let is_mixed = |block: &Block<SimDisk>| block.meta().floodplain.is_none();
        let answers = |block: &&Block<SimDisk>| is_mixed(block) || !own.is_mixed(block.meta());
        let blocks = all.filter(answers).map(|block| (block, is_mixed(block)));
        let share = hold(disk, NAME, own.own, blocks).await;
        shares.push(share.map_err(|error| error.to_string())?);
    }
    let options = MergeOptions { window_chunks: 5, ..MergeOptions::default() };
    let owner = |route: u64| u16::try_from(route % u64::from(SHARDS)).unwrap();
    let mut next = 1u128 << 100;
    let mut ulid = || {
        next += 1;
        Ulid(next)
    };
    let made = assemble(disk, NAME, &shares, &owner, &mut ulid, &options, &mut NoPace).await;
    made.map(drop).map_err(|error| error.to_string())
}

/// What a snapshot holds, of which no blocks overlap; `None` if there is none.
async fn found(disk: &SimDisk, story: &str) -> Option<Samples> {
    let dir = snapshot::dir(NAME);
    let names = disk.list(snapshot::SNAPSHOTS).await.unwrap();
    names.iter().find(|entry| entry.name == NAME)?;
    let (mut all, mut times) = (BTreeMap::new(), Vec::new());
    let entries = disk.list(&dir).await.unwrap();
    let ulids = block::list(disk, &dir).await.unwrap();
    assert_eq!(entries.len(), ulids.len(), "{story}: {entries:?}");
    for ulid in ulids {
        let block = open_block(disk, &block::dir(&dir, ulid)).await;
        let block = block.unwrap_or_else(|error| panic!("{story}: {error}"));
        let (samples, lost) = read(&block).await.unwrap();
        assert!(lost.is_empty(), "{story}: {lost:?}");
        let meta = block.meta();
        assert_eq!((meta.ulid, meta.floodplain), (ulid, None), "{story}");
        times.push((meta.min_time, meta.max_time));
        all.insert(ulid, samples);
    }
    times.sort_unstable();
    assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{story}: {times:?}");
    Some(together(&all))
}

/// A start on what is left: the blocks are as they were, and the snapshot is whole or absent.
fn check(disk: &SimDisk, before: &Samples, story: &str) -> bool {
    run(async {
        snapshot::tidy(disk).await.unwrap_or_else(|error| panic!("{story}: {error}"));
        let store = Store::open(disk, SHARDS).await.unwrap_or_else(|e| panic!("{story}: {e}"));
        assert!(store.damaged.is_empty(), "{story}: {:?}", store.damaged);
        let (blocks, lost) = store.read().await.unwrap();
        assert!(lost.is_empty(), "{story}: {lost:?}");
        assert_eq!(&together(&blocks), before, "{story}");
        let temporary = disk.paths().into_iter().find(|path| path.contains(".tmp"));
        assert_eq!(temporary, None, "{story}");
        let made = found(disk, story).await;
        if let Some(made) = &made {
            assert_eq!(made, before, "{story}");
        }
        made.is_some()
    })
}

fn contents(disk: &SimDisk) -> (Store, Samples) {
    run(async {
        let store = Store::open(disk, SHARDS).await.unwrap();
        let before = together(&store.read().await.unwrap().0);
        (store, before)
    })
}

/// The test below stops this often.
pub const POINTS_MIN: u64 = 6_000;

#[test] // crash: after any call, of the process and of the start behind it
fn a_crash_leaves_a_snapshot_whole_or_absent_and_the_blocks_as_they_are() {
    let (mut points, mut whole, mut absent) = (0u64, 0u64, 0u64);
    for seed in 0.. {
        let disk = run(begun(seed));
        let mut calls = u64::MAX;
        for at in 1.. {
            if at > calls {
                break;
            }
            let running = disk.image_after_kill(Faults::default());
            let (store, before) = contents(&running);
            let first = running.calls();
            running.set_faults(Faults { crash_at: Some(first + at), ..Faults::default() });
            let made = run(make(&running, &store));
            assert!(made.is_ok() || running.crashed(), "seed {seed}, call {at}: {made:?}");
            if made.is_ok() {
                calls = calls.min(running.calls() - first);
            }
            let luck = seed.wrapping_mul(31).wrapping_add(at);
            let then = Faults { crash_at: Some(1 + luck % 9), ..Faults::default() };
            let killed = running.image_after_kill(then);
            let _ = run(snapshot::tidy(&killed));
            let starts = [
                ("power lost", running.image_after_crash(luck, Faults::default())),
                ("killed, then power lost", killed.image_after_crash(luck, Faults::default())),
            ];
            for (how, left) in starts {
                let story = format!("seed {seed}, stopped in call {at}, {how}");
                let is_there = check(&left, &before, &story);
                assert!(is_there || made.is_err(), "{story}: it was there");
                whole += u64::from(is_there);
                absent += u64::from(!is_there);
                points += 1;
            }
        }
        if points >= POINTS_MIN {
            break;
        }
    }
    println!("{points} crash points: {whole} whole, {absent} absent");
    assert!(points >= POINTS_MIN && whole > 20 && absent > 1000, "{points} {whole} {absent}");
}

#[test]
fn a_call_that_fails_leaves_no_snapshot_and_the_next_one_is_made() {
    let mut kinds = BTreeSet::new();
    for seed in 0..60 {
        let disk = run(begun(seed));
        let mut rng = Rng::new(seed);
        for _ in 0..12 {
            let running = disk.image_after_kill(Faults::default());
            let (store, before) = contents(&running);
            let first = running.calls();
            let at = 1 + rng.below(60);
            let kind =
                if rng.below(2) == 0 { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            let fail_at = Some((first + at, kind));
            running.set_faults(Faults { fail_at, ..Faults::default() });
            let made = run(make(&running, &store));
            running.set_faults(Faults::default());
            let story = format!("seed {seed}, {kind:?} in call {at}");
            if made.is_err() {
                kinds.insert(kind);
                assert_eq!(run(found(&running, &story)), None, "{story}");
                run(make(&running, &store)).unwrap_or_else(|error| panic!("{story}: {error}"));
            }
            assert!(check(&running, &before, &story), "{story}");
        }
    }
    assert_eq!(kinds.len(), 2, "{kinds:?}");
}
