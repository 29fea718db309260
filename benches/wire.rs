//! What a remote-write sample costs before it reaches its shard: the questions behind the budget table's lines "snappy"
//! and "protobuf walk, label hash".
//!
//! `cargo bench --bench wire`. Times are a sample's: criterion's "elem/s" counts samples. Fifty requests of 2,000 series
//! take turns, so that neither the caches nor the branch predictor know them by heart.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark whose data is not what it should be may as well stop"
)]

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use floodplain::model::{Fingerprinter, LabelsRef, WriteBatch};
use floodplain::wire::proto::{v1, v2};
use floodplain::wire::{Compression, Counts, Decompressor, decode_v1, decode_v2};
use prost::Message;

const REQUESTS: usize = 50;
const SERIES: usize = 2000;
const SHARDS: usize = 2;

/// A small generator of numbers (splitmix64): the same series in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A counter, a gauge, zero: in the shares that exporters have.
    fn value(&mut self) -> f64 {
        match self.below(10) {
            0..3 => 0.0,
            3..7 => self.below(10_000_000) as f64,
            7 => (self.below(1000) as f64) * 1048576.0,
            _ => (self.next() >> 11) as f64 / (1u64 << 40) as f64,
        }
    }
}

type Series = Vec<(String, String)>;

fn series(name: &str, pairs: &[(&str, String)], target: &[(&str, String)]) -> Series {
    let mut labels: Series = pairs
        .iter()
        .chain(target)
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .chain([("__name__".to_owned(), name.to_owned())])
        .collect();
    labels.sort();
    labels
}

/// What one host's node_exporter exposes, more or less.
fn node_exporter(host: u64, out: &mut Vec<Series>) {
    let target = [
        ("cluster", "prod-eu-1".to_owned()),
        ("env", "production".to_owned()),
        ("instance", format!("10.32.{}.{}:9100", host / 250, host % 250)),
        ("job", "node-exporter".to_owned()),
        ("region", "eu-central-1".to_owned()),
    ];
    for cpu in 0..16 {
        for mode in ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"] {
            let pairs = [("cpu", cpu.to_string()), ("mode", mode.to_owned())];
            out.push(series("node_cpu_seconds_total", &pairs, &target));
        }
    }
    for device in ["nvme0n1", "nvme1n1", "dm-0", "dm-1", "sda"] {
        for metric in [
            "reads_completed",
            "read_bytes",
            "read_time_seconds",
            "writes_completed",
            "written_bytes",
            "io_time_seconds",
        ] {
            let name = format!("node_disk_{metric}_total");
            out.push(series(&name, &[("device", device.to_owned())], &target));
        }
    }
    for mount in ["/", "/boot", "/boot/efi", "/var/lib/containerd", "/run/user/1000"] {
        for metric in [
            "avail_bytes",
            "device_error",
            "files",
            "files_free",
            "free_bytes",
            "readonly",
            "size_bytes",
        ] {
            let pairs = [
                ("device", "/dev/mapper/vg0-root".to_owned()),
                ("fstype", "ext4".to_owned()),
                ("mountpoint", mount.to_owned()),
            ];
            out.push(series(&format!("node_filesystem_{metric}"), &pairs, &target));
        }
    }
    for field in [
        "Active_bytes",
        "Buffers_bytes",
        "Cached_bytes",
        "Dirty_bytes",
        "MemAvailable_bytes",
        "MemFree_bytes",
        "MemTotal_bytes",
        "SwapFree_bytes",
    ] {
        out.push(series(&format!("node_memory_{field}"), &[], &target));
    }
}

/// What the kubelet exposes about one pod's containers, more or less.
fn cadvisor(pod: u64, numbers: &mut Numbers, out: &mut Vec<Series>) {
    let service =
        ["checkout", "cart", "frontend", "payments", "recommendation"][(pod % 5) as usize];
    let id = format!("{:016x}{:016x}", numbers.next(), numbers.next());
    let target = [
        ("cluster", "prod-eu-1".to_owned()),
        ("container", service.to_owned()),
        ("id", format!("/kubepods/burstable/pod{}/{id}", &id[..8])),
        ("instance", format!("ip-10-32-{}-{}", pod % 200, pod % 250)),
        ("job", "kubelet".to_owned()),
        ("namespace", "shop".to_owned()),
        ("pod", format!("{service}-{:08x}-{:05x}", numbers.next() >> 32, numbers.next() >> 44)),
    ];
    for metric in [
        "cpu_cfs_periods_total",
        "cpu_cfs_throttled_seconds_total",
        "cpu_usage_seconds_total",
        "fs_reads_total",
        "fs_writes_total",
        "memory_cache",
        "memory_rss",
        "memory_usage_bytes",
        "memory_working_set_bytes",
        "processes",
        "threads",
    ] {
        out.push(series(&format!("container_{metric}"), &[], &target));
    }
}

