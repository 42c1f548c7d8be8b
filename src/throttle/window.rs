//! How many tasks to have in flight: found by growing until the API says that it is too many, and followed both ways.
//!
//! The window starts at one and grows by one with each acceptance while at least half of it is used, so it doubles in each round. Once the API has refused, what
//! was in flight then is the limit. From then on an early submission, made where a task of ours is likely done but was not seen to
//! be, fills its slot at once or is refused, at most once for each that is accepted; and where it is accepted while all others are
//! seen to run on, the account has become larger, and the window grows as in the beginning.

use std::time::{Duration, Instant};

/// After a refusal nothing more is tried for this part of the time a task takes.
const REST_PART: u32 = 12;

/// A rest is at least this long, or [`REST_OF_EVERY`] of the time between two questions if that is less.
const REST_MIN: Duration = Duration::from_secs(2);

/// See [`REST_MIN`].
const REST_OF_EVERY: f64 = 0.4;

/// While somebody else has all slots, rests grow up to so many times the first one: no longer, or whoever holds the slots would
/// never be met between two tasks.
const ALONE_MAX: u32 = 3;

/// After this many acceptances at the known limit without a refusal, one more is tried.
const ACCEPTED_BEFORE_TRYING_MORE: u32 = 20;

/// With more slots than this no early submission is worth it: one that stands empty is a small part of them.
const EARLY_SIZE_MAX: usize = 64;

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
    /// Whether something was accepted since the last refusal, so that another one may be risked.
    may_risk: bool,
    /// Refusals in a row with none of ours in flight.
    alone: u32,
    /// Nothing is submitted before this.
    rest_until: Option<Instant>,
    /// Nor before this, whatever ends, for the API has said so.
    told_until: Option<Instant>,
    /// Nothing is risked before this.
    risk_at: Option<Instant>,
}

/// What survives a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learned {
    /// How many may be in flight.
    pub size: usize,
    /// Whether the API has said so.
    pub found: bool,
}

/// How long to rest after a refusal.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rest {
    /// What half of the tasks take at most.
    pub median: Duration,
    /// The configured time between two questions, which says in what times we think.
    pub every: Duration,
    /// What the API asks for.
    pub at_least: Duration,
    /// From 0 up to 1: spreads those who wait for the same slot.
    pub chance: f64,
}

impl Window {
    /// Starts at one, or at what was learned before; never above `ceiling` (at least 1).
    pub fn new(ceiling: usize, learned: Option<Learned>) -> Self {
        let ceiling = ceiling.max(1);
        let Learned { size, found } = learned.unwrap_or(Learned { size: 1, found: false });
        let size = size.clamp(1, ceiling);
        Self {
            size,
            ceiling,
            found,
            accepted: 0,
            may_risk: true,
            alone: 0,
            rest_until: None,
            told_until: None,
            risk_at: None,
        }
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
        in_flight < self.size && self.has_rested(now)
    }

    /// Whether one may be risked though all slots that are known are taken, as far as was seen.
    pub fn admits_early(&self, in_flight: usize, now: Instant) -> bool {
        let fits = in_flight == self.size && self.size < self.ceiling && self.size <= EARLY_SIZE_MAX;
        fits && self.found && self.may_risk && self.has_rested(now) && self.risk_at.is_none_or(|at| at <= now)
    }

    /// When a rest ends, if there is one.
    pub fn rest_until(&self) -> Option<Instant> {
        self.rest_until
    }

    /// A submission was accepted; `in_flight` counts it.
    pub fn accepted(&mut self, in_flight: usize) {
        self.may_risk = true;
        self.alone = 0;
        if self.found {
            self.accepted += 1;
            if self.accepted >= ACCEPTED_BEFORE_TRYING_MORE && in_flight >= self.size {
                self.size = (self.size + 1).min(self.ceiling);
                self.accepted = 0;
            }
        } else if self.size < in_flight.saturating_mul(2) {
            // A window that is not used says nothing about the account: grown idly, it would end in a storm of refusals.
            self.size = (self.size + 1).min(self.ceiling);
        }
    }

    /// So many were seen to run at one moment: the account is at least so large, and perhaps larger still.
    pub fn proved(&mut self, running: usize) {
        if running > self.size || !self.found {
            self.size = self.size.max(running + 1).min(self.ceiling);
            self.found = false;
        }
    }

    /// The API said that there are too many; `others` of ours were in flight, the refused one not counted.
    pub fn refused(&mut self, others: usize, rest: Rest, now: Instant) {
        // With none of ours in flight somebody else uses the account: one at a time, slower.
        self.size = others.clamp(1, self.ceiling);
        self.found = true;
        self.accepted = 0;
        self.may_risk = false;
        let least = REST_MIN.min(rest.every.mul_f64(REST_OF_EVERY));
        let mut wait = (rest.median / REST_PART).max(least);
        if others == 0 {
            self.alone = (self.alone + 1).min(ALONE_MAX);
            wait = (wait * self.alone).mul_f64(0.5 + rest.chance.clamp(0.0, 1.0)).max(least);
        } else {
            self.alone = 0;
        }
        self.rest_until = Some(now + wait.max(rest.at_least));
        self.told_until = (!rest.at_least.is_zero()).then(|| now + rest.at_least);
        self.risk_at = self.rest_until;
    }

