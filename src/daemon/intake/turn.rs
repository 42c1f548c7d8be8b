//! The turn: wait for whatever comes first, start what can be started. Nothing is awaited but news, so a turn that is dropped
//! has lost nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::effects::{self, ScanNews, ToLook};
use super::group::Counts;
use super::{
    Asked, CANARY_EVERY, CANARY_PATIENCE, Canary, Done, FRESH_FOLDER_AGAIN_AFTER, IDLE, Intake, JUDGEMENTS_MAX, Job,
    LOOKS_MAX, Notice, Scan, Visit,
};
use crate::job::{FileName, Folder};
use crate::spool::scan::Inbox;
use crate::spool::watch::{self, Hints};

impl Intake {
    /// Waits until there is something to tell. Cancel-safe.
    pub async fn turn(&mut self) -> Vec<Notice> {
        loop {
            let now = Instant::now();
            self.advance(now);
            if !self.notices.is_empty() {
                return std::mem::take(&mut self.notices);
            }
            let due = self.next_due(now);
            tokio::select! {
                () = self.hints.wait() => {
                    let batch = self.hints.take();
                    self.heard(batch, Instant::now());
                }
                Some(done) = self.jobs.join_next_with_id() => self.done(done, Instant::now()),
                news = next_news(&mut self.scan) => self.scan_news(news, Instant::now()),
                () = sleep_until(due.into()) => {}
            }
        }
    }

    /// Does what is due and starts what can be started.
    pub(super) fn advance(&mut self, now: Instant) {
        self.index.tick(now);
        match &self.inbox {
            Some(inbox) => {
                let inbox = Arc::clone(inbox);
                self.start_looks(&inbox);
                self.start_judgements(&inbox);
                self.start_scan(&inbox, now);
                self.mind_the_watch(now);
            }
            None if self.scan_at <= now && !self.asks(|job| matches!(job, Job::Open)) => {
                self.scan_at = now + self.settings.watching.poll;
                let (settings, work) = (self.settings.clone(), self.work);
                self.spawn(Job::Open, move || Done::Opened(Box::new(effects::open(&settings, Some(work)))));
            }
            None => {}
        }
        let Counts { ready, bad, .. } = self.index.counts();
        if ready + bad > self.offered {
            self.notices.push(Notice::PairReady);
        }
        self.offered = ready + bad;
        let state = (self.index.counts(), self.idle());
        if state != self.told {
            self.told = state;
            self.notices.push(Notice::Changed);
        }
    }

    /// Only what [`Intake::advance`] would act upon at that moment: anything else would make the turn spin.
    pub(super) fn next_due(&self, now: Instant) -> Instant {
        let available = self.inbox.is_some();
        let free = if available { self.scan.is_none() } else { !self.asks(|job| matches!(job, Job::Open)) };
        let listening = self.asks(|job| matches!(job, Job::Listen));
        [
            self.index.next_due(),
            Some(self.scan_at).filter(|_| free),
            self.folders.values().map(|visit| visit.at).min().filter(|_| available && free),
            self.watch.as_ref().map(|_| self.canary_due()),
            self.listen_at.filter(|_| available && !listening),
        ]
        .into_iter()
        .flatten()
        .fold(now + IDLE, Instant::min)
    }

    pub(super) fn start_looks(&mut self, inbox: &Arc<Inbox>) {
        if self.looks.is_empty() || self.asks(|job| matches!(job, Job::Look)) {
            return;
        }
        let places: Vec<(Folder, FileName)> = self.looks.keys().take(LOOKS_MAX).cloned().collect();
        let names: Vec<ToLook> = places
            .into_iter()
            .filter_map(|place| self.looks.remove_entry(&place))
            .map(|((folder, name), (hint, at))| ToLook { folder, name, hint, at })
            .collect();
        let (inbox, rules) = (Arc::clone(inbox), Arc::clone(&self.rules));
        self.spawn(Job::Look, move || Done::Looked(effects::look(&inbox, &rules, names)));
    }

