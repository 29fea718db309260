//! Blocks on disk.

pub mod cache;
pub mod coalesce;
pub mod error;

pub use cache::IndexCache;
pub use error::BlockError;
