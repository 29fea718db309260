//! What the parameters of a query mean: times, durations, limits; with Prometheus's texts for what they cannot mean.
//!
//! Source: `web/api/v1/api.go` (`parseTime`, `parseDuration`, `parseLimitParam`, `queryRange`, `snapshot`), Prometheus 3.14.

use std::time::Duration;

use super::form::Form;
use super::rfc3339;
use crate::model::{TimeRange, TimestampMs};
use crate::query::durations::parse_duration;
use crate::query::quote::quoted;

/// A range query has at most this many steps after its first.
const STEPS_MAX: i128 = 11_000;

/// The texts by which clients spell "from the beginning" and "to the end" of time: Go cannot print later years.
const BEGINNING_OF_TIME: &str = "-292273086-05-16T16:47:06Z";
const END_OF_TIME: &str = "292277025-08-18T07:12:54.999999999Z";

/// A parameter that cannot mean anything: the answer is 400 with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// A certain parameter is wrong.
    #[error("invalid parameter \"{name}\": {why}")]
    Invalid {
        /// Which.
        name: &'static str,
        /// Why.
        why: String,
    },
    /// The request as a whole is wrong.
    #[error("{0}")]
    Request(String),
}

impl ParamError {
    /// The parameter `name` is wrong, and why.
    pub fn invalid(name: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { name, why: why.into() }
    }
}

/// The instants at which a range query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The first.
    pub start: TimestampMs,
    /// None is later; not before `start`.
    pub end: TimestampMs,
    /// From one to the next, in milliseconds; above zero.
    pub step_ms: i64,
}

/// `start`, `end` and `step` of a range query.
///
/// # Errors
/// A parameter that is missing or wrong, or more than 11,000 steps.
pub fn grid(form: &Form) -> Result<Grid, ParamError> {
    let time = |name| parse_time(form.get(name)).map_err(|why| ParamError::invalid(name, why));
    let (start, end) = (time("start")?, time("end")?);
    if end < start {
        return Err(ParamError::invalid("end", "end timestamp must not be before start time"));
    }
    let step_ns =
        parse_duration_ns(form.get("step")).map_err(|why| ParamError::invalid("step", why))?;
    let step_ms = step_ns / 1_000_000;
    if step_ms <= 0 {
        return Err(ParamError::invalid(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    let span_ns = (i128::from(end.0) - i128::from(start.0)) * 1_000_000;
    if span_ns / i128::from(step_ns) > STEPS_MAX {
        return Err(ParamError::Request(
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)"
                .to_owned(),
        ));
    }
    Ok(Grid { start, end, step_ms })
}

/// The instant `name`, or `default` if it is not given.
///
/// # Errors
/// A text that is neither Unix seconds nor an RFC 3339 instant.
pub fn time(
    form: &Form,
    name: &'static str,
    default: TimestampMs,
) -> Result<TimestampMs, ParamError> {
    match form.get(name) {
        "" => Ok(default),
        text => parse_time(text).map_err(|why| {
            ParamError::invalid(name, format!("invalid time value for '{name}': {why}"))
        }),
    }
}

/// The range from `start` to `end`, by default all of time; `None` if it is empty.
///
/// # Errors
/// A text that is no instant.
pub fn range(form: &Form) -> Result<Option<TimeRange>, ParamError> {
    let (start, end) =
        (time(form, "start", TimestampMs::MIN)?, time(form, "end", TimestampMs::MAX)?);
    Ok(TimeRange::new(start, end))
}

/// The duration `timeout`, if it is given; a negative one is zero.
///
/// # Errors
/// A text that is no duration.
pub fn timeout(form: &Form) -> Result<Option<Duration>, ParamError> {
    match form.get("timeout") {
        "" => Ok(None),
        text => parse_duration_ns(text)
            .map(|ns| Some(Duration::from_nanos(u64::try_from(ns).unwrap_or(0))))
            .map_err(|why| ParamError::invalid("timeout", why)),
    }
}

/// The duration `lookback_delta` in milliseconds, if it is given and above zero.
///
/// # Errors
/// A text that is no duration.
pub fn lookback_delta_ms(form: &Form) -> Result<Option<i64>, ParamError> {
    match form.get("lookback_delta") {
        "" => Ok(None),
        text => {
            parse_duration_ns(text).map(|ns| Some(ns / 1_000_000).filter(|ms| *ms > 0)).map_err(
                |why| ParamError::Request(format!("error parsing lookback delta duration: {why}")),
            )
        }
    }
}

/// How many results at most; `None` if it is not given or zero.
///
/// # Errors
/// A text that is no whole number, or a negative one.
pub fn limit(form: &Form) -> Result<Option<usize>, ParamError> {
    let text = form.get("limit");
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |why: String| ParamError::invalid("limit", why);
    let limit = parse_whole(text).map_err(wrong)?;
    match usize::try_from(limit) {
        Ok(limit) => Ok((limit > 0).then_some(limit)),
        Err(_) => Err(wrong("limit must be non-negative".to_owned())),
    }
}

/// Is the parameter `name` true? If it is not given, it is not.
///
/// # Errors
/// A text that Go's `strconv.ParseBool` takes for neither.
pub fn truth(form: &Form, name: &'static str) -> Result<bool, ParamError> {
    parse_truth(form.get(name))
        .map_err(|why| ParamError::invalid(name, format!("unable to parse boolean: {why}")))
}

/// Is `text` true? An empty one is not. As Go's `strconv.ParseBool`, whose texts clients see.
///
/// # Errors
/// A text that is neither.
pub fn parse_truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        text => {
            let text = quoted(text.as_bytes());
            Err(format!("strconv.ParseBool: parsing {text}: invalid syntax"))
        }
    }
}

