//! From a pair in the inbox to a job in the ledger.
//!
//! The claim is made right before the submission, so that until then the files are their owner's to change. What was judged in
//! the inbox is judged again in `work/`, where nobody else moves it: only that decides what is sent. A pair that tries an
//! earlier job again, unedited, goes on with that job's task if the API may still have it.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;

use super::clock::Moment;
use super::intake::{Bad, BadReason, PairVerdict, ReadyPair};
use super::message::Message;
use super::shells::{Shells, StepError, blocking};
use super::step::{self, Intended, Stepped, condemned, draw_seed, recorded};
use crate::job::backoff::DISK;
use crate::job::picture::Limits;
use crate::job::plan::{Step, TASK_LIFE, age};
use crate::job::state::{Event, Finish, Input, InputFile, State};
use crate::job::{Charged, Doubt, Failure, Job, JobId, Problem, Reason, Request, Task};
use crate::spool::Spool;
use crate::spool::claim::{Claim, Claimed, Refusal, SIDECAR};
use crate::spool::durable::{FileError, Trouble};
use crate::spool::judge::{self, Complaints, JudgeError, Judgement, hexadecimal};
use crate::spool::suspects::{DEATHS_MAX, Files, Place, Reading, Suspects};

/// How a claim ended.
#[derive(Debug)]
pub enum Claiming {
    /// The pair is a job now.
    Job(Box<Job>),
    /// The pair is in the inbox, for it is not what it was when it was judged.
    Changed,
    /// The pair is in the inbox, which does not let it go.
    Refused(Refusal),
    /// Our own side failed; the pair is in the inbox, or will be put back by recovery.
    Failed(Option<Trouble>, String),
}

/// A pair that was claimed.
enum Taken {
    /// Its job is recorded.
    Job(Job),
    /// Its job is recorded, and that it is about to be submitted.
    Intended(Intended),
}

/// Claims a pair and records its job. Never fails: what went wrong is in the answer.
pub async fn claim(shells: Arc<Shells>, id: JobId, pair: ReadyPair) -> Claiming {
    match try_claim(&shells, id, &pair, false).await {
        Ok(Ok(Taken::Job(job))) => Claiming::Job(Box::new(job)),
        Ok(Ok(Taken::Intended(intended))) => Claiming::Job(Box::new(intended.job().clone())),
        Ok(Err(not_taken)) => not_taken,
        Err(error) => failed(&error),
    }
}

/// Claims a pair and, where it becomes a job that may be submitted, submits it; then what came of that is there, too. Never fails,
/// as [`claim`].
pub async fn claim_and_submit(shells: Arc<Shells>, id: JobId, pair: ReadyPair) -> (Claiming, Option<Stepped>) {
    match try_claim(&shells, id, &pair, true).await {
        Ok(Ok(Taken::Intended(intended))) => {
            let job = Box::new(intended.job().clone());
            (Claiming::Job(job), Some(step::send(shells, intended).await))
        }
        Ok(Ok(Taken::Job(job))) if matches!(job.state, State::Queued { .. }) && !shells.stop.is_cancelled() => {
            let stepped = step::run(shells, job.clone(), Step::Submit, None, None).await;
            (Claiming::Job(Box::new(job)), Some(stepped))
        }
        Ok(Ok(Taken::Job(job))) => (Claiming::Job(Box::new(job)), None),
        Ok(Err(not_taken)) => (not_taken, None),
        Err(error) => (failed(&error), None),
    }
}

fn failed(error: &StepError) -> Claiming {
    let trouble = match error {
        StepError::File(error) => Some(error.trouble()),
        StepError::Ledger(_) | StepError::Illegal(_) | StepError::Bug(_) => None,
    };
    Claiming::Failed(trouble, chain(error))
}

