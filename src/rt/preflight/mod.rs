//! What must be true of the host before an executor is made, and what `floodplain doctor` tells about it.
//!
//! Measuring and judging are apart: the facts are plain data, and a [`StartError`] is one sentence that says what is
//! wrong, where, and what cures it. Rules R10 and R13 are kept here.

mod error;
pub mod membarrier;

pub use error::StartError;

/// The cores this process may run on, by number, as `taskset` or a container has left them; at least one.
#[must_use]
pub fn cores() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let cores: Vec<usize> = cores.into_iter().map(|core| core.id).collect();
    if cores.is_empty() { vec![0] } else { cores }
}
