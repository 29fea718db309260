//! Remote write 2.0: `io.prometheus.write.v2.Request`.
//! ```text
//! request   (0x22 len symbol)* (0x2a len series)*      the first symbol is ""
//! series    0x0a len ref* 0x12 len sample 0x2a len metadata
//! sample    [0x09 value f64] 0x10 timestamp, six bytes of varint
//! metadata  0x08 type 0x18 ref of the help text
//! ```
//! Source: `prompb/io/prometheus/write/v2/types.proto`, Prometheus; its sender attaches metadata in the same way.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{SeriesRange, Template, push_bytes, push_varint, sample_len, varint_len};
use crate::population::catalog::MetricType;
use crate::population::{Population, TargetLife};

/// The strings of a request, each once.
#[derive(Default)]
pub(super) struct Symbols<'a> {
    refs: HashMap<Cow<'a, str>, usize>,
    encoded: Vec<u8>,
}

impl<'a> Symbols<'a> {
    /// The reference of `text`, which is new or known.
    pub(super) fn reference(&mut self, text: Cow<'a, str>) -> usize {
        if let Some(&known) = self.refs.get(text.as_ref()) {
            return known;
        }
        push_bytes(&mut self.encoded, 0x22, text.as_bytes());
        let new = self.refs.len();
        self.refs.insert(text, new);
        new
    }

    /// The encoded symbols, and how many they are.
    pub(super) fn finish(self) -> (Vec<u8>, usize) {
        (self.encoded, self.refs.len())
    }
}

pub(super) fn template(population: &Population, series: SeriesRange, step: u32) -> Template {
    let lives: Vec<_> = population.lives(series.clone(), step).collect();
    let mut symbols = Symbols::default();
    symbols.reference(Cow::Borrowed(""));
    let mut template = Template::empty(series.len());
    let mut parts = [Vec::new(), Vec::new()];
    for life in &lives {
        template.steps.start = template.steps.start.max(life.steps.start);
        template.steps.end = template.steps.end.min(life.steps.end);
        for series in life.series.clone() {
            fill_parts(&mut parts, &mut symbols, population, series, &life.life);
            let [refs, metadata] = &parts;
            let shape = population.shape(series, life.life.generation);
            let framed = |bytes: &[u8]| 1 + varint_len(bytes.len()) + bytes.len();
            template.raw.push(0x2a);
            push_varint(&mut template.raw, framed(refs) + sample_len(shape) + framed(metadata));
            push_bytes(&mut template.raw, 0x0a, refs);
            template.push_sample(0x12, shape);
            push_bytes(&mut template.raw, 0x2a, metadata);
        }
    }
    template.prepend(symbols.encoded);
    template
}

/// The references of the labels of `series`, and its metadata, without their frames.
pub(super) fn fill_parts<'a>(
    parts: &mut [Vec<u8>; 2],
    symbols: &mut Symbols<'a>,
    population: &'a Population,
    series: u32,
    life: &'a TargetLife,
) {
    let [refs, metadata] = parts;
    refs.clear();
    for (name, value) in population.labels(series, life) {
        push_varint(refs, symbols.reference(Cow::Borrowed(name)));
        push_varint(refs, symbols.reference(value));
    }
    let about = population.metadata(series);
    metadata.clear();
    metadata.extend([0x08, type_number(about.metric_type), 0x18]);
    push_varint(metadata, symbols.reference(Cow::Borrowed(about.help)));
}

fn type_number(metric_type: MetricType) -> u8 {
    match metric_type {
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
    }
}
