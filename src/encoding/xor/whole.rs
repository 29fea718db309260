//! All samples of a chunk at once, for who wants all: the same samples and the same errors as [`XorReader`] gives.
//!
//! Bits come from a word that is loaded where they begin, whatever the byte, and not from a buffer that has to be kept full:
//! a sample takes one or two loads and no call. A load takes eight bytes or nine, so that the last bytes of a chunk are read from
//! a copy with zeros behind it; there, and only there, a sample may turn out to end behind the chunk.

use super::{HEADER_BYTES, XorError, XorReader};
use crate::model::{Sample, TimestampMs};

/// Behind where a sample begins, in bytes, nothing is loaded for it: 4 + 64 + 13 + 64 bits, and one load more.
const MARGIN_BYTES: usize = 32;
/// The last bytes, which a sample may begin in, and what is loaded behind them.
const TAIL_BYTES: usize = 2 * MARGIN_BYTES + 8;
/// A load has at least so many bits from where it begins.
const LOADED_BITS: u32 = 57;

/// Appends the samples of the chunk `bytes` for whose times `wanted` holds to `out`, those before a place that cannot be read
/// at least.
///
/// # Errors
/// Those of [`XorReader`].
pub fn read(
    bytes: &[u8],
    wanted: impl Fn(TimestampMs) -> bool,
    out: &mut Vec<Sample>,
) -> Result<(), XorError> {
    let mut reader = XorReader::new(bytes)?;
    for sample in reader.by_ref().take(2) {
        let sample = sample?;
        if wanted(sample.t) {
            out.push(sample);
        }
    }
    let bits = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let mut at = Place {
        t: reader.t,
        delta: reader.delta,
        v: reader.v,
        trailing: u32::from(reader.trailing),
        width: 64 - u32::from(reader.leading) - u32::from(reader.trailing),
        read: reader.read,
        bit: bits.len() * 8 - usize::try_from(reader.bits.left()).unwrap_or(0),
    };
    // Two bits at least for each.
    out.reserve(usize::from(reader.count - at.read).min(bits.len() * 4));
    let unfinished = |error| match error {
        Stop::Cut(at) => XorError::Cut { len: bytes.len(), at, count: reader.count },
        Stop::Window { at, leading, width } => XorError::Window { at, leading, width },
    };
    if let Some(last) = bits.len().checked_sub(MARGIN_BYTES) {
        let (samples, behind) = (reader.count, last * 8 + 1);
        at.run(bits, samples, behind, usize::MAX, &wanted, out).map_err(unfinished)?;
    }
    // At least the last byte of a sample that was begun before is here; no sample begins before it.
    let from = at.bit / 8;
    let rest = bits.get(from..).unwrap_or_default();
    let mut tail = [0; TAIL_BYTES];
    for (to, byte) in tail.iter_mut().zip(rest) {
        *to = *byte;
    }
    at.bit -= from * 8;
    at.run(&tail, reader.count, usize::MAX, rest.len() * 8, &wanted, out).map_err(unfinished)
}

/// Where reading stands.
struct Place {
    t: i64,
    delta: i64,
    v: u64,
    /// Zeros behind the window's bits.
    trailing: u32,
    /// How many bits the window has; all before there is one, as [`XorReader`] takes it.
    width: u32,
    /// How many samples have been read.
    read: u16,
    /// Where the next begins.
    bit: usize,
}

/// Why a sample is none; with its index.
enum Stop {
    Cut(u16),
    Window { at: u16, leading: u8, width: u8 },
}

impl Place {
    /// Reads samples until there are `count`, or the next one begins at the bit `behind` or later.
    ///
    /// - `bits`: at least [`MARGIN_BYTES`] before its end lies whatever bit a sample may begin at.
    /// - `end`: what goes further is cut off.
    #[inline]
    fn run(
        &mut self,
        bits: &[u8],
        count: u16,
        behind: usize,
        end: usize,
        wanted: &impl Fn(TimestampMs) -> bool,
        out: &mut Vec<Sample>,
    ) -> Result<(), Stop> {
        let Self { mut t, mut delta, mut v, mut trailing, mut width, mut read, mut bit } = *self;
        while read < count && bit < behind {
            let mut word = load(bits, bit);
            if word >> 63 == 0 {
                (word, bit) = (word << 1, bit + 1);
            } else {
                let dod;
                (dod, bit) = delta_of_delta(bits, bit, word);
                delta = delta.wrapping_add(dod);
                word = load(bits, bit);
            }
            t = t.wrapping_add(delta);
            if word >> 63 == 0 {
                bit += 1;
            } else {
                let mut head = 2;
                if word >> 62 == 0b11 {
                    head = 13;
                    let [leading, significant] = [(word >> 57 & 31) as u8, (word >> 51 & 63) as u8];
                    let significant = if significant == 0 { 64 } else { significant };
                    if leading + significant > 64 {
                        let window = Stop::Window { at: read, leading, width: significant };
                        return Err(if bit + 13 > end { Stop::Cut(read) } else { window });
                    }
                    width = u32::from(significant);
                    trailing = 64 - u32::from(leading) - width;
                }
                let value = if width < LOADED_BITS - head {
                    word << head >> (64 - width)
                } else {
                    load_all(bits, bit + head as usize) >> (64 - width)
                };
                v ^= value << trailing;
                bit += (head + width) as usize;
            }
            if bit > end {
                return Err(Stop::Cut(read));
            }
            read += 1;
            if wanted(TimestampMs(t)) {
                out.push(Sample { t: TimestampMs(t), v: f64::from_bits(v) });
            }
        }
        *self = Self { t, delta, v, trailing, width, read, bit };
        Ok(())
    }
}

