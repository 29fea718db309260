//! Native histograms in a Head: what is taken, what is refused, and what is left of it after a restart.

use std::cell::RefCell;

use proptest::prelude::*;

use super::Head;
use super::spill::SpillFiles;
use super::testing::{
    Replay, index_of, keys, read_all, request, restore, sample, saved, send, send_histograms,
};
use crate::encoding::batch::HEADER_BYTES;
use crate::encoding::chunk::{FLOAT_HISTOGRAM, HISTOGRAM};
use crate::encoding::record::records;
use crate::io::Disk;
use crate::io::sim::{NoPace, SimDisk, run};
use crate::model::histogram::Span;
use crate::model::histogram::testing::{floats, integers, steps};
use crate::model::refusal::HISTOGRAM_PARTS_MAX;
use crate::model::{
    AnyHistogram, HistogramEntry, HistogramRef, HistogramSample, RefusalReason, STALE_NAN_BITS,
    Sample, Samples, TimeRange, TimestampMs, ValueRef,
};
use crate::storage::wal::LogBuffer;

const MINUTE: i64 = 60_000;

fn int(t: i64, count: u64) -> HistogramSample {
    let h = HistogramRef::<u64> { count, zero_count: count, ..HistogramRef::empty() };
    HistogramSample { t: TimestampMs(t), histogram: AnyHistogram::Int(h.to_histogram()) }
}

fn float(t: i64, count: f64) -> HistogramSample {
    let h = HistogramRef::<f64> { count, zero_count: count, ..HistogramRef::empty() };
    HistogramSample { t: TimestampMs(t), histogram: AnyHistogram::Float(h.to_histogram()) }
}

/// One with more parts than are taken.
fn huge(t: i64) -> HistogramSample {
    let bounds: Vec<f64> = (0..=HISTOGRAM_PARTS_MAX).map(|n| n as f64).collect();
    let huge = HistogramRef::<f64> { schema: -53, custom_values: &bounds, ..HistogramRef::empty() };
    HistogramSample { t: TimestampMs(t), histogram: AnyHistogram::Float(huge.to_histogram()) }
}

/// The samples of a series as they come out of its chunks, and the encodings of these.
fn pieces(head: &Head, series: u32) -> Vec<(u8, bool)> {
    let pieces = head.pieces(index_of(head, series).unwrap(), TimeRange::ALL);
    pieces.iter().map(|piece| (piece.encoding, piece.late)).collect()
}

/// A Head that has read the log back.
fn replayed(log: &mut LogBuffer) -> Head {
    let (mut head, mut replay) = (Head::new(keys()), Replay::default());
    for payload in log.take() {
        for record in records(&payload[HEADER_BYTES..]) {
            replay.take(&mut head, record.unwrap());
        }
    }
    head.finish_replay();
    head
}

fn is_stale(value: ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Histogram(h) if h.is_stale())
}

#[test] // a scrape target that goes away is told of by a float, whatever its series had
fn a_stale_float_on_a_series_of_histograms_becomes_a_stale_histogram_of_the_same_kind() {
    for (histogram, encoding) in [(int(0, 5), HISTOGRAM), (float(0, 5.0), FLOAT_HISTOGRAM)] {
        let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
        send_histograms(&mut head, &mut log, 0, &[histogram]);
        let stale = sample(MINUTE, f64::from_bits(STALE_NAN_BITS));
        assert_eq!(send(&mut head, &mut log, 0, &[stale]).written, 1);
        for head in [&head, &replayed(&mut log)] {
            let all = read_all(head, 0);
            let found: Vec<bool> = all.iter().map(|(_, value)| is_stale(value)).collect();
            assert_eq!((found, pieces(head, 0)), (vec![false, true], vec![(encoding, false)]));
        }
        assert_eq!(send(&mut head, &mut log, 0, &[stale]).written, 1, "it is known");
        assert_eq!(head.stats().samples_known, 1);
    }
}

#[test]
fn floats_and_histograms_of_both_kinds_follow_each_other_in_chunks_of_their_own_also_in_the_log() {
    let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
    send(&mut head, &mut log, 0, &[sample(1, 1.0)]);
    send_histograms(&mut head, &mut log, 0, &[int(2, 2), int(3, 3), float(4, 4.0)]);
    send(&mut head, &mut log, 0, &[sample(5, 5.0), sample(6, 6.0)]);
    send_histograms(&mut head, &mut log, 0, &[float(7, 7.0), int(8, 8)]);
    let want = [(1, false), (HISTOGRAM, false), (FLOAT_HISTOGRAM, false)];
    let want = [&want[..], &[(1, false), (FLOAT_HISTOGRAM, false), (HISTOGRAM, false)]].concat();
    assert_eq!(pieces(&head, 0), want);
    let stats = head.stats();
    assert_eq!((stats.samples_appended, stats.histograms_appended), (3, 5));
    assert_eq!((stats.samples_late, stats.histograms_late), (0, 0));
    // The log has them in this order: what is replayed is not late.
    let back = replayed(&mut log);
    assert_eq!(pieces(&back, 0), want);
    assert_eq!(read_all(&back, 0), read_all(&head, 0));
}

