//! What the simulated disk loses, and what it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::*;
use crate::io::{BLOCK_BYTES, Disk, File};

const BLOCK: [u8; BLOCK_BYTES] = [7; BLOCK_BYTES];

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        run(async {
            let file = disk.create("a", 0).await.unwrap();
            disk.sync_dir("").await.unwrap();
            file.write_at(&BLOCK, 0).await.unwrap();
            file.sync().await.unwrap();
            let after = disk.image_after_crash(seed, Faults::default());
            let file = after.open("a").await.unwrap();
            assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap(), BLOCK);
        });
    }
}

#[test]
fn what_was_not_synced_is_sometimes_lost_and_sometimes_torn() {
    let (mut lost, mut torn, mut whole) = (0, 0, 0);
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        run(async {
            let file = disk.create("a", BLOCK_BYTES as u64).await.unwrap();
            disk.sync_dir("").await.unwrap();
            file.write_at(&BLOCK, 0).await.unwrap();
            let after = disk.image_after_crash(seed, Faults::default());
            let read = after.open("a").await.unwrap().read_at(0, BLOCK_BYTES).await.unwrap();
            match read.iter().filter(|byte| **byte == 7).count() {
                0 => lost += 1,
                BLOCK_BYTES => whole += 1,
                _ => torn += 1,
            }
        });
    }
    assert!(lost > 0 && torn > 0 && whole > 0, "lost {lost}, torn {torn}, whole {whole}");
}

#[test]
fn a_name_that_was_not_synced_may_be_gone() {
    let survived = (0..50).filter(|seed| {
        let disk = SimDisk::new(*seed);
        run(disk.create("a", 0)).unwrap();
        !disk.image_after_crash(*seed, Faults::default()).paths().is_empty()
    });
    let survived = survived.count();
    assert!(survived > 0 && survived < 50, "{survived} of 50");
}

#[test]
fn only_an_empty_directory_is_removed_and_it_may_come_back_until_the_one_above_is_synced() {
    let mut came_back = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        run(async {
            disk.create_dir("a").await.unwrap();
            disk.create_dir("a/b").await.unwrap();
            disk.create("a/b/c", 0).await.unwrap();
            for not_empty in ["a", "a/b"] {
                let error = disk.remove_dir(not_empty).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
            }
            disk.remove("a/b/c").await.unwrap();
            disk.remove_dir("a/b").await.unwrap();
            assert_eq!(disk.list("a").await.unwrap(), []);
            let again = disk.remove_dir("a/b").await.unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::NotFound);
            let after = disk.image_after_crash(seed, Faults::default());
            came_back += after.list("a").await.unwrap().len();
            disk.sync_dir("a").await.unwrap();
            let after = disk.image_after_crash(seed, Faults::default());
            assert_eq!(after.list("a").await.unwrap(), []);
        });
    }
    assert!(came_back > 0 && came_back < 50, "{came_back} of 50");
}

#[test]
fn a_file_that_goes_to_another_directory_is_never_lost_on_the_way() {
    let mut places = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        run(async {
            disk.create_dir("a/b").await.unwrap();
            disk.create("a/c", 0).await.unwrap();
            disk.sync_dir("a").await.unwrap();
            disk.rename("a/c", "a/b/d").await.unwrap();
            assert_eq!(disk.paths(), ["a/b/d"]);
            places.insert(disk.image_after_crash(seed, Faults::default()).paths());
            disk.sync_dir("a/b").await.unwrap();
            disk.sync_dir("a").await.unwrap();
            assert_eq!(disk.image_after_crash(seed, Faults::default()).paths(), ["a/b/d"]);
        });
    }
    let [before, after] = ["a/c", "a/b/d"].map(str::to_owned);
    let both = vec![before.clone(), after.clone()];
    let places: Vec<_> = places.into_iter().collect();
    assert_eq!(places, [vec![after], vec![before], both]);
}

