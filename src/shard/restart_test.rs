//! Tests of a shard on a disk that fails: whichever call it is, nothing that was acknowledged is lost, nothing is ever read
//! that was not sent, reads go on, and writes are taken again in the same process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::replaying::Replaying;
use super::work::Workbench;
use super::*;
use crate::io::sim::{Faults, SimClock, SimDisk};
use crate::model::matcher::MatchOp;
use crate::model::{
    ExemplarAt, Matcher, MetadataAt, MetricType, Sample, Span, TimeRange, TimestampMs,
};
use crate::query::memory::Budget;
use crate::rt::clock::since_first_asked;
use crate::rt::executor::testing::on_one_shard;
use crate::rt::timer;
use crate::storage::head::testing::{keys, request};
use crate::storage::selection::{Batch, Selected};

const SERIES: u32 = 3;
const MINUTE: i64 = 60_000;
/// A multiple of two hours.
const START: i64 = 236_112 * 120 * MINUTE;
const SEGMENT_BYTES: u64 = 32 << 10;

/// Time of every sample, by series.
type Times = BTreeMap<u32, BTreeSet<i64>>;

/// The value that a series has at an instant.
fn value(series: u32, t: i64) -> f64 {
    f64::from(series) * 1e6 + ((t - START) / MINUTE) as f64
}

fn samples(times: impl Iterator<Item = i64> + Clone) -> Vec<(u32, Vec<Sample>)> {
    let of = |series| {
        let sample = |t| Sample { t: TimestampMs(t), v: value(series, t) };
        (series, times.clone().map(sample).collect())
    };
    (0..SERIES).map(of).collect()
}

/// What else a write has brought, in words: an exemplar of the first series, and what is said of a family.
type Attached = BTreeSet<String>;

/// Puts into a request what belongs to its newest minute; what that is.
fn attach(part: &mut Part, text: &mut LabelText, minute: i64) -> Attached {
    let (t, help) = (START + minute * MINUTE, format!("Help {}.", minute % 4));
    let mut span = |bytes: &[u8]| {
        let offset = u32::try_from(text.body.len()).unwrap();
        text.body.extend(bytes);
        Span { offset, len: u32::try_from(bytes.len()).unwrap() }
    };
    let (family, help_at, unit) = (span(b"family"), span(help.as_bytes()), span(b""));
    let kind = MetricType::Gauge;
    part.metadata.push(MetadataAt { family, kind, help: help_at, unit, key: 0 });
    let first = *part.entries.first().unwrap();
    part.exemplars.push(ExemplarAt {
        fingerprint: first.fingerprint,
        series: first.labels,
        labels: unit,
        value: value(0, t),
        t: TimestampMs(t),
    });
    [help, format!("exemplar at {t}")].into()
}

/// What the shard answers of it.
async fn read_attached(shard: &Shard<SimClock, SimDisk>) -> Attached {
    let Response::Metadata(families) = shard.handle(Request::Metadata(None)).await else {
        panic!("not an answer to a question about metadata")
    };
    let asking = Arc::new(Asking::new(&Budget::unlimited().open()));
    let selection = ExemplarSelection { selectors: vec![vec![]], range: TimeRange::ALL, asking };
    let asked = Request::Exemplars(Arc::new(selection));
    let Response::Exemplars(series) = shard.handle(asked).await else {
        panic!("not an answer to a question about exemplars")
    };
    let series = series.unwrap();
    let helps = families.into_iter().flat_map(|(_, entries)| entries).map(|entry| entry.help);
    let exemplars = series.into_iter().flat_map(|series| series.exemplars).map(|exemplar| {
        assert_eq!(exemplar.value.to_bits(), value(0, exemplar.t.0).to_bits());
        format!("exemplar at {}", exemplar.t.0)
    });
    helps.chain(exemplars).collect()
}

/// A shard on a disk in memory, and what is known of what it should have.
struct World {
    disk: SimDisk,
    shard: Shard<SimClock, SimDisk>,
    sent: Times,
    acknowledged: Times,
    sent_with: Attached,
    acknowledged_with: Attached,
}

