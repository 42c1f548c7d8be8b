//! The submission: intent, witness, request, record. The one effect that cannot be repeated.

use std::fs::File;
use std::io::{self, Seek};

use jiff::Timestamp;

use super::ending::condemn;
use super::{Call, News, Stepped, another_attempt, business_failure, coded, fail, said, tell_code};
use crate::api::{Refusal, SubmitAnswer, VendorError};
use crate::daemon::shells::{Shells, StepError, blocking};
use crate::job::plan::{self, Ruling};
use crate::job::state::Event;
use crate::job::{Charged, Doubt, Failure, Job, Reason, Request, Seed, Stage, Task};
use crate::ledger::{Change, WriteError};
use crate::spool::durable::FileError;
use crate::spool::judge;

pub(super) async fn submit(shells: &Shells, job: Job) -> Result<Stepped, StepError> {
    asked_for(&job)?;
    let Claimed { whole, picture } = open_claimed(shells, &job).await?;
    if !whole && job.attempts == 0 {
        // Its release was cut off, or somebody has taken a file: what is left is its owner's again.
        return Ok(Stepped { release: true, ..Stepped::with(job) });
    }
    if !whole {
        let message = "its files are gone from work/, or are not what was judged, so nothing was sent again".to_owned();
        let failure = Failure::unread(Reason::InvalidPicture, message, Vec::new());
        return Ok(Stepped::with(condemn(shells, &job, of_all_attempts(&job, failure), Vec::new()).await?));
    }
    // The two witnesses of an intent are synced side by side: whichever a crash leaves alone, the job is in doubt, and nothing is sent
    // before both are there.
    let (recorded, witnessed) = tokio::join!(
        shells.record(&job, Event::Intended, vec![reserve(&job)]),
        shells.intents.announce(job.id, job.sends + 1)
    );
    send(shells, Intended { job: recorded?, picture, witnessed }).await
}

/// A submission that was announced.
#[derive(Debug)]
pub struct Intended {
    /// The job, as the ledger has it.
    job: Job,
    /// What it sends, if it is a file.
    picture: Option<File>,
    /// Whether the witness knows; if not, nothing is sent.
    witnessed: Result<(), FileError>,
}

impl Intended {
    /// The job, as the ledger has it.
    pub fn job(&self) -> &Job {
        &self.job
    }
}

/// Records a new job together with its first intent. `picture` is what was judged.
///
/// The witness comes behind the row, not beside it: a line without a row, left by a ledger that refuses the record for long, would make
/// a doubt of a pair that goes back to the inbox.
///
/// # Errors
/// The row is not known to be there, the witness knows nothing, and nothing is sent.
pub async fn intend_new(shells: &Shells, job: &Job, picture: Option<File>) -> Result<Intended, StepError> {
    let job = shells.insert_after(job, Event::Intended, vec![reserve(job)]).await?;
    let witnessed = shells.intents.announce(job.id, job.sends).await;
    Ok(Intended { job, picture, witnessed })
}

fn reserve(job: &Job) -> Change {
    Change::Reserve { job: job.id, send: job.sends + 1, at: Timestamp::now() }
}

