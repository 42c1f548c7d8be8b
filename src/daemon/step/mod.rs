//! The steps: plan → effect → event → record.
//!
//! A step owns its job while it runs and hands it back, changed or not, with what it learned of the world. It asks the API at
//! most once. Where an effect cannot be repeated (the submission) the record comes first; where it can, it comes after. Here,
//! and nowhere else, an answer of the API or of the disk becomes an event.

use std::sync::Arc;
use std::time::Duration;

use super::clock::TakenUp;
use super::message::Message;
use super::shells::{Shells, StepError, blocking};
use crate::api::{Part, Refusal, VendorError};
use crate::job::plan::{self, Step};
use crate::job::state::Event;
use crate::job::{Charged, Failure, Job, JobId, Reason, Seed, Stage, Task};
use crate::ledger::{self, Change, Reader};
use crate::spool::durable::Trouble;
use crate::throttle::cadence::Phase;
use crate::throttle::durations::Took;

mod download;
mod ending;
mod poll;
mod submit;

pub use ending::condemned;
pub use submit::{Intended, intend_new};

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
    /// The API has too many tasks of this account, and perhaps said when to come back.
    TooMany(Option<Duration>),
    /// The API was asked too often, and perhaps said when to come back.
    TooFast(Option<Duration>),
    /// The account is not let in or cannot pay.
    AccountRefused(Call, String),
    /// The gateway answers, but not as the API does.
    GatewayRefused(Call, String),
    /// No connection, or no answer.
    Unreachable(Call, String),
    /// A task's status is this word, which no page explains.
    UnknownStatus(String),
    /// An answer to a poll that says nothing of the task; what it says.
    Unrelated(String),
    /// A task was not done, and this is where it was.
    Running(Phase),
    /// A task was seen done for the first time; so long it took.
    Took(Took),
    /// A transfer failed.
    TransferFailed(String),
    /// The link led to no video, though it was fresh; what was found there.
    LinkBad(String),
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
    /// The other side said that later is not before this has passed, however long that is. Zero: it said nothing.
    pub wait: Duration,
    /// The pair's files are not what was judged: back to the inbox with them.
    pub release: bool,
}

impl Stepped {
    fn with(job: Job) -> Self {
        Self { job: Some(job), ..Self::without_job() }
    }

    /// Nothing was done.
    pub(in crate::daemon) fn not_begun(job: Job, part: Option<Part>) -> Self {
        Self { part, ..Self::with(job) }
    }

    /// The job was released, or cannot be read.
    fn without_job() -> Self {
        Self { job: None, news: Vec::new(), part: None, failed: false, wait: Duration::ZERO, release: false }
    }

    fn and(mut self, news: News) -> Self {
        self.news.push(news);
        self
    }
}

/// Makes one move. Never fails: what went wrong on our side is news, and the job is then as it was recorded last. It is read back
/// for that: a step that has recorded its intent must not be taken for one that has not.
///
/// `taken_up` is when this run took up the job's task, if it has one.
pub async fn run(shells: Arc<Shells>, job: Job, step: Step, part: Option<Part>, taken_up: Option<TakenUp>) -> Stepped {
    let id = job.id;
    let moved = match step {
        Step::Submit => submit::submit(&shells, job).await,
        // A transfer that waits for a fresh link goes on with what it has.
        Step::Poll => poll::poll(&shells, job, taken_up).await.map(|stepped| Stepped { part, ..stepped }),
        Step::Download => download::download(&shells, job, part, taken_up).await,
        Step::Publish => ending::publish(&shells, job).await,
        Step::Resolve => ending::resolve(&shells, job).await,
        Step::Reject => ending::reject(&shells, job).await,
    };
    match moved {
        Ok(stepped) => stepped,
        Err(error) => fail_as_recorded(&shells, id, &error).await,
    }
}

/// Sends what a claim has announced. Never fails, as [`run`].
pub async fn send(shells: Arc<Shells>, intended: Intended) -> Stepped {
    let id = intended.job().id;
    match submit::send(&shells, intended).await {
        Ok(stepped) => stepped,
        Err(error) => fail_as_recorded(&shells, id, &error).await,
    }
}

