//! The bodies that one connection will send, encoded before the clock starts.
//!
//! A connection owns a fixed range of series, cut into requests; a *round* sends each of them once, for one step. The
//! magazine holds the first `rounds` rounds in one buffer. What comes after them is the [`Refill`]'s matter:
//! - `replay`: round `n` is sent again as round `n + rounds`, with its timestamps overwritten in place (see
//!   [`super::patch`]). Costs next to nothing. The few bodies that cannot be patched are encoded when they are due.
//! - `encode`: each body is encoded when it is due, before it is due in time.
//! - `stop`: the flood ends there.

use serde::{Deserialize, Serialize};

use super::compress::{CompressError, Compression, Compressor};
use super::patch::{TimeByte, time_literals};
use super::{Protocol, SeriesRange, Template};
use crate::population::Population;
use crate::timeline::{Timeline, time_varint};

/// What follows when the encoded bodies are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Refill {
    /// The same bodies again with new timestamps: costs the generator next to nothing (snappy, no churn)
    Replay,
    /// Encode each body before it is due: costs the generator CPU, which the summary shows
    Encode,
    /// End the flood
    Stop,
}

/// What all connections of a flood encode alike.
#[derive(Debug)]
pub struct Encoding {
    /// The series.
    pub population: Population,
    /// Their clock.
    pub timeline: Timeline,
    /// The message.
    pub protocol: Protocol,
    /// Its compression.
    pub compression: Compression,
    /// What follows the encoded rounds.
    pub refill: Refill,
    /// How many rounds are encoded ahead.
    pub rounds: u32,
}

/// The bodies of one connection.
pub struct Magazine<'a> {
    encoding: &'a Encoding,
    requests: Vec<SeriesRange>,
    /// What each request has in every round: no exemplars.
    contents: Vec<Contents>,
    bytes: Vec<u8>,
    /// Request by request, and in each its rounds.
    bodies: Vec<Stored>,
    time_bytes: Vec<TimeByte>,
    /// Templates for encoding when due, made when first needed.
    templates: Vec<Option<Template>>,
    compressor: Compressor,
    fresh: Vec<u8>,
    encoded_when_due: u64,
}

/// Where a body lies in the buffer; `time_bytes` is `None` if it cannot be patched.
struct Stored {
    at: usize,
    len: usize,
    time_bytes: Option<std::ops::Range<usize>>,
    exemplars: u64,
}

/// A body to be sent, and what is in it.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// How much of what it has.
    pub contents: Contents,
}

/// How much of what a request has, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Floats.
    pub floats: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

impl Contents {
    /// Floats and histograms.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.floats + self.histograms
    }
}

impl std::ops::AddAssign for Contents {
    fn add_assign(&mut self, other: Self) {
        self.floats += other.floats;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
    }
}

impl<'a> Magazine<'a> {
    /// Encodes the first rounds of `requests`.
    ///
    /// # Errors
    /// A message too large for its compression.
    pub fn encode(
        encoding: &'a Encoding,
        requests: Vec<SeriesRange>,
    ) -> Result<Self, CompressError> {
        let contents = requests.iter().map(|series| {
            let histograms = encoding.population.histogram_count(series.clone());
            Contents { floats: series.len() as u64 - histograms, histograms, exemplars: 0 }
        });
        let mut magazine = Self {
            encoding,
            contents: contents.collect(),
            bytes: Vec::new(),
            bodies: Vec::with_capacity(requests.len() * encoding.rounds as usize),
            time_bytes: Vec::new(),
            templates: requests.iter().map(|_| None).collect(),
            requests,
            compressor: Compressor::new(encoding.compression)?,
            fresh: Vec::new(),
            encoded_when_due: 0,
        };
        for request in 0..magazine.requests.len() {
            magazine.encode_rounds(request)?;
            if request == 0 {
                // All requests are about as large as the first: grow once, not by doubling.
                let rest = magazine.bytes.len() * (magazine.requests.len() - 1);
                magazine.bytes.reserve(rest + rest / 8);
            }
        }
        Ok(magazine)
    }

