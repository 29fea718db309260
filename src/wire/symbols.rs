//! The symbols of a 2.0 request: where the text of each lies in the body, and what it hashes to.
//!
//! Each is hashed once, here, where one does not wait for the other; a label is then two hashes put together, and its text
//! is not looked at again.

use super::batch_writer::span;
use super::fields::Fields;
use super::padded::{Padded, Place};
use super::{DECODED_BYTES_MAX, WireError};
use crate::model::fingerprint::PADDING_BYTES as HASH_PADDING_BYTES;
use crate::model::{Fingerprinter, Symbol};

/// One request has at most this many symbols: two bytes encode one, and 24 hold it.
pub(super) const SYMBOLS_MAX: usize = 2 << 20;

/// The tag of field 4 of a request.
const SYMBOL_TAG: u8 = 0x22;

const _: () = assert!(HASH_PADDING_BYTES <= super::padded::PADDING_BYTES);
const _: () = assert!(DECODED_BYTES_MAX <= u32::MAX as usize, "32 bits name any place in a body");

/// Puts the symbols that the body starts with into `symbols` and says where they end. Stops at a field of another kind, or
/// one that is spelled unlike senders spell it.
#[inline(always)]
pub(super) fn in_front(
    body: Padded<'_>,
    fingerprinter: &Fingerprinter,
    symbols: &mut Vec<Symbol>,
) -> Result<usize, WireError> {
    symbols.clear();
    let mut at = 0;
    while let Some(text) = body.message_at(at, SYMBOL_TAG) {
        push(body, text, fingerprinter, symbols)?;
        at = text.end;
    }
    Ok(at)
}

/// Puts all symbols of the body into `symbols`, between whatever other fields they stand.
pub(super) fn anywhere(
    body: Padded<'_>,
    fingerprinter: &Fingerprinter,
    symbols: &mut Vec<Symbol>,
) -> Result<(), WireError> {
    symbols.clear();
    let mut fields = Fields::new(body.body(), 0..body.len());
    while let Some(field) = fields.next()? {
        if field.number == 4 {
            push(body, field.bytes("Request")?.into(), fingerprinter, symbols)?;
        }
    }
    Ok(())
}

#[inline(always)]
fn push(
    body: Padded<'_>,
    text: Place,
    fingerprinter: &Fingerprinter,
    symbols: &mut Vec<Symbol>,
) -> Result<(), WireError> {
    if symbols.len() >= SYMBOLS_MAX {
        return Err(WireError::TooManySymbols { offset: text.start, max: SYMBOLS_MAX });
    }
    let hash = body
        .bytes()
        .get(text.start..)
        .and_then(|bytes| fingerprinter.padded_text(bytes, text.len()));
    let Some(hash) = hash else { unreachable!("there is room behind the body") };
    symbols.push(Symbol { text: span(text.start, text.len()), hash });
    Ok(())
}
