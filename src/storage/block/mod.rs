//! A block on disk: a directory that is there whole or not at all, and whose files never change but for the tombstones.
//!
//! ```text
//! shard-000/
//! ├── 01BKGV7JBM69T2G1BGBGM6KB12/     a block; its files are described in `encoding::block`
//! ├── 01....tmp-for-creation/         one that is being written, or was when the process ended
//! └── 01....tmp-for-deletion/         one that is being removed, or was
//! ```
//! Published by: write everything under the first of the temporary names, flush each file and each directory, rename, flush
//! the directory above. Removed by: rename to the second, flush the directory above, and only then remove the files.
//! Invariants: what has a plain ULID for a name is whole, and its files are durable; what has a temporary name is nobody's
//! and removed at the next start. Source of the names: Prometheus `tsdb/db.go`.

pub mod append_file;
pub mod cache;
mod chunk_files;
pub mod coalesce;
pub mod cursor;
pub mod directory;
pub mod error;
mod index_file;
mod index_writer;
mod label_pairs;
mod page_sums;
mod pages;
mod posting_lists;
mod postings_writer;
pub mod reader;
mod section;
mod select;
mod series;
mod series_scan;
mod symbol_texts;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verify;
pub mod writer;

pub use cache::IndexCache;
pub use directory::{creation_dir, delete, dir, list, remove_tree, tidy};
pub use error::BlockError;
pub use reader::Block;
pub use ulid::Ulid;

/// Of a block, what is known of it.
pub const META: &str = "meta.json";
/// Of a block, its index.
pub const INDEX: &str = "index";
/// Of a block, the directory of its chunk segments.
pub const CHUNKS: &str = "chunks";
/// Of a block, what of it is deleted.
pub const TOMBSTONES: &str = "tombstones";
