//! `jimengd status`: what waits, runs and failed, and why.
//!
//! Reads the ledger, in which the daemon says how it is, and looks at the inbox itself. So it works while the daemon is down,
//! and then tells the daemon's last word. Nothing is written and nobody is asked over the network.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::run::api_settings;
use super::{ConfigArgs, ExitCode, Failure, environment, print};
use crate::api::Client;
use crate::config::{self, Config};
use crate::daemon::intake::{self, Waiting, WaitingReason};
use crate::daemon::{DAEMON_FACT, LEDGER, PauseReason, Paused, Snapshot};
use crate::job::{Account, Job, Reason, State};
use crate::ledger::{self, OpenError, Reader};
use crate::spool::{Spool, durable};

mod page;
mod rights;

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// With less room than this, a commit to the ledger may fail.
const COMMIT_BYTES: u64 = 64 << 10;

/// Jobs that failed and are told of.
const FAILED_MAX: usize = 5;

/// What `--help` says first.
pub(super) const LONG_ABOUT: &str = "Tell what waits, runs and failed, and why. Works while the daemon is down.\n\n\
     Exit codes: 0; 69 the daemon is paused, or was when it was last heard of; 74 the ledger cannot be read; 78 the \
     configuration is wrong.";

/// Arguments of `jimengd status`.
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print JSON: schema, running, paused, limit, in_flight, waiting, jobs, counts
    #[arg(long)]
    pub json: bool,
}

/// Prints how things are.
///
/// # Errors
/// The configuration is wrong, or the ledger or the lock cannot be read.
pub fn run(args: &Status) -> Result<ExitCode, Failure> {
    let config = args.config.load().map_err(|error| Failure::new(ExitCode::Config, error))?.config;
    let view = View::take(&config)?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(&view).map_err(|error| Failure::new(ExitCode::Software, error))?;
        json + "\n"
    } else {
        page::page(&view, &config.folders.inbox, &config.folders.error, Timestamp::now())
    };
    print(&text)?;
    Ok(if view.paused.is_empty() { ExitCode::Ok } else { ExitCode::Unavailable })
}

/// How things are, as `--json` tells it. The keys are relied upon by outside tools.
#[derive(Debug, Serialize)]
struct View {
    schema: u32,
    running: bool,
    /// The process that runs.
    pid: Option<u32>,
    /// The version of the daemon that spoke last.
    version: Option<String>,
    /// Whether there is a ledger: there is none before the first start.
    ledger: bool,
    paused: Vec<Paused>,
    limit: usize,
    in_flight: usize,
    /// Why the inbox is polled, if it is.
    polling: Option<String>,
    /// Why the inbox cannot be looked at, if that is so.
    inbox_error: Option<String>,
    waiting: Vec<WaitingView>,
    jobs: Vec<JobView>,
    /// What failed last, the newest first; not all of it.
    failed: Vec<JobView>,
    counts: Counts,
}

/// Something in the inbox that is not moving.
#[derive(Debug, Serialize)]
struct WaitingView {
    pair: String,
    reason: &'static str,
    /// The candidates, the rule, or what the system said.
    detail: Option<String>,
    since: Timestamp,
}

/// A job that is not final.
#[derive(Debug, Serialize)]
struct JobView {
    job: String,
    pair: String,
    state: &'static str,
    reason: Option<String>,
    /// What else there is to say about it.
    detail: Option<String>,
    task_id: Option<String>,
    attempts: u32,
    since: Timestamp,
}

/// How many there are of each. `waiting` leaves out what is ignored; the rest counts what the ledger remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
struct Counts {
    waiting: u64,
    queued: u64,
    submitting: u64,
    submitted: u64,
    ready: u64,
    delivered: u64,
    failed: u64,
    in_doubt: u64,
}

/// What the ledger says.
#[derive(Default)]
struct Remembered {
    snapshot: Option<Snapshot>,
    live: Vec<Job>,
    failed: Vec<Job>,
    counts: ledger::Counts,
}

