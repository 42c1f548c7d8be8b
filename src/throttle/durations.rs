//! How long tasks take, as far as seen, forgetting slowly.
//!
//! Kept are the mean and the spread of the logarithm, each task counting a hundredth less with every one that follows: two numbers
//! fit the right-skewed times of any service, and never claim to be surer than what was seen. The share of its time that a task
//! spends in the queue is kept as a histogram, for it says more than its mean: a task that is still in the queue is not about to be
//! done.

use std::time::Duration;

/// What each task that is seen leaves of the weight of those before.
const KEPT: f64 = 0.99;

/// Fewer than this are no experience.
const ENOUGH: u32 = 5;

/// So many tasks' worth of doubt about the spread is there from the start: the first few may be alike by chance.
const DOUBT: f64 = 2.0;

/// The spread of the logarithm that is expected of them.
const DOUBTED_SPREAD: f64 = 0.5;

/// No spread is taken for less: the next task may always be a little faster or slower than all before.
const SPREAD_MIN: f64 = 0.05;

/// Bins of the share of the time in the queue.
const BINS: usize = 8;

/// What each bin holds besides what was seen, so that nothing is held for impossible.
const BIN_MIN: f64 = 0.5;

/// No task is taken to have ended sooner: a logarithm needs more than nothing.
const SHORTEST: Duration = Duration::from_millis(1);

/// Starting points for a service of which nothing was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Starting {
    /// From the submission to the first question.
    pub first: Duration,
    /// Between questions.
    pub every: Duration,
    /// Between questions in the tail.
    pub slowest: Duration,
}

/// How long one task took, as far as it was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Took {
    /// From accepted to done.
    pub duration: Duration,
    /// The part of it that the task was in the queue; `None`: nobody saw.
    pub queued: Option<Duration>,
}

/// What was seen.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Durations {
    seen: u32,
    /// Sum of the weights.
    weight: f64,
    /// Weighted sums of the logarithm of seconds, and of its square.
    sum: f64,
    squares: f64,
    shares: [f64; BINS],
}

/// What is expected of a task, learned from those before.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Expected {
    /// Mean of the logarithm of seconds.
    pub mean: f64,
    /// Its standard deviation.
    pub spread: f64,
    shares: [f64; BINS],
}

impl Durations {
    /// Starts with what was remembered, oldest first.
    pub fn new(remembered: impl IntoIterator<Item = Took>) -> Self {
        let mut durations = Self::default();
        remembered.into_iter().for_each(|took| durations.saw(took));
        durations
    }

    /// A task took this long.
    pub fn saw(&mut self, took: Took) {
        let logarithm = took.duration.max(SHORTEST).as_secs_f64().ln();
        self.seen = self.seen.saturating_add(1);
        for kept in [&mut self.weight, &mut self.sum, &mut self.squares].into_iter().chain(&mut self.shares) {
            *kept *= KEPT;
        }
        self.weight += 1.0;
        self.sum += logarithm;
        self.squares += logarithm * logarithm;
        if let Some(queued) = took.queued {
            let share = queued.as_secs_f64() / took.duration.max(SHORTEST).as_secs_f64();
            self.shares[bin(share)] += 1.0;
        }
    }

    /// What half of the tasks take at most; from `starting` before there is experience.
    pub fn median(&self, starting: &Starting) -> Duration {
        match self.expected() {
            Some(expected) => expected.median(),
            None => starting.first.max(starting.every) * 3,
        }
    }

    /// What is expected of the next task; `None` before there is experience.
    pub fn expected(&self) -> Option<Expected> {
        if self.seen < ENOUGH {
            return None;
        }
        let mean = self.sum / self.weight;
        let around_mean = (self.squares - mean * self.sum).max(0.0);
        let variance = (around_mean + DOUBT * DOUBTED_SPREAD * DOUBTED_SPREAD) / (self.weight + DOUBT);
        let all: f64 = self.shares.iter().map(|bin| bin + BIN_MIN).sum();
        let shares = self.shares.map(|bin| (bin + BIN_MIN) / all);
        Some(Expected { mean, spread: variance.sqrt().max(SPREAD_MIN), shares })
    }
}

