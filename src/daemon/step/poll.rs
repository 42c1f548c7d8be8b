//! The poll: one question about a task. What it learns is recorded only if it changes the job.

use std::time::Duration;

use jiff::Timestamp;

use super::ending::condemn;
use super::{Call, News, Stepped, another_attempt, business_failure, coded, late_failure, said, tell_code};
use crate::api::{PollAnswer, VendorError};
use crate::daemon::shells::{Shells, StepError, after};
use crate::job::plan::{self, Ruling};
use crate::job::state::{Event, Finish, State};
use crate::job::{Charged, Failure, Job, Reason, Seed, Stage, Task, backoff};
use crate::ledger::Change;

/// A task whose account has changed is asked about this often.
const ACCOUNT_CHANGED: Duration = Duration::from_secs(60 * 60);

pub(super) async fn poll(shells: &Shells, job: Job) -> Result<Stepped, StepError> {
    let State::Submitted { task, finish, .. } = job.state.clone() else {
        return Err(StepError::Bug(format!("polled while {}", job.state.label())));
    };
    let answer = shells.client.poll(&task.task_id).await;
    let now = Timestamp::now();
    let age = plan::age(&task, now);
    let overdue = age > shells.policy.give_up_after;
    let changed = task.account != shells.client.account();
    let answered = |job| Stepped::with(job).and(News::Answered(Call::Poll));
    match answer {
        PollAnswer::InQueue | PollAnswer::Generating => Ok(answered(job)),
        PollAnswer::UnknownStatus(word) => {
            tracing::debug!(job_id = %job.id, task_id = %task.task_id, "the task's status is {word:?}, which no page explains");
            Ok(answered(job))
        }
        PollAnswer::Done { link, .. } => {
            let first = finish.is_none();
            let more = if first { vec![Change::Took { duration: age, at: now }] } else { Vec::new() };
            let job = shells.record(&job, Event::Done { link, at: now }, more).await?;
            let stepped = answered(job);
            Ok(if first { stepped.and(News::Took(age)) } else { stepped })
        }
        PollAnswer::NoVideo { request_id } => {
            if overdue {
                let failure = late_failure(Reason::NoVideo, "done, but without a link".to_owned(), &task, request_id);
                return Ok(answered(condemn(shells, &job, failure, Vec::new()).await?));
            }
            Ok(answered(bad_link(shells, &job, finish).await?))
        }
        PollAnswer::Business(error) => poll_refused(shells, job, task, finish, &error, now).await,
        PollAnswer::Gone(_) if plan::is_young(&task, now) => Ok(answered(job)),
        PollAnswer::Gone(_) | PollAnswer::Account(_) if changed && !overdue => {
            tracing::warn!(
                job_id = %job.id, task_id = %task.task_id, reason = "account_changed",
                "{}: the task was paid with another account, which the API does not show us now; asked again hourly", job.pair
            );
            let ask_at = after(ACCOUNT_CHANGED);
            Ok(answered(shells.record(&job, Event::AskLater { ask_at }, Vec::new()).await?))
        }
        PollAnswer::Gone(refusal) => {
            let failure = match finish {
                Some(_) => late_failure(Reason::DownloadFailed, refusal.message, &task, refusal.request_id),
                None => Failure {
                    reason: Reason::TaskGone,
                    message: refusal.message,
                    stage: Stage::Poll,
                    charged: Charged::Unknown,
                    task: Some(task),
                    request_id: refusal.request_id,
                    http_status: refusal.http_status,
                    problems: Vec::new(),
                },
            };
            Ok(answered(condemn(shells, &job, failure, Vec::new()).await?))
        }
        PollAnswer::Account(refusal) => Ok(Stepped::with(job).and(News::AccountRefused(Call::Poll, said(&refusal)))),
        PollAnswer::Gateway(refusal) => Ok(Stepped::with(job).and(News::GatewayRefused(Call::Poll, said(&refusal)))),
        PollAnswer::Throttled(refusal) => Ok(Stepped::with(job).and(News::TooFast(refusal.retry_after))),
        PollAnswer::Unreachable(refusal) => {
            Ok(Stepped { failed: true, ..Stepped::with(job) }.and(News::Unreachable(Call::Poll, said(&refusal))))
        }
    }
}

/// A business code was the answer to a poll.
async fn poll_refused(
    shells: &Shells,
    job: Job,
    task: Task,
    finish: Option<Finish>,
    error: &VendorError,
    now: Timestamp,
) -> Result<Stepped, StepError> {
    let answered = |job| Stepped::with(job).and(News::Answered(Call::Poll));
    let seed = job.request.as_ref().map_or(Seed::Api, |request| request.seed);
    match plan::on_poll(&job, &task, error.code, now, &shells.policy) {
        Ruling::Fail => {
            let charged = if finish.is_some() { Charged::Yes } else { Charged::Unknown };
            let failure = business_failure(error, Stage::Poll, charged, Some(task));
            Ok(answered(condemn(shells, &job, failure, Vec::new()).await?))
        }
        Ruling::AnotherAttempt => {
            tell_code(&job, error, "tries again with another seed");
            Ok(answered(shells.record(&job, another_attempt(seed), Vec::new()).await?))
        }
        Ruling::SlowDown | Ruling::Fewer => Ok(answered(job).and(News::TooFast(None))),
        Ruling::AskAgain => Ok(answered(job)),
        Ruling::PauseAccount => Ok(Stepped::with(job).and(News::AccountRefused(Call::Poll, coded(error)))),
    }
}

pub(super) async fn bad_link(shells: &Shells, job: &Job, finish: Option<Finish>) -> Result<Job, StepError> {
    let bad_links = finish.map_or(0, |finish| finish.bad_links) + 1;
    let event = Event::LinkBad { at: Timestamp::now(), ask_at: after(backoff::bad_link(bad_links)) };
    shells.record(job, event, Vec::new()).await
}
