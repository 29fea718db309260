//! Golden bytes, round trips, and bytes that are not records.

use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::encoding::xor::{Words, XorAppender};
use crate::model::{
    BlockRange, ExemplarRef, Labels, LabelsRef, Metadata, MetadataRef, MetricType, Sample,
    SeriesRef, TimeRange, TimestampMs,
};

fn logged(series: u64, t: i64, v: f64) -> LoggedSample {
    LoggedSample { series: SeriesRef(series), sample: Sample { t: TimestampMs(t), v } }
}

fn body_of<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    sets.into_iter().for_each(|labels| push_labels(&mut body, labels));
    body
}

fn read(payload: &[u8]) -> (Vec<(SeriesRef, String)>, Vec<LoggedSample>) {
    let (mut series, mut samples) = (Vec::new(), Vec::new());
    for record in records(payload) {
        match record.unwrap() {
            Record::Series(record) => {
                series.extend(record.map(|s| s.map(|(r, l)| (r, l.to_string())).unwrap()))
            }
            Record::Samples(record) => samples.extend(record.iter()),
            other => panic!("not a record of the log: {other:?}"),
        }
    }
    (series, samples)
}

#[test] // golden bytes: the format cannot drift unseen
fn records_have_these_bytes() {
    let mut out = Vec::new();
    let (a, b) =
        (Labels::from_pairs([("a", "1")]).unwrap(), Labels::from_pairs([("b", "2")]).unwrap());
    push_series(&mut out, SeriesRef(7), 2, &body_of([a.as_bytes(), b.as_bytes()]));
    push_samples(&mut out, &[logged(7, 1000, 1.5), logged(8, 1000, 2.0)]);
    push_samples(&mut out, &[logged(8, 1000, 1.5), logged(7, 999, 2.0)]);
    push_samples(&mut out, &[logged(8, 0, 1.5), logged(7, i64::MAX, 2.0)]);
    push_cut(&mut out, a_cut());
    push_tombstones(&mut out, &REFERENCES, deleted());
    push_families(&mut out);
    push_some_exemplars(&mut out);
    let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        include_str!("../../../tests/golden/wal_records.hex")
            .split_whitespace()
            .collect::<String>()
    );
}

const REFERENCES: [SeriesRef; 4] = [SeriesRef(7), SeriesRef(8), SeriesRef(u64::MAX), SeriesRef(1)];

fn deleted() -> TimeRange {
    TimeRange::new(TimestampMs(-1), TimestampMs(1000)).unwrap()
}

#[test]
fn tombstones_come_back_and_of_no_series_there_are_none() {
    let mut out = Vec::new();
    push_tombstones(&mut out, &[], deleted());
    assert!(out.is_empty());
    push_tombstones(&mut out, &REFERENCES, deleted());
    let Some(Ok(Record::Tombstones(record))) = records(&out).next() else { panic!("one record") };
    assert_eq!(record.range, deleted());
    assert_eq!(record.map(Result::unwrap).collect::<Vec<_>>(), REFERENCES);
}

/// A series, the labels of an exemplar, its value and its time.
type Example = (&'static [u8], &'static [u8], f64, i64);
const EXAMPLES: [Example; 4] = [
    (PAIRS[0], PAIRS[1], 1.5, 1000),
    (PAIRS[0], b"", 0.0, -1),
    (PAIRS[1], b"", 0.0, -1),
    (b"", PAIRS[0], 2.0, 0),
];

fn push_some_exemplars(out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let mut before = None;
    for (series, labels, value, t) in EXAMPLES {
        let exemplar = ExemplarRef { labels: LabelsRef::trusted(labels), value, t: TimestampMs(t) };
        let is_same = before.replace(series) == Some(series);
        push_exemplar(&mut body, (!is_same).then(|| LabelsRef::trusted(series)), exemplar);
    }
    push_exemplars(out, &body);
}

