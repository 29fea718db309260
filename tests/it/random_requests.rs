//! Requests that nobody would send: drawn and mutated expressions, parameters and forms, to every endpoint of a live server.
//!
//! Whatever comes, nothing panics, the answer is one that Prometheus's clients can read, and the server lives. The parser
//! meets the same texts in process, where the longest it took is told.
//!
//! - `FLOODPLAIN_RANDOM_REQUESTS`: how many requests, and how many texts for the parser.
//! - `FLOODPLAIN_RANDOM_REQUESTS_FROM`: the number of the first one; a number alone gives the same request in every run.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use floodplain::io::sim::Rng;
use floodplain::query::parser::{ParseOptions, parse_expr};
use serde_json::Value;

use crate::differential::data::{self, BEGIN_S};
use crate::differential::grammar::Grammar;
use crate::differential::number_of;
use crate::http::{self, Answer, escaped};
use crate::server::Running;

/// How many the ordinary suite sends.
const COUNT: u64 = 1500;

/// Paths, whether they answer in the envelope of the API, and the parameters that they know.
const PATHS: &[(&str, bool, &[&str])] = &[
    ("/api/v1/query", true, &["query", "time", "timeout", "lookback_delta", "stats", "limit"]),
    ("/api/v1/query_range", true, &["query", "start", "end", "step", "timeout", "stats", "limit"]),
    ("/api/v1/query_exemplars", true, &["query", "start", "end"]),
    ("/api/v1/series", true, &["match[]", "start", "end", "limit"]),
    ("/api/v1/labels", true, &["match[]", "start", "end", "limit"]),
    ("/api/v1/label/NAME/values", true, &["match[]", "start", "end", "limit"]),
    ("/api/v1/metadata", true, &["metric", "limit", "limit_per_metric"]),
    ("/api/v1/rules", true, &["type", "match[]"]),
    ("/api/v1/alerts", true, &[]),
    ("/api/v1/status/buildinfo", true, &[]),
    ("/api/v1/status/runtimeinfo", true, &[]),
    ("/api/v1/status/flags", true, &[]),
    ("/api/v1/status/config", true, &[]),
    ("/api/v1/status/tsdb", true, &["limit"]),
    ("/api/v1/status/tsdb/blocks", true, &[]),
    ("/api/v1/status/walreplay", true, &[]),
    ("/api/v1/admin/tsdb/delete_series", true, &["match[]", "start", "end"]),
    ("/api/v1/admin/tsdb/clean_tombstones", true, &[]),
    ("/api/v1/admin/tsdb/snapshot", true, &["skip_head"]),
    ("/api/v1/write", false, &[]),
    ("/api/v1/read", false, &[]),
    ("/api/v1/nothing", false, &["query"]),
    ("/metrics", false, &[]),
    ("/version", false, &[]),
    ("/-/ready", false, &[]),
    ("/-/reload", false, &[]),
    ("/", false, &[]),
];

/// Values of parameters that stand at an edge, or behind it.
const ODD: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "NaN",
    "Inf",
    "-Inf",
    "1e308",
    "-1e308",
    "1e-320",
    "1e999",
    "0x7fffffffffffffff",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "9223372036854775.807",
    "99999999999999999999999999",
    "1700000000",
    "1700003600.5",
    "2023-11-14T22:13:20Z",
    "2023-11-14T22:13:20.123456789+05:30",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "2023-02-30T00:00:00Z",
    "1h30m",
    "292y",
    "293y",
    "1ms",
    "0s",
    "-5m",
    "5m5",
    "1d1d",
    "1_000",
    "true",
    "all",
    " ",
    "\0",
    "é",
    "\u{661}\u{662}",
    "a\nb",
    "\"",
    "{}",
    "{__name__=~\".+\"}",
    "up{",
    "x[5m]",
    "[",
    "job",
    "__name__",
];

/// Pieces of the language, to be thrown together.
const TOKENS: &[&str] = &[
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "==",
    "!=",
    "=~",
    "!~",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "<",
    ">",
    "@",
    "</",
    ">/",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "by",
    "without",
    "offset",
    "and",
    "or",
    "unless",
    "atan2",
    "sum",
    "topk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
    "rate",
    "abs",
    "scalar",
    "vector",
    "time()",
    "start()",
    "end()",
    "step()",
    "range()",
    "min_of",
    "max_of",
    "histogram_quantile",
    "label_replace",
    "absent_over_time",
    "info",
    "smoothed",
    "anchored",
    "up",
    "requests_total",
    "job",
    "le",
    "inf",
    "NaN",
    "1",
    "0x1f",
    "1e400",
    "1e-400",
    "5m",
    "1h30m5s",
    "99999999999y",
    "\"a\"",
    "'\\xff'",
    "`\\d`",
    "\"\\u00e9\"",
    "\"(\"",
    "\"a{1000}{1000}\"",
    "#",
    "\n",
    "\t",
    " ",
    "é",
    "\u{feff}",
    "\0",
    "$1",
    "\\",
    "__name__",
    ".",
    "1.",
    ".5",
    "1_0",
    ";",
];

