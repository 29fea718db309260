//! A request's body as it came to the message it holds, into a buffer that is used again.
//!
//! Owns the caps: what a sender says about a body's size is checked before anything is allocated for it, and what a
//! body turns out to be never exceeds [`DECODED_BYTES_MAX`]. The cap on the compressed body is the server's, which
//! reads it.

use std::io::Read;

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::get_frame_content_size;

use super::Compression;
use super::padded::PADDING_BYTES;
use super::snappy::{self, SnappyError};

/// No body is decompressed to more than this, as in Prometheus (`storage/remote/write_handler.go`).
pub const DECODED_BYTES_MAX: usize = 32 << 20;

/// Snappy's densest element is a copy of 64 bytes in three; what promises more than this ratio is a lie.
const SNAPPY_RATIO_MAX: usize = 64 / 3 + 1;

/// A zstd frame may ask for a window of this many bytes at most, as a power of two: all of the largest body.
const ZSTD_WINDOW_LOG_MAX: u32 = DECODED_BYTES_MAX.ilog2();

/// Buffers grow by at least this many bytes while a body without a stated size is decompressed.
const GROWTH_BYTES: usize = 64 << 10;

/// Why a body cannot be decompressed. The sender's fault, and sending it again does not help.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More than the cap, as stated or as found.
    #[error("the body decompresses to more than {max} bytes; send smaller requests")]
    TooLarge {
        /// The cap.
        max: usize,
    },
    /// A stated size that so few bytes cannot hold.
    #[error("the body has {wire} bytes and cannot hold the {stated} that its snappy header states")]
    Overstated {
        /// What the header says.
        stated: usize,
        /// How many bytes there are.
        wire: usize,
    },
    /// Not snappy's block format.
    #[error("the body is not snappy block format (remote write uses no frames): {0}")]
    Snappy(#[from] SnappyError),
    /// Not zstd.
    #[error("the body is not zstd: {0}")]
    Zstd(std::io::Error),
    /// A zstd frame that is not all there.
    #[error("the body's zstd frame is cut short after {wire} bytes")]
    ZstdCut {
        /// How many bytes there are.
        wire: usize,
    },
    /// Not gzip.
    #[error("the body is not gzip: {0}")]
    Gzip(std::io::Error),
}

/// Undoes compressions. Keeps what its decoders allocate: one a core, used for every request.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<Decoder<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// One that has allocated nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces what is in `out` by what `wire` holds.
    ///
    /// # Errors
    /// A body of another format, a damaged one, or one of more than [`DECODED_BYTES_MAX`]; `out` is then of no use.
    pub fn decompress(
        &mut self,
        compression: Compression,
        wire: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BodyError> {
        self.decompress_capped(compression, wire, out, DECODED_BYTES_MAX)
    }

    fn decompress_capped(
        &mut self,
        compression: Compression,
        wire: &[u8],
        out: &mut Vec<u8>,
        max: usize,
    ) -> Result<(), BodyError> {
        match compression {
            Compression::Snappy => unsnappy(wire, out, max),
            Compression::Zstd => self.zstd(wire, out, max),
            Compression::Gzip => gzip(wire, out, max),
        }
    }

    fn zstd(&mut self, wire: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), BodyError> {
        let stated = get_frame_content_size(wire).ok().flatten();
        if stated.is_some_and(|stated| stated > max as u64) {
            return Err(BodyError::TooLarge { max });
        }
        let decoder = match &mut self.zstd {
            Some(decoder) => {
                decoder.reinit().map_err(BodyError::Zstd)?;
                decoder
            }
            none => {
                let mut decoder = Decoder::new().map_err(BodyError::Zstd)?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
                    .map_err(BodyError::Zstd)?;
                none.insert(decoder)
            }
        };
        // A stated size is believed as far as a body of this length may go at once; a larger one is grown into.
        let believed = wire.len().saturating_mul(64).max(GROWTH_BYTES);
        let expected = stated.and_then(|stated| usize::try_from(stated).ok()).unwrap_or(believed);
        out.clear();
        out.reserve(expected.min(believed).min(max) + PADDING_BYTES);
        let mut input = InBuffer::around(wire);
        let mut frame_is_open = true;
        while input.pos() < wire.len() || frame_is_open {
            if out.len() == out.capacity() {
                if out.len() >= max {
                    return Err(BodyError::TooLarge { max });
                }
                out.reserve(out.len().clamp(GROWTH_BYTES, (max - out.len()).max(1)));
            }
            let (read, written) = (input.pos(), out.len());
            let mut output = OutBuffer::around_pos(out, written);
            let left = decoder.run(&mut input, &mut output).map_err(BodyError::Zstd)?;
            frame_is_open = left > 0;
            if frame_is_open && input.pos() == read && out.len() == written {
                return Err(BodyError::ZstdCut { wire: wire.len() });
            }
        }
        if out.len() > max { Err(BodyError::TooLarge { max }) } else { Ok(()) }
    }
}

/// Compresses an answer, which has less than 4 GiB, to snappy's block format.
#[must_use]
pub fn pack_snappy(body: &[u8]) -> Vec<u8> {
    // Only what is too long for the format is refused.
    snap::raw::Encoder::new().compress_vec(body).unwrap_or_default()
}

