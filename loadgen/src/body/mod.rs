//! Request bodies: remote write 1.0 and 2.0 messages of one sample a series, compressed.
//!
//! A [`Template`] is the message of one request with its labels in place; filling in a step changes only the eight bytes
//! of each value and the six of each timestamp. As Prometheus' own encoder does, a value that is always 0 is left out.
//! With native histograms or exemplars the message of each step has a length of its own: see `mixed`.

pub mod compress;
pub mod magazine;
mod mixed;
pub mod patch;
mod v1;
mod v2;

use std::ops::Range;

use mixed::{Mixed, Page};
use serde::{Deserialize, Serialize};

use crate::population::Population;
use crate::population::shape::Shape;
use crate::timeline::{Timeline, time_varint};

/// The remote write protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// `prometheus.WriteRequest`.
    #[serde(rename = "1.0")]
    V1,
    /// `io.prometheus.write.v2.Request`.
    #[serde(rename = "2.0")]
    V2,
}

impl Protocol {
    /// The `Content-Type` of its requests.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The `X-Prometheus-Remote-Write-Version` of its requests.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// The series of one request, the first included and the last not.
pub type SeriesRange = Range<u32>;

/// An uncompressed message whose values and timestamps can be filled in again and again.
#[derive(Debug)]
pub struct Template {
    raw: Vec<u8>,
    slots: Vec<Slot>,
    steps: Range<u32>,
    /// Set if there is more than floats in it; then there are no slots.
    mixed: Option<Mixed>,
    /// Of a mixed message: where the timestamps of the step last filled in are.
    times: Vec<usize>,
    exemplars: u64,
}

/// Where the sample of one series lies.
#[derive(Debug)]
struct Slot {
    shape: Shape,
    /// Offset of the eight bytes of the value; `None` if it is always 0 and left out.
    value_at: Option<usize>,
    /// Offset of the six bytes of the timestamp.
    time_at: usize,
}

/// A sample without its value: tag and six bytes of timestamp.
const SAMPLE_BYTES_ZERO: u8 = 7;
/// A sample: tag and eight bytes of value, tag and six bytes of timestamp.
const SAMPLE_BYTES: u8 = 16;

impl Template {
    /// The message for `series` with the labels that they have at `step`.
    #[must_use]
    pub fn new(
        protocol: Protocol,
        population: &Population,
        series: SeriesRange,
        step: u32,
    ) -> Self {
        if !population.mixture().is_plain() {
            let (mixed, steps) = Mixed::new(protocol, population, series, step);
            return Self { mixed: Some(mixed), steps, ..Self::empty(0) };
        }
        match protocol {
            Protocol::V1 => v1::template(population, series, step),
            Protocol::V2 => v2::template(population, series, step),
        }
    }

    /// A message of nothing yet, with room for so many series.
    fn empty(series: usize) -> Self {
        let slots = Vec::with_capacity(series);
        let (raw, times) = (Vec::new(), Vec::new());
        Self { raw, slots, steps: 0..u32::MAX, mixed: None, times, exemplars: 0 }
    }

    /// The steps for which these labels are right.
    #[must_use]
    pub fn steps(&self) -> Range<u32> {
        self.steps.clone()
    }

    /// How many floats and histograms the message has.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.mixed.as_ref().map_or(self.slots.len(), Mixed::len)
    }

    /// How many exemplars the message that was last filled in has.
    #[must_use]
    pub fn exemplars(&self) -> u64 {
        self.exemplars
    }

    /// Has the message of each step other marks than that of the step before?
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.mixed.is_some()
    }

    /// The message of `population` for `step`.
    pub fn fill(&mut self, population: &Population, step: u32, timeline: &Timeline) -> &[u8] {
        let time = time_varint(timeline.time(step));
        let value_step = timeline.value_step(step);
        if let Some(mixed) = &mut self.mixed {
            let mut page = Page { raw: &mut self.raw, times: &mut self.times };
            self.exemplars = mixed.fill(&mut page, population, value_step, time);
        }
        for slot in &self.slots {
            let mut put = |at: usize, bytes: &[u8]| {
                if let Some(place) = self.raw.get_mut(at..at + bytes.len()) {
                    place.copy_from_slice(bytes);
                }
            };
            if let Some(at) = slot.value_at {
                put(at, &slot.shape.value(value_step).to_bits().to_le_bytes());
            }
            put(slot.time_at, &time);
        }
        &self.raw
    }

    /// For every byte of the message: 0, or for the bytes of a timestamp their number from 1 to 6. Of a mixed message, the
    /// one that was last filled in.
    #[must_use]
    pub fn time_marks(&self) -> Vec<u8> {
        let mut marks = vec![0; self.raw.len()];
        let slots = self.slots.iter().map(|slot| slot.time_at);
        for at in slots.chain(self.times.iter().copied()) {
            if let Some(place) = marks.get_mut(at..at + 6) {
                place.copy_from_slice(&[1, 2, 3, 4, 5, 6]);
            }
        }
        marks
    }

    /// Puts `front` before everything written so far.
    fn prepend(&mut self, front: Vec<u8>) {
        let by = front.len();
        let raw = std::mem::replace(&mut self.raw, front);
        self.raw.extend_from_slice(&raw);
        for slot in &mut self.slots {
            slot.time_at += by;
            slot.value_at = slot.value_at.map(|at| at + by);
        }
    }

    /// Appends the sample of a series: fields `value` = 1 and `timestamp` = 2, the same in both protocols.
    fn push_sample(&mut self, tag: u8, shape: Shape) {
        let zero = shape == Shape::Constant(0.0);
        self.raw.extend([tag, if zero { SAMPLE_BYTES_ZERO } else { SAMPLE_BYTES }]);
        let value_at = (!zero).then(|| {
            self.raw.push(0x09);
            self.raw.extend([0; 8]);
            self.raw.len() - 8
        });
        self.raw.push(0x10);
        let time_at = self.raw.len();
        self.raw.extend([0; 6]);
        self.slots.push(Slot { shape, value_at, time_at });
    }
}

/// Bytes that [`Template::push_sample`] appends for `shape`.
fn sample_len(shape: Shape) -> usize {
    2 + usize::from(if shape == Shape::Constant(0.0) { SAMPLE_BYTES_ZERO } else { SAMPLE_BYTES })
}

#[expect(clippy::cast_possible_truncation, reason = "each byte takes seven bits on purpose")]
fn push_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn varint_len(mut n: usize) -> usize {
    let mut len = 1;
    while n >= 0x80 {
        n >>= 7;
        len += 1;
    }
    len
}

/// Appends a field of length-delimited bytes.
fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    push_varint(out, bytes.len());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
