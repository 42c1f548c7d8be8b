//! The driver: which job moves next.
//!
//! It holds every job that rests between two steps, knows when each is due, and lets it go when there is room: a slot of the
//! account, a request of the rate, an upload, a transfer. It does nothing itself: [`Driver::next`] says what to start,
//! [`Driver::absorb`] takes in what came of it. No job rests without a due time or a place in a queue.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::clock::{Clock, Leap, TakenUp};
use super::pause::{PauseReason, Pauses};
use super::step::{News, Stepped};
use crate::api::Part;
use crate::config::Config;
use crate::job::plan::{self, Age, Next, Step};
use crate::job::state::State;
use crate::job::{Job, JobId, Reason, backoff};
use crate::throttle::budget::{self, Budget};
use crate::throttle::cadence::Seen;
use crate::throttle::durations::{Durations, Starting, Took};
use crate::throttle::rate::Rate;
use crate::throttle::window::{Learned, Window};

mod early;
mod learning;
mod queues;
#[cfg(test)]
mod tests;

use learning::TRANSFER_WAIT_MAX;

/// So many failures in a row to reach the API give what was claimed back to the inbox.
const UNREACHABLE_MAX: u32 = 3;

/// The driver.
#[derive(Debug)]
pub struct Driver {
    limits: Limits,
    resting: HashMap<JobId, Resting>,
    due: BinaryHeap<Reverse<(Instant, JobId)>>,
    /// Jobs in `work/` to be submitted, first come first served.
    submissions: VecDeque<JobId>,
    polls: VecDeque<JobId>,
    downloads: VecDeque<JobId>,
    moves: VecDeque<(JobId, Move)>,
    /// Jobs that are in one of the queues.
    waiting: HashSet<JobId>,
    running: Steps,
    /// Jobs that take a slot of the account.
    flying: BTreeSet<JobId>,
    /// Until when jobs in doubt count as in flight.
    doubtful: Vec<Instant>,
    failed_transfers: HashSet<JobId>,
    /// Jobs of whose task the API said nothing since it last said something of any.
    unread_tasks: HashSet<JobId>,
    /// Jobs whose link was bad since a video was fetched last, and when it was so first.
    bad_links: HashMap<JobId, Instant>,
    /// What the latest bad link led to.
    latest_bad_link: String,
    /// Jobs of whose task a status was told that nobody knows.
    puzzling: HashSet<JobId>,
    /// The last request was a submission, so a poll that waits goes first.
    submitted_last: bool,
    stopping: bool,
    /// Something may be sent that costs money.
    may_send: bool,
    /// Something waits to be submitted.
    wants_slots: bool,
    /// There is less room than `min_free`.
    short_of_room: bool,
    /// What the account and the API let us do.
    pub window: Window,
    rate: Rate,
    durations: Durations,
    /// Tasks that an acceptance above the limit has left to be seen done or running.
    unproved: HashSet<JobId>,
    clock: Clock,
    chance: fastrand::Rng,
    budget: Budget<(JobId, u32)>,
    /// When a spent budget is looked at again.
    budget_frees_at: Option<Instant>,
    /// Why nothing is claimed or submitted.
    pub pauses: Pauses,
}

/// The operator's limits.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Limits {
    uploads: usize,
    downloads: usize,
    starting: Starting,
    give_up_after: Duration,
}

#[derive(Debug)]
struct Resting {
    job: Job,
    /// The unfinished transfer.
    part: Option<Part>,
    /// When this run took up its task, if it has one.
    taken_up: Option<TakenUp>,
    /// Failures of our own side in a row.
    failures: u32,
    /// When it came to want what it wants, for what must not wait too long.
    since: Instant,
    /// When it moves on by itself; `None`: it is in a queue, or runs.
    due: Option<Instant>,
    /// Its files go back to the inbox; it is not submitted any more.
    leaving: bool,
}

/// What makes a job wait before it is tried again.
#[derive(Clone, Copy, Default, Debug)]
struct Retry {
    /// Failures of our own side in a row; 0: it is no retry.
    failures: u32,
    /// What the other side asked for.
    wait: Duration,
    /// It was asked for, and the answer said nothing of it.
    untold: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Running {
    Submit,
    Poll,
    Download,
    Move,
}

/// The steps under way, counted.
#[derive(Debug, Default)]
struct Steps {
    by_job: HashMap<JobId, Running>,
    counts: [usize; 4],
}

impl Steps {
    fn begin(&mut self, id: JobId, running: Running) {
        self.by_job.insert(id, running);
        self.counts[running as usize] += 1;
    }

