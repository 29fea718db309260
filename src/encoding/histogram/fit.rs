//! Does a histogram go into a chunk, behind the last one there? Pure decisions over spans and buckets.
//!
//! A chunk has one layout. A histogram with buckets that the layout does not have goes in if all samples before can be
//! written anew with these buckets, empty. So does one that lacks buckets: they are put in, empty; of a counter only if
//! they are empty in the last sample, for a counter's bucket that is gone has been reset.
//! Source: `appendable` and `appendableGauge` in Prometheus's `tsdb/chunkenc/{histogram,float_histogram}.go`.

use std::borrow::Cow;

use super::coded::Coded;
use crate::model::histogram::span::SpanBuilder;
use crate::model::histogram::{BucketIndexes, Span, counts};
use crate::model::{Count, HistogramRef, ResetHint};

/// How a histogram fits into a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It goes in.
    Fits(Sides),
    /// A counter was reset.
    Reset,
    /// A gauge, and the chunk is a counter's, or the other way round.
    OtherKind,
    /// The last sample is the staleness marker.
    AfterStale,
    /// Another schema or zero threshold, or, of a gauge, other bounds; or buckets so far apart that spans cannot say so.
    OtherLayout,
}

/// How the layouts of both sides compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// Above zero.
    pub positive: Side,
    /// Below zero.
    pub negative: Side,
}

/// How the buckets of one side compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// The histogram has some that the chunk does not have.
    pub adds: bool,
    /// The chunk has some that the histogram does not have.
    pub lacks: bool,
}

impl Sides {
    /// Must the chunk be written anew?
    pub fn adds(self) -> bool {
        self.positive.adds || self.negative.adds
    }

    /// Does the histogram need more buckets?
    pub fn lacks(self) -> bool {
        self.positive.lacks || self.negative.lacks
    }
}

/// How `h` fits behind `last`, the last sample of a chunk whose header says `header`.
pub(super) fn fit<C: Coded>(
    header: ResetHint,
    last: HistogramRef<'_, C>,
    h: HistogramRef<'_, C>,
) -> Fit {
    let gauge = h.reset_hint == ResetHint::Gauge;
    if gauge != (header == ResetHint::Gauge) {
        return Fit::OtherKind;
    }
    if h.reset_hint == ResetHint::Reset {
        return Fit::Reset;
    }
    if h.is_stale() {
        return Fit::Fits(Sides::default());
    }
    if last.is_stale() {
        return Fit::AfterStale;
    }
    if !gauge && h.count < last.count {
        return Fit::Reset;
    }
    if h.schema != last.schema || h.zero_threshold != last.zero_threshold {
        return Fit::OtherLayout;
    }
    if h.has_custom_buckets() && h.custom_values != last.custom_values {
        return if gauge { Fit::OtherLayout } else { Fit::Reset };
    }
    if !gauge && h.zero_count < last.zero_count {
        return Fit::Reset;
    }
    let positive = compare::<C>(
        gauge,
        (last.positive_spans, last.positive_buckets),
        (h.positive_spans, h.positive_buckets),
    );
    let negative = || {
        compare::<C>(
            gauge,
            (last.negative_spans, last.negative_buckets),
            (h.negative_spans, h.negative_buckets),
        )
    };
    match positive.and_then(|positive| Some(Sides { positive, negative: negative()? })) {
        Some(sides) => Fit::Fits(sides),
        None => Fit::Reset,
    }
}

/// What the header of a chunk says whose first sample has `hint`; `behind` another if there is one, with how the sample
/// fits there, and whether that one is `full` so that it has to end anyway.
pub(super) fn header<C: Coded>(hint: ResetHint, behind: Option<Fit>, full: bool) -> ResetHint {
    match (hint, behind) {
        (ResetHint::Gauge, _) => ResetHint::Gauge,
        // Upstream does not listen where the sample ends a chunk: behind gauges, then, the hint is lost.
        (ResetHint::Reset, _) if full => ResetHint::Reset,
        (_, Some(fit)) => C::header(fit, full),
        (_, None) => ResetHint::Unknown,
    }
}

