//! The promise over weeks: the machine stops in the middle of any call of a random life, and what was acknowledged is there.
//!
//! A life is lived once. What the disk was before each of its calls is kept, and for every third such moment, so that lives
//! are long and everything that happens does often, power is lost, a server starts on what is left, and reads all. Some of
//! these starts are stopped as well, and after some a server goes on.
//! A failure names the seed and the call. `SEED=… CALL=… cargo test --test it crash_history` runs just that.

use std::collections::BTreeMap;
use std::time::Instant;

use floodplain::io::sim::{Faults, Rng, SimDisk, run};

use crate::history::{History, Ledger, RETIRE_BY_SIZE, RETIRE_BY_TIME, Watch};
use crate::whole_store::Store;

/// One in so many moments is looked at.
const EVERY: u64 = 3;

/// What is told of a failure.
struct Story {
    seed: u64,
    /// Moments of this life before these.
    moments: u64,
    /// Stops so far.
    points: u64,
    /// Only this moment is looked at.
    only: Option<u64>,
}

impl Watch for Story {
    fn look(&mut self, disk: &SimDisk, before: &Ledger, after: &Ledger) {
        for moment in disk.take_moments() {
            let at = self.moments;
            self.moments += 1;
            let is_chosen = (at + self.seed).is_multiple_of(EVERY);
            if self.only.map_or(is_chosen, |only| only == at) {
                self.points += stop(&moment, before, after, self.seed, at);
            }
        }
    }
}

/// Power is lost at this moment, and servers start on what is left; how many stops that were.
fn stop(moment: &SimDisk, before: &Ledger, after: &Ledger, seed: u64, at: u64) -> u64 {
    let luck = seed.wrapping_mul(0x9e37_79b9).wrapping_add(at);
    let mut rng = Rng::new(luck);
    let story = format!("seed {seed}, power is lost before call {at} of its life");
    let left = moment.image_after_crash(luck, Faults::default());
    let mut points = 1;
    if rng.below(3) == 0 {
        let is_left = rng.below(2) == 0;
        let second = match is_left {
            true => left.image_after_kill(stop_at(&mut rng)),
            false => moment.image_after_kill(stop_at(&mut rng)),
        };
        let how = if is_left { "once more" } else { "after a kill instead" };
        let story = format!("{story}, {how}, and again during the start");
        let shards = Some(u16::try_from(1 + rng.below(3)).unwrap());
        let opened = run(Store::open(&second, shards));
        assert!(opened.is_ok() || second.crashed(), "{story}: {:?}", opened.err());
        drop(opened);
        let second = second.image_after_crash(!luck, Faults::default());
        recover(&second, before, after, &story);
        points += 1;
    }
    let found = recover(&left, before, after, &story);
    if rng.below(40) == 0 {
        go_on(left, found, &mut rng, &format!("{story}, then a server goes on"));
    }
    points
}

fn stop_at(rng: &mut Rng) -> Faults {
    Faults { crash_at: Some(1 + rng.below(30)), ..Faults::default() }
}

/// A start on what is left: nothing is damaged, and all is as it must be.
fn recover(left: &SimDisk, before: &Ledger, after: &Ledger, story: &str) -> Ledger {
    let store = run(Store::open(left, None)).unwrap_or_else(|error| panic!("{story}: {error}"));
    assert_eq!(store.damage, [""; 0], "{story}: a crash is not damage");
    let (found, damage) = run(store.read()).unwrap_or_else(|error| panic!("{story}: {error}"));
    assert_eq!(damage, [""; 0], "{story}: a crash is not damage");
    after.check(before, &found, false, story);
    let attached = store.attached();
    after.check_attached(before, &attached, story);
    let mut settled = after.clone();
    settled.settle(found, attached);
    settled
}

/// Nobody looks while a server goes on after a crash.
struct Nobody;

impl Watch for Nobody {
    fn look(&mut self, _: &SimDisk, _: &Ledger, _: &Ledger) {}
}

fn go_on(disk: SimDisk, ledger: Ledger, rng: &mut Rng, story: &str) {
    let mut life = History::of(disk, ledger, rng.clone());
    for _ in 0..4 {
        run(life.step(&mut Nobody)).unwrap_or_else(|error| panic!("{story}: {error}"));
    }
    assert_eq!(life.told, [""; 0], "{story}: a crash is not damage");
    life.end();
    let left = life.disk.image_after_crash(rng.next_u64(), Faults::default());
    recover(&left, &life.ledger, &life.ledger, story);
}

/// Lives the life of `seed` until there were so many stops; gives those, and the history.
fn live(seed: u64, points: u64, only: Option<u64>) -> (Story, History) {
    let mut story = Story { seed, moments: 0, points: 0, only };
    let mut life = History::new(seed);
    life.disk.keep_moments();
    while story.points < points && only.is_none_or(|only| story.moments <= only) {
        let step = run(life.step(&mut story));
        step.unwrap_or_else(|error| panic!("seed {seed}, call {}: {error}", story.moments));
    }
    (story, life)
}

/// At least so many stops in the lives of these seeds, of which everything that a server does is part.
fn stop_everywhere(seeds: impl Iterator<Item = u64>, points_min: u64) {
    const OF_A_LIFE: u64 = 2_500;
    let asked = |name: &str| std::env::var(name).ok()?.parse().ok();
    if let (Some(seed), call @ Some(_)) = (asked("SEED"), asked("CALL")) {
        live(seed, u64::MAX, call);
        panic!("seed {seed}: call {call:?} went well; without SEED and CALL all are run");
    }
    let (began, mut points, mut weeks) = (Instant::now(), 0, 0.0);
    let mut did = BTreeMap::<&str, usize>::new();
    for seed in seeds {
        let (story, life) = live(seed, OF_A_LIFE, None);
        points += story.points;
        weeks += (life.ledger.now - 1_700_000_000_000) as f64 / (7.0 * 86_400_000.0);
        for (what, times) in life.ledger.did {
            *did.entry(what).or_default() += times;
        }
        if points >= points_min {
            break;
        }
    }
    println!("{points} crash points over {weeks:.1} weeks in {:?}: {did:?}", began.elapsed());
    assert!(points >= points_min && weeks > 2.0, "{points} points, {weeks} weeks");
    for what in [
        "append",
        "late",
        "spill",
        "checkpoint",
        "cut",
        "compact",
        RETIRE_BY_TIME,
        RETIRE_BY_SIZE,
        "delete",
        "clean",
        "import",
        "take a part",
        "start with another number of shards",
    ] {
        assert!(did.get(what).is_some_and(|times| *times >= 3), "{what}: {did:?}");
    }
}

/// Each of the two tests below stops this often.
const POINTS_MIN: u64 = 10_000;
// All crash tests together stop so often, each time somewhere else; each asserts its own.
const _: () = assert!(
    2 * POINTS_MIN
        + crate::crash::POINTS_MIN
        + 2 * crate::crash_blocks::POINTS_MIN
        + crate::crash_snapshot::POINTS_MIN
        >= 50_000
);

#[test] // crash: 10,000 points and more of everything that is done to storage, over weeks
fn nothing_acknowledged_is_lost_at_any_moment_of_weeks() {
    stop_everywhere((0..).step_by(2), POINTS_MIN);
}

#[test] // crash: as many more, beside the others
fn nothing_acknowledged_is_lost_at_any_moment_of_other_weeks() {
    stop_everywhere((1..).step_by(2), POINTS_MIN);
}