fn unsnappy(wire: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), BodyError> {
    let stated = snappy::stated_len(wire)?;
    if stated > max {
        return Err(BodyError::TooLarge { max });
    }
    if stated > wire.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(BodyError::Overstated { stated, wire: wire.len() });
    }
    snappy::decompress(wire, out, PADDING_BYTES)?;
    Ok(())
}

fn gzip(wire: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), BodyError> {
    out.clear();
    flate2::read::MultiGzDecoder::new(wire)
        .take(max as u64 + 1)
        .read_to_end(out)
        .map_err(BodyError::Gzip)?;
    if out.len() > max { Err(BodyError::TooLarge { max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const ALL: [Compression; 3] = [Compression::Snappy, Compression::Zstd, Compression::Gzip];

    fn compress(compression: Compression, body: &[u8]) -> Vec<u8> {
        match compression {
            Compression::Snappy => snap::raw::Encoder::new().compress_vec(body).unwrap(),
            Compression::Zstd => zstd::bulk::compress(body, 1).unwrap(),
            Compression::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn decompress(compression: Compression, wire: &[u8], max: usize) -> Result<Vec<u8>, BodyError> {
        let mut out = b"what the last request left".to_vec();
        Decompressor::new().decompress_capped(compression, wire, &mut out, max).map(|()| out)
    }

    #[test]
    fn a_body_at_the_cap_is_read_and_one_byte_more_is_not() {
        for compression in ALL {
            let wire = compress(compression, &[7; 1000]);
            assert_eq!(decompress(compression, &wire, 1000).unwrap(), vec![7; 1000]);
            let error = decompress(compression, &wire, 999).unwrap_err();
            assert!(matches!(error, BodyError::TooLarge { max: 999 }), "{error}");
        }
    }

    #[test]
    fn a_zstd_frame_that_does_not_state_its_size_is_capped_while_it_is_read() {
        let wire = zstd::stream::encode_all(&[0u8; 1 << 20][..], 1).unwrap();
        assert_eq!(get_frame_content_size(&wire).unwrap(), None);
        assert_eq!(decompress(Compression::Zstd, &wire, 1 << 20).unwrap(), vec![0; 1 << 20]);
        let error = decompress(Compression::Zstd, &wire, (1 << 20) - 1).unwrap_err();
        assert!(matches!(error, BodyError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn frames_that_follow_each_other_are_one_body() {
        for compression in [Compression::Zstd, Compression::Gzip] {
            let wire =
                [compress(compression, b"to be "), compress(compression, b"or not")].concat();
            assert_eq!(decompress(compression, &wire, 100).unwrap(), b"to be or not");
        }
    }

    #[test]
    fn a_size_that_the_body_cannot_hold_is_refused_before_it_is_allocated() {
        let wire = [0x80, 0x80, 0x80, 0x0f, 0]; // states 31.5 MiB
        let error = decompress(Compression::Snappy, &wire, DECODED_BYTES_MAX).unwrap_err();
        assert!(matches!(error, BodyError::Overstated { .. }), "{error}");
    }

    #[test]
    fn an_empty_message_is_a_message_and_an_empty_body_is_none() {
        for compression in ALL {
            let wire = compress(compression, b"");
            assert_eq!(decompress(compression, &wire, 10).unwrap(), b"");
            if compression != Compression::Gzip {
                assert!(decompress(compression, b"", 10).is_err());
            }
        }
    }

    #[test]
    fn one_decompressor_reads_body_after_body_whatever_the_last_one_was() {
        let mut decompressor = Decompressor::new();
        let mut out = Vec::new();
        for n in [10usize, 100_000, 0, 5, 1000] {
            for compression in ALL {
                let body: Vec<u8> = (0..n).map(|i| i.to_le_bytes()[0]).collect();
                let wire = compress(compression, &body);
                let cut = &wire[..wire.len() - 1];
                assert!(decompressor.decompress(compression, cut, &mut out).is_err());
                decompressor.decompress(compression, &wire, &mut out).unwrap();
                assert_eq!(out, body);
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(body in proptest::collection::vec(0u8..4, 0..2000)) {
            for compression in ALL {
                prop_assert_eq!(&decompress(compression, &compress(compression, &body), 2000).unwrap(), &body);
            }
        }

        #[test]
        fn a_cut_body_is_refused(body in proptest::collection::vec(0u8..4, 1..500), cut in 0usize..500) {
            for compression in ALL {
                let wire = compress(compression, &body);
                let cut = cut % wire.len();
                if cut > 0 {
                    prop_assert!(decompress(compression, &wire[..cut], 500).is_err());
                }
            }
        }

        #[test]
        fn no_bytes_panic_and_none_exceed_the_cap(
            body in proptest::collection::vec(0u8..4, 0..500),
            noise in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..5),
        ) {
            for compression in ALL {
                let mut wire = compress(compression, &body);
                for (at, byte) in &noise {
                    let at = at % wire.len();
                    wire[at] = *byte;
                }
                if let Ok(out) = decompress(compression, &wire, 300) {
                    prop_assert!(out.len() <= 300);
                }
            }
        }
    }
}
