//! Test scripts: load samples, ask queries, say what they must answer.
//!
//! ```text
//! clear
//! load <step>                        samples at 0, step, 2*step, ...
//!   <series>@st <offset>...          start timestamps of the samples on the next line, as offsets from their times:
//!   <series> <value>...              -1m, _ where there is none, -1mx3 four times, -30s-1mx2 for -30s -90s -150s
//! eval instant at <time> <query>
//! eval range from <time> to <time> step <step> <query>
//!   expect fail|warn|no_warn|info|no_info|ordered [msg: text | regex: pattern]
//!   expect string "text"
//!   expect range vector from <time> to <time> step <step>
//!   <series> <value>...              one value for an instant, one a step for a range; _ is no value
//!   <number>                         a scalar
//! ```
//! An empty line ends a `load` or `eval`; a line that begins with `#` is empty. Every instant query is asked again with
//! `@` at its selectors at other instants, and all of those as range queries, and must answer the same.
//! Source: Prometheus, `promql/promqltest`. Scripts written for it run here.

mod ask;
mod check;
mod command;
mod nhcb;
mod parse;
mod rerun;
mod shards;
mod starts;
mod store;
mod values;

pub use command::ScriptError;
pub use shards::{Loaded, Shards};

use super::engine::Answer;
use super::error::QueryError;
use super::pace::Pace;
use super::parser::ParseOptions;
use super::prepare::Options;
use command::{Command, Eval};

/// A script, parsed.
#[derive(Debug)]
pub struct Script {
    commands: Vec<Command>,
}

/// How a script is run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Over how many shards the series are spread, at least one.
    pub shards: usize,
    /// What the engine is set to.
    pub options: Options,
}

/// What Prometheus's own scripts are written for.
pub const CONFORMANCE: Options = Options {
    lookback_ms: 300_000,
    samples_max: 10_000,
    subquery_step_ms: 60_000,
    delayed_name_removal: true,
    use_start_timestamps: true,
    looks_at_types: false,
    counts_reads: false,
    parse: ParseOptions::ALL,
};

/// How one `eval` went.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its line, from 1.
    pub line: usize,
    /// Its query.
    pub query: String,
    /// How it went.
    pub outcome: Outcome,
}

/// What one `eval` was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Its line, from 1.
    pub line: usize,
    /// Its query.
    pub query: String,
    /// The answer.
    pub answer: Result<Answer, QueryError>,
}

/// How an `eval` can go.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It answered what it must, asked again in every way.
    Passed,
    /// It uses what is not supported yet; says what.
    Refused(String),
    /// It answered something else; says what.
    Failed(String),
}

impl Script {
    /// Parses a script.
    ///
    /// # Errors
    /// The first line that cannot be read, and why.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        Ok(Self { commands: parse::commands(text)? })
    }

    /// Runs the script from its beginning on empty shards in memory: one verdict for each `eval`.
    pub async fn run<P: Pace>(&self, settings: &Settings, pace: &P) -> Vec<Verdict> {
        let mut store = store::Store::new(settings.shards);
        self.run_over(&mut store, &settings.options, pace).await
    }

    /// The same on these shards, which are empty.
    pub async fn run_over<S: Shards, P: Pace>(
        &self,
        shards: &mut S,
        options: &Options,
        pace: &P,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for command in &self.commands {
            if let Some(eval) = carry_out(command, shards).await {
                let outcome = match rerun::in_every_way(eval, shards, options, pace).await {
                    Ok(()) => Outcome::Passed,
                    Err(outcome) => outcome,
                };
                verdicts.push(Verdict { line: eval.line, query: eval.query.clone(), outcome });
            }
        }
        verdicts
    }

    /// What each `eval` is answered on these shards, which are empty: asked once, and not compared with anything.
    pub async fn answers_over<S: Shards, P: Pace>(
        &self,
        shards: &mut S,
        options: &Options,
        pace: &P,
    ) -> Vec<Answered> {
        let mut answered = Vec::new();
        for command in &self.commands {
            if let Some(eval) = carry_out(command, shards).await {
                let answer = ask::answer(&eval.query, eval.range, shards, options, pace).await;
                answered.push(Answered { line: eval.line, query: eval.query.clone(), answer });
            }
        }
        answered
    }
}

/// Carries out a command that changes what is stored; the other one is to be asked.
async fn carry_out<'c>(command: &'c Command, shards: &mut impl Shards) -> Option<&'c Eval> {
    match command {
        Command::Clear => shards.clear(),
        Command::Load(load) => shards.load(&Loaded::of(load)).await,
        Command::Eval(eval) => return Some(eval),
    }
    None
}
