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
//! only if the ledger is closed, which is a bug.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

mod claiming;
mod driver;
pub mod intake;
mod pause;
mod recovery;
mod shells;
mod snapshot;
mod step;

pub use shells::Progress;
pub use snapshot::{DAEMON_FACT, Paused, RELOAD_FACT, ReloadWord, Snapshot};

use crate::api::Client;
use crate::config::{self, Config, OnSuccess};
use crate::job::plan::{Policy, Step};
use crate::job::state::State;
use crate::job::{Job, JobId};
use crate::ledger::{self, Change, Ledger};
use crate::spool::intents::{self, Intents};
use crate::spool::{self, Spool, durable};
use crate::systemd;
use crate::throttle::window::Learned;
use claiming::Claiming;
use driver::{Driver, Start};
use intake::{Intake, Notice};
use pause::PauseReason;
use recovery::Leftover;
use shells::{Shells, blocking};
use step::Stepped;

/// The ledger's name below the root.
pub const LEDGER: &str = "ledger.db";

/// What is known of the account's limit, in the ledger.
const WINDOW_FACT: &str = "window";

/// Bytes that are free are asked for at most this often.
const DISK_CHECK_EVERY: Duration = Duration::from_secs(1);

/// What the daemon says of itself is written at most this often.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);

/// Old jobs, reservations and archived pairs are looked for this often.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

/// Everything but a submission ends within this time after the signal.
const DRAIN: Duration = Duration::from_secs(4);

/// Rejections of pairs that were found bad, under way at once.
const REJECTIONS_MAX: usize = 16;

/// With `--once`, so many failures in a row to reach the API end the run.
const ONCE_FAILURES_MAX: u32 = 4;

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
/// [`DaemonError`]: it could not start. Once it runs, nothing but being told ends it.
pub async fn run(config: Config, client: Client, options: Options, controls: Controls) -> Result<Outcome, DaemonError> {
    let mut daemon = Daemon::start(config, client, options, controls).await?;
    systemd::ready();
    tracing::info!("ready");
    daemon.work().await;
    systemd::stopping();
    daemon.drain().await;
    Ok(daemon.outcome)
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
    /// Pairs that are claimed to be rejected.
    rejecting: HashSet<JobId>,
    controls: Controls,
    once: bool,
    outcome: Outcome,
    disk_checked_at: Option<Instant>,
    disk_checking: bool,
    snapshot: snapshot::Writer,
    learned: Option<Learned>,
    prune_at: Instant,
    pulse_at: Option<Instant>,
    pulsing: bool,
    ledger_failed: bool,
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
}

