//! The words of the language: their kinds, their spelling, and how error messages name them.

use crate::model::ResetHint;
use crate::model::labels::is_legacy_name;
use crate::query::ast::{AggregateOp, BinaryOp};
use crate::query::quote::{quoted, quoted_start};

/// A word of the text and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: TokenKind,
    /// First byte.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

/// The kinds of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// The end of the text.
    Eof,
    /// What follows the end, and what stands in for a word that cannot be read: nothing accepts it.
    Nothing,
    /// A name without a colon.
    Identifier,
    /// A name with a colon, as recording rules have.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    RegexMatch,
    /// `!~`
    RegexNoMatch,
    /// `@`
    At,
    /// An operator; `!=` also compares labels, `+` and `-` are signs, too.
    Binary(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    TimeWord(TimeWord),
    /// White space, where it separates values.
    Space,
    /// `x`, before a number of repetitions.
    Times,
    /// `_`, a missing value.
    Blank,
    /// `{{`
    OpenHistogram,
    /// `}}`
    CloseHistogram,
    HistogramKey(HistogramKey),
    ResetHint(ResetHint),
}

/// Words that modify an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

/// Words that stand for a time or compute one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeWord {
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

/// What a histogram of a series description says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HistogramKey {
    Sum,
    Count,
    Schema,
    Offset,
    NegativeOffset,
    Buckets,
    NegativeBuckets,
    ZeroBucket,
    ZeroBucketWidth,
    CustomValues,
    CounterResetHint,
}

/// The longest keyword: `count_values`.
const KEYWORD_BYTES_MAX: usize = 12;

/// What `word` is, if it is a word of the language rather than a name. Case does not matter.
pub(super) fn keyword(word: &[u8]) -> Option<TokenKind> {
    let mut lower = [0; KEYWORD_BYTES_MAX];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"and" => TokenKind::Binary(BinaryOp::And),
        b"or" => TokenKind::Binary(BinaryOp::Or),
        b"unless" => TokenKind::Binary(BinaryOp::Unless),
        b"atan2" => TokenKind::Binary(BinaryOp::Atan2),
        b"sum" => TokenKind::Aggregate(AggregateOp::Sum),
        b"avg" => TokenKind::Aggregate(AggregateOp::Avg),
        b"count" => TokenKind::Aggregate(AggregateOp::Count),
        b"min" => TokenKind::Aggregate(AggregateOp::Min),
        b"max" => TokenKind::Aggregate(AggregateOp::Max),
        b"group" => TokenKind::Aggregate(AggregateOp::Group),
        b"stddev" => TokenKind::Aggregate(AggregateOp::Stddev),
        b"stdvar" => TokenKind::Aggregate(AggregateOp::Stdvar),
        b"topk" => TokenKind::Aggregate(AggregateOp::Topk),
        b"bottomk" => TokenKind::Aggregate(AggregateOp::Bottomk),
        b"count_values" => TokenKind::Aggregate(AggregateOp::CountValues),
        b"quantile" => TokenKind::Aggregate(AggregateOp::Quantile),
        b"limitk" => TokenKind::Aggregate(AggregateOp::Limitk),
        b"limit_ratio" => TokenKind::Aggregate(AggregateOp::LimitRatio),
        b"anchored" => TokenKind::Keyword(Keyword::Anchored),
        b"bool" => TokenKind::Keyword(Keyword::Bool),
        b"by" => TokenKind::Keyword(Keyword::By),
        b"fill" => TokenKind::Keyword(Keyword::Fill),
        b"fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        b"fill_right" => TokenKind::Keyword(Keyword::FillRight),
        b"group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        b"group_right" => TokenKind::Keyword(Keyword::GroupRight),
        b"ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        b"offset" => TokenKind::Keyword(Keyword::Offset),
        b"on" => TokenKind::Keyword(Keyword::On),
        b"smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        b"without" => TokenKind::Keyword(Keyword::Without),
        b"start" => TokenKind::TimeWord(TimeWord::Start),
        b"end" => TokenKind::TimeWord(TimeWord::End),
        b"inf" | b"nan" => TokenKind::Number,
        other => return duration_word(other),
    })
}

