//! Spans: which buckets of one side of a histogram there are, as runs of consecutive ones.
//!
//! A bucket has an index; a span says how far behind the one before it begins (the first one: at which index), and how
//! many buckets it has. One layout can be written in several ways: spans may be empty, or touch each other. The *plain*
//! way has neither.

/// Consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// How many buckets are left out before it; of the first span the index of its first bucket, which may be negative.
    pub offset: i32,
    /// How many buckets it has.
    pub length: u32,
}

/// How many buckets the spans have.
#[must_use]
pub fn bucket_total(spans: &[Span]) -> u64 {
    spans.iter().map(|span| u64::from(span.length)).sum()
}

/// The indexes of the buckets that spans have, in order. Takes any spans; of valid ones the indexes rise.
#[derive(Clone, Debug)]
pub struct BucketIndexes<'a> {
    spans: std::slice::Iter<'a, Span>,
    /// Of the bucket that comes next in the current span.
    next: i64,
    /// How many buckets the current span still has.
    left: u32,
}

impl<'a> BucketIndexes<'a> {
    /// The indexes of all buckets of `spans`.
    #[must_use]
    pub fn new(spans: &'a [Span]) -> Self {
        Self { spans: spans.iter(), next: 0, left: 0 }
    }
}

impl Iterator for BucketIndexes<'_> {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        while self.left == 0 {
            let span = self.spans.next()?;
            self.next += i64::from(span.offset);
            self.left = span.length;
        }
        self.left -= 1;
        self.next += 1;
        Some(self.next - 1)
    }
}

/// Puts spans together, the plain way, from indexes that rise.
#[derive(Clone, Debug, Default)]
pub struct SpanBuilder {
    spans: Vec<Span>,
    /// The index behind the last bucket.
    next: i64,
}

impl SpanBuilder {
    /// Adds the bucket at `index`, which is behind all others; false if no span can say so, because the distance has
    /// more than 32 bits.
    #[must_use]
    pub fn push(&mut self, index: i64) -> bool {
        let left_out = index - self.next;
        match self.spans.last_mut() {
            Some(last) if left_out == 0 => last.length += 1,
            _ => match i32::try_from(left_out) {
                Ok(offset) => self.spans.push(Span { offset, length: 1 }),
                Err(_) => return false,
            },
        }
        self.next = index + 1;
        true
    }

    /// Likewise, with empty spans before it where one cannot say how far behind it is; false only if it is too far before.
    #[must_use]
    pub fn push_far(&mut self, index: i64) -> bool {
        while index - self.next > i64::from(i32::MAX) {
            self.spans.push(Span { offset: i32::MAX, length: 0 });
            self.next += i64::from(i32::MAX);
        }
        self.push(index)
    }

    /// The spans.
    #[must_use]
    pub fn build(self) -> Vec<Span> {
        self.spans
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    #[test]
    fn empty_spans_count_into_the_distance() {
        let spans = [span(-2, 0), span(1, 2), span(3, 0), span(0, 0), span(1, 1), span(0, 1)];
        assert_eq!(BucketIndexes::new(&spans).collect::<Vec<_>>(), [-1, 0, 5, 6]);
        assert_eq!(bucket_total(&spans), 4);
    }

    #[test]
    fn a_distance_of_more_than_32_bits_is_no_span() {
        let mut spans = SpanBuilder::default();
        assert!(spans.push(i64::from(i32::MIN)));
        assert!(!spans.push(i64::from(i32::MAX)));
    }

    proptest! {
        #[test]
        fn indexes_come_back_from_the_spans_made_of_them(
            indexes in proptest::collection::btree_set(-40i64..40, 0..30),
        ) {
            let mut spans = SpanBuilder::default();
            for index in &indexes {
                prop_assert!(spans.push(*index));
            }
            let spans = spans.build();
            prop_assert!(spans.iter().all(|span| span.length > 0));
            prop_assert!(spans.iter().skip(1).all(|span| span.offset > 0));
            prop_assert!(BucketIndexes::new(&spans).eq(indexes));
        }
    }
}
