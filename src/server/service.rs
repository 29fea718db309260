//! From a request to its answer: route, readiness, handler, and what every answer gets.
//!
//! One [`Server`] a core. Owns the order of things: a request that misses costs nothing; while the log is replayed the
//! endpoints that can answer do, writes and queries wait, and all others are refused; a handler that panics is answered 500 and counted, and the server lives; every
//! answer is counted. Statuses of single endpoints are theirs.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::FutureExt;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::Body as HttpBody;

use super::active_queries::{self, QueriesOfCore};
use super::admission::{Admission, ServerBudget};
use super::api_error::ApiError;
use super::body::{BodyBounds, ReadBodyError, read_body};
use super::compression::Encoding;
use super::config::current::View;
use super::form::Form;
use super::metrics::process::Process;
use super::metrics::{Counters, Scrape, exposition};
use super::reply::{self, Reply};
use super::route::{self, Endpoint, Found, Miss};
use super::settings::Settings;
use super::write::{self, WriteState};
use super::{
    admin, cors, exemplars, expression, features, federate, home, metadata, query, read, reload,
    rules, self_metrics, series, status, targets,
};
use crate::coordinator::api::{Need, Readiness, Store};
use crate::model::TimestampMs;
use crate::rt::local::{Event, Semaphore};
use crate::rt::{Stopwatch, timer};

/// The largest form, as in Go's `net/http`.
const FORM_BOUNDS: BodyBounds = BodyBounds { bytes_max: 10 << 20, unpacked_bytes_max: 0 };

/// What one core serves with.
pub struct Server<S> {
    /// The store, as this core sees it.
    pub store: S,
    /// What the command line says.
    pub settings: Arc<Settings>,
    /// What the configuration file and the command line together say now.
    pub configuration: View,
    /// What is counted.
    pub counters: Counters,
    /// Bytes of requests in flight on this core.
    pub admission: Rc<Admission>,
    /// All cores' bytes of requests in flight.
    pub budget: Arc<ServerBudget>,
    /// What writes keep from one to the next.
    pub writes: WriteState,
    /// One permit a query that runs on this core.
    pub queries: Semaphore,
    /// One permit a remote read that runs on this core.
    pub reads: Semaphore,
    /// The queries that run on this core.
    pub active_queries: QueriesOfCore,
    /// What time it is.
    pub now: fn() -> TimestampMs,
    /// Set when the server stops.
    pub stop: Event,
}

impl<S: Store> Server<S> {
    /// A server for one core.
    pub fn new(
        store: S,
        settings: Arc<Settings>,
        counters: Counters,
        budget: Arc<ServerBudget>,
        now: fn() -> TimestampMs,
        stop: Event,
    ) -> Rc<Self> {
        let queries = settings.queries_per_core(store.shard_count());
        let reads = settings.remote_reads_per_core(store.shard_count());
        let admission = Admission::new(Arc::clone(&budget), settings.inflight_bytes_per_shard_max);
        Rc::new(Self {
            store,
            configuration: View::of(settings.current.clone()),
            active_queries: settings.active_queries.of_core(),
            settings,
            counters,
            admission,
            budget,
            writes: WriteState::default(),
            queries: Semaphore::new(queries as u64),
            reads: Semaphore::new(reads as u64),
            now,
            stop,
        })
    }