    fn end(&mut self, id: JobId) {
        if let Some(running) = self.by_job.remove(&id) {
            self.counts[running as usize] -= 1;
        }
    }

    fn has(&self, id: JobId) -> bool {
        self.by_job.contains_key(&id)
    }

    fn count(&self, running: Running) -> usize {
        self.counts[running as usize]
    }
}

/// A move of files that needs nothing of the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    Step(Step),
    Release,
}

/// What to start.
#[derive(Debug)]
pub enum Start {
    /// Claim the next pair of the inbox as this job and submit it.
    Claim(JobId),
    /// A step.
    Step(Box<Job>, Step, Option<Part>),
    /// Give a queued job's files back.
    Release(Box<Job>),
}

/// How many jobs are where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Tasks in flight, those in doubt included.
    pub in_flight: usize,
    /// All jobs that are not final.
    pub jobs: usize,
    /// Steps under way.
    pub running: usize,
}

impl Driver {
    /// A driver without jobs.
    pub fn new(
        config: &Config,
        learned: Option<Learned>,
        durations: impl IntoIterator<Item = Took>,
        spent: impl IntoIterator<Item = ((JobId, u32), Timestamp)>,
        clock: Clock,
    ) -> Self {
        Self {
            limits: Limits::of(config),
            resting: HashMap::new(),
            due: BinaryHeap::new(),
            submissions: VecDeque::new(),
            polls: VecDeque::new(),
            downloads: VecDeque::new(),
            moves: VecDeque::new(),
            waiting: HashSet::new(),
            running: Steps::default(),
            flying: BTreeSet::new(),
            doubtful: Vec::new(),
            failed_transfers: HashSet::new(),
            unread_tasks: HashSet::new(),
            bad_links: HashMap::new(),
            latest_bad_link: String::new(),
            puzzling: HashSet::new(),
            submitted_last: false,
            stopping: false,
            may_send: true,
            wants_slots: false,
            short_of_room: false,
            window: Window::new(config.tasks.max, learned),
            rate: Rate::new(per_second(config), config.api.requests_burst, clock.at),
            durations: Durations::new(durations),
            unproved: HashSet::new(),
            clock,
            chance: fastrand::Rng::new(),
            budget: Budget::new(spending_limits(config), spent),
            budget_frees_at: None,
            pauses: Pauses::default(),
        }
    }

