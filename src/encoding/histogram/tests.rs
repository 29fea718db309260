//! Tests of histogram chunks.

use proptest::prelude::*;

use super::*;
use crate::model::histogram::testing::{Step, floats, integers, steps};
use crate::model::histogram::{Span, schema};
use crate::model::{Histogram, HistogramRef, IntHistogram, TimestampMs};

/// The chunks of a series of ours with a sample every few milliseconds, cut where the rule says.
fn chunks<C: Coded>(histograms: &[Histogram<C>]) -> Vec<EndedChunk> {
    let mut chunks = Vec::new();
    let mut open = HistogramAppender::<C>::new();
    let mut end = ChunkEnd::of(TimestampMs(0));
    for (i, h) in histograms.iter().enumerate() {
        let t = time(i);
        let long = open.range().is_some_and(|range| {
            let chunk = OpenChunk { range, samples: open.count(), bytes: open.len_bytes() };
            end.is_before(t, chunk)
        });
        let ended = if long { open.cut(t, h.as_ref()) } else { open.append(t, h.as_ref()) };
        if open.count() == 1 {
            end = ChunkEnd::of(t);
        }
        chunks.extend(ended);
    }
    chunks.extend(ended(&open));
    chunks
}

/// The open chunk as it is.
fn ended<C: Coded>(open: &HistogramAppender<C>) -> Option<EndedChunk> {
    let mut bytes = Vec::new();
    open.write_to(&mut bytes);
    assert_eq!(bytes.len(), open.len_bytes());
    Some(EndedChunk { range: open.range()?, bytes: bytes.into_boxed_slice() })
}

fn time(i: usize) -> TimestampMs {
    let i = i64::try_from(i).unwrap();
    TimestampMs(1_700_000_000_000 + i * 15_000 + i * i % 7)
}

fn read<C: Coded>(chunk: &[u8]) -> Vec<(TimestampMs, Histogram<C>)> {
    HistogramReader::new(chunk).unwrap().map(Result::unwrap).collect()
}

/// Every sample comes back, and what a reader is told about resets is right.
fn check_round_trip<C: Coded>(histograms: &[Histogram<C>]) -> Result<(), TestCaseError> {
    let chunks = chunks(histograms);
    let mut i = 0;
    for chunk in &chunks {
        let samples = read::<C>(&chunk.bytes);
        prop_assert_eq!(chunk.range.min(), samples[0].0);
        prop_assert_eq!(chunk.range.max(), samples[samples.len() - 1].0);
        let header = HistogramReader::<C>::new(&chunk.bytes).unwrap().header();
        for (at, (t, back)) in samples.into_iter().enumerate() {
            let (sent, back) = (histograms[i].as_ref(), back.as_ref());
            prop_assert_eq!(t, time(i));
            prop_assert!(back.is_same_sample(sent), "sample {}: {:?}, was {:?}", i, back, sent);
            prop_assert_eq!(back.validate(), Ok(()));
            if !back.is_stale() {
                let told = match header {
                    ResetHint::Gauge => ResetHint::Gauge,
                    _ if at > 0 => ResetHint::NotReset,
                    _ => ResetHint::Unknown,
                };
                prop_assert_eq!(back.reset_hint, told);
            }
            prop_assert_eq!(
                header == ResetHint::Gauge,
                sent.reset_hint == ResetHint::Gauge,
                "sample {}",
                i
            );
            i += 1;
        }
    }
    prop_assert_eq!(i, histograms.len());
    Ok(())
}

/// However often it is stopped and resumed from its bytes, a chunk ends up the same.
fn check_resuming<C: Coded>(histograms: &[Histogram<C>]) -> Result<(), TestCaseError> {
    let (mut open, mut resumed) = (HistogramAppender::<C>::new(), HistogramAppender::<C>::new());
    for (i, h) in histograms.iter().enumerate() {
        let ends = open.append(time(i), h.as_ref());
        prop_assert_eq!(resumed.append(time(i), h.as_ref()), ends);
        let now = ended(&open).unwrap();
        resumed = HistogramAppender::resume(&now.bytes).unwrap();
        prop_assert_eq!(resumed.range(), open.range());
        prop_assert_eq!(ended(&resumed).unwrap(), now);
    }
    Ok(())
}

