//! Histograms one behind the other, in a few flat arrays: what a request brings, without an allocation for each.

use super::{AnyHistogramRef, Count, HistogramRef, ResetHint, Span};
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

    /// When they are, in their order.
    pub fn times(&self) -> impl Iterator<Item = TimestampMs> {
        self.fixed.iter().map(|fixed| fixed.t)
    }

    /// Forgets all, keeps the room.
    pub fn clear(&mut self) {
        self.fixed.clear();
        self.spans.clear();
        self.deltas.clear();
        self.floats.clear();
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
                self.push_of(t, h, Counts::Int { count, zero_count }, |list| &mut list.deltas);
            }
            AnyHistogramRef::Float(h) => {
                let HistogramRef { count, zero_count, .. } = h;
                self.push_of(t, h, Counts::Float { count, zero_count }, |list| &mut list.floats);
            }
        }
    }

    /// - `buckets`: where those of this kind lie.
    fn push_of<C: Count>(
        &mut self,
        t: TimestampMs,
        h: HistogramRef<'_, C>,
        counts: Counts,
        buckets: fn(&mut Self) -> &mut Vec<C::Bucket>,
    ) {
        self.spans.extend_from_slice(h.positive_spans);
        let positive_spans = self.spans.len();
        self.spans.extend_from_slice(h.negative_spans);
        buckets(self).extend_from_slice(h.positive_buckets);
        let (positive_deltas, positive_floats) = (self.deltas.len(), self.floats.len());
        buckets(self).extend_from_slice(h.negative_buckets);
        let (negative_deltas, negative_floats) = (self.deltas.len(), self.floats.len());
        self.floats.extend_from_slice(h.custom_values);
        self.fixed.push(Fixed {
            t,
            reset_hint: h.reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            counts,
            sum: h.sum,
            ends: Ends {
                positive_spans,
                negative_spans: self.spans.len(),
                positive_deltas,
                negative_deltas,
                positive_floats,
                negative_floats,
                custom: self.floats.len(),
            },
        });
    }

    /// The one at this place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<(TimestampMs, AnyHistogramRef<'_>)> {
        let Fixed { t, reset_hint, schema, zero_threshold, counts, sum, ends } =
            *self.fixed.get(at)?;
        let before = at.checked_sub(1).and_then(|at| self.fixed.get(at));
        let before = before.map(|fixed| fixed.ends).unwrap_or_default();
        let plain = HistogramRef::<u64> {
            reset_hint,
            schema,
            zero_threshold,
            sum,
            positive_spans: self.spans.get(before.negative_spans..ends.positive_spans)?,
            negative_spans: self.spans.get(ends.positive_spans..ends.negative_spans)?,
            custom_values: self.floats.get(ends.negative_floats..ends.custom)?,
            ..HistogramRef::empty()
        };
        let histogram = match counts {
            Counts::Int { count, zero_count } => {
                let positive = self.deltas.get(before.negative_deltas..ends.positive_deltas)?;
                let negative = self.deltas.get(ends.positive_deltas..ends.negative_deltas)?;
                AnyHistogramRef::Int(plain.counting(count, zero_count, positive, negative))
            }
            Counts::Float { count, zero_count } => {
                let positive = self.floats.get(before.custom..ends.positive_floats)?;
                let negative = self.floats.get(ends.positive_floats..ends.negative_floats)?;
                AnyHistogramRef::Float(plain.counting(count, zero_count, positive, negative))
            }
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
    fn what_is_pushed_comes_back_until_all_is_forgotten() {
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
        list.clear();
        assert_eq!((list.len(), list.bytes()), (0, 0));
    }
}
