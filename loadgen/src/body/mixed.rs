//! Messages with native histograms and exemplars, whose length differs from step to step.
//!
//! The labels of each series are encoded once; [`Mixed::fill`] puts the message of a step together around them. Field
//! numbers of a series, 1.0 and 2.0:
//! ```text
//! labels 1 1   sample 2 2   exemplar 3 4   histogram 4 3   metadata - 5
//! exemplar   1 label or references of labels   0x11 value f64   0x18 timestamp, six bytes of varint
//! histogram  integer  0x08 count            0x30 zero count              positive deltas 12, zigzag
//!            float    0x11 count f64        0x39 zero count f64          positive counts 13, f64
//!            0x19 sum f64   0x20 schema, zigzag   0x29 zero threshold f64   positive spans 11 (offset 1, length 2)
//!            0x78 timestamp, six bytes of varint
//! ```
//! Fields stand in the order of their numbers. Source: `prompb/types.proto` and
//! `prompb/io/prometheus/write/v2/types.proto`, Prometheus.

use std::borrow::Cow;
use std::ops::Range;

use super::{Protocol, SeriesRange, push_bytes, push_varint, v1, v2};
use crate::population::Population;
use crate::population::histogram::{Histogram, HistogramShape, SCHEMA, ZERO_THRESHOLD};
use crate::population::mixture::Exemplar;
use crate::population::shape::Shape;

/// The message of one request, to be put together for any step.
#[derive(Debug)]
pub(super) struct Mixed {
    protocol: Protocol,
    /// 2.0: the symbols that every step has, encoded, and how many they are; the first references are "" and `trace_id`.
    symbols: (Vec<u8>, usize),
    series: Vec<Series>,
    float_histograms: bool,
    scratch: [Vec<u8>; 2],
}

/// What differs between a request's series.
#[derive(Debug)]
struct Series {
    number: u32,
    /// The encoded fields before the samples, and those behind them.
    fixed: [Vec<u8>; 2],
    course: Course,
}

#[derive(Debug)]
enum Course {
    Float(Shape),
    Histogram(HistogramShape),
}

/// The bytes and the timestamps of a message being put together.
pub(super) struct Page<'a> {
    pub(super) raw: &'a mut Vec<u8>,
    /// Offsets of the six bytes of each timestamp.
    pub(super) times: &'a mut Vec<usize>,
}

const TRACE_ID: &str = "trace_id";
/// The reference of [`TRACE_ID`] in 2.0.
const TRACE_ID_REFERENCE: usize = 1;

impl Mixed {
    /// The message for `series` with the labels of `step`, and the steps for which these hold.
    pub(super) fn new(
        protocol: Protocol,
        population: &Population,
        series: SeriesRange,
        step: u32,
    ) -> (Self, Range<u32>) {
        let (mut steps, mut all) = (0..u32::MAX, Vec::with_capacity(series.len()));
        let lives: Vec<_> = population.lives(series, step).collect();
        let mut symbols = v2::Symbols::default();
        symbols.reference(Cow::Borrowed(""));
        symbols.reference(Cow::Borrowed(TRACE_ID));
        for life in &lives {
            steps.start = steps.start.max(life.steps.start);
            steps.end = steps.end.min(life.steps.end);
            for number in life.series.clone() {
                let generation = life.life.generation;
                let mut fixed = [Vec::new(), Vec::new()];
                let [before, behind] = &mut fixed;
                match protocol {
                    Protocol::V1 => v1::push_labels(before, population, number, &life.life),
                    Protocol::V2 => {
                        let mut parts = [Vec::new(), Vec::new()];
                        v2::fill_parts(&mut parts, &mut symbols, population, number, &life.life);
                        let [refs, metadata] = parts;
                        push_bytes(before, 0x0a, &refs);
                        push_bytes(behind, 0x2a, &metadata);
                    }
                }
                let course = match population.is_histogram(number) {
                    true => Course::Histogram(population.histogram(number, generation)),
                    false => Course::Float(population.shape(number, generation)),
                };
                all.push(Series { number, fixed, course });
            }
        }
        let mixed = Self {
            protocol,
            symbols: symbols.finish(),
            series: all,
            float_histograms: population.mixture().float_histograms,
            scratch: [Vec::new(), Vec::new()],
        };
        (mixed, steps)
    }

