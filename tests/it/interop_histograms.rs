//! Histogram chunks are Prometheus's: what Debian's Prometheus made of histograms that were written to it has, to the bit,
//! the bytes that our appender gives for them.
//!
//! Deliberate differences: Prometheus 2.42 cuts chunks of histograms as it cuts chunks of floats, by their number, which
//! was another rule later; so what is compared is what lies between two cuts of its own. It leaves a zero byte behind
//! bits that fill their last byte, as later versions do not. It takes a bucket of a counter that was empty and is gone for
//! a reset, and it does not know custom buckets: no shape here has either. What it hands out of an open chunk it has
//! written anew, and of gauges it cannot: so a float ends every series here, and with it the last chunk of histograms.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use floodplain::encoding::histogram::{Coded, EndedChunk, HistogramAppender, HistogramReader};
use floodplain::encoding::xor;
use floodplain::io::sim::Rng;
use floodplain::model::histogram::Span;
use floodplain::model::{Histogram, HistogramRef, IntHistogram, ResetHint, TimestampMs};
use floodplain::wire::proto::v1;
use prost::Message;

use crate::http;
use crate::interop_chunks::{BEGIN, END, MINUTE, read_chunks};
use crate::peer::{PROMETHEUS, Peer, installed};
use crate::remote_read::Chunk;

pub type Samples<C> = Vec<(TimestampMs, Histogram<C>)>;

/// A series that observes: what it has counted, and how it is told.
pub struct Series {
    schema: i32,
    zero_threshold: f64,
    hint: ResetHint,
    zero: u64,
    sum: f64,
    positive: BTreeMap<i32, u64>,
    negative: BTreeMap<i32, u64>,
}

impl Series {
    pub fn new() -> Self {
        Self {
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            hint: ResetHint::Unknown,
            zero: 0,
            sum: 0.0,
            positive: BTreeMap::new(),
            negative: BTreeMap::new(),
        }
    }

    pub fn observe(&mut self, index: i32, count: u64) {
        *self.positive.entry(index).or_default() += count;
        self.sum += f64::from(index) / 8.0;
    }

    pub fn histogram(&self) -> IntHistogram {
        let (positive_spans, positive_buckets) = side(&self.positive);
        let (negative_spans, negative_buckets) = side(&self.negative);
        let counted: u64 = self.positive.values().chain(self.negative.values()).sum();
        let h = HistogramRef {
            reset_hint: self.hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            count: counted + self.zero,
            zero_count: self.zero,
            sum: self.sum,
            positive_spans: &positive_spans,
            negative_spans: &negative_spans,
            positive_buckets: &positive_buckets,
            negative_buckets: &negative_buckets,
            custom_values: &[],
        };
        assert_eq!(h.validate(), Ok(()));
        h.to_histogram()
    }
}

/// Spans and buckets of the counts by index.
fn side(counts: &BTreeMap<i32, u64>) -> (Vec<Span>, Vec<i64>) {
    let (mut spans, mut buckets) = (Vec::<Span>::new(), Vec::new());
    let (mut next, mut before) = (0, 0);
    for (index, count) in counts {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(Span { offset: index - next, length: 1 }),
        }
        let count = i64::try_from(*count).unwrap();
        buckets.push(count - before);
        (next, before) = (index + 1, count);
    }
    (spans, buckets)
}

/// Samples from `BEGIN` to `END`, `step_ms` apart; `next` changes the series before each, or says that it is stale.
fn shape(step_ms: u64, mut next: impl FnMut(&mut Series, u64, &mut Rng) -> bool) -> Samples<u64> {
    let (mut series, mut samples, mut rng) = (Series::new(), Vec::new(), Rng::new(11));
    let mut t = BEGIN;
    for i in 0.. {
        if t >= END {
            break;
        }
        let stale = next(&mut series, i, &mut rng);
        let h = if stale { HistogramRef::stale().to_histogram() } else { series.histogram() };
        samples.push((TimestampMs(t), h));
        t += i64::try_from(step_ms + rng.below(3) * u64::from(i % 7 == 0)).unwrap();
    }
    samples
}

/// An index near the middle of some dozen.
fn index(rng: &mut Rng) -> i32 {
    i32::try_from(rng.below(8) + rng.below(8) + rng.below(8)).unwrap() - 12
}

