//! The shards that test scripts of the query language are run over when it is to be real storage: Heads, and blocks that are
//! cut from them, on one simulated disk.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use floodplain::coordinator::route::shard_of;
use floodplain::encoding::block::meta::{Origin, Ulid};
use floodplain::io::Disk;
use floodplain::io::sim::{NoPace, SimDisk};
use floodplain::model::{
    BlockRange, Fingerprinter, HistogramEntry, LabelText, Labels, LabelsAt, Part, PartEntry,
    Refusals, Sample, Samples, Span, StartAt, TimestampMs, ValueRef,
};
use floodplain::query::script::{Loaded, Shards};
use floodplain::query::{Leaf, LeafFold, LeafPart, QueryError, Unpaced};
use floodplain::shard::folding::fold_leaf;
use floodplain::storage::block::{self, Block, IndexCache};
use floodplain::storage::chunk_cache::ChunkCache;
use floodplain::storage::cutting;
use floodplain::storage::files::{dirs, shard_dir};
use floodplain::storage::head::cut::Truncation;
use floodplain::storage::head::cut_plan::Extraction;
use floodplain::storage::head::doubt::resolve;
use floodplain::storage::head::remove::Removal;
use floodplain::storage::head::spill::SpillFiles;
use floodplain::storage::head::{FloatChunks, Head};
use floodplain::storage::selection::Selected;
use floodplain::storage::served::{Served, ServedBlock};
use floodplain::storage::wal::LogBuffer;

const BLOCK_MS: i64 = 2 * 60 * 60 * 1000;
/// Blocks that are cut at once at most: those of a script about years are wider.
const BLOCKS_MAX: i64 = 12;
/// Scripts store whole series one after the other, however long: nothing is too late.
const WINDOW_MS: i64 = 1 << 50;
/// A clock that all samples lie behind.
const NOW: TimestampMs = TimestampMs(1 << 52);

/// Where samples are when they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All in the Heads.
    InHeads,
    /// The older half of the time in blocks of two hours, of which the last one may be shorter. The rest is in the Heads, and
    /// its full chunks have left memory. What is loaded later and is older than that is late.
    HalfInBlocks,
}

/// Shards that store what a script loads.
pub struct StoredShards {
    kept: Kept,
    shards: Vec<Shard>,
    /// The newest sample's.
    newest: i64,
    /// Before this everything that was there has been cut.
    cut_until: i64,
}

/// One shard as the server builds it, without a core and a log.
struct Shard {
    own: Origin,
    keys: Fingerprinter,
    disk: SimDisk,
    head: Rc<RefCell<Head>>,
    log: RefCell<LogBuffer>,
    spill: Rc<SpillFiles<SimDisk>>,
    served: Served<SimDisk>,
    cache: Rc<IndexCache>,
    owns: Rc<dyn Fn(u64) -> bool>,
    next_name: Cell<u128>,
}

impl StoredShards {
    /// So many empty shards.
    pub fn new(shards: u16, kept: Kept) -> Self {
        let shards = (0..shards).map(|shard| Shard::new(Origin { shard, shards })).collect();
        Self { kept, shards, newest: i64::MIN, cut_until: 0 }
    }

    /// How many blocks there are.
    pub fn block_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.served.view().blocks().len()).sum()
    }

    /// From when on there are samples in the Heads; of a chunk of which a block has the beginning, from where that ends.
    pub fn oldest_in_heads(&self) -> Option<i64> {
        let ranges = self.shards.iter().filter_map(|shard| shard.head.borrow().stats().range);
        ranges.map(|range| range.min().0).min()
    }

    async fn cut(&mut self) {
        let end = self.newest / 2 + 1;
        if self.newest < 0 || end <= self.cut_until {
            return;
        }
        let width = BLOCK_MS * (end / BLOCK_MS / BLOCKS_MAX + 1);
        let mut start = self.cut_until;
        while start < end {
            let until = ((start / width + 1) * width).min(end);
            let range = BlockRange::new(TimestampMs(start), TimestampMs(until)).unwrap();
            for shard in &self.shards {
                shard.cut(range).await;
            }
            start = until;
        }
        self.cut_until = end;
    }
}

