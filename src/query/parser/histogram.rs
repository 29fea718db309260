//! Native histograms as series descriptions write them: `{{schema:1 sum:4 count:3 buckets:[1 2] offset:-1}}`.
//!
//! Keys stand in any order, each at most once; their spelling is `token::histogram_key`'s. One or more spaces separate
//! them, and the numbers of a list.

use super::cursor::{Parsed, Parser};
use super::token::{HistogramKey, TokenKind};
use crate::model::ResetHint;
use crate::query::ast::TextRange;
use crate::query::quote::quoted;

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

impl Parser<'_> {
    /// `{{…}}`
    pub(super) fn histogram(&mut self) -> Parsed<HistogramLiteral> {
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

#[cfg(test)]
mod tests {
    use super::HistogramLiteral;
    use crate::model::ResetHint;
    use crate::query::parser::{SeriesItem, parse_series_description};

    fn histogram(text: &str) -> HistogramLiteral {
        match parse_series_description(&format!("a {text}")).unwrap().items.remove(0) {
            SeriesItem::Histograms { first, step: None, repeats: 0 } => *first,
            item => panic!("{item:?}"),
        }
    }

    fn message(text: &str) -> String {
        parse_series_description(&format!("{{}} {text}")).unwrap_err().to_string()
    }

    #[test]
    fn every_key_sets_its_field() {
        let text = "{{schema:1 sum:-0.3 count:3.1 z_bucket:7.1 z_bucket_w:0.05 buckets:[5.1 10  -7 ] offset:-3 \
                    n_buckets:[4.1 5] n_offset:5 custom_values:[1 Inf] counter_reset_hint:gauge}}";
        let want = HistogramLiteral {
            schema: 1,
            sum: -0.3,
            count: 3.1,
            zero_count: 7.1,
            zero_threshold: 0.05,
            custom_values: vec![1.0, f64::INFINITY],
            offset: -3,
            buckets: vec![5.1, 10.0, -7.0],
            negative_offset: 5,
            negative_buckets: vec![4.1, 5.0],
            counter_reset_hint: Some(ResetHint::Gauge),
        };
        assert_eq!(histogram(text), want);
    }

    #[test]
    fn what_is_not_written_is_zero_or_unknown() {
        assert_eq!(histogram("{{}}"), HistogramLiteral::default());
        assert_eq!(histogram("{{ }}"), HistogramLiteral::default());
        for (word, hint) in [
            ("unknown", ResetHint::Unknown),
            ("reset", ResetHint::Reset),
            ("not_reset", ResetHint::NotReset),
        ] {
            let text = format!("{{{{counter_reset_hint:{word}}}}}");
            assert_eq!(histogram(&text).counter_reset_hint, Some(hint));
        }
    }

    #[test]
    fn histograms_repeat_and_step() {
        let items = parse_series_description("a {{sum:1}}x2 {{sum:1}}-{{sum:2}}x3").unwrap().items;
        let [
            SeriesItem::Histograms { step: None, repeats: 2, .. },
            SeriesItem::Histograms { step: Some(step), repeats: 3, .. },
        ] = &items[..]
        else {
            panic!("{items:?}")
        };
        assert!(step.subtract && step.histogram.sum == 2.0);
    }

    #[test]
    fn faults_are_told_in_upstreams_words() {
        assert_eq!(
            message("{{foo:1}}"),
            "1:6: parse error: bad histogram descriptor found: \"foo\""
        );
        assert_eq!(
            message("{{schema :1}}"),
            "1:6: parse error: missing `:` for histogram descriptor"
        );
        assert_eq!(
            message("{{schema: 1}}"),
            "1:13: parse error: unexpected \" \" in series values"
        );
        assert_eq!(
            message("{{buckets:[ 1]}}"),
            "1:15: parse error: unexpected \" \" in series values"
        );
        assert_eq!(
            message("{{schema:1 schema:1}}"),
            "1:1: parse error: duplicate key \"schema\" in histogram"
        );
        assert_eq!(
            message("{{counter_reset_hint:foo}}"),
            "1:25: parse error: bad histogram descriptor found: \"foo\""
        );
        assert_eq!(
            message("{{schema:1"),
            "1:14: parse error: histogram description incomplete unexpected: '\u{fffd}'"
        );
        let expected = "expected histogram description key, e.g. buckets:[5 10 7]";
        assert_eq!(
            message("{{sum:1 5}}"),
            format!(
                "1:12: parse error: unexpected number \"5\" in histogram description, {expected}"
            )
        );
        assert_eq!(
            message("{{schema:9999999999}}"),
            "1:13: parse error: a schema or an index of a histogram has at most 32 bits"
        );
    }
}
