//! `floodplain doctor`: can this host run the server, and how well?
//!
//! One line a check, with what was measured, a verdict, and the cure if there is something to cure:
//! ```text
//! ok    io_uring        kernel 6.12.9 has all operations that are needed
//! warn  open files      1024 of at most 1024: raise it to 65536 (ulimit -n, LimitNOFILE=)
//! fail  direct I/O      the file system of the data directory /data (fuse.sshfs) does not support direct I/O …
//! ```
//! Measuring is the runtime's; the verdicts are pure and decided here. Exit code 1 if anything fails.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::cli::DoctorFlags;
use crate::rt::niceness::can_come_back;
use crate::rt::preflight::direct_io::{self, DirectIo, FlushLatency};
use crate::rt::preflight::file_system::FileSystem;
use crate::rt::preflight::limits::{Limit, MEMLOCK_BYTES_MIN, NOFILE_MIN};
use crate::rt::preflight::{self, DataDir, Host, StartError, io_uring};

/// So many writes are made durable to see how long it takes, unless they take longer than that.
const FLUSHES: usize = 500;
const FLUSHES_LIMIT: Duration = Duration::from_secs(3);

/// What one executor locks of memory, roughly: its rings and buffers.
const MEMLOCK_BYTES_PER_CORE: u64 = 512 << 10;
/// Connections, segments, blocks: with fewer descriptors a busy server runs out of them.
const NOFILE_COMFORTABLE: u64 = 8192;
/// A flush that takes longer is what every write waits for.
const FLUSH_SLOW: Duration = Duration::from_millis(10);
/// No disk makes anything durable in less.
const FLUSH_IMPLAUSIBLE: Duration = Duration::from_micros(5);
/// File systems whose other end is another machine or another program.
const REMOTE_KINDS: [&str; 6] = ["nfs", "nfs4", "cifs", "smb3", "ceph", "9p"];

/// What becomes of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It will run, but.
    Warn,
    /// It will not run.
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What was found.
    pub measured: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// The whole report.
#[derive(Debug, Serialize)]
struct Report {
    verdict: Verdict,
    checks: Vec<Check>,
}

impl Check {
    fn ok(name: &'static str, measured: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, measured: measured.into(), cure: None }
    }

    fn warn(name: &'static str, measured: impl Into<String>, cure: impl Into<String>) -> Self {
        let cure = Some(cure.into());
        Self { name, verdict: Verdict::Warn, measured: measured.into(), cure }
    }

    /// The sentence of a start error has the cure in it.
    fn fail(name: &'static str, error: &StartError) -> Self {
        Self { name, verdict: Verdict::Fail, measured: error.to_string(), cure: None }
    }
}

/// Looks at the host and prints what it found.
#[must_use]
pub fn run(flags: &DoctorFlags) -> ExitCode {
    let checks = examine(&flags.path);
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
    let report = Report { verdict, checks };
    if flags.json {
        // A report of texts always has a JSON form.
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("{}", lines(&report));
    }
    ExitCode::from(u8::from(verdict == Verdict::Fail))
}

/// All checks, in the order in which they would stop a start.
fn examine(path: &Path) -> Vec<Check> {
    preflight::limits::raise();
    let Host { circumstances, operations_missing, memlock, nofile, cores } = Host::measure();
    let mut checks = vec![
        judge_io_uring(operations_missing, &circumstances),
        judge_memlock(memlock, cores.len()),
        judge_nofile(nofile),
        Check::ok("cores", format!("{} for this process, one shard each", cores.len())),
        judge_nice_levels(can_come_back()),
    ];
    let (dir, exists) = nearest_directory(path);
    checks.push(judge_data_directory(path, exists.then(|| DataDir::examine(path))));
    checks.push(judge_file_system(&FileSystem::of(&dir)));
    let probed = direct_io::probe(&dir);
    let works = probed.is_ok();
    checks.push(judge_direct_io(probed));
    if works {
        checks.push(judge_flush(direct_io::measure_flush(&dir, FLUSHES, FLUSHES_LIMIT)));
    }
    checks
}

/// The directory itself, or the one above it in which it would be made, and whether it is there.
fn nearest_directory(path: &Path) -> (PathBuf, bool) {
    let exists = path.is_dir();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let nearest = absolute.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    (nearest.canonicalize().unwrap_or_else(|_| nearest.to_owned()), exists)
}

fn judge_io_uring(
    probed: io::Result<Vec<&'static str>>,
    circumstances: &io_uring::Circumstances,
) -> Check {
    match io_uring::judge(probed, circumstances) {
        Ok(()) => Check::ok(
            "io_uring",
            format!("kernel {} has all operations that are needed", circumstances.release),
        ),
        Err(error) => Check::fail("io_uring", &error),
    }
}

