//! How many tasks to have in flight: found by growing until the API says that it is too many, and followed both ways.
//!
//! The window starts at one and grows by one with each acceptance while at least half of it is used, so it doubles in each round. Once the API has refused, what
//! was in flight then is the limit; from time to time one more is tried, because the account may have become larger.

use std::time::{Duration, Instant};

/// After a refusal nothing more is tried for a twelfth of the time a task takes, but at least this long.
const REST_MIN: Duration = Duration::from_secs(2);

/// After this many acceptances at the known limit, one more is tried.
const ACCEPTED_BEFORE_TRYING_MORE: u32 = 20;

/// The window.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// How many may be in flight now.
    size: usize,
    /// The operator's ceiling.
    ceiling: usize,
    /// Whether the API has said where the limit is, so that growing is an experiment.
    found: bool,
    /// Acceptances since the limit was found or confirmed.
    accepted: u32,
    /// Nothing is submitted before this.
    rest_until: Option<Instant>,
}

/// What survives a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learned {
    /// How many may be in flight.
    pub size: usize,
    /// Whether the API has said so.
    pub found: bool,
}

impl Window {
    /// Starts at one, or at what was learned before; never above `ceiling` (at least 1).
    pub fn new(ceiling: usize, learned: Option<Learned>) -> Self {
        let ceiling = ceiling.max(1);
        let Learned { size, found } = learned.unwrap_or(Learned { size: 1, found: false });
        Self { size: size.clamp(1, ceiling), ceiling, found, accepted: 0, rest_until: None }
    }

    /// How many may be in flight.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What is worth remembering.
    pub fn learned(&self) -> Learned {
        Learned { size: self.size, found: self.found }
    }

    /// Whether another submission may start with `in_flight` running.
    pub fn admits(&self, in_flight: usize, now: Instant) -> bool {
        in_flight < self.size && self.rest_until.is_none_or(|until| until <= now)
    }

    /// When a rest ends, if there is one.
    pub fn rest_until(&self) -> Option<Instant> {
        self.rest_until
    }

    /// A submission was accepted; `in_flight` counts it.
    pub fn accepted(&mut self, in_flight: usize) {
        if self.found {
            self.accepted += 1;
            if in_flight > self.size {
                // It was the one more that was tried: the account has become larger.
                self.size = in_flight.min(self.ceiling);
                self.accepted = 0;
            } else if self.accepted >= ACCEPTED_BEFORE_TRYING_MORE && in_flight >= self.size {
                self.size = (self.size + 1).min(self.ceiling);
                self.accepted = 0;
            }
        } else if self.size < in_flight.saturating_mul(2) {
            // A window that is not used says nothing about the account: grown idly, it would end in a storm of refusals.
            self.size = (self.size + 1).min(self.ceiling);
        }
    }

    /// The API said that there are too many; `others` of ours were in flight, the refused one not counted. `median` is what a
    /// task takes, `at_least` how long the API wants to be left alone.
    pub fn refused(&mut self, others: usize, median: Duration, at_least: Duration, now: Instant) {
        // With none of ours in flight somebody else uses the account: one at a time, slower.
        self.size = others.clamp(1, self.ceiling);
        self.found = true;
        self.accepted = 0;
        let rest = if others == 0 { median / 2 } else { median / 12 };
        self.rest_until = Some(now + rest.max(REST_MIN).max(at_least));
    }

    /// A task of ours has ended, so there is room now whatever was said before.
    pub fn freed(&mut self) {
        self.rest_until = None;
    }

    /// The operator has set another ceiling.
    pub fn set_ceiling(&mut self, ceiling: usize) {
        self.ceiling = ceiling.max(1);
        self.size = self.size.min(self.ceiling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn grows_with_each_acceptance_up_to_the_ceiling() {
        let mut window = Window::new(5, None);
        let sizes: Vec<_> = (1..8)
            .map(|n| {
                window.accepted(n.min(window.size()));
                window.size()
            })
            .collect();
        assert_eq!(sizes, [2, 3, 4, 5, 5, 5, 5]);
    }

    #[test]
    fn a_refusal_sets_the_limit_to_what_was_in_flight_and_rests() {
        let now = Instant::now();
        let mut window = Window::new(256, None);
        window.accepted(1);
        window.accepted(2);
        window.refused(2, MINUTE, Duration::ZERO, now);
        assert_eq!(window.size(), 2);
        assert!(!window.admits(1, now + Duration::from_secs(4)));
        assert!(window.admits(1, now + Duration::from_secs(5)));
        assert!(!window.admits(2, now + MINUTE));
    }

    #[test]
    fn the_api_may_ask_for_a_longer_rest() {
        let now = Instant::now();
        let mut window = Window::new(256, None);
        window.refused(1, MINUTE, MINUTE, now);
        assert_eq!(window.rest_until(), Some(now + MINUTE));
    }

    #[test]
    fn room_that_a_task_gave_back_is_used_at_once() {
        let now = Instant::now();
        let mut window = Window::new(256, Some(Learned { size: 1, found: true }));
        window.refused(1, MINUTE, Duration::ZERO, now);
        window.freed();
        assert!(window.admits(0, now));
    }

    #[test]
    fn one_more_is_tried_after_a_while() {
        let mut window = Window::new(256, Some(Learned { size: 2, found: true }));
        for _ in 0..ACCEPTED_BEFORE_TRYING_MORE {
            window.accepted(2);
        }
        assert_eq!(window.size(), 3);
    }

    #[test]
    fn with_nothing_of_ours_in_flight_somebody_else_uses_the_account() {
        let now = Instant::now();
        let mut window = Window::new(256, None);
        window.refused(0, MINUTE, Duration::ZERO, now);
        assert_eq!(window.size(), 1);
        assert_eq!(window.rest_until(), Some(now + MINUTE / 2));
    }

    #[test]
    fn what_was_learned_never_exceeds_the_ceiling() {
        assert_eq!(Window::new(2, Some(Learned { size: 9, found: true })).size(), 2);
        let mut window = Window::new(9, Some(Learned { size: 9, found: true }));
        window.set_ceiling(3);
        assert_eq!(window.size(), 3);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = Window::new(256, None);
        for _ in 0..100 {
            window.accepted(1);
        }
        assert_eq!(window.size(), 2);
    }

    #[test]
    fn an_acceptance_above_the_known_limit_raises_it() {
        let mut window = Window::new(4, Some(Learned { size: 2, found: true }));
        window.accepted(3);
        assert_eq!(window.learned(), Learned { size: 3, found: true });
        window.accepted(9);
        assert_eq!(window.size(), 4);
    }

    #[test]
    fn refusals_in_a_row_find_the_limit() {
        let now = Instant::now();
        let mut window = Window::new(256, Some(Learned { size: 5, found: false }));
        for others in [4, 3, 2] {
            window.refused(others, Duration::ZERO, Duration::ZERO, now);
        }
        assert_eq!(window.learned(), Learned { size: 2, found: true });
        assert_eq!(window.rest_until(), Some(now + REST_MIN));
        assert!(!window.admits(1, now) && window.admits(1, now + REST_MIN));
    }
}
