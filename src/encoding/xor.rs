//! Prometheus's XOR chunk (encoding 1): timestamps as delta of delta, values as XOR with the one before.
//!
//! ```text
//! chunk     count u16 big-endian │ sample 0 │ sample 1 │ sample 2 ... │ zero bits to the end of the byte │ end
//! sample 0  t zigzag varint │ v 64 bits
//! sample 1  t - t0 unsigned varint │ value
//! sample n  dod │ value
//! dod       0                      the same delta again
//!           10 14 bits, 110 17 bits, 1110 20 bits, 1111 64 bits;  n bits hold -(2^(n-1) - 1) ..= 2^(n-1)
//! value     0                      the same value again
//!           10 bits                the XOR's significant bits, within the window of the one before
//!           11 leading 5 bits, significant 6 bits (0 is 64), then these bits: a new window
//! end       one zero byte if the last sample ends with its byte and the last field written was whole bytes long
//! ```
//! A chunk that is being written keeps its last, unfinished 64 bits beside the hot state of its series, so that most
//! appends touch no other memory. [`XorAppender`] is that state; the whole words lie in a [`Words`].
//! Source: Gorilla (VLDB 2015) section 4.1; the widths are Prometheus's, `tsdb/chunkenc/xor.go`.
//! Golden bytes: `tests/golden/xor_chunk.hex`.
//!
//! No reader needs the zero byte at the end: Prometheus begins a new byte as soon as it has written a whole one, and one
//! bit later after single bits (`tsdb/chunkenc/bstream.go`). Without it chunks would not be the same, nor, through their
//! lengths, the instants at which a chunk is cut.

mod whole;

pub use whole::read;

use bytes::BufMut;

use super::bits::BitReader;
use crate::model::{Sample, TimestampMs};

/// The encoding's number in Prometheus's formats.
pub const ENCODING: u8 = 1;
/// Bytes before the first sample.
const HEADER_BYTES: usize = 2;
/// More finished words than a chunk can have: the Head cuts it at 1,005 bytes.
const WORDS_MAX: u8 = 140;
/// The least room for words: a chunk of constants ends with 5.
const WORDS_MIN: usize = 4;
/// `leading` before there is a window.
const NO_WINDOW: u8 = 0xff;

/// Room for the finished 64-bit words of a chunk that is being written; grows in small steps. How many there are is
/// [`XorAppender`]'s to know.
#[derive(Clone, Debug, Default)]
pub struct Words(Box<[u64]>);

impl Words {
    /// - `expected`: how many words there will be, as far as one can tell.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, expected: u8) {
        let len = self.0.len();
        // In doubled steps up to what is expected, and then in small ones.
        let needed = usize::from(expected).min(2 * len).max(len + 1);
        let mut words = vec![0u64; room_for(needed)].into_boxed_slice();
        for (to, from) in words.iter_mut().zip(&self.0) {
            *to = *from;
        }
        self.0 = words;
    }
}

/// The least room that so many words fit into: there are four sizes between powers of two, which are those of the allocator.
fn room_for(words: usize) -> usize {
    let words = words.max(WORDS_MIN);
    let step = (1 << (words.ilog2() - 2)).max(2);
    words.next_multiple_of(step)
}

/// Where the writing of a chunk stands. Together with its [`Words`] it is the chunk.
#[derive(Clone, Debug)]
pub struct XorAppender {
    /// Timestamp of the last sample.
    t: i64,
    /// What it was later than the one before.
    delta: i64,
    /// Bits of the last value.
    v: u64,
    /// Bits that do not fill a word yet, at the top.
    tail: u64,
    /// How many samples there are.
    count: u16,
    /// How many words are finished.
    words: u8,
    /// How many bits of `tail` are used; below 64.
    tail_bits: u8,
    leading: u8,
    trailing: u8,
    /// Was the last field written whole bytes long? See `end` above.
    whole_bytes: bool,
    /// How many words the chunk before this one had: this one will have about as many.
    words_before: u8,
}

impl XorAppender {
    /// The state before the first sample.
    #[must_use]
    pub fn new() -> Self {
        Self::behind(TimestampMs::MIN)
    }

