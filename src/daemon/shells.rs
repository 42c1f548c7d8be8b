//! What a step works with: the spool, the ledger, the witness, the API and the operator's policy; and the one way in which a
//! job changes.
//!
//! [`Shells::record`] applies an event, writes the ledger, and says so in the log: one line a transition, in one place. When it
//! returns, the new state is on disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::clock::Moment;
use super::message::Message;
use crate::api::Client;
use crate::job::backoff::DISK;
use crate::job::plan::Policy;
use crate::job::state::{Event, State};
use crate::job::{Job, JobId, picture};
use crate::ledger::{Change, Ledger, WriteError};
use crate::spool::Spool;
use crate::spool::durable::FileError;
use crate::spool::intents::Intents;
use crate::spool::suspects::Suspects;

/// So often a record that the disk refuses is still tried after the daemon was told to stop.
const TRIED_AFTER_STOP: u32 = 8;

/// The pause between those tries.
const TRIED_AFTER_STOP_EVERY: Duration = Duration::from_millis(250);

/// What every step is handed. A reload makes a new one; steps that run keep theirs.
#[derive(Debug)]
pub struct Shells {
    /// The folders.
    pub spool: Arc<Spool>,
    /// The memory.
    pub ledger: Ledger,
    /// Where it is, for readers.
    pub ledger_path: PathBuf,
    /// The witness.
    pub intents: Intents,
    /// The API.
    pub client: Client,
    /// The operator's wishes about jobs.
    pub policy: Policy,
    /// Limits of a picture.
    pub limits: picture::Limits,
    /// What was being read when an earlier run died.
    pub suspects: Suspects,
    /// Cancelled when the daemon stops: uploads that are not wholly handed over are cut, transfers end.
    pub stop: CancellationToken,
    /// How many records wait for a disk that refuses them. Nothing is sent while there is one.
    pub unwritten: Arc<AtomicUsize>,
    /// When the daemon started.
    pub started: Moment,
    /// Where the course of jobs is told, for who wants to show it.
    pub observer: Option<mpsc::Sender<Progress>>,
}

/// One transition, for who shows them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The job.
    pub job: JobId,
    /// Its pair, as shown.
    pub pair: String,
    /// The label of its state.
    pub state: &'static str,
    /// The word of its failure, if it failed.
    pub reason: Option<String>,
}

