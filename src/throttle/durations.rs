//! How long tasks take, as far as seen, and so when asking for one is worth a request.
//!
//! Before anything was seen the configured starting points hold: first, every, slowest. From then on the first question comes
//! where a tenth of the tasks were done, questions follow at a share of the median, and the tail grows sparse.

use std::time::Duration;

/// Durations kept; older ones are forgotten, so that the cadence follows the service.
const KEPT: usize = 256;

/// Fewer than this are no experience.
const ENOUGH: usize = 5;

/// Starting points, and bounds for what is learned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Starting {
    /// From the submission to the first question.
    pub first: Duration,
    /// Between questions.
    pub every: Duration,
    /// Between questions in the tail.
    pub slowest: Duration,
}

/// What was seen.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Durations {
    seen: Vec<Duration>,
    next: usize,
}

impl Durations {
    /// Starts with what was remembered, oldest first.
    pub fn new(remembered: impl IntoIterator<Item = Duration>) -> Self {
        let mut durations = Self::default();
        for duration in remembered {
            durations.saw(duration);
        }
        durations
    }

    /// A task took this long.
    pub fn saw(&mut self, duration: Duration) {
        if self.seen.len() < KEPT {
            self.seen.push(duration);
        } else {
            self.seen[self.next] = duration;
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// What half of the tasks took at most; `starting` before there is experience.
    pub fn median(&self, starting: &Starting) -> Duration {
        self.quantile(0.5).unwrap_or(starting.first.max(starting.every) * 3)
    }

    /// How long to wait after a question about a task of `age` that was not done (`None`: right after its submission).
    /// `jitter` is from 0 up to 1.
    pub fn wait(&self, age: Option<Duration>, starting: &Starting, jitter: f64) -> Duration {
        let wait = match (self.quantile(0.1), self.quantile(0.5), age) {
            (Some(early), _, None) => early.mul_f64(0.95).min(FIRST_MAX.max(starting.first)),
            (Some(_), Some(median), Some(age)) => {
                // A share of what it already took: dense where most end, sparse in the tail.
                let step = (median / 10).max(age / 12);
                step.min(starting.slowest.max(starting.every))
            }
            (_, _, None) => starting.first,
            (_, _, Some(age)) => starting.every.max(age / 12).min(starting.slowest.max(starting.every)),
        };
        wait.mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0)).max(SHORTEST)
    }

    fn quantile(&self, q: f64) -> Option<Duration> {
        if self.seen.len() < ENOUGH {
            return None;
        }
        let mut sorted = self.seen.clone();
        sorted.sort_unstable();
        // Truncation is meant: the index of the quantile at or below.
        let at = ((sorted.len() - 1) as f64 * q) as usize;
        sorted.get(at).copied()
    }
}

/// The first question about a task comes no later, whatever was seen so far: it is asked for while its video can be had.
const FIRST_MAX: Duration = Duration::from_secs(10 * 60);

/// No two questions about one task follow faster than this.
const SHORTEST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const STARTING: Starting =
        Starting { first: Duration::from_secs(10), every: Duration::from_secs(5), slowest: Duration::from_secs(30) };

    #[test]
    fn without_experience_the_starting_points_hold() {
        let durations = Durations::default();
        assert_eq!(durations.wait(None, &STARTING, 0.5), Duration::from_secs(10));
        assert_eq!(durations.wait(Some(Duration::from_secs(20)), &STARTING, 0.5), Duration::from_secs(5));
        assert_eq!(durations.wait(Some(Duration::from_secs(120)), &STARTING, 0.5), Duration::from_secs(10));
        assert_eq!(durations.wait(Some(Duration::from_secs(7200)), &STARTING, 0.5), Duration::from_secs(30));
    }

    #[test]
    fn the_first_question_comes_while_the_video_can_be_had() {
        let hours = Durations::new([Duration::from_secs(9 * 60 * 60); 9]);
        assert_eq!(hours.wait(None, &STARTING, 0.5), FIRST_MAX);
        let late = Starting { first: Duration::from_secs(20 * 60), ..STARTING };
        assert_eq!(hours.wait(None, &late, 0.5), late.first);
    }

    #[test]
    fn with_experience_the_first_question_comes_where_a_result_is_likely() {
        let durations = Durations::new((1..=100).map(Duration::from_secs));
        let first = durations.wait(None, &STARTING, 0.5).as_secs_f64();
        assert!((9.0..=10.5).contains(&first), "{first}");
        assert_eq!(durations.median(&STARTING), Duration::from_secs(50));
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut durations = Durations::new((0..KEPT).map(|_| Duration::from_secs(100)));
        for _ in 0..KEPT {
            durations.saw(Duration::from_secs(1));
        }
        assert_eq!(durations.median(&STARTING), Duration::from_secs(1));
    }

    #[test]
    fn the_tail_grows_sparse_and_no_wait_is_nothing() {
        let durations = Durations::new([Duration::from_secs(60); ENOUGH]);
        let wait = |age| durations.wait(Some(Duration::from_secs(age)), &STARTING, 0.5);
        assert_eq!(wait(60), Duration::from_secs(6));
        assert_eq!(wait(240), Duration::from_secs(20));
        assert_eq!(wait(43_200), STARTING.slowest);
        let instant = Durations::new([Duration::ZERO; ENOUGH]);
        assert_eq!(instant.wait(None, &STARTING, 0.0), SHORTEST);
        assert_eq!(instant.wait(Some(Duration::ZERO), &STARTING, 0.0), SHORTEST);
    }

    #[test]
    fn a_few_are_no_experience() {
        let durations = Durations::new([Duration::from_secs(1); ENOUGH - 1]);
        assert_eq!(durations.wait(None, &STARTING, 0.5), STARTING.first);
        assert_eq!(durations.median(&STARTING), STARTING.first * 3);
    }
}
