//! Histograms and series of them for tests.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::span::SpanBuilder;
use super::{Count, FloatHistogram, Histogram, HistogramRef, IntHistogram, ResetHint, Span};

/// The counts of one side's buckets by index.
pub type Counts<C> = BTreeMap<i64, <C as Count>::Bucket>;

/// Spans and buckets of `counts`, the plain way.
pub fn side<C: Count>(counts: &Counts<C>) -> (Vec<Span>, Vec<C::Bucket>) {
    let (mut spans, mut written) = (SpanBuilder::default(), Vec::new());
    let mut before = C::Bucket::default();
    for (index, count) in counts {
        assert!(spans.push(*index));
        written.push(C::written(before, *count));
        before = *count;
    }
    (spans.build(), written)
}

/// The same buckets in spans that are empty or touch each other here and there, as `style` says.
pub fn restyled(spans: &[Span], style: u8) -> Vec<Span> {
    let mut odd = Vec::new();
    for (i, span) in spans.iter().enumerate() {
        match style {
            1 if i > 0 => odd.extend([Span { offset: 0, length: 0 }, *span]),
            2 if span.length > 1 => odd.extend([
                Span { offset: span.offset, length: 1 },
                Span { offset: 0, length: span.length - 1 },
            ]),
            _ => odd.push(*span),
        }
    }
    odd
}

/// What a series does from one sample to the next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Observations come: side, index, how many; in the zero bucket; the bits of the sum.
    Observe(Vec<(bool, i64, u32)>, u32, u64),
    /// Empty buckets are put in beside the others, or left out.
    Empties(bool),
    /// It begins again.
    Reset,
    /// Another schema, zero threshold or other bounds.
    Shape(u8),
    /// The series ends.
    Stale,
    /// What is said about resets.
    Hint(ResetHint),
    /// How spans are written.
    Style(u8),
}

#[derive(Clone, Copy)]
struct Shape {
    schema: i32,
    zero_threshold: f64,
    bounds: &'static [f64],
}

const NO_BOUNDS: &[f64] = &[];
const SHAPES: [Shape; 5] = [
    Shape { schema: 0, zero_threshold: 0.0, bounds: NO_BOUNDS },
    Shape { schema: 3, zero_threshold: 2.938_735_877_055_719e-39, bounds: NO_BOUNDS },
    Shape { schema: -4, zero_threshold: 0.001, bounds: NO_BOUNDS },
    Shape {
        schema: -53,
        zero_threshold: 0.0,
        bounds: &[-1.5, 0.0, 0.005, 1.0, 40_000.0, 1e9, 1e10],
    },
    Shape { schema: -53, zero_threshold: 0.0, bounds: &[0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 1e300] },
];

/// Steps of a series.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (any::<bool>(), 0i64..12, prop_oneof![4 => 1u32..5, 1 => any::<u32>()]);
    let sum =
        prop_oneof![3 => (0u32..1000).prop_map(|n| f64::from(n).to_bits()), 1 => any::<u64>()];
    let step = prop_oneof![
        30 => (prop::collection::vec(add, 0..4), 0u32..3, sum)
            .prop_map(|(adds, zero, sum)| Step::Observe(adds, zero, sum)),
        3 => any::<bool>().prop_map(Step::Empties),
        1 => Just(Step::Reset),
        1 => (0u8..5).prop_map(Step::Shape),
        1 => Just(Step::Stale),
        2 => (0u8..4).prop_map(|n| Step::Hint(ResetHint::of_number(n).unwrap())),
        2 => (0u8..3).prop_map(Step::Style),
    ];
    prop::collection::vec(step, 1..60)
}

/// The valid histograms that steps make.
pub fn integers(steps: &[Step]) -> Vec<IntHistogram> {
    series::<u64>(steps, i64::from, i64::cast_unsigned)
}

/// The same with counts that are not whole.
pub fn floats(steps: &[Step]) -> Vec<FloatHistogram> {
    series::<f64>(steps, |n| f64::from(n) / 3.0, |n| n)
}

fn series<C: Count>(
    steps: &[Step],
    number: impl Fn(u32) -> C::Bucket,
    count_of: impl Fn(C::Bucket) -> C,
) -> Vec<Histogram<C>> {
    let nothing = C::Bucket::default();
    let (mut positive, mut negative) = (Counts::<C>::new(), Counts::<C>::new());
    let (mut zero, mut sum) = (nothing, 0u64);
    let (mut shape, mut hint, mut style) = (SHAPES[0], ResetHint::Unknown, 0);
    let mut made = Vec::new();
    for step in steps {
        match step {
            Step::Observe(adds, zeros, bits) => {
                for (above, index, n) in adds {
                    let custom = !shape.bounds.is_empty();
                    let side = if *above || custom { &mut positive } else { &mut negative };
                    let index = if custom { *index % 8 } else { *index - 4 };
                    let count = side.entry(index).or_insert(nothing);
                    *count = C::together(*count, number(*n));
                }
                if shape.bounds.is_empty() {
                    zero = C::together(zero, number(*zeros));
                }
                sum = *bits;
            }
            Step::Empties(true) => {
                for index in [1, 3] {
                    positive.entry(index).or_insert(nothing);
                }
            }
            Step::Empties(false) => {
                positive.retain(|_, count| *count != nothing);
                negative.retain(|_, count| *count != nothing);
            }
            Step::Reset | Step::Shape(_) => {
                (positive, negative, zero) = (Counts::<C>::new(), Counts::<C>::new(), nothing);
                if let Step::Shape(i) = step {
                    shape = SHAPES[usize::from(*i)];
                }
            }
            Step::Stale => {
                made.push(HistogramRef::stale().to_histogram());
                continue;
            }
            Step::Hint(now) => hint = *now,
            Step::Style(now) => style = *now,
        }
        let all = positive.values().chain(negative.values()).fold(zero, |a, b| C::together(a, *b));
        let (positive_spans, positive_buckets) = side::<C>(&positive);
        let (negative_spans, negative_buckets) = side::<C>(&negative);
        let histogram = HistogramRef {
            reset_hint: hint,
            schema: shape.schema,
            zero_threshold: shape.zero_threshold,
            count: count_of(all),
            zero_count: count_of(zero),
            sum: f64::from_bits(sum),
            positive_spans: &restyled(&positive_spans, style),
            negative_spans: &restyled(&negative_spans, style),
            positive_buckets: &positive_buckets,
            negative_buckets: &negative_buckets,
            custom_values: shape.bounds,
        };
        histogram.validate().unwrap();
        made.push(histogram.to_histogram());
    }
    made
}
