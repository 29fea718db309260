//! Which endpoint a method and a path name: a table, and the two ways to miss it.

use http::Method;

use super::form;

/// An endpoint. Its name is the label `handler` of the request metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// The start page.
    Home,
    /// Version as JSON, without an envelope.
    Version,
    /// The server's own metrics.
    Metrics,
    /// Does the process live?
    Healthy,
    /// Does it answer?
    Ready,
    /// Stop.
    Quit,
    /// Read the configuration file again.
    Reload,
    /// Remote write.
    Write,
    /// Remote read.
    Read,
    /// An instant query.
    Query,
    /// A range query.
    QueryRange,
    /// Exemplars of the series that an expression names.
    QueryExemplars,
    /// Series by selectors.
    Series,
    /// Names of labels.
    Labels,
    /// Values of one label.
    LabelValues,
    /// Metadata of metric families.
    Metadata,
    /// Rules, of which there are none.
    Rules,
    /// Alerts, of which there are none.
    Alerts,
    /// What was built.
    BuildInfo,
    /// What runs.
    RuntimeInfo,
    /// All flags.
    Flags,
    /// The configuration that holds.
    Config,
    /// What the Head holds, and which labels hold most of it.
    TsdbStatus,
    /// The blocks that are answered from.
    TsdbBlocks,
    /// How far the replay of the log is.
    WalReplay,
    /// Delete series, or a time of them.
    DeleteSeries,
    /// Rewrite the blocks of which something is deleted.
    CleanTombstones,
    /// Make a snapshot.
    Snapshot,
    /// Federation: the newest samples, for a Prometheus to scrape.
    Federate,
    /// A query's text, laid out.
    FormatQuery,
    /// A query's tree.
    ParseQuery,
    /// Names of what is scraped, of which there are none.
    ScrapePools,
    /// How one of them is scraped.
    ScrapePoolConfig,
    /// Targets of scrapes, of which there are none.
    Targets,
    /// What they say of their metrics.
    TargetsMetadata,
    /// How their labels come about.
    TargetsRelabelSteps,
    /// Whom alerts are sent to: nobody.
    Alertmanagers,
    /// What users of an interface are told, which is nothing.
    Notifications,
    /// The same as a stream.
    NotificationsLive,
    /// What this server can do.
    Features,
    /// The queries that run.
    ActiveQueries,
    /// An end to one of them.
    CancelQuery,
    /// The server's own metrics as JSON.
    SelfMetrics,
    /// A browser asks whether it may ask.
    Preflight,
    /// Everything else: no such path, or not with this method.
    Unknown,
}

/// What a path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Get,
    GetAndPost,
    PostAndPut,
    Anything,
}

/// Paths without a prefix; `:name` stands for one part of a path.
const TABLE: &[(Endpoint, &str, Takes)] = &[
    (Endpoint::Home, "/", Takes::Get),
    (Endpoint::Version, "/version", Takes::Get),
    (Endpoint::Metrics, "/metrics", Takes::Get),
    (Endpoint::Healthy, "/-/healthy", Takes::Get),
    (Endpoint::Ready, "/-/ready", Takes::Get),
    (Endpoint::Quit, "/-/quit", Takes::PostAndPut),
    (Endpoint::Reload, "/-/reload", Takes::PostAndPut),
    (Endpoint::Write, "/api/v1/write", Takes::Anything),
    (Endpoint::Read, "/api/v1/read", Takes::Anything),
    (Endpoint::Query, "/api/v1/query", Takes::GetAndPost),
    (Endpoint::QueryRange, "/api/v1/query_range", Takes::GetAndPost),
    (Endpoint::QueryExemplars, "/api/v1/query_exemplars", Takes::GetAndPost),
    (Endpoint::Series, "/api/v1/series", Takes::GetAndPost),
    (Endpoint::Labels, "/api/v1/labels", Takes::GetAndPost),
    (Endpoint::LabelValues, "/api/v1/label/:name/values", Takes::Get),
    (Endpoint::Metadata, "/api/v1/metadata", Takes::Get),
    (Endpoint::Rules, "/api/v1/rules", Takes::Get),
    (Endpoint::Alerts, "/api/v1/alerts", Takes::Get),
    (Endpoint::BuildInfo, "/api/v1/status/buildinfo", Takes::Get),
    (Endpoint::RuntimeInfo, "/api/v1/status/runtimeinfo", Takes::Get),
    (Endpoint::Flags, "/api/v1/status/flags", Takes::Get),
    (Endpoint::Config, "/api/v1/status/config", Takes::Get),
    (Endpoint::TsdbStatus, "/api/v1/status/tsdb", Takes::Get),
    (Endpoint::TsdbBlocks, "/api/v1/status/tsdb/blocks", Takes::Get),
    (Endpoint::WalReplay, "/api/v1/status/walreplay", Takes::Get),
    (Endpoint::DeleteSeries, "/api/v1/admin/tsdb/delete_series", Takes::PostAndPut),
    (Endpoint::CleanTombstones, "/api/v1/admin/tsdb/clean_tombstones", Takes::PostAndPut),
    (Endpoint::Snapshot, "/api/v1/admin/tsdb/snapshot", Takes::PostAndPut),
    (Endpoint::Federate, "/federate", Takes::Get),
    (Endpoint::FormatQuery, "/api/v1/format_query", Takes::GetAndPost),
    (Endpoint::ParseQuery, "/api/v1/parse_query", Takes::GetAndPost),
    (Endpoint::ScrapePools, "/api/v1/scrape_pools", Takes::Get),
    (Endpoint::ScrapePoolConfig, "/api/v1/scrape_pools/config", Takes::Get),
    (Endpoint::Targets, "/api/v1/targets", Takes::Get),
    (Endpoint::TargetsMetadata, "/api/v1/targets/metadata", Takes::Get),
    (Endpoint::TargetsRelabelSteps, "/api/v1/targets/relabel_steps", Takes::Get),
    (Endpoint::Alertmanagers, "/api/v1/alertmanagers", Takes::Get),
    (Endpoint::Notifications, "/api/v1/notifications", Takes::Get),
    (Endpoint::NotificationsLive, "/api/v1/notifications/live", Takes::Get),
    (Endpoint::Features, "/api/v1/features", Takes::Get),
    (Endpoint::ActiveQueries, "/api/v1/status/active_queries", Takes::Get),
    (Endpoint::CancelQuery, "/api/v1/status/active_queries/:name/cancel", Takes::PostAndPut),
    (Endpoint::SelfMetrics, "/api/v1/status/self_metrics", Takes::Get),
];

