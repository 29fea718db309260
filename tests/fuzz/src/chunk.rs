//! Chunks of all encodings, and the state of one that is being written.

use std::fmt::Debug;

use floodplain::encoding::chunk::{self, ChunkError, ChunkReader};
use floodplain::encoding::histogram::{Coded, EndedChunk, HistogramAppender, HistogramReader};
use floodplain::encoding::xor::{self, Words, XorAppender, XorReader};
use floodplain::encoding::xor2::{self, StartedSample, Xor2Appender, Xor2Reader};
use floodplain::model::{
    AnyHistogramRef, Histogram, HistogramRef, ResetHint, Sample, Samples, TimestampMs, ValueRef,
};

use crate::golden;

/// As many bytes as the Head lets a chunk of floats have, about.
const HEAD_CHUNK_BYTES: usize = 1000;

/// What holds of a chunk of any encoding: it ends, it has no more samples than it promises and than its bits can hold, and
/// reading it sample by sample comes to the same as reading it at once, up to a sample that is not later than the one before it.
/// Are all the samples there that it promises, in whatever order?
fn read_in_both_ways(encoding: u8, bytes: &[u8]) -> bool {
    let mut at_once = Samples::default();
    let read = chunk::read(encoding, bytes, |_| true, &mut at_once);
    let mut reader = match ChunkReader::new(encoding, bytes) {
        Ok(reader) => reader,
        Err(error) => {
            assert_eq!(read.unwrap_err(), error);
            return false;
        }
    };
    let (promised, mut one_by_one, mut last) = (reader.promised(), Samples::default(), Ok(()));
    assert_eq!(promised, chunk::promised(bytes));
    let (mut before, mut is_whole) = (None, true);
    while let Some(advanced) = reader.advance() {
        is_whole &= advanced.is_ok();
        match advanced {
            _ if last.is_err() => {}
            Ok(t) if before.is_some_and(|before| before >= t) => {
                last = Err(ChunkError::Order { t: t.0 });
            }
            Ok(t) => {
                one_by_one.push(t, reader.value());
                before = Some(t);
            }
            Err(error) => last = Err(error),
        }
    }
    assert!(reader.advance().is_none(), "it goes on behind its end");
    assert_eq!(format!("{read:?}"), format!("{last:?}"));
    same_samples(&one_by_one, &at_once);
    let count = one_by_one.len();
    assert!(count <= usize::from(promised) && count <= bytes.len() * 8);
    assert!(read.is_err() || count == usize::from(promised));
    is_whole
}

/// Are these the same samples? How spans are written, and what histograms say about resets, is no part of one.
pub fn same_samples(one: &Samples, other: &Samples) {
    use AnyHistogramRef::{Float, Int};
    use ValueRef::Histogram;
    assert_eq!(one.len(), other.len());
    for ((t, one), (other_t, other)) in one.iter().zip(other.iter()) {
        assert_eq!(t, other_t);
        let is_same = match (one, other) {
            (Histogram(Int(one)), Histogram(Int(other))) => is_same_histogram(one, other),
            (Histogram(Float(one)), Histogram(Float(other))) => is_same_histogram(one, other),
            (one, other) => one.is_same_sample(other),
        };
        assert!(is_same, "{one:?} and {other:?}");
    }
}

/// What goes on with a chunk has written it: but for the bits behind its end.
fn wrote(chunk: &[u8], written: &[u8], what: impl Debug) {
    let Some((last, whole)) = written.split_last() else { return };
    assert_eq!(chunk.get(..whole.len()), Some(whole), "{what:?}");
    assert!(chunk.get(whole.len()).is_some_and(|byte| byte & last == *last), "{what:?}");
}

/// Chunks of floats; the first byte says of which encoding, or that it is the state of an open one.
pub fn floats(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 3 {
        0 => xor(bytes),
        1 => xor2(bytes),
        _ => open_xor(bytes),
    }
}

fn rises(times: impl Iterator<Item = TimestampMs>) -> bool {
    times.is_sorted_by(|one, other| one < other)
}

