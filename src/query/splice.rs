//! Putting range answers over neighbouring parts of a range together, and cutting them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::grid::Grid;
use super::value::Series;
use crate::model::Labels;

/// Series over a grid, sorted by labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// When the steps are.
    pub grid: Grid,
    /// The series.
    pub series: Vec<Series>,
}

impl Piece {
    /// The series over some of the steps of this grid.
    #[must_use]
    pub fn part(&self, steps: Range<usize>) -> Self {
        let grid = self.grid.part(steps.clone());
        let series = self.series.iter().map(|one| one.part(steps.clone()));
        Self { grid, series: series.filter(|one| !one.is_empty()).collect() }
    }

    /// How many bytes it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.series.iter().map(Series::held_bytes).sum::<usize>() + size_of::<Self>()
    }
}

/// The pieces as one. They follow each other without a gap, each a step after the one before, and are not empty.
#[must_use]
pub fn joined(pieces: Vec<Piece>) -> Option<Piece> {
    let (first, last) = (pieces.first()?.grid, pieces.last()?.grid);
    let count = pieces.iter().map(|piece| piece.grid.count).sum();
    let grid = Grid { count, is_instant: first.start == last.end(), ..first };
    let mut series: BTreeMap<Labels, Series> = BTreeMap::new();
    let mut offset = 0;
    for piece in pieces {
        for one in piece.series {
            let one = one.shifted(offset);
            match series.get_mut(&one.labels) {
                // Their steps are apart.
                Some(have) => _ = have.merge(one),
                None => _ = series.insert(one.labels.clone(), one),
            }
        }
        offset += piece.grid.count;
    }
    Some(Piece { grid, series: series.into_values().collect() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::value::{ABSENT, Column};

    fn piece(rows: &[Vec<f64>], count: usize) -> Piece {
        let grid = Grid { start: 1000, step: 10, count, is_instant: false };
        let series = rows.iter().enumerate().filter_map(|(i, values)| {
            let labels = Labels::from_pairs([("i", i.to_string().as_str())]).unwrap();
            Some(Series::of_floats(labels, false, Column::of(values)?))
        });
        let mut series: Vec<Series> = series.collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Piece { grid, series }
    }

    proptest! {
        #[test]
        fn pieces_of_an_answer_make_the_answer(
            rows in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![Just(ABSENT), any::<i8>().prop_map(f64::from)], 20), 0..5,
            ),
            cuts in proptest::collection::btree_set(1usize..20, 0..4),
        ) {
            let whole = piece(&rows, 20);
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([20]) {
                pieces.push(whole.part(from..cut));
                from = cut;
            }
            // As text: steps between points hold a NaN.
            prop_assert_eq!(format!("{:?}", joined(pieces).unwrap()), format!("{whole:?}"));
        }
    }

    #[test]
    fn a_part_begins_at_its_first_step() {
        let whole = piece(&[vec![1.0, 2.0, 3.0]], 3);
        let part = whole.part(1..3);
        assert_eq!((part.grid.start, part.grid.count), (1010, 2));
        assert_eq!(part.series[0].column.points().collect::<Vec<_>>(), [(0, 2.0), (1, 3.0)]);
        assert_eq!(joined(Vec::new()), None);
    }
}
