//! A receiver that acknowledges everything and stores nothing: what a flood into it costs is the generator's own part.
//!
//! It reads each body whole. To a remote write 2.0 request it has to say how many samples, histograms and exemplars it
//! wrote, so it decompresses the body and counts them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::body::magazine::Contents;
use crate::cli::SinkArgs;
use crate::protobuf::fields;

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
            Some(encoding) => match decompress(&body, &encoding).and_then(|m| count(&m)) {
                Some(Contents { floats, histograms, exemplars }) => format!(
                    "HTTP/1.1 204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: {floats}\r\n\
                     X-Prometheus-Remote-Write-Histograms-Written: {histograms}\r\n\
                     X-Prometheus-Remote-Write-Exemplars-Written: {exemplars}\r\n\r\n"
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

/// The samples, histograms and exemplars of a 2.0 request.
fn count(message: &[u8]) -> Option<Contents> {
    let mut contents = Contents::default();
    for field in fields(message) {
        if field.damaged {
            return None;
        }
        let Some(series) = field.of(5) else { continue };
        for field in fields(series) {
            match field.number {
                _ if field.damaged => return None,
                2 => contents.floats += 1,
                3 => contents.histograms += 1,
                4 => contents.exemplars += 1,
                _ => {}
            }
        }
    }
    Some(contents)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body::{Protocol, Template};
    use crate::population::Population;
    use crate::population::mixture::Mixture;

    #[test]
    fn what_a_request_has_is_counted() {
        let mixture = Mixture {
            histograms_per_million: 200_000,
            float_histograms: false,
            exemplars_every: 1,
        };
        let population = Population::new(1, 500, None).with_mixture(mixture);
        let timeline = crate::timeline::Timeline {
            start_ms: 1_780_000_000_000,
            interval_ms: 1,
            value_period: None,
        };
        let mut template = Template::new(Protocol::V2, &population, 0..321, 0);
        let counted = count(template.fill(&population, 0, &timeline)).unwrap();
        assert_eq!(counted.histograms, population.histogram_count(0..321));
        assert_eq!((counted.samples(), counted.exemplars), (321, 321));
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
            let _any = count(&bytes);
            let _any = read_head(&mut &bytes[..]);
            let _any = decompress(&bytes, "snappy");
        }
    }
}
