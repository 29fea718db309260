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

impl Line {
    /// Times are taken relative to a near one, so that their squares stay exact.
    pub(super) fn origin(&self, window: &Window<'_>) -> i64 {
        match self {
            Self::Slope => window.first().0,
            Self::Ahead(_) => window.eval(),
        }
    }

    /// What is read off the line through a window's samples.
    pub(super) fn read_off(&self, sums: &LineSums, window: &Window<'_>) -> f64 {
        let (slope, intercept) = sums.line();
        match self {
            Self::Slope => slope,
            Self::Ahead(seconds) => slope * seconds.at(window.step) + intercept,
        }
    }
}

impl Kernel for Line {
    const SCANS: bool = true;

    fn value(&mut self, window: &Window<'_>) -> f64 {
        if window.len() < 2 {
            return ABSENT;
        }
        let mut sums = LineSums::new(self.origin(window), window.first().1);
        sums.add(window.times(), window.values());
        self.read_off(&sums, window)
    }
}

/// The sums that a line goes by.
pub(super) struct LineSums {
    origin: i64,
    first: f64,
    n: f64,
    constant: bool,
    x: Kahan,
    y: Kahan,
    xy: Kahan,
    xx: Kahan,
}

impl LineSums {
    /// Of no samples yet; the first one will have the value `first`.
    pub(super) fn new(origin: i64, first: f64) -> Self {
        let zero = Kahan::ZERO;
        Self { origin, first, n: 0.0, constant: true, x: zero, y: zero, xy: zero, xx: zero }
    }

    pub(super) fn add(&mut self, ts: &[i64], vs: &[f64]) {
        let Self { origin, first, mut n, mut constant, x: mut sum_x, .. } = *self;
        let Self { y: mut sum_y, xy: mut sum_xy, xx: mut sum_xx, .. } = *self;
        for (t, y) in ts.iter().zip(vs) {
            constant &= n == 0.0 || *y == first;
            n += 1.0;
            let x = t.saturating_sub(origin) as f64 / 1000.0;
            sum_x = sum_x.plus(x);
            sum_y = sum_y.plus(*y);
            sum_xy = sum_xy.plus(x * y);
            sum_xx = sum_xx.plus(x * x);
        }
        *self = Self { n, constant, x: sum_x, y: sum_y, xy: sum_xy, xx: sum_xx, ..*self };
    }

    /// Slope and the value at the origin of the line through the samples.
    fn line(&self) -> (f64, f64) {
        let Self { first, n, .. } = *self;
        if self.constant {
            return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
        }
        let (x, y) = (self.x.total(), self.y.total());
        let covariance = self.xy.total() - x * y / n;
        let variance = self.xx.total() - x * x / n;
        let slope = covariance / variance;
        (slope, y / n - slope * x / n)
    }
}