/// The whole number of 32 bits that a text is; as Go's `strconv.ParseInt`.
///
/// # Errors
/// A text that is none, or one of more bits.
pub fn parse_int32(text: &str) -> Result<i32, String> {
    whole(text, "ParseInt")
}

/// What `stats` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stats {
    /// No statistics.
    None,
    /// Statistics; by any text, but with a warning unless it is `true` or `all`.
    Asked {
        /// Of each step, too?
        each_step: bool,
        /// The text is to be refused by some later version of Prometheus.
        deprecated: bool,
    },
}

/// What `stats` asks for.
#[must_use]
pub fn stats(form: &Form) -> Stats {
    match form.get("stats") {
        "" => Stats::None,
        text => {
            Stats::Asked { each_step: text == "all", deprecated: !matches!(text, "true" | "all") }
        }
    }
}

/// The whole number that a text is; as Go's `strconv.Atoi`, whose texts clients see.
fn parse_whole(text: &str) -> Result<i64, String> {
    whole(text, "Atoi")
}

fn whole<T: std::str::FromStr>(text: &str, function: &str) -> Result<T, String> {
    let fail =
        |what| Err(format!("strconv.{function}: parsing {}: {what}", quoted(text.as_bytes())));
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return fail("invalid syntax");
    }
    text.parse().or_else(|_| fail("value out of range"))
}

/// An instant: seconds since 1970 (rounded to milliseconds) or RFC 3339.
pub fn parse_time(text: &str) -> Result<TimestampMs, String> {
    if let Some(seconds) = parse_float(text) {
        return Ok(TimestampMs(milliseconds(seconds)));
    }
    match text {
        BEGINNING_OF_TIME => Some(TimestampMs::MIN),
        END_OF_TIME => Some(TimestampMs::MAX),
        text => rfc3339::parse(text),
    }
    .ok_or_else(|| format!("cannot parse {} to a valid timestamp", quoted(text.as_bytes())))
}

/// Whole seconds and the rounded rest apart, so that a large number of seconds does not cost the milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "a float cast stops at the ends of i64")]
fn milliseconds(seconds: f64) -> i64 {
    let fraction_ms = (seconds.fract() * 1000.0).round() as i64;
    (seconds.trunc() as i64).saturating_mul(1000).saturating_add(fraction_ms)
}

/// A duration in nanoseconds: seconds as a number, or Prometheus's `5m`.
#[expect(clippy::cast_possible_truncation, reason = "out of range was refused, a fraction is cut")]
fn parse_duration_ns(text: &str) -> Result<i64, String> {
    let quoted = || quoted(text.as_bytes());
    if let Some(seconds) = parse_float(text) {
        let ns = seconds * 1e9;
        if ns.abs() > i64::MAX as f64 {
            return Err(format!(
                "cannot parse {} to a valid duration. It overflows int64",
                quoted()
            ));
        }
        return Ok(ns as i64);
    }
    parse_duration(text).map_err(|_| format!("cannot parse {} to a valid duration", quoted()))
}