    /// A task of ours has ended, so there is room now, unless the API wants to be left alone.
    pub fn freed(&mut self) {
        self.rest_until = self.told_until;
    }

    /// The operator has set another ceiling.
    pub fn set_ceiling(&mut self, ceiling: usize) {
        self.ceiling = ceiling.max(1);
        self.size = self.size.min(self.ceiling);
    }

    fn has_rested(&self, now: Instant) -> bool {
        self.rest_until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    const REST: Rest = Rest { median: MINUTE, every: Duration::from_secs(5), at_least: Duration::ZERO, chance: 0.5 };

    fn known(size: usize) -> Window {
        Window::new(256, Some(Learned { size, found: true }))
    }

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
        window.refused(2, REST, now);
        assert_eq!(window.learned(), Learned { size: 2, found: true });
        assert!(!window.admits(1, now + Duration::from_secs(4)));
        assert!(window.admits(1, now + Duration::from_secs(5)));
        assert!(!window.admits(2, now + MINUTE));
    }

    #[test]
    fn the_api_may_ask_for_a_longer_rest_and_short_tasks_need_none_so_long() {
        let now = Instant::now();
        let mut window = Window::new(256, None);
        window.refused(1, Rest { at_least: MINUTE, ..REST }, now);
        assert_eq!(window.rest_until(), Some(now + MINUTE));
        window.refused(1, Rest { median: Duration::ZERO, ..REST }, now);
        assert_eq!(window.rest_until(), Some(now + REST_MIN));
        let quick = Rest { median: Duration::ZERO, every: Duration::from_millis(50), ..REST };
        window.refused(1, quick, now);
        assert_eq!(window.rest_until(), Some(now + Duration::from_millis(20)));
    }

    #[test]
    fn room_that_a_task_gave_back_is_used_at_once() {
        let now = Instant::now();
        let mut window = known(1);
        window.refused(1, REST, now);
        window.freed();
        assert!(window.admits(0, now));
        window.refused(1, Rest { at_least: MINUTE, ..REST }, now);
        window.freed();
        assert!(!window.admits(0, now) && window.admits(0, now + MINUTE), "the API has said when");
    }

    #[test]
    fn one_early_submission_may_be_refused_for_each_that_is_accepted() {
        let now = Instant::now();
        let later = now + MINUTE;
        let mut window = known(2);
        assert!(!window.admits(2, now) && window.admits_early(2, now));
        assert!(!window.admits_early(1, now), "that is no early one");
        assert!(!window.admits_early(3, now), "there is one already");
        window.refused(2, REST, now);
        assert!(!window.admits_early(2, later), "one was refused");
        window.accepted(2);
        assert!(!window.admits_early(2, now), "nothing is risked while it rests");
        assert!(window.admits_early(2, later));
    }

    #[test]
    fn no_early_submission_exceeds_the_ceiling_or_is_made_before_the_limit_is_known_or_with_many_slots() {
        let now = Instant::now();
        assert!(!Window::new(2, Some(Learned { size: 2, found: true })).admits_early(2, now));
        assert!(!Window::new(9, Some(Learned { size: 2, found: false })).admits_early(2, now));
        assert!(!known(EARLY_SIZE_MAX + 1).admits_early(EARLY_SIZE_MAX + 1, now));
    }

    #[test]
    fn an_acceptance_above_the_limit_raises_it_only_if_all_are_seen_to_run() {
        let mut window = known(2);
        window.accepted(3);
        assert_eq!(window.learned(), Learned { size: 2, found: true }, "one of them may be done");
        window.proved(3);
        assert_eq!(window.learned(), Learned { size: 4, found: false }, "there may be more");
        let mut window = known(2);
        window.proved(2);
        assert_eq!(window.learned(), Learned { size: 2, found: true }, "that was known");
        let mut window = Window::new(4, Some(Learned { size: 4, found: true }));
        window.proved(9);
        assert_eq!(window.size(), 4);
    }

    #[test]
    fn one_more_is_tried_after_a_while_without_a_refusal() {
        let mut window = known(2);
        for _ in 0..ACCEPTED_BEFORE_TRYING_MORE {
            window.accepted(2);
        }
        assert_eq!(window.size(), 3);
    }

    #[test]
    fn with_nothing_of_ours_in_flight_somebody_else_uses_the_account() {
        let now = Instant::now();
        let mut window = Window::new(256, None);
        let rests: Vec<u64> = (0..5)
            .map(|_| {
                window.refused(0, REST, now);
                (window.rest_until().expect("a rest") - now).as_secs()
            })
            .collect();
        assert_eq!((window.size(), rests), (1, vec![5, 10, 15, 15, 15]));
        window.accepted(1);
        window.refused(0, Rest { chance: 0.0, ..REST }, now);
        assert_eq!(window.rest_until(), Some(now + Duration::from_millis(2500)));
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
    fn refusals_in_a_row_find_the_limit() {
        let now = Instant::now();
        let mut window = Window::new(256, Some(Learned { size: 5, found: false }));
        for others in [4, 3, 2] {
            window.refused(others, Rest { median: Duration::ZERO, ..REST }, now);
        }
        assert_eq!(window.learned(), Learned { size: 2, found: true });
        assert!(!window.admits(1, now) && window.admits(1, now + REST_MIN));
    }
}
