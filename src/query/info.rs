//! `info()`: gives series the labels of info series, which say something about a target and have its `instance` and `job`.
//!
//! An info series' values are the times of its samples, in seconds: of several of one metric and target the newest counts.
//! For each target, the steps are cut into stretches in which the same info series count, so that labels are put together
//! once for each stretch and series.
//! Source: `promql/info.go`. What goes wrong first by time is what is told, as there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::engine::{Evaluation, Value};
use super::error::QueryError;
use super::grid::Grid;
use super::grouping::{GroupIndex, Grouping};
use super::pace::{LABELS_POINTS, Meter, Pace};
use super::plan::InfoCall;
use super::planner_info::IDENTIFYING_LABELS;
use super::series_set::{Same, let_go, merge_same, sort_by_labels};
use super::value::{Column, HistogramColumn, HistogramPoint, Series, is_absent};
use crate::model::labels::METRIC_NAME;
use crate::model::{Labels, Matcher};

/// Evaluates a call of `info()`.
pub(super) async fn evaluate<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &InfoCall,
    grid: Grid,
) -> Result<Value, QueryError> {
    let base = evaluation.vector(call.base).await?;
    let infos = evaluation.vector(call.infos).await?;
    let infos = about(&base, infos, &call.names, &evaluation.meter).await?;
    let infos = sort_by_labels(infos, &evaluation.meter).await?;
    if let Some(odd) = infos.iter().find(|info| !info.histograms.is_empty()) {
        return Err(QueryError::Execution(format!(
            "this should be an info metric, with float samples: {}",
            odd.labels
        )));
    }
    let mut faults = Faults::default();
    let grouping = Grouping::by(&IDENTIFYING_LABELS);
    let mut index = GroupIndex::new(&grouping);
    let mut targets: Vec<Target<'_>> = Vec::new();
    for (at, info) in infos.iter().enumerate() {
        evaluation.meter.spend(LABELS_POINTS).await?;
        let place = index.place(info.labels.as_ref());
        if place == targets.len() {
            targets.push(Target::default());
        }
        if let Some(target) = targets.get_mut(place) {
            let name = info.labels.get(METRIC_NAME).unwrap_or_default();
            target.metrics.entry(name).or_default().push(at);
        }
    }
    let busy = steps_of(&base, grid, &evaluation.meter).await?;
    for target in &mut targets {
        target.cut(&infos, &busy, &mut faults, &evaluation.meter).await?;
    }
    let join = Join { infos: &infos, data: &call.data };
    let keeps_unmatched = call.data.iter().all(Matcher::matches_empty);
    let mut out = Vec::with_capacity(base.len());
    for (at, one) in base.into_iter().enumerate() {
        evaluation.meter.spend(LABELS_POINTS * 2 + one.len()).await?;
        if is_info(&one, &call.names) {
            out.push(one);
            continue;
        }
        let target = index.find(one.labels.as_ref()).and_then(|place| targets.get(place));
        let pieces = match target {
            Some(target) => target.pieces(one, &evaluation.meter)?,
            None => vec![(&[][..], one)],
        };
        for (chosen, mut piece) in pieces {
            if chosen.is_empty() && !keeps_unmatched {
                continue;
            }
            evaluation.meter.spend(LABELS_POINTS * chosen.len()).await?;
            match join.labels(&piece.labels, chosen) {
                Ok(labels) => piece.labels = labels,
                Err(what) => {
                    faults.note((piece.steps().min().unwrap_or(0), 1, at), what);
                    continue;
                }
            }
            out.push(piece);
        }
    }
    if let Some((_, what)) = faults.first {
        return Err(QueryError::Execution(what));
    }
    merge_same(out, Same::Merge, &evaluation.meter).await.map(Value::Vector)
}

/// Is a series an info series itself? Those are left as they are.
fn is_info(series: &Series, names: &[Matcher]) -> bool {
    let name = series.labels.get(METRIC_NAME).unwrap_or_default();
    names.iter().all(|matcher| matcher.matches(name))
}

