//! The promise, on a disk that keeps as little as it may: what was acknowledged comes back, and nothing else does.
//!
//! A workload appends random samples, late ones among them, deletes some, lets chunks leave memory, writes checkpoints and
//! cuts blocks, through several starts with changing numbers of shards; the machine stops in the middle of one disk call after the
//! other, also during the starts that follow. A failure names its seed and its calls.
//! Values are floats, with the starts of their counters, and native histograms of both kinds; requests bring exemplars and what is
//! said of metric families, too.

use std::collections::BTreeMap;
use std::time::Duration;

use floodplain::io::sim::{Faults, Rng, SimDisk, run};
use floodplain::io::{Disk, File};
use floodplain::model::matcher::MatchOp;
use floodplain::model::{Matcher, TimeRange, TimestampMs};
use floodplain::storage::wal::SyncMode;

use crate::attached::Attached;
use crate::crash_store::{Manifest, NOW, Store, is_late};
use crate::values::some_bits;
use crate::whole_store::Samples;

/// What a workload has said and been told.
#[derive(Default)]
struct Ledger {
    /// And not deleted since.
    sent: Samples,
    /// And not deleted since, nor asked to be.
    acknowledged: Samples,
    /// Sent without an answer: a sender would send it again.
    unanswered: Option<Samples>,
    /// Time moves on only.
    t: i64,
    manifest: Option<Manifest>,
    /// What was sent and then deleted.
    deleted: Samples,
    /// Besides samples.
    sent_with: Attached,
    acknowledged_with: Attached,
}

/// Takes out what lies in `range`; of one series or of all.
fn take(from: &mut Samples, series: Option<&str>, range: TimeRange) -> Samples {
    let mut taken = Samples::new();
    let is_asked = |name: &str| series.is_none_or(|series| series == name);
    for (name, values) in from.iter_mut().filter(|(name, _)| is_asked(name)) {
        let all = std::mem::take(values).into_iter();
        let (gone, left) = all.partition(|(t, _)| range.contains(TimestampMs(*t)));
        *values = left;
        taken.insert(name.clone(), gone);
    }
    from.retain(|_, values| !values.is_empty());
    taken
}

fn add(to: &mut Samples, more: &Samples) {
    for (series, values) in more {
        to.entry(series.clone()).or_default().extend(values);
    }
}

impl Ledger {
    fn send(&mut self, request: &Samples) {
        add(&mut self.sent, request);
        self.sent_with.extend(&Attached::of(request));
    }

    fn acknowledge(&mut self, request: &Samples) {
        add(&mut self.acknowledged, request);
        self.acknowledged_with.extend(&Attached::of(request));
    }

    /// A request that follows all earlier ones in time.
    fn next_request(&mut self, rng: &mut Rng) -> Samples {
        let mut request = Samples::new();
        self.t = self.t.max(NOW.0 - 1_000_000_000);
        for _ in 0..=rng.below(6) {
            let name = format!("{:03}", rng.below(12));
            let series = request.entry(name.clone()).or_default();
            for i in 0..=rng.below(20) {
                let step = 1 + i64::try_from(rng.below(90_000)).unwrap();
                let t = self.t + i64::try_from(i).unwrap() * 100_000 + step / 2 * 2;
                assert!(!is_late(t));
                series.insert(t, some_bits(rng.next_u64(), &name));
            }
        }
        self.t += 2_000_000;
        if rng.below(2) == 0 {
            self.add_late(&mut request, rng);
        }
        request
    }

    /// Samples that are older than others, each at an instant of its own.
    fn add_late(&self, request: &mut Samples, rng: &mut Rng) {
        let series = format!("{:03}", rng.below(12));
        let count = if rng.below(4) == 0 { 40 } else { 1 + rng.below(4) };
        for _ in 0..count {
            let behind = 2_200_000 + i64::try_from(rng.below(10_000_000)).unwrap();
            let t = (self.t - behind) | 1;
            assert!(is_late(t));
            let is_sent = self.sent.get(&series).is_some_and(|sent| sent.contains_key(&t));
            if !is_sent {
                let bits = some_bits(rng.next_u64(), &series);
                request.entry(series.clone()).or_default().insert(t, bits);
            }
        }
    }

