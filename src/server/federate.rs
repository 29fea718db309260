//! `/federate`: the newest sample of each series that is asked for, for another Prometheus to scrape.
//!
//! ```text
//! # TYPE up untyped
//! up{instance="a:1",job="a"} 1 1700000000000      the sample's own time; external labels behind the series' own
//! ```
//! A series whose newest sample is older than the lookback delta, or a staleness marker, is not there. A series without an
//! `instance` gets an empty one, so that the scraper does not put its own in. Native histograms have no place in the text
//! format: a series that has one now is left out, as by upstream where it answers in text (`Newest` is where they would
//! go on). Names that are not legacy ones are escaped as the request wants them. Source: `web/federate.go`, Prometheus 3.14;
//! `expfmt/text_create.go` and `model/metric.go` of its common library.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::Body;
use super::form::Form;
use super::home;
use super::json::number;
use super::json::slices::Slices;
use super::reply::{self, Reply};
use super::series;
use super::service::Server;
use crate::coordinator::api::{Need, ReadError, ReadSeries, SeriesReading, Store};
use crate::model::labels::{METRIC_NAME, is_legacy_name};
use crate::model::{Labels, Matcher, Samples, TimeRange, TimestampMs, ValueRef, is_stale_nan};
use crate::query::memory::{Account, Tab};
use crate::rt::pace::Slice;
use crate::rt::timer;

/// The label whose absence is told.
const INSTANCE: &str = "instance";

/// Answers `/federate`.
pub async fn federate<S: Store>(server: &Server<S>, headers: &HeaderMap, form: &Form) -> Reply {
    if let Some(error) = form.malformed() {
        let sentence = format!("error parsing form values: {error}");
        return reply::text(StatusCode::BAD_REQUEST, &sentence);
    }
    let selectors = match series::read_each(form, series::matchers).await {
        Ok(selectors) => selectors,
        Err(why) => return reply::text(StatusCode::BAD_REQUEST, &why),
    };
    let limit = server.settings.query_timeout;
    if let Some(reply) = home::not_ready(server.ready_for(Need::Reads, limit).await) {
        return reply;
    }
    let newest = timer::timeout(limit, async {
        let Some(_turn) = server.reads.acquire(1).await else { return Err(ReadError::NotReady) };
        let (newest, account) = newest(server, selectors).await?;
        Ok((families(newest).await, account))
    });
    let (families, account) = match newest.await {
        Ok(Ok(found)) => found,
        Ok(Err(error @ ReadError::NotReady)) => return reply::try_later(&error.to_string()),
        Ok(Err(error @ ReadError::Refused(_))) => {
            return reply::text(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string());
        }
        Ok(Err(error)) => {
            return reply::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
        }
        Err(late) => return reply::text(StatusCode::SERVICE_UNAVAILABLE, &late.to_string()),
    };
    let escaping = Escaping::wanted(headers);
    let external = server.configuration.in_force().config.external_labels();
    let mut answer = Response::new(Body::sliced(Box::new(Exposition::new(
        families, &external, escaping, account,
    ))));
    if let Ok(value) = HeaderValue::try_from(format!(
        "text/plain; version=0.0.4; charset=utf-8; escaping={}",
        escaping.name()
    )) {
        answer.headers_mut().insert(CONTENT_TYPE, value);
    }
    answer
}

/// A series' newest sample.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Newest {
    Float(TimestampMs, f64),
    /// A native histogram, or a mark that there is nothing any more.
    Untold,
}

/// The newest samples within the lookback delta, of all series that any of the selectors finds.
async fn newest<S: Store>(
    server: &Server<S>,
    selectors: Vec<Vec<Matcher>>,
) -> Result<(BTreeMap<Labels, Newest>, Option<Account>), ReadError> {
    let now = (server.now)();
    let from = TimestampMs(now.0.saturating_sub(server.settings.lookback_delta_ms));
    let (mut found, mut decoded) = (BTreeMap::new(), Samples::default());
    let Some(range) = TimeRange::new(from, now) else { return Ok((found, None)) };
    let (mut slice, mut account) = (Slice::start(), None);
    for matchers in selectors {
        let mut reading = server.store.read(matchers, range);
        // All that is found is charged to one.
        let account = account.get_or_insert_with(|| reading.account().clone());
        let mut tab = Tab::of(account);
        // What comes later of a series is newer.
        while let Some(ReadSeries { labels, chunks }) = reading.next().await? {
            let Some(chunk) = chunks.last() else { continue };
            ReadSeries::decode(chunk, &mut decoded);
            let newest = match decoded.as_ref().iter().last() {
                Some((t, ValueRef::Float(v))) if !is_stale_nan(v) => Newest::Float(t, v),
                Some(_) => Newest::Untold,
                None => continue,
            };
            let bytes = size_of::<(Labels, Newest)>() * 2 + labels.as_bytes().len();
            if found.insert(labels, newest).is_none() {
                tab.add(bytes)?;
            }
            slice.breathe().await;
        }
        tab.settle()?;
    }
    Ok((found, account))
}

