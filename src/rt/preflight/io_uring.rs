//! Whether this process may use io_uring, and which of its operations the kernel has.
//!
//! The runtime itself panics with a riddle if it may not, so the same system calls are tried here first.
//! Source: io_uring_setup(2), io_uring_register(2), `linux/io_uring.h`.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::StartError;
use super::limits::Limit;

/// The operations that the runtime uses, with the numbers by which the kernel knows them.
const OPERATIONS: [(u8, &str); 24] = [
    (0, "NOP"),
    (1, "READV"),
    (2, "WRITEV"),
    (3, "FSYNC"),
    (4, "READ_FIXED"),
    (5, "WRITE_FIXED"),
    (6, "POLL_ADD"),
    (7, "POLL_REMOVE"),
    (9, "SENDMSG"),
    (10, "RECVMSG"),
    (11, "TIMEOUT"),
    (12, "TIMEOUT_REMOVE"),
    (13, "ACCEPT"),
    (14, "ASYNC_CANCEL"),
    (15, "LINK_TIMEOUT"),
    (16, "CONNECT"),
    (17, "FALLOCATE"),
    (18, "OPENAT"),
    (19, "CLOSE"),
    (21, "STATX"),
    (22, "READ"),
    (23, "WRITE"),
    (26, "SEND"),
    (27, "RECV"),
];

/// Size of `struct io_uring_params`, which the probe leaves all zeros.
const PARAMS_BYTES: usize = 120;
/// `IORING_REGISTER_PROBE`.
const REGISTER_PROBE: libc::c_uint = 8;
/// `struct io_uring_probe`: 16 bytes of head, then one entry of 8 bytes an operation: number, reserved, flags u16, ...
const PROBE_HEAD_BYTES: usize = 16;
const PROBE_ENTRY_BYTES: usize = 8;
const PROBE_ENTRIES: usize = 256;
/// `IO_URING_OP_SUPPORTED`.
const SUPPORTED: u8 = 1;

/// What a refusal is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// The setting `kernel.io_uring_disabled`, if the kernel has it (since Linux 6.6).
    pub io_uring_disabled: Option<u32>,
    /// Whether a seccomp filter watches this process.
    pub seccomp_filter: bool,
    /// The limit on locked memory.
    pub memlock: Limit,
}

impl Circumstances {
    /// Those of this process.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let disabled = read("/proc/sys/kernel/io_uring_disabled");
        Self {
            release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            io_uring_disabled: disabled.trim().parse().ok(),
            seccomp_filter: seccomp_filter(&read("/proc/self/status")),
            memlock: Limit::memlock(),
        }
    }
}

/// Sets up a small ring and asks for its operations.
///
/// Gives the names of those that are needed and missing, or the error by which the kernel refused the ring.
pub fn missing_operations() -> io::Result<Vec<&'static str>> {
    let ring = set_up()?;
    let mut probe = [0u8; PROBE_HEAD_BYTES + PROBE_ENTRIES * PROBE_ENTRY_BYTES];
    // SAFETY: the descriptor is a ring's, and the kernel writes at most `PROBE_ENTRIES` entries after the head, which
    // is the size of `probe`.
    let outcome = unsafe {
        let at = probe.as_mut_ptr();
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            REGISTER_PROBE,
            at,
            PROBE_ENTRIES,
        )
    };
    // A kernel that cannot tell (before 5.6) has not all of them.
    Ok(if outcome == 0 { missing_in(&probe) } else { missing_in(&[]) })
}

fn set_up() -> io::Result<OwnedFd> {
    /// As aligned as the kernel's structure.
    #[repr(align(8))]
    struct Params([u8; PARAMS_BYTES]);
    let mut params = Params([0; PARAMS_BYTES]);
    // SAFETY: the kernel reads and writes one `io_uring_params` there, whose size and alignment `params` has.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.0.as_mut_ptr()) };
    match i32::try_from(fd) {
        // SAFETY: the call has just made this descriptor, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The names of the needed operations that a probe does not list as supported.
fn missing_in(probe: &[u8]) -> Vec<&'static str> {
    let entries = probe.get(PROBE_HEAD_BYTES..).unwrap_or_default();
    let supported = |number: u8| {
        let entry = entries.chunks_exact(PROBE_ENTRY_BYTES).nth(usize::from(number));
        entry.is_some_and(
            |entry| matches!(entry, [op, _, flags, ..] if *op == number && flags & SUPPORTED != 0),
        )
    };
    OPERATIONS.iter().filter(|(number, _)| !supported(*number)).map(|(_, name)| *name).collect()
}

/// What stands against using io_uring, given what [`missing_operations`] gave; nothing if nothing does.
pub fn judge(
    probed: io::Result<Vec<&'static str>>,
    here: &Circumstances,
) -> Result<(), StartError> {
    let release = here.release.clone();
    let refusal = match probed {
        Ok(operations) if operations.is_empty() => return Ok(()),
        Ok(operations) => return Err(StartError::IoUringIncomplete { release, operations }),
        Err(refusal) => refusal,
    };
    let new_enough = is_at_least(&release, (5, 8));
    Err(match (refusal.raw_os_error(), here.io_uring_disabled) {
        (Some(libc::EPERM), Some(value)) if value > 0 => StartError::IoUringSwitchedOff { value },
        (Some(libc::EPERM), _) if here.seccomp_filter => StartError::IoUringFiltered,
        (Some(libc::EPERM), _) => StartError::IoUringForbidden,
        (Some(libc::ENOSYS), _) if !new_enough => StartError::KernelTooOld { release },
        // Some container runtimes let their filter say "no such call" instead of "forbidden".
        (Some(libc::ENOSYS), _) if here.seccomp_filter => StartError::IoUringFiltered,
        (Some(libc::ENOSYS), _) => StartError::IoUringMissing { release },
        (Some(libc::ENOMEM), _) => StartError::IoUringMemory { memlock_bytes: here.memlock.soft },
        _ => StartError::IoUring { release, source: refusal },
    })
}

/// Is a kernel of this release `(major, minor)` or later? One that cannot be read counts as new.
fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= wanted,
        _ => true,
    }
}