/// `work/` and the ledger are the daemon's own: who may not read them is told how to ask.
fn own_rights(failure: Failure) -> Failure {
    let forbidden = failure.error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
    });
    if !forbidden {
        return failure;
    }
    let advice = "the daemon's memory is its own; ask with its rights: sudo -u jimengd jimengd status";
    Failure { error: failure.error.context(advice), ..failure }
}

impl View {
    fn take(config: &Config) -> Result<Self, Failure> {
        let running = is_running(&config.folders.work).map_err(own_rights)?;
        let path = config.root.join(LEDGER);
        let remembered =
            match Reader::open(&path).map_err(|error| Failure::new(ExitCode::Io, error))? {
                Some(reader) => Some(Remembered::read(&reader).map_err(|source| {
                    Failure::new(ExitCode::Io, OpenError::Unreadable { path: path.clone(), source })
                })?),
                None => None,
            };
        let pid = remembered.as_ref().and_then(|said| said.snapshot.as_ref()).filter(|_| running).map(|said| said.pid);
        let survey = || intake::survey(&intake::Settings::of(config));
        let (waiting, inbox_error) = match rights::as_daemon(&config.folders.work, pid, survey) {
            Ok(waiting) => (waiting, None),
            Err(error) => (Vec::new(), Some(format!("{:#}", anyhow::Error::from(error)))),
        };
        let mut view = Self::of(config, running, remembered, waiting, inbox_error);
        if running {
            view.paused.extend(full_ledger(&path, &view.paused));
        }
        Ok(view)
    }

    fn of(
        config: &Config,
        running: bool,
        remembered: Option<Remembered>,
        waiting: Vec<Waiting>,
        inbox_error: Option<String>,
    ) -> Self {
        let ledger = remembered.is_some();
        let Remembered { snapshot, live, failed, counts } = remembered.unwrap_or_default();
        let said = snapshot.clone().unwrap_or_default();
        let is_paused = !said.paused.is_empty();
        let waiting: Vec<WaitingView> = waiting.into_iter().map(|one| WaitingView::of(one, is_paused)).collect();
        let account = account(config, &live);
        let now = Timestamp::now();
        let views = |jobs: &[Job]| -> Vec<JobView> {
            let view = |job| JobView::of(job, is_paused, &config.api.base_url, account.as_ref(), now);
            jobs.iter().map(view).collect()
        };
        let (jobs, failed) = (views(&live), views(&failed));
        // What the daemon said last is of no use once it is gone; the tasks are still there.
        let in_flight = if running { said.in_flight } else { live.iter().filter(|job| is_in_flight(job)).count() };
        let counts = Counts::of(&counts, &waiting);
        Self {
            schema: SCHEMA,
            running,
            pid: snapshot.as_ref().filter(|_| running).map(|said| said.pid),
            version: snapshot.map(|said| said.version),
            ledger,
            paused: said.paused,
            limit: said.limit,
            in_flight,
            polling: said.polling.filter(|_| running),
            inbox_error,
            waiting,
            jobs,
            failed,
            counts,
        }
    }
}

impl Remembered {
    fn read(reader: &Reader) -> rusqlite::Result<Self> {
        // What cannot be read was said by a version that says it in other words.
        let snapshot = reader.fact(DAEMON_FACT)?.and_then(|text| serde_json::from_str(&text).ok());
        Ok(Self { snapshot, live: reader.live()?, failed: reader.failed(FAILED_MAX)?, counts: reader.counts()? })
    }
}

impl WaitingView {
    fn of(waiting: Waiting, is_paused: bool) -> Self {
        let reason = match waiting.reason {
            WaitingReason::Turn if is_paused => WaitingReason::Paused,
            reason => reason,
        };
        Self { pair: waiting.pair.to_string(), reason: reason.label(), detail: reason.detail(), since: waiting.since }
    }

    fn is_ignored(&self) -> bool {
        self.reason == "ignored"
    }
}