async fn open(disk: &SimDisk, run: u64, sync: SyncMode) -> Shard<SimClock, SimDisk> {
    let clock = SimClock::new(TimestampMs(START + 1000 * MINUTE));
    let shard = Shard::new(ShardId(0), Rc::new(|_| true), clock);
    open_shard(&shard, disk, run, sync).await;
    shard
}

async fn open_shard(shard: &Shard<SimClock, SimDisk>, disk: &SimDisk, run: u64, sync: SyncMode) {
    let options = FileOptions {
        shard: 0,
        shards: 1,
        run,
        layout: Layout { shards: 1, since_run: 0 },
        segment_bytes: SEGMENT_BYTES,
        sync,
        exemplars_max: 1000,
        stopwatch: since_first_asked,
    };
    let storage = StorageOptions {
        retention_ms: None,
        out_of_order_window_ms: 0,
        ..StorageOptions::default()
    };
    let work = Workbench::here(disk.clone(), |_, _| ShardId(0), || async {});
    let (options, replaying) = ((options, storage), Replaying::new(1));
    shard.open(disk.clone(), options, keys(), None, &replaying, work).await.unwrap();
}

/// What the shard answers with: all samples there are.
async fn read(shard: &Shard<SimClock, SimDisk>) -> Times {
    let (life, mut slice) = (shard.life().unwrap(), Slice::start());
    let (view, spill) = (life.served.view(), Rc::clone(&life.spill));
    let (head, owns): (_, Rc<dyn Fn(u64) -> bool>) = (Rc::clone(&life.head), Rc::new(|_| true));
    let found = Selected::find(head, spill, view, &[], TimeRange::ALL, &owns, &mut slice).await;
    let (mut found, mut batch, mut all) = (found.unwrap(), Batch::default(), Times::new());
    while found.read(&mut batch, &mut slice).await.unwrap() {
        for (run, samples) in batch.take_runs() {
            let labels = run.series.labels(&life.head).unwrap();
            let series: u32 = labels.get("series").unwrap().parse().unwrap();
            assert!(samples.histograms.is_empty(), "none was written");
            for Sample { t, v } in samples.floats {
                assert_eq!(v.to_bits(), value(series, t.0).to_bits(), "series {series} at {t:?}");
                all.entry(series).or_default().insert(t.0);
            }
        }
    }
    assert_eq!(found.take_damage(), Vec::<String>::new());
    all
}

impl World {
    async fn begin(seed: u64) -> Self {
        Self::with_sync(seed, SyncMode::Always).await
    }

    async fn with_sync(seed: u64, sync: SyncMode) -> Self {
        let disk = SimDisk::new(seed);
        let shard = open(&disk, 1, sync).await;
        Self::of(disk, shard)
    }

    fn of(disk: SimDisk, shard: Shard<SimClock, SimDisk>) -> Self {
        let (sent, acknowledged) = (Times::new(), Times::new());
        let (sent_with, acknowledged_with) = (Attached::new(), Attached::new());
        Self { disk, shard, sent, acknowledged, sent_with, acknowledged_with }
    }

    /// The call after `n` more ones fails, and later ones do not.
    fn fail_after(&self, n: u64, kind: ErrorKind) -> u64 {
        let at = self.disk.calls() + n;
        self.disk.set_faults(Faults { fail_at: Some((at, kind)), ..Faults::default() });
        at
    }

