//! Clients without a memory, on the same account: what a script does that asks for each task at fixed times.

use std::collections::VecDeque;

use super::account::{Account, Figures};
use super::played::{POLL_ARRIVES, Played, SUBMISSION_ANSWERED, SUBMISSION_ARRIVES, Status};

/// Between two questions about one task. Seconds.
pub const EVERY: f64 = 5.0;

/// What such a client does with a submission that is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// It submits again when a task is seen done, until it is refused.
    Waits,
    /// It submits again after [`EVERY`], too.
    Insists,
    /// It was told the limit, and submits when fewer of its tasks were seen to run.
    Knows,
}

/// One run over so many jobs.
pub fn run(account: &Account, seed: u64, jobs: usize, manner: Manner) -> Figures {
    let mut played = Played::new(*account, seed);
    let (mut now, mut tokens, mut counted_at) = (0.0_f64, account.burst as f64, 0.0_f64);
    // Tasks and when each is to be asked for, the earliest first: all wait equally long.
    let mut asked: VecDeque<(f64, usize)> = VecDeque::new();
    let mut submits_at = 0.0_f64;
    while played.accepted() < jobs {
        let poll_at = asked.front().map_or(f64::INFINITY, |(at, _)| *at);
        now = now.max(submits_at.min(poll_at));
        tokens = (tokens + (now - counted_at) * account.per_second).min(account.burst as f64);
        if tokens < 1.0 {
            // Both wait for a request.
            now += (1.0 - tokens) / account.per_second;
            tokens = 1.0;
        }
        (tokens, counted_at) = (tokens - 1.0, now);
        if submits_at <= now {
            match played.submit(now + SUBMISSION_ARRIVES) {
                Some(task) => {
                    asked.push_back((now + SUBMISSION_ARRIVES + EVERY, task));
                    let is_full = manner == Manner::Knows && asked.len() >= account.limit;
                    submits_at = if is_full { f64::INFINITY } else { now + SUBMISSION_ARRIVES + SUBMISSION_ANSWERED };
                }
                None if manner == Manner::Insists => submits_at = now + EVERY,
                None => submits_at = f64::INFINITY,
            }
            continue;
        }
        let Some((_, task)) = asked.pop_front() else { continue };
        match played.poll(task, now + POLL_ARRIVES) {
            Status::Done => {
                played.fetch(task, now + 2.0 * POLL_ARRIVES);
                submits_at = submits_at.min(now + 2.0 * POLL_ARRIVES);
            }
            Status::Queued | Status::Made => asked.push_back((now + EVERY, task)),
        }
    }
    played.figures()
}
