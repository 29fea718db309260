//! What can be wrong with a block.

use std::io;

use crate::encoding::block::meta::MetaError;
use crate::io::may_pass;

/// Why a block cannot be read, written, published or removed.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The disk failed.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// Bytes that are not what the format has at this place.
    #[error("{path}, byte {offset}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A `meta.json` that cannot be understood.
    #[error("{path}: {source}")]
    Meta {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: MetaError,
    },
    /// More than the format has room for: the block has to be split.
    #[error("{path}: {what} would take {bytes} bytes, the format has room for {max}")]
    TooLarge {
        /// The file.
        path: String,
        /// What of it.
        what: &'static str,
        /// How many bytes it would take.
        bytes: u64,
        /// How many it may.
        max: u64,
    },
    /// What was to be written is not in the order that the format has, or is not whole.
    #[error("{path}: {what}")]
    Order {
        /// The file.
        path: String,
        /// What is wrong, and with which part of it.
        what: String,
    },
}

impl BlockError {
    /// Is the file or directory not there?
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Is it the block that is wrong, rather than the disk that does not read it? Only what was read and found wrong, or is
    /// not there, is damage: behind an error of the disk all may be well.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Io { .. }) || self.is_not_found()
    }

    /// Was there no memory or no descriptor, for now? Then it is to be tried again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { source, .. } if may_pass(source))
    }

    /// For `map_err`: the disk failed at this.
    pub fn io(path: &str, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), action, source }
    }
}