impl Daemon {
    async fn start(config: Config, client: Client, options: Options, controls: Controls) -> Result<Self, DaemonError> {
        let settings = spool_settings(&config);
        let ledger_path = config.root.join(LEDGER);
        let opened = {
            let (settings, path, root) = (settings, ledger_path.clone(), config.root.clone());
            blocking(move || open(settings, &path, root)).await?
        };
        let Opened { spool, ledger, memory, intents: witnessed, in_work, learned } = opened;
        // The witness keeps the lines of the jobs that are still in work/, and nothing else.
        let kept: Vec<(JobId, u32)> = match &witnessed {
            Some(witnessed) => in_work.iter().filter_map(|id| Some((*id, *witnessed.get(id)?))).collect(),
            None => Vec::new(),
        };
        let leftover = Leftover { live: memory.live, intents: witnessed, in_work };
        let now = Instant::now();
        let spent = memory.spending.into_iter().map(|(job, send, at)| ((job, send), at));
        let mut driver = Driver::new(&config, learned, memory.durations, spent, now);
        let spool = Arc::new(spool);
        let intents = {
            let (spool, kept) = (spool.clone(), kept);
            // Only rewritten after recovery has used it; until then the old file stands.
            move || Intents::start(spool.work(), &kept)
        };
        let unwritten = Arc::new(AtomicUsize::new(0));
        let shells = Shells {
            spool,
            ledger,
            ledger_path,
            intents: Intents::closed(),
            client,
            policy: policy(&config),
            limits: config.picture,
            stop: controls.stop.child_token(),
            unwritten,
            observer: options.observer,
        };
        let jobs = recovery::recover(&shells, leftover).await.map_err(DaemonError::Recovery)?;
        let shells = Shells { intents: blocking(intents).await?, ..shells };
        if !jobs.is_empty() {
            tracing::info!("taking up {} jobs of the last run", jobs.len());
        }
        for job in jobs {
            driver.adopt(job, now);
        }
        let intake = {
            let settings = intake::Settings::of(&config);
            blocking(move || Intake::start(settings)).await?
        };
        Ok(Self {
            shells: Arc::new(shells),
            intake,
            driver,
            sending: JoinSet::new(),
            moving: JoinSet::new(),
            working: HashMap::new(),
            rejecting: HashSet::new(),
            controls,
            once: options.once,
            outcome: Outcome::default(),
            disk_checked_at: None,
            disk_checking: false,
            snapshot: snapshot::Writer::default(),
            learned,
            prune_at: now,
            pulse_at: systemd::watchdog_interval().map(|_| now),
            pulsing: false,
            ledger_failed: false,
            config,
        })
    }