/// Claims a pair; if that is not to be, how it ended. With `submits` it is about to be submitted.
async fn try_claim(
    shells: &Shells,
    id: JobId,
    pair: &ReadyPair,
    submits: bool,
) -> Result<Result<Taken, Claiming>, StepError> {
    let claim = Claim {
        pair: pair.name.clone(),
        picture: pair.picture.as_ref().map(|seen| (seen.name.clone(), seen.identity)),
        sidecar: pair.sidecar.as_ref().map(|seen| (seen.name.clone(), seen.identity)),
    };
    // In one go: each step aside to another thread costs a pair on its way a wake-up.
    let (spool, limits, suspects) = (shells.spool.clone(), shells.limits, shells.suspects.clone());
    let files = files_of(&claim);
    let looked = blocking(move || {
        match spool.claim(id, &claim)? {
            Claimed::Taken => {}
            Claimed::Changed => return Ok::<_, FileError>(Err(Claiming::Changed)),
            Claimed::Refused(refusal) => return Ok(Err(Claiming::Refused(refusal))),
        }
        Ok(Ok(look(&spool, &suspects, &limits, id, &claim)))
    });
    let looked = match looked.await? {
        Ok(looked) => looked,
        Err(not_taken) => return Ok(Err(not_taken)),
    };
    let suspected = shells.suspects.deaths(files) > 0;
    let taken = match looked {
        // What is good was read in the inbox. Not read here, it goes back to be found out there.
        Ok((Some(Judged { judgement: None, .. }), _)) if matches!(pair.verdict, PairVerdict::Good { .. }) => Ok(None),
        // What is still to be tidied up comes before the intent: from then on until it is sent a crash leaves a doubt.
        Ok((Some(judged), None)) if submits && !suspected => take_in_new(shells, pair, id, judged).await.map(Some),
        Ok((Some(judged), earlier)) => {
            take_in(shells, pair, id, &judged, earlier).await.map(|job| Some(Taken::Job(job)))
        }
        Ok((None, _)) => Ok(None),
        Err(error) => Err(error),
    };
    match taken {
        Ok(Some(taken)) => {
            // What it was suspected of is in its report now; moved back, it is read again.
            if suspected {
                let suspects = shells.suspects.clone();
                blocking(move || suspects.forget(files)).await;
            }
            Ok(Ok(taken))
        }
        Ok(None) => {
            put_back(shells, id).await?;
            Ok(Err(Claiming::Changed))
        }
        Err(error) => {
            // Only without a row do the files go back now; else, or if nobody can tell, recovery decides.
            if let Ok(None) = recorded(shells, id).await {
                put_back(shells, id).await?;
            }
            Err(error)
        }
    }
}

/// Puts back what a claim that failed has left in `work/`, if anything; what has a row by now is recovery's. After `failures` failures
/// in a row it waits first, unless the daemon stops: then the next start does it.
///
/// # Errors
/// It does not go now.
pub async fn give_back(shells: &Shells, id: JobId, failures: u32) -> Result<(), StepError> {
    if failures > 0 {
        tokio::select! {
            () = tokio::time::sleep(DISK.wait(failures, fastrand::f64())) => {}
            () = shells.stop.cancelled() => return Ok(()),
        }
    }
    match recorded(shells, id).await? {
        None => Ok(put_back(shells, id).await?),
        Some(_) => Ok(()),
    }
}

async fn put_back(shells: &Shells, id: JobId) -> Result<(), FileError> {
    let spool = shells.spool.clone();
    blocking(move || spool.put_back(id)).await
}

/// As [`take_in`] of a pair that tries no earlier job again and is about to be submitted: if it may be, the job and its intent are one
/// record, and the picture is sent as it was opened to be judged.
async fn take_in_new(shells: &Shells, pair: &ReadyPair, id: JobId, judged: Judged) -> Result<Taken, StepError> {
    let (job, failure) = new_job(pair, id, &judged, None);
    let is_whole = judged.picture.is_some() == job.input.picture.is_some() && job.input.sidecar.is_some();
    if failure.is_none() && is_whole && !shells.stop.is_cancelled() {
        return step::intend_new(shells, &job, judged.picture).await.map(Taken::Intended);
    }
    take_in(shells, pair, id, &judged, None).await.map(Taken::Job)
}