/// The info series that any of the series `base` asks for. What one of those has in an identifying label the info series
/// must have there, too, if it is not of the same target.
async fn about<P: Pace>(
    base: &[Series],
    infos: Vec<Series>,
    names: &[Matcher],
    meter: &Meter<'_, P>,
) -> Result<Vec<Series>, QueryError> {
    let mut asked = IDENTIFYING_LABELS.map(|label| (label, BTreeSet::new()));
    for one in base {
        meter.spend(LABELS_POINTS).await?;
        if !is_info(one, names) {
            for (label, values) in &mut asked {
                values.extend(one.labels.get(label));
            }
        }
    }
    if asked.iter().all(|(_, values)| values.is_empty()) {
        let_go(infos, meter.pacer()).await?;
        return Ok(Vec::new());
    }
    let mut wanted = Vec::with_capacity(infos.len());
    for info in infos {
        meter.spend(LABELS_POINTS).await?;
        let is_wanted = asked.iter().all(|(label, values)| {
            let has_one = || info.labels.get(label).is_some_and(|value| values.contains(value));
            values.is_empty() || has_one()
        });
        wanted.extend(is_wanted.then_some(info));
    }
    Ok(wanted)
}

/// The steps at which any of the series has a point.
async fn steps_of<P: Pace>(
    series: &[Series],
    grid: Grid,
    meter: &Meter<'_, P>,
) -> Result<Vec<bool>, QueryError> {
    let mut busy = vec![false; grid.count];
    for one in series {
        meter.spend(one.len()).await?;
        for step in one.steps() {
            if let Some(busy) = busy.get_mut(step) {
                *busy = true;
            }
        }
    }
    Ok(busy)
}

/// What went wrong.
#[derive(Default)]
struct Faults {
    /// The one that comes first by its step, then by the order in which things are looked at there.
    first: Option<((usize, usize, usize), String)>,
}

impl Faults {
    fn note(&mut self, at: (usize, usize, usize), what: String) {
        if self.first.as_ref().is_none_or(|(first, _)| at < *first) {
            self.first = Some((at, what));
        }
    }
}

/// The info series of one target.
#[derive(Default)]
struct Target<'s> {
    /// By the metrics' names.
    metrics: BTreeMap<&'s str, Vec<usize>>,
    /// The steps that stretches begin at, and which of `choices` count there.
    stretches: Vec<(usize, usize)>,
    /// Sets of info series that count together, at most one a metric, in order of the names.
    choices: Vec<Vec<usize>>,
}

impl Target<'_> {
    /// Finds the stretches.
    async fn cut<P: Pace>(
        &mut self,
        infos: &[Series],
        busy: &[bool],
        faults: &mut Faults,
        meter: &Meter<'_, P>,
    ) -> Result<(), QueryError> {
        let count: usize = self.metrics.values().map(Vec::len).sum();
        let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut now = Vec::with_capacity(self.metrics.len());
        let mut last = None;
        for (step, busy) in busy.iter().enumerate() {
            meter.spend(count).await?;
            now.clear();
            for of_metric in self.metrics.values() {
                match newest(of_metric, infos, step) {
                    Ok(newest) => now.extend(newest),
                    // Nobody asks at a step without a base series.
                    Err((at, what)) if *busy => faults.note((step, 0, at), what),
                    Err(_) => {}
                }
            }
            let choice = match known.get(&now) {
                Some(choice) => *choice,
                None => {
                    known.insert(now.clone(), self.choices.len());
                    self.choices.push(now.clone());
                    self.choices.len() - 1
                }
            };
            if last != Some(choice) {
                self.stretches.push((step, choice));
                last = Some(choice);
            }
        }
        Ok(())
    }

    /// Which choice counts at `step`.
    fn choice_at(&self, step: usize) -> usize {
        let behind = self.stretches.partition_point(|(from, _)| *from <= step);
        behind.checked_sub(1).and_then(|at| self.stretches.get(at)).map_or(0, |(_, choice)| *choice)
    }

    /// The series in pieces, each with the info series that count for it.
    fn pieces<P: Pace>(
        &self,
        series: Series,
        meter: &Meter<'_, P>,
    ) -> Result<Vec<(&[usize], Series)>, QueryError> {
        let chosen = |choice: usize| self.choices.get(choice).map_or(&[][..], Vec::as_slice);
        let (first, last) = (series.steps().min().unwrap_or(0), series.steps().max().unwrap_or(0));
        if !self.stretches.iter().any(|(from, _)| *from > first && *from <= last) {
            return Ok(vec![(chosen(self.choice_at(first)), series)]);
        }
        let mut pieces: BTreeMap<usize, Piece> = BTreeMap::new();
        for (step, v) in series.column.points() {
            pieces.entry(self.choice_at(step)).or_default().floats.push((step, v));
        }
        for point in series.histograms.points() {
            let piece = pieces.entry(self.choice_at(point.0)).or_default();
            piece.histograms.push(point.clone());
        }
        // Pieces that lie between each other's points are longer than the series was.
        let held = pieces.values().map(Piece::span).sum();
        meter.hold(held)?;
        meter.release(held);
        let of_piece = |(choice, piece): (usize, Piece)| (chosen(choice), piece.of(&series));
        Ok(pieces.into_iter().map(of_piece).collect())
    }
}

