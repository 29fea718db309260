//! Strings of an answer, escaped byte for byte as Prometheus escapes them, which is not the same everywhere:
//!
//! | where | `"` `\` | below 0x20 | `<` `>` `&` | U+2028, U+2029 |
//! |---|---|---|---|---|
//! | label names and values of series ([`label`]) | `\"` `\\` | `\n` `\r` `\t`, else `\u001f` | as they are | as they are |
//! | everything else ([`string`]) | likewise | likewise | `\u003c` `\u003e` `\u0026` | `\u2028` `\u2029` |
//!
//! Source: `web/api/v1/json_codec.go` writes labels with jsoniter's `Stream.WriteString`; the rest goes through jsoniter's
//! configuration that is compatible with Go's `encoding/json`, which escapes for HTML.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a label's name or value in quotes.
pub fn label(out: &mut Vec<u8>, text: &str) {
    quoted(out, text, |byte| byte < 0x20 || byte == b'"' || byte == b'\\');
}

/// Appends any other string in quotes.
pub fn string(out: &mut Vec<u8>, text: &str) {
    quoted(out, text, |byte| {
        // 0xe2 begins U+2028 and U+2029, among others.
        byte < 0x20 || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2)
    });
}

/// Appends bytes that may not be UTF-8 as [`string`] does; what is not becomes U+FFFD, each byte for itself.
pub fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => string(out, text),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len());
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
            }
            string(out, &text);
        }
    }
}

/// Copies runs of bytes that are not `special`, and looks at the others one by one.
fn quoted(out: &mut Vec<u8>, text: &str, special: impl Fn(u8) -> bool) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| special(*byte)) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = match from {
            [0xe2, 0x80, last @ (0xa8 | 0xa9), after @ ..] => {
                out.extend_from_slice(if *last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                after
            }
            [byte, after @ ..] => {
                escaped(out, *byte);
                after
            }
            [] => from,
        };
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0xe2 => out.push(byte),
        byte => {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn labels_escape_what_json_must_and_no_more() {
        assert_eq!(
            written(|out| label(out, "a\"b\\c\n\r\t\u{1}\u{7f}<>&\u{2028}é")),
            "\"a\\\"b\\\\c\\n\\r\\t\\u0001\u{7f}<>&\u{2028}é\""
        );
    }

    #[test]
    fn other_strings_also_escape_for_html_and_scripts() {
        assert_eq!(
            written(|out| string(out, "<a href=\"x\">&\u{2028}\u{2029}\u{2027}â\u{1f}")),
            "\"\\u003ca href=\\\"x\\\"\\u003e\\u0026\\u2028\\u2029\u{2027}â\\u001f\""
        );
    }

    #[test]
    fn bytes_that_are_no_text_become_replacement_characters() {
        assert_eq!(written(|out| bytes(out, b"a\xffb\xe2\x80")), "\"a\u{fffd}b\u{fffd}\u{fffd}\"");
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            for write in [label, string] {
                let json = written(|out| write(out, &text));
                prop_assert_eq!(&serde_json::from_str::<String>(&json).unwrap(), &text);
            }
        }
    }
}