/// Records the job of a pair that was claimed and judged.
async fn take_in(
    shells: &Shells,
    pair: &ReadyPair,
    id: JobId,
    judged: &Judged,
    earlier: Option<JobId>,
) -> Result<Job, StepError> {
    let (job, failure) = new_job(pair, id, judged, earlier);
    // A task that is paid needs no good pair any more, whatever the limits are by now.
    let job = match (resumable(shells, &job, earlier).await?, failure) {
        (Some(Resumed { task, finish, request, attempts, charges }), _) => {
            tracing::info!(
                message_id = Message::Accepted.id(), job_id = %id, pair = %job.pair, task_id = %task.task_id,
                "{}: tried again unedited, going on with its task, which is not paid again", job.pair
            );
            let state = State::Submitted { task, finish, ask_at: None };
            let job = shells.insert(Job { state, request, sends: 1, attempts, charges, ..job }).await?;
            // The request that made the task is this job's, too: a ledger that is lost must not make it one that was never sent.
            if let Err(error) = shells.intents.announce(id, job.sends).await {
                // The ledger knows, and the next start writes the line.
                tracing::warn!(job_id = %id, "work/.intents does not know yet that the job has a task: {}", chain(&error));
            }
            job
        }
        (None, Some(failure)) => {
            let event = condemned(shells, &job, failure).await?;
            shells.insert(job.on(event, Timestamp::now())?).await?
        }
        (None, None) => shells.insert(job).await?,
    };
    if let Some(earlier) = earlier {
        let (spool, name) = (shells.spool.clone(), pair.name.clone());
        if let Err(error) = blocking(move || spool.forget_report(&name, earlier)).await {
            // The job is recorded and goes on; the old report is only a paper too many.
            tracing::warn!(job_id = %id, "cannot remove the report of the earlier job: {}", chain(&error));
        }
    }
    Ok(job)
}

/// What lies in a job's folder.
pub struct Judged {
    /// The judgement of a pair; `None` where there is no sidecar, or where reading the pair has been the end of too many.
    pub judgement: Option<Judgement>,
    /// The picture that was judged, open; not to be read on from where it stands.
    pub picture: Option<File>,
    /// SHA-256 of the picture, lower-case hexadecimal, if there is one.
    pub picture_sha256: Option<String>,
    /// The same of the sidecar.
    pub sidecar_sha256: Option<String>,
}

/// Judges the files in a job's folder, whose note is `claim`; `None` if they are still being changed, or a panic ended it.
pub async fn judge_claimed(shells: &Shells, id: JobId, claim: Claim) -> Result<Option<Judged>, StepError> {
    let (spool, limits, suspects) = (shells.spool.clone(), shells.limits, shells.suspects.clone());
    blocking(move || judge_in_work(&spool, &suspects, &limits, id, &claim)).await
}

/// What was claimed, and which job it tries again; no judgement if it is to be looked at again in the inbox.
fn look(
    spool: &Spool,
    suspects: &Suspects,
    limits: &Limits,
    id: JobId,
    claim: &Claim,
) -> Result<(Option<Judged>, Option<JobId>), StepError> {
    let Some(judged) = judge_in_work(spool, suspects, limits, id, claim)? else { return Ok((None, None)) };
    // Reports are in everybody's reach. One that is the end of its reader is as good as none.
    let earlier = catch_unwind(AssertUnwindSafe(|| spool.earlier(&claim.pair))).unwrap_or_else(|_| {
        tracing::error!(message_id = Message::Bug.id(), job_id = %id, pair = %claim.pair, "a bug: reading the reports of {} panicked", claim.pair);
        Ok(None)
    });
    Ok((Some(judged), earlier?))
}

