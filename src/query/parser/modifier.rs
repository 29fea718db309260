//! What stands behind an expression: `[5m]`, `[1h:5m]`, `offset 5m`, `@ end()`, `anchored`.
//!
//! These bind tighter than any operator, and all but the subquery want a selector before them.

use super::cursor::{Parsed, Parser, merge};
use super::duration_expr::Length;
use super::token::{Keyword, TimeWord, TokenKind};
use crate::model::TimestampMs;
use crate::query::ast::{
    At, Duration, Expr, ExprKind, Extension, MatrixSelector, Subquery, TextRange, VectorSelector,
};

const NO_SELECTOR: &str =
    "must be preceded by an instant vector selector or range vector selector or a subquery";
const NO_VECTOR: &str = "ranges only allowed for vector selectors";
const BOTH_EXTENSIONS: &str = "anchored and smoothed modifiers cannot be used together";

/// An expression and what may be said behind it.
struct Modified {
    expr: Expr,
    /// Has it got a range that it cannot have? That is reported; what follows must not take it for a selector.
    misranged: bool,
    /// Has it both extensions? That is reported again with each one more.
    both_extensions: bool,
}

impl Parser<'_> {
    /// Applies all modifiers that come next.
    pub(super) fn modifiers(&mut self, expr: Expr) -> Parsed<Expr> {
        let mut modified = Modified { expr, misranged: false, both_extensions: false };
        loop {
            match self.peek() {
                TokenKind::LeftBracket => self.range_or_subquery(&mut modified)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut modified)?,
                TokenKind::At => self.at(&mut modified)?,
                TokenKind::Keyword(Keyword::Anchored) => {
                    self.extension(&mut modified, Extension::Anchored)
                }
                TokenKind::Keyword(Keyword::Smoothed) => {
                    self.extension(&mut modified, Extension::Smoothed)
                }
                _ => return Ok(modified.expr),
            }
        }
    }

    /// `[5m]`, `[1h:]` or `[1h:5m]`. Behind a fault, the expression stays as it is.
    fn range_or_subquery(&mut self, modified: &mut Modified) -> Parsed<()> {
        const LENGTH: &str = "number, duration, step(), or range()";
        let open = self.bump();
        let range = match self.positive_length() {
            Ok(range) => range,
            Err(stop) => return self.recover(stop, "subquery or range selector", LENGTH),
        };
        loop {
            match self.peek() {
                TokenKind::RightBracket => {
                    let close = self.bump();
                    self.range(modified, range, merge(open.span(), close.span()));
                    return Ok(());
                }
                TokenKind::Colon => {
                    self.bump();
                    return self.subquery(modified, range);
                }
                _ => {}
            }
            if let Err(stop) = self.refuse() {
                return self.recover(stop, "subquery or range", "\":\" or \"]\"");
            }
        }
    }

    /// What follows the colon of a subquery.
    fn subquery(&mut self, modified: &mut Modified, range: Length) -> Parsed<()> {
        const CONTEXT: &str = "subquery selector";
        let step = if self.peek() == TokenKind::RightBracket {
            None
        } else {
            match self.positive_length() {
                Ok(step) => Some(step.into_duration()),
                Err(stop) => {
                    return self.recover(
                        stop,
                        CONTEXT,
                        "number, duration, step(), range(), or \"]\"",
                    );
                }
            }
        };
        let close = match self.expect(TokenKind::RightBracket) {
            Ok(close) => close,
            Err(stop) => return self.recover(stop, CONTEXT, "\"]\""),
        };
        let expr = modified.expr.take();
        let span = merge(expr.span, close.span());
        let (range, offset, at) = (range.into_duration(), Duration::Ms(0), None);
        let subquery = Subquery { expr, range, step, offset, at };
        *modified = Modified {
            expr: Expr { kind: ExprKind::Subquery(Box::new(subquery)), span },
            misranged: false,
            both_extensions: false,
        };
        Ok(())
    }

    /// Gives a selector a range.
    fn range(&mut self, modified: &mut Modified, range: Length, brackets: TextRange) {
        let expr = modified.expr.take();
        let span = TextRange { start: expr.span.start, end: self.last_closing() };
        let selector_span = expr.span;
        let kind = match expr.kind {
            ExprKind::Vector(selector) => {
                if selector.offset != Duration::Ms(0) {
                    self.report(brackets, "no offset modifiers allowed before range");
                } else if selector.at.is_some() {
                    self.report(brackets, "no @ modifiers allowed before range");
                }
                let (selector, range) = (*selector, range.into_duration());
                ExprKind::Matrix(Box::new(MatrixSelector { selector, selector_span, range }))
            }
            kind => {
                self.report(brackets, NO_VECTOR);
                modified.misranged = true;
                kind
            }
        };
        modified.expr = Expr { kind, span };
    }

    fn offset(&mut self, modified: &mut Modified) -> Parsed<()> {
        self.bump();
        let offset = match self.offset_length() {
            Ok(length) => length.into_duration(),
            Err(stop) => {
                return self.recover(stop, "offset", "number, duration, step(), or range()");
            }
        };
        let span = modified.expr.span;
        let place = match modified.target() {
            Target::Selector(selector) => &mut selector.offset,
            Target::Subquery(subquery) => &mut subquery.offset,
            Target::Misranged => {
                self.report(span, NO_VECTOR);
                return Ok(());
            }
            Target::Other => {
                self.report(span, format!("offset modifier {NO_SELECTOR}"));
                return Ok(());
            }
        };
        if *place == Duration::Ms(0) {
            *place = offset;
        } else {
            self.report(span, "offset may not be set multiple times");
        }
        modified.expr.span.end = self.last_closing();
        Ok(())
    }

    fn at(&mut self, modified: &mut Modified) -> Parsed<()> {
        self.bump();
        let span = modified.expr.span;
        let at = match self.at_time() {
            Ok(AtTime::Word(at)) => at,
            Ok(AtTime::Seconds(seconds)) => {
                if !in_bounds(seconds) {
                    let shown = shown_seconds(seconds);
                    self.report(span, format!("timestamp out of bounds for @ modifier: {shown}"));
                }
                At::Timestamp(timestamp(seconds))
            }
            Err(stop) => return self.recover(stop, "@", "timestamp"),
        };
        let place = match modified.target() {
            Target::Selector(selector) => &mut selector.at,
            Target::Subquery(subquery) => &mut subquery.at,
            Target::Misranged => {
                self.report(span, NO_VECTOR);
                return Ok(());
            }
            Target::Other => {
                self.report(span, format!("@ modifier {NO_SELECTOR}"));
                return Ok(());
            }
        };
        if place.is_some() {
            self.report(span, "@ <timestamp> may not be set multiple times");
            return Ok(());
        }
        *place = Some(at);
        modified.expr.span.end = self.last_closing();
        Ok(())
    }

    fn at_time(&mut self) -> Parsed<AtTime> {
        let sign = self.sign();
        loop {
            match self.peek() {
                TokenKind::Number | TokenKind::Duration => {
                    let number = self.number().0.signed(sign == Some(true));
                    return Ok(AtTime::Seconds(number.value));
                }
                TokenKind::TimeWord(word @ (TimeWord::Start | TimeWord::End)) if sign.is_none() => {
                    self.bump();
                    self.expect(TokenKind::LeftParen)?;
                    self.expect(TokenKind::RightParen)?;
                    let at = if word == TimeWord::Start { At::Start } else { At::End };
                    return Ok(AtTime::Word(at));
                }
                _ => self.refuse()?,
            }
        }
    }

    fn extension(&mut self, modified: &mut Modified, extension: Extension) {
        self.bump();
        let span = modified.expr.span;
        let name = match extension {
            Extension::Anchored => "anchored",
            Extension::Smoothed => "smoothed",
        };
        if !self.options.extended_range_selectors {
            self.report(span, format!("{name} modifier is experimental and not enabled"));
            return;
        }
        let mut both = modified.both_extensions;
        match modified.target() {
            Target::Selector(selector) => {
                both |= selector.extension.is_some_and(|other| other != extension);
                if both {
                    self.report(span, BOTH_EXTENSIONS);
                }
                selector.extension = Some(extension);
                modified.both_extensions = both;
            }
            Target::Misranged => {}
            Target::Subquery(_) => {
                self.report(span, format!("{name} modifier is not supported for subqueries"));
            }
            Target::Other => self.report(span, format!("{name} modifier not implemented")),
        }
    }
}

