//! What a metric is, in words: its type, its help text, its unit. Belongs to a metric family, not to a series.
//!
//! Remote write 1.0 names the family; 2.0 sends metadata with every series, whose metric name may have one of the suffixes
//! that the series of one family have: [`family_of`] takes it off, so that both protocols mean one family. A counter keeps
//! `_total`, as in the text format of Prometheus.

/// What kind of metric it is. The numbers are those of both protocols, and of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MetricType {
    /// Not known.
    #[default]
    Unknown = 0,
    /// Only rises, or starts again at zero.
    Counter = 1,
    /// Rises and falls.
    Gauge = 2,
    /// Observations in buckets.
    Histogram = 3,
    /// A histogram whose buckets may fall.
    GaugeHistogram = 4,
    /// Observations as quantiles.
    Summary = 5,
    /// Labels that describe a target; its value is 1.
    Info = 6,
    /// One of several states.
    StateSet = 7,
}

impl MetricType {
    /// The type of this number; one that is not known is [`Unknown`](Self::Unknown), as in Prometheus.
    #[must_use]
    pub fn of(number: u64) -> Self {
        match number {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }

    /// Its name, as Prometheus spells it in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// What one sender says of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metadata {
    /// What kind of metric it is.
    pub kind: MetricType,
    /// What it says, for people.
    pub help: String,
    /// In which unit.
    pub unit: String,
}

impl Metadata {
    /// The same, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> MetadataRef<'_> {
        MetadataRef { kind: self.kind, help: &self.help, unit: &self.unit }
    }
}

/// [`Metadata`], borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataRef<'a> {
    /// What kind of metric it is.
    pub kind: MetricType,
    /// What it says, for people.
    pub help: &'a str,
    /// In which unit.
    pub unit: &'a str,
}

impl MetadataRef<'_> {
    /// A copy that owns its texts.
    #[must_use]
    pub fn to_owned(self) -> Metadata {
        Metadata { kind: self.kind, help: self.help.to_owned(), unit: self.unit.to_owned() }
    }

    /// Does it say nothing at all? Senders of 2.0 that know nothing of a metric send that.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == MetadataRef::default()
    }
}

/// The metadata of one family: what different senders say of it.
pub type Family = (String, Vec<Metadata>);

/// The family of the series whose metric name is `name`, if its metadata says that it is of this type.
#[must_use]
pub fn family_of(name: &[u8], kind: MetricType) -> &[u8] {
    const HISTOGRAM: &[&[u8]] = &[b"_bucket", b"_count", b"_sum", b"_created"];
    const GAUGE_HISTOGRAM: &[&[u8]] = &[b"_bucket", b"_gcount", b"_gsum", b"_count", b"_sum"];
    const SUMMARY: &[&[u8]] = &[b"_count", b"_sum", b"_created"];
    let suffixes = match kind {
        MetricType::Histogram => HISTOGRAM,
        MetricType::GaugeHistogram => GAUGE_HISTOGRAM,
        MetricType::Summary => SUMMARY,
        _ => return name,
    };
    let mut families = suffixes.iter().filter_map(|suffix| name.strip_suffix(*suffix));
    families.find(|family| !family.is_empty()).unwrap_or(name)
}

/// The routing hash of a family: [`crate::model::route_hash`] is that of a series.
#[must_use]
pub fn family_route(name: &[u8]) -> u64 {
    seahash::hash(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_type_that_both_protocols_mean_and_any_other_is_not_known() {
        let names: Vec<_> = (0..9).map(|number| MetricType::of(number).name()).collect();
        let known =
            ["counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
        assert_eq!(names[0], "unknown");
        assert_eq!(names[1..8], known);
        assert_eq!(names[8], "unknown");
        assert!((0..8).all(|number| MetricType::of(number) as u64 == number));
    }

    #[test]
    fn the_series_of_a_histogram_or_a_summary_have_one_family() {
        use MetricType::{Counter, Gauge, GaugeHistogram, Histogram, Summary};
        for (name, kind, family) in [
            ("a_bucket", Histogram, "a"),
            ("a_count", Histogram, "a"),
            ("a_sum", Histogram, "a"),
            ("a_created", Histogram, "a"),
            ("a", Histogram, "a"),
            ("a_gsum", GaugeHistogram, "a"),
            ("a_count", Summary, "a"),
            ("a_bucket", Summary, "a_bucket"),
            ("a_count", Gauge, "a_count"),
            ("a_total", Counter, "a_total"),
            ("a_count_sum", Histogram, "a_count"),
            ("_sum", Histogram, "_sum"),
        ] {
            let found = family_of(name.as_bytes(), kind);
            assert_eq!(String::from_utf8_lossy(found), family, "{name} {}", kind.name());
        }
    }
}