/// A request's endpoint, and the part of its path that stood for `:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it goes.
    pub endpoint: Endpoint,
    /// The name in the path, unescaped; empty if the path has none.
    pub name: String,
}

/// Why a request goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// There is no such path.
    NotFound,
    /// There is, but not with this method.
    Method {
        /// The methods it has, for the header `Allow`.
        allow: &'static str,
    },
    /// The path's escapes are malformed.
    Path(form::FormError),
    /// What stands for `:name`, unescaped, is not UTF-8.
    Name(Vec<u8>),
    /// The path lies outside of the prefix; this is where its start page is.
    Outside {
        /// The prefix, with a slash at its end.
        home: String,
    },
}

impl Endpoint {
    /// All endpoints; each stands at its own [`index`](Self::index).
    pub const ALL: [Self; 45] = [
        Self::Home,
        Self::Version,
        Self::Metrics,
        Self::Healthy,
        Self::Ready,
        Self::Quit,
        Self::Reload,
        Self::Write,
        Self::Read,
        Self::Query,
        Self::QueryRange,
        Self::QueryExemplars,
        Self::Series,
        Self::Labels,
        Self::LabelValues,
        Self::Metadata,
        Self::Rules,
        Self::Alerts,
        Self::BuildInfo,
        Self::RuntimeInfo,
        Self::Flags,
        Self::Config,
        Self::TsdbStatus,
        Self::TsdbBlocks,
        Self::WalReplay,
        Self::DeleteSeries,
        Self::CleanTombstones,
        Self::Snapshot,
        Self::Federate,
        Self::FormatQuery,
        Self::ParseQuery,
        Self::ScrapePools,
        Self::ScrapePoolConfig,
        Self::Targets,
        Self::TargetsMetadata,
        Self::TargetsRelabelSteps,
        Self::Alertmanagers,
        Self::Notifications,
        Self::NotificationsLive,
        Self::Features,
        Self::ActiveQueries,
        Self::CancelQuery,
        Self::SelfMetrics,
        Self::Preflight,
        Self::Unknown,
    ];

    /// Its place in an array with one element an endpoint.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The label `handler` of its metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Preflight => "/api/v1/*path",
            Self::Unknown => "unknown",
            other => TABLE
                .iter()
                .find(|(endpoint, ..)| *endpoint == other)
                .map_or("unknown", |(_, path, _)| path),
        }
    }

    /// Does a request that comes while the log is replayed wait for that? Whoever asks for the state of the server does not.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(
            self,
            Self::Write
                | Self::Read
                | Self::Query
                | Self::QueryRange
                | Self::Series
                | Self::Labels
                | Self::LabelValues
                | Self::Federate
        )
    }

    /// Does it answer before the log is replayed, and while the server stops?
    #[must_use]
    pub fn answers_always(self) -> bool {
        matches!(
            self,
            Self::Home
                | Self::Version
                | Self::Metrics
                | Self::Healthy
                | Self::Quit
                | Self::Reload
                | Self::WalReplay
                | Self::Notifications
                | Self::NotificationsLive
                | Self::Preflight
                | Self::Unknown
        )
    }
}

