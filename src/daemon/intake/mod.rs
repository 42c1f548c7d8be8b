//! The intake: from names in the inbox to pairs that may be claimed, in the order in which they are.
//!
//! One loop owns it and calls [`Intake::turn`], which may be dropped at any await without losing anything: what is known
//! changes only between awaits, and every touch of the file system runs on a blocking thread whose result waits to be taken.
//!
//! Events are hints, the scan is the truth: both end in the same look at one name. The kernel's events are heard by
//! [`watch`](crate::spool::watch), what is known is kept in [`index`], whose turn it is in [`order`]. When the inbox vanishes or
//! is replaced nothing is offered until the same disk is back. Reports: pairs that are ready, the inbox's absence, how changes
//! are heard, and the end of each scan.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};

use crate::job::{FileName, Folder, PairName};
use crate::spool::claim::Refusal;
use crate::spool::scan::{Facts, Identity, Inbox, Rules, ScanError};
use crate::spool::settle::Hint;
use crate::spool::suspects::Suspects;
use crate::spool::watch::{Hints, Watch};

mod beside;
mod effects;
mod group;
mod index;
mod news;
mod order;
mod survey;
mod turn;
mod verdict;

pub use effects::{Settings, Watching};
pub use group::Counts;
pub use survey::survey;
pub use verdict::{Bad, BadReason, FileSeen, PairVerdict, ReadyPair, WaitingReason};

use effects::{Hearing, Opened, ScanNews, ToLook};
use index::{Index, ToJudge};
use verdict::Finding;

/// Judgements at once: reading is bound by the disk, so more would only make each slower.
const JUDGEMENTS_MAX: usize = 3;
/// Names looked at in one go, so that a flood does not keep a fresh name waiting.
const LOOKS_MAX: usize = 1_024;
/// Names that wait to be looked at; more, and everything is scanned instead.
const LOOKS_PENDING_MAX: usize = 65_536;
/// Between two songs of the canary.
const CANARY_EVERY: Duration = Duration::from_secs(30);
/// How long the canary's event may take before the watch is taken for dead.
const CANARY_PATIENCE: Duration = Duration::from_secs(10);
/// Until a watch that failed is tried again.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(300);
/// Until a new folder is gone through once more: the kernel watches it only some time after it told of it.
const FRESH_FOLDER_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// New folders gone through one by one; more, and everything is scanned.
const FOLDERS_MAX: usize = 1_024;
/// Far enough ahead to mean that nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// Why there is no intake.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// `inbox.ignore` holds something that is no glob.
    #[error("inbox.ignore: {0}")]
    Ignore(String),
    /// The inbox, or the work folder beside it, cannot be used.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// What the intake tells its owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// At least one more pair waits for its turn or for its rejection.
    PairReady,
    /// [`Intake::waiting`] or [`Intake::idle`] say something else than when last told.
    Changed,
    /// Nothing is known of the inbox any more, and nothing is offered.
    InboxUnavailable {
        /// Why.
        why: String,
    },
    /// The inbox is there again and is being scanned.
    InboxBack,
    /// Changes are heard of in this way from now on.
    Watching(Watching),
    /// A full scan is over.
    ScanDone {
        /// Files with a picture's or a sidecar's name.
        files: usize,
        /// Names that were left alone.
        ignored: usize,
        /// How long it took.
        took: Duration,
    },
}

/// Something in the inbox that is not moving, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The pair, or the file where it makes no pair.
    pub pair: PairName,
    /// Why.
    pub reason: WaitingReason,
    /// Since when.
    pub since: Timestamp,
}

/// What a blocking thread has done.
enum Done {
    Looked(Vec<(ToLook, Option<Facts>)>),
    Judged(Finding),
    Scanned,
    CanaryTouched(bool),
    Listening(Hearing),
    Opened(Box<Result<Opened, IntakeError>>),
}

/// What a blocking thread was asked to do.
enum Job {
    Look,
    Judge(Box<ToJudge>),
    Scan,
    TouchCanary,
    Listen,
    Open,
}

/// Something that a blocking thread is at.
struct Asked {
    /// The opening of the inbox that it belongs to.
    epoch: u64,
    job: Job,
    /// When it was asked for, or was last heard of.
    heard_at: Instant,
}

