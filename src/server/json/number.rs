//! Numbers of an answer as text: sample values, timestamps, counts.
//!
//! A value is a JSON string with the fewest digits that read back to the same bits, as Go's `strconv.FormatFloat` writes
//! them: without an exponent from 1e-6 up to below 1e21, with one (of at least two digits, always signed) outside, and
//! `NaN`, `+Inf`, `-Inf`. A timestamp is a JSON number of seconds: whole, or with exactly three decimals.
//! Source: `util/jsonutil/marshal.go`, Prometheus 3.14.

use std::io::Write;

use crate::model::TimestampMs;

/// Up to here every whole float is an integer that prints with the same digits; 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends a value in quotes: `"1.5"`.
pub fn value(out: &mut Vec<u8>, v: f64) {
    out.push(b'"');
    bare_value(out, v);
    out.push(b'"');
}

/// The magnitude of a value that is an integer below 2^53 and prints with the same digits.
#[inline]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "below 2^53, and whether it is whole is the question"
)]
pub fn whole(v: f64) -> Option<u64> {
    let magnitude = v.abs();
    let whole = magnitude as i64; // which processors turn back at once, unlike a number without a sign
    (magnitude < WHOLE_MAX && whole as f64 == magnitude).then_some(whole.cast_unsigned())
}

