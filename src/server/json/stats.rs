//! What a query cost, behind its answer, for who asks for it.
//!
//! ```text
//! {"timings":{"evalTotalTime":0.1,…},"samples":{"totalQueryableSamples":6,"samplesRead":4,"peakSamples":7}}
//! with each step's      "totalQueryableSamplesPerStep":[[1.5,3],…]  and  "samplesReadPerStep":[[1.5,3],…]  before their sums
//! ```
//! Source: `util/stats/query_stats.go`, Prometheus 3.14.

use super::{array, number, object};
use crate::query::Reads;
use crate::query::grid::Grid;

/// What a query cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// How long it waited for its turn, in seconds.
    pub queue_seconds: f64,
    /// How long it ran, in seconds.
    pub eval_seconds: f64,
    /// How much of that went by until it was parsed and planned.
    pub preparation_seconds: f64,
    /// What its steps have looked at.
    pub reads: Reads,
    /// The instants of the steps, if each is to be told of.
    pub each_of: Option<Grid>,
    /// How many samples were held at once, at most.
    pub held_max: usize,
}

impl Stats {
    /// Appends `,"stats":{…}`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { queue_seconds, eval_seconds, preparation_seconds, reads, each_of, held_max } =
            self;
        out.extend_from_slice(b",\"stats\":{\"timings\":");
        let timings = [
            ("evalTotalTime", *eval_seconds),
            // Answers are sorted while they are made.
            ("resultSortTime", 0.0),
            ("queryPreparationTime", *preparation_seconds),
            ("innerEvalTime", (eval_seconds - preparation_seconds).max(0.0)),
            ("execQueueTime", *queue_seconds),
            ("execTotalTime", queue_seconds + eval_seconds),
        ];
        object(out, timings, number::bare_value);
        out.extend_from_slice(b",\"samples\":{");
        let counts = [("totalQueryableSamples", &reads.seen), ("samplesRead", &reads.read)];
        for (name, counts) in counts {
            if let Some(grid) = each_of {
                out.extend_from_slice(format!("\"{name}PerStep\":").as_bytes());
                array(out, grid.times().zip(counts), |out, (t, count)| {
                    out.push(b'[');
                    number::scalar_timestamp(out, t);
                    out.push(b',');
                    number::unsigned(out, *count);
                    out.push(b']');
                });
                out.push(b',');
            }
            out.extend_from_slice(format!("\"{name}\":").as_bytes());
            number::unsigned(out, counts.iter().sum());
            out.push(b',');
        }
        out.extend_from_slice(b"\"peakSamples\":");
        number::unsigned(out, *held_max as u64);
        out.extend_from_slice(b"}}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_of_before_their_sums() {
        let mut stats = Stats {
            queue_seconds: 0.0,
            eval_seconds: 0.0,
            preparation_seconds: 0.0,
            reads: Reads { seen: vec![3, 3], read: vec![3, 1], ..Reads::default() },
            each_of: None,
            held_max: 7,
        };
        let samples = |stats: &Stats| {
            let mut out = Vec::new();
            stats.write(&mut out);
            let text = String::from_utf8(out).unwrap();
            text.split_once("\"samples\":").unwrap().1.to_owned()
        };
        assert_eq!(
            samples(&stats),
            r#"{"totalQueryableSamples":6,"samplesRead":4,"peakSamples":7}}"#
        );
        stats.each_of = Some(Grid::new(1000, 1500, 500));
        assert_eq!(
            samples(&stats),
            r#"{"totalQueryableSamplesPerStep":[[1,3],[1.5,3]],"totalQueryableSamples":6,"samplesReadPerStep":[[1,3],[1.5,1]],"samplesRead":4,"peakSamples":7}}"#
        );
    }
}
