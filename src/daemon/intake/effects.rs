//! What the intake does to the file system: opening, looking, judging. Each runs on a blocking thread and hands its result
//! back to the intake's turn, which alone changes what is known.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::message::Message;
use super::IntakeError;
use super::index::{Times, ToJudge};
use super::verdict::{Bad, BadReason, Finding, WaitingReason};
use crate::config::{self, Watch as WatchMode};
use crate::job::{FileName, Folder, PairName, picture};
use crate::spool::judge::{self, JudgeError};
use crate::spool::pairing;
use crate::spool::scan::{self, Facts, Found, Identity, Inbox, Rules, ScanError};
use crate::spool::settle::{Hint, Rests};
use crate::spool::suspects::{Files, Place, Reading, Suspects};
use crate::spool::watch::{Watch, WatchError};

/// Names that a scan hands over at once.
const BATCH_NAMES: usize = 256;
/// Batches that may wait to be taken: a scan that is ahead of us waits, so its memory is bounded.
pub(super) const BATCHES_MAX: usize = 8;

/// What the intake needs of the configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The inbox; absolute.
    pub inbox: PathBuf,
    /// The folder of the jobs, where the canary lives; absolute.
    pub work: PathBuf,
    /// Key `inbox`.
    pub watching: config::Inbox,
    /// Limits of a picture.
    pub picture: picture::Limits,
}

impl Settings {
    /// The intake's part of `config`.
    pub fn of(config: &config::Config) -> Self {
        Self {
            inbox: config.folders.inbox.clone(),
            work: config.folders.work.clone(),
            watching: config.inbox.clone(),
            picture: config.picture,
        }
    }

    pub(super) fn times(&self) -> Times {
        let config::Inbox { quiet, settle, incomplete_after, orphan_after, .. } = self.watching;
        Times { rests: Rests { quiet, settle, incomplete_after }, orphan_after }
    }

    pub(super) fn rules(&self) -> Result<Rules, IntakeError> {
        Rules::new(&self.watching.ignore).map_err(|error| IntakeError::Ignore(error.to_string()))
    }
}

/// How the intake hears of changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Watching {
    /// The kernel tells.
    Events,
    /// Everything is scanned every so often.
    Polling {
        /// Why.
        why: String,
    },
}

/// A watch or the reason for polling.
pub(super) enum Hearing {
    Watch(Watch),
    /// It would be in vain to try again.
    Silent(String),
    /// It may work later.
    Failed(WatchError),
}

/// Sets the watch as the configuration wants it.
pub(super) fn listen(settings: &Settings) -> Hearing {
    let wanted = match settings.watching.watch {
        WatchMode::Poll => return Hearing::Silent("the configuration says so (inbox.watch: poll)".to_owned()),
        WatchMode::Events => true,
        WatchMode::Auto => scan::events_work(&settings.inbox).unwrap_or(true),
    };
    if !wanted {
        let why = "the inbox is on a network or user-space file system, which does not tell of changes".to_owned();
        return Hearing::Silent(why);
    }
    match Watch::start(&settings.inbox, &settings.work) {
        Ok(watch) => Hearing::Watch(watch),
        Err(error) => Hearing::Failed(error),
    }
}

/// An inbox that can be used.
pub(super) struct Opened {
    pub(super) inbox: Inbox,
    /// Whether it lies on a disk of this machine.
    pub(super) is_local: bool,
    pub(super) hearing: Hearing,
}

/// Opens the inbox and sets the watch. `work` is the folder of the jobs as it was at the start: an inbox on another device, or
/// one that lies beside another `work/`, is a bare mount point and not ours.
pub(super) fn open(settings: &Settings, work: Option<Identity>) -> Result<Opened, IntakeError> {
    let inbox = Inbox::open(&settings.inbox)?;
    if let Some(work) = work {
        let now = work_identity(settings)?;
        if !now.same_file(&work) || inbox.device() != now.device {
            let why = "what lies there is not on the disk of the work folder (not mounted?)".to_owned();
            return Err(ScanError::Unavailable { path: settings.inbox.clone(), why }.into());
        }
    }
    let hearing = listen(settings);
    let is_local = scan::events_work(&settings.inbox).unwrap_or(true);
    Ok(Opened { inbox, is_local, hearing })
}

pub(super) fn work_identity(settings: &Settings) -> Result<Identity, IntakeError> {
    match rustix::fs::stat(&settings.work) {
        Ok(stat) => Ok(Identity::of(&stat)),
        Err(errno) => Err(ScanError::Io { path: settings.work.clone(), source: errno.into() }.into()),
    }
}

