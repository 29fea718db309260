//! The registration by which this process may use expedited memory barriers (rule R10): glommio needs one before every
//! sleep, and the kernel takes up to 30 ms over a registration once there are threads.

/// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED` of `linux/membarrier.h`.
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Registers the process. To be called first in `main`, before any thread; again is harmless. Without it everything
/// works, the first sleep of an executor only takes longer, so that a kernel that refuses is no error.
pub fn register() {
    if membarrier(REGISTER_PRIVATE_EXPEDITED) != 0 {
        tracing::debug!(
            "membarrier(2) is not to be had; the first sleep of each shard will take up to 30 ms"
        );
    }
}

fn membarrier(command: libc::c_int) -> libc::c_long {
    // SAFETY: membarrier(2) takes integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r10_after_registering_an_expedited_barrier_is_allowed() {
        const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
        register();
        assert_eq!(membarrier(PRIVATE_EXPEDITED), 0, "refused with EPERM unless registered");
    }
}