type Buckets<'a, C> = (&'a [Span], &'a [<C as Count>::Bucket]);

/// How the buckets of one side compare; `None` if a counter's were reset.
fn compare<C: Count>(gauge: bool, old: Buckets<'_, C>, new: Buckets<'_, C>) -> Option<Side> {
    let mut side = Side::default();
    if old.0 == new.0 {
        let mut pairs = counts::<C>(old.1).zip(counts::<C>(new.1));
        return (gauge || !pairs.any(|(old, new)| old > new)).then_some(side);
    }
    let indexed = |(spans, buckets)| BucketIndexes::new(spans).zip(counts::<C>(buckets));
    let (mut olds, mut news) = (indexed(old), indexed(new));
    let (mut old, mut new) = (olds.next(), news.next());
    loop {
        match (old, new) {
            (None, None) => return Some(side),
            (Some((i, before)), Some((j, now))) if i == j => {
                if !gauge && before > now {
                    return None;
                }
                (old, new) = (olds.next(), news.next());
            }
            (Some((i, before)), other) if other.is_none_or(|(j, _)| i < j) => {
                if !gauge && before != C::Bucket::default() {
                    return None;
                }
                side.lacks = true;
                old = olds.next();
            }
            _ => {
                side.adds = true;
                new = news.next();
            }
        }
    }
}

/// The spans of one side that a sample with `new` ones is written with into a chunk with `old` ones; the chunk, too, if
/// the sample adds any. `None` if no spans can say so. How spans are written is upstream's choice in every case.
pub(super) fn common<'a>(
    gauge: bool,
    sides: Sides,
    side: Side,
    old: &'a [Span],
    new: &'a [Span],
) -> Option<Cow<'a, [Span]>> {
    if !sides.lacks() {
        return Some(Cow::Borrowed(new));
    }
    if !sides.adds() {
        return Some(Cow::Borrowed(old));
    }
    if !gauge && !side.lacks {
        return Some(Cow::Borrowed(new));
    }
    let (mut olds, mut news) = (BucketIndexes::new(old), BucketIndexes::new(new));
    let (mut old, mut new) = (olds.next(), news.next());
    let mut union = SpanBuilder::default();
    while let Some(index) = old.into_iter().chain(new).min() {
        if !union.push(index) {
            return None;
        }
        if old == Some(index) {
            old = olds.next();
        }
        if new == Some(index) {
            new = news.next();
        }
    }
    Some(Cow::Owned(union.build()))
}

