//! Starting is recovering: folders, ledger and witness are opened, and what the last run left behind is taken up.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::task::JoinSet;

use super::clock::{Clock, Moment};
use super::driver::Driver;
use super::intake::{self, Intake};
use super::recovery::{self, Leftover, Recovered};
use super::room::Room;
use super::shells::{Shells, blocking};
use super::shift::Shift;
use super::today::{self, Today};
use super::{Controls, Daemon, DaemonError, LEDGER, Options, Outcome, WINDOW_FACT, snapshot};
use crate::api::Client;
use crate::config::{self, Config, OnSuccess};
use crate::job::JobId;
use crate::job::plan::Policy;
use crate::ledger::{self, Ledger};
use crate::spool::intents::{self, Intents};
use crate::spool::suspects::Suspects;
use crate::spool::{self, Spool};
use crate::systemd;
use crate::throttle::window::Learned;

impl Daemon {
    pub(super) async fn start(
        config: Config,
        client: Client,
        options: Options,
        controls: Controls,
    ) -> Result<Self, DaemonError> {
        let settings = spool_settings(&config);
        let ledger_path = config.root.join(LEDGER);
        let opened = {
            let (settings, path, root) = (settings, ledger_path.clone(), config.root.clone());
            blocking(move || open(settings, &path, root)).await?
        };
        let Opened { spool, ledger, memory, intents: witnessed, in_work, learned, suspects, today } = opened;
        let mut sends: HashMap<JobId, u32> = memory.live.iter().map(|job| (job.id, job.sends)).collect();
        let witness = witnessed.clone().unwrap_or_default();
        let jobs_in_work = in_work.clone();
        let leftover = Leftover { live: memory.live, intents: witnessed, in_work };
        let now = Instant::now();
        let spent = memory.spending.into_iter().map(|(job, send, at)| ((job, send), at));
        let mut driver = Driver::new(&config, learned, memory.durations, spent, Clock::now());
        let spool = Arc::new(spool);
        let unwritten = Arc::new(AtomicUsize::new(0));
        let shells = Shells {
            spool,
            ledger,
            ledger_path,
            intents: Intents::closed(),
            client,
            policy: policy(&config),
            limits: config.picture,
            suspects: suspects.clone(),
            stop: controls.stop.child_token(),
            unwritten,
            started: Moment::now(),
            observer: options.observer,
        };
        let Recovered { jobs, stranded } = recovery::recover(&shells, leftover).await.map_err(DaemonError::Recovery)?;
        // The witness keeps the lines of the jobs that are still in work/, gets those that only the ledger knew of, and nothing else.
        // Only rewritten after recovery has used it: until then the old file stands.
        sends.extend(jobs.iter().map(|job| (job.id, job.sends)));
        let line = |id: JobId| Some((id, witness.get(&id).max(sends.get(&id)).copied().filter(|number| *number > 0)?));
        let kept: Vec<(JobId, u32)> = jobs_in_work.into_iter().filter_map(line).collect();
        let spool = shells.spool.clone();
        let shells = Shells { intents: blocking(move || Intents::start(spool.work(), &kept)).await?, ..shells };
        if !jobs.is_empty() {
            tracing::info!("taking up {} jobs of the last run", jobs.len());
        }
        for job in jobs {
            driver.adopt(job, now);
        }
        let intake = {
            let settings = intake::Settings::of(&config);
            blocking(move || Intake::start(settings, suspects)).await?
        };
        let mut daemon = Self {
            shells: Arc::new(shells),
            intake,
            driver,
            sending: JoinSet::new(),
            moving: JoinSet::new(),
            working: HashMap::new(),
            claiming: HashMap::new(),
            rejecting: HashSet::new(),
            returning: HashSet::new(),
            controls,
            once: options.once,
            outcome: Outcome::default(),
            today,
            room: Room::default(),
            snapshot: snapshot::Writer::default(),
            learned,
            prune_at: now,
            pulse_at: systemd::watchdog_interval().map(|_| now),
            pulsing: false,
            shift: Shift::default(),
            server_is_silent: false,
            damage: None,
            config,
        };
        // By a memory that may be damaged nothing is sent: the loop waits for what is said of the ledger.
        daemon.driver.set_may_send(false);
        for id in stranded {
            daemon.give_back(id, 1);
        }
        Ok(daemon)
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
    suspects: Suspects,
    today: Today,
}

fn open(settings: spool::Settings, ledger_path: &Path, root: PathBuf) -> Result<Opened, DaemonError> {
    let first_time = !ledger_path.exists();
    spool::make_folder_as(&root, spool::ROOT_MODE)?;
    let spool = Spool::open(settings, first_time)?;
    let (ledger, memory) = Ledger::open(ledger_path)?;
    let intents = intents::read(spool.work())?;
    let suspects = Suspects::open(spool.work(), &systemd::boot_id().unwrap_or_default());
    let in_work = spool.jobs_in_work()?;
    let reader = ledger::Reader::open(ledger_path)?;
    let learned = reader.as_ref().and_then(|reader| reader.fact(WINDOW_FACT).ok().flatten());
    let learned = learned.and_then(|text| learned_back(&text));
    let (zone, now) = (TimeZone::system(), Timestamp::now());
    // Only told to people: a start does not fail for it.
    let ended = reader.and_then(|reader| reader.finished_since(today::midnight(&zone, now)).ok()).unwrap_or_default();
    let today = Today::new(zone, now, ended);
    Ok(Opened { spool, ledger, memory, intents, in_work, learned, suspects, today })
}

fn learned_back(text: &str) -> Option<Learned> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let size = usize::try_from(value.get("size")?.as_u64()?).ok()?;
    Some(Learned { size, found: value.get("found")?.as_bool()? })
}

pub(super) fn spool_settings(config: &Config) -> spool::Settings {
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

pub(super) fn policy(config: &Config) -> Policy {
    Policy {
        extra_attempts: config.tasks.extra_attempts,
        resubmit_in_doubt: config.tasks.in_doubt == config::InDoubt::Resubmit,
        give_up_after: config.tasks.give_up_after,
    }
}
