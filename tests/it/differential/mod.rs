//! Expressions that nobody thought of: drawn from a grammar, asked of Debian's Prometheus and of floodplain on the same
//! data, and answered alike, or differently for a reason that [`changes`] has.
//!
//! Debian's Prometheus is 2.42, floodplain answers as 3.14 does. The one change that touches everything is kept out by the
//! times: since 3.0 windows and lookback are left-open. Samples lie 3 ms behind whole hundredths of seconds; instants,
//! steps, offsets, ranges and `@` are whole seconds, so that no window begins on a sample. Windows of subqueries are half a
//! second longer than whole seconds while their points lie on whole ones.
//!
//! - `FLOODPLAIN_DIFFERENTIAL`: how many expressions.
//! - `FLOODPLAIN_DIFFERENTIAL_FROM`: the number of the first one; a number alone gives the same expression in every run.

mod alike;
mod changes;
pub mod data;
mod expr;
pub mod grammar;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use crate::http;
use crate::peer::{PROMETHEUS, Peer, installed};
use crate::server::Running;
use alike::{Kind, difference, kind};
use changes::{CHANGES, Change};
use expr::Expr;
use grammar::{Case, Grammar, When};

/// How many expressions the ordinary suite asks.
const COUNT: u64 = 400;
/// So many differences are enough to look at.
const DIFFERENCES_MAX: usize = 40;

/// A number from the environment.
pub fn number_of(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

struct Both {
    theirs: SocketAddr,
    ours: SocketAddr,
}

/// Two answers, and what is different between them.
struct Asked {
    theirs: Value,
    ours: Value,
    difference: Option<String>,
}

impl Both {
    fn ask(&self, expr: &Expr, when: &When) -> Asked {
        let text = expr.to_string();
        let (path, times) = match when {
            When::Instant(at) => ("/api/v1/query", vec![("time", at.to_string())]),
            When::Range { start, end, step } => (
                "/api/v1/query_range",
                vec![
                    ("start", start.to_string()),
                    ("end", end.to_string()),
                    ("step", step.to_string()),
                ],
            ),
        };
        let mut parameters = vec![("query", text.as_str())];
        parameters.extend(times.iter().map(|(name, value)| (*name, value.as_str())));
        let theirs = http::ask(self.theirs, path, &parameters);
        // It has another name since 3.0, and is behind a feature flag.
        let renamed = text.replace("holt_winters(", "double_exponential_smoothing(");
        parameters[0].1 = renamed.as_str();
        let ours = http::ask(self.ours, path, &parameters);
        let in_order = expr.is(&["sort", "sort_desc", "topk", "bottomk"]) && !is_grouped(expr);
        let difference = difference(&theirs, &ours, in_order);
        Asked { theirs, ours, difference }
    }

    /// The changes since 2.42 without which there is no difference; `None` if that is not so.
    fn explanation(&self, case: &Case, asked: &Asked) -> Option<Vec<&'static str>> {
        let refused = |asked: &Asked| [&asked.theirs, &asked.ours].map(|a| a["status"] == "error");
        let is_alike = |expr: &Expr, change: Option<&Change>| {
            let again = self.ask(expr, &case.when);
            // That both refuse what is asked instead shows nothing, unless it is what the change is about.
            let shows = refused(&again) != [true, true]
                || refused(asked) == [true, true]
                || change.is_none_or(|change| change.refused);
            again.difference.is_none() && shows
        };
        let touching = || CHANGES.iter().filter(|change| change.without(&case.expr).is_some());
        for change in touching() {
            let without = change.without(&case.expr);
            if without.is_some_and(|expr| is_alike(&expr, Some(change))) {
                return Some(vec![change.reason]);
            }
        }
        // Several of them at once.
        let all = |expr: Expr, change: &Change| change.without(&expr).unwrap_or(expr);
        let without = CHANGES.iter().fold(case.expr.clone(), all);
        let reasons: Vec<_> = touching().map(|change| change.reason).collect();
        (reasons.len() > 1 && is_alike(&without, None)).then_some(reasons)
    }
}

fn is_grouped(expr: &Expr) -> bool {
    matches!(expr, Expr::Aggregate { grouping, .. } if !grouping.is_empty())
}

#[test]
fn drawn_expressions_are_answered_as_prometheus_answers_them() {
    if !installed(&[PROMETHEUS]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = "global: {scrape_interval: 1m, evaluation_interval: 1m}\n";
    let prometheus = Peer::prometheus(dir.path(), config);
    let store = tempfile::tempdir().unwrap();
    let experimental = "--enable-feature=promql-experimental-functions";
    let floodplain = Running::with_flags(store.path(), 2, &[experimental]);
    for request in data::requests() {
        request.send(prometheus.address);
        request.send(floodplain.address);
    }
    let both = Both { theirs: prometheus.address, ours: floodplain.address };
    let first = number_of("FLOODPLAIN_DIFFERENTIAL_FROM", 0);
    let count = number_of("FLOODPLAIN_DIFFERENTIAL", COUNT);
    let mut kinds = BTreeMap::<Kind, u64>::new();
    let mut explained = BTreeMap::<Vec<&str>, Vec<u64>>::new();
    let mut different = Vec::new();
    for number in first..first + count {
        let case = Grammar::case(number);
        let asked = both.ask(&case.expr, &case.when);
        *kinds.entry(kind(&asked.ours)).or_default() += 1;
        let Some(what) = &asked.difference else { continue };
        let said = format!("{number}: {} {}\n  {what}", case.expr, case.when);
        match both.explanation(&case, &asked) {
            Some(reasons) => {
                // Who asks for one expression wants to see it.
                if count <= 10 {
                    println!("{said}");
                }
                explained.entry(reasons).or_default().push(number);
            }
            None => {
                different.push(said);
                if different.len() == DIFFERENCES_MAX {
                    break;
                }
            }
        }
    }
    println!("{count} expressions from {first}: {kinds:?}");
    for (reasons, numbers) in &explained {
        let some = &numbers[..numbers.len().min(10)];
        println!("{} differ, {some:?}...: {}", numbers.len(), reasons.join("; and "));
    }
    let many = different.len();
    assert!(different.is_empty(), "{many} differences\n{}", different.join("\n"));
    let full = kinds.get(&Kind::Full).copied().unwrap_or_default();
    assert!(count < COUNT || full * 3 >= count, "too few expressions have an answer: {kinds:?}");
}
