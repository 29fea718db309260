//! A selection over blocks whose series have floats and histograms, in every encoding there is, and over hostile chunks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::tests::block_of;
use super::*;
use crate::encoding::chunk;
use crate::encoding::chunk::FloatChunks;
use crate::encoding::chunk_encoder::{ChunkEncoder, EncodedChunk};
use crate::io::sim::{NoPace, SimDisk, run};
use crate::model::histogram::Span;
use crate::model::histogram::testing::{floats, integers, steps};
use crate::model::matcher::MatchOp;
use crate::model::{
    AnyHistogram, Fingerprinter, HistogramRef, ResetHint, Samples, TimestampMs, ValueRef,
};
use crate::storage::served::Served;

/// What a series may have at an instant.
#[derive(Clone, Debug)]
enum Value {
    Float(f64),
    Histogram(AnyHistogram),
}

impl Value {
    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Float(v) => ValueRef::Float(*v),
            Self::Histogram(h) => ValueRef::Histogram(h.as_ref()),
        }
    }
}

fn values() -> impl Strategy<Value = Vec<Value>> {
    let ints = steps().prop_map(|s| {
        integers(&s).into_iter().map(AnyHistogram::Int).map(Value::Histogram).collect()
    });
    let float_histograms = steps().prop_map(|s| {
        floats(&s).into_iter().map(AnyHistogram::Float).map(Value::Histogram).collect()
    });
    let floats = prop::collection::vec(any::<f64>().prop_map(Value::Float), 1..30);
    let runs = prop::collection::vec(prop_oneof![ints, float_histograms, floats], 1..4);
    runs.prop_map(|runs: Vec<Vec<Value>>| runs.concat())
}

/// A series' part in a block, and whether its floats are in XOR2.
fn parts() -> impl Strategy<Value = Vec<(bool, BTreeMap<i64, Value>)>> {
    let part =
        (any::<bool>(), 0..300i64, 1..7i64, values()).prop_map(|(xor2, first, step, values)| {
            (xor2, (0..).map(|n| first + n * step).zip(values).collect())
        });
    prop::collection::vec(part, 1..4)
}

fn encoded(is_xor2: bool, values: &BTreeMap<i64, Value>) -> Vec<EncodedChunk> {
    let floats = if is_xor2 { FloatChunks::Xor2 } else { FloatChunks::Xor };
    let (mut encoder, mut chunks) = (ChunkEncoder::new(floats), Vec::new());
    for (t, value) in values {
        encoder.push(TimestampMs(0), TimestampMs(*t), value.as_ref(), &mut chunks);
    }
    encoder.end(&mut chunks);
    chunks
}

/// What is read of all series of some blocks, and what is damaged.
fn read(
    blocks: &[BTreeMap<u8, Vec<EncodedChunk>>],
    range: TimeRange,
) -> (BTreeMap<String, Samples>, Vec<String>) {
    read_with(blocks, range, |_| {})
}