/// Does `/proc/self/status` tell of a seccomp filter?
fn seccomp_filter(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(release: &str, io_uring_disabled: Option<u32>, seccomp_filter: bool) -> Circumstances {
        let memlock = Limit { soft: 65_536, hard: 65_536 };
        Circumstances { release: release.to_owned(), io_uring_disabled, seccomp_filter, memlock }
    }

    /// The sentence for a refusal with `errno`.
    fn sentence(errno: i32, here: &Circumstances) -> String {
        judge(Err(io::Error::from_raw_os_error(errno)), here).unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_names_the_setting_that_causes_it() {
        for (value, groups_help) in [(1, true), (2, false)] {
            let sentence = sentence(libc::EPERM, &here("6.6.0", Some(value), true));
            assert!(sentence.contains(&format!("io_uring_disabled = {value})")), "{sentence}");
            assert!(sentence.contains("`sysctl -w kernel.io_uring_disabled=0`"), "{sentence}");
            assert_eq!(sentence.contains("kernel.io_uring_group"), groups_help, "{sentence}");
        }
    }

    #[test]
    fn a_refusal_in_a_container_names_the_seccomp_filter() {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let sentence = sentence(errno, &here("6.6.0", Some(0), true));
            assert!(sentence.contains("seccomp"), "{sentence}");
        }
    }

    #[test]
    fn a_kernel_without_io_uring_is_too_old_or_a_sandbox() {
        let old = sentence(libc::ENOSYS, &here("4.19.0-26-amd64", None, false));
        assert!(old.contains("4.19.0-26-amd64") && old.contains("5.8 or later"), "{old}");
        let sandbox = sentence(libc::ENOSYS, &here("6.1.0", None, false));
        assert!(sandbox.contains("gVisor"), "{sandbox}");
    }

    #[test]
    fn a_ring_without_memory_names_the_limit() {
        let sentence = sentence(libc::ENOMEM, &here("6.1.0", None, false));
        assert!(sentence.contains("65536 bytes") && sentence.contains("ulimit -l"), "{sentence}");
    }

    #[test]
    fn other_refusals_are_told_as_they_are() {
        let plain = here("6.1.0", Some(0), false);
        assert!(sentence(libc::EPERM, &plain).contains("EPERM"));
        assert!(sentence(libc::EMFILE, &plain).contains("Too many open files"));
    }

    #[test]
    fn missing_operations_are_named() {
        let error = judge(Ok(vec!["STATX", "SEND"]), &here("5.4.0", None, false)).unwrap_err();
        assert!(error.to_string().contains("lacks STATX, SEND"), "{error}");
        assert!(judge(Ok(Vec::new()), &here("5.8.0", None, false)).is_ok());
    }

    #[test]
    fn a_probe_supports_what_it_lists_with_the_flag() {
        assert_eq!(missing_in(&[]).len(), OPERATIONS.len());
        let mut probe = vec![0u8; PROBE_HEAD_BYTES];
        for number in 0..28u8 {
            probe.extend([number, 0, u8::from(number != 21), 0, 0, 0, 0, 0]);
        }
        assert_eq!(missing_in(&probe), ["STATX"]);
        probe.truncate(probe.len() - PROBE_ENTRY_BYTES);
        assert_eq!(missing_in(&probe), ["STATX", "RECV"]);
    }

    #[test]
    fn releases_compare_by_number() {
        assert!(is_at_least("5.10.0-28-amd64", (5, 8)) && is_at_least("6.1+", (5, 8)));
        assert!(!is_at_least("5.7.19", (5, 8)) && !is_at_least("4.19", (5, 8)));
        assert!(is_at_least("strange", (5, 8)));
    }

    #[test]
    fn a_seccomp_filter_is_mode_two() {
        assert!(seccomp_filter("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!seccomp_filter("Name:\tx\nSeccomp:\t0\n") && !seccomp_filter(""));
    }

    #[test]
    fn the_kernel_that_runs_this_test_has_all_operations() {
        assert_eq!(missing_operations().unwrap(), Vec::<&str>::new());
        assert!(!Circumstances::here().release.is_empty());
    }
}
