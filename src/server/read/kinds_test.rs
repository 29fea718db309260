//! Both answers have the histograms that there are, of both kinds, and floats beside them.

use std::collections::VecDeque;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::{ChunkStream, samples};
use crate::coordinator::api::{EncodedChunk, ReadError, ReadSeries, SeriesReading};
use crate::model::histogram::testing::{floats, integers, steps};
use crate::model::{
    AnyHistogram, AnyHistogramRef, HistogramRef, Labels, ResetHint, Sample, Samples, TimestampMs,
    ValueRef,
};
use crate::query::memory::{Account, Budget};
use crate::rt::executor::testing::on_one_shard;
use crate::rt::local::Semaphore;
use crate::rt::pace::Slice;
use crate::wire::read_testing::{chunks_of, samples_of};
use crate::wire::{Compression, Decompressor};

/// Series that are there already.
struct Given(VecDeque<ReadSeries>, Account);

impl Given {
    fn one(series: ReadSeries) -> Self {
        Self([series].into(), Budget::unlimited().open())
    }
}

impl SeriesReading for Given {
    fn account(&self) -> &Account {
        &self.1
    }

    async fn next(&mut self) -> Result<Option<ReadSeries>, ReadError> {
        Ok(self.0.pop_front())
    }
}

/// The samples of an answer in samples.
async fn in_samples(series: ReadSeries) -> Samples {
    let readings = [Some(Given::one(series))].into();
    let (packed, _) = samples(readings, &Labels::empty(), u64::MAX).await.unwrap();
    let mut bytes = Vec::new();
    Decompressor::new().decompress(Compression::Snappy, &packed, &mut bytes).unwrap();
    samples_of(&bytes).remove(0)
}

/// The samples of the chunks of a stream.
async fn in_chunks(series: ReadSeries) -> Samples {
    let mut stream = ChunkStream {
        readings: [Some(Given::one(series))].into(),
        query: 0,
        external: Labels::empty(),
        frame_bytes_max: 500,
        _turn: Semaphore::new(1).acquire(1).await.unwrap(),
    };
    let (mut all, mut decoded) = (Samples::default(), Samples::default());
    loop {
        let piece = stream.next_piece().await.unwrap();
        if piece.is_empty() {
            return all;
        }
        for (range, encoding, bytes) in chunks_of(&piece) {
            ReadSeries::decode(&EncodedChunk { range, encoding, bytes }, &mut decoded);
            let times: Vec<TimestampMs> = decoded.iter().map(|(t, _)| t).collect();
            let ends = [times.first(), times.last()];
            assert_eq!(ends, [Some(&range.min()), Some(&range.max())]);
            assert_eq!(encoding == 1, decoded.histograms.is_empty(), "other kinds have others");
            decoded.iter().for_each(|(t, value)| all.push(t, value));
        }
    }
}

fn is_gauge(h: AnyHistogramRef<'_>) -> bool {
    h.reset_hint() == ResetHint::Gauge
}

/// All of `expected` are there, bit for bit; what is known of resets may have changed, but not what is a gauge.
fn assert_same(read: &Samples, expected: &Samples) {
    assert_eq!(read.floats, expected.floats);
    assert_eq!(read.histograms.len(), expected.histograms.len());
    for (is, was) in read.histograms.iter().zip(&expected.histograms) {
        assert_eq!(is.t, was.t);
        let (is, was) = (is.histogram.as_ref(), was.histogram.as_ref());
        assert!(is.is_same_sample(was), "{is:?}, was {was:?}");
        assert_eq!(is_gauge(is), is_gauge(was));
    }
}

#[test]
fn any_histograms_are_in_both_answers() {
    on_one_shard(|_| async {
        let mut runner = TestRunner::deterministic();
        for round in 0..100 {
            let steps = steps().new_tree(&mut runner).unwrap().current();
            let of_kind: Vec<AnyHistogram> = match round % 2 {
                0 => integers(&steps).into_iter().map(AnyHistogram::Int).collect(),
                _ => floats(&steps).into_iter().map(AnyHistogram::Float).collect(),
            };
            let mut given = Samples::default();
            for (t, histogram) in (10..).zip(&of_kind) {
                given.push(TimestampMs(t), ValueRef::Histogram(histogram.as_ref()));
            }
            given.floats.extend([5, 1000].map(|t| Sample { t: TimestampMs(t), v: 0.25 }));
            let labels = Labels::from_pairs([("__name__", "m")]).unwrap();
            let series = ReadSeries::of(labels, given.as_ref(), &mut Slice::start()).await;
            assert_eq!(series.len(), given.len() as u64);

            assert_same(&in_chunks(series.clone()).await, &given);
            assert_same(&in_samples(series).await, &given);
        }
    });
}

#[test]
fn histograms_count_for_the_limit_of_samples() {
    on_one_shard(|_| async {
        let mut given = Samples::default();
        for t in 0..3 {
            let h = AnyHistogramRef::Int(HistogramRef::empty());
            given.push(TimestampMs(t), ValueRef::Histogram(h));
        }
        let series = ReadSeries::of(Labels::empty(), given.as_ref(), &mut Slice::start()).await;
        for (max, is_answered) in [(3, true), (2, false)] {
            let readings = [Some(Given::one(series.clone()))].into();
            assert_eq!(samples(readings, &Labels::empty(), max).await.is_ok(), is_answered);
        }
    });
}
