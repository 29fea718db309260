//! The samples of a chunk one after the other: what both who writes and who reads knows of the last one.

use std::sync::Arc;

use super::coded::{Coded, Dod};
use super::{Stop, layout};
use crate::encoding::bits::{BitReader, BitWriter};
use crate::encoding::varbit;
use crate::encoding::window::XorValue;
use crate::model::histogram::Layout;
use crate::model::{HistogramRef, ResetHint, TimestampMs, is_stale_nan};

/// The last sample of a chunk, and what the next one is written against.
#[derive(Clone, Debug)]
pub(super) struct State<C: Coded> {
    pub layout: Arc<Layout>,
    t: Dod,
    count: C::Number,
    zero_count: C::Number,
    sum: XorValue,
    /// The positive ones, and then the negative ones, as they are written.
    buckets: Vec<C::Bucket>,
    codings: Vec<C::Coding>,
}

impl<C: Coded> State<C> {
    /// Before the first sample.
    pub fn new() -> Self {
        Self {
            layout: Arc::new(Layout::of(HistogramRef::<C>::empty())),
            t: Dod::default(),
            count: C::Number::default(),
            zero_count: C::Number::default(),
            sum: XorValue::default(),
            buckets: Vec::new(),
            codings: Vec::new(),
        }
    }

    pub fn t(&self) -> TimestampMs {
        TimestampMs(self.t.value)
    }

    pub fn is_stale(&self) -> bool {
        is_stale_nan(f64::from_bits(self.sum.bits))
    }

    /// The last sample.
    pub fn histogram(&self, reset_hint: ResetHint) -> HistogramRef<'_, C> {
        if self.is_stale() {
            return HistogramRef::stale();
        }
        let (positive_buckets, negative_buckets) = self.layout.split(&self.buckets);
        HistogramRef {
            reset_hint,
            schema: self.layout.schema(),
            zero_threshold: self.layout.zero_threshold(),
            count: C::number(&self.count),
            zero_count: C::number(&self.zero_count),
            sum: f64::from_bits(self.sum.bits),
            positive_spans: self.layout.positive_spans(),
            negative_spans: self.layout.negative_spans(),
            positive_buckets,
            negative_buckets,
            custom_values: self.layout.custom_values(),
        }
    }

    /// Bytes of memory that it holds beside its own, the layout not counted.
    pub fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<C::Bucket>()
            + self.codings.capacity() * size_of::<C::Coding>()
    }

    /// Appends the first sample, which gives the chunk its layout.
    pub fn push_first(&mut self, bits: &mut BitWriter, t: TimestampMs, h: HistogramRef<'_, C>) {
        if !self.layout.is_of(h) {
            self.layout = Arc::new(Layout::of(h));
        }
        layout::push(bits, &self.layout);
        varbit::push_signed(bits, t.0);
        self.t = Dod::first(t.0);
        self.count = C::push_first_number(bits, h.count);
        self.zero_count = C::push_first_number(bits, h.zero_count);
        self.sum = XorValue::push_first(bits, h.sum.to_bits());
        self.buckets = [h.positive_buckets, h.negative_buckets].concat();
        self.codings = vec![C::Coding::default(); self.buckets.len()];
        for bucket in &self.buckets {
            C::push_first_bucket(bits, *bucket);
        }
    }

    /// Appends the next sample; its buckets are those of the layout, or none if it is stale.
    pub fn push(&mut self, bits: &mut BitWriter, t: TimestampMs, h: HistogramRef<'_, C>) {
        self.t.push(bits, t.0);
        let stale = h.is_stale();
        C::push_number(bits, &mut self.count, h.count, stale);
        C::push_number(bits, &mut self.zero_count, h.zero_count, stale);
        self.sum.push(bits, h.sum.to_bits());
        let lasts = self.buckets.iter_mut().zip(&mut self.codings);
        for ((last, coding), bucket) in
            lasts.zip(h.positive_buckets.iter().chain(h.negative_buckets))
        {
            C::push_bucket(bits, last, coding, *bucket);
        }
    }

    /// Reads the first sample.
    pub fn read_first(&mut self, bits: &mut BitReader<'_>) -> Result<(), Stop> {
        self.layout = Arc::new(layout::read(bits)?);
        self.t = Dod::first(varbit::signed(bits).ok_or(Stop::Cut)?);
        self.count = C::read_first_number(bits).ok_or(Stop::Cut)?;
        self.zero_count = C::read_first_number(bits).ok_or(Stop::Cut)?;
        self.sum = XorValue::read_first(bits).ok_or(Stop::Cut)?;
        let total = layout::room(self.layout.bucket_total(), C::BUCKET_BITS, bits)?;
        self.buckets = Vec::with_capacity(total);
        for _ in 0..total {
            self.buckets.push(C::read_first_bucket(bits).ok_or(Stop::Cut)?);
        }
        self.codings = vec![C::Coding::default(); total];
        Ok(())
    }

    /// Reads the next sample.
    #[inline]
    pub fn read(&mut self, bits: &mut BitReader<'_>) -> Result<(), Stop> {
        self.t.read(bits)?;
        C::read_number(bits, &mut self.count)?;
        C::read_number(bits, &mut self.zero_count)?;
        self.sum.read(bits)?;
        if self.is_stale() {
            return Ok(());
        }
        for (last, coding) in self.buckets.iter_mut().zip(&mut self.codings) {
            C::read_bucket(bits, last, coding)?;
        }
        Ok(())
    }
}
