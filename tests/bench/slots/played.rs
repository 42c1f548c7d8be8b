//! The account on a clock that is made up: tasks run, requests come in, and what is asked for is counted.

use fastrand::Rng;

use super::account::{Account, Figures, WARM_UP};

/// From the decision to submit until the account has the request: claim, syncs, upload. Seconds.
pub const SUBMISSION_ARRIVES: f64 = 0.15;

/// From there until the answer is known. Seconds.
pub const SUBMISSION_ANSWERED: f64 = 0.1;

/// From the decision to poll until the account has the request, and from there until the answer is known. Seconds.
pub const POLL_ARRIVES: f64 = 0.05;

/// One task.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    accepted_at: f64,
    queued: f64,
    takes: f64,
}

/// How a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Queued,
    Made,
    Done,
}

/// What the account knows.
pub struct Played {
    account: Account,
    chance: Rng,
    tasks: Vec<Task>,
    /// When each poll and each refused submission came.
    polls: Vec<f64>,
    refused: Vec<f64>,
    /// From finished to fetched, and the task's time.
    delays: Vec<(f64, f64)>,
}

impl Played {
    pub fn new(account: Account, seed: u64) -> Self {
        let chance = Rng::with_seed(seed);
        Self { account, chance, tasks: Vec::new(), polls: Vec::new(), refused: Vec::new(), delays: Vec::new() }
    }

    /// A submission has come; the number of its task, if there is a slot.
    pub fn submit(&mut self, now: f64) -> Option<usize> {
        let running = self.tasks.iter().rev().take(1000).filter(|task| task.accepted_at + task.takes > now).count();
        if running >= self.account.limit {
            self.refused.push(now);
            return None;
        }
        let (takes, queued) = self.account.draw(&mut self.chance);
        self.tasks.push(Task { accepted_at: now, queued, takes });
        Some(self.tasks.len() - 1)
    }

    /// A poll has come.
    pub fn poll(&mut self, number: usize, now: f64) -> Status {
        self.polls.push(now);
        let task = self.tasks[number];
        match now - task.accepted_at {
            age if age >= task.takes => Status::Done,
            age if age >= task.queued => Status::Made,
            _ => Status::Queued,
        }
    }

    /// The video is asked for.
    pub fn fetch(&mut self, number: usize, now: f64) {
        let task = self.tasks[number];
        self.delays.push((now - task.accepted_at - task.takes, task.takes));
    }

    pub fn accepted(&self) -> usize {
        self.tasks.len()
    }

    /// What came of it, from the eleventh acceptance to the last one.
    pub fn figures(&self) -> Figures {
        let (from, to) = (self.tasks[WARM_UP].accepted_at, self.tasks[self.tasks.len() - 1].accepted_at);
        let busy: f64 = self
            .tasks
            .iter()
            .map(|task| ((task.accepted_at + task.takes).min(to) - task.accepted_at.max(from)).max(0.0))
            .sum();
        let jobs = self.tasks.len() - 1 - WARM_UP;
        let counted = |times: &[f64]| times.iter().filter(|at| (from..to).contains(*at)).count() as f64 / jobs as f64;
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let delays = self.delays.iter().skip(WARM_UP);
        Figures {
            busy: busy / (self.account.limit as f64 * (to - from)),
            polls: counted(&self.polls),
            refused: counted(&self.refused),
            delay_seconds: median(delays.clone().map(|(delay, _)| *delay).collect()),
            delay_share: median(delays.map(|(delay, takes)| delay / takes).collect()),
            jobs,
        }
    }
}
