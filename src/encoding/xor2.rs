//! Prometheus's XOR2 chunk (encoding 4): floats as `super::xor` has them, with fewer bits where time and value go on as
//! they did, and with room for start timestamps.
//!
//! ```text
//! chunk      count u16 big-endian │ starts u8 │ sample 0 │ sample 1 ... │ zero bits to the end of the byte
//! starts     the highest bit: sample 0 has a start; the others: index of the first sample with a change of the start, 0 if
//!            there is none
//! sample 0   t zigzag varint │ v 64 bits │ if it has a start: t less the start, zigzag varint
//! sample 1   t - t0 unsigned varint │ value │ start
//! sample n   time and value │ start
//! time and value   0               the same delta, the same value again
//!                  10 change       the same delta, another value: 0 old window, 1 new window
//!                  110 dod value   dod of 13 bits; 1110 of 20 bits; 11110 of 64 bits: two's complement
//!                  11111           the same delta, the staleness marker
//! value            0               the same value again
//!                  10 old window, 110 new window, 111 the staleness marker
//! start            only from the first change on. Of that sample: the time of the sample before, less the start, signed.
//!                  Of later ones: by how much that differs from the one before, signed
//! ```
//! Windows are `super::window`'s, `signed` is `super::varbit`'s. Values are compared with the last one that was not the
//! staleness marker. A start of 0 is none. What begins to change behind sample 127 cannot be told in seven bits: if
//! nothing has changed before, sample 127 is written as if it had.
//!
//! Source: Prometheus 3.14, `tsdb/chunkenc/xor2.go`. Golden bytes, written by its code: `tests/golden/xor2_chunk.hex`.

use super::bits::{BitReader, BitWriter};
use super::window::{self, Placed, TooWide, Window};
use super::{varbit, varint};
use crate::model::{STALE_NAN_BITS, Sample, TimestampMs, is_stale_nan};

/// The encoding's number in Prometheus's formats.
pub const ENCODING: u8 = 4;
/// Bytes before the first sample.
const HEADER_BYTES: usize = 3;
/// The last sample whose index the header can tell as that of the first change.
const CHANGE_MAX: u16 = 127;
/// The header's bit for the start of the first sample.
const FIRST_KNOWN: u8 = 0x80;

/// A sample and since when its counter counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StartedSample {
    /// The start; zero if it is not known.
    pub start: TimestampMs,
    /// The sample.
    pub sample: Sample,
}

/// A chunk that is being written, and where the writing stands.
#[derive(Clone, Debug)]
pub struct Xor2Appender {
    /// Everything behind the header.
    bits: BitWriter,
    last: Last,
    starts: Starts,
    /// When the first sample is.
    first_t: i64,
    count: u16,
}

/// The last sample, as both who writes and who reads knows it.
#[derive(Clone, Debug, Default)]
struct Last {
    t: i64,
    /// What it was later than the one before.
    delta: i64,
    start: i64,
    /// From its start to the sample before it, once starts are written.
    start_ago: i64,
    /// Bits of the last value that was not the staleness marker.
    v: u64,
    window: Window,
    /// Is its value the staleness marker?
    stale: bool,
}

impl Last {
    fn sample(&self) -> Sample {
        let bits = if self.stale { STALE_NAN_BITS } else { self.v };
        Sample { t: TimestampMs(self.t), v: f64::from_bits(bits) }
    }
}

/// What the header says about starts.
#[derive(Clone, Copy, Debug, Default)]
struct Starts {
    first_known: bool,
    /// Index of the first sample with a change; zero if there is none.
    change_on: u16,
}

