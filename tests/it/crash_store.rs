//! The store that crash tests run: shards as the server builds them, without cores of their own, and beside them what the server
//! keeps in its manifest. Of a block only what matters to the Head is simulated: it comes into being in one step, with its
//! name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use ulid::Ulid;

use floodplain::encoding::xor2::{self, Xor2Reader};
use floodplain::io::Disk;
use floodplain::io::sim::{NoPace, Rng, SimDisk, run};
use floodplain::model::{Fingerprinter, Matcher, TimeRange, TimestampMs};
use floodplain::storage::files::{self, FileOptions, Files};
use floodplain::storage::head::cut::{Cut, Truncation};
use floodplain::storage::head::cut_plan::Extraction;
use floodplain::storage::head::delete::delete;
use floodplain::storage::head::head_chunk::HeadChunk;
use floodplain::storage::head::remove::Removal;
use floodplain::storage::head::{FloatChunks, Head};
use floodplain::storage::replay::{Layout, ReplayReport};
use floodplain::storage::wal::{LogBuffer, SyncMode, WalWriter};

use crate::attached::EXEMPLARS_MAX;
use crate::values::{bits_of, start_of};
use crate::whole_store::{Samples, append_own};

pub const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
pub const SEGMENT_BYTES: u64 = 32 << 10;
pub const WINDOW_MS: i64 = 4 * 60 * 60 * 1000;

/// One shard as the server builds it, without a core of its own.
pub struct Shard {
    pub number: u16,
    pub disk: SimDisk,
    pub head: RefCell<Head>,
    pub log: RefCell<LogBuffer>,
    pub writer: WalWriter<SimDisk>,
    pub files: Files<SimDisk>,
    pub report: ReplayReport,
}

pub struct Store {
    pub shards: Vec<Shard>,
    pub keys: Fingerprinter,
}

/// What the server keeps in `floodplain.json`, and the blocks; a test keeps them beside the disk, durable at once.
#[derive(Clone)]
pub struct Manifest {
    pub run: u64,
    pub layout: Layout,
    pub blocks: BTreeMap<Ulid, Samples>,
}

impl Manifest {
    pub fn new() -> Self {
        let layout = Layout { shards: 2, since_run: 0 };
        Self { run: 0, layout, blocks: BTreeMap::new() }
    }
}

impl Shard {
    pub async fn checkpoint(&mut self) -> Result<(), String> {
        let log = self.writer.cut().await.map_err(|e| e.to_string())?;
        self.files.checkpoint(log, &self.head, &mut NoPace).await.map_err(|e| e.to_string())
    }

    pub async fn spill(&self) -> Result<(), String> {
        let spilled = self.files.spill().spill(&self.head, 0, &mut NoPace).await;
        spilled.map(|_| ()).map_err(|e| e.to_string())
    }

    pub async fn commit(&mut self) -> Result<(), String> {
        let payloads = self.log.borrow_mut().take();
        self.writer.commit(payloads).await.map(|_| ()).map_err(|e| e.to_string())
    }

    /// Deletes the samples of these series within `range`, and commits that.
    pub async fn delete(&mut self, matchers: &[Matcher], range: TimeRange) -> Result<(), String> {
        let (head, log, spill) = (&self.head, &self.log, self.files.spill());
        let deleted = delete(head, log, spill, matchers, range, &mut NoPace).await;
        assert!(deleted.map_err(|e| e.to_string())?.1.is_empty());
        self.commit().await
    }

    /// Begins a cut if one is due.
    pub async fn begin_cut(&mut self, rng: &mut Rng) -> Result<Option<(Cut, Extraction)>, String> {
        let Some(range) = self.head.borrow().next_cut() else { return Ok(None) };
        let ulid = Ulid::from(u128::from(rng.next_u64()));
        let cut = self.head.borrow_mut().freeze(ulid, range, &mut self.log.borrow_mut());
        self.commit().await?;
        let extraction = Extraction::of(&self.head.borrow(), cut);
        Ok(Some((cut, extraction)))
    }

    pub async fn end_cut(
        &mut self,
        cut: Cut,
        mut extraction: Extraction,
        blocks: &mut BTreeMap<Ulid, Samples>,
    ) -> Result<(), String> {
        while !self.head.borrow_mut().extract_some(&mut extraction, 3) {}
        let sorted = extraction.into_plan().into_sorted();
        let symbols: Vec<&str> = sorted.symbols().collect();
        let mut block = Samples::new();
        let read = self.files.spill().read(&sorted.places(0..sorted.len()), &mut NoPace).await;
        let mut read = read.into_iter();
        for at in 0..sorted.len() {
            let series = sorted.series(at, &mut read).unwrap();
            assert!(series.lost.is_empty());
            let text = |at: u32| symbols[usize::try_from(at).unwrap()];
            let name = series.labels.iter().find(|(name, _)| text(*name) == "series");
            let samples = block.entry(text(name.unwrap().1).to_owned()).or_default();
            assert_starts(&series.chunks, "in a block");
            let mut read = floodplain::model::Samples::default();
            series.chunks.iter().for_each(|chunk| chunk.read(TimeRange::ALL, &mut read));
            for (t, value) in read.iter() {
                assert!(samples.insert(t.0, bits_of(value)).is_none());
            }
        }
        // The machine may stop while the block is written.
        let dir = format!("shard-{:03}", self.number);
        self.disk.sync_dir(&dir).await.map_err(|e| e.to_string())?;
        blocks.insert(cut.ulid, block);
        let mut truncation = Truncation::of(cut);
        while !self.head.borrow_mut().truncate_some(&mut truncation, 3) {}
        let mut removal = Removal::of(truncation.into_empty());
        while !self.head.borrow_mut().remove_some(&mut removal, 100) {}
        self.checkpoint().await
    }
}

