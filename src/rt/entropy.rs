//! Randomness from the kernel, to seed what must not be guessed or must not collide.

/// Eight random bytes. Waits only while a host that has just booted has no entropy yet.
///
/// # Panics
///
/// If the kernel has no `getrandom(2)`, which every kernel with io_uring has. Source: getrandom(2).
#[must_use]
pub fn seed() -> u64 {
    let mut bytes = [0u8; 8];
    loop {
        // SAFETY: the pointer and the length are those of `bytes`, which the call only writes.
        let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if usize::try_from(filled) == Ok(bytes.len()) {
            return u64::from_le_bytes(bytes);
        }
        let error = std::io::Error::last_os_error();
        assert!(error.kind() == std::io::ErrorKind::Interrupted, "getrandom(2) failed: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seeds_differ() {
        assert_ne!(seed(), seed());
    }
}
