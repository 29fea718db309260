//! Histograms one behind the other, in a few flat arrays: what a request brings, without an allocation for each.

use super::{AnyHistogramRef, HistogramRef, ResetHint, Span};
use crate::model::TimestampMs;

/// Histograms at their instants.
#[derive(Clone, Debug, Default)]
pub struct HistogramList {
    fixed: Vec<Fixed>,
    spans: Vec<Span>,
    deltas: Vec<i64>,
    /// Buckets of float histograms, and bounds of custom buckets.
    floats: Vec<f64>,
}

/// What every histogram has, and where its other parts end: they begin where those of the one before end.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    t: TimestampMs,
    reset_hint: ResetHint,
    schema: i32,
    zero_threshold: f64,
    counts: Counts,
    sum: f64,
    ends: Ends,
}

#[derive(Clone, Copy, Debug)]
enum Counts {
    Int { count: u64, zero_count: u64 },
    Float { count: f64, zero_count: f64 },
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    positive_spans: usize,
    negative_spans: usize,
    positive_deltas: usize,
    negative_deltas: usize,
    positive_floats: usize,
    negative_floats: usize,
    custom: usize,
}

impl HistogramList {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fixed.len()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fixed.is_empty()
    }

    /// Forgets all, keeps the room.
    pub fn clear(&mut self) {
        self.fixed.clear();
        self.spans.clear();
        self.deltas.clear();
        self.floats.clear();
    }

    /// Forgets those behind the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.fixed.truncate(len);
        let ends = self.fixed.last().map(|fixed| fixed.ends).unwrap_or_default();
        self.spans.truncate(ends.negative_spans);
        self.deltas.truncate(ends.negative_deltas);
        self.floats.truncate(ends.custom);
    }

    /// Bytes of memory that all of them take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.fixed.len() * size_of::<Fixed>()
            + 8 * (self.spans.len() + self.deltas.len() + self.floats.len())
    }

    /// Appends one.
    pub fn push(&mut self, t: TimestampMs, histogram: AnyHistogramRef<'_>) {
        match histogram {
            AnyHistogramRef::Int(h) => {
                let HistogramRef { count, zero_count, .. } = h;
                let ends = self.push_spans(h.positive_spans, h.negative_spans);
                self.deltas.extend_from_slice(h.positive_buckets);
                let positive_deltas = self.deltas.len();
                self.deltas.extend_from_slice(h.negative_buckets);
                let floats = self.floats.len();
                self.floats.extend_from_slice(h.custom_values);
                self.fixed.push(Fixed {
                    t,
                    reset_hint: h.reset_hint,
                    schema: h.schema,
                    zero_threshold: h.zero_threshold,
                    counts: Counts::Int { count, zero_count },
                    sum: h.sum,
                    ends: Ends {
                        positive_deltas,
                        negative_deltas: self.deltas.len(),
                        positive_floats: floats,
                        negative_floats: floats,
                        custom: self.floats.len(),
                        ..ends
                    },
                });
            }
            AnyHistogramRef::Float(h) => {
                let HistogramRef { count, zero_count, .. } = h;
                let ends = self.push_spans(h.positive_spans, h.negative_spans);
                self.floats.extend_from_slice(h.positive_buckets);
                let positive_floats = self.floats.len();
                self.floats.extend_from_slice(h.negative_buckets);
                let negative_floats = self.floats.len();
                self.floats.extend_from_slice(h.custom_values);
                let deltas = self.deltas.len();
                self.fixed.push(Fixed {
                    t,
                    reset_hint: h.reset_hint,
                    schema: h.schema,
                    zero_threshold: h.zero_threshold,
                    counts: Counts::Float { count, zero_count },
                    sum: h.sum,
                    ends: Ends {
                        positive_deltas: deltas,
                        negative_deltas: deltas,
                        positive_floats,
                        negative_floats,
                        custom: self.floats.len(),
                        ..ends
                    },
                });
            }
        }
    }

    fn push_spans(&mut self, positive: &[Span], negative: &[Span]) -> Ends {
        self.spans.extend_from_slice(positive);
        let positive_spans = self.spans.len();
        self.spans.extend_from_slice(negative);
        Ends { positive_spans, negative_spans: self.spans.len(), ..Ends::default() }
    }

    /// Appends those of another list.
    pub fn append(&mut self, others: &Self) {
        others.within(0..others.len()).for_each(|(t, histogram)| self.push(t, histogram));
    }

    /// The one at this place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<(TimestampMs, AnyHistogramRef<'_>)> {
        let Fixed { t, reset_hint, schema, zero_threshold, counts, sum, ends } =
            *self.fixed.get(at)?;
        let before = at.checked_sub(1).and_then(|at| self.fixed.get(at));
        let before = before.map(|fixed| fixed.ends).unwrap_or_default();
        let positive_spans = self.spans.get(before.negative_spans..ends.positive_spans)?;
        let negative_spans = self.spans.get(ends.positive_spans..ends.negative_spans)?;
        let custom_values = self.floats.get(ends.negative_floats..ends.custom)?;
        let histogram = match counts {
            Counts::Int { count, zero_count } => AnyHistogramRef::Int(HistogramRef {
                reset_hint,
                schema,
                zero_threshold,
                count,
                zero_count,
                sum,
                positive_spans,
                negative_spans,
                positive_buckets: self.deltas.get(before.negative_deltas..ends.positive_deltas)?,
                negative_buckets: self.deltas.get(ends.positive_deltas..ends.negative_deltas)?,
                custom_values,
            }),
            Counts::Float { count, zero_count } => AnyHistogramRef::Float(HistogramRef {
                reset_hint,
                schema,
                zero_threshold,
                count,
                zero_count,
                sum,
                positive_spans,
                negative_spans,
                positive_buckets: self.floats.get(before.custom..ends.positive_floats)?,
                negative_buckets: self.floats.get(ends.positive_floats..ends.negative_floats)?,
                custom_values,
            }),
        };
        Some((t, histogram))
    }

    /// Those at these places.
    pub fn within(
        &self,
        places: std::ops::Range<usize>,
    ) -> impl Iterator<Item = (TimestampMs, AnyHistogramRef<'_>)> {
        places.map_while(|at| self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_comes_back_and_what_is_cut_off_leaves_nothing() {
        let spans = [Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }];
        let int = HistogramRef::<u64> {
            reset_hint: ResetHint::Gauge,
            schema: 3,
            zero_threshold: 0.5,
            count: 9,
            zero_count: 2,
            sum: 1.5,
            positive_spans: &spans,
            negative_spans: &spans[..1],
            positive_buckets: &[1, -1, 2],
            negative_buckets: &[4, 5],
            custom_values: &[],
        };
        let float = HistogramRef::<f64> {
            reset_hint: ResetHint::Unknown,
            schema: -53,
            zero_threshold: 0.0,
            count: 3.5,
            zero_count: 0.0,
            sum: -0.0,
            positive_spans: &spans[1..],
            negative_spans: &[],
            positive_buckets: &[3.5],
            negative_buckets: &[],
            custom_values: &[1.0, 2.0, 3.0, 4.0],
        };
        let all = [AnyHistogramRef::Int(int), AnyHistogramRef::Float(float)];
        let mut list = HistogramList::default();
        for at in 0..6 {
            list.push(TimestampMs(at), all[usize::try_from(at).unwrap() % 2]);
        }
        let read: Vec<_> = list.within(0..9).collect();
        let want: Vec<_> = (0..6)
            .map(|at: i64| (TimestampMs(at), all[usize::try_from(at).unwrap() % 2]))
            .collect();
        assert_eq!(read, want);
        list.truncate(1);
        list.push(TimestampMs(7), all[1]);
        assert_eq!(list.within(0..9).collect::<Vec<_>>(), [want[0], (TimestampMs(7), all[1])]);
        list.truncate(0);
        assert_eq!((list.len(), list.bytes()), (0, 0));
    }
}
