//! The index of a block: which series there are, by which labels they are found, and where their chunks lie.

pub mod postings_table;
pub mod read;
pub mod symbols;
