//! `limit_ratio`: a share of the series, chosen by a hash of their labels, so that a series is in it wherever it lives and
//! whoever asks, and the shares of `r` and `r - 1` make up the whole.
//!
//! The hash is Prometheus's, bit for bit: XXH64 over its label sets' bytes in memory, so that both choose the same series.
//! ```text
//! label set   │ len │ name │ len │ value │ ...      sorted by name
//! len         u8, if below 255; else 255 and then 3 bytes, little-endian
//! ```
//! Source: `HashRatioSampler` in `promql/engine.go`, `model/labels/labels_stringlabels.go`.

use twox_hash::XxHash64;

use super::leaf::Param;
use super::value::Series;
use crate::model::LabelsRef;

/// Longer texts do not have their length in one byte.
const SHORT_MAX: usize = 254;

/// A `limit_ratio` in progress.
#[derive(Debug)]
pub(super) struct RatioSampler {
    ratio: Param,
    bytes: Vec<u8>,
}

impl RatioSampler {
    /// Takes the share `ratio` of each step: of the lower end of the hashes, or of the upper end if it is negative.
    pub(super) fn new(ratio: Param) -> Self {
        Self { ratio, bytes: Vec::new() }
    }

    /// Where a series lies between 0 and 1, as if it did not have the labels `hidden`.
    pub(super) fn offset(&mut self, labels: LabelsRef<'_>, hidden: &[&str]) -> f64 {
        self.bytes.clear();
        let kept = labels.iter().filter(|label| !hidden.contains(&label.name));
        for label in kept {
            push_text(&mut self.bytes, label.name);
            push_text(&mut self.bytes, label.value);
        }
        XxHash64::oneshot(0, &self.bytes) as f64 / u64::MAX as f64
    }

    /// May a series at `offset` be in any step's share?
    pub(super) fn may_take(&self, offset: f64) -> bool {
        match self.ratio {
            Param::Same(_) => self.takes(offset, 0),
            Param::Each(_) => true,
        }
    }

    /// Takes those points of a series at `offset` away that are not in their step's share.
    pub(super) fn limit(&self, series: &mut Series, offset: f64) {
        match self.ratio {
            Param::Same(_) if self.takes(offset, 0) => {}
            _ => series.retain(|step| self.takes(offset, step)),
        }
    }

    fn takes(&self, offset: f64, step: usize) -> bool {
        let ratio = self.ratio.at(step);
        if ratio > 0.0 {
            offset < ratio.min(1.0)
        } else {
            ratio < 0.0 && offset >= 1.0 + ratio.max(-1.0)
        }
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(len) if text.len() <= SHORT_MAX => bytes.push(len),
        _ => {
            let [a, b, c, ..] = text.len().to_le_bytes();
            bytes.extend_from_slice(&[u8::MAX, a, b, c]);
        }
    }
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use crate::query::grouping::METRIC_LABELS;
    use crate::query::value::Column;

    fn offset(pairs: &[(&str, &str)], hidden: &[&str]) -> f64 {
        let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
        RatioSampler::new(Param::Same(1.0)).offset(labels.as_ref(), hidden)
    }

    #[test] // golden values: the choice is Prometheus's, and must not drift
    fn a_label_set_has_the_hash_that_prometheus_gives_it() {
        let of = |hash: u64| hash as f64 / u64::MAX as f64;
        assert_eq!(offset(&[], &[]), of(0xef46_db37_51d8_e999));
        let http = [("__name__", "http_requests"), ("group", "canary"), ("instance", "0")];
        assert_eq!(offset(&http, &[]), of(0xf12f_993c_41e8_2344));
        assert_eq!(offset(&http[1..], &[]), of(0xe1ac_5d66_201d_28bb));
        assert_eq!(offset(&http, METRIC_LABELS), of(0xe1ac_5d66_201d_28bb));
    }

    #[test]
    fn long_texts_have_their_length_in_four_bytes() {
        for (len, golden) in [
            (254, 0x6229_dc6c_89cf_eac6u64),
            (255, 0x04af_9353_3fc3_4dbbu64),
            (256, 0xae5c_6e5e_1a6d_cc3eu64),
            (70000, 0xf6d6_0ac0_6c5a_5ee1u64),
        ] {
            let value = "v".repeat(len);
            assert_eq!(offset(&[("a", &value)], &[]), golden as f64 / u64::MAX as f64, "{len}");
        }
    }

    #[test]
    fn a_ratio_and_its_complement_share_out_all_series() {
        for step in 0..=100 {
            let ratio = f64::from(step) / 100.0;
            let (share, rest) = (
                RatioSampler::new(Param::Same(ratio)),
                RatioSampler::new(Param::Same(-(1.0 - ratio))),
            );
            for offset in [0.0, 0.123, 0.5, 0.999] {
                assert_ne!(share.may_take(offset), rest.may_take(offset), "{ratio} {offset}");
            }
        }
    }

    #[test]
    fn each_step_has_its_own_share() {
        let ratios: Vec<f64> = vec![0.0, 0.3, 0.31, 7.0, -0.7, -0.69, -7.0];
        let sampler = RatioSampler::new(Param::Each(ratios.into()));
        assert!(sampler.may_take(0.3));
        let column = Column::of(&[1.0; 7]).unwrap();
        let mut series = Series::of_floats(Labels::empty(), false, column);
        sampler.limit(&mut series, 0.3);
        assert_eq!(series.steps().collect::<Vec<_>>(), [2, 3, 6]);
    }
}
