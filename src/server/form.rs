//! The names and values of a request: its query string, and before it the form in its body.
//!
//! As in Go's `net/url`: `+` is a space, `%41` is `A`, a pair with a bad escape or a semicolon is left out (and remembered,
//! because some endpoints refuse the whole request for it), a name may stand several times, and of several values the
//! first counts.

/// The pairs of one request, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Form {
    pairs: Vec<(String, String)>,
    malformed: Option<FormError>,
}

/// Why a pair was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// `%` not followed by two hexadecimal digits.
    #[error("invalid URL escape {0:?}")]
    Escape(String),
    /// A pair that is not separated by `&`.
    #[error("invalid semicolon separator in query")]
    Semicolon,
    /// Bytes that are not UTF-8 after unescaping.
    #[error("invalid UTF-8 in the value of {0:?}")]
    NotUtf8(String),
}

impl Form {
    /// Reads the pairs of a body (empty if it is no form) and those of a query string.
    #[must_use]
    pub fn new(body: &[u8], query: &str) -> Self {
        let mut form = Self::default();
        form.read(body);
        form.read(query.as_bytes());
        form
    }

    /// The first value of `name`; the empty text if there is none, as endpoints do not tell the two apart.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }

    /// All values of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The first thing that was wrong with the request's pairs.
    #[must_use]
    pub fn malformed(&self) -> Option<&FormError> {
        self.malformed.as_ref()
    }

    fn read(&mut self, text: &[u8]) {
        for pair in text.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            match read_pair(pair) {
                Ok(pair) => self.pairs.push(pair),
                Err(error) => {
                    self.malformed.get_or_insert(error);
                }
            }
        }
    }
}

fn read_pair(pair: &[u8]) -> Result<(String, String), FormError> {
    if pair.contains(&b';') {
        return Err(FormError::Semicolon);
    }
    let mut halves = pair.splitn(2, |b| *b == b'=');
    let name = unescape(halves.next().unwrap_or_default(), true)?;
    let name = String::from_utf8(name)
        .map_err(|error| FormError::NotUtf8(String::from_utf8_lossy(error.as_bytes()).into()))?;
    let value = unescape(halves.next().unwrap_or_default(), true)?;
    match String::from_utf8(value) {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(FormError::NotUtf8(name)),
    }
}

/// Undoes percent escapes; in forms, `+` is a space.
///
/// # Errors
/// A `%` without two hexadecimal digits behind it.
pub fn unescape(text: &[u8], plus_is_space: bool) -> Result<Vec<u8>, FormError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match bytes.as_slice() {
                [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    out.push(nibble(*high) << 4 | nibble(*low));
                    bytes.nth(1);
                }
                rest => {
                    let shown = rest.get(..2.min(rest.len())).unwrap_or_default();
                    return Err(FormError::Escape(format!("%{}", String::from_utf8_lossy(shown))));
                }
            },
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    Ok(out)
}

fn nibble(hex_digit: u8) -> u8 {
    match hex_digit {
        b'0'..=b'9' => hex_digit - b'0',
        b'a'..=b'f' => hex_digit - b'a' + 10,
        _ => hex_digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_body_comes_before_the_query_string() {
        let form = Form::new(b"a=1&b=%2B+x", "a=2&c=");
        assert_eq!(form.get("a"), "1");
        assert_eq!(form.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.get("b"), "+ x");
        assert_eq!((form.get("c"), form.get("d")), ("", ""));
    }

    #[test]
    fn names_are_escaped_too() {
        let form = Form::new(b"", "match%5B%5D=up&match[]=x%7Ba%3D%22b%22%7D");
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["up", "x{a=\"b\"}"]);
    }

    #[test]
    fn a_malformed_pair_is_left_out_and_remembered() {
        let form = Form::new(b"", "a=%zz&b=1;c=2&d=3&e=%ff&f=%4");
        assert_eq!(form.get("d"), "3");
        assert_eq!((form.get("a"), form.get("b"), form.get("e"), form.get("f")), ("", "", "", ""));
        assert_eq!(form.malformed(), Some(&FormError::Escape("%zz".to_owned())));
        let form = Form::new(b"", "e=%ff");
        assert_eq!(form.malformed(), Some(&FormError::NotUtf8("e".to_owned())));
    }

    proptest! {
        #[test]
        fn escaped_text_reads_back(name in "\\PC{1,8}", value in "\\PC{0,20}") {
            let escape = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
            let form = Form::new(b"", &format!("{}={}", escape(&name), escape(&value)));
            prop_assert_eq!(form.get(&name), value);
        }

        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..64), query in "\\PC{0,40}") {
            let _ = Form::new(&body, &query);
        }
    }
}
