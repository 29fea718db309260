//! What is said of metric families: all entries that a family has from here on.
//!
//! A record replaces what earlier ones said of a family, so that reading one twice, as behind a checkpoint that was written
//! while the log went on, comes to the same.

use super::{METADATA, RecordError, begin, end, next_entry};
use crate::encoding::varint;
use crate::model::{MetadataRef, MetricType};

/// Appends a family and its entries to the body of a record that is being gathered.
pub fn push_family<'a>(
    body: &mut Vec<u8>,
    name: &str,
    entries: impl ExactSizeIterator<Item = MetadataRef<'a>>,
) {
    push_text(body, name);
    varint::push_unsigned(body, entries.len() as u64);
    for MetadataRef { kind, help, unit } in entries {
        body.push(kind as u8);
        push_text(body, unit);
        push_text(body, help);
    }
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    varint::push_unsigned(body, text.len() as u64);
    body.extend_from_slice(text.as_bytes());
}

/// Appends a record of families; `body` was gathered with [`push_family`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_metadata(out: &mut Vec<u8>, body: &[u8]) {
    let start = begin(out, METADATA);
    out.extend_from_slice(body);
    end(out, start);
}

/// Families, and what is said of each.
#[derive(Clone, Copy, Debug)]
pub struct MetadataRecord<'a> {
    rest: &'a [u8],
}

/// A family, and all that is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedFamily<'a> {
    /// Its name.
    pub name: &'a str,
    /// What different senders say of it.
    pub entries: Vec<MetadataRef<'a>>,
}

impl<'a> MetadataRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    fn text(&mut self) -> Option<&'a str> {
        let (len, rest) = varint::split_unsigned(self.rest)?;
        let (text, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    fn family(&mut self) -> Option<SavedFamily<'a>> {
        let name = self.text()?;
        let (count, rest) = varint::split_unsigned(self.rest)?;
        self.rest = rest;
        let mut entries = Vec::new();
        for _ in 0..count {
            let (kind, rest) = self.rest.split_first()?;
            self.rest = rest;
            let (unit, help) = (self.text()?, self.text()?);
            entries.push(MetadataRef { kind: MetricType::of(u64::from(*kind)), help, unit });
        }
        Some(SavedFamily { name, entries })
    }
}

impl<'a> Iterator for MetadataRecord<'a> {
    type Item = Result<SavedFamily<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_entry(
            self,
            |record| &mut record.rest,
            Self::family,
            "a metadata record ends within a family, or has a text that is not UTF-8",
        )
    }
}
