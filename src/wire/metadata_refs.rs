//! What a 2.0 request says of metric families. Senders repeat it with every series; here it is taken once.
//!
//! Owns what has been met in one request. Series of a family stand side by side, so most are known by the one before; the others
//! are looked up in a small table that forgets, because whoever gets an entry twice finds that he has it.

use super::WireError;
use super::batch_writer::BatchWriter;
use super::padded::Place;
use super::plain_sample::MetadataRefs;
use super::references::{Table, metric_name};
use crate::model::metadata::family_of;
use crate::model::{MetadataAt, MetricType, Span};

/// So many entries are remembered, a power of two.
const REMEMBERED: usize = 512;

/// No symbol has this place.
const NO_NAME: u32 = u32::MAX;

/// A metric name, as a place in the symbols, and what is said of it.
type Said = (u32, MetadataRefs);

/// What has been met in one request.
pub(super) struct Met {
    last: Said,
    /// By the lowest bits of the name's place; nothing before the first entry.
    seen: Vec<Said>,
}

impl Met {
    pub(super) fn new() -> Self {
        Self { last: (NO_NAME, MetadataRefs::default()), seen: Vec::new() }
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
            Some(name) if self.last != (name, refs) => self.take(table, name, refs, writer),
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
        self.last = (name, refs);
        if self.seen.is_empty() {
            self.seen.resize(REMEMBERED, (NO_NAME, MetadataRefs::default()));
        }
        match self.seen.get_mut(name as usize % REMEMBERED) {
            Some(slot) if *slot == self.last => return Ok(()),
            Some(slot) => *slot = self.last,
            None => {}
        }
        match entry(table, name, refs) {
            Some(entry) => writer.put_metadata(table.body, entry, entry.family.offset as usize),
            None => Ok(()),
        }
    }
}

/// What is said, with its texts; `None` if that is nothing.
fn entry(table: Table<'_>, name: u32, refs: MetadataRefs) -> Option<MetadataAt> {
    let kind = MetricType::of(u64::from(refs.kind));
    let span = |reference: u32| Some(table.symbols.get(reference as usize)?.text);
    let (help, unit) = (span(refs.help)?, span(refs.unit)?);
    if kind == MetricType::Unknown && help.len == 0 && unit.len == 0 {
        return None;
    }
    let family = u32::try_from(family_of(table.text(name)?, kind).len()).ok()?;
    Some(MetadataAt { family: Span { len: family, ..span(name)? }, kind, help, unit })
}
