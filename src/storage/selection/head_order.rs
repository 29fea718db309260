//! The Head's series in order of labels, without the labels of all of them in memory.
//!
//! A few hundred at a time are sorted; what comes next is the first of the first ones of all these runs, and only of those the
//! labels are kept.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use crate::io::Pace;
use crate::model::{Labels, TimeRange};
use crate::storage::head::Head;

/// Series that are sorted without a pause: some 100 us.
const SERIES_AT_ONCE: usize = 256;

pub(super) struct HeadOrder {
    head: Rc<RefCell<Head>>,
    runs: Vec<std::vec::IntoIter<u32>>,
    /// The first of each run: its labels, its index in the Head, its run.
    fronts: BinaryHeap<Reverse<(Labels, u32, usize)>>,
}

impl HeadOrder {
    /// Of the series at these indexes, those that have samples in `range`.
    pub async fn of(
        head: &Rc<RefCell<Head>>,
        series: &[u32],
        range: TimeRange,
        pace: &mut impl Pace,
    ) -> Self {
        let mut order = Self { head: Rc::clone(head), runs: Vec::new(), fronts: BinaryHeap::new() };
        for some in series.chunks(SERIES_AT_ONCE) {
            let mut labelled: Vec<(Labels, u32)> = {
                let head = head.borrow();
                let in_range = some.iter().filter(|index| head.overlaps(**index, range));
                in_range.filter_map(|index| Some((head.labels(*index)?, *index))).collect()
            };
            labelled.sort_unstable();
            let mut run: Vec<u32> = labelled.into_iter().map(|(_, index)| index).collect();
            // It was collected in the room of the labels.
            run.shrink_to_fit();
            order.runs.push(run.into_iter());
            let front = order.front_of(order.runs.len() - 1);
            order.fronts.extend(front);
            pace.breathe().await;
        }
        order
    }

    /// How many bytes it takes, about.
    pub fn held_bytes(&self) -> usize {
        let numbers: usize = self.runs.iter().map(|run| size_of_val(run.as_slice())).sum();
        let fronts = self.fronts.iter().map(|Reverse((labels, ..))| labels.as_bytes().len());
        numbers + size_of_val(self.fronts.as_slice()) + fronts.sum::<usize>()
    }

    /// The labels of the next series.
    pub fn front(&self) -> Option<&Labels> {
        self.fronts.peek().map(|Reverse((labels, ..))| labels)
    }

    /// The index of the next series, if it is the one with these labels.
    pub fn take(&mut self, labels: &Labels) -> Option<u32> {
        if self.front() != Some(labels) {
            return None;
        }
        let Reverse((_, index, run)) = self.fronts.pop()?;
        let next = self.front_of(run);
        self.fronts.extend(next);
        Some(index)
    }

    /// The next series of a run that is there still.
    fn front_of(&mut self, run: usize) -> Option<Reverse<(Labels, u32, usize)>> {
        let head = self.head.borrow();
        let rest = self.runs.get_mut(run)?;
        // One that is gone has no labels.
        let labels = |index| head.labels(index).filter(|labels| *labels != Labels::empty());
        let (labels, index) = rest.find_map(|index| Some((labels(index)?, index)))?;
        Some(Reverse((labels, index, run)))
    }
}
