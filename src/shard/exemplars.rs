//! Exemplars: taken with a write, and answered.

use std::sync::Arc;

use super::asking::Asking;
use super::life::Life;
use crate::io::Disk;
use crate::model::{ExemplarAt, LabelText, Matcher, SeriesExemplars, TimeRange};
use crate::query::QueryError;
use crate::query::memory::Tab;
use crate::rt::pace::Slice;
use crate::storage::head::Bounds;
use crate::storage::head::exemplars::AppendedExemplars;

/// Exemplars that are taken without a pause.
const EXEMPLARS_AT_ONCE: usize = 64;
/// Series that are looked at without a pause.
const SERIES_AT_ONCE: usize = 16;

/// Which exemplars a question is about.
#[derive(Debug)]
pub struct ExemplarSelection {
    /// Those of series that any of these finds.
    pub selectors: Vec<Vec<Matcher>>,
    /// Only those in this range.
    pub range: TimeRange,
    /// What the answer's memory is charged to, and whether anybody waits for it.
    pub asking: Arc<Asking>,
}

/// Takes the exemplars of a part whose samples are appended; they are durable with the next commit.
#[cold]
pub(super) async fn append<D: Disk>(
    life: &Life<D>,
    exemplars: &[ExemplarAt],
    text: &LabelText,
    bounds: Bounds,
    slice: &mut Slice,
) -> AppendedExemplars {
    let mut all = AppendedExemplars::default();
    for some in exemplars.chunks(EXEMPLARS_AT_ONCE) {
        slice.breathe().await;
        let (mut head, mut log) = (life.head.borrow_mut(), life.commits.log().borrow_mut());
        let appended = head.append_exemplars(some, text, bounds, &mut log);
        all.written += appended.written;
        all.refused.append(appended.refused);
    }
    all
}

/// The exemplars that a selection finds, series by series, in no order.
///
/// # Errors
/// They are more than the account of who asks holds, or nobody asks any more.
pub(super) async fn select<D: Disk>(
    life: &Life<D>,
    ExemplarSelection { selectors, range, asking }: &ExemplarSelection,
) -> Result<Vec<SeriesExemplars>, QueryError> {
    let work = async {
        let (mut found, mut slice) = (Vec::new(), Slice::start());
        let mut tab = Tab::of(asking.account());
        let all = life.head.borrow().exemplars().all_series();
        for some in all.chunks(SERIES_AT_ONCE) {
            {
                let head = life.head.borrow();
                for series in some {
                    if let Some(of) = head.exemplars().of(*series, selectors, *range) {
                        tab.add(of.held_bytes())?;
                        found.push(of);
                    }
                }
            }
            slice.breathe().await;
        }
        tab.settle()?;
        Ok(found)
    };
    asking.unless_cancelled(work).await
}
