//! Why the server does not start: each with what is wrong, where, and the cure.

use crate::model::ShardId;
use std::io;

/// A start that failed. One sentence each, for a person who has never heard of io_uring.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// More shards than a shard number can count.
    #[error("at most 65,535 shards can run; choose fewer with --shards")]
    TooManyShards,
    /// The operating system gave no thread.
    #[error(
        "cannot start a thread for shard {shard}: {source}; raise the limit on processes (ulimit -u)"
    )]
    Thread {
        /// The shard without a thread.
        shard: ShardId,
        /// What the system said.
        source: io::Error,
    },
    /// The rings of a shard cannot be made although the kernel has io_uring.
    #[error(
        "cannot set up io_uring for shard {shard}: {source}; if memory is short, raise the limit on locked memory \
         (ulimit -l, LimitMEMLOCK=) or run fewer shards"
    )]
    Executor {
        /// The shard without an executor.
        shard: ShardId,
        /// What the kernel or the runtime said.
        source: io::Error,
    },
}
