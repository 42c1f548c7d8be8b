//! The poll: one question about a task. What it learns is recorded only if it changes the job.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::ending::condemn;
use super::{Call, News, Stepped, another_attempt, business_failure, coded, late_failure, said, tell_code, wait};
use crate::api::{PollAnswer, Refusal, VendorError};
use crate::daemon::clock::TakenUp;
use crate::daemon::message::Message;
use crate::daemon::shells::{Shells, StepError, after};
use crate::job::business_code::{self, BusinessCode, Verdict};
use crate::job::plan::{self, Age, Ruling};
use crate::job::state::{Event, Finish, State};
use crate::job::{Account, Charged, Failure, Job, Reason, Seed, Stage, Task, backoff};
use crate::ledger::Change;
use crate::throttle::cadence::Phase;

/// Of a task that is done without a link.
const NO_LINK: &str = "the task is done, but the API gives no http or https link to its video";

/// A task whose account has changed is asked about this often.
const ACCOUNT_CHANGED: Duration = Duration::from_secs(60 * 60);

pub(super) async fn poll(shells: &Shells, job: Job, taken_up: Option<TakenUp>) -> Result<Stepped, StepError> {
    let (State::Submitted { task, finish, .. }, Some(taken_up)) = (job.state.clone(), taken_up) else {
        return Err(StepError::Bug(format!("polled while {}", job.state.label())));
    };
    let answer = shells.client.poll(&task.task_id).await;
    let now = Timestamp::now();
    let age = taken_up.age(Instant::now());
    let overdue = age.may_be_given_up(&shells.policy);
    let answered = |job| Stepped::with(job).and(News::Answered(Call::Poll));
    if let Some(said) = not_our_account(&answer, &task.account, &shells.client.account()) {
        return account_changed(shells, job, task, finish, said, overdue).await;
    }
    match answer {
        // However old it is: the API may still deliver what was paid. An overdue task takes no slot and is asked about rarely.
        PollAnswer::InQueue => Ok(answered(known(shells, job).await?).and(News::Running(Phase::Queued))),
        PollAnswer::Generating => Ok(answered(known(shells, job).await?).and(News::Running(Phase::Made))),
        // Some gateways tell nothing of a task that has ended: no word for so long is a word, too.
        PollAnswer::UnknownStatus(word) if overdue => {
            let message = match word.as_str() {
                "" => "the API still gives no status of the task".to_owned(),
                word => format!("the API still says that the task's status is {word:?}"),
            };
            let failure = given_up(task, finish, &message);
            Ok(answered(condemn(shells, &job, failure, Vec::new()).await?))
        }
        PollAnswer::UnknownStatus(word) => {
            Ok(answered(job).and(News::UnknownStatus(word)).and(News::Running(Phase::Unnamed)))
        }
        PollAnswer::Done { link, .. } => {
            let first = finish.is_none();
            // How long a task took that was going on while nobody asked, only the API knows.
            let took = Some(taken_up.seen).filter(|_| first && age.before.is_zero());
            let took = took.and_then(|seen| seen.took(age.watched));
            let more = took.map(|took| Change::Took { took, at: now }).into_iter().collect();
            let job = shells.record(&job, Event::Done { link, at: now }, more).await?;
            let stepped = answered(job);
            Ok(match took {
                Some(took) => stepped.and(News::Took(took)),
                None => stepped,
            })
        }
        PollAnswer::NoVideo { request_id } => {
            if overdue {
                let failure = late_failure(Reason::NoVideo, NO_LINK.to_owned(), &task, request_id);
                return Ok(answered(condemn(shells, &job, failure, Vec::new()).await?));
            }
            Ok(answered(bad_link(shells, &job, finish).await?).and(News::LinkBad(NO_LINK.to_owned())))
        }
        PollAnswer::Business(error) => poll_refused(shells, job, task, finish, &error, age).await,
        PollAnswer::Gone(_) if age.is_young(&shells.policy) => Ok(answered(job)),
        PollAnswer::Gone(refusal) => {
            let failure = told(gone(task, finish, refusal.message.clone()), &refusal);
            Ok(answered(condemn(shells, &job, failure, Vec::new()).await?))
        }
        // No pause and no patience is held up by a task that nobody can have any more.
        PollAnswer::Account(refusal)
        | PollAnswer::Gateway(refusal)
        | PollAnswer::Throttled(refusal)
        | PollAnswer::Unreachable(refusal @ Refusal { http_status: Some(_), .. })
            if age.is_forgotten(&shells.policy) =>
        {
            // Not an answer that lifts a pause: nobody was let in.
            let failure = told(given_up(task, finish, &refusal.message), &refusal);
            Ok(Stepped::with(condemn(shells, &job, failure, Vec::new()).await?))
        }
        PollAnswer::Account(refusal) => Ok(Stepped::with(job).and(News::AccountRefused(Call::Poll, said(&refusal)))),
        PollAnswer::Gateway(refusal) => Ok(Stepped::with(job).and(News::GatewayRefused(Call::Poll, said(&refusal)))),
        PollAnswer::Throttled(refusal) => Ok(Stepped::with(job).and(News::TooFast(refusal.retry_after))),
        PollAnswer::Unrelated(refusal) if overdue => {
            let failure = told(given_up(task, finish, &refusal.message), &refusal);
            Ok(answered(condemn(shells, &job, failure, Vec::new()).await?))
        }
        PollAnswer::Unrelated(refusal) => Ok(Stepped::with(job).and(News::Unrelated(said(&refusal)))),
        PollAnswer::Unreachable(refusal) => {
            let later = Stepped { failed: true, wait: wait(refusal.retry_after), ..Stepped::with(job) };
            Ok(later.and(News::Unreachable(Call::Poll, said(&refusal))))
        }
    }
}

