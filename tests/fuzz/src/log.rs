//! The log of a shard, its checkpoints, and the other files that a shard has beside blocks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use floodplain::encoding::batch::{self, BatchHeader};
use floodplain::encoding::chunk;
use floodplain::encoding::histogram::{Coded, HistogramAppender};
use floodplain::encoding::record::{self, LoggedCount, Record};
use floodplain::encoding::spilled::{self, SpilledHeader};
use floodplain::encoding::xor::{self, Words, XorAppender};
use floodplain::io::sim::{NoPace, SimDisk, run};
use floodplain::io::{BLOCK_BYTES, Disk, File};
use floodplain::model::histogram::Span;
use floodplain::model::{
    BlockRange, ExemplarRef, Fingerprinter, HistogramRef, Labels, LabelsRef, MetadataRef,
    MetricType, Sample, Samples, SeriesRef, TimeRange, TimestampMs,
};
use floodplain::shard::manifest::Manifest;
use floodplain::storage::files::{self, FileOptions, dirs};
use floodplain::storage::head::Head;
use floodplain::storage::replay::Layout;
use floodplain::storage::wal::{SegmentId, SegmentReader, SyncMode};
use ulid::Ulid;

use crate::chunk::same_samples;
use crate::{golden, mend};

/// A whole record once more, from what was read of it, and what was read, as text.
fn again(record: Record<'_>) -> Option<(Vec<u8>, String)> {
    let (mut out, mut body) = (Vec::new(), Vec::new());
    let text = match record {
        Record::Series(record) => {
            let mut first = None;
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            for (reference, labels) in &all {
                first.get_or_insert(*reference);
                record::push_labels(&mut body, labels.as_bytes());
            }
            let count = u32::try_from(all.len()).unwrap();
            record::push_series(&mut out, first.unwrap_or(SeriesRef(0)), count, &body);
            format!("{all:?}")
        }
        Record::Samples(record) => {
            let all: Vec<_> = record.iter().collect();
            assert_eq!((all.len(), all.is_empty()), (record.len(), record.is_empty()));
            record::push_samples(&mut out, &all);
            let bits = |logged: &record::LoggedSample| {
                (logged.series, logged.sample.t, logged.sample.v.to_bits())
            };
            format!("{:?}", all.iter().map(bits).collect::<Vec<_>>())
        }
        Record::Exemplars(record) => {
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            let mut text = String::new();
            for saved in &all {
                record::push_exemplar(&mut body, Some(saved.series), saved.exemplar);
                let (series, ExemplarRef { labels, value, t }) = (saved.series, saved.exemplar);
                text += &format!("{series:?} {labels:?} {} {t:?}, ", value.to_bits());
            }
            record::push_exemplars(&mut out, &body);
            text
        }
        Record::Metadata(record) => {
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            for family in &all {
                record::push_family(&mut body, family.name, family.entries.iter().copied());
            }
            record::push_metadata(&mut out, &body);
            format!("{all:?}")
        }
        Record::Tombstones(record) => {
            let range = record.range;
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            record::push_tombstones(&mut out, &all, range);
            format!("{range:?} {all:?}")
        }
        Record::Cut(cut) => {
            record::push_cut(&mut out, cut);
            format!("{cut:?}")
        }
        Record::Checkpoint(checkpoint) => {
            record::push_checkpoint(&mut out, checkpoint);
            format!("{checkpoint:?}")
        }
        Record::Chunks(record) => {
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            for chunk in &all {
                let record::SavedChunk { series, encoding, range, bytes } = *chunk;
                record::push_chunk(&mut body, series, encoding, range, bytes);
            }
            record::push_chunks(&mut out, &body);
            format!("{all:?}")
        }
        Record::LateChunks(record) => {
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            for chunk in &all {
                let record::SavedChunk { series, encoding, range, bytes } = *chunk;
                record::push_chunk(&mut body, series, encoding, range, bytes);
            }
            record::push_late_chunks(&mut out, &body);
            format!("{all:?}")
        }
        Record::OpenChunks(record) => {
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            let mut text = String::new();
            for saved in &all {
                let before = body.len();
                let (series, next_at) = (saved.series, saved.next_at);
                record::push_open_chunk(&mut body, series, next_at, &saved.appender, &saved.words);
                text += &format!("{:?}, ", body.get(before..));
            }
            record::push_open_chunks(&mut out, &body);
            text
        }
        Record::Starts(record) => {
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            record::push_starts(&mut out, &all);
            format!("{all:?}")
        }
        Record::Histograms(record) => histograms_again(record, &mut out)?,
        Record::FloatHistograms(record) => histograms_again(record, &mut out)?,
        Record::OpenHistograms(record) => {
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            all.iter().for_each(|saved| record::push_open_histogram(&mut body, *saved));
            record::push_open_histograms(&mut out, &body);
            format!("{all:?}")
        }
        Record::SpilledChunks(record) => {
            let all: Vec<_> = record.collect::<Result<_, _>>().ok()?;
            let mut body = record::SpilledBody::default();
            all.iter().for_each(|place| body.push(*place));
            record::push_spilled_chunks(&mut out, &body);
            format!("{all:?}")
        }
        Record::SavedSeries(mut record) => {
            let mut body = record::SavedSeriesBody::default();
            let mut text = String::new();
            for pair in record.pairs {
                let pair = pair.ok()?;
                body.push_pair(pair.as_bytes());
                text += &format!("{pair:?}, ");
            }
            while let Some(series) = record.series.next_series() {
                let series = series.ok()?;
                let pairs: Vec<_> = series.pairs.iter().map(|pair| Some(*pair)).collect();
                body.push(series.reference, &pairs);
                text += &format!("{:?} {:?}, ", series.reference, series.pairs);
                assert!(series.changed.iter().all(|at| *at < series.pairs.len()));
            }
            record::push_saved_series(&mut out, &body);
            text
        }
    };
    Some((out, text))
}