    /// The state before the first sample of a chunk whose samples are all later than `t`.
    #[must_use]
    pub fn behind(t: TimestampMs) -> Self {
        Self {
            t: t.0,
            delta: 0,
            v: 0,
            tail: 0,
            count: 0,
            words: 0,
            tail_bits: 0,
            leading: NO_WINDOW,
            trailing: 0,
            whole_bytes: false,
            words_before: 0,
        }
    }

    /// The state before the first sample of the chunk after this one.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self { words_before: self.words, ..Self::new() }
    }

    /// How many samples the chunk has.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The last sample. Before the first: its time is one that the first will be later than, its value means nothing.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Sample {
        Sample { t: TimestampMs(self.t), v: f64::from_bits(self.v) }
    }

    /// Length in bytes of the chunk as Prometheus counts it, header included.
    #[inline]
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        HEADER_BYTES + usize::from(self.words) * 8 + self.tail_bytes()
    }

    /// Bytes of `tail` that belong to the chunk. One bit more makes one byte more only if the last one is full.
    #[inline]
    fn tail_bytes(&self) -> usize {
        (usize::from(self.tail_bits) + usize::from(self.whole_bytes)).div_ceil(8)
    }

    /// When the first sample is, if there is one.
    #[must_use]
    pub fn first_t(&self, words: &Words) -> Option<TimestampMs> {
        // A varint has ten bytes at most, which are the beginning of two words.
        let mut start = [0; 16];
        let finished = words.0.iter().take(usize::from(self.words)).copied();
        for (to, word) in start.as_chunks_mut::<8>().0.iter_mut().zip(finished.chain([self.tail])) {
            *to = word.to_be_bytes();
        }
        let (t, _) = super::varint::split_signed(&start).filter(|_| self.count > 0)?;
        Some(TimestampMs(t))
    }

    /// Appends one sample; amortized O(1), allocates only when `words` grows.
    ///
    /// - `t`: later than the last one (the Head sees to it).
    /// - `v`: any bit pattern. NaN payloads survive, and with them the staleness marker.
    #[inline]
    pub fn append(&mut self, words: &mut Words, t: TimestampMs, v: f64) {
        let (t, bits) = (t.0, v.to_bits());
        if self.count < 2 {
            self.append_first_two(words, t, bits);
        } else {
            let delta = t.wrapping_sub(self.t);
            let dod = delta.wrapping_sub(self.delta);
            self.delta = delta;
            if dod == 0 {
                self.push(words, 0, 1);
            } else {
                self.push_dod(words, dod);
            }
            self.push_value(words, bits);
        }
        self.t = t;
        self.v = bits;
        self.count += 1;
    }

    #[cold]
    #[inline(never)]
    fn append_first_two(&mut self, words: &mut Words, t: i64, bits: u64) {
        if self.count == 0 {
            self.push_varint(words, super::varint::zigzag(t));
            self.push(words, bits, 64);
            self.whole_bytes = true;
        } else {
            self.delta = t.wrapping_sub(self.t);
            self.push_varint(words, self.delta.cast_unsigned());
            self.push_value(words, bits);
        }
    }

    fn push_varint(&mut self, words: &mut Words, n: u64) {
        let mut bytes = Vec::with_capacity(super::varint::BYTES_MAX);
        super::varint::push_unsigned(&mut bytes, n);
        for byte in bytes {
            self.push(words, u64::from(byte), 8);
        }
    }

    fn push_dod(&mut self, words: &mut Words, dod: i64) {
        let fits = |bits: u32| -((1i64 << (bits - 1)) - 1) <= dod && dod <= 1i64 << (bits - 1);
        let low = |bits: u32| dod.cast_unsigned() & ((1u64 << bits) - 1);
        if fits(14) {
            self.push(words, 0b10 << 14 | low(14), 16);
        } else if fits(17) {
            self.push(words, 0b110 << 17 | low(17), 20);
        } else if fits(20) {
            self.push(words, 0b1110 << 20 | low(20), 24);
        } else {
            self.push(words, 0b1111, 4);
            self.push(words, dod.cast_unsigned(), 64);
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "counts of bits in a word")]
    fn push_value(&mut self, words: &mut Words, bits: u64) {
        let xor = bits ^ self.v;
        if xor == 0 {
            self.push(words, 0, 1);
            self.whole_bytes = false;
            return;
        }
        // Five bits hold at most 31.
        let leading = (xor.leading_zeros() as u8).min(31);
        let trailing = xor.trailing_zeros() as u8;
        if self.leading != NO_WINDOW && leading >= self.leading && trailing >= self.trailing {
            let width = 64 - u32::from(self.leading) - u32::from(self.trailing);
            let value = xor >> self.trailing;
            self.whole_bytes = width.is_multiple_of(8);
            if width <= 62 {
                self.push(words, 0b10 << width | value, width + 2);
            } else {
                self.push(words, 0b10, 2);
                self.push(words, value, width);
            }
        } else {
            self.leading = leading;
            self.trailing = trailing;
            let width = 64 - u32::from(leading) - u32::from(trailing);
            let head = 0b11 << 11 | u64::from(leading) << 6 | u64::from(width & 63);
            let value = xor >> trailing;
            self.whole_bytes = width.is_multiple_of(8);
            if width <= 51 {
                self.push(words, head << width | value, width + 13);
            } else {
                self.push(words, head, 13);
                self.push(words, value, width);
            }
        }
    }

    /// Appends the low `count` bits of `bits`; the others are zero. `1 <= count <= 64`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 64")]
    fn push(&mut self, words: &mut Words, bits: u64, count: u32) {
        let used = u32::from(self.tail_bits);
        let after = used + count;
        if after < 64 {
            self.tail |= bits << (64 - after);
            self.tail_bits = after as u8;
        } else {
            let over = after - 64;
            self.push_word(words, self.tail | bits >> over);
            self.tail = bits.checked_shl(64 - over).unwrap_or(0);
            self.tail_bits = over as u8;
        }
    }

    /// Appends the whole state to `out`, so that writing can go on from there after a restart without decoding.
    ///
    /// ```text
    /// t i64 │ delta i64 │ v u64 │ tail u64 │ count u16 │ words u8 │ tail_bits u8 │ leading u8 │ trailing u8 │ words u64*
    /// ```
    /// Integers are little-endian; the top bit of `tail_bits` says whether the last field was whole bytes long.
    pub fn save(&self, words: &Words, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.t.to_le_bytes());
        out.extend_from_slice(&self.delta.to_le_bytes());
        out.extend_from_slice(&self.v.to_le_bytes());
        out.extend_from_slice(&self.tail.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        let tail_bits = self.tail_bits | u8::from(self.whole_bytes) << 7;
        out.extend_from_slice(&[self.words, tail_bits, self.leading, self.trailing]);
        for word in words.0.iter().take(usize::from(self.words)) {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// What [`save`](Self::save) has written at the front of `bytes`, and what follows it; `None` for bytes that it
    /// cannot have written.
    #[must_use]
    pub fn restore(bytes: &[u8]) -> Option<(Self, Words, &[u8])> {
        let (t, bytes) = bytes.split_first_chunk::<8>()?;
        let (delta, bytes) = bytes.split_first_chunk::<8>()?;
        let (v, bytes) = bytes.split_first_chunk::<8>()?;
        let (tail, bytes) = bytes.split_first_chunk::<8>()?;
        let (count, bytes) = bytes.split_first_chunk::<2>()?;
        let (&[words, tail_bits, leading, trailing], bytes) = bytes.split_first_chunk::<4>()?;
        let (tail_bits, whole_bytes) = (tail_bits & 0x7f, tail_bits & 0x80 != 0);
        let (saved, rest) = bytes.split_at_checked(usize::from(words) * 8)?;
        let window_fits =
            leading == NO_WINDOW || (leading < 32 && u32::from(leading) + u32::from(trailing) < 64);
        if !window_fits || tail_bits >= 64 || words > WORDS_MAX {
            return None;
        }
        let appender = Self {
            t: i64::from_le_bytes(*t),
            delta: i64::from_le_bytes(*delta),
            v: u64::from_le_bytes(*v),
            tail: u64::from_le_bytes(*tail),
            count: u16::from_le_bytes(*count),
            words,
            tail_bits,
            leading,
            trailing,
            whole_bytes,
            words_before: 0,
        };
        let words = saved.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Some((appender, Words(words), rest))
    }

    /// The word that is written when the unfinished one is full, if there is room for it already.
    #[inline]
    #[must_use]
    pub fn next_word<'a>(&self, words: &'a Words) -> Option<&'a u64> {
        words.0.get(usize::from(self.words))
    }

    #[inline]
    fn push_word(&mut self, words: &mut Words, word: u64) {
        let at = usize::from(self.words);
        if at == words.0.len() {
            words.grow(self.words_before);
        }
        if let Some(slot) = words.0.get_mut(at) {
            *slot = word;
        }
        self.words =
            self.words.checked_add(1).expect("the Head cuts a chunk at 1,005 bytes, 126 words");
    }

    /// The chunk's first sample, if it has any.
    #[must_use]
    pub fn first(&self, words: &Words) -> Option<Sample> {
        // A varint and a value, at most 18 bytes.
        let mut bytes = [0; HEADER_BYTES + 3 * 8];
        let (count, samples) = bytes.split_first_chunk_mut::<HEADER_BYTES>()?;
        *count = self.count.to_be_bytes();
        let finished = words.0.iter().take(usize::from(self.words)).chain([&self.tail]);
        for (to, word) in samples.as_chunks_mut().0.iter_mut().zip(finished) {
            *to = word.to_be_bytes();
        }
        XorReader::new(&bytes).ok()?.next()?.ok()
    }

    /// Appends the chunk's bytes, as Prometheus has them on disk, to `out`: [`len_bytes`](Self::len_bytes) of them.
    pub fn write_to(&self, words: &Words, out: &mut impl BufMut) {
        out.put_slice(&self.count.to_be_bytes());
        for word in words.0.iter().take(usize::from(self.words)) {
            out.put_slice(&word.to_be_bytes());
        }
        let tail = self.tail.to_be_bytes();
        out.put_slice(tail.get(..self.tail_bytes()).unwrap_or_default());
    }
}

