//! Texts: the configuration file, PromQL, patterns, and the parameters of requests.

use std::time::Duration;

use floodplain::model::matcher::MatchOp;
use floodplain::model::{Anchored, GoRegex, Matcher, TimestampMs};
use floodplain::query::ast::Expr;
use floodplain::query::durations::{format_duration_ms, parse_duration};
use floodplain::query::parser::{
    ParseOptions, parse_expr, parse_expr_bytes, parse_metric_selector,
};
use floodplain::query::{EvalRange, Options, prepare};
use floodplain::server::byte_size::ByteSize;
use floodplain::server::cli::{self, Command};
use floodplain::server::config::{InForce, Loaded, print, read};
use floodplain::server::form::{self, Form};
use floodplain::server::{label_name, params, rfc3339, series};

/// A configuration file: faults lie within it; and what is printed of what holds loads again and means the same.
pub fn config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let variable = |name: &str| format!("value of {name}");
    let loaded = match read::read(text, &variable) {
        Ok(loaded) => loaded,
        Err(faults) => {
            assert!(!faults.is_empty());
            let lines = text.split('\n').flat_map(|line| line.split('\r')).count();
            for fault in faults {
                let fits = (1..=lines + 1).contains(&fault.place.line);
                assert!(fits && fault.place.column >= 1, "{fault:?} of {lines} lines");
            }
            return;
        }
    };
    let Loaded { config, .. } = loaded;
    assert!(config.external_labels().iter().all(|label| !label.name.is_empty()));
    let Ok(invocation) = cli::parse([std::ffi::OsString::from("floodplain")]) else { return };
    let Command::Serve(flags) = invocation.command else { return };
    let held = InForce::at_start(&flags, config, TimestampMs(1_700_000_000_000));
    let printed = print::print(&held);
    // Dollar signs are printed as they are, and mean variables when they are read.
    if printed.contains('$') {
        return;
    }
    let again = match read::read(&printed, &variable) {
        Ok(again) => again,
        Err(faults) => panic!("what was printed is wrong: {faults:?}\n{printed}"),
    };
    let again = InForce::at_start(&flags, again.config, TimestampMs(1_700_000_000_000));
    assert_eq!(again.config.external_labels, held.config.external_labels, "{printed}");
    assert_eq!(print::print(&again), printed);
}

/// The tree without places, as text: two trees with the same text mean the same.
fn shape(expr: &Expr) -> String {
    let debug = format!("{expr:?}");
    let mut parts = debug.split("TextRange {");
    let mut shape = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shape.push_str(part.split_once('}').map_or("", |(_, rest)| rest));
    }
    shape
}

/// A query: faults lie within it; what is printed reads back as the same tree, and can be planned or is refused. Also as a
/// selector.
pub fn promql(bytes: &[u8]) {
    match parse_expr_bytes(bytes, &ParseOptions::ALL) {
        Ok(expr) => {
            // Printing sorts matchers, so the first tree may differ from the second; the third must not.
            let text = expr.to_text();
            let again = match parse_expr(&text, &ParseOptions::ALL) {
                Ok(again) => again,
                Err(error) => panic!("{text:?}: {error}"),
            };
            assert_eq!(again.to_text(), text);
            let third = parse_expr(&again.to_text(), &ParseOptions::ALL).unwrap();
            assert_eq!(shape(&third), shape(&again), "{text:?}");
        }
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                let (start, end) = (error.span.start as usize, error.span.end as usize);
                assert!(start <= bytes.len() && end <= bytes.len(), "{error:?}");
            }
            let _ = errors.to_string();
        }
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    let options = Options { parse: ParseOptions::ALL, ..Options::default() };
    let at = TimestampMs(1_700_000_000_000);
    for range in [EvalRange::instant(at), EvalRange::range(at, TimestampMs(at.0 + 60_000), 15_000)]
    {
        let _ = prepare(text, range, &options);
    }
    if let Ok(matchers) = parse_metric_selector(text) {
        assert!(matchers.iter().all(|matcher| matcher.matches("") == matcher.matches_empty()));
    }
}