fn histograms_again<C: LoggedCount>(
    mut record: record::HistogramsRecord<'_, C>,
    out: &mut Vec<u8>,
) -> Option<String> {
    let (mut body, mut text) = (record::HistogramsBody::default(), String::new());
    while let Some(logged) = record.next_histogram() {
        let record::LoggedHistogram { series, t, histogram } = logged.ok()?;
        body.push(series, t, histogram);
        text += &format!("{series:?} {t:?} {} {histogram:?}, ", histogram.sum.to_bits());
    }
    record::push_histograms::<C>(out, &body);
    Some(text)
}

/// The payload of a batch: records of all kinds. What is read of one, written anew, reads as the same.
pub fn records(payload: &[u8]) {
    let count = record::records(payload).count();
    assert!(count <= payload.len() / 5 + 1, "no record is shorter than its frame");
    for record in record::records(payload).flatten() {
        let Some((bytes, text)) = again(record) else { continue };
        let mut back = String::new();
        // References that are far apart make several records of samples, and no samples make none.
        for record in record::records(&bytes) {
            back += &again(record.unwrap()).unwrap().1;
        }
        let joined = text.replace("][", ", ");
        assert!(bytes.is_empty() || back.replace("][", ", ") == joined, "{text}\n{back}");
    }
}

/// Bytes to split others at, and the others.
fn split_in_two(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (at, bytes) = bytes.split_first_chunk::<2>()?;
    Some(bytes.split_at(usize::from(u16::from_le_bytes(*at)).min(bytes.len())))
}

fn put(disk: &SimDisk, dir: &str, name: &str, bytes: &[u8]) {
    run(async {
        disk.create_dir(dir).await.unwrap();
        let file = disk.create(&format!("{dir}/{name}"), 0).await.unwrap();
        let mut blocks = bytes.to_vec();
        blocks.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        file.write_at(&blocks, 0).await.unwrap();
        file.sync().await.unwrap();
        disk.sync_dir(dir).await.unwrap();
    });
}

fn sealed(payload: &[u8], segment: u64, sequence: u64) -> Vec<u8> {
    let mut bytes = vec![0; batch::HEADER_BYTES];
    bytes.extend_from_slice(payload);
    batch::seal(&mut bytes, BatchHeader { shards: 1, segment, run: 1, salt: 7, sequence });
    bytes
}

type Opened = (RefCell<Head>, files::Files<SimDisk>, floodplain::storage::wal::WalWriter<SimDisk>);