/// What was said, if it says nothing of the task because another account than the one that paid is asked.
///
/// With another token the API answers as if the task were unknown or closed to us. At another address any refusal is somebody
/// else's, about a task that is not theirs. An answer that knows the task is always believed.
fn not_our_account(answer: &PollAnswer, paid: &Account, asked: &Account) -> Option<String> {
    if paid == asked {
        return None;
    }
    let elsewhere = paid.base_url != asked.base_url;
    match answer {
        PollAnswer::Gone(refusal) | PollAnswer::Account(refusal) => Some(said(refusal)),
        PollAnswer::Gateway(refusal) if elsewhere => Some(said(refusal)),
        PollAnswer::Business(error) => {
            let is_about_tasks = match business_code::verdict(error.code) {
                Verdict::SlowDown | Verdict::Fewer => false,
                Verdict::PauseAccount => true,
                Verdict::Reject | Verdict::NewSeed => elsewhere || error.code == BusinessCode::INPUT_INVALID,
            };
            is_about_tasks.then(|| coded(error))
        }
        PollAnswer::Gateway(_)
        | PollAnswer::InQueue
        | PollAnswer::Generating
        | PollAnswer::UnknownStatus(_)
        | PollAnswer::Done { .. }
        | PollAnswer::NoVideo { .. }
        | PollAnswer::Throttled(_)
        | PollAnswer::Unrelated(_)
        | PollAnswer::Unreachable(_) => None,
    }
}

/// The API has had its time and says nothing of the task, which it may finish yet.
fn given_up(task: Task, finish: Option<Finish>, message: &str) -> Failure {
    let message = format!("{message}; tasks.give_up_after has passed");
    Failure { task_over: false, ..gone(task, finish, message) }
}

/// The API says that the task is over.
fn gone(task: Task, finish: Option<Finish>, message: String) -> Failure {
    match finish {
        Some(_) => Failure { task_over: true, ..late_failure(Reason::DownloadFailed, message, &task, None) },
        None => Failure {
            reason: Reason::TaskGone,
            message,
            stage: Stage::Poll,
            charged: Charged::Unknown,
            task: Some(task),
            task_over: true,
            request_id: None,
            http_status: None,
            problems: Vec::new(),
        },
    }
}

/// The failure, with the answer that it rests on.
fn told(failure: Failure, refusal: &Refusal) -> Failure {
    Failure { request_id: refusal.request_id.clone(), http_status: refusal.http_status, ..failure }
}

/// A task that waited for its account is that of the one which is asked now: it takes a slot of it, and is asked about as any other.
async fn known(shells: &Shells, job: Job) -> Result<Job, StepError> {
    if !matches!(job.state, State::Submitted { finish: None, ask_at: Some(_), .. }) {
        return Ok(job);
    }
    shells.record(&job, Event::KnownAgain, Vec::new()).await
}

/// Waits for the account that paid to come back; gives up when the API has long forgotten the task.
async fn account_changed(
    shells: &Shells,
    job: Job,
    task: Task,
    finish: Option<Finish>,
    said: String,
    overdue: bool,
) -> Result<Stepped, StepError> {
    if overdue {
        let failure = given_up(task, finish, &said);
        return Ok(Stepped::with(condemn(shells, &job, failure, Vec::new()).await?));
    }
    tracing::warn!(
        message_id = Message::AccountChanged.id(),
        job_id = %job.id, pair = %job.pair, task_id = %task.task_id, reason = "account_changed",
        "{}: the task was paid with another account than the one that is configured now ({said}); asked again hourly and at each reload",
        job.pair
    );
    let ask_at = after(ACCOUNT_CHANGED);
    Ok(Stepped::with(shells.record(&job, Event::AskLater { ask_at }, Vec::new()).await?))
}

