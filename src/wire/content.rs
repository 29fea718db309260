//! What a write request's headers say its body is: which message, compressed how.
//!
//! As Prometheus reads them (`storage/remote/write_handler.go`), but for the compressions: it takes snappy alone, vmagent
//! and Vector also send zstd and gzip. An absent header is what a sender of the time before 2.0 means by it: 1.0, snappy.

/// Which message the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Remote write 1.0, `prometheus.WriteRequest`.
    V1,
    /// Remote write 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

/// How the body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Snappy's block format, without frames.
    Snappy,
    /// One or more zstd frames.
    Zstd,
    /// One or more gzip members.
    Gzip,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// Which message.
    pub message: Message,
    /// Compressed how.
    pub compression: Compression,
}

/// Why a body cannot be read: HTTP's 415, with the sentence that its sender's operator needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Not protobuf.
    #[error(
        "Content-Type \"{0}\" is not remote write; send application/x-protobuf, or for remote write 2.0 application/x-protobuf;proto=io.prometheus.write.v2.Request"
    )]
    MediaType(String),
    /// A parameter of the content type that is no `key=value`.
    #[error(
        "Content-Type \"{content_type}\": parameter \"{parameter}\" is not of the form key=value"
    )]
    Parameter {
        /// The whole header.
        content_type: String,
        /// The part in question.
        parameter: String,
    },
    /// Protobuf, but a message of another protocol.
    #[error(
        "protobuf message \"{0}\" is not supported; send prometheus.WriteRequest (remote write 1.0) or io.prometheus.write.v2.Request (2.0)"
    )]
    Message(String),
    /// A compression that is not supported.
    #[error("Content-Encoding \"{0}\" is not supported; send snappy (block format), zstd or gzip")]
    Encoding(String),
}

/// Reads the two headers; `None` is an absent one, which counts as empty.
///
/// # Errors
/// A message or a compression that is not supported.
pub fn negotiate(
    content_type: Option<&str>,
    content_encoding: Option<&str>,
) -> Result<Content, ContentError> {
    Ok(Content {
        message: message(content_type.unwrap_or_default())?,
        compression: compression(content_encoding.unwrap_or_default())?,
    })
}

fn message(content_type: &str) -> Result<Message, ContentError> {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !content_type.trim().is_empty() && !media_type.eq_ignore_ascii_case("application/x-protobuf")
    {
        return Err(ContentError::MediaType(content_type.to_owned()));
    }
    for parameter in parts.filter(|part| !part.is_empty()) {
        let Some((key, value)) = parameter.split_once('=') else {
            return Err(ContentError::Parameter {
                content_type: content_type.to_owned(),
                parameter: parameter.to_owned(),
            });
        };
        if key.trim().eq_ignore_ascii_case("proto") {
            return match value.trim().trim_matches('"') {
                "prometheus.WriteRequest" => Ok(Message::V1),
                "io.prometheus.write.v2.Request" => Ok(Message::V2),
                other => Err(ContentError::Message(other.to_owned())),
            };
        }
    }
    Ok(Message::V1)
}

fn compression(content_encoding: &str) -> Result<Compression, ContentError> {
    match content_encoding.trim().to_ascii_lowercase().as_str() {
        "" | "snappy" => Ok(Compression::Snappy),
        "zstd" => Ok(Compression::Zstd),
        "gzip" | "x-gzip" => Ok(Compression::Gzip),
        _ => Err(ContentError::Encoding(content_encoding.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(message: Message, compression: Compression) -> Result<Content, ContentError> {
        Ok(Content { message, compression })
    }

    #[test]
    fn absent_headers_mean_what_senders_meant_before_there_was_a_choice() {
        assert_eq!(negotiate(None, None), content(Message::V1, Compression::Snappy));
        assert_eq!(negotiate(Some(""), Some("")), content(Message::V1, Compression::Snappy));
    }

    #[test]
    fn a_content_type_names_its_message_in_any_case_and_spacing() {
        for (header, message) in [
            ("application/x-protobuf", Message::V1),
            ("application/x-protobuf; charset=utf-8", Message::V1),
            ("application/x-protobuf;proto=prometheus.WriteRequest", Message::V1),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Message::V2),
            (" Application/X-Protobuf ; Proto = \"io.prometheus.write.v2.Request\" ;", Message::V2),
        ] {
            assert_eq!(negotiate(Some(header), None), content(message, Compression::Snappy));
        }
    }

    #[test]
    fn an_encoding_names_its_compression_in_any_case() {
        for (header, compression) in [
            ("snappy", Compression::Snappy),
            (" Snappy", Compression::Snappy),
            ("zstd", Compression::Zstd),
            ("GZIP", Compression::Gzip),
        ] {
            assert_eq!(negotiate(None, Some(header)), content(Message::V1, compression));
        }
    }

    #[test]
    fn what_is_not_supported_is_named_together_with_what_is() {
        let said = |content_type, encoding| {
            negotiate(Some(content_type), Some(encoding)).unwrap_err().to_string()
        };
        assert_eq!(
            said("text/plain", ""),
            "Content-Type \"text/plain\" is not remote write; send application/x-protobuf, or for remote write 2.0 \
             application/x-protobuf;proto=io.prometheus.write.v2.Request"
        );
        assert_eq!(
            said("application/x-protobuf;proto=a.B", ""),
            "protobuf message \"a.B\" is not supported; send prometheus.WriteRequest (remote write 1.0) or \
             io.prometheus.write.v2.Request (2.0)"
        );
        assert_eq!(
            said("application/x-protobuf;proto", ""),
            "Content-Type \"application/x-protobuf;proto\": parameter \"proto\" is not of the form key=value"
        );
        assert_eq!(
            said("", "br"),
            "Content-Encoding \"br\" is not supported; send snappy (block format), zstd or gzip"
        );
    }
}
