//! Native histograms between floodplain and a stock Prometheus: blocks in both directions, and what is written to the server.
//!
//! What Prometheus 2.42 answers on blocks of ours, and we on its, is held against what it answers on its own. Shapes and their
//! bounds are `interop_histograms`'s.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use floodplain::encoding::block::meta::{BlockMeta, Ulid};
use floodplain::encoding::chunk;
use floodplain::io::sim::run as block_on;
use floodplain::model::{AnyHistogram, AnyHistogramRef, Samples as Read, TimestampMs, ValueRef};
use floodplain::rt::disk::plain::PlainDisk;
use floodplain::wire::proto::v1;
use prost::Message;

use crate::histogram_blocks::write_block;
use crate::http;
use crate::interop_blocks::{listed, snapshot};
use crate::interop_chunks::{BEGIN, END, read_chunks};
use crate::interop_histograms::{Samples, eighths, float, integer, shapes, write};
use crate::interop_promql::{Alike, difference_of_results};
use crate::offline::{path_flag, promtool, run};
use crate::peer::{PROMETHEUS, PROMTOOL, Peer, installed};
use crate::remote_read::{Query, Response, SAMPLES, read};
use crate::server::Running;

const NATIVE: &[&str] = &["--enable-feature=native-histograms"];

/// What is written, by name: each shape as integers and as floats.
fn all() -> BTreeMap<String, Vec<(TimestampMs, AnyHistogram)>> {
    let mut all = BTreeMap::new();
    for (name, samples) in shapes() {
        let samples: Samples<u64> = samples;
        let floats = samples.iter().map(|(t, h)| (*t, AnyHistogram::Float(eighths(h))));
        all.insert(format!("{name}, floats"), floats.collect());
        let integers = samples.into_iter().map(|(t, h)| (t, AnyHistogram::Int(h)));
        all.insert(format!("{name}, integers"), integers.collect());
    }
    all
}

/// A Prometheus into which all of it was written.
fn prometheus(dir: &Path, all: &BTreeMap<String, Vec<(TimestampMs, AnyHistogram)>>) -> Peer {
    let prometheus = Peer::prometheus_with(&dir.join("data"), dir, "", NATIVE);
    write_all(prometheus.address, all);
    prometheus
}

/// Writes all of it by remote write 1.0.
fn write_all(to: SocketAddr, all: &BTreeMap<String, Vec<(TimestampMs, AnyHistogram)>>) {
    let message = |(t, h): &(TimestampMs, AnyHistogram)| match h.as_ref() {
        AnyHistogramRef::Int(h) => integer(*t, h),
        AnyHistogramRef::Float(h) => float(*t, h),
    };
    let of = |(name, samples): (&String, &Vec<_>)| {
        (name.clone(), samples.iter().map(message).collect::<Vec<v1::Histogram>>())
    };
    write(to, &all.iter().map(of).collect::<Vec<_>>());
}

fn count_of(message: &v1::Histogram) -> f64 {
    match message.count {
        Some(v1::Count::Int(count)) => count as f64,
        Some(v1::Count::Float(count)) => count,
        None => panic!("it has no count"),
    }
}

/// What a streamed remote read gives.
fn streamed(address: SocketAddr) -> BTreeMap<String, Read> {
    let mut streamed = BTreeMap::<String, Read>::new();
    for (name, chunks) in read_chunks(address) {
        let samples = streamed.entry(name).or_default();
        for chunk in chunks {
            let encoding = u8::try_from(chunk.encoding).unwrap();
            chunk::read(encoding, &chunk.data, |_| true, samples).unwrap();
        }
    }
    streamed
}

