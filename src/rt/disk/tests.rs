//! Tests of the disk on the file system of the temporary directory, and on small ones in memory.

use std::ffi::CString;
use std::future::Future;
use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::io::File;
use crate::rt::executor::testing::{on_one_shard, on_shards};
use crate::rt::preflight::DataDir;

/// Runs `body` on a shard that has mounted a new data directory below `dir`.
fn on_disk_in<F: Future<Output = ()> + 'static>(
    dir: &Path,
    body: impl FnOnce(RealDisk) -> F + Send + 'static,
) {
    let data = DataDir::open(dir).unwrap();
    let place = data.place().clone();
    on_one_shard(|_| async move { body(RealDisk::mount(&place).await.unwrap()).await });
}

fn on_disk<F: Future<Output = ()> + 'static>(body: impl FnOnce(RealDisk) -> F + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    on_disk_in(dir.path(), body);
}

/// Blocks that differ from each other.
fn blocks(count: usize) -> Vec<u8> {
    (0..count * BLOCK_BYTES)
        .map(|at| u8::try_from(at / BLOCK_BYTES % 251).unwrap() ^ 0xa5)
        .collect()
}

#[test]
fn r3_reads_work_although_the_first_file_of_the_program_is_empty() {
    on_disk(|disk| async move {
        let file = disk.create("empty", 0).await.unwrap();
        file.write_at(&blocks(1), 0).await.unwrap();
        assert_eq!(&*file.read_at(0, BLOCK_BYTES).await.unwrap(), blocks(1));
    });
}

#[test]
fn r3_an_empty_marker_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    fs::write(data.place().marker(), "").unwrap();
    let place = data.place().clone();
    on_one_shard(|_| async move {
        let error = RealDisk::mount(&place).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    });
}

#[test]
fn r4_a_full_disk_fails_the_write_and_the_allocation() {
    if !in_a_small_file_system_of_its_own() {
        return;
    }
    // Threads started from here see the same mounts.
    on_disk_in(Path::new(SMALL), |disk| async move {
        let error = disk.create("large", 64 << 20).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let names = disk.list("").await.unwrap();
        assert!(names.iter().all(|entry| entry.name != "large"), "{names:?}");
        let file = disk.create("grows", 0).await.unwrap();
        let mut outcome = Ok(());
        for at in 0..1024 {
            outcome = file.write_at(&blocks(2), at * 2 * BLOCK_BYTES as u64).await;
            if outcome.is_err() {
                break;
            }
        }
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::StorageFull);
    });
}

/// Where the small file system is mounted.
const SMALL: &str = "/mnt";

/// Gives this thread a mount table of its own, with 1 MiB and a block of memory at [`SMALL`]; false, with a line, if
/// that is not allowed. The block makes the last write of two blocks a short one.
fn in_a_small_file_system_of_its_own() -> bool {
    let text = |text: &str| CString::new(text).unwrap();
    let (root, small, tmpfs) = (text("/"), text(SMALL), text("tmpfs"));
    let size = text(&format!("size={}", (1 << 20) + BLOCK_BYTES));
    let none = std::ptr::null();
    // SAFETY: only this thread's own copy of the mount table changes; the strings outlive the calls.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, root.as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast())
                == 0
            && libc::mount(tmpfs.as_ptr(), small.as_ptr(), tmpfs.as_ptr(), 0, size.as_ptr().cast())
                == 0
    };
    if !done {
        println!("skipped: mounting a small file system needs root");
    }
    done
}

#[test]
fn r5_a_read_beyond_the_end_is_an_error_also_within_the_last_block() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("short"), [7u8; 100]).unwrap();
    on_disk_in(dir.path(), |disk| async move {
        let file = disk.open("short").await.unwrap();
        assert_eq!(file.len(), 100);
        assert_eq!(&*file.read_at(50, 50).await.unwrap(), [7u8; 50]);
        assert!(file.read_at(100, 0).await.unwrap().is_empty());
        for (offset, len) in [(50, 51), (50, 4000), (200, 50), (u64::MAX, 1)] {
            let error = file.read_at(offset, len).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{len} at {offset}");
        }
    });
}