    async fn write(&mut self, minutes: std::ops::Range<i64>) -> Result<(), WriteFailed> {
        let newest = minutes.end - 1;
        let samples = samples(minutes.map(|minute| START + minute * MINUTE));
        let note = |times: &mut Times| {
            for (series, samples) in &samples {
                times.entry(*series).or_default().extend(samples.iter().map(|s| s.t.0));
            }
        };
        note(&mut self.sent);
        let (mut part, mut text) = request(&samples);
        let attached = attach(&mut part, &mut text, newest);
        self.sent_with.extend(attached.iter().cloned());
        let written = self.shard.handle(Request::Append(Box::new(part), Arc::new(text))).await;
        let Response::Appended(_, stored) = written else { panic!("not an answer to a write") };
        let stored = stored?;
        assert_eq!((stored.refused, stored.exemplars.written), (Refusals::default(), 1));
        note(&mut self.acknowledged);
        self.acknowledged_with.extend(attached);
        Ok(())
    }

    /// As a sender does: again until it is taken.
    async fn write_until_taken(&mut self, minutes: std::ops::Range<i64>) {
        for _ in 0..10_000 {
            if self.write(minutes.clone()).await.is_ok() {
                return;
            }
            timer::sleep(Duration::from_millis(1)).await;
        }
        panic!("writes were not taken again");
    }

    /// Deletes what series 0 has before this minute.
    async fn delete_before(&mut self, minute: i64) -> Result<(), NotDone> {
        let matcher = Matcher::new("series", MatchOp::Equal, "0").unwrap();
        let range = TimeRange::new(TimestampMs::MIN, TimestampMs(START + minute * MINUTE - 1));
        let asking = Arc::new(Asking::new(&Budget::unlimited().open()));
        let (selectors, range) = (vec![vec![matcher]], range.unwrap());
        let selection = Selection { selectors, range, items_max: None, asking };
        let Response::Done(done) =
            self.shard.handle(Request::DeleteSeries(Arc::new(selection))).await
        else {
            panic!("not an answer to a deletion")
        };
        done?;
        for times in [&mut self.sent, &mut self.acknowledged] {
            times.entry(0).or_default().retain(|t| *t >= START + minute * MINUTE);
        }
        Ok(())
    }

    fn check(&self, found: &Times, story: &str) {
        let minus = |all: &Times, known: &Times| -> Vec<(u32, i64)> {
            let flat = |(series, times): (&u32, &BTreeSet<i64>)| {
                let (series, times) = (*series, times.clone());
                times.into_iter().map(move |t| (series, t))
            };
            let known: BTreeSet<_> = known.iter().flat_map(flat).collect();
            all.iter().flat_map(flat).filter(|one| !known.contains(one)).collect()
        };
        assert_eq!(minus(&self.acknowledged, found), [], "{story}: lost");
        assert_eq!(minus(found, &self.sent), [], "{story}: deleted or never sent");
    }

    async fn check_reads(&self, story: &str) {
        self.check_shard(&self.shard, story).await;
    }

    async fn check_shard(&self, shard: &Shard<SimClock, SimDisk>, story: &str) {
        self.check(&read(shard).await, story);
        let found = read_attached(shard).await;
        let lost: Vec<_> = self.acknowledged_with.difference(&found).collect();
        let strange: Vec<_> = found.difference(&self.sent_with).collect();
        assert!(lost.is_empty() && strange.is_empty(), "{story}: lost {lost:?}, got {strange:?}");
    }

    /// Whatever ends the process now, the next one has what it should.
    async fn check_starts(&self, story: &str) {
        for seed in 0..3 {
            let images = [
                ("power was lost", self.disk.image_after_crash(seed, Faults::default())),
                ("it was killed", self.disk.image_after_kill(Faults::default())),
            ];
            for (end, disk) in images {
                let shard = open(&disk, 2, SyncMode::Always).await;
                self.check_shard(&shard, &format!("{story}, then {end}, seed {seed}")).await;
                assert_eq!(shard.close().await, Ok(()));
            }
        }
    }
}

