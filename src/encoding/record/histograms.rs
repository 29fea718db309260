//! Native histograms as samples: integer ones and float ones in records of their own.

use super::{FLOAT_HISTOGRAMS, HISTOGRAMS, RecordError, begin, end};
use crate::encoding::varint::{push_signed, push_unsigned, split_signed, split_unsigned};
use crate::model::histogram::Span;
use crate::model::{AnyHistogramRef, Count, HistogramRef, ResetHint, SeriesRef, TimestampMs};

/// What a record of histograms counts in.
pub trait LoggedCount: Count {
    /// The kind of record.
    const KIND: u8;

    /// One of either kind.
    fn any(histogram: HistogramRef<'_, Self>) -> AnyHistogramRef<'_>;

    /// Appends a count.
    fn push(out: &mut Vec<u8>, count: Self);

    /// Splits a count off.
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])>;

    /// Appends a bucket.
    fn push_bucket(out: &mut Vec<u8>, bucket: Self::Bucket);

    /// Splits a bucket off.
    fn split_bucket(bytes: &[u8]) -> Option<(Self::Bucket, &[u8])>;
}

impl LoggedCount for u64 {
    const KIND: u8 = HISTOGRAMS;

    fn any(histogram: HistogramRef<'_, u64>) -> AnyHistogramRef<'_> {
        AnyHistogramRef::Int(histogram)
    }

    fn push(out: &mut Vec<u8>, count: u64) {
        push_unsigned(out, count);
    }

    fn split(bytes: &[u8]) -> Option<(u64, &[u8])> {
        split_unsigned(bytes)
    }

    fn push_bucket(out: &mut Vec<u8>, bucket: i64) {
        push_signed(out, bucket);
    }

    fn split_bucket(bytes: &[u8]) -> Option<(i64, &[u8])> {
        split_signed(bytes)
    }
}

impl LoggedCount for f64 {
    const KIND: u8 = FLOAT_HISTOGRAMS;

    fn any(histogram: HistogramRef<'_, f64>) -> AnyHistogramRef<'_> {
        AnyHistogramRef::Float(histogram)
    }

    fn push(out: &mut Vec<u8>, count: f64) {
        out.extend_from_slice(&count.to_bits().to_le_bytes());
    }

    fn split(bytes: &[u8]) -> Option<(f64, &[u8])> {
        let (bits, rest) = bytes.split_first_chunk::<8>()?;
        Some((f64::from_bits(u64::from_le_bytes(*bits)), rest))
    }

    fn push_bucket(out: &mut Vec<u8>, bucket: f64) {
        Self::push(out, bucket);
    }

    fn split_bucket(bytes: &[u8]) -> Option<(f64, &[u8])> {
        Self::split(bytes)
    }
}

/// The body of a record of histograms that is being gathered.
#[derive(Clone, Debug)]
pub struct HistogramsBody {
    bytes: Vec<u8>,
    before: (SeriesRef, TimestampMs),
    count: usize,
}

/// What the first of a record is told by its difference from.
const BEFORE_THE_FIRST: (SeriesRef, TimestampMs) = (SeriesRef(0), TimestampMs(0));

impl Default for HistogramsBody {
    fn default() -> Self {
        Self { bytes: Vec::new(), before: BEFORE_THE_FIRST, count: 0 }
    }
}

impl HistogramsBody {
    /// Appends one histogram.
    pub fn push<C: LoggedCount>(
        &mut self,
        series: SeriesRef,
        t: TimestampMs,
        h: HistogramRef<'_, C>,
    ) {
        let before = std::mem::replace(&mut self.before, (series, t));
        let out = &mut self.bytes;
        self.count += 1;
        push_signed(out, series.0.wrapping_sub(before.0.0).cast_signed());
        push_signed(out, t.0.wrapping_sub(before.1.0));
        out.push(h.reset_hint.number());
        push_signed(out, i64::from(h.schema));
        f64::push(out, h.zero_threshold);
        C::push(out, h.count);
        C::push(out, h.zero_count);
        f64::push(out, h.sum);
        for spans in [h.positive_spans, h.negative_spans] {
            push_unsigned(out, spans.len() as u64);
            for span in spans {
                push_signed(out, i64::from(span.offset));
                push_unsigned(out, u64::from(span.length));
            }
        }
        for buckets in [h.positive_buckets, h.negative_buckets] {
            push_unsigned(out, buckets.len() as u64);
            buckets.iter().for_each(|bucket| C::push_bucket(out, *bucket));
        }
        push_unsigned(out, h.custom_values.len() as u64);
        h.custom_values.iter().for_each(|bound| f64::push(out, *bound));
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// No histogram yet?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many histograms.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Forgets all, keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.before, self.count) = (BEFORE_THE_FIRST, 0);
    }
}

/// Appends a record of histograms that count in `C`, all of which were gathered as that.
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_histograms<C: LoggedCount>(out: &mut Vec<u8>, body: &HistogramsBody) {
    let start = begin(out, C::KIND);
    out.extend_from_slice(&body.bytes);
    end(out, start);
}

/// Histograms in the order in which they were logged; each is read into the same buffers.
#[derive(Clone, Debug)]
pub struct HistogramsRecord<'a, C: LoggedCount> {
    rest: &'a [u8],
    before: (SeriesRef, TimestampMs),
    spans: [Vec<Span>; 2],
    buckets: [Vec<C::Bucket>; 2],
    custom: Vec<f64>,
}

/// A histogram on its way from the log.
#[derive(Clone, Copy, Debug)]
pub struct LoggedHistogram<'a, C: Count> {
    /// Whose.
    pub series: SeriesRef,
    /// When.
    pub t: TimestampMs,
    /// What. Not yet known to be valid: the bytes may be anybody's.
    pub histogram: HistogramRef<'a, C>,
}

