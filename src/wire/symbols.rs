//! The symbols of a 2.0 request: where each lies in the body.
//!
//! A symbol's field is a tag, a length and that many bytes. Length and bytes are what canonical form (`model::labels`) has
//! behind the tag of a name or a value, so that label sets are put together from pieces of the body as they are.

use super::WireError;
use super::batch_writer::index;
use super::fields::{Fields, len_bytes};
use super::padded::{Padded, Place};

/// One request has at most this many symbols: two bytes encode one, and sixteen hold it.
pub(super) const SYMBOLS_MAX: usize = 2 << 20;

/// The tag of field 4 of a request.
const SYMBOL_TAG: u8 = 0x22;

/// A request's symbols, in order.
#[derive(Default)]
pub(super) struct Symbols {
    all: Vec<Symbol>,
    /// Has one of them a length of more bytes than it needs? Then not all are pieces of canonical form.
    has_overlong: bool,
}

/// Where a symbol lies, without its tag.
#[derive(Clone, Copy)]
pub(super) struct Symbol {
    /// Where its length starts, if that takes no more bytes than it needs; as if it did, if not.
    at: u32,
    /// How many bytes length and text take together.
    len: u32,
    /// The first eight bytes of the text as a number that sorts as they do; zeros stand for bytes that it has not.
    key: u64,
}

impl Symbols {
    /// The symbols that the body starts with, and where they end. Stops at one that is spelled unlike senders spell it.
    #[inline(always)]
    pub(super) fn in_front(body: Padded<'_>) -> Result<(Self, usize), WireError> {
        let mut symbols = Self::default();
        let mut at = 0;
        while let Some(Place { start, end }) = body.message_at(at, SYMBOL_TAG) {
            let len_bytes = len_bytes(end - start);
            if start - at != 1 + len_bytes {
                break;
            }
            symbols.push(body, Place { start, end })?;
            at = end;
        }
        Ok((symbols, at))
    }

    /// All symbols of the body, between whatever other fields they stand.
    pub(super) fn anywhere(body: Padded<'_>) -> Result<Self, WireError> {
        let mut symbols = Self::default();
        let mut fields = Fields::new(body.body(), 0..body.len());
        while let Some(field) = fields.next()? {
            if field.number == 4 {
                let text = Place::from(field.bytes("Request")?);
                symbols.has_overlong |= text.start - field.offset != len_bytes(text.len());
                symbols.push(body, text)?;
            }
        }
        Ok(symbols)
    }

    #[inline(always)]
    fn push(&mut self, body: Padded<'_>, text: Place) -> Result<(), WireError> {
        if self.all.len() >= SYMBOLS_MAX {
            return Err(WireError::TooManySymbols { offset: text.start, max: SYMBOLS_MAX });
        }
        let len = text.len();
        let len_bytes = len_bytes(len);
        let bits = if len < 8 { !(u64::MAX >> (8 * len)) } else { u64::MAX };
        self.all.push(Symbol {
            at: index(text.start - len_bytes),
            len: index(len + len_bytes),
            key: u64::from_be_bytes(body.read(text.start).unwrap_or_default()) & bits,
        });
        Ok(())
    }

    /// Do length and text of each lie in the body as canonical form has them?
    #[inline(always)]
    pub(super) fn are_pieces(&self) -> bool {
        !self.has_overlong
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The symbol that `reference` names.
    #[inline(always)]
    pub(super) fn get(&self, reference: u32) -> Option<Symbol> {
        self.all.get(reference as usize).copied()
    }
}

impl Symbol {
    /// Where its length and its text lie.
    #[inline(always)]
    pub(super) fn place(self) -> Place {
        Place { start: self.at as usize, end: self.at as usize + self.len as usize }
    }

    /// Is it `__name__`?
    #[inline(always)]
    pub(super) fn is_metric_name(self) -> bool {
        self.key == u64::from_be_bytes(*b"__name__") && self.len == 1 + 8
    }

    /// Has it no text?
    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.len <= 1
    }

    /// Its text.
    pub(super) fn text<'b>(self, body: Padded<'b>) -> &'b [u8] {
        let Place { start, end } = self.place();
        let is_len =
            |n: &usize| (end - start).checked_sub(*n).is_some_and(|len| len_bytes(len) == *n);
        let text_start = start + (1..5).find(is_len).unwrap_or_default();
        body.body().get(text_start..end).unwrap_or_default()
    }

    /// Its first bytes as a number that sorts as they do.
    #[inline(always)]
    pub(super) fn key(self) -> u64 {
        self.key
    }
}