const _: () =
    assert!(size_of::<XorAppender>() == 40, "the hot state of a series is counted in bytes");

impl Default for XorAppender {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a chunk cannot be read, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XorError {
    /// Too short for its header.
    #[error("xor chunk of {len} bytes is shorter than its header of 2")]
    NoHeader {
        /// Its length.
        len: usize,
    },
    /// The bits end before the promised samples do.
    #[error("xor chunk of {len} bytes ends within sample {at} of {count}")]
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
        "xor chunk: sample {at} has a window of {leading} leading and {width} significant bits, more than 64"
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
pub struct XorReader<'a> {
    bits: BitReader<'a>,
    len: usize,
    count: u16,
    read: u16,
    t: i64,
    delta: i64,
    v: u64,
    leading: u8,
    trailing: u8,
    has_window: bool,
}

impl<'a> XorReader<'a> {
    /// Reads the chunk that `bytes` are.
    ///
    /// # Errors
    /// Bytes too short for a header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, XorError> {
        let Some((count, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(XorError::NoHeader { len: bytes.len() });
        };
        Ok(Self {
            bits: BitReader::new(rest),
            len: bytes.len(),
            count: u16::from_be_bytes(*count),
            read: 0,
            t: 0,
            delta: 0,
            v: 0,
            leading: 0,
            trailing: 0,
            has_window: false,
        })
    }

