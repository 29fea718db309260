//! What the tests of a Head share: requests in few words.

use std::collections::BTreeMap;

use super::saved::Saving;
use super::{Appended, Head};
use crate::encoding::record::{HistogramsRecord, LoggedCount, LoggedHistogram, Record, records};
use crate::model::histogram::Span as HistogramSpan;
use crate::model::{
    AnyHistogram, AnyHistogramRef, Fingerprinter, HistogramEntry, HistogramRef, HistogramSample,
    LabelText, Labels, LabelsAt, Part, PartEntry, Sample, Samples, SeriesRef, Span, TimeRange,
    TimestampMs, Value, ValueRef,
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

/// Sends histograms of one series, likewise.
pub fn send_histograms(
    head: &mut Head,
    log: &mut LogBuffer,
    series: u32,
    histograms: &[HistogramSample],
) -> Appended {
    let (mut part, text) = request(&[(series, Vec::new())]);
    let PartEntry { fingerprint, labels, .. } = part.entries.remove(0);
    for HistogramSample { t, histogram } in histograms {
        part.histograms.push(*t, histogram.as_ref());
    }
    let end = u32::try_from(histograms.len()).unwrap();
    part.histogram_entries.push(HistogramEntry { fingerprint, labels, end });
    let bounds = head.bounds(TimestampMs(1 << 60));
    head.append_histograms(&part, 0..1, &text, bounds, log)
}

/// The value that has this number: floats, integer and float histograms take turns, some of each.
pub fn numbered(n: u32) -> Value {
    let spans = [HistogramSpan { offset: i32::try_from(n / 64 % 5).unwrap(), length: 1 }];
    match n / 16 % 4 {
        2 => {
            let buckets = [i64::from(n)];
            let h = HistogramRef::<u64> {
                count: u64::from(n),
                sum: f64::from(n),
                positive_spans: &spans,
                positive_buckets: &buckets,
                ..HistogramRef::empty()
            };
            Value::Histogram(AnyHistogram::Int(h.to_histogram()))
        }
        3 => {
            let buckets = [f64::from(n)];
            let h = HistogramRef::<f64> {
                count: f64::from(n),
                sum: f64::from(n),
                positive_spans: &spans,
                positive_buckets: &buckets,
                ..HistogramRef::empty()
            };
            Value::Histogram(AnyHistogram::Float(h.to_histogram()))
        }
        _ => Value::Float(f64::from(n)),
    }
}

/// The number of a value, which is no other.
pub fn number_of(value: ValueRef<'_>) -> u32 {
    let n = match value {
        ValueRef::Float(v) => v,
        ValueRef::Histogram(AnyHistogramRef::Int(h)) => h.count as f64,
        ValueRef::Histogram(AnyHistogramRef::Float(h)) => h.count,
    };
    // A whole number below 2^32 stands in the low bits of itself and 2^52.
    let n = u32::try_from((n + 4_503_599_627_370_496.0).to_bits() & 0xffff_ffff).unwrap();
    assert!(numbered(n).as_ref().is_same_sample(value), "{value:?} is not number {n}");
    n
}

/// A request: one numbered value of a numbered series.
pub fn request_of(series: u32, t: i64, n: u32) -> (Part, LabelText) {
    match numbered(n) {
        Value::Float(v) => request(&[(series, vec![sample(t, v)])]),
        Value::Histogram(histogram) => {
            let (mut part, text) = request(&[(series, Vec::new())]);
            let PartEntry { fingerprint, labels, .. } = part.entries.remove(0);
            part.histograms.push(TimestampMs(t), histogram.as_ref());
            part.histogram_entries.push(HistogramEntry { fingerprint, labels, end: 1 });
            (part, text)
        }
    }
}

/// Sends a numbered value; no clock stands in its way. Also gives what was sent.
pub fn send_numbered(
    head: &mut Head,
    log: &mut LogBuffer,
    series: u32,
    t: i64,
    n: u32,
) -> (Appended, Part, LabelText) {
    let (part, text) = request_of(series, t, n);
    let bounds = head.bounds(TimestampMs(1 << 60));
    let mut appended = head.append(&part, 0..part.entries.len(), &text, bounds, log);
    let entries = 0..part.histogram_entries.len();
    let histograms = head.append_histograms(&part, entries, &text, bounds, log);
    appended.written += histograms.histograms_written;
    appended.refused.append(histograms.refused);
    appended.doubtful.extend(histograms.doubtful);
    (appended, part, text)
}

/// The index of a numbered series.
pub fn index_of(head: &Head, series: u32) -> Option<u32> {
    head.find(keys().of(labels(series).as_ref()), None)
}

/// What of a numbered series is in memory: floats alone.
pub fn read(head: &Head, series: u32) -> Vec<Sample> {
    let samples = read_all(head, series);
    assert!(samples.histograms.is_empty(), "floats are asked for");
    samples.floats
}

/// What of a numbered series is in memory, histograms included.
pub fn read_all(head: &Head, series: u32) -> Samples {
    let mut samples = Samples::default();
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

/// Takes a checkpoint's payload over, to its end.
pub fn restore(head: &mut Head, payload: &[u8]) {
    let mut replay = Replay::default();
    for record in records(payload) {
        replay.take(head, record.unwrap());
    }
    head.finish_replay();
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
            Record::Starts(starts) => starts.map(Result::unwrap).for_each(|logged| {
                head.replay_start(indexes[&logged.series], logged.from, logged.start);
            }),
            Record::Histograms(record) => take_histograms(indexes, head, record),
            Record::FloatHistograms(record) => take_histograms(indexes, head, record),
            Record::OpenHistograms(chunks) => chunks.map(Result::unwrap).for_each(|chunk| {
                assert!(head.replay_open_histogram(indexes[&chunk.series], chunk));
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

fn take_histograms<C: LoggedCount>(
    indexes: &BTreeMap<SeriesRef, u32>,
    head: &mut Head,
    mut record: HistogramsRecord<'_, C>,
) {
    while let Some(logged) = record.next_histogram() {
        let LoggedHistogram { series, t, histogram } = logged.unwrap();
        assert!(head.replay_histogram(indexes[&series], t, C::any(histogram)));
    }
}
