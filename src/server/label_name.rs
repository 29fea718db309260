//! Label names in paths: names that are not made of ASCII letters, digits and underscores are sent escaped.
//!
//! ```text
//! U__       then, of the name:
//! __        an underscore
//! _1f600_   a character by its number, at most six hexadecimal digits
//! a         itself
//! ```
//! What begins with `U__` and is not of this form is a name as it stands.
//! Source: Prometheus, "UTF-8 in metric and label names" proposal; `model.UnescapeName` in `prometheus/common`.

/// The name that `path` stands for.
#[must_use]
pub fn unescape(path: &str) -> String {
    path.strip_prefix("U__").and_then(unescape_tail).unwrap_or_else(|| path.to_owned())
}

fn unescape_tail(mut rest: &str) -> Option<String> {
    let mut name = String::with_capacity(rest.len());
    while let Some(at) = rest.find('_') {
        let (plain, from) = rest.split_at_checked(at)?;
        name.push_str(plain);
        let code = from.strip_prefix('_')?;
        let (digits, after) = code.split_once('_')?;
        if digits.is_empty() {
            name.push('_');
        } else {
            let is_code = digits.len() <= 6 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let number = is_code.then(|| u32::from_str_radix(digits, 16).ok())??;
            name.push(char::from_u32(number)?);
        }
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escaped_names_are_unescaped() {
        for (path, name) in [
            ("job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U___1F600_x", "😀x"),
            ("U__", ""),
        ] {
            assert_eq!(unescape(path), name);
        }
    }

    #[test]
    fn what_is_not_an_escaped_name_stands_for_itself() {
        for path in ["U__a_", "U__a_zz_", "U___d800_", "U___1234567_", "U_a__b", "U___+1_"] {
            assert_eq!(unescape(path), path);
        }
    }

    proptest! {
        #[test]
        fn every_name_can_be_escaped(name in "\\PC{0,10}") {
            let escape = |c: char| match c {
                '_' => "__".to_owned(),
                c if c.is_ascii_alphanumeric() => c.to_string(),
                c => format!("_{:x}_", u32::from(c)),
            };
            let path = format!("U__{}", name.chars().map(escape).collect::<String>());
            prop_assert_eq!(unescape(&path), name);
        }
    }
}
