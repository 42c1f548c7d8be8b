//! What to do next with a job, decided from the job, the time and the operator's policy alone.

use std::time::Duration;

use jiff::Timestamp;

use super::business_code::{self, BusinessCode, Verdict};
use super::state::{Job, State};
use super::{Seed, Task};

/// The operator's wishes, as far as they decide about jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Further paid attempts after a failure that a new seed may cure.
    pub extra_attempts: u32,
    /// Whether a job in doubt is submitted again, which may pay twice, instead of being set aside.
    pub resubmit_in_doubt: bool,
    /// When a task that the API does not finish counts as overdue: it takes no slot, and any sign that the API has given it up is
    /// believed.
    pub give_up_after: Duration,
}

/// How old a task is. What this run has seen of it is kept apart from what the wall clock says of the time before, which may be
/// wrong by any length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Age {
    /// From its submission until this run took it up; nothing if this run has submitted it.
    pub before: Duration,
    /// Since then.
    pub watched: Duration,
}

impl Age {
    /// All of it.
    pub fn whole(self) -> Duration {
        self.before.saturating_add(self.watched)
    }

    /// Whether the API has had its time. A task that it still works on takes no slot then, and is asked about for ever.
    pub fn is_overdue(self, give_up_after: Duration) -> bool {
        self.whole() > give_up_after
    }

    /// Whether an answer that says nothing of an end is one, too. The time before this run is not believed alone.
    pub fn may_be_given_up(self, policy: &Policy) -> bool {
        self.is_overdue(policy.give_up_after) && self.watched >= WATCHED_BEFORE_GIVING_UP.min(policy.give_up_after)
    }

    /// Whether nobody can have the task's video any more, whatever keeps the API from saying so.
    pub fn is_forgotten(self, policy: &Policy) -> bool {
        self.may_be_given_up(policy) && self.whole() > TASK_LIFE
    }

    /// Whether the API may not know the task yet. An overdue task is never young: whatever gives it up is believed.
    pub fn is_young(self, policy: &Policy) -> bool {
        self.whole() < UNKNOWN_AT_FIRST.min(policy.give_up_after)
    }
}

/// One move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Record the intent, send the request, record what came of it.
    Submit,
    /// Ask for the task.
    Poll,
    /// Fetch the video to a temporary name.
    Download,
    /// Receipt, video, archive.
    Publish,
    /// Set aside what is in doubt, or submit it again if the operator wants that.
    Resolve,
    /// Pair and report to `error/`.
    Reject,
}

/// When to make it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// As soon as there is room.
    Now(Step),
    /// Not before an instant.
    At(Timestamp, Step),
    /// Whenever an answer is likely.
    WhenLikely(Step),
    /// Nothing is left to do.
    Finished,
}

/// What is to be done with `job`.
pub fn next_step(job: &Job) -> Next {
    match &job.state {
        State::Queued { not_before: None } => Next::Now(Step::Submit),
        State::Queued { not_before: Some(at) } => Next::At(*at, Step::Submit),
        // Only recovery sees this state at rest: a running submission holds its job.
        State::Submitting | State::InDoubt { .. } => Next::Now(Step::Resolve),
        State::Submitted { ask_at: Some(at), .. } => Next::At(*at, Step::Poll),
        State::Submitted { finish: Some(_), ask_at: None, .. } => Next::Now(Step::Poll),
        State::Submitted { finish: None, ask_at: None, .. } => Next::WhenLikely(Step::Poll),
        State::Ready { .. } => Next::Now(Step::Download),
        State::Fetched { .. } => Next::Now(Step::Publish),
        State::Failing { .. } => Next::Now(Step::Reject),
        State::Delivered { .. } | State::Failed { .. } => Next::Finished,
    }
}

/// What a business code means for a job at a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// The job fails.
    Fail,
    /// Another attempt with another seed.
    AnotherAttempt,
    /// The job is untouched; ask more slowly.
    SlowDown,
    /// The job is untouched; fewer tasks at once.
    Fewer,
    /// The job is untouched; the account is not let in.
    PauseAccount,
    /// The job is untouched; the answer came too early to be believed, or is no reason to give up what was paid.
    AskAgain,
}

