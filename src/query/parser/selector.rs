//! Selectors of instant vectors: `up`, `up{job="a"}`, `{"a.b", c=~"d.*"}`.

use super::cursor::{Parsed, Parser, merge};
use super::token::{Token, TokenKind};
use crate::model::Matcher;
use crate::model::labels::METRIC_NAME;
use crate::query::ast::{BinaryOp, Duration, Expr, ExprKind, MatchOp, TextRange, VectorSelector};
use crate::query::quote::{quoted, unquoted};

const CONTEXT: &str = "label matching";

impl Parser<'_> {
    /// The whole text as one selector; `None` if there is none.
    pub(super) fn whole_selector(&mut self) -> Option<Vec<Matcher>> {
        let parsed = self.selector();
        match self.whole(parsed)?.kind {
            ExprKind::Vector(selector) => Some(selector.matchers),
            _ => None,
        }
    }

    fn selector(&mut self) -> Parsed<Expr> {
        loop {
            match self.peek() {
                TokenKind::LeftBrace => return self.unnamed_selector(),
                kind if kind.is_metric_name() => {
                    let name = self.bump();
                    return self.named_selector(name);
                }
                _ => self.refuse()?,
            }
        }
    }

    /// What follows a metric's name.
    pub(super) fn named_selector(&mut self, name: Token) -> Parsed<Expr> {
        let (mut matchers, mut span) = (Vec::new(), name.span());
        if self.peek() == TokenKind::LeftBrace {
            let (list, braces) = self.label_matchers()?;
            matchers = list;
            span = merge(span, braces);
        }
        let name = String::from_utf8_lossy(self.word(name.span())).into_owned();
        matchers.push(Matcher::equal(METRIC_NAME, &name));
        Ok(vector(Some(name), matchers, span))
    }

    /// A selector that is only braces.
    pub(super) fn unnamed_selector(&mut self) -> Parsed<Expr> {
        let (matchers, span) = self.label_matchers()?;
        Ok(vector(None, matchers, span))
    }

    /// `{a="b", …}` and where it stands.
    fn label_matchers(&mut self) -> Parsed<(Vec<Matcher>, TextRange)> {
        let open = self.bump();
        let mut matchers = Vec::new();
        while self.peek() != TokenKind::RightBrace {
            match self.label_matcher() {
                Ok(matcher) => matchers.extend(matcher),
                Err(stop) => self.recover(stop, CONTEXT, "identifier or \"}\"")?,
            }
            self.end_of_matcher()?;
        }
        let close = self.bump();
        Ok((matchers, merge(open.span(), close.span())))
    }

    /// Accepts a comma, or looks at a closing brace.
    fn end_of_matcher(&mut self) -> Parsed<()> {
        loop {
            match self.peek() {
                TokenKind::RightBrace => return Ok(()),
                TokenKind::Comma => {
                    self.bump();
                    return Ok(());
                }
                _ => match self.refuse() {
                    Ok(()) => {}
                    Err(stop) => self.recover(stop, CONTEXT, "\",\" or \"}\"")?,
                },
            }
        }
    }

    /// One condition; `None` if it is faulty and that has been reported.
    fn label_matcher(&mut self) -> Parsed<Option<Matcher>> {
        let quoted_name = loop {
            match self.peek() {
                TokenKind::Identifier => break false,
                TokenKind::String => break true,
                _ => self.refuse()?,
            }
        };
        let name_span = self.bump().span();
        let name = if quoted_name {
            self.unquoted_text(name_span)
        } else {
            String::from_utf8_lossy(self.word(name_span)).into_owned()
        };
        let op = match self.match_op() {
            Ok(op) => op,
            // A quoted text alone is the metric's name.
            Err(_) if quoted_name => return Ok(Some(Matcher::equal(METRIC_NAME, &name))),
            Err(stop) => {
                self.recover(stop, CONTEXT, "label matching operator")?;
                return Ok(None);
            }
        };
        let value_span = match self.expect(TokenKind::String) {
            Ok(token) => token.span(),
            Err(stop) => {
                self.recover(stop, CONTEXT, "string")?;
                return Ok(None);
            }
        };
        let value = self.unquoted_text(value_span);
        let matcher = Matcher::new(&name, op, &value).unwrap_or_else(|error| {
            self.report(merge(name_span, value_span), error.to_string());
            // Its place is kept, so that nothing else is a fault for want of it.
            Matcher::equal(&name, &value)
        });
        Ok(Some(matcher))
    }

    fn match_op(&mut self) -> Parsed<MatchOp> {
        let op = match self.peek() {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Binary(BinaryOp::Ne) => MatchOp::NotEqual,
            TokenKind::RegexMatch => MatchOp::Regex,
            TokenKind::RegexNoMatch => MatchOp::NotRegex,
            _ => return Err(super::cursor::Stop::Fault),
        };
        self.bump();
        Ok(op)
    }

    /// The text of a quoted name or value. Labels are UTF-8, so nothing else can ever be meant.
    fn unquoted_text(&mut self, span: TextRange) -> String {
        String::from_utf8(unquoted(self.word(span))).unwrap_or_else(|error| {
            let shown = quoted(error.as_bytes());
            self.report(span, format!("{shown} is not UTF-8, but names and values of labels are"));
            String::new()
        })
    }
}

