//! Why a query has no answer, in the classes by which an API answers: whose fault it is and whether to try again.
//!
//! The texts are Prometheus's (`promql/engine.go`) wherever it has one. HTTP status is `server`'s to choose.

use super::ast::TextRange;
use super::parse_error::{ParseErrors, position};

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// The text does not parse; whoever wrote it has to change it.
    #[error(transparent)]
    Parse(#[from] ParseErrors),
    /// The text parses but asks for something that can never be answered.
    #[error("{0}")]
    BadData(String),
    /// The text uses something that the language has and this engine does not yet.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// Evaluation met data that the query cannot be answered for.
    #[error("{0}")]
    Execution(String),
    /// More samples would have to be held at once than a query may.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// More memory would be held than one query, or all together, may.
    #[error(
        "query would hold more memory than {bytes_max} bytes, which {}; ask for fewer series or steps, or raise the flag",
        memory_flag(*.of_all)
    )]
    TooMuchMemory {
        /// Is it the bound of all running queries together?
        of_all: bool,
        /// The bound.
        bytes_max: usize,
    },
    /// The query ran longer than it may.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// Whoever asked has gone, or the server stops.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// The disk does not read.
    #[error("{0}")]
    Storage(String),
    /// What the shards sent does not fit the plan: a fault of this program.
    #[error("internal error: {0}")]
    Internal(String),
}

fn memory_flag(of_all: bool) -> &'static str {
    if of_all {
        "all running queries together may hold (--query.max-bytes-total)"
    } else {
        "one query may hold (--query.max-bytes)"
    }
}

/// The classes of [`QueryError`], one for each error type of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryErrorKind {
    /// `bad_data`
    BadData,
    /// `execution`
    Execution,
    /// `timeout`
    Timeout,
    /// `canceled`
    Canceled,
    /// `internal`
    Internal,
}

impl QueryError {
    /// Which class the error is of.
    #[must_use]
    pub fn kind(&self) -> QueryErrorKind {
        match self {
            Self::Parse(_) | Self::BadData(_) | Self::Unsupported(_) => QueryErrorKind::BadData,
            Self::Execution(_) | Self::TooManySamples | Self::TooMuchMemory { .. } => {
                QueryErrorKind::Execution
            }
            Self::Timeout => QueryErrorKind::Timeout,
            Self::Canceled => QueryErrorKind::Canceled,
            Self::Storage(_) | Self::Internal(_) => QueryErrorKind::Internal,
        }
    }

    /// Something the language has and this engine does not yet: `what`, at `span` of `text`.
    pub(super) fn unsupported(text: &str, span: TextRange, what: &str) -> Self {
        let at = position(text.as_bytes(), span);
        Self::Unsupported(format!("{at}: {what}"))
    }

    /// Two series that would become one.
    pub(super) fn same_labelset() -> Self {
        Self::Execution("vector cannot contain metrics with the same labelset".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_is_named_with_its_place() {
        let span = TextRange { start: 4, end: 8 };
        let error = QueryError::unsupported("sum(info(x))", span, "info()");
        assert_eq!(error.to_string(), "1:5: info() is not supported yet");
        assert_eq!(error.kind(), QueryErrorKind::BadData);
    }

    #[test]
    fn too_many_samples_is_a_failed_execution() {
        assert_eq!(QueryError::TooManySamples.kind(), QueryErrorKind::Execution);
    }
}
