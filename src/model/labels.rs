//! Label sets in their one canonical form.
//!
//! Canonical: sorted by name (bytewise), no name twice, no empty value, everything UTF-8. The bytes are those with
//! which remote write 1.0 spells such a set, so that a well-formed request can be fingerprinted where it lies:
//! ```text
//! set    label*                                       sorted by name
//! label  0x0a len(inner) inner                        lengths are minimal varints
//! inner  0x0a len(name) name 0x12 len(value) value    name and value not empty
//! ```
//! Source: `prompb/types.proto` (`TimeSeries.labels`), Prometheus remote write 1.0 specification.

use std::borrow::Cow;

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

const TAG_LABEL: u8 = 0x0a;
const TAG_NAME: u8 = 0x0a;
const TAG_VALUE: u8 = 0x12;

/// One name and its value, borrowed from a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a> {
    /// Not empty, UTF-8.
    pub name: &'a str,
    /// Not empty, UTF-8.
    pub value: &'a str,
}

/// Why some names and values are not a label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// A name stands twice.
    #[error("label name \"{0}\" is not unique")]
    Duplicate(String),
    /// A name is the empty string.
    #[error("a label has an empty name (its value is \"{0}\")")]
    EmptyName(String),
    /// A name or a value is not UTF-8; shown with replacement characters.
    #[error("label \"{0}\" is not valid UTF-8")]
    NotUtf8(String),
    /// The bytes are not the canonical encoding; `offset` is where they first differ from it.
    #[error("byte {offset} of {len}: not a canonical label set: {what}")]
    NotCanonical {
        /// Where, in bytes from the start of the set.
        offset: usize,
        /// How long the set is, in bytes.
        len: usize,
        /// What stands there.
        what: &'static str,
    },
}

/// A label set that owns its canonical bytes. Ordered as Prometheus orders label sets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Box<[u8]>);

/// A label set borrowed from canonical bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LabelsRef<'a>(&'a [u8]);

impl Labels {
    /// The set without labels.
    #[must_use]
    pub fn empty() -> Self {
        Self(Box::default())
    }

    /// Sorts the pairs and drops those without a value.
    ///
    /// # Errors
    /// A name that is empty or stands twice.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, LabelsError> {
        let mut pairs: Vec<Label<'a>> =
            pairs.into_iter().map(|(name, value)| Label { name, value }).collect();
        let mut bytes = Vec::new();
        encode_canonical(&mut pairs, &mut bytes)?;
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// Takes canonical bytes over after looking at every one of them.
    ///
    /// # Errors
    /// Bytes that are not a canonical label set, with the place.
    pub fn from_canonical(bytes: impl Into<Box<[u8]>>) -> Result<Self, LabelsError> {
        let bytes = bytes.into();
        LabelsRef::from_canonical(&bytes)?;
        Ok(Self(bytes))
    }

    /// Takes over bytes that this process has checked or made itself, without looking at them again; see
    /// [`LabelsRef::trusted`].
    #[must_use]
    pub fn trusted(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The same set, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> LabelsRef<'_> {
        LabelsRef(&self.0)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> LabelIter<'_> {
        self.as_ref().iter()
    }

    /// The value of `name`, if the set has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.as_ref().get(name)
    }

    /// No labels at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Starts a changed copy.
    #[must_use]
    pub fn to_builder(&self) -> LabelsBuilder<'_> {
        self.as_ref().to_builder()
    }

    /// The labels named in `names` and no others.
    #[must_use]
    pub fn keep(&self, names: &[impl AsRef<str>]) -> Self {
        self.as_ref().filtered(|label| names.iter().any(|name| name.as_ref() == label.name))
    }

    /// All labels but those named in `names`.
    #[must_use]
    pub fn without(&self, names: &[impl AsRef<str>]) -> Self {
        self.as_ref().filtered(|label| !names.iter().any(|name| name.as_ref() == label.name))
    }
}

