//! How much of what a request carried, for metrics, headers and answers.

/// What was in one request. Add up with `+=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Series, refused ones included.
    pub series: u64,
    /// Float samples, refused ones included.
    pub samples: u64,
    /// Native histograms, refused ones included.
    pub histograms: u64,
    /// Exemplars, refused ones included.
    pub exemplars: u64,
    /// Exemplars that were left out while decoding, because of their labels.
    pub refused_exemplars: u64,
    /// Metadata: messages of 1.0, series that carry some in 2.0.
    pub metadata: u64,
    /// Series that were refused while decoding, also those beyond what `WriteBatch::refused` names.
    pub refused_series: u64,
    /// The float samples and histograms of those series.
    pub refused_samples: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.series += other.series;
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
        self.refused_exemplars += other.refused_exemplars;
        self.metadata += other.metadata;
        self.refused_series += other.refused_series;
        self.refused_samples += other.refused_samples;
    }
}