/// A pattern, and behind a zero byte a text: what a matcher does without an automaton is what the automaton does, and what
/// it says of the values that match is true.
pub fn matcher(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (pattern, value) = text.split_once('\0').unwrap_or((text, ""));
    let matcher = Matcher::new("a", MatchOp::Regex, pattern);
    let regex = GoRegex::new(pattern, Anchored::Yes);
    // An automaton may be too large where none is needed.
    assert!(matcher.is_ok() || regex.is_err(), "{pattern:?}");
    let Ok(matcher) = matcher else {
        assert!(Matcher::new("a", MatchOp::NotRegex, pattern).is_err());
        return;
    };
    let not = Matcher::new("a", MatchOp::NotRegex, pattern).unwrap();
    for value in [value, "", "a", "\n", "é"] {
        let matches = matcher.matches(value);
        assert_eq!(not.matches(value), !matches, "{pattern:?} {value:?}");
        assert_eq!(matcher.unshared().matches(value), matches);
        if let Ok(regex) = &regex {
            assert_eq!(regex.is_match(value), matches, "{pattern:?} {value:?}");
        }
        if let Some(texts) = matcher.set_matches() {
            let is_listed = texts.binary_search_by(|text| text.as_str().cmp(value)).is_ok();
            assert_eq!(is_listed, matches, "{pattern:?} {value:?}");
        }
        if let Some(prefix) = matcher.prefix().filter(|_| matches) {
            assert!(value.starts_with(prefix), "{pattern:?} {value:?}");
        }
    }
    for text in matcher.set_matches().unwrap_or_default() {
        assert!(matcher.matches(text) && regex.as_ref().map_or(true, |regex| regex.is_match(text)));
    }
    if let Ok(regex) = GoRegex::new(pattern, Anchored::No)
        && let Some(captures) = regex.captures(value)
    {
        let mut expanded = String::new();
        captures.expand(pattern, &mut expanded);
        assert!(value.contains(captures.get(0).unwrap()));
    }
}

/// The parameters of a request, and each of the small texts that they may be.
pub fn params(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (body, query) = text.split_once('\n').unwrap_or(("", &text));
    let form = Form::new(body.as_bytes(), query);
    if let Ok(grid) = params::grid(&form) {
        let span = i128::from(grid.end.0) - i128::from(grid.start.0);
        assert!(grid.step_ms > 0 && span >= 0 && span / i128::from(grid.step_ms) <= 11_000);
    }
    let _ = params::time(&form, "time", TimestampMs(0));
    let _ = (
        params::range(&form),
        params::limit(&form),
        params::truth(&form, "dedup"),
        params::stats(&form),
    );
    if let Ok(Some(timeout)) = params::timeout(&form) {
        assert!(timeout <= Duration::from_nanos(i64::MAX.unsigned_abs()));
    }
    if let Ok(Some(lookback)) = params::lookback_delta_ms(&form) {
        assert!(lookback > 0);
    }
    let _ = series::check_selects(&form);
    for text in form.all("match[]") {
        let _ = series::matchers(text);
    }

    let unescaped = form::unescape(bytes, true);
    assert!(unescaped.is_ok_and(|plain| plain.len() <= bytes.len()) || bytes.contains(&b'%'));
    assert!(label_name::unescape(&text).len() <= text.len());
    if let Some(t) = rfc3339::parse(&text) {
        let printed = rfc3339::format(t);
        // Four digits say no other year.
        if printed.len() <= "2026-09-14T08:30:00.000Z".len() && !printed.starts_with('-') {
            assert_eq!(rfc3339::parse(&printed), Some(t), "{text:?} {printed:?}");
        }
        let _ = rfc3339::format_compact(t);
    }
    if let Ok(ns) = parse_duration(&text) {
        assert!(ns >= 0);
        let ms = ns / 1_000_000;
        assert_eq!(
            parse_duration(&format_duration_ms(ms)).map(|ns| ns / 1_000_000),
            Ok(ms),
            "{text:?}"
        );
    }
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse(), Ok(size), "{text:?}");
        let _ = size.in_all_units();
    }
    let _ = params::parse_time(&text);
}