#[test]
fn another_value_at_an_instant_is_refused_whatever_the_kinds() {
    let (mut head, mut log) = (Head::with_window(keys(), 60 * MINUTE), LogBuffer::new());
    send(&mut head, &mut log, 0, &[sample(1, 1.0)]);
    send_histograms(&mut head, &mut log, 0, &[int(2, 2), int(3, 3)]);
    let mut refused = |histograms: &[HistogramSample], floats: &[Sample]| {
        let by_histogram = send_histograms(&mut head, &mut log, 0, histograms).refused;
        let by_float = send(&mut head, &mut log, 0, floats).refused;
        let mut named = by_histogram.named.into_iter().chain(by_float.named);
        named.next().map(|refusal| refusal.reason.to_string())
    };
    let duplicate = "duplicate sample for timestamp";
    let of_float = format!("{duplicate} 1; overrides not allowed: new value is a histogram");
    assert_eq!(refused(&[int(1, 1)], &[]), Some(of_float));
    let other = format!("{duplicate} 3; overrides not allowed: new value is a histogram");
    assert_eq!(refused(&[int(3, 4)], &[]), Some(other.clone()));
    assert_eq!(refused(&[float(3, 3.0)], &[]), Some(other));
    let of_histogram =
        format!("{duplicate} 2; overrides not allowed: existing is a histogram, new value 7");
    assert_eq!(refused(&[], &[sample(2, 7.0)]), Some(of_histogram));
    assert_eq!(refused(&[int(2, 2), int(3, 3)], &[sample(1, 1.0)]), None, "all are known");
    assert_eq!((head.stats().samples_known, head.stats().histograms_appended), (3, 2));
}

#[test]
fn late_histograms_are_taken_within_the_window_and_sealed_as_late_floats_are() {
    let (mut head, mut log) = (Head::with_window(keys(), 60 * MINUTE), LogBuffer::new());
    send_histograms(&mut head, &mut log, 0, &[int(100 * MINUTE, 1)]);
    let late: Vec<_> = (41..80).map(|m| int(m * MINUTE, m.cast_unsigned())).collect();
    let appended = send_histograms(&mut head, &mut log, 0, &late);
    assert_eq!((appended.histograms_written, head.stats().histograms_late), (39, 39));
    assert!(pieces(&head, 0).len() > 2, "sealed ones, the buffer, and the one in order");
    let reason = send_histograms(&mut head, &mut log, 0, &[int(39 * MINUTE, 1)]).refused;
    assert_eq!(reason.named[0].reason, RefusalReason::TooOld);
    assert_eq!(send_histograms(&mut head, &mut log, 0, &late).histograms_written, 39);
    assert_eq!(head.stats().samples_known, 39);
    assert_eq!(read_all(&replayed(&mut log), 0), read_all(&head, 0));
}

#[test]
fn a_histogram_that_no_record_could_hold_is_refused_and_those_beside_it_are_taken() {
    let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
    let appended = send_histograms(&mut head, &mut log, 0, &[int(1, 1), huge(2), int(3, 3)]);
    let parts = HISTOGRAM_PARTS_MAX + 1;
    assert_eq!(appended.refused.named[0].reason, RefusalReason::HistogramTooLarge { parts });
    assert_eq!((appended.histograms_written, appended.refused.samples.total()), (2, 1));
    assert_eq!(read_all(&head, 0).len(), 2);
}

#[test] // a series without samples would stay until the next cut
fn a_histogram_that_is_refused_makes_no_series() {
    let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
    let refused = send_histograms(&mut head, &mut log, 0, &[huge(2)]).refused;
    let parts = HISTOGRAM_PARTS_MAX + 1;
    assert_eq!(refused.named[0].reason, RefusalReason::HistogramTooLarge { parts });
    assert_eq!((head.stats().series, log.is_empty()), (0, true));
}

#[test]
fn what_would_be_refused_is_told_without_changing_anything() {
    let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
    send_histograms(&mut head, &mut log, 0, &[int(5 * MINUTE, 5)]);
    let check = |histograms: &[HistogramSample]| {
        let (mut part, text) = request(&[(0, Vec::new())]);
        let entry = part.entries.remove(0);
        for HistogramSample { t, histogram } in histograms {
            part.histograms.push(*t, histogram.as_ref());
        }
        part.histogram_entries.push(HistogramEntry {
            fingerprint: entry.fingerprint,
            labels: entry.labels,
            end: u32::try_from(histograms.len()).unwrap(),
        });
        let refused = head.check(&part, &text, head.bounds(TimestampMs(10 * MINUTE)));
        refused.named.into_iter().next().map(|refusal| refusal.reason)
    };
    assert_eq!(check(&[int(5 * MINUTE, 5), int(6 * MINUTE, 6)]), None);
    let duplicate = RefusalReason::DuplicateHistogram(TimestampMs(5 * MINUTE));
    assert_eq!(check(&[int(5 * MINUTE, 6)]), Some(duplicate));
    assert_eq!(check(&[int(4 * MINUTE, 6)]), Some(RefusalReason::OutOfOrder));
    let unordered = [int(7 * MINUTE, 5), int(6 * MINUTE, 6)];
    assert_eq!(check(&unordered), Some(RefusalReason::OutOfOrder));
    assert_eq!(check(&[int(21 * MINUTE, 6)]), Some(RefusalReason::OutOfBounds));
    assert_eq!(read_all(&head, 0).len(), 1);
}

