//! What the daemon says of itself: a fact in the ledger for `status`, and a line for the service manager.
//!
//! Written when it changes, and not more often than twice a second. Nor is it looked at more often than that asks for: the loop turns
//! a thousand times a second, and mostly nothing of this has changed.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SNAPSHOT_EVERY;
use super::driver::Driver;
use super::intake::Intake;
use super::pause::PauseReason;
use super::today::Today;
use crate::ledger::Change;

/// A change is written no sooner than this after it was seen: what changes it is mostly a pair on its way to its submission,
/// which would otherwise wait for this sync, too.
const SNAPSHOT_AFTER: Duration = Duration::from_millis(100);

/// In so long a time…
const LOOKS_IN: Duration = Duration::from_millis(100);

/// …no more looks than this find nothing new; what turns the loop more often is looked at in the end.
const LOOKS_MAX: u32 = 8;

/// The fact's name in the ledger.
pub const DAEMON_FACT: &str = "daemon";

/// The name of the fact that tells how the last reload went.
pub const RELOAD_FACT: &str = "reload";

/// What the daemon says of itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Why nothing is claimed or submitted.
    pub paused: Vec<Paused>,
    /// How many tasks it would have in flight.
    pub limit: usize,
    /// How many it has.
    pub in_flight: usize,
    /// Pairs that wait in the inbox, ready or not.
    pub waiting: usize,
    /// How it hears of changes, if not by events.
    pub polling: Option<String>,
    /// Jobs that were delivered since midnight, local time.
    #[serde(default)]
    pub delivered_today: u64,
    /// Jobs that failed since then.
    #[serde(default)]
    pub failed_today: u64,
    /// How the budget stands, in words; `None` where there is none.
    #[serde(default)]
    pub spending: Option<String>,
}

/// A pause, as `status --json` tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Paused {
    /// The word.
    pub reason: String,
    /// What was seen.
    pub message: String,
    /// Since when, UTC.
    pub since: Timestamp,
    /// Until when, UTC, if that is known.
    pub until: Option<Timestamp>,
    /// What to do.
    pub advice: String,
}

/// How the last reload went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReloadWord {
    /// The process that says so.
    pub pid: u32,
    /// Counts the reloads of this process.
    pub number: u64,
    /// When it said so: in a container each start may have the same process number, and its first words would be alike.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

/// Writes the snapshot when it has changed.
#[derive(Debug, Default)]
pub(super) struct Writer {
    said: Option<Snapshot>,
    writing: bool,
    /// No look before this.
    look_at: Option<Instant>,
    /// Looks that found nothing new, and since when they are counted.
    looks: Option<(Instant, u32)>,
    /// The first turn since the last look: since then something else may hold than was said.
    turned_at: Option<Instant>,
    reloads: u64,
}

impl Writer {
    /// The change to write now, if there is one. To be asked at each turn of the loop.
    pub(super) fn due(&mut self, driver: &Driver, intake: &Intake, today: &Today, now: Instant) -> Option<Change> {
        let turned_at = *self.turned_at.get_or_insert(now);
        if self.writing || self.look_at.is_some_and(|at| now < at) {
            return None;
        }
        let snapshot = take(driver, intake, today);
        if self.said.as_ref() == Some(&snapshot) {
            self.turned_at = None;
            let (since, looks) = self.looks.filter(|(since, _)| now < *since + LOOKS_IN).unwrap_or((now, 0));
            self.looks = Some((since, looks + 1));
            self.look_at = (looks + 1 >= LOOKS_MAX).then_some(since + LOOKS_IN);
            return None;
        }
        if self.said.is_some() && now < turned_at + SNAPSHOT_AFTER {
            self.look_at = Some(turned_at + SNAPSHOT_AFTER);
            return None;
        }
        self.turned_at = None;
        self.writing = true;
        let change = remember(&snapshot);
        self.said = Some(snapshot);
        Some(change)
    }

