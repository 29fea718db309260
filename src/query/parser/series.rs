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
use super::token::{HistogramKey, ResetHint, TokenKind};
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

/// A native histogram as written. What is not written is zero or empty.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct HistogramLiteral {
    /// The resolution; -53 means custom buckets.
    pub schema: i32,
    /// Sum of the observations.
    pub sum: f64,
    /// How many observations.
    pub count: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Half of the zero bucket's width.
    pub zero_threshold: f64,
    /// Bounds of custom buckets.
    pub custom_values: Vec<f64>,
    /// Index of the first of the positive buckets.
    pub offset: i32,
    /// Observations in the positive buckets, which are consecutive.
    pub buckets: Vec<f64>,
    /// Index of the first of the negative buckets.
    pub negative_offset: i32,
    /// Observations in the negative buckets, which are consecutive.
    pub negative_buckets: Vec<f64>,
    /// What is known about a reset; `None` if nothing is written about it.
    pub counter_reset_hint: Option<ResetHint>,
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
        let labels = self.metric()?;
        let items = self.values()?;
        Ok(SeriesDescription { labels, items })
    }

    fn metric(&mut self) -> Parsed<Labels> {
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
        let labels =
            Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Ok(labels.unwrap_or_else(|error| {
            self.report(span, error.to_string());
            Labels::empty()
        }))
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

    fn histogram(&mut self) -> Parsed<HistogramLiteral> {
        let mut histogram = HistogramLiteral::default();
        let mut seen = Vec::new();
        self.expect(TokenKind::OpenHistogram)?;
        if self.accept(TokenKind::CloseHistogram).is_some() {
            return Ok(histogram);
        }
        if self.accept(TokenKind::Space).is_some() {
            self.expect(TokenKind::CloseHistogram)?;
            return Ok(histogram);
        }
        self.histogram_entry(&mut histogram, &mut seen)?;
        loop {
            if let Err(stop) = self.rest_of_histogram(&mut histogram, &mut seen) {
                let example = "histogram description key, e.g. buckets:[5 10 7]";
                self.recover(stop, "histogram description", example)?;
            } else {
                return Ok(histogram);
            }
        }
    }

    /// Everything behind a histogram's first entry.
    fn rest_of_histogram(
        &mut self,
        histogram: &mut HistogramLiteral,
        seen: &mut Vec<HistogramKey>,
    ) -> Parsed<()> {
        loop {
            match self.peek() {
                TokenKind::CloseHistogram => {
                    self.bump();
                    return Ok(());
                }
                TokenKind::Space => {
                    self.bump();
                    if self.peek() != TokenKind::CloseHistogram {
                        self.histogram_entry(histogram, seen)?;
                    }
                }
                _ => self.refuse()?,
            }
        }
    }

    /// `key:value`
    fn histogram_entry(
        &mut self,
        histogram: &mut HistogramLiteral,
        seen: &mut Vec<HistogramKey>,
    ) -> Parsed<()> {
        let (key, span) = loop {
            match self.peek() {
                TokenKind::HistogramKey(key) => break (key, self.bump().span()),
                _ => self.refuse()?,
            }
        };
        self.expect(TokenKind::Colon)?;
        if seen.contains(&key) {
            let word = quoted(self.word(span));
            self.report(TextRange::default(), format!("duplicate key {word} in histogram"));
        }
        seen.push(key);
        match key {
            HistogramKey::Sum => histogram.sum = self.signed_number()?,
            HistogramKey::Count => histogram.count = self.signed_number()?,
            HistogramKey::ZeroBucket => histogram.zero_count = self.signed_number()?,
            HistogramKey::ZeroBucketWidth => histogram.zero_threshold = self.plain_number()?,
            HistogramKey::Schema => histogram.schema = self.integer()?,
            HistogramKey::Offset => histogram.offset = self.integer()?,
            HistogramKey::NegativeOffset => histogram.negative_offset = self.integer()?,
            HistogramKey::CustomValues => histogram.custom_values = self.numbers()?,
            HistogramKey::Buckets => histogram.buckets = self.numbers()?,
            HistogramKey::NegativeBuckets => histogram.negative_buckets = self.numbers()?,
            HistogramKey::CounterResetHint => {
                histogram.counter_reset_hint = Some(self.reset_hint()?)
            }
        }
        Ok(())
    }

    fn reset_hint(&mut self) -> Parsed<ResetHint> {
        loop {
            match self.peek() {
                TokenKind::ResetHint(hint) => {
                    self.bump();
                    return Ok(hint);
                }
                _ => self.refuse()?,
            }
        }
    }

    /// `[1 2 3]`
    fn numbers(&mut self) -> Parsed<Vec<f64>> {
        self.expect(TokenKind::LeftBracket)?;
        let mut numbers = vec![self.signed_number()?];
        loop {
            match self.peek() {
                TokenKind::RightBracket => {
                    self.bump();
                    return Ok(numbers);
                }
                TokenKind::Space => {
                    self.bump();
                    if self.peek() != TokenKind::RightBracket {
                        numbers.push(self.signed_number()?);
                    }
                }
                _ => self.refuse()?,
            }
        }
    }

    fn signed_number(&mut self) -> Parsed<f64> {
        let negative = self.sign() == Some(true);
        let number = self.plain_number()?;
        Ok(if negative { -number } else { number })
    }

    fn plain_number(&mut self) -> Parsed<f64> {
        loop {
            match self.peek() {
                TokenKind::Number | TokenKind::Duration => return Ok(self.number().0.value),
                _ => self.refuse()?,
            }
        }
    }

    /// A number of repetitions.
    fn whole_number(&mut self) -> Parsed<u64> {
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

    /// A schema or the index of a bucket.
    fn integer(&mut self) -> Parsed<i32> {
        let negative = self.sign() == Some(true);
        let number = i128::from(self.whole_number()?);
        Ok(i32::try_from(if negative { -number } else { number }).unwrap_or_else(|_| {
            self.report(
                self.last_span(),
                "a schema or an index of a histogram has at most 32 bits",
            );
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
