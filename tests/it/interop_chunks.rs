//! Chunks are Prometheus's to the bit: the same samples, written into Debian's Prometheus and into a series of ours, end
//! up in chunks with the same first and last instants and the same bytes.
//!
//! Prometheus hands out the chunks of its head, the open one included, as they are: through remote read with
//! `STREAMED_XOR_CHUNKS`, in frames of length (uvarint), CRC-32C (big-endian) and one `ChunkedReadResponse`.
//!
//! A deliberate difference: Prometheus cuts chunks above 1,005 bytes only since 2.44, so no shape here is that noisy;
//! `storage::head::mem_series` tests that rule by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use floodplain::encoding::xor::XorReader;
use floodplain::io::sim::Rng;
use floodplain::model::{Fingerprint, STALE_NAN_BITS, Sample, SeriesRef, TimestampMs};
use floodplain::storage::head::head_chunk::{Ended, HeadChunk};
use floodplain::storage::head::mem_series::{CHUNK_RANGE_MS, MemSeries};

use crate::peer::{PROMETHEUS, Peer, installed};
use crate::remote_read::{self, CHUNKS, Query, frames, read};
use crate::remote_write::{Packed, Series, Version, request};

/// All shapes begin here: ten minutes before the end of an aligned two-hour range.
pub const BEGIN: i64 = 236_111 * CHUNK_RANGE_MS - 10 * MINUTE;
/// And end here: behind the end of the next one, but before Prometheus would make a block of a Head this long.
pub const END: i64 = BEGIN + 175 * MINUTE;
pub const MINUTE: i64 = 60_000;

/// Samples from `BEGIN` to `END`: `next` gives the bits of each value and the milliseconds to the next.
fn shape(mut next: impl FnMut(i64, &mut Rng) -> (f64, u64)) -> Vec<(i64, u64)> {
    let (mut samples, mut t, mut rng) = (Vec::new(), BEGIN, Rng::new(7));
    for i in 0.. {
        if t >= END {
            break;
        }
        let (value, step) = next(i, &mut rng);
        samples.push((t, value.to_bits()));
        t += step.cast_signed();
    }
    samples
}

/// What is written, by name.
fn shapes() -> Vec<(&'static str, Vec<(i64, u64)>)> {
    let special = [
        f64::from_bits(STALE_NAN_BITS),
        f64::NAN,
        f64::from_bits(0x7ff8_dead_beef_0001), // a NaN that carries something
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        f64::from_bits(1), // the smallest there is
        f64::MAX,
        1.5,
    ];
    let of_special = |rng: &mut Rng| special[usize::try_from(rng.below(10)).unwrap()];
    let irregular = |widths, rng: &mut Rng| {
        let width = rng.below(widths);
        1 + rng.below(1 << width)
    };
    let (mut count, mut level) = (0, 0.0);
    vec![
        ("constant", shape(|_, _| (1.0, 15_000))),
        ("wave", shape(|i, _| (((i as f64 / 40.0).sin() * 4096.0).round() / 8.0, 15_000))),
        (
            "counter",
            shape(|_, rng| {
                count = if rng.below(200) == 0 { 0 } else { count + rng.below(1000) };
                (count as f64, 10_000)
            }),
        ),
        ("special values", shape(|_, rng| (of_special(rng), 10_000))),
        (
            "rarely special",
            shape(|i, rng| (if rng.below(20) == 0 { of_special(rng) } else { i as f64 }, 30_000)),
        ),
        (
            "jitter",
            shape(|_, rng| {
                level += rng.below(64) as f64 - 31.5;
                (level, 14_995 + rng.below(11))
            }),
        ),
        // Every width that a difference of differences has, and holes of up to half an hour.
        ("irregular", shape(|i, rng| (i as f64, irregular(22, rng)))),
        ("irregular and dense", shape(|i, rng| (i as f64, irregular(15, rng)))),
        ("fast", shape(|i, _| ((i / 7) as f64, if i < 20_000 { 50 } else { 60_000 }))),
        // The end is predicted from slow steps, and then 240 samples come before it.
        ("slow, then fast", shape(|i, _| (2.5, if i % 600 < 40 { 20_000 } else { 100 }))),
        ("sparse", shape(|i, _| (i as f64, 45 * 60_000))),
        ("alone", shape(|_, _| (4.0, 1 << 40))),
    ]
}

