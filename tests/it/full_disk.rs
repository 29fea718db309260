//! A disk that is really full, and a log that really cannot be written: an ext4 of its own in a file. Needs the right to mount it;
//! skipped with a line that says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::http;
use crate::kill::{checked, metric, patient_flood, verify};
use crate::remote_write::{Packed, Series, Version, request};
use crate::server::{Running, now_ms, until};

const MIB: u64 = 1 << 20;
/// Room for some segments of the log, 64 MiB each.
const DISK_BYTES: u64 = 256 * MIB;

/// A small file system, mounted until this is dropped.
struct SmallDisk {
    root: PathBuf,
}

impl SmallDisk {
    /// `None` where it cannot be made, which is told.
    fn mount(dir: &Path) -> Option<Self> {
        let (image, root) = (dir.join("image"), dir.join("disk"));
        fs::File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
        fs::create_dir(&root).unwrap();
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-m", "0"]).arg(&image);
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image).arg(&root);
        for mut step in [mkfs, mount] {
            match step.output() {
                Ok(done) if done.status.success() => {}
                failed => {
                    println!("SKIPPED: a file system cannot be made and mounted here: {failed:?}");
                    return None;
                }
            }
        }
        Some(Self { root })
    }

    /// Takes all room but so much.
    fn fill(&self, leave: u64) -> PathBuf {
        let ballast = self.root.join("ballast");
        let free = Command::new("df").args(["--output=avail", "-B1"]).arg(&self.root).output();
        let free = String::from_utf8(free.unwrap().stdout).unwrap();
        let free: u64 = free.lines().nth(1).unwrap().trim().parse().unwrap();
        let bytes = (free - leave).to_string();
        let taken = Command::new("fallocate").args(["-l", &bytes]).arg(&ballast).status().unwrap();
        assert!(taken.success());
        ballast
    }

    /// Takes all room there is.
    fn fill_up(&self) {
        let to = format!("of={}", self.root.join("last").display());
        let mut fill = Command::new("dd");
        fill.args(["if=/dev/zero", &to, "bs=4096", "conv=fsync,notrunc", "oflag=append"]);
        let filled = fill.output().unwrap();
        let said = String::from_utf8_lossy(&filled.stderr);
        assert!(said.contains("No space left"), "{said}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whatever the test came to: lazily, because a server that is ending may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.root).status();
    }
}

/// Writes one sample of `name`; the status and the text of the answer.
fn write(server: &Running, name: &str) -> (u16, String) {
    let series = Series::new(&[("__name__", name)], &[(now_ms(), 1.0)]);
    let write = request(&[series], Version::V2, Packed::Snappy);
    let headers: Vec<&str> = write.headers.iter().map(String::as_str).collect();
    let answer = http::send(server.address, "POST /api/v1/write", &headers, &write.body).unwrap();
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

/// A server whose log has filled the disk, and the flood that did it.
struct Full {
    data: PathBuf,
    ledger: PathBuf,
    /// What takes the room of the disk besides.
    ballast: PathBuf,
    server: Running,
    flood: Child,
    /// With which a write was refused. The next checkpoint may free a segment, and then some are taken.
    refusal: String,
}

impl Full {
    fn made_on(disk: &SmallDisk, dir: &Path) -> Self {
        let (data, ledger) = (disk.root.join("data"), dir.join("ledger"));
        // Room for the first segment of the log, and not for another one.
        let ballast = disk.fill(100 * MIB);
        let server = Running::with_shards(&data, 1);
        // Whoever comes while it is being prepared finds no room for one more.
        until("the first segment is there", || write(&server, "before").0 == 204);
        let mut flood = patient_flood(&server, &ledger, 1);
        flood.args(["--series=20k", "--interval=1s", "--start-time=now-30m", "--connections=2"]);
        flood.args(["--give-up-after=10m", "--duration=10m"]);
        let mut flood = flood.spawn().unwrap();
        let mut refused = (0, String::new());
        until("the segment is full and there is no room for the next", || {
            assert!(flood.try_wait().unwrap().is_none(), "the flood was over before that");
            refused = write(&server, "meanwhile");
            refused.0 == 503
        });
        Self { data, ledger, ballast, server, flood, refusal: refused.1 }
    }
}

/// Writes are refused for want of room, and reads go on.
fn assert_refused(why: &str, server: &Running) {
    assert!(why.contains("cannot begin segment") && why.contains("No space left"), "{why}");
    let known = http::data(server.address, "/api/v1/query", &[("query", "before")]);
    assert_eq!(known["result"].as_array().unwrap().len(), 1, "reads go on: {known}");
}

#[test]
fn a_server_on_a_full_disk_refuses_writes_with_the_reason_reads_on_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let Full { data, ledger, ballast, server, flood, refusal } = Full::made_on(&disk, dir.path());
    assert_refused(&refusal, &server);
    fs::remove_file(ballast).unwrap();
    until("writes are taken again", || write(&server, "after").0 == 204);
    goes_on(server, flood, &data, &ledger, "a disk that was full for a while");
}