struct Draw {
    rng: Rng,
    number: u64,
}

impl Draw {
    fn new(number: u64) -> Self {
        Self { rng: Rng::new(!number), number }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.below(bound as u64)).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// An expression, or what is left of one.
    fn expression(&mut self) -> String {
        let drawn = Grammar::case(self.number).expr.to_string();
        match self.below(8) {
            0 | 1 => drawn,
            2 | 3 => self.tokens_mutated(&drawn),
            4 => self.characters_mutated(&drawn),
            5 => self.soup(),
            6 => self.deep(&drawn),
            _ => self.one(ODD).to_owned(),
        }
    }

    fn soup(&mut self) -> String {
        let count = self.below(30);
        let tokens: Vec<_> = (0..count).map(|_| self.one(TOKENS)).collect();
        tokens.join(if self.below(2) == 0 { " " } else { "" })
    }

    /// Tokens fall out, come in, or change places.
    fn tokens_mutated(&mut self, text: &str) -> String {
        let mut tokens: Vec<&str> =
            text.split_inclusive([' ', '(', ')', ',', '{', '}', '[', ']']).collect();
        for _ in 0..=self.below(3) {
            let (a, b) = (self.below(tokens.len()), self.below(tokens.len()));
            match self.below(4) {
                0 if tokens.len() > 1 => drop(tokens.remove(a)),
                1 => tokens.swap(a, b),
                2 => tokens.insert(a, tokens[b]),
                _ => tokens[a] = self.one(TOKENS),
            }
        }
        tokens.concat()
    }