/// The points of a series for which the same info series count.
#[derive(Default)]
struct Piece {
    floats: Vec<(usize, f64)>,
    histograms: Vec<HistogramPoint>,
}

impl Piece {
    /// From the first number to the last one.
    fn span(&self) -> usize {
        match (self.floats.first(), self.floats.last()) {
            (Some((first, _)), Some((last, _))) => last - first + 1,
            _ => 0,
        }
    }

    fn of(self, series: &Series) -> Series {
        let mut column = Column::default();
        column.put(&self.floats);
        Series {
            labels: series.labels.clone(),
            drop_name: series.drop_name,
            column,
            histograms: HistogramColumn::of(self.histograms),
        }
    }
}

/// Which of the info series of one metric has the newest sample at `step`, if any has one. Of two that are as new neither
/// is to be believed: gives the second one's index and what to say.
fn newest(
    of_metric: &[usize],
    infos: &[Series],
    step: usize,
) -> Result<Option<usize>, (usize, String)> {
    let mut newest: Option<(usize, &Series, f64)> = None;
    for at in of_metric {
        let Some(info) = infos.get(*at) else {
            continue;
        };
        let t = info.column.at(step);
        match newest {
            _ if is_absent(t) => {}
            Some((_, _, newest)) if newest > t => {}
            Some((_, existing, newest)) if newest == t => {
                let t = (t * 1000.0).round();
                return Err((
                    *at,
                    format!(
                        "found duplicate series for info metric: existing {} @ {t}, new {} @ {t}",
                        existing.labels, info.labels
                    ),
                ));
            }
            _ => newest = Some((*at, info, t)),
        }
    }
    Ok(newest.map(|(at, ..)| at))
}

/// Puts labels together.
struct Join<'a> {
    infos: &'a [Series],
    /// If there are any conditions, only the labels that they are about are given.
    data: &'a [Matcher],
}

