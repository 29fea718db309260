//! What senders say of the metric families that belong to a shard: type, help text, unit.
//!
//! Several senders may differ, so a family has several entries, the newest first. An entry that is known costs a look and no
//! record; one that is new makes a record of all entries of its family. A text that changes with a new version of its sender
//! would stand beside the old one for ever: an entry is passed over once nobody has repeated it for [`REPEATED_MS`] and somebody
//! another one of its family, and goes when the family gets a new one. Senders repeat what they know within a minute.
//!
//! Bounded: families, entries of each, and bytes of text, of one entry and of all. What is beyond is refused and counted;
//! what the log has was taken, and is not refused when it is read back. Families stay when their series go: blocks have
//! those still.

use std::collections::HashMap;
use std::rc::Rc;

use super::Head;
use crate::encoding::batch::PAYLOAD_BYTES_MAX;
use crate::encoding::record::{SavedFamily, push_family, push_metadata};
use crate::model::refusal::LABEL_BYTES_MAX;
use crate::model::{Family, LabelText, Metadata, MetadataAt, MetadataRef, TimestampMs};
use crate::storage::wal::LogBuffer;

/// Families that a shard takes.
pub const FAMILIES_MAX: usize = 1 << 16;
/// Entries that a family has.
pub const ENTRIES_MAX: usize = 8;
/// Bytes of the texts of one entry, the name of its family included.
pub const ENTRY_BYTES_MAX: usize = 16 << 10;
/// Bytes of the texts of all entries of a shard.
pub const BYTES_MAX: usize = 32 << 20;
/// An entry that nobody has repeated for so long is not what is said now, in milliseconds.
pub const REPEATED_MS: i64 = 60 * 60 * 1000;

/// The families of a shard, in the order in which they came.
#[derive(Debug, Default)]
pub struct Families {
    by_name: HashMap<Rc<str>, usize>,
    families: Vec<Known>,
    /// Bytes of all texts.
    bytes: usize,
    /// When something was said first since the start: until then nothing that was read back can have been repeated.
    since: Option<TimestampMs>,
    /// Entries that were refused since the start.
    refused: u64,
}

/// What is said of one family.
#[derive(Debug)]
struct Known {
    name: Rc<str>,
    /// The newest first.
    entries: Vec<Entry>,
}

/// What some senders say.
#[derive(Debug)]
struct Entry {
    said: Metadata,
    /// When it was said last; `None`: not since the start.
    repeated: Option<TimestampMs>,
}

/// What became of something that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is known, or it is nothing.
    Before,
    /// It is new: the family at this place has changed.
    New(usize),
    /// There is no room for it, or it is about nothing.
    Refused,
}

/// What a shard's families come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FamilyStats {
    /// Families.
    pub families: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Entries that were refused since the start.
    pub refused: u64,
}

impl Known {
    /// Bytes of the texts of an entry of this family.
    fn bytes(name: &str, said: MetadataRef<'_>) -> usize {
        name.len() + said.help.len() + said.unit.len()
    }

    /// Is this entry what somebody says now?
    fn is_current(&self, entry: &Entry, since: Option<TimestampMs>) -> bool {
        let repeated = |entry: &Entry| entry.repeated.or(since);
        let newest = self.entries.iter().filter_map(repeated).max();
        newest <= repeated(entry).map(|t| t.saturating_add(REPEATED_MS))
    }
}

impl Families {
    /// Takes what is said of a family.
    pub fn say(&mut self, name: &str, said: MetadataRef<'_>, now: TimestampMs) -> Said {
        if said.is_empty() {
            return Said::Before;
        }
        let since = *self.since.get_or_insert(now);
        let added = Known::bytes(name, said);
        let Some(index) = self.by_name.get(name).copied() else {
            let fits = self.families.len() < FAMILIES_MAX && self.bytes + added <= BYTES_MAX;
            if name.is_empty() || added > ENTRY_BYTES_MAX || !fits {
                return self.refuse();
            }
            let index = self.add(name);
            return self.enter(index, said, now);
        };
        let Some(family) = self.families.get_mut(index) else { return Said::Refused };
        if let Some(known) = family.entries.iter_mut().find(|entry| entry.said.as_ref() == said) {
            known.repeated = known.repeated.max(Some(now));
            return Said::Before;
        }
        if added > ENTRY_BYTES_MAX || self.bytes + added > BYTES_MAX {
            return self.refuse();
        }
        // What is said now is newer than all that was.
        family.entries.retain(|entry| {
            let repeated = entry.repeated.unwrap_or(since);
            let stays = now <= repeated.saturating_add(REPEATED_MS);
            self.bytes -= if stays { 0 } else { Known::bytes(name, entry.said.as_ref()) };
            stays
        });
        if family.entries.len() >= ENTRIES_MAX {
            self.refuse()
        } else {
            self.enter(index, said, now)
        }
    }