fn open(disk: &SimDisk, run_number: u64) -> Opened {
    let options = FileOptions {
        shard: 0,
        shards: 1,
        run: run_number,
        layout: Layout { shards: 1, since_run: 1 },
        segment_bytes: 16 << 10,
        sync: SyncMode::Always,
        exemplars_max: 100,
        stopwatch: || Duration::ZERO,
    };
    let keys = Fingerprinter::new(7);
    run(async {
        let mut pace = NoPace;
        let (owns, is_published) = (|_| true, |_| false);
        let begun =
            files::begin(disk.clone(), options, keys, &owns, &is_published, &|_, _| {}, &mut pace);
        let (head, files, writer, _) = begun.await.unwrap().finish().await.unwrap();
        (RefCell::new(head), files, writer)
    })
}

/// The series of a Head that have samples in memory, with these.
fn held(head: &Head) -> Vec<(String, Samples)> {
    let mut all: Vec<(String, Samples)> = head
        .select(&[])
        .into_iter()
        .map(|series| {
            let mut samples = Samples::default();
            head.read(series, TimeRange::ALL, &mut samples);
            (format!("{:?}", head.labels(series)), samples)
        })
        .collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// Do the records give two series the same reference, or one series two? Or have a chunk from another time than they say? A log
/// never does: which series samples of such a reference are of, nobody can say, and a start does not read every chunk.
fn contradicts_itself(payloads: [&[u8]; 2]) -> bool {
    let (mut labels_of, mut reference_of) = (BTreeMap::new(), BTreeMap::new());
    let mut name = |reference: SeriesRef, labels: String| {
        let before = labels_of.insert(reference, labels.clone());
        let named = reference_of.insert(labels.clone(), reference);
        before.is_some_and(|before| before != labels)
            || named.is_some_and(|named| named != reference)
    };
    for record in payloads.into_iter().flat_map(record::records).flatten() {
        match record {
            Record::Series(record) => {
                for (reference, labels) in record.flatten() {
                    if name(reference, labels.to_string()) {
                        return true;
                    }
                }
            }
            Record::SavedSeries(mut record) => {
                let pairs: Vec<_> = record.pairs.flatten().map(|pair| pair.to_string()).collect();
                while let Some(Ok(series)) = record.series.next_series() {
                    let text = |pair: &u32| pairs.get(*pair as usize).cloned().unwrap_or_default();
                    let labels: Vec<String> = series.pairs.iter().map(text).collect();
                    // As a set of labels prints itself.
                    let labels = labels.iter().map(|pair| pair.trim_matches(['{', '}']));
                    let labels = format!("{{{}}}", labels.collect::<Vec<_>>().join(", "));
                    if name(series.reference, labels) {
                        return true;
                    }
                }
            }
            Record::Chunks(chunks) | Record::LateChunks(chunks) => {
                if chunks
                    .flatten()
                    .any(|chunk| spans(chunk.encoding, chunk.bytes) != Some(chunk.range))
                {
                    return true;
                }
            }
            Record::OpenChunks(chunks) => {
                for chunk in chunks.flatten() {
                    let mut bytes = Vec::new();
                    chunk.appender.write_to(&chunk.words, &mut bytes);
                    let first = chunk.appender.first(&chunk.words);
                    let range = first.and_then(|f| TimeRange::new(f.t, chunk.appender.last().t));
                    if spans(xor::ENCODING, &bytes) != range {
                        return true;
                    }
                }
            }
            Record::OpenHistograms(chunks) => {
                if chunks.flatten().any(|chunk| spans(chunk.encoding, chunk.bytes).is_none()) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// From when to when a chunk has samples; `None` if it cannot be read.
fn spans(encoding: u8, bytes: &[u8]) -> Option<TimeRange> {
    let mut samples = Samples::default();
    chunk::read(encoding, bytes, |_| true, &mut samples).ok()?;
    let mut times = samples.iter().map(|(t, _)| t);
    let first = times.next()?;
    TimeRange::new(first, times.last().unwrap_or(first))
}

/// A checkpoint and the log behind it, checksums right and everything else any bytes: replay ends and says what it lacks, and
/// what it has read is, saved as a checkpoint and read back, what it was.
pub fn replay(bytes: &[u8]) {
    let Some((checkpoint, log)) = split_in_two(bytes) else { return };
    let is_a_log = !contradicts_itself([checkpoint, log]);
    let disk = SimDisk::new(1);
    if !checkpoint.is_empty() {
        let mut payload = Vec::new();
        let goes_on = record::CheckpointRecord { first_segment: 1, next_sequence: 1 };
        record::push_checkpoint(&mut payload, goes_on);
        payload.extend_from_slice(checkpoint);
        put(&disk, &dirs(0).head, "checkpoint-00000001", &sealed(&payload, 1, 0));
    }
    put(&disk, &dirs(0).wal, "00000001", &sealed(log, 1, 1));
    let (head, files, mut writer) = open(&disk, 2);
    run(async {
        let goes_on = writer.cut().await.unwrap();
        files.checkpoint(goes_on, &head, &mut NoPace).await.unwrap();
    });
    let (back, ..) = open(&disk, 3);
    let (head, back) = (held(&head.borrow()), held(&back.borrow()));
    if is_a_log {
        // Late histograms know of each other's resets only once they are in a chunk, as a checkpoint has them.
        assert_eq!(head.len(), back.len());
        for ((labels, one), (other_labels, other)) in head.iter().zip(&back) {
            assert_eq!(labels, other_labels);
            same_samples(one, other);
        }
    }
}

/// A log segment, a chunk of a spill file, or the data directory's manifest; the first byte says which. Checksums are put
/// right.
pub fn shard_files(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 3 {
        0 => segment(bytes.to_vec()),
        1 => spilled_chunk(bytes.to_vec()),
        _ => manifest(bytes),
    }
}

fn segment(mut bytes: Vec<u8>) {
    mend::batch(&mut bytes);
    if let Ok((header, payload)) = batch::open(&bytes) {
        assert_eq!(batch::promised_payload(&bytes), Ok(payload.len()));
        let mut again = vec![0; batch::HEADER_BYTES];
        again.extend_from_slice(payload);
        batch::seal(&mut again, header);
        let len = batch::HEADER_BYTES + payload.len();
        assert_eq!(again[..len], bytes[..len]);
        assert_eq!(again.len(), batch::disk_bytes(payload.len()));
        assert_eq!(batch::open(&again), Ok((header, payload)));
    }
    let disk = SimDisk::new(1);
    put(&disk, "wal", "00000003", &bytes);
    run(async {
        let file = disk.open("wal/00000003").await.unwrap();
        let mut reader = SegmentReader::new(file, SegmentId(3));
        let mut read = 0;
        while let Some(batch) = reader.next(&mut NoPace).await.unwrap() {
            assert_eq!(batch.header.segment, 3);
            assert!(batch.offset >= read);
            read = batch.offset + batch::disk_bytes(batch.payload.len()) as u64;
        }
        assert!(read <= bytes.len().next_multiple_of(BLOCK_BYTES) as u64);
    });
}

fn spilled_chunk(mut bytes: Vec<u8>) {
    mend::spilled(&mut bytes);
    let number =
        |at: usize| bytes.get(at..at + 8).map(|n| i64::from_le_bytes(n.try_into().unwrap()));
    let (Some(series), Some(min), Some(max)) = (number(0), number(8), number(16)) else { return };
    let Some(range) = TimeRange::new(TimestampMs(min), TimestampMs(max)) else { return };
    let Some(encoding) = bytes.get(24) else { return };
    let series = SeriesRef(series.cast_unsigned());
    let wanted =
        SpilledHeader { series, range, encoding: encoding & 0x7f, late: encoding & 0x80 != 0 };
    if let Ok(chunk) = spilled::open(&bytes, wanted) {
        let mut again = Vec::new();
        spilled::push(&mut again, wanted, chunk);
        assert_eq!(again, bytes[..again.len()]);
        assert_eq!(again.len(), chunk.len() + spilled::FRAME_BYTES);
        let other = SpilledHeader { series: SeriesRef(series.0.wrapping_add(1)), ..wanted };
        assert!(spilled::open(&bytes, other).is_err());
    }
}

fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let again = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(serde_json::from_slice::<Manifest>(&again).unwrap(), manifest);
        let _ = manifest.layout();
    }
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "a")]).unwrap()
}

