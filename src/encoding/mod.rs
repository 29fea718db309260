//! Bytes on disk to nouns and back. No I/O, no clock; takes any bytes without panicking.

pub mod batch;
pub mod bits;
pub mod block;
pub mod chunk;
pub mod chunk_encoder;
pub mod chunk_range;
pub mod histogram;
pub mod record;
pub mod spilled;
pub mod varbit;
pub mod varint;
pub mod window;
pub mod xor;
pub mod xor2;