/// The example, and files in which each kind of thing stands.
pub fn config_seeds() -> Vec<Vec<u8>> {
    [
        include_str!("../../../tuning/prometheus.yml"),
        "",
        "global: {}\n",
        "global:\n  external_labels: {a: b, \"c d\": 'e', f: ${HOME}, g: $$x, h: !!str 7, i: |\n    block\n  }\n",
        "global:\n  external_labels:\n    a: yes\n    \u{e9}: \"\\u00e9\\n\"\n  scrape_interval: 15s\n  evaluation_interval: 1m\n",
        "storage:\n  tsdb:\n    out_of_order_time_window: 30m\n    retention: {time: 15d, size: 1GiB512MiB}\n    chunk_encoding:\n      floats: xor2\n  exemplars:\n    max_exemplars: -1\n",
        "scrape_configs:\n  - job_name: a\n    static_configs: [{targets: [\"a:1\", &b \"b:2\", *b]}]\nremote_write: []\nrule_files: [a.yml]\n",
        "a: &a [1, 2]\nb: *a\nglobal: {external_labels: {x: 1, x: 2}}\n---\nc: d\n",
        "globel: {}\nstorage: [\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// The queries of the scripts in `tests/promql`, and some that are there for their syntax.
pub fn promql_seeds() -> Vec<Vec<u8>> {
    let scripts = [
        include_str!("../../promql/aggregations.test"),
        include_str!("../../promql/functions.test"),
        include_str!("../../promql/histograms.test"),
        include_str!("../../promql/names_delayed.test"),
        include_str!("../../promql/operators.test"),
        include_str!("../../promql/over_time.test"),
        include_str!("../../promql/rate.test"),
        include_str!("../../promql/windows.test"),
    ];
    let eval = |line: &str| -> Option<String> {
        let mut words = line.strip_prefix("eval ")?.split_ascii_whitespace();
        let skipped = if words.next() == Some("instant") { 2 } else { 6 };
        Some(words.skip(skipped).collect::<Vec<_>>().join(" "))
    };
    let mut queries: Vec<String> =
        scripts.iter().flat_map(|script| script.lines()).filter_map(eval).collect();
    queries.extend(
        [
            "sum by (job, \"a.b\") (rate(http_requests_total{code=~\"5..\", x!='y'}[5m] offset -1h @ end()))",
            "topk(3, a) / on (x) group_left (y) fill_left (1) (b or c unless -d ^ 2) >= bool 1_000",
            "max_over_time(deriv(x[1h30m:5m])[2h:min_of(step(), 1m) * 2]) </ rate(x[1d] smoothed)",
            "label_replace({\"x y\", a=`\\d`}, \"b\", '$1\\n', \"c\", \"\\xff\") # comment",
            "info(a, {b=~\".*\"}) atan2 histogram_quantile(.9, sum without () (b)) + NaN - Inf",
            "{__name__=~\"a|b\", c!~\"(?i)d.*\"}",
        ]
        .map(str::to_owned),
    );
    queries.sort();
    queries.dedup();
    queries.into_iter().map(String::into_bytes).filter(|query| query.len() <= 1024).collect()
}

/// Patterns of each shape, with a text.
pub fn matcher_seeds() -> Vec<Vec<u8>> {
    [
        "a|b|c\0b",
        "(foo|bar)-(x|y)\0foo-y",
        "foo.*\0foobar",
        ".*foo.+bar.*\0xfoo-bar",
        "(?i)abc\0aBC",
        "a{2,3}[^b-d]\0aae",
        "(?P<x>a+)(?s:.)\\d\\pL\0aa\n1z",
        "[[:alpha:]]+\\x{e9}\0x\u{e9}",
        "^a$|\\Ab\\z\0b",
        "(?-s).?\\bw\\B*?\0w",
        "[a&&b]\\Q.*\\E\0a.*",
        "\0",
        "x(?:|y)z?\0xyz",
        "a.?b\0a\nb",
        "(?U)a+?\0a",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Requests, and each of the small texts.
pub fn params_seeds() -> Vec<Vec<u8>> {
    [
        "start=1&end=2.5&step=500ms&query=up&timeout=5s&lookback_delta=1m&limit=7&stats=all",
        "match[]=up%7Ba%3D%22b%22%7D&match[]={a=~\"b.*\"}\nstart=2015-06-03T13:21:58.555Z&end=2026-01-01T00:00:00%2B02:00&step=1h",
        "time=1435781451.781&dedup=true", "a;b=%zz&c=%ff", "-292273086-05-16T16:47:06Z", "2026-09-14T08:30:00.5+02:00", "0000-01-01T00:00:00Z",
        "1y2w3d4h5m6s7ms", "292y", "512MB", "1GiB", "15EiB", "U___1F600_x__y", "1e300", "start=-1e300&end=1e300&step=1e9",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
