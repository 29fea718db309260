//! `/api/v1/admin/tsdb/…`: deleting series, cleaning up after that, and snapshots; only if the operator has switched it on.
//!
//! A success without data is 204. A selector that every series passes is allowed here: it deletes everything. Source:
//! `web/api/v1/api.go` (`deleteSeries`, `cleanTombstones`, `snapshot`), Prometheus 3.14.

use http::StatusCode;

use super::api_error::{ApiError, ErrorType};
use super::form::Form;
use super::json::{object, text};
use super::reply::{self, Reply};
use super::service::Server;
use super::{params, rfc3339, series};
use crate::coordinator::api::{AdminError, Store};
use crate::model::TimestampMs;
use crate::rt::entropy;

/// `delete_series`.
///
/// # Errors
/// The API is off, no selector, a parameter that cannot mean anything, or a store that fails.
pub async fn delete_series<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    enabled(server)?;
    series::check_selects(form)?;
    let range = params::range(form)?;
    let selectors = form.all("match[]").map(series::matchers).collect::<Result<_, _>>();
    let selectors = selectors.map_err(series::invalid_selector)?;
    // Time that runs backwards is none: nothing is in it, and that is no error.
    if let Some(range) = range {
        server.store.delete_series(selectors, range).await?;
        let selected: Vec<_> = form.all("match[]").collect();
        tracing::info!(?selected, from = range.min().0, to = range.max().0, "series are deleted");
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `clean_tombstones`.
///
/// # Errors
/// The API is off, or a store that fails.
pub async fn clean_tombstones<S: Store>(server: &Server<S>) -> Result<Reply, ApiError> {
    enabled(server)?;
    server.store.clean_tombstones().await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `snapshot`.
///
/// # Errors
/// The API is off, a `skip_head` that is neither true nor false, or a store that fails.
pub async fn snapshot<S: Store>(server: &Server<S>, form: &Form) -> Result<Reply, ApiError> {
    enabled(server)?;
    let skip_head = params::truth(form, "skip_head")?;
    let name = snapshot_name((server.now)(), entropy::seed());
    server.store.snapshot(name.clone(), skip_head).await.map_err(|error| match error {
        AdminError::NotReady | AdminError::Busy(_) => error.into(),
        AdminError::Storage(_) => {
            ApiError::new(ErrorType::Internal, format!("create snapshot: {error}"))
        }
    })?;
    tracing::info!(name, skip_head, "a snapshot is made");
    Ok(reply::success(|out| object(out, [("name", name.as_str())], text::string)))
}

/// Refuses what only operators may do, unless they have switched it on.
///
/// # Errors
/// That is it.
pub fn enabled<S>(server: &Server<S>) -> Result<(), ApiError> {
    if server.settings.admin_api {
        return Ok(());
    }
    Err(ApiError::new(ErrorType::Disabled, "admin APIs disabled"))
}

/// The name of a snapshot: when it was made, to the second, and a random number below 2^63.
fn snapshot_name(now: TimestampMs, random: u64) -> String {
    format!("{}-{:016x}", rfc3339::format_compact(now), random >> 1)
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};

    use super::*;
    use crate::model::TimeRange;
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{
        FakeStore, Pieces, ask, get, post_form, request, server, write_v1,
    };

    const ON: &str = "--web.enable-admin-api";
    const PATHS: [&str; 3] = ["delete_series", "clean_tombstones", "snapshot"];

    fn post(path: &str) -> Request<Pieces> {
        request(Method::POST, &format!("/api/v1/admin/tsdb/{path}"))
    }

    /// A store with three series, one sample each.
    async fn filled() -> FakeStore {
        let store = FakeStore::new();
        let series = [
            (&[("__name__", "up"), ("job", "a")][..], &[(1000, 1.0)][..]),
            (&[("__name__", "up"), ("job", "b")][..], &[(2000, 1.0)][..]),
            (&[("__name__", "x")][..], &[(3000, 1.0)][..]),
        ];
        assert_eq!(ask(&server(&store, ""), write_v1(&series)).await.status, 204);
        store
    }

    fn samples(store: &FakeStore) -> usize {
        store.samples.borrow().values().map(std::collections::BTreeMap::len).sum()
    }

    #[test]
    fn what_is_not_switched_on_is_told_so_and_nothing_is_done() {
        on_one_shard(|_| async {
            let store = filled().await;
            let server = server(&store, "");
            for path in PATHS {
                let answered = ask(&server, post(&format!("{path}?match[]=up"))).await;
                assert_eq!(answered.status, 500, "{path}");
                assert_eq!(
                    answered.body,
                    r#"{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}"#
                );
            }
            assert_eq!(samples(&store), 3);
            assert!(store.admin.borrow().is_empty());
        });
    }

    #[test]
    fn it_takes_post_and_put_and_nothing_else() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), ON);
            for path in PATHS {
                let path = format!("/api/v1/admin/tsdb/{path}?match[]=up");
                let answered = ask(&server, get(&path)).await;
                let seen = (answered.status.as_u16(), answered.header("allow"));
                assert_eq!(seen, (405, "POST, PUT"), "{path}");
                let answered = ask(&server, request(Method::PUT, &path)).await;
                assert!(answered.status.is_success(), "{path}: {}", answered.body);
            }
        });
    }

    #[test]
    fn series_are_deleted_by_selectors_and_time() {
        on_one_shard(|_| async {
            let store = filled().await;
            let server = server(&store, ON);
            for (query, left) in [
                ("match[]=up&start=1.5", 2),
                ("match[]=up&start=3&end=1", 2),
                ("match[]=none&match[]=x", 1),
                ("match[]={}", 0),
            ] {
                let answered = ask(&server, post(&format!("delete_series?{query}"))).await;
                assert_eq!((answered.status.as_u16(), answered.body.as_str()), (204, ""));
                assert_eq!(samples(&store), left, "{query}");
            }
            assert_eq!(store.admin.borrow().len(), 3, "nothing is asked about time that is none");
        });
    }

    #[test]
    fn without_times_all_of_time_is_deleted_and_a_form_will_do() {
        on_one_shard(|_| async {
            let store = filled().await;
            let server = server(&store, ON);
            for method in [Method::POST, Method::PUT] {
                let mut asking = post_form("/api/v1/admin/tsdb/delete_series", "match%5B%5D=up");
                *asking.method_mut() = method;
                assert_eq!(ask(&server, asking).await.status, 204);
            }
            assert_eq!(samples(&store), 1);
            let asked = format!("delete_series {:?}", TimeRange::ALL);
            assert_eq!(*store.admin.borrow(), [asked.clone(), asked]);
        });
    }

    #[test]
    fn what_cannot_be_deleted_is_told_in_prometheus_words() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), ON);
            for (query, error) in [
                ("", "no match[] parameter provided"),
                ("match[]=up&x=%zz", r#"error parsing form values: invalid URL escape \"%zz\""#),
                (
                    "match[]=up&end=x",
                    r#"invalid parameter \"end\": invalid time value for 'end': cannot parse \"x\" to a valid timestamp"#,
                ),
            ] {
                let answered = ask(&server, post(&format!("delete_series?{query}"))).await;
                let expected =
                    format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#);
                assert_eq!((answered.status.as_u16(), answered.body), (400, expected));
            }
            let answered = ask(&server, post("delete_series?match[]={a")).await;
            let begins = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"match[]\": 1:"#;
            assert!(answered.body.starts_with(begins), "{}", answered.body);
        });
    }

    #[test]
    fn a_snapshot_is_named_by_its_time_and_a_number() {
        assert_eq!(
            snapshot_name(TimestampMs(1_136_214_245_999), u64::MAX),
            "20060102T150405Z-7fffffffffffffff"
        );
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let server = server(&store, ON);
            let answered = ask(&server, post("snapshot")).await;
            let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
            let name = json["data"]["name"].as_str().unwrap();
            assert_eq!(
                answered.body,
                format!(r#"{{"status":"success","data":{{"name":"{name}"}}}}"#)
            );
            let (time, number) = name.split_once('-').unwrap();
            assert_eq!((time, number.len()), ("20231114T221320Z", 16));
            assert!(number.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
            assert_eq!(*store.admin.borrow(), [format!("snapshot {name} skip_head=false")]);
        });
    }

    #[test]
    fn a_snapshot_may_leave_the_head_out() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let server = server(&store, ON);
            assert_eq!(ask(&server, post("snapshot?skip_head=T")).await.status, 200);
            assert!(store.admin.borrow()[0].ends_with("skip_head=true"));
            let answered = ask(&server, post("snapshot?skip_head=yes")).await;
            assert_eq!(
                (answered.status.as_u16(), answered.body.as_str()),
                (
                    400,
                    r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"skip_head\": unable to parse boolean: strconv.ParseBool: parsing \"yes\": invalid syntax"}"#
                )
            );
        });
    }

    #[test]
    fn a_store_that_fails_is_an_internal_error_and_one_that_is_not_there_yet_is_503() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let server = server(&store, ON);
            let full = AdminError::Storage("no space left on device".to_owned());
            for (error, status, error_type) in [
                (full, 500, "internal"),
                (AdminError::NotReady, 503, "unavailable"),
                (AdminError::Busy("later"), 503, "unavailable"),
            ] {
                *store.admin_error.borrow_mut() = Some(error);
                for path in PATHS {
                    let answered = ask(&server, post(&format!("{path}?match[]=up"))).await;
                    let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
                    assert_eq!(
                        (answered.status.as_u16(), &json["errorType"]),
                        (status, &error_type.into())
                    );
                }
            }
            *store.admin_error.borrow_mut() = Some(AdminError::Storage("EIO".to_owned()));
            let answered = ask(&server, post("snapshot")).await;
            assert!(
                answered.body.contains(r#""create snapshot: storage: EIO""#),
                "{}",
                answered.body
            );
        });
    }
}
