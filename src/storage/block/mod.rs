//! Blocks on disk.

pub mod cache;
mod chunk_files;
pub mod coalesce;
pub mod cursor;
pub mod error;
mod index_file;
mod pages;
mod posting_lists;
pub mod reader;
mod section;
mod select;
mod series;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verify;

pub use cache::IndexCache;
pub use error::BlockError;
pub use reader::Block;
