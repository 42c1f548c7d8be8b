//! Requests a second: a token bucket that submissions and polls share.
//!
//! The bucket holds one second's worth, at least one request, so that a burst never asks more in a second than twice the rate; or as
//! many as the operator says.
//! When the API says that it was too often, the rate is halved for a while and then comes back step by step.

use std::time::{Duration, Instant};

/// The rate is not lowered below this part of the configured one.
const SLOWEST: f64 = 1.0 / 16.0;

/// No rate is lower: one request in 11 days.
const LOWEST: f64 = 1e-6;

/// How long a lowered rate holds before it is doubled again.
const HOLD: Duration = Duration::from_secs(60);

/// No wait that the API names is kept longer, so that no answer can stop us for good.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Without a configured limit, a complaint of the API still makes us wait this long.
const PAUSE_UNLIMITED: Duration = Duration::from_secs(2);

/// The bucket.
#[derive(Clone, PartialEq, Debug)]
pub struct Rate {
    /// Requests a second as configured; `None`: no limit.
    configured: Option<f64>,
    /// Requests that the bucket holds; `None`: one second's worth.
    burst: Option<u32>,
    /// The part of it that is used now, 1 at best.
    part: f64,
    /// When `part` may be doubled.
    hold_until: Option<Instant>,
    /// Nothing is asked before this, because the API said so.
    closed_until: Option<Instant>,
    /// Requests that may be made at once, at `counted_at`.
    tokens: f64,
    counted_at: Instant,
}

impl Rate {
    /// A full bucket of `burst` requests (`None`: one second's worth), filled with `per_second` of them (`None`: no limit).
    pub fn new(per_second: Option<f64>, burst: Option<u32>, now: Instant) -> Self {
        let per_second = sane(per_second);
        Self {
            configured: per_second,
            burst,
            part: 1.0,
            hold_until: None,
            closed_until: None,
            tokens: per_second.map_or(0.0, |per_second| capacity(per_second, burst)),
            counted_at: now,
        }
    }

    /// When a request may be made, if not now.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        self.clone().take(now).err()
    }

    /// Takes one request out, if there is one.
    ///
    /// # Errors
    /// The instant at which it is worth asking again.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(until) = self.closed_until.filter(|until| *until > now) {
            return Err(until);
        }
        self.closed_until = None;
        let Some(configured) = self.configured else { return Ok(()) };
        if self.hold_until.is_some_and(|until| until <= now) {
            self.part = (self.part * 2.0).min(1.0);
            self.hold_until = (self.part < 1.0).then_some(now + HOLD);
        }
        let rate = configured * self.part;
        let elapsed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate).min(capacity(configured, self.burst));
        self.counted_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // Rounded up a little, so that who comes back then finds a whole request.
        Err(now + Duration::from_secs_f64((1.0 - self.tokens) / rate) + Duration::from_micros(50))
    }

    /// The API said that it was too often, and perhaps when to come back.
    pub fn too_fast(&mut self, retry_after: Option<Duration>, now: Instant) {
        // Many answers of one moment are one complaint.
        if self.closed_until.is_none_or(|until| until <= now) {
            self.part = (self.part / 2.0).max(SLOWEST);
        }
        self.hold_until = Some(now + HOLD);
        let wait = match (retry_after, self.configured) {
            (Some(wait), _) => wait,
            (None, Some(configured)) => Duration::from_secs_f64(1.0 / (configured * self.part)),
            (None, None) => PAUSE_UNLIMITED,
        };
        let until = now + wait.min(WAIT_MAX);
        let until = self.closed_until.map_or(until, |earlier| earlier.max(until));
        self.closed_until = Some(until);
        // Nothing is saved up meanwhile: it opens with one request, not with as many as it complained about.
        self.tokens = self.tokens.min(1.0);
        self.counted_at = until;
    }

    /// The operator has set another rate or burst.
    pub fn set(&mut self, per_second: Option<f64>, burst: Option<u32>, now: Instant) {
        if (self.configured, self.burst) != (sane(per_second), burst) {
            *self = Self { closed_until: self.closed_until, ..Self::new(per_second, burst, now) };
        }
    }
}

/// Nothing, less than nothing and no number are no limit; a rate so low that its waits could not be told is raised.
fn sane(per_second: Option<f64>) -> Option<f64> {
    per_second.filter(|rate| *rate > 0.0).map(|rate| rate.clamp(LOWEST, f64::MAX))
}