/// Would the name `name` be read as a label's in `by (…)` and its like if it had no quotes?
pub(in crate::query) fn is_listed_bare(name: &str) -> bool {
    is_legacy_name(name) && keyword(name.as_bytes()).is_none_or(TokenKind::is_label_name)
}

/// What `word`, in lower case, is inside of a duration expression.
fn duration_word(word: &[u8]) -> Option<TokenKind> {
    Some(TokenKind::TimeWord(match word {
        b"step" => TimeWord::Step,
        b"range" => TimeWord::Range,
        b"min_of" => TimeWord::MinOf,
        b"max_of" => TimeWord::MaxOf,
        _ => return None,
    }))
}

/// What `word` is inside of a duration expression, where only a few words are known. Case does not matter.
pub(super) fn keyword_of_durations(word: &[u8]) -> Option<TokenKind> {
    duration_word(&word.to_ascii_lowercase())
}

/// Which of a histogram's keys `word` is. Case does not matter.
pub(super) fn histogram_key(word: &[u8]) -> Option<HistogramKey> {
    Some(match &*word.to_ascii_lowercase() {
        b"sum" => HistogramKey::Sum,
        b"count" => HistogramKey::Count,
        b"schema" => HistogramKey::Schema,
        b"offset" => HistogramKey::Offset,
        b"n_offset" => HistogramKey::NegativeOffset,
        b"buckets" => HistogramKey::Buckets,
        b"n_buckets" => HistogramKey::NegativeBuckets,
        b"z_bucket" => HistogramKey::ZeroBucket,
        b"z_bucket_w" => HistogramKey::ZeroBucketWidth,
        b"custom_values" => HistogramKey::CustomValues,
        b"counter_reset_hint" => HistogramKey::CounterResetHint,
        _ => return None,
    })
}

/// Which hint `word` is. Case does not matter.
pub(super) fn reset_hint(word: &[u8]) -> Option<ResetHint> {
    Some(match &*word.to_ascii_lowercase() {
        b"unknown" => ResetHint::Unknown,
        b"reset" => ResetHint::Reset,
        b"not_reset" => ResetHint::NotReset,
        b"gauge" => ResetHint::Gauge,
        _ => return None,
    })
}

impl TokenKind {
    /// May it name a metric where an expression begins?
    pub(super) fn is_metric_name(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregate(_) | Self::TimeWord(_) => {
                true
            }
            Self::Binary(op) => op.is_set(),
            Self::Keyword(keyword) => !matches!(
                keyword,
                Keyword::Bool
                    | Keyword::GroupLeft
                    | Keyword::GroupRight
                    | Keyword::Ignoring
                    | Keyword::On
            ),
            _ => false,
        }
    }

    /// May it name a label in `by (…)` and its like? Quoted names aside.
    pub(super) fn is_label_name(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregate(_) | Self::TimeWord(_) => {
                true
            }
            Self::Binary(op) => op.is_set() || op == BinaryOp::Atan2,
            Self::Keyword(keyword) => keyword != Keyword::Without,
            _ => false,
        }
    }

    /// May an expression begin with it?
    pub(super) fn begins_expr(self) -> bool {
        self.is_metric_name()
            || matches!(
                self,
                Self::Number
                    | Self::Duration
                    | Self::String
                    | Self::LeftParen
                    | Self::LeftBrace
                    | Self::Binary(BinaryOp::Add | BinaryOp::Sub)
            )
    }

    /// How an error message names a word of this kind whose bytes are `word`.
    pub(super) fn describe(self, word: &[u8]) -> String {
        let shown = String::from_utf8_lossy(word);
        match self {
            Self::Eof | Self::Nothing => "end of input".to_owned(),
            Self::Identifier => format!("identifier {}", quoted(word)),
            Self::MetricIdentifier => format!("metric identifier {}", quoted(word)),
            Self::Number => format!("number {}", cut(word)),
            Self::Duration => format!("duration {}", cut(word)),
            Self::String => format!("string {}", cut(word)),
            Self::HistogramKey(key) => item(key.upstream_number(), word),
            Self::ResetHint(hint) => item(reset_hint_number(hint), word),
            Self::Binary(_) | Self::RegexMatch | Self::RegexNoMatch | Self::At => {
                format!("<op:{shown}>")
            }
            Self::Aggregate(_) => format!("<aggr:{shown}>"),
            Self::Keyword(_) => format!("<{shown}>"),
            _ => cut(word),
        }
    }
}