/// Fails the `n`th call of some writes; how often the shard was opened anew. `None`: there were not so many calls.
async fn write_with_a_failure(n: u64, kind: ErrorKind) -> Option<u64> {
    let story = format!("call {n} fails, {kind:?}");
    let mut world = World::begin(n).await;
    world.write_until_taken(0..1).await;
    let at = world.fail_after(n, kind);
    for minute in 1..24 {
        if let Err(why) = world.write(minute..minute + 1).await {
            assert!(why.contains("simulated failure"), "{story}: {why}");
            world.check_reads(&format!("{story}, writes are refused")).await;
            // A resent sample that the failed batch held is acknowledged only when it is durable.
            world.write_until_taken(minute..minute + 1).await;
        }
        world.check_reads(&story).await;
    }
    world.check_starts(&story).await;
    let status = world.shard.status();
    assert_eq!((status.wal_failed, status.restarts), (false, world.shard.0.restarts.get()));
    assert_eq!(world.shard.close().await, Ok(()), "{story}");
    (world.disk.calls() >= at).then_some(status.restarts)
}

#[test] // once, a flush that failed cost a shard all writes until somebody restarted the process
fn a_call_that_fails_while_writing_costs_nothing_acknowledged_and_no_restart_of_the_process() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        on_one_shard(move |_| async move {
            let (mut restarts, mut n) = (0, 1);
            while let Some(more) = write_with_a_failure(n, kind).await {
                restarts += more;
                n += 1;
            }
            assert!(n > 40 && restarts > 10, "{n} calls, {restarts} times opened anew");
        });
    }
}

/// Fails a write, and the `n`th call after it; was the shard being opened anew then?
async fn open_with_a_failure(n: u64, kind: ErrorKind) -> bool {
    let story = format!("call {n} after a failure fails, {kind:?}");
    let mut world = World::begin(n).await;
    world.write_until_taken(0..20).await;
    let mut minute = 20;
    loop {
        world.fail_after(2, kind);
        if world.write(minute..minute + 1).await.is_err() {
            break;
        }
        // It was another one's call. Let that end.
        world.disk.set_faults(Faults::default());
        timer::sleep(Duration::from_millis(2)).await;
        minute += 1;
    }
    world.fail_after(n, kind);
    let mut was_hit = false;
    while let Err(why) = world.write(minute..minute + 1).await {
        was_hit |= why.contains("cannot be opened anew");
        world.check_reads(&story).await;
        timer::sleep(Duration::from_millis(5)).await;
    }
    world.check_reads(&story).await;
    world.check_starts(&story).await;
    assert_eq!(world.shard.close().await, Ok(()), "{story}");
    was_hit
}

#[test]
fn a_call_that_fails_while_a_shard_is_opened_anew_is_met_by_opening_it_once_more() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        on_one_shard(move |_| async move {
            // At once, because each waits for a second.
            let opening = |n| task::spawn("opening", open_with_a_failure(n, kind));
            let tried: Vec<_> = (1..40).map(opening).collect();
            let mut hit = 0;
            for tried in tried {
                hit += u32::from(tried.await.unwrap());
            }
            assert!(hit > 8, "only {hit} failures while it was opened anew");
        });
    }
}

#[test] // what was acknowledged as written is durable, too, once a shard was opened anew
fn a_flush_at_an_interval_that_fails_loses_nothing_that_was_written() {
    on_one_shard(|_| async {
        let (interval, mut all) = (SyncMode::Interval(Duration::from_millis(2)), 0);
        for n in 2..12 {
            let mut world = World::with_sync(n, interval).await;
            world.write_until_taken(0..1).await;
            let at = world.fail_after(n, ErrorKind::Other);
            let mut minute = 1;
            while world.disk.calls() < at {
                world.write_until_taken(minute..minute + 1).await;
                timer::sleep(Duration::from_millis(3)).await;
                minute += 1;
            }
            world.write_until_taken(minute..minute + 1).await;
            let restarts = world.shard.0.restarts.get();
            assert_eq!(world.shard.close().await, Ok(()), "{restarts} times opened anew");
            world.check_starts(&format!("call {n}, {restarts} times opened anew")).await;
            all += restarts;
        }
        assert!(all > 0, "no flush failed");
    });
}

