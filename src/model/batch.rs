//! One write request as flat arrays, split by the shard that owns each series.
//!
//! Filled by `wire` in one walk over the request, handed to the shards by `coordinator`, applied by `storage`.
//! The buffers are reused from request to request: nothing here is allocated per sample.

use std::borrow::Cow;
use std::sync::Arc;

use super::fingerprint::TextHash;
use super::labels::{canonical_len, push_canonical};
use super::refusal::LABEL_BYTES_MAX;
use super::{
    Fingerprint, HistogramList, MetadataRef, MetricType, Refusal, Sample, TimestampMs, Told,
};

/// [`WriteBatch::refused`] names at most this many series of a request; those beyond are only counted.
pub const REFUSALS_MAX: usize = 64;

/// A write request, decoded and routed.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// The text of the parts' labels.
    pub text: Arc<LabelText>,
    /// One part a shard, in order of the shards; parts may be empty.
    pub parts: Vec<Part>,
    /// What was refused while decoding, so that no shard sees it: the first [`REFUSALS_MAX`] series of it.
    pub refused: Vec<Refusal>,
    /// Are start timestamps of samples to be kept? They cost a place each, and only some blocks have room for them.
    pub wants_starts: bool,
    /// What former requests have said of metric families: it is not told again.
    pub told: Told,
}

impl WriteBatch {
    /// Takes the last request's buffer out, to decompress the next one into; a new one if a shard still holds it.
    /// What was decoded from it is lost.
    #[must_use]
    pub fn reclaim_body(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text_mut().body)
    }

    /// Remembers what the request has said of metric families: all shards have stored it.
    pub fn is_told(&mut self) {
        let said = self.parts.iter().flat_map(|part| &part.metadata);
        said.for_each(|metadata| self.told.remember(metadata.key));
    }

    /// The text, to be filled; another one if a shard still holds this one.
    pub fn text_mut(&mut self) -> &mut LabelText {
        if Arc::get_mut(&mut self.text).is_none() {
            self.text = Arc::default();
        }
        Arc::make_mut(&mut self.text)
    }

    /// Forgets the last request but for its text and for what was told, keeps the room, and has one empty part for each of `shards`.
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
    /// Since when the counters count of which samples say it, in the order of the samples; nothing unless it is wanted.
    pub starts: Vec<StartAt>,
    /// The series of which the request has native histograms, in its order; a series may stand among `entries` as well.
    pub histogram_entries: Vec<HistogramEntry>,
    /// Their histograms, each valid: those of `histogram_entries[i]` end before `histogram_entries[i].end` and begin where
    /// those of `i - 1` end.
    pub histograms: HistogramList,
    /// What the request says of metric families that belong to this shard, whoever has their series.
    pub metadata: Vec<MetadataAt>,
    /// Exemplars of series of this shard, whether the request has samples of them or not.
    pub exemplars: Vec<ExemplarAt>,
}

/// Since when a sample's counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartAt {
    /// The sample's place in [`Part::samples`].
    pub sample: u32,
    /// Since when; not zero, which is not known.
    pub start: TimestampMs,
}

/// An exemplar of a request, its labels in order and not too long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExemplarAt {
    /// What its series is recognised by.
    pub fingerprint: Fingerprint,
    /// The labels of its series.
    pub series: LabelsAt,
    /// Its own labels, their canonical bytes. Not yet known to be UTF-8.
    pub labels: Span,
    /// What it measured.
    pub value: f64,
    /// When.
    pub t: TimestampMs,
}

/// What a request says of one metric family. The texts are not yet known to be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataAt {
    /// The family's name.
    pub family: Span,
    /// What kind of metric it is.
    pub kind: MetricType,
    /// What it says, for people.
    pub help: Span,
    /// In which unit.
    pub unit: Span,
    /// By which [`Told`] knows the entry.
    pub key: u64,
}

/// One series of a request: who it is and where its samples end.
#[derive(Debug, Clone, Copy)]
pub struct PartEntry {
    /// What the series is recognised by.
    pub fingerprint: Fingerprint,
    /// Its labels in [`LabelText`]. Not yet known to be UTF-8: a new series is checked when it is made.
    pub labels: LabelsAt,
    /// Index into [`Part::samples`] just behind this series' last one.
    pub samples_end: u32,
}