    /// The loop, until told to stop or, with `once`, until nothing can move.
    async fn work(&mut self) {
        loop {
            let now = Instant::now();
            self.housekeep(now);
            self.start_what_can_start(now);
            if self.once && self.is_finished() {
                return;
            }
            let due = self.next_due(now);
            tokio::select! {
                () = self.controls.stop.cancelled() => return,
                Some(reload) = self.controls.reloads.recv() => self.reload(reload).await,
                Some(ended) = self.sending.join_next_with_id() => self.ended(ended),
                Some(ended) = self.moving.join_next_with_id() => self.ended(ended),
                notices = self.intake.turn() => self.noticed(notices),
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    }

    /// Ends what runs. Submissions are awaited for as long as their timeout lasts, everything else for a few seconds.
    async fn drain(&mut self) {
        tracing::info!("stopping");
        // Also when nobody cancelled it: transfers and uploads look at it.
        self.shells.stop.cancel();
        let patience = self.config.api.submit_timeout + Duration::from_secs(10);
        systemd::extend_timeout(patience);
        self.driver.stop();
        let hard = Instant::now() + DRAIN;
        loop {
            let now = Instant::now();
            self.start_moves(now);
            if self.sending.is_empty() && (self.moving.is_empty() || now >= hard) {
                break;
            }
            tokio::select! {
                Some(ended) = self.sending.join_next_with_id() => self.ended(ended),
                Some(ended) = self.moving.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep_until(hard.into()), if now < hard => {}
            }
        }
        self.moving.abort_all();
        while self.moving.join_next().await.is_some() {}
        self.say_goodbye().await;
    }

    async fn say_goodbye(&mut self) {
        let mut changes = vec![self.snapshot.last(&self.driver, &self.intake)];
        changes.extend(self.learned_change());
        if let Err(error) = self.shells.ledger.write(changes).await {
            tracing::warn!("cannot write the last word to the ledger: {error}");
        }
        tracing::info!("stopped: {} delivered, {} failed", self.outcome.delivered, self.outcome.failed);
    }

    fn start_what_can_start(&mut self, now: Instant) {
        self.start_rejections();
        let pairs = self.intake.ready() > 0;
        if self.driver.wants_to_submit(pairs, now) && !self.has_room(now) {
            // The answer wakes the loop.
            self.check_disk();
        }
        loop {
            let can_claim = self.disk_checked_at.is_some() && self.intake.ready() > 0;
            let Some(start) = self.driver.next(can_claim, now) else { break };
            self.begin(start);
        }
    }

    /// While draining: only what gives files back.
    fn start_moves(&mut self, now: Instant) {
        while let Some(start) = self.driver.next(false, now) {
            self.begin(start);
        }
    }

    fn begin(&mut self, start: Start) {
        let shells = self.shells.clone();
        match start {
            Start::Claim(id) => {
                let Some(pair) = self.intake.take() else {
                    self.driver.claim_failed(id);
                    return;
                };
                let handle = self.sending.spawn(async move {
                    let claiming = claiming::claim(shells.clone(), id, pair.clone()).await;
                    match claiming {
                        // The submission follows at once, without a turn of the loop.
                        Claiming::Job(job)
                            if matches!(job.state, State::Queued { .. }) && !shells.stop.is_cancelled() =>
                        {
                            let stepped = step::run(shells, (*job).clone(), Step::Submit, None).await;
                            Ended::Claimed(id, Box::new(pair), Claiming::Job(job), Some(stepped))
                        }
                        claiming @ (Claiming::Job(_) | Claiming::Changed | Claiming::Failed(..)) => {
                            Ended::Claimed(id, Box::new(pair), claiming, None)
                        }
                    }
                });
                self.working.insert(handle.id(), id);
            }
            Start::Step(job, step, part) => {
                let id = job.id;
                let set = if step == Step::Submit { &mut self.sending } else { &mut self.moving };
                let handle = set.spawn(async move { Ended::Stepped(id, step::run(shells, *job, step, part).await) });
                self.working.insert(handle.id(), id);
            }
            Start::Release(job) => {
                let id = job.id;
                let handle = self.moving.spawn(async move { Ended::Stepped(id, step::release(shells, *job).await) });
                self.working.insert(handle.id(), id);
            }
        }
    }

    /// Pairs that were found bad need no slot of the account.
    fn start_rejections(&mut self) {
        let blocked = [PauseReason::DiskFull, PauseReason::ReadOnly, PauseReason::LedgerUnwritable]
            .into_iter()
            .any(|reason| self.driver.pauses.has(reason));
        while !blocked && self.rejecting.len() < REJECTIONS_MAX {
            let Some(pair) = self.intake.take_bad() else { break };
            let shells = self.shells.clone();
            let id = JobId::from_uuid(uuid::Uuid::now_v7());
            self.rejecting.insert(id);
            let handle = self.moving.spawn(async move {
                let claiming = claiming::claim(shells, id, pair.clone()).await;
                Ended::Refused(id, Box::new(pair), claiming)
            });
            self.working.insert(handle.id(), id);
        }
    }

    fn ended(&mut self, ended: Result<(Id, Ended), tokio::task::JoinError>) {
        let now = Instant::now();
        let (task, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                if let Some(id) = self.working.remove(&error.id())
                    && error.is_panic()
                {
                    tracing::error!(job_id = %id, "a bug: a step panicked; its job goes on at the next start");
                    self.driver.lost(id, now);
                    self.rejecting.remove(&id);
                }
                return;
            }
        };
        self.working.remove(&task);
        match ended {
            Ended::Claimed(id, pair, claiming, stepped) => self.claimed(id, &pair, claiming, stepped, now),
            Ended::Refused(id, pair, claiming) => {
                self.rejecting.remove(&id);
                self.intake.claim_ended(&pair, matches!(claiming, Claiming::Job(_)));
                match claiming {
                    Claiming::Job(job) => self.driver.adopt(*job, now),
                    Claiming::Changed => {}
                    Claiming::Failed(trouble, message) => self.claim_trouble(trouble, message, now),
                }
            }
            Ended::Stepped(id, stepped) => {
                let failures = self.driver.failures(id);
                self.count_outcome(stepped.job.as_ref());
                self.driver.absorb(id, stepped, failures, now);
            }
            Ended::Free(free) => {
                self.disk_checking = false;
                self.disk_checked_at = Some(now);
                match free {
                    Ok(bytes) if bytes < self.config.min_free_bytes => {
                        let wanted = config::units::show_size(self.config.min_free_bytes);
                        let found = config::units::show_size(bytes);
                        self.driver.room(Some(format!("{found} are free where videos go, min_free is {wanted}")));
                    }
                    Ok(_) => self.driver.room(None),
                    Err(error) => self.driver.disk_trouble(error.trouble(), claiming::chain(&error), now),
                }
            }
            Ended::Written(result) => {
                self.snapshot.written(now);
                self.ledger_failed = result.is_err();
                if let Err(error) = result {
                    tracing::debug!("cannot write what the daemon says of itself: {error}");
                }
            }
            Ended::Pulse(alive) => {
                self.pulsing = false;
                if alive {
                    systemd::watchdog();
                }
            }
            Ended::Pruned => {}
        }
    }

    fn claimed(
        &mut self,
        id: JobId,
        pair: &intake::ReadyPair,
        claiming: Claiming,
        stepped: Option<Stepped>,
        now: Instant,
    ) {
        self.intake.claim_ended(pair, matches!(claiming, Claiming::Job(_)));
        match (claiming, stepped) {
            (Claiming::Job(_), Some(stepped)) => {
                self.driver.disk_works();
                self.count_outcome(stepped.job.as_ref());
                self.driver.absorb(id, stepped, 0, now);
            }
            (Claiming::Job(job), None) => {
                self.driver.claim_failed(id);
                self.driver.adopt(*job, now);
                if self.shells.stop.is_cancelled() {
                    self.driver.stop();
                }
            }
            (Claiming::Changed, _) => self.driver.claim_failed(id),
            (Claiming::Failed(trouble, message), _) => {
                self.driver.claim_failed(id);
                self.claim_trouble(trouble, message, now);
            }
        }
    }

    fn claim_trouble(&mut self, trouble: Option<durable::Trouble>, message: String, now: Instant) {
        match trouble {
            Some(trouble) => self.driver.disk_trouble(trouble, message, now),
            None => tracing::error!("a pair could not be claimed and stays in the inbox: {message}"),
        }
    }

    fn count_outcome(&mut self, job: Option<&Job>) {
        match job.map(|job| &job.state) {
            Some(State::Delivered { .. }) => self.outcome.delivered += 1,
            Some(State::Failed { .. }) => self.outcome.failed += 1,
            Some(
                State::Queued { .. }
                | State::Submitting
                | State::Submitted { .. }
                | State::Ready { .. }
                | State::Fetched { .. }
                | State::InDoubt { .. }
                | State::Failing { .. },
            )
            | None => {}
        }
    }

    fn noticed(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::PairReady | Notice::Changed => {}
                Notice::InboxUnavailable { why } => {
                    self.driver.pauses.raise(PauseReason::InboxUnavailable, why, None);
                }
                Notice::InboxBack => self.driver.pauses.lift(PauseReason::InboxUnavailable),
                Notice::Watching(intake::Watching::Events) => tracing::debug!("the inbox is watched by events"),
                Notice::Watching(intake::Watching::Polling { why }) => {
                    tracing::warn!("the inbox is scanned every {:?}: {why}", self.config.inbox.poll);
                }
                Notice::ScanDone { files, ignored, took } => {
                    tracing::debug!("scanned the inbox in {took:?}: {files} files, {ignored} ignored");
                }
            }
        }
    }

    async fn reload(&mut self, reload: Reload) {
        systemd::reloading();
        let word = match reload {
            Ok(new) => self.take_settings(*new),
            Err(message) => Err(message),
        };
        match &word {
            Ok(()) => tracing::info!("reloaded the configuration"),
            Err(message) => tracing::error!("the new configuration is refused, the old one stays: {message}"),
        }
        let change = self.snapshot.reload_word(word);
        if let Err(error) = self.shells.ledger.write(vec![change]).await {
            tracing::warn!("cannot write the word about the reload: {error}");
        }
        systemd::ready();
    }

    fn take_settings(&mut self, (mut new, client): (Config, Client)) -> Result<(), String> {
        for key in config::changes_needing_restart(&self.config, &new) {
            tracing::warn!("{key} cannot change while the daemon runs; restart it for that");
        }
        new.root = self.config.root.clone();
        new.folders = self.config.folders.clone();
        new.inbox.watch = self.config.inbox.watch;
        self.intake.reload(intake::Settings::of(&new)).map_err(|error| error.to_string())?;
        let now = Instant::now();
        self.driver.reload(&new, now);
        let old = &self.shells;
        self.shells = Arc::new(Shells {
            spool: Arc::new(old.spool.with_settings(spool_settings(&new))),
            ledger: old.ledger.clone(),
            ledger_path: old.ledger_path.clone(),
            intents: old.intents.clone(),
            client,
            policy: policy(&new),
            limits: new.picture,
            stop: old.stop.clone(),
            unwritten: old.unwritten.clone(),
            observer: old.observer.clone(),
        });
        self.disk_checked_at = None;
        self.config = new;
        Ok(())
    }

    /// What falls due by time alone.
    fn housekeep(&mut self, now: Instant) {
        if self.shells.unwritten.load(Ordering::SeqCst) > 0 {
            self.driver.pauses.raise(PauseReason::LedgerUnwritable, "the ledger cannot be written".to_owned(), None);
        } else {
            self.driver.pauses.lift(PauseReason::LedgerUnwritable);
        }
        if (self.driver.pauses.has(PauseReason::DiskFull) || self.driver.pauses.has(PauseReason::ReadOnly))
            && self.disk_checked_at.is_none_or(|at| now.duration_since(at) >= DISK_CHECK_EVERY)
        {
            self.check_disk();
        }
        if let Some(change) = self.snapshot.due(&self.driver, &self.intake, now) {
            let mut changes = vec![change];
            changes.extend(self.learned_change());
            let ledger = self.shells.ledger.clone();
            self.moving.spawn(async move { Ended::Written(ledger.write(changes).await) });
            systemd::status(&self.snapshot.status_line(&self.outcome));
        }
        if self.prune_at <= now {
            self.prune_at = now + PRUNE_EVERY;
            self.prune();
        }
        if self.pulse_at.is_some_and(|at| at <= now)
            && let Some(interval) = systemd::watchdog_interval()
        {
            self.pulse_at = Some(now + interval);
            if !self.pulsing {
                self.pulsing = true;
                let ledger = self.shells.ledger.clone();
                self.moving.spawn(async move { Ended::Pulse(ledger.write(Vec::new()).await.is_ok()) });
            }
        }
    }

    fn learned_change(&mut self) -> Option<Change> {
        let learned = self.driver.window.learned();
        if self.learned == Some(learned) {
            return None;
        }
        self.learned = Some(learned);
        let value = serde_json::json!({ "size": learned.size, "found": learned.found }).to_string();
        Some(Change::Remember { name: WINDOW_FACT, value })
    }

    fn prune(&mut self) {
        let jobs_before = self.config.keep.ledger.and_then(|kept| jiff::Timestamp::now().checked_sub(kept).ok());
        let spending_before = jiff::Timestamp::now() - ledger::SPENDING_KEPT;
        let (shells, kept) = (self.shells.clone(), self.config.keep.archive);
        self.moving.spawn(async move {
            if let Err(error) = shells.ledger.write(vec![Change::Prune { jobs_before, spending_before }]).await {
                tracing::warn!("cannot forget old jobs: {error}");
            }
            if let Some(kept) = kept {
                let spool = shells.spool.clone();
                match blocking(move || spool.prune_archive(kept)).await {
                    Ok(0) => {}
                    Ok(files) => {
                        tracing::info!("removed {files} files from the archive that were older than keep.archive")
                    }
                    Err(error) => {
                        tracing::warn!("cannot remove old files from the archive: {}", claiming::chain(&error))
                    }
                }
            }
            Ended::Pruned
        });
    }

    fn has_room(&self, now: Instant) -> bool {
        self.disk_checked_at.is_some_and(|at| now.duration_since(at) < DISK_CHECK_EVERY)
    }

    fn check_disk(&mut self) {
        if self.disk_checking {
            return;
        }
        self.disk_checking = true;
        let outbox: PathBuf = self.config.folders.outbox.clone();
        self.moving.spawn(async move { Ended::Free(blocking(move || durable::free_bytes(&outbox)).await) });
    }

    fn next_due(&mut self, now: Instant) -> Instant {
        let pairs = self.intake.ready() > 0;
        let held = self.driver.pauses.has(PauseReason::DiskFull)
            || self.driver.pauses.has(PauseReason::ReadOnly)
            || self.driver.pauses.has(PauseReason::LedgerUnwritable);
        [
            self.driver.next_due(pairs, now),
            self.snapshot.next_due(&self.driver, &self.intake),
            self.pulse_at,
            held.then(|| now + DISK_CHECK_EVERY),
            Some(self.prune_at),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now + PRUNE_EVERY)
    }

    /// With `once`: whether nothing can move any more.
    fn is_finished(&mut self) -> bool {
        let busy = !self.sending.is_empty() || !self.rejecting.is_empty();
        if busy || !self.intake.scanned() {
            return false;
        }
        let load = self.driver.load();
        let pauses = &self.driver.pauses;
        let refused = pauses.has(PauseReason::Account)
            || (pauses.has(PauseReason::Gateway) && pauses.failures(PauseReason::Gateway) >= ONCE_FAILURES_MAX);
        if refused && self.driver.is_held_by_the_api() {
            self.outcome.held_by_the_api = true;
            return true;
        }
        let spent = pauses.has(PauseReason::Budget);
        let nothing_to_claim = self.intake.idle() || (spent && self.intake.settled());
        load.jobs == 0 && load.running == 0 && nothing_to_claim
    }
}