/// Upstream has no names for the words inside of histograms, so its messages show their numbers.
fn item(number: u32, word: &[u8]) -> String {
    format!("\"<Item {number}>\" {}", cut(word))
}

impl HistogramKey {
    /// What the generated parser of Prometheus 3.14 calls it.
    fn upstream_number(self) -> u32 {
        match self {
            Self::Sum => 57370,
            Self::Count => 57371,
            Self::Schema => 57372,
            Self::Offset => 57373,
            Self::NegativeOffset => 57374,
            Self::Buckets => 57375,
            Self::NegativeBuckets => 57376,
            Self::ZeroBucket => 57377,
            Self::ZeroBucketWidth => 57378,
            Self::CustomValues => 57379,
            Self::CounterResetHint => 57380,
        }
    }
}

/// What the generated parser of Prometheus 3.14 calls a hint.
fn reset_hint_number(hint: ResetHint) -> u32 {
    match hint {
        ResetHint::Unknown => 57445,
        ResetHint::Reset => 57446,
        ResetHint::NotReset => 57447,
        ResetHint::Gauge => 57448,
    }
}

/// Quotes a word, at most ten code points of it.
fn cut(word: &[u8]) -> String {
    const POINTS_MAX: usize = 10;
    if word.len() > POINTS_MAX {
        format!("{}...", quoted_start(word, POINTS_MAX))
    } else {
        quoted(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_known_in_any_case_and_names_are_not() {
        assert_eq!(keyword(b"SuM"), Some(TokenKind::Aggregate(AggregateOp::Sum)));
        assert_eq!(keyword(b"COUNT_VALUES"), Some(TokenKind::Aggregate(AggregateOp::CountValues)));
        assert_eq!(keyword(b"max_of"), Some(TokenKind::TimeWord(TimeWord::MaxOf)));
        assert_eq!(keyword(b"Inf"), Some(TokenKind::Number));
        assert_eq!(keyword(b"sums"), None);
        assert_eq!(keyword(b"a_name_longer_than_any_keyword"), None);
    }

    #[test]
    fn every_kind_of_word_has_its_own_look_in_messages() {
        assert_eq!(TokenKind::Identifier.describe(b"foo"), "identifier \"foo\"");
        assert_eq!(TokenKind::Binary(BinaryOp::And).describe(b"AND"), "<op:AND>");
        assert_eq!(TokenKind::Aggregate(AggregateOp::Sum).describe(b"sum"), "<aggr:sum>");
        assert_eq!(TokenKind::Keyword(Keyword::By).describe(b"by"), "<by>");
        assert_eq!(TokenKind::TimeWord(TimeWord::Start).describe(b"start"), "\"start\"");
        assert_eq!(TokenKind::Comma.describe(b","), "\",\"");
        assert_eq!(TokenKind::String.describe(b"\"0123456789\""), "string \"\\\"012345678\"...");
        assert_eq!(TokenKind::Eof.describe(b""), "end of input");
        let schema = TokenKind::HistogramKey(HistogramKey::Schema);
        assert_eq!(schema.describe(b"schema"), "\"<Item 57372>\" \"schema\"");
        let hint = TokenKind::ResetHint(ResetHint::NotReset);
        assert_eq!(hint.describe(b"not_reset"), "\"<Item 57447>\" \"not_reset\"");
    }

    #[test]
    fn some_words_name_labels_but_not_metrics_and_without_the_other_way_round() {
        let on = TokenKind::Keyword(Keyword::On);
        let without = TokenKind::Keyword(Keyword::Without);
        assert!(on.is_label_name() && !on.is_metric_name());
        assert!(!without.is_label_name() && without.is_metric_name());
    }
}
