//! What a flood has beside floats: which of its series are native histograms, and which samples bring an exemplar.

use serde::{Deserialize, Serialize};

/// What is added to the name of a metric whose samples are native histograms, so that no name has both kinds.
pub const NATIVE_SUFFIX: &str = "_native";

/// The mix of a flood; the default is floats alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mixture {
    /// How many of a million series are native histograms and send no float.
    pub histograms_per_million: u32,
    /// Are those float histograms and not integer ones?
    pub float_histograms: bool,
    /// One sample in so many brings an exemplar; 0 for none.
    pub exemplars_every: u32,
}

impl Mixture {
    /// Floats and nothing else?
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Are there native histograms?
    #[must_use]
    pub fn has_histograms(&self) -> bool {
        self.histograms_per_million > 0
    }
}

/// The exemplar of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The 32 hexadecimal digits of its label `trace_id`.
    pub trace_id: [u8; 32],
    /// Its value.
    pub value: f64,
}

impl Exemplar {
    /// The exemplar that `bits` name.
    #[must_use]
    pub fn new(bits: u64) -> Self {
        let mut trace_id = [0; 32];
        for (place, nibble) in trace_id.iter_mut().zip((0..16u32).cycle()) {
            let digit = u32::try_from(bits >> (4 * nibble) & 15).unwrap_or(0);
            *place = char::from_digit(digit, 16).and_then(|c| u8::try_from(c).ok()).unwrap_or(b'0');
        }
        let millis = u16::try_from(bits >> 20 & 0x3fff).unwrap_or(0);
        Self { trace_id, value: f64::from(millis) / 1000.0 }
    }
}
