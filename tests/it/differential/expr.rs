//! An expression of PromQL as a tree that can be written down, looked through, and changed in places.

use std::fmt;

/// What follows a selector or a subquery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shift {
    /// `offset`, with its sign.
    pub offset: Option<String>,
    /// `@`: a number, `start()` or `end()`.
    pub at: Option<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Number(String),
    Text(String),
    /// A metric's name and matchers, as they stand there.
    Selector(String, Shift),
    /// The same with a range.
    Matrix(String, String, Shift),
    /// An inner expression, its range, and its step if it names one.
    Subquery(Box<Expr>, String, Option<String>, Shift),
    Call(String, Vec<Expr>),
    Aggregate {
        op: String,
        /// `by (...)`, `without (...)`, or nothing.
        grouping: String,
        param: Option<Box<Expr>>,
        input: Box<Expr>,
    },
    Binary {
        op: String,
        is_bool: bool,
        /// `on (...)`, `ignoring (...)`, `group_left (...)`, or nothing.
        matching: String,
        lhs: Box<Expr>,
        rhs: Box<Expr>,
    },
    Negate(Box<Expr>),
    Paren(Box<Expr>),
}

pub use Expr::*;

/// Operators that pass over points instead of computing something of them.
pub const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<="];

impl Expr {
    pub fn call(name: &str, args: impl IntoIterator<Item = Self>) -> Self {
        Call(name.to_owned(), args.into_iter().collect())
    }

    pub fn number(text: &str) -> Self {
        Number(text.to_owned())
    }

    pub fn binary(op: &str, lhs: Self, rhs: Self) -> Self {
        let (op, matching) = (op.to_owned(), String::new());
        Binary { op, is_bool: false, matching, lhs: lhs.paren().into(), rhs: rhs.paren().into() }
    }

    /// In parentheses, if another operator could get between its parts.
    pub fn paren(self) -> Self {
        if matches!(self, Binary { .. } | Negate(_)) { Paren(self.into()) } else { self }
    }

    /// Is it this function or aggregation?
    pub fn is(&self, names: &[&str]) -> bool {
        match self {
            Call(name, _) | Aggregate { op: name, .. } => names.contains(&name.as_str()),
            _ => false,
        }
    }

    fn parts(&self) -> Vec<&Self> {
        match self {
            Number(_) | Text(_) | Selector(..) | Matrix(..) => Vec::new(),
            Subquery(inner, ..) | Negate(inner) | Paren(inner) => vec![inner],
            Call(_, args) => args.iter().collect(),
            Aggregate { param, input, .. } => param.iter().chain([input]).map(|e| &**e).collect(),
            Binary { lhs, rhs, .. } => vec![lhs, rhs],
        }
    }

    /// Is one of its nodes so?
    pub fn any(&self, is_so: &dyn Fn(&Self) -> bool) -> bool {
        is_so(self) || self.parts().into_iter().any(|part| part.any(is_so))
    }

    /// With each node, from the leaves up, as `change` makes it.
    pub fn map(self, change: &dyn Fn(Self) -> Self) -> Self {
        let boxed = |inner: Box<Self>| Box::new(inner.map(change));
        change(match self {
            Subquery(inner, range, step, shift) => Subquery(boxed(inner), range, step, shift),
            Call(name, args) => Call(name, args.into_iter().map(|arg| arg.map(change)).collect()),
            Aggregate { op, grouping, param, input } => {
                Aggregate { op, grouping, param: param.map(boxed), input: boxed(input) }
            }
            Binary { op, is_bool, matching, lhs, rhs } => {
                Binary { op, is_bool, matching, lhs: boxed(lhs), rhs: boxed(rhs) }
            }
            Negate(inner) => Negate(boxed(inner)),
            Paren(inner) => Paren(boxed(inner)),
            leaf => leaf,
        })
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, " @ {at}")?;
        }
        self.offset.iter().try_for_each(|offset| write!(f, " offset {offset}"))
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number(text) => f.write_str(text),
            Text(text) => write!(f, "{text:?}"),
            Selector(what, shift) => write!(f, "{what}{shift}"),
            Matrix(what, range, shift) => write!(f, "{what}[{range}]{shift}"),
            Subquery(inner, range, step, shift) => {
                let step = step.as_deref().unwrap_or_default();
                write!(f, "({inner})[{range}:{step}]{shift}")
            }
            Call(name, args) => {
                let args: Vec<_> = args.iter().map(Self::to_string).collect();
                write!(f, "{name}({})", args.join(", "))
            }
            Aggregate { op, grouping, param, input } => {
                write!(f, "{op} {grouping} (")?;
                param.iter().try_for_each(|param| write!(f, "{param}, "))?;
                write!(f, "{input})")
            }
            Binary { op, is_bool, matching, lhs, rhs } => {
                let is_bool = if *is_bool { " bool" } else { "" };
                write!(f, "{lhs} {op}{is_bool} {matching} {rhs}")
            }
            Negate(inner) => write!(f, "-{inner}"),
            Paren(inner) => write!(f, "({inner})"),
        }
    }
}