/// Gives a queued job's files back to the inbox and forgets the job.
///
/// The row goes last: as long as it is there it says that nothing was accepted, which the witness alone cannot say of a job that
/// was throttled. Recovery finds a row without files and forgets it.
pub async fn release(shells: Arc<Shells>, job: Job) -> Stepped {
    let id = job.id;
    let released = async {
        let (spool, id) = (shells.spool.clone(), job.id);
        blocking(move || spool.put_back(id)).await?;
        shells.ledger.write(vec![Change::Delete(job.id)]).await?;
        let message_id = Message::Released.id();
        tracing::info!(message_id, job_id = %job.id, pair = %job.pair, state = "released", "{}: back in the inbox", job.pair);
        Ok::<_, StepError>(Stepped::without_job())
    };
    match released.await {
        Ok(stepped) => stepped,
        Err(error) => fail_as_recorded(&shells, id, &error).await,
    }
}

/// As [`fail`], with the job as the ledger has it. One that cannot be read is left alone until the next start recovers it.
async fn fail_as_recorded(shells: &Shells, id: JobId, error: &StepError) -> Stepped {
    match recorded(shells, id).await {
        Ok(Some(job)) => fail(job, error),
        Ok(None) | Err(_) => {
            tracing::error!(message_id = Message::Bug.id(), job_id = %id, %error, "a step failed and its record cannot be read; it goes on at the next start");
            Stepped { failed: true, ..Stepped::without_job() }
        }
    }
}

/// A job as the ledger has it.
pub async fn recorded(shells: &Shells, id: JobId) -> Result<Option<Job>, StepError> {
    let (path, ledger) = (shells.ledger_path.clone(), shells.ledger.clone());
    let read = blocking(move || match Reader::open(&path) {
        Ok(Some(reader)) => reader.job(id).map_err(|error| {
            if let Some(what) = ledger::damage(&error) {
                ledger.report_damage(what);
            }
            error.to_string()
        }),
        Ok(None) => Ok(None),
        Err(error) => Err(error.to_string()),
    });
    read.await.map_err(|what| StepError::Bug(format!("cannot read the ledger: {what}")))
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
            tracing::error!(message_id = Message::Bug.id(), job_id = %id, %error, "a step failed; it is tried again");
        }
    }
    stepped
}

/// A seed that the daemon draws.
pub fn draw_seed() -> u32 {
    fastrand::u32(1..=SEED_MAX)
}

pub(super) fn another_attempt(seed: Seed) -> Event {
    Event::AnotherAttempt { seed: plan::next_seed(seed, draw_seed()), not_before: None }
}

pub(super) fn business_failure(error: &VendorError, stage: Stage, charged: Charged, task: Option<Task>) -> Failure {
    Failure {
        reason: Reason::Business(error.code),
        message: match error.message.as_str() {
            "" => "The API gave the code without a word.".to_owned(),
            said => said.to_owned(),
        },
        stage,
        charged,
        task_over: task.is_some(),
        task,
        request_id: error.request_id.clone(),
        http_status: Some(error.http_status),
        problems: Vec::new(),
    }
}

pub(super) fn tell_code(job: &Job, error: &VendorError, what: &str) {
    tracing::info!(
        job_id = %job.id, pair = %job.pair, state = job.state.label(), business_code = error.code.0,
        task_id = job.state.task().map(|task| task.task_id.as_str()), request_id = error.request_id,
        "{}: {what} ({}: {})", job.pair, error.code, error.message
    );
}

pub(super) fn coded(error: &VendorError) -> String {
    format!("business code {}: {}", error.code, error.message)
}

/// What `Retry-After` asks for. How far it is heeded is the driver's to say.
pub(super) fn wait(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default()
}

pub(super) fn said(refusal: &Refusal) -> String {
    match refusal.http_status {
        Some(status) => format!("HTTP {status}: {}", refusal.message),
        None => refusal.message.clone(),
    }
}

/// A failure after the task was done: it was paid.
pub(super) fn late_failure(reason: Reason, message: String, task: &Task, request_id: Option<String>) -> Failure {
    Failure {
        reason,
        message,
        stage: Stage::Download,
        charged: Charged::Yes,
        task: Some(task.clone()),
        task_over: false,
        request_id,
        http_status: None,
        problems: Vec::new(),
    }
}
