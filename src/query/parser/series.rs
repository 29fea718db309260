//! Series with their values, as the `load` blocks of test scripts have them.
//!
//! ```text
//! series     metric values               metric   name{a="b"} | {"name", a="b"} | name | nothing
//! values     (space item)*
//! item       _ | _xN                     a missing value, N missing values
//!            value | valuexN             a value, N+1 values
//!            value+stepxN, value-stepxN  N+1 values: value, value + step, ...
//! value      number | stale | {{histogram}}
//! histogram  key:value separated by spaces; keys: schema sum count z_bucket z_bucket_w buckets offset n_buckets n_offset
//!            custom_values counter_reset_hint; lists in [ ], separated by spaces
//! ```
//! Items are not expanded: a line of ten bytes can stand for 10^19 values, and how histograms add is not known here.
//! Source: Prometheus, `promql/parser/generated_parser.y`, "Series descriptions".

use super::cursor::{Parsed, Parser, Stop};
use super::histogram::HistogramLiteral;
use super::token::TokenKind;
use crate::model::labels::METRIC_NAME;
use crate::model::{Labels, STALE_NAN_BITS};
use crate::query::ast::{BinaryOp, TextRange};
use crate::query::quote::{quoted, unquoted};

const LABEL_SET: &str = "label set";
const VALUES: &str = "series values";

/// A series and its values.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesDescription {
    /// Its labels, the name among them.
    pub labels: Labels,
    /// Its values in order.
    pub items: Vec<SeriesItem>,
}

/// One or more values of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesItem {
    /// No value, so many times.
    Missing {
        /// How many.
        count: u64,
    },
    /// Numbers: `first`, `first + step`, and so on.
    Floats {
        /// The first one; the staleness marker for `stale`.
        first: f64,
        /// What is added from one to the next.
        step: f64,
        /// How many follow the first.
        repeats: u64,
    },
    /// Histograms: `first`, then `step` added or subtracted again and again.
    Histograms {
        /// The first one.
        first: Box<HistogramLiteral>,
        /// What is added or subtracted from one to the next.
        step: Option<HistogramStep>,
        /// How many follow the first.
        repeats: u64,
    },
}

/// How a histogram differs from the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramStep {
    /// Subtract, not add?
    pub subtract: bool,
    /// What.
    pub histogram: Box<HistogramLiteral>,
}

impl SeriesItem {
    /// How many values it stands for; stops at the largest number.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Missing { count } => *count,
            Self::Floats { repeats, .. } | Self::Histograms { repeats, .. } => {
                repeats.saturating_add(1)
            }
        }
    }
}

