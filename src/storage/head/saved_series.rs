//! The series of a checkpoint on their way into a Head.
//!
//! A label pair is hashed and looked up once for all series of its record: their fingerprints are sums of their pairs'
//! hashes (`model::fingerprint`). It becomes one of the Head when the first series that belongs here has it.

use super::pairs::{PairId, Pairs};
use super::{GROUP, Head};
use crate::encoding::record::{RecordError, SavedSeries, SavedSeriesList, SavedSeriesRecord};
use crate::model::{Fingerprint, LabelsHash, LabelsRef, SeriesRef};

/// A label pair that a record tells of.
struct SavedPair<'a> {
    text: LabelsRef<'a>,
    hash: LabelsHash,
    /// In the Head.
    id: Option<PairId>,
}

const UNKNOWN: RecordError =
    RecordError::Body { offset: 0, what: "a saved series has a label pair that its record lacks" };
const UNSORTED: RecordError = RecordError::Body {
    offset: 0,
    what: "the label pairs of a saved series are not in order of their names",
};

/// Would all of the record be taken over? Tells `named` of each series that would.
///
/// # Errors
/// A record that is damaged.
pub fn check(
    mut record: SavedSeriesRecord<'_>,
    mut named: impl FnMut(SeriesRef),
) -> Result<(), RecordError> {
    let pairs: Vec<LabelsRef<'_>> = record.pairs.collect::<Result<_, _>>()?;
    let name = |pair: u32| pairs.get(pair as usize).map(|pair| name_of(*pair));
    while let Some(series) = record.series.next_series() {
        let series = series?;
        if series.pairs.iter().any(|pair| name(*pair).is_none()) {
            return Err(UNKNOWN);
        }
        if !are_in_order(&series, name) {
            return Err(UNSORTED);
        }
        named(series.reference);
    }
    Ok(())
}

impl Head {
    /// Takes series over that a checkpoint tells of.
    ///
    /// - `owns`: in a start that changes the number of shards, whether the series with this routing hash belongs here; it
    ///   then gets a new name, in this shard's log.
    /// - `named`: told each series' reference, and the index that it has from now on; `None` if it lives elsewhere.
    ///
    /// # Errors
    /// A record that is damaged. What stands well before the damage is taken over.
    pub fn replay_saved_series(
        &mut self,
        mut record: SavedSeriesRecord<'_>,
        owns: Option<&dyn Fn(u64) -> bool>,
        mut named: impl FnMut(SeriesRef, Option<u32>),
    ) -> Result<(), RecordError> {
        let mut pairs = Vec::new();
        for text in record.pairs {
            let text = text?;
            pairs.push(SavedPair { text, hash: self.fingerprinter.sum(text), id: None });
        }
        let (mut group, mut is_last) = (Group::default(), false);
        while !is_last {
            is_last = self.look_ahead(&mut record.series, &pairs, &mut group)?;
            self.replay_group(&mut group, &mut pairs, owns, &mut named);
        }
        Ok(())
    }

    /// Reads the next series, and fetches what looking for them will look at first; `true`: these are the last ones.
    fn look_ahead(
        &self,
        list: &mut SavedSeriesList<'_>,
        pairs: &[SavedPair<'_>],
        group: &mut Group,
    ) -> Result<bool, RecordError> {
        while group.series.len() < GROUP {
            let Some(series) = list.next_series() else { return Ok(true) };
            let series = series?;
            let mut sum = LabelsHash::NONE;
            for number in series.pairs {
                sum += pairs.get(*number as usize).ok_or(UNKNOWN)?.hash;
            }
            let name = |pair: u32| pairs.get(pair as usize).map(|pair| name_of(pair.text));
            if !are_in_order(&series, name) {
                return Err(UNSORTED);
            }
            let fingerprint = sum.fingerprint(&self.fingerprinter);
            self.table.prefetch(fingerprint.check);
            group.numbers.extend_from_slice(series.pairs);
            group.series.push((series.reference, fingerprint, group.numbers.len()));
        }
        Ok(false)
    }

    fn replay_group(
        &mut self,
        group: &mut Group,
        pairs: &mut [SavedPair<'_>],
        owns: Option<&dyn Fn(u64) -> bool>,
        named: &mut impl FnMut(SeriesRef, Option<u32>),
    ) {
        let Group { series, numbers, ids } = group;
        let mut begin = 0;
        for (reference, fingerprint, end) in series.drain(..) {
            let of_one = numbers.get(begin..end).unwrap_or_default();
            begin = end;
            if owns.is_some_and(|owns| !owns(fingerprint.route)) {
                named(reference, None);
                continue;
            }
            ids.clear();
            ids.extend(of_one.iter().map_while(|number| {
                let pair = pairs.get_mut(*number as usize)?;
                pair.id = pair.id.or_else(|| self.pairs.intern(pair.text.as_bytes()));
                pair.id
            }));
            // Without an id for a pair there is no room for the series either.
            let own = owns.is_none().then_some(reference);
            let has_all = ids.len() == of_one.len();
            let add = |pairs: &mut Pairs, index| pairs.add_paired_series(index, ids);
            let index = has_all.then(|| self.replay_as(fingerprint, own, add));
            named(reference, index.flatten());
        }
        numbers.clear();
    }
}

/// The name of a pair.
fn name_of(pair: LabelsRef<'_>) -> &[u8] {
    pair.iter_raw().next().map_or(b"", |(name, _)| name)
}

/// Are a series' pairs, of which each has this name, in order of their names?
fn are_in_order<'a>(series: &SavedSeries<'_>, name: impl Fn(u32) -> Option<&'a [u8]>) -> bool {
    let before_next = |at: usize| {
        let name = |at| name(*series.pairs.get(at)?);
        name(at).zip(name(at + 1)).is_none_or(|(name, next)| name < next)
    };
    // Where neither of two neighbours has changed, they are as before.
    series.changed.iter().all(|at| at.checked_sub(1).is_none_or(before_next) && before_next(*at))
}

/// Series that are looked up together: their cache misses overlap.
#[derive(Default)]
struct Group {
    /// Their references, fingerprints, and where their pairs end in `numbers`.
    series: Vec<(SeriesRef, Fingerprint, usize)>,
    numbers: Vec<u32>,
    ids: Vec<PairId>,
}

#[cfg(test)]
mod tests {
    use super::super::testing::{keys, labels, sample, saved, send};
    use super::*;
    use crate::encoding::record::{Record, SavedSeriesBody, push_saved_series, records};
    use crate::model::{Labels, route_hash};
    use crate::storage::wal::LogBuffer;