/// What one process of a service exposes: latency histograms by route.
fn application(process: u64, out: &mut Vec<Series>) {
    let target = [
        ("cluster", "prod-eu-1".to_owned()),
        ("instance", format!("10.48.{}.{}:8080", process / 250, process % 250)),
        ("job", "shop/api".to_owned()),
        ("namespace", "shop".to_owned()),
    ];
    for route in ["/", "/api/v1/cart", "/api/v1/checkout", "/api/v1/products/:id"] {
        for code in ["200", "404", "500"] {
            let pairs = |le: Option<&str>| {
                let mut pairs = vec![("code", code.to_owned()), ("route", route.to_owned())];
                pairs.extend(le.map(|le| ("le", le.to_owned())));
                pairs
            };
            for le in [
                "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10",
                "+Inf",
            ] {
                out.push(series("http_request_duration_seconds_bucket", &pairs(Some(le)), &target));
            }
            out.push(series("http_request_duration_seconds_count", &pairs(None), &target));
            out.push(series("http_request_duration_seconds_sum", &pairs(None), &target));
        }
    }
}

/// Requests as Prometheus makes them: neighbours in a scrape are neighbours in a request, one sample a series.
fn requests() -> Vec<v1::WriteRequest> {
    let mut numbers = Numbers(1);
    let mut all = Vec::new();
    let mut target = 0;
    while all.len() < REQUESTS * SERIES {
        match numbers.below(20) {
            0..4 => node_exporter(target, &mut all),
            4..14 => cadvisor(target, &mut numbers, &mut all),
            _ => application(target, &mut all),
        }
        target += 1;
    }
    let label = |(name, value): &(String, String)| v1::Label {
        name: name.clone().into(),
        value: value.clone().into(),
    };
    all.chunks_exact(SERIES)
        .take(REQUESTS)
        .map(|chunk| v1::WriteRequest {
            timeseries: chunk
                .iter()
                .map(|labels| v1::TimeSeries {
                    labels: labels.iter().map(label).collect(),
                    samples: vec![v1::Sample {
                        value: numbers.value(),
                        timestamp: 1_760_000_000_000 + (numbers.below(15_000) / 500 * 500) as i64,
                    }],
                    ..Default::default()
                })
                .collect(),
            metadata: Vec::new(),
        })
        .collect()
}

/// The same request in 2.0, with metadata as Prometheus sends it.
fn as_v2(request: &v1::WriteRequest) -> v2::Request {
    let mut symbols = vec![Vec::new()];
    let mut refs = std::collections::HashMap::from([(Vec::new(), 0u32)]);
    let mut symbol = |text: &Vec<u8>| {
        *refs.entry(text.clone()).or_insert_with(|| {
            symbols.push(text.clone());
            u32::try_from(symbols.len() - 1).unwrap()
        })
    };
    let timeseries = request
        .timeseries
        .iter()
        .map(|series| v2::TimeSeries {
            labels_refs: series
                .labels
                .iter()
                .flat_map(|l| [symbol(&l.name), symbol(&l.value)])
                .collect(),
            samples: series
                .samples
                .iter()
                .map(|s| v2::Sample { value: s.value, timestamp: s.timestamp, start_timestamp: 0 })
                .collect(),
            metadata: Some(v2::Metadata {
                r#type: 1,
                help_ref: symbol(&b"Some help text.".to_vec()),
                unit_ref: 0,
            }),
            ..Default::default()
        })
        .collect();
    v2::Request { symbols, timeseries }
}

/// Bodies of one protocol, plain and compressed.
struct Bodies {
    name: &'static str,
    plain: Vec<Vec<u8>>,
    snappy: Vec<Vec<u8>>,
    zstd: Vec<Vec<u8>>,
}

