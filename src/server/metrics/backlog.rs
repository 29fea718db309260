//! Metrics of long work: how far each shard is behind with it, how much the kernel is told to favour it, and what writes
//! had to wait for it.

use super::Scrape;
use super::exposition::{Exposition, Kind};
use crate::coordinator::api::status::BacklogStatus;

/// Name, kind, help, and the number of a shard.
type Family = (&'static str, Kind, &'static str, fn(&BacklogStatus) -> f64);

impl Scrape<'_> {
    pub(super) fn backlog(&self, to: &mut Exposition) {
        let families: [Family; 6] = [
            (
                "floodplain_shard_overdue_ranges",
                Kind::Gauge,
                "Ranges of two hours whose full chunks ought to be in blocks, of each shard; one is usual while it is cut.",
                |backlog| backlog.overdue_ranges as f64,
            ),
            (
                "floodplain_shard_full_chunk_bytes",
                Kind::Gauge,
                "Bytes of full chunks in the memory of each shard, which wait to leave it.",
                |backlog| backlog.full_chunk_bytes as f64,
            ),
            (
                "floodplain_shard_job_age_seconds",
                Kind::Gauge,
                "How long the oldest cut or merge of each shard is under way; 0 if there is none.",
                |backlog| backlog.job_age.as_secs_f64(),
            ),
            (
                "floodplain_shard_writes_held",
                Kind::Gauge,
                "Whether writes are held back until blocks are cut.",
                |backlog| f64::from(u8::from(backlog.is_holding)),
            ),
            (
                "floodplain_shard_held_writes_total",
                Kind::Counter,
                "Parts of writes that were held back by each shard until blocks were cut.",
                |backlog| backlog.held_writes as f64,
            ),
            (
                "floodplain_shard_held_writes_refused_total",
                Kind::Counter,
                "Those of them that were not taken in time, so that the write was answered 503.",
                |backlog| backlog.refused_writes as f64,
            ),
        ];
        for (name, kind, help, of) in families {
            let mut family = to.family(name, kind, help);
            for shard in self.shards {
                family.value(&[("shard", &shard.shard.to_string())], of(&shard.backlog));
            }
        }
        let mut family = to.family(
            "floodplain_shard_background_nice_level",
            Kind::Gauge,
            "The nice level of the thread that cuts and merges for each shard: 19 when it is in no hurry, down to 0 as it falls behind.",
        );
        for shard in self.shards {
            if let Some(niceness) = shard.backlog.niceness {
                family.value(&[("shard", &shard.shard.to_string())], f64::from(niceness));
            }
        }
    }
}
