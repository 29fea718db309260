//! `/api/v1/series`, `/api/v1/labels` and `/api/v1/label/<name>/values`: which series there are, and their labels.
//!
//! Answers are sorted. Source: `web/api/v1/api.go` (`series`, `labelNames`, `labelValues`), Prometheus 3.14.

use super::api_error::ApiError;
use super::form::Form;
use super::json::slices::{self, List};
use super::json::{Notes, text};
use super::reply::{self, Reply};
use super::service::Server;
use super::{label_name, params};
use crate::coordinator::api::{Limited, Store};
use crate::model::{Matcher, TimeRange};
use crate::query::parser::parse_metric_selector;
use crate::query::quote::quoted;

/// Said when there were more results than asked for.
pub const TRUNCATED: &str = "results truncated due to limit";

/// `series`.
///
/// # Errors
/// No selector, a parameter that cannot mean anything, or a store that cannot answer.
pub async fn series<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    check_selects(form)?;
    let limit = params::limit(form)?;
    let range = params::range(form)?;
    let selectors = selectors(form).map_err(invalid_selector)?;
    let found = match range {
        Some(range) => server.store.series(selectors, range, limit).await?,
        None => Limited { items: Vec::new(), truncated: false },
    };
    let notes = truncation(found.truncated);
    Ok(reply::sliced(Box::new(List::new(found.items, slices::labels, notes))))
}

/// `labels`.
///
/// # Errors
/// A parameter that cannot mean anything, or a store that cannot answer.
pub async fn label_names<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    let Asked { limit, range, selectors } = asked(form)?;
    let found = match range {
        Some(range) => server.store.label_names(selectors, range, limit).await?,
        None => Limited { items: Vec::new(), truncated: false },
    };
    Ok(names(found))
}

/// `label/<name>/values`; `name` as the path has it.
///
/// # Errors
/// A name that no label has, a parameter that cannot mean anything, or a store that cannot answer.
pub async fn label_values<S: Store>(
    server: &Server<S>,
    name: &str,
    form: &Form,
) -> Result<Reply, ApiError> {
    let name = label_name::unescape(name);
    if name.is_empty() {
        return Err(invalid_label_name(name.as_bytes()));
    }
    let Asked { limit, range, selectors } = asked(form)?;
    let found = match range {
        Some(range) => server.store.label_values(name, selectors, range, limit).await?,
        None => Limited { items: Vec::new(), truncated: false },
    };
    Ok(names(found))
}

/// What is to be said of a name that no label has.
#[must_use]
pub fn invalid_label_name(name: &[u8]) -> ApiError {
    ApiError::bad_data(format!("invalid label name: {}", quoted(name)))
}

/// The parameters that both questions about labels have.
struct Asked {
    limit: Option<usize>,
    range: Option<TimeRange>,
    selectors: Vec<Vec<Matcher>>,
}

fn asked(form: &Form) -> Result<Asked, ApiError> {
    let limit = params::limit(form)?;
    let range = params::range(form)?;
    Ok(Asked { limit, range, selectors: selectors(form).map_err(ApiError::bad_data)? })
}

fn names(found: Limited<String>) -> Reply {
    let each = |out: &mut Vec<u8>, name: &String| text::string(out, name);
    let notes = truncation(found.truncated);
    reply::sliced(Box::new(List::new(found.items, each, notes)))
}

/// What is to be said if there were more results than asked for.
#[must_use]
pub fn truncation(truncated: bool) -> Notes {
    let warnings = truncated.then(|| TRUNCATED.to_owned()).into_iter().collect();
    Notes { warnings, infos: Vec::new() }
}

/// Refuses a request that is malformed or has no selector.
///
/// # Errors
/// That is it.
pub fn check_selects(form: &Form) -> Result<(), ApiError> {
    if let Some(error) = form.malformed() {
        return Err(ApiError::bad_data(format!("error parsing form values: {error}")));
    }
    match form.all("match[]").next() {
        Some(_) => Ok(()),
        None => Err(ApiError::bad_data("no match[] parameter provided")),
    }
}

/// What is to be said of a selector that cannot be used.
#[must_use]
pub fn invalid_selector(why: String) -> ApiError {
    ApiError::bad_data(format!("invalid parameter \"match[]\": {why}"))
}

/// The selectors of `match[]`, each compiled. One that every series passes is refused: it would read everything.
///
/// # Errors
/// A text that is no selector, or one that every series passes, and why.
pub fn selectors(form: &Form) -> Result<Vec<Vec<Matcher>>, String> {
    // All are read first, and what does not parse is told before what would pass everything.
    let selectors = form.all("match[]").map(matchers).collect::<Result<Vec<_>, _>>()?;
    if selectors.iter().any(|matchers| matchers.iter().all(Matcher::matches_empty)) {
        return Err("match[] must contain at least one non-empty matcher".to_owned());
    }
    Ok(selectors)
}

