//! What reading and planning one request may cost: the patterns that are compiled, the numbers that are known before any sample
//! is read.
//!
//! Both happen deep within a text, on a core that serves others meanwhile. Who reads a request runs that [`within`] an
//! allowance: first a small one, and what is refused then, on another thread and with a larger one.

use std::cell::Cell;

use super::regexp::TOO_LARGE;

/// What may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Patterns that are compiled.
    patterns: u32,
    /// Those of them that compile to more than 16 KiB.
    large: u32,
    /// Numbers, one for each step of a grid.
    numbers: usize,
}

impl Allowance {
    /// What takes a core a millisecond at most.
    pub const QUICK: Self = Self { patterns: 6, large: 0, numbers: 200_000 };
    /// What one request may ask for: most of a second, and some hundred megabytes.
    pub const FULL: Self = Self { patterns: 500, large: 16, numbers: 20_000_000 };
}

thread_local! {
    /// What is left. Without any, each pattern is on its own.
    static LEFT: Cell<Option<Allowance>> = const { Cell::new(None) };
}

/// What `work` gives, all of which may cost `allowance`.
pub fn within<T>(allowance: Allowance, work: impl FnOnce() -> T) -> T {
    /// Puts back what held before, also when `work` panics.
    struct Before(Option<Allowance>);
    impl Drop for Before {
        fn drop(&mut self) {
            LEFT.set(self.0);
        }
    }
    let _before = Before(LEFT.replace(Some(allowance)));
    work()
}

/// What is said of a pattern for which nothing is left.
pub(super) const TOO_MANY: &str =
    "too many regular expressions in one request, at most 500 are allowed; join some with `|`";

/// Takes one pattern off what is left.
pub(super) fn take_one() -> Result<(), &'static str> {
    let Some(left) = LEFT.get() else { return Ok(()) };
    let patterns = left.patterns.checked_sub(1).ok_or(TOO_MANY)?;
    LEFT.set(Some(Allowance { patterns, ..left }));
    Ok(())
}

/// Takes a large one off what is left.
pub(super) fn take_large() -> Result<(), &'static str> {
    let Some(left) = LEFT.get() else { return Ok(()) };
    let large = left.large.checked_sub(1).ok_or(TOO_LARGE)?;
    LEFT.set(Some(Allowance { large, ..left }));
    Ok(())
}

/// Takes so many numbers off what is left; `false` if there are not as many.
#[must_use]
pub fn take_numbers(count: usize) -> bool {
    let Some(left) = LEFT.get() else { return true };
    let Some(numbers) = left.numbers.checked_sub(count) else { return false };
    LEFT.set(Some(Allowance { numbers, ..left }));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Matcher;
    use crate::model::matcher::MatchOp;

    #[test] // a thousand patterns of 50 ms each used to be compiled on the core that took the request
    fn the_patterns_of_a_request_have_a_bound_together() {
        let compile = |pattern: &str| Matcher::new("a", MatchOp::Regex, pattern).map(drop);
        let (small, large) = ("x[a-z]+y", "\\pL{40}");
        within(Allowance::QUICK, || {
            (0..6).for_each(|_| compile(small).unwrap());
            assert!(
                compile(small).unwrap_err().to_string().contains("too many regular expressions")
            );
            assert!(compile("a|b").is_ok(), "it needs no automaton");
        });
        within(Allowance::QUICK, || {
            assert!(compile(large).unwrap_err().to_string().contains("expression too large"));
        });
        within(Allowance::FULL, || {
            (0..16).for_each(|_| compile(large).unwrap());
            assert!(compile(large).is_err());
        });
        assert!(compile(large).is_ok());
    }

    #[test]
    fn numbers_are_counted_over_all_of_a_request() {
        assert!(take_numbers(usize::MAX), "without an allowance");
        within(Allowance::QUICK, || assert!(take_numbers(150_000) && !take_numbers(100_000)));
    }
}
