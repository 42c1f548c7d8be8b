//! What falls due by time alone: the clock, the disk, the watchdog, what the daemon says of itself, and what it forgets.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::clock::Clock;
use super::message::Message;
use super::pause::PauseReason;
use super::shells::blocking;
use super::shift::Set;
use super::{Daemon, Ended, WINDOW_FACT, claiming};
use crate::ledger::{self, Change};
use crate::spool::durable;
use crate::systemd;

/// Old jobs, reservations and archived pairs are looked for this often.
pub(super) const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

/// So many turns of the watchdog the inbox's disk may keep silent about a single question before that counts as standing still. The
/// service manager then waits as long again, so this is twice what the loop itself is given: a slow disk is none.
const SCAN_PATIENCE_TURNS: u32 = 3;

/// From here on a network folder's server counts as away.
const SERVER_SILENT_AFTER: Duration = Duration::from_secs(180);

impl Daemon {
    /// What falls due by time alone.
    pub(super) fn housekeep(&mut self, now: Instant) {
        if self.shells.unwritten.load(Ordering::SeqCst) > 0 {
            self.driver.pauses.raise(PauseReason::LedgerUnwritable, "the ledger cannot be written".to_owned(), None);
        } else {
            self.driver.pauses.lift(PauseReason::LedgerUnwritable);
        }
        if self.driver.pauses.has(PauseReason::DiskFull) || self.driver.pauses.has(PauseReason::ReadOnly) {
            self.ask_for_room(now);
        }
        self.look_at_the_clock();
        self.mind_a_silent_server(now);
        self.today.look_at_the_clock(Timestamp::now());
        self.tell_the_shift(now);
        // What is old by the new clock may not be so by the one it was noted with.
        if self.prune_at <= now && self.shift.is_settled() {
            self.prune_at = now + PRUNE_EVERY;
            self.prune();
        }
        if self.pulse_at.is_some_and(|at| at <= now)
            && let Some(interval) = systemd::watchdog_interval()
        {
            self.pulse_at = Some(now + interval);
            if self.inbox_stands_still(interval * SCAN_PATIENCE_TURNS, now) {
                // The service manager hears nothing until it goes on.
            } else if !self.pulsing {
                self.pulsing = true;
                let ledger = self.shells.ledger.clone();
                self.moving.spawn(async move {
                    // A disk that refuses is told of elsewhere; what answers is alive.
                    let answer = ledger.write(Vec::new()).await;
                    Ended::Pulse(!matches!(answer, Err(ledger::WriteError::Closed)))
                });
            }
        }
    }

    /// Before anything is decided by the wall clock. Where that was set, the budget's windows are as long as ever, also for the next run,
    /// which knows the wall clock alone.
    pub(super) fn look_at_the_clock(&mut self) {
        let clock = Clock::now();
        let Some(by) = self.driver.look_at_the_clock(clock) else { return };
        tracing::info!("the clock was set by {by:#}");
        self.shift.set(Set { by, now: clock.wall });
        self.tell_the_shift(clock.at);
    }

    /// Has the ledger told how far the clock was set, one time after the other. What the disk refuses is told again.
    fn tell_the_shift(&mut self, now: Instant) {
        let Some(set @ Set { by, now }) = self.shift.next(now) else { return };
        let ledger = self.shells.ledger.clone();
        self.moving
            .spawn(async move { Ended::Shifted(set, ledger.write(vec![Change::ShiftSpending { by, now }]).await) });
    }

    /// The ledger was told, or was not.
    pub(super) fn shift_was_told(&mut self, set: Set, told: Result<(), ledger::WriteError>, now: Instant) {
        match told {
            Ok(()) => self.shift.told(),
            Err(ledger::WriteError::Disk(what)) => {
                if self.shift.refused(set, now, fastrand::f64()) == 1 {
                    tracing::warn!("cannot tell the ledger that the clock was set ({what}); it is told again");
                }
            }
            // The loop ends of it, or has.
            Err(error) => {
                tracing::warn!("cannot tell the ledger that the clock was set: {error}");
                self.shift.told();
            }
        }
        self.tell_the_shift(now);
    }

    /// Writes how things are, if that is something else than was said last. Asked when the turn has started all that it could.
    pub(super) fn say_how_it_is(&mut self, now: Instant) {
        if let Some(change) = self.snapshot.due(&self.driver, &self.intake, &self.today, now) {
            let mut changes = vec![change];
            changes.extend(self.learned_change());
            let ledger = self.shells.ledger.clone();
            self.moving.spawn(async move { Ended::Written(ledger.write(changes).await) });
            systemd::status(&self.snapshot.status_line(&self.today));
        }
    }

    /// Whether a disk of this machine has not answered for longer than `patience`.
    fn inbox_stands_still(&self, patience: Duration, now: Instant) -> bool {
        let silent = self.intake.unheard_since().map(|since| now.duration_since(since));
        let Some(silent) = silent.filter(|silent| *silent > patience && self.intake.is_local()) else { return false };
        let message_id = Message::StandsStill.id();
        tracing::warn!(
            message_id,
            "reading the inbox has stood still for {} s; the service manager starts the daemon again if that goes on",
            silent.as_secs()
        );
        true
    }

    /// The server of a network folder may be silent for as long as it likes: starting again would not wake it, and what the API has made
    /// is fetched meanwhile.
    fn mind_a_silent_server(&mut self, now: Instant) {
        let silent = self.silent_server_at().is_some_and(|at| at <= now);
        if silent && !self.driver.pauses.has(PauseReason::InboxUnavailable) {
            self.server_is_silent = true;
            let message = format!("its server has not answered for more than {} s", SERVER_SILENT_AFTER.as_secs());
            self.driver.pauses.raise(PauseReason::InboxUnavailable, message, None);
        } else if !silent && self.server_is_silent {
            self.server_is_silent = false;
            // It may have answered that there is no inbox.
            if self.intake.available() {
                self.driver.pauses.lift(PauseReason::InboxUnavailable);
            }
        }
    }

    /// When the silence of a network folder's server becomes too long, if it says nothing at present.
    pub(super) fn silent_server_at(&self) -> Option<Instant> {
        let since = self.intake.unheard_since().filter(|_| !self.intake.is_local())?;
        Some(since + SERVER_SILENT_AFTER)
    }

    pub(super) fn learned_change(&mut self) -> Option<Change> {
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

    /// Asks the disk for its room, if the last answer is not young. The answer wakes the loop.
    pub(super) fn ask_for_room(&mut self, now: Instant) {
        if self.room.ask(now) {
            let outbox: PathBuf = self.config.folders.outbox.clone();
            self.moving.spawn(async move { Ended::Free(blocking(move || durable::free_bytes(&outbox)).await) });
        }
    }
}
