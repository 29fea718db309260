//! What the tests of a Head share: requests in few words.

use std::collections::BTreeMap;

use super::saved::Saving;
use super::{Appended, Head};
use crate::encoding::record::{Record, records};
use crate::model::{
    Fingerprinter, LabelText, Labels, LabelsAt, Part, PartEntry, Sample, SeriesRef, Span,
    TimeRange, TimestampMs,
};
use crate::storage::wal::LogBuffer;

/// The key that the heads of these tests are made with.
pub fn keys() -> Fingerprinter {
    Fingerprinter::new(1)
}

/// A sample.
pub fn sample(t: i64, v: f64) -> Sample {
    Sample { t: TimestampMs(t), v }
}

/// The label sets that tests number.
pub fn labels(series: u32) -> Labels {
    let (series, parity) = (series.to_string(), (series % 2).to_string());
    Labels::from_pairs([("__name__", "m"), ("series", &series), ("parity", &parity)]).unwrap()
}

/// A request: numbered series and their samples.
pub fn request(series: &[(u32, Vec<Sample>)]) -> (Part, LabelText) {
    let (mut part, mut text) = (Part::default(), LabelText::default());
    for (series, samples) in series {
        let labels = labels(*series);
        let span = Span {
            offset: u32::try_from(text.body.len()).unwrap(),
            len: u32::try_from(labels.as_bytes().len()).unwrap(),
        };
        text.body.extend_from_slice(labels.as_bytes());
        part.samples.extend(samples);
        part.entries.push(PartEntry {
            fingerprint: keys().of(labels.as_ref()),
            labels: LabelsAt::Canonical(span),
            samples_end: u32::try_from(part.samples.len()).unwrap(),
        });
    }
    (part, text)
}

/// Sends samples of one series; no clock stands in their way.
pub fn send(head: &mut Head, log: &mut LogBuffer, series: u32, samples: &[Sample]) -> Appended {
    let (part, text) = request(&[(series, samples.to_vec())]);
    let bounds = head.bounds(TimestampMs(1 << 60));
    head.append(&part, 0..1, &text, bounds, log)
}

/// The index of a numbered series.
pub fn index_of(head: &Head, series: u32) -> Option<u32> {
    head.find(keys().of(labels(series).as_ref()), None)
}

/// What of a numbered series is in memory.
pub fn read(head: &Head, series: u32) -> Vec<Sample> {
    let mut samples = Vec::new();
    if let Some(index) = index_of(head, series) {
        head.read(index, TimeRange::ALL, &mut samples);
    }
    samples
}

/// The payload of a checkpoint of all of a Head, saved in pieces of so many bytes.
pub fn saved(head: &Head, bytes: usize) -> Vec<u8> {
    let (mut payload, mut saving) = (Vec::new(), Saving::begin(head));
    while !saving.is_done() {
        saving = head.save(saving, bytes, &mut payload);
    }
    payload
}

/// Takes a checkpoint's payload over.
pub fn restore(head: &mut Head, payload: &[u8]) {
    let mut replay = Replay::default();
    for record in records(payload) {
        replay.take(head, record.unwrap());
    }
}

/// What is known while a checkpoint and a log are read back.
#[derive(Default)]
pub struct Replay {
    /// Of each reference the index that its series has now.
    pub indexes: BTreeMap<SeriesRef, u32>,
}

impl Replay {
    /// Takes a record over; not tombstones and cuts, which are work for who has the files.
    pub fn take(&mut self, head: &mut Head, record: Record<'_>) {
        let indexes = &mut self.indexes;
        match record {
            Record::Series(series) => series.map(Result::unwrap).for_each(|(reference, labels)| {
                indexes.insert(reference, head.replay_series(labels, reference).unwrap());
            }),
            Record::SavedSeries(record) => {
                let named = |reference, index: Option<u32>| {
                    indexes.insert(reference, index.unwrap());
                };
                head.replay_saved_series(record, None, named).unwrap();
            }
            Record::Samples(samples) => samples.iter().for_each(|logged| {
                head.replay_sample(indexes[&logged.series], logged.sample);
            }),
            Record::Chunks(chunks) => chunks.map(Result::unwrap).for_each(|chunk| {
                assert!(head.replay_chunk(indexes[&chunk.series], chunk));
            }),
            Record::SpilledChunks(places) => places.map(Result::unwrap).for_each(|place| {
                assert!(head.replay_spilled(indexes[&place.series], place));
            }),
            Record::LateChunks(chunks) => chunks.map(Result::unwrap).for_each(|chunk| {
                assert!(head.replay_late_chunk(indexes[&chunk.series], chunk));
            }),
            Record::OpenChunks(chunks) => chunks.map(Result::unwrap).for_each(|chunk| {
                assert!(head.replay_open_chunk(indexes[&chunk.series], chunk));
            }),
            Record::Exemplars(exemplars) => {
                exemplars.map(Result::unwrap).for_each(|saved| head.replay_exemplar(saved));
            }
            Record::Metadata(families) => {
                families.map(Result::unwrap).for_each(|family| head.families_mut().replay(&family));
            }
            other => panic!("not taken over here: {other:?}"),
        }
    }
}