    /// How many samples the header promises.
    #[must_use]
    pub fn promised(&self) -> u16 {
        self.count
    }

    #[inline]
    fn step(&mut self) -> Option<Result<(), XorError>> {
        match self.read {
            0 => {
                self.t = super::varint::unzigzag(self.bits.unsigned_varint()?);
                self.v = self.bits.bits(64)?;
                return Some(Ok(()));
            }
            1 => self.delta = self.bits.unsigned_varint()?.cast_signed(),
            _ => self.delta = self.delta.wrapping_add(self.dod()?),
        }
        self.t = self.t.wrapping_add(self.delta);
        self.value()
    }

    #[inline]
    fn dod(&mut self) -> Option<i64> {
        let width = if !self.bits.bit()? {
            return Some(0);
        } else if !self.bits.bit()? {
            14
        } else if !self.bits.bit()? {
            17
        } else if !self.bits.bit()? {
            20
        } else {
            return Some(self.bits.bits(64)?.cast_signed());
        };
        let raw = self.bits.bits(width)?.cast_signed();
        Some(if raw > 1 << (width - 1) { raw - (1 << width) } else { raw })
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "fields of five and six bits")]
    fn value(&mut self) -> Option<Result<(), XorError>> {
        if !self.bits.bit()? {
            return Some(Ok(()));
        }
        if self.bits.bit()? {
            let leading = self.bits.bits(5)? as u8;
            let width = match self.bits.bits(6)? as u8 {
                0 => 64,
                width => width,
            };
            if leading + width > 64 {
                return Some(Err(XorError::Window { at: self.read, leading, width }));
            }
            self.leading = leading;
            self.trailing = 64 - leading - width;
            self.has_window = true;
        } else if !self.has_window {
            // Nothing to reuse: 64 bits, as upstream's reader has it.
            (self.leading, self.trailing, self.has_window) = (0, 0, true);
        }
        let width = 64 - u32::from(self.leading) - u32::from(self.trailing);
        self.v ^= self.bits.bits(width)? << self.trailing;
        Some(Ok(()))
    }
}

