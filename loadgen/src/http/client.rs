//! One connection to one server, opened when needed and opened again after it broke.

use std::io::{self, IoSlice, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::response::{Reader, Response, ResponseError};

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be opened; the request was not sent.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The server.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The request could not be sent whole.
    #[error("the connection broke while sending: {0}")]
    Send(io::Error),
    /// The answer could not be read. The server may or may not have done what was asked.
    #[error(transparent)]
    Answer(#[from] ResponseError),
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    addresses: Vec<SocketAddr>,
    timeout: Duration,
    body_bytes_max: usize,
    connection: Option<Reader<TcpStream>>,
    connects: u64,
}

impl Client {
    /// A client of the server at the first of `addresses` that lets it in. Connecting, sending and waiting for an
    /// answer may each take `timeout`; bodies of more than `body_bytes_max` bytes are refused.
    #[must_use]
    pub fn new(addresses: Vec<SocketAddr>, timeout: Duration, body_bytes_max: usize) -> Self {
        Self { addresses, timeout, body_bytes_max, connection: None, connects: 0 }
    }

    /// How often a connection was opened.
    #[must_use]
    pub fn connects(&self) -> u64 {
        self.connects
    }

    /// Opens the connection unless it is open.
    ///
    /// # Errors
    /// No address lets it in.
    pub fn connect(&mut self) -> Result<(), ClientError> {
        if self.connection.is_some() {
            return Ok(());
        }
        let mut failed = None;
        for &address in &self.addresses {
            match self.open(address) {
                Ok(stream) => {
                    self.connects += 1;
                    self.connection = Some(Reader::new(stream));
                    return Ok(());
                }
                Err(source) => failed = failed.or(Some(ClientError::Connect { address, source })),
            }
        }
        Err(failed.unwrap_or_else(|| {
            ClientError::Send(io::Error::new(io::ErrorKind::NotFound, "the server has no address"))
        }))
    }

    fn open(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&address, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(stream)
    }

    /// Sends `head`, which ends with its empty line, and `body`; waits for the answer. Connects first if need be, and
    /// gives the connection up after any error.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn exchange(&mut self, head: &[u8], body: &[u8]) -> Result<Response, ClientError> {
        let bytes_max = self.body_bytes_max;
        self.exchange_as(head, body, |connection, deadline| {
            connection.response(bytes_max, Some(deadline))
        })
    }

    /// The same, handing the body to `each` as it comes, with the status; what is given back has none.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn exchange_in_pieces(
        &mut self,
        head: &[u8],
        body: &[u8],
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<Response, ClientError> {
        self.exchange_as(head, body, |connection, deadline| {
            connection.response_in_pieces(usize::MAX, Some(deadline), each)
        })
    }

    fn exchange_as(
        &mut self,
        head: &[u8],
        body: &[u8],
        answer: impl FnOnce(&mut Reader<TcpStream>, Instant) -> Result<(Response, bool), ResponseError>,
    ) -> Result<Response, ClientError> {
        self.connect()?;
        let Some(mut connection) = self.connection.take() else {
            return Err(ClientError::Answer(ResponseError::Closed));
        };
        let sent = send(connection.stream(), head, body);
        // A server may refuse before it has read all of the body and close: then its answer is worth more than the
        // broken pipe.
        let deadline = Instant::now() + self.timeout;
        let answer = answer(&mut connection, deadline);
        match (sent, answer) {
            (Ok(()), Ok((response, keeps_alive))) => {
                self.connection = Some(connection).filter(|_| keeps_alive);
                Ok(response)
            }
            (Err(_), Ok((response, _))) => Ok(response),
            (Ok(()), Err(error)) => Err(error.into()),
            (Err(error), Err(_)) => Err(ClientError::Send(error)),
        }
    }
}

fn send(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(head), IoSlice::new(body)];
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0); // skips what is empty
    while !left.is_empty() {
        match stream.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => IoSlice::advance_slices(&mut left, len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that sends each of `answers` after reading one request of `request_bytes`, one connection an answer
    /// where `close` says so.
    fn server(answers: Vec<(&'static str, bool)>, request_bytes: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut stream = None;
            for (answer, close) in answers {
                let connection = stream.get_or_insert_with(|| listener.accept().unwrap().0);
                connection.read_exact(&mut vec![0; request_bytes]).unwrap();
                connection.write_all(answer.as_bytes()).unwrap();
                if close {
                    stream = None;
                }
            }
        });
        address
    }

    fn client(address: SocketAddr) -> Client {
        Client::new(vec![address], Duration::from_secs(10), 1000)
    }

    #[test]
    fn a_connection_is_used_again_until_the_server_closes_it() {
        const KEEP: &str = "HTTP/1.1 204 No Content\r\n\r\n";
        const CLOSE: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        let mut client = client(server(vec![(KEEP, false), (CLOSE, true), (KEEP, true)], 6));
        for connects in [1, 1, 2] {
            assert_eq!(client.exchange(b"head", b"bo").unwrap().status, 204);
            assert_eq!(client.connects(), connects);
        }
        let error = client.exchange(b"head", b"bo").unwrap_err();
        assert!(!error.to_string().is_empty());
    }

    #[test]
    fn a_refusal_before_the_body_was_read_is_still_read() {
        let answer = "HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
        let mut client = client(server(vec![(answer, true)], 4));
        // More than the sockets hold, so that sending cannot finish before the server closes.
        match client.exchange(b"head", &vec![0; 64 << 20]) {
            Ok(response) => assert_eq!(response.header("retry-after"), Some("1")),
            Err(error) => assert!(matches!(error, ClientError::Send(_)), "{error}"),
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = client(address).exchange(b"", b"").unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }
}