    fn characters_mutated(&mut self, text: &str) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(4) {
            let at = self.below(characters.len().max(1));
            let other = self.one(TOKENS).chars().next().unwrap_or('x');
            match self.below(3) {
                0 if at < characters.len() => drop(characters.remove(at)),
                1 if at < characters.len() => characters[at] = other,
                _ => characters.insert(at, other),
            }
        }
        characters.into_iter().collect()
    }

    /// One thing in another, or beside another, very often.
    fn deep(&mut self, inner: &str) -> String {
        let most = *[10, 100, 1000, 10_000].get(self.below(4)).unwrap();
        let times = 1 + self.below(most);
        let around: &[(&str, &str)] = &[
            ("(", ")"),
            ("abs(", ")"),
            ("-", ""),
            ("+", ""),
            ("sum by (job) (", ")"),
            ("(", ")[5m:1m]"),
            ("max_over_time((", ")[5m:1m])"),
            ("", " + up"),
            ("up + ", ""),
            ("", " offset 5m"),
            ("", " @ 5"),
            ("2 ^ ", ""),
            ("{", ""),
            ("((", ")"),
            ("", " or up"),
            ("label_join(", ", \"a\", \"a\", \"a\", \"job\")"),
            ("up[", "]"),
            ("up[5m + (", ")]"),
            ("\"", ""),
            ("1e", ""),
            ("scalar(", ")"),
            ("up{a=~\"", "\"}"),
            ("#", "\n"),
        ];
        let (before, after) = around[self.below(around.len())];
        let inner = if self.below(2) == 0 { inner } else { "1" };
        // A text of a megabyte shows no more than one of a tenth.
        let times = times.min(100_000 / (before.len() + after.len()));
        format!("{}{inner}{}", before.repeat(times), after.repeat(times))
    }

    fn selector(&mut self) -> String {
        match self.below(4) {
            0 => self.expression(),
            1 => "{job=\"api\"}".to_owned(),
            2 => "requests_total{code=~\"4..\"}".to_owned(),
            _ => self.tokens_mutated("{__name__=~\"re.*|load\", job!=\"web\"}"),
        }
    }

    fn value(&mut self, parameter: &str) -> String {
        let usual = self.below(8) > 0;
        match parameter {
            "query" => self.expression(),
            "match[]" | "metric" => self.selector(),
            "time" | "start" if usual => (BEGIN_S + self.below(2000) as i64).to_string(),
            "end" if usual => (BEGIN_S + 1000 + self.below(3000) as i64).to_string(),
            "step" if usual && self.below(2) == 0 => {
                self.one(&["15", "1m", "7.5", "1h", "0.25"]).to_owned()
            }
            "step" if usual => (1 + self.below(200)).to_string(),
            _ if self.below(8) == 0 => self.characters_mutated("1700000000.123"),
            _ => self.one(ODD).to_owned(),
        }
    }

    /// As a form has it, mostly.
    fn pairs(&mut self, known: &[&str]) -> String {
        let mut pairs = Vec::new();
        for parameter in known {
            let may_lack = !["query", "match[]", "start", "end", "step"].contains(parameter);
            let times = match self.below(10) {
                0 => self.below(3),
                1..7 if may_lack => 0,
                _ => 1,
            };
            for _ in 0..times {
                let value = escaped(&self.value(parameter));
                pairs.push(format!("{}={value}", escaped(parameter)));
            }
        }
        if self.below(15) == 0 {
            pairs.push(
                self.one(&[
                    "%",
                    "a=%zz",
                    "query=%ff%fe",
                    "a;b",
                    "=",
                    "&&",
                    "query",
                    "%00=1",
                    "match[]=%c3%28",
                ])
                .to_owned(),
            );
        }
        if self.below(20) == 0 {
            let by = pairs.len().min(1);
            pairs.rotate_left(by);
        }
        pairs.join("&")
    }

    fn request(&mut self) -> Request {
        // Most of them where the language is.
        let at = match self.below(3) {
            0 => self.below(2),
            1 => self.below(8),
            _ => self.below(PATHS.len()),
        };
        let (path, in_envelope, known) = PATHS[at];
        let name = match self.below(3) {
            0 => "job".to_owned(),
            1 => escaped(self.one(ODD)),
            _ => escaped(self.one(LABELS)),
        };
        let mut path = path.replace("NAME", &name);
        let mut pairs = self.pairs(known);
        let is_admin = path.contains("/admin/");
        // Few that write much, and none that deletes what is asked for.
        if is_admin && self.below(20) > 0 {
            path = "/api/v1/admin/tsdb/delete_series".to_owned();
        }
        if path.ends_with("/delete_series") {
            pairs = match self.below(2) {
                0 => format!("match[]=nobody&{}", self.pairs(&["start", "end"])),
                _ => format!("start=1&end=2&{}", self.pairs(&["match[]", "match[]"])),
            };
        }
        let method = match self.below(12) {
            0 => self.one(&["PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW", "POST"]),
            1..6 => "GET",
            _ if is_get_only(&path) => "GET",
            _ => "POST",
        };
        let by_form =
            method == "POST" && self.below(8) > 0 && !path.contains("/label/") || is_admin;
        let mut headers = Vec::new();
        let mut body = Vec::new();
        if by_form {
            headers.push("Content-Type: application/x-www-form-urlencoded");
            body = pairs.into_bytes();
            if self.below(30) == 0 {
                headers = vec![self.one(&[
                    "Content-Type: text/plain",
                    "Content-Encoding: snappy",
                    "Content-Type: \u{e9}",
                ])];
            }
            if self.below(30) == 0 {
                body.extend((0..self.below(200)).map(|_| self.rng.next_u64().to_le_bytes()[0]));
            }
        } else if !pairs.is_empty() {
            path = format!("{path}?{pairs}");
        }
        if path == "/api/v1/write" || path == "/api/v1/read" {
            body = (0..self.below(300)).map(|_| self.rng.next_u64().to_le_bytes()[0]).collect();
            headers = vec!["Content-Type: application/x-protobuf", "Content-Encoding: snappy"];
        }
        // A path may be too long; that is the server's to say, in a form there is room.
        Request { head: format!("{method} {path}"), headers, body, in_envelope }
    }
}

/// Is it a path that takes no form?
fn is_get_only(path: &str) -> bool {
    let others = ["/query", "/series", "/labels", "/admin/", "/write", "/read", "/-/"];
    !others.iter().any(|part| path.contains(part))
}

/// Names of labels for the path.
const LABELS: &[&str] = &["__name__", "instance", "le", "a b", "é", "U__x", "U___2e_x", "0"];

struct Request {
    head: String,
    headers: Vec<&'static str>,
    body: Vec<u8>,
    in_envelope: bool,
}

