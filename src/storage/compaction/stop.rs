//! How long work is asked whether it is still wanted.

use super::error::CompactionError;

/// Asks whoever wanted some work whether it is to stop: at the end of a process, or when the disk has run full.
#[derive(Clone, Copy)]
pub struct Stop<'a>(Option<&'a dyn Fn() -> bool>);

impl<'a> Stop<'a> {
    /// Work that is done to its end.
    pub const NEVER: Self = Self(None);

    /// Work that ends early once this is true.
    #[must_use]
    pub fn when(is_wanted: &'a dyn Fn() -> bool) -> Self {
        Self(Some(is_wanted))
    }

    /// Goes on or not.
    ///
    /// # Errors
    /// [`CompactionError::Stopped`], if it is to stop.
    pub fn check(&self) -> Result<(), CompactionError> {
        match self.0 {
            Some(is_wanted) if is_wanted() => Err(CompactionError::Stopped),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Stop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}