/// What a modifier changes.
enum Target<'a> {
    Selector(&'a mut VectorSelector),
    Subquery(&'a mut Subquery),
    Misranged,
    Other,
}

impl Modified {
    fn target(&mut self) -> Target<'_> {
        match &mut self.expr.kind {
            _ if self.misranged => Target::Misranged,
            ExprKind::Vector(selector) => Target::Selector(selector),
            ExprKind::Matrix(matrix) => Target::Selector(&mut matrix.selector),
            ExprKind::Subquery(subquery) => Target::Subquery(subquery),
            _ => Target::Other,
        }
    }
}

/// What stands behind an `@`.
enum AtTime {
    Seconds(f64),
    Word(At),
}

/// Does an instant, in seconds, fit 64 bits?
#[expect(clippy::cast_precision_loss, reason = "the bounds are meant as the nearest floats")]
fn in_bounds(seconds: f64) -> bool {
    seconds < i64::MAX as f64 && seconds > i64::MIN as f64
}

/// Rounds seconds to milliseconds; stops at the ends of time.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
fn timestamp(seconds: f64) -> TimestampMs {
    TimestampMs((seconds * 1000.0).round() as i64)
}

/// Seconds as messages show them.
fn shown_seconds(seconds: f64) -> String {
    if seconds.is_infinite() {
        if seconds > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{seconds:.6}")
    }
}