#[test]
fn exemplars_come_back() {
    let mut out = Vec::new();
    push_some_exemplars(&mut out);
    let Some(Ok(Record::Exemplars(record))) = records(&out).next() else { panic!("one record") };
    let read = record.map(|saved| {
        let SavedExemplar { series, exemplar: ExemplarRef { labels, value, t } } = saved.unwrap();
        (series.as_bytes(), labels.as_bytes(), value, t.0)
    });
    assert_eq!(read.collect::<Vec<_>>(), EXAMPLES);
}

#[test]
fn the_first_exemplar_of_a_record_has_a_series() {
    let (mut body, mut out) = (Vec::new(), Vec::new());
    let exemplar = ExemplarRef { labels: LabelsRef::trusted(b""), value: 1.0, t: TimestampMs(1) };
    push_exemplar(&mut body, None, exemplar);
    push_exemplars(&mut out, &body);
    let Some(Ok(Record::Exemplars(mut record))) = records(&out).next() else {
        panic!("one record")
    };
    assert!(matches!(record.next(), Some(Err(RecordError::Body { .. }))));
}

#[test]
fn an_exemplar_whose_labels_are_no_set_is_an_error() {
    let (mut body, mut out) = (Vec::new(), Vec::new());
    let labels = [PAIRS[1], PAIRS[0]].concat();
    let exemplar =
        ExemplarRef { labels: LabelsRef::trusted(&labels), value: 1.0, t: TimestampMs(1) };
    push_exemplar(&mut body, Some(LabelsRef::trusted(PAIRS[0])), exemplar);
    push_exemplars(&mut out, &body);
    let Some(Ok(Record::Exemplars(mut record))) = records(&out).next() else {
        panic!("one record")
    };
    assert!(matches!(record.next(), Some(Err(RecordError::Labels(_)))));
    assert!(record.next().is_none());
}

fn push_families(out: &mut Vec<u8>) {
    let mut body = Vec::new();
    for SavedFamily { name, entries } in families() {
        push_family(&mut body, name, entries.into_iter());
    }
    push_metadata(out, &body);
}

fn families() -> [SavedFamily<'static>; 3] {
    let said = |kind, help, unit| MetadataRef { kind, help, unit };
    let (old, new) =
        (said(MetricType::Counter, "Old.", ""), said(MetricType::Counter, "New.", "seconds"));
    [
        SavedFamily { name: "a_total", entries: vec![new, old] },
        SavedFamily { name: "b", entries: vec![said(MetricType::StateSet, "é", "")] },
        SavedFamily { name: "c", entries: vec![] },
    ]
}

#[test]
fn what_is_said_of_families_comes_back() {
    let mut out = Vec::new();
    push_families(&mut out);
    let Some(Ok(Record::Metadata(record))) = records(&out).next() else { panic!("one record") };
    assert_eq!(record.map(Result::unwrap).collect::<Vec<_>>(), families());
}

fn a_cut() -> CutRecord {
    let range = BlockRange::new(TimestampMs(7_200_000), TimestampMs(14_400_000)).unwrap();
    CutRecord { ulid: Ulid::from_string("01BKGV7JBM69T2G1BGBGM6KB12").unwrap(), range }
}

#[test]
fn a_cut_comes_back() {
    let mut out = Vec::new();
    push_cut(&mut out, a_cut());
    let Some(Ok(Record::Cut(record))) = records(&out).next() else { panic!("one record") };
    assert_eq!(record, a_cut());
}

