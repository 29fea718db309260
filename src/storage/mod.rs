//! One shard's data: Head, log, replay. Knows no other core, no runtime and no HTTP; sees disk and clock through `io`.

pub mod head;
pub mod wal;
