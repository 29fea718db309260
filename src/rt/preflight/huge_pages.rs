//! Memory in small pages. The allocator asks for huge ones, and the kernel clears all two megabytes of such a page while
//! a shard waits for its first byte: several milliseconds in a virtual machine, again and again, because full chunks come
//! and go. With small ones a write waits less, and a series takes less memory.

/// Asks the kernel for small pages, in this process and for good. One that refuses is no error: it only clears more.
pub fn refuse() {
    // SAFETY: prctl(2) with this operation takes integers and touches no memory of ours.
    let refused = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    if refused != 0 {
        tracing::debug!("prctl(2) does not refuse huge pages; now and then a write waits for one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_refusing_the_kernel_says_so() {
        refuse();
        // SAFETY: as in `refuse`.
        let is_refused = unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) };
        assert_eq!(is_refused, 1);
    }
}