#[test] // once, it did not start: it had to write a file to see whether it could
fn a_server_that_is_killed_on_a_full_disk_starts_there_and_recovers_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let full = Full::made_on(&disk, dir.path());
    let Full { data, ledger, ballast, mut server, mut flood, .. } = full;
    server.child.kill().unwrap(); // SIGKILL
    flood.kill().unwrap();
    flood.wait().unwrap();
    drop(server.ended());

    // Twice: what the first start writes must not need more room than it gives back.
    for _ in 0..2 {
        take_spares(&data);
        disk.fill_up();
        Running::with_shards(&data, 1).kill();
    }
    take_spares(&data);
    disk.fill_up();
    let server = Running::with_shards(&data, 1);
    println!("{}", checked(&verify(&server, &ledger), "a start on a full disk"));
    let (status, why) = write(&server, "meanwhile");
    assert_eq!(status, 503, "{why}");
    assert_refused(&why, &server);
    fs::remove_file(ballast).unwrap();
    until("writes are taken again", || write(&server, "after").0 == 204);
    server.kill();
}

/// Takes the log's spare segments, of which a checkpoint may have left some: then there is no room for a write either.
fn take_spares(data: &Path) {
    for entry in fs::read_dir(data.join("shard-000/wal")).unwrap() {
        let path = entry.unwrap().path();
        if is_spare(&path) {
            fs::remove_file(path).unwrap();
        }
    }
}

fn is_spare(path: &Path) -> bool {
    path.to_string_lossy().contains("spare-")
}

/// The flood goes on, the server is killed, and the next one has all that was acknowledged.
fn goes_on(mut server: Running, mut flood: Child, data: &Path, ledger: &Path, story: &str) {
    let appended = || metric(&server, "prometheus_tsdb_head_samples_appended_total");
    let then = appended();
    until("the flood goes on", || appended() > then + 10_000);
    server.child.kill().unwrap(); // SIGKILL
    flood.kill().unwrap();
    flood.wait().unwrap();
    drop(server.ended());
    let server = Running::with_shards(data, 1);
    println!("{}", checked(&verify(&server, ledger), story));
    let known = http::data(server.address, "/api/v1/query", &[("query", "before and on() after")]);
    assert_eq!(known["result"].as_array().unwrap().len(), 1, "{known}");
    server.kill();
}

/// Makes the segments of the log immutable, or writable again: every write of them fails then, and so does opening them.
fn freeze(data: &Path, change: &str) {
    let entries = fs::read_dir(data.join("shard-000/wal")).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    let segments: Vec<PathBuf> = names.filter(|path| !is_spare(path)).collect();
    let changed = Command::new("chattr").arg(change).args(segments).status().unwrap();
    assert!(changed.success());
}

#[test] // once, a shard whose log failed took no writes until somebody restarted the process
fn a_server_whose_log_cannot_be_written_reads_on_and_recovers_without_a_new_process() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let (data, ledger) = (disk.root.join("data"), dir.path().join("ledger"));
    let server = Running::with_shards(&data, 1);
    assert_eq!(write(&server, "before").0, 204);
    let mut flood = patient_flood(&server, &ledger, 1);
    flood.args(["--series=2k", "--rate=20k", "--duration=10m", "--give-up-after=10m"]);
    let flood = flood.spawn().unwrap();
    let appended = || metric(&server, "prometheus_tsdb_head_samples_appended_total");
    until("the flood has begun", || appended() > 5_000);

    freeze(&data, "+i");
    let mut refused = (0, String::new());
    until("the log has failed", || {
        refused = write(&server, "meanwhile");
        refused.0 == 503
    });
    assert!(refused.1.contains("Operation not permitted"), "{}", refused.1);
    assert_eq!(metric(&server, "floodplain_shard_wal_failed"), 1);
    let known = http::data(server.address, "/api/v1/query", &[("query", "before")]);
    assert_eq!(known["result"].as_array().unwrap().len(), 1, "reads go on: {known}");
    let ready = http::send(server.address, "GET /-/ready", &[], b"").unwrap();
    assert_eq!(ready.status, 200, "for that it is ready");

    freeze(&data, "-i");
    until("writes are taken again", || write(&server, "after").0 == 204);
    let restarts = metric(&server, "floodplain_shard_restarts_total");
    assert_eq!((restarts, metric(&server, "floodplain_shard_wal_failed")), (1, 0));
    goes_on(server, flood, &data, &ledger, "a log that could not be written for a while");
}