impl<'a, C: LoggedCount> HistogramsRecord<'a, C> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self {
            rest: body,
            before: BEFORE_THE_FIRST,
            spans: [Vec::new(), Vec::new()],
            buckets: [Vec::new(), Vec::new()],
            custom: Vec::new(),
        }
    }

    /// The next one; `None` behind the last.
    ///
    /// # Errors
    /// Bytes that are none. There is no further one then.
    pub fn next_histogram(&mut self) -> Option<Result<LoggedHistogram<'_, C>, RecordError>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(fixed) = self.split() else {
            self.rest = &[];
            let what = "a histograms record ends within a histogram";
            return Some(Err(RecordError::Body { offset: 0, what }));
        };
        let (series, t) = self.before;
        let [positive_spans, negative_spans] = self.spans.each_ref().map(Vec::as_slice);
        let [positive_buckets, negative_buckets] = self.buckets.each_ref().map(Vec::as_slice);
        let histogram = HistogramRef {
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: &self.custom,
            ..fixed
        };
        Some(Ok(LoggedHistogram { series, t, histogram }))
    }

    /// Reads the next one's lists, and gives the rest of it.
    fn split(&mut self) -> Option<HistogramRef<'static, C>> {
        let (series, rest) = split_signed(self.rest)?;
        let (t, rest) = split_signed(rest)?;
        let (&[hint], rest) = rest.split_first_chunk::<1>()?;
        let (schema, rest) = split_signed(rest)?;
        let (zero_threshold, rest) = f64::split(rest)?;
        let (count, rest) = C::split(rest)?;
        let (zero_count, rest) = C::split(rest)?;
        let (sum, mut rest) = f64::split(rest)?;
        for spans in &mut self.spans {
            rest = list(rest, spans, |rest| {
                let (offset, rest) = split_signed(rest)?;
                let (length, rest) = split_unsigned(rest)?;
                let offset = i32::try_from(offset).ok()?;
                Some((Span { offset, length: u32::try_from(length).ok()? }, rest))
            })?;
        }
        for buckets in &mut self.buckets {
            rest = list(rest, buckets, C::split_bucket)?;
        }
        rest = list(rest, &mut self.custom, f64::split)?;
        self.rest = rest;
        let before = self.before;
        self.before = (
            SeriesRef(before.0.0.wrapping_add(series.cast_unsigned())),
            TimestampMs(before.1.0.wrapping_add(t)),
        );
        Some(HistogramRef {
            reset_hint: ResetHint::of_number(hint)?,
            schema: i32::try_from(schema).ok()?,
            zero_threshold,
            count,
            zero_count,
            sum,
            ..HistogramRef::empty()
        })
    }
}