impl Bodies {
    fn new(name: &'static str, messages: impl Iterator<Item = Vec<u8>>) -> Self {
        let plain: Vec<_> = messages.collect();
        let snappy: Vec<_> = plain
            .iter()
            .map(|body| snap::raw::Encoder::new().compress_vec(body).unwrap())
            .collect();
        let zstd: Vec<_> =
            plain.iter().map(|body| zstd::bulk::compress(body, 1).unwrap()).collect();
        let a_sample = |bodies: &[Vec<u8>]| {
            bodies.iter().map(Vec::len).sum::<usize>() as f64 / (REQUESTS * SERIES) as f64
        };
        println!(
            "{name}: a sample has {:.1} bytes, {:.1} in snappy, {:.1} in zstd",
            a_sample(&plain),
            a_sample(&snappy),
            a_sample(&zstd)
        );
        Self { name, plain, snappy, zstd }
    }
}

fn decode(name: &str, body: Vec<u8>, fingerprinter: &Fingerprinter, batch: &mut WriteBatch) {
    let mut counts = Counts::default();
    let part_of = |route: u64| (route % SHARDS as u64) as usize;
    let result = if name == "v1" {
        decode_v1(body, fingerprinter, SHARDS, part_of, batch, &mut counts)
    } else {
        decode_v2(body, fingerprinter, SHARDS, part_of, batch, &mut counts)
    };
    assert!(result.is_ok() && counts.samples == SERIES as u64 && batch.refused.is_empty());
    // As behind a store: what senders repeat with every request is known.
    batch.is_told();
}

fn wire(criterion: &mut Criterion) {
    let requests = requests();
    let labels: usize = requests.iter().flat_map(|r| &r.timeseries).map(|s| s.labels.len()).sum();
    println!("a series has {:.1} labels", labels as f64 / (REQUESTS * SERIES) as f64);
    let all = [
        Bodies::new("v1", requests.iter().map(Message::encode_to_vec)),
        Bodies::new("v2", requests.iter().map(|request| as_v2(request).encode_to_vec())),
    ];
    let fingerprinter = Fingerprinter::new(1);
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(SERIES as u64));
    for bodies in &all {
        let name = bodies.name;
        let mut turn = (0..REQUESTS).cycle();
        let mut turn = move || turn.next().unwrap_or_default();

        group.bench_function(format!("{name}/snap"), |b| {
            let mut out = vec![0; 1 << 20];
            let mut decoder = snap::raw::Decoder::new();
            b.iter(|| decoder.decompress(black_box(&bodies.snappy[turn()]), &mut out).unwrap());
        });
        for (compression, wire) in
            [(Compression::Snappy, &bodies.snappy), (Compression::Zstd, &bodies.zstd)]
        {
            group.bench_function(format!("{name}/decompress {compression:?}"), |b| {
                let (mut decompressor, mut out) = (Decompressor::new(), Vec::new());
                b.iter(|| {
                    decompressor
                        .decompress(compression, black_box(&wire[turn()]), &mut out)
                        .unwrap()
                });
            });
        }
        group.bench_function(format!("{name}/walk"), |b| {
            let mut plain = bodies.plain.clone();
            let mut batch = WriteBatch::default();
            b.iter(|| {
                let turn = turn();
                let (body, len) = (&mut plain[turn], bodies.plain[turn].len());
                decode(name, std::mem::take(body), &fingerprinter, &mut batch);
                *body = batch.reclaim_body();
                body.truncate(len); // without the padding
            });
        });
        group.bench_function(format!("{name}/decompress and walk"), |b| {
            let (mut decompressor, mut batch) = (Decompressor::new(), WriteBatch::default());
            b.iter(|| {
                let mut body = batch.reclaim_body();
                decompressor
                    .decompress(Compression::Snappy, &bodies.snappy[turn()], &mut body)
                    .unwrap();
                decode(name, body, &fingerprinter, &mut batch);
            });
        });
    }
    // What of the walk is the hash: the same label sets, found beforehand.
    let mut batch = WriteBatch::default();
    decode("v1", all[0].plain[0].clone(), &fingerprinter, &mut batch);
    let sets: Vec<Cow<'_, [u8]>> = batch
        .parts
        .iter()
        .flat_map(|part| &part.entries)
        .filter_map(|entry| batch.text.canonical(entry.labels))
        .collect();
    group.bench_function("fingerprint", |b| {
        let of = |set: &Cow<'_, [u8]>| fingerprinter.of(LabelsRef::trusted(black_box(set))).route;
        b.iter(|| sets.iter().fold(0, |sum, set| sum ^ of(set)));
    });
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