/// A name to look at: what was told of it, and when.
pub(super) struct ToLook {
    pub(super) folder: Folder,
    pub(super) name: FileName,
    pub(super) hint: Option<Hint>,
    pub(super) at: Instant,
}

/// Looks at each name; `None` if it is not there, cannot be looked at, or lies in a folder that is left alone.
pub(super) fn look(inbox: &Inbox, rules: &Rules, names: Vec<ToLook>) -> Vec<(ToLook, Option<Facts>)> {
    names
        .into_iter()
        .map(|asked| {
            let passed_over = rules.passes_over(&asked.folder);
            // What cannot be looked at is told by the next full scan, as an unreadable folder.
            let facts = if passed_over { None } else { inbox.look(&asked.folder, &asked.name).unwrap_or_default() };
            (asked, facts)
        })
        .collect()
}

/// Judges a grouping's files where they lie; not if the daemon died too often over them.
pub(super) fn judge(inbox: &Inbox, suspects: &Suspects, limits: &picture::Limits, asked: &ToJudge) -> Finding {
    let rights = inbox.rights(asked.folder());
    let unreadable = |why: String| Finding::Stuck(WaitingReason::Unreadable { why });
    let open = |name| match inbox.open_file(asked.folder(), name) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(Finding::Changed),
        Err(ScanError::Io { source, .. }) => Err(unreadable(rights.refused(name, source))),
        Err(ScanError::Unavailable { .. }) => Err(Finding::Changed),
    };
    let sidecar = match open(&asked.sidecar.name) {
        Ok(file) => file,
        Err(finding) => return finding,
    };
    let picture = match asked.picture.as_ref().map(|seen| open(&seen.name)).transpose() {
        Ok(file) => file,
        Err(finding) => return finding,
    };
    let files = asked.picture.iter().chain([&asked.sidecar]);
    if let Some(why) = files.into_iter().find_map(|seen| rights.unmovable(&seen.name)) {
        return Finding::Stuck(WaitingReason::Unmovable { why });
    }
    let files = Files::new(asked.picture.as_ref().map(|seen| &seen.identity), Some(&asked.sidecar.identity));
    let path = || inbox.path_of(asked.folder(), &asked.sidecar.name);
    let shown = || PairName { folder: asked.folder().clone(), stem: pairing::stem_of(&asked.sidecar.name) };
    match suspects.read(Place::Inbox, files, path, || judge::judge(picture, sidecar, limits)) {
        Reading::Ended(Ok(judgement)) => Finding::of(&judgement, asked.picture.as_ref(), &asked.sidecar),
        Reading::Ended(Err(JudgeError::Changed { .. })) => Finding::Changed,
        Reading::Ended(Err(JudgeError::Io { file, source })) => unreadable(format!("{file}: {source}")),
        Reading::Panicked { times } => {
            tracing::error!(message_id = Message::Bug.id(), pair = %shown(), "a bug: reading {} panicked, {times} times by now", shown());
            Finding::Panicked
        }
        Reading::Refused => Finding::Bad(Bad { reason: BadReason::Poison, problems: Vec::new() }),
    }
}

/// What a scan hands over.
pub(super) enum ScanNews {
    Found(Vec<Found>),
    /// It is over, whatever came of it.
    Ended(Result<(), ScanError>),
}

/// Scans `folder` and hands over what it finds; ends early if nobody listens any more.
pub(super) fn scan(inbox: &Arc<Inbox>, rules: &Rules, folder: &Folder, news: &mpsc::Sender<ScanNews>) {
    let mut batch = Vec::new();
    let ended = inbox.scan(folder, rules, &mut |found| {
        batch.push(found);
        batch.len() < BATCH_NAMES || news.blocking_send(ScanNews::Found(std::mem::take(&mut batch))).is_ok()
    });
    // A failed send means that the intake has dropped this scan and wants to hear no more of it.
    if news.blocking_send(ScanNews::Found(batch)).is_ok() && news.blocking_send(ScanNews::Ended(ended)).is_err() {
        tracing::debug!("a scan ended unheard");
    }
}

/// A rest between polls that keeps a scan that takes long from taking all the time.
pub(super) fn poll_rest(poll: Duration, took: Duration) -> Duration {
    /// The share of the time that scanning may take: one part in this and one.
    const RESTS_PER_SCAN: u32 = 4;
    poll.max(took * RESTS_PER_SCAN)
}