/// How names that are not legacy ones are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// What is not a legacy character is an underscore.
    Underscores,
    /// A dot is `_dot_`, an underscore two, anything else two underscores.
    Dots,
    /// `U__` before it, an underscore is two, anything else its number between underscores.
    Values,
}

impl Escaping {
    /// What the last `escaping` says that comes with a type this server writes, or before it.
    fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
        let mut wanted = Self::Underscores;
        for item in accept.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let mut version = "";
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                let value = value.trim_matches('"');
                match name {
                    "escaping" => wanted = Self::named(value).unwrap_or(wanted),
                    "version" => version = value,
                    _ => {}
                }
            }
            if media_type == "text/plain" && matches!(version, "" | "0.0.4") {
                break;
            }
        }
        wanted
    }

    fn named(name: &str) -> Option<Self> {
        let all = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];
        all.into_iter().find(|escaping| escaping.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// A name of a metric or a label in a form that the scraper understands.
    fn escape(self, name: &str) -> String {
        let is_plain = is_legacy_metric_name(name);
        match self {
            Self::AllowUtf8 => return name.to_owned(),
            Self::Underscores | Self::Values if is_plain => return name.to_owned(),
            Self::Underscores | Self::Values | Self::Dots => {}
        }
        let mut out = if self == Self::Values { "U__".to_owned() } else { String::new() };
        for (index, c) in name.chars().enumerate() {
            let is_legacy = c.is_ascii_alphabetic()
                || matches!(c, '_' | ':')
                || (c.is_ascii_digit() && index > 0);
            match (self, c) {
                (Self::Dots | Self::Values, '_') => out.push_str("__"),
                (Self::Dots, '.') => out.push_str("_dot_"),
                (_, c) if is_legacy => out.push(c),
                (Self::Dots, _) => out.push_str("__"),
                // Writing to a `String` cannot fail.
                (Self::Values, c) => drop(write!(out, "_{:x}_", u32::from(c))),
                _ => out.push('_'),
            }
        }
        out
    }
}

/// May a text format without quotes have it?
fn is_legacy_metric_name(name: &str) -> bool {
    is_legacy_name(&name.replace(':', "_"))
}

/// A series with its newest sample.
type Told = (Labels, TimestampMs, f64);

/// The series of each metric, in order of their labels; what has no name has no family either.
async fn families(mut found: BTreeMap<Labels, Newest>) -> BTreeMap<String, Vec<Told>> {
    let (mut families, mut slice) = (BTreeMap::<String, Vec<Told>>::new(), Slice::start());
    while let Some((labels, newest)) = found.pop_first() {
        slice.breathe().await;
        let Newest::Float(t, v) = newest else { continue };
        let Some(name) = labels.get(METRIC_NAME) else { continue };
        match families.get_mut(name) {
            Some(family) => family.push((labels, t, v)),
            None => _ = families.insert(name.to_owned(), vec![(labels, t, v)]),
        }
    }
    families
}

/// The text, series by series.
struct Exposition {
    /// In order of their metric names.
    series: std::iter::Flatten<std::collections::btree_map::IntoValues<String, Vec<Told>>>,
    /// In order of their names; what a series has itself is not put in.
    external: Vec<(String, String)>,
    escaping: Escaping,
    /// The metric whose lines are being written.
    family: String,
    /// What the series are charged to until they are written.
    _account: Option<Account>,
}

