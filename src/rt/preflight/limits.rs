//! The limits of this process on locked memory and open files; that on nice levels is raised here, too, and is no reason not to start.
//!
//! What of the descriptors is for connections is decided here, too. A soft limit below the hard one is nobody's wish: it is raised without asking, and only the hard one is judged.

use super::StartError;

/// What an executor needs to lock at least, in bytes; glommio refuses to start with less, as root too.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// What a server with a few shards and connections needs at least.
pub const NOFILE_MIN: u64 = 512;

/// A resource limit. "Unlimited" is the largest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// How far this process may raise it.
    pub hard: u64,
}

impl Limit {
    /// The limit on locked memory, in bytes.
    #[must_use]
    pub fn memlock() -> Self {
        read(libc::RLIMIT_MEMLOCK)
    }

    /// The limit on open files.
    #[must_use]
    pub fn nofile() -> Self {
        read(libc::RLIMIT_NOFILE)
    }
}

/// Raises the soft limits of this process to the hard ones. What cannot be raised stays.
pub fn raise() {
    for resource in [libc::RLIMIT_MEMLOCK, libc::RLIMIT_NOFILE, libc::RLIMIT_NICE] {
        let limit = read(resource);
        if limit.soft < limit.hard {
            let raised = libc::rlimit { rlim_cur: limit.hard, rlim_max: limit.hard };
            // SAFETY: the kernel only reads one `rlimit`.
            if unsafe { libc::setrlimit(resource, &raw const raised) } != 0 {
                tracing::warn!(limit.hard, "a soft limit cannot be raised to the hard one");
            }
        }
    }
}

/// How many connections may be open at once under this limit on open files, so that the files of the shards' logs,
/// checkpoints and blocks never find it used up: a quarter of it is theirs, or more for many shards.
#[must_use]
pub fn connections_max(nofile: Limit, shards: u16) -> usize {
    const FILES_OF_ALL: u64 = 64;
    const FILES_PER_SHARD: u64 = 32;
    let files = FILES_OF_ALL + FILES_PER_SHARD * u64::from(shards);
    let reserve = files.max(nofile.soft / 4).min(nofile.soft / 2);
    usize::try_from(nofile.soft - reserve).unwrap_or(usize::MAX)
}

/// Whether an executor can start and a server can serve under these limits.
pub fn judge(memlock: Limit, nofile: Limit) -> Result<(), StartError> {
    if memlock.soft < MEMLOCK_BYTES_MIN {
        return Err(StartError::Memlock { hard: memlock.hard, needed: MEMLOCK_BYTES_MIN });
    }
    if nofile.soft < NOFILE_MIN {
        return Err(StartError::Nofile { hard: nofile.hard, needed: NOFILE_MIN });
    }
    Ok(())
}

/// The type of a resource's number differs between C libraries.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

fn read(resource: Resource) -> Limit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit`. It fails only for an unknown resource, and then leaves the zeros.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    Limit { soft: limit.rlim_cur, hard: limit.rlim_max }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMPLE: Limit = Limit { soft: u64::MAX, hard: u64::MAX };

    #[test]
    fn too_little_locked_memory_names_both_sides_and_the_cure() {
        let small = Limit { soft: 65_536, hard: 65_536 };
        let sentence = judge(small, AMPLE).unwrap_err().to_string();
        assert!(sentence.contains("65536") && sentence.contains("524288"), "{sentence}");
        assert!(sentence.contains("ulimit -l"), "{sentence}");
    }

    #[test]
    fn too_few_open_files_are_told() {
        let few = Limit { soft: 64, hard: 64 };
        assert!(matches!(judge(AMPLE, few), Err(StartError::Nofile { hard: 64, .. })));
        assert!(judge(AMPLE, AMPLE).is_ok());
    }

    #[test]
    fn connections_leave_room_for_files() {
        let of = |soft, shards| connections_max(Limit { soft, hard: soft }, shards);
        assert_eq!(of(1024, 2), 1024 - 256);
        assert_eq!(of(512, 2), 512 - 128);
        assert_eq!(of(1024, 16), 1024 - 64 - 16 * 32 + 64, "never more than half for files");
        assert_eq!(of(65_536, 2), 49_152);
        assert_eq!(of(u64::MAX, 1024), usize::MAX / 4 * 3 + 3);
    }

    #[test]
    fn raising_ends_with_the_soft_limits_at_the_hard_ones() {
        raise();
        for limit in [Limit::memlock(), Limit::nofile()] {
            assert_eq!(limit.soft, limit.hard);
        }
    }
}
