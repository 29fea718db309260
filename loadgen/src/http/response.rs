//! Reading one HTTP/1.1 response from a stream of hostile bytes.
//!
//! A body ends after `Content-Length` bytes, with the last chunk, or with the connection, in that order of precedence
//! reversed for chunked, as RFC 9112 section 6.3 says. Interim responses (1xx) are skipped.

use std::io::Read;
use std::time::Instant;

/// A status and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 100 to 999.
    pub status: u16,
    /// The header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the first header line of this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Will the server keep the connection open?
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        !self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Why a response could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// Not a byte of it came.
    #[error("the server closed the connection instead of answering")]
    Closed,
    /// The connection ended within it.
    #[error("the connection ended in the middle of the answer")]
    Cut,
    /// It is not HTTP/1.1.
    #[error("the answer is not HTTP/1.1: {0}")]
    Malformed(&'static str),
    /// It is longer than the reader takes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// It did not come in time.
    #[error("no whole answer in time (--timeout)")]
    TimedOut,
    /// The socket failed.
    #[error("the connection broke while waiting for the answer: {0}")]
    Io(std::io::Error),
}

const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A stream and what has been read from it but not yet used.
#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
    deadline: Option<Instant>,
}

impl<R: Read> Reader<R> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new(), deadline: None }
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut R {
        &mut self.stream
    }

    /// Reads one response, whose body may have `body_bytes_max` bytes, until `deadline`.
    ///
    /// # Errors
    /// See [`ResponseError`]. After an error the stream is of no use any more.
    pub fn response(
        &mut self,
        body_bytes_max: usize,
        deadline: Option<Instant>,
    ) -> Result<(Response, bool), ResponseError> {
        let mut body = Vec::new();
        let mut each = |_, piece: &[u8]| body.extend_from_slice(piece);
        let (head, keeps_alive) = self.response_in_pieces(body_bytes_max, deadline, &mut each)?;
        Ok((Response { body, ..head }, keeps_alive))
    }

    /// The same, handing the body to `each` as it comes, with the status; what is given back has none.
    ///
    /// # Errors
    /// See [`ResponseError`]. After an error the stream is of no use any more.
    pub fn response_in_pieces(
        &mut self,
        body_bytes_max: usize,
        deadline: Option<Instant>,
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<(Response, bool), ResponseError> {
        self.deadline = deadline;
        let head = loop {
            let head = self.head()?;
            if !(100..200).contains(&head.status) {
                break head;
            }
        };
        let (framing, keeps_alive) = (framing(&head)?, head.keeps_alive());
        let keeps_alive = keeps_alive && framing != Framing::UntilClose;
        let mut each = |piece: &[u8]| each(head.status, piece);
        match framing {
            Framing::Length(len) if len > body_bytes_max => {
                return Err(ResponseError::TooLong(body_bytes_max));
            }
            Framing::Length(len) => self.pieces(len, &mut each)?,
            Framing::Chunked => self.chunks(body_bytes_max, &mut each)?,
            Framing::UntilClose => self.until_close(body_bytes_max, &mut each)?,
        }
        Ok((head, keeps_alive))
    }

    fn head(&mut self) -> Result<Response, ResponseError> {
        let mut searched = 0usize;
        loop {
            let from = searched.saturating_sub(3);
            let end = self.buffer.get(from..).unwrap_or_default();
            if let Some(end) = end.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.take(from + end + 4)?;
                return parse_head(&head);
            }
            searched = self.buffer.len();
            if searched > HEAD_BYTES_MAX {
                return Err(ResponseError::TooLong(HEAD_BYTES_MAX));
            }
            if !self.more()? {
                let none = self.buffer.is_empty();
                return Err(if none { ResponseError::Closed } else { ResponseError::Cut });
            }
        }
    }

    fn chunks(
        &mut self,
        bytes_max: usize,
        each: &mut impl FnMut(&[u8]),
    ) -> Result<(), ResponseError> {
        let mut left = bytes_max;
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(ResponseError::Malformed("a chunk without a size"));
            }
            let size = usize::from_str_radix(size, 16)
                .ok()
                .filter(|size| *size <= left)
                .ok_or(ResponseError::TooLong(bytes_max))?;
            if size == 0 {
                while !self.line()?.is_empty() {} // trailers
                return Ok(());
            }
            left -= size;
            self.pieces(size, each)?;
            if !self.line()?.is_empty() {
                return Err(ResponseError::Malformed("a chunk longer than its size"));
            }
        }
    }

    fn until_close(
        &mut self,
        bytes_max: usize,
        each: &mut impl FnMut(&[u8]),
    ) -> Result<(), ResponseError> {
        let mut left = bytes_max;
        loop {
            left = left.checked_sub(self.buffer.len()).ok_or(ResponseError::TooLong(bytes_max))?;
            each(&self.buffer);
            self.buffer.clear();
            if !self.more()? {
                return Ok(());
            }
        }
    }

    /// Hands out the next `len` bytes as they come.
    fn pieces(&mut self, len: usize, each: &mut impl FnMut(&[u8])) -> Result<(), ResponseError> {
        let mut left = len;
        loop {
            let now = left.min(self.buffer.len());
            each(self.buffer.get(..now).unwrap_or_default());
            self.buffer.drain(..now);
            left -= now;
            if left == 0 {
                return Ok(());
            }
            if !self.more()? {
                return Err(ResponseError::Cut);
            }
        }
    }

    /// A line of at most a head's length, without its CR LF.
    fn line(&mut self) -> Result<String, ResponseError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end + 2)?;
                let line = line.strip_suffix(b"\r\n").unwrap_or_default();
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(ResponseError::TooLong(HEAD_BYTES_MAX));
            }
            if !self.more()? {
                return Err(ResponseError::Cut);
            }
        }
    }

    /// The next `len` bytes. Grows with what really comes, not with what was promised.
    fn take(&mut self, len: usize) -> Result<Vec<u8>, ResponseError> {
        while self.buffer.len() < len {
            if !self.more()? {
                return Err(ResponseError::Cut);
            }
        }
        let rest = self.buffer.split_off(len);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads what there is; false at the end of the stream.
    fn more(&mut self) -> Result<bool, ResponseError> {
        let mut piece = [0; 16 * 1024];
        loop {
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(ResponseError::TimedOut);
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(len) => {
                    self.buffer.extend_from_slice(piece.get(..len).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let timeout = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                    return Err(match timeout.contains(&error.kind()) {
                        true => ResponseError::TimedOut,
                        false => ResponseError::Io(error),
                    });
                }
            }
        }
    }
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

fn framing(head: &Response) -> Result<Framing, ResponseError> {
    if matches!(head.status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    match head.header("transfer-encoding") {
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => return Ok(Framing::Chunked),
        Some(_) => return Err(ResponseError::Malformed("a transfer encoding other than chunked")),
        None => {}
    }
    match head.header("content-length") {
        None => Ok(Framing::UntilClose),
        Some(len) if len.bytes().all(|byte| byte.is_ascii_digit()) => len
            .parse()
            .map(Framing::Length)
            .map_err(|_| ResponseError::Malformed("a content length that is no number")),
        Some(_) => Err(ResponseError::Malformed("a content length that is no number")),
    }
}

/// A status line and header lines, each with its CR LF, and the empty line.
fn parse_head(bytes: &[u8]) -> Result<Response, ResponseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .filter(|status| status.len() == 3)
        .and_then(|status| status.parse().ok())
        .filter(|status| *status >= 100)
        .ok_or(ResponseError::Malformed("it begins with no status line"))?;
    let mut headers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line
            .split_once(':')
            .ok_or(ResponseError::Malformed("a header line without a colon"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if status_line.starts_with("HTTP/1.0") && !headers.iter().any(|(name, _)| name == "connection")
    {
        headers.push(("connection".to_owned(), "close".to_owned())); // what 1.0 means by saying nothing
    }
    Ok(Response { status, headers, body: Vec::new() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out its bytes a few at a time, as a network may.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let len = self.1.min(self.0.len()).min(out.len());
            let (now, later) = self.0.split_at(len);
            out[..len].copy_from_slice(now);
            self.0 = later;
            Ok(len)
        }
    }

    fn read(bytes: &[u8], piece: usize) -> Result<(Response, bool), ResponseError> {
        Reader::new(Trickle(bytes, piece)).response(1000, None)
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for (text, body, keeps_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "abc", true),
            ("HTTP/1.1 204 No Content\r\n\r\nabc", "", true),
            ("HTTP/1.1 200 OK\r\n\r\nabc", "abc", false),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n",
                "abc",
                true,
            ),
            ("HTTP/1.1 503 Busy\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n", "", false),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200\r\ncontent-length: 1\r\n\r\na", "a", false),
        ] {
            for piece in [1, 2, 7, 1000] {
                let (response, kept) = read(text.as_bytes(), piece).unwrap();
                assert_eq!(response.body, body.as_bytes(), "{text}");
                assert_eq!(kept, keeps_alive, "{text}");
            }
        }
    }

    #[test]
    fn two_responses_on_one_connection_do_not_mix() {
        let text = b"HTTP/1.1 204 A\r\nX: 1\r\n\r\nHTTP/1.1 400 B\r\ncontent-length: 2\r\n\r\nno";
        let mut reader = Reader::new(Trickle(text, 1000));
        let first = reader.response(10, None).unwrap().0;
        let second = reader.response(10, None).unwrap().0;
        assert_eq!((first.status, first.header("x")), (204, Some("1")));
        assert_eq!((second.status, second.body.as_slice()), (400, &b"no"[..]));
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_said() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(70_000));
        for (text, what) in [
            ("", "closed the connection"),
            ("HTTP/1.1 200 OK\r\n", "ended in the middle"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", "ended in the middle"),
            ("SSH-2.0-x\r\n\r\n", "no status line"),
            ("HTTP/1.1 20 OK\r\n\r\n", "no status line"),
            ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "content length"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", "content length"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n", "longer than 1000"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffff\r\n",
                "longer than 1000",
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "without a size"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
                "longer than its size",
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "transfer encoding"),
            (long.as_str(), "longer than 65536"),
        ] {
            let error = read(text.as_bytes(), 1000).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            let _any = read(&bytes, piece);
            let _any = read(&[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &bytes[..]].concat(), piece);
        }
    }
}