/// Reads a list into `out`; what is behind it.
fn list<'a, T>(
    bytes: &'a [u8],
    out: &mut Vec<T>,
    split: impl Fn(&'a [u8]) -> Option<(T, &'a [u8])>,
) -> Option<&'a [u8]> {
    out.clear();
    let (count, mut rest) = split_unsigned(bytes)?;
    // Each takes a byte at least: no number makes this larger than the record.
    for _ in 0..count {
        let (element, behind) = split(rest)?;
        out.push(element);
        rest = behind;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Record, records};
    use super::*;
    use crate::model::Histogram;
    use crate::model::histogram::testing::{floats, integers, steps};

    const SPANS: [Span; 2] = [Span { offset: -2, length: 2 }, Span { offset: 300, length: 1 }];

    #[test] // golden bytes: the format cannot drift unseen
    fn records_of_histograms_have_these_bytes() {
        let int = HistogramRef::<u64> {
            reset_hint: ResetHint::Gauge,
            schema: 3,
            zero_threshold: 0.5,
            count: 300,
            zero_count: 2,
            sum: 1.5,
            positive_spans: &SPANS,
            negative_spans: &SPANS[1..],
            positive_buckets: &[100, -99, 300],
            negative_buckets: &[4],
            custom_values: &[],
        };
        let float = HistogramRef::<f64> {
            schema: -53,
            count: 3.5,
            positive_spans: &SPANS[..1],
            positive_buckets: &[3.0, 0.5],
            custom_values: &[2.5],
            ..HistogramRef::empty()
        };
        let (mut ints, mut out) = (HistogramsBody::default(), Vec::new());
        ints.push(SeriesRef(7), TimestampMs(1000), int);
        ints.push(SeriesRef(5), TimestampMs(1001), HistogramRef::<u64>::stale());
        push_histograms::<u64>(&mut out, &ints);
        let mut floats = HistogramsBody::default();
        floats.push(SeriesRef(u64::MAX), TimestampMs(i64::MIN), float);
        push_histograms::<f64>(&mut out, &floats);
        let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
        let golden = include_str!("../../../tests/golden/wal_histograms.hex");
        assert_eq!(hex, golden.split_whitespace().collect::<String>());
    }

    fn int(record: Record<'_>) -> Option<HistogramsRecord<'_, u64>> {
        match record {
            Record::Histograms(record) => Some(record),
            _ => None,
        }
    }

    fn float(record: Record<'_>) -> Option<HistogramsRecord<'_, f64>> {
        match record {
            Record::FloatHistograms(record) => Some(record),
            _ => None,
        }
    }

    /// Does a record give histograms of several series back?
    fn round_trip<C: LoggedCount>(
        all: &[Histogram<C>],
        record: fn(Record<'_>) -> Option<HistogramsRecord<'_, C>>,
    ) -> bool {
        let (mut body, mut out) = (HistogramsBody::default(), Vec::new());
        let at = |i: usize| (SeriesRef(i as u64 * 7 % 5), TimestampMs(i as i64 * -15_000));
        for (i, histogram) in all.iter().enumerate() {
            let (series, t) = at(i);
            body.push(series, t, histogram.as_ref());
        }
        push_histograms::<C>(&mut out, &body);
        let mut record = record(records(&out).next().unwrap().unwrap()).unwrap();
        for (i, histogram) in all.iter().enumerate() {
            let read = record.next_histogram().unwrap().unwrap();
            let same = (read.series, read.t) == at(i) && read.histogram == histogram.as_ref();
            if !same {
                return false;
            }
        }
        record.next_histogram().is_none() && body.count() == all.len()
    }

    proptest! {
        #[test]
        fn any_histograms_come_back(steps in steps()) {
            prop_assert!(round_trip(&integers(&steps), int));
            prop_assert!(round_trip(&floats(&steps), float));
        }

        #[test]
        fn cut_and_random_bytes_end_with_an_error_or_with_the_record(
            steps in steps(), cut in any::<prop::sample::Index>(), random in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut body = HistogramsBody::default();
            for histogram in integers(&steps) {
                body.push(SeriesRef(1), TimestampMs(2), histogram.as_ref());
            }
            let cut = cut.index(body.len().max(1));
            for bytes in [body.bytes.get(..cut).unwrap_or_default(), &random] {
                let (mut ints, mut floats) =
                    (HistogramsRecord::<u64>::of(bytes), HistogramsRecord::<f64>::of(bytes));
                let mut read = 0;
                while let Some(Ok(_)) = ints.next_histogram() {
                    read += 1;
                }
                while let Some(Ok(_)) = floats.next_histogram() {
                    read += 1;
                }
                prop_assert!(read <= bytes.len());
                prop_assert!(ints.next_histogram().is_none() && floats.next_histogram().is_none());
            }
        }
    }
}
