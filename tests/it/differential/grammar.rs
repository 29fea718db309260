//! Draws expressions: nearly always of types that fit, over series that mostly are there, a few levels deep.
//!
//! What is drawn keeps off the one change of 3.0 that all windows have, see [`super`]: ranges of subqueries end in half a
//! second, all other times are whole seconds.

use floodplain::io::sim::Rng;

use super::data::{BEGIN_S, LENGTH_S};
use super::expr::{COMPARISONS, Expr, Expr::*, Shift};

/// A query, and when it is asked.
pub struct Case {
    pub expr: Expr,
    pub when: When,
}

/// In seconds of the Unix epoch.
pub enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// Metrics, and the labels that their series have.
const METRICS: &[&str] = &[
    "requests_total",
    "requests_total",
    "temperature",
    "load",
    "memory_bytes",
    "up",
    "build_info",
    "latency_seconds_bucket",
    "latency_seconds_count",
    "latency_seconds_sum",
    "quota",
    "gone",
    "late",
    "uneven",
    "uneven_total",
    "answer",
    "nothing_like_it",
];
const COUNTERS: &[&str] = &[
    "requests_total",
    "requests_total",
    "requests_total",
    "late",
    "uneven_total",
    "latency_seconds_count",
    "latency_seconds_bucket",
];
const MATCHERS: &[&str] = &[
    "job=\"api\"",
    "job=\"db\"",
    "job!=\"web\"",
    "job=~\"a.*|web\"",
    "job!~\".b\"",
    "job=\"nobody\"",
    "instance=\"a:1\"",
    "instance=~\".:1\"",
    "instance!~\"[ab]:.\"",
    "code=\"200\"",
    "code=~\"[45]..\"",
    "code!=\"\"",
    "code=\"\"",
    "le=\"1\"",
    "le=~\"0.+|\\\\+Inf\"",
    "version=\"1.0\"",
    "a=\"x\"",
    "b=\"\"",
    "b=~\"1?\"",
];
/// Matchers that stand without a name.
const NAMELESS: &[&str] = &[
    "{job=\"api\"}",
    "{__name__=~\"re.*|load\"}",
    "{__name__=\"temperature\", job=\"web\"}",
    "{instance=\"a:1\", __name__!~\"latency.*\"}",
    "{__name__=~\"gone|late\"}",
    "{job=~\"db|api\", instance=\"b:1\", __name__=~\"up|load|build_info\"}",
];
const LABELS: &[&str] =
    &["job", "instance", "code", "le", "version", "a", "b", "__name__", "nowhere"];
const NUMBERS: &[&str] = &[
    "0", "1", "2", "3", "0.5", "-1", "10", "100", "1e3", "1e9", "1e-3", "0x1F", "007", "Inf",
    "-Inf", "NaN", "42", "3.25", "60",
];
const RANGES: &[&str] =
    &["5s", "20s", "30s", "1m", "1m", "2m", "5m", "5m", "10m", "15m", "1h", "1m30s", "90s", "1d"];
const OFFSETS: &[&str] = &["15s", "1m", "5m", "20m", "-30s", "-5m", "0s", "1h"];

const MATHS: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "exp",
    "sqrt",
    "ln",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "rad",
    "deg",
    "sgn",
    "round",
    "timestamp",
];
const DATES: &[&str] = &[
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "year",
];
const OVER_TIME: &[&str] = &[
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "present_over_time",
    "changes",
    "resets",
    "deriv",
    "delta",
    "idelta",
    "irate",
    "absent_over_time",
];
const AGGREGATIONS: &[&str] =
    &["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "sum", "avg", "count"];
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];

/// Draws from the grammar.
pub struct Grammar {
    rng: Rng,
    /// Is one instant evaluated, or many? A parameter of an aggregation may only change if it is one.
    many_steps: bool,
    subqueries: u64,
}

