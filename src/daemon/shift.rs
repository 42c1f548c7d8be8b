//! How far the wall clock was set, until the ledger knows: the next run has nothing else to measure the budget's windows by.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use crate::job::backoff::DISK;

/// A clock that was set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Set {
    /// How far; negative: back.
    pub by: SignedDuration,
    /// What it says since.
    pub now: Timestamp,
}

/// What the ledger is still to be told. One telling at a time: two that pass each other would move what lies between them twice.
#[derive(Debug, Default)]
pub struct Shift {
    untold: Option<Set>,
    telling: bool,
    /// Refusals in a row.
    refusals: u32,
    /// Not before this is it told again.
    due: Option<Instant>,
}

impl Shift {
    /// The clock was set, perhaps once more.
    pub fn set(&mut self, set: Set) {
        let earlier = self.untold.map_or(SignedDuration::ZERO, |earlier| earlier.by);
        self.untold = Some(Set { by: earlier.saturating_add(set.by), ..set });
    }

    /// What is to be told now; until it is known what came of it nothing else is.
    pub fn next(&mut self, now: Instant) -> Option<Set> {
        if self.telling || self.due.is_some_and(|due| due > now) {
            return None;
        }
        let set = self.untold.take()?;
        self.telling = true;
        Some(set)
    }

    /// The ledger knows, or nothing can be told to it any more.
    pub fn told(&mut self) {
        *self = Self { untold: self.untold, ..Self::default() };
    }

    /// The disk refuses it: it is told again, together with what has come since. `chance`, below 1, spreads the wait. How often in
    /// a row it was refused now.
    pub fn refused(&mut self, set: Set, now: Instant, chance: f64) -> u32 {
        let later = self.untold.unwrap_or(Set { by: SignedDuration::ZERO, ..set });
        self.untold = Some(Set { by: set.by.saturating_add(later.by), ..later });
        self.telling = false;
        self.refusals = self.refusals.saturating_add(1);
        self.due = Some(now + DISK.wait(self.refusals, chance));
        self.refusals
    }

    /// What the ledger was not told, at the end.
    pub fn last(&mut self) -> Option<Set> {
        self.untold.take()
    }

    /// Whether the ledger knows all.
    pub fn is_settled(&self) -> bool {
        self.untold.is_none() && !self.telling
    }

    /// When something is to be told, if nothing is being told.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        (self.untold.is_some() && !self.telling).then(|| self.due.unwrap_or(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(minutes: i64, now: i64) -> Set {
        let now = Timestamp::from_second(now * 60).expect("in range");
        Set { by: SignedDuration::from_mins(minutes), now }
    }

    #[test]
    fn it_is_told_at_once_and_once() {
        let (mut shift, now) = (Shift::default(), Instant::now());
        assert_eq!((shift.next(now), shift.due(now)), (None, None));
        shift.set(set(60, 100));
        assert_eq!(shift.due(now), Some(now));
        assert_eq!(shift.next(now), Some(set(60, 100)));
        assert!(!shift.is_settled());
        shift.told();
        assert_eq!((shift.next(now), shift.due(now), shift.is_settled()), (None, None, true));
    }

    #[test]
    fn what_comes_while_it_is_told_waits_for_its_end() {
        let (mut shift, now) = (Shift::default(), Instant::now());
        shift.set(set(60, 100));
        assert_eq!(shift.next(now), Some(set(60, 100)));
        shift.set(set(-10, 95));
        shift.set(set(5, 101));
        assert_eq!((shift.next(now), shift.due(now)), (None, None));
        shift.told();
        assert_eq!(shift.next(now), Some(set(-5, 101)));
    }

    #[test]
    fn what_is_refused_is_told_again_later_with_what_came_since() {
        let (mut shift, now) = (Shift::default(), Instant::now());
        shift.set(set(60, 100));
        let first = shift.next(now).expect("it is told");
        assert_eq!(shift.refused(first, now, 0.5), 1);
        let due = shift.due(now).expect("it is told again");
        assert!(due > now);
        shift.set(set(-10, 95));
        assert_eq!(shift.next(now), None, "a clock that is set again does not hurry the disk");
        let again = shift.next(due).expect("it is due");
        assert_eq!(again, set(50, 95));
        shift.set(set(1, 97));
        assert_eq!(shift.refused(again, due, 0.5), 2);
        assert_eq!(shift.last(), Some(set(51, 97)));
        assert!(shift.is_settled());
    }

    #[test]
    fn a_refusal_that_is_over_is_forgotten() {
        let (mut shift, now) = (Shift::default(), Instant::now());
        shift.set(set(60, 100));
        let first = shift.next(now).expect("it is told");
        shift.refused(first, now, 0.5);
        let due = shift.due(now).expect("it is told again");
        shift.next(due).expect("it is due");
        shift.told();
        shift.set(set(1, 200));
        assert_eq!(shift.next(now), Some(set(1, 200)));
        assert_eq!(shift.refused(set(1, 200), now, 0.5), 1);
    }
}