impl<'a> LabelsRef<'a> {
    /// Borrows canonical bytes after looking at every one of them.
    ///
    /// # Errors
    /// Bytes that are not a canonical label set, with the place.
    pub fn from_canonical(bytes: &'a [u8]) -> Result<Self, LabelsError> {
        // Tags are ASCII, and a length that is not makes the set go the long way.
        let is_ascii = bytes.is_ascii();
        let mut at = 0;
        let mut previous: Option<&[u8]> = None;
        while at < bytes.len() {
            let refuse = |what| LabelsError::NotCanonical { offset: at, len: bytes.len(), what };
            let rest = bytes.get(at..).unwrap_or_default();
            let (label, used) = raw_label(rest).ok_or_else(|| refuse("no label of two fields"))?;
            if label.0.is_empty() || label.1.is_empty() {
                return Err(refuse("an empty name or value"));
            }
            if previous.is_some_and(|previous| previous >= label.0) {
                return Err(refuse("a name that does not sort after the one before it"));
            }
            let is_text = |text| is_ascii || std::str::from_utf8(text).is_ok();
            if !is_text(label.0) || !is_text(label.1) {
                return Err(LabelsError::NotUtf8(format!(
                    "{}={}",
                    String::from_utf8_lossy(label.0),
                    String::from_utf8_lossy(label.1)
                )));
            }
            previous = Some(label.0);
            at += used;
        }
        Ok(Self(bytes))
    }

    /// Borrows bytes that this process has checked or made itself, without looking at them again. Bytes that are not
    /// canonical give labels up to the first that is not.
    #[must_use]
    pub fn trusted(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The canonical bytes of each label, in order of the names; each is a set of one label.
    pub fn iter_bytes(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (_, used) = raw_label(rest)?;
            let (label, behind) = rest.split_at_checked(used)?;
            rest = behind;
            Some(label)
        })
    }

    /// Name and value of each label as bytes, whether they are UTF-8 or not, in order of the names.
    pub fn iter_raw(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (label, used) = raw_label(rest)?;
            rest = rest.get(used..)?;
            Some(label)
        })
    }

    /// The labels in order of their names.
    #[must_use]
    pub fn iter(self) -> LabelIter<'a> {
        LabelIter(self.0)
    }

    /// The value of `name`, if the set has it.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter().find(|label| label.name == name).map(|label| label.value)
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_owned(self) -> Labels {
        Labels(self.0.into())
    }

    /// Starts a changed copy.
    #[must_use]
    pub fn to_builder(self) -> LabelsBuilder<'a> {
        LabelsBuilder {
            labels: self
                .iter()
                .map(|label| (Cow::Borrowed(label.name), Cow::Borrowed(label.value)))
                .collect(),
        }
    }

    fn filtered(self, mut keep: impl FnMut(Label<'a>) -> bool) -> Labels {
        let mut bytes = Vec::with_capacity(self.0.len());
        for label in self.iter().filter(|label| keep(*label)) {
            push_label(&mut bytes, label);
        }
        Labels(bytes.into_boxed_slice())
    }
}

/// The labels of a canonical set, in order of their names.
#[derive(Clone, Debug)]
pub struct LabelIter<'a>(&'a [u8]);

impl<'a> Iterator for LabelIter<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let ((name, value), used) = raw_label(self.0)?;
        self.0 = self.0.get(used..)?;
        Some(Label {
            name: std::str::from_utf8(name).ok()?,
            value: std::str::from_utf8(value).ok()?,
        })
    }
}

/// A label set being changed: set and remove names in any order, then [`build`](Self::build).
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder<'a> {
    labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> LabelsBuilder<'a> {
    /// Gives `name` the value `value`; an empty value removes the name.
    pub fn set(
        &mut self,
        name: impl Into<Cow<'a, str>>,
        value: impl Into<Cow<'a, str>>,
    ) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        self.remove(&name);
        if !value.is_empty() && !name.is_empty() {
            self.labels.push((name, value));
        }
        self
    }

    /// Takes `name` out, if it is there.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.labels.retain(|(have, _)| have != name);
        self
    }

    /// The value that `name` has now.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_ref())
    }

    /// The canonical set of what was set and not removed.
    #[must_use]
    pub fn build(&self) -> Labels {
        let mut pairs: Vec<Label<'_>> =
            self.labels.iter().map(|(name, value)| Label { name, value }).collect();
        pairs.sort_unstable_by(|a, b| a.name.cmp(b.name));
        let mut bytes = Vec::new();
        for label in pairs {
            push_label(&mut bytes, label);
        }
        Labels(bytes.into_boxed_slice())
    }
}

