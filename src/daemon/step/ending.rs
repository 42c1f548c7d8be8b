//! The ends of a job: its video is published, or its pair is rejected; and what decides between them when nobody can know.

use std::time::Duration;

use jiff::Timestamp;

use super::Stepped;
use crate::daemon::shells::{Shells, StepError, blocking};
use crate::job::state::{Event, Rejection, State};
use crate::job::{Charged, Doubt, Failure, Job, Reason, Stage};
use crate::ledger::Change;
use crate::spool::Spool;
use crate::spool::durable::{FileError, Trouble};
use crate::spool::finish::Finished;

/// A job in doubt is submitted again at most until it has had so many attempts, whatever the operator wishes: a gateway that
/// loses every answer must not be paid for ever.
const IN_DOUBT_ATTEMPTS_MAX: u32 = 3;

/// So long an end waits for a folder that does not let go what must be taken away: the beginning of a video that is given up, the report
/// of an earlier try.
const TIDY_PATIENCE: Duration = Duration::from_secs(60);

/// Whether an end that was decided at `job.since` still waits for that.
fn waits_to_tidy(job: &Job) -> bool {
    Timestamp::now().duration_since(job.since).unsigned_abs() < TIDY_PATIENCE
}

pub(super) async fn publish(shells: &Shells, mut job: Job) -> Result<Stepped, StepError> {
    loop {
        let State::Fetched { task, finish, video, publication } = job.state.clone() else {
            return Err(StepError::Bug(format!("published while {}", job.state.label())));
        };
        let (spool, owner) = (shells.spool.clone(), job.clone());
        let waits = waits_to_tidy(&job);
        let finished = blocking(move || spool.publish(&owner, &task, &finish, &video, &publication, waits)).await?;
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

pub(super) async fn reject(shells: &Shells, mut job: Job) -> Result<Stepped, StepError> {
    loop {
        let State::Failing { failure, rejection } = job.state.clone() else {
            return Err(StepError::Bug(format!("rejected while {}", job.state.label())));
        };
        let (spool, owner) = (shells.spool.clone(), job.clone());
        let finished = blocking(move || {
            if owner.attempts > 0 {
                drop_part(&spool, &owner)?;
            }
            spool.reject(&owner, &failure, &rejection, waits_to_tidy(&owner))
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

/// Takes away what was fetched of a video that is given up. An outbox that is not there keeps no pair from its report, and one that
/// fails only for a while.
fn drop_part(spool: &Spool, job: &Job) -> Result<(), FileError> {
    let Err(error) = spool.drop_part(job) else { return Ok(()) };
    if error.trouble() != Trouble::Vanished && waits_to_tidy(job) {
        return Err(error);
    }
    let part = spool.part_path(job);
    tracing::warn!(
        job_id = %job.id, "{}: {} is left of a video that was given up, and may be deleted: {error}: {}", job.pair,
        part.display(), error.source
    );
    Ok(())
}

/// A job in doubt is set aside, or submitted again if the operator wants that.
pub(super) async fn resolve(shells: &Shells, job: Job) -> Result<Stepped, StepError> {
    let job = match &job.state {
        State::Submitting => {
            let doubt = Doubt::unanswered("the daemon ended while the request was on its way");
            shells.record(&job, Event::OutcomeUnknown { doubt }, Vec::new()).await?
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
    let State::InDoubt { doubt } = &job.state else {
        return Err(StepError::Bug(format!("resolved while {}", job.state.label())));
    };
    if shells.policy.resubmit_in_doubt && job.attempts < IN_DOUBT_ATTEMPTS_MAX {
        return Ok(Stepped::with(shells.record(&job, Event::SubmitAgain, Vec::new()).await?));
    }
    let message = match job.charges {
        0 | 1 => doubt.message.clone(),
        // Nobody knows it of any of them, and the bill is to be compared with this number.
        charges => format!("{}; up to {charges} videos may have been charged", doubt.message),
    };
    let failure = Failure {
        reason: Reason::InDoubt,
        message,
        stage: Stage::Submit,
        charged: Charged::Unknown,
        task: None,
        task_over: false,
        request_id: doubt.request_id.clone(),
        http_status: doubt.http_status,
        problems: Vec::new(),
    };
    Ok(Stepped::with(condemn(shells, &job, failure, Vec::new()).await?))
}

/// The job with a decision to reject it, its names chosen.
pub async fn condemned(shells: &Shells, job: &Job, failure: Failure) -> Result<Event, StepError> {
    let (spool, owner) = (shells.spool.clone(), job.clone());
    // A verdict does not wait for a disk: where the names cannot be looked at now, rejecting chooses others.
    let number = blocking(move || spool.number_for_rejection(&owner, 1)).await.unwrap_or(1);
    Ok(Event::Condemned { failure, rejection: Rejection { number, former: Vec::new(), failed_at: Timestamp::now() } })
}

pub(super) async fn condemn(shells: &Shells, job: &Job, failure: Failure, more: Vec<Change>) -> Result<Job, StepError> {
    let event = condemned(shells, job, failure).await?;
    shells.record(job, event, more).await
}
