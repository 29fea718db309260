//! Was a counter reset between two histograms?

use super::{FloatHistogram, bounds, side};
use crate::model::histogram::ResetHint;

impl FloatHistogram {
    /// Was the counter reset after `previous`? Yes if anything but the sum has become less, or if the resolution or the
    /// zero bucket changed in a way that only a reset explains. What is known already decides it. Source: `DetectReset`.
    #[must_use]
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count || self.has_custom_buckets() != previous.has_custom_buckets()
        {
            return true;
        }
        if self.has_custom_buckets() && !bounds::same(&self.custom, &previous.custom) {
            return self.shrank_in_common_buckets(previous);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold) = if self.zero_threshold > previous.zero_threshold {
            previous.zero_up_to(self.zero_threshold, |n| n)
        } else {
            (previous.zero_count, previous.zero_threshold)
        };
        // Somewhere else, or no number: the zero bucket would end within one that had observations.
        if threshold != self.zero_threshold || self.zero_count < zero {
            return true;
        }
        let outside = |(index, _): &(i32, f64)| {
            self.has_custom_buckets() || threshold == 0.0 || self.bound((*index).into()) > threshold
        };
        let shift = previous.schema.abs_diff(self.schema);
        let sides = [(&self.positive, &previous.positive), (&self.negative, &previous.negative)];
        sides.into_iter().any(|(now, before)| {
            let before = side::reduced(before.iter().copied(), shift);
            shrank(
                now.iter().copied().skip_while(|bucket| !outside(bucket)),
                before.skip_while(|bucket| !outside(bucket)),
            )
        })
    }

    /// Did any bucket between the custom bounds that both have become less?
    fn shrank_in_common_buckets(&self, previous: &Self) -> bool {
        let common = bounds::common(&self.custom, &previous.custom);
        let within = |histogram: &Self| {
            let mut counts = Vec::new();
            let place = |index| bounds::index_within(&common, &histogram.custom, index);
            side::add(&mut counts, histogram.positive.iter().map(|(i, n)| (place(*i), *n)));
            counts
        };
        shrank(within(self).into_iter(), within(previous).into_iter())
    }
}

/// Is any bucket less than it was before, or gone with its observations?
fn shrank(
    now: impl Iterator<Item = (i32, f64)>,
    mut before: impl Iterator<Item = (i32, f64)>,
) -> bool {
    let mut now = now.peekable();
    before.any(|(index, before)| {
        while now.next_if(|(here, _)| *here < index).is_some() {}
        match now.peek() {
            Some((here, now)) if *here == index => *now < before,
            _ => before != 0.0,
        }
    })
}
