//! A form as the query API takes it: `application/x-www-form-urlencoded` in the body of a POST.

use super::Url;

/// Head and body of a POST of `form` to `url`, with more header lines.
#[must_use]
pub fn post(url: &Url, headers: &[String], form: &[(&str, &str)]) -> (String, String) {
    let pairs: Vec<String> =
        form.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    let body = pairs.join("&");
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: floodplain-loadgen/{}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{}Content-Length: {}\r\n\r\n",
        url.path(),
        url.authority(),
        env!("CARGO_PKG_VERSION"),
        headers,
        body.len(),
    );
    (head, body)
}

/// Milliseconds since the epoch as the API's seconds.
#[must_use]
pub fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// Percent-encodes everything but letters, digits and `-._~`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_any_text() {
        assert_eq!(escape(r#"{a="b c"}[5m]"#), "%7Ba%3D%22b%20c%22%7D%5B5m%5D");
        assert_eq!(escape("ä"), "%C3%A4");
    }

    #[test]
    fn a_form_goes_to_its_url_with_its_length() {
        let url: Url = "http://127.0.0.1:9090/x".parse().unwrap();
        let (head, body) = post(&url, &["A: b".to_owned()], &[("query", "a+b"), ("time", "1.000")]);
        assert_eq!(body, "query=a%2Bb&time=1.000");
        assert!(head.starts_with("POST /x HTTP/1.1\r\nHost: 127.0.0.1:9090\r\n"), "{head}");
        assert!(head.ends_with("A: b\r\nContent-Length: 22\r\n\r\n"), "{head}");
    }
}
