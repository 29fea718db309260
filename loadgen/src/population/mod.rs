//! Which series a flood consists of: `(seed, series, step)` to labels and value, without any state.
//!
//! Series are numbered host by host, target by target, in the order in which a scrape would bring them. A target that
//! churns is replaced as a whole, as pods are: its series get new labels (the next *generation*) every so many steps,
//! each target at its own moment.
//!
//! Every series carries `cluster="flood-<seed>"`, so that two seeds never share a series and a checker can ask for all
//! series of one flood. `instance` is different for every target and generation.
//!
//! A [`Mixture`] makes some of the series native histograms, whose names end in [`NATIVE_SUFFIX`].

pub mod catalog;
pub mod histogram;
pub mod mixture;
pub mod shape;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use catalog::{Axis, Family, HOST, MetricType};
use histogram::HistogramShape;
use mixture::{Exemplar, Mixture, NATIVE_SUFFIX};
use shape::{Shape, mix};

/// The series of one flood.
#[derive(Debug)]
pub struct Population {
    seed: u64,
    series_count: u32,
    generation_steps: Option<u32>,
    mixture: Mixture,
    host: Vec<Entry>,
    targets: Vec<Range<u32>>,
}

/// One series of a host.
#[derive(Debug)]
struct Entry {
    target: usize,
    /// Sorted by name.
    labels: Vec<(&'static str, Value)>,
    course: EntryCourse,
    about: Metadata,
}

/// Where an entry's values come from.
#[derive(Debug, Clone, Copy)]
enum EntryCourse {
    Plain(catalog::Course),
    /// `histogram` is the entry number of the first bucket.
    Bucket {
        histogram: u32,
        index: usize,
        count: usize,
    },
    Sum {
        histogram: u32,
    },
}

/// A label value of an entry.
#[derive(Debug, Clone)]
enum Value {
    Fixed(Cow<'static, str>),
    /// `*` becomes the tag of the target.
    Tagged(&'static str),
    Cluster,
    Instance,
}

/// What remote write 2.0 says about a series beside its samples.
#[derive(Debug, Clone, Copy)]
pub struct Metadata {
    /// The metric's type.
    pub metric_type: MetricType,
    /// The `# HELP` line.
    pub help: &'static str,
}

/// The part of a range of series that belongs to one target.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// The series.
    pub series: Range<u32>,
    /// The target's labels.
    pub life: TargetLife,
    /// The steps for which they hold.
    pub steps: Range<u32>,
}

/// One target in one generation: what its label values are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetLife {
    /// Which target, counted over all hosts.
    pub target: u32,
    /// How often it has been replaced before.
    pub generation: u32,
    cluster: String,
    instance: String,
    tag: String,
}

impl TargetLife {
    /// The value of the label `cluster`.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The value of the label `instance`.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

impl Population {
    /// The first `series_count` series of `seed`; with churn, each target is replaced every `generation_steps` steps.
    #[must_use]
    pub fn new(seed: u64, series_count: u32, generation_steps: Option<u32>) -> Self {
        let mut host = Vec::new();
        let mut targets = Vec::new();
        for (target, spec) in HOST.iter().enumerate() {
            let first = index(host.len());
            for family in spec.families.iter().copied().flatten() {
                push_family(&mut host, target, spec.labels, family);
            }
            targets.push(first..index(host.len()));
        }
        let generation_steps = generation_steps.map(|steps| steps.max(1));
        let mixture = Mixture::default();
        Self { seed, series_count, generation_steps, mixture, host, targets }
    }

    /// The same series, some of them native histograms, and with exemplars.
    #[must_use]
    pub fn with_mixture(self, mixture: Mixture) -> Self {
        Self { mixture, ..self }
    }

    /// What there is beside floats.
    #[must_use]
    pub fn mixture(&self) -> Mixture {
        self.mixture
    }

    /// Is `series` a native histogram, in all of its generations?
    #[must_use]
    pub fn is_histogram(&self, series: u32) -> bool {
        let drawn = mix(mix(self.seed) ^ mix(u64::from(series) << 8 | 3)) % 1_000_000;
        drawn < u64::from(self.mixture.histograms_per_million)
    }

