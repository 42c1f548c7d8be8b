//! What the driver makes of news: of the API's moods, of the disk, of transfers.

use std::time::{Duration, Instant};

use super::{Driver, News};
use crate::daemon::pause::PauseReason;
use crate::daemon::step::Call;
use crate::job::{JobId, backoff};
use crate::spool::durable::Trouble;
use crate::throttle::budget;
use crate::throttle::window::Rest;

/// A finished video that has waited this long for a free transfer stops submissions.
pub(super) const TRANSFER_WAIT_MAX: Duration = Duration::from_secs(10 * 60);

/// So many jobs whose last transfers all failed stop submissions.
const TRANSFERS_FAILED_MAX: usize = 3;

/// So many tasks of which the API says nothing, and of no other anything, stop submissions: no more are paid for that nobody can ask
/// about. One alone may be a task that the API does not know, in words that no page tells.
const TASKS_UNREAD_MAX: usize = 3;

/// A spent budget is looked at again after this at the latest: the clock may have been set.
const BUDGET_LOOK_EVERY: Duration = Duration::from_secs(60);

/// For so long a job whose link is bad counts among those that stop submissions. Then a few more are paid for to see whether it has
/// mended; a video that is fetched shows it at once.
const BAD_LINK_COUNTS_FOR: Duration = Duration::from_secs(60 * 60);

impl Driver {
    pub(super) fn learn(&mut self, id: JobId, news: News, now: Instant) {
        match news {
            News::Answered(call) => {
                if call == Call::Poll {
                    self.unread_tasks.clear();
                }
                self.pauses.answered(call);
            }
            News::Accepted => self.was_accepted(id, now),
            News::Running(phase) => self.runs(id, phase, now),
            News::TooMany(retry_after) => {
                let others = self.in_flight().saturating_sub(usize::from(self.flying.contains(&id)));
                let rest = Rest {
                    median: self.durations.median(&self.limits.starting),
                    every: self.limits.starting.every,
                    at_least: retry_after.map_or(Duration::ZERO, |wait| wait.min(backoff::RETRY_AFTER_MAX)),
                    chance: self.chance.f64(),
                };
                self.unproved.clear();
                self.window.refused(others, rest, now);
            }
            News::TooFast(retry_after) => {
                self.rate.too_fast(retry_after.map(|wait| wait.min(backoff::RETRY_AFTER_MAX)), now);
            }
            News::AccountRefused(call, message) => {
                self.refused(PauseReason::Account, call, message, now);
            }
            News::GatewayRefused(call, message) => {
                self.refused(PauseReason::Gateway, call, message, now);
            }
            News::Unreachable(_, message) => {
                // Whatever gets through again shows that it can be reached.
                self.pauses.refuse(PauseReason::Gateway, None, message, backoff::CONNECTION, now);
            }
            News::UnknownStatus(word) => {
                self.wonder(id, &format!("that the task's status is {word:?}, which none of its pages explains"));
            }
            News::Unrelated(message) => {
                self.wonder(id, &format!("nothing of the task ({message})"));
                self.unread_tasks.insert(id);
                if self.unread_tasks.len() >= TASKS_UNREAD_MAX {
                    self.refused(PauseReason::Gateway, Call::Poll, message, now);
                }
            }
            News::Took(took) => self.durations.saw(took),
            News::TransferFailed(message) => {
                self.failed_transfers.insert(id);
                if self.failed_transfers.len() >= TRANSFERS_FAILED_MAX {
                    self.pauses.raise(
                        PauseReason::DownloadsBehind,
                        format!("transfers fail, the latest so: {message}"),
                        None,
                    );
                }
            }
            News::LinkBad(message) => {
                self.bad_links.entry(id).or_insert(now);
                self.latest_bad_link = message;
            }
            News::TransferDone => {
                self.failed_transfers.clear();
                self.bad_links.clear();
                self.pauses.lift(PauseReason::DownloadsBehind);
                self.disk_works();
            }
            News::Disk(trouble, message) => self.disk_trouble(trouble, message, now),
            News::GivenBack(send) => self.budget.give_back((id, send)),
        }
    }

    /// The API refuses everybody: what was claimed and never sent goes back. What comes to rest meanwhile does so by itself, so thousands
    /// of answers are one search.
    fn refused(&mut self, reason: PauseReason, call: Call, message: String, now: Instant) {
        let is_known = self.pauses.was_told(reason);
        self.pauses.refuse(reason, Some(call), message, backoff::PROBE, now);
        if !is_known {
            self.release_unsent();
        }
    }