/// What is written, by name.
pub fn shapes() -> Vec<(&'static str, Samples<u64>)> {
    vec![
        (
            "constant",
            shape(15_000, |s, _, _| {
                s.positive.insert(2, 7);
                false
            }),
        ),
        (
            "a counter that gets new buckets",
            shape(15_000, |s, _, rng| {
                for _ in 0..rng.below(5) {
                    s.observe(index(rng), 1 + rng.below(3));
                }
                false
            }),
        ),
        (
            "both sides and zero",
            shape(30_000, |s, i, rng| {
                s.observe(index(rng), rng.below(100));
                *s.negative.entry(index(rng) * 3).or_default() += rng.below(1 << (i % 40));
                s.zero += rng.below(4);
                false
            }),
        ),
        (
            "a counter that is reset",
            shape(15_000, |s, _, rng| {
                if rng.below(50) == 0 {
                    (s.positive, s.zero) = (BTreeMap::new(), 0);
                }
                s.observe(index(rng), 1);
                s.zero += 1;
                false
            }),
        ),
        (
            "a reset that is told",
            shape(15_000, |s, i, rng| {
                s.hint = if i % 60 == 59 { ResetHint::Reset } else { ResetHint::NotReset };
                s.observe(index(rng), 1);
                false
            }),
        ),
        (
            "other schemas and thresholds",
            shape(15_000, |s, i, rng| {
                s.schema = [3, 3, -4, 8][usize::try_from(i / 70 % 4).unwrap()];
                s.zero_threshold =
                    [2f64.powi(-128), 0.001, 0.0][usize::try_from(i / 70 % 3).unwrap()];
                s.observe(index(rng), 1);
                false
            }),
        ),
        (
            "a gauge",
            shape(15_000, |s, _, rng| {
                s.hint = ResetHint::Gauge;
                s.positive.retain(|_, _| rng.below(8) > 0);
                s.observe(index(rng), rng.below(9));
                s.sum = 0.5 - s.sum;
                false
            }),
        ),
        (
            "a series that ends and comes back",
            shape(15_000, |s, _, rng| {
                s.observe(index(rng), 1);
                rng.below(40) == 0
            }),
        ),
        (
            "sparse",
            shape(45 * 60_000, |s, i, _| {
                s.observe(1, i + 1);
                false
            }),
        ),
    ]
}

fn spans(spans: &[Span]) -> Vec<v1::BucketSpan> {
    spans.iter().map(|s| v1::BucketSpan { offset: s.offset, length: s.length }).collect()
}

fn shared<C: Coded>(t: TimestampMs, h: HistogramRef<'_, C>) -> v1::Histogram {
    v1::Histogram {
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        negative_spans: spans(h.negative_spans),
        positive_spans: spans(h.positive_spans),
        reset_hint: h.reset_hint.number().into(),
        timestamp: t.0,
        ..v1::Histogram::default()
    }
}

pub fn integer(t: TimestampMs, h: HistogramRef<'_, u64>) -> v1::Histogram {
    v1::Histogram {
        count: Some(v1::Count::Int(h.count)),
        zero_count: Some(v1::ZeroCount::Int(h.zero_count)),
        negative_deltas: h.negative_buckets.to_vec(),
        positive_deltas: h.positive_buckets.to_vec(),
        ..shared(t, h)
    }
}

pub fn float(t: TimestampMs, h: HistogramRef<'_, f64>) -> v1::Histogram {
    // 2.42 knows a float histogram by its count, even one that only says that the series ends.
    let count = if h.is_stale() { 1.0 } else { h.count };
    v1::Histogram {
        count: Some(v1::Count::Float(count)),
        zero_count: Some(v1::ZeroCount::Float(h.zero_count)),
        negative_counts: h.negative_buckets.to_vec(),
        positive_counts: h.positive_buckets.to_vec(),
        ..shared(t, h)
    }
}

/// Three eighths of each observation: more bits, and sums that are still exact, as 2.42 wants them.
pub fn eighths(h: &IntHistogram) -> Histogram<f64> {
    let float = h.to_float();
    let h = float.as_ref();
    let some = |buckets: &[f64]| buckets.iter().map(|count| count * 0.375).collect::<Vec<_>>();
    let eighths = HistogramRef {
        count: h.count * 0.375,
        zero_count: h.zero_count * 0.375,
        positive_buckets: &some(h.positive_buckets),
        negative_buckets: &some(h.negative_buckets),
        ..h
    };
    eighths.to_histogram()
}

