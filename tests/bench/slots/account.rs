//! What is measured: an account as the vendor keeps it, and how well it was used.

/// An account at the vendor, in the vendor's own time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Account {
    /// Tasks at once; nobody tells the daemon.
    pub limit: usize,
    /// Requests a second, submissions and polls together; 0: no limit.
    pub per_second: f64,
    /// How many of them may come at once after a rest.
    pub burst: usize,
    /// Mean time that a task takes, in seconds.
    pub mean: f64,
    /// Spread of that time: the standard deviation of its logarithm.
    pub sigma: f64,
    /// A task spends up to this part of its time in the queue, every part as likely.
    pub queued_max: f64,
}

/// How an account was used.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Figures {
    /// The part of the slots' time in which they made something, 1 at best.
    pub busy: f64,
    /// Polls for each job.
    pub polls: f64,
    /// Submissions for each job that were refused because too many tasks ran.
    pub refused: f64,
    /// From the end of a task to the first request for its video: the median, in seconds of the vendor's time.
    pub delay_seconds: f64,
    /// The same as a part of the time that the task took.
    pub delay_share: f64,
    /// The jobs that the figures are about.
    pub jobs: usize,
}