/// What is wrong with an answer, if anything is.
fn fault(request: &Request, answer: &Answer) -> Option<&'static str> {
    let method = request.head.split(' ').next().unwrap_or_default();
    let is_head = method == "HEAD";
    match answer.status {
        // Not in the envelope: no such path or method, nothing to tell, a head that is too long or none.
        405 | 414 | 431 => return None,
        204 => return (!answer.body.is_empty()).then_some("a body where there is none"),
        _ if is_head => return (!answer.body.is_empty()).then_some("a body for HEAD"),
        _ if method == "OPTIONS" || !request.in_envelope => return None,
        _ => {}
    }
    let Ok(envelope) = serde_json::from_slice::<Value>(&answer.body) else {
        // A label that stands for nothing is no path.
        let is_path = request.head.contains("/label//");
        return (!is_path).then_some("no JSON");
    };
    for notes in ["warnings", "infos"] {
        let notes = &envelope[notes];
        let texts = notes.as_array().is_some_and(|all| all.iter().all(Value::is_string));
        if !notes.is_null() && !texts {
            return Some("notes that are no texts");
        }
    }
    match envelope["status"].as_str() {
        Some("success") if answer.status != 200 => Some("success with another status"),
        Some("success") if envelope.get("data").is_none() => Some("success without data"),
        Some("success") => None,
        Some("error") => {
            let status = match envelope["errorType"].as_str() {
                Some("bad_data") => &[400][..],
                Some("execution") => &[422],
                Some("canceled") => &[499],
                Some("timeout") => &[503],
                // 500: what is switched off.
                Some("unavailable") => &[503, 500],
                Some("not_found") => &[404],
                // What is broken here, and in this test nothing is.
                _ => return Some("an error of no type, or an internal one"),
            };
            let has_text = envelope["error"].as_str().is_some_and(|text| !text.is_empty());
            let fits = status.contains(&answer.status) && has_text;
            (!fits).then_some("an error whose status or text does not fit")
        }
        _ => Some("neither success nor error"),
    }
}

#[test]
fn whatever_is_asked_the_answer_is_one_and_the_server_lives() {
    let dir = tempfile::tempdir().unwrap();
    let more = ["--web.enable-admin-api", "--query.timeout=3s", "--query.max-samples=300000"];
    let server = Running::with_flags(dir.path(), 2, &more);
    for request in data::requests() {
        request.send(server.address);
    }
    let first = number_of("FLOODPLAIN_RANDOM_REQUESTS_FROM", 0);
    let count = number_of("FLOODPLAIN_RANDOM_REQUESTS", COUNT);
    let (mut statuses, mut faults) = (BTreeMap::<u16, u64>::new(), Vec::new());
    let mut full = 0;
    let mut longest = (Duration::ZERO, 0);
    for number in first..first + count {
        let request = Draw::new(number).request();
        let begins = Instant::now();
        let answer = http::send(server.address, &request.head, &request.headers, &request.body);
        longest = longest.max((begins.elapsed(), number));
        let short = |text: &str| text.chars().take(600).collect::<String>();
        let said = |what: &str, body: &[u8]| {
            let (asked, form) = (short(&request.head), String::from_utf8_lossy(&request.body));
            let answered = String::from_utf8_lossy(body);
            format!("{number}: {what}\n  {asked}\n  {}\n  {}", short(&form), short(&answered))
        };
        match answer {
            Ok(answer) => {
                *statuses.entry(answer.status).or_default() += 1;
                full += u64::from(request.head.contains("/query") && answer.body.len() > 200);
                let what = fault(&request, &answer);
                let what =
                    what.map(|what| said(&format!("{}, {what}", answer.status), &answer.body));
                faults.extend(what);
            }
            Err(error) => faults.push(said(&format!("no answer: {error}"), b"")),
        }
        if faults.len() == 30 {
            break;
        }
    }
    println!(
        "{count} requests from {first}: {statuses:?}, {full} long answers to queries, the longest took {longest:?}"
    );
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    let up = http::data(server.address, "/api/v1/query", &[("query", "vector(1)")]);
    assert_eq!(up["resultType"], "vector");
    let metrics = http::send(server.address, "GET /metrics", &[], b"").unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    let panics: Vec<_> = metrics.lines().filter(|line| line.contains("panics_total")).collect();
    assert!(!panics.is_empty(), "{metrics}");
    let none = |line: &&str| line.starts_with('#') || line.ends_with(" 0");
    assert!(panics.iter().all(none), "{panics:?}");
}

#[test]
fn the_parser_answers_whatever_text_it_is_given() {
    let first = number_of("FLOODPLAIN_RANDOM_REQUESTS_FROM", 0);
    let count = number_of("FLOODPLAIN_RANDOM_REQUESTS", COUNT);
    let mut longest = (Duration::ZERO, 0, String::new());
    let mut parsed = 0;
    for number in first..first + count {
        let text = Draw::new(number).expression();
        let begins = Instant::now();
        let outcome = catch_unwind(|| parse_expr(&text, &ParseOptions::ALL).is_ok());
        let Ok(is_one) = outcome else { panic!("{number} panics: {text}") };
        longest = longest.max((begins.elapsed(), number, text));
        parsed += u64::from(is_one);
    }
    let (time, number, text) = longest;
    let begin: String = text.chars().take(60).collect();
    println!(
        "{count} texts from {first}, {parsed} of them expressions; the longest took {time:?}: number {number}, {} bytes, {begin:?}",
        text.len()
    );
}