impl Grammar {
    /// The case with this number: the same in every run.
    pub fn case(number: u64) -> Case {
        let mut grammar = Self { rng: Rng::new(number), many_steps: false, subqueries: 0 };
        let when = grammar.when();
        grammar.many_steps = matches!(when, When::Range { .. });
        let depth = 1 + grammar.rng.below(4);
        let expr = match grammar.rng.below(40) {
            0 => grammar.scalar(depth),
            1 => grammar.matrix(depth),
            2 => Text("a text".to_owned()),
            _ => grammar.vector(depth),
        };
        Case { expr, when }
    }

    fn when(&mut self) -> When {
        let within = u64::try_from(LENGTH_S).unwrap() + 600;
        let mut at = || BEGIN_S - 100 + i64::try_from(self.rng.below(within)).unwrap();
        let (a, b) = (at(), at());
        let steps = 1 + i64::try_from(self.rng.below(25)).unwrap();
        match self.rng.below(2) {
            0 => When::Instant(a),
            _ => {
                let (start, end) = (a.min(b), a.max(b));
                When::Range { start, end, step: ((end - start) / steps).max(1) }
            }
        }
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.rng.below(of.len() as u64)).unwrap()]
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.rng.below(one_in) == 0
    }

    fn shift(&mut self) -> Shift {
        let offset = self.is(6).then(|| self.one(OFFSETS).to_owned());
        let at = self.is(12).then(|| match self.rng.below(4) {
            0 => "start()".to_owned(),
            1 => "end()".to_owned(),
            _ => (BEGIN_S + i64::try_from(self.rng.below(3600)).unwrap()).to_string(),
        });
        Shift { offset, at }
    }

    fn selector_of(&mut self, metric: &str) -> String {
        let mut matchers = Vec::new();
        while self.is(3) {
            matchers.push(self.one(MATCHERS));
        }
        if matchers.is_empty() {
            metric.to_owned()
        } else {
            format!("{metric}{{{}}}", matchers.join(","))
        }
    }

    fn selected(&mut self) -> String {
        if self.is(15) {
            return self.one(NAMELESS).to_owned();
        }
        let metric = self.one(METRICS);
        self.selector_of(metric)
    }

    fn selector(&mut self) -> Expr {
        Selector(self.selected(), self.shift())
    }

    /// A range vector of what `selected` selects, or of an inner query.
    fn matrix_of(&mut self, selected: Option<String>, depth: u64) -> Expr {
        if selected.is_none() && depth > 0 && self.subqueries < 2 && self.is(4) {
            return self.subquery(depth);
        }
        let selected = selected.unwrap_or_else(|| self.selected());
        Matrix(selected, self.one(RANGES).to_owned(), self.shift())
    }

    fn matrix(&mut self, depth: u64) -> Expr {
        self.matrix_of(None, depth)
    }

    fn subquery(&mut self, depth: u64) -> Expr {
        let many_steps = std::mem::replace(&mut self.many_steps, true);
        self.subqueries += 1;
        let inner = self.vector(depth - 1);
        self.subqueries -= 1;
        self.many_steps = many_steps;
        let ranges = ["59s500ms", "2m500ms", "5m500ms", "10m500ms", "30m500ms"];
        let range = self.one(&ranges).to_owned();
        let step = (!self.is(4)).then(|| self.one(&["15s", "7s", "30s", "1m", "2m"]).to_owned());
        Subquery(Box::new(inner), range, step, self.shift())
    }

    fn scalar(&mut self, depth: u64) -> Expr {
        match self.rng.below(if depth == 0 { 12 } else { 20 }) {
            0 => Expr::call("time", []),
            1 => Expr::call("pi", []),
            2..=11 => Expr::number(self.one(NUMBERS)),
            12 => Negate(Box::new(self.scalar(depth - 1).paren())),
            13..=15 => {
                let (op, is_bool) = self.operator(true);
                let (lhs, rhs) = (self.scalar(depth - 1), self.scalar(depth - 1));
                self.binary(op, is_bool, String::new(), lhs, rhs)
            }
            16 => Paren(Box::new(self.scalar(depth - 1))),
            _ => {
                let input = match self.rng.below(3) {
                    0 => Selector("answer".to_owned(), self.shift()),
                    1 => self.aggregation_of_one(depth - 1),
                    _ => self.vector(depth - 1),
                };
                Expr::call("scalar", [input])
            }
        }
    }

    fn aggregation_of_one(&mut self, depth: u64) -> Expr {
        let op = self.one(AGGREGATIONS).to_owned();
        let input = Box::new(self.vector(depth));
        Aggregate { op, grouping: String::new(), param: None, input }
    }

    /// An operator and whether it says `bool`: between scalars a comparison has to.
    fn operator(&mut self, between_scalars: bool) -> (&'static str, bool) {
        if self.is(3) {
            (self.one(COMPARISONS), between_scalars || self.is(3))
        } else {
            (self.one(ARITHMETIC), false)
        }
    }

    /// Mostly with its sides in parentheses where they need some.
    fn binary(&mut self, op: &str, is_bool: bool, matching: String, lhs: Expr, rhs: Expr) -> Expr {
        let (lhs, rhs) = if self.is(4) { (lhs, rhs) } else { (lhs.paren(), rhs.paren()) };
        Binary { op: op.to_owned(), is_bool, matching, lhs: lhs.into(), rhs: rhs.into() }
    }

    fn labels(&mut self) -> String {
        let mut labels = Vec::new();
        while labels.len() < 3 && !self.is(3) {
            labels.push(self.one(LABELS));
        }
        labels.sort_unstable();
        labels.dedup();
        labels.join(", ")
    }

    fn grouping(&mut self) -> String {
        match self.rng.below(5) {
            0 => String::new(),
            1 => format!("without ({})", self.labels()),
            2 => "by (job)".to_owned(),
            _ => format!("by ({})", self.labels()),
        }
    }

    fn aggregate(&mut self, depth: u64) -> Expr {
        let grouping = self.grouping();
        let (op, param) = match self.rng.below(6) {
            0 => (
                self.one(&["topk", "bottomk"]),
                Some(self.parameter(&["1", "2", "3", "5", "0", "-1", "2.7"])),
            ),
            1 if self.is(2) => (
                "quantile",
                Some(self.parameter(&["0.5", "0.9", "0", "1", "0.33", "-0.5", "1.5", "NaN"])),
            ),
            1 if self.is(2) => {
                ("count_values", Some(Text(self.one(&["value", "value", "job", "le"]).to_owned())))
            }
            _ => (self.one(AGGREGATIONS), None),
        };
        let input = Box::new(self.vector(depth - 1));
        Aggregate { op: op.to_owned(), grouping, param: param.map(Box::new), input }
    }

    fn parameter(&mut self, of: &[&str]) -> Expr {
        if !self.many_steps && self.is(8) { self.scalar(2) } else { Expr::number(self.one(of)) }
    }

    fn range_function(&mut self, depth: u64) -> Expr {
        match self.rng.below(12) {
            0..=3 => {
                let name = self.one(&["rate", "rate", "increase", "irate"]);
                let counter = self.one(COUNTERS);
                let selected = (!self.is(5)).then(|| self.selector_of(counter));
                Expr::call(name, [self.matrix_of(selected, depth)])
            }
            4 => {
                let q = self.scalar_like(&["0.5", "0.9", "0", "1", "0.1", "-1", "2"]);
                Expr::call("quantile_over_time", [q, self.matrix(depth)])
            }
            5 => {
                let seconds = self.scalar_like(&["0", "60", "3600", "-300"]);
                Expr::call("predict_linear", [self.matrix(depth), seconds])
            }
            6 if self.is(2) => {
                let factors = [
                    self.scalar_like(&["0.5", "0.1", "0.99"]),
                    self.scalar_like(&["0.5", "0.1", "1"]),
                ];
                Expr::call("holt_winters", [vec![self.matrix(depth)], factors.into()].concat())
            }
            _ => Expr::call(self.one(OVER_TIME), [self.matrix(depth)]),
        }
    }

    fn scalar_like(&mut self, of: &[&str]) -> Expr {
        if self.is(6) { self.scalar(1) } else { Expr::number(self.one(of)) }
    }

    fn histogram_function(&mut self, depth: u64) -> Expr {
        let buckets = self.selector_of("latency_seconds_bucket");
        let input = match self.rng.below(4) {
            0 => Selector(buckets, self.shift()),
            1 => self.vector(depth - 1),
            n => {
                let matrix = Matrix(buckets, self.one(RANGES).to_owned(), self.shift());
                let rates = Expr::call(self.one(&["rate", "increase"]), [matrix]);
                let grouping =
                    self.one(&["by (le)", "by (le, job)", "without (instance)"]).to_owned();
                let input = Box::new(rates.clone());
                let sum = Aggregate { op: "sum".to_owned(), grouping, param: None, input };
                if n == 2 { rates } else { sum }
            }
        };
        match self.rng.below(8) {
            0 => Expr::call(self.one(&["histogram_count", "histogram_sum"]), [input]),
            1 => {
                let bounds = [self.scalar_like(&["0", "0.2"]), self.scalar_like(&["1", "2"])];
                Expr::call("histogram_fraction", [bounds.to_vec(), vec![input]].concat())
            }
            _ => {
                let q = self.scalar_like(&["0.5", "0.9", "0.99", "0", "1", "-1", "2", "NaN"]);
                Expr::call("histogram_quantile", [q, input])
            }
        }
    }

    fn label_function(&mut self, depth: u64) -> Expr {
        let input = self.vector(depth - 1);
        let text = |text: &str| Text(text.to_owned());
        let dst = self.one(&["job", "new", "new", "instance", "__name__", "code"]);
        if self.is(2) {
            let separator = self.one(&["-", "", ":"]);
            let mut args = vec![input, text(dst), text(separator)];
            while !self.is(3) {
                args.push(text(self.one(LABELS)));
            }
            return Call("label_join".to_owned(), args);
        }
        let template = self.one(&["$1", "x", "", "$1-${2}", "a$0b"]);
        let source = self.one(LABELS);
        let pattern =
            self.one(&["(.*)", "(.).*", "(.+):(.+)", "", "api|db", "([a-z]+).*", "nothing"]);
        Expr::call("label_replace", [input, text(dst), text(template), text(source), text(pattern)])
    }

    /// An operator between vectors, most of the time one that finds pairs.
    fn vector_binary(&mut self, depth: u64) -> Expr {
        if self.is(4) {
            let op = self.one(&["and", "or", "unless", "or"]);
            let (lhs, rhs) = (self.vector(depth - 1), self.vector(depth - 1));
            let matching = match self.rng.below(4) {
                0 => format!("on ({})", self.labels()),
                1 => format!("ignoring ({})", self.labels()),
                _ => String::new(),
            };
            return self.binary(op, false, matching, lhs, rhs);
        }
        let (op, is_bool) = self.operator(false);
        match self.rng.below(6) {
            // One metric, or one expression, on both sides.
            0 | 1 => {
                let lhs = self.vector(depth - 1);
                let rhs = match self.rng.below(3) {
                    0 => lhs.clone(),
                    1 => Expr::call(self.one(&["abs", "floor", "sgn"]), [lhs.clone()]),
                    _ => Expr::binary("*", lhs.clone(), Expr::number("2")),
                };
                self.binary(op, is_bool, String::new(), lhs, rhs)
            }
            // Grouped alike.
            2 => {
                let labels = self.labels();
                let side = |grammar: &mut Self| Aggregate {
                    op: grammar.one(AGGREGATIONS).to_owned(),
                    grouping: format!("by ({labels})"),
                    param: None,
                    input: Box::new(grammar.vector(depth - 1)),
                };
                let (lhs, rhs) = (side(self), side(self));
                let matching = if self.is(2) { format!("on ({labels})") } else { String::new() };
                self.binary(op, is_bool, matching, lhs, rhs)
            }
            // Many to one.
            3 | 4 => {
                let many = self.vector(depth - 1);
                let labels = self.one(&["job", "job, instance", "instance"]);
                let one = match self.rng.below(3) {
                    0 => Selector("build_info".to_owned(), Shift::default()),
                    1 if labels == "job" => Selector("quota".to_owned(), self.shift()),
                    _ => Aggregate {
                        op: self.one(AGGREGATIONS).to_owned(),
                        grouping: format!("by ({labels})"),
                        param: None,
                        input: Box::new(self.vector(depth - 1)),
                    },
                };
                let include = self.one(&["", "", "version", "code", "job", "nowhere, version"]);
                let on = if self.is(8) {
                    "ignoring (code)".to_owned()
                } else {
                    format!("on ({labels})")
                };
                if self.is(2) {
                    self.binary(op, is_bool, format!("{on} group_left ({include})"), many, one)
                } else {
                    self.binary(op, is_bool, format!("{on} group_right ({include})"), one, many)
                }
            }
            _ => {
                let (lhs, rhs) = (self.vector(depth - 1), self.vector(depth - 1));
                let matching = match self.rng.below(3) {
                    0 => format!("on ({})", self.labels()),
                    1 => format!("ignoring ({})", self.labels()),
                    _ => String::new(),
                };
                self.binary(op, is_bool, matching, lhs, rhs)
            }
        }
    }

    fn vector(&mut self, depth: u64) -> Expr {
        if depth == 0 {
            return self.selector();
        }
        match self.rng.below(100) {
            0..10 => self.selector(),
            10..32 => self.range_function(depth),
            32..52 => self.aggregate(depth),
            52..65 => self.vector_binary(depth),
            65..74 => {
                let (op, is_bool) = self.operator(false);
                let (vector, scalar) = (self.vector(depth - 1), self.scalar(depth - 1));
                let left = self.is(2);
                let (lhs, rhs) = if left { (vector, scalar) } else { (scalar, vector) };
                self.binary(op, is_bool, String::new(), lhs, rhs)
            }
            74..82 => self.point_function(depth),
            82..86 => self.label_function(depth),
            86..90 => self.histogram_function(depth),
            90..92 => Negate(Box::new(self.vector(depth - 1).paren())),
            92..94 => Expr::call("absent", [self.vector(depth - 1)]),
            94..96 => Expr::call("vector", [self.scalar(depth - 1)]),
            96..98 => Expr::call(self.one(&["sort", "sort_desc"]), [self.vector(depth - 1)]),
            98 => Paren(Box::new(self.vector(depth - 1))),
            // Something whose type mostly does not fit.
            _ => {
                let wrong =
                    if self.is(2) { self.matrix(depth - 1) } else { self.scalar(depth - 1) };
                let function = self.one(&["rate", "abs", "scalar", "absent", "vector", "time"]);
                Expr::call(function, [wrong])
            }
        }
    }

    fn point_function(&mut self, depth: u64) -> Expr {
        match self.rng.below(8) {
            0 => {
                let name = self.one(DATES);
                let of = (!self.is(3)).then(|| self.vector(depth - 1));
                Expr::call(name, of)
            }
            1 => {
                let (low, high) = (self.scalar(depth - 1), self.scalar(depth - 1));
                Expr::call("clamp", [self.vector(depth - 1), low, high])
            }
            2 => {
                let name = self.one(&["clamp_min", "clamp_max"]);
                let bound = self.scalar(depth - 1);
                Expr::call(name, [self.vector(depth - 1), bound])
            }
            3 => {
                let to = self.scalar_like(&["0.5", "10", "1", "0.125", "0", "-2"]);
                Expr::call("round", [self.vector(depth - 1), to])
            }
            _ => Expr::call(self.one(MATHS), [self.vector(depth - 1)]),
        }
    }
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Instant(at) => write!(f, "at {at}"),
            Self::Range { start, end, step } => write!(f, "from {start} to {end} every {step}"),
        }
    }
}
