//! Remote write 1.0: `prometheus.WriteRequest`.
//! ```text
//! request  (0x0a len series)*
//! series   (0x0a len label)* 0x12 len sample
//! label    0x0a len name 0x12 len value
//! sample   [0x09 value f64] 0x10 timestamp, six bytes of varint
//! ```
//! Source: `prompb/types.proto` and `prompb/remote.proto`, Prometheus.

use super::{SeriesRange, Template, push_bytes, push_varint, sample_len, varint_len};
use crate::population::Population;

pub(super) fn template(population: &Population, series: SeriesRange, step: u32) -> Template {
    let mut template =
        Template { raw: Vec::new(), slots: Vec::with_capacity(series.len()), steps: 0..u32::MAX };
    let mut labels = Vec::new();
    for life in population.lives(series, step) {
        template.steps.start = template.steps.start.max(life.steps.start);
        template.steps.end = template.steps.end.min(life.steps.end);
        for series in life.series {
            labels.clear();
            for (name, value) in population.labels(series, &life.life) {
                let text = |text: &str| 1 + varint_len(text.len()) + text.len();
                labels.push(0x0a);
                push_varint(&mut labels, text(name) + text(&value));
                push_bytes(&mut labels, 0x0a, name.as_bytes());
                push_bytes(&mut labels, 0x12, value.as_bytes());
            }
            let shape = population.shape(series, life.life.generation);
            template.raw.push(0x0a);
            push_varint(&mut template.raw, labels.len() + sample_len(shape));
            template.raw.extend_from_slice(&labels);
            template.push_sample(0x12, shape);
        }
    }
    template
}