impl JobView {
    fn of(job: &Job, is_paused: bool, base_url: &str, account: Option<&Account>, now: Timestamp) -> Self {
        let ahead = |at: &Option<Timestamp>| at.filter(|at| *at > now);
        let (reason, detail) = match &job.state {
            State::Queued { .. } if is_paused => (Some("paused".to_owned()), None),
            State::Queued { not_before } => {
                (None, ahead(not_before).map(|at| format!("sent again at {}", super::table::instant(at))))
            }
            State::Submitted { task, ask_at, .. } => match ahead(ask_at) {
                Some(at) => {
                    let changed =
                        task.account.base_url != base_url || account.is_some_and(|account| *account != task.account);
                    let reason = changed.then(|| "account_changed".to_owned());
                    (reason, Some(format!("asked for again at {}", super::table::instant(at))))
                }
                None => (None, None),
            },
            State::InDoubt { doubt } => (Some(Reason::InDoubt.label().into_owned()), Some(doubt.to_string())),
            State::Failing { failure, .. } | State::Failed { failure } => {
                (Some(failure.reason.label().into_owned()), Some(failure.message.clone()))
            }
            State::Fetched { .. } => (None, Some("fetched, to be published".to_owned())),
            State::Submitting | State::Ready { .. } | State::Delivered { .. } => (None, None),
        };
        Self {
            job: job.id.to_string(),
            pair: job.pair.to_string(),
            state: told(&job.state),
            reason,
            detail,
            task_id: job.state.task().map(|task| task.task_id.as_str().to_owned()),
            attempts: job.attempts,
            since: job.since,
        }
    }
}

impl Counts {
    fn of(counted: &ledger::Counts, waiting: &[WaitingView]) -> Self {
        let count = |labels: &[&str]| labels.iter().filter_map(|label| counted.get(*label)).sum();
        Self {
            waiting: waiting.iter().filter(|one| !one.is_ignored()).count().try_into().unwrap_or(u64::MAX),
            queued: count(&["queued"]),
            submitting: count(&["submitting"]),
            submitted: count(&["submitted"]),
            ready: count(&["ready", "fetched"]),
            delivered: count(&["delivered"]),
            failed: count(&["failing", "failed"]),
            in_doubt: count(&["in_doubt"]),
        }
    }
}

/// The state's word outside: the two that only say how far our own files are moved are told as what they come from.
fn told(state: &State) -> &'static str {
    match state {
        State::Fetched { .. } => "ready",
        State::Failing { .. } => "failed",
        State::Queued { .. }
        | State::Submitting
        | State::Submitted { .. }
        | State::Ready { .. }
        | State::Delivered { .. }
        | State::InDoubt { .. }
        | State::Failed { .. } => state.label(),
    }
}

/// The pause that a running daemon cannot tell of: what it says of itself lies in the ledger, and that is on a full disk.
fn full_ledger(ledger: &Path, paused: &[Paused]) -> Option<Paused> {
    let reason = PauseReason::LedgerUnwritable;
    let is_full = durable::free_bytes(ledger).is_ok_and(|free| free < COMMIT_BYTES);
    (is_full && paused.iter().all(|pause| pause.reason != reason.label())).then(|| Paused {
        reason: reason.label().to_owned(),
        message: format!("the disk that {} is on is full, so the daemon may write nothing down", ledger.display()),
        since: last_written(ledger).unwrap_or_else(Timestamp::now),
        until: None,
        advice: reason.advice().to_owned(),
    })
}

/// When the daemon last wrote to the ledger: since then at most it cannot.
fn last_written(ledger: &Path) -> Option<Timestamp> {
    let mut log = ledger.as_os_str().to_owned();
    log.push("-wal");
    let written = |path: &Path| std::fs::metadata(path).and_then(|facts| facts.modified()).ok();
    let last = written(Path::new(&log)).into_iter().chain(written(ledger)).max()?;
    Timestamp::try_from(last).ok()
}

fn is_in_flight(job: &Job) -> bool {
    match &job.state {
        State::Submitting | State::Submitted { finish: None, .. } | State::InDoubt { .. } => true,
        State::Queued { .. }
        | State::Submitted { finish: Some(_), .. }
        | State::Ready { .. }
        | State::Fetched { .. }
        | State::Delivered { .. }
        | State::Failing { .. }
        | State::Failed { .. } => false,
    }
}

