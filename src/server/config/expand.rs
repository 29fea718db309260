//! `${VAR}` in the values of external labels.
//!
//! ```text
//! $NAME ${NAME}   the variable of the environment; nothing, and a notice, if it is not set or empty
//! $$              a dollar sign
//! $ and no name   as it stands
//! ${} and ${ without its end   are dropped
//! ```
//! A name without braces is letters, digits and `_`; one of the characters `*#$@!?-` or a digit is a name of its own.
//! Source: Go's `os.Expand`, as `config/config.go` of Prometheus 3.14 calls it.

/// `text` with the variables that it names.
///
/// - `variable`: the value of one; empty if there is none.
/// - `missing`: is told each that is empty.
pub fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> String,
    mut missing: impl FnMut(&str),
) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        if behind.is_empty() {
            // The last character of all is no beginning of a name.
            expanded.push('$');
        }
        let (name, after) = name(behind);
        match name {
            Name::None if behind.is_empty() => {}
            Name::None => expanded.push('$'),
            Name::Malformed => {}
            Name::Of("$") => expanded.push('$'),
            Name::Of(name) => {
                let value = variable(name);
                if value.is_empty() {
                    missing(name);
                }
                expanded.push_str(&value);
            }
        }
        rest = after;
    }
    expanded + rest
}

/// What stands behind a dollar sign.
enum Name<'a> {
    None,
    Malformed,
    Of(&'a str),
}

/// The name at the front of `text`, and what follows it.
fn name(text: &str) -> (Name<'_>, &str) {
    if let Some(inner) = text.strip_prefix('{') {
        return match inner.split_once('}') {
            Some(("", after)) => (Name::Malformed, after),
            Some((name, after)) => (Name::Of(name), after),
            None => (Name::Malformed, inner),
        };
    }
    let is_special = |c: char| c.is_ascii_digit() || "*#$@!?-".contains(c);
    let length = match text.chars().next() {
        Some(c) if is_special(c) => 1,
        _ => text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len()),
    };
    match text.split_at_checked(length) {
        Some((name, after)) if !name.is_empty() => (Name::Of(name), after),
        _ => (Name::None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> (String, Vec<String>) {
        let variable = |name: &str| match name {
            "POD" => "floodplain-0".to_owned(),
            "a b" => "braces take anything".to_owned(),
            "1" => "one".to_owned(),
            _ => String::new(),
        };
        let mut missing = Vec::new();
        let text = expand(text, &variable, |name| missing.push(name.to_owned()));
        (text, missing)
    }

    #[test]
    fn variables_are_put_in_with_braces_and_without() {
        assert_eq!(expanded("x-${POD}-$POD/y").0, "x-floodplain-0-floodplain-0/y");
        assert_eq!(expanded("${a b}$11").0, "braces take anythingone1");
    }

    #[test]
    fn one_that_is_not_set_is_empty_and_told() {
        assert_eq!(expanded("a${NO}b$PODS"), ("ab".to_owned(), vec!["NO".into(), "PODS".into()]));
    }

    #[test]
    fn two_dollars_are_one_and_one_without_a_name_stays() {
        for (text, is) in
            [("$$POD", "$POD"), ("5$", "5$"), ("a$ b$é", "a$ b$é"), ("$${POD}", "${POD}")]
        {
            assert_eq!(expanded(text), (is.to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn malformed_names_are_dropped() {
        assert_eq!(expanded("a${}b").0, "ab");
        assert_eq!(expanded("a${POD").0, "aPOD");
    }
}