impl Exposition {
    fn new(
        families: BTreeMap<String, Vec<Told>>,
        external: &Labels,
        escaping: Escaping,
        account: Option<Account>,
    ) -> Self {
        let mut external: Vec<_> =
            external.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
        if !external.iter().any(|(name, _)| name == INSTANCE) {
            external.push((INSTANCE.to_owned(), String::new()));
            external.sort_unstable();
        }
        let series = families.into_values().flatten();
        Self { series, external, escaping, family: String::new(), _account: account }
    }

    fn series(&mut self, out: &mut Vec<u8>, labels: &Labels, t: TimestampMs, v: f64) {
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        let escaped = self.escaping.escape(name);
        let is_bare = is_legacy_metric_name(&escaped);
        if name != self.family {
            name.clone_into(&mut self.family);
            out.extend_from_slice(b"# TYPE ");
            push_name(out, &escaped);
            out.extend_from_slice(b" untyped\n");
        }
        let mut before = b'{';
        if is_bare {
            out.extend_from_slice(escaped.as_bytes());
        } else {
            out.push(before);
            push_name(out, &escaped);
            before = b',';
        }
        let own = labels.iter().filter(|label| label.name != METRIC_NAME);
        let own = own.map(|label| (label.name, label.value));
        let external = self.external.iter().filter(|(name, _)| labels.get(name).is_none());
        for (name, value) in own.chain(external.map(|(name, value)| (&**name, &**value))) {
            out.push(before);
            before = b',';
            push_name(out, &self.escaping.escape(name));
            out.push(b'=');
            push_quoted(out, value);
        }
        if before == b',' {
            out.push(b'}');
        }
        out.push(b' ');
        number::general(out, v);
        out.push(b' ');
        number::signed(out, t.0);
        out.push(b'\n');
    }
}

impl Slices for Exposition {
    fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        let full_at = out.len().saturating_add(enough);
        while let Some((labels, t, v)) = self.series.next() {
            self.series(out, &labels, t, v);
            if out.len() >= full_at {
                return true;
            }
        }
        false
    }
}