impl Parser<'_> {
    /// The whole text as a series; `None` if it is not one.
    pub(super) fn whole_series(&mut self) -> Option<SeriesDescription> {
        let parsed = self.series();
        self.whole(parsed)
    }

    fn series(&mut self) -> Parsed<SeriesDescription> {
        let (pairs, span) = self.metric()?;
        let items = self.values()?;
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::from_pairs(pairs).unwrap_or_else(|error| {
            self.report(span, error.to_string());
            Labels::empty()
        });
        Ok(SeriesDescription { labels, items })
    }

    /// The labels, of which several may have the same name, and where the metric's name stands.
    fn metric(&mut self) -> Parsed<(Vec<(String, String)>, TextRange)> {
        let mut pairs = Vec::new();
        let mut span = self.last_span();
        let mut name = None;
        if self.peek().is_metric_name() {
            span = self.bump().span();
            name = Some(self.text_of(span));
        }
        if self.peek() == TokenKind::LeftBrace {
            self.label_set(&mut pairs)?;
        }
        if let Some(name) = name {
            pairs.retain(|(label, _)| label != METRIC_NAME);
            pairs.push((METRIC_NAME.to_owned(), name));
        }
        Ok((pairs, span))
    }

    /// `{a="b"}`; the brace comes next.
    fn label_set(&mut self, pairs: &mut Vec<(String, String)>) -> Parsed<()> {
        self.bump();
        while self.peek() != TokenKind::RightBrace {
            match self.label() {
                Ok(pair) => pairs.extend(pair),
                Err(stop) => self.recover(stop, LABEL_SET, "identifier or \"}\"")?,
            }
            loop {
                match self.peek() {
                    TokenKind::RightBrace => break,
                    TokenKind::Comma => {
                        self.bump();
                        break;
                    }
                    _ => match self.refuse() {
                        Ok(()) => {}
                        Err(stop) => self.recover(stop, LABEL_SET, "\",\" or \"}\"")?,
                    },
                }
            }
        }
        self.bump();
        Ok(())
    }

    /// One label; `None` if it is faulty and that has been reported.
    fn label(&mut self) -> Parsed<Option<(String, String)>> {
        let quoted_name = loop {
            match self.peek() {
                TokenKind::Identifier => break false,
                TokenKind::String => break true,
                _ => self.refuse()?,
            }
        };
        let span = self.bump().span();
        let name = if quoted_name { self.unquoted_label(span) } else { self.text_of(span) };
        if self.peek() != TokenKind::Assign {
            if quoted_name {
                return Ok(Some((METRIC_NAME.to_owned(), name)));
            }
            self.recover(Stop::Fault, LABEL_SET, "\"=\"")?;
            return Ok(None);
        }
        self.bump();
        match self.expect(TokenKind::String) {
            Ok(value) => Ok(Some((name, self.unquoted_label(value.span())))),
            Err(stop) => {
                self.recover(stop, LABEL_SET, "string")?;
                Ok(None)
            }
        }
    }

    fn text_of(&self, span: TextRange) -> String {
        String::from_utf8_lossy(self.word(span)).into_owned()
    }

    fn unquoted_label(&mut self, span: TextRange) -> String {
        String::from_utf8(unquoted(self.word(span))).unwrap_or_else(|error| {
            let shown = quoted(error.as_bytes());
            self.report(span, format!("{shown} is not UTF-8, but names and values of labels are"));
            String::new()
        })
    }

    fn values(&mut self) -> Parsed<Vec<SeriesItem>> {
        let mut items = Vec::new();
        if !matches!(self.peek(), TokenKind::Space | TokenKind::Eof | TokenKind::Nothing) {
            self.recover(Stop::Fault, VALUES, "")?;
        }
        while self.accept(TokenKind::Space).is_some() {
            if self.peek().begins_item() {
                match self.item() {
                    Ok(item) => items.push(item),
                    Err(stop) => self.recover(stop, VALUES, "")?,
                }
            }
        }
        Ok(items)
    }

    fn item(&mut self) -> Parsed<SeriesItem> {
        match self.peek() {
            TokenKind::Blank => {
                self.bump();
                let count = self.repeats()?.unwrap_or(1);
                Ok(SeriesItem::Missing { count })
            }
            TokenKind::OpenHistogram => self.histograms(),
            _ => self.floats(),
        }
    }

    /// `xN`, if that comes next.
    fn repeats(&mut self) -> Parsed<Option<u64>> {
        match self.accept(TokenKind::Times) {
            Some(_) => self.whole_number().map(Some),
            None => Ok(None),
        }
    }

    fn floats(&mut self) -> Parsed<SeriesItem> {
        let first = match self.peek() {
            TokenKind::Identifier => {
                let span = self.bump().span();
                if self.word(span) != b"stale" {
                    self.report_unexpected(VALUES, "number or \"stale\"");
                }
                f64::from_bits(STALE_NAN_BITS)
            }
            _ => self.signed_number()?,
        };
        let step = match self.peek() {
            TokenKind::Binary(BinaryOp::Add | BinaryOp::Sub) => self.signed_number()?,
            _ => {
                let repeats = self.repeats()?.unwrap_or_default();
                return Ok(SeriesItem::Floats { first, step: 0.0, repeats });
            }
        };
        self.expect(TokenKind::Times)?;
        let repeats = self.whole_number()?;
        Ok(SeriesItem::Floats { first, step, repeats })
    }

    fn histograms(&mut self) -> Parsed<SeriesItem> {
        let first = Box::new(self.histogram()?);
        let step = match self.sign() {
            Some(subtract) => {
                Some(HistogramStep { subtract, histogram: Box::new(self.histogram()?) })
            }
            None => None,
        };
        let repeats = match step {
            Some(_) => {
                self.expect(TokenKind::Times)?;
                self.whole_number()?
            }
            None => self.repeats()?.unwrap_or_default(),
        };
        Ok(SeriesItem::Histograms { first, step, repeats })
    }

    pub(super) fn signed_number(&mut self) -> Parsed<f64> {
        let negative = self.sign() == Some(true);
        let number = self.plain_number()?;
        Ok(if negative { -number } else { number })
    }

    pub(super) fn plain_number(&mut self) -> Parsed<f64> {
        loop {
            match self.peek() {
                TokenKind::Number | TokenKind::Duration => return Ok(self.number().0.value),
                _ => self.refuse()?,
            }
        }
    }

    /// A number of repetitions.
    pub(super) fn whole_number(&mut self) -> Parsed<u64> {
        let span = self.expect(TokenKind::Number)?.span();
        let word = self.text_of(span);
        Ok(word.parse().unwrap_or_else(|_| {
            let shown = quoted(word.as_bytes());
            let digits_only = word.bytes().all(|byte| byte.is_ascii_digit());
            let why = if digits_only { "value out of range" } else { "invalid syntax" };
            let what = "invalid repetition in series values";
            self.report(span, format!("{what}: strconv.ParseUint: parsing {shown}: {why}"));
            0
        }))
    }
}

