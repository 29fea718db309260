//! New timestamps in a compressed body, without compressing it again.
//!
//! All samples of a request have one timestamp. In a snappy block its bytes are literals once or a few times, and
//! everywhere else a copy of those. Overwriting the literals therefore moves every sample of the request, if no copy
//! mixes timestamp bytes with others; [`time_literals`] looks at every element to make sure of that. The body keeps the
//! size and the elements that the compressor gave it, so it costs the receiver what any other body costs.
//! ```text
//! block     varint length of the message, element*
//! literal   tag xxxxxx00: length - 1 below 60, or 60 to 63 and it follows in 1 to 4 bytes; then the bytes
//! copy      tag xxxyyy01: length - 4 in y, offset in x and one byte
//!           tag xxxxxx10: length - 1 in x, offset in two bytes;  tag xxxxxx11: the same, in four bytes
//! ```
//! Source: `format_description.txt`, google/snappy.

/// A byte of a compressed body that is a byte of the timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeByte {
    /// Offset in the compressed body.
    pub at: u32,
    /// Which of the six bytes of the timestamp's varint.
    pub number: u8,
}

/// The bytes of `block` to overwrite for another timestamp, given the marks of the message
/// (see [`super::Template::time_marks`]).
///
/// `None` if overwriting would also change something else, or if `block` is not a block of `marks.len()` bytes.
#[must_use]
pub fn time_literals(block: &[u8], marks: &[u8]) -> Option<Vec<TimeByte>> {
    let mut found = Vec::new();
    let mut at = block.iter().position(|byte| byte & 0x80 == 0)? + 1; // the length is the compressor's business
    let mut written = 0usize;
    while at < block.len() {
        let (element, data) = element(block.get(at..)?)?;
        at += data;
        match element {
            Element::Literal { len } => {
                let literal = marks.get(written..written.checked_add(len)?)?;
                for (i, mark) in literal.iter().enumerate().filter(|(_, mark)| **mark != 0) {
                    found.push(TimeByte { at: u32::try_from(at + i).ok()?, number: mark - 1 });
                }
                at += len;
                written += len;
            }
            Element::Copy { len, offset } => {
                let from = written.checked_sub(offset).filter(|_| offset > 0)?;
                let source = marks.get(from..from.checked_add(len)?)?;
                if marks.get(written..written.checked_add(len)?)? != source {
                    return None;
                }
                written += len;
            }
        }
    }
    (written == marks.len() && at == block.len()).then_some(found)
}

enum Element {
    Literal { len: usize },
    Copy { len: usize, offset: usize },
}

/// The element at the front of `bytes`, and how many bytes come before a literal's own.
fn element(bytes: &[u8]) -> Option<(Element, usize)> {
    let (&tag, rest) = bytes.split_first()?;
    let high = usize::from(tag >> 2);
    let number = |bytes: usize| {
        let little = rest.get(..bytes)?.iter().rev();
        Some(little.fold(0usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    Some(match tag & 3 {
        0 if high < 60 => (Element::Literal { len: high + 1 }, 1),
        0 => (Element::Literal { len: number(high - 59)?.checked_add(1)? }, high - 58),
        1 => {
            let offset = usize::from(tag >> 5) << 8 | number(1)?;
            (Element::Copy { len: 4 + (high & 7), offset }, 2)
        }
        2 => (Element::Copy { len: high + 1, offset: number(2)? }, 3),
        _ => (Element::Copy { len: high + 1, offset: number(4)? }, 5),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body::compress::{Compression, Compressor};
    use crate::body::{Protocol, Template};
    use crate::population::Population;
    use crate::timeline::{Timeline, time_varint};

    fn compressed(message: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        Compressor::new(Compression::Snappy).unwrap().compress(message, &mut block).unwrap();
        block
    }

    fn overwrite(block: &mut [u8], literals: &[TimeByte], time: i64) {
        for byte in literals {
            block[byte.at as usize] = time_varint(time)[usize::from(byte.number)];
        }
    }

    #[test]
    fn a_patched_body_is_the_same_message_at_another_time() {
        let population = Population::new(3, 6_000, None);
        let timeline =
            Timeline { start_ms: 1_780_000_000_000, interval_ms: 15_000, value_period: Some(40) };
        let mut patched = 0;
        for protocol in [Protocol::V1, Protocol::V2] {
            for first in (0..6_000).step_by(2_000) {
                let mut template = Template::new(protocol, &population, first..first + 2_000, 0);
                let marks = template.time_marks();
                for step in 0..40 {
                    let mut block = compressed(template.fill(&population, step, &timeline));
                    let Some(literals) = time_literals(&block, &marks) else { continue };
                    patched += 1;
                    let later = step + 40 * 12_345;
                    overwrite(&mut block, &literals, timeline.time(later));
                    let message = snap::raw::Decoder::new().decompress_vec(&block).unwrap();
                    assert!(
                        message == template.fill(&population, later, &timeline),
                        "{protocol:?} step {step}"
                    );
                }
            }
        }
        assert!(patched >= 236, "only {patched} of 240 bodies can be patched");
    }

    #[test]
    fn a_copy_that_mixes_timestamps_with_other_bytes_is_noticed() {
        let message = b"abcdefgh-123456-abcdefgh-123456-";
        let mut marks = [0; 32];
        marks[9..15].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        let block = compressed(message);
        assert!(block.len() < message.len(), "there is a copy in it");
        assert_eq!(time_literals(&block, &marks), None);
        marks[25..31].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(time_literals(&block, &marks).unwrap().len(), 6);
    }

    proptest! {
        #[test]
        fn no_block_panics(block in proptest::collection::vec(any::<u8>(), 0..200), marks in proptest::collection::vec(0u8..7, 0..100)) {
            let _any = time_literals(&block, &marks);
        }

        #[test]
        fn a_cut_block_is_refused(cut in 1usize..60) {
            let message: Vec<u8> = (0..100u8).chain(0..100).collect();
            let block = compressed(&message);
            let marks = vec![0; message.len()];
            prop_assert!(time_literals(&block, &marks).is_some());
            prop_assert!(time_literals(&block[..block.len() - cut], &marks).is_none());
        }
    }
}