/// Appends a value without quotes, as the text exposition format wants it, too.
pub fn bare_value(out: &mut Vec<u8>, v: f64) {
    let magnitude = v.abs();
    if let Some(whole) = whole(v) {
        if v.is_sign_negative() {
            out.push(b'-');
        }
        unsigned(out, whole);
    } else if magnitude == f64::INFINITY {
        out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if v.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if (1e-6..1e21).contains(&magnitude) {
        plain(out, v);
    } else {
        with_exponent(out, v);
    }
}

/// Appends a value as Go's `strconv.FormatFloat(v, 'g', -1, 64)` writes it, and the text format of metrics with it: with an
/// exponent below 1e-4 and from 1e6 on. Zero has no sign.
pub fn general(out: &mut Vec<u8>, v: f64) {
    let magnitude = v.abs();
    if magnitude == 0.0 {
        out.push(b'0');
    } else if !v.is_finite() || (1e-4..1e6).contains(&magnitude) {
        bare_value(out, v);
    } else {
        with_exponent(out, v);
    }
}

/// Appends a value in quotes that never has an exponent, as scalars are written.
pub fn scalar_value(out: &mut Vec<u8>, v: f64) {
    if v.is_finite() {
        out.push(b'"');
        plain(out, v);
        out.push(b'"');
    } else {
        value(out, v);
    }
}

/// Appends a timestamp of a sample: seconds, and three decimals unless they are zero.
pub fn timestamp(out: &mut Vec<u8>, t: TimestampMs) {
    if t.0 < 0 {
        out.push(b'-');
    }
    let ms = t.0.unsigned_abs();
    unsigned(out, ms / 1000);
    let fraction = ms % 1000;
    if fraction != 0 {
        out.push(b'.');
        let digit = |n: u64| b'0' + u8::try_from(n % 10).unwrap_or(0);
        out.extend_from_slice(&[digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
    }
}

/// Appends a timestamp of a scalar or a string: seconds, without zeros at the end of the decimals.
pub fn scalar_timestamp(out: &mut Vec<u8>, t: TimestampMs) {
    timestamp(out, t);
    if t.0 % 1000 != 0 {
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Appends a whole number.
pub fn unsigned(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Appends a whole number that may be negative.
pub fn signed(out: &mut Vec<u8>, n: i64) {
    if n < 0 {
        out.push(b'-');
    }
    unsigned(out, n.unsigned_abs());
}

/// The shortest digits with as many zeros as it takes. Writing to a `Vec` does not fail.
fn plain(out: &mut Vec<u8>, v: f64) {
    // Where nothing has to be filled up with zeros, which is nearly always, there is a faster way.
    if (1e-3..WHOLE_MAX).contains(&v.abs()) && whole(v).is_none() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(v).as_bytes());
    } else {
        let _ = write!(out, "{v}");
    }
}

/// The shortest digits and an exponent; Rust writes `1e-7` where Go writes `1e-07`.
fn with_exponent(out: &mut Vec<u8>, v: f64) {
    let start = out.len();
    let _ = write!(out, "{v:e}");
    let at = out.iter().rposition(|b| *b == b'e').filter(|at| *at >= start);
    let Some(at) = at else { return };
    let exponent = out.split_off(at + 1);
    let (sign, digits) = match exponent.strip_prefix(b"-") {
        Some(digits) => (b'-', digits),
        None => (b'+', exponent.as_slice()),
    };
    out.push(sign);
    if digits.len() < 2 {
        out.push(b'0');
    }
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn in_the_text_format_large_values_have_an_exponent() {
        for (v, expected) in [
            (-0.0, "0"),
            (10_000.0, "10000"),
            (999_999.5, "999999.5"),
            (1_234_567.5, "1.2345675e+06"),
            (-1e21, "-1e+21"),
            (0.0001, "0.0001"),
            (0.000_099, "9.9e-05"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(text(|out| general(out, v)), expected);
        }
    }

    #[test]
    fn of_two_shortest_texts_the_even_one_is_taken() {
        let between = 1_715_164_971_477_536.0 + 0.25;
        assert_eq!(text(|out| plain(out, between)), "1715164971477536.2");
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test] // golden: what Go's strconv.AppendFloat gives, with Prometheus's choice of exponent
    fn values_have_these_digits() {
        for (v, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-42.0, "-42"),
            (0.1, "0.1"),
            (0.30000000000000004, "0.30000000000000004"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (1e-7, "1e-07"),
            (1.5e-300, "1.5e-300"),
            (5e-324, "5e-324"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (999_999_999_999_999_900_000.0, "999999999999999900000"),
            (1e21, "1e+21"),
            (-1.5e21, "-1.5e+21"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (f64::from_bits(crate::model::STALE_NAN_BITS), "NaN"),
        ] {
            assert_eq!(text(|out| bare_value(out, v)), want);
            assert_eq!(text(|out| value(out, v)), format!("\"{want}\""));
        }
    }

    #[test]
    fn a_scalar_never_has_an_exponent() {
        assert_eq!(text(|out| scalar_value(out, 1e21)), "\"1000000000000000000000\"");
        assert_eq!(text(|out| scalar_value(out, 1e-7)), "\"0.0000001\"");
        assert_eq!(text(|out| scalar_value(out, f64::NEG_INFINITY)), "\"-Inf\"");
    }

    #[test]
    fn timestamps_have_three_decimals_or_none() {
        for (ms, want) in [
            (0, "0"),
            (1, "0.001"),
            (1042, "1.042"),
            (1420, "1.420"),
            (1000, "1"),
            (-1, "-0.001"),
            (-1500, "-1.500"),
            (1_435_781_451_781, "1435781451.781"),
            (i64::MAX, "9223372036854775.807"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(text(|out| timestamp(out, TimestampMs(ms))), want);
        }
    }

    #[test]
    fn a_scalars_timestamp_drops_zeros_behind_the_point() {
        assert_eq!(text(|out| scalar_timestamp(out, TimestampMs(1420))), "1.42");
        assert_eq!(text(|out| scalar_timestamp(out, TimestampMs(10_000))), "10");
    }

    proptest! {
        #[test]
        fn values_read_back_to_the_same_bits(bits in any::<u64>(), small in -1_000_000i64..1_000_000) {
            for v in [f64::from_bits(bits), small as f64, small as f64 / 1000.0] {
                let back: f64 = text(|out| bare_value(out, v)).parse().unwrap();
                prop_assert!(back.to_bits() == v.to_bits() || (back.is_nan() && v.is_nan()));
            }
        }

        #[test]
        fn values_have_no_more_digits_than_they_need(
            v in prop_oneof![-1e16..1e16f64, -1e3..1e3f64, -1e-2..1e-2f64, (1u64..1 << 62).prop_map(f64::from_bits)],
        ) {
            let plain = text(|out| plain(out, v));
            // Which of two neighbours it is that are as near is left open: Go takes the even one, Rust the larger.
            prop_assert_eq!(plain.len(), v.to_string().len());
            prop_assert_eq!(plain.parse::<f64>().unwrap(), v);
        }

        #[test]
        fn whole_numbers_print_as_they_do_elsewhere(n in any::<i64>()) {
            prop_assert_eq!(text(|out| signed(out, n)), n.to_string());
        }
    }
}