fn judge_memlock(memlock: Limit, cores: usize) -> Check {
    let name = "locked memory";
    let comfortable = MEMLOCK_BYTES_PER_CORE.saturating_mul(cores as u64);
    if memlock.soft < MEMLOCK_BYTES_MIN {
        let (hard, needed) = (memlock.hard, MEMLOCK_BYTES_MIN);
        return Check::fail(name, &StartError::Memlock { hard, needed });
    }
    let measured = limit_text(memlock.soft, "bytes");
    if memlock.soft < comfortable {
        let cure = format!(
            "raise it to {comfortable} for {cores} shards (ulimit -l unlimited, LimitMEMLOCK=infinity, \
             --ulimit memlock=-1)"
        );
        return Check::warn(name, measured, cure);
    }
    Check::ok(name, measured)
}

fn judge_nofile(nofile: Limit) -> Check {
    let name = "open files";
    if nofile.soft < NOFILE_MIN {
        let (hard, needed) = (nofile.hard, NOFILE_MIN);
        return Check::fail(name, &StartError::Nofile { hard, needed });
    }
    let measured = limit_text(nofile.soft, "files");
    if nofile.soft < NOFILE_COMFORTABLE {
        return Check::warn(
            name,
            measured,
            "raise it to 65536 (ulimit -n, LimitNOFILE=, --ulimit nofile=65536)",
        );
    }
    Check::ok(name, measured)
}

fn judge_nice_levels(can_come_back: bool) -> Check {
    let name = "nice levels";
    if can_come_back {
        return Check::ok(name, "cuts and merges run at nice 19, and faster when they fall behind");
    }
    Check::warn(
        name,
        "cuts and merges run at nice 5 all the time",
        "that they may be nicer allow them to come back: raise the limit on nice levels to 20 (LimitNICE=+0, \
         --ulimit nice=20), or give CAP_SYS_NICE",
    )
}

/// The largest number stands for no limit.
fn limit_text(limit: u64, unit: &str) -> String {
    if limit == u64::MAX { "unlimited".to_owned() } else { format!("{limit} {unit}") }
}

/// `opened` is whether the directory could be opened; `None` if it is not there yet.
fn judge_data_directory(path: &Path, opened: Option<Result<(), StartError>>) -> Check {
    let name = "data directory";
    let shown = path.display();
    match opened {
        // A check may well be made beside a server that runs.
        Some(Err(StartError::DataDirLocked { pid, .. })) => {
            let holder = pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string());
            Check::warn(
                name,
                format!("{shown} is in use by process {holder}"),
                "stop it before another server is started there",
            )
        }
        // Direct I/O has a line of its own.
        Some(Err(StartError::NoDirectIo { .. }) | Ok(_)) => {
            Check::ok(name, format!("{shown} is writable"))
        }
        Some(Err(error)) => Check::fail(name, &error),
        None => Check::ok(name, format!("{shown} will be made")),
    }
}

fn judge_file_system(file_system: &FileSystem) -> Check {
    let name = "file system";
    let FileSystem { kind, mount_point, source } = file_system;
    let measured = format!("{kind} on {source} at {mount_point}");
    if file_system.is_in_memory() {
        let cure =
            "it is in memory: all data is gone with the next boot; choose a directory on a disk";
        return Check::warn(name, measured, cure);
    }
    if REMOTE_KINDS.contains(&kind.as_str()) || kind.starts_with("fuse") {
        let cure = "another machine or program stands behind it: what it calls durable may not be; \
            choose a local disk";
        return Check::warn(name, measured, cure);
    }
    if kind == "overlay" {
        let cure = "it is the container's own: all data is gone with the container; mount a volume";
        return Check::warn(name, measured, cure);
    }
    Check::ok(name, measured)
}

fn judge_direct_io(probed: Result<DirectIo, StartError>) -> Check {
    let name = "direct I/O";
    match probed {
        Ok(DirectIo::Aligned(bytes)) => Check::ok(name, format!("in multiples of {bytes} bytes")),
        Ok(DirectIo::InMemory) => Check::ok(name, "not needed in memory"),
        Ok(DirectIo::Untried) => {
            let cure = "a server answers queries from it and refuses writes until there is room: make some";
            Check::warn(name, "the file system is full", cure)
        }
        Err(error) => Check::fail(name, &error),
    }
}

fn judge_flush(measured: io::Result<FlushLatency>) -> Check {
    let name = "flush latency";
    let latency = match measured {
        Ok(latency) => latency,
        Err(error) => {
            let measured = format!("cannot be measured: {error}");
            return Check::warn(name, measured, "see that the disk has room and no errors (dmesg)");
        }
    };
    let FlushLatency { writes, p50, p99, max } = latency;
    let measured =
        format!("p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?} over {writes} writes of 4 KiB");
    if p99 > FLUSH_SLOW {
        let cure = "every write waits for a flush: use a faster disk, or give up the promise with \
            --storage.wal.sync=interval:100ms";
        return Check::warn(name, measured, cure);
    }
    if p50 < FLUSH_IMPLAUSIBLE {
        let cure = "too fast to be true of a disk: see that it honours flushes, or a power cut loses \
            acknowledged writes";
        return Check::warn(name, measured, cure);
    }
    Check::ok(name, measured)
}