fn push_checkpoint_records(out: &mut Vec<u8>) {
    push_checkpoint(out, CheckpointRecord { first_segment: 5, next_sequence: 77 });
    let mut body = Vec::new();
    let range = TimeRange::new(TimestampMs(1), TimestampMs(2)).unwrap();
    push_chunk(&mut body, SeriesRef(7), 1, range, b"chunk");
    push_chunks(out, &body);
    let (mut words, mut appender, mut body) = (Words::default(), XorAppender::new(), Vec::new());
    appender.append(&mut words, TimestampMs(1000), 1.5);
    push_open_chunk(&mut body, SeriesRef(8), TimestampMs(7_200_000), &appender, &words);
    push_open_chunks(out, &body);
    let mut body = Vec::new();
    push_chunk(&mut body, SeriesRef(9), 1, range, b"late");
    push_late_chunks(out, &body);
    let mut body = SpilledBody::default();
    places().into_iter().for_each(|place| body.push(place));
    push_spilled_chunks(out, &body);
    let mut body = SavedSeriesBody::default();
    assert_eq!(PAIRS.map(|pair| body.push_pair(pair)), [0, 1]);
    SAVED.iter().for_each(|(reference, pairs, _)| body.push(SeriesRef(*reference), pairs));
    push_saved_series(out, &body);
    let mut body = Vec::new();
    OPEN_HISTOGRAMS.into_iter().for_each(|saved| push_open_histogram(&mut body, saved));
    push_open_histograms(out, &body);
}

/// Canonical bytes of `a="1"` and `b="2"`.
const PAIRS: [&[u8]; 2] = [b"\x0a\x06\x0a\x01a\x12\x011", b"\x0a\x06\x0a\x01b\x12\x012"];
/// A reference, pairs as they are pushed, and as they come back.
type Saved = (u64, &'static [Option<u32>], &'static [u32]);
const SAVED: [Saved; 4] = [
    (7, &[Some(0), Some(1)], &[0, 1]),
    (8, &[None, Some(300)], &[0, 300]),
    (u64::MAX, &[None], &[0]),
    (1, &[], &[]),
];

fn places() -> [SpillPlace; 3] {
    let range = |min, max| TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap();
    let place = |series, file, offset, range, late| SpillPlace {
        series: SeriesRef(series),
        file,
        offset,
        len: 200,
        encoding: 1,
        range,
        late,
    };
    [
        place(9, 1, 4096, range(1000, 2000), false),
        SpillPlace { encoding: 3, ..place(9, 2, 0, range(2500, 2500), false) },
        place(7, 1, 70_000, range(-5, 1500), true),
    ]
}

#[test] // golden bytes: what a version that had floats alone has written is still read
fn places_of_floats_come_back_from_an_older_record() {
    let body = [
        &b"\x12\x02\x80\x20\xc8\x01\xd0\x0f\xe8\x07"[..],
        b"\x00\x04\x00\xc8\x01\xe8\x07\x00",
        b"\x03\x03\xf0\xa2\x04\xc8\x01\x91\x27\xe1\x0b",
    ]
    .concat();
    let len = u32::try_from(body.len()).unwrap().to_le_bytes();
    let record = [&[20][..], &len, &body].concat();
    let Some(Ok(Record::SpilledChunks(read))) = records(&record).next() else { panic!("a record") };
    let floats = places().map(|place| SpillPlace { encoding: 1, ..place });
    assert_eq!(read.map(Result::unwrap).collect::<Vec<_>>(), floats);
}

const OPEN_HISTOGRAMS: [SavedOpenHistogram<'static>; 2] = [
    SavedOpenHistogram {
        series: SeriesRef(7),
        encoding: 2,
        next_at: Some(TimestampMs(1000)),
        bytes: b"open",
    },
    SavedOpenHistogram { series: SeriesRef(8), encoding: 3, next_at: None, bytes: b"" },
];

#[test] // golden bytes: the format cannot drift unseen
fn checkpoint_records_have_these_bytes() {
    let mut out = Vec::new();
    push_checkpoint_records(&mut out);
    let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        include_str!("../../../tests/golden/checkpoint_records.hex")
            .split_whitespace()
            .collect::<String>()
    );
}

