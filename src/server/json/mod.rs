//! JSON answers, byte for byte as Prometheus writes them, straight into a buffer: no tree of values in between.
//!
//! ```text
//! success   {"status":"success","data":…,"warnings":[…],"infos":[…]}         the lists only if they have something
//! error     {"status":"error","errorType":"bad_data","error":"…"}
//! ```
//! Owns the envelope; numbers are `number`'s, strings `text`'s, lists too long for one buffer `slices`', what a query cost `stats`'.
//! Source: `web/api/v1/api.go` (`Response`), `util/annotations`, Prometheus 3.14.

pub mod answer;
mod histogram;
pub mod number;
mod point_line;
pub mod slices;
pub mod stats;
pub mod text;

/// Of warnings and of infos, an answer carries this many each, and says how many more there are.
const ANNOTATIONS_MAX: usize = 10;

/// What begins a success, up to its data.
pub const SUCCESS: &[u8] = br#"{"status":"success","data":"#;

/// What an answer says besides its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// The answer may be wrong or incomplete.
    pub warnings: Vec<String>,
    /// The query may not be what was meant.
    pub infos: Vec<String>,
}

/// Appends what ends a success, behind its data.
pub fn end_of_success(out: &mut Vec<u8>, notes: &Notes) {
    annotations(out, "warning", &notes.warnings);
    annotations(out, "info", &notes.infos);
    out.push(b'}');
}

/// A success whose data is at hand: `data` appends it.
#[must_use]
pub fn success(data: impl FnOnce(&mut Vec<u8>), notes: &Notes) -> Vec<u8> {
    let mut out = SUCCESS.to_vec();
    data(&mut out);
    end_of_success(&mut out, notes);
    out
}

/// An error answer.
#[must_use]
pub fn error(error_type: &str, message: &str) -> Vec<u8> {
    let mut out = br#"{"status":"error","errorType":"#.to_vec();
    text::string(&mut out, error_type);
    out.extend_from_slice(br#","error":"#);
    text::string(&mut out, message);
    out.push(b'}');
    out
}

/// Appends `,"warnings":[…]`, unless there are none.
fn annotations(out: &mut Vec<u8>, kind: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    out.extend_from_slice(format!(",\"{kind}s\":").as_bytes());
    let omitted = texts.len().saturating_sub(ANNOTATIONS_MAX);
    let last = (omitted > 0).then(|| format!("{omitted} more {kind} annotations omitted"));
    array(out, texts.iter().take(ANNOTATIONS_MAX).chain(&last), |out, item| {
        text::string(out, item);
    });
}

/// Appends an array; `each` appends one of its items.
pub fn array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(b']');
}

/// Appends an object; `each` appends the value of one of its names.
pub fn object<'a, T>(
    out: &mut Vec<u8>,
    members: impl IntoIterator<Item = (&'a str, T)>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'{');
    for (i, (name, value)) in members.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        text::string(out, name);
        out.push(b':');
        each(out, value);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_success_has_lists_only_if_they_have_something() {
        let data = |out: &mut Vec<u8>| out.extend_from_slice(b"[]");
        assert_eq!(as_text(success(data, &Notes::default())), r#"{"status":"success","data":[]}"#);
        let notes = Notes { warnings: vec!["w<1>".to_owned()], infos: vec!["i".to_owned()] };
        assert_eq!(
            as_text(success(data, &notes)),
            r#"{"status":"success","data":[],"warnings":["w\u003c1\u003e"],"infos":["i"]}"#
        );
    }

    #[test]
    fn an_error_has_a_type_and_a_text() {
        assert_eq!(
            as_text(error("bad_data", "no \"match[]\"")),
            r#"{"status":"error","errorType":"bad_data","error":"no \"match[]\""}"#
        );
    }

    #[test]
    fn from_the_eleventh_annotation_on_they_are_only_counted() {
        let infos = (0..13).map(|i| i.to_string()).collect();
        let json = as_text(success(|out| out.push(b'1'), &Notes { warnings: vec![], infos }));
        assert!(json.ends_with(r#""8","9","3 more info annotations omitted"]}"#), "{json}");
    }
}