/// Sends what was announced, and records what came of it.
pub(super) async fn send(shells: &Shells, intended: Intended) -> Result<Stepped, StepError> {
    let Intended { job, picture, witnessed } = intended;
    let send = job.sends;
    if let Err(error) = witnessed {
        let job = not_sent(shells, &job, None).await?;
        return Ok(fail(job, &StepError::File(error)).and(News::GivenBack(send)));
    }
    let request = asked_for(&job)?;
    let answer = shells.client.submit(&request, picture, &shells.stop).await;
    let account = shells.client.account();
    let give_back = || vec![Change::GiveBack { job: job.id, send }];
    match answer {
        SubmitAnswer::Accepted { task_id, request_id } => {
            let task = Task { task_id, request_id, account, submitted_at: Timestamp::now() };
            accepted(shells, &job, task).await
        }
        SubmitAnswer::Business(error) => submit_refused(shells, job, request.seed, &error).await,
        SubmitAnswer::Refused(refusal) => {
            let failure = Failure {
                reason: Reason::RequestRefused,
                message: refusal.message,
                stage: Stage::Submit,
                charged: Charged::No,
                task: None,
                task_over: false,
                request_id: refusal.request_id,
                http_status: refusal.http_status,
                problems: Vec::new(),
            };
            let job = condemn(shells, &job, of_all_attempts(&job, failure), give_back()).await?;
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
        SubmitAnswer::PictureUnreadable(what) if job.attempts > 0 => {
            // An earlier attempt may have been paid for, so it stays a job, and what lies in work/ is not going to get better.
            let message = format!("the claimed picture cannot be sent again: {what}");
            let failure = Failure::unread(Reason::InvalidPicture, message, Vec::new());
            let job = not_sent(shells, &job, None).await?;
            let job = condemn(shells, &job, of_all_attempts(&job, failure), Vec::new()).await?;
            Ok(Stepped::with(job).and(News::GivenBack(send)))
        }
        SubmitAnswer::PictureUnreadable(what) => {
            let job = not_sent(shells, &job, None).await?;
            tracing::warn!(job_id = %job.id, pair = %job.pair, "{}: the claimed picture cannot be sent: {what}", job.pair);
            Ok(Stepped { release: true, ..Stepped::with(job) }.and(News::GivenBack(send)))
        }
        SubmitAnswer::InDoubt(refusal) => {
            let Refusal { message, request_id, http_status, .. } = refusal;
            let doubt = Doubt { message, request_id, http_status };
            let job = shells.record(&job, Event::OutcomeUnknown { doubt }, Vec::new()).await?;
            Ok(Stepped::with(job))
        }
    }
}

fn asked_for(job: &Job) -> Result<Request, StepError> {
    job.request.clone().ok_or_else(|| StepError::Bug("a queued job asks for nothing".to_owned()))
}

/// The API has made a task of it; the ledger knows whether it is one that another job has already.
async fn accepted(shells: &Shells, job: &Job, task: Task) -> Result<Stepped, StepError> {
    let unshared =
        Change::Unshared { job: job.id, task_id: task.task_id.clone(), base_url: task.account.base_url.clone() };
    let event = |holder| Event::Accepted { task: task.clone(), holder };
    let recorded = shells.record(job, event(None), vec![unshared]).await;
    if let Err(StepError::Ledger(WriteError::Held(holder))) = recorded {
        let job = shells.record(job, event(Some(holder)), Vec::new()).await?;
        return Ok(Stepped::with(job).and(News::Answered(Call::Submit)));
    }
    Ok(Stepped::with(recorded?).and(News::Answered(Call::Submit)).and(News::Accepted))
}

/// A business code was the answer to a submission.
async fn submit_refused(shells: &Shells, job: Job, seed: Seed, error: &VendorError) -> Result<Stepped, StepError> {
    let send = job.sends;
    let give_back = vec![Change::GiveBack { job: job.id, send }];
    let answered = |job| Stepped::with(job).and(News::GivenBack(send));
    match plan::on_submit(&job, error.code, &shells.policy) {
        Ruling::Fail => {
            let failure = business_failure(error, Stage::Submit, Charged::No, None);
            let job = condemn(shells, &job, of_all_attempts(&job, failure), give_back).await?;
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
            Ok(answered(job).and(News::Answered(Call::Submit)).and(News::TooFast(error.retry_after)))
        }
        Ruling::Fewer | Ruling::AskAgain => {
            tell_code(&job, error, "waits: the account has too many tasks in flight");
            let job = not_sent(shells, &job, None).await?;
            Ok(answered(job).and(News::Answered(Call::Submit)).and(News::TooMany(error.retry_after)))
        }
        Ruling::PauseAccount => {
            let job = not_sent(shells, &job, None).await?;
            Ok(answered(job).and(News::AccountRefused(Call::Submit, coded(error))))
        }
    }
}

/// The failure of an attempt that cost nothing, told of the whole job: an earlier attempt may have cost something.
fn of_all_attempts(job: &Job, failure: Failure) -> Failure {
    if job.charges == 0 {
        return failure;
    }
    let message = format!("{}; an earlier attempt of this job may have been charged", failure.message);
    Failure { charged: Charged::Unknown, message, ..failure }
}

/// Back to the queue with the reservation: certainly nothing was accepted.
async fn not_sent(shells: &Shells, job: &Job, not_before: Option<Timestamp>) -> Result<Job, StepError> {
    let give_back = Change::GiveBack { job: job.id, send: job.sends };
    shells.record(job, Event::NotSent { not_before }, vec![give_back]).await
}

/// What lies in a job's folder.
struct Claimed {
    /// Whether everything is there that was claimed, as it was judged.
    whole: bool,
    picture: Option<File>,
}

async fn open_claimed(shells: &Shells, job: &Job) -> Result<Claimed, StepError> {
    let (spool, id) = (shells.spool.clone(), job.id);
    let (picture, sidecar) = blocking(move || spool.open_claimed(id)).await?;
    let whole = picture.is_some() == job.input.picture.is_some() && sidecar.is_some() == job.input.sidecar.is_some();
    if !whole || job.sends == 0 {
        return Ok(Claimed { whole, picture });
    }
    // It has waited since it was judged, and whoever wrote it may have it open still.
    match (picture, &job.input.picture) {
        (Some(picture), Some(judged)) => {
            let judged = judged.sha256.clone();
            let hashed = move || {
                let unchanged = judge::hash(picture.try_clone()?)? == judged;
                (&picture).rewind()?;
                Ok::<_, io::Error>((unchanged, picture))
            };
            let path = shells.spool.job_path(id);
            let (whole, picture) =
                blocking(hashed).await.map_err(|source| FileError { doing: "read", path, source })?;
            Ok(Claimed { whole, picture: Some(picture) })
        }
        (picture, _) => Ok(Claimed { whole, picture }),
    }
}
