//! Native histograms that a stock Prometheus has scraped: its block says what was exposed, in the bytes that our appender
//! gives for it. Prometheus 2.42 leaves a zero byte behind bits that fill their last byte, as later versions do not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;

use floodplain::encoding::histogram::HistogramReader;
use floodplain::io::sim::{NoPace, Rng, run as block_on};
use floodplain::model::{IntHistogram, Matcher, TimestampMs, matcher::MatchOp};
use floodplain::rt::disk::plain::PlainDisk;
use floodplain::storage::block::{self, Block, IndexCache};
use floodplain::wire::proto::v1::BucketSpan;
use prost::Message;

use crate::interop_blocks::snapshot;
use crate::interop_histograms::{Series, our_chunks};
use crate::peer::{PROMETHEUS, Peer, installed};
use crate::remote_read::Chunk;
use crate::server::{now_ms, until};

/// Longer than a chunk of 2.42 is.
const SCRAPES: usize = 150;

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    /// 4 is a histogram.
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, optional, tag = "7")]
    histogram: Option<Exposed>,
    #[prost(int64, tag = "6")]
    timestamp_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Exposed {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "10")]
    negative_delta: Vec<i64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
}

type Scraped = Arc<Mutex<Vec<(TimestampMs, IntHistogram)>>>;

/// A metric family of one histogram, as a client exposes it.
fn exposition(t: TimestampMs, histogram: &IntHistogram) -> Vec<u8> {
    let h = histogram.as_ref();
    let spans = |spans: &[floodplain::model::histogram::Span]| {
        spans.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect()
    };
    let exposed = Exposed {
        count: h.count,
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count,
        negative_span: spans(h.negative_spans),
        negative_delta: h.negative_buckets.to_vec(),
        positive_span: spans(h.positive_spans),
        positive_delta: h.positive_buckets.to_vec(),
    };
    let metric = Metric { histogram: Some(exposed), timestamp_ms: t.0 };
    let family = MetricFamily { name: "scraped".to_owned(), kind: 4, metric: vec![metric] };
    family.encode_length_delimited_to_vec()
}

/// Answers one scrape with what the series has observed meanwhile.
fn answer(mut stream: &TcpStream, series: &mut Series, rng: &mut Rng, scraped: &Scraped) {
    let mut accepts = false;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        accepts |= line.contains("application/vnd.google.protobuf");
        if line.is_empty() {
            break;
        }
    }
    if !accepts {
        return; // `until` below then tells that nothing is scraped
    }
    for _ in 0..rng.below(4) {
        series.observe(i32::try_from(rng.below(20)).unwrap() - 10, 1 + rng.below(3));
    }
    let mut scraped = scraped.lock().unwrap();
    let t = TimestampMs(now_ms().max(scraped.last().map_or(0, |(t, _)| t.0 + 1)));
    let histogram = series.histogram();
    let body = exposition(t, &histogram);
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\nContent-Type: application/vnd.google.protobuf; \
         proto=io.prometheus.client.MetricFamily; encoding=delimited\r\n\r\n",
        body.len()
    );
    if stream.write_all(&[head.as_bytes(), &body].concat()).is_ok() {
        scraped.push((t, histogram));
    }
}

/// A client that exposes a histogram; it ends with the tests.
fn client() -> (SocketAddr, Scraped) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, scraped) = (listener.local_addr().unwrap(), Scraped::default());
    let noted = Arc::clone(&scraped);
    thread::spawn(move || {
        let (mut series, mut rng) = (Series::new(), Rng::new(5));
        for stream in listener.incoming().map_while(Result::ok) {
            answer(&stream, &mut series, &mut rng, &noted);
        }
    });
    (address, scraped)
}

/// The chunks of the series `scraped` in all blocks below `dir`.
fn chunks_in(dir: &std::path::Path) -> Vec<Chunk> {
    let disk = PlainDisk::read_only(dir);
    let mut chunks = BTreeMap::new();
    block_on(async {
        for ulid in block::list(&disk, "").await.unwrap() {
            let cache = Rc::new(IndexCache::new(1 << 20));
            let dir = block::dir("", ulid);
            let block = Block::open(&disk, &dir, cache, &mut NoPace).await.unwrap();
            assert!(block.verify(&mut NoPace).await.is_empty());
            let matcher = Matcher::new("__name__", MatchOp::Equal, "scraped").unwrap();
            let ids = block.select(&[matcher], &mut NoPace).await.unwrap();
            for series in block.series(&ids, &mut NoPace).await.unwrap() {
                let references: Vec<_> = series.chunks.iter().map(|c| c.reference).collect();
                let read = block.read_chunks(&references, &mut NoPace).await;
                for (meta, chunk) in series.chunks.iter().zip(read) {
                    let (min, max, chunk) =
                        (meta.range.min().0, meta.range.max().0, chunk.unwrap());
                    let (encoding, data) = (chunk.encoding.into(), chunk.bytes.to_vec());
                    chunks.insert(min, Chunk { min, max, encoding, data });
                }
            }
        }
    });
    chunks.into_values().collect()
}

#[test]
fn what_prometheus_has_scraped_is_read_as_it_was_exposed() {
    if !installed(&[PROMETHEUS]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (address, scraped) = client();
    let config = format!(
        "scrape_configs: [{{job_name: j, scrape_interval: 50ms, scrape_timeout: 50ms, static_configs: [{{targets: ['{address}']}}]}}]\n"
    );
    let native = ["--enable-feature=native-histograms"];
    let prometheus = Peer::prometheus_with(&dir.path().join("data"), dir.path(), &config, &native);
    until("there are enough scrapes", || scraped.lock().unwrap().len() > SCRAPES);
    let name = snapshot(prometheus.address, "");
    drop(prometheus);
    let mut theirs = chunks_in(&dir.path().join("data/snapshots").join(name));
    let exposed = scraped.lock().unwrap().clone();
    let mut read = Vec::new();
    for chunk in &theirs {
        assert_eq!(chunk.encoding, 2);
        read.extend(HistogramReader::<u64>::new(&chunk.data).unwrap().map(Result::unwrap));
    }
    // What was scraped too late for its time limit, or for the snapshot, is missing: so each that is there is looked for.
    assert!(read.len() > SCRAPES / 2, "{} of {}", read.len(), exposed.len());
    let exposed: BTreeMap<i64, IntHistogram> = exposed.into_iter().map(|(t, h)| (t.0, h)).collect();
    for (t, h) in &read {
        assert!(h.as_ref().is_same_sample(exposed[&t.0].as_ref()), "at {t:?}: {h:?}");
    }
    let there: Vec<_> = read.iter().map(|(t, _)| (*t, exposed[&t.0].clone())).collect();
    let mut ours = our_chunks("scraped", &there, &theirs);
    assert_eq!(ours.len(), theirs.len());
    // The last chunk was open, and is written anew for the snapshot: then it says nothing about a reset before it.
    let flags = |data: &mut Vec<u8>| data[2] = 0;
    flags(ours.last_mut().unwrap());
    flags(&mut theirs.last_mut().unwrap().data);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let zero = theirs.data.strip_suffix(&[0]).filter(|rest| rest.len() == ours.len());
        assert_eq!(ours, zero.unwrap_or(&theirs.data), "bytes from {}", theirs.min);
    }
}
