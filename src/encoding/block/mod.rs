//! The files of a block, as Prometheus writes and reads them.

pub mod chunks;
pub mod index;
pub mod tombstones;
