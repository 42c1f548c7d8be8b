//! Where jobs wait, and who goes next: each resting job has a due time, or a place in the queue of its next step.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Driver, Move, Resting, Retry, Running, Start};
use crate::api::Part;
use crate::daemon::clock::TakenUp;
use crate::job::plan::{self, Age, Next, Step};
use crate::job::state::State;
use crate::job::{Job, JobId, backoff};
use crate::throttle::cadence::{self, Wanted};

/// Polls under way at once.
const POLLS_MAX: usize = 64;

/// Publishings, rejections and releases under way at once: they only move files.
const MOVES_MAX: usize = 64;

impl Driver {
    /// Puts a job where it belongs until its next step.
    pub(super) fn rest(&mut self, job: Job, part: Option<Part>, retry: Retry, now: Instant) {
        let taken_up = self.take_up(&job, now);
        let age = taken_up.map(|taken_up| taken_up.age(now));
        self.count(&job, age, now);
        let id = job.id;
        let next = plan::next_step(&job);
        let Retry { failures, wait, untold } = retry;
        let retry = (failures > 0).then(|| now + retry_wait(&job, failures, self.chance.f64()).max(wait));
        if !matches!((&job.state, failures), (State::Ready { .. }, 1..)) {
            // It has no transfer that fails; what else ails it stops nobody.
            self.failed_transfers.remove(&id);
        }
        // What a poll has not changed is asked about again in its time, whatever made it ask at once before.
        let unchanged = self.resting.get(&id).is_some_and(|before| before.job.state == job.state);
        let again = |age: Age| now + cadence::next_time(age.watched, &self.limits.starting);
        let least = match next {
            Next::WhenLikely(Step::Poll) if untold => age.map(again),
            Next::Now(Step::Poll) | Next::At(_, Step::Poll) if unchanged => age.map(again),
            Next::Now(_) | Next::At(..) | Next::WhenLikely(_) | Next::Finished => None,
        };
        let at = match next {
            Next::Finished => {
                self.resting.remove(&id);
                self.forget(id);
                return;
            }
            Next::Now(_) => retry.max(least),
            Next::At(at, _) => Some(now + self.until(at, now)).max(retry).max(least),
            Next::WhenLikely(_) => {
                let chance = self.chance.f64();
                let is_full = self.in_flight() >= self.window.size();
                let wanted = if is_full && self.wants_slots { Wanted::Slot } else { Wanted::Video };
                let question = |taken_up: TakenUp| {
                    let TakenUp { seen, .. } = &taken_up;
                    let starting = &self.limits.starting;
                    taken_up.when(cadence::next_question(&self.durations, seen, wanted, starting, chance))
                };
                taken_up.map(question).max(retry).max(least)
            }
        };
        let resting = Resting { job, part, taken_up, failures, since: now, due: None, leaving: false };
        self.resting.insert(id, resting);
        match at {
            Some(at) => self.wait_until(id, at),
            None => self.queue(id),
        }
    }

    /// A job moves on by itself at that instant, and no other.
    pub(super) fn wait_until(&mut self, id: JobId, at: Instant) {
        if let Some(resting) = self.resting.get_mut(&id) {
            resting.due = Some(at);
            self.due.push(Reverse((at, id)));
        }
    }

