//! `/api/v1/series`, `/api/v1/labels` and `/api/v1/label/<name>/values`: which series there are, and their labels.
//!
//! Answers are sorted. Source: `web/api/v1/api.go` (`series`, `labelNames`, `labelValues`), Prometheus 3.14.

use super::api_error::{ApiError, ErrorType};
use super::form::Form;
use super::json::slices::{self, List};
use super::json::{Notes, text};
use super::reply::{self, Reply};
use super::service::Server;
use super::{label_name, params};
use crate::coordinator::api::{Limited, ReadError, Store};
use crate::coordinator::reading_texts;
use crate::model::{Matcher, TimeRange};
use crate::query::parser::parse_metric_selector;
use crate::query::quote::quoted;
use crate::rt::timer;

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
    let selectors = selectors(form).await.map_err(invalid_selector)?;
    let Some(range) = range else { return Ok(list(None, slices::labels)) };
    let found = in_time(server, server.store.series(selectors, range, limit)).await?;
    Ok(list(Some(found), slices::labels))
}

/// `labels`.
///
/// # Errors
/// A parameter that cannot mean anything, or a store that cannot answer.
pub async fn label_names<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    let Asked { limit, range, selectors } = asked(form).await?;
    let Some(range) = range else { return Ok(list(None, name)) };
    let found = in_time(server, server.store.label_names(selectors, range, limit)).await?;
    Ok(list(Some(found), name))
}

/// `label/<name>/values`; `label` as the path has the name.
///
/// # Errors
/// A name that no label has, a parameter that cannot mean anything, or a store that cannot answer.
pub async fn label_values<S: Store>(
    server: &Server<S>,
    label: &str,
    form: &Form,
) -> Result<Reply, ApiError> {
    let label = label_name::unescape(label);
    if label.is_empty() {
        return Err(invalid_label_name(label.as_bytes()));
    }
    let Asked { limit, range, selectors } = asked(form).await?;
    let Some(range) = range else { return Ok(list(None, name)) };
    let found = in_time(server, server.store.label_values(label, selectors, range, limit)).await?;
    Ok(list(Some(found), name))
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

async fn asked(form: &Form) -> Result<Asked, ApiError> {
    let limit = params::limit(form)?;
    let range = params::range(form)?;
    Ok(Asked { limit, range, selectors: selectors(form).await.map_err(ApiError::bad_data)? })
}

#[expect(clippy::ptr_arg, reason = "a list's items are these")]
fn name(out: &mut Vec<u8>, name: &String) {
    text::string(out, name);
}

/// The array of what was found, of which `each` appends one; an empty one if nothing was looked for.
fn list<T: 'static>(found: Option<Limited<T>>, each: fn(&mut Vec<u8>, &T)) -> Reply {
    let list = match found {
        None => List::new(Vec::new(), each, Notes::default()),
        Some(Limited { items, truncated, account }) => {
            List::new(items, each, truncation(truncated)).holding(account)
        }
    };
    reply::sliced(Box::new(list))
}

/// What the store answers within the time that a query may take.
///
/// # Errors
/// Those of the store, and that it takes longer.
pub async fn in_time<S: Store, T>(
    server: &Server<S>,
    asked: impl Future<Output = Result<T, ReadError>>,
) -> Result<T, ApiError> {
    let limit = server.settings.query_timeout;
    match timer::timeout(limit, asked).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(ApiError::new(
            ErrorType::Timeout,
            format!(
                "no answer within {limit:?} (--query.timeout); ask for fewer series or a shorter time"
            ),
        )),
    }
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
pub async fn selectors(form: &Form) -> Result<Vec<Vec<Matcher>>, String> {
    // All are read first, and what does not parse is told before what would pass everything.
    let selectors = read_each(form, matchers).await?;
    if selectors.iter().any(|matchers| matchers.iter().all(Matcher::matches_empty)) {
        return Err("match[] must contain at least one non-empty matcher".to_owned());
    }
    Ok(selectors)
}

/// What `read` makes of each `match[]`.
///
/// # Errors
/// What it refuses, or texts that are too long.
pub async fn read_each<T: Send + 'static>(
    form: &Form,
    read: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    const TEXT_BYTES_MAX: usize = 1 << 20;
    let texts: Vec<String> = form.all("match[]").map(str::to_owned).collect();
    let bytes = texts.iter().map(String::len).sum();
    if bytes > TEXT_BYTES_MAX {
        return Err(format!(
            "the selectors have {bytes} bytes, at most {TEXT_BYTES_MAX} are allowed; ask in parts"
        ));
    }
    let all = move || texts.iter().map(|text| read(text)).collect();
    reading_texts::read(bytes, all).await.map_err(|error| error.to_string())?
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
    use futures_lite::future::block_on;

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
        let compiled = block_on(selectors(&form("match[]=up&match[]={job=~%22a|b%22}"))).unwrap();
        assert_eq!(compiled.len(), 2);
        assert!(compiled[0][0].matches("up") && compiled[1][0].matches("b"));
    }

    #[test]
    fn a_selector_that_everything_passes_is_refused() {
        for text in ["{job=~%22.*%22}", "{job=%22%22}"] {
            assert_eq!(
                block_on(selectors(&form(&format!("match[]={text}")))).unwrap_err(),
                "match[] must contain at least one non-empty matcher",
                "{text}"
            );
        }
    }

    #[test]
    fn a_selector_that_does_not_parse_says_where() {
        on_one_shard(|_| async {
            for query in ["match[]={a", "match[]={}&match[]={a"] {
                let error = selectors(&form(query)).await.unwrap_err();
                assert!(error.starts_with("1:3: parse error: "), "{error}");
            }
        });
    }

    #[test]
    fn selectors_that_cost_too_much_are_refused_with_the_reason() {
        on_one_shard(|_| async {
            let large = r#"match[]={a=~"\\pL{40}"}&"#.repeat(17);
            let error = selectors(&Form::new(large.as_bytes(), "")).await.unwrap_err();
            assert!(error.contains("expression too large"), "{error}");
            let many = r#"match[]={a=~"x[a-z]%2By"}&"#.repeat(501);
            let error = selectors(&Form::new(many.as_bytes(), "")).await.unwrap_err();
            assert!(error.contains("at most 500 are allowed"), "{error}");
            let long = format!("match[]=a{}", "b".repeat(1 << 20));
            let error = selectors(&Form::new(long.as_bytes(), "")).await.unwrap_err();
            assert!(error.contains("ask in parts"), "{error}");
        });
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
