//! One write request as flat arrays, split by the shard that owns each series.
//!
//! Filled by `wire` in one walk over the request, handed to the shards by `coordinator`, applied by `storage`.
//! The buffers are reused from request to request: nothing here is allocated per sample.

use std::sync::Arc;

use super::{Fingerprint, Refusal, Sample};

/// [`WriteBatch::refused`] names at most this many series of a request; those beyond are only counted.
pub const REFUSALS_MAX: usize = 64;

/// A write request, decoded and routed.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// The label text that the parts' spans point into.
    pub text: Arc<LabelText>,
    /// One part a shard, in order of the shards; parts may be empty.
    pub parts: Vec<Part>,
    /// What was refused while decoding, so that no shard sees it: the first [`REFUSALS_MAX`] series of it.
    pub refused: Vec<Refusal>,
}

impl WriteBatch {
    /// Takes the last request's buffer out, to decompress the next one into; a new one if a shard still holds it.
    /// What was decoded from it is lost.
    #[must_use]
    pub fn reclaim_body(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text_mut().body)
    }

    /// The text, to be filled; another one if a shard still holds this one.
    pub fn text_mut(&mut self) -> &mut LabelText {
        if Arc::get_mut(&mut self.text).is_none() {
            self.text = Arc::default();
        }
        Arc::make_mut(&mut self.text)
    }

    /// Forgets the last request but for its text, keeps the room, and has one empty part for each of `shards`.
    pub fn start(&mut self, shards: usize) {
        self.parts.resize_with(shards, Part::default);
        self.parts.iter_mut().for_each(Part::clear);
        self.refused.clear();
    }
}

/// What one shard gets of a request.
#[derive(Debug, Default)]
pub struct Part {
    /// The series, in the request's order.
    pub entries: Vec<PartEntry>,
    /// Their samples: those of `entries[i]` end before `entries[i].samples_end` and begin where those of `i - 1` end.
    pub samples: Vec<Sample>,
}

/// One series of a request: who it is and where its samples end.
#[derive(Debug, Clone, Copy)]
pub struct PartEntry {
    /// What the series is recognised by.
    pub fingerprint: Fingerprint,
    /// Its canonical label bytes in [`LabelText`]. Not yet known to be UTF-8: a new series is checked when it is made.
    pub labels: Span,
    /// Index into [`Part::samples`] just behind this series' last one.
    pub samples_end: u32,
}

/// A place in [`LabelText`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the start of the text.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// The bytes that spans point into: the decoded request itself, and behind it, as if appended, the label sets that did
/// not lie there in canonical form.
#[derive(Clone, Debug, Default)]
pub struct LabelText {
    /// The decoded request, and the padding that the decoder put behind it.
    pub body: Vec<u8>,
    /// Canonical forms of label sets that the request spells otherwise.
    pub rewritten: Vec<u8>,
}

impl LabelText {
    /// The bytes of `span`; `None` if it points outside.
    #[must_use]
    pub fn get(&self, span: Span) -> Option<&[u8]> {
        let (offset, len) = (span.offset as usize, span.len as usize);
        match offset.checked_sub(self.body.len()) {
            Some(offset) => self.rewritten.get(offset..offset.checked_add(len)?),
            None => self.body.get(offset..offset.checked_add(len)?),
        }
    }
}

impl Part {
    /// Forgets everything, keeps the room.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.samples.clear();
    }

    /// Nothing in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, each with its samples.
    pub fn iter(&self) -> impl Iterator<Item = (&PartEntry, &[Sample])> {
        self.iter_within(0..self.entries.len())
    }

    /// Some of the entries, each with its samples.
    pub fn iter_within(
        &self,
        entries: std::ops::Range<usize>,
    ) -> impl Iterator<Item = (&PartEntry, &[Sample])> {
        let before = entries.start.checked_sub(1).and_then(|last| self.entries.get(last));
        let mut start = before.map_or(0, |entry| entry.samples_end as usize);
        self.entries.get(entries).unwrap_or_default().iter().map(move |entry| {
            let end = entry.samples_end as usize;
            let samples = self.samples.get(start..end).unwrap_or_default();
            start = end;
            (entry, samples)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_behind_the_body_points_into_what_was_rewritten() {
        let text = LabelText { body: b"abc".to_vec(), rewritten: b"defg".to_vec() };
        assert_eq!(text.get(Span { offset: 1, len: 2 }), Some(&b"bc"[..]));
        assert_eq!(text.get(Span { offset: 4, len: 2 }), Some(&b"ef"[..]));
        assert_eq!(text.get(Span { offset: 2, len: 2 }), None);
        assert_eq!(text.get(Span { offset: u32::MAX, len: u32::MAX }), None);
    }

    #[test]
    fn a_buffer_is_used_again_unless_a_shard_still_holds_it() {
        let mut batch = WriteBatch::default();
        batch.text_mut().body = b"first".to_vec();
        let held = Arc::clone(&batch.text);
        assert_eq!(batch.reclaim_body(), b"");
        assert_eq!(held.body, b"first");
        batch.text_mut().body = b"second".to_vec();
        assert_eq!(batch.reclaim_body(), b"second");
    }
}
