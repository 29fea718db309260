//! Bytes on the network to nouns: remote write 1.0 and 2.0, remote read, and what is scraped in protobuf. No I/O, no clock; which HTTP status an error becomes is
//! `server`'s.
//!
//! One request takes three steps: [`negotiate`] reads the headers, [`Decompressor`] undoes the compression into a reused
//! buffer, [`decode_v1`] or [`decode_v2`] walks that buffer once and fills a [`crate::model::WriteBatch`], which keeps
//! the buffer, since the batch's label sets lie in it.

pub mod body;
pub mod content;
pub mod counts;
pub mod error;
pub mod metric_family;
pub mod proto;
pub mod read;
#[cfg(test)]
pub mod read_testing;
pub mod snappy;
pub mod write_v1;
pub mod write_v2;

mod batch_writer;
mod cpu;
mod exemplars;
mod fields;
mod histogram;
mod label_set;
mod label_walk;
mod metadata_refs;
mod padded;
mod plain_sample;
mod read_histogram;
mod references;
mod symbols;

#[cfg(test)]
mod model_test;
#[cfg(test)]
mod requests_test;
#[cfg(test)]
mod v2_test;

pub use body::{BodyError, DECODED_BYTES_MAX, Decompressor, pack_snappy};
pub use content::{Compression, Content, ContentError, Message, negotiate};
pub use counts::Counts;
pub use error::WireError;
pub use snappy::SnappyError;
pub use write_v1::decode_v1;
pub use write_v2::decode_v2;
