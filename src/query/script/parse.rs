//! From a script's lines to its commands.

use super::command::{
    Command, Eval, Expected, ExpectedSeries, Load, LoadSeries, ScriptError, Text,
};
use super::starts;
use super::values::values;
use crate::model::{Anchored, GoRegex, Labels, TimestampMs};
use crate::query::durations::parse_duration;
use crate::query::parser::{SeriesDescription, parse_series_description};
use crate::query::prepare::EvalRange;

/// The most values that one line may stand for.
pub(super) const VALUES_MAX: u64 = 1_000_000;

/// The commands of a script.
pub(super) fn commands(text: &str) -> Result<Vec<Command>, ScriptError> {
    let mut lines = Lines { lines: text.lines().map(meaning).enumerate().peekable() };
    let mut commands = Vec::new();
    while let Some((index, line)) = lines.lines.next() {
        if line.is_empty() {
            continue;
        }
        let here = |what: String| ScriptError { line: index + 1, what };
        let word = line.split_whitespace().next().unwrap_or_default().to_lowercase();
        commands.push(match word.as_str() {
            "clear" => Command::Clear,
            word if word.starts_with("load") => {
                Command::Load(load(line, &mut lines).map_err(here)?)
            }
            word if word.starts_with("eval") => {
                Command::Eval(Box::new(eval(index + 1, line, &mut lines).map_err(here)?))
            }
            _ => return Err(here(format!("{line:?} is neither clear, load nor eval"))),
        });
    }
    Ok(commands)
}

/// A line without what does not count: blanks around it, and all of it if it is a comment.
fn meaning(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') { "" } else { line }
}

struct Lines<'a, I: Iterator<Item = (usize, &'a str)>> {
    lines: std::iter::Peekable<I>,
}

impl<'a, I: Iterator<Item = (usize, &'a str)>> Lines<'a, I> {
    /// The next line of the block.
    fn next(&mut self) -> Option<&'a str> {
        self.lines.next_if(|(_, line)| !line.is_empty()).map(|(_, line)| line)
    }
}

fn load<'a>(
    line: &str,
    lines: &mut Lines<'a, impl Iterator<Item = (usize, &'a str)>>,
) -> Result<Load, String> {
    let (word, step) = line.split_once(char::is_whitespace).ok_or("load lacks its step")?;
    let with_native = match word {
        "load" => false,
        "load_with_nhcb" => true,
        _ => return Err(format!("there is no {word}")),
    };
    let step = duration(step)?;
    let mut series = Vec::new();
    while let Some(mut line) = lines.next() {
        // Start timestamps stand on a line of their own before the samples.
        let mut starts = Vec::new();
        let (first, offsets) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let of_starts = first.strip_suffix("@st");
        if of_starts.is_some() {
            starts = starts::offsets(offsets)?;
            line = lines.next().ok_or("a line of starts without a line of samples")?;
        }
        let described = describe(line)?;
        let values = values(&described.items)?;
        if let Some(metric) = of_starts {
            if describe(metric)?.labels != described.labels {
                return Err("a line of starts is not of the series on the next line".to_owned());
            }
            if starts.len() != values.len() {
                let (starts, samples) = (starts.len(), values.len());
                return Err(format!("{starts} starts for {samples} samples"));
            }
        }
        series.push(LoadSeries { labels: described.labels, values, starts });
    }
    Ok(Load { step, with_native, series })
}

/// A duration in milliseconds.
fn duration(text: &str) -> Result<i64, String> {
    let nanoseconds = parse_duration(text.trim()).map_err(|error| error.to_string())?;
    Ok(nanoseconds / 1_000_000)
}

fn describe(line: &str) -> Result<SeriesDescription, String> {
    let series = parse_series_description(line).map_err(|error| error.to_string())?;
    let values = series.items.iter().fold(0u64, |sum, item| sum.saturating_add(item.count()));
    if values > VALUES_MAX {
        return Err(format!(
            "the line stands for {values} values, at most {VALUES_MAX} are allowed"
        ));
    }
    Ok(series)
}

fn eval<'a>(
    line_number: usize,
    line: &str,
    lines: &mut Lines<'a, impl Iterator<Item = (usize, &'a str)>>,
) -> Result<Eval, String> {
    let (word, rest) = line.split_once(char::is_whitespace).ok_or("eval lacks its query")?;
    let (kind, rest) =
        rest.trim_start().split_once(char::is_whitespace).ok_or("eval lacks its query")?;
    let (range, query) = match kind {
        "instant" => instant(rest.trim_start())?,
        "range" => range(rest.trim_start())?,
        _ => return Err(format!("eval is instant or range, not {kind}")),
    };
    let mut eval = Eval {
        line: line_number,
        query: query.to_owned(),
        range,
        ordered: false,
        fails: None,
        warnings: Vec::new(),
        infos: Vec::new(),
        no_warnings: false,
        no_infos: false,
        answer: Expected::Series(Vec::new()),
    };
    match word {
        "eval" => {}
        "eval_ordered" => eval.ordered = true,
        "eval_fail" => eval.fails = Some(Text::Any),
        "eval_warn" => eval.warnings.push(Text::Any),
        "eval_info" => eval.infos.push(Text::Any),
        _ => return Err(format!("there is no {word}")),
    }
    expectations(&mut eval, lines)?;
    Ok(eval)
}

/// `at 5m query`
fn instant(rest: &str) -> Result<(EvalRange, &str), String> {
    let rest = rest.strip_prefix("at").ok_or("an instant query lacks its at")?;
    let (at, query) = word(rest)?;
    Ok((EvalRange::instant(TimestampMs(duration(at)?)), query))
}

