//! Float samples, column by column: references, times, values.

use super::{SAMPLES, begin, end};
use crate::model::{Sample, SeriesRef, TimestampMs};

const FORM_SAME: u8 = 0;
const FORM_I32: u8 = 1;
const FORM_I64: u8 = 2;

/// One sample on its way to the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoggedSample {
    /// Whose.
    pub series: SeriesRef,
    /// What.
    pub sample: Sample,
}

/// Appends records that hold `samples`; none if there are none. More than one only where references lie too far apart.
///
/// # Panics
/// If a record would be longer than a batch may be; callers bound what they put in.
pub fn push_samples(out: &mut Vec<u8>, samples: &[LoggedSample]) {
    let mut rest = samples;
    while let Some(first) = rest.first() {
        let (mut low, mut high) = (first.series.0, first.series.0);
        let mut len = 0;
        for sample in rest {
            let (lower, higher) = (low.min(sample.series.0), high.max(sample.series.0));
            if higher - lower > u64::from(u32::MAX) {
                break;
            }
            (low, high) = (lower, higher);
            len += 1;
        }
        let (now, later) = rest.split_at(len);
        push_samples_near(out, low, now);
        rest = later;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the caller bounds the distance of the references"
)]
fn push_samples_near(out: &mut Vec<u8>, base: u64, samples: &[LoggedSample]) {
    let Some(first_t) = samples.first().map(|s| s.sample.t.0) else { return };
    let mut form = FORM_SAME;
    for s in samples {
        let delta = s.sample.t.0.wrapping_sub(first_t);
        if delta != 0 {
            let small = i32::try_from(delta).is_ok() && s.sample.t.0.checked_sub(first_t).is_some();
            form = form.max(if small { FORM_I32 } else { FORM_I64 });
        }
    }
    let start = begin(out, SAMPLES);
    out.reserve(samples.len() * 20 + 21);
    out.extend_from_slice(&base.to_le_bytes());
    out.extend_from_slice(
        &u32::try_from(samples.len()).expect("bounded by the caller").to_le_bytes(),
    );
    out.push(form);
    out.extend_from_slice(&first_t.to_le_bytes());
    out.extend(samples.iter().flat_map(|s| ((s.series.0 - base) as u32).to_le_bytes()));
    match form {
        FORM_SAME => {}
        FORM_I32 => {
            out.extend(samples.iter().flat_map(|s| ((s.sample.t.0 - first_t) as i32).to_le_bytes()))
        }
        _ => out.extend(samples.iter().flat_map(|s| s.sample.t.0.to_le_bytes())),
    }
    out.extend(samples.iter().flat_map(|s| s.sample.v.to_bits().to_le_bytes()));
    end(out, start);
}

/// Float samples, column by column.
#[derive(Clone, Copy, Debug)]
pub struct SamplesRecord<'a> {
    base: u64,
    first_t: i64,
    form: u8,
    refs: &'a [u8],
    times: &'a [u8],
    values: &'a [u8],
}

impl<'a> SamplesRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Option<Self> {
        let (base, body) = body.split_first_chunk::<8>()?;
        let (count, body) = body.split_first_chunk::<4>()?;
        let ([form], body) = body.split_first_chunk::<1>()?;
        let (first_t, body) = body.split_first_chunk::<8>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let time_bytes = match *form {
            FORM_SAME => 0,
            FORM_I32 => 4,
            FORM_I64 => 8,
            _ => return None,
        };
        let (refs, body) = body.split_at_checked(count.checked_mul(4)?)?;
        let (times, values) = body.split_at_checked(count.checked_mul(time_bytes)?)?;
        (values.len() == count.checked_mul(8)?).then_some(Self {
            base: u64::from_le_bytes(*base),
            first_t: i64::from_le_bytes(*first_t),
            form: *form,
            refs,
            times,
            values,
        })
    }

    /// How many samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / 8
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The samples in the order in which they were logged.
    pub fn iter(self) -> impl Iterator<Item = LoggedSample> + use<'a> {
        let (refs, _) = self.refs.as_chunks::<4>();
        let (values, _) = self.values.as_chunks::<8>();
        refs.iter().zip(values).enumerate().map(move |(i, (reference, value))| LoggedSample {
            series: SeriesRef(self.base.wrapping_add(u64::from(u32::from_le_bytes(*reference)))),
            sample: Sample {
                t: TimestampMs(self.time(i)),
                v: f64::from_bits(u64::from_le_bytes(*value)),
            },
        })
    }

    #[inline]
    fn time(&self, i: usize) -> i64 {
        match self.form {
            FORM_SAME => self.first_t,
            FORM_I32 => {
                let delta =
                    self.times.as_chunks::<4>().0.get(i).map_or(0, |b| i32::from_le_bytes(*b));
                self.first_t.wrapping_add(i64::from(delta))
            }
            _ => self.times.as_chunks::<8>().0.get(i).map_or(0, |b| i64::from_le_bytes(*b)),
        }
    }
}