/// Appends a name, in quotes if it has to have some.
fn push_name(out: &mut Vec<u8>, name: &str) {
    if is_legacy_metric_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        push_quoted(out, name);
    }
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::STALE_NAN_BITS;
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{FakeStore, NOW, ask, get, server, write_v1};

    const MINUTE: i64 = 60_000;

    /// What a server without external labels answers; upstream's test data, whose last minute is the one before now.
    fn check(cases: &'static [(&'static str, u16, &'static str)]) {
        on_one_shard(move |_| async move {
            let server = server(&FakeStore::new(), "");
            let (last, stale) = (NOW.0 - MINUTE, f64::from_bits(STALE_NAN_BITS));
            let two = |value| [(last - MINUTE, 7.0), (last, value)];
            let written = write_v1(&[
                (
                    &[("__name__", "test_metric1"), ("foo", "bar"), ("instance", "i")],
                    &two(10_000.0),
                ),
                (&[("__name__", "test_metric1"), ("foo", "boo"), ("instance", "i")], &two(1.0)),
                (&[("__name__", "test_metric2"), ("foo", "boo"), ("instance", "i")], &two(1.0)),
                (&[("__name__", "test_metric_without_labels")], &two(1001.0)),
                (&[("__name__", "test_metric_stale")], &two(stale)),
                (&[("__name__", "test_metric_old")], &[(NOW.0 - 3 * MINUTE, 981.0)]),
                (&[("__name__", "test_metric_too_old")], &[(NOW.0 - 6 * MINUTE, 981.0)]),
            ]);
            assert_eq!(ask(&server, written).await.status, 204);
            for (query, status, body) in cases {
                let answered = ask(&server, get(&format!("/federate?{query}"))).await;
                let expected = body
                    .replace("LAST", &last.to_string())
                    .replace("OLD", &(NOW.0 - 3 * MINUTE).to_string());
                assert_eq!(
                    (answered.status.as_u16(), answered.body),
                    (*status, expected),
                    "{query}"
                );
            }
        });
    }

    #[test] // `TestFederation` of upstream
    fn the_newest_samples_are_exposed() {
        check(&[
            ("", 200, ""),
            ("match[]=does_not_match_anything", 200, ""),
            ("match[]=-not-a-valid-metric-name", 400, "1:1: parse error: unexpected <op:->\n"),
            ("match[]=not-a-valid-metric-name", 400, "1:4: parse error: unexpected <op:->\n"),
            (
                "match[]=test_metric1",
                200,
                "# TYPE test_metric1 untyped\n\
                 test_metric1{foo=\"bar\",instance=\"i\"} 10000 LAST\n\
                 test_metric1{foo=\"boo\",instance=\"i\"} 1 LAST\n",
            ),
            (
                "match[]=test_metric_without_labels",
                200,
                "# TYPE test_metric_without_labels untyped\n\
                 test_metric_without_labels{instance=\"\"} 1001 LAST\n",
            ),
            ("match[]=test_metric_stale", 200, ""),
            ("match[]=test_metric_too_old", 200, ""),
            (
                "match[]=test_metric_old",
                200,
                "# TYPE test_metric_old untyped\ntest_metric_old{instance=\"\"} 981 OLD\n",
            ),
            (
                "match[]={__name__=~'test_metric1'}&match[]={foo='bar'}&match[]=test_metric2",
                200,
                "# TYPE test_metric1 untyped\n\
                 test_metric1{foo=\"bar\",instance=\"i\"} 10000 LAST\n\
                 test_metric1{foo=\"boo\",instance=\"i\"} 1 LAST\n\
                 # TYPE test_metric2 untyped\n\
                 test_metric2{foo=\"boo\",instance=\"i\"} 1 LAST\n",
            ),
        ]);
    }

    fn text(
        series: &[(&'static str, &'static str)],
        external: &[(&'static str, &'static str)],
        escaping: Escaping,
    ) -> String {
        let labels = |pairs: &[(&'static str, &'static str)]| {
            Labels::from_pairs(pairs.iter().copied()).unwrap()
        };
        let told = vec![(labels(series), TimestampMs(1), 2e6)];
        let found = [(labels(series).get(METRIC_NAME).unwrap().to_owned(), told)].into();
        let mut out = Vec::new();
        let mut told = Exposition::new(found, &labels(external), escaping, None);
        assert!(!told.fill(&mut out, usize::MAX));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn external_labels_stand_behind_a_series_own_and_do_not_replace_them() {
        let external = [("foo", "baz"), ("zone", "ie")];
        assert_eq!(
            text(&[("__name__", "a"), ("foo", "bar\"\\\n")], &external, Escaping::Underscores),
            "# TYPE a untyped\na{foo=\"bar\\\"\\\\\\n\",instance=\"\",zone=\"ie\"} 2e+06 1\n"
        );
        assert_eq!(
            text(&[("__name__", "a")], &[("instance", "x")], Escaping::Underscores),
            "# TYPE a untyped\na{instance=\"x\"} 2e+06 1\n"
        );
    }

    #[test]
    fn names_are_escaped_as_the_scraper_wants_them() {
        let told = |escaping| text(&[("__name__", "a.b_c"), ("l.m", "v")], &[], escaping);
        assert_eq!(
            told(Escaping::AllowUtf8),
            "# TYPE \"a.b_c\" untyped\n{\"a.b_c\",\"l.m\"=\"v\",instance=\"\"} 2e+06 1\n"
        );
        assert_eq!(
            told(Escaping::Underscores),
            "# TYPE a_b_c untyped\na_b_c{l_m=\"v\",instance=\"\"} 2e+06 1\n"
        );
        assert_eq!(
            told(Escaping::Dots),
            "# TYPE a_dot_b__c untyped\na_dot_b__c{l_dot_m=\"v\",instance=\"\"} 2e+06 1\n"
        );
        assert_eq!(
            told(Escaping::Values),
            "# TYPE U__a_2e_b__c untyped\nU__a_2e_b__c{U__l_2e_m=\"v\",instance=\"\"} 2e+06 1\n"
        );
    }

    #[test]
    fn a_header_says_how() {
        for (accept, escaping) in [
            ("", Escaping::Underscores),
            ("text/plain;version=0.0.4;escaping=allow-utf-8", Escaping::AllowUtf8),
            ("application/openmetrics-text;version=1.0.0;escaping=dots,*/*;q=0.1", Escaping::Dots),
            ("text/plain, text/html;escaping=values", Escaping::Underscores),
            ("text/plain; escaping=klingon", Escaping::Underscores),
        ] {
            let headers = [(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            assert_eq!(Escaping::wanted(&headers), escaping, "{accept}");
        }
    }
}
