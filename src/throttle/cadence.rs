//! When to ask for a task.
//!
//! What is expected of a task is narrowed by what was seen of it: it was not done at that age, it was in the queue, it was being made.
//! It is asked for again where the time that it is expected to have stood done and unseen has grown to a small part of what a task
//! takes. So the first question comes where a result becomes likely, questions are dense where most tasks end, few while it is in the
//! queue, and sparse in the tail; all in proportion to how long tasks take.

use std::time::Duration;

use super::durations::{Durations, Expected, Starting};

/// The expected time that a task stands done and unseen until it is asked for, as a part of the median, while its slot is wanted: for
/// tasks whose times spread as widely as those of picture models do, that makes about eleven questions a task.
const UNSEEN: f64 = 1.0 / 320.0;

/// The same while nobody waits for its slot: half as many questions, which leaves the requests to others.
const UNSEEN_AT_EASE: f64 = 1.0 / 90.0;

/// Points at which what is expected of a task is looked at.
const POINTS: usize = 64;

/// How far they reach beyond the mean, in standard deviations.
const REACH: f64 = 4.5;

/// How far they reach beyond the age of a task that is older than that, as a part of its own deviation: what is left of its kind has
/// ended long before.
const REACH_BEYOND: f64 = 6.0;

/// A task that is older than the mean and this many standard deviations (one in fifty gets there) is in the tail.
const TAIL: f64 = 2.0;

/// In the tail a task is asked for no more often than after this part of the time that this run has watched it. What a wall clock says
/// of the time before may be wrong by any length, and the task as young as any.
const TAIL_PART: u32 = 20;

/// No matter how old it is, a task is asked for after this: its video's link lives an hour.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// Before there is experience, a task is asked for no more often than after this part of its age, up to [`Starting::slowest`].
const STARTING_PART: u32 = 12;

/// Watched for so long, in times of [`Starting::slowest`], a task of whose kind nothing is known is taken for stuck, and asked for ever more rarely.
const STUCK_AFTER: u32 = 60;

/// No two questions about one task follow faster than this.
const SHORTEST: Duration = Duration::from_millis(20);

/// No chance is taken for less, so that a task that contradicts everything seen so far is still asked for.
const CHANCE_MIN: f64 = 1e-4;

/// A part by which each wait is longer or shorter, so that tasks that began together do not ask together.
const JITTER: f64 = 0.05;

/// What was seen of a task that is not done; all are ages of the task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Since when this run watches it.
    pub watched_from: Duration,
    /// When it was seen not to be done last; nothing: never.
    pub asked_at: Duration,
    /// Whether it was asked for since, and the answer said nothing of it.
    pub is_unsure: bool,
    /// When it was seen in the queue last.
    pub queued_until: Option<Duration>,
    /// When it was seen being made first.
    pub made_from: Option<Duration>,
}

/// What a question is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The task's slot: something waits for it.
    Slot,
    /// Its video alone.
    Video,
}

/// Where a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// In the queue.
    Queued,
    /// Being made.
    Made,
    /// Not done; where it is, the answer did not say.
    Unnamed,
}

impl Seen {
    /// The task was seen in that phase at that age.
    pub fn at(&mut self, age: Duration, phase: Phase) {
        (self.asked_at, self.is_unsure) = (age, false);
        match phase {
            Phase::Queued => self.queued_until = Some(age),
            Phase::Made => self.made_from = self.made_from.or(Some(age)),
            Phase::Unnamed => {}
        }
    }

    /// For how long this run had watched it when it asked last.
    fn watched(&self) -> Duration {
        self.asked_at.saturating_sub(self.watched_from)
    }

    /// How long the task took that was found done at that age: it ended somewhere since it was seen not to be. `None`: it was asked for
    /// in between, in vain, and nobody knows.
    pub fn took(&self, age: Duration) -> Option<super::durations::Took> {
        if self.is_unsure {
            return None;
        }
        let since = age.saturating_sub(self.asked_at);
        // A first question comes where few are done, and those have ended just before.
        let unseen = if self.asked_at.is_zero() { since / 5 } else { since / 2 };
        let duration = age.saturating_sub(unseen);
        let between = |from: Duration, to: Duration| from + to.saturating_sub(from) / 2;
        let queued = match (self.queued_until, self.made_from) {
            (None, None) => None,
            (queued, Some(made)) => Some(between(queued.unwrap_or_default(), made)),
            (Some(queued), None) => Some(between(queued, duration)),
        };
        Some(super::durations::Took { duration, queued: queued.map(|queued| queued.min(duration)) })
    }
}