impl Store {
    pub async fn open(
        disk: &SimDisk,
        manifest: &mut Manifest,
        shards: u16,
        sync: SyncMode,
    ) -> Result<Self, String> {
        manifest.run += 1;
        let Manifest { run, layout, ref blocks } = *manifest;
        let is_published = |ulid| blocks.contains_key(&ulid);
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
                exemplars_max: EXEMPLARS_MAX,
                stopwatch: || Duration::ZERO,
            };
            let owns = |route| shard_of(route, shards) == shard;
            let (disk, keys) = (disk.clone(), keys.clone());
            let beginning =
                files::begin(disk, options, keys, &owns, &is_published, &|_, _| {}, &mut pace);
            begun.push(beginning.await.map_err(|e| e.to_string())?);
        }
        if layout.shards != shards {
            manifest.layout = Layout { shards, since_run: run };
        }
        let mut opened = Vec::new();
        for (number, begun) in (0..).zip(begun) {
            let (mut head, files, writer, report) =
                begun.finish().await.map_err(|e| e.to_string())?;
            head.set_window(WINDOW_MS);
            head.set_float_chunks(FloatChunks::Xor2);
            let (head, log) = (RefCell::new(head), RefCell::default());
            opened.push(Shard { number, disk: disk.clone(), head, log, writer, files, report });
        }
        Ok(Self { shards: opened, keys })
    }

    /// Appends `samples` and commits them; `Ok` is the acknowledgement.
    pub async fn write(&mut self, samples: &Samples) -> Result<(), String> {
        let count = u16::try_from(self.shards.len()).unwrap();
        for (index, shard) in (0..).zip(&mut self.shards) {
            let own = |route| shard_of(route, count) == index;
            let (head, log, spill) = (&shard.head, &shard.log, shard.files.spill());
            append_own(head, log, spill, &self.keys, own, samples, NOW).await;
        }
        for shard in &mut self.shards {
            shard.commit().await?;
        }
        Ok(())
    }

    pub fn read(&self) -> Samples {
        let (all, unreadable) = self.read_what_is_readable();
        assert_eq!(unreadable, 0);
        all
    }

    /// Fails if a sample of a Head that did not come late has another start than it came with.
    pub fn assert_starts(&self, story: &str) {
        for shard in &self.shards {
            let mut extraction = Extraction::of_all(&shard.head.borrow());
            while !shard.head.borrow_mut().extract_some(&mut extraction, 3) {}
            let sorted = extraction.into_plan().into_sorted();
            let read = run(shard.files.spill().read(&sorted.places(0..sorted.len()), &mut NoPace));
            let mut read = read.into_iter();
            for at in 0..sorted.len() {
                assert_starts(&sorted.series(at, &mut read).unwrap().chunks, story);
            }
        }
    }

    /// All samples of the Heads, and how many chunks cannot be read.
    pub fn read_what_is_readable(&self) -> (Samples, usize) {
        let (mut all, mut unreadable) = (Samples::new(), 0);
        for shard in &self.shards {
            let selected = run(Head::select(&shard.head, &[], &mut NoPace));
            let head = shard.head.borrow();
            for series in selected {
                let (mut samples, mut pace) = (floodplain::model::Samples::default(), NoPace);
                let pieces = head.pieces(series, TimeRange::ALL);
                let spill = shard.files.spill();
                let read = spill.read_series(&pieces, TimeRange::ALL, &mut samples, &mut pace);
                unreadable += run(read).len();
                let name = head.value_of(series, "series").unwrap().to_owned();
                let read: BTreeMap<_, _> =
                    samples.iter().map(|(t, value)| (t.0, bits_of(value))).collect();
                assert_eq!(read.len(), samples.len(), "a sample stands twice");
                assert!(all.insert(name, read).is_none(), "a series lives in two shards");
            }
        }
        (all, unreadable)
    }
}

/// Fails if a sample that did not come late has another start than it came with.
pub fn assert_starts(chunks: &[HeadChunk], story: &str) {
    for chunk in chunks.iter().filter(|chunk| chunk.encoding == xor2::ENCODING) {
        for started in Xor2Reader::new(&chunk.bytes).unwrap().map(Result::unwrap) {
            let t = started.sample.t.0;
            assert!(is_late(t) || started.start.0 == start_of(t), "{story}: {started:?}");
        }
    }
}

/// Did the sample at `t` come late? Late ones have odd times, others even ones.
pub fn is_late(t: i64) -> bool {
    t % 2 != 0
}

pub fn shard_of(route: u64, shards: u16) -> u16 {
    floodplain::coordinator::route::shard_of(route, shards).0
}