    fn refuse(&mut self) -> Said {
        self.refused += 1;
        Said::Refused
    }

    fn add(&mut self, name: &str) -> usize {
        let (index, name) = (self.families.len(), Rc::<str>::from(name));
        self.by_name.insert(Rc::clone(&name), index);
        self.families.push(Known { name, entries: Vec::new() });
        index
    }

    fn enter(&mut self, index: usize, said: MetadataRef<'_>, now: TimestampMs) -> Said {
        let Some(family) = self.families.get_mut(index) else { return Said::Refused };
        self.bytes += Known::bytes(&family.name, said);
        family.entries.insert(0, Entry { said: said.to_owned(), repeated: Some(now) });
        Said::New(index)
    }

    /// Takes over what the log tells of a family.
    pub fn replay(&mut self, saved: &SavedFamily<'_>) {
        let known = self.by_name.get(saved.name).copied();
        let index = known.unwrap_or_else(|| self.add(saved.name));
        let Some(family) = self.families.get_mut(index) else { return };
        let bytes = |said| Known::bytes(saved.name, said);
        self.bytes -= family.entries.iter().map(|entry| bytes(entry.said.as_ref())).sum::<usize>();
        self.bytes += saved.entries.iter().map(|said| bytes(*said)).sum::<usize>();
        let entry = |said: &MetadataRef<'_>| Entry { said: (*said).to_owned(), repeated: None };
        family.entries = saved.entries.iter().map(entry).collect();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.families.len()
    }

    /// None?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// What they come to.
    #[must_use]
    pub fn stats(&self) -> FamilyStats {
        let (families, bytes) = (self.families.len() as u64, self.bytes as u64);
        FamilyStats { families, bytes, refused: self.refused }
    }

    /// Counts on from where others have ended.
    pub(super) fn count_on(&mut self, before: &Self) {
        self.refused += before.refused;
    }

    /// What is said now of the family at `index`, in the order in which they came; the newest first.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<Family> {
        let family = self.families.get(index)?;
        let current = family.entries.iter().filter(|entry| family.is_current(entry, self.since));
        Some((family.name.to_string(), current.map(|entry| entry.said.clone()).collect()))
    }

    /// The same of the family of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<Family> {
        self.at(*self.by_name.get(name)?)
    }

    /// Appends what is said of the family at `index` to the body of a record.
    fn push(&self, index: usize, body: &mut Vec<u8>) {
        if let Some(family) = self.families.get(index) {
            let entries = family.entries.iter().map(|entry| entry.said.as_ref());
            push_family(body, &family.name, entries);
        }
    }

    /// Appends a record of the families from `from` to `end` to a checkpoint's payload, as many as fit into some `bytes`; where
    /// to go on.
    pub(super) fn save(
        &self,
        from: usize,
        end: usize,
        bytes: usize,
        payload: &mut Vec<u8>,
    ) -> usize {
        let (mut body, mut at) = (Vec::new(), from);
        while at < end && body.len() < bytes {
            self.push(at, &mut body);
            at += 1;
        }
        if !body.is_empty() {
            push_metadata(payload, &body);
        }
        at
    }
}

impl Head {
    /// What is said of the metric families.
    #[must_use]
    pub fn families(&self) -> &Families {
        &self.families
    }

    /// The same, to be changed.
    pub fn families_mut(&mut self) -> &mut Families {
        &mut self.families
    }

    /// Takes what a request says of metric families, and puts what is new of it into `log`.
    ///
    /// - `metadata`: so much at a time that others need not wait for long.
    pub fn append_metadata(
        &mut self,
        metadata: &[MetadataAt],
        text: &LabelText,
        now: TimestampMs,
        log: &mut LogBuffer,
    ) {
        let (mut changed, mut body) = (Vec::new(), Vec::new());
        for at in metadata {
            // A long text is not looked at: a request of 2.0 may refer to it again and again.
            let bytes = u64::from(at.family.len) + u64::from(at.help.len) + u64::from(at.unit.len);
            let fits = bytes <= ENTRY_BYTES_MAX as u64;
            match fits.then(|| text.metadata(at)).flatten() {
                Some((name, said)) => match self.families.say(name, said, now) {
                    Said::New(index) => changed.push(index),
                    Said::Before | Said::Refused => {}
                },
                None => _ = self.families.refuse(),
            }
        }
        changed.sort_unstable();
        changed.dedup();
        for index in changed {
            self.families.push(index, &mut body);
            if body.len() >= RECORD_BYTES {
                log.metadata(&body);
                body.clear();
            }
        }
        if !body.is_empty() {
            log.metadata(&body);
        }
    }
}