/// Writes series of histograms, and a float behind each; five minutes at a time: a head takes nothing older than an hour.
pub fn write(prometheus: SocketAddr, series: &[(String, Vec<v1::Histogram>)]) {
    for from in (BEGIN..=END).step_by(300_000) {
        let floats =
            if from < END { vec![] } else { vec![v1::Sample { value: 1.0, timestamp: from }] };
        let part = |histograms: &[v1::Histogram]| -> Vec<_> {
            let now = |h: &&v1::Histogram| (from..from + 300_000).contains(&h.timestamp);
            histograms.iter().filter(now).cloned().collect()
        };
        let label = |name: &str, value: &str| v1::Label { name: name.into(), value: value.into() };
        let timeseries = series.iter().map(|(name, histograms)| v1::TimeSeries {
            labels: vec![label("__name__", "shape"), label("shape", name)],
            samples: floats.clone(),
            histograms: part(histograms),
            ..v1::TimeSeries::default()
        });
        let filled = |s: &v1::TimeSeries| !s.histograms.is_empty() || !s.samples.is_empty();
        let timeseries = timeseries.filter(filled).collect();
        let request = v1::WriteRequest { timeseries, metadata: Vec::new() };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
        let headers = ["Content-Type: application/x-protobuf", "Content-Encoding: snappy"];
        let answer = http::send(prometheus, "POST /api/v1/write", &headers, &body).unwrap();
        assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
    }
}

/// The chunks that our appender makes, made to end where theirs do.
pub fn our_chunks<C: Coded>(name: &str, samples: &Samples<C>, theirs: &[Chunk]) -> Vec<Vec<u8>> {
    let mut open = HistogramAppender::<C>::new();
    let mut chunks: Vec<EndedChunk> = Vec::new();
    for (t, h) in samples {
        let begins = open.count() > 0 && theirs.iter().any(|chunk| chunk.min == t.0);
        let fits = open.clone().append(*t, h.as_ref()).is_none();
        assert!(fits || begins, "{name}: ours ends a chunk at {t:?}");
        let ended =
            if begins && fits { open.cut(*t, h.as_ref()) } else { open.append(*t, h.as_ref()) };
        chunks.extend(ended);
    }
    let mut last = Vec::new();
    open.write_to(&mut last);
    chunks.into_iter().map(|chunk| chunk.bytes.into_vec()).chain([last]).collect()
}

fn compare<C: Coded>(name: &str, samples: &Samples<C>, theirs: &[Chunk]) {
    let (float, theirs) = theirs.split_last().unwrap();
    assert_eq!(i32::from(xor::ENCODING), float.encoding, "{name}");
    let mut sent = samples.iter();
    for chunk in theirs {
        assert_eq!(chunk.encoding, i32::from(C::ENCODING), "{name}");
        for read in HistogramReader::<C>::new(&chunk.data).unwrap() {
            let ((t, h), (sent_t, sent_h)) = (read.unwrap(), sent.next().unwrap());
            assert_eq!(t, *sent_t, "{name}");
            assert!(h.as_ref().is_same_sample(sent_h.as_ref()), "{name}: {h:?}, sent {sent_h:?}");
        }
    }
    assert_eq!(sent.next(), None, "{name}");
    let ours = our_chunks(name, samples, theirs);
    assert_eq!(ours.len(), theirs.len(), "{name}: how many chunks");
    let mut bytes = 0;
    for (ours, theirs) in ours.iter().zip(theirs) {
        bytes += ours.len();
        let zero = theirs.data.strip_suffix(&[0]).filter(|rest| rest.len() == ours.len());
        assert_eq!(ours, zero.unwrap_or(&theirs.data), "{name}: bytes from {}", theirs.min);
    }
    println!("{name}: {} samples in {} chunks of {bytes} bytes", samples.len(), ours.len());
}

#[test]
fn the_same_histograms_have_the_same_bytes_as_in_prometheus() {
    if !installed(&[PROMETHEUS]) {
        return;
    }
    const { assert!(END - BEGIN > 120 * MINUTE, "an aligned range ends within") };
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--enable-feature=native-histograms"];
    let prometheus = Peer::prometheus_with(&dir.path().join("data"), dir.path(), "", &arguments);
    let integers = shapes();
    let floats: Vec<(_, Samples<f64>)> = integers
        .iter()
        .map(|(name, samples)| (*name, samples.iter().map(|(t, h)| (*t, eighths(h))).collect()))
        .collect();
    let mut series = Vec::new();
    for (name, samples) in &integers {
        let of = |(t, h): &(TimestampMs, IntHistogram)| integer(*t, h.as_ref());
        series.push((format!("{name}, integers"), samples.iter().map(of).collect()));
    }
    for (name, samples) in &floats {
        let of = |(t, h): &(TimestampMs, Histogram<f64>)| float(*t, h.as_ref());
        series.push((format!("{name}, floats"), samples.iter().map(of).collect()));
    }
    write(prometheus.address, &series);
    let theirs = read_chunks(prometheus.address);
    assert_eq!(theirs.len(), series.len(), "{:?}", theirs.keys());
    for (name, samples) in &integers {
        let name = format!("{name}, integers");
        compare(&name, samples, &theirs[&name]);
    }
    for (name, samples) in &floats {
        let name = format!("{name}, floats");
        compare(&name, samples, &theirs[&name]);
    }
}
