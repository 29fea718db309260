//! What the disk does not give is not taken for damage and thrown away: it is told, left alone, and there again when the disk
//! gives it. What must go on without it keeps it aside.

use floodplain::io::Disk;
use floodplain::io::File;
use floodplain::io::sim::{SimDisk, run};
use floodplain::storage::compaction::merge::MergeOptions;

use crate::whole_store::{Samples, Store};

const START: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;

/// A sample of each of some series every minute, from one minute to another.
fn minutes(from: i64, to: i64) -> Samples {
    let of = |series: i64| {
        (from..to).map(move |m| (START + m * MINUTE, (m * 8 + series + 1).unsigned_abs()))
    };
    (0..4).map(|series| (format!("{series:03}"), of(series).collect())).collect()
}

/// A server of one shard with so many minutes, an hour a request, its blocks cut.
fn filled(disk: &SimDisk, hours: i64) -> Store {
    run(async {
        let mut store = Store::open(disk, Some(1)).await.unwrap();
        for hour in 0..hours {
            let now = START + (hour + 1) * 60 * MINUTE;
            store.append(&minutes(hour * 60, (hour + 1) * 60), now).await.unwrap();
        }
        while let Some((cut, extraction)) = store.shards[0].begin_cut().await.unwrap() {
            assert_eq!(store.shards[0].end_cut(cut, extraction).await.unwrap(), 0);
        }
        store
    })
}

fn count(samples: &Samples) -> usize {
    samples.values().map(|values| values.len()).sum()
}

fn paths(disk: &SimDisk, of: &str) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.contains(of)).collect()
}

fn spoil_all(disk: &SimDisk, path: &str) {
    let len = run(async { disk.open(path).await.unwrap().len() });
    disk.spoil(path, 0..len);
}

#[test] // once, such a start failed
fn a_start_leaves_a_block_where_it_is_that_the_disk_does_not_read() {
    for name in ["meta.json", "index", "tombstones"] {
        let disk = SimDisk::new(1);
        drop(filled(&disk, 10));
        let all = minutes(0, 600);
        let found = paths(&disk, name);
        assert!(found.len() > 1, "{found:?}");
        spoil_all(&disk, &found[0]);
        let before = disk.paths().len();
        let store = run(Store::open(&disk, None)).unwrap();
        let told = store.damage.join("; ");
        assert!(told.contains("the disk does not read this block"), "{told}");
        let (read, _) = run(store.read()).unwrap();
        assert!(count(&read) > 100 && count(&read) < count(&all), "{name}: {}", count(&read));
        assert_eq!(paths(&disk, "quarantine"), [""; 0]);
        assert_eq!(disk.paths().len(), before);
        disk.heal();
        let store = run(Store::open(&disk, None)).unwrap();
        assert_eq!(store.damage, [""; 0]);
        assert_eq!(run(store.read()).unwrap(), (all, vec![]), "{name}");
    }
}

#[test]
fn a_query_warns_of_a_chunk_that_the_disk_does_not_read_and_answers_the_rest() {
    let disk = SimDisk::new(1);
    let store = filled(&disk, 10);
    let segment = &paths(&disk, "chunks/000001")[0];
    disk.spoil(segment, 8..9);
    let (read, warnings) = run(store.read()).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with(segment.as_str()), "{warnings:?}");
    let (found, all) = (count(&read), count(&minutes(0, 600)));
    assert!(found < all && found > all - 500, "{found} of {all}");
}

#[test] // once, the parent was marked as failed for good
fn a_merge_that_cannot_read_a_parent_is_given_up_and_done_later() {
    let disk = SimDisk::new(1);
    let store = filled(&disk, 16);
    let all = run(store.read()).unwrap();
    let before = disk.paths();
    for file in ["chunks/000001", "/index", "meta.json"] {
        paths(&disk, file).iter().for_each(|path| spoil_all(&disk, path));
        run(store.shards[0].compact(&MergeOptions::default())).unwrap_err();
        disk.heal();
        assert_eq!(disk.paths(), before, "{file}: nothing has come or gone");
        assert_eq!(run(store.read()).unwrap(), all, "{file}");
    }
    assert!(run(store.shards[0].compact(&MergeOptions::default())).unwrap() > 1);
    assert_eq!(run(store.read()).unwrap(), all);
}

#[test] // once, such a start failed
fn a_start_keeps_a_segment_aside_that_the_disk_does_not_read() {
    let disk = SimDisk::new(1);
    let store = run(async {
        let mut store = Store::open(&disk, Some(1)).await.unwrap();
        for minute in 0..30 {
            let now = START + minute * MINUTE;
            store.append(&minutes(minute, minute + 1), now).await.unwrap();
        }
        store
    });
    drop(store);
    let segments = paths(&disk, "wal/0");
    assert!(segments.len() > 3, "{segments:?}");
    // One block of it: the batch that is there is lost, and no other.
    disk.spoil(&segments[1], 4096..4097);
    let store = run(Store::open(&disk, None)).unwrap();
    let told = store.damage.join("; ");
    assert!(told.contains("4096 bytes cannot be read"), "{told}");
    assert_eq!(count(&run(store.read()).unwrap().0), 4 * 29);
    assert_eq!(paths(&disk, "quarantine").len(), 2, "the segment and its text");
    // It is told once, and what is aside is as it was.
    let store = run(Store::open(&disk, None)).unwrap();
    assert_eq!(store.damage, [""; 0]);
    assert_eq!(count(&run(store.read()).unwrap().0), 4 * 29);
}

#[test] // what a power cut would leave there looks the same, so it must be said that it was not looked at
fn the_end_of_a_log_that_the_disk_does_not_read_is_not_taken_for_a_torn_one() {
    let disk = SimDisk::new(1);
    let store = run(async {
        let mut store = Store::open(&disk, Some(1)).await.unwrap();
        store.append(&minutes(0, 1), START).await.unwrap();
        store
    });
    drop(store);
    let segments = paths(&disk, "wal/0");
    spoil_all(&disk, &segments[0]);
    let store = run(Store::open(&disk, None)).unwrap();
    assert!(store.damage.join("; ").contains("cannot be read"), "{:?}", store.damage);
    assert_eq!(paths(&disk, "quarantine").len(), 2, "the segment and its text");
}

#[test] // once, the file went, and with it what the disk would have given another time
fn a_cut_keeps_the_file_of_a_chunk_aside_that_it_cannot_read() {
    let disk = SimDisk::new(1);
    let store = run(async {
        let mut store = Store::open(&disk, Some(1)).await.unwrap();
        for hour in 0..5 {
            let now = START + (hour + 1) * 60 * MINUTE;
            store.append(&minutes(hour * 60, (hour + 1) * 60), now).await.unwrap();
        }
        store.shards[0].spill().await.unwrap();
        let file = &paths(&disk, "head/chunks-")[0];
        spoil_all(&disk, file);
        let (cut, extraction) = store.shards[0].begin_cut().await.unwrap().unwrap();
        assert!(store.shards[0].end_cut(cut, extraction).await.unwrap() > 0);
        assert_eq!(disk.paths().iter().filter(|path| *path == file).count(), 0);
        store
    });
    let aside = paths(&disk, "quarantine/chunks-");
    assert_eq!(aside.len(), 2, "the file and its text: {aside:?}");
    let (read, _) = run(store.read()).unwrap();
    assert!(count(&read) > 4 * 120);
}
