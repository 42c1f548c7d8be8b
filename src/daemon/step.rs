//! The steps: plan → effect → event → record.
//!
//! A step owns its job while it runs and hands it back, changed or not, with what it learned of the world. It asks the API at
//! most once. Where an effect cannot be repeated (the submission) the record comes first; where it can, it comes after. Here,
//! and nowhere else, an answer of the API or of the disk becomes an event.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::shells::{Shells, StepError, after, blocking};
use crate::api::{DownloadError, Part, PollAnswer, Refusal, SubmitAnswer, VendorError};
use crate::job::plan::{self, Ruling, Step};
use crate::job::state::{Event, Finish, Publication, Rejection, State, Video};
use crate::job::{Charged, Failure, Job, Reason, Seed, Stage, Task, VideoLink, backoff};
use crate::ledger::Change;
use crate::spool::Spool;
use crate::spool::durable::{FileError, Trouble};
use crate::spool::finish::Finished;

/// A link that is refused so soon after it was given was never good.
const LINK_FRESH: Duration = Duration::from_secs(60);

/// A task whose account has changed is asked about this often.
const ACCOUNT_CHANGED: Duration = Duration::from_secs(60 * 60);

/// Seeds that are drawn: 1 to 2^31-1, which every reader of a receipt can hold.
const SEED_MAX: u32 = i32::MAX as u32;

/// Which kind of request learned something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// A submission.
    Submit,
    /// A poll.
    Poll,
}

/// What a step learned of the world besides its job.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// The API answered, so it can be reached and lets us in.
    Answered(Call),
    /// A submission was accepted.
    Accepted,
    /// The API has too many tasks of this account.
    TooMany,
    /// The API was asked too often.
    TooFast(Option<Duration>),
    /// The account is not let in or cannot pay.
    AccountRefused(Call, String),
    /// The gateway answers, but not as the API does.
    GatewayRefused(Call, String),
    /// No connection, or no answer.
    Unreachable(Call, String),
    /// A task was seen done for the first time, after this long.
    Took(Duration),
    /// A transfer failed.
    TransferFailed(String),
    /// A transfer went well.
    TransferDone,
    /// A folder refuses work.
    Disk(Trouble, String),
    /// The budget has its reservation back.
    GivenBack(u32),
}

/// How a step ended.
#[derive(Debug)]
pub struct Stepped {
    /// The job; `None` if it was released.
    pub job: Option<Job>,
    /// What was learned.
    pub news: Vec<News>,
    /// The unfinished transfer, to go on with.
    pub part: Option<Part>,
    /// The step failed on our side: try it again later.
    pub failed: bool,
    /// The pair's files are not what was judged: back to the inbox with them.
    pub release: bool,
}

impl Stepped {
    fn with(job: Job) -> Self {
        Self { job: Some(job), news: Vec::new(), part: None, failed: false, release: false }
    }

    fn and(mut self, news: News) -> Self {
        self.news.push(news);
        self
    }
}

/// Makes one move. Never fails: what went wrong on our side is news, and the job is then as it was recorded last.
pub async fn run(shells: Arc<Shells>, job: Job, step: Step, part: Option<Part>) -> Stepped {
    let before = job.clone();
    let moved = match step {
        Step::Submit => submit(&shells, job).await,
        Step::Poll => poll(&shells, job).await,
        Step::Download => download(&shells, job, part).await,
        Step::Publish => publish(&shells, job).await,
        Step::Resolve => resolve(&shells, job).await,
        Step::Reject => reject(&shells, job).await,
    };
    moved.unwrap_or_else(|error| fail(before, &error))
}

/// Gives a queued job's files back to the inbox and forgets the job.
pub async fn release(shells: Arc<Shells>, job: Job) -> Stepped {
    let before = job.clone();
    let released = async {
        shells.ledger.write(vec![Change::Delete(job.id)]).await?;
        let (spool, id) = (shells.spool.clone(), job.id);
        blocking(move || spool.put_back(id)).await?;
        tracing::info!(job_id = %job.id, pair = %job.pair, state = "released", "{}: back in the inbox", job.pair);
        Ok::<_, StepError>(Stepped { job: None, news: Vec::new(), part: None, failed: false, release: false })
    };
    released.await.unwrap_or_else(|error| fail(before, &error))
}