/// One series of a request with native histograms.
#[derive(Debug, Clone, Copy)]
pub struct HistogramEntry {
    /// What the series is recognised by.
    pub fingerprint: Fingerprint,
    /// Its labels in [`LabelText`], as those of a [`PartEntry`].
    pub labels: LabelsAt,
    /// Index into [`Part::histograms`] just behind this series' last one.
    pub end: u32,
}

/// Where a label set is, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelsAt {
    /// Its canonical bytes.
    Canonical(Span),
    /// References to symbols as remote write 2.0 packs them, name and value in turn, in canonical order: varints. The
    /// text of a series that is known is never put together.
    References(Span),
}

/// A place in [`LabelText`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the start of the text.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// The text of a request's labels. Spans point into the decoded request itself, and behind it, as if appended, into the
/// label sets that did not lie there in canonical form.
#[derive(Clone, Debug, Default)]
pub struct LabelText {
    /// The decoded request, and the padding that the decoder put behind it.
    pub body: Vec<u8>,
    /// Canonical forms of label sets that the request spells otherwise.
    pub rewritten: Vec<u8>,
    /// What references refer to, by index; none in 1.0.
    pub symbols: Vec<Symbol>,
}

/// A name or a value of a 2.0 request.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    /// Where its text is.
    pub text: Span,
    /// The hash of its text.
    pub hash: TextHash,
}