    /// When to look again, if something may have changed since the last look.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.turned_at.and(self.look_at).filter(|_| !self.writing)
    }

    /// What was said was not written: it is said again.
    pub(super) fn forget(&mut self) {
        self.said = None;
    }

    /// The change was written, or could not be.
    pub(super) fn written(&mut self, now: Instant) {
        self.writing = false;
        self.look_at = Some(now + SNAPSHOT_EVERY);
    }

    /// The last word before the end.
    pub(super) fn last(&mut self, driver: &Driver, intake: &Intake, today: &Today) -> Change {
        remember(&take(driver, intake, today))
    }

    /// How a reload went.
    pub(super) fn reload_word(&mut self, word: Result<(), String>) -> Change {
        self.reloads += 1;
        let word = ReloadWord {
            pid: std::process::id(),
            number: self.reloads,
            at: Some(Timestamp::now()),
            refused: word.err(),
        };
        Change::Remember { name: RELOAD_FACT, value: json(&word) }
    }

    /// The line for the service manager.
    pub(super) fn status_line(&self, today: &Today) -> String {
        self.said.as_ref().map(|said| line(said, today)).unwrap_or_default()
    }
}

/// What a person wants to know at first sight, by the clocks of the place: why nothing moves comes first, for the line may be cut.
fn line(said: &Snapshot, today: &Today) -> String {
    let mut line = String::new();
    for Paused { reason, message, until, .. } in &said.paused {
        let until = match (until, PauseReason::ALL.iter().find(|known| known.label() == reason)) {
            (Some(at), _) => format!(", until {}", today.shown(*at)),
            (None, Some(known)) => format!("; {}", known.lifted_by()),
            (None, None) => String::new(),
        };
        line.push_str(&format!("Paused: {reason} ({message}{until}). "));
    }
    line.push_str(&format!(
        "{} in flight of {} at once, {} waiting; since midnight {} delivered, {} failed",
        said.in_flight, said.limit, said.waiting, said.delivered_today, said.failed_today
    ));
    if let Some(spending) = &said.spending {
        line.push_str(&format!("; {spending}"));
    }
    line
}

fn take(driver: &Driver, intake: &Intake, today: &Today) -> Snapshot {
    let counts = intake.waiting();
    let paused = driver.pauses.all().map(|(reason, pause)| Paused {
        reason: reason.label().to_owned(),
        message: pause.message.clone(),
        since: pause.since,
        until: pause.until,
        advice: reason.advice().to_owned(),
    });
    Snapshot {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        paused: paused.collect(),
        limit: driver.window.size(),
        in_flight: driver.in_flight(),
        delivered_today: today.delivered,
        failed_today: today.failed,
        spending: driver.spending(Instant::now()),
        waiting: counts.settling
            + counts.half
            + counts.ambiguous
            + counts.stuck
            + counts.ready
            + counts.bad
            + counts.held,
        polling: match intake.watching() {
            super::intake::Watching::Events => None,
            super::intake::Watching::Polling { why } => Some(why.clone()),
        },
    }
}

fn remember(snapshot: &Snapshot) -> Change {
    Change::Remember { name: DAEMON_FACT, value: json(snapshot) }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("made of strings and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_why_nothing_moves_before_anything_else() {
        let paused = Paused {
            reason: "budget".to_owned(),
            message: "the budget is spent".to_owned(),
            since: "2026-11-27T10:00:00Z".parse().unwrap(),
            until: Some("2026-11-27T11:30:00Z".parse().unwrap()),
            advice: String::new(),
        };
        let now = "2026-11-27T10:30:00Z".parse().unwrap();
        let today = Today::new(jiff::tz::TimeZone::get("Asia/Shanghai").unwrap(), now, (40, 3));
        let mut said = Snapshot {
            limit: 2,
            in_flight: 1,
            waiting: 7,
            delivered_today: 40,
            failed_today: 3,
            ..Snapshot::default()
        };
        assert_eq!(line(&said, &today), "1 in flight of 2 at once, 7 waiting; since midnight 40 delivered, 3 failed");
        said.paused.push(paused);
        said.spending = Some("spent 10 of 10 an hour".to_owned());
        assert_eq!(
            line(&said, &today),
            "Paused: budget (the budget is spent, until 19:30). 1 in flight of 2 at once, 7 waiting; since midnight 40 delivered, 3 \
             failed; spent 10 of 10 an hour"
        );
        said.paused[0].until = Some("2026-11-27T16:30:00Z".parse().unwrap());
        assert!(line(&said, &today).contains("until 2026-11-28 00:30)"));
        said.paused[0] = Paused {
            reason: "account".to_owned(),
            message: "HTTP 401".to_owned(),
            until: None,
            ..said.paused[0].clone()
        };
        assert!(line(&said, &today).starts_with("Paused: account (HTTP 401; tried again by itself). "));
    }
}
