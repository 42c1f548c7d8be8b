//! The account that is played, and what is measured on it.

use fastrand::Rng;

/// An account whose limit the daemon is not told. Times are in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// Tasks at once.
    pub limit: usize,
    /// Requests a second, as the daemon is configured.
    pub per_second: f64,
    /// Requests that may be made at once.
    pub burst: usize,
    /// Mean time of a task.
    pub mean: f64,
    /// Standard deviation of its logarithm.
    pub sigma: f64,
    /// The share of its time that a task is in the queue is even from nothing to this.
    pub queued_max: f64,
}

/// What came of a run, counted from the eleventh acceptance to the last one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Busy slot time / (limit × elapsed).
    pub busy: f64,
    /// Polls a job.
    pub polls: f64,
    /// Submissions refused for the limit, a job.
    pub refused: f64,
    /// From finished to the start of the download: the median, in seconds of the account's time.
    pub delay_seconds: f64,
    /// The same as a share of the task's time: the median.
    pub delay_share: f64,
    /// Jobs that were counted.
    pub jobs: usize,
}

/// Jobs that are not counted, while the daemon finds out what it has before it.
pub const WARM_UP: usize = 10;

impl Account {
    /// The one of the aims with that limit.
    pub fn of(limit: usize) -> Self {
        let (per_second, burst) = if limit > 2 { (2.0, 2) } else { (1.0, 1) };
        Self { limit, per_second, burst, mean: 60.0, sigma: 0.8, queued_max: 1.0 }
    }

    /// How long a task takes, and how long of that it is in the queue.
    pub fn draw(&self, chance: &mut Rng) -> (f64, f64) {
        // Box and Muller; one minus, because the logarithm of zero is no number.
        let normal = (-2.0 * (1.0 - chance.f64()).ln()).sqrt() * (std::f64::consts::TAU * chance.f64()).cos();
        let seconds = (self.mean.ln() - self.sigma.powi(2) / 2.0 + self.sigma * normal).exp();
        (seconds, seconds * self.queued_max * chance.f64())
    }
}

impl Figures {
    /// The mean over several runs.
    pub fn mean(runs: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        Self {
            busy: mean(|run| run.busy),
            polls: mean(|run| run.polls),
            refused: mean(|run| run.refused),
            delay_seconds: mean(|run| run.delay_seconds),
            delay_share: mean(|run| run.delay_share),
            jobs: runs.iter().map(|run| run.jobs).sum(),
        }
    }
}
