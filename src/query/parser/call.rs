//! Calls of functions: `rate(x[5m])`.

use super::cursor::{Parsed, Parser};
use super::token::{Token, TokenKind};
use crate::query::ast::{Call, Expr, ExprKind, Function, TextRange, ValueType};
use crate::query::function_table::lookup;
use crate::query::quote::quoted;

/// Stands for a function that does not exist, in a tree that nobody gets because that is an error.
static UNKNOWN: Function =
    Function { name: "", args: &[], variadic: 0, returns: ValueType::Vector, experimental: false };

impl Parser<'_> {
    /// The arguments behind a function's name, and what it all means.
    pub(super) fn call(&mut self, name: Token) -> Parsed<Expr> {
        let args = self.call_args()?;
        let word = self.word(name.span());
        let function = std::str::from_utf8(word).ok().and_then(lookup);
        match function {
            None => {
                self.report(name.span(), format!("unknown function with name {}", quoted(word)));
            }
            Some(function) if function.experimental && !self.options.experimental_functions => {
                self.report(name.span(), format!("function {} is not enabled", quoted(word)));
            }
            Some(_) => {}
        }
        let call = Call { function: function.unwrap_or(&UNKNOWN), args };
        let span = TextRange { start: name.start, end: self.last_closing() };
        Ok(Expr { kind: ExprKind::Call(call), span })
    }

    /// `(a, b)`
    pub(super) fn call_args(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(TokenKind::LeftParen)?;
        let mut args = Vec::new();
        if self.accept(TokenKind::RightParen).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.end_of_arg()? {
                return Ok(args);
            }
        }
    }

    /// Accepts what ends an argument. Was it the last one?
    fn end_of_arg(&mut self) -> Parsed<bool> {
        loop {
            match self.peek() {
                TokenKind::RightParen => {
                    self.bump();
                    return Ok(true);
                }
                TokenKind::Comma => {
                    let comma = self.bump().span();
                    if self.peek().begins_expr() {
                        return Ok(false);
                    }
                    self.report(comma, "trailing commas not allowed in function call args");
                }
                _ => self.refuse()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::query::parser::ParseOptions;
    use crate::query::parser::testing::{assert_fault, faults_with, printed};

    #[test]
    fn arguments_are_separated_by_commas_and_none_trails() {
        assert_eq!(printed("clamp( a ,1, 2 )"), "clamp(a, 1, 2)");
        let message = "trailing commas not allowed in function call args";
        assert_fault("abs(a,)", ",", message);
        assert_fault("abs(,)", ",", "unexpected \",\"");
    }

    #[test]
    fn functions_are_known_by_their_exact_name() {
        assert_fault("nope(a)", "nope", "unknown function with name \"nope\"");
        assert_fault("ABS(a)", "ABS", "unknown function with name \"ABS\"");
        assert_fault("a:b(c)", "(", "unexpected \"(\"");
    }

    #[test]
    fn experimental_functions_are_behind_a_flag() {
        for (call, name) in
            [("info(a)", "info"), ("step()", "step"), ("end()", "end"), ("max_of(1, 2)", "max_of")]
        {
            assert_eq!(printed(call), call);
            let message = format!("function \"{name}\" is not enabled");
            assert_eq!(faults_with(call, &ParseOptions::default()), [(name, message)]);
        }
    }
}