    /// Takes over what records of series tell of.
    fn take(
        payload: &[u8],
        owns: Option<&dyn Fn(u64) -> bool>,
        head: &mut Head,
    ) -> Result<Vec<(SeriesRef, Option<u32>)>, RecordError> {
        let mut all = Vec::new();
        for record in records(payload) {
            if let Record::SavedSeries(record) = record.unwrap() {
                head.replay_saved_series(record, owns, |of, index| all.push((of, index)))?;
            }
        }
        Ok(all)
    }

    fn payload(pairs: &[&[(&str, &str)]], series: &[&[u32]]) -> Vec<u8> {
        let (mut out, mut body) = (Vec::new(), SavedSeriesBody::default());
        for pair in pairs {
            body.push_pair(Labels::from_pairs(pair.iter().copied()).unwrap().as_bytes());
        }
        for (reference, pairs) in (1..).zip(series) {
            let pairs: Vec<Option<u32>> = pairs.iter().copied().map(Some).collect();
            body.push(SeriesRef(reference), &pairs);
        }
        push_saved_series(&mut out, &body);
        out
    }

    #[test]
    fn of_another_shards_checkpoint_only_what_belongs_here_is_taken() {
        let (mut head, mut log) = (Head::new(keys()), LogBuffer::new());
        for series in 0..100 {
            send(&mut head, &mut log, series, &[sample(1, 1.0)]);
        }
        let (owns, mut back) = (|route: u64| route.is_multiple_of(2), Head::new(keys()));
        let taken = take(&saved(&head, 500), Some(&owns), &mut back).unwrap();
        let ours = (0..100).filter(|series| owns(route_hash(labels(*series).as_ref())));
        for series in ours.clone() {
            assert!(back.index_of(labels(series).as_ref()).is_some(), "{series}");
        }
        let count = u32::try_from(ours.count()).unwrap();
        assert_eq!((taken.len(), back.series_count()), (100, count));
        assert_eq!(taken.iter().filter(|(_, index)| index.is_some()).count(), count as usize);
        // m, two parities, and a number each; a pair that nobody here has is not there.
        assert_eq!(back.pairs().len(), count + 3);
    }

    #[test]
    fn a_series_of_a_pair_that_the_record_lacks_is_an_error() {
        let payload = payload(&[&[("a", "1")]], &[&[0], &[1]]);
        assert_eq!(take(&payload, None, &mut Head::new(keys())), Err(UNKNOWN));
        let Some(Ok(Record::SavedSeries(record))) = records(&payload).next() else { panic!() };
        assert_eq!(check(record, |_| {}), Err(UNKNOWN));
    }

    #[test]
    fn a_series_whose_pairs_are_not_in_order_or_twice_is_an_error_to_who_verifies_too() {
        let pairs: [&[(&str, &str)]; 3] = [&[("a", "1")], &[("b", "1")], &[("b", "2")]];
        for series in [&[&[1, 0][..]][..], &[&[0, 1], &[2, 1]], &[&[0, 1], &[0, 1, 2]]] {
            let payload = payload(&pairs, series);
            assert_eq!(take(&payload, None, &mut Head::new(keys())), Err(UNSORTED), "{series:?}");
            let Some(Ok(Record::SavedSeries(record))) = records(&payload).next() else { panic!() };
            assert_eq!(check(record, |_| {}), Err(UNSORTED), "{series:?}");
        }
    }

    #[test]
    fn a_pair_of_two_labels_is_an_error() {
        let payload = payload(&[&[("a", "1"), ("b", "1")]], &[&[0]]);
        let error = take(&payload, None, &mut Head::new(keys())).unwrap_err();
        assert!(error.to_string().contains("not one label"), "{error}");
    }
}
