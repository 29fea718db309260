//! One request over one connection, as plainly as HTTP goes, to floodplain and to its peers alike.
//!
//! It is HTTP/1.0: an answer is never chunked and ends with its connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than anything asked here takes: a test fails then, and does not hang.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Sends one request; `headers` are whole lines without their ends. Fails as the connection does.
pub fn send(
    address: SocketAddr,
    method_and_path: &str,
    headers: &[&str],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    let mut head = format!("{method_and_path} HTTP/1.0\r\nHost: {address}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    connection.write_all(head.as_bytes())?;
    connection.write_all(body)?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    let cut = || std::io::Error::other("the answer ends within its head");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(cut)?;
    let status =
        answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    Ok(Answer { status: status.ok_or_else(cut)?, body: answer.split_off(end + 4) })
}

/// Asks the query API at `path` with `parameters` in a form, and gives the whole envelope.
pub fn ask(address: SocketAddr, path: &str, parameters: &[(&str, &str)]) -> Value {
    let pairs: Vec<_> = parameters.iter().map(|(k, v)| format!("{k}={}", escaped(v))).collect();
    let form = pairs.join("&");
    let answer = if path.contains("/label/") {
        send(address, &format!("GET {path}?{form}"), &[], b"") // the one endpoint that takes no POST
    } else {
        let header = "Content-Type: application/x-www-form-urlencoded";
        send(address, &format!("POST {path}"), &[header], form.as_bytes())
    };
    let answer = answer.unwrap_or_else(|error| panic!("{address}{path}?{form}: {error}"));
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| {
        let body = String::from_utf8_lossy(&answer.body);
        panic!("{address}{path}?{form}: {}, {error}: {body}", answer.status)
    })
}

/// As [`ask`], and it has to succeed: only `data`.
pub fn data(address: SocketAddr, path: &str, parameters: &[(&str, &str)]) -> Value {
    let mut envelope = ask(address, path, parameters);
    assert_eq!(envelope["status"], "success", "{address}{path} {parameters:?}: {envelope}");
    envelope["data"].take()
}

/// As it stands in a form.
pub fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
