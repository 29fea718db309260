//! What holds for every text: nothing panics, nothing takes long, and what is printed reads back as the same tree.

use proptest::prelude::*;
use proptest::sample::select;

use super::parse_series_description;
use super::testing::{faults, parsed};
use super::trees::vector;
use super::{NESTING_MAX, ParseOptions, parse_expr, parse_expr_bytes, parse_metric_selector};
use crate::query::ast::Expr;

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

/// Texts from which faulty ones are made.
const QUERIES: &[&str] = &[
    "sum by (job, \"a.b\") (rate(http_requests_total{code=~\"5..\", x!='y'}[5m] offset -1h @ end()))",
    "topk(3, a) / on (x) group_left (y) fill_left (1) (b or c unless -d ^ 2) >= bool 1_000",
    "max_over_time(deriv(x[1h30m:5m])[2h:min_of(step(), 1m) * 2]) </ rate(x[1d] smoothed)",
    "label_replace({\"x y\", a=`\\d`}, \"b\", '$1\\n', \"c\", \"\\xff\") # comment",
    "info(a, {b=~\".*\"}) atan2 histogram_quantile(.9, sum without () (b)) + NaN - Inf",
];

/// Words and pieces of the language.
const PIECES: &[&str] = &[
    "sum",
    "by",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "=~",
    "!=",
    "==",
    "a",
    "b:c",
    "5m",
    "1",
    "0.5",
    "1e",
    "offset",
    "@",
    "start()",
    "step()",
    "min_of(",
    "+",
    "-",
    "*",
    "/",
    "^",
    "and",
    "on",
    "ignoring",
    "group_left",
    "bool",
    "fill(",
    "\"s\"",
    "'",
    "`",
    "\\",
    "#",
    "\n",
    " ",
    "anchored",
    "rate(",
    "{a=\"b\"}",
    "[5m]",
    "[5m:]",
    "é",
    "\u{fffd}",
    "_",
    "x5",
    "{{",
    "}}",
    "stale",
];

proptest! {
    #[test]
    fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_expr_bytes(&bytes, &ParseOptions::ALL);
    }

    #[test]
    fn any_text_is_a_selector_or_a_series_or_refused(text in any::<String>()) {
        let _ = (parse_metric_selector(&text), parse_series_description(&text));
    }

    #[test]
    fn any_words_parse_or_are_refused(pieces in proptest::collection::vec(select(PIECES), 0..30)) {
        let (dense, spaced) = (pieces.concat(), pieces.join(" "));
        for text in [&dense, &spaced] {
            if let Ok(expr) = parse_expr(text, &ParseOptions::ALL) {
                prop_assert!(expr.span.start <= expr.span.end && expr.span.end as usize <= text.len());
            }
            let _ = (parse_metric_selector(text), parse_series_description(text));
            let _ = parse_series_description(&format!("a{{}} {text}"));
        }
    }

    #[test]
    fn a_query_with_faults_parses_or_is_refused_at_places_in_its_text(
        query in select(QUERIES), cut in 0..100_usize, count in 0..20_usize, piece in select(PIECES)
    ) {
        let chars: Vec<char> = query.chars().collect();
        let cut = cut.min(chars.len());
        let rest: String = chars.iter().skip(cut + count).collect();
        let text = chars.iter().take(cut).collect::<String>() + piece + &rest;
        match parse_expr(&text, &ParseOptions::ALL) {
            Ok(expr) => {
                // Printing sorts matchers, so the first tree may differ from the second; the third must not.
                let again = parsed(&expr.to_text());
                prop_assert_eq!(again.to_text(), expr.to_text());
                prop_assert_eq!(shape(&parsed(&again.to_text())), shape(&again));
            }
            Err(errors) => {
                prop_assert!(!errors.errors().is_empty());
                for error in errors.errors() {
                    prop_assert!(error.span.start as usize <= text.len() && error.span.end as usize <= text.len());
                }
            }
        }
    }

    #[test]
    fn a_tree_that_is_printed_reads_back_as_the_same_tree(expr in vector()) {
        let text = expr.to_text();
        let again = parse_expr(&text, &ParseOptions::ALL);
        prop_assert!(again.is_ok(), "{}: {}", text, again.unwrap_err());
        prop_assert_eq!(shape(&again.unwrap()), shape(&expr), "{}", text);
    }
}

#[test]
fn queries_that_faulty_ones_are_made_from_have_none() {
    for query in QUERIES {
        assert_eq!(faults(query), []);
    }
}

#[test]
fn a_chain_of_operators_may_be_of_any_length() {
    let text = vec!["foo"; 100_000].join("+");
    let expr = parsed(&text);
    assert_eq!(expr.to_text(), vec!["foo"; 100_000].join(" + "));
    assert!(expr.clone() == expr);
}

#[test] // a fuzzer's find upstream: long chains of operators and of subqueries, all of them faulty
fn every_fault_of_a_long_chain_is_reported() {
    let text = format!("({}){}", "-{}-1".repeat(10_000), "[1m:]".repeat(1_000));
    let found = faults(&text);
    let empty = "vector selector must contain at least one non-empty matcher";
    let nested = "subquery is only allowed on instant vector, got matrix instead";
    assert_eq!(found.iter().filter(|(_, message)| message == empty).count(), 10_000);
    assert_eq!(found.iter().filter(|(_, message)| message == nested).count(), 999);
    assert_eq!(found.len(), 10_999);
}

#[test]
fn nesting_has_a_limit_whatever_nests() {
    let message = format!("expression is nested more than {NESTING_MAX} levels deep");
    for (open, inner, close) in [
        ("(", "a", ")"),
        ("abs(", "a", ")"),
        ("sum(", "a", ")"),
        ("-", "a", ""),
        ("a^", "a", ""),
        ("1+(", "a", ")"),
        ("max_over_time(", "a", "[5m:])"),
    ] {
        let nested = |levels: usize| open.repeat(levels) + inner + &close.repeat(levels);
        assert_eq!(faults(&nested(NESTING_MAX / 2 - 1)), [], "{open}");
        let text = nested(100_000);
        assert_eq!(faults(&text).first().map(|(_, message)| message), Some(&message), "{open}");
    }
}

#[test]
fn lengths_of_time_nest_as_deep_as_expressions() {
    let message = format!("expression is nested more than {NESTING_MAX} levels deep");
    for before in ["a[", "a offset ", "a offset -"] {
        for sign in ["(", "--", "(1^", "min_of(1,"] {
            let text = format!("{before}{}", sign.repeat(100_000));
            let found = faults(&text);
            assert_eq!(found.first().map(|(_, message)| message), Some(&message), "{before}{sign}");
        }
    }
}