/// What is opened before anything else.
struct Opened {
    spool: Spool,
    ledger: Ledger,
    memory: ledger::Memory,
    intents: Option<HashMap<JobId, u32>>,
    in_work: Vec<JobId>,
    learned: Option<Learned>,
}

fn open(settings: spool::Settings, ledger_path: &std::path::Path, root: PathBuf) -> Result<Opened, DaemonError> {
    let first_time = !ledger_path.exists();
    spool::make_folder(&root)?;
    let spool = Spool::open(settings, first_time)?;
    let (ledger, memory) = Ledger::open(ledger_path)?;
    let intents = intents::read(spool.work())?;
    let in_work = spool.jobs_in_work()?;
    let learned = ledger::Reader::open(ledger_path)?.and_then(|reader| reader.fact(WINDOW_FACT).ok().flatten());
    Ok(Opened { spool, ledger, memory, intents, in_work, learned: learned.and_then(|text| learned_back(&text)) })
}

fn learned_back(text: &str) -> Option<Learned> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let size = usize::try_from(value.get("size")?.as_u64()?).ok()?;
    Some(Learned { size, found: value.get("found")?.as_bool()? })
}

fn spool_settings(config: &Config) -> spool::Settings {
    spool::Settings {
        inbox: config.folders.inbox.clone(),
        work: config.folders.work.clone(),
        outbox: config.folders.outbox.clone(),
        error: config.folders.error.clone(),
        archive: config.folders.archive.clone(),
        receipt: config.receipt,
        delete_on_success: config.on_success == OnSuccess::Delete,
    }
}

fn policy(config: &Config) -> Policy {
    Policy {
        extra_attempts: config.tasks.extra_attempts,
        resubmit_in_doubt: config.tasks.in_doubt == config::InDoubt::Resubmit,
        give_up_after: config.tasks.give_up_after,
    }
}
