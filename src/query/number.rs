//! Numbers as Go prints them, where a text of Prometheus's contains one.

/// `v` as Go's `%g` prints it: as short as it can be read back, with an exponent below 1e-4 and from 1e6 on.
#[must_use]
pub(super) fn format_g(v: f64) -> String {
    if let Some(special) = special(v) {
        return special.to_owned();
    }
    // Rust's shortest digits are Go's; only where the exponent form begins differs.
    let scientific = format!("{v:e}");
    let (digits, exponent) = split_exponent(&scientific);
    if (-4..6).contains(&exponent) { format!("{v}") } else { with_exponent(digits, exponent) }
}

/// `v` as Go's `%.<digits>g` prints it: rounded to that many significant digits, zeros at the end dropped.
#[must_use]
pub(super) fn format_g_digits(v: f64, digits: usize) -> String {
    if let Some(special) = special(v) {
        return special.to_owned();
    }
    let scientific = format!("{v:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = split_exponent(&scientific);
    let fits = i32::try_from(digits).is_ok_and(|digits| (-4..digits).contains(&exponent));
    if fits {
        let decimals = i32::try_from(digits).unwrap_or(i32::MAX) - 1 - exponent;
        let plain = format!("{v:.*}", usize::try_from(decimals).unwrap_or(0));
        return without_zeros(&plain).to_owned();
    }
    with_exponent(without_zeros(mantissa), exponent)
}

/// `v` as Go's `strconv.FormatFloat(v, 'f', -1, 64)` prints it: never with an exponent.
#[must_use]
pub(super) fn format_f(v: f64) -> String {
    special(v).map_or_else(|| format!("{v}"), str::to_owned)
}

/// `v` as OpenMetrics spells it: as `%g`, but always recognisable as a float. Source: `labels.FormatOpenMetricsFloat`.
#[must_use]
pub(super) fn format_open_metrics(v: f64) -> String {
    let mut text = if v == 0.0 { "0".to_owned() } else { format_g(v) };
    if v.is_finite() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    text
}

fn special(v: f64) -> Option<&'static str> {
    if v.is_nan() {
        Some("NaN")
    } else if v.is_infinite() {
        Some(if v > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        None
    }
}

fn split_exponent(scientific: &str) -> (&str, i32) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    (mantissa, exponent.parse().unwrap_or(0))
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_numbers_have_an_exponent_of_two_digits() {
        assert_eq!(format_g(1e-5), "1e-05");
        assert_eq!(format_g(1.5e300), "1.5e+300");
        assert_eq!(format_g(1_234_567.0), "1.234567e+06");
        assert_eq!(format_g(123_456.5), "123456.5");
        assert_eq!(format_g(0.0001), "0.0001");
        assert_eq!(format_g(-0.0), "-0");
        assert_eq!(format_g(f64::NEG_INFINITY), "-Inf");
    }

    #[test]
    fn significant_digits_round_and_lose_their_zeros() {
        assert_eq!(format_g_digits(2.345, 2), "2.3");
        assert_eq!(format_g_digits(2.0, 2), "2");
        assert_eq!(format_g_digits(250.0, 2), "2.5e+02");
        assert_eq!(format_g_digits(99.6, 2), "1e+02");
        assert_eq!(format_g_digits(0.000_012, 2), "1.2e-05");
    }

    #[test]
    fn a_quantile_label_looks_like_a_float() {
        assert_eq!([1.0, 0.0, -0.0, 0.99].map(format_open_metrics), ["1.0", "0.0", "0.0", "0.99"]);
        assert_eq!(format_open_metrics(f64::NAN), "NaN");
    }

    #[test]
    fn a_count_values_label_never_has_an_exponent() {
        assert_eq!(format_f(1e21), "1000000000000000000000");
        assert_eq!(format_f(1e-7), "0.0000001");
        assert_eq!(format_f(f64::INFINITY), "+Inf");
    }
}