/// The age at which to ask for a task of which that was seen. `chance` is from 0 up to 1.
pub fn next_question(durations: &Durations, seen: &Seen, wanted: Wanted, starting: &Starting, chance: f64) -> Duration {
    let next = match durations.expected() {
        Some(expected) => expected_question(&expected, seen, wanted, starting),
        None => starting_question(seen, starting),
    };
    let wait = next.saturating_sub(seen.asked_at).min(LONGEST.max(starting.first));
    seen.asked_at.saturating_add(wait.mul_f64(1.0 + JITTER * (2.0 * chance.clamp(0.0, 1.0) - 1.0)).max(SHORTEST))
}

/// How long to wait until a task is asked for again that was watched for so long, if the last answer said nothing of it, or nothing but
/// its link is wanted.
pub fn next_time(watched: Duration, starting: &Starting) -> Duration {
    let seen = Seen { asked_at: watched.max(SHORTEST), ..Seen::default() };
    let wait = starting_question(&seen, starting).saturating_sub(watched);
    wait.clamp(SHORTEST, LONGEST.max(starting.first))
}

/// How likely the task is done at that age.
pub fn chance_of_done(durations: &Durations, seen: &Seen, age: Duration) -> f64 {
    let Some(expected) = durations.expected() else { return 0.0 };
    let at = age.as_secs_f64();
    let (mut done, mut all) = (0.0, 0.0);
    for (duration, weight) in narrowed(&expected, seen) {
        all += weight;
        if duration <= at {
            done += weight;
        }
    }
    if all > 0.0 { done / all } else { 1.0 }
}

fn starting_question(seen: &Seen, starting: &Starting) -> Duration {
    let Seen { asked_at, .. } = *seen;
    if asked_at.is_zero() {
        return starting.first;
    }
    let slowest = starting.slowest.max(starting.every);
    let stuck = seen.watched().saturating_sub(slowest * STUCK_AFTER) / STARTING_PART;
    asked_at + starting.every.max(asked_at / STARTING_PART).min(slowest).max(stuck)
}

fn expected_question(expected: &Expected, seen: &Seen, wanted: Wanted, starting: &Starting) -> Duration {
    let asked_at = seen.asked_at.as_secs_f64();
    let unseen = match wanted {
        Wanted::Slot => UNSEEN,
        Wanted::Video => UNSEEN_AT_EASE,
    };
    let weight: f64 = narrowed(expected, seen).map(|(_, weight)| weight).sum();
    let bearable = unseen * expected.mean.exp() * weight;
    // The expected time unseen at each point, and the weight of what ends up to there.
    let (mut unseen, mut ended, mut before) = (0.0, 0.0, asked_at);
    let mut next = None;
    for (duration, weight) in narrowed(expected, seen) {
        let grown = unseen + ended * (duration - before);
        if grown >= bearable {
            next = Some(before + (bearable - unseen) / ended);
            break;
        }
        (unseen, ended, before) = (grown, ended + weight, duration);
    }
    let next = next.unwrap_or(before + if ended > 0.0 { (bearable - unseen) / ended } else { 0.0 });
    let next = Duration::try_from_secs_f64(next).unwrap_or(Duration::MAX).max(seen.asked_at);
    if seen.asked_at.is_zero() || asked_at.ln() < expected.mean + TAIL * expected.spread {
        return next;
    }
    next.max(seen.asked_at + (seen.watched() / TAIL_PART).max(starting.every.min(expected.median() / TAIL_PART)))
}

