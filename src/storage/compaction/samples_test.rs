//! Merging the chunks of a series that has floats and histograms, in every encoding there is, against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::samples::{Placed, ReadChunk, merge, runs};
use crate::encoding::block::chunks::ChunkRef;
use crate::encoding::block::tombstones::Intervals;
use crate::encoding::chunk::FloatChunks;
use crate::encoding::chunk::{self, ChunkReader};
use crate::encoding::chunk_encoder::{ChunkEncoder, EncodedChunk};
use crate::model::histogram::testing::{Step, floats, integers, steps};
use crate::model::{AnyHistogram, ResetHint, Samples, TimeRange, TimestampMs, ValueRef};

/// What a series may have at an instant: a float with its start, or a histogram.
#[derive(Clone, Debug)]
enum Value {
    Float(i64, f64),
    Histogram(AnyHistogram),
}

impl Value {
    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Float(_, v) => ValueRef::Float(*v),
            Self::Histogram(h) => ValueRef::Histogram(h.as_ref()),
        }
    }

    fn start(&self) -> i64 {
        match self {
            Self::Float(start, _) => *start,
            Self::Histogram(_) => 0,
        }
    }
}

/// A block's part of a series, how its floats are written, and what is deleted.
#[derive(Clone, Debug)]
struct Part {
    floats: FloatChunks,
    values: BTreeMap<i64, Value>,
    deleted: Vec<(i64, i64)>,
}

fn values() -> impl Strategy<Value = Vec<Value>> {
    let histogram = |h| Value::Histogram(h);
    let ints = steps().prop_map(move |steps| {
        integers(&steps).into_iter().map(AnyHistogram::Int).map(histogram).collect()
    });
    let float_histograms = steps().prop_map(move |steps| {
        floats(&steps).into_iter().map(AnyHistogram::Float).map(histogram).collect()
    });
    let start = prop_oneof![3 => Just(0i64), 1 => 1..9i64];
    let float = (start, any::<f64>()).prop_map(|(start, v)| Value::Float(start, v));
    let floats = prop::collection::vec(float, 1..30);
    let runs = prop::collection::vec(prop_oneof![ints, float_histograms, floats], 0..4);
    runs.prop_map(|runs: Vec<Vec<Value>>| runs.concat())
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let deleted = prop::collection::vec((0..900i64, 0..90i64), 0..3);
    let part = (any::<bool>(), 0..300i64, 1..7i64, values(), deleted);
    let part = part.prop_map(|(xor2, first, step, values, deleted)| Part {
        floats: if xor2 { FloatChunks::Xor2 } else { FloatChunks::Xor },
        values: (0..).map(|n| first + n * step).zip(values).collect(),
        deleted: deleted.into_iter().map(|(min, len)| (min, min + len)).collect(),
    });
    prop::collection::vec(part, 0..4)
}

fn encoded(part: &Part) -> Vec<EncodedChunk> {
    let (mut encoder, mut chunks) = (ChunkEncoder::new(part.floats), Vec::new());
    for (t, value) in &part.values {
        encoder.push(TimestampMs(value.start()), TimestampMs(*t), value.as_ref(), &mut chunks);
    }
    encoder.end(&mut chunks);
    chunks
}

fn intervals(ranges: &[(i64, i64)]) -> Intervals {
    let mut intervals = Intervals::default();
    for (min, max) in ranges {
        intervals.add(TimeRange::new(TimestampMs(*min), TimestampMs(*max)).unwrap());
    }
    intervals
}