fn xor(bytes: &[u8]) {
    if !read_in_both_ways(xor::ENCODING, bytes) || bytes.len() > HEAD_CHUNK_BYTES {
        return;
    }
    let samples: Vec<Sample> = XorReader::new(bytes).unwrap().map(Result::unwrap).collect();
    if !rises(samples.iter().map(|sample| sample.t)) {
        return;
    }
    let (mut appender, mut words, mut again) = (XorAppender::new(), Words::default(), Vec::new());
    for sample in &samples {
        appender.append(&mut words, sample.t, sample.v);
        // Other writers may have spelled the samples in fewer bits.
        if appender.len_bytes() > HEAD_CHUNK_BYTES {
            return;
        }
    }
    appender.write_to(&words, &mut again);
    let back: Vec<Sample> = XorReader::new(&again).unwrap().map(Result::unwrap).collect();
    assert_eq!(back, samples);
    assert_eq!(appender.first(&words), samples.first().copied());
    assert_eq!(appender.first_t(&words), samples.first().map(|first| first.t));
    let mut saved = Vec::new();
    appender.save(&words, &mut saved);
    let (restored, words, rest) = XorAppender::restore(&saved).unwrap();
    assert!(rest.is_empty());
    let mut restored_bytes = Vec::new();
    restored.write_to(&words, &mut restored_bytes);
    assert_eq!(restored_bytes, again);
}

fn xor2(bytes: &[u8]) {
    let is_whole = read_in_both_ways(xor2::ENCODING, bytes);
    let resumed = Xor2Appender::resume(bytes);
    assert_eq!(resumed.is_ok(), is_whole);
    let Ok(mut resumed) = resumed else { return };
    let mut samples: Vec<StartedSample> =
        Xor2Reader::new(bytes).unwrap().map(Result::unwrap).collect();
    assert_eq!(usize::from(resumed.count()), samples.len());
    assert_eq!(resumed.last(), samples.last().copied());
    assert_eq!(resumed.first_t(), samples.first().map(|first| first.sample.t));
    let mut written = Vec::new();
    resumed.write_to(&mut written);
    assert_eq!(written.len(), resumed.len_bytes());
    let back: Vec<_> = Xor2Reader::new(&written).unwrap().map(Result::unwrap).collect();
    assert_eq!(back, samples);
    // The bit of the header that no writer sets aside, the chunk is as it was.
    wrote(bytes.get(3..).unwrap(), written.get(3..).unwrap(), "xor2");
    if samples.len() < 1000 && rises(samples.iter().map(|sample| sample.sample.t)) {
        if let Some(StartedSample { start, sample }) = samples.last().copied()
            && sample.t.0 < i64::MAX
        {
            let next = Sample { t: TimestampMs(sample.t.0 + 1), v: sample.v + 1.0 };
            samples.push(StartedSample { start, sample: next });
            resumed.append(start, next.t, next.v);
        }
        let mut anew = Xor2Appender::new();
        for StartedSample { start, sample } in &samples {
            anew.append(*start, sample.t, sample.v);
        }
        for appender in [resumed, anew] {
            let mut again = Vec::new();
            appender.write_to(&mut again);
            let back: Vec<_> = Xor2Reader::new(&again).unwrap().map(Result::unwrap).collect();
            assert_eq!(back, samples);
        }
    }
}

/// What a checkpoint has of a chunk that is being written: whatever is taken for one can be read and gone on with.
fn open_xor(bytes: &[u8]) {
    let Some((mut appender, mut words, rest)) = XorAppender::restore(bytes) else { return };
    let mut saved = Vec::new();
    appender.save(&words, &mut saved);
    assert_eq!(saved, bytes[..bytes.len() - rest.len()]);
    let mut written = Vec::new();
    appender.write_to(&words, &mut written);
    assert_eq!(written.len(), appender.len_bytes());
    let _ = (appender.first(&words), appender.first_t(&words), appender.next_word(&words));
    read_in_both_ways(xor::ENCODING, &written);
    if appender.count() < u16::MAX - 3 {
        for step in 1..4 {
            appender.append(&mut words, TimestampMs(appender.last().t.0.saturating_add(step)), 0.1);
        }
        written.clear();
        appender.write_to(&words, &mut written);
        read_in_both_ways(xor::ENCODING, &written);
    }
}

