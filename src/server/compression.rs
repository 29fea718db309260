//! Compression of answers, by what `Accept-Encoding` names first.
//!
//! Owns the choice and the streaming encoder: it is fed slices and gives out what is ready, so that a large answer never
//! stands in memory twice. Source of the choice: `util/httputil/compression.go`, Prometheus 3.14 (weights are not read), which
//! has no zstd: browsers name gzip before it, so that only who asks for it gets it.

use std::io::{self, Write};

use flate2::Compression as Level;
use flate2::write::{GzEncoder, ZlibEncoder};
use zstd::stream::write::Encoder as ZstdEncoder;

/// How an answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `gzip`
    Gzip,
    /// `deflate`, which in HTTP means zlib's format.
    Deflate,
    /// `zstd`
    Zstd,
}

/// How hard zstd tries: as fast as gzip's lowest level, and smaller.
const ZSTD_LEVEL: i32 = 1;

impl Encoding {
    /// The first encoding that the header names and this server has.
    #[must_use]
    pub fn choose(accept_encoding: &str) -> Option<Self> {
        accept_encoding.split(',').find_map(|name| match name.trim() {
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            _ => None,
        })
    }

    /// Its name in `Content-Encoding`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }
}

/// Compresses an answer slice by slice.
pub enum Compressor {
    /// To gzip.
    Gzip(GzEncoder<Vec<u8>>),
    /// To zlib.
    Deflate(ZlibEncoder<Vec<u8>>),
    /// To zstd.
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl Compressor {
    /// A compressor that has seen nothing yet. At the fastest level: answers repeat themselves so much that a higher one
    /// gains little, and the core has others to serve.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(encoding: Encoding) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Level::fast())),
            Encoding::Deflate => Self::Deflate(ZlibEncoder::new(Vec::new(), Level::fast())),
            Encoding::Zstd => Self::Zstd(ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?),
        })
    }

    /// Takes in one slice and gives what is ready, which may be nothing.
    ///
    /// # Errors
    /// Never of its own: it writes to memory.
    pub fn push(&mut self, slice: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => {
                encoder.write_all(slice)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Deflate(encoder) => {
                encoder.write_all(slice)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Zstd(encoder) => {
                encoder.write_all(slice)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    /// Gives what is left.
    ///
    /// # Errors
    /// Never of its own: it writes to memory.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gzip(_) => "Compressor(gzip)",
            Self::Deflate(_) => "Compressor(deflate)",
            Self::Zstd(_) => "Compressor(zstd)",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::{GzDecoder, ZlibDecoder};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_known_encoding_is_chosen() {
        for (header, chosen) in [
            ("", None),
            ("identity", None),
            ("br, gzip", Some(Encoding::Gzip)),
            ("deflate,gzip", Some(Encoding::Deflate)),
            ("gzip;q=0.5", None),
            ("gzip, deflate, br, zstd", Some(Encoding::Gzip)),
            ("zstd, gzip", Some(Encoding::Zstd)),
        ] {
            assert_eq!(Encoding::choose(header), chosen, "{header}");
        }
    }

    proptest! {
        #[test]
        fn slices_read_back_as_one(slices in proptest::collection::vec("[a-c]{0,3000}", 0..20)) {
            for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
                let mut compressor = Compressor::new(encoding).unwrap();
                let mut wire = Vec::new();
                for slice in &slices {
                    wire.extend(compressor.push(slice.as_bytes()).unwrap());
                }
                wire.extend(compressor.finish().unwrap());
                let mut back = String::new();
                match encoding {
                    Encoding::Gzip => GzDecoder::new(&wire[..]).read_to_string(&mut back).unwrap(),
                    Encoding::Deflate => ZlibDecoder::new(&wire[..]).read_to_string(&mut back).unwrap(),
                    Encoding::Zstd => {
                        zstd::stream::read::Decoder::new(&wire[..]).unwrap().read_to_string(&mut back).unwrap()
                    }
                };
                prop_assert_eq!(back, slices.concat());
            }
        }
    }
}