    /// How many of `series` are native histograms.
    #[must_use]
    pub fn histogram_count(&self, series: Range<u32>) -> u64 {
        if !self.mixture.has_histograms() {
            return 0;
        }
        series.filter(|series| self.is_histogram(*series)).count() as u64
    }

    /// The course of the histograms of `series` in a generation.
    #[must_use]
    pub fn histogram(&self, series: u32, generation: u32) -> HistogramShape {
        HistogramShape::new(self.key(u64::from(series) << 8 | 5, generation))
    }

    /// The exemplar that the sample of `series` brings at the step whose values it has.
    #[must_use]
    pub fn exemplar(&self, series: u32, value_step: u64) -> Option<Exemplar> {
        let bits = mix(mix(self.seed ^ mix(u64::from(series) << 8 | 7)) ^ value_step);
        let comes = bits.checked_rem(u64::from(self.mixture.exemplars_every)) == Some(0);
        comes.then(|| Exemplar::new(mix(bits)))
    }

    /// How many series exist at any moment.
    #[must_use]
    pub fn series_count(&self) -> u32 {
        self.series_count
    }

    /// The value of the label `cluster` on every series.
    #[must_use]
    pub fn cluster(&self) -> String {
        format!("flood-{}", self.seed)
    }

    /// Does any series ever change its labels?
    #[must_use]
    pub fn churns(&self) -> bool {
        self.generation_steps.is_some()
    }

    /// The target that `series` belongs to.
    #[must_use]
    pub fn target_of(&self, series: u32) -> u32 {
        let (host, at) = self.place(series);
        let slot = self.host.get(at).map_or(0, |entry| entry.target);
        host * index(self.targets.len()) + index(slot)
    }

    /// How many targets there are; the last one may be cut short.
    #[must_use]
    pub fn target_count(&self) -> u32 {
        self.series_count.checked_sub(1).map_or(0, |last| self.target_of(last) + 1)
    }

    /// The series of `target`, in order.
    #[must_use]
    pub fn series_of(&self, target: u32) -> Range<u32> {
        let per_host = index(self.targets.len());
        let first = (target / per_host).saturating_mul(index(self.host.len()));
        let slot = self.targets.get((target % per_host) as usize).cloned().unwrap_or(0..0);
        let end = |at: u32| first.saturating_add(at).min(self.series_count);
        end(slot.start)..end(slot.end)
    }

    /// The generation of `target` at `step`, and the steps for which it lasts.
    #[must_use]
    pub fn generation(&self, target: u32, step: u32) -> (u32, Range<u32>) {
        let Some(steps) = self.generation_steps else { return (0, 0..u32::MAX) };
        let phase =
            u32::try_from(mix(self.seed ^ mix(u64::from(target))) % u64::from(steps)).unwrap_or(0);
        let generation = u32::try_from((u64::from(step) + u64::from(phase)) / u64::from(steps))
            .unwrap_or(u32::MAX);
        let start = (u64::from(generation) * u64::from(steps)).saturating_sub(u64::from(phase));
        let end = (u64::from(generation) + 1) * u64::from(steps) - u64::from(phase);
        let clip = |step: u64| u32::try_from(step).unwrap_or(u32::MAX);
        (generation, clip(start)..clip(end))
    }

    /// The target in one of its generations.
    #[must_use]
    pub fn life(&self, target: u32, generation: u32) -> TargetLife {
        let per_host = index(self.targets.len());
        let host = target / per_host;
        let (machine, port) = HOST
            .get((target % per_host) as usize)
            .map_or(("", 0), |spec| (spec.machine, spec.port));
        let mut instance = format!("{machine}-{host:05}");
        if generation > 0 {
            let _infallible = write!(instance, "-r{generation}");
        }
        let _infallible = write!(instance, ".eu1:{port}");
        let tag = tag(self.key(u64::from(target), generation));
        TargetLife { target, generation, cluster: self.cluster(), instance, tag }
    }