    /// Says once for each job that the API `says` what nobody can make anything of.
    fn wonder(&mut self, id: JobId, says: &str) {
        let Some(resting) = self.resting.get(&id) else { return };
        if self.puzzling.insert(id) {
            let pair = &resting.job.pair;
            tracing::warn!(
                job_id = %id, pair = %pair, task_id = resting.job.state.task().map(|task| task.task_id.as_str()),
                "{pair}: the API says {says}; it is asked again"
            );
        }
    }

    /// There is less room than `min_free` where videos go, as `message` says; `None`: there is enough.
    pub fn room(&mut self, message: Option<String>) {
        match message {
            Some(message) => {
                self.short_of_room = true;
                self.pauses.raise(PauseReason::DiskFull, message, None);
            }
            None if self.short_of_room => {
                self.short_of_room = false;
                self.pauses.lift(PauseReason::DiskFull);
            }
            None => {}
        }
    }

    /// Whether there is less room than `min_free`.
    pub fn is_short_of_room(&self) -> bool {
        self.short_of_room
    }

    /// A folder refuses work: the next move of a file is the probe.
    pub fn disk_trouble(&mut self, trouble: Trouble, message: String, now: Instant) {
        let reason = match trouble {
            Trouble::DiskFull => PauseReason::DiskFull,
            Trouble::ReadOnly | Trouble::Vanished | Trouble::Forbidden | Trouble::Failing => PauseReason::ReadOnly,
        };
        self.pauses.refuse(reason, None, message, backoff::DISK, now);
    }

    /// Files can be written again; there may still be too little room, which is asked for apart.
    pub fn disk_works(&mut self) {
        self.pauses.lift(PauseReason::ReadOnly);
        if !self.short_of_room {
            self.pauses.lift(PauseReason::DiskFull);
        }
    }

    pub(super) fn look_at_transfers(&mut self, now: Instant) {
        let waited = self
            .downloads
            .front()
            .and_then(|id| self.resting.get(id))
            .is_some_and(|resting| now.duration_since(resting.since) >= TRANSFER_WAIT_MAX);
        if waited {
            self.pauses.raise(
                PauseReason::DownloadsBehind,
                "a finished video waits for a free transfer".to_owned(),
                None,
            );
        } else if self.counted_bad_links(now) >= TRANSFERS_FAILED_MAX {
            let message = format!("no link leads to a video, the latest so: {}", self.latest_bad_link);
            self.pauses.raise(PauseReason::DownloadsBehind, message, None);
        } else if self.failed_transfers.len() < TRANSFERS_FAILED_MAX {
            self.pauses.lift(PauseReason::DownloadsBehind);
        }
    }

    /// Jobs whose links were bad lately, and no video came in between, counted up to [`TRANSFERS_FAILED_MAX`]: one such job may be its own
    /// video's bad luck, several are paid for and cannot be had.
    fn counted_bad_links(&self, now: Instant) -> usize {
        let counts = |first: &&Instant| now.duration_since(**first) < BAD_LINK_COUNTS_FOR;
        self.bad_links.values().filter(counts).take(TRANSFERS_FAILED_MAX).count()
    }

    /// How the budget stands, in words; `None` if there is none.
    pub fn spending(&self, now: Instant) -> Option<String> {
        let limits @ budget::Limits { per_hour, per_day } = self.budget.limits();
        if limits == budget::Limits::default() {
            return None;
        }
        let (hour, day) = self.budget.spent(self.clock.wall(now));
        let told = [(hour, per_hour, "an hour"), (day, per_day, "a day")];
        let told: Vec<String> = told
            .into_iter()
            .filter_map(|(spent, limit, window)| Some(format!("{spent} of {} {window}", limit?)))
            .collect();
        (!told.is_empty()).then(|| format!("spent {}", told.join(", ")))
    }

    pub(super) fn look_at_budget(&mut self, now: Instant) {
        let room = self.budget.room(self.clock.wall(now));
        self.budget_frees_at = room.err().map(|at| now + self.until(at, now).min(BUDGET_LOOK_EVERY));
        match room {
            Ok(()) => self.pauses.lift(PauseReason::Budget),
            Err(until) => self.pauses.raise(PauseReason::Budget, "the budget is spent".to_owned(), Some(until)),
        }
    }
}
