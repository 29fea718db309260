//! What becomes of a shard's blocks: merged into longer ones, rid of what is deleted, dropped when they are too old.

pub mod history;
pub mod plan;
pub mod retention;
pub mod samples;