#[test]
fn a_directory_that_gets_another_name_is_never_lost_and_never_there_twice() {
    let mut names = BTreeMap::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        run(async {
            disk.create_dir("a/new.tmp/below").await.unwrap();
            disk.create("a/new.tmp/below/file", 0).await.unwrap();
            disk.sync_dir("a/new.tmp/below").await.unwrap();
            disk.rename_dir("a/new.tmp", "a/new").await.unwrap();
            assert_eq!(disk.paths(), ["a/new/below/file"]);
            let after = disk.image_after_crash(seed, Faults::default());
            assert_eq!(after.list("a").await.unwrap().len(), 1, "{:?}", after.paths());
            *names.entry(after.paths()).or_insert(0) += 1;
            disk.sync_dir("a").await.unwrap();
            let after = disk.image_after_crash(seed, Faults::default());
            assert_eq!(after.paths(), ["a/new/below/file"]);
        });
    }
    let found: Vec<_> = names.keys().map(|paths| paths.join(" ")).collect();
    assert_eq!(found, ["a/new.tmp/below/file", "a/new/below/file"]);
}

#[test]
fn of_several_names_that_a_directory_had_a_crash_leaves_any_one() {
    let mut names = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        run(async {
            disk.create_dir("a/1").await.unwrap();
            disk.rename_dir("a/1", "a/2").await.unwrap();
            disk.rename_dir("a/2", "a/3").await.unwrap();
            let after = disk.image_after_crash(seed, Faults::default());
            let left = after.list("a").await.unwrap();
            names.insert(left.into_iter().map(|entry| entry.name).collect::<String>());
        });
    }
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["1", "2", "3"]);
}