/// Chunks of histograms; the first byte says of which kind.
pub fn histograms(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    if which % 2 == 0 { histograms_of::<u64>(bytes) } else { histograms_of::<f64>(bytes) }
}

fn histograms_of<C: Coded>(bytes: &[u8]) {
    let is_whole = read_in_both_ways(C::ENCODING, bytes);
    let resumed = HistogramAppender::<C>::resume(bytes);
    assert_eq!(resumed.is_ok(), is_whole);
    let Ok(mut resumed) = resumed else { return };
    let samples: Vec<(TimestampMs, Histogram<C>)> =
        HistogramReader::new(bytes).unwrap().map(Result::unwrap).collect();
    assert_eq!(usize::from(resumed.count()), samples.len());
    let mut written = Vec::new();
    resumed.write_to(&mut written);
    assert_eq!(written.len(), resumed.len_bytes());
    wrote(bytes.get(3..).unwrap(), written.get(3..).unwrap(), C::ENCODING);
    let back: Vec<(TimestampMs, Histogram<C>)> =
        HistogramReader::new(&written).unwrap().map(Result::unwrap).collect();
    same_histograms(&samples, &back);

    // What the Head would take: valid histograms, one later than the other.
    let is_taken = |h: HistogramRef<'_, C>| h.is_stale() || h.validate().is_ok();
    if !rises(samples.iter().map(|(t, _)| *t)) || !samples.iter().all(|(_, h)| is_taken(h.as_ref()))
    {
        return;
    }
    let mut ended = Vec::new();
    let mut anew = HistogramAppender::<C>::new();
    let hint = HistogramReader::<C>::new(bytes).unwrap().header();
    for (i, (t, h)) in samples.iter().enumerate() {
        let hint = match hint {
            ResetHint::Gauge => ResetHint::Gauge,
            hint if i == 0 => hint,
            _ => ResetHint::Unknown,
        };
        ended.extend(anew.append(*t, HistogramRef { reset_hint: hint, ..h.as_ref() }));
    }
    same_histograms(&samples, &read_all(ended, &anew));
    // What was resumed goes on with the last sample once more.
    let layout_is_kept = resumed.last().is_some_and(|(_, last)| is_taken(last));
    if let Some((t, last)) = samples.last()
        && layout_is_kept
        && t.0 < i64::MAX
    {
        let next = TimestampMs(t.0 + 1);
        let ended = resumed.append(next, last.as_ref());
        let back = read_all(ended.into_iter().collect(), &resumed);
        let mut want = samples.clone();
        want.push((next, last.clone()));
        same_histograms(&want, &back);
    }
}

fn read_all<C: Coded>(
    ended: Vec<EndedChunk>,
    open: &HistogramAppender<C>,
) -> Vec<(TimestampMs, Histogram<C>)> {
    let mut last = Vec::new();
    open.write_to(&mut last);
    let chunks = ended.iter().map(|chunk| &*chunk.bytes).chain([&*last]);
    chunks.flat_map(|chunk| HistogramReader::new(chunk).unwrap().map(Result::unwrap)).collect()
}

fn same_histograms<C: Coded>(
    want: &[(TimestampMs, Histogram<C>)],
    have: &[(TimestampMs, Histogram<C>)],
) {
    assert_eq!(want.len(), have.len());
    for ((t, want), (have_t, have)) in want.iter().zip(have) {
        assert_eq!(t, have_t);
        let (want, have) = (want.as_ref(), have.as_ref());
        assert!(is_same_histogram(want, have), "{want:?} and {have:?}");
    }
}

/// The same to the bit in all its parts; or as a repetition is recognised, but for a zero threshold that is NaN and so, as
/// upstream has it, like no other.
fn is_same_histogram<C: Coded>(one: HistogramRef<'_, C>, other: HistogramRef<'_, C>) -> bool {
    let threshold = |of: f64| if of.is_nan() { 0.0 } else { of };
    let bits = (one.zero_threshold.to_bits(), other.zero_threshold.to_bits());
    let (t, other_t) = (threshold(one.zero_threshold), threshold(other.zero_threshold));
    let one_with = HistogramRef { zero_threshold: t, ..one };
    let other_with = HistogramRef { zero_threshold: other_t, ..other };
    one == other
        || (bits.0 == bits.1 || t == other_t) && one_with.is_same_sample(other_with)
        || one.is_stale() && other.is_stale()
}

