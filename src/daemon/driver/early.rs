//! The early submission: one that is risked where a task of ours is likely done but was not seen to be, and what it teaches.
//!
//! It is made in place of a question: a task that is due to be asked for is as likely done as it ever will be, and a submission that
//! is accepted fills the slot a question and a request sooner.

use std::time::Instant;

use super::Driver;
use crate::job::JobId;
use crate::job::state::State;
use crate::throttle::cadence::{self, Phase};

/// A submission is risked where one of the tasks in flight is done with this likelihood.
const WORTH_A_RISK: f64 = 0.09;

impl Driver {
    /// Whether to submit though no slot is known to be free.
    pub(super) fn may_try_early(&self, now: Instant) -> bool {
        !self.polls.is_empty()
            && !self.pauses.by_the_api()
            && self.window.admits_early(self.in_flight(), now)
            && self.rate.ready_at(now).is_none()
            && 1.0 - self.flying.iter().map(|id| 1.0 - self.likely_done(*id, now)).product::<f64>() >= WORTH_A_RISK
    }

    /// A submission was accepted.
    pub(super) fn was_accepted(&mut self, id: JobId, now: Instant) {
        let in_flight = self.in_flight();
        self.window.accepted(in_flight);
        if !self.window.learned().found || in_flight <= self.window.size() {
            return;
        }
        // One of the others is done, or the account has become larger: they are asked, the likeliest at once.
        self.unproved = self.flying.iter().copied().filter(|other| *other != id).collect();
        let likeliness = |id: &JobId| self.likely_done(*id, now);
        let may_be_asked = |id: &JobId| {
            // What rests because the other side wants it to rests on.
            self.resting.get(id).is_some_and(|resting| resting.failures == 0 && resting.due.is_some())
                && likeliness(id) > 0.0
        };
        let asked = self.unproved.iter().copied().filter(may_be_asked);
        let likeliest = asked.max_by(|a, b| likeliness(a).total_cmp(&likeliness(b)));
        if let Some(id) = likeliest {
            self.wait_until(id, now);
        }
    }

    /// A task was seen to run.
    pub(super) fn runs(&mut self, id: JobId, phase: Phase, now: Instant) {
        if let Some(taken_up) = self.resting.get_mut(&id).and_then(|resting| resting.taken_up.as_mut()) {
            taken_up.seen.at(taken_up.age(now).whole(), phase);
        }
        if phase != Phase::Unnamed && self.unproved.remove(&id) && self.unproved.is_empty() {
            self.window.proved(self.flying.len());
        }
    }

    /// A task takes no slot any more: that is what an acceptance above the limit may have been due to.
    pub(super) fn has_ended(&mut self, id: JobId) {
        if self.unproved.contains(&id) {
            self.unproved.clear();
        }
    }

    /// How likely a task in flight is done; what was not accepted yet is not.
    fn likely_done(&self, id: JobId, now: Instant) -> f64 {
        match self.resting.get(&id) {
            Some(resting) if matches!(resting.job.state, State::Submitted { finish: None, .. }) => {
                resting.taken_up.map_or(0.0, |taken_up| {
                    cadence::chance_of_done(&self.durations, &taken_up.seen, taken_up.age(now).whole())
                })
            }
            Some(_) | None => 0.0,
        }
    }
}