impl Shards for StoredShards {
    fn clear(&mut self) {
        let shards = u16::try_from(self.shards.len()).unwrap();
        *self = Self::new(shards, self.kept);
    }

    async fn load(&mut self, series: &[Loaded]) {
        for shard in &self.shards {
            shard.append(series).await;
        }
        let times = series.iter().flat_map(|series| series.samples.as_ref().iter());
        self.newest = times.map(|(t, _)| t.0).fold(self.newest, i64::max);
        if self.kept == Kept::HalfInBlocks {
            self.cut().await;
        }
    }

    async fn ask(&self, leaf: &Leaf) -> Result<Vec<LeafPart>, QueryError> {
        let mut parts = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            parts.push(shard.fold(leaf).await?);
        }
        Ok(parts)
    }
}

impl Shard {
    fn new(own: Origin) -> Self {
        let (disk, keys) = (SimDisk::new(1), Fingerprinter::new(1));
        let mut head = Head::with_window(keys.clone(), WINDOW_MS);
        head.set_float_chunks(FloatChunks::Xor2); // those have starts
        let dir = dirs(own.shard).head;
        let spill = floodplain::io::sim::run(async {
            disk.create_dir(&dir).await.unwrap();
            SpillFiles::open(disk.clone(), dir).await.unwrap()
        });
        // So small that it is full after a few scripts' chunks.
        let chunks = Rc::new(ChunkCache::new(1 << 14));
        spill.keep_chunks_in(&chunks);
        let cache = Rc::new(IndexCache::with_chunks(1 << 18, chunks));
        Self {
            own,
            keys,
            disk,
            head: Rc::new(RefCell::new(head)),
            log: RefCell::default(),
            spill: Rc::new(spill),
            served: Served::new(Vec::new()),
            cache,
            owns: Rc::new(move |route| shard_of(route, own.shards).0 == own.shard),
            next_name: Cell::new(1),
        }
    }

    /// Appends what of `series` is its own, in as many requests as a series changes between floats and histograms: a request
    /// has either before the other.
    async fn append(&self, series: &[Loaded]) {
        let own = series.iter().filter(|s| (self.owns)(self.keys.of(s.labels.as_ref()).route));
        let mut own: Vec<(&Labels, Vec<Samples>)> =
            own.map(|loaded| (&loaded.labels, of_one_kind(&loaded.samples))).collect();
        own.iter_mut().for_each(|(_, requests)| requests.reverse());
        while own.iter().any(|(_, requests)| !requests.is_empty()) {
            let next = own.iter_mut().filter_map(|(labels, left)| Some((*labels, left.pop()?)));
            let (part, text) = self.request(next);
            self.append_part(&part, &text).await;
        }
    }

    fn request<'a>(
        &self,
        series: impl Iterator<Item = (&'a Labels, Samples)>,
    ) -> (Part, LabelText) {
        let (mut part, mut text) = (Part::default(), LabelText::default());
        for (labels, samples) in series {
            let fingerprint = self.keys.of(labels.as_ref());
            let offset = u32::try_from(text.body.len()).unwrap();
            let len = u32::try_from(labels.as_bytes().len()).unwrap();
            text.body.extend_from_slice(labels.as_bytes());
            let labels = LabelsAt::Canonical(Span { offset, len });
            let mut starts = samples.starts.iter().peekable();
            for sample in &samples.floats {
                if let Some(start) = starts.next_if(|start| start.t == sample.t) {
                    let sample = u32::try_from(part.samples.len()).unwrap();
                    part.starts.push(StartAt { sample, start: start.start });
                }
                part.samples.push(*sample);
            }
            if !samples.floats.is_empty() {
                let samples_end = u32::try_from(part.samples.len()).unwrap();
                part.entries.push(PartEntry { fingerprint, labels, samples_end });
            }
            for sample in &samples.histograms {
                part.histograms.push(sample.t, sample.histogram.as_ref());
            }
            if !samples.histograms.is_empty() {
                let end = u32::try_from(part.histograms.len()).unwrap();
                part.histogram_entries.push(HistogramEntry { fingerprint, labels, end });
            }
        }
        (part, text)
    }