impl Starts {
    fn of_byte(byte: u8) -> Self {
        Self { first_known: byte & FIRST_KNOWN != 0, change_on: u16::from(byte & !FIRST_KNOWN) }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a change behind 127 is written on 127")]
    fn byte(self) -> u8 {
        u8::from(self.first_known) << 7 | self.change_on as u8
    }
}

impl Xor2Appender {
    /// A chunk without samples.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bits: BitWriter::default(),
            last: Last::default(),
            starts: Starts::default(),
            first_t: 0,
            count: 0,
        }
    }

    /// Goes on with the chunk that `bytes` are, as if it had never stopped.
    ///
    /// # Errors
    /// Bytes that are no whole chunk.
    pub fn resume(bytes: &[u8]) -> Result<Self, Xor2Error> {
        let mut reader = Xor2Reader::new(bytes)?;
        let mut first_t = None;
        for sample in reader.by_ref() {
            first_t = first_t.or(Some(sample?.sample.t.0));
        }
        let behind_header = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let len_bits = behind_header.len() as u64 * 8 - reader.bits.left();
        Ok(Self {
            bits: BitWriter::behind(behind_header, len_bits),
            last: reader.last,
            starts: reader.starts,
            first_t: first_t.unwrap_or_default(),
            count: reader.read,
        })
    }

    /// How many samples the chunk has.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// When the first sample is, if there is one.
    #[must_use]
    pub fn first_t(&self) -> Option<TimestampMs> {
        (self.count > 0).then_some(TimestampMs(self.first_t))
    }

    /// The last sample, if there is one.
    #[must_use]
    pub fn last(&self) -> Option<StartedSample> {
        let start = TimestampMs(self.last.start);
        (self.count > 0).then(|| StartedSample { start, sample: self.last.sample() })
    }

    /// Length of the chunk in bytes, header included.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        HEADER_BYTES + self.bits.len_bytes()
    }

    /// Bytes of memory that it holds beside its own.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bits.heap_bytes()
    }

    /// Appends the chunk's bytes, as Prometheus has them on disk, to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.len_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.push(self.starts.byte());
        self.bits.write_to(out);
    }

    /// Appends one sample; amortized O(1).
    ///
    /// - `start`: since when its counter counts; zero if that is not known.
    /// - `t`: later than the last one (the Head sees to it, and that a chunk has fewer than 65,535 samples).
    /// - `v`: any bit pattern. NaN payloads survive, and with them the staleness marker.
    #[inline]
    pub fn append(&mut self, start: TimestampMs, t: TimestampMs, v: f64) {
        let (start, t) = (start.0, t.0);
        let stale = is_stale_nan(v);
        match self.count {
            0 => {
                self.first_t = t;
                self.push_varint(varint::zigzag(t));
                self.bits.push(v.to_bits(), 64);
                if start != 0 {
                    self.push_varint(varint::zigzag(t.wrapping_sub(start)));
                    self.starts.first_known = true;
                }
            }
            1 => {
                self.last.delta = t.wrapping_sub(self.last.t);
                self.push_varint(self.last.delta.cast_unsigned());
                self.push_value(v);
                self.push_start(start);
            }
            _ => {
                let delta = t.wrapping_sub(self.last.t);
                let dod = delta.wrapping_sub(self.last.delta);
                self.last.delta = delta;
                self.push_joint(dod, v);
                self.push_start(start);
            }
        }
        (self.last.start, self.last.t, self.last.stale) = (start, t, stale);
        if !stale {
            self.last.v = v.to_bits();
        }
        self.count =
            self.count.checked_add(1).expect("the Head cuts a chunk long before 65,535 samples");
    }

    #[cold]
    fn push_varint(&mut self, n: u64) {
        let mut bytes = Vec::with_capacity(varint::BYTES_MAX);
        varint::push_unsigned(&mut bytes, n);
        for byte in bytes {
            self.bits.push(u64::from(byte), 8);
        }
    }

    /// Appends the time and the value of any sample but the first two.
    #[inline]
    fn push_joint(&mut self, dod: i64, v: f64) {
        let low = |bits: u32| dod.cast_unsigned() & ((1u64 << bits) - 1);
        if dod == 0 {
            let xor = self.last.v ^ v.to_bits();
            if is_stale_nan(v) {
                self.bits.push(0b1_1111, 5);
            } else if xor == 0 {
                self.bits.push(0, 1);
            } else {
                let placed = self.last.window.place(xor);
                self.bits.push(if placed == Placed::Old { 0b100 } else { 0b101 }, 3);
                self.last.window.push(&mut self.bits, xor, placed);
            }
            return;
        }
        if (-(1 << 12)..1 << 12).contains(&dod) {
            self.bits.push(0b110 << 13 | low(13), 16);
        } else if (-(1 << 19)..1 << 19).contains(&dod) {
            self.bits.push(0b1110 << 20 | low(20), 24);
        } else {
            self.bits.push(0b1_1110, 5);
            self.bits.push(dod.cast_unsigned(), 64);
        }
        self.push_value(v);
    }

    #[inline]
    fn push_value(&mut self, v: f64) {
        let xor = self.last.v ^ v.to_bits();
        if is_stale_nan(v) {
            self.bits.push(0b111, 3);
        } else if xor == 0 {
            self.bits.push(0, 1);
        } else {
            match self.last.window.place(xor) {
                Placed::Old => {
                    self.bits.push(0b10, 2);
                    self.last.window.push(&mut self.bits, xor, Placed::Old);
                }
                Placed::New => {
                    self.bits.push(0b110, 3);
                    self.last.window.push(&mut self.bits, xor, Placed::New);
                }
            }
        }
    }

    /// Appends the start of any sample but the first, if it has to be told.
    #[inline]
    fn push_start(&mut self, start: i64) {
        let ago = self.last.t.wrapping_sub(start);
        if self.starts.change_on > 0 {
            varbit::push_signed(&mut self.bits, ago.wrapping_sub(self.last.start_ago));
        } else if start != self.last.start || self.count == CHANGE_MAX {
            self.starts.change_on = self.count;
            varbit::push_signed(&mut self.bits, ago);
        } else {
            return;
        }
        self.last.start_ago = ago;
    }
}