    fn encode_rounds(&mut self, request: usize) -> Result<(), CompressError> {
        let mut template: Option<Template> = None;
        let mut marks = Vec::new();
        for step in 0..self.encoding.rounds {
            let template = match &mut template {
                Some(template) if template.steps().contains(&step) => template,
                other => {
                    let made = other.insert(self.template(request, step));
                    marks = made.time_marks();
                    made
                }
            };
            let at = self.bytes.len();
            let message = template.fill(&self.encoding.population, step, &self.encoding.timeline);
            let len = self.compressor.compress(message, &mut self.bytes)?;
            if template.is_mixed() {
                marks = template.time_marks();
            }
            let found = match self.encoding.refill {
                Refill::Replay => time_literals(self.bytes.get(at..).unwrap_or_default(), &marks),
                Refill::Encode | Refill::Stop => None,
            };
            let time_bytes = found.map(|found| {
                self.time_bytes.extend_from_slice(&found);
                self.time_bytes.len() - found.len()..self.time_bytes.len()
            });
            self.bodies.push(Stored { at, len, time_bytes, exemplars: template.exemplars() });
        }
        Ok(())
    }

    fn template(&self, request: usize, step: u32) -> Template {
        let series = self.requests.get(request).cloned().unwrap_or(0..0);
        Template::new(self.encoding.protocol, &self.encoding.population, series, step)
    }

    /// The requests of a round.
    #[must_use]
    pub fn requests(&self) -> &[SeriesRange] {
        &self.requests
    }

    /// Bytes of all encoded bodies.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many bodies were encoded only when they were due.
    #[must_use]
    pub fn encoded_when_due(&self) -> u64 {
        self.encoded_when_due
    }

    /// The body of `request` in the round of `step`; `None` when the flood is to stop here.
    ///
    /// # Errors
    /// A message too large for its compression.
    pub fn body(&mut self, request: usize, step: u32) -> Result<Option<Body<'_>>, CompressError> {
        let contents = self.contents.get(request).copied().unwrap_or_default();
        let with = |bytes, exemplars| Body { bytes, contents: Contents { exemplars, ..contents } };
        let rounds = self.encoding.rounds;
        let round = match self.encoding.refill {
            Refill::Replay => step.checked_rem(rounds).unwrap_or(0),
            Refill::Stop if step >= rounds => return Ok(None),
            Refill::Stop | Refill::Encode => step,
        };
        let stored = match round < rounds {
            true => self.bodies.get(request * rounds as usize + round as usize),
            false => None,
        };
        match stored {
            // As encoded: the first time round nothing is to be overwritten.
            Some(stored) if step == round => {
                let bytes = self.bytes.get(stored.at..stored.at + stored.len);
                Ok(bytes.map(|bytes| with(bytes, stored.exemplars)))
            }
            Some(Stored { at, len, time_bytes: Some(time_bytes), exemplars }) => {
                let time = time_varint(self.encoding.timeline.time(step));
                let Some(body) = self.bytes.get_mut(*at..at + len) else { return Ok(None) };
                for byte in self.time_bytes.get(time_bytes.clone()).unwrap_or_default() {
                    if let (Some(place), Some(new)) =
                        (body.get_mut(byte.at as usize), time.get(usize::from(byte.number)))
                    {
                        *place = *new;
                    }
                }
                Ok(Some(with(body, *exemplars)))
            }
            _ => {
                let exemplars = self.encode_now(request, step)?;
                Ok(Some(with(&self.fresh, exemplars)))
            }
        }
    }

    /// Encodes a body into `fresh`; returns how many exemplars it has.
    fn encode_now(&mut self, request: usize, step: u32) -> Result<u64, CompressError> {
        self.encoded_when_due += 1;
        let kept = self.templates.get_mut(request).and_then(Option::take);
        let mut template = kept
            .filter(|template| template.steps().contains(&step))
            .unwrap_or_else(|| self.template(request, step));
        self.fresh.clear();
        let message = template.fill(&self.encoding.population, step, &self.encoding.timeline);
        self.compressor.compress(message, &mut self.fresh)?;
        let exemplars = template.exemplars();
        if let Some(place) = self.templates.get_mut(request) {
            *place = Some(template);
        }
        Ok(exemplars)
    }
}

