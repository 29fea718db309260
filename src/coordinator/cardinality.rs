//! Which label names and pairs most series have, over all shards.

use std::collections::{BTreeMap, HashMap};

use super::api::Cardinality;
use crate::model::labels::METRIC_NAME;
use crate::rt::pace::Slice;
use crate::shard::{PairUse, ValueUse};

/// Adds up what the shards tell of their label pairs; at most `limit` of each kind.
///
/// A pair that is frequent on all shards together is among the most frequent of at least one, from where its text comes.
pub async fn cardinality(parts: Vec<PairUse>, limit: usize, slice: &mut Slice) -> Cardinality {
    let mut names: BTreeMap<String, HashMap<u64, ValueUse>> = BTreeMap::new();
    let mut texts: HashMap<u64, (String, String)> = HashMap::new();
    for part in parts {
        for (name, values) in part.names {
            let known = names.entry(name).or_default();
            for value in values {
                let sum = known.entry(value.hash).or_insert(ValueUse { series: 0, ..value });
                sum.series = sum.series.saturating_add(value.series);
                slice.breathe().await;
            }
        }
        texts.extend(part.texts.into_iter().map(|(hash, name, value)| (hash, (name, value))));
    }
    let mut all = Cardinality::default();
    for (name, values) in &names {
        all.label_pairs += values.len() as u64;
        all.values_by_label.push((name.clone(), values.len() as u64));
        let mut bytes = 0;
        for value in values.values() {
            bytes += u64::from(value.bytes);
            slice.breathe().await;
            let Some((name, text)) = texts.get(&value.hash) else { continue };
            let series = u64::from(value.series);
            if name == METRIC_NAME {
                all.series_by_metric.push((text.clone(), series));
            }
            all.series_by_pair.push((format!("{name}={text}"), series));
        }
        all.bytes_by_label.push((name.clone(), bytes));
    }
    for list in [
        &mut all.series_by_metric,
        &mut all.values_by_label,
        &mut all.bytes_by_label,
        &mut all.series_by_pair,
    ] {
        // Of equals the first by name, so that the same question has the same answer.
        list.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
        list.truncate(limit);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::testing::on_one_shard;

    fn cardinality(parts: Vec<PairUse>, limit: usize) -> Cardinality {
        let (tell, told) = std::sync::mpsc::channel();
        on_one_shard(move |_| async move {
            let all = super::cardinality(parts, limit, &mut Slice::start()).await;
            tell.send(all).unwrap();
        });
        told.recv().unwrap()
    }

    fn part(pairs: &[(&str, &str, u32)]) -> PairUse {
        let mut part = PairUse::default();
        for (name, value, series) in pairs {
            let hash = seahash::hash(format!("{name}={value}").as_bytes());
            let used =
                ValueUse { hash, bytes: u32::try_from(value.len()).unwrap(), series: *series };
            match part.names.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(used),
                None => part.names.push(((*name).to_owned(), vec![used])),
            }
            part.texts.push((hash, (*name).to_owned(), (*value).to_owned()));
        }
        part
    }

    #[test]
    fn a_value_on_two_shards_is_one_value_with_the_series_of_both() {
        let a = part(&[("__name__", "up", 3), ("job", "api", 2), ("job", "db", 1)]);
        let b = part(&[("__name__", "up", 4), ("job", "api", 4)]);
        let all = cardinality(vec![a, b], 10);
        assert_eq!(all.label_pairs, 3);
        assert_eq!(all.series_by_metric, [("up".to_owned(), 7)]);
        assert_eq!(all.values_by_label, [("job".to_owned(), 2), ("__name__".to_owned(), 1)]);
        assert_eq!(all.bytes_by_label, [("job".to_owned(), 5), ("__name__".to_owned(), 2)]);
        assert_eq!(all.series_by_pair[1], ("job=api".to_owned(), 6));
    }

    #[test]
    fn lists_are_cut_at_the_limit() {
        let all = cardinality(vec![part(&[("a", "1", 1), ("a", "2", 2), ("b", "1", 3)])], 1);
        assert_eq!(all.series_by_pair, [("b=1".to_owned(), 3)]);
        assert_eq!(all.label_pairs, 3);
    }
}
