//! What does a sample of a native histogram cost, and what a float in XOR2, to append and to read? One element is one
//! sample. The histograms are those of latencies at schema 3: some 20 buckets with observations, a few of which come with
//! each sample. `cargo bench --bench histogram` prints the bytes of a chunk of each kind, too.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use floodplain::encoding::histogram::{Coded, HistogramAppender, HistogramReader};
use floodplain::encoding::xor::{Words, XorAppender, XorReader};
use floodplain::encoding::xor2::{Xor2Appender, Xor2Reader};
use floodplain::model::histogram::Span;
use floodplain::model::{Histogram, HistogramRef, IntHistogram, Sample, TimestampMs};

const SAMPLES: u32 = 60;
const BUCKETS: u32 = 20;

fn time(i: u32) -> TimestampMs {
    TimestampMs(1_700_000_000_000 + i64::from(i) * 15_000)
}

/// `grows`: one bucket more with every sample at first, so that the chunk has to be written anew for it.
fn integers(grows: bool) -> Vec<IntHistogram> {
    let mut counts = vec![0u32; BUCKETS as usize];
    let series = (0..SAMPLES).map(|i| {
        let length = if grows { (i + 2).min(BUCKETS) } else { BUCKETS };
        for k in 0..8 {
            let noise = i.wrapping_mul(7919).wrapping_add(k * 104_729) % 97;
            *counts.get_mut((noise % length) as usize).expect("a bucket") += 1 + noise % 3;
        }
        let mut before = 0;
        let told = counts.iter().take(length as usize);
        let deltas: Vec<i64> = told
            .clone()
            .map(|count| {
                let delta = i64::from(*count) - before;
                before = i64::from(*count);
                delta
            })
            .collect();
        let h = HistogramRef {
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            count: told.map(|count| u64::from(*count)).sum(),
            sum: f64::from(i) * 12.375,
            positive_spans: &[Span { offset: -20, length }],
            positive_buckets: &deltas,
            ..HistogramRef::empty()
        };
        h.to_histogram()
    });
    series.collect()
}

fn filled<C: Coded>(histograms: &[Histogram<C>]) -> HistogramAppender<C> {
    let mut open = HistogramAppender::new();
    for (t, h) in (0..).map(time).zip(histograms) {
        assert!(open.append(t, h.as_ref()).is_none(), "one chunk");
    }
    open
}

fn bytes<C: Coded>(open: &HistogramAppender<C>) -> Vec<u8> {
    let mut bytes = Vec::new();
    open.write_to(&mut bytes);
    bytes
}

fn kind<C: Coded>(c: &mut Criterion, name: &str, histograms: &[Histogram<C>]) {
    let open = filled(histograms);
    let chunk = bytes(&open);
    println!("{name}: {SAMPLES} samples in {} bytes, {} in memory", chunk.len(), open.heap_bytes());
    let mut group = c.benchmark_group(format!("histogram/{name}"));
    group.throughput(Throughput::Elements(SAMPLES.into()));
    group.bench_function("append", |b| b.iter(|| filled(histograms).len_bytes()));
    group.bench_function("read, shown", |b| {
        b.iter(|| {
            let mut reader = HistogramReader::<C>::new(&chunk).expect("a chunk");
            let mut sum = 0.0;
            while let Some(t) = reader.advance() {
                t.expect("a sample");
                sum += reader.histogram().sum;
            }
            sum
        });
    });
    group.bench_function("read, to keep", |b| {
        b.iter(|| HistogramReader::<C>::new(&chunk).expect("a chunk").count());
    });
    group.finish();
}

fn histograms(c: &mut Criterion) {
    let integers_of_one_layout = integers(false);
    kind(c, "integers", &integers_of_one_layout);
    let floats: Vec<_> = integers_of_one_layout.iter().map(IntHistogram::to_float).collect();
    kind(c, "floats", &floats);
    kind(c, "integers, 18 times written anew", &integers(true));
}

/// A third constant, a third counters, a third with two decimals.
fn samples() -> Vec<Sample> {
    let value = |i: u32| match i / 40 {
        0 => 1.0,
        1 => f64::from(i * 15 + i * 7919 % 10),
        _ => f64::from(i * 104_729 % 1000) / 100.0,
    };
    (0..120).map(|i| Sample { t: time(i), v: value(i) }).collect()
}

fn floats(c: &mut Criterion) {
    let samples = samples();
    let xor = || {
        let (mut words, mut open) = (Words::default(), XorAppender::new());
        samples.iter().for_each(|s| open.append(&mut words, s.t, s.v));
        let mut chunk = Vec::new();
        open.write_to(&words, &mut chunk);
        chunk
    };
    let xor2 = || {
        let mut open = Xor2Appender::new();
        samples.iter().for_each(|s| open.append(TimestampMs(0), s.t, s.v));
        let mut chunk = Vec::new();
        open.write_to(&mut chunk);
        chunk
    };
    let (xor_chunk, xor2_chunk) = (xor(), xor2());
    println!("120 floats: {} bytes XOR, {} bytes XOR2", xor_chunk.len(), xor2_chunk.len());
    let mut group = c.benchmark_group("float");
    group.throughput(Throughput::Elements(120));
    group.bench_function("append XOR", |b| b.iter(xor));
    group.bench_function("append XOR2", |b| b.iter(xor2));
    group.bench_function("read XOR", |b| {
        b.iter(|| XorReader::new(&xor_chunk).expect("a chunk").flatten().map(|s| s.v).sum::<f64>());
    });
    group.bench_function("read XOR2", |b| {
        b.iter(|| {
            let samples = Xor2Reader::new(&xor2_chunk).expect("a chunk").flatten();
            samples.map(|s| s.sample.v).sum::<f64>()
        });
    });
    group.finish();
}

criterion_group!(benches, histograms, floats);
criterion_main!(benches);