fn vector(name: Option<String>, matchers: Vec<Matcher>, span: TextRange) -> Expr {
    let (offset, at, extension) = (Duration::Ms(0), None, None);
    let selector = VectorSelector { name, matchers, offset, at, extension };
    Expr { kind: ExprKind::Vector(Box::new(selector)), span }
}

#[cfg(test)]
mod tests {
    use crate::model::Matcher;
    use crate::query::ast::{ExprKind, MatchOp};
    use crate::query::parser::parse_metric_selector;
    use crate::query::parser::testing::{assert_fault, faults, parsed, printed};

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).unwrap()
    }

    #[test]
    fn conditions_keep_their_order_and_the_name_comes_last() {
        let ExprKind::Vector(selector) = parsed("up{b=~'x.*', a!=\"y\",}").kind else {
            panic!("a selector")
        };
        assert_eq!(selector.name.as_deref(), Some("up"));
        let want = [
            matcher("b", MatchOp::Regex, "x.*"),
            matcher("a", MatchOp::NotEqual, "y"),
            matcher("__name__", MatchOp::Equal, "up"),
        ];
        assert_eq!(selector.matchers, want);
    }

    #[test]
    fn a_quoted_text_alone_is_the_name() {
        assert_eq!(printed("{'a b', \"c.d\"=`e`}"), "{\"c.d\"=\"e\",__name__=\"a b\"}");
        assert_eq!(printed("{__name__=\"up\"}"), "{__name__=\"up\"}");
    }

    #[test]
    fn in_braces_every_word_is_a_label() {
        assert_eq!(printed("x{sum=\"1\", on=\"2\", inf=\"3\"}"), "x{inf=\"3\",on=\"2\",sum=\"1\"}");
    }

    #[test]
    fn faults_in_braces_say_what_was_expected_and_parsing_goes_on() {
        assert_fault(
            "x{a=b}",
            "b",
            "unexpected identifier \"b\" in label matching, expected string",
        );
        assert_fault(
            "x{a}",
            "}",
            "unexpected \"}\" in label matching, expected label matching operator",
        );
        assert_fault(
            "x{,}",
            ",",
            "unexpected \",\" in label matching, expected identifier or \"}\"",
        );
        assert_fault(
            "x{a=\"b\" c}",
            "c",
            "unexpected identifier \"c\" in label matching, expected \",\" or \"}\"",
        );
        assert_fault("x{a", "", "unexpected end of input inside braces");
        assert_eq!(faults("x{a=b, =\"c\", d}").len(), 3);
    }

    #[test]
    fn a_pattern_that_is_none_is_reported_with_its_label() {
        assert_fault("x{a=~\"(\"}", "a=~\"(\"", "error parsing regexp: missing closing ): `(`");
        assert!(faults("x{a=\"(\"}").is_empty());
    }

    #[test]
    fn what_is_not_utf8_is_neither_name_nor_value_of_a_label() {
        let message = r#""\xff" is not UTF-8, but names and values of labels are"#;
        assert_fault(r#"x{a="\xff"}"#, r#""\xff""#, message);
        assert_fault(r#"{"\xff"="a"}"#, r#""\xff""#, message);
    }

    #[test]
    fn a_selector_alone_may_match_everything() {
        assert_eq!(parse_metric_selector("{}"), Ok(Vec::new()));
        assert_eq!(
            parse_metric_selector("up"),
            Ok(vec![matcher("__name__", MatchOp::Equal, "up")])
        );
        let message = |text| parse_metric_selector(text).unwrap_err().to_string();
        assert_eq!(message("up[5m]"), "1:3: parse error: unexpected \"[\"");
        assert_eq!(message(""), "unknown position: parse error: unexpected end of input");
        assert_eq!(message("up{"), "1:4: parse error: unexpected end of input inside braces");
        assert_eq!(message("1"), "1:1: parse error: unexpected number \"1\"");
    }
}