impl Takes {
    fn allows(self, method: &Method) -> bool {
        let get = matches!(*method, Method::GET | Method::HEAD);
        match self {
            Self::Get => get,
            Self::GetAndPost => get || *method == Method::POST,
            Self::PostAndPut => matches!(*method, Method::POST | Method::PUT),
            Self::Anything => true,
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::GetAndPost => "GET, HEAD, POST",
            Self::PostAndPut => "POST, PUT",
            Self::Anything => "GET, HEAD, POST",
        }
    }
}

/// Finds the endpoint of a request. `prefix` is empty, or begins with a slash and does not end with one.
///
/// # Errors
/// No such path below the prefix, or not with this method.
pub fn find(method: &Method, path: &str, prefix: &str) -> Result<Found, Miss> {
    let below = path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(path) = below else {
        return Err(match path {
            "/" => Miss::Outside { home: format!("{prefix}/") },
            _ => Miss::NotFound,
        });
    };
    let path = if path.is_empty() { "/" } else { path };
    if *method == Method::OPTIONS && path.starts_with("/api/v1/") {
        return Ok(Found { endpoint: Endpoint::Preflight, name: String::new() });
    }
    for (endpoint, pattern, takes) in TABLE {
        if let Some(name) = matches(pattern, path) {
            if !takes.allows(method) {
                return Err(Miss::Method { allow: takes.allow() });
            }
            let name = form::unescape(name.as_bytes(), false).map_err(Miss::Path)?;
            let name = String::from_utf8(name).map_err(|error| Miss::Name(error.into_bytes()))?;
            return Ok(Found { endpoint: *endpoint, name });
        }
    }
    Err(Miss::NotFound)
}

/// What stands in `path` where `pattern` has `:name`; the empty text if the pattern has none and the two are the same.
fn matches<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, after)) = pattern.split_once(":name") else {
        return (pattern == path).then_some("");
    };
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(method: Method, path: &str) -> Result<Endpoint, Miss> {
        find(&method, path, "").map(|found| found.endpoint)
    }

    #[test]
    fn every_endpoint_stands_at_its_index_and_has_a_name_of_its_own() {
        let mut names: Vec<_> = Endpoint::ALL.iter().map(|endpoint| endpoint.name()).collect();
        for (i, endpoint) in Endpoint::ALL.iter().enumerate() {
            assert_eq!(endpoint.index(), i);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Endpoint::ALL.len());
    }

    #[test]
    fn queries_come_by_get_and_post_and_nothing_else() {
        assert_eq!(endpoint(Method::GET, "/api/v1/query"), Ok(Endpoint::Query));
        assert_eq!(endpoint(Method::POST, "/api/v1/query"), Ok(Endpoint::Query));
        assert_eq!(
            endpoint(Method::DELETE, "/api/v1/query"),
            Err(Miss::Method { allow: "GET, HEAD, POST" })
        );
        assert_eq!(
            endpoint(Method::POST, "/api/v1/label/job/values"),
            Err(Miss::Method { allow: "GET, HEAD" })
        );
    }

    #[test]
    fn a_label_name_is_unescaped_and_is_one_part_of_the_path() {
        let name = |path| find(&Method::GET, path, "").map(|found| found.name);
        assert_eq!(name("/api/v1/label/a%2Fb+c/values"), Ok("a/b+c".to_owned()));
        assert_eq!(name("/api/v1/label//values"), Err(Miss::NotFound));
        assert_eq!(name("/api/v1/label/a/b/values"), Err(Miss::NotFound));
        assert!(matches!(name("/api/v1/label/%zz/values"), Err(Miss::Path(_))));
        assert_eq!(name("/api/v1/label/a%ff/values"), Err(Miss::Name(b"a\xff".to_vec())));
    }

    #[test]
    fn a_browser_may_ask_about_any_api_path() {
        assert_eq!(endpoint(Method::OPTIONS, "/api/v1/anything/at/all"), Ok(Endpoint::Preflight));
        assert_eq!(endpoint(Method::OPTIONS, "/nothing"), Err(Miss::NotFound));
    }

    #[test]
    fn a_prefix_stands_before_every_path() {
        let at = |path| find(&Method::GET, path, "/x/y").map(|found| found.endpoint);
        assert_eq!(at("/x/y/metrics"), Ok(Endpoint::Metrics));
        assert_eq!(at("/x/y"), Ok(Endpoint::Home));
        assert_eq!(at("/x/y/"), Ok(Endpoint::Home));
        assert_eq!(at("/metrics"), Err(Miss::NotFound));
        assert_eq!(at("/x/yz"), Err(Miss::NotFound));
        assert_eq!(at("/"), Err(Miss::Outside { home: "/x/y/".to_owned() }));
    }
}
