//! The parser and the printer against Prometheus's own conformance data, which lies beside the project if at all.

use std::fs;
use std::path::PathBuf;

use floodplain::query::ast::{Expr, ExprKind};
use floodplain::query::parser::{
    ParseOptions, parse_expr, parse_expr_bytes, parse_series_description,
};
use serde_json::Value;

/// Where the conformance data lies; `None`, and a line that says so, where there is none.
fn conformance_data() -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/promqltest");
    if !dir.is_dir() {
        println!("skipped: no conformance data in {}", dir.display());
        return None;
    }
    Some(dir)
}

/// All lines of all test scripts.
fn script_lines() -> Vec<String> {
    let Some(dir) = conformance_data() else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    assert!(!paths.is_empty(), "there are scripts");
    let scripts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
    scripts
        .flat_map(|script| script.lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The expression of an `eval` line.
fn evaluated(line: &str) -> Option<&str> {
    let (command, rest) = line.split_once(char::is_whitespace)?;
    if !command.starts_with("eval") {
        return None;
    }
    let (kind, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let keys: &[&str] = if kind == "range" { &["from", "to", "step"] } else { &["at"] };
    let mut rest = rest.trim_start();
    for key in keys {
        let Some(behind) = rest.strip_prefix(*key).filter(|behind| behind.starts_with(' ')) else {
            continue;
        };
        rest = behind.trim_start().split_once(char::is_whitespace)?.1.trim_start();
    }
    Some(rest)
}

/// The tree without places, as text.
fn shape(expr: &Expr) -> String {
    let debug = format!("{expr:?}");
    let mut parts = debug.split("TextRange {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shape, part| shape + part.split_once('}').map_or("", |(_, rest)| rest))
}

/// What Prometheus's own tree calls the root.
fn root(expr: &Expr) -> &'static str {
    match expr.kind {
        ExprKind::Aggregate(_) => "*parser.AggregateExpr",
        ExprKind::Binary(_) => "*parser.BinaryExpr",
        ExprKind::Call(_) => "*parser.Call",
        ExprKind::Matrix(_) => "*parser.MatrixSelector",
        ExprKind::Subquery(_) => "*parser.SubqueryExpr",
        ExprKind::Number(_) => "*parser.NumberLiteral",
        ExprKind::Paren(_) => "*parser.ParenExpr",
        ExprKind::String(_) => "*parser.StringLiteral",
        ExprKind::Unary(_) => "*parser.UnaryExpr",
        ExprKind::Vector(_) => "*parser.VectorSelector",
    }
}

/// The bytes of a case's input. JSON has no way to say the byte 0xff, which some inputs have: it says U+FFFD.
fn input(case: &Value) -> Vec<u8> {
    let text = case["input"].as_str().unwrap();
    text.split('\u{fffd}').map(str::as_bytes).collect::<Vec<_>>().join(&0xff)
}

#[test]
fn texts_parse_or_fail_as_upstreams_do() {
    let Some(dir) = conformance_data() else { return };
    let cases = fs::read_to_string(dir.join("parse_cases.jsonl")).unwrap();
    let mut count = 0;
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let want_errors = case.get("errors").cloned().unwrap_or(Value::Array(Vec::new()));
        let (kind, errors) = match parse_expr_bytes(&input(&case), &ParseOptions::ALL) {
            Ok(expr) => (root(&expr), Vec::new()),
            Err(errors) => ("", errors.errors().to_vec()),
        };
        let errors: Vec<Value> = errors
            .iter()
            .map(
                |e| serde_json::json!({"Start": e.span.start, "End": e.span.end, "Msg": e.message}),
            )
            .collect();
        assert_eq!(Value::Array(errors), want_errors, "{line}");
        assert_eq!(kind, case["type"].as_str().unwrap(), "{line}");
        count += 1;
    }
    assert!(count > 200, "{count} cases");
}

#[test]
fn every_evaluated_expression_parses_and_reads_back_as_it_is_printed() {
    let lines = script_lines();
    let expressions: Vec<&str> = lines.iter().filter_map(|line| evaluated(line)).collect();
    assert!(lines.is_empty() || expressions.len() > 1_000, "{} expressions", expressions.len());
    for text in expressions {
        let expr =
            parse_expr(text, &ParseOptions::ALL).unwrap_or_else(|error| panic!("{text}: {error}"));
        let printed = expr.to_text();
        let again = parse_expr(&printed, &ParseOptions::ALL);
        let again = again.unwrap_or_else(|error| panic!("{text}: {printed}: {error}"));
        assert_eq!(again.to_text(), printed, "{text}");
        // Printing sorts the conditions of a selector; from then on the tree stays the same.
        let third = parse_expr(&again.to_text(), &ParseOptions::ALL).unwrap();
        assert_eq!(shape(&third), shape(&again), "{text}");
        // A plus before a call behind `offset` is in the tree, but nobody prints it.
        if !text.contains("offset +") {
            assert_eq!(unordered(&shape(&again)), unordered(&shape(&expr)), "{text}");
        }
    }
}

/// The characters of a tree in order: equal for trees that differ in the order of conditions only.
fn unordered(shape: &str) -> Vec<char> {
    let mut chars: Vec<char> = shape.chars().collect();
    chars.sort_unstable();
    chars
}

#[test]
fn every_loaded_series_parses() {
    let mut loading = false;
    let mut count = 0;
    for line in script_lines() {
        loading = (loading || line.starts_with("load")) && !line.is_empty();
        // Lines with start timestamps are the test runner's own language.
        if !loading || line.starts_with("load") || line.starts_with('#') || line.contains("@st") {
            continue;
        }
        let series =
            parse_series_description(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(series.items.iter().all(|item| item.count() > 0), "{line}");
        count += 1;
    }
    assert!(count == 0 || count > 500, "{count} series");
}