/// A record takes no further family when it has so many bytes.
const RECORD_BYTES: usize = 256 << 10;

/// What a family takes of a record at most, in bytes: texts, and the numbers before them.
const FAMILY_BYTES_MAX: usize = ENTRIES_MAX * (ENTRY_BYTES_MAX + 32);

const _: () = assert!(
    RECORD_BYTES + FAMILY_BYTES_MAX < PAYLOAD_BYTES_MAX / 2 && FAMILY_BYTES_MAX < LABEL_BYTES_MAX,
    "a log takes a record in any state, and a checkpoint as it does a series"
);

#[cfg(test)]
mod tests {
    use super::super::testing::{keys, restore, saved};
    use super::*;
    use crate::encoding::batch::HEADER_BYTES;
    use crate::model::{MetricType, Span};

    const START: TimestampMs = TimestampMs(1_700_000_000_000);

    fn gauge(help: &str) -> MetadataRef<'_> {
        MetadataRef { kind: MetricType::Gauge, help, unit: "" }
    }

    fn later(ms: i64) -> TimestampMs {
        START.saturating_add(ms)
    }

    fn helps(families: &Families, name: &str) -> Vec<String> {
        let entries = families.of(name).map_or_else(Vec::new, |(_, entries)| entries);
        entries.into_iter().map(|said| said.help).collect()
    }

    /// A request that says this of families.
    fn append(head: &mut Head, log: &mut LogBuffer, said: &[(&str, &str)]) {
        let (mut text, mut metadata) = (LabelText::default(), Vec::new());
        for (name, help) in said {
            let mut span = |part: &str| {
                let offset = u32::try_from(text.body.len()).unwrap();
                text.body.extend(part.as_bytes());
                Span { offset, len: u32::try_from(part.len()).unwrap() }
            };
            let (family, help, unit) = (span(name), span(help), span(""));
            metadata.push(MetadataAt { family, kind: MetricType::Gauge, help, unit, key: 0 });
        }
        head.append_metadata(&metadata, &text, START, log);
    }

    fn logged(log: &mut LogBuffer) -> Vec<u8> {
        log.take().iter().flat_map(|payload| payload[HEADER_BYTES..].to_vec()).collect()
    }

    #[test]
    fn what_differs_stands_side_by_side_and_the_newest_in_front() {
        let mut families = Families::default();
        assert_eq!(families.say("a", gauge("Old."), START), Said::New(0));
        assert_eq!(families.say("a", gauge("New."), later(1)), Said::New(0));
        assert_eq!(families.say("a", gauge("Old."), later(2)), Said::Before);
        assert_eq!(helps(&families, "a"), ["New.", "Old."]);
        assert_eq!(families.say("b", MetadataRef::default(), START), Said::Before, "it is nothing");
        assert_eq!(families.len(), 1);
    }

    #[test] // a text that a new version of a sender changed would stand in Grafana for ever
    fn what_nobody_repeats_is_passed_over_once_something_else_is_said() {
        let mut families = Families::default();
        families.say("a", gauge("Old."), START);
        families.say("a", gauge("New."), later(1000));
        families.say("a", gauge("New."), later(REPEATED_MS));
        assert_eq!(helps(&families, "a"), ["New.", "Old."]);
        families.say("a", gauge("New."), later(REPEATED_MS + 1));
        assert_eq!(helps(&families, "a"), ["New."]);
        families.say("a", gauge("Old."), later(REPEATED_MS + 2));
        assert_eq!(helps(&families, "a"), ["New.", "Old."], "it was held all the while");
    }

    #[test]
    fn what_is_said_alone_stays_however_long_ago_it_was() {
        let mut families = Families::default();
        families.say("a", gauge("A."), START);
        families.say("b", gauge("B."), later(1 << 50));
        assert_eq!(helps(&families, "a"), ["A."]);
    }

    #[test]
    fn what_was_read_back_counts_from_when_something_is_said_first() {
        let mut families = Families::default();
        families.replay(&SavedFamily { name: "a", entries: vec![gauge("New."), gauge("Old.")] });
        assert_eq!(helps(&families, "a"), ["New.", "Old."]);
        families.say("a", gauge("New."), START);
        families.say("a", gauge("New."), later(REPEATED_MS));
        assert_eq!(helps(&families, "a"), ["New.", "Old."]);
        families.say("a", gauge("New."), later(REPEATED_MS + 1));
        assert_eq!(helps(&families, "a"), ["New."]);
    }

    #[test]
    fn a_family_with_all_its_entries_takes_another_when_one_is_not_repeated() {
        let mut families = Families::default();
        for i in 0..ENTRIES_MAX {
            let now = later(i64::try_from(i).unwrap());
            assert_eq!(families.say("a", gauge(&format!("{i}")), now), Said::New(0));
        }
        assert_eq!(families.say("a", gauge("8"), later(REPEATED_MS)), Said::Refused);
        assert_eq!(families.say("a", gauge("8"), later(REPEATED_MS + 2)), Said::New(0));
        assert_eq!(helps(&families, "a"), ["8", "7", "6", "5", "4", "3", "2"]);
        assert_eq!(families.stats(), FamilyStats { families: 1, bytes: 14, refused: 1 });
    }

    #[test]
    fn names_and_texts_beyond_the_limits_are_refused_and_counted() {
        let mut families = Families::default();
        let long = "x".repeat(ENTRY_BYTES_MAX);
        assert_eq!(families.say("", gauge("No name."), START), Said::Refused);
        assert_eq!(families.say("a", gauge(&long), START), Said::Refused);
        assert_eq!(families.say("a", gauge(&long[1..]), START), Said::New(0));
        assert_eq!(families.say("a", gauge(&long), START), Said::Refused);
        families.bytes = BYTES_MAX - 2;
        assert_eq!(families.say("b", gauge("??"), START), Said::Refused);
        assert_eq!(families.say("a", gauge("??"), START), Said::Refused);
        assert_eq!(families.say("b", gauge("?"), START), Said::New(1));
        families.bytes = 0;
        (2..FAMILIES_MAX).for_each(|i| _ = families.say(&i.to_string(), gauge("?"), START));
        assert_eq!(families.len(), FAMILIES_MAX);
        assert_eq!(families.say("one more", gauge("?"), START), Said::Refused);
        assert_eq!(families.say("a", gauge("?"), START), Said::New(0), "of a known one");
        assert_eq!(families.stats().refused, 6);
    }

    #[test]
    fn only_what_is_new_is_logged_and_texts_that_are_none_are_refused() {
        let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
        append(&mut head, &mut log, &[("a", "A."), ("b", "B."), ("a", "A."), ("a", "Also.")]);
        let mut back = Head::new(keys());
        restore(&mut back, &logged(&mut log));
        assert_eq!(helps(back.families(), "a"), ["Also.", "A."]);
        assert_eq!(helps(back.families(), "b"), ["B."]);
        append(&mut head, &mut log, &[("a", "A."), ("b", "B."), ("", "")]);
        assert!(log.is_empty());
        let nowhere = Span { offset: 0, len: 1 };
        let text = LabelText { body: b"\xff".to_vec(), ..LabelText::default() };
        let kind = MetricType::Gauge;
        let at = MetadataAt { family: nowhere, kind, help: nowhere, unit: nowhere, key: 0 };
        head.append_metadata(&[at], &text, START, &mut log);
        assert!(log.is_empty());
        assert_eq!(head.families().stats().refused, 2);
    }

    #[test]
    fn families_come_back_from_a_checkpoint_that_is_saved_in_pieces() {
        let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
        let names: Vec<String> = (0..100).map(|i| format!("family {i}")).collect();
        for help in ["Old.", "New."] {
            let said: Vec<_> = names.iter().map(|name| (name.as_str(), help)).collect();
            append(&mut head, &mut log, &said);
        }
        let mut back = Head::new(keys());
        // What the log behind it repeats changes nothing.
        restore(&mut back, &[saved(&head, 100), logged(&mut log)].concat());
        let all = |head: &Head| {
            (0..head.families().len()).map(|i| head.families().at(i)).collect::<Vec<_>>()
        };
        assert_eq!(all(&back), all(&head));
        assert_eq!(back.families().stats(), head.families().stats());
    }
}
