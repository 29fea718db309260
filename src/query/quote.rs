//! Texts in quotes, as Go's `%q` prints them, also where they are no UTF-8.

use std::fmt::Write as _;

use crate::model::labels::write_quoted;

/// `bytes` in double quotes; what is no UTF-8 as `\xff`.
#[must_use]
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let mut text = String::new();
        let _ = write_quoted(&mut text, chunk.valid());
        out.push_str(
            text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default(),
        );
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_shown_by_its_bytes() {
        assert_eq!(quoted(b"a\xc5z"), r#""a\xc5z""#);
        assert_eq!(quoted("\"ä\"".as_bytes()), r#""\"ä\"""#);
        assert_eq!(quoted(b""), r#""""#);
    }
}