fn judge_in_work(
    spool: &Spool,
    suspects: &Suspects,
    limits: &Limits,
    id: JobId,
    claim: &Claim,
) -> Result<Option<Judged>, StepError> {
    let broken = |source| StepError::File(FileError { doing: "read", path: spool.job_path(id), source });
    let (picture, Some(sidecar)) = spool.open_claimed(id)? else { return hash_in_work(spool, id) };
    let to_send = picture.as_ref().map(File::try_clone).transpose().map_err(broken)?;
    let path = || spool.job_path(id).join(SIDECAR);
    let read = || judge::judge_and_hash(picture, sidecar, limits);
    match suspects.read(Place::Work, files_of(claim), path, read) {
        Reading::Ended(Ok((judgement, hash))) => Ok(Some(Judged {
            picture: to_send,
            sidecar_sha256: Some(hexadecimal(&judgement.sidecar.sha256)),
            picture_sha256: hash.as_ref().map(hexadecimal),
            judgement: Some(judgement),
        })),
        Reading::Ended(Err(JudgeError::Changed { .. })) => Ok(None),
        Reading::Ended(Err(JudgeError::Io { source, .. })) => Err(broken(source)),
        Reading::Panicked { times } => {
            tracing::error!(message_id = Message::Bug.id(), job_id = %id, pair = %claim.pair, "a bug: reading {} panicked, {times} times by now", claim.pair);
            Ok(None)
        }
        Reading::Refused => hash_in_work(spool, id),
    }
}

/// What is known of files in a job's folder without looking into them; `None` if there are none.
fn hash_in_work(spool: &Spool, id: JobId) -> Result<Option<Judged>, StepError> {
    let broken = |source| StepError::File(FileError { doing: "read", path: spool.job_path(id), source });
    let (picture, sidecar) = spool.open_claimed(id)?;
    if picture.is_none() && sidecar.is_none() {
        return Ok(None);
    }
    let picture_sha256 = picture.map(judge::hash).transpose().map_err(broken)?;
    let sidecar_sha256 = sidecar.map(judge::hash_sidecar).transpose().map_err(broken)?;
    Ok(Some(Judged { judgement: None, picture: None, picture_sha256, sidecar_sha256 }))
}

/// The files of a claim, as suspects are known.
fn files_of(claim: &Claim) -> Files {
    let identity = |file: &(crate::job::FileName, crate::spool::scan::Identity)| file.1;
    Files::new(claim.picture.as_ref().map(identity).as_ref(), claim.sidecar.as_ref().map(identity).as_ref())
}

/// The job of a claimed pair, and the failure to reject it with, if it must be.
pub fn new_job(pair: &ReadyPair, id: JobId, judged: &Judged, earlier: Option<JobId>) -> (Job, Option<Failure>) {
    let now = Timestamp::now();
    let judgement = judged.judgement.as_ref();
    let accepted = judgement.map(Judgement::accepted);
    let shown = match &accepted {
        Some(Ok((_, picture))) => picture.map(|picture| (picture.width, picture.height)),
        Some(Err(_)) | None => None,
    };
    let (request, priority) = match &accepted {
        Some(Ok((sidecar, _))) => (Some(sidecar.request(shown, draw_seed())), sidecar.priority),
        Some(Err(_)) | None => (None, 0),
    };
    let failure = match (&pair.verdict, accepted) {
        // What the inbox has waited for in vain stays so, even if the files alone would do.
        (PairVerdict::Bad(bad), accepted) => Some(bad_failure(bad, accepted.and_then(Result::err), pair)),
        (PairVerdict::Good { .. }, Some(Err(problems))) => {
            let reason =
                if problems.sidecar.is_empty() { BadReason::InvalidPicture } else { BadReason::InvalidSidecar };
            Some(bad_failure(&Bad { reason, problems: Vec::new() }, Some(problems), pair))
        }
        (PairVerdict::Good { .. }, Some(Ok(_)) | None) => None,
    };
    let picture = pair.picture.as_ref().map(|seen| InputFile {
        name: seen.name.clone(),
        bytes: seen.identity.size,
        sha256: judged.picture_sha256.clone().unwrap_or_default(),
    });
    let sidecar = pair.sidecar.as_ref().map(|seen| InputFile {
        name: seen.name.clone(),
        bytes: seen.identity.size,
        sha256: judged.sidecar_sha256.clone().unwrap_or_default(),
    });
    let job = Job {
        id,
        pair: pair.name.clone(),
        input: Input { sidecar, picture, shown },
        request,
        priority,
        earlier,
        claimed_at: now,
        sends: 0,
        attempts: 0,
        charges: 0,
        state: State::Queued { not_before: None },
        since: now,
    };
    (job, failure)
}