#[test]
fn r5_a_file_that_somebody_else_has_cut_is_an_error_not_garbage() {
    on_disk(|disk| async move {
        let file = disk.create("cut", 0).await.unwrap();
        file.write_at(&blocks(2), 0).await.unwrap();
        let cut = fs::OpenOptions::new().write(true).open(disk.resolve("cut").unwrap()).unwrap();
        cut.set_len(5000).unwrap();
        let error = file.read_at(4096, 4096).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn r6_an_open_file_does_not_mind_being_renamed() {
    on_disk(|disk| async move {
        let mut file = disk.create("before", 0).await.unwrap();
        file.write_at(&blocks(1), 0).await.unwrap();
        disk.rename("before", "after").await.unwrap();
        file.write_at(&blocks(1), BLOCK_BYTES as u64).await.unwrap();
        file.sync().await.unwrap();
        assert_eq!(file.len(), 2 * BLOCK_BYTES as u64);
        file.set_len(5000).await.unwrap();
        let reopened = disk.open("after").await.unwrap();
        assert_eq!(reopened.len(), 5000);
        assert!(disk.open("before").await.is_err());
    });
}

#[test]
fn what_is_written_is_read_at_any_offset() {
    on_disk(|disk| async move {
        let written = blocks(600);
        let file = disk.create("file", 0).await.unwrap();
        // Longer than one write of the kernel.
        file.write_at(&written, 0).await.unwrap();
        file.sync().await.unwrap();
        for (offset, len) in [(0, 1), (4095, 2), (5000, 100_000), (4096, 4096), (2_457_599, 1)] {
            let read = file.read_at(offset, len).await.unwrap();
            let from = usize::try_from(offset).unwrap();
            assert_eq!(&*read, &written[from..from + len], "{len} at {offset}");
        }
        assert_eq!(fs::read(disk.resolve("file").unwrap()).unwrap(), written);
    });
}

#[test]
fn a_new_file_is_allocated_and_reads_as_zeros() {
    on_disk(|disk| async move {
        let file = disk.create("file", 10_000).await.unwrap();
        assert_eq!((file.len(), disk.open("file").await.unwrap().len()), (10_000, 10_000));
        assert!(file.read_at(0, 10_000).await.unwrap().iter().all(|byte| *byte == 0));
        let error = disk.create("file", 0).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.open("file").await.unwrap().len(), 10_000, "the old file is untouched");
    });
}

#[test]
fn without_fallocate_a_new_file_is_filled() {
    on_disk(|disk| async move {
        let mut file = disk.create("file", 0).await.unwrap();
        file.fill_with_zeros((1 << 20) + 5000).await.unwrap();
        assert_eq!(file.len(), (1 << 20) + 5000);
        assert_eq!(disk.open("file").await.unwrap().len(), (1 << 20) + 5000);
    });
}

#[test]
fn names_are_listed_in_order_and_a_missing_directory_has_none() {
    on_disk(|disk| async move {
        disk.create_dir("shard/wal").await.unwrap();
        disk.create_dir("shard/wal").await.unwrap();
        drop(disk.create("shard/b", 5).await.unwrap());
        drop(disk.create("shard/a", 0).await.unwrap());
        disk.sync_dir("shard").await.unwrap();
        let listed: Vec<_> = disk.list("shard").await.unwrap();
        let names: Vec<_> = listed.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
        assert_eq!(names, [("a", false), ("b", false), ("wal", true)]);
        assert_eq!(listed[1].len, 5);
        assert!(disk.list("nowhere").await.unwrap().is_empty());
        disk.rename("shard/a", "shard/b").await.unwrap();
        assert_eq!(disk.open("shard/b").await.unwrap().len(), 0, "replaced");
        disk.remove("shard/b").await.unwrap();
        assert_eq!(disk.remove("shard/b").await.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn only_an_empty_directory_is_removed() {
    on_disk(|disk| async move {
        disk.create_dir("a/b").await.unwrap();
        let error = disk.remove_dir("a").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
        disk.remove_dir("a/b").await.unwrap();
        disk.remove_dir("a").await.unwrap();
        let error = disk.remove_dir("a").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn a_directory_gets_another_name_with_all_that_is_below_it() {
    on_disk(|disk| async move {
        disk.create_dir("a/new.tmp/below").await.unwrap();
        drop(disk.create("a/new.tmp/below/file", 5).await.unwrap());
        disk.rename_dir("a/new.tmp", "a/new").await.unwrap();
        disk.sync_dir("a").await.unwrap();
        assert_eq!(disk.open("a/new/below/file").await.unwrap().len(), 5);
        assert_eq!(disk.list("a").await.unwrap().len(), 1);
        disk.create_dir("a/other").await.unwrap();
        let error = disk.rename_dir("a/other", "a/new").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
        let error = disk.rename_dir("a/nowhere", "a/else").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn a_link_is_the_same_file_under_one_more_name() {
    on_disk(|disk| async move {
        let file = disk.create("a", 0).await.unwrap();
        disk.link("a", "b").await.unwrap();
        file.write_at(&blocks(1), 0).await.unwrap();
        disk.remove("a").await.unwrap();
        let linked = disk.open_read("b").await.unwrap();
        assert_eq!(&*linked.read_at(0, BLOCK_BYTES).await.unwrap(), blocks(1));
        drop(disk.create("c", 0).await.unwrap());
        let error = disk.link("b", "c").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    });
}

#[test]
fn a_file_opened_for_reading_refuses_writes() {
    on_disk(|disk| async move {
        drop(disk.create("a", 4096).await.unwrap());
        let mut file = disk.open_read("a").await.unwrap();
        let write = file.write_at(&blocks(1), 0).await.unwrap_err();
        let cut = file.set_len(0).await.unwrap_err();
        assert_eq!([write.kind(), cut.kind()], [io::ErrorKind::PermissionDenied; 2]);
        assert_eq!(disk.open("a").await.unwrap().len(), 4096);
    });
}

#[test]
fn many_reads_come_back_in_the_order_they_were_asked_for() {
    on_disk(|disk| async move {
        let written = blocks(300);
        let file = disk.create("file", 0).await.unwrap();
        file.write_at(&written, 0).await.unwrap();
        let ranges: Vec<(u64, usize)> = (0..1000usize)
            .map(|i| (i * 7919 % (299 * BLOCK_BYTES), i * 31 % 4000))
            .map(|(offset, len)| (offset as u64, len))
            .collect();
        let read = file.read_many(&ranges).await;
        assert_eq!(read.len(), ranges.len());
        for ((offset, len), read) in ranges.iter().zip(&read) {
            let from = usize::try_from(*offset).unwrap();
            assert_eq!(&**read.as_ref().unwrap(), &written[from..from + len], "{len} at {offset}");
        }
        let past_end = [(0, 1), (file.len(), 1), (0, 1)];
        let read = file.read_many(&past_end).await;
        let kinds: Vec<_> = read.iter().map(|r| r.as_ref().err().map(io::Error::kind)).collect();
        assert_eq!(kinds, [None, Some(io::ErrorKind::UnexpectedEof), None]);
        assert!(file.read_many(&[]).await.is_empty());
    });
}

#[test]
fn no_path_leaves_the_data_directory() {
    on_disk(|disk| async move {
        for path in ["../x", "/etc/passwd", "a/../../x", "a\0b"] {
            let error = disk.open(path).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
    });
}

#[test]
fn several_executors_share_one_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    let main = |name: &'static str| {
        let place = data.place().clone();
        move |_| async move {
            let disk = RealDisk::mount(&place).await.unwrap();
            let file = disk.create(name, 1 << 20).await.unwrap();
            for at in 0..20 {
                file.write_at(&blocks(1), at * BLOCK_BYTES as u64).await.unwrap();
                file.sync().await.unwrap();
            }
            assert_eq!(&*file.read_at(19 * 4096, 4096).await.unwrap(), blocks(1));
        }
    };
    on_shards(vec![main("a"), main("b"), main("c")]);
}

#[test]
fn names_that_are_not_text_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    fs::write(dir.path().join("text"), "").unwrap();
    let names: Vec<_> = entries(dir.path()).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["text"]);
}
