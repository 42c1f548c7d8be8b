//! Why the daemon holds back, since when, and what will end it.
//!
//! A pause stops claims and submissions; what is running goes on. A refusing account or gateway is probed by the next
//! submission or poll that falls due, at growing intervals; everything else ends when its cause does.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;

use super::message::Message;
use super::shells::after;
use super::step::Call;
use crate::job::backoff::Backoff;

/// Why nothing is claimed or submitted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PauseReason {
    /// The account is not let in or cannot pay.
    Account,
    /// The gateway cannot be reached, or does not answer as the API does.
    Gateway,
    /// The inbox is not there, or is another one.
    InboxUnavailable,
    /// There is no room where videos go.
    DiskFull,
    /// A folder is read-only, not there, or refuses us.
    ReadOnly,
    /// The ledger cannot be written.
    LedgerUnwritable,
    /// Finished videos wait too long to be fetched, or cannot be.
    DownloadsBehind,
    /// The budget is spent.
    Budget,
}

impl PauseReason {
    /// Every one.
    pub const ALL: [PauseReason; 8] = [
        Self::Account,
        Self::Gateway,
        Self::InboxUnavailable,
        Self::DiskFull,
        Self::ReadOnly,
        Self::LedgerUnwritable,
        Self::DownloadsBehind,
        Self::Budget,
    ];

    /// The word of `status`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Gateway => "gateway",
            Self::InboxUnavailable => "inbox_unavailable",
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::LedgerUnwritable => "ledger_unwritable",
            Self::DownloadsBehind => "downloads_behind",
            Self::Budget => "budget",
        }
    }

    /// What ends it, for a line that has no room for advice.
    pub fn lifted_by(self) -> &'static str {
        match self {
            Self::Account | Self::Gateway => "tried again by itself",
            Self::InboxUnavailable => "until the inbox is there",
            Self::DiskFull => "until there is room",
            Self::ReadOnly => "until the folders can be written",
            Self::LedgerUnwritable => "until the ledger can be written",
            Self::DownloadsBehind => "until videos can be fetched",
            Self::Budget => "until the budget allows it",
        }
    }

    /// What a person can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Account => {
                "check the token and the balance at the API's provider, or ask it about the account; it goes on by itself, at once after a reload; a new token is taken at a restart of the service"
            }
            Self::Gateway => "check api.base_url and the network; it goes on by itself",
            Self::InboxUnavailable => "mount or make the inbox folder; it goes on by itself",
            Self::DiskFull => "free some space where the folders are, or lower min_free; it goes on by itself",
            Self::ReadOnly => "make the folders writable for the daemon; it goes on by itself",
            Self::LedgerUnwritable => "free some space where the ledger is; it goes on by itself",
            Self::DownloadsBehind => "check the network and the disk; it goes on when videos can be fetched again",
            Self::Budget => "raise the budget and reload, or wait",
        }
    }
}

/// One pause.
#[derive(Clone, PartialEq, Debug)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// What was seen, in words.
    pub message: String,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
    /// What was seen by: a poll that goes well does not mend an account that refuses submissions.
    raised_by: Option<Call>,
    failures: u32,
    probe_at: Option<Instant>,
}

/// The pauses in force.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Pauses {
    pauses: BTreeMap<PauseReason, Pause>,
}

impl Pauses {
    /// The pauses in force, by reason.
    pub fn all(&self) -> impl Iterator<Item = (PauseReason, &Pause)> {
        self.pauses.iter().map(|(reason, pause)| (*reason, pause))
    }

    /// Whether this one is in force.
    pub fn has(&self, reason: PauseReason) -> bool {
        self.pauses.contains_key(&reason)
    }

    /// Whether the API itself is what holds us back.
    pub fn by_the_api(&self) -> bool {
        self.has(PauseReason::Account) || self.has(PauseReason::Gateway)
    }

    /// Whether it was an answer that raised this one, not the lack of one.
    pub fn was_told(&self, reason: PauseReason) -> bool {
        self.pauses.get(&reason).is_some_and(|pause| pause.raised_by.is_some())
    }

    /// How often in a row the API was found refusing or out of reach.
    pub fn failures(&self, reason: PauseReason) -> u32 {
        self.pauses.get(&reason).map_or(0, |pause| pause.failures)
    }

