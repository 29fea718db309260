//! What parsing must know about a matcher's pattern: is it one, and does it match the empty string?
//!
//! This is the one place where the parser asks about patterns.

/// Is `pattern` a regular expression? The error is what the parser reports.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    compile(pattern).map(|_| ())
}

/// Does `pattern`, which is a regular expression, match the empty string from end to end?
pub(super) fn matches_empty(pattern: &str) -> bool {
    compile(pattern).is_ok_and(|regex| regex.is_match(""))
}

fn compile(pattern: &str) -> Result<regex::Regex, String> {
    regex::Regex::new(&format!("^(?s:{pattern})$"))
        .map_err(|error| format!("error parsing regexp: {error}"))
}