/// Buckets written for spans that have all of theirs and perhaps more, which are empty.
pub(super) fn spread<C: Count>(
    from: &[Span],
    buckets: &[C::Bucket],
    to: &[Span],
) -> Vec<C::Bucket> {
    let mut have = BucketIndexes::new(from).zip(counts::<C>(buckets)).peekable();
    let mut before = C::Bucket::default();
    let written = BucketIndexes::new(to).map(|index| {
        let count = have.next_if(|(i, _)| *i == index).map(|(_, count)| count).unwrap_or_default();
        let written = C::written(before, count);
        before = count;
        written
    });
    written.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    fn of(spans: &[Span], buckets: &'static [i64]) -> HistogramRef<'static, u64> {
        let count = counts::<u64>(buckets).sum::<i64>().cast_unsigned();
        HistogramRef {
            count,
            positive_spans: spans.to_vec().leak(),
            positive_buckets: buckets,
            ..HistogramRef::empty()
        }
    }

    fn fits(last: HistogramRef<'_, u64>, h: HistogramRef<'_, u64>) -> Fit {
        fit(ResetHint::Unknown, last, h)
    }

    fn positive(adds: bool, lacks: bool) -> Fit {
        Fit::Fits(Sides { positive: Side { adds, lacks }, negative: Side::default() })
    }

    #[test]
    fn new_buckets_fit_and_used_ones_that_are_gone_are_a_reset() {
        let old = of(&[span(0, 2)], &[1, 1]);
        assert_eq!(fits(old, of(&[span(0, 2)], &[1, 1])), positive(false, false));
        assert_eq!(fits(old, of(&[span(0, 1), span(0, 1)], &[1, 1])), positive(false, false));
        assert_eq!(fits(old, of(&[span(-1, 4)], &[0, 1, 1, 0])), positive(true, false));
        assert_eq!(fits(old, of(&[span(1, 1), span(8, 1)], &[2, 7])), Fit::Reset);
        assert_eq!(fits(old, of(&[span(0, 2)], &[2, -1])), Fit::Reset);
        assert_eq!(fits(old, of(&[span(0, 1)], &[1])), Fit::Reset);
    }

    #[test]
    fn empty_buckets_may_go() {
        let old = of(&[span(0, 3)], &[1, -1, 1]);
        assert_eq!(fits(old, of(&[span(0, 1), span(1, 1)], &[1, 0])), positive(false, true));
        assert_eq!(fits(old, of(&[span(-1, 2), span(1, 1)], &[0, 1, 0])), positive(true, true));
    }

    #[test]
    fn a_gauge_may_do_as_it_likes() {
        let old = of(&[span(0, 2)], &[1, 1]);
        let new = HistogramRef { reset_hint: ResetHint::Gauge, ..of(&[span(1, 2)], &[1, 0]) };
        assert_eq!(fit(ResetHint::Gauge, old, new), positive(true, true));
        assert_eq!(fit(ResetHint::NotReset, old, new), Fit::OtherKind);
        assert_eq!(fit(ResetHint::Gauge, old, old), Fit::OtherKind);
    }

    #[test]
    fn what_else_decides() {
        let old = of(&[span(0, 2)], &[1, 1]);
        assert_eq!(fits(old, HistogramRef { reset_hint: ResetHint::Reset, ..old }), Fit::Reset);
        assert_eq!(fits(old, HistogramRef { count: 2, ..old }), Fit::Reset);
        assert_eq!(fits(old, HistogramRef { schema: 1, ..old }), Fit::OtherLayout);
        assert_eq!(fits(old, HistogramRef { zero_threshold: 1.0, ..old }), Fit::OtherLayout);
        let zero = HistogramRef { zero_count: 1, ..old };
        assert_eq!(fits(zero, old), Fit::Reset);
        assert_eq!(fits(old, HistogramRef::stale()), Fit::Fits(Sides::default()));
        assert_eq!(fits(HistogramRef::stale(), HistogramRef::stale()), Fit::Fits(Sides::default()));
        assert_eq!(fits(HistogramRef::stale(), old), Fit::AfterStale);
        let custom = HistogramRef { schema: -53, custom_values: &[1.0, 2.0], ..old };
        assert_eq!(fits(custom, HistogramRef { custom_values: &[1.0, 3.0], ..custom }), Fit::Reset);
    }

    #[test]
    fn buckets_are_spread_over_more_spans() {
        let (from, to) = ([span(0, 1), span(2, 2)], [span(-1, 3), span(0, 0), span(1, 3)]);
        assert_eq!(spread::<u64>(&from, &[5, -2, 1], &to), [0, 5, -5, 3, 1, -4]);
        assert_eq!(spread::<f64>(&from, &[5.0, 3.0, 4.0], &to), [0.0, 5.0, 0.0, 3.0, 4.0, 0.0]);
    }

    #[test]
    fn spans_too_far_apart_have_nothing_in_common() {
        let sides = Sides { positive: Side { adds: true, lacks: true }, negative: Side::default() };
        let (old, new) = ([span(i32::MIN, 1)], [span(i32::MAX, 1)]);
        assert_eq!(common(true, sides, sides.positive, &old, &new), None);
    }
}
