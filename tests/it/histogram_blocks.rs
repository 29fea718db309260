//! Blocks of series that have histograms, and floats: written for tests, and what work on blocks makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use floodplain::encoding::block::meta::{BlockMeta, Ulid};
use floodplain::encoding::chunk::FloatChunks;
use floodplain::encoding::chunk_encoder::{ChunkEncoder, EncodedChunk};
use floodplain::io::Disk;
use floodplain::io::sim::{NoPace, SimDisk, run};
use floodplain::model::matcher::MatchOp;
use floodplain::model::{
    AnyHistogramRef, HistogramRef, Matcher, Samples, TimeRange, TimestampMs, ValueRef,
};
use floodplain::storage::block::writer::{BlockWriter, ChunkToWrite, WriterOptions};
use floodplain::storage::block::{self, Block, IndexCache};
use floodplain::storage::compaction::delete;
use floodplain::storage::compaction::merge::{MergeOptions, Target};
use floodplain::storage::compaction::run::{clean, compact};

/// Writes a block with a series of the metric `shape` for each name, in chunks that our encoder makes.
pub async fn write_block<D: Disk>(
    disk: &D,
    dir: &str,
    meta: BlockMeta,
    series: &BTreeMap<String, Samples>,
) -> BlockMeta {
    let symbols: BTreeSet<&str> =
        series.keys().map(String::as_str).chain(["__name__", "shape"]).collect();
    let number =
        |text: &str| u32::try_from(symbols.iter().position(|s| *s == text).unwrap()).unwrap();
    let (options, pace) = (WriterOptions::default(), &mut NoPace);
    let mut each = symbols.iter().copied();
    let writer = BlockWriter::create(disk, dir, meta.ulid, &mut each, options, pace).await;
    let mut writer = writer.unwrap();
    for (name, samples) in series {
        let (mut encoder, mut chunks) = (ChunkEncoder::new(FloatChunks::Xor), Vec::new());
        for (t, value) in samples.iter() {
            encoder.push(TimestampMs(0), t, value, &mut chunks);
        }
        encoder.end(&mut chunks);
        let mut to_write = Vec::new();
        for EncodedChunk { range, encoding, bytes } in &chunks {
            to_write.push(ChunkToWrite { range: *range, encoding: *encoding, bytes });
        }
        let labels = [("__name__", "shape"), ("shape", name)].map(|(n, v)| (number(n), number(v)));
        writer.add_series(&labels, &to_write, pace).await.unwrap();
    }
    writer.finish(meta, pace).await.unwrap()
}

/// Rising histograms or floats, one a second.
fn rising(times: std::ops::Range<i64>, is_float: bool) -> Samples {
    let mut samples = Samples::default();
    for (t, n) in times.zip(1..) {
        let t = TimestampMs(t * 1000);
        let h = HistogramRef::<u64> { count: n, zero_count: n, ..HistogramRef::empty() };
        let value = match is_float {
            true => ValueRef::Float(n as f64),
            false => ValueRef::Histogram(AnyHistogramRef::Int(h)),
        };
        samples.push(t, value);
    }
    samples
}

async fn open(disk: &SimDisk, meta: &BlockMeta) -> Block<SimDisk> {
    let cache = Rc::new(IndexCache::new(1 << 20));
    Block::open(disk, &block::dir("data", meta.ulid), cache, &mut NoPace).await.unwrap()
}

#[test]
fn a_block_that_is_made_counts_its_floats_and_its_histograms() {
    run(async {
        let disk = SimDisk::new(1);
        let mut parents = Vec::new();
        // In the first block the one has floats, in the second both have histograms, of which a hundred are at the same time.
        for (number, times, is_float) in [(1, 0..300, true), (2, 200..500, false)] {
            let meta = BlockMeta::new(Ulid(number << 64), times.start * 1000, times.end * 1000);
            let of = |is_float| rising(times.clone(), is_float);
            let series = [("a".to_owned(), of(is_float)), ("b".to_owned(), of(false))];
            let meta = write_block(&disk, "data", meta, &series.into()).await;
            let floats = if is_float { 300 } else { 0 };
            let stats = meta.stats;
            let counted = (stats.num_samples, stats.num_float_samples, stats.num_histogram_samples);
            assert_eq!(counted, (600, floats, 600 - floats));
            parents.push(meta.ulid);
        }
        let mut next = Ulid(9 << 64);
        let mut name = || {
            next = Ulid(next.0 + (1 << 64));
            next
        };
        let mut target = Target { disk: &disk, dir: "data", name: &mut name };
        let options = MergeOptions::default();
        let made = compact(&mut target, &parents, &options, &mut NoPace).await.unwrap();
        let [meta] = &made.blocks[..] else { panic!("{made:?}") };
        let stats = meta.stats;
        let counted = (stats.num_samples, stats.num_float_samples, stats.num_histogram_samples);
        assert_eq!(counted, (1000, 300, 700));
        let merged = open(&disk, meta).await;
        assert_eq!(merged.verify(&mut NoPace).await.len(), 0);

        let matchers = [Matcher::new("shape", MatchOp::Equal, "a").unwrap()];
        let gone = TimeRange::new(TimestampMs(290_000), TimestampMs(309_999)).unwrap();
        assert!(delete::delete(&disk, &merged, &matchers, gone, &mut NoPace).await.unwrap());
        let made = clean(&mut target, meta.ulid, &options, &mut NoPace).await.unwrap();
        let [meta] = &made.blocks[..] else { panic!("{made:?}") };
        let stats = meta.stats;
        let counted = (stats.num_samples, stats.num_float_samples, stats.num_histogram_samples);
        assert_eq!(counted, (980, 290, 690));
        assert_eq!(open(&disk, meta).await.verify(&mut NoPace).await.len(), 0);
    });
}
