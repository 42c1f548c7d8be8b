//! How long to wait before something is tried again.
//!
//! Chance is an argument: `jitter` is a number from 0 up to, but not including, 1. The wait lies between half and the whole
//! of the step, so that many that failed together do not come back together and none comes back at once.

use std::time::Duration;

/// A doubling wait between two bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// The first step.
    pub first: Duration,
    /// No step is longer.
    pub longest: Duration,
}

/// Between probes while an account or a gateway refuses.
pub const PROBE: Backoff = Backoff { first: Duration::from_secs(60), longest: Duration::from_secs(15 * 60) };

/// After a submission that certainly did not leave, and after a poll without an answer.
pub const CONNECTION: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// After a transfer that broke.
pub const TRANSFER: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(30) };

/// Before an effect is tried again that the disk refused: full, read-only, not there.
pub const DISK: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(15) };

/// No word of the API's makes us wait longer than this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(10 * 60);

impl Backoff {
    /// The wait after `failures` failures in a row (at least one).
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let step = self.first.saturating_mul(1 << doublings).min(self.longest);
        step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// How long after its `bad_links`-th definite bad answer a job asks for another link: 1, 5, 15, then every 60 minutes.
pub fn bad_link(bad_links: u32) -> Duration {
    let minutes = match bad_links {
        0..=LINKS_AT_ONCE => return Duration::from_secs(2),
        3 => 1,
        4 => 5,
        5 => 15,
        6.. => 60,
    };
    Duration::from_secs(minutes * 60)
}

/// Bad answers of a job's own link that are taken for a passing hiccup: the link is asked for again at once.
const LINKS_AT_ONCE: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_nothing() {
        let waits: Vec<_> = (1..8).map(|n| PROBE.wait(n, 0.999_999).as_secs_f64().round()).collect();
        assert_eq!(waits, [60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]);
        assert_eq!(PROBE.wait(1, 0.0), Duration::from_secs(30));
        assert_eq!(PROBE.wait(u32::MAX, 0.0), Duration::from_secs(450));
    }

    #[test]
    fn the_api_can_stop_us_for_ten_minutes_at_most() {
        assert_eq!(RETRY_AFTER_MAX.as_secs(), 600);
    }

    #[test]
    fn a_third_bad_link_waits_longer_and_longer() {
        let minutes: Vec<_> = (1..9).map(|n| bad_link(n).as_secs() / 60).collect();
        assert_eq!(minutes, [0, 0, 1, 5, 15, 60, 60, 60]);
    }
}