#[test]
fn checkpoint_records_come_back() {
    let mut out = Vec::new();
    push_checkpoint_records(&mut out);
    let mut records = records(&out).map(Result::unwrap);
    let Some(Record::Checkpoint(begin)) = records.next() else { panic!("the first record") };
    assert_eq!(begin, CheckpointRecord { first_segment: 5, next_sequence: 77 });
    let Some(Record::Chunks(mut chunks)) = records.next() else { panic!("the second record") };
    let chunk = chunks.next().unwrap().unwrap();
    assert_eq!((chunk.series, chunk.encoding, chunk.bytes), (SeriesRef(7), 1, &b"chunk"[..]));
    let Some(Record::OpenChunks(mut open)) = records.next() else { panic!("the third record") };
    let open = open.next().unwrap().unwrap();
    assert_eq!(
        (open.series, open.next_at, open.appender.count()),
        (SeriesRef(8), TimestampMs(7_200_000), 1)
    );
    let Some(Record::LateChunks(mut late)) = records.next() else { panic!("the fourth record") };
    assert_eq!(late.next().unwrap().unwrap().bytes, b"late");
    let Some(Record::SpilledChunks(spilled)) = records.next() else { panic!("the fifth record") };
    assert_eq!(spilled.map(Result::unwrap).collect::<Vec<_>>(), places());
    let Some(Record::SavedSeries(mut saved)) = records.next() else { panic!("the sixth record") };
    assert_eq!(saved.pairs.map(|pair| pair.unwrap().as_bytes()).collect::<Vec<_>>(), PAIRS);
    for (reference, _, pairs) in SAVED {
        let series = saved.series.next_series().unwrap().unwrap();
        assert_eq!((series.reference, series.pairs), (SeriesRef(reference), pairs));
    }
    assert!(saved.series.next_series().is_none());
    let Some(Record::OpenHistograms(open)) = records.next() else { panic!("the seventh record") };
    assert_eq!(open.map(Result::unwrap).collect::<Vec<_>>(), OPEN_HISTOGRAMS);
}

#[test]
fn an_unknown_kind_stops_the_reader_and_names_itself() {
    let mut out = Vec::new();
    push_samples(&mut out, &[logged(1, 2, 3.0)]);
    let offset = out.len();
    out.extend_from_slice(&[99, 0, 0, 0, 0]);
    let last = records(&out).last().unwrap();
    assert_eq!(last.unwrap_err(), RecordError::UnknownKind { offset, kind: 99 });
}

#[test]
fn references_that_lie_far_apart_take_two_records() {
    let far = [logged(1, 5, 1.0), logged(u64::from(u32::MAX) + 2, 5, 2.0), logged(3, 5, 3.0)];
    let mut out = Vec::new();
    push_samples(&mut out, &far);
    assert_eq!(records(&out).count(), 2);
    assert_eq!(read(&out).1, far);
}