    /// May requests be answered? Who asks while the server stops is late.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.stop.is_set() { Readiness::Stopping } else { self.store.readiness() }
    }

    /// Waits, for `patience` at most, until the store does this or the server stops. What holds then.
    pub async fn ready_for(&self, need: Need, patience: Duration) -> Readiness {
        let ready = futures_lite::future::or(self.store.opened(need), self.stop.wait());
        // Whether it is ready now or the patience is over: look.
        let _ = timer::timeout(patience, ready).await;
        self.readiness()
    }

    /// Answers a request, whatever it is.
    pub async fn answer<B>(&self, request: Request<B>) -> Reply
    where
        B: HttpBody<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let watch = Stopwatch::start();
        let asked = Asked::of(&request);
        let (endpoint, mut reply) =
            match route::find(request.method(), request.uri().path(), &self.settings.prefix) {
                Err(miss) => (Endpoint::Unknown, missed(&miss, request.uri().path())),
                Ok(found) => {
                    let endpoint = found.endpoint;
                    let handled = AssertUnwindSafe(self.dispatch(found, request));
                    let reply = match handled.catch_unwind().await {
                        Ok(reply) => reply,
                        Err(payload) => self.panicked(endpoint, payload.as_ref()),
                    };
                    (endpoint, reply)
                }
            };
        if asked.of_api && !matches!(endpoint, Endpoint::Write | Endpoint::Read) {
            cors::allow(&self.settings.cors_origin, asked.origin.as_ref(), reply.headers_mut());
            compress(asked.encoding, &mut reply);
        } else if matches!(endpoint, Endpoint::Federate | Endpoint::Metrics) {
            compress(asked.encoding, &mut reply);
        }
        self.counters.request(endpoint, reply.status(), watch.elapsed());
        reply
    }

    async fn dispatch<B>(&self, found: Found, request: Request<B>) -> Reply
    where
        B: HttpBody<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let readiness = self.readiness();
        let may_wait = found.endpoint.waits() && matches!(readiness, Readiness::Replaying(_));
        if !found.endpoint.answers_always()
            && !may_wait
            && let Some(reply) = home::not_ready(readiness)
        {
            return reply;
        }
        if found.endpoint == Endpoint::Write {
            return write::handle(self, request).await;
        }
        if found.endpoint == Endpoint::Read {
            return read::handle(self, request).await;
        }
        let (head, body) = request.into_parts();
        let form = match self.form(&head, body).await {
            Ok(form) => form,
            Err(error @ ReadBodyError::TooLarge { .. }) => {
                return reply::text(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string());
            }
            Err(error) => return ApiError::from(error).reply(),
        };
        let outcome = match found.endpoint {
            Endpoint::Home => Ok(home::page(&self.settings, readiness)),
            Endpoint::Version => Ok(status::bare_version()),
            Endpoint::Metrics => {
                let exposition = self.exposition().await;
                Ok(reply::whole(StatusCode::OK, exposition::CONTENT_TYPE, exposition))
            }
            Endpoint::Healthy => Ok(home::healthy()),
            Endpoint::Ready => Ok(home::ready()),
            Endpoint::Quit => Ok(reload::quit_by_request(self)),
            Endpoint::Reload => Ok(reload::reload_by_request(self).await),
            Endpoint::Federate => Ok(federate::federate(self, &head.headers, &form).await),
            Endpoint::Query => query::instant(self, &form, client(&head)).await,
            Endpoint::QueryRange => query::range(self, &form, client(&head)).await,
            Endpoint::FormatQuery => expression::format(self, &form),
            Endpoint::ParseQuery => expression::parse(self, &form),
            Endpoint::Series
            | Endpoint::Labels
            | Endpoint::LabelValues
            | Endpoint::Metadata
            | Endpoint::QueryExemplars => {
                let readiness = self.ready_for(Need::Reads, self.settings.query_timeout).await;
                match (home::not_ready(readiness), found.endpoint) {
                    (Some(reply), _) => Ok(reply),
                    (None, Endpoint::Series) => series::series(self, &form).await,
                    (None, Endpoint::Labels) => series::label_names(self, &form).await,
                    (None, Endpoint::QueryExemplars) => exemplars::exemplars(self, &form).await,
                    (None, Endpoint::Metadata) => metadata::metadata(self, &form).await,
                    (None, _) => series::label_values(self, &found.name, &form).await,
                }
            }
            Endpoint::ScrapePools => Ok(targets::scrape_pools()),
            Endpoint::ScrapePoolConfig => targets::scrape_pool_config(&form),
            Endpoint::Targets => Ok(targets::targets(&form)),
            Endpoint::TargetsMetadata => targets::metadata(&form),
            Endpoint::TargetsRelabelSteps => targets::relabel_steps(&form),
            Endpoint::Alertmanagers => Ok(targets::alertmanagers()),
            Endpoint::Rules => rules::rules(&form).await,
            Endpoint::Alerts => Ok(rules::alerts()),
            Endpoint::Notifications => Ok(rules::notifications()),
            Endpoint::NotificationsLive => Ok(rules::notifications_live()),
            Endpoint::Features => Ok(features::features(&self.settings)),
            Endpoint::ActiveQueries => Ok(active_queries::api::list(self)),
            Endpoint::CancelQuery => active_queries::api::cancel(self, &found.name),
            Endpoint::SelfMetrics => self_metrics::self_metrics(&self.exposition().await, &form),
            Endpoint::BuildInfo => Ok(status::build_info()),
            Endpoint::RuntimeInfo => Ok(status::runtime_info(self).await),
            Endpoint::Flags => Ok(status::flags(&self.settings.flags)),
            Endpoint::Config => Ok(status::config(&self.configuration.in_force())),
            Endpoint::TsdbStatus => status::tsdb(self, &form).await,
            Endpoint::TsdbBlocks => status::tsdb_blocks(self).await,
            Endpoint::DeleteSeries => admin::delete_series(self, &form).await,
            Endpoint::CleanTombstones => admin::clean_tombstones(self).await,
            Endpoint::Snapshot => admin::snapshot(self, &form).await,
            Endpoint::WalReplay => Ok(status::wal_replay(readiness)),
            Endpoint::Preflight => Ok(reply::empty(StatusCode::NO_CONTENT)),
            Endpoint::Write | Endpoint::Read | Endpoint::Unknown => {
                Ok(reply::empty(StatusCode::NOT_FOUND))
            }
        };
        outcome.unwrap_or_else(|error| error.reply())
    }

    /// The names and values of a request.
    async fn form<B>(&self, head: &Parts, body: B) -> Result<Form, ReadBodyError>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let query = head.uri.query().unwrap_or_default();
        if !matches!(head.method, Method::POST | Method::PUT) || !is_form(head) {
            return Ok(Form::new(b"", query));
        }
        let mut reservation = self.admission.reserve(FORM_BOUNDS.weight_of(&body)?)?;
        let mut bytes = Vec::new();
        let limit = self.settings.read_timeout;
        let read = read_body(body, FORM_BOUNDS, &mut reservation, &mut bytes);
        match timer::timeout(limit, read).await {
            Ok(outcome) => outcome?,
            Err(late) => return Err(ReadBodyError::Broken(late.to_string())),
        }
        Ok(Form::new(&bytes, query))
    }

    /// The server's own metrics.
    async fn exposition(&self) -> Vec<u8> {
        let shards = self.store.status().await;
        let in_force = self.configuration.in_force();
        let scrape = Scrape {
            counters: &self.counters,
            shards: &shards,
            readiness: self.readiness(),
            process: &Process::look(),
            started: self.settings.started,
            clean_start: self.settings.clean_start,
            configuration: &in_force,
            configured: self.settings.current.succeeded(),
            inflight_bytes: self.budget.held(),
            inflight_bytes_max: self.settings.inflight_bytes_max,
            queries_max: self.settings.query_concurrency_max,
            results: self.store.results(),
            query_memory: self.store.query_memory(),
        };
        scrape.expose()
    }

    fn panicked(&self, endpoint: Endpoint, payload: &(dyn Any + Send)) -> Reply {
        let words = payload.downcast_ref::<&str>().copied();
        let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let panic = words.unwrap_or("(no message)");
        self.counters.panics.add(1);
        tracing::error!(handler = endpoint.name(), panic, "a request handler panicked");
        reply::text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }
}

