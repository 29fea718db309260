//! A shard's log: every sample is in it before it is acknowledged.
//!
//! ```text
//! shard-000/wal/
//! ├── 00000007           segments, numbered upward; batches (`encoding::batch`) from the first byte on, each on 4 KiB
//! ├── 00000008
//! └── spare-00000003     a file that waits to become the next segment; its content means nothing
//! ```
//! Invariants: a batch is durable before what it holds is acknowledged, and its blocks are never written again; only one
//! batch is on its way to the disk at a time, so that a valid batch behind an invalid one proves damage, not a crash;
//! every run begins a new segment; after a write or a flush that failed nothing more is written. A segment that cannot
//! be begun is no such failure: what was to go there waits, and goes before anything later once there is a segment.

pub mod buffer;
pub mod segment;
pub mod spare;
pub mod writer;

pub use crate::encoding::record::CheckpointRecord;
pub use buffer::LogBuffer;
pub use segment::{Batch, SegmentId, SegmentReader};
pub use spare::{Spares, TakeError};
pub use writer::{SyncMode, WalError, WalOptions, WalWriter};