fn lines(report: &Report) -> String {
    let mut text = String::new();
    for Check { name, verdict, measured, cure } in &report.checks {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        // Writing to a `String` does not fail.
        let _ = write!(text, "{verdict:<5} {name:<15} {measured}");
        if let Some(cure) = cure {
            let _ = write!(text, ": {cure}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(soft: u64) -> Limit {
        Limit { soft, hard: soft }
    }

    fn flush(p50_us: u64, p99_us: u64) -> io::Result<FlushLatency> {
        let us = Duration::from_micros;
        Ok(FlushLatency { writes: 100, p50: us(p50_us), p99: us(p99_us), max: us(p99_us) })
    }

    #[test]
    fn limits_are_enough_tight_or_too_small() {
        assert_eq!(judge_memlock(limit(u64::MAX), 64).measured, "unlimited");
        assert_eq!(judge_memlock(limit(8 << 20), 4).verdict, Verdict::Ok);
        let tight = judge_memlock(limit(8 << 20), 64);
        assert_eq!(tight.verdict, Verdict::Warn);
        assert!(tight.cure.is_some_and(|cure| cure.contains("33554432 for 64 shards")));
        assert_eq!(judge_memlock(limit(64 << 10), 1).verdict, Verdict::Fail);
        assert_eq!(judge_nofile(limit(65_536)).verdict, Verdict::Ok);
        assert_eq!(judge_nofile(limit(1024)).verdict, Verdict::Warn);
        assert_eq!(judge_nofile(limit(64)).verdict, Verdict::Fail);
    }

    #[test]
    fn nice_levels_that_cannot_be_lowered_again_are_no_reason_not_to_start() {
        assert_eq!(judge_nice_levels(true).verdict, Verdict::Ok);
        let steady = judge_nice_levels(false);
        assert_eq!(steady.verdict, Verdict::Warn);
        assert!(steady.cure.is_some_and(|cure| cure.contains("LimitNICE=+0")));
    }

    #[test]
    fn a_disk_is_fast_slow_or_too_fast_to_be_true() {
        assert_eq!(judge_flush(flush(70, 140)).verdict, Verdict::Ok);
        let slow = judge_flush(flush(4_000, 30_000));
        assert_eq!(slow.verdict, Verdict::Warn);
        assert_eq!(slow.measured, "p50 4.0ms, p99 30.0ms, max 30.0ms over 100 writes of 4 KiB");
        assert_eq!(judge_flush(flush(1, 3)).verdict, Verdict::Warn);
        assert_eq!(judge_flush(Err(io::ErrorKind::StorageFull.into())).verdict, Verdict::Warn);
    }

    #[test]
    fn file_systems_that_forget_or_lie_are_warned_about() {
        let on = |kind: &str| {
            let [mount_point, source] = ["/data", "/dev/sda"].map(str::to_owned);
            judge_file_system(&FileSystem { kind: kind.to_owned(), mount_point, source })
        };
        assert_eq!(on("ext4"), Check::ok("file system", "ext4 on /dev/sda at /data"));
        for kind in ["tmpfs", "nfs4", "fuse.sshfs", "overlay"] {
            assert_eq!(on(kind).verdict, Verdict::Warn, "{kind}");
        }
    }

    #[test]
    fn a_directory_in_use_is_no_failure_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let check = judge_data_directory(dir.path(), Some(DataDir::examine(dir.path())));
        let expected = format!("is in use by process {}", std::process::id());
        assert!(check.verdict == Verdict::Warn && check.measured.ends_with(&expected), "{check:?}");
        drop(held);
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made_by_looking() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let checks = examine(&path);
        assert!(!path.exists());
        let check = checks.iter().find(|check| check.name == "data directory").unwrap();
        assert!(check.measured.ends_with("a/b will be made"), "{check:?}");
        assert!(checks.iter().all(|check| check.verdict != Verdict::Fail), "{checks:?}");
        assert!(checks.iter().any(|check| check.name == "flush latency"), "{checks:?}");
    }

    #[test]
    fn nothing_is_left_in_a_directory_that_was_examined() {
        let dir = tempfile::tempdir().unwrap();
        examine(dir.path());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_report_is_lines_for_people_or_json_for_programs() {
        let checks = vec![
            Check::ok("cores", "2 for this process"),
            Check::warn("open files", "1024 files", "raise it"),
        ];
        let report = Report { verdict: Verdict::Warn, checks };
        assert_eq!(
            lines(&report),
            "ok    cores           2 for this process\nwarn  open files      1024 files: raise it\n"
        );
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({"verdict": "warn", "checks": [
                {"name": "cores", "verdict": "ok", "measured": "2 for this process"},
                {"name": "open files", "verdict": "warn", "measured": "1024 files", "cure": "raise it"},
            ]})
        );
    }
}