/// `from 0 to 1h step 5m query`
fn range(rest: &str) -> Result<(EvalRange, &str), String> {
    let ((start, end, step), query) = from_to_step(rest)?;
    if query.is_empty() {
        return Err("eval lacks its query".to_owned());
    }
    Ok((EvalRange::range(TimestampMs(start), TimestampMs(end), step), query))
}

fn from_to_step(rest: &str) -> Result<((i64, i64, i64), &str), String> {
    let (start, rest) = word(rest.strip_prefix("from").ok_or("a range lacks its from")?)?;
    let (end, rest) = word(rest.strip_prefix("to").ok_or("a range lacks its to")?)?;
    let (step, rest) = word(rest.strip_prefix("step").ok_or("a range lacks its step")?)?;
    let (start, end, step) = (duration(start)?, duration(end)?, duration(step)?);
    if end < start {
        return Err("the range ends before it starts".to_owned());
    }
    Ok(((start, end, step), rest))
}

/// The first word and what comes behind it.
fn word(text: &str) -> Result<(&str, &str), String> {
    let text = text.trim_start();
    if text.is_empty() {
        return Err("the line ends where a duration should be".to_owned());
    }
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Ok((word, rest.trim_start()))
}

fn expectations<'a>(
    eval: &mut Eval,
    lines: &mut Lines<'a, impl Iterator<Item = (usize, &'a str)>>,
) -> Result<(), String> {
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            eval.fails = Some(Text::Exactly(text.trim().to_owned()));
        } else if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            eval.fails = Some(Text::Matching(pattern_of(pattern)?));
        } else if let Some(range) = line.strip_prefix("expect range vector") {
            let ((start, _, step), _) = from_to_step(range.trim_start())?;
            eval.answer = Expected::Ranges { start, step, series: Vec::new() };
        } else if let Some(text) = line.strip_prefix("expect string") {
            eval.answer = Expected::String(quoted_text(text.trim())?);
        } else if line == "expect" || line.starts_with("expect ") {
            expect(eval, line)?;
        } else if let Some(number) = number(line) {
            eval.answer = Expected::Scalar(number);
        } else {
            answer_line(eval, line)?;
        }
    }
    Ok(())
}

fn pattern_of(pattern: &str) -> Result<GoRegex, String> {
    GoRegex::new(pattern.trim(), Anchored::No).map_err(|error| error.to_string())
}

/// `expect warn msg: text`
fn expect(eval: &mut Eval, line: &str) -> Result<(), String> {
    let mut words = line.splitn(3, char::is_whitespace).skip(1);
    let kind = words.next().unwrap_or_default();
    let rest = words.next().unwrap_or_default().trim();
    let text = if rest.is_empty() {
        Text::Any
    } else if let Some(text) = rest.strip_prefix("msg:") {
        Text::Exactly(text.trim().to_owned())
    } else if let Some(pattern) = rest.strip_prefix("regex:") {
        Text::Matching(pattern_of(pattern)?)
    } else {
        return Err(format!("expect is followed by msg: or regex:, not by {rest:?}"));
    };
    match kind {
        "ordered" => eval.ordered = true,
        "fail" if eval.fails.is_some() => return Err("a query fails only once".to_owned()),
        "fail" => eval.fails = Some(text),
        "warn" => eval.warnings.push(text),
        "info" => eval.infos.push(text),
        "no_warn" => eval.no_warnings = true,
        "no_info" => eval.no_infos = true,
        _ => return Err(format!("{kind:?} cannot be expected")),
    }
    Ok(())
}

/// The text of a string literal of the query language.
fn quoted_text(literal: &str) -> Result<Vec<u8>, String> {
    use crate::query::ast::ExprKind;
    use crate::query::parser::{ParseOptions, parse_expr};
    match parse_expr(literal, &ParseOptions::ALL).map(|expr| expr.kind) {
        Ok(ExprKind::String(text)) => Ok(text.value),
        _ => Err(format!("{literal} is no quoted text")),
    }
}

/// A number on a line of its own: an integer in any of Go's bases, or a float.
fn number(line: &str) -> Option<f64> {
    let (negative, digits) = match line.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, line.strip_prefix('+').unwrap_or(line)),
    };
    let based = [("0x", 16), ("0X", 16), ("0b", 2), ("0o", 8)].into_iter();
    for (prefix, base) in based {
        if let Some(digits) = digits.strip_prefix(prefix) {
            let magnitude = i64::from_str_radix(digits, base).ok()? as f64;
            return Some(if negative { -magnitude } else { magnitude });
        }
    }
    line.parse().ok()
}

fn answer_line(eval: &mut Eval, line: &str) -> Result<(), String> {
    let described = describe(line)?;
    let series = ExpectedSeries { values: values(&described.items)?, labels: described.labels };
    let steps = series.values.len();
    match &mut eval.answer {
        Expected::Ranges { series: expected, .. } => expected.push(series),
        Expected::Series(_) if steps > 1 && eval.range.is_instant() => {
            return Err("an instant query has one value a series".to_owned());
        }
        Expected::Series(expected) => replace_or_push(expected, series),
        Expected::Scalar(_) | Expected::String(_) => {
            return Err("the answer is a single value already".to_owned());
        }
    }
    Ok(())
}

/// The last line about a series is the one that counts.
fn replace_or_push(expected: &mut Vec<ExpectedSeries>, series: ExpectedSeries) {
    let same = |labels: &Labels| *labels == series.labels;
    match expected.iter_mut().find(|have| same(&have.labels)) {
        Some(have) => *have = series,
        None => expected.push(series),
    }
}