fn is_running(work: &Path) -> Result<bool, Failure> {
    match Spool::is_locked(work) {
        Ok(locked) => Ok(locked),
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::new(ExitCode::Io, error)),
    }
}

/// The account that the daemon would use now, if a job may wait because it is another one; `None` if that cannot be told, as
/// where the token is a credential of the service alone.
fn account(config: &Config, live: &[Job]) -> Option<Account> {
    let may_matter = live.iter().any(|job| matches!(job.state, State::Submitted { ask_at: Some(_), .. }));
    let token = may_matter.then(|| config::token(config, environment()).ok()).flatten()?;
    Client::new(api_settings(config, token.secret)).ok().map(|client| client.account())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use crate::job::{FileName, Folder, PairName};

    fn waiting(name: &[u8], reason: WaitingReason) -> Waiting {
        let stem = FileName::new(name).expect("a test's name is a name");
        Waiting { pair: PairName { folder: Folder::root(), stem }, reason, since: Timestamp::UNIX_EPOCH }
    }

    fn view(paused: Vec<Paused>, waiting: Vec<Waiting>) -> View {
        let config = config::load(None, std::iter::empty(), &Overrides::default()).expect("the built-in file").config;
        let snapshot = Snapshot { paused, limit: 3, ..Snapshot::default() };
        let counts = [("fetched", 2), ("ready", 1), ("failing", 1), ("failed", 4), ("in_doubt", 1)];
        let counts = counts.into_iter().map(|(label, count)| (label.to_owned(), count)).collect();
        let remembered = Remembered { snapshot: Some(snapshot), live: Vec::new(), failed: Vec::new(), counts };
        View::of(&config, false, Some(remembered), waiting, None)
    }

    fn paused() -> Vec<Paused> {
        vec![Paused {
            reason: "account".to_owned(),
            message: "no money".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
            advice: "pay".to_owned(),
        }]
    }

    #[test]
    fn states_of_our_own_moves_are_counted_as_what_they_come_from() {
        let ignored = WaitingReason::Ignored { rule: ".*".to_owned() };
        let view = view(Vec::new(), vec![waiting(b"a", WaitingReason::Turn), waiting(b".b", ignored)]);
        assert_eq!((view.counts.ready, view.counts.failed, view.counts.in_doubt), (3, 5, 1));
        assert_eq!(view.counts.waiting, 1, "what is ignored does not wait for anything");
        assert_eq!(view.waiting[1].detail.as_deref(), Some(".*"));
    }

    #[test]
    fn a_full_disk_is_told_for_the_daemon_that_cannot_tell_it() {
        // A file system without any room for bytes.
        let full = Path::new("/proc/version");
        let pause = full_ledger(full, &[]).expect("there is no room");
        assert_eq!(pause.reason, "ledger_unwritable");
        assert_eq!(full_ledger(full, &[pause]), None, "it was told already");
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(full_ledger(folder.path(), &paused()), None, "there is room");
    }

    #[test]
    fn only_complete_pairs_wait_for_a_pause_to_end() {
        let reasons = || vec![waiting(b"a", WaitingReason::Turn), waiting(b"b", WaitingReason::Half { hint: None })];
        let labels = |view: View| view.waiting.iter().map(|one| one.reason).collect::<Vec<_>>();
        assert_eq!(labels(view(Vec::new(), reasons())), ["turn", "half"]);
        assert_eq!(labels(view(paused(), reasons())), ["paused", "half"]);
    }

    #[test]
    fn the_page_names_the_pause_and_limits_long_lists() {
        let many = (0..page::LISTED_MAX + 5).map(|n| waiting(format!("cat{n:03}").as_bytes(), WaitingReason::Turn));
        let odd = waiting(b"caf\xe9", WaitingReason::Half { hint: None });
        let view = view(paused(), many.chain([odd]).collect());
        let page = page::page(&view, Path::new("/in"), Path::new("/bad"), Timestamp::UNIX_EPOCH);
        for part in ["PAUSED (account)", "no money", "pay", "and 5 more", "caf\\xE9", "not running"] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
