//! The guard on spending: submissions in the last hour and in the last day.
//!
//! Each intent reserves one; what was certainly not accepted is given back. What is in doubt counts as spent.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

/// The window of `per_hour`.
pub const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The window of `per_day`.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The operator's limits; `None`: no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// In the last 60 minutes.
    pub per_hour: Option<u32>,
    /// In the last 24 hours.
    pub per_day: Option<u32>,
}

/// What was reserved in the last day; `K` tells one intent from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Budget<K> {
    limits: Limits,
    reserved: BTreeSet<(Timestamp, K)>,
    /// When each was reserved.
    at: BTreeMap<K, Timestamp>,
}

impl<K: Ord + Copy> Budget<K> {
    /// Starts with what was remembered.
    pub fn new(limits: Limits, remembered: impl IntoIterator<Item = (K, Timestamp)>) -> Self {
        let at: BTreeMap<K, Timestamp> = remembered.into_iter().collect();
        Self { limits, reserved: at.iter().map(|(intent, at)| (*at, *intent)).collect(), at }
    }

    /// The operator's limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The operator has set other limits.
    pub fn set(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether another submission may be reserved now.
    ///
    /// # Errors
    /// The instant from which it may.
    pub fn room(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        if self.limits == Limits::default() {
            return Ok(());
        }
        self.forget(now);
        let hour = self.frees_at(self.limits.per_hour, HOUR, now);
        let day = self.frees_at(self.limits.per_day, DAY, now);
        match hour.max(day) {
            Some(at) => Err(at),
            None => Ok(()),
        }
    }

    /// Reserves a submission.
    pub fn reserve(&mut self, intent: K, at: Timestamp) {
        self.forget(at);
        self.give_back(intent);
        self.reserved.insert((at, intent));
        self.at.insert(intent, at);
    }

    /// Gives a reservation back.
    pub fn give_back(&mut self, intent: K) {
        if let Some(at) = self.at.remove(&intent) {
            self.reserved.remove(&(at, intent));
        }
    }

    /// The wall clock was set by so much, and says `now`: what was reserved keeps its distance from it. What was reserved under a clock
    /// that was right, by a run before, is not known from the rest; where that makes a difference, more counts as spent.
    pub fn shift(&mut self, by: SignedDuration, now: Timestamp) {
        let shifted = |(at, intent): (Timestamp, K)| {
            // Set back: what lies before now was not reserved under the clock that was ahead.
            let moves = by.is_positive() || at > now;
            (if moves { at.checked_add(by).unwrap_or(now).min(now) } else { at }, intent)
        };
        self.reserved = std::mem::take(&mut self.reserved).into_iter().map(shifted).collect();
        self.at = self.reserved.iter().map(|(at, intent)| (*intent, *at)).collect();
    }

    /// Reservations in the last hour and in the last day.
    pub fn spent(&self, now: Timestamp) -> (usize, usize) {
        let within = |window: SignedDuration| {
            self.reserved.iter().rev().take_while(|(at, _)| now.duration_since(*at) < window).count()
        };
        (within(HOUR), within(DAY))
    }

    /// When the window has room again; `None` if it has now. A reservation from the future (the clock was set back) counts.
    fn frees_at(&self, limit: Option<u32>, window: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        let limit = usize::try_from(limit?).unwrap_or(usize::MAX);
        // With a limit of zero nothing ever frees it: look again after a window.
        let Some(before) = limit.checked_sub(1) else { return now.checked_add(window).ok() };
        // Once this one has passed, there are fewer than the limit.
        let (blocking, _) = self.reserved.iter().nth_back(before)?;
        (now.duration_since(*blocking) < window).then(|| blocking.checked_add(window).ok()).flatten()
    }

    fn forget(&mut self, now: Timestamp) {
        while self.reserved.first().is_some_and(|(at, _)| now.duration_since(*at) >= DAY) {
            if let Some((_, intent)) = self.reserved.pop_first() {
                self.at.remove(&intent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minutes * 60).expect("in range")
    }

    #[test]
    fn a_window_rolls() {
        let mut budget = Budget::new(Limits { per_hour: Some(2), per_day: None }, []);
        budget.reserve(1, at(0));
        assert_eq!(budget.room(at(10)), Ok(()));
        budget.reserve(2, at(10));
        assert_eq!(budget.room(at(20)), Err(at(60)));
        assert_eq!(budget.room(at(60)), Ok(()));
    }

    #[test]
    fn what_was_given_back_is_not_spent() {
        let mut budget = Budget::new(Limits { per_hour: Some(1), per_day: Some(1) }, []);
        budget.reserve(1, at(0));
        assert_eq!(budget.room(at(1)), Err(at(24 * 60)));
        budget.give_back(1);
        assert_eq!(budget.room(at(1)), Ok(()));
        assert_eq!(budget.spent(at(1)), (0, 0));
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_through() {
        let mut budget = Budget::<u8>::new(Limits { per_hour: Some(0), per_day: None }, []);
        assert_eq!(budget.room(at(0)), Err(at(60)));
    }

    #[test]
    fn what_was_remembered_counts() {
        let mut budget = Budget::new(Limits { per_hour: None, per_day: Some(1) }, [(1, at(0))]);
        assert_eq!(budget.room(at(23 * 60)), Err(at(24 * 60)));
    }

    #[test]
    fn a_limit_that_was_lowered_frees_when_enough_has_passed() {
        let mut budget = Budget::new(Limits::default(), []);
        for n in 0..5 {
            budget.reserve(n, at(i64::from(n)));
        }
        assert_eq!(budget.room(at(5)), Ok(()));
        budget.set(Limits { per_hour: Some(2), per_day: None });
        // Four of the five have to pass.
        assert_eq!(budget.room(at(5)), Err(at(63)));
        assert_eq!(budget.room(at(62)), Err(at(63)));
        assert_eq!(budget.room(at(63)), Ok(()));
        assert_eq!(budget.spent(at(63)), (1, 5));
    }

    #[test]
    fn a_clock_that_is_set_moves_the_window_along() {
        let mut budget = Budget::new(Limits { per_hour: Some(1), per_day: None }, [(1, at(0))]);
        budget.shift(SignedDuration::from_mins(600), at(600));
        assert_eq!(budget.room(at(610)), Err(at(660)));
        budget.shift(SignedDuration::from_mins(-600), at(10));
        assert_eq!(budget.room(at(59)), Err(at(60)));
        assert_eq!(budget.room(at(60)), Ok(()));
    }

    #[test]
    fn what_was_reserved_under_a_right_clock_is_neither_held_for_ever_nor_given_away() {
        let right = || Budget::new(Limits { per_hour: Some(1), per_day: None }, [(1, at(0))]);
        // A machine that began years back, and was set right.
        let mut budget = right();
        budget.shift(SignedDuration::from_mins(1_000_000), at(30));
        assert_eq!(budget.room(at(30)), Err(at(90)));
        // One that began eight hours ahead.
        let mut budget = right();
        budget.shift(SignedDuration::from_mins(-480), at(30));
        assert_eq!(budget.room(at(30)), Err(at(60)));
    }

    #[test]
    fn a_clock_that_was_set_back_gives_nothing_away() {
        let mut budget = Budget::new(Limits { per_hour: Some(1), per_day: None }, [(1, at(30))]);
        assert_eq!(budget.room(at(0)), Err(at(90)));
        assert_eq!(budget.spent(at(0)), (1, 1));
    }
}
