//! Finds where a label set ends that lies in a 1.0 body in canonical form, looking at every label of it.
//!
//! The form is `model::labels`'s: names sorted, none twice, no name or value empty, minimal varints, one way to spell
//! it. A set in this form, with a metric name in it, is fingerprinted where it lies.
//!
//! This is the innermost loop of ingestion: 8 labels a sample. A label shorter than 128 bytes has this plain shape,
//! which takes two comparisons to recognise, since its three lengths determine each other:
//! ```text
//! at      0x0a  L  0x0a  N  name, N bytes  0x12  V  value, V bytes          L = N + V + 4, all below 128
//! ```
//! Names are compared by their first eight bytes as one number; only equal ones are looked at again. Two sets are walked
//! side by side: each label waits for the length of the one before it, so one alone leaves the core half idle (24.5
//! against 30 ns a set of 8; with bounds checks instead of the zeros behind the body 36 ns).

use super::padded::{PADDING_BYTES, Padded};

const LABEL_TAG: u8 = 0x0a;
const NAME_TAG: u8 = 0x0a;
const VALUE_TAG: u8 = 0x12;
/// Of the field that follows the labels.
const SAMPLE_TAG: u8 = 0x12;
const METRIC_NAME: [u8; 8] = *b"__name__";

const HEAD_BYTES: usize = 4;
const HEAD: u32 = u32::from_le_bytes([LABEL_TAG, 0, NAME_TAG, 0]);
/// The bits of a head that are the same in all: both tags, and the top bits of both lengths.
const HEAD_FIXED: u32 = u32::from_le_bytes([0xff, 0x80, 0xff, 0x80]);

/// The bits to keep of a name's first eight bytes, most significant first, by the name's length.
const NAME_BITS: [u64; 128] = name_bits();

#[expect(
    clippy::indexing_slicing,
    reason = "runs while compiling, where an index out of bounds is an error"
)]
const fn name_bits() -> [u64; 128] {
    let mut bits = [u64::MAX; 128];
    let mut len = 0;
    while len < 8 {
        bits[len] = !(u64::MAX >> (8 * len));
        len += 1;
    }
    bits
}

/// Where the set ends that starts at `start` and is followed by a sample; `None` unless it is in canonical form and has a
/// metric name as its first label.
#[inline(always)]
pub(super) fn set_end(body: Padded<'_>, start: usize) -> Option<usize> {
    Walk::new(body, start)?.finish()
}

/// [`set_end`] of two sets at once.
#[inline(always)]
pub(super) fn set_ends(body: Padded<'_>, starts: [usize; 2]) -> [Option<usize>; 2] {
    let [Some(mut a), Some(mut b)] = starts.map(|start| Walk::new(body, start)) else {
        return starts.map(|start| set_end(body, start));
    };
    loop {
        let (head_a, head_b) = (a.head(), b.head());
        if (head_a & HEAD_FIXED ^ HEAD) | (head_b & HEAD_FIXED ^ HEAD) != 0 {
            break;
        }
        let Some((end_a, key_a)) = a.plain(head_a) else { break };
        let Some((end_b, key_b)) = b.plain(head_b) else { break };
        if key_a <= a.before_key && !a.is_sorted() {
            break;
        }
        if key_b <= b.before_key && !b.is_sorted() {
            break;
        }
        a.go_on(end_a, key_a);
        b.go_on(end_b, key_b);
    }
    // One of them ends here, or has a label that is not plain: both go on alone.
    [a.finish(), b.finish()]
}

/// A walk along the labels of a set.
///
/// Invariant: `at` points into the body, or at most [`OVERSHOOT_BYTES`] behind it; `before` to the start of a label in it.
struct Walk<'b> {
    body: Padded<'b>,
    /// Where the next label starts.
    at: *const u8,
    /// Where the label before it starts; `at` itself if there is none.
    before: *const u8,
    /// The first eight bytes of that one's name.
    before_key: u64,
}

/// A plain label that starts with the body's last byte would seem to end this far behind the body.
const OVERSHOOT_BYTES: usize = 2 + 127 - 1;

// What is read behind the body stays in its zeros: the head of what would follow such a label, and of a label that starts
// in the body its head, a name of up to 127 bytes, and two more bytes.
const _: () = assert!(OVERSHOOT_BYTES + HEAD_BYTES <= PADDING_BYTES);
const _: () = assert!(HEAD_BYTES + 127 + 2 <= PADDING_BYTES);

impl<'b> Walk<'b> {
    #[inline(always)]
    fn new(body: Padded<'b>, start: usize) -> Option<Self> {
        let [_, _, _, name_len, name @ ..] = body.read::<12>(start)?;
        let at = body.bytes().get(start..)?.as_ptr();
        let has_name = name_len == 8 && name == METRIC_NAME;
        has_name.then_some(Self { body, at, before: at, before_key: 0 })
    }