    pub(super) fn start_judgements(&mut self, inbox: &Arc<Inbox>) {
        while self.asked.values().filter(|asked| matches!(asked.job, Job::Judge(_))).count() < JUDGEMENTS_MAX {
            let Some(asked) = self.index.next_to_judge() else { return };
            let (inbox, suspects, limits) = (Arc::clone(inbox), self.suspects.clone(), self.settings.picture);
            let question = asked.clone();
            let judge = move || Done::Judged(effects::judge(&inbox, &suspects, &limits, &question));
            self.spawn(Job::Judge(Box::new(asked)), judge);
        }
    }

    pub(super) fn start_scan(&mut self, inbox: &Arc<Inbox>, now: Instant) {
        if self.scan.is_some() {
            return;
        }
        let full = self.scan_at <= now;
        let folder = if full {
            self.index.begin_scan();
            // The interval counts from the end of the scan; until then a rescan may be asked for anew.
            self.scan_at = now + IDLE;
            Folder::root()
        } else {
            let due = self.folders.iter().find(|(_, visit)| visit.at <= now).map(|(folder, _)| folder.clone());
            let Some(folder) = due else { return };
            if let Some(Visit { last: false, .. }) = self.folders.remove(&folder) {
                self.folders.insert(folder.clone(), Visit { at: now + FRESH_FOLDER_AGAIN_AFTER, last: true });
            }
            folder
        };
        let (sender, news) = mpsc::channel(effects::BATCHES_MAX);
        self.vanished.clear();
        self.scan = Some(Scan { news, full, started: now, files: 0, ignored: 0, unreadable: BTreeMap::new() });
        let (inbox, rules) = (Arc::clone(inbox), Arc::clone(&self.rules));
        self.spawn(Job::Scan, move || {
            effects::scan(&inbox, &rules, &folder, &sender);
            Done::Scanned
        });
    }

    pub(super) fn canary_due(&self) -> Instant {
        self.canary.awaited.map_or(self.canary.next, |since| since + CANARY_PATIENCE)
    }

    pub(super) fn mind_the_watch(&mut self, now: Instant) {
        if let Some(watch) = &self.watch {
            match self.canary.awaited {
                Some(since) if since + CANARY_PATIENCE <= now => {
                    tracing::warn!("the watcher of the inbox is dead; setting the watch again");
                    self.listen_at = Some(now);
                }
                None if self.canary.next <= now => {
                    self.canary = Canary { next: now + CANARY_EVERY, awaited: Some(now) };
                    let canary = watch.canary().to_owned();
                    self.spawn(Job::TouchCanary, move || Done::CanaryTouched(watch::touch(&canary).is_ok()));
                }
                Some(_) | None => {}
            }
        }
        if self.listen_at.is_some_and(|at| at <= now) && !self.asks(|job| matches!(job, Job::Listen)) {
            // The old watch goes first, for it may be what holds the kernel's last watches. What happens until the new one stands
            // is found by the scan that follows it.
            self.watch = None;
            self.hints = Hints::silent();
            self.canary.awaited = None;
            self.listen_at = None;
            let settings = self.settings.clone();
            self.spawn(Job::Listen, move || Done::Listening(effects::listen(&settings)));
        }
    }

    pub(super) fn spawn(&mut self, job: Job, work: impl FnOnce() -> Done + Send + 'static) {
        let handle = self.jobs.spawn_blocking(work);
        self.asked.insert(handle.id(), Asked { epoch: self.epoch, job, heard_at: Instant::now() });
    }

    pub(super) fn asks(&self, which: impl Fn(&Job) -> bool) -> bool {
        self.asked.values().any(|asked| asked.epoch == self.epoch && which(&asked.job))
    }
}

/// The scan's next news; never, if there is no scan.
async fn next_news(scan: &mut Option<Scan>) -> Option<ScanNews> {
    match scan {
        Some(scan) => scan.news.recv().await,
        None => std::future::pending().await,
    }
}