impl Expected {
    /// What half of the tasks take at most.
    pub fn median(&self) -> Duration {
        Duration::try_from_secs_f64(self.mean.exp()).unwrap_or(Duration::MAX)
    }

    /// How likely a task spends at most that share of its time in the queue.
    pub fn share_up_to(&self, share: f64) -> f64 {
        let share = share.clamp(0.0, 1.0);
        let bin = bin(share);
        let whole: f64 = self.shares.iter().take(bin).sum();
        whole + self.shares[bin] * (share * BINS as f64 - bin as f64)
    }
}

/// Where a share belongs; whatever is no share of anything belongs to the last bin.
fn bin(share: f64) -> usize {
    // Truncation is meant, and saturates.
    ((share * BINS as f64) as usize).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const STARTING: Starting =
        Starting { first: Duration::from_secs(10), every: Duration::from_secs(5), slowest: Duration::from_secs(30) };

    fn took(seconds: f64, queued: Option<f64>) -> Took {
        Took { duration: Duration::from_secs_f64(seconds), queued: queued.map(Duration::from_secs_f64) }
    }

    #[test]
    fn a_few_are_no_experience() {
        let few = Durations::new([took(1.0, None); ENOUGH as usize - 1]);
        assert_eq!(few.expected(), None);
        assert_eq!(few.median(&STARTING), STARTING.first * 3);
    }

    #[test]
    fn mean_and_spread_are_those_of_the_logarithm() {
        // The logarithms are ln 60 and 0.8 beside it, so many of each that the doubt of the start is gone.
        let both = |n: usize| took((60f64.ln() + if n.is_multiple_of(2) { 0.8 } else { -0.8 }).exp(), None);
        let expected = Durations::new((0..400).map(both)).expected().expect("experience");
        assert!((expected.mean - 60f64.ln()).abs() < 0.01, "{expected:?}");
        assert!((expected.spread - 0.8).abs() < 0.02, "{expected:?}");
        assert!((expected.median().as_secs_f64() - 60.0).abs() < 1.0, "{expected:?}");
    }

    #[test]
    fn what_is_old_is_forgotten_slowly() {
        let mut durations = Durations::new([took(100.0, None); 1000]);
        durations.saw(took(1.0, None));
        assert!(durations.median(&STARTING) > Duration::from_secs(90), "one is no reason to believe the contrary");
        (0..1000).for_each(|_| durations.saw(took(1.0, None)));
        assert!(durations.median(&STARTING) < Duration::from_millis(1100));
    }

    #[test]
    fn tasks_that_were_alike_leave_some_doubt() {
        let alike = Durations::new([took(60.0, None); 5]).expected().expect("experience");
        assert!(alike.spread > 0.2, "{alike:?}");
        let sure = Durations::new([took(60.0, None); 5000]).expected().expect("experience");
        assert!((SPREAD_MIN..0.1).contains(&sure.spread), "{sure:?}");
    }

    #[test]
    fn the_share_of_the_queue_is_learned() {
        let half = Durations::new([took(60.0, Some(30.1)); 1000]).expected().expect("experience");
        assert!(half.share_up_to(0.45) < 0.05, "{half:?}");
        assert!(half.share_up_to(0.7) > 0.95, "{half:?}");
        assert!(half.share_up_to(0.45) > 0.005, "nothing is impossible: {half:?}");
        let unseen = Durations::new([took(60.0, None); 1000]).expected().expect("experience");
        assert!((unseen.share_up_to(0.3) - 0.3).abs() < 1e-9, "{unseen:?}");
        assert!((unseen.share_up_to(2.0) - 1.0).abs() < 1e-9 && unseen.share_up_to(-1.0) == 0.0, "{unseen:?}");
    }

    #[test]
    fn nothing_that_was_seen_is_no_number() {
        for seconds in [0.0, 1e-9, 1e12] {
            let expected = Durations::new([took(seconds, Some(seconds)); 9]).expected().expect("experience");
            assert!(expected.mean.is_finite() && expected.spread.is_finite(), "{expected:?}");
            assert!((expected.share_up_to(1.0) - 1.0).abs() < 1e-9, "{expected:?}");
        }
    }
}
