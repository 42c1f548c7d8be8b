//! The loop: what happened is taken in, the driver decides, steps start. It does no work itself and waits for none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::Id;

use super::claiming::{self, Claiming};
use super::driver::Start;
use super::housekeeping::PRUNE_EVERY;
use super::intake::{self, Notice};
use super::message::Message;
use super::pause::PauseReason;
use super::room::ASKED_EVERY;
use super::shells::{Shells, StepError, blocking};
use super::shift::Set;
use super::start::{policy, spool_settings};
use super::step::{self, Stepped};
use super::{Daemon, Ended, Outcome, Reload};
use crate::api::Client;
use crate::config::{self, Config};
use crate::job::plan::Step;
use crate::job::state::State;
use crate::job::{Job, JobId};
use crate::ledger::Change;
use crate::spool::durable;
use crate::systemd;
use crate::world;

/// Everything but a submission ends within this time after the signal.
const DRAIN: Duration = Duration::from_secs(4);

/// Rejections of pairs that were found bad, under way at once.
const REJECTIONS_MAX: usize = 16;

/// With `--once`, so many failures in a row to reach the API end the run.
const ONCE_FAILURES_MAX: u32 = 4;

impl Daemon {
    /// The loop, until told to stop or, with `once`, until nothing can move; or until the ledger is found to be damaged.
    pub(super) async fn work(&mut self) {
        let ledger = self.shells.ledger.clone();
        loop {
            world::about_to_turn();
            let now = Instant::now();
            self.housekeep(now);
            self.start_what_can_start(now);
            if self.once && self.is_finished() {
                return;
            }
            self.say_how_it_is(now);
            let due = self.next_due(now);
            tokio::select! {
                () = self.controls.stop.cancelled() => return,
                what = ledger.damaged() => {
                    self.damage = Some(what);
                    return;
                }
                () = ledger.looked_through(), if !self.driver.may_send() => self.driver.set_may_send(true),
                Some(reload) = self.controls.reloads.recv() => self.reload(reload).await,
                Some(ended) = self.sending.join_next_with_id() => self.ended(ended),
                Some(ended) = self.moving.join_next_with_id() => self.ended(ended),
                notices = self.intake.turn() => self.noticed(notices),
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    }

    /// Ends what runs. Submissions are awaited for as long as their timeout lasts, everything else for a few seconds.
    pub(super) async fn drain(&mut self) {
        tracing::info!(message_id = Message::Stopping.id(), "stopping");
        // Also when nobody cancelled it: transfers and uploads look at it.
        self.shells.stop.cancel();
        let patience = self.config.api.submit_timeout + Duration::from_secs(10);
        systemd::extend_timeout(patience);
        let suspects = self.shells.suspects.clone();
        let closing = blocking(move || suspects.close());
        if tokio::time::timeout(DRAIN, closing).await.is_err() {
            tracing::debug!("work/ does not take the note that the daemon was told to stop");
        }
        self.driver.stop();
        let hard = Instant::now() + DRAIN;
        loop {
            let now = Instant::now();
            self.start_moves(now);
            if self.sending.is_empty() && (self.moving.is_empty() || now >= hard) {
                break;
            }
            tokio::select! {
                Some(ended) = self.sending.join_next_with_id() => self.ended(ended),
                Some(ended) = self.moving.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep_until(hard.into()), if now < hard => {}
            }
        }
        self.moving.abort_all();
        while self.moving.join_next().await.is_some() {}
        self.say_goodbye().await;
    }

    async fn say_goodbye(&mut self) {
        let mut changes = vec![self.snapshot.last(&self.driver, &self.intake, &self.today)];
        changes.extend(self.learned_change());
        changes.extend(self.shift.last().map(|Set { by, now }| Change::ShiftSpending { by, now }));
        if let Err(error) = self.shells.ledger.write(changes).await {
            tracing::warn!("cannot write the last word to the ledger: {error}");
        }
        let live = self.driver.in_flight();
        systemd::status(&format!("Stopped; {live} in flight go on at the next start"));
        let Outcome { delivered, failed, .. } = self.outcome;
        tracing::info!(message_id = Message::Stopped.id(), "stopped: {delivered} delivered, {failed} failed");
    }

    fn start_what_can_start(&mut self, now: Instant) {
        self.start_rejections(now);
        let pairs = self.intake.ready() > 0;
        // While something else keeps pairs from being sent, nobody needs to know.
        let wanted = self.driver.wants_to_submit(pairs, now);
        if wanted {
            self.ask_for_room(now);
        }
        loop {
            let can_claim = self.room.holds(now) && self.intake.ready() > 0;
            let Some(start) = self.driver.next(can_claim, now) else { break };
            self.begin(start);
        }
    }

    /// While draining: only what gives files back.
    fn start_moves(&mut self, now: Instant) {
        while let Some(start) = self.driver.next(false, now) {
            self.begin(start);
        }
    }

    fn begin(&mut self, start: Start) {
        let shells = self.shells.clone();
        match start {
            Start::Claim(id) => {
                let Some(pair) = self.intake.take() else {
                    self.driver.claim_failed(id);
                    return;
                };
                self.claiming.insert(id, pair.clone());
                let handle = self.sending.spawn(async move {
                    if !shells.may_send().await {
                        return Ended::Claimed(id, Box::new(pair), Claiming::Changed, None);
                    }
                    // The submission follows at once, without a turn of the loop.
                    let (claiming, stepped) = claiming::claim_and_submit(shells, id, pair.clone()).await;
                    Ended::Claimed(id, Box::new(pair), claiming, stepped)
                });
                self.working.insert(handle.id(), id);
            }
            Start::Step(job, step, part) => {
                let id = job.id;
                let set = if step == Step::Submit { &mut self.sending } else { &mut self.moving };
                let taken_up = self.driver.taken_up(id);
                let handle = set.spawn(async move {
                    if step == Step::Submit && !shells.may_send().await {
                        return Ended::Stepped(id, Stepped::not_begun(*job, part));
                    }
                    Ended::Stepped(id, step::run(shells, *job, step, part, taken_up).await)
                });
                self.working.insert(handle.id(), id);
            }
            Start::Release(job) => {
                let id = job.id;
                let handle = self.moving.spawn(async move { Ended::Stepped(id, step::release(shells, *job).await) });
                self.working.insert(handle.id(), id);
            }
        }
    }

    /// Pairs that were found bad need no slot of the account.
    fn start_rejections(&mut self, now: Instant) {
        // While files refuse to move, one at a time tries whether they still do.
        let refused = self.driver.pauses.has(PauseReason::ReadOnly) || self.driver.pauses.has(PauseReason::DiskFull);
        let at_once = if refused { 1 } else { REJECTIONS_MAX };
        while self.driver.pauses.admit_move(now) && self.rejecting.len() < at_once {
            let Some(pair) = self.intake.take_bad() else { break };
            let shells = self.shells.clone();
            let id = JobId::from_uuid(uuid::Uuid::now_v7());
            self.rejecting.insert(id);
            self.claiming.insert(id, pair.clone());
            let handle = self.moving.spawn(async move {
                let claiming = claiming::claim(shells, id, pair.clone()).await;
                Ended::Refused(id, Box::new(pair), claiming)
            });
            self.working.insert(handle.id(), id);
        }
    }

    fn ended(&mut self, ended: Result<(Id, Ended), tokio::task::JoinError>) {
        self.look_at_the_clock();
        let now = Instant::now();
        let (task, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                if let Some(id) = self.working.remove(&error.id())
                    && error.is_panic()
                {
                    // Not the pair's doing as far as anybody knows: foreign bytes are read under guard, and a panic there is
                    // counted by itself. Nor may it be set aside for that, for it may be paid. The next start finds out from
                    // ledger and witness where it stands; a step that would panic again takes out this job alone again.
                    let message_id = Message::Bug.id();
                    tracing::error!(message_id, job_id = %id, "a bug: a step panicked; its job goes on at the next start");
                    self.driver.lost(id, now);
                    if let Some(pair) = self.claiming.remove(&id) {
                        self.intake.claim_ended(&pair, false);
                        self.give_back(id, 0);
                    }
                    self.rejecting.remove(&id);
                }
                return;
            }
        };
        if let Some(id) = self.working.remove(&task) {
            self.claiming.remove(&id);
        }
        match ended {
            Ended::Claimed(id, pair, claiming, stepped) => self.claimed(id, &pair, claiming, stepped, now),
            Ended::Refused(id, pair, claiming) => {
                self.rejecting.remove(&id);
                self.claim_ended(&pair, &claiming);
                match claiming {
                    Claiming::Job(job) => {
                        self.driver.disk_works();
                        self.driver.adopt(*job, now);
                    }
                    Claiming::Changed | Claiming::Refused(_) => {}
                    Claiming::Failed(trouble, message) => self.claim_trouble(id, trouble, message, now),
                }
            }
            Ended::Stepped(id, stepped) => {
                let failures = self.driver.failures(id);
                self.count_outcome(stepped.job.as_ref());
                self.driver.absorb(id, stepped, failures, now);
            }
            Ended::Free(free) => {
                self.room.answered(now);
                match free {
                    Ok(bytes) if bytes < self.config.min_free_bytes => {
                        let wanted = config::units::show_size(self.config.min_free_bytes);
                        let found = config::units::show_size(bytes);
                        self.driver.room(Some(format!("{found} are free where videos go, min_free is {wanted}")));
                    }
                    Ok(_) => self.driver.room(None),
                    Err(error) => self.driver.disk_trouble(error.trouble(), claiming::chain(&error), now),
                }
            }
            Ended::Written(result) => {
                self.snapshot.written(now);
                if let Err(error) = result {
                    // It is said again, and what was learned with it.
                    self.snapshot.forget();
                    self.learned = None;
                    tracing::debug!("cannot write what the daemon says of itself: {error}");
                }
            }
            Ended::Pulse(alive) => {
                self.pulsing = false;
                if alive {
                    systemd::watchdog();
                }
            }
            Ended::Pruned => {}
            Ended::Shifted(set, told) => self.shift_was_told(set, told, now),
            Ended::Returned(id, failures, returned) => {
                self.returning.remove(&id);
                match returned {
                    Ok(()) if failures > 0 => self.driver.disk_works(),
                    Ok(()) => {}
                    Err(error) => {
                        self.file_trouble(id, error, "a pair that could not be claimed stays in work/ for now", now);
                        if !self.shells.stop.is_cancelled() {
                            self.give_back(id, failures.saturating_add(1));
                        }
                    }
                }
            }
        }
    }

    fn claimed(
        &mut self,
        id: JobId,
        pair: &intake::ReadyPair,
        claiming: Claiming,
        stepped: Option<Stepped>,
        now: Instant,
    ) {
        self.claim_ended(pair, &claiming);
        match (claiming, stepped) {
            (Claiming::Job(_), Some(stepped)) => {
                self.driver.disk_works();
                self.count_outcome(stepped.job.as_ref());
                self.driver.absorb(id, stepped, 0, now);
            }
            (Claiming::Job(job), None) => {
                self.driver.claim_failed(id);
                self.driver.adopt(*job, now);
                if self.shells.stop.is_cancelled() {
                    self.driver.stop();
                }
            }
            (Claiming::Changed | Claiming::Refused(_), _) => self.driver.claim_failed(id),
            (Claiming::Failed(trouble, message), _) => {
                self.driver.claim_failed(id);
                self.claim_trouble(id, trouble, message, now);
            }
        }
    }

    fn claim_ended(&mut self, pair: &intake::ReadyPair, claiming: &Claiming) {
        match claiming {
            Claiming::Job(_) => self.intake.claim_ended(pair, true),
            Claiming::Changed | Claiming::Failed(..) => self.intake.claim_ended(pair, false),
            Claiming::Refused(refusal) => self.intake.claim_refused(pair, refusal),
        }
    }

    fn claim_trouble(&mut self, id: JobId, trouble: Option<durable::Trouble>, message: String, now: Instant) {
        self.give_back(id, 0);
        match trouble {
            Some(trouble) => self.driver.disk_trouble(trouble, message, now),
            None => {
                tracing::error!(message_id = Message::Bug.id(), job_id = %id, "a pair could not be claimed and goes back to the inbox: {message}")
            }
        }
    }

    /// Files that belong into the inbox go back as soon as the disk lets them: no pair waits for a restart because it was full for a
    /// while.
    pub(super) fn give_back(&mut self, id: JobId, failures: u32) {
        let shells = self.shells.clone();
        self.returning.insert(id);
        self.moving.spawn(async move {
            let returned = claiming::give_back(&shells, id, failures).await;
            Ended::Returned(id, failures, returned)
        });
    }

    fn file_trouble(&mut self, id: JobId, error: StepError, what: &str, now: Instant) {
        match error {
            StepError::File(error) => self.driver.disk_trouble(error.trouble(), claiming::chain(&error), now),
            error => {
                tracing::error!(message_id = Message::Bug.id(), job_id = %id, "{what}: {}", claiming::chain(&error))
            }
        }
    }

    fn count_outcome(&mut self, job: Option<&Job>) {
        self.today.look_at_the_clock(Timestamp::now());
        match job.map(|job| &job.state) {
            Some(State::Delivered { .. }) => {
                self.outcome.delivered += 1;
                self.today.delivered += 1;
            }
            Some(State::Failed { .. }) => {
                self.outcome.failed += 1;
                self.today.failed += 1;
            }
            Some(
                State::Queued { .. }
                | State::Submitting
                | State::Submitted { .. }
                | State::Ready { .. }
                | State::Fetched { .. }
                | State::InDoubt { .. }
                | State::Failing { .. },
            )
            | None => {}
        }
    }

    fn noticed(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::PairReady | Notice::Changed => {}
                Notice::InboxUnavailable { why } => {
                    self.driver.pauses.raise(PauseReason::InboxUnavailable, why, None);
                }
                Notice::InboxBack => self.driver.pauses.lift(PauseReason::InboxUnavailable),
                Notice::Watching(intake::Watching::Events) => tracing::debug!("the inbox is watched by events"),
                Notice::Watching(intake::Watching::Polling { why }) => {
                    tracing::warn!("the inbox is scanned every {:?}: {why}", self.config.inbox.poll);
                }
                Notice::ScanDone { files, ignored, took } => {
                    tracing::debug!("scanned the inbox in {took:?}: {files} files, {ignored} ignored");
                }
            }
        }
    }

    async fn reload(&mut self, reload: Reload) {
        systemd::reloading();
        let word = match reload {
            Ok(new) => self.take_settings(*new),
            Err(message) => Err(message),
        };
        match &word {
            Ok(()) => tracing::info!(message_id = Message::Reloaded.id(), "reloaded the configuration"),
            Err(message) => {
                let message_id = Message::ReloadRefused.id();
                tracing::error!(message_id, "the new configuration is refused, the old one stays: {message}");
            }
        }
        let change = self.snapshot.reload_word(word);
        if let Err(error) = self.shells.ledger.write(vec![change]).await {
            tracing::warn!("cannot write the word about the reload: {error}");
        }
        systemd::ready();
    }

    fn take_settings(&mut self, (mut new, client): (Config, Client)) -> Result<(), String> {
        for key in config::changes_needing_restart(&self.config, &new) {
            tracing::warn!("{key} cannot change while the daemon runs; restart it for that");
        }
        new.root = self.config.root.clone();
        new.folders = self.config.folders.clone();
        new.inbox.watch = self.config.inbox.watch;
        self.intake.reload(intake::Settings::of(&new)).map_err(|error| error.to_string())?;
        let now = Instant::now();
        self.driver.reload(&new, now);
        let old = &self.shells;
        if self.driver.pauses.has(PauseReason::Account) && client.account() == old.client.account() {
            let message_id = Message::TokenUnchanged.id();
            tracing::warn!(
                message_id,
                "the token is the one that the account was refused with; if another one was put in place, systemd hands it over at \
                 systemctl restart, not at a reload"
            );
        }
        self.shells = Arc::new(Shells {
            spool: Arc::new(old.spool.with_settings(spool_settings(&new))),
            ledger: old.ledger.clone(),
            ledger_path: old.ledger_path.clone(),
            intents: old.intents.clone(),
            client,
            policy: policy(&new),
            limits: new.picture,
            suspects: old.suspects.clone(),
            stop: old.stop.clone(),
            unwritten: old.unwritten.clone(),
            started: old.started,
            observer: old.observer.clone(),
        });
        self.room.forget();
        self.config = new;
        Ok(())
    }

    fn next_due(&mut self, now: Instant) -> Instant {
        let pairs = self.intake.ready() > 0;
        let held = self.driver.pauses.has(PauseReason::DiskFull)
            || self.driver.pauses.has(PauseReason::ReadOnly)
            || self.driver.pauses.has(PauseReason::LedgerUnwritable);
        [
            self.driver.next_due(pairs, now),
            self.snapshot.next_due(),
            self.pulse_at,
            held.then(|| now + ASKED_EVERY),
            // What is past was minded.
            self.silent_server_at().filter(|at| *at > now),
            self.shift.due(now),
            self.shift.is_settled().then_some(self.prune_at),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now + PRUNE_EVERY)
    }

    /// With `once`: whether nothing can move any more.
    fn is_finished(&mut self) -> bool {
        if !self.sending.is_empty() || !self.rejecting.is_empty() {
            return false;
        }
        let pauses = &self.driver.pauses;
        let tried = |reason| pauses.failures(reason) >= ONCE_FAILURES_MAX;
        let no_files = pauses.has(PauseReason::InboxUnavailable)
            || self.driver.is_short_of_room()
            || tried(PauseReason::DiskFull)
            || tried(PauseReason::ReadOnly);
        if no_files && self.driver.is_held_by_the_disk() {
            self.outcome.held_by_the_disk = true;
            return true;
        }
        if !self.intake.scanned() || !self.returning.is_empty() {
            return false;
        }
        let load = self.driver.load();
        let pauses = &self.driver.pauses;
        // A refusal is an answer, and the same question would get it again; a connection that fails may come about.
        let refused = pauses.has(PauseReason::Account)
            || pauses.was_told(PauseReason::Gateway)
            || pauses.failures(PauseReason::Gateway) >= ONCE_FAILURES_MAX;
        // Running tasks are awaited, but not for ever: the next run goes on with them.
        let long_refused = pauses.failures(PauseReason::Account) >= ONCE_FAILURES_MAX
            || pauses.failures(PauseReason::Gateway) >= ONCE_FAILURES_MAX;
        if refused && (self.driver.is_held_by_the_api() || (long_refused && load.running == 0)) {
            self.outcome.held_by_the_api = true;
            return true;
        }
        let spent = pauses.has(PauseReason::Budget);
        let nothing_to_claim = self.intake.idle() || (spent && self.intake.settled());
        let nothing_to_do = load.jobs == 0 || (spent && self.driver.is_held_by_the_api());
        nothing_to_do && load.running == 0 && nothing_to_claim
    }
}