proptest! {
    #[test]
    fn any_samples_come_back(samples in proptest::collection::vec((0u64..1000, any::<i64>(), any::<u64>()), 0..50)) {
        let samples: Vec<_> = samples.into_iter().map(|(r, t, v)| logged(r, t, f64::from_bits(v))).collect();
        let mut out = Vec::new();
        push_samples(&mut out, &samples);
        prop_assert_eq!(read(&out).1, samples);
    }

    #[test]
    fn any_exemplars_come_back(
        exemplars in proptest::collection::vec(
            ("[a-z]{1,9}", "[^\0]{1,9}", any::<u64>(), any::<i64>()), 0..9,
        ),
    ) {
        let (mut body, mut out) = (Vec::new(), Vec::new());
        let set = |name: &str, value: &str| Labels::from_pairs([(name, value)]).unwrap();
        for (name, value, bits, t) in &exemplars {
            let (series, labels) = (set("__name__", name), set(name, value));
            let (value, t) = (f64::from_bits(*bits), TimestampMs(*t));
            let exemplar = ExemplarRef { labels: labels.as_ref(), value, t };
            push_exemplar(&mut body, Some(series.as_ref()), exemplar);
        }
        push_exemplars(&mut out, &body);
        let Some(Ok(Record::Exemplars(record))) = records(&out).next() else { panic!("one record") };
        let read: Vec<_> = record.map(|saved| {
            let SavedExemplar { series, exemplar } = saved.unwrap();
            let name = series.get("__name__").unwrap().to_owned();
            let value = exemplar.labels.get(&name).unwrap().to_owned();
            (name, value, exemplar.value.to_bits(), exemplar.t.0)
        }).collect();
        prop_assert_eq!(read, exemplars);
    }

    #[test]
    fn any_families_come_back(
        families in proptest::collection::vec(
            (".{0,9}", proptest::collection::vec((0u64..8, ".{0,40}", ".{0,9}"), 0..4)), 0..9,
        ),
    ) {
        let said = |(kind, help, unit): &'_ (u64, String, String)| Metadata {
            kind: MetricType::of(*kind), help: help.clone(), unit: unit.clone(),
        };
        let families: Vec<(String, Vec<Metadata>)> =
            families.iter().map(|(name, all)| (name.clone(), all.iter().map(said).collect())).collect();
        let (mut body, mut out) = (Vec::new(), Vec::new());
        for (name, entries) in &families {
            push_family(&mut body, name, entries.iter().map(Metadata::as_ref));
        }
        push_metadata(&mut out, &body);
        let Some(Ok(Record::Metadata(record))) = records(&out).next() else { panic!("one record") };
        let owned = |saved: SavedFamily<'_>| {
            (saved.name.to_owned(), saved.entries.iter().map(|said| (*said).to_owned()).collect())
        };
        prop_assert_eq!(record.map(|family| owned(family.unwrap())).collect::<Vec<_>>(), families);
    }

    #[test]
    fn any_series_come_back(first in 0u64..1 << 60, names in proptest::collection::vec("[a-z]{1,9}", 1..9)) {
        let sets: Vec<_> = names.iter().map(|n| Labels::from_pairs([("n", n.as_str())]).unwrap()).collect();
        let mut out = Vec::new();
        push_series(&mut out, SeriesRef(first), u32::try_from(sets.len()).unwrap(), &body_of(sets.iter().map(Labels::as_bytes)));
        let want: Vec<_> = (first..).map(SeriesRef).zip(sets.iter().map(ToString::to_string)).collect();
        prop_assert_eq!(read(&out).0, want);
    }

    #[test]
    fn cut_flipped_and_random_bytes_never_panic(
        samples in proptest::collection::vec((0u64..1000, any::<i64>()), 1..20),
        noise in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 0..5),
        cut in any::<prop::sample::Index>(),
        random in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut out = Vec::new();
        push_series(&mut out, SeriesRef(1), 1, &body_of([&b"\x0a\x06\x0a\x01a\x12\x011"[..]]));
        push_samples(&mut out, &samples.iter().map(|(r, t)| logged(*r, *t, 0.0)).collect::<Vec<_>>());
        push_checkpoint_records(&mut out);
        push_cut(&mut out, a_cut());
        push_families(&mut out);
        push_some_exemplars(&mut out);
        for (at, byte) in noise {
            let at = at.index(out.len());
            out[at] = byte;
        }
        out.truncate(cut.index(out.len() + 1));
        for bytes in [out, random] {
            for record in records(&bytes).flatten() {
                match record {
                    Record::Series(record) => { let _ = record.count(); }
                    Record::Samples(record) => prop_assert_eq!(record.iter().count(), record.len()),
                    Record::Chunks(record) | Record::LateChunks(record) => { let _ = record.count(); }
                    Record::OpenChunks(record) => { let _ = record.count(); }
                    Record::Starts(record) => { let _ = record.count(); }
                    Record::OpenHistograms(record) => { let _ = record.count(); }
                    Record::Histograms(mut record) => while record.next_histogram().is_some() {},
                    Record::FloatHistograms(mut record) => while record.next_histogram().is_some() {},
                    Record::SpilledChunks(record) => { let _ = record.count(); }
                    Record::SavedSeries(mut record) => {
                        let _ = record.pairs.count();
                        while record.series.next_series().is_some() {}
                    }
                    Record::Checkpoint(_) | Record::Cut(_) => {}
                    Record::Tombstones(record) => record.for_each(drop),
                    Record::Metadata(record) => record.for_each(drop),
                    Record::Exemplars(record) => record.for_each(drop),
                }
            }
        }
    }
}
