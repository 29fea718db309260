//! What holds for any histogram.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::histogram::testing;

type Side = Vec<(i32, f64)>;

/// Buckets with whole numbers, so that sums are exact in whatever order.
fn side(lowest: i32) -> impl Strategy<Value = Side> {
    prop::collection::btree_map(lowest..8, (0u8..9).prop_map(f64::from), 0..12)
        .prop_map(|map| map.into_iter().collect())
}

/// Valid exponential histograms whose zero bucket is nearer to zero than all others.
fn exponential() -> impl Strategy<Value = FloatHistogram> {
    (0i32..4, side(-8), side(-8), 0u8..5).prop_map(|(schema, positive, negative, zero)| {
        let zero_count = f64::from(zero);
        let all = positive.iter().chain(&negative).map(|(_, n)| n);
        let count = zero_count + all.sum::<f64>();
        let sum = count * 3.0;
        let empty = FloatHistogram::empty(schema);
        FloatHistogram {
            zero_threshold: 0.001,
            zero_count,
            count,
            sum,
            positive,
            negative,
            ..empty
        }
    })
}

fn custom() -> impl Strategy<Value = FloatHistogram> {
    let bounds = prop::collection::btree_set(-5i32..12, 0..9);
    (bounds, side(0)).prop_map(|(bounds, mut positive)| {
        positive.retain(|(index, _)| usize::try_from(*index).unwrap() <= bounds.len());
        let count: f64 = positive.iter().map(|(_, n)| n).sum();
        let custom = bounds.into_iter().map(f64::from).collect();
        FloatHistogram { count, sum: count * 2.0, positive, custom, ..FloatHistogram::empty(-53) }
    })
}

/// Two that can be combined.
fn pair() -> impl Strategy<Value = (FloatHistogram, FloatHistogram)> {
    prop_oneof![(exponential(), exponential()), (custom(), custom())]
}

/// Whatever the fields can hold.
fn hostile() -> impl Strategy<Value = FloatHistogram> {
    let number = || prop_oneof![(0u8..5).prop_map(f64::from), prop::num::f64::ANY];
    let index = || prop_oneof![-20i32..20, any::<i32>(), Just(i32::MIN), Just(i32::MAX)];
    let side = move || {
        prop::collection::btree_map(index(), number(), 0..9)
            .prop_map(|map| map.into_iter().collect::<Side>())
    };
    let schema = prop_oneof![3 => Just(-53), 6 => -9i32..53, 1 => any::<i32>()];
    let bounds = prop::collection::vec(number(), 0..6);
    let numbers = [number(), number(), number(), number()];
    (schema, side(), side(), bounds, numbers, 0u8..4).prop_map(
        |(schema, positive, negative, custom, [zero_threshold, zero_count, count, sum], hint)| {
            FloatHistogram {
                schema,
                reset_hint: ResetHint::of_number(hint).unwrap(),
                zero_threshold,
                zero_count,
                count,
                sum,
                positive,
                negative,
                custom: custom.into(),
            }
        },
    )
}

/// How many observations end up to each of the bounds.
fn cumulative(h: &FloatHistogram) -> BTreeMap<i64, f64> {
    let mut up_to = BTreeMap::new();
    let mut sum = 0.0;
    for bucket in h.buckets() {
        sum += bucket.count;
        // Bounds of different schemas that are the same may be rounded differently.
        #[expect(clippy::cast_possible_truncation, reason = "small bounds, and infinity")]
        up_to.insert((bucket.upper * 1e6).round() as i64, sum);
    }
    up_to
}

