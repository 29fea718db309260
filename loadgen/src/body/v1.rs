//! Remote write 1.0: `prometheus.WriteRequest`.
//! ```text
//! request  (0x0a len series)*
//! series   (0x0a len label)* 0x12 len sample
//! label    0x0a len name 0x12 len value
//! sample   [0x09 value f64] 0x10 timestamp, six bytes of varint
//! ```
//! Source: `prompb/types.proto` and `prompb/remote.proto`, Prometheus.

use super::{SeriesRange, Template, push_bytes, push_varint, sample_len};
use crate::population::{Population, TargetLife};

pub(super) fn template(population: &Population, series: SeriesRange, step: u32) -> Template {
    let mut template = Template::empty(series.len());
    let mut labels = Vec::new();
    for life in population.lives(series, step) {
        template.steps.start = template.steps.start.max(life.steps.start);
        template.steps.end = template.steps.end.min(life.steps.end);
        for series in life.series {
            labels.clear();
            push_labels(&mut labels, population, series, &life.life);
            let shape = population.shape(series, life.life.generation);
            template.raw.push(0x0a);
            push_varint(&mut template.raw, labels.len() + sample_len(shape));
            template.raw.extend_from_slice(&labels);
            template.push_sample(0x12, shape);
        }
    }
    template
}

/// Appends the `label` fields of `series`.
pub(super) fn push_labels(
    out: &mut Vec<u8>,
    population: &Population,
    series: u32,
    life: &TargetLife,
) {
    for (name, value) in population.labels(series, life) {
        push_bytes(out, 0x0a, &label(name.as_bytes(), value.as_bytes()));
    }
}

/// A label without its frame.
pub(super) fn label(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut label = Vec::with_capacity(name.len() + value.len() + 4);
    push_bytes(&mut label, 0x0a, name);
    push_bytes(&mut label, 0x12, value);
    label
}
