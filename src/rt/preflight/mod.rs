//! What must be true of the host before an executor is made, and what `floodplain doctor` tells about it.
//!
//! Measuring and judging are apart: the facts are plain data, and a [`StartError`] is one sentence that says what is
//! wrong, where, and what cures it. Rules R10 and R13 are kept here.

pub mod data_dir;
pub mod direct_io;
mod error;
pub mod file_system;
pub mod huge_pages;
pub mod io_uring;
pub mod limits;
pub mod membarrier;

pub use data_dir::{DataDir, DataPlace};
pub use error::StartError;

/// What this host offers, before any judgement.
#[derive(Debug)]
pub struct Host {
    /// What a refusal of io_uring is judged by, the kernel's release among it.
    pub circumstances: io_uring::Circumstances,
    /// The operations of io_uring that are needed and missing, or the kernel's refusal.
    pub operations_missing: std::io::Result<Vec<&'static str>>,
    /// The limit on locked memory, in bytes.
    pub memlock: limits::Limit,
    /// The limit on open files.
    pub nofile: limits::Limit,
    /// See [`cores`].
    pub cores: Vec<usize>,
}

impl Host {
    /// Asks the kernel; changes nothing.
    #[must_use]
    pub fn measure() -> Self {
        Self {
            circumstances: io_uring::Circumstances::here(),
            operations_missing: io_uring::missing_operations(),
            memlock: limits::Limit::memlock(),
            nofile: limits::Limit::nofile(),
            cores: cores(),
        }
    }
}

/// Prepares this process for executors and sees whether they can run: to be called first in `main`, before any thread.
/// Raises the soft limits on locked memory and open files.
///
/// Fails with the first thing that stands in the way.
pub fn prepare() -> Result<(), StartError> {
    membarrier::register();
    huge_pages::refuse();
    limits::raise();
    let host = Host::measure();
    limits::judge(host.memlock, host.nofile)?;
    io_uring::judge(host.operations_missing, &host.circumstances)
}

/// The cores this process may run on, by number, as `taskset` or a container has left them; at least one.
#[must_use]
pub fn cores() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let cores: Vec<usize> = cores.into_iter().map(|core| core.id).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_that_runs_these_tests_is_fit() {
        prepare().unwrap();
        let host = Host::measure();
        assert!(!host.cores.is_empty());
        assert!(host.memlock.soft >= limits::MEMLOCK_BYTES_MIN);
    }
}