fn bad_failure(bad: &Bad, found: Option<Complaints>, pair: &ReadyPair) -> Failure {
    let reason = match bad.reason {
        BadReason::InvalidSidecar => Reason::InvalidSidecar,
        BadReason::InvalidPicture => Reason::InvalidPicture,
        BadReason::AmbiguousPair => Reason::AmbiguousPair,
        BadReason::Orphan => Reason::Orphan,
        BadReason::Poison => return Failure::unread(Reason::Poison, poison_message(), Vec::new()),
    };
    let mut problems = bad.problems.clone();
    if let Some(Complaints { sidecar: of_sidecar, picture: of_picture }) = found.filter(|_| problems.is_empty()) {
        let named = |problems: Vec<Problem>, file: Option<String>| {
            problems.into_iter().map(move |problem| Problem { file: file.clone(), ..problem })
        };
        problems.extend(named(of_sidecar, pair.sidecar.as_ref().map(|seen| seen.name.to_string())));
        problems.extend(named(of_picture, pair.picture.as_ref().map(|seen| seen.name.to_string())));
    }
    let message = match problems.as_slice() {
        [] => reason.label().replace('_', " "),
        [first] => first.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    };
    Failure::unread(reason, message, problems)
}

fn poison_message() -> String {
    format!(
        "The daemon crashed {DEATHS_MAX} times while it read these files, so it reads them no more; nothing was sent."
    )
}

/// What a job goes on with that tries another one again.
struct Resumed {
    task: Task,
    /// If its video was seen done: then nothing that the API says of it is a reason to pay anew.
    finish: Option<Finish>,
    /// What the task was asked for, with its seed.
    request: Option<Request>,
    attempts: u32,
    charges: u32,
}

/// The task of the earlier job, if this pair is that one unedited and the API may still have the task.
async fn resumable(shells: &Shells, job: &Job, earlier: Option<JobId>) -> Result<Option<Resumed>, StepError> {
    let Some(id) = earlier else { return Ok(None) };
    let before = recorded(shells, id).await?;
    let Some(before) = before else { return Ok(None) };
    // A quick user sees the report before its record is made: failing is as good as failed here.
    let (State::Failing { failure, .. } | State::Failed { failure }) = &before.state else {
        return Ok(None);
    };
    let Failure { task: Some(task), task_over, charged, .. } = failure else { return Ok(None) };
    let finish = match charged {
        Charged::Yes => Some(Finish { done_at: before.since, bad_links: 0 }),
        Charged::No | Charged::Unknown => None,
    };
    let hashes = |job: &Job| {
        let hash = |file: &Option<InputFile>| file.as_ref().map(|file| file.sha256.clone());
        (hash(&job.input.picture), hash(&job.input.sidecar))
    };
    let unedited = hashes(&before) == hashes(job);
    // Asking for a task that has died costs a report; paying for one that lives, because a clock was set forward, costs money.
    let alive = age(task, shells.started.not_set_forward(Moment::now())) < TASK_LIFE;
    let Job { attempts, charges, ref request, .. } = before;
    let resumed = Resumed { task: task.clone(), finish, request: request.clone(), attempts, charges };
    Ok((!task_over && unedited && alive).then_some(resumed))
}

/// What makes a pair of a note in `work/`: for recovery, where the inbox has nothing to say any more.
pub fn pair_of(claim: &Claim) -> ReadyPair {
    let seen = |file: &(crate::job::FileName, crate::spool::scan::Identity)| super::intake::FileSeen {
        name: file.0.clone(),
        identity: file.1,
    };
    let now = std::time::Instant::now();
    ReadyPair {
        name: claim.pair.clone(),
        picture: claim.picture.as_ref().map(seen),
        sidecar: claim.sidecar.as_ref().map(seen),
        verdict: PairVerdict::Good { priority: 0, picture: None },
        first_seen: now,
        completed_at: now,
    }
}

/// An event for a job that recovery finds in doubt.
pub fn in_doubt(why: &str) -> Event {
    Event::OutcomeUnknown { doubt: Doubt::unanswered(why) }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        // Transparent errors repeat their source's words.
        let words = next.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}