/// A scan under way.
struct Scan {
    news: mpsc::Receiver<ScanNews>,
    full: bool,
    started: Instant,
    files: usize,
    ignored: usize,
    unreadable: BTreeMap<PairName, Unreadable>,
}

/// When a new folder is gone through.
#[derive(Clone, Copy)]
struct Visit {
    at: Instant,
    /// Whether it is the second time.
    last: bool,
}

/// A folder that cannot be read.
#[derive(Clone)]
struct Unreadable {
    why: String,
    since: Instant,
}

/// The canary: when it sings next, and since when its song is awaited.
struct Canary {
    next: Instant,
    awaited: Option<Instant>,
}

/// The inbox, watched. See the module.
pub struct Intake {
    settings: Settings,
    suspects: Suspects,
    rules: Arc<Rules>,
    /// The folder of the jobs as it was at the start.
    work: Identity,
    /// `None` while it is unavailable.
    inbox: Option<Arc<Inbox>>,
    /// Whether it lies on a disk of this machine, as when it was last there.
    is_local: bool,
    watch: Option<Watch>,
    hints: Hints,
    watching: Watching,
    /// When a watch that failed is tried again.
    listen_at: Option<Instant>,
    canary: Canary,
    index: Index,
    /// Names to look at.
    looks: HashMap<(Folder, FileName), (Option<Hint>, Instant)>,
    /// New folders to go through.
    folders: BTreeMap<Folder, Visit>,
    /// Names that vanished while a scan ran: what it says of them may be older.
    vanished: HashSet<(Folder, FileName)>,
    unreadable: BTreeMap<PairName, Unreadable>,
    scan: Option<Scan>,
    /// When everything is scanned next, or the inbox is tried again.
    scan_at: Instant,
    scanned_once: bool,
    jobs: JoinSet<Done>,
    asked: HashMap<task::Id, Asked>,
    /// Counts the openings of the inbox: results from an earlier one are passed over.
    epoch: u64,
    notices: Vec<Notice>,
    /// Pairs to take, as of the last notice.
    offered: usize,
    /// What was last told to have changed.
    told: (Counts, bool),
}

impl Intake {
    /// Opens the inbox and sets the watch; the first turns scan it. Blocks while the watch is set, which takes long in a large
    /// tree.
    ///
    /// # Errors
    /// The work folder is not there, or `inbox.ignore` holds what is no glob. A missing inbox is no error, nor is a watch that
    /// cannot be set: the first turn tells of it.
    pub fn start(settings: Settings, suspects: Suspects) -> Result<Self, IntakeError> {
        let rules = Arc::new(settings.rules()?);
        let work = effects::work_identity(&settings)?;
        let opened = effects::open(&settings, None);
        let now = Instant::now();
        let mut intake = Self {
            suspects,
            rules,
            work,
            inbox: None,
            is_local: true,
            watch: None,
            hints: Hints::silent(),
            watching: Watching::Polling { why: "not started".to_owned() },
            listen_at: None,
            canary: Canary { next: now + CANARY_EVERY, awaited: None },
            index: Index::new(settings.times()),
            looks: HashMap::new(),
            folders: BTreeMap::new(),
            vanished: HashSet::new(),
            unreadable: BTreeMap::new(),
            scan: None,
            scan_at: now,
            scanned_once: false,
            jobs: JoinSet::new(),
            asked: HashMap::new(),
            epoch: 0,
            notices: Vec::new(),
            offered: 0,
            told: (Counts::default(), false),
            settings,
        };
        match opened {
            Ok(opened) => intake.opened(opened, now),
            Err(IntakeError::Scan(error @ ScanError::Unavailable { .. })) => intake.unavailable(error.to_string(), now),
            Err(error) => return Err(error),
        }
        Ok(intake)
    }

    // ---- what the owner asks ----

    /// The next pair to claim: highest priority, then the subfolders in turn, then the oldest. It is not offered again until
    /// [`Intake::claim_ended`]. `None` if none waits or the inbox is unavailable.
    pub fn take(&mut self) -> Option<ReadyPair> {
        self.inbox.as_ref()?;
        let pair = self.index.take();
        self.offered = self.index.counts().ready + self.index.counts().bad;
        pair
    }

    /// The next pair to reject, which needs no slot; otherwise as [`Intake::take`]. An ambiguity comes in several pieces of a
    /// picture and a sidecar at most, so ask until there is none.
    pub fn take_bad(&mut self) -> Option<ReadyPair> {
        self.inbox.as_ref()?;
        let pair = self.index.take_bad();
        self.offered = self.index.counts().ready + self.index.counts().bad;
        pair
    }

