//! Which series of a block do these matchers select, and which names and values do those have?
//!
//! As in the Head, a matcher that cannot hold for series without its label names lists of postings, which are
//! intersected; the others take series away, by subtracting lists or by asking the series that are left. What is
//! cheapest goes first: texts that stand in a matcher are looked up; a name's values are only read through if the series
//! that are left are not fewer. Source: `PostingsForMatchers` in Prometheus `tsdb/querier.go`.

use std::collections::BTreeSet;

use super::BlockError;
use super::index_file::IndexFile;
use super::posting_lists::Postings;
use super::series::SLICE;
use crate::io::{File, Pace};
use crate::model::matcher::MatchOp;
use crate::model::{Matcher, SeriesId};

/// To ask a series for a label costs as much as to look at so many values.
const VALUES_PER_SERIES: usize = 4;

/// How the lists of a matcher are found.
enum Lookup<'m> {
    /// The values stand in it.
    Values(&'m [String]),
    /// By looking at the values that begin with this.
    Scan(&'m str),
}

/// How to find the values that `matcher` accepts, or, with `accepted` unset, those that it does not.
fn lookup(matcher: &Matcher, accepted: bool) -> Lookup<'_> {
    let is_plain = matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
    // Its texts and its prefix are those of the pattern, which `!` turns around.
    if is_plain != accepted {
        return Lookup::Scan("");
    }
    match matcher.set_matches() {
        Some(values) => Lookup::Values(values),
        None => Lookup::Scan(matcher.prefix().unwrap_or_default()),
    }
}

impl<F: File> IndexFile<F> {
    /// The series for which all `matchers` hold, in order of their labels.
    pub async fn select(
        &self,
        matchers: &[Matcher],
        pace: &mut impl Pace,
    ) -> Result<Vec<SeriesId>, BlockError> {
        let mut plans: Vec<(&Matcher, bool)> = matchers
            .iter()
            .map(|matcher| (matcher, !matcher.matches_empty()))
            .filter(|(matcher, narrows)| *narrows || self.table.value_count(matcher.name()) > 0)
            .collect();
        // First what narrows, and of that what is looked up and not looked for.
        plans.sort_by_cached_key(|(matcher, narrows)| {
            let scanned = match lookup(matcher, *narrows) {
                Lookup::Values(_) => 0,
                Lookup::Scan(_) => self.table.value_count(matcher.name()),
            };
            (!narrows, scanned)
        });
        let (mut selected, mut asked): (Option<Postings>, Vec<&Matcher>) = (None, Vec::new());
        for (matcher, narrows) in plans {
            let left = selected.as_ref().map_or(usize::MAX, Postings::len_max);
            if left == 0 {
                return Ok(Vec::new());
            }
            let is_scan = matches!(lookup(matcher, narrows), Lookup::Scan(_));
            let value_count = self.table.value_count(matcher.name());
            if is_scan && value_count / VALUES_PER_SERIES > left {
                asked.push(matcher);
                continue;
            }
            let offsets = self.list_offsets(matcher, narrows, pace).await?;
            if offsets.len() > left {
                asked.push(matcher);
                continue;
            }
            let lists = self.union(offsets, pace).await?;
            selected = Some(match selected {
                None if narrows => lists,
                None => self.all(pace).await?.without(lists),
                Some(selected) if narrows => Postings::all(vec![selected, lists]),
                Some(selected) => selected.without(lists),
            });
        }
        let selected = match selected {
            Some(selected) => selected,
            None => self.all(pace).await?,
        };
        let mut selected = selected.collect(pace).await;
        if !asked.is_empty() {
            self.keep(&mut selected, &asked, pace).await?;
        }
        Ok(selected)
    }

    /// All series.
    async fn all(&self, pace: &mut impl Pace) -> Result<Postings, BlockError> {
        let mut lists = self.lists(self.table.all().into_iter().collect(), pace).await?;
        let missing = || self.paged.damaged(self.toc.postings_table, "no list of all series");
        lists.pop().ok_or_else(missing)
    }

    /// Where the lists of the values begin that `matcher` accepts, or, with `accepted` unset, does not.
    async fn list_offsets(
        &self,
        matcher: &Matcher,
        accepted: bool,
        pace: &mut impl Pace,
    ) -> Result<Vec<u64>, BlockError> {
        match lookup(matcher, accepted) {
            Lookup::Values(values) => self.find_values(matcher.name(), values, pace).await,
            Lookup::Scan(prefix) => {
                let mut offsets = Vec::new();
                let mut found = |value: &str, offset| {
                    if matcher.matches(value) == accepted {
                        offsets.push(offset);
                    }
                };
                self.each_value(matcher.name(), prefix, &mut found, pace).await?;
                Ok(offsets)
            }
        }
    }