/// What a failure on our own side becomes: news for the driver, and the job as it was.
pub fn fail(job: Job, error: &StepError) -> Stepped {
    let id = job.id;
    let mut stepped = Stepped { failed: true, ..Stepped::with(job) };
    match error {
        StepError::File(error) => {
            stepped.news.push(News::Disk(error.trouble(), format!("{error}: {}", error.source)));
        }
        StepError::Ledger(_) | StepError::Illegal(_) | StepError::Bug(_) => {
            tracing::error!(job_id = %id, %error, "a step failed; it is tried again");
        }
    }
    stepped
}

async fn submit(shells: &Shells, job: Job) -> Result<Stepped, StepError> {
    let request = job.request.clone().ok_or_else(|| StepError::Bug("a queued job asks for nothing".to_owned()))?;
    let picture = open_picture(shells, &job).await?;
    let reserve = Change::Reserve { job: job.id, send: job.sends + 1, at: Timestamp::now() };
    let job = shells.record(&job, Event::Intended, vec![reserve]).await?;
    let send = job.sends;
    if let Err(error) = shells.intents.announce(job.id, send).await {
        let job = not_sent(shells, &job, None).await?;
        return Ok(fail(job, &StepError::File(error)).and(News::GivenBack(send)));
    }
    let answer = shells.client.submit(&request, picture, &shells.stop).await;
    let account = shells.client.account();
    let give_back = || vec![Change::GiveBack { job: job.id, send }];
    match answer {
        SubmitAnswer::Accepted { task_id, request_id } => {
            let task = Task { task_id, request_id, account, submitted_at: Timestamp::now() };
            let job = shells.record(&job, Event::Accepted { task }, Vec::new()).await?;
            Ok(Stepped::with(job).and(News::Answered(Call::Submit)).and(News::Accepted))
        }
        SubmitAnswer::Business(error) => submit_refused(shells, job, request.seed, &error).await,
        SubmitAnswer::Refused(refusal) => {
            let failure = Failure {
                reason: Reason::RequestRefused,
                message: refusal.message,
                stage: Stage::Submit,
                charged: Charged::No,
                task: None,
                request_id: refusal.request_id,
                http_status: refusal.http_status,
                problems: Vec::new(),
            };
            let job = condemn(shells, &job, failure, give_back()).await?;
            Ok(Stepped::with(job).and(News::Answered(Call::Submit)).and(News::GivenBack(send)))
        }
        SubmitAnswer::Account(refusal) => {
            let job = not_sent(shells, &job, None).await?;
            Ok(Stepped::with(job).and(News::AccountRefused(Call::Submit, said(&refusal))).and(News::GivenBack(send)))
        }
        SubmitAnswer::Gateway(refusal) => {
            let job = not_sent(shells, &job, None).await?;
            Ok(Stepped::with(job).and(News::GatewayRefused(Call::Submit, said(&refusal))).and(News::GivenBack(send)))
        }
        SubmitAnswer::Throttled(refusal) => {
            let job = not_sent(shells, &job, None).await?;
            Ok(Stepped::with(job).and(News::TooFast(refusal.retry_after)).and(News::GivenBack(send)))
        }
        SubmitAnswer::Unsent(refusal) => {
            let job = not_sent(shells, &job, None).await?;
            let stepped = Stepped::with(job).and(News::GivenBack(send));
            // An upload that we cut ourselves says nothing of the API.
            Ok(if shells.stop.is_cancelled() {
                stepped
            } else {
                stepped.and(News::Unreachable(Call::Submit, said(&refusal)))
            })
        }
        SubmitAnswer::PictureUnreadable(what) => {
            let job = not_sent(shells, &job, None).await?;
            tracing::warn!(job_id = %job.id, pair = %job.pair, "{}: the claimed picture cannot be sent: {what}", job.pair);
            Ok(Stepped { release: true, ..Stepped::with(job) }.and(News::GivenBack(send)))
        }
        SubmitAnswer::InDoubt(refusal) => {
            let why = said(&refusal);
            let job = shells.record(&job, Event::OutcomeUnknown { why }, Vec::new()).await?;
            Ok(Stepped::with(job))
        }
    }
}

