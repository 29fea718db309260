//! The promise, on a disk that keeps as little as it may: what was acknowledged comes back, and nothing else does.
//!
//! A workload appends random samples through several starts with changing numbers of shards; the machine stops in the
//! middle of one disk call after the other, also during the starts that follow. A failure names its seed and its calls.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use floodplain::io::Disk;
use floodplain::io::sim::{Faults, NoPace, Rng, SimDisk, run};
use floodplain::model::{
    Fingerprinter, LabelText, Labels, Part, PartEntry, Refusals, Sample, Span, TimeRange,
    TimestampMs,
};
use floodplain::storage::head::Head;
use floodplain::storage::wal::{
    Log, LogBuffer, ReplayReport, SegmentId, Sources, Spares, SyncMode, WalOptions, WalWriter,
    replay,
};

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const SEGMENT_BYTES: u64 = 32 << 10;

/// Series to time to value bits.
type Samples = BTreeMap<String, BTreeMap<i64, u64>>;

/// One shard as the server builds it, without a core of its own.
struct Shard {
    head: Head,
    log: LogBuffer,
    writer: WalWriter<SimDisk>,
    spares: Rc<Spares<SimDisk>>,
    report: ReplayReport,
}

struct Store {
    shards: Vec<Shard>,
    keys: Fingerprinter,
}

fn dir(shard: u64) -> String {
    format!("shard-{shard:03}/wal")
}

impl Store {
    async fn open(disk: &SimDisk, count: u64, run: u64, sync: SyncMode) -> Result<Self, String> {
        let keys = Fingerprinter::new(run);
        let mut shards = Vec::new();
        for own in 0..count {
            disk.create_dir(&dir(own)).await.map_err(|e| e.to_string())?;
            let logs: Vec<Log> =
                (0..4).map(|shard| Log { dir: dir(shard), own: shard == own }).collect();
            let mut head = Head::new(keys.clone());
            let shard_count = u16::try_from(count).unwrap();
            let sources = Sources {
                logs: &logs,
                from: SegmentId(0),
                shards: shard_count,
                owns: &|route| route % count == own,
                progress: &|_, _| {},
            };
            let report =
                replay(disk, sources, &mut head, &mut NoPace).await.map_err(|e| e.to_string())?;
            let spares = Spares::open(disk.clone(), dir(own), SEGMENT_BYTES)
                .await
                .map_err(|e| e.to_string())?;
            let spares = Rc::new(spares);
            let options = WalOptions {
                dir: dir(own),
                segment_bytes: SEGMENT_BYTES,
                sync,
                shards: shard_count,
                run,
                salts: keys.clone(),
            };
            let writer = WalWriter::new(
                options,
                Rc::clone(&spares),
                SegmentId(report.next_segment),
                report.next_sequence,
            );
            shards.push(Shard { head, log: LogBuffer::new(), writer, spares, report });
        }
        Ok(Self { shards, keys })
    }