/// The same; `batch_len` is told how many samples each batch has.
fn read_with(
    blocks: &[BTreeMap<u8, Vec<EncodedChunk>>],
    range: TimeRange,
    mut batch_len: impl FnMut(usize),
) -> (BTreeMap<String, Samples>, Vec<String>) {
    run(async {
        let disk = SimDisk::new(1);
        let mut opened = Vec::new();
        for (number, series) in (1..).zip(blocks) {
            opened.push(Rc::new(block_of(&disk, number, series).await));
        }
        let head = Rc::new(RefCell::new(Head::new(Fingerprinter::new(1))));
        let spill = Rc::new(SpillFiles::of(disk.clone(), "head".to_owned()));
        let owns: Rc<dyn Fn(u64) -> bool> = Rc::new(|_| true);
        let matcher = Matcher::new("__name__", MatchOp::Equal, "m").unwrap();
        let view = Served::new(opened).view();
        let (matchers, pace) = ([matcher], &mut NoPace);
        let selected = Selected::find(Rc::clone(&head), spill, view, &matchers, range, &owns, pace);
        let (mut selected, mut batch) = (selected.await.unwrap(), Batch::default());
        let mut all = BTreeMap::<String, Samples>::new();
        while selected.read(&mut batch, &mut NoPace).await.unwrap() {
            let mut len = 0;
            for (run, samples) in batch.take_runs() {
                len += samples.len();
                let labels = run.series.labels(&head).unwrap();
                let of_series = all.entry(labels.get("series").unwrap().to_owned()).or_default();
                samples.iter().for_each(|(t, value)| of_series.push(t, value));
            }
            batch_len(len);
        }
        (all, selected.take_damage())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn every_kind_is_read_as_the_first_block_has_it(
        mut parts in parts(), range in (0i64..400, 0i64..400),
    ) {
        let range = TimeRange::new(TimestampMs(range.0), TimestampMs(range.0 + range.1)).unwrap();
        // Blocks are asked in the order of their first instants.
        parts.sort_by_key(|(_, values)| values.keys().next().copied());
        let mut model = BTreeMap::<i64, &Value>::new();
        for (_, values) in &parts {
            for (t, value) in values.iter().filter(|(t, _)| range.contains(TimestampMs(**t))) {
                model.entry(*t).or_insert(value);
            }
        }
        let blocks: Vec<_> =
            parts.iter().map(|(xor2, values)| BTreeMap::from([(1, encoded(*xor2, values))])).collect();
        let (read, damage) = read(&blocks, range);
        prop_assert_eq!(damage, Vec::<String>::new());
        let read = read.get("001").cloned().unwrap_or_default();
        prop_assert_eq!(read.len(), model.len());
        for ((t, value), (at, expected)) in read.iter().zip(&model) {
            prop_assert_eq!(t.0, *at);
            prop_assert!(value.is_same_sample(expected.as_ref()), "at {}: {:?}, {:?}", at, value, expected);
            if let (ValueRef::Histogram(h), ValueRef::Histogram(expected)) = (value, expected.as_ref()) {
                let (is, was) = (h.reset_hint() == ResetHint::Gauge, expected.reset_hint() == ResetHint::Gauge);
                prop_assert_eq!(is, was, "at {}", at);
            }
        }
    }

    #[test]
    fn a_hostile_chunk_costs_itself_and_is_told(
        good in values(), encoding in 1..7u8, count in 1..200u8, bytes in prop::collection::vec(any::<u8>(), 0..80),
        flips in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index, u8)>(), 1..9),
    ) {
        let good: BTreeMap<i64, Value> = (0..).zip(good).collect();
        let range = TimeRange::new(TimestampMs(0), TimestampMs(5)).unwrap();
        let bytes = [&[0, count][..], &bytes].concat();
        let hostile = EncodedChunk { range, encoding, bytes };
        let later = EncodedChunk {
            range: TimeRange::new(TimestampMs(6), TimestampMs(9)).unwrap(),
            encoding: 2,
            bytes: vec![0, 4, 0],
        };
        // And one that was good until some of its bits were turned, its first bytes aside.
        let mut turned = encoded(false, &good);
        for (chunk, byte, bit) in flips {
            let at = chunk.index(turned.len());
            let bytes = &mut turned[at].bytes;
            let at = 2 + byte.index(bytes.len() - 2);
            bytes[at] ^= 1 << (bit % 8);
        }
        let block = BTreeMap::from([
            (1, vec![hostile, later]),
            (2, encoded(false, &good)),
            (3, turned),
        ]);
        let (read, damage) = read(&[block], TimeRange::ALL);
        prop_assert!(damage.iter().any(|what| what.contains("ends within sample 0 of 4")), "{:?}", damage);
        for samples in read.values() {
            // As a cursor does: what is read can be written, whatever it is.
            let (mut encoder, mut chunks) = (ChunkEncoder::default(), Vec::new());
            samples.iter().for_each(|(t, value)| encoder.push(TimestampMs(0), t, value, &mut chunks));
            encoder.end(&mut chunks);
            let mut again = Samples::default();
            for chunk in &chunks {
                chunk::read(chunk.encoding, &chunk.bytes, |_| true, &mut again).unwrap();
            }
            prop_assert_eq!(again.len(), samples.len());
        }
        let read = read.get("002").cloned().unwrap_or_default();
        prop_assert_eq!(read.len(), good.len());
        prop_assert!(read.iter().zip(&good).all(|((t, value), (at, is))| t.0 == *at && value.is_same_sample(is.as_ref())));
    }
}

#[test]
fn many_large_histograms_come_in_several_batches() {
    // 4 KiB each: 60 series of 60.
    let buckets: Vec<f64> = (0..512).map(f64::from).collect();
    let h = HistogramRef::<f64> {
        positive_spans: &[Span { offset: 0, length: 512 }],
        positive_buckets: &buckets,
        ..HistogramRef::empty()
    };
    let values: BTreeMap<i64, Value> =
        (0..60).map(|t| (t, Value::Histogram(AnyHistogram::Float(h.to_histogram())))).collect();
    let block = (0..60).map(|series| (series, encoded(false, &values))).collect();
    let mut sizes = Vec::new();
    let read = read_with(&[block], TimeRange::ALL, |batch_len| sizes.push(batch_len));
    assert!(read.0.values().all(|samples| samples.len() == 60) && read.0.len() == 60);
    assert!(sizes.len() > 1 && sizes.iter().all(|len| *len * 4096 < 9 << 20), "{sizes:?}");
}

// A range once took the hint away from its first histogram, and two of Prometheus's own scripts were not answered as they say:
// a sum of counters was no counter any more, and a conflict between hints was not told.
#[test]
fn where_a_range_begins_within_a_chunk_the_first_histogram_keeps_its_hint() {
    let h = AnyHistogram::Int(HistogramRef::<u64>::empty().to_histogram());
    let of = |times: &[i64]| -> BTreeMap<i64, Value> {
        times.iter().map(|t| (*t, Value::Histogram(h.clone()))).collect()
    };
    let hints = |blocks: &[&[i64]], from: i64| -> Vec<ResetHint> {
        let block = |times: &&[i64]| BTreeMap::from([(1, encoded(false, &of(times)))]);
        let blocks: Vec<_> = blocks.iter().map(block).collect();
        let range = TimeRange::new(TimestampMs(from), TimestampMs(9)).unwrap();
        let (read, _) = read(&blocks, range);
        let histograms = read.values().flat_map(|samples| &samples.histograms);
        histograms.map(|sample| sample.histogram.as_ref().reset_hint()).collect()
    };
    use ResetHint::{NotReset, Unknown};
    assert_eq!(hints(&[&[0, 1, 2]], 0), [Unknown, NotReset, NotReset]);
    assert_eq!(hints(&[&[0, 1, 2]], 1), [NotReset, NotReset]);
    // Behind one of another block, that the one before it in its own chunk is not there does matter.
    assert_eq!(hints(&[&[0, 1], &[0, 2, 3]], 1), [NotReset, Unknown, NotReset]);
}