    /// Whether a submission may start at `now`: no pause, or only ones that a submission may probe.
    pub fn admit_submission(&self, now: Instant) -> bool {
        self.pauses.values().all(|pause| pause.probe_at.is_some_and(|at| at <= now))
    }

    /// Whether a pair may be moved to `error/` at `now`: files can be written, or it is time to try whether they can.
    pub fn admit_move(&self, now: Instant) -> bool {
        let refuses = |reason| self.pauses.get(&reason).is_some_and(|pause| pause.probe_at.is_some_and(|at| at > now));
        !refuses(PauseReason::DiskFull) && !refuses(PauseReason::ReadOnly) && !self.has(PauseReason::LedgerUnwritable)
    }

    /// When the next probe is due after `now`.
    pub fn next_probe(&self, now: Instant) -> Option<Instant> {
        self.pauses.values().filter_map(|pause| pause.probe_at).filter(|at| *at > now).min()
    }

    /// Raises a pause that a probe may end, or makes its next probe later.
    pub fn refuse(&mut self, reason: PauseReason, by: Option<Call>, message: String, backoff: Backoff, now: Instant) {
        let is_new = !self.has(reason);
        let pause = self.entry(reason, message);
        pause.raised_by = by;
        // Many answers of one moment are one failure.
        if is_new || pause.probe_at.is_some_and(|at| at <= now) {
            pause.failures += 1;
            let wait = backoff.wait(pause.failures, fastrand::f64());
            pause.probe_at = Some(now + wait);
            pause.until = Some(after(wait));
        }
        if is_new {
            tell(reason, pause);
        }
    }

    /// Raises a pause that ends with its cause.
    pub fn raise(&mut self, reason: PauseReason, message: String, until: Option<Timestamp>) {
        let is_new = !self.has(reason);
        let pause = self.entry(reason, message);
        pause.until = until;
        // Its cause is looked at, not tried out.
        pause.probe_at = None;
        if is_new {
            tell(reason, pause);
        }
    }

    /// Ends a pause.
    pub fn lift(&mut self, reason: PauseReason) {
        if let Some(pause) = self.pauses.remove(&reason) {
            let seconds = Timestamp::now().duration_since(pause.since).as_secs();
            let message_id = Message::GoesOn.id();
            tracing::info!(message_id, reason = reason.label(), "goes on after {seconds} s ({})", reason.label());
        }
    }

    /// The API has answered a call as it should.
    pub fn answered(&mut self, by: Call) {
        for reason in [PauseReason::Account, PauseReason::Gateway] {
            // What refuses submissions is not mended by a poll that goes well.
            let mended = self.pauses.get(&reason).is_some_and(|pause| match (pause.raised_by, by) {
                (Some(Call::Submit), Call::Poll) => false,
                (Some(Call::Submit | Call::Poll) | None, Call::Submit) | (Some(Call::Poll) | None, Call::Poll) => true,
            });
            if mended {
                self.lift(reason);
            }
        }
    }

    /// Lets every pause of the API's be probed at once, as after a reload.
    pub fn probe_now(&mut self, now: Instant) {
        for pause in self.pauses.values_mut() {
            if pause.probe_at.is_some() {
                pause.probe_at = Some(now);
                pause.failures = 0;
            }
        }
    }

    fn entry(&mut self, reason: PauseReason, message: String) -> &mut Pause {
        let pause = self.pauses.entry(reason).or_insert_with(|| Pause {
            since: Timestamp::now(),
            message: String::new(),
            until: None,
            raised_by: None,
            failures: 0,
            probe_at: None,
        });
        pause.message = message;
        pause
    }
}

/// One loud line: an account is a person's to mend, everything else may mend itself.
fn tell(reason: PauseReason, pause: &Pause) {
    let (message_id, word, advice) = (Message::Paused(reason).id(), reason.label(), reason.advice());
    match reason {
        PauseReason::Account => tracing::error!(message_id, reason = word, "paused: {}; {advice}", pause.message),
        PauseReason::Gateway
        | PauseReason::InboxUnavailable
        | PauseReason::DiskFull
        | PauseReason::ReadOnly
        | PauseReason::LedgerUnwritable
        | PauseReason::DownloadsBehind
        | PauseReason::Budget => tracing::warn!(message_id, reason = word, "paused: {}; {advice}", pause.message),
    }
}