/// Records that belong together: one by one.
fn log_payloads() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut add = |push: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        push(&mut out);
        all.push(out);
    };
    let (up, down) = (labels("up"), labels("down"));
    add(&|out| {
        let mut body = Vec::new();
        record::push_labels(&mut body, up.as_bytes());
        record::push_labels(&mut body, down.as_bytes());
        record::push_series(out, SeriesRef(7), 2, &body);
    });
    let logged = |series, t, v| {
        let sample = Sample { t: TimestampMs(t), v };
        record::LoggedSample { series: SeriesRef(series), sample }
    };
    add(&|out| record::push_samples(out, &[logged(7, 1000, 1.5), logged(8, 1000, 2.0)]));
    add(&|out| record::push_samples(out, &[logged(8, 2000, 1.5), logged(7, 2999, 2.0)]));
    add(&|out| record::push_samples(out, &[logged(8, 0, 1.5), logged(7, i64::MAX, 2.0)]));
    let range = TimeRange::new(TimestampMs(1500), TimestampMs(2500)).unwrap();
    add(&|out| record::push_tombstones(out, &[SeriesRef(7), SeriesRef(8)], range));
    let exemplar = ExemplarRef { labels: LabelsRef::trusted(b""), value: 1.5, t: TimestampMs(9) };
    add(&|out| {
        let mut body = Vec::new();
        record::push_exemplar(&mut body, Some(up.as_ref()), exemplar);
        record::push_exemplar(&mut body, None, ExemplarRef { labels: down.as_ref(), ..exemplar });
        record::push_exemplars(out, &body);
    });
    let said = MetadataRef { kind: MetricType::Counter, help: "What it says.", unit: "bytes" };
    add(&|out| {
        let mut body = Vec::new();
        record::push_family(&mut body, "up", [said, said].into_iter());
        record::push_family(&mut body, "down", [].into_iter());
        record::push_metadata(out, &body);
    });
    add(&|out| {
        let starts = [(7, 1000, 900), (8, 1000, 950), (7, 5000, 0)].map(|(series, from, start)| {
            let (from, start) = (TimestampMs(from), TimestampMs(start));
            record::LoggedStart { series: SeriesRef(series), from, start }
        });
        record::push_starts(out, &starts);
    });
    add(&|out| push_histograms(out, |n| n, |n| i64::try_from(n).unwrap()));
    add(&|out| push_histograms(out, |n| n as f64 / 2.0, |n| n as f64 / 2.0));
    let cut = BlockRange::new(TimestampMs(0), TimestampMs(7_200_000)).unwrap();
    add(&|out| record::push_cut(out, record::CutRecord { ulid: Ulid(77), range: cut }));
    all
}