/// The delta of delta that begins at `bit` with a one, and where it ends; `word` is what is loaded from there.
#[inline]
fn delta_of_delta(bits: &[u8], bit: usize, word: u64) -> (i64, usize) {
    let (ones, width) = match word >> 60 {
        0b1000..=0b1011 => (2, 14),
        0b1100 | 0b1101 => (3, 17),
        0b1110 => (4, 20),
        _ => return (load_all(bits, bit + 4).cast_signed(), bit + 4 + 64),
    };
    let raw = (word << ones >> (64 - width)).cast_signed();
    let dod = if raw > 1 << (width - 1) { raw - (1 << width) } else { raw };
    (dod, bit + ones + width)
}

/// The bits from `bit` on, 57 of them at least, at the top.
#[inline]
fn load(bits: &[u8], bit: usize) -> u64 {
    let eight = bits.get(bit / 8..).and_then(<[u8]>::first_chunk::<8>);
    eight.map_or(0, |eight| u64::from_be_bytes(*eight)) << (bit % 8)
}

/// The 64 bits from `bit` on.
#[inline]
fn load_all(bits: &[u8], bit: usize) -> u64 {
    let ninth = bits.get(bit / 8 + 8).copied().unwrap_or(0);
    load(bits, bit) | u64::from(ninth) >> (8 - bit % 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Words, XorAppender};
    use super::*;

    /// What the reader gives that goes from sample to sample.
    fn one_by_one(bytes: &[u8]) -> (Vec<Sample>, Result<(), XorError>) {
        let mut samples = Vec::new();
        let reader = match XorReader::new(bytes) {
            Ok(reader) => reader,
            Err(error) => return (samples, Err(error)),
        };
        for sample in reader {
            match sample {
                Ok(sample) => samples.push(sample),
                Err(error) => return (samples, Err(error)),
            }
        }
        (samples, Ok(()))
    }

    fn all(bytes: &[u8]) -> (Vec<Sample>, Result<(), XorError>) {
        let mut samples = Vec::new();
        let read = read(bytes, |_| true, &mut samples);
        (samples, read)
    }

    /// To the bit: no NaN equals itself.
    fn same(bytes: &[u8]) -> bool {
        let bits = |(samples, read): (Vec<Sample>, _)| {
            let of_one = |sample: &Sample| (sample.t, sample.v.to_bits());
            (samples.iter().map(of_one).collect::<Vec<_>>(), read)
        };
        bits(all(bytes)) == bits(one_by_one(bytes))
    }

    fn chunk(steps: &[(i64, u64)]) -> Vec<u8> {
        let (mut words, mut appender, mut out) = (Words::default(), XorAppender::new(), Vec::new());
        let mut t = 1_700_000_000_000;
        for (delta, v) in steps {
            t += delta;
            appender.append(&mut words, TimestampMs(t), f64::from_bits(*v));
        }
        appender.write_to(&words, &mut out);
        out
    }

    #[test]
    fn only_what_is_wanted_is_there() {
        let steps: Vec<_> = (0..100u64).map(|i| (1000, (i as f64).to_bits())).collect();
        let (mut some, chunk) = (Vec::new(), chunk(&steps));
        read(&chunk, |t| (50_000..60_000).contains(&(t.0 - 1_700_000_000_000)), &mut some).unwrap();
        assert_eq!(
            some.iter().map(|s| s.v).collect::<Vec<_>>(),
            (49..59).map(f64::from).collect::<Vec<_>>()
        );
    }

    fn any_steps() -> impl Strategy<Value = Vec<(i64, u64)>> {
        let delta = prop_oneof![
            8 => Just(15_000i64),
            4 => 14_990i64..15_010,
            1 => 1i64..40_000,
            1 => 1i64..2_000_000,
            1 => 1i64..i64::MAX / 512,
        ];
        let value = prop_oneof![
            3 => Just(f64::to_bits(1.0)),
            3 => (0u32..1000).prop_map(|n| f64::from(n).to_bits()),
            2 => any::<u64>(),
            1 => (0u32..64, any::<u64>()).prop_map(|(n, bits)| bits >> n),
        ];
        proptest::collection::vec((delta, value), 0..130)
    }

    proptest! {
        #[test]
        fn whole_chunks_read_as_sample_by_sample(steps in any_steps()) {
            let chunk = chunk(&steps);
            prop_assert!(same(&chunk));
            prop_assert_eq!(all(&chunk).0.len(), steps.len());
        }

        #[test]
        fn cut_and_flipped_chunks_read_as_sample_by_sample(
            steps in any_steps(), cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
        ) {
            let mut chunk = chunk(&steps);
            prop_assert!(same(&chunk[..cut.index(chunk.len())]));
            let bit = flip.index(chunk.len() * 8);
            chunk[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(same(&chunk));
            chunk.truncate(cut.index(chunk.len()));
            prop_assert!(same(&chunk));
        }

        #[test]
        fn any_bytes_read_as_sample_by_sample(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), few: bool) {
            if few && let Some(high) = bytes.first_mut() {
                *high = 0;
            }
            prop_assert!(same(&bytes));
        }
    }
}
