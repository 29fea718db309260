//! What a scraper's `Accept` asks for: a format, and how names that are not legacy ones are written in it.
//!
//! Source: `expfmt/expfmt.go` (`Negotiate`) and `model/metric.go` (`EscapeName`) of Prometheus's common library.

use std::fmt::Write as _;

use http::HeaderMap;
use http::header::ACCEPT;

use crate::model::labels::is_legacy_name;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// In which bytes.
    pub kind: Kind,
    /// How names are.
    pub escaping: Escaping,
}

/// In which bytes an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The text format, version 0.0.4: it has no native histograms.
    Text,
    /// Families in protobuf, each behind its length.
    Protobuf,
}

/// How names that are not legacy ones are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// What is not a legacy character is an underscore.
    Underscores,
    /// A dot is `_dot_`, an underscore two, anything else two underscores.
    Dots,
    /// `U__` before it, an underscore is two, anything else its number between underscores.
    Values,
}

/// One of the types that a client takes.
#[derive(Debug, Default)]
struct Accepted<'a> {
    media_type: &'a str,
    quality: f64,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Accepted<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let pairs = parts.filter_map(|part| part.split_once('='));
        let params: Vec<_> =
            pairs.map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))).collect();
        let mut accepted = Self { media_type, quality: 1.0, params };
        accepted.quality = accepted.param("q").parse().unwrap_or(1.0);
        accepted
    }

    fn param(&self, name: &str) -> &'a str {
        self.params.iter().find(|(have, _)| *have == name).map_or("", |(_, value)| value)
    }

    /// The format that it names, if this server writes it.
    fn kind(&self) -> Option<Kind> {
        match self.media_type {
            "application/vnd.google.protobuf"
                if self.param("proto") == "io.prometheus.client.MetricFamily"
                    && self.param("encoding") == "delimited" =>
            {
                Some(Kind::Protobuf)
            }
            "text/plain" if matches!(self.param("version"), "" | "0.0.4") => Some(Kind::Text),
            _ => None,
        }
    }
}

impl Format {
    /// The format that a request wants most, of those that this server writes; text if it wants none of them. Names are
    /// written as the last `escaping` says that comes with it, or with one that is wanted more.
    pub fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
        let mut all: Vec<_> = accept.split(',').map(Accepted::read).collect();
        all.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        let mut escaping = Escaping::Underscores;
        for accepted in all {
            escaping = Escaping::named(accepted.param("escaping")).unwrap_or(escaping);
            if let Some(kind) = accepted.kind() {
                return Self { kind, escaping };
            }
        }
        Self { kind: Kind::Text, escaping }
    }

    /// The answer's `Content-Type`.
    pub fn content_type(self) -> String {
        let kind = match self.kind {
            Kind::Text => "text/plain; version=0.0.4; charset=utf-8",
            Kind::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        };
        format!("{kind}; escaping={}", self.escaping.name())
    }
}

impl Escaping {
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
    #[must_use]
    pub fn escape(self, name: &str) -> String {
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
pub fn is_legacy_metric_name(name: &str) -> bool {
    is_legacy_name(&name.replace(':', "_"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wanted(accept: &'static str) -> Format {
        let headers = [(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
        Format::wanted(&headers)
    }

    #[test]
    fn a_header_says_how_names_are_written() {
        for (accept, escaping) in [
            ("", Escaping::Underscores),
            ("text/plain;version=0.0.4;escaping=allow-utf-8", Escaping::AllowUtf8),
            ("application/openmetrics-text;version=1.0.0;escaping=dots,*/*;q=0.1", Escaping::Dots),
            ("text/plain, text/html;escaping=values", Escaping::Underscores),
            ("text/plain; escaping=klingon", Escaping::Underscores),
        ] {
            assert_eq!(wanted(accept).escaping, escaping, "{accept}");
        }
    }

    #[test]
    fn the_format_is_the_best_one_of_those_that_are_written_here() {
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily";
        let cases = [
            ("{};encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.5", Kind::Protobuf),
            ("text/plain;q=0.5,{};encoding=delimited;q=0.6", Kind::Protobuf),
            ("{};encoding=delimited;q=0.4,text/plain;q=0.5", Kind::Text),
            ("{};encoding=text,*/*;q=0.1", Kind::Text),
            ("application/openmetrics-text;version=1.0.0", Kind::Text),
            ("", Kind::Text),
        ];
        for (accept, kind) in cases {
            let accept = accept.replace("{}", protobuf);
            assert_eq!(wanted(accept.clone().leak()).kind, kind, "{accept}");
        }
        assert_eq!(
            wanted("text/plain;escaping=dots").content_type(),
            "text/plain; version=0.0.4; charset=utf-8; escaping=dots"
        );
    }
}
