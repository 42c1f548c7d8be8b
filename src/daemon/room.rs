//! How old is what we know of the room on the disk where videos go.

use std::time::{Duration, Instant};

/// The disk is asked at most this often.
pub const ASKED_EVERY: Duration = Duration::from_secs(1);

/// So old may the answer be by which a pair is claimed: longer than there is between most questions about a task, and no night. A
/// submission that takes the place of a question cannot wait for the answer that is on its way.
const HOLDS: Duration = Duration::from_secs(60);

/// When the disk was asked how much is free. What it said is the driver's to know.
#[derive(Debug, Default)]
pub struct Room {
    asking: bool,
    answered_at: Option<Instant>,
}

impl Room {
    /// Whether the disk is to be asked now; then it is being asked until [`Room::answered`].
    pub fn ask(&mut self, now: Instant) -> bool {
        let asks = !self.asking && !self.is_younger(ASKED_EVERY, now);
        self.asking |= asks;
        asks
    }

    /// The disk has answered, or has refused to.
    pub fn answered(&mut self, now: Instant) {
        *self = Self { asking: false, answered_at: Some(now) };
    }

    /// What was known holds no longer, as other limits are set.
    pub fn forget(&mut self) {
        self.answered_at = None;
    }

    /// Whether the last answer is young enough to claim by.
    pub fn holds(&self, now: Instant) -> bool {
        self.is_younger(HOLDS, now)
    }

    fn is_younger(&self, than: Duration, now: Instant) -> bool {
        self.answered_at.is_some_and(|at| now.saturating_duration_since(at) < than)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_before_the_disk_was_asked_or_by_last_night_s_answer() {
        let (mut room, now) = (Room::default(), Instant::now());
        assert!(!room.holds(now));
        assert!(room.ask(now) && !room.ask(now), "one question at a time");
        room.answered(now);
        assert!(room.holds(now) && !room.ask(now));
        assert!(!room.holds(now + HOLDS));
        room.forget();
        assert!(!room.holds(now) && room.ask(now), "other limits are asked about at once");
    }

    #[test]
    fn where_turns_are_seconds_apart_each_can_claim_and_asks_anew() {
        let (mut room, mut now) = (Room::default(), Instant::now());
        room.ask(now);
        room.answered(now);
        for _ in 0..10 {
            now += Duration::from_secs(7);
            assert!(room.ask(now) && room.holds(now));
            room.answered(now);
        }
    }
}