proptest! {
    #[test]
    fn a_sum_is_that_of_every_bucket_in_the_coarser_schema(a in exponential(), b in exponential()) {
        let mut sum = a.clone();
        sum.add(&b).unwrap();
        let schema = a.schema.min(b.schema);
        let reduced = |mut h: FloatHistogram| { h.reduce_to(schema); h };
        let (a, b) = (reduced(a), reduced(b));
        let model = |a: &Side, b: &Side| -> Side {
            let mut map: BTreeMap<i32, f64> = a.iter().copied().collect();
            for (index, n) in b {
                *map.entry(*index).or_default() += n;
            }
            map.into_iter().collect()
        };
        prop_assert_eq!(&sum.positive, &model(&a.positive, &b.positive));
        prop_assert_eq!(&sum.negative, &model(&a.negative, &b.negative));
        prop_assert_eq!(sum.count, a.count + b.count);
        prop_assert_eq!(sum.zero_count, a.zero_count + b.zero_count);
        prop_assert_eq!(sum.schema, schema);
    }

    #[test]
    fn custom_bounds_that_are_left_have_as_many_below_as_before(a in custom(), b in custom()) {
        let mut sum = a.clone();
        let combined = sum.add(&b).unwrap();
        prop_assert_eq!(combined.bounds_reconciled, a.custom != b.custom);
        let below = |h: &FloatHistogram, bound: f64| -> f64 {
            h.buckets().filter(|bucket| bucket.upper <= bound).map(|bucket| bucket.count).sum()
        };
        for bound in sum.custom.iter().chain(&[f64::INFINITY]) {
            prop_assert_eq!(below(&sum, *bound), below(&a, *bound) + below(&b, *bound));
        }
    }

    #[test]
    fn less_resolution_leaves_the_counts_up_to_each_bound(a in exponential(), to in -3i32..4) {
        let mut coarse = a.clone();
        coarse.reduce_to(to);
        prop_assert_eq!(coarse.schema, a.schema.min(to));
        let (fine, coarse) = (cumulative(&a), cumulative(&coarse));
        for (bound, below) in coarse {
            let before = fine.range(..=bound).next_back().map_or(0.0, |(_, n)| *n);
            prop_assert!(below == before, "{} of {} up to {}", below, before, bound);
        }
    }

    #[test]
    fn quantiles_rise_with_q(h in prop_oneof![exponential(), custom()], mut qs in prop::collection::vec(0.0..=1.0f64, 2..9)) {
        qs.sort_by(f64::total_cmp);
        let quantiles: Vec<f64> = qs.iter().map(|q| h.quantile(*q).0).collect();
        for pair in quantiles.windows(2) {
            prop_assert!(h.count == 0.0 || pair[0] <= pair[1] + pair[1].abs() * 1e-9 + 1e-9, "{:?}", quantiles);
        }
    }

    #[test]
    fn everything_is_between_the_infinities(h in prop_oneof![exponential(), custom()], cut in -300.0..300.0f64) {
        prop_assume!(h.count > 0.0);
        let inf = f64::INFINITY;
        prop_assert_eq!(h.fraction(-inf, inf), (1.0, QuantileNotes::default()));
        if !h.has_custom_buckets() {
            let parts = h.fraction(-inf, cut).0 + h.fraction(cut, inf).0;
            prop_assert!((parts - 1.0).abs() < 1e-9);
            let (mut below, mut above) = (h.clone(), h.clone());
            below.trim_upper(cut);
            above.trim_lower(cut);
            prop_assert!(((below.count + above.count) / h.count - 1.0).abs() < 1e-9);
            prop_assert!((below.count / h.count - h.fraction(-inf, cut).0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_counter_that_only_grows_was_not_reset((a, b) in pair()) {
        let mut later = a.clone();
        later.add(&b).unwrap();
        prop_assert!(!later.is_reset_after(&a));
        later.count += 1.0;
        prop_assert!(a.is_reset_after(&later));
    }

    #[test]
    fn sums_and_means_of_parts_are_those_of_all(
        all in prop_oneof![
            prop::collection::vec(exponential(), 1..7),
            prop::collection::vec(custom(), 1..7),
        ],
        cut in 0usize..7,
    ) {
        let cut = cut.clamp(1, all.len());
        let (mut one, mut plain) = (HistogramSum::new(all[0].clone()), all[0].clone());
        let mut mean = HistogramMean::new(all[0].clone());
        for h in &all[1..cut] {
            one.add(h).unwrap();
            plain.add(h).unwrap();
            mean.add(h).unwrap();
        }
        if let Some((first, rest)) = all[cut..].split_first() {
            let (mut other, mut other_mean) =
                (HistogramSum::new(first.clone()), HistogramMean::new(first.clone()));
            plain.add(first).unwrap();
            for h in rest {
                other.add(h).unwrap();
                plain.add(h).unwrap();
                other_mean.add(h).unwrap();
            }
            one.merge(&other).unwrap();
            mean.merge(&other_mean).unwrap();
        }
        let compacted = |mut h: FloatHistogram| { h.compact(); h };
        let plain = compacted(plain);
        prop_assert_eq!(compacted(one.total()), plain.clone());
        let mut divided = plain;
        divided.divide(f64::from(u32::try_from(all.len()).unwrap()));
        assert_same_but_for_rounding(&compacted(mean.total()), &divided);
    }

    #[test]
    fn a_histogram_of_the_model_comes_back(steps in testing::steps()) {
        for (int, float) in testing::integers(&steps).iter().zip(testing::floats(&steps)) {
            let read = FloatHistogram::of(AnyHistogramRef::Int(int.as_ref()));
            let as_float = int.to_float();
            let same = FloatHistogram::of(AnyHistogramRef::Float(as_float.as_ref()));
            prop_assert!(read.is_same(&same) && read.reset_hint == same.reset_hint);
            let read = FloatHistogram::of(AnyHistogramRef::Float(float.as_ref()));
            let back = read.to_any();
            prop_assert!(back.as_ref().is_same_sample(AnyHistogramRef::Float(float.as_ref())));
            prop_assert!(FloatHistogram::of(back.as_ref()).is_same(&read));
        }
    }

    #[test]
    fn nothing_panics_or_grows_without_end(a in hostile(), b in hostile(), v in prop::num::f64::ANY, w in prop::num::f64::ANY, schema in any::<i32>()) {
        let bucket_total = a.positive.len() + a.negative.len() + b.positive.len() + b.negative.len();
        let _ = (a.to_string(), a.points(), a.mean(), a.stdvar(), a.buckets().rev().count());
        let _ = (a.quantile(v), a.quantile(v.abs().fract()), a.quantile(0.25), a.quantile(1.0));
        let _ = (a.fraction(v, w), a.fraction(f64::NEG_INFINITY, v));
        let _ = (a.is_reset_after(&b), a.is_same(&b), a.is_stale());
        let change = |change: &dyn Fn(&mut FloatHistogram)| { let mut a = a.clone(); change(&mut a); a };
        let sum = change(&|h| { let _ = h.add(&b); });
        prop_assert!(sum.positive.len() + sum.negative.len() <= bucket_total);
        prop_assert!(sum.positive.is_sorted_by(|(i, _), (j, _)| i < j));
        let _ = change(&|h| { let _ = h.sub(&b); });
        let _ = change(&|h| h.reduce_to(schema));
        let _ = change(&|h| h.trim_upper(v));
        let _ = change(&|h| h.trim_lower(v));
        let _ = change(&|h| { h.scale(v); h.divide(w); h.compact(); });
        let read = FloatHistogram::of(a.to_any().as_ref());
        prop_assert!(read.positive.len() <= a.positive.len());
        let mut mean = HistogramMean::new(a.clone());
        let _ = mean.add(&b);
        let _ = mean.add(&a);
        let mut other = HistogramMean::new(b);
        let _ = other.merge(&mean);
        let _ = (mean.total(), other.total());
    }

    #[test]
    fn any_spans_are_read(
        spans in prop::collection::vec((any::<i32>(), 0u32..4), 0..6),
        buckets in prop::collection::vec(any::<i64>(), 0..12),
        schema in any::<i32>(),
    ) {
        let spans: Vec<Span> =
            spans.into_iter().map(|(offset, length)| Span { offset, length }).collect();
        let torn = HistogramRef {
            schema,
            positive_spans: &spans,
            negative_spans: &spans,
            ..HistogramRef::<u64>::empty()
        };
        let torn = torn.counting::<u64>(u64::MAX, 1, &buckets, &buckets);
        let read = FloatHistogram::of(AnyHistogramRef::Int(torn));
        prop_assert!(read.positive.is_sorted_by(|(i, _), (j, _)| i < j));
        prop_assert!(read.positive.len() <= buckets.len());
    }
}