/// So many observations in one bucket.
fn one_bucket<C: Coded>(
    n: u64,
    count: impl Fn(u64) -> C,
    bucket: impl Fn(u64) -> C::Bucket,
    of: &mut impl FnMut(HistogramRef<'_, C>),
) {
    let (spans, buckets) = ([Span { offset: 3, length: 1 }], [bucket(n)]);
    let (positive_spans, positive_buckets) = (&spans[..], &buckets[..]);
    let sum = n as f64 * 1.5;
    of(HistogramRef {
        count: count(n),
        sum,
        positive_spans,
        positive_buckets,
        ..HistogramRef::empty()
    });
}

fn push_histograms<C: LoggedCount + Coded>(
    out: &mut Vec<u8>,
    count: impl Fn(u64) -> C,
    bucket: impl Fn(u64) -> C::Bucket,
) {
    let mut body = record::HistogramsBody::default();
    for n in [1, 2, 5, 3] {
        let t = TimestampMs(i64::try_from(n).unwrap() * 1000);
        one_bucket(n, &count, &bucket, &mut |h| body.push(SeriesRef(7), t, h));
    }
    body.push(SeriesRef(8), TimestampMs(9000), HistogramRef::<C>::stale());
    record::push_histograms::<C>(out, &body);
}

fn checkpoint_payloads() -> Vec<Vec<u8>> {
    let (mut appender, mut words, mut chunk) = (XorAppender::new(), Words::default(), Vec::new());
    for t in 0..20 {
        appender.append(&mut words, TimestampMs(t * 1000 + t * t), 0.5 + (t / 3) as f64);
    }
    appender.write_to(&words, &mut chunk);
    let range = TimeRange::new(TimestampMs(0), appender.last().t).unwrap();
    let mut saved = record::SavedSeriesBody::default();
    for (name, value) in [("__name__", "up"), ("__name__", "down"), ("job", "a")] {
        saved.push_pair(Labels::from_pairs([(name, value)]).unwrap().as_bytes());
    }
    saved.push(SeriesRef(7), &[Some(0), Some(2)]);
    saved.push(SeriesRef(8), &[Some(1), None]);
    let mut all = vec![Vec::new(); 6];
    record::push_saved_series(&mut all[0], &saved);
    let mut body = Vec::new();
    record::push_chunk(&mut body, SeriesRef(7), 1, range, &chunk);
    record::push_chunks(&mut all[1], &body);
    record::push_late_chunks(&mut all[2], &body);
    let mut body = Vec::new();
    let next_at = TimestampMs(7_200_000);
    record::push_open_chunk(&mut body, SeriesRef(8), next_at, &appender, &words);
    record::push_open_chunks(&mut all[3], &body);
    let mut body = record::SpilledBody::default();
    body.push(record::SpillPlace {
        series: SeriesRef(7),
        file: 1,
        offset: 4096,
        len: 200,
        encoding: 1,
        range: TimeRange::new(TimestampMs(100_000), TimestampMs(200_000)).unwrap(),
        late: false,
    });
    record::push_spilled_chunks(&mut all[4], &body);
    let mut open = HistogramAppender::<u64>::new();
    for n in [1, 2, 5] {
        let t = TimestampMs(i64::try_from(n).unwrap() * 1000);
        one_bucket(n, |n| n, |n| i64::try_from(n).unwrap(), &mut |h| drop(open.append(t, h)));
    }
    let (mut chunk, mut body) = (Vec::new(), Vec::new());
    open.write_to(&mut chunk);
    let (series, bytes) = (SeriesRef(8), &chunk[..]);
    let saved = record::SavedOpenHistogram { series, encoding: 2, next_at: None, bytes };
    record::push_open_histogram(&mut body, saved);
    record::push_open_histograms(&mut all[5], &body);
    all
}

/// The golden records, and records of each kind, alone and in a row.
pub fn records_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        golden(include_str!("../../golden/wal_records.hex")),
        golden(include_str!("../../golden/wal_histograms.hex")),
        golden(include_str!("../../golden/checkpoint_records.hex")),
    ];
    for payloads in [log_payloads(), checkpoint_payloads()] {
        seeds.push(payloads.concat());
        seeds.extend(payloads);
    }
    seeds
}