    /// The claim of a pair that was taken has ended: its files are `gone` from the inbox, or they are there (still or again)
    /// and must come to rest anew.
    pub fn claim_ended(&mut self, pair: &ReadyPair, gone: bool) {
        let now = Instant::now();
        let again = self.index.claim_ended(pair, gone, now);
        self.look_again(again, now);
    }

    /// The inbox does not let a pair go that was taken: it waits with that reason, and is tried again after each full scan.
    pub fn claim_refused(&mut self, pair: &ReadyPair, refusal: &Refusal) {
        let now = Instant::now();
        let reason = match refusal.clone() {
            Refusal::Unreadable(why) => WaitingReason::Unreadable { why },
            Refusal::Unmovable(why) => WaitingReason::Unmovable { why },
        };
        let again = self.index.claim_refused(pair, reason, now);
        self.look_again(again, now);
    }

    /// Pairs that wait for their turn.
    pub fn ready(&self) -> usize {
        self.index.counts().ready
    }

    /// How many groupings are in which state.
    pub fn waiting(&self) -> Counts {
        self.index.counts()
    }

    /// Whether nothing in the inbox can still move by itself: everything was scanned, nothing is coming to rest or waits to be
    /// taken. Halves and ambiguities count as unmoving.
    pub fn idle(&self) -> bool {
        let Counts { settling, half: _, ambiguous: _, stuck: _, ready, bad, held } = self.index.counts();
        let moving = settling + ready + bad + held;
        let looking =
            self.scan.is_some() || !self.looks.is_empty() || !self.folders.is_empty() || !self.asked.is_empty();
        self.scanned_once && moving == 0 && !looking && !self.hints.any()
    }

    /// Whether everything was scanned at least once since the start.
    pub fn scanned(&self) -> bool {
        self.scanned_once
    }

    /// Whether all that is left in the inbox waits to be taken, or cannot move by itself.
    pub fn settled(&self) -> bool {
        let Counts { settling, half: _, ambiguous: _, stuck: _, ready: _, bad, held } = self.index.counts();
        self.scanned_once && settling + bad + held == 0 && self.scan.is_none() && self.asked.is_empty()
    }

    /// How changes are heard of.
    pub fn watching(&self) -> &Watching {
        &self.watching
    }

    /// Since when nothing has been heard of what the file system was asked for longest ago; `None` if it owes us nothing.
    pub fn unheard_since(&self) -> Option<Instant> {
        self.asked.values().map(|asked| asked.heard_at).min()
    }

    /// Whether the inbox lies on a disk of this machine, so that its silence is no server's.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Whether the inbox is there.
    pub fn available(&self) -> bool {
        self.inbox.is_some()
    }

    /// Everything in the inbox that is not moving, but for what is ignored, which [`survey`] tells.
    pub fn listing(&self) -> impl Iterator<Item = Waiting> + '_ {
        let pairs = self.index.listing().map(|standing| Waiting {
            pair: standing.pair,
            reason: standing.reason,
            since: survey::wall(standing.since),
        });
        let folders = self.unreadable.iter().map(|(pair, unreadable)| Waiting {
            pair: pair.clone(),
            reason: WaitingReason::Unreadable { why: unreadable.why.clone() },
            since: survey::wall(unreadable.since),
        });
        pairs.chain(folders)
    }

    /// Has everything scanned, again if a scan is under way.
    pub fn rescan(&mut self) {
        self.scan_at = Instant::now();
    }

    /// Takes new settings: everything is judged again, and the watch is set anew if
    /// it is wanted otherwise. The folders stay the ones of the start.
    ///
    /// # Errors
    /// [`IntakeError::Ignore`]; the old settings stay.
    pub fn reload(&mut self, settings: Settings) -> Result<(), IntakeError> {
        let rules = settings.rules()?;
        let now = Instant::now();
        let Settings { inbox, work, .. } = self.settings.clone();
        if settings.watching.watch != self.settings.watching.watch {
            self.listen_at = Some(now);
        }
        self.settings = Settings { inbox, work, ..settings };
        self.rules = Arc::new(rules);
        self.index.reload(self.settings.times(), now);
        self.scan_at = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