impl Default for Xor2Appender {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a chunk cannot be read, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Xor2Error {
    /// Too short for its header.
    #[error("xor2 chunk of {len} bytes is shorter than its header of {HEADER_BYTES}")]
    NoHeader {
        /// Its length.
        len: usize,
    },
    /// The bits end before the promised samples do.
    #[error("xor2 chunk of {len} bytes ends within sample {at} of {count}")]
    Cut {
        /// Its length.
        len: usize,
        /// Index of the sample that is not whole.
        at: u16,
        /// How many samples the header promises.
        count: u16,
    },
    /// A value's window does not fit 64 bits.
    #[error(
        "xor2 chunk: sample {at} has a window of {leading} leading and {width} significant bits, more than 64"
    )]
    Window {
        /// Index of the sample.
        at: u16,
        /// Leading zero bits.
        leading: u8,
        /// Significant bits.
        width: u8,
    },
}

/// The samples of a chunk, oldest first. Ends with an error where the bytes are not what they promise.
#[derive(Clone, Debug)]
pub struct Xor2Reader<'a> {
    bits: BitReader<'a>,
    last: Last,
    starts: Starts,
    len: usize,
    count: u16,
    read: u16,
}

impl<'a> Xor2Reader<'a> {
    /// Reads the chunk that `bytes` are.
    ///
    /// # Errors
    /// Bytes too short for a header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Xor2Error> {
        let Some((&[c0, c1, starts], rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Xor2Error::NoHeader { len: bytes.len() });
        };
        Ok(Self {
            bits: BitReader::new(rest),
            last: Last::default(),
            starts: Starts::of_byte(starts),
            len: bytes.len(),
            count: u16::from_be_bytes([c0, c1]),
            read: 0,
        })
    }

    /// How many samples the header promises.
    #[must_use]
    pub fn promised(&self) -> u16 {
        self.count
    }

    /// Does the header say that any sample has a start?
    #[must_use]
    pub fn has_starts(&self) -> bool {
        self.starts.byte() != 0
    }

    #[inline]
    fn step(&mut self) -> Result<(), window::Stop> {
        let before = self.last.t;
        match self.read {
            0 => return self.first().ok_or(window::Stop::Cut),
            1 => {
                let delta = self.bits.unsigned_varint().ok_or(window::Stop::Cut)?;
                self.last.delta = delta.cast_signed();
                self.value()?;
            }
            _ => self.joint()?,
        }
        self.last.t = before.wrapping_add(self.last.delta);
        if self.starts.change_on > 0 && self.read >= self.starts.change_on {
            let told = varbit::signed(&mut self.bits).ok_or(window::Stop::Cut)?;
            // Before the first change `start_ago` is zero.
            self.last.start_ago = self.last.start_ago.wrapping_add(told);
            self.last.start = before.wrapping_sub(self.last.start_ago);
        }
        Ok(())
    }

    fn first(&mut self) -> Option<()> {
        self.last.t = varint::unzigzag(self.bits.unsigned_varint()?);
        let v = self.bits.bits(64)?;
        self.last.stale = v == STALE_NAN_BITS;
        if !self.last.stale {
            self.last.v = v;
        }
        if self.starts.first_known {
            let ago = varint::unzigzag(self.bits.unsigned_varint()?);
            self.last.start = self.last.t.wrapping_sub(ago);
        }
        Some(())
    }

    /// Reads the delta and the value of any sample but the first two.
    #[inline]
    fn joint(&mut self) -> Result<(), window::Stop> {
        self.last.stale = false;
        let width = if !self.bit()? {
            return Ok(());
        } else if !self.bit()? {
            let placed = if self.bit()? { Placed::New } else { Placed::Old };
            self.last.v ^= self.last.window.read(&mut self.bits, placed)?;
            return Ok(());
        } else if !self.bit()? {
            13
        } else if !self.bit()? {
            20
        } else if !self.bit()? {
            64
        } else {
            self.last.stale = true;
            return Ok(());
        };
        let dod = self.bits.bits(width).ok_or(window::Stop::Cut)?;
        // The sign is moved to the top and back.
        let dod = (dod << (64 - width)).cast_signed() >> (64 - width);
        self.last.delta = self.last.delta.wrapping_add(dod);
        self.value()
    }

    #[inline]
    fn value(&mut self) -> Result<(), window::Stop> {
        self.last.stale = false;
        if !self.bit()? {
            return Ok(());
        }
        let placed = if !self.bit()? {
            Placed::Old
        } else if !self.bit()? {
            Placed::New
        } else {
            self.last.stale = true;
            return Ok(());
        };
        self.last.v ^= self.last.window.read(&mut self.bits, placed)?;
        Ok(())
    }

    #[inline]
    fn bit(&mut self) -> Result<bool, window::Stop> {
        self.bits.bit().ok_or(window::Stop::Cut)
    }
}

