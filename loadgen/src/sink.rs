//! A receiver that acknowledges everything and stores nothing: what a flood into it costs is the generator's own part.
//!
//! It reads each body whole. To a remote write 2.0 request it has to say how many samples it wrote, so it decompresses
//! the body and counts the series, each of which the generator sends with one sample.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::cli::SinkArgs;

const BODY_BYTES_MAX: usize = 64 << 20;
const HEAD_LINES_MAX: usize = 100;
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Answers writes until the process is ended.
///
/// # Errors
/// The address cannot be listened on.
pub fn run(args: &SinkArgs) -> std::io::Result<bool> {
    let listener = TcpListener::bind(args.listen)?;
    eprintln!("acknowledging everything sent to http://{}/api/v1/write", listener.local_addr()?);
    serve(&listener);
    Ok(true)
}

/// Answers on every connection that `listener` accepts, until accepting fails.
pub fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        // A connection that breaks or talks nonsense ends with its thread.
        thread::spawn(move || drop(converse(stream)));
    }
}

fn converse(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    let mut body = Vec::new();
    while let Some(head) = read_head(&mut reader)? {
        body.clear();
        (&mut reader).take(head.body_bytes as u64).read_to_end(&mut body)?;
        let answer = match head.counts {
            None => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            Some(encoding) => match decompress(&body, &encoding).and_then(|m| count_series(&m)) {
                Some(count) => format!(
                    "HTTP/1.1 204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: {count}\r\n\r\n"
                ),
                None => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned(),
            },
        };
        writer.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// What matters of a request's head.
#[derive(Default)]
struct Head {
    body_bytes: usize,
    /// For remote write 2.0: the content encoding of what is to be counted.
    counts: Option<String>,
}

/// `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let refuse = |what: &str| Err(std::io::Error::other(what.to_owned()));
    let (mut head, mut version_2, mut encoding) = (Head::default(), false, String::new());
    for number in 0..HEAD_LINES_MAX {
        let mut line = String::new();
        if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
            return if number == 0 { Ok(None) } else { refuse("a cut head") };
        }
        let line = line.trim_end();
        if line.is_empty() {
            head.counts = version_2.then_some(encoding);
            return Ok(Some(head));
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => match value.parse() {
                Ok(len) if len <= BODY_BYTES_MAX => head.body_bytes = len,
                _ => return refuse("a body that is too long"),
            },
            "content-type" => version_2 = value.contains("io.prometheus.write.v2.Request"),
            "content-encoding" => value.clone_into(&mut encoding),
            _ => {}
        }
    }
    refuse("a head of too many lines")
}

fn decompress(body: &[u8], encoding: &str) -> Option<Vec<u8>> {
    match encoding {
        "zstd" => zstd::bulk::decompress(body, BODY_BYTES_MAX).ok(),
        _ => {
            let len = snap::raw::decompress_len(body).ok().filter(|len| *len <= BODY_BYTES_MAX)?;
            let mut message = vec![0; len];
            snap::raw::Decoder::new().decompress(body, &mut message).ok()?;
            Some(message)
        }
    }
}

/// The number of fields 5 of a message that has only length-delimited fields below number 16, as a 2.0 request does.
fn count_series(mut message: &[u8]) -> Option<u64> {
    let mut count = 0;
    while let Some((tag, rest)) = message.split_first() {
        if tag & 7 != 2 || *tag >= 0x80 {
            return None;
        }
        let (len, used) = varint(rest)?;
        message = rest.get(used.checked_add(len)?..)?;
        count += u64::from(tag >> 3 == 5);
    }
    Some(count)
}

fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body::{Protocol, Template};
    use crate::population::Population;

    #[test]
    fn the_series_of_a_request_are_counted() {
        let population = Population::new(1, 500, None);
        let timeline = crate::timeline::Timeline {
            start_ms: 1_780_000_000_000,
            interval_ms: 1,
            value_period: None,
        };
        let mut template = Template::new(Protocol::V2, &population, 0..321, 0);
        assert_eq!(count_series(template.fill(0, &timeline)), Some(321));
    }

    #[test]
    fn a_head_is_read_up_to_its_empty_line() {
        let text = "POST / HTTP/1.1\r\nContent-Length: 12\r\ncontent-type: a;proto=io.prometheus.write.v2.Request\r\nContent-Encoding: zstd\r\n\r\nrest";
        let head = read_head(&mut text.as_bytes()).unwrap().unwrap();
        assert_eq!((head.body_bytes, head.counts.as_deref()), (12, Some("zstd")));
        assert!(read_head(&mut &b""[..]).unwrap().is_none());
        assert!(read_head(&mut &b"POST / HTTP/1.1\r\n"[..]).is_err());
        assert!(read_head(&mut &b"Content-Length: 99999999999\r\n\r\n"[..]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = count_series(&bytes);
            let _any = read_head(&mut &bytes[..]);
            let _any = decompress(&bytes, "snappy");
        }
    }
}