#[test] // the length of a chunk that has left memory once had 15 bits
fn a_chunk_of_large_histograms_leaves_memory_and_reads_back() {
    let disk = SimDisk::new(1);
    let files = run(async {
        disk.create_dir("head").await.unwrap();
        SpillFiles::open(disk, "head".to_owned()).await.unwrap()
    });
    let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
    let spans = [Span { offset: 0, length: 10_000 }];
    let large = |t: i64| {
        let buckets: Vec<i64> =
            (0..10_000).map(|i| (i * 7919 + t) % 1000 - 500 * (i % 2)).collect();
        let mut count = 0;
        let deltas: Vec<i64> = buckets
            .iter()
            .map(|bucket| {
                let delta = bucket.abs() - count;
                count = bucket.abs();
                delta
            })
            .collect();
        let h = HistogramRef::<u64> {
            reset_hint: crate::model::ResetHint::Gauge,
            count: buckets.iter().map(|bucket| bucket.unsigned_abs()).sum(),
            positive_spans: &spans,
            positive_buckets: &deltas,
            ..HistogramRef::empty()
        };
        h.validate().unwrap();
        let t = TimestampMs(t * MINUTE);
        HistogramSample { t, histogram: AnyHistogram::Int(h.to_histogram()) }
    };
    let all: Vec<_> = (0..25).map(large).collect();
    assert_eq!(send_histograms(&mut head, &mut log, 0, &all).histograms_written, 25);
    let head = RefCell::new(head);
    let spilled = run(files.spill(&head, 0, &mut NoPace)).unwrap();
    assert_eq!((spilled.chunks, head.borrow().stats().chunk_bytes), (2, 0));
    assert!(spilled.bytes > 2 << 15, "{}", spilled.bytes);
    // The checkpoint only says where they lie.
    let mut back = Head::new(keys());
    restore(&mut back, &saved(&head.borrow(), 1 << 20));
    for head in [&*head.borrow(), &back] {
        let (mut read, pieces) = (Samples::default(), head.pieces(0, TimeRange::ALL));
        let errors = run(files.read_series(&pieces, TimeRange::ALL, &mut read, &mut NoPace));
        assert!(errors.is_empty());
        let same = read.histograms.iter().zip(&all).all(|(read, sent)| {
            read.t == sent.t && read.histogram.as_ref().is_same_sample(sent.histogram.as_ref())
        });
        assert!(same && read.len() == 25);
    }
}

proptest! {
    #[test]
    fn any_histograms_come_back_from_the_head_its_log_and_its_checkpoint(
        steps in steps(), of_floats: bool, step_ms in 1i64..400_000,
    ) {
        let histograms: Vec<AnyHistogram> = match of_floats {
            true => floats(&steps).into_iter().map(AnyHistogram::Float).collect(),
            false => integers(&steps).into_iter().map(AnyHistogram::Int).collect(),
        };
        let sent: Vec<_> = (1..).zip(histograms)
            .map(|(i, histogram)| HistogramSample { t: TimestampMs(i * step_ms), histogram })
            .collect();
        let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
        let written = send_histograms(&mut head, &mut log, 0, &sent).histograms_written;
        prop_assert_eq!(written, sent.len() as u64);
        let mut restored = Head::new(keys());
        restore(&mut restored, &saved(&head, 700));
        for head in [&head, &replayed(&mut log), &restored] {
            let read = read_all(head, 0);
            prop_assert_eq!(read.floats.len(), 0);
            prop_assert_eq!(read.histograms.len(), sent.len());
            for (read, sent) in read.histograms.iter().zip(&sent) {
                prop_assert_eq!(read.t, sent.t);
                let same = read.histogram.as_ref().is_same_sample(sent.histogram.as_ref());
                prop_assert!(same, "{:?} of {:?}", read, sent);
            }
        }
        // The chunks are the same ones, to the bit, and those that come back go on as the others do.
        let last = sent.last().unwrap();
        let more: Vec<_> = (1..40)
            .map(|i| HistogramSample { t: TimestampMs(last.t.0 + i * step_ms), ..last.clone() })
            .collect();
        let mut back = replayed(&mut LogBuffer::new());
        restore(&mut back, &saved(&head, 700));
        for head in [&mut head, &mut restored, &mut back] {
            send_histograms(head, &mut log, 0, &more);
        }
        let all = |head: &Head| head.pieces(0, TimeRange::ALL);
        prop_assert_eq!(all(&restored), all(&head));
        prop_assert_eq!(all(&back), all(&head));
    }
}
