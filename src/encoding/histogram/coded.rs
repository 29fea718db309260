//! How the numbers of a histogram are written, of either kind.
//!
//! ```text
//!          first sample          later samples
//! integer  count unsigned        the difference to the one before, less the difference before that, signed
//!          bucket signed         the same, of what is written: which is the difference to the bucket before
//! float    64 bits               as XOR with the one before; each bucket has a window of its own (`super::super::window`)
//! ```

use super::Stop;
use super::fit::Fit;
use crate::encoding::bits::{BitReader, BitWriter};
use crate::encoding::varbit;
use crate::encoding::window::{Window, XorValue, push_xor, read_xor};
use crate::model::{Count, ResetHint};

/// A [`Count`] that a chunk encoding is made for.
pub trait Coded: Count {
    /// The number of the encoding in Prometheus's formats.
    const ENCODING: u8;
    /// How many bits a bucket takes at least in a chunk's first sample.
    const BUCKET_BITS: u64;
    /// A count as it goes from sample to sample.
    type Number: Copy + Default + std::fmt::Debug;
    /// What is known of a bucket beside what is written of it.
    type Coding: Copy + Default + std::fmt::Debug;

    /// The count itself.
    fn number(number: &Self::Number) -> Self;

    /// Appends a count of the first sample.
    fn push_first_number(bits: &mut BitWriter, count: Self) -> Self::Number;

    /// Appends the next count; `stale` if it means nothing.
    fn push_number(bits: &mut BitWriter, number: &mut Self::Number, count: Self, stale: bool);