impl Iterator for Xor2Reader<'_> {
    type Item = Result<StartedSample, Xor2Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.read == self.count {
            return None;
        }
        let at = self.read;
        match self.step() {
            Ok(()) => {
                self.read += 1;
                let start = TimestampMs(self.last.start);
                Some(Ok(StartedSample { start, sample: self.last.sample() }))
            }
            Err(stop) => {
                let count = std::mem::replace(&mut self.count, at);
                Some(Err(match stop {
                    window::Stop::Cut => Xor2Error::Cut { len: self.len, at, count },
                    window::Stop::TooWide(TooWide { leading, width }) => {
                        Xor2Error::Window { at, leading, width }
                    }
                }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.count - self.read)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(samples: &[StartedSample]) -> Vec<u8> {
        let (mut appender, mut out) = (Xor2Appender::new(), Vec::new());
        for StartedSample { start, sample } in samples {
            appender.append(*start, sample.t, sample.v);
        }
        appender.write_to(&mut out);
        assert_eq!(out.len(), appender.len_bytes());
        assert_eq!(appender.last(), samples.last().copied());
        assert_eq!(appender.first_t(), samples.first().map(|first| first.sample.t));
        out
    }

    fn sample(start: i64, t: i64, v: f64) -> StartedSample {
        StartedSample { start: TimestampMs(start), sample: Sample { t: TimestampMs(t), v } }
    }

    /// A start that is known, time and value as they were, each width of a difference, markers, another start.
    fn golden() -> Vec<StartedSample> {
        let stale = f64::from_bits(STALE_NAN_BITS);
        vec![
            sample(1_599_999_000_000, 1_600_000_000_000, 1.0),
            sample(1_599_999_000_000, 1_600_000_015_000, 1.0),
            sample(1_599_999_000_000, 1_600_000_030_000, 1.0),
            sample(1_599_999_000_000, 1_600_000_045_000, 2.5),
            sample(1_599_999_000_000, 1_600_000_060_000, 2.75),
            sample(1_599_999_000_000, 1_600_000_075_123, 2.75),
            sample(1_599_999_000_000, 1_600_000_090_123, stale),
            sample(1_599_999_000_000, 1_600_000_200_000, stale),
            sample(1_600_000_190_000, 1_600_000_310_000, -1e300),
            sample(1_600_000_190_000, 1_600_009_000_000, 0.0),
            sample(1_600_000_190_000, 1_900_009_000_000, 0.0),
            sample(0, 1_900_009_000_001, f64::from_bits(0x7ff8_dead_beef_0001)),
        ]
    }

    #[test] // golden bytes: Prometheus 3.14 makes these of the same samples
    fn a_chunk_has_these_bytes() {
        let golden_bytes = include_str!("../../tests/golden/xor2_chunk.hex");
        let hex: String = encode(&golden()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, golden_bytes.split_whitespace().collect::<String>());
    }

    fn any_samples() -> impl Strategy<Value = Vec<StartedSample>> {
        let delta = prop_oneof![
            6 => Just(15_000i64),
            3 => 1i64..40_000,
            1 => 1i64..2_000_000,
            1 => 1i64..i64::MAX / 256,
        ];
        let value = prop_oneof![
            4 => Just(f64::to_bits(1.0)),
            3 => (0u32..1000).prop_map(|n| f64::from(n).to_bits()),
            2 => any::<u64>(),
            1 => Just(STALE_NAN_BITS),
        ];
        // What the start does: stays, comes to be this long ago, is unknown again.
        let start = prop_oneof![
            40 => Just(None),
            1 => (0i64..100_000).prop_map(Some),
            1 => any::<i64>().prop_map(Some),
        ];
        let step = (delta, value, start);
        (any::<i32>(), any::<bool>(), prop::collection::vec(step, 0..200)).prop_map(
            |(begin, known, steps)| {
                let (mut t, mut start) = (i64::from(begin), if known { 77 } else { 0 });
                let next = |(delta, v, ago): (i64, u64, Option<i64>)| {
                    t += delta;
                    start = ago.map_or(start, |ago| t.wrapping_sub(ago));
                    sample(start, t, f64::from_bits(v))
                };
                steps.into_iter().map(next).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn any_samples_come_back_to_the_bit(samples in any_samples()) {
            let chunk = encode(&samples);
            let back: Result<Vec<_>, _> = Xor2Reader::new(&chunk).unwrap().collect();
            prop_assert_eq!(back.unwrap(), samples);
        }

        #[test]
        fn a_resumed_chunk_goes_on_as_if_it_had_never_stopped(
            samples in any_samples(), at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(samples.len() + 1);
            let mut appender = Xor2Appender::resume(&encode(&samples[..at])).unwrap();
            for StartedSample { start, sample } in &samples[at..] {
                appender.append(*start, sample.t, sample.v);
            }
            let mut chunk = Vec::new();
            appender.write_to(&mut chunk);
            prop_assert_eq!(chunk, encode(&samples));
            prop_assert_eq!(appender.first_t(), samples.first().map(|first| first.sample.t));
        }

        #[test]
        fn cut_and_flipped_chunks_end_in_an_error_or_in_other_samples(
            samples in any_samples(), cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
        ) {
            let mut chunk = encode(&samples);
            let bit = flip.index(chunk.len() * 8);
            chunk[bit / 8] ^= 1 << (bit % 8);
            for sample in Xor2Reader::new(&chunk).unwrap() {
                let _ = sample; // must only not panic, and end
            }
            chunk.truncate(cut.index(chunk.len()));
            if let Ok(reader) = Xor2Reader::new(&chunk) {
                let promised = usize::from(reader.promised());
                prop_assert!(reader.count() <= promised + 1);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(reader) = Xor2Reader::new(&bytes) {
                let promised = usize::from(reader.promised());
                prop_assert!(reader.count() <= promised + 1);
            }
            if let Ok(mut appender) = Xor2Appender::resume(&bytes) {
                prop_assume!(appender.count() < 1000);
                appender.append(TimestampMs(1), TimestampMs(5), 1.0);
            }
        }
    }

    #[test]
    fn a_start_that_changes_behind_the_last_index_of_the_header_is_kept() {
        let samples: Vec<_> =
            (1..300).map(|i| sample(if i < 200 { 7 } else { 1900 }, i * 10, 1.0)).collect();
        let chunk = encode(&samples);
        assert_eq!(chunk[2], FIRST_KNOWN | 127);
        let back: Vec<_> = Xor2Reader::new(&chunk).unwrap().map(Result::unwrap).collect();
        assert_eq!(back, samples);
    }

    #[test]
    fn a_series_that_goes_on_as_it_did_takes_one_bit_a_sample() {
        let samples: Vec<_> = (0..82).map(|i| sample(0, i * 64, 1.0)).collect();
        // Header, two samples whole, and 80 bits.
        assert_eq!(encode(&samples).len(), 3 + (1 + 8 + 1) + 1 + 10);
    }
}