    /// `series` cut into the targets they belong to, as they are at `step`.
    pub fn lives(&self, series: Range<u32>, step: u32) -> impl Iterator<Item = Stretch> {
        let mut next = series.start;
        std::iter::from_fn(move || {
            if next >= series.end.min(self.series_count) {
                return None;
            }
            let target = self.target_of(next);
            let (generation, steps) = self.generation(target, step);
            let end = self.series_of(target).end.min(series.end);
            let stretch = Stretch { series: next..end, life: self.life(target, generation), steps };
            next = end;
            Some(stretch)
        })
    }

    /// The labels of `series` while its target leads `life`, sorted by name.
    pub fn labels<'a>(
        &'a self,
        series: u32,
        life: &'a TargetLife,
    ) -> impl Iterator<Item = (&'static str, Cow<'a, str>)> {
        let labels = self.host.get(self.place(series).1).map_or(&[][..], |entry| &entry.labels);
        let native = self.is_histogram(series);
        labels.iter().map(move |(name, value)| {
            let value = match value {
                Value::Fixed(text) if native && *name == "__name__" => {
                    Cow::Owned(format!("{text}{NATIVE_SUFFIX}"))
                }
                Value::Fixed(text) => Cow::Borrowed(text.as_ref()),
                Value::Tagged(text) => Cow::Owned(text.replace('*', &life.tag)),
                Value::Cluster => Cow::Borrowed(life.cluster.as_str()),
                Value::Instance => Cow::Borrowed(life.instance.as_str()),
            };
            (*name, value)
        })
    }

    /// The course of the values of `series` in a generation.
    #[must_use]
    pub fn shape(&self, series: u32, generation: u32) -> Shape {
        let (host, at) = self.place(series);
        let key = |at: u32| self.key(u64::from(host) << 32 | u64::from(at), generation);
        match self.host.get(at).map(|entry| entry.course) {
            Some(EntryCourse::Plain(course)) => Shape::new(course, key(index(at))),
            Some(EntryCourse::Bucket { histogram, index, count }) => {
                Shape::bucket(key(histogram), index, count)
            }
            Some(EntryCourse::Sum { histogram }) => Shape::bucket_sum(key(histogram)),
            None => Shape::Constant(0.0),
        }
    }

    /// What remote write 2.0 says about `series`.
    #[must_use]
    pub fn metadata(&self, series: u32) -> Metadata {
        let about = self.host.get(self.place(series).1).map(|entry| entry.about);
        let about = about.unwrap_or(Metadata { metric_type: MetricType::Gauge, help: "" });
        match self.is_histogram(series) {
            true => Metadata { metric_type: MetricType::Histogram, ..about },
            false => about,
        }
    }

