//! Where buckets end.
//!
//! Above zero, bucket i of exponential schema n ends at 2^(i / 2^n), rounded the way upstream's table has it: results are
//! to be the same to the bit. Source: Prometheus, `getBound` and `exponentialBounds` in `model/histogram/generic.go`.

use super::Counted;
use crate::model::histogram::schema;

/// How many bounds the finest schema has between one half and one.
const FINEST: usize = 1 << schema::MAX;

/// 2^(2^-n) for the schemas n from 1. The first one is a bit below the nearest float, as Go's `math.Exp2` has it.
const FACTORS: [f64; 8] = [
    std::f64::consts::SQRT_2.next_down(),
    1.189_207_115_002_721,
    1.090_507_732_665_257_7,
    1.044_273_782_427_413_8,
    1.021_897_148_654_116_6,
    1.010_889_286_051_700_5,
    1.005_429_901_112_802_7,
    1.002_711_275_050_202_5,
];

/// The bounds of the finest schema from one half to one; every other one is a bound of the schema before, and so on.
static BOUNDS: [f64; FINEST] = bounds();

/// Bounds of a schema are those of the coarser one, and between each two of them the lower one times the factor.
#[expect(clippy::indexing_slicing, reason = "in a constant: a wrong index does not compile")]
const fn bounds() -> [f64; FINEST] {
    let mut bounds = [0.5; FINEST];
    let (mut n, mut step) = (0, FINEST / 2);
    while n < FACTORS.len() {
        let mut at = step;
        while at < FINEST {
            bounds[at] = bounds[at - step] * FACTORS[n];
            at += 2 * step;
        }
        n += 1;
        step /= 2;
    }
    bounds
}

/// The upper bound of the bucket at `index` above zero. The last one that holds numbers ends at the largest of them
/// rather than beyond it, so that the next one has infinity for itself.
pub(super) fn exponential(schema: i32, index: i64) -> f64 {
    if schema > schema::MAX {
        #[expect(
            clippy::cast_precision_loss,
            reason = "such a histogram is reduced when it is read"
        )]
        return (index as f64 / f64::from(schema).exp2()).exp2();
    }
    let Ok(bits) = u32::try_from(schema) else {
        // Indexes have 33 bits at most, exponents 11: what is shifted further is too large either way.
        return power(1.0, index << schema.unsigned_abs().min(30));
    };
    let within = index & ((1 << bits) - 1);
    let place = usize::try_from(within << (schema::MAX.unsigned_abs() - bits)).unwrap_or(0);
    // Twice the fraction, so that it is one rather than one half where the bound is a power of two.
    power(2.0 * BOUNDS.get(place).copied().unwrap_or(0.5), index >> bits)
}

/// `fraction` times 2^`exponent`, but the largest number for 2^1024.
///
/// - `fraction`: 1 or more, and below 2.
fn power(fraction: f64, exponent: i64) -> f64 {
    /// 2^`exponent`, which is a normal number.
    fn normal(exponent: i64) -> f64 {
        f64::from_bits((exponent + 1023).cast_unsigned() << 52)
    }
    if fraction == 1.0 && exponent == 1024 {
        return f64::MAX;
    }
    // In two steps where a factor would be no normal number; only the second one may round.
    match exponent.clamp(-1200, 1200) {
        above @ 1001.. => fraction * normal(1000) * normal(above - 1000),
        below @ ..-1000 => fraction * normal(-1000) * normal(below + 1000),
        exponent => fraction * normal(exponent),
    }
}

impl<N> Counted<N> {
    /// The bounds of a positive bucket; a negative one has the same with the signs turned.
    pub(super) fn bounds_of(&self, index: i32) -> (f64, f64) {
        (self.bound(i64::from(index) - 1), self.bound(index.into()))
    }

    /// The upper bound of a positive bucket.
    pub(super) fn bound(&self, index: i64) -> f64 {
        if self.schema != schema::CUSTOM_BUCKETS {
            return exponential(self.schema, index);
        }
        match usize::try_from(index) {
            Ok(index) => self.custom.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        }
    }
}

/// The same custom bounds?
pub(super) fn same(a: &[f64], b: &[f64]) -> bool {
    std::ptr::eq(a, b) || a == b
}

/// Do custom bounds rise?
pub(super) fn rise(bounds: &[f64]) -> bool {
    bounds.is_sorted_by(|a, b| a < b)
}

/// The bounds that both have; both rise.
pub(super) fn common(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut b = b.iter().peekable();
    let both = a.iter().filter(|bound| {
        while b.next_if(|other| *other < *bound).is_some() {}
        b.next_if(|other| other == bound).is_some()
    });
    both.copied().collect()
}

/// Where the bucket at `index` between `bounds` lies between those of them that are `common`.
pub(super) fn index_within(common: &[f64], bounds: &[f64], index: i32) -> i32 {
    let bound = usize::try_from(index.max(0)).ok().and_then(|index| bounds.get(index));
    let within = match bound {
        Some(bound) => common.partition_point(|other| other < bound),
        None => common.len(),
    };
    i32::try_from(within).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_rounded_as_upstream_rounds_them() {
        assert_eq!(exponential(1, 1), 2.0 * 0.7071067811865475);
        assert_eq!(exponential(2, 3), 2.0 * 0.8408964152537144);
        assert_eq!(exponential(5, 30), 2.0 * 0.9576032806985735);
        assert_eq!(exponential(8, 1), 2.0 * 0.5013556375251013);
        assert_eq!(exponential(8, 255), 2.0 * 0.9972960560854698);
        assert_eq!(exponential(8, 169), 2.0 * 0.7901268813264122);
    }

    #[test]
    fn powers_of_two_are_exact_and_the_last_one_is_the_largest_number() {
        for (schema, index, want) in [
            (0, 0, 1.0),
            (0, -3, 0.125),
            (3, 16, 4.0),
            (-2, 1, 16.0),
            (-4, 64, f64::MAX),
            (-4, 65, f64::INFINITY),
            (0, 1023, f64::from_bits(0x7fe0_0000_0000_0000)),
            (0, 1024, f64::MAX),
            (0, 1025, f64::INFINITY),
            (8, 1024 * 256, f64::MAX),
            (8, 1024 * 256 + 1, f64::INFINITY),
            (0, -1022, f64::MIN_POSITIVE),
            (0, -1074, f64::from_bits(1)),
            (0, -1075, 0.0),
            (8, i64::from(i32::MIN) - 1, 0.0),
            (8, i64::from(i32::MAX), f64::INFINITY),
            (-9, i64::from(i32::MAX), f64::INFINITY),
            (i32::MIN, i64::from(i32::MIN) - 1, 0.0),
            (i32::MAX, 7, 1.0),
            (52, 1 << 52, 2.0),
        ] {
            assert_eq!(exponential(schema, index), want, "schema {schema}, index {index}");
        }
    }

    #[test]
    fn bounds_in_common_are_found_and_buckets_find_theirs() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 2.0, 4.0, 9.0]);
        let both = common(&a, &b);
        assert_eq!(both, [2.0, 4.0]);
        let places: Vec<i32> = (0..7).map(|i| index_within(&both, &a, i)).collect();
        assert_eq!(places, [0, 0, 1, 1, 2, 2, 2]);
        assert!(rise(&a) && !rise(&[1.0, 1.0]) && !rise(&[f64::NAN, 1.0]));
    }
}
