//! What the kernel knows about this process: CPU time, memory, file descriptors.
//!
//! Owns the reading of `/proc/self`. These files are made on the fly and never wait for a disk.
//! Source: proc(5).

use std::fs;
use std::os::unix::fs::MetadataExt;

/// One look at the process. Fields that could not be read are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// User and system time of all threads, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Memory in RAM, in bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// How many there may be.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

impl Process {
    /// Looks now.
    #[must_use]
    pub fn look() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let mut process = parse_stat(&stat, clock_ticks(), page_bytes()).unwrap_or_default();
        process.open_fds = count_fds();
        process.max_fds = max_open_files(&limits);
        process
    }
}

/// Reads `/proc/self/stat`. The second field, the program's name, may hold anything, parentheses included.
fn parse_stat(stat: &str, ticks_a_second: f64, page_bytes: u64) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // The fields are numbered from 1, and the first one behind the name is the third.
    let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
    let ticks = field(14)?.checked_add(field(15)?)?;
    Some(Process {
        cpu_seconds: Some(ticks as f64 / ticks_a_second),
        threads: field(20),
        virtual_bytes: field(23),
        resident_bytes: field(24).and_then(|pages| pages.checked_mul(page_bytes)),
        open_fds: None,
        max_fds: None,
    })
}

/// The soft limit of open files in `/proc/self/limits`; `None` if there is none.
fn max_open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Newer kernels (6.2) give the number as the directory's size; elsewhere it is counted.
fn count_fds() -> Option<u64> {
    match fs::metadata("/proc/self/fd").map(|meta| meta.size()) {
        Ok(0) => {
            // The directory's own descriptor is among them.
            let counted = fs::read_dir("/proc/self/fd").ok()?.count();
            u64::try_from(counted).ok()?.checked_sub(1)
        }
        Ok(size) => Some(size),
        Err(_) => None,
    }
}

fn clock_ticks() -> f64 {
    // SAFETY: `sysconf` takes any number and has no preconditions.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

fn page_bytes() -> u64 {
    // SAFETY: as above.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (a (b) c) S 1 4711 4711 0 -1 4194560 2000 0 0 0 250 50 0 0 20 0 7 0 100 1048576 300 \
        18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";

    #[test]
    fn a_stat_line_reads_whatever_the_program_is_called() {
        let process = parse_stat(STAT, 100.0, 4096).unwrap();
        assert_eq!(process.cpu_seconds, Some(3.0));
        assert_eq!(process.threads, Some(7));
        assert_eq!(process.virtual_bytes, Some(1_048_576));
        assert_eq!(process.resident_bytes, Some(300 * 4096));
    }

    #[test]
    fn what_is_no_stat_line_gives_nothing() {
        for cut in 0..60 {
            let _ = parse_stat(&STAT[..cut], 100.0, 4096);
        }
        assert_eq!(parse_stat("", 100.0, 4096), None);
    }

    #[test]
    fn no_limit_of_open_files_is_no_number() {
        let limits = "Limit  Soft  Hard  Units\nMax open files            1024                 4096  files\n";
        assert_eq!(max_open_files(limits), Some(1024));
        assert_eq!(max_open_files("Max open files            unlimited   unlimited files"), None);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let process = Process::look();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000), "{process:?}");
        assert!(process.open_fds.is_some_and(|fds| fds >= 1), "{process:?}");
    }
}
