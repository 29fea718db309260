//! A float as its XOR with the one before it: the part of the XOR encoding that histogram and XOR2 chunks share.
//!
//! ```text
//! new window  leading zeros 5 bits │ significant bits 6 bits (0 is 64) │ these bits
//! old window  as many bits as the last new window had, at its place
//! ```
//! Which of the two follows, or neither because the values are the same, stands before it, in each encoding its own way.
//! `super::xor` does the same by itself, with the two parts fused. Source: Prometheus, `tsdb/chunkenc/xor.go`.

use super::bits::{BitReader, BitWriter};

/// The zeros around the significant bits of a XOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Zeros before them; [`NONE`](Self::NONE) has more than any other.
    leading: u8,
    /// Zeros behind them.
    trailing: u8,
}

/// A window that does not fit into 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooWide {
    /// Zeros before the significant bits.
    pub leading: u8,
    /// How many significant bits.
    pub width: u8,
}

/// How a value was written that is not the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// In the window that there was.
    Old,
    /// In a new one.
    New,
}

/// What reading stops with, if not with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bits end.
    Cut,
    /// There is no such window.
    TooWide(TooWide),
}

impl Window {
    /// There was no window yet.
    pub const NONE: Self = Self { leading: 0xff, trailing: 0 };

    /// Does `xor`, which is not zero, go into this window? If not, the window becomes that of `xor`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "counts of bits in a word")]
    pub fn place(&mut self, xor: u64) -> Placed {
        // Five bits hold at most 31.
        let leading = (xor.leading_zeros() as u8).min(31);
        let trailing = xor.trailing_zeros() as u8;
        if *self != Self::NONE && leading >= self.leading && trailing >= self.trailing {
            return Placed::Old;
        }
        *self = Self { leading, trailing };
        Placed::New
    }

    /// Appends what follows the sign that tells how `xor` was placed.
    #[inline]
    pub fn push(self, bits: &mut BitWriter, xor: u64, placed: Placed) {
        let width = self.width();
        if placed == Placed::New {
            bits.push(u64::from(self.leading) << 6 | u64::from(width & 63), 11);
        }
        bits.push(xor >> self.trailing, width);
    }

    /// The XOR that comes next.
    ///
    /// # Errors
    /// The bits end, or are no window.
    #[inline]
    pub fn read(&mut self, bits: &mut BitReader<'_>, placed: Placed) -> Result<u64, Stop> {
        if placed == Placed::New {
            *self = Self::read_new(bits)?;
        } else if *self == Self::NONE {
            // Nothing to use again: 64 bits, as upstream's reader has it. Its appender writes so when it goes on with a
            // chunk that it has read.
            *self = Self { leading: 0, trailing: 0 };
        }
        Ok(bits.bits(self.width()).ok_or(Stop::Cut)? << self.trailing)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "fields of five and six bits")]
    fn read_new(bits: &mut BitReader<'_>) -> Result<Self, Stop> {
        let head = bits.bits(11).ok_or(Stop::Cut)?;
        let leading = (head >> 6) as u8;
        let width = match (head & 63) as u8 {
            0 => 64,
            width => width,
        };
        if leading + width > 64 {
            return Err(Stop::TooWide(TooWide { leading, width }));
        }
        Ok(Self { leading, trailing: 64 - leading - width })
    }

    /// How many significant bits.
    #[inline]
    fn width(self) -> u32 {
        64 - u32::from(self.leading) - u32::from(self.trailing)
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::NONE
    }
}

/// A float of a histogram: the bits of the last one and the window of its series of floats.
///
/// ```text
/// value     0 the same again │ 10 old window │ 11 new window
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct XorValue {
    /// The bits of the last one.
    pub bits: u64,
    window: Window,
}

impl XorValue {
    /// Appends the first value, whole.
    pub fn push_first(bits: &mut BitWriter, value: u64) -> Self {
        bits.push(value, 64);
        Self { bits: value, window: Window::NONE }
    }

    /// The first value.
    pub fn read_first(bits: &mut BitReader<'_>) -> Option<Self> {
        Some(Self { bits: bits.bits(64)?, window: Window::NONE })
    }

    /// Appends the next value.
    #[inline]
    pub fn push(&mut self, bits: &mut BitWriter, value: u64) {
        push_xor(bits, self.bits, value, &mut self.window);
        self.bits = value;
    }

    /// The next value.
    ///
    /// # Errors
    /// The bits end, or are no value.
    #[inline]
    pub fn read(&mut self, bits: &mut BitReader<'_>) -> Result<(), Stop> {
        self.bits = read_xor(bits, self.bits, &mut self.window)?;
        Ok(())
    }
}

/// Appends `value`, which follows `last`.
#[inline]
pub fn push_xor(bits: &mut BitWriter, last: u64, value: u64, window: &mut Window) {
    let xor = last ^ value;
    if xor == 0 {
        bits.push(0, 1);
        return;
    }
    let placed = window.place(xor);
    bits.push(if placed == Placed::Old { 0b10 } else { 0b11 }, 2);
    window.push(bits, xor, placed);
}

/// The value that follows `last`.
///
/// # Errors
/// The bits end, or are no value.
#[inline]
pub fn read_xor(bits: &mut BitReader<'_>, last: u64, window: &mut Window) -> Result<u64, Stop> {
    if !bits.bit().ok_or(Stop::Cut)? {
        return Ok(last);
    }
    let placed = if bits.bit().ok_or(Stop::Cut)? { Placed::New } else { Placed::Old };
    Ok(last ^ window.read(bits, placed)?)
}
