//! Functions from one number to another.

use std::f64::consts::PI;

/// The function called `name`; `None` if there is none.
pub(in crate::query) fn named(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => |v| v * PI / 180.0,
        "deg" => |v| v * 180.0 / PI,
        "sgn" => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        _ => return None,
    })
}

/// `v` rounded to a multiple of `1 / inverse`, halves upwards. The inverse loses less than dividing would.
pub(in crate::query) fn round(v: f64, inverse: f64) -> f64 {
    (v * inverse + 0.5).floor() / inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_upwards() {
        assert_eq!((round(2.5, 1.0), round(-2.5, 1.0)), (3.0, -2.0));
        assert_eq!(round(0.26, 1.0 / 0.1), 0.3);
        assert!(round(1.0, f64::INFINITY).is_nan());
    }

    #[test]
    fn the_sign_of_zero_and_nan_is_what_it_was() {
        let sgn = named("sgn").unwrap();
        assert!(sgn(f64::NAN).is_nan() && sgn(-0.0).is_sign_negative());
        assert_eq!((sgn(-3.0), sgn(f64::INFINITY)), (-1.0, 1.0));
    }
}