/// Appends the canonical bytes of `labels` to `out`: sorts them in place, skips those without a value.
///
/// # Errors
/// A name that is empty or stands twice; `out` is then as it was.
pub fn encode_canonical(labels: &mut [Label<'_>], out: &mut Vec<u8>) -> Result<(), LabelsError> {
    labels.sort_unstable_by(|a, b| a.name.cmp(b.name));
    let start = out.len();
    let mut previous = None;
    for label in labels.iter() {
        let wrong = if label.name.is_empty() {
            Some(LabelsError::EmptyName(label.value.to_owned()))
        } else if previous == Some(label.name) {
            Some(LabelsError::Duplicate(label.name.to_owned()))
        } else {
            None
        };
        if let Some(error) = wrong {
            out.truncate(start);
            return Err(error);
        }
        previous = Some(label.name);
        if !label.value.is_empty() {
            push_label(out, *label);
        }
    }
    Ok(())
}

fn push_label(out: &mut Vec<u8>, label: Label<'_>) {
    push_canonical(out, label.name.as_bytes(), label.value.as_bytes());
}

/// Appends the canonical bytes of one label to `out`. Neither text is looked at: that they are UTF-8, not empty and in
/// their place is the caller's to know.
pub fn push_canonical(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let inner = inner_len(name.len(), value.len());
    out.push(TAG_LABEL);
    push_varint(out, inner);
    out.push(TAG_NAME);
    push_varint(out, name.len());
    out.extend_from_slice(name);
    out.push(TAG_VALUE);
    push_varint(out, value.len());
    out.extend_from_slice(value);
}

/// How many bytes a label takes in canonical form, by the lengths of its name and its value.
#[inline(always)]
#[must_use]
pub fn canonical_len(name_len: usize, value_len: usize) -> usize {
    let inner = inner_len(name_len, value_len);
    1 + varint_len(inner) + inner
}

#[inline(always)]
fn inner_len(name_len: usize, value_len: usize) -> usize {
    2 + varint_len(name_len) + name_len + varint_len(value_len) + value_len
}

#[inline(always)]
fn varint_len(n: usize) -> usize {
    (usize::BITS - (n | 1).leading_zeros()).div_ceil(7) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "each byte takes seven bits on purpose")]
fn push_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A minimal varint of at most five bytes, and how many it took.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut n = 0usize;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        n |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return (i == 0 || *byte != 0).then_some((n, i + 1));
        }
    }
    None
}

fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (len, used) = varint(rest)?;
    if *first != tag {
        return None;
    }
    rest.get(used..)?.split_at_checked(len)
}

/// Name and value, not yet looked at.
type RawLabel<'a> = (&'a [u8], &'a [u8]);

/// Name and value of the label at the front of `bytes`, and how many bytes it takes.
#[inline]
fn raw_label(bytes: &[u8]) -> Option<(RawLabel<'_>, usize)> {
    // Nearly all labels have lengths of one byte.
    if let [TAG_LABEL, inner_len @ 0..0x80, TAG_NAME, name_len @ 0..0x80, rest @ ..] = bytes
        && let Some((name, [TAG_VALUE, value_len @ 0..0x80, rest @ ..])) =
            rest.split_at_checked(usize::from(*name_len))
        && let Some(value) = rest.get(..usize::from(*value_len))
        && usize::from(*inner_len) == name.len() + value.len() + 4
    {
        return Some(((name, value), 2 + usize::from(*inner_len)));
    }
    long_label(bytes)
}

#[cold]
#[inline(never)]
fn long_label(bytes: &[u8]) -> Option<(RawLabel<'_>, usize)> {
    let (inner, rest) = field(bytes, TAG_LABEL)?;
    let (name, inner) = field(inner, TAG_NAME)?;
    let (value, inner) = field(inner, TAG_VALUE)?;
    inner.is_empty().then_some(((name, value), bytes.len() - rest.len()))
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// Label by label, name before value; of two where one begins the other, the shorter is first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.iter().cmp(other.iter())
    }
}

impl std::fmt::Display for LabelsRef<'_> {
    /// As Prometheus prints label sets: `{a="1", b="two"}`, names that need it quoted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (i, Label { name, value }) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_name(name) {
                f.write_str(name)?;
            } else {
                write_quoted(f, name)?;
            }
            f.write_str("=")?;
            write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Debug for LabelsRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A label name that needs no quotes: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_legacy_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Does Go show `point` as itself? That is so for letters, marks, numbers, punctuation, symbols and the ASCII space.