#[test]
fn a_directory_does_not_replace_one_that_holds_something() {
    run(async {
        let disk = SimDisk::new(1);
        disk.create_dir("a").await.unwrap();
        disk.create_dir("b/c").await.unwrap();
        let error = disk.rename_dir("a", "b").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
        disk.rename_dir("b", "a").await.unwrap();
        let entries = disk.list("").await.unwrap();
        assert_eq!(entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(disk.rename_dir("b", "c").await.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn a_directory_is_listed_once_whatever_sorts_between_it_and_what_is_in_it() {
    run(async {
        let disk = SimDisk::new(1);
        disk.create_dir("a/b").await.unwrap();
        disk.create_dir("a.c").await.unwrap();
        let names: Vec<_> = disk.list("").await.unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["a", "a.c"]);
    });
}

#[test]
fn a_link_is_the_same_file_and_durable_with_its_directory() {
    let mut survived = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        run(async {
            disk.create_dir("b").await.unwrap();
            let file = disk.create("a", 0).await.unwrap();
            disk.sync_dir("").await.unwrap();
            disk.link("a", "b/c").await.unwrap();
            file.write_at(&BLOCK, 0).await.unwrap();
            file.sync().await.unwrap();
            let twice = disk.link("a", "b/c").await.unwrap_err();
            assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
            let after = disk.image_after_crash(seed, Faults::default());
            survived += after.list("b").await.unwrap().len();
            disk.sync_dir("b").await.unwrap();
            disk.remove("a").await.unwrap();
            let after = disk.image_after_crash(seed, Faults::default());
            let linked = after.open_read("b/c").await.unwrap();
            assert_eq!(linked.read_at(0, BLOCK_BYTES).await.unwrap(), BLOCK);
        });
    }
    assert!(survived > 0 && survived < 50, "{survived} of 50");
}

#[test]
fn a_file_opened_for_reading_refuses_writes() {
    run(async {
        let disk = SimDisk::new(1);
        disk.create("a", BLOCK_BYTES as u64).await.unwrap();
        let mut file = disk.open_read("a").await.unwrap();
        let write = file.write_at(&BLOCK, 0).await.unwrap_err();
        let cut = file.set_len(0).await.unwrap_err();
        assert_eq!([write.kind(), cut.kind()], [io::ErrorKind::PermissionDenied; 2]);
        let read = file.read_many(&[(5, 2), (0, 1)]).await;
        let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
        assert_eq!(read, [vec![0; 2], vec![0; 1]]);
        let read = file.read_many(&[(0, 1), (4096, 1), (1, 1)]).await;
        assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    });
}

#[test]
fn a_failed_sync_loses_what_it_should_have_written() {
    let disk = SimDisk::with_faults(
        1,
        Faults { fail_at: Some((4, io::ErrorKind::Other)), ..Faults::default() },
    );
    run(async {
        let file = disk.create("a", BLOCK_BYTES as u64).await.unwrap();
        disk.sync_dir("").await.unwrap();
        file.write_at(&BLOCK, 0).await.unwrap();
        assert!(file.sync().await.is_err());
        file.sync().await.unwrap();
        assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap(), BLOCK);
        let after = disk.image_after_crash(1, Faults::default());
        assert_eq!(
            after.open("a").await.unwrap().read_at(0, BLOCK_BYTES).await.unwrap(),
            [0; BLOCK_BYTES]
        );
    });
}

#[test]
fn after_the_crash_every_call_fails() {
    let disk = SimDisk::with_faults(1, Faults { crash_at: Some(1), ..Faults::default() });
    run(async {
        assert!(disk.create("a", 0).await.is_err());
        assert!(disk.list("").await.is_err());
        assert!(disk.crashed());
    });
}

#[test]
fn a_read_fails_is_short_or_brings_another_bit_where_it_is_told_to() {
    for (fault, expected) in
        [(ReadFault::Fails, Err(Some(5))), (ReadFault::Short, Err(None)), (ReadFault::Flips, Ok(1))]
    {
        let disk = SimDisk::new(1);
        run(async {
            let file = disk.create("a", BLOCK_BYTES as u64).await.unwrap();
            disk.set_faults(Faults { read_at: Some((2, fault)), ..Faults::default() });
            let mut outcomes = Vec::new();
            for _ in 0..3 {
                let read = file.read_at(10, 100).await;
                outcomes.push(match read {
                    Ok(bytes) => Ok(bytes.iter().map(|byte| byte.count_ones()).sum()),
                    Err(error) => Err(error.raw_os_error()),
                });
            }
            assert_eq!(outcomes, [Ok(0), expected, Ok(0)]);
            assert_eq!(disk.reads(), 3);
        });
    }
}

#[test]
fn a_spoiled_place_cannot_be_read_under_any_name_until_it_is_healed() {
    let disk = SimDisk::new(1);
    run(async {
        let file = disk.create("a", 3 * BLOCK_BYTES as u64).await.unwrap();
        disk.sync_dir("").await.unwrap();
        disk.spoil("a", 4096..8192);
        disk.rename("a", "b").await.unwrap();
        disk.sync_dir("").await.unwrap();
        let image = disk.image_after_crash(1, Faults::default());
        for file in [file, image.open("b").await.unwrap()] {
            assert!(file.read_at(0, 4096).await.is_ok() && file.read_at(8192, 4096).await.is_ok());
            assert!(file.read_at(4095, 2).await.is_err() && file.read_at(8191, 1).await.is_err());
        }
        image.heal();
        assert!(image.open("b").await.unwrap().read_at(4095, 2).await.is_ok());
    });
}

#[test]
fn calls_fail_from_one_on_until_the_disk_is_told_otherwise() {
    let disk = SimDisk::new(1);
    run(async {
        let fail_from = Some((2, io::ErrorKind::StorageFull));
        disk.set_faults(Faults { fail_from, ..Faults::default() });
        disk.create("a", 0).await.unwrap();
        for _ in 0..3 {
            let full = disk.rename("a", "b").await.unwrap_err();
            assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        }
        disk.set_faults(Faults::default());
        disk.rename("a", "b").await.unwrap();
    });
}

#[test]
fn the_moments_of_a_disk_are_what_it_was_before_each_call() {
    let disk = SimDisk::new(1);
    run(async {
        disk.create("a", 0).await.unwrap();
        disk.keep_moments();
        disk.rename("a", "b").await.unwrap();
        disk.open("b").await.unwrap().write_at(&BLOCK, 0).await.unwrap();
        let moments = disk.take_moments();
        assert_eq!(moments.iter().map(SimDisk::paths).collect::<Vec<_>>(), [["a"], ["b"]]);
        assert_eq!(moments.iter().map(SimDisk::used_bytes).collect::<Vec<_>>(), [0, 0]);
        assert!(disk.take_moments().is_empty() && disk.used_bytes() == BLOCK_BYTES as u64);
    });
}