/// Fails the `n`th call of a cut, then deletes something.
async fn cut_with_a_failure(n: u64, kind: ErrorKind) -> bool {
    let story = format!("call {n} of a cut fails, {kind:?}");
    let mut world = World::begin(n).await;
    for hour in 0..4 {
        world.write_until_taken(hour * 60..(hour + 1) * 60).await;
    }
    let at = world.fail_after(n, kind);
    let ended = |world: &World| {
        let inner = &world.shard.0;
        inner.cuts.get() + inner.cut_failures.get() + inner.restarts.get() > 0
    };
    for minute in 240.. {
        timer::sleep(Duration::from_millis(25)).await;
        world.write_until_taken(minute..minute + 1).await;
        world.check_reads(&story).await;
        if ended(&world) {
            break;
        }
    }
    let was_hit = world.disk.calls() >= at;
    world.disk.set_faults(Faults::default());
    // While a checkpoint or a new life is on its way it may be refused.
    let mut tries = 0;
    while let Err(why) = world.delete_before(60).await {
        tries += 1;
        assert!(tries < 1000, "{story}: {why:?}");
        timer::sleep(Duration::from_millis(5)).await;
    }
    world.check_reads(&format!("{story}, deleted")).await;
    world.check_starts(&format!("{story}, deleted")).await;
    assert_eq!(world.shard.close().await, Ok(()), "{story}");
    was_hit
}

#[test] // once, a block whose publishing failed at its last step came back with the next start, deleted samples and all
fn a_call_that_fails_while_a_block_is_cut_loses_nothing_and_brings_nothing_back() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        on_one_shard(move |_| async move {
            // At once, because each waits for the second that the shard waits.
            let cutting = |n| task::spawn("cut", cut_with_a_failure(n, kind));
            let cuts: Vec<_> = (1..100).map(cutting).collect();
            let mut hit = Vec::new();
            for cut in cuts {
                hit.push(cut.await.unwrap());
            }
            assert!(hit.iter().filter(|hit| **hit).count() > 30, "too few calls: {hit:?}");
        });
    }
}

#[test]
fn a_shard_that_cannot_be_opened_anew_is_read_and_refuses_writes_with_the_reason_until_there_is_room()
 {
    on_one_shard(|_| async {
        let mut world = World::begin(1).await;
        world.write_until_taken(0..60).await;
        let fail_at = Some((world.disk.calls() + 2, ErrorKind::Other));
        world.disk.set_faults(Faults { fail_at, capacity_bytes: Some(0), ..Faults::default() });
        world.write(60..61).await.unwrap_err();
        for _ in 0..50 {
            timer::sleep(Duration::from_millis(2)).await;
            let why = world.write(60..61).await.unwrap_err();
            assert!(why.contains("a batch") || why.contains("cannot be opened anew"), "{why}");
            world.check_reads("the disk is full").await;
        }
        let status = world.shard.status();
        assert_eq!((status.wal_failed, status.restarts), (true, 0));
        world.disk.set_faults(Faults::default());
        world.write_until_taken(60..61).await;
        assert_eq!(world.shard.status().restarts, 1);
        world.check_starts("there is room again").await;
        assert_eq!(world.shard.close().await, Ok(()));
    });
}

#[test] // once, such a segment was kept aside as at a start, and what only it held was lost to those who were told it was safe
fn a_shard_is_not_opened_anew_without_a_part_of_its_log_that_the_disk_does_not_read() {
    on_one_shard(|_| async {
        let mut world = World::begin(1).await;
        world.write_until_taken(0..60).await;
        world.disk.spoil("shard-000/wal/00000001", 0..u64::MAX);
        let fail_from = Some((world.disk.calls() + 1, ErrorKind::Other));
        world.disk.set_faults(Faults { fail_from, ..Faults::default() });
        world.write(60..61).await.unwrap_err();
        world.disk.set_faults(Faults::default());
        for _ in 0..50 {
            timer::sleep(Duration::from_millis(2)).await;
            let why = world.write(60..61).await.unwrap_err();
            assert!(why.contains("a batch") || why.contains("cannot be opened anew"), "{why}");
            world.check_reads("a segment cannot be read").await;
        }
        world.disk.heal();
        world.write_until_taken(60..61).await;
        world.check_reads("it can be read again").await;
        assert_eq!(world.shard.status().restarts, 1);
        world.check_starts("it can be read again").await;
        assert_eq!(world.shard.close().await, Ok(()));
    });
}

