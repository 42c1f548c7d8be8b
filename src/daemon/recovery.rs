//! At start: make spool, ledger and witness agree.
//!
//! What the last run left behind is finished by the same transitions and steps that make it live; here it is only decided
//! where each job stands. The rules, job by job in `work/`:
//!
//! - a number in `.intents` higher than the ledger's: in doubt, however old the ledger is;
//! - `.intents` missing or damaged: in doubt, unless the ledger knows a task or an end;
//! - no row and no line: never sent; the files go back to the inbox, now or as soon as the disk lets them;
//! - a row: goes on from its state; a queued one without its files was being given back, and is forgotten.
//!
//! A row whose folder is gone goes on too: the steps find out what was done already.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::claiming::{self, Judged, judge_claimed, new_job};
use super::message::Message;
use super::shells::{Shells, StepError, blocking};
use super::step::recorded;
use crate::job::state::State;
use crate::job::{Job, JobId};
use crate::ledger::Change;
use crate::spool::claim::Claim;

/// Higher than any number: without a witness anything may have been sent.
const NO_WITNESS: u32 = u32::MAX;

/// A claimed pair that somebody still changes is judged so often before recovery gives up.
const JUDGED_MAX: u32 = 20;

/// What the last run left behind.
#[derive(Debug)]
pub struct Leftover {
    /// The ledger's jobs that are not final.
    pub live: Vec<Job>,
    /// The witness; `None`: there is none that can be believed.
    pub intents: Option<HashMap<JobId, u32>>,
    /// The jobs that have a folder in `work/`.
    pub in_work: Vec<JobId>,
}

/// What is to be gone on with.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Folders in `work/` without a job, whose files belong into the inbox and cannot go there now.
    pub stranded: Vec<JobId>,
}

/// Where a folder in `work/` without a live row stands.
enum Found {
    /// It is a job after all.
    Job(Box<Job>),
    /// Its files cannot go back now.
    Stranded,
    /// Nothing is left to do.
    Settled,
}

/// Decides for each job and each folder in `work/`.
///
/// # Errors
/// The spool or the ledger fails; nothing was sent, and the next start does it again.
pub async fn recover(shells: &Shells, leftover: Leftover) -> Result<Recovered, StepError> {
    let Leftover { live, intents, in_work } = leftover;
    let known: HashSet<JobId> = live.iter().map(|job| job.id).collect();
    let witnessed = |id: JobId| match &intents {
        Some(intents) => intents.get(&id).copied().unwrap_or(0),
        // Without a witness anything may have been sent.
        None => NO_WITNESS,
    };
    let mut recovered = Recovered::default();
    for job in live {
        recovered.jobs.extend(reconcile(shells, job, &witnessed).await?);
    }
    for id in in_work.into_iter().filter(|id| !known.contains(id)) {
        match without_row(shells, id, witnessed(id)).await? {
            Found::Job(job) => recovered.jobs.push(*job),
            Found::Stranded => recovered.stranded.push(id),
            Found::Settled => {}
        }
    }
    Ok(recovered)
}

/// A job of the ledger: where does it really stand?
async fn reconcile(shells: &Shells, job: Job, witnessed: &impl Fn(JobId) -> u32) -> Result<Option<Job>, StepError> {
    let number = witnessed(job.id);
    let may_be_sent_again = match &job.state {
        State::Queued { .. } => true,
        // These know what came of the last request that the ledger knows of; the witness may know of a later one.
        State::Submitting | State::Submitted { .. } | State::Ready { .. } | State::InDoubt { .. } => {
            number != NO_WITNESS
        }
        State::Fetched { .. } | State::Delivered { .. } | State::Failing { .. } | State::Failed { .. } => false,
    };
    if may_be_sent_again && number > job.sends {
        // The ledger is older than the witness, or there is none: it may have been sent once more than the ledger knows.
        let why = "work/.intents does not confirm the ledger: the request may have been sent";
        let sends = if number == NO_WITNESS { job.sends.max(1) } else { number };
        let job = Job { sends, state: State::Submitting, ..job };
        let next = job.on(claiming::in_doubt(why), Timestamp::now())?;
        shells.ledger.write(vec![Change::Update(Box::new(next.clone()))]).await?;
        return Ok(Some(next));
    }
    match &job.state {
        State::Queued { .. } if job.attempts == 0 && !is_whole(shells, &job).await? => {
            // Its release was cut off: the rest goes back, too.
            if !put_back(shells, job.id).await {
                // Taken up, it is found to lack a file, and released as often as that takes.
                return Ok(Some(job));
            }
            shells.ledger.write(vec![Change::Delete(job.id)]).await?;
            let message_id = Message::Released.id();
            tracing::info!(message_id, job_id = %job.id, pair = %job.pair, state = "released", "{}: back in the inbox", job.pair);
            Ok(None)
        }
        State::Queued { .. }
        | State::Submitting
        | State::InDoubt { .. }
        | State::Submitted { .. }
        | State::Ready { .. }
        | State::Fetched { .. }
        | State::Failing { .. }
        | State::Delivered { .. }
        | State::Failed { .. } => Ok(Some(job)),
    }
}