/// A selector, compiled; every series may pass it.
///
/// # Errors
/// A text that is no selector, and why.
pub fn matchers(text: &str) -> Result<Vec<Matcher>, String> {
    parse_metric_selector(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{FakeStore, ask, get, post_form, server, write_v1};

    /// The server's answers to these paths, asked about three series.
    fn ask_all(paths: &'static [&'static str], check: impl Fn(&str, u16, &str) + Send + 'static) {
        on_one_shard(move |_| async move {
            let store = FakeStore::new();
            let server = server(&store, "");
            let series = [
                (&[("__name__", "up"), ("job", "a")][..], &[(1000, 1.0)][..]),
                (&[("__name__", "up"), ("job", "b")][..], &[(2000, 1.0)][..]),
                (&[("__name__", "x"), ("a.b", "1")][..], &[(3000, 1.0)][..]),
            ];
            assert_eq!(ask(&server, write_v1(&series)).await.status, 204);
            for path in paths {
                let answered = ask(&server, get(&format!("/api/v1/{path}"))).await;
                check(path, answered.status.as_u16(), &answered.body);
            }
        });
    }

    fn form(query: &str) -> Form {
        Form::new(b"", query)
    }

    #[test]
    fn selectors_are_compiled_in_order() {
        let compiled = selectors(&form("match[]=up&match[]={job=~%22a|b%22}")).unwrap();
        assert_eq!(compiled.len(), 2);
        assert!(compiled[0][0].matches("up") && compiled[1][0].matches("b"));
    }

    #[test]
    fn a_selector_that_everything_passes_is_refused() {
        for text in ["{job=~%22.*%22}", "{job=%22%22}"] {
            assert_eq!(
                selectors(&form(&format!("match[]={text}"))).unwrap_err(),
                "match[] must contain at least one non-empty matcher",
                "{text}"
            );
        }
    }

    #[test]
    fn a_selector_that_does_not_parse_says_where() {
        for query in ["match[]={a", "match[]={}&match[]={a"] {
            let error = selectors(&form(query)).unwrap_err();
            assert!(error.starts_with("1:3: parse error: "), "{error}");
        }
    }

    #[test]
    fn series_are_found_by_selectors_and_time() {
        ask_all(
            &[
                "series?match[]=up&match[]=x",
                "series?match[]=up&start=2",
                "series?match[]=up&start=3&end=1",
            ],
            |path, status, body| {
                let data = match path {
                    "series?match[]=up&start=2" => r#"{"__name__":"up","job":"b"}"#,
                    "series?match[]=up&start=3&end=1" => "",
                    _ => {
                        r#"{"__name__":"up","job":"a"},{"__name__":"up","job":"b"},{"__name__":"x","a.b":"1"}"#
                    }
                };
                let expected = format!(r#"{{"status":"success","data":[{data}]}}"#);
                assert_eq!((status, body), (200, expected.as_str()), "{path}");
            },
        );
    }

    #[test]
    fn names_and_values_of_labels_are_sorted_lists() {
        ask_all(
            &[
                "labels",
                "labels?match[]=up",
                "label/job/values",
                "label/U__a_2e_b/values",
                "label/none/values",
            ],
            |path, status, body| {
                let data = match path {
                    "labels" => r#""__name__","a.b","job""#,
                    "labels?match[]=up" => r#""__name__","job""#,
                    "label/job/values" => r#""a","b""#,
                    "label/U__a_2e_b/values" => r#""1""#,
                    _ => "",
                };
                let expected = format!(r#"{{"status":"success","data":[{data}]}}"#);
                assert_eq!((status, body), (200, expected.as_str()), "{path}");
            },
        );
    }

    #[test]
    fn a_list_that_was_cut_says_so() {
        ask_all(
            &["labels?limit=1", "series?match[]=up&limit=1", "label/job/values?limit=1"],
            |path, _, body| {
                let warning = r#","warnings":["results truncated due to limit"]}"#;
                assert!(body.ends_with(warning), "{path}: {body}");
            },
        );
    }

    #[test]
    fn what_cannot_be_asked_is_told_in_prometheus_words() {
        ask_all(
            &[
                "series",
                "series?match[]=up&x=%zz",
                "series?match[]={}",
                "labels?start=x",
                "label/U__/values",
                "label/host.name%ff/values?start=x",
            ],
            |path, status, body| {
                let error = match path {
                    "series" => "no match[] parameter provided",
                    "series?match[]=up&x=%zz" => {
                        r#"error parsing form values: invalid URL escape \"%zz\""#
                    }
                    "series?match[]={}" => {
                        r#"invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"#
                    }
                    "labels?start=x" => {
                        r#"invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"#
                    }
                    "label/U__/values" => r#"invalid label name: \"\""#,
                    _ => r#"invalid label name: \"host.name\\xff\""#,
                };
                let expected =
                    format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#);
                assert_eq!((status, body), (400, expected.as_str()), "{path}");
            },
        );
    }

    #[test]
    fn selectors_come_by_form_too() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let asking = post_form("/api/v1/series", "match%5B%5D=up");
            assert_eq!(ask(&server, asking).await.body, r#"{"status":"success","data":[]}"#);
        });
    }
}