    /// Keeps of `selected` the series for which all `matchers` hold, by asking each.
    async fn keep(
        &self,
        selected: &mut Vec<SeriesId>,
        matchers: &[&Matcher],
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        let matchers: Vec<(&Matcher, Option<u32>)> = matchers
            .iter()
            .map(|matcher| (*matcher, self.symbol_of_name(matcher.name())))
            .collect();
        let value_of = |labels: &[(u32, u32)], name: Option<u32>| {
            labels.iter().find(|(own, _)| Some(*own) == name).map(|(_, value)| *value)
        };
        let mut kept = Vec::new();
        for ids in selected.chunks(SLICE) {
            let entries = self.entries(ids, pace).await?;
            let values = entries.iter().flat_map(|(labels, _)| {
                matchers.iter().filter_map(|(_, name)| value_of(labels, *name))
            });
            let texts = self.texts(values.collect(), pace).await?;
            for (id, (labels, _)) in ids.iter().zip(entries.iter()) {
                let holds = |(matcher, name): &(&Matcher, Option<u32>)| {
                    let value = value_of(labels, *name).and_then(|value| texts.get(value));
                    matcher.matches(value.unwrap_or_default())
                };
                if matchers.iter().all(holds) {
                    kept.push(*id);
                }
                pace.breathe().await;
            }
            pace.breathe().await;
        }
        *selected = kept;
        Ok(())
    }

    /// The names that the labels of the selected series have, sorted.
    pub async fn label_names(
        &self,
        matchers: &[Matcher],
        pace: &mut impl Pace,
    ) -> Result<Vec<String>, BlockError> {
        if matchers.is_empty() {
            return Ok(self.table.names().map(str::to_owned).collect());
        }
        let selected = self.select(matchers, pace).await?;
        let mut symbols = BTreeSet::new();
        for ids in selected.chunks(SLICE) {
            let entries = self.entries(ids, pace).await?;
            symbols.extend(entries.iter().flat_map(|(labels, _)| labels).map(|(name, _)| *name));
            pace.breathe().await;
        }
        let texts = self.texts(symbols.into_iter().collect(), pace).await?;
        let mut names: Vec<String> = texts.iter().map(|(_, name)| name.to_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The values that the selected series have for `name`, sorted.
    pub async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        pace: &mut impl Pace,
    ) -> Result<Vec<String>, BlockError> {
        let (own, others): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| matcher.name() == name);
        let mut values: Vec<(String, u64)> = Vec::new();
        let mut found = |value: &str, offset| {
            if own.iter().all(|matcher| matcher.matches(value)) {
                values.push((value.to_owned(), offset));
            }
        };
        self.each_value(name, "", &mut found, pace).await?;
        if !others.is_empty() && !values.is_empty() {
            let others: Vec<Matcher> = others.into_iter().cloned().collect();
            let selected = self.select(&others, pace).await?;
            if selected.len() < values.len() {
                let taken = self.values_of(&selected, name, pace).await?;
                keep_those(&mut values, &taken, pace).await;
            } else {
                self.keep_values(&mut values, &selected, pace).await?;
            }
        }
        Ok(values.into_iter().map(|(value, _)| value).collect())
    }

    /// The values that these series have for `name`, by asking each.
    async fn values_of(
        &self,
        selected: &[SeriesId],
        name: &str,
        pace: &mut impl Pace,
    ) -> Result<BTreeSet<String>, BlockError> {
        let name = self.symbol_of_name(name);
        let mut symbols = BTreeSet::new();
        for ids in selected.chunks(SLICE) {
            let entries = self.entries(ids, pace).await?;
            let labels = entries.iter().flat_map(|(labels, _)| labels);
            symbols.extend(labels.filter(|(own, _)| Some(*own) == name).map(|(_, value)| *value));
            pace.breathe().await;
        }
        let texts = self.texts(symbols.into_iter().collect(), pace).await?;
        let mut values = BTreeSet::new();
        for (_, value) in texts.iter() {
            values.insert(value.to_owned());
            pace.breathe().await;
        }
        Ok(values)
    }

    /// Keeps the values of which a series stands in `selected`, by their lists.
    async fn keep_values(
        &self,
        values: &mut Vec<(String, u64)>,
        selected: &[SeriesId],
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        let selected = Postings::list(selected.iter().map(|id| id.0).collect());
        let mut by_offset: Vec<(u64, &String)> = values.iter().map(|(v, at)| (*at, v)).collect();
        by_offset.sort_unstable();
        let mut kept = BTreeSet::new();
        for values in by_offset.chunks(SLICE) {
            let lists = self.lists(values.iter().map(|(at, _)| *at).collect(), pace).await?;
            for ((_, value), list) in values.iter().zip(lists) {
                if Postings::all(vec![list, selected.clone()]).seek(0).is_some() {
                    kept.insert((*value).clone());
                }
                pace.breathe().await;
            }
        }
        keep_those(values, &kept, pace).await;
        Ok(())
    }
}

/// Keeps those of `values` that are among `kept`.
async fn keep_those(
    values: &mut Vec<(String, u64)>,
    kept: &BTreeSet<String>,
    pace: &mut impl Pace,
) {
    let mut left = Vec::new();
    for (value, at) in std::mem::take(values) {
        if kept.contains(&value) {
            left.push((value, at));
        }
        pace.breathe().await;
    }
    *values = left;
}
