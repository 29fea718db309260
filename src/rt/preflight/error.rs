//! Why the server does not start: each with what is wrong, where, and the cure.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::model::ShardId;

/// A start that failed. One sentence each, for a person who has never heard of io_uring.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An administrator has switched io_uring off.
    #[error(
        "io_uring is switched off on this host (kernel.io_uring_disabled = {value}){}",
        match value {
            1 => ", but for processes with CAP_SYS_ADMIN and the group of kernel.io_uring_group; put this user into that \
                  group, or allow it to all with `sysctl -w kernel.io_uring_disabled=0`",
            _ => " for all, root too; allow it with `sysctl -w kernel.io_uring_disabled=0`",
        }
    )]
    IoUringSwitchedOff {
        /// The setting: 1 for unprivileged processes, 2 for all.
        value: u32,
    },
    /// A seccomp filter stands between the process and the kernel's io_uring.
    #[error(
        "io_uring is forbidden to this process by a seccomp filter, as containers have by default; run the container \
         with a profile that allows io_uring_setup, io_uring_enter and io_uring_register (see tuning/)"
    )]
    IoUringFiltered,
    /// Refused with EPERM, and neither the setting nor a filter explains it.
    #[error(
        "io_uring is forbidden to this process (io_uring_setup gives EPERM); look for a security module or a sandbox \
         that blocks it"
    )]
    IoUringForbidden,
    /// The kernel is from before io_uring, or from before what of it is needed.
    #[error(
        "this kernel ({release}) is too old: Floodplain needs io_uring of Linux 5.8 or later; upgrade the kernel"
    )]
    KernelTooOld {
        /// The kernel's release, as `uname -r` prints it.
        release: String,
    },
    /// A kernel that is new enough and yet has no io_uring.
    #[error(
        "this kernel ({release}) offers no io_uring: it was built without, or a sandbox such as gVisor stands in for \
         it; run on a kernel with io_uring, outside of the sandbox"
    )]
    IoUringMissing {
        /// The kernel's release, as `uname -r` prints it.
        release: String,
    },
    /// Single operations are missing or forbidden.
    #[error(
        "io_uring of this kernel ({release}) lacks {}: Floodplain needs Linux 5.8 or later without restrictions on them",
        operations.join(", ")
    )]
    IoUringIncomplete {
        /// The kernel's release, as `uname -r` prints it.
        release: String,
        /// The operations, as io_uring(7) names them, without prefix.
        operations: Vec<&'static str>,
    },
    /// There is no locked memory left for a ring.
    #[error(
        "the kernel has no memory for io_uring: the limit on locked memory ({memlock_bytes} bytes) is used up or too \
         small; raise it (ulimit -l unlimited, LimitMEMLOCK=infinity, or --ulimit memlock=-1 for a container)"
    )]
    IoUringMemory {
        /// The soft limit; that of "unlimited" is the largest number.
        memlock_bytes: u64,
    },
    /// Some other refusal.
    #[error("io_uring cannot be set up on this kernel ({release}): {source}")]
    IoUring {
        /// The kernel's release, as `uname -r` prints it.
        release: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The limit on locked memory does not allow a single executor.
    #[error(
        "the limit on locked memory is {hard} bytes and io_uring needs {needed}; raise it (ulimit -l unlimited, \
         LimitMEMLOCK=infinity, or --ulimit memlock=-1 for a container)"
    )]
    Memlock {
        /// The hard limit, to which the soft one was raised in vain.
        hard: u64,
        /// What is needed at least.
        needed: u64,
    },
    /// The limit on open files does not allow to serve.
    #[error(
        "the limit on open files is {hard} and Floodplain needs {needed}; raise it (ulimit -n, LimitNOFILE=, or \
         --ulimit nofile= for a container)"
    )]
    Nofile {
        /// The hard limit, to which the soft one was raised in vain.
        hard: u64,
        /// What is needed at least.
        needed: u64,
    },
    /// The data directory cannot be made or read.
    #[error("cannot use {} as data directory: {source}; create it for this user or choose another one", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory lies where the kernel shows its own state as files.
    #[error(
        "cannot use {} as data directory: {file_system} shows the kernel's own state and holds no files of others; choose a \
         directory on a disk with --storage.tsdb.path",
        path.display()
    )]
    NoFiles {
        /// The directory.
        path: PathBuf,
        /// The kind of file system, as the kernel names it.
        file_system: String,
    },
    /// The data directory cannot be written to.
    #[error(
        "cannot write to the data directory {}: {source}; make it writable for this user (chown, chmod, or the mount's \
         options)",
        path.display()
    )]
    DataDirNotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another server has it.
    #[error(
        "the data directory {} is in use by process {}; stop that one or choose another directory",
        path.display(),
        pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    DataDirLocked {
        /// The directory.
        path: PathBuf,
        /// The process that holds the lock, by its own account: a number of its own container, if it runs in one.
        pid: Option<u32>,
    },
    /// The file system does not do direct I/O.
    #[error(
        "the file system of the data directory {} ({file_system}) does not support direct I/O (O_DIRECT): {source}; \
         put the data on ext4, XFS or another local file system that does",
        path.display()
    )]
    NoDirectIo {
        /// The directory.
        path: PathBuf,
        /// The kind of file system, as the kernel names it.
        file_system: String,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody listens there already.
    #[error(
        "{address} is in use by another process; stop it or choose another address with --web.listen-address"
    )]
    PortInUse {
        /// The address that was to be listened on.
        address: SocketAddr,
    },
    /// This process cannot listen there.
    #[error(
        "cannot listen on {address}: {source}; choose another address with --web.listen-address"
    )]
    Listen {
        /// The address that was to be listened on.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
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
