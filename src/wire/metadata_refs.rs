//! What a 2.0 request says of metric families. Senders repeat it with every series; here it is taken once.
//!
//! Within a request most are known by their numbers alone, what it has said of a name having a place by the name's. What
//! former requests have said is known by a key, which is put together from hashes that there are; whoever gets an entry
//! twice finds that he has it.

use super::WireError;
use super::batch_writer::BatchWriter;
use super::padded::Place;
use super::plain_sample::MetadataRefs;
use super::references::{Table, metric_name};
use crate::model::metadata::family_of;
use crate::model::{MetadataAt, MetricType, Span, Told};

/// No symbol has this place.
const NO_NAME: u32 = u32::MAX;

/// A metric name, as a place in the symbols, and what is said of it.
type Said = (u32, MetadataRefs);

/// So many names have a place, a power of two.
const PLACES: usize = 1024;

/// What has been met in a request, but for what has given its place to another.
pub(super) struct Met {
    said: [Said; PLACES],
}

impl Met {
    pub(super) fn new() -> Self {
        Self { said: [(NO_NAME, MetadataRefs::default()); PLACES] }
    }

    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "a remainder is below what it is divided by")]
    fn place(&mut self, name: u32) -> &mut Said {
        &mut self.said[name as usize % PLACES]
    }

    /// Takes what is said of the series whose references lie at `references`, the metric name in front.
    #[inline(always)]
    pub(super) fn take_plain<P: Fn(u64) -> usize>(
        &mut self,
        table: Table<'_>,
        references: Place,
        refs: MetadataRefs,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<(), WireError> {
        match metric_name(table.body, references) {
            Some(name) if *self.place(name) != (name, refs) => self.take(table, name, refs, writer),
            _ => Ok(()),
        }
    }

    /// Takes what is said of the series whose metric name is the symbol at `name`. The symbols that `refs` means are there.
    #[inline(never)]
    pub(super) fn take<P: Fn(u64) -> usize>(
        &mut self,
        table: Table<'_>,
        name: u32,
        refs: MetadataRefs,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<(), WireError> {
        *self.place(name) = (name, refs);
        match entry(table, name, refs, writer.told) {
            Some(entry) => writer.put_metadata(table.body, entry, entry.family.offset as usize),
            None => Ok(()),
        }
    }
}

/// What is said, with its texts; `None` if that is nothing, or nothing new.
fn entry(table: Table<'_>, name: u32, refs: MetadataRefs, told: &Told) -> Option<MetadataAt> {
    let kind = MetricType::of(u64::from(refs.kind));
    let symbol = |reference: u32| table.symbols.get(reference as usize);
    let (name_symbol, help, unit) = (symbol(name)?, symbol(refs.help)?, symbol(refs.unit)?);
    if kind == MetricType::Unknown && help.text.len == 0 && unit.text.len == 0 {
        return None;
    }
    let keys = table.fingerprinter;
    // Neither sum nor product would do: a help text is no unit.
    let mut hash = keys.label(name_symbol.hash, help.hash);
    hash += keys.label(help.hash, unit.hash);
    let key = hash.fingerprint(keys).check.wrapping_add(kind as u64);
    if told.knows(key) {
        return None;
    }
    let family = u32::try_from(family_of(table.text(name)?, kind).len()).ok()?;
    let family = Span { len: family, ..name_symbol.text };
    Some(MetadataAt { family, kind, help: help.text, unit: unit.text, key })
}

#[cfg(test)]
mod tests {
    use crate::model::{Fingerprinter, WriteBatch};
    use crate::wire::{Counts, decode_v2};

    /// A request of one series for each name and what is said of it: type, help text and unit.
    fn request(said: &[(&str, u8, &str, &str)]) -> Vec<u8> {
        let symbol = |out: &mut Vec<u8>, text: &str| {
            out.extend([0x22, u8::try_from(text.len()).unwrap()]);
            out.extend(text.as_bytes());
        };
        let (mut body, mut series) = (Vec::new(), Vec::new());
        ["", "__name__"].iter().for_each(|text| symbol(&mut body, text));
        for (at, (name, kind, help, unit)) in (2u8..).step_by(3).zip(said) {
            [name, help, unit].iter().for_each(|text| symbol(&mut body, text));
            series.extend(b"\x2a\x15\x0a\x02\x01");
            series.push(at);
            series.extend(b"\x12\x07\x10\x80\xd0\x95\xff\xbc\x31");
            series.extend([0x2a, 6, 0x08, *kind, 0x18, at + 1, 0x20, at + 2]);
        }
        body.extend(series);
        body
    }

    /// What of a request goes to the shards: family and help text.
    fn told(batch: &mut WriteBatch, said: &[(&str, u8, &str, &str)]) -> Vec<(String, String)> {
        let mut counts = Counts::default();
        let body = request(said);
        decode_v2(body, &Fingerprinter::new(1), 1, |_| 0, batch, &mut counts).unwrap();
        assert_eq!(counts.metadata, said.len() as u64);
        let text = |span| String::from_utf8(batch.text.get(span).unwrap().to_vec()).unwrap();
        batch.parts[0].metadata.iter().map(|m| (text(m.family), text(m.help))).collect()
    }

    #[test]
    fn what_shards_have_stored_is_told_once_and_what_differs_in_anything_is_told() {
        let mut batch = WriteBatch::default();
        let first = [("a", 2, "A.", ""), ("a", 2, "A.", ""), ("b_sum", 3, "B.", "s")];
        let expected = [("a", "A."), ("b", "B.")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let twice = told(&mut batch, &first);
        assert_eq!(twice.iter().collect::<std::collections::BTreeSet<_>>().len(), 2);
        assert_eq!(told(&mut batch, &first[1..]), expected, "nobody has stored it yet");
        batch.is_told();
        assert_eq!(told(&mut batch, &first), []);
        for other in
            [("a", 1, "A.", ""), ("a", 2, "", "A."), ("c", 2, "A.", ""), ("b_sum", 3, "s", "B.")]
        {
            assert_eq!(told(&mut batch, &[other]).len(), 1, "{other:?}");
        }
        batch.told.forget_before(1);
        assert_eq!(told(&mut batch, &first[1..]), expected);
    }
}
