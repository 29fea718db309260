//! Metrics of remote write: what was acknowledged, what was refused and why, what is in flight.

use super::Scrape;
use super::exposition::{Exposition, Kind};
use crate::coordinator::api::RefusedSamples;

impl Scrape<'_> {
    pub(super) fn remote_write(&self, to: &mut Exposition) {
        let mut family = to.family(
            "floodplain_remote_write_samples_total",
            Kind::Counter,
            "Samples that were acknowledged, by protocol version.",
        );
        family.count(&[("protocol", "1.0")], self.counters.sum(|core| core.written_v1.get()));
        family.count(&[("protocol", "2.0")], self.counters.sum(|core| core.written_v2.get()));
        let mut family = to.family(
            "floodplain_remote_write_histograms_total",
            Kind::Counter,
            "Native histograms that were acknowledged, by protocol version.",
        );
        family.count(&[("protocol", "1.0")], self.counters.sum(|core| core.histograms_v1.get()));
        family.count(&[("protocol", "2.0")], self.counters.sum(|core| core.histograms_v2.get()));
        to.family(
            "floodplain_remote_write_duration_seconds",
            Kind::Histogram,
            "How long writes took, from the first byte of the body to the acknowledgement.",
        )
        .histogram(&[], &self.counters.buckets(|core| Some(&core.write_durations)));
        to.counter(
            "floodplain_remote_write_body_bytes_total",
            "Bytes of the bodies of writes, as sent.",
            self.counters.sum(|core| core.body_bytes.get()),
        );
        to.counter(
            "floodplain_remote_write_unpacked_bytes_total",
            "Bytes of the bodies of writes, unpacked.",
            self.counters.sum(|core| core.unpacked_bytes.get()),
        );
        to.gauge(
            "floodplain_remote_write_inflight_bytes",
            "Bytes of writes in flight, as sent and unpacked.",
            self.inflight_bytes as f64,
        );
        to.gauge(
            "floodplain_remote_write_inflight_limit_bytes",
            "How many of them there may be.",
            self.inflight_bytes_max as f64,
        );
        to.counter(
            "floodplain_remote_write_overloaded_total",
            "Writes that were answered 503 because too many bytes were in flight.",
            self.counters.sum(|core| core.overloaded.get()),
        );
    }

    pub(super) fn refusals(&self, to: &mut Exposition) {
        let sum = |of: fn(&RefusedSamples) -> u64| {
            self.shards.iter().map(|shard| of(&shard.refused)).sum::<u64>()
        };
        let (out_of_order, out_of_bounds) = (sum(|r| r.out_of_order), sum(|r| r.out_of_bounds));
        let too_old = sum(|r| r.too_old);
        let mut reasons = vec![
            ("out_of_order", out_of_order),
            ("out_of_bounds", out_of_bounds),
            ("too_old", too_old),
            ("duplicate", sum(|r| r.duplicate)),
            ("histogram", sum(|r| r.histograms)),
            ("too_many_series", sum(|r| r.too_many_series)),
        ];
        let mut invalid_labels = 0;
        for (reason, mut n) in self.counters.refusals() {
            if reason == "labels" {
                n += sum(|r| r.labels);
            }
            if matches!(reason, "no_metric_name" | "labels" | "label_refs") {
                invalid_labels += n;
            }
            reasons.push((reason, n));
        }
        let mut family = to.family(
            "floodplain_remote_write_refused_samples_total",
            Kind::Counter,
            "Samples that were refused, by reason; unnamed: of requests with very many bad series, those beyond.",
        );
        for (reason, n) in reasons {
            family.count(&[("reason", reason)], n);
        }
        for (name, help, n) in [
            (
                "prometheus_tsdb_out_of_order_samples_total",
                "Samples that were refused because their series had a newer one.",
                out_of_order,
            ),
            (
                "prometheus_tsdb_out_of_bound_samples_total",
                "Samples that were refused because their time is too far from now.",
                out_of_bounds,
            ),
            (
                "prometheus_tsdb_too_old_samples_total",
                "Samples that were refused because they are older than the out-of-order window.",
                too_old,
            ),
        ] {
            to.family(name, Kind::Counter, help).count(&[("type", "float")], n);
        }
        to.counter(
            "prometheus_api_remote_write_invalid_labels_samples_total",
            "Samples that were refused because of their labels.",
            invalid_labels,
        );
    }
}
