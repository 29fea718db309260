//! How fast is a block written, and in how much memory? A block of 300,000 series with eight labels and 24 chunks of 120
//! bytes each, with much and with little memory for postings.
//!
//! `cargo bench --bench block`; writes 1 GB below `TMPDIR`. `SERIES=3000000` for another number of series.

use std::time::Instant;

use floodplain::encoding::block::meta::BlockMeta;
use floodplain::io::Disk;
use floodplain::model::{TimeRange, TimestampMs};
use floodplain::rt::disk::RealDisk;
use floodplain::rt::executor::{self, End, Options};
use floodplain::rt::pace::Slice;
use floodplain::rt::preflight::DataDir;
use floodplain::storage::block::writer::{BlockWriter, ChunkToWrite, WriterOptions};
use floodplain::storage::block::{self, Ulid};

const CHUNKS: i64 = 24;
const NAMES: [&str; 8] =
    ["__name__", "address", "container", "instance", "job", "namespace", "pod", "zone"];

fn main() {
    let count = std::env::var("SERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(300_000u32);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = DataDir::open(dir.path()).expect("a usable data directory");
    let place = data.place().clone();
    let main = move |_| async move {
        let disk = RealDisk::mount(&place).await.expect("direct I/O");
        println!(
            "{:>12} {:>12} {:>12} {:>12} {:>12}",
            "postings", "series", "finish", "index", "peak RSS"
        );
        for postings_bytes in [4 << 20, 128 << 20] {
            write(&disk, count, postings_bytes).await;
        }
    };
    let exits =
        executor::start(&Options::default(), vec![main]).expect("an executor starts").join();
    assert!(exits.iter().all(|exit| exit.end == End::Finished), "{exits:?}");
}

async fn write(disk: &RealDisk, count: u32, postings_bytes: usize) {
    let (ulid, mut pace) = (Ulid(u128::from(count)), Slice::start());
    let options = WriterOptions { postings_bytes, ..WriterOptions::default() };
    let mut writer = BlockWriter::begin(disk, "", ulid, options).await.expect("a block begins");
    // Values sort behind the names, and the unique ones behind the shared ones.
    for name in NAMES {
        writer.add_symbol(name).await.expect("sorted");
    }
    let values = 8 + 1000 + count;
    for value in 8..values {
        writer.add_symbol(&format!("~value-{value:09}")).await.expect("sorted");
        pace.breathe().await;
    }
    let started = Instant::now();
    let bytes = [1; 120];
    let chunks: Vec<_> = (0..CHUNKS)
        .map(|i| ChunkToWrite {
            range: TimeRange::new(TimestampMs(i * 2000), TimestampMs(i * 2000 + 1999))
                .expect("sorted"),
            encoding: 1,
            bytes: &bytes,
        })
        .collect();
    for series in 0..count {
        let metric =
            8 + u32::try_from(u64::from(series) * 1000 / u64::from(count)).expect("below 1000");
        let shared = |of: u32| 8 + series % of;
        // Sorted by metric, then by address.
        let labels = [
            (0, metric),
            (1, 1008 + series),
            (2, shared(20)),
            (3, shared(500)),
            (4, shared(10)),
            (5, shared(30)),
            (6, 1008 + series),
            (7, shared(3)),
        ];
        writer.add_series(&labels, &chunks, &mut pace).await.expect("room");
    }
    let series = started.elapsed();
    let started = Instant::now();
    writer.finish(BlockMeta::new(ulid, 0, CHUNKS * 2000), &mut pace).await.expect("a block");
    let finish = started.elapsed();
    let dir = block::dir("", ulid);
    let index = disk.list(&dir).await.expect("listed");
    let index = index.iter().find(|entry| entry.name == block::INDEX).expect("an index").len;
    block::delete(disk, "", ulid).await.expect("deleted");
    println!(
        "{:>9} MiB {:>10.2} s {:>10.2} s {:>9} MB {:>9} MB",
        postings_bytes >> 20,
        series.as_secs_f64(),
        finish.as_secs_f64(),
        index / 1_000_000,
        peak_rss_kb() / 1000
    );
}

/// The most memory that the process had so far.
fn peak_rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}