    /// A count of the first sample; `None` if it is cut off.
    fn read_first_number(bits: &mut BitReader<'_>) -> Option<Self::Number>;

    /// The next count.
    ///
    /// # Errors
    /// The bits end, or are no count.
    fn read_number(bits: &mut BitReader<'_>, number: &mut Self::Number) -> Result<(), Stop>;

    /// Appends a bucket of the first sample.
    fn push_first_bucket(bits: &mut BitWriter, bucket: Self::Bucket);

    /// Appends the next of a bucket.
    fn push_bucket(
        bits: &mut BitWriter,
        last: &mut Self::Bucket,
        coding: &mut Self::Coding,
        bucket: Self::Bucket,
    );

    /// A bucket of the first sample; `None` if it is cut off.
    fn read_first_bucket(bits: &mut BitReader<'_>) -> Option<Self::Bucket>;

    /// The next of a bucket.
    ///
    /// # Errors
    /// The bits end, or are no bucket.
    fn read_bucket(
        bits: &mut BitReader<'_>,
        last: &mut Self::Bucket,
        coding: &mut Self::Coding,
    ) -> Result<(), Stop>;

    /// What the header of a chunk says that begins behind another because of `fit`, or, if `full`, because the other had
    /// to end anyway. The two kinds differ, and for no reason that can be told.
    fn header(fit: Fit, full: bool) -> ResetHint;
}

/// A whole number as the difference of its differences.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dod {
    /// The last one.
    pub value: i64,
    delta: i64,
}

impl Dod {
    /// The first one.
    pub(super) fn first(value: i64) -> Self {
        Self { value, delta: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, bits: &mut BitWriter, value: i64) {
        varbit::push_signed(bits, self.step(value));
    }

    /// Goes on to `value`; the difference of the differences.
    #[inline]
    fn step(&mut self, value: i64) -> i64 {
        let delta = value.wrapping_sub(self.value);
        let dod = delta.wrapping_sub(self.delta);
        *self = Self { value, delta };
        dod
    }

    #[inline]
    pub(super) fn read(&mut self, bits: &mut BitReader<'_>) -> Result<(), Stop> {
        self.delta = self.delta.wrapping_add(varbit::signed(bits).ok_or(Stop::Cut)?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(())
    }
}

impl Coded for u64 {
    const ENCODING: u8 = 2;
    const BUCKET_BITS: u64 = 1;
    type Number = Dod;
    /// By how much what is written of the bucket last changed.
    type Coding = i64;

    fn number(number: &Dod) -> u64 {
        number.value.cast_unsigned()
    }

    fn push_first_number(bits: &mut BitWriter, count: u64) -> Dod {
        varbit::push_unsigned(bits, count);
        Dod::first(count.cast_signed())
    }

    #[inline]
    fn push_number(bits: &mut BitWriter, number: &mut Dod, count: u64, stale: bool) {
        let dod = number.step(count.cast_signed());
        varbit::push_signed(bits, if stale { 0 } else { dod });
    }

    fn read_first_number(bits: &mut BitReader<'_>) -> Option<Dod> {
        Some(Dod::first(varbit::unsigned(bits)?.cast_signed()))
    }

    #[inline]
    fn read_number(bits: &mut BitReader<'_>, number: &mut Dod) -> Result<(), Stop> {
        number.read(bits)
    }

    fn push_first_bucket(bits: &mut BitWriter, bucket: i64) {
        varbit::push_signed(bits, bucket);
    }

    #[inline]
    fn push_bucket(bits: &mut BitWriter, last: &mut i64, coding: &mut i64, bucket: i64) {
        let delta = bucket.wrapping_sub(*last);
        varbit::push_signed(bits, delta.wrapping_sub(*coding));
        (*last, *coding) = (bucket, delta);
    }

    fn read_first_bucket(bits: &mut BitReader<'_>) -> Option<i64> {
        varbit::signed(bits)
    }

    #[inline]
    fn read_bucket(bits: &mut BitReader<'_>, last: &mut i64, coding: &mut i64) -> Result<(), Stop> {
        *coding = coding.wrapping_add(varbit::signed(bits).ok_or(Stop::Cut)?);
        *last = last.wrapping_add(*coding);
        Ok(())
    }

    fn header(fit: Fit, _full: bool) -> ResetHint {
        match fit {
            Fit::Fits(_) | Fit::OtherKind => ResetHint::NotReset,
            Fit::Reset => ResetHint::Reset,
            Fit::AfterStale | Fit::OtherLayout => ResetHint::Unknown,
        }
    }
}

impl Coded for f64 {
    const ENCODING: u8 = 3;
    const BUCKET_BITS: u64 = 64;
    type Number = XorValue;
    type Coding = Window;

    fn number(number: &XorValue) -> f64 {
        f64::from_bits(number.bits)
    }

    fn push_first_number(bits: &mut BitWriter, count: f64) -> XorValue {
        XorValue::push_first(bits, count.to_bits())
    }

    #[inline]
    fn push_number(bits: &mut BitWriter, number: &mut XorValue, count: f64, _stale: bool) {
        number.push(bits, count.to_bits());
    }

    fn read_first_number(bits: &mut BitReader<'_>) -> Option<XorValue> {
        XorValue::read_first(bits)
    }

    #[inline]
    fn read_number(bits: &mut BitReader<'_>, number: &mut XorValue) -> Result<(), Stop> {
        Ok(number.read(bits)?)
    }

    fn push_first_bucket(bits: &mut BitWriter, bucket: f64) {
        bits.push(bucket.to_bits(), 64);
    }

    #[inline]
    fn push_bucket(bits: &mut BitWriter, last: &mut f64, coding: &mut Window, bucket: f64) {
        push_xor(bits, last.to_bits(), bucket.to_bits(), coding);
        *last = bucket;
    }

    fn read_first_bucket(bits: &mut BitReader<'_>) -> Option<f64> {
        Some(f64::from_bits(bits.bits(64)?))
    }

    #[inline]
    fn read_bucket(
        bits: &mut BitReader<'_>,
        last: &mut f64,
        coding: &mut Window,
    ) -> Result<(), Stop> {
        *last = f64::from_bits(read_xor(bits, last.to_bits(), coding)?);
        Ok(())
    }

    fn header(fit: Fit, full: bool) -> ResetHint {
        match fit {
            Fit::Reset => ResetHint::Reset,
            _ if full => ResetHint::NotReset,
            _ => ResetHint::Unknown,
        }
    }
}
