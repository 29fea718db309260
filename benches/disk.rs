//! How fast is a batch durable? Appends of 4, 64 and 256 KiB, each followed by a flush, to a file that grows, one that
//! was preallocated and one whose blocks were all written before; and to the last without a flush, as each write is
//! durable when it returns. Printed as a table.
//!
//! `cargo bench --bench disk`; runs for about 10 seconds, in a directory below `TMPDIR`.

use std::time::{Duration, Instant};

use floodplain::io::{Disk, File};
use floodplain::rt::disk::{RealDisk, RealFile};
use floodplain::rt::executor::{self, End, Options};
use floodplain::rt::preflight::DataDir;
use hdrhistogram::Histogram;

const TIME: Duration = Duration::from_secs(1);
const FILE_BYTES: u64 = 128 << 20;

#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    Allocated,
    Written,
    WrittenDurable,
}

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = DataDir::open(dir.path()).expect("a usable data directory");
    let place = data.place().clone();
    let main = |_| async move {
        let disk = RealDisk::mount(&place).await.expect("direct I/O");
        table(&disk).await;
    };
    let exits =
        executor::start(&Options::default(), vec![main]).expect("an executor starts").join();
    assert!(exits.iter().all(|exit| exit.end == End::Finished), "{exits:?}");
}

async fn table(disk: &RealDisk) {
    println!(
        "{:<14} {:>8} {:>10} {:>10} {:>10} {:>10}",
        "file", "KiB", "p50 us", "p99 us", "max us", "MB/s"
    );
    for before in [Before::Nothing, Before::Allocated, Before::Written, Before::WrittenDurable] {
        for batch_bytes in [4 << 10, 64 << 10, 256 << 10] {
            let file = prepare(disk, before).await;
            append(&file, before, batch_bytes).await;
            drop(file);
            disk.remove("bench").await.expect("the file is there");
        }
    }
}

async fn prepare(disk: &RealDisk, before: Before) -> RealFile {
    let len = if matches!(before, Before::Nothing) { 0 } else { FILE_BYTES };
    let file = disk.create("bench", len).await.expect("room for the file");
    if matches!(before, Before::Written | Before::WrittenDurable) {
        let ones = vec![1u8; 1 << 20];
        for offset in (0..FILE_BYTES).step_by(ones.len()) {
            file.write_at(&ones, offset).await.expect("room for the file");
        }
    }
    file.sync().await.expect("a flush");
    match before {
        Before::WrittenDurable => disk.open_durable("bench").await.expect("the file is there"),
        _ => file,
    }
}

/// Appends and flushes for a second, or until the file is full.
async fn append(file: &RealFile, before: Before, batch_bytes: usize) {
    let batch = vec![7u8; batch_bytes];
    let mut took = histogram();
    let started = Instant::now();
    for offset in (0..FILE_BYTES).step_by(batch_bytes) {
        let began = Instant::now();
        file.write_at(&batch, offset).await.expect("room for the batch");
        if !matches!(before, Before::WrittenDurable) {
            file.sync().await.expect("a flush");
        }
        took.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if started.elapsed() > TIME {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let us = |nanos: u64| nanos as f64 / 1000.0;
    println!(
        "{:<14} {:>8} {:>10.0} {:>10.0} {:>10.0} {:>10.0}",
        format!("{before:?}").to_lowercase(),
        batch_bytes >> 10,
        us(took.value_at_quantile(0.5)),
        us(took.value_at_quantile(0.99)),
        us(took.max()),
        took.len() as f64 * batch_bytes as f64 / seconds / 1e6
    );
}

/// For times in nanoseconds up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}
