//! What comes back from the watch and from the blocking threads, and what it changes.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::{self, JoinError};

use super::super::message::Message;
use super::effects::{self, Hearing, Opened, ScanNews, ToLook, Watching};
use super::verdict::{Finding, WaitingReason};
use super::{
    Asked, CANARY_EVERY, Canary, Done, FOLDERS_MAX, Intake, Job, LISTEN_AGAIN_AFTER, LOOKS_PENDING_MAX, Notice,
    Unreadable, Visit,
};
use crate::job::{FileName, Folder, PairName};
use crate::spool::scan::{Facts, Found, Sight};
use crate::spool::settle::Hint;
use crate::spool::watch::{Batch, Hints};

impl Intake {
    pub(super) fn heard(&mut self, batch: Batch, now: Instant) {
        let Batch { names, folders, rescan, root_gone, broken, canary } = batch;
        if canary {
            self.canary.awaited = None;
        }
        if let Some(why) = broken {
            self.set_watching(Watching::Polling { why });
            self.listen_at.get_or_insert(now + LISTEN_AGAIN_AFTER);
        }
        if rescan {
            self.events_lost(now);
        }
        if root_gone {
            self.scan_at = now;
        }
        for (place, (hint, at)) in names {
            self.look(place, Some(hint), at);
        }
        for folder in folders {
            self.go_through(folder, now);
        }
    }

    pub(super) fn look(&mut self, place: (Folder, FileName), hint: Option<Hint>, at: Instant) {
        if self.looks.len() >= LOOKS_PENDING_MAX && !self.looks.contains_key(&place) {
            self.events_lost(at);
            return;
        }
        let known = self.looks.entry(place).or_insert((hint, at));
        known.0 = match (known.0, hint) {
            (Some(earlier), Some(later)) => Some(earlier.then(later)),
            (earlier, later) => later.or(earlier),
        };
        known.1 = known.1.max(at);
    }

    pub(super) fn look_again(&mut self, places: Vec<(Folder, FileName)>, now: Instant) {
        for place in places {
            self.look(place, None, now);
        }
    }

    pub(super) fn go_through(&mut self, folder: Folder, at: Instant) {
        if self.rules.passes_over(&folder) {
            return;
        }
        if self.folders.len() < FOLDERS_MAX {
            self.folders.insert(folder, Visit { at, last: false });
        } else {
            self.scan_at = at;
        }
    }

    pub(super) fn events_lost(&mut self, now: Instant) {
        self.index.events_lost(now);
        self.scan_at = now;
    }