    /// Every metric name that the population may have, each once.
    #[must_use]
    pub fn metric_names(&self) -> Vec<String> {
        let shown = self.host.iter().take(self.series_count as usize);
        let mut names: Vec<String> = shown
            .filter_map(|entry| match entry.labels.first() {
                Some(("__name__", Value::Fixed(name))) => Some(name.as_ref().to_owned()),
                _ => None,
            })
            .collect();
        if self.mixture.has_histograms() {
            let native: Vec<_> =
                names.iter().map(|name| format!("{name}{NATIVE_SUFFIX}")).collect();
            names.extend(native);
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A sum over what the first two hosts look like: two builds that agree in it send the same series and values.
    #[must_use]
    pub fn checksum() -> u32 {
        let population = Self::new(1, 4000, Some(10));
        let mut hasher = crc32fast::Hasher::new();
        for series in 0..population.series_count {
            let (generation, _) = population.generation(population.target_of(series), 25);
            let life = population.life(population.target_of(series), generation);
            for (name, value) in population.labels(series, &life) {
                hasher.update(name.as_bytes());
                hasher.update(value.as_bytes());
            }
            let shape = population.shape(series, generation);
            for step in [0, 25, 1_000_000] {
                hasher.update(&shape.value(step).to_bits().to_le_bytes());
            }
        }
        hasher.finalize()
    }

    /// [`Self::checksum`] of a flood with this mixture: builds without native histograms know none that has them.
    #[must_use]
    pub fn checksum_with(mixture: Mixture) -> u32 {
        if !mixture.has_histograms() {
            return Self::checksum();
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&Self::checksum().to_le_bytes());
        let population = Self::new(1, 200, None).with_mixture(mixture);
        for series in (0..200).filter(|series| population.is_histogram(*series)) {
            hasher.update(&series.to_le_bytes());
        }
        for (series, step) in [(1, 0), (2, 25), (3, 1_000_000)] {
            let histogram = population.histogram(series, 0).at(step);
            hasher.update(&histogram.sum.to_bits().to_le_bytes());
            for (index, count) in histogram.buckets {
                hasher.update(&index.to_le_bytes());
                hasher.update(&count.to_le_bytes());
            }
        }
        hasher.finalize()
    }

    /// Number of the host of `series`, and of the entry on it.
    fn place(&self, series: u32) -> (u32, usize) {
        let per_host = index(self.host.len());
        (series / per_host, (series % per_host) as usize)
    }

    fn key(&self, what: u64, generation: u32) -> u64 {
        mix(mix(self.seed) ^ mix(what) ^ mix(u64::from(generation) << 17 | 1))
    }
}

/// Five characters as Kubernetes ends the names of pods with.
fn tag(mut bits: u64) -> String {
    const LETTERS: [char; 27] = [
        'b', 'c', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'q', 'r', 's', 't', 'v', 'w',
        'x', 'z', '2', '4', '5', '6', '7', '8', '9',
    ];
    let letters = std::iter::from_fn(|| {
        let letter = usize::try_from(bits % 27).ok().and_then(|at| LETTERS.get(at).copied());
        bits /= 27;
        letter
    });
    letters.take(5).collect()
}

/// A length within the catalogue, which has a few thousand entries.
fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Adds the series of one family of `target` to those of the host.
fn push_family(
    host: &mut Vec<Entry>,
    target: usize,
    target_labels: &[(&'static str, &'static str)],
    family: &'static Family,
) {
    let about = Metadata { metric_type: family.metric_type(), help: family.help };
    let name = |suffix: &str| match suffix {
        "" => Cow::Borrowed(family.name),
        suffix => Cow::Owned(format!("{}{suffix}", family.name)),
    };
    for extra in combinations(family.axes) {
        let histogram = index(host.len());
        let own: Vec<_> = target_labels.iter().chain(&extra).copied().collect();
        let mut push = |suffix, bound, course| {
            let labels = sorted_labels(name(suffix), &own, bound);
            host.push(Entry { target, labels, course, about });
        };
        if let Some(course) = family.course {
            push("", None, EntryCourse::Plain(course));
            continue;
        }
        let count = family.bounds.len();
        for (index, bound) in family.bounds.iter().copied().enumerate() {
            push("_bucket", Some(bound), EntryCourse::Bucket { histogram, index, count });
        }
        push("_sum", None, EntryCourse::Sum { histogram });
        push("_count", None, EntryCourse::Bucket { histogram, index: count, count });
    }
}

fn sorted_labels(
    name: Cow<'static, str>,
    own: &[(&'static str, &'static str)],
    bound: Option<&'static str>,
) -> Vec<(&'static str, Value)> {
    let mut labels = vec![
        ("__name__", Value::Fixed(name)),
        ("cluster", Value::Cluster),
        ("instance", Value::Instance),
    ];
    labels.extend(own.iter().map(|&(name, value)| match value.contains('*') {
        true => (name, Value::Tagged(value)),
        false => (name, Value::Fixed(Cow::Borrowed(value))),
    }));
    labels.extend(bound.map(|bound| ("le", Value::Fixed(Cow::Borrowed(bound)))));
    labels.sort_by_key(|(name, _)| *name);
    labels
}

/// Every combination of the axes' values; one empty combination if there are no axes.
fn combinations(axes: &'static [Axis]) -> Vec<Vec<(&'static str, &'static str)>> {
    let mut all = vec![Vec::new()];
    for axis in axes {
        let values: Vec<Vec<(&str, &str)>> = match axis {
            Axis::One(name, values) => values.iter().map(|value| vec![(*name, *value)]).collect(),
            Axis::Sets(sets) => sets.iter().map(|set| set.to_vec()).collect(),
        };
        all = all
            .iter()
            .flat_map(|done| values.iter().map(move |value| [done.as_slice(), value].concat()))
            .collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn labels_of(population: &Population, series: u32, step: u32) -> Vec<(String, String)> {
        let target = population.target_of(series);
        let life = population.life(target, population.generation(target, step).0);
        let labels = population.labels(series, &life);
        labels.map(|(name, value)| (name.to_owned(), value.into_owned())).collect()
    }

    #[test]
    fn no_two_series_have_the_same_labels() {
        let population = Population::new(1, 20_000, None);
        let all: HashSet<_> = (0..20_000).map(|series| labels_of(&population, series, 0)).collect();
        assert_eq!(all.len(), 20_000);
    }

    #[test]
    fn labels_are_sorted_unique_and_never_empty() {
        let population = Population::new(1, 3_000, Some(7));
        for series in 0..3_000 {
            let labels = labels_of(&population, series, 100);
            assert!(labels.windows(2).all(|pair| pair[0].0 < pair[1].0), "{labels:?}");
            assert!(labels.iter().all(|(_, value)| !value.is_empty() && !value.contains('*')));
        }
    }

    #[test]
    fn a_series_has_about_seven_labels() {
        let population = Population::new(1, 10_000, None);
        let labels: usize = (0..10_000).map(|series| labels_of(&population, series, 0).len()).sum();
        assert!((65_000..=80_000).contains(&labels), "{labels} labels on 10,000 series");
    }

    #[test]
    fn targets_cut_the_series_into_ranges_without_gaps() {
        let population = Population::new(1, 4_321, None);
        let mut next = 0;
        for target in 0..population.target_count() {
            let range = population.series_of(target);
            assert_eq!(range.start, next);
            assert!(range.clone().all(|series| population.target_of(series) == target));
            next = range.end;
        }
        assert_eq!(next, 4_321);
    }

    #[test]
    fn generations_follow_each_other_without_gaps_and_change_the_labels() {
        let population = Population::new(1, 2_000, Some(40));
        for target in 0..population.target_count() {
            let (mut generation, mut steps) = population.generation(target, 0);
            assert_eq!((generation, steps.start), (0, 0));
            for _ in 0..5 {
                let (next, next_steps) = population.generation(target, steps.end);
                assert_eq!((next, next_steps.start), (generation + 1, steps.end));
                assert_eq!(next_steps.len(), 40);
                assert_ne!(
                    population.life(target, generation).instance,
                    population.life(target, next).instance
                );
                (generation, steps) = (next, next_steps);
            }
        }
    }

    #[test]
    fn seeds_share_no_series() {
        let [one, two] = [1, 2].map(|seed| labels_of(&Population::new(seed, 10, None), 3, 0));
        assert_ne!(one, two);
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up_to_its_count() {
        let population = Population::new(1, 100, None);
        let value = |series: u32| population.shape(series, 0).value(77);
        let name = |series| labels_of(&population, series, 0).remove(0).1;
        assert_eq!(name(11), "http_request_duration_seconds_bucket");
        assert_eq!(name(13), "http_request_duration_seconds_count");
        assert_eq!(value(11).to_bits(), value(13).to_bits(), "the +Inf bucket is the count");
    }

    #[test]
    fn the_mixture_decides_how_many_series_are_histograms_and_how_many_samples_have_exemplars() {
        let mixture =
            Mixture { histograms_per_million: 100_000, exemplars_every: 50, ..Mixture::default() };
        let population = Population::new(1, 10_000, None).with_mixture(mixture);
        assert!((900..1_100).contains(&population.histogram_count(0..10_000)));
        let exemplars = (0..10_000).filter(|series| population.exemplar(*series, 9).is_some());
        assert!((140..260).contains(&exemplars.count()));
        let plain = Population::new(1, 10_000, None);
        assert_eq!(plain.histogram_count(0..10_000), 0);
        assert!((0..10_000).all(|series| plain.exemplar(series, 9).is_none()));
    }

    #[test] // golden: a ledger with histograms written by one build is read by another
    fn the_histograms_have_not_changed() {
        let mixture = Mixture { histograms_per_million: 100_000, ..Mixture::default() };
        assert_eq!(Population::checksum_with(mixture), 1_956_458_308);
    }

    #[test] // golden: a ledger written by one build is read by another
    fn the_population_has_not_changed() {
        assert_eq!(Population::checksum(), 450_698_567);
    }
}
