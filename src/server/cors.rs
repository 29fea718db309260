//! Which web pages' scripts may read answers.
//!
//! Source: `util/httputil/cors.go`, Prometheus 3.14.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, VARY,
};
use http::{HeaderMap, HeaderValue};

use super::cli::serve::CorsOrigin;

/// Adds the headers to the answer to a request from a page of this origin, if it is a page's.
pub fn allow(origins: &CorsOrigin, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
    answer.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin.filter(|origin| !origin.is_empty()) else { return };
    answer.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Accept, Authorization, Content-Type, Origin"),
    );
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date"));
    let allowed = match origins {
        CorsOrigin::Any => Some(HeaderValue::from_static("*")),
        CorsOrigin::Matching(regex) => {
            let matches = origin.to_str().is_ok_and(|origin| regex.is_match(origin));
            matches.then(|| origin.clone())
        }
    };
    if let Some(allowed) = allowed {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::regexp::{Anchored, GoRegex};

    fn answer(origins: &CorsOrigin, origin: Option<&'static str>) -> HeaderMap {
        let mut answer = HeaderMap::new();
        allow(origins, origin.map(HeaderValue::from_static).as_ref(), &mut answer);
        answer
    }

    #[test]
    fn by_default_any_origin_may_read() {
        let headers = answer(&CorsOrigin::Any, Some("http://a.b"));
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, OPTIONS");
        assert_eq!(headers[VARY], "Origin");
    }

    #[test]
    fn who_sends_no_origin_gets_no_permissions() {
        let headers = answer(&CorsOrigin::Any, None);
        assert_eq!(headers.len(), 1, "{headers:?}");
    }

    #[test]
    fn an_expression_must_match_the_whole_origin() {
        let regex = GoRegex::new("https?://a\\.b", Anchored::Yes).unwrap();
        let origins = CorsOrigin::Matching(regex);
        let headers = answer(&origins, Some("http://a.b"));
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "http://a.b");
        assert!(
            !answer(&origins, Some("http://a.b.evil")).contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
        );
    }
}