impl Iterator for XorReader<'_> {
    type Item = Result<Sample, XorError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.read == self.count {
            return None;
        }
        let at = self.read;
        match self.step() {
            Some(Ok(())) => {
                self.read += 1;
                Some(Ok(Sample { t: TimestampMs(self.t), v: f64::from_bits(self.v) }))
            }
            stopped => {
                let count = std::mem::replace(&mut self.count, at);
                Some(Err(match stopped {
                    Some(Err(error)) => error,
                    _ => XorError::Cut { len: self.len, at, count },
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

    fn encode(samples: &[Sample]) -> Vec<u8> {
        let (mut words, mut appender, mut out) = (Words::default(), XorAppender::new(), Vec::new());
        for sample in samples {
            appender.append(&mut words, sample.t, sample.v);
        }
        appender.write_to(&words, &mut out);
        assert_eq!(out.len(), appender.len_bytes());
        out
    }

    fn sample(t: i64, v: f64) -> Sample {
        Sample { t: TimestampMs(t), v }
    }

    #[test] // golden bytes: Prometheus reads these
    fn a_chunk_has_these_bytes() {
        let golden = include_str!("../../tests/golden/xor_chunk.hex");
        let chunk = encode(&[
            sample(1_600_000_000_000, 1.0),
            sample(1_600_000_015_000, 1.0),
            sample(1_600_000_030_000, 2.5),
            sample(1_600_000_045_123, 2.75),
            sample(1_600_000_200_000, f64::from_bits(crate::model::STALE_NAN_BITS)),
            sample(1_600_009_000_000, -1e300),
            sample(1_900_009_000_000, 0.0),
        ]);
        let hex: String = chunk.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, golden.split_whitespace().collect::<String>());
    }

    #[test] // without it, chunks were now and then a byte shorter than Prometheus's, and cut elsewhere
    fn a_chunk_that_ends_with_whole_bytes_has_a_zero_byte_behind_them() {
        let at = |i: i64, v: f64| sample(64 * i, v);
        // 2 + 1 + 8 bytes end where the value does.
        assert_eq!(encode(&[at(0, 1.0)]), [0, 1, 0, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0]);
        // One bit lies in the byte that was begun, and three times two bits find room there, too.
        let same: Vec<_> = (0..6).map(|i| at(i, 1.0)).collect();
        assert_eq!([2, 5, 6].map(|count| encode(&same[..count]).len()), [13, 13, 14]);
    }

    /// The rooms for words that a chunk has until `used` words are finished.
    fn rooms(used: usize, expected: u8) -> Vec<usize> {
        let (mut words, mut rooms) = (Words::default(), Vec::new());
        while words.0.len() < used {
            words.grow(expected);
            rooms.push(words.0.len());
        }
        rooms
    }

    #[test]
    fn room_for_words_is_at_most_a_quarter_more_than_is_used_or_expected() {
        for used in 1..=usize::from(WORDS_MAX) {
            for expected in [0, 5, 30, WORDS_MAX] {
                let room = *rooms(used, expected).last().unwrap();
                let enough = if usize::from(expected) > used { 2 * used } else { used + used / 4 };
                assert!(room <= enough.max(used + 3), "{room} for {used}, {expected} expected");
            }
        }
    }

    #[test]
    fn room_for_as_many_words_as_expected_comes_in_few_steps() {
        assert_eq!(rooms(37, 37), [4, 8, 16, 32, 40]);
        assert_eq!(rooms(37, 0), [4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40]);
    }

    #[test]
    fn a_saved_chunk_goes_on_as_if_it_had_not_been_saved() {
        let samples: Vec<_> = (0..120).map(|i| sample(i * 10, ((i * i) % 37) as f64)).collect();
        for at in 0..samples.len() {
            let (mut words, mut appender) = (Words::default(), XorAppender::new());
            for sample in &samples[..at] {
                appender.append(&mut words, sample.t, sample.v);
            }
            let mut saved = Vec::new();
            appender.save(&words, &mut saved);
            let (mut appender, mut words, rest) = XorAppender::restore(&saved).unwrap();
            assert!(rest.is_empty());
            let mut chunk = Vec::new();
            appender.write_to(&words, &mut chunk);
            assert_eq!(chunk, encode(&samples[..at]), "saved after {at} samples");
            for sample in &samples[at..] {
                appender.append(&mut words, sample.t, sample.v);
            }
            chunk.clear();
            appender.write_to(&words, &mut chunk);
            assert_eq!(chunk, encode(&samples), "saved after {at} samples");
        }
    }

    fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
        let delta = prop_oneof![
            4 => Just(15_000i64),
            3 => 1i64..40_000,
            1 => 1i64..2_000_000,
            1 => 1i64..i64::MAX / 256,
        ];
        let value = prop_oneof![
            3 => Just(f64::to_bits(1.0)),
            3 => (0u32..1000).prop_map(|n| f64::from(n).to_bits()),
            2 => any::<u64>(),
        ];
        (any::<i32>(), proptest::collection::vec((delta, value), 0..100)).prop_map(
            |(start, steps)| {
                let mut t = i64::from(start);
                steps
                    .into_iter()
                    .map(|(delta, v)| {
                        t += delta;
                        sample(t, f64::from_bits(v))
                    })
                    .collect()
            },
        )
    }

    proptest! {
        #[test]
        fn any_samples_come_back_to_the_bit(samples in any_samples()) {
            let chunk = encode(&samples);
            let back: Result<Vec<_>, _> = XorReader::new(&chunk).unwrap().collect();
            prop_assert_eq!(back.unwrap(), samples);
        }

        #[test]
        fn cut_and_flipped_chunks_end_in_an_error_or_in_other_samples(
            samples in any_samples(), cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
        ) {
            let mut chunk = encode(&samples);
            let bit = flip.index(chunk.len() * 8);
            chunk[bit / 8] ^= 1 << (bit % 8);
            for sample in XorReader::new(&chunk).unwrap() {
                let _ = sample; // must only not panic, and end
            }
            chunk.truncate(cut.index(chunk.len()));
            if let Ok(reader) = XorReader::new(&chunk) {
                let promised = usize::from(reader.promised());
                prop_assert!(reader.count() <= promised + 1);
            }
        }

        #[test]
        fn a_saved_state_goes_on_as_if_it_had_never_stopped(samples in any_samples(), at in any::<prop::sample::Index>()) {
            // The Head cuts a chunk before it has more words than are restored: with 60 samples none has, whatever they are.
            let at = at.index(samples.len().min(60) + 1);
            let (mut words, mut appender, mut saved) = (Words::default(), XorAppender::new(), Vec::new());
            samples[..at].iter().for_each(|s| appender.append(&mut words, s.t, s.v));
            prop_assert_eq!(appender.first(&words), samples[..at].first().copied());
            appender.save(&words, &mut saved);
            saved.push(42);
            let (mut appender, mut words, rest) = XorAppender::restore(&saved).unwrap();
            prop_assert_eq!(rest, [42]);
            samples[at..].iter().for_each(|s| appender.append(&mut words, s.t, s.v));
            let mut chunk = Vec::new();
            appender.write_to(&words, &mut chunk);
            prop_assert_eq!(chunk, encode(&samples));
        }

        #[test]
        fn restoring_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some((mut appender, mut words, _)) = XorAppender::restore(&bytes) {
                prop_assume!(appender.count() < 1000 && appender.words < 100);
                appender.append(&mut words, TimestampMs(5), 1.0);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(reader) = XorReader::new(&bytes) {
                let promised = usize::from(reader.promised());
                prop_assert!(reader.count() <= promised + 1);
            }
        }
    }
}