#[must_use]
pub fn is_printable(point: char) -> bool {
    if point.is_ascii() {
        return matches!(point, ' '..='~');
    }
    // The standard library escapes exactly the code points that Go calls unprintable, and combining marks, but those
    // only where nothing stands before them.
    ['a', point].iter().collect::<String>().escape_debug().nth(1) == Some(point)
}

/// `text` in double quotes as Go's `%q` prints it: printable characters as they are, the rest escaped.
///
/// # Errors
/// Those of the formatter.
pub fn write_quoted(f: &mut impl std::fmt::Write, text: &str) -> std::fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\u{7}' => f.write_str("\\a")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{b}' => f.write_str("\\v")?,
            c if (c as u32) < 0x20 || c as u32 == 0x7f => write!(f, "\\x{:02x}", c as u32)?,
            c if is_printable(c) => f.write_char(c)?,
            c if (c as u32) < 0x1_0000 => write!(f, "\\u{:04x}", c as u32)?,
            c => write!(f, "\\U{:08x}", c as u32)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test] // golden bytes: series are found by them, on every machine and for ever
    fn a_label_set_has_these_bytes() {
        let labels =
            Labels::from_pairs([("job", "api"), ("__name__", "up"), ("empty", "")]).unwrap();
        assert_eq!(
            labels.as_bytes(),
            b"\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x0a\x0a\x03job\x12\x03api"
        );
    }

    #[test]
    fn a_label_set_prints_as_prometheus_prints_it() {
        let labels = Labels::from_pairs([("b", "two\n\"2\""), ("a.b", "1")]).unwrap();
        assert_eq!(labels.to_string(), r#"{"a.b"="1", b="two\n\"2\""}"#);
    }

    #[test] // they went out as they came in, and nobody saw in a message why two label sets were not the same
    fn characters_that_nobody_sees_are_printed_by_number() {
        let labels = Labels::from_pairs([("a", "é\u{a0}\u{200b}\u{10ffff}")]).unwrap();
        assert_eq!(labels.to_string(), r#"{a="é\u00a0\u200b\U0010ffff"}"#);
    }

    #[test]
    fn a_name_that_stands_twice_is_named() {
        let twice = Labels::from_pairs([("a", "1"), ("a", "2")]);
        assert_eq!(twice, Err(LabelsError::Duplicate("a".to_owned())));
    }

    #[test]
    fn a_builder_replaces_and_removes() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2"), ("c", "3")]).unwrap();
        let changed =
            labels.to_builder().set("b", "9").remove("a").set("c", "").set("0", "z").build();
        assert_eq!(changed, Labels::from_pairs([("0", "z"), ("b", "9")]).unwrap());
    }

    #[test]
    fn labels_order_by_name_then_value_then_length() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            Labels::from_pairs(pairs.iter().copied()).unwrap()
        };
        assert!(
            of(&[("a", "2")]) < of(&[("a", "10"), ("b", "1")]).to_builder().set("a", "20").build()
        );
        assert!(of(&[("a", "1")]) < of(&[("a", "1"), ("b", "1")]));
        assert!(of(&[("a", "long value")]) < of(&[("b", "v")]));
    }

    proptest! {
        #[test]
        fn any_pairs_come_back_sorted(pairs in proptest::collection::btree_map("[a-z]{1,200}", "\\PC{0,200}", 0..9)) {
            let labels = Labels::from_pairs(pairs.iter().rev().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap();
            let back: Vec<_> = labels.iter().map(|l| (l.name.to_owned(), l.value.to_owned())).collect();
            let want: Vec<_> = pairs.into_iter().filter(|(_, v)| !v.is_empty()).collect();
            prop_assert_eq!(back, want);
            prop_assert!(LabelsRef::from_canonical(labels.as_bytes()).is_ok());
        }

        #[test]
        fn no_bytes_panic_and_what_is_accepted_encodes_to_itself(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(labels) = LabelsRef::from_canonical(&bytes) {
                let again = Labels::from_pairs(labels.iter().map(|l| (l.name, l.value))).unwrap();
                prop_assert_eq!(again.as_bytes(), &bytes[..]);
            }
        }
    }
}