    #[inline(always)]
    fn head(&self) -> u32 {
        // SAFETY: by the invariant, and as asserted above, the head ends in the body or its zeros.
        u32::from_le_bytes(unsafe { read(self.at) })
    }

    /// Reads the label whose `head` has the plain shape's fixed bits: where it ends, and the first bytes of its name.
    /// `None` if the rest is of another shape.
    #[inline(always)]
    fn plain(&self, head: u32) -> Option<(*const u8, u64)> {
        let (inner_len, name_len) = (head >> 8 & 0x7f, head >> 24);
        // SAFETY: a head with its tags set starts in the body, since zeros stand behind it. Its name has less than 128
        // bytes, the top bit of their number being one of the fixed ones; so the first eight of them, and two bytes
        // behind the name, are in the body or its zeros (asserted above).
        let (middle, name) = unsafe {
            (
                u16::from_le_bytes(read(self.at.add(HEAD_BYTES + name_len as usize))),
                u64::from_be_bytes(read(self.at.add(HEAD_BYTES))),
            )
        };
        // From 1 to 123, or wrapped around.
        let value_len = inner_len.wrapping_sub(name_len + 4);
        if value_len.wrapping_sub(1) >= 127
            || u32::from(middle) != value_len << 8 | u32::from(VALUE_TAG)
        {
            return None;
        }
        // SAFETY: `name_len` is below 128, see above.
        let kept = unsafe { const { &NAME_BITS }.get_unchecked(name_len as usize) };
        // SAFETY: the label starts in the body and takes at most 129 bytes, so this is at most OVERSHOOT_BYTES behind it.
        let end = unsafe { self.at.add(2 + inner_len as usize) };
        Some((end, name & kept))
    }

    /// Leaves a label behind that has been read.
    #[inline(always)]
    fn go_on(&mut self, end: *const u8, key: u64) {
        (self.before, self.at, self.before_key) = (self.at, end, key);
    }

    /// Goes on to the end of the set.
    #[inline(always)]
    fn finish(mut self) -> Option<usize> {
        loop {
            let head = self.head();
            let plain = if head & HEAD_FIXED == HEAD { self.plain(head) } else { None };
            if let Some((end, key)) = plain {
                if key <= self.before_key && !self.is_sorted() {
                    return None;
                }
                self.go_on(end, key);
            } else if head & 0xff == u32::from(LABEL_TAG) {
                let (end, key) = wide(self.body, self.place(self.before), self.place(self.at))?;
                // `wide` has found that the label ends in the body.
                self.go_on(self.body.bytes().get(end..)?.as_ptr(), key);
            } else {
                return (head & 0xff == u32::from(SAMPLE_TAG)).then(|| self.place(self.at));
            }
        }
    }

    /// Does the name of the next label sort behind that of the label before it, and has it any bytes?
    #[inline(always)]
    fn is_sorted(&self) -> bool {
        is_sorted(self.body, self.place(self.before), self.place(self.at))
    }

    /// Where `at` points to, in bytes from the start of the body.
    #[inline(always)]
    fn place(&self, at: *const u8) -> usize {
        at.addr() - self.body.bytes().as_ptr().addr()
    }
}

/// `N` bytes from `at`.
///
/// # Safety
/// They are bytes of the body or of its zeros.
#[inline(always)]
unsafe fn read<const N: usize>(at: *const u8) -> [u8; N] {
    // SAFETY: as the caller promises; an array of bytes has no alignment.
    unsafe { *at.cast() }
}

/// Reads a label with lengths of more than one byte, as a file's path or a container's id has them: where it ends, and
/// the first bytes of its name. `None` if it is not in canonical form or does not sort behind the one at `before`.
#[cold]
#[inline(never)]
fn wide(body: Padded<'_>, before: usize, at: usize) -> Option<(usize, u64)> {
    let (name, end) = label_at(body.body(), at)?;
    let mut key = [0; 8];
    key.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    is_sorted(body, before, at).then_some((end, u64::from_be_bytes(key)))
}

/// Has the label at `at` a name, and does it sort behind that of the one at `before`, if that is another one?
#[cold]
#[inline(never)]
fn is_sorted(body: Padded<'_>, before: usize, at: usize) -> bool {
    let name = |at| label_at(body.body(), at).map(|(name, _)| name);
    at == before || name(before).is_some_and(|before| name(at).is_some_and(|name| before < name))
}

/// The name of the label field at `at`, and where the field ends; `None` unless it is spelled as canonical form has it.
fn label_at(body: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = body.get(at..)?;
    let (inner, behind) = bytes_field(rest, LABEL_TAG)?;
    let (name, inner) = bytes_field(inner, NAME_TAG)?;
    let (value, inner) = bytes_field(inner, VALUE_TAG)?;
    let is_canonical = inner.is_empty() && !name.is_empty() && !value.is_empty();
    is_canonical.then_some((name, body.len() - behind.len()))
}

