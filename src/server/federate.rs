//! `/federate`: the newest sample of each series that is asked for, for another Prometheus to scrape.
//!
//! A series whose newest sample is older than the lookback delta, or a staleness marker, is not there. A series without an
//! `instance` gets an empty one, so that the scraper does not put its own in. Native histograms go in protobuf; the text format has a
//! place for those with custom buckets only, and leaves a series that has another one now out. Source: `web/federate.go`,
//! Prometheus 3.14.

mod exposition;
mod format;
mod protobuf;
mod text;

use std::collections::BTreeMap;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use self::exposition::{Newest, exposition};
use self::format::Format;
use super::body::Body;
use super::form::Form;
use super::home;
use super::json::slices::Slices;
use super::reply::{self, Reply};
use super::series;
use super::service::Server;
use crate::coordinator::api::{Need, ReadError, ReadSeries, SeriesReading, Store};
use crate::model::{Labels, Matcher, Samples, TimeRange, TimestampMs, ValueRef};
use crate::query::memory::{Account, Tab};
use crate::rt::pace::Slice;
use crate::rt::timer;

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
    let format = Format::wanted(headers);
    let external = server.configuration.in_force().config.external_labels();
    let newest = timer::timeout(limit, async {
        let Some(_turn) = server.reads.acquire(1).await else { return Err(ReadError::NotReady) };
        let (newest, account) = newest(server, selectors).await?;
        let slices = exposition(newest, &external, format, &mut Slice::start()).await;
        Ok(Charged { slices, _account: account })
    });
    let exposition = match newest.await {
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
    let mut answer = Response::new(Body::sliced(Box::new(exposition)));
    if let Ok(value) = HeaderValue::try_from(format.content_type()) {
        answer.headers_mut().insert(CONTENT_TYPE, value);
    }
    answer
}

/// An exposition whose series are charged to a query's memory until they are sent.
struct Charged {
    slices: Box<dyn Slices>,
    _account: Option<Account>,
}

impl Slices for Charged {
    fn fill(&mut self, out: &mut Vec<u8>, len: usize) -> bool {
        self.slices.fill(out, len)
    }
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
                Some((_, value)) if value.is_stale() => Newest::Gone,
                Some((t, ValueRef::Float(v))) => Newest::Float(t, v),
                Some((t, ValueRef::Histogram(h))) => Newest::Histogram(t, h.to_histogram()),
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

#[cfg(test)]
mod tests {
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
}