    /// Appends `samples` and commits them; `Ok` is the acknowledgement.
    async fn write(&mut self, samples: &Samples) -> Result<(), String> {
        let count = self.shards.len() as u64;
        for (index, shard) in (0..).zip(&mut self.shards) {
            let (mut part, mut text) = (Part::default(), LabelText::default());
            for (series, values) in samples {
                let labels = Labels::from_pairs([("__name__", "m"), ("series", series)]).unwrap();
                let fingerprint = self.keys.of(labels.as_bytes());
                if fingerprint.route % count != index {
                    continue;
                }
                let span = Span {
                    offset: u32::try_from(text.body.len()).unwrap(),
                    len: u32::try_from(labels.as_bytes().len()).unwrap(),
                };
                text.body.extend_from_slice(labels.as_bytes());
                part.samples.extend(
                    values
                        .iter()
                        .map(|(t, v)| Sample { t: TimestampMs(*t), v: f64::from_bits(*v) }),
                );
                let samples_end = u32::try_from(part.samples.len()).unwrap();
                part.entries.push(PartEntry { fingerprint, labels: span, samples_end });
            }
            let appended =
                shard.head.append(&part, 0..part.entries.len(), &text, NOW, &mut shard.log);
            assert_eq!(
                appended.refused,
                Refusals::default(),
                "the workload sends only what must be taken"
            );
        }
        for shard in &mut self.shards {
            let mut payloads = shard.log.take();
            shard.writer.commit(&mut payloads).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn read(&self) -> Samples {
        let mut all = Samples::new();
        let mut samples = Vec::new();
        for shard in &self.shards {
            for series in shard.head.select(&[]) {
                samples.clear();
                shard.head.read(series, TimeRange::ALL, &mut samples);
                let name = shard.head.value_of(series, "series").unwrap().to_owned();
                let read: BTreeMap<_, _> = samples.iter().map(|s| (s.t.0, s.v.to_bits())).collect();
                assert_eq!(read.len(), samples.len(), "a sample stands twice");
                assert!(all.insert(name, read).is_none(), "a series lives in two shards");
            }
        }
        all
    }
}

/// What a workload has said and been told.
#[derive(Default)]
struct Ledger {
    sent: Samples,
    acknowledged: Samples,
    /// Sent without an answer: a sender would send it again.
    unanswered: Option<Samples>,
    /// Time moves on only.
    t: i64,
}

fn add(to: &mut Samples, more: &Samples) {
    for (series, values) in more {
        to.entry(series.clone()).or_default().extend(values);
    }
}

impl Ledger {
    /// A request that follows all earlier ones in time.
    fn next_request(&mut self, rng: &mut Rng) -> Samples {
        let mut request = Samples::new();
        self.t = self.t.max(NOW.0 - 1_000_000_000);
        for _ in 0..=rng.below(6) {
            let series = request.entry(format!("{:03}", rng.below(12))).or_default();
            for i in 0..=rng.below(20) {
                let step = 1 + i64::try_from(rng.below(90_000)).unwrap();
                series.insert(self.t + i64::try_from(i).unwrap() * 100_000 + step, rng.next_u64());
            }
        }
        self.t += 2_000_000;
        request
    }

    /// One start: some requests, with whatever else a server does in between. Ends early if the machine stops.
    async fn run(&mut self, disk: &SimDisk, run: u64, rng: &mut Rng) -> Result<(), String> {
        let mut store = Store::open(disk, 1 + rng.below(3), run, SyncMode::Always).await?;
        for shard in &store.shards {
            assert_eq!(shard.report.damage, [], "a crash is not damage");
        }
        for _ in 0..=rng.below(5) {
            // A sender repeats what was not answered before it sends anything later.
            let request = match self.unanswered.take() {
                Some(request) => request,
                None => self.next_request(rng),
            };
            add(&mut self.sent, &request);
            self.unanswered = Some(request.clone());
            store.write(&request).await?;
            self.unanswered = None;
            add(&mut self.acknowledged, &request);
            let which = usize::try_from(rng.below(store.shards.len() as u64)).unwrap();
            let shard = &mut store.shards[which];
            match rng.below(4) {
                0 => shard.spares.fill().await.map_err(|e| e.to_string())?,
                1 => drop(shard.writer.end_segment().await.map_err(|e| e.to_string())?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Acknowledged is contained in recovered, recovered is contained in sent.
    fn check(&self, recovered: &Samples, story: &str) {
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
    let stopped = run(ledger.run(&disk, 1, &mut rng));
    assert!(stopped.is_ok() || disk.crashed(), "{story}: {stopped:?}");
    let calls = disk.calls();
    disk = match stop {
        Stop::Power => disk.image_after_crash(seed.wrapping_add(first.unwrap_or(0)), crash(second)),
        Stop::Kill => disk.image_after_kill(crash(second)),
    };
    let stopped = run(ledger.run(&disk, 2, &mut rng));
    assert!(stopped.is_ok() || disk.crashed(), "{story}: {stopped:?}");
    disk = disk.image_after_crash(seed.wrapping_add(second.unwrap_or(0)), Faults::default());
    let store = run(Store::open(&disk, 1 + rng.below(3), 3, SyncMode::Always)).unwrap();
    for shard in &store.shards {
        assert_eq!(shard.report.damage, [], "{story}: a crash is not damage");
    }
    ledger.check(&store.read(), &story);
    calls
}

#[test] // crash: at least 10,000 points, each reproducible from the seed and calls that a failure names
fn acknowledged_samples_survive_a_crash_in_the_middle_of_any_call() {
    let mut points = 0;
    for seed in 0.. {
        let calls = crash_twice(seed, Stop::Power, None, None);
        for first in 1..=calls {
            crash_twice(seed, Stop::Power, Some(first), None);
            crash_twice(seed, Stop::Power, Some(first), Some(1 + (seed + first) % calls));
            crash_twice(seed, Stop::Kill, Some(first), Some(1 + (seed + first) % calls));
            points += 3;
        }
        if points >= 10_000 {
            break;
        }
    }
    println!("{points} crash points");
}

/// Runs a workload to its end and hands out the disk and what was acknowledged.
fn finished(seed: u64) -> (SimDisk, Ledger) {
    let (disk, mut ledger, mut rng) = (SimDisk::new(seed), Ledger::default(), Rng::new(seed));
    run(ledger.run(&disk, 1, &mut rng)).unwrap();
    (disk, ledger)
}

#[test]
fn a_flipped_bit_costs_one_batch_and_is_reported() {
    let mut reported = 0;
    for seed in 0..200 {
        let (disk, ledger) = finished(seed);
        let segments: Vec<String> =
            disk.paths().into_iter().filter(|p| !p.contains("spare")).collect();
        let mut rng = Rng::new(seed);
        let path = &segments[usize::try_from(rng.below(segments.len() as u64)).unwrap()];
        disk.flip_bit(path, rng.below(8 * 4096));
        let store = run(Store::open(&disk, 2, 2, SyncMode::Always)).unwrap();
        let recovered = store.read();
        for (series, values) in &recovered {
            for (t, v) in values {
                assert_eq!(ledger.sent[series].get(t), Some(v), "seed {seed}: altered or invented");
            }
        }
        let lost = ledger.acknowledged.values().map(BTreeMap::len).sum::<usize>()
            - recovered.values().map(BTreeMap::len).sum::<usize>();
        let damage: usize = store.shards.iter().map(|shard| shard.report.damage.len()).sum();
        reported += damage;
        // Only the last batch of a log can be taken for a torn write that nobody was told of.
        assert!(
            lost == 0 || damage > 0 || segments.len() <= 3,
            "seed {seed}: {lost} samples lost in silence"
        );
    }
    assert!(reported > 50, "damage was reported {reported} times");
}

#[test]
fn after_a_failed_write_or_flush_nothing_is_acknowledged_any_more() {
    for seed in 0..40 {
        let calls = finished(seed).0.calls();
        for at in 1..=calls {
            let faults =
                Faults { fail_at: Some((at, std::io::ErrorKind::Other)), ..Faults::default() };
            let (disk, mut ledger) = (SimDisk::with_faults(seed, faults), Ledger::default());
            let failed = run(ledger.run(&disk, 1, &mut Rng::new(seed)));
            let image = disk.image_after_crash(seed + at, Faults::default());
            let store = run(Store::open(&image, 1, 2, SyncMode::Always)).unwrap();
            ledger.check(&store.read(), &format!("seed {seed}, call {at} failed: {failed:?}"));
        }
    }
}

#[test]
fn a_writer_that_failed_once_fails_for_ever() {
    let faults = Faults { fail_at: Some((3, std::io::ErrorKind::Other)), ..Faults::default() };
    let disk = SimDisk::with_faults(1, faults);
    run(async {
        let mut store = Store::open(&disk, 1, 1, SyncMode::Always).await.unwrap();
        let mut ledger = Ledger::default();
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
            let mut store = run(Store::open(&disk, 2, 1, sync)).unwrap();
            for _ in 0..4 {
                let request = ledger.next_request(&mut rng);
                run(store.write(&request)).unwrap();
                add(&mut ledger.acknowledged, &request);
                add(&mut ledger.sent, &request);
            }
            drop(store); // kill -9: what the kernel has, it keeps
            let store = run(Store::open(&disk, 3, 2, sync)).unwrap();
            ledger.check(&store.read(), &format!("seed {seed}"));
        }
    }
}
