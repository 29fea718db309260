//! Quoted text as Prometheus writes and reads it: Go's rules, with single quotes as good as double ones.
//!
//! ```text
//! '…' or "…"   escapes \a \b \f \n \r \t \v \\ \' \" \ooo \xhh \uhhhh \Uhhhhhhhh; no line break
//! `…`          raw: nothing is an escape
//! ```
//! `\ooo` and `\xhh` are bytes, so an unquoted text need not be UTF-8. Writing always uses double quotes and keeps what
//! Go calls printable (letters, marks, numbers, punctuation, symbols and the ASCII space).
//! Source: Go's `strconv.Quote`, Prometheus's `util/strutil/quote.go`.

use std::fmt::Write;

use crate::model::labels::is_printable;

/// The code point at `at` and how many bytes it takes. Bytes that are not UTF-8 are U+FFFD, one byte each.
pub(super) fn code_point_at(text: &[u8], at: usize) -> Option<(char, usize)> {
    let rest = text.get(at..)?;
    let first = *rest.first()?;
    if first.is_ascii() {
        return Some((char::from(first), 1));
    }
    let next = rest.get(..rest.len().min(4))?;
    let valid = match std::str::from_utf8(next) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(next.get(..error.valid_up_to())?).ok()?,
    };
    let point = valid.chars().next();
    Some(point.map_or((char::REPLACEMENT_CHARACTER, 1), |point| (point, point.len_utf8())))
}

fn push_escaped(out: &mut String, point: char, quote: char) {
    match point {
        '\\' => out.push_str("\\\\"),
        _ if point == quote => out.extend(['\\', quote]),
        _ if is_printable(point) => out.push(point),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        '\0'..='\x7f' => push_hex(out, 'x', 2, u32::from(point)),
        '\u{80}'..='\u{ffff}' => push_hex(out, 'u', 4, u32::from(point)),
        _ => push_hex(out, 'U', 8, u32::from(point)),
    }
}

fn push_hex(out: &mut String, kind: char, digits: usize, value: u32) {
    // Writing to a `String` cannot fail.
    let _ = write!(out, "\\{kind}{value:0digits$x}");
}

/// Appends `text` in double quotes.
fn push_quoted(out: &mut String, text: &[u8]) {
    out.push('"');
    let mut at = 0;
    while let Some((point, width)) = code_point_at(text, at) {
        match text.get(at) {
            Some(byte) if point == char::REPLACEMENT_CHARACTER && width == 1 => {
                push_hex(out, 'x', 2, u32::from(*byte));
            }
            _ => push_escaped(out, point, '"'),
        }
        at += width;
    }
    out.push('"');
}

/// Appends `text` in double quotes so that the parser reads it back. It takes a U+FFFD for bytes that are not UTF-8, so
/// that must be an escape; everything else is as in [`push_quoted`].
pub(super) fn push_literal(out: &mut String, text: &[u8]) {
    let quoted = quoted(text);
    if quoted.contains(char::REPLACEMENT_CHARACTER) {
        out.push_str(&quoted.replace(char::REPLACEMENT_CHARACTER, "\\ufffd"));
    } else {
        out.push_str(&quoted);
    }
}

/// `text` in double quotes.
#[must_use]
pub fn quoted(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// The first `points_max` code points of `text` in double quotes.
pub(super) fn quoted_start(text: &[u8], points_max: usize) -> String {
    let mut end = 0;
    for _ in 0..points_max {
        let Some((_, width)) = code_point_at(text, end) else { break };
        end += width;
    }
    quoted(text.get(..end).unwrap_or(text))
}

/// A code point in single quotes; `None`, the end of the text, shows as U+FFFD.
pub(super) fn quoted_point(point: Option<char>) -> String {
    let mut out = String::from('\'');
    push_escaped(&mut out, point.unwrap_or(char::REPLACEMENT_CHARACTER), '\'');
    out.push('\'');
    out
}

/// A code point by number and, if it is printable, by look: `U+0063 'c'`.
pub(super) fn numbered_point(point: char) -> String {
    let number = u32::from(point);
    if is_printable(point) {
        format!("U+{number:04X} '{point}'")
    } else {
        format!("U+{number:04X}")
    }
}

/// What the quoted text `token`, quotes included, stands for. The lexer has accepted it: every escape is complete.
pub(super) fn unquoted(token: &[u8]) -> Vec<u8> {
    let Some((quote, inner)) = token.split_first() else { return Vec::new() };
    let inner = inner.strip_suffix(&[*quote]).unwrap_or(inner);
    if *quote == b'`' || !inner.contains(&b'\\') {
        return inner.to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            push_unescaped(&mut out, &mut bytes);
        } else {
            out.push(byte);
        }
    }
    out
}

