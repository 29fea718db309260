//! What `/proc` says about a process: CPU time used, memory resident now and at its peak.
//!
//! Source: proc(5), `/proc/pid/stat` fields 14, 15 and 22, `/proc/pid/status` `VmRSS` and `VmHWM`, `/proc/pid/clear_refs`.

use std::fs;
use std::time::Duration;

/// Ticks of `/proc/<pid>/stat` in a second: USER_HZ, which is 100 on every Linux that Rust's std runs on.
const TICKS_PER_SECOND: u64 = 100;

/// A process that is being watched.
#[derive(Debug, Clone)]
pub struct Process {
    pid: u32,
    /// When it started, in ticks since boot: tells it from a later process of the same number.
    started: u64,
}

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user and system mode since it started, of all threads; in steps of 10 ms.
    pub cpu: Duration,
    /// Resident bytes now.
    pub rss_bytes: u64,
    /// The most resident bytes it ever had, or since [`Process::reset_peak`].
    pub rss_peak_bytes: u64,
}

/// Why there is nothing to be said about a process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is none.
    #[error("no process {pid}: {source}; give --pid the number of the running server")]
    Absent {
        /// Its number.
        pid: u32,
        /// What opening its file said.
        source: std::io::Error,
    },
    /// It was there and is not any more.
    #[error("process {pid} has ended while it was being measured")]
    Ended {
        /// Its number.
        pid: u32,
    },
    /// Its peak cannot be forgotten.
    #[error("cannot reset the peak of the memory of process {pid}: {source}")]
    Peak {
        /// Its number.
        pid: u32,
        /// What writing to its file said.
        source: std::io::Error,
    },
    /// A file of `/proc` has another form than proc(5) says.
    #[error("/proc/{pid}/{file} cannot be understood")]
    Form {
        /// Its number.
        pid: u32,
        /// The file.
        file: &'static str,
    },
}

impl Process {
    /// The process `pid`, which must be running.
    ///
    /// # Errors
    /// It is not.
    pub fn watch(pid: u32) -> Result<Self, ProcessError> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_err(|source| ProcessError::Absent { pid, source })?;
        let stat = parse_stat(&stat).ok_or(ProcessError::Form { pid, file: "stat" })?;
        Ok(Self { pid, started: stat.started })
    }

    /// This process itself.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn own() -> Result<Self, ProcessError> {
        Self::watch(std::process::id())
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Forgets the most that was ever resident: from now on, that is what is resident at some later moment.
    ///
    /// # Errors
    /// It has ended, or it is somebody else's.
    pub fn reset_peak(&self) -> Result<(), ProcessError> {
        let pid = self.pid;
        fs::write(format!("/proc/{pid}/clear_refs"), "5")
            .map_err(|source| ProcessError::Peak { pid, source })
    }

    /// What it has used until now.
    ///
    /// # Errors
    /// It has ended, or it is a zombie, or its number belongs to another process by now.
    pub fn usage(&self) -> Result<Usage, ProcessError> {
        let pid = self.pid;
        let read = |file| {
            fs::read_to_string(format!("/proc/{pid}/{file}"))
                .map_err(|_| ProcessError::Ended { pid })
        };
        let stat = parse_stat(&read("stat")?).ok_or(ProcessError::Form { pid, file: "stat" })?;
        if stat.started != self.started || stat.gone {
            return Err(ProcessError::Ended { pid });
        }
        let status = read("status")?;
        let memory =
            |name| status_bytes(&status, name).ok_or(ProcessError::Form { pid, file: "status" });
        Ok(Usage {
            cpu: Duration::from_millis(stat.ticks * 1000 / TICKS_PER_SECOND),
            rss_bytes: memory("VmRSS:")?,
            rss_peak_bytes: memory("VmHWM:")?,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ticks: u64,
    started: u64,
    /// A zombie or dead: it has no memory any more.
    gone: bool,
}

/// The second field is a name in parentheses that may itself hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let gone = matches!(*fields.first()?, "Z" | "X" | "x");
    Some(Stat { ticks: number(14)?.checked_add(number(15)?)?, started: number(22)?, gone })
}

fn status_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "42 (a ) R (b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 9 0 12345 1000 200 18446744073709551615";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat, Stat { ticks: 300, started: 12_345, gone: false });
        assert_eq!(parse_stat("42 (short) S 1 2 3"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn sizes_of_status_are_in_kibibytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(status_bytes(status, "VmRSS:"), Some(1024 * 1024));
        assert_eq!(status_bytes(status, "VmPeak:"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Process::own().unwrap().usage().unwrap();
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes > 0);
    }

    #[test]
    fn a_peak_is_forgotten() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::watch(child.id()).unwrap();
        process.reset_peak().unwrap();
        let usage = process.usage().unwrap();
        assert!(usage.rss_peak_bytes >= usage.rss_bytes);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Process { pid: u32::MAX, started: 0 }.reset_peak().is_err());
    }

    #[test]
    fn a_process_that_ended_is_missed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::watch(child.id()).unwrap();
        assert!(process.usage().is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(process.usage(), Err(ProcessError::Ended { .. })));
        assert!(matches!(Process::watch(u32::MAX), Err(ProcessError::Absent { .. })));
    }
}
