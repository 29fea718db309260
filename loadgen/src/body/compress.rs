//! Compression of bodies: snappy's block format, or one zstd frame at level 1, as senders choose them.

use serde::{Deserialize, Serialize};

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// What every remote write receiver takes.
    Snappy,
    /// What vmagent prefers; not every receiver takes it.
    Zstd,
}

impl Compression {
    /// The `Content-Encoding` of such bodies.
    #[must_use]
    pub fn content_encoding(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }
}

/// Why a body could not be compressed: it is larger than the compressor takes, or there is no memory.
#[derive(Debug, thiserror::Error)]
#[error("a body of {bytes} bytes cannot be compressed ({reason}): lower --samples-per-request")]
pub struct CompressError {
    bytes: usize,
    reason: String,
}

/// A compressor with its tables, to be used again and again.
pub struct Compressor {
    scratch: Vec<u8>,
    codec: Codec,
}

enum Codec {
    Snappy(Box<snap::raw::Encoder>),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    /// A compressor for `compression`.
    ///
    /// # Errors
    /// zstd finds no memory for its tables.
    pub fn new(compression: Compression) -> Result<Self, CompressError> {
        let codec = match compression {
            Compression::Snappy => Codec::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::Zstd => Codec::Zstd(
                zstd::bulk::Compressor::new(1)
                    .map_err(|error| CompressError { bytes: 0, reason: error.to_string() })?,
            ),
        };
        Ok(Self { scratch: Vec::new(), codec })
    }

    /// Appends `raw`, compressed, to `out`; returns how many bytes that were.
    ///
    /// # Errors
    /// A message that the format cannot hold (4 GiB for snappy).
    pub fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<usize, CompressError> {
        let refuse = |reason: String| CompressError { bytes: raw.len(), reason };
        let bound = match &self.codec {
            Codec::Snappy(_) => snap::raw::max_compress_len(raw.len()),
            Codec::Zstd(_) => zstd::zstd_safe::compress_bound(raw.len()),
        };
        if bound == 0 {
            return Err(refuse("larger than 4 GiB".to_owned()));
        }
        if self.scratch.len() < bound {
            self.scratch.resize(bound, 0);
        }
        let len = match &mut self.codec {
            Codec::Snappy(encoder) => encoder
                .compress(raw, &mut self.scratch)
                .map_err(|error| refuse(error.to_string()))?,
            Codec::Zstd(compressor) => compressor
                .compress_to_buffer(raw, self.scratch.as_mut_slice())
                .map_err(|error| refuse(error.to_string()))?,
        };
        out.extend_from_slice(self.scratch.get(..len).unwrap_or_default());
        Ok(len)
    }
}
