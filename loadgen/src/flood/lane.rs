//! One connection of a flood, with the series that only it sends: takes body after body, when each is due.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::control::{Control, Stop};
use super::plan::{AHEAD_MAX_MS, Schedule};
use super::sender::{Delivery, Sender};
use super::tally::{Tally, record};
use crate::body::SeriesRange;
use crate::body::magazine::{Contents, Encoding, Magazine};
use crate::ledger::{Outcome, Writer};

/// A connection and where it is in its rounds.
pub struct Lane<'a> {
    /// Which of the flood's connections this is.
    pub number: usize,
    /// Its bodies.
    pub magazine: Magazine<'a>,
    /// Its connection.
    pub sender: Sender,
    /// What all lanes have in common.
    pub common: &'a Common<'a>,
    /// The next request: its step, and its place in the round.
    pub next: (u32, usize),
}

/// What all connections of a flood have in common.
#[derive(Debug)]
pub struct Common<'a> {
    /// Series, clock and message.
    pub encoding: &'a Encoding,
    /// Where intents and outcomes are written.
    pub ledger: Option<Writer>,
    /// How many rounds a connection may be ahead of the slowest.
    pub skew_rounds_max: u32,
}

/// A part of a flood: the warm-up, or the measured window.
#[derive(Debug)]
pub struct Phase {
    /// When it began; an open loop's requests are due from then on.
    pub begins: Instant,
    /// Nothing is sent after this.
    pub ends: Option<Instant>,
    /// The first step that is not sent.
    pub step_end: Option<u32>,
    /// When requests are due, if not as soon as the last one was answered.
    pub schedule: Option<Schedule>,
    /// How many requests this connection may send.
    pub quota: Option<u64>,
}

impl Phase {
    /// May the `number`th request of this phase, for `step`, still be sent?
    fn goes_on(&self, number: u64, step: u32) -> bool {
        let due_late = |ends: Instant| {
            let due = self.schedule.as_ref().map(|schedule| self.begins + schedule.due(number));
            Instant::now() >= ends || due.is_some_and(|due| due >= ends)
        };
        self.quota.is_none_or(|quota| number < quota)
            && self.step_end.is_none_or(|end| step < end)
            && !self.ends.is_some_and(due_late)
    }

    /// Of an open loop: how many requests from the `number`th on have been due by now, within the phase.
    fn due_unsent(&self, number: u64) -> u64 {
        let (Some(schedule), Some(ends)) = (&self.schedule, self.ends) else { return 0 };
        let ends = ends.min(Instant::now());
        let rest = number..self.quota.unwrap_or(u64::MAX);
        rest.take_while(|number| self.begins + schedule.due(*number) < ends).count() as u64
    }
}

