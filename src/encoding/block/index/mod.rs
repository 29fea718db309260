//! The index of a block: which series there are, by which labels they are found, and where their chunks lie.
//!
//! ```text
//! file      0xbaaad700 u32 │ version u8 │ symbols │ series │ postings │ offset table │ contents     integers big-endian
//! symbols   len u32 │ count u32 │ count times: text │ crc32c          text: length uvarint, bytes
//!           sorted, each once; a symbol's number is its place, counted from 0
//! series    any number of: zeros up to the next multiple of 16 │ entry      in the order of their labels
//! entry     len uvarint │ label count uvarint │ labels │ chunk count uvarint │ chunks │ crc32c
//!           label        number of the name's symbol uvarint │ of the value's uvarint       in the order of the names
//!           first chunk  first t varint │ last t - first t uvarint │ reference uvarint
//!           next chunks  first t - last t of the one before uvarint │ last t - first t uvarint │
//!                        reference - the one before varint
//! postings  zeros up to the next multiple of 4 │ list*
//! list      len u32 │ count u32 │ count times: series u32 │ crc32c    series: offset of its entry / 16, ascending
//! offset table   len u32 │ count u32 │ count times: 2 u8, name text, value text, offset of the list uvarint │ crc32c
//! contents  6 times u64: offsets of symbols, series, label indices, label indices table, postings, offset table │ crc32c
//! ```
//! A `len` does not count itself nor the checksum, and a checksum covers exactly what its `len` counts; that of the
//! contents, the six offsets. An offset among the contents is where the section before it ends: zeros may follow.
//! The lists are in the order of the offset table: first that of all series, under the empty name and value, then by name
//! and within a name by value.
//!
//! Version 2 is written. Others that are read: 1, in which a symbol's number is the offset of its text in the file, a
//! list has entries' offsets as they are, and neither the offset table is sorted nor entries are at multiples of 16; and 3,
//! which is 2. Writers before Prometheus 3 also have label indices between series and postings, with a table of their own
//! before the offset table; nobody reads them any more, and their two offsets are now those of postings and offset table.
//!
//! Invariants: series are strictly ascending by labels, and so the numbers in a list are too; the chunks of a series are
//! ascending in time and do not overlap; their references ascend over the whole file. A file has at most 64 GiB, the
//! symbols and the offset table at most 4 GiB each.
//! Source: Prometheus `tsdb/docs/format/index.md`, `tsdb/index/index.go`. Golden bytes: `tests/golden/block_index.hex`.

pub mod postings_table;
pub mod read;
pub mod symbols;
pub mod write;

/// The first four bytes of an index.
const MAGIC: [u8; 4] = [0xba, 0xaa, 0xd7, 0x00];
