//! What does the Head cost? The lines of the budget table in `docs/performance.md` that lie behind the wire:
//! lookup, order checks, XOR append and log records, for series that are known; and the making of new series.
//! One element is one sample (or one series); shares of a request of 2,000 samples, one sample a series.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use floodplain::encoding::batch::HEADER_BYTES;
use floodplain::encoding::record::records;
use floodplain::encoding::xor::{self, Words, XorAppender, XorReader};
use floodplain::model::{
    Fingerprinter, LabelText, Labels, LabelsAt, Part, PartEntry, Sample, Samples, Span, TimeRange,
    TimestampMs,
};
use floodplain::storage::head::Head;
use floodplain::storage::head::cut::Truncation;
use floodplain::storage::wal::LogBuffer;
use ulid::Ulid;

const NOW: i64 = 1_700_000_000_000;
const PART: usize = 1_000;

fn labels(series: usize) -> Labels {
    let (instance, cpu, mode) = (series / 200, series / 8 % 25, series % 8);
    Labels::from_pairs([
        ("__name__", "node_cpu_seconds_total"),
        ("cluster", "eu-west-1-production"),
        ("cpu", &cpu.to_string()),
        ("instance", &format!("node-{instance:05}.example.internal:9100")),
        ("job", "node-exporter"),
        ("mode", &format!("mode-{mode}")),
        ("region", "eu-west-1"),
    ])
    .expect("names are unique")
}

/// Requests that together hold one sample of every series.
fn parts(keys: &Fingerprinter, series: usize) -> Vec<(Part, LabelText)> {
    (0..series)
        .step_by(PART)
        .map(|first| {
            let (mut part, mut text) = (Part::default(), LabelText::default());
            for series in first..(first + PART).min(series) {
                let labels = labels(series);
                let offset = u32::try_from(text.body.len()).expect("small");
                let len = u32::try_from(labels.as_bytes().len()).expect("small");
                text.body.extend_from_slice(labels.as_bytes());
                part.samples.push(Sample { t: TimestampMs(NOW), v: value(series, 0) });
                part.entries.push(PartEntry {
                    fingerprint: keys.of(labels.as_ref()),
                    labels: LabelsAt::Canonical(Span { offset, len }),
                    samples_end: u32::try_from(part.samples.len()).expect("small"),
                });
            }
            (part, text)
        })
        .collect()
}

/// A third constant, a third integer counters, a third gauges with two decimals.
fn value(series: usize, step: usize) -> f64 {
    let noise = (series * 7919 + step * 104_729) % 1000;
    match series % 3 {
        0 => 1.0,
        1 => (series * 1000 + step * 15 + noise % 10) as f64,
        _ => noise as f64 / 100.0,
    }
}

fn advance(parts: &mut [(Part, LabelText)], step: usize) {
    let mut series = 0;
    for (part, _) in parts {
        for sample in &mut part.samples {
            *sample = Sample { t: TimestampMs(NOW + step as i64 * 15_000), v: value(series, step) };
            series += 1;
        }
    }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("head/append known series");
    for series in [1_000, 50_000, 500_000] {
        let keys = Fingerprinter::new(1);
        let mut parts = parts(&keys, series);
        let (mut head, mut log, mut step) = (Head::new(keys), LogBuffer::new(), 0);
        for (part, text) in &parts {
            let bounds = head.bounds(TimestampMs(NOW));
            head.append(part, 0..part.entries.len(), text, bounds, &mut log);
            log.take();
        }
        step += 1;
        advance(&mut parts, step);
        group.throughput(Throughput::Elements(series as u64));
        group.sample_size(10);
        group.bench_function(format!("{series} series"), |b| {
            b.iter_custom(|rounds| {
                let mut spent = std::time::Duration::ZERO;
                for _ in 0..rounds {
                    let now = TimestampMs(NOW + step_of(&parts));
                    let start = std::time::Instant::now();
                    for (part, text) in &parts {
                        let bounds = head.bounds(now);
                        head.append(part, 0..part.entries.len(), text, bounds, &mut log);
                        for payload in log.take() {
                            log.recycle(payload);
                        }
                    }
                    spent += start.elapsed();
                    step += 1;
                    advance(&mut parts, step);
                    drop_what_is_due(&mut head, &mut log);
                }
                spent
            });
        });
    }
    group.finish();
}