    /// Decides alike for the same seed.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.chance = fastrand::Rng::with_seed(seed);
        self
    }

    /// What was seen of a job's task by this run.
    pub fn seen(&self, id: JobId) -> Option<Seen> {
        Some(self.taken_up(id)?.seen)
    }

    /// How old a job's task is.
    pub fn age(&self, id: JobId, now: Instant) -> Option<Duration> {
        Some(self.taken_up(id)?.age(now).whole())
    }

    /// Looks at the clocks. How far the wall clock was set, if it was: what was reserved is to be moved with it in the ledger, too.
    pub fn look_at_the_clock(&mut self, clock: Clock) -> Option<SignedDuration> {
        let Leap { set, slept } = self.clock.go_on(clock);
        if let Some(set) = set {
            self.budget.shift(set, clock.wall);
        }
        if set.is_some() || slept {
            self.wait_anew(clock.at);
        }
        set
    }

    /// What waits for an instant of the wall clock waits by the present one.
    fn wait_anew(&mut self, now: Instant) {
        let waiting = self.resting.iter().filter(|(_, resting)| resting.due.is_some() && resting.failures == 0);
        let due: Vec<(JobId, Timestamp)> = waiting
            .filter_map(|(id, resting)| match plan::next_step(&resting.job) {
                Next::At(at, _) => Some((*id, at)),
                Next::Now(_) | Next::WhenLikely(_) | Next::Finished => None,
            })
            .collect();
        for (id, at) in due {
            self.wait_until(id, now + self.until(at, now));
        }
    }

    /// Takes new settings.
    pub fn reload(&mut self, config: &Config, now: Instant) {
        self.limits = Limits::of(config);
        self.window.set_ceiling(config.tasks.max);
        self.rate.set(per_second(config), config.api.requests_burst, now);
        self.budget.set(spending_limits(config));
        self.pauses.probe_now(now);
        // A task that waits because its account had changed is asked about at once.
        let waiting: Vec<JobId> =
            self.resting.iter().filter(|(_, resting)| asks_later(&resting.job)).map(|(id, _)| *id).collect();
        for id in waiting {
            self.wait_until(id, now);
        }
    }

    /// Nothing new is started from now on, but for giving back what was claimed and not sent.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.release_unsent();
    }

    /// From now on submissions are started, or are not: while they are not, they take no request of the rate, and pairs stay where they
    /// are.
    pub fn set_may_send(&mut self, may_send: bool) {
        self.may_send = may_send;
    }

    /// Whether submissions may be started.
    pub fn may_send(&self) -> bool {
        self.may_send
    }

    /// How much there is.
    pub fn load(&self) -> Load {
        Load {
            in_flight: self.in_flight(),
            // What is being claimed runs and does not rest yet.
            jobs: self.resting.len() + self.running.by_job.keys().filter(|id| !self.resting.contains_key(id)).count(),
            running: self.running.by_job.len(),
        }
    }

    /// Tasks in flight, those in doubt included.
    pub fn in_flight(&self) -> usize {
        self.flying.len() + self.doubtful.len()
    }

    /// Whether every job that is left waits for files that cannot be moved now, or to be sent.
    pub fn is_held_by_the_disk(&self) -> bool {
        self.running.by_job.is_empty()
            && self.resting.values().all(|resting| match resting.job.state {
                State::Queued { .. } | State::Fetched { .. } | State::Failing { .. } => true,
                State::Submitting
                | State::Submitted { .. }
                | State::Ready { .. }
                | State::Delivered { .. }
                | State::InDoubt { .. }
                | State::Failed { .. } => false,
            })
    }

    /// Whether every job that is left waits for the account or the gateway.
    pub fn is_held_by_the_api(&self) -> bool {
        self.running.by_job.is_empty()
            && self.moves.is_empty()
            && self.resting.values().all(|resting| matches!(resting.job.state, State::Queued { .. }))
    }

    /// Takes in a job: from recovery, or just claimed.
    pub fn adopt(&mut self, job: Job, now: Instant) {
        if matches!(job.state, State::InDoubt { .. }) {
            // Its task may exist, and takes a slot for as long as tasks take.
            self.doubtful.push(now + self.durations.median(&self.limits.starting));
        }
        self.rest(job, None, Retry::default(), now);
    }

    /// What to start now, if anything; `pairs` tells whether the inbox has a pair to claim.
    pub fn next(&mut self, pairs: bool, now: Instant) -> Option<Start> {
        self.wants_slots = pairs || !self.submissions.is_empty();
        self.wake(now);
        if let Some(start) = self.next_move() {
            return Some(start);
        }
        if self.stopping {
            return None;
        }
        if let Some(start) = self.next_download() {
            return Some(start);
        }
        let polls_first = self.submitted_last;
        if polls_first && let Some(start) = self.next_poll(now) {
            return Some(start);
        }
        if let Some(start) = self.next_submission(pairs, now) {
            return Some(start);
        }
        self.next_poll(now)
    }

    /// When to look again at the latest, if nothing else happens.
    pub fn next_due(&mut self, pairs: bool, now: Instant) -> Option<Instant> {
        let mut due = self.due.peek().map(|Reverse((at, _))| *at);
        let mut sooner = |at: Option<Instant>| due = due.into_iter().chain(at).min();
        if self.stopping {
            return due;
        }
        let wants_to_submit = self.may_send && (pairs || !self.submissions.is_empty());
        if wants_to_submit {
            sooner(self.window.rest_until().filter(|at| *at > now));
            sooner(self.pauses.next_probe(now));
            sooner(self.doubtful.iter().min().copied());
            if self.pauses.has(PauseReason::Budget) {
                sooner(Some(self.budget_frees_at.filter(|at| *at > now).unwrap_or(now + Duration::from_secs(1))));
            }
            if self.pauses.has(PauseReason::LedgerUnwritable) {
                sooner(Some(now + Duration::from_secs(1)));
            }
        }
        if wants_to_submit || !self.polls.is_empty() {
            sooner(self.rate.ready_at(now));
        }
        if let Some(id) = self.downloads.front() {
            sooner(self.resting.get(id).map(|resting| resting.since + TRANSFER_WAIT_MAX).filter(|at| *at > now));
        }
        due
    }

    /// Whether a submission would be started if there is room on the disk: then it must be asked for that before the next claim.
    pub fn wants_to_submit(&mut self, pairs: bool, now: Instant) -> bool {
        if self.stopping || !self.may_send || (!pairs && self.submissions.is_empty()) {
            return false;
        }
        // What passes by itself may have passed.
        self.look_at_transfers(now);
        self.look_at_budget(now);
        let in_flight = self.in_flight();
        let admitted = self.window.admits(in_flight, now) || self.window.admits_early(in_flight, now);
        admitted && self.pauses.admit_submission(now)
    }

    /// A claim that [`Start::Claim`] began has ended without a job.
    pub fn claim_failed(&mut self, id: JobId) {
        self.running.end(id);
        self.flying.remove(&id);
        self.has_ended(id);
        self.budget.give_back((id, 1));
    }

    /// A step panicked: its job rests until the next start, which recovers it.
    pub fn lost(&mut self, id: JobId, now: Instant) {
        self.running.end(id);
        self.resting.remove(&id);
        self.forget(id);
        self.has_ended(id);
        if self.flying.remove(&id) {
            self.doubtful.push(now + self.durations.median(&self.limits.starting));
        }
    }

    /// Takes in what came of a step (or of a claim that went on to its submission).
    pub fn absorb(&mut self, id: JobId, stepped: Stepped, failures: u32, now: Instant) {
        let submitted = self.running.by_job.get(&id) == Some(&Running::Submit);
        let polled = self.running.by_job.get(&id) == Some(&Running::Poll);
        let moved_files = self.running.by_job.get(&id) == Some(&Running::Move);
        self.running.end(id);
        let Stepped { job, news, part, failed, wait, release } = stepped;
        let wait = wait.min(backoff::RETRY_AFTER_MAX);
        if moved_files && !failed {
            self.disk_works();
        }
        let untold = polled && !news.iter().any(|news| matches!(news, News::Running(_)));
        if untold && let Some(taken_up) = self.resting.get_mut(&id).and_then(|resting| resting.taken_up.as_mut()) {
            taken_up.seen.is_unsure = true;
        }
        let refused = news.iter().any(|news| matches!(news, News::AccountRefused(..) | News::GatewayRefused(..)));
        for news in news {
            self.learn(id, news, now);
        }
        if submitted && let Some(job) = &job {
            // A step that failed before its intent has spent nothing; the number after the last intent was never sent.
            self.budget.give_back((id, job.sends + 1));
        }
        let Some(job) = job else {
            self.resting.remove(&id);
            self.forget(id);
            self.has_ended(id);
            self.flying.remove(&id);
            return;
        };
        let failures = if failed { failures + 1 } else { 0 };
        let was_leaving = self.resting.get(&id).is_some_and(|before| before.leaving);
        if may_be_released(&job) && (release || self.stopping || was_leaving || self.holds_back(refused)) {
            self.flying.remove(&id);
            let due = (failures > 0).then(|| now + queues::retry_wait(&job, failures, self.chance.f64()));
            let resting = Resting { job, part: None, taken_up: None, failures, since: now, due: None, leaving: true };
            self.resting.insert(id, resting);
            match due {
                Some(due) => self.wait_until(id, due),
                None => self.queue(id),
            }
            return;
        }
        self.rest(job, part, Retry { failures, wait, untold }, now);
    }

    /// Whether the API refuses so that unsent pairs are their owners' again. A connection that cannot be had for a moment is no
    /// reason yet.
    fn holds_back(&self, refused: bool) -> bool {
        let unreachable_only = !refused
            && !self.pauses.has(PauseReason::Account)
            && self.pauses.failures(PauseReason::Gateway) < UNREACHABLE_MAX;
        self.pauses.by_the_api() && !unreachable_only
    }

    /// What was noted of a job that is no more.
    fn forget(&mut self, id: JobId) {
        self.failed_transfers.remove(&id);
        self.bad_links.remove(&id);
        self.unread_tasks.remove(&id);
        self.puzzling.remove(&id);
    }

    /// Failures in a row of a job that runs.
    pub fn failures(&self, id: JobId) -> u32 {
        self.resting.get(&id).map_or(0, |resting| resting.failures)
    }

    /// When this run took up the task of a job that rests or runs.
    pub fn taken_up(&self, id: JobId) -> Option<TakenUp> {
        self.resting.get(&id)?.taken_up
    }

    /// The same for a job that comes to rest: as it was, unless its task is new to us.
    fn take_up(&self, job: &Job, now: Instant) -> Option<TakenUp> {
        let task = job.state.task()?;
        let before = self.resting.get(&job.id).filter(|before| before.job.state.task() == Some(task));
        before.and_then(|before| before.taken_up).or_else(|| Some(TakenUp::new(task, now, self.clock.wall(now))))
    }

    /// Keeps account of who takes a slot.
    fn count(&mut self, job: &Job, age: Option<Age>, now: Instant) {
        // What the API has not finished for so long takes no slot any more, or it would block the account for ever.
        let overdue = age.is_some_and(|age| age.is_overdue(self.limits.give_up_after));
        if job.state.is_in_flight() && !overdue {
            self.flying.insert(job.id);
            return;
        }
        if self.flying.remove(&job.id) {
            self.has_ended(job.id);
            match &job.state {
                // A task that may exist takes a slot for as long as tasks take.
                State::InDoubt { .. } => self.doubtful.push(now + self.durations.median(&self.limits.starting)),
                State::Failing { failure, .. } if failure.reason == Reason::InDoubt => {
                    self.doubtful.push(now + self.durations.median(&self.limits.starting));
                }
                State::Failing { failure, .. } if failure.task.is_some() => self.window.freed(),
                State::Ready { .. } | State::Submitted { .. } => self.window.freed(),
                State::Queued { .. }
                | State::Submitting
                | State::Fetched { .. }
                | State::Delivered { .. }
                | State::Failing { .. }
                | State::Failed { .. } => {}
            }
        }
    }

    fn release_unsent(&mut self) {
        let unsent: Vec<JobId> = self
            .resting
            .iter()
            .filter(|(id, resting)| !self.running.has(**id) && may_be_released(&resting.job))
            .map(|(id, _)| *id)
            .collect();
        self.submissions.clear();
        let leaving: HashSet<JobId> = self.moves.iter().map(|(id, _)| *id).collect();
        for id in unsent.into_iter().filter(|id| !leaving.contains(id)) {
            if let Some(resting) = self.resting.get_mut(&id) {
                resting.leaving = true;
            }
            self.waiting.insert(id);
            self.moves.push_back((id, Move::Release));
        }
        let kept: Vec<JobId> = self
            .resting
            .iter()
            .filter(|(id, resting)| self.waiting.contains(id) && is_kept_in_queue(&resting.job))
            .map(|(id, _)| *id)
            .collect();
        self.submissions.extend(kept);
    }
}

impl Limits {
    fn of(config: &Config) -> Self {
        Self {
            uploads: config.api.uploads.max(1),
            downloads: config.api.downloads.max(1),
            starting: Starting { first: config.poll.first, every: config.poll.every, slowest: config.poll.slowest },
            give_up_after: config.tasks.give_up_after,
        }
    }
}

/// Only what was never sent goes back: a job that has had an attempt keeps its count by staying.
fn may_be_released(job: &Job) -> bool {
    matches!(job.state, State::Queued { .. }) && job.attempts == 0
}

/// A queued job that has had an attempt waits in `work/`.
fn is_kept_in_queue(job: &Job) -> bool {
    matches!(job.state, State::Queued { .. }) && job.attempts > 0
}

fn asks_later(job: &Job) -> bool {
    matches!(&job.state, State::Submitted { ask_at: Some(_), .. })
}

fn per_second(config: &Config) -> Option<f64> {
    config.api.requests_per_second.map(|rate| f64::from(rate.per_1000_seconds) / 1000.0)
}

fn spending_limits(config: &Config) -> budget::Limits {
    budget::Limits { per_hour: config.budget.per_hour, per_day: config.budget.per_day }
}