/// A number that is one: neither NaN, nor infinite, nor too large to be told from infinite.
fn parse_float(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(query: &str) -> Form {
        Form::new(b"", query)
    }

    fn grid_error(query: &str) -> String {
        grid(&form(query)).unwrap_err().to_string()
    }

    #[test]
    fn times_are_seconds_or_rfc3339() {
        let ms = |text: &str| parse_time(text).map(|t| t.0);
        assert_eq!(ms("1435781451.781"), Ok(1_435_781_451_781));
        assert_eq!(ms("1435781451.7815"), Ok(1_435_781_451_782));
        assert_eq!(ms("-1.5"), Ok(-1500));
        assert_eq!(ms("1e3"), Ok(1_000_000));
        assert_eq!(ms("1700000000000"), Ok(1_700_000_000_000_000)); // milliseconds, as Grafana's probe sends
        assert_eq!(ms("2015-06-03T13:21:58.555Z"), Ok(1_433_337_718_555));
        assert_eq!(ms(BEGINNING_OF_TIME), Ok(i64::MIN));
        assert_eq!(ms(END_OF_TIME), Ok(i64::MAX));
        assert_eq!(ms("1e300"), Ok(i64::MAX));
        for text in ["", "foo", "30s", "NaN", "Inf", "1e400", "2015-06-03T13:21:58"] {
            assert_eq!(
                ms(text),
                Err(format!("cannot parse \"{text}\" to a valid timestamp")),
                "{text}"
            );
        }
    }

    #[test]
    fn an_instant_that_is_not_one_names_its_parameter() {
        assert_eq!(
            time(&form("time=foo"), "time", TimestampMs(0)).unwrap_err().to_string(),
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"foo\" to a valid timestamp"
        );
        assert_eq!(time(&form(""), "time", TimestampMs(7)), Ok(TimestampMs(7)));
    }

    #[test]
    fn a_range_query_has_a_grid() {
        assert_eq!(
            grid(&form("start=1&end=2.5&step=500ms")),
            Ok(Grid { start: TimestampMs(1000), end: TimestampMs(2500), step_ms: 500 })
        );
        assert_eq!(grid(&form("start=0&end=11000&step=1")).map(|g| g.step_ms), Ok(1000));
    }

    #[test]
    fn a_grid_that_cannot_be_is_refused_in_prometheus_words() {
        assert_eq!(
            grid_error("end=2&step=1"),
            "invalid parameter \"start\": cannot parse \"\" to a valid timestamp"
        );
        assert_eq!(
            grid_error("start=2&end=1&step=1"),
            "invalid parameter \"end\": end timestamp must not be before start time"
        );
        for step in ["0", "-1", "0.0001"] {
            assert_eq!(
                grid_error(&format!("start=1&end=2&step={step}")),
                "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"
            );
        }
        assert_eq!(
            grid_error("start=0&end=148966367200.372&step=1"),
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
        );
        assert_eq!(
            grid_error("start=0&end=1&step=9223372036854775808"),
            "invalid parameter \"step\": cannot parse \"9223372036854775808\" to a valid duration. It overflows int64"
        );
        assert_eq!(
            grid_error("start=0&end=1&step=soon"),
            "invalid parameter \"step\": cannot parse \"soon\" to a valid duration"
        );
    }

    #[test]
    fn all_of_time_is_too_long_for_any_grid_and_does_not_overflow() {
        let all = format!("start={BEGINNING_OF_TIME}&end={END_OF_TIME}&step=290y");
        assert!(grid_error(&all).starts_with("exceeded maximum resolution"));
    }

    #[test]
    fn a_limit_is_a_whole_number_and_zero_is_none() {
        assert_eq!(limit(&form("")), Ok(None));
        assert_eq!(limit(&form("limit=0")), Ok(None));
        assert_eq!(limit(&form("limit=%2B7")), Ok(Some(7)));
        let text = |query: &str| limit(&form(query)).unwrap_err().to_string();
        assert_eq!(text("limit=-1"), "invalid parameter \"limit\": limit must be non-negative");
        assert_eq!(
            text("limit=ten"),
            "invalid parameter \"limit\": strconv.Atoi: parsing \"ten\": invalid syntax"
        );
        assert_eq!(
            text("limit=9223372036854775808"),
            "invalid parameter \"limit\": strconv.Atoi: parsing \"9223372036854775808\": value out of range"
        );
    }

    #[test]
    fn durations_are_seconds_or_prometheus_durations() {
        assert_eq!(timeout(&form("timeout=1.5")), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(timeout(&form("timeout=-1")), Ok(Some(Duration::ZERO)));
        assert_eq!(timeout(&form("timeout=2m")), Ok(Some(Duration::from_secs(120))));
        assert_eq!(timeout(&form("")), Ok(None));
        assert_eq!(lookback_delta_ms(&form("lookback_delta=1m")), Ok(Some(60_000)));
        assert_eq!(lookback_delta_ms(&form("lookback_delta=0")), Ok(None));
        assert_eq!(
            lookback_delta_ms(&form("lookback_delta=x")).unwrap_err().to_string(),
            "error parsing lookback delta duration: cannot parse \"x\" to a valid duration"
        );
    }

    #[test]
    fn truth_is_spelled_as_go_does() {
        let skip = |query: &str| truth(&form(query), "skip_head").map_err(|e| e.to_string());
        assert_eq!((skip("skip_head=1"), skip("skip_head=True")), (Ok(true), Ok(true)));
        assert_eq!((skip(""), skip("skip_head=f")), (Ok(false), Ok(false)));
        let error = "invalid parameter \"skip_head\": unable to parse boolean: strconv.ParseBool: parsing \"tRUE\": invalid syntax";
        assert_eq!(skip("skip_head=tRUE"), Err(error.to_owned()));
    }

    #[test]
    fn any_text_asks_for_statistics_but_only_two_are_not_deprecated() {
        assert_eq!(stats(&form("")), Stats::None);
        assert_eq!(stats(&form("stats=all")), Stats::Asked { each_step: true, deprecated: false });
        assert_eq!(stats(&form("stats=1")), Stats::Asked { each_step: false, deprecated: true });
    }
}
