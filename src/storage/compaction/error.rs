//! Why blocks could not be made of others.

use crate::storage::block::BlockError;

/// Why it did not come to new blocks. The old ones are as they were.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// A block cannot be read, or not be written.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// It was asked to stop.
    #[error("stopped before it was done")]
    Stopped,
    /// It failed, and what had been published until then cannot be removed. A start will find it, and take it for the
    /// truth: until then nothing may be deleted from the blocks of this directory, and none of them be merged.
    #[error("{why}; and what had been written cannot be removed: {source}")]
    Unsettled {
        /// What failed first.
        why: Box<CompactionError>,
        /// What failed then.
        source: BlockError,
    },
}

impl CompactionError {
    /// The path of the file or directory that failed.
    fn path(&self) -> Option<&str> {
        match self {
            Self::Block(
                BlockError::Io { path, .. }
                | BlockError::Damaged { path, .. }
                | BlockError::Meta { path, .. }
                | BlockError::TooLarge { path, .. }
                | BlockError::Order { path, .. },
            ) => Some(path),
            Self::Stopped => None,
            Self::Unsettled { why, .. } => why.path(),
        }
    }

    /// Is something wrong with what is in the directory `dir`? What the disk does not read is not known to be wrong, and is
    /// tried again another time.
    #[must_use]
    pub fn is_fault_of(&self, dir: &str) -> bool {
        let is_within = self.path().and_then(|path| path.strip_prefix(dir));
        is_within.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && self.is_damage()
    }

    fn is_damage(&self) -> bool {
        match self {
            Self::Block(error) => error.is_damage(),
            Self::Stopped => false,
            Self::Unsettled { why, .. } => why.is_damage(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_block_is_at_fault_for_what_is_wrong_in_its_directory() {
        let damaged = |path: &str| -> CompactionError {
            let (path, what) = (path.to_owned(), "a hole".to_owned());
            BlockError::Damaged { path, offset: 0, what }.into()
        };
        let dir = "shard-000/01A";
        assert!(damaged("shard-000/01A/index").is_fault_of(dir));
        assert!(damaged("shard-000/01A").is_fault_of(dir));
        assert!(!damaged("shard-000/01AB/index").is_fault_of(dir));
        assert!(!damaged("shard-000/01B/index").is_fault_of(dir));
        assert!(!CompactionError::Stopped.is_fault_of(dir));
    }

    #[test] // once, a parent that a disk did not give for a moment was marked as failed for good
    fn a_block_is_not_at_fault_for_what_the_disk_does_not_read() {
        let at_fault = |source: io::Error| {
            let path = "a/index".to_owned();
            CompactionError::from(BlockError::Io { path, action: "open", source }).is_fault_of("a")
        };
        assert!(!at_fault(io::Error::from_raw_os_error(5)));
        assert!(!at_fault(io::Error::from_raw_os_error(24)));
        assert!(!at_fault(io::ErrorKind::UnexpectedEof.into()));
        assert!(at_fault(io::ErrorKind::NotFound.into()));
    }
}
