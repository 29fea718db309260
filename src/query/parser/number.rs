//! Numbers: where one ends in the text, and what it is worth.
//!
//! ```text
//! number     decimal | hex | octal | Inf | NaN          Inf and NaN in any case; the lexer knows them as keywords
//! decimal    digits with at most one '.' and one exponent, '_' between digits
//! hex        0x digits, '_' between digits and behind the x
//! octal      0 digits 0-7; with an 8 or a 9 in it the number is decimal
//! duration   see `query::durations`; begins like a number and goes on with a unit
//! ```
//! The lexer is generous (`1_`, `.5.5`) and [`value`] then refuses, as in Prometheus, so that the message quotes the
//! whole number. Sources: Prometheus's `promql/parser/lex.go`, Go's `strconv.ParseInt` and `strconv.ParseFloat`.

use crate::query::quote::quoted;

/// Reads bytes one by one.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Steps over the next byte if it is one of those.
    fn accept(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let accepted = self.peek().is_some_and(wanted);
        self.at += usize::from(accepted);
        accepted
    }

    fn accept_all(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.accept(&wanted) {}
    }
}

pub(super) fn is_name_byte(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// What may not follow an underscore, an exponent's sign or an exponent's letter.
fn breaks_digits(byte: u8) -> bool {
    matches!(byte, b'.' | b'_' | b'e' | b'E')
}

/// Where the number that begins at `start` ends: `Ok` behind its last byte, or `Err` behind the byte that shows that it is
/// none. `times` says that an `x` may follow, as in the series descriptions' `1x5`, where hexadecimal is not known.
pub(super) fn number_end(text: &[u8], start: usize, times: bool) -> Result<usize, usize> {
    let mut scan = Scan { text, at: start };
    let hex = !times && scan.accept(|b| b == b'0') && scan.accept(|b| matches!(b, b'x' | b'X'));
    if hex {
        scan.accept(|b| b == b'_');
    }
    let is_digit = |b: u8| if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
    scan.accept(|b| b == b'.');
    scan.accept(is_digit);
    let (mut dotted, mut raised) = (false, false);
    while let Some(next) = scan.peek() {
        match next {
            b'.' => {
                scan.at += 1;
                if dotted || scan.accept(|b| matches!(b, b'.' | b'_')) || hex {
                    return Err(scan.at);
                }
                dotted = true;
            }
            // Also among hexadecimal digits, unless another digit than the first stands before it.
            b'e' | b'E' => {
                scan.at += 1;
                if raised {
                    return Err(scan.at);
                }
                raised = true;
                scan.accept(|b| matches!(b, b'+' | b'-'));
                if scan.accept(breaks_digits) || scan.peek().is_none() {
                    return Err(scan.at);
                }
            }
            b'_' => {
                scan.at += 1;
                if scan.accept(breaks_digits) || scan.peek().is_none() {
                    return Err(scan.at);
                }
            }
            _ if is_digit(next) => scan.accept_all(is_digit),
            _ => break,
        }
    }
    match scan.peek() {
        _ if scan.at == start => Err(scan.at),
        Some(b'x') if times => Ok(scan.at),
        Some(next) if is_name_byte(next) => Err(scan.at),
        _ => Ok(scan.at),
    }
}

/// Where the duration ends of which [`number_end`] has read the first digits up to `at`; like it, `Err` tells where it is
/// seen to be none. Units are checked later, by `query::durations`.
pub(super) fn duration_end(text: &[u8], at: usize) -> Result<usize, usize> {
    let mut scan = Scan { text, at };
    if !scan.accept(|b| matches!(b, b's' | b'm' | b'h' | b'd' | b'w' | b'y')) {
        return Err(scan.at);
    }
    scan.accept(|b| b == b's');
    while scan.accept(|b| b.is_ascii_digit()) {
        scan.accept_all(|b| b.is_ascii_digit());
        if !scan.accept(|b| matches!(b, b's' | b'm' | b'h' | b'd' | b'w')) {
            return Err(scan.at);
        }
        scan.accept(|b| b == b's');
    }
    let end = scan.at;
    if scan.accept(is_name_byte) { Err(scan.at) } else { Ok(end) }
}

/// Why a number has no value, and what parsing goes on with instead.
#[derive(Debug, PartialEq)]
pub(super) struct NumberError {
    pub message: String,
    /// Infinity for a number that is too large, else zero.
    pub instead: f64,
}

/// What the number `word` is worth.
pub(super) fn value(word: &[u8]) -> Result<f64, NumberError> {
    if word.eq_ignore_ascii_case(b"inf") {
        return Ok(f64::INFINITY);
    }
    if word.eq_ignore_ascii_case(b"nan") {
        return Ok(f64::NAN);
    }
    if let Some(integer) = integer(word) {
        return Ok(integer);
    }
    let refuse = |why, instead| {
        let message =
            format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", quoted(word));
        NumberError { message, instead }
    };
    let digits: String = word.iter().filter(|b| **b != b'_').map(|b| char::from(*b)).collect();
    match digits.parse::<f64>() {
        Ok(value) if underscores_stand_between_digits(word) => {
            if value.is_finite() {
                Ok(value)
            } else {
                Err(refuse("value out of range", value))
            }
        }
        _ => Err(refuse("invalid syntax", 0.0)),
    }
}

/// The value of a whole number in decimal, hexadecimal or octal, if `word` is one and fits an `i64`.
#[expect(
    clippy::cast_precision_loss,
    reason = "a number of the language is an f64: the nearest one is meant"
)]
fn integer(word: &[u8]) -> Option<f64> {
    if !underscores_stand_between_digits(word) {
        return None;
    }
    let (digits, base) = match word {
        [b'0', b'x' | b'X', digits @ ..] => (digits, 16),
        [b'0', digits @ ..] if !digits.is_empty() => (digits, 8),
        digits => (digits, 10),
    };
    let mut digits = digits.iter().filter(|byte| **byte != b'_').peekable();
    digits.peek()?;
    let value = digits.try_fold(0_i64, |value, byte| {
        let digit = char::from(*byte).to_digit(base)?;
        value.checked_mul(i64::from(base))?.checked_add(i64::from(digit))
    })?;
    Some(value as f64)
}