/// A business code was the answer to a poll.
async fn poll_refused(
    shells: &Shells,
    job: Job,
    task: Task,
    finish: Option<Finish>,
    error: &VendorError,
    age: Age,
) -> Result<Stepped, StepError> {
    let answered = |job| Stepped::with(job).and(News::Answered(Call::Poll));
    let seed = job.request.as_ref().map_or(Seed::Api, |request| request.seed);
    match plan::on_poll(&job, age, error.code, &shells.policy) {
        Ruling::Fail => {
            let failure = match finish {
                Some(_) => made_and_lost(error, &task),
                None => business_failure(error, Stage::Poll, Charged::Unknown, Some(task)),
            };
            Ok(answered(condemn(shells, &job, failure, Vec::new()).await?))
        }
        Ruling::AnotherAttempt => {
            tell_code(&job, error, "tries again with another seed");
            Ok(answered(shells.record(&job, another_attempt(seed), Vec::new()).await?))
        }
        Ruling::SlowDown | Ruling::Fewer => Ok(answered(job).and(News::TooFast(error.retry_after))),
        // A video that was seen done is asked for in the rhythm of its links.
        Ruling::AskAgain if finish.is_some() => {
            Ok(answered(bad_link(shells, &job, finish).await?).and(News::LinkBad(coded(error))))
        }
        Ruling::AskAgain => Ok(answered(job)),
        Ruling::PauseAccount if age.is_forgotten(&shells.policy) => {
            let failure = Failure { http_status: Some(error.http_status), ..given_up(task, finish, &coded(error)) };
            Ok(Stepped::with(condemn(shells, &job, failure, Vec::new()).await?))
        }
        Ruling::PauseAccount => Ok(Stepped::with(job).and(News::AccountRefused(Call::Poll, coded(error)))),
    }
}

/// The failure of a video that was seen done and is not to be had any more. What the code says of the picture or the prompt is no
/// reason then: both were good enough for a video.
fn made_and_lost(error: &VendorError, task: &Task) -> Failure {
    let message = format!("the video was made, but the API gives no link to it any more ({})", coded(error));
    Failure {
        // Only this says that the task is over; with any other code it is time that gave it up.
        task_over: error.code == BusinessCode::INPUT_INVALID,
        http_status: Some(error.http_status),
        ..late_failure(Reason::DownloadFailed, message, task, error.request_id.clone())
    }
}

pub(super) async fn bad_link(shells: &Shells, job: &Job, finish: Option<Finish>) -> Result<Job, StepError> {
    let bad_links = finish.map_or(0, |finish| finish.bad_links) + 1;
    let event = Event::LinkBad { at: Timestamp::now(), ask_at: after(backoff::bad_link(bad_links)) };
    shells.record(job, event, Vec::new()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Refusal;
    use crate::job::VideoLink;

    fn account(base_url: &str, token_fingerprint: &str) -> Account {
        Account { base_url: base_url.to_owned(), token_fingerprint: token_fingerprint.to_owned() }
    }

    fn business(code: u32) -> PollAnswer {
        let error = VendorError {
            code: BusinessCode(code),
            message: String::new(),
            request_id: None,
            http_status: 400,
            retry_after: None,
        };
        PollAnswer::Business(error)
    }

    fn refusal() -> Refusal {
        Refusal { http_status: Some(404), message: String::new(), request_id: None, retry_after: None }
    }

    #[test]
    fn an_answer_about_a_task_of_another_account_is_believed_only_if_it_knows_the_task() {
        let paid = account("https://a.example", "1");
        let same = [(business(50_215), false), (business(50_400), false), (PollAnswer::Gone(refusal()), false)];
        let other_token = [
            (business(50_215), true),
            (business(50_400), true),
            (business(50_413), false),
            (business(50_500), false),
            (business(50_429), false),
            (PollAnswer::Gone(refusal()), true),
            (PollAnswer::Account(refusal()), true),
            (PollAnswer::Gateway(refusal()), false),
            (PollAnswer::Generating, false),
        ];
        let other_address = [
            (business(50_215), true),
            (business(50_413), true),
            (business(50_500), true),
            (business(50_430), false),
            (PollAnswer::Gateway(refusal()), true),
            (PollAnswer::Unreachable(refusal()), false),
            (PollAnswer::Done { link: VideoLink::new(String::new()), request_id: None }, false),
        ];
        let table = [
            (account("https://a.example", "1"), same.to_vec()),
            (account("https://a.example", "2"), other_token.to_vec()),
            (account("https://b.example", "1"), other_address.to_vec()),
        ];
        for (asked, answers) in table {
            for (answer, waits) in answers {
                assert_eq!(not_our_account(&answer, &paid, &asked).is_some(), waits, "{answer:?} of {asked:?}");
            }
        }
    }
}
