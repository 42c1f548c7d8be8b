//! How old a task is, told by two clocks.
//!
//! The wall clock alone goes on while the daemon does not run, and it alone jumps: a time server sets it right by a day, a machine
//! wakes up in another year. The monotonic clock never jumps, and stands still while the machine sleeps. A paid video must not be
//! lost to a jump, so the wall clock is asked once for each task and run, when the run takes the task up; from then on the
//! monotonic clock counts. What jumps before that can still make a young task look old: so this run must have asked about it for a
//! while, too, before it gives it up ([`Age::may_be_given_up`]). Where a clock errs the other way, or the machine sleeps, a task is
//! asked about for longer than it need be, which costs nothing.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use crate::job::Task;
use crate::job::plan::{self, Age};
use crate::throttle::cadence::Seen;

/// A moment by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    wall: Timestamp,
    monotonic: Instant,
}

/// When this run took a task up, how old it was then, and what was seen of it since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TakenUp {
    at: Instant,
    age: Duration,
    /// What was seen of it.
    pub seen: Seen,
}

/// A task that is taken up no older than this was submitted by this run.
const SUBMITTED_JUST_NOW: Duration = Duration::from_secs(1);

/// A wall clock is set by a time server by this much at most without being noticed here: it is slewed, not set.
const SLEW_MAX: SignedDuration = SignedDuration::from_secs(1);

/// The wall clock as it was looked at last, told further by the monotonic one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic one at the same moment.
    pub at: Instant,
    /// Since the machine was started, asleep or awake.
    pub up: Duration,
}

/// What the clocks did not do alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leap {
    /// How far the wall clock was set, if it was.
    pub set: Option<SignedDuration>,
    /// Whether the machine slept, and the monotonic clock with it.
    pub slept: bool,
}

impl Clock {
    /// Looks at the machine's clocks.
    pub fn now() -> Self {
        let up = clock_gettime(ClockId::Boottime);
        let up = Duration::try_from(up).unwrap_or_default();
        Self { wall: Timestamp::now(), at: Instant::now(), up }
    }

    /// The wall clock at `now`, if nobody has set it since.
    pub fn wall(&self, now: Instant) -> Timestamp {
        self.wall.checked_add(now.saturating_duration_since(self.at)).unwrap_or(self.wall)
    }

    /// Goes on from `later`. Time asleep is time that has passed.
    pub fn go_on(&mut self, later: Clock) -> Leap {
        let signed = |passed| SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let passed = signed(later.up.saturating_sub(self.up));
        let set = later.wall.duration_since(self.wall).saturating_sub(passed);
        let slept = passed.saturating_sub(signed(later.at.saturating_duration_since(self.at)));
        *self = later;
        Leap { set: Some(set).filter(|set| set.abs() > SLEW_MAX), slept: slept > SLEW_MAX }
    }
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self { wall: Timestamp::now(), monotonic: Instant::now() }
    }

    /// What the wall clock says at `later`, or would say had nobody set it forward since this moment: the earlier of the two.
    pub fn not_set_forward(self, later: Moment) -> Timestamp {
        let passed = later.monotonic.saturating_duration_since(self.monotonic);
        self.wall.checked_add(passed).map_or(later.wall, |steady| steady.min(later.wall))
    }
}

impl TakenUp {
    /// The run takes the task up at `at`, when the wall clock says `wall`.
    pub fn new(task: &Task, at: Instant, wall: Timestamp) -> Self {
        // The answer was on its way to the loop: nobody else has submitted the task.
        let age = Some(plan::age(task, wall)).filter(|age| *age >= SUBMITTED_JUST_NOW).unwrap_or_default();
        Self { at, age, seen: Seen { watched_from: age, ..Seen::default() } }
    }

    /// How old the task is at `now`.
    pub fn age(self, now: Instant) -> Age {
        Age { before: self.age, watched: now.saturating_duration_since(self.at) }
    }

    /// When the task has that age; at once, if it is older already.
    pub fn when(self, age: Duration) -> Instant {
        let far = Duration::from_secs(u32::MAX.into());
        self.at + age.saturating_sub(self.age).min(far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Account, TaskId};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn wall(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_clock_that_is_set_forward_is_not_followed_and_one_that_is_set_back_is() {
        let start = Moment { wall: wall(0), monotonic: Instant::now() };
        let later = |wall| Moment { wall, monotonic: start.monotonic + Duration::from_secs(60) };
        for (says, told) in [(60, 60), (59, 59), (61, 60), (86_460, 60), (-86_340, -86_340)] {
            assert_eq!(start.not_set_forward(later(wall(says))), wall(told), "{says} s");
        }
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_and_sleep_and_small_corrections_are_none() {
        let at = Instant::now();
        let second = |n: u64| at + Duration::from_secs(n);
        let clock = |says: i64, n: u64, up: u64| Clock { wall: wall(says), at: second(n), up: Duration::from_secs(up) };
        let mut known = clock(0, 0, 100);
        assert_eq!(known.wall(second(7)), wall(7));
        let set = |seconds| Leap { set: Some(SignedDuration::from_secs(seconds)), slept: false };
        assert_eq!(known.go_on(clock(60, 60, 160)), Leap::default());
        let asleep = Leap { set: None, slept: true };
        assert_eq!(known.go_on(clock(3_661, 61, 3_760)), asleep, "asleep, and a second of correction");
        assert_eq!(known.go_on(clock(90_062, 62, 3_761)), set(86_400));
        assert_eq!(known.go_on(clock(63, 63, 3_762)), set(-90_000));
        assert_eq!(known.wall(second(70)), wall(70));
    }

    #[test]
    fn a_task_that_is_taken_up_grows_old_by_the_monotonic_clock_alone() {
        let task = Task {
            task_id: TaskId::new("7").unwrap(),
            request_id: None,
            account: Account { base_url: "https://api.example".to_owned(), token_fingerprint: "00".to_owned() },
            submitted_at: wall(0),
        };
        let at = Instant::now();
        for (says, before) in [(0, Duration::ZERO), (86_400, DAY), (-86_400, Duration::ZERO)] {
            let age = TakenUp::new(&task, at, wall(says)).age(at + DAY / 2);
            assert_eq!(age, Age { before, watched: DAY / 2 }, "{says} s");
        }
        let on_its_way = wall(0) + SignedDuration::from_millis(300);
        assert_eq!(TakenUp::new(&task, at, on_its_way).age(at).before, Duration::ZERO, "this run has submitted it");
    }
}