/// Compressed and uncompressed bytes of a sample, from the first request of each of a few parts of the population.
///
/// # Errors
/// A message too large for its compression.
pub fn measure_bytes(
    encoding: &Encoding,
    requests: &[SeriesRange],
) -> Result<BytesPerSample, CompressError> {
    let mut compressor = Compressor::new(encoding.compression)?;
    let mut wire = Vec::new();
    let (mut raw, mut samples) = (0, 0);
    for series in requests.iter().step_by(requests.len().div_ceil(8).max(1)) {
        samples += series.len();
        let step = encoding.rounds / 2;
        let mut template =
            Template::new(encoding.protocol, &encoding.population, series.clone(), step);
        let message = template.fill(&encoding.population, step, &encoding.timeline);
        raw += message.len();
        compressor.compress(message, &mut wire)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    let per_sample = |bytes: usize| bytes as f64 / samples.max(1) as f64;
    Ok(BytesPerSample { raw: per_sample(raw), wire: per_sample(wire.len()) })
}

/// What a sample costs in bytes, on average over a request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BytesPerSample {
    /// Before compression.
    pub raw: f64,
    /// In the body of a request.
    pub wire: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::mixture::Mixture;

    fn encoding(refill: Refill, compression: Compression, churn: Option<u32>) -> Encoding {
        let value_period = (refill == Refill::Replay).then_some(4);
        Encoding {
            population: Population::new(5, 1_000, churn),
            timeline: Timeline { start_ms: 1_780_000_000_000, interval_ms: 1_000, value_period },
            protocol: Protocol::V1,
            compression,
            refill,
            rounds: 4,
        }
    }

    fn decompress(compression: Compression, body: &[u8]) -> Vec<u8> {
        match compression {
            Compression::Snappy => snap::raw::Decoder::new().decompress_vec(body).unwrap(),
            Compression::Zstd => zstd::bulk::decompress(body, 1 << 20).unwrap(),
        }
    }

    /// Every body of the first twelve rounds against what a template makes.
    fn check(encoding: &Encoding) {
        let requests = vec![100..400, 400..650];
        let mut magazine = Magazine::encode(encoding, requests.clone()).unwrap();
        for step in 0..12 {
            for (request, series) in requests.iter().enumerate() {
                let body = magazine.body(request, step).unwrap().unwrap();
                let mut template =
                    Template::new(Protocol::V1, &encoding.population, series.clone(), step);
                assert!(
                    decompress(encoding.compression, body.bytes)
                        == template.fill(&encoding.population, step, &encoding.timeline),
                    "request {request} at step {step}"
                );
            }
        }
    }

    #[test]
    fn replayed_bodies_are_what_encoding_them_anew_would_give() {
        check(&encoding(Refill::Replay, Compression::Snappy, None));
    }

    #[test]
    fn replayed_bodies_with_histograms_and_exemplars_are_as_exact_and_say_what_they_have() {
        let mixture = Mixture {
            histograms_per_million: 200_000,
            float_histograms: false,
            exemplars_every: 10,
        };
        let mut encoding = encoding(Refill::Replay, Compression::Snappy, None);
        encoding.population = encoding.population.with_mixture(mixture);
        check(&encoding);
        let mut magazine = Magazine::encode(&encoding, vec![0..500, 500..1_000]).unwrap();
        for step in 0..40 {
            let contents = magazine.body(0, step).unwrap().unwrap().contents;
            assert_eq!(contents.histograms, encoding.population.histogram_count(0..500));
            assert_eq!(contents.samples(), 500);
            assert!((20..90).contains(&contents.exemplars), "{contents:?}");
        }
        assert!(magazine.encoded_when_due() <= 9, "{}", magazine.encoded_when_due());
    }

    #[test]
    fn bodies_encoded_when_due_follow_those_encoded_ahead() {
        check(&encoding(Refill::Encode, Compression::Snappy, None));
        check(&encoding(Refill::Encode, Compression::Zstd, Some(3)));
    }

    #[test]
    fn replaying_encodes_hardly_anything_when_due() {
        let encoding = encoding(Refill::Replay, Compression::Snappy, None);
        let mut magazine = Magazine::encode(&encoding, vec![0..500, 500..1_000]).unwrap();
        for step in 0..40 {
            magazine.body(0, step).unwrap();
            magazine.body(1, step).unwrap();
        }
        assert!(magazine.encoded_when_due() <= 9, "{}", magazine.encoded_when_due());
    }

    #[test]
    fn a_magazine_that_is_to_stop_stops_after_its_rounds() {
        let encoding = encoding(Refill::Stop, Compression::Zstd, None);
        let mut magazine = Magazine::encode(&encoding, vec![0..100, 100..150]).unwrap();
        assert!(magazine.body(0, 3).unwrap().is_some());
        assert!(magazine.body(0, 4).unwrap().is_none());
    }
}