/// A log alone, a checkpoint alone, and both.
pub fn replay_seeds() -> Vec<Vec<u8>> {
    let (log, checkpoint) = (log_payloads(), checkpoint_payloads());
    let seed = |checkpoint: &[u8], log: &[u8]| {
        let at = u16::try_from(checkpoint.len()).unwrap().to_le_bytes();
        [&at, checkpoint, log].concat()
    };
    let mut seeds = vec![
        seed(&[], &log.concat()),
        seed(&checkpoint.concat(), &[]),
        seed(&checkpoint.concat(), &log[1..].concat()),
        seed(&golden(include_str!("../../golden/checkpoint_records.hex")), &[]),
        seed(&[], &golden(include_str!("../../golden/wal_records.hex"))),
    ];
    seeds.extend(log[1..].iter().map(|record| seed(&[], &[&*log[0], record].concat())));
    seeds.extend(
        checkpoint[1..].iter().map(|record| seed(&[&*checkpoint[0], record].concat(), &[])),
    );
    seeds
}

/// The golden batch and chunks, and a manifest.
pub fn shard_files_seeds() -> Vec<Vec<u8>> {
    let batch = golden(include_str!("../../golden/wal_batch.hex"));
    let two = [sealed(&log_payloads()[0], 3, 1), Vec::new()].concat();
    let frames = include_str!("../../golden/spilled_chunk.hex");
    let manifest = br#"{"format":1,"id":"01BKGV7JBM69T2G1BGBGM6KB12","run":7,"layout":{"shards":2,"since_run":3}}"#;
    let mut seeds = vec![[&[0], &*batch].concat(), [&[2], &manifest[..]].concat()];
    seeds.push([&[0], two.get(..200).unwrap()].concat());
    let both = golden(frames);
    seeds.extend(both.chunks(both.len() / 2).map(|frame| [&[1], frame].concat()));
    seeds
}
