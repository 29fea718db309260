//! Whichever kernel computes a query's windows, and which one that is for a function.

use super::functions::over_time::{Ends, Extreme, Scan};
use super::functions::rate::{Extrapolated, LastStep, Turns};
use super::functions::regression::Line;
use super::functions::sliding_sum::SlidingSum;
use super::leaf::{RangeFunction, Shape};
use super::window::{Newest, NewestTime};

/// One of the kernels, so that they are told apart once for thousands of samples.
#[derive(Debug)]
pub(super) enum AnyKernel {
    Newest(Newest),
    NewestTime(NewestTime),
    Extrapolated(Extrapolated),
    LastStep(LastStep),
    Turns(Turns),
    SlidingSum(SlidingSum),
    Extreme(Extreme),
    Ends(Ends),
    Line(Line),
    Scan(Scan),
}

/// Runs `$body` with `$kernel` bound to whichever kernel it is.
macro_rules! with_kernel {
    ($any:expr, $kernel:ident => $body:expr) => {
        match $any {
            AnyKernel::Newest($kernel) => $body,
            AnyKernel::NewestTime($kernel) => $body,
            AnyKernel::Extrapolated($kernel) => $body,
            AnyKernel::LastStep($kernel) => $body,
            AnyKernel::Turns($kernel) => $body,
            AnyKernel::SlidingSum($kernel) => $body,
            AnyKernel::Extreme($kernel) => $body,
            AnyKernel::Ends($kernel) => $body,
            AnyKernel::Line($kernel) => $body,
            AnyKernel::Scan($kernel) => $body,
        }
    };
}
pub(super) use with_kernel;

impl AnyKernel {
    pub(super) fn of(function: &RangeFunction, shape: &Shape) -> Self {
        match function {
            RangeFunction::Rate => Self::Extrapolated(Extrapolated::rate(shape.length)),
            RangeFunction::Increase => Self::Extrapolated(Extrapolated::increase()),
            RangeFunction::Delta => Self::Extrapolated(Extrapolated::delta()),
            RangeFunction::Irate => Self::LastStep(LastStep { rate: true }),
            RangeFunction::Idelta => Self::LastStep(LastStep { rate: false }),
            RangeFunction::Deriv => Self::Line(Line::Slope),
            RangeFunction::PredictLinear(seconds) => Self::Line(Line::Ahead(seconds.clone())),
            RangeFunction::Changes => Self::Turns(Turns::changes()),
            RangeFunction::Resets => Self::Turns(Turns::resets()),
            RangeFunction::Avg => Self::SlidingSum(SlidingSum::mean()),
            RangeFunction::Sum => Self::SlidingSum(SlidingSum::sum()),
            RangeFunction::Count => Self::Ends(Ends::Count),
            RangeFunction::Min => Self::Extreme(Extreme::smallest()),
            RangeFunction::Max => Self::Extreme(Extreme::largest()),
            RangeFunction::Stddev => Self::Scan(Scan::Stddev),
            RangeFunction::Stdvar => Self::Scan(Scan::Stdvar),
            RangeFunction::Quantile(q) => {
                Self::Scan(Scan::Quantile(q.clone(), Vec::new(), Vec::new()))
            }
            RangeFunction::Mad => Self::Scan(Scan::Mad(Vec::new())),
            RangeFunction::First => Self::Ends(Ends::First),
            RangeFunction::Last => Self::Ends(Ends::Last),
            RangeFunction::Present => Self::Ends(Ends::Present),
            RangeFunction::TimeOfFirst => Self::Ends(Ends::TimeOfFirst),
            RangeFunction::TimeOfLast => Self::Ends(Ends::TimeOfLast),
            RangeFunction::TimeOfMin => Self::Scan(Scan::TimeOfMin),
            RangeFunction::TimeOfMax => Self::Scan(Scan::TimeOfMax),
            RangeFunction::Smoothing(level, trend) => {
                Self::Scan(Scan::Smoothing(level.clone(), trend.clone(), None))
            }
        }
    }
}