/// A chunk: its first instant, its last one, its bytes.
type Chunk = (i64, i64, Vec<u8>);

/// What a series of ours makes of the samples.
fn our_chunks(samples: &[(i64, u64)]) -> Vec<Chunk> {
    let mut series = MemSeries::new(Fingerprint::default(), SeriesRef(1));
    let mut chunks: Vec<HeadChunk> = Vec::new();
    for (t, bits) in samples {
        let ended = series.append(Sample { t: TimestampMs(*t), v: f64::from_bits(*bits) });
        chunks.extend(ended.map(Ended::into_chunk));
    }
    chunks.extend(series.close(&mut None).map(Ended::into_chunk));
    let plain = |c: HeadChunk| (c.range.min().0, c.range.max().0, c.bytes.to_vec());
    chunks.into_iter().map(plain).collect()
}

/// Writes all shapes, five minutes of each at a time: a head takes nothing older than an hour.
fn write(prometheus: SocketAddr, shapes: &[(&str, Vec<(i64, u64)>)]) {
    for from in (BEGIN..END).step_by(300_000) {
        let slice = |(name, samples): &(&str, Vec<(i64, u64)>)| Series {
            labels: vec![("__name__".into(), "shape".into()), ("shape".into(), (*name).into())],
            samples: samples
                .iter()
                .filter(|s| (from..from + 300_000).contains(&s.0))
                .copied()
                .collect(),
        };
        let series: Vec<_> =
            shapes.iter().map(slice).filter(|series| !series.samples.is_empty()).collect();
        request(&series, Version::V1, Packed::Snappy).send(prometheus);
    }
}

/// Reads the chunks of the series `shape` from Prometheus, by their label of the same name.
pub fn read_chunks(prometheus: SocketAddr) -> BTreeMap<String, Vec<remote_read::Chunk>> {
    // A chunk that reaches behind the end would be cut, and an open one always does.
    let whole = Query::of("shape", i64::MIN, i64::MAX);
    let mut chunks = BTreeMap::<_, Vec<remote_read::Chunk>>::new();
    for series in frames(&read(prometheus, vec![whole], CHUNKS)).into_iter().flat_map(|f| f.series)
    {
        let name = series.labels.iter().find(|label| label.name == "shape").unwrap();
        chunks.entry(name.value.clone()).or_default().extend(series.chunks);
    }
    chunks
}

/// An open chunk is told without its end: its last sample is.
fn plain(chunk: remote_read::Chunk) -> Chunk {
    assert_eq!(chunk.encoding, 1, "an XOR chunk");
    let last = || XorReader::new(&chunk.data).unwrap().last().unwrap().unwrap().t.0;
    let max = if chunk.max == i64::MAX { last() } else { chunk.max };
    (chunk.min, max, chunk.data)
}

#[test]
fn the_same_samples_make_the_same_chunks_as_in_prometheus() {
    if !installed(&[PROMETHEUS]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let prometheus = Peer::prometheus(dir.path(), "");
    let shapes = shapes();
    write(prometheus.address, &shapes);
    let theirs: BTreeMap<_, Vec<Chunk>> = read_chunks(prometheus.address)
        .into_iter()
        .map(|(name, chunks)| (name, chunks.into_iter().map(plain).collect()))
        .collect();
    assert_eq!(theirs.len(), shapes.len(), "{:?}", theirs.keys());
    for (name, samples) in &shapes {
        let (ours, theirs) = (our_chunks(samples), &theirs[*name]);
        let ranges = |chunks: &[Chunk]| chunks.iter().map(|c| (c.0, c.1)).collect::<Vec<_>>();
        assert_eq!(ranges(&ours), ranges(theirs), "{name}: first and last instants");
        let of = |chunk: &Chunk| -> Vec<(i64, u64)> {
            let samples = XorReader::new(&chunk.2).unwrap().map(Result::unwrap);
            samples.map(|sample| (sample.t.0, sample.v.to_bits())).collect()
        };
        for (our, their) in ours.iter().zip(theirs) {
            assert_eq!(of(our), of(their), "{name}: samples");
            assert_eq!(our, their, "{name}: bytes");
        }
        let bytes: usize = ours.iter().map(|chunk| chunk.2.len()).sum();
        println!("{name}: {} samples in {} chunks of {bytes} bytes", samples.len(), ours.len());
    }
}