    /// Most starts keep the number of shards.
    async fn open(&mut self, disk: &SimDisk, rng: &mut Rng) -> Result<Store, String> {
        let manifest = self.manifest.get_or_insert_with(Manifest::new);
        let shards = if rng.below(2) == 0 {
            manifest.layout.shards
        } else {
            u16::try_from(1 + rng.below(3)).unwrap()
        };
        Store::open(disk, manifest, shards, SyncMode::Always).await
    }

    /// One start: some requests, with whatever else a server does in between. Ends early if the machine stops.
    async fn run(&mut self, disk: &SimDisk, rng: &mut Rng) -> Result<(), String> {
        let mut store = self.open(disk, rng).await?;
        for shard in &store.shards {
            assert_eq!(shard.report.damage, [], "a crash is not damage");
        }
        for _ in 0..=rng.below(5) {
            // A sender repeats what was not answered before it sends anything later.
            let request = match self.unanswered.take() {
                Some(request) => request,
                None => self.next_request(rng),
            };
            self.send(&request);
            self.unanswered = Some(request.clone());
            store.write(&request).await?;
            self.unanswered = None;
            self.acknowledge(&request);
            let which = usize::try_from(rng.below(store.shards.len() as u64)).unwrap();
            let shard = &mut store.shards[which];
            match rng.below(8) {
                0 => shard.files.spares().fill().await.map_err(|e| e.to_string())?,
                1 => shard.checkpoint().await?,
                2 => shard.spill().await?,
                3 | 4 => self.cut(&mut store, which, rng).await?,
                5 => self.delete(&mut store, rng).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes what one series or all have in some time, of all shards and blocks.
    async fn delete(&mut self, store: &mut Store, rng: &mut Rng) -> Result<(), String> {
        let series = (rng.below(3) > 0).then(|| format!("{:03}", rng.below(12)));
        let matchers: Vec<Matcher> = series
            .iter()
            .map(|series| Matcher::new("series", MatchOp::Equal, series).unwrap())
            .collect();
        let mut some_time = || i64::try_from(rng.below(10_000_000)).unwrap();
        let (min, len) = (self.t - some_time(), some_time() / 3);
        let range = TimeRange::new(TimestampMs(min), TimestampMs(min + len)).unwrap();
        // Until there is an answer it may be there or not.
        take(&mut self.acknowledged, series.as_deref(), range);
        for shard in &mut store.shards {
            shard.delete(&matchers, range).await?;
        }
        for block in self.manifest.as_mut().unwrap().blocks.values_mut() {
            take(block, series.as_deref(), range);
        }
        let gone = take(&mut self.sent, series.as_deref(), range);
        add(&mut self.deleted, &gone);
        Ok(())
    }

    /// Cuts a block of one shard if one is due; another request may come meanwhile.
    async fn cut(&mut self, store: &mut Store, which: usize, rng: &mut Rng) -> Result<(), String> {
        let Some((cut, extraction)) = store.shards[which].begin_cut(rng).await? else {
            return Ok(());
        };
        if rng.below(2) == 0 {
            let request = self.next_request(rng);
            self.send(&request);
            self.unanswered = Some(request.clone());
            store.write(&request).await?;
            self.unanswered = None;
            self.acknowledge(&request);
        }
        let blocks = &mut self.manifest.as_mut().unwrap().blocks;
        store.shards[which].end_cut(cut, extraction, blocks).await
    }

    /// What Heads and blocks have together, each sample once.
    fn recovered(&self, store: &Store, story: &str) -> Samples {
        let mut all = store.read();
        for block in self.manifest.iter().flat_map(|manifest| manifest.blocks.values()) {
            for (series, values) in block {
                for (t, v) in values {
                    let before = all.entry(series.clone()).or_default().insert(*t, *v);
                    assert_eq!(before, None, "{story}: series {series}, t {t} stands twice");
                }
            }
        }
        all.retain(|_, values| !values.is_empty());
        all
    }

    /// Acknowledged is contained in recovered, recovered is contained in sent.
    fn check(&self, recovered: &Samples, store: &Store, story: &str) {
        store.assert_starts(story);
        let attached = Attached::read(store.shards.iter().map(|shard| &shard.head));
        self.acknowledged_with.assert_in(&attached, &format!("{story}: acknowledged and lost"));
        attached.assert_in(&self.sent_with, &format!("{story}: recovered and never sent"));
        let contained = |small: &Samples, large: &Samples, what: &str| {
            for (series, values) in small {
                for (t, v) in values {
                    let there = large.get(series).and_then(|values| values.get(t));
                    assert_eq!(there, Some(v), "{story}: {what}: series {series}, t {t}");
                }
            }
        };
        contained(&self.acknowledged, recovered, "acknowledged and lost");
        contained(recovered, &self.sent, "recovered and never sent");
    }
}

/// What the first of two stops takes with it.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// Whatever was not flushed, as luck has it.
    Power,
    /// Nothing that was written; but it may not be durable yet.
    Kill,
}

/// Runs the workload of `seed` through three starts; the machine stops in call `first` of the first and loses power in
/// call `second` of the second. The number of calls that the first start makes if it is not stopped.
fn crash_twice(seed: u64, stop: Stop, first: Option<u64>, second: Option<u64>) -> u64 {
    let story = format!("seed {seed}, {stop:?} in call {first:?}, then Power in call {second:?}");
    let mut ledger = Ledger::default();
    let mut rng = Rng::new(seed);
    let crash = |at| Faults { crash_at: at, ..Faults::default() };
    let mut disk = SimDisk::with_faults(seed, crash(first));
    let stopped = run(ledger.run(&disk, &mut rng));
    assert!(stopped.is_ok() || disk.crashed(), "{story}: {stopped:?}");
    let calls = disk.calls();
    disk = match stop {
        Stop::Power => disk.image_after_crash(seed.wrapping_add(first.unwrap_or(0)), crash(second)),
        Stop::Kill => disk.image_after_kill(crash(second)),
    };
    let stopped = run(ledger.run(&disk, &mut rng));
    assert!(stopped.is_ok() || disk.crashed(), "{story}: {stopped:?}");
    disk = disk.image_after_crash(seed.wrapping_add(second.unwrap_or(0)), Faults::default());
    let store = run(ledger.open(&disk, &mut rng)).unwrap();
    for shard in &store.shards {
        assert_eq!(shard.report.damage, [], "{story}: a crash is not damage");
    }
    ledger.check(&ledger.recovered(&store, &story), &store, &story);
    calls
}

/// Each of the tests below stops this often.
pub const POINTS_MIN: u64 = 10_000;

/// Stops in the middle of one call after the other, with seeds from this one on.
fn crash_in_the_middle_of_any_call(first_seed: u64) {
    let mut points = 0;
    for seed in first_seed.. {
        let calls = crash_twice(seed, Stop::Power, None, None);
        for first in 1..=calls {
            crash_twice(seed, Stop::Power, Some(first), None);
            crash_twice(seed, Stop::Power, Some(first), Some(1 + (seed + first) % calls));
            crash_twice(seed, Stop::Kill, Some(first), Some(1 + (seed + first) % calls));
            points += 3;
        }
        if points >= POINTS_MIN {
            break;
        }
    }
    println!("{points} crash points");
    assert!(points >= POINTS_MIN);
}

#[test] // crash: at least 10,000 points, each reproducible from the seed and calls that a failure names
fn acknowledged_samples_survive_a_crash_in_the_middle_of_any_call() {
    crash_in_the_middle_of_any_call(0);
}

#[test] // crash: 10,000 more, beside the others
fn acknowledged_samples_survive_a_crash_in_the_middle_of_any_other_call() {
    crash_in_the_middle_of_any_call(1_000_000);
}

#[test]
fn a_store_that_cuts_blocks_for_days_keeps_everything_once() {
    for seed in 0..4 {
        let (disk, mut ledger, mut rng) = (SimDisk::new(seed), Ledger::default(), Rng::new(seed));
        for _ in 0..40 {
            run(ledger.run(&disk, &mut rng)).unwrap();
        }
        let story = format!("seed {seed}");
        let store = run(ledger.open(&disk, &mut rng)).unwrap();
        let recovered = ledger.recovered(&store, &story);
        assert_eq!(recovered, ledger.acknowledged, "{story}");
        ledger.check(&recovered, &store, &story);
        let deleted: usize = ledger.deleted.values().map(BTreeMap::len).sum();
        assert!(deleted > 100, "{story}: {deleted} samples were deleted");
        let blocks = ledger.manifest.as_ref().unwrap().blocks.len();
        assert!(blocks > 20, "{story}: {blocks} blocks");
        let chunks: u64 = store.shards.iter().map(|s| s.head.borrow().stats().chunks).sum();
        // Of a histogram whose counts have fallen each begins one.
        let all: usize = recovered.values().map(BTreeMap::len).sum();
        assert!(chunks < all as u64 / 3, "{story}: {chunks} chunks are left in the Head of {all}");
    }
}

/// Runs a workload to its end and hands out the disk and what was acknowledged.
fn finished(seed: u64) -> (SimDisk, Ledger) {
    let (disk, mut ledger, mut rng) = (SimDisk::new(seed), Ledger::default(), Rng::new(seed));
    run(ledger.run(&disk, &mut rng)).unwrap();
    (disk, ledger)
}

/// Is the first batch of this file the last of its log? Then damage to it cannot be told from a torn write, of which
/// nobody was told.
fn is_last_batch(disk: &SimDisk, path: &str, files: &[String]) -> bool {
    let (dir, name) = path.rsplit_once('/').unwrap();
    let newest = files.iter().filter(|file| file.starts_with(dir)).max() == Some(&path.to_owned());
    let second = run(async { disk.open(path).await.unwrap().read_at(4096, 16).await });
    // A file that is used again may hold batches of its earlier life, under another number.
    let follows = second.is_ok_and(|batch| {
        batch.starts_with(b"FPWL")
            && name.parse() == Ok(u64::from_le_bytes(batch[8..].try_into().unwrap()))
    });
    dir.ends_with("/wal") && newest && !follows
}

#[test]
fn a_flipped_bit_costs_one_batch_and_is_reported() {
    let mut reported = 0;
    for seed in 0..400 {
        let (disk, mut ledger) = finished(seed);
        let segments: Vec<String> =
            disk.paths().into_iter().filter(|p| !p.contains("spare")).collect();
        let mut rng = Rng::new(seed);
        let path = &segments[usize::try_from(rng.below(segments.len() as u64)).unwrap()];
        let could_be_torn = is_last_batch(&disk, path, &segments);
        disk.flip_bit(path, rng.below(8 * 4096));
        let store = run(ledger.open(&disk, &mut rng)).unwrap();
        let (mut recovered, unreadable) = store.read_what_is_readable();
        // Where the record of a cut is damaged the Head keeps what the block has.
        let blocks = &ledger.manifest.as_ref().unwrap().blocks;
        blocks.values().for_each(|block| add(&mut recovered, block));
        for (series, values) in &recovered {
            for (t, v) in values {
                // Where the record of a delete is damaged, that may be forgotten.
                let all = [&ledger.sent, &ledger.deleted];
                let mut known = all.iter().filter_map(|all| all.get(series)?.get(t));
                assert!(known.any(|known| known == v), "seed {seed}: altered or invented");
            }
        }
        let is_there =
            |series: &str, t| recovered.get(series).is_some_and(|all| all.contains_key(t));
        let acknowledged = ledger.acknowledged.iter();
        let all = acknowledged.flat_map(|(series, all)| all.keys().map(move |t| (series, t)));
        let lost = all.filter(|(series, t)| !is_there(series, t)).count();
        let damage: usize = store.shards.iter().map(|shard| shard.report.damage.len()).sum();
        let damage = damage + unreadable;
        reported += damage;
        assert!(
            lost == 0 || damage > 0 || could_be_torn,
            "seed {seed}: {lost} samples lost in silence, a bit of {path} was flipped"
        );
    }
    assert!(reported > 50, "damage was reported {reported} times");
}

/// Two shards with three requests to the same 12 series; then the batch that names the series of shard 0 is damaged.
fn damaged() -> (SimDisk, Manifest) {
    let (disk, mut manifest) = (SimDisk::new(1), Manifest::new());
    let mut store = run(Store::open(&disk, &mut manifest, 2, SyncMode::Always)).unwrap();
    for t in 0..3 {
        let series = (0..12u64).map(|i| (format!("{i:03}"), BTreeMap::from([(NOW.0 + t, i)])));
        run(store.write(&series.collect())).unwrap();
    }
    disk.flip_bit("shard-000/wal/00000001", 100 * 8);
    (disk, manifest)
}

#[test] // a segment with damage became a spare at the next checkpoint, and each of several new shards told of it
fn a_damaged_segment_is_kept_and_what_it_costs_is_told_once() {
    for shards in [1, 2, 3] {
        let (disk, mut manifest) = damaged();
        let store = run(Store::open(&disk, &mut manifest, shards, SyncMode::Always)).unwrap();
        let told: Vec<String> = store
            .shards
            .iter()
            .flat_map(|shard| &shard.report.damage)
            .map(|damage| format!("{}: {}", damage.file, damage.what))
            .collect();
        let left = store.read();
        let orphans = 2 * (12 - left.len());
        assert_eq!(
            told,
            [
                "shard-000/wal/00000001: 4096 bytes that are not batches, before valid ones"
                    .to_owned(),
                format!(
                    "shard-000/wal: {orphans} samples are lost: what named their series is damaged"
                ),
            ],
            "{shards} shards"
        );
        let kept: Vec<String> =
            disk.paths().into_iter().filter(|path| path.contains("quarantine")).collect();
        let place = "shard-000/quarantine/00000001.run-2";
        assert_eq!(kept, [place.to_owned(), format!("{place}.txt")], "{shards} shards");
        drop(store);
        let store = run(Store::open(&disk, &mut manifest, shards, SyncMode::Always)).unwrap();
        assert!(store.shards.iter().all(|shard| shard.report.damage.is_empty()));
        assert_eq!(store.read(), left, "{shards} shards");
    }
}

#[test]
fn a_crash_while_a_damaged_segment_is_put_aside_costs_nothing_more() {
    for shards in [1, 2, 3] {
        let (disk, mut manifest) = damaged();
        let before = disk.calls();
        let left = run(Store::open(&disk, &mut manifest, shards, SyncMode::Always)).unwrap().read();
        for at in before + 1..=disk.calls() {
            let story = format!("{shards} shards, crash in call {at}");
            let (disk, mut manifest) = damaged();
            disk.set_faults(Faults { crash_at: Some(at), ..Faults::default() });
            assert!(run(Store::open(&disk, &mut manifest, shards, SyncMode::Always)).is_err());
            let image = disk.image_after_crash(at, Faults::default());
            let store = run(Store::open(&image, &mut manifest, shards, SyncMode::Always)).unwrap();
            assert_eq!(store.read(), left, "{story}");
            let kept = |path: &String| {
                path.starts_with("shard-000/quarantine/00000001.run-") && !path.ends_with(".txt")
            };
            assert!(image.paths().iter().any(kept), "{story}: {:?}", image.paths());
        }
    }
}

#[test]
fn after_a_failed_write_or_flush_nothing_is_acknowledged_any_more() {
    for seed in 0..40 {
        let calls = finished(seed).0.calls();
        for at in 1..=calls {
            let faults =
                Faults { fail_at: Some((at, std::io::ErrorKind::Other)), ..Faults::default() };
            let (disk, mut ledger) = (SimDisk::with_faults(seed, faults), Ledger::default());
            let failed = run(ledger.run(&disk, &mut Rng::new(seed)));
            let image = disk.image_after_crash(seed + at, Faults::default());
            let store = run(ledger.open(&image, &mut Rng::new(at))).unwrap();
            let story = format!("seed {seed}, call {at} failed: {failed:?}");
            ledger.check(&ledger.recovered(&store, &story), &store, &story);
        }
    }
}

#[test]
fn shards_that_are_no_more_leave_no_directories_behind() {
    run(async {
        let (disk, mut manifest) = (SimDisk::new(1), Manifest::new());
        let mut ledger = Ledger::default();
        let mut store = Store::open(&disk, &mut manifest, 4, SyncMode::Always).await.unwrap();
        let request = ledger.next_request(&mut Rng::new(1));
        store.write(&request).await.unwrap();
        ledger.acknowledge(&request);
        ledger.send(&request);
        drop(store);
        disk.create("shard-003/ours-not", 0).await.unwrap();
        let store = Store::open(&disk, &mut manifest, 1, SyncMode::Always).await.unwrap();
        ledger.check(&store.read(), &store, "four shards, then one");
        let left = disk.list("").await.unwrap();
        let left: Vec<_> = left.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(left, ["shard-000", "shard-003"], "and what others have put there stays");
    });
}

#[test] // once, a descriptor or a block too few when a segment was used up cost a shard all writes until a restart
fn a_segment_that_cannot_be_begun_delays_writes_and_loses_none() {
    let (mut refused, mut went_on) = (0, 0);
    for seed in 0..40 {
        let calls = finished(seed).0.calls();
        for at in 1..=calls {
            let story = format!("seed {seed}, call {at} could not begin");
            let fail_at = Some((at, std::io::ErrorKind::ResourceBusy));
            let (mut rng, mut ledger) = (Rng::new(seed), Ledger::default());
            let disk = SimDisk::new(seed);
            let Ok(mut store) = run(ledger.open(&disk, &mut rng)) else { continue };
            disk.set_faults(Faults { fail_at, ..Faults::default() });
            for _ in 0..12 {
                let request = ledger.next_request(&mut rng);
                ledger.send(&request);
                let mut written = run(store.write(&request));
                if let Err(why) = written.clone() {
                    refused += 1;
                    // The sender sends it again. What else it sends in between is appended behind.
                    written = run(store.write(&request));
                    assert!(
                        written.is_ok() == why.contains("cannot begin segment"),
                        "{story}: {why}, then {written:?}"
                    );
                }
                if written.is_err() {
                    break;
                }
                went_on += u64::from(disk.calls() > at);
                ledger.acknowledge(&request);
            }
            drop(store);
            let image = disk.image_after_crash(seed + at, Faults::default());
            let store = run(ledger.open(&image, &mut rng)).unwrap();
            for shard in &store.shards {
                assert_eq!(shard.report.damage, [], "{story}");
            }
            ledger.check(&ledger.recovered(&store, &story), &store, &story);
        }
    }
    assert!(refused > 100 && went_on > 100, "{refused} refused, {went_on} went on");
}

#[test]
fn a_writer_that_failed_once_fails_for_ever() {
    let disk = SimDisk::new(1);
    run(async {
        let mut ledger = Ledger::default();
        let mut store =
            Store::open(&disk, &mut Manifest::new(), 2, SyncMode::Always).await.unwrap();
        // The first call names a segment, which may be tried again; the third writes.
        let fail_at = Some((disk.calls() + 3, std::io::ErrorKind::Other));
        disk.set_faults(Faults { fail_at, ..Faults::default() });
        let request = ledger.next_request(&mut Rng::new(1));
        assert!(store.write(&request).await.is_err());
        // The Head knows every sample of the retry: nothing is left to be written, and still it is not safe.
        let error = store.write(&request).await.unwrap_err();
        assert!(error.contains("an earlier write or flush failed"), "{error}");
    });
}

#[test]
fn without_a_flush_per_commit_a_killed_process_still_loses_nothing() {
    for sync in [SyncMode::Never, SyncMode::Interval(Duration::from_secs(1))] {
        for seed in 0..50 {
            let (disk, mut rng) = (SimDisk::new(seed), Rng::new(seed));
            let mut ledger = Ledger::default();
            let mut manifest = Manifest::new();
            let mut store = run(Store::open(&disk, &mut manifest, 2, sync)).unwrap();
            for _ in 0..4 {
                let request = ledger.next_request(&mut rng);
                run(store.write(&request)).unwrap();
                ledger.acknowledge(&request);
                ledger.send(&request);
            }
            drop(store); // kill -9: what the kernel has, it keeps
            let store = run(Store::open(&disk, &mut manifest, 3, sync)).unwrap();
            ledger.check(&store.read(), &store, &format!("seed {seed}"));
        }
    }
}
