//! Errors of the API: a type that clients match on, a text for people, and the status that goes with the type.
//!
//! Source: `web/api/v1/api.go` (`errorType`, `getDefaultErrorCode`), Prometheus 3.14. Where Prometheus answers 500 because
//! the store is not open yet, this server answers 503: it is worth trying again. What is switched off keeps its 500.

use http::StatusCode;

use super::body::ReadBodyError;
use super::json;
use super::params::ParamError;
use super::reply::{self, Reply};
use crate::coordinator::api::{AdminError, ReadError};
use crate::query::QueryErrorKind;

/// The status for "the client closed the connection", which only logs ever see.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// The request cannot mean anything.
    BadData,
    /// It means something that has no answer.
    Execution,
    /// Nobody waits for the answer any more.
    Canceled,
    /// It took too long.
    Timeout,
    /// Something here is broken.
    Internal,
    /// There is no such thing.
    NotFound,
    /// Not now.
    Unavailable,
    /// Not as long as the command line is what it is. Clients see the same type as if it were not now.
    Disabled,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", .error_type.name())]
pub struct ApiError {
    /// What kind of error.
    pub error_type: ErrorType,
    /// What is wrong.
    pub message: String,
}

impl ErrorType {
    /// What clients match on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::Unavailable | Self::Disabled => "unavailable",
        }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Canceled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal | Self::Disabled => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

impl ApiError {
    /// An error of that type.
    pub fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        Self { error_type, message: message.into() }
    }

    /// The request cannot mean anything.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorType::BadData, message)
    }

    /// The answer that says so.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let body = json::error(self.error_type.name(), &self.message);
        reply::json(self.error_type.status(), body)
    }
}

impl From<ParamError> for ApiError {
    fn from(error: ParamError) -> Self {
        Self::bad_data(error.to_string())
    }
}

impl From<ReadBodyError> for ApiError {
    fn from(error: ReadBodyError) -> Self {
        let error_type = match error {
            ReadBodyError::TooLarge { .. } | ReadBodyError::Broken(_) => ErrorType::BadData,
            ReadBodyError::Overloaded(_) => ErrorType::Unavailable,
        };
        Self::new(error_type, error.to_string())
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let error_type = match error {
            ReadError::NotReady => ErrorType::Unavailable,
            ReadError::Storage(_) => ErrorType::Internal,
            ReadError::Refused(ref why) => match why.kind() {
                QueryErrorKind::BadData => ErrorType::BadData,
                QueryErrorKind::Execution => ErrorType::Execution,
                QueryErrorKind::Timeout => ErrorType::Timeout,
                QueryErrorKind::Canceled => ErrorType::Canceled,
                QueryErrorKind::Internal => ErrorType::Internal,
            },
        };
        Self::new(error_type, error.to_string())
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        let error_type = match error {
            AdminError::NotReady | AdminError::Busy(_) => ErrorType::Unavailable,
            AdminError::Storage(_) => ErrorType::Internal,
        };
        Self::new(error_type, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_status() {
        for (error_type, name, status) in [
            (ErrorType::BadData, "bad_data", 400),
            (ErrorType::Execution, "execution", 422),
            (ErrorType::Canceled, "canceled", 499),
            (ErrorType::Timeout, "timeout", 503),
            (ErrorType::Internal, "internal", 500),
            (ErrorType::NotFound, "not_found", 404),
            (ErrorType::Unavailable, "unavailable", 503),
            (ErrorType::Disabled, "unavailable", 500),
        ] {
            assert_eq!((error_type.name(), error_type.status().as_u16()), (name, status));
        }
    }

    #[test]
    fn an_error_says_its_type_and_text() {
        let reply = ApiError::from(ParamError::invalid("step", "no \"step\"")).reply();
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
        let Body::Whole(body) = reply.body() else { panic!("no body") };
        assert_eq!(
            &body[..],
            br#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": no \"step\""}"#
        );
    }

    use crate::server::body::Body;
}
