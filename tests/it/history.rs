//! A random life of a server's storage over weeks, and what it has promised so far.
//!
//! Samples come, late ones among them; chunks leave memory, checkpoints are written, blocks are cut, merged, cleaned and
//! dropped, samples deleted, blocks imported; the server ends, is killed or loses power, and starts with another number of
//! shards. Seeded: the same seed is the same life, call by call.

use std::collections::BTreeMap;

use floodplain::encoding::block::meta::{BlockMeta, Ulid};
use floodplain::io::sim::{Faults, Rng, SimDisk};
use floodplain::model::matcher::MatchOp;
use floodplain::model::{Matcher, TimeRange, TimestampMs};
use floodplain::storage::block;
use floodplain::storage::compaction::merge::MergeOptions;
use floodplain::storage::compaction::retention::Limits;

use crate::attached::Attached;
use crate::block_store;
use crate::values::some_bits;
use crate::whole_store::{RETENTION_MS, Samples, Shard, Store, WINDOW_MS, import, labels, text};

const START: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 60 * 60 * 1000;
const SERIES: u64 = 6;
const FOREIGN: &str = "foreign";
pub const RETIRE_BY_TIME: &str = "retire by time";
pub const RETIRE_BY_SIZE: &str = "retire by size";

/// What has been said and answered.
#[derive(Clone, Default)]
pub struct Ledger {
    /// Acknowledged, and since then neither deleted nor asked to be, nor past what is kept: must be there.
    pub must: Samples,
    /// Ever sent or imported, and not deleted since: may be there.
    pub may: Samples,
    /// Besides samples: acknowledged, and ever sent.
    must_with: Attached,
    may_with: Attached,
    /// Sent without an answer: a sender sends it again before anything else.
    unanswered: Option<Samples>,
    /// Time moves on only.
    pub now: i64,
    imports: u128,
    /// What has been done, and how often.
    pub did: BTreeMap<&'static str, usize>,
}

pub fn add(to: &mut Samples, more: &Samples) {
    for (series, values) in more {
        to.entry(series.clone()).or_default().extend(values);
    }
}

/// Is everything in `small` that `applies` also in `large`? The first that is not.
fn missing(
    small: &Samples,
    large: &Samples,
    applies: impl Fn(&str, i64) -> bool,
) -> Option<String> {
    for (series, values) in small {
        let among = large.get(series);
        for (t, v) in values {
            let there = among.and_then(|values| values.get(t));
            if there != Some(v) && applies(series, *t) {
                return Some(format!("series {series}, t {t}, value {v:x} against {there:x?}"));
            }
        }
    }
    None
}

fn has(samples: &Samples, series: &str, t: i64) -> bool {
    samples.get(series).is_some_and(|values| values.contains_key(&t))
}

impl Ledger {
    pub fn did(&mut self, what: &'static str, times: usize) {
        *self.did.entry(what).or_default() += times;
    }

    /// Holds what was found at some moment between `before` and now to both.
    ///
    /// - `may_lack`: something is known to be damaged, so that not everything has to be there.
    pub fn check(&self, before: &Self, found: &Samples, may_lack: bool, story: &str) {
        let lost = missing(&before.must, found, |series, t| has(&self.must, series, t));
        if let Some(lost) = lost.filter(|_| !may_lack) {
            panic!("{story}: acknowledged and lost: {lost}");
        }
        let strange = missing(found, &self.may, |series, t| {
            let known = before.may.get(series).and_then(|values| values.get(&t));
            known.is_none() || known != found.get(series).and_then(|values| values.get(&t))
        });
        if let Some(strange) = strange {
            panic!("{story}: deleted, altered or never sent: {strange}");
        }
    }

    /// Holds what was found besides samples at some moment between `before` and now to both.
    pub fn check_attached(&self, before: &Self, found: &Attached, story: &str) {
        before.must_with.assert_in(found, &format!("{story}: acknowledged and lost"));
        found.assert_in(&self.may_with, &format!("{story}: never sent"));
    }

    /// What was found after a restart is the truth from now on: whatever had no answer is there or not. Only what is past
    /// the time that is kept may come back, as a block does of which some shards have their parts, and no longer keep them,
    /// and others have not, when there is another number of shards.
    pub fn settle(&mut self, found: Samples, attached: Attached) {
        self.must_with = attached;
        let kept_from = self.now - RETENTION_MS;
        self.may.values_mut().for_each(|values| values.retain(|t, _| *t < kept_from));
        add(&mut self.may, &found);
        self.must = found;
        // What was refused to be told is sent again.
        if let Some(request) = &self.unanswered {
            add(&mut self.may, request);
        }
    }

