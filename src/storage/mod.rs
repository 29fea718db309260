//! One shard's data: Head, log, checkpoints, replay. Knows no other core, no runtime and no HTTP; sees disk and clock
//! through `io`.

pub mod block;
pub mod blocks;
pub mod checkpoint;
pub mod chunk_cache;
pub mod compaction;
pub mod cutting;
pub mod files;
pub mod head;
pub mod quarantine;
pub mod reads;
pub mod replay;
mod replay_state;
mod s3_fifo;
pub mod selection;
pub mod served;
pub mod snapshot;
pub mod verify_log;
pub mod wal;