    /// A job is due: to the queue of its next step.
    pub(super) fn queue(&mut self, id: JobId) {
        let Some(resting) = self.resting.get_mut(&id) else { return };
        resting.due = None;
        if self.running.has(id) || !self.waiting.insert(id) {
            return;
        }
        if resting.leaving {
            self.moves.push_back((id, Move::Release));
            return;
        }
        match plan::next_step(&resting.job) {
            Next::Now(step) | Next::At(_, step) | Next::WhenLikely(step) => match step {
                Step::Submit => self.submissions.push_back(id),
                Step::Poll => self.polls.push_back(id),
                Step::Download => self.downloads.push_back(id),
                Step::Publish | Step::Resolve | Step::Reject => self.moves.push_back((id, Move::Step(step))),
            },
            Next::Finished => {}
        }
    }

    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            // Another instant may have taken the place of this one.
            if self.resting.get(&id).is_some_and(|resting| resting.due == Some(at)) {
                self.queue(id);
            }
        }
        self.doubtful.retain(|until| *until > now);
    }

    pub(super) fn next_move(&mut self) -> Option<Start> {
        if self.running.count(Running::Move) >= MOVES_MAX {
            return None;
        }
        while let Some((id, wanted)) = self.moves.pop_front() {
            if self.stopping && wanted != Move::Release {
                continue;
            }
            if let Some((job, part)) = self.let_go(id, Running::Move) {
                return Some(match wanted {
                    Move::Step(step) => Start::Step(Box::new(job), step, part),
                    Move::Release => Start::Release(Box::new(job)),
                });
            }
        }
        None
    }

    pub(super) fn next_download(&mut self) -> Option<Start> {
        if self.running.count(Running::Download) >= self.limits.downloads {
            return None;
        }
        while let Some(id) = self.downloads.pop_front() {
            if let Some((job, part)) = self.let_go(id, Running::Download) {
                return Some(Start::Step(Box::new(job), Step::Download, part));
            }
        }
        None
    }

    pub(super) fn next_poll(&mut self, now: Instant) -> Option<Start> {
        if self.polls.is_empty() || self.running.count(Running::Poll) >= POLLS_MAX || self.rate.take(now).is_err() {
            return None;
        }
        self.submitted_last = false;
        while let Some(id) = self.polls.pop_front() {
            if let Some((job, part)) = self.let_go(id, Running::Poll) {
                return Some(Start::Step(Box::new(job), Step::Poll, part));
            }
        }
        None
    }

    pub(super) fn next_submission(&mut self, pairs: bool, now: Instant) -> Option<Start> {
        if !self.may_send || (!pairs && self.submissions.is_empty()) {
            return None;
        }
        self.look_at_transfers(now);
        self.look_at_budget(now);
        if !self.pauses.admit_submission(now)
            || self.running.count(Running::Submit) >= self.limits.uploads
            // A probe goes alone.
            || (self.pauses.by_the_api() && self.running.count(Running::Submit) > 0)
            || !(self.window.admits(self.in_flight(), now) || self.may_try_early(now))
            || self.rate.take(now).is_err()
        {
            return None;
        }
        self.submitted_last = true;
        while let Some(id) = self.submissions.pop_front() {
            if let Some((job, part)) = self.let_go(id, Running::Submit) {
                self.flying.insert(id);
                self.budget.reserve((id, job.sends + 1), self.clock.wall(now));
                return Some(Start::Step(Box::new(job), Step::Submit, part));
            }
        }
        if !pairs {
            return None;
        }
        let id = JobId::from_uuid(uuid::Uuid::now_v7());
        self.running.begin(id, Running::Submit);
        self.flying.insert(id);
        self.budget.reserve((id, 1), self.clock.wall(now));
        Some(Start::Claim(id))
    }

    pub(super) fn until(&self, at: Timestamp, now: Instant) -> Duration {
        Duration::try_from(at.duration_since(self.clock.wall(now))).unwrap_or(Duration::ZERO)
    }

    /// Takes a job out of rest, to run.
    fn let_go(&mut self, id: JobId, running: Running) -> Option<(Job, Option<Part>)> {
        self.waiting.remove(&id);
        if self.running.has(id) {
            return None;
        }
        let resting = self.resting.get_mut(&id)?;
        self.running.begin(id, running);
        Some((resting.job.clone(), resting.part.take()))
    }
}

pub(super) fn retry_wait(job: &Job, failures: u32, chance: f64) -> Duration {
    let backoff = match &job.state {
        State::Submitted { .. } => backoff::CONNECTION,
        State::Ready { .. } => backoff::TRANSFER,
        State::Queued { .. }
        | State::Submitting
        | State::Fetched { .. }
        | State::Delivered { .. }
        | State::InDoubt { .. }
        | State::Failing { .. }
        | State::Failed { .. } => backoff::DISK,
    };
    backoff.wait(failures, chance)
}