fn tagged(which: u8, bytes: &[u8]) -> Vec<u8> {
    [&[which], bytes].concat()
}

/// The golden chunks, chunks of a few plain series, and the state of an appender behind each of their samples.
pub fn floats_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        tagged(0, &golden(include_str!("../../golden/xor_chunk.hex"))),
        tagged(1, &golden(include_str!("../../golden/xor2_chunk.hex"))),
    ];
    let stale = f64::from_bits(floodplain::model::STALE_NAN_BITS);
    for values in [&[1.0; 9][..], &[1.0, 2.0, 3.5, stale, -7.25, 1e300, 0.0, f64::NAN]] {
        let (mut xor, mut words, mut xor2) =
            (XorAppender::new(), Words::default(), Xor2Appender::new());
        for (i, v) in (0..).zip(values) {
            let t = TimestampMs(1_700_000_000_000 + i * 15_000 + i * i * i * 997);
            xor.append(&mut words, t, *v);
            xor2.append(TimestampMs(if i < 5 { 0 } else { 77 }), t, *v);
            let mut state = vec![2];
            xor.save(&words, &mut state);
            seeds.push(state);
        }
        let (mut one, mut two) = (vec![0], vec![1]);
        xor.write_to(&words, &mut one);
        xor2.write_to(&mut two);
        seeds.extend([one, two]);
    }
    seeds
}

/// The golden chunks, and chunks in which spans, bounds and staleness markers stand.
pub fn histograms_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (which, hex) in [
        (0, include_str!("../../golden/histogram_chunk.hex")),
        (1, include_str!("../../golden/float_histogram_chunk.hex")),
    ] {
        // A chunk a line or paragraph; digits alone do not say where one ends.
        seeds.extend(hex.split("\n\n").map(|hex| tagged(which, &golden(hex))));
    }
    let span = |offset, length| floodplain::model::histogram::Span { offset, length };
    let (spans, more) = ([span(-2, 2), span(3, 1)], [span(-2, 3), span(2, 1)]);
    let mut int = HistogramAppender::<u64>::new();
    let of = |count, spans, buckets| HistogramRef::<u64> {
        count,
        sum: 2.5,
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 1,
        positive_spans: spans,
        positive_buckets: buckets,
        ..HistogramRef::empty()
    };
    int.append(TimestampMs(1000), of(7, &spans, &[1, 1, 1]));
    int.append(TimestampMs(2000), of(10, &spans, &[2, 1, 1]));
    int.append(TimestampMs(3500), of(12, &more, &[2, 1, -1, 2]));
    int.append(TimestampMs(5000), HistogramRef::stale());
    let mut bytes = vec![0];
    int.write_to(&mut bytes);
    seeds.push(bytes);
    let mut custom = HistogramAppender::<f64>::new();
    for (i, t) in [(1.0, 10), (2.0, 20), (4.0, 30)] {
        let h = HistogramRef::<f64> {
            count: i * 2.0,
            sum: i,
            schema: floodplain::model::histogram::schema::CUSTOM_BUCKETS,
            positive_spans: &[span(0, 2)],
            positive_buckets: &[i, i],
            custom_values: &[0.005, 0.1, 1e9],
            ..HistogramRef::empty()
        };
        custom.append(TimestampMs(t), h);
    }
    let mut bytes = vec![1];
    custom.write_to(&mut bytes);
    seeds.push(bytes);
    // Finer than 8: reduced while it is read.
    let mut fine = HistogramAppender::<u64>::new();
    for (count, buckets, t) in [(3, &[1, 0, 0], 1), (6, &[2, 0, 0], 2)] {
        let h = HistogramRef::<u64> { schema: 12, zero_count: 0, ..of(count, &spans, buckets) };
        fine.append(TimestampMs(t), h);
    }
    let mut bytes = vec![0];
    fine.write_to(&mut bytes);
    seeds.push(bytes);
    seeds
}