impl Join<'_> {
    /// The labels of a series and those that the info series `chosen` add; or what is wrong with these.
    fn labels(&self, base: &Labels, chosen: &[usize]) -> Result<Labels, String> {
        let mut added: BTreeMap<&str, &str> = BTreeMap::new();
        for info in chosen.iter().filter_map(|at| self.infos.get(*at)) {
            for label in info.labels.iter() {
                let wanted = self.data.is_empty()
                    || self.data.iter().any(|matcher| matcher.name() == label.name);
                if label.name == METRIC_NAME || !wanted || base.get(label.name).is_some() {
                    continue;
                }
                if *added.entry(label.name).or_insert(label.value) != label.value {
                    return Err(format!("conflicting label: {}", label.name));
                }
            }
        }
        if added.is_empty() {
            return Ok(base.clone());
        }
        let mut labels = base.to_builder();
        for (name, value) in added {
            labels.set(name, value);
        }
        Ok(labels.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::memory::{Account, Budget};
    use crate::query::pace::Unpaced;
    use crate::query::value::ABSENT;

    fn info(version: &str, times: &[f64]) -> Series {
        let labels = Labels::from_pairs([("__name__", "i"), ("version", version)]).unwrap();
        Series::of_floats(labels, false, Column::of(times).unwrap())
    }

    fn account() -> Account {
        Budget::unlimited().open()
    }

    fn target(infos: &[Series], busy: &[bool], faults: &mut Faults) -> Target<'static> {
        let metrics = BTreeMap::from([("i", (0..infos.len()).collect())]);
        let mut target = Target { metrics, ..Target::default() };
        let account = account();
        let meter = Meter::new(&Unpaced, 0, &account);
        futures_lite::future::block_on(target.cut(infos, busy, faults, &meter)).unwrap();
        target
    }

    #[test]
    fn a_stretch_ends_where_another_info_series_is_newer() {
        let infos = [
            info("1", &[1.0, 2.0, 2.0, 2.0, ABSENT, ABSENT]),
            info("2", &[0.5, ABSENT, 3.0, 3.0, 3.0, ABSENT]),
        ];
        let mut faults = Faults::default();
        let target = target(&infos, &[true; 6], &mut faults);
        assert_eq!(target.stretches, [(0, 0), (2, 1), (5, 2)]);
        assert_eq!(target.choices, [vec![0], vec![1], vec![]]);
        assert!(faults.first.is_none());
    }

    #[test]
    fn two_that_are_as_new_are_a_fault_only_where_somebody_asks() {
        let infos = [info("1", &[1.0, 2.0, 3.0]), info("2", &[1.0, 2.0, 3.0])];
        let mut faults = Faults::default();
        target(&infos, &[false, false, true], &mut faults);
        let ((step, ..), what) = faults.first.unwrap();
        assert_eq!(step, 2);
        assert!(what.ends_with(r#"new {__name__="i", version="2"} @ 3000"#), "{what}");
    }

    #[test]
    fn pieces_that_lie_between_each_other_count_with_all_their_length() {
        let alternating = |odd: usize| -> Vec<f64> {
            (0..10).map(|step| if step % 2 == odd { 1.0 } else { ABSENT }).collect()
        };
        let infos = [info("1", &alternating(0)), info("2", &alternating(1))];
        let target = target(&infos, &[true; 10], &mut Faults::default());
        let base = Series::of_floats(Labels::empty(), false, Column::of(&[7.0; 10]).unwrap());
        let account = account();
        let too_many = target.pieces(base.clone(), &Meter::new(&Unpaced, 17, &account));
        assert_eq!(too_many, Err(QueryError::TooManySamples));
        let pieces = target.pieces(base, &Meter::new(&Unpaced, 18, &account)).unwrap();
        let steps = |at: usize| pieces[at].1.steps().collect::<Vec<_>>();
        assert_eq!((pieces[0].0, steps(0)), (&[0][..], vec![0, 2, 4, 6, 8]));
        assert_eq!((pieces[1].0, steps(1)), (&[1][..], vec![1, 3, 5, 7, 9]));
    }

    #[test]
    fn what_a_series_has_is_kept_and_only_what_is_asked_for_is_added() {
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        let of = |pairs: &[(&str, &str)]| {
            Series::of_floats(labels(pairs), false, Column::of(&[1.0]).unwrap())
        };
        let infos = [of(&[("__name__", "a"), ("x", "1"), ("y", "1")]), of(&[("x", "2")])];
        let base = labels(&[("__name__", "m"), ("y", "own")]);
        let joined = |data: &[Matcher], chosen: &[usize]| {
            Join { infos: &infos, data }.labels(&base, chosen).map(|labels| labels.to_string())
        };
        let with_x = r#"{__name__="m", x="1", y="own"}"#.to_owned();
        assert_eq!(joined(&[], &[0]), Ok(with_x));
        assert_eq!(joined(&[Matcher::equal("y", "1")], &[0]), Ok(base.to_string()));
        assert_eq!(joined(&[], &[0, 1]), Err("conflicting label: x".to_owned()));
        assert_eq!(joined(&[Matcher::equal("y", "1")], &[0, 1]), Ok(base.to_string()));
    }
}
