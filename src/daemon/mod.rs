//! The daemon: where the core and its shells meet.
//!
//! One loop: something happens (a hint, a step that ended, a due time, a signal), the [`driver`] decides, steps start. The loop
//! itself does no work and waits for none. Starting is recovering: what the last run left behind is taken up by the same
//! steps.
//!
//! Stopping: no more claims and submissions; uploads that are not wholly handed over are cut; one that is handed over is
//! awaited, because its answer says whether money was spent; everything else ends at once and goes on at the next start.
//!
//! A step that panics takes its job out of this run and nothing else; the next start recovers it. The loop ends with an error
//! only if the ledger turns out to be damaged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

mod claiming;
mod clock;
pub mod driver;
mod housekeeping;
pub mod intake;
pub mod message;
pub mod pause;
mod recovery;
mod room;
mod shells;
mod shift;
mod snapshot;
mod start;
mod step;
mod today;
mod turning;

pub use clock::Clock;
pub use pause::PauseReason;
pub use shells::Progress;
pub use snapshot::{DAEMON_FACT, Paused, RELOAD_FACT, ReloadWord, Snapshot};
pub use step::{Call, News, Stepped};

use crate::api::Client;
use crate::config::Config;
use crate::job::JobId;
use crate::ledger;
use crate::spool::{self, durable};
use crate::systemd;
use crate::throttle::window::Learned;
use claiming::Claiming;
use driver::Driver;
use intake::Intake;
use message::Message;
use room::Room;
use shells::{Shells, StepError};
use shift::{Set, Shift};
use today::Today;

/// The ledger's name below the root.
pub const LEDGER: &str = "ledger.db";

/// What is known of the account's limit, in the ledger.
const WINDOW_FACT: &str = "window";

/// What the daemon says of itself is written at most this often.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);

/// What tells the daemon what to do while it runs.
#[derive(Debug)]
pub struct Controls {
    /// Cancelled: stop as described above.
    pub stop: CancellationToken,
    /// New settings, or why there are none.
    pub reloads: mpsc::Receiver<Reload>,
}

/// New settings, checked as far as that goes without the daemon; or the reason why they are refused.
pub type Reload = Result<Box<(Config, Client)>, String>;

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// End when nothing can move any more.
    pub once: bool,
    /// Where the course of jobs is told.
    pub observer: Option<mpsc::Sender<Progress>>,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Jobs that were delivered in this run.
    pub delivered: u64,
    /// Jobs that failed in this run.
    pub failed: u64,
    /// The account or the gateway held the rest back.
    pub held_by_the_api: bool,
    /// The inbox is not there, or files cannot be written.
    pub held_by_the_disk: bool,
}

/// Why the daemon cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The folders cannot be used.
    #[error(transparent)]
    Spool(#[from] spool::OpenError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] ledger::OpenError),
    /// The inbox cannot be watched.
    #[error(transparent)]
    Intake(#[from] intake::IntakeError),
    /// What the last run left behind cannot be taken up.
    #[error("cannot take up what the last run left behind")]
    Recovery(#[source] shells::StepError),
    /// A file operation failed at the start.
    #[error(transparent)]
    File(#[from] durable::FileError),
}

/// Runs until told to stop, or with `once` until nothing can move any more.
///
/// # Errors
/// [`DaemonError`]: it could not start. Once it runs, nothing but being told ends it, and a ledger that turns out to be damaged: it
/// could neither send nor record anything any more, and trying again would mend nothing.
pub async fn run(config: Config, client: Client, options: Options, controls: Controls) -> Result<Outcome, DaemonError> {
    let mut daemon = Daemon::start(config, client, options, controls).await?;
    systemd::ready();
    tracing::info!(message_id = Message::Ready.id(), "ready");
    daemon.work().await;
    systemd::stopping();
    daemon.drain().await;
    match daemon.damage {
        Some(what) => Err(ledger::OpenError::Corrupt { path: daemon.shells.ledger_path.clone(), what }.into()),
        None => Ok(daemon.outcome),
    }
}

struct Daemon {
    config: Config,
    shells: Arc<Shells>,
    intake: Intake,
    driver: Driver,
    /// Submissions: never cut off.
    sending: JoinSet<Ended>,
    /// Everything else.
    moving: JoinSet<Ended>,
    /// Which job a task works for, so that a panic can be told.
    working: HashMap<Id, JobId>,
    /// Pairs that are being claimed, so that a panic gives them back.
    claiming: HashMap<JobId, intake::ReadyPair>,
    /// Pairs that are claimed to be rejected.
    rejecting: HashSet<JobId>,
    /// Claims that failed, whose files go back as soon as the disk lets them.
    returning: HashSet<JobId>,
    controls: Controls,
    once: bool,
    outcome: Outcome,
    today: Today,
    room: Room,
    snapshot: snapshot::Writer,
    learned: Option<Learned>,
    prune_at: Instant,
    pulse_at: Option<Instant>,
    pulsing: bool,
    shift: Shift,
    /// Whether the pause of the inbox stands for a server that does not answer.
    server_is_silent: bool,
    /// What is wrong with the ledger, if that ended the loop.
    damage: Option<String>,
}

/// What a task of ours ended with.
enum Ended {
    /// A claim that went on to its submission if it could.
    Claimed(JobId, Box<intake::ReadyPair>, Claiming, Option<Stepped>),
    /// A pair that is rejected was claimed.
    Refused(JobId, Box<intake::ReadyPair>, Claiming),
    /// A step.
    Stepped(JobId, Stepped),
    /// Bytes that are free.
    Free(Result<u64, durable::FileError>),
    /// A small write to the ledger.
    Written(Result<(), ledger::WriteError>),
    /// The ledger has answered the watchdog's question.
    Pulse(bool),
    /// Old things were removed.
    Pruned,
    /// The ledger was told, or was not, that the clock was set so far and what it said then.
    Shifted(Set, Result<(), ledger::WriteError>),
    /// Whether nothing of a claim that failed is left in `work/` any more, after so many failures before.
    Returned(JobId, u32, Result<(), StepError>),
}