    /// A request that follows all earlier ones in time, with late samples now and then.
    fn next_request(&mut self, rng: &mut Rng) -> Samples {
        self.now = self.now.max(START);
        if rng.below(6) == 0 {
            // Nothing came for a while.
            self.now += HOUR_MS + i64::try_from(rng.below(12 * 3_600_000)).unwrap();
        }
        let step = HOUR_MS / 2 + i64::try_from(rng.below(3_600_000)).unwrap();
        let mut request = Samples::new();
        for _ in 0..=rng.below(3) {
            let name = format!("{:03}", rng.below(SERIES));
            let series = request.entry(name.clone()).or_default();
            for _ in 0..=rng.below(5) {
                let t = self.now + 1 + i64::try_from(rng.below(step.unsigned_abs())).unwrap();
                series.insert(t, some_bits(rng.next_u64() | 1, &name));
            }
        }
        self.now += step;
        if rng.below(2) == 0 {
            let series = format!("{:03}", rng.below(SERIES));
            let (reach, mut late) = ((WINDOW_MS - 2 * step).unsigned_abs(), 0);
            for _ in 0..=rng.below(3) {
                let t = self.now - step - i64::try_from(rng.below(reach / 2)).unwrap();
                if !has(&self.may, &series, t) && !has(&request, &series, t) {
                    let bits = some_bits(rng.next_u64() | 1, &series);
                    request.entry(series.clone()).or_default().insert(t, bits);
                    late = 1;
                }
            }
            self.did("late", late);
        }
        request.retain(|_, values| !values.is_empty());
        request
    }

    /// Takes out of `must` what lies before `end`, of all series.
    fn release_before(&mut self, end: i64) {
        self.must.values_mut().for_each(|values| values.retain(|t, _| *t >= end));
    }
}

/// One life.
pub struct History {
    pub disk: SimDisk,
    pub ledger: Ledger,
    pub rng: Rng,
    /// What starts found damaged.
    pub told: Vec<String>,
    store: Option<Store>,
    shards: u16,
}

/// Called between two things that are done, with what was promised before the one and after it.
pub trait Watch {
    fn look(&mut self, disk: &SimDisk, before: &Ledger, after: &Ledger);
}

impl History {
    pub fn new(seed: u64) -> Self {
        Self::of(SimDisk::new(seed), Ledger::default(), Rng::new(seed))
    }

    pub fn of(disk: SimDisk, ledger: Ledger, rng: Rng) -> Self {
        Self { disk, ledger, rng, told: Vec::new(), store: None, shards: 2 }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("a server runs")
    }

    pub fn is_running(&self) -> bool {
        self.store.is_some()
    }

    pub fn end(&mut self) {
        self.store = None;
    }

    /// A server starts.
    pub async fn start(&mut self, shards: Option<u16>) -> Result<(), String> {
        let mut store = Store::open(&self.disk, shards).await?;
        self.told.append(&mut store.damage);
        self.store = Some(store);
        Ok(())
    }

    pub async fn read(&mut self) -> Result<(Samples, Vec<String>), String> {
        self.store().read().await
    }