fn merged(blocks: &[(Vec<EncodedChunk>, Intervals)]) -> Vec<EncodedChunk> {
    let deleted: Vec<_> = blocks.iter().map(|(_, deleted)| deleted.clone()).collect();
    let mut placed = Vec::new();
    for (source, (chunks, _)) in blocks.iter().enumerate() {
        let place = |(place, chunk): (u64, &EncodedChunk)| Placed {
            range: chunk.range,
            source,
            reference: ChunkRef(place),
        };
        placed.extend((0..).zip(chunks).map(place));
    }
    let (runs, mut out) = (runs(&mut placed, &deleted), Vec::new());
    for run in runs {
        let read = |placed: &Placed| {
            let at = usize::try_from(placed.reference.0).unwrap();
            let EncodedChunk { range, encoding, bytes } = &blocks[placed.source].0[at];
            ReadChunk {
                range: *range,
                source: placed.source,
                encoding: *encoding,
                bytes,
                deleted: deleted.get(placed.source),
            }
        };
        merge(&placed[run].iter().map(read).collect::<Vec<_>>(), &mut out).unwrap();
    }
    out
}

fn is_gauge(value: ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Histogram(h) if h.reset_hint() == ResetHint::Gauge)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_instant_has_what_the_first_block_has_there(parts in parts()) {
        let mut model = BTreeMap::<i64, &Value>::new();
        for part in parts.iter().rev() {
            let deleted = |t: i64| part.deleted.iter().any(|(min, max)| (*min..=*max).contains(&t));
            model.extend(part.values.iter().filter(|(t, _)| !deleted(**t)).map(|(t, v)| (*t, v)));
        }
        let blocks: Vec<_> = parts.iter().map(|part| (encoded(part), intervals(&part.deleted))).collect();
        let out = merged(&blocks);
        prop_assert!(out.windows(2).all(|pair| pair[0].range.max() < pair[1].range.min()));
        let mut expected = model.into_iter();
        for chunk in &out {
            let mut reader = ChunkReader::new(chunk.encoding, &chunk.bytes).unwrap();
            prop_assert!(reader.promised() <= 120);
            let mut times = Vec::new();
            while let Some(t) = reader.advance() {
                let t = t.unwrap().0;
                let (at, value) = expected.next().unwrap();
                prop_assert_eq!(at, t);
                prop_assert!(reader.value().is_same_sample(value.as_ref()), "at {}", t);
                prop_assert_eq!(is_gauge(reader.value()), is_gauge(value.as_ref()) , "at {}", t);
                prop_assert_eq!(reader.start().0, value.start(), "at {}", t);
                times.push(t);
            }
            let (first, last) = (times[0], times[times.len() - 1]);
            prop_assert_eq!((chunk.range.min().0, chunk.range.max().0), (first, last));
        }
        prop_assert!(expected.next().is_none());
    }
}

fn floats_at(times: impl Iterator<Item = i64>, floats: FloatChunks) -> Part {
    let values = times.map(|t| (t, Value::Float(0, 1.5))).collect();
    Part { floats, values, deleted: Vec::new() }
}

#[test]
fn floats_stay_xor2_if_all_are() {
    let encodings = |first, second| {
        let parts = [floats_at(0..9, first), floats_at(5..14, second)];
        let blocks = parts.map(|part| (encoded(&part), Intervals::default()));
        merged(&blocks).iter().map(|chunk| chunk.encoding).collect::<Vec<_>>()
    };
    assert_eq!(encodings(FloatChunks::Xor2, FloatChunks::Xor2), [4]);
    assert_eq!(encodings(FloatChunks::Xor2, FloatChunks::Xor), [1]);
}

#[test]
fn a_counter_of_which_samples_are_deleted_is_still_one_chunk() {
    let step = Step::Observe(vec![(true, 1, 1)], 0, 0);
    let rising = integers(&vec![step; 4]);
    let values = (0..).zip(rising).map(|(t, h)| (t, Value::Histogram(AnyHistogram::Int(h))));
    let (floats, deleted) = (FloatChunks::Xor, vec![(1, 2)]);
    let part = Part { floats, values: values.collect(), deleted };
    let out = merged(&[(encoded(&part), intervals(&part.deleted))]);
    assert_eq!(out.len(), 1);
    let mut samples = Samples::default();
    chunk::read(out[0].encoding, &out[0].bytes, |_| true, &mut samples).unwrap();
    assert_eq!(samples.iter().map(|(t, _)| t.0).collect::<Vec<_>>(), [0, 3]);
}