/// A business code was the answer to a submission.
async fn submit_refused(shells: &Shells, job: Job, seed: Seed, error: &VendorError) -> Result<Stepped, StepError> {
    let send = job.sends;
    let give_back = vec![Change::GiveBack { job: job.id, send }];
    let answered = |job| Stepped::with(job).and(News::GivenBack(send));
    match plan::on_submit(&job, error.code, &shells.policy) {
        Ruling::Fail => {
            let failure = business_failure(error, Stage::Submit, Charged::No, None);
            let job = condemn(shells, &job, failure, give_back).await?;
            Ok(answered(job).and(News::Answered(Call::Submit)))
        }
        Ruling::AnotherAttempt => {
            let event = another_attempt(seed);
            tell_code(&job, error, "tries again with another seed");
            let job = shells.record(&job, event, give_back).await?;
            Ok(answered(job).and(News::Answered(Call::Submit)))
        }
        Ruling::SlowDown => {
            tell_code(&job, error, "waits: the API is asked too often");
            let job = not_sent(shells, &job, None).await?;
            Ok(answered(job).and(News::Answered(Call::Submit)).and(News::TooFast(None)))
        }
        Ruling::Fewer | Ruling::AskAgain => {
            tell_code(&job, error, "waits: the account has too many tasks in flight");
            let job = not_sent(shells, &job, None).await?;
            Ok(answered(job).and(News::Answered(Call::Submit)).and(News::TooMany))
        }
        Ruling::PauseAccount => {
            let job = not_sent(shells, &job, None).await?;
            Ok(answered(job).and(News::AccountRefused(Call::Submit, coded(error))))
        }
    }
}

