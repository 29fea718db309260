//! A decoded body with zeros behind it, so that reads of a fixed size may start anywhere in it.

/// How many zeros stand behind a body.
pub(super) const PADDING_BYTES: usize = 256;

/// A body and the zeros behind it.
#[derive(Clone, Copy)]
pub(super) struct Padded<'b> {
    /// Private: the last [`PADDING_BYTES`] are zero, which unsafe code relies on.
    bytes: &'b [u8],
}

impl<'b> Padded<'b> {
    /// Appends the zeros to a body.
    pub(super) fn pad(body: &'b mut Vec<u8>) -> Self {
        body.extend_from_slice(&[0; PADDING_BYTES]);
        Self { bytes: body }
    }

    /// The body without the zeros.
    #[inline(always)]
    pub(super) fn body(self) -> &'b [u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// The body with the zeros.
    #[inline(always)]
    pub(super) fn bytes(self) -> &'b [u8] {
        self.bytes
    }

    /// The length of the body.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        self.bytes.len() - PADDING_BYTES
    }

    /// `N` bytes from `at`; `None` if that is behind the body.
    #[inline(always)]
    pub(super) fn read<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        const {
            assert!(
                N <= PADDING_BYTES,
                "a read that starts in the body ends in the zeros behind it"
            )
        };
        // SAFETY: `at` is at most the body's length, and behind that are at least N zeros; bytes have no alignment.
        (at <= self.len()).then(|| unsafe { *self.bytes.as_ptr().add(at).cast() })
    }
}
