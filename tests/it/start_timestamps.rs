//! Start timestamps as senders of remote write 2.0 have them kept: the configuration file asks for them, a kill does not lose
//! them, blocks have them, and queries use them if a flag says so.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::rc::Rc;

use floodplain::encoding::chunk::ChunkReader;
use floodplain::io::sim::{NoPace, run};
use floodplain::rt::disk::plain::PlainDisk;
use floodplain::storage::block::{Block, IndexCache};
use floodplain::wire::proto::v2;

use crate::http;
use crate::metadata::packed;
use crate::offline::{self, MINUTE, blocks_in, shard_dir, stop, until_both_have_blocks};
use crate::server::{Running, now_ms};

const SERIES: u32 = 20;
/// So many minutes are written, one sample each.
const MINUTES: i64 = 420;
/// And this often the process that is asked begins anew.
const LIVES_MINUTES: i64 = 25;

/// Since when the counter of minute `n` counts.
fn start_of(begin: i64, n: i64) -> i64 {
    begin + n / LIVES_MINUTES * LIVES_MINUTES * MINUTE - 7
}

/// Writes these minutes of all series; an odd one's sender does not know when it began.
fn write(running: &Running, begin: i64, minutes: Range<i64>) {
    let (mut symbols, mut timeseries) = (vec![Vec::new(), b"__name__".to_vec()], Vec::new());
    symbols.extend([b"requests_total".to_vec(), b"series".to_vec()]);
    for series in 0..SERIES {
        symbols.push(series.to_string().into_bytes());
        let sample = |n: i64| v2::Sample {
            value: (n % LIVES_MINUTES) as f64,
            timestamp: begin + n * MINUTE,
            start_timestamp: if series % 2 == 0 { start_of(begin, n) } else { 0 },
        };
        timeseries.push(v2::TimeSeries {
            labels_refs: vec![1, 2, 3, 4 + series],
            samples: minutes.clone().map(sample).collect(),
            ..v2::TimeSeries::default()
        });
    }
    packed(&v2::Request { symbols, timeseries }, "io.prometheus.write.v2.Request")
        .send(running.address);
}

/// What blocks have, by series and minute: the encoding of the chunk and the start.
type Found = BTreeMap<(u32, i64), (u8, i64)>;

/// Adds what a block has.
async fn read(disk: &PlainDisk, dir: &str, begin: i64, found: &mut Found) {
    let cache = Rc::new(IndexCache::new(1 << 20));
    let block = Block::open(disk, dir, cache, &mut NoPace).await.unwrap();
    let ids = block.select(&[], &mut NoPace).await.unwrap();
    for series in block.series(&ids, &mut NoPace).await.unwrap() {
        let number = series.labels.as_ref().get("series").unwrap().parse().unwrap();
        let references: Vec<_> = series.chunks.iter().map(|chunk| chunk.reference).collect();
        for chunk in block.read_chunks(&references, &mut NoPace).await {
            let chunk = chunk.unwrap();
            let mut reader = ChunkReader::new(chunk.encoding, &chunk.bytes).unwrap();
            while let Some(t) = reader.advance() {
                let n = (t.unwrap().0 - begin) / MINUTE;
                let before = found.insert((number, n), (chunk.encoding, reader.start().0));
                assert_eq!(before, None, "series {number}, minute {n}");
            }
        }
    }
}

/// What is in blocks when all is written, half of it before a kill, by a server with this configuration file; and when the
/// writing begins.
fn in_blocks(configuration: &str) -> (Found, i64) {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("prometheus.yml"), dir.path().join("data"));
    fs::write(&file, configuration).unwrap();
    let flag = format!("--config.file={}", file.display());
    let begin = now_ms() - MINUTES * MINUTE;
    let running = Running::with_flags(&data, 2, &[&flag]);
    // Less than what a block is cut for.
    (0..2).for_each(|hour| write(&running, begin, hour * 60..(hour + 1) * 60));
    running.kill();
    let running = Running::with_flags(&data, 2, &[&flag]);
    (2..7).for_each(|hour| write(&running, begin, hour * 60..(hour + 1) * 60));
    until_both_have_blocks(&data);
    stop(running);
    let (disk, mut found) = (PlainDisk::read_only(&data), Found::new());
    for shard in 0..2 {
        for name in blocks_in(&shard_dir(&data, shard)) {
            run(read(&disk, &format!("shard-{shard:03}/{name}"), begin, &mut found));
        }
    }
    let (code, report) = offline::run(&["verify", &data.display().to_string()]);
    assert_eq!((code, &report["damage"]), (0, &serde_json::json!([])), "{report}");
    (found, begin)
}