/// Any bytes end in samples, or in an error.
fn check_hostile<C: Coded>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(mut reader) = HistogramReader::<C>::new(bytes) {
        let promised = usize::from(reader.promised());
        let mut read = 0;
        while let Some(Ok(_)) = reader.advance() {
            let _ = reader.histogram().validate();
            read += 1;
        }
        prop_assert!(read <= promised);
        prop_assert!(reader.advance().is_none());
    }
    if let Ok(mut open) = HistogramAppender::<C>::resume(bytes) {
        let h = HistogramRef {
            positive_spans: &[Span { offset: 1, length: 1 }],
            positive_buckets: &[C::Bucket::default()],
            ..HistogramRef::<C>::empty()
        };
        for t in 1..4 {
            if open.count() < u16::MAX && open.layout().bucket_total() < 100_000 {
                let _ = open.append(TimestampMs(t), h);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_valid_integer_series_comes_back(steps in steps()) {
        check_round_trip(&integers(&steps))?;
    }

    #[test]
    fn any_valid_float_series_comes_back(steps in steps()) {
        check_round_trip(&floats(&steps))?;
    }

    #[test]
    fn a_resumed_chunk_goes_on_as_if_it_had_never_stopped(steps in steps()) {
        check_resuming(&integers(&steps))?;
        check_resuming(&floats(&steps))?;
    }

    #[test]
    fn cut_and_flipped_chunks_end_in_an_error_or_in_other_samples(
        steps in steps(), flips in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let broken = |chunk: &EndedChunk| {
            let mut bytes = chunk.bytes.to_vec();
            for flip in &flips {
                let bit = flip.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let cut = bytes[..cut.index(bytes.len())].to_vec();
            [bytes, cut]
        };
        for bytes in chunks(&integers(&steps)).iter().flat_map(broken) {
            check_hostile::<u64>(&bytes)?;
        }
        for bytes in chunks(&floats(&steps)).iter().flat_map(broken) {
            check_hostile::<f64>(&bytes)?;
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_hostile::<u64>(&bytes)?;
        check_hostile::<f64>(&bytes)?;
    }
}

/// A counter that gets new buckets and a bucket less, is reset, gets another threshold and ends; then custom buckets; then
/// a gauge.
fn golden() -> Vec<(TimestampMs, IntHistogram)> {
    let t = |i: i64| TimestampMs(1_700_000_000_000 + i * 15_000);
    let span = |offset, length| Span { offset, length };
    let first = HistogramRef::<u64> {
        schema: 3,
        zero_threshold: 2f64.powi(-128),
        count: 11,
        zero_count: 2,
        sum: 18.4,
        positive_spans: &[span(-2, 2), span(3, 1)],
        positive_buckets: &[1, 2, -1],
        negative_spans: &[span(5, 2)],
        negative_buckets: &[1, 1],
        ..HistogramRef::empty()
    };
    let second = HistogramRef {
        count: 5_000_017,
        zero_count: 3,
        sum: 1e9,
        positive_buckets: &[1, 5_000_005, -5_000_002],
        ..first
    };
    // The second bucket of the first span is a span of its own, and others come before and behind.
    let third = HistogramRef {
        reset_hint: ResetHint::NotReset,
        count: 5_000_031,
        positive_spans: &[span(-4, 1), span(1, 1), span(0, 1), span(3, 3)],
        positive_buckets: &[7, -6, 5_000_005, -5_000_002, -4, 7],
        ..second
    };
    // The empty bucket is gone.
    let fourth = HistogramRef {
        sum: -0.25,
        positive_spans: &[span(-4, 1), span(1, 2), span(3, 1), span(1, 1)],
        positive_buckets: &[7, -6, 5_000_005, -5_000_002, 3],
        ..third
    };
    let threshold = HistogramRef { zero_threshold: 0.001, ..fourth };
    let custom = HistogramRef {
        schema: schema::CUSTOM_BUCKETS,
        count: 6,
        sum: 3.5,
        positive_spans: &[span(0, 2), span(1, 1)],
        positive_buckets: &[1, 1, 1],
        custom_values: &[0.005, 1.0, 33_554.43, 33_554.431, 1e6, f64::from(1 << 30)],
        ..HistogramRef::empty()
    };
    let gauge = HistogramRef { reset_hint: ResetHint::Gauge, ..first };
    let lower = HistogramRef {
        count: 5,
        zero_count: 0,
        positive_spans: &[span(0, 3)],
        positive_buckets: &[1, 0, 0],
        negative_buckets: &[1, 0],
        ..gauge
    };
    let samples = [
        (t(0), first),
        (t(1), second),
        (TimestampMs(t(2).0 + 123), third),
        (t(5), fourth),
        (t(1000), first),
        (t(1001), second),
        (t(1002), threshold),
        (t(1003), HistogramRef { sum: HistogramRef::<u64>::stale().sum, ..threshold }),
        (t(1004), HistogramRef::stale()),
        (t(1005), custom),
        (t(1006), custom),
        (t(1007), gauge),
        (t(1008), lower),
        (t(1009), gauge),
    ];
    let checked = |(t, h): (TimestampMs, HistogramRef<'_, u64>)| {
        assert_eq!(h.validate(), Ok(()));
        (t, h.to_histogram())
    };
    samples.map(checked).to_vec()
}

/// The chunks of golden samples, one hexadecimal line each.
fn lines<C: Coded>(samples: &[(TimestampMs, Histogram<C>)]) -> Vec<String> {
    let mut open = HistogramAppender::<C>::new();
    let mut chunks: Vec<_> =
        samples.iter().filter_map(|(t, h)| open.append(*t, h.as_ref())).collect();
    chunks.extend(ended(&open));
    let hex = |chunk: EndedChunk| chunk.bytes.iter().map(|b| format!("{b:02x}")).collect();
    chunks.into_iter().map(hex).collect()
}

/// The chunks of a file: an empty line is between two.
fn golden_lines(file: &str) -> Vec<String> {
    file.split("\n\n").map(|chunk| chunk.split_whitespace().collect()).collect()
}

#[test] // golden bytes: Prometheus 3.14 makes these of the same samples
fn integer_histograms_have_these_bytes() {
    let golden_bytes = include_str!("../../../tests/golden/histogram_chunk.hex");
    assert_eq!(lines(&golden()), golden_lines(golden_bytes));
}

#[test] // golden bytes: Prometheus 3.14 makes these of the same samples
fn float_histograms_have_these_bytes() {
    let golden_bytes = include_str!("../../../tests/golden/float_histogram_chunk.hex");
    let floats: Vec<_> = golden().into_iter().map(|(t, h)| (t, h.to_float())).collect();
    assert_eq!(lines(&floats), golden_lines(golden_bytes));
}

#[test]
fn a_chunk_without_its_header_is_refused() {
    let error = HistogramReader::<u64>::new(&[0, 1]).unwrap_err();
    assert_eq!(error.to_string(), "histogram chunk of 2 bytes is shorter than its header of 3");
}

#[test]
fn an_empty_chunk_has_no_samples() {
    assert!(read::<f64>(&[0, 0, 0]).is_empty());
}

/// A counter's histogram with these buckets from index 0.
fn counter(buckets: &'static [i64]) -> IntHistogram {
    let count = crate::model::histogram::counts::<u64>(buckets).sum::<i64>().cast_unsigned();
    let length = u32::try_from(buckets.len()).unwrap();
    let h = HistogramRef {
        count,
        sum: 1.0,
        positive_spans: &[Span { offset: 0, length }],
        positive_buckets: buckets,
        ..HistogramRef::empty()
    };
    h.to_histogram()
}

#[test]
fn new_buckets_write_the_chunk_anew_and_do_not_end_it() {
    let mut open = HistogramAppender::<u64>::new();
    for (t, buckets) in [&[1][..], &[1, 1], &[1, 1, 1]].into_iter().enumerate() {
        assert_eq!(open.append(time(t), counter(buckets).as_ref()), None);
    }
    let samples = read::<u64>(&ended(&open).unwrap().bytes);
    let written: Vec<_> = samples.iter().map(|(_, h)| h.as_ref().positive_buckets).collect();
    assert_eq!(written, [[1, -1, 0], [1, 1, -2], [1, 1, 1]]);
}

#[test]
fn the_header_says_why_a_chunk_began() {
    let header = |first: &IntHistogram, second: HistogramRef<'_, u64>, cut: bool| {
        let mut open = HistogramAppender::<u64>::new();
        assert_eq!(open.append(time(0), first.as_ref()), None);
        let end = if cut { open.cut(time(1), second) } else { open.append(time(1), second) };
        assert_eq!(end.unwrap().range.max(), time(0));
        HistogramReader::<u64>::new(&ended(&open).unwrap().bytes).unwrap().header()
    };
    let (one, two) = (counter(&[1]), counter(&[2]));
    assert_eq!(header(&two, one.as_ref(), false), ResetHint::Reset);
    assert_eq!(header(&one, two.as_ref(), true), ResetHint::NotReset);
    let with = |reset_hint| HistogramRef { reset_hint, ..two.as_ref() };
    assert_eq!(header(&one, with(ResetHint::Reset), false), ResetHint::Reset);
    assert_eq!(header(&one, with(ResetHint::Gauge), false), ResetHint::Gauge);
    let finer = HistogramRef { schema: 2, ..two.as_ref() };
    assert_eq!(header(&one, finer, false), ResetHint::Unknown);
    let stale = HistogramRef::<u64>::stale().to_histogram();
    assert_eq!(header(&stale, two.as_ref(), false), ResetHint::Unknown);
}

#[test]
fn numbers_of_all_64_bits_come_back() {
    let spans = [Span { offset: i32::MIN, length: 3 }, Span { offset: i32::MAX, length: 1 }];
    let with = |count: u64, buckets: &'static [i64]| HistogramRef {
        reset_hint: ResetHint::Gauge,
        count,
        zero_count: count ^ 5,
        sum: f64::from_bits(count),
        positive_spans: &spans,
        positive_buckets: buckets,
        ..HistogramRef::<u64>::empty()
    };
    let sent = [
        (i64::MIN, with(u64::MAX, &[i64::MAX, i64::MIN, i64::MIN, 1])),
        (i64::MAX, with(0, &[0, i64::MIN, i64::MAX, -1])),
        (-1, with(1 << 63, &[i64::MIN, 1 << 62, 0, i64::MAX])),
    ];
    let mut open = HistogramAppender::<u64>::new();
    for (t, h) in sent {
        assert_eq!(open.append(TimestampMs(t), h), None);
    }
    let mut bytes = Vec::new();
    open.write_to(&mut bytes);
    let back = read::<u64>(&bytes);
    for ((t, back), (sent_t, sent)) in back.iter().zip(sent) {
        assert_eq!((t.0, back.as_ref()), (sent_t, sent));
    }
    assert_eq!(back.len(), sent.len());
}

#[test]
#[should_panic(expected = "a histogram is validated before a chunk sees it")]
fn a_histogram_without_its_buckets_is_our_own_mistake() {
    let one = counter(&[1]);
    let h = HistogramRef { positive_buckets: &[], ..one.as_ref() };
    let _ = HistogramAppender::<u64>::new().append(time(0), h);
}

#[test]
fn what_is_too_fine_is_read_in_the_finest_resolution_there_is() {
    let coarse = counter(&[1, 1, 1]);
    let fine = HistogramRef { schema: 9, ..coarse.as_ref() }.to_histogram();
    let mut open = HistogramAppender::<u64>::new();
    let _ = open.append(time(0), fine.as_ref());
    let back = read::<u64>(&ended(&open).unwrap().bytes).remove(0).1;
    assert_eq!(back, fine.as_ref().reduced(schema::MAX).unwrap());
    assert_eq!(back.as_ref().positive_buckets, [1, 4]);
}

#[test]
fn samples_of_a_chunk_share_their_layout() {
    let chunk = chunks(&integers(&[
        Step::Observe(vec![(true, 5, 1)], 0, 0),
        Step::Observe(vec![(true, 5, 1)], 0, 0),
    ]));
    let samples = read::<u64>(&chunk[0].bytes);
    assert!(std::sync::Arc::ptr_eq(samples[0].1.layout(), samples[1].1.layout()));
}