#[test]
fn a_block_of_prometheus_with_histograms_is_imported_and_read() {
    if !installed(&[PROMETHEUS]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let all = all();
    let prometheus = prometheus(dir.path(), &all);
    let blocks = dir.path().join("data/snapshots").join(snapshot(prometheus.address, ""));
    let data = dir.path().join("floodplain");
    let (code, report) = run(&["import", &blocks.display().to_string(), &path_flag(&data)]);
    assert_eq!((code, &report["damaged"]), (0, &serde_json::json!([])), "{report}");
    // A float stands behind the histograms of each series.
    let count: usize = all.values().map(|samples| samples.len() + 1).sum();
    assert_eq!(report["samples"], count, "{report}");
    let (code, report) = run(&["verify", &data.display().to_string()]);
    assert_eq!((code, &report["damage"]), (0, &serde_json::json!([])), "{report}");

    let running = Running::with_flags(&data, 2, &["--storage.tsdb.retention.time=0"]);
    let streamed = streamed(running.address);
    let whole = vec![Query::of("shape", i64::MIN, i64::MAX)];
    let packed = read(running.address, whole, SAMPLES);
    let unpacked = snap::raw::Decoder::new().decompress_vec(&packed).unwrap();
    let answered = Response::decode(&*unpacked).unwrap().results.remove(0).series;
    assert_eq!((streamed.len(), answered.len()), (all.len(), all.len()));
    for series in answered {
        let name = &series.labels.iter().find(|label| label.name == "shape").unwrap().value;
        let (sent, streamed) = (&all[name], &streamed[name]);
        assert_eq!(streamed.floats.len(), 1, "{name}");
        let lengths = (streamed.histograms.len(), series.histograms.len());
        assert_eq!(lengths, (sent.len(), sent.len()), "{name}");
        for ((t, h), (streamed, message)) in
            sent.iter().zip(streamed.histograms.iter().zip(&series.histograms))
        {
            assert_eq!((streamed.t, message.timestamp), (*t, t.0), "{name}");
            let (is, was) = (streamed.histogram.as_ref(), h.as_ref());
            assert!(is.is_same_sample(was), "{name} at {t:?}: {is:?}, sent {was:?}");
            if !was.is_stale() {
                let count = match was {
                    AnyHistogramRef::Int(h) => h.count as f64,
                    AnyHistogramRef::Float(h) => h.count,
                };
                assert_eq!(count_of(message).to_bits(), count.to_bits(), "{name} at {t:?}");
            }
        }
    }

    // Since 3.0 quantiles lie on a curve within a bucket, so there is none among these.
    assert_alike(prometheus.address, running.address, &STATS);
}

/// A block of ours with all of it.
fn written(dir: &Path, all: &BTreeMap<String, Vec<(TimestampMs, AnyHistogram)>>) {
    let mut series = BTreeMap::<String, Read>::new();
    for (name, samples) in all {
        let of_series = series.entry(name.clone()).or_default();
        samples.iter().for_each(|(t, h)| of_series.push(*t, ValueRef::Histogram(h.as_ref())));
    }
    let meta = BlockMeta::new(Ulid::generate(), BEGIN, END);
    block_on(write_block(&PlainDisk::new(dir), "", meta, &series));
}

/// Questions about counts and sums, and about buckets.
const STATS: [&str; 4] = [
    "histogram_count(shape)",
    "histogram_sum(shape)",
    "count(shape)",
    "histogram_count(sum(shape{shape=~\"a counter that gets.*\"}))",
];
const BUCKETS: [&str; 3] = [
    "histogram_quantile(0.9, shape)",
    "histogram_quantile(0.2, sum(shape{shape=~\"a counter that gets.*\"}))",
    "histogram_count(rate(shape{shape!~\"a gauge.*\"}[10m]))",
];

/// Both give the same answers about histograms.
fn assert_alike(theirs: SocketAddr, ours: SocketAddr, queries: &[&str]) {
    let (start, end) = ((BEGIN / 1000).to_string(), (END / 1000 - 600).to_string());
    for query in queries {
        let parameters = [("query", *query), ("start", &start), ("end", &end), ("step", "97")];
        let [theirs, ours] =
            [theirs, ours].map(|address| http::data(address, "/api/v1/query_range", &parameters));
        assert!(theirs["result"].as_array().is_some_and(|all| !all.is_empty()), "{query}");
        let difference = difference_of_results(&theirs, &ours, Alike::Closely);
        assert_eq!(difference, None, "{query}");
    }
}

#[test]
fn prometheus_reads_histograms_of_a_block_of_ours() {
    if !installed(&[PROMETHEUS, PROMTOOL]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let all = all();
    let theirs = prometheus(dir.path(), &all);
    let (ours, other) = (dir.path().join("ours"), dir.path().join("other"));
    std::fs::create_dir_all(&ours).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    written(&ours, &all);
    assert_eq!(listed(&ours), [(BEGIN, END)]);
    promtool(&["tsdb", "analyze"], &ours);
    let on_ours = Peer::prometheus_with(&ours, &other, "", NATIVE);
    assert_alike(theirs.address, on_ours.address, &[&STATS[..], &BUCKETS].concat());
}

#[test]
fn histograms_that_are_written_to_the_server_answer_in_prometheus_as_its_own() {
    if !installed(&[PROMETHEUS, PROMTOOL]) {
        return;
    }
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [theirs, ours, other] = dirs.each_ref().map(|dir| dir.path());
    let all = all();
    let own = prometheus(theirs, &all);
    let flags = ["--storage.tsdb.retention.time=0", "--web.enable-admin-api"];
    let running = Running::with_flags(ours, 2, &flags);
    write_all(running.address, &all);
    let read_back = streamed(running.address);
    // The same when they were read back from the log.
    running.kill();
    let running = Running::with_flags(ours, 2, &flags);
    assert!(streamed(running.address) == read_back, "not the same after a kill");
    for (name, samples) in &all {
        let read = &read_back[name];
        assert_eq!((read.histograms.len(), read.floats.len()), (samples.len(), 1), "{name}");
        for ((t, was), is) in samples.iter().zip(&read.histograms) {
            let same = is.histogram.as_ref().is_same_sample(was.as_ref());
            assert!(is.t == *t && same, "{name}: {is:?}, sent {was:?} at {t:?}");
        }
    }
    // Prometheus 2.42 does not take histograms from remote read; it does from blocks that the server has made.
    let blocks = ours.join("snapshots").join(snapshot(running.address, ""));
    promtool(&["tsdb", "analyze"], &blocks);
    let on_ours = Peer::prometheus_with(&blocks, other, "", NATIVE);
    assert_alike(own.address, on_ours.address, &[&STATS[..], &BUCKETS].concat());
}