impl LabelText {
    /// The canonical bytes of a label set, put together if they lie nowhere. `None` if it points outside, or has more bytes
    /// than a series may have.
    #[must_use]
    pub fn canonical(&self, labels: LabelsAt) -> Option<Cow<'_, [u8]>> {
        let mut references = match labels {
            LabelsAt::Canonical(span) => return self.get(span).map(Cow::Borrowed),
            LabelsAt::References(span) => self.get(span)?,
        };
        let mut canonical = Vec::new();
        while !references.is_empty() {
            let (name, value) = (self.symbol(&mut references)?, self.symbol(&mut references)?);
            if canonical.len() + canonical_len(name.len(), value.len()) > LABEL_BYTES_MAX {
                return None;
            }
            push_canonical(&mut canonical, name, value);
        }
        Some(Cow::Owned(canonical))
    }

    /// The text of the symbol whose reference is in front of `references`, which is taken off.
    fn symbol(&self, references: &mut &[u8]) -> Option<&[u8]> {
        let mut reference = 0usize;
        for shift in [0, 7, 14, 21, 28] {
            let (byte, rest) = references.split_first()?;
            *references = rest;
            reference |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return self.get(self.symbols.get(reference)?.text);
            }
        }
        None
    }

    /// What is said of a family, and its name; `None` for texts that are not UTF-8, or lie outside.
    #[must_use]
    pub fn metadata(&self, at: &MetadataAt) -> Option<(&str, MetadataRef<'_>)> {
        let text = |span| std::str::from_utf8(self.get(span)?).ok();
        let (help, unit) = (text(at.help)?, text(at.unit)?);
        Some((text(at.family)?, MetadataRef { kind: at.kind, help, unit }))
    }

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
    /// The oldest instant that it has a sample of.
    #[must_use]
    pub fn oldest(&self) -> Option<TimestampMs> {
        let of_floats = self.samples.iter().map(|sample| sample.t).min();
        let of_histograms = self.histograms.times().min();
        [of_floats, of_histograms].into_iter().flatten().min()
    }

    /// Forgets everything, keeps the room.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.samples.clear();
        self.starts.clear();
        self.histogram_entries.clear();
        self.histograms.clear();
        self.metadata.clear();
        self.exemplars.clear();
    }

    /// Nothing in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.histogram_entries.is_empty()
            && self.metadata.is_empty()
            && self.exemplars.is_empty()
    }

    /// The entries, each with its samples.
    pub fn iter(&self) -> impl Iterator<Item = (&PartEntry, &[Sample])> {
        self.iter_within(0..self.entries.len())
    }

    /// The series with native histograms, each with the places of its histograms.
    pub fn histogram_series(
        &self,
    ) -> impl Iterator<Item = (&HistogramEntry, std::ops::Range<usize>)> {
        self.histogram_series_within(0..self.histogram_entries.len())
    }

    /// Some of the series with native histograms, each with the places of its histograms.
    pub fn histogram_series_within(
        &self,
        entries: std::ops::Range<usize>,
    ) -> impl Iterator<Item = (&HistogramEntry, std::ops::Range<usize>)> {
        let before = entries.start.checked_sub(1).and_then(|last| self.histogram_entries.get(last));
        let mut start = before.map_or(0, |entry| entry.end as usize);
        self.histogram_entries.get(entries).unwrap_or_default().iter().map(move |entry| {
            let places = start..entry.end as usize;
            start = places.end;
            (entry, places)
        })
    }

    /// Where the samples of an entry begin.
    #[must_use]
    pub fn samples_begin(&self, entry: usize) -> u32 {
        let before = entry.checked_sub(1).and_then(|last| self.entries.get(last));
        before.map_or(0, |entry| entry.samples_end)
    }

    /// The starts of samples of some of the entries.
    #[must_use]
    pub fn starts_within(&self, entries: std::ops::Range<usize>) -> &[StartAt] {
        let place = |entry| {
            let begin = self.samples_begin(entry);
            self.starts.partition_point(|at| at.sample < begin)
        };
        if self.starts.is_empty() {
            return &[]; // nearly always
        }
        self.starts.get(place(entries.start)..place(entries.end)).unwrap_or_default()
    }

    /// Some of the entries, each with its samples.
    pub fn iter_within(
        &self,
        entries: std::ops::Range<usize>,
    ) -> impl Iterator<Item = (&PartEntry, &[Sample])> {
        let mut start = self.samples_begin(entries.start) as usize;
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
    use crate::model::Labels;

    #[test]
    fn a_span_behind_the_body_points_into_what_was_rewritten() {
        let (body, rewritten) = (b"abc".to_vec(), b"defg".to_vec());
        let text = LabelText { body, rewritten, symbols: Vec::new() };
        assert_eq!(text.get(Span { offset: 1, len: 2 }), Some(&b"bc"[..]));
        assert_eq!(text.get(Span { offset: 4, len: 2 }), Some(&b"ef"[..]));
        assert_eq!(text.get(Span { offset: 2, len: 2 }), None);
        assert_eq!(text.get(Span { offset: u32::MAX, len: u32::MAX }), None);
    }

    /// Names and values one behind the other, and behind them packed references.
    fn text(symbols: &[&str], references: &[u8]) -> (LabelText, LabelsAt) {
        let mut text = LabelText::default();
        let span = |offset: usize, len: usize| Span {
            offset: u32::try_from(offset).unwrap(),
            len: u32::try_from(len).unwrap(),
        };
        for symbol in symbols {
            let place = span(text.body.len(), symbol.len());
            text.body.extend(symbol.as_bytes());
            text.symbols.push(Symbol { text: place, hash: TextHash::default() });
        }
        let at = LabelsAt::References(span(text.body.len(), references.len()));
        text.body.extend(references);
        (text, at)
    }

    #[test]
    fn references_are_written_as_the_set_they_refer_to() {
        let (text, at) = text(&["", "__name__", "up", "job"], &[1, 2, 3, 0x82, 0x80, 0]);
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "up")]).unwrap();
        assert_eq!(text.canonical(at).as_deref(), Some(labels.as_bytes()));
    }

    #[test]
    fn references_that_are_cut_odd_or_point_outside_are_no_set() {
        for references in
            [&[1][..], &[1, 2, 3], &[1, 0x82], &[1, 4], &[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0]]
        {
            let (text, at) = text(&["", "__name__", "up", "job"], references);
            assert_eq!(text.canonical(at), None, "{references:?}");
        }
    }

    #[test] // two bytes can refer to megabytes
    fn a_set_is_put_together_up_to_what_a_series_may_have() {
        for (len, is_some) in [(LABEL_BYTES_MAX - 27, true), (LABEL_BYTES_MAX - 26, false)] {
            let value = "v".repeat(len);
            let (text, at) = text(&["__name__", "up", "a", &value], &[0, 1, 2, 3]);
            assert_eq!(text.canonical(at).is_some(), is_some, "{len}");
        }
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