async fn poll(shells: &Shells, job: Job) -> Result<Stepped, StepError> {
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

async fn download(shells: &Shells, job: Job, part: Option<Part>) -> Result<Stepped, StepError> {
    let State::Ready { finish, link, task } = job.state.clone() else {
        return Err(StepError::Bug(format!("fetched while {}", job.state.label())));
    };
    let mut part = match part {
        Some(part) => part,
        None => new_part(shells, &job).await?,
    };
    let tried = fetch(shells, &link, &mut part).await;
    let refused_fresh = Timestamp::now().duration_since(job.since).unsigned_abs() < LINK_FRESH;
    match tried {
        None => Ok(Stepped { part: Some(part), ..Stepped::with(job) }),
        Some(Ok(downloaded)) => {
            let video = Video {
                bytes: downloaded.bytes,
                sha256: downloaded.sha256,
                width: downloaded.video.width,
                height: downloaded.video.height,
                seconds: downloaded.video.seconds,
            };
            let (spool, owner) = (shells.spool.clone(), job.clone());
            let (outbox, number) = blocking(move || {
                let outbox = spool.keep_part(&owner)?;
                Ok::<_, FileError>((outbox, spool.number_for_delivery(&owner, 1)?))
            })
            .await?;
            let publication = Publication {
                temporary: Spool::part_name(job.id),
                outbox,
                number,
                former: Vec::new(),
                delivered_at: Timestamp::now(),
            };
            let job = shells.record(&job, Event::Fetched { video, publication }, Vec::new()).await?;
            Ok(Stepped::with(job).and(News::TransferDone))
        }
        Some(Err(DownloadError::Stale { http_status })) if refused_fresh => {
            tracing::warn!(job_id = %job.id, "{}: a fresh link was refused with HTTP {http_status}", job.pair);
            bad_link_or_give_up(shells, job, &task, finish, format!("the link was refused with HTTP {http_status}"))
                .await
        }
        Some(Err(DownloadError::Stale { .. })) => {
            let job = shells.record(&job, Event::LinkStale, Vec::new()).await?;
            Ok(Stepped { part: Some(part), ..Stepped::with(job) })
        }
        Some(Err(DownloadError::Broken { message, .. })) => {
            tracing::debug!(job_id = %job.id, "{}: the transfer broke off: {message}", job.pair);
            Ok(Stepped { part: Some(part), failed: true, ..Stepped::with(job) }.and(News::TransferFailed(message)))
        }
        Some(Err(DownloadError::NotAVideo { message } | DownloadError::Forbidden { why: message })) => {
            tracing::warn!(job_id = %job.id, "{}: the link leads to no video: {message}", job.pair);
            bad_link_or_give_up(shells, job, &task, finish, message).await
        }
        Some(Err(DownloadError::Local { path, source })) => {
            let error = FileError { doing: "write", path, source };
            Ok(Stepped { part: Some(part), ..fail(job, &StepError::File(error)) })
        }
    }
}

/// One try to fetch; `None` if the daemon stops.
async fn fetch(
    shells: &Shells,
    link: &VideoLink,
    part: &mut Part,
) -> Option<Result<crate::api::Downloaded, DownloadError>> {
    tokio::select! {
        biased;
        // Ending a transfer loses nothing: the next start fetches again.
        () = shells.stop.cancelled() => None,
        tried = shells.client.download(link, part) => Some(tried),
    }
}

async fn bad_link_or_give_up(
    shells: &Shells,
    job: Job,
    task: &Task,
    finish: Finish,
    message: String,
) -> Result<Stepped, StepError> {
    if plan::age(task, Timestamp::now()) > shells.policy.give_up_after {
        let failure = late_failure(Reason::DownloadFailed, message, task, None);
        return Ok(Stepped::with(condemn(shells, &job, failure, Vec::new()).await?));
    }
    Ok(Stepped::with(bad_link(shells, &job, Some(finish)).await?))
}

async fn publish(shells: &Shells, mut job: Job) -> Result<Stepped, StepError> {
    loop {
        let State::Fetched { task, finish, video, publication } = job.state.clone() else {
            return Err(StepError::Bug(format!("published while {}", job.state.label())));
        };
        let (spool, owner) = (shells.spool.clone(), job.clone());
        let finished = blocking(move || spool.publish(&owner, &task, &finish, &video, &publication)).await?;
        match finished {
            Finished::Done => {
                return Ok(Stepped::with(shells.record(&job, Event::Published, Vec::new()).await?));
            }
            Finished::Renumber(number) => {
                job = shells.record(&job, Event::Renumbered { number }, Vec::new()).await?;
            }
            Finished::VideoLost => {
                return Ok(Stepped::with(shells.record(&job, Event::LinkStale, Vec::new()).await?));
            }
        }
    }
}

async fn reject(shells: &Shells, mut job: Job) -> Result<Stepped, StepError> {
    loop {
        let State::Failing { failure, rejection } = job.state.clone() else {
            return Err(StepError::Bug(format!("rejected while {}", job.state.label())));
        };
        let (spool, owner) = (shells.spool.clone(), job.clone());
        let finished = blocking(move || {
            // What was fetched of a video that is given up. An outbox that is not there keeps no pair from its report.
            if owner.attempts > 0
                && let Err(error) = spool.drop_part(&owner)
            {
                tracing::warn!(job_id = %owner.id, "an unfinished video is left in the outbox: {error}: {}", error.source);
            }
            spool.reject(&owner, &failure, &rejection)
        })
        .await?;
        match finished {
            Finished::Renumber(number) => {
                job = shells.record(&job, Event::Renumbered { number }, Vec::new()).await?;
            }
            Finished::Done | Finished::VideoLost => {
                return Ok(Stepped::with(shells.record(&job, Event::Rejected, Vec::new()).await?));
            }
        }
    }
}

/// A job in doubt is set aside, or submitted again if the operator wants that.
async fn resolve(shells: &Shells, job: Job) -> Result<Stepped, StepError> {
    let job = match &job.state {
        State::Submitting => {
            let why = "the daemon ended while the request was on its way".to_owned();
            shells.record(&job, Event::OutcomeUnknown { why }, Vec::new()).await?
        }
        State::Queued { .. }
        | State::Submitted { .. }
        | State::Ready { .. }
        | State::Fetched { .. }
        | State::Delivered { .. }
        | State::InDoubt { .. }
        | State::Failing { .. }
        | State::Failed { .. } => job,
    };
    let State::InDoubt { why } = &job.state else {
        return Err(StepError::Bug(format!("resolved while {}", job.state.label())));
    };
    if shells.policy.resubmit_in_doubt {
        return Ok(Stepped::with(shells.record(&job, Event::SubmitAgain, Vec::new()).await?));
    }
    let failure = Failure {
        reason: Reason::InDoubt,
        message: why.clone(),
        stage: Stage::Submit,
        charged: Charged::Unknown,
        task: None,
        request_id: None,
        http_status: None,
        problems: Vec::new(),
    };
    Ok(Stepped::with(condemn(shells, &job, failure, Vec::new()).await?))
}

/// The job with a decision to reject it, its names chosen.
pub async fn condemned(shells: &Shells, job: &Job, failure: Failure) -> Result<Event, StepError> {
    let (spool, owner) = (shells.spool.clone(), job.clone());
    let number = blocking(move || spool.number_for_rejection(&owner, 1)).await?;
    Ok(Event::Condemned { failure, rejection: Rejection { number, former: Vec::new(), failed_at: Timestamp::now() } })
}

/// A seed that the daemon draws.
pub fn draw_seed() -> u32 {
    fastrand::u32(1..=SEED_MAX)
}

async fn condemn(shells: &Shells, job: &Job, failure: Failure, more: Vec<Change>) -> Result<Job, StepError> {
    let event = condemned(shells, job, failure).await?;
    shells.record(job, event, more).await
}

/// Back to the queue with the reservation: certainly nothing was accepted.
async fn not_sent(shells: &Shells, job: &Job, not_before: Option<Timestamp>) -> Result<Job, StepError> {
    let give_back = Change::GiveBack { job: job.id, send: job.sends };
    shells.record(job, Event::NotSent { not_before }, vec![give_back]).await
}

async fn bad_link(shells: &Shells, job: &Job, finish: Option<Finish>) -> Result<Job, StepError> {
    let bad_links = finish.map_or(0, |finish| finish.bad_links) + 1;
    let event = Event::LinkBad { at: Timestamp::now(), ask_at: after(backoff::bad_link(bad_links)) };
    shells.record(job, event, Vec::new()).await
}

async fn open_picture(shells: &Shells, job: &Job) -> Result<Option<File>, StepError> {
    if job.input.picture.is_none() {
        return Ok(None);
    }
    let (spool, id) = (shells.spool.clone(), job.id);
    match blocking(move || spool.open_claimed(id)).await?.0 {
        Some(file) => Ok(Some(file)),
        None => Err(StepError::File(FileError {
            doing: "read",
            path: shells.spool.job_path(job.id).join(crate::spool::claim::PICTURE),
            source: std::io::ErrorKind::NotFound.into(),
        })),
    }
}

/// A part in the outbox, where nothing of an earlier run lies any more.
async fn new_part(shells: &Shells, job: &Job) -> Result<Part, StepError> {
    let (spool, owner) = (shells.spool.clone(), job.clone());
    let path = blocking(move || {
        spool.drop_part(&owner)?;
        Ok::<_, FileError>(spool.outbox_dir(&owner.pair)?.path_of(&Spool::part_name(owner.id)))
    })
    .await?;
    Ok(Part::new(path))
}

fn another_attempt(seed: Seed) -> Event {
    Event::AnotherAttempt { seed: plan::next_seed(seed, draw_seed()), not_before: None }
}

fn business_failure(error: &VendorError, stage: Stage, charged: Charged, task: Option<Task>) -> Failure {
    Failure {
        reason: Reason::Business(error.code),
        message: error.message.clone(),
        stage,
        charged,
        task,
        request_id: error.request_id.clone(),
        http_status: Some(error.http_status),
        problems: Vec::new(),
    }
}

/// A failure after the task was done: it was paid.
fn late_failure(reason: Reason, message: String, task: &Task, request_id: Option<String>) -> Failure {
    Failure {
        reason,
        message,
        stage: Stage::Download,
        charged: Charged::Yes,
        task: Some(task.clone()),
        request_id,
        http_status: None,
        problems: Vec::new(),
    }
}

fn tell_code(job: &Job, error: &VendorError, what: &str) {
    tracing::info!(
        job_id = %job.id, pair = %job.pair, state = job.state.label(), business_code = error.code.0,
        task_id = job.state.task().map(|task| task.task_id.as_str()), request_id = error.request_id,
        "{}: {what} ({}: {})", job.pair, error.code, error.message
    );
}

fn coded(error: &VendorError) -> String {
    format!("business code {}: {}", error.code, error.message)
}

fn said(refusal: &Refusal) -> String {
    match refusal.http_status {
        Some(status) => format!("HTTP {status}: {}", refusal.message),
        None => refusal.message.clone(),
    }
}