/// Appends what the escape stands for whose backslash has just been read.
fn push_unescaped(out: &mut Vec<u8>, bytes: &mut impl Iterator<Item = u8>) {
    let Some(kind) = bytes.next() else { return };
    let mut number = |first: u32, digits: usize, base: u32| {
        bytes.by_ref().take(digits).fold(first, |value, digit| {
            let digit = char::from(digit).to_digit(base).unwrap_or_default();
            value.wrapping_mul(base).wrapping_add(digit)
        })
    };
    let value = match kind {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => 0x0a,
        b'r' => 0x0d,
        b't' => 0x09,
        b'v' => 0x0b,
        b'x' => number(0, 2, 16),
        b'0'..=b'7' => number(u32::from(kind - b'0'), 2, 8),
        b'u' | b'U' => {
            let point = char::from_u32(number(0, if kind == b'u' { 4 } else { 8 }, 16));
            let point = point.unwrap_or(char::REPLACEMENT_CHARACTER);
            out.extend_from_slice(point.encode_utf8(&mut [0; 4]).as_bytes());
            return;
        }
        _ => u32::from(kind),
    };
    out.extend(u8::try_from(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_escapes_what_go_does_not_show_and_keeps_the_rest() {
        assert_eq!(
            quoted("a\"\\\n\x01 é\u{200b}\u{10ffff}'".as_bytes()),
            r#""a\"\\\n\x01 é\u200b\U0010ffff'""#
        );
        assert_eq!(quoted(b"\xff\xc3"), r#""\xff\xc3""#);
        assert_eq!(quoted("\u{fffd}e\u{301}".as_bytes()), "\"\u{fffd}e\u{301}\"");
    }

    #[test]
    fn a_lone_combining_mark_is_printable() {
        assert_eq!(quoted("\u{301}".as_bytes()), "\"\u{301}\"");
    }

    #[test]
    fn a_point_is_shown_in_single_quotes_and_the_end_as_a_replacement() {
        assert_eq!(quoted_point(Some('\'')), r"'\''");
        assert_eq!(quoted_point(Some('"')), "'\"'");
        assert_eq!(quoted_point(None), "'\u{fffd}'");
    }

    #[test]
    fn a_long_text_is_cut_at_code_points() {
        assert_eq!(quoted_start("ääääääääääääää".as_bytes(), 10), "\"ääääääääää\"");
        assert_eq!(quoted_start(b"abc", 10), "\"abc\"");
    }

    #[test]
    fn every_escape_stands_for_its_byte_or_code_point() {
        let text = br#""\a\b\f\n\r\t\v\\\"\xff\377\u1234\U00010111""#;
        let mut want = b"\x07\x08\x0c\n\r\t\x0b\\\"\xff\xff".to_vec();
        want.extend("\u{1234}\u{10111}".bytes());
        assert_eq!(unquoted(text), want);
        assert_eq!(unquoted(b"`\\d+`"), b"\\d+");
        assert_eq!(unquoted(br"'\''"), b"'");
    }

    proptest::proptest! {
        #[test]
        fn what_is_quoted_unquotes_to_itself(text in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            proptest::prop_assert_eq!(unquoted(quoted(&text).as_bytes()), text);
        }

        #[test]
        fn unquoting_takes_any_bytes(text in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            let _ = unquoted(&text);
        }
    }
}