/// The address of a request's sender; its connection puts it into the request.
#[derive(Debug, Clone, Copy)]
pub struct Client(pub SocketAddr);

fn client(head: &Parts) -> Option<SocketAddr> {
    head.extensions.get::<Client>().map(|Client(address)| *address)
}

/// What is still needed of a request when its answer is there.
struct Asked {
    of_api: bool,
    origin: Option<HeaderValue>,
    encoding: Option<Encoding>,
}

impl Asked {
    fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let accept = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        Self {
            of_api: request.uri().path().contains("/api/v1/"),
            origin: headers.get(ORIGIN).cloned(),
            encoding: accept.and_then(Encoding::choose),
        }
    }
}

/// Does the request say that its body is a form?
fn is_form(head: &Parts) -> bool {
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| {
        let media_type = content_type.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

/// Compresses the answer if that was asked for and is worth it.
fn compress(encoding: Option<Encoding>, reply: &mut Reply) {
    reply.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(encoding) = encoding
        && reply.body_mut().compress(encoding)
    {
        let name = HeaderValue::from_static(encoding.name());
        reply.headers_mut().insert(CONTENT_ENCODING, name);
    }
}

/// The answer to a request that goes nowhere.
fn missed(miss: &Miss, path: &str) -> Reply {
    match miss {
        Miss::NotFound if path.contains("/api/v1/") => status::no_such_path(path),
        Miss::NotFound => reply::text(StatusCode::NOT_FOUND, "404 page not found"),
        Miss::Method { allow } => reply::method_not_allowed(allow),
        Miss::Path(error) => ApiError::bad_data(error.to_string()).reply(),
        // Nothing else has a name that could be wrong: numbers are looked up.
        Miss::Name(name) => series::invalid_label_name(name).reply(),
        Miss::Outside { home } => reply::found(home),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::api::{BlockMeta, ReplayProgress};
    use crate::rt::executor::testing::on_one_shard;
    use crate::rt::task;
    use crate::server::testing::{
        FakeStore, Pieces, ask, get, post_form, request, server, write_v1,
    };

    const REPLAYING: Readiness =
        Readiness::Replaying(ReplayProgress { bytes_read: 3 << 20, bytes: 10 << 20 });

    #[test]
    fn while_the_log_is_replayed_only_what_can_answer_does_at_once() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            store.readiness.set(REPLAYING);
            let server = server(&store, "");
            for path in ["/-/ready", "/api/v1/status/flags", "/api/v1/status/tsdb"] {
                let answered = ask(&server, get(path)).await;
                assert_eq!(answered.status, 503, "{path}");
                assert_eq!(answered.header("x-prometheus-stopping"), "false");
                assert!(
                    answered
                        .body
                        .starts_with("Service Unavailable: replaying the log, 3 of 10 MiB"),
                    "{}",
                    answered.body
                );
            }
            for path in ["/", "/-/healthy", "/metrics", "/version"] {
                assert_eq!(ask(&server, get(path)).await.status, 200, "{path}");
            }
            let answered = ask(&server, get("/api/v1/status/walreplay")).await;
            assert_eq!(
                answered.body,
                r#"{"status":"success","data":{"min":0,"max":10,"current":3}}"#
            );
        });
    }

    const UP: crate::server::testing::Written<'static> =
        (&[("__name__", "up")], &[(1_700_000_000_000, 1.0)]);

    fn waiting_requests() -> Vec<Request<Pieces>> {
        let paths =
            ["query?query=up", "query_range?query=up&start=1&end=2&step=1", "series?match[]=up"];
        let more = ["labels", "label/job/values"];
        let reads = paths.into_iter().chain(more).map(|path| get(&format!("/api/v1/{path}")));
        reads.chain([write_v1(&[UP])]).collect()
    }

    #[test] // once, a restart of a second cost every sender and every dashboard an error
    fn writes_and_queries_that_come_while_the_log_is_replayed_wait_and_are_answered() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            store.readiness.set(REPLAYING);
            let opened = Event::new();
            *store.opened.borrow_mut() = Some(opened.clone());
            let server = server(&store, "");
            let ask = |request| {
                let server = Rc::clone(&server);
                task::spawn("ask", async move { ask(&server, request).await.status.as_u16() })
            };
            let waiting: Vec<_> = waiting_requests().into_iter().map(ask).collect();
            assert_eq!(store.waiting.get(), waiting.len(), "all wait");
            assert_eq!(crate::server::testing::ask(&server, get("/metrics")).await.status, 200);
            store.readiness.set(Readiness::Ready);
            opened.set();
            let mut statuses = Vec::new();
            for waiting in waiting {
                statuses.push(waiting.await.unwrap());
            }
            assert_eq!(statuses, [200, 200, 200, 200, 200, 204]);
        });
    }

    #[test]
    fn who_waits_for_the_replay_is_refused_when_the_server_stops_or_patience_ends() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            store.readiness.set(REPLAYING);
            *store.opened.borrow_mut() = Some(Event::new());
            let server = server(&store, "--query.timeout=1ms");
            let late = ask(&server, get("/api/v1/query?query=up")).await;
            assert_eq!((late.status.as_u16(), late.header("retry-after")), (503, "1"));
            assert!(late.body.contains("replaying the log, 3 of 10 MiB"), "{}", late.body);
            let stopping = Rc::clone(&server);
            let written =
                task::spawn("write", async move { ask(&stopping, write_v1(&[UP])).await });
            assert!(server.admission.held() > 0, "what waits counts");
            server.stop.set();
            let refused = written.await.unwrap();
            let seen = (refused.status.as_u16(), refused.header("x-prometheus-stopping"));
            assert_eq!(seen, (503, "true"));
            assert_eq!(server.admission.held(), 0);
        });
    }

    #[test]
    fn a_server_that_stops_says_so() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            store.readiness.set(Readiness::Stopping);
            let answered = ask(&server(&store, ""), get("/-/ready")).await;
            let seen = (answered.status.as_u16(), answered.header("x-prometheus-stopping"));
            assert_eq!(seen, (503, "true"));
        });
    }

    #[test]
    fn a_ready_server_says_so_to_get_and_head() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            assert_eq!(ask(&server, get("/-/ready")).await.body, "Floodplain is Ready.\n");
            assert_eq!(ask(&server, request(Method::HEAD, "/-/healthy")).await.status, 200);
        });
    }

    #[test]
    fn a_handler_that_panics_is_answered_and_the_server_lives() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let server = server(&store, "");
            store.panics.set(true);
            assert_eq!(ask(&server, get("/metrics")).await.status, 500);
            store.panics.set(false);
            let answered = ask(&server, get("/metrics")).await;
            assert!(answered.body.contains("\nfloodplain_panics_total 1\n"));
            let counted = "prometheus_http_requests_total{code=\"500\",handler=\"/metrics\"} 1\n";
            assert!(answered.body.contains(counted), "{}", answered.body);
        });
    }

    #[test]
    fn what_is_not_there_is_told_in_the_language_of_its_path() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let answered = ask(&server, get("/api/v1/nothing")).await;
            assert_eq!(answered.status, 404);
            assert_eq!(
                answered.body,
                r#"{"status":"error","errorType":"not_found","error":"this server has no /api/v1/nothing"}"#
            );
            let answered = ask(&server, get("/nothing")).await;
            assert_eq!(
                (answered.status.as_u16(), answered.body.as_str()),
                (404, "404 page not found\n")
            );
            let answered = ask(&server, request(Method::PUT, "/api/v1/query")).await;
            let seen = (answered.status.as_u16(), answered.header("allow"));
            assert_eq!(seen, (405, "GET, HEAD, POST"));
        });
    }

    #[test]
    fn flags_are_answered_as_texts_with_the_headers_of_the_api() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "--query.timeout=90s");
            let mut asking = get("/api/v1/status/flags");
            asking.headers_mut().insert(ORIGIN, HeaderValue::from_static("http://a.b"));
            let answered = ask(&server, asking).await;
            let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
            assert_eq!(json["data"]["query.timeout"], "90s");
            assert_eq!(json["data"]["query.max-samples"], "50000000");
            assert_eq!(answered.header("content-type"), "application/json");
            assert_eq!(answered.header("access-control-allow-origin"), "*");
            let vary: Vec<_> = answered.headers.get_all(VARY).iter().collect();
            assert_eq!(vary, ["Origin", "Accept-Encoding"]);
        });
    }

    #[test]
    fn answers_are_compressed_for_who_can_unpack_them() {
        on_one_shard(|_| async {
            let flags = format!("--web.page-title={}", "x".repeat(2000));
            let server = server(&FakeStore::new(), &flags);
            let mut asking = get("/api/v1/status/flags");
            asking.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
            assert_eq!(ask(&server, asking).await.header("content-encoding"), "gzip");
            assert_eq!(
                ask(&server, get("/api/v1/status/flags")).await.header("content-encoding"),
                ""
            );
        });
    }

    #[test]
    fn a_browser_may_ask_beforehand() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "--web.cors.origin=https://a\\.b");
            let mut asking = request(Method::OPTIONS, "/api/v1/query");
            asking.headers_mut().insert(ORIGIN, HeaderValue::from_static("https://a.b"));
            let answered = ask(&server, asking).await;
            assert_eq!(answered.status, 204);
            assert_eq!(answered.header("access-control-allow-origin"), "https://a.b");
        });
    }

    #[test]
    fn the_start_page_escapes_its_title_and_lies_below_the_prefix() {
        on_one_shard(|_| async {
            let flags = "--web.page-title=<b> --web.external-url=http://a.b/x";
            let server = server(&FakeStore::new(), flags);
            let answered = ask(&server, get("/")).await;
            assert_eq!((answered.status.as_u16(), answered.header("location")), (302, "/x/"));
            let answered = ask(&server, get("/x/")).await;
            assert_eq!(answered.status, 200);
            assert!(answered.body.contains("<title>&lt;b&gt;</title>"), "{}", answered.body);
            assert!(answered.body.contains("href=\"/x/metrics\""), "{}", answered.body);
        });
    }

    #[test]
    fn parameters_come_by_form_too() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let (head, body) = post_form("/api/v1/labels?limit=1", "limit=2&x=y").into_parts();
            let form = server.form(&head, body).await.unwrap();
            assert_eq!((form.get("limit"), form.get("x")), ("2", "y"));
            let (mut head, _) = post_form("/api/v1/labels?limit=1", "").into_parts();
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            let form = server.form(&head, Pieces::whole("limit=2")).await.unwrap();
            assert_eq!(form.get("limit"), "1", "a body that is no form says nothing");
        });
    }

    #[test]
    fn a_form_that_is_too_large_is_refused_unread() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let mut asking = post_form("/api/v1/query", "");
            *asking.body_mut() = Pieces::declaring((10 << 20) + 1, &[b"broken"]);
            assert_eq!(ask(&server, asking).await.status, 413);
        });
    }

    #[test]
    fn what_this_server_does_not_have_is_an_empty_list() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            for (path, data) in [("rules", r#"{"groups":[]}"#), ("alerts", r#"{"alerts":[]}"#)] {
                let answered = ask(&server, get(&format!("/api/v1/{path}"))).await;
                assert_eq!(answered.body, format!(r#"{{"status":"success","data":{data}}}"#));
            }
        });
    }

    #[test] // Grafana takes a server whose build information has features for Mimir
    fn the_build_information_has_a_version_and_no_features() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let answered = ask(&server, get("/api/v1/status/buildinfo")).await;
            let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
            assert!(json["data"]["version"].as_str().unwrap().starts_with("3."), "{json}");
            assert!(json["data"].get("features").is_none());
            let answered = ask(&server, get("/version")).await;
            let bare: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
            assert_eq!(bare, json["data"]);
        });
    }

    #[test]
    fn the_state_of_the_store_is_told_with_as_many_names_as_asked_for() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "");
            let answered = ask(&server, get("/api/v1/status/tsdb?limit=3")).await;
            let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
            assert_eq!(json["data"]["seriesCountByMetricName"][0]["value"], 3);
            assert_eq!(ask(&server, get("/api/v1/status/tsdb?limit=0")).await.status, 400);
            let answered = ask(&server, get("/api/v1/status/runtimeinfo")).await;
            let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
            assert_eq!(json["data"]["startTime"], "2023-11-14T22:13:20Z");
            assert_eq!(json["data"]["GOMAXPROCS"], 2);
            assert_eq!(json["data"]["storageRetention"], "15d");
        });
    }

    #[test]
    fn the_blocks_are_told_as_their_meta_files_have_them() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let server = server(&store, "");
            let ask_blocks = || ask(&server, get("/api/v1/status/tsdb/blocks"));
            assert_eq!(ask_blocks().await.body, r#"{"status":"success","data":{"blocks":[]}}"#);
            let meta = r#"{"ulid":"01BKGV7JBM69T2G1BGBGM6KB12","minTime":-5,"maxTime":7200000,"stats":{"numSamples":20,"numSeries":3},"compaction":{"level":1,"sources":["01BKGV7JBM69T2G1BGBGM6KB12"]},"version":1,"floodplain":{"shard":0,"shards":2}}"#;
            let block = BlockMeta::parse(meta.as_bytes()).unwrap();
            store.blocks.borrow_mut().extend([block.clone(), block]);
            let expected = format!(r#"{{"status":"success","data":{{"blocks":[{meta},{meta}]}}}}"#);
            assert_eq!(ask_blocks().await.body, expected);
        });
    }
}