    /// Has a log failed? Its last batch may be readable and lost, so that only power loss tells what there is.
    pub fn has_failed(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.shards.iter().any(Shard::has_failed))
    }

    /// Chunks that blocks could not get when they were cut.
    pub fn lost_in_cuts(&self) -> usize {
        self.ledger.did.get("lose a chunk in a cut").copied().unwrap_or(0)
    }

    /// One request, and whatever else happens until the next one.
    pub async fn step(&mut self, watch: &mut impl Watch) -> Result<(), String> {
        if self.store.is_none() {
            self.note(watch, async |own| own.start(None).await).await?;
        }
        self.note(watch, async |own| own.append().await).await?;
        for which in 0..self.store().shards.len() {
            self.cut(which, watch).await?;
        }
        while self.store().has_mixed() && self.rng.below(3) > 0 {
            self.on_a_shard(watch, "take a part").await?;
        }
        match self.rng.below(32) {
            0..=1 => self.on_a_shard(watch, "checkpoint").await,
            2..=3 => self.on_a_shard(watch, "spill").await,
            4..=5 => self.on_a_shard(watch, "fill spares").await,
            6..=12 => self.on_a_shard(watch, "compact").await,
            13..=14 => self.on_a_shard(watch, "take a part").await,
            15..=16 => Box::pin(self.clean(watch)).await,
            17..=19 => self.on_a_shard(watch, RETIRE_BY_TIME).await,
            20..=21 => self.on_a_shard(watch, RETIRE_BY_SIZE).await,
            22..=26 => {
                self.note(watch, async |own| own.delete().await).await?;
                if self.rng.below(2) == 0 { Box::pin(self.clean(watch)).await } else { Ok(()) }
            }
            27..=28 => self.import(watch).await,
            29..=30 => self.restart(watch).await,
            _ => Ok(()),
        }
    }

    /// Does something, and has the watch look at what it was made of.
    async fn note(
        &mut self,
        watch: &mut impl Watch,
        what: impl AsyncFnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let before = self.ledger.clone();
        // On the heap: a debug build would copy it through a test's stack again and again.
        let done = Box::pin(what(self)).await;
        watch.look(&self.disk, &before, &self.ledger);
        done
    }

    async fn append(&mut self) -> Result<(), String> {
        let request = match self.ledger.unanswered.take() {
            Some(request) => request,
            None => self.ledger.next_request(&mut self.rng),
        };
        add(&mut self.ledger.may, &request);
        self.ledger.may_with.extend(&Attached::of(&request));
        self.ledger.unanswered = Some(request.clone());
        let now = self.ledger.now;
        self.store().append(&request, now).await?;
        self.ledger.unanswered = None;
        add(&mut self.ledger.must, &request);
        self.ledger.must_with.extend(&Attached::of(&request));
        self.ledger.did("append", 1);
        Ok(())
    }

    /// Cuts a block of one shard if one is due; another request may come meanwhile.
    async fn cut(&mut self, which: usize, watch: &mut impl Watch) -> Result<(), String> {
        if self.rng.below(2) == 0 {
            return Ok(());
        }
        let mut begun = None;
        let begin = async |own: &mut Self| {
            begun = own.store().shards[which].begin_cut().await?;
            Ok(())
        };
        self.note(watch, begin).await?;
        let Some((cut, extraction)) = begun else { return Ok(()) };
        let appended = if self.rng.below(2) == 0 {
            self.note(watch, async |own| own.append().await).await
        } else {
            Ok(())
        };
        let end = async |own: &mut Self| {
            let lost = own.store().shards[which].end_cut(cut, extraction).await?;
            own.ledger.did("cut", 1);
            own.ledger.did("lose a chunk in a cut", lost);
            Ok(())
        };
        self.note(watch, end).await?;
        appended
    }

    /// Some merges are made to fill more than one block.
    fn options(&mut self) -> MergeOptions<'static> {
        let mut options = MergeOptions { window_chunks: 5, ..MergeOptions::default() };
        if self.rng.below(3) == 0 {
            options.writer.limits.index_bytes_max = 900;
        }
        options
    }

    async fn on_a_shard(
        &mut self,
        watch: &mut impl Watch,
        what: &'static str,
    ) -> Result<(), String> {
        let options = self.options();
        let count = self.store().shards.len() as u64;
        let which = usize::try_from(self.rng.below(count)).unwrap();
        let act = async |own: &mut Self| {
            let shard = &mut own.store().shards[which];
            let times = match what {
                "checkpoint" => shard.checkpoint().await.map(|()| 1)?,
                "spill" => shard.spill().await.map(|()| 1)?,
                "fill spares" => shard.fill_spares().await.map(|()| 1)?,
                "compact" => shard.compact(&options).await?,
                "take a part" => usize::from(shard.take_part(&options).await?),
                RETIRE_BY_TIME | RETIRE_BY_SIZE => own.retire(which, what).await?,
                _ => 0,
            };
            own.ledger.did(what, times);
            Ok(())
        };
        self.note(watch, act).await
    }

    /// Rewrites what has tombstones, on all shards.
    async fn clean(&mut self, watch: &mut impl Watch) -> Result<(), String> {
        let options = self.options();
        for which in 0..self.store().shards.len() {
            let act = async |own: &mut Self| {
                if !own.store().has_mixed() {
                    let times = own.store().shards[which].clean(&options).await?;
                    own.ledger.did("clean", times);
                }
                Ok(())
            };
            self.note(watch, act).await?;
        }
        Ok(())
    }

    async fn retire(&mut self, which: usize, what: &str) -> Result<usize, String> {
        let limits = if what == RETIRE_BY_TIME {
            Limits { time_ms: RETENTION_MS, bytes: 0 }
        } else if self.store().has_mixed_left() {
            // What others have not taken yet may come back with another number of shards, however new it is.
            return Ok(0);
        } else {
            Limits { time_ms: 0, bytes: self.store().shards[which].own_bytes() * 3 / 4 }
        };
        let expired = self.store().shards[which].expired(limits);
        let Some((ulids, end)) = expired else { return Ok(0) };
        self.ledger.release_before(end);
        self.store().shards[which].retire(&ulids).await?;
        Ok(ulids.len())
    }

    /// Deletes what one series or all have in some time.
    async fn delete(&mut self) -> Result<(), String> {
        if self.store().has_mixed() || !self.store().left_out.is_empty() {
            return Ok(());
        }
        let series = (self.rng.below(3) > 0).then(|| format!("{:03}", self.rng.below(SERIES)));
        let matchers: Vec<Matcher> = series
            .iter()
            .map(|series| Matcher::new("series", MatchOp::Equal, series).unwrap())
            .collect();
        let mut some_hours =
            |most: u64| i64::try_from(self.rng.below(most * HOUR_MS.unsigned_abs())).unwrap();
        let (min, len) = (some_hours(20), some_hours(3));
        let min = self.ledger.now - min;
        let range = TimeRange::new(TimestampMs(min), TimestampMs(min + len)).unwrap();
        let take = |from: &mut Samples| {
            for (name, values) in from {
                if series.as_ref().is_none_or(|series| series == name) {
                    values.retain(|t, _| !range.contains(TimestampMs(*t)));
                }
            }
        };
        take(&mut self.ledger.must);
        let deleted = self.store().delete(&matchers, range).await;
        let given_up = std::mem::take(&mut self.store().damage);
        self.told.extend(given_up);
        deleted?;
        take(&mut self.ledger.may);
        // A sender that repeats them means it.
        if let Some(request) = &self.ledger.unanswered {
            add(&mut self.ledger.may, request);
        }
        self.ledger.did("delete", 1);
        Ok(())
    }

    /// The server ends, a block is taken over from somewhere else, and a server starts again.
    async fn import(&mut self, watch: &mut impl Watch) -> Result<(), String> {
        self.end();
        self.ledger.imports += 1;
        let ulid = Ulid(self.ledger.imports << 20 | 1);
        let start = self.ledger.now - RETENTION_MS / 2
            + i64::try_from(self.rng.below(10)).unwrap() * HOUR_MS;
        let (mut samples, mut foreign) = (Samples::new(), block_store::Samples::new());
        for _ in 0..=self.rng.below(3) {
            let series = format!("{:03}", self.rng.below(SERIES));
            for i in 0..=i64::try_from(self.rng.below(8)).unwrap() {
                let t = start + i * 700_000;
                if !has(&self.ledger.may, &series, t) {
                    // Floats alone, as series 0 has them.
                    let bits = some_bits(self.rng.next_u64() | 1, "0");
                    samples.entry(series.clone()).or_default().insert(t, bits);
                }
            }
        }
        for (series, values) in &samples {
            foreign.insert(labels(series), values.clone());
        }
        if foreign.is_empty() {
            return Ok(());
        }
        let meta = BlockMeta::new(ulid, start, start + 6_000_000);
        let written = block_store::write(&self.disk, FOREIGN, meta, &foreign, 4).await;
        written.map_err(text)?;
        // How it came to be there is nobody's concern here.
        drop(self.disk.take_moments());
        let links = self.rng.below(2) == 0;
        let act = async |own: &mut Self| {
            add(&mut own.ledger.may, &samples);
            import(&own.disk, &block::dir(FOREIGN, ulid), links).await?;
            add(&mut own.ledger.must, &samples);
            own.ledger.did("import", 1);
            Ok(())
        };
        self.note(watch, act).await?;
        block::delete(&self.disk, FOREIGN, ulid).await.map_err(text)?;
        drop(self.disk.take_moments());
        self.note(watch, async |own| own.start(None).await).await
    }

    /// The server ends, one way or another, and starts, often with another number of shards.
    async fn restart(&mut self, watch: &mut impl Watch) -> Result<(), String> {
        self.end();
        let seed = self.rng.next_u64();
        self.disk = match self.rng.below(2) {
            0 => self.disk.image_after_kill(Faults::default()),
            _ => self.disk.image_after_crash(seed, Faults::default()),
        };
        self.disk.keep_moments();
        let before = self.shards;
        if self.rng.below(3) > 0 {
            self.shards = u16::try_from(1 + self.rng.below(3)).unwrap();
        }
        self.ledger.did("start with another number of shards", usize::from(self.shards != before));
        let shards = Some(self.shards);
        self.note(watch, async |own| own.start(shards).await).await
    }
}
