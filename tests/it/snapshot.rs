//! Snapshots over HTTP: what they take of the disk, and what is left when one cannot be made.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::http;
use crate::offline::{blocks_in, samples, send, shard_dir, stop};
use crate::server::{Running, until};

const ON: &[&str] = &["--web.enable-admin-api"];

/// What is answered to a wish for a snapshot.
fn ask(running: &Running) -> (u16, serde_json::Value) {
    let asked = http::send(running.address, "POST /api/v1/admin/tsdb/snapshot", &[], b"").unwrap();
    (asked.status, serde_json::from_slice(&asked.body).unwrap())
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn of_a_single_shard_index_and_chunks_are_hard_links() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let running = Running::with_flags(data, 1, ON);
    // Too short for blocks that would be merged.
    send(&samples(5 * 60), running.address);
    let own = shard_dir(data, 0);
    until("there is a block", || !blocks_in(&own).is_empty());
    let before = blocks_in(&own);
    let (status, answer) = ask(&running);
    assert_eq!(status, 200, "{answer}");
    let made = data.join("snapshots").join(answer["data"]["name"].as_str().unwrap());
    assert!(blocks_in(&made).len() > before.len(), "and what is in the Head");
    for ulid in before {
        let (ours, theirs) = (own.join(&ulid), made.join(&ulid));
        for linked in ["index", "chunks/000001"] {
            assert_eq!(inode(&ours.join(linked)), inode(&theirs.join(linked)), "{ulid}/{linked}");
        }
        for written in ["tombstones", "meta.json"] {
            assert_ne!(inode(&ours.join(written)), inode(&theirs.join(written)), "{written}");
        }
        let meta = fs::read_to_string(theirs.join("meta.json")).unwrap();
        assert!(!meta.contains("floodplain"), "{meta}");
    }
}

#[test]
fn a_snapshot_of_nothing_is_an_empty_directory() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::with_flags(dir.path(), 2, ON);
    let (status, answer) = ask(&running);
    assert_eq!(status, 200, "{answer}");
    let made = dir.path().join("snapshots").join(answer["data"]["name"].as_str().unwrap());
    assert_eq!(fs::read_dir(made).unwrap().count(), 0);
}

#[test]
fn one_that_cannot_be_made_says_why_and_the_next_one_can() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::with_flags(dir.path(), 2, ON);
    let snapshots = dir.path().join("snapshots");
    fs::write(&snapshots, "in the way").unwrap();
    let (status, answer) = ask(&running);
    let said = answer["error"].as_str().unwrap();
    assert_eq!((status, &answer["errorType"]), (500, &"internal".into()), "{answer}");
    assert!(said.starts_with("create snapshot: storage: snapshots/"), "{said}");
    assert!(said.contains("no snapshot is left behind"), "{said}");
    fs::remove_file(&snapshots).unwrap();
    let (status, answer) = ask(&running);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn a_start_removes_what_an_unfinished_one_left() {
    let dir = tempfile::tempdir().unwrap();
    stop(Running::with_flags(dir.path(), 2, ON));
    let left = dir.path().join("snapshots/a.tmp-for-creation/shard-000/head");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("chunks-00000001"), "x").unwrap();
    let running = Running::with_flags(dir.path(), 2, ON);
    assert_eq!(fs::read_dir(dir.path().join("snapshots")).unwrap().count(), 0);
    assert_eq!(ask(&running).0, 200);
}