/// A step that could not be carried out because of our own side; the job is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ledger is closed or contradicts us.
    #[error(transparent)]
    Ledger(#[from] WriteError),
    /// An event that cannot happen: a bug.
    #[error(transparent)]
    Illegal(#[from] crate::job::state::IllegalEvent),
    /// Something else of ours, in words.
    #[error("{0}")]
    Bug(String),
}

impl Shells {
    /// Waits until the ledger may be believed, before anything that costs money; `false` if the daemon is told to stop first.
    pub async fn may_send(&self) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.ledger.looked_through() => true,
        }
    }

    /// The job after `event`, recorded together with `more`. Tried again for as long as the disk refuses it.
    ///
    /// # Errors
    /// The event is impossible, the ledger contradicts us, or the daemon stops while the disk still refuses; then the job is as
    /// it was on disk.
    pub async fn record(&self, job: &Job, event: Event, more: Vec<Change>) -> Result<Job, StepError> {
        let known_again = event == Event::KnownAgain;
        let next = self.write_after(Change::Update, job, event, more).await?;
        if known_again {
            // By its state alone it looks as if it had just been accepted.
            let task_id = next.state.task().map(|task| task.task_id.as_str());
            let message_id = Message::AskedAgain.id();
            tracing::info!(message_id, job_id = %next.id, pair = %next.pair, state = next.state.label(), task_id, "{}: its task is known again", next.pair);
            self.observe(&next);
        } else {
            self.tell(&next);
        }
        Ok(next)
    }

    /// Records a new job.
    ///
    /// # Errors
    /// As [`Shells::record`].
    pub async fn insert(&self, job: Job) -> Result<Job, StepError> {
        self.write(vec![Change::Insert(Box::new(job.clone()))], &job).await?;
        self.tell(&job);
        Ok(job)
    }

    /// Records a new job as it is after `event`, together with `more`: one record instead of two.
    ///
    /// # Errors
    /// As [`Shells::record`]; then there is no such job, unless the ledger was closed under it.
    pub async fn insert_after(&self, job: &Job, event: Event, more: Vec<Change>) -> Result<Job, StepError> {
        let next = self.write_after(Change::Insert, job, event, more).await?;
        self.tell(job);
        self.tell(&next);
        Ok(next)
    }

    async fn write_after(
        &self,
        row: fn(Box<Job>) -> Change,
        job: &Job,
        event: Event,
        more: Vec<Change>,
    ) -> Result<Job, StepError> {
        let next = job.on(event, Timestamp::now())?;
        let mut changes = vec![row(Box::new(next.clone()))];
        changes.extend(more);
        self.write(changes, &next).await?;
        Ok(next)
    }

    async fn write(&self, changes: Vec<Change>, job: &Job) -> Result<(), WriteError> {
        let mut failures = 0;
        let mut after_stop = 0;
        let result = loop {
            match self.ledger.write(changes.clone()).await {
                Err(WriteError::Disk(what)) => {
                    failures += 1;
                    if failures == 1 {
                        self.unwritten.fetch_add(1, Ordering::SeqCst);
                        // The task is named here so that it is not lost even if the ledger never gets it.
                        tracing::error!(
                            message_id = Message::LedgerUnwritable.id(),
                            job_id = %job.id, pair = %job.pair, state = job.state.label(),
                            task_id = job.state.task().map(|task| task.task_id.as_str()),
                            "cannot write the ledger ({what}); nothing more is sent until it can be written: free some space"
                        );
                    }
                    if self.stop.is_cancelled() {
                        after_stop += 1;
                        if after_stop > TRIED_AFTER_STOP {
                            break Err(WriteError::Disk(what));
                        }
                        tokio::time::sleep(TRIED_AFTER_STOP_EVERY).await;
                    } else {
                        tokio::select! {
                            () = tokio::time::sleep(DISK.wait(failures, fastrand::f64())) => {}
                            () = self.stop.cancelled() => {}
                        }
                    }
                }
                Err(WriteError::Damaged(what)) => {
                    // The daemon ends of it, and the next start may find a ledger that never heard of the task.
                    tracing::error!(
                        message_id = Message::LedgerDamaged.id(),
                        job_id = %job.id, pair = %job.pair, state = job.state.label(),
                        task_id = job.state.task().map(|task| task.task_id.as_str()),
                        "cannot write the ledger, for it is damaged ({what})"
                    );
                    break Err(WriteError::Damaged(what));
                }
                result @ (Ok(()) | Err(WriteError::Contradiction(_) | WriteError::Held(_) | WriteError::Closed)) => {
                    break result;
                }
            }
        };
        if failures > 0 {
            self.unwritten.fetch_sub(1, Ordering::SeqCst);
            if result.is_ok() {
                tracing::info!(message_id = Message::GoesOn.id(), job_id = %job.id, "the ledger can be written again");
            }
        }
        result
    }

    /// One line a transition.
    fn tell(&self, job: &Job) {
        let task_id = job.state.task().map(|task| task.task_id.as_str());
        let (id, pair, state) = (job.id, &job.pair, job.state.label());
        let message_id = kind(job).id();
        // A macro, for a level is fixed where it is logged.
        macro_rules! tell_failure {
            ($level:ident, $failure:ident, $verb:literal) => {
                tracing::$level!(
                    message_id, job_id = %id, %pair, state, reason = %$failure.reason.label(),
                    business_code = $failure.reason.code().map(|code| code.0),
                    task_id = $failure.task.as_ref().map(|task| task.task_id.as_str()),
                    request_id = $failure.request_id, attempt = job.attempts,
                    "{pair}: {}: {}: {}", $verb, $failure.reason.label(), $failure.message
                )
            };
        }
        match &job.state {
            State::Queued { not_before: None } if job.sends == 0 => {
                tracing::info!(message_id, job_id = %id, %pair, state, "{pair}: claimed");
            }
            State::Queued { not_before: None } => {
                tracing::info!(message_id, job_id = %id, %pair, state, attempt = job.attempts, "{pair}: waits to be submitted again");
            }
            State::Queued { not_before: Some(at) } => {
                tracing::info!(message_id, job_id = %id, %pair, state, attempt = job.attempts, "{pair}: waits until {at:.0} to be submitted");
            }
            State::Submitting => {
                tracing::info!(message_id, job_id = %id, %pair, state, attempt = job.attempts + 1, "{pair}: submitting");
            }
            State::Submitted { task, finish: None, ask_at: None } => tracing::info!(
                message_id, job_id = %id, %pair, state, task_id, request_id = task.request_id, attempt = job.attempts,
                "{pair}: accepted as task {}", task.task_id
            ),
            State::Submitted { ask_at: Some(at), .. } => {
                tracing::info!(message_id, job_id = %id, %pair, state, task_id, "{pair}: asked about again at {at:.0}");
            }
            State::Submitted { .. } => {
                tracing::info!(message_id, job_id = %id, %pair, state, task_id, "{pair}: the link is stale, asking for a fresh one");
            }
            State::Ready { .. } => {
                tracing::info!(message_id, job_id = %id, %pair, state, task_id, "{pair}: done, fetching the video")
            }
            State::Fetched { video, .. } => tracing::info!(
                message_id, job_id = %id, %pair, state, task_id, size_bytes = video.bytes, "{pair}: fetched {} bytes", video.bytes
            ),
            State::Delivered { video, number, .. } => tracing::info!(
                message_id, job_id = %id, %pair, state, task_id, size_bytes = video.bytes, "{pair}: delivered as {}", job.names(*number).video
            ),
            State::InDoubt { doubt } => {
                tracing::warn!(message_id, job_id = %id, %pair, state, "{pair}: in doubt: {doubt}")
            }
            State::Failing { failure, .. } => tell_failure!(info, failure, "fails"),
            // A person wants to know of it, so it is more than information.
            State::Failed { failure } => tell_failure!(warn, failure, "is in error/"),
        }
        self.observe(job);
    }

    fn observe(&self, job: &Job) {
        let Some(observer) = &self.observer else { return };
        let reason = match &job.state {
            State::Failing { failure, .. } | State::Failed { failure } => Some(failure.reason.label().into_owned()),
            State::Queued { .. }
            | State::Submitting
            | State::Submitted { .. }
            | State::Ready { .. }
            | State::Fetched { .. }
            | State::Delivered { .. }
            | State::InDoubt { .. } => None,
        };
        let progress = Progress { job: job.id, pair: job.pair.to_string(), state: job.state.label(), reason };
        // Who watches too slowly misses lines of a display, nothing else.
        drop(observer.try_send(progress));
    }
}

/// What kind of entry tells that `job` is in its state now.
fn kind(job: &Job) -> Message {
    match &job.state {
        State::Queued { not_before: None } if job.sends == 0 => Message::Claimed,
        State::Queued { .. } => Message::WaitsAgain,
        State::Submitting => Message::Submitting,
        State::Submitted { finish: None, ask_at: None, .. } => Message::Accepted,
        State::Submitted { .. } => Message::AskedAgain,
        State::Ready { .. } => Message::Done,
        State::Fetched { .. } => Message::Fetched,
        State::Delivered { .. } => Message::Delivered,
        State::InDoubt { .. } => Message::InDoubt,
        State::Failing { .. } => Message::Failing,
        State::Failed { failure } => Message::Failed(failure.reason),
    }
}

/// Runs file work where it may block.
///
/// # Panics
/// If the work does.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is being torn down cancels such work, and then nobody waits for it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The instant after a wait from now.
pub fn after(wait: Duration) -> Timestamp {
    Timestamp::now().checked_add(wait).unwrap_or(Timestamp::MAX)
}
