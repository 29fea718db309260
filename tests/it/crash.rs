//! The promise, on a disk that keeps as little as it may: what was acknowledged comes back, and nothing else does.
//!
//! A workload appends random samples through several starts with changing numbers of shards; the machine stops in the
//! middle of one disk call after the other, also during the starts that follow. A failure names its seed and its calls.

use std::collections::BTreeMap;
use std::time::Duration;

use floodplain::io::sim::{Faults, NoPace, Rng, SimDisk, run};
use floodplain::io::{Disk, File};
use floodplain::model::{
    Fingerprinter, LabelText, Labels, LabelsAt, Part, PartEntry, Refusals, Sample, Span, TimeRange,
    TimestampMs,
};
use floodplain::storage::files::{self, FileOptions, Files};
use floodplain::storage::head::Head;
use floodplain::storage::head::saved::Saving;
use floodplain::storage::replay::{Layout, ReplayReport};
use floodplain::storage::wal::{LogBuffer, SyncMode, WalWriter};

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const SEGMENT_BYTES: u64 = 32 << 10;

/// Series to time to value bits.
type Samples = BTreeMap<String, BTreeMap<i64, u64>>;

/// One shard as the server builds it, without a core of its own.
struct Shard {
    head: Head,
    log: LogBuffer,
    writer: WalWriter<SimDisk>,
    files: Files<SimDisk>,
    report: ReplayReport,
}

struct Store {
    shards: Vec<Shard>,
    keys: Fingerprinter,
}

/// What the server keeps in `floodplain.json`; a test keeps it beside the disk, durable at once.
#[derive(Clone, Copy)]
struct Manifest {
    run: u64,
    layout: Layout,
}

impl Manifest {
    fn new() -> Self {
        Self { run: 0, layout: Layout { shards: 2, since_run: 0 } }
    }
}

impl Shard {
    async fn checkpoint(&mut self) -> Result<(), String> {
        let log = self.writer.cut().await.map_err(|e| e.to_string())?;
        let mut saving = Saving::begin(self.head.series_count());
        let save = |bytes, payload: &mut Vec<u8>| {
            saving = self.head.save(saving, bytes, payload);
            !saving.is_done()
        };
        let spill_files = || self.head.spill_files();
        self.files.checkpoint(log, save, spill_files, &mut NoPace).await.map_err(|e| e.to_string())
    }
}

impl Store {
    async fn open(
        disk: &SimDisk,
        manifest: &mut Manifest,
        shards: u16,
        sync: SyncMode,
    ) -> Result<Self, String> {
        manifest.run += 1;
        let Manifest { run, layout } = *manifest;
        let keys = Fingerprinter::new(run);
        let (mut begun, mut pace) = (Vec::new(), NoPace);
        for shard in 0..shards {
            let options = FileOptions {
                shard,
                shards,
                run,
                layout,
                segment_bytes: SEGMENT_BYTES,
                sync,
                out_of_order_window_ms: 60 * 60 * 1000,
                stopwatch: || Duration::ZERO,
            };
            let owns = |route| shard_of(route, shards) == shard;
            let beginning =
                files::begin(disk.clone(), options, keys.clone(), &owns, &|_, _| {}, &mut pace);
            begun.push(beginning.await.map_err(|e| e.to_string())?);
        }
        if layout.shards != shards {
            manifest.layout = Layout { shards, since_run: run };
        }
        let mut opened = Vec::new();
        for begun in begun {
            let (head, files, writer, report) = begun.finish().await.map_err(|e| e.to_string())?;
            opened.push(Shard { head, log: LogBuffer::new(), writer, files, report });
        }
        Ok(Self { shards: opened, keys })
    }

    /// Appends `samples` and commits them; `Ok` is the acknowledgement.
    async fn write(&mut self, samples: &Samples) -> Result<(), String> {
        let count = u16::try_from(self.shards.len()).unwrap();
        for (index, shard) in (0..).zip(&mut self.shards) {
            let (mut part, mut text) = (Part::default(), LabelText::default());
            for (series, values) in samples {
                let labels = Labels::from_pairs([("__name__", "m"), ("series", series)]).unwrap();
                let fingerprint = self.keys.of(labels.as_ref());
                if shard_of(fingerprint.route, count) != index {
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
                part.entries.push(PartEntry {
                    fingerprint,
                    labels: LabelsAt::Canonical(span),
                    samples_end,
                });
            }
            let bounds = shard.head.bounds(NOW);
            let appended =
                shard.head.append(&part, 0..part.entries.len(), &text, bounds, &mut shard.log);
            assert_eq!(
                appended.refused,
                Refusals::default(),
                "the workload sends only what must be taken"
            );
        }
        for shard in &mut self.shards {
            let payloads = shard.log.take();
            shard.writer.commit(payloads).await.map_err(|e| e.to_string())?;
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

fn shard_of(route: u64, shards: u16) -> u16 {
    floodplain::coordinator::route::shard_of(route, shards).0
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
    manifest: Option<Manifest>,
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
            add(&mut self.sent, &request);
            self.unanswered = Some(request.clone());
            store.write(&request).await?;
            self.unanswered = None;
            add(&mut self.acknowledged, &request);
            let which = usize::try_from(rng.below(store.shards.len() as u64)).unwrap();
            let shard = &mut store.shards[which];
            match rng.below(4) {
                0 => shard.files.spares().fill().await.map_err(|e| e.to_string())?,
                1 => shard.checkpoint().await?,
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
            ledger.check(&store.read(), &format!("seed {seed}, call {at} failed: {failed:?}"));
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
        add(&mut ledger.acknowledged, &request);
        add(&mut ledger.sent, &request);
        drop(store);
        disk.create("shard-003/ours-not", 0).await.unwrap();
        let store = Store::open(&disk, &mut manifest, 1, SyncMode::Always).await.unwrap();
        ledger.check(&store.read(), "four shards, then one");
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
                add(&mut ledger.sent, &request);
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
                add(&mut ledger.acknowledged, &request);
            }
            drop(store);
            let image = disk.image_after_crash(seed + at, Faults::default());
            let store = run(ledger.open(&image, &mut rng)).unwrap();
            for shard in &store.shards {
                assert_eq!(shard.report.damage, [], "{story}");
            }
            ledger.check(&store.read(), &story);
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
                add(&mut ledger.acknowledged, &request);
                add(&mut ledger.sent, &request);
            }
            drop(store); // kill -9: what the kernel has, it keeps
            let store = run(Store::open(&disk, &mut manifest, 3, sync)).unwrap();
            ledger.check(&store.read(), &format!("seed {seed}"));
        }
    }
}