/// Go's rule: an underscore has a digit before and behind it; the `0x` of a hexadecimal number counts as a digit.
fn underscores_stand_between_digits(word: &[u8]) -> bool {
    let (hex, body) = match word {
        [b'0', b'x' | b'X', rest @ ..] => (true, rest),
        _ => (false, word),
    };
    let is_digit = |b: &u8| b.is_ascii_digit() || (hex && b.is_ascii_hexdigit());
    let mut before_is_digit = hex;
    let mut bytes = body.iter().peekable();
    while let Some(byte) = bytes.next() {
        if *byte == b'_' && !(before_is_digit && bytes.peek().is_some_and(|next| is_digit(next))) {
            return false;
        }
        before_is_digit = is_digit(byte);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Result<usize, usize> {
        number_end(text.as_bytes(), 0, false)
    }

    #[test]
    fn a_number_ends_where_its_digits_do() {
        for text in ["1", "1.5", ".5", "5.", "1e5", "1E-5", "0x1F", "0X_1f", "1_000", "1e1_0", "0x"]
        {
            assert_eq!(end(text), Ok(text.len()), "{text}");
            assert_eq!(end(&format!("{text} +")), Ok(text.len()), "{text}");
        }
    }

    #[test]
    fn what_goes_on_behind_the_digits_makes_it_no_number() {
        for (text, at) in [
            ("2.5.", 4),
            ("1__0", 3),
            ("1e", 2),
            ("1_", 2),
            ("0deadbeef", 1),
            ("0x1.5", 4),
            ("5m", 1),
        ] {
            assert_eq!(end(text), Err(at), "{text}");
        }
    }

    #[test]
    fn in_series_an_x_ends_a_number() {
        assert_eq!(number_end(b"0x5", 0, true), Ok(1));
        assert_eq!(number_end(b"1.5x5", 0, true), Ok(3));
    }

    #[test]
    fn a_duration_ends_behind_its_last_unit() {
        assert_eq!(duration_end(b"5m30s)", 1), Ok(5));
        assert_eq!(duration_end(b"5ms", 1), Ok(3));
        assert_eq!(duration_end(b"5mm", 1), Err(3));
        assert_eq!(duration_end(b"1m1", 1), Err(3));
        assert_eq!(duration_end(b"5x", 1), Err(1));
    }

    #[test]
    fn values_are_decimal_hexadecimal_or_octal() {
        for (text, want) in [
            ("1", 1.0),
            ("1.5e3", 1500.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("0xfF", 255.0),
            ("0x_1_0", 16.0),
            ("0755", 493.0),
            ("0_7", 7.0),
            ("089", 89.0),
            ("1_000.5", 1000.5),
            ("1e1_0", 1e10),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            ("1e-400", 0.0),
            ("iNf", f64::INFINITY),
        ] {
            assert_eq!(value(text.as_bytes()), Ok(want), "{text}");
        }
        assert!(value(b"NAN").unwrap().is_nan());
    }

    #[test]
    fn a_number_without_a_value_is_refused_in_gos_words() {
        let want = |text: &str, why: &str| {
            let message =
                format!("error parsing number: strconv.ParseFloat: parsing \"{text}\": {why}");
            assert_eq!(value(text.as_bytes()).unwrap_err().message, message);
        };
        want("1e400", "value out of range");
        want("0x", "invalid syntax");
        want("0x1e+5", "invalid syntax");
        want("0xffffffffffffffffff", "invalid syntax");
        want(".5.5", "invalid syntax");
        want("1_", "invalid syntax");
        want("1_.5", "invalid syntax");
        want("1e400_", "invalid syntax");
    }

    proptest::proptest! {
        #[test]
        fn numbers_that_the_language_can_write_have_their_value(number in proptest::num::f64::POSITIVE) {
            let text = format!("{number}");
            if number.is_finite() {
                proptest::prop_assert_eq!(end(&text), Ok(text.len()));
                let got = value(text.as_bytes()).unwrap();
                proptest::prop_assert_eq!(got.to_bits(), number.to_bits());
            }
        }

        #[test]
        fn any_bytes_have_an_end_and_a_value_or_an_error(
            text in "[0-9a-fxXeE_.+smhdwy-]{0,12}", times in proptest::bool::ANY
        ) {
            let (Ok(end) | Err(end)) = number_end(text.as_bytes(), 0, times);
            proptest::prop_assert!(end <= text.len());
            let (Ok(end) | Err(end)) = duration_end(text.as_bytes(), 0);
            proptest::prop_assert!(end <= text.len());
            let _ = value(text.as_bytes());
        }
    }
}