#[cfg(test)]
mod tests {
    use crate::query::parser::ParseOptions;
    use crate::query::parser::testing::{assert_fault, faults, faults_with, printed};

    #[test]
    fn modifiers_apply_to_what_stands_right_before_them() {
        assert_eq!(printed("a + b offset 5m"), "a + b offset 5m");
        assert_eq!(printed("a[5m:1m] @ 3 offset 1m"), "a[5m:1m] @ 3.000 offset 1m");
        assert_eq!(printed("a offset 5m @ end()"), "a @ end() offset 5m");
        assert_eq!(printed("a[5m] offset -1h @ -1.5"), "a[5m] @ -1.500 offset -1h");
    }

    #[test]
    fn only_selectors_and_subqueries_take_an_offset_or_a_time() {
        let wanted =
            "must be preceded by an instant vector selector or range vector selector or a subquery";
        assert_fault("1 offset 1d", "1", &format!("offset modifier {wanted}"));
        assert_fault("sum(a) @ 5", "sum(a)", &format!("@ modifier {wanted}"));
        assert_fault("(a) offset 1d", "(a)", &format!("offset modifier {wanted}"));
    }

    #[test]
    fn nothing_is_said_twice() {
        assert_fault(
            "a offset 1m offset 2m",
            "a offset 1m",
            "offset may not be set multiple times",
        );
        assert_fault("a @ 1 @ end()", "a @ 1", "@ <timestamp> may not be set multiple times");
    }

    #[test]
    fn a_range_comes_before_other_modifiers() {
        assert_fault("a offset 1m [5m]", "[5m]", "no offset modifiers allowed before range");
        assert_fault("a @ 1 [5m]", "[5m]", "no @ modifiers allowed before range");
        assert_fault("sum(a)[5m]", "[5m]", "ranges only allowed for vector selectors");
        assert_fault("1[5m] anchored", "[5m]", "ranges only allowed for vector selectors");
        assert_eq!(faults("1[5m] offset 1m").len(), 2);
    }

    #[test]
    fn times_fit_into_64_bits_of_milliseconds() {
        assert_eq!(printed("a @ 1.2345"), "a @ 1.235");
        assert_eq!(printed("a @ 1h"), "a @ 3600.000");
        for (time, shown) in [
            ("Inf", "+Inf"),
            ("-Inf", "-Inf"),
            ("NaN", "NaN"),
            ("1e20", "100000000000000000000.000000"),
        ] {
            let message = format!("timestamp out of bounds for @ modifier: {shown}");
            assert_fault(&format!("a @ {time}"), "a", &message);
        }
        assert_fault("a @ b", "b", "unexpected identifier \"b\" in @, expected timestamp");
        assert_fault("a @ start(1)", "1", "unexpected number \"1\" in @, expected timestamp");
    }

    #[test]
    fn faults_in_brackets_say_what_was_expected() {
        let length = "number, duration, step(), or range()";
        assert_fault("a[", "", "unexpected end of input in duration expression");
        assert_fault(
            "a[]",
            "]",
            &format!("unexpected \"]\" in subquery or range selector, expected {length}"),
        );
        assert_fault(
            "a[5m 3]",
            "3",
            "unexpected number \"3\" in subquery or range, expected \":\" or \"]\"",
        );
        assert_fault(
            "a[5m:3 4]",
            "4",
            "unexpected number \"4\" in subquery selector, expected \"]\"",
        );
        let step = "number, duration, step(), range(), or \"]\"";
        let message = format!("unexpected \"]\" in subquery selector, expected {step}");
        assert_fault("a[5m:+]", "]", &message);
        assert_fault("a[5m:1m1]", "1m1]", "bad number or duration syntax: \"1m1\"");
        assert_fault("a[x]", "x]", "unexpected character in duration expression: 'x'");
        assert_fault("a[5m x]", "x]", "unexpected character: 'x', expected ':'");
        assert_fault(
            "a offset",
            "",
            &format!("unexpected end of input in offset, expected {length}"),
        );
    }

    #[test]
    fn anchored_and_smoothed_exclude_each_other_and_are_behind_a_flag() {
        assert_eq!(printed("a[5m] offset 1m anchored"), "a[5m] anchored offset 1m");
        assert_eq!(printed("a smoothed @ 5"), "a @ 5.000 smoothed");
        assert_fault(
            "a anchored smoothed",
            "a",
            "anchored and smoothed modifiers cannot be used together",
        );
        assert_eq!(faults("a anchored smoothed smoothed").len(), 2);
        assert_fault(
            "a[5m:] smoothed",
            "a[5m:]",
            "smoothed modifier is not supported for subqueries",
        );
        assert_fault("sum(a) anchored", "sum(a)", "anchored modifier not implemented");
        let found = faults_with("a anchored", &ParseOptions::default());
        assert_eq!(found, [("a", "anchored modifier is experimental and not enabled".to_owned())]);
    }
}
