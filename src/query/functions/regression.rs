//! `deriv` and `predict_linear`: a least-squares line through a window's samples.
//!
//! Source: `promql/functions.go`, `linearRegression`.

use crate::query::kahan::Kahan;
use crate::query::leaf::Param;
use crate::query::value::ABSENT;
use crate::query::window::{Kernel, Window};

/// What is read off the line.
#[derive(Debug)]
pub(in crate::query) enum Line {
    /// `deriv`: its slope.
    Slope,
    /// `predict_linear`: its value so many seconds after the step's instant.
    Ahead(Param),
}

impl Kernel for Line {
    const SCANS: bool = true;

    fn value(&mut self, window: &Window<'_>) -> f64 {
        if window.len() < 2 {
            return ABSENT;
        }
        match self {
            // Times are taken relative to a near one, so that their squares stay exact.
            Self::Slope => line(window, window.first().0).0,
            Self::Ahead(seconds) => {
                let (slope, intercept) = line(window, window.eval());
                slope * seconds.at(window.step) + intercept
            }
        }
    }
}

/// Slope and the value at `origin` of the line through the window's samples.
fn line(window: &Window<'_>, origin: i64) -> (f64, f64) {
    let (mut n, mut constant) = (0.0, true);
    let [mut sum_x, mut sum_y, mut sum_xy, mut sum_xx] = [Kahan::ZERO; 4];
    let first = window.first().1;
    for (t, y) in window.times().iter().zip(window.values()) {
        constant &= n == 0.0 || *y == first;
        n += 1.0;
        let x = t.saturating_sub(origin) as f64 / 1000.0;
        sum_x = sum_x.plus(x);
        sum_y = sum_y.plus(*y);
        sum_xy = sum_xy.plus(x * y);
        sum_xx = sum_xx.plus(x * x);
    }
    if constant {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (x, y) = (sum_x.total(), sum_y.total());
    let covariance = sum_xy.total() - x * y / n;
    let variance = sum_xx.total() - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}
