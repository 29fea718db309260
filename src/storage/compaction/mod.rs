//! What becomes of a shard's blocks: merged into longer ones, rid of what is deleted, dropped when they are too old.
//!
//! Decisions are pure and apart from what they lead to: `plan`, `retention`, `history` and `samples` never see a disk.
//! Everything that writes makes a new block and leaves the old ones; that these are replaced, the new one says itself.
//! Only one piece of work at a time is done on a shard's blocks: nothing is deleted from a block that is being merged.

pub mod delete;
pub mod error;
pub mod export;
pub mod history;
pub mod import;
pub mod merge;
pub mod plan;
pub mod repartition;
pub mod retention;
pub mod rewrite;
pub mod run;
pub mod samples;
#[cfg(test)]
mod samples_test;
pub mod series;
pub mod stop;
pub mod symbols;

pub use error::CompactionError;
pub use stop::Stop;
