//! Regular expressions with the syntax and meaning of Go's `regexp` (RE2), run by the crate `regex`.

/// Does a pattern have to match the whole text?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchored {
    /// The whole text, with `.` matching a newline: `^(?s:…)$`, as matchers and `label_replace` wrap it.
    Yes,
    /// Any part of it, as Go's `regexp.MatchString` does.
    No,
}

/// Why a pattern was refused. Prints what Go prints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {what}: `{expression}`")]
pub struct RegexpError {
    /// Go's name for the fault: `missing closing ]`.
    pub what: &'static str,
    /// The part of the pattern that has it.
    pub expression: String,
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct GoRegex {
    regex: regex::Regex,
}

/// What the groups of a pattern matched.
pub struct Captures<'t>(regex::Captures<'t>);

impl GoRegex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// A pattern that Go refuses, or one that compiles to more than the size limit.
    pub fn new(pattern: &str, anchored: Anchored) -> Result<Self, RegexpError> {
        let wrapped = match anchored {
            Anchored::Yes => format!("^(?s:{pattern})$"),
            Anchored::No => pattern.to_owned(),
        };
        let regex = regex::Regex::new(&wrapped).map_err(|_| RegexpError {
            what: "invalid or unsupported Perl syntax",
            expression: pattern.to_owned(),
        })?;
        Ok(Self { regex })
    }

    /// Does the pattern match `text`?
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The leftmost match's groups.
    #[must_use]
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.regex.captures(text).map(Captures)
    }
}

impl<'t> Captures<'t> {
    /// What group `index` matched; 0 is the whole match. `None` if there is no such group or it took no part.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'t str> {
        self.0.get(index).map(|group| group.as_str())
    }

    /// What the group called `name` matched.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&'t str> {
        self.0.name(name).map(|group| group.as_str())
    }

    /// Appends `template` to `out` with `$1`, `$name` and `${name}` replaced by what those groups matched and `$$` by a
    /// dollar sign, as Go's `Regexp.Expand` does: a name is as long as possible, an unknown one stands for nothing.
    pub fn expand(&self, template: &str, out: &mut String) {
        self.0.expand(template, out);
    }
}