fn capacity(per_second: f64, burst: Option<u32>) -> f64 {
    burst.map_or(per_second, f64::from).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: &mut Rate, start: Instant, seconds: u64) -> usize {
        let end = start + Duration::from_secs(seconds);
        let mut now = start;
        let mut taken = 0;
        while now < end {
            match rate.take(now) {
                Ok(()) => taken += 1,
                Err(later) => now = later,
            }
        }
        taken
    }

    #[test]
    fn ten_seconds_give_ten_times_the_rate_and_one_bucket() {
        let start = Instant::now();
        let taken = run(&mut Rate::new(Some(5.0), None, start), start, 10);
        assert!((54..=56).contains(&taken), "{taken}");
    }

    #[test]
    fn a_burst_is_as_large_as_the_operator_says() {
        let start = Instant::now();
        for (burst, most) in [(1, 51), (7, 57)] {
            let taken = run(&mut Rate::new(Some(5.0), Some(burst), start), start, 10);
            assert!((most - 1..=most).contains(&taken), "{burst}: {taken}");
        }
    }

    #[test]
    fn less_than_one_a_second_still_asks_once_at_once() {
        let start = Instant::now();
        let mut rate = Rate::new(Some(0.5), None, start);
        assert_eq!(rate.take(start), Ok(()));
        let later = rate.take(start).expect_err("the bucket holds one");
        assert!(later >= start + Duration::from_secs(2) && later < start + Duration::from_secs(3));
        assert_eq!(rate.take(later), Ok(()));
    }

    #[test]
    fn a_complaint_halves_the_rate_and_time_brings_it_back() {
        let start = Instant::now();
        let mut rate = Rate::new(Some(4.0), None, start);
        rate.too_fast(None, start);
        let slow = run(&mut rate, start, 50);
        assert!((95..=101).contains(&slow), "{slow}");
        let fast = run(&mut rate, start + Duration::from_secs(70), 50);
        assert!((199..=206).contains(&fast), "{fast}");
    }

    #[test]
    fn complaints_of_one_moment_are_one_and_it_opens_with_one_request() {
        let start = Instant::now();
        let mut rate = Rate::new(Some(20.0), None, start);
        for _ in 0..10 {
            rate.too_fast(Some(Duration::from_secs(30)), start);
        }
        let opens = start + Duration::from_secs(30);
        assert_eq!((rate.take(opens - Duration::from_millis(1)), rate.take(opens)), (Err(opens), Ok(())));
        let next = rate.take(opens).expect_err("nothing was saved up");
        assert!(next - opens < Duration::from_millis(102), "half the rate, not a thousandth: {:?}", next - opens);
        rate.too_fast(None, opens);
        let slower = run(&mut rate, opens, 10);
        assert!((48..=51).contains(&slower), "another complaint is another one: {slower}");
    }

    #[test]
    fn the_api_s_own_wait_is_kept_even_without_a_limit() {
        let start = Instant::now();
        let mut rate = Rate::new(None, None, start);
        rate.too_fast(Some(Duration::from_secs(7)), start);
        assert_eq!(rate.take(start), Err(start + Duration::from_secs(7)));
        assert_eq!(rate.take(start + Duration::from_secs(7)), Ok(()));
    }

    #[test]
    fn no_rate_and_no_answer_makes_the_bucket_panic_or_stop_for_good() {
        let start = Instant::now();
        for rate in [0.0, -1.0, f64::NAN] {
            assert_eq!(Rate::new(Some(rate), None, start), Rate::new(None, None, start));
        }
        let mut rate = Rate::new(Some(f64::MIN_POSITIVE), None, start);
        assert_eq!(rate.take(start), Ok(()));
        assert!(rate.take(start).is_err());
        rate.too_fast(None, start);
        rate.too_fast(Some(Duration::MAX), start);
        assert!(rate.take(start).expect_err("closed") <= start + WAIT_MAX);
        rate.set(Some(f64::INFINITY), None, start);
        assert!(rate.take(start + WAIT_MAX).is_ok());
    }

    #[test]
    fn the_longest_of_several_waits_holds() {
        let start = Instant::now();
        let mut rate = Rate::new(Some(100.0), None, start);
        rate.too_fast(Some(Duration::from_secs(9)), start);
        rate.too_fast(Some(Duration::from_secs(1)), start);
        assert_eq!(rate.take(start), Err(start + Duration::from_secs(9)));
    }

    #[test]
    fn another_rate_does_not_lift_what_the_api_said() {
        let start = Instant::now();
        let mut rate = Rate::new(Some(1.0), None, start);
        rate.too_fast(Some(Duration::from_secs(9)), start);
        rate.set(None, None, start);
        assert_eq!(rate.take(start), Err(start + Duration::from_secs(9)));
    }
}
