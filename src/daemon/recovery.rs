//! At start: make spool, ledger and witness agree.
//!
//! What the last run left behind is finished by the same transitions and steps that make it live; here it is only decided
//! where each job stands. The rules, job by job in `work/`:
//!
//! - a number in `.intents` higher than the ledger's: in doubt, however old the ledger is;
//! - `.intents` missing: in doubt, unless the ledger knows a task or an end;
//! - no row and no line: never sent; the files go back to the inbox;
//! - a row: goes on from its state; a queued one without its files was being given back, and is forgotten.
//!
//! A row whose folder is gone goes on too: the steps find out what was done already.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::claiming::{self, judge_claimed, new_job};
use super::shells::{Shells, StepError, blocking};
use crate::job::state::State;
use crate::job::{Job, JobId};
use crate::ledger::Change;

/// What the last run left behind.
#[derive(Debug)]
pub struct Leftover {
    /// The ledger's jobs that are not final.
    pub live: Vec<Job>,
    /// The witness; `None`: there is no such file.
    pub intents: Option<HashMap<JobId, u32>>,
    /// The jobs that have a folder in `work/`.
    pub in_work: Vec<JobId>,
}

/// The jobs to go on with.
///
/// # Errors
/// The spool or the ledger fails; nothing was sent, and the next start does it again.
pub async fn recover(shells: &Shells, leftover: Leftover) -> Result<Vec<Job>, StepError> {
    let Leftover { live, intents, in_work } = leftover;
    let known: HashSet<JobId> = live.iter().map(|job| job.id).collect();
    let witnessed = |id: JobId| match &intents {
        Some(intents) => intents.get(&id).copied().unwrap_or(0),
        // Without a witness anything may have been sent.
        None => u32::MAX,
    };
    let mut jobs = Vec::with_capacity(live.len());
    for job in live {
        jobs.extend(reconcile(shells, job, &witnessed).await?);
    }
    for id in in_work.into_iter().filter(|id| !known.contains(id)) {
        jobs.extend(without_row(shells, id, witnessed(id)).await?);
    }
    Ok(jobs)
}

/// A job of the ledger: where does it really stand?
async fn reconcile(shells: &Shells, job: Job, witnessed: &impl Fn(JobId) -> u32) -> Result<Option<Job>, StepError> {
    match &job.state {
        State::Queued { .. } if witnessed(job.id) > job.sends => {
            // The ledger is older than the witness, or there is none: it may have been sent once more than the ledger knows.
            let why = "work/.intents does not confirm the ledger: the request may have been sent";
            let job = Job { sends: job.sends.max(1), state: State::Submitting, ..job };
            let next = job.on(claiming::in_doubt(why), Timestamp::now())?;
            shells.ledger.write(vec![Change::Update(Box::new(next.clone()))]).await?;
            Ok(Some(next))
        }
        State::Queued { .. } if job.attempts == 0 && !is_whole(shells, &job).await? => {
            // Its release was cut off: the rest goes back, too.
            let (spool, id) = (shells.spool.clone(), job.id);
            blocking(move || spool.put_back(id)).await?;
            shells.ledger.write(vec![Change::Delete(job.id)]).await?;
            tracing::info!(job_id = %job.id, pair = %job.pair, state = "released", "{}: back in the inbox", job.pair);
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
async fn without_row(shells: &Shells, id: JobId, witnessed: u32) -> Result<Option<Job>, StepError> {
    let path = shells.ledger_path.clone();
    let ended = blocking(move || {
        let reader = crate::ledger::Reader::open(&path).ok().flatten()?;
        reader.job(id).ok().flatten()
    })
    .await;
    let spool = shells.spool.clone();
    if ended.is_some() {
        // It has ended; only its empty folder was left.
        blocking(move || spool.clear_work(id)).await?;
        return Ok(None);
    }
    let note = {
        let spool = spool.clone();
        blocking(move || spool.note(id)).await?
    };
    let Some(note) = note else {
        // No file was moved before its note was whole.
        blocking(move || spool.clear_work(id)).await?;
        return Ok(None);
    };
    if witnessed == 0 {
        tracing::info!(job_id = %id, pair = %note.pair, "{}: its claim was cut off; it goes back to the inbox", note.pair);
        blocking(move || spool.put_back(id)).await?;
        return Ok(None);
    }
    let pair = claiming::pair_of(&note);
    let Some(judged) = judge_claimed(shells, id).await? else {
        blocking(move || spool.put_back(id)).await?;
        return Ok(None);
    };
    tracing::warn!(job_id = %id, pair = %pair.name, "{}: work/ has a job that the ledger does not know; it may have been paid", pair.name);
    let (job, _) = new_job(&pair, id, &judged, None);
    let sends = if witnessed == u32::MAX { 1 } else { witnessed };
    let job = Job { sends, state: State::Submitting, ..job };
    let why = "the ledger does not know this job, and it may have been sent";
    let job = job.on(claiming::in_doubt(why), Timestamp::now())?;
    Ok(Some(shells.insert(job).await?))
}