    async fn append_part(&self, part: &Part, text: &LabelText) {
        let bounds = self.head.borrow().bounds(NOW);
        let (mut refused, mut doubtful) = (Refusals::default(), Vec::new());
        {
            let (mut head, mut log) = (self.head.borrow_mut(), self.log.borrow_mut());
            let floats = head.append(part, 0..part.entries.len(), text, bounds, &mut log);
            let entries: Range<usize> = 0..part.histogram_entries.len();
            let histograms = head.append_histograms(part, entries, text, bounds, &mut log);
            for appended in [floats, histograms] {
                refused.append(appended.refused);
                doubtful.extend(appended.doubtful);
            }
        }
        let (head, log, pace) = (&self.head, &self.log, &mut NoPace);
        let resolved = resolve(head, log, &self.spill, part, text, &doubtful, bounds, pace).await;
        refused.append(resolved.refused);
        assert_eq!(refused, Refusals::default(), "scripts store what is taken");
        self.log.borrow_mut().take();
    }

    /// Makes a block of what the Head has in this range.
    async fn cut(&self, range: BlockRange) {
        self.spill.spill(&self.head, 0, &mut NoPace).await.unwrap();
        let name = self.next_name.get();
        self.next_name.set(name + 1);
        let cut =
            self.head.borrow_mut().freeze(Ulid(name << 64), range, &mut self.log.borrow_mut());
        let mut extraction = Extraction::of(&self.head.borrow(), cut);
        while !self.head.borrow_mut().extract_some(&mut extraction, 100) {}
        let plan = extraction.into_plan();
        if !plan.is_empty() {
            let written = cutting::write_block(&self.disk, self.own, plan, &mut NoPace).await;
            let written = written.unwrap();
            assert_eq!(written.lost.len(), 0);
            if let Some(meta) = written.meta {
                let path = block::dir(&shard_dir(self.own.shard), meta.ulid);
                let cache = Rc::clone(&self.cache);
                let block = Block::open(&self.disk, &path, cache, &mut NoPace).await.unwrap();
                self.served.change(vec![Rc::new(ServedBlock { block, is_mixed: false })], &[]);
            }
        }
        let mut truncation = Truncation::of(cut);
        while !self.head.borrow_mut().truncate_some(&mut truncation, 100) {}
        let mut removal = Removal::of(truncation.into_empty());
        while !self.head.borrow_mut().remove_some(&mut removal, 100) {}
        self.log.borrow_mut().take();
    }

    async fn fold(&self, leaf: &Leaf) -> Result<LeafPart, QueryError> {
        let (head, spill) = (Rc::clone(&self.head), Rc::clone(&self.spill));
        let (view, pace) = (self.served.view(), &mut NoPace);
        let found =
            Selected::find(head, spill, view, leaf.matchers(), leaf.range(), &self.owns, pace);
        let selected = found.await.unwrap().through_cache();
        let mut fold = LeafFold::new(leaf);
        let slice = &mut NoPace;
        let folding = fold_leaf(leaf, selected, &mut fold, &self.head, slice, &Unpaced);
        let mut selected = folding.await?;
        assert_eq!(selected.take_damage(), Vec::<String>::new());
        fold.finish(&Unpaced).await
    }
}

/// A series' samples, split where floats and histograms take turns.
fn of_one_kind(samples: &Samples) -> Vec<Samples> {
    let mut split: Vec<Samples> = Vec::new();
    let mut histograms = samples.histograms.iter();
    for (t, value) in samples.as_ref().iter() {
        let is_float = matches!(value, ValueRef::Float(_));
        let goes_on = split.last().is_some_and(|last| last.histograms.is_empty() == is_float);
        if !goes_on {
            split.push(Samples::default());
        }
        let last = split.last_mut().unwrap();
        match value {
            ValueRef::Float(v) => last.floats.push(Sample { t, v }),
            ValueRef::Histogram(_) => last.histograms.extend(histograms.next().cloned()),
        }
        let start = samples.starts.iter().find(|start| start.t == t);
        last.starts.extend(start.filter(|_| is_float));
    }
    split
}