impl Lane<'_> {
    /// Sends requests until the phase is over or the flood is ended.
    pub fn run(&mut self, phase: &Phase, control: &Control) -> Tally {
        let mut tally = Tally::default();
        let mut number = 0;
        while !control.stopped() && phase.goes_on(number, self.next.0) {
            if !self.keep_together(phase, control, &mut tally) || !self.clock_allows(control) {
                break;
            }
            if !self.send(phase, number, control, &mut tally) {
                break;
            }
            number += 1;
            self.next.1 += 1;
            if self.next.1 >= self.magazine.requests().len() {
                self.next = (self.next.0.saturating_add(1), 0);
            }
        }
        tally.requests_due_unsent = phase.due_unsent(number);
        control.set_step(self.number, u32::MAX);
        tally
    }

    /// At the start of a round, waits for connections that are too far behind: receivers refuse what is an hour older
    /// than their newest sample. False if the phase ends meanwhile.
    fn keep_together(&self, phase: &Phase, control: &Control, tally: &mut Tally) -> bool {
        const LOOK_AGAIN: Duration = Duration::from_millis(1);
        let (step, request) = self.next;
        if request > 0 {
            return true;
        }
        control.set_step(self.number, step);
        while step - control.slowest_step().min(step) > self.common.skew_rounds_max {
            let now = Instant::now();
            let over = phase.ends.is_some_and(|ends| now >= ends);
            let waited = !over && control.wait_until(now + LOOK_AGAIN);
            tally.waited_for_others += now.elapsed();
            if !waited {
                return false;
            }
        }
        true
    }

    fn clock_allows(&self, control: &Control) -> bool {
        let time = self.common.encoding.timeline.time(self.next.0);
        let allowed = time <= now_ms().saturating_add(AHEAD_MAX_MS);
        if !allowed {
            control.stop(Stop::Clock);
        }
        allowed
    }

    /// Sends the next request when it is due. False if nothing more can be sent.
    fn send(&mut self, phase: &Phase, number: u64, control: &Control, tally: &mut Tally) -> bool {
        let (step, request) = self.next;
        let Some(series) = self.magazine.requests().get(request).cloned() else { return false };
        let body = match self.magazine.body(request, step) {
            Ok(Some(body)) => body,
            Ok(None) => {
                control.stop(Stop::BodiesUsedUp);
                return false;
            }
            Err(error) => {
                control.stop(Stop::Failed(error.to_string()));
                return false;
            }
        };
        let since = match &phase.schedule {
            None => Instant::now(),
            Some(schedule) => {
                let due = phase.begins + schedule.due(number);
                let idle = Instant::now() < due;
                if !control.wait_until(due) {
                    return false;
                }
                if idle {
                    record(&mut tally.lateness, due.elapsed());
                }
                due
            }
        };
        if !self.common.intend(&series, step, control) {
            return false;
        }
        let delivery = self.sender.deliver(&body, phase.ends, control, tally);
        if delivery != Delivery::Abandoned {
            tally.last_answer = Some(Instant::now());
        }
        match delivery {
            Delivery::Acknowledged { status, exemplars } => {
                let latency = since.elapsed();
                record(&mut tally.latency, latency);
                tally.requests_acknowledged += 1;
                let contents = Contents { exemplars, ..body.contents };
                tally.acknowledged += contents;
                tally.bytes_acknowledged += body.bytes.len() as u64;
                control.acknowledged(contents.samples(), latency);
                self.common.conclude(&series, step, Outcome::Acknowledged, status, control)
            }
            Delivery::Otherwise(status) => {
                self.common.conclude(&series, step, Outcome::Otherwise, status, control)
            }
            Delivery::Abandoned => {
                tally.requests_abandoned += 1;
                false
            }
        }
    }
}

impl Common<'_> {
    /// Writes down what is about to be sent. False, and the end of the flood, if that fails: what is not in the ledger
    /// must not be sent.
    fn intend(&self, series: &SeriesRange, step: u32, control: &Control) -> bool {
        let written = self.ledger.as_ref().map_or(Ok(()), |ledger| ledger.intent(series, step));
        written.map_err(|error| control.stop(Stop::Failed(error.to_string()))).is_ok()
    }

    fn conclude(
        &self,
        series: &SeriesRange,
        step: u32,
        outcome: Outcome,
        status: u16,
        control: &Control,
    ) -> bool {
        let Some(ledger) = &self.ledger else { return true };
        let written = ledger.outcome(series, step, outcome, status);
        written.map_err(|error| control.stop(Stop::Failed(error.to_string()))).is_ok()
    }
}

/// Milliseconds since the epoch.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flood::plan::deal;

    fn phase() -> Phase {
        Phase { begins: Instant::now(), ends: None, step_end: None, schedule: None, quota: None }
    }

    #[test]
    fn a_phase_ends_with_its_quota_its_steps_or_its_time() {
        let quota = Phase { quota: Some(2), ..phase() };
        assert!(quota.goes_on(1, 99) && !quota.goes_on(2, 0));
        let steps = Phase { step_end: Some(1), ..phase() };
        assert!(steps.goes_on(99, 0) && !steps.goes_on(0, 1));
        let over = Phase { ends: Some(Instant::now()), ..phase() };
        assert!(!over.goes_on(0, 0));
    }

    #[test]
    fn an_open_loop_owns_up_to_what_was_due_and_not_sent() {
        let begins = Instant::now() - Duration::from_secs(2);
        let schedule = Some(Schedule::new(&deal(100, 1, 100), 0, 1000.0));
        let ends = Some(begins + Duration::from_secs(1));
        let phase = Phase { begins, ends, schedule, ..phase() };
        assert_eq!(phase.due_unsent(0), 10);
        assert_eq!(phase.due_unsent(8), 2);
        let later = Phase { ends: Some(Instant::now() + Duration::from_secs(3600)), ..phase };
        assert!(later.goes_on(9, 0));
        assert!(!later.goes_on(100_000, 0), "due after the end is not due within");
    }
}