/// The content of the field with `tag` at the front of `bytes`, and what stands behind it.
fn bytes_field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let mut len = 0usize;
    for (i, byte) in rest.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let is_minimal = i == 0 || *byte != 0;
            return rest
                .get(i + 1..)?
                .split_at_checked(len)
                .filter(|_| *first == tag && is_minimal);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use crate::model::labels::push_canonical;

    /// Where the walk says that `set` ends, alone and beside a good set of another length.
    fn end_of(set: &[u8]) -> Option<usize> {
        let mut body = [set, b"\x12\x00"].concat();
        let other = body.len();
        let good = canonical(&[("__name__", "up"), ("job", "node")]);
        body.extend(&good);
        body.extend(b"\x12\x00");
        let padded = Padded::pad(&mut body);
        let alone = set_end(padded, 0);
        assert_eq!(set_ends(padded, [0, other]), [alone, Some(other + good.len())]);
        assert_eq!(set_ends(padded, [other, 0]), [Some(other + good.len()), alone]);
        alone
    }

    fn canonical(pairs: &[(&str, &str)]) -> Vec<u8> {
        Labels::from_pairs(pairs.iter().copied()).unwrap().as_bytes().to_vec()
    }

    fn spelled(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut set = Vec::new();
        pairs.iter().for_each(|(n, v)| push_canonical(&mut set, n.as_bytes(), v.as_bytes()));
        set
    }

    #[test]
    fn a_canonical_set_with_a_metric_name_in_front_ends_where_its_samples_start() {
        let long = "v".repeat(1000);
        for pairs in [
            &[("__name__", "up")][..],
            &[("__name__", "up"), ("a", "1"), ("ab", "1"), ("b", "1")],
            &[("__name__", "up"), ("__name__x", "1"), ("instance", "1"), ("instance_id", "1")],
            &[
                ("__name__", "up"),
                ("a", &long),
                ("b", "1"),
                ("instance_id", &long),
                ("instance_ie", "1"),
            ],
            &[("__name__", "up"), (&"n".repeat(127), "1"), (&"n".repeat(128), "1")],
            &[("__name__", "up"), ("é", "1"), ("\u{10ffff}", "1")],
        ] {
            let set = canonical(pairs);
            assert_eq!(end_of(&set), Some(set.len()), "{pairs:?}");
        }
    }

    #[test]
    fn a_set_in_any_other_form_has_no_end() {
        for pairs in [
            &[("__name__", "up"), ("b", "1"), ("a", "1")][..],
            &[("__name__", "up"), ("a", "1"), ("a", "1")],
            &[("__name__", "up"), ("instance_id", "1"), ("instance_id", "1")],
            &[("__name__", "up"), ("instance_id", "1"), ("instance_ic", "1")],
            &[("__name__", "up"), ("instance_id", "1"), ("instance", "1")],
            &[("__name__", "up"), ("a", "")],
            &[("__name__", "up"), ("", "1")],
            &[("__name__", "")],
            &[("a", "1")],
            &[("A", "1"), ("__name__", "up")],
            &[("__name__", "up"), ("a", &"v".repeat(200)), ("a", &"v".repeat(200))],
        ] {
            assert_eq!(end_of(&spelled(pairs)), None, "{pairs:?}");
        }
    }

    #[test]
    fn a_label_that_is_spelled_otherwise_has_no_end() {
        let up = spelled(&[("__name__", "up")]);
        for label in [
            &b"\x0a\x86\x00\x0a\x01a\x12\x011"[..], // a length in more bytes than it needs
            b"\x0a\x07\x0a\x81\x00a\x12\x011",
            b"\x0a\x06\x12\x011\x0a\x01a",         // value before name
            b"\x0a\x08\x0a\x01a\x12\x011\x18\x01", // another field
            b"\x0a\x03\x0a\x01a",                  // no value
            b"\x0a\x07\x0a\x01a\x12\x011",         // lengths that do not fit each other
            b"\x0a\x06\x0a\x01a\x12\x021",
            b"\x0a\x06\x0a\x7fa\x12\x011",
            b"\x0a\x7f\x0a\x01a\x12\x7a1", // a value that ends behind the body
            b"\x0a\xff\x7f\x0a\x01a\x12\xfa\x7f1",
            b"\x1a\x00",
        ] {
            assert_eq!(end_of(&[&up, label].concat()), None, "{label:x?}");
        }
    }

    #[test]
    fn a_body_may_end_anywhere() {
        let set =
            canonical(&[("__name__", "up"), ("a", &"v".repeat(119)), ("b", &"v".repeat(300))]);
        for end in 0..set.len() {
            let mut body = set[..end].to_vec();
            let padded = Padded::pad(&mut body);
            for start in 0..=end {
                assert_eq!(set_end(padded, start), None);
            }
        }
    }
}
