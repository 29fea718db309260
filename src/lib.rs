//! Floodplain stores Prometheus time series on one Linux host.
//!
//! Each module is a room of `docs/architecture.md`; which room may use which is a table in `tests/it/layering.rs`.

pub mod coordinator;
pub mod encoding;
pub mod io;
pub mod model;
pub mod offline;
pub mod query;
pub mod rt;
pub mod server;
pub mod shard;
pub mod storage;
pub mod wire;