    /// Writes the message with the values of `step` and this timestamp; returns how many exemplars it has.
    pub(super) fn fill(
        &mut self,
        page: &mut Page<'_>,
        population: &Population,
        step: u64,
        time: [u8; 6],
    ) -> u64 {
        page.raw.clear();
        page.times.clear();
        let exemplars: Vec<Option<Exemplar>> =
            self.series.iter().map(|series| population.exemplar(series.number, step)).collect();
        if self.protocol == Protocol::V2 {
            page.raw.extend_from_slice(&self.symbols.0);
            for exemplar in exemplars.iter().flatten() {
                push_bytes(page.raw, 0x22, &exemplar.trace_id);
            }
        }
        let (exemplar_tag, histogram_tag, series_tag) = match self.protocol {
            Protocol::V1 => (0x1a, 0x22, 0x0a),
            Protocol::V2 => (0x22, 0x1a, 0x2a),
        };
        let mut reference = self.symbols.1;
        let [sample, exemplar_bytes] = &mut self.scratch;
        for (series, exemplar) in self.series.iter().zip(&exemplars) {
            sample.clear();
            exemplar_bytes.clear();
            let sample_tag = match &series.course {
                Course::Float(shape) => {
                    push_float(sample, shape.value(step), time);
                    0x12
                }
                Course::Histogram(shape) => {
                    push_histogram(sample, &shape.at(step), self.float_histograms, time);
                    histogram_tag
                }
            };
            if let Some(exemplar) = exemplar {
                let labels = match self.protocol {
                    Protocol::V1 => v1::label(TRACE_ID.as_bytes(), &exemplar.trace_id),
                    Protocol::V2 => {
                        let mut refs = Vec::new();
                        push_varint(&mut refs, TRACE_ID_REFERENCE);
                        push_varint(&mut refs, reference);
                        reference += 1;
                        refs
                    }
                };
                push_bytes(exemplar_bytes, 0x0a, &labels);
                push_f64(exemplar_bytes, 0x11, exemplar.value);
                exemplar_bytes.push(0x18);
                exemplar_bytes.extend(time);
            }
            let mut fields = [(sample_tag, &*sample), (exemplar_tag, &*exemplar_bytes)];
            fields.sort_by_key(|(tag, _)| *tag);
            let framed = |bytes: &Vec<u8>| match bytes.len() {
                0 => 0,
                len => 1 + super::varint_len(len) + len,
            };
            let [before, behind] = &series.fixed;
            let len = fields.iter().map(|(_, bytes)| framed(bytes)).sum::<usize>();
            page.raw.push(series_tag);
            push_varint(page.raw, before.len() + len + behind.len());
            page.raw.extend_from_slice(before);
            for (tag, bytes) in fields.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
                push_bytes(page.raw, tag, bytes);
                page.times.push(page.raw.len() - 6); // the timestamp is the last field of all of them
            }
            page.raw.extend_from_slice(behind);
        }
        exemplars.iter().flatten().count() as u64
    }

    /// How many series the message has.
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }
}

fn push_float(out: &mut Vec<u8>, value: f64, time: [u8; 6]) {
    if value.to_bits() != 0 {
        push_f64(out, 0x09, value);
    }
    out.push(0x10);
    out.extend(time);
}

fn push_f64(out: &mut Vec<u8>, tag: u8, value: f64) {
    out.push(tag);
    out.extend(value.to_bits().to_le_bytes());
}

/// Appends the fields of a histogram.
fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram, float: bool, time: [u8; 6]) {
    #[expect(clippy::cast_precision_loss, reason = "a float histogram's counts are floats")]
    let as_float = |count: u64| count as f64;
    if float {
        push_f64(out, 0x11, as_float(histogram.count));
    } else {
        out.push(0x08);
        push_long_varint(out, histogram.count);
    }
    push_f64(out, 0x19, histogram.sum);
    out.push(0x20);
    push_long_varint(out, zigzag(i64::from(SCHEMA)));
    push_f64(out, 0x29, ZERO_THRESHOLD);
    if float {
        push_f64(out, 0x39, as_float(histogram.zero_count));
    } else {
        out.push(0x30);
        push_long_varint(out, histogram.zero_count);
    }
    let mut next = 0;
    for run in histogram.buckets.chunk_by(|a, b| a.0 + 1 == b.0) {
        let first = run.first().map_or(0, |(index, _)| *index);
        let mut span = vec![0x08];
        push_long_varint(&mut span, zigzag(i64::from(first - next)));
        span.push(0x10);
        push_varint(&mut span, run.len());
        push_bytes(out, 0x5a, &span);
        next = run.last().map_or(0, |(index, _)| *index + 1);
    }
    let mut counts = Vec::with_capacity(histogram.buckets.len() * 8);
    let mut before = 0;
    for (_, count) in &histogram.buckets {
        if float {
            counts.extend(as_float(*count).to_bits().to_le_bytes());
        } else {
            push_long_varint(&mut counts, zigzag(count.wrapping_sub(before).cast_signed()));
            before = *count;
        }
    }
    push_bytes(out, if float { 0x6a } else { 0x62 }, &counts);
    out.push(0x78);
    out.extend(time);
}

fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63).cast_unsigned()
}

#[expect(clippy::cast_possible_truncation, reason = "each byte takes seven bits on purpose")]
fn push_long_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