#[test]
fn with_xor2_blocks_have_the_start_that_each_sample_came_with() {
    let (found, begin) = in_blocks("storage: {tsdb: {chunk_encoding: {floats: xor2}}}\n");
    assert!(found.len() > 100 * SERIES as usize, "{}", found.len());
    for ((series, n), (encoding, start)) in found {
        let sent = if series % 2 == 0 { start_of(begin, n) } else { 0 };
        assert_eq!((encoding, start), (4, sent), "series {series}, minute {n}");
    }
}

#[test]
fn without_it_chunks_are_those_that_every_reader_knows() {
    let (found, _) = in_blocks("");
    assert!(found.len() > 100 * SERIES as usize, "{}", found.len());
    assert!(found.values().all(|(encoding, start)| (*encoding, *start) == (1, 0)));
}

/// What `query` answers at `t` where it gives one number.
fn number(running: &Running, query: &str, t: i64) -> f64 {
    let time = format!("{}.{:03}", t / 1000, t % 1000);
    let answer = http::data(running.address, "/api/v1/query", &[("query", query), ("time", &time)]);
    let value = &answer["result"][0]["value"][1];
    value.as_str().unwrap_or_else(|| panic!("{query}: {answer}")).parse().unwrap()
}

#[test]
fn queries_find_the_resets_that_starts_tell_of_in_head_and_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("prometheus.yml"), dir.path().join("data"));
    fs::write(&file, "storage: {tsdb: {chunk_encoding: {floats: xor2}}}\n").unwrap();
    let configuration = format!("--config.file={}", file.display());
    let with = |more: &str| {
        let features = format!("--enable-feature=promql-experimental-functions{more}");
        Running::with_flags(&data, 2, &[&configuration, &features])
    };
    let running = with(",use-start-timestamps");
    let now = now_ms();
    let begin = now - MINUTES * MINUTE;
    (0..7).for_each(|hour| write(&running, begin, hour * 60..(hour + 1) * 60));
    // The process begins anew within the fourth minute, and what it counts is more than before by the next sample.
    let first = now - 10 * MINUTE;
    let starts = [first - 30_000, first + 150_000];
    let samples = (0..6).map(|n| v2::Sample {
        value: (n + 1) as f64 * 10.0,
        timestamp: first + n * MINUTE,
        start_timestamp: starts[usize::from(n > 2)],
    });
    let timeseries = vec![v2::TimeSeries {
        labels_refs: vec![1, 2],
        samples: samples.collect(),
        ..v2::TimeSeries::default()
    }];
    let symbols = [&b""[..], b"__name__", b"hidden_total"].map(<[u8]>::to_vec).to_vec();
    packed(&v2::Request { symbols, timeseries }, "io.prometheus.write.v2.Request")
        .send(running.address);
    until_both_have_blocks(&data);

    let last = first + 5 * MINUTE;
    let check = |running: &Running| {
        // 50 from sample to sample, 30 that the reset hid, 10 since the start.
        assert_eq!(number(running, "increase(hidden_total[6m])", last), 90.0);
        assert_eq!(number(running, "rate(hidden_total[6m])", last), 0.25);
        assert_eq!(number(running, "irate(hidden_total[2m])", first + 3 * MINUTE), 40.0 / 60.0);
        assert_eq!(number(running, "resets(hidden_total[6m])", last), 1.0);
        assert_eq!(number(running, "increase(hidden_total[1m])", first), 10.0);
        for minute in [30, 49, 50, MINUTES - 1] {
            for series in 0..4 {
                let query = format!("start_timestamp(requests_total{{series=\"{series}\"}})");
                let start = if series % 2 == 0 { start_of(begin, minute) } else { 0 };
                let told = number(running, &query, begin + minute * MINUTE);
                assert_eq!(told, start as f64 / 1000.0, "series {series}, minute {minute}");
            }
        }
    };
    check(&running);
    running.kill();
    let running = with(",use-start-timestamps");
    check(&running);
    stop(running);

    let running = with("");
    assert_eq!(number(&running, "increase(hidden_total[6m])", last), 60.0);
    assert_eq!(number(&running, "resets(hidden_total[6m])", last), 0.0);
    let parameters = [("query", "start_timestamp(hidden_total)")];
    let answer = http::data(running.address, "/api/v1/query", &parameters);
    assert_eq!(answer["result"], serde_json::json!([]));
    stop(running);
}