/// Durations that the task may have, in seconds, ascending, each with its weight.
fn narrowed<'a>(expected: &'a Expected, seen: &'a Seen) -> impl Iterator<Item = (f64, f64)> + 'a {
    let asked_at = seen.asked_at.as_secs_f64();
    let from = if asked_at > 0.0 { (asked_at.ln() - expected.mean) / expected.spread } else { -REACH };
    let from = from.max(-REACH);
    let range = (REACH - from).max(REACH_BEYOND / from.max(1.0));
    // What all weights have in common would make those of an old task vanish.
    let least = from.max(0.0).powi(2);
    (0..POINTS).map(move |point| {
        // Ever wider apart: the next question comes soon, and must not fall between two of them.
        let place = point as f64;
        let deviation = from + range * ((place + 0.5) / POINTS as f64).powi(2);
        let width = 2.0 * place + 1.0;
        let duration = (expected.mean + expected.spread * deviation).exp();
        let weight = width * (-0.5 * (deviation * deviation - least)).exp();
        (duration, weight * chance_of_phase(expected, seen, duration))
    })
}

/// How likely a task of that duration, in seconds, is seen in its phases as this one was.
fn chance_of_phase(expected: &Expected, seen: &Seen, duration: f64) -> f64 {
    let share = |age: Duration| age.as_secs_f64() / duration;
    let chance = match (seen.queued_until, seen.made_from) {
        (None, None) => return 1.0,
        (Some(queued), None) => 1.0 - expected.share_up_to(share(queued)),
        (queued, Some(made)) => {
            expected.share_up_to(share(made)) - queued.map_or(0.0, |queued| expected.share_up_to(share(queued)))
        }
    };
    chance.max(CHANCE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::durations::Took;

    const STARTING: Starting =
        Starting { first: Duration::from_secs(10), every: Duration::from_secs(5), slowest: Duration::from_secs(30) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A service whose tasks take 60 seconds, more or less, half of it in the queue or wherever it is.
    fn minute(spread: f64, queued: impl Fn(usize) -> Option<f64>) -> Durations {
        Durations::new((0..2000).map(|n| {
            // The sum of twelve even numbers is near enough to a normal one.
            let mut rng = fastrand::Rng::with_seed(n as u64);
            let normal: f64 = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
            let duration = (60f64.ln() + spread * normal).exp();
            let queued = queued(n).map(|share| Duration::from_secs_f64(share * duration));
            Took { duration: Duration::from_secs_f64(duration), queued }
        }))
    }

    fn asked(age: u64) -> Seen {
        Seen { asked_at: seconds(age), ..Seen::default() }
    }

    fn next(durations: &Durations, seen: &Seen) -> f64 {
        (next_question(durations, seen, Wanted::Slot, &STARTING, 0.5) - seen.asked_at).as_secs_f64()
    }

    #[test]
    fn without_experience_the_starting_points_hold() {
        let none = Durations::default();
        for (age, wait) in [(0, 10.0), (20, 5.0), (120, 10.0), (1800, 30.0)] {
            assert_eq!(next(&none, &asked(age)), wait, "{age}");
        }
    }

    #[test]
    fn the_first_question_comes_where_a_result_becomes_likely() {
        let narrow = minute(0.1, |_| None);
        let first = next(&narrow, &Seen::default());
        assert!((45.0..60.0).contains(&first), "{first}");
        let wide = minute(0.8, |_| None);
        let first = next(&wide, &Seen::default());
        assert!((10.0..20.0).contains(&first), "{first}");
    }

    #[test]
    fn questions_are_dense_where_most_end_and_sparse_in_the_tail() {
        let durations = minute(0.8, |_| None);
        let waits: Vec<f64> = [40, 60, 300, 900, 3600].map(|age| next(&durations, &asked(age))).into();
        assert!(waits[0] < 7.0 && waits[1] < 7.0, "{waits:?}");
        assert!(waits[2] >= 14.9 && waits[3] >= 44.9 && waits[4] >= 179.0, "{waits:?}");
    }

    #[test]
    fn a_task_in_the_queue_is_left_alone_for_longer_than_one_being_made() {
        let durations = minute(0.8, |n| Some(((n * 37 % 100) as f64 + 0.5) / 100.0));
        let queued = Seen { queued_until: Some(seconds(30)), ..asked(30) };
        let made = Seen { made_from: Some(seconds(30)), ..asked(30) };
        assert!(next(&durations, &queued) > 1.5 * next(&durations, &made));
        assert!(next(&durations, &asked(30)) < next(&durations, &queued));
    }

    #[test]
    fn a_video_alone_is_asked_for_half_as_often() {
        let durations = minute(0.8, |_| None);
        let wait = |wanted| (next_question(&durations, &asked(50), wanted, &STARTING, 0.5) - seconds(50)).as_secs_f64();
        let ratio = wait(Wanted::Video) / wait(Wanted::Slot);
        assert!((1.6..2.4).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_task_stuck_for_hours_is_asked_for_while_its_video_can_be_had() {
        for durations in [Durations::default(), minute(0.8, |_| None), minute(0.05, |_| None)] {
            let wait = next(&durations, &asked(11 * 3600));
            assert!((seconds(60).as_secs_f64()..=LONGEST.as_secs_f64()).contains(&wait), "{wait}");
        }
        let hours = Durations::new([Took { duration: seconds(9 * 3600), queued: None }; 9]);
        assert_eq!(next(&hours, &Seen::default()), LONGEST.as_secs_f64());
    }

    #[test]
    fn what_an_earlier_run_or_a_wrong_clock_left_is_asked_for_as_if_it_were_young() {
        let day = seconds(24 * 3600);
        for durations in [Durations::default(), minute(0.8, |_| None), minute(0.05, |_| None)] {
            let old = Seen { watched_from: day, ..Seen::default() };
            assert!(next_question(&durations, &old, Wanted::Slot, &STARTING, 0.5) < day, "at once");
            let asked = Seen { asked_at: day + seconds(1), ..old };
            let wait = next(&durations, &asked);
            assert!(wait <= 60.0, "{wait}");
        }
    }

    #[test]
    fn no_question_follows_another_at_once_and_none_never_comes() {
        let instant = Durations::new([Took { duration: Duration::ZERO, queued: Some(Duration::ZERO) }; 9]);
        for durations in [instant, minute(0.05, |_| Some(0.0)), minute(0.8, |_| Some(1.0))] {
            for age in [0, 1, 59, 60, 61, 600, 43_200] {
                for phase in [Phase::Queued, Phase::Made] {
                    let mut seen = Seen::default();
                    seen.at(seconds(age), phase);
                    let wait = next(&durations, &seen);
                    assert!(wait >= 0.0199 && wait <= LONGEST.as_secs_f64() + 1.0, "{age} {phase:?}: {wait}");
                }
            }
        }
    }

    #[test]
    fn chance_spreads_the_questions_a_little() {
        let durations = minute(0.8, |_| None);
        let at = |chance| next_question(&durations, &Seen::default(), Wanted::Slot, &STARTING, chance).as_secs_f64();
        assert!((at(0.0) / at(0.5) - 0.95).abs() < 1e-3 && (at(1.0) / at(0.5) - 1.05).abs() < 1e-3);
        assert_eq!(at(0.25), at(0.25));
    }

    #[test]
    fn the_chance_grows_from_nothing_to_certainty() {
        let durations = minute(0.3, |_| None);
        let at = |age| chance_of_done(&durations, &asked(30), seconds(age));
        assert_eq!(at(30), 0.0);
        assert!((0.4..0.6).contains(&at(60)), "{}", at(60));
        assert!(at(30) < at(45) && at(45) < at(60) && at(60) < at(90) && at(3600) > 0.999);
        assert_eq!(chance_of_done(&Durations::default(), &asked(30), seconds(60)), 0.0);
    }

    #[test]
    fn a_task_ended_between_two_questions() {
        let mut seen = Seen::default();
        seen.at(seconds(10), Phase::Queued);
        seen.at(seconds(20), Phase::Made);
        seen.at(seconds(30), Phase::Made);
        assert_eq!(seen.took(seconds(40)), Some(Took { duration: seconds(35), queued: Some(seconds(15)) }));
        let never = Seen::default().took(seconds(10));
        assert_eq!(never, Some(Took { duration: seconds(8), queued: None }));
        seen.is_unsure = true;
        assert_eq!(seen.took(seconds(4000)), None, "nobody could ask");
    }
}
