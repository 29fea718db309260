//! Compressed bodies.

use std::io::Read;

use floodplain::wire::{BodyError, Compression, DECODED_BYTES_MAX, Decompressor, pack_snappy};

/// A copy of 64 bytes in three is the densest that snappy has.
const SNAPPY_RATIO_MAX: usize = 22;

/// A body that can be read, to be read after one that perhaps cannot.
const GOOD: &[u8] = b"a body, a body, a body";

/// Snappy's block format: as the crate `snap` reads it, and what was read packs to what reads the same.
pub fn snappy(wire: &[u8]) {
    let mut out = b"what the last body left".to_vec();
    let read = Decompressor::new().decompress(Compression::Snappy, wire, &mut out);
    let stated = snap::raw::decompress_len(wire).unwrap_or(usize::MAX);
    if stated > wire.len().saturating_mul(SNAPPY_RATIO_MAX) {
        assert!(read.is_err(), "more than there can be was not refused");
        return;
    }
    assert_eq!(read.is_ok(), snap::raw::Decoder::new().decompress_vec(wire).is_ok());
    if read.is_ok() {
        assert_eq!(out, snap::raw::Decoder::new().decompress_vec(wire).unwrap());
        assert!(out.len() <= wire.len() * SNAPPY_RATIO_MAX);
        let mut again = Vec::new();
        let packed = pack_snappy(&out);
        Decompressor::new().decompress(Compression::Snappy, &packed, &mut again).unwrap();
        assert_eq!(again, out);
    }
}

/// Zstd and gzip; the first byte says which. As another reader of the same reads it, up to the cap, and whatever a body
/// was, the next one is read.
pub fn packed(bytes: &[u8]) {
    let Some((which, wire)) = bytes.split_first() else { return };
    let compression = if which % 2 == 0 { Compression::Zstd } else { Compression::Gzip };
    let (mut decompressor, mut out) = (Decompressor::new(), b"what the last body left".to_vec());
    let read = decompressor.decompress(compression, wire, &mut out);
    let mut plain = Vec::new();
    let limit = DECODED_BYTES_MAX as u64 + 1;
    let (plainly, good) = match compression {
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(wire).unwrap();
            decoder.window_log_max(DECODED_BYTES_MAX.ilog2()).unwrap();
            (decoder.take(limit).read_to_end(&mut plain), zstd::bulk::compress(GOOD, 1).unwrap())
        }
        _ => {
            let mut encoder = flate2::read::GzEncoder::new(GOOD, flate2::Compression::fast());
            let mut good = Vec::new();
            encoder.read_to_end(&mut good).unwrap();
            (flate2::bufread::MultiGzDecoder::new(wire).take(limit).read_to_end(&mut plain), good)
        }
    };
    match read {
        Ok(()) => {
            assert!(out.len() <= DECODED_BYTES_MAX);
            assert!(plainly.is_ok(), "read what is none: {plainly:?}");
            assert_eq!(out, plain);
        }
        Err(BodyError::TooLarge { .. }) => {}
        // The plain readers take no bytes at all for an empty body, and the one of zstd a frame that ends before the length
        // it states if its last block is empty, which the same library refuses when it reads the body in one piece.
        Err(error) => {
            let is_cut = compression == Compression::Zstd
                && zstd::bulk::decompress(wire, DECODED_BYTES_MAX).is_err();
            assert!(plainly.is_err() || wire.is_empty() || is_cut, "{error}");
        }
    }
    decompressor.decompress(compression, &good, &mut out).unwrap();
    assert_eq!(out, GOOD);
}

fn bodies() -> Vec<Vec<u8>> {
    let counted = (0..600u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    let mut bodies = vec![Vec::new(), b"a".to_vec(), GOOD.to_vec(), vec![7; 3000], counted];
    bodies.extend(crate::wire::write_v1_seeds());
    bodies.extend(crate::wire::write_v2_seeds());
    bodies
}

/// Bodies as `snap` packs them.
pub fn snappy_seeds() -> Vec<Vec<u8>> {
    bodies().iter().map(|body| pack_snappy(body)).collect()
}

/// Bodies as zstd and gzip pack them; frames that state their length, frames that do not, and two in a row.
pub fn packed_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for body in bodies() {
        let stated = zstd::bulk::compress(&body, 1).unwrap();
        let unstated = zstd::stream::encode_all(&*body, 3).unwrap();
        let mut gzip = Vec::new();
        let level = flate2::Compression::best();
        flate2::read::GzEncoder::new(&*body, level).read_to_end(&mut gzip).unwrap();
        let twice = [&*stated, &*unstated].concat();
        let gzip_twice = [&*gzip, &*gzip].concat();
        for (which, wire) in [(0, stated), (0, unstated), (0, twice), (1, gzip), (1, gzip_twice)] {
            seeds.push([&[which], &*wire].concat());
        }
    }
    seeds.retain(|seed| seed.len() <= 4096);
    seeds
}