#[test]
fn a_query_that_began_before_the_log_failed_goes_on_with_what_it_began_with() {
    on_one_shard(|_| async {
        let mut world = World::begin(1).await;
        world.write_until_taken(0..60).await;
        let before = world.shard.life().unwrap();
        let mut slice = Slice::start();
        before.spill.spill(&before.head, 0, &mut slice).await.unwrap();
        let mut minute = 60_i64;
        while world.shard.0.restarts.get() == 0 {
            // The call may be another one's, such as that which prepares the next segment.
            world.fail_after(1 + minute.unsigned_abs() % 5, ErrorKind::Other);
            world.write_until_taken(minute..minute + 1).await;
            minute += 1;
        }
        let now = world.shard.life().unwrap();
        assert!(!Rc::ptr_eq(&before, &now));
        assert!(now.served.has_old_readers(), "nothing that it reads is removed");
        drop(before);
        assert!(!now.served.has_old_readers());
        assert_eq!(world.shard.close().await, Ok(()));
    });
}

impl World {
    /// Is a sample of this minute refused? It comes late.
    async fn refuses(&self, minute: i64) -> bool {
        let (part, text) = request(&samples(std::iter::once(START + minute * MINUTE)));
        let written = self.shard.handle(Request::Append(Box::new(part), Arc::new(text))).await;
        let Response::Appended(_, stored) = written else { panic!("not an answer to a write") };
        stored.unwrap().refused.samples.total() > 0
    }

    async fn take_late_samples(&self, out_of_order_window_ms: i64) {
        let storage = StorageOptions { out_of_order_window_ms, ..StorageOptions::default() };
        let answer = self.shard.handle(Request::Configure(Box::new(storage))).await;
        assert!(matches!(answer, Response::Done(Ok(()))));
    }
}

#[test]
fn how_late_samples_may_come_changes_while_it_runs_and_stays_so_when_it_is_opened_anew() {
    on_one_shard(|_| async {
        let mut world = World::begin(1).await;
        world.write_until_taken(30..31).await;
        assert!(world.refuses(20).await);
        world.take_late_samples(60 * MINUTE).await;
        assert!(!world.refuses(20).await);
        let mut minute = 31;
        while world.shard.0.restarts.get() == 0 {
            world.fail_after(2, ErrorKind::Other);
            // It may be another one's call that fails; then the next write is tried.
            world.write_until_taken(minute..minute + 1).await;
            minute += 1;
        }
        assert!(!world.refuses(21).await);
        world.take_late_samples(0).await;
        assert!(world.refuses(22).await);
        assert_eq!(world.shard.close().await, Ok(()));
    });
}

#[test]
fn a_shard_that_is_not_open_yet_is_told_how_to_keep_its_data() {
    on_one_shard(|_| async {
        let clock = SimClock::new(TimestampMs(START + 1000 * MINUTE));
        let shard: Shard<SimClock, SimDisk> = Shard::new(ShardId(0), Rc::new(|_| true), clock);
        let storage = StorageOptions { out_of_order_window_ms: 60 * MINUTE, ..Default::default() };
        let answer = shard.handle(Request::Configure(Box::new(storage))).await;
        assert!(matches!(answer, Response::Done(Ok(()))));
        let disk = SimDisk::new(1);
        open_shard(&shard, &disk, 1, SyncMode::Always).await;
        let mut world = World::of(disk, shard);
        world.write_until_taken(30..31).await;
        assert!(!world.refuses(20).await);
        assert_eq!(world.shard.close().await, Ok(()));
    });
}