impl TokenKind {
    /// May a value begin with it?
    fn begins_item(self) -> bool {
        matches!(
            self,
            Self::Blank
                | Self::Identifier
                | Self::Number
                | Self::Duration
                | Self::OpenHistogram
                | Self::Binary(BinaryOp::Add | BinaryOp::Sub)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{STALE_NAN_BITS, SeriesItem};
    use crate::query::parser::parse_series_description;

    fn items(values: &str) -> Vec<SeriesItem> {
        parse_series_description(&format!("a {values}")).unwrap().items
    }

    fn floats(first: f64, step: f64, repeats: u64) -> SeriesItem {
        SeriesItem::Floats { first, step, repeats }
    }

    fn message(text: &str) -> String {
        parse_series_description(text).unwrap_err().to_string()
    }

    #[test]
    fn a_series_has_labels_and_perhaps_values() {
        let labels = |text: &str| parse_series_description(text).unwrap().labels.to_string();
        assert_eq!(
            labels("up{job=\"a\", instance='0'} 1 2"),
            "{__name__=\"up\", instance=\"0\", job=\"a\"}"
        );
        assert_eq!(labels("{\"a.b\", \"c.d\"=\"e\",}\t1"), "{__name__=\"a.b\", \"c.d\"=\"e\"}");
        assert_eq!(labels("sum"), "{__name__=\"sum\"}");
        assert_eq!(labels(""), "{}");
    }

    #[test]
    fn values_repeat_and_step() {
        assert_eq!(
            items("1 -2.5 +3"),
            [floats(1.0, 0.0, 0), floats(-2.5, 0.0, 0), floats(3.0, 0.0, 0)]
        );
        assert_eq!(
            items("1x2 0+50x3 5-1x2"),
            [floats(1.0, 0.0, 2), floats(0.0, 50.0, 3), floats(5.0, -1.0, 2)]
        );
        assert_eq!(
            items("_ _x3"),
            [SeriesItem::Missing { count: 1 }, SeriesItem::Missing { count: 3 }]
        );
        assert_eq!(items("0x5"), [floats(0.0, 0.0, 5)], "hexadecimal is not known here");
        assert_eq!(
            items("-Inf inf"),
            [floats(f64::NEG_INFINITY, 0.0, 0), floats(f64::INFINITY, 0.0, 0)]
        );
        assert_eq!(items(" 1 \t  2  ").len(), 2);
    }

    #[test]
    fn stale_is_the_staleness_marker() {
        let [SeriesItem::Floats { first, repeats: 0, .. }] = items("stale")[..] else {
            panic!("one value")
        };
        assert_eq!(first.to_bits(), STALE_NAN_BITS);
    }

    #[test]
    fn a_short_text_may_stand_for_more_values_than_fit_anywhere() {
        let all = items("1+1x18446744073709551615");
        assert_eq!(all, [floats(1.0, 1.0, u64::MAX)]);
        assert_eq!(all[0].count(), u64::MAX);
    }

    #[test]
    fn faults_are_told_in_upstreams_words() {
        assert_eq!(
            message("{\"http.requests\"xx} 0+50x2"),
            "1:17: parse error: unexpected identifier \"xx\" in label set, expected \",\" or \"}\""
        );
        assert_eq!(
            message("{\"a\"=, x=\"y\"} 1"),
            "1:6: parse error: unexpected \",\" in label set, expected string"
        );
        assert_eq!(message("{\"a} 1"), "1:2: parse error: unterminated quoted string");
        assert_eq!(
            message("a foo"),
            "1:3: parse error: unexpected identifier \"foo\" in series values, expected number or \"stale\""
        );
        assert_eq!(message("a 1x"), "1:5: parse error: unexpected end of input in series values");
        assert_eq!(
            message("a 1 $"),
            "1:5: parse error: unexpected character in series sequence: '$'"
        );
        let repetition = "invalid repetition in series values: strconv.ParseUint: parsing";
        assert_eq!(
            message("a 1x1.5"),
            format!("1:5: parse error: {repetition} \"1.5\": invalid syntax")
        );
        assert_eq!(
            message("a 1x99999999999999999999"),
            format!("1:5: parse error: {repetition} \"99999999999999999999\": value out of range")
        );
        assert_eq!(
            message("a {{ schema:1}}"),
            "1:6: parse error: unexpected \"<Item 57372>\" \"schema\" in series values"
        );
        let of_paren = parse_series_description("(a").unwrap_err();
        let messages: Vec<&str> = of_paren.errors().iter().map(|e| e.message.as_str()).collect();
        assert_eq!(messages, ["unexpected \"(\" in series values", "unclosed left parenthesis"]);
        assert_eq!(
            message("{a=\"1\",a=\"2\"} 1"),
            "1:1: parse error: label name \"a\" is not unique"
        );
        assert_eq!(
            message("{a=\"1\",a=\"2\"} $"),
            "1:15: parse error: unexpected character in series sequence: '$'",
            "what the text has twice is said after what cannot be read"
        );
    }
}