impl Ruling {
    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Fail => "reject",
            Self::AnotherAttempt => "another_attempt",
            Self::SlowDown => "slow_down",
            Self::Fewer => "fewer",
            Self::PauseAccount => "pause_account",
            Self::AskAgain => "ask_again",
        }
    }
}

/// For so long the API keeps a task: 12 hours by its pages.
pub const TASK_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// How long after its submission a task may be unknown to the API without being lost.
pub const UNKNOWN_AT_FIRST: Duration = Duration::from_secs(30);

/// For so long a run asks about a task that looks overdue before it gives it up: longer than a task takes, if the wall clock was
/// wrong about it, and short against the time that a real one has had.
pub const WATCHED_BEFORE_GIVING_UP: Duration = Duration::from_secs(60 * 60);

/// What `code`, given to a submission, means for `job`.
pub fn on_submit(job: &Job, code: BusinessCode, policy: &Policy) -> Ruling {
    // This attempt is not counted yet, hence the 1.
    submit_ruling(code, has_attempt_left(job, 1, policy))
}

/// What `code`, given to a poll, means for `job`, whose task is of that age.
///
/// A video that was seen done is paid for, whatever the API stumbles over when it is asked for another link: it is asked for again as
/// long as it may still be had. Only that the task is unknown is believed, for the API keeps it no longer than it says.
pub fn on_poll(job: &Job, age: Age, code: BusinessCode, policy: &Policy) -> Ruling {
    let is_made = matches!(job.state, State::Submitted { finish: Some(_), .. });
    match business_code::verdict(code) {
        Verdict::Reject | Verdict::NewSeed if is_made && code != BusinessCode::INPUT_INVALID => {
            if age.may_be_given_up(policy) { Ruling::Fail } else { Ruling::AskAgain }
        }
        Verdict::Reject | Verdict::NewSeed | Verdict::SlowDown | Verdict::Fewer | Verdict::PauseAccount => {
            poll_ruling(code, age.is_young(policy), has_attempt_left(job, 0, policy))
        }
    }
}

/// What `code`, given to a submission, means.
pub fn submit_ruling(code: BusinessCode, attempt_left: bool) -> Ruling {
    match business_code::verdict(code) {
        Verdict::NewSeed if attempt_left => Ruling::AnotherAttempt,
        Verdict::Reject | Verdict::NewSeed => Ruling::Fail,
        Verdict::SlowDown => Ruling::SlowDown,
        Verdict::Fewer => Ruling::Fewer,
        Verdict::PauseAccount => Ruling::PauseAccount,
    }
}

/// What `code`, given to a poll of a task that is `young` or not, means. A throttled poll says nothing about the task.
pub fn poll_ruling(code: BusinessCode, young: bool, attempt_left: bool) -> Ruling {
    match business_code::verdict(code) {
        Verdict::Reject if code == BusinessCode::INPUT_INVALID && young => Ruling::AskAgain,
        Verdict::NewSeed if attempt_left => Ruling::AnotherAttempt,
        Verdict::Reject | Verdict::NewSeed => Ruling::Fail,
        Verdict::SlowDown | Verdict::Fewer => Ruling::SlowDown,
        Verdict::PauseAccount => Ruling::PauseAccount,
    }
}

/// How long ago the task was accepted, by the wall clock; zero if that was set back since.
pub fn age(task: &Task, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(task.submitted_at)).unwrap_or(Duration::ZERO)
}

/// The seed of the next attempt: another one, drawn as `draw`, unless the API chooses.
pub fn next_seed(seed: Seed, draw: u32) -> Seed {
    match seed {
        Seed::Fixed(n) => Seed::Fixed(n),
        Seed::Drawn(_) => Seed::Drawn(draw),
        Seed::Api => Seed::Api,
    }
}

/// Whether a new seed may still be tried; `uncounted` attempts are not in the job yet.
fn has_attempt_left(job: &Job, uncounted: u32, policy: &Policy) -> bool {
    let may_differ = job.request.as_ref().is_some_and(|request| request.seed.may_change());
    may_differ && job.attempts + uncounted <= policy.extra_attempts
}

#[cfg(test)]
mod tests;