/// Whether everything that was claimed lies in the job's folder.
async fn is_whole(shells: &Shells, job: &Job) -> Result<bool, StepError> {
    let (spool, id) = (shells.spool.clone(), job.id);
    let (picture, sidecar) = blocking(move || spool.open_claimed(id)).await?;
    Ok(picture.is_some() == job.input.picture.is_some() && sidecar.is_some() == job.input.sidecar.is_some())
}

/// A folder in `work/` that no live row belongs to.
async fn without_row(shells: &Shells, id: JobId, witnessed: u32) -> Result<Found, StepError> {
    let ended = recorded(shells, id).await?;
    let spool = shells.spool.clone();
    if let Some(ended) = ended {
        // It has ended; only its empty folder was left. One that holds files again came from somewhere else, such as a backup.
        let (picture, sidecar) = {
            let spool = spool.clone();
            blocking(move || spool.open_claimed(id)).await?
        };
        if picture.is_some() || sidecar.is_some() {
            tracing::warn!(
                job_id = %id, pair = %ended.pair, state = ended.state.label(),
                "{}: {} holds its files again, though its job has ended ({}); they are left alone and nothing is sent: take the folder away",
                ended.pair, spool.job_path(id).display(), ended.state.label()
            );
            return Ok(Found::Settled);
        }
        blocking(move || spool.clear_work(id)).await?;
        return Ok(Found::Settled);
    }
    let note = {
        let spool = spool.clone();
        blocking(move || spool.note(id)).await?
    };
    let Some(note) = note else {
        // No file was moved before its note was whole.
        blocking(move || spool.clear_work(id)).await?;
        return Ok(Found::Settled);
    };
    if witnessed == 0 {
        tracing::info!(job_id = %id, pair = %note.pair, "{}: its claim was cut off; it goes back to the inbox", note.pair);
        return Ok(if put_back(shells, id).await { Found::Settled } else { Found::Stranded });
    }
    let files = {
        let spool = spool.clone();
        blocking(move || spool.open_claimed(id)).await?
    };
    if files.0.is_none() && files.1.is_none() {
        blocking(move || spool.clear_work(id)).await?;
        return Ok(Found::Settled);
    }
    let pair = claiming::pair_of(&note);
    let judged = judge_until_still(shells, id, &note).await?;
    let message_id = Message::UnknownInWork.id();
    tracing::warn!(message_id, job_id = %id, pair = %pair.name, "{}: work/ has a job that the ledger does not know; it may have been paid", pair.name);
    let (job, _) = new_job(&pair, id, &judged, None);
    let sends = if witnessed == NO_WITNESS { 1 } else { witnessed };
    let job = Job { sends, state: State::Submitting, ..job };
    let why = "the ledger does not know this job, and it may have been sent";
    let job = job.on(claiming::in_doubt(why), Timestamp::now())?;
    Ok(Found::Job(Box::new(shells.insert(job).await?)))
}

/// What may have been paid never goes back to the inbox by itself, so it is judged until nobody changes it any more; and not at all
/// if reading it has been the end of too many, for it is in doubt whatever it asks for.
async fn judge_until_still(shells: &Shells, id: JobId, note: &Claim) -> Result<Judged, StepError> {
    for _ in 0..JUDGED_MAX {
        if let Some(judged) = judge_claimed(shells, id, note.clone()).await? {
            return Ok(judged);
        }
    }
    Err(StepError::Bug(format!("the files in {} are being changed by somebody", shells.spool.job_path(id).display())))
}

/// Puts a job's files back; where that cannot be done now they stay in `work/` for later, and the daemon starts all the same: paid
/// tasks wait for it.
async fn put_back(shells: &Shells, id: JobId) -> bool {
    let spool = shells.spool.clone();
    match blocking(move || spool.put_back(id)).await {
        Ok(()) => true,
        Err(error) => {
            let what = claiming::chain(&error);
            tracing::warn!(job_id = %id, "a pair stays in work/ for now, for it cannot go back to the inbox: {what}");
            false
        }
    }
}