/// Days of samples do not stay in a Head: its blocks are cut every two hours.
fn drop_what_is_due(head: &mut Head, log: &mut LogBuffer) {
    while let Some(range) = head.next_cut() {
        let mut truncation = Truncation::of(head.freeze(Ulid::nil(), range, log));
        while !head.truncate_some(&mut truncation, 1 << 20) {}
        log.take();
    }
}

fn step_of(parts: &[(Part, LabelText)]) -> i64 {
    parts.first().and_then(|(part, _)| part.samples.first()).map_or(0, |sample| sample.t.0 - NOW)
}

fn create(c: &mut Criterion) {
    let mut group = c.benchmark_group("head/new series");
    let keys = Fingerprinter::new(1);
    let parts = parts(&keys, 100_000);
    group.throughput(Throughput::Elements(100_000));
    group.sample_size(10);
    group.bench_function("100,000 series", |b| {
        b.iter_batched(
            || (Head::new(keys.clone()), LogBuffer::new()),
            |(mut head, mut log)| {
                for (part, text) in &parts {
                    let bounds = head.bounds(TimestampMs(NOW));
                    head.append(part, 0..part.entries.len(), text, bounds, &mut log);
                    for payload in log.take() {
                        log.recycle(payload);
                    }
                }
                head
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn chunk(c: &mut Criterion) {
    let mut group = c.benchmark_group("xor chunk");
    let samples: Vec<Sample> = (0..120)
        .map(|i| Sample { t: TimestampMs(NOW + i as i64 * 15_000), v: value(1, i) })
        .collect();
    group.throughput(Throughput::Elements(samples.len() as u64));
    let mut words = Words::default();
    let mut encode = || {
        let mut appender = XorAppender::new();
        samples.iter().for_each(|s| appender.append(&mut words, s.t, s.v));
        appender
    };
    let appender = encode();
    group.bench_function("append", |b| b.iter(&mut encode));
    let mut bytes = Vec::new();
    appender.write_to(&words, &mut bytes);
    group.bench_function("read", |b| {
        b.iter(|| {
            XorReader::new(&bytes)
                .expect("just written")
                .map_while(Result::ok)
                .map(|s| s.v)
                .sum::<f64>()
        });
    });
    let mut all = Vec::new();
    group.bench_function("read at once", |b| {
        b.iter(|| {
            all.clear();
            xor::read(&bytes, |_| true, &mut all).expect("just written");
            all.len()
        });
    });
    group.finish();
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("head/read samples");
    let keys = Fingerprinter::new(1);
    let mut parts = parts(&keys, 1_000);
    let (mut head, mut log) = (Head::new(keys), LogBuffer::new());
    for step in 0..480 {
        advance(&mut parts, step);
        for (part, text) in &parts {
            let bounds = head.bounds(TimestampMs(NOW + step as i64 * 15_000));
            head.append(part, 0..part.entries.len(), text, bounds, &mut log);
        }
        log.take();
    }
    group.throughput(Throughput::Elements(480 * 1_000));
    group.sample_size(10);
    group.bench_function("1,000 series of 480", |b| {
        let mut samples = Samples::default();
        b.iter(|| {
            for series in 0..1_000 {
                samples.clear();
                head.read(series, TimeRange::ALL, &mut samples);
            }
            samples.len()
        });
    });
    group.finish();
}

fn replay(c: &mut Criterion) {
    let mut group = c.benchmark_group("log/replay records");
    let keys = Fingerprinter::new(1);
    let parts = parts(&keys, 100_000);
    let (mut head, mut log) = (Head::new(keys.clone()), LogBuffer::new());
    for (part, text) in &parts {
        let bounds = head.bounds(TimestampMs(NOW));
        head.append(part, 0..part.entries.len(), text, bounds, &mut log);
    }
    let payloads = log.take();
    group.throughput(Throughput::Elements(100_000));
    group.sample_size(10);
    group.bench_function("100,000 new series", |b| {
        b.iter_batched(
            || Head::new(keys.clone()),
            |mut head| {
                for payload in &payloads {
                    for record in records(payload.get(HEADER_BYTES..).unwrap_or_default()).flatten()
                    {
                        if let floodplain::encoding::record::Record::Series(series) = record {
                            for (reference, labels) in series.flatten() {
                                head.replay_series(labels, reference);
                            }
                        }
                    }
                }
                head
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, append, create, chunk, read, replay);
criterion_main!(benches);
