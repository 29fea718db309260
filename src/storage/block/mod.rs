//! Blocks on disk.

pub mod error;

pub use error::BlockError;
