//! Amounts of bytes as flags spell them: `512MB`, `1GiB`, `4096`.
//!
//! A kilobyte is 1024 bytes, whether written `KB` or `KiB`, as in Prometheus's flags.

use std::fmt;
use std::str::FromStr;

/// The units, longer spellings first, with their power of 1024.
const UNITS: [(&str, u32); 13] = [
    ("KiB", 1),
    ("MiB", 2),
    ("GiB", 3),
    ("TiB", 4),
    ("PiB", 5),
    ("EiB", 6),
    ("KB", 1),
    ("MB", 2),
    ("GB", 3),
    ("TB", 4),
    ("PB", 5),
    ("EB", 6),
    ("B", 0),
];

/// A number of bytes that prints in the largest unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

/// Why a text is not an amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount of bytes; write it like 512MB, 1GiB or 4096")]
pub struct ByteSizeError(String);

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, power) = UNITS
            .iter()
            .find_map(|(unit, power)| Some((text.strip_suffix(unit)?, *power)))
            .unwrap_or((text, 0));
        Some(number)
            .filter(|number| number.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|number| number.parse::<usize>().ok())
            .and_then(|number| number.checked_mul(1024usize.checked_pow(power)?))
            .map(Self)
            .ok_or_else(|| ByteSizeError(text.to_owned()))
    }
}

/// What a size is printed in, the largest first.
const PRINTED: [(usize, &str); 6] = [
    (1 << 60, "EiB"),
    (1 << 50, "PiB"),
    (1 << 40, "TiB"),
    (1 << 30, "GiB"),
    (1 << 20, "MiB"),
    (1 << 10, "KiB"),
];

impl ByteSize {
    /// In as many units as it takes, each with less than 1024: `1GiB512MiB`, as Prometheus prints its limits.
    #[must_use]
    pub fn in_all_units(self) -> String {
        let (mut text, mut left) = (String::new(), self.0);
        for (size, unit) in PRINTED.into_iter().chain([(1, "B")]) {
            if left >= size {
                text.push_str(&format!("{}{unit}", left / size));
                left %= size;
            }
        }
        text
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PRINTED.iter().find(|(size, _)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kilobyte_is_1024_bytes_however_it_is_written() {
        for text in ["2KB", "2KiB", "2048", "2048B"] {
            assert_eq!(text.parse(), Ok(ByteSize(2048)), "{text}");
        }
        assert_eq!("1GB".parse(), Ok(ByteSize(1 << 30)));
        assert_eq!("3PB".parse(), Ok(ByteSize(3 << 50)));
        assert_eq!("1EiB".parse(), Ok(ByteSize(1 << 60)));
    }

    #[test]
    fn what_is_not_a_whole_number_with_a_unit_is_refused() {
        for text in ["", "B", "-1", "+1", "1.5MB", "1 MB", "1mb", "99999999999TB", "16EB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn it_prints_in_the_largest_unit_that_divides_it() {
        assert_eq!(ByteSize(64 << 20).to_string(), "64MiB");
        assert_eq!(ByteSize(1025).to_string(), "1025B");
        assert_eq!(ByteSize(0).to_string(), "0B");
        assert_eq!(ByteSize(5 << 40).to_string(), "5TiB");
    }

    #[test]
    fn in_all_units_nothing_is_rounded_and_nothing_is_large() {
        assert_eq!(ByteSize(5 << 30).in_all_units(), "5GiB");
        assert_eq!(ByteSize((3 << 29) + 1).in_all_units(), "1GiB512MiB1B");
        assert_eq!(ByteSize(0).in_all_units(), "");
    }
}