    pub(super) fn done(&mut self, done: Result<(task::Id, Done), JoinError>, now: Instant) {
        let id = match &done {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(Asked { epoch, job, .. }) = self.asked.remove(&id) else { return };
        let done = match done {
            Ok((_, done)) => done,
            Err(error) => {
                tracing::error!(message_id = Message::Bug.id(), %error, "reading the inbox failed in a way that is a bug");
                match job {
                    Job::Judge(_) => {
                        let why = "reading it ended in a bug of ours".to_owned();
                        Done::Judged(Finding::Stuck(WaitingReason::Unreadable { why }))
                    }
                    Job::Look | Job::Scan | Job::TouchCanary | Job::Listen | Job::Open => {
                        self.scan_at = self.scan_at.min(now + self.settings.watching.poll);
                        return;
                    }
                }
            }
        };
        if epoch != self.epoch {
            return;
        }
        match (done, job) {
            (Done::Looked(looks), _) => looks.into_iter().for_each(|(asked, facts)| self.looked(asked, facts, now)),
            (Done::Judged(finding), Job::Judge(asked)) => {
                let again = self.index.judged(&asked, finding, now);
                self.look_again(again, now);
            }
            (Done::Judged(_), Job::Look | Job::Scan | Job::TouchCanary | Job::Listen | Job::Open)
            | (Done::Scanned | Done::CanaryTouched(true), _) => {}
            // A canary that cannot be touched tells nothing of the watch.
            (Done::CanaryTouched(false), _) => self.canary.awaited = None,
            (Done::Listening(hearing), _) => {
                self.listen(hearing, now);
                self.events_lost(now);
            }
            (Done::Opened(opened), _) => match *opened {
                Ok(opened) => {
                    self.notices.push(Notice::InboxBack);
                    self.opened(opened, now);
                }
                Err(error) => tracing::debug!(%error, "the inbox is still unavailable"),
            },
        }
    }

    pub(super) fn looked(&mut self, asked: ToLook, facts: Option<Facts>, now: Instant) {
        let ToLook { folder, name, hint, at } = asked;
        let sight = facts.map(|facts| self.rules.sight(&folder, &name, facts));
        match sight {
            Some(Some(Sight::Member(identity))) => self.index.saw(&folder, &name, hint, identity, at, now),
            Some(Some(Sight::Ignored(_) | Sight::Unreadable(_))) => self.index.lost(&folder, &name, now),
            Some(None) => {
                self.index.lost(&folder, &name, now);
                self.go_through(folder.join(&name), now);
            }
            None => {
                self.index.lost(&folder, &name, now);
                self.index.lost_folder(&folder.join(&name), now);
                if self.scan.is_some() {
                    self.vanished.insert((folder, name));
                }
            }
        }
    }

    pub(super) fn scan_news(&mut self, news: Option<ScanNews>, now: Instant) {
        for asked in self.asked.values_mut().filter(|asked| matches!(asked.job, Job::Scan)) {
            asked.heard_at = now;
        }
        match news {
            Some(ScanNews::Found(found)) => found.into_iter().for_each(|found| self.found(found, now)),
            Some(ScanNews::Ended(Ok(()))) => self.scan_ended(now),
            Some(ScanNews::Ended(Err(error))) => self.unavailable(error.to_string(), now),
            // Its thread died; what it saw stands, what it did not see is not taken for gone.
            None => {
                self.scan = None;
                self.scan_at = self.scan_at.min(now + self.settings.watching.poll);
            }
        }
    }

    pub(super) fn found(&mut self, found: Found, now: Instant) {
        let Some(scan) = &mut self.scan else { return };
        let Found { folder, name, sight } = found;
        match sight {
            Sight::Member(identity) => {
                scan.files += 1;
                let place = (folder, name);
                let stale = self.vanished.contains(&place);
                if stale || !self.index.scanned(&place.0, &place.1, identity, scan.started, now) {
                    self.look(place, None, now);
                }
            }
            Sight::Ignored(_) => scan.ignored += 1,
            Sight::Unreadable(why) => {
                let place = PairName { folder, stem: name };
                let since = self.unreadable.get(&place).map_or(now, |known| known.since);
                scan.unreadable.insert(place, Unreadable { why, since });
            }
        }
    }

    pub(super) fn scan_ended(&mut self, now: Instant) {
        let Some(scan) = self.scan.take() else { return };
        if !scan.full {
            return;
        }
        let took = now.saturating_duration_since(scan.started);
        self.index.end_scan(now);
        self.unreadable = scan.unreadable;
        self.scanned_once = true;
        let rest = match self.watching {
            Watching::Events => self.settings.watching.rescan,
            Watching::Polling { .. } => effects::poll_rest(self.settings.watching.poll, took),
        };
        self.scan_at = self.scan_at.min(now + rest);
        self.notices.push(Notice::ScanDone { files: scan.files, ignored: scan.ignored, took });
    }

    pub(super) fn unavailable(&mut self, why: String, now: Instant) {
        self.epoch += 1;
        self.inbox = None;
        self.watch = None;
        self.hints = Hints::silent();
        self.listen_at = None;
        self.canary.awaited = None;
        self.scan = None;
        self.scanned_once = false;
        self.looks.clear();
        self.folders.clear();
        self.unreadable.clear();
        self.index.clear(now);
        self.scan_at = now + self.settings.watching.poll;
        self.notices.push(Notice::InboxUnavailable { why });
    }

    pub(super) fn opened(&mut self, opened: Opened, now: Instant) {
        self.epoch += 1;
        self.inbox = Some(Arc::new(opened.inbox));
        self.is_local = opened.is_local;
        self.listen(opened.hearing, now);
        self.scan_at = now;
    }

    pub(super) fn listen(&mut self, hearing: Hearing, now: Instant) {
        self.canary = Canary { next: now + CANARY_EVERY, awaited: None };
        self.listen_at = None;
        let watching = match hearing {
            Hearing::Watch(watch) => {
                self.hints = watch.hints();
                self.watch = Some(watch);
                Watching::Events
            }
            Hearing::Silent(why) => {
                self.watch = None;
                self.hints = Hints::silent();
                Watching::Polling { why }
            }
            Hearing::Failed(error) => {
                self.watch = None;
                self.hints = Hints::silent();
                self.listen_at = Some(now + LISTEN_AGAIN_AFTER);
                Watching::Polling { why: error.to_string() }
            }
        };
        self.set_watching(watching);
    }

    pub(super) fn set_watching(&mut self, watching: Watching) {
        if watching != self.watching {
            self.watching = watching.clone();
            self.notices.push(Notice::Watching(watching));
        }
    }
}
