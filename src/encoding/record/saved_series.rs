//! Series of a checkpoint: their references, and their labels by numbers of label pairs that the same record tells of.
//!
//! Neighbours are often of one target and share most pairs, at the same places: those take one byte. A record stands for
//! itself: one that is damaged costs no series of another.

use super::{RecordError, SAVED_SERIES, begin, end};
use crate::encoding::varint;
use crate::model::{LabelsRef, SeriesRef};

/// The body of such a record that is being gathered.
#[derive(Debug, Default)]
pub struct SavedSeriesBody {
    pairs: Vec<u8>,
    pair_count: u32,
    series: Vec<u8>,
    last_reference: u64,
}

impl SavedSeriesBody {
    /// Tells of a pair, the canonical bytes of one label; its number.
    pub fn push_pair(&mut self, pair: &[u8]) -> u32 {
        varint::push_unsigned(&mut self.pairs, pair.len() as u64);
        self.pairs.extend_from_slice(pair);
        self.pair_count += 1;
        self.pair_count - 1
    }

    /// Appends a series that has the pairs with these numbers, in order of their names.
    ///
    /// - `pairs`: `None` for the one that the series before has at this place.
    pub fn push(&mut self, reference: SeriesRef, pairs: &[Option<u32>]) {
        let delta = reference.0.wrapping_sub(self.last_reference);
        varint::push_signed(&mut self.series, delta.cast_signed());
        self.last_reference = reference.0;
        varint::push_unsigned(&mut self.series, pairs.len() as u64);
        for pair in pairs {
            varint::push_unsigned(&mut self.series, pair.map_or(0, |pair| u64::from(pair) + 1));
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len() + self.series.len()
    }

    /// No series in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// Appends a record of what was gathered.
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_saved_series(out: &mut Vec<u8>, body: &SavedSeriesBody) {
    let start = begin(out, SAVED_SERIES);
    out.extend_from_slice(&body.pair_count.to_le_bytes());
    out.extend_from_slice(&body.pairs);
    out.extend_from_slice(&body.series);
    end(out, start);
}

/// Series of a checkpoint.
#[derive(Clone, Debug)]
pub struct SavedSeriesRecord<'a> {
    /// What they are made of; the first one has number 0.
    pub pairs: SavedPairs<'a>,
    /// Who has which of it.
    pub series: SavedSeriesList<'a>,
}

impl<'a> SavedSeriesRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Option<Self> {
        let (count, rest) = body.split_first_chunk::<4>()?;
        let pairs = SavedPairs { left: u32::from_le_bytes(*count), rest };
        let mut behind = pairs.clone();
        while behind.left > 0 {
            behind.split()?;
        }
        let series = SavedSeriesList {
            last_reference: 0,
            rest: behind.rest,
            pairs: Vec::new(),
            changed: Vec::new(),
        };
        Some(Self { pairs, series })
    }
}

/// Label pairs, each a canonical set of one label.
#[derive(Clone, Debug)]
pub struct SavedPairs<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> SavedPairs<'a> {
    fn split(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (len, rest) = varint::split_unsigned(self.rest)?;
        let (pair, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        Some(pair)
    }
}

impl<'a> Iterator for SavedPairs<'a> {
    type Item = Result<LabelsRef<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pair = LabelsRef::from_canonical(self.split()?);
        let one = |pair: LabelsRef<'_>| pair.iter_bytes().count() == 1;
        Some(match pair {
            Ok(pair) if !one(pair) => Err(error("a label pair is not one label")),
            pair => pair.map_err(RecordError::from),
        })
    }
}

/// Series, each with the numbers of its label pairs.
#[derive(Clone, Debug)]
pub struct SavedSeriesList<'a> {
    last_reference: u64,
    rest: &'a [u8],
    pairs: Vec<u32>,
    changed: Vec<usize>,
}

/// A series of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct SavedSeries<'a> {
    /// Its reference.
    pub reference: SeriesRef,
    /// The numbers of its pairs. Whether the record has pairs of these numbers, and whether their names are in order, is not
    /// known here.
    pub pairs: &'a [u32],
    /// The places where they differ from those of the series before it.
    pub changed: &'a [usize],
}

impl SavedSeriesList<'_> {
    /// The next series; `None` behind the last one, and behind an error.
    pub fn next_series(&mut self) -> Option<Result<SavedSeries<'_>, RecordError>> {
        if self.rest.is_empty() {
            return None;
        }
        if let Err(what) = self.split() {
            self.rest = &[];
            return Some(Err(error(what)));
        }
        let reference = SeriesRef(self.last_reference);
        Some(Ok(SavedSeries { reference, pairs: &self.pairs, changed: &self.changed }))
    }

    fn split(&mut self) -> Result<(), &'static str> {
        const ENDS: &str = "a record of saved series ends within one";
        let (delta, rest) = varint::split_signed(self.rest).ok_or(ENDS)?;
        self.last_reference = self.last_reference.wrapping_add(delta.cast_unsigned());
        let (count, mut rest) = varint::split_unsigned(rest).ok_or(ENDS)?;
        // Each takes a byte at least: no more room is taken than the bytes can fill.
        let count = usize::try_from(count).ok().filter(|count| *count <= rest.len()).ok_or(ENDS)?;
        self.pairs.truncate(count);
        self.changed.clear();
        for at in 0..count {
            let (number, behind) = varint::split_unsigned(rest).ok_or(ENDS)?;
            rest = behind;
            let Some(number) = number.checked_sub(1) else {
                if at >= self.pairs.len() {
                    return Err(
                        "a series shares a label pair that the one before it does not have",
                    );
                }
                continue;
            };
            let number = u32::try_from(number).map_err(|_| "no label pair has such a number")?;
            self.changed.push(at);
            match self.pairs.get_mut(at) {
                Some(pair) => *pair = number,
                None => self.pairs.push(number),
            }
        }
        self.rest = rest;
        Ok(())
    }
}

fn error(what: &'static str) -> RecordError {
    RecordError::Body { offset: 0, what }
}
