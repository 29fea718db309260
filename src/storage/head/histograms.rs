//! Appending a request's native histograms: as its floats (`append`), behind them, and one by one.

use std::ops::Range;

use super::append::{Bounds, Verdict, refusal};
use super::doubt::Doubtful;
use super::{Appended, Head};
use crate::model::refusal::HISTOGRAM_PARTS_MAX;
use crate::model::{
    AnyHistogramRef, Count, HistogramRef, LabelText, Part, RefusalReason, ValueRef,
};
use crate::storage::wal::LogBuffer;

impl Head {
    /// Appends the histograms of some of the part's series and puts what is new into `log`. Good ones are stored whatever the
    /// others are.
    ///
    /// - `entries`: places in [`Part::histogram_entries`]; so many at a time that others need not wait for long.
    /// - `bounds`: those that hold for the request that the part is of.
    pub fn append_histograms(
        &mut self,
        part: &Part,
        entries: Range<usize>,
        text: &LabelText,
        bounds: Bounds,
        log: &mut LogBuffer,
    ) -> Appended {
        let bounds = bounds.raised_to(self.min_valid);
        let mut appended = Appended::default();
        for (entry, places) in part.histogram_series_within(entries) {
            let series = match self.find(entry.fingerprint, None) {
                Some(index) => Ok(index),
                None => {
                    // One of which nothing can be stored is not made.
                    let fitting = part.histograms.within(places.clone());
                    let times = fitting.filter(|(_, h)| too_large(*h).is_none()).map(|(t, _)| t);
                    let who = (entry.fingerprint, entry.labels);
                    self.create(who, times, text, bounds, log)
                }
            };
            let index = match series {
                Ok(index) => index,
                Err(reason) => {
                    let large =
                        part.histograms.within(places.clone()).find_map(|(_, h)| too_large(h));
                    let reason = large.unwrap_or(reason);
                    appended.refused.push(refusal(entry.labels, text, places.len(), reason));
                    continue;
                }
            };
            let (mut refused, mut first) = (0, None);
            for (at, (t, h)) in places.clone().zip(part.histograms.within(places)) {
                let value = ValueRef::Histogram(h);
                let verdict = match too_large(h) {
                    Some(reason) => Verdict::Refused(reason),
                    None => self.judge(index, t, value, bounds, None),
                };
                if verdict.is_late() {
                    self.note_lateness(t);
                }
                if verdict == Verdict::Doubtful {
                    let (fingerprint, labels) = (entry.fingerprint, entry.labels);
                    appended.doubtful.push(Doubtful::Histogram { fingerprint, labels, at });
                    continue;
                }
                match self.carry_out(verdict, index, t, value, log) {
                    Ok(()) => appended.histograms_written += 1,
                    Err(reason) => {
                        refused += 1;
                        first.get_or_insert(reason);
                    }
                }
            }
            if let Some(reason) = first {
                appended.refused.push(refusal(entry.labels, text, refused, reason));
            }
        }
        log.finish_part();
        self.count_appended(log);
        appended
    }

    /// Counts what `log` has got.
    pub(super) fn count_appended(&mut self, log: &mut LogBuffer) {
        self.stats.samples_appended += log.take_sample_count();
        self.stats.histograms_appended += log.take_histogram_count();
    }
}

/// Why no series takes this histogram, if none does.
fn too_large(h: AnyHistogramRef<'_>) -> Option<RefusalReason> {
    fn parts<C: Count>(h: HistogramRef<'_, C>) -> usize {
        h.positive_spans.len()
            + h.negative_spans.len()
            + h.positive_buckets.len()
            + h.negative_buckets.len()
            + h.custom_values.len()
    }
    let parts = match h {
        AnyHistogramRef::Int(h) => parts(h),
        AnyHistogramRef::Float(h) => parts(h),
    };
    (parts > HISTOGRAM_PARTS_MAX).then_some(RefusalReason::HistogramTooLarge { parts })
}
