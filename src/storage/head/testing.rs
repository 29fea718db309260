//! What the tests of a Head share: requests in few words.

use super::{Appended, Head};
use crate::model::{
    Fingerprinter, LabelText, Labels, LabelsAt, Part, PartEntry, Sample, Span, TimeRange,
    TimestampMs,
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
