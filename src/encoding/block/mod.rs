//! The files of a block: one stretch of time of many series, in the formats in which Prometheus keeps it.
//!
//! ```text
//! 01BKGV7JBM69T2G1BGBGM6KB12/
//! ├── meta.json        which stretch, how much of what, and what it was made from (`meta`)
//! ├── index            labels to series, series to chunks (`index`)
//! ├── chunks/000001    the samples (`chunks`)
//! └── tombstones       what of it is deleted (`tombstones`)
//! ```
//! Prometheus, promtool, Thanos and Mimir read what is written here, and what they write is read: every checksum in a block
//! is a CRC-32C, every integer of fixed width big-endian. How the files come to be and go is `storage::block`'s.

pub mod chunks;
pub mod index;
pub mod meta;
pub mod tombstones;
